"""What happens inside the write transaction: revisions, idempotency, digests, projections. Runs on the writer's thread.

Sequence and revision are decided here and nowhere else. What is remembered between transactions (the head of each stream)
is dropped when `PRAGMA data_version` says that another connection has written."""

import hashlib
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog

from server.eventlog.database import is_busy, is_fatal, is_full, sqlite3
from towow.errors import Conflict, RevisionMismatch, StorageFull, StreamEnded, TowowError, Unavailable
from towow.events import Event, NewEvent, kind_of, timestamp_of, uuid7

COLUMNS = "seq, stream, revision, event_id, event_type, timestamp, source, payload"
_INSERT = f"INSERT INTO events ({COLUMNS}, digest) VALUES "  # noqa: S608 - constant
_ROW = "(?,?,?,?,?,?,?,?,?)"
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


class Appended(NamedTuple):
    """The outcome for one new event: the stored event, and whether this call stored it (False: it was there already)."""

    event: Event
    created: bool


class _Head(NamedTuple):
    revision: int
    digest: bytes
    is_ended: bool


_NO_HEAD = _Head(0, b"", False)


@dataclass(slots=True)
class Committed:
    """One transaction: an outcome or an error for every request, the stored events by seq, and the head before them.

    `has_foreign`: another connection has written since the last look; `foreign_writes` will not say so again."""

    outcomes: list[list[Appended] | TowowError] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    previous_seq: int = 0
    has_foreign: bool = False


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
    ) -> None:
        self._directory = path.parent
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self._is_terminal = is_terminal
        self._projections = projections
        self._heads: OrderedDict[str, _Head] = OrderedDict()
        self._last_seq = -1
        self._data_version = -1
        self._space_checked_at = -math.inf  # the monotonic clock may begin at 0

    def commit(self, db: Any, requests: Sequence[Sequence[NewEvent]]) -> Committed:
        """Store every request all or none, in one transaction with one fsync; a refused request leaves the others alone.

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
            committed = self._write(db, requests)
            db.execute("COMMIT").close()
        except BaseException as error:
            self._forget()
            if db.in_transaction and not is_fatal(error):
                db.execute("ROLLBACK").close()
            if is_full(error):
                raise StorageFull("the disk is full; nothing was stored, reading goes on") from None
            raise
        return committed

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
        self._last_seq = -1

    def _write(self, db: Any, requests: Sequence[Sequence[NewEvent]]) -> Committed:
        has_foreign = self.foreign_writes(db)
        if self._last_seq < 0:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
            self._last_seq = row[0] if row else 0
        done = Committed(previous_seq=self._last_seq, has_foreign=has_foreign)
        known = self._known(db, requests)
        timestamp = timestamp_of(self._clock())
        rows: list[Any] = []
        for request in requests:
            try:
                done.outcomes.append(self._decide(db, request, known, timestamp, done.events, rows))
            except TowowError as error:
                done.outcomes.append(error)
        _insert(db, rows)
        if done.events:
            self._last_seq = done.events[-1].seq
            self._project(db, done.events)
        while len(self._heads) > _MAX_HEADS:
            self._heads.popitem(last=False)
        return done

    def _known(self, db: Any, requests: Sequence[Sequence[NewEvent]]) -> dict[str, Event]:
        """The stored events among the event_ids that publishers chose."""
        wanted = [event.event_id for request in requests for event in request if event.event_id is not None]
        known: dict[str, Event] = {}
        for start in range(0, len(wanted), _MAX_ROWS):
            some = wanted[start : start + _MAX_ROWS]
            marks = ",".join("?" * len(some))
            for row in db.execute(f"SELECT {COLUMNS} FROM events WHERE event_id IN ({marks})", some):  # noqa: S608 - marks
                known[row[3]] = Event(*row)
        return known

    def _decide(
        self,
        db: Any,
        request: Sequence[NewEvent],
        known: dict[str, Event],
        timestamp: str,
        events: list[Event],
        rows: list[Any],
    ) -> list[Appended]:
        """Give one request its places. Only a whole request moves the heads, the known ids and the rows."""
        heads: dict[str, _Head] = {}
        added: dict[str, Event] = {}
        added_rows: list[Any] = []
        outcome: list[Appended] = []
        seq = events[-1].seq if events else self._last_seq
        for new in request:
            stored = added.get(new.event_id) or known.get(new.event_id) if new.event_id is not None else None
            if stored is not None:
                _check_same(new, stored)
                outcome.append(Appended(stored, False))
                continue
            head = heads.get(new.stream) or self._head(db, new.stream)
            if new.expected_revision is not None and new.expected_revision != head.revision:
                raise RevisionMismatch(
                    f"{new.stream} is at revision {head.revision}, not {new.expected_revision}",
                    field="expected_revision",
                    expected=new.expected_revision,
                    actual=head.revision,
                )
            if head.is_ended:
                raise StreamEnded(f"{new.stream} has ended; nothing can be appended to it", field="stream")
            seq += 1
            event = Event(
                seq,
                new.stream,
                head.revision + 1,
                new.event_id or uuid7(self._clock),
                new.event_type,
                timestamp,
                new.source,
                new.payload_json,
            )
            digest = hashlib.sha256(head.digest + event.canonical()).digest()
            heads[new.stream] = _Head(event.revision, digest, self._is_terminal(event.stream, event.event_type))
            added[event.event_id] = event
            added_rows += (
                seq,
                event.stream,
                event.revision,
                event.event_id,
                event.event_type,
                timestamp,
                event.source,
                event.payload_json,
                digest,
            )
            outcome.append(Appended(event, True))
        for stream, head in heads.items():
            self._heads[stream] = head
            self._heads.move_to_end(stream)
        known.update(added)
        events.extend(added.values())
        rows += added_rows
        return outcome

    def _head(self, db: Any, stream: str) -> _Head:
        head = self._heads.get(stream)
        if head is None:
            row = db.execute(
                "SELECT revision, digest, event_type FROM events WHERE stream = ? ORDER BY revision DESC LIMIT 1", (stream,)
            ).fetchone()
            head = _Head(row[0], row[1], self._is_terminal(stream, row[2])) if row else _NO_HEAD
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


def digest_of(previous: bytes, event: Event) -> bytes:
    """The link of the stream's digest chain: SHA-256 over the previous digest (empty at revision 1) and the canonical JSON."""
    return hashlib.sha256(previous + event.canonical()).digest()


def _insert(db: Any, rows: list[Any]) -> None:
    """Insert flat rows of nine values with as few steps as possible: every step trades the interpreter lock."""
    width = 9
    start, total = 0, len(rows) // width
    while start < total:
        count = min(_MAX_ROWS, 1 << (total - start).bit_length() - 1)
        db.execute(_INSERT + ",".join([_ROW] * count), rows[start * width : (start + count) * width]).close()
        start += count


def _check_same(new: NewEvent, stored: Event) -> None:
    same = (
        new.stream == stored.stream
        and new.event_type == stored.event_type
        and new.source == stored.source
        and new.payload_json == stored.payload_json
    )
    if not same:
        raise Conflict(
            f"event_id {new.event_id} was already used at seq {stored.seq} with other content", field="event_id", seq=stored.seq
        )
