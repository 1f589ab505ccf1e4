"""The file: engines, locks, migrations, and what an operator is told when it does not open."""

import asyncio
import os
import threading

import pytest
from structlog.testing import capture_logs

from server.config import DatabaseSection
from server.eventlog import database as module
from server.eventlog.database import Database, engine_fault, is_busy, is_fatal, is_full, migrate, migrations, read_only, sqlite3
from tests.support import note, open_log, until
from towow.errors import StartupError


@pytest.fixture
def section(tmp_path):
    """Settings of a new file."""
    return DatabaseSection(path=str(tmp_path / "d.db"), busy_timeout_seconds=0.1, min_free_bytes=0)


@pytest.fixture
def plain(section):
    """Open a plain connection to the same file, as a script would; closed at the end."""
    opened = []

    def connect(path=section.path):
        opened.append(sqlite3.connect(path, isolation_level=None, timeout=0.1))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


async def refusal(section):
    """The message with which this file is refused."""
    with pytest.raises(StartupError) as caught:
        async with Database(section):
            pass
    return caught.value.message


def shape(db):
    """Everything that the schema consists of."""
    return sorted(db.execute("SELECT type, name, sql FROM sqlite_master").fetchall(), key=str)


# The engine.


@pytest.mark.parametrize(
    ("version", "is_faulty"),
    [
        pytest.param((3, 51, 3), False, id="the fix"),
        pytest.param((3, 53, 4), False, id="newer"),
        pytest.param((4, 0, 0), False, id="much newer"),
        pytest.param((3, 51, 2), True, id="edge: the last faulty one"),
        pytest.param((3, 51, 0), True, id="edge: 3.51 without the fix"),
        pytest.param((3, 50, 7), False, id="the fix in 3.50"),
        pytest.param((3, 50, 6), True, id="edge: before the fix in 3.50"),
        pytest.param((3, 50, 12), False, id="edge: two digits"),
        pytest.param((3, 44, 6), False, id="the fix in 3.44"),
        pytest.param((3, 44, 5), True, id="edge: before the fix in 3.44"),
        pytest.param((3, 45, 0), True, id="edge: after 3.44 without the fix"),
        pytest.param((3, 40, 1), True, id="Debian 12"),
        pytest.param((3, 7, 0), True, id="edge: the first with a write-ahead log"),
        pytest.param((3, 6, 23), False, id="edge: before the write-ahead log"),
    ],
)
def test_engines_that_can_corrupt_a_shared_log_are_known(version, is_faulty):
    """Faulty from 3.7.0 to 3.51.2, but for 3.50.7 and 3.44.6 and what follows them in their lines."""
    fault = engine_fault(version)
    assert (fault is not None) is is_faulty
    assert fault is None or ".".join(map(str, version)) in fault


async def test_on_a_sound_engine_two_processes_may_write(section, monkeypatch):
    """The lock is shared when the engine can share a file."""
    monkeypatch.setattr(module, "engine_fault", lambda: None)
    async with Database(section), Database(section):
        pass


async def test_on_a_faulty_engine_the_second_writer_is_refused_with_that_reason(section, monkeypatch):
    """The refusal names the fault and the remedy; when the first is gone, the second may."""
    monkeypatch.setattr(module, "engine_fault", lambda: "SQLite 3.40.1 can corrupt")
    async with Database(section):
        message = await refusal(section)
        assert "SQLite 3.40.1 can corrupt" in message
        assert "pysqlite3" in message
        monkeypatch.setattr(module, "engine_fault", lambda: None)
        assert "cannot share" in await refusal(section)
    async with Database(section):
        pass


# Opening.


async def test_the_writing_connection_is_durable_and_readers_cannot_write(section):
    """WAL, FULL, foreign keys and recursive triggers on the writer; `query_only` on every reader."""
    async with Database(section) as database:

        def pragmas(db):
            names = ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "query_only")
            return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

        assert await database.writer.call(pragmas) == ["wal", 2, 1, 1, 0]
        for _ in range(section.readers):
            assert (await database.read(pragmas))[-1] == 1
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                await database.read(lambda db: db.execute("UPDATE log_meta SET trimmed_seq = 9"))


