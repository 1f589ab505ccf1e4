"""Names, the one JSON form and the one JSON parser: what is refused, and what is fixed byte for byte."""

import json
import math
import re
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import refused
from towow.errors import InvalidBody, InvalidRequest, TooLarge
from towow.events import (
    MAX_NESTING,
    MAX_SEQ,
    Event,
    EventInput,
    check_glob,
    is_id,
    is_stream_name,
    kind_of,
    matches,
    new_event,
    parse_json,
    payload_json,
    seconds_of,
    timestamp_of,
    uuid7,
)

DECODER = msgspec.json.Decoder(EventInput)
NAME = "AZaz09._:-"


def parse(payload):
    """The canonical payload text of raw JSON, through the same two steps as a request."""
    raw = b'{"stream":"task:a","event_type":"note","payload":' + payload + b"}"
    given = parse_json(raw, DECODER)
    return new_event(given.stream, given.event_type, given.payload).payload_json


def nested(levels, opening=b"[", closing=b"]"):
    """A payload of so many levels, its own object included."""
    return b'{"a":' + opening * (levels - 1) + closing * (levels - 1) + b"}"


def an_event(**fields):
    """A stored event with these fields."""
    start = Event(7, "task:a", 2, "e-1", "note", "2026-01-01T00:00:00.000Z", "tests", "{}")
    return msgspec.structs.replace(start, **fields)


# Names.


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param("demand:d-1f2e3d4c", id="a demand"),
        pytest.param("agent:user_agent_bob", id="an agent"),
        pytest.param("broadcast:all", id="the broadcast"),
        pytest.param("a:b", id="edge: shortest"),
        pytest.param("task:" + "x" * 123, id="edge: 128 characters"),
        pytest.param("t" * 32 + ":x", id="edge: a kind of 32"),
        pytest.param("t_1:a:b:c", id="edge: colons inside the id"),
        pytest.param("t:" + NAME, id="edge: every allowed character"),
    ],
)
def test_a_good_stream_name_is_taken_as_it_is(stream):
    """A name is `kind:id` of up to 128 characters and is never changed."""
    assert new_event(stream, "note", {}).stream == stream
    assert is_stream_name(stream)
    assert kind_of(stream) == stream[: stream.index(":")]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param("", id="empty"),
        pytest.param("task", id="no colon"),
        pytest.param("task:", id="no id"),
        pytest.param(":a", id="no kind"),
        pytest.param("Task:a", id="a capital in the kind"),
        pytest.param("1task:a", id="a kind that starts with a digit"),
        pytest.param("ta-sk:a", id="a hyphen in the kind"),
        pytest.param("t" * 33 + ":x", id="a kind of 33"),
        pytest.param("task:" + "x" * 124, id="129 characters"),
        pytest.param("task:*", id="a pattern"),
        pytest.param("task:a b", id="a space"),
        pytest.param("task:a\n", id="a line feed at the end"),
        pytest.param("task:a\nid: 9", id="a line feed inside"),
        pytest.param("task:a\x00", id="NUL"),
        pytest.param("task:a\r", id="a carriage return"),
        pytest.param("task:ü", id="outside ASCII"),
        pytest.param("task:٣", id="a digit of another script"),
        pytest.param('task:a"', id="a quote"),
        pytest.param("task:../x", id="a slash"),
        pytest.param("task:\ud800", id="a lone surrogate"),
    ],
)
def test_a_bad_stream_name_is_refused_with_its_field(stream):
    """What is not `kind:id` is `invalid_body` at `stream`; the same rule answers `is_stream_name`."""
    with refused(InvalidBody, "stream"):
        new_event(stream, "note", {})
    assert not is_stream_name(stream)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"event_type": ""}, "event_type", id="no type"),
        pytest.param({"event_type": "x" * 129}, "event_type", id="a type of 129"),
        pytest.param({"event_type": "a b"}, "event_type", id="a space in the type"),
        pytest.param({"event_type": "note\n"}, "event_type", id="a line feed after the type"),
        pytest.param({"event_type": "towow.*"}, "event_type", id="a glob for a type"),
        pytest.param({"event_id": ""}, "event_id", id="an empty id"),
        pytest.param({"event_id": "123"}, "event_id", id="an id of digits only, which would read as a seq"),
        pytest.param({"event_id": "x" * 129}, "event_id", id="an id of 129"),
        pytest.param({"event_id": "a\x00"}, "event_id", id="NUL in the id"),
        pytest.param({"event_id": "a/b"}, "event_id", id="a slash in the id"),
        pytest.param({"source": ""}, "source", id="an empty source"),
        pytest.param({"source": "x" * 257}, "source", id="a source of 257"),
        pytest.param({"source": 'a"b'}, "source", id="a quote in the source"),
        pytest.param({"source": "a\\b"}, "source", id="a backslash in the source"),
        pytest.param({"source": "a b"}, "source", id="a space in the source"),
        pytest.param({"source": "a\n"}, "source", id="a line feed in the source"),
        pytest.param({"source": "ü"}, "source", id="a source outside ASCII"),
        pytest.param({"source": "a\x7f"}, "source", id="DEL in the source"),
        pytest.param({"expected_revision": -1}, "expected_revision", id="a negative revision"),
        pytest.param({"expected_revision": MAX_SEQ + 1}, "expected_revision", id="a revision over 63 bits"),
    ],
)
def test_every_bad_field_is_refused_with_its_name(fields, field):
    """The error says which field is at fault."""
    given = {"event_type": "note", **fields}
    with refused(InvalidBody, field):
        new_event("task:a", given.pop("event_type"), {}, **given)


