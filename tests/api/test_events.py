"""The generic API: what is appended comes back, and bad input is refused with a reason and leaves nothing behind."""

import asyncio
import json

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.app import LOG, make_app
from server.config import Config, DatabaseSection, DemandsSection, KindRetention, PollSection, RetentionSection
from server.eventlog.database import sqlite3
from server.eventlog.retention import trim
from tests.support import assert_error, body, changed, publish, raw_connection, read_frames, read_head, request_bytes, until

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
LONG_ID = "x" * 128


def one(**changes):
    """The JSON text of an event with some fields changed; None takes a field away."""
    return json.dumps({name: value for name, value in (body() | changes).items() if value is not None}).encode()


def stored(config):
    """What another reader of the file sees: seq, stream, revision, event_id, payload."""
    db = sqlite3.connect(config.database.path)
    try:
        return db.execute("SELECT seq, stream, revision, event_id, payload FROM events ORDER BY seq").fetchall()
    finally:
        db.close()


async def page_of(client, query=""):
    """A page, decoded."""
    answer = await client.get(f"/api/events?{query}")
    assert answer.status == 200, await answer.text()
    return await answer.json()


# Publishing


async def test_one_event_is_on_disk_when_it_is_answered(client, quiet_config):
    """201 with its place; another connection reads it at once."""
    answer = await client.post("/api/events", json=body(event_id="evt-1", source="bob"))
    assert answer.status == 201
    assert await answer.json() == {"seq": 1, "revision": 1, "event_id": "evt-1", "followers": 0}
    assert stored(quiet_config) == [(1, "task:a", 1, "evt-1", '{"n":0}')]
    event = await (await client.get("/api/events/1")).json()
    assert list(event) == ["seq", "stream", "revision", "event_id", "event_type", "timestamp", "source", "payload"]
    assert (event["event_type"], event["source"], event["payload"]) == ("note", "bob", {"n": 0})


async def test_what_is_left_out_has_its_default(client):
    """An event_id is derived from epoch and seq, the source is unknown, any revision is taken."""
    receipt = await (await client.post("/api/events", data=one(), headers=JSON)).json()
    event = await (await client.get(f"/api/events/{receipt['event_id']}")).json()
    epoch = (await (await client.get("/health")).json())["epoch"]
    assert event["event_id"] == receipt["event_id"] == f"evt-{epoch}-1"
    assert event["source"] == "unknown"


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(lambda events: json.dumps({"events": events}, separators=(",", ":")), id="compact"),
        pytest.param(lambda events: json.dumps({"events": events}), id="with blanks"),
        pytest.param(lambda events: json.dumps({"events": events}, indent=2), id="pretty"),
        pytest.param(lambda events: '\n\t{ \r\n "events" : ' + json.dumps(events) + " }\n", id="oddly spaced"),
    ],
)
async def test_many_events_in_one_request_keep_their_order(client, layout):
    """`{"events": […]}`, however it is laid out; a receipt for each, revisions by stream."""
    events = [body(stream, n) for n, stream in enumerate(("task:a", "task:b", "task:a"))]
    answer = await client.post("/api/events", data=layout(events), headers=JSON)
    assert answer.status == 201, await answer.text()
    receipts = (await answer.json())["events"]
    assert [(receipt["seq"], receipt["revision"]) for receipt in receipts] == [(1, 1), (2, 1), (3, 2)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"%b\n%b\n", id="realistic"),
        pytest.param(b"%b\n%b", id="edge: no newline at the end"),
        pytest.param(b"\n%b\r\n\r\n  \n%b\n\n", id="edge: empty lines and CRLF"),
    ],
)
async def test_ndjson_is_one_event_per_line(client, text):
    """For programs that write lines; the answer is that of many."""
    answer = await client.post("/api/events", data=text % (one(), one(event_type="other")), headers=NDJSON)
    assert answer.status == 201
    assert [receipt["seq"] for receipt in (await answer.json())["events"]] == [1, 2]
    assert [event["event_type"] for event in (await page_of(client))["events"]] == ["note", "other"]


async def test_a_request_is_stored_all_or_none(client, quiet_config):
    """One bad event, wherever it stands and whatever is wrong with it, and nothing of the request is stored."""
    await client.post("/api/events", json=body(event_id="evt-taken"))
    good = [body(n=n, event_id=f"evt-{n}") for n in range(3)]
    bad = [
        body() | {"payload": []},
        body("nowhere"),
        body(event_id="evt-taken", n=9),
        body(expected_revision=7),
        body(event_type=""),
    ]
    for wrong in bad:
        for position in range(4):
            events = [*good[:position], wrong, *good[position:]]
            assert (await client.post("/api/events", json={"events": events})).status in (409, 412, 422)
            lines = b"\n".join(json.dumps(event).encode() for event in events)
            assert (await client.post("/api/events", data=lines, headers=NDJSON)).status in (409, 412, 422)
    assert len(stored(quiet_config)) == 1


