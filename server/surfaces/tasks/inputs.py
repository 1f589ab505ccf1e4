"""What emitters may say of a task: every name checked, phase and span put where SQL finds them, or refused with the field.

Pure. Events that these become are checked again where all events are (`towow/events.py`)."""

from typing import Any

import msgspec

from server.surfaces.tasks.commands import Emit
from server.surfaces.tasks.state import NAME
from towow.errors import InvalidBody


class EmitInput(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of one event as emitters send it."""

    event_type: str
    payload: dict[str, Any] = {}
    phase: str | None = None
    span_id: str | None = None
    event_id: str | None = None
    source: str = "unknown"


class EmitManyInput(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of several events of one task."""

    events: list[EmitInput]


def read_emit(given: EmitInput) -> Emit:
    """The command that an emitter's event is; `phase` and `span_id` become keys of its payload. Raises `InvalidBody`."""
    payload = given.payload
    for field, value in (("phase", given.phase), ("span_id", given.span_id)):
        inner = payload.get(field)
        if value is None and inner is None:
            continue
        if value is not None and inner is not None and value != inner:
            raise InvalidBody(f"{field} and payload.{field} are not the same", field=field)
        name, where = (inner, f"payload.{field}") if value is None else (value, field)
        payload = {**payload, field: NAME.in_body(name, where)}
    return Emit(given.event_type, payload, given.event_id, given.source)
