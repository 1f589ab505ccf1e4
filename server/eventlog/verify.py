"""Verify a database file against itself, its mark and heads that were kept elsewhere; no server needs to be running."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from hashlib import blake2b
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.eventlog.chain import ROWS_PER_READ, Chain, Fault, each_event
from server.eventlog.database import migrate, migrations, sqlite3
from server.eventlog.heads import SignedHead, head_faults
from server.eventlog.mark import Mark
from server.eventlog.queries import read_meta
from server.eventlog.recovery import differs_from_mark
from server.eventlog.rows import Head
from server.eventlog.writer import Projection, project_one
from towow.errors import StartupError
from towow.events import Event, kind_of

_SHOWN_IDS = 3  # of a projection's rows that differ


class Projections(NamedTuple):
    """What is written with the events: functions by the kind of stream, and tables with SQL for the stream that a row is of."""

    functions: Mapping[str, Sequence[Projection]]
    tables: Mapping[str, str]


NO_PROJECTIONS = Projections({}, {})


class Summary(NamedTuple):
    """What was verified."""

    events: int
    streams: int
    head: Head
    faults: list[Fault]


def check(
    db: Any,
    projections: Projections = NO_PROJECTIONS,
    progress: Callable[[int], None] = lambda count: None,
    *,
    mark: Mark | None = None,
    kept: Sequence[SignedHead] = (),
    key: Ed25519PublicKey | None = None,
) -> Summary:
    """Verify a file against itself. Reads everything, writes nothing; a server may be appending meanwhile.

    SQLite's integrity, the schema, every row's CRC, the digest chain, seqs and revisions without holes, and the projections
    against a rebuild, but for streams whose beginning retention has removed; then its mark, which is to be read before, and
    signed heads, also those `kept` elsewhere, whose signatures are verified with a `key`. `progress` gets a count of events."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    newest = migrations()[-1][0]
    if version != newest:
        hint = (
            "start a server on it, or run `rebuild`: that brings it up to date" if version < newest else "use a newer release"
        )
        raise StartupError(f"the database has version {version}, this program verifies {newest}: {hint}")
    faults = [Fault(0, "", row[0]) for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
    with closing(sqlite3.connect("", isolation_level=None)) as scratch:  # a temporary file, as far as it is large
        migrate(scratch)
        scratch.execute("PRAGMA synchronous = OFF")
        faults += _schema_faults(db, scratch)
        db.execute("BEGIN")  # the tables and the seq that they are true at
        try:
            meta = read_meta(db)
            rows = {name: rows_of(db, name, stream) for name, stream in projections.tables.items()}
            trimmed = {name for (name,) in db.execute("SELECT stream FROM trimmed_streams")}
        except sqlite3.DatabaseError as error:
            return Summary(0, 0, Head(0, b""), [*faults, Fault(0, "", f"cannot be read: {error}")])
        finally:
            db.execute("ROLLBACK")
        chain = Chain(db)
        scratch.execute("BEGIN")
        for found in each_event(db, meta.head_seq):
            chain.take(found)
            if isinstance(found, Event):
                for projection in projections.functions.get(kind_of(found.stream), ()):
                    project_one(scratch, projection, found)
            if chain.events % ROWS_PER_READ == 0:
                progress(chain.events)
        chain.finish(meta.head_seq)
        progress(chain.events)
        for name, stream in projections.tables.items():
            faults += _projection_faults(name, rows[name], rows_of(scratch, name, stream), trimmed)
    faults += chain.faults
    faults += head_faults(db, kept, key)
    what = differs_from_mark(db, mark) if mark is not None else None
    if what is not None:
        faults.append(Fault(0, "", f"history is lost: {what}"))
    return Summary(chain.events, len(chain.revisions), chain.through, faults)


def _schema_faults(db: Any, scratch: Any) -> list[Fault]:
    """Tables, views, indexes and triggers that are not what the migrations make."""
    sql = "SELECT type || ' ' || name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    expected, actual = dict(scratch.execute(sql).fetchall()), dict(db.execute(sql).fetchall())
    what = {True: "was changed", False: "is missing"}
    faults = [Fault(0, "", f"{name} {what[name in actual]}") for name in expected if actual.get(name, "") != expected[name]]
    return faults + [Fault(0, "", f"{name} is not the server's") for name in sorted(actual.keys() - expected.keys())]


def rows_of(db: Any, name: str, stream: str) -> dict[bytes, str]:
    """A hash of every row of a projection, with the stream that it is of."""
    sql = f"SELECT {stream}, * FROM {name}"  # noqa: S608 - our names
    try:
        return {blake2b(repr(row).encode(), digest_size=16).digest(): row[0] for row in db.execute(sql)}
    except sqlite3.OperationalError:
        return {}  # the table is gone: the schema's fault


def _projection_faults(
    name: str, actual: Mapping[bytes, str], expected: Mapping[bytes, str], trimmed: Set[str]
) -> Iterator[Fault]:
    differing = {actual.get(key) or expected[key] for key in actual.keys() ^ expected.keys()}
    streams = sorted(stream for stream in differing if stream not in trimmed)
    if streams:
        some = ", ".join(streams[:_SHOWN_IDS]) + (", …" if len(streams) > _SHOWN_IDS else "")
        yield Fault(0, "", f"table {name} is not what the log says of {some}; `rebuild` mends it")
