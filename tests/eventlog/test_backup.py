"""Backups of a log that is in use, and what readers get after one was put back."""

import asyncio
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from server.app import LOG, make_app
from server.eventlog import backup as module
from server.eventlog.backup import backup, restore
from server.eventlog.database import read_only, sqlite3
from server.eventlog.heads import HeadSigner, read_kept
from server.eventlog.mark import mark_path, read_mark
from server.eventlog.rows import read_head
from server.eventlog.selection import select
from server.eventlog.verify import check
from server.streaming.cursor import CursorRequest, resolve
from tests.support import changed, note, open_log, read_frames
from towow.errors import HistoryLost, StartupError

NOW = 1_800_000_000.0


def quiet(what, done, of):
    """No progress."""


def faults(path, **options):
    """What `check` finds in a file."""
    with closing(read_only(path)) as db:
        return [fault.what for fault in check(db, mark=read_mark(path), **options).faults]


async def filled(config, count, start=0):
    """Append so many events to a log, one a commit, and return them with its epoch."""
    async with open_log(config) as log:
        events = [(await log.append([note("task:a", n)]))[0].event for n in range(start, start + count)]
        return events, log.epoch


async def test_a_backup_taken_at_full_speed_is_a_log_whose_chain_verifies(quiet_config, tmp_path):
    """Publishers go on, nobody is refused, and the copy is what was committed up to its head, which is signed."""
    target = tmp_path / "b.db"
    signer = HeadSigner(str(tmp_path / "key.pem"))
    async with open_log(quiet_config) as log:
        await log.append([note("task:a", n) for n in range(500)])
        source = Path(quiet_config.database.path)
        for _ in range(3):
            copying = asyncio.create_task(asyncio.to_thread(backup, source, target, signer, NOW, quiet))
            published = 0
            while not copying.done():
                await log.append([note("task:a")])
                published += 1
            head = await copying
            assert published
            assert 500 <= head.seq <= log.head_seq
            kept = read_kept(Path(f"{target}.head"))
            assert kept == [head]
            assert faults(target, kept=kept) == []
            event = await log.get(seq=head.seq)
            assert (event.digest.hex(), head.signature is not None) == (head.digest, True)
    assert {file.name for file in tmp_path.iterdir() if file.name.startswith("b.db")} == {"b.db", "b.db.head"}


async def test_a_backup_that_fails_leaves_the_one_before(quiet_config, tmp_path, monkeypatch):
    """What does not verify never gets the name, nor does what was interrupted, or has no room."""
    target = tmp_path / "b.db"
    await filled(quiet_config, 20)
    path = Path(quiet_config.database.path)
    backup(path, target, HeadSigner(""), NOW, quiet)
    before = target.read_bytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER events_are_immutable")
        db.execute("UPDATE events SET payload = '{}' WHERE seq = 7")
    with pytest.raises(StartupError, match="seq 7: the event at seq 7 is damaged"):
        backup(path, target, HeadSigner(""), NOW, quiet)

    def interrupt(what, done, of):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_STEPS", 10)
    with pytest.raises((KeyboardInterrupt, sqlite3.OperationalError)):
        backup(path, target, HeadSigner(""), NOW, interrupt)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1_000))
    with pytest.raises(StartupError, match="1000 bytes free"):
        backup(path, target, HeadSigner(""), NOW, quiet)
    with pytest.raises(StartupError, match="the database itself"):
        backup(path, path, HeadSigner(""), NOW, quiet)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob("*.part*"))


async def test_readers_before_at_and_after_the_parting_point_get_what_they_should(quiet_config, tmp_path):
    """Up to the backup's head nothing has happened; beyond it is another history; no seq is given twice."""
    path, target = Path(quiet_config.database.path), tmp_path / "b.db"
    first, old_epoch = await filled(quiet_config, 10)
    backup(path, target, HeadSigner(""), NOW, quiet)
    lost, _ = await filled(quiet_config, 5, start=10)
    restored = restore(path, target, NOW, quiet)
    assert (restored.from_seq, restored.head_seq, restored.kept.name) == (11, 15, f"{path.name}.before-restore")
    async with open_log(quiet_config) as log:
        assert log.epoch == restored.epoch != old_epoch
        (receipt,) = await log.append([note("task:a")])
        assert (receipt.event.seq, receipt.event.revision, receipt.event.event_id) == (16, 11, f"evt-{log.epoch}-16")
        for event in first:
            assert await log.prove(event.seq, event.check) == "proven"
        for event in lost:
            assert await log.prove(event.seq, event.check) == "other_history"
        assert (await resolve(log, select(), CursorRequest(10))).reset is None
        assert [event.seq for event in (await log.read(select(), 10)).events] == [16]
        assert (await log.query(check)).faults == []
    with closing(read_only(restored.kept)) as db:
        assert read_head(db).seq == 15
    assert faults(path) == []


async def test_a_damaged_or_lost_database_is_restored(quiet_config, tmp_path):
    """What is there need not open, or be there; the mark still knows which seqs were given."""
    path, target = Path(quiet_config.database.path), tmp_path / "b.db"
    await filled(quiet_config, 10)
    backup(path, target, HeadSigner(""), NOW, quiet)
    await filled(quiet_config, 5)
    path.write_bytes(b"\0" * 10_000)
    assert restore(path, target, NOW, quiet).head_seq == 15
    await filled(quiet_config, 1)
    path.unlink()
    assert restore(path, target, NOW, quiet).head_seq == 16
    async with open_log(quiet_config) as log:
        assert (await log.append([note()]))[0].event.seq == 17
    assert faults(path) == []


