"""Sessions over HTTP, held to source 001: messages, the hand-over and back, lists, streams, broadcasts, and every refusal."""

import asyncio
import contextlib

import pytest

from server.app import BUS, LOG, make_app
from server.auth.authenticator import PRINCIPAL
from server.auth.principal import Principal
from server.config import KindRetention, RetentionSection, SessionsSection
from server.eventlog.database import sqlite3
from server.eventlog.retention import trim
from tests.support import assert_error, body, changed, publish, read_frames, read_to_end, until

ENVELOPE = ["type", "payload", "timestamp", "source", "seq", "event_id", "revision", "stream"]
SUMMARY = [
    "session_name",
    "status",
    "agent_id",
    "reason",
    "waiting_since",
    "messages",
    "created_at",
    "updated_at",
    "created_seq",
    "status_seq",
    "last_seq",
]


async def post(client, path, status=200, **fields):
    """An answer's JSON, when it has this status."""
    answer = await client.post(path, json=fields)
    assert answer.status == status, await answer.text()
    return await answer.json()


async def get(client, path):
    """An answer's JSON, when it is 200."""
    answer = await client.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def say(client, name="alice", text="hello", role="user", status=201, **fields):
    """A message in a session."""
    return await post(client, "/api/manual/message", status, session_name=name, role=role, content=text, **fields)


async def escalate(client, name="alice", **fields):
    """Ask for a human."""
    return await post(client, "/api/manual/escalate", session_name=name, **fields)


async def take_over(client, name="alice", agent_id="o-7"):
    """An operator takes a session."""
    return await post(client, f"/api/sessions/{name}/takeover", agent_id=agent_id)


async def release(client, name="alice", agent_id="o-7", **fields):
    """An operator gives a session back."""
    return await post(client, f"/api/sessions/{name}/release", agent_id=agent_id, **fields)


async def events_of(client, stream):
    """The stored events of a stream, from the log."""
    return (await get(client, f"/api/events?stream={stream}&since_seq=0"))["events"]


# Commands


async def test_a_hand_over_and_back_is_answered_step_by_step(client):
    """Items 6 to 13: each answer says success, session, status and its place in the log."""
    said = await say(client, message_id="m-1")
    assert said == {"success": True, "session_name": "alice", "status": "bot", "seq": 1, "message_id": "m-1"}
    waiting = await escalate(client, reason="refund")
    assert waiting == {"success": True, "session_name": "alice", "status": "waiting_agent", "seq": waiting["seq"]}
    taken = await take_over(client)
    expected = {"success": True, "session_name": "alice", "status": "with_operator", "agent_id": "o-7"}
    assert taken == {**expected, "seq": taken["seq"]}
    spoken = await say(client, text="I am here", role="operator", agent_id="o-7")
    assert spoken["status"] == "with_operator"
    back = await release(client)
    assert back == {**expected, "status": "bot", "seq": back["seq"]}
    stored = await events_of(client, "session:alice")
    assert [(event["event_type"], event["payload"].get("status"), event["source"]) for event in stored] == [
        ("new_message", None, "ai_chatbot"),
        ("transfer_request", "waiting_agent", "ai_chatbot"),
        ("status_change", "waiting_agent", "ai_chatbot"),
        ("status_change", "with_operator", "agent_workbench"),
        ("new_message", None, "agent_workbench"),
        ("status_change", "bot", "agent_workbench"),
    ]
    assert [each["seq"] for each in (said, waiting, taken, spoken, back)] == [stored[n]["seq"] for n in (0, 2, 3, 4, 5)]


async def test_what_was_done_may_be_said_again(client):
    """a33: whoever lost the answer asks again, gets the first seq, and nothing is stored twice."""
    first = await escalate(client, reason="refund")
    assert await escalate(client, reason="another") == first
    assert client.app[LOG].head_seq == 4
    first = await take_over(client)
    await say(client)
    assert await take_over(client) == first
    first = await release(client)
    await say(client)
    assert await release(client) == first
    await escalate(client)
    await take_over(client)
    first = await release(client, close=True)
    head = client.app[LOG].head_seq
    assert await release(client, close=True) == first
    assert client.app[LOG].head_seq == head
    event = await client.app[LOG].get(seq=first["seq"])
    assert (event.stream, event.event_type) == ("session:alice", "status_change")


