"""What the events of a session change in its state, read from payloads that anybody may have written.

`model.py` says which step may follow which."""

from typing import Any

from server.http.payloads import text_in
from server.surfaces.sessions.state import AGENT_ID, NEW_MESSAGE, SESSION_CLOSED, STATUS_CHANGE, TRANSFER_REQUEST, SessionState
from towow.events import Event


def step_of(event_type: str, payload: dict[str, Any]) -> str:
    """What an event would do: its type, and of a change of status also the status."""
    if event_type != STATUS_CHANGE:
        return event_type
    status = payload.get("status")
    if status == "with_operator" and not AGENT_ID.allows(payload.get("agent_id")):
        return event_type  # nobody would have it
    return f"{event_type}:{status}"


def changes_of(state: SessionState, event: Event, payload: dict[str, Any], status: str) -> dict[str, Any]:
    """What an event that leads to `status` changes besides."""
    if event.event_type == NEW_MESSAGE:
        return {"messages": state.messages + 1}
    if event.event_type == TRANSFER_REQUEST:
        return {"reason": text_in(payload, "reason") or None}
    nobody: dict[str, Any] = {"agent_id": None, "released_by": None, "waiting_since": None}
    if state.status != status:
        nobody["status_seq"] = event.seq
    if event.event_type == SESSION_CLOSED:
        return {**nobody, "released_by": state.released_by or state.agent_id}
    match status:
        case "waiting_agent":
            return {**nobody, "waiting_since": event.timestamp}
        case "with_operator":
            return {**nobody, "agent_id": payload["agent_id"]}
        case "bot":
            return {**nobody, "released_by": state.agent_id, "reason": None}
        case _:
            return {**nobody, "released_by": state.agent_id}
