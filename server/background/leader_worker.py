"""Work that one of the processes on a file does for all: from its start on, or after the process that did it is gone or hangs.

`duty.py` says which process that is; a subclass says what the work is."""

import asyncio
import contextvars
from abc import ABC, abstractmethod
from typing import Self

import structlog

from server.background.duty import Duty
from server.background.retry import retry_until_writable
from server.eventlog.log import ACTOR, TERM, EventLog
from server.eventlog.terms import Superseded
from towow.errors import StorageFull, Unavailable

_TURN_SECONDS = 0.2  # between two tries to become the one that acts


class LeaderWorker(ABC):
    """One piece of such work. Use as an async context manager, after the log has been opened.

    `name` is that of its duty, its tasks and its logger, `does` is in the line of a process that waits: "… process
    coordinates". What its tasks append is refused once another process has taken the duty over; they are cancelled then."""

    def __init__(self, log: EventLog, *, name: str, does: str) -> None:
        self._log = log
        self._duty = Duty(log, name)
        self._name = name
        self._does = does
        self._logger = structlog.get_logger(f"towow.{name}")
        self._turn: asyncio.Task[None] | None = None
        self._context: contextvars.Context | None = None

    async def __aenter__(self) -> Self:
        """Begin, or wait in the background for the process that acts to go; `system:<name>` is the actor of what it appends."""
        token = ACTOR.set(f"system:{self._name}")  # its tasks keep it
        try:
            self._context = contextvars.copy_context()
            await self._enter()
        finally:
            ACTOR.reset(token)
        return self

    async def _enter(self) -> None:
        try:
            if await self._duty.try_take(self._on_lost):
                await self._act()
                return
            self._logger.info("standing_by", reason=f"another process on this file {self._does}")
        except (Unavailable, StorageFull):  # reading goes on meanwhile
            pass
        except Superseded:  # `_on_lost` waits already
            return
        except BaseException:
            self._duty.let_go()
            raise
        self._wait()

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
        self._duty.let_go()  # first: nobody is to be told that it was lost
        await self._let_go()

    async def _act(self) -> None:
        token = TERM.set(self._duty.term)  # its tasks keep it
        try:
            await self._begin()
        finally:
            TERM.reset(token)

    def _wait(self) -> None:
        self._turn = asyncio.create_task(self._wait_for_turn(self._turn), name=f"{self._name}'s turn", context=self._context)

    def _on_lost(self) -> None:
        """Note that another process has taken the duty over: stop, and wait for the next turn."""
        self._logger.warning("superseded", reason=f"this process did not answer; another one {self._does}")
        self._duty.let_go()
        self._wait()

    async def _wait_for_turn(self, earlier: asyncio.Task[None] | None) -> None:
        """Take over when nobody else acts. Whatever goes wrong there is said and tried again: nobody else may be left."""
        if earlier is not None:
            earlier.cancel()
            await asyncio.gather(earlier, return_exceptions=True)
        if self._duty.term is None:
            await self._let_go()  # another process may have taken it over
        while True:
            try:
                is_late = self._duty.term is not None  # it was free at the start, and the file could not be written
                if await self._duty.try_take(self._on_lost):
                    if not is_late:
                        self._logger.info("taking_over", term=self._duty.term and self._duty.term.number)
                    await self._log.refresh()
                    await retry_until_writable(self._act)
                    return
            except Exception:
                self._logger.exception("not_taken_over")
                await self._stop()
            await asyncio.sleep(_TURN_SECONDS)  # a process that goes tells nobody
