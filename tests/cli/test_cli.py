"""The command line, as people and scripts use it: real processes of `run.py` against a real server process."""

import asyncio
import csv
import io
import json
import os
import pty
import re
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, run
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import click
import pytest
from rich.cells import cell_len
from rich.console import Console

from server import cli
from server.cli.narration import Narration
from server.cli.output import kind_style, local_time, safe_text
from server.surfaces.demands import state
from towow.events import Event, uuid7

RUN = str(Path(__file__).parents[2] / "run.py")
SECONDS = 20.0  # until a wait is given up


class Result(NamedTuple):
    """What a finished process left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """Its output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Served(NamedTuple):
    """A running server."""

    url: str
    db: Path

    def run(self, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
        """Run one command against this server to its end."""
        return run_cli(*arguments, stdin=stdin, TOWOW_SERVER=self.url, **environment)

    def stream(self, kind: str = "task") -> str:
        """The name of a stream that no other test has."""
        return f"{kind}:{uuid7()}"


def environment_with(**changes: str) -> dict[str, str]:
    """The environment of these tests without what would change the output."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS") and not name.startswith(("TOWOW", "PYTHONUNBUF"))
    }
    return kept | changes


def run_cli(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
    """Run one command to its end."""
    done = run(
        [sys.executable, RUN, *arguments],
        input=stdin,
        stdin=DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment_with(**environment),
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def start_server(db: Path, port: int = 0, *, sample_agents: bool = False) -> tuple[Popen[str], str]:
    """Start a server, as the default command, and wait until it says where it listens."""
    process = Popen(
        [sys.executable, RUN, "--port", str(port), "--db", str(db)],
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        cwd=db.parent,
        env=environment_with(
            TOWOW__STREAM__RETRY_MILLISECONDS="20",
            TOWOW__DEMANDS__SAMPLE_AGENTS=str(sample_agents).lower(),
            TOWOW__DEMANDS__SAMPLE_DELAY_SECONDS="0.02",
        ),
    )
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            return process, found[0]
    raise AssertionError(f"the server ended with {process.wait()}")


def stop(process: Popen[str]) -> None:
    """End a server that this test has started."""
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the tests of this file; each uses streams of its own."""
    db = tmp_path_factory.mktemp("cli") / "towow.db"
    process, url = start_server(db, sample_agents=True)
    yield Served(url, db)
    stop(process)


@asynccontextmanager
async def running(
    *arguments: str, stdin: int = DEVNULL, stdout: int = PIPE, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that goes on while the test does something."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, RUN, *arguments, stdin=stdin, stdout=stdout, stderr=PIPE, env=environment_with(**environment)
    )
    try:
        async with asyncio.timeout(SECONDS):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_line(stream: asyncio.StreamReader | None) -> str:
    """The next line of a running command."""
    assert stream is not None
    return (await stream.readline()).decode()


# The group


def test_help_lists_every_command_without_importing_one() -> None:
    """Help is there at once."""
    code = "import sys\nfrom server.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(RUN).parent)
    assert [name for name in cli.COMMANDS if re.search(rf"^  {name} ", done.stdout, re.MULTILINE)] == list(cli.COMMANDS)
    assert not {"aiohttp", "rich", "aiosqlite", "stamina"} & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", list(cli.COMMANDS))
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself_with_an_example(name: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a command is enough to use it."""
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    assert command.name == name
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    with pytest.raises(SystemExit) as caught:
        cli.main([name, flag])
    assert caught.value.code == 0
    assert "xample" in capsys.readouterr().out


def test_version_is_one_line() -> None:
    """`--version` says which release runs."""
    assert re.fullmatch(r"towow \d+\.\d+\.\d+\n", run_cli("--version").out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["serve"]),
        (["--port", "9000"], ["serve", "--port", "9000"]),
        (["serve", "--port", "9000"], ["serve", "--port", "9000"]),
        (["--help"], ["--help"]),
        (["-h"], ["-h"]),
        (["--version"], ["--version"]),
        (["follow", "--json"], ["follow", "--json"]),
    ],
    ids=" ".join,
)
def test_serve_is_the_default_command(arguments: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, and options that are not the group's, are for `serve`."""
    seen: list[list[str]] = []
    monkeypatch.setattr(click.Group, "parse_args", lambda self, ctx, args: seen.append(args))
    cli.cli.parse_args(click.Context(cli.cli), arguments)
    assert seen == [expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["folow"], "no such command: folow; did you mean follow? (see: python run.py --help)", id="a typo"),
        pytest.param(["xyz"], "no such command: xyz; there are serve, append, ", id="no such command"),
        pytest.param(["follow", "--bogus"], "No such option", id="an unknown option"),
        pytest.param(["append"], "STREAM and EVENT_TYPE are needed, or --ndjson", id="too few arguments"),
        pytest.param(["append", "a:b", "t", "{"], "Invalid value for PAYLOAD: not valid JSON", id="broken JSON"),
        pytest.param(["append", "a:b", "t", "[1]"], "Invalid value for PAYLOAD: Expected `object`", id="not an object"),
        pytest.param(["append", "a:b", "t", "{}", "--expected-revision", "-1"], "--expected-revision", id="a bad number"),
        pytest.param(["append", "--ndjson", "a:b", "t", "{}"], "stand in the lines", id="what lines say"),
        pytest.param(["sql"], "Missing argument 'QUERY'", id="no query"),
        pytest.param(["sql", "SELECT 1", "--json", "--csv"], "exclude each other", id="two formats"),
        pytest.param(["demo", "--lang", "fr"], "--lang", id="an unknown language"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    """What is wrong, and where the help is."""
    result = run_cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")
    assert message in result.err
    assert "--help)" in result.err


@pytest.mark.parametrize("command", [["follow"], ["append", "a:b", "t", "{}"], ["streams"], ["demo"]], ids=lambda c: c[0])
def test_absent_server_is_said_at_once_with_what_to_do(command: list[str], unused_tcp_port: int) -> None:
    """Nobody waits for retries against a wrong address."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    result = run_cli(*command, "--server", url)
    expected = f"error: no server answers at {url} (connection refused); start one with: python run.py serve\n"
    assert result == (1, "", expected)


@pytest.fixture(params=["python run.py", "towow"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Each name under which the command line is started, and the file that starts it so."""
    if request.param == "python run.py":
        return request.param, Path(RUN)
    installed = tmp_path / "towow"  # as pip writes it for the entry point of setup.cfg
    installed.write_text("import sys\nfrom server.cli import main\nsys.exit(main())\n")
    return request.param, installed


@pytest.mark.slow
def test_texts_to_copy_begin_with_the_name_under_which_the_program_was_started(
    program: tuple[str, Path], tmp_path: Path
) -> None:
    """Help, usage, hints of errors: whoever copies a line has the command that it names."""
    name, file = program
    other = {"python run.py": "towow ", "towow": "python run.py"}[name]

    def said(*arguments: str, **environment: str) -> str:
        done = run(
            [sys.executable, str(file), *arguments],
            stdin=DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=tmp_path,
            env=environment_with(PYTHONPATH=str(Path(RUN).parent), **environment),
            check=False,
        )
        assert other not in (done.stdout + done.stderr).replace("the towow ", "")
        return done.stdout + done.stderr

    assert f"{name} demo\n" in said("--help")
    for command in [*([each] for each in cli.COMMANDS), ["token", "new"]]:
        help_text = said(*command, "--help")
        assert help_text.startswith(f"Usage: {name} {' '.join(command)}")
        assert help_text.count(f"{name} {' '.join(command)}") >= 2
    assert said("folow").endswith(f"(see: {name} --help)\n")
    assert said("streams", "--bogus").endswith(f"(see: {name} streams --help)\n")
    assert said("streams", "--server", "http://127.0.0.1:1").endswith(f"start one with: {name} serve\n")
    assert f"`{name} token new`" in said("serve", TOWOW__AUTH__MODE="token")
    assert f"`{name} token --help`" in said("serve", "--host", "0.0.0.0")


def test_the_installed_command_is_the_name_in_the_texts() -> None:
    """`towow`, of `[options.entry_points]`."""
    text = (Path(RUN).parent / "setup.cfg").read_text(encoding="utf-8")
    assert "\n    towow = server.cli:main\n" in text


def test_serve_says_which_settings_have_another_name_now(tmp_path: Path) -> None:
    """In the log and as a line, before it serves; the old name counts until somebody changes it."""
    (tmp_path / "config.toml").write_text("[server]\nport = 0\n[negotiation]\nsample_agents = false\nmax_depth = 1\n")
    process = Popen(
        [sys.executable, RUN],
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
        cwd=tmp_path,
        env=environment_with(TOWOW__STREAM__SESSION_KEEPALIVE_SECONDS="9"),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ToWow event server")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=SECONDS)
    expected = [
        "config.toml: [negotiation] sample_agents is now called [demands] sample_agents",
        "config.toml: [negotiation] max_depth is now called [demands] max_depth",
        "the environment: [stream] session_keepalive_seconds is now called [sessions] keepalive_seconds",
    ]
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("warning: ")] == [f"warning: {each}" for each in expected]
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line["reason"] for line in logged if line["event"] == "setting_renamed"] == expected


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://"])
def test_server_must_be_a_url(url: str) -> None:
    """A mistyped address is named."""
    result = run_cli("streams", "--server", url)
    assert result.code == 1
    assert "must be an http:// or https:// URL" in result.err


def test_port_that_is_taken_is_said_in_one_line(served: Served, tmp_path: Path) -> None:
    """What stops a start is an error like any other."""
    result = run_cli("serve", "--port", served.url.rpartition(":")[2], "--db", str(tmp_path / "towow.db"))
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("error: ")
    assert "cannot listen" in result.err
    assert "Traceback" not in result.err + result.out


# append, follow, streams


@pytest.mark.slow
def test_append_follow_sql_and_streams_show_the_same_event(served: Served) -> None:
    """The way of an event through all the commands."""
    name = served.stream()
    stored = served.run("append", name, "task.started", '{"name": "索引"}', "--json").json()
    assert stored["revision"] == 1
    human = served.run("append", name, "task.step", '{"n": 2}', "--event-id", f"mine-{name[5:]}", "--source", "me")
    seq = stored["seq"] + 1
    assert human == (0, f"seq {seq}  revision 2  event_id mine-{name[5:]}\n", "")

    followed = served.run("follow", name, "--since", str(stored["seq"]), "--until-end", "--json")
    assert (followed.code, followed.err) == (0, "")
    (event,) = followed.lines()
    assert (event["seq"], event["revision"], event["source"], event["payload"]) == (seq, 2, "me", {"n": 2})
    by_id = served.run("follow", name, "--since", stored["event_id"], "--until-end", "--json")
    assert by_id.out == followed.out

    query = f"SELECT seq, stream, event_type, payload FROM events WHERE stream = '{name}'"
    rows = served.run("sql", query, "--json", "--db", str(served.db)).json()
    assert [row["event_type"] for row in rows] == ["task.started", "task.step"]
    assert rows[0] == {"seq": stored["seq"], "stream": name, "event_type": "task.started", "payload": '{"name":"索引"}'}

    found = {each["name"]: each for each in served.run("streams", "--json", "--kind", "task").json()}
    assert (found[name]["count"], found[name]["revision"], found[name]["last_seq"]) == (2, 2, seq)
    table = served.run("streams").out
    assert re.search(rf"^{name} +2 +2 +{seq} ", table, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "stdin", "payload"),
    [
        pytest.param([], None, {}, id="nothing at all"),
        pytest.param([], '{"a": 1}', {"a": 1}, id="piped in"),
        pytest.param(["-"], '{"a": 2}\n', {"a": 2}, id="asked for with -"),
        pytest.param(['{"a": 3}'], '{"a": 4}', {"a": 3}, id="the argument wins"),
    ],
)
def test_append_reads_its_payload(served: Served, arguments: list[str], stdin: str | None, payload: dict[str, int]) -> None:
    """From the argument, or from standard input, or none."""
    name = served.stream()
    assert served.run("append", name, "t", *arguments, stdin=stdin).code == 0
    assert served.run("follow", name, "--until-end", "--json").lines()[0]["payload"] == payload


def test_append_is_idempotent_by_event_id_and_guards_revisions(served: Served) -> None:
    """Repeating a command with its --event-id stores nothing; a stale --expected-revision is refused."""
    name = served.stream()
    command = ["append", name, "t", "{}", "--event-id", f"id-{name[5:]}", "--expected-revision", "0"]
    first, second = served.run(*command), served.run(*command)
    assert first == second
    assert first.code == 0
    stale = served.run("append", name, "t", "{}", "--expected-revision", "0")
    assert (stale.code, stale.out) == (1, "")
    assert re.fullmatch(r"error: .*at revision 1, not 0\n", stale.err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["append", "no-kind", "t", "{}"], "stream must be kind:id", id="a bad stream name"),
        pytest.param(["append", "a:b", "two words", "{}"], "event_type must be", id="a bad type"),
        pytest.param(["append", "a:b", "t", f'{{"n": {"[" * 65}1{"]" * 65}}}'], "deeper", id="not portable"),
        pytest.param(["follow", "task:none", "--json"], "no stream task:none", id="no such stream"),
        pytest.param(["follow", "--since", "-5"], "since", id="a malformed cursor"),
        pytest.param(["follow", "--since", "999999999"], "--start beginning", id="past the head"),
        pytest.param(["follow", "--start", "middle"], "start", id="a malformed start"),
        pytest.param(["follow", "--type", "a b"], "type", id="a malformed glob"),
    ],
)
def test_refusals_of_the_server_are_one_line_and_exit_code_1(served: Served, arguments: list[str], message: str) -> None:
    """The server's own words, without a traceback."""
    result = served.run(*arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")
    assert message in result.err


def test_ndjson_stores_many_events_in_order(served: Served) -> None:
    """More than a batch, blank lines and a last line without its end included."""
    name = served.stream()
    lines = [json.dumps({"payload": {"n": n}}) for n in range(1203)]
    result = served.run("append", "--ndjson", name, "t", stdin="\n\n".join(lines))
    assert (result.code, result.out) == (0, "")
    assert re.fullmatch(r"1203 events stored, seq \d+ to \d+\n", result.err)
    events = served.run("follow", name, "--until-end", "--json").lines()
    assert [event["payload"]["n"] for event in events] == list(range(1203))


@pytest.mark.slow
def test_ndjson_takes_what_follow_prints(served: Served, tmp_path: Path) -> None:
    """A log can be copied into another server; doing it twice stores nothing twice."""
    name = served.stream()
    served.run("append", name, "t", '{"text": "a\\u2028b"}', "--event-id", f"id-{name[5:]}")
    lines = served.run("follow", name, "--until-end", "--json").out
    process, url = start_server(tmp_path / "copy.db")
    try:
        copy = Served(url, tmp_path / "copy.db")
        answers = [copy.run("append", "--ndjson", "--json", stdin=lines).lines() for _ in range(2)]
        assert [each["seq"] for each in answers[0]] == [each["seq"] for each in answers[1]] == [1]
        (event,) = copy.run("follow", name, "--until-end", "--json").lines()
        assert (event["event_id"], event["payload"]) == (f"id-{name[5:]}", {"text": "a\u2028b"})
    finally:
        stop(process)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{broken", "line 3: .*not valid JSON", id="not JSON"),
        pytest.param('{"payload": {}, "color": 1}', "line 3: .*unknown field `color`", id="an unknown field"),
        pytest.param('{"payload": 1}', "line 3: .*Expected `object`", id="a wrong type"),
        pytest.param('{"payload": {}, "stream": "x"}', "line 3: .*kind:id", id="a bad name"),
        pytest.param("[]", "line 3: .*Expected `object`", id="not an object"),
    ],
)
def test_ndjson_names_the_line_at_fault_and_keeps_those_before(served: Served, line: str, message: str) -> None:
    """What was stored is said; what comes after the fault is not sent."""
    name = served.stream()
    good = '{"payload": {}}'
    result = served.run("append", "--ndjson", name, "t", stdin=f"{good}\n{good}\n{line}\n{good}\n")
    assert result.code == 1
    assert re.search(rf"^error: .*{message}", result.err, re.MULTILINE)
    assert re.search(r"^2 events stored", result.err, re.MULTILINE)
    assert len(served.run("follow", name, "--until-end", "--json").lines()) == 2