async def test_the_same_event_again_is_200_with_the_first_place(client, quiet_config):
    """Retrying after a lost answer is safe; it is the content that counts, not the spelling of the JSON."""
    first = await (await client.post("/api/events", json=body(event_id="evt-1"))).json()
    for again in (
        one(event_id="evt-1"),
        json.dumps(body(event_id="evt-1"), indent=2).encode(),
        one(event_id="evt-1", expected_revision=0),
    ):
        answer = await client.post("/api/events", data=again, headers=JSON)
        assert answer.status == 200
        assert await answer.json() == first
    answer = await client.post("/api/events", json={"events": [body(event_id="evt-1"), body(event_id="evt-2")]})
    assert answer.status == 201
    assert [receipt["seq"] for receipt in (await answer.json())["events"]] == [1, 2]
    assert (await client.post("/api/events", json={"events": [body(event_id="evt-1"), body(event_id="evt-2")]})).status == 200
    assert len(stored(quiet_config)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"payload": {"n": 1}}, id="payload"),
        pytest.param({"event_type": "other"}, id="type"),
        pytest.param({"source": "somebody"}, id="source"),
    ],
)
async def test_an_event_id_with_other_content_is_409(client, quiet_config, changes):
    """The error says where it was used first."""
    await client.post("/api/events", json=body(event_id="evt-1"))
    answer = await client.post("/api/events", data=one(event_id="evt-1", **changes), headers=JSON)
    error = await assert_error(answer, "conflict", status=409, field="event_id")
    assert error["seq"] == 1
    assert len(stored(quiet_config)) == 1


async def test_a_wrong_expected_revision_is_412_with_both(client):
    """The publisher learns what it did not know."""
    await publish(client, 2)
    answer = await client.post("/api/events", json=body(expected_revision=1))
    error = await assert_error(answer, "revision_mismatch", status=412, field="expected_revision")
    assert (error["expected"], error["actual"]) == (1, 2)
    assert (await client.post("/api/events", json=body(expected_revision=2))).status == 201
    answer = await client.post("/api/events", json=body("task:new", expected_revision=1))
    assert (await assert_error(answer, "revision_mismatch"))["actual"] == 0
    assert (await client.post("/api/events", json=body("task:new", expected_revision=0))).status == 201


async def test_of_many_publishers_at_one_revision_one_wins(client):
    """Optimistic concurrency: exactly one gets through, the others are told."""
    answers = await asyncio.gather(*(client.post("/api/events", json=body(n=n, expected_revision=0)) for n in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [412] * 7


async def test_an_ended_stream_takes_nothing_more(client):
    """409 with a code of its own; other streams go on, and the end itself may be repeated."""
    end = body("demand:d-1", event_type="towow.negotiation.failed", event_id="evt-end")
    assert (await client.post("/api/events", json=end)).status == 201
    await assert_error(await client.post("/api/events", json=body("demand:d-1")), "stream_ended", status=409, field="stream")
    assert (await client.post("/api/events", json=end)).status == 200
    assert (await client.post("/api/events", json=body("demand:d-2"))).status == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": {"text": "需要一个能容纳 50 人的场地", "emoji": "🎉", "nested": {"a": [1, 2.5, None, True]}}},
        pytest.param({"payload": {}}, id="edge: empty payload"),
        pytest.param({"payload": {"": ""}}, id="edge: empty key"),
        pytest.param({"payload": {"n": [2**63 - 1, -(2**63), 2**64 - 1, 1e308, 5e-324, -0.0]}}, id="edge: numbers"),
        pytest.param({"payload": {"a": "\x00\x1f\x7f\u2028\ud83c\udf89"}}, id="edge: what is escaped"),
        pytest.param({"payload": {"a": "null", "b": "000000000000000000000"}}, id="edge: texts that look suspicious"),
        {"stream": "t:" + "x" * 126, "event_type": LONG_ID, "event_id": LONG_ID, "source": "s" * 256},
        pytest.param({"stream": "t:x", "event_type": "x", "event_id": "x", "source": "x"}, id="edge: shortest names"),
        pytest.param({"stream": "task:a:b.c_d-e"}, id="edge: every character of a name"),
        pytest.param({"source": "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"}, id="edge: every character of a source"),
        pytest.param({"expected_revision": 0}, id="edge: a stream that must not exist"),
    ],
)
async def test_what_is_published_comes_back_unchanged(client, changes):
    """In its page, by itself and on its stream."""
    answer = await client.post("/api/events", data=one(**changes), headers=JSON)
    assert answer.status == 201, await answer.text()
    sent = json.loads(one(**changes))
    sent.pop("expected_revision", None)
    [event] = (await page_of(client))["events"]
    assert sent.items() <= event.items()
    assert await (await client.get("/api/events/1")).json() == event
    async with client.get(f"/api/events/stream?stream={event['stream']}") as response:
        assert (await read_frames(response, 1))[0].data == event


