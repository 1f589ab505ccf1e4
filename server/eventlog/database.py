"""The database file: which SQLite engine runs, how connections are opened, and the migrations.

This is the one place where the engine is chosen, before aiosqlite is imported: SQLite 3.7.0 to 3.51.2 can corrupt a WAL
when two connections write or checkpoint at once (fixed in 3.51.3, 3.50.7 and 3.44.6), so the `pysqlite3` wheel's engine
is preferred. Nothing here knows what an event is; `eventlog.py` does."""

import asyncio
import fcntl
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

import structlog

from server import program
from server.config import DatabaseSection
from towow.errors import StartupError

try:
    import pysqlite3 as sqlite3
except ImportError:  # no wheel for this platform: the standard library's engine, checked below
    import sqlite3

_log = structlog.get_logger("towow.database")
_standard = sys.modules.get("sqlite3")
sys.modules["sqlite3"] = sqlite3
try:
    import aiosqlite
finally:
    if _standard is None:
        del sys.modules["sqlite3"]
    else:
        sys.modules["sqlite3"] = _standard

__all__ = ["Database", "ThreadConnection", "engine_fault", "read_only", "sqlite3"]

T = TypeVar("T")

# Extended result codes keep the primary one in the low byte: https://www.sqlite.org/rescode.html
_BUSY, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 8, 10, 11, 13, 14, 26


def error_code(error: BaseException) -> int:
    """The primary SQLite result code of an error, 0 when it has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(error: BaseException) -> bool:
    """Whether another connection held the lock for longer than the busy timeout."""
    return error_code(error) == _BUSY


def is_full(error: BaseException) -> bool:
    """Whether the disk had no room."""
    return error_code(error) == _FULL


def is_fatal(error: BaseException) -> bool:
    """Whether the file can no longer be trusted to keep what it acknowledges: I/O, corruption, read-only, not a database."""
    return error_code(error) in (_IOERR, _CORRUPT, _READONLY, _NOTADB, _CANTOPEN)


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
        result: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]
        return result


class Database:
    """One file: a connection that writes and checkpoints, and a few that only read.

    Open it with `async with`; readers are closed before the writer, so that the last checkpoint is the writer's."""

    def __init__(self, config: DatabaseSection) -> None:
        self.path = Path(config.path).absolute()
        self.writer: ThreadConnection
        self._config = config
        self._lock: IO[str] | None = None
        self._readers: list[ThreadConnection] = []
        self._next_reader = 0

    async def __aenter__(self) -> "Database":
        """Take the lock, open, configure and migrate. Raises `StartupError` with what to do."""
        config = self._config
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock_for_writing(self.path)
            self.writer = await self._open(query_only=False)
            await self.writer.call(functools.partial(_prepare, config=config))
            for _ in range(config.readers):
                self._readers.append(await self._open(query_only=True))
        except (OSError, sqlite3.Error) as error:
            await self.close()
            raise StartupError(_explain(error, self.path, config)) from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; safe to call again."""
        for reader in self._readers:
            await reader.close()
        self._readers.clear()
        if hasattr(self, "writer"):
            await self.writer.close()
            del self.writer
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def read(self, function: Callable[[Any], T]) -> T:
        """Run a short reading function on the next reader's thread. No cursor may outlive the function."""
        self._next_reader = (self._next_reader + 1) % len(self._readers)
        return await self._readers[self._next_reader].call(function)

    async def _open(self, *, query_only: bool) -> ThreadConnection:
        connect = functools.partial(
            sqlite3.connect,
            str(self.path),
            timeout=self._config.busy_timeout_seconds,
            isolation_level=None,  # autocommit: transactions are written out
            cached_statements=256,
            check_same_thread=False,
        )
        connection = ThreadConnection(connect, iter_chunk_size=64)
        try:
            await connection
        except sqlite3.Error:
            if connection.stopped is not None:
                await connection.stopped
            raise
        if query_only:
            await connection.call(lambda db: db.execute("PRAGMA query_only = 1").close())
        return connection


