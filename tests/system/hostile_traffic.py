"""Hostile traffic against a real server: mutated connections, generated bodies, and followers that want much.

`python -m tests.system.hostile_traffic --connections 100000 --bodies 50000` and `… --followers 10000` print what came of it;
`test_hostile_traffic.py` runs both short. Everything is made from a seed, so that what was found is found again."""

import argparse
import asyncio
import collections
import contextlib
import json
import random
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from server.app import make_app
from server.config import Config
from tests.support import ServerProcess

ENVIRONMENT = {
    "TOWOW__DEMANDS__SAMPLE_AGENTS": "false",
    "TOWOW__LLM__LOCAL": "false",
    "TOWOW__LIMITS__PUBLISHES_PER_SECOND": "0",
    "TOWOW__LOGGING__FORMAT": "json",
}
AT_ONCE = 32
_BYTES = b"\x00\r\n\t :;,/?#%&=\"'{}[]\x7f\x80\xff0123456789abcxyzABCXYZ-_."
_WORDS = (
    *(b"Content-Length", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: websocket"),
    *(b"\r\n\r\n", b"HTTP/1.1", b"%00", b".."),
)
_VALUES = (
    *(None, True, False, 0, -1, 1.5, 1e308, 2**63, 2**64, "", "x", "\u0000", "\u202e", "é" * 50, "x" * 5_000),
    *([], {}, [[]], {"a": []}),
)
_NAMES = (
    *("stream", "event_type", "payload", "events", "agent_id", "role", "content", "prompt", "data", "type"),
    *("raw_input", "x"),
)
_NOTE = b'{"stream":"task:honest","event_type":"note","payload":{}}'


class Outcome(NamedTuple):
    """How many answers there were of each status, tracebacks in the log, and the growth of the server's memory (1.0: none)."""

    statuses: collections.Counter[int]
    tracebacks: int
    growth: float

    @property
    def faults(self) -> int:
        """Answers of 500 and more."""
        return sum(count for status, count in self.statuses.items() if status >= 500)


def routes() -> list[tuple[str, str]]:
    """Every method and path of the router, with ids in the place of their names."""
    found = {(route.method, route.resource.canonical) for route in make_app(Config()).router.routes() if route.resource}
    return sorted((method, path.replace("{", "").replace("}", "")) for method, path in found if method != "HEAD")


def mutated(random_: random.Random, request: bytes) -> bytes:
    """A request with some of it changed, repeated, cut or moved."""
    data = bytearray(request)
    for _ in range(random_.randint(1, 6)):
        at = random_.randrange(len(data) + 1)
        match random_.randrange(6):
            case 0:
                data[at:at] = bytes(random_.choices(_BYTES, k=random_.randint(1, 20)))
            case 1:
                del data[at : at + random_.randint(1, 20)]
            case 2:
                data[at:at] = random_.choice(_WORDS)
            case 3:
                data[at:at] = data[max(0, at - 40) : at]
            case 4 if data:
                data[at % len(data)] = random_.randrange(256)
            case _:
                data = data[: at + 1]
        if not data:
            data = bytearray(b"G")
    return bytes(data)


def generated(random_: random.Random, depth: int = 0) -> object:
    """Any JSON value, with names that routes know."""
    if depth > 3 or random_.random() < 0.4:
        return random_.choice(_VALUES)
    if random_.random() < 0.2:
        return [generated(random_, depth + 1) for _ in range(random_.randint(0, 4))]
    return {random_.choice(_NAMES): generated(random_, depth + 1) for _ in range(random_.randint(0, 5))}


def request_of(method: str, path: str, body: bytes, kind: str = "application/json") -> bytes:
    """A request that ends its connection."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(port: int, data: bytes) -> int:
    """The status of the first answer on a connection; 0 when there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(2):
            line = await reader.readline()
        return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
    except (TimeoutError, ConnectionError, IndexError, ValueError):
        return 0
    finally:
        writer.close()


def memory_of(pid: int) -> int:
    """Resident memory of a process, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


async def attack(server: ServerProcess, connections: int, bodies: int, seed: int) -> Outcome:
    """Send so many mutated connections and generated bodies, to every route in turn."""
    random_ = random.Random(seed)
    table = routes()
    posts = [path for method, path in table if method == "POST"]
    statuses: collections.Counter[int] = collections.Counter()

    async def send(requests: list[bytes]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(data: bytes) -> None:
            async with gate:
                statuses[await answer(server.port, data)] += 1

        for start in range(0, len(requests), 1_000):
            await asyncio.gather(*map(one, requests[start : start + 1_000]))

    def connection(number: int) -> bytes:
        method, path = table[number % len(table)]
        query = random_.choice(("", "?since_seq=0", "?type=a*&stream=*", "?limit=x", "?wait=1", "?start=tail:9"))
        return mutated(random_, request_of(method, path + query, b'{"stream":"task:a","event_type":"note","payload":{}}'))

    def body(number: int) -> bytes:
        return request_of("POST", posts[number % len(posts)], json.dumps(generated(random_)).encode())

    await send([body(number) for number in range(len(posts) * 2)])  # whatever is made once is made
    before = memory_of(server.process.pid)
    await send([connection(number) for number in range(connections)])
    await send([body(number) for number in range(bodies)])
    growth = memory_of(server.process.pid) / before
    assert server.get("/health")["status"] == "ok"
    text = Path(f"{server.database}.log").read_text(encoding="utf-8", errors="replace")
    return Outcome(statuses, text.count("Traceback") + text.count("request_failed") + text.count("append_rejected"), growth)


async def honest(port: int, count: int) -> list[float]:
    """Seconds that each publish and read of an honest client took."""
    taken = []
    for number in range(count):
        started = time.perf_counter()
        stored = await answer(port, request_of("POST", "/api/events", _NOTE))
        read = await answer(port, request_of("GET", "/api/events?stream=task:honest&limit=10", b""))
        taken.append(time.perf_counter() - started)
        assert (stored, read) == (201, 200), (number, stored, read)
        await asyncio.sleep(0.01)
    return taken


async def hold(port: int, number: int, stack: contextlib.AsyncExitStack) -> None:
    """A follower of everything with as many globs as may be, of its own; every fourth polls a selection that is never found."""
    types = "&".join(f"type=t{number}.{n}.*" for n in range(16))
    path = f"/api/events?{types}&since_seq=0&wait=50" if number % 4 == 3 else f"/api/events/stream?stream=*&{types}"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.callback(writer.close)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def p99(values: list[float]) -> float:
    """The 99th of a hundred."""
    return sorted(values)[int(len(values) * 0.99) - 1]


async def hostile(port: int, followers: int, seconds: float, samples: int) -> tuple[float, float]:
    """An honest client's p99 in a quiet server, and among so many hostile followers while others publish and post garbage."""
    quiet = p99(await honest(port, samples))
    async with contextlib.AsyncExitStack() as stack:
        for start in range(0, followers, 200):
            await asyncio.gather(*(hold(port, number, stack) for number in range(start, min(start + 200, followers))))
        random_ = random.Random(7)
        until = time.monotonic() + seconds

        async def annoy(number: int) -> None:
            while time.monotonic() < until:
                event = {"stream": f"task:{number}", "event_type": f"new.{random_.random()}", "payload": {"token": "x " * 500}}
                for data in (json.dumps(event).encode(), json.dumps(generated(random_)).encode()):
                    await answer(port, request_of("POST", "/api/events", data))
                await answer(port, request_of("GET", "/api/events?type=never.*&since_seq=0", b""))
                await asyncio.sleep(0.02)

        attackers = [asyncio.create_task(annoy(number)) for number in range(4)]
        attacked = p99(await honest(port, samples))
        until = 0.0
        await asyncio.gather(*attackers)
    return quiet, attacked


def main() -> None:
    """Run what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--bodies", type=int, default=0)
    parser.add_argument("--followers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    limits = {"TOWOW__LIMITS__STREAMS_PER_CLIENT": "0"} if given.followers else {}
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder, "towow.db"), environment=ENVIRONMENT | limits) as server,
    ):
        if given.connections or given.bodies:
            print(asyncio.run(attack(server, given.connections, given.bodies, given.seed)))
        if given.followers:
            quiet, attacked = asyncio.run(hostile(server.port, given.followers, 600.0, 300))
            figures = f"{quiet * 1000:.1f} ms quiet, {attacked * 1000:.1f} ms among {given.followers} hostile"
            print(f"p99 {figures}, × {attacked / quiet:.1f}")


if __name__ == "__main__":
    main()