def nested(levels, opening="[", closing="]"):
    """An event whose payload is nested so deep, the payload itself included."""
    inside = opening * (levels - 1) + ("1" if opening == "[" else "") + closing * (levels - 1)
    return b'{"stream":"task:a","event_type":"note","payload":{"a":' + inside.encode() + b"}}"


async def test_nesting_has_a_limit_of_64(client, quiet_config):
    """The payload itself is the first level."""
    assert (await client.post("/api/events", data=nested(64), headers=JSON)).status == 201
    answer = await client.post("/api/events", data=nested(65), headers=JSON)
    error = await assert_error(answer, "invalid_body", status=422, field="payload")
    assert error["limit"] == 64
    assert len(stored(quiet_config)) == 1


# Bad input


SYNTAX = [
    pytest.param(b"", id="empty"),
    pytest.param(b" ", id="blank"),
    pytest.param(b"{", id="cut short"),
    pytest.param(b'{"stream":"task:a"', id="cut in the middle"),
    pytest.param(one() + b"x", id="something behind"),
    pytest.param(one() + one(), id="two without a line between"),
    pytest.param(one().replace(b'"', b"'"), id="single quotes"),
    pytest.param(one()[:-1] + b",}", id="a comma too much"),
    pytest.param(b"\xef\xbb\xbf" + one(), id="a byte order mark"),
    pytest.param(one().decode().encode("utf-16"), id="UTF-16"),
    pytest.param(one(payload={"a": "x"}).replace(b"x", b"\xff"), id="invalid UTF-8"),
    pytest.param(one(payload={"a": "x"}).replace(b"x", b"\xed\xa0\x80"), id="a surrogate in UTF-8"),
    pytest.param(one(payload={"a": "x"}).replace(b"x", b"\xc0\xaf"), id="an overlong form"),
    pytest.param(one(payload={"a": "x"}).replace(b"x", b"\\ud800"), id="a lone surrogate"),
    pytest.param(one(payload={"x": 1}).replace(b'"x"', b'"\\udfff"'), id="a lone surrogate in a key"),
    pytest.param(one(payload={"a": "x"}).replace(b"x", b"a\nb"), id="a raw newline in a text"),
    pytest.param(one(payload={"a": "x"}).replace(b"x", b"a\x00b"), id="a raw NUL in a text"),
    pytest.param(one(payload={"a": 1}).replace(b"1", b"NaN"), id="NaN"),
    pytest.param(one(payload={"a": 1}).replace(b"1", b"-Infinity"), id="infinity"),
    pytest.param(one(payload={"a": 1}).replace(b"1", b"0x10"), id="a hexadecimal number"),
    pytest.param(one(payload={"a": 1}).replace(b"1", b"01"), id="a leading zero"),
    pytest.param(one(payload={"a": 1}).replace(b"1", "٣".encode()), id="a digit of another script"),
    pytest.param(one(payload={"a": 1}).replace(b"1", b"1_0"), id="an underscore in a number"),
    pytest.param(nested(3_000), id="3,000 lists"),
    pytest.param(nested(3_000, '{"a":', "}").replace(b'{"a":}', b"{}"), id="3,000 objects"),
    pytest.param(nested(400_000), id="400,000 lists"),
    pytest.param(nested(400_000)[:300_000], id="lists that are never closed"),
]


@pytest.mark.parametrize("raw", SYNTAX)
async def test_what_is_not_json_is_refused_and_nothing_is_stored(client, quiet_config, raw):
    """400 for syntax, alone or among others; the server goes on."""
    for frame in (b"%b", b'{"events":[' + one() + b",%b]}"):
        answer = await client.post("/api/events", data=frame % raw, headers=JSON)
        await assert_error(answer, "invalid_request", status=400, field="body")
    assert stored(quiet_config) == []
    assert (await client.post("/api/events", json=body())).status == 201


SHAPE = [
    pytest.param(b"null", "body", id="null"),
    pytest.param(b"[]", "body", id="a list"),
    pytest.param(b'"text"', "body", id="a text"),
    pytest.param(b"7", "body", id="a number"),
    pytest.param(b"{}", "stream", id="an empty object"),
    pytest.param(one(stream=None), "stream", id="no stream"),
    pytest.param(one(event_type=None), "event_type", id="no type"),
    pytest.param(one(payload=None), "payload", id="no payload"),
    pytest.param(one(stream=7), "stream", id="a number for a stream"),
    pytest.param(one(event_type=["a"]), "event_type", id="a list for a type"),
    pytest.param(one(payload=[]), "payload", id="a list for a payload"),
    pytest.param(one(payload="{}"), "payload", id="a text for a payload"),
    pytest.param(one(event_id=7), "event_id", id="a number for an event_id"),
    pytest.param(one(source={}), "source", id="an object for a source"),
    pytest.param(one(expected_revision="1"), "expected_revision", id="a text for a revision"),
    pytest.param(one(expected_revision=1.0), "expected_revision", id="a fraction for a revision"),
    pytest.param(one(expected_revision=True), "expected_revision", id="a truth for a revision"),
    pytest.param(one(expected_revision=-1), "expected_revision", id="a negative revision"),
    pytest.param(one(expected_revision=2**63), "expected_revision", id="a huge revision"),
    pytest.param(one(unknown=1), "unknown", id="an unknown field"),
    pytest.param(one(seq=1), "seq", id="a seq, which the log gives"),
    pytest.param(one(timestamp="2026-01-01T00:00:00.000Z"), "timestamp", id="a timestamp, which the log gives"),
    pytest.param(one(Stream="task:a"), "Stream", id="a field in other case"),
    (one(payload={"a": 1}).replace(b"1", b"123456789012345678901234567890"), "payload.a"),
    pytest.param(one(payload={"a": 1}).replace(b"1", b"-9223372036854775809"), "payload.a", id="an integer just over"),
]


