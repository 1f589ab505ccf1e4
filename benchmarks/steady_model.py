"""A model that writes at a steady rate, and readers of the runs that it writes for: `python -m benchmarks.steady_model`.

It prints the port that the model listens on, then carries out one order for each line of stdin: runs that are started at the
same time and followed to their ends. Model and readers share a clock, so every piece of text is timed from one to the other."""

import asyncio
import re
import sys
import time

import aiohttp
import msgspec
from aiohttp import web

from benchmarks.machine import raise_file_limit

_PIECE = re.compile(r"#([0-9]+)@([0-9]+);")


class Order(msgspec.Struct):
    """So many runs at the server on this port; each of a run's agents writes `pieces`, at `rate` a second."""

    port: int
    runs: int
    pieces: int
    rate: float


class Written(msgspec.Struct):
    """What the readers have: seconds from the model to the reader, ascending; pieces that are missing, doubled or out of
    order."""

    latencies_seconds: list[float]
    wrong: int
    unfinished: int  # runs that have not completed


class _Chunk(msgspec.Struct):
    agent: str
    content: str


class _Event(msgspec.Struct):
    payload: _Chunk


_event = msgspec.json.Decoder(_Event).decode


class SteadyModel:
    """The model behind the API that our server asks, and the readers."""

    def __init__(self) -> None:
        self._pieces, self._rate = 0, 1.0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Write numbered pieces, each with the time at which it was written."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        for number in range(self._pieces):
            await asyncio.sleep(max(0.0, begun_at + number / self._rate - loop.time()))
            text = f"#{number}@{time.monotonic_ns()};"
            await response.write(b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode())
        await response.write(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
        return response

    async def carry_out(self, order: Order) -> Written:
        """Start the runs, follow them to their ends, and count."""
        self._pieces, self._rate = order.pieces, order.rate
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{order.port}", connector=connector) as session:
            done = await asyncio.gather(*(self._follow(session, number) for number in range(order.runs)))
        return Written(
            sorted(latency for latencies, _, _ in done for latency in latencies),
            sum(wrong for _, wrong, _ in done),
            sum(not is_complete for _, _, is_complete in done),
        )

    async def _follow(self, session: aiohttp.ClientSession, number: int) -> tuple[list[float], int, bool]:
        latencies: list[float] = []
        last: dict[str, int] = {}  # place of the newest piece of each agent
        rests: dict[str, str] = {}  # what an event has of a piece that the next one completes
        wrong, is_complete = 0, False
        async with session.post("/novachat", json={"prompt": f"Measured run {number}"}) as response:
            response.raise_for_status()
            async for line in response.content:
                if b'"event_type":"llm_chunk"' in line:
                    now = time.monotonic_ns()
                    chunk = _event(line.removeprefix(b"data: ")).payload
                    text = rests.get(chunk.agent, "") + chunk.content
                    for found in _PIECE.finditer(text):
                        place = int(found[1])
                        wrong += place != last.get(chunk.agent, -1) + 1
                        last[chunk.agent] = place
                        latencies.append((now - int(found[2])) / 1e9)
                    rests[chunk.agent] = text[text.rfind(";") + 1 :]
                is_complete = is_complete or b'"event_type":"run_complete"' in line
        missing = sum(self._pieces - 1 - place for place in last.values())
        return latencies, wrong + missing + self._pieces * (4 - len(last)), is_complete


async def main() -> None:
    """Serve the model and carry out orders until stdin ends."""
    model = SteadyModel()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1_024).start()
    _say(runner.addresses[0][1])
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        _say(await model.carry_out(msgspec.json.decode(line, type=Order)))
    await runner.cleanup()


def _say(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    raise_file_limit()
    if sys.platform != "win32":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
