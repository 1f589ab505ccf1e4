"""Work on a database file that no server needs to be running for: verify it, and build its projections again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from server.eventlog.queries import read_meta
from server.eventlog.writer import COLUMNS, Projection, digest_of, project_one
from towow.events import Event, kind_of

_ROWS_PER_READ = 5_000


class Fault(NamedTuple):
    """One thing that is wrong, at a place in the log (seq 0: the file as a whole)."""

    seq: int
    stream: str
    what: str


class Summary(NamedTuple):
    """What was verified."""

    events: int
    streams: int
    faults: list[Fault]


def check(db: Any, progress: Callable[[int], None] = lambda count: None) -> Summary:
    """Verify SQLite's integrity, dense revisions and the digest chain of every stream. Reads everything; writes nothing.

    After retention a stream's first kept event cannot be verified, only what follows it. `progress` gets a count of events."""
    faults = [Fault(0, "", row[0]) for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
    trimmed_seq = read_meta(db).trimmed_seq
    heads: dict[str, tuple[int, bytes]] = {}
    count = 0
    for event, digest in _rows(db):
        count += 1
        revision, previous = heads.get(event.stream, (0, b""))
        is_after_trim = event.stream not in heads and event.revision > 1 and trimmed_seq > 0
        if event.revision != revision + 1 and not is_after_trim:
            faults.append(Fault(event.seq, event.stream, f"revision {event.revision} follows {revision}"))
        elif not is_after_trim and digest_of(previous, event) != digest:
            faults.append(Fault(event.seq, event.stream, "the digest does not match: the event or one before it was changed"))
        heads[event.stream] = (event.revision, digest)
        if count % _ROWS_PER_READ == 0:
            progress(count)
    progress(count)
    return Summary(count, len(heads), faults)


def rebuild(
    db: Any,
    projections: Mapping[str, Sequence[Projection]],
    tables: Sequence[str],
    progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Empty the projections' tables and fold the whole log into them again, in one transaction; returns the events folded."""
    count = 0
    db.execute("BEGIN IMMEDIATE")
    try:
        empty(db, tables)
        for event, _ in _rows(db):
            for projection in projections.get(kind_of(event.stream), ()):
                project_one(db, projection, event)
            count += 1
            if count % _ROWS_PER_READ == 0:
                progress(count)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    progress(count)
    return count


def empty(db: Any, tables: Sequence[str]) -> None:
    """Remove every row of projections' tables, in this order, before they are filled again."""
    for table in tables:
        db.execute(f"DELETE FROM {table}").close()  # noqa: S608 - constants


def _rows(db: Any) -> Iterator[tuple[Event, bytes]]:
    """The whole log by seq, in pages, so that nothing is held open."""
    after = 0
    while True:
        rows = db.execute(
            f"SELECT {COLUMNS}, digest FROM events WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - constant
            (after, _ROWS_PER_READ),
        ).fetchall()
        if not rows:
            return
        for row in rows:
            yield Event(*row[:-1]), row[-1]
        after = rows[-1][0]
