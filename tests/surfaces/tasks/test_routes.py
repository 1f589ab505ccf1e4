"""Tasks over HTTP, held to source 002: what emitters say, how tasks are, the back-fill, streams in batches, and every
refusal."""

import asyncio
import json

import msgspec
import pytest

from server.app import LOG, make_app
from server.config import PROFILES, Config, KindRetention, PollSection, RetentionSection, SSEConfig, TasksSection, with_profile
from server.eventlog.hub import BatchPolicy
from server.eventlog.retention import trim
from tests.support import (
    EventSource,
    assert_error,
    body,
    changed,
    raw_connection,
    read_chunk,
    read_frames,
    read_head,
    read_to_end,
    request_bytes,
    until,
)

FLAT = ["seq", "revision", "event_id", "event_type", "task_id", "phase", "span_id", "payload", "timestamp", "source"]
EVENTS = "/api/tasks/t-1/events"
STREAM = "/sse/tasks/t-1/events"
SLOW = "flush_interval=5&batch_size"  # nothing is released by time in these tests


async def emit(client, event_type="note", status=201, task_id="t-1", **fields):
    """Say what happened in a task; the answer's JSON, when it has this status."""
    answer = await client.post(f"/api/tasks/{task_id}/events", json={"event_type": event_type, **fields})
    assert answer.status == status, await answer.text()
    return await answer.json()


async def get(client, path):
    """An answer's JSON, when it is 200."""
    answer = await client.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def fill(client, count, start=0, task_id="t-1"):
    """Many notes in one request; their seqs."""
    events = [{"event_type": "note", "payload": {"n": n}} for n in range(start, start + count)]
    answer = await client.post(f"/api/tasks/{task_id}/events", json={"events": events})
    assert answer.status == 201, await answer.text()
    return [each["seq"] for each in (await answer.json())["events"]]


def events_in(data):
    """The stored events in bytes of a stream, decoded."""
    return [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith('data: {"seq"')]


def paces_of(client, stream="task:t-1"):
    """The pace of every group that follows the task: None for one that sleeps in a poll."""
    return [pace for selection, _, pace in client.app[LOG].hub._groups if selection.single == stream]


# Emitting


async def test_an_event_is_answered_with_its_place_and_stored_whole(client):
    """Item 20: the first event makes the task; phase and span are keys of the stored payload."""
    said = {"payload": {"why": "planned"}, "phase": "executing", "span_id": "s-1", "source": "worker-3", "event_id": "e-1"}
    answer = await emit(client, "phase_enter", **said)
    assert answer == {"success": True, "task_id": "t-1", "seq": 1, "revision": 1, "event_id": "e-1", "followers": 0}
    stored = await get(client, "/api/events/e-1")
    assert (stored["stream"], stored["event_type"], stored["source"]) == ("task:t-1", "phase_enter", "worker-3")
    assert stored["payload"] == {"why": "planned", "phase": "executing", "span_id": "s-1"}


async def test_an_event_that_is_sent_again_is_stored_once(client):
    """200 with the first place; other content under the same id is a conflict."""
    first = await emit(client, "work_item_started", event_id="e-1", span_id="s-1")
    for event_type in ("work_item_started", "work_item_start"):
        assert await emit(client, event_type, 200, event_id="e-1", span_id="s-1") == first
    await assert_error(await client.post(EVENTS, json={"event_type": "note", "event_id": "e-1"}), "conflict", status=409)
    assert client.app[LOG].head_seq == 1


async def test_many_events_are_stored_all_or_none(client):
    """One answer with a place for each; a bad one stores nothing."""
    good = [{"event_type": "note", "payload": {"n": n}} for n in range(3)]
    answer = await client.post(EVENTS, json={"events": good})
    assert answer.status == 201
    data = await answer.json()
    assert (data["success"], data["task_id"]) == (True, "t-1")
    assert [(each["seq"], each["revision"], each["followers"]) for each in data["events"]] == [(1, 1, 0), (2, 2, 0), (3, 3, 0)]
    bad = {"events": [*good, {"event_type": "phase_enter", "phase": "a b"}]}
    await assert_error(await client.post(EVENTS, json=bad), "invalid_body", status=422, field="phase")
    assert client.app[LOG].head_seq == 3