async def test_synchronous_normal_is_what_it_says(section):
    """The setting reaches the engine."""
    section = DatabaseSection(path=section.path, synchronous="NORMAL")
    async with Database(section) as database:
        assert await database.writer.call(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == 1


async def test_the_directory_is_made_and_a_new_file_gets_an_epoch_for_good(tmp_path, plain):
    """The epoch is the file's identity: other for another file, the same after reopening, and never changed."""
    epochs = []
    for name in ("a/b/c.db", "a/b/c.db", "a/d.db"):
        path = tmp_path / name
        async with Database(DatabaseSection(path=str(path))) as database:
            epochs.append(await database.read(lambda db: db.execute("SELECT epoch FROM histories").fetchone()[0]))
    assert epochs[0] == epochs[1] != epochs[2]
    assert len(epochs[0]) == 16
    with pytest.raises(sqlite3.IntegrityError, match="epoch"):
        plain(str(path)).execute("UPDATE histories SET epoch = 'other'")


async def test_closing_leaves_no_write_ahead_log_and_no_thread(section, tmp_path):
    """The last connection checkpoints; closing again changes nothing."""
    before = set(threading.enumerate())
    database = Database(section)
    async with database:
        pass
    await database.close()
    assert {path.name for path in tmp_path.iterdir()} == {"d.db", "d.db.lock", "d.db.mark"}
    await until(lambda: set(threading.enumerate()) <= before)


async def test_a_failed_opening_leaves_no_thread_and_no_lock(section, monkeypatch):
    """Whatever was opened before the fault is closed again."""
    before = set(threading.enumerate())

    def fail(db):
        raise sqlite3.OperationalError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(module, "migrate", fail)
        assert "no luck" in await refusal(section)
    await until(lambda: set(threading.enumerate()) <= before)
    monkeypatch.setattr(module, "engine_fault", lambda: "exclusive")
    async with Database(section):
        pass


# Migrations.


async def test_who_opens_a_file_of_an_earlier_release_is_told_to_rebuild(section, monkeypatch):
    """Tables that are new are empty, although the log has what belongs into them; a new file, new indexes and the next start
    say nothing."""
    shipped = migrations()
    known = [*shipped, (len(shipped) + 1, "0099_index.sql", "-- x\nCREATE INDEX tasks_by_phase ON tasks (phase);\n")]
    for count in (len(shipped), len(known)):
        monkeypatch.setattr(module, "migrations", lambda count=count: known[:count])
        with capture_logs() as lines:
            async with Database(section):
                pass
        assert lines == []
    shipped = [*known, (len(known) + 1, "0100_table.sql", "-- x\nCREATE TABLE one (id INTEGER) STRICT;\n")]
    monkeypatch.setattr(module, "migrations", lambda: shipped)
    with capture_logs() as lines:
        for _ in range(2):
            async with Database(section):
                pass
    [line] = lines
    assert (line["event"], line["was"], line["version"]) == ("file_migrated", len(shipped) - 1, len(shipped))
    assert "towow rebuild" in line["hint"]


def test_shipped_migrations_are_numbered_without_gaps():
    """The number is the version that the file has afterwards."""
    shipped = migrations()
    assert [number for number, _, _ in shipped] == list(range(1, len(shipped) + 1))
    assert all(name.startswith(f"{number:04d}_") and script.startswith("--") for number, name, script in shipped)


def test_migrations_are_applied_once_and_in_order(plain, monkeypatch):
    """`user_version` says where a file stands; only what is above it runs, whatever the order of the files."""
    shipped = [
        (1, "0001_a.sql", "CREATE TABLE a (x);\nINSERT INTO a VALUES (1);"),
        (2, "0002_b.sql", "-- two\nINSERT INTO a VALUES (2);\nINSERT INTO a\nVALUES (3);"),
        (3, "0003_c.sql", "INSERT INTO a VALUES (4);"),
    ]
    db = plain()
    monkeypatch.setattr(module, "migrations", lambda: shipped[:2])
    assert migrate(db) == 2
    assert migrate(db) == 2
    assert [row[0] for row in db.execute("SELECT x FROM a")] == [1, 2, 3]
    monkeypatch.setattr(module, "migrations", lambda: shipped)
    assert migrate(db) == 3
    assert [row[0] for row in db.execute("SELECT x FROM a")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param("CREATE TABLE b (x);\nCREATE TABLE a (x);", "0002_b.sql failed", id="a table that exists"),
        pytest.param("CREATE TABLE b (x);\nNONSENSE;", "0002_b.sql failed", id="no SQL"),
        pytest.param("CREATE TABLE b (x);\nINSERT INTO b VALUES (", "ends inside a statement", id="cut short"),
    ],
)
def test_a_failed_migration_leaves_nothing(plain, monkeypatch, script, says):
    """Each migration is one transaction: of itself nothing stays, and the next start tries it again."""
    first = (1, "0001_a.sql", "CREATE TABLE a (x);")
    db = plain()
    monkeypatch.setattr(module, "migrations", lambda: [first, (2, "0002_b.sql", script)])
    with pytest.raises(StartupError) as caught:
        migrate(db)
    assert says in caught.value.message
    assert not db.in_transaction
    assert [name for _, name, _ in shape(db)] == ["a"]
    assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    monkeypatch.setattr(module, "migrations", lambda: [first, (2, "0002_b.sql", "CREATE TABLE b (x);")])
    assert migrate(db) == 2


