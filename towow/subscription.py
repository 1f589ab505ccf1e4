"""The result of every follow: an async iterator that a time-out around its `anext` does not end."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Subscription(Generic[T]):
    """The events of a follow, or the messages of a channel, for one reader; close it with `aclose` or `async with`.

    Unlike a generator it survives cancellation: `asyncio.wait_for(anext(subscription), 30)` may be called again after a
    time-out, and nothing is lost. It ends when its stream has ended, and when its client or manager is closed."""

    def __init__(self, batches: AsyncGenerator[Sequence[T], None]) -> None:
        self._batches = batches
        self._ready: deque[T] = deque()
        self._next: asyncio.Task[Sequence[T] | None] | None = None
        self._is_waiting = False
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._ready:
            await self._receive()
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()

    async def batch(self) -> list[T]:
        """Wait for one item at least and return all that have arrived; an empty list at the end."""
        if not self._ready:
            await self._receive()
        batch = list(self._ready)
        self._ready.clear()
        return batch

    async def aclose(self) -> None:
        """End the subscription and its connection; a reader that waits sees the end. Safe to call again."""
        self._is_closed = True
        self._ready.clear()
        task, self._next = self._next, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self._batches.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        """Close the connection of a subscription without a reader."""
        task = self._next
        if task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the connection with it
                task.get_loop().call_soon_threadsafe(task.cancel)

    async def _receive(self) -> None:
        """Wait for the next items in a task of its own, which goes on when the caller is cancelled."""
        if self._is_waiting:
            raise RuntimeError("this subscription has a reader that waits; every reader needs its own")
        if self._is_closed:
            return
        if self._next is None:
            self._next = asyncio.create_task(_advance(self._batches), name="towow subscription")
            self._next.add_done_callback(_mark_retrieved)
        self._is_waiting = True
        try:
            if not self._next.done():
                await asyncio.wait((self._next,))
        finally:
            self._is_waiting = False
        task, self._next = self._next, None
        self._is_closed = True  # unless there is a batch: after an error and after the end nothing follows
        batch = None if task is None or task.cancelled() else task.result()
        if batch is not None:
            self._is_closed = False
            self._ready.extend(batch)


async def _advance(batches: AsyncGenerator[Sequence[T], None]) -> Sequence[T] | None:
    return await anext(batches, None)


def _mark_retrieved(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from logging an error that no reader waits for."""
    if not task.cancelled():
        task.exception()
