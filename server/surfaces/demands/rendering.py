"""A demand as JSON: the responses of the HTTP interface, and source 000's shape of an event."""

from typing import Any

import msgspec

from server.surfaces.demands.model import assignment_object, capability_list, offer_object, requirements_object
from server.surfaces.demands.next_step import deadline, waiting_for
from server.surfaces.demands.planning import requirements_of
from server.surfaces.demands.state import DemandState, Outcome, Proposal, channel_id_of
from server.surfaces.demands.understanding import Understanding
from towow.events import Event, timestamp_of


def understanding_of(state: DemandState) -> Understanding:
    """The understanding that a state remembers, for a matching that goes on after a restart."""
    return msgspec.convert(
        {
            "surface_demand": state.surface_demand,
            "capabilities": state.capabilities,
            "confidence": state.confidence if state.confidence in ("high", "medium") else "low",
            "language": "zh" if state.language == "zh" else "en",
        },
        Understanding,
    )


def _understanding(state: DemandState) -> dict[str, Any]:
    return {
        "surface_demand": state.surface_demand,
        "confidence": state.confidence,
        "capabilities": capability_list(state.capabilities),
        "language": state.language,
        "requirements": requirements_object(state.requirements),
        "written_by": state.written_by,
    }


def submitted(state: DemandState) -> dict[str, Any]:
    """The answer to a submission; `seq` is that of the understanding."""
    return {
        "demand_id": state.demand_id,
        "channel_id": state.channel_id,
        "status": state.status,
        "understanding": _understanding(state),
        "seq": state.created_seq,
    }


def summary(state: DemandState) -> dict[str, Any]:
    """One line of the list of demands."""
    return {
        "demand_id": state.demand_id,
        "channel_id": state.channel_id,
        "status": state.status,
        "phase": state.phase,
        "surface_demand": state.surface_demand,
        "user_id": state.user_id,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "current_round": state.current_round,
        "last_seq": state.last_seq,
        "created_seq": state.created_seq,
        "parent_demand_id": state.parent_demand_id,
        "depth": state.depth,
    }


def detail(state: DemandState) -> dict[str, Any]:
    """Everything about one demand: its summary, its text, and the negotiation so far."""
    until = deadline(state) if state.is_open else None
    return {
        **summary(state),
        "understanding": _understanding(state),
        "raw_input": state.raw_input,
        "confirm": state.confirm,
        "requirements": requirements_object(requirements_of(state)),
        "candidates": [msgspec.structs.asdict(candidate) for candidate in state.candidates],
        "offers": [
            {
                "agent_id": offer.agent_id,
                "name": offer.name,
                **offer_object(offer),
                "written_by": offer.written_by,
                "seq": offer.seq,
                "timestamp": offer.timestamp,
            }
            for offer in state.offers
        ],
        "declined": [msgspec.structs.asdict(decline) for decline in state.declines],
        "waiting_for": list(waiting_for(state)),
        "deadline_at": timestamp_of(until) if until is not None else None,
        "proposals": [_proposal(proposal) for proposal in state.proposals],
        "gaps": [msgspec.structs.asdict(gap) for gap in state.gaps],
        "subnets": [
            {
                "subnet_id": subnet.subnet_id,
                "capability": subnet.capability,
                "outcome": subnet.outcome,
                "reason": subnet.reason,
                "assignments": [assignment_object(each) for each in subnet.assignments],
                "missing": list(subnet.missing),
                "seq": subnet.seq,
            }
            for subnet in state.subnets
        ],
        "outcome": _outcome(state.outcome),
    }


def _proposal(proposal: Proposal) -> dict[str, Any]:
    return {
        "proposal_id": proposal.proposal_id,
        "round": proposal.round,
        "seq": proposal.seq,
        "timestamp": proposal.timestamp,
        "assignments": [assignment_object(each) for each in proposal.assignments],
        "missing": list(proposal.missing),
        "total_price": proposal.total_price,
        "currency": proposal.currency,
        "wishes": list(proposal.wishes),
        "considered": list(proposal.considered),
        "summary": proposal.summary,
        "written_by": proposal.written_by,
        "feedback": [msgspec.structs.asdict(answer) for answer in proposal.feedback],
    }


def _outcome(outcome: Outcome | None) -> dict[str, Any] | None:
    return None if outcome is None else msgspec.structs.asdict(outcome)


def status(state: DemandState) -> dict[str, Any]:
    """The short status of one demand."""
    return {
        "demand_id": state.demand_id,
        "status": state.status,
        "current_round": state.current_round,
        "phase": state.phase,
        "last_seq": state.last_seq,
    }


def answered(state: DemandState, by: str, seq: int) -> dict[str, Any]:
    """The answer to an offer or to feedback: where it is in the log, and where the demand is now."""
    return {
        "demand_id": state.demand_id,
        "by": by,
        "seq": seq,
        "status": state.status,
        "phase": state.phase,
        "current_round": state.current_round,
    }


class _Ids(msgspec.Struct):
    demand_id: msgspec.Raw = msgspec.Raw()
    channel_id: msgspec.Raw = msgspec.Raw()


_decode_ids = msgspec.json.Decoder(_Ids).decode


def encode_sse_event(event: Event) -> bytes:
    """An event as source 000 shows it, live and in history: one line of JSON, safe after `data: `.

    Its payload always has `demand_id` and `channel_id`; where the stored one lacks them, the stream's."""
    payload = event.payload_json
    ids = _decode_ids(payload)
    demand_id = event.stream.partition(":")[2]
    missing = {} if bytes(ids.demand_id) else {"demand_id": demand_id}
    if not bytes(ids.channel_id):
        missing["channel_id"] = channel_id_of(demand_id)
    if missing:
        head = msgspec.json.encode(missing).decode()
        payload = head if payload == "{}" else f"{head[:-1]},{payload[1:]}"
    return (
        f'{{"event_id":"{event.event_id}","event_type":"{event.event_type}","timestamp":"{event.timestamp}",'
        f'"payload":{payload},"seq":{event.seq},"revision":{event.revision},"source":"{event.source}"{event.said_by()}}}'
    ).encode()
