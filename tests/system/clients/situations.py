"""The situations: each takes a client through one, and returns what was wrong (an empty text: nothing)."""

import json
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import ServerProcess
from tests.system.clients.programs import Client, Program
from tests.system.clients.proxy import CuttingProxy

STREAM = "task:c"
_PATIENCE_SECONDS = 20.0  # some clients wait seconds before they come again, whatever `retry:` says
_QUIET_SECONDS = 0.5  # in which a doubled event would come


class Stage:
    """A server, a proxy before it, and one client behind that. Use as a context manager."""

    def __init__(self, program: Program, directory: Path) -> None:
        environment = {"TOWOW__STREAM__RETRY_MILLISECONDS": "40", "TOWOW__LIMITS__PUBLISHES_PER_SECOND": "0"}
        self.server = ServerProcess(directory / "log.db", environment=environment)
        self.proxy: CuttingProxy
        self._program = program
        self._clients: list[Client] = []

    def __enter__(self) -> "Stage":
        self.server.start()
        self.proxy = CuttingProxy(self.server.port).__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for client in self._clients:
            client.stop()
        self.proxy.__exit__(*exc_info)
        self.server.stop()

    def open(self, query: str = "") -> Client:
        """Start the client and wait until it follows."""
        url = f"http://127.0.0.1:{self.proxy.port}/api/events/stream?stream={STREAM}&allow_pending=1{query}"
        client = self._program.start(url)
        self._clients.append(client)
        self.until(lambda: self.server.get("/health")["followers"] >= 1, "it never connected")
        return client

    def publish(self, count: int, *, text: str = "", event_type: str = "note") -> None:
        """Append events, a thousand in a request."""
        events = [{"stream": STREAM, "event_type": event_type, "payload": {"text": text}}] * count
        for start in range(0, count, 1_000):
            body = json.dumps({"events": events[start : start + 1_000]}).encode()
            headers = {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(self.server.url + "/api/events", body, headers), timeout=30):
                pass

    def until(self, condition: Callable[[], bool], otherwise: str, seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait for something. Raises `Wrong`."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise Wrong(otherwise)
            time.sleep(0.02)

    def expect(self, client: Client, revisions: list[int], seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until the client has got exactly these events, in this order. Raises `Wrong`."""
        end = time.monotonic() + seconds
        while client.revisions() != revisions and time.monotonic() < end:
            if len(client.revisions()) > len(revisions):
                break
            time.sleep(0.02)
        time.sleep(_QUIET_SECONDS)
        got = client.revisions()
        if got != revisions:
            missing, more = len(set(revisions) - set(got)), len(got) - len(set(got))
            raise Wrong(f"{len(got)} of {len(revisions)} events, {missing} missing, {more} twice; the last are {got[-3:]}")


class Wrong(Exception):
    """Raised with what a client did not get."""


def live(stage: Stage) -> None:
    """Events come one by one."""
    client = stage.open()
    for _ in range(30):
        stage.publish(1)
    stage.expect(client, list(range(1, 31)))


def killed(stage: Stage) -> None:
    """The server is killed and started again."""
    client = stage.open()
    stage.publish(20)
    stage.expect(client, list(range(1, 21)))
    stage.server.kill()
    stage.server.start()
    stage.publish(20)
    stage.expect(client, list(range(1, 41)))


def cut_within(stage: Stage) -> None:
    """Each connection is cut a little further in its first event: in its data, behind it, in the id, before the end."""
    stage.publish(20)
    with urllib.request.urlopen(f"{stage.server.url}/api/events/stream?stream={STREAM}", timeout=5) as answer:
        lines = iter(answer)
        data = next(line for line in lines if line.startswith(b"data: "))
        cursor = next(lines)
    end = len(data) + len(cursor)
    stage.proxy.cuts = iter((1, len(data) // 2, *range(len(data) - 1, end + 2, 3)))
    client = stage.open()
    stage.expect(client, list(range(1, 21)), seconds=60.0)


def cut_at_once(stage: Stage) -> None:
    """A live stream is cut before its first event, and something happens meanwhile."""
    stage.publish(3)
    client = stage.open("&start=live")
    stage.until(lambda: client.has("ready"), "it never said ready")
    stage.proxy.is_down = True
    stage.proxy.cut()
    stage.publish(5)
    stage.proxy.is_down = False
    stage.expect(client, [4, 5, 6, 7, 8])


def far_behind(stage: Stage) -> None:
    """Ten thousand events happen while it is away."""
    client = stage.open()
    stage.publish(1)
    stage.expect(client, [1])
    stage.proxy.is_down = True
    stage.proxy.cut()
    stage.publish(9_999)
    stage.proxy.is_down = False
    stage.expect(client, list(range(1, 10_001)))


def replaced(stage: Stage) -> None:
    """The file is gone and another begins."""
    client = stage.open()
    stage.publish(30)
    stage.expect(client, list(range(1, 31)))
    stage.server.stop()
    for path in stage.server.database.parent.glob("log.db*"):
        if path.is_file():
            path.unlink()
    stage.server.start()
    stage.publish(10)
    stage.expect(client, [*range(1, 31), *range(1, 11)])
    if not client.has("reset"):
        raise Wrong("it was not told")


def restored(stage: Stage) -> None:
    """An older copy of the file comes back, and other events follow."""
    client = stage.open()
    stage.publish(30)
    stage.expect(client, list(range(1, 31)))
    stage.server.stop()
    database = stage.server.database
    copy = Path(f"{database}.copy")
    shutil.copy(database, copy)
    stage.server.start()
    stage.publish(10)
    stage.expect(client, list(range(1, 41)))
    lost = stage.server.get("/health")["head_seq"]
    stage.server.stop()
    shutil.copy(copy, database)
    stage.server.arguments = ("--accept-loss", str(lost))
    stage.server.start()
    stage.publish(5)
    stage.expect(client, [*range(1, 41), *range(1, 36)])
    if not client.has("reset"):
        raise Wrong("it was not told")


def ended(stage: Stage) -> None:
    """The stream ends: the client does not come again and again."""
    client = stage.open()
    stage.publish(3)
    stage.publish(1, event_type="task_complete")
    stage.expect(client, [1, 2, 3, 4])
    stage.until(lambda: client.has("end"), "it never said end")
    time.sleep(1.0)
    before = stage.proxy.connections
    time.sleep(3.0)
    if stage.proxy.connections - before > 1:
        raise Wrong(f"it came {stage.proxy.connections - before} more times in 3 s")


def unknown_cursor(stage: Stage) -> None:
    """The URL names an event that never was; what the client adds later wins over it."""
    stage.publish(5)
    client = stage.open("&last_event_id=never-was")
    stage.expect(client, [1, 2, 3, 4, 5])
    stage.proxy.cut()
    stage.publish(5)
    stage.expect(client, list(range(1, 11)))
    if client.count("reset") != 1:
        raise Wrong(f"it was reset {client.count('reset')} times")


def slow(stage: Stage) -> None:
    """The client stops reading while five megabytes come."""
    client = stage.open()
    stage.publish(1)
    stage.expect(client, [1])
    client.pause()
    stage.publish(4_999, text="x" * 1_000)
    time.sleep(1.0)
    client.go_on()
    stage.expect(client, list(range(1, 5_001)))


def large(stage: Stage) -> None:
    """One event of 200 kB."""
    client = stage.open()
    stage.publish(1, text="x" * 200_000)
    stage.publish(1)
    stage.expect(client, [1, 2])
    sizes: list[Any] = [entry["bytes"] for entry in client.lines() if "revision" in entry]
    if sizes[0] < 200_000:
        raise Wrong(f"it has {sizes[0]} bytes")


SITUATIONS: dict[str, Callable[[Stage], None]] = {
    "live": live,
    "server killed": killed,
    "cut within a frame": cut_within,
    "cut before its first event": cut_at_once,
    "10,000 missed": far_behind,
    "file replaced": replaced,
    "file restored": restored,
    "stream ended": ended,
    "unknown cursor": unknown_cursor,
    "slow reader": slow,
    "200 kB event": large,
}


def take(program: Program, situation: str, directory: Path) -> str:
    """Take a client through a situation; what was wrong, or an empty text."""
    directory.mkdir(parents=True)
    try:
        with Stage(program, directory) as stage:
            SITUATIONS[situation](stage)
    except Wrong as error:
        return str(error)
    return ""
