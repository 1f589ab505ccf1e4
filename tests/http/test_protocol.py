"""Below the router: every refusal has the shape of an error, half a close is answered, and a peer that has left is noticed."""

import asyncio
import json
import re

import pytest
from structlog.testing import capture_logs

from server.app import FOLLOWERS
from tests.support import assert_error, body, publish, raw_connection, read_chunk, read_head, request_bytes, until

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
STREAM = "/api/events/stream?stream=task:a"


def head(line, *headers, host="Host: localhost\r\n"):
    """A request with these headers."""
    return f"{line}\r\n{host}{''.join(f'{header}' for header in headers)}\r\n".encode("latin-1")


def chunked(text):
    """A publish whose body is sent in these chunks."""
    lines = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    return head("POST /api/events HTTP/1.1", lines) + text


@pytest.mark.parametrize(
    ("request_", "status", "code", "field"),
    [
        pytest.param(head("GET /" + "a" * 70_000 + " HTTP/1.1"), 413, "too_large", "request line", id="a long request line"),
        pytest.param(head("GET / HTTP/1.1", f"X-A: {'a' * 20_000}\r\n"), 413, "too_large", "header", id="a long header"),
        pytest.param(head("GET / HTTP/1.1", f"{'a' * 20_000}: b\r\n"), 413, "too_large", "header", id="a long name"),
        pytest.param(head("GET / HTTP/1.1", *["X-A: b\r\n"] * 200), 400, "invalid_request", "request", id="many headers"),
        pytest.param(head("GET / HTTP/1.1", "no colon\r\n"), 400, "invalid_request", "request", id="no colon"),
        pytest.param(head("GET / HTTP/1.1", "a b: c\r\n"), 400, "invalid_request", "request", id="a blank in a name"),
        pytest.param(head("GET / HTTP/1.1", "X-A: \0\r\n"), 400, "invalid_request", "request", id="NUL in a header"),
        pytest.param(head("GET / HTTP/1.1", host=""), 400, "invalid_request", "Host", id="no Host"),
        pytest.param(head("GET / HTTP/1.1", "Host: a\r\n"), 400, "invalid_request", "Host", id="two Hosts"),
        pytest.param(head("GET / HTTP/9.9"), 400, "invalid_request", "request", id="another version"),
        pytest.param(head("FROB / HTTP/1.1"), 400, "invalid_request", "request", id="an unknown method"),
        pytest.param(head("get / HTTP/1.1"), 400, "invalid_request", "request", id="a method in small letters"),
        pytest.param(head("GET /\xff HTTP/1.1"), 400, "invalid_request", "request", id="a byte in the path"),
        pytest.param(head("GET http://[::1/ HTTP/1.1"), 400, "invalid_request", "request", id="half an address"),
        pytest.param(head("GET http://a:b/ HTTP/1.1"), 400, "invalid_request", "request", id="a port that is no number"),
        pytest.param(head("GET http://a:99999/ HTTP/1.1"), 400, "invalid_request", "request", id="a port that is too high"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "invalid_request", "request", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_request", "request", id="HTTP/2"),
        pytest.param(head("GET / HTTP/1.1", "Expect: a\r\n"), 400, "invalid_request", "Expect", id="Expect"),
        pytest.param(head("GET /no HTTP/1.1", "Expect: \xff\r\n"), 400, "invalid_request", "request", id="Expect, a byte"),
        pytest.param(
            head(f"GET {STREAM} HTTP/1.1", UPGRADE, "Sec-WebSocket-Key: \xff\r\n"),
            400,
            "invalid_request",
            "Sec-WebSocket-Key",
            id="a byte in the key",
        ),
        pytest.param(
            head(f"GET {STREAM} HTTP/1.1", UPGRADE, "Sec-WebSocket-Key: a\r\n"),
            400,
            "invalid_request",
            "Sec-WebSocket-Key",
            id="a short key",
        ),
        pytest.param(head(f"GET {STREAM} HTTP/1.1", UPGRADE), 400, "invalid_request", "Sec-WebSocket-Key", id="no key"),
        pytest.param(
            head("POST /api/events HTTP/1.1", "Content-Length: x\r\n"),
            400,
            "invalid_request",
            "request",
            id="a length that is no number",
        ),
        pytest.param(
            head("POST /api/events HTTP/1.1", "Content-Length: 1\r\nContent-Length: 2\r\n"),
            400,
            "invalid_request",
            "request",
            id="two lengths",
        ),
        pytest.param(
            head("POST /api/events HTTP/1.1", "Transfer-Encoding: x\r\n") + b"{}",
            400,
            "invalid_request",
            "request",
            id="a coding",
        ),
        pytest.param(chunked(b"zz\r\n{}\r\n0\r\n\r\n"), 400, "invalid_request", None, id="a chunk's size that is no number"),
        pytest.param(chunked(b"2\r\n{}xx0\r\n\r\n"), 400, "invalid_request", None, id="a chunk longer than its size"),
        pytest.param(head("CONNECT a:1 HTTP/1.1"), 404, "not_found", None, id="CONNECT"),
        pytest.param(head("OPTIONS * HTTP/1.1"), 204, None, None, id="OPTIONS *"),
        pytest.param(head("GET /%zz HTTP/1.1"), 404, "not_found", None, id="a percent sign alone"),
        pytest.param(head("GET //x/../ HTTP/1.1"), 404, "not_found", None, id="two slashes"),
        pytest.param(head("TRACE /health HTTP/1.1"), 405, "method_not_allowed", None, id="TRACE"),
        pytest.param(head("GET / HTTP/1.0", host=""), 200, None, None, id="HTTP/1.0 without Host"),
    ],
)
async def test_what_aiohttp_refuses_by_itself_has_the_shape_of_every_error(client, caplog, request_, status, code, field):
    """JSON with code, message, field and error_id, the security headers, one line in the log and no traceback."""
    await publish(client, 1)
    with capture_logs() as lines:
        async with raw_connection(client, request_) as (reader, _):
            found, headers = await read_head(reader)
            data = await reader.readexactly(int(headers.get("content-length", "0")))
    assert found == status, data
    assert headers["x-content-type-options"] == "nosniff"
    if code is not None:
        error = json.loads(data)
        assert headers["content-type"] == "application/json"
        assert error["error"]["code"] == code, error
        assert error["error"].get("field") == field or field is None, error
        assert error["detail"] == error["error"]["message"]
        assert headers["x-request-id"] == error["error"]["error_id"]
        assert b"\\xff" not in data
    assert "Traceback" not in caplog.text
    assert not [line for line in lines if "exc_info" in line or line["log_level"] == "error"], lines


async def test_a_url_with_everything_that_the_parameters_allow_fits(client):
    """64 stream names of 128 characters, each of them percent-encoded."""
    names = [f"task%3A{'%2E' * 121}{n:02}" for n in range(64)]
    query = "&".join(f"stream={name}" for name in names)
    assert len(query) > 20_000
    async with raw_connection(client, request_bytes("GET", f"/api/events?{query}")) as (reader, _):
        status, headers = await read_head(reader)
        assert (status, json.loads(await reader.readexactly(int(headers["content-length"])))["events"]) == (200, [])


async def test_a_client_that_closes_its_sending_half_gets_its_answers(client):
    """Two requests and FIN: both are answered, then the connection ends; a request that is cut is not."""
    data = request_bytes("GET", "/health") + request_bytes(
        "POST", "/api/events", body=json.dumps(body()).encode(), Content_Type="application/json"
    )
    async with raw_connection(client, data) as (reader, writer):
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 3)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"201"]
    for cut in (data[:-3], data[: data.index(b"\r\n\r\n") - 3]):
        async with raw_connection(client, cut) as (reader, writer):
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 3) in (b"",) or cut == data[:-3]
    assert (await (await client.get("/api/events?stream=task:a&since_seq=0")).json())["head_seq"] == 1


