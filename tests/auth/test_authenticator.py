"""Authentication: bearer tokens, tickets and cookies, on every route and transport."""

import asyncio
import json
import re

import jwt
import pytest
from aiohttp import DummyCookieJar, WSServerHandshakeError

from server.app import LOG, make_app
from server.auth.authenticator import PUBLIC_ROUTES, Authenticator
from server.auth.cookies import COOKIE, CSRF_HEADER
from server.auth.principal import EVERYBODY, VERBS, Principal
from server.auth.signing_key import Signer
from server.auth.tickets import Tickets
from server.config import AuthSection, Config, TokenSection
from tests.support import (
    assert_error,
    body,
    changed,
    publish,
    raw_connection,
    read_frames,
    read_head,
    read_to_end,
    request_bytes,
)
from tests.support.surfaces import SAMPLES
from tests.support.tokens import (
    HS256_SECRET,
    NOW,
    Clock,
    bearer,
    claims,
    forged,
    hmac_with,
    hs256,
    secret_of,
    token,
    with_jwt,
    with_tokens,
)
from towow.errors import Forbidden, StartupError, Unauthorized

PUBLIC = {
    "GET /",
    "GET /api",
    "GET /api/events/health",
    "GET /api/session",
    "GET /favicon.ico",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /sse/health",
    "GET /static/{name}",
    "GET /{page}.html",
    "POST /api/login",
    "POST /api/logout",
}
# What a route needs besides its path to come as far as asking for scopes.
BODIES = {
    "POST /api/events": {"stream": "task:a", "event_type": "note", "payload": {}},
    "POST /api/login": {"token": secret_of("all")},
    "POST /api/logout": {},
    "POST /api/runs/{run_id}/cancel": {},
    "POST /api/tickets": {"streams": ["task:a"]},
}
BODIES_OF_SURFACES = {f"POST {path}": given for sample in SAMPLES for path, given in sample.writes}
# Where saying 403 would tell that there is something.
HIDDEN = {"GET /api/events/{seq_or_event_id}"}
VALUES = {"seq_or_event_id": "1", "page": "index", "name": "style.css"}
ROUTES = sorted(
    {f"{route.method} {route.resource.canonical}" for route in make_app(Config()).router.routes() if route.method != "HEAD"}
)
PROTECTED = [name for name in ROUTES if name not in PUBLIC]
STREAM = "/api/events/stream?stream=task:a"


async def asked(client, name, **headers):
    """A request that this route would answer, with these headers."""
    method, _, path = name.partition(" ")
    path = re.sub(r"\{(\w+)\}", lambda found: VALUES.get(found[1], "a"), path)
    given = BODIES.get(name, BODIES_OF_SURFACES.get(re.sub(r"\{\w+\}", "{}", name)))
    async with asyncio.timeout(5):
        return await client.request(method, path, json=given, headers=headers)


@pytest.fixture
def guarded(quiet_config):
    """Settings with tokens for everything, for nothing, and for two streams."""
    return with_tokens(
        quiet_config,
        token("all", *(f"{verb}:*" for verb in VERBS)),
        token("none"),
        token("alice", "read:task:a", "append:task:a"),
        token("tasks", "read:task:*", "append:task:*"),
    )


@pytest.fixture
def connect(aiohttp_client):
    """How a server is started and a client connected that keeps no cookies: a test sends those that it means."""

    async def start(config, **options):
        return await aiohttp_client(make_app(config, **options), cookie_jar=DummyCookieJar())

    return start


@pytest.fixture
async def guarded_client(connect, guarded):
    """A client of a server that asks for tokens."""
    return await connect(guarded)


async def filled(client, *streams):
    """One note in each stream."""
    for stream in streams:
        assert (await client.post("/api/events", json=body(stream), headers=bearer("all"))).status == 201


# Every route


def test_which_routes_are_public_is_decided_here():
    """Another one needs a reason; what protects is not the list's spelling but the route that was found."""
    assert {name.partition(" ")[2] for name in PUBLIC} == PUBLIC_ROUTES
    assert set(ROUTES) >= PUBLIC
    assert set(ROUTES) >= set(BODIES) | HIDDEN


@pytest.mark.parametrize("name", PROTECTED)
async def test_a_protected_route_answers_nobody_who_is_unknown(guarded_client, name):
    """401 without credentials and with wrong ones, whatever else may be wrong with the request."""
    for headers in ({}, {"Authorization": "Bearer wrong-wrong-wrong-wrong"}, {"Cookie": f"{COOKIE}=wrong"}):
        answer = await asked(guarded_client, name, **headers)
        error = await assert_error(answer, "unauthorized", status=401)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="towow"'
        assert set(error) == {"code", "message", "error_id"}


@pytest.mark.parametrize("name", PROTECTED)
async def test_a_protected_route_answers_nobody_without_the_scope(guarded_client, name):
    """403, before it says whether there is anything; 404 where 403 would say that there is."""
    await filled(guarded_client, "task:a")
    code, status = ("not_found", 404) if name in HIDDEN else ("forbidden", 403)
    error = await assert_error(await asked(guarded_client, name, **bearer("none")), code, status=status)
    assert status == 404 or re.fullmatch(r"(read|append|answer|operate|manage):\S+", error["scope"])


@pytest.mark.parametrize("name", PROTECTED)
async def test_a_protected_route_answers_who_may_do_everything(guarded_client, name):
    """Neither 401 nor 403: the tests above refuse for the right reason."""
    await filled(guarded_client, "task:a", "session:a")
    answer = await asked(guarded_client, name, **bearer("all"))
    assert answer.status not in (400, 401, 403, 405, 415, 422, 500), await answer.text()
    answer.close()


