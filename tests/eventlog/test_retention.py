"""Retention: whole streams that have ended, oldest end first; open ones where their kind says so; and everybody is told."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from server.config import KindRetention, RetentionSection
from server.eventlog import retention as module
from server.eventlog.database import sqlite3
from server.eventlog.mark import read_mark
from server.eventlog.retention import Retention, give_back, trim, used_bytes
from server.eventlog.selection import select
from server.eventlog.verify import check
from server.streaming.cursor import CursorRequest, resolve
from tests.support import changed, note, open_log, until
from towow.errors import StreamEnded, TowowError

DAY = 86_400
START = 1_767_225_600.0
LARGE = '{"x":"' + "x" * 3_000 + '"}'


class Clocks:
    """A wall clock and one that only counts, both turned by hand."""

    def __init__(self):
        self.wall = START
        self.counted = 1_000.0

    def run(self, days):
        """Time goes by."""
        self.wall += days * DAY
        self.counted += days * DAY

    def options(self):
        """The arguments of a log that has these clocks."""
        return {"clock": lambda: self.wall, "counted": lambda: self.counted}


def ended(stream, events=1, **fields):
    """A stream that ends with its last event."""
    return [*[note(stream, n, **fields) for n in range(events - 1)], note(stream, event_type="finished", **fields)]


def large(events):
    """The events with three kilobytes each."""
    for event in events:
        event.payload_json = LARGE
    return events


async def kept(log):
    """The streams that are left, but for the server's own, with how many events each."""
    sql = "SELECT stream, count(*) FROM events WHERE stream NOT LIKE 'system:%' GROUP BY stream ORDER BY min(seq)"
    return dict(await log.query(lambda db: db.execute(sql).fetchall()))


async def said(log):
    """The payloads of `log.trimmed`."""
    return [event.payload for event in (await log.read(select(("system:log",)), 0)).events]


@pytest.fixture
def small_passes(monkeypatch):
    """Passes that a test can fill."""
    monkeypatch.setattr(module, "_EVENTS_PER_PASS", 7)


async def test_nothing_is_trimmed_by_default(quiet_config):
    """Everything is kept, and the task that would trim ends at once."""
    async with open_log(quiet_config) as log:
        await log.append(ended("task:a", 10))
        assert await trim(log, RetentionSection()) == 0
        async with asyncio.timeout(1):
            await Retention(log, RetentionSection()).run()
        assert await kept(log) == {"task:a": 10}


