"""The short way of a publish answers as the long way does, byte for byte, and leaves the connection as aiohttp would."""

import asyncio
import contextlib
import json
import re
import socket
from functools import partial
from typing import NamedTuple

import pytest
from aiohttp import web

from server.api.publish_protocol import PublishProtocol
from server.app import LOG, PUBLISHER, make_app
from server.cli.serve import CappedSite, Share
from tests.support import body, changed, raw_connection, read_head, request_bytes
from tests.support.tokens import bearer, token, with_tokens

JSON = {"Content_Type": "application/json"}
_CHANGING = re.compile(rb"(Date: |X-Request-Id: |\"error_id\":\"|evt-)[^\r\n\"]+")


class Way(NamedTuple):
    """A listening application, and the paths of the requests that went the short way."""

    app: web.Application
    host: str
    port: int
    short: list[str]
    server: web.Server


@contextlib.asynccontextmanager
async def listening(config, *, is_short, **options):
    """The application as `serve` lets it listen."""
    app = make_app(config)
    options |= {"access_log": None, "auto_decompress": False}
    runner = web.AppRunner(app, handler_cancellation=True, **options)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    publisher, short = app[PUBLISHER], []
    publish = publisher.publish
    publisher.publish = lambda request, respond: (short.append(request.path), publish(request, respond))
    protocol = partial(PublishProtocol, loop=asyncio.get_running_loop(), publisher=publisher if is_short else None, **options)
    await CappedSite(runner, listener, 100, Share(0, ()), protocol).start()
    try:
        yield Way(app, *listener.getsockname(), short, runner.server)
    finally:
        await runner.cleanup()
        listener.close()


@pytest.fixture
async def ways(quiet_config, tmp_path):
    """The same application twice: the short way where it can, and always the long way."""
    config = changed(changed(quiet_config, "cors", origins=("https://page.example",)), "limits", publishes_per_second=8)
    other = changed(config, "database", path=str(tmp_path / "other.db"))
    async with listening(config, is_short=True) as short, listening(other, is_short=False) as long:
        yield short, long


def post(content, **headers):
    """A publish as it goes over the wire."""
    return request_bytes("POST", "/api/events", body=content, **(JSON | headers))


def event(**changes):
    """The JSON text of an event."""
    return json.dumps(body() | changes).encode()


async def answers(way, *parts):
    """What a connection answers to one part after the other and to a read at the end, without what changes between requests."""
    data = b""
    async with raw_connection(way) as (reader, writer), asyncio.timeout(5):
        for part in (*parts, request_bytes("GET", "/api/events/1", Connection="close")):
            writer.write(part)
            with contextlib.suppress(asyncio.IncompleteReadError):  # it was closed
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: ([0-9]+)", head)
                data += head + await reader.readexactly(int(length[1]) if length else 0)
        data += await reader.read()
    return _CHANGING.sub(rb"\1*", re.sub(rb'"(timestamp|updated_at)":"[^"]+"', b"", data))


SHORT = {
    "one event": post(event()),
    "many": post(b'{"events":[' + event() + b"," + event(n=2) + b"]}"),
    "lines": post(event() + b"\n" + event(), Content_Type="application/x-ndjson"),
    "a CloudEvent": post(b'{"n":1}', ce_id="c-1", ce_type="note", ce_source="bob", ce_specversion="1.0", ce_subject="task:a"),
    "not JSON": post(b"{"),
    "an unknown field": post(event(colour="red")),
    "a bad name": post(event(stream="no kind")),
    "no body": post(b""),
    "a form": post(b"a=1", Content_Type="application/x-www-form-urlencoded"),
    "compressed": post(event(), Content_Encoding="gzip"),
    "a wrong revision": post(event(expected_revision=7)),
    "an id with other content": (post(event(event_id="a")), post(event(event_id="a", payload={"n": 2}))),
    "the same id again": (post(event(event_id="a")), post(event(event_id="a"))),
    "a page's origin": post(event(), Origin="https://page.example"),
    "another page's origin": post(event(), Origin="https://other.example"),
    "another host": post(event()).replace(b"Host: localhost", b"Host: evil.example"),
    "a request id": post(event(), X_Request_Id="mine-1"),
}
LONG = {
    "a query": post(event()).replace(b"/api/events ", b"/api/events?_=1 "),
    "an unknown query name": post(event()).replace(b"/api/events ", b"/api/events?colour=red "),
    "HTTP/1.0": request_bytes("POST", "/api/events", body=event(), version="1.0", **JSON, Connection="keep-alive"),
    "closing": post(event(), Connection="close"),
    "chunks": request_bytes("POST", "/api/events", **JSON, Transfer_Encoding="chunked")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(event()), event()),
    "a cookie": post(event(), Cookie="a=1"),
    "at least a seq": post(event(), X_Towow_At_Least="0"),
    "an expectation": post(event(), Expect="100-continue"),
    "no such path": post(event()).replace(b"/api/events ", b"/api/nothing "),
    "garbage": b"POST /api/events HTTP/1.1\r\nContent-Length: many\r\n\r\n",
}


