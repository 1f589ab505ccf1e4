"""One stream on every transport: SSE, NDJSON, WebSocket and long poll give the same events from the same cursor."""

import asyncio
import contextlib
import json
import re
from unittest.mock import ANY

import aiohttp
import pytest
from aiohttp import WSMsgType

from server.api.stream_response import NdjsonWire, WebSocketWire
from server.app import FOLLOWERS, LOG, make_app
from server.eventlog.selection import select
from server.streaming.cursor import StartPosition
from server.streaming.follower import ConnectionSettings, Follower
from server.streaming.keepalive import KeepaliveTimer
from tests.streaming.test_sse import EVENT
from tests.support import (
    assert_error,
    body,
    changed,
    note,
    open_log,
    publish,
    raw_connection,
    read_frames,
    read_head,
    read_to_end,
    request_bytes,
    until,
)

NDJSON = {"Accept": "application/x-ndjson"}
STREAM = "/api/events/stream"


async def read_lines(response, count, timeout=3.0):
    """The next lines of NDJSON that are not keepalives."""
    lines = []
    async with asyncio.timeout(timeout):
        while len(lines) < count:
            line = await response.content.readline()
            assert line.endswith(b"\n"), f"the stream ended after {lines}"
            if line != b"\n":
                lines.append(json.loads(line))
    return lines


async def read_messages(socket, count):
    """The next text messages of a WebSocket."""
    return [await socket.receive_json(timeout=3.0) for _ in range(count)]


async def canonical(client, seq):
    """An event as the log says it, by its seq."""
    return json.loads((await client.app[LOG].get(seq=seq)).canonical())


async def line(client, seq):
    """The same with its cursor, as lines and messages have it."""
    event = await client.app[LOG].get(seq=seq)
    return {**json.loads(event.canonical()), "cursor": event.cursor}


def seqs(frames):
    """The ids of stored events among frames, or the seqs among lines."""
    if frames and isinstance(frames[0], dict):
        return [line["seq"] for line in frames if "control" not in line]
    return [frame.seq for frame in frames if frame.seq is not None]


def follower_count(client):
    """Open streams, as `/health` counts them, and as the hub does."""
    return len(client.app[FOLLOWERS]), client.app[LOG].hub.follower_count


@contextlib.asynccontextmanager
async def open_streams(client, queries):
    """A bare connection with a stream for every query; yields their writers."""
    async with contextlib.AsyncExitStack() as stack:
        requests = [request_bytes("GET", f"{STREAM}?{query}&allow_pending=1") for query in queries]
        yield [(await stack.enter_async_context(raw_connection(client, request)))[1] for request in requests]


class RecordingSocket:
    """A connection that takes everything, until it is closed as uvloop closes."""

    def __init__(self):
        self.written = []
        self.is_closed = False

    def write(self, data):
        """Remember the bytes."""
        if self.is_closed:
            raise RuntimeError("unable to perform operation; the handler is closed")
        self.written.append(data)

    def get_write_buffer_size(self):
        """Always empty."""
        return 0

    async def drain(self):
        """Never in the way."""

    def abort(self):
        """Nothing to drop."""


def is_polled(client, streams=("*",), types=()):
    """Whether a long poll of this selection is asleep."""
    return (select(streams, types), None, None) in client.app[LOG].hub._groups


# Encodings


def test_ndjson_is_one_canonical_line_with_its_cursor_per_event():
    """Control frames are lines with a `control` key, a keepalive is an empty line, the retry hint is not a line."""
    wire = NdjsonWire()
    assert wire.event(EVENT) == EVENT.canonical()[:-1] + b',"cursor":"%b"}\n' % EVENT.cursor.encode()
    assert wire.control("ready", {"head_seq": 7}) == b'{"control":"ready","head_seq":7}\n'
    assert wire.keepalive(0.0) == b"\n"
    assert wire.first(2000) == b""
    assert wire.wrap(b"{}\n") == b"3\r\n{}\n\r\n"
    assert NdjsonWire(is_chunked=False).wrap(b"{}\n") == b"{}\n"