async def test_ndjson_stores_lines_as_they_come(served: Served) -> None:
    """A slow pipe's line does not wait for a full batch, and Ctrl-C ends the wait for the next one."""
    arguments = ("append", "--ndjson", "--json", served.stream(), "t", "--server", served.url)
    async with running(*arguments, stdin=PIPE) as process:
        assert process.stdin is not None
        for revision in (1, 2):
            process.stdin.write(b'{"payload": {}}\n')
            assert json.loads(await read_line(process.stdout))["revision"] == revision
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert b"2 events stored" in err
    assert b"Traceback" not in err


def test_follow_prints_one_readable_line_per_event(served: Served) -> None:
    """Time, seq, stream, type and payload, uncut where there is no terminal; no payload moves the cursor."""
    name = served.stream()
    payload = {"text": "line\nbreak \x1b[31mred\x07 \u202eturned [bold]markup[/bold]", "long": "x" * 300}
    seq = served.run("append", name, "task.step", json.dumps(payload), "--json").json()["seq"]
    result = served.run("follow", name, "--until-end", "--start", "beginning")
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{3}} +{seq}  {name}  task\.step  \{{.*x{{300}}.*\}}\n", result.out)
    assert "[bold]markup[/bold]" in result.out
    assert "\\u202e" in result.out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.out)


