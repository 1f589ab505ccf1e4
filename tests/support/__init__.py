"""What several tests need: frames from a stream, events to publish, the shape of an error, a server process."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import NamedTuple, NoReturn
from unittest import mock

import msgspec
import pytest

from server.background.duty import Duty
from server.eventlog import rows
from server.eventlog.chain import verify_chain
from server.eventlog.database import Database, sqlite3
from server.eventlog.hub import Hub
from server.eventlog.log import EventLog
from towow.events import new_event

ROOT = Path(__file__).resolve().parents[2]


class Frame(NamedTuple):
    """One SSE block as a client sees it; `data` is decoded JSON, comments are frames with only `comment`."""

    event: str | None = None
    id: str | None = None
    data: object = None
    retry: int | None = None
    comment: str | None = None

    @property
    def seq(self):
        """The seq of a stored event, from its id; None for control frames and comments."""
        return None if self.event is not None or self.id is None else int(self.id.partition(".")[0])


async def read_frames(response, count, *, comments=False, timeout=3.0):
    """The next `count` frames of a stream; comments count only when asked for."""
    frames, fields = [], {}
    async with asyncio.timeout(timeout):
        while len(frames) < count:
            line = (await response.content.readline()).decode()
            assert line, f"the stream ended after {frames}"
            line = line.removesuffix("\n")
            if line.startswith(":"):
                if comments:
                    frames.append(Frame(comment=line[1:].strip()))
            elif not line:
                if fields:
                    frames.append(_frame(fields))
                fields = {}
            else:
                name, _, value = line.partition(": ")
                fields[name] = value
    return frames


def _frame(fields):
    data = json.loads(fields["data"])
    retry = int(fields["retry"]) if "retry" in fields else None
    return Frame(fields.get("event"), fields.get("id"), data, retry)


async def read_to_end(response, *, timeout=5.0):
    """The rest of the body as text, when the server ends it."""
    async with asyncio.timeout(timeout):
        return (await response.read()).decode()


def note(stream="task:a", n=0, **fields):
    """An event that is ready to append in process."""
    return new_event(stream, fields.pop("event_type", "note"), {"n": n}, **fields)


def body(stream="task:a", n=0, **fields):
    """The JSON of an event for POST /api/events."""
    return {"stream": stream, "event_type": "note", "payload": {"n": n}, **fields}


async def publish(client, count, *, stream="task:a", start=0):
    """Append `count` notes over HTTP in one request and return their receipts."""
    events = [body(stream, n) for n in range(start, start + count)]
    answer = await client.post("/api/events", json={"events": events})
    assert answer.status == 201, await answer.text()
    return (await answer.json())["events"]


async def assert_error(answer, code, *, status=None, field=None):
    """The one shape of an error, with this code; returns the `error` object."""
    data = await answer.json()
    error = data["error"]
    assert error["code"] == code, data
    assert data["detail"] == error["message"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", error["error_id"])
    assert answer.headers["X-Request-Id"] == error["error_id"]
    if status is not None:
        assert answer.status == status
    if field is not None:
        assert error["field"] == field
    return error


@contextlib.contextmanager
def refused(error, field):
    """What is done inside raises this error and names this field."""
    with pytest.raises(error) as caught:
        yield caught
    assert caught.value.field == field


def assert_linear(read, unit):
    """Four times the text takes about four times the steps; steps are counted, because time depends on the machine."""

    def steps(characters):
        count = 0

        def trace(frame, event, arg):
            nonlocal count
            count += 1
            return trace

        text = (unit * characters)[:characters]
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            read(text)
        finally:
            sys.settrace(before)
        return count

    assert steps(2_000) < 5 * steps(500) + 500


def empty(db, tables):
    """Remove every row of projections' tables, in this order, before they are filled again."""
    for table in tables:
        db.execute(f"DELETE FROM {table}").close()


@contextlib.asynccontextmanager
async def open_log(config, **options):
    """A real log on a real file, without HTTP."""
    is_terminal = options.pop("is_terminal", lambda stream, event_type: event_type == "finished")
    accept_loss = options.pop("accept_loss", None)
    hub = Hub(
        max_buffer_bytes=config.stream.max_buffer_bytes,
        tail_bytes=config.stream.tail_bytes,
        is_terminal=is_terminal,
        clock=time.monotonic,
    )
    async with (
        Database(config.database, accept_loss=accept_loss) as database,
        EventLog(database, hub, config, is_terminal=is_terminal, **options) as log,
    ):
        yield log


