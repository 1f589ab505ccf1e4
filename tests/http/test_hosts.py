"""The names that the server answers to: a web page must not reach it through a name of its own."""

import pytest
from aiohttp.test_utils import make_mocked_request

from server.app import make_app
from server.http.hosts import AllowedHosts, is_loopback
from tests.support import assert_error, changed, raw_connection, read_head, request_bytes
from towow.errors import Forbidden


def is_ours(hosts, *names):
    """Whether a request with this Host header, or without one, is taken."""
    try:
        hosts.check(make_mocked_request("GET", "/", headers=[("Host", name) for name in names]))
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback_addresses_are_known(host):
    """Those that no other machine reaches."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.0.2.1", "towow.example", "localhost.evil.example", "127.0.0.1.evil"]
)
def test_other_addresses_are_no_loopback(host):
    """In doubt an address is one that others reach."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST:8000",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.1.2.3:80",
        "[::1]",
        "[::1]:8000",
        "towow.localhost:8000",
        "public.example",
        "Public.Example:443",
        "public.example.",
    ],
)
def test_our_names_are_taken_with_and_without_a_port(name):
    """Loopback in every spelling that browsers use, and what the settings allow."""
    assert is_ours(AllowedHosts("127.0.0.1", ("public.example",)), name)


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.evil.example",
        "evil-localhost",
        "evillocalhost",
        "public.example.evil",
        "xpublic.example",
        "localhost@evil.example",
        "evil.example#localhost",
        "[::2]",
        "[evil.example]:80",
        "::1:evil",
        "0.0.0.0",
        "",
        ":8000",
        ".",
        "localhost, evil.example",
    ],
)
def test_names_that_are_not_ours_are_refused_on_loopback(name):
    """A name that looks like ours is not ours."""
    assert not is_ours(AllowedHosts("127.0.0.1", ("public.example",)), name)


def test_a_request_without_a_name_is_no_browsers():
    """HTTP/1.0 has none."""
    assert is_ours(AllowedHosts("127.0.0.1", ()))


def test_elsewhere_names_are_checked_only_when_some_are_allowed():
    """A public address cannot know its names by itself."""
    assert is_ours(AllowedHosts("192.0.2.1", ()), "anything.example")
    hosts = AllowedHosts("192.0.2.1", ("public.example",))
    assert is_ours(hosts, "public.example")
    assert is_ours(hosts, "192.0.2.1:8000")
    assert not is_ours(hosts, "anything.example")


@pytest.mark.slow
def test_what_is_remembered_is_bounded_and_changes_nothing():
    """Names that were taken are taken again; names that were refused are not remembered."""
    hosts = AllowedHosts("127.0.0.1", ())
    for number in range(1000):
        assert is_ours(hosts, f"n{number}.localhost")
        assert not is_ours(hosts, f"n{number}.example")
    assert is_ours(hosts, "n1.localhost")
    assert is_ours(hosts, "n999.localhost")
    assert len(hosts._known) <= 100


@pytest.mark.parametrize("target", ["/api/events", "/api/session", "/", "/health", "/nothing"])
async def test_a_foreign_name_reaches_no_route(client, target):
    """Public ones included: a page's script must not read anything here."""
    await assert_error(await client.get(target, headers={"Host": "evil.example"}), "forbidden", status=403, field="Host")


async def test_a_foreign_name_is_refused_before_anybody_is_asked_who_he_is(client):
    """Streams and WebSockets, too."""
    for headers in ({}, {"Upgrade": "websocket", "Connection": "Upgrade"}):
        answer = await client.get("/api/events/stream", headers={"Host": "evil.example", **headers})
        await assert_error(answer, "forbidden", status=403, field="Host")


async def test_a_port_of_a_proxy_does_not_matter_and_allowed_names_work(aiohttp_client, quiet_config):
    """`allowed_hosts` is what a proxy calls us."""
    client = await aiohttp_client(make_app(changed(quiet_config, "server", allowed_hosts=("Towow.Example",))))
    for name, status in (("towow.example", 200), ("towow.example:443", 200), ("evil.example", 403)):
        assert (await client.get("/health", headers={"Host": name})).status == status


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"GET /health HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n", id="foreign first"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", id="foreign second"),
    ],
)
async def test_two_names_in_one_request_are_refused(client, lines):
    """Whoever stands before us may read the other one (RFC 9112, section 3.2: 400)."""
    async with raw_connection(client, lines) as (reader, _):
        assert (await read_head(reader))[0] in (400, 403)


async def test_a_whole_url_as_the_target_does_not_get_around_the_check(client):
    """Its host counts like the header (RFC 9112, section 3.2.2); neither may be foreign."""
    for target, host, expected in (
        ("http://localhost/health", "localhost", (200,)),
        ("http://localhost/health", "evil.example", (400, 403)),
    ):
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        async with raw_connection(client, head) as (reader, _):
            assert (await read_head(reader))[0] in expected, (target, host)


async def test_a_request_of_http_1_0_without_a_name_is_answered(client):
    """Load balancers ask for health like this."""
    head = request_bytes("GET", "/health", version="1.0").replace(b"Host: localhost\r\n", b"")
    async with raw_connection(client, head) as (reader, _):
        assert (await read_head(reader))[0] == 200
