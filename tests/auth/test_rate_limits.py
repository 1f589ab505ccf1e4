"""What one client may use, and which client a request is of."""

import asyncio
from collections import Counter

import pytest
from aiohttp import WSServerHandshakeError
from aiohttp.test_utils import make_mocked_request

from server.app import FOLLOWERS, make_app
from server.auth import rate_limits as module
from server.auth.authenticator import PRINCIPAL
from server.auth.principal import Principal
from server.auth.rate_limits import Clients, RateLimits
from server.config import LimitsSection
from tests.support import assert_error, body, changed, publish, raw_connection, read_frames, read_to_end, request_bytes, until
from tests.support.tokens import bearer, token, with_tokens
from towow.errors import TooManyRequests

STREAM = "/api/events/stream?stream=task:a&allow_pending=1"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        """Now."""
        return self.now


@pytest.fixture
def clock():
    """A clock that stands still until it is set."""
    return Clock()


def request_from(address="192.0.2.1", *, principal=None, **headers):
    """A request as it arrives from an address; `X_Forwarded_For=["a", "b"]` is two headers."""
    pairs = []
    for name, values in headers.items():
        pairs += [(name.replace("_", "-"), value) for value in ([values] if isinstance(values, str) else values)]
    request = make_mocked_request("POST", "/", headers=pairs).clone(remote=address)
    if principal is not None:
        request[PRINCIPAL] = principal
    return request


def limits_with(clock, *proxies, **section):
    """Limits with a clock of ours."""
    return RateLimits(LimitsSection(**section), Clients(proxies), clock)


# Which client


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_and_of_ipv6_the_first_half(address, client):
    """One household has 2^64 addresses, and one IPv4 address two spellings."""
    assert Clients(()).address_of(request_from(address)) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        pytest.param("198.51.100.7", "198.51.100.7", id="one"),
        pytest.param("6.6.6.6, 198.51.100.7", "198.51.100.7", id="what the client made up stands on the left"),
        pytest.param("198.51.100.7, 10.0.0.2", "198.51.100.7", id="another trusted proxy between"),
        pytest.param("198.51.100.7,10.0.0.2 , 10.0.0.1", "198.51.100.7", id="and once more"),
        pytest.param("10.0.0.1, 6.6.6.6, 10.0.0.2", "6.6.6.6", id="a made-up proxy on the left"),
        pytest.param("2001:db8:1:2:3::4", "2001:db8:1:2::/64", id="IPv6"),
        pytest.param(["6.6.6.6", "198.51.100.7"], "198.51.100.7", id="a proxy that adds a header of its own"),
        pytest.param(["6.6.6.6", "6.6.6.7, 198.51.100.7"], "198.51.100.7", id="both"),
        pytest.param("", "10.0.0.1", id="empty"),
        pytest.param([], "10.0.0.1", id="none"),
        pytest.param(" , ", "10.0.0.1", id="blanks"),
        pytest.param("10.0.0.2", "10.0.0.2", id="proxies alone"),
    ],
)
def test_a_trusted_proxy_says_for_whom_it_asks(forwarded, client):
    """The last hop that is not trusted: everything before it could be made up."""
    clients = Clients(("10.0.0.1", "10.0.0.2"))
    assert clients.address_of(request_from("10.0.0.1", X_Forwarded_For=forwarded)) == client


def test_nobody_else_is_believed():
    """A client that names another address is counted by its own."""
    clients = Clients(("10.0.0.1",))
    for forwarded in ("198.51.100.7", "10.0.0.1", ["1.1.1.1", "2.2.2.2"]):
        assert clients.address_of(request_from("192.0.2.1", X_Forwarded_For=forwarded)) == "192.0.2.1"
    assert Clients(()).address_of(request_from("127.0.0.1", X_Forwarded_For="198.51.100.7")) == "127.0.0.1"