@pytest.mark.parametrize(("raw", "field"), SHAPE)
async def test_json_of_the_wrong_shape_is_refused_with_the_field(client, quiet_config, raw, field):
    """422, nothing stored."""
    await assert_error(await client.post("/api/events", data=raw, headers=JSON), "invalid_body", status=422, field=field)
    assert stored(quiet_config) == []


async def test_an_error_does_not_send_the_input_back(client):
    """A name of 100 kB that nobody knows is not quoted in full."""
    answer = await client.post("/api/events", data=one(**{"x" * 100_000: 1}), headers=JSON)
    await assert_error(answer, "invalid_body", status=422)
    assert len(await answer.read()) < 2_000


@pytest.mark.parametrize("number", ["1" * 5_000, "1e999", "-1e400", "9" * 400 + ".5"])
async def test_numbers_that_no_reader_could_take_are_refused(client, quiet_config, number):
    """Not turned into infinity, not stored."""
    raw = one(payload={"a": 1}).replace(b"1", number.encode())
    await assert_error(await client.post("/api/events", data=raw, headers=JSON), "invalid_body", status=422)
    assert stored(quiet_config) == []


NAMES = [
    pytest.param("", id="empty"),
    pytest.param(" ", id="blank"),
    pytest.param("a b", id="with a blank"),
    pytest.param("a\nb", id="newline"),
    pytest.param("a\n", id="newline at the end"),
    pytest.param("a\r", id="carriage return"),
    pytest.param("a\x00b", id="NUL"),
    pytest.param("a\u2028b", id="line separator"),
    pytest.param("场地", id="Chinese"),
    pytest.param("é", id="accent"),
    pytest.param("٣", id="a digit of another script"),
    pytest.param('a"b', id="quote"),
    pytest.param("a\\b", id="backslash"),
    pytest.param("a/b", id="slash"),
    pytest.param("a*", id="star"),
    pytest.param("x" * 129, id="too long"),
    pytest.param("x" * 100_000, id="much too long"),
]


@pytest.mark.parametrize("name", NAMES)
async def test_bad_names_are_refused(client, quiet_config, name):
    """Names go unescaped into ids, lines and logs, so their characters are limited where they enter."""
    for field, given_name in (("stream", f"task:{name}"), ("event_type", name), ("event_id", name)):
        answer = await client.post("/api/events", data=one(**{field: given_name}), headers=JSON)
        await assert_error(answer, "invalid_body", status=422, field=field)
    assert stored(quiet_config) == []


@pytest.mark.parametrize(
    ("field", "name"),
    [
        pytest.param("stream", "task", id="a stream without a kind"),
        pytest.param("stream", ":a", id="a stream with an empty kind"),
        pytest.param("stream", "Task:a", id="a kind in capitals"),
        pytest.param("stream", "*", id="everything"),
        pytest.param("stream", "task:*", id="a pattern"),
        pytest.param("stream", "t" * 33 + ":a", id="a kind that is too long"),
        pytest.param("event_id", "123", id="an event_id of digits alone, which would be a seq"),
        pytest.param("source", "a b", id="a source with a blank"),
        pytest.param("source", 'a"b', id="a source with a quote"),
        pytest.param("source", "a\nb", id="a source with a newline"),
        pytest.param("source", "代理", id="a Chinese source"),
        pytest.param("source", "", id="an empty source"),
        pytest.param("source", "x" * 257, id="a source that is too long"),
    ],
)
async def test_names_that_would_be_ambiguous_are_refused(client, quiet_config, field, name):
    """A name must mean one thing wherever it is used."""
    answer = await client.post("/api/events", data=one(**{field: name}), headers=JSON)
    await assert_error(answer, "invalid_body", status=422, field=field)
    assert stored(quiet_config) == []


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        pytest.param(b'{"events":[]}', JSON, id="an empty list"),
        pytest.param(b"", NDJSON, id="no line"),
        pytest.param(b"\n \n\r\n", NDJSON, id="empty lines"),
    ],
)
async def test_a_request_without_events_is_refused(client, raw, headers):
    """A publisher that sends nothing has a mistake."""
    await assert_error(await client.post("/api/events", data=raw, headers=headers), "invalid_body", status=422, field="events")


