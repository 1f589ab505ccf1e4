"""Resuming: wherever a stream is cut, what came before and what comes after are the whole, and nothing else."""

import json
from urllib.parse import urlencode

import aiohttp
import msgspec
import pytest

from server.app import make_app
from tests.support import EventSource, EventStreamParser, ServerProcess, body, publish, read_frames, until

EVENTS = 30
STREAM = "task:cut"
URL = f"/api/events/stream?stream={STREAM}"
CURSORS = [
    pytest.param(lambda cursor, event: ({"Last-Event-ID": cursor}, {}), id="Last-Event-ID is what the server gave"),
    pytest.param(lambda cursor, event: ({"Last-Event-ID": str(event["seq"])}, {}), id="Last-Event-ID is a seq"),
    pytest.param(lambda cursor, event: ({"Last-Event-ID": event["event_id"]}, {}), id="Last-Event-ID is an event_id"),
    pytest.param(lambda cursor, event: ({}, {"since_seq": cursor}), id="since_seq is what the server gave"),
    pytest.param(lambda cursor, event: ({}, {"since_seq": event["seq"]}), id="since_seq"),
    pytest.param(lambda cursor, event: ({}, {"last_event_id": event["event_id"]}), id="last_event_id is an event_id"),
    pytest.param(lambda cursor, event: ({}, {"lastEventId": cursor, "since_seq": 0}), id="lastEventId over since_seq"),
    pytest.param(lambda cursor, event: ({}, {"after": event["event_id"]}), id="after is an event_id"),
    pytest.param(lambda cursor, event: ({}, {"since": event["seq"]}), id="since"),
]


async def store(client, count=EVENTS, *, stream=STREAM, start=0):
    """Append to the stream, with another stream's events in between, so that seq has gaps for its followers."""
    events = []
    for n in range(start, start + count):
        events.append(body(stream, n, payload={"n": n, "text": "一\n二\u2028\x85\x1b"}))
        events += [body("task:other", n)] * (n % 3)
    for first in range(0, len(events), 1000):
        answer = await client.post("/api/events", json={"events": events[first : first + 1000]})
        assert answer.status == 201, await answer.text()


async def read_replay(client, *, headers=None, query=None, url=URL):
    """The stored events of a new connection up to its `ready`, as (id, event) pairs; the connection is closed."""
    async with client.get(f"{url}&{urlencode(query or {})}", headers=headers or {}) as response:
        assert response.status == 200, await response.text()
        return await stored_until_ready(response)


async def stored_until_ready(response):
    """The stored events of an open stream up to its `ready`."""
    stored = []
    while True:
        frame = (await read_frames(response, 1, timeout=20))[0]
        if frame.event == "ready":
            assert frame.data["replayed"] == len(stored)
            return stored
        assert frame.event is None, frame
        stored.append((frame.id, frame.data))


async def read_cut(client, count, *, url=URL):
    """The first `count` events of a new connection, which is then broken off."""
    async with client.get(url) as response:
        return [(frame.id, frame.data) for frame in await read_frames(response, count)]


@pytest.mark.parametrize("cursor_of", CURSORS)
async def test_a_stream_cut_after_any_event_and_its_resumed_rest_are_the_whole(client, cursor_of):
    """For every place between two events: prefix + rest == whole, whatever form the cursor has."""
    await store(client)
    whole = await read_replay(client)
    assert [event["payload"]["n"] for _, event in whole] == list(range(EVENTS))
    for count in range(1, EVENTS + 1):
        prefix = await read_cut(client, count)
        headers, query = cursor_of(*prefix[-1])
        assert prefix + await read_replay(client, headers=headers, query=query) == whole


async def test_a_stream_cut_after_any_byte_resumes_like_a_browser(client):
    """A browser drops the block that was cut and names the last whole one; what comes then completes the whole."""
    await store(client)
    whole = [event for _, event in await read_replay(client)]
    async with client.get(URL) as response:
        raw = b""
        while b"event: ready" not in raw:
            raw += await response.content.readany()
    rests = {"": whole}
    for cursor, _ in await read_replay(client):
        found = await read_replay(client, headers={"Last-Event-ID": cursor})
        rests[cursor] = [rest for _, rest in found]
    parser, prefix, lost = EventStreamParser(), [], 0
    for place in range(raw.index(b"event: ready")):
        prefix += [json.loads(message.data) for message in parser.feed(raw[place : place + 1])]
        assert prefix + rests[parser.last_event_id] == whole
        # Several clients (fetch-event-source, eventsource 2) keep the id of a block that was cut. It comes after the data, so
        # all that is left to lose is the block without its last byte, the blank line.
        if prefix + rests[parser.pending_id] != whole:
            assert raw[: place + 1].endswith(f"\nid: {parser.pending_id}\n".encode())
            lost += 1
    assert lost == EVENTS