def test_a_long_made_up_hop_is_cut():
    """Memory for it has an end."""
    assert len(Clients(("10.0.0.1",)).address_of(request_from("10.0.0.1", X_Forwarded_For="x" * 5000))) <= 64


def test_a_token_is_one_client_wherever_it_comes_from():
    """By header, ticket, cookie or JWT; without one the address counts."""
    clients = Clients(())
    names = {
        clients.name_of(request_from(address, principal=Principal("bob", via=via)))
        for address in ("192.0.2.1", "192.0.2.2")
        for via in ("token", "ticket", "cookie", "jwt")
    }
    assert len(names) == 1
    assert clients.name_of(request_from("192.0.2.1")) == "192.0.2.1"
    assert clients.name_of(request_from("192.0.2.1", principal=Principal("192.0.2.1", via="token"))) != "192.0.2.1"


@pytest.mark.parametrize(
    ("address", "proto", "is_secure"),
    [
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "HTTPS ", True),
        ("10.0.0.1", "http", False),
        ("10.0.0.1", [], False),
        ("192.0.2.1", "https", False),
    ],
)
def test_tls_is_what_a_trusted_proxy_says(address, proto, is_secure):
    """Or what the connection is."""
    assert Clients(("10.0.0.1",)).is_secure(request_from(address, X_Forwarded_Proto=proto)) is is_secure


# Events in a second


def take(limits, count, address="192.0.2.1"):
    """The seconds to wait, 0 when the events were taken."""
    try:
        limits.take_events(request_from(address), count)
    except TooManyRequests as error:
        return error.details["retry_after_seconds"]
    return 0


def test_a_client_has_two_seconds_of_events_at_once_and_then_its_rate(clock):
    """The bucket refills with time."""
    limits = limits_with(clock, publishes_per_second=10)
    assert [take(limits, 1) for _ in range(21)] == [0] * 20 + [1]
    clock.now += 0.1
    assert [take(limits, 1) for _ in range(2)] == [0, 1]
    clock.now += 1000
    assert [take(limits, 1) for _ in range(21)] == [0] * 20 + [1]


def test_clients_do_not_take_from_each_other(clock):
    """One who has used up everything harms nobody else."""
    limits = limits_with(clock, publishes_per_second=1)
    assert take(limits, 2) == 0
    assert take(limits, 1) == 1
    assert take(limits, 2, "192.0.2.2") == 0


def test_a_batch_larger_than_the_bucket_is_taken_from_a_full_one_and_paid_for_afterwards(clock):
    """It could never be sent otherwise; on average the rate holds."""
    limits = limits_with(clock, publishes_per_second=10)
    assert take(limits, 100) == 0
    assert take(limits, 1) > 0
    clock.now += 8.0
    assert take(limits, 1) > 0
    clock.now += 0.2
    assert take(limits, 1) == 0
    assert take(limits, 100) == 2


def test_the_wait_is_long_enough(clock):
    """Who waits for as long as he was told is not refused again."""
    for per_second in (1, 3, 7, 10):
        for count in (1, 2, 5, 50):
            limits = limits_with(clock, publishes_per_second=per_second)
            while not (wait := take(limits, count)):
                pass
            clock.now += wait
            assert take(limits, count) == 0, (per_second, count, wait)


def test_what_is_refused_costs_nothing(clock):
    """Knocking does not make the wait longer."""
    limits = limits_with(clock, publishes_per_second=1)
    assert take(limits, 2) == 0
    for _ in range(100):
        assert take(limits, 1) == 1
    clock.now += 1
    assert take(limits, 1) == 0


def test_zero_is_no_limit(clock):
    """Of each of the three."""
    limits = limits_with(clock, publishes_per_second=0, streams_per_client=0, logins_per_minute=0)
    assert take(limits, 10**9) == 0
    request = request_from()
    for _ in range(10_000):
        limits.open_stream(request)
    for _ in range(100):
        limits.fail_login(request_from())
    limits.check_login(request_from())


