"""A tool session as JSON: the responses of the HTTP interface, and source 004's shape of an event."""

from collections.abc import Callable
from typing import Any

import msgspec

from server.surfaces.tools.state import ERROR, PERMISSION_REQUEST, PermissionState, ToolState
from towow.events import Event, payload_json, timestamp_of


def detail(permission: PermissionState, now: float) -> dict[str, Any]:
    """One permission. `expires_in_seconds` counts down to 0 while it is pending, so that nobody has to compare clocks."""
    is_pending = permission.status == "pending"
    return {
        "permission_id": permission.permission_id,
        "status": permission.status,
        "tool_name": permission.tool_name,
        "parameters": permission.parameters,
        "risk_level": permission.risk_level,
        "reason": permission.reason,
        "actor": permission.actor,
        "requested_by": permission.requested_by or None,
        "requested_at": permission.requested_at,
        "expires_at": timestamp_of(permission.deadline),
        "expires_in_seconds": round(max(0.0, permission.deadline - now), 3) if is_pending else 0.0,
        "ended_at": permission.ended_at or None,
        "requested_seq": permission.requested_seq,
        "ended_seq": permission.ended_seq or None,
    }


def answered(permission: PermissionState) -> dict[str, Any]:
    """The response to an answer: the first answer to the permission, and its actor."""
    return {
        "success": True,
        "permission_id": permission.permission_id,
        "approved": permission.status == "approved",
        "reason": permission.reason,
        "actor": permission.actor,
        "seq": permission.ended_seq,
    }


def requested(permission: PermissionState, now: float) -> dict[str, Any]:
    """The response to a request; a repeated request may have been answered already."""
    return {
        "success": True,
        "seq": permission.requested_seq,
        "permission_id": permission.permission_id,
        "status": permission.status,
        "expires_in_seconds": round(max(0.0, permission.deadline - now), 3),
    }


def health(state: ToolState, connections: int, now_of: Callable[[PermissionState], float]) -> dict[str, Any]:
    """How a session is: whether somebody watches it, and what waits for an answer, oldest first."""
    pending = state.pending
    return {
        "status": "healthy",
        "session_id": state.session_id,
        "connected": connections > 0,
        "connections": connections,
        "last_seq": state.last_seq,
        "pending_permission": pending[0].permission_id if pending else None,
        "pending": [detail(each, now_of(each)) for each in pending],
    }


class _Known(msgspec.Struct):
    timestamp: msgspec.Raw = msgspec.Raw()
    permission_id: msgspec.Raw = msgspec.Raw()
    message: Any = None


_decode_known = msgspec.json.Decoder(_Known).decode


def encode_tool_event(event: Event) -> bytes:
    """An event as source 004 shows it: one line of JSON, safe after `data: `. An `error` has its `message` at the top, too.

    `data` always has a `timestamp`, and a request its `permission_id`; where the stored one lacks them, the event's."""
    data = event.payload_json
    known = _decode_known(data)
    missing = {} if bytes(known.timestamp) else {"timestamp": event.timestamp}
    if event.event_type == PERMISSION_REQUEST and not bytes(known.permission_id):
        missing["permission_id"] = event.event_id
    if missing:
        tail = msgspec.json.encode(missing).decode()[1:]
        data = "{" + tail if data == "{}" else f"{data[:-1]},{tail}"
    message = ""
    if event.event_type == ERROR:
        text = known.message if isinstance(known.message, str) else ""
        message = payload_json({"message": text})[1:-1] + ","
    return (
        f'{{"type":"{event.event_type}",{message}"data":{data},"seq":{event.seq},"event_id":"{event.event_id}",'
        f'"revision":{event.revision}{event.said_by()}}}'
    ).encode()
