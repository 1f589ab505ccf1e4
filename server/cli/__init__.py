"""The command line: which commands there are, what runs without one, and how errors reach a person.

Each command is a module of the same name that is imported only when it runs, so that help and errors come at
once. Errors are one red line on stderr; the exit code is 2 for wrong usage, 130 after Ctrl-C, 141 when the
reader of a pipe has left, and 1 for everything else that failed."""

import copy
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword

import click

from server import __version__, program
from towow.errors import StartupError, TowowError

COMMANDS = {
    "serve": "Serve streams, the API and the page (the default command).",
    "append": "Append events to the log of a running server.",
    "follow": "Show events as they happen; resumes by itself.",
    "streams": "List the streams of a running server.",
    "sql": "Query a database file with SQL; cannot write.",
    "demo": "Submit a sample demand and watch what happens.",
    "check": "Verify a database file: digests, revisions, integrity.",
    "rebuild": "Build the projections of a database file again from its log.",
    "retention": "Trim a database file now by its settings, or show what that removes.",
    "compact": "Give free space of a database file back to the disk.",
    "backup": "Copy a log that is in use, verified, with its head.",
    "restore": "Put a backup in the place of a database, in a new epoch.",
    "export": "Write the events of a database file as lines of JSON.",
    "import": "Append exported events to a database file.",
    "token": "Make tokens, sign JWTs, and check either.",
    "bench": "Measure this machine against the numbers to reach.",
}
DEFAULT_COMMAND = "serve"
OPENS_FILES = frozenset({"rebuild", "retention", "compact", "backup", "restore", "import"})  # and may log as a server does

READER_LEFT = 141  # what a shell reports for a program that SIGPIPE ended
INTERRUPTED = 130  # the same for SIGINT


class Commands(click.Group):
    """The commands by name; without a name, or with options only, the default command runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front of nothing and of options that are not the group's own."""
        own = ("--help", "-h", "--version")
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None for a name that is no command."""
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(import_module(f"{__name__}.{name}"), name)
        command.short_help = COMMANDS[cmd_name]
        return _naming_program(command)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse what is no command, with the nearest name that is."""
        if args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"no such command: {args[0]}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list for `--help` without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run the command and write out what it printed; a reader that has left is no error."""
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
            raise SystemExit(READER_LEFT) from None
        return result


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="towow", message="%(prog)s %(version)s")
def cli() -> None:
    """ToWow event server: durable event streams for agents that negotiate.

    Without a command it serves: `python run.py --port 9000` is `python run.py serve --port 9000`.

    \b
    Try it:
      python run.py &
      python run.py demo
      python run.py follow '*' --start beginning
    """  # noqa: D301 - \b keeps click from joining the lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line (default: this process's) and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    os.umask(0o077)  # the log, its copies, locks and keys are their owner's alone
    is_help = any(flag in ("-h", "--help") for flag in arguments)
    if arguments and arguments[0] in OPENS_FILES and not is_help:  # warnings, on stderr: stdout is for results
        import_module("server.logs").configure_logging(import_module("server.config").LoggingSection(level="warning"))
    try:
        result = _naming_program(cli).main(list(arguments), prog_name=program(), standalone_mode=False)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else program()
        print_error(f"{error.format_message().rstrip('.')} (see: {command} --help)")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        print_error(error.format_message())
        sys.exit(error.exit_code)
    except TowowError as error:
        print_error(_explain(error))
        sys.exit(error.exit_status if isinstance(error, StartupError) else 1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    sys.exit(result if isinstance(result, int) else 0)


def print_error(message: str) -> None:
    """One line on stderr, red on a terminal unless NO_COLOR is set; nothing in it can move the cursor."""
    line = "error: " + "".join(character if character.isprintable() else " " for character in message)
    click.secho(line, err=True, fg=None if os.environ.get("NO_COLOR") else "red")


def _explain(error: TowowError) -> str:
    message = error.message
    if not getattr(error, "was_sent", True):  # nobody listens at that address
        return f"{message}; start one with: {program()} serve"
    if error.field and error.field not in message:
        message = f"{error.field}: {message}"
    if "error_id" in error.details and error.code == "internal":
        message = f"{message} (error_id {error.details['error_id']}, see the server's log)"
    return message


def _naming_program(command: click.Command) -> click.Command:
    """A copy with the name under which this process was started in its examples: they are written for `python run.py`."""
    named = copy.copy(command)
    named.help = (command.help or "").replace("python run.py", program())
    if isinstance(named, click.Group):
        named.commands = {name: _naming_program(part) for name, part in named.commands.items()}
    return named
