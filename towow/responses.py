"""The server's responses as values and as errors: the codes of `towow.errors` read backwards.

A value is a struct whose attributes are the keys of the JSON; keys that this release does not know are ignored. An error
carries `details["status"]`, the HTTP status, `details["retry_after_seconds"]` when the server sent Retry-After, and the other
fields of the server's error. The modules of the surfaces hold their own structs."""

import re
from typing import Any, TypeVar

import msgspec

from towow import errors
from towow.errors import STATUS_BY_CODE, Gone, InvalidBody, TowowError, Unavailable
from towow.events import Event

RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

_CLASS_BY_CODE: dict[str, type[TowowError]] = {
    value.code: value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TowowError)
}
T = TypeVar("T")
_SECONDS = re.compile(r"[0-9]{1,6}\Z")


class Unreachable(Unavailable):
    """Raised without an answer: no connection, a broken one, or a time-out (`unavailable`).

    `was_sent` says whether the request may have reached the server; its effect is then unknown."""

    def __init__(self, message: str, *, was_sent: bool = True, **details: Any) -> None:
        super().__init__(message, **details)
        self.was_sent = was_sent


class CursorLost(Gone):
    """Raised when the cursor does not point into the server's log (`gone`).

    `reason` is `unknown_event_id`, `past_head`, `other_epoch`, `other_history` or `trimmed`; `requested` the cursor;
    `oldest_seq`, `head_seq` and `epoch` describe the log as it is, None where the server's error lacks them."""

    def __init__(self, message: str, *, field: str | None = None, **details: Any) -> None:
        super().__init__(message, field=field, **details)
        self.reason: str = str(details.get("reason", "unknown"))
        self.requested: Any = details.get("requested")
        self.oldest_seq: int | None = _integer(details.get("oldest_seq"))
        self.head_seq: int | None = _integer(details.get("head_seq"))
        self.epoch: str | None = details.get("epoch")


class Receipt(msgspec.Struct, frozen=True):
    """The place of a stored event in the log and in its stream; `followers` were sent it, or soon will be."""

    seq: int
    revision: int
    event_id: str
    followers: int


class Receipts(msgspec.Struct, frozen=True):
    """The receipts of several events, in their order."""

    events: list[Receipt]


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream: its last event, and the `count` of events that retention has kept."""

    name: str
    kind: str
    last_seq: int
    revision: int
    count: int
    updated_at: str
    ended: bool


class StreamPage(msgspec.Struct, frozen=True):
    """Streams by name; go on with `after=next_after` while `has_more`."""

    streams: list[StreamInfo]
    has_more: bool
    next_after: str
    head_seq: int


class ProcessHealth(msgspec.Struct, frozen=True):
    """One of the server processes on a file; one that is stopped or hangs is not answering, and says nothing of itself."""

    process: str
    is_answering: bool
    followers: int = 0
    connections: int = 0
    uptime_seconds: float = 0.0
    version: str = ""


class DutyHealth(msgspec.Struct, frozen=True):
    """Work that one process does for all: which one, in which term, and since when."""

    duty: str
    process: str
    term: int
    since: str


class Health(msgspec.Struct, frozen=True):
    """The state of a server that can write, `followers` and `connections` of all processes on its file.

    Fields that a release does not send are empty."""

    status: str
    epoch: str = ""
    head_seq: int = 0
    oldest_seq: int = 0
    followers: int = 0
    connections: int = 0
    uptime_seconds: float = 0.0
    version: str = ""
    sqlite_version: str = ""
    synchronous: str = ""
    process: str = ""
    processes: list[ProcessHealth] = []
    duties: list[DutyHealth] = []
    warnings: list[str] = []


class Page(msgspec.Struct, frozen=True):
    """Stored events, ascending; go on with `since_seq=next_cursor`, unless `ended`: that stream gets no more.

    `next_since_seq` is the seq of that cursor, which proves the history that these events are of."""

    events: list[Event]
    has_more: bool
    next_since_seq: int | None
    next_cursor: str | None
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
    actor: str | None = None


class _WirePage(msgspec.Struct):
    events: list[_WireEvent]
    has_more: bool
    head_seq: int
    epoch: str
    next_since_seq: int | None = None
    next_cursor: str | None = None
    ended: bool = False


def read(kind: type[T], raw: bytes | str) -> T:
    """A JSON response as a value of a type. Raises `InvalidBody` for anything else."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBody(f"the answer is not that of a ToWow server: {error}", field="answer") from None


def read_event(raw: bytes | str) -> Event:
    """The event in its canonical JSON. Raises `InvalidBody` for anything else."""
    return _stored(read(_WireEvent, raw))


def read_page(raw: bytes) -> Page:
    """A page of `GET /api/events`. Raises `InvalidBody` for anything else."""
    page = read(_WirePage, raw)
    events = [_stored(event) for event in page.events]
    return Page(events, page.has_more, page.next_since_seq, page.next_cursor, page.head_seq, page.epoch, page.ended)


def read_object(raw: bytes | str) -> dict[str, Any]:
    """A JSON object. Raises `InvalidBody` for anything else."""
    return read(dict[str, Any], raw)


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
    if retry_after is not None and _SECONDS.match(retry_after):  # the server sends no dates
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
    """The first code with this status: the server's own table backwards, and the codes of a proxy in front."""
    codes = {"unauthorized": 401, "too_many_requests": 429} | STATUS_BY_CODE
    return next((code for code, known in codes.items() if known == status), "internal")


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
        event.actor,
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) else None