@pytest.mark.parametrize("name", [*SHORT, *LONG])
async def test_both_ways_answer_the_same(ways, name):
    """Status, headers, body, what is stored, and the request that comes next on the connection."""
    parts = (SHORT | LONG)[name]
    first, second = [await answers(way, *((parts,) if isinstance(parts, bytes) else parts)) for way in ways]
    assert first == second
    assert first.count(b"HTTP/1.") >= 1
    assert bool(ways[0].short) is (name in SHORT)
    assert ways[1].short == []
    heads = [way.app[LOG].head_seq for way in ways]
    assert heads[0] == heads[1]


async def test_a_body_in_two_parts_goes_the_long_way_and_the_next_one_the_short_way(ways):
    """What has not come yet is waited for by aiohttp."""
    data = post(event())
    async with raw_connection(ways[0]) as (reader, writer):
        writer.write(data[:-3])
        while not ways[0].server.requests_count:  # it is taken, and its body is waited for
            await asyncio.sleep(0)
        writer.write(data[-3:])
        assert await _read_answer(reader) == (201, 1)
        assert ways[0].short == []
        writer.write(data)
        assert await _read_answer(reader) == (201, 2)
        assert ways[0].short == ["/api/events"]


@pytest.mark.parametrize("is_together", [True, False])
async def test_what_comes_while_a_publish_is_under_way_is_answered_after_it_in_order(ways, is_together):
    """Pipelined in one write, or after the first has gone the short way."""
    parts = [post(event()), post(event()), request_bytes("GET", "/api/events/1"), post(event())]
    async with raw_connection(ways[0]) as (reader, writer):
        writer.write(b"".join(parts) if is_together else parts[0])
        while not (is_together or ways[0].short):
            await asyncio.sleep(0)
        writer.write(b"" if is_together else b"".join(parts[1:]))
        assert [(await _read_answer(reader))[0] for _ in parts] == [201, 201, 200, 201]


async def test_a_client_that_leaves_does_not_undo_its_publish(ways):
    """The event is stored, and the server goes on."""
    log = ways[0].app[LOG]
    async with raw_connection(ways[0], post(event())) as (_, writer):
        while not ways[0].short:
            await asyncio.sleep(0)
        writer.transport.abort()
    assert (await answers(ways[0], post(event()))).count(b"HTTP/1.1 20") == 2
    assert log.head_seq == 2


async def test_the_share_of_a_client_counts_on_the_short_way(ways):
    """Beyond it 429, with the seconds to wait."""
    async with raw_connection(ways[0]) as (reader, writer):
        statuses = []
        while 429 not in statuses:
            writer.write(post(event()))
            statuses.append((await _read_answer(reader))[0])
    assert set(statuses) == {201, 429}
    assert len(ways[0].short) == len(statuses)


async def test_a_token_is_asked_for_on_the_short_way(quiet_config):
    """Without one 401, with another's scope 403, with the right one 201 and its name as the actor."""
    config = with_tokens(quiet_config, token("reader", "read:*"), token("writer", "append:task:*", "read:*"))
    async with listening(config, is_short=True) as way:
        for headers, status in (({}, 401), (bearer("reader"), 403), (bearer("writer"), 201), ({}, 401)):
            async with raw_connection(way, post(event(), **headers)) as (reader, _):
                assert (await _read_answer(reader))[0] == status
        assert len(way.short) == 4
        assert (await way.app[LOG].get(seq=1)).actor == "writer"


async def test_an_idle_connection_is_closed_after_a_short_publish_too(quiet_config):
    """As aiohttp closes it, a while after its last answer."""
    async with (
        listening(quiet_config, is_short=True, keepalive_timeout=0.2) as way,
        raw_connection(way, post(event())) as (reader, _),
    ):
        assert await _read_answer(reader) == (201, 1)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    assert way.short


async def test_a_shutdown_waits_for_the_answer(quiet_config):
    """A publish that is under way is answered before its connection is closed."""
    async with listening(quiet_config, is_short=True) as way:
        reader, writer = await asyncio.open_connection(way.host, way.port)
        writer.write(post(event()))
        while not way.short:
            await asyncio.sleep(0)
        assert way.app[LOG].head_seq == 0  # nothing is committed yet
    assert await _read_answer(reader) == (201, 1)
    assert await reader.read() == b""
    writer.close()


async def _read_answer(reader):
    status, headers = await read_head(reader)
    content = json.loads(await reader.readexactly(int(headers["content-length"])) or b"null")
    return status, content.get("seq") if content else None
