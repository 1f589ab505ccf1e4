"""A demand's life as a table and pure functions: what may follow what, what events change, what commands become.

A demand is understood, agents are found and invited, their offers become a proposal, gaps become
sub-negotiations, and rounds go on until it is finalized, fails or is cancelled. `state.py` has the values,
`payloads.py` what each event changes, `next_step.py` what the coordinator does next. An event without a row in
`TRANSITIONS` only moves the position; a command whose event has none is refused."""

import itertools
from collections.abc import Iterable
from typing import Any, assert_never

import msgspec

from server.surfaces.demands import matching, sentences
from server.surfaces.demands.commands import (
    AnswerProposal,
    CancelDemand,
    Command,
    CompleteSubnet,
    DeclineOffer,
    Distribute,
    FailDemand,
    Finalize,
    NameMissing,
    RecordCandidates,
    SendInvitations,
    Submit,
    SubmitOffer,
)
from server.surfaces.demands.payloads import CHANGES
from server.surfaces.demands.planning import Missing, requirements_of, unavailable
from server.surfaces.demands.state import (
    BROADCAST,
    CANCELLED,
    DEADLINE_EXTENDED,
    DECLINED,
    FAILED,
    FEEDBACK,
    FILTERED,
    FINALIZED,
    GAP,
    OFFERED,
    PROPOSED,
    SOURCE,
    SUBNET_COMPLETED,
    SUBNET_TRIGGERED,
    UNDERSTOOD,
    Assignment,
    Candidate,
    DemandState,
    Offer,
    Proposal,
    channel_id_of,
    stream_of,
)
from server.surfaces.demands.understanding import CONCEPTS, Requirements
from towow.errors import Conflict, Forbidden, NotFound
from towow.events import Event, NewEvent, new_event

NO_CANDIDATES = "no_candidates"
MAX_SURFACE_CHARACTERS = 120

# (phase, event type) -> phase. "new" is a stream without a demand.
TRANSITIONS: dict[tuple[str, str], str] = {
    ("new", UNDERSTOOD): "understood",
    ("understood", FILTERED): "filtered",
    ("filtered", BROADCAST): "collecting_offers",
    ("collecting_offers", OFFERED): "collecting_offers",
    ("collecting_offers", DECLINED): "collecting_offers",
    ("collecting_offers", GAP): "filling_gaps",
    ("collecting_offers", PROPOSED): "proposing",
    ("filling_gaps", GAP): "filling_gaps",
    ("filling_gaps", SUBNET_TRIGGERED): "filling_gaps",
    ("filling_gaps", SUBNET_COMPLETED): "filling_gaps",
    ("filling_gaps", PROPOSED): "proposing",
    ("proposing", FEEDBACK): "proposing",
    ("proposing", GAP): "filling_gaps",
    ("proposing", PROPOSED): "proposing",
    # The server was down for a while, which does not count.
    **{(phase, DEADLINE_EXTENDED): phase for phase in ("collecting_offers", "filling_gaps", "proposing")},
    # Every publisher of the stream can end it at any time, and the log then keeps it ended.
    **{
        (phase, event_type): ended
        for phase in ("understood", "filtered", "collecting_offers", "filling_gaps", "proposing")
        for event_type, ended in ((FINALIZED, "finalized"), (FAILED, "failed"), (CANCELLED, "cancelled"))
    },
}

PHASES = ("new", *dict.fromkeys(TRANSITIONS.values()))


def evolve(state: DemandState, event: Event) -> DemandState:
    """The state after one more event of the stream; an event at or before `last_seq` changes nothing."""
    if event.seq <= state.last_seq:
        return state
    changes: dict[str, Any] = {}
    phase = TRANSITIONS.get((state.phase, event.event_type))
    if phase is not None:
        changes = {**CHANGES[event.event_type](state, event), "phase": phase}
    return msgspec.structs.replace(state, last_seq=event.seq, revision=event.revision, updated_at=event.timestamp, **changes)


