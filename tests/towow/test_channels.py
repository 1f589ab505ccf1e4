"""Publish and subscribe by channel, with the names of source 001: inside the server's process, and as a client over HTTP."""

import asyncio
import contextlib
import inspect
import subprocess
import sys

import pytest
from aiohttp import web

import towow
from server.app import FOLLOWERS, LOG
from server.streaming.embedded import LogBackend
from tests.support import ROOT, ServerProcess, refused, until
from towow import CursorLost, channels
from towow.channels import (
    SseManager,
    content_of,
    enqueue_sse_message,
    get_redis_sse_manager,
    init_redis_sse,
    message_of,
    shutdown_redis_sse,
    stream_of,
    subscribe_sse_events,
)
from towow.errors import InvalidBody, InvalidRequest, StreamEnded
from towow.events import Event
from towow.subscription import Subscription

HELLO = {"type": "new_message", "payload": {"session_name": "alice", "content": "hello"}, "source": "ai_chatbot"}


def message(n, **fields):
    """The n-th message."""
    return {"type": "new_message", "payload": {"n": n}, "timestamp": 1703246400, "source": "ai_chatbot", **fields}


async def take(subscription, count):
    """The next `count` messages."""
    async with asyncio.timeout(5):
        return [await anext(subscription) for _ in range(count)]


async def numbers(subscription, count):
    """The numbers of the next `count` messages."""
    return [each["payload"]["n"] for each in await take(subscription, count)]


@pytest.fixture(params=["in process", "over HTTP"])
def backend(request, client):
    """What a manager is made from: the log of the server, or its URL."""
    return LogBackend(client.app[LOG]) if request.param == "in process" else str(client.make_url(""))


@pytest.fixture
async def manager(backend):
    """A manager that is closed in the end."""
    manager = SseManager(backend)
    yield manager
    await manager.close()


@pytest.fixture
async def functions(monkeypatch):
    """The functions without a manager before, and none left behind."""
    for name in ("TOWOW_SERVER", "TOWOW_TOKEN", "REDIS_SSE_CHANNEL_PREFIX", "USE_REDIS_SSE"):
        monkeypatch.delenv(name, raising=False)
    assert channels._manager is None
    yield
    await shutdown_redis_sse()


# Messages


async def test_a_message_reaches_a_subscriber_in_the_shape_of_the_source(manager, client):
    """Items 22, 29, 30, a31: type, payload, whole seconds, source; and seq, event_id, revision and stream to resume."""
    seq = await manager.publish("sse:session:alice", HELLO)
    [got] = await take(manager.subscribe("sse:session:alice"), 1)
    stored = await client.app[LOG].get(seq=seq)
    assert got == {
        **HELLO,
        "timestamp": got["timestamp"],
        "seq": seq,
        "event_id": stored.event_id,
        "revision": 1,
        "stream": "session:alice",
        "cursor": stored.cursor,
    }
    assert list(got)[:4] == ["type", "payload", "timestamp", "source"]
    assert type(got["timestamp"]) is int
    assert (stored.stream, stored.event_type, stored.source) == ("session:alice", "new_message", "ai_chatbot")


async def test_every_subscriber_gets_every_message_once_in_order(manager):
    """a29: the source's queue gave each message to one of them."""
    subscriptions = [manager.subscribe("alice") for _ in range(4)]
    waiting = [asyncio.create_task(numbers(each, 30)) for each in subscriptions]
    for n in range(30):
        await manager.publish("alice", message(n))
    assert await asyncio.gather(*waiting) == [list(range(30))] * 4


async def test_a_late_subscriber_of_a_session_gets_what_was_said(manager):
    """a27, scenario 12: what was published before anybody subscribed is not lost."""
    for n in range(5):
        await manager.publish("alice", message(n))
    late = manager.subscribe("alice")
    assert await numbers(late, 5) == list(range(5))
    await manager.publish("alice", message(5))
    assert await numbers(late, 1) == [5]
    assert await numbers(manager.subscribe("alice", since_seq=3), 3) == [3, 4, 5]


