"""The event bus: handlers inside the process that see committed events. A tap on the log, so nothing is recorded twice.

A subscription is a cursor like any other reader's: a slow handler falls behind and catches up from the log, and a handler
that raises is logged and gets the next event. Subscriptions begin at the head; what must not be missed across a restart is
found in the log by its owner at start."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import structlog

from server.eventlog.log import EventLog
from server.eventlog.selection import Selection, select
from server.eventlog.writer import Receipt
from server.streaming.follower import events_after
from towow.events import Event, NewEvent, matches

EventHandler = Callable[[Event], Awaitable[None] | None]

_RETRY_SECONDS = 0.5  # after the log could not be read
_log = structlog.get_logger("towow.bus")


class EventBus:
    """Publish to the log, and subscribe to event types by glob."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def publish(self, event: NewEvent) -> Receipt:
        """Append one event; handlers see it because it was committed. Raises what `EventLog.append` raises."""
        return (await self._log.append([event]))[0]

    def subscribe(self, pattern: str, handler: EventHandler) -> Callable[[], None]:
        """Call `handler(event)` for every event from now on whose type matches (`towow.*`); returns a function that stops it.

        One event at a time and in seq order for each subscription; subscriptions do not wait for each other."""
        start, star, _ = pattern.partition("*")
        selection = select(("*",), () if pattern == "*" else (start + star,))
        task = asyncio.create_task(self._run(selection, pattern, handler, self._log.head_seq), name=f"bus {pattern}")
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

        def unsubscribe() -> None:
            task.cancel()

        return unsubscribe

    async def close(self) -> None:
        """Stop every subscription."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, selection: Selection, pattern: str, handler: EventHandler, cursor: int) -> None:
        while True:
            try:
                async for event in events_after(self._log, selection, cursor):
                    cursor = event.seq  # before the handler: one that raises must not get it again
                    if matches(pattern, event.event_type):
                        await self._hand(event, handler)
            except Exception:
                _log.exception("subscription_failed", after=cursor)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return  # the log is closed

    @staticmethod
    async def _hand(event: Event, handler: EventHandler) -> None:
        try:
            result = handler(event)
            if inspect.isawaitable(result):
                await result
        except Exception:
            _log.exception("handler_failed", seq=event.seq, event_type=event.event_type)