@pytest.mark.slow
def test_follow_selects_by_stream_type_and_start(served: Served) -> None:
    """Several streams, several globs, a tail: order is always by seq."""
    one, two = served.stream(), served.stream()
    for name, event_type in ((one, "a.x"), (two, "a.y"), (one, "b.x"), (two, "b.y"), (one, "a.z")):
        served.run("append", name, event_type, "{}")

    def types(*arguments: str) -> list[str]:
        return [event["event_type"] for event in served.run("follow", *arguments, "--until-end", "--json").lines()]

    assert types(one, two) == ["a.x", "a.y", "b.x", "b.y", "a.z"]
    assert types(one, two, "--type", "a.*") == ["a.x", "a.y", "a.z"]
    assert types(one, two, "--type", "a.y", "--type", "b.x") == ["a.y", "b.x"]
    assert types(one, "--start", "tail:2") == ["b.x", "a.z"]


@pytest.mark.slow
async def test_follow_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    """Every event once and in order over a SIGKILL and a restart, and the break is said on stderr only."""
    db = tmp_path / "towow.db"
    process, url = start_server(db)
    try:
        server = Served(url, db)
        append = ("append", "task:a", "t", "{}")
        await asyncio.to_thread(server.run, *append)
        async with running("follow", "--start", "beginning", "--json", "--server", url) as follow:
            assert json.loads(await read_line(follow.stdout))["seq"] == 1
            stop(process)
            assert "trying again in" in await read_line(follow.stderr)
            process, _ = await asyncio.to_thread(start_server, db, int(url.rpartition(":")[2]))
            await asyncio.to_thread(server.run, *append)
            assert json.loads(await read_line(follow.stdout))["seq"] == 2
            told = ""
            while "connected again" not in told:
                told = await read_line(follow.stderr)
            assert "nothing is missing" in told
            follow.send_signal(signal.SIGINT)
            out, _ = await follow.communicate()
            assert (follow.returncode, out) == (130, b"")
    finally:
        stop(process)


