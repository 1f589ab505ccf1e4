"""Reading the log with SQL: pages after a cursor, single events, stream lists, and lists of the rows that surfaces project from
it. Pure functions over a connection.

Every event that is read is proved undamaged (`rows.py`): a page ends before a damaged one, and a read that begins with one
raises `Damaged`. Every read is short: it ends at a row, byte or window limit and holds no cursor open, because an open read
keeps the write-ahead log from being reset. Patterns and type globs are filters over a walk by seq, in windows, so that a sparse
selection costs many short reads and never one long one."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

from server.eventlog.rows import Head, Histories, damaged, read_event_at, read_events, read_head, read_histories
from server.eventlog.selection import EVERYTHING, Selection
from server.eventlog.trimmed import read_trimmed, trimmed_through
from towow.errors import Damaged
from towow.events import MAX_SEQ, SYSTEM, Event

_WINDOW_SEQS = 20_000  # rows looked at by one statement that filters
_WINDOWS_BACK = 10  # statements that look for the newest events of a sparse selection
_NEWEST_BYTES = 8_388_608
_WINDOWS_PER_READ = 5  # statements of one read, before the reader gets its turn back
_NOT_THE_SYSTEMS = f"stream < '{SYSTEM}' OR stream >= '{SYSTEM[:-1]};'"  # what `*` is
_STREAMS_PER_READ = 2_000  # streams in which one read looks for an event_id


class Page(NamedTuple):
    """Events after a cursor, ascending. Everything up to `through_seq` (inclusive) has been looked at.

    `trimmed_seq` is the highest seq of the selection that retention had removed then."""

    events: list[Event]
    through_seq: int
    trimmed_seq: int = 0


class StreamInfo(NamedTuple):
    """One line of the list of streams; `kept` is the number of events that retention has left, 0 of one that is gone."""

    name: str
    last_seq: int
    revision: int
    kept: int
    updated_at: str
    last_event_type: str


def read_page(db: Any, selection: Selection, after: int, through: int, limit: int, max_bytes: int) -> Page:
    """Events with `after` < seq <= `through`, at most `limit` or about `max_bytes` of them (one is always allowed)."""
    where, parameters, is_seek = _condition(selection)
    histories = read_histories(db)
    events: list[Event] = []
    size = 0
    for _ in range(_WINDOWS_PER_READ):
        end = through if is_seek else min(through, after + _WINDOW_SEQS)
        condition = f"WHERE {where} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        try:
            with closing(read_events(db, condition, (*parameters, after, end, limit - len(events)), histories)) as found:
                for event in found:
                    if event.seq <= after:
                        raise damaged(0)
                    after = event.seq
                    events.append(event)
                    size += len(event.payload_json) + 250  # the canonical JSON's other fields
                    if size >= max_bytes or len(events) >= limit:
                        return Page(events, event.seq)
        except Damaged as error:
            if events:  # the next read begins with it
                return Page(events, events[-1].seq)
            if 0 < error.seq <= after:  # the tree of the table is out of order: nobody may be sent back
                raise damaged(0) from error
            raise
        after = end
        if after >= through:
            break
    return Page(events, after)


def read_newest(db: Any, selection: Selection, through: int, limit: int, max_bytes: int = _NEWEST_BYTES) -> list[Event]:
    """The newest `limit` events up to `through`, or about `max_bytes` of them, oldest first. Raises `Damaged` when one of them
    is. Of a selection that no index answers: those among the newest 200,000 seqs."""
    where, parameters, is_seek = _condition(selection)
    histories = read_histories(db)
    events: list[Event] = []
    size = 0
    for _ in range(_WINDOWS_BACK):
        low = 0 if is_seek else max(0, through - _WINDOW_SEQS)
        condition = f"WHERE {where} AND seq <= ? AND seq > ? ORDER BY seq DESC LIMIT ?"
        with closing(read_events(db, condition, (*parameters, through, low, limit - len(events)), histories)) as found:
            for event in found:
                events.append(event)
                size += len(event.payload_json) + 250
                if size >= max_bytes:
                    return events[::-1]
        if not low or len(events) >= limit:
            break
        through = low
    return events[::-1]


def _condition(selection: Selection) -> tuple[str, list[Any], bool]:
    """SQL for the selection, its parameters, and whether an index seek answers it without a walk."""
    parts: list[str] = []
    parameters: list[Any] = []
    names, patterns = sorted(selection.names), selection.patterns
    if "*" in patterns:
        names, patterns = [name for name in names if name.startswith(SYSTEM)], ()
        if selection.patterns == EVERYTHING.patterns:
            names = []
        else:
            parts.append(_NOT_THE_SYSTEMS)
    if names:
        parts.append("stream = ?" if len(names) == 1 else f"stream IN ({','.join('?' * len(names))})")
        parameters += names
    for pattern in patterns:
        parts.append("stream GLOB ?")
        parameters.append(pattern)
    where = f"({' OR '.join(parts)})" if parts else "1"
    is_seek = ("*" in selection.patterns or selection.single is not None) and not selection.types
    if not is_seek and selection.single is None:
        where = where.replace("stream ", "+stream ")  # walk by seq: the other index would have to sort
    if selection.types:
        where += f" AND ({' OR '.join(['event_type GLOB ?'] * len(selection.types))})"
        parameters += selection.types
    return where, parameters, is_seek


def read_event(db: Any, seq: int) -> Event | None:
    """One event by seq, or None. Raises `Damaged`."""
    return read_event_at(db, seq)


class Found(NamedTuple):
    """Events that have an id, and the name of the stream up to which was looked (None: all were)."""

    events: list[Event]
    after: str | None


def find_event_id(db: Any, selection: Selection, event_id: str, after: str = "") -> Found:
    """The events with this event_id among the streams of a selection, at most two: an id is unique within its stream only.

    An id that the log derived is found by its seq, one in a stream by one seek, and in a pattern by one seek for each of its
    streams; go on after `Found.after` until that is None."""
    seq = read_histories(db).seq_of(event_id)
    if seq:
        event = read_event_at(db, seq)
        if event is not None and event.event_id == event_id and selection.wants_stream(event.stream):
            return Found([event], None)
    where = "WHERE stream = ? AND event_id = ? AND event_id IS NOT NULL"
    events: list[Event] = []
    if not after:
        for name in sorted(selection.names):
            events += read_events(db, where, (name, event_id))
    if not selection.patterns or len(events) > 1:
        return Found(events, None)
    for _ in range(_STREAMS_PER_READ):
        row = db.execute("SELECT min(stream) FROM events WHERE stream > ?", (after,)).fetchone()
        if row[0] is None:
            return Found(events, None)
        after = row[0]
        if selection.wants_stream(after) and after not in selection.names:
            events += read_events(db, where, (after, event_id))
            if len(events) > 1:
                return Found(events, None)
    return Found(events, after)


def read_stream(db: Any, stream: str) -> StreamInfo | None:
    """Where a stream stands, or None when it never existed. Two statements, each one index seek; raises `Damaged`."""
    last = next(read_events(db, "WHERE stream = ? ORDER BY seq DESC LIMIT 1", (stream,)), None)
    if last is None:
        gone = read_trimmed(db, stream)
        return None if gone is None else StreamInfo(stream, gone.through_seq, gone.revision, 0, gone.timestamp, gone.event_type)
    first = db.execute("SELECT revision FROM events WHERE stream = ? ORDER BY seq LIMIT 1", (stream,)).fetchone()[0]
    return StreamInfo(stream, last.seq, last.revision, last.revision - first + 1, last.timestamp, last.event_type)


def read_first_actor(db: Any, stream: str) -> str | None:
    """Who began a stream; None where nobody was asked, or its beginning is not kept."""
    row = db.execute("SELECT actor FROM events WHERE stream = ? AND revision = 1 ORDER BY seq LIMIT 1", (stream,)).fetchone()
    return row[0] if row else None


def read_streams(db: Any, *, kind: str | None, after: str, limit: int) -> list[StreamInfo]:
    """Streams by name, after a name (exclusive). Walks from name to name by the index, so it does not grow with the log."""
    found: list[StreamInfo] = []
    low, high = (f"{kind}:", f"{kind};") if kind else ("", "\U0010ffff")
    name = max(after, low)
    while len(found) < limit:
        row = db.execute("SELECT min(stream) FROM events WHERE stream > ? AND stream < ?", (name, high)).fetchone()
        if row[0] is None:
            break
        name = row[0]
        info = read_stream(db, name)
        if info is not None:
            found.append(info)
    return found


def read_trimmed_page(db: Any, selection: Selection, after: int, through: int, limit: int, max_bytes: int) -> Page:
    """A page as `read_page` reads it, and how far the selection is trimmed, both of one moment."""
    db.execute("BEGIN").close()
    try:
        page = read_page(db, selection, after, through, limit, max_bytes)
        return page._replace(trimmed_seq=trimmed_through(db, selection))
    finally:
        db.execute("COMMIT").close()


class RowPage(NamedTuple):
    """Which rows of a table are asked for: those between two seqs (exclusive) whose columns have these values (None: NULL)."""

    limit: int
    before_seq: int = MAX_SEQ
    after_seq: int = -1
    is_oldest_first: bool = False
    where: Mapping[str, object] = {}


def read_rows(db: Any, columns: str, source: str, page: RowPage, *, seq: str = "created_seq") -> tuple[list[Any], bool]:
    """At most `page.limit` rows in the order of `seq`, the column of their beginning, and whether there are more."""
    parts = [f"{column} IS NULL" if value is None else f"{column} = ?" for column, value in page.where.items()]
    where = " AND ".join([*parts, f"{seq} < ?", f"{seq} > ?"])
    order = "ASC" if page.is_oldest_first else "DESC"
    given = [value for value in page.where.values() if value is not None]
    sql = f"SELECT {columns} FROM {source} WHERE {where} ORDER BY {seq} {order} LIMIT ?"  # noqa: S608 - no input
    rows = db.execute(sql, (*given, page.before_seq, page.after_seq, page.limit + 1)).fetchall()
    return rows[: page.limit], len(rows) > page.limit


class LogMeta(NamedTuple):
    """What the file says of itself: its identity, the oldest seq that is kept (after the head: none is), the highest seq that
    retention has removed, when somebody last said that the clock is right, and the highest seq ever given."""

    histories: Histories
    created_at: str
    oldest_seq: int
    trimmed_seq: int
    clock_confirmed_at: str | None
    head: Head

    @property
    def epoch(self) -> str:
        """The present epoch: where new events belong."""
        return self.histories.epochs[-1]

    @property
    def head_seq(self) -> int:
        """The highest seq ever given."""
        return self.head.seq


def read_meta(db: Any) -> LogMeta:
    """Read the identity and the ends of the log."""
    sql = "SELECT created_at, trimmed_seq, clock_confirmed_at, (SELECT min(seq) FROM events) FROM log_meta"
    created_at, trimmed_seq, confirmed_at, oldest_seq = db.execute(sql).fetchone()
    head = read_head(db)
    return LogMeta(read_histories(db), created_at, oldest_seq or head.seq + 1, trimmed_seq, confirmed_at, head)
