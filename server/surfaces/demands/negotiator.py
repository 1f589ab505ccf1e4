"""The steps of a negotiation: what `next_step` says is done, one step after the other, until the demand has ended.

It keeps nothing that is not in the log: a step is an append at the revision that was read, so a race that is lost is decided
again. `coordinator.py` says which demands are worked on, and wakes them."""

import asyncio
import contextlib
from functools import partial

import structlog

from server.background.deadlines import DeadlineClock
from server.config import DemandsSection
from server.eventlog.decider import Load, decide_and_append, fold, from_row, known
from server.eventlog.log import EventLog
from server.surfaces.demands import commands, matching, model, planning, sentences
from server.surfaces.demands.next_step import (
    Agree,
    GiveUp,
    GiveUpSubnet,
    Invite,
    NameGaps,
    NegotiationLimits,
    Propose,
    Search,
    Step,
    Wait,
    deadline,
    longest_wait,
    next_step,
)
from server.surfaces.demands.projections import get_demand
from server.surfaces.demands.rendering import understanding_of
from server.surfaces.demands.samples import SampleParticipants
from server.surfaces.demands.state import FAILED, SOURCE, DemandState, initial, stream_of
from server.surfaces.demands.text_writer import TextWriter
from towow.errors import Conflict, RevisionMismatch, StorageFull, StreamEnded, TowowError, Unavailable
from towow.events import new_event

_SEARCHES_AT_ONCE = 8
_MAX_ATTEMPTS = 20  # at one step, while nothing else moves
_MAX_STEPS = 1_000  # of one demand since the start: more than gaps, sub-negotiations and rounds can need
_LONGEST_SLEEP_SECONDS = 3_600.0  # a clock that is set is noticed at the latest then
_log = structlog.get_logger("towow.coordinator")


