"""Answers: the one shape of an error for every code, and the headers that every response carries."""

import json
import re

import pytest
from aiohttp import web

from server.api.pages import CONTENT_SECURITY_POLICY
from server.app import LOG, make_app
from server.eventlog.database import sqlite3
from server.http.cors import Cors
from server.http.responses import SECURITY_HEADERS, error_response, http_date
from tests.support import assert_error, body, changed, publish, raw_connection, read_chunk, read_head, request_bytes
from towow.errors import STATUS_BY_CODE, StorageFull, TowowError

APP = "https://app.example"
EVIL = "https://evil.example"


async def boom(request):
    """A handler with a fault."""
    raise RuntimeError("secret: the password is swordfish")


@pytest.fixture
async def strange_client(aiohttp_client, quiet_config):
    """A server with narrow limits and a handler that fails."""
    config = changed(quiet_config, "append", max_body_bytes=2_000)
    config = changed(config, "server", body_timeout_seconds=0.05)
    app = make_app(config)
    app.router.add_get("/boom", boom)
    return await aiohttp_client(app)


async def provoke(client, code):
    """An answer with this code, from a request that deserves it."""
    post = client.post
    match code:
        case "invalid_request":
            return await client.get("/api/events?limit=0")
        case "invalid_body":
            return await post("/api/events", json=body() | {"payload": 1})
        case "forbidden":
            return await client.get("/api/events/stream", headers={"Upgrade": "websocket", "Origin": EVIL})
        case "not_found":
            return await client.get("/api/events/999")
        case "method_not_allowed":
            return await client.put("/health")
        case "request_timeout":
            return await slow_answer(client)
        case "damaged":
            await publish(client, 1)
            trigger = "SELECT sql FROM sqlite_master WHERE name = 'events_are_immutable'"

            def damage(db):
                (sql,) = db.execute(trigger).fetchone()
                for statement in ("DROP TRIGGER events_are_immutable", "UPDATE events SET source = 'x' WHERE seq = 1", sql):
                    db.execute(statement).close()

            await client.app[LOG].write(damage)
            return await client.get("/api/events/1")
        case "conflict":
            await post("/api/events", json=body(event_id="evt-1"))
            return await post("/api/events", json=body(n=1, event_id="evt-1"))
        case "stream_ended":
            await post("/api/events", json=body("demand:d-1", event_type="towow.negotiation.failed"))
            return await post("/api/events", json=body("demand:d-1"))
        case "idempotency_key_reused":
            key = {"Idempotency-Key": "k"}
            await post("/api/events", json=body(), headers=key)
            return await post("/api/events", json=body(n=1), headers=key)
        case "gone":
            await publish(client, 1)
            return await client.get("/api/events?since_seq=999")
        case "revision_mismatch":
            return await post("/api/events", json=body(expected_revision=7))
        case "too_large":
            return await post("/api/events", json=body() | {"payload": {"text": "x" * 3_000}})
        case "unsupported_media_type":
            return await post("/api/events", data=b"{}", headers={"Content-Type": "text/plain"})
        case "internal":
            return await client.get("/boom")


class RawAnswer:
    """What `assert_error` needs of an answer that was read from a bare connection."""

    def __init__(self, status, headers, text):
        self.status = status
        self.headers = {name.title(): value for name, value in headers.items()}
        self._text = text

    async def json(self):
        """The decoded body."""
        return json.loads(self._text)


async def slow_answer(client):
    """The answer to a body that never comes."""
    request = request_bytes("POST", "/api/events", Content_Type="application/json", Content_Length=50)
    async with raw_connection(client, request) as (reader, _):
        status, headers = await read_head(reader)
        return RawAnswer(status, headers, await reader.readexactly(int(headers["content-length"])))


# The others need another server: a full disk below, credentials and shares in tests/auth, two processes in tests/api.
ELSEWHERE = ("unavailable", "behind", "storage_full", "unauthorized", "too_many_requests")
PROVOKED = [code for code in STATUS_BY_CODE if code not in ELSEWHERE]


