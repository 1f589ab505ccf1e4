"""What tells of a loss: the mark, the bytes of the write-ahead log, the place of the file; and how a loss is accepted."""

import contextlib
import os
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.eventlog.database import sqlite3
from server.eventlog.mark import MarkFile, mark_path, read_mark
from server.eventlog.rows import Head, read_head, read_histories
from server.eventlog.selection import select
from server.eventlog.verify import check
from server.eventlog.wal import find_break
from tests.support import changed, note, open_log
from towow.errors import HistoryLost, Unavailable

EVERYTHING = select()


def copy_of(path, name):
    """A copy of a database that is open, with its write-ahead log and its mark: what a kill at this moment leaves."""
    copy = Path(path).with_name(name)
    for suffix in ("", "-wal", ".mark"):
        if Path(f"{path}{suffix}").exists():
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


async def killed(config, name="killed.db", events=30):
    """The files of a server that was killed after so many acknowledged appends, and the settings that open them."""
    async with open_log(config) as log:
        for n in range(events):
            await log.append([note("note:a", n)])
        copy = copy_of(config.database.path, name)
    return copy, changed(config, "database", path=str(copy))


async def seqs(config, accept_loss=None):
    """What a start reads, or its refusal."""
    async with open_log(config, accept_loss=accept_loss) as log:
        return [event.seq for event in (await log.read(EVERYTHING, 0)).events]


# The mark.


async def test_the_mark_is_the_head_after_every_commit(quiet_config):
    """Also across a kill: what was acknowledged is in it."""
    async with open_log(quiet_config) as log:
        for n in range(5):
            (receipt,) = await log.append([note(n=n)])
            mark = read_mark(Path(quiet_config.database.path))
            assert (mark.epoch, mark.head) == (log.epoch, (receipt.event.seq, receipt.event.digest))
            assert abs(mark.written_at - log.clock()) < 60


async def test_with_normal_the_mark_moves_at_checkpoints(quiet_config):
    """Before one a power cut may take commits back, and the mark must not lie ahead of the disk."""
    config = changed(quiet_config, "database", synchronous="NORMAL")
    path = Path(config.database.path)
    async with open_log(config) as log:
        await log.append([note()])
        assert read_mark(path) is None or read_mark(path).head.seq == 0
        await log.write(log._database.place.checkpoint)
        assert read_mark(path).head.seq == 1
        await log.append([note()])
    assert read_mark(path).head.seq == 2


def test_a_mark_only_moves_forward_between_processes(tmp_path):
    """Whoever commits first may write second."""
    one, two = MarkFile(tmp_path / "d.db"), MarkFile(tmp_path / "d.db")
    one.write("a" * 16, Head(1, b"x" * 32), 1e9)
    two.write("a" * 16, Head(3, b"z" * 32), 1e9)
    one.write("a" * 16, Head(2, b"y" * 32), 1e9)
    assert read_mark(tmp_path / "d.db").head == (3, b"z" * 32)
    one.write("b" * 16, Head(2, b"y" * 32), 1e9)  # another epoch began
    assert read_mark(tmp_path / "d.db").epoch == "b" * 16
    one.close()
    two.close()


def test_a_torn_mark_is_none(tmp_path):
    """Any byte of it that is another makes it no mark at all."""
    file = MarkFile(tmp_path / "d.db")
    file.write("a" * 16, Head(7, b"x" * 32), 1e9)
    file.close()
    good = mark_path(tmp_path / "d.db").read_bytes()
    for place in range(len(good.rstrip())):
        bad = bytearray(good)
        bad[place] ^= 1
        mark_path(tmp_path / "d.db").write_bytes(bad)
        assert read_mark(tmp_path / "d.db") is None, place
    for length in (0, 1, 100):
        mark_path(tmp_path / "d.db").write_bytes(good[:length])
        assert read_mark(tmp_path / "d.db") is None