class Work:
    """One demand that is worked on: its task, and the word that something has happened."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.is_parent_changed = True  # until it has been looked at
        self.was_listed = False  # among the open demands; without a beginning in the log, it was trimmed
        self.task: asyncio.Task[None] | None = None


class Negotiator:
    """Takes the steps of demands, of each by one task at a time."""

    def __init__(
        self, log: EventLog, config: DemandsSection, author: TextWriter, samples: SampleParticipants, deadlines: DeadlineClock
    ) -> None:
        self._log = log
        self._deadlines = deadlines
        self._author = author
        self._samples = samples
        self._max_candidates = config.max_candidates
        self._limits = NegotiationLimits(
            offer_timeout_seconds=config.offer_timeout_seconds,
            feedback_timeout_seconds=config.feedback_timeout_seconds,
            subnet_timeout_seconds=config.subnet_timeout_seconds,
            max_rounds=config.max_rounds,
            max_depth=config.max_depth,
            max_subnets=config.max_subnets,
        )
        self._room = asyncio.Semaphore(_SEARCHES_AT_ONCE)

    async def negotiate(self, demand_id: str, work: Work) -> None:
        """Take one step after the other until the demand has ended. Safe to begin again at any moment."""
        state = initial(demand_id)
        work.is_parent_changed = True  # a try before this one may have looked and then failed
        texts_by_draft: dict[bytes, tuple[str, commands.WrittenBy]] = {}
        lost_at, lost, stored = 0, 0, 0
        while True:
            work.wake.clear()
            state = await fold(self._log, stream_of(demand_id), state, model.evolve, after=state.last_seq)
            if not state.is_open:
                if work.was_listed and not state.exists:
                    await self._end_trimmed(state)
                return
            command = await self._cancelled_by_parent(state, work) or await self._finished_subnet(state)
            if command is None:
                now = self._now(state)
                step = next_step(state, now, self._limits)
                if isinstance(step, Wait):
                    self._samples.attend(state)
                    await self._sleep(work, None if step.until is None else step.until - now)
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

    async def give_up(self, demand_id: str) -> None:
        """Record that a demand cannot go on for a fault of ours, unless it has ended. Raises what may pass."""
        try:
            await decide_and_append(
                self._log,
                stream_of(demand_id),
                self._load(demand_id),
                lambda state: model.decide(
                    state, commands.FailDemand("internal_error", sentences.failure_message(state.language, "internal_error"))
                ),
            )
        except Conflict:
            pass  # it has ended meanwhile
        except (Unavailable, StorageFull):
            raise
        except TowowError:
            _log.warning("failure_not_recorded", demand_id=demand_id)

    async def close(self) -> None:
        """Stop what the steps have started: the sample agents' answers."""
        await self._samples.close()

    def _now(self, state: DemandState) -> float:
        until = deadline(state)
        return self._log.clock() if until is None else self._deadlines.now(state.demand_id, until, longest_wait(state))

    async def _sleep(self, work: Work, seconds: float | None) -> None:
        seconds = _LONGEST_SLEEP_SECONDS if seconds is None else seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), _LONGEST_SLEEP_SECONDS)):
                await work.wake.wait()

    async def _append(self, state: DemandState, command: commands.Command) -> bool:
        """Append what a command becomes, at the revision that it was decided at; False, and nothing, when somebody was
        faster."""
        stream = stream_of(state.demand_id)
        try:
            await decide_and_append(self._log, stream, known(state), lambda state: model.decide(state, command), attempts=1)
        except (RevisionMismatch, StreamEnded):
            await self._log.refresh()  # the winner may be another process
            return False
        return True

    async def _command(
        self, state: DemandState, step: Step, texts_by_draft: dict[bytes, tuple[str, commands.WrittenBy]]
    ) -> commands.Command:
        """The command that takes a step."""
        limits = self._limits
        match step:
            case Search():
                return commands.RecordCandidates(await self._search(state), limits.offer_timeout_seconds)
            case Invite():
                return commands.SendInvitations(limits.offer_timeout_seconds)
            case NameGaps():
                return commands.NameMissing(step.gaps, step.subnets, step.round, limits.subnet_timeout_seconds)
            case GiveUpSubnet():
                return commands.CompleteSubnet(step.subnet.subnet_id, "timed_out", "timed_out")
            case Propose():
                # Written once: a race that was lost while the model wrote must not make it write the same again.
                written = texts_by_draft.get(step.draft.fingerprint) or await self._write(state, step.draft)
                texts_by_draft[step.draft.fingerprint] = written
                return commands.Distribute(step.draft, *written, limits.feedback_timeout_seconds)
            case Agree():
                return commands.Finalize()
            case GiveUp():
                return commands.FailDemand(step.reason, sentences.failure_message(state.language, step.reason, **step.facts))
        raise AssertionError(f"no command for {step}")

    async def _search(self, state: DemandState) -> tuple[dict[str, object], ...]:
        async with self._room:
            found = await self._log.query(
                partial(
                    matching.search_candidates,
                    understanding=understanding_of(state),
                    raw_input=state.raw_input,
                    limit=self._max_candidates,
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
        """The word that a sub-negotiation has ended, when one has."""
        if state.phase != "filling_gaps":
            return None
        for subnet in state.subnets:
            if subnet.outcome is None:
                child = await self._load(subnet.subnet_id)()
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

    async def _cancelled_by_parent(self, state: DemandState, work: Work) -> commands.Command | None:
        """The end of a sub-negotiation whose parent has ended, or does not wait for it any more."""
        if state.parent_demand_id is None or not work.is_parent_changed:
            return None
        work.is_parent_changed = False  # before the look: what happens meanwhile is looked at again
        parent = await self._load(state.parent_demand_id)()
        ours = next((each for each in parent.subnets if each.subnet_id == state.demand_id), None)
        if parent.is_open and ours is not None and ours.outcome is None:
            return None
        work.is_parent_changed = True  # until the end is stored
        return commands.CancelDemand(
            "timed_out" if ours is not None and ours.outcome == "timed_out" else "parent_ended", by="parent"
        )

    def _load(self, demand_id: str) -> Load[DemandState]:
        return from_row(self._log, stream_of(demand_id), partial(get_demand, demand_id=demand_id), model.evolve)

    async def _end_trimmed(self, state: DemandState) -> None:
        """End a demand whose beginning retention has trimmed: its text is gone."""
        stream = stream_of(state.demand_id)
        info = await self._log.stream(stream)
        if info is None:
            return
        payload = {
            "demand_id": state.demand_id,
            "channel_id": state.channel_id,
            "reason": "internal_error",
            "message": sentences.failure_message(state.language, "internal_error"),
            "round": state.current_round,
        }
        with contextlib.suppress(RevisionMismatch, Conflict):  # somebody else has appended
            event = new_event(stream, FAILED, payload, source=SOURCE, expected_revision=info.revision)
            await decide_and_append(self._log, stream, known(info), lambda _: [event], attempts=1)
