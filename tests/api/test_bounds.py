"""What one client may cost the others: bounded before it is known, bounded when it waits, and slowed when it guesses."""

import asyncio
import gzip
import json
import sys

import pytest
from aiohttp import WSMsgType

from server.app import LOG, make_app
from server.auth import rate_limits
from server.eventlog import queries
from server.eventlog.hub import Hub
from server.eventlog.selection import MAX_TYPES, select
from tests.support import assert_error, body, changed, note, publish, until
from tests.support.tokens import bearer, secret_of, token, with_tokens
from towow.events import Event


@pytest.mark.parametrize("size", [16_385, 500_000])
async def test_a_login_reads_a_small_body_only(aiohttp_client, quiet_config, size):
    """Nobody knows yet who sends it; a length that is not said is too large."""
    client = await aiohttp_client(make_app(with_tokens(quiet_config, token("a", "read:*"))))
    sent = {"data": json.dumps({"token": "x" * size}), "headers": {"Content-Type": "application/json"}}
    await assert_error(await client.post("/api/login", **sent), "too_large", status=413)

    async def pieces():
        yield b"{"
        await asyncio.sleep(0)
        yield b'"token":"x"}'

    answer = await client.post("/api/login", data=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status in (401, 413)
    assert (await client.post("/api/login", json={"token": secret_of("a")})).status == 200


async def test_a_compressed_body_is_never_unpacked(client):
    """415, and the megabytes in it are not made."""
    packed = gzip.compress(b" " * 4_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    await assert_error(await client.post("/api/events", data=packed, headers=headers), "unsupported_media_type", status=415)


async def test_a_follower_sends_a_few_kilobytes_at_most(client):
    """What it says over a WebSocket is read and dropped, and then the connection ends."""
    await publish(client, 1)
    async with client.ws_connect("/api/events/stream?stream=task:a") as socket:
        for _ in range(200):
            await socket.send_str("x" * 100)
        async with asyncio.timeout(3):
            said = [json.loads(message.data) async for message in socket if message.type == WSMsgType.TEXT]
    assert said[-1]["reason"] == "sends_too_much"
    async with client.ws_connect("/api/events/stream?stream=task:a") as socket:
        await socket.send_str("x" * 5_000)
        async with asyncio.timeout(3):
            while not socket.closed:
                await socket.receive()
    assert socket.close_code == 1009


@pytest.mark.parametrize(
    "path",
    ["/api/events?stream=task:a&since_seq=1&wait=5", "/api/tasks/a/events?since_seq=1&wait=5", "/api/permissions"],
    ids=["events", "a task", "a permission"],
)
async def test_a_poll_that_waits_is_a_stream_of_its_client(aiohttp_client, quiet_config, path):
    """Beyond the limit it is 429; what does not wait is answered."""
    client = await aiohttp_client(make_app(changed(quiet_config, "limits", streams_per_client=2)))
    await publish(client, 1)
    if path == "/api/permissions":
        notice = {"type": "permission_request", "permission_id": "p", "data": {"tool_name": "rm"}}
        assert (await client.post("/agent_backend/api/sse/notify/s", json=notice)).status == 201
        path = "/agent_backend/api/sse/permissions/s/p?wait=5"
    waiting = [asyncio.create_task(client.get(path)) for _ in range(2)]
    hub = client.app[LOG].hub
    await until(lambda: sum(len(group.members) for group in hub._by_name.get("task:a", hub._by_name.get("mcp:s", ()))) == 2)
    await assert_error(await client.get(path), "too_many_requests", status=429)
    assert (await client.get(path.replace("wait=5", "wait=0"))).status == 200
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await until(lambda: not hub._by_name)


async def test_wrong_tokens_are_slowed_and_right_ones_are_not(aiohttp_client, quiet_config, monkeypatch):
    """Beyond so many a minute an address waits for its 401; a good token of the same address never waits."""
    monkeypatch.setattr(rate_limits, "_WRONG_CREDENTIALS_SECONDS", 0.001)
    waits = []
    delay_of = rate_limits.RateLimits.delay_of
    monkeypatch.setattr(rate_limits.RateLimits, "delay_of", lambda *given: waits.append(delay_of(*given)) or waits[-1])
    config = changed(with_tokens(quiet_config, token("a", "read:*")), "limits", logins_per_minute=3)
    client = await aiohttp_client(make_app(config))
    for _ in range(5):
        wrong = await client.get("/api/events", headers={"Authorization": "Bearer wrong-wrong-wrong-wrong"})
        await assert_error(wrong, "unauthorized", status=401)
        assert (await client.get("/api/events", headers=bearer("a"))).status == 200
        assert (await client.get("/api/events")).status == 401
    assert waits == [0.0, 0.0, 0.0, 0.001, 0.001]


async def test_a_client_has_so_many_bytes_a_second(aiohttp_client, quiet_config):
    """429 with the time to wait, of a body with a length and of one without."""
    client = await aiohttp_client(make_app(changed(quiet_config, "limits", bytes_per_second=2_000)))
    large = body("task:a") | {"payload": {"text": "x" * 3_000}}
    assert (await client.post("/api/events", json=large)).status == 201
    error = await assert_error(await client.post("/api/events", json=large), "too_many_requests", status=429)
    assert error["retry_after_seconds"] >= 1


# Reading


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of ten seqs, so that few events show what many would."""
    monkeypatch.setattr(queries, "_WINDOW_SEQS", 10)


async def test_no_page_looks_at_more_than_its_share(client, small_windows, monkeypatch):
    """A type that nobody has ever used: the page is empty and has more, and goes on from where it came."""
    await publish(client, 900)
    reads = []
    read_page = queries.read_page
    monkeypatch.setattr(queries, "read_page", lambda *given, **named: reads.append(1) or read_page(*given, **named))
    client.app[LOG].hub._tail.start_at(900)
    page = await (await client.get("/api/events?type=never&since_seq=0&wait=5")).json()
    assert (page["events"], page["has_more"], len(reads)) == ([], True, 3)
    assert 0 < page["next_since_seq"] < 900
    newest = await (await client.get("/api/events?type=never")).json()
    assert newest["events"] == []


async def test_the_newest_of_a_sparse_selection_are_looked_for_among_the_newest_seqs(client, small_windows):
    """Further back they are found by a cursor."""
    await client.app[LOG].append([note("task:old", event_type="rare")])
    await publish(client, 99)
    await client.app[LOG].append([note("task:new", event_type="rare")])
    near = await client.app[LOG].read_newest(select(("*",), ("rare",)), 10)
    assert [event.seq for event in near] == [101]
    await publish(client, 50)
    assert [event.seq for event in await client.app[LOG].read_newest(select(("*",), ("rare",)), 10)] == [101]
    assert [event.seq for event in await client.app[LOG].read_newest(select(("task:old",)), 10)] == [1]


def test_a_new_type_costs_the_hub_a_step_for_each_group(quiet_config):
    """620 followers with 16 globs each and a type that was never seen: no pattern is compiled, and nobody is asked twice."""

    class Member:
        rotate_at = 2**62

        def write(self, data):
            """Nothing is written: no glob fits."""
            raise AssertionError

        def buffered(self):
            """Nothing waits."""
            return 0

    class Wire:
        def event(self, event):
            """Never encoded."""
            raise AssertionError

        wrap = event

    hub = Hub(max_buffer_bytes=1, tail_bytes=0, is_terminal=lambda stream, event_type: False, clock=lambda: 0.0)
    wire = Wire()
    for number in range(620):
        hub.join(Member(), select(("*",), [f"t{number}.{n}.*" for n in range(MAX_TYPES)]), wire, 0)
    steps = 0

    def count(frame, event, argument):
        nonlocal steps
        steps += event == "call"

    event = Event(1, "task:a", 1, "e", "a.type.that.nobody.has.seen", "2026-01-01T00:00:00.000Z", "tests", "{}")
    sys.setprofile(count)
    try:
        hub.count_for(event)
        hub.dispatch([event])
    finally:
        sys.setprofile(None)
    assert steps <= 2 * 620 + 50
