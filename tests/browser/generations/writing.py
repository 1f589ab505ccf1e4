"""A model's server beside tests that are not asynchronous, which writes what each agent of a run is to write, when the test
says."""

import asyncio
import threading
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.support.generations import TASKS
from tests.support.upstream import DONE, OPENING, STOP, Behaviour, Upstream, delta, pieces_of


class Gate:
    """Where a text waits until the test lets it go on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let whoever waits go on."""
        self._loop.call_soon_threadsafe(self._opened.set)

    async def wait(self) -> None:
        """Until it is open."""
        await self._opened.wait()


class WritingServer:
    """`tests.support.upstream` on a thread of its own. Use as a context manager; `settings` are for the environment of the
    server process."""

    def __init__(self) -> None:
        self.upstream = Upstream()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> "WritingServer":
        """Listen."""
        self._thread.start()
        self._await(self.upstream.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Drop whoever is still there."""
        self._await(self.upstream.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def settings(self) -> dict[str, str]:
        """A server process with these writes with this model."""
        return {"TOWOW__LLM__BASE_URL": self.upstream.url, "TOWOW__LLM__MODEL": "small"}

    def gate(self) -> Gate:
        """A closed gate."""
        return Gate(self._loop)

    def agent(self, name: str, *behaviours: Behaviour) -> None:
        """What an agent's requests are answered with, one after another."""
        self.upstream.when(TASKS[name], *behaviours)

    def _await(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


def writes_through(*parts: str | Gate, rate: float = 0) -> Behaviour:
    """Write a text part by part, word by word (`rate` a second, 0: at once), and wait at each gate."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(OPENING)
        for part in parts:
            if isinstance(part, Gate):
                await part.wait()
                continue
            for piece in pieces_of(part):
                await response.write(delta(piece))
                if rate:
                    await asyncio.sleep(1 / rate)
        await response.write(STOP + DONE)
        return response

    return answer


def answers_after(gate: Gate, behaviour: Behaviour) -> Behaviour:
    """Say nothing before the gate is open."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await behaviour(request)

    return answer
