"""The Python client: its stream parser, its retries, and follows that survive what servers and networks do."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from server.app import FOLLOWERS
from server.config import Config
from tests.support import changed, refused
from tests.towow.network import QUICK
from towow import Client, CursorLost, Frame, Retry, SseParser, Unreachable
from towow.errors import (
    STATUS_BY_CODE,
    Conflict,
    Gone,
    InvalidBody,
    InvalidRequest,
    NotFound,
    RevisionMismatch,
    StorageFull,
    StreamEnded,
    TooLarge,
    TowowError,
    Unavailable,
)
from towow.events import Event
from towow.follow import Position
from towow.responses import Receipt, read_error

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


# The stream parser


@pytest.mark.parametrize(
    ("raw", "frames"),
    [
        pytest.param(b'id: 7\ndata: {"a":1}\n\n', [Frame("message", '{"a":1}', "7")], id="stored event"),
        pytest.param(b"event: ready\ndata: {}\n\n", [Frame("ready", "{}", None)], id="control frame"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [Frame("message", "a", None), Frame("message", "b", None)], id="crlf"),
        pytest.param(b"data: a\r\rdata: b\r\r", [Frame("message", "a", None), Frame("message", "b", None)], id="cr"),
        (b"data: a\r\ndata: b\n\rdata: c\n\n", [Frame("message", "a\nb", None), Frame("message", "c", None)]),
        pytest.param(b"data: a\ndata:\ndata: b\n\n", [Frame("message", "a\n\nb", None)], id="several lines"),
        pytest.param(b": keepalive\n: again\ndata: a\n\n", [Frame("message", "a", None)], id="comments"),
        pytest.param(b": keepalive\n\n\n\n", [], id="nothing but comments and blank lines"),
        pytest.param(b"id: 7\n\n", [], id="a block without data"),
        pytest.param(b"event: ready\n\ndata: a\n\n", [Frame("message", "a", None)], id="a name without data is forgotten"),
        pytest.param(b"data\n\n", [Frame("message", "", None)], id="a field without a colon"),
        pytest.param(b"data:a\ndata:  b\n\n", [Frame("message", "a\n b", None)], id="one space is taken off"),
        pytest.param(b"data: a: b\n\n", [Frame("message", "a: b", None)], id="a colon in the value"),
        pytest.param(b"Data: a\nfoo: b\ndata: c\n\n", [Frame("message", "c", None)], id="unknown fields"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [Frame("message", "a", None)], id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", [], id="only one byte order mark is taken off"),
        pytest.param("data: 需求🦊\n\n".encode(), [Frame("message", "需求🦊", None)], id="utf-8"),
        pytest.param(b"data: \xe9\x9c\n\n", [Frame("message", "\ufffd", None)], id="a cut character"),
        pytest.param("data: a\u2028b\u0085c\n\n".encode(), [Frame("message", "a\u2028b\u0085c", None)], id="not line ends"),
        pytest.param(b"id: 1\0\ndata: a\n\n", [Frame("message", "a", None)], id="an id with NUL is none"),
        pytest.param(b"id\ndata: a\n\n", [Frame("message", "a", "")], id="an empty id"),
        pytest.param(b"data: a\n", [], id="the end cuts off a block"),
        pytest.param(b"data: a\n\ndata: b", [Frame("message", "a", None)], id="the end cuts off a line"),
    ],
)
def test_parser_reads_what_the_specification_says(raw: bytes, frames: list[Frame]) -> None:
    """Every rule of the WHATWG parser, on whole input and byte by byte."""
    assert SseParser().feed(raw) == frames
    parser = SseParser()
    assert [frame for byte in raw for frame in parser.feed(bytes([byte]))] == frames


@given(
    pieces=st.lists(
        st.sampled_from(
            [
                b"\n",
                b"\r",
                b"\r\n",
                b"\n\n",
                b"data: ",
                b"data",
                b"event: x",
                b"id: 1",
                b"id: \0",
                b"retry: 50",
                b": c",
                b" ",
                b"\xef\xbb\xbf",
                "需求🦊".encode(),
                b"\xff",
                b'{"a":1}',
            ]
        ),
        max_size=60,
    ),
    cuts=st.lists(st.integers(0, 400), max_size=20),
)
@example(pieces=[b"data: a", b"\r\n", b"\r\n"], cuts=[8, 10])
def test_parser_gives_the_same_frames_however_the_bytes_are_cut(pieces: list[bytes], cuts: list[int]) -> None:
    """Neither characters nor line endings nor the byte order mark mind being cut."""
    raw = b"".join(pieces)
    whole, cut = SseParser(), SseParser()
    edges = [0, *sorted(min(place, len(raw)) for place in cuts), len(raw)]
    frames = [frame for start, end in pairwise(edges) for frame in cut.feed(raw[start:end])]
    assert frames == whole.feed(raw)
    assert (cut.last_event_id, cut.retry_milliseconds) == (whole.last_event_id, whole.retry_milliseconds)


def test_parser_remembers_the_last_id_and_the_newest_retry() -> None:
    """An id stays until another one comes; a retry that is no number changes nothing."""
    parser = SseParser()
    parser.feed(b"retry: 50\nid: 3\n\ndata: a\n\nretry: soon\nretry: -1\ndata: b\n\n")
    assert (parser.last_event_id, parser.retry_milliseconds) == ("3", 50)


@pytest.mark.parametrize("line", [b"data: " + b"x" * 100, b"data: x\n" * 20], ids=["one line", "many lines"])
def test_parser_refuses_a_frame_without_end(line: bytes) -> None:
    """A server that never ends a frame cannot take all memory."""
    parser = SseParser(max_frame_bytes=100)
    assert parser.feed(b"data: " + b"x" * 80 + b"\n\n") != []
    with pytest.raises(TooLarge):
        parser.feed(line)


# Positions and errors


def test_position_resumes_where_a_live_follower_became_ready() -> None:
    """Without a first event the head of `ready` is the cursor: nothing of a break is skipped."""
    position = Position(None, "live", None)
    assert position.parameters() == [("start", "live")]
    position.at_head(41, "41.123456", "e1")
    assert position.parameters() == [("since_seq", "41.123456"), ("epoch", "e1")]
    assert [position.advance(seq, f"{seq}.111111") for seq in (41, 42, 42, 40, 50)] == [False, True, False, False, True]
    assert position.cursor == "50.111111"


def test_position_restarts_before_the_oldest_event_of_another_log() -> None:
    """After a reset lower seqs are new again."""
    position = Position(900, None, "e1")
    position.restart(5, "e2")
    assert position.parameters() == [("since_seq", "4"), ("epoch", "e2")]
    assert position.advance(5, None)
    assert position.cursor == 5


@pytest.mark.parametrize("code", list(STATUS_BY_CODE))
def test_error_has_the_class_of_its_code(code: str) -> None:
    """The server's table, read backwards."""
    raw = json.dumps({"error": {"code": code, "message": "so", "field": "f", "error_id": "x", "limit": 3}}).encode()
    error = read_error(STATUS_BY_CODE[code], raw, "4")
    assert (error.code, error.message, error.field) == (code, "so", "f")
    assert type(error).code in (code, "internal")
    assert error.details == {"error_id": "x", "limit": 3, "status": STATUS_BY_CODE[code], "retry_after_seconds": 4}


