"""Source 001's publish and subscribe by channel, with its names, on the durable log.

    await enqueue_sse_message("alice", {"type": "new_message", "payload": {"role": "bot", "content": "hello"}})
    async for message in subscribe_sse_events("alice"):
        print(message["type"], message["payload"])

The log is the broker, over HTTP (`init_redis_sse("http://…")`, or `TOWOW_SERVER` and `TOWOW_TOKEN`), or inside the server's
process (`init_redis_sse(LogBackend(log))`, see `server/streaming/embedded.py`). So a message is on disk when `publish` returns,
every subscriber gets every message, and a late subscriber of a session gets all of it. There is no second, volatile path: a
message that cannot be stored raises.

`sse:session:{session_name}` is the stream `session:{session_name}`, `sse:agent:{agent_id}` an operator's,
`operator:{agent_id}`, and `sse:broadcast` is `broadcast:all`; a target without the prefix is a session's name. A name cannot
forge a channel, because it has no colon.

`REDIS_SSE_CHANNEL_PREFIX` (default `sse:`) is how channels begin; `USE_REDIS_SSE` is accepted and without effect. Both names
are the source's, where Redis was the broker. The environment is read when a manager is made. Messages published here are
stored as they are: the copies for operators come with the hand-over of `sessions.py`."""

import contextlib
import os
import re
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from towow.client import Client
from towow.errors import InvalidRequest, TowowError
from towow.events import Event, is_id
from towow.subscription import Subscription

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_PREFIX = "sse:"
DEFAULT_TYPE = "message"  # of a message without a type
DEFAULT_SOURCE = "unknown"
BROADCAST = "broadcast:all"

_KINDS = {"session": "session", "agent": "operator"}  # of channels, and of streams
_NAME = re.compile(r"[A-Za-z0-9._-]+\Z")
_ENVELOPE = frozenset({"type", "payload", "timestamp", "source", "seq", "event_id", "revision", "stream", "cursor"})


class Content(NamedTuple):
    """The part of a message that an event stores."""

    event_type: str
    payload: dict[str, Any]
    source: str


def stream_of(target: str, prefix: str = DEFAULT_PREFIX, *, allow_pattern: bool = False) -> str:
    """The stream of a channel, or of a session by its name; `sse:session:*` and `sse:agent:*` only where a pattern is allowed.

    Raises `InvalidRequest` (`target`) for anything else, and for a name that would exceed the 128 characters of a stream."""
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
    """The part of a message `{type, payload, timestamp?, source?}` to store; the time is the log's own.

    Anything else is stored whole, as the payload of an event of its `type`, or of type "message"."""
    event_type, payload, source = message.get("type"), message.get("payload"), message.get("source")
    source = source if isinstance(source, str) and source else DEFAULT_SOURCE
    has_type = isinstance(event_type, str) and is_id(event_type)
    if has_type and isinstance(payload, Mapping) and message.keys() <= _ENVELOPE:
        return Content(str(event_type), dict(payload), source)
    return Content(str(event_type) if has_type else DEFAULT_TYPE, dict(message), source)


def message_of(event: Event) -> dict[str, Any]:
    """The message of an event: `{type, payload, timestamp, source, seq, event_id, revision, stream, cursor}`.

    `timestamp` is in whole seconds since 1970; `revision` counts in the `stream`; `cursor` is the place after it."""
    return {
        "type": event.event_type,
        "payload": event.payload,
        "timestamp": int(datetime.fromisoformat(event.timestamp).timestamp()),
        "source": event.source,
        "seq": event.seq,
        "event_id": event.event_id,
        "revision": event.revision,
        "stream": event.stream,
        "cursor": event.cursor,
    }


Events = AsyncGenerator[Event, None] | Subscription[Event]


class Backend(Protocol):
    """A log with the streams of the channels."""

    async def connect(self) -> None:
        """Open the connections; safe to call again."""

    async def close(self) -> None:
        """Close the connections."""

    async def publish(self, stream: str, content: Content) -> int:
        """Store an event and return its seq."""

    def follow(self, stream: str, since_seq: int | str | None) -> Events:
        """Every event after a cursor, then live."""

    async def is_well(self) -> bool:
        """Whether an event could be stored now."""


class HttpBackend:
    """The channels of the server at a URL."""

    def __init__(self, url: str, token: str | None) -> None:
        self._client = Client(url, token=token)

    async def connect(self) -> None:
        """Open the client; the server may come later."""
        await self._client.__aenter__()

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def publish(self, stream: str, content: Content) -> int:
        """Append an event and return its seq; it is tried again through a restart of the server, and stored once."""
        return (await self._client.append(stream, content.event_type, content.payload, source=content.source)).seq

    def follow(self, stream: str, since_seq: int | str | None) -> Events:
        """Every event after a cursor; without one a session from its beginning, other streams from the moment of connection."""
        return self._client.follow(stream, since_seq=since_seq, allow_pending=True)

    async def is_well(self) -> bool:
        """Whether the server answers and could write just now."""
        try:
            await self._client.health()  # raises, too, when the server cannot write
        except TowowError:
            return False
        return True


