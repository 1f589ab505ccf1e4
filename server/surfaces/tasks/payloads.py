"""What the events of a task say, read from payloads that anybody may have written.

Of a payload only what has the right type counts. `model.py` says which of it changes anything."""

from typing import Any

import msgspec

from server.http.payloads import number_in, text_in
from server.surfaces.tasks.state import MAX_NAME_CHARACTERS, NAME
from towow.events import Event


class _Names(msgspec.Struct):
    phase: object = None
    span_id: object = None


_decode_names = msgspec.json.Decoder(_Names).decode


def names_of(event: Event) -> tuple[str | None, str | None]:
    """The phase and the span that an event names in its payload; None for what is absent or no name."""
    text = event.payload_json
    if '"phase"' not in text and '"span_id"' not in text:  # most events name neither, and need not be decoded
        return None, None
    names = _decode_names(text)
    return name_or_none(names.phase), name_or_none(names.span_id)


def name_or_none(value: object) -> str | None:
    """The value when it may name a phase or a span."""
    return value if NAME.allows(value) else None


def percent_in(payload: dict[str, Any], key: str) -> float | None:
    """A number from 0 to 100 (inclusive); None for anything else, true and false too."""
    value = number_in(payload, key)
    return value if value is not None and 0 <= value <= 100 else None


def name_in(payload: dict[str, Any]) -> str | None:
    """What people call a work item: `name`, else `title`, cut at 200 characters."""
    texts = (text_in(payload, key).strip() for key in ("name", "title"))
    return next((text[:MAX_NAME_CHARACTERS] for text in texts if text), None)
