"""Every route × every kind of credentials, from the router itself, and what one may not do with another's name."""

import re

import pytest
from structlog.testing import capture_logs

from server.app import LOG, make_app
from server.auth.authenticator import PUBLIC_ROUTES
from server.auth.principal import VERBS
from server.cli.serve import say_what_to_change
from server.config import Config
from tests.support import assert_error, body, changed, note, publish
from tests.support.negotiations import TALK
from tests.support.tokens import HS256_SECRET, NOW, Clock, bearer, claims, hs256, token, with_jwt, with_tokens

ROUTES = [route for route in make_app(Config()).router.routes() if route.method != "HEAD"]
NAMES = sorted(f"{route.method} {route.resource.canonical}" for route in ROUTES)
GUARDED = [name for name in NAMES if name.partition(" ")[2] not in PUBLIC_ROUTES]
TOOLS = "/agent_backend/api/sse"
NOTICE = {"type": "permission_request", "permission_id": "p-1", "data": {"tool_name": "rm", "parameters": {"path": "/"}}}
# Of every route that changes something: the verbs over everything that are enough, and a body that is taken.
CHANGES = {
    "POST /api/events": ({"append"}, body()),
    "POST /api/demand/submit": ({"append"}, {"raw_input": "a talk"}),
    "POST /api/demand/{demand_id}/offers": ({"append"}, {"agent_id": "ben", "decline": True}),
    "POST /api/demand/{demand_id}/feedback": ({"append"}, {"user_id": "u", "proposal_id": "p-1", "decision": "accept"}),
    "POST /api/demand/{demand_id}/cancel": ({"append", "manage"}, {}),
    "POST /api/agents": ({"append", "manage"}, TALK),
    "DELETE /api/agents/{agent_id}": ({"append", "manage"}, None),
    "POST /api/manual/escalate": ({"append"}, {"session_name": "s-1"}),
    "POST /api/manual/message": ({"append"}, {"session_name": "s-1", "role": "user", "content": "hello"}),
    "POST /api/sessions/{session_name}/takeover": ({"append", "operate"}, {"agent_id": "o-7"}),
    "POST /api/sessions/{session_name}/release": ({"append", "operate"}, {"agent_id": "o-7"}),
    "POST /api/broadcast": ({"append", "manage"}, {"payload": {}}),
    "POST /api/tasks/{task_id}/events": ({"append"}, {"event_type": "note"}),
    "POST /novachat": ({"append"}, {"prompt": "tea"}),
    "POST /loomichat": ({"append"}, {"prompt": "tea"}),
    "POST /api/runs/{run_id}/cancel": ({"manage"}, {}),
    f"POST {TOOLS}/notify/{{session_id}}": ({"append"}, NOTICE),
    f"POST {TOOLS}/permission-response/{{session_id}}": ({"answer"}, {"approved": True, "permission_id": "p-1"}),
    "POST /api/tickets": ({"read"}, {"streams": ["task:a"]}),
}
JSON = {"Accept": "application/json"}


def path_of(name):
    """A path of a route; what it names need not exist."""
    path = name.partition(" ")[2].replace("{page}", "tasks").replace("{seq_or_event_id}", "1")
    return re.sub(r"\{[a-z_]+\}", "x-1", path)


@pytest.fixture
async def guarded(aiohttp_client, quiet_config):
    """The application with a token of every verb over everything, and one of another tenant with all verbs over its own."""
    tenant = [f"{verb}:bench:*" for verb in VERBS]
    tokens = [token("tenant", *tenant), *(token(verb, f"{verb}:*") for verb in VERBS)]
    return await aiohttp_client(make_app(with_tokens(quiet_config, *tokens)))


async def was_refused(client, name, headers):
    """Whether a route refuses for want of scopes or credentials."""
    method, given = name.partition(" ")[0], CHANGES.get(name, (set(), None))[1]
    async with client.request(method, path_of(name), json=given, headers=JSON | headers) as answer:
        if answer.status == 401:
            return "unauthorized"
        return "forbidden" if answer.status == 403 and "scope" in (await answer.json())["error"] else None


@pytest.mark.parametrize("name", GUARDED)
async def test_every_route_is_open_to_its_verb_alone(guarded, name):
    """401 without good credentials, 403 with another tenant's or another verb's, and nothing is stored by either."""
    enough = CHANGES[name][0] if name in CHANGES else {"read"}
    wrong = {"Authorization": "Bearer x-0123456789abcdef-0123456789"}
    log = guarded.app[LOG]
    for headers in ({}, wrong):
        assert await was_refused(guarded, name, headers) == "unauthorized"
    is_found = "{seq_or_event_id}" in name  # what may not be read is not there
    for given in ("tenant", *sorted(set(VERBS) - enough)):
        assert await was_refused(guarded, name, bearer(given)) == (None if is_found else "forbidden"), given
    assert log.head_seq == 0
    for verb in sorted(enough):
        assert await was_refused(guarded, name, bearer(verb)) is None, verb


