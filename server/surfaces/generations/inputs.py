"""The checks of a request: prompt, session and context within their limits, or refused with the field.

Pure. The events that follow are checked again where all events are (`towow/events.py`)."""

from typing import Any

from server.http.text_rules import plain_text, within
from server.surfaces.generations.state import Language
from towow.errors import InvalidBody, TooLarge
from towow.events import payload_json

MAX_CONTEXT_BYTES = 16_384


def check_prompt(prompt: str | None, message: str | None, limit: int) -> str:
    """The prompt, trimmed, with LF line ends; `message` is another name of the field.

    Raises `InvalidBody` when it is missing, blank or given twice, `TooLarge` over `limit` characters."""
    if prompt is not None and message is not None and prompt != message:
        raise InvalidBody("prompt and message are the same field: give one", field="message")
    field = "message" if prompt is None and message is not None else "prompt"
    given = message if prompt is None else prompt
    if given is None:
        raise InvalidBody("prompt is missing: say what is to be written", field=field)
    text = plain_text(given, field)
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise InvalidBody(f"{field} is blank: say what is to be written", field=field)
    return within(text, field, limit)


def check_context(context: dict[str, Any] | None) -> dict[str, Any]:
    """The object that the agents get besides the prompt: any JSON object of up to 16 KiB. Raises `InvalidBody`, `TooLarge`."""
    given = context or {}
    try:
        size = len(payload_json(given).encode())
    except InvalidBody as error:
        raise InvalidBody(error.message.replace("payload", "context", 1), field="context") from None
    if size > MAX_CONTEXT_BYTES:
        raise TooLarge(f"context has {size} bytes, the limit is {MAX_CONTEXT_BYTES}", field="context", limit=MAX_CONTEXT_BYTES)
    return given


def language_of(prompt: str) -> Language:
    """The language that a prompt is written in: Chinese when it has a Chinese character."""
    return "zh" if any("\u3400" <= character <= "\u9fff" for character in prompt) else "en"
