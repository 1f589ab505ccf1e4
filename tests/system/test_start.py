"""What a server refuses to start with, so that nobody believes he is protected; and how it holds its number of connections."""

import asyncio
import contextlib
import http.client
import stat

import pytest

from server.cli.serve import check_environment
from server.config import Config
from tests.support import EventSource, ServerProcess, changed, until
from tests.support.tokens import HS256_SECRET, RsaKey, secret_of, write_jwks
from tests.system.test_shutdown import QUIET, refused, said, serve
from towow.errors import StartupError

TOKEN = "TOWOW__AUTH__TOKENS"
MODE = {"TOWOW__AUTH__MODE": "token"}
JWT = {"TOWOW__AUTH__MODE": "jwt", "TOWOW__JWT__AUDIENCE": "towow"}
SHARED = JWT | {"TOWOW__JWT__ALGORITHMS": '["HS256"]', "TOWOW__JWT__SECRET_ENV": "TOWOW_TEST_SECRET"}


def table(**fields):
    """A list with one table of `[[auth.tokens]]`, as the environment gives it."""
    given = {"name": "a", "scopes": []} | fields
    return "[{" + ", ".join(f"{name} = {value!r}" for name, value in given.items() if value is not None) + "}]"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param(MODE, ("[[auth.tokens]]", "token new"), id="no tokens"),
        pytest.param(MODE | {TOKEN: "[]"}, ("[[auth.tokens]]",), id="an empty list"),
        pytest.param(
            MODE | {TOKEN: table(token="x" * 16)[:-1] + "," + table(token="y" * 16)[1:]}, ("every name",), id="a name twice"
        ),
        pytest.param(MODE | {TOKEN: table(token="swordfish")}, ("a:", "16"), id="a short secret"),
        pytest.param(MODE | {TOKEN: table(token="x" * 16, token_sha256="0" * 64)}, ("exactly one",), id="two secrets"),
        pytest.param(MODE | {TOKEN: table()}, ("exactly one",), id="no secret"),
        pytest.param(MODE | {TOKEN: table(token_env="TOWOW_NOT_SET")}, ("TOWOW_NOT_SET",), id="a variable that is not set"),
        pytest.param(MODE | {TOKEN: table(token_sha256="abc")}, ("token_sha256",), id="no SHA-256"),
        pytest.param(MODE | {TOKEN: table(token="x" * 16, scopes=["write:*"])}, ("write:*",), id="no scope"),
        pytest.param(MODE | {TOKEN: table(token="x" * 16, name="a b")}, ("name",), id="no name"),
        pytest.param(MODE | {TOKEN: table(token="x" * 16, scope="read:*")}, ("scope",), id="a key that does not exist"),
        pytest.param({"TOWOW__AUTH__MODE": "tokens"}, ("mode",), id="no mode"),
        pytest.param({"TOWOW__AUTH__MODE": "jwt"}, ("audience",), id="JWT without audience"),
        pytest.param(JWT, ("jwks",), id="JWT without keys"),
        pytest.param(JWT | {"TOWOW__JWT__JWKS": "/nowhere/keys.json"}, ("/nowhere/keys.json",), id="JWT with no such file"),
        pytest.param(JWT | {"TOWOW__JWT__JWKS": "http://id.example/k"}, ("https",), id="JWT with keys over plain HTTP"),
        pytest.param(SHARED | {"TOWOW__JWT__ALGORITHMS": '["HS256", "RS256"]'}, ("HS256",), id="HS256 beside RS256"),
        pytest.param(SHARED, ("secret_env",), id="HS256 without its variable"),
        pytest.param(SHARED | {"TOWOW_TEST_SECRET": "x" * 31}, ("32",), id="HS256 with a short secret"),
        pytest.param(JWT | {"TOWOW__JWT__ALGORITHMS": '["none"]'}, ("algorithms",), id="no algorithm"),
    ],
)
def test_authentication_that_protects_nothing_is_refused_at_start(tmp_path, environment, words):
    """One line with what to change, no secret in it, and no database is made."""
    result = serve("--port", 0, "--db", tmp_path / "towow.db", environment=environment)
    refused(result, *words)
    assert {path.name for path in tmp_path.iterdir()} <= {"towow.db.key"}
    for secret in ("swordfish", "x" * 16):
        assert secret not in result.stderr