async def test_the_two_words_of_a_work_item_are_one(client):
    """b24: `work_item_started` is stored, streamed and read as `work_item_start`."""
    await emit(client, "work_item_started", span_id="s-1")
    await emit(client, "work_item_completed", span_id="s-1")
    page = await get(client, EVENTS)
    assert [event["event_type"] for event in page["events"]] == ["work_item_start", "work_item_complete"]
    assert (await get(client, "/api/tasks/t-1"))["work_items"][0]["status"] == "completed"


@pytest.mark.parametrize(
    ("event_type", "status"), [("task_complete", "completed"), ("task_failed", "failed"), ("task_cancelled", "cancelled")]
)
async def test_a_task_that_has_ended_takes_no_more_events(client, event_type, status):
    """Its last event may be sent again; another one is refused."""
    await emit(client)
    last = await emit(client, event_type, event_id="last")
    assert await emit(client, event_type, 200, event_id="last") == last
    await assert_error(await client.post(EVENTS, json={"event_type": "note"}), "stream_ended", status=409)
    assert (await get(client, "/api/tasks/t-1"))["status"] == status


GOOD = {"event_type": "note"}
BAD_FIELDS = [
    ("event_type", [None, 7, "", "a b", "x" * 129]),
    ("payload", [None, 7, "x", ["x"]]),
    ("phase", [7, "", "a b", "x" * 129, ["x"]]),
    ("span_id", [7, "", "a/b", "x" * 129]),
    ("event_id", [7, "", "a b", "123"]),
    ("source", [None, 7, "", "a b", '"']),
    ("seq", [1]),
    ("expected_revision", [0]),
]


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(field, value, id=f"{field} {str(value)[:12]!r}") for field, values in BAD_FIELDS for value in values],
)
async def test_a_bad_field_is_refused_with_its_name_and_nothing_is_stored(client, field, value):
    """422 for what is of the wrong shape, alone or among many."""
    bad = {**GOOD, field: value}
    await assert_error(await client.post(EVENTS, json=bad), "invalid_body", status=422, field=field)
    await assert_error(await client.post(EVENTS, json={"events": [GOOD, bad]}), "invalid_body", status=422)
    assert client.app[LOG].head_seq == 0


@pytest.mark.parametrize(
    ("content", "content_type", "code", "status"),
    [
        pytest.param(b'{"event_type":"note","payload":{"n":NaN}}', "application/json", "invalid_request", 400, id="NaN"),
        pytest.param(b"{}", "application/json", "invalid_body", 422, id="no type"),
        pytest.param(b'{"events":[]}', "application/json", "invalid_body", 422, id="no events"),
        pytest.param(b'{"events":{}}', "application/json", "invalid_body", 422, id="events that are no list"),
        pytest.param(b'{"events":[],"x":1}', "application/json", "invalid_body", 422, id="more than events"),
        pytest.param(
            b'{"event_type":"note","payload":{"x":"' + b"y" * 300_000 + b'"}}', "application/json", "too_large", 413, id="large"
        ),
        pytest.param(
            b'{"events":[' + b",".join([b'{"event_type":"note"}'] * 1001) + b"]}",
            "application/json",
            "too_large",
            413,
            id="many",
        ),
    ],
)
async def test_a_body_that_cannot_be_taken_is_refused_whole(client, content, content_type, code, status):
    """Before anything is stored."""
    await assert_error(await client.post(EVENTS, data=content, headers={"Content-Type": content_type}), code, status=status)
    assert client.app[LOG].head_seq == 0


async def test_many_events_count_as_many_against_the_share_of_a_client(aiohttp_client, quiet_config):
    """As on the general route."""
    client = await aiohttp_client(make_app(changed(quiet_config, "limits", publishes_per_second=10)))
    statuses = []
    for _ in range(40):
        statuses.append((await client.post(EVENTS, json={"events": [GOOD] * 10})).status)
        if statuses[-1] == 429:
            break
    assert statuses[0] == 201
    assert statuses[-1] == 429
    assert len(statuses) < 10


@pytest.mark.parametrize("path", ["/api/tasks/t-9", "/api/tasks/t-9/events", "/sse/tasks/t-9/events"])
async def test_an_unknown_task_is_404_before_anything(client, path):
    """Item 14: also a stream, whose status a browser sees."""
    await emit(client)
    await assert_error(await client.get(path), "not_found", status=404)


