"""How the process ends and how it refuses to start: streams are ended cleanly, faults are said, nothing is half done."""

import asyncio
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import aiohttp
import pytest

from server.eventlog.database import sqlite3
from tests.support import ROOT, EventSource, ServerProcess, body, check_file, lack, publish, read_rows, require_strace, until

STREAMS = 1_000
EXIT_SECONDS = 2.0
MARGIN_SECONDS = 0.9  # for a busy machine; the time itself is printed
QUIET = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false", "TOWOW__STREAM__RETRY_MILLISECONDS": "1000"}


async def signal_and_wait(server, number):
    """Send the signal; returns the exit code and the seconds until the process was gone."""
    started = time.monotonic()
    process = server.process
    process.send_signal(number)
    code = await asyncio.to_thread(process.wait, 20)
    seconds = time.monotonic() - started
    server._reap()
    return code, seconds


def said(server):
    """What the process has written to stderr."""
    return (server.database.parent / f"{server.database.name}.log").read_text()


class OpenStream:
    """One stream on a plain socket, so that the way it ends is seen byte for byte."""

    async def open(self, port):
        """Connect and read up to `ready`."""
        self.reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(b"GET /api/events/stream?stream=task:a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await self.reader.readuntil(b"event: ready\n")
        return self

    async def rest(self):
        """Everything until the server closes."""
        try:
            return await self.reader.read()
        finally:
            self._writer.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["SIGTERM", "Ctrl-C", "SIGHUP"])
