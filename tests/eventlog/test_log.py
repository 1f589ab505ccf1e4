"""The log as its callers see it: acknowledged means stored and announced, whatever happens around it."""

import asyncio
import os
import threading

import pytest

from server.eventlog import queries
from server.eventlog.chain import verify_chain
from server.eventlog.database import sqlite3
from server.eventlog.hub import Watcher
from server.eventlog.rows import read_events
from server.eventlog.selection import select
from server.eventlog.writer import Writer
from tests.support import changed, insert_row, note, open_log, until
from towow.errors import Conflict, RevisionMismatch, StorageFull, StreamEnded, TowowError, Unavailable
from towow.events import Event

EVERYTHING = select()


def places(receipts):
    """`(seq, stream, revision, created)` of every receipt."""
    return [(r.event.seq, r.event.stream, r.event.revision, r.created) for r in receipts]


async def stored(log):
    """`(seq, stream, revision)` of everything in the file."""
    return await log.query(lambda db: db.execute("SELECT seq, stream, revision FROM events ORDER BY seq").fetchall())


async def appended_or_error(log, events):
    """The receipts, or the error that append raised."""
    try:
        return await log.append(events)
    except TowowError as error:
        return error


class Transactions:
    """The sizes of the transactions that the writer was given; `gate` holds the next one back."""

    def __init__(self, monkeypatch):
        self.sizes = []
        self.gate = threading.Event()
        self.gate.set()
        commit = Writer.commit

        def counting(writer, db, requests, *terms):
            self.sizes.append(len(requests))
            assert self.gate.wait(5)
            return commit(writer, db, requests, *terms)

        monkeypatch.setattr(Writer, "commit", counting)


@pytest.fixture
def transactions(monkeypatch):
    """Count and hold transactions."""
    return Transactions(monkeypatch)


# Append.


async def test_an_acknowledged_event_is_in_the_file_and_announced(quiet_config):
    """When `append` returns, another connection reads the event and the head has moved."""
    async with open_log(quiet_config) as log:
        receipts = await log.append([note(), note("task:b"), note()])
        assert places(receipts) == [(1, "task:a", 1, True), (2, "task:b", 1, True), (3, "task:a", 2, True)]
        other = sqlite3.connect(quiet_config.database.path)
        assert list(read_events(other, "ORDER BY seq", ())) == [receipt.event for receipt in receipts]
        other.close()
        assert log.head_seq == 3
        assert (await log.read(EVERYTHING, 0)).events == [receipt.event for receipt in receipts]


async def test_nothing_is_announced_before_it_is_committed(quiet_config, transactions):
    """Store first, then announce: while the transaction is held, nobody sees the event."""
    async with open_log(quiet_config) as log:
        woken = []
        log.hub.join(Watcher(lambda: woken.append(log.head_seq)), EVERYTHING, None, 0)
        transactions.gate.clear()
        append = asyncio.create_task(log.append([note()]))
        await until(lambda: transactions.sizes == [1])
        assert (woken, log.head_seq, append.done()) == ([], 0, False)
        transactions.gate.set()
        await append
        assert woken == [1]


async def test_an_empty_append_is_answered_with_nothing(quiet_config):
    """No events, no receipts, no number used."""
    async with open_log(quiet_config) as log:
        assert await log.append([]) == []
        assert places(await log.append([note()])) == [(1, "task:a", 1, True)]


async def test_concurrent_appends_share_transactions_and_revisions_stay_dense(quiet_config, transactions):
    """Group commit: what arrives while one transaction runs goes into the next one, whole and in order of arrival."""
    async with open_log(quiet_config) as log:
        transactions.gate.clear()
        first = asyncio.create_task(log.append([note(n=0)]))
        await until(lambda: transactions.sizes == [1])
        rest = [asyncio.create_task(log.append([note(f"task:{n % 3}", n), note(f"task:{n % 3}", n)])) for n in range(200)]
        await asyncio.sleep(0)
        transactions.gate.set()
        await first
        receipts = await asyncio.gather(*rest)
        assert transactions.sizes == [1, 200]
        assert [r.event.seq for pair in receipts for r in pair] == list(range(2, 402))
        for name in ("task:0", "task:1", "task:2"):
            revisions = [r.event.revision for pair in receipts for r in pair if r.event.stream == name]
            assert revisions == list(range(1, len(revisions) + 1))