def test_a_statement_that_breaks_a_constraint_leaves_nothing_either(plain, monkeypatch):
    """An error that is not about SQL passes through as it is, after the rollback."""
    db = plain()
    script = "CREATE TABLE a (x UNIQUE);\nINSERT INTO a VALUES (1);\nINSERT INTO a VALUES (1);"
    monkeypatch.setattr(module, "migrations", lambda: [(1, "0001_a.sql", script)])
    with pytest.raises(sqlite3.IntegrityError):
        migrate(db)
    assert (shape(db), db.in_transaction) == ([], False)


def test_triggers_keep_the_semicolons_of_their_body(plain, monkeypatch):
    """A script is cut where statements end, not at every semicolon."""
    script = (
        "CREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a\nBEGIN\n  SELECT 1;\n  SELECT ';';\nEND;\n"
        "INSERT INTO a VALUES ('; --');\n-- the end\n"
    )
    db = plain()
    monkeypatch.setattr(module, "migrations", lambda: [(1, "0001_a.sql", script)])
    migrate(db)
    assert [name for _, name, _ in shape(db)] == ["a", "t"]
    assert db.execute("SELECT x FROM a").fetchall() == [("; --",)]


async def test_two_openings_at_once_migrate_once(section, plain):
    """Whoever is first migrates, the others find it done; the file is the same as after a lone opening."""
    section = DatabaseSection(path=section.path, busy_timeout_seconds=5.0)
    databases = [Database(section) for _ in range(6)]
    await asyncio.gather(*(database.__aenter__() for database in databases))
    for database in databases:
        await database.close()
    lone = sqlite3.connect(":memory:", isolation_level=None)
    migrate(lone)
    db = plain()
    assert shape(db) == shape(lone)
    assert db.execute("PRAGMA user_version").fetchone()[0] == migrations()[-1][0]
    assert db.execute("SELECT count(*) FROM log_meta").fetchone()[0] == 1
    lone.close()


# Files that are refused.


async def test_a_database_newer_than_the_code_is_refused_untouched(section, plain):
    """The message says both versions; nothing in the file changes."""
    newest = migrations()[-1][0]
    async with Database(section):
        pass
    db = plain()
    db.execute(f"PRAGMA user_version = {newest + 1}")
    db.execute("PRAGMA journal_mode = DELETE")
    before = shape(db)
    message = await refusal(section)
    assert f"version {newest + 1}" in message
    assert f"up to {newest}" in message
    assert shape(plain()) == before
    assert db.execute("PRAGMA user_version").fetchone()[0] == newest + 1
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"this is a text file, not a database\n" * 50, id="text"),
        pytest.param(os.urandom(8192), id="noise"),
        pytest.param(b"no", id="edge: two bytes"),
    ],
)
async def test_a_file_that_is_not_a_database_is_refused_untouched(section, tmp_path, content):
    """The message says so and names the file; the file keeps its bytes."""
    path = tmp_path / "d.db"
    path.write_bytes(content)
    message = await refusal(section)
    assert f"{path} is not a SQLite database" in message
    assert path.read_bytes() == content


async def test_an_empty_file_becomes_a_database(section, tmp_path):
    """A file that was only touched holds nothing that could be lost."""
    (tmp_path / "d.db").touch()
    async with Database(section) as database:
        assert await database.read(lambda db: db.execute("SELECT count(*) FROM events").fetchone()[0]) == 0


@pytest.mark.parametrize("table", ["events", "bookmarks"])
async def test_another_programs_database_is_refused_and_gets_no_tables(section, plain, table):
    """A SQLite file that holds tables, but not ours, is not turned into ours."""
    plain().execute(f"CREATE TABLE {table} (x)")
    message = await refusal(section)
    assert "another program" in message
    assert [name for _, name, _ in shape(plain())] == [table]
    assert plain().execute("PRAGMA journal_mode").fetchone()[0] == "delete"


async def test_a_damaged_database_is_refused_with_advice(section, tmp_path):
    """A file whose pages are gone is said to be damaged."""
    async with Database(section):
        pass
    path = tmp_path / "d.db"
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xff" * 3996
    path.write_bytes(data)
    message = await refusal(section)
    assert "damaged" in message
    assert ".recover" in message


async def test_a_directory_in_place_of_the_file_is_refused(tmp_path):
    """The message names the path."""
    message = await refusal(DatabaseSection(path=str(tmp_path)))
    assert f"cannot open the database {tmp_path}" in message


async def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    """The directory cannot be made."""
    (tmp_path / "f").touch()
    assert "cannot open the database" in await refusal(DatabaseSection(path=str(tmp_path / "f" / "d.db")))