class SseManager:
    """Channels of one server: of a `Backend` in this process, or at a URL. Use it from one event loop.

    It connects by itself at the first use; connections that break are opened again. `prefix` and `token` None are read from
    the environment."""

    def __init__(
        self, backend_or_url: Backend | str | None = None, *, prefix: str | None = None, token: str | None = None
    ) -> None:
        environment = os.environ
        self.prefix = environment.get("REDIS_SSE_CHANNEL_PREFIX", DEFAULT_PREFIX) if prefix is None else prefix
        self._backend: Backend
        self._is_connected = False
        if backend_or_url is None or isinstance(backend_or_url, str):
            token = environment.get("TOWOW_TOKEN") if token is None else token
            self._backend = HttpBackend(backend_or_url or environment.get("TOWOW_SERVER", DEFAULT_URL), token or None)
        else:
            self._backend = backend_or_url
            self._is_connected = True  # so a subscription begins with the call that makes it
        self._is_closed = False
        self._subscriptions: weakref.WeakSet[Subscription[dict[str, Any]]] = weakref.WeakSet()

    async def connect(self) -> None:
        """Make ready to publish and subscribe; safe to call again. A remote server may come later."""
        if self._is_closed:
            raise RuntimeError("the manager is closed")
        if not self._is_connected:
            self._is_connected = True
            await self._backend.connect()

    async def close(self) -> None:
        """End every subscription and close the connections, for good; safe to call again."""
        self._is_closed = True
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        if self._is_connected:
            self._is_connected = False
            await self._backend.close()

    async def publish(self, channel: str, message: Mapping[str, Any]) -> int:
        """Store a message and return its seq; it is on disk then, and on its way to every subscriber.

        Raises `InvalidRequest` (the channel), `InvalidBody` or `TooLarge` (the message), `StreamEnded` (a closed session),
        `StorageFull`, `Unavailable`; nothing was stored then, or with the last it is unknown."""
        stream = stream_of(channel, self.prefix)
        await self.connect()
        return await self._backend.publish(stream, content_of(message))

    def subscribe(self, channel: str, *, since_seq: int | str | None = None) -> Subscription[dict[str, Any]]:
        """The messages of a channel after a cursor (exclusive), as `{type, payload, timestamp, source, seq, …}`, then live.

        Without a cursor a session from its beginning, an operator's channel, the broadcasts and patterns (`sse:session:*`)
        live. A session may be subscribed to before its first message. Raises `InvalidRequest`."""
        stream = stream_of(channel, self.prefix, allow_pattern=True)
        events = self._backend.follow(stream, since_seq) if self._is_connected else None
        subscription = Subscription(self._messages(events, stream, since_seq))
        self._subscriptions.add(subscription)
        return subscription

    async def health_check(self) -> bool:
        """Whether a message could be stored now; never raises for an absent server."""
        await self.connect()
        return await self._backend.is_well()

    async def _messages(
        self, events: Events | None, stream: str, since_seq: int | str | None
    ) -> AsyncGenerator[Sequence[dict[str, Any]], None]:
        if events is None:
            await self.connect()
            events = self._backend.follow(stream, since_seq)
        async with contextlib.aclosing(events):
            async for event in events:
                yield (message_of(event),)


_manager: SseManager | None = None


def init_redis_sse(backend_or_url: Backend | str | None = None) -> SseManager:
    """Make the manager of this process, which connects at its first use; `shutdown_redis_sse` ends the one before."""
    global _manager
    _manager = SseManager(backend_or_url)
    return _manager


def get_redis_sse_manager() -> SseManager:
    """The manager of this process; made at the first call, for the server that the environment names."""
    return init_redis_sse() if _manager is None else _manager


async def shutdown_redis_sse() -> None:
    """Close the manager of this process, its subscriptions with it; the next use makes a new one. Safe to call again."""
    global _manager
    manager, _manager = _manager, None
    if manager is not None:
        await manager.close()


async def enqueue_sse_message(target: str, payload: Mapping[str, Any]) -> int:
    """Send a message `{type, payload, source?}` to a session by its name, or to a channel; see `SseManager.publish`."""
    return await get_redis_sse_manager().publish(target, payload)


def subscribe_sse_events(target: str, *, since_seq: int | str | None = None) -> Subscription[dict[str, Any]]:
    """Iterate over the messages of a session by its name, or of a channel; see `SseManager.subscribe`."""
    return get_redis_sse_manager().subscribe(target, since_seq=since_seq)
