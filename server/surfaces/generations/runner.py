"""The runner: carries out every run that somebody has started, in supervised tasks, and looks after those that were
interrupted.

Of several server processes on a file one carries runs out (`server/background/leader_worker.py`), whoever took the request.
Runs are known from the log alone: who starts one appends its first event, who cancels one its last."""

import asyncio
from collections.abc import Callable
from functools import partial

from server.background.event_bus import EventBus
from server.background.leader_lock import LeaderLock
from server.background.leader_worker import LeaderWorker
from server.config import GenerationsSection
from server.eventlog.log import EventLog
from server.llm.provider import LanguageModel
from server.surfaces.generations.carrying import RunWork
from server.surfaces.generations.projections import unfinished_runs
from server.surfaces.generations.state import KIND, RUN_STARTED, TERMINAL_EVENTS
from towow.events import Event


class GenerationRunner(LeaderWorker):
    """Carries out runs. Use as an async context manager, after the log and the model have been opened.

    At a shutdown runs stay where they are: the next start, or the next process, ends them or goes on."""

    def __init__(
        self,
        log: EventLog,
        bus: EventBus,
        config: GenerationsSection,
        language_model: LanguageModel,
        lock: LeaderLock,
    ) -> None:
        super().__init__(log, lock, name="generations", does="carries out runs")
        self._bus = bus
        self._config = config
        self._language_model = language_model
        self._work: dict[str, asyncio.Task[None]] = {}
        self._unsubscribe: Callable[[], None] | None = None

    async def _let_go(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        tasks = list(self._work.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> None:
        """Watch for runs that are started and that end, and take up those that have not ended."""
        if self._unsubscribe is None:
            self._unsubscribe = self._bus.subscribe("run_*", self._on_event)
        for run_id in await self._log.query(unfinished_runs):
            self._take_up(run_id)

    def _on_event(self, event: Event) -> None:
        """Begin a run that was started, and stop one that has ended, at once: somebody may have cancelled it."""
        kind, _, run_id = event.stream.partition(":")
        if kind != KIND:
            return
        if event.event_type == RUN_STARTED:
            self._take_up(run_id)
        elif event.event_type in TERMINAL_EVENTS and (task := self._work.get(run_id)) is not None:
            task.cancel()

    def _take_up(self, run_id: str) -> None:
        """Carry out a run in a task of its own, once at a time."""
        if run_id in self._work:
            return
        work = RunWork(self._log, run_id, self._language_model, self._config)
        task = self._work[run_id] = asyncio.create_task(work.carry_out(), name=f"run {run_id}")
        task.add_done_callback(partial(self._forget, run_id))

    def _forget(self, run_id: str, done: asyncio.Task[None]) -> None:
        del self._work[run_id]
        if not done.cancelled() and done.exception() is not None:  # also its failure could not be stored
            self._logger.error("run_left", run_id=run_id, exc_info=done.exception())