def extension(state: DemandState, seconds: float) -> NewEvent:
    """The event that gives whoever is awaited so many seconds more, because the server was down."""
    return _event(state, DEADLINE_EXTENDED, seconds=seconds)


def decide(state: DemandState, command: Command) -> list[NewEvent]:
    """The events that a command becomes, in order: those of the demand's stream, each before its copies for agents.

    An empty list says that this was done before. Raises `Conflict` (the phase forbids it, or it was answered
    differently), `Forbidden` (the author has no part in it) or `NotFound` (no such proposal), with the
    phase, status and round."""
    match command:
        case Submit():
            return _submit(state, command)
        case RecordCandidates():
            return _record_candidates(state, command)
        case SendInvitations():
            return _invite(state, state.candidates, command.within_seconds)
        case SubmitOffer() | DeclineOffer():
            return _answer_invitation(state, command)
        case NameMissing():
            return _name_missing(state, command)
        case CompleteSubnet():
            return _complete_subnet(state, command)
        case Distribute():
            return _distribute(state, command)
        case AnswerProposal():
            return _answer_proposal(state, command)
        case Finalize():
            return _finalize(state)
        case FailDemand():
            return _end(state, FAILED, reason=command.reason, message=command.message, round=state.current_round)
        case CancelDemand():
            if state.phase == "cancelled":
                return []
            return _end(state, CANCELLED, reason=command.reason, by=command.by)
        case _:
            assert_never(command)


def _submit(state: DemandState, command: Submit) -> list[NewEvent]:
    _require(state, UNDERSTOOD, f"demand {state.demand_id} was already submitted")
    understanding = command.understanding
    event = _event(
        state,
        UNDERSTOOD,
        surface_demand=understanding.surface_demand,
        confidence=understanding.confidence,
        capabilities=capability_list(understanding.capabilities),
        language=understanding.language,
        raw_input=command.raw_input,
        user_id=command.user_id,
        requirements=requirements_object(command.requirements),
        confirm=command.confirm,
        written_by=command.written_by,
    )
    return [msgspec.structs.replace(event, expected_revision=0)]


def _record_candidates(state: DemandState, command: RecordCandidates) -> list[NewEvent]:
    _require(state, FILTERED, f"demand {state.demand_id} is {state.phase}; candidates are recorded once")
    found = _event(state, FILTERED, candidates=list(command.candidates))
    if not command.candidates:
        message = sentences.failure_message(state.language, NO_CANDIDATES)
        failed = _event(state, FAILED, reason=NO_CANDIDATES, message=message, round=state.current_round)
        return [found, failed]
    candidates = [msgspec.convert(each, Candidate) for each in command.candidates]
    return [found, *_invitations(state, candidates, command.within_seconds)]


def _invite(state: DemandState, candidates: Iterable[Candidate], within_seconds: float) -> list[NewEvent]:
    _require(state, BROADCAST, f"demand {state.demand_id} is {state.phase}; invitations are sent once")
    return _invitations(state, candidates, within_seconds)


def _invitations(state: DemandState, candidates: Iterable[Candidate], within_seconds: float) -> list[NewEvent]:
    invited = {each.agent_id: each for each in candidates}
    return [
        _event(state, BROADCAST, agent_ids=list(invited), offers_within_seconds=within_seconds),
        *(_copy(BROADCAST, invitation(state, each, within_seconds)) for each in invited.values()),
    ]


def invitation(state: DemandState, candidate: Candidate, within_seconds: float) -> dict[str, Any]:
    """An agent's invitation: the payload of `towow.demand.broadcast` on its own stream."""
    return {
        "demand_id": state.demand_id,
        "channel_id": state.channel_id,
        "agent_id": candidate.agent_id,
        "name": candidate.name or candidate.agent_id,
        "surface_demand": state.surface_demand,
        "raw_input": state.raw_input,
        "capabilities": capability_list(state.capabilities),
        "requirements": requirements_object(state.requirements),
        "language": state.language,
        "reason": candidate.reason,
        "parent_demand_id": state.parent_demand_id,
        "depth": state.depth,
        "offers_within_seconds": within_seconds,
    }


