"""Backups: a copy of a log that is in use, verified before it gets its name, and putting one back in its place.

A copy is one read of one moment (`VACUUM INTO`), so publishers go on at full speed, and it is compact. What comes back from a
backup is another history from its head on: seqs that were given after it are not given again."""

import os
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from server.eventlog.chain import verify_chain
from server.eventlog.database import lock_alone, migrate, migrations, read_only, sqlite3
from server.eventlog.heads import HeadSigner, SignedHead
from server.eventlog.mark import MarkFile, read_mark
from server.eventlog.recovery import Loss, accept
from server.eventlog.rewrite import keep, sync_directory
from server.eventlog.rows import Head, Histories, read_head, read_histories
from towow.errors import StartupError

_STEPS = 100_000  # of SQLite's machine between two looks at Ctrl-C and at how far the copy is
_OLDEST_VERSION = 11  # whose chain is that of today
_SPACE_FACTOR = 1.1

# Called with what is being done, how far it is, and out of how much (0: not known).
Progress = Callable[[str, int, int], None]


class Restored(NamedTuple):
    """What a restore has made: the new epoch and its first seq, the head, and the name that the old file keeps."""

    epoch: str
    from_seq: int
    head_seq: int
    kept: Path | None


def backup(path: Path, target: Path, signer: HeadSigner, now: float, progress: Progress) -> SignedHead:
    """Copy the log to `target`, verify the copy, and give it its name; a file of that name is replaced then, and not before.

    Its head, signed where there is a key, is kept in it and beside it, `<target>.head`, for `check --against`. A server may be
    publishing. Raises `StartupError`; nothing is left behind then."""
    if target.exists() and path.exists() and target.samefile(path):
        raise StartupError(f"{target} is the database itself")
    if not target.parent.is_dir():
        raise StartupError(f"there is no directory {target.parent}")
    part = Path(f"{target}.part")
    try:
        with closing(read_only(path)) as db:
            size = db.execute("PRAGMA page_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0]
            _require_space(part, size)
            part.unlink(missing_ok=True)

            def look() -> int:
                progress("copying", part.stat().st_size if part.exists() else 0, size)
                return 0

            db.set_progress_handler(look, _STEPS)
            db.execute("PRAGMA query_only = 0")  # it would refuse the copy as well; the file is open read-only
            db.execute("VACUUM INTO ?", (str(part),))
        with closing(sqlite3.connect(str(part), isolation_level=None)) as copy:
            _verify(copy, part, progress)
            head = signer.sign(read_head(copy), read_histories(copy).epochs[-1], now)
            if signer.has_key:
                signer.store(copy, read_head(copy), head.epoch, now)
        _sync(part)
        part.replace(target)
    except BaseException:
        for suffix in ("", "-journal"):
            Path(f"{part}{suffix}").unlink(missing_ok=True)
        raise
    beside = Path(f"{part}.head")
    beside.write_bytes(msgspec.json.encode(head) + b"\n")
    _sync(beside)
    beside.replace(f"{target}.head")
    sync_directory(target.parent)
    return head


def restore(path: Path, source: Path, now: float, progress: Progress) -> Restored:
    """Put a backup in the place of a database that no process uses, in a new epoch from its head on.

    What is there keeps a second name. Seqs that it had given after the backup become a gap: readers that have them are told
    that their history is another. A kill at any moment leaves what was there, or a database that refuses to start until this is
    done again. Raises `StartupError` for a backup that does not verify, and for another log's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = lock_alone(path)
    if lock is None:
        raise StartupError(f"a server uses {path}: stop it first")
    with lock:
        head, histories = _read_verified(source, progress)
        lost_seq = max(head.seq, _given_seq(path, histories))
        new = Path(f"{path}.restoring")
        _require_space(new, source.stat().st_size)
        progress("copying", 0, 0)
        with closing(read_only(source)) as db, closing(sqlite3.connect(str(new), isolation_level=None)) as copy:
            db.backup(copy)  # with what its write-ahead log may hold; nobody writes to it
            copy.execute("PRAGMA journal_mode = DELETE")
            migrate(copy)
            accept(copy, Loss(f"restored from {source}", lost_seq))
            epoch, restored = read_histories(copy).epochs[-1], read_head(copy)
        _sync(new)
        kept = _make_way(path)
        new.replace(path)
        mark = MarkFile(path)
        mark.write(epoch, restored, now)
        mark.close()
        sync_directory(path.parent)
    return Restored(epoch, head.seq + 1, restored.seq, kept)


def _read_verified(source: Path, progress: Progress) -> tuple[Head, Histories]:
    with closing(read_only(source)) as db:
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if not _OLDEST_VERSION <= version <= migrations()[-1][0]:
                raise StartupError(f"{source} has version {version}: start a server of the release that fits on it")
            _verify(db, source, progress)
            return read_head(db), read_histories(db)
        except sqlite3.DatabaseError as error:
            raise StartupError(f"{source} does not verify: {error}") from None


def _given_seq(path: Path, histories: Histories) -> int:
    """The highest seq that the present log has given, by its file and its mark, 0 without either."""
    mark = read_mark(path)
    given = mark.head.seq if mark is not None else 0
    epochs: tuple[str, ...] = ()
    if path.is_file() and path.stat().st_size:
        with suppress(sqlite3.DatabaseError, UnicodeError), closing(read_only(path)) as db:  # it may be damaged: that is why
            given, epochs = max(given, read_head(db).seq), read_histories(db).epochs
    if epochs and not set(epochs) & set(histories.epochs):
        raise StartupError(f"{path} is another log (epoch {epochs[-1]}): move it and its mark away first")
    return given


def _make_way(path: Path) -> Path | None:
    """Give the present file and its write-ahead log a second name."""
    if not path.is_file():
        return None
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(str(path), isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    kept = keep(path, "before-restore")
    for suffix in ("-wal", "-shm"):  # of a file that does not open
        if Path(f"{path}{suffix}").exists():
            Path(f"{path}{suffix}").rename(f"{kept}{suffix}")
    return kept


def _verify(db: Any, path: Path, progress: Progress) -> None:
    """Raise `StartupError` unless a copy is sound and its chain verifies from end to end."""
    try:
        chain = verify_chain(db, read_head(db).seq, lambda count: progress("verifying", count, 0))
        faults = [f"seq {fault.seq}: {fault.what}" for fault in chain.faults]
        faults += [row[0] for row in db.execute("PRAGMA quick_check") if row[0] != "ok"]
    except sqlite3.DatabaseError as error:
        faults = [str(error)]
    if faults:
        raise StartupError(f"{path} does not verify: {faults[0]}; `check` lists every fault")


def _require_space(target: Path, size: int) -> None:
    needed, free = int(size * _SPACE_FACTOR), shutil.disk_usage(target.parent).free
    if free < needed:
        raise StartupError(f"{target.parent} has {free} bytes free, and the copy takes {needed}; nothing was changed")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
