"""Build the projections of a log again, beside a server that goes on: in a file of their own, then what differs is exchanged.

Streams that retention has trimmed cannot be folded from their beginning: what the rows say of them is kept. Rows are exchanged
in short transactions, each of some streams and true at its moment, so that publishers wait and nobody is refused."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from server.eventlog.chain import ROWS_PER_READ, each_event
from server.eventlog.database import migrate, sqlite3
from server.eventlog.queries import read_meta
from server.eventlog.verify import Projections, rows_of
from server.eventlog.writer import project_one
from towow.errors import Damaged
from towow.events import kind_of

_STREAMS_PER_TRANSACTION = 500  # at least; each looks through the tables, so that large ones are exchanged in fewer
_MAX_TRANSACTIONS = 50


def rebuild(db: Any, projections: Projections, progress: Callable[[int], None] = lambda count: None) -> int:
    """Fold the whole log and give every table the rows that it says; returns the events folded. `progress` gets their count.

    `db` is a connection in autocommit mode. Raises `Damaged` for the first event that cannot be read; the tables are as they
    were then."""
    with TemporaryDirectory(prefix="towow-rebuild-") as directory:
        path = Path(directory) / "rebuilt.db"
        with closing(sqlite3.connect(str(path), isolation_level=None)) as scratch:
            scratch.execute("PRAGMA journal_mode = OFF")
            scratch.execute("PRAGMA synchronous = OFF")
            migrate(scratch)
            fold = _Fold(db, scratch, projections, progress)
            fold.through(read_meta(db).head_seq)
            streams = sorted(_differing(db, scratch, fold))
            step = max(_STREAMS_PER_TRANSACTION, -(-len(streams) // _MAX_TRANSACTIONS))
            for start in range(0, len(streams), step):
                _exchange(db, scratch, fold, streams[start : start + step])
            progress(fold.count)
            return fold.count


class _Fold:
    """The tables as the log makes them, as far as it has been read."""

    def __init__(self, db: Any, scratch: Any, projections: Projections, progress: Callable[[int], None]) -> None:
        self.count = 0
        self.projections = projections
        self._db = db
        self._scratch = scratch
        self._progress = progress
        self._seq = 0

    def through(self, seq: int) -> None:
        """Fold every event up to a seq that has not been folded yet."""
        self._scratch.execute("BEGIN")
        for event in each_event(self._db, seq, self._seq):
            if isinstance(event, Damaged):
                raise event
            for projection in self.projections.functions.get(kind_of(event.stream), ()):
                project_one(self._scratch, projection, event)
            self.count += 1
            if self.count % ROWS_PER_READ == 0:
                self._progress(self.count)
        self._scratch.execute("COMMIT")
        self._seq = seq


def _differing(db: Any, scratch: Any, fold: _Fold) -> set[str]:
    """The streams whose rows are not those that the log makes, but for trimmed ones that have rows."""
    tables = fold.projections.tables
    db.execute("BEGIN")  # rows and head of one moment
    try:
        fold.through(read_meta(db).head_seq)
        actual = {name: rows_of(db, name, stream) for name, stream in tables.items()}
        trimmed = {name for (name,) in db.execute("SELECT stream FROM trimmed_streams")}
    finally:
        db.execute("ROLLBACK")
    known = {stream for rows in actual.values() for stream in rows.values()}
    found: set[str] = set()
    for name, stream in tables.items():
        rows = rows_of(scratch, name, stream)
        found |= {actual[name].get(key) or rows[key] for key in actual[name].keys() ^ rows.keys()}
    return found - (trimmed & known)


def _exchange(db: Any, scratch: Any, fold: _Fold, streams: Sequence[str]) -> None:
    """Replace the rows of some streams by those that are true at this moment. One transaction."""
    wanted = (msgspec.json.encode(streams).decode(),)
    db.execute("BEGIN IMMEDIATE")
    try:
        fold.through(read_meta(db).head_seq)
        for name, stream in fold.projections.tables.items():
            db.execute(f"DELETE FROM {name} WHERE {_among(stream)}", wanted).close()  # noqa: S608 - our names
        for name, stream in fold.projections.tables.items():
            columns = _columns(scratch, name)
            sql = f"SELECT {columns} FROM {name} WHERE {_among(stream)}"  # noqa: S608 - our names
            marks = ", ".join("?" * (columns.count(",") + 1))
            db.executemany(f"INSERT INTO {name} ({columns}) VALUES ({marks})", scratch.execute(sql, wanted)).close()  # noqa: S608
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _among(stream: str) -> str:
    return f"{stream} IN (SELECT value FROM json_each(?))"  # noqa: S608 - our names


def _columns(db: Any, name: str) -> str:
    """The columns of a table, with the rowid of one for full-text search, which has no key of its own."""
    (kind,) = db.execute("SELECT type FROM pragma_table_list WHERE schema = 'main' AND name = ?", (name,)).fetchone()
    columns: Iterable[str] = (row[1] for row in db.execute(f"PRAGMA table_info({name})"))
    return ", ".join((["rowid"] if kind == "virtual" else []) + list(columns))
