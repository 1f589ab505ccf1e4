"""Logging in and out, tickets and who one is, over HTTP."""

import json
import re

import jwt
import pytest
from aiohttp import DummyCookieJar

from server.app import make_app
from server.auth.cookies import COOKIE
from server.auth.principal import VERBS
from tests.support import assert_error, changed, raw_connection, read_head, request_bytes
from tests.support.tokens import HS256_SECRET, NOW, Clock, bearer, claims, hs256, secret_of, token, with_jwt, with_tokens

LOGIN = {"token": secret_of("alice")}


@pytest.fixture
def connect(aiohttp_client):
    """How a server is started and a client connected that keeps no cookies."""

    async def start(config, **options):
        return await aiohttp_client(make_app(config, **options), cookie_jar=DummyCookieJar())

    return start


@pytest.fixture
def guarded(quiet_config):
    """Settings with one token."""
    return with_tokens(quiet_config, token("alice", "read:task:*", "append:task:a"))


@pytest.fixture
async def client(connect, guarded):
    """A client of a server that asks for tokens."""
    return await connect(guarded)


def cookie_of(answer):
    """Name and value, and the set of what else the Set-Cookie header says."""
    [header] = answer.headers.getall("Set-Cookie")
    pair, *attributes = header.split("; ")
    return pair, set(attributes)


# Login


async def test_a_login_says_who_one_is_and_sets_a_cookie(connect, guarded):
    """What may be read and appended, until when, and the CSRF token."""
    client = await connect(changed(guarded, "auth", login_seconds=3600.0), clock=Clock())
    answer = await client.post("/api/login", json=LOGIN)
    assert answer.status == 200
    said = await answer.json()
    csrf = said.pop("csrf")
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", csrf)
    assert said == {
        "name": "alice",
        "read": ["task:*"],
        "append": ["task:a"],
        **{verb: [] for verb in ("answer", "operate", "manage")},
        "expires_at": "2027-01-15T09:00:00.000Z",
        "auth": "token",
    }
    pair, attributes = cookie_of(answer)
    assert pair.startswith(f"{COOKIE}=")
    assert attributes == {"Path=/", "Max-Age=3600", "HttpOnly", "SameSite=Strict"}
    assert "no-store" in answer.headers["Cache-Control"]


async def test_a_cookie_holds_no_token(client):
    """Neither the secret nor its digest; the CSRF token in it cannot be read by scripts."""
    pair, _ = cookie_of(await client.post("/api/login", json=LOGIN))
    held = jwt.decode(pair.partition("=")[2], options={"verify_signature": False})
    assert set(held) <= {"aud", "sub", "exp", "csrf", "mark"}
    assert secret_of("alice") not in repr(held)


async def test_every_login_has_a_cookie_and_a_csrf_token_of_its_own(client):
    """A cookie that was there before is not continued: nobody can prepare one for somebody else."""
    answers = [await client.post("/api/login", json=LOGIN, headers={"Cookie": f"{COOKIE}=prepared"}) for _ in range(5)]
    assert len({cookie_of(answer)[0] for answer in answers}) == 5
    assert len({(await answer.json())["csrf"] for answer in answers}) == 5


@pytest.mark.parametrize(
    ("proxies", "headers", "is_secure"),
    [
        pytest.param((), {}, False, id="plain"),
        pytest.param((), {"X-Forwarded-Proto": "https"}, False, id="anybody who says so"),
        pytest.param(("127.0.0.1",), {"X-Forwarded-Proto": "https"}, True, id="a trusted proxy"),
        pytest.param(("127.0.0.1",), {"X-Forwarded-Proto": "http"}, False, id="a trusted proxy without TLS"),
        pytest.param(("10.0.0.1",), {"X-Forwarded-Proto": "https"}, False, id="not that proxy"),
    ],
)
async def test_a_cookie_is_for_tls_when_the_browser_speaks_it(connect, guarded, proxies, headers, is_secure):
    """On plain loopback a browser would not keep a Secure cookie."""
    client = await connect(changed(guarded, "server", trusted_proxies=proxies))
    for path in ("/api/login", "/api/logout"):
        _, attributes = cookie_of(await client.post(path, json=LOGIN, headers=headers))
        assert ("Secure" in attributes) is is_secure
        assert attributes >= {"HttpOnly", "SameSite=Strict", "Path=/"}


@pytest.mark.parametrize(
    "given",
    ["", " ", "wrong-wrong-wrong", secret_of("alice")[:-1], "\u00e9" * 20, "x" * 10_000, "\r\nSet-Cookie: a=b", "\u0000"],
)
async def test_a_login_with_a_wrong_token_is_refused(client, given):
    """401 without a cookie, and without what was sent."""
    answer = await client.post("/api/login", json={"token": given})
    await assert_error(answer, "unauthorized", status=401)
    assert "Set-Cookie" not in answer.headers
    assert not given.strip() or given not in await answer.text()


