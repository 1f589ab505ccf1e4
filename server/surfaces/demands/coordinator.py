"""
The coordinator: takes every demand from its understanding to its end, in supervised tasks, and goes on after a restart.

It keeps nothing that is not in the log. What comes next is `planning.next_step`, of the state, the time and the limits; what it
does is an append at the revision that was read, so a race that is lost is decided again. Deadlines count from the times of
events. When server processes share a file, the one that holds the lock acts for all; another takes over when it is gone.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

import stamina
import structlog

from server.bus import EventBus
from server.config import NegotiationSection
from server.decider import decide_and_append, fold, place
from server.errors import Conflict, RevisionMismatch, StorageFull, StreamEnded, TowowError, Unavailable
from server.eventlog import EventLog
from server.events import Event, new_event
from server.leadership import Leadership
from server.surfaces.demands import commands, matching, model, planning, texts
from server.surfaces.demands.projections import open_demands
from server.surfaces.demands.rendering import understanding_of
from server.surfaces.demands.sample_agents import SAMPLE_AGENTS
from server.surfaces.demands.sample_participants import SampleParticipants
from server.surfaces.demands.state import (
    FAILED,
    KIND,
    SOURCE,
    SUBNET_COMPLETED,
    TERMINAL_EVENTS,
    DemandState,
    initial,
    stream_of,
)
from server.surfaces.demands.writing import Author

_SEARCHES_AT_ONCE = 8
_RETRY_SECONDS = (0.5, 30.0)  # first and longest wait while the file cannot be written
_TURN_SECONDS = 0.2  # between two tries to become the one that acts
_MAX_ATTEMPTS = 20  # at one step, while nothing else moves
_MAX_STEPS = 1_000  # of one demand since the start: more than gaps, sub-negotiations and rounds can need
_LONGEST_SLEEP_SECONDS = 3_600.0  # a clock that is set is noticed at the latest then
_log = structlog.get_logger("towow.coordinator")


class _Work:
    """
    One demand that is worked on: its task, and the word that something has happened.
    """

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.is_parent_changed = True  # until it has been looked at
        self.task: asyncio.Task[None] | None = None


class Coordinator:
    """
    Drives negotiations. Use as an async context manager, after the log has been opened.
    """

    def __init__(
        self,
        log: EventLog,
        bus: EventBus,
        config: NegotiationSection,
        author: Author,
        samples: SampleParticipants,
        leadership: Leadership,
    ) -> None:
        self._log = log
        self._bus = bus
        self._config = config
        self._author = author
        self._samples = samples
        self._leadership = leadership
        self._limits = planning.Limits(
            offer_timeout_seconds=config.offer_timeout_seconds,
            feedback_timeout_seconds=config.feedback_timeout_seconds,
            subnet_timeout_seconds=config.subnet_timeout_seconds,
            max_rounds=config.max_rounds,
            max_depth=config.max_depth,
            max_subnets=config.max_subnets,
        )
        self._room = asyncio.Semaphore(_SEARCHES_AT_ONCE)
        self._work: dict[str, _Work] = {}
        self._turn: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def open_demands(self) -> int:
        """
        How many demands are worked on.
        """
        return len(self._work)

    async def __aenter__(self) -> "Coordinator":
        """
        Begin, or wait in the background for the process that acts to go.
        """
        if not self._leadership.try_take():
            _log.info("standing_by", reason="another process on this file coordinates")
            self._turn = asyncio.create_task(self._wait_for_turn(), name="coordinator's turn")
            return self
        try:
            await self._begin()
        except (Unavailable, StorageFull):  # reading goes on without a negotiation
            self._turn = asyncio.create_task(self._patiently(self._begin), name="coordinator's turn")
        except BaseException:
            self._leadership.release()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """
        Stop; what is open is taken up at the next start, or by the next process.
        """
        if self._turn is not None:
            self._turn.cancel()
            await asyncio.gather(self._turn, return_exceptions=True)
        await self._stop()

    async def _stop(self) -> None:
        """
        Let go of everything that only the acting process does, and of the lock.
        """
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        tasks = [work.task for work in self._work.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._samples.close()
        self._leadership.release()

    async def _wait_for_turn(self) -> None:
        """
        Take over when the lock is free. Whatever goes wrong there is said and tried again: nobody else may be left.
        """
        while True:
            try:
                if self._leadership.try_take():
                    _log.info("taking_over")
                    await self._log.refresh()
                    await self._patiently(self._begin)
                    return
            except Exception:
                _log.exception("not_taken_over")
                await self._stop()
            await asyncio.sleep(_TURN_SECONDS)  # a lock of the kernel's tells nobody that it is free

    async def _begin(self) -> None:
        """
        Register the sample agents in a log that has had none, watch for events, and take up the demands that are open.
        """
        if self._config.sample_agents:
            await self._register_samples()
        if self._unsubscribe is None:
            self._unsubscribe = self._bus.subscribe("towow.*", self._on_event)
        for demand_id in await self._log.query(open_demands):
            await self._end_if_trimmed(demand_id)
            self._take_up(demand_id)

    async def _end_if_trimmed(self, demand_id: str) -> None:
        """
        End a demand whose beginning retention has trimmed: nobody knows any more what was asked for.
        """
        stream = stream_of(demand_id)
        state = await self._fold(demand_id)
        info = await self._log.stream(stream)
        if state.exists or info is None:
            return
        payload = {
            "demand_id": demand_id,
            "channel_id": state.channel_id,
            "reason": "internal_error",
            "message": texts.failure_message(state.language, "internal_error"),
            "round": state.current_round,
        }
        with contextlib.suppress(RevisionMismatch, Conflict):  # somebody else has appended
            await self._log.append(place([new_event(stream, FAILED, payload, source=SOURCE)], stream, info.revision))

    async def _register_samples(self) -> None:
        if await self._log.streams(kind=matching.KIND, limit=1):
            return  # this log has had agents before; those removed since stay removed
        agents = [matching.validate_agent(**agent, sample=True) for agent in SAMPLE_AGENTS]
        await self._log.append([matching.agent_registered(agent, event_id=f"sample-{agent.agent_id}") for agent in agents])

    def _on_event(self, event: Event) -> None:
        """
        Wake the demand that an event is of, and those that wait for its end.
        """
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

    def _take_up(self, demand_id: str) -> None:
        """
        Work on a demand in a task of its own, once at a time.
        """
        known = self._work.get(demand_id)
        if known is not None and known.task is not None and not known.task.done():
            return
        work = self._work[demand_id] = _Work()
        work.task = asyncio.create_task(self._supervise(demand_id, work), name=f"demand {demand_id}")
        work.task.add_done_callback(lambda done: self._forget(demand_id, work))

    def _forget(self, demand_id: str, work: _Work) -> None:
        if self._work.get(demand_id) is work:
            del self._work[demand_id]

    async def _supervise(self, demand_id: str, work: _Work) -> None:
        """
        Negotiate; wait out a file that cannot be written; end the demand with a reason when it cannot go on.
        """
        try:
            await self._patiently(partial(self._negotiate, demand_id, work))
        except Exception:
            _log.exception("negotiation_failed", demand_id=demand_id)
            await self._patiently(partial(self._fail, demand_id))

    async def _patiently(self, do: Callable[[], Awaitable[None]]) -> None:
        """
        Do something again for as long as the file cannot be written.
        """
        first, longest = _RETRY_SECONDS
        async for attempt in stamina.retry_context(
            on=(Unavailable, StorageFull), attempts=None, timeout=None, wait_initial=first, wait_max=longest
        ):
            with attempt:
                await do()

    async def _negotiate(self, demand_id: str, work: _Work) -> None:
        """
        Take one step after the other until the demand has ended.
        """
        state = initial(demand_id)
        texts_by_draft: dict[bytes, tuple[str, commands.WrittenBy]] = {}
        lost_at, lost, stored = 0, 0, 0
        while True:
            work.wake.clear()
            state = await fold(self._log, stream_of(demand_id), state, model.evolve, after=state.last_seq)
            if not state.is_open:
                return
            command = await self._cancelled_by_parent(state, work) or await self._finished_subnet(state)
            if command is None:
                step = planning.next_step(state, self._log.clock(), self._limits)
                if isinstance(step, planning.Wait):
                    self._samples.attend(state)
                    await self._sleep(work, step.until)
                    continue
                command = await self._command(state, step, texts_by_draft)
            if await self._append(state, command):
                stored += 1
                if stored > _MAX_STEPS:
                    raise Conflict(f"{demand_id} goes round in circles")
            else:
                lost, lost_at = (lost + 1 if lost_at == state.revision else 1), state.revision
                if lost >= _MAX_ATTEMPTS:  # not a race: another stream of this step is in the way
                    raise Conflict(f"the next step of {demand_id} cannot be stored")

    async def _sleep(self, work: _Work, until: float | None) -> None:
        seconds = _LONGEST_SLEEP_SECONDS if until is None else until - self._log.clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), _LONGEST_SLEEP_SECONDS)):
                await work.wake.wait()

    async def _append(self, state: DemandState, command: commands.Command) -> bool:
        """
        Append what a command becomes, at the revision that it was decided at; False, and nothing, when somebody was faster.
        """
        events = place(model.decide(state, command), stream_of(state.demand_id), state.revision)
        try:
            await self._log.append(events)
        except (RevisionMismatch, StreamEnded):
            await self._log.refresh()  # the winner may be another process
            return False
        return True

    async def _command(
        self,
        state: DemandState,
        step: planning.Step,
        texts_by_draft: dict[bytes, tuple[str, commands.WrittenBy]],
    ) -> commands.Command:
        """
        The command that takes a step.
        """
        limits = self._limits
        match step:
            case planning.Search():
                return commands.RecordCandidates(await self._search(state), limits.offer_timeout_seconds)
            case planning.Invite():
                return commands.SendInvitations(limits.offer_timeout_seconds)
            case planning.NameGaps():
                return commands.NameMissing(step.gaps, step.subnets, step.round, limits.subnet_timeout_seconds)
            case planning.GiveUpSubnet():
                return commands.CompleteSubnet(step.subnet.subnet_id, "timed_out", "timed_out")
            case planning.Propose():
                # Written once: a race that was lost while the model wrote must not make it write the same again.
                written = texts_by_draft.get(step.draft.fingerprint) or await self._write(state, step.draft)
                texts_by_draft[step.draft.fingerprint] = written
                return commands.Distribute(step.draft, *written, limits.feedback_timeout_seconds)
            case planning.Agree():
                return commands.Finalize()
            case planning.GiveUp():
                return commands.Fail(step.reason, texts.failure_message(state.language, step.reason, **step.facts))
        raise AssertionError(f"no command for {step}")

    async def _search(self, state: DemandState) -> tuple[dict[str, object], ...]:
        async with self._room:
            found = await self._log.query(
                partial(
                    matching.search_candidates,
                    understanding=understanding_of(state),
                    raw_input=state.raw_input,
                    limit=self._config.max_candidates,
                    excluded=frozenset(state.excluded_agents),
                )
            )
        return tuple(found)

    async def _write(self, state: DemandState, draft: planning.Draft) -> tuple[str, commands.WrittenBy]:
        return await self._author.proposal(
            state.language,
            state.surface_demand,
            [model.assignment_object(each) for each in draft.assignments],
            [each.capability for each in draft.missing],
            draft.total_price,
            draft.currency,
            draft.wishes,
            draft.considered,
        )

    async def _finished_subnet(self, state: DemandState) -> commands.Command | None:
        """
        The word that a sub-negotiation has ended, when one has.
        """
        if state.phase != "filling_gaps":
            return None
        for subnet in state.subnets:
            if subnet.outcome is None:
                child = await self._fold(subnet.subnet_id)
                if child.outcome is not None:
                    plan = child.proposal if child.status == "finalized" else None
                    return commands.CompleteSubnet(
                        subnet.subnet_id,
                        child.status,
                        child.outcome.reason,
                        plan.assignments if plan is not None else (),
                        plan.missing if plan is not None else (),
                    )
        return None

    async def _cancelled_by_parent(self, state: DemandState, work: _Work) -> commands.Command | None:
        """
        The end of a sub-negotiation whose parent has ended, or does not wait for it any more.
        """
        if state.parent_demand_id is None or not work.is_parent_changed:
            return None
        work.is_parent_changed = False
        parent = await self._fold(state.parent_demand_id)
        ours = next((each for each in parent.subnets if each.subnet_id == state.demand_id), None)
        if parent.is_open and ours is not None and ours.outcome is None:
            return None
        return commands.Cancel("timed_out" if ours is not None and ours.outcome == "timed_out" else "parent_ended", by="parent")

    async def _fold(self, demand_id: str) -> DemandState:
        return await fold(self._log, stream_of(demand_id), initial(demand_id), model.evolve)

    async def _fail(self, demand_id: str) -> None:
        try:
            await decide_and_append(
                self._log,
                stream_of(demand_id),
                initial(demand_id),
                model.evolve,
                lambda state: model.decide(
                    state, commands.Fail("internal_error", texts.failure_message(state.language, "internal_error"))
                ),
                lambda state: state.revision,
            )
        except Conflict:
            pass  # it has ended meanwhile
        except (Unavailable, StorageFull):
            raise
        except TowowError:
            _log.warning("failure_not_recorded", demand_id=demand_id)
