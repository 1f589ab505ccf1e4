"""The events of a demand over HTTP, held to source 000: follow, resume, poll, and the bus behind them."""

import asyncio
import re

import pytest

from server.app import BUS, FOLLOWERS, LOG, make_app
from server.config import DemandsSection
from tests.support import assert_error, body, publish, raw_connection, read_frames, read_head, request_bytes, until
from tests.support.negotiations import BOB, fail, follow, get, register, submit, until_filtered

SSE_EVENT = ["event_id", "event_type", "timestamp", "payload", "seq", "revision", "source"]
TYPES = (
    "towow.demand.understood",
    "towow.filter.completed",
    "towow.demand.broadcast",
    "towow.offer.submitted",
    "towow.proposal.distributed",
    "towow.proposal.feedback",
    "towow.subnet.triggered",
    "towow.subnet.completed",
    "towow.gap.identified",
    "towow.proposal.finalized",
    "towow.negotiation.failed",
)

# Following


async def test_live_and_history_have_one_shape(client):
    """Items 26, 46: what was seen live, what is replayed and what is polled are equal, field by field."""
    demand_id = "d-00000001"
    stream = f"demand:{demand_id}"
    await publish(client, 1, stream=stream)
    async with client.get(f"/api/events/stream/{demand_id}?start=live") as response:
        await read_frames(response, 1)
        for n, event_type in enumerate(TYPES[1:9]):
            await client.post(
                "/api/events", json=body(stream, n, event_type=event_type, payload={"n": n, "text": "场地\u2028"})
            )
        live = [frame.data for frame in await read_frames(response, 8)]
    async with client.get(f"/api/events/stream/{demand_id}?since_seq=1") as response:
        replayed = [frame.data for frame in await read_frames(response, 8)]
    polled = (await get(client, f"/api/events/recent/{demand_id}?after=1"))["events"]
    assert live == replayed == polled
    for event in live:
        assert list(event) == SSE_EVENT
        assert event["payload"]["demand_id"] == demand_id
        assert event["payload"]["channel_id"] == "collab-00000001"


async def test_a_frame_is_an_unnamed_data_line_with_its_cursor_as_id(client):
    """Item 9: `data: {json}`, one event per frame, no `event:` field."""
    await publish(client, 1, stream="demand:x")
    async with raw_connection(client, request_bytes("GET", "/api/events/stream/x")) as (reader, _):
        _, headers = await read_head(reader)
        block = await reader.readuntil(b"\n\n")
    assert re.fullmatch(rb'[0-9a-f]+\r\nretry: \d+\ndata: \{"event_id":.*\}\nid: 1\.[1-9]{6}\n\n', block)
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"].startswith("no-cache")
    assert headers["x-accel-buffering"] == "no"


def test_the_heartbeat_is_every_five_seconds_by_default():
    """Items 10, 57: the acceptance figure; the frame is pinned in test_sse.py."""
    assert DemandsSection().keepalive_seconds == 5.0


async def test_a_demand_is_followed_with_heartbeats(aiohttp_client, config):
    """Item 72: silence is filled, and events still arrive after it."""
    client = await aiohttp_client(make_app(config))
    await publish(client, 1, stream="demand:x")
    async with client.get("/api/events/stream/x") as response:
        frames = await read_frames(response, 4, comments=True)
        assert [frame.comment for frame in frames] == [None, None, "heartbeat", "heartbeat"]
        await publish(client, 1, stream="demand:x", start=1)
        while frames[-1].comment is not None or frames[-1].seq != 2:
            frames += await read_frames(response, 1, comments=True)


@pytest.mark.parametrize("name", ["last_event_id", "since_seq", "after", "Last-Event-ID"])
async def test_a_reconnect_gets_exactly_the_rest_however_much_it_is(client, name):
    """Scenario 2, items 7, 67: everything after the cursor once, without source 000's limit of 50, then live."""
    await publish(client, 5, stream="demand:x")
    async with client.get("/api/events/stream/x") as response:
        last = (await read_frames(response, 5))[-1]
    await publish(client, 120, stream="demand:x", start=5)
    cursor = last.data["event_id"] if name != "since_seq" else last.id
    headers = {name: cursor} if name == "Last-Event-ID" else {}
    query = "" if headers else f"?{name}={cursor}"
    async with client.get(f"/api/events/stream/x{query}", headers=headers) as response:
        frames = await read_frames(response, 121)
        assert [frame.seq for frame in frames[:-1]] == list(range(6, 126))
        assert frames[-1].data["replayed"] == 120
        await publish(client, 1, stream="demand:x")
        assert [frame.seq for frame in await read_frames(response, 1)] == [126]