async def test_follow_waits_for_a_stream_that_does_not_exist_yet(served: Served) -> None:
    """`--wait-for-stream` is for those who come before the first event."""
    name = served.stream()
    arguments = ("follow", name, "--wait-for-stream", "--json", "--server", served.url)
    async with running(*arguments) as follow:
        await asyncio.to_thread(served.run, "append", name, "t", "{}")
        assert json.loads(await read_line(follow.stdout))["stream"] == name


async def test_ctrl_c_ends_a_follow_quietly(served: Served) -> None:
    """Exit code 130 and no traceback."""
    name = served.stream()
    await asyncio.to_thread(served.run, "append", name, "t", "{}")
    async with running("follow", name, "--server", served.url) as follow:
        await read_line(follow.stdout)
        follow.send_signal(signal.SIGINT)
        out, err = await follow.communicate()
        assert (follow.returncode, out, err.strip()) == (130, b"", b"")


@pytest.mark.parametrize("flags", [["--json"], []], ids=["json", "human"])
async def test_reader_that_leaves_ends_the_command(served: Served, flags: list[str]) -> None:
    """`follow | head -1` ends although no second event comes; there is nothing on stderr."""
    name = served.stream()
    await asyncio.to_thread(served.run, "append", name, "t", "{}")
    reader, writer = os.pipe()
    async with running("follow", name, *flags, "--server", served.url, stdout=writer) as process:
        os.close(writer)
        output = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(reader, "rb", 0)
        )
        try:
            assert name in await read_line(output)
        finally:
            transport.close()
        _, err = await process.communicate()
        assert (process.returncode, err) == (cli.READER_LEFT, b"")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--json"], ["--csv"], ["--all"]], ids=lambda flags: flags[0])