async def test_an_open_stream_is_never_trimmed_and_ended_ones_go_whole_oldest_end_first(quiet_config, small_passes):
    """By number: what has ended comes down to the limit, whatever began first; the highest seq stays."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:open", n) for n in range(20)])
        late = (note("task:late", 0), note("task:late", event_type="finished"))
        await log.append([late[0], *ended("task:a", 5), *ended("task:b", 9), late[1]])
        await log.append([note("task:open", 20)])
        assert await trim(log, RetentionSection(max_events=4)) == 14
        assert await kept(log) == {"task:open": 21, "task:late": 2}
        assert await trim(log, RetentionSection(max_events=1)) == 2
        await log.append(ended("task:last", 3))
        assert await trim(log, RetentionSection(max_events=1)) == 0, "its end is the highest seq of the log, or was"
        assert await trim(log, RetentionSection(max_events=1)) == 0
        await log.append([note("task:open", 21)])
        assert await trim(log, RetentionSection(max_events=1)) == 3
        assert await kept(log) == {"task:open": 22}
        assert (await log.query(check)).faults == []


async def test_fresh_history_is_not_removed_for_what_may_not_be_trimmed(quiet_config):
    """By bytes of what can be trimmed: large open streams do not cost the ended ones their events; it is said."""
    async with open_log(quiet_config) as log:
        await log.append(large([note("task:open", n) for n in range(200)]))
        for name in ("a", "b", "c"):
            await log.append(large(ended(f"task:{name}", 20)))
        await log.append([note("task:open")])
        retention = Retention(log, RetentionSection(max_bytes=140_000))
        with capture_logs() as lines:
            assert (await retention.trim()).streams == 1
        assert await kept(log) == {"task:open": 201, "task:b": 20, "task:c": 20}
        assert (await retention.trim()).events == 0
        (warning,) = log.warnings
        assert "cannot reach max_bytes = 140000" in warning
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["retention"]
        assert (await Retention(log, RetentionSection(max_bytes=10_000_000)).trim()).events == 0
        assert log.warnings == []


async def test_by_age_the_last_event_of_a_stream_counts(quiet_config):
    """A stream that ended within the time keeps all its events, and one event of the future stops nobody."""
    clocks = Clocks()
    async with open_log(quiet_config, **clocks.options()) as log:
        clocks.wall += 10_000 * DAY
        await log.append(ended("task:future"))
        clocks.wall -= 10_000 * DAY
        await log.append([*ended("task:old", 3), note("task:long")])
        clocks.run(days=3)
        await log.append([note("task:long", event_type="finished"), note("task:open")])
        clocks.run(days=1)
        config = RetentionSection(max_age_days=2.0)
        assert await trim(log, config) == 3
        assert await kept(log) == {"task:future": 1, "task:long": 2, "task:open": 1}
        clocks.run(days=3)
        assert await trim(log, config) == 2
        assert [each["cause"] for each in await said(log)] == ["age", "age"]


async def test_a_clock_that_jumps_does_not_empty_the_log(quiet_config):
    """It is compared with one that only counts: nothing goes by age until it is right again or confirmed."""
    clocks = Clocks()
    config = RetentionSection(max_age_days=2.0)
    async with open_log(quiet_config, **clocks.options()) as log:
        await log.append([*ended("task:a", 3), note("task:open")])
        clocks.wall += 400 * DAY
        with capture_logs() as lines:
            assert await trim(log, config) == 0
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["clock_doubted"]
        assert "34560000 s ahead" in log.warnings[0]
        await log.append([note("task:open")])
        assert read_mark(Path(quiet_config.database.path)).written_at == START  # not what is in doubt
        clocks.wall -= 400 * DAY
        assert await trim(log, config) == 0
        assert log.warnings == []
        clocks.wall -= DAY
        assert await trim(log, config) == 0
        assert "behind" in log.warnings[0]
        clocks.wall += 401 * DAY
        await log.write(lambda db: db.execute("UPDATE log_meta SET clock_confirmed_at = '2027-02-05T00:00:00.000Z'").close())
        assert await trim(log, config) == 3
        assert log.warnings == []


async def test_at_a_start_the_clock_is_compared_with_the_mark(quiet_config):
    """A week of down-time is believed, more is not, and neither is a clock before the mark."""
    clocks = Clocks()
    async with open_log(quiet_config, **clocks.options()) as log:
        await log.append([*ended("task:a", 3), note("task:open")])
    for days, is_doubted in ((-1, True), (8, True), (6, False)):
        clocks.wall = START + days * DAY
        async with open_log(quiet_config, **clocks.options()) as log:
            assert bool(log.warnings) is is_doubted, days
            assert await trim(log, RetentionSection(max_age_days=5.0)) == (0 if is_doubted else 3)


async def test_limits_of_a_kind_trim_a_prefix_of_open_streams_or_all_of_quiet_ones(quiet_config, small_passes):
    """`keep_last` keeps the newest, `idle_days` counts a quiet stream as ended; other kinds are left alone."""
    clocks = Clocks()
    kinds = {"task": KindRetention(keep_last=4), "mcp": KindRetention(idle_days=2.0)}
    async with open_log(quiet_config, **clocks.options()) as log:
        await log.append([*[note("task:a", n) for n in range(30)], *[note("mcp:a", n) for n in range(9)], note("note:a")])
        clocks.run(days=1.5)
        await log.append([note("mcp:b"), note("task:b")])
        clocks.run(days=1)
        assert await trim(log, RetentionSection(kinds=kinds)) == 35
        assert await kept(log) == {"task:a": 4, "note:a": 1, "mcp:b": 1, "task:b": 1}
        assert [(each["cause"], each["streams"], each["events"]) for each in await said(log)] == [
            *[("keep_last", 0, 7)] * 3,
            ("keep_last", 0, 5),
            ("idle", 0, 7),
            ("idle", 1, 2),
        ]
        receipts = await log.append([note("task:a", expected_revision=30), note("mcp:a", expected_revision=9)])
        assert [each.event.revision for each in receipts] == [31, 10]
        assert (await log.stream("mcp:a")).kept == 1
        assert (await log.query(check)).faults == []


async def test_a_surface_may_keep_a_stream(quiet_config):
    """Whatever the settings say; it goes once it is not needed any more, and counts until then."""
    needed = {"task:a"}
    async with open_log(quiet_config) as log:
        await log.append([*ended("task:a", 3), *ended("task:b", 3), note("task:open")])
        keeps = {"task": lambda db, stream: stream in needed}
        retention = Retention(log, RetentionSection(max_events=3), keeps)
        assert (await retention.trim()).events == 0, "to trim one is enough"
        retention = Retention(log, RetentionSection(max_events=2), keeps)
        assert (await retention.trim()).events == 3
        assert await kept(log) == {"task:a": 3, "task:open": 1}
        needed.clear()
        assert (await retention.trim()).events == 3


async def test_a_trimmed_stream_is_known_by_name_revision_and_outcome(quiet_config):
    """Revisions never begin again, an ended stream stays ended, also after a restart."""
    async with open_log(quiet_config) as log:
        await log.append([*ended("task:a", 3), note("task:open")])
        await trim(log, RetentionSection(max_events=1))
    async with open_log(quiet_config) as log:
        info = await log.stream("task:a")
        assert (info.last_seq, info.revision, info.kept, info.last_event_type) == (3, 3, 0, "finished")
        with pytest.raises(StreamEnded):
            await log.append([note("task:a")])
        assert await log.stream("task:none") is None
        assert (log.meta.oldest_seq, log.meta.trimmed_seq) == (4, 3)


async def test_every_pass_is_an_event_and_check_compares_it_with_its_gaps(quiet_config, small_passes):
    """What was removed, why, and the hash of the gaps; a gap that nobody tells of, or another one, is found."""
    async with open_log(quiet_config) as log:
        new = [*ended("task:a", 10), note("task:open"), *ended("task:b", 2), note("task:open")]
        events = [each.event for each in await log.append(new)]
        await trim(log, RetentionSection(max_events=1))
        (one, two) = await said(log)
        assert {key: one[key] for key in ("cause", "streams", "events", "from_seq", "through_seq")} == {
            "cause": "events", "streams": 0, "events": 7, "from_seq": 1, "through_seq": 7,
        }  # fmt: skip
        assert (two["streams"], two["events"], two["through_seq"]) == (2, 5, 13)
        assert (await log.query(check)).faults == []
        for event in events:
            assert await log.prove(event.seq, event.check) == "proven"

        async def faults(sql):
            await log.write(lambda db: db.execute(sql).close())
            return {fault.what for fault in (await log.query(check)).faults}

        changed_gap = "the gaps that name this event are not those that it tells of"
        assert changed_gap in await faults("UPDATE gaps SET checks = x'010203' WHERE through_seq = 13")
        assert changed_gap in await faults("UPDATE gaps SET event_seq = 99 WHERE through_seq = 7")
        assert any("is not retention's" in what for what in await faults("UPDATE gaps SET event_seq = NULL WHERE from_seq = 1"))


async def test_the_servers_own_stream_is_asked_for_by_name_and_never_trimmed(quiet_config):
    """`*` leaves it out."""
    kinds = {"system": KindRetention(keep_last=1, idle_days=0.001)}
    async with open_log(quiet_config) as log:
        await log.append([*ended("task:a"), *ended("task:b"), note("task:open")])
        for limit in (1, 0):
            await trim(log, RetentionSection(max_events=limit, kinds=kinds))
        await log.append([note("task:open")])
        assert [event.stream for event in (await log.read(select(), 0)).events] == ["task:b", "task:open", "task:open"]
        everything = (await log.read(select(("*", "system:*")), 0)).events
        assert [event.stream for event in everything] == ["task:b", "task:open", "system:log", "task:open"]
        mixed = (await log.read(select(("*", "system:log"), ("log.*", "note")), 0)).events
        assert [event.stream for event in mixed] == ["task:open", "system:log", "task:open"]


async def test_a_cursor_before_what_was_trimmed_is_told_and_goes_on_after_it(quiet_config):
    """Only of its selection, and only once; what is kept in between is read."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:open"), *ended("task:a", 3), note("task:open"), *ended("task:b", 2), note("task:open")])
        await trim(log, RetentionSection(max_events=1))
        for streams, cursor, missing in (
            (("task:open",), 1, None),
            (("*",), 1, 7),
            (("task:*",), 6, 7),
            (("task:*",), 7, None),
            (("note:*",), 0, None),
            (("task:open", "task:a"), 2, 4),
        ):
            start = await resolve(log, select(streams), CursorRequest(cursor))
            assert start.cursor == cursor
            assert (start.reset or {}).get("missing_through_seq") == missing, streams
            if missing is not None:
                told = (start.reset["reason"], start.reset["requested"], start.reset["oldest_seq"])
                assert told == ("trimmed", cursor, missing + 1)
        assert (await resolve(log, select(), CursorRequest(start="beginning"))).reset is None


