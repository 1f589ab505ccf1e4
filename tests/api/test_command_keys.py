"""`Idempotency-Key`: a command that is sent again is carried out once, over races and restarts, and stays the same command."""

import asyncio

import pytest

from server.app import LOG, make_app
from tests.support import assert_error, body
from tests.support.tokens import bearer, token, with_tokens

COMMANDS = [
    pytest.param(
        "/api/demand/submit", {"raw_input": "We need a venue"}, {"raw_input": "We need a talk"}, "demand_id", id="submit"
    ),
    pytest.param("/novachat", {"prompt": "Tea"}, {"prompt": "Coffee"}, "run_id", id="start of a run"),
    pytest.param("/loomichat", {"prompt": "Tea"}, {"prompt": "Coffee"}, "run_id", id="start in stages"),
    pytest.param("/api/manual/escalate", {"session_name": "s", "reason": "a"}, {"session_name": "s"}, "seq", id="escalate"),
    pytest.param(
        "/api/manual/message",
        {"session_name": "s", "role": "user", "content": "a"},
        {"session_name": "s", "role": "user", "content": "b"},
        "message_id",
        id="message",
    ),
    pytest.param("/api/broadcast", {"payload": {"n": 1}}, {"payload": {"n": 2}}, "seq", id="broadcast"),
    pytest.param(
        "/api/agents",
        {"agent_id": "a", "name": "A", "capabilities": ["tea"]},
        {"agent_id": "a", "name": "B", "capabilities": ["tea"]},
        "seq",
        id="agent",
    ),
    pytest.param("/api/events", body(), body(n=1), "seq", id="publish"),
    pytest.param("/api/tasks/t/events", {"event_type": "note"}, {"event_type": "other"}, "seq", id="emit"),
    pytest.param(
        "/agent_backend/api/sse/notify/m",
        {"type": "tool_status", "data": {"tool_name": "x", "status": "a"}},
        {"type": "tool_status", "data": {"tool_name": "x", "status": "b"}},
        "seq",
        id="tool status",
    ),
    pytest.param(
        "/agent_backend/api/sse/notify/m",
        {"type": "permission_request", "data": {"tool_name": "x"}},
        {"type": "permission_request", "data": {"tool_name": "y"}},
        "permission_id",
        id="permission",
    ),
]


async def send(client, path, given, key="k", **headers):
    """The answer to a command with a key."""
    return await client.post(path, json=given, headers={"Idempotency-Key": key, "Accept": "application/json", **headers})


def keyed(log):
    """How many events the log has whose ids come from keys."""
    return log.query(lambda db: db.execute("SELECT count(*) FROM events WHERE event_id LIKE 'key-%'").fetchone()[0])


@pytest.mark.parametrize(("path", "given", "other", "field"), COMMANDS)
async def test_a_command_is_carried_out_once_also_at_once_and_after_a_restart(
    aiohttp_client, quiet_config, path, given, other, field
):
    """Four at a time and one at the next process answer alike; another body is refused and another key is another command."""
    client = await aiohttp_client(make_app(quiet_config))
    answers = await asyncio.gather(*[send(client, path, given) for _ in range(4)])
    said = [await answer.json() for answer in answers]
    assert [answer.status < 300 for answer in answers] == [True] * 4, said
    assert len({each[field] for each in said}) == 1
    count = await keyed(client.app[LOG])
    assert count >= 1
    await client.close()
    client = await aiohttp_client(make_app(quiet_config))
    again = await (await send(client, path, dict(reversed(given.items())))).json()
    assert again[field] == said[0][field]
    assert await keyed(client.app[LOG]) == count
    refused = await send(client, path, other)
    await assert_error(refused, "idempotency_key_reused", status=422, field="Idempotency-Key")
    assert await keyed(client.app[LOG]) == count


async def test_a_batch_is_stored_once_whatever_ids_its_events_have(client):
    """Events without an id get one from the key and their place."""
    events = {"events": [body(n=0), body("task:b", n=1, event_id="own"), body(n=2)]}
    answers = [await send(client, "/api/events", events) for _ in range(3)]
    assert [answer.status for answer in answers] == [201, 200, 200]
    receipts = [[each["seq"] for each in (await answer.json())["events"]] for answer in answers]
    assert receipts == [[1, 2, 3]] * 3


async def test_a_key_is_of_its_principal_and_its_route(aiohttp_client, quiet_config):
    """The same text from another client, or for another command, is another key."""
    tokens = [token(name, "read:*", "append:*", "manage:*", "operate:*") for name in ("one", "two")]
    client = await aiohttp_client(make_app(with_tokens(quiet_config, *tokens)))
    seqs = []
    for each in tokens:
        for path, given in (("/api/events", body()), ("/api/tasks/t/events", {"event_type": "note"})):
            answer = await send(client, path, given, **bearer(each.name))
            assert answer.status == 201, await answer.text()
            seqs.append((await answer.json())["seq"])
    assert len(set(seqs)) == 4


async def test_a_refusal_is_not_remembered(client):
    """What was wrong may be right later."""
    take = ("/api/sessions/s/takeover", {"agent_id": "o-1"})
    assert (await send(client, *take)).status >= 400
    assert (await send(client, "/api/manual/escalate", {"session_name": "s"})).status == 200
    first = await (await send(client, *take)).json()
    assert first["status"] == "with_operator"
    assert await (await send(client, *take)).json() == first


@pytest.mark.parametrize(
    "key", [pytest.param("", id="empty"), pytest.param("a" * 256, id="long"), pytest.param("\xe9", id="a byte")]
)
async def test_a_key_that_is_no_text_is_refused(client, key):
    """1 to 255 printable ASCII characters."""
    await assert_error(
        await send(client, "/api/broadcast", {"payload": {}}, key=key), "invalid_request", status=400, field="Idempotency-Key"
    )
