"""Which of the server processes that share a database file acts for all of them: the one that holds the duty, by a term.

Processes that want a duty ask its holder whether it lives (`peers.ask`), and take the duty over when the holder is gone, has
let go, or has not answered for seconds. A lone process asks nobody, and writes one row when it starts. A process that was
stopped in the middle of a commit keeps the file locked for everybody: it is ended."""

from collections.abc import Callable
from functools import partial

import structlog

from server.eventlog.log import EventLog
from server.eventlog.terms import DutyTerm, Holder, read_terms, take_term
from towow.events import timestamp_of

_ANSWER_SECONDS = 1.0
_SILENCES = 5  # questions in a row without an answer, after which a process counts as hanging
_SILENCES_STOPPED = 2  # the same where the system says that it is stopped
_LOCKED_SECONDS = 1.0  # that a stopped process may keep the file from being written
_log = structlog.get_logger("towow.duty")


class Duty:
    """One piece of work that one process does for all; not ours until `try_take` says so."""

    def __init__(self, log: EventLog, name: str) -> None:
        self.term: DutyTerm | None = None
        self._log = log
        self._name = name
        self._silent = ("", 0)  # who did not answer, and how often in a row

    async def try_take(self, on_lost: Callable[[], None]) -> bool:
        """Take the duty unless a living process has it; waits a second for the answer of one that may be stopped.

        `on_lost()` is called when another process has taken it from us. Raises what `EventLog.write` raises."""
        if self.term is not None:
            return True
        held = (await self._log.query(read_terms)).get(self._name)
        if held is not None and held.process and held.process != self._log.peers.name and await self._is_held(held):
            return False
        after = held.number if held is not None else 0
        now = timestamp_of(self._log.clock())
        take = partial(take_term, duty=self._name, after=after, process=self._log.peers.name, now=now)
        self.term = await self._log.write(take)
        if self.term is None:
            return False
        self._log.hold(self.term, on_lost)
        return True

    def let_go(self) -> None:
        """Let the next process have it: those that ask are told so."""
        self.term = None
        self._log.let_go(self._name)

    async def _is_held(self, held: Holder) -> bool:
        try:
            answer = await self._log.peers.ask(held.process, _ANSWER_SECONDS)
        except ProcessLookupError:
            return False
        if answer is not None:
            self._silent = ("", 0)
            duties = answer.get("duties")
            return duties is None or bool(duties.get(self._name) == held.number)
        process, count = self._silent
        count = count + 1 if process == held.process else 1
        self._silent = (held.process, count)
        if count < (_SILENCES_STOPPED if self._log.peers.is_stopped(held.process) else _SILENCES):
            return True
        _log.warning("process_hangs", duty=self._name, process=held.process, seconds=count * _ANSWER_SECONDS)
        if await self._log.free_from(held.process, _LOCKED_SECONDS):
            _log.warning("process_ended", process=held.process, reason="it was stopped in a commit and kept the file locked")
        return False
