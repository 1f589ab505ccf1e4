"""`export`: write events as lines of JSON."""

import os
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console

from server.cli.files import database_option
from server.eventlog.database import read_only, sqlite3
from server.eventlog.selection import select
from server.eventlog.transfer import export_lines, seq_of_line
from towow.errors import Damaged, StartupError, TowowError

_TAIL_BYTES = 1_048_576  # the longest line, and more
_EVENTS_PER_LOOK = 1_000


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default=Path("-"))
@database_option("The database file; a server may be using it.")
@click.option(
    "--stream", "streams", multiple=True, help="Only this stream, kind:* or system:*; repeatable. Default: * and all."
)
@click.option("--type", "types", multiple=True, help="Only event types that match this glob; repeatable.")
@click.option("--since-seq", type=click.IntRange(0), default=0, help="Only events after this seq.")
@click.option("--resume", is_flag=True, help="Go on after the last whole line of FILE.")
def export(file: Path, db: Path, streams: tuple[str, ...], types: tuple[str, ...], since_seq: int, resume: bool) -> None:
    """Write events as NDJSON, one canonical JSON object a line, in the order of seq, to FILE or to stdout (-).

    What was interrupted goes on with --resume. Damaged events are named on stderr and left out; the exit code is 1 then.

    \b
    Examples:
      python run.py export events.ndjson --db data/towow.db
      python run.py export - --stream 'demand:*' | gzip > demands.ndjson.gz
    """  # noqa: D301 - \b keeps click from joining the lines
    selection = select(streams or ("*", "system:*"), types)
    screen = Console(stderr=True)
    is_stdout = str(file) == "-"
    if resume and is_stdout:
        raise click.UsageError("--resume needs a FILE")
    damaged = count = 0
    try:
        with (
            closing(read_only(db)) as connection,
            click.open_file(str(file), "ab" if resume else "wb") as out,
            screen.status("exporting") as status,
        ):
            after = max(since_seq, _resume_at(file, out) if resume else 0)
            for found in export_lines(connection, selection, after):
                if isinstance(found, Damaged):
                    damaged += 1
                    click.echo(f"left out: {found.message}", err=True)
                    continue
                out.write(found[1])
                count += 1
                if count % _EVENTS_PER_LOOK == 0:
                    status.update(f"exporting: {count:,} events, seq {found[0]:,}")
            out.flush()
            if not is_stdout:
                os.fsync(out.fileno())
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise StartupError(f"cannot export {db} to {file}: {error}") from None
    if not is_stdout:
        click.echo(f"{'ok' if not damaged else f'{damaged} damaged'}: {count} events in {file}")
    if damaged:
        raise SystemExit(1)


def _resume_at(file: Path, out: IO[Any]) -> int:
    """Cut a line that was not finished, and return the seq of the last whole one; 0 in an empty file."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        opened.seek(max(0, size - _TAIL_BYTES))
        tail = opened.read()
    whole = tail.rfind(b"\n") + 1
    out.truncate(size - len(tail) + whole)
    last = tail[:whole].rstrip(b"\n").rpartition(b"\n")[2]
    if not last:
        return 0
    try:
        return seq_of_line(last)
    except TowowError as error:
        raise StartupError(f"{file} does not end with an exported event: {error.message}") from None