async def test_a_message_that_is_sent_again_is_stored_once_whatever_happened_since(client):
    """A retry is 200 with the first seq, also when the session was handed over or closed in between."""
    first = await say(client, role="bot", message_id="m-1")
    for step in (escalate, take_over):
        await step(client)
        again = await say(client, role="bot", message_id="m-1", status=200)
        assert (again["seq"], again["message_id"]) == (first["seq"], "m-1")
    assert again["status"] == "with_operator"
    await release(client, close=True)
    assert (await say(client, role="bot", message_id="m-1", status=200))["status"] == "closed"
    assert (await get(client, "/api/sessions/alice"))["messages"] == 1
    other = await say(client, name="bob", role="bot", message_id="m-1")
    assert other["seq"] > first["seq"]


@pytest.mark.parametrize(
    "fields", [pytest.param({"text": "another"}, id="other content"), pytest.param({"role": "bot"}, id="another role")]
)
async def test_a_message_id_that_is_taken_by_another_message_is_a_conflict(client, fields):
    """An id names one message."""
    first = await say(client, message_id="m-1")
    sent = {"session_name": "alice", "role": "user", "content": fields.pop("text", "hello"), "message_id": "m-1", **fields}
    error = await assert_error(await client.post("/api/manual/message", json=sent), "conflict", status=409, field="message_id")
    assert error["seq"] == first["seq"]


async def test_a_message_that_is_sent_twice_at_once_is_stored_once(client):
    """The writer decides: one 201, and everybody gets its seq."""
    sent = {"session_name": "alice", "role": "user", "content": "x", "message_id": "m-1"}
    answers = await asyncio.gather(*(client.post("/api/manual/message", json=sent) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [*[200] * 7, 201]
    assert {(await answer.json())["seq"] for answer in answers} == {1}
    assert client.app[LOG].head_seq == 1


async def test_a_message_without_an_id_gets_one_and_is_never_taken_for_another(client):
    """The same words twice are two messages."""
    ids = {(await say(client))["message_id"] for _ in range(3)}
    assert len(ids) == 3
    stored = await events_of(client, "session:alice")
    assert {event["payload"]["message_id"] for event in stored} == ids
    assert (await get(client, "/api/sessions/alice"))["messages"] == 3


@pytest.mark.parametrize("count", [2, 12])
async def test_of_operators_who_come_at_once_one_gets_the_session(client, count):
    """Scenario 10, a33: one 200, the others learn who has it, and one takeover is stored."""
    await escalate(client)
    answers = await asyncio.gather(
        *(client.post("/api/sessions/alice/takeover", json={"agent_id": f"o-{n}"}) for n in range(count))
    )
    [winner] = [await answer.json() for answer in answers if answer.status == 200]
    for answer in answers:
        if answer.status != 200:
            error = await assert_error(answer, "conflict", status=409)
            assert (error["status"], error["agent_id"]) == ("with_operator", winner["agent_id"])
    stored = await events_of(client, "session:alice")
    assert [event["payload"].get("agent_id") for event in stored] == [None, None, winner["agent_id"]]


async def test_commands_of_many_at_once_leave_a_history_that_the_rules_allow(client):
    """Whatever the order, each event follows from the one before it."""
    await escalate(client)
    paths = [
        ("/api/sessions/alice/takeover", {"agent_id": "o-1"}),
        ("/api/sessions/alice/takeover", {"agent_id": "o-2"}),
        ("/api/sessions/alice/release", {"agent_id": "o-1"}),
        ("/api/sessions/alice/release", {"agent_id": "o-2"}),
        ("/api/manual/escalate", {"session_name": "alice"}),
        ("/api/manual/message", {"session_name": "alice", "role": "user", "content": "x"}),
    ]
    answers = await asyncio.gather(*(client.post(path, json=fields) for path, fields in paths * 8))
    assert {answer.status for answer in answers} <= {200, 201, 409}
    status = "bot"
    for event in await events_of(client, "session:alice"):
        if event["event_type"] == "status_change":
            assert event["payload"]["previous"] == status
            status = event["payload"]["status"]
    assert (await get(client, "/api/sessions/alice"))["status"] == status
    assert (await get(client, "/api/sessions/alice"))["messages"] == 8


REFUSED = [
    pytest.param("/api/sessions/alice/takeover", {"agent_id": "o-8"}, id="takeover"),
    pytest.param("/api/sessions/alice/release", {"agent_id": "o-8"}, id="release"),
    pytest.param("/api/sessions/alice/release", {"agent_id": "o-8", "close": True}, id="close"),
    pytest.param("/api/manual/escalate", {"session_name": "alice"}, id="escalate"),
    pytest.param("/api/manual/message", {"session_name": "alice", "role": "bot", "content": "x"}, id="bot"),
    ("/api/manual/message", {"session_name": "alice", "role": "operator", "content": "x", "agent_id": "o-8"}),
]


@pytest.mark.parametrize(("path", "fields"), REFUSED)
@pytest.mark.parametrize("status", ["with_operator", "closed"])
async def test_a_conflict_says_where_the_session_is_and_who_has_it(client, path, fields, status):
    """Whoever comes too late can show it; nothing is stored."""
    await escalate(client)
    await take_over(client)
    if status == "closed":
        await release(client, close=True)
    head = client.app[LOG].head_seq
    error = await assert_error(await client.post(path, json=fields), "conflict", status=409)
    assert (error["status"], error["agent_id"]) == (status, "o-7" if status == "with_operator" else None)
    assert client.app[LOG].head_seq == head


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        pytest.param("GET", "/api/sessions/alice", None, id="look"),
        pytest.param("GET", "/api/sessions/alice/events", None, id="follow"),
        pytest.param("GET", "/api/sessions/alice/events?broadcast=1", None, id="follow with broadcasts"),
        pytest.param("POST", "/api/sessions/alice/takeover", {"agent_id": "o-7"}, id="takeover"),
        pytest.param("POST", "/api/sessions/alice/release", {"agent_id": "o-7"}, id="release"),
        ("POST", "/api/manual/message", {"session_name": "alice", "role": "operator", "content": "x", "agent_id": "o-7"}),
    ],
)
async def test_an_unknown_session_is_404(client, method, path, fields):
    """It begins with a message of user or bot, or with an escalation, and with nothing else."""
    await assert_error(await client.request(method, path, json=fields), "not_found", status=404)
    assert client.app[LOG].head_seq == 0