@pytest.mark.parametrize("name", sorted(PUBLIC))
async def test_a_public_route_answers_everybody(guarded_client, name):
    """With no credentials and with wrong ones: a page has to show its login."""
    for headers in ({}, {"Authorization": "Bearer wrong-wrong-wrong-wrong"}, {"Cookie": f"{COOKIE}=wrong"}):
        answer = await asked(guarded_client, name, **headers)
        assert answer.status == (404 if name == "GET /static/{name}" and answer.status == 404 else 200)


@pytest.mark.parametrize(
    "target",
    [
        "/api/events/",
        "//api/events",
        "/api//events",
        "/API/EVENTS",
        "/api/%65vents",
        "/%61pi/events",
        "/api%2Fevents",
        "/api/events%2F",
        "/api/./events",
        "/api/x/../events",
        "/static/../api/events",
        "/static/%2e%2e/api/events",
        "/health/../api/events",
        "/api/events;x=/health",
        "/api/events?x=/health",
        "/api/events#/health",
        "http://localhost/api/events",
        "/index.html/../api/events",
        "/api/events.html",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_path_in_another_spelling_is_no_way_in(guarded_client, method, target):
    """What is answered without credentials is a page, a 404 or a 405, never the log."""
    await filled(guarded_client, "task:a")
    head = request_bytes(method, target, body=b"{}" if method == "POST" else b"", Content_Type="application/json")
    async with raw_connection(guarded_client, head) as (reader, _):
        status, headers = await read_head(reader)
        text = b"" if method == "HEAD" else await reader.read(int(headers.get("content-length", 0)))
    assert status in (400, 401, 404, 405)
    assert b"task:a" not in text


@pytest.mark.parametrize(
    "path", ["/api/demand/a.html", "/api/agents/favicon.ico", "/api/demand/index.html/status", "/api/events/health.html"]
)
async def test_an_id_that_looks_like_a_public_path_is_no_way_in(guarded_client, path):
    """The route decides."""
    assert (await guarded_client.get(path)).status == 401


async def test_nobody_is_asked_where_authentication_is_off(client):
    """Wrong credentials are no fault there."""
    await publish(client, 1)
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "\xff"}, {"Cookie": f"{COOKIE}=x"}):
        assert (await client.get("/api/events", headers=headers)).status == 200
    assert (await client.get("/api/events?ticket=x&token=y")).status == 200


# Bearer tokens


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("Bearer " + secret_of("all"), id="as it is usually written"),
        pytest.param("bearer " + secret_of("all"), id="in lower case"),
        pytest.param("BEARER " + secret_of("all"), id="in upper case"),
        pytest.param("Bearer   " + secret_of("all") + "  ", id="with blanks around"),
    ],
)
async def test_a_token_is_taken(guarded_client, header):
    """The scheme's case does not matter (RFC 9110, section 11.1)."""
    assert (await guarded_client.get("/api/events", headers={"Authorization": header})).status == 200


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer  ",
        b"Bearer wrong",
        b"Bearer " + secret_of("all").encode()[:-1],
        b"Bearer " + secret_of("all").encode() + b"x",
        b"Bearer " + secret_of("all").upper().encode(),
        b"Bearer " + secret_of("all").encode() + b" x",
        b"Bearer," + secret_of("all").encode(),
        b"Bearer\t" + secret_of("all").encode(),
        b"Bearer \xff\xfe\xe2\x82",
        b"Bearer " + "\u00e9\u4e2d".encode(),
        b"Bearer " + b"x" * 7000,
        b"Basic " + secret_of("all").encode(),
        b"Basic YWxsOng=",
        b"Token " + secret_of("all").encode(),
        secret_of("all").encode(),
        b"\xff",
    ],
)
async def test_what_is_no_token_is_refused(guarded_client, header):
    """401, never an error of ours, and nothing of it comes back."""
    head = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + header + b"\r\n\r\n"
    async with raw_connection(guarded_client, head) as (reader, _):
        status, headers = await read_head(reader)
        text = await reader.read(int(headers["content-length"]))
    assert status == 401
    assert secret_of("all").encode() not in text


async def test_a_header_that_is_too_long_is_refused_without_harm(guarded_client):
    """Tokens, tickets and cookies of a hundred thousand characters."""
    for line in ("Authorization: Bearer " + "x" * 100_000, f"Cookie: {COOKIE}=" + "x" * 100_000):
        head = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n".encode()
        async with raw_connection(guarded_client, head) as (reader, _):
            assert (await read_head(reader))[0] in (400, 401, 413, 431)
    assert (await guarded_client.get("/api/events", headers=bearer("all"))).status == 200


