"""Reading payloads that anybody may have written: each function takes any JSON value and always gives its type back.

Pure, for the folds of all surfaces, whose own `payloads.py` and `model.py` say which of it changes anything."""

import math
from typing import Any

from server.config import LONGEST_WAIT_SECONDS
from towow.events import MAX_SEQ

MAX_SECONDS = LONGEST_WAIT_SECONDS
MAX_EXTENSION_SECONDS = 7 * 86_400.0  # of a deadline, for what the server was down


def value_in(payload: Any, key: str) -> Any:
    """What an object has under a key; None without one, and for what is no object."""
    return payload.get(key) if isinstance(payload, dict) else None


def text_in(payload: Any, key: str) -> str:
    """A text as it is; empty for everything else."""
    value = value_in(payload, key)
    return value if isinstance(value, str) else ""


def nonblank_in(payload: Any, key: str) -> str:
    """A text that says something; empty for everything else."""
    text = text_in(payload, key)
    return text if text.strip() else ""


def texts_in(payload: Any, key: str) -> tuple[str, ...]:
    """The texts in a list that are not blank, in order."""
    return tuple(item for item in list_in(payload, key) if isinstance(item, str) and item.strip())


def number_in(payload: Any, key: str) -> float | None:
    """A finite number; None for everything else, true and false too."""
    value = value_in(payload, key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def count_in(payload: Any, key: str, most: int = MAX_SEQ) -> int:
    """A whole number from 0 to `most`; 0 for everything else."""
    value = value_in(payload, key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else 0


def seconds_in(payload: Any, key: str, default: float = 0.0) -> float:
    """A number of seconds from 0, at most a day: more counts as a day. `default` for everything else."""
    value = number_in(payload, key)
    return default if value is None or value < 0 else min(value, MAX_SECONDS)


def extension_in(payload: Any) -> float:
    """The seconds of a `deadline.extended` event, 0 to seven days; 0 for everything else."""
    value = number_in(payload, "seconds")
    return 0.0 if value is None or value < 0 else min(value, MAX_EXTENSION_SECONDS)


def object_in(payload: Any, key: str) -> dict[str, Any]:
    """An object; empty for everything else."""
    value = value_in(payload, key)
    return value if isinstance(value, dict) else {}


def list_in(payload: Any, key: str) -> list[Any]:
    """A list; empty for everything else."""
    value = value_in(payload, key)
    return value if isinstance(value, list) else []


def objects_in(payload: Any, key: str) -> list[dict[str, Any]]:
    """The objects in a list, in order."""
    return [item for item in list_in(payload, key) if isinstance(item, dict)]
