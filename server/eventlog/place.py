"""The place of an open database: that its path still names the file that is open, its mark, and its checkpoints.

A file that is removed, moved or replaced under a running process takes every later COMMIT with it, and SQLite does not say so.
So after each COMMIT, before anybody is answered, the path is compared with the open file. Runs on the writer's thread."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from server.config import DatabaseSection
from server.eventlog.engine import FULL_ERRNOS, lacks_room, sqlite3
from server.eventlog.mark import MarkFile, read_mark
from server.eventlog.rows import Head, read_head, read_histories

_FRAMES_PER_CHECKPOINT = 1_000
_FRAMES_PER_COMMIT = 4  # about: the ends of the table and its indexes, and the sequence
_ROW_BYTES_PER_FRAME = 3_500
_HEADER_BYTES = 100  # of a database: https://www.sqlite.org/fileformat2.html#the_database_header
_OPEN_FILES = "/dev/fd"  # a name for whatever this process has open
_LOOKS = 5  # at a file that is too short, before it counts as truncated
_LOOK_SECONDS = 0.02
_HELD_SECONDS = 30.0  # a reader that keeps the write-ahead log for so long has forgotten its transaction
_log = structlog.get_logger("towow.place")


def _log_warning(name: str, what: str | None) -> None:
    if what is not None:
        _log.warning(name, what=what)


class Displaced(Exception):
    """Raised when the path of the database no longer names the file that is open: what was committed since may be lost."""


class _Identity(NamedTuple):
    device: int
    inode: int


class Place:
    """Watches the path of the writing connection `db`, moves the mark, and checkpoints when it is due."""

    def __init__(self, path: Path, config: DatabaseSection, db: Any) -> None:
        """Begin to watch. Raises `OSError` when the mark cannot be written."""
        self._path = str(path)
        self._wal_path = f"{path}-wal"
        self._is_full = config.synchronous == "FULL"
        self._wal_limit = config.journal_size_limit_bytes
        db.execute("PRAGMA wal_autocheckpoint = 0").close()  # `checkpoint` does it, when publishers have been answered
        self._page_bytes = int(db.execute("PRAGMA page_size").fetchone()[0])
        found = os.stat(self._path)
        self._identity, self._size = _Identity(found.st_dev, found.st_ino), found.st_size
        self._wal_identity: _Identity | None = None
        self._frames = 0  # about, since the last checkpoint
        self._is_behind = False  # the mark, for want of room
        self._moved = 0  # frames, by the last checkpoint
        self._held_since = 0.0  # monotonic, when that last went on
        self.warn: Callable[[str, str | None], None] = _log_warning
        self._head = read_head(db)
        self._epoch = read_histories(db).epochs[-1]
        found_mark = read_mark(path)
        self.known_at = found_mark.written_at if found_mark is not None else None  # until when it was kept, before this start
        self.clock: Callable[[], float] = time.time
        self._mark = MarkFile(path)
        if self._is_full:
            self._mark.write(self._epoch, self._head, self.known_at or self.clock())

    def confirm(self, db: Any, head: Head, row_bytes: int) -> None:
        """Called after a COMMIT: raise `Displaced` unless the path names the open file, then move the mark to the head."""
        self.require(db)
        self.count_written(row_bytes)
        if head.seq != self._head.seq:
            self._head = head
            if self._is_full:
                self._move_mark(head)

    def count_written(self, row_bytes: int) -> None:
        """Count what a transaction wrote into the write-ahead log, for the next checkpoint."""
        self._frames += _FRAMES_PER_COMMIT + row_bytes // _ROW_BYTES_PER_FRAME

    def _move_mark(self, head: Head) -> None:
        """Move the mark. Without room on the disk it stays behind, as it may: it is moved with the next commit."""
        try:
            self._mark.write(self._epoch, head, self.clock())
        except OSError as error:
            if error.errno not in FULL_ERRNOS:
                raise
            self._is_behind = True
            self.warn("mark_not_moved", f"the disk is full: the mark is behind seq {head.seq}, and moves with the next commit")
        else:
            if self._is_behind:
                self._is_behind = False
                self.warn("mark_not_moved", None)

    def require(self, db: Any) -> None:
        """Raise `Displaced` unless the path names the open file, and its write-ahead log stands beside it."""
        try:
            found, wal = os.stat(self._path), os.stat(self._wal_path)
        except FileNotFoundError as error:
            raise Displaced(f"{error.filename} was removed or moved while it was open") from None
        if (found.st_dev, found.st_ino) != self._identity:
            raise Displaced(f"{self._path} was replaced by another file while it was open")
        if self._wal_identity is None:
            self._wal_identity = _Identity(wal.st_dev, wal.st_ino)
        if (wal.st_dev, wal.st_ino) != self._wal_identity:
            raise Displaced(f"{self._wal_path} was replaced by another file while it was open")
        if found.st_size < self._size and self._is_truncated():
            raise Displaced(f"{self._path} was truncated while it was open")
        self._size = found.st_size

    def _is_truncated(self) -> bool:
        """Whether a file that became smaller is shorter than its own first page says: a vacuum writes that page first.

        Pages that are in the write-ahead log only do not count, and another process may be writing the file just now. It is
        read by the descriptor that SQLite has: to open and close it here would give up SQLite's locks on it."""
        for _ in range(_LOOKS):
            for name in os.listdir(_OPEN_FILES):
                with suppress(OSError):  # it was closed meanwhile, or it is none that can be read
                    found = os.fstat(int(name))
                    if (found.st_dev, found.st_ino) == self._identity:
                        header = os.pread(int(name), _HEADER_BYTES, 0)
                        pages = int.from_bytes(header[28:32])
                        if len(header) == _HEADER_BYTES and os.fstat(int(name)).st_size >= pages * self._page_bytes:
                            return False
                        break
            time.sleep(_LOOK_SECONDS)
        return True

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether so much was written that it should be moved from the write-ahead log to the database."""
        return self._frames >= _FRAMES_PER_CHECKPOINT

    def checkpoint(self, db: Any) -> None:
        """Move what the write-ahead log holds to the database, as far as no reader needs it there, and say how it went."""
        started_at = time.perf_counter()
        head = self._head
        self._frames = 0
        try:
            _, frames, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError as error:
            if not lacks_room(error, Path(self._path)):
                raise
            self.warn("checkpoint_failed", f"the disk is full: the write-ahead log cannot be moved to the database ({error})")
            return
        self.warn("checkpoint_failed", None)
        if not self._is_full and moved == frames:  # everything up to here is synced now
            self._move_mark(head)
        milliseconds = round((time.perf_counter() - started_at) * 1000, 1)
        _log.debug("checkpoint", frames=frames, moved=moved, ms=milliseconds)
        self._judge(frames, moved)

    def _judge(self, frames: int, moved: int) -> None:
        """Say so when the write-ahead log grows, or somebody keeps it from being moved."""
        now = time.monotonic()
        if moved in (frames, 0) or moved != self._moved:
            self._held_since = now
        self._moved = moved
        held = now - self._held_since
        size = (frames - moved) * self._page_bytes
        is_held, is_large = held > _HELD_SECONDS, size > self._wal_limit
        text = f"a reader has held a transaction open for {held:.0f} s, which keeps the write-ahead log; is a query open?"
        self.warn("reader_holds_log", text if is_held else None)
        text = f"the write-ahead log holds {size >> 20} MiB that cannot be moved to the database: a reader needs them there"
        self.warn("checkpoint_held_back", text if is_large else None)

    def sync_mark(self) -> None:
        """Bring the mark to the disk."""
        self._mark.sync()

    def touch_mark(self, db: Any) -> None:
        """Write the time into the mark, where nothing has moved it."""
        self._mark.touch(self.clock())

    def look_after(self, db: Any) -> None:
        """Try again what a checkpoint has left."""
        if self._frames or self._moved:
            self.checkpoint(db)

    def leave(self, db: Any) -> None:
        """Move the mark to where the log stands, and stop watching. The file is about to be closed, which checkpoints it."""
        try:
            if not self._is_full and not db.in_transaction:
                self.checkpoint(db)
        finally:
            self._mark.close()