GOOD_MESSAGE = {"session_name": "alice", "role": "user", "content": "x"}
BAD_FIELDS = [
    ("/api/manual/escalate", {"session_name": "alice"}, "session_name", [None, 7, "", "a:b", "..", "x" * 121, "张三", "a\n"]),
    ("/api/manual/escalate", {"session_name": "alice"}, "reason", [7, ["x"], "\x00", "x" * 501]),
    ("/api/manual/escalate", {"session_name": "alice"}, "agent_id", ["o-7"]),
    ("/api/manual/message", GOOD_MESSAGE, "session_name", [None, 7, "", "a/b"]),
    ("/api/manual/message", GOOD_MESSAGE, "role", [None, "", "agent", "User", 7]),
    ("/api/manual/message", GOOD_MESSAGE, "content", [None, 7, "", " \n", "\u200b", "a\x00", "x" * 10_001]),
    ("/api/manual/message", GOOD_MESSAGE, "agent_id", [7, "o-7"]),
    ("/api/manual/message", {**GOOD_MESSAGE, "role": "operator", "agent_id": "o-7"}, "agent_id", ["", "queue", "a b", None]),
    ("/api/manual/message", GOOD_MESSAGE, "message_id", [7, "", "a b", "x" * 129]),
    ("/api/manual/message", GOOD_MESSAGE, "seq", [1]),
    ("/api/sessions/alice/takeover", {"agent_id": "o-7"}, "agent_id", [None, 7, "", "queue", "..", "x" * 120]),
    ("/api/sessions/alice/takeover", {"agent_id": "o-7"}, "close", [True]),
    ("/api/sessions/alice/release", {"agent_id": "o-7"}, "agent_id", [None, 7, "", "queue"]),
    ("/api/sessions/alice/release", {"agent_id": "o-7"}, "close", [None, 1, "true"]),
    ("/api/broadcast", {"payload": {}}, "payload", [None, 7, "x", ["x"]]),
    ("/api/broadcast", {"payload": {}}, "type", [None, 7, "", "a b", "x" * 129]),
    ("/api/broadcast", {"payload": {}}, "source", [None, 7, "", "a b", '"']),
    ("/api/broadcast", {"payload": {}}, "target", ["x"]),
]


