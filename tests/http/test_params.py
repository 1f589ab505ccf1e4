"""Reading requests: what is well formed is understood, everything else is refused with the name of the field."""

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from server.eventlog.selection import select
from server.http import params
from server.streaming.cursor import CursorRequest
from tests.support import assert_error, body, publish, refused
from towow.errors import InvalidRequest, UnsupportedMediaType
from towow.events import MAX_SEQ

QUERY_NAMES = ("lastEventId", "lastEventID", "since_seq", "last_event_id", "after", "since")


def request(query="", **headers):
    """A GET request with this query and these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("GET", f"/x?{query}", headers=named)


# Cursors


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        pytest.param("7", 7, id="realistic: a seq"),
        pytest.param("01a1fc44-14cf-728d-ae65-03e515f9a196", "01a1fc44-14cf-728d-ae65-03e515f9a196", id="realistic: uuid"),
        pytest.param("evt-1a2b3c4d", "evt-1a2b3c4d", id="realistic: source 000's event id"),
        pytest.param("0", 0, id="edge: the beginning"),
        pytest.param("007", 7, id="edge: leading zeros"),
        pytest.param(str(MAX_SEQ), MAX_SEQ, id="edge: the largest key of SQLite"),
        pytest.param("x" * 128, "x" * 128, id="edge: the longest event id"),
        pytest.param("1_0", "1_0", id="edge: an event id that int() would take for ten"),
        pytest.param("-1", "-1", id="edge: an event id that int() would take for minus one"),
        pytest.param("1e3", "1e3", id="edge: an event id that float() would take for a thousand"),
    ],
)
def test_digits_are_a_seq_and_any_other_name_is_an_event_id(text, cursor):
    """A cursor is a seq of 63 bits or an event_id, never what Python would make of it."""
    for name in set(QUERY_NAMES) - {"since_seq"}:
        assert params.asked(request(f"{name}={text}")).cursor == cursor
    assert params.asked(request(Last_Event_ID=text)).cursor == cursor


@pytest.mark.parametrize(
    ("text", "cursor", "check"),
    [
        pytest.param("7.123456", 7, "123456", id="realistic"),
        pytest.param("0.111111", 0, "111111", id="edge: the lowest"),
        pytest.param(f"{MAX_SEQ}.999999", MAX_SEQ, "999999", id="edge: the highest"),
    ],
)
def test_a_seq_with_a_check_is_a_cursor_under_every_name(text, cursor, check):
    """What the server gave as an id comes back as it was, in the header or in the query."""
    for name in QUERY_NAMES:
        assert params.asked(request(f"{name}={text}")) == CursorRequest(cursor, check=check)
    assert params.asked(request(Last_Event_ID=text)) == CursorRequest(cursor, check=check)


MALFORMED = [
    pytest.param("", id="empty"),
    pytest.param(" 1", id="leading blank"),
    pytest.param("1 ", id="trailing blank"),
    pytest.param("+1", id="sign"),
    pytest.param("1.5", id="fraction"),
    pytest.param("1.", id="a check that is cut off"),
    pytest.param("1.12345", id="a check that is too short"),
    pytest.param("1.1234567", id="a check that is too long"),
    pytest.param("1.123450", id="a check with a zero"),
    pytest.param(".123456", id="a check alone, where only a seq is taken"),
    pytest.param(f"{MAX_SEQ + 1}.123456", id="a check of one more than 63 bits"),
    pytest.param(str(MAX_SEQ + 1), id="one more than 63 bits"),
    pytest.param("9" * 30, id="huge"),
    pytest.param("0" * 20, id="too many digits"),
    pytest.param("٣", id="a digit of another script"),
    pytest.param("1\u0663", id="digits of two scripts"),
    pytest.param("²", id="superscript"),
    pytest.param("seq", id="a word, where only a seq is taken"),
    pytest.param("-1", id="negative, where only a seq is taken"),
    pytest.param("1_0", id="underscore, where only a seq is taken"),
    pytest.param("1\n", id="newline"),
    pytest.param("1\x00", id="NUL"),
    pytest.param("x" * 129, id="too long"),
    pytest.param("1,2", id="a list"),
    pytest.param("null", id="null, where only a seq is taken"),
]


@pytest.mark.parametrize("text", MALFORMED)
def test_since_seq_takes_digits_only(text):
    """`since_seq` is a seq or an error, never a guess."""
    with refused(InvalidRequest, "since_seq"):
        params.parse_cursor(text, "since_seq")


@pytest.mark.parametrize("text", [case for case in MALFORMED if "only a seq" not in case.id])
def test_a_malformed_cursor_is_refused_under_every_name(text):
    """The error names the parameter or header that could not be read."""
    for name in (*QUERY_NAMES, "Last-Event-ID"):
        with refused(InvalidRequest, name):
            params.parse_cursor(text, name)


def test_the_order_of_precedence_is_header_then_queries():
    """What a client adds by itself at a reconnect (the header, `lastEventId`) wins over what its URL began with."""
    for position, name in enumerate(QUERY_NAMES):
        given = "&".join(f"{other}={QUERY_NAMES.index(other) + 1}" for other in reversed(QUERY_NAMES[position:]))
        assert params.asked(request(given)).cursor == position + 1, name
        assert params.asked(request(given, Last_Event_ID="99")).cursor == 99


@pytest.mark.parametrize("name", QUERY_NAMES)
def test_an_empty_cursor_is_none(name):
    """A browser that has seen no id sends none; some clients send an empty one."""
    assert params.asked(request(f"since=4&{name}=" if name != "since" else "since=4", Last_Event_ID="")).cursor == 4
    assert params.asked(request(f"{name}=", Last_Event_ID="")).cursor is None


@pytest.mark.parametrize("name", QUERY_NAMES)
def test_of_a_repeated_cursor_the_last_that_is_not_empty_counts(name):
    """A polyfill that keeps its URL appends one more at every reconnect."""
    assert params.asked(request(f"{name}=1&{name}=7.123456&{name}=")) == CursorRequest(7, check="123456")
    with refused(InvalidRequest, name):
        params.asked(request(f"{name}=1&{name}=1.5"))


@pytest.mark.parametrize("name", QUERY_NAMES)
def test_a_cursor_that_loses_must_be_readable_all_the_same(name):
    """A malformed parameter is a mistake to be told, also when another one wins."""
    with refused(InvalidRequest, name):
        params.asked(request(f"{name}=%20", Last_Event_ID="7"))


@pytest.mark.parametrize("name", ["epoch", "start", "allow_pending"])
def test_a_parameter_given_twice_is_refused(name):
    """Two values for one question have no answer, even when they are equal."""
    with refused(InvalidRequest, name):
        params.asked(request(f"{name}=1&{name}=1"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", CursorRequest(), id="realistic: nothing"),
        pytest.param("since_seq=3&epoch=83b035a9a33e7ff7", CursorRequest(3, "83b035a9a33e7ff7"), id="realistic: with epoch"),
        pytest.param("start=beginning", CursorRequest(start="beginning"), id="realistic: beginning"),
        pytest.param("start=live&allow_pending=1", CursorRequest(start="live", allow_pending=True), id="realistic: live"),
        pytest.param("start=tail:1", CursorRequest(start="tail:1"), id="edge: shortest tail"),
        pytest.param("start=tail:1000", CursorRequest(start="tail:1000"), id="edge: longest tail"),
        pytest.param("allow_pending=false", CursorRequest(), id="edge: a flag that says no"),
        pytest.param("since_seq=3&epoch=", CursorRequest(3), id="edge: an epoch that was never learned"),
        pytest.param("something=else", CursorRequest(), id="edge: an unknown parameter"),
    ],
)
def test_what_is_asked_is_read_from_the_query(query, expected):
    """Cursor, epoch, start and allow_pending, each None or False when absent."""
    assert params.asked(request(query)) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        pytest.param("start=", "start", id="empty start"),
        pytest.param("start=tail", "start", id="tail without a number"),
        pytest.param("start=tail:0", "start", id="empty tail"),
        pytest.param("start=tail:-1", "start", id="negative tail"),
        pytest.param("start=tail:1001", "start", id="tail over the limit"),
        pytest.param("start=tail:99999", "start", id="huge tail"),
        pytest.param("start=tail:%D9%A3", "start", id="tail in another script"),
        pytest.param("start=tail:5%0A", "start", id="tail with a newline"),
        pytest.param("start=Live", "start", id="wrong case"),
        pytest.param("epoch=a%20b", "epoch", id="epoch with a blank"),
        pytest.param("allow_pending=yes", "allow_pending", id="a flag that is no flag"),
        pytest.param("allow_pending=", "allow_pending", id="empty flag"),
        pytest.param("allow_pending=%D9%A1", "allow_pending", id="a one of another script"),
    ],
)
def test_malformed_starts_epochs_and_flags_are_refused(query, field):
    """Nothing is silently read as its default."""
    with refused(InvalidRequest, field):
        params.asked(request(query))


# Numbers


@pytest.mark.parametrize(
    ("query", "number"),
    [
        pytest.param("", 100, id="realistic: absent"),
        pytest.param("limit=20", 20, id="realistic"),
        pytest.param("limit=1", 1, id="edge: lowest"),
        pytest.param("limit=1000", 1000, id="edge: highest"),
    ],
)
def test_a_number_within_its_bounds_is_read(query, number):
    """Bounds are inclusive; an absent number is its default."""
    assert params.query_integer(request(query), "limit", default=100, low=1, high=1000) == number


@pytest.mark.parametrize(
    "text",
    ["0", "1001", "-1", "", "ten", "1.0", "%D9%A3", "1_0", "%201", "9" * 40, "1&limit=1", "1%0A", "0x10"],
    ids=[
        "below",
        "above",
        "negative",
        "empty",
        "word",
        "fraction",
        "script",
        "underscore",
        "blank",
        "huge",
        "twice",
        "newline",
        "hex",
    ],
)
def test_a_number_out_of_bounds_or_malformed_is_refused(text):
    """A number is never clipped or guessed."""
    with refused(InvalidRequest, "limit"):
        params.query_integer(request(f"limit={text}"), "limit", default=100, low=1, high=1000)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("0.25", 0.25), ("60", 60.0), ("60.0", 60.0)])
def test_seconds_are_read_with_fractions(text, seconds):
    """Long polls may wait for parts of a second."""
    assert params.query_seconds(request(f"wait={text}"), "wait", default=0.0, low=0.0, high=60.0) == seconds


@pytest.mark.parametrize(
    "text", ["60.1", "-1", "nan", "inf", "1e1", "", ".5", "5.", "%D9%A3", "1_0", "%201", "1&wait=1", "9" * 400]
)
def test_seconds_out_of_bounds_or_malformed_are_refused(text):
    """`float()` takes nan, inf, blanks and underscores; this does not."""
    with refused(InvalidRequest, "wait"):
        params.query_seconds(request(f"wait={text}"), "wait", default=0.0, low=0.0, high=60.0)


# Selections, formats, types


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", select(("*",)), id="realistic: everything by default"),
        pytest.param("stream=demand:d-1&stream=session:*", select(("demand:d-1", "session:*")), id="realistic: several"),
        pytest.param("stream=task:a&type=towow.offer.*", select(("task:a",), ("towow.offer.*",)), id="realistic: a type"),
        pytest.param("stream=task:a&stream=task:a", select(("task:a",)), id="edge: the same twice"),
        pytest.param("stream=task:a:b", select(("task:a:b",)), id="edge: a colon in the id"),
        pytest.param("stream=" + "t" * 32 + ":" + "x" * 95, select(("t" * 32 + ":" + "x" * 95,)), id="edge: longest name"),
        pytest.param("type=*", select(("*",), ("*",)), id="edge: every type"),
    ],
)
def test_streams_and_types_are_read_from_the_query(query, expected):
    """Both are repeatable, and their order does not matter."""
    assert params.selection(request(query), max_streams=4) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        pytest.param("stream=", "stream", id="empty"),
        pytest.param("stream=task", "stream", id="no id"),
        pytest.param("stream=task:", "stream", id="empty id"),
        pytest.param("stream=:a", "stream", id="empty kind"),
        pytest.param("stream=Task:a", "stream", id="a kind in capitals"),
        pytest.param("stream=1:a", "stream", id="a kind that begins with a digit"),
        pytest.param("stream=task:a*", "stream", id="a pattern inside an id"),
        pytest.param("stream=*:a", "stream", id="a pattern for the kind"),
        pytest.param("stream=task:%0A", "stream", id="newline"),
        pytest.param("stream=task:%00", "stream", id="NUL"),
        pytest.param("stream=task:%ff", "stream", id="invalid UTF-8"),
        pytest.param("stream=task:%E5%9C%BA", "stream", id="Chinese"),
        pytest.param("stream=task:" + "x" * 124, "stream", id="too long"),
        pytest.param("&".join(["stream=task:a"] * 5), "stream", id="too many"),
        pytest.param("stream=task:a&stream=bad", "stream", id="one of several"),
        pytest.param("type=", "type", id="empty type"),
        pytest.param("type=a%20b", "type", id="type with a blank"),
        pytest.param("type=[a-z]", "type", id="type with a set"),
        pytest.param("type=a?", "type", id="type with a question mark"),
        pytest.param("&".join(["type=a"] * 5), "type", id="too many types"),
    ],
)
def test_malformed_streams_and_types_are_refused(query, field):
    """A name that cannot exist is a mistake of the client, not an empty stream."""
    with refused(InvalidRequest, field):
        params.selection(request(query), max_streams=4)


@pytest.mark.parametrize(
    ("query", "accept", "is_ndjson"),
    [
        pytest.param("", None, False, id="realistic: a browser without Accept"),
        pytest.param("", "text/event-stream", False, id="realistic: EventSource"),
        pytest.param("", "application/x-ndjson", True, id="realistic: by Accept"),
        pytest.param("format=ndjson", "*/*", True, id="realistic: by query"),
        pytest.param("format=sse", "application/x-ndjson", False, id="edge: the query wins"),
        pytest.param("", "text/html, application/x-ndjson;q=0.5", True, id="edge: one of several"),
    ],
)
def test_the_format_is_asked_for_by_query_or_accept(query, accept, is_ndjson):
    """SSE unless NDJSON is asked for."""
    headers = {} if accept is None else {"Accept": accept}
    assert params.wants_ndjson(request(query, **headers)) is is_ndjson


@pytest.mark.parametrize(
    ("query", "field"),
    [("format=xml", "format"), ("format=", "format"), ("format=sse&format=sse", "format")],
    ids=["unknown", "empty", "twice"],
)
def test_an_unknown_format_is_refused(query, field):
    """A format that does not exist is told, not replaced."""
    with refused(InvalidRequest, field):
        params.wants_ndjson(request(query))


def test_keepalives_are_comments_unless_events_are_asked_for():
    """`keepalive=event` is for clients that must see them; anything else is refused."""
    assert params.keepalive_comment(request(), "heartbeat") == "heartbeat"
    assert params.keepalive_comment(request("keepalive=comment"), "heartbeat") == "heartbeat"
    assert params.keepalive_comment(request("keepalive=event"), "heartbeat") is None
    with refused(InvalidRequest, "keepalive"):
        params.keepalive_comment(request("keepalive=1"), "heartbeat")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        pytest.param("application/json", "application/json", id="realistic"),
        pytest.param("application/json; charset=utf-8", "application/json", id="realistic: with a charset"),
        pytest.param("Application/JSON ;charset=zz", "application/json", id="edge: case, and a charset nobody knows"),
        pytest.param("", "", id="edge: empty"),
        pytest.param(";", "", id="malformed: a parameter without a type"),
    ],
)
def test_the_media_type_is_read_without_its_parameters(given, found):
    """A charset that Python does not know must not matter."""
    assert params.media_type(request(Content_Type=given)) == found


@pytest.mark.parametrize("given", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_types_that_any_web_page_may_send_are_refused(given):
    """A form or a plain text needs no preflight, so it must not reach a handler."""
    with refused(UnsupportedMediaType, "Content-Type"):
        params.require_type(request(Content_Type=given), params.JSON_TYPES)


# Over HTTP


@pytest.mark.parametrize("path", ["/api/events", "/api/events/stream"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        pytest.param("since_seq=-1", "since_seq", id="negative"),
        pytest.param(f"since_seq={MAX_SEQ + 1}", "since_seq", id="huge"),
        pytest.param("since_seq=x", "since_seq", id="not a number"),
        pytest.param("since_seq=%D9%A3", "since_seq", id="another script"),
        pytest.param("since_seq=1_0", "since_seq", id="underscore"),
        pytest.param("since_seq=%201", "since_seq", id="blank"),
        pytest.param("since_seq=1&since_seq=1.5", "since_seq", id="twice, the last one no cursor"),
        pytest.param("since_seq=1.12345", "since_seq", id="a check that is cut off"),
        pytest.param("epoch=a&epoch=a", "epoch", id="twice"),
        pytest.param("last_event_id=%00", "last_event_id", id="NUL in an event id"),
        pytest.param("stream=task:%0A", "stream", id="newline in a name"),
    ],
)
async def test_a_malformed_cursor_is_400_before_the_stream_starts(client, path, query, field):
    """Streams and pages refuse alike, as an answer and not as an event."""
    await publish(client, 1)
    await assert_error(await client.get(f"{path}?stream=task:a&{query}"), "invalid_request", status=400, field=field)


async def test_a_malformed_last_event_id_header_is_400(client):
    """Also what is not ASCII, which arrives in surrogates."""
    await publish(client, 1)
    for value in ("a b", "\xff", "9" * 25):
        answer = await client.get("/api/events/stream?stream=task:a", headers={"Last-Event-ID": value})
        await assert_error(answer, "invalid_request", status=400, field="Last-Event-ID")


async def test_every_cursor_form_reads_the_same_page(client):
    """Seq or event_id, in the header or under any of the five names: the events after it."""
    await client.post("/api/events", json=body(event_id="evt-first"))
    await publish(client, 2, start=1)
    for name in QUERY_NAMES:
        for cursor in ("1", "evt-first"):
            if (name, cursor) != ("since_seq", "evt-first"):
                page = await (await client.get(f"/api/events?stream=task:a&{name}={cursor}")).json()
                assert [event["seq"] for event in page["events"]] == [2, 3], (name, cursor)
    for cursor in ("1", "evt-first"):
        answer = await client.get("/api/events?since_seq=0", headers={"Last-Event-ID": cursor})
        assert [event["seq"] for event in (await answer.json())["events"]] == [2, 3]


async def test_a_cursor_may_come_from_another_stream(client):
    """A seq is a place in the whole log; an event_id is one of the streams that are asked for."""
    await publish(client, 1, stream="task:a")
    [foreign] = await publish(client, 1, stream="task:b")
    await publish(client, 1, stream="task:a")
    page = await (await client.get(f"/api/events?stream=task:a&last_event_id={foreign['seq']}")).json()
    assert [event["seq"] for event in page["events"]] == [3]
    for streams in ("stream=task:b", "stream=task:a&stream=task:b", "stream=task:*", ""):
        answer = await client.get(f"/api/events?{streams}&last_event_id={foreign['event_id']}")
        assert (await answer.json())["next_since_seq"] == 3
    answer = await client.get(f"/api/events?stream=task:a&last_event_id={foreign['event_id']}")
    assert (await assert_error(answer, "gone", status=410))["reason"] == "unknown_event_id"


def test_json_bodies_are_decoded_by_shape():
    """The one parser is behind every body; its errors name the field."""

    class Shape(msgspec.Struct, forbid_unknown_fields=True):
        name: str

    decoder = msgspec.json.Decoder(Shape)
    assert params.parse_json(b'{"name":"x"}', decoder) == Shape("x")
    with pytest.raises(InvalidRequest):
        params.parse_json(b"{", decoder)
