"""From what a reader asks for to where it begins: every row of the table in design section 5."""

import pytest

from server.config import KindRetention, RetentionSection
from server.eventlog.retention import trim
from server.eventlog.selection import select
from server.streaming.cursor import CursorRequest, StartPosition, resolve
from tests.support import changed, note, open_log
from towow.errors import InvalidRequest, NotFound

STREAMS = ("demand:d", "agent:bob", "demand:d", "operator:o", "demand:e", "broadcast:all", "demand:d", "agent:bob")


async def fill(log):
    """Eight events: demand:d at 1, 3, 7; agent:bob at 2, 8; operator:o at 4; demand:e at 5; broadcast:all at 6."""
    await log.append([note(name, n, event_id=f"e-{n}") for n, name in enumerate(STREAMS, start=1)])


async def trim_all(log):
    """Keep the last event of every stream: those at 1, 2 and 3 go."""
    kinds = {name.partition(":")[0]: KindRetention(keep_last=1) for name in STREAMS}
    await trim(log, RetentionSection(kinds=kinds))


# Inside the log.


@pytest.mark.parametrize("streams", [("demand:d",), ("demand:d", "demand:e"), ("demand:*",), ("*",), ("agent:bob",)])
@pytest.mark.parametrize(
    ("asked", "cursor"),
    [
        pytest.param(0, 0, id="the beginning"),
        pytest.param(1, 1, id="an event of the stream"),
        pytest.param(5, 5, id="an event of another stream"),
        pytest.param(8, 8, id="edge: the head"),
    ],
)
async def test_a_cursor_inside_the_log_is_where_the_reader_begins(quiet_config, streams, asked, cursor):
    """A seq is a place in the whole log, whatever is followed."""
    async with open_log(quiet_config) as log:
        await fill(log)
        for epoch in (None, log.epoch):
            for start in (None, "live", "tail:2"):
                assert await resolve(log, select(streams), CursorRequest(asked, epoch, start)) == StartPosition(cursor)


@pytest.mark.parametrize("seq", range(1, 9))
async def test_an_event_id_is_looked_up_among_the_streams_that_are_asked_for(quiet_config, seq):
    """By its stream, in a list, by its kind, and among all; in other streams it is unknown."""
    async with open_log(quiet_config) as log:
        await fill(log)
        stream = STREAMS[seq - 1]
        for streams in ((stream,), (stream, "note:none"), (f"{stream.partition(':')[0]}:*",), ("*",)):
            assert await resolve(log, select(streams), CursorRequest(f"e-{seq}")) == StartPosition(seq)
        for streams in (("demand:none",), ("demand:none", "note:none"), ("note:*",)):
            start = await resolve(log, select(streams), CursorRequest(f"e-{seq}"))
            assert start.reset["reason"] == "unknown_event_id"


