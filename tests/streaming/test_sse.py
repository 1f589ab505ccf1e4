"""The bytes of Server-Sent Events, pinned: each rule was observed on a real client (design, wire rules)."""

import json
import re

import pytest

from server.app import LOG, make_app
from server.streaming.sse import SseWire, chunk
from tests.support import body, changed, note, publish, raw_connection, read_chunk, read_frames, read_head, request_bytes, until
from towow.events import Event

EVENT = Event(7, "task:a", 3, "evt-1", "note", "2026-01-01T00:00:00.000Z", "unknown", '{"n":1}', digest=b"\0" * 32)
CANONICAL = (
    b'{"seq":7,"stream":"task:a","revision":3,"event_id":"evt-1","event_type":"note",'
    b'"timestamp":"2026-01-01T00:00:00.000Z","source":"unknown","payload":{"n":1}}'
)
AT_2026 = 1_767_225_600.0


def get_stream(query="stream=task:a", **headers):
    """The request for a stream."""
    return request_bytes("GET", f"/api/events/stream?{query}", **headers)


def block(event):
    """The frame of an event."""
    return b"data: %b\nid: %b\n\n" % (event.canonical(), event.cursor.encode())


async def read_until_ready(reader):
    """The chunks of a replay, `ready` included."""
    chunks = []
    while not chunks or b"event: ready\n" not in chunks[-1]:
        chunks.append(await read_chunk(reader))
    return chunks


# The encoder


def test_an_event_is_a_data_line_an_id_and_a_blank_line():
    """No `event:` field, so that `onmessage` gets it; the id comes last, because some clients keep that of a cut frame."""
    assert SseWire().event(EVENT) == b"data: " + CANONICAL + b"\nid: 7.111111\n\n"


def test_the_dialect_changes_the_data_and_nothing_else():
    """Surfaces show events in their own envelope; ids stay."""
    assert SseWire(envelope=lambda event: b"{}").event(EVENT) == b"data: {}\nid: 7.111111\n\n"


@pytest.mark.parametrize(
    ("name", "fields", "retry", "expected"),
    [
        pytest.param(
            "ready",
            {"head_seq": 7, "cursor": "7.111111"},
            None,
            b'event: ready\ndata: {"head_seq":7,"cursor":"7.111111"}\nid: 7.111111\n\n',
            id="ready, with the id of the head",
        ),
        pytest.param(
            "end",
            {"reason": "shutdown", "last_seq": 7},
            2500,
            b'retry: 2500\nevent: end\ndata: {"reason":"shutdown","last_seq":7}\n\n',
            id="end with a reconnect hint",
        ),
        pytest.param("rotate", {"next_since_seq": 7}, None, b'event: rotate\ndata: {"next_since_seq":7}\n\n', id="rotate"),
        pytest.param("reset", {}, None, b"event: reset\ndata: {}\n\n", id="no fields"),
    ],
)
def test_a_control_frame_has_a_name_and_only_ready_an_id(name, fields, retry, expected):
    """The others must not move the browser's Last-Event-ID; without that of `ready` one that was cut early would begin anew."""
    assert SseWire().control(name, fields, retry) == expected


def test_a_keepalive_is_a_comment_with_one_newline():
    """A blank line after a comment makes phantom messages in several clients."""
    assert SseWire().keepalive(AT_2026) == b": keepalive\n"
    assert SseWire(keepalive_comment="heartbeat").keepalive(AT_2026) == b": heartbeat\n"


def test_a_keepalive_is_a_named_event_without_an_id_on_request():
    """For clients that cannot see comments."""
    expected = b'event: keepalive\ndata: {"timestamp":"2026-01-01T00:00:00.000Z"}\n\n'
    assert SseWire(keepalive_comment=None).keepalive(AT_2026) == expected


def test_the_retry_line_belongs_to_the_block_that_follows():
    """A block of its own would have no data line."""
    assert SseWire().first(2000) == b"retry: 2000\n"