def test_fields_at_their_limits_are_taken():
    """128 characters of a type or id, 256 of a source, revisions from 0 to 63 bits."""
    source = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"\\')
    event = new_event("task:a", "x" * 128, {}, event_id="1" * 127 + "x", source=source, expected_revision=MAX_SEQ)
    assert (event.source, event.expected_revision) == (source, MAX_SEQ)
    assert new_event("task:a", NAME, {}, event_id=NAME, source="s" * 256, expected_revision=0).event_id == NAME


def test_an_event_over_its_limit_is_too_large_and_says_the_limit():
    """The limit counts UTF-8 bytes of the compact payload, inclusive."""
    assert new_event("task:a", "note", {"a": "x" * 92}, max_event_bytes=100)
    assert new_event("task:a", "note", {"a": "场" * 30 + "xx"}, max_event_bytes=100)
    for text in ("x" * 93, "场" * 31):
        with pytest.raises(TooLarge) as caught:
            new_event("task:a", "note", {"a": text}, max_event_bytes=100)
        assert (caught.value.field, caught.value.details) == ("payload", {"limit": 100})


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        pytest.param("*", "task:a", True, id="everything"),
        pytest.param("towow.*", "towow.offer.submitted", True, id="a family"),
        pytest.param("towow.*", "towow.", True, id="edge: nothing after the dot"),
        pytest.param("towow.*", "Towow.x", False, id="edge: case counts"),
        pytest.param("towow.*", "towow", False, id="edge: the dot is a dot"),
        pytest.param("*.completed", "towow.filter.completed", True, id="a suffix"),
        pytest.param("t*.o*r.*d", "towow.offer.submitted", True, id="several stars"),
        pytest.param("note", "notes", False, id="no star, no prefix match"),
        pytest.param("demand:*", "demand:d-1", True, id="a kind"),
        pytest.param("demand:*", "demandx:d-1", False, id="another kind"),
    ],
)
def test_the_star_is_the_only_special_character_of_a_glob(pattern, name, is_match):
    """`*` stands for any characters, everything else for itself."""
    assert matches(pattern, name) is is_match


@pytest.mark.parametrize(
    "pattern", ["", "a?", "[ab]", "a b", "a\n", "x" * 129, "a/b", "ü*", "a\x00", "*.done", "a*b", "**", "a**"]
)
def test_a_pattern_with_anything_else_is_refused(pattern):
    """A pattern is a name, or a beginning and a star: whether one of many fits is then one step."""
    with refused(InvalidRequest, "type"):
        check_glob(pattern, "type")


def test_an_id_is_1_to_128_name_characters():
    """`is_id` guards path parts and event ids."""
    assert is_id("d-1")
    assert is_id("x" * 128)
    for text in ("", "x" * 129, "a/b", "a b", "a\n", "ü", "*"):
        assert not is_id(text)


# The canonical JSON.