async def test_a_lone_append_does_not_wait_for_company(quiet_config, transactions):
    """One after the other, each append is its own transaction."""
    async with open_log(quiet_config) as log:
        for n in range(5):
            await log.append([note(n=n)])
        assert transactions.sizes == [1] * 5


async def test_a_batch_has_an_end(quiet_config, transactions, monkeypatch):
    """However many wait, one transaction takes so many; none is forgotten and the order holds."""
    monkeypatch.setattr("server.eventlog.log._MAX_REQUESTS_PER_COMMIT", 10)
    async with open_log(quiet_config) as log:
        receipts = await asyncio.gather(*(log.append([note(n=n)]) for n in range(35)))
        assert [receipt.event.seq for (receipt,) in receipts] == list(range(1, 36))
        assert transactions.sizes == [10, 10, 10, 5]


async def test_requests_of_one_transaction_succeed_and_fail_by_themselves(quiet_config, transactions):
    """Each caller gets its own outcome, and a refused request stores nothing."""
    async with open_log(quiet_config) as log:
        await log.append([note(event_id="e-1"), note("task:over", event_type="finished")])
        outcomes = await asyncio.gather(
            appended_or_error(log, [note()]),
            appended_or_error(log, [note(), note(expected_revision=99)]),
            appended_or_error(log, [note(), note("task:over")]),
            appended_or_error(log, [note(), note(event_id="e-1", n=2)]),
            appended_or_error(log, [note(event_id="e-1")]),
            appended_or_error(log, [note(), note("task:b")]),
        )
        assert transactions.sizes == [1, 6]
        assert [type(outcome) for outcome in outcomes] == [list, RevisionMismatch, StreamEnded, Conflict, list, list]
        assert places(outcomes[0]) == [(3, "task:a", 2, True)]
        assert places(outcomes[4]) == [(1, "task:a", 1, False)]
        assert places(outcomes[5]) == [(4, "task:a", 3, True), (5, "task:b", 1, True)]
        assert len(await stored(log)) == 5


async def test_of_many_appends_at_the_same_revision_exactly_one_wins(quiet_config):
    """Optimistic concurrency, also inside one transaction."""
    async with open_log(quiet_config) as log:
        outcomes = await asyncio.gather(*(appended_or_error(log, [note(n=n, expected_revision=0)]) for n in range(20)))
        assert [type(outcome) for outcome in outcomes].count(list) == 1
        assert len(await stored(log)) == 1


async def test_a_cancelled_append_is_stored_all_the_same(quiet_config, transactions):
    """A publisher that leaves neither undoes nor tears its events, before or inside the transaction."""
    async with open_log(quiet_config) as log:
        transactions.gate.clear()
        inside = asyncio.create_task(log.append([note(n=1), note(n=2)]))
        await until(lambda: transactions.sizes == [1])
        waiting = asyncio.create_task(log.append([note(n=3), note(n=4)]))
        refused = asyncio.create_task(log.append([note(expected_revision=9)]))
        await asyncio.sleep(0)
        for task in (inside, waiting, refused):
            task.cancel()
        await asyncio.gather(inside, waiting, refused, return_exceptions=True)
        transactions.gate.set()
        assert places(await log.append([note(n=5)])) == [(5, "task:a", 5, True)]
        assert len((await log.read(EVERYTHING, 0)).events) == 5


