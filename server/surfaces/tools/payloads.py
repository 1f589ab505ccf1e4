"""The readers of a tool session's payloads, which every publisher may have written: a value of the wrong type counts as absent.

`model.py` decides which events change a permission."""

import msgspec

from server.http.payloads import extension_in, object_in, seconds_in, text_in
from server.surfaces.tools.state import (
    DEADLINE_EXTENDED,
    PERMISSION_CLEARED,
    PERMISSION_ID,
    PERMISSION_REQUEST,
    PERMISSION_RESPONSE,
    RISK_LEVELS,
    TIMED_OUT,
    TIMEOUT,
    PermissionState,
    Status,
)
from towow.events import Event

DEFAULT_WITHIN_SECONDS = 120.0  # for a request that names no time
_EVENTS = frozenset({PERMISSION_REQUEST, PERMISSION_RESPONSE, PERMISSION_CLEARED, DEADLINE_EXTENDED})


def permission_of(event: Event) -> str | None:
    """The id of the permission that an event is about, or None.

    A request without one (every publisher may append to the stream) is known by its event_id."""
    if event.event_type not in _EVENTS:
        return None
    payload = event.payload
    if "permission_id" not in payload and event.event_type == PERMISSION_REQUEST:
        return event.event_id
    permission_id = payload.get("permission_id")
    return permission_id if PERMISSION_ID.allows(permission_id) else None


def status_of(event: Event) -> Status | None:
    """What an event makes of its permission; None when it cannot be read."""
    if event.event_type == PERMISSION_REQUEST:
        return "pending"
    if event.event_type == PERMISSION_CLEARED:
        return "cleared"
    payload = event.payload
    if payload.get("approved") is True:
        return "approved"
    if payload.get("approved") is not False:
        return None
    is_expiry = payload.get("actor") == TIMEOUT and payload.get("reason") == TIMED_OUT
    return "expired" if is_expiry else "rejected"


def extended(permission: PermissionState, event: Event) -> PermissionState:
    """A permission that waits, with more time: the server was down for a while, which does not count."""
    seconds = permission.expires_within_seconds + extension_in(event.payload)
    return msgspec.structs.replace(permission, expires_within_seconds=seconds, last_seq=event.seq)


def requested(event: Event) -> PermissionState:
    """The permission of a request, read from a payload that every publisher may have written."""
    payload = event.payload
    risk_level = payload.get("risk_level")
    return PermissionState(
        permission_id=permission_of(event) or event.event_id,
        tool_name=text_in(payload, "tool_name"),
        parameters=object_in(payload, "parameters"),
        risk_level=risk_level if risk_level in RISK_LEVELS else "high",
        expires_within_seconds=seconds_in(payload, "expires_within_seconds") or DEFAULT_WITHIN_SECONDS,
        requested_at=event.timestamp,
        requested_seq=event.seq,
        last_seq=event.seq,
        requested_by=event.actor or "",
    )
