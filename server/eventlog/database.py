"""The database file: how its connections are opened and closed, and the migrations.

Nothing here knows what an event is; `log.py` does. `engine.py` chooses the engine, `rewrite.py` is the one migration that
makes a new file."""

import asyncio
import fcntl
import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

import structlog

from server import program
from server.config import DatabaseSection
from server.eventlog import engine
from server.eventlog.engine import (
    ThreadConnection,
    engine_fault,
    error_code,
    is_busy,
    is_corrupt,
    is_fatal,
    is_full,
    lacks_room,
    sqlite3,
)
from server.eventlog.place import Place
from server.eventlog.recovery import accept, require_whole
from server.eventlog.rewrite import REWRITING, holds_events, rewrite
from server.eventlog.turns import CLIENT, Turns
from towow.errors import StartupError, Unavailable

__all__ = [
    "Database",
    "ThreadConnection",
    "engine_fault",
    "error_code",
    "immediate",
    "is_busy",
    "is_corrupt",
    "is_fatal",
    "is_full",
    "is_locked",
    "lacks_room",
    "read_only",
    "sqlite3",
]

T = TypeVar("T")

INCREMENTAL = 2  # of PRAGMA auto_vacuum
_STEPS_PER_LOOK = 20_000  # of SQLite's machine between two looks at the clock: about a millisecond
_log = structlog.get_logger("towow.database")


class Database:
    """One file: a connection that writes and checkpoints, and a few that only read.

    Open it with `async with`; readers are closed before the writer, so that the last checkpoint is the writer's."""

    def __init__(self, config: DatabaseSection, *, accept_loss: int | None = None) -> None:
        self.path = Path(config.path).absolute()
        self.writer: ThreadConnection
        self.place: Place
        self.is_alone = False  # whether no other process had the file open when this one began
        self._config = config
        self._accept_loss = accept_loss
        self.accepted_loss: str | None = None  # at this start
        self._lock: IO[str] | None = None
        self._readers: list[ThreadConnection] = []
        self._turns = Turns()

    async def __aenter__(self) -> "Database":
        """Take the lock, look for losses, open, configure and migrate. Raises `StartupError` with what to do.

        Another process that has the file open has looked for losses already."""
        config = self._config
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            loss = None
            self.is_alone = self._take_lock(fcntl.LOCK_EX)
            if self.is_alone:
                loss = require_whole(self.path, read_only, self._accept_loss)
                self._release_lock()  # the rewriting takes it
                if _is_to_be_rewritten(self.path):
                    await asyncio.to_thread(_bring_up_to_date, self.path)  # for minutes, where there are many events
            self._lock = lock_for_writing(self.path)
            self.writer = await self._open(query_only=False)
            await self.writer.call(functools.partial(_prepare, config=config))
            if loss is not None:
                await self.writer.call(functools.partial(accept, loss=loss))
                self.accepted_loss = loss.what
            self.place = await self.writer.call(functools.partial(Place, self.path, config))
            for _ in range(config.readers):
                self._readers.append(await self._open(query_only=True))
            self._turns = Turns(self._readers)
        except (OSError, sqlite3.Error, UnicodeError) as error:  # the last: SQLite's own tables hold bytes that are no text
            await self.close()
            raise StartupError(explain(error, self.path, config)) from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; safe to call again."""
        await self._turns.close()
        for reader in self._readers:
            await reader.close()
        self._readers.clear()
        if hasattr(self, "writer"):
            if hasattr(self, "place"):
                await self.writer.call(self.place.leave)
                del self.place
            await self.writer.close()
            del self.writer
        self._release_lock()

    def _take_lock(self, kind: int) -> bool:
        self._lock = Path(f"{self.path}.lock").open("a+", encoding="utf-8")  # noqa: SIM115 - kept
        try:
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
        except OSError:
            self._release_lock()
            return False
        return True

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def read(self, function: Callable[[Any], T]) -> T:
        """Run a short reading function on a reader's thread. No cursor may outlive the function.

        Clients take turns: one that asks for much waits for itself. What a client asks for is interrupted after
        `max_read_seconds`; raises `Unavailable` then. What the server itself reads is not."""
        client = CLIENT.get()
        reader = await self._turns.take(client)
        try:
            if client:
                function = _within(function, self._config.max_read_seconds)
            result = await reader.call(function)
        except asyncio.CancelledError:  # it runs on
            self._turns.give_back_later(reader)
            raise
        except BaseException:
            self._turns.give_back(reader)
            raise
        self._turns.give_back(reader)
        return result

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


def _within(function: Callable[[Any], T], seconds: float) -> Callable[[Any], T]:
    """The function, interrupted when it takes longer."""

    def run(db: Any) -> T:
        deadline = time.monotonic() + seconds
        db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_PER_LOOK)
        try:
            return function(db)
        except sqlite3.OperationalError as error:
            if error_code(error) == engine.INTERRUPT:
                message = f"this takes longer than the {seconds:g} s that one request may read for; ask for less"
                raise Unavailable(message, limit=seconds) from None
            raise
        finally:
            db.set_progress_handler(None, 0)

    return run


def is_locked(path: Path, seconds: float) -> bool:
    """Whether somebody keeps the database from being written for so many seconds. Blocks; for a thread."""
    with closing(sqlite3.connect(str(path), timeout=seconds, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE").close()
            db.execute("ROLLBACK").close()
        except sqlite3.OperationalError as error:
            return is_busy(error)
    return False


def read_only(path: Path) -> Any:
    """A plain connection that cannot write, for the command line. Raises `StartupError` when there is no such file.

    SQLite wants to make files beside a log that is not closed. On a medium that cannot be written there is nobody who could
    change it, so it is read as it is; a write-ahead log beside it has to be copied along to where both can be opened."""
    if not path.is_file():
        raise StartupError(f"there is no database at {path}")
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    if not os.access(path.parent, os.W_OK) and not Path(f"{path}-shm").exists():
        wal = Path(f"{path}-wal")
        if wal.exists() and wal.stat().st_size:
            raise StartupError(f"{wal} cannot be read where nothing can be written: copy {path} and it to another place")
        address += "&immutable=1"
    connection = sqlite3.connect(address, uri=True)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _is_to_be_rewritten(path: Path) -> bool:
    """Whether a migration is pending that makes a new file."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with closing(read_only(path)) as db:
        number = next((number for number, name, _ in migrations() if name.endswith(REWRITING)), 0)
        return 0 < _version(db, migrations()[-1][0]) < number and holds_events(db)