def test_every_route_that_changes_something_is_in_the_table():
    """A new one cannot be forgotten."""
    assert {name for name in GUARDED if not name.startswith("GET ")} == set(CHANGES)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("POST ")])
async def test_a_page_of_another_origin_changes_nothing_where_nobody_is_asked(client, name):
    """What a browser sends without a preflight (no type, a form's, plain text) is 415, with any body."""
    await publish(client, 1, stream="run:x-1")
    forms = ("text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "multipart/form-data")
    for kind in (None, "", *forms):
        headers = {"Origin": "https://evil.example"} | ({} if kind is None else {"Content-Type": kind})
        skipped = ["Content-Type"] if kind is None else []
        for data in (b"", b"{}"):
            async with client.post(path_of(name), data=data, headers=headers, skip_auto_headers=skipped) as answer:
                await assert_error(answer, "unsupported_media_type", status=415)
    assert client.app[LOG].head_seq == 1


# The server's own streams


async def test_the_servers_own_streams_are_in_no_star(aiohttp_client, quiet_config):
    """Neither a scope nor a selection of everything has them, and nobody appends to them."""
    tokens = token("all", "read:*", "append:*"), token("auditor", "read:*", "read:system:*", "append:system:*")
    client = await aiohttp_client(make_app(with_tokens(quiet_config, *tokens)))
    await client.app[LOG].append([note("task:a"), note("system:log"), note("task:b")])
    for path in ("/api/events?stream=system:*", "/api/events?stream=system:log&stream=task:a", "/api/streams?kind=system"):
        await assert_error(await client.get(path, headers=bearer("all")), "forbidden", status=403)
        assert (await client.get(path, headers=bearer("auditor"))).status == 200
    await assert_error(await client.get("/api/events/2", headers=bearer("all")), "not_found", status=404)
    both = "?stream=*&stream=system:log"
    for query, seqs in (("", [1, 3]), ("?stream=*", [1, 3]), (both, [1, 2, 3]), ("?stream=system:*", [2])):
        answer = await client.get(f"/api/events{query}", headers=bearer("auditor"))
        assert [event["seq"] for event in (await answer.json())["events"]] == seqs
    refused = await client.post("/api/events", json=body("system:log"), headers=bearer("auditor"))
    await assert_error(refused, "forbidden", status=403, field="stream")


# Asking and answering


async def asked(client, name="runner"):
    """A permission that was asked for with this token."""
    assert (await client.post(f"{TOOLS}/notify/s-1", json=NOTICE, headers=bearer(name))).status == 201


async def answer(client, name, approved=True):
    """An answer with this token."""
    path = f"{TOOLS}/permission-response/s-1"
    return await client.post(path, json={"approved": approved}, headers=bearer(name))


async def test_a_runner_does_not_approve_its_own_permission(aiohttp_client, quiet_config):
    """Asking is append and answering is answer; who has both still needs another actor, unless the settings say otherwise."""
    runner, both = token("runner", "append:mcp:*", "read:*"), token("both", "append:mcp:*", "answer:mcp:*")
    tokens = runner, both, token("ann", "answer:mcp:*")
    config = with_tokens(quiet_config, *tokens)
    client = await aiohttp_client(make_app(config))
    await asked(client, "both")
    error = await assert_error(await answer(client, "runner"), "forbidden", status=403)
    assert error["scope"] == "answer:mcp:s-1"
    await assert_error(await answer(client, "both"), "forbidden", status=403, field="permission_id")
    said = await (await client.get(f"{TOOLS}/permissions/s-1/p-1", headers=bearer("runner"))).json()
    assert (said["status"], said["requested_by"]) == ("pending", "both")
    await client.close()
    client = await aiohttp_client(make_app(config))  # who asked is in the file
    await assert_error(await answer(client, "both"), "forbidden", status=403, field="permission_id")
    assert (await (await answer(client, "ann")).json())["actor"] == "ann"
    await client.close()
    client = await aiohttp_client(make_app(changed(config, "tools", allow_self_approval=True)))
    again = NOTICE | {"permission_id": "p-2"}
    assert (await client.post(f"{TOOLS}/notify/s-1", json=again, headers=bearer("both"))).status == 201
    assert (await answer(client, "both")).status == 200


# Names in bodies


async def test_a_visitor_does_not_speak_as_the_bot(aiohttp_client, quiet_config):
    """A bot's words come from a backend, an operator's from an operator."""
    tokens = (
        token("alice", "append:session:{sub}", "read:session:{sub}"),
        token("backend", "append:session:*"),
        token("o-7", "operate:session:*"),
    )
    client = await aiohttp_client(make_app(with_tokens(quiet_config, *tokens)))

    async def say(name, role, **fields):
        given = {"session_name": "alice", "role": role, "content": "hello", **fields}
        return (await client.post("/api/manual/message", json=given, headers=bearer(name))).status

    assert await say("alice", "user") == 201
    assert await say("alice", "bot") == 403
    assert await say("alice", "operator", agent_id="o-7") == 403
    assert await say("backend", "bot") == 201
    assert (await client.post("/api/manual/escalate", json={"session_name": "alice"}, headers=bearer("alice"))).status == 200
    for name, agent_id, status in (("alice", "alice", 403), ("o-7", "o-8", 403), ("o-7", "o-7", 200)):
        path, given = "/api/sessions/alice/takeover", {"agent_id": agent_id}
        assert (await client.post(path, json=given, headers=bearer(name))).status == status
    assert await say("o-7", "operator", agent_id="o-7") == 201


async def test_a_demand_is_ended_by_whoever_submitted_it_its_user_or_its_manager(aiohttp_client, quiet_config):
    """Another application does not end it by leaving the user out, nor submit in a user's name."""
    tokens = (
        token("app1", "append:demand:*", "append:user:*"),
        token("app2", "append:demand:*"),
        token("u1", "append:demand:*"),
        token("boss", "manage:demand:*"),
    )
    client = await aiohttp_client(make_app(with_tokens(quiet_config, *tokens)))

    async def submit(name, **fields):
        given = {"raw_input": "We need a technical talk", **fields}
        return await client.post("/api/demand/submit", json=given, headers=bearer(name))

    async def cancel(name, demand_id, **fields):
        return (await client.post(f"/api/demand/{demand_id}/cancel", json=fields, headers=bearer(name))).status

    await assert_error(await submit("app2", user_id="u1"), "forbidden", status=403, field="user_id")
    demands = [(await (await submit("app1", user_id="u1")).json())["demand_id"] for _ in range(3)]
    for demand_id, name in zip(demands, ("app1", "u1", "boss"), strict=True):
        assert await cancel("app2", demand_id) == 403
        assert await cancel("app2", demand_id, user_id="u1") == 403
        assert await cancel(name, demand_id) != 403
    own = (await (await submit("app2")).json())["demand_id"]
    assert await cancel("app2", own) != 403


async def test_a_run_is_ended_by_whoever_started_it_or_its_manager(aiohttp_client, quiet_config):
    """Append on all runs starts one, and does not end another's."""
    tokens = token("a", "append:run:*"), token("b", "append:run:*"), token("boss", "manage:run:*")
    client = await aiohttp_client(make_app(with_tokens(quiet_config, *tokens)))
    for ends in ("a", "boss"):
        answer = await client.post("/novachat", json={"prompt": "tea"}, headers=bearer("a") | JSON)
        path = f"/api/runs/{(await answer.json())['run_id']}/cancel"
        for name, is_refused in (("b", True), (ends, False)):
            assert ((await client.post(path, json={}, headers=bearer(name))).status == 403) is is_refused


async def test_a_run_in_a_session_takes_append_on_it(aiohttp_client, quiet_config):
    """Its text comes into the prompt of the next run there."""
    tokens = token("reads", "append:run:*", "read:*"), token("belongs", "append:run:*", "read:*", "append:session:s-1")
    client = await aiohttp_client(make_app(with_tokens(quiet_config, *tokens)))
    given = {"prompt": "tea", "session_id": "s-1"}
    refused = await client.post("/novachat", json=given, headers=bearer("reads") | JSON)
    error = await assert_error(refused, "forbidden", status=403)
    assert error["scope"] == "append:session:s-1"
    assert (await client.post("/novachat", json=given, headers=bearer("belongs") | JSON)).status == 202


# What a refusal tells


async def test_a_refusal_tells_nothing_of_a_stream_that_one_may_not_read(aiohttp_client, quiet_config):
    """Neither its revision, nor who has it, nor where an id is, nor the names of streams with the same id."""
    tokens = (
        token("all", "read:*", "append:*", "operate:*"),
        token("blind", "append:task:a", "append:session:*", "append:operator:*", "read:task:b"),
    )
    client = await aiohttp_client(make_app(with_tokens(quiet_config, *tokens)))
    for stream in ("task:a", "task:b", "task:c"):
        assert (await client.post("/api/events", json=body(stream, event_id="e-1"), headers=bearer("all"))).status == 201
    stale = await client.post("/api/events", json=body("task:a", expected_revision=7), headers=bearer("blind"))
    assert set(await assert_error(stale, "revision_mismatch", status=412)) == {"code", "message", "error_id"}
    other = await client.post("/api/events", json=body("task:a", 5, event_id="e-1"), headers=bearer("blind"))
    assert "seq" not in await assert_error(other, "conflict", status=409)
    given = {"session_name": "alice", "role": "user", "content": "hello"}
    assert (await client.post("/api/manual/message", json=given, headers=bearer("all"))).status == 201
    taken = await client.post("/api/sessions/alice/takeover", json={"agent_id": "o-7"}, headers=bearer("blind"))
    assert "status" not in await assert_error(taken, "conflict", status=409)
    found = await client.get("/api/events/e-1", headers=bearer("blind"))
    assert (await found.json())["stream"] == "task:b"


async def test_ids_that_a_surface_derives_are_not_occupied_by_others(client):
    """Neither in another stream nor past the surface's own route."""
    first = {"session_name": "alice", "role": "user", "content": "hello", "message_id": "m-1"}
    stored = await (await client.post("/api/manual/message", json=first)).json()
    derived = (await (await client.get(f"/api/events/{stored['seq']}")).json())["event_id"]
    second = {**first, "session_name": "bob"}
    await client.app[LOG].append([note("task:x", event_id=derived)])  # as somebody whose own stream it is
    assert (await client.post("/api/manual/message", json=first)).status == 200
    for stream, event_id in (("session:bob", "msg-1"), ("task:a", "key-1"), ("agent:a", "sample-a")):
        given = body(stream, event_id=event_id)
        await assert_error(await client.post("/api/events", json=given), "forbidden", status=403, field="event_id")
    assert (await client.post("/api/manual/message", json=second)).status == 201


# Who is named


async def test_events_name_the_claim_that_the_settings_choose(aiohttp_client, quiet_config, monkeypatch):
    """`[auth] actor_claim` in every event and in comparisons; a token without the claim is not good."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    config = changed(with_jwt(quiet_config), "auth", actor_claim="email")
    client = await aiohttp_client(make_app(config, clock=Clock()))
    with_email = {"Authorization": f"Bearer {hs256(claims(email='ann@example.org'))}"}
    assert (await client.post("/api/events", json=body("task:a"), headers=with_email)).status == 201
    event = await (await client.get("/api/events/1", headers=with_email)).json()
    assert event["actor"] == "ann@example.org"
    without = {"Authorization": f"Bearer {hs256(claims())}"}
    await assert_error(await client.post("/api/events", json=body("task:a"), headers=without), "unauthorized", status=401)
    session = await client.post("/api/login", json={"token": hs256(claims(email="ann@example.org"))})
    cookie = {"X-CSRF-Token": (await session.json())["csrf"]}
    assert (await client.post("/api/events", json=body("task:a", 2), headers=cookie)).status == 201
    assert (await (await client.get("/api/events/2")).json())["actor"] == "ann@example.org"
    assert claims()["exp"] > NOW


async def test_a_log_line_has_the_address_and_the_name(guarded):
    """Whoever looks for an attacker finds both, and never a token."""
    with capture_logs() as lines:
        await guarded.get("/api/events?stream=task:a", headers=bearer("read"))
        await guarded.get("/api/events?stream=task:a")
    first, second = [line for line in lines if line["event"] == "request"]
    assert (first["client"], first["address"]) == ("read", "127.0.0.1")
    assert ("client" in second, second["address"], second["status"]) == (False, "127.0.0.1", 401)


# What the start says


def test_the_start_says_what_to_change_in_scopes_of_an_earlier_version(quiet_config):
    """A token of today is not spoken of."""
    old = with_tokens(quiet_config, token("old", "read:*", "append:*"), token("new", "append:mcp:*", "answer:mcp:*", "read:*"))
    with capture_logs() as lines:
        say_what_to_change(old)
    assert {line["token"] for line in lines} == {"old"}
    assert [line["change"] for line in lines if "answer:mcp:*" in line["change"]]
    with capture_logs() as lines:
        say_what_to_change(with_tokens(quiet_config, token("task", "append:task:*", "read:task:*")))
    assert lines == []


def test_the_start_says_when_any_page_may_do_everything(quiet_config):
    """`*` of origins while nobody is asked who they are."""
    with capture_logs() as lines:
        say_what_to_change(changed(quiet_config, "cors", origins=("*",)))
    assert [line["event"] for line in lines] == ["everybody_may_do_everything"]
