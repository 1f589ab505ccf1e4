"""What a subscriber of a channel iterates over: `sse_manager.py` makes it, `channels.py` says what a message is."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Self

from towow.channels import message_of
from towow.events import Event


class Subscription:
    """The messages of one channel, for one reader: an async iterator, to be closed with `aclose`.

    Unlike a generator it survives a time-out around its `anext`: `asyncio.wait_for(anext(subscription), 30)` may be called
    again, and nothing is lost. It ends when the session was closed, and when the manager is."""

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        self._events = events
        self._next: asyncio.Task[Event | None] | None = None
        self._is_waiting = False
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._is_waiting:
            raise RuntimeError("somebody else waits for this subscription; every reader needs its own")
        if self._is_closed:
            raise StopAsyncIteration
        if self._next is None:
            self._next = asyncio.create_task(self._advance(), name="sse subscription")
        self._is_waiting = True
        try:
            await asyncio.wait((self._next,))  # cancelled, it leaves the task as it is
        finally:
            self._is_waiting = False
        task, self._next = self._next, None
        event = None if task is None or task.cancelled() else task.result()
        if event is None:
            self._is_closed = True
            raise StopAsyncIteration
        return message_of(event)

    async def aclose(self) -> None:
        """End the subscription; whoever waits for it sees its end. Safe to call again."""
        self._is_closed = True
        task, self._next = self._next, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # nobody else will ask
        await self._events.aclose()

    async def _advance(self) -> Event | None:
        return await anext(self._events, None)
