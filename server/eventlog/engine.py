"""The SQLite engine: which one runs, what its errors mean, and a connection that works on a thread of its own.

This is the one place where the engine is chosen, before aiosqlite is imported: SQLite 3.7.0 to 3.51.2 can corrupt a WAL
when two connections write or checkpoint at once (fixed in 3.51.3, 3.50.7 and 3.44.6), so the `pysqlite3` wheel's engine
is preferred."""

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

try:
    import pysqlite3 as sqlite3
except ImportError:  # no wheel for this platform: the standard library's engine, checked below
    import sqlite3

_standard = sys.modules.get("sqlite3")
sys.modules["sqlite3"] = sqlite3
try:
    import aiosqlite
finally:
    if _standard is None:
        del sys.modules["sqlite3"]
    else:
        sys.modules["sqlite3"] = _standard

__all__ = ["ThreadConnection", "engine_fault", "error_code", "is_busy", "is_corrupt", "is_fatal", "is_full", "sqlite3"]

T = TypeVar("T")

# Extended result codes keep the primary one in the low byte: https://www.sqlite.org/rescode.html
BUSY, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB = 5, 8, 9, 10, 11, 13, 14, 26
FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_PROBE_BYTES = 65_536


def error_code(error: BaseException) -> int:
    """The primary SQLite result code of an error, 0 when it has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(error: BaseException) -> bool:
    """Whether another connection held the lock for longer than the busy timeout."""
    return error_code(error) == BUSY


def is_full(error: BaseException) -> bool:
    """Whether the disk had no room."""
    return error_code(error) == FULL


def lacks_room(error: BaseException, database: Path) -> bool:
    """Whether the disk of a database had no room, or its user's quota is used up.

    SQLite says the latter as an I/O error, like a broken disk. A file beside the database tells them apart."""
    return is_full(error) or (error_code(error) == IOERR and not _has_room(database))


def _has_room(database: Path) -> bool:
    probe = f"{database}.probe"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.pwrite(descriptor, bytes(_PROBE_BYTES), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            os.unlink(probe)
    except OSError as error:
        return error.errno not in FULL_ERRNOS
    return True


def is_corrupt(error: BaseException) -> bool:
    """Whether a page of the file does not hold what it should."""
    return error_code(error) == CORRUPT


def is_fatal(error: BaseException) -> bool:
    """Whether the file can no longer be trusted to keep what it acknowledges: I/O, corruption, read-only, not a database."""
    return isinstance(error, OSError) or error_code(error) in (IOERR, CORRUPT, READONLY, NOTADB, CANTOPEN)


def engine_fault(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str | None:
    """Why two processes must not write with this engine, or None when they may. `version` as in 3.51.3."""
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if fixed or version < (3, 7, 0):
        return None
    text = ".".join(map(str, version))
    return f"SQLite {text} can corrupt a write-ahead log that two processes write to (fixed in 3.51.3, 3.50.7 and 3.44.6)"


class ThreadConnection(aiosqlite.Connection):
    """An aiosqlite connection that also runs a whole function on its thread: one hop instead of one for every statement.

    `stopped` is done when the thread is: aiosqlite 0.22 does not wait for it when the file does not open."""

    stopped: "asyncio.Future[Any] | None" = None

    def stop(self) -> "asyncio.Future[Any] | None":
        """Stop the thread, without waiting for it."""
        self.stopped = super().stop()
        return self.stopped

    async def call(self, function: Callable[[Any], T]) -> T:
        """Run `function(connection)` on the connection's thread and return its result.

        Cancelling the caller does not stop the function; its result is then dropped."""
        results: list[T] = []  # the thread would keep what it returned until its next call: a page is many kilobytes
        await self._execute(lambda: results.append(function(self._conn)))  # type: ignore[no-untyped-call]
        return results.pop()