async def test_what_was_trimmed_is_not_read_from_memory(quiet_config):
    """The tail held it, and gives up; also of what another process removes."""
    async with open_log(quiet_config) as log, open_log(quiet_config) as other:
        await log.append([*ended("task:a", 5), note("task:open")])
        await other.refresh()
        assert log.hub.tail_events == other.hub.tail_events == 6
        await trim(log, RetentionSection(max_events=1))
        await other.refresh()
        for each in (log, other):
            assert [event.seq for event in (await each.read(select(), 0)).events] == [6]


async def test_only_what_leaves_a_gap_can_be_deleted(quiet_config):
    """Beyond retention's gaps the table refuses as before."""
    async with open_log(quiet_config) as log:
        await log.append([*ended("task:a", 5), *[note("task:open", n) for n in range(5)]])
        await trim(log, RetentionSection(max_events=1))

        def delete(db):
            with pytest.raises(sqlite3.IntegrityError, match="kept"):
                db.execute("DELETE FROM events WHERE seq = 6")

        await log.write(delete)


async def test_a_pass_that_fails_changes_nothing_and_the_next_round_goes_on(quiet_config, small_passes):
    """Gaps, rows and the event are of one transaction."""
    async with open_log(quiet_config) as log:
        await log.append([*ended("task:a", 20), note("task:open")])
        await log.write(
            lambda db: db.executescript(
                "CREATE TRIGGER fails BEFORE DELETE ON events WHEN OLD.seq = 10 BEGIN SELECT raise(ABORT, 'injected'); END"
            )
        )
        with pytest.raises(TowowError, match="could not be stored"):
            await trim(log, RetentionSection(max_events=1))
        assert await kept(log) == {"task:a": 13, "task:open": 1}
        assert len(await said(log)) == 1
        await log.write(lambda db: db.execute("DROP TRIGGER fails").close())
        assert await trim(log, RetentionSection(max_events=1)) == 13
        assert (await log.query(check)).faults == []


