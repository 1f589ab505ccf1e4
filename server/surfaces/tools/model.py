"""A permission's life as a table and pure functions: what may follow what, what events change, what commands become.

A permission is asked for, then approved, rejected, expired or taken back, once and for good. What tools report besides
(statuses, results, errors) changes no state and is always allowed. `state.py` has the values, `commands.py` the commands,
`payloads.py` what events say.
An event that says what `TRANSITIONS` does not allow only moves the position, so of two answers the log keeps the first."""

from typing import Any, assert_never

import msgspec

from server.http.payloads import text_in
from server.surfaces.tools.commands import (
    AnswerPermission,
    ClearPermission,
    Command,
    ExpirePermission,
    ReportEvent,
    RequestPermission,
)
from server.surfaces.tools.payloads import extended, permission_of, requested, status_of
from server.surfaces.tools.state import (
    DEADLINE_EXTENDED,
    MAX_PENDING,
    PERMISSION_CLEARED,
    PERMISSION_REQUEST,
    PERMISSION_RESPONSE,
    SOURCE,
    TIMED_OUT,
    TIMEOUT,
    PermissionState,
    Status,
    ToolState,
    stream_of,
)
from towow.errors import Conflict, Forbidden, Gone, NotFound, TooManyRequests
from towow.events import Event, NewEvent, new_event

_RETRY_SECONDS = 5
_WHEN = "timestamp"  # of a request: another one does not make it another request
_WORDS_OF_A_REQUEST = frozenset(
    (_WHEN, "permission_id", "tool_name", "parameters", "risk_level", "status", "expires_within_seconds")
)
# What a permission is, and what an event may make of it; None is one without a request.
TRANSITIONS: frozenset[tuple[Status | None, Status]] = frozenset(
    {(None, "pending"), ("pending", "approved"), ("pending", "rejected"), ("pending", "expired"), ("pending", "cleared")}
)


def evolve(state: ToolState, event: Event) -> ToolState:
    """The state after one more event of the stream; an event at or before `last_seq` changes nothing."""
    if event.seq <= state.last_seq:
        return state
    permissions = state.permissions
    permission_id = permission_of(event)
    if permission_id is not None:
        before = permissions.get(permission_id)
        after = evolve_permission(before, event)
        if after is not None and after is not before:
            permissions = {**permissions, permission_id: after}
    return msgspec.structs.replace(state, permissions=permissions, last_seq=event.seq, revision=event.revision)


def evolve_permission(permission: PermissionState | None, event: Event) -> PermissionState | None:
    """A permission after an event that is about it; the same object when the event changes nothing."""
    if event.event_type == DEADLINE_EXTENDED:
        is_open = permission is not None and permission.status == "pending" and event.seq > permission.last_seq
        return extended(permission, event) if is_open and permission is not None else permission
    status = status_of(event)
    before = permission.status if permission is not None else None
    if status is None or (before, status) not in TRANSITIONS:
        return permission
    if permission is None:
        return requested(event)
    payload = event.payload
    return msgspec.structs.replace(
        permission,
        status=status,
        reason=text_in(payload, "reason"),
        actor=text_in(payload, "actor"),
        ended_at=event.timestamp,
        ended_seq=event.seq,
        last_seq=event.seq,
    )


def extension(session_id: str, permission_id: str, seconds: float) -> NewEvent:
    """The event that gives a permission so many seconds more, because the server was down."""
    payload = {"permission_id": permission_id, "seconds": seconds}
    return new_event(stream_of(session_id), DEADLINE_EXTENDED, payload, source=SOURCE)


def decide(state: ToolState, command: Command) -> list[NewEvent]:
    """The events that a command becomes, in order; an empty list says that this was done before.

    Raises `NotFound` (no such permission), `Conflict` (answered otherwise, asked in other words, or nobody knows which is
    meant) or `Gone` (too late), with what is known of the permission."""
    match command:
        case RequestPermission():
            return _ask(state, command)
        case AnswerPermission():
            return _answer(state, command)
        case ClearPermission():
            return _clear(state, command)
        case ExpirePermission():
            return _expire(state, command)
        case ReportEvent():
            stream = stream_of(state.session_id)
            return [new_event(stream, command.event_type, command.data, event_id=command.event_id, source=SOURCE)]
        case _:
            assert_never(command)