@pytest.mark.parametrize("is_new", [True, False], ids=["an empty file", "a complete database"])
async def test_a_file_that_the_engine_opens_read_only_is_refused_at_start(section, tmp_path, monkeypatch, is_new):
    """Found out at start, not at the first append. Permissions mean nothing to root: the engine gets `mode=ro`."""
    if is_new:
        (tmp_path / "d.db").touch()
    else:
        async with Database(section):
            pass
    connect = sqlite3.connect

    def connect_read_only(path, **options):
        return connect(path if options.pop("uri", False) else f"file:{path}?mode=ro", uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", connect_read_only)
    assert f"{section.path} cannot be written" in await refusal(section)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions mean nothing to root")
@pytest.mark.parametrize("which", ["the file", "the directory"])
async def test_a_file_without_write_permission_is_refused(section, tmp_path, which):
    """The message speaks of permissions."""
    async with Database(section):
        pass
    place = tmp_path / "d.db" if which == "the file" else tmp_path
    (tmp_path / "d.db.lock").unlink()
    place.chmod(0o500 if place.is_dir() else 0o400)
    try:
        assert "check the permissions" in await refusal(section)
    finally:
        place.chmod(0o700)


async def test_a_directory_without_write_permission_is_refused(section, monkeypatch):
    """The same as seen by anybody: the lock file cannot be made."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", f"{path}.lock")

    monkeypatch.setattr(module, "lock_for_writing", refuse)
    assert "check the permissions of the file and its directory" in await refusal(section)


@pytest.mark.parametrize("is_new", [True, False], ids=["a new file", "a complete database"])
async def test_a_file_locked_for_longer_than_the_busy_timeout_is_refused(section, plain, is_new):
    """The message says how long was waited; when the lock is gone, the file opens."""
    if not is_new:
        async with Database(section):
            pass
    other = plain()
    other.execute("BEGIN EXCLUSIVE")
    message = await refusal(section)
    assert "was locked by another process for more than 0.1 s" in message
    other.execute("ROLLBACK")
    async with Database(section):
        pass


# Errors and reading beside the server.


@pytest.mark.parametrize(
    ("code", "busy", "full", "fatal"),
    [
        pytest.param(5, True, False, False, id="BUSY"),
        pytest.param(261, True, False, False, id="BUSY_RECOVERY"),
        pytest.param(517, True, False, False, id="BUSY_SNAPSHOT"),
        pytest.param(13, False, True, False, id="FULL"),
        pytest.param(10, False, False, True, id="IOERR"),
        pytest.param(1034, False, False, True, id="IOERR_FSYNC"),
        pytest.param(11, False, False, True, id="CORRUPT"),
        pytest.param(8, False, False, True, id="READONLY"),
        pytest.param(1032, False, False, True, id="READONLY_DBMOVED"),
        pytest.param(14, False, False, True, id="CANTOPEN"),
        pytest.param(26, False, False, True, id="NOTADB"),
        pytest.param(1, False, False, False, id="ERROR"),
        pytest.param(None, False, False, False, id="no code"),
    ],
)
def test_errors_are_told_apart_by_their_primary_code(code, busy, full, fatal):
    """Extended codes belong to their primary one; an error without a code is none of these."""
    error = sqlite3.OperationalError("x")
    if code is not None:
        error.sqlite_errorcode = code
    assert (is_busy(error), is_full(error), is_fatal(error)) == (busy, full, fatal)


async def test_the_command_lines_connection_reads_and_cannot_write(quiet_config):
    """Opened read-only by the engine, beside a running server; `query_only` cannot be turned off into writing."""
    async with open_log(quiet_config) as log:
        await log.append([note()])
        path = log._database.path
        db = read_only(path)
        assert db.execute("SELECT count(*) FROM events").fetchone()[0] == 1
        for query_only in (1, 0):
            db.execute(f"PRAGMA query_only = {query_only}")
            for sql in ("UPDATE log_meta SET trimmed_seq = 9", "DELETE FROM events", "CREATE TABLE x (y)"):
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    db.execute(sql)
        db.close()


def test_reading_a_file_that_is_not_there_makes_none(tmp_path):
    """A typing error in the path does not leave an empty database; odd names are names, not options."""
    for name in ("none.db", "a?mode=rwc", "a#b%20c.db"):
        with pytest.raises(StartupError):
            read_only(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_reading_a_file_with_an_odd_name(tmp_path):
    """Characters that mean something in a URI are only characters of the name."""
    path = tmp_path / "a?b#c%20d é.db"
    db = sqlite3.connect(str(path), isolation_level=None)
    db.execute("CREATE TABLE t (x)")
    db.close()
    db = read_only(path)
    assert db.execute("SELECT count(*) FROM t").fetchone()[0] == 0
    db.close()