def test_head_of_a_long_output_is_quiet(served: Served, flags: list[str]) -> None:
    """A pipe that closes in the middle of the output is no error either."""
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) SELECT i FROM n"
    command = f'"{sys.executable}" "{RUN}" sql "{query}" --db "{served.db}" {flags[0]}'
    command += " | head -1; exit ${PIPESTATUS[0]}"
    done = run(["bash", "-c", command], capture_output=True, text=True, timeout=SECONDS, env=environment_with(), check=False)
    assert (done.returncode, done.stderr) == (cli.READER_LEFT, "")
    assert len(done.stdout.splitlines()) == 1


def in_terminal(*arguments: str, columns: int = 60, **environment: str) -> str:
    """What a command prints on a terminal of that width."""
    main, side = pty.openpty()
    process = Popen(
        [sys.executable, RUN, *arguments],
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment_with(TERM="xterm-256color", COLUMNS=str(columns), **environment),
    )
    os.close(side)
    alarm = threading.Timer(SECONDS, process.kill)
    alarm.start()
    chunks: list[bytes] = []
    try:
        while chunk := os.read(main, 65_536):
            chunks.append(chunk)
    except OSError:  # how Linux says that the other side has closed
        pass
    os.close(main)
    process.wait()
    alarm.cancel()
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_terminal_gets_colours_and_lines_that_fit(served: Served) -> None:
    """A line is cut to the width, in cells and not in characters; NO_COLOR takes the colours away."""
    name = served.stream("run")[:20]
    served.run("append", name, "run.step", json.dumps({"text": "场地" * 60}))
    arguments = ("follow", name, "--until-end", "--server", served.url)
    coloured = in_terminal(*arguments, columns=100)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    (line,) = plain.splitlines()
    assert coloured != plain
    assert line.endswith("…")
    assert 98 <= cell_len(line) <= 100
    without = in_terminal(*arguments, columns=100, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", without)
    assert in_terminal("nonsense").startswith("\x1b[31merror: ")
    assert in_terminal("nonsense", NO_COLOR="1").startswith("error: ")


def test_append_at_a_terminal_does_not_wait_for_input(served: Served) -> None:
    """Without a payload and without a pipe the payload is empty."""
    assert "revision 1" in in_terminal("append", served.stream(), "t", "--server", served.url, columns=200)


# sql


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A small database at a path that a URI must quote."""
    folder = tmp_path / "a b?#%41"
    folder.mkdir()
    path = folder / "t.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER, s TEXT, b BLOB);"
        "INSERT INTO t VALUES (1, 'one, \"1\"', x'00ff'), (2, NULL, NULL);"
        "INSERT INTO t VALUES (3, '三' || char(10) || char(27), x'');"
    )
    connection.close()
    return path


def test_sql_prints_a_table_json_or_csv(database: Path) -> None:
    """The same rows for people and for programs; NULL, bytes and odd text included."""
    query = ["sql", "SELECT n, s, b, n AS n FROM t", "--db", str(database)]
    assert run_cli(*query, "--json").json() == [
        {"n": 1, "s": 'one, "1"', "b": "00ff", "n_2": 1},
        {"n": 2, "s": None, "b": None, "n_2": 2},
        {"n": 3, "s": "三\n\x1b", "b": "", "n_2": 3},
    ]
    assert list(csv.reader(io.StringIO(run_cli(*query, "--csv").out))) == [
        ["n", "s", "b", "n_2"],
        ["1", 'one, "1"', "00ff", "1"],
        ["2", "", "", "2"],
        ["3", "三\n\x1b", "", "3"],
    ]
    table = run_cli(*query).out
    assert [line.split() for line in table.splitlines()] == [
        ["n", "s", "b", "n_2"],
        ["1", "one,", '"1"', "00ff", "1"],
        ["2", "2"],
        ["3", "三\\n\\x1b", "3"],
    ]
    assert run_cli("sql", "SELECT n FROM t WHERE 0", "--json", "--db", str(database)).json() == []


def test_sql_cuts_long_tables_and_says_so(database: Path) -> None:
    """Only the table is cut, never without a note, and not with --all."""
    query = [
        "sql",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 700) SELECT i FROM n",
        "--db",
        str(database),
    ]
    cut = run_cli(*query)
    assert len(cut.out.splitlines()) == 501
    assert cut.err == "cut after 500 rows; --all shows every row, --json and --csv always do\n"
    assert [len(run_cli(*query, flag).out.splitlines()) for flag in ("--all", "--csv", "--json")] == [701, 701, 702]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("INSERT INTO t VALUES (4, 'x', NULL)", id="insert"),
        pytest.param("DELETE FROM t RETURNING n", id="delete that looks like a query"),
        pytest.param("WITH a AS (SELECT 1) UPDATE t SET n = 0", id="update behind a with"),
        pytest.param("DROP TABLE t", id="drop"),
        pytest.param("PRAGMA user_version = 9", id="pragma"),
        pytest.param("PRAGMA query_only = 0; INSERT INTO t VALUES (4, 'x', NULL)", id="query_only off, then insert"),
        pytest.param("PRAGMA query_only = 0; ATTACH 'file:{main}?mode=rwc' AS m", id="query_only off, then attach"),
        pytest.param("ATTACH '{other}' AS o", id="attach another file"),
        pytest.param("ATTACH 'file:{other}?mode=rwc' AS o", id="attach by URI"),
        pytest.param("VACUUM INTO '{other}'", id="vacuum into another file"),
        pytest.param("VACUUM", id="vacuum"),
        pytest.param("PRAGMA journal_mode = DELETE", id="another journal"),
        pytest.param("SELECT writefile('{other}', 'x')", id="a shell's function"),
        pytest.param("SELECT load_extension('{other}')", id="an extension"),
        pytest.param("BEGIN IMMEDIATE", id="a lock"),
    ],
)
def test_sql_cannot_write(database: Path, tmp_path: Path, query: str) -> None:
    """Neither this file changes nor does another one appear, and the refusal is one line."""
    other = tmp_path / "other.db"
    before = database.read_bytes()
    result = run_cli("sql", query.format(other=other, main=database), "--db", str(database))
    assert (result.code, result.out) == (1, "")
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")
    assert database.read_bytes() == before
    assert not other.exists()
    assert run_cli("sql", "SELECT count(*) AS n FROM t", "--json", "--db", str(database)).json() == [{"n": 3}]


def test_sql_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    """A mistyped path is an error, not a new database."""
    missing = tmp_path / "missing.db"
    result = run_cli("sql", "SELECT 1", "--db", str(missing))
    assert result == (1, "", f"error: there is no database at {missing}\n")
    assert not missing.exists()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("SELECT nix FROM t", "no such column: nix"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
    ],
)
def test_sql_errors_are_one_line(database: Path, query: str, message: str) -> None:
    """SQLite's own words."""
    result = run_cli("sql", query, "--db", str(database))
    assert (result.code, result.out) == (1, "")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_sql_says_when_the_file_is_no_database(tmp_path: Path) -> None:
    """Something else is named for what it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at it" * 10)
    assert run_cli("sql", "SELECT * FROM events", "--db", str(path)).err == f"error: {path} is not a SQLite database\n"


def test_sql_without_a_result_says_so(database: Path) -> None:
    """A comment is no query."""
    result = run_cli("sql", "/* nothing */", "--db", str(database))
    assert (result.code, result.out) == (0, "")
    assert "no result" in result.err


async def test_ctrl_c_ends_a_long_query(database: Path) -> None:
    """SQLite does not keep the terminal."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    query = f"SELECT 'begun' UNION ALL SELECT 'again' UNION ALL SELECT count(*) FROM ({endless})"
    async with running("sql", query, "--json", "--db", str(database), PYTHONUNBUFFERED="1") as process:
        assert await read_line(process.stdout) == "[\n"
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert (process.returncode, err.strip()) == (130, b"")


# demo


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_demo_shows_a_negotiation_to_its_end(served: Served, lang: str) -> None:
    """For a newcomer: what was understood, who could help, offers, proposals, answers, the plan, and where to look."""
    result = served.run("demo", "--lang", lang)
    assert (result.code, result.err) == (0, "")
    assert re.search(rf"^watch +{served.url}/#d-[0-9a-f]{{8}}$", result.out, re.MULTILINE)
    story = [line for line in result.out.splitlines() if re.match(r" *[0-9]+\.[0-9] s  \S", line)]
    steps = [" found", " invited, ", "Bob offers ", "proposal 1", "Bob accepts", "agreed after "]
    places = [next(n for n, line in enumerate(story) if step in line) for step in steps]
    assert places == sorted(places)
    assert places[-1] == len(story) - 1
    assert "user_agent_bob" in result.out
    assert max(map(cell_len, result.out.splitlines())) <= 80


def test_demo_that_nobody_can_serve_ends_with_the_failure(served: Served) -> None:
    """A failed negotiation is the end of the demonstration, not an error of it."""
    result = served.run("demo", "zzyzx qwfp")
    assert (result.code, result.err) == (0, "")
    assert "nobody was found" in result.out
    assert "limits" not in result.out
    assert re.search(r"^ *[0-9]+\.[0-9] s  failed after [0-9]+\.[0-9] s: \S", result.out, re.MULTILINE)


def test_demo_that_does_not_end_in_time_says_where_it_goes_on(served: Served) -> None:
    """The page goes on showing it."""
    result = served.run("demo", "--seconds", "0.001")
    assert result.code == 1
    watched = re.search(r"#d-[0-9a-f]{8}", result.out)
    assert watched is not None
    expected = f"error: the negotiation has not ended within 0.001 s; it goes on at {served.url}/{watched[0]}\n"
    assert result.err == expected


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON that answers a GET, or a POST with a body."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data=data, headers={"Content-Type": "application/json"}), timeout=SECONDS) as answer:
        return json.load(answer)


async def started_demo(served: Served, process: asyncio.subprocess.Process) -> str:
    """The id of the demand, when an agent is invited that will never answer."""
    demand_id = ""
    while "1 invited" not in (line := await read_line(process.stdout)):
        assert line, "the demonstration ended"
        if found := re.search(r"#(d-[0-9a-f]{8})", line):
            demand_id = found[1]
    return demand_id


@pytest.fixture
def silent(served: Served) -> str:
    """A demand that only an agent offers which never answers."""
    ask(f"{served.url}/api/agents", {"agent_id": "silent", "name": "Silent", "capabilities": ["unicorn grooming"]})
    return "I need unicorn grooming"


async def test_demo_tells_its_own_demand_to_any_end(served: Served, silent: str) -> None:
    """What else goes on is not shown; a cancelled negotiation is an end like any other."""
    async with running("demo", silent, TOWOW_SERVER=served.url) as process:
        demand_id = await started_demo(served, process)
        other = ask(f"{served.url}/api/demand/submit", {"raw_input": "zzyzx qwfp"})["demand_id"]
        while ask(f"{served.url}/api/demand/{other}")["status"] == "processing":
            pass
        ask(f"{served.url}/api/demand/{demand_id}/cancel", {"user_id": "demo", "reason": "found one"})
        out, error = await process.communicate()
    assert (process.returncode, error) == (0, b"")
    assert re.fullmatch(r" *[0-9.]+ s  cancelled after [0-9.]+ s: found one *\n", out.decode())


async def test_demo_is_left_with_ctrl_c(served: Served, silent: str) -> None:
    """No traceback, and the shell's code for it, while agents are waited for."""
    async with running("demo", silent, TOWOW_SERVER=served.url) as process:
        await started_demo(served, process)
        process.send_signal(signal.SIGINT)
        _, error = await process.communicate()
    assert (process.returncode, error) == (130, b"\n")  # the shell's prompt begins on a line of its own


def test_demo_refuses_what_the_server_refuses(served: Served) -> None:
    """A blank demand is not submitted as something else."""
    result = served.run("demo", "   ")
    assert (result.code, result.err.count("\n")) == (1, 1)


# Rendering


def tell(*steps: tuple[str, str, dict[str, Any]]) -> tuple[str, list[bool]]:
    """What the narration of d-1 prints for (demand, type without towow., payload), a second apart, and what it returns."""
    out = io.StringIO()
    story = Narration(Console(file=out, width=80, markup=False, highlight=False), "d-1", "2027-01-15T08:00:00.000Z")
    ends = []
    for seq, (demand_id, event_type, payload) in enumerate(steps, 1):
        timestamp = f"2027-01-15T08:00:{seq:02d}.000Z"
        stored = Event(
            seq, f"demand:{demand_id}", seq, f"e{seq}", f"towow.{event_type}", timestamp, "towow", json.dumps(payload)
        )
        assert story.concerns(stored)
        ends.append(story.tell(stored))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines()), ends