def test_a_damaged_file_of_keys_is_refused_at_start(tmp_path):
    """So is one with a private key in it, and one for other algorithms."""
    key = RsaKey("r")
    file = tmp_path / "keys.json"
    environment = JWT | {"TOWOW__JWT__JWKS": str(file)}
    file.write_text('{"keys": [')
    refused(serve("--port", 0, "--db", tmp_path / "towow.db", environment=environment), "jwks")
    for entry, algorithm in ((key.jwk(is_private=True), "RS256"), (key.jwk(), "EdDSA")):
        write_jwks(file, entry)
        given = environment | {"TOWOW__JWT__ALGORITHMS": f'["{algorithm}"]'}
        refused(serve("--port", 0, "--db", tmp_path / "towow.db", environment=given), "jwks")


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        pytest.param("00" * 32, 0o644, ("chmod 600",), id="readable by others"),
        pytest.param("00" * 32, 0o660, ("chmod 600",), id="writable by a group"),
        pytest.param("00" * 31, 0o600, ("damaged",), id="too short"),
        pytest.param("no key", 0o600, ("key file",), id="no key"),
        pytest.param("", 0o600, ("damaged",), id="empty"),
    ],
)
def test_a_key_file_that_cannot_be_trusted_is_refused_at_start(tmp_path, text, mode, words):
    """It is left as it is: replacing it would log everybody out."""
    key = tmp_path / "towow.db.key"
    key.write_text(text)
    key.chmod(mode)
    environment = MODE | {TOKEN: table(token=secret_of("a"))}
    refused(serve("--port", 0, "--db", tmp_path / "towow.db", environment=environment), "towow.db.key", *words)
    assert key.read_text() == text
    assert list(tmp_path.iterdir()) == [key]


def test_a_key_is_made_for_the_owner_alone_and_kept(tmp_path):
    """By the first start; the next one uses it."""
    environment = QUIET | MODE | {TOKEN: table(token=secret_of("a"))}
    keys = []
    with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
        for _ in range(2):
            keys.append((tmp_path / "towow.db.key").read_text())
            assert stat.S_IMODE((tmp_path / "towow.db.key").stat().st_mode) == 0o600
            server.stop()
            server.start()
    assert len(set(keys)) == 1
    assert keys[0] not in said(server)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "towow.example", ""])
def test_other_machines_are_served_only_with_authentication(host):
    """Or when the settings say that they may come without."""
    reachable = changed(Config(), "server", host=host)
    with pytest.raises(StartupError):
        check_environment(reachable)
    check_environment(changed(reachable, "server", allow_unauthenticated=True))
    for mode in ("token", "jwt"):
        check_environment(changed(reachable, "auth", mode=mode))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_is_served_without(host):
    """The default."""
    check_environment(changed(Config(), "server", host=host))


def test_a_secret_of_hs256_starts_a_server(tmp_path):
    """The refusals above are for their reasons."""
    environment = QUIET | SHARED | {"TOWOW_TEST_SECRET": HS256_SECRET}
    with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
        assert server.get("/health")["status"] == "ok"
    assert HS256_SECRET not in said(server)


# Connections in all


def is_dropped(port):
    """Whether a new connection is closed before it is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status != 200
    except (ConnectionError, http.client.BadStatusLine):
        return True
    finally:
        connection.close()


async def test_connections_beyond_the_limit_are_dropped_and_the_others_unharmed(tmp_path):
    """Streams go on, the next one is served as soon as there is room, and nothing is logged as a fault.

    One address has half of them."""
    environment = QUIET | {"TOWOW__SERVER__MAX_CONNECTIONS": "8"}
    with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        async with EventSource(server.port, "/api/events/stream?stream=*&start=live") as source:
            await until(lambda: source.controls())
            kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            await asyncio.to_thread(kept.request, "GET", "/health")
            assert kept.getresponse().read()
            for _ in range(20):
                assert await asyncio.to_thread(is_dropped, server.port)
            sent = b'{"stream":"task:a","event_type":"note","payload":{}}'
            await asyncio.to_thread(kept.request, "POST", "/api/events", sent, {"Content-Type": "application/json"})
            assert kept.getresponse().status == 201
            await until(lambda: source.events())
            idle.pop()[1].close()
            async with asyncio.timeout(10):
                while await asyncio.to_thread(is_dropped, server.port):
                    pass
            kept.close()
        for _, writer in idle:
            writer.close()
    assert "Traceback" not in said(server)
    assert '"level":"error"' not in said(server)


async def test_slow_and_idle_connections_are_closed(tmp_path):
    """One that says nothing, one that never ends its headers, one that is done: each after the seconds of the settings."""
    environment = QUIET | {"TOWOW__SERVER__KEEPALIVE_TIMEOUT_SECONDS": "0.3"}
    with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
        for sent in (
            b"",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(sent)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                    assert reader.at_eof()
            writer.close()


async def test_headers_that_trickle_in_do_not_hold_a_connection(tmp_path):
    """A byte now and then is no request: the time counts from the beginning."""
    environment = QUIET | {"TOWOW__SERVER__KEEPALIVE_TIMEOUT_SECONDS": "0.3"}
    with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        async with asyncio.timeout(10):
            closed = asyncio.create_task(reader.read())
            while not closed.done():
                with contextlib.suppress(ConnectionError):
                    writer.write(b"X: y\r\n")
                    await writer.drain()
                await asyncio.wait([closed], timeout=0.02)
        with contextlib.suppress(ConnectionError):
            assert b" 200 " not in closed.result()
        writer.close()