async def test_a_live_stream_cut_after_any_event_misses_nothing_that_came_meanwhile(client):
    """The prefix came live, the rest was appended while nobody listened: together they are the whole."""
    for count in range(1, EVENTS + 1):
        stream = f"task:live-{count}"
        url = f"/api/events/stream?stream={stream}"
        async with client.get(f"{url}&allow_pending=1") as response:
            assert (await read_frames(response, 1))[0].event == "ready"
            await store(client, count, stream=stream)
            prefix = [(frame.id, frame.data) for frame in await read_frames(response, count)]
        if count < EVENTS:
            await store(client, EVENTS - count, stream=stream, start=count)
        rest = await read_replay(client, headers={"Last-Event-ID": prefix[-1][0]}, url=url)
        assert prefix + rest == await read_replay(client, url=url)
        assert [event["payload"]["n"] for _, event in prefix + rest] == list(range(EVENTS))


@pytest.mark.parametrize(
    "selection",
    [
        pytest.param({"stream": "*"}, id="everything"),
        pytest.param({"stream": "task:*"}, id="a kind"),
        pytest.param([("stream", "task:a"), ("stream", "demand:b")], id="two streams"),
        pytest.param({"stream": "*", "type": "odd*"}, id="a type"),
    ],
)
async def test_many_streams_on_one_connection_resume_after_any_event(client, selection):
    """One cursor serves every selection, because it is a place in the whole log."""
    names = ("task:a", "demand:b", "session:c")
    events = [body(names[n % 3], n, event_type="odd" if n % 2 else "even") for n in range(EVENTS)]
    assert (await client.post("/api/events", json={"events": events})).status == 201
    url = f"/api/events/stream?{urlencode(selection)}"
    whole = await read_replay(client, query={"start": "beginning"}, url=url)
    assert len(whole) >= EVENTS / 3
    for count in range(1, len(whole) + 1):
        prefix = await read_cut(client, count, url=f"{url}&start=beginning")
        assert prefix + await read_replay(client, headers={"Last-Event-ID": prefix[-1][0]}, url=url) == whole


async def test_the_cursor_of_another_stream_is_a_place_in_this_one(client):
    """A seq of any event is a cursor for every stream of the log; an event_id is one of its own stream."""
    await store(client)
    whole = await read_replay(client)
    others = await read_replay(client, url="/api/events/stream?stream=task:other")
    for _, event in others:
        rest = [each for each in whole if each[1]["seq"] > event["seq"]]
        assert await read_replay(client, headers={"Last-Event-ID": str(event["seq"])}) == rest
    for _, event in whole:
        rest = [each for each in whole if each[1]["seq"] > event["seq"]]
        assert await read_replay(client, headers={"Last-Event-ID": event["event_id"]}) == rest


@pytest.mark.parametrize("tail_bytes", [pytest.param(0, id="from the file"), pytest.param(64_000_000, id="from memory")])
async def test_ten_thousand_missed_events_arrive_once_in_order(aiohttp_client, quiet_config, tail_bytes):
    """There is no cap on what a reader may have missed; after it, the stream is live."""
    stream = msgspec.structs.replace(quiet_config.stream, tail_bytes=tail_bytes)
    client = await aiohttp_client(make_app(msgspec.structs.replace(quiet_config, stream=stream)))
    await publish(client, 1, stream=STREAM)
    prefix = await read_cut(client, 1)
    for start in range(1, 10_001, 500):
        notes = [body(STREAM, n) for n in range(start, start + 500)]
        answer = await client.post("/api/events", json={"events": [*notes, *[body("task:other")] * 100]})
        assert answer.status == 201
    async with client.get(URL, headers={"Last-Event-ID": prefix[0][0]}) as response:
        rest = await stored_until_ready(response)
        await publish(client, 1, stream=STREAM, start=77)
        live = (await read_frames(response, 1))[0]
    assert [event["payload"]["n"] for _, event in rest] == list(range(1, 10_001))
    assert [event["revision"] for _, event in rest] == list(range(2, 10_002))
    assert live.data["revision"] == 10_002
    again = await read_replay(client, headers={"Last-Event-ID": prefix[0][1]["event_id"]})
    assert again == [*rest, (live.id, live.data)]


