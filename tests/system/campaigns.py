"""Campaigns: many rounds of one kind of trouble under a log: what was acknowledged, lost, served damaged, and unsaid.

    python -m tests.system.campaigns kills --rounds 200 --seed 1
    python -m tests.system.campaigns cuts --rounds 100          (mounts loop images: needs to be root)
    python -m tests.system.campaigns cuts --rounds 20 --control (synchronous = NORMAL: has to find loss)
    python -m tests.system.campaigns points --rounds 200        (strace)
    python -m tests.system.campaigns corruption --rounds 400
    python -m tests.system.campaigns corruption --control       (reads past the checks)
    python -m tests.system.campaigns clocks --rounds 50

Short ones run with the tests. The exit code is 1 when something was lost, damaged or unsaid, for a control when nothing was."""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from server.app import PROJECTED
from server.config import Config, DatabaseSection, RetentionSection
from server.eventlog.database import sqlite3
from server.eventlog.mark import mark_path, read_mark
from server.eventlog.retention import trim
from server.eventlog.selection import select
from server.eventlog.verify import check
from tests.support import ROOT, ServerProcess, note, open_log, until
from tests.system.test_kill import Publisher
from towow.errors import Damaged, StartupError

PUBLISHERS = 4
IMAGE_MEBIBYTES = 48
QUIET = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false", "TOWOW__DATABASE__MIN_FREE_BYTES": "0", "TOWOW__LOGGING__LEVEL": "warning"}
TRIMMING = {"TOWOW__RETENTION__KINDS": "{task={keep_last=300}}", "TOWOW__RETENTION__CHECK_INTERVAL_SECONDS": "0.2"}


class Outcome(NamedTuple):
    """What a campaign has found; `unsaid` are events that are missing although nothing says so, `damaged` what was served."""

    rounds: int
    acknowledged: int
    lost: int
    damaged: int
    unsaid: int
    seconds: float

    @property
    def is_clean(self):
        """Whether everything was kept, or said."""
        return not (self.lost or self.damaged or self.unsaid)

    def __str__(self):
        """One line."""
        return (
            f"{self.rounds} rounds, {self.acknowledged} acknowledged, {self.lost} lost, {self.damaged} served damaged,"
            f" {self.unsaid} unsaid, {self.seconds:.0f} s"
        )