async def test_of_several_authorizations_none_is_chosen_for_its_worth(guarded_client):
    """The first one counts, or the request is refused: a second one is no second try."""
    good, wrong = f"Authorization: Bearer {secret_of('all')}", "Authorization: Bearer wrong-wrong-wrong-wrong"
    for lines in ((wrong, good), (good, wrong)):
        head = "\r\n".join(["GET /api/events HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()
        async with raw_connection(guarded_client, head) as (reader, _):
            status = (await read_head(reader))[0]
        assert status in (400, 401) or lines[0] is good


async def test_a_wrong_header_is_not_made_good_by_a_cookie_or_a_ticket(guarded_client):
    """Whoever sends a token means that one."""
    cookie, _ = await logged_in(guarded_client, "all")
    ticket = await ticket_for(guarded_client, "all", "*")
    headers = {"Authorization": "Bearer wrong-wrong-wrong-wrong", "Cookie": cookie}
    assert (await guarded_client.get(f"/api/events?ticket={ticket}", headers=headers)).status == 401


async def test_tokens_in_the_query_are_taken_only_when_the_settings_say_so(connect, guarded, guarded_client):
    """They end up in histories."""
    target = f"/api/events?token={secret_of('all')}"
    assert (await guarded_client.get(target)).status == 401
    allowing = changed(changed(guarded, "auth", allow_query_token=True), "database", path=f"{guarded.database.path}.2")
    client = await connect(allowing)
    assert (await client.get(target)).status == 200
    for wrong in ("token=", "token=wrong", f"token=wrong&token={secret_of('all')}", "token=%FF%FE"):
        assert (await client.get(f"/api/events?{wrong}")).status == 401


def authenticator(*tokens, clock=None, database="unused.db", **section):
    """One that is not entered, so without a key."""
    return Authenticator(AuthSection(mode="token", tokens=tokens, **section), database, clock or Clock())


async def test_a_token_is_given_in_three_ways(monkeypatch):
    """As it is, as its SHA-256, or in the environment."""
    monkeypatch.setenv("TOWOW_TEST_TOKEN", "from-the-environment")
    known = authenticator(
        token("plain", "read:*"),
        TokenSection(name="hash", scopes=(), token_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        TokenSection(name="variable", scopes=("append:task:*",), token_env="TOWOW_TEST_TOKEN"),
    )
    assert await known.recognise(secret_of("plain")) == Principal("plain", ("*",), (), via="token")
    assert (await known.recognise("test")).name == "hash"
    assert (await known.recognise("from-the-environment")).append == ("task:*",)
    for wrong in ("", "tes", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "\u00e9" * 20, "x" * 8193):
        with pytest.raises(Unauthorized):
            await known.recognise(wrong)


def test_secrets_are_not_kept():
    """Only their digests; nothing that an error could quote."""
    assert secret_of("alice") not in repr(vars(authenticator(token("alice"))))


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        pytest.param((), "no \\[\\[auth.tokens\\]\\]", id="none at all"),
        pytest.param((token("a"), TokenSection(name="a", scopes=(), token="x" * 16)), "once", id="a name twice"),
        pytest.param((token("a"), TokenSection(name="b", scopes=(), token=secret_of("a"))), "secret", id="a secret twice"),
        pytest.param((TokenSection(name="a", scopes=()),), "exactly one", id="no secret"),
        ((TokenSection(name="a", scopes=(), token="x" * 16, token_sha256="0" * 64),), "exactly one"),
        pytest.param((TokenSection(name="a", scopes=(), token="x" * 16, token_env="HOME"),), "exactly one", id="and one more"),
        pytest.param((TokenSection(name="a", scopes=(), token="x" * 15),), "16", id="a short secret"),
        pytest.param((TokenSection(name="a", scopes=(), token=""),), "16", id="an empty secret"),
        pytest.param((TokenSection(name="a", scopes=(), token="\u00e9" * 16),), "ASCII", id="another alphabet"),
        pytest.param((TokenSection(name="a", scopes=(), token="x" * 16 + "\n"),), "printable", id="a line break"),
        pytest.param((TokenSection(name="a", scopes=(), token_env="TOWOW_NOT_SET"),), "TOWOW_NOT_SET", id="no such variable"),
        pytest.param((TokenSection(name="a", scopes=("write:*",), token="x" * 16),), "a: a scope", id="no scope"),
    ],
)
def test_settings_that_recognise_nobody_or_too_many_are_refused(tokens, words):
    """At start, with the name of the token and never its text."""
    with pytest.raises(StartupError, match=words) as caught:
        authenticator(*tokens)
    for given in tokens:
        assert not given.token or given.token not in caught.value.message


# What may be read and appended


@pytest.mark.parametrize(
    ("name", "query", "status"),
    [
        ("alice", "stream=task:a", 200),
        ("alice", "stream=task:b", 403),
        ("alice", "stream=task:a&stream=task:b", 403),
        ("alice", "stream=task:*", 403),
        ("alice", "stream=*", 403),
        ("alice", "", 403),
        ("tasks", "stream=task:a&stream=task:b", 200),
        ("tasks", "stream=task:*", 200),
        ("tasks", "stream=task:*&stream=agent:a", 403),
        ("tasks", "stream=*", 403),
        ("tasks", "type=note", 403),
        ("all", "", 200),
        ("none", "stream=task:a", 403),
        ("none", "stream=task:never", 403),
    ],
)
@pytest.mark.parametrize("transport", ["page", "sse", "ndjson", "websocket"])
async def test_streams_and_patterns_need_scopes_over_all_of_them(guarded_client, transport, name, query, status):
    """On every transport alike."""
    await filled(guarded_client, "task:a", "task:b", "agent:a")
    if transport == "page":
        answer = await guarded_client.get(f"/api/events?{query}", headers=bearer(name))
        assert answer.status == status
        return
    target = f"/api/events/stream?start=beginning&{query}"
    if transport == "websocket":
        try:
            async with guarded_client.ws_connect(target, headers=bearer(name)) as socket:
                assert (await socket.receive_json())["stream"]
                found = 200
        except WSServerHandshakeError as error:
            found = error.status
        assert found == status
        return
    async with guarded_client.get(f"{target}&format={transport}", headers=bearer(name)) as answer:
        assert answer.status == status


async def test_a_pattern_that_may_be_followed_shows_no_other_stream(guarded_client):
    """Neither in pages nor live."""
    await filled(guarded_client, "task:a", "agent:a", "task:b")
    page = await (await guarded_client.get("/api/events?stream=task:*", headers=bearer("tasks"))).json()
    assert [event["stream"] for event in page["events"]] == ["task:a", "task:b"]
    async with guarded_client.get("/api/events/stream?stream=task:*", headers=bearer("tasks")) as answer:
        await read_frames(answer, 1)
        await filled(guarded_client, "agent:a", "task:c")
        assert (await read_frames(answer, 1))[0].data["stream"] == "task:c"


async def test_an_event_that_may_not_be_read_is_not_there(guarded_client):
    """By seq and by id: the same answer as for one that never was."""
    await filled(guarded_client, "agent:a")
    event_id = (await (await guarded_client.get("/api/events", headers=bearer("all"))).json())["events"][0]["event_id"]
    for wanted in ("1", event_id):
        texts = []
        for each in (wanted, "999" if wanted == "1" else "never"):
            answer = await guarded_client.get(f"/api/events/{each}", headers=bearer("tasks"))
            error = await assert_error(answer, "not_found", status=404)
            texts.append(error["message"].replace(each, ""))
        assert texts[0] == texts[1]
        assert (await guarded_client.get(f"/api/events/{wanted}", headers=bearer("all"))).status == 200


@pytest.mark.parametrize("form", ["many", "ndjson", "cloudevents"])
async def test_a_batch_with_one_forbidden_stream_stores_nothing(guarded_client, form):
    """All or none, in every format, wherever it stands."""
    streams = ["task:a", "bench:a", "task:b"]
    if form == "many":
        sent = {"json": {"events": [body(stream) for stream in streams]}}
    elif form == "ndjson":
        sent = {
            "data": "\n".join(json.dumps(body(stream)) for stream in streams),
            "headers": {"Content-Type": "application/x-ndjson"},
        }
    else:
        events = [
            {"specversion": "1.0", "id": f"e-{n}", "source": "x", "type": "note", "subject": stream, "data": {}}
            for n, stream in enumerate(streams)
        ]
        sent = {"data": json.dumps(events), "headers": {"Content-Type": "application/cloudevents-batch+json"}}
    sent["headers"] = sent.get("headers", {}) | bearer("tasks")
    error = await assert_error(await guarded_client.post("/api/events", **sent), "forbidden", status=403)
    assert error["scope"] == "append:bench:a"
    assert guarded_client.app[LOG].head_seq == 0


@pytest.mark.parametrize("stream", ["demand:d-1", "agent:a", "session:alice", "operator:o-1", "mcp:s-1"])
async def test_events_past_the_rules_of_a_surface_take_the_scope_over_its_kind(aiohttp_client, quiet_config, stream):
    """Who may speak as a visitor or an agent must not be able to say who decided what."""
    kind = stream.partition(":")[0]
    one = TokenSection(name="one", scopes=(f"append:{stream}",), token="one-0123456789abcdef")
    all_of_it = TokenSection(name="all", scopes=(f"append:{kind}:*",), token="all-0123456789abcdef")
    client = await aiohttp_client(make_app(changed(quiet_config, "auth", mode="token", tokens=(one, all_of_it))))
    sent = {"json": body(stream)}
    refused = await client.post("/api/events", **sent, headers={"Authorization": "Bearer one-0123456789abcdef"})
    assert (await assert_error(refused, "forbidden", status=403))["scope"] == f"append:{kind}:*"
    assert client.app[LOG].head_seq == 0
    assert (await client.post("/api/events", **sent, headers={"Authorization": "Bearer all-0123456789abcdef"})).status == 201


async def test_a_single_event_needs_its_stream(guarded_client):
    """Reading it is not enough."""
    for name, stream, status in (("alice", "task:a", 201), ("alice", "task:b", 403), ("none", "task:a", 403)):
        assert (await guarded_client.post("/api/events", json=body(stream), headers=bearer(name))).status == status
    assert guarded_client.app[LOG].head_seq == 1


async def test_the_list_of_streams_needs_all_that_it_would_show(guarded_client):
    """A kind, or everything."""
    await filled(guarded_client, "task:a", "agent:a")
    for name, query, status in (
        ("tasks", "?kind=task", 200),
        ("tasks", "", 403),
        ("tasks", "?kind=agent", 403),
        ("all", "", 200),
    ):
        assert (await guarded_client.get(f"/api/streams{query}", headers=bearer(name))).status == status


# Tickets


async def ticket_for(client, name, *streams):
    """A ticket for these streams."""
    answer = await client.post("/api/tickets", json={"streams": list(streams)}, headers=bearer(name))
    assert answer.status == 201, await answer.text()
    return (await answer.json())["ticket"]


async def test_a_ticket_resumes_its_streams_with_the_cursor_that_a_client_adds(connect, guarded):
    """After its minute only so, as `EventSource` and its stand-ins do; a cursor in the address is not the client's."""
    clock = Clock()
    client = await connect(changed(guarded, "auth", ticket_seconds=60.0, ticket_resume_seconds=3_600.0), clock=clock)
    await filled(client, "task:a")
    url = f"{STREAM}&ticket={await ticket_for(client, 'alice', 'task:a')}"
    for _ in range(2):
        async with client.get(url) as answer:
            assert (await read_frames(answer, 1))[0].data["stream"] == "task:a"
    clock.now += 60
    for without in (url, f"{url}&since_seq=1", f"{url}&lastEventId="):
        assert (await client.get(without)).status == 401
    for query, headers in (("", {"Last-Event-ID": "1"}), ("&lastEventId=1", {}), ("&lastEventID=1", {})):
        async with client.get(url + query, headers=headers) as answer:
            assert answer.status == 200
    clock.now += 3_540
    assert (await client.get(url, headers={"Last-Event-ID": "1"})).status == 401


async def test_a_ticket_is_signed_for_what_it_says(guarded_client):
    """Neither another key, nor a cookie, nor one without a signature opens a stream; nor does a ticket log in."""
    await filled(guarded_client, "task:a")
    ticket = await ticket_for(guarded_client, "alice", "task:a")
    held = jwt.decode(ticket, options={"verify_signature": False})
    assert secret_of("alice") not in repr(held)
    cookie, _ = await logged_in(guarded_client, "alice")
    others = [jwt.encode(held, "x" * 32, algorithm="HS256"), jwt.encode(held, "", algorithm="none"), cookie.partition("=")[2]]
    for other in others:
        assert (await guarded_client.get(f"{STREAM}&ticket={other}")).status == 401
    assert (await guarded_client.get("/api/events", headers={"Cookie": f"{COOKIE}={ticket}"})).status == 401


async def test_a_ticket_ends_with_the_token_or_the_scope_that_it_was_made_with(connect, guarded):
    """At the next start with other settings: another secret, no such token, or less to read."""
    client = await connect(guarded)
    await filled(client, "task:a")
    ticket = await ticket_for(client, "alice", "task:a")
    for changed_token in (
        token("alice", "read:task:b"),
        TokenSection(name="alice", scopes=("read:task:a",), token="other" * 8),
    ):
        others = tuple(each for each in guarded.auth.tokens if each.name != "alice")
        later = await connect(changed(guarded, "auth", tokens=(*others, changed_token)))
        assert (await later.get(f"{STREAM}&ticket={ticket}")).status == 401
    assert (await (await connect(guarded)).get(f"{STREAM}&ticket={ticket}")).status == 200


async def test_a_logout_ends_the_cookie_and_its_tickets_at_every_process_at_once(connect, guarded):
    """Not the token's own: other logins and their tickets go on."""
    here, there = await connect(guarded), await connect(guarded)
    await filled(here, "task:a")
    cookie, csrf = await logged_in(here, "alice")
    other, _ = await logged_in(here, "alice")
    headers = {"Cookie": cookie, CSRF_HEADER: csrf}
    ticket = (await (await there.post("/api/tickets", json={"streams": ["task:a"]}, headers=headers)).json())["ticket"]
    for client in (here, there):
        assert (await client.get(STREAM, headers={"Cookie": cookie})).status == 200
        assert (await client.get(f"{STREAM}&ticket={ticket}")).status == 200
    assert (await here.post("/api/logout", json={}, headers={"Cookie": cookie})).status == 200
    for client in (here, there):
        assert (await client.get(STREAM, headers={"Cookie": cookie})).status == 401
        assert (await client.get(f"{STREAM}&ticket={ticket}")).status == 401
        assert (await (await client.get("/api/session", headers={"Cookie": cookie})).json())["name"] is None
        assert (await client.get(STREAM, headers={"Cookie": other})).status == 200
        assert (await client.get(f"{STREAM}&ticket={await ticket_for(client, 'alice', 'task:a')}")).status == 200


async def test_ended_logins_do_not_pile_up(connect, guarded):
    """What would have expired anyway is forgotten; a cookie that is not good leaves nothing at all."""
    clock = Clock()
    client = await connect(changed(guarded, "auth", login_seconds=100.0), clock=clock)

    async def ended():
        return await client.app[LOG].query(lambda db: db.execute("SELECT count(*) FROM ended_logins").fetchone()[0])

    for _ in range(3):
        cookie, _ = await logged_in(client, "alice")
        assert (await client.post("/api/logout", json={}, headers={"Cookie": cookie})).status == 200
    assert await ended() == 3
    await client.post("/api/logout", json={}, headers={"Cookie": f"{COOKIE}=x.y.z"})
    clock.now += 102
    cookie, _ = await logged_in(client, "alice")
    await client.post("/api/logout", json={}, headers={"Cookie": cookie})
    assert await ended() == 1


async def test_a_ticket_works_on_every_transport(guarded_client):
    """NDJSON and WebSocket as well."""
    await filled(guarded_client, "task:a")
    lines = await guarded_client.get(f"{STREAM}&format=ndjson&ticket={await ticket_for(guarded_client, 'alice', 'task:a')}")
    assert lines.status == 200
    assert json.loads(await lines.content.readline())["seq"] == 1
    async with guarded_client.ws_connect(f"{STREAM}&ticket={await ticket_for(guarded_client, 'alice', 'task:a')}") as socket:
        assert (await socket.receive_json())["seq"] == 1


async def test_a_ticket_is_for_its_streams_alone(guarded_client):
    """Not for others that its issuer may read."""
    await filled(guarded_client, "task:a", "task:b")
    for query in ("stream=task:b", "stream=task:a&stream=task:b", "stream=task:*", "stream=*", ""):
        ticket = await ticket_for(guarded_client, "all", "task:a")
        assert (await guarded_client.get(f"/api/events/stream?{query}&ticket={ticket}")).status == 403


async def test_a_ticket_for_a_pattern_opens_it(guarded_client):
    """And any stream within it."""
    await filled(guarded_client, "task:a")
    for query in ("stream=task:*", "stream=task:a", "stream=task:a&stream=task:*"):
        ticket = await ticket_for(guarded_client, "tasks", "task:*")
        async with guarded_client.get(f"/api/events/stream?{query}&ticket={ticket}") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("streams", [["task:b"], ["task:a", "task:b"], ["task:*"], ["*"]])
async def test_nobody_gets_a_ticket_for_more_than_he_may_read(guarded_client, streams):
    """403, and nothing is issued."""
    answer = await guarded_client.post("/api/tickets", json={"streams": streams}, headers=bearer("alice"))
    await assert_error(answer, "forbidden", status=403)


async def test_a_ticket_changes_nothing(guarded_client):
    """It reads; it neither publishes nor makes further tickets, so that it cannot be renewed by who found it."""
    for method, path, sent in (
        ("POST", "/api/events", body("task:a")),
        ("POST", "/api/tickets", {"streams": ["task:a"]}),
        ("POST", "/api/demand/submit", {"raw_input": "x"}),
        ("DELETE", "/api/agents/a", None),
    ):
        ticket = await ticket_for(guarded_client, "all", "task:a")
        assert (await guarded_client.request(method, f"{path}?ticket={ticket}", json=sent)).status in (401, 403), path
    assert guarded_client.app[LOG].head_seq == 0


@pytest.mark.parametrize("given", ["", "x", "x" * 32, "x" * 65, "\u00e9", "%00", "x&ticket=y", "%FF"])
async def test_a_made_up_ticket_is_refused(guarded_client, given):
    """401, also beside a good cookie: a page that sends a ticket means it."""
    cookie, _ = await logged_in(guarded_client, "all")
    assert (await guarded_client.get(f"{STREAM}&ticket={given}")).status == 401
    assert (await guarded_client.get(f"{STREAM}&ticket={given}", headers={"Cookie": cookie})).status == 401


async def test_two_tickets_in_one_request_are_none(guarded_client):
    """Which one is meant is not guessed."""
    tickets = [await ticket_for(guarded_client, "alice", "task:a") for _ in range(2)]
    assert (await guarded_client.get(f"{STREAM}&ticket={tickets[0]}&ticket={tickets[1]}")).status == 401


async def test_a_ticket_is_good_for_its_seconds(connect, guarded):
    """Then it opens nothing."""
    clock = Clock()
    client = await connect(changed(guarded, "auth", ticket_seconds=60.0), clock=clock)
    await filled(client, "task:a")
    first, second = [await ticket_for(client, "alice", "task:a") for _ in range(2)]
    clock.now += 59.9
    assert (await client.get(f"{STREAM}&ticket={first}")).status == 200
    clock.now += 0.1
    assert (await client.get(f"{STREAM}&ticket={second}")).status == 401


def test_a_ticket_takes_as_many_names_as_a_stream():
    """64 of the longest, and what it says is read again."""
    streams = tuple(f"task:{n:03}{'x' * 120}" for n in range(64))
    tickets = Tickets(AuthSection(mode="jwt"), Signer(Clock()), Clock(), None)
    ticket, _ = tickets.issue(Principal("p", ("*",)), streams)
    assert tickets.read(ticket, is_resuming=False).read == streams


async def test_a_ticket_lives_no_longer_than_what_it_was_made_with(connect, quiet_config, monkeypatch):
    """A stream opened with it ends when the token behind it does."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    clock = Clock()
    client = await connect(with_jwt(quiet_config, leeway_seconds=0.0), clock=clock)
    headers = {"Authorization": f"Bearer {hs256(claims(exp=NOW + 10))}"}
    assert (await client.post("/api/events", json=body("task:a"), headers=headers)).status == 201
    answer = await client.post("/api/tickets", json={"streams": ["task:a"]}, headers=headers)
    ticket = (await answer.json())["ticket"]
    clock.now = NOW + 9.9
    text = await read_to_end(await client.get(f"{STREAM}&ticket={ticket}"))
    assert '"reason":"token_expired"' in text
    assert '"seq":1' in text


# Streams whose token expires


@pytest.mark.parametrize("transport", ["sse", "ndjson", "websocket"])
@pytest.mark.parametrize("via", ["bearer", "cookie"])
async def test_a_stream_says_when_its_token_expires(connect, quiet_config, monkeypatch, transport, via):
    """`end` with `token_expired` and where to go on, after what was sent before."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    clock = Clock()
    client = await connect(with_jwt(quiet_config, leeway_seconds=0.0), clock=clock)
    given = hs256(claims(exp=NOW + 10))
    headers = {"Authorization": f"Bearer {given}"}
    assert (await client.post("/api/events", json=body("task:a"), headers=headers)).status == 201
    if via == "cookie":
        headers = {"Cookie": await cookie_for(client, given)}
    clock.now = NOW + 9.9
    if transport == "websocket":
        socket = await client.ws_connect(STREAM, headers=headers)
        async with asyncio.timeout(5):
            messages = [await socket.receive_json() for _ in range(3)]
            assert messages[2] == {"control": "end", "reason": "token_expired", "last_seq": 1}
            assert (await socket.receive()).type.name in ("CLOSE", "CLOSED", "CLOSING")
        return
    text = await read_to_end(await client.get(f"{STREAM}&format={transport}", headers=headers))
    assert text.count("token_expired") == 1
    if transport == "sse":
        assert text.endswith('event: end\ndata: {"reason":"token_expired","last_seq":1}\n\n')
    clock.now = NOW + 10
    assert (await client.get(STREAM, headers=headers)).status == 401


# Cookies


async def cookie_for(client, given):
    """The Cookie header after a login with this token."""
    answer = await client.post("/api/login", json={"token": given})
    assert answer.status == 200, await answer.text()
    return answer.headers["Set-Cookie"].partition(";")[0]


async def logged_in(client, name):
    """Cookie and CSRF token after a login."""
    answer = await client.post("/api/login", json={"token": secret_of(name)})
    return answer.headers["Set-Cookie"].partition(";")[0], (await answer.json())["csrf"]


async def test_a_cookie_reads_what_its_token_reads(guarded_client):
    """Pages, lists and streams, without a CSRF token."""
    cookie, _ = await logged_in(guarded_client, "alice")
    await filled(guarded_client, "task:a", "task:b")
    headers = {"Cookie": f"other=1; {cookie}; more=2"}
    assert (await guarded_client.get("/api/events?stream=task:a", headers=headers)).status == 200
    assert (await guarded_client.get("/api/events?stream=task:b", headers=headers)).status == 403
    async with guarded_client.get(STREAM, headers=headers) as answer:
        assert (await read_frames(answer, 1))[0].data["stream"] == "task:a"


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/events"), ("DELETE", "/api/agents/a"), ("POST", "/api/tickets")])
async def test_a_cookie_changes_nothing_without_its_csrf_token(guarded_client, method, path):
    """403 without one, with a wrong one, with another login's; right it works."""
    cookie, csrf = await logged_in(guarded_client, "all")
    _, another = await logged_in(guarded_client, "all")
    sent = body("task:a") if path == "/api/events" else {"streams": ["task:a"]} if method == "POST" else None
    for wrong in (None, "", "x", csrf[:-1], csrf + "x", csrf.swapcase(), another, "\u00e9"):
        headers = {"Cookie": cookie} | ({CSRF_HEADER: wrong} if wrong is not None else {})
        answer = await guarded_client.request(method, path, json=sent, headers=headers)
        error = await assert_error(answer, "forbidden", status=403, field=CSRF_HEADER)
        assert csrf not in repr(error)
    right = await guarded_client.request(method, path, json=sent, headers={"Cookie": cookie, CSRF_HEADER: csrf})
    assert right.status in (200, 201, 404)
    assert guarded_client.app[LOG].head_seq == (1 if path == "/api/events" else 0)


async def test_a_csrf_token_in_the_body_or_the_query_is_none(guarded_client):
    """A form of another page can send those."""
    cookie, csrf = await logged_in(guarded_client, "all")
    answer = await guarded_client.post(f"/api/events?{CSRF_HEADER}={csrf}&csrf={csrf}", json=body(), headers={"Cookie": cookie})
    assert answer.status == 403


async def test_a_bearer_token_needs_no_csrf_token(guarded_client):
    """No browser sends it by itself, also not beside a cookie."""
    cookie, _ = await logged_in(guarded_client, "none")
    assert (await guarded_client.post("/api/events", json=body(), headers=bearer("all") | {"Cookie": cookie})).status == 201


async def test_a_cookie_that_was_tampered_with_is_refused(guarded_client):
    """In every part, signed with another key, unsigned, or made of something else."""
    cookie, _ = await logged_in(guarded_client, "alice")
    value = cookie.partition("=")[2]
    head, payload, signature = value.split(".")
    sound = jwt.decode(value, options={"verify_signature": False})
    forgeries = [
        "",
        "x",
        value[:-2],
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature[::-1]}",
        f"{head}.{payload[:-3]}AAA.{signature}",
        forged({"alg": "none"}, sound | {"sub": "all"}),
        forged({"alg": "HS256"}, sound | {"sub": "all"}, hmac_with(b"")),
        jwt.encode(sound | {"sub": "all"}, "0" * 32, algorithm="HS256"),
        secret_of("all"),
        "x" * 7000,
        "\u00e9",
    ]
    for each in forgeries:
        answer = await guarded_client.get("/api/events?stream=task:a", headers={"Cookie": f"{COOKIE}={each}"})
        assert answer.status == 401, each[:80]
    assert (await guarded_client.get("/api/events?stream=task:a", headers={"Cookie": cookie})).status in (200, 404)


