"""The tools surface over HTTP, held to source 004: follow, notify, answer, look; what is kept out, and what bursts become."""

import asyncio
import json

import pytest

from server.app import FOLLOWERS, LOG, PROJECTED, make_app
from server.config import TokenSection
from server.eventlog.database import Database
from server.eventlog.rebuild import rebuild
from server.surfaces.tools.projections import get_permission
from tests.support import (
    assert_error,
    body,
    changed,
    raw_connection,
    read_chunk,
    read_frames,
    read_head,
    read_rows,
    request_bytes,
    until,
)
from towow.errors import StorageFull
from towow.events import new_event

BASE = "/agent_backend/api/sse"
SESSION = "s-1"
STREAM = f"mcp:{SESSION}"
STATUS = {"tool_name": "rm", "status": "executing", "details": {"parameters": {"path": "a"}, "risk_level": "medium"}}
ASKED = {"tool_name": "rm", "parameters": {"path": "a"}, "risk_level": "high"}
RESULT = {"tool_name": "rm", "result": {"removed": 1}, "success": True}
TOOL_EVENT = ["type", "data", "seq", "event_id", "revision"]


@pytest.fixture
def quiet_config(quiet_config):
    """The same, with an interval between statuses that no test outlives."""
    return changed(quiet_config, "tools", status_interval_seconds=60.0)


async def notify(client, event_type, data, session=SESSION, **fields):
    """Post a notice; status and JSON."""
    answer = await client.post(f"{BASE}/notify/{session}", json={"type": event_type, "data": data, **fields})
    return answer.status, await answer.json()


async def ask(client, permission_id="p-1", session=SESSION, **fields):
    """Ask for a permission; the answer's JSON."""
    status, said = await notify(client, "permission_request", {**ASKED, **fields}, session, permission_id=permission_id)
    assert status == 201, said
    return said


def answer(client, approved, session=SESSION, **fields):
    """Post an answer to a permission."""
    return client.post(f"{BASE}/permission-response/{session}", json={"approved": approved, **fields})


async def get(client, path):
    """An answer's JSON, when it is 200."""
    found = await client.get(f"{BASE}/{path}")
    assert found.status == 200, await found.text()
    return await found.json()


async def stored(client, stream=STREAM):
    """What the log holds of the session: [(type, payload)]."""
    page = await (await client.get(f"/api/events?stream={stream}&since_seq=0&limit=1000")).json()
    return [(event["event_type"], event["payload"]) for event in page["events"]]


def has_watchers(app):
    """Whether anybody waits at the hub for an answer."""
    return any("permission_response_result" in selection.types for selection, *_ in app[LOG].hub._groups)


def statuses_of(client):
    """The coalescer behind the routes."""
    (route,) = [each for each in client.app.router.routes() if each.resource.canonical.endswith("/notify/{session_id}")]
    return route.handler.__self__._statuses


def held(client, tool_name="rm", stream=STREAM):
    """The status of a tool that is held back."""
    tool = statuses_of(client)._sessions.get(stream, {}).get(tool_name)
    return json.loads(tool.held.payload_json)["status"] if tool and tool.held else None


async def hold(client, status="1", session=SESSION, tool_name="rm"):
    """Send a status that is held back, after one that is not; the task that waits for its answer."""
    data = {**STATUS, "tool_name": tool_name}
    assert (await notify(client, "tool_status", data, session))[0] == 201
    task = asyncio.create_task(notify(client, "tool_status", {**data, "status": status}, session))
    await until(lambda: held(client, tool_name, f"mcp:{session}") == status)
    return task


# Following


