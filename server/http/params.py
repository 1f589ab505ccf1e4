"""Reading requests: queries, cursors and bodies. Whatever cannot be read is refused with the name of the field.

A handler declares which query parameters it takes (`takes`, `takes_any`); any other is refused before it runs, so that a
misspelt filter or cursor never passes for one that was not given."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from server.eventlog.command_key import KEY
from server.eventlog.redaction import Redaction
from server.eventlog.selection import Selection, select
from server.streaming.cursor import CursorRequest
from towow.errors import InvalidRequest, RequestTimeout, TooLarge, UnsupportedMediaType
from towow.events import MAX_SEQ, is_event_id, is_id, parse_json, split_cursor

KEY_HEADER = "Idempotency-Key"

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Any])

_DIGITS = re.compile(r"[0-9]{1,19}\Z")  # not str.isdigit or int(): those take other scripts, signs and underscores
_KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?\Z")
_TAIL = re.compile(r"tail:[1-9][0-9]{0,3}\Z")
# In the order in which they count: what a client adds by itself at a reconnect wins over what its URL began with.
_CURSOR_QUERIES = ("lastEventId", "lastEventID", "since_seq", "last_event_id", "after", "since")
MAX_TAIL_EVENTS = 1_000
AT_LEAST_HEADER = "X-Towow-At-Least"

# The query parameters of everything that begins at a cursor, and of every stream: an `EventSource` in a browser and the
# libraries that stand in for it add a cursor of their own spelling to whatever address they are given.
CURSOR = (*_CURSOR_QUERIES, "epoch", "start", "allow_pending")
STREAM = (*CURSOR, "keepalive", "format")
_CREDENTIALS = ("ticket", "token")  # read by the authenticator, on every route
# An unknown query name that an error may repeat: a misspelt word, and nothing that might be a credential.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,12}\Z|[A-Za-z_-]{1,24}\Z")
_FREE_PREFIXES = ("_", "utm_", "x_")  # what caches and links add, and what clients note for themselves
_QUERY_NAMES = "query_names"

NDJSON = "application/x-ndjson"
JSON_TYPES = frozenset({"application/json"})
MAX_INLINE_BYTES = 16_384  # of a body that is looked through for secrets on the event loop
REDACTION = web.AppKey("redaction", Redaction)


def takes(*names: str) -> Callable[[Handler], Handler]:
    """Declare the query parameters of a handler. One without a declaration takes none."""

    def declare(handler: Handler) -> Handler:
        setattr(handler, _QUERY_NAMES, names)
        return handler

    return declare


def takes_any(handler: Handler) -> Handler:
    """Declare that a handler ignores its query: pages, files, and checks of health, whose callers add what they like."""
    setattr(handler, _QUERY_NAMES, None)
    return handler


def query_names(handler: Callable[..., Any]) -> tuple[str, ...] | None:
    """The query parameters that a handler takes; None when it takes any."""
    names: tuple[str, ...] | None = getattr(handler, _QUERY_NAMES, ())
    return names


def check_query(request: web.Request, handler: Callable[..., Any]) -> None:
    """Refuse query parameters that the handler does not take. Raises `InvalidRequest` naming the first, and the allowed ones.

    Names that begin with `_`, `utm_` or `x_`, `ticket` and `token` go with every route."""
    if not request.query_string:
        return
    names = query_names(handler)
    if names is None:
        return
    for name in request.query:
        if name not in names and name not in _CREDENTIALS and not name.startswith(_FREE_PREFIXES):
            allowed = f"it takes {', '.join(names)}" if names else "it takes none"
            shown = name if _PLAIN_NAME.match(name) else "query"
            raise InvalidRequest(f"{shown!r} is no query parameter of this route; {allowed}", field=shown)


def query(request: web.Request, name: str) -> str | None:
    """The one value of a query parameter, or None. Raises `InvalidRequest` when it is given twice."""
    values = request.query.getall(name, ())
    if len(values) > 1:
        raise InvalidRequest(f"{name} is given {len(values)} times", field=name)
    return values[0] if values else None


def query_integer(request: web.Request, name: str, *, default: int, low: int, high: int) -> int:
    """A whole number from `low` to `high` (inclusive). Raises `InvalidRequest` naming the parameter and its bounds."""
    text = query(request, name)
    if text is None:
        return default
    if not _DIGITS.match(text) or not low <= int(text) <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, not {text[:40]!r}", field=name)
    return int(text)


def query_seconds(request: web.Request, name: str, *, default: float, low: float, high: float) -> float:
    """A number of seconds from `low` to `high` (inclusive). Raises `InvalidRequest` naming the parameter and its bounds."""
    text = query(request, name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text, re.ASCII) or not low <= float(text) <= high:
        raise InvalidRequest(f"{name} must be a number of seconds from {low:g} to {high:g}, not {text[:40]!r}", field=name)
    return float(text)


def query_flag(request: web.Request, name: str) -> bool:
    """Whether a flag is set: `1` or `true`, `0` or `false`, absent is false."""
    text = query(request, name)
    if text not in (None, "0", "1", "true", "false"):
        raise InvalidRequest(f"{name} must be 1 or 0, not {text[:40]!r}", field=name)
    return text in ("1", "true")


def selection(request: web.Request, *, max_streams: int) -> Selection:
    """`stream=` (repeatable, `kind:id`, `kind:*` or `*`; default `*`) and `type=` (repeatable globs)."""
    streams = request.query.getall("stream", ("*",))
    types = request.query.getall("type", ())
    for name, values in (("stream", streams), ("type", types)):
        if len(values) > max_streams:
            raise InvalidRequest(f"{name} is given {len(values)} times, the limit is {max_streams}", field=name)
    return select(streams, types)


def asked(request: web.Request) -> CursorRequest:
    """Where the reader wants to begin: the cursor, `epoch`, `start` and `allow_pending`.

    Precedence: `Last-Event-ID`, `lastEventId`, `lastEventID`, `since_seq`, `last_event_id`, `after`, `since`. Empty ones count
    as none, and of a repeated one the last that is not empty counts. Raises `InvalidRequest` for a malformed one, also when
    another one wins."""
    cursor: int | str | None = None
    check = ""
    given = [("Last-Event-ID", request.headers.getall("Last-Event-ID", ()))]
    given += [(name, request.query.getall(name, ())) for name in _CURSOR_QUERIES]
    for name, texts in given:
        text = next(filter(None, reversed(texts)), None)
        if text is not None:
            value = parse_cursor(text, name)
            cursor, check = (cursor, check) if cursor is not None else value
    epoch = query(request, "epoch") or None
    if epoch is not None and not is_id(epoch):
        raise InvalidRequest("epoch must be what the server calls its epoch", field="epoch")
    start = query(request, "start")
    if start not in (None, "beginning", "live") and not (_TAIL.match(start) and int(start[5:]) <= MAX_TAIL_EVENTS):
        raise InvalidRequest(f"start must be beginning, live or tail:N with N from 1 to {MAX_TAIL_EVENTS}", field="start")
    return CursorRequest(cursor, epoch, start, query_flag(request, "allow_pending"), check)


def parse_cursor(text: str, name: str) -> tuple[int | str, str]:
    """A seq of 63 bits and its check, empty for a bare one; anything else is an event_id, which `since_seq` does not take."""
    place = split_cursor(text)
    if place is not None:
        return place
    if name != "since_seq" and is_event_id(text):
        return text, ""
    allowed = "a seq, or what the server gave as a cursor" + ("" if name == "since_seq" else ", or an event_id")
    raise InvalidRequest(f"{name} must be {allowed}, not {text[:40]!r}", field=name)


def at_least(request: web.Request) -> int | None:
    """The seq of the header `X-Towow-At-Least`: the request waits until this process knows the log up to there."""
    text = request.headers.get(AT_LEAST_HEADER)
    if text is None:
        return None
    if not _DIGITS.match(text) or int(text) > MAX_SEQ:
        raise InvalidRequest(f"{AT_LEAST_HEADER} must be a seq, not {text[:40]!r}", field=AT_LEAST_HEADER)
    return int(text)


def keepalive_comment(request: web.Request, text: str) -> str | None:
    """The comment of this route, or None when `keepalive=event` asks for named events."""
    wanted = query(request, "keepalive")
    if wanted not in (None, "event", "comment"):
        raise InvalidRequest("keepalive must be event or comment", field="keepalive")
    return None if wanted == "event" else text


def wants_ndjson(request: web.Request) -> bool:
    """Whether `format=ndjson` or the Accept header asks for NDJSON."""
    wanted = query(request, "format")
    if wanted not in (None, "sse", "ndjson"):
        raise InvalidRequest("format must be sse or ndjson", field="format")
    return wanted == "ndjson" or (wanted is None and NDJSON in request.headers.get("Accept", ""))


def media_type(request: web.Request) -> str:
    """The Content-Type without parameters, in lower case; empty when absent."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def command_key(request: web.Request) -> str | None:
    """The Idempotency-Key, or None. Raises `InvalidRequest` for one that is no word, and for two."""
    given = request.headers.getall(KEY_HEADER, ())
    if not given:
        return None
    if len(given) > 1 or not _KEY.match(given[0]):
        raise InvalidRequest(f"{KEY_HEADER} must be one text of 1 to 255 printable ASCII characters", field=KEY_HEADER)
    return given[0]