async def test_a_cookie_is_no_bearer_token_and_a_token_no_cookie(connect, quiet_config, monkeypatch):
    """They are signed for different readers."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    client = await connect(with_jwt(quiet_config), clock=Clock())
    given = hs256()
    value = (await cookie_for(client, given)).partition("=")[2]
    assert (await client.get("/api/session", headers={"Authorization": f"Bearer {value}"})).status == 200
    assert (await client.get("/api/events?stream=task:*", headers={"Authorization": f"Bearer {value}"})).status == 401
    assert (await client.get("/api/events?stream=task:*", headers={"Cookie": f"{COOKIE}={given}"})).status == 401
    assert (await client.get("/api/events?stream=task:*", headers={"Cookie": f"{COOKIE}={value}"})).status == 200


async def test_a_cookie_expires(connect, guarded):
    """After the seconds of the settings, whatever the browser keeps."""
    clock = Clock()
    client = await connect(changed(guarded, "auth", login_seconds=100.0), clock=clock)
    cookie, _ = await logged_in(client, "all")
    clock.now += 99
    assert (await client.get("/api/events", headers={"Cookie": cookie})).status == 200
    clock.now += 1
    assert (await client.get("/api/events", headers={"Cookie": cookie})).status == 401


async def test_a_cookie_survives_a_restart_and_works_in_every_process_on_the_file(connect, guarded):
    """The key stands beside the database."""
    first = await connect(guarded)
    second = await connect(guarded)
    cookie, csrf = await logged_in(first, "all")
    for client in (first, second):
        assert (await client.post("/api/events", json=body(), headers={"Cookie": cookie, CSRF_HEADER: csrf})).status == 201
    third = await restarted(connect, first, guarded)
    assert (await third.get("/api/events", headers={"Cookie": cookie})).status == 200


async def restarted(connect, client, config, **options):
    """The server once more, with these settings."""
    await client.close()
    return await connect(config, **options)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(("other",), id="the token was removed"),
        pytest.param(("all", "another secret"), id="its secret was replaced"),
    ],
)
async def test_a_cookie_is_worth_nothing_when_its_token_is(connect, guarded, after):
    """Whoever takes a token out of the settings takes its logins out."""
    client = await connect(guarded)
    cookie, _ = await logged_in(client, "all")
    given = TokenSection(name=after[0], scopes=("read:*",), token=secret_of("".join(after)))
    client = await restarted(connect, client, with_tokens(guarded, given))
    assert (await client.get("/api/events", headers={"Cookie": cookie})).status == 401


async def test_scopes_that_were_taken_away_count_for_cookies_at_once(connect, guarded):
    """They are looked up at every request."""
    client = await connect(guarded)
    cookie, _ = await logged_in(client, "all")
    client = await restarted(connect, client, with_tokens(guarded, token("all", "read:task:*")))
    assert (await client.get("/api/events?stream=task:*", headers={"Cookie": cookie})).status == 200
    assert (await client.get("/api/events", headers={"Cookie": cookie})).status == 403


async def test_a_cookie_of_one_mode_is_worth_nothing_in_the_other(connect, guarded, monkeypatch):
    """Names of a provider's tokens are not names of ours."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    clock = Clock()
    client = await connect(with_jwt(guarded), clock=clock)
    cookie = await cookie_for(client, hs256(claims(sub="all", scope="")))
    client = await restarted(connect, client, guarded, clock=clock)
    assert (await client.get("/api/events", headers={"Cookie": cookie})).status == 401
    cookie, _ = await logged_in(client, "all")
    client = await restarted(connect, client, with_jwt(guarded), clock=clock)
    assert (await client.get("/api/events", headers={"Cookie": cookie})).status == 401


