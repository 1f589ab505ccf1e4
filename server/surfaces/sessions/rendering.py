"""How a session is told: the answers of the HTTP interface, and source 001's shape of an event."""

from datetime import datetime
from functools import lru_cache
from typing import Any

from server.surfaces.sessions.state import SessionState
from towow.events import Event


def summary(state: SessionState) -> dict[str, Any]:
    """A session, alone or in a list; true at `last_seq`."""
    return {
        "session_name": state.session_name,
        "status": state.status,
        "agent_id": state.agent_id,
        "reason": state.reason,
        "waiting_since": state.waiting_since,
        "messages": state.messages,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "created_seq": state.created_seq,
        "status_seq": state.status_seq,
        "last_seq": state.last_seq,
    }


def handed_over(state: SessionState, **fields: Any) -> dict[str, Any]:
    """The answer to an escalation, a takeover or a release; `seq` is of the change of status that it made, or once made."""
    return {"success": True, "session_name": state.session_name, "status": state.status, **fields, "seq": state.status_seq}


def said(state: SessionState, message_id: str, seq: int) -> dict[str, Any]:
    """The answer to a message; `seq` is its place in the log, also when it was stored before."""
    return {"success": True, "session_name": state.session_name, "status": state.status, "seq": seq, "message_id": message_id}


def encode_message(event: Event) -> bytes:
    """An event as source 001 shows it: one line of JSON, safe after `data: `; `timestamp` is in whole seconds since 1970.

    Its `stream` says on which of the streams that are followed together it stands: `revision` counts in that one."""
    return (
        f'{{"type":"{event.event_type}","payload":{event.payload_json},"timestamp":{_epoch_seconds(event.timestamp[:19])},'
        f'"source":"{event.source}","seq":{event.seq},"event_id":"{event.event_id}","revision":{event.revision},'
        f'"stream":"{event.stream}"{event.said_by()}}}'
    ).encode()


@lru_cache(maxsize=1024)  # the events of a second share it
def _epoch_seconds(second: str) -> int:
    return int(datetime.fromisoformat(f"{second}+00:00").timestamp())
