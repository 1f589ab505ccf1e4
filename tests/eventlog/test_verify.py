"""`check` finds every manipulation, and nothing where there is none."""

import shutil
from contextlib import closing

import pytest

from server.app import PROJECTED, make_app
from server.app import is_terminal as app_is_terminal
from server.config import KindRetention, RetentionSection
from server.eventlog.database import sqlite3
from server.eventlog.heads import HeadSigner
from server.eventlog.mark import mark_path, read_mark
from server.eventlog.retention import trim
from server.eventlog.rows import crc_of, link, read_events, read_head
from server.eventlog.verify import check
from tests.support import changed, note, open_log
from towow.events import Event

TRIGGERS = ("events_are_immutable", "events_are_kept")


def faults(path, **options):
    """What `check` finds, each as `seq: what`."""
    with closing(sqlite3.connect(str(path), isolation_level=None)) as db:
        return [f"{fault.seq}: {fault.what}" for fault in check(db, PROJECTED, mark=read_mark(path), **options).faults]


@pytest.fixture
async def path(aiohttp_client, quiet_config):
    """A file with events of several streams and a projection, closed."""
    client = await aiohttp_client(make_app(quiet_config))
    for n in range(4):
        for stream in ("note:a", "note:b", "task:t"):
            answer = await client.post("/api/events", json={"stream": stream, "event_type": "noted", "payload": {"n": n}})
            assert answer.status == 201
    await client.close()
    return quiet_config.database.path