async def read_body(request: web.Request, *, timeout_seconds: float, max_bytes: int | None = None) -> bytes:
    """The whole body, of at most `max_bytes` (None: what the application takes); from now on part of the command's key.

    Raises `TooLarge` (also before reading, by Content-Length), `RequestTimeout`, `UnsupportedMediaType`."""
    body = await _read_body(request, timeout_seconds, max_bytes)
    key = KEY.get()
    if key is not None:
        KEY.set(key.with_body(body))
    return body


async def _read_body(request: web.Request, timeout_seconds: float, max_bytes: int | None) -> bytes:
    body = body_now(request, max_bytes)
    if body is not None:
        return body
    limit = request.client_max_size if max_bytes is None else max_bytes
    if request.content_length is None and max_bytes is not None:
        raise TooLarge(f"this body has to say its length, at most {limit} bytes", field="body", limit=limit)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(f"the body is larger than the limit of {limit} bytes", field="body", limit=limit) from None
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {timeout_seconds:g} s", field="body") from None


def body_now(request: web.Request, max_bytes: int | None = None) -> bytes | None:
    """The body, if all of it came with the headers; else None. Raises `TooLarge` and `UnsupportedMediaType`."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("compressed bodies are not read; send it as it is", field="Content-Encoding")
    limit = request.client_max_size if max_bytes is None else max_bytes
    length = request.content_length
    if length is not None and length > limit:
        raise TooLarge(f"the body has {length} bytes, the limit is {limit}", field="body", limit=limit)
    if not request.content.is_eof():
        return None
    body = request.content.read_nowait()
    if len(body) > limit:
        raise TooLarge(f"the body is larger than the limit of {limit} bytes", field="body", limit=limit)
    return body


async def without_secrets(body: bytes, redaction: Redaction) -> bytes:
    """A body without what must not be stored; a large one is looked through on another thread, so that the others go on."""
    if len(body) <= MAX_INLINE_BYTES:
        return redaction.body(body)
    return await asyncio.to_thread(redaction.body, body)


async def read_json(request: web.Request, decoder: msgspec.json.Decoder[T], *, timeout_seconds: float) -> T:
    """A JSON body of a documented shape, without what must not be stored.

    Raises `UnsupportedMediaType`, `InvalidRequest` (not JSON), `InvalidBody` (shape)."""
    require_type(request, JSON_TYPES)
    body = await read_body(request, timeout_seconds=timeout_seconds)
    return parse_json(await without_secrets(body, request.app[REDACTION]), decoder)


async def read_credentials(
    request: web.Request, decoder: msgspec.json.Decoder[T], *, timeout_seconds: float, max_bytes: int
) -> T:
    """A JSON body that holds a secret and is not stored. Raises what `read_json` raises."""
    require_type(request, JSON_TYPES)
    return parse_json(await read_body(request, timeout_seconds=timeout_seconds, max_bytes=max_bytes), decoder)


def require_type(request: web.Request, allowed: frozenset[str]) -> str:
    """The media type when it is one of `allowed`. A form's type is refused: any web page could send one."""
    found = media_type(request)
    if found not in allowed:
        names = ", ".join(sorted(allowed))
        raise UnsupportedMediaType(f"Content-Type must be {names}, not {found[:80]!r}", field="Content-Type")
    return found
