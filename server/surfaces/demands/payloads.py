"""The changes of each event of a negotiation, read from payloads that every publisher may have written.

A value of the wrong type counts as absent; of offers only the first answer of an invited agent counts, of feedback only the
first answer of a recipient, and of sub-negotiations only those that the demand started itself."""

import math
from collections.abc import Callable
from typing import Any

import msgspec

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
from towow.events import MAX_SEQ, Event, is_stream_name

DEFAULT_WITHIN_SECONDS = 30.0  # for an invitation or proposal that names no time
_LONGEST_WITHIN_SECONDS = 86_400.0
_MAX_ROUND = 1_000
# The items of a foreign list that count, far more than the routes take; the rest is left out.
_MOST_TEXTS = 100
_LONGEST_TEXT_CHARACTERS = 1_000
_MAX_TERMS_BYTES = 4_096
_MAX_TERMS_NESTING = 8
DECISIONS = ("accept", "revise", "reject")

Changes = dict[str, Any]


def _understood(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    return {
        "raw_input": _text(payload, "raw_input"),
        "user_id": _text(payload, "user_id") or "anonymous",
        "surface_demand": _text(payload, "surface_demand") or _text(payload, "raw_input"),
        "confidence": _text(payload, "confidence") or "low",
        "language": _text(payload, "language") or "en",
        "capabilities": tuple(
            (item["capability"], _text(item, "term"))
            for item in _objects(payload, "capabilities")[:_MOST_TEXTS]
            if 0 < len(_text(item, "capability")) <= _LONGEST_TEXT_CHARACTERS
        ),
        "requirements": read_requirements_object(payload.get("requirements")),
        "confirm": payload.get("confirm") is True,
        "written_by": _text(payload, "written_by") or "rules",
        "parent_demand_id": _text(payload, "parent_demand_id") or None,
        "depth": _count(payload, "depth"),
        "for_capability": _text(payload, "for_capability") or None,
        "excluded_agents": _texts(payload, "excluded_agents"),
        "created_at": event.timestamp,
        "created_seq": event.seq,
    }


def _filtered(state: DemandState, event: Event) -> Changes:
    candidates = tuple(
        Candidate(
            item["agent_id"],
            _text(item, "name"),
            _text(item, "reason"),
            _number(item, "score") or 0.0,
            _texts(item, "capabilities"),
        )
        for item in _objects(event.payload, "candidates")
        if _is_agent_id(item.get("agent_id"))
    )
    return {"candidates": candidates}


def _broadcast(state: DemandState, event: Event) -> Changes:
    return {
        "invited": tuple(dict.fromkeys(filter(_is_agent_id, _texts(event.payload, "agent_ids")))),
        "invited_at": event.timestamp,
        "offers_within_seconds": _seconds(event.payload, "offers_within_seconds"),
    }


def _is_first_answer(state: DemandState, agent_id: str) -> bool:
    return agent_id in state.invited and state.offer_of(agent_id) is None and state.decline_of(agent_id) is None


def _offered(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    agent_id = _text(payload, "agent_id")
    if not _is_first_answer(state, agent_id):
        return {}
    offer = _object(payload, "offer")
    made = Offer(
        agent_id=agent_id,
        name=state.name_of(agent_id),
        content=_text(offer, "content"),
        capabilities=_short_texts(offer, "capabilities"),
        terms=_terms(offer),
        needs=_short_texts(offer, "needs"),
        written_by=_text(payload, "written_by") or None,
        seq=event.seq,
        timestamp=event.timestamp,
    )
    return {"offers": (*state.offers, made)}


def _declined(state: DemandState, event: Event) -> Changes:
    agent_id = _text(event.payload, "agent_id")
    if not _is_first_answer(state, agent_id):
        return {}
    decline = Decline(agent_id, state.name_of(agent_id), _text(event.payload, "reason"), event.seq, event.timestamp)
    return {"declines": (*state.declines, decline)}


def _gap(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    gap = Gap(
        capability=_text(payload, "capability"),
        gap=_text(payload, "gap"),
        reason=_text(payload, "reason"),
        needed_by=_text(payload, "needed_by") or None,
        round=_count(payload, "round"),
        seq=event.seq,
    )
    return {"gaps": (*state.gaps, gap)} if gap.capability else {}


def _subnet_triggered(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    subnet = Subnet(
        subnet_id=_text(payload, "subnet_id"),
        capability=_text(payload, "capability"),
        within_seconds=_seconds(payload, "within_seconds"),
        seq=event.seq,
        timestamp=event.timestamp,
    )
    is_known = any(each.subnet_id == subnet.subnet_id for each in state.subnets)
    is_ours = subnet.subnet_id.startswith(f"{state.demand_id}.") and is_stream_name(words.stream_of(subnet.subnet_id))
    return {"subnets": (*state.subnets, subnet)} if is_ours and not is_known else {}


def _subnet_completed(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    subnet_id = _text(payload, "subnet_id")
    done = {
        "outcome": _text(payload, "outcome") or "failed",
        "reason": _text(payload, "reason"),
        "assignments": read_assignments(payload, "assignments"),
        "missing": _texts(payload, "missing"),
    }
    return {
        "subnets": tuple(
            msgspec.structs.replace(each, **done) if each.subnet_id == subnet_id and each.outcome is None else each
            for each in state.subnets
        )
    }


def _proposed(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    number = _round(payload) or len(state.proposals) + 1
    proposal = Proposal(
        proposal_id=_text(payload, "proposal_id"),
        round=number,
        assignments=read_assignments(payload, "assignments"),
        missing=_texts(payload, "missing"),
        total_price=_number(payload, "total_price"),
        currency=_text(payload, "currency") or None,
        requirements=read_requirements_object(payload.get("requirements")),
        wishes=_texts(payload, "wishes"),
        considered=tuple(_objects(payload, "considered")),
        summary=_text(payload, "summary"),
        written_by=_text(payload, "written_by") or "rules",
        within_seconds=_seconds(payload, "feedback_within_seconds"),
        seq=event.seq,
        timestamp=event.timestamp,
    )
    return {"proposals": (*state.proposals, proposal), "current_round": _round(payload) or state.current_round}


def _feedback(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    proposal = state.proposal
    decision = _text(payload, "decision")
    if proposal is None or payload.get("proposal_id") != proposal.proposal_id or decision not in DECISIONS:
        return {}
    agent_id, user_id = _text(payload, "agent_id"), _text(payload, "user_id")
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
        comment=_text(payload, "comment"),
        terms=_terms(payload),
        written_by=_text(payload, "written_by") or None,
        seq=event.seq,
        timestamp=event.timestamp,
    )
    answered = msgspec.structs.replace(proposal, feedback=(*proposal.feedback, answer))
    return {"proposals": (*state.proposals[:-1], answered)}


def _ended(state: DemandState, event: Event) -> Changes:
    payload = event.payload
    outcome = Outcome(
        event_type=event.event_type,
        reason=_text(payload, "reason"),
        message=_text(payload, "message"),
        proposal=_object(payload, "proposal") if event.event_type == words.FINALIZED else None,
        seq=event.seq,
        timestamp=event.timestamp,
    )
    return {"outcome": outcome}


CHANGES: dict[str, Callable[[DemandState, Event], Changes]] = {
    words.UNDERSTOOD: _understood,
    words.FILTERED: _filtered,
    words.BROADCAST: _broadcast,
    words.OFFERED: _offered,
    words.DECLINED: _declined,
    words.GAP: _gap,
    words.SUBNET_TRIGGERED: _subnet_triggered,
    words.SUBNET_COMPLETED: _subnet_completed,
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
            name=_text(item, "name") or item["agent_id"],
            capabilities=_texts(item, "capabilities"),
            offer_seq=_count(item, "offer_seq"),
            terms=_terms(item),
            offered_price=_number(item, "offered_price"),
            conditions=_texts(item, "conditions"),
            subnet_id=_text(item, "subnet_id") or None,
        )
        for item in _objects(payload, key)
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
        budget=_number(given, "budget"),
        currency=_text(given, "currency") or None,
        date=_text(given, "date") or None,
    )


def _text(payload: dict[str, Any], key: str) -> str:
    value = payload.get(key)
    return value if isinstance(value, str) and value.strip() else ""


def _texts(payload: dict[str, Any], key: str) -> tuple[str, ...]:
    value = payload.get(key)
    return tuple(item for item in value if isinstance(item, str) and item.strip()) if isinstance(value, list) else ()


def _short_texts(payload: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(item for item in _texts(payload, key) if len(item) <= _LONGEST_TEXT_CHARACTERS)[:_MOST_TEXTS]


def _terms(payload: dict[str, Any]) -> dict[str, Any]:
    """Terms that fit into a proposal among those of others; else none."""
    terms = _object(payload, "terms")
    fits = nesting_of(terms) <= _MAX_TERMS_NESTING and len(msgspec.json.encode(terms)) <= _MAX_TERMS_BYTES
    return terms if fits else {}


def nesting_of(value: Any) -> int:
    """How many levels of objects and lists a JSON value has."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(nesting_of, inner), default=0)


def _number(payload: dict[str, Any], key: str) -> float | None:
    value = payload.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and value is not None else None


def _count(payload: dict[str, Any], key: str) -> int:
    value = payload.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEQ else 0


def _round(payload: dict[str, Any]) -> int:
    value = _count(payload, "round")
    return value if value <= _MAX_ROUND else 0


def _seconds(payload: dict[str, Any], key: str) -> float:
    value = _number(payload, key)
    return value if value is not None and 0 <= value <= _LONGEST_WITHIN_SECONDS else DEFAULT_WITHIN_SECONDS


def _object(payload: dict[str, Any], key: str) -> dict[str, Any]:
    value = payload.get(key)
    return value if isinstance(value, dict) else {}


def _objects(payload: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = payload.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
