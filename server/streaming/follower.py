"""The follower: one reader's cursor, moved through the log and then kept live by the hub.

It has two modes. Catching up, it reads pages (from the hub's tail or the file) and awaits the socket after each. Live, it
sleeps while the hub writes to its socket. Going live is one comparison without an await: cursor == dispatched_seq. So there
is no gap and no double, whatever is appended meanwhile, and no queue: what is not written yet is in the log."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog

from server.eventlog.hub import NEVER, BatchPolicy, Encoding, Group, Watcher
from server.eventlog.log import EventLog
from server.eventlog.selection import Selection, select
from server.streaming.cursor import StartPosition, trimmed_reset
from server.streaming.keepalive import KeepaliveTimer
from towow.errors import Behind, Damaged
from towow.events import Event

_EVERYTHING = select(("*", "system:*"))
_PROBE_SECONDS = (0.02, 0.2, 2.0)  # a round trip nearby, in a country, and around the world
_logger = structlog.get_logger("towow.follower")


class Wire(Encoding, Protocol):
    """An encoding that also says what is not an event. Every method returns whole frames, not yet wrapped."""

    def control(self, name: str, fields: dict[str, Any], retry_milliseconds: int | None = None) -> bytes:
        """A control frame."""

    def first(self, retry_milliseconds: int) -> bytes:
        """What stands before the first frame of a connection (the retry hint), or nothing."""

    def keepalive(self, timestamp: float) -> bytes:
        """A frame that is no event and keeps the connection open."""


class Socket(Protocol):
    """The part of an asyncio transport that a follower uses."""

    def write(self, data: bytes) -> None:
        """Take bytes now."""

    def get_write_buffer_size(self) -> int:
        """Bytes not yet taken by the kernel."""

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""

    def abort(self) -> None:
        """Drop the connection with what is not sent."""


class ConnectionSettings(NamedTuple):
    """What rules one connection: the timer of its keepalives, seconds, milliseconds and a count; `max_events` 0 never rotates.

    With a `batch_policy` live events wait for each other; what is read from the log does not."""

    keepalive_seconds: float
    timer: KeepaliveTimer
    send_timeout_seconds: float
    retry_milliseconds: int
    max_events: int = 0
    batch_policy: BatchPolicy | None = None


class Ended(Enum):
    """Why a follower returned."""

    TERMINAL = "terminal"
    ROTATED = "rotated"
    STOPPED = "stopped"
    STALLED = "stalled"


class Follower:
    """One connection's place in the log. `run` returns when the stream is over for this connection; cancel it to leave."""

    __slots__ = (
        "_cursor",
        "_drain",
        "_end",
        "_ended",
        "_group",
        "_has_written",
        "_is_gone",
        "_joined_bytes",
        "_joined_events",
        "_log",
        "_reset",
        "_selection",
        "_socket",
        "_timing",
        "_trimmed_seq",
        "_wake",
        "_wire",
        "_written_at",
        "buffered",
        "rotate_at",
        "sent_bytes",
        "sent_events",
        "slot",
        "write",
    )

    def __init__(
        self,
        log: EventLog,
        selection: Selection,
        start: StartPosition,
        wire: Wire,
        socket: Socket,
        drain: Callable[[], Awaitable[None]],
        timing: ConnectionSettings,
    ) -> None:
        self.write: Callable[[bytes], None] = socket.write
        self.buffered = socket.get_write_buffer_size
        self.rotate_at = NEVER
        self.sent_events = 0
        self.sent_bytes = 0
        self._log = log
        self._selection = selection
        self._cursor = start.cursor
        self._reset = start.reset
        self._is_gone = start.is_gone  # the stream has ended, and nothing of it is kept
        self._trimmed_seq = start.trimmed_seq  # what is missing up to here was said
        self._wire = wire
        self._socket = socket
        self._drain = drain
        self._timing = timing
        self.slot = 0
        self._group: Group | None = None
        self._joined_events = 0
        self._joined_bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._written_at = log.hub.clock()
        self._has_written = False
        self._end: tuple[str, dict[str, Any], int | None] | None = None
        self._ended = Ended.STOPPED

    async def run(self) -> Ended:
        """Replay, say `ready`, stay live, fall back and catch up as often as needed, and say why it ends."""
        self._timing.timer.add(self)
        try:
            if self._reset is not None:
                self._send(self._wire.control("reset", self._reset))
                self._reset = None
            is_ready = False
            while self._end is None:
                self._group = self._log.hub.join(self, self._selection, self._wire, self._cursor, self._timing.batch_policy)
                if self._group is None:
                    await self._catch_up()
                    continue
                self._joined_events, self._joined_bytes = self._group.events_total, self._group.bytes_total
                self._limit_share(self._group)
                if not is_ready:
                    is_ready = True
                    self._say_ready()
                if self._is_gone:
                    self._finish(Ended.TERMINAL, "end", {"reason": "trimmed", "last_seq": self._trimmed_seq})
                    continue
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            name, fields, retry = self._end
            if self._ended is Ended.STOPPED:
                fields["last_seq"] = self._written_through()
            elif self._ended is Ended.ROTATED:
                fields["next_cursor"] = await self._log.cursor_at(self._cursor)
            self._send(self._wire.control(name, fields, retry))
        except TimeoutError:
            self._ended = Ended.STALLED
            self._socket.abort()
        finally:
            self._leave()
            self._timing.timer.remove(self)
        return self._ended

    def stop(self, reason: str, retry_milliseconds: int | None = None) -> None:
        """End the stream from outside with `event: end`: shutting down, no capacity, or the peer said goodbye."""
        fields: dict[str, Any] = {"reason": reason, "last_seq": 0}  # known when it is sent: a page may be on its way
        if retry_milliseconds is not None:
            fields["retry_milliseconds"] = retry_milliseconds  # a script cannot read the retry line of an EventSource
        self._finish(Ended.STOPPED, "end", fields, retry_milliseconds)

    def fall_back(self, cursor: int) -> None:
        """The hub's word that this socket is full: go on from `cursor` by reading."""
        self._take_totals()
        self._cursor = cursor
        self._rouse()

    def finish(self, event: Event) -> None:
        """The hub's word that the stream has ended with this event."""
        self._take_totals()
        self._cursor = event.seq
        self._finish(Ended.TERMINAL, "end", {"reason": event.event_type, "last_seq": event.seq})

    def rotate(self, cursor: int) -> None:
        """The hub's word that this connection has had its share."""
        self._take_totals()
        self._cursor = cursor
        self._finish(Ended.ROTATED, "rotate", {"next_since_seq": cursor})

    def silent_since(self) -> float:
        """When the last byte was written on this connection, by itself or with its group."""
        return self._written_at if self._group is None else max(self._written_at, self._group.written_at)

    def keep_alive(self) -> None:
        """Write a keepalive, unless older bytes are still waiting to be sent."""
        if self._has_written and self.buffered() == 0:
            with contextlib.suppress(ConnectionError):
                self._send(self._wire.keepalive(self._log.clock()))

    def probe(self, waits: Sequence[float] = _PROBE_SECONDS) -> None:
        """Write keepalives soon after each other: the second one meets the RST of a peer that has left, if it has."""
        if self._end is None and not self._socket.is_closing():
            self.keep_alive()
            if waits:
                asyncio.get_running_loop().call_later(waits[0], self.probe, waits[1:])

    async def _catch_up(self) -> None:
        """Send one page and wait for the socket to take it. Raises `TimeoutError` when it does not."""
        if self.buffered() > self._log.hub.max_buffer_bytes:
            async with asyncio.timeout(self._timing.send_timeout_seconds):
                await self._drain()
        share = self._timing.max_events - self.sent_events if self._timing.max_events else 1000
        if share <= 0:
            self._finish(Ended.ROTATED, "rotate", {"next_since_seq": self._cursor})
            return
        name = self._selection.single
        # A terminal event ends the stream even for a reader whose types leave it out.
        selection = self._selection if name is None else self._selection._replace(types=())
        try:
            page = await self._log.read(selection, self._cursor, limit=min(share, 1000))
        except Damaged as error:
            if not error.seq:  # not even its place can be read, so nothing after it can
                self._finish(Ended.STOPPED, "end", {"reason": error.code, "last_seq": self._cursor})
                return
            self._send(self._wire.control("damaged", {"seq": error.seq, "message": error.message}))
            self._cursor = error.seq
            return
        if page.trimmed_seq > max(self._cursor, self._trimmed_seq):  # retention was faster than this reader
            self._trimmed_seq = page.trimmed_seq
            self._send(self._wire.control("reset", trimmed_reset(self._log, self._cursor, page.trimmed_seq)))
            self._is_gone = name is not None and not page.events and await self._is_all_gone(name)
        wanted = [event for event in page.events if self._selection.wants_type(event.event_type)]
        if wanted:
            self._send(b"".join([self._wire.event(event) for event in wanted]), len(wanted))
        self._cursor = page.through_seq
        if page.events and name is not None:
            last = page.events[-1]
            if self._log.is_terminal(last.stream, last.event_type):
                self._finish(Ended.TERMINAL, "end", {"reason": last.event_type, "last_seq": last.seq})

    async def _is_all_gone(self, name: str) -> bool:
        """Whether a stream has ended and retention has removed all of it."""
        info = await self._log.stream(name)
        return info is not None and not info.kept and self._log.is_terminal(name, info.last_event_type)

    def _say_ready(self) -> None:
        self._send(
            self._wire.control(
                "ready",
                {
                    "head_seq": self._cursor,
                    "cursor": self._log.head_cursor,  # `join` has compared: the head is where this reader is
                    "epoch": self._log.epoch,
                    "replayed": self.sent_events,
                    "keepalive_seconds": self._timing.keepalive_seconds,
                },
            )
        )

    def _send(self, frames: bytes, event_count: int = 0) -> None:
        if not self._has_written:
            self._has_written = True
            frames = self._wire.first(jittered(self._timing.retry_milliseconds)) + frames
        data = self._wire.wrap(frames)
        try:
            self._socket.write(data)
        except RuntimeError:  # uvloop: the peer has left and the handler is not cancelled yet
            raise ConnectionResetError("the client has left") from None
        self._written_at = self._log.hub.clock()
        self.sent_events += event_count
        self.sent_bytes += len(data)

    def _limit_share(self, group: Group) -> None:
        if self._timing.max_events:
            self.rotate_at = group.events_total + self._timing.max_events - self.sent_events
            group.rotate_at = min(group.rotate_at, self.rotate_at)

    def _written_through(self) -> int:
        """The seq up to which everything has been written, once that is so."""
        if self._group is not None:
            self._log.hub.flush(self._group)
        return self._log.head_seq if self._group is not None else self._cursor

    def _finish(self, ended: Ended, name: str, fields: dict[str, Any], retry: int | None = None) -> None:
        if self._end is None:
            self._ended = ended
            self._end = (name, fields, retry)
        self._rouse()

    def _take_totals(self) -> None:
        """Add what the group wrote while this connection was a member, and when it did."""
        self._written_at = self.silent_since()
        group, self._group = self._group, None
        if group is not None:
            self.sent_events += group.events_total - self._joined_events
            self.sent_bytes += group.bytes_total - self._joined_bytes

    def _leave(self) -> None:
        group = self._group
        if group is not None:
            self._take_totals()
            self._log.hub.leave(self, group)

    def _rouse(self) -> None:
        if self._wake is not None:
            _rouse(self._wake)


