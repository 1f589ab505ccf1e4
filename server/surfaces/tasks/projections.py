"""The tasks and their work items as tables: one row each, written with the events, for lists and for how a task is.

A row follows the same tables as the state in `model.py`, because it is that state; so a task with thousands of events costs a
look at its row and at the rows of its work items."""

from typing import Any

import msgspec

from server.eventlog.queries import RowPage, read_rows
from server.eventlog.writer import Connection
from server.surfaces.tasks.model import changes_state, evolve
from server.surfaces.tasks.payloads import names_of
from server.surfaces.tasks.state import TASK_ID, TaskState, WorkItem, initial, task_id_of
from towow.events import Event

MAX_READ_WORK_ITEMS = 1_000

_TASK_FIELDS = TaskState.__struct_fields__[:-1]  # work items have rows of their own
_TASK_COLUMNS = ", ".join(_TASK_FIELDS)
_ITEM_FIELDS = WorkItem.__struct_fields__
_ITEM_COLUMNS = ", ".join(_ITEM_FIELDS)
_UPSERT_TASK = (
    f"INSERT INTO tasks ({_TASK_COLUMNS}) VALUES ({', '.join('?' * len(_TASK_FIELDS))})"  # noqa: S608 - constant
    f" ON CONFLICT (task_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _TASK_FIELDS[1:])}"
)
_REPLACE_ITEM = (
    f"REPLACE INTO task_work_items (task_id, {_ITEM_COLUMNS})"  # noqa: S608 - constant
    f" VALUES ({', '.join('?' * (len(_ITEM_FIELDS) + 1))})"
)
_MOVE_TASK = "UPDATE tasks SET last_seq = ?, revision = ?, updated_at = ? WHERE task_id = ? AND last_seq < ?"


def project_task(connection: Connection, event: Event) -> None:
    """Fold one event of a task's stream into its rows; again with the same or an older event, no change."""
    task_id = task_id_of(event.stream)
    if not TASK_ID.allows(task_id):
        return
    if not changes_state(event.event_type) and _move(connection, task_id, event):
        return
    span_id = names_of(event)[1]
    before = get_task(connection, task_id, span_id)
    after = evolve(before, event)
    if after is before:
        return
    connection.execute(_UPSERT_TASK, msgspec.structs.astuple(after)[:-1]).close()
    item = after.work_items.get(span_id or "")
    if item is not None and item is not before.work_items.get(item.span_id):
        connection.execute(_REPLACE_ITEM, (task_id, *msgspec.structs.astuple(item))).close()


def _move(connection: Connection, task_id: str, event: Event) -> bool:
    """One statement for an event that says nothing about the task; False when there is no row yet, or a newer one."""
    cursor = connection.execute(_MOVE_TASK, (event.seq, event.revision, event.timestamp, task_id, event.seq))
    moved: int = cursor.rowcount
    cursor.close()
    return moved == 1


def get_task(connection: Connection, task_id: str, span_id: str | None = None) -> TaskState:
    """A task as far as its row is, with the one work item that is asked for: `initial` without a row."""
    sql = f"SELECT {_TASK_COLUMNS} FROM tasks WHERE task_id = ?"  # noqa: S608 - constant
    row = connection.execute(sql, (task_id,)).fetchone()
    if row is None:
        return initial(task_id)
    items = {}
    if span_id is not None:
        sql = f"SELECT {_ITEM_COLUMNS} FROM task_work_items WHERE task_id = ? AND span_id = ?"  # noqa: S608 - constant
        items = _items(connection.execute(sql, (task_id, span_id)).fetchall())
    return msgspec.structs.replace(TaskState(*row), work_items=items)


def load_task(connection: Connection, task_id: str) -> TaskState:
    """A task and its newest 1,000 work items, all of one moment."""
    connection.execute("BEGIN").close()  # a snapshot: the counts are those of the items
    try:
        state = get_task(connection, task_id)
        sql = f"SELECT {_ITEM_COLUMNS} FROM task_work_items WHERE task_id = ? ORDER BY first_seq DESC LIMIT ?"  # noqa: S608
        rows = connection.execute(sql, (task_id, MAX_READ_WORK_ITEMS)).fetchall()
    finally:
        connection.execute("COMMIT").close()
    return msgspec.structs.replace(state, work_items=_items(rows))


def list_tasks(connection: Connection, page: RowPage) -> tuple[list[TaskState], bool]:
    """Tasks without their work items, and whether there are more."""
    rows, has_more = read_rows(connection, _TASK_COLUMNS, "tasks", page)
    return [TaskState(*row) for row in rows], has_more


def _items(rows: Any) -> dict[str, WorkItem]:
    return {row[0]: WorkItem(*row) for row in rows}
