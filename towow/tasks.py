"""The calls of tasks: for workers that report their progress, and for watchers.

    async with Client() as client:
        await client.emit("t-1", "phase_enter", phase="executing")
        await client.emit("t-1", "work_item_start", {"name": "parse"}, span_id="s-1")
        await client.emit("t-1", "task_complete")

An event's id is chosen before the first try, so that every call may be repeated through breaks and restarts."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from towow.events import Event, event_fields
from towow.follow import StateCallback, cursor_parameters, follow
from towow.responses import Receipt
from towow.subscription import Subscription
from towow.transport import Order, Transport, given, path_segment


class EmittedEvent(Receipt, frozen=True):
    """The receipt of an emitted event."""

    success: bool
    task_id: str


class EmittedEvents(msgspec.Struct, frozen=True):
    """The receipts of several emitted events, in their order."""

    success: bool
    task_id: str
    events: list[Receipt]


class TaskSummary(msgspec.Struct, frozen=True):
    """One row of the list of tasks, true at `last_seq`; `progress` is in percent, `events` is their number."""

    task_id: str
    status: str
    phase: str | None
    progress: float
    work_items_total: int
    work_items_running: int
    work_items_completed: int
    work_items_failed: int
    events: int
    created_at: str
    updated_at: str
    created_seq: int
    last_seq: int


class WorkItem(msgspec.Struct, frozen=True):
    """A part of a task."""

    span_id: str
    status: str
    name: str | None
    started_at: str | None
    ended_at: str | None


class Task(TaskSummary, frozen=True):
    """One task with its newest 1,000 work items."""

    work_items: list[WorkItem]


class TaskPage(msgspec.Struct, frozen=True):
    """Tasks, newest first; the next page is `before` the last one's `created_seq`."""

    tasks: list[TaskSummary]
    has_more: bool
    head_seq: int
    epoch: str


class TaskEvent(msgspec.Struct, frozen=True):
    """A task's event with its phase and work item beside the payload."""

    seq: int
    revision: int
    event_id: str
    event_type: str
    task_id: str
    phase: str | None
    span_id: str | None
    payload: dict[str, Any]
    timestamp: str
    source: str


class TaskEventPage(msgspec.Struct, frozen=True):
    """A task's events, ascending; go on with `since_seq=next_cursor`, unless `ended`: there will be no more."""

    events: list[TaskEvent]
    has_more: bool
    next_since_seq: int
    next_cursor: str
    head_seq: int
    epoch: str
    ended: bool


class TaskCalls:
    """The calls of `Client` about tasks."""

    _transport: Transport
    _source: str

    async def emit(
        self,
        task_id: str,
        event_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        phase: str | None = None,
        span_id: str | None = None,
        event_id: str | None = None,
        source: str | None = None,
    ) -> EmittedEvent:
        """Emit one event; the first one makes the task, and `span_id` names a work item.

        Raises `StreamEnded` after the task's end, `Conflict` (the event_id holds other content), `InvalidBody`, `TooLarge`,
        `StorageFull`, or `Unreachable` after all tries."""
        event = {
            "event_type": event_type,
            "payload": payload,
            "phase": phase,
            "span_id": span_id,
            "event_id": event_id,
            "source": source,
        }
        return await self._transport.post(EmittedEvent, _events_path(task_id), msgspec.json.encode(self._filled(event)))

    async def emit_many(self, task_id: str, events: Iterable[Mapping[str, Any]]) -> list[Receipt]:
        """Emit several events, all or none, in the order given; each has the arguments of `emit` as keys.

        Returns a receipt for each. No events: an empty list, and no request."""
        filled = [self._filled(event) for event in events]
        if not filled:
            return []
        body = msgspec.json.encode({"events": filled})
        return (await self._transport.post(EmittedEvents, _events_path(task_id), body)).events

    async def task(self, task_id: str) -> Task:
        """The present state of a task. Raises `NotFound`."""
        return await self._transport.get(Task, f"/api/tasks/{path_segment(task_id)}")

    async def tasks(
        self,
        status: str | None = None,
        *,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
        order: Order | None = None,
    ) -> TaskPage:
        """One page of tasks, newest first; `before` and `after` are a `created_seq`, excluded."""
        asked = given(status=status, limit=limit, before=before, after=after, order=order)
        return await self._transport.get(TaskPage, "/api/tasks", asked)

    async def task_events(
        self,
        task_id: str,
        *,
        since_seq: int | str | None = None,
        until_seq: int | None = None,
        limit: int = 100,
        wait: float | None = None,
    ) -> TaskEventPage:
        """One page of a task's events after `since_seq` (exclusive, None from the beginning) up to `until_seq` (inclusive).

        `wait` holds an empty answer back for up to so many seconds. Raises `NotFound`, `CursorLost`."""
        parameters = cursor_parameters(since_seq) + given(until_seq=until_seq, limit=limit, wait=wait)
        return await self._transport.get(TaskEventPage, _events_path(task_id), parameters, extra_seconds=wait or 0.0)

    def follow_task(
        self,
        task_id: str,
        *,
        since_seq: int | str | None = None,
        allow_pending: bool = False,
        on_state: StateCallback | None = None,
    ) -> Subscription[Event]:
        """A task's events, the stored ones and then new ones at once, until it has ended; it resumes as `Client.follow` does.

        Phase and span are keys of the payload. Raises `NotFound` unless `allow_pending`, `CursorLost`."""
        parameters = [("stream", f"task:{task_id}"), *given(allow_pending=1 if allow_pending else None)]
        return follow(self._transport, parameters, since_seq=since_seq, on_state=on_state)

    def _filled(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event's fields; an event without a payload has an empty one."""
        payload = event.get("payload")
        return event_fields({**event, "payload": {} if payload is None else payload}, self._source)


def _events_path(task_id: str) -> str:
    return f"/api/tasks/{path_segment(task_id)}/events"