async def test_what_may_not_be_restored_is_refused_and_nothing_changes(quiet_config, tmp_path):
    """A backup that is damaged, another log's, one of a later release, and a database that a server uses."""
    path, target = Path(quiet_config.database.path), tmp_path / "b.db"
    await filled(quiet_config, 10)
    other = changed(quiet_config, "database", path=str(tmp_path / "other.db"))
    await filled(other, 3)
    backup(path, target, HeadSigner(""), NOW, quiet)
    with pytest.raises(StartupError, match="is another log"):
        restore(Path(other.database.path), target, NOW, quiet)
    async with open_log(quiet_config):
        with pytest.raises(StartupError, match="a server uses"):
            restore(path, target, NOW, quiet)
    before = path.read_bytes()
    newer = Path(shutil.copyfile(target, tmp_path / "newer.db"))
    with closing(sqlite3.connect(newer, isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(StartupError, match="version 999"):
        restore(path, newer, NOW, quiet)
    target.write_bytes(target.read_bytes()[:-5_000])
    with pytest.raises(StartupError):
        restore(path, target, NOW, quiet)
    assert path.read_bytes() == before


@pytest.mark.parametrize("at", ["_make_way", "Path.replace", "MarkFile.write"])
async def test_a_restore_that_is_killed_is_refused_or_undone_and_run_again(quiet_config, tmp_path, monkeypatch, at):
    """Whatever was done by then: the start says that history is missing, or finds the old log whole."""
    path, target = Path(quiet_config.database.path), tmp_path / "b.db"
    await filled(quiet_config, 10)
    backup(path, target, HeadSigner(""), NOW, quiet)
    await filled(quiet_config, 5)

    def kill(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        name, _, method = at.partition(".")
        patch.setattr(getattr(module, name), method, kill) if method else patch.setattr(module, name, kill)
        with pytest.raises(KeyboardInterrupt):
            restore(path, target, NOW, quiet)
    try:
        async with open_log(quiet_config) as log:
            assert log.head_seq == 15
            assert at != "MarkFile.write"
    except HistoryLost:
        assert at == "MarkFile.write"
    assert restore(path, target, NOW, quiet).head_seq == 15
    async with open_log(quiet_config) as log:
        assert (await log.append([note()]))[0].event.seq == 16
    assert faults(path) == []


async def test_a_database_on_a_medium_that_cannot_be_written_is_read(quiet_config, tmp_path, monkeypatch):
    """Nothing is made beside it; a write-ahead log that lies there is not left out in silence."""
    path = Path(quiet_config.database.path)
    await filled(quiet_config, 10)
    medium = tmp_path / "medium"
    medium.mkdir()
    shutil.copyfile(path, medium / "c.db")
    shutil.copyfile(mark_path(path), mark_path(medium / "c.db"))
    monkeypatch.setattr(os, "access", lambda where, mode: Path(where) != medium)
    assert faults(medium / "c.db") == []
    assert sorted(file.name for file in medium.iterdir()) == ["c.db", "c.db.mark"]
    (medium / "c.db-wal").write_bytes(b"x" * 100)
    with pytest.raises(StartupError, match="to another place"):
        read_only(medium / "c.db")


async def test_over_http_a_restored_log_answers_each_reader_as_its_cursor_proves(aiohttp_client, quiet_config, tmp_path):
    """Before and at the backup's head nothing has happened; after it a poll is 410 and a stream begins with `reset`."""
    path, target = Path(quiet_config.database.path), tmp_path / "b.db"
    first, old_epoch = await filled(quiet_config, 10)
    backup(path, target, HeadSigner(""), NOW, quiet)
    lost, _ = await filled(quiet_config, 5, start=10)
    restore(path, target, NOW, quiet)
    client = await aiohttp_client(make_app(quiet_config))
    await client.app[LOG].append([note("task:a")])

    async def poll(query):
        answer = await client.get(f"/api/events?stream=task:a&{query}")
        data = await answer.json()
        return data["error"]["reason"] if answer.status == 410 else [event["seq"] for event in data["events"]]

    for at, expected in ((first[6], [8, 9, 10, 16]), (first[9], [16])):
        for query in (
            f"since_seq={at.cursor}",
            f"since_seq={at.cursor}&epoch={old_epoch}",
            f"since_seq={at.seq}&epoch={old_epoch}",
        ):
            assert await poll(query) == expected, query
    for event in lost:
        assert await poll(f"since_seq={event.cursor}") == "other_history"
        assert await poll(f"since_seq={event.seq}&epoch={old_epoch}") == "other_epoch"
    async with client.get("/api/events/stream?stream=task:a", headers={"Last-Event-ID": lost[2].cursor}) as response:
        frames = await read_frames(response, 3)
    assert (frames[0].event, frames[0].data["reason"]) == ("reset", "other_history")
    assert [frame.data["seq"] for frame in frames[1:]] == [1, 2]