@pytest.mark.parametrize(
    ("sent", "content_type", "status"),
    [
        pytest.param(json.dumps(LOGIN), "text/plain", 415, id="what a form of another page can send"),
        pytest.param(json.dumps(LOGIN), "application/x-www-form-urlencoded", 415, id="another form"),
        pytest.param(json.dumps(LOGIN), "multipart/form-data", 415, id="and another"),
        pytest.param(json.dumps(LOGIN), "", 415, id="no type"),
        pytest.param("{}", "application/json", 422, id="no token"),
        pytest.param('{"token": 7}', "application/json", 422, id="a number"),
        pytest.param('{"token": null}', "application/json", 422, id="null"),
        pytest.param('{"token": "x", "more": 1}', "application/json", 422, id="more"),
        pytest.param("token", "application/json", 400, id="no JSON"),
        pytest.param('{"token": "\\ud800"}', "application/json", 400, id="half a character"),
    ],
)
async def test_a_login_that_cannot_be_read_is_refused_without_a_cookie(client, sent, content_type, status):
    """Above all forms: a foreign page must not log its visitors in as somebody else."""
    answer = await client.post(
        "/api/login", data=sent, headers={"Content-Type": content_type}, skip_auto_headers=["Content-Type"]
    )
    assert answer.status in ((status,) if status != 400 else (400, 422))
    assert "Set-Cookie" not in answer.headers


async def test_a_login_needs_no_csrf_token_and_no_credentials(client):
    """Also with a cookie that has expired: else nobody could log in again."""
    for headers in ({}, {"Cookie": f"{COOKIE}=old"}, {"Authorization": "Bearer wrong-wrong-wrong"}):
        assert (await client.post("/api/login", json=LOGIN, headers=headers)).status == 200


async def test_a_login_where_nobody_is_asked_sets_no_cookie(connect, quiet_config):
    """Pages can ask in the same way everywhere."""
    client = await connect(quiet_config)
    answer = await client.post("/api/login", json={"token": "anything"})
    assert answer.status == 200
    assert "Set-Cookie" not in answer.headers
    assert (await answer.json())["auth"] == "off"


async def test_a_jwt_logs_in_for_as_long_as_it_counts(connect, quiet_config, monkeypatch):
    """No longer than its `exp`; its scopes go with the cookie."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    clock = Clock()
    client = await connect(with_jwt(quiet_config), clock=clock)
    answer = await client.post("/api/login", json={"token": hs256(claims(exp=NOW + 100))})
    said = await answer.json()
    assert (said["name"], said["read"], said["append"], said["auth"]) == ("alice", ["task:*"], ["task:*"], "jwt")
    pair, attributes = cookie_of(answer)
    assert "Max-Age=100" in attributes
    headers = {"Cookie": pair}
    assert (await client.get("/api/events?stream=task:*", headers=headers)).status == 200
    assert (await client.get("/api/events", headers=headers)).status == 403
    clock.now += 100
    assert (await client.get("/api/events?stream=task:*", headers=headers)).status == 401


async def test_a_jwt_with_a_subject_like_a_header_sets_no_header(connect, quiet_config, monkeypatch):
    """What a provider lets its users call themselves reaches no header as it is."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    client = await connect(with_jwt(quiet_config), clock=Clock())
    answer = await client.post("/api/login", json={"token": hs256(claims(sub="a; Domain=evil.example; x=\u4e2d"))})
    assert answer.status == 200
    pair, attributes = cookie_of(answer)
    assert re.fullmatch(rf"{COOKIE}=[A-Za-z0-9_.-]+", pair)
    assert {name.partition("=")[0] for name in attributes} == {"Path", "Max-Age", "HttpOnly", "SameSite"}