async def test_sessions_do_not_see_each_other(manager):
    """One channel, one stream."""
    for n, name in enumerate(("alice", "alice2", "sse:agent:alice", "alice")):
        await manager.publish(name, message(n))
    assert await numbers(manager.subscribe("alice"), 2) == [0, 3]
    assert await numbers(manager.subscribe("sse:agent:alice", since_seq=0), 1) == [2]


async def test_a_time_out_around_the_next_message_does_not_end_the_subscription(manager):
    """a26: the source's own loop, `wait_for(subscription.__anext__(), …)`, died of its first heartbeat."""
    subscription = manager.subscribe("alice")
    for n in range(3):
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(subscription.__anext__(), timeout=0.01)
        await manager.publish("alice", message(n))
        assert (await asyncio.wait_for(subscription.__anext__(), timeout=5))["payload"] == {"n": n}


@pytest.mark.parametrize("channel", ["sse:broadcast", "sse:agent:o-7", "sse:agent:*", "sse:session:*"])
async def test_what_is_live_begins_when_it_is_listened_to(manager, client, channel):
    """Items 18, 19, 21: operators, broadcasts and patterns have no past, unless a cursor asks for it."""
    target = channel.replace("*", "any")
    first = await manager.publish(target, message(0))
    subscription = manager.subscribe(channel)
    waiting = asyncio.create_task(numbers(subscription, 1))
    if isinstance(manager._backend, channels.HttpBackend):
        await until(lambda: client.app[LOG].hub.follower_count == 1)
    await manager.publish(target, message(1))
    assert await waiting == [1]
    assert await numbers(manager.subscribe(channel, since_seq=first - 1), 2) == [0, 1]


async def test_a_subscription_in_the_process_begins_with_the_call_that_makes_it(client):
    """What is published between `subscribe` and the first wait is not missed."""
    publisher, manager = SseManager(LogBackend(client.app[LOG])), SseManager(LogBackend(client.app[LOG]))
    await publisher.publish("sse:broadcast", message(0))
    subscription = manager.subscribe("sse:broadcast")
    await publisher.publish("sse:broadcast", message(1))
    assert await numbers(subscription, 1) == [1]
    await manager.close()


async def test_a_closed_session_ends_its_subscriptions_and_takes_no_more(manager):
    """The last message, and then the end, live and late; publishing to it is refused."""
    live = manager.subscribe("alice")
    waiting = asyncio.create_task(take(live, 2))
    await manager.publish("alice", message(0))
    await manager.publish("alice", {"type": "session_closed", "payload": {}})
    assert [each["type"] for each in await waiting] == ["new_message", "session_closed"]
    late = manager.subscribe("alice")
    async with asyncio.timeout(5):
        assert [each["type"] async for each in late] == ["new_message", "session_closed"]
        assert [each async for each in live] == []
    with pytest.raises(StreamEnded):
        await manager.publish("alice", message(1))


async def test_a_pattern_outlives_the_sessions_in_it(manager):
    """Who watches all sessions is not sent away when one is closed."""
    subscription = manager.subscribe("sse:session:*", since_seq=0)
    await manager.publish("alice", {"type": "session_closed", "payload": {}})
    await manager.publish("bob", message(1))
    assert [each["stream"] for each in await take(subscription, 2)] == ["session:alice", "session:bob"]


async def test_closing_the_manager_ends_whoever_waits(manager, client):
    """Items 32, 40: no reader hangs, no connection and no follower remains; closing twice is fine."""
    subscriptions = [manager.subscribe("alice"), manager.subscribe("sse:broadcast")]
    waiting = [asyncio.create_task(anext(each, "the end")) for each in subscriptions]
    await manager.publish("bob", HELLO)
    await asyncio.sleep(0)
    await manager.close()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == ["the end", "the end"]
        assert await anext(subscriptions[0], "the end") == "the end"
    await manager.close()
    await until(lambda: len(client.app[FOLLOWERS]) == 0)
    await until(lambda: not {"session:alice", "broadcast:all"} & client.app[LOG].hub._by_name.keys())
    with pytest.raises(RuntimeError):
        await manager.connect()