@pytest.mark.parametrize(
    ("path", "good", "field", "value"),
    [
        pytest.param(path, good, field, value, id=f"{path} {field} {str(value)[:12]!r}")
        for path, good, field, values in BAD_FIELDS
        for value in values
    ],
)
async def test_a_bad_field_is_refused_with_its_name_and_nothing_is_stored(client, path, good, field, value):
    """422 for what is of the wrong shape, 413 for what is too long."""
    answer = await client.post(path, json={**good, field: value})
    too_large = isinstance(value, str) and len(value) in (501, 10_001)
    await assert_error(answer, "too_large" if too_large else "invalid_body", field=field)
    assert client.app[LOG].head_seq == 0


@pytest.mark.parametrize("name", ["%20", "a%3Ab", "queue", "*", "x" * 120])
async def test_a_malformed_id_of_an_operator_is_400(client, name):
    """a30: what cannot be a name is a mistake, and never another stream."""
    answer = await client.get(f"/api/operators/{name}/events")
    await assert_error(answer, "invalid_request", status=400, field="agent_id")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/sessions/alice/events?broadcast=2", "broadcast"),
        ("/api/sessions/alice/events?broadcast=1&since_seq=x", "since_seq"),
        ("/api/operators/o-7/events?broadcast=x", "broadcast"),
        ("/api/operators/o-7/events?start=soon", "start"),
        ("/api/broadcast/events?format=xml", "format"),
    ],
)
async def test_a_malformed_query_is_400(client, path, field):
    """Bounds are told, not applied."""
    await say(client)
    await assert_error(await client.get(path), "invalid_request", status=400, field=field)


async def test_a_broadcast_that_is_too_large_is_refused_with_the_limit(aiohttp_client, quiet_config):
    """The limit of every event."""
    client = await aiohttp_client(make_app(changed(quiet_config, "append", max_event_bytes=256)))
    answer = await client.post("/api/broadcast", json={"payload": {"text": "x" * 300}})
    assert (await assert_error(answer, "too_large", status=413, field="payload"))["limit"] == 256


# Looking


async def test_a_session_is_what_its_events_say(client):
    """Item 9: real values, true at `last_seq`, for a page that polls."""
    await say(client)
    stored = await events_of(client, "session:alice")
    expected = {
        "session_name": "alice",
        "status": "bot",
        "agent_id": None,
        "reason": None,
        "waiting_since": None,
        "messages": 1,
        "created_at": stored[0]["timestamp"],
        "updated_at": stored[0]["timestamp"],
        "created_seq": 1,
        "status_seq": 0,
        "last_seq": 1,
    }
    assert await get(client, "/api/sessions/alice") == expected
    assert list(expected) == SUMMARY
    await escalate(client, reason="refund")
    waiting = (await events_of(client, "session:alice"))[-1]
    expected |= {"status": "waiting_agent", "reason": "refund", "waiting_since": waiting["timestamp"]}
    expected |= {"updated_at": waiting["timestamp"], "status_seq": waiting["seq"], "last_seq": waiting["seq"]}
    assert await get(client, "/api/sessions/alice") == expected
    await take_over(client)
    taken = await get(client, "/api/sessions/alice")
    assert (taken["status"], taken["agent_id"], taken["waiting_since"]) == ("with_operator", "o-7", None)


async def test_notes_in_a_stream_are_no_session(client):
    """Anybody may append to `session:x`; it becomes a session when something is said, and then counts on from there."""
    await publish(client, 2, stream="session:alice")
    await assert_error(await client.get("/api/sessions/alice"), "not_found", status=404)
    assert (await get(client, "/api/sessions"))["sessions"] == []
    await escalate(client)
    assert (await get(client, "/api/sessions/alice"))["created_seq"] == 3
    stored = await events_of(client, "session:alice")
    assert [event["revision"] for event in stored] == [1, 2, 3, 4]
    assert (await client.post("/api/events", json=body("session:no:name", event_type="new_message"))).status == 201
    assert len((await get(client, "/api/sessions"))["sessions"]) == 1