BOB = {"agent_id": "bob", "name": "Bob"}
DORA = {"agent_id": "dora", "name": "朵拉"}
CNY = {"currency": "CNY"}


def test_a_negotiation_reads_well_at_80_columns() -> None:
    """Every step has its line, proposals are tables, sub-negotiations are indented, the end says what was agreed."""
    venue = {**BOB, "capabilities": ["venue"], "terms": {"price": 1900.5, **CNY}, "offered_price": 2000}
    venue["conditions"] = ["the key is handed over at eight in the morning", "no confetti in the hall"]
    plan = {
        **DORA,
        "capabilities": ["event_planning"],
        "terms": {"price": 500, **CNY},
        "offered_price": 500,
        "subnet_id": "d-1.1",
    }
    offer = {"content": "A hall\nwith a stage.", "capabilities": ["venue"], "terms": {"price": 2000, **CNY}}
    proposal = {"round": 2, "assignments": [venue, plan], "missing": ["event_staff"], "total_price": 2400.5, **CNY}
    subnet = {"subnet_id": "d-1.1", "capability": "event_planning"}
    text, ends = tell(
        ("d-1", "filter.completed", {"candidates": [{**BOB, "reason": "venue: hall"}, {**DORA, "reason": "venue: room"}]}),
        ("d-1", "demand.broadcast", {"agent_ids": ["bob", "dora"], "offers_within_seconds": 30.0}),
        ("d-1", "offer.submitted", {**BOB, "offer": offer}),
        ("d-1", "offer.declined", {**DORA, "reason": "not on Sundays"}),
        ("d-1", "gap.identified", {"capability": "event_planning", "gap": "Nobody offers event planning."}),
        ("d-1", "subnet.triggered", subnet),
        ("d-1.1", "demand.understood", {"surface_demand": "event planning"}),
        ("d-1.1", "filter.completed", {"candidates": []}),
        ("d-1.1.1", "negotiation.cancelled", {"reason": "no time"}),
        ("d-1.1", "proposal.finalized", {"round": 1, "proposal": {"total_price": 500, **CNY}}),
        ("d-1", "subnet.completed", {**subnet, "outcome": "finalized"}),
        ("d-1", "proposal.distributed", proposal),
        ("d-1", "proposal.feedback", {**BOB, "decision": "accept", "comment": ""}),
        ("d-1", "proposal.feedback", {**DORA, "decision": "revise", "comment": "I need a microphone."}),
        ("d-1", "proposal.feedback", {"user_id": "anna", "decision": "reject"}),
        ("d-1", "weather.changed", {}),
        ("d-1", "proposal.finalized", {"round": 2, "proposal": proposal}),
    )
    assert (
        text
        == """\
  1.0 s  2 found
         candidate  agent  because
         Bob        bob    venue: hall
         朵拉       dora   venue: room
  2.0 s  2 invited, 30 s to offer
  3.0 s  Bob offers venue for 2,000 CNY
         A hall with a stage.
  4.0 s  朵拉 declines: not on Sundays
  5.0 s  missing: Nobody offers event planning.
  6.0 s  sub-negotiation for event planning
  8.0 s    nobody was found
  9.0 s      cancelled: no time
 10.0 s    agreed: 500 CNY in all
 11.0 s  sub-negotiation for event planning agreed
 12.0 s  proposal 2, 2,400.50 CNY in all
         who   what                   price  conditions
         Bob   venue           1,900.50 CNY  the key is handed over at eight in
                                asked 2,000  the morning; no confetti in the
                                             hall
         朵拉  event planning       500 CNY  agreed below
         still missing: event staff
 13.0 s  Bob accepts
 14.0 s  朵拉 wants it changed: I need a microphone.
 15.0 s  anna rejects it
 16.0 s  towow.weather.changed
 17.0 s  agreed after 17.0 s, in round 2: 2,400.50 CNY in all; still missing:
         event staff
"""
    )
    assert ends == [False] * 16 + [True]


