"""The permissions as a table: one row each, written with the events, for the answers that must not read a whole session.

A row follows the same `TRANSITIONS` as the state in `model.py`. The table is also what the expiry goes on with after a
restart."""

from typing import Any, NamedTuple

import msgspec

from server.eventlog.writer import Connection
from server.surfaces.tools.model import evolve_permission, extension
from server.surfaces.tools.payloads import permission_of
from server.surfaces.tools.state import MAX_PENDING, PermissionState, ToolState, stream_of
from towow.events import Event, NewEvent, timestamp_of

# Who asked stands in the request's event.
_COLUMNS = (
    "permission_id, tool_name, parameters, risk_level, expires_within_seconds, requested_at, requested_seq,"
    " status, reason, actor, ended_at, ended_seq, last_seq"
)
_SOURCE = f"SELECT {_COLUMNS}, (SELECT e.actor FROM events AS e WHERE e.seq = requested_seq) FROM tool_permissions"  # noqa: S608


class Due(NamedTuple):
    """Permissions whose time may have run out, oldest first, with their session; the next deadline, None without one."""

    permissions: list[tuple[str, PermissionState]]
    next_at: str | None


def project_permission(connection: Connection, event: Event) -> None:
    """Fold one event of a session into the row of its permission.

    Again with the same or an older event, no change: a permission never becomes again what it was."""
    permission_id = permission_of(event)
    if permission_id is None:
        return
    session_id = event.stream.partition(":")[2]
    before = get_permission(connection, session_id, permission_id)
    after = evolve_permission(before, event)
    if after is None or after is before:
        return
    columns = {
        "session_id": session_id,
        **msgspec.structs.asdict(after),
        "parameters": msgspec.json.encode(after.parameters).decode(),
        "expires_at": timestamp_of(after.deadline),
    }
    del columns["requested_by"]
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(f"REPLACE INTO tool_permissions ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608


def get_permission(connection: Connection, session_id: str, permission_id: str) -> PermissionState | None:
    """One permission, or None when there was no request for it."""
    sql = f"{_SOURCE} WHERE session_id = ? AND permission_id = ?"
    row = connection.execute(sql, (session_id, permission_id)).fetchone()
    return None if row is None else _permission_of(row)


def load_session(connection: Connection, session_id: str, permission_id: str | None = None) -> ToolState:
    """A session with its pending permissions, and the named one; its revision is read first, so it is never
    newer."""
    place = connection.execute(
        "SELECT seq, revision FROM events WHERE stream = ? ORDER BY seq DESC LIMIT 1", (stream_of(session_id),)
    ).fetchone()
    permissions = {each.permission_id: each for each in pending_permissions(connection, session_id)}
    if permission_id is not None and (found := get_permission(connection, session_id, permission_id)) is not None:
        permissions[permission_id] = found
    return ToolState(session_id, permissions, *(place or (0, 0)))


def pending_permissions(connection: Connection, session_id: str) -> list[PermissionState]:
    """What waits for an answer in a session, oldest first."""
    sql = f"{_SOURCE} WHERE session_id = ? AND status = 'pending' ORDER BY requested_seq LIMIT ?"
    return [_permission_of(row) for row in connection.execute(sql, (session_id, MAX_PENDING)).fetchall()]


def keeps_session(connection: Connection, stream: str) -> bool:
    """Whether the events of a session are still needed: a permission waits in it."""
    return bool(pending_permissions(connection, stream.partition(":")[2]))


def due_permissions(connection: Connection, now: str, limit: int) -> Due:
    """At most `limit` pending permissions whose deadline is `now` or earlier, and the first deadline after it."""
    due = _waiting(connection, "AND expires_at <= ? ORDER BY expires_at LIMIT ?", (now, limit))
    sql = "SELECT min(expires_at) FROM tool_permissions WHERE status = 'pending' AND expires_at > ?"
    (next_at,) = connection.execute(sql, (now,)).fetchone()
    return Due(due, next_at)


def waiting_permissions(connection: Connection) -> list[tuple[str, PermissionState]]:
    """Every permission that waits for an answer, with its session."""
    return _waiting(connection, "ORDER BY requested_seq", ())


def extend_permissions(connection: Connection, seconds: float) -> list[NewEvent]:
    """The events that give every permission that waits so many seconds more."""
    return [extension(session_id, each.permission_id, seconds) for session_id, each in waiting_permissions(connection)]


def _waiting(connection: Connection, rest: str, parameters: tuple[Any, ...]) -> list[tuple[str, PermissionState]]:
    sql = f"{_SOURCE.replace('SELECT', 'SELECT session_id,', 1)} WHERE status = 'pending' {rest}"
    return [(row[0], _permission_of(row[1:])) for row in connection.execute(sql, parameters).fetchall()]


def _permission_of(row: Any) -> PermissionState:
    columns = dict(zip(_COLUMNS.split(", "), row[:-1], strict=True))
    columns["requested_by"] = row[-1] or ""
    columns["parameters"] = msgspec.json.decode(columns["parameters"])
    return msgspec.convert(columns, PermissionState)