# How tasks are


async def test_a_task_is_told_as_far_as_its_events_go(client):
    """Phase, progress and work items, true at `last_seq`."""
    await emit(client, "phase_enter", phase="planning")
    await emit(client, "work_item_start", span_id="s-1", payload={"name": "parse"})
    await emit(client, "work_item_start", span_id="s-2", payload={"title": "index"})
    await emit(client, "work_item_failed", span_id="s-2", payload={"error": "disk"})
    await emit(client, "phase_enter", phase="executing")
    last = await emit(client, "progress_update", payload={"progress": 42.5})
    told = await get(client, "/api/tasks/t-1")
    times = {event["seq"]: event["timestamp"] for event in (await get(client, EVENTS))["events"]}
    assert told == {
        "task_id": "t-1",
        "status": "running",
        "phase": "executing",
        "progress": 42.5,
        "work_items_total": 2,
        "work_items_running": 1,
        "work_items_completed": 0,
        "work_items_failed": 1,
        "events": 6,
        "created_at": times[1],
        "updated_at": times[6],
        "created_seq": 1,
        "last_seq": last["seq"],
        "work_items": [
            {"span_id": "s-1", "status": "running", "name": "parse", "started_at": times[2], "ended_at": None},
            {"span_id": "s-2", "status": "failed", "name": "index", "started_at": times[3], "ended_at": times[4]},
        ],
    }
    done = await emit(client, "task_complete", payload={"result": "ok"})
    told = await get(client, "/api/tasks/t-1")
    assert (told["status"], told["progress"], told["last_seq"]) == ("completed", 100, done["seq"])


async def test_the_state_of_a_task_survives_what_retention_removes(client):
    """The row is kept; revisions count on."""
    await emit(client, "phase_enter", phase="executing")
    await emit(client, "work_item_start", span_id="s-1")
    await emit(client)
    await trim(client.app[LOG], RetentionSection(kinds={"task": KindRetention(keep_last=1)}))
    assert len((await get(client, EVENTS))["events"]) == 1
    told = await get(client, "/api/tasks/t-1")
    assert (told["phase"], told["work_items_running"], told["events"]) == ("executing", 1, 3)
    assert (await emit(client))["revision"] == 4


# Reading again


async def test_the_events_of_a_task_are_read_from_the_beginning_in_pages(client):
    """Item 16: flat, ascending, `next_since_seq` goes on; events of other tasks in between are no matter."""
    seqs = []
    for n in range(0, 12, 3):
        seqs += await fill(client, 3, n)
        await fill(client, 2, task_id="t-2")
    cursor, pages = 0, []
    while True:
        page = await get(client, f"{EVENTS}?since_seq={cursor}&limit=5")
        assert list(page) == ["events", "has_more", "next_since_seq", "next_cursor", "head_seq", "epoch", "ended"]
        assert (page["head_seq"], page["epoch"], page["ended"]) == (seqs[-1] + 2, client.app[LOG].epoch, False)
        pages.append(page)
        cursor = page["next_since_seq"]
        if not page["has_more"]:
            break
    assert [len(page["events"]) for page in pages] == [5, 5, 2]
    events = [event for page in pages for event in page["events"]]
    assert [event["seq"] for event in events] == seqs
    assert [event["revision"] for event in events] == list(range(1, 13))
    assert all(list(event) == FLAT for event in events)
    assert cursor == seqs[-1] + 2


async def test_a_page_that_is_cut_by_its_size_goes_on(client, monkeypatch):
    """Fewer events than `limit` do not mean that there are no more."""
    monkeypatch.setattr("server.api.pagination._PAGE_BYTES", 600)
    seqs = await fill(client, 7)
    cursor, read = 0, []
    while True:
        page = await get(client, f"{EVENTS}?since_seq={cursor}")
        read.append([event["seq"] for event in page["events"]])
        cursor = page["next_since_seq"]
        if not page["has_more"]:
            break
    assert [seq for each in read for seq in each] == seqs
    assert 1 < len(read) <= 7