@contextlib.contextmanager
def nobody_acts(*names):
    """Applications of this process do not take these duties: what they would do stays undone."""
    try_take = Duty.try_take

    async def refuse(self, on_lost):
        return self._name not in names and await try_take(self, on_lost)

    with mock.patch.object(Duty, "try_take", refuse):
        yield


async def until(condition, *, timeout=5.0):
    """Wait for a condition that another task brings about, looking at every turn of the loop."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.001)


class ServerProcess:
    """A real server: `python run.py serve` on a free port. Use as a context manager; ends only its own process."""

    def __init__(self, database, *, port=0, environment=None, prefix=(), arguments=()):
        self.database = Path(database)
        self.port = port
        self._environment = environment or {}
        self.arguments = arguments
        self._prefix = prefix  # a tracer's command line; the tracer must not become the parent
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start and wait until it says where it listens."""
        log = Path(f"{self.database}.log")
        self._log = log.open("ab")
        command = [sys.executable, str(ROOT / "run.py"), "serve", "--port", str(self.port), "--db", str(self.database)]
        command += self.arguments
        self.process = subprocess.Popen(
            [*self._prefix, *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "TOWOW__POLL__MAX_POLL_INTERVAL_SECONDS": "0.2", **self._environment},
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, f"the server did not start: {line}\n{log.read_text()}"
        self.port = int(found[1])

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self._reap()

    def stop(self, *, timeout=10.0):
        """SIGTERM, and the exit code."""
        if self.process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return self._reap(timeout)

    def _reap(self, timeout=10.0):
        code = self.process.wait(timeout)
        self.process.stdout.close()
        self._log.close()
        self.process = None
        return code

    def get(self, path):
        """GET and decode JSON."""
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return json.load(answer)


class Message(NamedTuple):
    """What a browser's `EventSource` hands to a listener: the name, `lastEventId`, and the text."""

    event: str
    last_event_id: str
    data: str


class EventStreamParser:
    """The parser of the HTML standard (section 9.2.6), for a stream whose lines end with LF."""

    def __init__(self, last_event_id=""):
        self.last_event_id = last_event_id
        self.retry_milliseconds = None
        self._rest = b""
        self._event, self._data, self._id = "", [], last_event_id

    @property
    def pending_id(self):
        """The id that a client would go on from which takes it from the line, not from the whole block."""
        return self._id

    def feed(self, data):
        """Take bytes, cut anywhere; returns the messages that they complete."""
        assert b"\r" not in data, "the stream uses LF only"
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [message for line in lines if (message := self._line(line.decode())) is not None]

    def _line(self, line):
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_milliseconds = int(value)
        return None

    def _dispatch(self):
        self.last_event_id = self._id
        event, data, self._event, self._data = self._event, self._data, "", []
        return Message(event or "message", self.last_event_id, "\n".join(data)) if data else None


class EventSource:
    """A browser's `EventSource` on a plain socket: reconnects with the original query and `Last-Event-ID`.

    `messages` is what listeners would see, `requests` the head of every request, `state` the `readyState`."""

    def __init__(self, port, target):
        self.port = port
        self.target = target
        self.messages = []
        self.requests = []
        self.statuses = []
        self.clean_ends = 0
        self.state = "connecting"
        self._last_event_id = ""
        self._retry_seconds = 0.01
        self._task = None

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def events(self):
        """The stored events so far, decoded."""
        return [json.loads(message.data) for message in self.messages if message.event == "message"]

    def controls(self):
        """The control frames so far: name and fields."""
        named = [message for message in self.messages if message.event != "message"]
        return [(message.event, json.loads(message.data)) for message in named]

    def heard(self, messages):
        """Take what one chunk completed."""
        self.messages += messages

    async def _run(self):
        while self.state != "closed":
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._connect()
            if self.state != "closed":
                self.state = "connecting"
                await asyncio.sleep(self._retry_seconds)

    async def _connect(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            head = f"GET {self.target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in credentials().items())
            if self._last_event_id:
                head += f"Last-Event-ID: {self._last_event_id}\r\n"
            self.requests.append(head)
            writer.write(f"{head}Cache-Control: no-cache\r\n\r\n".encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            self.statuses.append(int(answer.split(" ", 2)[1]))
            if self.statuses[-1] != 200 or "content-type: text/event-stream" not in answer:
                self.state = "closed"
                return
            assert "transfer-encoding: chunked" in answer
            self.state = "open"
            await self._read(reader)
        finally:
            writer.close()

    async def _read(self, reader):
        parser = EventStreamParser(self._last_event_id)
        while size := int(await reader.readuntil(b"\n"), 16):
            self.heard(parser.feed((await reader.readexactly(size + 2))[:-2]))
            self._last_event_id = parser.last_event_id
            if parser.retry_milliseconds is not None:
                self._retry_seconds = parser.retry_milliseconds / 1000
        self.clean_ends += 1


def changed(config, section, **values):
    """The settings with some keys of one section changed."""
    return msgspec.structs.replace(config, **{section: msgspec.structs.replace(getattr(config, section), **values)})


def credentials():
    """The header that names this run's clients, with `--with-tokens`; else none."""
    token = os.environ.get("TOWOW_TEST_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def request_bytes(method, path, *, body=b"", version="1.1", **headers):
    """A request as it goes over the wire; `Last_Event_ID="7"` becomes `Last-Event-ID: 7`."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in (credentials() | headers).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextlib.asynccontextmanager
async def raw_connection(client, data=b""):
    """A bare connection to the test server, for what an HTTP client would hide: (reader, writer)."""
    reader, writer = await asyncio.open_connection(client.host, client.port, limit=1 << 20)
    try:
        writer.write(data)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def reset(writer):
    """End a connection with RST instead of FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def read_head(reader, *, timeout=3.0):
    """Status and headers (names in lower case) of an answer on a bare connection."""
    async with asyncio.timeout(timeout):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, f"{name} is there twice"
        headers[name.lower()] = value
    return int(lines[0].split()[1]), headers


async def read_chunk(reader, *, timeout=3.0):
    """One chunk of a chunked body on a bare connection, exactly as it was framed; empty at the end."""
    async with asyncio.timeout(timeout):
        size_line = await reader.readuntil(b"\r\n")
        assert re.fullmatch(rb"(0|[1-9a-f][0-9a-f]*)\r\n", size_line), size_line
        data = await reader.readexactly(int(size_line, 16))
        assert await reader.readexactly(2) == b"\r\n"
    return data


def has_reached(source, event):
    """Whether a follower's newest event is this one; a `ready` behind it may have the cursor of another stream's event."""
    newest = next((message for message in reversed(source.messages) if message.event == "message"), None)
    return newest is not None and newest.last_event_id == event.cursor


def read_rows(path):
    """Every stored event by seq, straight from the file."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return list(rows.read_events(db, "ORDER BY seq", ()))


def canonical(event):
    """The event as JSON says it."""
    return {
        "seq": event.seq,
        "stream": event.stream,
        "revision": event.revision,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "timestamp": event.timestamp,
        "source": event.source,
        "payload": event.payload,
    }


def insert_row(db, event):
    """Insert an event as a script with SQL of its own would, in the chain of the log; a `None` in its event_id stays one."""
    seq, digest = rows.read_head(db)
    event.seq = event.seq or seq + 1
    canonical = event.canonical()
    names = "seq, stream, revision, event_id, event_type, timestamp, source, payload, actor, crc, digest"
    fields = (event.seq, event.stream, event.revision, event.event_id, event.event_type, event.timestamp, event.source)
    row = (*fields, event.payload_json, event.actor, rows.crc_of(canonical), rows.link(digest, canonical))
    db.execute(f"INSERT INTO events ({names}) VALUES ({', '.join('?' * len(row))})", row)
    return event


def check_file(path):
    """The file is sound: SQLite says so, revisions are dense, every digest follows from the one before."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert verify_chain(db, rows.read_head(db).seq).faults == []
        revisions = Counter()
        previous_timestamp = ""
        for event in rows.read_events(db, "ORDER BY seq", ()):
            revisions[event.stream] += 1
            assert event.revision == revisions[event.stream]
            assert event.timestamp >= previous_timestamp
            previous_timestamp = event.timestamp
        last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()[0]
        assert last == db.execute("SELECT max(seq) FROM events").fetchone()[0]


def require(program: str, reason: str, variable: str = "TOWOW_REQUIRE_BROWSER") -> str:
    """The path of a program. Without it a test is skipped, or fails where the variable is 1."""
    executable = shutil.which(program)
    if executable is None:
        lack(reason, variable)
    return executable


def require_strace() -> str:
    """The path of strace; see `require`."""
    return require("strace", "strace is not installed", "TOWOW_REQUIRE_STRACE")


def lack(reason: str, variable: str) -> NoReturn:
    """Skip a test that lacks something, or fail it where the variable is 1."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1, and {reason}")
    pytest.skip(reason)
