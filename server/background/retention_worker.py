"""Retention by the one process that has this duty."""

import asyncio

from server.background.leader_worker import LeaderWorker
from server.eventlog.log import EventLog
from server.eventlog.retention import Retention


class RetentionWorker(LeaderWorker):
    """Trims what is over the limits, now and then. Use as an async context manager, after the log has been opened."""

    def __init__(self, log: EventLog, retention: Retention) -> None:
        super().__init__(log, name="retention", does="trims the log")
        self._retention = retention
        self._task: asyncio.Task[None] | None = None

    async def _begin(self) -> None:
        """Trim, and go on at every interval."""
        if self._task is None:
            self._task = asyncio.create_task(self._retention.run(), name="retention")

    async def _let_go(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
