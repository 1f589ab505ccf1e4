"""What ids and texts have to keep to: characters, a limit, LF line ends, no control characters, or one of some choices.

Pure. Each surface's `inputs.py` says which field is checked how; events are checked again where all events are
(`events.py`)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeGuard, TypeVar

from towow.errors import InvalidBody, InvalidRequest, TooLarge
from towow.events import is_id

Choice = TypeVar("Choice", bound=str)


class Id(NamedTuple):
    """The rule of an id: 1 to `longest` characters from A-Z a-z 0-9 . _ -, and with `has_colons` also `:`.

    An id without colons stands behind its kind in the name of a stream, and in paths, which `.` and `..` would not survive.
    Nothing has an id of `reserved`."""

    field: str
    longest: int = 128
    has_colons: bool = False
    reserved: tuple[str, ...] = ()

    def allows(self, value: object) -> TypeGuard[str]:
        """Whether the value is such an id."""
        if not isinstance(value, str) or len(value) > self.longest or not is_id(value) or value in self.reserved:
            return False
        return self.has_colons or (":" not in value and value not in (".", ".."))

    def in_path(self, parts: Mapping[str, str]) -> str:
        """The id in a path's parts. Raises `InvalidRequest`."""
        text = parts[self.field]
        if not self.allows(text):
            raise InvalidRequest(self._rule(self.field), field=self.field)
        return text

    def in_query(self, text: str | None) -> str | None:
        """The id that a query gives; None when it gives none. Raises `InvalidRequest`."""
        return None if text is None else self.in_path({self.field: text})

    def in_body(self, value: object, field: str | None = None) -> str:
        """The id in a body, under its own name or another one. Raises `InvalidBody`."""
        if not self.allows(value):
            field = field or self.field
            raise InvalidBody(self._rule(field), field=field)
        return value

    def _rule(self, field: str) -> str:
        colon = ": " if self.has_colons else ""
        others = "".join(f", and not {each}" for each in self.reserved)
        return f"{field} must be 1 to {self.longest} characters from A-Z a-z 0-9 . _ {colon}-{others}"


def plain_text(text: str, field: str) -> str:
    """The text trimmed, with LF line ends. Raises `InvalidBody` for control characters and lone surrogates."""
    return without_controls(trimmed(text), field)


def trimmed(text: str) -> str:
    """The text with LF line ends and nothing around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def without_controls(text: str, field: str) -> str:
    """The text as it is; tabs and line feeds are allowed. Raises `InvalidBody` for control characters and lone surrogates."""
    for character in text:
        if (character < " " and character not in "\n\t") or "\x7f" <= character <= "\x9f":
            raise InvalidBody(f"{field} must not contain control characters (U+{ord(character):04X})", field=field)
        if "\ud800" <= character <= "\udfff":
            raise InvalidBody(f"{field} must be valid Unicode", field=field)
    return text


def within(text: str, field: str, limit: int) -> str:
    """The text as it is. Raises `TooLarge` when it has more than `limit` characters."""
    if len(text) > limit:
        raise TooLarge(f"{field} has {len(text)} characters, the limit is {limit}", field=field, limit=limit)
    return text


def one_of(text: str | None, field: str, choices: Sequence[Choice]) -> Choice | None:
    """The choice that a query parameter names; None when it is absent. Raises `InvalidRequest` naming all choices."""
    if text is None:
        return None
    for choice in choices:
        if text == choice:
            return choice
    raise InvalidRequest(f"{field} must be one of {', '.join(choices)}", field=field)
