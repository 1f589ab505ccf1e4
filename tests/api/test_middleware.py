"""Around every request: its id, its one log line, and errors that keep their text to themselves."""

import logging
import os
import re

import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from server.app import FOLLOWERS, LOG, make_app
from server.config import LoggingSection
from server.logs import configure_logging
from tests.support import assert_error, body, publish, raw_connection, read_frames, read_head, request_bytes, reset, until

SECRET = "swordfish"  # stands for a token, a ticket or a payload


@pytest.fixture
def lines():
    """What is logged, as dictionaries."""
    with capture_logs() as captured:
        yield captured


def requests_in(lines):
    """The lines about requests."""
    return [line for line in lines if line["event"] == "request"]


@pytest.fixture
async def broken_client(aiohttp_client, quiet_config):
    """A server with handlers that fail, before and after the headers have left."""

    async def boom(request):
        raise ValueError(f"the token is {SECRET}")

    async def late(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise ValueError(f"the token is {SECRET}")

    app = make_app(quiet_config)
    app.router.add_get("/boom", boom)
    app.router.add_get("/late", late)
    return await aiohttp_client(app)


# Errors


async def test_an_internal_error_hides_its_text_and_logs_it_under_the_error_id(broken_client, lines):
    """The client gets an id; the log has the exception under the same id."""
    answer = await broken_client.get("/boom?ticket=" + SECRET)
    error = await assert_error(answer, "internal", status=500)
    assert SECRET not in await answer.text()
    assert "ValueError" not in await answer.text()
    [failure] = [line for line in lines if line["event"] == "request_failed"]
    assert failure["error_id"] == error["error_id"] == answer.headers["X-Request-Id"]
    assert failure["exc_info"]
    assert failure["path"] == "/boom"
    [line] = requests_in(lines)
    assert (line["status"], line["request_id"]) == (500, error["error_id"])


async def test_a_fault_after_the_headers_closes_the_connection_without_a_second_answer(broken_client, lines):
    """Half an answer and a broken end tell the client the truth; an error page in the middle of a body does not."""
    logger = logging.getLogger("aiohttp.server")
    logger.disabled = True
    try:
        async with raw_connection(broken_client, request_bytes("GET", "/late")) as (reader, _):
            assert (await read_head(reader))[0] == 200
            rest = await reader.read()
    finally:
        logger.disabled = False
    assert rest.startswith(b"4\r\nhalf\r\n")
    assert b"HTTP/1.1" not in rest
    assert SECRET.encode() not in rest
    assert [line["event"] for line in lines] == ["request_failed", "request"]


# Request ids


@pytest.mark.parametrize("given", ["req-1", "a", "A.b_c-9", "x" * 64])
async def test_a_request_id_goes_in_and_out(client, lines, given):
    """On answers, errors and streams, and into the log, so that a proxy's id finds our line."""
    for path in ("/health", "/api/events/999", "/", "/api/events/stream?stream=task:a&allow_pending=1"):
        async with client.get(path, headers={"X-Request-Id": given}) as answer:
            assert answer.headers["X-Request-Id"] == given
    await until(lambda: len(requests_in(lines)) == 4)
    assert {line["request_id"] for line in requests_in(lines)} == {given}


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("x" * 65, id="too long"),
        pytest.param("a b", id="blank"),
        pytest.param("a;b", id="semicolon"),
        pytest.param('"><script>', id="markup"),
        pytest.param("\x1b[31m", id="escape sequence"),
        pytest.param("été", id="not ASCII"),
        pytest.param("٣", id="a digit of another script"),
        pytest.param("", id="empty"),
    ],
)
async def test_a_malformed_request_id_is_replaced(client, lines, given):
    """It would end up in the log and in headers; the request itself is served."""
    request = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + given.encode() + b"\r\n\r\n"
    async with raw_connection(client, request) as (reader, _):
        status, headers = await read_head(reader)
    if status == 400:  # the parser refused the header itself
        assert not requests_in(lines)
        return
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", headers["x-request-id"])
    assert requests_in(lines)[0]["request_id"] == headers["x-request-id"]


async def test_generated_request_ids_are_unique(client):
    """Every request has an id of its own."""
    ids = {(await client.get("/health")).headers["X-Request-Id"] for _ in range(20)}
    assert len(ids) == 20


# Log lines


async def test_a_request_is_one_line_with_its_fields(client, lines):
    """Method, path, status, milliseconds, bytes, id; a publish says how many followers it reached."""
    answer = await client.post("/api/events?x_secret=1", json=body())
    [line] = requests_in(lines)
    assert line["log_level"] == "info"
    assert line["ms"] > 0
    assert {key: line[key] for key in ("method", "path", "status", "bytes", "followers", "request_id")} == {
        "method": "POST",
        "path": "/api/events",
        "status": 201,
        "bytes": len(await answer.read()),
        "followers": 0,
        "request_id": answer.headers["X-Request-Id"],
    }
    named = {"client"} if "TOWOW_TEST_TOKEN" in os.environ else set()
    fields = {"event", "log_level", "ms", "method", "path", "status", "bytes", "followers", "request_id", "address"}
    assert set(line) == fields | named