def read_only(path: Path) -> Any:
    """A plain connection that cannot write, for the command line. Raises `StartupError` when there is no such file."""
    if not path.is_file():
        raise StartupError(f"there is no database at {path}")
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _lock_for_writing(path: Path) -> IO[str]:
    """Share the file with other writing processes; on a faulty engine refuse to be the second one.

    The lock is advisory, on `<file>.lock`, and ends with the process."""
    lock = Path(f"{path}.lock").open("a+", encoding="utf-8")  # noqa: SIM115 - held as long as the database is open
    fault = engine_fault()
    try:
        fcntl.flock(lock, (fcntl.LOCK_EX if fault else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        reason = fault or "the other one runs an engine that cannot share a file"
        raise StartupError(f"another process writes to {path}, and {reason}; install pysqlite3 or stop the other") from None
    return lock


def _prepare(db: Any, config: DatabaseSection) -> None:
    """Configure the writing connection and bring the schema up to date."""
    db.execute("BEGIN")  # one moment for both looks: another process may be making the file right now
    try:
        _refuse_others(db)  # before anything is changed: the journal mode is a property of the file
    finally:
        db.execute("ROLLBACK")
    if _use_wal(db, config.busy_timeout_seconds) != "wal":
        raise StartupError("the database cannot use a write-ahead log; is it on a network file system?")
    db.execute(f"PRAGMA synchronous = {config.synchronous}")
    db.execute("PRAGMA foreign_keys = 1")
    db.execute("PRAGMA recursive_triggers = 1")  # REPLACE must fire the triggers that keep events
    db.execute(f"PRAGMA journal_size_limit = {config.journal_size_limit_bytes}")
    was = int(db.execute("PRAGMA user_version").fetchone()[0])
    version = migrate(db)
    has_new_tables = any("CREATE TABLE" in script for number, _, script in migrations() if number > was)
    if 0 < was < version and has_new_tables:  # what the log says of them is not in them yet
        hint = f"new tables are empty: `{program()} rebuild` fills them from the log"
        _log.warning("file_migrated", was=was, version=version, hint=hint)
    # A file that cannot be written is found out now, not by the first publisher. (BEGIN IMMEDIATE alone would only read it.)
    db.execute("UPDATE log_meta SET trimmed_seq = trimmed_seq WHERE 0")


def _use_wal(db: Any, busy_timeout_seconds: float) -> str:
    """Switch a new file to the write-ahead log. SQLite does not wait here when two connections switch at once, so we do."""
    deadline = time.monotonic() + busy_timeout_seconds
    while True:
        try:
            return str(db.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def migrations() -> list[tuple[int, str, str]]:
    """The shipped migrations in order: number, file name, SQL text."""
    files = sorted(
        (file for file in resources.files("migrations").iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )
    return [(int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in files]


def migrate(db: Any) -> int:
    """Apply what is pending, each migration in one transaction; returns the version. Safe when two processes start at once.

    Raises `StartupError` when the database is newer than the code, or not one of ours."""
    shipped = migrations()
    newest = shipped[-1][0]
    for number, name, script in shipped:
        if number <= _version(db, newest):
            continue
        with _immediate(db):
            version = _version(db, newest)
            if number <= version:  # another process was faster
                continue
            _refuse_others(db)
            for statement in _statements(script):
                try:
                    db.execute(statement)
                except sqlite3.OperationalError as error:
                    if error_code(error) != 1:
                        raise
                    raise StartupError(f"migration {name} failed: {error}; is this another program's database?") from None
            db.execute(f"PRAGMA user_version = {number}")
    return _version(db, newest)


def _refuse_others(db: Any) -> None:
    """Raise `StartupError` for a database of a newer release, or of another program."""
    if _version(db, migrations()[-1][0]) == 0 and db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StartupError("the database holds tables of another program; choose another file with --db")


def _version(db: Any, newest: int) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > newest:
        raise StartupError(
            f"the database has version {version}, this program knows up to {newest}: it was written by a newer release"
        )
    return version


@contextmanager
def _immediate(db: Any) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """Split a script at the semicolons that end statements; triggers keep theirs."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if any(line.strip() and not line.strip().startswith("--") for line in pending.splitlines()):
        raise StartupError(f"a migration ends inside a statement: {pending.strip()[:80]}")


def _explain(error: Exception, path: Path, config: DatabaseSection) -> str:
    """What an operator can do about a database that does not open."""
    code = error_code(error)
    if code == _NOTADB:
        return f"{path} is not a SQLite database; choose another file with --db"
    if code == _BUSY:
        return f"{path} was locked by another process for more than {config.busy_timeout_seconds:g} s; stop it or try again"
    if (
        code == _READONLY
        or isinstance(error, PermissionError)
        or not os.access(path if path.exists() else path.parent, os.W_OK)
    ):
        return f"{path} cannot be written by this user; check the permissions of the file and its directory"
    if code == _CORRUPT:
        return f"{path} is damaged ({error}); restore a copy, or try the sqlite3 shell's .recover"
    if code == _FULL:
        return f"the disk of {path} is full"
    return f"cannot open the database {path}: {error}"
