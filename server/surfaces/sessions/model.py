"""A session's life as a table and pure functions: what may follow what, what events change, what commands become.

    bot ── escalate ──> waiting_agent ── takeover ──> with_operator ── release ──> bot | closed

An event without a row in `TRANSITIONS` only moves the position, because anybody may append to the stream; a command whose
event has none is refused and nothing is stored. Who asks again for what is so already gets no events, and no error."""

import hashlib
from typing import Any, assert_never

import msgspec

from server.surfaces.sessions.commands import Command, Escalate, Release, Say, TakeOver
from server.surfaces.sessions.payloads import changes_of, step_of
from server.surfaces.sessions.state import (
    AGENT_WORKBENCH,
    AI_CHATBOT,
    NEW_MESSAGE,
    QUEUE,
    SESSION_CLOSED,
    STATUS_CHANGE,
    STATUSES,
    TRANSFER_REQUEST,
    SessionState,
    operator_stream_of,
    stream_of,
)
from towow.errors import Conflict, NotFound
from towow.events import Event, NewEvent, new_event

# (status, step) -> status. A step is an event type; a change of status is named with the status that it leads to.
TRANSITIONS: dict[tuple[str, str], str] = {
    ("new", NEW_MESSAGE): "bot",
    ("new", TRANSFER_REQUEST): "bot",
    ("new", "status_change:waiting_agent"): "waiting_agent",
    ("bot", NEW_MESSAGE): "bot",
    ("bot", TRANSFER_REQUEST): "bot",
    ("bot", "status_change:waiting_agent"): "waiting_agent",
    ("waiting_agent", NEW_MESSAGE): "waiting_agent",
    ("waiting_agent", "status_change:with_operator"): "with_operator",
    ("with_operator", NEW_MESSAGE): "with_operator",
    ("with_operator", "status_change:bot"): "bot",
    ("with_operator", "status_change:closed"): "closed",
    # Whoever may append can end a stream at any time, and the log then keeps it ended.
    **{(status, SESSION_CLOSED): "closed" for status in STATUSES},
}


def evolve(state: SessionState, event: Event) -> SessionState:
    """The state after one more event of the stream; an event at or before `last_seq` changes nothing."""
    if event.seq <= state.last_seq:
        return state
    payload = {} if event.event_type == NEW_MESSAGE else event.payload
    changes: dict[str, Any] = {}
    status = TRANSITIONS.get((state.status, step_of(event.event_type, payload)))
    if status is not None:
        changes = {**changes_of(state, event, payload, status), "status": status}
        if not state.exists:
            changes |= {"created_at": event.timestamp, "created_seq": event.seq}
    return msgspec.structs.replace(state, last_seq=event.seq, revision=event.revision, updated_at=event.timestamp, **changes)


def decide(state: SessionState, command: Command) -> list[NewEvent]:
    """The events that a command becomes, in order: those of the session's stream, each before its copies for operators.

    An empty list says that it is so already, by the same hand. Raises `NotFound` where only a session that exists can
    follow, and `Conflict` with the `status` and the `agent_id` of who has it."""
    match command:
        case Escalate():
            return _escalate(state, command)
        case Say():
            return _say(state, command)
        case TakeOver():
            return _take_over(state, command)
        case Release():
            return _release(state, command)
        case _:
            assert_never(command)


def _escalate(state: SessionState, command: Escalate) -> list[NewEvent]:
    if state.status == "waiting_agent":
        return []
    _require(state, "waiting_agent", f"session {state.session_name} cannot be handed over")
    reason = {"reason": command.reason} if command.reason else {}
    request = {"session_name": state.session_name, "status": "waiting_agent", "reason": command.reason}
    return [
        *_told(state, TRANSFER_REQUEST, request, AI_CHATBOT),
        *_told(state, STATUS_CHANGE, _change(state, "waiting_agent", previous="bot", **reason), AI_CHATBOT),
    ]


def _say(state: SessionState, command: Say) -> list[NewEvent]:
    """A bot is silent while a human speaks, and an operator speaks where it has taken over."""
    if command.role == "operator":
        _require_exists(state)
        if state.status != "with_operator" or state.agent_id != command.agent_id:
            raise _conflict(state, f"{command.agent_id} does not have session {state.session_name}")
    elif state.status == "closed" or (command.role == "bot" and state.status == "with_operator"):
        raise _conflict(state, f"the {command.role} cannot speak in session {state.session_name}")
    return [message_event(state.session_name, command)]


def _take_over(state: SessionState, command: TakeOver) -> list[NewEvent]:
    _require_exists(state)
    if state.status == "with_operator" and state.agent_id == command.agent_id:
        return []
    _require(state, "with_operator", f"{command.agent_id} cannot take over session {state.session_name}")
    payload = _change(state, "with_operator", agent_id=command.agent_id)
    return _told(state, STATUS_CHANGE, payload, AGENT_WORKBENCH, command.agent_id)


def _release(state: SessionState, command: Release) -> list[NewEvent]:
    _require_exists(state)
    after = "closed" if command.close else "bot"
    if state.status == after and state.released_by == command.agent_id:
        return []
    if state.status != "with_operator" or state.agent_id != command.agent_id:
        raise _conflict(state, f"{command.agent_id} does not have session {state.session_name}")
    events = _told(state, STATUS_CHANGE, _change(state, after, agent_id=command.agent_id), AGENT_WORKBENCH, command.agent_id)
    if command.close:
        closed = {"session_name": state.session_name, "agent_id": command.agent_id}
        events.append(new_event(stream_of(state.session_name), SESSION_CLOSED, closed, source=AGENT_WORKBENCH))
    return events


def message_event(session_name: str, command: Say) -> NewEvent:
    """The event of a message. Its event_id comes from session and message_id, so that the same message is stored once."""
    payload: dict[str, Any] = {
        "session_name": session_name,
        "message_id": command.message_id,
        "role": command.role,
        "content": command.content,
    }
    if command.agent_id is not None:
        payload["agent_id"] = command.agent_id
    digest = hashlib.sha256(f"{session_name}/{command.message_id}".encode()).hexdigest()
    source = AGENT_WORKBENCH if command.role == "operator" else AI_CHATBOT
    return new_event(stream_of(session_name), NEW_MESSAGE, payload, event_id=f"msg-{digest[:40]}", source=source)


# Parts of events and errors.


def _change(state: SessionState, status: str, **fields: Any) -> dict[str, Any]:
    return {"session_name": state.session_name, "status": status, "previous": state.status, **fields}


def _told(
    state: SessionState, event_type: str, payload: dict[str, Any], source: str, agent_id: str | None = None
) -> list[NewEvent]:
    """An event of the session and its copies: on the queue, and for the operator whom it concerns."""
    streams = [stream_of(state.session_name), QUEUE]
    if agent_id is not None:
        streams.append(operator_stream_of(agent_id))
    return [new_event(stream, event_type, payload, source=source) for stream in streams]


def _require(state: SessionState, status: str, message: str) -> None:
    if (state.status, f"{STATUS_CHANGE}:{status}") not in TRANSITIONS:
        raise _conflict(state, message)


def _require_exists(state: SessionState) -> None:
    if not state.exists:
        raise NotFound(f"there is no session {state.session_name}", field="session_name")


def _conflict(state: SessionState, message: str) -> Conflict:
    who = f" of {state.agent_id}" if state.agent_id is not None else ""
    return Conflict(f"{message}: it is {state.status}{who}", status=state.status, agent_id=state.agent_id)
