"""Source 001's channels and messages, as streams and events: names and shapes, both ways. Pure.

`sse:session:{session_name}` is the stream `session:{session_name}`, `sse:agent:{agent_id}` an operator's,
`operator:{agent_id}`, and `sse:broadcast` is `broadcast:all`; a target without the prefix is a session's name. A name cannot
forge a channel, because it has no colon."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from towow.errors import InvalidRequest
from towow.events import Event, is_id

DEFAULT_PREFIX = "sse:"
DEFAULT_TYPE = "message"  # of a message that does not say its own
DEFAULT_SOURCE = "unknown"
BROADCAST = "broadcast:all"

_KINDS = {"session": "session", "agent": "operator"}  # of channels, and of streams
_NAME = re.compile(r"[A-Za-z0-9._-]+\Z")
_ENVELOPE = frozenset({"type", "payload", "timestamp", "source", "seq", "event_id", "revision", "stream"})


class Content(NamedTuple):
    """What an event has of a message."""

    event_type: str
    payload: dict[str, Any]
    source: str


def stream_of(target: str, prefix: str = DEFAULT_PREFIX, *, allow_pattern: bool = False) -> str:
    """The stream of a channel, or of a session by its name; `sse:session:*` and `sse:agent:*` only where a pattern is allowed.

    Raises `InvalidRequest` (`target`) for anything else, and for what would be longer than the 128 characters of a stream."""
    channel = target.removeprefix(prefix) if target.startswith(prefix) else None
    stream = None
    if channel == "broadcast":
        stream = BROADCAST
    elif channel is not None:
        kind, _, name = channel.partition(":")
        if kind in _KINDS and (_NAME.match(name) or (allow_pattern and name == "*")):
            stream = f"{_KINDS[kind]}:{name}"
    if stream is None and _NAME.match(target):
        stream = f"session:{target}"
    if stream is None or len(stream) > 128:
        raise InvalidRequest(
            f"the target must be a session's name, {prefix}session:NAME, {prefix}agent:ID or {prefix}broadcast,"
            f" not {target[:140]!r}",
            field="target",
        )
    return stream


def content_of(message: Mapping[str, Any]) -> Content:
    """What to store of a message `{type, payload, timestamp?, source?}`; the time is the log's own.

    Anything else is stored whole, as the payload of an event of its `type`, or of type "message"."""
    event_type, payload, source = message.get("type"), message.get("payload"), message.get("source")
    source = source if isinstance(source, str) and source else DEFAULT_SOURCE
    has_type = isinstance(event_type, str) and is_id(event_type)
    if has_type and isinstance(payload, Mapping) and message.keys() <= _ENVELOPE:
        return Content(str(event_type), dict(payload), source)
    return Content(str(event_type) if has_type else DEFAULT_TYPE, dict(message), source)


def message_of(event: Event) -> dict[str, Any]:
    """The message of an event: `{type, payload, timestamp, source, seq, event_id, revision, stream}`.

    `timestamp` is in whole seconds since 1970; `seq` is a cursor, `revision` counts in the `stream`."""
    return {
        "type": event.event_type,
        "payload": event.payload,
        "timestamp": int(datetime.fromisoformat(event.timestamp).timestamp()),
        "source": event.source,
        "seq": event.seq,
        "event_id": event.event_id,
        "revision": event.revision,
        "stream": event.stream,
    }
