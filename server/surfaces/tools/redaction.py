"""What must not be stored: the values of keys that hold secrets. Pure."""

from collections.abc import Iterable
from typing import Any

from towow.errors import InvalidBody
from towow.events import MAX_NESTING

REDACTED = "[redacted]"


class Redaction:
    """Replaces the values of some keys, at any depth; case, `_`, `-` and spaces in a key do not matter."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(_plain(key) for key in keys)

    def apply(self, value: dict[str, Any]) -> dict[str, Any]:
        """A copy without secrets. Raises `InvalidBody` for more than 64 levels."""
        redacted: dict[str, Any] = self._walk(value, 1)
        return redacted

    def _walk(self, value: Any, depth: int) -> Any:
        if not isinstance(value, dict | list):
            return value
        if depth > MAX_NESTING:
            raise InvalidBody(f"data is nested deeper than {MAX_NESTING} levels", field="data", limit=MAX_NESTING)
        if isinstance(value, list):
            return [self._walk(item, depth + 1) for item in value]
        return {key: REDACTED if _plain(key) in self._keys else self._walk(item, depth + 1) for key, item in value.items()}


def _plain(key: str) -> str:
    return key.casefold().replace("_", "").replace("-", "").replace(" ", "")