# Cookies and streams


def test_failed_logins_are_counted_by_address(clock):
    """Twenty in a minute, then one every three seconds; good ones cost nothing."""
    limits = limits_with(clock, logins_per_minute=20)
    for _ in range(100):
        limits.check_login(request_from())
    for _ in range(20):
        limits.check_login(request_from())
        limits.fail_login(request_from())
    with pytest.raises(TooManyRequests) as caught:
        limits.check_login(request_from())
    assert caught.value.details["retry_after_seconds"] >= 1
    limits.check_login(request_from("192.0.2.2"))
    clock.now += 3.01
    limits.check_login(request_from())
    limits.fail_login(request_from())
    with pytest.raises(TooManyRequests):
        limits.check_login(request_from())


def test_streams_are_counted_in_and_out(clock):
    """And a client that has none is forgotten."""
    limits = limits_with(clock, streams_per_client=2)
    names = [limits.open_stream(request_from()) for _ in range(2)]
    with pytest.raises(TooManyRequests) as caught:
        limits.open_stream(request_from())
    assert caught.value.details["limit"] == 2
    limits.open_stream(request_from("192.0.2.2"))
    limits.close_stream(names[0])
    limits.open_stream(request_from())
    limits.close_stream(names[0])
    limits.close_stream(names[1])
    assert dict(limits._streams) == {"192.0.2.2": 1}


@pytest.mark.slow
@pytest.mark.parametrize("per_minute", [0, 1, 20])
def test_what_is_remembered_of_clients_is_bounded(clock, monkeypatch, per_minute):
    """Also while each of them comes once and nothing of its share is back yet; with the limit off nothing is remembered."""
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 100)
    limits = limits_with(clock, publishes_per_second=1, logins_per_minute=per_minute)
    for number in range(400):
        request = request_from(f"10.0.{number // 256}.{number % 256}")
        limits.fail_login(request)
        limits.take_events(request, 2)
        assert len(limits._logins._left) <= 101
        assert len(limits._events._left) <= 101
    assert per_minute or not limits._logins._left


def test_who_has_used_up_his_share_is_not_forgotten_for_others_who_come(clock, monkeypatch):
    """As long as there is room, and of those who come again and again."""
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 100)
    limits = limits_with(clock, publishes_per_second=1)
    assert take(limits, 50, "192.0.2.1") == 0
    for number in range(90):
        take(limits, 1, f"10.0.0.{number}")
    assert take(limits, 1, "192.0.2.1") > 0


def test_who_comes_again_and_again_is_remembered(clock, monkeypatch):
    """Those who have not come for the longest time are forgotten first."""
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 100)
    limits = limits_with(clock, publishes_per_second=1)
    assert take(limits, 1, "192.0.2.1") == 0
    for number in range(60):
        take(limits, 1, f"10.0.0.{number}")
    assert take(limits, 1, "192.0.2.1") == 0
    for number in range(60):
        take(limits, 1, f"10.0.1.{number}")
    assert take(limits, 1, "192.0.2.1") > 0


# Over HTTP


async def open_streams(client, count, **headers):
    """So many streams of one client, each up to `ready`."""
    streams = []
    for _ in range(count):
        streams.append(await client.get(STREAM, headers=headers))
        assert streams[-1].status == 200
        await read_frames(streams[-1], 1)
    return streams


async def test_one_stream_more_than_the_limit_is_refused_until_one_is_closed(aiohttp_client, quiet_config):
    """429 with Retry-After, on every transport, and the others go on."""
    client = await aiohttp_client(make_app(changed(quiet_config, "limits", streams_per_client=2)))
    streams = await open_streams(client, 2)
    answer = await client.get(STREAM)
    error = await assert_error(answer, "too_many_requests", status=429)
    assert error["limit"] == 2
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await client.get(f"{STREAM}&format=ndjson")).status == 429
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect(STREAM)
    assert caught.value.status == 429
    await publish(client, 1)
    for stream in streams:
        assert (await read_frames(stream, 1))[0].data["seq"] == 1
    streams[0].close()
    await until(lambda: len(client.app[FOLLOWERS]) == 1)
    await open_streams(client, 1)


