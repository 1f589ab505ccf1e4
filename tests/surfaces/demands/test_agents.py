"""The agents of the demands surface over HTTP: register, look, replace, remove, and being found."""

import pytest

from server.app import LOG, make_app
from tests.support import assert_error
from tests.support.negotiations import BOB, get, negotiating, register, submit, until_filtered


async def test_an_agent_is_registered_listed_looked_at_replaced_and_removed(client):
    """Its life in events of its own stream; the answers say what the projection says."""
    answer = await client.post(
        "/api/agents", json={"agent_id": "lin", "name": " Lin ", "capabilities": ["beekeeping", "beekeeping", "蜂蜜"]}
    )
    assert answer.status == 201
    created = await answer.json()
    assert created.pop("seq") == 1
    expected = {
        "agent_id": "lin",
        "name": "Lin",
        "capabilities": ["beekeeping", "蜂蜜"],
        "description": "",
        "sample": False,
        "registered_at": created["registered_at"],
    }
    assert created == expected
    one = await get(client, "/api/agents/lin")
    assert expected.items() <= one.items()
    listed = await get(client, "/api/agents")
    assert (listed["agents"], listed["head_seq"]) == ([one], 1)
    again = await client.post("/api/agents", json={"agent_id": "lin", "name": "Lin", "capabilities": ["beekeeping", "蜂蜜"]})
    assert again.status == 200
    assert client.app[LOG].head_seq == 1
    assert (await client.post("/api/agents", json={"agent_id": "lin", "name": "Lin", "capabilities": ["honey"]})).status == 201
    assert (await get(client, "/api/agents/lin"))["capabilities"] == ["honey"]
    removed = await client.delete("/api/agents/lin")
    assert await removed.json() == {"agent_id": "lin", "removed": True, "seq": 3}
    await assert_error(await client.get("/api/agents/lin"), "not_found", status=404, field="agent_id")
    await assert_error(await client.delete("/api/agents/lin"), "not_found", status=404, field="agent_id")
    assert (await get(client, "/api/agents"))["agents"] == []
    history = await get(client, "/api/events?stream=agent:lin&since_seq=0")
    assert [event["event_type"] for event in history["events"]] == ["agent.registered", "agent.registered", "agent.removed"]


AGENT = {"agent_id": "lin", "name": "Lin", "capabilities": ["beekeeping"]}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"agent_id": None}, "agent_id", id="no id"),
        pytest.param({"agent_id": ""}, "agent_id", id="empty id"),
        pytest.param({"agent_id": "a b"}, "agent_id", id="blank in the id"),
        pytest.param({"agent_id": "a:b"}, "agent_id", id="colon in the id"),
        pytest.param({"agent_id": "a\nb"}, "agent_id", id="newline in the id"),
        pytest.param({"agent_id": "林"}, "agent_id", id="Chinese id"),
        pytest.param({"agent_id": "x" * 123}, "agent_id", id="long id"),
        pytest.param({"agent_id": 7}, "agent_id", id="a number for an id"),
        pytest.param({"name": ""}, "name", id="empty name"),
        pytest.param({"name": " "}, "name", id="blank name"),
        pytest.param({"name": "a\nb"}, "name", id="newline in the name"),
        pytest.param({"name": "x" * 201}, "name", id="long name"),
        pytest.param({"capabilities": []}, "capabilities", id="no capability"),
        pytest.param({"capabilities": "venue"}, "capabilities", id="a text for capabilities"),
        pytest.param({"capabilities": [""]}, "capabilities.0", id="an empty capability"),
        pytest.param({"capabilities": ["a", "x" * 201]}, "capabilities.1", id="a long capability"),
        pytest.param({"capabilities": ["a\x00"]}, "capabilities.0", id="NUL in a capability"),
        pytest.param({"capabilities": ["a"] * 51}, "capabilities", id="too many capabilities"),
        pytest.param({"capabilities": [7]}, "capabilities[0]", id="a number for a capability"),
        pytest.param({"description": "x" * 2_001}, "description", id="long description"),
        pytest.param({"description": None}, "description", id="null for a description"),
        pytest.param({"sample": True}, "sample", id="an unknown field"),
    ],
)
async def test_a_bad_agent_is_refused_and_nothing_is_stored(client, changes, field):
    """With the field at fault."""
    given = AGENT | changes
    if changes.get("agent_id", "") is None:
        del given["agent_id"]
    await assert_error(await client.post("/api/agents", json=given), "invalid_body", status=422, field=field)
    assert client.app[LOG].head_seq == 0


@pytest.mark.parametrize("agent_id", ["%20", "%00", "a%0Ab", "x" * 129, "%E6%9E%97"])
async def test_a_malformed_agent_id_is_400(client, agent_id):
    """In the path it is a request that cannot be read."""
    for method in (client.get, client.delete):
        await assert_error(await method(f"/api/agents/{agent_id}"), "invalid_request", status=400, field="agent_id")


async def test_a_custom_agent_is_found_by_what_it_offers_until_it_is_removed(client):
    """Also by words that no lexicon knows, in either language; a removed one is found no more."""
    await register(client, AGENT, AGENT | {"agent_id": "mei", "name": "梅", "capabilities": ["古琴演奏"]})
    for demand, agent_id in (("I need somebody for beekeeping", "lin"), ("想请人来古琴演奏", "mei")):
        demand_id = (await submit(client, demand))["demand_id"]
        await until_filtered(client, demand_id)
        candidates = (await get(client, f"/api/demand/{demand_id}"))["candidates"]
        assert [candidate["agent_id"] for candidate in candidates] == [agent_id]
        assert candidates[0]["reason"]
    assert (await client.delete("/api/agents/lin")).status == 200
    demand_id = (await submit(client, "I need somebody for beekeeping"))["demand_id"]
    await until_filtered(client, demand_id)
    assert (await get(client, f"/api/demand/{demand_id}"))["status"] == "failed"


async def test_candidates_are_no_more_than_the_setting(aiohttp_client, quiet_config):
    """The best of them, best first."""
    client = await aiohttp_client(make_app(negotiating(quiet_config, max_candidates=2)))
    await register(client, *(BOB | {"agent_id": f"bob_{n}"} for n in range(4)))
    demand_id = (await submit(client, "需要场地"))["demand_id"]
    await until_filtered(client, demand_id)
    candidates = (await get(client, f"/api/demand/{demand_id}"))["candidates"]
    assert [candidate["agent_id"] for candidate in candidates] == ["bob_0", "bob_1"]
