"""Bursts of statuses, thinned out: of what one tool says within an interval, the first is stored at once and then only the
last.

At most one status is held for each session and tool. Its sender is answered when it, or the one that took its place, is on
disk; so a status that was acknowledged is never lost, and what is held when the process dies was not acknowledged."""

import asyncio
from typing import NamedTuple

from server.eventlog.command_key import without_key
from server.eventlog.decider import decide_and_append, known
from server.eventlog.log import EventLog
from server.eventlog.writer import Receipt
from towow.errors import TowowError
from towow.events import NewEvent


class Stored(NamedTuple):
    """Where a status is in the log; `is_own` False: it was replaced by a later one, which is there."""

    receipt: Receipt
    is_own: bool


class _Tool:
    """One tool of one session within its interval: the status that is held, and its waiting callers."""

    def __init__(self) -> None:
        self.held: NewEvent | None = None
        self.waiting: list[tuple[NewEvent, asyncio.Future[Stored]]] = []
        self.timer: asyncio.TimerHandle | None = None


class StatusThrottle:
    """Stores statuses, at most one of each tool in every interval. Use as an async context manager, inside the log's."""

    def __init__(self, log: EventLog, interval_seconds: float) -> None:
        self._log = log
        self._interval_seconds = interval_seconds
        self._sessions: dict[str, dict[str, _Tool]] = {}
        self._flushes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "StatusThrottle":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Store what is held."""
        for stream in list(self._sessions):
            await self.flush(stream)
            for tool in self._sessions.pop(stream, {}).values():
                if tool.timer is not None:
                    tool.timer.cancel()
        await asyncio.gather(*self._flushes, return_exceptions=True)

    async def append(self, event: NewEvent, tool_name: str) -> Stored:
        """Store a status, now or at the end of the interval. Raises what `EventLog.append` raises."""
        if not self._interval_seconds:
            return Stored(await self._append(event), True)
        tools = self._sessions.setdefault(event.stream, {})
        tool = tools.get(tool_name)
        if tool is None:
            tool = tools[tool_name] = _Tool()
            self._wait(event.stream, tool_name, tool)
            return Stored(await self._append(event), True)
        tool.held = event
        future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        tool.waiting.append((event, future))
        return await future

    async def flush(self, stream: str) -> None:
        """Store what is held of a session, so that every later event of it comes after."""
        held = [tool for tool in self._sessions.get(stream, {}).values() if tool.held is not None]
        if held:
            await asyncio.gather(*(self._store(tool) for tool in held))

    def _wait(self, stream: str, tool_name: str, tool: _Tool) -> None:
        tool.timer = asyncio.get_running_loop().call_later(self._interval_seconds, self._due, stream, tool_name, tool)

    def _due(self, stream: str, tool_name: str, tool: _Tool) -> None:
        """The interval is over: forget the tool, or store its last status and begin another interval."""
        if tool.held is None:
            tools = self._sessions[stream]
            del tools[tool_name]
            if not tools:
                del self._sessions[stream]
            return
        self._wait(stream, tool_name, tool)
        task = asyncio.create_task(self._store(tool))
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _store(self, tool: _Tool) -> None:
        event, tool.held = tool.held, None
        waiting, tool.waiting = tool.waiting, []
        if event is None:
            return
        try:
            receipt = await self._append(event)
        except TowowError as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for sent, future in waiting:
            if not future.done():
                future.set_result(Stored(receipt, sent is event))

    async def _append(self, event: NewEvent) -> Receipt:
        with without_key():  # whoever sent it: another command may be what stores it now
            _, receipts = await decide_and_append(self._log, event.stream, known(None), lambda _: [event], revision_of=None)
        return receipts[0]