def jittered(milliseconds: int) -> int:
    """A time between half and one and a half of the given one: readers that were cut at once do not come back at once."""
    return random.randint(milliseconds // 2, milliseconds * 3 // 2)  # noqa: S311 - nothing secret


def _rouse(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class Followers:
    """Every connection that follows, live or catching up, so that a shutdown reaches all of them."""

    def __init__(self) -> None:
        self._all: dict[Follower, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, follower: Follower) -> None:
        """Count a follower that is about to run."""
        self._all[follower] = None

    def remove(self, follower: Follower) -> None:
        """Forget one that has returned."""
        self._all.pop(follower, None)

    def stop_all(self, retry_milliseconds: int) -> None:
        """End every stream for the shutdown, each with a reconnect hint of one to three times `retry_milliseconds`."""
        for follower in list(self._all):
            follower.stop("shutdown", random.randint(retry_milliseconds, 3 * retry_milliseconds))  # noqa: S311 - jitter


async def events_after(log: EventLog, selection: Selection, cursor: int) -> AsyncIterator[Event]:
    """Follow inside the process: every matching event after a cursor (exclusive), for ever. Close the iterator to stop."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            page = await log.read(selection, cursor)
        except Damaged as error:
            if not error.seq:
                raise
            _logger.critical("event_damaged", seq=error.seq)
            cursor = error.seq
            continue
        for event in page.events:
            yield event
        cursor = page.through_seq
        woken: asyncio.Future[None] = loop.create_future()
        watcher = Watcher(partial(_rouse, woken))
        group = log.hub.join(watcher, selection, None, cursor)
        if group is not None:
            try:
                await woken
            finally:
                log.hub.leave(watcher, group)
        elif log.hub.is_closed:
            return


async def wait_for_event(log: EventLog, selection: Selection, cursor: int, seconds: float) -> bool:
    """Sleep until an event after the cursor may match, at most `seconds`; False when the time ran out."""
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watcher = Watcher(partial(_rouse, woken))
    group = log.hub.join(watcher, selection, None, cursor)
    if group is None:
        return not log.hub.is_closed
    try:
        async with asyncio.timeout(seconds):
            await woken
    except TimeoutError:
        return False
    finally:
        log.hub.leave(watcher, group)
    return True


async def wait_until(log: EventLog, seq: int, seconds: float) -> None:
    """Wait until this process has announced an event that another one has. Raises `Behind` after so many seconds."""
    if log.head_seq >= seq:
        return
    await log.refresh()
    deadline = log.hub.clock() + seconds
    while log.head_seq < seq:
        if not await wait_for_event(log, _EVERYTHING, log.head_seq, max(0.0, deadline - log.hub.clock())):
            message = f"this process knows the log up to {log.head_seq}, not to {seq}; try again"
            raise Behind(message, head_seq=log.head_seq)