async def test_sessions_and_messages_are_readable_with_sql(client, quiet_config):
    """One row a session, one row a message; what is no text is NULL."""
    await say(client, message_id="m-1")
    await escalate(client, reason="refund")
    await take_over(client)
    await say(client, text="here", role="operator", agent_id="o-7", message_id="m-2")
    odd = {"role": ["x"], "content": {"a": 1}, "message_id": 7, "agent_id": None}
    posted = await client.post("/api/events", json={**body("session:alice", event_type="new_message"), "payload": odd})
    assert posted.status == 201
    with contextlib.closing(sqlite3.connect(quiet_config.database.path)) as db:
        assert db.execute("SELECT name, status, agent_id, waiting_since, reason, messages FROM sessions").fetchall() == [
            ("alice", "with_operator", "o-7", None, "refund", 3)
        ]
        sql = (
            "SELECT role, agent_id, content, message_id, source FROM session_messages WHERE session_name = 'alice' ORDER BY seq"
        )
        assert db.execute(sql).fetchall() == [
            ("user", None, "hello", "m-1", "ai_chatbot"),
            ("operator", "o-7", "here", "m-2", "agent_workbench"),
            (None, None, None, None, "unknown"),
        ]
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert "SCAN" not in plan, plan


async def test_a_session_goes_on_after_a_restart(aiohttp_client, quiet_config):
    """Status, operator and idempotency are in the file, not in the process."""
    client = await aiohttp_client(make_app(quiet_config))
    said = await say(client, message_id="m-1")
    await escalate(client)
    taken = await take_over(client)
    before = await get(client, "/api/sessions/alice")
    await client.close()
    client = await aiohttp_client(make_app(quiet_config))
    assert await get(client, "/api/sessions/alice") == before
    assert await take_over(client) == taken
    assert (await say(client, message_id="m-1", status=200))["seq"] == said["seq"]
    await assert_error(await client.post("/api/sessions/alice/takeover", json={"agent_id": "o-8"}), "conflict", status=409)


# Following


async def test_live_and_history_have_the_shape_of_the_source(client):
    """Items 22 to 26, a31: the envelope, whole seconds, and the same live as replayed."""
    async with client.get("/api/sessions/alice/events?allow_pending=1") as response:
        assert (await read_frames(response, 1))[0].event == "ready"
        await say(client, text="你好\u2028")
        await escalate(client, reason="refund")
        live = await read_frames(response, 3)
    async with client.get("/api/sessions/alice/events") as response:
        replayed = await read_frames(response, 4)
    assert [frame.data for frame in live] == [frame.data for frame in replayed[:3]]
    stored = await events_of(client, "session:alice")
    for frame, event in zip(live, stored, strict=True):
        assert frame.event is None
        assert frame.seq == event["seq"]
        assert list(frame.data) == ENVELOPE
        assert type(frame.data["timestamp"]) is int
        assert {**event, "timestamp": None} == {
            "seq": frame.data["seq"],
            "stream": frame.data["stream"],
            "revision": frame.data["revision"],
            "event_id": frame.data["event_id"],
            "event_type": frame.data["type"],
            "timestamp": None,
            "source": frame.data["source"],
            "payload": frame.data["payload"],
        }


async def test_a_reconnect_gets_exactly_the_rest(client):
    """a27, a31: after a cursor in any form, everything once, then live."""
    said = [await say(client, text=f"{n}") for n in range(60)]
    async with client.get("/api/sessions/alice/events", headers={"Last-Event-ID": str(said[4]["seq"])}) as response:
        frames = await read_frames(response, 56)
        assert [frame.data["payload"]["content"] for frame in frames[:-1]] == [f"{n}" for n in range(5, 60)]
        await say(client, text="live")
        assert (await read_frames(response, 1))[0].data["payload"]["content"] == "live"