@pytest.mark.parametrize(
    "raw", [b'{"events":{}}', b'{"events":null}', b'{"events":[1]}', b'{"events":[],"x":1}', b'{"events":[[]]}']
)
async def test_a_list_of_events_must_be_one(client, raw):
    """422, whatever stands in its place."""
    await assert_error(await client.post("/api/events", data=raw, headers=JSON), "invalid_body", status=422)


async def test_a_bad_line_is_named_by_its_number(client, quiet_config):
    """Counted from 1, empty lines included."""
    answer = await client.post("/api/events", data=one() + b"\n\n{\n", headers=NDJSON)
    await assert_error(answer, "invalid_request", status=400, field="line 3")
    assert stored(quiet_config) == []


async def test_too_many_events_are_refused_with_the_limit(aiohttp_client, quiet_config):
    """In every form of many."""
    client = await aiohttp_client(make_app(changed(quiet_config, "append", max_events_per_request=3)))
    await publish(client, 3)
    four = [body(n=n) for n in range(4)]
    for data, headers in ((json.dumps({"events": four}), JSON), (b"\n".join([one()] * 4), NDJSON)):
        error = await assert_error(await client.post("/api/events", data=data, headers=headers), "too_large", status=413)
        assert error["limit"] == 3
    assert len(stored(quiet_config)) == 3


@pytest.mark.parametrize("text", ["x", "场", "\u2028"], ids=["one byte", "three bytes", "six when escaped"])
async def test_an_event_over_its_limit_is_413(aiohttp_client, quiet_config, text):
    """Counted in bytes of what is stored; just below is taken."""
    limit = 1_000
    client = await aiohttp_client(make_app(changed(quiet_config, "append", max_event_bytes=limit)))
    size = len(msgspec.json.encode(text)) - 2 if text != "\u2028" else 6
    fits = (limit - len('{"a":""}')) // size
    assert (await client.post("/api/events", data=one(payload={"a": text * fits}), headers=JSON)).status == 201
    answer = await client.post("/api/events", data=one(payload={"a": text * (fits + 1)}), headers=JSON)
    error = await assert_error(answer, "too_large", status=413, field="payload")
    assert error["limit"] == limit
    [row] = stored(quiet_config)
    assert len(row[4].encode()) <= limit


# Bodies


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(client):
    """413 by Content-Length, while nothing of it has come."""
    request = request_bytes("POST", "/api/events", Content_Type="application/json", Content_Length=5_000_000)
    async with raw_connection(client, request) as (reader, _):
        status, headers = await read_head(reader)
        answer = json.loads(await reader.readexactly(int(headers["content-length"])))
    assert status == 413
    assert answer["error"]["limit"] == 4_194_304


async def test_a_chunked_body_over_the_limit_is_413(aiohttp_client, quiet_config):
    """Without a length it is counted as it comes; just below the limit is read."""
    client = await aiohttp_client(make_app(changed(quiet_config, "append", max_body_bytes=10_000)))

    async def pieces(size):
        raw = one(payload={"a": "x" * size})
        for start in range(0, len(raw), 1_000):
            yield raw[start : start + 1_000]
            await asyncio.sleep(0)

    assert (await client.post("/api/events", data=pieces(9_000), headers=JSON)).status == 201
    answer = await client.post("/api/events", data=pieces(20_000), headers=JSON)
    await assert_error(answer, "too_large", status=413, field="body")
    assert len(stored(quiet_config)) == 1


async def test_a_body_that_does_not_come_is_408(aiohttp_client, quiet_config):
    """Half a body is not an event, however long one waits."""
    client = await aiohttp_client(make_app(changed(quiet_config, "server", body_timeout_seconds=0.05)))
    raw = one()
    for piece in (b"", raw[:20]):
        head = request_bytes("POST", "/api/events", Content_Type="application/json", Content_Length=len(raw))
        async with raw_connection(client, head + piece) as (reader, _):
            status, headers = await read_head(reader)
            answer = json.loads(await reader.readexactly(int(headers["content-length"])))
        assert status == 408
        assert answer["error"]["code"] == "request_timeout"
    assert stored(quiet_config) == []


