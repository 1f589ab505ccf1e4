"""The life of one follower: connect, read, resume; its only state is a position in the log.

Every event is handed out once and in order, whatever happens to the connections in between: repeated events are dropped by
seq, and a position that the server no longer knows is an error, never skipped. `sse_parser.py` reads the bytes,
`subscription.py` hands the events out."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

import aiohttp

from towow.errors import InvalidBody, TowowError, Unavailable
from towow.events import Event, split_cursor
from towow.responses import RETRYABLE_STATUSES, Unreachable, read_event, read_object, reset_error
from towow.sse_parser import Frame, SseParser
from towow.subscription import Subscription
from towow.transport import Transport

StateCallback = Callable[[str, dict[str, Any]], None]

SILENT_KEEPALIVES = 2.5  # of the server's keepalive periods without a byte: the connection is dead

_random = random.Random()  # spreads reconnects; nothing secret  # noqa: S311


class _LostError(Exception):
    """The connection is of no more use: come back after a backoff, or at once when that `is_planned`."""

    def __init__(self, reason: str, *, is_planned: bool = False, least_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_planned = is_planned
        self.least_seconds = least_seconds


class _EndedError(Exception):
    """Raised at the end of the stream."""

    def __init__(self, **detail: Any) -> None:
        super().__init__()
        self.detail = detail


class Position:
    """The place of a follower in the log: the query that continues there, and which events are new. Pure."""

    def __init__(self, since_seq: int | str | None, start: str | None, epoch: str | None) -> None:
        self.cursor: int | str | None = since_seq
        self.epoch = epoch
        self._start = start
        place = split_cursor(str(since_seq))
        self.last_seq = -1 if place is None else place[0]

    def parameters(self) -> list[tuple[str, str]]:
        """The query that continues here; `start` only as long as there is no cursor."""
        if self.cursor is None:
            return [("start", self._start)] if self._start is not None else []
        return [*cursor_parameters(self.cursor), *([("epoch", self.epoch)] if self.epoch is not None else [])]

    def advance(self, seq: int, cursor: str | None) -> bool:
        """Move to a place, by the cursor that the server gave for it; False when it was here before."""
        if seq <= self.last_seq:
            return False
        self.last_seq = seq
        self.cursor = cursor if cursor is not None else seq
        return True

    def at_head(self, head_seq: int, cursor: str | None, epoch: str) -> None:
        """All up to `head_seq` has been sent (`ready`): a follower that started live resumes here, not at a later head."""
        if not self.advance(head_seq, cursor) and head_seq == self.last_seq and cursor is not None:
            self.cursor = cursor  # a bare seq that was given is proved from now on
        self.epoch = epoch

    def restart(self, oldest_seq: int | None, epoch: str | None) -> None:
        """Continue at the oldest event kept, in the log that the server has now."""
        self.epoch = epoch
        self.cursor = self.last_seq = max((oldest_seq or 1) - 1, 0)


def follow(
    transport: Transport,
    parameters: Sequence[tuple[str, str]],
    *,
    path: str = "/api/events/stream",
    since_seq: int | str | None = None,
    start: str | None = None,
    epoch: str | None = None,
    continue_after_reset: bool = False,
    on_state: StateCallback | None = None,
    live: bool = True,
) -> Subscription[Event]:
    """The events of a route's stream; see `Client.follow`. It ends when the transport is closed."""
    following = _Following(transport, path, parameters, Position(since_seq, start, epoch), continue_after_reset, on_state, live)
    subscription = Subscription(following.batches())
    transport.subscriptions.add(subscription)
    return subscription


