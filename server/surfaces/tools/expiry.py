"""The expiry of permissions: no answer in time is a no, whether or not the server ran all the while.

The table says which deadline is next, `deadlines.py` what time it is for each. Of several server processes on a file one
watches (`server/background/leader_worker.py`); an answer that comes too late is refused by every process, expired or not."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

import structlog

from server.background.deadlines import DeadlineClock
from server.background.event_bus import EventBus
from server.background.leader_worker import LeaderWorker
from server.background.retry import retry_until_writable
from server.eventlog.log import EventLog
from server.surfaces.tools import commands
from server.surfaces.tools.permission_service import PermissionService
from server.surfaces.tools.projections import due_permissions
from server.surfaces.tools.state import KIND, PERMISSION_REQUEST
from towow.errors import RevisionMismatch, StorageFull, TowowError, Unavailable
from towow.events import Event, kind_of, seconds_of, timestamp_of

_AT_ONCE = 1_000
_LONGEST_SLEEP_SECONDS = 3_600.0
_log = structlog.get_logger("towow.tools")


class PermissionExpiry(LeaderWorker):
    """Denies permissions at their deadlines. Use as an async context manager, after the log has been opened."""

    def __init__(self, log: EventLog, bus: EventBus, decisions: PermissionService, deadlines: DeadlineClock) -> None:
        super().__init__(log, name="expiry", does="denies permissions without an answer")
        self._decisions = decisions
        self._deadlines = deadlines
        self._bus = bus
        self._wake = asyncio.Event()
        self._failed: set[tuple[str, str]] = set()  # what could not be ended is not tried for ever
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    async def _begin(self) -> None:
        """Watch for requests, and for the deadlines of those that wait."""
        if self._unsubscribe is None:
            self._unsubscribe = self._bus.subscribe(PERMISSION_REQUEST, self._on_request)
            self._task = asyncio.create_task(self._run(), name="permission expiry")

    async def _let_go(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _on_request(self, event: Event) -> None:
        if kind_of(event.stream) == KIND:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._sleep(await retry_until_writable(self._expire_due, on=Exception))

    async def _expire_due(self) -> float | None:
        """Deny everything whose time has run out; the seconds until the next deadline, None without one."""
        while True:
            self._wake.clear()
            latest = self._deadlines.latest()
            due = await self._log.query(partial(due_permissions, now=timestamp_of(latest), limit=_AT_ONCE + len(self._failed)))
            waits = [seconds_of(due.next_at) - latest] if due.next_at is not None else []
            has_expired = False
            for session_id, permission in due.permissions:
                left = permission.deadline - self._decisions.now_of(session_id, permission)
                if (session_id, permission.permission_id) in self._failed:
                    continue
                if left > 0:  # somebody has set the clock
                    waits.append(left)
                    continue
                await self._expire(session_id, permission.permission_id)
                has_expired = True
            if not has_expired:
                return min(waits, default=None)

    async def _expire(self, session_id: str, permission_id: str) -> None:
        """Deny one permission. Raises what may pass: the file cannot be written, or the stream does not rest."""
        command = commands.ExpirePermission(permission_id)
        try:
            decided = await self._decisions.decide(session_id, command)
        except (Unavailable, StorageFull, RevisionMismatch):
            raise
        except TowowError as error:
            self._failed.add((session_id, permission_id))
            _log.warning("expiry_failed", session_id=session_id, permission_id=permission_id, error=error.message)
            return
        if decided.is_new:  # otherwise another process was faster
            _log.info(
                "permission_expired", session_id=session_id, permission_id=permission_id, seq=decided.permission.ended_seq
            )

    async def _sleep(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(
                _LONGEST_SLEEP_SECONDS if seconds is None else min(max(seconds, 0.0), _LONGEST_SLEEP_SECONDS)
            ):
                await self._wake.wait()
