"""Rows of the table `events`: from a row to an event that is proved undamaged, the digest chain, and gaps. Pure SQL, no tasks.

Every reader of events goes through `read_events`: a row whose CRC-32 does not fit its canonical JSON is named, never served.
The chain runs over the whole log: SHA-256(previous digest ‖ SHA-256(canonical JSON)). What retention has removed is a gap, a
row of the table `gaps` that keeps the digest after it and the check of each event in it."""

import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from server.eventlog.engine import error_code, is_corrupt, sqlite3
from towow.errors import Damaged
from towow.events import MAX_SEQ, Event, canonical_of, check_of

COLUMNS = "seq, stream, revision, event_id, event_type, timestamp, source, payload, actor, digest, crc"
_ONE = "WHERE seq = ?"
NO_DIGEST = b""  # before the first event
_CHECK_BYTES = 3  # of one event in a gap; all zero for a seq without a check
_MAX_CHECKED_SEQS = 1_000  # of one gap; longer runs are several


class Histories(NamedTuple):
    """The line of epochs of this log: `epochs[n]` is good from the seq `from_seqs[n]` on, the first from 1; the last is now."""

    epochs: tuple[str, ...]
    from_seqs: tuple[int, ...]

    def last_of(self, epoch: str) -> int | None:
        """The last seq of an epoch of this log, `MAX_SEQ` for the present one; None for an epoch of another log."""
        if epoch not in self.epochs:
            return None
        later = self.from_seqs[self.epochs.index(epoch) + 1 :]
        return later[0] - 1 if later else MAX_SEQ

    def derived_id(self, seq: int) -> str:
        """The event_id of an event whose publisher chose none: unique, and the same for ever."""
        return f"evt-{self.epochs[bisect_right(self.from_seqs, seq) - 1]}-{seq}"

    def seq_of(self, event_id: str) -> int | None:
        """The seq in an id that is reserved for this log; 0 when it is reserved and no seq, None for an ordinary id."""
        digits = event_id.rpartition("-")[2]
        if event_id.startswith("evt-") and any(event_id.startswith(f"evt-{epoch}-") for epoch in self.epochs):
            seq = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 19 else 0
            return seq if 0 < seq <= MAX_SEQ and self.derived_id(seq) == event_id else 0
        return None


def read_histories(db: Any) -> Histories:
    """The epochs of the log, oldest first."""
    rows = db.execute("SELECT epoch, from_seq FROM histories ORDER BY from_seq").fetchall()
    return Histories(tuple(row[0] for row in rows), tuple(row[1] for row in rows))


def read_events(
    db: Any, condition: str, parameters: Sequence[Any], histories: Histories | None = None
) -> Generator[Event, None, None]:
    """The events that `condition` (SQL after `FROM events`) selects, each proved undamaged. Close what is not read to its end.

    Raises `Damaged` in the place of the first row that is damaged; the rows before it have come."""
    histories = histories or read_histories(db)
    prefix = f"evt-{histories.epochs[-1]}-" if len(histories.epochs) == 1 else None
    crc32 = zlib.crc32
    last = 0
    sql = f"SELECT {COLUMNS} FROM events {condition}"  # noqa: S608 - constant text, see callers
    try:
        for seq, stream, revision, event_id, event_type, timestamp, source, payload, actor, digest, crc in db.execute(
            sql, parameters
        ):
            if event_id is None:
                event_id = f"{prefix}{seq}" if prefix is not None else histories.derived_id(seq)
            canonical = canonical_of(seq, stream, revision, event_id, event_type, timestamp, source, payload, actor)
            if crc32(canonical) != crc:
                raise damaged(seq)
            last = seq
            yield Event(seq, stream, revision, event_id, event_type, timestamp, source, payload, actor, digest, canonical)
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error) and not _is_no_text(error):
            raise
        left = _seqs_after(db, condition, parameters, last)
        if len(left) < 2 or condition == _ONE:
            raise damaged(left[0] if left else 0) from error
        for seq in left:  # SQLite's driver reads ahead: the rows before the one that fails have not come yet
            yield from read_events(db, _ONE, (seq,), histories)
    except (TypeError, UnicodeError):  # another type than a text, a lone surrogate
        left = _seqs_after(db, condition, parameters, last)
        raise damaged(left[0] if left else 0) from None


def damaged(seq: int) -> Damaged:
    """The error that names a seq; 0 when not even that can be told."""
    where = f"the event at seq {seq} is damaged" if seq else "the file of the log is damaged"
    return Damaged(f"{where}: what is stored is not what was written; `check` lists every fault", seq=seq)


def _is_no_text(error: BaseException) -> bool:
    """Whether a text column holds bytes that are no UTF-8."""
    return not error_code(error) and "decode" in str(error)


def _seqs_after(db: Any, condition: str, parameters: Sequence[Any], last: int) -> list[int]:
    """The seqs that a condition selects after one that has come; none when not even they can be read."""
    try:
        seqs = [int(row[0]) for row in db.execute(f"SELECT seq FROM events {condition}", parameters)]  # noqa: S608 - see callers
    except sqlite3.DatabaseError:
        return []
    return seqs[seqs.index(last) + 1 :] if last in seqs else seqs


def read_event_at(db: Any, seq: int) -> Event | None:
    """The event at a seq, or None. Raises `Damaged`."""
    return next(read_events(db, _ONE, (seq,)), None)