@pytest.mark.parametrize(
    ("data", "framed"),
    [
        pytest.param(b"abc", b"3\r\nabc\r\n", id="realistic"),
        pytest.param(b"x" * 16, b"10\r\n" + b"x" * 16 + b"\r\n", id="edge: hexadecimal size"),
        pytest.param("场地".encode(), b"6\r\n" + "场地".encode() + b"\r\n", id="edge: bytes, not characters"),
    ],
)
def test_a_chunk_is_its_size_in_hexadecimal_and_the_bytes(data, framed):
    """RFC 9112, section 7.1."""
    assert chunk(data) == framed
    assert SseWire(is_chunked=True).wrap(data) == framed
    assert SseWire(is_chunked=False).wrap(data) == data


# On the wire


async def test_a_replay_and_its_live_continuation_byte_for_byte(client):
    """Headers; then the replay with the retry line in its first block; then `ready`; then one chunk per live write."""
    receipts = await publish(client, 2)
    log = client.app[LOG]
    first, second = [await log.get(seq=receipt["seq"]) for receipt in receipts]
    async with raw_connection(client, get_stream()) as (reader, _):
        status, _ = await read_head(reader)
        assert status == 200
        retry, _, replay = (await read_chunk(reader)).partition(b"\n")
        assert re.fullmatch(rb"retry: [1-3]\d{3}", retry)
        assert replay == block(first) + block(second)
        ready = {"head_seq": 2, "cursor": second.cursor, "epoch": log.epoch, "replayed": 2, "keepalive_seconds": 60.0}
        data = json.dumps(ready, separators=(",", ":"))
        assert await read_chunk(reader) == f"event: ready\ndata: {data}\nid: {second.cursor}\n\n".encode()
        await publish(client, 1)
        assert await read_chunk(reader) == block(await log.get(seq=3))


async def test_the_retry_line_rides_on_ready_when_nothing_is_replayed(client):
    """Whatever the first block is, it carries the reconnect hint."""
    async with raw_connection(client, get_stream("stream=task:a&allow_pending=1")) as (reader, _):
        await read_head(reader)
        first = await read_chunk(reader)
        assert re.match(rb'retry: \d{4}\nevent: ready\ndata: \{"head_seq":0,', first)
        assert first.endswith(b"}\nid: 0\n\n")


async def test_each_connection_gets_a_retry_time_of_its_own(client):
    """Between half and one and a half of [stream] retry_milliseconds: readers that a restart cut do not come back at once."""
    given = set()
    for _ in range(8):
        async with client.get("/api/events/stream?stream=task:a&allow_pending=1") as response:
            given.add((await read_frames(response, 1))[0].retry)
    assert len(given) > 2
    assert all(1000 <= milliseconds <= 3000 for milliseconds in given)


async def test_the_retry_line_rides_on_reset_when_the_cursor_is_lost(client):
    """`reset` comes before the events it announces."""
    await publish(client, 1)
    async with raw_connection(client, get_stream("stream=task:a&since_seq=99")) as (reader, _):
        await read_head(reader)
        first = await read_chunk(reader)
        assert re.match(rb'retry: \d{4}\nevent: reset\ndata: \{"reason":"past_head","requested":99,"oldest_seq":1,', first)
        assert re.search(rb"\nid: 1\.[1-9]{6}\n\n$", await read_chunk(reader))


async def test_several_events_of_one_request_share_one_write(client):
    """One dispatch is one chunk, whole events only."""
    async with raw_connection(client, get_stream("stream=task:a&allow_pending=1")) as (reader, _):
        await read_head(reader)
        await read_until_ready(reader)
        await publish(client, 3)
        shared = await read_chunk(reader)
        assert re.findall(rb"^id: (\d+)\.[1-9]{6}$", shared, re.M) == [b"1", b"2", b"3"]
        assert shared.endswith(b"\n\n")