async def test_a_long_poll_of_a_client_that_sends_no_more_is_answered_at_once(client):
    """It may have left, and nothing can be written to find out: it gets the page that there is."""
    await publish(client, 1)
    async with raw_connection(client, request_bytes("GET", "/api/events?since_seq=1&wait=60")) as (reader, writer):
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 3)
    assert b'"events":[]' in answer


async def test_a_stream_to_half_a_connection_goes_on_and_says_so_at_once(aiohttp_client, client):
    """A keepalive follows the FIN, and live events come."""
    await publish(client, 1)
    async with raw_connection(client, request_bytes("GET", STREAM)) as (reader, writer):
        await read_head(reader)
        chunks = b""
        while b"event: ready" not in chunks:
            chunks += await read_chunk(reader)
        writer.write_eof()
        assert await read_chunk(reader) == b": keepalive\n"  # the next one by itself is a minute away
        await publish(client, 1)
        while b'"seq":2' not in chunks:
            chunks += await read_chunk(reader)
        assert len(client.app[FOLLOWERS]) == 1
    await until(lambda: len(client.app[FOLLOWERS]) == 0)


async def test_a_stream_whose_client_has_left_ends_soon(client):
    """The RST that answers the keepalive ends it, long before a keepalive would be due."""
    await publish(client, 1)
    for _ in range(5):
        async with raw_connection(client, request_bytes("GET", STREAM)) as (reader, _):
            await read_head(reader)
            await until(lambda: len(client.app[FOLLOWERS]) == 1)
        await until(lambda: len(client.app[FOLLOWERS]) == 0, timeout=2)


async def test_head_is_answered_where_get_is_and_405_says_what_is_allowed(client):
    """The head of a GET without a body, of streams, too; the header `Allow` names the methods."""
    await publish(client, 1)
    for path in (
        "/health",
        "/api/events?stream=task:a",
        STREAM,
        f"{STREAM}&format=ndjson",
        "/api/streams",
        "/",
        "/static/style.css",
    ):
        async with raw_connection(client, request_bytes("HEAD", path) + request_bytes("GET", "/sse/health")) as (reader, _):
            status, headers = await read_head(reader)
            assert status == 200, path
            got = await client.get(path.replace(STREAM, "/api/events/stream?stream=task:a"))
            assert headers["content-type"] == got.headers["Content-Type"]
            got.close()
            assert (await read_head(reader))[0] == 200  # there was no body to mistake for this
    assert (await client.head("/api/events/stream?stream=task:none")).status == 404
    assert len(client.app[FOLLOWERS]) == 0 or await until(lambda: len(client.app[FOLLOWERS]) == 0) is None
    answer = await client.delete("/api/events")
    await assert_error(answer, "method_not_allowed", status=405)
    assert answer.headers["Allow"] == "GET, HEAD, POST"