class _Following:
    """One follow, over as many connections as it takes."""

    def __init__(
        self,
        transport: Transport,
        path: str,
        parameters: Sequence[tuple[str, str]],
        position: Position,
        continue_after_reset: bool,
        on_state: StateCallback | None,
        live: bool,
    ) -> None:
        self._transport = transport
        self._path = path
        self._parameters = list(parameters)
        self._position = position
        self._continue_after_reset = continue_after_reset
        self._on_state = on_state
        self._live = live
        self._base_seconds = transport.retry.reconnect_seconds
        self._silence_seconds = transport.retry.silence_seconds
        self._failures = 0  # tries in a row that brought nothing
        self._came_with = position.cursor  # the cursor of the present connection's request
        self._has_been_ready = False

    async def batches(self) -> AsyncGenerator[Sequence[Event], None]:
        """The new events as they arrive, until the stream ends."""
        while True:
            try:
                self._came_with = self._position.cursor
                self._tell("connecting", since_seq=self._came_with)
                parameters = self._parameters + self._position.parameters()
                async with self._transport.stream(self._path, parameters) as response:
                    self._check(response)
                    parser = SseParser()
                    while True:
                        frames = parser.feed(await self._read(response))
                        if parser.retry_milliseconds is not None:
                            self._base_seconds = parser.retry_milliseconds / 1000
                        for batch in self._batches_of(frames):
                            yield batch
            except _EndedError as ended:
                self._tell("ended", **ended.detail)
                return
            except _LostError as lost:
                await self._pause(lost)
            except TowowError as error:
                if not _is_passing(error):
                    raise
                least = float(error.details.get("retry_after_seconds", 0))
                await self._pause(_LostError(error.message, least_seconds=least))

    def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 204:
            raise _EndedError(reason="ended", last_seq=self._position.last_seq)
        if response.content_type != "text/event-stream":
            reason = f"{self._transport.base_url} answers {response.content_type}, not an event stream"
            if self._has_been_ready:  # a proxy's page in between; at first contact it is the wrong URL
                raise _LostError(reason)
            raise Unavailable(f"{reason}; is this a ToWow server?", field="base_url")
        self._tell("connected", since_seq=self._position.cursor)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The next bytes; any are a sign of life. Raises `_LostError` at the end, after silence, and on a break."""
        try:
            async with asyncio.timeout(self._silence_seconds):
                chunk = await response.content.readany()
        except TimeoutError:
            raise _LostError(f"nothing came for {self._silence_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _LostError(f"the connection broke: {error or type(error).__name__}") from None
        if not chunk:
            raise _LostError("the server closed the connection")
        return chunk

    def _batches_of(self, frames: Sequence[Frame]) -> Iterator[list[Event]]:
        """The new events of frames; a control frame takes effect when the events before it have been handed out."""
        events: list[Event] = []
        for frame in frames:
            event = _readable_event(frame)
            if event is not None:
                self._failures = 0
                if self._position.advance(event.seq, frame.id):
                    events.append(event)
                continue
            if events:
                yield events
                events = []
            self._control(frame)
        if events:
            yield events

    def _control(self, frame: Frame) -> None:
        """Act on a frame that is not an event. Raises `_LostError` for one that cannot be read."""
        try:
            if frame.event in ("message", "ready", "reset", "rotate", "end", "damaged"):
                self._obey(frame.event, read_object(frame.data))
        except (InvalidBody, KeyError, TypeError, ValueError):
            raise _LostError("the server sent a frame that cannot be read") from None
        # keepalives, and control frames of later releases, need nothing

    def _obey(self, name: str, detail: dict[str, Any]) -> None:
        if name == "ready":
            self._position.at_head(int(detail["head_seq"]), detail.get("cursor"), str(detail["epoch"]))
            self._silence_seconds = SILENT_KEEPALIVES * float(detail["keepalive_seconds"])
            self._failures = 0
            self._has_been_ready = True
            self._tell("ready", **detail)
            if not self._live:
                raise _EndedError(reason="stored", last_seq=self._position.last_seq)
        elif name == "reset":
            if not self._continue_after_reset:
                raise reset_error(detail)
            self._tell("reset", **detail)
            if detail["reason"] != "trimmed":  # else what is kept after this place follows
                self._position.restart(detail["oldest_seq"], detail["epoch"])
        elif name == "damaged":  # the event at `seq` is not sent; what comes after it is
            self._tell("damaged", **detail)
        elif name == "rotate":
            self._position.advance(int(detail["next_since_seq"]), detail.get("next_cursor"))
            # A server that rotates without having sent anything is not visited again without a pause.
            has_moved = self._position.cursor != self._came_with
            raise _LostError("the server rotates connections", is_planned=has_moved)
        elif name == "message":
            raise InvalidBody("an event without its fields")
        elif detail["reason"] in ("shutdown", "capacity"):
            raise _LostError(f"the server ended the stream: {detail['reason']}")
        else:
            raise _EndedError(**detail)

    async def _pause(self, lost: _LostError) -> None:
        """Wait before the next try: full jitter, doubling from the server's `retry:`, at least its Retry-After."""
        seconds = 0.0
        if not lost.is_planned:
            ceiling = min(self._transport.retry.longest_reconnect_seconds, self._base_seconds * 2 ** min(self._failures, 16))
            seconds = max(_random.uniform(0, ceiling), lost.least_seconds)
            self._failures += 1
        self._tell("reconnecting", reason=lost.reason, wait_seconds=seconds, since_seq=self._position.cursor)
        await asyncio.sleep(seconds)

    def _tell(self, state: str, **detail: Any) -> None:
        if self._on_state is not None:
            self._on_state(state, detail)


def _readable_event(frame: Frame) -> Event | None:
    """The event of a frame, with the check of its id; None for control frames and for unreadable data."""
    try:
        event = read_event(frame.data) if frame.event == "message" else None
    except InvalidBody:
        return None
    if event is not None and frame.id is not None:
        event.known_check = frame.id.partition(".")[2]
    return event


def cursor_parameters(cursor: int | str | None) -> list[tuple[str, str]]:
    """The query that names a cursor; empty for None."""
    if cursor is None:
        return []
    return [("last_event_id" if split_cursor(str(cursor)) is None else "since_seq", str(cursor))]


def _is_passing(error: TowowError) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, Unreachable):
        return True
    status = error.details.get("status", 0)
    return status in RETRYABLE_STATUSES or status > 500