async def test_a_closed_session_ends_its_stream_and_then_answers_204(client):
    """The last event, `end`, a clean close; a native EventSource does not come back."""
    await escalate(client)
    await take_over(client)
    async with client.get("/api/sessions/alice/events?start=live") as response:
        await read_frames(response, 1)
        await release(client, close=True)
        frames = await read_frames(response, 3)
        assert await read_to_end(response) == ""
    assert [frame.event for frame in frames] == [None, None, "end"]
    assert [frame.data.get("type") for frame in frames[:2]] == ["status_change", "session_closed"]
    last = frames[1]
    assert frames[2].data == {"reason": "session_closed", "last_seq": last.seq}
    assert (await client.get("/api/sessions/alice/events", headers={"Last-Event-ID": last.id})).status == 204
    await assert_error(await client.post("/api/events", json=body("session:alice")), "stream_ended", status=409)


async def test_every_operator_sees_who_waits_without_being_in_the_session(client):
    """a32: the queue reaches all; a takeover reaches the operator whom it concerns on its own stream as well."""
    async with client.get("/api/operators/o-7/events") as one, client.get("/api/operators/o-8/events") as other:
        for response in (one, other):
            assert (await read_frames(response, 1))[0].event == "ready"
        await say(client)
        await escalate(client, reason="refund")
        await take_over(client)
        await release(client)
        mine = [frame.data for frame in await read_frames(one, 6)]
        theirs = [frame.data for frame in await read_frames(other, 4)]
    assert [(each["stream"], each["type"], each["payload"]["status"]) for each in theirs] == [
        ("operator:queue", "transfer_request", "waiting_agent"),
        ("operator:queue", "status_change", "waiting_agent"),
        ("operator:queue", "status_change", "with_operator"),
        ("operator:queue", "status_change", "bot"),
    ]
    assert all(each["payload"]["session_name"] == "alice" for each in mine)
    assert [each for each in mine if each["stream"] == "operator:queue"] == theirs
    assert [each["payload"]["status"] for each in mine if each["stream"] == "operator:o-7"] == ["with_operator", "bot"]


async def test_an_operator_who_comes_late_reads_the_list_and_goes_on_from_there(client):
    """The list's `head_seq` is a cursor of the stream: nothing between the two is missed, and nothing comes twice."""
    await escalate(client)
    listed = await get(client, "/api/sessions?status=waiting_agent")
    await escalate(client, name="bob")
    async with client.get(f"/api/operators/o-7/events?since_seq={listed['head_seq']}") as response:
        frames = await read_frames(response, 3)
    assert [frame.data["payload"]["session_name"] for frame in frames[:2]] == ["bob", "bob"]
    assert frames[2].event == "ready"


async def test_a_broadcast_reaches_who_follows_it_also_before_the_first(client):
    """Items 15, 19: live by default, with what is documented."""
    async with client.get("/api/broadcast/events") as response:
        assert (await read_frames(response, 1))[0].event == "ready"
        answer = await post(client, "/api/broadcast", 201, payload={"text": "hello"})
        [frame] = await read_frames(response, 1)
    assert answer == {"success": True, "seq": 1}
    assert (frame.data["type"], frame.data["payload"], frame.data["source"]) == ("broadcast", {"text": "hello"}, "unknown")
    await post(client, "/api/broadcast", 201, payload={}, type="maintenance", source="ops")
    async with client.get("/api/broadcast/events") as response:
        assert (await read_frames(response, 1))[0].event == "ready"
    async with client.get("/api/broadcast/events?start=beginning") as response:
        frames = await read_frames(response, 2)
    assert [(frame.data["type"], frame.data["source"]) for frame in frames] == [
        ("broadcast", "unknown"),
        ("maintenance", "ops"),
    ]


async def test_broadcasts_come_with_a_session_or_an_operator_when_asked_for(client):
    """Item 15: on one connection in one order; a session has those since it began."""
    await post(client, "/api/broadcast", 201, payload={"n": 1})
    await say(client)
    await post(client, "/api/broadcast", 201, payload={"n": 2})
    async with (
        client.get("/api/sessions/alice/events?broadcast=1") as session,
        client.get("/api/sessions/alice/events") as without,
        client.get("/api/operators/o-7/events?broadcast=1") as operator,
    ):
        assert [frame.data.get("type") for frame in await read_frames(session, 3)] == ["new_message", "broadcast", None]
        assert [frame.data.get("type") for frame in await read_frames(without, 2)] == ["new_message", None]
        assert [frame.event for frame in await read_frames(operator, 1)] == ["ready"]
        await post(client, "/api/broadcast", 201, payload={"n": 3})
        await escalate(client)
        for response in (session, operator):
            frames = await read_frames(response, 3)
            assert [frame.data["type"] for frame in frames] == ["broadcast", "transfer_request", "status_change"]
        assert [frame.data["type"] for frame in await read_frames(without, 2)] == ["transfer_request", "status_change"]