def manipulate(path, *statements):
    """Change the file as somebody with write access would: past the triggers, which come back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        texts = [db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0] for name in TRIGGERS]
        for name in TRIGGERS:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            statement(db) if callable(statement) else db.execute(statement)
        for text in texts:
            db.execute(text)


def write_anew(db, after):
    """Give every row after a seq the digest that follows from the one before, as an attacker would."""
    digest = db.execute("SELECT digest FROM events WHERE seq = ?", (after,)).fetchone()[0]
    rows = db.execute("SELECT seq FROM events WHERE seq > ? ORDER BY seq", (after,)).fetchall()
    for (seq,) in rows:
        db.execute("UPDATE events SET crc = 0 WHERE seq = ?", (seq,))
        canonical = canonical_of(db, seq)
        digest = link(digest, canonical)
        db.execute("UPDATE events SET crc = ?, digest = ? WHERE seq = ?", (crc_of(canonical), digest, seq))


def canonical_of(db, seq):
    """The canonical JSON of a row whatever its CRC says."""
    sql = "SELECT seq, stream, revision, coalesce(event_id, 'evt-' || (SELECT epoch FROM histories) || '-' || seq), event_type"
    row = db.execute(f"{sql}, timestamp, source, payload FROM events WHERE seq = ?", (seq,)).fetchone()
    return Event(*row).canonical()


def test_a_sound_file_has_no_faults(path):
    """Of 12 events, two plain streams, one projected task."""
    with closing(sqlite3.connect(path)) as db:
        summary = check(db, PROJECTED, mark=read_mark(path))
    assert (summary.events, summary.streams, summary.faults) == (12, 3, [])


MANIPULATIONS = [
    pytest.param(("UPDATE events SET payload = '{}' WHERE seq = 5",), "5: the event at seq 5", id="a changed payload"),
    pytest.param(("UPDATE events SET source = 'eve' WHERE seq = 12",), "12: the event at seq 12", id="the last event"),
    pytest.param(("UPDATE events SET crc = 7 WHERE seq = 5",), "5: the event at seq 5", id="a changed crc"),
    pytest.param(
        ("UPDATE events SET digest = zeroblob(32) WHERE seq = 5",), "5: the digest does not follow", id="a changed digest"
    ),
    pytest.param(("DELETE FROM events WHERE seq = 5",), "5: the event is missing", id="a row in the middle"),
    pytest.param(
        ("DELETE FROM events WHERE seq IN (10, 11)",), "10: the events up to seq 11 are missing", id="the end of streams"
    ),
    pytest.param(("DELETE FROM events WHERE seq = 12",), "12: the event is missing", id="the end of the log"),
    pytest.param(
        ("DELETE FROM events WHERE seq = 12", "UPDATE sqlite_sequence SET seq = 11"),
        "0: history is lost: seq 12 is missing",
        id="the end of the log and its number",
    ),
    pytest.param(("DELETE FROM events WHERE stream = 'note:a'",), "1: the event is missing", id="a whole stream"),
    pytest.param(
        (
            "UPDATE events SET seq = 99 WHERE seq = 4",
            "UPDATE events SET seq = 4 WHERE seq = 5",
            "UPDATE events SET seq = 5 WHERE seq = 99",
        ),
        "4: the event at seq 4 is damaged",
        id="two rows swapped",
    ),
    pytest.param(("UPDATE events SET seq = seq + 1 WHERE seq = 12",), "12: the event is missing", id="a row renumbered"),
    pytest.param(
        ("DELETE FROM events WHERE seq = 5", "INSERT INTO gaps SELECT 5, 5, digest, NULL, NULL FROM events WHERE seq = 6"),
        "5: a gap up to seq 5 is not retention's",
        id="a row that became a gap",
    ),
    pytest.param(
        ("INSERT INTO gaps VALUES (5, 6, x'00', NULL, NULL)",), "5: a gap up to seq 6 holds events", id="a gap over events"
    ),
    pytest.param(("DELETE FROM tasks",), "0: table tasks is not what the log says of task:t", id="an emptied projection"),
    pytest.param(
        ("UPDATE tasks SET progress = 99",), "0: table tasks is not what the log says of task:t", id="a changed projection"
    ),
    pytest.param(
        ("INSERT INTO sessions SELECT 'eve', * FROM (SELECT * FROM sessions) WHERE 0", "UPDATE tasks SET task_id = 'u'"),
        "0: table tasks is not what the log says of task:t, task:u",
        id="a row of another key",
    ),
    pytest.param(("DROP VIEW streams", "CREATE VIEW streams AS SELECT 1"), "0: view streams was changed", id="a changed view"),
    pytest.param(("DROP INDEX events_by_stream",), "0: index events_by_stream is missing", id="a dropped index"),
    pytest.param(("DROP TRIGGER epochs_are_fixed",), "0: trigger epochs_are_fixed is missing", id="a dropped trigger"),
    pytest.param(
        ("CREATE TRIGGER eve AFTER INSERT ON events BEGIN SELECT 1; END",),
        "0: trigger eve is not the server's",
        id="a new trigger",
    ),
]


@pytest.mark.parametrize(("statements", "found"), MANIPULATIONS)
def test_a_manipulation_is_found(path, statements, found):
    """Each is named with its place."""
    statements = [sql for sql in statements if not sql.startswith("INSERT INTO sessions")]
    manipulate(path, *statements)
    assert any(fault.startswith(found) for fault in faults(path)), faults(path)


def test_an_old_copy_is_found_by_its_mark(path, tmp_path, quiet_config):
    """A copy is a valid log by itself; beside the newer mark it is not."""
    old = shutil.copyfile(path, tmp_path / "old.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        before = read_head(db)
    shutil.copyfile(mark_path(path), mark_path(old))
    assert faults(old) == []
    line = mark_path(old).read_bytes()
    mark_path(old).write_bytes(line)
    with closing(sqlite3.connect(str(old), isolation_level=None)) as db:
        db.execute("DROP TRIGGER events_are_kept")
        db.execute("DELETE FROM events WHERE seq = 12")
        db.execute("UPDATE sqlite_sequence SET seq = 11")
    assert "0: history is lost: seq 12 is missing" in faults(old)
    assert before.seq == 12


def test_a_log_that_was_written_anew_is_only_found_by_a_head_that_is_kept_elsewhere(path, tmp_path):
    """Whoever has the file can make digests that follow; the head that somebody else keeps does not fit them any more."""
    with closing(sqlite3.connect(path)) as db:
        kept = HeadSigner(str(tmp_path / "key.pem")).read(db, None, 0.0)
    assert faults(path, kept=[kept]) == []
    manipulate(path, "UPDATE events SET payload = '{\"n\":9}' WHERE seq = 5", lambda db: write_anew(db, 4))
    mark_path(path).unlink()
    assert faults(path) == []
    assert faults(path, kept=[kept]) == [
        f"12: the head of {kept.signed_at} does not fit: the digest of that event was another one"
    ]


async def test_a_trimmed_log_verifies_and_so_do_its_gaps(quiet_config):
    """Retention leaves gaps: the chain goes on over them, and what is missing beyond them is still found."""
    async with open_log(quiet_config, is_terminal=app_is_terminal) as log:
        for n in range(60):
            await log.append([note(f"note:{n % 7}", n), note("note:often", n)])
        await trim(log, RetentionSection(kinds={"note": KindRetention(keep_last=8)}))
        assert (await log.query(check)).faults == []
        assert await log.query(lambda db: db.execute("SELECT count(*) FROM gaps").fetchone()[0]) > 0
    path = quiet_config.database.path
    manipulate(path, "DELETE FROM events WHERE seq = 110")
    assert faults(path) == ["110: the event is missing"] or faults(path)[0] == "110: the event is missing"
    manipulate(path, "DELETE FROM gaps WHERE from_seq = 1")
    assert faults(path)[0].startswith("1: the events up to seq ")


async def test_check_beside_a_busy_writer_finds_nothing(quiet_config):
    """A server may be appending and trimming meanwhile."""
    async with open_log(quiet_config) as log:
        await log.append([note("note:a", n) for n in range(300)])
        assert (await log.query(check)).faults == []
        await log.append([note("note:a")])
        assert (await log.query(lambda db: list(read_events(db, "ORDER BY seq DESC LIMIT 1", ()))))[0].seq == 301
    assert faults(changed(quiet_config, "poll").database.path) == []
