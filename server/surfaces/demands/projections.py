"""The demands as tables, written with the events: a row each for lists and the coordinator's start, and its parts for the rest.

A row follows the same `TRANSITIONS` as the state in `model.py`, because it is that state. What grows has a row for each item,
so that an event costs what it changes."""

from typing import Any

import msgspec

from server.eventlog.queries import RowPage, read_rows
from server.eventlog.writer import Connection
from server.surfaces.demands.model import TRANSITIONS, evolve, extension
from server.surfaces.demands.next_step import deadline
from server.surfaces.demands.rendering import summary
from server.surfaces.demands.state import DemandState, initial
from towow.events import Event, NewEvent

_FIELDS = (
    "demand_id",
    "channel_id",
    "user_id",
    "surface_demand",
    "phase",
    "current_round",
    "created_at",
    "updated_at",
    "created_seq",
    "last_seq",
    "revision",
    "parent_demand_id",
    "depth",
)
_COLUMNS = ", ".join(_FIELDS)
_LISTS = ("offers", "declines", "proposals", "gaps", "subnets")  # parts that grow by items
_GIVEN = "given"  # the part with all other fields
_GIVEN_FIELDS = tuple(name for name in DemandState.__struct_fields__ if name not in (*_FIELDS, *_LISTS))
_decode = msgspec.json.Decoder(DemandState).decode


def project_demand(connection: Connection, event: Event) -> None:
    """Fold one event of a demand's stream into its rows; again with the same or an older event, no change.

    A demand has a row from its understanding on. An event that means nothing to it costs a read and an
    update."""
    demand_id = event.stream.partition(":")[2]
    before = _read_row(connection, demand_id)
    is_step = (before.phase, event.event_type) in TRANSITIONS
    is_whole = not before.exists or before.revision == event.revision - 1  # the parts are those of the event before
    if is_step and is_whole and before.exists:
        before = _with_parts(connection, before)
    after = evolve(before, event)
    if after is before or not after.exists:
        return
    if before.exists:
        connection.execute(
            "UPDATE demands SET status = ?, phase = ?, current_round = ?, updated_at = ?, last_seq = ?, revision = ?"
            " WHERE demand_id = ?",
            (
                after.status,
                after.phase,
                after.current_round,
                after.updated_at,
                after.last_seq,
                after.revision if is_whole else 0,
                demand_id,
            ),
        ).close()
    else:
        columns = {**summary(after), "revision": after.revision}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        connection.execute(f"INSERT INTO demands ({names}) VALUES ({marks})", tuple(columns.values())).close()  # noqa: S608
    if is_step and is_whole:
        _write_parts(connection, before, after)


def get_demand(connection: Connection, demand_id: str) -> DemandState:
    """A demand, all of one moment: `initial` without a row, and when its row is from a file of an earlier version."""
    connection.execute("BEGIN").close()
    try:
        state = _read_row(connection, demand_id)
        return _with_parts(connection, state) if state.revision else initial(demand_id)
    finally:
        connection.execute("COMMIT").close()


def list_demands(connection: Connection, page: RowPage) -> tuple[list[DemandState], bool]:
    """Demands without their parts, and whether there are more."""
    rows, has_more = read_rows(connection, _COLUMNS, "demands", page)
    return [_state_of(row) for row in rows], has_more


def open_demands(connection: Connection) -> list[str]:
    """The ids of the demands that have not ended, oldest first."""
    rows = connection.execute("SELECT demand_id FROM demands WHERE status = 'processing' ORDER BY created_seq").fetchall()
    return [demand_id for (demand_id,) in rows]


def extend_demands(connection: Connection, seconds: float) -> list[NewEvent]:
    """The events that give every demand that waits for somebody so many seconds more."""
    states = (get_demand(connection, demand_id) for demand_id in open_demands(connection))
    return [extension(state, seconds) for state in states if deadline(state) is not None]


def keeps_demand(connection: Connection, stream: str) -> bool:
    """Whether the events of a demand are still read: it is open, or it is a part of one that is."""
    sql = (
        "SELECT 1 FROM demands AS d WHERE d.demand_id = ? AND (d.status = 'processing' OR EXISTS"
        " (SELECT 1 FROM demands AS p WHERE p.demand_id = d.parent_demand_id AND p.status = 'processing'))"
    )
    return connection.execute(sql, (stream.partition(":")[2],)).fetchone() is not None


def _read_row(connection: Connection, demand_id: str) -> DemandState:
    """A demand without its parts; `initial` without a row."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM demands WHERE demand_id = ?", (demand_id,)).fetchone()  # noqa: S608
    return _state_of(row) if row else initial(demand_id)


def _state_of(row: Any) -> DemandState:
    return DemandState(**dict(zip(_FIELDS, row, strict=True)))


def _with_parts(connection: Connection, state: DemandState) -> DemandState:
    """A state with the fields that its row leaves out."""
    fields: dict[str, Any] = {name: getattr(state, name) for name in _FIELDS}
    sql = "SELECT part, value FROM demand_parts WHERE demand_id = ? ORDER BY part, place"
    for part, value in connection.execute(sql, (state.demand_id,)).fetchall():
        if part == _GIVEN:
            fields |= msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        else:
            fields.setdefault(part, []).append(msgspec.Raw(value.encode()))
    return _decode(msgspec.json.encode(fields))


def _write_parts(connection: Connection, before: DemandState, after: DemandState) -> None:
    """Write the parts that differ; what an event leaves alone is the same object before and after it."""
    changed = [
        (name, place, item)
        for name in _LISTS
        if (old := getattr(before, name)) is not (new := getattr(after, name))
        for place, item in enumerate(new)
        if place >= len(old) or item is not old[place]
    ]
    if any(getattr(after, name) is not getattr(before, name) for name in _GIVEN_FIELDS):
        changed.append((_GIVEN, 0, {name: getattr(after, name) for name in _GIVEN_FIELDS}))
    for part, place, value in changed:
        encoded = msgspec.json.encode(value).decode()
        connection.execute("REPLACE INTO demand_parts VALUES (?, ?, ?, ?)", (after.demand_id, part, place, encoded)).close()