@pytest.mark.parametrize("code", PROVOKED)
async def test_every_code_has_its_status_and_the_one_shape(strange_client, code):
    """`{"error": {code, message, error_id, field?}, "detail": message}` with the status of the table."""
    answer = await provoke(strange_client, code)
    error = await assert_error(answer, code, status=STATUS_BY_CODE[code])
    assert error["message"].strip()
    assert answer.headers["Content-Type"] == "application/json"
    assert "Retry-After" not in answer.headers


async def test_a_full_disk_is_507_with_retry_after_and_reads_go_on(aiohttp_client, quiet_config):
    """Appends are refused below `min_free_bytes`; following and reading are not."""
    client = await aiohttp_client(make_app(changed(quiet_config, "database", min_free_bytes=2**62)))
    answer = await client.post("/api/events", json=body())
    await assert_error(answer, "storage_full", status=507)
    assert answer.headers["Retry-After"] == "1"
    assert (await client.get("/api/events")).status == 200


async def test_a_database_that_stays_locked_is_503_with_retry_after(client, quiet_config):
    """After the busy timeout nothing is stored, and appends work again when the lock is gone."""
    other = sqlite3.connect(quiet_config.database.path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        for answer in (await client.post("/api/events", json=body()), await client.get("/health")):
            await assert_error(answer, "unavailable", status=503)
            assert answer.headers["Retry-After"] == "1"
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert (await publish(client, 1))[0]["seq"] == 1


@pytest.mark.parametrize("path", ["/", "/api/nothing", "/static/nothing", "/nothing.html", "/api/demand/x/y", "/api/events/"])
async def test_a_wrong_path_or_method_is_an_error_of_the_same_shape(client, path):
    """404 and 405 are JSON like everything else."""
    if path != "/":
        await assert_error(await client.get(path), "not_found", status=404)
    error = await assert_error(await client.delete("/"), "method_not_allowed", status=405)
    assert "GET" in error["message"]


async def test_details_join_the_error():
    """What a client needs to go on is in the error object, never in the text alone."""
    error = StorageFull("no room", field="x", limit=3)
    answer = error_response(error, "req-1")
    expected = {"code": "storage_full", "message": "no room", "error_id": "req-1", "field": "x", "limit": 3}
    assert json.loads(answer.body) == {"error": expected, "detail": "no room"}
    assert re.fullmatch(r"[0-9a-f-]{36}", json.loads(error_response(TowowError("x")).body)["error"]["error_id"])


# Headers


async def heads(client, **headers):
    """Status and headers of an answer, an error, a page, a file, a redirect to nothing and a stream."""
    found = {}
    paths = {
        "answer": "/health",
        "error": "/api/events/999",
        "page": "/",
        "file": "/static/js/demands/page.js",
        "missing": "/nothing",
        "stream": "/api/events/stream?stream=task:a&allow_pending=1",
        "ndjson": "/api/events/stream?stream=task:a&allow_pending=1&format=ndjson",
    }
    for name, path in paths.items():
        async with raw_connection(client, request_bytes("GET", path, **headers)) as (reader, _):
            found[name] = (await read_head(reader))[1]
    return found


async def test_every_response_has_the_security_headers_once(client):
    """Answers, errors, pages, files and streams alike; `read_head` refuses a header that is there twice."""
    for name, headers in (await heads(client)).items():
        for header, value in SECURITY_HEADERS.items():
            assert headers[header.lower()] == value, name
        assert headers["x-request-id"], name
        assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", headers["date"]), name


async def test_pages_forbid_inline_script(client):
    """Text that slips through an escape still cannot run."""
    found = await heads(client)
    assert found["page"]["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    for directive in ("default-src 'self'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert directive in CONTENT_SECURITY_POLICY
    text = await (await client.get("/")).text()
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text)
    assert not re.search(r"\son[a-z]+\s*=|\sstyle\s*=|javascript:", text)


async def test_without_an_allow_list_no_origin_gets_cors_headers(client):
    """Same origin only, by default."""
    for name, headers in (await heads(client, Origin=APP)).items():
        assert not [header for header in headers if header.startswith("access-control")], name


async def test_an_allowed_origin_gets_itself_and_credentials(aiohttp_client, quiet_config):
    """On answers, errors, pages and streams, each header once; another origin gets none of it."""
    client = await aiohttp_client(make_app(changed(quiet_config, "cors", origins=(APP, "http://localhost:3000"))))
    for name, headers in (await heads(client, Origin=APP)).items():
        assert headers["access-control-allow-origin"] == APP, name
        assert headers["access-control-allow-credentials"] == "true", name
        assert "X-Request-Id" in headers["access-control-expose-headers"], name
        assert headers["cross-origin-resource-policy"] == "cross-origin", name
        assert headers["vary"] == "Origin", name
    for origin in (EVIL, "https://app.example.evil.example", "null", "HTTPS://APP.EXAMPLE:443"):
        for name, headers in (await heads(client, Origin=origin)).items():
            assert not [header for header in headers if header.startswith("access-control")], name
            assert headers["cross-origin-resource-policy"] == "same-origin", name
            assert headers["vary"] == "Origin", name


async def test_answers_that_depend_on_the_origin_say_so_to_caches(aiohttp_client, quiet_config):
    """`Vary: Origin` also without an Origin, or a cache gives that answer to everybody."""
    client = await aiohttp_client(make_app(changed(quiet_config, "cors", origins=(APP,))))
    for name, headers in (await heads(client)).items():
        assert headers["vary"] == "Origin", name


async def test_a_star_allows_every_origin_without_credentials(aiohttp_client, quiet_config):
    """`*` with credentials would be illegal and, echoed, dangerous."""
    client = await aiohttp_client(make_app(changed(quiet_config, "cors", origins=("*",))))
    for name, headers in (await heads(client, Origin=EVIL)).items():
        assert headers["access-control-allow-origin"] == "*", name
        assert "access-control-allow-credentials" not in headers, name


@pytest.mark.parametrize("path", ["/api/events", "/api/events/stream", "/api/demand/submit", "/api/agents/bob", "/nothing"])
async def test_a_preflight_is_answered_by_headers_alone(aiohttp_client, quiet_config, path):
    """204 for every path; methods, headers and how long to remember it, for allowed origins only."""
    client = await aiohttp_client(make_app(changed(quiet_config, "cors", origins=(APP,))))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = await client.options(path, headers={"Origin": APP, **asked})
    assert answer.status == 204
    assert await answer.read() == b""
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) >= {"GET", "POST", "DELETE"}
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"content-type", "last-event-id", "x-request-id"} <= set(allowed)
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    answer = await client.options(path, headers={"Origin": EVIL, **asked})
    assert answer.status == 204
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("origins", "origin", "host", "allowed"),
    [
        pytest.param((), None, "localhost:8000", True, id="realistic: a program, no origin"),
        pytest.param((), "http://localhost:8000", "localhost:8000", True, id="realistic: the own page"),
        pytest.param((APP,), APP, "localhost:8000", True, id="realistic: on the list"),
        pytest.param(("*",), EVIL, "localhost:8000", True, id="edge: everybody"),
        pytest.param((), "http://LOCALHOST:8000", "localhost:8000", True, id="edge: case"),
        pytest.param((), EVIL, "localhost:8000", False, id="a foreign page"),
        pytest.param((), "null", "localhost:8000", False, id="a sandboxed page"),
        pytest.param((), "http://localhost:9000", "localhost:8000", False, id="another port"),
        pytest.param((), "", "localhost:8000", False, id="malformed: empty"),
        pytest.param((), "http://", "localhost:8000", False, id="malformed: no host"),
    ],
)
def test_which_pages_may_open_a_websocket(origins, origin, host, allowed):
    """Browsers do not ask before they open one, so the server looks at the origin itself."""

    class Request:
        headers = {"Host": host} | ({} if origin is None else {"Origin": origin})

    assert Cors(origins).allows_websocket(Request) is allowed


