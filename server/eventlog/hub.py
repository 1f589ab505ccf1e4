"""The hub: knows the live followers and writes newly committed events to them. No queues, no awaits.

A live follower's cursor is `dispatched_seq` by definition, so it costs nothing to keep. Followers of the same selection
and encoding form a group: what one dispatch has for a group is encoded once, and every member gets the same `bytes`.
A member whose socket still holds more than `max_buffer_bytes` is put back to catching up, at the cursor it really has.

A group with a batch policy holds events back to write several at once; the first after quiet is written at once. Held events
are dispatched but not written: a join, a stop or a close writes them first, so that nobody can tell the difference.

`tail.py` keeps the newest events, so that a follower a moment behind needs no read from the file."""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import structlog

from server.eventlog.selection import Selection, patterns_of
from server.eventlog.tail import Tail
from towow.events import Event, check_of, cursor_of

NEVER = 2**62
_log = structlog.get_logger("towow.hub")


class BatchPolicy(NamedTuple):
    """How long live events wait for each other: until there are `batch_events`, or the oldest has waited `hold_seconds`.

    After as many seconds without a write the next event does not wait. One write carries `batch_events` at most."""

    batch_events: int
    hold_seconds: float


class Encoding(Protocol):
    """How events become bytes on one transport. Hashable; equal encodings share their bytes."""

    def event(self, event: Event) -> bytes:
        """One event, whole."""

    def wrap(self, data: bytes) -> bytes:
        """Frame what one write carries (an HTTP chunk, or nothing)."""


class Member(Protocol):
    """A follower as the hub sees it. A watcher, in a group without an encoding, is never written to: it is woken to read."""

    write: Callable[[bytes], None]
    buffered: Callable[[], int]
    rotate_at: int  # total of its group at which it has had its share of events; NEVER for no limit

    def fall_back(self, cursor: int) -> None:
        """Called after removal from the hub: everything after `cursor` (exclusive) has not been written."""

    def finish(self, event: Event) -> None:
        """Called after removal from the hub, when the terminal event of the followed stream has been written."""

    def rotate(self, cursor: int) -> None:
        """Called after removal from the hub, when `rotate_at` is reached; `cursor` is the last seq written."""


class Group:
    """The live members of one selection, encoding and batch policy, with what was written to them since the group began."""

    __slots__ = (
        "batch_policy",
        "bytes_total",
        "encoding",
        "events_total",
        "held",
        "held_after",
        "members",
        "pending",
        "release",
        "rotate_at",
        "selection",
        "single",
        "written_at",
    )

    def __init__(self, selection: Selection, encoding: Encoding | None, batch_policy: BatchPolicy | None) -> None:
        self.selection = selection
        self.encoding = encoding
        self.batch_policy = batch_policy
        self.single = selection.single
        self.members: dict[Member, None] = {}  # in order of joining
        self.pending: list[Event] = []
        self.held: list[Event] = []  # dispatched, and not written yet for its batch policy
        self.held_after = 0  # every event up to this seq has been written
        self.release: asyncio.TimerHandle | None = None  # writes what is held
        self.events_total = 0
        self.bytes_total = 0
        self.rotate_at = NEVER  # the lowest of its members'
        self.written_at = -math.inf  # never


