"""The event: its fields, its names, its one JSON form, and the one JSON parser that input goes through.

Everything here is pure. Input is either refused with a code and the field at fault, or is a value whose canonical
JSON is fixed for good: history, live streams, the CRC of a row and the digest chain all use the same bytes."""

import itertools
import math
import random
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from towow.errors import InvalidBody, InvalidRequest, TooLarge

MAX_NESTING = 64  # levels of {} and [] in any JSON input
MAX_SEQ = 2**63 - 1  # SQLite's largest integer key
SYSTEM = "system:"  # how the names of the server's own streams begin, which no `*` includes

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_SOURCE = re.compile(r"[!#-\[\]-~]{1,256}\Z")  # printable ASCII but the quote and the backslash: JSON-safe as it is
_GLOB = re.compile(r"[A-Za-z0-9._:-]{1,127}[A-Za-z0-9._:*-]\Z|\*\Z|[A-Za-z0-9._:-]\Z")
_CHECKED_SEQ = re.compile(r"([0-9]{1,19})(?:\.([1-9]{6}))?\Z")  # not int(): it takes other scripts, signs and underscores
_CURSOR = re.compile(r"[0-9]+(\.[0-9]*)?\Z")  # what a reader sends as a place in the log, so no event has it as its id
_PLAIN = re.compile(r"[ !#-\[\]-~]{1,256}\Z")  # printable ASCII that JSON writes as it is
# Three digits of a check for each number below 729: a check is made for every event that is sent.
_CHECK_DIGITS = tuple("".join(str(n // 9**place % 9 + 1) for place in range(3)) for n in range(729))
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19  # digits that may not fit 64 bits
# Characters that JSON allows raw, but that line-oriented readers may take for an end of line, or a terminal for a command.
_UNSAFE = {code: f"\\u{code:04x}" for code in (0x7F, *range(0x80, 0xA0), 0x2028, 0x2029)}

T = TypeVar("T")


class Event(msgspec.Struct, gc=False, eq=False):
    """A stored event. `payload_json` is the payload's canonical JSON text; `timestamp` is UTC ISO-8601 with ms and `Z`.

    `actor` is who appended it, None where nobody was asked; `digest` is its link of the log's chain, empty outside the server,
    where `known_check` is the check of the cursor that it came with.
    `canonical_json` are the bytes of `canonical()` where they were made already; it takes no part in comparisons."""

    seq: int
    stream: str
    revision: int
    event_id: str
    event_type: str
    timestamp: str
    source: str
    payload_json: str
    actor: str | None = None
    digest: bytes = b""
    canonical_json: bytes | None = None
    known_check: str = ""

    def __eq__(self, other: object) -> bool:
        """Whether both are the same event: every field of the canonical JSON is equal."""
        return isinstance(other, Event) and self._canonical() == other._canonical()

    __hash__ = None  # type: ignore[assignment]  # events are mutable

    @property
    def payload(self) -> dict[str, Any]:
        """The payload as a new dict, decoded at every call."""
        value: dict[str, Any] = msgspec.json.decode(self.payload_json)
        return value

    @property
    def check(self) -> str:
        """Six digits, 1 to 9, that say which history the event is of, see `check_of`; empty where that is not known."""
        return check_of(self.digest) if self.digest else self.known_check

    @property
    def cursor(self) -> str:
        """The place after this event, to go on from: `<seq>.<check>`, which proves its history, or a bare seq."""
        return cursor_of(self.seq, self.check)

    def said_by(self) -> str:
        """`,"actor":"…"` for the end of an envelope; empty where nobody was asked who they are."""
        return "" if self.actor is None else f',"actor":{_quoted(self.actor)}'

    def canonical(self) -> bytes:
        """The canonical JSON: one line, fields in the order of the documentation, safe inside an SSE data line.

        No name needs escaping because their characters are limited where they enter; an actor's are not."""
        return self.canonical_json or self._canonical()

    def _canonical(self) -> bytes:
        return canonical_of(
            self.seq,
            self.stream,
            self.revision,
            self.event_id,
            self.event_type,
            self.timestamp,
            self.source,
            self.payload_json,
            self.actor,
        )


def canonical_of(
    seq: int,
    stream: str,
    revision: int,
    event_id: str,
    event_type: str,
    timestamp: str,
    source: str,
    payload_json: str,
    actor: str | None,
) -> bytes:
    """The canonical JSON of an event with these fields: see `Event.canonical`."""
    said = "" if actor is None else f'"actor":{_quoted(actor)},'
    return (
        f'{{"seq":{seq},"stream":"{stream}","revision":{revision},"event_id":"{event_id}","event_type":"{event_type}",'
        f'"timestamp":"{timestamp}","source":"{source}",{said}"payload":{payload_json}}}'
    ).encode()


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    """The text as a JSON string, escaped as payloads are."""
    return f'"{text}"' if _PLAIN.match(text) else msgspec.json.encode(text).decode().translate(_UNSAFE)


def check_of(digest: bytes) -> str:
    """Six digits from 1 to 9 out of a digest. Never a zero, so that numbers keep the order; 1 in 531,441 is equal by chance."""
    number = int.from_bytes(digest[:8])
    return _CHECK_DIGITS[number % 729] + _CHECK_DIGITS[number // 729 % 729]


def cursor_of(seq: int, check: str) -> str:
    """A cursor as clients send it back: `<seq>.<check>`, or the bare seq without a check."""
    return f"{seq}.{check}" if check else str(seq)


def split_cursor(text: str) -> tuple[int, str] | None:
    """The seq and the check (empty without one) of a cursor that names a seq of 63 bits; None for any other text."""
    found = _CHECKED_SEQ.match(text)
    if found is None or int(found[1]) > MAX_SEQ:
        return None
    return int(found[1]), found[2] or ""


class NewEvent(msgspec.Struct, gc=False):
    """An event that is not stored yet, already validated; without an `event_id` the log derives one.

    `actor` is set by the log, whatever a publisher says, and so is `timestamp` where it is None: an import has one.

    `expected_revision`: the stream's revision before this event; 0 the stream must not exist, None any."""

    stream: str
    event_type: str
    payload_json: str
    event_id: str | None = None
    source: str = "unknown"
    expected_revision: int | None = None
    actor: str | None = None
    timestamp: str | None = None


class EventInput(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of one event as publishers send it."""

    stream: str
    event_type: str
    payload: dict[str, Any]
    event_id: str | None = None
    source: str = "unknown"
    expected_revision: int | None = None


def new_event(
    stream: str,
    event_type: str,
    payload: dict[str, Any],
    *,
    event_id: str | None = None,
    source: str = "unknown",
    expected_revision: int | None = None,
    max_event_bytes: int = 262_144,
) -> NewEvent:
    """Validate one event. Raises `InvalidBody` or `TooLarge` with the field and the limit; safe for untrusted input."""
    _check_names(stream, event_type, source)
    if event_id is not None and not is_event_id(event_id):
        raise _bad_name("event_id", "a name of 1 to 128 characters from A-Z a-z 0-9 . _ : -, not digits alone or with a point")
    if expected_revision is not None and not 0 <= expected_revision <= MAX_SEQ:
        raise InvalidBody("expected_revision must be 0 or more", field="expected_revision")
    text = payload_json(payload)
    if len(text) * 4 > max_event_bytes and len(text.encode()) > max_event_bytes:
        raise TooLarge(
            f"the payload has {len(text.encode())} bytes, the limit is {max_event_bytes}",
            field="payload",
            limit=max_event_bytes,
        )
    return NewEvent(stream, event_type, text, event_id, source, expected_revision)


def check_input(given: EventInput, max_event_bytes: int) -> NewEvent:
    """Validate one event as a publisher sent it. Raises what `new_event` raises."""
    return new_event(
        given.stream,
        given.event_type,
        given.payload,
        event_id=given.event_id,
        source=given.source,
        expected_revision=given.expected_revision,
        max_event_bytes=max_event_bytes,
    )


def event_fields(event: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of an event to send, without those that are None, with an `event_id` and a source: the same for every try.

    Raises `InvalidBody` for a payload that is no object or that JSON cannot carry."""
    fields = {key: value for key, value in event.items() if value is not None}
    payload = fields.get("payload")
    if not isinstance(payload, Mapping):
        raise InvalidBody("payload must be an object", field="payload")
    fields["payload"] = msgspec.Raw(payload_json(dict(payload)).encode())
    return {"event_id": uuid7(), "source": source, **fields}


@lru_cache(maxsize=8192)  # publishers repeat themselves; a refusal is not remembered
def _check_names(stream: str, event_type: str, source: str) -> None:
    if not _NAME.match(stream):
        raise _bad_name("stream", "a name of 1 to 128 characters from A-Z a-z 0-9 . _ : -")
    kind, colon, rest = stream.partition(":")
    if not colon or not rest or not _KIND.match(kind):
        raise _bad_name("stream", "kind:id, with a kind of lower-case letters, digits and _")
    if not _NAME.match(event_type):
        raise _bad_name("event_type", "a name of 1 to 128 characters from A-Z a-z 0-9 . _ : -")
    if not _SOURCE.match(source):
        raise _bad_name("source", "1 to 256 printable ASCII characters without spaces, quotes and backslashes")


def _bad_name(field: str, rule: str) -> InvalidBody:
    return InvalidBody(f"{field} must be {rule}", field=field)


def payload_json(payload: dict[str, Any]) -> str:
    """The canonical JSON text of a payload: compact, one line, line separators and control characters escaped.

    Raises `InvalidBody` for values that JSON cannot carry everywhere: NaN, infinities, lone surrogates, integers over 64 bits,
    more than 64 levels."""
    try:
        encoded = msgspec.json.encode(payload)
    except (OverflowError, ValueError, TypeError, RecursionError) as error:
        raise InvalidBody(f"payload is not portable JSON: {error}", field="payload") from None
    text = encoded.decode()
    if (
        b"null" in encoded  # how NaN is written
        or encoded.count(b"{") + encoded.count(b"[") > MAX_NESTING
        or _LONG_NUMBER in encoded.translate(_DIGITS_AS_ZERO)
    ):
        _check_portable(payload, "payload", 1)
    if text.isascii() and "\x7f" not in text:
        return text
    return text.translate(_UNSAFE)


def is_same_json(one: str, other: str) -> bool:
    """Whether two JSON texts mean the same: the order of keys and the spelling of numbers (1, 1.0, 1e0) do not matter."""
    return one == other or _is_same_value(msgspec.json.decode(one), msgspec.json.decode(other))


def _is_same_value(one: Any, other: Any) -> bool:
    """Equal as JSON: Python's == but for true and 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same_value(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same_value, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _check_portable(value: Any, path: str, depth: int) -> None:
    """Walk a value whose text looks suspicious; the path of the first fault is the error's field."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidBody("NaN and infinities are not JSON", field=path)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise InvalidBody("integers must fit 64 bits", field=path)
    if isinstance(value, dict | list | tuple):
        if depth > MAX_NESTING:
            raise InvalidBody(f"nested deeper than {MAX_NESTING} levels", field="payload", limit=MAX_NESTING)
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            _check_portable(item, f"{path}.{key}"[:128], depth + 1)


def parse_json(raw: bytes, decoder: msgspec.json.Decoder[T], *, field: str = "body") -> T:
    """Decode untrusted JSON. Raises `InvalidRequest` for text that is not JSON and `InvalidBody` for the wrong shape.

    Refuses NaN, a byte order mark, invalid UTF-8, lone surrogates and extreme nesting; `payload_json` refuses the rest."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        name = path.rstrip("`").lstrip(".") or _unknown_field(message) or field
        raise InvalidBody(message[:300], field=name[:128]) from None  # both may quote megabytes of input
    except UnicodeDecodeError:
        raise InvalidRequest("JSON must be valid UTF-8", field=field) from None
    except RecursionError:
        raise InvalidRequest(f"JSON is nested deeper than {MAX_NESTING} levels", field=field, limit=MAX_NESTING) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"not valid JSON: {error}", field=field) from None


def _unknown_field(message: str) -> str | None:
    found = re.search(r"unknown field `([^`]{1,128})`|required field `([^`]{1,128})`", message)
    return (found[1] or found[2]) if found else None


@lru_cache(maxsize=4096)
def matches(pattern: str, name: str) -> bool:
    """Whether a glob over names (`towow.*`, `demand:*`, `*`) matches; `*` is the only special character.

    No regular expression: the cost grows with the length of both alone, and a pattern need not be compiled."""
    first, *others = pattern.split("*")
    if not others or not name.startswith(first):
        return name == pattern
    *middle, last = others
    at = len(first)
    for part in middle:
        at = name.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return len(name) - at >= len(last) and name.endswith(last)


def check_glob(pattern: str, field: str) -> str:
    """Return the pattern, a name or the beginning of names and a star, or raise `InvalidRequest` naming the field."""
    if not _GLOB.match(pattern):
        raise InvalidRequest(
            f"{field} must be a name of 1 to 128 characters from A-Z a-z 0-9 . _ : -, or its beginning and a * at the end",
            field=field,
        )
    return pattern


def is_stream_name(name: str) -> bool:
    """Whether the text names one stream, `kind:id`."""
    kind, _, rest = name.partition(":")
    return bool(_NAME.match(name) and rest and _KIND.match(kind))


def is_id(text: str) -> bool:
    """Whether the text may be (part of) an id in a path: 1 to 128 characters from A-Z a-z 0-9 . _ : -."""
    return bool(_NAME.match(text))


def is_event_id(text: str) -> bool:
    """Whether the text may be an event_id: an id that is no cursor."""
    return bool(_NAME.match(text)) and not _CURSOR.match(text)


def kind_of(stream: str) -> str:
    """The kind of a stream name: `demand` of `demand:d-1f2e`."""
    return stream.partition(":")[0]


_second: tuple[int, str] = (-1, "")


def timestamp_of(now: float | None = None) -> str:
    """UTC ISO-8601 with milliseconds and `Z`, from seconds since 1970 (None: now). The seconds part is formatted once."""
    global _second
    milliseconds = int((time.time() if now is None else now) * 1000)
    second, rest = divmod(milliseconds, 1000)
    cached = _second  # read once: the writer's thread and the event loop share it
    if cached[0] != second:
        cached = _second = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return f"{cached[1]}.{rest:03d}Z"


def seconds_of(timestamp: str) -> float:
    """Seconds since 1970 of an event's timestamp; 0 for an empty one."""
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else 0.0


_random = random.Random()  # seeded by the system; ids must be unique, not secret  # noqa: S311


def uuid7(now: Callable[[], float] = time.time) -> str:
    """A UUIDv7 as text: time-ordered, because a random key costs three times the CPU and WAL.

    Within a millisecond the last 48 bits count up from a random place (RFC 9562, section 6.2, method 2)."""
    global _millisecond
    milliseconds = int(now() * 1000) & 0xFFFFFFFFFFFF
    cached = _millisecond  # read once: the writer's thread and the event loop share it, and a count never repeats
    if cached[0] != milliseconds:
        text, bits = f"{milliseconds:012x}", _random.getrandbits(26)
        prefix = f"{text[:8]}-{text[8:]}-{0x7000 | bits >> 14:04x}-{0x8000 | bits & 0x3FFF:04x}-"
        cached = _millisecond = (milliseconds, prefix, itertools.count(_random.getrandbits(47)))
    return f"{cached[1]}{next(cached[2]):012x}"


_millisecond: tuple[int, str, "itertools.count[int]"] = (-1, "", itertools.count())
