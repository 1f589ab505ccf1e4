"""A task's life as tables and pure functions: what events change, what commands become.

    running ── task_complete | task_failed | task_cancelled ──> completed | failed | cancelled

A task runs from its first event on, whatever that is. Event types are an open set, and anybody may append to the stream: what
is not in the tables, or not readable, only moves the position. Of a work item the newest word counts, so it may start again."""

from typing import Any

import msgspec

from server.surfaces.tasks.commands import Emit
from server.surfaces.tasks.payloads import name_in, names_of, percent_in
from server.surfaces.tasks.state import (
    ALIASES,
    PHASE_ENTER,
    PROGRESS_UPDATE,
    TASK_CANCELLED,
    TASK_COMPLETE,
    TASK_FAILED,
    TERMINAL_EVENTS,
    WORK_ITEM_COMPLETE,
    WORK_ITEM_FAILED,
    WORK_ITEM_START,
    TaskState,
    WorkItem,
    stream_of,
)
from towow.events import Event, NewEvent, new_event

# event_type -> what the task is after it; it is running before.
TASK_STATUS: dict[str, str] = {TASK_COMPLETE: "completed", TASK_FAILED: "failed", TASK_CANCELLED: "cancelled"}
# event_type -> what the work item of its span is after it, whatever it was before.
WORK_ITEM_STATUS: dict[str, str] = {WORK_ITEM_START: "running", WORK_ITEM_COMPLETE: "completed", WORK_ITEM_FAILED: "failed"}
_CHANGING = frozenset({PHASE_ENTER, PROGRESS_UPDATE, *WORK_ITEM_STATUS, *TERMINAL_EVENTS, *ALIASES})


def changes_state(event_type: str) -> bool:
    """Whether events of this type may change more of a task than its position."""
    return event_type in _CHANGING


def evolve(state: TaskState, event: Event) -> TaskState:
    """The state after one more event of the stream; an event at or before `last_seq` changes nothing."""
    if event.seq <= state.last_seq:
        return state
    changes: dict[str, Any] = {"last_seq": event.seq, "revision": event.revision, "updated_at": event.timestamp}
    if not state.exists:
        changes |= {"status": "running", "created_at": event.timestamp, "created_seq": event.seq}
    if state.status in ("new", "running") and changes_state(event.event_type):
        changes |= _changes(state, event)
    return msgspec.structs.replace(state, **changes)


def _changes(state: TaskState, event: Event) -> dict[str, Any]:
    event_type = ALIASES.get(event.event_type, event.event_type)
    if event_type in TASK_STATUS:
        done = {"progress": 100.0} if event_type == TASK_COMPLETE else {}
        return {"status": TASK_STATUS[event_type], **done}
    phase, span_id = names_of(event)
    if event_type == PHASE_ENTER:
        return {} if phase is None else {"phase": phase}
    if event_type == PROGRESS_UPDATE:
        progress = percent_in(event.payload, "progress")
        return {} if progress is None else {"progress": progress}
    return {} if span_id is None else _work_item_changes(state, span_id, event_type, event)


def _work_item_changes(state: TaskState, span_id: str, event_type: str, event: Event) -> dict[str, Any]:
    status = WORK_ITEM_STATUS[event_type]
    before = state.work_items.get(span_id)
    item = before or WorkItem(span_id, status, first_seq=event.seq)
    if status == "running":
        item = msgspec.structs.replace(item, started_at=event.timestamp, ended_at=None)
    else:
        item = msgspec.structs.replace(item, ended_at=event.timestamp)
    item = msgspec.structs.replace(item, status=status, name=name_in(event.payload) or item.name, last_seq=event.seq)
    counts = {"running": state.items_running, "completed": state.items_completed, "failed": state.items_failed}
    if before is not None:
        counts[before.status] -= 1
    counts[status] += 1
    return {"work_items": {**state.work_items, span_id: item}, **{f"items_{each}": count for each, count in counts.items()}}


def decide(state: TaskState, command: Emit, *, max_event_bytes: int = 262_144) -> list[NewEvent]:
    """The event that a command becomes. Raises `InvalidBody` or `TooLarge`; whether the task has ended is the log's to say."""
    return [
        new_event(
            stream_of(state.task_id),
            ALIASES.get(command.event_type, command.event_type),
            command.payload,
            event_id=command.event_id,
            source=command.source,
            max_event_bytes=max_event_bytes,
        )
    ]
