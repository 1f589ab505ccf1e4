"""Give free space of a database file back to the disk: written anew when nobody uses it, and page by page beside a server."""

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from server.eventlog.database import INCREMENTAL, engine_fault, lock_alone, migrate, read_only, sqlite3
from server.eventlog.recovery import require_whole
from towow.errors import StartupError

_BUSY_SECONDS = 10.0
_PAGES_PER_STEP = 256
_REST_SECONDS = 0.01  # between two steps, for publishers
_SPACE_FACTOR = 2.1  # of the file's bytes: a copy, and the write-ahead log that it goes through


def compact(path: Path, progress: Callable[[int, int], None] = lambda done, of: None) -> tuple[int, int]:
    """Make the file as small as what it holds; returns its bytes before and after. `progress` gets pages given back.

    Without another process on it the file is written anew, in the order of its tables; a kill leaves the old one. Beside a
    server only free pages are given back, in short transactions, and publishers go on. Raises `StartupError`."""
    with closing(read_only(path)):
        before = path.stat().st_size
    lock = lock_alone(path)
    if lock is None:
        _give_back_pages(path, progress)
    else:
        with lock:
            require_whole(path, read_only, None)
            _write_anew(path)
    return before, path.stat().st_size


def _write_anew(path: Path) -> None:
    needed, free = int(path.stat().st_size * _SPACE_FACTOR), shutil.disk_usage(path.parent).free
    if free < needed:
        raise StartupError(f"to write {path} anew takes {needed} bytes beside it, and {free} are free; nothing was changed")
    with closing(_connect(path)) as db:
        migrate(db)
    with closing(_connect(path)) as db:  # of the file that there is now
        db.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _give_back_pages(path: Path, progress: Callable[[int, int], None]) -> None:
    fault = engine_fault()
    if fault:
        raise StartupError(f"a server uses {path}, and {fault}; stop it first")
    with closing(_connect(path)) as db:
        if db.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
            raise StartupError(f"a server uses {path}, and an earlier release made that file: stop the server for this once")
        pages = total = db.execute("PRAGMA freelist_count").fetchone()[0]
        while pages:
            db.execute(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})").fetchall()
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            left = db.execute("PRAGMA freelist_count").fetchone()[0]
            progress(total - left, total)
            if left >= pages:  # the server frees and takes pages as well
                return
            pages = left
            time.sleep(_REST_SECONDS)


def _connect(path: Path) -> Any:
    return sqlite3.connect(str(path), timeout=_BUSY_SECONDS, isolation_level=None)
