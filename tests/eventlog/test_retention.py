"""Retention: the oldest go, by age, number or bytes; numbers, ends of streams and the chain stay."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.config import RetentionSection
from server.eventlog import retention as module
from server.eventlog.database import sqlite3
from server.eventlog.retention import run_retention, trim
from server.eventlog.selection import select
from server.eventlog.verify import check
from server.streaming.cursor import CursorRequest, resolve
from tests.support import changed, note, open_log, until
from towow.errors import StreamEnded

DAY = 86_400
START = 1_767_225_600.0


async def kept(log):
    """`(seq, stream, revision)` of everything that is left."""
    return await log.query(lambda db: db.execute("SELECT seq, stream, revision FROM events ORDER BY seq").fetchall())


async def kept_seqs(log):
    """The seqs that are left."""
    return [seq for seq, _, _ in await kept(log)]


@pytest.fixture
def small_steps(monkeypatch):
    """Steps that a test can fill."""
    monkeypatch.setattr(module, "_EVENTS_PER_STEP", 7)


async def test_nothing_is_trimmed_by_default(quiet_config):
    """Everything is kept, and the task that would trim ends at once."""
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(10)])
        assert await trim(log, RetentionSection()) == 0
        async with asyncio.timeout(1):
            await run_retention(log, RetentionSection())
        assert len(await kept(log)) == 10


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        pytest.param(3, [18, 19, 20], id="the newest three"),
        pytest.param(1, [20], id="edge: the newest one"),
        pytest.param(20, list(range(1, 21)), id="edge: as many as there are"),
        pytest.param(1000, list(range(1, 21)), id="edge: more than there are"),
    ],
)
async def test_by_number_the_newest_are_kept(quiet_config, small_steps, limit, left):
    """Exactly so many are left, and trimming again removes nothing."""
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(20)])
        assert await trim(log, RetentionSection(max_events=limit)) == 20 - len(left)
        assert await kept_seqs(log) == left
        assert await trim(log, RetentionSection(max_events=limit)) == 0
        assert log.meta.trimmed_seq == left[0] - 1


async def test_by_age_what_is_older_goes(quiet_config, small_steps):
    """Days are counted from the clock; an event of exactly that age stays."""
    now = [START]
    async with open_log(quiet_config, clock=lambda: now[0]) as log:
        for _ in range(10):
            await log.append([note(), note()])
            now[0] += DAY
        config = RetentionSection(max_age_days=3.0)
        assert await trim(log, config) == 14
        assert await kept_seqs(log) == [15, 16, 17, 18, 19, 20]
        now[0] += DAY / 2
        assert await trim(log, config) == 2
        now[0] += 100 * DAY
        assert await trim(log, config) == 3
        assert await kept_seqs(log) == [20]
        assert await trim(log, config) == 0


async def test_by_bytes_the_file_comes_down_to_about_its_limit_and_stays_there(quiet_config):
    """Pages in use are counted; while events keep coming the log keeps its size, old last events of streams or not."""
    config = RetentionSection(max_bytes=400_000)
    large = '{"x":"' + "x" * 3_000 + '"}'

    def used(db):
        pages = db.execute("PRAGMA page_count").fetchone()[0] - db.execute("PRAGMA freelist_count").fetchone()[0]
        return pages * db.execute("PRAGMA page_size").fetchone()[0]

    async with open_log(quiet_config) as log:
        await log.append([note("task:old")])
        for _ in range(6):
            events = [note(n=n) for n in range(100)]
            for event in events:
                event.payload_json = large
            await log.append(events)
            for _ in range(5):
                await trim(log, config)
            assert await log.query(used) < 450_000
        assert (await kept(log))[0] == (1, "task:old", 1)
        assert log.meta.trimmed_seq < log.head_seq == 601
        assert len(await kept(log)) > 30


async def test_a_file_of_last_events_only_is_not_trimmed_past_its_head(quiet_config):
    """When nothing more can go, the next event is still after everything that was trimmed."""
    async with open_log(quiet_config) as log:
        await log.append([note(f"task:{n}") for n in range(20)])
        for _ in range(3):
            assert await trim(log, RetentionSection(max_bytes=1, max_events=1)) == 0
        assert log.meta.trimmed_seq <= log.head_seq
        await log.append([note("task:new")])
        assert len(await kept(log)) == 21


async def test_the_last_event_of_every_stream_is_kept_and_revisions_go_on(quiet_config, small_steps):
    """Trimming never renumbers: the next append gets the next revision and the next seq, also after reopening."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:a"), note("task:a"), note("task:b"), note("task:over", event_type="finished")])
        await log.append([note("task:c", n) for n in range(30)])
        await trim(log, RetentionSection(max_events=2))
        assert await kept(log) == [
            (2, "task:a", 2),
            (3, "task:b", 1),
            (4, "task:over", 1),
            (33, "task:c", 29),
            (34, "task:c", 30),
        ]
        assert (await log.append([note("task:a", expected_revision=2)]))[0].event.revision == 3
    async with open_log(quiet_config) as log:
        receipts = await log.append([note("task:a"), note("task:b"), note("task:c")])
        assert [(r.event.seq, r.event.revision) for r in receipts] == [(36, 4), (37, 2), (38, 31)]
        with pytest.raises(StreamEnded):
            await log.append([note("task:over")])


