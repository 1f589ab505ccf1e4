"""What may be asked of a task: the command that `model.decide` turns into an event.

Names and the payload in it have been checked by `inputs.py`."""

from typing import Any

import msgspec


class Emit(msgspec.Struct, frozen=True):
    """Say what happened; `payload` holds the phase and the span as well. An `event_id` makes it repeatable."""

    event_type: str
    payload: dict[str, Any]
    event_id: str | None = None
    source: str = "unknown"
