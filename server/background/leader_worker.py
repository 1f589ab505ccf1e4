"""Work that one of the processes on a file does for all: from its start on, or after the process that did it is gone.

`leader_lock.py` is the lock that chooses the process; a subclass says what the work is."""

import asyncio
from abc import ABC, abstractmethod
from typing import Self

import structlog

from server.background.leader_lock import LeaderLock
from server.background.retry import retry_until_writable
from server.eventlog.log import ACTOR, EventLog
from towow.errors import StorageFull, Unavailable

_TURN_SECONDS = 0.2  # between two tries to become the one that acts


class LeaderWorker(ABC):
    """One piece of such work. Use as an async context manager, after the log has been opened.

    `name` is in the names of its task and of its logger, `does` in the line of a process that waits: "… process
    coordinates"."""

    def __init__(self, log: EventLog, lock: LeaderLock, *, name: str, does: str) -> None:
        self._log = log
        self._lock = lock
        self._name = name
        self._does = does
        self._logger = structlog.get_logger(f"towow.{name}")
        self._turn: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin, or wait in the background for the process that acts to go; `system:<name>` is the actor of what it appends."""
        token = ACTOR.set(f"system:{self._name}")  # its tasks keep it
        try:
            await self._enter()
        finally:
            ACTOR.reset(token)
        return self

    async def _enter(self) -> None:
        if not self._lock.try_take():
            self._logger.info("standing_by", reason=f"another process on this file {self._does}")
            self._turn = asyncio.create_task(self._wait_for_turn(), name=f"{self._name}'s turn")
            return
        try:
            await self._begin()
        except (Unavailable, StorageFull):  # reading goes on meanwhile
            self._turn = asyncio.create_task(self._wait_for_turn(), name=f"{self._name}'s turn")
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop; what is left is taken up at the next start, or by the next process."""
        if self._turn is not None:
            self._turn.cancel()
            await asyncio.gather(self._turn, return_exceptions=True)
        await self._stop()

    @abstractmethod
    async def _begin(self) -> None:
        """Start the work. Called again after an error, so it may find itself half begun."""

    @abstractmethod
    async def _let_go(self) -> None:
        """End everything that only the acting process does; also what was only half begun."""

    async def _stop(self) -> None:
        await self._let_go()
        self._lock.release()

    async def _wait_for_turn(self) -> None:
        """Take over when the lock is free. Whatever goes wrong there is said and tried again: nobody else may be left."""
        while True:
            try:
                is_late = self._lock.is_ours  # it was free at the start, and the file could not be written
                if self._lock.try_take():
                    if not is_late:
                        self._logger.info("taking_over")
                    await self._log.refresh()
                    await retry_until_writable(self._begin)
                    return
            except Exception:
                self._logger.exception("not_taken_over")
                await self._stop()
            await asyncio.sleep(_TURN_SECONDS)  # a lock of the kernel's tells nobody that it is free