async def test_a_session_is_followed_from_before_its_first_event(client):
    """Items 1, 4, 9 to 11, 13: a stream that is opened first gets every event once, in order, in the document's envelope."""
    async with client.get(f"{BASE}/events/{SESSION}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        (ready,) = await read_frames(response, 1)
        assert (ready.event, ready.data["replayed"]) == ("ready", 0)
        await notify(client, "tool_status", STATUS)
        await ask(client)
        assert (await answer(client, True, reason="go on")).status == 200
        await notify(client, "tool_result", RESULT)
        frames = await read_frames(response, 5)
    types = ["tool_status", "permission_request", "permission_response_result", "permission_cleared", "tool_result"]
    assert [frame.data["type"] for frame in frames] == types
    assert [list(frame.data) for frame in frames] == [TOOL_EVENT] * 5
    assert [frame.seq for frame in frames] == [frame.data["seq"] for frame in frames] == [1, 2, 3, 4, 5]
    assert [frame.event for frame in frames] == [None] * 5
    assert [frame.data["revision"] for frame in frames] == [1, 2, 3, 4, 5]
    data = [frame.data["data"] for frame in frames]
    timestamps = [each.pop("timestamp") for each in data]
    assert all(timestamp.endswith("Z") for timestamp in timestamps)
    assert data == [
        STATUS,
        {**ASKED, "permission_id": "p-1", "status": "pending", "expires_within_seconds": 120.0},
        {"permission_id": "p-1", "approved": True, "reason": "go on", "success": True, "actor": "anonymous"},
        {"permission_id": "p-1", "reason": "go on"},
        RESULT,
    ]


async def test_a_late_stream_replays_and_a_cursor_resumes(client):
    """Items 33, 40: a prompt is not lost with its connection."""
    await notify(client, "tool_status", STATUS)
    await ask(client)
    async with client.get(f"{BASE}/events/{SESSION}") as response:
        first, second, ready = await read_frames(response, 3)
    assert [first.data["type"], second.data["type"], ready.event] == ["tool_status", "permission_request", "ready"]
    for headers, query in (
        ({"Last-Event-ID": first.id}, ""),
        ({}, f"since_seq={first.id}"),
        ({}, f"after={first.data['event_id']}"),
    ):
        async with client.get(f"{BASE}/events/{SESSION}?{query}", headers=headers) as response:
            [again] = await read_frames(response, 1)
            assert again._replace(retry=None) == second


async def test_sessions_do_not_see_each_other(client):
    """An event of another session is no event of this one."""
    await ask(client, session="s-2")
    await ask(client)
    async with client.get(f"{BASE}/events/{SESSION}") as response:
        frames = await read_frames(response, 2)
    assert [frame.data.get("type") for frame in frames] == ["permission_request", None]
    assert frames[0].data["seq"] == 2


async def test_the_heartbeat_is_a_data_event_without_an_id(aiohttp_client, config):
    """Items 12, 32: it moves no cursor, is not stored, and its time is in seconds as a number."""
    client = await aiohttp_client(make_app(config))
    await ask(client)
    async with raw_connection(client, request_bytes("GET", f"{BASE}/events/{SESSION}?start=live")) as (reader, _):
        assert (await read_head(reader))[0] == 200
        assert b"event: ready" in await read_chunk(reader)
        for _ in range(2):
            block = await read_chunk(reader)
            assert block.startswith(b'data: {"type":"heartbeat","timestamp":')
            assert block.endswith(b"}\n\n")
            assert block.count(b"\n") == 2
            heartbeat = json.loads(block.removeprefix(b"data: "))
            assert list(heartbeat) == ["type", "timestamp"]
            assert abs(heartbeat["timestamp"] - client.app[LOG].clock()) < 10
    assert len(await stored(client)) == 1


async def test_types_of_others_go_through(client):
    """Item 17: what somebody appends to the stream by the general route is told in the same envelope."""
    for event in (
        body(STREAM, event_type="note", payload={"n": 1}),
        body(STREAM, event_type="permission_request", payload=ASKED),
    ):
        assert (await client.post("/api/events", json=event)).status == 201
    async with client.get(f"{BASE}/events/{SESSION}") as response:
        note, asked = await read_frames(response, 2)
    assert (note.data["type"], note.data["data"]["n"]) == ("note", 1)
    assert asked.data["data"]["permission_id"] == asked.data["event_id"]
    said = await (await answer(client, True, permission_id=asked.data["event_id"])).json()
    assert (said["success"], said["approved"]) == (True, True)


# Notices


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        pytest.param("tool_status", STATUS, id="tool_status"),
        pytest.param("tool_result", RESULT, id="tool_result"),
        pytest.param("result_cleared", {"tool_name": "rm"}, id="result_cleared"),
        pytest.param("error", {"message": "it broke"}, id="error"),
    ],
)
async def test_a_notice_is_stored_as_it_is(client, event_type, data):
    """201 with its place in the log; the payload is the document's `data`."""
    assert await notify(client, event_type, data) == (201, {"success": True, "seq": 1})
    assert await stored(client) == [(event_type, data)]


