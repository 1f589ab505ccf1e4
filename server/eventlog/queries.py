"""Reading the log with SQL: pages after a cursor, single events, stream lists, and lists of the rows that surfaces project from
it. Pure functions over a connection.

Every read is short: it ends at a row, byte or window limit and holds no cursor open, because an open read keeps the
write-ahead log from being reset. Patterns and type globs are filters over a walk by seq, in windows, so that a sparse
selection costs many short reads and never one long one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from server.eventlog.selection import Selection
from server.eventlog.writer import COLUMNS
from towow.events import MAX_SEQ, Event

_WINDOW_SEQS = 20_000  # rows looked at by one statement that filters
_WINDOWS_PER_READ = 5  # statements of one read, before the reader gets its turn back


class Page(NamedTuple):
    """Events after a cursor, ascending. Everything up to `through_seq` (inclusive) has been looked at."""

    events: list[Event]
    through_seq: int


class StreamInfo(NamedTuple):
    """One line of the list of streams; `kept` is the number of events that retention has left."""

    name: str
    last_seq: int
    revision: int
    kept: int
    updated_at: str
    last_event_type: str


def read_page(db: Any, selection: Selection, after: int, through: int, limit: int, max_bytes: int) -> Page:
    """Events with `after` < seq <= `through`, at most `limit` or about `max_bytes` of them (one is always allowed)."""
    where, parameters, is_seek = _condition(selection)
    events: list[Event] = []
    size = 0
    for _ in range(_WINDOWS_PER_READ):
        end = through if is_seek else min(through, after + _WINDOW_SEQS)
        rows = db.execute(
            f"SELECT {COLUMNS} FROM events WHERE {where} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",  # noqa: S608 - no input
            (*parameters, after, end, limit - len(events)),
        )
        for row in rows:
            events.append(Event(*row))
            size += len(row[7]) + 250  # the canonical JSON's other fields
            if size >= max_bytes or len(events) >= limit:
                rows.close()
                return Page(events, events[-1].seq)
        after = end
        if after >= through:
            break
    return Page(events, after)


def read_newest(db: Any, selection: Selection, through: int, limit: int) -> list[Event]:
    """The newest `limit` events up to `through`, oldest first."""
    where, parameters, _ = _condition(selection)
    rows = db.execute(
        f"SELECT {COLUMNS} FROM events WHERE {where} AND seq <= ? ORDER BY seq DESC LIMIT ?",  # noqa: S608 - no input
        (*parameters, through, limit),
    ).fetchall()
    return [Event(*row) for row in reversed(rows)]


def _condition(selection: Selection) -> tuple[str, list[Any], bool]:
    """SQL for the selection, its parameters, and whether an index seek answers it without a walk."""
    parts: list[str] = []
    parameters: list[Any] = []
    if "*" not in selection.patterns:
        if selection.names:
            names = sorted(selection.names)
            parts.append("stream = ?" if len(names) == 1 else f"stream IN ({','.join('?' * len(names))})")
            parameters += names
        for pattern in selection.patterns:
            parts.append("stream GLOB ?")
            parameters.append(pattern)
    where = f"({' OR '.join(parts)})" if parts else "1"
    is_seek = (not parts or selection.single is not None) and not selection.types
    if not is_seek and selection.single is None:
        where = where.replace("stream ", "+stream ")  # walk by seq: the other index would have to sort
    if selection.types:
        where += f" AND ({' OR '.join(['event_type GLOB ?'] * len(selection.types))})"
        parameters += selection.types
    return where, parameters, is_seek


def read_event(db: Any, *, seq: int | None = None, event_id: str | None = None) -> Event | None:
    """One event by seq or by event_id, or None."""
    if seq is not None:
        row = db.execute(f"SELECT {COLUMNS} FROM events WHERE seq = ?", (seq,)).fetchone()  # noqa: S608 - constant
    else:
        row = db.execute(f"SELECT {COLUMNS} FROM events WHERE event_id = ?", (event_id,)).fetchone()  # noqa: S608 - constant
    return Event(*row) if row else None


def read_stream(db: Any, stream: str) -> StreamInfo | None:
    """Where a stream stands, or None when it never existed. Two statements, each one index seek."""
    last = db.execute(
        "SELECT seq, revision, timestamp, event_type FROM events WHERE stream = ? ORDER BY revision DESC LIMIT 1", (stream,)
    ).fetchone()
    if last is None:
        return None
    first = db.execute("SELECT min(revision) FROM events WHERE stream = ?", (stream,)).fetchone()[0]
    return StreamInfo(stream, last[0], last[1], last[1] - first + 1, last[2], last[3])


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
    """What the file says of itself: its identity, the highest seq ever given, and how far retention has trimmed."""

    epoch: str
    created_at: str
    trimmed_seq: int
    head_seq: int


def read_meta(db: Any) -> LogMeta:
    """Read the identity and the ends of the log."""
    epoch, created_at, trimmed_seq = db.execute("SELECT epoch, created_at, trimmed_seq FROM log_meta").fetchone()
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return LogMeta(epoch, created_at, trimmed_seq, row[0] if row else 0)
