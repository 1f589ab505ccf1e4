"""Whose turn it is to read: the readers of a database are few, and those who wait for one are served client by client."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextvars import ContextVar

from server.eventlog.engine import ThreadConnection

# Which client reads in this task; empty for the server itself.
CLIENT: ContextVar[str] = ContextVar("client", default="")


class Turns:
    """The free readers, and those who wait, each client in its own line; the lines are served in turn. Of one event loop."""

    def __init__(self, readers: Sequence[ThreadConnection] = ()) -> None:
        self._free = deque(readers)
        self._lines: OrderedDict[str, deque[asyncio.Future[ThreadConnection]]] = OrderedDict()
        self._late: set[asyncio.Task[None]] = set()

    async def take(self, client: str) -> ThreadConnection:
        """The next free reader, when it is this client's turn. Give it back."""
        if self._free:
            return self._free.popleft()
        future: asyncio.Future[ThreadConnection] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(client, deque()).append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give_back(future.result())
            raise

    def give_back(self, reader: ThreadConnection) -> None:
        """Hand a reader to the client whose turn is next."""
        while self._lines:
            client, line = next(iter(self._lines.items()))
            future = line.popleft()
            if line:
                self._lines.move_to_end(client)
            else:
                del self._lines[client]
            if not future.done():
                future.set_result(reader)
                return
        self._free.append(reader)

    def give_back_later(self, reader: ThreadConnection) -> None:
        """Give a reader back when what it is doing for somebody who has left is done."""

        async def wait() -> None:
            await reader.call(lambda db: None)
            self.give_back(reader)

        task = asyncio.get_running_loop().create_task(wait())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def close(self) -> None:
        """Wait for what runs on for those who have left."""
        await asyncio.gather(*self._late, return_exceptions=True)