def test_a_story_is_cut_where_an_agent_never_stops() -> None:
    """300 characters of what somebody says are shown; a failure is told in its own words, a price is a number."""
    offer = {"content": "word " * 100, "terms": {"price": True}}
    failed = {"reason": "no_offers", "message": "Nobody made an offer."}
    text, ends = tell(("d-1", "offer.submitted", {**BOB, "offer": offer}), ("d-1", "negotiation.failed", failed))
    said = " ".join(text.split())
    assert f"Bob offers something {'word ' * 59}word…" in said
    assert said.endswith("failed after 2.0 s: Nobody made an offer.")
    assert ends == [False, True]


def test_a_story_is_about_one_demand_and_what_is_below_it() -> None:
    """Other demands have ids of their own, also those that begin with the same characters."""
    story = Narration(Console(file=io.StringIO()), "d-1", "2027-01-15T08:00:00.000Z")
    for demand_id, is_told in (("d-1", True), ("d-1.1", True), ("d-1.1.1", True), ("d-11", False), ("d-2", False)):
        assert story.concerns(Event(1, f"demand:{demand_id}", 1, "e", "t", "", "s", "{}")) is is_told


ODD_VALUES = {
    "null": None,
    "true": True,
    "number": 7,
    "fraction": -1.5,
    "nothing": "",
    "controls": "\x1b[2J\u202e\n\t",
    "long": "x" * 5000,
    "list": [1, None, {}, [], "\x07"],
    "object": {"price": "x", "terms": 1},
}
TEXTS = ["agent_id", "name", "reason", "capability", "gap", "outcome", "currency", "decision", "comment", "message", "content"]
LISTS = ["candidates", "agent_ids", "assignments", "missing", "conditions", "capabilities"]
OTHERS = ["offers_within_seconds", "offered_price", "offer", "terms", "proposal", "round", "total_price"]
EVENT_TYPES = sorted(value for value in vars(state).values() if isinstance(value, str) and value.startswith("towow."))


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in ODD_VALUES.items()])
def test_a_story_is_told_whatever_was_appended(value: Any) -> None:
    """No payload stops it, moves the cursor or leaves the screen; what has the wrong type is left out."""
    flat = dict.fromkeys(TEXTS + LISTS + OTHERS, value)
    deep = dict.fromkeys(TEXTS + OTHERS, flat) | {key: [flat, value] for key in LISTS}
    for payload in (flat, deep, {}):
        text, _ = tell(*(("d-1", event_type.removeprefix("towow."), payload) for event_type in EVENT_TYPES))
        assert text.replace("\n", "").isprintable()
        assert max(map(cell_len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (5, "5"),
        ("需求 🦊 é", "需求 🦊 é"),
        ("a\tb\nc\r", "a\\tb\\nc\\r"),
        ("\x1b[2J\x07\x9b", "\\x1b[2J\\x07\\x9b"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\u2028\ud800", "\\u2028\\ud800"),
        ("全角\u3000空格", "全角\u3000空格"),
    ],
)
def test_text_of_strangers_cannot_move_the_cursor(value: object, text: str) -> None:
    """Controls and direction marks become visible; ordinary writing of any language stays."""
    assert safe_text(value) == text


def test_times_are_local_and_dated_unless_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """People read their own clock."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert local_time("2020-01-01T20:00:00.123Z") == "2020-01-02 04:00:00.123"
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.000", local_time(now))
        assert local_time("soon\x1b") == "soon\\x1b"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_kinds_keep_their_colours() -> None:
    """Known kinds differ, and an unknown one has the same colour in every process."""
    styles = [kind_style(kind) for kind in ("demand", "agent", "session", "operator", "broadcast", "task", "run", "mcp")]
    assert len(set(styles)) == len(styles)
    assert kind_style("anything") == kind_style("anything")