async def test_without_a_mark_a_file_with_events_opens_with_a_warning(quiet_config):
    """As after a move without it: whether it is older than it was cannot be told."""
    async with open_log(quiet_config) as log:
        await log.append([note()])
    mark_path(Path(quiet_config.database.path)).unlink()
    with capture_logs() as lines:
        assert await seqs(quiet_config) == [1]
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["no_mark"]
    with capture_logs() as lines:
        await seqs(quiet_config)
    assert [line for line in lines if line["log_level"] == "warning"] == []


# Losses.


async def test_a_killed_log_opens_with_everything(quiet_config):
    """A write-ahead log that is whole is no loss, nor is one cut in its last transaction before it was acknowledged."""
    _, config = await killed(quiet_config)
    assert await seqs(config) == list(range(1, 31))


async def test_an_old_copy_is_refused_with_the_seqs_that_are_missing(quiet_config):
    """The mark of the newer file stands beside it; the exit status is one of its own."""
    old, _ = await killed(quiet_config, "old.db", events=10)
    path = Path(quiet_config.database.path)
    async with open_log(quiet_config) as log:
        for n in range(5):
            await log.append([note("note:a", n)])
    shutil.copyfile(old, path)
    shutil.copyfile(f"{old}-wal", f"{path}-wal")
    with pytest.raises(HistoryLost, match=r"seqs 11 to 15 are missing.*--accept-loss=15") as caught:
        await seqs(quiet_config)
    assert caught.value.exit_status == 3
    for wrong in (10, 14, 16):
        with pytest.raises(HistoryLost):
            await seqs(quiet_config, accept_loss=wrong)
    assert await seqs(quiet_config, accept_loss=15) == list(range(1, 11))


async def test_an_accepted_loss_is_a_new_epoch_and_a_gap(quiet_config):
    """No seq is given twice, older ids stay, the file verifies, and the flag has no effect at the next start."""
    async with open_log(quiet_config) as log:
        before = [each.event for each in await log.append([note("note:a", n) for n in range(10)])]
        first = log.epoch
    path = quiet_config.database.path
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO gaps VALUES (8, 10, x'00', NULL, NULL)")
        db.execute("DELETE FROM events WHERE seq > 7")
        db.execute("DELETE FROM gaps")
        db.execute("UPDATE sqlite_sequence SET seq = 7")
    with pytest.raises(HistoryLost, match="seqs 8 to 10 are missing"):
        await seqs(quiet_config)
    async with open_log(quiet_config, accept_loss=10) as log:
        assert log.epoch != first
        assert log.head_seq == 10
        (receipt,) = await log.append([note("note:a")])
        assert (receipt.event.seq, receipt.event.revision) == (11, 8)
        assert receipt.event.event_id == f"evt-{log.epoch}-11"
        assert (await log.read(EVERYTHING, 0)).events[:7] == before[:7]
        assert log.meta.histories == ((first, log.epoch), (1, 8))
        assert await log.prove(9, "111111") == "other_history"
        assert (await log.query(check)).faults == []
    with capture_logs() as lines:
        assert await seqs(quiet_config, accept_loss=10) == [*range(1, 8), 11]
    assert "nothing_lost" in [line["event"] for line in lines]


async def test_a_copy_that_went_its_own_way_is_refused(quiet_config):
    """It has the seq of the mark, and another event there."""
    async with open_log(quiet_config) as log:
        await log.append([note("note:a", n) for n in range(5)])
    path = Path(quiet_config.database.path)
    copy = shutil.copyfile(path, path.with_name("copy.db"))
    for config, n in ((quiet_config, 1), (changed(quiet_config, "database", path=str(copy)), 2)):
        async with open_log(config) as log:
            await log.append([note("note:a", n)])
    shutil.copyfile(copy, path)
    with pytest.raises(HistoryLost, match="the event at seq 6 is not the one that was written"):
        await seqs(quiet_config)
    assert await seqs(quiet_config, accept_loss=6) == [1, 2, 3, 4, 5, 6]


