"""A TCP proxy between a client and the server that cuts connections where it is told to."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

_EVENT = b'data: {"seq"'


class CuttingProxy:
    """Listens on a port of its own, in a thread of its own. Use as a context manager.

    `cuts`: for each connection that comes, how many bytes of its first event it may carry before it is reset; then no limit.
    `connections` counts those that came. While `is_down` new ones are refused."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        self.cuts: Iterator[int] = iter(())
        self.is_down = False
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> "CuttingProxy":
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cut()
        self._server.close()
        self._call(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection that is open."""
        self._call(self._cut())

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            if self.is_down:
                return
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
            self._open.add(forth)
            try:
                sending = asyncio.ensure_future(_copy(reader, forth))
                await self._return(back, writer, next(self.cuts, None))
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            finally:
                self._open.discard(forth)
                forth.transport.abort()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()

    async def _return(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, allowed: int | None) -> None:
        """Carry the answer; with `allowed` so many bytes of its first event, and then the connection is reset."""
        seen, sent = b"", 0
        while data := await reader.read(65_536):
            if allowed is None:
                writer.write(data)
                await writer.drain()
                continue
            seen += data
            at = seen.find(_EVENT)
            end = len(seen) if at < 0 else min(len(seen), at + allowed)
            writer.write(seen[sent:end])
            await writer.drain()
            sent = end
            if at >= 0 and at + allowed <= len(seen):
                await asyncio.sleep(0.01)  # a reset would overtake what is not read yet
                return
        writer.close()  # the server has ended the answer: so does the proxy, without a reset
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