async def test_a_signal_ends_a_thousand_streams_cleanly_and_soon(tmp_path, number):
    """Every stream gets `event: end` with a reconnect hint of its own and the last chunk; the exit code is 0."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * STREAMS)), hard))
    with ServerProcess(tmp_path / "towow.db", environment=QUIET) as server:
        async with aiohttp.ClientSession(server.url) as client:
            await publish(client, 3)
        streams = []
        for _ in range(0, STREAMS, 100):
            streams += await asyncio.gather(*(OpenStream().open(server.port) for _ in range(100)))
        assert server.get("/health")["followers"] == STREAMS
        rests = [asyncio.create_task(stream.rest()) for stream in streams]
        code, seconds = await signal_and_wait(server, number)
        ends = await asyncio.gather(*rests)
    print(f"\n{STREAMS} streams ended and the process was gone in {seconds:.2f} s")
    retries = set()
    for end in ends:
        found = re.search(rb"retry: (\d+)\nevent: end\ndata: (\{.*\})\n\n\r\n0\r\n\r\n\Z", end)
        assert found, end
        fields = json.loads(found[2])
        assert (fields["reason"], fields["last_seq"]) == ("shutdown", 3)
        retries.add(int(found[1]))
    assert code == 0
    assert seconds < EXIT_SECONDS + MARGIN_SECONDS
    assert len(retries) > STREAMS / 10, "clients must not come back together"
    assert 1000 <= min(retries) <= max(retries) <= 3000
    assert "Traceback" not in said(server)


async def test_a_signal_ends_every_transport_and_long_polls(tmp_path):
    """NDJSON and WebSocket followers hear `end`, a long poll is answered, idle connections do not hold the process."""
    with ServerProcess(tmp_path / "towow.db", environment=QUIET) as server:
        async with aiohttp.ClientSession(server.url) as client:
            await publish(client, 1)
            lines = await client.get("/api/events/stream?stream=task:a&format=ndjson")
            assert b'"seq":1' in await lines.content.readline()
            assert b'"ready"' in await lines.content.readline()
            messages = await client.ws_connect("/api/events/stream?stream=task:a")
            assert (await messages.receive_json())["seq"] == 1
            assert (await messages.receive_json())["control"] == "ready"
            poll = asyncio.create_task(client.get("/api/events?stream=task:a&since_seq=1&wait=50"))
            half = await asyncio.open_connection("127.0.0.1", server.port)
            half[1].write(b"POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n")
            async with client.get("/health") as health:  # asked after the poll, so the poll waits by now
                assert (await health.json())["followers"] == 2
            ending = asyncio.create_task(signal_and_wait(server, signal.SIGTERM))
            end = json.loads(await lines.content.readline())
            assert (end["control"], end["reason"], end["last_seq"]) == ("end", "shutdown", 1)
            assert 1000 <= end["retry_milliseconds"] <= 3000
            end = await messages.receive_json()
            assert (end["control"], end["reason"]) == ("end", "shutdown")
            assert (await messages.receive()).type == aiohttp.WSMsgType.CLOSE
            answer = await poll
            assert answer.status == 200
            assert (await answer.json())["events"] == []
            code, seconds = await ending
            half[1].close()
        assert code == 0
        print(f"\ngone in {seconds:.2f} s")
        assert seconds < EXIT_SECONDS + MARGIN_SECONDS
        assert "Traceback" not in said(server)


async def test_peers_that_do_not_cooperate_do_not_hold_the_process(tmp_path):
    """A reader that does not read, a body that does not come, a WebSocket that does not say goodbye: gone as soon."""
    with ServerProcess(tmp_path / "towow.db", environment=QUIET) as server:
        async with aiohttp.ClientSession(server.url) as client:
            text = "x" * 100_000
            for n in range(40):
                async with client.post("/api/events", json=body(n=n, payload={"text": text})) as answer:
                    assert answer.status == 201
        head = "HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        requests = {
            "never reads": f"GET /api/events/stream?stream=task:a {head}\r\n",
            "never sends": f"POST /api/events {head}Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{",
            "never closes": f"GET /api/events/stream?stream=*&start=live {head}{upgrade}{key}\r\n",
        }
        with contextlib.ExitStack() as stack:
            for request in requests.values():
                peer = stack.enter_context(socket.socket())
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                peer.connect(("127.0.0.1", server.port))
                peer.sendall(request.encode())
            while server.get("/health")["followers"] < 2:
                await asyncio.sleep(0.001)
            code, seconds = await signal_and_wait(server, signal.SIGTERM)
        print(f"\ngone in {seconds:.2f} s")
        assert code == 0
        assert seconds < EXIT_SECONDS + MARGIN_SECONDS
        assert "Traceback" not in said(server)


async def test_appends_in_flight_at_a_signal_are_stored_or_refused_never_torn(tmp_path):
    """Whoever got a 201 finds the event after the restart; the others may repeat theirs."""
    with ServerProcess(tmp_path / "towow.db", environment=QUIET) as server:
        acknowledged = []

        async def append(number):
            async with aiohttp.ClientSession(server.url) as client:
                for n in range(10_000):
                    event_id = f"{number}-{n}"
                    async with client.post("/api/events", json=body(n=n, event_id=event_id)) as answer:
                        assert answer.status in (201, 503), await answer.text()
                        if answer.status == 201:
                            acknowledged.append(event_id)

        publishers = [asyncio.create_task(append(number)) for number in range(8)]
        await until(lambda: len(acknowledged) > 200)
        code, seconds = await signal_and_wait(server, signal.SIGTERM)
        outcomes = await asyncio.gather(*publishers, return_exceptions=True)
        assert all(isinstance(outcome, aiohttp.ClientError | OSError) for outcome in outcomes), outcomes
        assert code == 0
        assert seconds < EXIT_SECONDS + MARGIN_SECONDS
        assert set(acknowledged) <= {event.event_id for event in read_rows(server.database)}
        assert "Traceback" not in said(server)
    check_file(server.database)


async def test_a_second_signal_changes_nothing(tmp_path):
    """Impatience while it stops is neither a crash nor a half-written goodbye."""
    with ServerProcess(tmp_path / "towow.db", environment=QUIET) as server:
        async with aiohttp.ClientSession(server.url) as client:
            await publish(client, 1)
        stream = await OpenStream().open(server.port)
        server.process.send_signal(signal.SIGINT)
        code, _ = await signal_and_wait(server, signal.SIGINT)
        assert b'"reason":"shutdown"' in await stream.rest()
        assert code == 0
        assert "Traceback" not in said(server)


def serve(*arguments, environment=None, timeout=20):
    """Run a server that is expected not to start."""
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environment or {})},
        check=False,
    )


def refused(result, *words):
    """Exit code 1, one line that says why, and no traceback."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_said(tmp_path):
    """The message names address and port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(serve("--port", port, "--db", tmp_path / "towow.db"), f"127.0.0.1:{port}", "--port")


def newer(path):
    """A database from the future."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9999")


