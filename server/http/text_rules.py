"""What texts have to keep to: trimmed, with LF line ends, without control characters, within a limit, or one of some choices.

Pure. Each surface's `inputs.py` says which field is checked how; events are checked again where all events are
(`events.py`)."""

from collections.abc import Sequence
from typing import TypeVar

from towow.errors import InvalidBody, InvalidRequest, TooLarge

Choice = TypeVar("Choice", bound=str)


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