async def test_demands_whose_ids_share_their_beginning_do_not_see_each_other(client):
    """Scenario 3, item 12: exact names only; source 000 compared substrings."""
    ids = ("d-12345678", "d-123456789", "d-1234567", "d-12345678x", "12345678")
    for n in range(20):
        await publish(client, 1, stream=f"demand:{ids[n % 5]}", start=n)
    for index, demand_id in enumerate(ids):
        own = list(range(index + 1, 21, 5))
        recent = await get(client, f"/api/events/recent/{demand_id}")
        assert [event["seq"] for event in recent["events"]] == own
        async with client.get(f"/api/events/stream/{demand_id}") as response:
            frames = await read_frames(response, 5)
            assert [frame.seq for frame in frames[:-1]] == own


async def test_an_event_that_only_names_another_demand_stays_in_its_own_stream(client):
    """The payload of one demand cannot put an event into another's history."""
    await publish(client, 1, stream="demand:a")
    await client.post("/api/events", json=body("demand:b") | {"payload": {"demand_id": "a", "channel_id": "collab-a"}})
    assert len((await get(client, "/api/events/recent/a"))["events"]) == 1
    [event] = (await get(client, "/api/events/recent/b"))["events"]
    assert event["payload"] == {"demand_id": "a", "channel_id": "collab-a"}


async def test_a_demand_that_ends_while_it_is_watched_ends_the_stream(client):
    """The terminal event, `end`, a clean close; then 204 for every form of the cursor (scenario 8)."""
    await register(client, BOB)
    demand_id = (await submit(client))["demand_id"]
    await until_filtered(client, demand_id)
    watching = asyncio.create_task(follow(client, demand_id))
    await until(lambda: client.app[LOG].hub.follower_count == 1)
    await fail(client, demand_id)
    frames = await watching
    assert [frame.event for frame in frames] == [None, None, None, "ready", None, "end"]
    last = frames[4]
    assert last.data["event_type"] == "towow.negotiation.failed"
    assert frames[5].data == {"reason": "towow.negotiation.failed", "last_seq": last.seq}
    for query in (f"since_seq={last.id}", f"last_event_id={last.data['event_id']}"):
        assert (await client.get(f"/api/events/stream/{demand_id}?{query}")).status == 204
    await until(lambda: client.app[LOG].hub.follower_count == 0)


async def test_a_demand_may_be_awaited_before_it_exists(client):
    """`allow_pending=1` for who knows the id first."""
    async with client.get("/api/events/stream/x?allow_pending=1") as response:
        await read_frames(response, 1)
        await publish(client, 1, stream="demand:x")
        assert (await read_frames(response, 1))[0].seq == 1


async def test_fifty_clients_that_vanish_are_gone_at_once(client):
    """Scenario 7, items 13, 73: subscribers return to 0, without waiting for a write."""
    await publish(client, 1, stream="demand:x")
    writers = []
    for _ in range(50):
        _, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(request_bytes("GET", "/api/events/stream/x"))
        writers.append(writer)
    await until(lambda: client.app[LOG].hub.follower_count == 50)
    assert (await get(client, "/api/events/health"))["subscribers"] == 50
    for writer in writers:
        writer.transport.abort()
    await until(lambda: len(client.app[FOLLOWERS]) == 0, timeout=1.0)
    assert await get(client, "/api/events/health") == {"status": "healthy", "subscribers": 0, "events_in_memory": 1}


async def test_the_health_of_events_has_real_figures(client):
    """Item 18: open streams, and events in the shared tail."""
    assert await get(client, "/api/events/health") == {"status": "healthy", "subscribers": 0, "events_in_memory": 0}
    await publish(client, 3, stream="demand:x")
    async with client.get("/api/events/stream/x") as response:
        await read_frames(response, 4)
        assert await get(client, "/api/events/health") == {"status": "healthy", "subscribers": 1, "events_in_memory": 3}


# Polling


async def test_recent_pages_forward_without_a_gap_or_an_empty_page(client):
    """Scenario 4, items 14 to 17, 68: seven events by three are 3, 3, 1, and `has_more` says so exactly."""
    receipts = await publish(client, 7, stream="demand:x")
    await publish(client, 3, stream="demand:y")
    pages, after = [], 0
    while True:
        page = await get(client, f"/api/events/recent/x?count=3&after={after}")
        pages.append((page["count"], page["has_more"], [event["seq"] for event in page["events"]]))
        after = page["events"][-1]["event_id"]
        if not page["has_more"]:
            break
    assert pages == [(3, True, [1, 2, 3]), (3, True, [4, 5, 6]), (1, False, [7])]
    assert (page["next_since_seq"], page["head_seq"], page["epoch"]) == (10, 10, client.app[LOG].epoch)
    rest = await get(client, f"/api/events/recent/x?count=3&after={receipts[3]['event_id']}")
    assert (rest["count"], rest["has_more"]) == (3, False)


