"""The pieces that a writer gives, gathered into groups, so that one token is not one fsync.

A piece after quiet does not wait, nor does the first one. Others are stored together when so much time has passed since the
group before, or when they are long enough; while one group is on its way to the disk, the next gathers. What is stored keeps
the order of the pieces, and joined it is the text. A model cannot run ahead of the disk by more than its text is long."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


class ChunkGroups:
    """The groups of one text. One task calls `add` and `finish`, another one `store_all`.

    A group begins to be stored at least `seconds` after the one before, unless it is long. `store(text)` stores at most
    `characters` and returns when they are on disk."""

    def __init__(self, store: Callable[[str], Awaitable[None]], *, seconds: float, characters: int) -> None:
        self._store = store
        self._seconds = seconds
        self._limit = characters
        self._pieces: list[str] = []
        self._gathered = 0  # characters
        self._due_at = 0.0
        self._is_finished = False
        self._changed = asyncio.Event()

    def add(self, piece: str) -> None:
        """Take the next piece; an empty one is nothing."""
        if not piece:
            return
        if not self._pieces:
            self._changed.set()
        self._pieces.append(piece)
        self._gathered += len(piece)
        if self._gathered >= self._limit:
            self._changed.set()

    def finish(self) -> None:
        """Say that there are no more pieces."""
        self._is_finished = True
        self._changed.set()

    async def store_all(self) -> str:
        """Store group after group until `finish`; the end of the text, which may be empty, is returned and not stored."""
        while await self._wait():
            self._due_at = asyncio.get_running_loop().time() + self._seconds
            for part in self._take():
                await self._store(part)
        *parts, last = self._take() or [""]
        for part in parts:
            await self._store(part)
        return last

    async def _wait(self) -> bool:
        """Until a group is to be stored; False when there are no more pieces."""
        loop = asyncio.get_running_loop()
        while not self._is_finished:
            patience = None
            if self._pieces:
                patience = self._due_at - loop.time()
                if patience <= 0 or self._gathered >= self._limit:
                    return True
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._changed.wait()
        return False

    def _take(self) -> list[str]:
        text, self._pieces, self._gathered = "".join(self._pieces), [], 0
        return [text[start : start + self._limit] for start in range(0, len(text), self._limit)]