@pytest.mark.parametrize(("event_type", "data"), [("tool_status", STATUS), ("error", {"message": "m"})])
async def test_a_notice_with_an_event_id_may_be_repeated(client, event_type, data):
    """The same again is 200 with the first place; other content is a conflict."""
    assert (await notify(client, event_type, data, event_id="e-1")) == (201, {"success": True, "seq": 1})
    assert (await notify(client, "error", {"message": "other"}, event_id="e-2"))[0] == 201
    if event_type == "error":
        assert (await notify(client, event_type, data, event_id="e-1")) == (200, {"success": True, "seq": 1})
    status, said = await notify(client, "error", {"message": "another"}, event_id="e-1")
    assert (status, said["error"]["code"]) == (409, "conflict")
    assert len(await stored(client)) == 2


async def test_an_error_has_its_message_at_the_top(client):
    """Item 16."""
    await notify(client, "error", {"message": "it broke", "tool_name": "rm"})
    async with client.get(f"{BASE}/events/{SESSION}") as response:
        (frame,) = await read_frames(response, 1)
    assert list(frame.data) == ["type", "message", *TOOL_EVENT[1:]]
    assert (frame.data["message"], frame.data["data"]["tool_name"]) == ("it broke", "rm")


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        pytest.param({"data": {}}, "invalid_body", "type", id="no type"),
        pytest.param({"type": "permission_response_result", "data": {}}, "invalid_body", "type", id="an answer as a notice"),
        pytest.param({"type": "heartbeat", "data": {}}, "invalid_body", "type", id="a heartbeat as a notice"),
        pytest.param({"type": 1}, "invalid_body", "type", id="a type that is a number"),
        pytest.param({"type": "error", "data": []}, "invalid_body", "data", id="data in a list"),
        ({"type": "error", "data": {"message": 1}}, "invalid_body", "data.message"),
        pytest.param({"type": "tool_status"}, "invalid_body", "data.tool_name", id="no data"),
        pytest.param({"type": "error", "data": {"message": "m"}, "event_id": "a b"}, "invalid_body", "event_id", id="event_id"),
        pytest.param({"type": "error", "data": {"message": "m"}, "event_id": "12"}, "invalid_body", "event_id", id="digits"),
        pytest.param({"type": "error", "data": {}, "permission_id": 1}, "invalid_body", "permission_id", id="permission_id"),
        pytest.param({"type": "error", "data": {}, "more": 1}, "invalid_body", "more", id="an unknown field"),
    ],
)
async def test_a_notice_that_cannot_be_read_is_refused(client, given, code, field):
    """With the field; nothing is stored."""
    await assert_error(await client.post(f"{BASE}/notify/{SESSION}", json=given), code, status=422, field=field)
    assert client.app[LOG].head_seq == 0


async def test_secrets_are_kept_out_at_every_depth(client):
    """Neither the log nor a stream nor a permission shows them."""
    secrets = {"path": "a", "auth": [{"Authorization": "SECRET"}], "API-KEY": "SECRET", "deep": {"token": {"a": "SECRET"}}}
    kept = {"path": "a", "auth": [{"Authorization": "[redacted]"}], "API-KEY": "[redacted]", "deep": {"token": "[redacted]"}}
    await notify(client, "tool_status", {**STATUS, "details": {"parameters": secrets}})
    await ask(client, parameters=secrets)
    await notify(client, "tool_result", {**RESULT, "result": [secrets], "password": "SECRET"})
    await notify(client, "error", {"message": "m", "context": secrets})
    await notify(client, "permission_cleared", {"permission_id": "p-1", "secret": "SECRET"})
    events = await stored(client)
    assert events[0][1]["details"]["parameters"] == events[1][1]["parameters"] == events[3][1]["context"] == kept
    assert events[2][1] == {**RESULT, "result": [kept], "password": "[redacted]"}
    assert (await get(client, f"permissions/{SESSION}/p-1"))["parameters"] == kept
    async with client.get(f"{BASE}/events/{SESSION}") as response:
        assert "SECRET" not in str(await read_frames(response, 6))
    assert "SECRET" not in str(events)