@pytest.mark.parametrize(
    ("status", "raw", "code"),
    [
        pytest.param(404, b"<html>no</html>", "not_found", id="a proxy's page"),
        pytest.param(401, b"", "unauthorized", id="an empty body"),
        pytest.param(429, b"[]", "too_many_requests", id="JSON of another shape"),
        pytest.param(409, b'{"error": "conflict"}', "conflict", id="an error that is text"),
        pytest.param(502, b'{"error": {"message": 1}}', "internal", id="no code"),
        pytest.param(418, b'{"error": {"code": "teapot", "message": "I am"}}', "teapot", id="an unknown code"),
    ],
)
def test_error_without_a_known_code_follows_the_status(status: int, raw: bytes, code: str) -> None:
    """What is not from this server still becomes an error that can be told apart."""
    error = read_error(status, raw)
    assert isinstance(error, TowowError)
    assert (error.code, error.details["status"]) == (code, status)


def test_lost_cursor_is_gone_and_says_what_the_log_holds() -> None:
    """One class for a poll's 410 and a stream's reset."""
    raw = json.dumps(
        {
            "error": {
                "code": "gone",
                "message": "m",
                "reason": "trimmed",
                "requested": 1,
                "oldest_seq": 5,
                "head_seq": 9,
                "epoch": "e",
            }
        }
    ).encode()
    error = read_error(410, raw)
    assert isinstance(error, CursorLost)
    assert isinstance(error, Gone)
    assert (error.reason, error.requested, error.oldest_seq, error.head_seq, error.epoch) == ("trimmed", 1, 5, 9, "e")


# A server that misbehaves on purpose


class Script:
    """Answers the n-th request with the n-th step, the last one from then on, and keeps what was asked."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.left = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Run the next step."""
        self.requests.append(request)
        self.bodies.append(await request.read())
        try:
            return await self.steps[min(len(self.requests), len(self.steps)) - 1](request)
        except asyncio.CancelledError:
            self.left.set()
            raise

    def queries(self) -> list[dict[str, str]]:
        """The query of each request."""
        return [dict(request.query) for request in self.requests]