async def test_an_event_id_that_two_of_the_streams_have_is_refused(quiet_config):
    """An id is unique within its stream: which of two is meant cannot be guessed."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:a", event_id="e-1"), note("task:b", event_id="e-1"), note("demand:a")])
        for streams in (("task:a", "task:b"), ("task:*",), ("*",), ("task:a", "*")):
            with pytest.raises(InvalidRequest):
                await resolve(log, select(streams), CursorRequest("e-1"))
        assert (await resolve(log, select(("task:b", "demand:*")), CursorRequest("e-1"))).cursor == 2


async def test_a_derived_event_id_is_a_cursor_in_its_stream(quiet_config):
    """What a receipt calls an event whose publisher chose no id is found again."""
    async with open_log(quiet_config) as log:
        (receipt,) = await log.append([note("task:a")])
        for streams in (("task:a",), ("task:*",), ("*",)):
            assert (await resolve(log, select(streams), CursorRequest(receipt.event.event_id))).cursor == 1
        start = await resolve(log, select(("task:b", "demand:*")), CursorRequest(receipt.event.event_id))
        assert start.reset["reason"] == "unknown_event_id"


# No cursor.


@pytest.mark.parametrize(
    ("streams", "cursor"),
    [
        pytest.param(("demand:d",), 0, id="an entity stream from the beginning"),
        pytest.param(("demand:d", "demand:e"), 0, id="entity streams from the beginning"),
        pytest.param(("agent:bob",), 8, id="an agent from the head"),
        pytest.param(("operator:o",), 8, id="an operator from the head"),
        pytest.param(("broadcast:all",), 8, id="the broadcast from the head"),
        pytest.param(("demand:*",), 8, id="a pattern from the head"),
        pytest.param(("*",), 8, id="everything from the head"),
        pytest.param(("demand:d", "agent:bob"), 8, id="a mixture from the head"),
    ],
)
async def test_without_a_cursor_the_kind_decides(quiet_config, streams, cursor):
    """A new reader of an entity wants its history, a new reader of a live kind does not."""
    async with open_log(quiet_config) as log:
        await fill(log)
        assert await resolve(log, select(streams), CursorRequest()) == StartPosition(cursor)


@pytest.mark.parametrize(
    ("streams", "types", "start", "cursor"),
    [
        pytest.param(("agent:bob",), (), "beginning", 0, id="a live kind from the beginning"),
        pytest.param(("*",), (), "beginning", 0, id="everything from the beginning"),
        pytest.param(("demand:d",), (), "live", 8, id="an entity from the head"),
        pytest.param(("*",), (), "tail:3", 5, id="the last three"),
        pytest.param(("demand:d",), (), "tail:2", 2, id="the last two of a stream"),
        pytest.param(("demand:*",), (), "tail:1", 6, id="the last of a kind"),
        pytest.param(("demand:d",), (), "tail:100", 0, id="edge: more than there are"),
        pytest.param(("demand:d",), ("none",), "tail:1", 8, id="edge: none of that type"),
        pytest.param(("none:*",), (), "tail:1", 8, id="edge: none of that kind"),
    ],
)
async def test_start_overrides_the_kind(quiet_config, streams, types, start, cursor):
    """`beginning`, `live` and `tail:N`; the tail counts events of the selection."""
    async with open_log(quiet_config) as log:
        await fill(log)
        assert await resolve(log, select(streams, types), CursorRequest(start=start)) == StartPosition(cursor)


async def test_an_epoch_without_a_cursor_says_nothing(quiet_config):
    """There is no place that it could belong to."""
    async with open_log(quiet_config) as log:
        await fill(log)
        assert await resolve(log, select(("demand:d",)), CursorRequest(epoch="other")) == StartPosition(0)


# Not in this log.


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        pytest.param(CursorRequest(9), "past_head", id="a seq past the head"),
        pytest.param(CursorRequest(2**63 - 1), "past_head", id="the largest seq"),
        pytest.param(CursorRequest("e-99"), "unknown_event_id", id="an unknown event_id"),
        pytest.param(CursorRequest(3, "0123456789abcdef"), "other_epoch", id="another epoch"),
        pytest.param(CursorRequest("e-3", "other"), "other_epoch", id="an event_id of another epoch"),
        pytest.param(CursorRequest(9, "other"), "other_epoch", id="another epoch and past the head"),
        pytest.param(CursorRequest(0, "other"), "other_epoch", id="the beginning of another epoch"),
    ],
)
@pytest.mark.parametrize("streams", [("demand:d",), ("*",), ("agent:bob",)])
async def test_a_place_that_is_not_in_this_log_is_said_and_read_from_the_oldest(quiet_config, asked, reason, streams):
    """The reset names what was asked for and where the log begins and ends; the reader then gets everything."""
    async with open_log(quiet_config) as log:
        await fill(log)
        start = await resolve(log, select(streams), asked)
        assert start == StartPosition(
            0, {"reason": reason, "requested": asked.cursor, "oldest_seq": 1, "head_seq": 8, "epoch": log.epoch}
        )


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        pytest.param(0, "trimmed", id="the beginning"),
        pytest.param(2, "trimmed", id="a removed event"),
        pytest.param("e-3", "unknown_event_id", id="a removed event_id"),
        pytest.param("e-4", None, id="edge: the first event that was kept"),
        pytest.param(3, None, id="edge: the last removed seq, after which everything is there"),
        pytest.param(6, None, id="a kept event"),
        pytest.param("e-6", None, id="a kept event_id"),
    ],
)
async def test_a_trimmed_cursor_is_said_and_read_on_from(quiet_config, cursor, reason):
    """Never silence: what was removed after the cursor would be missing."""
    async with open_log(quiet_config) as log:
        await fill(log)
        await trim_all(log)
        start = await resolve(log, select(("*",)), CursorRequest(cursor))
        if reason is None:
            assert start == StartPosition(int(str(cursor).removeprefix("e-")), trimmed_seq=3)
        elif reason == "trimmed":
            fields = {"missing_through_seq": 3, "oldest_seq": 4, "head_seq": 9, "epoch": log.epoch}
            assert start == StartPosition(cursor, {"reason": reason, "requested": cursor, **fields}, trimmed_seq=3)
        else:
            assert (start.cursor, start.reset["reason"], start.reset["requested"]) == (3, reason, cursor)


async def test_without_a_cursor_a_trimmed_log_begins_at_what_is_left(quiet_config):
    """Nobody asked for what is gone, so there is nothing to say."""
    async with open_log(quiet_config) as log:
        await fill(log)
        await trim_all(log)
        start = await resolve(log, select(("demand:d",)), CursorRequest())
        assert start == StartPosition(0, trimmed_seq=3)
        assert [event.seq for event in (await log.read(select(("demand:d",)), 0)).events] == [7]


async def test_a_stream_that_ended_and_is_gone_is_told_whole(quiet_config):
    """Its name, its last revision and how it ended; whoever has its end is at the end, and an open one is never over."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:a"), note("task:a", event_type="finished"), note("mcp:open"), note("task:b")])
        await trim(log, RetentionSection(max_events=1, kinds={"mcp": KindRetention(idle_days=1e-9)}))
        for cursor in (None, 0, 1):
            start = await resolve(log, select(("task:a",)), CursorRequest(cursor))
            assert (start.is_gone, start.is_over, start.cursor, start.reset["requested"]) == (True, False, cursor or 0, cursor)
            known = {name: start.reset[name] for name in ("reason", "missing_through_seq", "stream", "revision", "outcome")}
            assert list(known.values()) == ["trimmed", 2, "task:a", 2, "finished"]
        assert (await resolve(log, select(("task:a",)), CursorRequest(2))).is_over
        start = await resolve(log, select(("mcp:open",)), CursorRequest(2))
        assert (start.reset["missing_through_seq"], start.is_gone, start.is_over) == (3, False, False)
        assert await resolve(log, select(("mcp:open",)), CursorRequest(3)) == StartPosition(3, trimmed_seq=3)