# The key file, of which `test_key_file.py` has the rest


async def test_no_key_is_made_where_nobody_is_asked(connect, quiet_config, tmp_path):
    """The mode `off` leaves no secret behind."""
    await connect(quiet_config)
    assert not list(tmp_path.glob("*.key"))
    assert EVERYBODY.csrf == ""


# Pages of other origins


PAGE = "https://app.example"


@pytest.fixture
async def shared_client(connect, guarded):
    """A client of a server that lets pages of one other origin read."""
    return await connect(changed(guarded, "cors", origins=(PAGE,)))


async def test_a_preflight_is_answered_without_credentials(shared_client):
    """Browsers send none; the CSRF header is among those that may be sent."""
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-csrf-token"}
    answer = await shared_client.options("/api/events", headers=headers)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    allowed = {name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"x-csrf-token", "authorization", "content-type", "last-event-id"} <= allowed
    foreign = await shared_client.options("/api/events", headers=headers | {"Origin": "https://evil.example"})
    assert not [name for name in foreign.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (PAGE, True),
        ("https://evil.example", False),
        ("null", False),
        (f"{PAGE}.evil", False),
        ("http://app.example", False),
        ("", False),
    ],
)
async def test_answers_errors_and_streams_are_readable_for_allowed_origins_only(shared_client, origin, is_allowed):
    """A 401 that a page cannot read looks like a server that is gone."""
    await filled(shared_client, "task:a")
    ticket = await ticket_for(shared_client, "alice", "task:a")
    found = []
    for path, headers, status in (
        ("/api/events?stream=task:a", bearer("alice"), 200),
        ("/api/events?stream=task:a", {}, 401),
        ("/api/events?stream=task:b", bearer("alice"), 403),
        (f"{STREAM}&ticket={ticket}", {}, 200),
        (STREAM, bearer("alice"), 200),
        (STREAM, {}, 401),
        ("/api/session", {}, 200),
    ):
        async with shared_client.get(path, headers={"Origin": origin} | headers) as answer:
            assert answer.status == status
            assert "Origin" in answer.headers["Vary"]
            found.append(
                (answer.headers.get("Access-Control-Allow-Origin"), answer.headers.get("Access-Control-Allow-Credentials"))
            )
    assert set(found) == ({(PAGE, "true")} if is_allowed else {(None, None)})


