"""The list of demands as a table: one row each, written with the events, for lists and the coordinator's start.

A row follows the same `TRANSITIONS` as the state in `model.py`; the rest of a demand is folded from its
stream."""

from typing import Any

import msgspec

from server.eventlog.queries import RowPage, read_rows
from server.eventlog.writer import Connection
from server.surfaces.demands.model import evolve
from server.surfaces.demands.rendering import summary
from server.surfaces.demands.state import DemandState, initial
from towow.events import Event

_COLUMNS = (
    "demand_id, channel_id, user_id, surface_demand, phase, current_round, created_at, updated_at, created_seq, last_seq,"
    " parent_demand_id, depth"
)


def project_demand(connection: Connection, event: Event) -> None:
    """Fold one event of a demand's stream into its row; again with the same or an older event, no change.

    A demand has a row from its understanding on. An event that means nothing to it costs a read and an
    update."""
    demand_id = event.stream.partition(":")[2]
    row = connection.execute(f"SELECT {_COLUMNS} FROM demands WHERE demand_id = ?", (demand_id,)).fetchone()  # noqa: S608
    before = _state_of(row) if row else initial(demand_id)
    after = evolve(before, event)
    if after is before or not after.exists:
        return
    if before.exists:
        connection.execute(
            "UPDATE demands SET status = ?, phase = ?, current_round = ?, updated_at = ?, last_seq = ? WHERE demand_id = ?",
            (after.status, after.phase, after.current_round, after.updated_at, after.last_seq, demand_id),
        )
        return
    columns = summary(after)
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO demands ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608


def list_demands(connection: Connection, page: RowPage) -> tuple[list[DemandState], bool]:
    """Demands as far as their rows are, and whether there are more."""
    rows, has_more = read_rows(connection, _COLUMNS, "demands", page)
    return [_state_of(row) for row in rows], has_more


def open_demands(connection: Connection) -> list[str]:
    """The ids of the demands that have not ended, oldest first."""
    rows = connection.execute("SELECT demand_id FROM demands WHERE status = 'processing' ORDER BY created_seq").fetchall()
    return [demand_id for (demand_id,) in rows]


def _state_of(row: Any) -> DemandState:
    return msgspec.convert(dict(zip(_COLUMNS.split(", "), row, strict=True)), DemandState)