async def test_a_subscription_that_is_closed_lets_go_of_its_connection(manager, client):
    """One reader leaves, the others stay."""
    leaving, staying = manager.subscribe("alice"), manager.subscribe("alice")
    await manager.publish("alice", message(0))
    assert await numbers(leaving, 1) == await numbers(staying, 1) == [0]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(leaving), 0.01)
    await leaving.aclose()
    await leaving.aclose()
    assert await anext(leaving, "the end") == "the end"
    await manager.publish("alice", message(1))
    assert await numbers(staying, 1) == [1]
    await until(lambda: len(client.app[FOLLOWERS]) <= 1)


async def test_two_readers_may_not_share_a_subscription(manager):
    """They would get a message twice, or half of them each; they are told at once."""
    subscription = manager.subscribe("alice")
    waiting = asyncio.create_task(anext(subscription))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await anext(subscription)
    await manager.publish("alice", message(0))
    async with asyncio.timeout(5):
        assert (await waiting)["payload"] == {"n": 0}


async def test_a_message_that_cannot_be_stored_is_an_error_and_not_a_promise(manager, client):
    """a28: no volatile second way that reports success."""
    with pytest.raises(InvalidBody):
        await manager.publish("alice", {"type": "x", "payload": {"n": float("nan")}})
    with pytest.raises(InvalidRequest):
        await manager.publish("sse:session:*", HELLO)
    with pytest.raises(InvalidRequest):
        manager.subscribe("sse:queue:alice")
    assert client.app[LOG].head_seq == 0


async def test_the_error_of_a_subscription_reaches_its_reader(manager):
    """A cursor of another database is never taken for a place in this one."""
    await manager.publish("alice", message(0))
    [got] = await take(manager.subscribe("alice"), 1)
    for cursor in (99, got["cursor"][:-1] + ("1" if got["cursor"][-1] != "1" else "2")):
        subscription = manager.subscribe("alice", since_seq=cursor)
        with pytest.raises(CursorLost):
            await take(subscription, 1)
        assert await anext(subscription, "the end") == "the end"
    await manager.publish("alice", message(1))
    assert await numbers(manager.subscribe("alice", since_seq=got["cursor"]), 1) == [1]


async def test_the_health_is_whether_a_message_could_be_stored(manager, client):
    """Item 33: true while it could, false when it could not, and never an error."""
    assert await manager.health_check() is True
    await client.close()
    assert await manager.health_check() is False


# Functions


async def test_the_functions_of_the_source_work_as_they_did(functions, client):
    """Items 43, 44, 48: `enqueue_sse_message(target, payload)` and `subscribe_sse_events(target)`, in the server's process."""
    assert list(inspect.signature(enqueue_sse_message).parameters) == ["target", "payload"]
    first, *rest = inspect.signature(subscribe_sse_events).parameters.values()
    assert first.name == "target"
    assert all(each.default is None and each.kind is each.KEYWORD_ONLY for each in rest)
    assert inspect.iscoroutinefunction(enqueue_sse_message)
    manager = init_redis_sse(LogBackend(client.app[LOG]))
    assert get_redis_sse_manager() is manager
    subscription = subscribe_sse_events("alice")
    assert isinstance(subscription, Subscription)
    assert aiter(subscription) is subscription
    seq = await enqueue_sse_message("alice", HELLO)
    async with asyncio.timeout(5):
        async for got in subscription:
            assert (got["seq"], got["payload"]) == (seq, HELLO["payload"])
            break
    await shutdown_redis_sse()
    assert await anext(subscription, "the end") == "the end"
    assert get_redis_sse_manager() is not manager


