"""The migration that makes a new file: the old digests hold, a kill at any point loses nothing, the old file is kept."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from server.config import DatabaseSection
from server.eventlog import database, rewrite
from server.eventlog.chain import verify_chain
from server.eventlog.database import Database, migrate, migrations, sqlite3
from server.eventlog.queries import read_meta
from server.eventlog.rows import read_events, read_head
from tests.conftest import ROOT
from tests.support import require_strace
from towow.errors import StartupError
from towow.events import Event

NUMBER = next(number for number, name, _ in migrations() if name.endswith(rewrite.REWRITING))


def make_old(path, events, *, trimmed=0, head_seq=None):
    """A file of version 8 as its release wrote it: a digest chain for each stream. Returns the events that are left."""
    kept, heads = [], {}
    with closing(sqlite3.connect(str(path), isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        shipped = migrations()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "migrations", lambda: shipped[: NUMBER - 1])
            migrate(db)
        db.execute("BEGIN")
        for n in range(1, events + 1):
            stream = f"note:{n % 3}" if n > 1 else "note:once"
            revision, digest = heads.get(stream, (0, b""))
            payload = json.dumps({"n": n, "text": "龙 🐉"}, ensure_ascii=False, separators=(",", ":"))
            event = Event(n, stream, revision + 1, f"e-{n}", "noted", "2026-01-01T00:00:00.000Z", "me", payload)
            digest = hashlib.sha256(digest + event.canonical()).digest()
            heads[stream] = (revision + 1, digest)
            if n > trimmed or n == 1:
                kept.append(event)
                row = (*(getattr(event, name) for name in rewrite._OLD_COLUMNS.split(", ")[:-2]), payload, digest)
                db.execute(f"INSERT INTO events ({rewrite._OLD_COLUMNS}) VALUES ({', '.join('?' * 9)})", row)
        db.execute("UPDATE log_meta SET trimmed_seq = ?", (trimmed,))
        db.execute("INSERT INTO agents VALUES ('bob', 'Bob', '[]', '', 0, 't', 3)")
        db.execute("INSERT INTO agents_fts (rowid, name) VALUES (3, 'bob')")
        if head_seq is not None:
            db.execute("UPDATE sqlite_sequence SET seq = ?", (head_seq,))
        db.execute("COMMIT")
    return kept


def events_of(path):
    """What a new connection reads."""
    with closing(sqlite3.connect(str(path))) as db:
        return list(read_events(db, "ORDER BY seq", ()))


async def opened(path):
    """Open as a server does, and close again."""
    async with Database(DatabaseSection(path=str(path), min_free_bytes=0)):
        pass


async def test_every_event_is_moved_into_the_new_chain(tmp_path):
    """Ids, times, payloads and projections stay; the chain verifies; the old file has its own name and its own content."""
    path = tmp_path / "d.db"
    events = make_old(path, 50)
    with closing(sqlite3.connect(str(path))) as db:
        epoch = db.execute("SELECT epoch FROM log_meta").fetchone()[0]
    await opened(path)
    assert events_of(path) == events
    with closing(sqlite3.connect(str(path))) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == migrations()[-1][0]
        assert read_meta(db).epoch == epoch
        assert verify_chain(db, 50).faults == []
        assert db.execute("SELECT agents_fts.name FROM agents JOIN agents_fts ON agents_fts.rowid = seq").fetchall() == [
            ("bob",)
        ]
        indexes = db.execute(
            "SELECT name FROM sqlite_master WHERE tbl_name = 'events' AND type = 'index' ORDER BY 1"
        ).fetchall()
    assert indexes == [("events_by_event_id",), ("events_by_stream",)]
    with closing(sqlite3.connect(f"{path}.before-{NUMBER:04d}")) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone()[0] == 50
        assert db.execute("PRAGMA user_version").fetchone()[0] == NUMBER - 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.db", f"d.db.before-{NUMBER:04d}", "d.db.lock", "d.db.mark"]


async def test_what_retention_had_removed_is_a_gap(tmp_path):
    """Also holes at the end: the head stays the highest seq ever given, and the chain verifies over them."""
    path = tmp_path / "d.db"
    events = make_old(path, 50, trimmed=20, head_seq=60)
    await opened(path)
    assert events_of(path) == events
    with closing(sqlite3.connect(str(path))) as db:
        assert read_head(db).seq == 60
        assert db.execute("SELECT from_seq, through_seq, checks FROM gaps ORDER BY 1").fetchall() == [
            (2, 20, None),
            (51, 60, None),
        ]
        assert verify_chain(db, 60).faults == []


async def test_a_new_file_and_an_empty_old_one_are_not_rewritten(tmp_path):
    """The script alone changes them."""
    path = tmp_path / "d.db"
    make_old(path, 0)
    await opened(path)
    await opened(tmp_path / "new.db")
    assert not list(tmp_path.glob("*before*"))


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("payload = '{}' WHERE seq = 30", id="a payload"),
        pytest.param("digest = x'00' WHERE seq = 30", id="a digest"),
        pytest.param("revision = 99 WHERE seq = 30", id="a revision"),
    ],
)
async def test_an_old_log_that_does_not_verify_is_refused_untouched(tmp_path, sql):
    """The message names the seq; the file is as it was, and nothing stands beside it."""
    path = tmp_path / "d.db"
    make_old(path, 50)
    with closing(sqlite3.connect(str(path), isolation_level=None)) as db:
        trigger = db.execute("SELECT sql FROM sqlite_master WHERE name = 'events_are_immutable'").fetchone()[0]
        db.execute("DROP TRIGGER events_are_immutable")
        db.execute(f"UPDATE events SET {sql}")
        db.execute(trigger)
    before = path.read_bytes()
    with pytest.raises(StartupError, match=r"does not verify at seq 30 \(note:0\)"):
        await opened(path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.db", "d.db.lock"]


class _Usage(NamedTuple):
    free: int


async def test_without_room_beside_it_nothing_is_begun(tmp_path, monkeypatch):
    """The message says how many bytes it takes and how many there are."""
    path = tmp_path / "d.db"
    make_old(path, 50)
    monkeypatch.setattr(shutil, "disk_usage", lambda directory: _Usage(path.stat().st_size))
    with pytest.raises(StartupError, match=r"takes \d+ bytes beside it, and \d+ are free"):
        await opened(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.db", "d.db.lock"]


@pytest.mark.parametrize("is_idle", [True, False], ids=["idle", "reading"])
async def test_a_file_that_another_program_has_open_is_not_exchanged_under_it(tmp_path, is_idle):
    """What that program wrote later would be lost; when it has gone, the next start goes through."""
    path = tmp_path / "d.db"
    events = make_old(path, 50)
    other = sqlite3.connect(str(path), isolation_level=None)
    if not is_idle:
        other.execute("BEGIN")
    other.execute("SELECT count(*) FROM events").fetchone()
    with pytest.raises(StartupError, match="another program uses it"):
        await opened(path)
    assert other.execute("SELECT count(*) FROM events").fetchone()[0] == 50
    other.close()
    await opened(path)
    assert events_of(path) == events


class Killed(BaseException):
    """Stands in for SIGKILL: nothing after it runs, but for what the kernel does."""


@pytest.mark.parametrize(
    "at", ["_copy_tables", "_move_events", "_check", "_exchange", "os.link", "os.replace", "sync_directory"]
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_at_any_step_leaves_a_whole_file(tmp_path, monkeypatch, at, when):
    """The next start begins again or finds it done; every event is there either way, and one old file."""
    path = tmp_path / "d.db"
    events = make_old(path, 50)
    target, name = (os, at[3:]) if at.startswith("os.") else (rewrite, at)
    real = getattr(target, name)

    def kill(*arguments):
        if when == "after":
            real(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(target, name, kill)
        with pytest.raises(Killed):
            await opened(path)
    await opened(path)
    assert events_of(path) == events
    assert len(list(tmp_path.glob("*.before-*"))) == 1
    assert not list(tmp_path.glob("*.rewriting*"))


@pytest.mark.parametrize(("call", "file"), [("rename", "d.db.rewriting"), ("link", "d.db"), ("fsync", "d.db.rewriting")])
def test_a_process_that_is_killed_while_it_rewrites_leaves_a_whole_file(tmp_path, call, file):
    """SIGKILL by the kernel, at the calls that exchange the files."""
    strace = require_strace()
    path = tmp_path / "d.db"
    events = make_old(path, 500)
    command = [sys.executable, "run.py", "rebuild", "--db", str(path)]
    tracer = [strace, "-f", "-qq", "-o", "/dev/null", "-P", str(tmp_path / file), "-e", f"inject={call}:signal=KILL:when=1"]
    done = subprocess.run([*tracer, *command], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr.decode()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert events_of(path) == events


async def test_progress_and_the_old_files_name_are_said(tmp_path, monkeypatch):
    """A log of millions takes a while; whoever waits sees it move, and learns what may be deleted when it is trusted."""
    path = tmp_path / "d.db"
    make_old(path, 50)
    monkeypatch.setattr(rewrite, "_PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(rewrite, "_ROWS_PER_STEP", 20)
    with capture_logs() as lines:
        await opened(path)
    assert [(line["events"], line["of"]) for line in lines if line["event"] == "rewriting"] == [(20, 50), (40, 50), (50, 50)]
    (last,) = (line for line in lines if line["event"] == "file_rewritten")
    assert (last["events"], Path(last["old_file"]).name) == (50, f"d.db.before-{NUMBER:04d}")


async def test_tables_that_are_not_the_servers_are_named(tmp_path):
    """They stay in the old file."""
    path = tmp_path / "d.db"
    make_old(path, 5)
    with closing(sqlite3.connect(str(path), isolation_level=None)) as db:
        db.execute("CREATE TABLE mine (x)")
    with capture_logs() as lines:
        await opened(path)
    assert [line["tables"] for line in lines if line["event"] == "tables_not_copied"] == [["mine"]]