async def test_the_end_of_a_stream_is_a_block_and_the_last_chunk(client):
    """The terminal event, `end`, then a clean end of the body, so that the client knows it has everything."""
    await publish(client, 1, stream="demand:d-1")
    await client.post("/api/events", json=body("demand:d-1", event_type="towow.negotiation.failed"))
    async with raw_connection(client, get_stream("stream=demand:d-1")) as (reader, _):
        await read_head(reader)
        assert re.findall(rb"^id: (\d+)\.", await read_chunk(reader), re.M) == [b"1", b"2"]
        assert await read_chunk(reader) == b'event: end\ndata: {"reason":"towow.negotiation.failed","last_seq":2}\n\n'
        assert await read_chunk(reader) == b""


async def test_every_block_has_a_data_line_and_no_forbidden_name(aiohttp_client, config):
    """Blocks with only an id or a retry make phantom messages; `error`, `open` and `message` are EventSource's own."""
    client = await aiohttp_client(make_app(changed(config, "stream", max_events_per_stream=4)))
    await publish(client, 3)
    async with raw_connection(client, get_stream("stream=task:a&since_seq=50&keepalive=event")) as (reader, _):
        await read_head(reader)
        received = b"".join(await read_until_ready(reader))
        received += await read_chunk(reader)  # a keepalive
        await publish(client, 1)
        while piece := await read_chunk(reader):
            received += piece
    blocks = received.decode().removesuffix("\n\n").split("\n\n")
    names = [re.search(r"^event: (.*)$", part, re.M) for part in blocks]
    assert {name[1] for name in names if name} == {"reset", "ready", "keepalive", "rotate"}
    for part, name in zip(blocks, names, strict=True):
        assert len(re.findall(r"^data: \{.*\}$", part, re.M)) == 1, part
        has_id = name is None or name[1] == "ready"
        assert re.fullmatch(r"(retry: \d+\n)?(event: [a-z]+\n)?data: \{.*\}" + r"\nid: \d+\.[1-9]{6}" * has_id, part), part
    assert [("retry" in part) for part in blocks] == [True] + [False] * (len(blocks) - 1)


async def test_a_comment_keepalive_is_one_line_in_a_chunk_of_its_own(aiohttp_client, config):
    """`: keepalive` and ONE newline, after a block that is complete."""
    client = await aiohttp_client(make_app(config))
    async with raw_connection(client, get_stream("stream=task:a&allow_pending=1")) as (reader, _):
        await read_head(reader)
        assert (await read_chunk(reader)).endswith(b"\n\n")
        assert await read_chunk(reader) == b": keepalive\n"
        assert await read_chunk(reader) == b": keepalive\n"


async def test_a_named_keepalive_says_the_time_and_has_no_id(aiohttp_client, config):
    """`keepalive=event` makes them visible to EventSource without moving its cursor."""
    client = await aiohttp_client(make_app(config, clock=lambda: AT_2026))
    async with raw_connection(client, get_stream("stream=task:a&allow_pending=1&keepalive=event")) as (reader, _):
        await read_head(reader)
        await read_chunk(reader)
        assert await read_chunk(reader) == b'event: keepalive\ndata: {"timestamp":"2026-01-01T00:00:00.000Z"}\n\n'


async def test_a_demands_keepalive_is_source_000s_heartbeat(aiohttp_client, config):
    """`: heartbeat`, as its clients know it."""
    client = await aiohttp_client(make_app(config))
    await publish(client, 1, stream="demand:d-1")
    async with raw_connection(client, request_bytes("GET", "/api/events/stream/d-1")) as (reader, _):
        await read_head(reader)
        await read_until_ready(reader)
        assert await read_chunk(reader) == b": heartbeat\n"


UNSAFE = 'line\nreturn\rpair\r\nseparators\u2028\u2029next\u0085delete\x7fescape\x1b[0mNUL\x00tab\tquote"slash\\C1\x9b'