async def test_a_database_that_is_gone_is_refused_by_its_mark(quiet_config):
    """A new file in its place would begin again at 1."""
    async with open_log(quiet_config) as log:
        await log.append([note("note:a", n) for n in range(5)])
    path = Path(quiet_config.database.path)
    path.unlink()
    with pytest.raises(HistoryLost, match="seqs 1 to 5 are missing"):
        await seqs(quiet_config)
    assert not path.exists()
    async with open_log(quiet_config, accept_loss=5) as log:
        assert (await log.append([note("note:a")]))[0].event.seq == 6


@pytest.mark.parametrize("is_empty", [True, False], ids=["an empty file", "no file"])
async def test_a_write_ahead_log_without_its_database_is_not_touched(quiet_config, is_empty):
    """SQLite would delete it. It may be all that is left; no flag makes us do it."""
    copy, config = await killed(quiet_config)
    wal = Path(f"{copy}-wal").read_bytes()
    copy.unlink()
    if is_empty:
        copy.touch()
    for accept_loss in (None, 30):
        with pytest.raises(HistoryLost, match="without its database"):
            await seqs(config, accept_loss)
    assert Path(f"{copy}-wal").read_bytes() == wal


# The write-ahead log.


async def test_a_write_ahead_log_that_is_damaged_anywhere_is_refused(quiet_config):
    """A bit anywhere in what was acknowledged: the start is refused with the seqs, or nothing is missing at all."""
    copy, config = await killed(quiet_config)
    good = Path(f"{copy}-wal").read_bytes()
    saved = copy.read_bytes()
    mark = mark_path(copy).read_bytes()
    random_ = random.Random(7)
    for _ in range(60):
        bad = bytearray(good)
        bad[random_.randrange(len(bad))] ^= 1 << random_.randrange(8)
        copy.write_bytes(saved)
        Path(f"{copy}-wal").write_bytes(bad)
        mark_path(copy).write_bytes(mark)
        Path(f"{copy}-shm").unlink(missing_ok=True)
        read = []
        with contextlib.suppress(HistoryLost):
            read = await seqs(config)
        assert read in ([], list(range(1, 31)))