def _answer_invitation(state: DemandState, command: SubmitOffer | DeclineOffer) -> list[NewEvent]:
    agent_id = command.agent_id
    if state.phase in ("new", "understood", "filtered"):
        raise _conflict(state, "no agents have been invited yet")
    if agent_id not in state.invited:
        raise Forbidden(f"agent {agent_id} was not invited to {state.demand_id}", field="agent_id", **position_of(state))
    offer, decline = state.offer_of(agent_id), state.decline_of(agent_id)
    if isinstance(command, SubmitOffer):
        submitted = offer_object(command)
        if offer is not None and submitted == offer_object(offer):
            return []
        event_type, fields = OFFERED, dict[str, Any](offer=submitted)
    else:
        if decline is not None and decline.reason == command.reason:
            return []
        event_type, fields = DECLINED, {"reason": command.reason}
    if offer is not None or decline is not None:
        raise _conflict(state, f"agent {agent_id} has already answered differently")
    _require(state, event_type, f"demand {state.demand_id} takes no offers in phase {state.phase}")
    written = {} if command.written_by is None else {"written_by": command.written_by}
    return [_event(state, event_type, agent_id=agent_id, name=state.name_of(agent_id), **fields, **written)]


def offer_object(offer: Offer | SubmitOffer) -> dict[str, Any]:
    """The `offer` of an event's payload: content, capabilities, terms, needs."""
    return {
        "content": offer.content,
        "capabilities": list(offer.capabilities),
        "terms": offer.terms,
        "needs": list(offer.needs),
    }


def _name_missing(state: DemandState, command: NameMissing) -> list[NewEvent]:
    _require(state, GAP, f"demand {state.demand_id} is {state.phase}")
    events = []
    taken = {each.subnet_id for each in state.subnets}
    free = (each for number in itertools.count(1) if (each := f"{state.demand_id}.{number}") not in taken)
    for place, missing in enumerate(command.gaps):
        capability, reason, needed_by = missing
        gap = sentences.gap_text(state.language, capability, reason, state.name_of(needed_by) if needed_by else None)
        events.append(
            _event(state, GAP, capability=capability, gap=gap, reason=reason, needed_by=needed_by, round=command.round)
        )
        if place < command.subnets:
            events += _start_subnet(state, missing, next(free), command)
    return events


def _start_subnet(state: DemandState, missing: Missing, subnet_id: str, command: NameMissing) -> list[NewEvent]:
    """The event that a sub-negotiation began, and the first event of its own stream, a demand with a parent."""
    capability = missing.capability
    is_known = capability in CONCEPTS
    term = dict(state.capabilities).get(capability) or sentences.capability_name(state.language, capability)
    surface = f"{term} ← {state.surface_demand}"
    surface = surface if len(surface) <= MAX_SURFACE_CHARACTERS else surface[: MAX_SURFACE_CHARACTERS - 1] + "…"
    triggered = _event(
        state,
        SUBNET_TRIGGERED,
        subnet_id=subnet_id,
        parent_demand_id=state.demand_id,
        capability=capability,
        depth=state.depth + 1,
        surface_demand=surface,
        within_seconds=command.subnet_within_seconds,
    )
    excluded = dict.fromkeys((*state.excluded_agents, *unavailable(state), *([missing.needed_by] if missing.needed_by else ())))
    payload = {
        "demand_id": subnet_id,
        "channel_id": channel_id_of(subnet_id),
        "surface_demand": surface,
        "confidence": "high" if is_known else "medium",
        "capabilities": capability_list(((capability, term),) if is_known else ()),
        "language": state.language,
        "raw_input": term,
        "user_id": state.user_id,
        # The budget is the parent's: it is the whole plan that must fit.
        "requirements": requirements_object(msgspec.structs.replace(requirements_of(state), budget=None)),
        "confirm": False,
        "written_by": "rules",
        "parent_demand_id": state.demand_id,
        "depth": state.depth + 1,
        "for_capability": capability,
        "excluded_agents": list(excluded),
    }
    return [triggered, new_event(stream_of(subnet_id), UNDERSTOOD, payload, source=SOURCE, expected_revision=0)]