def test_the_canonical_json_is_pinned_byte_for_byte():
    """The digest chain and every client depend on these bytes."""
    event = an_event(payload_json=payload_json({"b": 1, "a": [1.5, True, None, "场地"]}))
    assert event.canonical() == (
        b'{"seq":7,"stream":"task:a","revision":2,"event_id":"e-1","event_type":"note",'
        b'"timestamp":"2026-01-01T00:00:00.000Z","source":"tests",'
        b'"payload":{"b":1,"a":[1.5,true,null,"\xe5\x9c\xba\xe5\x9c\xb0"]}}'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("a b", '"a b"', id="text"),
        pytest.param("</script>&'", '"</script>&\'"', id="markup stays as it is"),
        pytest.param('"\\/', '"\\"\\\\/"', id="quote and backslash"),
        pytest.param("a\nb\r\tc", '"a\\nb\\r\\tc"', id="line ends"),
        pytest.param("\x00\x1f\x08\x0c", '"\\u0000\\u001f\\b\\f"', id="C0 controls"),
        pytest.param("\x7f", '"\\u007f"', id="DEL alone"),
        pytest.param("\x80\x9f", '"\\u0080\\u009f"', id="C1 controls"),
        pytest.param("\x85", '"\\u0085"', id="NEL"),
        pytest.param("\u2028\u2029", '"\\u2028\\u2029"', id="line and paragraph separator"),
        pytest.param("\xa0\u2027\u202a", '"\xa0\u2027\u202a"', id="edge: their peers stay"),
        pytest.param("😀\U0010ffff", '"😀\U0010ffff"', id="edge: beyond the basic plane"),
        pytest.param("\ufeff\uffff", '"\ufeff\uffff"', id="edge: a byte order mark inside a text"),
        pytest.param("\\u2028", '"\\\\u2028"', id="edge: an escape written out"),
        pytest.param("null NaN", '"null NaN"', id="edge: the words"),
        pytest.param(2**64 - 1, "18446744073709551615", id="the largest integer"),
        pytest.param(-(2**63), "-9223372036854775808", id="the smallest integer"),
        pytest.param(0.1, "0.1", id="a float"),
        pytest.param(-0.0, "-0.0", id="minus zero"),
        pytest.param(1e300, "1e300", id="a large float"),
        pytest.param(5e-324, "5e-324", id="the smallest float"),
        pytest.param([[], {}], "[[],{}]", id="empty containers"),
    ],
)
def test_values_are_written_byte_for_byte(value, text):
    """Compact, one line, and what a line reader or terminal could misread is escaped, in values and in keys."""
    assert payload_json({"k": value}) == f'{{"k":{text}}}'
    if isinstance(value, str):
        assert payload_json({value: 1}) == f"{{{text}:1}}"


def test_nothing_but_escapes_is_left_of_control_characters_and_line_separators():
    """Each of the 67 characters is written as an escape, and it reads back."""
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029):
        text = payload_json({"k": chr(code)})
        assert text.isprintable(), hex(code)
        assert len(text.splitlines()) == 1
        assert json.loads(text) == {"k": chr(code)}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        pytest.param(math.nan, "payload.a.1", id="NaN"),
        pytest.param(math.inf, "payload.a.1", id="infinity"),
        pytest.param(-math.inf, "payload.a.1", id="minus infinity"),
        pytest.param(2**64, "payload.a.1", id="65 bits"),
        pytest.param(-(2**63) - 1, "payload.a.1", id="below 63 bits"),
        pytest.param(10**400, "payload.a.1", id="400 digits"),
        pytest.param("\ud800", "payload", id="a high surrogate alone"),
        pytest.param("x\udfffy", "payload", id="a low surrogate alone"),
        pytest.param(object(), "payload", id="no JSON at all"),
    ],
)
def test_values_that_json_cannot_carry_everywhere_are_refused(value, field):
    """In-process publishers meet the same rule as those that send JSON; the field says where."""
    with refused(InvalidBody, field):
        payload_json({"a": [0, value]})


def test_a_payload_that_contains_itself_is_refused():
    """Endless nesting is an error of the request, not of the process."""
    payload = {}
    payload["a"] = payload
    with pytest.raises(InvalidBody):
        payload_json(payload)


# The parser.


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(b'{"n": 1,\n\t"s": "x" }', '{"n":1,"s":"x"}', id="pretty-printed"),
        pytest.param('{"需求":"场地"}'.encode(), '{"需求":"场地"}', id="Chinese"),
        pytest.param(b'{"s":"\\u573a\\ud83d\\ude00"}', '{"s":"场😀"}', id="escapes"),
        pytest.param(b'{"s":"\\u2028\\u0000"}', '{"s":"\\u2028\\u0000"}', id="edge: escaped controls stay escaped"),
        pytest.param(b'{"s":"\xe2\x80\xa8\xc2\x85\x7f"}', '{"s":"\\u2028\\u0085\\u007f"}', id="edge: raw ones become so"),
        pytest.param(b'{"a":1,"b":2,"a":3}', '{"a":3,"b":2}', id="edge: of a doubled key the last value"),
        pytest.param(b'{"a":18446744073709551615}', '{"a":18446744073709551615}', id="edge: 64 bits"),
        pytest.param(b'{"a":1.0,"b":1E2,"c":-0}', '{"a":1.0,"b":100.0,"c":0}', id="edge: numbers"),
        pytest.param(b"{}", "{}", id="edge: empty"),
        pytest.param(nested(MAX_NESTING), nested(MAX_NESTING).decode(), id="edge: 64 levels of lists"),
        pytest.param(
            nested(MAX_NESTING, b'{"a":', b"}").replace(b":}", b":0}"),
            nested(MAX_NESTING, b'{"a":', b"}").replace(b":}", b":0}").decode(),
            id="edge: 64 levels of objects",
        ),
        pytest.param(b'{"a":[' + b"[]," * 200 + b"{}]}", '{"a":[' + "[]," * 200 + "{}]}", id="edge: many but not deep"),
    ],
)
def test_good_json_becomes_canonical(raw, text):
    """One text for one value, however it was written."""
    assert parse(raw) == text