async def test_the_count_returns_however_a_stream_ends(aiohttp_client, quiet_config):
    """Ended, left, refused by its content, hung up before it began, or a WebSocket."""
    app = make_app(changed(quiet_config, "limits", streams_per_client=1))
    client = await aiohttp_client(app)
    await publish(client, 1)
    for _ in range(3):
        socket = await client.ws_connect(STREAM)
        await socket.receive_json()
        await socket.close()
        await until(lambda: not app[FOLLOWERS])
    assert (await client.get("/api/events/stream?stream=task:none")).status == 404
    assert (await client.get("/api/events/stream?stream=task:a&since_seq=x")).status == 400
    for _ in range(3):
        async with raw_connection(client, request_bytes("GET", STREAM)):
            await until(lambda: len(app[FOLLOWERS]) == 1)
        await until(lambda: not app[FOLLOWERS])
    rotating = await aiohttp_client(make_app(changed(client_config(quiet_config), "stream", max_events_per_stream=1)))
    await publish(rotating, 3)
    for _ in range(3):
        assert "event: rotate" in await read_to_end(await rotating.get(STREAM))
    await open_streams(client, 1)


def client_config(config):
    """One stream a client, on a file of its own."""
    return changed(changed(config, "limits", streams_per_client=1), "database", path=f"{config.database.path}.2")


async def test_a_stream_that_is_full_in_all_gives_its_place_back(aiohttp_client, quiet_config):
    """`end` with `capacity` is an answer, not an open stream."""
    config = changed(changed(quiet_config, "limits", streams_per_client=2), "server", max_connections=65)
    client = await aiohttp_client(make_app(config))
    await open_streams(client, 1)
    for _ in range(5):
        assert '"capacity"' in await read_to_end(await client.get(STREAM))


async def test_streams_are_counted_by_token_or_by_address(aiohttp_client, quiet_config):
    """Two tokens at one address do not take from each other."""
    config = with_tokens(quiet_config, token("a", "read:*"), token("b", "read:*"))
    client = await aiohttp_client(make_app(changed(config, "limits", streams_per_client=1)))
    await open_streams(client, 1, **bearer("a"))
    await open_streams(client, 1, **bearer("b"))
    for name in "ab":
        assert (await client.get(STREAM, headers=bearer(name))).status == 429


async def test_a_forwarded_address_counts_only_from_a_trusted_proxy(aiohttp_client, quiet_config):
    """A client that makes up addresses is still one client."""
    config = changed(quiet_config, "limits", streams_per_client=1)
    client = await aiohttp_client(make_app(config))
    await open_streams(client, 1, X_Forwarded_For="198.51.100.1")
    assert (await client.get(STREAM, headers={"X-Forwarded-For": "198.51.100.2"})).status == 429
    behind = changed(client_config(config), "server", trusted_proxies=("127.0.0.1",))
    proxied = await aiohttp_client(make_app(behind))
    for address in ("198.51.100.1", "198.51.100.2", "2001:db8::1"):
        answer = await proxied.get(STREAM, headers={"X-Forwarded-For": address})
        assert answer.status == 200
        await read_frames(answer, 1)
    assert (await proxied.get(STREAM, headers={"X-Forwarded-For": "2001:db8::2"})).status == 429
    assert (await proxied.get(STREAM, headers={"X-Forwarded-For": "6.6.6.6, 198.51.100.1"})).status == 429