async def test_recent_without_a_cursor_is_the_newest_in_chronological_order(client):
    """Item 16: 50 by default, at most 200."""
    await publish(client, 230, stream="demand:x")
    recent = await get(client, "/api/events/recent/x")
    assert [event["seq"] for event in recent["events"]] == list(range(181, 231))
    assert (recent["count"], recent["has_more"]) == (50, False)
    recent = await get(client, "/api/events/recent/x?count=200")
    assert [event["seq"] for event in recent["events"]] == list(range(31, 231))
    assert [event["seq"] for event in (await get(client, "/api/events/recent/x?count=1"))["events"]] == [230]


@pytest.mark.parametrize("count", ["0", "201", "-1", "x", "", "1.0", "1_0", "%D9%A3", "%201", "3&count=3"])
async def test_a_count_out_of_bounds_is_400(client, count):
    """Item 15: 1 to 200."""
    await publish(client, 1, stream="demand:x")
    await assert_error(await client.get(f"/api/events/recent/x?count={count}"), "invalid_request", status=400, field="count")


async def test_recent_after_something_unknown_is_410(client):
    """Never an empty page that looks like the end."""
    await publish(client, 2, stream="demand:x")
    for query, reason in (
        ("after=evt-lost", "unknown_event_id"),
        ("after=99", "past_head"),
        ("after=1&epoch=e", "other_epoch"),
    ):
        error = await assert_error(await client.get(f"/api/events/recent/x?{query}"), "gone", status=410)
        assert (error["reason"], error["oldest_seq"], error["head_seq"]) == (reason, 1, 2)


async def test_polling_sees_what_streaming_sees(client):
    """AC8: the fallback gives the same events in the same order, one page after the other."""
    await register(client, BOB)
    demand_id = (await submit(client))["demand_id"]
    await until_filtered(client, demand_id)
    await fail(client, demand_id)
    streamed = [frame.data for frame in await follow(client, demand_id) if frame.event is None]
    polled, cursor = [], 0
    while True:
        page = await get(client, f"/api/events/recent/{demand_id}?count=1&after={cursor}")
        polled += page["events"]
        cursor = page["next_since_seq"]
        if not page["has_more"]:
            break
    assert polled == streamed
    assert len(polled) == 4


# The bus


async def test_handlers_of_the_bus_see_an_event_once_each_and_it_is_stored_once(client):
    """Scenario 6, items 3, 38, 54: `towow.*` and single types together; one row, one frame."""
    seen = []
    bus = client.app[BUS]
    bus.subscribe("towow.*", lambda event: seen.append(("towow.*", event.seq)))
    stops = [bus.subscribe(name, lambda event, name=name: seen.append((name, event.seq))) for name in TYPES]
    async with client.get("/api/events/stream?stream=task:x&allow_pending=1") as response:
        await read_frames(response, 1)
        for n, name in enumerate(TYPES):
            await client.post("/api/events", json=body("task:x", n, event_type=name))
        frames = await read_frames(response, 11)
    single = [(name, n) for n, name in enumerate(TYPES, start=1)]
    await until(lambda: len(seen) == 22)
    assert sorted(seen) == sorted(single + [("towow.*", seq) for _, seq in single])
    assert [(frame.data["event_type"], frame.seq) for frame in frames] == single
    assert client.app[LOG].head_seq == 11
    for stop in stops:
        stop()
    await publish(client, 1, stream="task:x")
    await client.post("/api/events", json=body("task:x", event_type=TYPES[0]))
    await until(lambda: len(seen) == 23)
    assert seen[-1] == ("towow.*", 13)


async def test_a_handler_that_fails_or_is_slow_hurts_nobody(client):
    """It is logged, gets the next event, and other subscriptions and publishers do not wait for it."""
    bus, seen, slow = client.app[BUS], [], []
    gate = asyncio.Event()

    def failing(event):
        seen.append(event.seq)
        raise ValueError("a fault of the handler")

    async def waiting(event):
        await gate.wait()
        slow.append(event.seq)

    bus.subscribe("note", failing)
    bus.subscribe("*", waiting)
    await publish(client, 3)
    await until(lambda: seen == [1, 2, 3])
    assert slow == []
    gate.set()
    await until(lambda: slow == [1, 2, 3])