async def test_receipts_count_the_live_followers_an_event_was_written_to(quiet_config):
    """A repeated event was written to nobody."""
    async with open_log(quiet_config) as log:
        event = note(event_id="e-1")
        assert [receipt.followers for receipt in await log.append([event])] == [0]
        assert [receipt.followers for receipt in await log.append([event, note()])] == [0, 0]


# Across a restart.


async def test_everything_acknowledged_is_there_after_reopening(quiet_config):
    """Events, numbers, ids, ends and the digest chain; the epoch is the same."""
    async with open_log(quiet_config) as log:
        epoch = log.epoch
        await asyncio.gather(*(log.append([note(f"task:{n % 2}", n, event_id=f"e-{n}")]) for n in range(20)))
        await log.append([note("task:over", event_type="finished")])
        before = (await log.read(EVERYTHING, 0)).events
    async with open_log(quiet_config) as log:
        assert (log.epoch, log.head_seq) == (epoch, 21)
        assert (await log.read(EVERYTHING, 0)).events == before
        assert places(await log.append([note("task:0", 0, event_id="e-0"), note("task:0")])) == [
            (1, "task:0", 1, False),
            (22, "task:0", 11, True),
        ]
        with pytest.raises(StreamEnded):
            await log.append([note("task:over")])
        with pytest.raises(Conflict):
            await log.append([note("task:0", 9, event_id="e-0")])
        chain = await log.query(lambda db: verify_chain(db, 22))
        assert (chain.faults, chain.events) == ([], 22)


async def test_closing_commits_what_is_waiting_and_refuses_what_comes_later(quiet_config, transactions):
    """Nobody is left without an answer."""
    async with open_log(quiet_config) as log:
        transactions.gate.clear()
        waiting = [asyncio.create_task(log.append([note(n=n)])) for n in range(5)]
        await until(lambda: transactions.sizes)
        waiting += [asyncio.create_task(log.append([note(n=n)])) for n in range(5)]
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, transactions.gate.set)
    assert [(await task)[0].event.seq for task in waiting] == list(range(1, 11))
    with pytest.raises(Unavailable):
        await log.append([note()])
    with pytest.raises(Unavailable):
        await log.write(lambda db: None)
    await log.refresh()


# Faults.