async def test_a_gap_is_filled_by_naming_its_ends(client):
    """Source 002's recovery: after what one has, up to what came, both by seq."""
    seqs = []
    for n in range(8):
        seqs += await fill(client, 1, n)
        await fill(client, 1, task_id="t-2")
    page = await get(client, f"{EVENTS}?since_seq={seqs[3]}&until_seq={seqs[6]}")
    assert [event["revision"] for event in page["events"]] == [5, 6, 7]
    assert (page["has_more"], page["next_since_seq"], page["ended"]) == (False, seqs[6], False)
    page = await get(client, f"{EVENTS}?since_seq={seqs[3]}&until_seq={seqs[6]}&limit=2")
    assert (len(page["events"]), page["has_more"], page["next_since_seq"]) == (2, True, seqs[5])
    assert await get(client, f"{EVENTS}?since_seq={seqs[5]}&until_seq={seqs[3]}") == {
        **page,
        "events": [],
        "has_more": False,
        "next_since_seq": seqs[5],
    }
    beyond = await get(client, f"{EVENTS}?since_seq={seqs[6]}&until_seq=999")
    assert ([event["seq"] for event in beyond["events"]], beyond["next_since_seq"]) == ([seqs[7]], seqs[7] + 1)


async def test_history_and_stream_have_the_same_flat_events(client):
    """a12: one shape, also for what anybody appended past the route."""
    await emit(client, "phase_enter", phase="executing", payload={"text": "\u2028张"})
    answer = await client.post("/api/events", json=body("task:t-1", payload={"phase": ["no name"], "span_id": "s"}))
    assert answer.status == 201
    page = await get(client, EVENTS)
    async with client.get(STREAM) as response:
        frames = await read_frames(response, 3)
    assert [frame.data for frame in frames[:2]] == page["events"]
    assert [frame.seq for frame in frames[:2]] == [1, 2]
    assert (page["events"][0]["phase"], page["events"][0]["span_id"]) == ("executing", None)
    assert (page["events"][1]["phase"], page["events"][1]["payload"]) == (None, {"phase": ["no name"]})


async def test_the_last_page_of_an_ended_task_says_so(client):
    """Nobody needs to ask again; who does gets an empty page."""
    await fill(client, 3)
    last = await emit(client, "task_complete")
    page = await get(client, f"{EVENTS}?limit=3")
    assert (page["ended"], page["has_more"]) == (False, True)
    page = await get(client, f"{EVENTS}?limit=4")
    assert (page["ended"], page["has_more"], len(page["events"])) == (True, False, 4)
    page = await get(client, f"{EVENTS}?since_seq={last['seq']}")
    assert (page["ended"], page["has_more"], page["events"]) == (True, False, [])
    assert (await get(client, f"{EVENTS}?until_seq={last['seq'] - 1}"))["ended"] is False


async def test_a_poll_waits_for_the_next_event(client):
    """`wait=` answers with it; other tasks wake nobody up for good."""
    await emit(client)
    poll = asyncio.create_task(get(client, f"{EVENTS}?since_seq=1&wait=10"))
    await until(lambda: paces_of(client) == [None])
    await emit(client, task_id="t-2")
    await emit(client, "phase_enter", phase="executing")
    async with asyncio.timeout(5):
        page = await poll
    assert [event["event_type"] for event in page["events"]] == ["phase_enter"]


@pytest.mark.parametrize("query", ["since_seq=1&wait=0.01", "since_seq=1&until_seq=1&wait=60", "since_seq=2&wait=60"])
async def test_a_poll_does_not_wait_for_what_cannot_come(client, query):
    """The time is over, the end is behind, or the task has ended."""
    await emit(client)
    if "=2" in query:
        await emit(client, "task_complete")
    async with asyncio.timeout(5):
        assert (await get(client, f"{EVENTS}?{query}"))["events"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since_seq=-1", "since_seq"),
        ("since_seq=x", "since_seq"),
        ("until_seq=-1", "until_seq"),
        ("until_seq=x", "until_seq"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("wait=-1", "wait"),
        ("wait=61", "wait"),
    ],
)
async def test_a_page_that_cannot_be_read_is_refused(client, query, field):
    """400 with the field."""
    await emit(client)
    await assert_error(await client.get(f"{EVENTS}?{query}"), "invalid_request", status=400, field=field)


