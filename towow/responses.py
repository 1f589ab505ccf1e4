"""What the server answers, as values and as errors: the codes of `towow.errors` read backwards.

An error carries `details["status"]`, the HTTP status, and `details["retry_after_seconds"]` when the server
said when to come back; everything else in `details` is what the server put into its error."""

import re
from typing import Any

import msgspec

from towow import errors
from towow.errors import STATUS_BY_CODE, Gone, InvalidBody, TowowError, Unavailable
from towow.events import Event

RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

_CLASS_BY_CODE: dict[str, type[TowowError]] = {
    value.code: value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TowowError)
}
_SECONDS = re.compile(r"[0-9]{1,6}\Z")


class Unreachable(Unavailable):
    """Raised when no answer came: nobody listens, the connection broke, or time ran out (`unavailable`).

    `was_sent` says whether the request may have reached the server; what it did is then unknown."""

    def __init__(self, message: str, *, was_sent: bool = True, **details: Any) -> None:
        super().__init__(message, **details)
        self.was_sent = was_sent


class CursorLost(Gone):
    """Raised when the cursor does not point into the server's log (`gone`).

    `reason` is `unknown_event_id`, `past_head`, `other_epoch` or `trimmed`; `requested` the cursor;
    `oldest_seq`, `head_seq` and `epoch` describe the log as it is, None when the server did not say."""

    def __init__(self, message: str, *, field: str | None = None, **details: Any) -> None:
        super().__init__(message, field=field, **details)
        self.reason: str = str(details.get("reason", "unknown"))
        self.requested: Any = details.get("requested")
        self.oldest_seq: int | None = _integer(details.get("oldest_seq"))
        self.head_seq: int | None = _integer(details.get("head_seq"))
        self.epoch: str | None = details.get("epoch")


class Page(msgspec.Struct, frozen=True):
    """Stored events, ascending; go on with `since_seq=next_since_seq`, unless `ended`: that stream gets no more."""

    events: list[Event]
    has_more: bool
    next_since_seq: int | None
    head_seq: int
    epoch: str
    ended: bool = False


class _WireEvent(msgspec.Struct):
    seq: int
    stream: str
    revision: int
    event_id: str
    event_type: str
    timestamp: str
    source: str
    payload: msgspec.Raw  # kept as it came: an Event holds the payload's text


class _WirePage(msgspec.Struct):
    events: list[_WireEvent]
    has_more: bool
    head_seq: int
    epoch: str
    next_since_seq: int | None = None
    ended: bool = False


_events = msgspec.json.Decoder(_WireEvent)
_pages = msgspec.json.Decoder(_WirePage)
_objects = msgspec.json.Decoder(dict[str, Any])


def read_event(raw: bytes | str) -> Event:
    """The event in its canonical JSON. Raises `InvalidBody` for anything else."""
    return _stored(_decode(_events, raw))


def read_page(raw: bytes) -> Page:
    """A page of `GET /api/events`. Raises `InvalidBody` for anything else."""
    page = _decode(_pages, raw)
    events = [_stored(event) for event in page.events]
    return Page(events, page.has_more, page.next_since_seq, page.head_seq, page.epoch, page.ended)


def read_object(raw: bytes | str) -> dict[str, Any]:
    """A JSON object. Raises `InvalidBody` for anything else."""
    value: dict[str, Any] = _decode(_objects, raw)
    return value


def read_error(status: int, raw: bytes, retry_after: str | None = None) -> TowowError:
    """The error that an answer stands for, of the class that has its code.

    Unknown codes are a `TowowError` with that `code`. Without one in the body (a proxy's answer) the status
    decides."""
    try:
        body = read_object(raw)
    except InvalidBody:
        body = {}
    inner = body.get("error")
    details: dict[str, Any] = dict(inner) if isinstance(inner, dict) else {}
    code = str(details.pop("code", None) or _code_of(status))
    message = str(details.pop("message", None) or f"the server answered {status}")
    field = details.pop("field", None)
    details["status"] = status
    if retry_after is not None and _SECONDS.match(retry_after):  # dates are not worth a parser: nothing here sends them
        details["retry_after_seconds"] = int(retry_after)
    kind = _CLASS_BY_CODE.get(code, TowowError)
    if kind is Gone and "reason" in details:
        kind = CursorLost
    error = kind(message, field=None if field is None else str(field), **_keywords(details))
    error.code = code
    return error


def reset_error(details: dict[str, Any]) -> CursorLost:
    """The error that a `reset` frame stands for."""
    kept = f"it holds seq {details.get('oldest_seq')} to {details.get('head_seq')}"
    message = f"the cursor {details.get('requested')} is not in this log ({details.get('reason')}): {kept}"
    return CursorLost(message, field="since_seq", **_keywords(details))


def _keywords(details: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key not in ("self", "message", "field")}


def _code_of(status: int) -> str:
    """The first code with this status: the server's own table backwards, and what a proxy in front may say."""
    codes = {"unauthorized": 401, "too_many_requests": 429} | STATUS_BY_CODE
    return next((code for code, known in codes.items() if known == status), "internal")


def _decode(decoder: msgspec.json.Decoder[Any], raw: bytes | str) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBody(f"the answer is not what a ToWow server sends: {error}", field="answer") from None


def _stored(event: _WireEvent) -> Event:
    payload = bytes(event.payload).decode()
    if not payload.startswith("{"):
        raise InvalidBody("the payload of an event is not an object", field="payload")
    return Event(
        event.seq,
        event.stream,
        event.revision,
        event.event_id,
        event.event_type,
        event.timestamp,
        event.source,
        payload,
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) else None