async def test_a_publisher_that_leaves_in_the_middle_stores_nothing(client, quiet_config):
    """The connection breaks, the body is dropped."""
    head = request_bytes("POST", "/api/events", Content_Type="application/json", Content_Length=len(one()))
    async with raw_connection(client, head + one()[:20]) as (_, writer):
        await writer.drain()
    assert (await client.post("/api/events", json=body("task:b"))).status == 201
    assert [row[1] for row in stored(quiet_config)] == ["task:b"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-unknown", "gzip, identity", "GZIP"])
async def test_a_compressed_body_is_415(client, encoding):
    """A small body must not become a large one."""
    request = request_bytes(
        "POST", "/api/events", Content_Type="application/json", Content_Encoding=encoding, Content_Length=40
    )
    async with raw_connection(client, request) as (reader, _):
        status, headers = await read_head(reader)
        answer = json.loads(await reader.readexactly(int(headers["content-length"])))
    assert status == 415
    assert answer["error"]["field"] == "Content-Encoding"


@pytest.mark.parametrize("encoding", ["br", "zstd"])
async def test_a_compression_that_the_parser_lacks_is_refused_by_it(client, encoding, caplog):
    """Before the application sees the request; with the library installed it is our 415."""
    request = request_bytes("POST", "/api/events", body=one(), Content_Type="application/json", Content_Encoding=encoding)
    async with raw_connection(client, request) as (reader, _):
        assert (await read_head(reader))[0] in (400, 415)
    assert client.app[LOG].head_seq == 0
    caplog.clear()


@pytest.mark.parametrize(
    "given",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "",
        "json",
        "application/json5",
    ],
)
async def test_a_wrong_content_type_is_415(client, quiet_config, given):
    """What any web page could send without a preflight never reaches the log."""
    answer = await client.post("/api/events", data=one(), headers={"Content-Type": given})
    await assert_error(answer, "unsupported_media_type", status=415, field="Content-Type")
    assert stored(quiet_config) == []


@pytest.mark.parametrize(
    "given", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;charset=zz", "application/json;"]
)
async def test_parameters_of_a_content_type_do_not_matter(client, given):
    """JSON is UTF-8, whatever a charset says; one that Python does not know is no fault of ours."""
    assert (await client.post("/api/events", data=one(), headers={"Content-Type": given})).status == 201


# Reading


async def test_paging_through_everything_gives_every_event_once(client):
    """`next_since_seq` until `has_more` is false, for every limit; the last page is not empty."""
    for n in range(30):
        await publish(client, 1, stream=f"task:{'abc'[n % 3]}", start=n)
    for query, expected in (
        ("stream=*", list(range(1, 31))),
        ("stream=task:a", list(range(1, 31, 3))),
        ("stream=task:a&stream=task:c", [n for n in range(1, 31) if n % 3 != 2]),
        ("stream=task:*&type=note", list(range(1, 31))),
        ("type=nothing", []),
    ):
        for limit in (1, 2, 5, 7, 10, 30, 1000):
            cursor, got, pages = 0, [], 0
            while True:
                page = await page_of(client, f"{query}&since_seq={cursor}&limit={limit}")
                pages += 1
                got += [event["seq"] for event in page["events"]]
                cursor = page["next_since_seq"]
                assert page["head_seq"] == 30
                if not page["has_more"]:
                    break
            assert got == expected
            assert pages == max(1, -(-len(expected) // limit)), (query, limit)
            assert cursor == 30


async def test_a_page_that_is_cut_by_its_size_says_that_there_is_more(client, monkeypatch):
    """Large events end a page before its limit; nothing is left out for it."""
    monkeypatch.setattr("server.api.pagination._PAGE_BYTES", 2_000)
    events = [body(n=n) | {"payload": {"text": "x" * 700}} for n in range(10)]
    assert (await client.post("/api/events", json={"events": events})).status == 201
    cursor, got, sizes = 0, [], []
    while True:
        page = await page_of(client, f"since_seq={cursor}&limit=1000")
        got += [event["seq"] for event in page["events"]]
        sizes.append(len(page["events"]))
        cursor = page["next_since_seq"]
        if not page["has_more"]:
            break
    assert got == list(range(1, 11))
    assert max(sizes) < 5


async def test_a_page_without_a_cursor_is_the_newest_oldest_first(client):
    """What a list shows first; following from its end misses nothing."""
    await publish(client, 5)
    page = await page_of(client, "limit=2")
    assert [event["seq"] for event in page["events"]] == [4, 5]
    assert (page["has_more"], page["next_since_seq"], page["head_seq"]) == (False, 5, 5)
    assert page["epoch"] == client.app[LOG].epoch
    page = await page_of(client, "limit=2&start=beginning")
    assert [event["seq"] for event in page["events"]] == [1, 2]
    assert page["has_more"] is True


async def test_an_empty_log_has_an_empty_page(client):
    """Nothing is not an error."""
    epoch = client.app[LOG].epoch
    expected = {"events": [], "has_more": False, "next_since_seq": 0, "next_cursor": "0", "head_seq": 0, "epoch": epoch}
    assert await page_of(client) == expected
    assert await page_of(client, "since_seq=0") == expected


async def test_the_default_page_has_a_hundred_events(client):
    """And at most a thousand, when asked."""
    await publish(client, 120)
    assert len((await page_of(client))["events"]) == 100
    assert len((await page_of(client, "limit=1000"))["events"]) == 120


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1_0", "%D9%A3"])
async def test_a_limit_out_of_bounds_is_400(client, limit):
    """For events and for streams."""
    for path in ("/api/events", "/api/streams"):
        await assert_error(await client.get(f"{path}?limit={limit}"), "invalid_request", status=400, field="limit")


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "x", ""])
async def test_a_wait_out_of_bounds_is_400(client, wait):
    """A long poll has an end."""
    await assert_error(await client.get(f"/api/events?wait={wait}"), "invalid_request", status=400, field="wait")


