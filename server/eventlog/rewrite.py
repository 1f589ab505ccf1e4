"""The one migration that makes a new file: from a chain for each stream (up to version 10) to one chain over the whole log.

The old file is only read. A new one is written beside it, `<database>.rewriting`, with every migration; the old digests are
verified, each event is moved into the new chain, the result is checked and synced. Then the old file gets a second name,
`<database>.before-NNNN`, and the new one takes the first: two steps of the directory, so a kill at any point leaves either the
old file or the new one under the database's name, and the next start begins again or finds it done."""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import structlog

from server.eventlog.chain import verify_chain
from server.eventlog.engine import is_busy, sqlite3
from server.eventlog.rows import NO_DIGEST, crc_of, insert_gap, link, read_head
from server.eventlog.trimmed import TrimmedStream, write_trimmed
from towow.errors import StartupError
from towow.events import Event

REWRITING = "_one_chain.sql"  # how the migration's name ends

_OLD_COLUMNS = "seq, stream, revision, event_id, event_type, timestamp, source, payload, digest"
_INSERT = (
    "INSERT INTO events (seq, stream, revision, event_id, event_type, timestamp, source, payload, crc, digest)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_OWN_TABLES = ("events", "log_meta", "histories", "gaps", "trimmed_streams", "heads")  # filled here; the others are copied
_ROWS_PER_STEP = 5_000
_PROGRESS_SECONDS = 2.0
_SPACE_FACTOR = 1.1  # of the old file's bytes
_log = structlog.get_logger("towow.rewrite")


def holds_events(db: Any) -> bool:
    """Whether the log was ever appended to: an empty one is changed by the script alone."""
    return db.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'events'").fetchone() is not None


def rewrite(db: Any, number: int, make_schema: Callable[[Any], None]) -> Path:
    """Put a rewritten file in the place of the one that `db` has open, and return the name that the old one keeps.

    `number` is the version that needs it, `make_schema` applies every migration to an empty file. Afterwards `db` is a
    connection to the old file. Raises `StartupError` when others use the file, it does not verify, or the disk has no room."""
    path = Path(db.execute("PRAGMA database_list").fetchone()[2])
    with closing(Path(f"{path}.lock").open("a+", encoding="utf-8")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupError(f"{path} must be rewritten for this release; stop the other servers on it first") from None
        _require_space(path)
        new = Path(f"{path}.rewriting")
        _remove(new)  # what a killed try has left
        started_at = time.monotonic()
        db.execute("BEGIN IMMEDIATE")
        try:
            count = _build(db, path, new, make_schema)
            ends = _ends(db)
        except BaseException:
            _remove(new)
            raise
        finally:
            db.execute("ROLLBACK")
        kept = _exchange(db, ends, path, new, number)
    seconds = round(time.monotonic() - started_at, 1)
    _log.warning("file_rewritten", database=str(path), events=count, seconds=seconds, old_file=str(kept))
    return kept


def _require_space(path: Path) -> None:
    size = sum(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists())
    needed, free = int(size * _SPACE_FACTOR), shutil.disk_usage(path.parent).free
    if free < needed:
        raise StartupError(
            f"{path} must be rewritten for this release: that takes {needed} bytes beside it, and {free} are free; nothing was"
            " changed"
        )


def _build(db: Any, path: Path, new: Path, make_schema: Callable[[Any], None]) -> int:
    """Write the new file, check and sync it; returns the number of events."""
    with closing(sqlite3.connect(str(new), isolation_level=None)) as target:
        target.execute(f"PRAGMA page_size = {db.execute('PRAGMA page_size').fetchone()[0]}")
        target.execute("PRAGMA auto_vacuum = INCREMENTAL")
        target.execute("PRAGMA journal_mode = OFF")  # a try that fails is removed
        target.execute("PRAGMA synchronous = OFF")
        make_schema(target)
        target.execute("ATTACH ? AS old", (str(path),))
        target.execute("BEGIN")
        _copy_tables(target)
        indexes = target.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'events' AND type = 'index'").fetchall()
        for name, _ in indexes:
            target.execute(f'DROP INDEX "{name}"')
        count = _move_events(db, target)
        for _, sql in indexes:  # after the rows, which come in the order of seq
            target.execute(sql)
        target.execute("COMMIT")
        target.execute("DETACH old")
        _check(target, count)
    descriptor = os.open(new, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return count


def _copy_tables(target: Any) -> None:
    """Copy what is not the log itself: projections as they are, and the log's identity."""
    target.execute("DELETE FROM log_meta")
    target.execute("INSERT INTO log_meta (id, created_at, trimmed_seq) SELECT id, created_at, trimmed_seq FROM old.log_meta")
    target.execute("DELETE FROM histories")
    target.execute("INSERT INTO histories SELECT epoch, 1 FROM old.log_meta")
    present = {row[0] for row in target.execute("SELECT name FROM old.sqlite_master WHERE type = 'table'")}
    tables = target.execute("SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')")
    names = {name: kind for name, kind in tables.fetchall() if not name.startswith("sqlite_") and name not in _OWN_TABLES}
    for name, kind in names.items():
        if name in present:
            columns = ["rowid"] if kind == "virtual" else []
            columns += [f'"{row[1]}"' for row in target.execute(f'PRAGMA old.table_info("{name}")')]
            listed = ", ".join(columns)
            target.execute(f'INSERT INTO main."{name}" ({listed}) SELECT {listed} FROM old."{name}"')  # noqa: S608 - our names
    shadows = {row[0] for row in target.execute("SELECT name FROM pragma_table_list WHERE type = 'shadow'")}
    others = sorted(name for name in present - names.keys() - shadows - set(_OWN_TABLES) if not name.startswith("sqlite_"))
    if others:
        _log.warning("tables_not_copied", tables=others, hint="they are not the server's; the old file still has them")


def _move_events(db: Any, target: Any) -> int:
    """Verify each event in the chain of its stream and insert it into the chain of the log; holes in seq become gaps."""
    total = db.execute("SELECT count(*) FROM events").fetchone()[0]
    trimmed_seq = db.execute("SELECT trimmed_seq FROM log_meta").fetchone()[0]
    streams: dict[str, tuple[int, bytes]] = {}
    after, digest, count = 0, NO_DIGEST, 0
    told_at = time.monotonic()
    while True:
        sql = f"SELECT {_OLD_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 - constant
        found = db.execute(sql, (after, _ROWS_PER_STEP)).fetchall()
        if not found:
            break
        rows = []
        for *columns, old_digest in found:
            event = Event(*columns)
            canonical = event.canonical()
            if event.stream not in streams and event.revision > 1:
                through_seq = min(event.seq - 1, trimmed_seq)
                write_trimmed(target, [TrimmedStream(event.stream, through_seq, event.revision - 1, "", "")])
            _verify_old(event, canonical, old_digest, streams, is_trimmed=trimmed_seq > 0)
            if event.seq != after + 1:
                insert_gap(target, after + 1, event.seq - 1, digest, None)
            after, digest = event.seq, link(digest, canonical)
            rows.append((*columns, crc_of(canonical), digest))
        target.executemany(_INSERT, rows)
        count += len(rows)
        if time.monotonic() - told_at > _PROGRESS_SECONDS:
            told_at = time.monotonic()
            _log.info("rewriting", events=count, of=total)
    head_seq = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()[0]
    if head_seq > after:
        insert_gap(target, after + 1, head_seq, digest, None)
        target.execute("INSERT INTO sqlite_sequence SELECT 'events', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence)")
        target.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", (head_seq,))
    return count


def _verify_old(
    event: Event, canonical: bytes, digest: bytes, streams: dict[str, tuple[int, bytes]], *, is_trimmed: bool
) -> None:
    """Check an event against the old chain: SHA-256 over the digest before in its stream and the canonical JSON."""
    revision, previous = streams.get(event.stream, (0, b""))
    is_first_kept = is_trimmed and not revision and event.revision > 1
    is_right = event.revision == revision + 1 and hashlib.sha256(previous + canonical).digest() == digest
    if not is_first_kept and not is_right:
        raise StartupError(
            f"the log does not verify at seq {event.seq} ({event.stream}): that event or one before it was changed. Nothing was"
            " rewritten; restore a copy, or see `check` of the release that wrote it"
        )
    streams[event.stream] = (event.revision, digest)


def _check(target: Any, count: int) -> None:
    """Raise `StartupError` unless the new file is sound and its chain verifies from end to end."""
    chain = verify_chain(target, read_head(target).seq)
    faults = [fault.what for fault in chain.faults]
    faults += [row[0] for row in target.execute("PRAGMA quick_check") if row[0] != "ok"]
    if chain.events != count or faults:
        raise StartupError(f"the rewritten log does not verify ({faults[:1] or chain.events}); nothing was changed")


def _exchange(db: Any, ends: tuple[int, int], path: Path, new: Path, number: int) -> Path:
    """Give the old file its second name and the new one the first. Nobody else may have the old one open."""
    try:
        mode = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0]  # its write-ahead log must not meet the new file
        db.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        mode = "busy"
    if mode != "delete" or _ends(db) != ends:
        _remove(new)
        raise StartupError(f"{path} must be rewritten for this release, and another program uses it; stop that and try again")
    try:
        kept = keep(path, f"before-{number:04d}")
        os.replace(new, path)
        sync_directory(path.parent)
    finally:
        db.execute("ROLLBACK")
    return kept


def keep(path: Path, suffix: str) -> Path:
    """A second name for a file, the first one that is free; what a killed try has linked already is used."""
    for place in range(1, 1000):
        kept = Path(f"{path}.{suffix}" if place == 1 else f"{path}.{suffix}-{place}")
        with suppress(FileExistsError):
            os.link(path, kept)
            return kept
        if kept.samefile(path):
            return kept
    raise StartupError(f"there are too many files {path}.{suffix}")


def _ends(db: Any) -> tuple[int, int]:
    """Head and trimmed seq: a script may have written while the lock was given up for the exchange."""
    sql = "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events'), trimmed_seq FROM log_meta"
    head_seq, trimmed_seq = db.execute(sql).fetchone()
    return head_seq, trimmed_seq


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