async def test_a_locked_file_is_unavailable_and_then_works_again(quiet_config):
    """Longer than the busy timeout: every waiting publisher is told, nothing is stored, reading goes on."""
    async with open_log(quiet_config) as log:
        await log.append([note()])
        other = sqlite3.connect(quiet_config.database.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        outcomes = await asyncio.gather(*(appended_or_error(log, [note(n=n)]) for n in range(3)))
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
        with pytest.raises(Unavailable):
            await log.check_ready()
        assert len(await stored(log)) == 1
        other.execute("ROLLBACK")
        other.close()
        assert places(await log.append([note()])) == [(2, "task:a", 2, True)]
        await log.check_ready()


async def test_a_full_file_is_storage_full_and_then_works_again(quiet_config):
    """SQLITE_FULL of the real engine is not fatal: reads go on, and with room appends do."""
    fatal = []
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        await log.append([note()])
        writer = log._database.writer
        pages = await writer.call(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await writer.call(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        large = note()
        large.payload_json = '{"x":"' + "x" * 200_000 + '"}'
        for _ in range(2):
            with pytest.raises(StorageFull):
                await log.append([large])
        assert len((await log.read(EVERYTHING, 0)).events) == 1
        await writer.call(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
        assert places(await log.append([large])) == [(2, "task:a", 2, True)]
        assert fatal == []


async def test_too_little_free_space_is_storage_full_and_then_works_again(quiet_config, monkeypatch):
    """The limit is `min_free_bytes`; the health check says the same as an append."""
    free = [10**12]

    class Disk:
        """What the system says about the disk."""

        f_frsize = 1

        @property
        def f_bavail(self):
            """Blocks that are free."""
            return free[0]

    monkeypatch.setattr(os, "statvfs", lambda path: Disk())
    monkeypatch.setattr("server.eventlog.writer._SPACE_CHECK_SECONDS", 0)
    async with open_log(changed(quiet_config, "database", min_free_bytes=1000)) as log:
        await log.append([note()])
        free[0] = 999
        with pytest.raises(StorageFull):
            await log.append([note()])
        assert len(await stored(log)) == 1
        free[0] = 1000
        assert places(await log.append([note()])) == [(2, "task:a", 2, True)]


async def test_the_first_fatal_error_ends_appending_for_good_and_is_said_once(quiet_config, monkeypatch):
    """After a failed fsync nobody knows what the disk holds: those inside and those behind are refused, reads go on."""
    fatal = []
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        await log.append([note()])
        entered, go_on = threading.Event(), threading.Event()

        def fail(writer, db, requests, terms):
            entered.set()
            assert go_on.wait(5)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = 10
            raise error

        monkeypatch.setattr(Writer, "commit", fail)
        inside = asyncio.create_task(appended_or_error(log, [note()]))
        await until(entered.is_set)
        behind = [asyncio.create_task(appended_or_error(log, [note()])) for _ in range(3)]
        refreshed = asyncio.create_task(log.refresh())
        await asyncio.sleep(0)
        go_on.set()
        outcomes = [await inside, *(await asyncio.gather(*behind))]
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 4
        assert "same event_id" in outcomes[0].message
        await refreshed
        monkeypatch.undo()
        with pytest.raises(Unavailable):
            await log.append([note()])
        with pytest.raises(Unavailable):
            await log.check_ready()
        await log.refresh()
        assert fatal == ["the database failed: OperationalError: disk I/O error"]
        assert len((await log.read(EVERYTHING, 0)).events) == 1
    assert len(fatal) == 1


async def test_a_fault_between_commit_and_answer_leaves_no_publisher_waiting(quiet_config, monkeypatch):
    """The outcome is unknown to the publisher, and it is told so."""
    fatal = []
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        await log.append([note()])

        def fail(events):
            raise RuntimeError("injected")

        monkeypatch.setattr(log.hub, "dispatch", fail)
        async with asyncio.timeout(2):
            with pytest.raises(Unavailable, match="same event_id"):
                await log.append([note()])
        await until(lambda: fatal)
        assert len(await stored(log)) == 2


# Two logs on one file.


def without_datagrams(monkeypatch):
    """Writers that do not announce themselves, as a script with its own connection."""
    monkeypatch.setattr("server.eventlog.peers.Peers.announce", lambda self: None)


@pytest.mark.parametrize("way", ["datagram", "polling"])
async def test_two_logs_on_one_file_see_each_others_events(quiet_config, monkeypatch, way):
    """By datagram at once, without one by the next poll; each event once, in order, on both."""
    if way == "datagram":
        config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    else:
        config = quiet_config
        without_datagrams(monkeypatch)
    async with open_log(config) as one, open_log(config) as two:
        assert one.epoch == two.epoch
        for n in range(3):
            await one.append([note(n=n), note("task:b", n)])
            await until(lambda: two.head_seq == one.head_seq)
            await two.append([note(n=n)])
            await until(lambda: two.head_seq == one.head_seq)
        assert one.head_seq == 9
        assert (await one.read(EVERYTHING, 0)).events == (await two.read(EVERYTHING, 0)).events
        assert [event.seq for event in (await two.read(EVERYTHING, 0)).events] == list(range(1, 10))


async def test_two_logs_that_append_to_the_same_stream_keep_seq_and_revision_right(quiet_config):
    """Numbers are decided inside the write transaction, never from one process's memory."""
    config = changed(quiet_config, "database", busy_timeout_seconds=5.0)
    async with open_log(config) as one, open_log(config) as two:
        seen = {one: [], two: []}

        def watch(log, cursor):
            log.hub.join(Watcher(lambda: collect(log)), EVERYTHING, None, cursor)

        def collect(log):
            asyncio.get_running_loop().call_soon(watch, log, log.head_seq)
            seen[log].append(log.head_seq)

        for log in seen:
            watch(log, 0)
        receipts = await asyncio.gather(*(log.append([note(n=n), note(n=n)]) for n in range(100) for log in (one, two)))
        rows = await stored(one)
        assert rows == [(n, "task:a", n) for n in range(1, 401)]
        assert sorted(r.event.seq for pair in receipts for r in pair) == list(range(1, 401))
        assert all(pair[1].event.seq == pair[0].event.seq + 1 for pair in receipts)
        await until(lambda: one.head_seq == two.head_seq == 400)
        for heads in seen.values():
            assert heads == sorted(set(heads))


async def test_an_event_id_is_unique_across_two_logs(quiet_config):
    """A retry that reaches another process finds what the first one stored."""
    async with open_log(quiet_config) as one, open_log(quiet_config) as two:
        assert places(await one.append([note(event_id="e-1")])) == [(1, "task:a", 1, True)]
        assert places(await two.append([note(event_id="e-1")])) == [(1, "task:a", 1, False)]
        with pytest.raises(Conflict):
            await two.append([note(event_id="e-1", n=2)])


@pytest.mark.parametrize("kind", ["a repeated event", "a refused event"])
async def test_foreign_events_are_announced_when_an_append_that_stores_nothing_notices_them(quiet_config, monkeypatch, kind):
    """The transaction sees that somebody else has written; the poll after it would not see it again."""
    without_datagrams(monkeypatch)
    config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    async with open_log(config) as one, open_log(config) as two:
        await two.append([note(event_id="e-1")])
        await two.refresh()
        await one.append([note("task:b")])
        event = note(event_id="e-1") if kind == "a repeated event" else note("task:c", expected_revision=9)
        await appended_or_error(two, [event])
        await until(lambda: two.head_seq == 2, timeout=1)


async def test_foreign_events_are_announced_even_when_the_append_that_noticed_them_finds_no_room(quiet_config, monkeypatch):
    """Reading and following go on while the disk is full."""
    without_datagrams(monkeypatch)
    config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    async with open_log(config) as one, open_log(config) as two:
        await two.append([note()])
        await two.refresh()
        await one.append([note("task:b")])
        pages = await two._database.writer.call(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await two._database.writer.call(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        large = note()
        large.payload_json = '{"x":"' + "x" * 200_000 + '"}'
        with pytest.raises(StorageFull):
            await two.append([large])
        await until(lambda: two.head_seq == 2, timeout=1)


async def test_a_commit_announces_foreign_events_before_its_own(quiet_config, monkeypatch):
    """Followers see one ascending sequence, however many pages were missed."""
    without_datagrams(monkeypatch)
    config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    config = changed(config, "stream", tail_bytes=2_000)
    async with open_log(config) as one, open_log(config) as two:
        await one.append([note(n=n) for n in range(100)])
        dispatched = []
        dispatch = two.hub.dispatch

        def record(events):
            dispatched.extend(event.seq for event in events)
            dispatch(events)

        two.hub.dispatch = record
        assert places(await two.append([note()])) == [(101, "task:a", 101, True)]
        assert dispatched == list(range(1, 102))


async def test_refresh_does_not_wait_for_publishers_to_pause(quiet_config, transactions):
    """While some are inside the transaction and others wait for the next one, for ever, `refresh` still returns."""
    async with open_log(quiet_config) as log:
        is_over = False

        async def publish():
            while not is_over:
                await log.append([note()])

        transactions.gate.clear()
        publishers = [asyncio.create_task(publish()) for _ in range(4)]
        await until(lambda: transactions.sizes)
        publishers += [asyncio.create_task(publish()) for _ in range(4)]
        await asyncio.sleep(0)
        transactions.gate.set()
        await until(lambda: len(transactions.sizes) > 5)
        try:
            async with asyncio.timeout(2):
                await log.refresh()
        finally:
            is_over = True
            await asyncio.gather(*publishers)


async def test_another_processs_retention_is_noticed_by_a_busy_log(quiet_config, monkeypatch):
    """Cursors are judged by where the log really begins, also when no poll ever saw the change."""
    without_datagrams(monkeypatch)
    config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    async with open_log(config) as one, open_log(config) as two:
        await two.append([note(n=n) for n in range(5)])
        await two.refresh()
        await one.write(lambda db: db.execute("UPDATE log_meta SET trimmed_seq = 3").close())
        await two.append([note()])
        await until(lambda: two.meta.trimmed_seq == 3, timeout=1)


async def test_what_a_script_inserts_is_announced(quiet_config):
    """A plain connection that knows no datagram is noticed by polling; its numbers are taken into account."""
    async with open_log(quiet_config) as log:
        await log.append([note()])
        other = sqlite3.connect(quiet_config.database.path, isolation_level=None)
        insert_row(other, Event(0, "task:a", 2, "by-hand", "note", "2026-01-01T00:00:00.000Z", "script", "{}"))
        other.close()
        await until(lambda: log.head_seq == 2)
        assert (await log.get(event_id="by-hand")).source == "script"
        assert places(await log.append([note()])) == [(3, "task:a", 3, True)]


async def test_numbers_without_events_are_passed(quiet_config):
    """Holes in seq are normal; nobody waits for an event that does not exist."""
    async with open_log(quiet_config) as log:
        await log.append([note()])
        other = sqlite3.connect(quiet_config.database.path, isolation_level=None)
        other.execute("UPDATE sqlite_sequence SET seq = 50 WHERE name = 'events'")
        other.close()
        await until(lambda: log.head_seq == 50)
        assert places(await log.append([note()])) == [(51, "task:a", 2, True)]
        assert [event.seq for event in (await log.read(EVERYTHING, 0)).events] == [1, 51]


# Reading through the log.


@pytest.mark.parametrize("tail_bytes", [0, 1_500, 1_000_000], ids=["no tail", "a short tail", "everything in the tail"])
async def test_pages_are_the_same_from_the_tail_and_from_the_file(quiet_config, tail_bytes):
    """Whoever reads page by page gets every event once, in order, and comes to the head."""
    async with open_log(changed(quiet_config, "stream", tail_bytes=tail_bytes)) as log:
        for n in range(40):
            await log.append([note(f"task:{n % 2}", n, event_type="odd" if n % 3 else "even")])
        for selection in (EVERYTHING, select(("task:1",)), select(("task:*",), ("odd",)), select(("task:none",))):
            cursor, got = 0, []
            while cursor < log.head_seq:
                page = await log.read(selection, cursor, limit=7, max_bytes=1_000)
                assert page.through_seq > cursor
                assert len(page.events) <= 7
                got += page.events
                cursor = page.through_seq
            wanted = await log.query(lambda db: list(read_events(db, "ORDER BY seq", ())))
            assert got == [event for event in wanted if selection.wants(event)]


async def test_reads_end_at_what_has_been_announced(quiet_config, monkeypatch):
    """A committed event that was not dispatched yet is not read, or a follower could get it twice."""
    without_datagrams(monkeypatch)
    config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    async with open_log(config) as one, open_log(config) as two:
        await one.append([note()])
        await two.refresh()
        await one.append([note()])
        assert (await two.read(EVERYTHING, 0)).events[-1].seq == two.head_seq == 1
        assert [event.seq for event in await two.read_newest(EVERYTHING, 10)] == [1]
        await two.refresh()
        assert [event.seq for event in await two.read_newest(EVERYTHING, 10)] == [1, 2]


async def test_streams_and_events_are_found_by_their_names(quiet_config):
    """`stream`, `streams` and `get` say what is there, and None for what never was."""
    async with open_log(quiet_config) as log:
        await log.append([note(event_id="e-1"), note(), note("demand:d", event_type="odd")])
        info = await log.stream("task:a")
        assert (info.name, info.last_seq, info.revision, info.kept, info.last_event_type) == ("task:a", 2, 2, 2, "note")
        assert await log.stream("task:b") is None
        assert [info.name for info in await log.streams()] == ["demand:d", "task:a"]
        assert [info.name for info in await log.streams(kind="task")] == ["task:a"]
        assert (await log.get(seq=1)) == (await log.get(event_id="e-1"))
        assert await log.get(seq=99) is None
        assert await log.get(event_id="none") is None


async def test_a_failing_reader_of_foreign_events_is_fatal_and_said(quiet_config, monkeypatch):
    """A log that cannot read its file does not go on as if nothing were missing."""
    fatal = []
    async with open_log(quiet_config, on_fatal=fatal.append) as log:

        def fail(db):
            raise sqlite3.DatabaseError("malformed")

        monkeypatch.setattr(queries, "read_meta", fail)
        async with asyncio.timeout(2):
            await log.refresh()
        await until(lambda: fatal)
        with pytest.raises(Unavailable):
            await log.append([note()])


# No request ends the server.


@pytest.mark.parametrize("number", ["9999999999999999999", "9223372036854775808", "0", "00001", "x", "-1"])
async def test_an_id_of_this_log_with_a_number_beyond_any_seq_is_refused(quiet_config, number):
    """It is a conflict, and the next append is stored: an integer that SQLite cannot hold would be nobody's disk error."""
    fatal = []
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        with pytest.raises(Conflict):
            await log.append([note(event_id=f"evt-{log.epoch}-{number}")])
        assert places(await log.append([note()])) == [(1, "task:a", 1, True)]
    assert fatal == []


@pytest.mark.parametrize(
    "error", [OverflowError("too large"), RecursionError(), KeyError("x"), sqlite3.IntegrityError("unique")]
)
async def test_a_request_that_nobody_thought_of_is_refused_alone(quiet_config, monkeypatch, transactions, error):
    """Whatever is neither a refusal nor the disk's fault: the transaction is undone, and the others in it are stored."""
    decide, fatal = Writer._decide, []

    def failing(writer, db, request, *rest):
        if request[0].stream == "task:bad":
            raise error
        return decide(writer, db, request, *rest)

    monkeypatch.setattr(Writer, "_decide", failing)
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        transactions.gate.clear()
        first = asyncio.create_task(log.append([note("task:first")]))
        await until(lambda: transactions.sizes)
        tasks = [asyncio.create_task(appended_or_error(log, [note(f"task:{name}")])) for name in ("a", "bad", "b")]
        await asyncio.sleep(0)
        transactions.gate.set()
        await first
        one, bad, two = await asyncio.gather(*tasks)
        assert (places(one), places(two)) == ([(2, "task:a", 1, True)], [(3, "task:b", 1, True)])
        assert (type(bad), bad.code) == (TowowError, "internal")
        assert await stored(log) == [(1, "task:first", 1), (2, "task:a", 1), (3, "task:b", 1)]
        assert transactions.sizes == [1, 3, 1, 1, 1]
    assert fatal == []


@pytest.mark.parametrize("error", [OSError(5, "I/O error"), "disk I/O error"])
async def test_only_the_disk_ends_the_server(quiet_config, monkeypatch, error):
    """An error of the operating system, or of SQLite with the code of one."""
    if isinstance(error, str):
        error = sqlite3.OperationalError(error)
        error.sqlite_errorcode = 10
    fatal = []

    def failing(*arguments):
        raise error

    monkeypatch.setattr(Writer, "_decide", failing)
    async with open_log(quiet_config, on_fatal=fatal.append) as log:
        with pytest.raises(Unavailable):
            await log.append([note()])
        await until(lambda: fatal)
