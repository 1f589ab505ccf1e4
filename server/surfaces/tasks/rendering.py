"""How a task is told: the answers of the HTTP interface, and source 002's flat shape of an event."""

from typing import Any

import msgspec

from server.surfaces.tasks.payloads import name_or_none
from server.surfaces.tasks.state import TaskState, WorkItem, task_id_of
from towow.events import Event, payload_json

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def summary(state: TaskState) -> dict[str, Any]:
    """A task as a list shows it; true at `last_seq`. `events` is the number of its events."""
    return {
        "task_id": state.task_id,
        "status": state.status,
        "phase": state.phase,
        "progress": int(state.progress) if state.progress.is_integer() else round(state.progress, 3),
        "work_items_total": state.items_total,
        "work_items_running": state.items_running,
        "work_items_completed": state.items_completed,
        "work_items_failed": state.items_failed,
        "events": state.revision,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "created_seq": state.created_seq,
        "last_seq": state.last_seq,
    }


def detail(state: TaskState) -> dict[str, Any]:
    """One task with those work items that were read, in the order in which they appeared."""
    items = sorted(state.work_items.values(), key=lambda item: item.first_seq)
    return {**summary(state), "work_items": [_work_item(item) for item in items]}


def _work_item(item: WorkItem) -> dict[str, Any]:
    return {
        "span_id": item.span_id,
        "status": item.status,
        "name": item.name,
        "started_at": item.started_at,
        "ended_at": item.ended_at,
    }


def encode_task_event(event: Event) -> bytes:
    """An event as source 002 shows it: one line of JSON, safe after `data: `, with phase and span beside the payload.

    They are taken out of the payload where they are names; anything else under these keys stays in it."""
    phase, span_id, payload = _flat(event.payload_json)
    return (
        f'{{"seq":{event.seq},"revision":{event.revision},"event_id":"{event.event_id}","event_type":"{event.event_type}",'
        f'"task_id":"{task_id_of(event.stream)}","phase":{phase},"span_id":{span_id},"payload":{payload},'
        f'"timestamp":"{event.timestamp}","source":"{event.source}"{event.said_by()}}}'
    ).encode()


def _flat(text: str) -> tuple[str, str, str]:
    """Phase and span as JSON, and the payload's JSON without them."""
    found = {"phase": "null", "span_id": "null"}
    if '"phase"' not in text and '"span_id"' not in text:  # as it is
        return "null", "null", text
    fields = _decode_fields(text)
    for key in found:
        name = name_or_none(msgspec.json.decode(fields[key])) if key in fields else None
        if name is not None:
            del fields[key]
            found[key] = f'"{name}"'  # no character of a name needs escaping
    return found["phase"], found["span_id"], payload_json(fields)


def emitted(event: Event, followers: int) -> dict[str, Any]:
    """The place of one emitted event; `followers` of this process were sent it, or will be within the hold of their batches."""
    return {"seq": event.seq, "revision": event.revision, "event_id": event.event_id, "followers": followers}