async def test_what_was_kept_as_the_last_of_its_stream_goes_when_it_is_not_the_last_any_more(quiet_config, small_steps):
    """Otherwise a stream would have a hole, and one old event for ever."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:a"), *[note("task:b", n) for n in range(30)]])
        await trim(log, RetentionSection(max_events=5))
        assert (await kept(log))[0] == (1, "task:a", 1)
        await log.append([note("task:a"), *[note("task:b", n) for n in range(30)], note("task:a")])
        await trim(log, RetentionSection(max_events=5))
        assert [row for row in await kept(log) if row[1] == "task:a"] == [(63, "task:a", 3)]
        info = await log.stream("task:a")
        assert (info.revision, info.kept) == (3, 1)


async def test_a_cursor_into_what_was_trimmed_is_said_and_a_later_one_goes_on(quiet_config, small_steps):
    """`trimmed` with the oldest seq, never silence."""
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(20)])
        await trim(log, RetentionSection(max_events=5))
        selection = select(("task:a",))
        reset = (await resolve(log, selection, CursorRequest(10))).reset
        assert (reset["reason"], reset["requested"], reset["oldest_seq"], reset["head_seq"]) == ("trimmed", 10, 16, 20)
        start = await resolve(log, selection, CursorRequest(15))
        assert start.reset is None
        assert [event.seq for event in (await log.read(selection, start.cursor)).events] == [16, 17, 18, 19, 20]


async def test_what_was_trimmed_is_not_read_from_memory(quiet_config):
    """The tail still holds it, but nobody gets what the file no longer has."""
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(20)])
        await trim(log, RetentionSection(max_events=5))
        assert log.hub.tail_events == 20
        assert [event.seq for event in (await log.read(select(), 0)).events] == [16, 17, 18, 19, 20]


async def test_only_what_was_trimmed_can_be_deleted(quiet_config):
    """Retention moves the line; beyond it the table refuses as before."""
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(10)])
        await trim(log, RetentionSection(max_events=5))

        def delete(db):
            with pytest.raises(sqlite3.IntegrityError, match="kept"):
                db.execute("DELETE FROM events WHERE seq = 6")

        await log.write(delete)
        assert await kept_seqs(log) == [6, 7, 8, 9, 10]


async def test_a_step_that_fails_leaves_the_line_where_it_was(quiet_config, small_steps, monkeypatch):
    """The line and the rows move together or not at all; the next check goes on."""
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(20)])
        await log.write(
            lambda db: db.executescript(
                "CREATE TRIGGER fails BEFORE DELETE ON events WHEN OLD.seq = 10 BEGIN SELECT raise(ABORT, 'injected'); END"
            )
        )
        with pytest.raises(sqlite3.IntegrityError, match="injected"):
            await trim(log, RetentionSection(max_events=5))
        assert await kept_seqs(log) == list(range(8, 21))
        assert (await log.refresh_meta()).trimmed_seq == 7
        await log.write(lambda db: db.execute("DROP TRIGGER fails").close())
        await trim(log, RetentionSection(max_events=5))
        assert await kept_seqs(log) == [16, 17, 18, 19, 20]


async def test_trimming_goes_on_by_itself_and_survives_an_error(quiet_config, monkeypatch):
    """The task checks at every interval; an error of one check is logged and the next one works."""
    calls = []
    trim_once = module.trim

    async def failing_first(log, config):
        calls.append(1)
        if len(calls) == 1:
            raise sqlite3.OperationalError("injected")
        return await trim_once(log, config)

    monkeypatch.setattr(module, "trim", failing_first)
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(10)])
        task = asyncio.create_task(run_retention(log, RetentionSection(max_events=5, check_interval_seconds=0.01)))
        await until(lambda: log.meta.trimmed_seq == 5)
        await log.append([note()])
        await until(lambda: log.meta.trimmed_seq == 6)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_publishers_go_on_between_two_steps(quiet_config, monkeypatch):
    """Trimming is many short transactions; appends come in between and are not trimmed."""
    monkeypatch.setattr(module, "_EVENTS_PER_STEP", 5)
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(500)])
        trimming = asyncio.create_task(trim(log, RetentionSection(max_events=10)))
        await until(lambda: log.meta.trimmed_seq)  # what is over the limit has been counted
        published = 0
        while not trimming.done():
            await log.append([note()])
            published += 1
        assert await trimming == 490
        assert published > 1
        assert await kept_seqs(log) == list(range(491, 501 + published))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_appended_and_trimmed_each_stream_keeps_a_dense_verified_end(quiet_config, tmp_path_factory, data):
    """Any interleaving: no stream loses its last event, no stream has a hole, the digests verify, nothing new is removed."""
    asyncio.run(_interleave(quiet_config, tmp_path_factory, data))


async def _interleave(config, tmp_path_factory, data):
    config = changed(config, "database", path=str(tmp_path_factory.mktemp("retention") / "r.db"))
    step = module._EVENTS_PER_STEP
    module._EVENTS_PER_STEP = 3
    try:
        async with open_log(config) as log:
            revisions = {}
            for _ in range(data.draw(st.integers(1, 8))):
                names = data.draw(st.lists(st.sampled_from(["task:a", "task:b", "task:c"]), min_size=1, max_size=12))
                for receipt in await log.append([note(name) for name in names]):
                    revisions[receipt.event.stream] = receipt.event.revision
                await trim(log, RetentionSection(max_events=data.draw(st.integers(0, 10))))
                rows = await kept(log)
                for name, revision in revisions.items():
                    mine = [row[2] for row in rows if row[1] == name]
                    assert mine == list(range(revision - len(mine) + 1, revision + 1))
                    assert mine
                    assert (await log.stream(name)).kept == len(mine)
                assert [row[0] for row in rows if row[0] > log.meta.trimmed_seq] == list(
                    range(log.meta.trimmed_seq + 1, log.head_seq + 1)
                )
                assert (await log.query(check)).faults == []
    finally:
        module._EVENTS_PER_STEP = step
