"""The bare things our figures are compared with, each in a process of its own: `python -m benchmarks.references NAME`.

Every one prints a line when it is ready: the port it listens on, or 0."""

import asyncio
import gc
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from benchmarks.machine import raise_file_limit
from benchmarks.orders import payload_text
from server.config import DatabaseSection
from server.eventlog.database import migrate, sqlite3
from server.eventlog.rows import NO_DIGEST, crc_of, link
from server.streaming.sse import SseWire
from towow.events import Event, timestamp_of, uuid7

_BACKLOG = 4_096
_ROWS = 1_000


async def empty(request: web.Request) -> web.StreamResponse:
    """The least that an aiohttp handler can do."""
    return web.Response()


async def parsing(request: web.Request) -> web.StreamResponse:
    """The least that a JSON API can do: parse the body, answer JSON."""
    event = await request.json()
    return web.json_response({"stream": event["stream"]}, status=201)


async def waiting(request: web.Request) -> web.StreamResponse:
    """A stream on which nothing ever comes."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await asyncio.Event().wait()
    return response


async def _serve(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
    app = web.Application()
    app.router.add_route("*", "/", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=_BACKLOG)
    await site.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as our server does
    _say(runner.addresses[0][1])
    await asyncio.Event().wait()


def serve(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
    """Serve one handler at `/` on aiohttp without an access log, with uvloop where our server has it."""
    if sys.platform != "win32":
        import uvloop

        uvloop.run(_serve(handler))
    else:
        asyncio.run(_serve(handler))


def send() -> None:
    """A loop of `socket.send`. Connections that GET are readers; every POST sends one event to all of them, and is answered.

    When a publisher leaves, a line has the median of the microseconds for each reader."""
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        _say(listener.getsockname()[1])
        readers: list[socket.socket] = []
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if connection.recv(65_536).startswith(b"GET"):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # as our listener's
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                connection.setblocking(False)
                readers.append(connection)
                continue
            _say([_send_for(connection, readers) * 1e6])
            for reader in readers:
                reader.close()
            readers.clear()


def _send_for(publisher: socket.socket, readers: list[socket.socket]) -> float:
    wire = SseWire()
    event = Event(1_000_000, "bench:single", 1_000_000, uuid7(time.time), "note", timestamp_of(0.0), "unknown", payload_text())
    data = wire.wrap(wire.event(event))
    seconds = []
    with publisher:
        while True:
            started_at = time.perf_counter()
            for reader in readers:
                if reader.send(data) != len(data):
                    raise OSError("a reader did not keep up")
            seconds.append((time.perf_counter() - started_at) / len(readers))
            publisher.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            if not publisher.recv(65_536):
                return statistics.median(seconds)


def insert(path: Path, batches: int) -> None:
    """`executemany` of the rows that our server would write, into its schema, 1,000 in a transaction.

    For every line on stdin, a line has the rows per second of `batches` transactions."""
    db = sqlite3.connect(str(path), isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {DatabaseSection().synchronous}")
    migrate(db)
    statement = (
        "INSERT INTO events (seq, stream, revision, event_type, timestamp, source, payload, crc, digest)"
        " VALUES (?,?,?,?,?,?,?,?,?)"
    )
    last = Event(0, "bench:batch", 0, "", "note", "", "unknown", payload_text())
    digest = NO_DIGEST
    _say(0)
    for _ in sys.stdin.buffer:
        prepared: list[list[tuple[Any, ...]]] = []
        for _ in range(batches):
            rows: list[tuple[Any, ...]] = []
            for _ in range(_ROWS):
                last = Event(
                    last.seq + 1,
                    last.stream,
                    last.revision + 1,
                    f"evt-0123456789abcdef-{last.seq + 1}",
                    "note",
                    timestamp_of(time.time()),
                    "unknown",
                    last.payload_json,
                )
                canonical = last.canonical()
                digest = link(digest, canonical)
                rows.append((*(getattr(last, name) for name in _EVENT_FIELDS), crc_of(canonical), digest))
            prepared.append(rows)
        started_at = time.perf_counter()
        for rows in prepared:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(statement, rows)
            db.execute("COMMIT")
        _say([batches * _ROWS / (time.perf_counter() - started_at)])
    db.close()


_EVENT_FIELDS = ("seq", "stream", "revision", "event_type", "timestamp", "source", "payload_json")


def _say(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Be one of them."""
    raise_file_limit()
    match sys.argv[1:]:
        case ["empty"]:
            serve(empty)
        case ["parsing"]:
            serve(parsing)
        case ["waiting"]:
            serve(waiting)
        case ["send"]:
            send()
        case ["insert", path, batches]:
            insert(Path(path), int(batches))
        case arguments:
            raise SystemExit(f"no such reference: {arguments}")


if __name__ == "__main__":
    main()