async def test_a_payload_over_the_limit_is_refused(aiohttp_client, quiet_config):
    """413 with the limit; of every type, and nothing is stored."""
    client = await aiohttp_client(make_app(changed(quiet_config, "tools", max_payload_bytes=1000)))
    large = {"more": "x" * 1000}
    for event_type, data in (
        ("tool_status", STATUS),
        ("permission_request", ASKED),
        ("tool_result", RESULT),
        ("permission_cleared", {"permission_id": "p-1"}),
        ("result_cleared", {}),
        ("error", {"message": "m"}),
    ):
        refused = await client.post(f"{BASE}/notify/{SESSION}", json={"type": event_type, "data": {**data, **large}})
        error = await assert_error(refused, "too_large", status=413, field="data")
        assert error["limit"] == 1000
    assert client.app[LOG].head_seq == 0
    assert (await notify(client, "error", {"message": "m", "more": "x" * 900}))[0] == 201


# Bursts


async def test_a_burst_of_statuses_becomes_its_first_and_its_last(client):
    """Item 30: the first is stored at once, then the newest takes the place of those before it, and all are answered with
    it."""
    assert await notify(client, "tool_status", {**STATUS, "status": "0"}) == (201, {"success": True, "seq": 1})
    burst = []
    for n in range(1, 6):
        burst.append(asyncio.create_task(notify(client, "tool_status", {**STATUS, "status": str(n)})))
        await until(lambda n=n: held(client) == str(n))
    assert not any(task.done() for task in burst)
    assert len(await stored(client)) == 1
    await notify(client, "tool_result", RESULT)
    answers = await asyncio.gather(*burst)
    assert answers[:4] == [(200, {"success": True, "seq": 2, "coalesced": True})] * 4
    assert answers[4] == (201, {"success": True, "seq": 2})
    assert [(name, data.get("status")) for name, data in await stored(client)] == [
        ("tool_status", "0"),
        ("tool_status", "5"),
        ("tool_result", None),
    ]


@pytest.mark.parametrize(
    "what", ["permission_request", "permission_cleared", "tool_result", "result_cleared", "error", "answer"]
)
async def test_every_other_event_of_the_session_comes_after_what_is_held(client, what):
    """So a result never stands before the last status of its tool."""
    await ask(client, "p-0")
    task = await hold(client)
    if what == "answer":
        assert (await answer(client, True)).status == 200
    else:
        data = {
            "permission_request": ASKED,
            "permission_cleared": {"permission_id": "p-0"},
            "tool_result": RESULT,
            "result_cleared": {},
            "error": {"message": "m"},
        }[what]
        assert (await notify(client, what, data))[0] == 201
    assert await task == (201, {"success": True, "seq": 3})
    names = [name for name, _ in await stored(client)]
    last = {"answer": ["permission_response_result", "permission_cleared"]}.get(what, [what])
    assert names == ["permission_request", "tool_status", "tool_status", *last]


async def test_tools_and_sessions_are_held_apart(client):
    """One status for each: another tool's is stored at once, and another session's events flush nothing here."""
    rm = await hold(client, "rm 1")
    cp = await hold(client, "cp 1", tool_name="cp")
    other = await hold(client, "other 1", session="s-2")
    await notify(client, "error", {"message": "m"}, "s-3")
    assert not any(task.done() for task in (rm, cp, other))
    await notify(client, "error", {"message": "m"}, "s-2")
    assert (await other)[0] == 201
    assert not rm.done()
    await notify(client, "error", {"message": "m"})
    assert [(await task)[0] for task in (rm, cp)] == [201, 201]
    told = [data.get("status") for _, data in await stored(client)]
    assert told == ["executing", "executing", "rm 1", "cp 1", None]


