"""
The coordinator: takes every understood demand to its candidates, in supervised tasks, and goes on after a restart.

It keeps nothing that is not in the log. What is open is asked of the projection at start; what is new comes from the event
bus. When two server processes share a file both may work on a demand; the revision decides, and the slower one finds the
work done.
"""

import asyncio
from functools import partial

import stamina
import structlog

from server.bus import EventBus
from server.config import NegotiationSection
from server.decider import decide_and_append, fold
from server.errors import Conflict, RevisionMismatch, StorageFull, StreamEnded, Unavailable
from server.eventlog import EventLog
from server.events import Event
from server.surfaces.demands import matching, model
from server.surfaces.demands.projections import open_demands
from server.surfaces.demands.sample_agents import SAMPLE_AGENTS

_AT_ONCE = 8  # demands filtered at the same time
_RETRY_SECONDS = (0.5, 30.0)  # first and longest wait while the file cannot be written
_log = structlog.get_logger("towow.coordinator")


class Coordinator:
    """
    Filters demands. Use as an async context manager, after the log has been opened.
    """

    def __init__(self, log: EventLog, bus: EventBus, config: NegotiationSection) -> None:
        self._log = log
        self._bus = bus
        self._config = config
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "Coordinator":
        """
        Register the sample agents on the first start, watch for demands, and take up those that were left open.
        """
        if self._config.sample_agents:
            await self._register_samples()
        self._unsubscribe = self._bus.subscribe(model.UNDERSTOOD, self._on_understood)
        for demand_id in await self._log.query(open_demands):
            self._take_up(demand_id)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """
        Stop; what is open is taken up at the next start.
        """
        self._unsubscribe()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _register_samples(self) -> None:
        if await self._log.streams(kind=matching.KIND, limit=1):
            return  # this log has had agents before; those removed since stay removed
        agents = [matching.validate_agent(**agent, sample=True) for agent in SAMPLE_AGENTS]
        await self._log.append([matching.agent_registered(agent, event_id=f"sample-{agent.agent_id}") for agent in agents])

    def _on_understood(self, event: Event) -> None:
        if event.stream.startswith(f"{model.KIND}:"):
            self._take_up(event.stream.partition(":")[2])

    def _take_up(self, demand_id: str) -> None:
        """
        Work on a demand in a task of its own, once at a time.
        """
        if demand_id in self._tasks:
            return
        task = asyncio.create_task(self._supervise(demand_id), name=f"demand {demand_id}")
        self._tasks[demand_id] = task
        task.add_done_callback(lambda done: self._tasks.pop(demand_id, None))

    async def _supervise(self, demand_id: str) -> None:
        """
        Filter; wait out a file that cannot be written; end the demand with a reason when it cannot go on.
        """
        first, longest = _RETRY_SECONDS
        try:
            async for attempt in stamina.retry_context(
                on=(Unavailable, StorageFull), attempts=None, timeout=None, wait_initial=first, wait_max=longest
            ):
                with attempt:
                    async with self._room:
                        await self._filter(demand_id)
        except (Conflict, RevisionMismatch, StreamEnded):
            return  # it has moved on: another process was faster, or it was ended
        except Exception:
            _log.exception("filtering_failed", demand_id=demand_id)
            await self._fail(demand_id)

    async def _filter(self, demand_id: str) -> None:
        state = await fold(self._log, model.stream_of(demand_id), model.initial(demand_id), model.evolve)
        if state.phase != "understood":
            return
        candidates = await self._log.query(
            partial(
                matching.search_candidates,
                understanding=model.understanding_of(state),
                raw_input=state.raw_input,
                limit=self._config.max_candidates,
            )
        )
        await self._decide(demand_id, model.RecordCandidates(tuple(candidates)))

    async def _fail(self, demand_id: str) -> None:
        command = model.Fail("internal_error", "Filtering failed; the server's log says why.")
        try:
            await self._decide(demand_id, command)
        except (Conflict, RevisionMismatch, Unavailable, StorageFull):
            _log.warning("failure_not_recorded", demand_id=demand_id)

    async def _decide(self, demand_id: str, command: model.Command) -> None:
        await decide_and_append(
            self._log,
            model.stream_of(demand_id),
            model.initial(demand_id),
            model.evolve,
            lambda state: model.decide(state, command),
            lambda state: state.revision,
        )