async def test_what_could_end_a_line_is_escaped_in_payloads(client):
    """No CR, no raw control character, no U+2028, U+2029 or U+0085 anywhere in a body; the text comes back unchanged."""
    await client.post("/api/events", json=body() | {"payload": {"text": UNSAFE, UNSAFE: [UNSAFE], "场地": "🎉"}})
    async with raw_connection(client, get_stream()) as (reader, _):
        await read_head(reader)
        text = b"".join(await read_until_ready(reader)).decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)
    assert "\\u2028\\u2029next\\u0085delete\\u007fescape\\u001b[0m" in text
    assert "场地" in text
    assert not text.startswith("\ufeff")
    event = json.loads(re.search(r"^data: (.*)\nid: 1\.[1-9]{6}$", text, re.M)[1])
    assert event["payload"] == {"text": UNSAFE, UNSAFE: [UNSAFE], "场地": "🎉"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 250_000, id="ASCII"),
        pytest.param("场" * 80_000, id="Chinese"),
        pytest.param("\u2028" * 40_000, id="what grows when it is escaped"),
    ],
)
async def test_an_event_of_250_kb_is_one_line_below_512_kib(client, text):
    """Clients with a line limit of 512 KiB can read every event that may be stored."""
    answer = await client.post("/api/events", json=body() | {"payload": {"text": text}})
    assert answer.status == 201
    async with raw_connection(client, get_stream()) as (reader, _):
        await read_head(reader)
        received = b"".join(await read_until_ready(reader))
    [line] = re.findall(rb"^data: (.*\"text\".*)$", received, re.M)
    assert 240_000 < len(line) < 512 * 1024
    assert json.loads(line)["payload"]["text"] == text


async def test_the_headers_of_a_stream(client):
    """Not cached, not buffered, not transformed, without a length, with the headers that every answer has."""
    async with raw_connection(client, get_stream("stream=task:a&allow_pending=1", X_Request_Id="req-1")) as (reader, _):
        status, headers = await read_head(reader)
    assert status == 200
    date = headers.pop("date")
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "transfer-encoding": "chunked",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "server": "towow",
        "x-request-id": "req-1",
        "x-towow-seq": "0",
    }


async def test_a_client_of_http_1_0_gets_the_stream_unchunked_and_closed_at_the_end(client):
    """It knows no chunks: the blocks stand for themselves, and the end is the end of the connection."""
    await publish(client, 1, stream="demand:d-1")
    await client.post("/api/events", json=body("demand:d-1", event_type="towow.proposal.finalized"))
    async with raw_connection(client, get_stream("stream=demand:d-1", version="1.0")) as (reader, _):
        status, headers = await read_head(reader)
        assert status == 200
        assert not headers.keys() & {"transfer-encoding", "content-length"}
        assert headers.get("connection", "close") == "close"
        text = (await reader.read()).decode()
    assert re.findall(r"^id: (\d+)\.", text, re.M) == ["1", "2"]
    assert re.match(r"retry: \d{4}\ndata: \{", text)
    assert text.endswith('event: end\ndata: {"reason":"towow.proposal.finalized","last_seq":2}\n\n')


async def test_a_live_client_of_http_1_0_gets_plain_blocks(client):
    """Also what the hub writes is unchunked for it, while others on the same stream get chunks."""
    query = "stream=task:a&allow_pending=1"
    async with (
        raw_connection(client, get_stream(query, version="1.0")) as (old, _),
        raw_connection(client, get_stream(query)) as (new, _),
    ):
        await read_head(old)
        await read_head(new)
        await until(lambda: client.app[LOG].hub.follower_count == 2)
        await old.readuntil(b"\n\n")
        await read_until_ready(new)
        (receipt,) = await client.app[LOG].append([note()])
        assert await old.readuntil(b"\n\n") == await read_chunk(new) == block(receipt.event)