async def test_what_is_held_is_stored_when_the_interval_is_over(aiohttp_client, quiet_config):
    """Nobody has to send anything more."""
    client = await aiohttp_client(make_app(changed(quiet_config, "tools", status_interval_seconds=0.05)))
    first, *others = await asyncio.gather(*(notify(client, "tool_status", {**STATUS, "status": str(n)}) for n in range(20)))
    assert first == (201, {"success": True, "seq": 1})
    assert {said["seq"] for _, said in others} == {2}
    assert sorted(status for status, _ in others) == [200] * 18 + [201]
    assert len(await stored(client)) == 2
    await until(lambda: not statuses_of(client)._sessions)


async def test_an_interval_of_zero_stores_every_status(aiohttp_client, quiet_config):
    """For who wants all of them."""
    client = await aiohttp_client(make_app(changed(quiet_config, "tools", status_interval_seconds=0.0)))
    answers = await asyncio.gather(*(notify(client, "tool_status", STATUS) for _ in range(20)))
    assert [status for status, _ in answers] == [201] * 20
    assert len(await stored(client)) == 20


async def test_what_is_held_when_the_server_stops_is_stored(aiohttp_client, quiet_config):
    """A clean stop loses no status, whether its sender still waits or not."""
    client = await aiohttp_client(make_app(quiet_config))
    task = await hold(client, "last")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.close()
    assert [event.payload["status"] for event in read_rows(quiet_config.database.path)] == ["executing", "last"]


async def test_a_held_status_that_cannot_be_stored_is_refused_to_whoever_sent_it(client, monkeypatch):
    """The sender gets the error; what was held is not told twice."""
    task = await hold(client)

    async def full(events):
        raise StorageFull("no room")

    append = client.app[LOG].append
    monkeypatch.setattr(client.app[LOG], "append", full)
    assert (await notify(client, "error", {"message": "m"}))[0] == 507
    status, said = await task
    assert (status, said["error"]["code"]) == (507, "storage_full")
    monkeypatch.setattr(client.app[LOG], "append", append)
    assert (await notify(client, "error", {"message": "m"})) == (201, {"success": True, "seq": 2})
    assert held(client) is None


# Answering and looking


