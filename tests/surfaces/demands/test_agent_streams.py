"""An agent's own stream over HTTP: what concerns it, each once, on every transport."""

import asyncio
import json

import pytest

from tests.support import assert_error, read_frames
from tests.support.negotiations import EVENING, VENUE, asked, feedback, finalized, get, register, submit, until_phase


@pytest.fixture
async def client(start):
    """The application with more patience than a test has."""
    return await start()


async def agent_frames(client, agent_id, count, query="", **headers):
    """The first stored events on an agent's stream."""
    async with client.get(f"/api/agents/{agent_id}/events?{query}", headers=headers) as response:
        assert response.status == 200, await response.text()
        frames = []
        while len([frame for frame in frames if frame.event is None]) < count:
            frames += await read_frames(response, 1)
    return [frame for frame in frames if frame.event is None]


async def test_an_agent_is_told_what_concerns_it_exactly_once(client):
    """Invitation, its proposals and the outcome; the last not to who declined. Copies are stored with the event they copy."""
    demand_id = await finalized(client)
    stored = (await get(client, "/api/events?type=towow.*&since_seq=0&limit=1000"))["events"]
    own = {event["event_type"]: event for event in stored if event["stream"] == f"demand:{demand_id}"}
    invited, proposed, ended = "towow.demand.broadcast", "towow.proposal.distributed", "towow.proposal.finalized"
    expected = {"ann": [invited, proposed, ended], "ben": [invited, proposed, ended], "dan": [invited, ended], "eve": [invited]}
    by_agent = {agent_id: [e for e in stored if e["stream"] == f"agent:{agent_id}"] for agent_id in expected}
    assert {key: [event["event_type"] for event in events] for key, events in by_agent.items()} == expected
    for agent_id, events in by_agent.items():
        for event in events:
            copied = own[event["event_type"]]
            assert event["timestamp"] == copied["timestamp"]
            assert 0 < event["seq"] - copied["seq"] <= len(expected)
            payload = dict(event["payload"])
            assert payload.pop("agent_id") == agent_id
            if event["event_type"] == invited:
                continue
            if event["event_type"] == proposed:
                assignments = copied["payload"]["assignments"]
                assert [payload.pop("assignment")] == [each for each in assignments if each["agent_id"] == agent_id]
            assert payload == copied["payload"]
    understood = own["towow.demand.understood"]["payload"]
    assert by_agent["ann"][0]["payload"] == {
        "demand_id": demand_id,
        "channel_id": understood["channel_id"],
        "agent_id": "ann",
        "name": "Ann",
        "surface_demand": understood["surface_demand"],
        "raw_input": EVENING,
        "capabilities": understood["capabilities"],
        "requirements": {},
        "language": "en",
        "reason": "venue: venue",
        "parent_demand_id": None,
        "depth": 0,
        "offers_within_seconds": 60.0,
    }


async def test_an_agents_stream_starts_live(client):
    """What was before comes only when it is asked for; the agent's registration does not come at all."""
    await register(client, VENUE)
    first = (await submit(client, "We need a venue, one"))["demand_id"]
    await until_phase(client, first, "collecting_offers")
    async with client.get("/api/agents/ann/events") as response:
        [ready] = await read_frames(response, 1)
        assert (ready.event, ready.data["replayed"]) == ("ready", 0)
        second = (await submit(client, "We need a venue, two"))["demand_id"]
        [frame] = await read_frames(response, 1)
    assert frame.data["payload"]["demand_id"] == second
    assert list(frame.data) == ["seq", "stream", "revision", "event_id", "event_type", "timestamp", "source", "payload"]
    everything = await agent_frames(client, "ann", 2, "start=beginning")
    assert [each.data["payload"]["demand_id"] for each in everything] == [first, second]
    assert {each.data["event_type"] for each in everything} == {"towow.demand.broadcast"}
    [rest] = await agent_frames(client, "ann", 1, **{"Last-Event-ID": everything[0].id})
    assert rest.data == everything[1].data
    [rest] = await agent_frames(client, "ann", 1, f"since_seq={everything[0].id}")
    assert rest.data == everything[1].data


async def test_an_agents_stream_speaks_every_transport(client):
    """The same events as lines and as messages."""
    demand_id = await finalized(client)
    frames = await agent_frames(client, "ann", 3, "start=beginning")
    expected = [frame.data | {"cursor": frame.id} for frame in frames]
    assert [event["payload"]["demand_id"] for event in expected] == [demand_id] * 3
    accepted = {"Accept": "application/x-ndjson"}
    async with client.get("/api/agents/ann/events?start=beginning", headers=accepted) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        async with asyncio.timeout(3):
            lines = [json.loads(await response.content.readline()) for _ in range(3)]
    assert lines == expected
    async with client.ws_connect("/api/agents/ann/events?start=beginning") as socket:
        assert [await socket.receive_json(timeout=3) for _ in range(3)] == expected


async def test_an_agents_stream_is_its_own(client):
    """Ids that begin alike, and agents of one demand, do not see each other's."""
    await register(client, VENUE, VENUE | {"agent_id": "anna"}, VENUE | {"agent_id": "an"})
    await submit(client, "We need a venue")
    for agent_id in ("ann", "anna", "an"):
        [frame] = await agent_frames(client, agent_id, 1, "start=beginning")
        assert (frame.data["stream"], frame.data["payload"]["agent_id"]) == (f"agent:{agent_id}", agent_id)


async def test_an_unknown_agent_has_no_stream(client):
    """404 before any header of a stream; `allow_pending=1` waits for its registration; a malformed id is 400."""
    await assert_error(await client.get("/api/agents/ann/events"), "not_found", status=404)
    for agent_id in ("%20", "a%0Ab", "x" * 129, "x" * 128, "%E6%9E%97"):
        await assert_error(await client.get(f"/api/agents/{agent_id}/events"), "invalid_request", status=400)
    async with client.get("/api/agents/ann/events?allow_pending=1") as response:
        await read_frames(response, 1)
        await register(client, VENUE)
        demand_id = (await submit(client, "We need a venue"))["demand_id"]
        [frame] = await read_frames(response, 1)
    assert frame.data["payload"]["demand_id"] == demand_id


async def test_an_agent_that_is_removed_keeps_its_history_and_its_part(client):
    """It can still be followed and may answer what it was asked; it is not found for the next demand."""
    demand_id = await asked(client)
    assert (await client.delete("/api/agents/ann")).status == 200
    types = [frame.data["event_type"] for frame in await agent_frames(client, "ann", 2, "start=beginning")]
    assert types == ["towow.demand.broadcast", "towow.proposal.distributed"]
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ann")).status == 201
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ben")).status == 201
    await until_phase(client, demand_id, "finalized")
    later = (await submit(client, EVENING))["demand_id"]
    detail = await until_phase(client, later, "collecting_offers")
    assert "ann" not in [each["agent_id"] for each in detail["candidates"]]
