"""The mark: a small file beside the database that knows how far the log came, because the database itself cannot know.

A write-ahead log that is damaged ends silently at the damage, and an old copy opens as a valid log. `<database>.mark` holds the
head of the log, written by one `pwrite` after every COMMIT and synced every second; with `synchronous = NORMAL` it moves at
checkpoints, because before one a power cut may take events back. So it never lies ahead of what the disk has."""

import fcntl
import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from server.eventlog.rows import Head

_BYTES = 192  # in one sector of any disk, so it is written whole
_LINE = re.compile(rb"towow-mark 1 ([0-9a-f]{16}) ([0-9]{1,19}) ((?:[0-9a-f]{64})?) ([0-9]{1,12}\.[0-9]{3}) ([0-9a-f]{8})\n")


class Mark(NamedTuple):
    """Where the log stood: its epoch, its head, and the wall clock (seconds since 1970) then."""

    epoch: str
    head: Head
    written_at: float


def read_mark(database: Path) -> Mark | None:
    """The mark beside a database; None when there is none, or it was torn."""
    try:
        return _parse(mark_path(database).read_bytes())
    except FileNotFoundError:
        return None


def mark_path(database: Path) -> Path:
    """Where the mark of a database is."""
    return Path(f"{database}.mark")


class MarkFile:
    """The mark, open for writing by one process of several. It only moves forward within an epoch."""

    def __init__(self, database: Path) -> None:
        self._file = os.open(mark_path(database), os.O_RDWR | os.O_CREAT, 0o600)
        self._written = b""
        self._is_synced = True
        self._last: tuple[str, Head] | None = None

    def write(self, epoch: str, head: Head, now: float) -> None:
        """Move to a head, unless another process has moved further already; `now` is the wall clock's time."""
        text = b"towow-mark 1 %b %d %b %.3f" % (epoch.encode(), head.seq, head.digest.hex().encode(), now)
        line = (b"%b %08x\n" % (text, zlib.crc32(text))).ljust(_BYTES, b" ")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            present = os.pread(self._file, _BYTES, 0)
            if present != self._written:
                other = _parse(present)
                if other is not None and other.epoch == epoch and other.head.seq > head.seq:
                    return
            os.pwrite(self._file, line, 0)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._written = line
        self._last = (epoch, head)
        self._is_synced = False

    def touch(self, now: float) -> None:
        """Write the time anew where nothing has moved, so that it says until when the log was kept."""
        if self._last is not None:
            self.write(*self._last, now)

    def sync(self) -> None:
        """Bring the mark to the disk; nothing when it has not moved."""
        if not self._is_synced:
            self._is_synced = True
            os.fdatasync(self._file)

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            os.close(self._file)


def _parse(data: bytes) -> Mark | None:
    found = _LINE.match(data)
    if found is None or int(found[5], 16) != zlib.crc32(data[: found.start(5) - 1]):
        return None
    return Mark(found[1].decode(), Head(int(found[2]), bytes.fromhex(found[3].decode())), float(found[4]))