async def test_a_ticket_opens_a_stream_for_a_page_of_another_origin(shared_client):
    """An `EventSource` sends no header and, across sites, no cookie."""
    await filled(shared_client, "task:a")
    ticket = await ticket_for(shared_client, "alice", "task:a")
    async with shared_client.get(
        f"{STREAM}&ticket={ticket}", headers={"Origin": PAGE, "Accept": "text/event-stream"}
    ) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert (await read_frames(answer, 1))[0].data["seq"] == 1


async def websocket_status(client, path, **headers):
    """What a WebSocket handshake is answered with."""
    try:
        async with client.ws_connect(path, headers=headers):
            return 101
    except WSServerHandshakeError as error:
        return error.status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "https://127.0.0.1"])
async def test_a_websocket_with_a_cookie_from_a_foreign_page_is_refused(shared_client, origin):
    """A browser sends cookies with it and shows the page everything."""
    cookie, _ = await logged_in(shared_client, "all")
    await filled(shared_client, "task:a")
    assert await websocket_status(shared_client, STREAM, Cookie=cookie, Origin=origin) == 403
    assert await websocket_status(shared_client, STREAM, Origin=origin) == 401


async def test_a_websocket_with_a_cookie_from_our_own_page_is_taken(shared_client):
    """And from a page of the allow-list, and from what is no browser."""
    cookie, _ = await logged_in(shared_client, "all")
    await filled(shared_client, "task:a")
    own = f"http://{shared_client.host}:{shared_client.port}"
    for headers in ({"Origin": own}, {"Origin": PAGE}, {}):
        assert await websocket_status(shared_client, STREAM, Cookie=cookie, **headers) == 101