# Bytes


async def test_a_json_answer_is_complete_on_a_connection_that_stays_open(client):
    """Length, then exactly that many bytes, then the next answer: pipelined requests are answered in order."""
    requests = [request_bytes("GET", path) for path in ("/api/events/1", "/health", "/", "/api/streams")]
    async with raw_connection(client, b"".join(requests)) as (reader, _):
        for status in (404, 200, 200, 200):
            found, headers = await read_head(reader)
            assert found == status
            data = await reader.readexactly(int(headers["content-length"]))
            assert data


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        pytest.param("1.1", None, None, id="HTTP/1.1 stays open"),
        pytest.param("1.1", "close", "close", id="HTTP/1.1 closes when asked"),
        pytest.param("1.0", None, "close", id="HTTP/1.0 closes"),
        pytest.param("1.0", "keep-alive", "keep-alive", id="HTTP/1.0 stays open when asked"),
    ],
)
async def test_the_connection_is_kept_as_the_client_asked(client, version, connection, expected):
    """And the answer says so where it is not the default."""
    headers = {} if connection is None else {"Connection": connection}
    async with raw_connection(client, request_bytes("GET", "/health", version=version, **headers)) as (reader, writer):
        _, found = await read_head(reader)
        assert found.get("connection") == expected
        await reader.readexactly(int(found["content-length"]))
        if expected == "close":
            assert await reader.read() == b""
        else:
            writer.write(request_bytes("GET", "/health"))
            assert (await read_head(reader))[0] == 200