def answers(value: Any, status: int = 200, **headers: str) -> Step:
    """A JSON answer."""

    async def step(_: web.Request) -> web.StreamResponse:
        return web.json_response(value, status=status, headers=headers)

    return step


def fails(status: int, code: str, **headers: str) -> Step:
    """An error of the documented shape."""
    return answers({"error": {"code": code, "message": f"{code} it is"}}, status, **headers)


async def drops(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hangs(_: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    return web.Response()


def streams(*frames: bytes, then: str = "close", content_type: str = "text/event-stream") -> Step:
    """A stream that sends its frames, and then closes cleanly, aborts, or says nothing more."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for frame in frames:
            await response.write(frame)
        if then == "abort":
            return await drops(request)
        if then == "hang":
            await asyncio.Event().wait()
        return response

    return step


def event(seq: int, event_type: str = "t", stream: str = "task:a") -> bytes:
    """A stored event's frame."""
    fields = {"seq": seq, "stream": stream, "revision": seq, "event_id": f"e{seq}", "event_type": event_type}
    data = json.dumps(fields | {"timestamp": "2026-01-01T00:00:00.000Z", "source": "s", "payload": {"n": seq}})
    return f"id: {seq}\ndata: {data}\n\n".encode()


def control(name: str, **fields: Any) -> bytes:
    """A control frame."""
    return f"event: {name}\ndata: {json.dumps(fields)}\n\n".encode()


def ready(head_seq: int, epoch: str = "e1", keepalive_seconds: float = 5.0) -> bytes:
    """The end of a replay."""
    return control("ready", head_seq=head_seq, epoch=epoch, replayed=0, keepalive_seconds=keepalive_seconds)


END = control("end", reason="task.done", last_seq=99)


@pytest.fixture
def script() -> Script:
    """What the misbehaving server does."""
    return Script()


@pytest.fixture
async def url(script: Script, aiohttp_server: Any) -> str:
    """Where the misbehaving server listens."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.handle)
    return str((await aiohttp_server(app)).make_url(""))


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    """A client of the misbehaving server."""
    async with Client(url, token="secret", retry=QUICK) as client:
        yield client


async def collect(events: Any, count: int | None = None) -> list[int]:
    """The seqs of a follow, all or the first `count`."""
    seqs: list[int] = []
    async with asyncio.timeout(5), aclosing(events):
        if count == 0:
            return seqs
        async for each in events:
            seqs.append(each.seq)
            if len(seqs) == count:
                break
    return seqs


# Calls


STORED = {"seq": 1, "revision": 1, "event_id": "x", "followers": 0}
RECEIPT = Receipt(**STORED)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(drops, id="no answer"),
        pytest.param(fails(408, "request_timeout"), id="408"),
        pytest.param(fails(429, "too_many_requests"), id="429"),
        pytest.param(fails(500, "internal"), id="500 after it was stored"),
        pytest.param(fails(503, "unavailable"), id="503"),
        pytest.param(answers("bad gateway", 502), id="a proxy's 502"),
    ],
)
async def test_append_is_repeated_with_the_same_bytes(script: Script, client: Client, failure: Step) -> None:
    """The event_id is chosen before the first try, so no outcome of it can store the event twice."""
    script.steps = [failure, failure, answers(STORED, 201)]
    assert await client.append("task:a", "t", {"n": 1}, expected_revision=0) == RECEIPT
    assert len(set(script.bodies)) == 1
    sent = json.loads(script.bodies[0])
    assert sent.pop("event_id")
    assert sent == {
        "stream": "task:a",
        "event_type": "t",
        "payload": {"n": 1},
        "source": "python-client",
        "expected_revision": 0,
    }
    assert script.requests[2].headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_request", InvalidRequest),
        (404, "not_found", NotFound),
        (409, "stream_ended", StreamEnded),
        (409, "conflict", Conflict),
        (412, "revision_mismatch", RevisionMismatch),
        (413, "too_large", TooLarge),
        (422, "invalid_body", InvalidBody),
        (507, "storage_full", StorageFull),
    ],
)
async def test_refusals_are_raised_at_once(
    script: Script, client: Client, status: int, code: str, expected: type[TowowError]
) -> None:
    """Repeating a decided request would not change the decision."""
    script.steps = [fails(status, code)]
    with pytest.raises(expected):
        await client.append("task:a", "t", {})
    assert len(script.requests) == 1


async def test_full_disk_is_retried_when_asked_for(script: Script, url: str) -> None:
    """`Retry(storage_full=True)` waits for room."""
    script.steps = [fails(507, "storage_full"), answers(STORED, 201)]
    async with Client(url, retry=Retry(first_wait_seconds=0.001, jitter_seconds=0, storage_full=True)) as client:
        assert await client.append("task:a", "t", {}) == RECEIPT


async def test_retry_after_is_honoured_and_bounded(script: Script, client: Client) -> None:
    """A server that asks for more patience than the caller has gets no second try; 0 seconds is at once."""
    script.steps = [fails(503, "unavailable", **{"Retry-After": "0"}), fails(503, "unavailable", **{"Retry-After": "3600"})]
    async with asyncio.timeout(1):
        with pytest.raises(Unavailable) as caught:
            await client.append("task:a", "t", {})
    assert caught.value.details["retry_after_seconds"] == 3600
    assert len(script.requests) == 2


async def test_no_answer_in_time_is_retried_and_then_said(script: Script, url: str) -> None:
    """The last error of the bounded tries is the one that is raised."""
    script.steps = [hangs]
    patience = Retry(total_seconds=0.05, first_wait_seconds=0.001, jitter_seconds=0)
    async with Client(url, timeout_seconds=0.03, retry=patience) as client:
        with pytest.raises(Unreachable, match=r"did not answer within 0\.03 s") as caught:
            await client.append("task:a", "t", {})
    assert caught.value.was_sent
    assert len(script.requests) >= 2


async def test_nobody_listening_is_said(unused_tcp_port: int) -> None:
    """The error names the address, and knows that nothing was sent."""
    async with Client(f"http://127.0.0.1:{unused_tcp_port}", retry=Retry(total_seconds=0)) as client:
        with pytest.raises(Unreachable, match=f"no server answers at http://127.0.0.1:{unused_tcp_port}") as caught:
            await client.health()
    assert not caught.value.was_sent


async def test_demand_is_not_submitted_twice(script: Script, client: Client) -> None:
    """Without an idempotency key an unknown outcome stays unknown; a refusal to act is tried again."""
    script.steps = [fails(503, "unavailable"), drops]
    with pytest.raises(Unreachable):
        await client.submit_demand("a venue", user_id="u")
    assert len(script.requests) == 2
    assert json.loads(script.bodies[0]) == {"raw_input": "a venue", "user_id": "u"}


async def test_many_events_travel_in_one_request(script: Script, client: Client) -> None:
    """Each gets its own event_id unless it has one; none make no request."""
    script.steps = [answers({"events": [STORED, STORED]}, 201)]
    assert await client.append_many([]) == []
    given_events = [
        {"stream": "task:a", "event_type": "t", "payload": {}},
        {"stream": "task:a", "event_type": "t", "payload": {}, "event_id": "mine", "source": "me"},
    ]
    assert await client.append_many(given_events) == [RECEIPT, RECEIPT]
    first, second = json.loads(script.bodies[0])["events"]
    assert first["event_id"] != second["event_id"] == "mine"
    assert (first["source"], second["source"]) == ("python-client", "me")


@pytest.mark.parametrize("payload", [{"n": float("nan")}, [1], None, {"n": 2**64}, {"s": "\ud800"}])
async def test_payload_that_json_cannot_carry_is_refused_before_sending(client: Client, script: Script, payload: Any) -> None:
    """Nothing arrives as something else, like NaN as null."""
    with pytest.raises(InvalidBody):
        await client.append("task:a", "t", payload)
    assert script.requests == []


async def test_answer_that_is_not_a_towow_servers_is_an_error(script: Script, client: Client) -> None:
    """A wrong URL does not look like an empty log."""
    script.steps = [answers([1])]
    for call in (client.health(), client.read(), client.get_event(1)):
        with pytest.raises(InvalidBody):
            await call


async def test_ids_cannot_leave_their_path_segment(script: Script, client: Client) -> None:
    """What an id holds is quoted, never a path of its own."""
    script.steps = [fails(404, "not_found")]
    for name in ("../health", "a/b?c#d", "%2e%2e/x"):
        with pytest.raises(NotFound):
            await client.get_event(name)
    assert [request.raw_path for request in script.requests] == [
        "/api/events/..%2Fhealth",
        "/api/events/a%2Fb%3Fc%23d",
        "/api/events/%252e%252e%2Fx",
    ]


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "", "http://", "http://h/?a=1"])
def test_base_url_must_be_an_http_url(url: str) -> None:
    """A mistyped address is named, not tried."""
    with refused(InvalidRequest, "base_url"):
        Client(url)


def test_token_cannot_smuggle_headers() -> None:
    """Line breaks in a token are refused without repeating it."""
    with pytest.raises(InvalidRequest) as caught:
        Client(token="secret\r\nX: y")
    assert "secret" not in str(caught.value)


async def test_client_must_be_opened_and_leaves_a_foreign_session_open() -> None:
    """Who makes a session closes it."""
    with pytest.raises(RuntimeError, match="async with"):
        await Client().health()
    async with aiohttp.ClientSession() as session:
        async with Client(session=session):
            pass
        assert not session.closed


# Follows


@pytest.mark.parametrize("then", ["close", "abort"])
async def test_follow_resumes_after_the_last_event(script: Script, client: Client, then: str) -> None:
    """The next connection asks for what follows, in the same epoch, and what comes again is dropped."""
    script.steps = [
        streams(event(1), ready(1), event(2), then=then),
        streams(event(2), event(3), ready(3), event(4), event(4), END),
    ]
    assert await collect(client.follow("task:a", types=["t*"])) == [1, 2, 3, 4]
    assert script.queries() == [
        {"stream": "task:a", "type": "t*"},
        {"stream": "task:a", "type": "t*", "since_seq": "2", "epoch": "e1"},
    ]
    assert script.requests[0].headers["Accept"] == "text/event-stream"


async def test_follow_yields_events_with_their_fields(script: Script, client: Client) -> None:
    """An event is what the server stored, and gives its canonical JSON again."""
    script.steps = [streams(event(7), END)]
    async for each in client.follow("task:a"):
        assert isinstance(each, Event)
        assert (each.seq, each.stream, each.event_type, each.payload) == (7, "task:a", "t", {"n": 7})
        assert json.loads(each.canonical()) == json.loads(event(7).split(b"data: ")[1])


async def test_follow_that_starts_live_misses_nothing_in_a_break(script: Script, client: Client) -> None:
    """The head of `ready` is the cursor although no event has come yet."""
    script.steps = [streams(ready(41), then="abort"), streams(event(42), ready(42), END)]
    assert await collect(client.follow("task:*", start="live")) == [42]
    assert script.queries() == [{"stream": "task:*", "start": "live"}, {"stream": "task:*", "since_seq": "41", "epoch": "e1"}]


async def test_follow_reads_frames_that_are_cut_anywhere(script: Script, client: Client) -> None:
    """Chunks of one byte are events as well."""
    raw = b"\xef\xbb\xbfretry: 1\n" + event(1) + b": keepalive\n" + event(2) + END
    script.steps = [streams(*(bytes([byte]) for byte in raw))]
    assert await collect(client.follow("task:a")) == [1, 2]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        pytest.param(fails(503, "unavailable"), "unavailable it is", id="503"),
        pytest.param(fails(429, "too_many_requests"), "too_many_requests it is", id="429"),
        pytest.param(answers("<html>", 502), "answered 502", id="a proxy's 502"),
        pytest.param(drops, "broke", id="no answer"),
        pytest.param(streams(control("end", reason="shutdown", last_seq=0)), "shutdown", id="shutdown"),
        pytest.param(streams(control("end", reason="capacity", last_seq=0)), "capacity", id="capacity"),
        pytest.param(streams(b"data: {not json\n\n"), "cannot be read", id="garbage"),
        pytest.param(streams(b"data: {}\n\n"), "cannot be read", id="an event without fields"),
        pytest.param(streams(control("ready")), "cannot be read", id="a ready without fields"),
        pytest.param(streams(), "closed", id="an empty stream"),
    ],
)
async def test_follow_comes_back_after_what_passes(script: Script, client: Client, failure: Step, reason: str) -> None:
    """Every failure that another try may not meet leads to another try, with a wait that was announced."""
    told: list[tuple[str, dict[str, Any]]] = []
    script.steps = [failure, failure, streams(event(1), END)]
    assert await collect(client.follow("task:a", on_state=lambda *state: told.append(state))) == [1]
    waits = [detail for state, detail in told if state == "reconnecting"]
    assert waits  # aiohttp itself repeats a GET without an answer once
    assert all(reason in detail["reason"] and 0 <= detail["wait_seconds"] <= 0.01 for detail in waits)


async def test_follow_tells_its_states(script: Script, client: Client) -> None:
    """A user interface can show what happens to the connection."""
    told: list[str] = []
    script.steps = [streams(ready(0), then="abort"), streams(ready(0), END)]
    assert await collect(client.follow("task:a", on_state=lambda state, _: told.append(state))) == []
    assert told == ["connecting", "connected", "ready", "reconnecting", "connecting", "connected", "ready", "ended"]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_request", InvalidRequest),
        (401, "unauthorized", TowowError),
        (403, "forbidden", TowowError),
        (404, "not_found", NotFound),
        (409, "conflict", Conflict),
        (410, "gone", Gone),
    ],
)
async def test_follow_raises_refusals(
    script: Script, client: Client, status: int, code: str, expected: type[TowowError]
) -> None:
    """Nobody hammers a server that has said no."""
    script.steps = [fails(status, code)]
    with pytest.raises(expected) as caught:
        await collect(client.follow("task:a"))
    assert caught.value.code == code
    assert len(script.requests) == 1


async def test_follow_reconnects_at_once_after_rotate(script: Script, client: Client) -> None:
    """A planned end costs no wait; a server that rotates without sending anything gets no busy loop."""
    waits: list[float] = []
    rotate = control("rotate", next_since_seq=2)
    script.steps = [streams(event(1), event(2), rotate), streams(rotate), streams(event(3), END)]
    on_state = lambda state, detail: waits.append(detail["wait_seconds"]) if state == "reconnecting" else None  # noqa: E731
    assert await collect(client.follow("task:a", on_state=on_state)) == [1, 2, 3]
    assert waits[0] == 0
    assert waits[1] > 0
    assert [query.get("since_seq") for query in script.queries()] == [None, "2", "2"]


async def test_follow_finishes_at_the_end_of_an_ended_stream(script: Script, client: Client) -> None:
    """`end` with an event type, and 204 for a cursor that is at that end, both finish the iteration."""
    script.steps = [streams(event(1), END), answers(None, 204)]
    assert await collect(client.follow("task:a")) == [1]
    assert await collect(client.follow("task:a", since_seq=1)) == []


async def test_follow_without_live_stops_at_the_end_of_what_is_stored(script: Script, client: Client) -> None:
    """`live=False` reads history with the same promises and then returns."""
    script.steps = [streams(event(1), then="abort"), streams(event(2), ready(2), event(3), then="hang")]
    assert await collect(client.follow("task:a", live=False)) == [1, 2]


RESET = control("reset", reason="other_epoch", requested="90", oldest_seq=4, head_seq=6, epoch="e2")


async def test_follow_raises_when_its_cursor_is_lost(script: Script, client: Client) -> None:
    """A position that the log does not hold is never passed over in silence."""
    script.steps = [streams(RESET, event(4), ready(6))]
    with pytest.raises(CursorLost, match="other_epoch") as caught:
        await collect(client.follow("task:a", since_seq=90, epoch="e1"))
    assert (caught.value.oldest_seq, caught.value.head_seq, caught.value.epoch) == (4, 6, "e2")
    assert script.queries() == [{"stream": "task:a", "since_seq": "90", "epoch": "e1"}]


async def test_follow_goes_on_from_the_oldest_when_asked_to(script: Script, client: Client) -> None:
    """`on_reset="continue"` yields the new log from its oldest event, even when the connection breaks."""
    script.steps = [streams(RESET, then="abort"), streams(event(4), event(5), ready(6, "e2"), END)]
    assert await collect(client.follow("task:a", since_seq=90, on_reset="continue")) == [4, 5]
    assert script.queries()[1] == {"stream": "task:a", "since_seq": "3", "epoch": "e2"}


async def test_follow_notices_silence(script: Script, client: Client) -> None:
    """No byte for 2.5 keepalives means that the connection is dead, whatever the kernel says."""
    told: list[str] = []
    script.steps = [streams(event(1), ready(1, keepalive_seconds=0.01), then="hang"), streams(event(2), END)]
    on_state = lambda state, detail: told.append(detail["reason"]) if state == "reconnecting" else None  # noqa: E731
    assert await collect(client.follow("task:a", on_state=on_state)) == [1, 2]
    assert told == ["nothing came for 0.025 s"]


async def test_follow_takes_keepalives_for_life(script: Script, client: Client) -> None:
    """Comments keep a quiet connection, however long it stays quiet."""

    async def breathes(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(ready(0, keepalive_seconds=0.2))
        for _ in range(30):
            await asyncio.sleep(0.02)
            await response.write(b": keepalive\n")
        await response.write(event(1) + END)
        return response

    script.steps = [breathes]
    assert await collect(client.follow("task:a")) == [1]
    assert len(script.requests) == 1


async def test_follow_at_a_wrong_url_says_so(script: Script, client: Client) -> None:
    """A web page instead of a stream is an error at first contact and a break later on."""
    page = answers("<html>")
    script.steps = [page]
    with pytest.raises(Unavailable, match="is this a ToWow server"):
        await collect(client.follow("task:a"))
    script.requests.clear()
    script.steps = [streams(ready(0), then="abort"), page, streams(event(1), END)]
    assert await collect(client.follow("task:a")) == [1]


async def test_follow_waits_for_a_server_that_is_not_there_yet(unused_tcp_port: int) -> None:
    """An agent may start before its server."""
    tries = asyncio.Event()
    states: list[str] = []

    def on_state(state: str, _: dict[str, Any]) -> None:
        states.append(state)
        if states.count("reconnecting") == 3:
            tries.set()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await streams(event(1), END)(request)

    async with Client(f"http://127.0.0.1:{unused_tcp_port}", retry=QUICK) as client, asyncio.timeout(5):
        following = asyncio.create_task(collect(client.follow("task:a", on_state=on_state)))
        await tries.wait()
        app = web.Application()
        app.router.add_get("/api/events/stream", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
        assert await following == [1]
        await runner.cleanup()


@pytest.mark.parametrize("way", ["cancel", "close"])
async def test_leaving_a_follow_closes_its_connection(script: Script, client: Client, way: str) -> None:
    """The server sees a consumer leave at once, whether it was cancelled or lost interest."""
    script.steps = [streams(event(1), ready(1), then="hang")]
    got_one = asyncio.Event()

    async def consume() -> None:
        async with aclosing(client.follow("task:a")) as events:
            async for _ in events:
                got_one.set()
                if way == "close":
                    return

    async with asyncio.timeout(5):
        consumer = asyncio.create_task(consume())
        await got_one.wait()
        if way == "cancel":
            consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
        await script.left.wait()


async def test_a_time_out_around_the_next_event_loses_nothing(script: Script, client: Client) -> None:
    """The connection stays, and the event that comes later is the next one."""
    may_send = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event(1) + ready(1))
        await may_send.wait()
        await response.write(event(2) + event(3) + END)
        return response

    script.steps = [waits]
    async with aclosing(client.follow("task:a")) as events:
        assert (await asyncio.wait_for(anext(events), 5)).seq == 1
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.01)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(events)
        may_send.set()
        assert [each.seq for each in await asyncio.wait_for(events.batch(), 5)] == [2, 3]
        assert await asyncio.wait_for(anext(events, None), 5) is None
    assert len(script.requests) == 1


@pytest.mark.parametrize("cancel_after", range(1, 12))
async def test_a_reader_that_is_cancelled_at_any_step_gets_every_event(
    script: Script, client: Client, cancel_after: int
) -> None:
    """Cancelled after any number of turns of the event loop, again and again, over three connections."""
    script.steps = [
        streams(event(1), event(2), then="abort"),
        streams(event(2), event(3), ready(3), then="close"),
        streams(event(4), END),
    ]
    seqs: list[int] = []
    async with asyncio.timeout(5), client.follow("task:a") as events:
        while len(seqs) < 4:
            reading = asyncio.ensure_future(anext(events))
            for _ in range(cancel_after):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait((reading,))
            if not reading.cancelled():
                seqs.append(reading.result().seq)
            await asyncio.sleep(0.001 if len(seqs) < 4 else 0)
        assert await anext(events, None) is None
    assert seqs == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["follow_agent", "follow_session", "follow_task", "follow_run"])
async def test_every_follow_survives_a_time_out(script: Script, client: Client, name: str) -> None:
    """All of them are of the same kind."""
    script.steps = [streams(event(1), ready(1), then="hang")]
    async with getattr(client, name)("x") as events:
        assert (await asyncio.wait_for(anext(events), 5)).seq == 1
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.01)


async def test_closing_a_client_ends_its_follows(script: Script, client: Client) -> None:
    """A reader that waits sees the end of its iteration, not an error."""
    script.steps = [streams(event(1), ready(1), then="hang")]
    events = client.follow("task:a")
    async with asyncio.timeout(5):
        assert (await anext(events)).seq == 1
        waiting = asyncio.ensure_future(anext(events, None))
        await asyncio.sleep(0)
        await client.close()
        assert await waiting is None
        assert await anext(events, None) is None
        await script.left.wait()


async def test_a_follow_that_nobody_reads_any_more_closes_its_connection(script: Script, client: Client) -> None:
    """Dropped without `aclose` after a time-out, it does not stay connected for ever."""
    script.steps = [streams(event(1), ready(1), then="hang")]

    async def lose_interest() -> None:
        events = client.follow("task:a")
        await anext(events)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(anext(events), 0.01)

    async with asyncio.timeout(5):
        await lose_interest()
        gc.collect()
        await script.left.wait()


async def test_two_readers_may_not_share_a_follow(script: Script, client: Client) -> None:
    """Each would get a part of the events; the second one gets an error at once."""
    script.steps = [streams(ready(0), then="hang")]
    async with client.follow("task:a") as events:
        waiting = asyncio.ensure_future(anext(events, None))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="its own"):
            await anext(events)
        await events.aclose()
        assert await waiting is None


# The real server


@pytest.fixture
async def real(serve: Any, quiet_config: Config) -> Any:
    """The real server on a file of its own."""
    return await serve(changed(quiet_config, "stream", max_events_per_stream=7, retry_milliseconds=1))


async def test_client_appends_and_reads_back(towow: Client) -> None:
    """Every call, once, against the real thing."""
    first = await towow.append("task:a", "task.started", {"name": "索引\u2028"}, expected_revision=0)
    again = await towow.append_many(
        [{"stream": "task:b", "event_type": "x", "payload": {}}, {"stream": "task:a", "event_type": "y", "payload": {}}]
    )
    assert [each.revision for each in (first, *again)] == [1, 1, 2]
    page = await towow.read("task:a", since_seq=0, limit=1)
    assert [each.payload for each in page.events] == [{"name": "索引\u2028"}]
    assert page.has_more
    rest = await towow.read("task:a", since_seq=page.next_since_seq, epoch=page.epoch)
    assert [each.event_type for each in rest.events] == ["y"]
    assert await towow.get_event(first.event_id) == await towow.get_event(1) == page.events[0]
    assert [each.name async for each in towow.each_stream(limit=1)] == ["task:a", "task:b"]
    assert (await towow.health()).status == "ok"
    with pytest.raises(NotFound):
        await towow.get_event(99)
    with pytest.raises(CursorLost) as caught:
        await towow.read("task:a", since_seq=99)
    assert (caught.value.reason, caught.value.head_seq) == ("past_head", 3)


async def test_repeating_an_append_does_not_misreport_its_revision(towow: Client) -> None:
    """The second try of an append that was stored is the first answer again, not a mismatch."""
    event_id = "e-1"
    first = await towow.append("task:a", "t", {"n": 1}, event_id=event_id, expected_revision=0)
    second = await towow.append("task:a", "t", {"n": 1}, event_id=event_id, expected_revision=0)
    assert (second.seq, second.revision) == (first.seq, first.revision)
    with pytest.raises(RevisionMismatch) as caught:
        await towow.append("task:a", "t", {"n": 1}, expected_revision=0)
    assert caught.value.details["actual"] == 1
    with pytest.raises(Conflict):
        await towow.append("task:a", "t", {"n": 2}, event_id=event_id)


async def test_long_poll_waits_for_the_next_event(towow: Client) -> None:
    """`wait` holds the answer back until there is one."""
    await towow.append("task:a", "t", {})
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(towow.read("task:a", since_seq=1, wait=4))
        group.create_task(towow.append("task:a", "t", {}))
    assert [each.seq for each in waiting.result().events] == [2]


async def test_follow_gets_everything_over_rotated_connections(towow: Client) -> None:
    """Stored and new events, over a connection for every seven of them, each once and in order."""
    await towow.append_many([{"stream": "task:a", "event_type": "t", "payload": {"n": n}} for n in range(30)])
    events = towow.follow("task:a")
    async with asyncio.timeout(10), aclosing(events):
        seqs = [(await anext(events)).seq for _ in range(30)]
        for n in range(20):
            await towow.append("task:a", "t", {"n": n})
            seqs.append((await anext(events)).seq)
    assert seqs == list(range(1, 51))


async def test_follow_resumes_after_connections_were_cut(real: Any, towow: Client) -> None:
    """A cut connection costs nothing but a reconnect."""
    events = towow.follow("task:a", allow_pending=True)
    async with asyncio.timeout(10), aclosing(events):
        seqs = []
        for n in range(10):
            await towow.append("task:a", "t", {"n": n})
            seqs.append((await anext(events)).seq)
            for connection in list(real.runner.server.connections):
                connection.transport.abort()
    assert seqs == list(range(1, 11))


async def test_follow_frees_the_server_when_it_is_left(real: Any, towow: Client) -> None:
    """No follower remains."""
    await towow.append("task:a", "t", {})
    async with asyncio.timeout(5):
        events = towow.follow("task:a")
        await anext(events)
        assert len(real.app[FOLLOWERS]) == 1
        await events.aclose()
        while len(real.app[FOLLOWERS]):
            await asyncio.sleep(0)


async def test_follow_says_that_its_cursor_is_lost(towow: Client) -> None:
    """Past the head, of another epoch, of an unknown event: each by its name."""
    await towow.append("task:a", "t", {})
    for options, reason in (
        ({"since_seq": 50}, "past_head"),
        ({"since_seq": 1, "epoch": "0123456789abcdef"}, "other_epoch"),
        ({"since_seq": "nobody"}, "unknown_event_id"),
    ):
        with pytest.raises(CursorLost) as caught:
            await collect(towow.follow("task:a", **options))
        assert caught.value.reason == reason
        assert await collect(towow.follow("task:a", on_reset="continue", **options), 1) == [1]
    with pytest.raises(NotFound):
        await collect(towow.follow("task:none"))