async def test_trimming_goes_on_by_itself_and_survives_an_error(quiet_config, monkeypatch):
    """The task checks at every interval; an error of one check is logged and the next one works."""
    calls = []
    find_due = Retention.find_due

    async def failing_first(self):
        calls.append(1)
        if len(calls) == 1:
            raise sqlite3.OperationalError("injected")
        return await find_due(self)

    monkeypatch.setattr(Retention, "find_due", failing_first)
    async with open_log(quiet_config) as log:
        await log.append([*ended("task:a"), note("task:open")])
        config = RetentionSection(max_events=1, check_interval_seconds=0.01)
        task = asyncio.create_task(Retention(log, config).run())
        await log.append([*ended("task:b"), note("task:open")])
        await until(lambda: log.meta.trimmed_seq == 1)
        await log.append([*ended("task:c"), note("task:open")])
        await until(lambda: log.meta.trimmed_seq == 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_publishers_go_on_between_two_passes(quiet_config, small_passes):
    """Trimming is many short transactions; appends come in between."""
    async with open_log(quiet_config) as log:
        for n in range(60):
            await log.append(ended(f"task:{n}", 5))
        await log.append([note("task:open")])
        trimming = asyncio.create_task(trim(log, RetentionSection(max_events=1)))
        published = 0
        while not trimming.done():
            await log.append([note("task:open")])
            published += 1
        assert await trimming == 300
        assert published > 10


async def test_freed_space_goes_back_to_the_disk(quiet_config):
    """A few pages at a time, but for what new events take."""
    path = Path(quiet_config.database.path)
    async with open_log(quiet_config) as log:
        for n in range(40):
            await log.append(large(ended(f"task:{n}", 30)))
        await log.append([note("task:open")])
        await log.write(log._database.place.checkpoint)
        before = path.stat().st_size
        await trim(log, RetentionSection(max_events=1))
        assert await log.query(used_bytes) < before / 10
        assert await give_back(log) > 0
        await log.write(log._database.place.checkpoint)
        assert path.stat().st_size < before / 4
        await log.append([note("task:open")])
        assert (await log.query(check)).faults == []


async def test_a_gap_takes_at_most_64_bytes_a_trimmed_event(quiet_config):
    """Also where streams are interleaved, so that every event leaves a gap of its own."""
    async with open_log(quiet_config) as log:
        for _ in range(10):
            await log.append([note(f"task:{n % 100}") for n in range(500)])
        await log.append([note(f"task:{n}", event_type="finished") for n in range(100) if n % 2])
        await log.append([note("task:open")])
        removed = await trim(log, RetentionSection(max_events=1))
        assert removed == 2_550

        def pages(db):
            db.execute("BEGIN")
            free = db.execute("PRAGMA freelist_count").fetchone()[0]
            db.execute("DELETE FROM gaps")
            freed = db.execute("PRAGMA freelist_count").fetchone()[0] - free
            db.execute("ROLLBACK")
            return freed

        size = 4_096 * (await log.write(pages) + 1)
        assert size / removed <= 64


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_appended_and_trimmed_streams_stay_dense_and_the_chain_verifies(quiet_config, tmp_path_factory, data):
    """Any interleaving: no stream has a hole, none begins again, open ones keep everything or their last."""
    asyncio.run(_interleave(quiet_config, tmp_path_factory, data))


async def _interleave(config, tmp_path_factory, data):
    config = changed(config, "database", path=str(tmp_path_factory.mktemp("retention") / "r.db"))
    names = [f"task:{letter}" for letter in "abcdef"] + ["note:a", "note:b"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_EVENTS_PER_PASS", 3)
        async with open_log(config) as log:
            revisions, over = {}, set()
            for _ in range(data.draw(st.integers(1, 6))):
                for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=12)):
                    if name in over:
                        continue
                    is_end = name.startswith("task") and data.draw(st.integers(0, 3)) == 0
                    (receipt,) = await log.append([note(name, event_type="finished" if is_end else "note")])
                    revisions[name] = receipt.event.revision
                    if is_end:
                        over.add(name)
                keep_last = data.draw(st.integers(0, 3))
                limits = RetentionSection(
                    max_events=data.draw(st.integers(0, 6)), kinds={"note": KindRetention(keep_last=keep_last)}
                )
                await trim(log, limits)
                left = await kept(log)
                for name, revision in revisions.items():
                    info = await log.stream(name)
                    assert (info.revision, info.kept) == (revision, left.get(name, 0))
                    if name not in over and name.startswith("task"):
                        assert info.kept == revision
                    elif keep_last and name.startswith("note"):
                        assert info.kept <= keep_last
                assert (await log.query(check)).faults == []
