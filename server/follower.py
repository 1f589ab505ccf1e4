"""
The follower: one reader's cursor, moved through the log and then kept live by the hub.

It has two modes. Catching up, it reads pages (from the hub's tail or the file) and awaits the socket after each. Live, it
sleeps while the hub writes to its socket. Going live is one comparison without an await: cursor == dispatched_seq. So there
is no gap and no double, whatever is appended meanwhile, and no queue: what is not written yet is in the log.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Any, NamedTuple, Protocol

from server.cursor import Start
from server.eventlog import EventLog
from server.events import Event
from server.hub import NEVER, Encoding, Group, Watcher
from server.selection import Selection


class Wire(Encoding, Protocol):
    """
    An encoding that also says what is not an event. Every method returns whole frames, not yet wrapped.
    """

    def control(self, name: str, fields: dict[str, Any], retry_milliseconds: int | None = None) -> bytes:
        """
        A control frame.
        """

    def first(self, retry_milliseconds: int) -> bytes:
        """
        What stands before the first frame of a connection (the retry hint), or nothing.
        """

    def keepalive(self, timestamp: float) -> bytes:
        """
        A frame that is no event and keeps the connection open.
        """


class Socket(NamedTuple):
    """
    The sending side of a connection: an immediate write, the bytes not yet taken, a wait for room, and the axe.
    """

    write: Callable[[bytes], None]
    buffered: Callable[[], int]
    drain: Callable[[], Any]
    abort: Callable[[], None]


class Timing(NamedTuple):
    """
    Seconds and counts that rule one connection; `max_events` 0 never rotates.
    """

    keepalive_seconds: float
    send_timeout_seconds: float
    retry_milliseconds: int
    max_events: int = 0


class Ended(Enum):
    """
    Why a follower returned.
    """

    TERMINAL = "terminal"
    ROTATED = "rotated"
    STOPPED = "stopped"
    STALLED = "stalled"


class Follower:
    """
    One connection's place in the log. `run` returns when the stream is over for this connection; cancel it to leave.
    """

    __slots__ = (
        "_clock",
        "_cursor",
        "_end",
        "_ended",
        "_group",
        "_has_written",
        "_joined_bytes",
        "_joined_events",
        "_log",
        "_reset",
        "_selection",
        "_socket",
        "_timer",
        "_timing",
        "_wake",
        "_wire",
        "_written_at",
        "buffered",
        "rotate_at",
        "sent_bytes",
        "sent_events",
        "write",
    )

    def __init__(
        self, log: EventLog, selection: Selection, start: Start, wire: Wire, socket: Socket, timing: Timing
    ) -> None:
        self.write: Callable[[bytes], None] | None = socket.write
        self.buffered = socket.buffered
        self.rotate_at = NEVER
        self.sent_events = 0
        self.sent_bytes = 0
        self._log = log
        self._selection = selection
        self._cursor = start.cursor
        self._reset = start.reset
        self._wire = wire
        self._socket = socket
        self._timing = timing
        self._clock = log.hub.clock
        self._group: Group | None = None
        self._joined_events = 0
        self._joined_bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._written_at = self._clock()
        self._has_written = False
        self._end: tuple[str, dict[str, Any], int | None] | None = None
        self._ended = Ended.STOPPED

    async def run(self) -> Ended:
        """
        Replay, say `ready`, stay live, fall back and catch up as often as needed, and say why it ends.
        """
        self._timer = asyncio.get_running_loop().call_later(self._timing.keepalive_seconds, self._keep_alive)
        try:
            if self._reset is not None:
                self._send(self._wire.control("reset", self._reset))
                self._reset = None
            is_ready = False
            while self._end is None:
                self._group = self._log.hub.join(self, self._selection, self._wire, self._cursor)
                if self._group is None:
                    await self._catch_up()
                    continue
                self._joined_events, self._joined_bytes = self._group.events_total, self._group.bytes_total
                self._limit_share(self._group)
                if not is_ready:
                    is_ready = True
                    self._say_ready()
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            name, fields, retry = self._end
            self._send(self._wire.control(name, fields, retry))
        except TimeoutError:
            self._ended = Ended.STALLED
            self._socket.abort()
        finally:
            self._leave()
            self._timer.cancel()
        return self._ended

    def stop(self, reason: str, retry_milliseconds: int | None = None) -> None:
        """
        End the stream from outside with `event: end`: shutting down, no capacity, or the peer said goodbye.
        """
        self._finish(Ended.STOPPED, "end", {"reason": reason, "last_seq": self._position()}, retry_milliseconds)

    def fall_back(self, cursor: int) -> None:
        """
        The hub's word that this socket is full: go on from `cursor` by reading.
        """
        self._take_totals()
        self._cursor = cursor
        self._rouse()

    def finish(self, event: Event) -> None:
        """
        The hub's word that the stream has ended with this event.
        """
        self._take_totals()
        self._cursor = event.seq
        self._finish(Ended.TERMINAL, "end", {"reason": event.event_type, "last_seq": event.seq})

    def rotate(self, cursor: int) -> None:
        """
        The hub's word that this connection has had its share.
        """
        self._take_totals()
        self._cursor = cursor
        self._finish(Ended.ROTATED, "rotate", {"next_since_seq": cursor})

    async def _catch_up(self) -> None:
        """
        Send one page and wait for the socket to take it. Raises `TimeoutError` when it does not.
        """
        if self.buffered() > self._log.hub.max_buffer_bytes:
            async with asyncio.timeout(self._timing.send_timeout_seconds):
                await self._socket.drain()
        share = self._timing.max_events - self.sent_events if self._timing.max_events else 1000
        if share <= 0:
            self._finish(Ended.ROTATED, "rotate", {"next_since_seq": self._cursor})
            return
        name = self._selection.single
        # A terminal event ends the stream even for a reader whose types leave it out.
        selection = self._selection if name is None else self._selection._replace(types=())
        page = await self._log.read(selection, self._cursor, limit=min(share, 1000))
        wanted = [event for event in page.events if self._selection.wants_type(event.event_type)]
        if wanted:
            self._send(b"".join([self._wire.event(event) for event in wanted]), len(wanted))
        self._cursor = page.through_seq
        if page.events and name is not None:
            last = page.events[-1]
            if self._log.is_terminal(last.stream, last.event_type):
                self._finish(Ended.TERMINAL, "end", {"reason": last.event_type, "last_seq": last.seq})

    def _say_ready(self) -> None:
        self._send(
            self._wire.control(
                "ready",
                {
                    "head_seq": self._cursor,
                    "epoch": self._log.epoch,
                    "replayed": self.sent_events,
                    "keepalive_seconds": self._timing.keepalive_seconds,
                },
            )
        )

    def _send(self, frames: bytes, event_count: int = 0) -> None:
        if not self._has_written:
            self._has_written = True
            frames = self._wire.first(self._timing.retry_milliseconds) + frames
        data = self._wire.wrap(frames)
        self._socket.write(data)
        self._written_at = self._clock()
        self.sent_events += event_count
        self.sent_bytes += len(data)

    def _keep_alive(self) -> None:
        """
        Write a keepalive when nothing was written for the interval, counted from the last byte on this connection.
        """
        interval = self._timing.keepalive_seconds
        written_at = self._written_at
        if self._group is not None and self._group.events_total > self._joined_events:
            written_at = max(written_at, self._group.written_at)
        due_in = written_at + interval - self._clock()
        if due_in <= 0.001:
            if self.buffered() == 0 and self._has_written:
                self._send(self._wire.keepalive(self._log.clock()))
            due_in = interval
        self._timer = asyncio.get_running_loop().call_later(due_in, self._keep_alive)

    def _limit_share(self, group: Group) -> None:
        if self._timing.max_events:
            self.rotate_at = group.events_total + self._timing.max_events - self.sent_events
            group.rotate_at = min(group.rotate_at, self.rotate_at)

    def _position(self) -> int:
        return self._log.head_seq if self._group is not None else self._cursor

    def _finish(self, ended: Ended, name: str, fields: dict[str, Any], retry: int | None = None) -> None:
        if self._end is None:
            self._ended = ended
            self._end = (name, fields, retry)
        self._rouse()

    def _take_totals(self) -> None:
        """
        Add what the group wrote while this connection was a member.
        """
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
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Followers:
    """
    Every connection that follows, live or catching up, so that a shutdown reaches all of them.
    """

    def __init__(self) -> None:
        self._all: dict[Follower, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    async def run(self, follower: Follower) -> Ended:
        """
        Run one follower while it counts.
        """
        self._all[follower] = None
        try:
            return await follower.run()
        finally:
            del self._all[follower]

    def stop_all(self, retry_milliseconds: int) -> None:
        """
        End every stream for the shutdown, each with a reconnect hint of one to three times `retry_milliseconds`.
        """
        for follower in list(self._all):
            follower.stop("shutdown", random.randint(retry_milliseconds, 3 * retry_milliseconds))  # noqa: S311 - jitter


async def events_after(log: EventLog, selection: Selection, cursor: int) -> AsyncIterator[Event]:
    """
    Follow inside the process: every matching event after a cursor (exclusive), for ever. Close the iterator to stop.
    """
    loop = asyncio.get_running_loop()
    while True:
        page = await log.read(selection, cursor)
        for event in page.events:
            yield event
        cursor = page.through_seq
        woken: asyncio.Future[None] = loop.create_future()
        watcher = Watcher(lambda woken=woken: woken.done() or woken.set_result(None))
        group = log.hub.join(watcher, selection, None, cursor)
        if group is not None:
            try:
                await woken
            finally:
                log.hub.leave(watcher, group)
        elif log.hub.is_closed:
            return


async def wait_for_event(log: EventLog, selection: Selection, cursor: int, seconds: float) -> bool:
    """
    Sleep until an event after the cursor may match, at most `seconds`; False when the time ran out.
    """
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watcher = Watcher(lambda: woken.done() or woken.set_result(None))
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