async def test_a_stream_cut_by_kill_resumes_in_the_next_process_after_any_event(tmp_path):
    """Clients that were cut at every place complete their whole at the next process on the file, by any cursor."""
    with ServerProcess(tmp_path / "towow.db") as server:
        async with aiohttp.ClientSession(server.url) as client:
            await store(client)
            whole = await read_replay(client)
            prefixes = [await read_cut(client, count) for count in range(1, EVENTS + 1)]
        server.kill()
        server.start()
        async with aiohttp.ClientSession(server.url) as client:
            assert await read_replay(client) == whole
            for prefix in prefixes:
                for cursor in CURSORS:
                    headers, query = cursor.values[0](*prefix[-1])
                    assert prefix + await read_replay(client, headers=headers, query=query) == whole
            await store(client, 1, start=EVENTS)
            assert (await read_replay(client))[-1][1]["revision"] == EVENTS + 1


@pytest.mark.parametrize(
    ("query", "first_seq"),
    [
        pytest.param("", 1, id="no cursor"),
        pytest.param("&since_seq=3", 4, id="since_seq"),
        pytest.param("&start=tail:5", 6, id="the newest five"),
        pytest.param("&lastEventId=2&since=1", 3, id="two others"),
    ],
)
async def test_a_native_reconnect_keeps_the_query_and_the_header_wins(tmp_path, query, first_seq):
    """A browser repeats its URL and adds Last-Event-ID; across stops and kills it hears each event once."""
    environment = {"TOWOW__STREAM__RETRY_MILLISECONDS": "20", "TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}
    with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
        async with aiohttp.ClientSession(server.url) as client:
            await publish(client, 10, stream=STREAM)
        async with EventSource(server.port, URL + query) as source:
            await until(lambda: source.controls())
            assert [event["seq"] for event in source.events()] == list(range(first_seq, 11))
            for round_number, end in enumerate((server.stop, server.kill, server.stop)):
                connections = len(source.requests)
                end()
                server.start()
                async with aiohttp.ClientSession(server.url) as client:
                    await publish(client, 5, stream=STREAM, start=100 * round_number)
                await until(lambda count=10 + 5 * (round_number + 1): source.events()[-1]["seq"] == count)
                await until(lambda n=connections: source.state == "open" and len(source.requests) > n)
            assert all(request.startswith(f"GET {URL}{query} ") for request in source.requests)
            assert "Last-Event-ID" not in source.requests[0]
            assert all("Last-Event-ID: " in request for request in source.requests[1:])
            seqs = [event["seq"] for event in source.events()]
            assert seqs == list(range(first_seq, 26))
            ends = [fields for name, fields in source.controls() if name == "end"]
            assert [fields["reason"] for fields in ends] == ["shutdown", "shutdown"]
            assert source.clean_ends == 2


async def test_a_native_client_stops_after_the_end_of_an_ended_stream(tmp_path, client):
    """After the terminal event comes `end`; the reconnect is answered 204, which ends an EventSource for good."""
    stream = "demand:d-1"
    await publish(client, 3, stream=stream)
    async with EventSource(client.port, f"/api/events/stream?stream={stream}") as source:
        await until(lambda: source.controls())
        source._retry_seconds = 0.01  # what the server asked for is tested elsewhere
        last = body(stream, 3, event_type="towow.negotiation.failed")
        assert (await client.post("/api/events", json=last)).status == 201
        await until(lambda: source.state == "closed")
        assert source.statuses == [200, 204]
        assert [event["revision"] for event in source.events()] == [1, 2, 3, 4]
        assert source.controls()[-1] == ("end", {"reason": "towow.negotiation.failed", "last_seq": 4})


async def test_a_native_client_of_another_database_is_told_and_starts_over(tmp_path):
    """A cursor that the log behind the URL does not have gives `reset` in band, and then all there is."""
    environment = {"TOWOW__STREAM__RETRY_MILLISECONDS": "20", "TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}
    with ServerProcess(tmp_path / "new.db", environment=environment) as new:
        async with aiohttp.ClientSession(new.url) as client:
            await publish(client, 4, stream=STREAM, start=50)
    with ServerProcess(tmp_path / "old.db", environment=environment) as old:
        async with aiohttp.ClientSession(old.url) as client:
            await publish(client, 10, stream=STREAM)
        async with EventSource(old.port, URL) as source:
            await until(lambda: source.controls())
            old_epoch, cursor = source.controls()[0][1]["epoch"], source.messages[-1].last_event_id
            old.stop()
            with ServerProcess(tmp_path / "new.db", port=old.port, environment=environment):
                await until(lambda: len(source.events()) == 14 or source.state == "closed", timeout=10)
                assert source.state == "open", source.statuses
                assert [event["payload"]["n"] for event in source.events()[10:]] == [50, 51, 52, 53]
                reset = next(fields for name, fields in source.controls() if name == "reset")
                assert (reset["reason"], reset["requested"]) == ("past_head", cursor)
                assert reset["epoch"] != old_epoch