def _bring_up_to_date(path: Path) -> None:
    with closing(sqlite3.connect(str(path), isolation_level=None)) as db:
        migrate(db)


def lock_alone(path: Path) -> IO[str] | None:
    """The lock of a database that no other process uses; None when one does. It is held until it is closed."""
    lock = Path(f"{path}.lock").open("a+", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def lock_for_writing(path: Path) -> IO[str]:
    """Share the file with other writing processes; on a faulty engine refuse to be the second one.

    The lock is advisory, on `<file>.lock`, and ends with the process."""
    lock = Path(f"{path}.lock").open("a+", encoding="utf-8")  # noqa: SIM115 - held as long as the database is open
    fault = engine_fault()
    try:
        fcntl.flock(lock, (fcntl.LOCK_EX if fault else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        reason = fault or "the other one runs an engine that cannot share a file, or rewrites it"
        raise StartupError(f"another process writes to {path}, and {reason}; install pysqlite3 or stop the other") from None
    return lock


def _prepare(db: Any, config: DatabaseSection) -> None:
    """Configure the writing connection and bring the schema up to date."""
    db.execute("BEGIN")  # one moment for both looks: another process may be making the file right now
    try:
        _refuse_others(db)  # before anything is changed: the journal mode is a property of the file
    finally:
        db.execute("ROLLBACK")
    db.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")  # of a new file: what retention frees can be given back
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
    db.execute("UPDATE log_meta SET checked_at = checked_at WHERE 0")


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

    Where the log has to be rewritten, the path then names a new file; this connection is still the old one's, and is to be
    closed. Raises `StartupError` when the database is newer than the code, or not one of ours."""
    shipped = migrations()
    newest = shipped[-1][0]
    for number, name, script in shipped:
        if number <= _version(db, newest):
            continue
        if name.endswith(REWRITING) and holds_events(db):
            rewrite(db, number, _apply_all)
            return newest
        with immediate(db):
            version = _version(db, newest)
            if number <= version:  # another process was faster
                continue
            _refuse_others(db)
            _apply(db, name, script)
            db.execute(f"PRAGMA user_version = {number}")
    return _version(db, newest)


def _apply_all(db: Any) -> None:
    """Make a new file's schema: every migration in turn, without a transaction."""
    for number, name, script in migrations():
        _apply(db, name, script)
        db.execute(f"PRAGMA user_version = {number}")


def _apply(db: Any, name: str, script: str) -> None:
    for statement in _statements(script):
        try:
            db.execute(statement)
        except sqlite3.OperationalError as error:
            if error_code(error) != 1:
                raise
            raise StartupError(f"migration {name} failed: {error}; is this another program's database?") from None


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
def immediate(db: Any) -> Iterator[None]:
    """A write transaction of several statements, all or none."""
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


def explain(error: Exception, path: Path, config: DatabaseSection) -> str:
    """What an operator can do about a database that does not open."""
    code = error_code(error)
    if code == engine.NOTADB:
        return f"{path} is not a SQLite database; choose another file with --db"
    if code == engine.BUSY:
        return f"{path} was locked by another process for more than {config.busy_timeout_seconds:g} s; stop it or try again"
    if (
        code == engine.READONLY
        or isinstance(error, PermissionError)
        or not os.access(path if path.exists() else path.parent, os.W_OK)
    ):
        return f"{path} cannot be written by this user; check the permissions of the file and its directory"
    if code == engine.CORRUPT or isinstance(error, UnicodeError):
        return f"{path} is damaged ({error}); restore a copy, or try the sqlite3 shell's .recover"
    if code == engine.FULL:
        return f"the disk of {path} is full"
    return f"cannot open the database {path}: {error}"
