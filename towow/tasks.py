"""The calls of tasks: for who does the work and says how far it is, and for who looks at it.

    async with Client() as client:
        await client.emit("t-1", "phase_enter", phase="executing")
        await client.emit("t-1", "work_item_start", {"name": "parse"}, span_id="s-1")
        await client.emit("t-1", "task_complete")

An event's id is chosen before the first try, so that every call may be repeated through breaks and restarts."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import msgspec

from towow.errors import InvalidBody
from towow.events import Event, payload_json, uuid7
from towow.follow import Following, StateCallback, cursor_parameters
from towow.responses import read_object
from towow.transport import Transport, path_segment


class Tasking:
    """What `Client` can do with tasks."""

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
    ) -> dict[str, Any]:
        """Say what happened and return `{"success", "task_id", "seq", "revision", "event_id", "followers"}`.

        The first event makes the task; `span_id` names a work item. Raises `StreamEnded` after the task's end, `Conflict` (the
        event_id holds other content), `InvalidBody`, `TooLarge`, `StorageFull`, or `Unreachable` after all tries."""
        event = {
            "event_type": event_type,
            "payload": payload,
            "phase": phase,
            "span_id": span_id,
            "event_id": event_id,
            "source": source,
        }
        return await self._emit(task_id, self._filled(event))

    async def emit_many(self, task_id: str, events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Say several things, all or none, in the order given; each has the arguments of `emit` as keys.

        Returns `{"seq", "revision", "event_id", "followers"}` for each. No events: an empty list, and no request."""
        filled = [self._filled(event) for event in events]
        if not filled:
            return []
        stored: list[dict[str, Any]] = (await self._emit(task_id, {"events": filled}))["events"]
        return stored

    async def task(self, task_id: str) -> dict[str, Any]:
        """How a task is: status, phase, progress, work items, true at `last_seq`. Raises `NotFound`."""
        return read_object(await self._transport.call("GET", f"/api/tasks/{path_segment(task_id)}"))

    async def tasks(self, status: str | None = None, *, limit: int = 50, before: int | None = None) -> dict[str, Any]:
        """One page of tasks, newest first, `{"tasks", "has_more", "head_seq", "epoch"}`; `before` a `created_seq`, excluded."""
        return read_object(await self._transport.call("GET", "/api/tasks", _given(status=status, limit=limit, before=before)))

    async def task_events(
        self,
        task_id: str,
        *,
        since_seq: int | str | None = None,
        until_seq: int | None = None,
        limit: int = 100,
        wait: float | None = None,
    ) -> dict[str, Any]:
        """One page of a task's events, `{"events", "has_more", "next_since_seq", "head_seq", "epoch", "ended"}`.

        After `since_seq` (exclusive, None from the beginning) up to `until_seq` (inclusive); each event has `phase` and
        `span_id` beside its `payload`. `wait` holds an empty answer back for up to so many seconds. Raises `NotFound`,
        `CursorLost`."""
        parameters = cursor_parameters(since_seq) + _given(until_seq=until_seq, limit=limit, wait=wait)
        path = f"/api/tasks/{path_segment(task_id)}/events"
        return read_object(await self._transport.call("GET", path, parameters, extra_seconds=wait or 0.0))

    def follow_task(
        self,
        task_id: str,
        *,
        since_seq: int | str | None = None,
        allow_pending: bool = False,
        on_state: StateCallback | None = None,
    ) -> AsyncGenerator[Event, None]:
        """A task's events, the stored ones and then new ones at once, until it has ended; it resumes as `Client.follow` does.

        Phase and span are keys of the payload. Raises `NotFound` unless `allow_pending`, `CursorLost`."""
        parameters = [("stream", f"task:{task_id}"), *_given(allow_pending=1 if allow_pending else None)]
        return Following(self._transport, parameters, since_seq=since_seq, start=None, on_state=on_state).events()

    def _filled(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event with its id and its source, without what is None. Raises `InvalidBody` for what JSON cannot carry."""
        fields = {key: value for key, value in event.items() if value is not None}
        payload = fields.get("payload", {})
        if not isinstance(payload, Mapping):
            raise InvalidBody("payload must be an object", field="payload")
        fields["payload"] = msgspec.Raw(payload_json(dict(payload)).encode())
        return {"event_id": uuid7(), "source": self._source, **fields}

    async def _emit(self, task_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The same bytes on every try."""
        path = f"/api/tasks/{path_segment(task_id)}/events"
        return read_object(await self._transport.call("POST", path, body=msgspec.json.encode(fields)))


def _given(**parameters: float | str | None) -> list[tuple[str, str]]:
    """Query parameters, without those that are None."""
    return [(key, str(value)) for key, value in parameters.items() if value is not None]
