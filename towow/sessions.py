"""Source 001's publish and subscribe by channel, with its names, on the durable log.

    await enqueue_sse_message("alice", {"type": "new_message", "payload": {"role": "bot", "content": "hello"}})
    async for message in subscribe_sse_events("alice"):
        print(message["type"], message["payload"])

The log is the broker, over HTTP (`init_redis_sse("http://…")`, or `TOWOW_SERVER` and `TOWOW_TOKEN`), or inside the server's
process (`init_redis_sse(LogBackend(log))`, see `server/streaming/embedded.py`). So a message is on disk when its publisher goes
on, every subscriber gets every message, and a late subscriber of a session gets all of it. There is no second, volatile way to
fall back to: what cannot be stored raises.

`REDIS_SSE_CHANNEL_PREFIX` (default `sse:`) is how channels begin; `USE_REDIS_SSE` is accepted and without effect. Both names
are of the source, where Redis was the broker. The environment is read when a manager is made. Messages published here are
stored as they are: the copies for operators come with the hand-over over `/api/sessions` and `/api/manual`."""

import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from towow.channels import DEFAULT_PREFIX, Content, content_of, stream_of
from towow.channels_http import HttpBackend
from towow.events import Event
from towow.subscription import Subscription

DEFAULT_URL = "http://127.0.0.1:8000"


class Backend(Protocol):
    """Where the streams are."""

    async def connect(self) -> None:
        """Open what is needed; safe to call again."""

    async def close(self) -> None:
        """Close what was opened."""

    async def publish(self, stream: str, content: Content) -> int:
        """Store an event and return its seq."""

    def follow(self, stream: str, since_seq: int | None) -> AsyncGenerator[Event, None]:
        """Every event after a cursor, then live."""

    async def is_well(self) -> bool:
        """Whether an event could be stored now."""


class SseManager:
    """Channels of one server: of a `Backend` in this process, or at a URL. Use it from one event loop.

    It connects by itself at the first use; connections that break are opened again. `prefix` and `token` None ask the
    environment."""

    def __init__(
        self, backend_or_url: "Backend | str | None" = None, *, prefix: str | None = None, token: str | None = None
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
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()

    async def connect(self) -> None:
        """Make ready to publish and subscribe; safe to call again. A server elsewhere need not be there yet."""
        if self._is_closed:
            raise RuntimeError("the manager is closed")
        if not self._is_connected:
            self._is_connected = True
            await self._backend.connect()

    async def close(self) -> None:
        """End every subscription and close what was opened, for good; safe to call again."""
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

    def subscribe(self, channel: str, *, since_seq: int | None = None) -> Subscription:
        """The messages of a channel after a cursor (exclusive), as `{type, payload, timestamp, source, seq, …}`, then live.

        Without a cursor a session from its beginning, an operator's channel, the broadcasts and patterns (`sse:session:*`)
        live. A session may be subscribed to before its first message. Raises `InvalidRequest`."""
        stream = stream_of(channel, self.prefix, allow_pattern=True)
        subscription = Subscription(self._events(stream, since_seq))
        self._subscriptions.add(subscription)
        return subscription

    async def health_check(self) -> bool:
        """Whether a message could be stored now; never raises for a server that is not there."""
        await self.connect()
        return await self._backend.is_well()

    def _events(self, stream: str, since_seq: int | None) -> AsyncGenerator[Event, None]:
        if self._is_connected:
            return self._backend.follow(stream, since_seq)
        return self._connected_events(stream, since_seq)

    async def _connected_events(self, stream: str, since_seq: int | None) -> AsyncGenerator[Event, None]:
        await self.connect()
        async with contextlib.aclosing(self._backend.follow(stream, since_seq)) as events:
            async for event in events:
                yield event


_manager: SseManager | None = None


def init_redis_sse(backend_or_url: "Backend | str | None" = None) -> SseManager:
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


def subscribe_sse_events(target: str, *, since_seq: int | None = None) -> Subscription:
    """Iterate over the messages of a session by its name, or of a channel; see `SseManager.subscribe`."""
    return get_redis_sse_manager().subscribe(target, since_seq=since_seq)