async def test_head_of_an_api_path_has_no_body(client):
    """The length of a GET's answer without its bytes, so that the next answer begins where it should."""
    requests = request_bytes("HEAD", "/health") + request_bytes("GET", "/health")
    async with raw_connection(client, requests) as (reader, _):
        status, headers = await read_head(reader)
        assert (status, int(headers["content-length"]) > 0) == (200, True)
        assert (await read_head(reader))[0] == 200


async def test_a_large_answer_arrives_whole(client):
    """Megabytes of events in one page."""
    for n in range(8):
        await client.post("/api/events", json=body(n=n) | {"payload": {"text": "x" * 200_000}})
    page = await (await client.get("/api/events?since_seq=0&limit=8")).json()
    assert [len(event["payload"]["text"]) for event in page["events"]] == [200_000] * 8


async def test_a_stream_and_an_answer_share_a_connection(client):
    """After the last chunk of a stream the connection answers further requests."""
    await client.post("/api/events", json=body("demand:d-1", event_type="towow.negotiation.failed"))
    requests = request_bytes("GET", "/api/events/stream/d-1") + request_bytes("GET", "/health")
    async with raw_connection(client, requests) as (reader, _):
        assert (await read_head(reader))[0] == 200
        while await read_chunk(reader):
            pass
        status, headers = await read_head(reader)
        assert status == 200
        assert json.loads(await reader.readexactly(int(headers["content-length"])))["status"] == "ok"


def test_the_date_is_an_imf_fixdate():
    """RFC 9110, section 5.6.7; formatted by hand because names of days must not depend on the locale."""
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", http_date())


def test_every_error_code_has_a_status():
    """Except those that are for the operator and never sent."""

    def codes(kind):
        return {kind.code}.union(*(codes(child) for child in kind.__subclasses__()))

    assert codes(TowowError) - {"startup_error"} == set(STATUS_BY_CODE)
    assert all(web.Response(status=status).reason for status in STATUS_BY_CODE.values())
