"""One run, from wherever it stands to its end: what is next is asked of its supervisor or concierge, and done.

A run that had begun when its server stopped is interrupted: it ends with that reason, or goes on if the settings say so. It has
its time from when it is taken up, and ends with the reason `timeout` when that is over."""

import asyncio
import contextlib
from functools import partial

import structlog

from server.config import GenerationsSection
from server.eventlog.decider import fold
from server.eventlog.log import EventLog
from server.llm.provider import LanguageModel
from server.surfaces.generations import model
from server.surfaces.generations.agents import AgentWork
from server.surfaces.generations.commands import Completed, Failed, Resumed
from server.surfaces.generations.loomi import LoomiConcierge
from server.surfaces.generations.nova import Nova3Supervisor
from server.surfaces.generations.projections import get_run
from server.surfaces.generations.prompts import Brief
from server.surfaces.generations.recording import RunStore
from server.surfaces.generations.state import LOOMI, MAX_RESUMES, NOVA, Mode, initial, stream_of
from server.surfaces.generations.steps import Write
from towow.errors import Conflict
from towow.events import uuid7

_PLANS: dict[Mode, Nova3Supervisor | LoomiConcierge] = {NOVA: Nova3Supervisor(), LOOMI: LoomiConcierge()}
_log = structlog.get_logger("towow.generations")


class RunWork:
    """Carries out one run."""

    def __init__(self, log: EventLog, run_id: str, language_model: LanguageModel, config: GenerationsSection) -> None:
        self._log = log
        self._run_id = run_id
        self._language_model = language_model
        self._config = config
        self._record = RunStore(log, run_id)

    async def carry_out(self) -> None:
        """Bring the run to its end; cancel it to leave it where it stands. Nothing to do for one that has ended."""
        try:
            await self._take_up()
        except Conflict:
            await self._log.refresh()  # who ended it may be another process
            if (await self._record.read()).is_running:
                await self._fail("the events of the run contradict each other")
        except Exception:
            await self._fail("the run cannot go on")

    async def _fail(self, why: str) -> None:
        error_id = uuid7()
        _log.exception("run_failed", run_id=self._run_id, error_id=error_id, why=why)
        await self._end(Failed("internal", error_id))

    async def _end(self, command: Completed | Failed) -> None:
        with contextlib.suppress(Conflict):  # somebody has cancelled it
            await self._record.add(command)

    async def _take_up(self) -> None:
        state = await self._record.read()
        if not state.exists:
            # Retention has trimmed its beginning: nobody knows any more what was asked for.
            self._record.state = state = await self._log.query(partial(get_run, run_id=self._run_id))
            if state.is_running:
                await self._end(Failed("interrupted"))
            return
        if not state.is_running:
            return
        if state.has_begun or state.resumes:
            if not self._config.resume or state.resumes >= MAX_RESUMES:
                await self._end(Failed("interrupted"))
                return
            await self._record.add(Resumed())
        limit = self._config.run_timeout_seconds
        scope = asyncio.timeout(min(state.timeout_seconds or limit, limit))
        try:
            async with scope:
                end = await self._work()
        except TimeoutError:
            if not scope.expired():
                raise
            await self._record.read()  # also what was on its way to the disk
            end = Failed("timeout")
        await self._end(end)

    async def _work(self) -> Completed | Failed:
        """Take one step after the other; returns how the run ends."""
        plan = _PLANS[self._record.state.mode]
        earlier = await self._earlier()
        while True:
            step = plan.next_step(self._record.state)
            if not isinstance(step, Write):
                return step
            state = self._record.state
            try:
                async with asyncio.TaskGroup() as tasks:
                    for agent in step.agents:
                        before = plan.before(state, agent)
                        brief = Brief(state.prompt, state.language, state.context, before, earlier)
                        work = AgentWork(self._record, agent, brief, self._language_model, self._config)
                        tasks.create_task(work.carry_out(), name=f"{agent} of {self._run_id}")
            except BaseExceptionGroup as failures:
                ended = failures.subgroup(Conflict)
                raise (ended or failures).exceptions[0] from None

    async def _earlier(self) -> tuple[str, str] | None:
        """The prompt and the result of the run that this one continues, when there still is one."""
        run_id = self._record.state.continues
        if run_id is None:
            return None
        state = await fold(self._log, stream_of(run_id), initial(run_id), model.evolve)
        return (state.prompt, state.result) if state.result else None
