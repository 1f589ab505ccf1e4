"""The sessions as a table: one row each, written with the events. It is both the list and the state that commands decide on.

A row follows the same `TRANSITIONS` as the state in `model.py`, because it is that state; so a session with thousands of
messages costs a command one row, and a hand-over is remembered when retention has removed its event."""

import msgspec

from server.eventlog.queries import RowPage, read_rows
from server.eventlog.writer import Connection
from server.surfaces.sessions.model import evolve
from server.surfaces.sessions.state import SESSION_NAME, SessionState, initial
from towow.events import Event

_FIELDS = SessionState.__struct_fields__
_COLUMNS = ", ".join(("name", *_FIELDS[1:]))  # as the state has them; its session_name is the table's name
_UPSERT = (
    f"INSERT INTO sessions ({_COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))})"  # noqa: S608 - constant
    f" ON CONFLICT (name) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _FIELDS[1:])}"
)


def project_session(connection: Connection, event: Event) -> None:
    """Fold one event of a session's stream into its row; again with the same or an older event, no change.

    A session has a row from its first message or escalation on."""
    session_name = event.stream.partition(":")[2]
    if not SESSION_NAME.allows(session_name):
        return
    before = get_session(connection, session_name)
    after = evolve(before, event)
    if after is not before and after.exists:
        connection.execute(_UPSERT, msgspec.structs.astuple(after)).close()


def get_session(connection: Connection, session_name: str) -> SessionState:
    """The state of a session, as far as its row is: `initial` without one."""
    sql = f"SELECT {_COLUMNS} FROM sessions WHERE name = ?"  # noqa: S608 - constant
    row = connection.execute(sql, (session_name,)).fetchone()
    return SessionState(*row) if row else initial(session_name)


def keeps_session(connection: Connection, stream: str) -> bool:
    """Whether the events of a session are still needed: somebody waits for a person, or talks to one."""
    return get_session(connection, stream.partition(":")[2]).status in ("waiting_agent", "with_operator")


def list_sessions(connection: Connection, page: RowPage) -> tuple[list[SessionState], bool]:
    """Sessions, and whether there are more."""
    rows, has_more = read_rows(connection, _COLUMNS, "sessions", page)
    return [SessionState(*row) for row in rows], has_more