def named_or_pending(state: ToolState, permission_id: str | None) -> PermissionState:
    """The permission with an id, or without one the only one that is pending. Raises `NotFound`, `Conflict`."""
    if permission_id is not None:
        permission = state.permissions.get(permission_id)
        if permission is None:
            raise NotFound(f"{state.session_id} has no permission {permission_id}", field="permission_id")
        return permission
    pending = state.pending
    if len(pending) != 1:
        found = "no permission is" if not pending else f"{len(pending)} permissions are"
        ids = [each.permission_id for each in pending]
        raise Conflict(f"{found} pending: say which with permission_id", field="permission_id", pending=ids)
    return pending[0]


def _ask(state: ToolState, command: RequestPermission) -> list[NewEvent]:
    earlier = state.permissions.get(command.permission_id)
    if earlier is not None:
        if _words(command) == _words(earlier):
            return []
        raise Conflict(
            f"permission {command.permission_id} was asked for in other words", field="permission_id", **position_of(earlier)
        )
    if len(state.pending) >= MAX_PENDING:
        message = f"{len(state.pending)} permissions of this session wait for an answer already"
        raise TooManyRequests(message, limit=MAX_PENDING, retry_after_seconds=_RETRY_SECONDS)
    return [
        _event(
            state,
            PERMISSION_REQUEST,
            **command.fields,
            permission_id=command.permission_id,
            tool_name=command.tool_name,
            parameters=command.parameters,
            risk_level=command.risk_level,
            status="pending",
            expires_within_seconds=command.within_seconds,
        )
    ]


def _words(request: RequestPermission | PermissionState) -> bytes:
    """What makes two requests the same: as JSON, because to Python 1 is true."""
    return msgspec.json.encode((request.tool_name, request.parameters, request.risk_level), order="sorted")


def require_same_request(command: RequestPermission, permission: PermissionState, event: Event) -> None:
    """Raise `Conflict` when a repeated request says something else than its event: whoever approved saw every field of that."""
    fields = {key: value for key, value in command.fields.items() if key != _WHEN}
    stored = {key: value for key, value in event.payload.items() if key not in _WORDS_OF_A_REQUEST}
    if msgspec.json.encode(fields, order="sorted") != msgspec.json.encode(stored, order="sorted"):
        message = f"permission {permission.permission_id} was asked for with other fields"
        raise Conflict(message, field="permission_id", **position_of(permission))


def _answer(state: ToolState, command: AnswerPermission) -> list[NewEvent]:
    permission = named_or_pending(state, command.permission_id)
    if command.actor == permission.requested_by and not command.allows_self:
        message = f"{command.actor} asked for permission {permission.permission_id}; somebody else has to answer it"
        raise Forbidden(message, field="permission_id")
    if permission.status == "pending" and command.now < permission.deadline:
        return _end(state, permission.permission_id, command.approved, command.reason, command.actor)
    if permission.status in ("approved", "rejected"):
        if command.approved == (permission.status == "approved"):
            return []
        raise Conflict(f"permission {permission.permission_id} was {permission.status}", **position_of(permission))
    is_cleared = permission.status == "cleared"
    happened = "was taken back" if is_cleared else "has expired, which denied it"
    known = {**position_of(permission), "permission_status": "cleared" if is_cleared else "expired"}
    raise Gone(f"permission {permission.permission_id} {happened}", field="permission_id", **known)


def _clear(state: ToolState, command: ClearPermission) -> list[NewEvent]:
    permission = named_or_pending(state, command.permission_id)
    if permission.status != "pending":
        return []
    fields = {**command.fields, "permission_id": permission.permission_id, "reason": command.reason}
    return [_event(state, PERMISSION_CLEARED, **fields)]


def _expire(state: ToolState, command: ExpirePermission) -> list[NewEvent]:
    permission = named_or_pending(state, command.permission_id)
    if permission.status != "pending" or command.now < permission.deadline:
        return []
    return _end(state, command.permission_id, False, TIMED_OUT, TIMEOUT)


def _end(state: ToolState, permission_id: str, approved: bool, reason: str, actor: str) -> list[NewEvent]:
    """The answer, and the word that the prompt can be closed."""
    payload = {"permission_id": permission_id, "approved": approved, "reason": reason, "success": True, "actor": actor}
    return [
        _event(state, PERMISSION_RESPONSE, **payload),
        _event(state, PERMISSION_CLEARED, permission_id=permission_id, reason=reason),
    ]


def position_of(permission: PermissionState) -> dict[str, Any]:
    """What became of a permission, for whoever is refused."""
    return {"permission_id": permission.permission_id, "permission_status": permission.status, "actor": permission.actor}


def _event(state: ToolState, event_type: str, **payload: Any) -> NewEvent:
    return new_event(stream_of(state.session_id), event_type, payload, source=SOURCE)
