"""Walk the whole log and verify it: every row's CRC, the digest chain, seqs and revisions without holes.

The walk reads pages, so that nothing is held open. What retention has removed is stepped over by its gaps, and each of those is
in the hash of the event that says so."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from server.eventlog.rows import NO_DIGEST, Head, gap_line, link, read_digest, read_events, read_histories
from server.eventlog.trimmed import LOG_TRIMMED, SYSTEM_LOG, read_trimmed
from towow.errors import Damaged
from towow.events import Event

ROWS_PER_READ = 5_000
# The gap that covers a seq, if any does: retention may have made it after the walk came by.
_GAP_AT = "SELECT through_seq, digest, event_seq FROM gaps WHERE from_seq <= ? ORDER BY from_seq DESC LIMIT 1"


class Fault(NamedTuple):
    """One thing that is wrong, at a place in the log (seq 0: the file as a whole)."""

    seq: int
    stream: str
    what: str


def each_event(db: Any, through: int, after: int = 0) -> Iterator[Event | Damaged]:
    """Every event after a seq and up to another, in pages; a damaged one is its error, and the walk goes on after it."""
    while after < through:
        count = 0
        try:
            for event in read_events(db, "WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, through, ROWS_PER_READ)):
                count += 1
                yield event
                after = event.seq
        except Damaged as error:
            yield error
            if not error.seq:
                return
            after = error.seq
        else:
            if count < ROWS_PER_READ:
                return


class Chain:
    """The state of one walk: feed it every event in order with `take`, then `finish`; `faults` has what is wrong."""

    def __init__(self, db: Any) -> None:
        self.faults: list[Fault] = []
        self.events = 0
        self.revisions: dict[str, int] = {}
        self.through = Head(0, NO_DIGEST)  # how far the walk has come
        self._db = db
        self._passes: dict[int, str] = {}  # seq of a log.trimmed and the hash of its gaps
        self._parted = {seq for seq in read_histories(db).from_seqs if seq > 1}
        self._is_linked = True  # whether the digest of the seq before is known

    def take(self, found: Event | Damaged) -> None:
        """The next event of the walk, or what stands in its place."""
        if isinstance(found, Damaged):
            self._fault(found.seq, "", found.message)
            if found.seq:
                self._step_to(found.seq)
                digest = read_digest(self._db, found.seq)
                self._is_linked = digest is not None and len(digest) == len(self.through.digest or digest)
                self.through = Head(found.seq, digest or NO_DIGEST)
            return
        self.events += 1
        self._step_to(found.seq)
        if self._is_linked and link(self.through.digest, found.canonical()) != found.digest:
            self._fault(found.seq, found.stream, "the digest does not follow from the one before: one of them was changed")
        self._is_linked = True
        self.through = Head(found.seq, found.digest)
        revision = self.revisions.get(found.stream, 0)
        if found.revision != revision + 1:
            trimmed = read_trimmed(self._db, found.stream)  # also meanwhile
            revision = max(revision, trimmed.revision if trimmed is not None else 0)
            if found.revision != revision + 1:
                self._fault(found.seq, found.stream, f"revision {found.revision} follows {revision}")
        self.revisions[found.stream] = found.revision
        if found.stream == SYSTEM_LOG and found.event_type == LOG_TRIMMED:
            self._passes[found.seq] = str(found.payload.get("sha256"))

    def finish(self, head_seq: int) -> None:
        """Step over what comes after the last event, up to the highest seq ever given."""
        self._step_to(head_seq + 1)
        overlapping = self._db.execute(
            "SELECT from_seq, through_seq FROM gaps AS g"
            " WHERE EXISTS (SELECT 1 FROM events WHERE seq BETWEEN g.from_seq AND g.through_seq)"
        )
        for from_seq, through_seq in overlapping:
            self._fault(from_seq, "", f"a gap up to seq {through_seq} holds events")
        self._check_passes(head_seq)

    def _check_passes(self, head_seq: int) -> None:
        """Compare the gaps of each pass of retention with the hash in its event."""
        found: dict[int, Any] = {}
        columns = "event_seq, from_seq, through_seq, digest, checks"
        sql = f"SELECT {columns} FROM gaps WHERE event_seq BETWEEN 1 AND ? ORDER BY from_seq"  # noqa: S608 - constant
        for event_seq, from_seq, through_seq, digest, checks in self._db.execute(sql, (head_seq,)):
            found.setdefault(event_seq, hashlib.sha256()).update(gap_line(from_seq, through_seq, digest, checks or b""))
        for seq in sorted(found.keys() | self._passes.keys()):
            if seq not in found or self._passes.get(seq) != found[seq].hexdigest():
                self._fault(seq, SYSTEM_LOG, "the gaps that name this event are not those that it tells of")

    def _step_to(self, seq: int) -> None:
        """Step over the gaps before a seq; what is neither an event nor a gap is missing."""
        at, digest = self.through
        while at + 1 < seq:
            gap = self._db.execute(_GAP_AT, (at + 1,)).fetchone()
            if gap is None or not at < gap[0] < seq:
                through = self._next_gap(at + 1, seq) - 1
                is_one = through == at + 1
                self._fault(at + 1, "", "the event is missing" if is_one else f"the events up to seq {through} are missing")
                self._is_linked = False
                at = through
                continue
            if gap[1] != digest and gap[2] is None and at + 1 not in self._parted:
                self._fault(at + 1, "", f"a gap up to seq {gap[0]} is not retention's")
            at, digest, self._is_linked = gap[0], gap[1], True
        self.through = Head(at, digest)

    def _next_gap(self, after: int, before: int) -> int:
        sql = "SELECT min(from_seq) FROM gaps WHERE from_seq > ? AND from_seq < ?"
        row = self._db.execute(sql, (after, before)).fetchone()
        return int(row[0] or before)

    def _fault(self, seq: int, stream: str, what: str) -> None:
        self.faults.append(Fault(seq, stream, what))


def verify_chain(db: Any, through: int, progress: Callable[[int], None] = lambda count: None) -> Chain:
    """Walk the log up to a seq and return the finished walk. `progress` gets a count of events."""
    chain = Chain(db)
    for found in each_event(db, through):
        chain.take(found)
        if chain.events % ROWS_PER_READ == 0:
            progress(chain.events)
    chain.finish(through)
    progress(chain.events)
    return chain