async def test_an_empty_log_has_one_place(quiet_config):
    """0 is inside, everything else is past the head."""
    async with open_log(quiet_config) as log:
        assert await resolve(log, select(), CursorRequest(0)) == StartPosition(0)
        assert await resolve(log, select(), CursorRequest()) == StartPosition(0)
        assert await resolve(log, select(), CursorRequest(start="tail:5")) == StartPosition(0)
        assert (await resolve(log, select(), CursorRequest(1))).reset["reason"] == "past_head"


async def test_a_cursor_that_another_process_gave_a_moment_ago_is_no_reset(quiet_config, monkeypatch):
    """Before a place is judged to lie ahead, the log looks at the file."""
    monkeypatch.setattr("server.eventlog.peers.Peers.announce", lambda self: None)
    config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    async with open_log(config) as one, open_log(config) as two:
        await two.refresh()
        await fill(one)
        assert two.head_seq == 0
        assert await resolve(two, select(), CursorRequest("e-8")) == StartPosition(8)
        await one.append([note("demand:d")])
        assert two.head_seq == 8
        assert await resolve(two, select(), CursorRequest(9)) == StartPosition(9)


# Ended streams and streams that never were.


@pytest.mark.parametrize(
    ("asked", "start"),
    [
        pytest.param(CursorRequest(3), StartPosition(3, is_over=True), id="at its end"),
        pytest.param(CursorRequest("last"), StartPosition(3, is_over=True), id="at the event_id of its end"),
        pytest.param(CursorRequest(4), StartPosition(4, is_over=True), id="behind its end"),
        pytest.param(CursorRequest(start="live"), StartPosition(4, is_over=True), id="live"),
        pytest.param(CursorRequest(2), StartPosition(2), id="before its end"),
        pytest.param(CursorRequest(), StartPosition(0), id="from the beginning"),
        pytest.param(CursorRequest(start="tail:1"), StartPosition(2), id="its last event"),
    ],
)
async def test_a_stream_that_has_ended_is_over_for_a_reader_at_its_end(quiet_config, asked, start):
    """Only when one stream is followed, and only when nothing of it is left to read."""
    async with open_log(quiet_config) as log:
        await log.append([note(), note("task:b"), note(event_type="finished", event_id="last"), note("task:b")])
        assert await resolve(log, select(("task:a",)), asked) == start
        for streams in (("task:a", "task:b"), ("task:*",), ("task:b",)):
            assert not (await resolve(log, select(streams), asked)).is_over