def _complete_subnet(state: DemandState, command: CompleteSubnet) -> list[NewEvent]:
    subnet = next((each for each in state.subnets if each.subnet_id == command.subnet_id), None)
    if subnet is None:
        raise NotFound(f"{state.demand_id} has no sub-negotiation {command.subnet_id}", field="subnet_id")
    if subnet.outcome is not None:
        return []
    _require(state, SUBNET_COMPLETED, f"demand {state.demand_id} is {state.phase}")
    return [
        _event(
            state,
            SUBNET_COMPLETED,
            subnet_id=subnet.subnet_id,
            parent_demand_id=state.demand_id,
            capability=subnet.capability,
            outcome=command.outcome,
            reason=command.reason,
            assignments=[assignment_object(each) for each in command.assignments],
            missing=list(command.missing),
        )
    ]


def _distribute(state: DemandState, command: Distribute) -> list[NewEvent]:
    _require(state, PROPOSED, f"demand {state.demand_id} is {state.phase}")
    draft = command.draft
    proposal = Proposal(
        proposal_id=f"{state.demand_id}-p{draft.round}",
        round=draft.round,
        assignments=draft.assignments,
        missing=tuple(each.capability for each in draft.missing),
        total_price=draft.total_price,
        currency=draft.currency,
        requirements=draft.requirements,
        wishes=draft.wishes,
        considered=draft.considered,
        summary=command.summary,
        written_by=command.written_by,
        within_seconds=command.within_seconds,
    )
    body = proposal_payload(state, proposal)
    recipients = [each for each in draft.assignments if each.subnet_id is None]
    return [
        new_event(stream_of(state.demand_id), PROPOSED, body, source=SOURCE),
        *(_copy(PROPOSED, {**body, "agent_id": each.agent_id, "assignment": assignment_object(each)}) for each in recipients),
    ]


def proposal_payload(state: DemandState, proposal: Proposal) -> dict[str, Any]:
    """The payload of `towow.proposal.distributed`; the copy for an agent has `agent_id` and `assignment`, its own part, too."""
    return {
        "demand_id": state.demand_id,
        "channel_id": state.channel_id,
        "proposal_id": proposal.proposal_id,
        "round": proposal.round,
        "language": state.language,
        "assignments": [assignment_object(each) for each in proposal.assignments],
        "missing": list(proposal.missing),
        "total_price": proposal.total_price,
        "currency": proposal.currency,
        "requirements": requirements_object(proposal.requirements),
        "wishes": list(proposal.wishes),
        "considered": list(proposal.considered),
        "summary": proposal.summary,
        "feedback_within_seconds": proposal.within_seconds,
        "written_by": proposal.written_by,
    }


def _answer_proposal(state: DemandState, command: AnswerProposal) -> list[NewEvent]:
    if not state.proposals:
        raise _conflict(state, f"demand {state.demand_id} has no proposal yet")
    proposal = next((each for each in reversed(state.proposals) if each.proposal_id == command.proposal_id), None)
    if proposal is None:
        raise NotFound(f"{state.demand_id} has no proposal {command.proposal_id}", field="proposal_id", **position_of(state))
    is_user = command.agent_id is None
    by = command.agent_id or command.user_id or ""
    _require_part(state, proposal, by, is_user=is_user)
    earlier = proposal.answer_of(by, is_user=is_user)
    if earlier is not None:
        if (earlier.decision, earlier.comment, earlier.terms) == (command.decision, command.comment, command.terms):
            return []
        raise _conflict(state, f"{by} has already answered {proposal.proposal_id} differently")
    if proposal is not state.proposal:
        raise _conflict(state, f"{proposal.proposal_id} is no longer asked about")
    _require(state, FEEDBACK, f"demand {state.demand_id} takes no feedback in phase {state.phase}")
    author = {"user_id": by, "name": by} if is_user else {"agent_id": by, "name": state.name_of(by)}
    written = {} if command.written_by is None else {"written_by": command.written_by}
    return [
        _event(
            state,
            FEEDBACK,
            **author,
            proposal_id=proposal.proposal_id,
            round=proposal.round,
            decision=command.decision,
            comment=command.comment,
            terms=command.terms,
            **written,
        )
    ]