def foreign(path):
    """Another program's database, with a table of the same name."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE events (id INTEGER PRIMARY KEY)")


def damaged(path):
    """One of ours with a page of nonsense at its beginning, behind the header."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE something (text)")
        db.executemany("INSERT INTO something VALUES (?)", [("x" * 1000,)] * 100)
        db.commit()
    raw = bytearray(path.read_bytes())
    raw[100:4096] = b"\x00\xff" * ((4096 - 100) // 2)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(newer, ("9999", "newer release"), id="newer than the code"),
        pytest.param(foreign, ("another program",), id="another program's"),
        pytest.param(lambda path: path.write_text("hello " * 1000), ("not a SQLite database",), id="a text file"),
        pytest.param(lambda path: path.mkdir(), ("cannot",), id="a directory"),
        pytest.param(damaged, ("damaged",), id="damaged"),
    ],
)
def test_a_file_that_is_not_our_database_is_refused_and_left_alone(tmp_path, make, words):
    """The message names the file and why; its bytes do not change."""
    path = tmp_path / "towow.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    refused(serve("--port", 0, "--db", path), *words)
    if before is not None:
        assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    """A file where the folder should be is the same kind of fault."""
    (tmp_path / "file").write_text("")
    refused(serve("--port", 0, "--db", tmp_path / "file" / "towow.db"), "towow.db")


def test_a_database_that_is_locked_for_longer_than_the_busy_timeout_is_said(tmp_path):
    """The message says for how long it waited."""
    path = tmp_path / "towow.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE held (x)")
        db.execute("BEGIN EXCLUSIVE")
        environment = {"TOWOW__DATABASE__BUSY_TIMEOUT_SECONDS": "0.2"}
        refused(serve("--port", 0, "--db", path, environment=environment), "locked", "0.2 s")


def test_a_running_servers_lock_on_the_port_does_not_touch_the_first_server(tmp_path):
    """A second start by mistake fails, and the first goes on."""
    with ServerProcess(tmp_path / "towow.db", environment=QUIET) as server:
        refused(serve("--port", server.port, "--db", server.database), str(server.port))
        assert server.get("/health")["status"] == "ok"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "towow.example"])
def test_other_machines_are_not_served_without_authentication(tmp_path, host):
    """A non-loopback address is refused before anything is opened."""
    refused(serve("--host", host, "--port", 0, "--db", tmp_path / "towow.db"), "allow_unauthenticated", host)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({"TOWOW__STREAM__KEEPALIVE": "5"}, ("stream", "keepalive"), id="unknown key"),
        pytest.param({"TOWOW__SERVER__PORT": "many"}, ("server", "port"), id="wrong type"),
        pytest.param({"TOWOW__DATABASE__SYNCHRONOUS": "OFF"}, ("synchronous",), id="not a choice"),
    ],
)
def test_a_setting_that_is_wrong_is_said_with_its_path(tmp_path, environment, words):
    """A typing error in a setting never becomes a default."""
    refused(serve("--db", tmp_path / "towow.db", environment=environment), *words)


