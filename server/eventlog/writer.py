"""What happens inside the write transaction: revisions, idempotency, digests, projections. Runs on the writer's thread.

Sequence and revision are decided here and nowhere else. What is remembered between transactions (the head of the log and of
each stream) is dropped when `PRAGMA data_version` says that another connection has written."""

import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import structlog

from server.eventlog.engine import is_busy, is_fatal, is_full, lacks_room, sqlite3
from server.eventlog.heads import EVENTS_PER_HEAD, HeadSigner, last_signed_seq
from server.eventlog.rows import Head, Histories, crc_of, link, read_event_at, read_events, read_head, read_histories
from server.eventlog.terms import DutyTerm, require_term
from server.eventlog.trimmed import read_trimmed
from towow.errors import Conflict, RevisionMismatch, StorageFull, StreamEnded, TowowError, Unavailable
from towow.events import Event, NewEvent, canonical_of, is_same_json, kind_of, timestamp_of

_INSERT = (
    "INSERT INTO events (seq, stream, revision, event_id, event_type, timestamp, source, actor, payload, crc, digest) VALUES "
)
_WIDTH = 11
_ROW = "(?,?,?,nullif(?,''),?,?,?,nullif(?,''),?,?,?)"  # to bind None costs a microsecond, to bind a text a tenth of it
_SPACE_CHECK_SECONDS = 0.1
_MAX_HEADS = 100_000
_MAX_ROWS = 256  # a statement; powers of two below it, so that few statements are ever compiled

_log = structlog.get_logger("towow.writer")


class Connection(Protocol):
    """The part of a DB-API connection to SQLite that projections use."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement and return its cursor."""


# Writes a projection of one event with the connection, inside the transaction that stores the event.
Projection = Callable[[Connection, Event], None]


class Receipt(msgspec.Struct, gc=False):
    """What a publisher is told about one event: the event as stored, and whether this append stored it (else it was there).

    `followers` is the number of live connections it was written to."""

    event: Event
    created: bool
    followers: int = 0


class _StreamHead(msgspec.Struct, gc=False, frozen=True):
    revision: int
    is_ended: bool


_NO_STREAM = _StreamHead(0, False)
_Key = tuple[str, str]  # stream and event_id


@dataclass(slots=True)
class Committed:
    """One transaction: receipts or an error for every request, the stored events by seq, and the head before them and after.

    `has_foreign`: another connection has written since the last look; `foreign_writes` will not say so again."""

    previous_seq: int
    seq: int
    digest: bytes
    has_foreign: bool
    outcomes: list[list[Receipt] | TowowError] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def head(self) -> Head:
        """Where the log ends after it."""
        return Head(self.seq, self.digest)


