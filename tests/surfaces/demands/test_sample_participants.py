"""The sample agents at work: by themselves, across a restart, and never in somebody else's name."""

from server.surfaces.demands.samples.agents import SAMPLE_AGENTS
from tests.support import until
from tests.support.negotiations import (
    TALK,
    VENUE,
    demand,
    offer,
    publish_events,
    register,
    submit,
    until_demand,
    until_ended,
    until_phase,
    working_tasks,
)


async def test_the_sample_agents_negotiate_by_themselves(start):
    """Offers, a revision and an agreement, each said to be written by the rules."""
    client = await start(sample_agents=True, sample_delay_seconds=0.02)
    demand_id = (await submit(client, "We need a venue and a technical talk for 30 people, budget $5000"))["demand_id"]
    detail = await until_ended(client, demand_id)
    assert detail["status"] == "finalized"
    assert detail["current_round"] > 1
    assert {each["written_by"] for each in detail["offers"]} == {"rules"}
    said = [answer for each in detail["proposals"] for answer in each["feedback"]]
    assert {answer["written_by"] for answer in said} == {"rules"}
    assert {"revise", "accept"} <= {answer["decision"] for answer in said}
    await until(lambda: not working_tasks())


async def test_a_sample_agent_names_the_least_that_it_takes(start):
    """CursorRequest for less, it revises with a price, and the next round has that price."""
    client = await start(sample_agents=True, sample_delay_seconds=0.0)
    demand_id = (await submit(client, "We need a venue and a technical talk for 50 people, budget $465"))["demand_id"]
    detail = await until_ended(client, demand_id)
    assert detail["status"] == "finalized"
    said = [answer for answer in detail["proposals"][0]["feedback"] if answer["by"] == "user_agent_bob"]
    assert [(answer["decision"], answer["terms"]) for answer in said] == [("revise", {"price": 340})]
    prices = {each["agent_id"]: each["terms"]["price"] for each in detail["outcome"]["proposal"]["assignments"]}
    assert prices["user_agent_bob"] == 340
    assert sum(prices.values()) <= 465


async def test_sample_agents_go_on_after_a_restart(start):
    """What was due while nobody was there comes at the next start, once."""
    client = await start(sample_agents=True, sample_delay_seconds=3600.0)
    demand_id = (await submit(client, "We need a venue and a technical talk for 30 people"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    await until(lambda: len(working_tasks()) > 1)
    await client.close()
    assert not working_tasks()
    client = await start(sample_agents=True, sample_delay_seconds=0.0)
    detail = await until_ended(client, demand_id)
    assert detail["status"] == "finalized"
    offered = [each["agent_id"] for each in detail["offers"]]
    assert sorted(offered) == sorted(set(offered))


async def test_fifty_sample_agents_that_answer_at_once_are_all_heard(start):
    """None is silent because another one was faster."""
    client = await start(sample_agents=True, sample_delay_seconds=0.0, max_candidates=50)
    text = ", ".join(name for agent in SAMPLE_AGENTS for name in agent["capabilities"])
    demand_id = (await submit(client, f"We need {text}"))["demand_id"]
    detail = await until_demand(client, demand_id, lambda detail: detail["phase"] not in ("understood", "collecting_offers"))
    assert len(detail["candidates"]) > 25
    assert len(detail["offers"]) + len(detail["declined"]) == len(detail["candidates"])


async def test_an_external_agent_with_a_sample_agents_id_answers_for_itself(start):
    """Whether it registered before the invitation or took the name over while the sample agent was thinking."""
    client = await start(sample_agents=True, sample_delay_seconds=0.1, max_candidates=50)
    own = VENUE | {"agent_id": "user_agent_bob", "name": "Another Bob"}
    await register(client, own)
    await register(client, TALK)
    text = "We need a venue and a technical talk"
    first = (await submit(client, text))["demand_id"]
    await until_phase(client, first, "collecting_offers")
    # alice is a sample agent still: when she has answered, bob would have
    await until_demand(client, first, lambda detail: "user_agent_alice" not in detail["waiting_for"])
    await register(client, own | {"agent_id": "user_agent_alice", "capabilities": ["technical talk"]})
    second = (await submit(client, text))["demand_id"]
    await until_phase(client, second, "collecting_offers")
    await until(lambda: not [name for name in working_tasks() if " on d-" in name])
    for demand_id in (first, second):
        waiting = (await demand(client, demand_id))["waiting_for"]
        assert "user_agent_bob" in waiting
    assert "user_agent_alice" in (await demand(client, second))["waiting_for"]


async def test_a_name_that_is_taken_over_while_the_sample_agent_thinks_is_not_answered_for(start):
    """The one who has the name now answers."""
    client = await start(sample_agents=True, sample_delay_seconds=0.3)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    await register(client, VENUE | {"agent_id": "user_agent_bob"})
    await until(lambda: working_tasks() == [f"demand {demand_id}"])
    assert (await demand(client, demand_id))["offers"] == []
    assert (await offer(client, demand_id, "user_agent_bob", "venue")).status == 201


async def test_a_name_that_was_given_up_is_not_answered_for(start):
    """An external agent was invited under a sample agent's id, and left."""
    client = await start(sample_delay_seconds=0.0)
    await register(client, VENUE | {"agent_id": "user_agent_bob"}, TALK)
    demand_id = (await submit(client, "We need a venue and a technical talk"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    assert (await client.delete("/api/agents/user_agent_bob")).status == 200
    events = []
    for n in range(3):  # each wakes the coordinator, which would ask the sample agents again
        events.append((await publish_events(client, f"demand:{demand_id}", ("towow.note", {"n": n}))).status)
        await until(lambda: working_tasks() == [f"demand {demand_id}"])
    assert events == [201] * 3
    assert (await demand(client, demand_id))["offers"] == []
