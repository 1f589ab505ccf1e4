"""Faults of the disk: what ends the log, what only waits for room, and what a person is told."""

import errno
import os
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from server.config import RetentionSection
from server.eventlog import place as place_module
from server.eventlog.database import sqlite3
from server.eventlog.engine import lacks_room
from server.eventlog.retention import trim
from tests.support import changed, note, open_log
from towow.errors import StorageFull, Unavailable

IOERR, CORRUPT, FULL = 10, 11, 13


def failing(code):
    """An error of SQLite with a result code."""
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode = code
    return error


def raises(error):
    """A function that raises it, whatever it is called with."""

    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize("way", ["maintenance", "checkpoint", "retention", "health"])
async def test_the_first_io_error_is_fatal_wherever_it_happens(quiet_config, monkeypatch, way):
    """Nothing is acknowledged after it, and the reason is said once."""
    fatal = []
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        await log.append([note("task:a"), note("task:a", event_type="finished"), note("task:b")])
        if way == "maintenance":
            with pytest.raises(Unavailable):
                await log.write(raises(failing(IOERR)))
        elif way == "checkpoint":
            monkeypatch.setattr(log._database.place, "checkpoint", raises(failing(IOERR)))
            monkeypatch.setattr(place_module, "_FRAMES_PER_CHECKPOINT", 0)
            await log.append([note("task:b")])
        elif way == "retention":
            monkeypatch.setattr("server.eventlog.retention.insert_gaps", raises(failing(IOERR)))
            with pytest.raises(Unavailable):
                await trim(log, RetentionSection(max_events=1))
        else:
            monkeypatch.setattr(log._writer, "require_room", raises(failing(IOERR)))
            with pytest.raises(Unavailable):
                await log.check_ready()
        with pytest.raises(Unavailable):
            await log.append([note("task:b")])
    assert len(fatal) == 1


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC])
async def test_a_quota_that_is_used_up_is_a_full_disk(quiet_config, monkeypatch, number):
    """SQLite calls it an I/O error of a write; a file beside the database tells it from a broken disk."""
    pwrite = os.pwrite

    def refuse(descriptor, data, offset):
        if len(data) > 1_000:
            raise OSError(number, os.strerror(number))
        return pwrite(descriptor, data, offset)

    async with open_log(quiet_config) as log:
        path = log._database.path
        assert not lacks_room(failing(IOERR), path)
        monkeypatch.setattr(os, "pwrite", refuse)
        assert lacks_room(failing(IOERR), path)
        assert not lacks_room(failing(CORRUPT), path)
        with monkeypatch.context() as patch:
            patch.setattr(log._writer, "_write", raises(failing(IOERR)))
            with pytest.raises(StorageFull):
                await log.append([note()])
        with pytest.raises(StorageFull):
            await log.write(raises(failing(IOERR)))
        assert (await log.append([note()]))[0].event.seq == 1
        assert not path.with_name(f"{path.name}.probe").exists()


async def test_no_room_for_the_mark_is_not_fatal(quiet_config, monkeypatch):
    """The event is on the disk; the mark stays behind, as it may, and moves with the next commit."""
    fatal = []
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        await log.append([note()])
        with monkeypatch.context() as patch:
            patch.setattr(log._database.place._mark, "write", raises(OSError(errno.ENOSPC, "no room")))
            assert (await log.append([note()]))[0].event.seq == 2
            assert "the mark is behind seq 2" in log.warnings[0]
        await log.append([note()])
        assert log.warnings == []
        monkeypatch.setattr(log._database.place._mark, "write", raises(OSError(errno.EIO, "broken")))
        with pytest.raises(Unavailable):
            await log.append([note()])
    assert len(fatal) == 1


async def test_a_checkpoint_without_room_is_said_and_appends_go_on(quiet_config, monkeypatch):
    """What it would have moved is safe in the write-ahead log."""

    class Full:
        """A connection whose checkpoints find no room."""

        def __init__(self, db):
            self._db = db

        def execute(self, sql, *parameters):
            """Run anything else."""
            if "wal_checkpoint" in sql:
                raise failing(FULL)
            return self._db.execute(sql, *parameters)

    async with open_log(quiet_config) as log:
        place = log._database.place
        await log.append([note()])
        await log.write(lambda db: place.checkpoint(Full(db)))
        assert "cannot be moved" in log.warnings[0]
        await log.append([note()])
        await log.write(place.checkpoint)
        assert log.warnings == []


async def test_a_reader_that_holds_a_transaction_open_is_said(quiet_config, monkeypatch):
    """By the time for which nothing could be moved, and by what that is; until it is over."""
    monkeypatch.setattr(place_module, "_HELD_SECONDS", -1.0)
    config = changed(quiet_config, "database", journal_size_limit_bytes=20_000)
    async with open_log(config) as log:
        await log.append([note(n=n) for n in range(50)])
        with closing(sqlite3.connect(config.database.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            with capture_logs() as lines:
                for _ in range(3):
                    await log.append([note(n=n) for n in range(300)])
                    await log.write(log._database.place.checkpoint)
            said = " ".join(log.warnings)
            assert "held a transaction open" in said
            assert "MiB that cannot be moved" in said
            names = [line["event"] for line in lines if line["log_level"] == "warning"]
            assert sorted(names) == ["checkpoint_held_back", "reader_holds_log"]
        monkeypatch.setattr(place_module, "_HELD_SECONDS", 30.0)
        await log.append([note()])
        await log.write(log._database.place.checkpoint)
        assert log.warnings == []


async def test_a_loss_that_was_accepted_is_in_the_warnings(quiet_config):
    """As long as the process lives that was told to go on."""
    async with open_log(quiet_config) as log:
        await log.append([note()])
    log._database.path.unlink()
    async with open_log(quiet_config, accept_loss=1) as log:
        assert "history was lost, and that was accepted" in log.warnings[0]
    async with open_log(quiet_config) as log:
        assert log.warnings == []