@pytest.mark.parametrize(
    ("size", "head"),
    [
        pytest.param(50, b"\x81\x32", id="realistic: short"),
        pytest.param(125, b"\x81\x7d", id="edge: longest with one length byte"),
        pytest.param(126, b"\x81\x7e\x00\x7e", id="edge: shortest with two"),
        pytest.param(65_535, b"\x81\x7e\xff\xff", id="edge: longest with two"),
        pytest.param(65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00", id="edge: shortest with eight"),
    ],
)
def test_a_websocket_message_is_one_whole_text_frame(size, head):
    """RFC 6455, section 5.2: final, unmasked, the shortest length form."""
    cursor = b',"cursor":"%b"}' % EVENT.cursor.encode()
    line = b"{" + b"x" * (size - len(cursor) - 1) + b"}"
    wire = WebSocketWire(envelope=lambda event: line)
    assert wire.event(EVENT) == head + line[:-1] + cursor
    assert wire.keepalive(0.0) == b"\x89\x00"
    assert wire.wrap(b"frame") == b"frame"


# The same events everywhere


@pytest.mark.parametrize(
    ("query", "headers"), [pytest.param("", NDJSON, id="by Accept"), pytest.param("&format=ndjson", {}, id="by format=")]
)
async def test_ndjson_replays_and_goes_live_on_the_same_cursor(client, query, headers):
    """A script without an SSE parser reads lines."""
    await publish(client, 3)
    async with client.get(f"{STREAM}?stream=task:a&since_seq=1{query}", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/x-ndjson"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Length" not in response.headers
        lines = await read_lines(response, 3)
        assert lines[:2] == [await line(client, 2), await line(client, 3)]
        said = {"head_seq": 3, "cursor": lines[1]["cursor"], "epoch": client.app[LOG].epoch, "replayed": 2}
        assert lines[2] == {"control": "ready", **said, "keepalive_seconds": 60.0}
        await publish(client, 1)
        assert await read_lines(response, 1) == [await line(client, 4)]


async def test_a_websocket_gets_the_same_json_per_message(client):
    """The same URL, cursor and control frames; one message per event."""
    await publish(client, 3)
    async with client.ws_connect(f"{STREAM}?stream=task:a&since_seq=1") as socket:
        messages = await read_messages(socket, 3)
        assert messages[:2] == [await line(client, 2), await line(client, 3)]
        assert messages[2]["control"] == "ready"
        assert messages[2]["replayed"] == 2
        await publish(client, 2)
        assert await read_messages(socket, 2) == [await line(client, 4), await line(client, 5)]


async def test_a_large_event_passes_a_websocket_whole(client):
    """Frames of 64 KiB and more use the long length form."""
    text = "场" * 60_000
    await client.post("/api/events", json=body() | {"payload": {"text": text}})
    async with client.ws_connect(f"{STREAM}?stream=task:a") as socket:
        assert (await read_messages(socket, 1))[0]["payload"]["text"] == text


async def test_a_websocket_keepalive_is_a_ping(aiohttp_client, config):
    """Pings need no reader in the application, and a peer that answers is alive."""
    client = await aiohttp_client(make_app(config))
    async with client.ws_connect(f"{STREAM}?stream=task:a&allow_pending=1", autoping=False) as socket:
        assert (await socket.receive_json())["control"] == "ready"
        for _ in range(2):
            assert (await socket.receive(timeout=3.0)).type is WSMsgType.PING
        await socket.pong()
        await publish(client, 1)
        message = await socket.receive(timeout=3.0)
        while message.type is WSMsgType.PING:
            message = await socket.receive(timeout=3.0)
        assert json.loads(message.data)["seq"] == 1


async def test_a_websocket_client_that_says_goodbye_gets_the_close_handshake_and_frees_the_follower(client):
    """Close is answered with close, nothing after it, and nobody is left behind."""
    socket = await client.ws_connect(f"{STREAM}?stream=task:a&allow_pending=1")
    assert (await socket.receive_json())["control"] == "ready"
    await until(lambda: follower_count(client) == (1, 1))
    assert await socket.close()
    assert socket.close_code == 1000
    await until(lambda: follower_count(client) == (0, 0))


async def test_a_websocket_client_that_vanishes_frees_the_follower(client):
    """Also without a goodbye."""
    socket = await client.ws_connect(f"{STREAM}?stream=task:a&allow_pending=1")
    await until(lambda: follower_count(client) == (1, 1))
    socket._response.connection.transport.abort()
    await until(lambda: follower_count(client) == (0, 0))


async def test_nothing_is_sent_on_a_websocket_after_its_close_frame(client):
    """RFC 6455, section 5.5.1: after a close frame there are no data frames."""
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    request = request_bytes(
        "GET", f"{STREAM}?stream=task:a&allow_pending=1", **handshake, **{"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    )
    async with raw_connection(client, request) as (reader, writer):
        status, headers = await read_head(reader)
        assert (status, headers["sec-websocket-accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        await until(lambda: follower_count(client) == (1, 1))
        writer.write(b"\x88\x82\x00\x00\x00\x00\x03\xe8")  # close, 1000, masked with zeros
        async with asyncio.timeout(3):
            received = await reader.read()
    ready, close = received[: received.rindex(b"\x88")], received[received.rindex(b"\x88") :]
    assert ready.count(b'"control"') == 1
    assert close == b"\x88\x02\x03\xe8"


async def test_an_ended_stream_ends_a_websocket_with_end_and_close(client):
    """A WebSocket has no 204: the reason is a message, then the close handshake."""
    await publish(client, 1, stream="demand:d-1")
    await client.post("/api/events", json=body("demand:d-1", event_type="towow.negotiation.failed"))
    async with client.ws_connect(f"{STREAM}?stream=demand:d-1") as socket:
        messages = await read_messages(socket, 3)
        assert seqs(messages) == [1, 2]
        assert messages[2] == {"control": "end", "reason": "towow.negotiation.failed", "last_seq": 2}
        assert (await socket.receive(timeout=3.0)).type is WSMsgType.CLOSE
    async with client.ws_connect(f"{STREAM}?stream=demand:d-1&since_seq=2") as socket:
        assert (await read_messages(socket, 1))[0] == {"control": "end", "reason": "ended", "last_seq": 2}
        assert (await socket.receive(timeout=3.0)).type is WSMsgType.CLOSE
    await until(lambda: follower_count(client) == (0, 0))


async def test_a_websocket_from_a_foreign_page_is_refused(aiohttp_client, quiet_config):
    """Browsers let any page open a WebSocket to loopback and read it, so the origin must be this server's or an allowed one."""
    client = await aiohttp_client(make_app(changed(quiet_config, "cors", origins=("https://app.example",))))
    await publish(client, 1)
    own = f"http://{client.host}:{client.port}"
    for origin in (own, "https://app.example", None):
        headers = {} if origin is None else {"Origin": origin}
        async with client.ws_connect(f"{STREAM}?stream=task:a", headers=headers) as socket:
            assert (await socket.receive_json())["seq"] == 1
    for origin in ("https://evil.example", "null", f"{own}.evil.example", "http://127.0.0.1:1"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect(f"{STREAM}?stream=task:a", headers={"Origin": origin})
        assert caught.value.status == 403


async def test_a_broken_websocket_handshake_is_an_error_of_the_one_shape(client):
    """Missing key, unknown version: 400, as JSON."""
    await publish(client, 1)
    for headers in ({}, {"Connection": "Upgrade"}, {"Connection": "Upgrade", "Sec-WebSocket-Version": "7"}):
        answer = await client.get(f"{STREAM}?stream=task:a", headers={"Upgrade": "websocket", **headers})
        await assert_error(answer, "invalid_request", status=400)
    assert follower_count(client) == (0, 0)


# Long poll


async def test_a_long_poll_returns_as_soon_as_there_is_an_event(client):
    """`wait=` is an upper bound, not a delay."""
    await publish(client, 1)
    polling = asyncio.create_task(client.get("/api/events?stream=task:a&since_seq=1&wait=30"))
    await until(lambda: is_polled(client, ("task:a",)))
    await publish(client, 1, stream="task:b")  # not what it waits for
    await publish(client, 1)
    async with asyncio.timeout(3):
        page = await (await polling).json()
    assert seqs(page["events"]) == [3]
    assert (page["has_more"], page["next_since_seq"], page["head_seq"]) == (False, 3, 3)


async def test_a_long_poll_is_empty_when_the_time_is_over(client):
    """200 with no events and the cursor to go on from."""
    await publish(client, 1)
    await publish(client, 1, stream="task:b")
    page = await (await client.get("/api/events?stream=task:a&since_seq=1&wait=0.02")).json()
    assert (page["events"], page["has_more"], page["next_since_seq"]) == ([], False, 2)
    assert not is_polled(client, ("task:a",))


async def test_a_long_poll_waits_for_the_type_it_asked_for(client):
    """Events of other types do not wake its client."""
    polling = asyncio.create_task(client.get("/api/events?type=offer.*&since_seq=0&wait=30"))
    await until(lambda: is_polled(client, types=("offer.*",)))
    await publish(client, 3)
    await client.post("/api/events", json=body(event_type="offer.made"))
    async with asyncio.timeout(3):
        assert seqs((await (await polling).json())["events"]) == [4]


async def test_a_long_poll_does_not_wait_at_the_end_of_an_ended_stream(client):
    """Nothing can come: `ended` at once."""
    await client.post("/api/events", json=body("demand:d-1", event_type="towow.negotiation.failed"))
    async with asyncio.timeout(3):
        page = await (await client.get("/api/events?stream=demand:d-1&since_seq=1&wait=60")).json()
    assert page["events"] == []
    assert page["ended"] is True


async def test_a_long_poll_whose_client_leaves_is_forgotten(client):
    """A watcher is freed like a follower."""
    async with raw_connection(client, request_bytes("GET", "/api/events?since_seq=0&wait=60")):
        await until(lambda: is_polled(client))
    await until(lambda: not is_polled(client))


# What is followed


async def test_several_streams_share_one_connection_in_seq_order(client):
    """Names and patterns together, replay and live, always by seq; nothing else, nothing twice."""
    for n, stream in enumerate(("demand:a", "session:x", "task:t", "demand:b", "session:y", "demand:a")):
        await publish(client, 1, stream=stream, start=n)
    url = f"{STREAM}?stream=demand:a&stream=session:*&stream=session:x&start=beginning"
    async with client.get(url) as response:
        frames = await read_frames(response, 5)
        assert seqs(frames) == [1, 2, 5, 6]
        assert frames[-1].event == "ready"
        events = [body(stream, n) for n, stream in enumerate(("session:z", "demand:b", "demand:a", "session:x"))]
        await client.post("/api/events", json={"events": events})
        assert seqs(await read_frames(response, 3)) == [7, 9, 10]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        pytest.param(("offer.made",), [2, 5], id="realistic: one type"),
        pytest.param(("offer.*",), [2, 3, 5], id="realistic: a family"),
        pytest.param(("offer.*", "demand.made"), [1, 2, 3, 5], id="realistic: two"),
        pytest.param(("*",), [1, 2, 3, 4, 5], id="edge: all"),
        pytest.param(("offer",), [], id="edge: a glob is not a prefix"),
    ],
)
async def test_type_globs_filter_replay_live_and_pages_alike(client, types, expected):
    """`type=` is repeatable; `*` is its only special character."""
    query = "stream=task:a&" + "&".join(f"type={glob}" for glob in types)
    kinds = ("demand.made", "offer.made", "offer.taken", "offers.made.up", "offer.made")
    for n, event_type in enumerate(kinds[:3]):
        await client.post("/api/events", json=body(n=n, event_type=event_type))
    async with client.get(f"{STREAM}?{query}") as response:
        replayed = len([seq for seq in expected if seq <= 3])
        frames = await read_frames(response, replayed + 1)
        assert frames[-1].data["replayed"] == replayed
        for n, event_type in enumerate(kinds[3:]):
            await client.post("/api/events", json=body(n=n, event_type=event_type))
        frames += await read_frames(response, len(expected) - replayed)
        assert seqs(frames) == expected
    page = await (await client.get(f"/api/events?{query}&since_seq=0")).json()
    assert seqs(page["events"]) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("stream=task:a", [1, 3, 5], id="an entity stream begins at its beginning"),
        pytest.param("stream=operator:a", [], id="a live kind begins at the head"),
        pytest.param("stream=task:*", [], id="a pattern begins at the head"),
        pytest.param("", [], id="everything begins at the head"),
        pytest.param("stream=operator:a&start=beginning", [2, 4], id="start=beginning"),
        pytest.param("start=beginning", [1, 2, 3, 4, 5], id="start=beginning for everything"),
        pytest.param("stream=task:a&start=live", [], id="start=live"),
        pytest.param("stream=task:a&start=tail:2", [3, 5], id="start=tail"),
        pytest.param("stream=task:a&start=tail:10", [1, 3, 5], id="a tail longer than the stream"),
        pytest.param("start=tail:1", [5], id="a tail of everything"),
        pytest.param("stream=task:a&start=live&since_seq=3", [5], id="a cursor wins over start"),
    ],
)
async def test_where_a_stream_begins_without_a_cursor(client, query, expected):
    """Entities from the beginning; agents, operators, broadcasts and patterns from the head; `start=` overrides."""
    for n, stream in enumerate(("task:a", "operator:a", "task:a", "operator:a", "task:a")):
        await publish(client, 1, stream=stream, start=n)
    async with client.get(f"{STREAM}?{query}") as response:
        frames = await read_frames(response, len(expected) + 1)
        assert seqs(frames) == expected
        assert frames[-1].event == "ready"
        assert frames[-1].data["replayed"] == len(expected)
        assert frames[-1].data["head_seq"] == 5


async def test_an_ended_stream_with_its_cursor_at_the_end_is_204_on_every_http_transport(client):
    """A native EventSource stops at 204; before the end it gets the rest and `end`."""
    await publish(client, 1, stream="demand:d-1")
    await client.post("/api/events", json=body("demand:d-1", event_type="towow.proposal.finalized", event_id="evt-last"))
    for query in ("since_seq=2", "last_event_id=evt-last", "since_seq=2&format=ndjson", "start=live"):
        answer = await client.get(f"{STREAM}?stream=demand:d-1&{query}")
        assert answer.status == 204, query
        assert await answer.read() == b""
    text = await read_to_end(await client.get(f"{STREAM}?stream=demand:d-1&since_seq=1"))
    assert re.match(r"retry: \d{4}\ndata: .*\nid: 2\.[1-9]{6}\n\n", text)
    assert text.endswith('event: end\ndata: {"reason":"towow.proposal.finalized","last_seq":2}\n\n')


async def test_a_stream_that_never_existed_is_404_unless_pending_is_allowed(client):
    """`allow_pending=1` waits for the first event."""
    await assert_error(await client.get(f"{STREAM}?stream=task:new"), "not_found", status=404, field="stream")
    await assert_error(await client.get("/api/events?stream=task:new"), "not_found", status=404, field="stream")
    async with client.get(f"{STREAM}?stream=task:new&allow_pending=1") as response:
        assert (await read_frames(response, 1))[0].event == "ready"
        await publish(client, 1, stream="task:new")
        assert seqs(await read_frames(response, 1)) == [1]


@pytest.mark.parametrize(
    ("query", "reason", "requested"),
    [
        pytest.param("last_event_id=evt-lost", "unknown_event_id", "evt-lost", id="an event id nobody knows"),
        pytest.param("since_seq=99", "past_head", 99, id="past the head"),
        pytest.param("since_seq=2&epoch=elsewhere", "other_epoch", 2, id="another epoch"),
    ],
)
async def test_a_cursor_that_is_not_in_this_log_is_said_and_everything_is_sent(client, query, reason, requested):
    """`reset` with the reason and the ends of the log, then from the oldest kept; a poll gets 410 with the same fields."""
    await publish(client, 3)
    fields = {"reason": reason, "requested": requested, "oldest_seq": 1, "head_seq": 3, "epoch": client.app[LOG].epoch}
    async with client.get(f"{STREAM}?stream=task:a&{query}") as response:
        frames = await read_frames(response, 5)
        assert (frames[0].event, frames[0].id, frames[0].data) == ("reset", None, fields)
        assert seqs(frames) == [1, 2, 3]
        assert frames[-1].event == "ready"
    error = await assert_error(await client.get(f"/api/events?stream=task:a&{query}"), "gone", status=410)
    assert {key: error[key] for key in fields} == fields


async def test_the_right_epoch_is_no_reset(client):
    """A cursor is good within its epoch."""
    await publish(client, 2)
    epoch = client.app[LOG].epoch
    async with client.get(f"{STREAM}?stream=task:a&since_seq=1&epoch={epoch}") as response:
        assert [frame.event for frame in await read_frames(response, 2)] == [None, "ready"]


async def test_a_connection_rotates_after_its_share_and_the_next_goes_on(aiohttp_client, quiet_config):
    """`rotate` says the cursor; following it gives every event once (part d, scenario 18)."""
    client = await aiohttp_client(make_app(changed(quiet_config, "stream", max_events_per_stream=100)))
    await publish(client, 250)
    cursor, got, rounds = 0, [], 0
    while len(got) < 250:
        rounds += 1
        async with client.get(f"{STREAM}?stream=task:a&since_seq={cursor}") as response:
            frames = await read_frames(response, min(100, 250 - len(got)) + 1)
            got += seqs(frames)
            if frames[-1].event == "rotate":
                cursor = frames[-1].data["next_since_seq"]
                assert await read_to_end(response) == ""
    assert got == list(range(1, 251))
    assert (rounds, cursor) == (3, 200)


@pytest.mark.parametrize("transport", ["sse", "ndjson", "websocket"])
async def test_a_full_server_says_capacity_with_a_hint_and_ends_the_stream(aiohttp_client, quiet_config, transport):
    """200, because a browser gives up for good on any other status; the hint is longer than the usual one."""
    client = await aiohttp_client(make_app(changed(quiet_config, "server", max_connections=1)))
    url = f"{STREAM}?stream=task:a&allow_pending=1"
    async with client.get(url) as first:
        await read_frames(first, 1)
        end = {"reason": "capacity", "last_seq": 0, "retry_milliseconds": ANY}
        if transport == "websocket":
            async with client.ws_connect(url) as socket:
                assert await socket.receive_json(timeout=3.0) == {"control": "end", **end}
                assert (await socket.receive(timeout=3.0)).type is WSMsgType.CLOSE
        else:
            answer = await client.get(f"{url}&format={transport}")
            assert answer.status == 200
            text = await read_to_end(answer)
            if transport == "ndjson":
                assert json.loads(text) == {"control": "end", **end}
            else:
                retry = json.loads(text.partition("data: ")[2])["retry_milliseconds"]
                assert 5_000 <= retry <= 15_000
                assert text.startswith(f"retry: {retry}\nevent: end\ndata: ")
                assert json.loads(text.partition("data: ")[2]) == end
        assert (await client.get("/health")).status == 200
        await publish(client, 1)
        assert seqs(await read_frames(first, 1)) == [1]


async def test_two_viewers_get_every_event_once_each(client):
    """Nobody steals from anybody; who joins later gets what came before."""
    url = f"{STREAM}?stream=session:alice&allow_pending=1"
    async with client.get(url) as first, client.get(url, headers=NDJSON) as second:
        await read_frames(first, 1)
        await read_lines(second, 1)
        receipts = await publish(client, 3, stream="session:alice")
        assert [receipt["followers"] for receipt in receipts] == [2, 2, 2]
        assert seqs(await read_frames(first, 3)) == [1, 2, 3]
        assert seqs(await read_lines(second, 3)) == [1, 2, 3]
        async with client.get(url) as third:
            assert seqs(await read_frames(third, 4)) == [1, 2, 3]
            await publish(client, 1, stream="session:alice")
            for frames in (await read_frames(first, 1), await read_lines(second, 1), await read_frames(third, 1)):
                assert seqs(frames) == [4]


@pytest.mark.parametrize("goodbye", ["close", "abort"])
async def test_a_client_that_leaves_is_noticed_at_once(client, goodbye):
    """The number of followers returns to nothing without a write, whether the peer closes or vanishes."""
    async with open_streams(client, ["stream=task:a"] * 10) as writers:
        await until(lambda: follower_count(client) == (10, 10))
        for writer in writers:
            writer.transport.abort() if goodbye == "abort" else writer.close()
        await until(lambda: follower_count(client) == (0, 0))
    assert (await (await client.get("/health")).json())["followers"] == 0
    assert (await publish(client, 1))[0]["followers"] == 0


async def test_followers_of_a_publish_are_those_who_were_written_to(client):
    """The receipt counts live connections that want the event: by name, by pattern, by type."""
    queries = ("stream=task:a", "stream=task:*", "", "stream=task:a&type=other", "stream=task:b")
    async with open_streams(client, queries):
        await until(lambda: follower_count(client) == (5, 5))
        answers = [
            await (await client.post("/api/events", json=body(stream, event_type=event_type))).json()
            for stream, event_type in (("task:a", "note"), ("task:a", "other"), ("task:b", "note"), ("run:r", "note"))
        ]
        assert [answer["followers"] for answer in answers] == [3, 4, 3, 1]


# Keepalives


async def test_an_idle_stream_gets_its_heartbeats_on_a_busy_server(aiohttp_client, config):
    """Events of others are no reason to be silent here (part d, scenario 5)."""
    client = await aiohttp_client(make_app(config))
    log = client.app[LOG]
    await publish(client, 1, stream="demand:d-1")
    busy = True

    async def be_busy():
        n = 0
        while busy:
            n += 1
            await log.append([note("demand:d-2", n)])

    publisher = asyncio.create_task(be_busy())
    async with client.get("/api/events/stream/d-1") as response:
        frames = await read_frames(response, 5, comments=True)
    busy = False
    await publisher
    assert [frame.comment for frame in frames] == [None, None, "heartbeat", "heartbeat", "heartbeat"]
    assert log.head_seq > 3


async def test_a_keepalive_is_measured_from_the_last_byte_on_its_own_connection(quiet_config):
    """An event that was written postpones it by the whole interval; one that was not does not."""
    now = [100.0]
    async with open_log(quiet_config) as log:
        log.hub.clock = lambda: now[0]
        timer = KeepaliveTimer(16.0, log.hub.clock)
        timing = ConnectionSettings(keepalive_seconds=16.0, timer=timer, send_timeout_seconds=30, retry_milliseconds=10)
        socket = RecordingSocket()
        follower = Follower(log, select(("task:a",)), StartPosition(0), NdjsonWire(False), socket, socket.drain, timing)
        task = asyncio.create_task(follower.run())
        await until(lambda: log.hub.follower_count == 1)
        assert follower.silent_since() == 100.0
        now[0] = 110.0
        await log.append([note("task:b")])
        assert follower.silent_since() == 100.0
        await log.append([note("task:a")])
        assert follower.silent_since() == 110.0
        for now[0], keepalives in ((117.0, 0), (125.0, 0), (126.5, 1), (140.0, 1), (143.0, 2)):
            timer._timer.cancel()
            timer._wake()
            assert socket.written.count(b"\n") == keepalives, now[0]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert timer._timer is None


async def test_a_peer_whose_transport_refuses_bytes_hurts_nobody_else(quiet_config):
    """On uvloop a write raises when the connection is closed and its handler not cancelled yet: the others go on."""
    async with open_log(quiet_config) as log:
        timing = ConnectionSettings(60.0, KeepaliveTimer(60.0, log.hub.clock), 30, 10)
        gone, healthy = RecordingSocket(), RecordingSocket()
        followers = [
            Follower(log, select(("task:a",)), StartPosition(0), NdjsonWire(False), socket, socket.drain, timing)
            for socket in (gone, healthy)
        ]
        tasks = [asyncio.create_task(follower.run()) for follower in followers]
        await until(lambda: log.hub.follower_count == 2)
        gone.is_closed = True
        followers[0].keep_alive()
        receipts = [(await log.append([note("task:a", n)]))[0] for n in range(2)]
        assert [receipt.event.seq for receipt in receipts] == [1, 2]
        with pytest.raises(ConnectionResetError):
            await tasks[0]
        assert [json.loads(line)["seq"] for line in healthy.written[1:]] == [1, 2]
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert log.hub.follower_count == 0