async def test_a_session_with_broadcasts_may_be_awaited_and_resumed(client):
    """Pending sessions miss nothing of their beginning; a cursor counts over both streams; closing does not end the
    broadcasts."""
    await post(client, "/api/broadcast", 201, payload={"n": 1})
    async with client.get("/api/sessions/alice/events?broadcast=1&allow_pending=1") as response:
        assert (await read_frames(response, 1))[0].event == "ready"
        said = await say(client)
        assert (await read_frames(response, 1))[0].seq == said["seq"]
    await escalate(client)
    await take_over(client)
    await release(client, close=True)
    await post(client, "/api/broadcast", 201, payload={"n": 2})
    query = f"broadcast=1&since_seq={said['seq']}"
    async with client.get(f"/api/sessions/alice/events?{query}") as response:
        frames = await read_frames(response, 7)
    types = [frame.data.get("type") for frame in frames]
    assert types == ["transfer_request", *["status_change"] * 3, "session_closed", "broadcast", None]
    async with client.get("/api/sessions/alice/events?broadcast=1&start=beginning") as response:
        assert (await read_frames(response, 1))[0].data["type"] == "broadcast"
    async with client.get("/api/sessions/alice/events?broadcast=1&since_seq=999") as response:
        assert (await read_frames(response, 1))[0].event == "reset"


async def test_a_session_that_begins_while_its_stream_is_opened_is_not_missed(client, monkeypatch):
    """Between the look for the session and the start of the stream there is no gap."""
    log = client.app[LOG]
    query, said = log.query, []

    async def slow(function):
        found = await query(function)
        if not said:
            said.append(None)
            said.append(await say(client))
        return found

    monkeypatch.setattr(log, "query", slow)
    async with client.get("/api/sessions/alice/events?broadcast=1&allow_pending=1") as response:
        [frame] = await read_frames(response, 1)
    assert frame.seq == said[1]["seq"]


async def test_a_session_whose_beginning_was_trimmed_is_followed_from_what_is_left(client):
    """Its state is in the table, so the hand-over is remembered; with broadcasts nobody is sent a reset that he did not ask
    for."""
    await say(client)
    await escalate(client, reason="refund")
    await take_over(client)
    await say(client, text="kept")
    await trim(client.app[LOG], RetentionSection(kinds={"session": KindRetention(keep_last=1)}))
    epoch = client.app[LOG].epoch
    for query in ("", f"&epoch={epoch}", "&epoch=another"):
        async with client.get(f"/api/sessions/alice/events?broadcast=1{query}") as response:
            frames = await read_frames(response, 2)
        assert [frame.event for frame in frames] == [None, "ready"]
        assert frames[0].data["payload"]["content"] == "kept"
    session = await get(client, "/api/sessions/alice")
    assert (session["status"], session["agent_id"], session["messages"]) == ("with_operator", "o-7", 2)
    assert (await release(client))["status"] == "bot"


def test_the_heartbeat_is_every_thirty_seconds_by_default():
    """Item 52: the figure of the source."""
    assert SessionsSection().keepalive_seconds == 30.0


@pytest.mark.parametrize(
    "path", ["/api/sessions/alice/events", "/api/operators/o-7/events", "/api/broadcast/events"], ids=lambda path: path[5:13]
)
async def test_silence_is_filled_with_heartbeats_of_their_own_period(aiohttp_client, quiet_config, path):
    """`: heartbeat`, a comment that no client takes for a message, at the sessions' period and not the general one."""
    client = await aiohttp_client(make_app(changed(quiet_config, "sessions", keepalive_seconds=0.05)))
    await say(client)
    async with client.get(path) as response:
        frames = await read_frames(response, 4, comments=True)
        assert [frame.comment for frame in frames[-2:]] == ["heartbeat", "heartbeat"]


