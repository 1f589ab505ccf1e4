"""The executor: carries out every run that was started, in supervised tasks, and resumes or ends those that were interrupted.

Of several server processes on a file one carries runs out (`server/background/leader_worker.py`), whichever took the request.
Runs are known from the log alone: their first event begins them, their last one stops them."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

import structlog

from server.background.event_bus import EventBus
from server.background.leader_worker import LeaderWorker
from server.config import GenerationsSection
from server.eventlog.log import EventLog
from server.llm.provider import LanguageModel
from server.surfaces.generations.agent_task import AgentTask
from server.surfaces.generations.commands import CompleteRun, FailRun, ResumeRun
from server.surfaces.generations.plans import PLANS, Write
from server.surfaces.generations.projections import get_result, get_run, unfinished_runs
from server.surfaces.generations.prompts import Brief
from server.surfaces.generations.run_store import RunStore
from server.surfaces.generations.state import KIND, MAX_RESUMES, RUN_STARTED, TERMINAL_EVENTS
from towow.errors import Conflict
from towow.events import Event, uuid7

_log = structlog.get_logger("towow.generations")


class RunExecutor(LeaderWorker):
    """Carries out runs. Use as an async context manager, after the log and the model have been opened.

    At a shutdown runs stay where they are: the next start, or the next process, ends them or goes on."""

    def __init__(self, log: EventLog, bus: EventBus, config: GenerationsSection, language_model: LanguageModel) -> None:
        super().__init__(log, name="generations", does="carries out runs")
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
        """Begin a run that was started, and stop one that has ended, at once: a client may have cancelled it."""
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
        work = RunTask(self._log, run_id, self._language_model, self._config)
        task = self._work[run_id] = asyncio.create_task(work.carry_out(), name=f"run {run_id}")
        task.add_done_callback(partial(self._forget, run_id))

    def _forget(self, run_id: str, done: asyncio.Task[None]) -> None:
        del self._work[run_id]
        if not done.cancelled() and done.exception() is not None:  # also its failure could not be stored
            self._logger.error("run_left", run_id=run_id, exc_info=done.exception())


class RunTask:
    """One run, from wherever it stands to its end: takes the next step of its plan until there is none.

    A run that had begun when its server stopped is interrupted: it ends with that reason, or goes on if the settings say so.
    Its time counts from when it is taken up, and it ends with the reason `timeout` when that is over."""

    def __init__(self, log: EventLog, run_id: str, language_model: LanguageModel, config: GenerationsSection) -> None:
        self._log = log
        self._run_id = run_id
        self._language_model = language_model
        self._config = config
        self._store = RunStore(log, run_id)

    async def carry_out(self) -> None:
        """Bring the run to its end; cancel it to leave it where it stands. Nothing to do for one that has ended."""
        try:
            await self._take_up()
        except Conflict:
            await self._log.refresh()  # another process may have ended it
            if (await self._store.read()).is_running:
                await self._fail("the events of the run contradict each other")
        except Exception:
            await self._fail("the run cannot go on")

    async def _fail(self, cause: str) -> None:
        error_id = uuid7()
        _log.exception("run_failed", run_id=self._run_id, error_id=error_id, why=cause)
        await self._end(FailRun("internal", error_id))

    async def _end(self, command: CompleteRun | FailRun) -> None:
        with contextlib.suppress(Conflict):  # it was cancelled
            await self._store.add(command)

    async def _take_up(self) -> None:
        state = await self._store.read()
        if not state.exists:
            # Retention has trimmed its beginning, and with it the request.
            self._store.state = state = await self._log.query(partial(get_run, run_id=self._run_id))
            if state.is_running:
                await self._end(FailRun("interrupted"))
            return
        if not state.is_running:
            return
        if state.has_begun or state.resumes:
            if not self._config.resume or state.resumes >= MAX_RESUMES:
                await self._end(FailRun("interrupted"))
                return
            await self._store.add(ResumeRun())
        limit = self._config.run_timeout_seconds
        scope = asyncio.timeout(min(state.timeout_seconds or limit, limit))
        try:
            async with scope:
                end = await self._work()
        except TimeoutError:
            if not scope.expired():
                raise
            await self._store.read()  # also what was on its way to the disk
            end = FailRun("timeout")
        await self._end(end)

    async def _work(self) -> CompleteRun | FailRun:
        """Take one step after the other; returns how the run ends."""
        plan = PLANS[self._store.state.mode]
        earlier = await self._earlier()
        while True:
            step = plan.next_step(self._store.state)
            if not isinstance(step, Write):
                return step
            state = self._store.state
            try:
                async with asyncio.TaskGroup() as tasks:
                    for agent in step.agents:
                        before = plan.before(state, agent)
                        brief = Brief(state.prompt, state.language, state.context, before, earlier)
                        work = AgentTask(self._store, agent, brief, self._language_model, self._config)
                        tasks.create_task(work.carry_out(), name=f"{agent} of {self._run_id}")
            except BaseExceptionGroup as failures:
                ended = failures.subgroup(Conflict)
                raise (ended or failures).exceptions[0] from None

    async def _earlier(self) -> tuple[str, str] | None:
        """The prompt and the result of the run that this one continues, when there still is one."""
        run_id = self._store.state.continues
        if run_id is None:
            return None
        return await self._log.query(partial(get_result, run_id=run_id))
