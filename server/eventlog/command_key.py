"""`Idempotency-Key`: what makes a command that is sent again the same command, on every route.

The key becomes the id of the command's first event: `key-`, the SHA-256 of principal, route and key, and a fingerprint of the
body. So it is remembered with that event, in its transaction and as long as it is kept, and only after a success. Ids that a
route would choose at random (of a new demand, run or message) come from the key, so that its event is found again."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import msgspec

from server.eventlog.log import EventLog
from server.eventlog.rows import read_events
from towow.errors import IdempotencyKeyReused
from towow.events import Event, NewEvent

_FINGERPRINT_DIGITS = 16


class CommandKey(NamedTuple):
    """The key of a command: hexadecimal digests of principal, route and key, and of the body."""

    digest: str
    body: str

    @property
    def event_id(self) -> str:
        """The id of the command's first event."""
        return f"key-{self.digest}-{self.body}"

    def with_body(self, body: bytes) -> "CommandKey":
        """The key of a command with this body. What JSON takes for the same, order and spelling apart, is the same."""
        return self._replace(body=hashlib.sha256(_canonical(body)).hexdigest()[:_FINGERPRINT_DIGITS])


# The key of the command that this task carries out; None without one.
KEY: ContextVar[CommandKey | None] = ContextVar("key", default=None)


@contextmanager
def without_key() -> Iterator[None]:
    """What is done inside is not the command that the task carries out."""
    token = KEY.set(None)
    try:
        yield
    finally:
        KEY.reset(token)


def key_of(principal: str, route: str, key: str) -> CommandKey:
    """The key of a command without a body."""
    named = "\n".join((principal, route, key)).encode()
    return CommandKey(hashlib.sha256(named).hexdigest(), "").with_body(b"")


def chosen(purpose: str, digits: int) -> str | None:
    """Hexadecimal digits for an id that a route would choose at random, the same for the same key; None without a key."""
    key = KEY.get()
    return None if key is None else hashlib.sha256(f"{key.digest} {purpose}".encode()).hexdigest()[:digits]


def stamped(events: Sequence[NewEvent]) -> list[NewEvent]:
    """The events of the task's command, each with an id of its key where nobody chose one."""
    key = KEY.get()
    if key is None or not events:
        return list(events)
    ids = [key.event_id, *(f"{key.event_id}.{n}" for n in range(1, len(events)))]
    return [
        event if event.event_id is not None else msgspec.structs.replace(event, event_id=event_id)
        for event, event_id in zip(events, ids, strict=True)
    ]


async def carried_out(log: EventLog, stream: str) -> list[Event]:
    """The events of the task's command when it has been carried out before, in order; empty otherwise.

    Raises `IdempotencyKeyReused` when it was another command: with another body."""
    key = KEY.get()
    if key is None:
        return []
    events = await log.query(partial(_read, stream=stream, key=key))
    if any(event.event_id.partition(".")[0] != key.event_id for event in events):
        seq = min(event.seq for event in events)
        raise IdempotencyKeyReused("this Idempotency-Key was used for another body", field="Idempotency-Key", seq=seq)
    return events


def _read(db: Any, stream: str, key: CommandKey) -> list[Event]:
    where = "WHERE stream = ? AND event_id >= ? AND event_id < ? AND event_id IS NOT NULL"
    found = read_events(db, where, (stream, f"key-{key.digest}-", f"key-{key.digest}."))
    return sorted(found, key=lambda event: event.seq)


def _canonical(body: bytes) -> bytes:
    try:
        return msgspec.json.encode(_plain(msgspec.json.decode(body)), order="deterministic")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body


def _plain(value: Any) -> Any:
    """The same JSON with whole numbers as integers."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