async def test_what_is_lost_with_a_damaged_write_ahead_log_is_kept_beside_it(quiet_config):
    """Accepted, the log goes on; the bytes stay for whoever wants to look."""
    copy, config = await killed(quiet_config)
    wal = Path(f"{copy}-wal")
    bad = bytearray(wal.read_bytes())
    bad[len(bad) // 2] ^= 1
    wal.write_bytes(bad)
    with pytest.raises(
        HistoryLost, match=r"broken at frame \d+, and \d+ whole transactions follow; seqs \d+ to 30 are missing"
    ):
        await seqs(config)
    left = await seqs(config, accept_loss=30)
    assert left == list(range(1, len(left) + 1))
    assert len(left) < 30
    assert Path(f"{copy}-wal.lost-30").read_bytes() == bad


async def test_without_its_mark_a_damaged_write_ahead_log_tells_by_itself(quiet_config):
    """Whole transactions behind a broken frame were acknowledged."""
    copy, config = await killed(quiet_config)
    good = Path(f"{copy}-wal").read_bytes()
    for place in (0, 20, len(good) // 3, len(good) // 2):
        bad = bytearray(good)
        bad[place] ^= 4
        Path(f"{copy}-wal").write_bytes(bad)
        mark_path(copy).unlink(missing_ok=True)
        with pytest.raises(HistoryLost, match="broken at frame"):
            await seqs(config)


async def test_what_a_crash_leaves_is_no_damage(quiet_config):
    """A tail that was cut, or frames of an earlier round behind the newest ones."""
    copy, _ = await killed(quiet_config)
    wal = Path(f"{copy}-wal")
    good = wal.read_bytes()
    for cut in range(1, 9_000, 331):
        wal.write_bytes(good[:-cut])
        assert find_break(wal) is None
    wal.write_bytes(good[:-4096] + bytes(4096))
    assert find_break(wal) is None
    wal.write_bytes(good)
    assert find_break(wal) is None
    for size in (0, 1, 31, 32, 40):
        wal.write_bytes(good[:size])
        assert find_break(wal) is None
    with closing(sqlite3.connect(str(copy.with_name("round.db")), isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (x)")
        for _ in range(20):
            db.execute("INSERT INTO t VALUES (zeroblob(5000))")
        db.execute("PRAGMA wal_checkpoint")
        db.execute("INSERT INTO t VALUES (1)")
        assert find_break(copy.with_name("round.db-wal")) is None


# The place of the file.


def remove(path):
    """Delete the database."""
    path.unlink()


def move(path):
    """Give it another name."""
    path.rename(path.with_name("elsewhere.db"))


def replace(path):
    """Put a copy in its place, as restoring does."""
    copy = shutil.copyfile(path, path.with_name("copy.db"))
    os.replace(copy, path)


def truncate(path):
    """Cut it to nothing."""
    os.truncate(path, 0)


def truncate_half(path):
    """Cut it to one page."""
    os.truncate(path, 4096)


def remove_wal(path):
    """Delete the write-ahead log."""
    Path(f"{path}-wal").unlink()


@pytest.mark.parametrize("what", [remove, move, replace, truncate, truncate_half, remove_wal], ids=lambda what: what.__name__)
@pytest.mark.parametrize("way", ["append", "health"])
async def test_a_file_that_is_taken_away_ends_the_log_before_anybody_is_answered(quiet_config, what, way):
    """What is committed from then on would be lost with a 201. The server stops and says why."""
    fatal = []
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        await log.append([note("note:a", n) for n in range(200)])
        await log.write(log._database.place.checkpoint)
        await log.append([note("note:a")])
        what(Path(quiet_config.database.path))
        with pytest.raises(Unavailable):
            await (log.append([note("note:a")]) if way == "append" else log.check_ready())
        with pytest.raises(Unavailable):
            await log.append([note("note:a")])
    assert len(fatal) == 1
    assert "while it was open" in fatal[0]


async def test_vacuum_makes_a_file_smaller_and_is_no_truncation(quiet_config):
    """By a script beside the server."""
    async with open_log(quiet_config) as log:
        await log.append([note("note:a", n) for n in range(2_000)])
        await log.write(lambda db: db.execute("CREATE TABLE large AS SELECT payload, digest FROM events").close())
        await log.write(lambda db: db.execute("DROP TABLE large").close())
        await log.write(log._database.place.checkpoint)
        size = Path(quiet_config.database.path).stat().st_size
        with closing(sqlite3.connect(quiet_config.database.path, isolation_level=None)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert Path(quiet_config.database.path).stat().st_size < size
        await log.append([note("note:a")])


async def test_a_file_that_was_vacuumed_and_grows_in_its_write_ahead_log_is_no_truncation(quiet_config):
    """Pages that were not moved yet do not count: the file is as long as its own first page says."""
    async with open_log(quiet_config) as log:
        await log.write(lambda db: db.execute("CREATE TABLE large (x)").close())
        await log.write(lambda db: db.execute("INSERT INTO large VALUES (zeroblob(400000))").close())
        await log.write(log._database.place.checkpoint)
        await log.append([note("note:a")])
        with closing(sqlite3.connect(quiet_config.database.path, isolation_level=None)) as db:
            db.execute("DELETE FROM large")
            db.execute("PRAGMA incremental_vacuum").fetchall()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        event = note("note:a")
        event.payload_json = '{"x":"' + "x" * 200_000 + '"}'
        await log.append([event])
        await log.append([note("note:a")])


# Checkpoints.


async def test_the_writer_checkpoints_itself_and_the_write_ahead_log_stays_small(quiet_config):
    """After publishers were answered; with nobody reading, everything is moved."""
    path = Path(quiet_config.database.path)
    async with open_log(quiet_config) as log:
        for _ in range(30):
            await log.append([note("note:a", n) for n in range(500)])
        assert Path(f"{path}-wal").stat().st_size < 16_000_000
        assert path.stat().st_size > 1_000_000
        with closing(sqlite3.connect(str(path))) as db:
            assert read_head(db).seq == 15_000
            assert len(read_histories(db).epochs) == 1