def crc_of(canonical: bytes) -> int:
    """The CRC-32 of an event's canonical JSON, as its row keeps it."""
    return zlib.crc32(canonical)


def link(previous: bytes, canonical: bytes) -> bytes:
    """The next digest of the chain, over the digest before (empty before the first event) and the event's canonical JSON."""
    sha256 = hashlib.sha256
    return sha256(previous + sha256(canonical).digest()).digest()


class Head(NamedTuple):
    """The end of the log: the highest seq ever given, and the digest of the chain there."""

    seq: int
    digest: bytes


def read_head(db: Any) -> Head:
    """Where the chain ends: at the last event, or at a gap after it."""
    last = db.execute("SELECT seq, digest FROM events ORDER BY seq DESC LIMIT 1").fetchone() or (0, NO_DIGEST)
    gap = db.execute("SELECT through_seq, digest FROM gaps ORDER BY from_seq DESC LIMIT 1").fetchone() or (0, NO_DIGEST)
    end = max(last, gap)
    return Head(max(read_head_seq(db), end[0]), end[1])


def read_head_seq(db: Any) -> int:
    """The highest seq ever given, by one statement."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return row[0] if row else 0


def read_digest(db: Any, seq: int) -> bytes | None:
    """The digest of the chain at a seq; None where it is not known: inside a gap, or outside the log. Two index seeks."""
    row = db.execute("SELECT digest FROM events WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        row = db.execute("SELECT digest FROM gaps WHERE from_seq <= ?1 AND through_seq = ?1", (seq,)).fetchone()
    return None if row is None else bytes(row[0])


def prove(db: Any, seq: int, check: str) -> str:
    """Whether an event with this seq and these check digits is of this log: `proven`, `other_history`, or `trimmed`.

    `trimmed`: it was removed, and no check of it was kept. What was lost, not removed, is of the history that ended there."""
    kept = read_check(db, seq)
    if kept == check:
        return "proven"
    return "trimmed" if kept == "" and not _is_lost(db, seq) else "other_history"


def read_check(db: Any, seq: int) -> str | None:
    """The check digits at a seq: one index seek in `events`, or in the gap that covers it.

    Empty where none was kept, None outside the log."""
    row = db.execute("SELECT digest FROM events WHERE seq = ?", (seq,)).fetchone()
    if row is not None:
        return check_of(row[0])
    gap = db.execute(
        "SELECT from_seq, through_seq, checks, digest FROM gaps WHERE from_seq <= ? ORDER BY from_seq DESC LIMIT 1", (seq,)
    ).fetchone()
    if gap is None or seq > gap[1]:
        return None
    start = (seq - gap[0]) * _CHECK_BYTES
    kept = gap[2][start : start + _CHECK_BYTES] if gap[2] is not None else b""
    if any(kept):
        return str(int.from_bytes(kept))
    return check_of(gap[3]) if seq == gap[1] else ""  # the end of what was lost is a place that this log has, and hands out


def _is_lost(db: Any, seq: int) -> bool:
    """Whether the gap that covers a seq is of events that were lost, not removed: a history begins with it."""
    sql = "SELECT 1 FROM histories WHERE from_seq > 1 AND from_seq = (SELECT max(from_seq) FROM gaps WHERE from_seq <= ?)"
    return db.execute(sql, (seq,)).fetchone() is not None


def insert_gaps(db: Any, removed: Sequence[tuple[int, bytes]], event_seq: int) -> str:
    """Keep a gap for every run of seqs that are about to be removed: `(seq, digest)`, ascending.

    Returns the SHA-256 over the gaps, for the event at `event_seq` that says so."""
    start = 0
    sha256 = hashlib.sha256()
    for place in range(1, len(removed) + 1):
        is_end = place == len(removed) or removed[place][0] != removed[place - 1][0] + 1
        if is_end or place - start == _MAX_CHECKED_SEQS:
            run = removed[start:place]
            checks = b"".join([_packed(check_of(digest)) for _, digest in run])
            insert_gap(db, run[0][0], run[-1][0], run[-1][1], checks, event_seq)
            sha256.update(gap_line(run[0][0], run[-1][0], run[-1][1], checks))
            start = place
    return sha256.hexdigest()


def gap_line(from_seq: int, through_seq: int, digest: bytes, checks: bytes) -> bytes:
    """What is hashed of a gap that retention has left."""
    return f"{from_seq} {through_seq} {digest.hex()} {checks.hex()}\n".encode()


def insert_gap(
    db: Any, from_seq: int, through_seq: int, digest: bytes, checks: bytes | None, event_seq: int | None = None
) -> None:
    """Keep one gap, both ends inclusive; `digest` is the chain's after it, `checks` None when they are not known.

    `event_seq` is that of the `log.trimmed` that says so, None for a gap that is not retention's."""
    columns = "from_seq, through_seq, digest, checks, event_seq"
    row = (from_seq, through_seq, digest, checks, event_seq)
    db.execute(f"INSERT INTO gaps ({columns}) VALUES (?, ?, ?, ?, ?)", row).close()  # noqa: S608 - constant


def _packed(check: str) -> bytes:
    return int(check).to_bytes(_CHECK_BYTES) if check.isascii() and check.isdigit() else b""
