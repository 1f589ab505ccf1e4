"""The coordinator: works on every open demand in a supervised task of its own, and goes on after a restart.

What is done in such a task is `negotiator.py`'s. Of several server processes on a file one coordinates
(`server/background/leader_worker.py`)."""

import asyncio
from collections.abc import Callable
from functools import partial

from server.background.event_bus import EventBus
from server.background.leader_worker import LeaderWorker
from server.background.retry import retry_until_writable
from server.config import DemandsSection
from server.eventlog.decider import decide_and_append, known
from server.eventlog.log import EventLog
from server.surfaces.demands import matching
from server.surfaces.demands.negotiator import Negotiator, Work
from server.surfaces.demands.projections import open_demands
from server.surfaces.demands.samples import SAMPLE_AGENTS
from server.surfaces.demands.state import KIND, SUBNET_COMPLETED, TERMINAL_EVENTS
from towow.events import Event


class Coordinator(LeaderWorker):
    """Drives negotiations. Use as an async context manager, after the log has been opened."""

    def __init__(self, log: EventLog, bus: EventBus, config: DemandsSection, negotiator: Negotiator) -> None:
        super().__init__(log, name="coordinator", does="coordinates")
        self._bus = bus
        self._config = config
        self._negotiator = negotiator
        self._work: dict[str, Work] = {}
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def open_demands(self) -> int:
        """How many demands are worked on."""
        return len(self._work)

    async def _let_go(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        tasks = [work.task for work in self._work.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._negotiator.close()

    async def _begin(self) -> None:
        """Register the sample agents in a log that has had none, watch for events, and take up the demands that are open."""
        if self._config.sample_agents:
            await self._register_samples()
        if self._unsubscribe is None:
            self._unsubscribe = self._bus.subscribe("towow.*", self._on_event)
        for demand_id in await self._log.query(open_demands):
            self._take_up(demand_id, was_listed=True)

    async def _register_samples(self) -> None:
        if await self._log.streams(kind=matching.KIND, limit=1):
            return  # this log has had agents before; those removed since stay removed
        agents = [matching.validate_agent(**agent, sample=True) for agent in SAMPLE_AGENTS]
        events = [matching.agent_registered(agent, event_id=f"sample-{agent.agent_id}") for agent in agents]
        await decide_and_append(self._log, matching.KIND, known(None), lambda _: events, revision_of=None)

    def _on_event(self, event: Event) -> None:
        """Wake the demand that an event is of, and those that wait for its end."""
        kind, _, demand_id = event.stream.partition(":")
        if kind != KIND:
            return
        if event.event_type not in TERMINAL_EVENTS:
            self._take_up(demand_id)
        if work := self._work.get(demand_id):
            work.wake.set()
        if event.event_type in TERMINAL_EVENTS and (parent := self._work.get(demand_id.rpartition(".")[0])):
            parent.wake.set()
        if event.event_type in TERMINAL_EVENTS or event.event_type == SUBNET_COMPLETED:
            for child_id, child in self._work.items():
                if child_id.rpartition(".")[0] == demand_id:
                    child.is_parent_changed = True
                    child.wake.set()

    def _take_up(self, demand_id: str, *, was_listed: bool = False) -> None:
        """Work on a demand in a task of its own, once at a time."""
        work = self._work.get(demand_id)
        if work is None or work.task is None or work.task.done():
            work = self._work[demand_id] = Work()
            work.task = asyncio.create_task(self._supervise(demand_id, work), name=f"demand {demand_id}")
            work.task.add_done_callback(partial(self._forget, demand_id, work))
        work.was_listed = work.was_listed or was_listed

    def _forget(self, demand_id: str, work: Work, done: asyncio.Task[None]) -> None:
        if self._work.get(demand_id) is work:
            del self._work[demand_id]

    async def _supervise(self, demand_id: str, work: Work) -> None:
        """Negotiate; wait out a file that cannot be written; end the demand with a reason when it cannot go on."""
        try:
            await retry_until_writable(partial(self._negotiator.negotiate, demand_id, work))
        except Exception:
            self._logger.exception("negotiation_failed", demand_id=demand_id)
            await retry_until_writable(partial(self._negotiator.give_up, demand_id))