async def test_the_end_of_an_ended_stream_is_said(client):
    """`ended` only where nothing can follow, and only for one stream."""
    await publish(client, 1, stream="demand:d-1")
    await client.post("/api/events", json=body("demand:d-1", event_type="towow.proposal.finalized"))
    assert "ended" not in await page_of(client, "stream=demand:d-1&since_seq=0")
    assert (await page_of(client, "stream=demand:d-1&since_seq=2"))["ended"] is True
    assert "ended" not in await page_of(client, "stream=demand:*&since_seq=2")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        pytest.param("since_seq=4", "past_head", id="one past the head"),
        pytest.param(f"since_seq={2**63 - 1}", "past_head", id="the largest seq"),
        pytest.param("last_event_id=evt-nobody", "unknown_event_id", id="an event id nobody knows"),
        pytest.param("since_seq=1&epoch=elsewhere", "other_epoch", id="another epoch"),
        pytest.param("last_event_id=evt-nobody&epoch=elsewhere", "other_epoch", id="the epoch is looked at first"),
    ],
)
async def test_a_cursor_that_is_not_in_this_log_is_410(client, query, reason):
    """With the fields of a reset, so that the client can begin again."""
    await publish(client, 3)
    error = await assert_error(await client.get(f"/api/events?stream=task:a&{query}"), "gone", status=410, field="cursor")
    assert (error["reason"], error["oldest_seq"], error["head_seq"]) == (reason, 1, 3)
    assert error["epoch"] == client.app[LOG].epoch


async def test_a_cursor_older_than_what_is_kept_is_410(aiohttp_client, quiet_config):
    """Retention removes; it never lets a gap pass in silence."""
    client = await aiohttp_client(make_app(quiet_config))
    await publish(client, 10)
    await trim(client.app[LOG], RetentionSection(kinds={"task": KindRetention(keep_last=3)}))
    error = await assert_error(await client.get("/api/events?stream=task:a&since_seq=2"), "gone", status=410)
    assert (error["reason"], error["oldest_seq"], error["head_seq"]) == ("trimmed", 8, 11)
    page = await page_of(client, f"stream=task:a&since_seq={error['oldest_seq'] - 1}")
    assert [event["seq"] for event in page["events"]] == [8, 9, 10]
    await assert_error(await client.get("/api/events/2"), "not_found", status=404)


async def test_one_event_is_found_by_seq_or_event_id(client):
    """404 when there is none, 400 when it cannot be one."""
    await client.post("/api/events", json=body(event_id="evt-1"))
    by_seq = await (await client.get("/api/events/1")).json()
    assert await (await client.get("/api/events/evt-1")).json() == by_seq
    for missing in ("2", "0", "evt-2", str(2**63 - 1)):
        await assert_error(await client.get(f"/api/events/{missing}"), "not_found", status=404, field="seq_or_event_id")
    for malformed in ("%20", "a%20b", "a%0Ab", "%D9%A3", str(2**63), "9" * 40, "x" * 129, "%ff", "%00"):
        await assert_error(await client.get(f"/api/events/{malformed}"), "invalid_request", status=400, field="seq_or_event_id")


async def test_streams_are_listed_by_name_in_pages(client):
    """Name, kind, place and whether it has ended; `after` is a name and exclusive."""
    for n, name in enumerate(("task:b", "demand:d-1", "task:a", "run:r", "task:b")):
        await publish(client, 1, stream=name, start=n)
    await client.post("/api/events", json=body("demand:d-1", event_type="towow.negotiation.failed"))
    listed = await (await client.get("/api/streams")).json()
    names = [stream["name"] for stream in listed["streams"]]
    assert names == ["demand:d-1", "run:r", "task:a", "task:b"]
    assert (listed["has_more"], listed["next_after"], listed["head_seq"]) == (False, "task:b", 6)
    first = listed["streams"][0]
    event = await (await client.get("/api/events/6")).json()
    assert first == {
        "name": "demand:d-1",
        "kind": "demand",
        "last_seq": 6,
        "revision": 2,
        "count": 2,
        "updated_at": event["timestamp"],
        "ended": True,
    }
    assert [stream["ended"] for stream in listed["streams"]] == [True, False, False, False]
    for limit in (1, 2, 3, 4, 5):
        after, got = "", []
        while True:
            page = await (await client.get(f"/api/streams?limit={limit}" + (f"&after={after}" if after else ""))).json()
            got += [stream["name"] for stream in page["streams"]]
            after = page["next_after"]
            if not page["has_more"]:
                break
        assert got == names
    tasks = await (await client.get("/api/streams?kind=task&after=task:a")).json()
    assert [stream["name"] for stream in tasks["streams"]] == ["task:b"]
    assert (await (await client.get("/api/streams?kind=nothing")).json())["streams"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("kind=", "kind"),
        ("kind=a%20b", "kind"),
        ("kind=a&kind=b", "kind"),
        ("after=%00", "after"),
        ("after=%E5%9C%BA", "after"),
    ],
)
async def test_a_malformed_list_of_streams_is_400(client, query, field):
    """The name of the parameter is in the error."""
    await assert_error(await client.get(f"/api/streams?{query}"), "invalid_request", status=400, field=field)