async def test_a_cursor_that_is_not_in_this_log_is_said(client):
    """a40: 410 to a poll, never an eternal wait."""
    await emit(client)
    error = await assert_error(await client.get(f"{EVENTS}?since_seq=99"), "gone", status=410)
    assert (error["reason"], error["head_seq"]) == ("past_head", 1)


# Following


async def test_a_stream_has_the_headers_and_frames_of_the_source(client):
    """Item 11: unnamed frames with the flat JSON, each with its id."""
    await emit(client, "phase_enter", phase="executing")
    async with client.get(STREAM) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["X-Accel-Buffering"] == "no"
        frames = await read_frames(response, 2)
        await emit(client, "work_item_started", span_id="s-1")
        frames += await read_frames(response, 1)
    assert [frame.event for frame in frames] == [None, "ready", None]
    assert list(frames[0].data) == list(frames[2].data) == FLAT
    assert (frames[0].data["phase"], frames[2].data["span_id"]) == ("executing", "s-1")
    assert frames[1].data["keepalive_seconds"] == 30.0


async def test_the_first_event_after_quiet_goes_out_at_once_and_later_ones_wait_for_each_other(client):
    """Scenario 14, a36: the holding rule. Nothing is released by time here, so each write shows what waited for what."""
    async with raw_connection(client, request_bytes("GET", f"{STREAM}?{SLOW}=4&allow_pending=1")) as (reader, _):
        assert (await read_head(reader))[0] == 200
        assert b"event: ready" in await read_chunk(reader)
        for n in range(10):
            await emit(client, payload={"n": n})
            if not n:
                assert [event["payload"]["n"] for event in events_in(await read_chunk(reader))] == [0]
        writes = [[event["payload"]["n"] for event in events_in(await read_chunk(reader))] for _ in range(2)]
        assert writes == [[1, 2, 3, 4], [5, 6, 7, 8]]
        await emit(client, "task_complete")
        [first, last] = events_in(await read_chunk(reader))
        assert (first["payload"], last["event_type"]) == ({"n": 9}, "task_complete")
        assert b"event: end" in await read_chunk(reader)


async def test_what_is_held_is_sent_when_the_oldest_has_waited_long_enough(client):
    """Scenario 14: 0.8 of the flush interval, whether or not others come."""
    query = "flush_interval=0.1&batch_size=100&allow_pending=1"
    async with raw_connection(client, request_bytes("GET", f"{STREAM}?{query}")) as (reader, _):
        assert (await read_head(reader))[0] == 200
        await read_chunk(reader)
        for n in range(3):
            await emit(client, payload={"n": n})
        seen = []
        while len(seen) < 3:
            seen += events_in(await read_chunk(reader))
    assert [event["payload"]["n"] for event in seen] == [0, 1, 2]


@pytest.mark.parametrize("at_once", [True, False], ids=["one request", "one after the other"])
async def test_a_burst_arrives_in_few_writes_with_one_event_a_frame(client, at_once):
    """Scenario 15, a38: 120 events in batches of 50 are four writes at most."""
    query = "batch_size=50&flush_interval=2&allow_pending=1"
    async with raw_connection(client, request_bytes("GET", f"{STREAM}?{query}")) as (reader, _):
        assert (await read_head(reader))[0] == 200
        await read_chunk(reader)
        if at_once:
            await fill(client, 120)
        else:
            for n in range(120):
                await emit(client, payload={"n": n})
        writes = []
        while sum(map(len, writes)) < 120:
            writes.append(events_in(await read_chunk(reader)))
    assert [event["payload"]["n"] for write in writes for event in write] == list(range(120))
    assert len(writes) <= 4
    assert max(map(len, writes)) <= 50


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("batch_size=0", "batch_size"),
        ("batch_size=101", "batch_size"),
        ("batch_size=x", "batch_size"),
        ("flush_interval=0.05", "flush_interval"),
        ("flush_interval=6", "flush_interval"),
        ("flush_interval=x", "flush_interval"),
        ("profile=fast", "profile"),
        ("profile=low_bandwidth", "profile"),
        ("keepalive=x", "keepalive"),
    ],
)
async def test_a_stream_that_cannot_be_opened_is_refused(client, query, field):
    """Scenario 15: 400 with the field, before the stream."""
    await emit(client)
    await assert_error(await client.get(f"{STREAM}?{query}"), "invalid_request", status=400, field=field)