async def test_what_must_not_be_read_is_refused_before_a_place_is_counted(aiohttp_client, quiet_config):
    """401, then 403, then 404, then 429: who may not read learns nothing from the limit."""
    config = with_tokens(quiet_config, token("a", "read:task:a", "read:task:none"), token("b", "append:task:a"))
    client = await aiohttp_client(make_app(changed(config, "limits", streams_per_client=1)))
    await publish_as(client, "b", 1)
    await open_streams(client, 1, **bearer("a"))
    for path, headers, status in (
        ("task:a", {}, 401),
        ("task:b", bearer("a"), 403),
        ("task:none", bearer("a"), 404),
        ("task:a", bearer("a"), 429),
        ("task:a", bearer("b"), 403),
    ):
        assert (await client.get(f"/api/events/stream?stream={path}", headers=headers)).status == status


async def publish_as(client, name, count, stream="task:a"):
    """Notes with a token, in one request; the answer."""
    events = [body(stream, n) for n in range(count)]
    return await client.post("/api/events", json={"events": events}, headers=bearer(name))


async def test_publishing_beyond_the_rate_is_refused_and_stores_nothing(aiohttp_client, quiet_config):
    """429 with Retry-After; a batch counts by its events."""
    client = await aiohttp_client(make_app(changed(quiet_config, "limits", publishes_per_second=1)))
    await publish(client, 5)
    answer = await client.post("/api/events", json=body(n=6))
    error = await assert_error(answer, "too_many_requests", status=429)
    assert error["limit"] == 1
    assert int(answer.headers["Retry-After"]) >= 1
    assert len((await (await client.get("/api/events?stream=task:a")).json())["events"]) == 5


async def test_every_change_counts_and_reading_does_not(aiohttp_client, quiet_config):
    """Demands, agents and tickets are changes, too."""
    client = await aiohttp_client(make_app(changed(quiet_config, "limits", publishes_per_second=1)))
    statuses = Counter()
    for path, sent in (("/api/demand/submit", {"raw_input": "a venue"}), ("/api/logout", {}), ("/api/agents", {})):
        statuses[(await client.post(path, json=sent)).status] += 1
    assert statuses[429] >= 1
    assert (await client.delete("/api/agents/a")).status == 429
    for _ in range(20):
        assert (await client.get("/api/events")).status == 200
    assert (await client.options("/api/events")).status == 204


async def test_whoever_is_not_known_is_told_so_before_his_rate(aiohttp_client, quiet_config):
    """A refused stranger takes nothing from anybody's share."""
    config = with_tokens(quiet_config, token("b", "append:*"))
    client = await aiohttp_client(make_app(changed(config, "limits", publishes_per_second=1)))
    for _ in range(20):
        assert (await client.post("/api/events", json=body())).status == 401
    assert (await publish_as(client, "b", 2)).status == 201
    assert (await publish_as(client, "b", 1)).status == 429


async def test_failed_logins_are_refused_after_a_while_and_good_ones_with_them(aiohttp_client, quiet_config):
    """From that address; a stream with the token still opens."""
    config = with_tokens(quiet_config, token("a", "read:*"))
    client = await aiohttp_client(make_app(changed(config, "limits", logins_per_minute=3)))
    statuses = [(await client.post("/api/login", json={"token": "wrong" * 8})).status for _ in range(5)]
    assert statuses == [401] * 3 + [429] * 2
    answer = await client.post("/api/login", json={"token": bearer("a")["Authorization"][7:]})
    await assert_error(answer, "too_many_requests", status=429)
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await client.get("/api/events", headers=bearer("a"))).status == 200


async def test_many_streams_at_once_never_pass_the_limit(aiohttp_client, quiet_config):
    """Asking at the same moment is no way around it."""
    client = await aiohttp_client(make_app(changed(quiet_config, "limits", streams_per_client=5)))
    answers = await asyncio.gather(*(client.get(STREAM) for _ in range(25)))
    assert Counter(answer.status for answer in answers) == {200: 5, 429: 20}
    assert len(client.app[FOLLOWERS]) == 5