@pytest.mark.parametrize(
    "asked", [CursorRequest(99), CursorRequest("none"), CursorRequest(3, "other")], ids=["past head", "unknown id", "epoch"]
)
async def test_a_reset_on_an_ended_stream_is_a_reset(quiet_config, asked):
    """The reader must be told that its place is not here, and then gets the whole stream and its end."""
    async with open_log(quiet_config) as log:
        await log.append([note(), note(event_type="finished")])
        start = await resolve(log, select(("task:a",)), asked)
        assert (start.cursor, start.is_over, start.reset is None) == (0, False, False)


@pytest.mark.parametrize(
    "asked", [CursorRequest(99), CursorRequest("none"), CursorRequest(3, "other")], ids=["past head", "unknown id", "epoch"]
)
async def test_a_cursor_of_another_database_is_a_reset_also_on_a_stream_that_never_was(quiet_config, asked):
    """A browser that returns to a replaced database is told so; a 404 would make it give up for good."""
    async with open_log(quiet_config) as log:
        await fill(log)
        start = await resolve(log, select(("demand:none",)), asked)
        assert start.reset["requested"] == asked.cursor


@pytest.mark.parametrize("asked", [CursorRequest(), CursorRequest(0), CursorRequest(3), CursorRequest(start="live")], ids=str)
async def test_a_stream_that_never_was_is_not_found_unless_pending_is_allowed(quiet_config, asked):
    """A typing error is a 404; whoever waits for the first event says so."""
    async with open_log(quiet_config) as log:
        await fill(log)
        for name in ("demand:none", "agent:none"):
            with pytest.raises(NotFound) as caught:
                await resolve(log, select((name,)), asked)
            assert caught.value.field == "stream"
            start = await resolve(log, select((name,)), asked._replace(allow_pending=True))
            assert not start.is_over
        for streams in (("demand:none", "demand:nothing"), ("none:*",)):
            await resolve(log, select(streams), asked)


async def test_a_stream_that_exists_may_be_asked_for_with_pending_allowed(quiet_config):
    """The flag changes nothing else."""
    async with open_log(quiet_config) as log:
        await log.append([note(), note(event_type="finished")])
        selection = select(("task:a",))
        assert await resolve(log, selection, CursorRequest(allow_pending=True)) == StartPosition(0)
        assert await resolve(log, selection, CursorRequest(2, allow_pending=True)) == StartPosition(2, is_over=True)