async def test_a_lock_held_by_another_program_refuses_appends_and_harms_nothing(tmp_path):
    """503 while it is held, nothing stored; reads and streams go on; afterwards appends work."""
    environment = {**QUIET, "TOWOW__DATABASE__BUSY_TIMEOUT_SECONDS": "0.2"}
    with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
        async with (
            aiohttp.ClientSession(server.url) as client,
            EventSource(server.port, "/api/events/stream?stream=task:a&allow_pending=1") as source,
        ):
            await publish(client, 2)
            with contextlib.closing(sqlite3.connect(server.database, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                answer = await client.post("/api/events", json=body(n=2, event_id="later"))
                assert answer.status == 503
                assert (await answer.json())["error"]["code"] == "unavailable"
                assert answer.headers["Retry-After"] == "1"
                page = await (await client.get("/api/events?stream=task:a")).json()
                assert len(page["events"]) == 2
                db.execute("ROLLBACK")
            answer = await client.post("/api/events", json=body(n=2, event_id="later"))
            assert answer.status == 201
            await until(lambda: len(source.events()) == 3)
            assert len(source.requests) == 1


def tracer(tmp_path, *injections):
    """The strace command line that injects faults into the server, which stays our own child; skips without strace."""
    strace = require_strace()
    try:
        probe = subprocess.run([strace, "-f", "true"], capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        probe = None
    if probe is None or probe.returncode:
        lack("strace may not trace here", "TOWOW_REQUIRE_STRACE")
    return [strace, "-D", "-f", "-qq", "-o", str(tmp_path / "trace"), *injections]


async def test_a_quota_that_is_used_up_refuses_appends_and_reads_go_on(tmp_path):
    """EDQUOT is a full disk: 507, nothing of it is stored, and the process ends as it should."""
    path = tmp_path / "towow.db"
    with ServerProcess(path, environment=QUIET):
        pass
    files = ("-P", f"{path}-wal", "-P", f"{path}.probe")
    prefix = tracer(tmp_path, *files, "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EDQUOT:when=60+")
    with ServerProcess(path, environment=QUIET, prefix=prefix) as server:
        async with aiohttp.ClientSession(server.url) as client:
            statuses = []
            for n in range(30):
                answer = await client.post("/api/events", json=body(n=n, event_id=f"e-{n}"))
                statuses.append(answer.status)
                page = await (await client.get("/api/events?stream=task:a")).json() if 201 in statuses else {"events": []}
                assert len(page["events"]) == statuses.count(201)
        assert {201, 507} == set(statuses)
        assert server.stop() == 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("fsync,fdatasync:error=EIO:when=12", id="one sync fails"),
        pytest.param("fsync,fdatasync:error=EIO:when=12+", id="syncs fail from then on"),
        pytest.param("pwrite64:error=EIO:when=60", id="a write fails"),
    ],
)
async def test_a_failed_disk_ends_the_process_with_the_reason_and_acknowledges_nothing_after(tmp_path, fault):
    """Nobody knows what the disk holds after a failed sync: everything before is kept, nothing after is promised."""
    calls = fault.partition(":")[0]
    prefix = tracer(tmp_path, "-e", f"trace={calls}", "-e", f"inject={fault}")
    path = tmp_path / "towow.db"
    with ServerProcess(path, environment=QUIET):
        pass  # the schema is made; what follows are commits
    with ServerProcess(path, environment=QUIET, prefix=prefix) as server:
        async with (
            aiohttp.ClientSession(server.url) as client,
            EventSource(server.port, "/api/events/stream?stream=task:a&allow_pending=1") as source,
        ):
            _, stuck = await asyncio.open_connection("127.0.0.1", server.port)
            stuck.write(b"POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n")
            stuck.write(b"Content-Length: 9\r\n\r\n")  # a body that never comes must not delay the end
            acknowledged, failed_at = [], None
            exited = asyncio.create_task(asyncio.to_thread(server.process.wait, 30))

            async def append(number):
                nonlocal failed_at
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    for n in range(1000):
                        event_id = f"{number}-{n}"
                        async with client.post("/api/events", json=body(n=n, event_id=event_id)) as answer:
                            if answer.status == 201:
                                assert failed_at is None, "acknowledged after the failure"
                                acknowledged.append(event_id)
                                continue
                            assert answer.status == 503, await answer.text()
                            failed_at = failed_at or time.monotonic()

            await asyncio.gather(*(append(number) for number in range(4)))
            assert failed_at is not None
            code = await exited
            seconds = time.monotonic() - failed_at
            await until(lambda: source.state == "connecting")
            stuck.close()
            heard = [event["event_id"] for event in source.events()]
        server._reap()
        assert code == 1
        assert "stopped: the database failed" in said(server)
        assert acknowledged
        print(f"\n{len(acknowledged)} acknowledged, then gone {seconds:.2f} s after the first 503")
        assert seconds < 1.0 + MARGIN_SECONDS
    with ServerProcess(path, environment=QUIET) as server:
        stored = {event.event_id for event in read_rows(path)}
        assert set(acknowledged) <= stored
        assert set(heard) <= stored, "delivered and then lost"
        async with aiohttp.ClientSession(server.url) as client:
            await publish(client, 1)
    check_file(path)


async def check_full(server, client, source):
    """With no room: 507 and nothing stored, while reads, open streams and new streams go on."""
    head = server.get("/api/events?limit=1")["head_seq"]
    answer = await client.post("/api/events", json=body(n=-1, payload={"text": "x" * 200_000}))
    assert answer.status == 507, await answer.text()
    assert (await answer.json())["error"]["code"] == "storage_full"
    assert answer.headers["Retry-After"] == "1"
    answer = await client.post("/api/demand/submit", json={"raw_input": "we need a venue"})
    assert answer.status in (200, 507)  # a small event may still find room on a disk that is nearly full
    page = await (await client.get("/api/events?stream=task:a")).json()
    assert page["events"]
    assert source.state == "open"
    async with EventSource(server.port, "/api/events/stream?stream=task:a") as late:
        await until(lambda: late.controls())
        assert late.events() == source.events()
    assert server.get("/api/events?limit=1")["head_seq"] <= head + 3  # of the demand, as far as it came
    assert server.process.poll() is None


async def test_too_little_free_space_refuses_appends_while_reads_and_streams_go_on(tmp_path):
    """Below `min_free_bytes` publishers get 507 before the disk is full; nothing else changes."""
    path = tmp_path / "towow.db"
    with ServerProcess(path, environment=QUIET) as server:
        async with aiohttp.ClientSession(server.url) as client:
            await publish(client, 5)
    full = {**QUIET, "TOWOW__DATABASE__MIN_FREE_BYTES": str(2**60)}
    with ServerProcess(path, environment=full) as server:
        async with (
            aiohttp.ClientSession(server.url) as client,
            EventSource(server.port, "/api/events/stream?stream=task:a&allow_pending=1") as source,
        ):
            await until(lambda: source.controls())
            await check_full(server, client, source)
            health = await client.get("/health")
            assert health.status in (200, 507)
            assert len(read_rows(path)) == 5
        assert server.stop() == 0


@contextlib.contextmanager
def small_disk(folder, size_bytes):
    """A file system of its own in memory; skips where mounting is not allowed."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_refuses_appends_and_takes_them_again_when_there_is_room(tmp_path):
    """SQLite's own "full" is not fatal: 507, nothing torn, reads go on; after clearing up the same process appends."""
    environment = {**QUIET, "TOWOW__DATABASE__MIN_FREE_BYTES": "0"}
    with small_disk(tmp_path / "disk", 6_000_000) as disk, ServerProcess(disk / "towow.db", environment=environment) as server:
        async with (
            aiohttp.ClientSession(server.url) as client,
            EventSource(server.port, "/api/events/stream?stream=task:a&allow_pending=1") as source,
        ):
            ballast = disk / "ballast"
            ballast.write_bytes(b"x" * 3_000_000)
            await publish(client, 5)
            acknowledged = 5
            while True:
                answer = await client.post("/api/events", json=body(n=acknowledged, payload={"text": "x" * 50_000}))
                if answer.status != 201:
                    break
                acknowledged += 1
                assert acknowledged < 200
            assert answer.status == 507, await answer.text()
            await until(lambda: len(source.events()) == acknowledged or source.state != "open")
            await check_full(server, client, source)
            ballast.unlink()
            answer = await client.post("/api/events", json=body(payload={"text": "x" * 50_000}, event_id="again"))
            assert answer.status == 201, await answer.text()
            await until(lambda: source.events()[-1]["event_id"] == "again")
            assert len(source.requests) == 1
            assert len(source.events()) == acknowledged + 1
        assert server.stop() == 0
        check_file(server.database)