# Anything at all

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["task:a", "note", "demand:d-1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("stream", "event_type", "payload", "event_id", "source", "expected_revision", "events", "specversion", "data", "x")
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, max_size=6)
NEARLY = st.fixed_dictionaries(
    {
        "stream": st.just("task:a") | JSON_VALUES,
        "event_type": st.just("note") | JSON_VALUES,
        "payload": st.just({}) | JSON_VALUES,
    },
    optional={"event_id": JSON_VALUES, "source": JSON_VALUES, "expected_revision": JSON_VALUES},
)
DOCUMENTS = st.one_of(
    NEARLY,
    OBJECTS,
    JSON_VALUES,
    st.lists(NEARLY, max_size=3),
    st.fixed_dictionaries({"events": st.lists(NEARLY, max_size=3) | JSON_VALUES}),
).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
MEDIA_TYPES = st.sampled_from(
    ["application/json", "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json"]
)


@st.composite
def bodies(draw):
    """Documents that are nearly right, with bytes knocked out or put in, and plain noise."""
    raw = draw(DOCUMENTS | st.binary(max_size=60))
    for position, piece in draw(st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=2)), max_size=2)):
        raw = raw[:position] + piece + raw[position + len(piece) :]
    return raw


class Fuzzed:
    """One server for all examples of a fuzz test; hypothesis calls a plain function many times."""

    def __init__(self, folder):
        self.config = Config(
            database=DatabaseSection(path=str(folder / "fuzz.db"), synchronous="NORMAL", min_free_bytes=0),
            poll=PollSection(poll_interval_seconds=0.5),
            demands=DemandsSection(sample_agents=False),
        )

    async def post(self, client, raw, media_type):
        """Post a body; returns the status after checking the promises."""
        before = client.app[LOG].head_seq
        answer = await client.post("/api/events", data=raw, headers={"Content-Type": media_type})
        data = await answer.json()
        assert answer.status < 500, (raw, data)
        if answer.status >= 400:
            assert data["detail"] == data["error"]["message"]
            assert client.app[LOG].head_seq == before
            assert len(stored(self.config)) == before
        elif answer.status == 201:
            assert client.app[LOG].head_seq > before
        return answer.status


@pytest.mark.slow
async def test_no_body_is_a_server_error_and_a_refused_one_stores_nothing(aiohttp_client, tmp_path):
    """Whatever is posted: an answer below 500, and with a 4xx the log is as it was."""
    fuzzed = Fuzzed(tmp_path)
    client = await aiohttp_client(make_app(fuzzed.config))
    loop = asyncio.get_running_loop()

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
    @given(raw=bodies(), media_type=MEDIA_TYPES)
    @example(raw=one(), media_type="application/json")
    @example(raw=b'{"events":[' + one() + b"]}", media_type="application/json")
    @example(raw=b'{"stream":"task:a","event_type":"x","payload":{"\\u0000":"\\u0000"}}', media_type="application/json")
    @example(raw=b'{"\xed\xa0\x80":1}', media_type="application/json")
    def post_anything(raw, media_type):
        asyncio.run_coroutine_threadsafe(fuzzed.post(client, raw, media_type), loop).result(10)

    await asyncio.to_thread(post_anything)
    page = await page_of(client, "since_seq=0&limit=1000")
    assert len(page["events"]) == len(stored(fuzzed.config)) == page["head_seq"]


async def test_no_query_is_a_server_error(client):
    """Whatever stands in the query of a page, a stream list or a stream: an answer below 500."""
    await publish(client, 3)
    loop = asyncio.get_running_loop()
    names = (
        "stream",
        "type",
        "since_seq",
        "last_event_id",
        "after",
        "epoch",
        "limit",
        "wait",
        "start",
        "kind",
        "format",
        "keepalive",
    )
    values = st.text(max_size=12) | st.sampled_from(["1", "task:a", "task:*", "*", "0.01", "live", "tail:2", "event", "ndjson"])
    queries = st.lists(st.tuples(st.sampled_from(names), values), max_size=4)

    async def get(path, query):
        encoded = [(name, value.encode("utf-8", "replace").decode()) for name, value in query if (name, value) != ("wait", "1")]
        async with client.get(path, params=encoded) as answer:
            assert answer.status < 500, (path, query)
            if answer.status >= 400:
                assert (await answer.json())["error"]["code"]

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(path=st.sampled_from(["/api/events", "/api/events/stream", "/api/streams", "/api/demand"]), query=queries)
    def get_anything(path, query):
        asyncio.run_coroutine_threadsafe(get(path, query), loop).result(10)

    await asyncio.to_thread(get_anything)
    await until(lambda: client.app[LOG].hub.follower_count == 0)