async def test_the_functions_find_the_server_by_themselves(functions, client, monkeypatch):
    """Items 35, 39, 42: made at the first call, from the environment as it is then; nothing is opened before it is needed."""
    monkeypatch.setenv("TOWOW_SERVER", str(client.make_url("")))
    subscription = subscribe_sse_events("alice")
    await enqueue_sse_message("alice", HELLO)
    assert [each["source"] for each in await take(subscription, 1)] == ["ai_chatbot"]
    await shutdown_redis_sse()
    await shutdown_redis_sse()


@pytest.mark.parametrize("switch", ["true", "false", "0"])
async def test_the_settings_of_the_source_are_honoured(functions, client, monkeypatch, switch):
    """Items 20, 41, 51, a35: the prefix is; the switch is accepted, and there is no second way that it could choose."""
    monkeypatch.setenv("USE_REDIS_SSE", switch)
    monkeypatch.setenv("REDIS_SSE_CHANNEL_PREFIX", "prod.sse:")
    manager = init_redis_sse(LogBackend(client.app[LOG]))
    assert manager.prefix == "prod.sse:"
    await enqueue_sse_message("prod.sse:agent:o-7", HELLO)
    await enqueue_sse_message("alice", HELLO)
    with pytest.raises(InvalidRequest):
        await enqueue_sse_message("sse:agent:o-7", HELLO)
    assert {info.name for info in await client.app[LOG].streams()} == {"operator:o-7", "session:alice"}
    assert SseManager(LogBackend(client.app[LOG]), prefix="x:").prefix == "x:"


@pytest.mark.parametrize(("given", "sent"), [("t-0123456789", "Bearer t-0123456789"), ("", None)])
async def test_the_token_of_the_environment_is_sent(functions, aiohttp_server, monkeypatch, given, sent):
    """A server that asks who publishes gets an answer."""
    headers = []

    async def answer(request):
        headers.append(request.headers.get("Authorization"))
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.router.add_get("/health", answer)
    monkeypatch.setenv("TOWOW_TOKEN", given)
    manager = init_redis_sse(str((await aiohttp_server(app)).make_url("")))
    assert await manager.health_check()
    assert headers == [sent]