class Hub:
    """The in-process notifier. Belongs to one event loop; every method returns without an await.

    `is_terminal(stream, event_type)` says which events end their stream; `clock` is monotonic, in seconds."""

    def __init__(
        self, *, max_buffer_bytes: int, tail_bytes: int, is_terminal: Callable[[str, str], bool], clock: Callable[[], float]
    ) -> None:
        self.dispatched_seq = 0
        self._digest = b""  # of the log's chain at `dispatched_seq`; empty where it is not known
        self.is_closed = False
        self.max_buffer_bytes = max_buffer_bytes
        self._is_terminal = is_terminal
        self.clock = clock
        self._groups: dict[tuple[Selection, Encoding | None, BatchPolicy | None], Group] = {}
        self._by_name: dict[str, dict[Group, None]] = {}
        self._by_pattern: dict[str, dict[Group, None]] = {}
        self._tail = Tail(tail_bytes)

    def start_at(self, seq: int, digest: bytes = b"") -> None:
        """Set the position before the first dispatch: the head that the log had when it was opened."""
        self.dispatched_seq, self._digest = seq, digest
        self._tail.start_at(seq)

    @property
    def cursor(self) -> str:
        """The cursor of a reader that has everything up to `dispatched_seq`."""
        return cursor_of(self.dispatched_seq, check_of(self._digest) if self._digest else "")

    @property
    def follower_count(self) -> int:
        """Live followers with a connection; watchers inside the process do not count."""
        return sum(len(group.members) for group in self._groups.values() if group.encoding is not None)

    @property
    def tail_events(self) -> int:
        """Events in the shared tail."""
        return len(self._tail)

    def count_for(self, event: Event) -> int:
        """Live followers with a connection that this event will be written to."""
        if not self._groups:
            return 0
        count = 0
        for group in self._by_name.get(event.stream, ()):
            if group.encoding is not None and group.selection.wants_type(event.event_type):
                count += len(group.members)
        for pattern in patterns_of(event.stream) if self._by_pattern else ():
            for group in self._by_pattern.get(pattern, ()):
                wants = group.selection.wants_type(event.event_type) and event.stream not in group.selection.names
                if group.encoding is not None and wants:
                    count += len(group.members)
        return count

    def join(
        self,
        member: Member,
        selection: Selection,
        encoding: Encoding | None,
        cursor: int,
        batch_policy: BatchPolicy | None = None,
    ) -> Group | None:
        """Go live: add the member if its cursor is exactly what has been dispatched, else None.

        The caller must not await between its last read and this call; the comparison is the whole hand-over."""
        if cursor != self.dispatched_seq or self.is_closed:
            return None
        key = (selection, encoding, batch_policy)
        group = self._groups.get(key)
        if group is not None and group.held:  # the new member has read what the others still wait for
            self.flush(group)
            group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(selection, encoding, batch_policy)
            for name in selection.names:
                self._by_name.setdefault(name, {})[group] = None
            for pattern in selection.patterns:
                self._by_pattern.setdefault(pattern, {})[group] = None
        group.members[member] = None
        return group

    def leave(self, member: Member, group: Group) -> None:
        """Remove a member; safe to call again."""
        group.members.pop(member, None)
        if not group.members:
            self._discard(group)

    def flush(self, group: Group) -> None:
        """Write what a group holds now, so that its members have everything up to `dispatched_seq`."""
        if group.held:
            self._write_held(group, {}, self.clock(), is_all=True)

    def recent(self, selection: Selection, after: int, limit: int, max_bytes: int) -> tuple[list[Event], int] | None:
        """A page from the tail like `queries.read_page`: events after a cursor and the seq looked at; None if too far back."""
        return self._tail.read(selection, after, limit, max_bytes, self.dispatched_seq)

    def dispatch(self, events: Sequence[Event]) -> None:
        """Write committed events, ascending and following `dispatched_seq`, to everybody who is live."""
        touched: dict[Group, None] = {}
        for event in events:
            groups = self._by_name.get(event.stream)
            if groups:
                for group in groups:
                    group.pending.append(event)
                    touched[group] = None
            for pattern in patterns_of(event.stream) if self._by_pattern else ():
                for group in self._by_pattern.get(pattern, ()):
                    if group.selection.wants_type(event.event_type) and event.stream not in group.selection.names:
                        group.pending.append(event)
                        touched[group] = None
        before, self.dispatched_seq, self._digest = self.dispatched_seq, events[-1].seq, events[-1].digest
        self._tail.add(events)
        if touched:
            encoded: dict[tuple[Encoding, int], bytes] = {}
            now = self.clock()
            for group in touched:
                self._deliver(group, before, encoded, now)

    def advance(self, seq: int, digest: bytes = b"") -> None:
        """Move past numbers that hold no event. Live members stay live: there was nothing to write."""
        if seq > self.dispatched_seq:
            self.dispatched_seq, self._digest = seq, digest

    def skip(self, seq: int) -> None:
        """Move past an event that cannot be read. Live members go back to reading and meet it; the tail begins after it."""
        before = self.dispatched_seq
        self.advance(seq)
        self._tail.start_at(self.dispatched_seq)
        for group in list(self._groups.values()):
            self.flush(group)
            for member in list(group.members):
                self.leave(member, group)
                member.fall_back(before)

    def forget_tail(self) -> None:
        """Read everything up to here from the file from now on: retention has removed some of it."""
        self._tail.start_at(self.dispatched_seq)

    def close(self) -> None:
        """Refuse further members and send the present ones away: each is told where it is, and finds the hub closed."""
        self.is_closed = True
        for group in list(self._groups.values()):
            self.flush(group)
            for member in list(group.members):
                self.leave(member, group)
                member.fall_back(self.dispatched_seq)

    def _deliver(self, group: Group, before: int, encoded: dict[tuple[Encoding, int], bytes], now: float) -> None:
        pending, group.pending = group.pending, []
        wanted = [event for event in pending if group.selection.wants_type(event.event_type)]
        last = pending[-1]
        has_ended = group.single is not None and self._is_terminal(last.stream, last.event_type)
        encoding = group.encoding
        if encoding is None:
            if wanted:
                for member in list(group.members):
                    self.leave(member, group)
                    member.fall_back(before)
            return
        if group.batch_policy is None:
            if wanted:
                self._write_batch(group, wanted, before, encoded, now)
        else:
            if wanted and not group.held:
                group.held_after = before
            group.held += wanted
            if group.held:
                self._write_held(group, encoded, now, is_all=has_ended or self._is_due(group, group.batch_policy, now))
        if has_ended:
            for member in list(group.members):
                self.leave(member, group)
                member.finish(last)
        else:
            self._rotate_if_due(group)

    @staticmethod
    def _is_due(group: Group, batch_policy: BatchPolicy, now: float) -> bool:
        """Whether nothing may wait: it was quiet, or members have had their share with what is held."""
        return now - group.written_at >= batch_policy.hold_seconds or group.events_total + len(group.held) >= group.rotate_at

    def _write_held(self, group: Group, encoded: dict[tuple[Encoding, int], bytes], now: float, *, is_all: bool) -> None:
        """Write all that is held, or the full batches of it; what stays is written when the oldest has waited long enough."""
        assert group.batch_policy is not None  # noqa: S101 - else nothing is held
        held, size = group.held, group.batch_policy.batch_events
        count = len(held) if is_all else len(held) - len(held) % size
        group.held = held[count:]
        for first in range(0, count, size):
            batch = held[first : min(first + size, count)]
            self._write_batch(group, batch, group.held_after, encoded, now)
            group.held_after = batch[-1].seq
            if not group.members:
                break
        self._plan_release(group, restart=count > 0)

    def _write_batch(
        self, group: Group, batch: list[Event], before: int, encoded: dict[tuple[Encoding, int], bytes], now: float
    ) -> None:
        """One bounded write to every member; one that cannot take it goes on from `before` by reading."""
        assert group.encoding is not None  # noqa: S101 - watchers are not written to
        try:
            data = group.encoding.wrap(b"".join([self._encode(event, group.encoding, encoded) for event in batch]))
        except Exception:  # a renderer's fault must not stop the log: its followers meet it on their own connection
            _log.exception("encoding_failed", encoding=type(group.encoding).__name__, stream=batch[0].stream)
            for member in list(group.members):
                self.leave(member, group)
                member.fall_back(before)
            return
        limit = self.max_buffer_bytes
        lagging: list[Member] = []
        for member in group.members:
            if member.buffered() > limit:
                lagging.append(member)
                continue
            try:
                member.write(data)
            except RuntimeError:  # uvloop: the peer has left and its handler is not cancelled yet; nobody else may suffer
                lagging.append(member)
        for member in lagging:
            self.leave(member, group)
            member.fall_back(before)
        group.events_total += len(batch)
        group.bytes_total += len(data)
        group.written_at = now

    def _plan_release(self, group: Group, *, restart: bool) -> None:
        """Keep one timer while something is held, from the time that its oldest event came."""
        if group.release is not None and (restart or not group.held):
            group.release.cancel()
            group.release = None
        if group.held and group.members and group.release is None and group.batch_policy is not None:
            group.release = asyncio.get_running_loop().call_later(group.batch_policy.hold_seconds, self.flush, group)

    def _rotate_if_due(self, group: Group) -> None:
        if group.events_total < group.rotate_at:
            return
        due = [member for member in group.members if member.rotate_at <= group.events_total]
        for member in due:
            self.leave(member, group)
            member.rotate(self.dispatched_seq)
        group.rotate_at = min((member.rotate_at for member in group.members), default=NEVER)

    @staticmethod
    def _encode(event: Event, encoding: Encoding, encoded: dict[tuple[Encoding, int], bytes]) -> bytes:
        key = (encoding, event.seq)
        data = encoded.get(key)
        if data is None:
            data = encoded[key] = encoding.event(event)
        return data

    def _discard(self, group: Group) -> None:
        """Forget an empty group, with what it holds. Its totals go with it; members that left took theirs before."""
        self._plan_release(group, restart=True)
        key = (group.selection, group.encoding, group.batch_policy)
        if self._groups.get(key) is group:  # a member that leaves late must not take a newer group with it
            del self._groups[key]
        _take_out(group, self._by_name, group.selection.names)
        _take_out(group, self._by_pattern, group.selection.patterns)


def _take_out(group: Group, index: dict[str, dict[Group, None]], keys: Iterable[str]) -> None:
    for key in keys:
        groups = index.get(key)
        if groups is not None:
            groups.pop(group, None)
            if not groups:
                del index[key]


def _never(data: bytes) -> None:
    raise AssertionError("a watcher is not written to")


class Watcher:
    """A wake-up for readers inside the process: `woken` is set by the first matching dispatch after `join`."""

    __slots__ = ("buffered", "rotate_at", "wake", "write")

    def __init__(self, wake: Callable[[], Any]) -> None:
        self.write: Callable[[bytes], None] = _never
        self.rotate_at = NEVER
        self.buffered = lambda: 0
        self.wake = wake

    def fall_back(self, cursor: int) -> None:
        """Wake the reader."""
        self.wake()

    def finish(self, event: Event) -> None:
        """Wake the reader; it sees the terminal event for itself."""
        self.wake()

    def rotate(self, cursor: int) -> None:
        """Never due for a watcher."""