@pytest.mark.parametrize(
    ("raw", "error", "field"),
    [
        pytest.param(b'{"a":NaN}', InvalidRequest, "body", id="NaN"),
        pytest.param(b'{"a":-Infinity}', InvalidRequest, "body", id="infinity"),
        pytest.param(b'{"a":1e400}', InvalidBody, "payload[...]", id="a number that overflows to infinity"),
        pytest.param(b'{"a":18446744073709551616}', InvalidBody, "payload.a", id="an integer of 65 bits"),
        pytest.param(b'{"a":-9223372036854775809}', InvalidBody, "payload.a", id="an integer below 63 bits"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", InvalidBody, "payload[...]", id="an integer of 5,000 digits"),
        pytest.param(b'{"a":"\\ud800"}', InvalidRequest, "body", id="an escaped lone surrogate"),
        pytest.param(b'{"a":"\\udc00\\ud800"}', InvalidRequest, "body", id="escaped surrogates in the wrong order"),
        pytest.param(b'{"\\ud800":1}', InvalidRequest, "body", id="a lone surrogate in a key"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', InvalidRequest, "body", id="a surrogate in UTF-8"),
        pytest.param(b'{"a":"\xff"}', InvalidRequest, "body", id="invalid UTF-8"),
        pytest.param(b'{"a":"\xc0\xaf"}', InvalidRequest, "body", id="overlong UTF-8"),
        pytest.param(b'{"a":"\xe5\x9c"}', InvalidRequest, "body", id="UTF-8 cut short"),
        pytest.param(b'{"\xff":1}', InvalidRequest, "body", id="invalid UTF-8 in a key"),
        pytest.param(b'{"a":"\n"}', InvalidRequest, "body", id="a raw line feed in a text"),
        pytest.param(b'{"a":"\x00"}', InvalidRequest, "body", id="a raw NUL in a text"),
        pytest.param(b'{"a":01}', InvalidRequest, "body", id="a leading zero"),
        pytest.param(b'{"a":1,}', InvalidRequest, "body", id="a trailing comma"),
        pytest.param(b"{'a':1}", InvalidRequest, "body", id="single quotes"),
        pytest.param(b'{"a":1}/**/', InvalidRequest, "body", id="a comment"),
        pytest.param(b"[]", InvalidBody, "payload", id="a list"),
        pytest.param(b"null", InvalidBody, "payload", id="null"),
        pytest.param(b'"{}"', InvalidBody, "payload", id="JSON in a text"),
        pytest.param(nested(MAX_NESTING + 1), InvalidBody, "payload", id="65 levels"),
        pytest.param(nested(3_000), InvalidRequest, "body", id="3,000 levels"),
        pytest.param(nested(3_000, b'{"a":', b"}"), InvalidRequest, "body", id="3,000 levels of objects"),
        pytest.param(nested(200_000), InvalidRequest, "body", id="200,000 levels"),
    ],
)
def test_bad_json_is_refused_with_a_code_and_a_field(raw, error, field):
    """Syntax is `invalid_request`, shape and range are `invalid_body`; nothing ends in another exception."""
    with refused(error, field):
        parse(raw)


@pytest.mark.parametrize(
    ("raw", "error", "field"),
    [
        pytest.param(b"", InvalidRequest, "body", id="nothing"),
        pytest.param(b"\xef\xbb\xbf{}", InvalidRequest, "body", id="a byte order mark"),
        pytest.param('{"stream":"task:a"}'.encode("utf-16"), InvalidRequest, "body", id="UTF-16"),
        pytest.param(b"{} {}", InvalidBody, "stream", id="an object without its fields"),
        pytest.param(b'{"stream":"task:a","event_type":"t","payload":{}} x', InvalidRequest, "body", id="something after it"),
        pytest.param(b"[]", InvalidBody, "body", id="a list"),
        pytest.param(b'{"stream":1,"event_type":"t","payload":{}}', InvalidBody, "stream", id="a number for a name"),
        pytest.param(b'{"stream":"task:a","payload":{}}', InvalidBody, "event_type", id="a missing field"),
        pytest.param(b'{"stream":"a:b","event_type":"t","payload":{},"zz":1}', InvalidBody, "zz", id="an unknown field"),
        (b'{"stream":"a:b","event_type":"t","payload":{},"expected_revision":"1"}', InvalidBody, "expected_revision"),
        (b'{"stream":"a:b","event_type":"t","payload":{},"expected_revision":true}', InvalidBody, "expected_revision"),
    ],
)
def test_what_is_not_an_event_is_refused(raw, error, field):
    """The envelope is as strict as the payload: exact types, no unknown fields, no byte order mark."""
    with refused(error, field):
        parse_json(raw, DECODER)


TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(payload=st.dictionaries(TEXTS, VALUES, max_size=5))
def test_any_payload_survives_and_stays_on_one_line(payload):
    """Write, read and write again: the same value, the same bytes; no line reader sees more than one line."""
    text = payload_json(payload)
    assert json.loads(text) == payload
    assert parse(text.encode()) == text
    assert parse(json.dumps(payload, indent=1).encode()) == text
    assert len(text.splitlines()) == 1
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029" for c in text)
    event = an_event(payload_json=text)
    assert event.payload == payload
    assert json.loads(event.canonical())["payload"] == payload


@given(raw=st.binary(max_size=60))
def test_any_bytes_are_an_event_or_one_of_two_errors(raw):
    """No input makes the parser raise anything else."""
    try:
        parse_json(raw, DECODER)
    except (InvalidBody, InvalidRequest) as error:
        assert error.field  # noqa: PT017 - either outcome is fine, a third would fail the test


# Ids and times.


def test_a_uuid7_has_the_form_of_rfc_9562():
    """Version 7, variant 10, 48 bits of milliseconds first; never all digits, so never taken for a seq."""
    for _ in range(100):
        text = uuid7(lambda: 1_767_225_600.123)
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", text)
        value = uuid.UUID(text)
        assert (value.version, value.variant) == (7, uuid.RFC_4122)
        assert value.int >> 80 == 1_767_225_600_123
    assert new_event("task:a", "note", {}, event_id=text)


@given(first=st.floats(0, 4e9), later=st.floats(0.001, 1e9))
def test_uuid7s_sort_by_their_millisecond(first, later):
    """A later millisecond sorts later, as text and as a key."""
    assert uuid7(lambda: first) < uuid7(lambda: first + later + 0.001)


def test_uuid7s_of_one_millisecond_differ():
    """74 random bits keep ids apart when the clock stands still."""
    assert len({uuid7(lambda: 1.0) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(1_767_225_600.25, "2026-01-01T00:00:00.250Z", id="a time"),
        pytest.param(0, "1970-01-01T00:00:00.000Z", id="edge: the epoch"),
        pytest.param(951_827_696.5, "2000-02-29T12:34:56.500Z", id="edge: a leap day"),
        pytest.param(1_767_225_599.999_9, "2025-12-31T23:59:59.999Z", id="edge: never rounded up into the next second"),
        pytest.param(-0.5, "1969-12-31T23:59:59.500Z", id="edge: before the epoch"),
        pytest.param(253_402_300_799.5, "9999-12-31T23:59:59.500Z", id="edge: the last second of year 9999"),
    ],
)
def test_timestamps_are_utc_with_milliseconds_and_z(seconds, text):
    """Always 24 characters, so that they sort as text; the cached second never shows."""
    for _ in range(2):
        assert timestamp_of(seconds) == text
        timestamp_of(1.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("2026-01-01T00:00:00.250Z", 1_767_225_600.25, id="a time"),
        pytest.param("1970-01-01T00:00:00.000Z", 0, id="edge: the epoch"),
        pytest.param("1969-12-31T23:59:59.500Z", -0.5, id="edge: before the epoch"),
        pytest.param("", 0, id="edge: none"),
    ],
)
def test_seconds_of_reads_what_timestamp_of_writes(text, seconds):
    """An empty timestamp, of what has not happened yet, is 0."""
    assert seconds_of(text) == seconds
    if text:
        assert timestamp_of(seconds_of(text)) == text
