"""The changes of each event of a negotiation, read from payloads that every publisher may have written.

A value of the wrong type counts as absent; of offers only the first answer of an invited agent counts, of feedback only the
first answer of a recipient, and of sub-negotiations only those that the demand started itself."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from server.http.payloads import count_in, extension_in, nonblank_in, number_in, object_in, objects_in, seconds_in, texts_in
from server.surfaces.demands import state as words
from server.surfaces.demands.state import (
    Assignment,
    Candidate,
    Decline,
    DemandState,
    Feedback,
    Gap,
    Offer,
    Outcome,
    Proposal,
    Subnet,
)
from server.surfaces.demands.understanding import Requirements
from towow.events import Event, is_stream_name

DEFAULT_WITHIN_SECONDS = 30.0  # for an invitation or proposal that names no time
_MAX_ROUND = 1_000
# The items of a foreign list that count, far more than the routes take; the rest is left out.
_MOST_TEXTS = 100
_LONGEST_TEXT_CHARACTERS = 1_000
_MAX_TERMS_BYTES = 4_096
_MAX_TERMS_NESTING = 8
DECISIONS = ("accept", "revise", "reject")

Changes = dict[str, Any]
W = TypeVar("W", Proposal, Subnet)


def _understood(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    return {
        "raw_input": nonblank_in(payload, "raw_input"),
        "user_id": nonblank_in(payload, "user_id") or "anonymous",
        "surface_demand": nonblank_in(payload, "surface_demand") or nonblank_in(payload, "raw_input"),
        "confidence": nonblank_in(payload, "confidence") or "low",
        "language": nonblank_in(payload, "language") or "en",
        "capabilities": tuple(
            (item["capability"], nonblank_in(item, "term"))
            for item in objects_in(payload, "capabilities")[:_MOST_TEXTS]
            if 0 < len(nonblank_in(item, "capability")) <= _LONGEST_TEXT_CHARACTERS
        ),
        "requirements": read_requirements_object(payload.get("requirements")),
        "confirm": payload.get("confirm") is True,
        "written_by": nonblank_in(payload, "written_by") or "rules",
        "parent_demand_id": nonblank_in(payload, "parent_demand_id") or None,
        "depth": count_in(payload, "depth"),
        "for_capability": nonblank_in(payload, "for_capability") or None,
        "excluded_agents": texts_in(payload, "excluded_agents"),
        "created_at": event.timestamp,
        "created_seq": event.seq,
    }


def _filtered(state: DemandState, event: Event) -> Changes:
    candidates = tuple(
        Candidate(
            item["agent_id"],
            nonblank_in(item, "name"),
            nonblank_in(item, "reason"),
            number_in(item, "score") or 0.0,
            texts_in(item, "capabilities"),
        )
        for item in objects_in(event.payload, "candidates")
        if _is_agent_id(item.get("agent_id"))
    )
    return {"candidates": candidates}


def _broadcast(state: DemandState, event: Event) -> Changes:
    return {
        "invited": tuple(dict.fromkeys(filter(_is_agent_id, texts_in(event.payload, "agent_ids")))),
        "invited_at": event.timestamp,
        "offers_within_seconds": seconds_in(event.payload, "offers_within_seconds", DEFAULT_WITHIN_SECONDS),
    }


def _is_first_answer(state: DemandState, agent_id: str) -> bool:
    return agent_id in state.invited and state.offer_of(agent_id) is None and state.decline_of(agent_id) is None


def _offered(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    agent_id = nonblank_in(payload, "agent_id")
    if not _is_first_answer(state, agent_id):
        return {}
    offer = object_in(payload, "offer")
    made = Offer(
        agent_id=agent_id,
        name=state.name_of(agent_id),
        content=nonblank_in(offer, "content"),
        capabilities=_short_texts(offer, "capabilities"),
        terms=_terms(offer),
        needs=_short_texts(offer, "needs"),
        written_by=nonblank_in(payload, "written_by") or None,
        seq=event.seq,
        timestamp=event.timestamp,
    )
    return {"offers": (*state.offers, made)}


def _declined(state: DemandState, event: Event) -> Changes:
    agent_id = nonblank_in(event.payload, "agent_id")
    if not _is_first_answer(state, agent_id):
        return {}
    decline = Decline(agent_id, state.name_of(agent_id), nonblank_in(event.payload, "reason"), event.seq, event.timestamp)
    return {"declines": (*state.declines, decline)}


def _gap(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    gap = Gap(
        capability=nonblank_in(payload, "capability"),
        gap=nonblank_in(payload, "gap"),
        reason=nonblank_in(payload, "reason"),
        needed_by=nonblank_in(payload, "needed_by") or None,
        round=count_in(payload, "round"),
        seq=event.seq,
    )
    return {"gaps": (*state.gaps, gap)} if gap.capability else {}


def _subnet_triggered(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    subnet = Subnet(
        subnet_id=nonblank_in(payload, "subnet_id"),
        capability=nonblank_in(payload, "capability"),
        within_seconds=seconds_in(payload, "within_seconds", DEFAULT_WITHIN_SECONDS),
        seq=event.seq,
        timestamp=event.timestamp,
    )
    is_known = any(each.subnet_id == subnet.subnet_id for each in state.subnets)
    is_ours = subnet.subnet_id.startswith(f"{state.demand_id}.") and is_stream_name(words.stream_of(subnet.subnet_id))
    return {"subnets": (*state.subnets, subnet)} if is_ours and not is_known else {}


def _subnet_completed(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    subnet_id = nonblank_in(payload, "subnet_id")
    done = {
        "outcome": nonblank_in(payload, "outcome") or "failed",
        "reason": nonblank_in(payload, "reason"),
        "assignments": read_assignments(payload, "assignments"),
        "missing": texts_in(payload, "missing"),
    }
    return {
        "subnets": tuple(
            msgspec.structs.replace(each, **done) if each.subnet_id == subnet_id and each.outcome is None else each
            for each in state.subnets
        )
    }


def _proposed(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    number = count_in(payload, "round", _MAX_ROUND) or len(state.proposals) + 1
    proposal = Proposal(
        proposal_id=nonblank_in(payload, "proposal_id"),
        round=number,
        assignments=read_assignments(payload, "assignments"),
        missing=texts_in(payload, "missing"),
        total_price=number_in(payload, "total_price"),
        currency=nonblank_in(payload, "currency") or None,
        requirements=read_requirements_object(payload.get("requirements")),
        wishes=texts_in(payload, "wishes"),
        considered=tuple(objects_in(payload, "considered")),
        summary=nonblank_in(payload, "summary"),
        written_by=nonblank_in(payload, "written_by") or "rules",
        within_seconds=seconds_in(payload, "feedback_within_seconds", DEFAULT_WITHIN_SECONDS),
        seq=event.seq,
        timestamp=event.timestamp,
    )
    return {
        "proposals": (*state.proposals, proposal),
        "current_round": count_in(payload, "round", _MAX_ROUND) or state.current_round,
    }


def _feedback(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    proposal = state.proposal
    decision = nonblank_in(payload, "decision")
    if proposal is None or payload.get("proposal_id") != proposal.proposal_id or decision not in DECISIONS:
        return {}
    agent_id, user_id = nonblank_in(payload, "agent_id"), nonblank_in(payload, "user_id")
    is_user = not agent_id
    by = user_id if is_user else agent_id
    is_recipient = by == state.user_id if is_user else by in proposal.recipients
    if not is_recipient or proposal.answer_of(by, is_user=is_user) is not None:
        return {}
    answer = Feedback(
        by=by,
        is_user=is_user,
        name=by if is_user else state.name_of(by),
        decision=decision,
        comment=nonblank_in(payload, "comment"),
        terms=_terms(payload),
        written_by=nonblank_in(payload, "written_by") or None,
        seq=event.seq,
        timestamp=event.timestamp,
    )
    answered = msgspec.structs.replace(proposal, feedback=(*proposal.feedback, answer))
    return {"proposals": (*state.proposals[:-1], answered)}


def _ended(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    outcome = Outcome(
        event_type=event.event_type,
        reason=nonblank_in(payload, "reason"),
        message=nonblank_in(payload, "message"),
        proposal=object_in(payload, "proposal") if event.event_type == words.FINALIZED else None,
        seq=event.seq,
        timestamp=event.timestamp,
    )
    return {"outcome": outcome}


def _extended(state: DemandState, event: Event) -> Changes:
    """What is awaited now gets more time."""
    seconds = extension_in(event.payload)
    match state.phase:
        case "collecting_offers":
            return {"offers_within_seconds": state.offers_within_seconds + seconds}
        case "filling_gaps":
            return {"subnets": tuple(each if each.outcome else _longer(each, seconds) for each in state.subnets)}
        case "proposing" if state.proposals:
            return {"proposals": (*state.proposals[:-1], _longer(state.proposals[-1], seconds))}
    return {}


def _longer(waiting: W, seconds: float) -> W:
    return msgspec.structs.replace(waiting, within_seconds=waiting.within_seconds + seconds)


CHANGES: dict[str, Callable[[DemandState, Event], Changes]] = {
    words.UNDERSTOOD: _understood,
    words.FILTERED: _filtered,
    words.BROADCAST: _broadcast,
    words.OFFERED: _offered,
    words.DECLINED: _declined,
    words.GAP: _gap,
    words.SUBNET_TRIGGERED: _subnet_triggered,
    words.SUBNET_COMPLETED: _subnet_completed,
    words.DEADLINE_EXTENDED: _extended,
    words.PROPOSED: _proposed,
    words.FEEDBACK: _feedback,
    words.FINALIZED: _ended,
    words.FAILED: _ended,
    words.CANCELLED: _ended,
}


def read_assignments(payload: dict[str, Any], key: str) -> tuple[Assignment, ...]:
    """The assignments in a payload; those without an agent are left out."""
    return tuple(
        Assignment(
            agent_id=item["agent_id"],
            name=nonblank_in(item, "name") or item["agent_id"],
            capabilities=texts_in(item, "capabilities"),
            offer_seq=count_in(item, "offer_seq"),
            terms=_terms(item),
            offered_price=number_in(item, "offered_price"),
            conditions=texts_in(item, "conditions"),
            subnet_id=nonblank_in(item, "subnet_id") or None,
        )
        for item in objects_in(payload, key)
        if _is_agent_id(item.get("agent_id"))
    )


def _is_agent_id(value: Any) -> bool:
    """Whether copies can go to an agent's stream; an event that could not be copied would stop the negotiation."""
    return isinstance(value, str) and is_stream_name(f"agent:{value}")


def read_requirements_object(value: Any) -> Requirements:
    """The requirements in a payload; each field counts only with the right type."""
    given = value if isinstance(value, dict) else {}
    people = given.get("people")
    return Requirements(
        people=people if isinstance(people, int) and not isinstance(people, bool) and people > 0 else None,
        budget=number_in(given, "budget"),
        currency=nonblank_in(given, "currency") or None,
        date=nonblank_in(given, "date") or None,
    )


def _short_texts(payload: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(item for item in texts_in(payload, key) if len(item) <= _LONGEST_TEXT_CHARACTERS)[:_MOST_TEXTS]


def _terms(payload: dict[str, Any]) -> dict[str, Any]:
    """Terms that fit into a proposal among those of others; else none."""
    terms = object_in(payload, "terms")
    fits = nesting_of(terms) <= _MAX_TERMS_NESTING and len(msgspec.json.encode(terms)) <= _MAX_TERMS_BYTES
    return terms if fits else {}


def nesting_of(value: Any) -> int:
    """How many levels of objects and lists a JSON value has."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(nesting_of, inner), default=0)