@pytest.mark.parametrize("query", ["batch_size=1", "batch_size=100", "flush_interval=0.1", "flush_interval=5"])
async def test_the_ends_of_the_ranges_are_allowed(client, query):
    """Items 9 and 10: inclusive."""
    await emit(client)
    async with client.get(f"{STREAM}?{query}") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("query", "pace"),
    [
        pytest.param("", (10, 0.4), id="default"),
        pytest.param("batch_size=7&flush_interval=1", (7, 0.8), id="both"),
        pytest.param("batch_size=7", (7, 0.4), id="one"),
        pytest.param("profile=default", (10, 0.4), id="a profile by name"),
        pytest.param("profile=low_latency", (1, 0.08), id="low latency"),
        pytest.param("profile=high_throughput", (50, 1.6), id="high throughput"),
        pytest.param("profile=high_throughput&flush_interval=1", (50, 0.8), id="what is said wins"),
    ],
)
async def test_a_stream_has_the_pace_that_was_asked_for(client, query, pace):
    """Items 9, 10, 64 and 65: of the flush interval four fifths are for waiting."""
    await emit(client)
    async with client.get(f"{STREAM}?{query}") as response:
        await read_frames(response, 2)
        assert paces_of(client) == [BatchPolicy(*pace)]


@pytest.mark.parametrize(
    ("profile", "pace", "poll"),
    [("default", (20, 0.8), 0.3), ("low_latency", (1, 0.08), 0.05), ("high_throughput", (50, 1.6), 0.5)],
)
async def test_a_profile_of_the_settings_takes_the_place_of_single_ones(aiohttp_client, quiet_config, profile, pace, poll):
    """`[tasks] profile`: `config.toml` lists every default, so it has to win over them."""
    tasks = TasksSection(profile=profile, batch_size=20, flush_interval_seconds=1.0)
    config = msgspec.structs.replace(quiet_config, tasks=tasks, poll=PollSection(poll_interval_seconds=0.3))
    assert with_profile(config).poll.poll_interval_seconds == poll
    client = await aiohttp_client(make_app(config))
    await emit(client)
    async with client.get(STREAM) as response:
        await read_frames(response, 2)
        assert paces_of(client) == [BatchPolicy(*pace)]


def test_the_profiles_are_those_of_the_source():
    """Items 27 to 34, 64, 65: names and numbers; the settings have the same defaults."""
    assert msgspec.structs.asdict(SSEConfig()) == {
        "batch_size": 10,
        "flush_interval": 0.5,
        "keepalive_interval": 30.0,
        "poll_interval": 0.1,
        "max_poll_interval": 2.0,
        "poll_backoff_factor": 1.5,
        "max_events_per_stream": 10_000,
    }
    low, high = PROFILES["low_latency"], PROFILES["high_throughput"]
    assert (low.batch_size, low.flush_interval, low.poll_interval) == (1, 0.1, 0.05)
    assert (high.batch_size, high.flush_interval, high.poll_interval) == (50, 2.0, 0.5)
    tasks, poll = Config().tasks, Config().poll
    assert (tasks.batch_size, tasks.flush_interval_seconds, tasks.keepalive_seconds) == (10, 0.5, 30.0)
    assert tasks.max_events_per_stream == 10_000
    assert (poll.poll_interval_seconds, poll.max_poll_interval_seconds, poll.poll_backoff_factor) == (0.1, 2.0, 1.5)
    assert set(PROFILES) == {"default", "low_latency", "high_throughput"}
    assert with_profile(Config()) == Config()


async def test_events_of_many_tasks_come_over_three_rotated_connections(aiohttp_client, quiet_config):
    """Scenario 18: 250 events with a hundred a connection, by a native EventSource: none lost, none doubled."""
    config = changed(changed(quiet_config, "tasks", max_events_per_stream=100), "stream", retry_milliseconds=1)
    client = await aiohttp_client(make_app(config))
    await fill(client, 240)
    async with EventSource(client.port, STREAM) as source:
        await until(lambda: len(source.events()) == 240)
        for n in range(240, 250):
            await emit(client, payload={"n": n})
        await until(lambda: len(source.events()) == 250)
    assert [event["payload"]["n"] for event in source.events()] == list(range(250))
    rotations = [fields for name, fields in source.controls() if name == "rotate"]
    assert [fields["next_since_seq"] for fields in rotations] == [source.events()[99]["seq"], source.events()[199]["seq"]]
    assert (len(source.requests), source.clean_ends, source.statuses) == (3, 2, [200] * 3)