def _require_part(state: DemandState, proposal: Proposal, by: str, *, is_user: bool) -> None:
    if is_user and by != state.user_id:
        raise Forbidden(f"{by} did not submit {state.demand_id}", field="user_id", **position_of(state))
    if not is_user and by not in proposal.recipients:
        raise Forbidden(f"agent {by} has no part in {proposal.proposal_id}", field="agent_id", **position_of(state))


def _finalize(state: DemandState) -> list[NewEvent]:
    proposal = state.proposal
    if proposal is None or state.phase != "proposing":
        raise _conflict(state, f"demand {state.demand_id} has no proposal to agree on")
    return _end(
        state,
        FINALIZED,
        proposal_id=proposal.proposal_id,
        round=proposal.round,
        proposal={
            "assignments": [assignment_object(each) for each in proposal.assignments],
            "missing": list(proposal.missing),
            "total_price": proposal.total_price,
            "currency": proposal.currency,
            "summary": proposal.summary,
        },
        accepted_by=[answer.by for answer in proposal.feedback if answer.decision == "accept"],
        is_complete=not proposal.missing,
        written_by=proposal.written_by,
    )


def _end(state: DemandState, event_type: str, **fields: Any) -> list[NewEvent]:
    """The terminal event, and its copies for every agent that may count on it.

    Those are the invited agents that did not decline, and those that agreed in a sub-negotiation."""
    _require(state, event_type, f"demand {state.demand_id} is {state.phase}")
    event = _event(state, event_type, **fields)
    payload = {"demand_id": state.demand_id, "channel_id": state.channel_id, **fields}
    invited = (each for each in state.invited if state.decline_of(each) is None)
    agreed = (each.agent_id for subnet in state.subnets for each in subnet.assignments)
    return [event, *(_copy(event_type, {**payload, "agent_id": each}) for each in dict.fromkeys((*invited, *agreed)))]


# Parts of payloads.


def capability_list(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Capabilities as events and answers carry them."""
    return [{"capability": capability, "term": term} for capability, term in pairs]


def requirements_object(requirements: Requirements) -> dict[str, Any]:
    """Requirements as events and answers carry them: only what is known."""
    return {key: value for key, value in msgspec.structs.asdict(requirements).items() if value is not None}


def assignment_object(assignment: Assignment) -> dict[str, Any]:
    """An assignment as events and answers carry it."""
    return {
        **msgspec.structs.asdict(assignment),
        "capabilities": list(assignment.capabilities),
        "conditions": list(assignment.conditions),
    }


def position_of(state: DemandState) -> dict[str, Any]:
    """Where a demand is, for the details of a refusal."""
    return {"status": state.status, "phase": state.phase, "current_round": state.current_round}


def _require(state: DemandState, event_type: str, message: str) -> None:
    if (state.phase, event_type) not in TRANSITIONS:
        raise _conflict(state, message)


def _conflict(state: DemandState, message: str) -> Conflict:
    return Conflict(message, **position_of(state))


def _event(state: DemandState, event_type: str, **fields: Any) -> NewEvent:
    payload = {"demand_id": state.demand_id, "channel_id": state.channel_id, **fields}
    return new_event(stream_of(state.demand_id), event_type, payload, source=SOURCE)


def _copy(event_type: str, payload: dict[str, Any]) -> NewEvent:
    return new_event(matching.stream_of(payload["agent_id"]), event_type, payload, source=SOURCE)
