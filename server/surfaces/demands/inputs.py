"""What people and agents may say to a negotiation: every text trimmed and within its limit, or refused with the field.

Pure. Events that these become are checked again where all events are (`towow/events.py`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from server.http.text_rules import plain_text, within, without_controls
from towow.errors import InvalidBody, InvalidRequest, TooLarge

MAX_RAW_INPUT_CHARACTERS = 10_000
MAX_USER_ID_CHARACTERS = 200
MAX_CONTENT_CHARACTERS = 10_000
MAX_COMMENT_CHARACTERS = 1_000
MAX_REASON_CHARACTERS = 500
MAX_CAPABILITIES = 20
MAX_NEEDS = 10
MAX_CAPABILITY_CHARACTERS = 200
MAX_TERMS_BYTES = 1_024
MAX_TERMS_NESTING = 8
MAX_PRICE = 1e12
MAX_CURRENCY_CHARACTERS = 16


def check_raw_input(text: str, limit: int = MAX_RAW_INPUT_CHARACTERS) -> str:
    """The text as it is stored: trimmed, with LF line ends. Raises `InvalidBody`, or `TooLarge` over `limit`."""
    text = plain_text(text, "raw_input")
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise InvalidBody("raw_input is blank: say what you need", field="raw_input")
    return within(text, "raw_input", limit)


def check_user_id(text: str | None) -> str:
    """The user id trimmed, `anonymous` when absent or blank. Raises `InvalidBody` unless a line of up to 200."""
    text = (text or "").strip() or "anonymous"
    without_controls(text, "user_id")
    if len(text) > MAX_USER_ID_CHARACTERS or "\n" in text:
        raise InvalidBody(f"user_id must be one line of 1 to {MAX_USER_ID_CHARACTERS} characters", field="user_id")
    return text


def query_user_id(text: str) -> str:
    """A user's id in a query, as it is stored. Raises `InvalidRequest`."""
    try:
        return check_user_id(text)
    except InvalidBody as error:
        raise InvalidRequest(error.message, field=error.field) from None


def check_content(text: str) -> str:
    """What an agent offers, in its own words. Raises `InvalidBody` when blank, `TooLarge` over 10,000 characters."""
    text = plain_text(text, "content")
    if not text:
        raise InvalidBody("content is blank: say what you offer", field="content")
    return within(text, "content", MAX_CONTENT_CHARACTERS)


def check_comment(text: str | None) -> str:
    """A comment of up to 1,000 characters; absent is empty. Raises `InvalidBody`, `TooLarge`."""
    return within(plain_text(text or "", "comment"), "comment", MAX_COMMENT_CHARACTERS)


def check_reason(text: str | None, field: str = "reason") -> str:
    """A reason of up to 500 characters; absent is empty. Raises `InvalidBody`, `TooLarge`."""
    return within(plain_text(text or "", field), field, MAX_REASON_CHARACTERS)


def check_capabilities(texts: Sequence[str] | None) -> tuple[str, ...]:
    """The 1 to 20 capabilities of an offer, trimmed, each once. Raises `InvalidBody`."""
    if not texts or len(texts) > MAX_CAPABILITIES:
        raise InvalidBody(f"capabilities must be a list of 1 to {MAX_CAPABILITIES} texts", field="capabilities")
    return _lines(texts, "capabilities")


def check_needs(texts: Sequence[str] | None) -> tuple[str, ...]:
    """What an agent needs of others: up to 10 texts, trimmed, each once. Raises `InvalidBody`."""
    if texts is not None and len(texts) > MAX_NEEDS:
        raise InvalidBody(f"needs must be a list of up to {MAX_NEEDS} texts", field="needs")
    return _lines(texts or (), "needs")


def check_terms(terms: Mapping[str, Any] | None) -> dict[str, Any]:
    """The terms of an offer: any JSON object of up to 1,024 bytes and 8 levels.

    `price` is a number of 0 or more, `currency` a short text. Raises `InvalidBody`, `TooLarge`."""
    given = dict(terms or {})
    size = len(msgspec.json.encode(given))
    if size > MAX_TERMS_BYTES:
        raise TooLarge(f"terms have {size} bytes, the limit is {MAX_TERMS_BYTES}", field="terms", limit=MAX_TERMS_BYTES)
    if _depth(given) > MAX_TERMS_NESTING:
        raise InvalidBody(f"terms may nest {MAX_TERMS_NESTING} levels deep", field="terms", limit=MAX_TERMS_NESTING)
    price = given.get("price")
    if price is not None and (isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price <= MAX_PRICE):
        raise InvalidBody(f"terms.price must be a number from 0 to {MAX_PRICE:.0f}", field="terms.price")
    currency = given.get("currency")
    if currency is not None and not (isinstance(currency, str) and 1 <= len(currency) <= MAX_CURRENCY_CHARACTERS):
        raise InvalidBody(f"terms.currency must be a text of 1 to {MAX_CURRENCY_CHARACTERS} characters", field="terms.currency")
    return given


def _depth(value: Any) -> int:
    """How many levels of objects and lists; the value is small."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _lines(texts: Sequence[str], field: str) -> tuple[str, ...]:
    lines = []
    for index, given in enumerate(texts):
        name = f"{field}.{index}"
        text = plain_text(given, name)
        if not 1 <= len(text) <= MAX_CAPABILITY_CHARACTERS or "\n" in text:
            raise InvalidBody(f"{name} must be one line of 1 to {MAX_CAPABILITY_CHARACTERS} characters", field=name)
        lines.append(text)
    return tuple(dict.fromkeys(lines))