class Writer:
    """Owns the order of the log. `commit` is called by one task only, on the thread of the writing connection."""

    def __init__(
        self,
        *,
        path: Path,
        min_free_bytes: int,
        clock: Callable[[], float],
        is_terminal: Callable[[str, str], bool],
        projections: Mapping[str, Sequence[Projection]],
        signer: HeadSigner | None = None,
    ) -> None:
        self._path = path
        self._directory = path.parent
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self._is_terminal = is_terminal
        self._projections = projections
        self._signer = signer if signer is not None and signer.has_key else None
        self._signed_seq = 0
        self._heads: OrderedDict[str, _StreamHead] = OrderedDict()
        self._head: Head | None = None
        self._histories = Histories((), ())
        self._data_version = -1
        self._space_checked_at = -math.inf  # the monotonic clock may begin at 0

    def commit(
        self,
        db: Any,
        requests: Sequence[Sequence[NewEvent]],
        terms: Mapping[int, DutyTerm] = MappingProxyType({}),
        prepare: Callable[[Any], Sequence[NewEvent]] | None = None,
    ) -> Committed:
        """Store every request all or none, in one transaction with one fsync; a refused request leaves the others alone.

        `terms` has the terms of those requests, by their place, that are refused when another process has taken the duty over.
        `prepare(db)` runs first in that transaction; what it returns is stored as a request of its own, the last, or all of the
        transaction is refused.

        Raises `StorageFull` or `Unavailable` when nothing was stored and trying again may help; any other database error
        is fatal: what it acknowledged before is kept, what this transaction held is unknown."""
        self._check_space()
        try:
            db.execute("BEGIN IMMEDIATE").close()
        except sqlite3.OperationalError as error:
            if is_busy(error):
                raise Unavailable("another process keeps the database locked; nothing was stored, try again") from None
            if is_full(error):
                raise StorageFull("the disk is full; nothing was stored, reading goes on") from None
            raise
        try:
            if prepare is not None:
                requests = [*requests, prepare(db)]
            committed = self._write(db, requests, terms)
            if prepare is not None and isinstance(committed.outcomes[-1], TowowError):
                raise committed.outcomes[-1]  # noqa: TRY301 - undone below like every other
            db.execute("COMMIT").close()
        except BaseException as error:
            self._forget()
            has_no_room = lacks_room(error, self._path)
            if db.in_transaction and (has_no_room or not is_fatal(error)):
                db.execute("ROLLBACK").close()
            if has_no_room:
                raise StorageFull("the disk is full; nothing was stored, reading goes on") from None
            raise
        return committed

    def require_room(self, db: Any) -> None:
        """Raise `StorageFull` or an engine's error where a transaction could not begin. Writes nothing."""
        self._check_space()
        db.execute("BEGIN IMMEDIATE").close()
        db.execute("ROLLBACK").close()

    def foreign_writes(self, db: Any) -> bool:
        """Whether another connection has committed since the last transaction or call; cheap enough to poll."""
        version = int(db.execute("PRAGMA data_version").fetchone()[0])
        changed = version != self._data_version
        if changed:
            self._forget()
            self._data_version = version
        return changed

    def _check_space(self) -> None:
        now = time.monotonic()
        if self._min_free_bytes and now - self._space_checked_at > _SPACE_CHECK_SECONDS:
            disk = os.statvfs(self._directory)
            free = disk.f_bavail * disk.f_frsize
            if free < self._min_free_bytes:
                raise StorageFull(
                    f"{free} bytes are free on the disk, fewer than min_free_bytes = {self._min_free_bytes}; nothing was stored"
                )
            self._space_checked_at = now

    def _forget(self) -> None:
        self._heads.clear()
        self._head = None

    def _write(self, db: Any, requests: Sequence[Sequence[NewEvent]], terms: Mapping[int, DutyTerm]) -> Committed:
        has_foreign = self.foreign_writes(db)
        if self._head is None:
            self._head, self._histories = read_head(db), read_histories(db)
            self._signed_seq = last_signed_seq(db)
        done = Committed(self._head.seq, *self._head, has_foreign)
        known = self._known(db, requests)
        derived = f"evt-{self._histories.epochs[-1]}-"
        timestamp = timestamp_of(self._clock())
        rows: list[Any] = []
        for index, request in enumerate(requests):
            try:
                if terms and index in terms:
                    require_term(db, terms[index])
                done.outcomes.append(self._decide(db, request, known, derived, timestamp, done, rows))
            except TowowError as error:
                done.outcomes.append(error)
        _insert(db, rows)
        if done.events:
            self._head = done.head
            self._project(db, done.events)
            if self._signer is not None and done.seq - self._signed_seq >= EVENTS_PER_HEAD:
                self._signer.store(db, self._head, self._histories.epochs[-1], self._clock())
                self._signed_seq = done.seq
        while len(self._heads) > _MAX_HEADS:
            self._heads.popitem(last=False)
        return done

    def _known(self, db: Any, requests: Sequence[Sequence[NewEvent]]) -> dict[_Key, Event]:
        """The stored events among the event_ids that publishers chose, each within its stream."""
        wanted = [(event.stream, event.event_id) for request in requests for event in request if event.event_id is not None]
        known: dict[_Key, Event] = {}
        for start in range(0, len(wanted), _MAX_ROWS):
            some = wanted[start : start + _MAX_ROWS]
            found = read_events(
                db,
                f"WHERE seq IN (WITH wanted (name, id) AS (VALUES {','.join(['(?,?)'] * len(some))})"  # noqa: S608 - marks
                " SELECT e.seq FROM wanted CROSS JOIN events AS e ON e.stream = wanted.name AND e.event_id = wanted.id"
                " WHERE e.event_id IS NOT NULL)",
                [value for pair in some for value in pair],
            )
            known.update(((event.stream, event.event_id), event) for event in found)
        return known

    def _stored(
        self, db: Any, new: NewEvent, event_id: str, known: dict[_Key, Event], added: dict[_Key, Event]
    ) -> Event | None:
        """The event that has this id in this stream already. Raises `Conflict` for a reserved id that is not its own."""
        key = (new.stream, event_id)
        stored = added.get(key) or known.get(key)
        if stored is None:
            seq = self._histories.seq_of(event_id)
            if seq is None:
                return None
            stored = read_event_at(db, seq)
            if stored is None or stored.event_id != new.event_id or stored.stream != new.stream:
                raise Conflict(f"event_id {new.event_id} is one that this log gives itself", field="event_id")
        _check_same(new, stored)
        return stored

    def _decide(
        self,
        db: Any,
        request: Sequence[NewEvent],
        known: dict[_Key, Event],
        derived: str,
        timestamp: str,
        done: Committed,
        rows: list[Any],
    ) -> list[Receipt]:
        """Give one request its places. Only a whole request moves the heads, the known ids and the rows."""
        heads: dict[str, _StreamHead] = {}
        added: dict[_Key, Event] = {}
        events: list[Event] = []
        added_rows: list[Any] = []
        outcome: list[Receipt] = []
        seq, digest = done.seq, done.digest
        for new in request:
            event_id = new.event_id
            if event_id is not None:
                stored = self._stored(db, new, event_id, known, added)
                if stored is not None:
                    outcome.append(Receipt(stored, False))
                    continue
            stream = new.stream
            head = heads.get(stream) or self._stream_head(db, stream)
            if new.expected_revision is not None and new.expected_revision != head.revision:
                raise RevisionMismatch(
                    f"{stream} is at revision {head.revision}, not {new.expected_revision}",
                    field="expected_revision",
                    expected=new.expected_revision,
                    actual=head.revision,
                )
            if head.is_ended:
                raise StreamEnded(f"{stream} has ended; nothing can be appended to it", field="stream")
            seq += 1
            revision, event_type, source, actor, payload = (
                head.revision + 1,
                new.event_type,
                new.source,
                new.actor,
                new.payload_json,
            )
            at = new.timestamp or timestamp
            stored_id = event_id or f"{derived}{seq}"
            canonical = canonical_of(seq, stream, revision, stored_id, event_type, at, source, payload, actor)
            digest = link(digest, canonical)
            event = Event(seq, stream, revision, stored_id, event_type, at, source, payload, actor, digest, canonical)
            heads[stream] = _StreamHead(revision, self._is_terminal(stream, event_type))
            if event_id is not None:
                added[stream, event_id] = event
            events.append(event)
            crc = crc_of(canonical)
            added_rows += (seq, stream, revision, event_id or "", event_type, at, source, actor or "", payload, crc, digest)
            outcome.append(Receipt(event, True))
        for stream, head in heads.items():
            self._heads[stream] = head
            self._heads.move_to_end(stream)
        known.update(added)
        done.events.extend(events)
        done.seq, done.digest = seq, digest
        rows += added_rows
        return outcome

    def _stream_head(self, db: Any, stream: str) -> _StreamHead:
        head = self._heads.get(stream)
        if head is None:
            last = next(read_events(db, "WHERE stream = ? ORDER BY seq DESC LIMIT 1", (stream,)), None)
            known = last or read_trimmed(db, stream)  # revisions go on where a stream was trimmed
            head = _StreamHead(known.revision, self._is_terminal(stream, known.event_type)) if known else _NO_STREAM
        return head

    def _project(self, db: Any, events: Sequence[Event]) -> None:
        """Keep the projection tables in step. An event that a projection cannot read is stored all the same.

        One savepoint for all of them: two statements for each event would cost as much as a small projection."""
        due = [(projection, event) for event in events for projection in self._projections.get(kind_of(event.stream), ())]
        if len(due) > 1:
            db.execute("SAVEPOINT projections").close()
            try:
                for projection, event in due:
                    projection(db, event)
                due = []
            except Exception as error:
                if is_fatal(error) or is_full(error) or is_busy(error):  # the file's fault, not the event's
                    raise
                db.execute("ROLLBACK TO projections").close()  # again, one by one: only what cannot be read is left out
            db.execute("RELEASE projections").close()
        for projection, event in due:
            project_one(db, projection, event)