@pytest.mark.timeout(60)
async def test_a_client_goes_on_through_a_kill_of_the_server(tmp_path):
    """Item 39: what was acknowledged is there, what is published meanwhile arrives, each once."""
    with ServerProcess(tmp_path / "towow.db", environment={"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}) as process:
        manager = SseManager(process.url)
        subscription = manager.subscribe("alice")
        for n in range(3):
            await manager.publish("alice", message(n))
        assert await numbers(subscription, 3) == [0, 1, 2]
        process.kill()
        assert await manager.health_check() is False
        publishing = asyncio.create_task(manager.publish("alice", message(3)))
        await asyncio.to_thread(process.start)
        async with asyncio.timeout(20):
            await publishing
            assert (await anext(subscription))["payload"] == {"n": 3}
        await manager.close()


def test_a_client_elsewhere_loads_no_database():
    """Only who hands over a log needs the server's parts."""
    code = (
        "import sys; from towow.channels import SseManager; SseManager('http://127.0.0.1:1');"
        " print([name for name in sys.modules if 'sqlite' in name or name == 'server.eventlog.log'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_client_has_the_names_at_hand():
    """As part of the client's package."""
    assert towow.enqueue_sse_message is enqueue_sse_message
    assert towow.subscribe_sse_events is subscribe_sse_events
    assert towow.SseManager is SseManager


# Names and shapes


@pytest.mark.parametrize(
    ("target", "stream"),
    [
        pytest.param("alice", "session:alice", id="realistic: a session's name"),
        pytest.param("sse:session:alice", "session:alice", id="realistic: a session"),
        pytest.param("sse:agent:o-7", "operator:o-7", id="realistic: an operator"),
        pytest.param("sse:agent:queue", "operator:queue", id="realistic: all operators"),
        pytest.param("sse:broadcast", "broadcast:all", id="realistic: everybody"),
        pytest.param("x" * 120, f"session:{'x' * 120}", id="edge: the longest name"),
        pytest.param("broadcast", "session:broadcast", id="edge: a session called broadcast"),
        pytest.param("sse", "session:sse", id="edge: a session called like the prefix"),
        pytest.param("x" * 121, None, id="malformed: too long"),
        pytest.param("", None, id="malformed: empty"),
        pytest.param("sse:", None, id="malformed: the prefix alone"),
        pytest.param("sse:session:", None, id="malformed: no name"),
        pytest.param("sse:session:a:b", None, id="malformed: a name with a colon"),
        pytest.param("sse:demand:d-1", None, id="malformed: another kind"),
        pytest.param("sse:broadcast:x", None, id="malformed: a broadcast with a name"),
        pytest.param("session:alice", None, id="malformed: a stream"),
        pytest.param("alice:x", None, id="malformed: a name that would forge a channel"),
        pytest.param("sse:session:*", None, id="malformed: a pattern"),
        pytest.param("a b", None, id="malformed: a blank"),
        pytest.param("alice\n", None, id="malformed: a newline"),
    ],
)
def test_targets_are_streams_or_refused(target, stream):
    """Items 17 to 19, a30."""
    if stream is None:
        with refused(InvalidRequest, "target"):
            stream_of(target)
    else:
        assert stream_of(target) == stream


@pytest.mark.parametrize(
    ("target", "stream"),
    [("sse:session:*", "session:*"), ("sse:agent:*", "operator:*"), ("sse:session:a*", None), ("*", None), ("sse:*", None)],
)
def test_patterns_are_whole_kinds(target, stream):
    """Item 21; only where something is listened to."""
    with contextlib.nullcontext() if stream else pytest.raises(InvalidRequest):
        assert stream_of(target, allow_pattern=True) == stream


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(HELLO, ("new_message", HELLO["payload"], "ai_chatbot"), id="the envelope"),
        pytest.param({"type": "x", "payload": {}}, ("x", {}, "unknown"), id="without a source"),
        pytest.param(message(1), ("new_message", {"n": 1}, "ai_chatbot"), id="its time is the log's"),
        pytest.param({"type": "x", "payload": {}, "source": 7}, ("x", {}, "unknown"), id="a source that is none"),
        pytest.param({"a": 1}, ("message", {"a": 1}, "unknown"), id="anything"),
        pytest.param({}, ("message", {}, "unknown"), id="nothing"),
        pytest.param({"type": "x", "text": "y"}, ("x", {"type": "x", "text": "y"}, "unknown"), id="a flat message"),
        pytest.param({"type": "a b", "payload": {}}, ("message", {"type": "a b", "payload": {}}, "unknown"), id="a bad type"),
        pytest.param({"type": "x", "payload": 7}, ("x", {"type": "x", "payload": 7}, "unknown"), id="a payload that is none"),
        ({**HELLO, "to": "bob"}, ("new_message", {**HELLO, "to": "bob"}, "ai_chatbot")),
    ],
)
def test_what_is_stored_of_a_message_loses_nothing(given, expected):
    """An envelope becomes an event; anything else is the payload of one."""
    assert content_of(given) == expected


def test_a_message_that_was_received_can_be_sent_on():
    """What comes out may go in again."""
    event = Event(7, "session:alice", 3, "e-1", "new_message", "2023-12-22T00:00:00.999Z", "ai_chatbot", '{"n":1}')
    got = message_of(event)
    assert got["timestamp"] == 1703203200
    assert content_of(got) == channels.Content("new_message", {"n": 1}, "ai_chatbot")