def missing_in(path, receipts):
    """How many acknowledged events a closed database lacks, but for those that retention has removed; and its faults."""
    with closing(sqlite3.connect(str(path), isolation_level=None)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'gaps'").fetchone():
            return len(receipts), []  # not even the schema
        stored = dict(db.execute("SELECT seq, event_id FROM events"))
        gaps = db.execute("SELECT from_seq, through_seq FROM gaps WHERE event_seq IS NOT NULL").fetchall()
        trimmed = {seq for first, last in gaps for seq in range(first, last + 1)}
        lost = sum(stored.get(seq) != event_id and seq not in trimmed for event_id, seq, _ in receipts)
        return lost, [fault.what for fault in check(db, PROJECTED, mark=read_mark(path)).faults]


@contextlib.asynccontextmanager
async def publishing(server, receipts):
    """Publishers that repeat what was not acknowledged, until the end of the block."""
    publishers = [Publisher(n, server.url, receipts) for n in range(PUBLISHERS)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(publisher.run()) for publisher in publishers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def kills(directory, rounds, chance, *, is_control=False):
    """SIGKILL while events are published, trimmed and checkpointed, and beside them rebuilt, copied or compacted.

    The control cuts the write-ahead log after every kill, as a disk that lies would, and goes on without what that lost."""
    started_at = time.monotonic()
    receipts, lost, unsaid = [], 0, 0
    server = ServerProcess(directory / "towow.db", environment={**QUIET, **TRIMMING})
    server.start()
    async with publishing(server, receipts):
        for n in range(rounds):
            enough = len(receipts) + chance.randrange(1, 300)
            await until(lambda count=enough: len(receipts) >= count, timeout=60)
            command = chance.choice((["rebuild"], ["backup", str(directory / "b.db")], ["compact"], None))
            beside = None
            if command is not None:
                arguments = [sys.executable, str(ROOT / "run.py"), *command, "--db", str(server.database)]
                beside = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory)
                await asyncio.sleep(chance.random())
            server.kill()
            if beside is not None:
                beside.kill()
                beside.wait()
            if is_control and n == rounds // 2:
                wal = Path(f"{server.database}-wal")
                os.truncate(wal, wal.stat().st_size // 2)
                break
            await asyncio.to_thread(server.start)
    if server.process is not None:
        server.stop()
    if is_control:
        mark_path(server.database).unlink()
    missing, faults = missing_in(server.database, receipts)
    lost, unsaid = lost + missing, unsaid + len(faults)
    return Outcome(rounds, len(receipts), lost, 0, unsaid, time.monotonic() - started_at)


def _run(*command):
    subprocess.run(command, check=True, capture_output=True)


async def cuts(directory, rounds, chance, *, is_control=False):
    """Power cuts: the file system's image is copied while the server stands still, and what is in it is opened.

    The image has what was synced, and whatever else the kernel has written by then. The control syncs at checkpoints only."""
    started_at = time.monotonic()
    image, mounted, copied = directory / "disk.img", directory / "disk", directory / "copy"
    mounted.mkdir()
    copied.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_MEBIBYTES << 20)
    _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    _run("mount", "-o", "loop", str(image), str(mounted))
    receipts, lost, unsaid = [], 0, 0
    synchronous = {"TOWOW__DATABASE__SYNCHRONOUS": "NORMAL"} if is_control else {}
    server = ServerProcess(mounted / "towow.db", environment={**QUIET, **TRIMMING, **synchronous})
    try:
        server.start()
        async with publishing(server, receipts):
            for n in range(rounds):
                enough = len(receipts) + chance.randrange(1, 200)
                await until(lambda count=enough: len(receipts) >= count, timeout=60)
                server.process.send_signal(signal.SIGSTOP)
                acknowledged = list(receipts)  # nothing is answered any more; what is on its way was not read yet
                copy = directory / f"cut-{n}.img"
                _run("cp", "--sparse=always", str(image), str(copy))
                server.process.send_signal(signal.SIGCONT)
                _run("mount", "-o", "loop", str(copy), str(copied))
                try:
                    missing, faults = await asyncio.to_thread(missing_in, copied / "towow.db", acknowledged)
                finally:
                    _run("umount", str(copied))
                copy.unlink()
                lost += missing
                unsaid += len(faults) if not is_control else 0
        server.stop()
    finally:
        if server.process is not None:
            server.kill()
        _run("umount", str(mounted))
    return Outcome(rounds, len(receipts), lost, 0, unsaid, time.monotonic() - started_at)


def said_of(event):
    """What is compared of an event."""
    return [event.stream, event.revision, event.event_type, event.payload_json]


def _is_over(server, receipts, enough):
    return len(receipts) >= enough or server.process.poll() is not None


async def points(directory, rounds, chance, *, is_control=False):
    """A fault at one write or sync of the server, wherever it falls: SIGKILL, an I/O error once or for good, a full disk.

    The control cuts the write-ahead log afterwards, and has no mark that would say so."""
    started_at = time.monotonic()
    receipts, lost, unsaid = [], 0, 0
    path = directory / "towow.db"
    with ServerProcess(path, environment=QUIET):
        pass  # the schema is made; what follows are commits, checkpoints and retention
    faults = ("signal=KILL", "error=EIO", "error=EIO+", "error=ENOSPC+")
    for _ in range(rounds):
        fault, is_for_good = chance.choice(faults).partition("+")[:2]
        calls = chance.choice(("pwrite64", "fsync,fdatasync"))
        when = f"{chance.randrange(5, 400 if calls == 'pwrite64' else 80)}{is_for_good}"
        inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}:when={when}"]
        files = [each for suffix in ("", "-wal", ".mark") for each in ("-P", f"{path}{suffix}")]
        tracer = ["strace", "-D", "-f", "-qq", "-o", str(directory / "trace"), *files, *inject]
        server = ServerProcess(path, environment={**QUIET, **TRIMMING}, prefix=tracer)
        try:
            await asyncio.to_thread(server.start)
        except AssertionError:  # the fault came while it started
            server.process.wait(10)
            server.process = None
        else:
            with contextlib.suppress(ExceptionGroup, TimeoutError, AssertionError):
                async with publishing(server, receipts):
                    await until(partial(_is_over, server, receipts, len(receipts) + 150), timeout=3)
            if server.process.poll() is None:
                server.kill()
            else:
                server._reap()
        if is_control:
            with contextlib.suppress(FileNotFoundError):  # after an I/O error it may have been closed
                os.truncate(f"{path}-wal", os.stat(f"{path}-wal").st_size // 2)
            mark_path(path).unlink()
        missing, found = missing_in(path, receipts)
        lost, unsaid = lost + missing, unsaid + len(found)
    return Outcome(rounds, len(receipts), lost, 0, unsaid, time.monotonic() - started_at)


async def _closed_copy(directory, chance):
    """The files of a server that was killed: database, write-ahead log and mark, and what it had acknowledged."""
    config = msgspec.structs.replace(Config(), database=DatabaseSection(path=str(directory / "whole.db"), min_free_bytes=0))
    files = directory / "files"
    files.mkdir()
    async with open_log(config) as log:
        for n in range(300):
            await log.append([note(f"task:{chance.randrange(9)}", n)])
            if n == 150:
                await log.write(log._database.place.checkpoint)
        events = {event.seq: event for event in (await log.read(select(), 0, max_bytes=10**8)).events}
        for suffix in ("", "-wal", ".mark"):
            shutil.copyfile(f"{config.database.path}{suffix}", files / f"c.db{suffix}")
    return files, events


def _spoil(path, chance):
    """Flip a few bits, or cut the end off."""
    data = bytearray(path.read_bytes())
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    else:
        for _ in range(chance.choice((1, 1, 1, 8))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


async def corruption(directory, rounds, chance, *, is_control=False):
    """Bits flipped and ends cut off in database, write-ahead log and mark: what is served is what was written, or it is said.

    The control has no mark and reads the rows as they are: it has to find what the checks are there for."""
    started_at = time.monotonic()
    files, events = await _closed_copy(directory, chance)
    damaged = unsaid = 0
    for n in range(rounds):
        place = directory / f"round-{n}"
        shutil.copytree(files, place)
        path = place / "c.db"
        if is_control:
            mark_path(path).unlink()
        _spoil(Path(f"{path}{chance.choice(('', '-wal') if is_control else ('', '-wal', '.mark'))}"), chance)
        served, is_said = await _serve(path, is_control=is_control)
        damaged += sum(said != said_of(events[seq]) if seq in events else True for seq, said in served.items())
        unsaid += 0 if is_said else len(events.keys() - served.keys())
        shutil.rmtree(place)
    return Outcome(rounds, len(events), 0, damaged, unsaid, time.monotonic() - started_at)


async def _serve(path, *, is_control):
    """The events that a start on these files serves, and whether it, or `check`, says that something is wrong."""
    served = {}
    if is_control:
        with contextlib.suppress(sqlite3.DatabaseError, UnicodeError), closing(sqlite3.connect(path)) as db:
            served = {seq: rest for seq, *rest in db.execute("SELECT seq, stream, revision, event_type, payload FROM events")}
            return served, False
        return served, True
    config = msgspec.structs.replace(Config(), database=DatabaseSection(path=str(path), min_free_bytes=0))
    is_said = False
    try:
        async with open_log(config) as log:
            cursor = 0
            while cursor < log.head_seq:
                try:
                    page = await log.read(select(), cursor, max_bytes=10**8)
                except Damaged as error:
                    is_said = True
                    if not error.seq:
                        break
                    cursor = error.seq
                else:
                    served |= {event.seq: said_of(event) for event in page.events}
                    cursor = page.through_seq
    except (StartupError, sqlite3.DatabaseError):
        return served, True
    if not is_said:
        with contextlib.suppress(sqlite3.DatabaseError, StartupError), closing(sqlite3.connect(path)) as db:
            return served, bool(check(db, mark=read_mark(path)).faults)
    return served, True


async def clocks(directory, rounds, chance, *, is_control=False):
    """The wall clock jumps by up to years, to and fro, under retention by age; the control has a clock that is believed."""
    started_at = time.monotonic()
    config = msgspec.structs.replace(Config(), database=DatabaseSection(path=str(directory / "c.db"), min_free_bytes=0))
    wall, counted = [time.time()], [1_000.0]
    count = lost = 0
    for _ in range(rounds):
        clock = (lambda: wall[0]) if is_control else (lambda: counted[0])
        async with open_log(config, clock=lambda: wall[0], counted=clock) as log:
            await log.append([note(f"task:{count}"), note(f"task:{count}", event_type="finished"), note("task:open")])
            count += 3
            true = wall[0]
            wall[0] += chance.choice((-1, 1)) * chance.uniform(0.5, 3_000) * 86_400
            lost += await trim(log, RetentionSection(max_age_days=30.0))
            await log.append([note("task:open")])
            count += 1
            wall[0] = true + 60
            counted[0] += 60
        if is_control:
            mark_path(directory / "c.db").unlink()
    return Outcome(rounds, count, lost, 0, 0, time.monotonic() - started_at)


CAMPAIGNS = {each.__name__: each for each in (kills, cuts, points, corruption, clocks)}


def run(name, rounds, seed, *, is_control=False):
    """Run one campaign in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix=f"towow-{name}-") as directory:
        return asyncio.run(CAMPAIGNS[name](Path(directory), rounds, random.Random(seed), is_control=is_control))


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=CAMPAIGNS)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--control", action="store_true", help="take away what protects: this has to find loss")
    options = parser.parse_args()
    outcome = run(options.campaign, options.rounds, options.seed, is_control=options.control)
    print(f"{options.campaign}{' control' if options.control else ''}, seed {options.seed}: {outcome}")
    sys.exit(outcome.is_clean is options.control)


if __name__ == "__main__":
    main()