async def test_a_stream_is_one_line_when_it_is_over(client, lines):
    """With the events and bytes that it carried, live ones included; a client that leaves a stream is not an error."""
    await publish(client, 2)
    async with client.get("/api/events/stream?stream=task:a") as response:
        await read_frames(response, 3)
        await publish(client, 1)
        await read_frames(response, 1)
        await until(lambda: len(client.app[FOLLOWERS]) == 1)
        assert [line["path"] for line in requests_in(lines)] == ["/api/events"] * 2
    await until(lambda: len(requests_in(lines)) == 3)
    line = requests_in(lines)[-1]
    assert (line["path"], line["status"], line["events"]) == ("/api/events/stream", 200, 3)
    assert line["bytes"] > 600


async def test_a_client_that_leaves_before_its_answer_is_logged_as_499(client, lines):
    """So that it is neither lost nor counted as a success."""
    async with raw_connection(client, request_bytes("GET", "/api/events?since_seq=0&wait=60")) as (_, writer):
        await until(lambda: sum(len(group.members) for group in client.app[LOG].hub._groups.values()) > 1)
        reset(writer)
    await until(lambda: requests_in(lines))
    assert requests_in(lines)[0]["status"] == 499


async def test_pages_errors_and_preflights_have_lines_too(client, lines):
    """One each, with the bytes of their bodies."""
    page = await (await client.get("/")).read()
    missing = await (await client.get("/nothing")).read()
    await client.options("/api/events")
    found = [(line["method"], line["path"], line["status"], line["bytes"]) for line in requests_in(lines)]
    assert found == [("GET", "/", 200, len(page)), ("GET", "/nothing", 404, len(missing)), ("OPTIONS", "/api/events", 204, 0)]


async def test_no_query_token_or_payload_reaches_a_line(client, lines):
    """Secrets travel in queries, headers and payloads; none of them is written at info."""
    if "TOWOW_TEST_TOKEN" in os.environ:
        pytest.skip("sends a token of its own, which is not good where one is asked for; test_auth_secrecy.py has that case")
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": f"ticket={SECRET}", "Referer": f"http://x/?{SECRET}"}
    await client.post(f"/api/events?token={SECRET}", json=body(source=SECRET) | {"payload": {"p": SECRET}}, headers=headers)
    await client.post("/api/events", json={SECRET: 1}, headers=headers)
    await client.post("/api/events", data=SECRET, headers=headers | {"Content-Type": "application/json"})
    await client.post("/api/demand/submit", json={"raw_input": SECRET, "user_id": SECRET}, headers=headers)
    await client.get(f"/api/events?since_seq={SECRET}", headers=headers)
    await client.get(f"/nothing?ticket={SECRET}", headers=headers)
    async with client.get(f"/api/events/stream?start=live&ticket={SECRET}", headers=headers) as response:
        await read_frames(response, 1)
    await until(lambda: len(requests_in(lines)) == 7)
    assert SECRET not in repr(lines)


async def test_a_path_is_logged_as_it_was_sent(client, lines):
    """Decoded, it could hold line breaks and forge lines."""
    for path in ("/api/events/a%0Ab", "/static/%1b[31m", "/%E5%9C%BA"):
        async with raw_connection(client, request_bytes("GET", path)) as (reader, _):
            assert (await read_head(reader))[0] in (400, 404)
    assert [line["path"] for line in requests_in(lines)] == ["/api/events/a%0Ab", "/static/%1b[31m", "/%E5%9C%BA"]


async def test_requests_that_are_not_http_leave_no_query_in_the_log(client, monkeypatch, caplog):
    """The web server's own traceback would quote the request line, token and all."""
    logger = logging.getLogger("aiohttp.server")
    before = list(logger.filters)
    monkeypatch.setattr(structlog, "configure", lambda **settings: None)  # it would outlive this test
    try:
        configure_logging(LoggingSection(format="console"))
        for line in (f"GET /x?token={SECRET}\xff HTTP/1.1", f"FROB /x?token={SECRET} HTTP/1.1", f"GET /x?{SECRET} HTTP/9"):
            async with raw_connection(client, f"{line}\r\nHost: x\r\n\r\n".encode("latin-1")) as (reader, _):
                assert (await read_head(reader))[0] == 400
        compressed = request_bytes(
            "POST", "/api/events", body=SECRET.encode(), Content_Type="application/json", Content_Encoding="gzip"
        )
        async with raw_connection(client, compressed) as (reader, _):
            assert (await read_head(reader))[0] == 415
            await reader.read()
    finally:
        logger.filters[:] = before
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text