def project_one(db: Any, projection: Projection, event: Event) -> None:
    """Run one projection in a savepoint; what it cannot read is undone and logged, because anybody may append to a stream."""
    db.execute("SAVEPOINT projection").close()
    try:
        projection(db, event)
    except Exception as error:
        if is_fatal(error) or is_full(error) or is_busy(error):  # the file's fault, not the event's
            raise
        db.execute("ROLLBACK TO projection").close()
        _log.warning("projection_skipped", seq=event.seq, event_type=event.event_type, error=type(error).__name__)
    db.execute("RELEASE projection").close()


def _insert(db: Any, rows: list[Any]) -> None:
    """Insert flat rows with as few steps as possible: every step trades the interpreter lock."""
    start, total = 0, len(rows) // _WIDTH
    while start < total:
        count = min(_MAX_ROWS, 1 << (total - start).bit_length() - 1)
        db.execute(_INSERT + ",".join([_ROW] * count), rows[start * _WIDTH : (start + count) * _WIDTH]).close()
        start += count


def _check_same(new: NewEvent, stored: Event) -> None:
    """Raise `Conflict` unless both mean the same; who appends it does not count."""
    same = (
        new.event_type == stored.event_type
        and new.source == stored.source
        and is_same_json(new.payload_json, stored.payload_json)
    )
    if not same:
        raise Conflict(
            f"event_id {new.event_id} was already used at seq {stored.seq} with other content", field="event_id", seq=stored.seq
        )