async def test_a_permission_is_looked_at_and_answered(client):
    """Items 6, 7, 15: pending, then the answer, and health tells what waits."""
    said = await ask(client)
    assert 119 < said.pop("expires_in_seconds") <= 120
    assert said == {"success": True, "seq": 1, "permission_id": "p-1", "status": "pending"}
    pending = await get(client, f"permissions/{SESSION}/p-1")
    assert {key: pending[key] for key in ASKED} == ASKED
    assert (pending["status"], pending["ended_at"], pending["requested_seq"]) == ("pending", None, 1)
    health = await get(client, f"health/{SESSION}")
    assert (health["pending_permission"], [each["permission_id"] for each in health["pending"]]) == ("p-1", ["p-1"])
    said = await (await answer(client, False, reason=" too risky ", permission_id="p-1")).json()
    assert said == {
        "success": True,
        "permission_id": "p-1",
        "approved": False,
        "reason": "too risky",
        "actor": "anonymous",
        "seq": 2,
    }
    ended = await get(client, f"permissions/{SESSION}/p-1")
    assert (ended["status"], ended["reason"], ended["actor"], ended["ended_seq"]) == ("rejected", "too risky", "anonymous", 2)
    health = await get(client, f"health/{SESSION}")
    assert (health["pending_permission"], health["pending"], health["last_seq"]) == (None, [], 3)


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        pytest.param({}, "invalid_body", "approved", id="no answer"),
        pytest.param({"approved": "true"}, "invalid_body", "approved", id="a text"),
        pytest.param({"approved": 1}, "invalid_body", "approved", id="a number"),
        pytest.param({"approved": None}, "invalid_body", "approved", id="null"),
        pytest.param({"approved": True, "reason": 5}, "invalid_body", "reason", id="a reason that is a number"),
        pytest.param({"approved": True, "reason": "a\x00"}, "invalid_body", "reason", id="a reason with a null"),
        pytest.param({"approved": True, "reason": "x" * 501}, "too_large", "reason", id="a long reason"),
        pytest.param({"approved": True, "permission_id": "a b"}, "invalid_body", "permission_id", id="a bad id"),
        pytest.param({"approved": True, "permission_id": 1}, "invalid_body", "permission_id", id="an id that is a number"),
        pytest.param({"approved": True, "actor": "alice"}, "invalid_body", "actor", id="in another's name"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_refused(client, given, code, field):
    """And the permission goes on waiting."""
    await ask(client)
    refused = await client.post(f"{BASE}/permission-response/{SESSION}", json=given)
    await assert_error(refused, code, status=413 if code == "too_large" else 422, field=field)
    assert (await get(client, f"permissions/{SESSION}/p-1"))["status"] == "pending"


async def test_what_was_never_asked_for_is_not_found(client):
    """404 for a permission and for a session; 409 without an id when nothing waits."""
    await assert_error(await answer(client, True, permission_id="p-9"), "not_found", status=404, field="permission_id")
    await assert_error(await answer(client, True), "conflict", status=409, field="permission_id")
    await assert_error(await client.get(f"{BASE}/permissions/{SESSION}/p-9"), "not_found", status=404)
    await assert_error(await client.get(f"{BASE}/health/{SESSION}"), "not_found", status=404, field="session_id")
    status, said = await notify(client, "permission_cleared", {}, permission_id="p-9")
    assert (status, said["error"]["code"]) == (404, "not_found")
    await ask(client)
    await assert_error(await answer(client, True, permission_id="p-9"), "not_found", status=404)
    await assert_error(await client.get(f"{BASE}/permissions/s-2/p-1"), "not_found", status=404)
    bad = await client.get(f"{BASE}/permissions/{SESSION}/a%20b")
    await assert_error(bad, "invalid_request", status=400, field="permission_id")


async def test_a_request_may_be_repeated(client):
    """The same words are the same request, whatever became of it; other words are a conflict that says what it was."""
    await ask(client)
    status, said = await notify(client, "permission_request", {**ASKED, "timestamp": "later"}, permission_id="p-1")
    assert (status, said["seq"], said["status"]) == (200, 1, "pending")
    await answer(client, True)
    status, said = await notify(client, "permission_request", ASKED, permission_id="p-1")
    assert (status, said["seq"], said["status"]) == (200, 1, "approved")
    status, said = await notify(client, "permission_request", {**ASKED, "risk_level": "low"}, permission_id="p-1")
    assert (status, said["error"]["code"], said["error"]["permission_status"]) == (409, "conflict", "approved")
    status, said = await notify(client, "permission_request", {**ASKED, "arguments": {"path": "/"}}, permission_id="p-1")
    assert (status, said["error"]["code"]) == (409, "conflict")  # whoever approved did not see them
    assert len(await stored(client)) == 3


async def test_a_permission_may_be_taken_back(client):
    """Item 13: once; then answers come too late, and the place of its end is told again."""
    await ask(client)
    taken = {"success": True, "seq": 2, "permission_id": "p-1"}
    assert await notify(client, "permission_cleared", {"reason": "not needed"}) == (201, taken)
    assert await notify(client, "permission_cleared", {}, permission_id="p-1") == (200, taken)
    error = await assert_error(await answer(client, True, permission_id="p-1"), "gone", status=410)
    assert error["permission_status"] == "cleared"
    assert (await get(client, f"permissions/{SESSION}/p-1"))["status"] == "cleared"
    status, said = await notify(client, "permission_cleared", {})
    assert (status, said["error"]["pending"]) == (409, [])


async def test_waiting_for_an_answer_ends_with_it(client):
    """A long poll sleeps through other events and tells the decision; without one it tells that it is pending."""
    await ask(client)
    assert (await get(client, f"permissions/{SESSION}/p-1?wait=0.01"))["status"] == "pending"
    waiting = asyncio.create_task(get(client, f"permissions/{SESSION}/p-1?wait=30"))
    await until(lambda: has_watchers(client.app))
    await ask(client, "p-2")
    await answer(client, True, permission_id="p-2")
    await notify(client, "tool_result", RESULT)
    assert not waiting.done()
    await answer(client, False, permission_id="p-1")
    assert (await waiting)["status"] == "rejected"
    assert (await get(client, f"permissions/{SESSION}/p-1?wait=30"))["status"] == "rejected"


async def test_waiting_for_an_answer_ends_when_the_request_is_taken_back(client):
    """At once, with what became of it."""
    await ask(client)
    waiting = asyncio.create_task(get(client, f"permissions/{SESSION}/p-1?wait=30"))
    await until(lambda: has_watchers(client.app))
    await notify(client, "permission_cleared", {}, permission_id="p-1")
    async with asyncio.timeout(5):
        assert (await waiting)["status"] == "cleared"


async def test_an_answer_between_the_look_and_the_wait_is_not_missed(client, monkeypatch):
    """Stored after the row was read and before anybody waits."""
    await ask(client)
    log, query, looks = client.app[LOG], client.app[LOG].query, []

    async def look_and_answer(function):
        row = await query(function)
        looks.append(row)
        if len(looks) == 1:
            assert (await answer(client, True)).status == 200
        return row

    monkeypatch.setattr(log, "query", look_and_answer)
    async with asyncio.timeout(5):
        assert (await get(client, f"permissions/{SESSION}/p-1?wait=30"))["status"] == "approved"


@pytest.mark.parametrize("wait", ["x", "-1", "61", "1e1"])
async def test_a_wait_out_of_bounds_is_refused(client, wait):
    """400 naming it."""
    await ask(client)
    await assert_error(
        await client.get(f"{BASE}/permissions/{SESSION}/p-1?wait={wait}"), "invalid_request", status=400, field="wait"
    )


async def test_waiting_ends_when_the_server_stops(aiohttp_client, quiet_config):
    """With what is known, so that the runner comes back to the next process."""
    app = make_app(quiet_config)
    client = await aiohttp_client(app)
    await ask(client)
    waiting = asyncio.create_task(get(client, f"permissions/{SESSION}/p-1?wait=30"))
    await until(lambda: has_watchers(app))
    app[LOG].hub.close()
    assert (await waiting)["status"] == "pending"


async def test_health_counts_who_watches(client):
    """Item 7: a session that is only watched exists; when nobody is left it does not."""
    async with client.get(f"{BASE}/events/{SESSION}") as one, client.get(f"{BASE}/events/{SESSION}") as two:
        await read_frames(one, 1)
        await read_frames(two, 1)
        assert await get(client, f"health/{SESSION}") == {
            "status": "healthy",
            "session_id": SESSION,
            "connected": True,
            "connections": 2,
            "last_seq": 0,
            "pending_permission": None,
            "pending": [],
        }
    await until(lambda: len(client.app[FOLLOWERS]) == 0)
    await assert_error(await client.get(f"{BASE}/health/{SESSION}"), "not_found", status=404)
    await ask(client)
    health = await get(client, f"health/{SESSION}")
    assert (health["connected"], health["connections"], health["last_seq"]) == (False, 0, 1)


async def test_health_names_the_oldest_prompt_first(client):
    """In the order of asking, not of ids."""
    for permission_id in ("p-2", "p-1", "p-3"):
        await ask(client, permission_id)
    health = await get(client, f"health/{SESSION}")
    assert health["pending_permission"] == "p-2"
    assert [each["permission_id"] for each in health["pending"]] == ["p-2", "p-1", "p-3"]


# The table


async def test_the_table_is_what_the_log_says(client, quiet_config):
    """Row by row the same after it is built anew, and readable in SQL."""
    await ask(client, "p-1")
    await ask(client, "p-2", expires_within_seconds=0.02)
    await ask(client, "p-3")
    await ask(client, "p-4")
    await answer(client, True, permission_id="p-1", reason="yes")
    await notify(client, "permission_cleared", {"reason": "over"}, permission_id="p-3")
    assert (await get(client, f"permissions/{SESSION}/p-2?wait=5"))["status"] == "expired"
    junk = [
        new_event(STREAM, "permission_request", {"permission_id": "p-1", "tool_name": "again"}),
        new_event(STREAM, "permission_response_result", {"permission_id": "p-1", "approved": False}),
        new_event(STREAM, "permission_response_result", {"permission_id": "p-9", "approved": True}),
        new_event(STREAM, "permission_cleared", {"permission_id": ["p-4"]}),
    ]
    await client.app[LOG].append(junk)
    await client.close()
    async with Database(quiet_config.database) as database:
        before = await database.read(lambda db: db.execute("SELECT * FROM tool_permissions ORDER BY 2").fetchall())
        assert [(row[1], row[5], row[6], row[7]) for row in before] == [
            ("p-1", "approved", "yes", "anonymous"),
            ("p-2", "expired", "timed_out", "timeout"),
            ("p-3", "cleared", "over", ""),
            ("p-4", "pending", "", ""),
        ]
        await database.writer.call(lambda db: rebuild(db, PROJECTED))
        assert await database.read(lambda db: db.execute("SELECT * FROM tool_permissions ORDER BY 2").fetchall()) == before
        found = await database.read(lambda db: get_permission(db, SESSION, "p-1"))
        assert found.parameters == {"path": "a"}


# Who may


@pytest.fixture
async def guarded(aiohttp_client, quiet_config):
    """The application with four tokens: alice runs tools in s-1, ann answers there, bob watches, carol has another session."""
    scopes = {
        "alice": ("read:mcp:s-1", "append:mcp:s-1"),
        "ann": ("answer:mcp:s-1",),
        "bob": ("read:mcp:s-1",),
        "carol": ("read:mcp:s-2", "append:mcp:s-2"),
    }
    tokens = tuple(TokenSection(name=name, scopes=each, token=f"{name}-0123456789abcdef") for name, each in scopes.items())
    return await aiohttp_client(make_app(changed(quiet_config, "auth", mode="token", tokens=tokens)))


def as_(name):
    """The headers of somebody with a token."""
    return {"Authorization": f"Bearer {name}-0123456789abcdef"}


async def test_every_answer_is_recorded_with_who_gave_it(guarded):
    """a64: the name of the principal, never one from the body."""
    notice = {"type": "permission_request", "data": ASKED, "permission_id": "p-1"}
    assert (await guarded.post(f"{BASE}/notify/{SESSION}", json=notice, headers=as_("alice"))).status == 201
    path = f"{BASE}/permission-response/{SESSION}"
    said = await (await guarded.post(path, json={"approved": True}, headers=as_("ann"))).json()
    assert said["actor"] == "ann"
    async with guarded.get(f"{BASE}/events/{SESSION}", headers=as_("bob")) as response:
        frames = await read_frames(response, 2)
    assert frames[1].data["data"]["actor"] == "ann"
    found = await guarded.get(f"{BASE}/permissions/{SESSION}/p-1", headers=as_("bob"))
    assert ((await found.json())["actor"], (await found.json())["requested_by"]) == ("ann", "alice")


@pytest.mark.parametrize(
    ("method", "route", "scope"),
    [
        ("GET", f"events/{SESSION}", "read"),
        ("GET", f"health/{SESSION}", "read"),
        ("GET", f"permissions/{SESSION}/p-1", "read"),
        ("POST", f"permission-response/{SESSION}", "answer"),
        ("POST", f"notify/{SESSION}", "append"),
    ],
)
async def test_a_session_belongs_to_those_with_its_scope(guarded, method, route, scope):
    """Item 8: 401 without a token, 403 with another's, before anything is told: also that there is nothing."""
    url = f"{BASE}/{route}"
    await assert_error(await guarded.request(method, url), "unauthorized", status=401)
    error = await assert_error(await guarded.request(method, url, headers=as_("carol")), "forbidden", status=403)
    assert error["scope"] == f"{scope}:{STREAM}"
    if scope != "read":
        await assert_error(await guarded.request(method, url, headers=as_("bob")), "forbidden", status=403)
    allowed = await guarded.request(method, url, headers=as_("ann" if scope == "answer" else "alice"))
    assert allowed.status not in (401, 403)
    allowed.close()