async def test_a_cookie_that_no_browser_would_keep_is_refused(connect, quiet_config, monkeypatch):
    """Beyond 4,096 characters a browser drops it without a word, and the page would ask to log in again for ever."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    client = await connect(with_jwt(quiet_config), clock=Clock())
    many = " ".join(f"read:task:{n:03}-{'x' * 40}" for n in range(80))
    answer = await client.post("/api/login", json={"token": hs256(claims(scope=many))})
    assert answer.status != 200 or len(cookie_of(answer)[0]) <= 4_096
    assert answer.status < 500


# Logout


async def test_a_logout_makes_the_browser_forget(client):
    """With or without having been logged in, and without a CSRF token: a page whose cookie is bad must get rid of it."""
    for headers in ({}, {"Cookie": f"{COOKIE}=x"}):
        answer = await client.post("/api/logout", json={}, headers=headers)
        assert await answer.json() == {"success": True}
        pair, attributes = cookie_of(answer)
        assert pair == f"{COOKIE}="
        assert attributes >= {"Max-Age=0", "Path=/", "HttpOnly", "SameSite=Strict"}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_form_of_another_page_logs_nobody_out(client, content_type):
    """A foreign page can post a form, and its answer could set cookies."""
    answer = await client.post("/api/logout", data="x=y", headers={"Content-Type": content_type})
    await assert_error(answer, "unsupported_media_type", status=415)
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/api/login", "/api/logout"])
async def test_a_link_neither_logs_in_nor_out(client, path):
    """Only POST does."""
    await assert_error(await client.get(path), "method_not_allowed", status=405)


# Who one is


async def test_a_session_says_who_asks_however_he_is_known(client):
    """By header, cookie, ticket, or not at all; the CSRF token only with the cookie."""
    cookie, _ = cookie_of(await client.post("/api/login", json=LOGIN))
    ticket = (await (await client.post("/api/tickets", json={"streams": ["task:b"]}, headers=bearer("alice"))).json())["ticket"]
    by_header = await (await client.get("/api/session", headers=bearer("alice"))).json()
    by_cookie = await (await client.get("/api/session", headers={"Cookie": cookie})).json()
    by_ticket = await (await client.get(f"/api/session?ticket={ticket}")).json()
    by_nothing = await (await client.get("/api/session")).json()
    assert (by_header["name"], by_header["read"], by_header["csrf"], by_header["expires_at"]) == ("alice", ["task:*"], "", None)
    assert (by_cookie["name"], by_cookie["append"]) == ("alice", ["task:a"])
    assert by_cookie["csrf"]
    assert by_cookie["expires_at"]
    assert (by_ticket["read"], by_ticket["append"], by_ticket["csrf"]) == (["task:b"], [], "")
    nothing = {verb: [] for verb in VERBS}
    assert by_nothing == {"name": None, **nothing, "expires_at": None, "csrf": "", "auth": "token"}


async def test_a_session_of_wrong_credentials_is_nobodys(client):
    """200 and no name: a page that asks must not see an error to find out that it has to log in."""
    for headers in ({"Authorization": "Bearer x"}, {"Authorization": "Basic x"}, {"Cookie": f"{COOKIE}=x.y.z"}):
        answer = await client.get("/api/session", headers=headers)
        assert answer.status == 200
        assert (await answer.json())["name"] is None
        assert "no-store" in answer.headers["Cache-Control"]


async def test_the_csrf_token_of_a_cookie_stays_the_same(client):
    """Other tabs of the page go on with theirs."""
    answer = await client.post("/api/login", json=LOGIN)
    cookie, _ = cookie_of(answer)
    csrf = (await answer.json())["csrf"]
    for _ in range(2):
        assert (await (await client.get("/api/session", headers={"Cookie": cookie})).json())["csrf"] == csrf


async def test_everybody_is_anonymous_where_nobody_is_asked(connect, quiet_config):
    """And may do everything."""
    client = await connect(quiet_config)
    said = await (await client.get("/api/session")).json()
    everything = {verb: ["*", "system:*"] for verb in VERBS}
    assert said == {"name": "anonymous", **everything, "expires_at": None, "csrf": "", "auth": "off"}


# Tickets


async def test_a_ticket_says_until_when_it_is_good(connect, guarded):
    """201, not kept by caches, and unlike every other one."""
    client = await connect(changed(guarded, "auth", ticket_seconds=90.0), clock=Clock())
    tickets = set()
    for _ in range(20):
        answer = await client.post("/api/tickets", json={"streams": ["task:a", "task:*"]}, headers=bearer("alice"))
        assert answer.status == 201
        assert "no-store" in answer.headers["Cache-Control"]
        said = await answer.json()
        assert said["expires_at"] == "2027-01-15T08:01:30.000Z"
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", said["ticket"])
        tickets.add(said["ticket"])
    assert len(tickets) == 20


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        pytest.param([], "invalid_body", id="none"),
        pytest.param(["task:a"] * 65, "invalid_body", id="too many"),
        pytest.param(["task"], "invalid_request", id="no name"),
        pytest.param(["task:a*"], "invalid_request", id="part of a kind"),
        pytest.param(["task:a\n"], "invalid_request", id="a line break"),
        pytest.param(["**"], "invalid_request", id="no pattern"),
        pytest.param([""], "invalid_request", id="empty"),
        pytest.param([7], "invalid_body", id="a number"),
        pytest.param("task:a", "invalid_body", id="text"),
    ],
)
async def test_a_ticket_is_for_streams_and_patterns(client, streams, code):
    """1 to 64 of those that a stream can be opened with."""
    await assert_error(await client.post("/api/tickets", json={"streams": streams}, headers=bearer("alice")), code)


async def test_tickets_where_nobody_is_asked_are_harmless(connect, quiet_config):
    """A page asks for them in the same way; streams open with and without."""
    client = await connect(quiet_config)
    answer = await client.post("/api/tickets", json={"streams": ["task:a"]})
    assert answer.status == 201
    ticket = (await answer.json())["ticket"]
    for _ in range(2):
        assert (await client.get(f"/api/events?ticket={ticket}")).status == 200


async def test_set_cookie_is_there_once_and_whole(client):
    """Byte for byte: one line, no line break from anywhere."""
    sent = request_bytes("POST", "/api/login", body=json.dumps(LOGIN).encode(), Content_Type="application/json")
    async with raw_connection(client, sent) as (reader, _):
        status, headers = await read_head(reader)
    assert status == 200
    assert re.fullmatch(rf"{COOKIE}=[A-Za-z0-9_.-]+; Path=/; Max-Age=\d+; HttpOnly; SameSite=Strict", headers["set-cookie"])
