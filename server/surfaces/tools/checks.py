"""The checks of single fields: lines, texts, objects, numbers. Each returns the value, or raises with the field's name.

Pure. `inputs.py` says which field of which event is checked how."""

from typing import Any

from server.http.text_rules import trimmed, within, without_controls
from server.surfaces.tools.state import RISK_LEVELS
from towow.errors import InvalidBody

MAX_REASON_CHARACTERS = 500


def reason(value: Any, field: str = "reason") -> str:
    """A reason of up to 500 characters, trimmed; absent is empty. Raises `InvalidBody`, `TooLarge`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidBody(f"{field} must be a text", field=field)
    return text(trimmed(value), field, MAX_REASON_CHARACTERS)


def text(value: Any, field: str, limit: int) -> str:
    """A text without control characters. Raises `InvalidBody`, `TooLarge`."""
    if not isinstance(value, str):
        raise InvalidBody(f"{field} must be a text", field=field)
    return without_controls(within(value, field, limit), field)


def line(data: dict[str, Any], key: str, limit: int, *, is_needed: bool = False) -> str:
    """A line of text in `data`, empty only when it is not needed and absent. Raises `InvalidBody`."""
    if key not in data and not is_needed:
        return ""
    value = data.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > limit or "\n" in value:
        raise InvalidBody(f"data.{key} must be one line of 1 to {limit} characters", field=f"data.{key}")
    return text(value, f"data.{key}", limit)


def flag(data: dict[str, Any], key: str) -> bool:
    """True or false in `data`. Raises `InvalidBody`."""
    value = data.get(key)
    if not isinstance(value, bool):
        raise InvalidBody(f"data.{key} must be true or false", field=f"data.{key}")
    return value


def mapping(data: dict[str, Any], key: str) -> dict[str, Any]:
    """An object in `data`; absent is empty. Raises `InvalidBody`."""
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise InvalidBody(f"data.{key} must be an object", field=f"data.{key}")
    return value


def seconds(data: dict[str, Any], key: str, *, default: float, low: float, high: float) -> float:
    """A number of seconds in `data`, bounds included. Raises `InvalidBody`."""
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidBody(f"data.{key} must be a number of seconds from {low:g} to {high:g}", field=f"data.{key}")
    return float(value)


def risk_level(data: dict[str, Any], field: str) -> str:
    """The `risk_level` in an object; absent is high, the cautious reading. Raises `InvalidBody`."""
    value = data.get("risk_level", "high")
    if value not in RISK_LEVELS:
        raise InvalidBody(f"{field} must be one of {', '.join(RISK_LEVELS)}", field=field)
    return str(value)