async def test_what_the_bus_hands_on_is_the_stored_event(client):
    """Item 8: a service of its own is told of every change of status, once, by the log."""
    heard = []
    client.app[BUS].subscribe("status_change", lambda event: heard.append((event.stream, event.payload["status"])))
    await escalate(client)
    await until(lambda: len(heard) == 2)
    assert heard == [("session:alice", "waiting_agent"), ("operator:queue", "waiting_agent")]


# Who may


def app_for(config, principal):
    """The application as this principal meets it."""
    app = make_app(config)

    async def recognise(request, handler):
        request[PRINCIPAL] = principal
        return await handler(request)

    recognise.__middleware_version__ = 1
    app.middlewares.append(recognise)
    return app


CALLS = {
    "escalate": ("POST", "/api/manual/escalate", {"session_name": "alice"}),
    "user speaks": ("POST", "/api/manual/message", {"session_name": "alice", "role": "user", "content": "x"}),
    "operator speaks": (
        "POST",
        "/api/manual/message",
        {"session_name": "alice", "role": "operator", "content": "x", "agent_id": "o-7"},
    ),
    "takeover": ("POST", "/api/sessions/alice/takeover", {"agent_id": "o-7"}),
    "release": ("POST", "/api/sessions/alice/release", {"agent_id": "o-7"}),
    "one": ("GET", "/api/sessions/alice", None),
    "list": ("GET", "/api/sessions", None),
    "session events": ("GET", "/api/sessions/alice/events", None),
    "with broadcasts": ("GET", "/api/sessions/alice/events?broadcast=1", None),
    "operator events": ("GET", "/api/operators/o-7/events", None),
    "broadcast events": ("GET", "/api/broadcast/events", None),
    "broadcast": ("POST", "/api/broadcast", {"payload": {}}),
}
VISITOR = ("session:alice",)
ALLOWED = [
    pytest.param((), (), set(), id="nobody"),
    pytest.param(VISITOR, VISITOR, {"escalate", "user speaks", "one", "session events"}, id="the visitor"),
    pytest.param(("session:bob",), ("session:bob",), set(), id="another visitor"),
    pytest.param(("session:*",), (), {"one", "list", "session events"}, id="who reads sessions"),
    pytest.param(("session:a*",), (), {"one", "session events"}, id="who reads some sessions"),
    pytest.param(("session:alice", "session:x", "session:_"), (), {"one", "session events"}, id="who reads a few sessions"),
    pytest.param(("operator:o-7",), ("operator:o-7",), set(), id="an operator without sessions"),
    pytest.param(("operator:o-7", "operator:queue"), (), {"operator events"}, id="an operator who only watches"),
    pytest.param(
        ("session:*", "operator:o-7", "operator:queue"),
        ("session:*", "operator:o-7"),
        {
            "escalate",
            "user speaks",
            "operator speaks",
            "takeover",
            "release",
            "one",
            "list",
            "session events",
            "operator events",
        },
        id="the operator",
    ),
    (("session:*",), ("session:*", "operator:o-8"), {"escalate", "user speaks", "one", "list", "session events"}),
    pytest.param(("broadcast:all",), ("broadcast:all",), {"broadcast", "broadcast events"}, id="who broadcasts"),
    (("session:alice", "broadcast:all"), (), {"one", "session events", "with broadcasts", "broadcast events"}),
]


@pytest.mark.parametrize(("read", "append", "allowed"), ALLOWED)
@pytest.mark.parametrize("exists", [True, False], ids=["it exists", "it does not"])
async def test_scopes_decide_what_may_be_asked(aiohttp_client, quiet_config, read, append, allowed, exists):
    """a34: without its scope every call is 403, whether the session exists or not; with it something else."""
    if exists:
        client = await aiohttp_client(make_app(quiet_config))
        await say(client)
        await client.close()
    client = await aiohttp_client(app_for(quiet_config, Principal("p", read, append, via="token")))
    head = client.app[LOG].head_seq
    for name, (method, path, fields) in CALLS.items():
        async with client.request(method, path, json=fields) as answer:
            if name in allowed:
                assert answer.status != 403, name
            else:
                assert answer.status == 403, name
                error = await assert_error(answer, "forbidden", status=403)
                verbs = ("read:",) if method == "GET" else ("append:", "operate:")
                assert error["scope"].startswith(verbs), name
    if not append:
        assert client.app[LOG].head_seq == head