async def test_a_wildcard_never_lets_a_cookie_through_a_websocket(connect, guarded):
    """`"*"` is without credentials: a page on another port of this machine is the same site, its cookies are sent."""
    client = await connect(changed(guarded, "cors", origins=("*",)))
    cookie, _ = await logged_in(client, "all")
    await filled(client, "task:a")
    assert await websocket_status(client, STREAM, Cookie=cookie, Origin="http://127.0.0.1:1") == 403
    ticket = await ticket_for(client, "all", "task:a")
    assert await websocket_status(client, f"{STREAM}&ticket={ticket}", Origin="http://127.0.0.1:1") == 101
    answer = await client.get("/api/events", headers={"Cookie": cookie, "Origin": "http://127.0.0.1:1"})
    assert "Access-Control-Allow-Credentials" not in answer.headers


# In general


async def test_nothing_that_is_answered_may_be_sent_on_as_a_referer(guarded_client):
    """A ticket is in an address; pages and answers forbid browsers to tell it to others."""
    for path in ("/", "/api/session", "/api/events?ticket=x", "/nothing?ticket=x", "/static/x?ticket=x", "/health"):
        assert (await guarded_client.get(path)).headers["Referrer-Policy"] == "no-referrer"


async def test_answers_to_those_who_are_known_are_not_kept_by_caches(guarded_client):
    """What one may read, the next one at the same browser or proxy may not."""
    await filled(guarded_client, "task:a")
    cookie, _ = await logged_in(guarded_client, "all")
    for path in ("/api/events", "/api/events/1", "/api/demand", "/api/session"):
        answer = await guarded_client.get(path, headers={"Cookie": cookie})
        assert "no-store" in answer.headers.get("Cache-Control", ""), path


async def test_forbidden_is_raised_for_what_principals_lack():
    """The error that surfaces see."""
    with pytest.raises(Forbidden):
        authenticator(token("a")).issue_ticket(Principal("a"), ("task:a",))