async def test_events_that_come_live_rotate_the_connection_as_well(aiohttp_client, quiet_config):
    """Scenario 18: held ones among them are sent before the end, and the next connection goes on behind them."""
    config = changed(changed(quiet_config, "tasks", max_events_per_stream=25), "stream", retry_milliseconds=1)
    client = await aiohttp_client(make_app(config))
    async with EventSource(client.port, f"{STREAM}?{SLOW}=10&allow_pending=1") as source:
        await until(lambda: source.state == "open")
        for n in range(70):
            await emit(client, payload={"n": n})
        await emit(client, "task_complete", payload={"n": 70})
        await until(lambda: source.state == "closed")
    assert [event["payload"]["n"] for event in source.events()] == list(range(71))
    assert source.statuses == [200, 200, 200, 204]


async def test_the_limit_of_other_streams_is_not_that_of_tasks(aiohttp_client, quiet_config):
    """`[tasks] max_events_per_stream` 0 never rotates, whatever `[stream]` says."""
    config = changed(changed(quiet_config, "tasks", max_events_per_stream=0), "stream", max_events_per_stream=3)
    client = await aiohttp_client(make_app(config))
    await fill(client, 10)
    async with client.get(STREAM) as response:
        frames = await read_frames(response, 11)
    assert [frame.event for frame in frames] == [*[None] * 10, "ready"]


@pytest.mark.parametrize("cut_after", [1, 4, 7])
async def test_an_event_source_goes_on_where_it_was_cut_and_not_where_its_url_says(client, cut_after):
    """Scenario 19, a41: the query is frozen in the URL; `Last-Event-ID` wins over it."""
    await fill(client, 8)
    head = request_bytes("GET", f"{STREAM}?since_seq=0")
    async with raw_connection(client, head) as (reader, _):
        await read_head(reader)
        seqs = [event["seq"] for event in events_in(await read_chunk(reader))]
    k = seqs[cut_after - 1]
    async with client.get(f"{STREAM}?since_seq=0", headers={"Last-Event-ID": str(k)}) as response:
        frames = await read_frames(response, 9 - cut_after)
        assert [frame.seq for frame in frames[:-1]] == seqs[cut_after:]
        assert frames[-1].event == "ready"
        said = await emit(client)
        assert (await read_frames(response, 1))[0].data["seq"] == said["seq"]


async def test_two_followers_with_different_paces_get_the_same_events(client):
    """A pace is the reader's own; nobody waits for somebody else's batch."""
    slow = client.get(f"{STREAM}?{SLOW}=100&allow_pending=1")
    quick = client.get(f"{STREAM}?profile=low_latency&allow_pending=1")
    async with slow as late, quick as early:
        await read_frames(late, 1)
        await read_frames(early, 1)
        answers = [await emit(client, payload={"n": n}) for n in range(3)]
        assert [frame.data["payload"]["n"] for frame in await read_frames(early, 3)] == [0, 1, 2]
        assert [answer["followers"] for answer in answers] == [2, 2, 2]
        await emit(client, "task_complete")
        assert [frame.data["revision"] for frame in await read_frames(late, 4)] == [1, 2, 3, 4]


async def test_a_shutdown_sends_what_is_held(client):
    """Held events are events: they come before the end."""
    async with client.get(f"{STREAM}?{SLOW}=100&allow_pending=1") as response:
        await read_frames(response, 1)
        for n in range(3):
            await emit(client, payload={"n": n})
        await client.app.shutdown()
        text = await read_to_end(response)
    assert [event["payload"]["n"] for event in events_in(text.encode())] == [0, 1, 2]
    assert '"reason":"shutdown"' in text


# Words of the source


async def test_the_documents_example_of_a_health_check(client):
    """Item 15, to the letter."""
    answer = await client.get("/sse/health")
    assert await answer.text() == '{"status":"ok","service":"task_events_sse","version":"v0.32","protocol":"sse"}'
