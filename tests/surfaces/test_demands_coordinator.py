"""
Whole negotiations through the application: scripted agents answer over HTTP, the coordinator does the rest.
"""

import asyncio
import gc
import random as randomness

import pytest

from server.app import LOG, make_app
from server.errors import StorageFull, Unavailable
from server.events import timestamp_of
from server.surfaces.demands import coordinator, matching, sample_rules
from server.surfaces.demands.inputs import MAX_COMMENT_CHARACTERS
from server.surfaces.demands.sample_agents import SAMPLE_AGENTS
from server.surfaces.demands.writing import Author
from tests.negotiations import (
    PHOTO,
    TALK,
    TEXT,
    VENUE,
    Clock,
    Players,
    Script,
    cancel,
    decline,
    demand,
    drive,
    feedback,
    get,
    history,
    negotiating,
    offer,
    publish_events,
    register,
    submit,
    types_of,
    until_demand,
    until_ended,
    until_phase,
    working_tasks,
)
from tests.support import until

DAN = VENUE | {"agent_id": "dan", "name": "Dan"}
GUARD = {"agent_id": "gus", "name": "Gus", "capabilities": ["security guards"]}
COOK = {"agent_id": "kim", "name": "Kim", "capabilities": ["catering"]}
PATIENT = {"offer_timeout_seconds": 60.0, "feedback_timeout_seconds": 60.0, "subnet_timeout_seconds": 60.0}
BEGUN = ["demand.understood", "filter.completed", "demand.broadcast"]


@pytest.fixture
def clock():
    """
    A clock that the test sets.
    """
    return Clock()


@pytest.fixture
def start(aiohttp_client, quiet_config):
    """
    Start the application on the test's file with these settings of the negotiation; patient unless said otherwise.
    """

    async def start(clock=None, **negotiation):
        options = {} if clock is None else {"clock": clock}
        return await aiohttp_client(make_app(negotiating(quiet_config, **{**PATIENT, **negotiation}), **options))

    return start


async def negotiate(client, text, scripts, *agents, **fields):
    """
    Register agents, submit, let the scripts answer; returns the demand when it has ended.
    """
    await register(client, *agents)
    players = Players(client, scripts)
    demand_id = (await submit(client, text, **fields))["demand_id"]
    detail = await until_ended(client, demand_id)
    await until(lambda: not working_tasks())
    assert {status for _, _, status in players.answers} <= {201}
    return detail


def parts_of(proposal):
    """
    Who does what at which price.
    """
    return {each["agent_id"]: (each["capabilities"], each["terms"].get("price")) for each in proposal["assignments"]}


# Rounds


async def test_agents_that_agree_need_one_round(start):
    """
    Every event once, in order; the plan names who accepted and that nothing is missing.
    """
    client = await start()
    scripts = {"ann": Script("venue", price=100), "ben": Script("technical talk", price=50)}
    detail = await negotiate(client, "We need a venue and a technical talk", scripts, VENUE, TALK)
    offered, answered = ["offer.submitted"] * 2, ["proposal.feedback"] * 2
    assert await types_of(client, detail["demand_id"]) == [
        *BEGUN,
        *offered,
        "proposal.distributed",
        *answered,
        "proposal.finalized",
    ]
    payload = (await history(client, detail["demand_id"]))[-1]["payload"]
    assert sorted(payload["accepted_by"]) == ["ann", "ben"]
    assert (payload["is_complete"], payload["round"], payload["written_by"]) == (True, 1, "rules")
    assert parts_of(payload["proposal"]) == {"ann": (["venue"], 100), "ben": (["technical_talk"], 50)}
    assert payload["proposal"]["total_price"] == 150
    assert detail["outcome"]["proposal"] == payload["proposal"]


async def test_a_revision_leads_to_a_second_round_with_its_condition_and_terms(start):
    """
    What was asked for is in the agent's part, and everybody sees what was said.
    """
    client = await start()
    wish = {"decision": "revise", "comment": "doors at nine", "terms": {"price": 130}}
    scripts = {"ann": Script("venue", price=100, says=(wish, "accept")), "ben": Script("technical talk", price=50)}
    detail = await negotiate(client, "We need a venue and a technical talk", scripts, VENUE, TALK)
    assert (detail["status"], detail["current_round"]) == ("finalized", 2)
    first, second = detail["proposals"]
    assert parts_of(first)["ann"] == (["venue"], 100)
    [own] = [each for each in second["assignments"] if each["agent_id"] == "ann"]
    assert (own["terms"], own["offered_price"], own["conditions"]) == ({"price": 130}, 130, ["doors at nine"])
    assert {(each["by"], each["decision"]) for each in second["considered"]} == {("ann", "revise"), ("ben", "accept")}


async def test_the_runner_up_steps_in_for_who_rejects(start):
    """
    The cheaper agent is asked first; after its no it is never asked again.
    """
    client = await start()
    scripts = {"ann": Script("venue", price=100, says=("reject",)), "dan": Script("venue", price=300)}
    detail = await negotiate(client, "We need a venue", scripts, VENUE, DAN)
    assert [list(parts_of(each)) for each in detail["proposals"]] == [["ann"], ["dan"]]
    assert detail["status"] == "finalized"
    copies = (await get(client, "/api/events?stream=agent:ann&type=towow.proposal.*&since_seq=0"))["events"]
    assert [event["event_type"] for event in copies] == ["towow.proposal.distributed", "towow.proposal.finalized"]


async def test_when_all_decline_the_gap_is_named_and_the_demand_fails_with_a_reason(start):
    """
    A sub-negotiation asks others than those who declined; there is nobody.
    """
    client = await start()
    detail = await negotiate(client, "We need a venue", {"ann": Script(), "dan": Script()}, VENUE, DAN)
    assert await types_of(client, detail["demand_id"]) == [
        *BEGUN,
        *["offer.declined"] * 2,
        *("gap.identified", "subnet.triggered", "subnet.completed", "negotiation.failed"),
    ]
    assert (detail["status"], detail["outcome"]["reason"]) == ("failed", "no_offers")
    assert detail["outcome"]["message"]
    child = await demand(client, f"{detail['demand_id']}.1")
    assert (child["status"], child["outcome"]["reason"]) == ("failed", "no_candidates")
    assert (detail["subnets"][0]["outcome"], detail["subnets"][0]["reason"]) == ("failed", "no_candidates")


async def test_silent_agents_are_not_waited_for(start):
    """
    Who does not offer in time is not asked; who does not answer a proposal in time is left out of the next.
    """
    client = await start(offer_timeout_seconds=0.3, feedback_timeout_seconds=0.3)
    eve = VENUE | {"agent_id": "eve"}
    scripts = {
        "ann": Script("venue", price=100, says=(None,)),
        "dan": Script("venue", price=300),
        "eve": Script(is_silent=True),
    }
    detail = await negotiate(client, "We need a venue", scripts, VENUE, DAN, eve)
    assert detail["status"] == "finalized"
    assert [list(parts_of(each)) for each in detail["proposals"]] == [["ann"], ["dan"]]
    assert detail["proposals"][1]["considered"] == [{"by": "ann", "is_user": False, "decision": "silent", "comment": ""}]
    assert [each["agent_id"] for each in detail["offers"]] == ["ann", "dan"]


async def test_when_nobody_is_found_the_demand_fails_at_once(start):
    """
    No invitation, no gap: the message says what may help.
    """
    client = await start()
    detail = await negotiate(client, "I want a flying carpet", {})
    assert await types_of(client, detail["demand_id"]) == ["demand.understood", "filter.completed", "negotiation.failed"]
    assert detail["outcome"]["reason"] == "no_candidates"


async def test_rounds_have_an_end(start):
    """
    An agent that always wants more is not asked for ever.
    """
    client = await start(max_rounds=3)
    says = [{"decision": "revise", "comment": f"more, {n}", "terms": {"price": 100 + n}} for n in range(9)]
    detail = await negotiate(client, "We need a venue", {"ann": Script("venue", price=100, says=says)}, VENUE)
    assert (detail["outcome"]["reason"], detail["current_round"]) == ("rounds_exhausted", 3)
    assert len(detail["proposals"]) == 3


async def test_a_proposal_that_says_nothing_new_is_not_sent(start):
    """
    Asking for the same again is no agreement.
    """
    client = await start()
    says = ({"decision": "revise", "comment": "more"},)
    detail = await negotiate(client, "We need a venue", {"ann": Script("venue", says=says)}, VENUE)
    assert (detail["outcome"]["reason"], len(detail["proposals"])) == ("no_agreement", 2)


async def test_over_the_budget_less_is_proposed_until_somebody_insists(start):
    """
    First everybody is asked for less; when the prices that are insisted on do not fit, the demand fails.
    """
    client = await start()
    firm = {"decision": "revise", "terms": {"price": 900, "currency": "USD"}}
    scripts = {"ann": Script("venue", price=900, says=(firm,))}
    detail = await negotiate(client, "We need a venue, budget $500", scripts, VENUE)
    assert [each["total_price"] for each in detail["proposals"]] == [500]
    assert detail["outcome"]["reason"] == "over_budget"


async def test_who_takes_what_the_budget_allows_is_agreed_with(start):
    """
    The plan has what was proposed, and what was asked for.
    """
    client = await start()
    detail = await negotiate(client, "We need a venue, budget $500", {"ann": Script("venue", price=900)}, VENUE)
    [part] = detail["outcome"]["proposal"]["assignments"]
    assert (part["terms"]["price"], part["offered_price"]) == (500, 900)


# The user


async def confirmed(start, *answers, **options):
    """
    A demand that needs the user's yes, and what the user says to each round.
    """
    client = await start(**options)
    await register(client, VENUE)
    Players(client, {"ann": Script("venue", price=400)})
    demand_id = (await submit(client, "We need a venue", user_id="u-1", confirm=True))["demand_id"]
    for number, said in enumerate(answers, start=1):
        await until_demand(client, demand_id, lambda detail, number=number: len(detail["proposals"]) >= number)
        assert (await feedback(client, demand_id, number, user_id="u-1", **said)).status == 201
    return await until_ended(client, demand_id)


async def test_with_confirm_the_users_yes_is_waited_for(start):
    """
    The agents' yes alone is no agreement.
    """
    detail = await confirmed(start, {"decision": "accept"})
    assert detail["status"] == "finalized"
    assert {each["by"] for each in detail["proposals"][0]["feedback"]} == {"ann", "u-1"}


async def test_the_users_no_ends_a_demand_that_has_no_other_plan(start):
    """
    Nobody could step in.
    """
    detail = await confirmed(start, {"decision": "reject", "comment": "not there"})
    assert (detail["status"], detail["outcome"]["reason"]) == ("failed", "rejected_by_user")


async def test_the_users_new_budget_is_taken_into_account(start):
    """
    "budget $300" changes what is proposed, and the wish is told.
    """
    detail = await confirmed(start, {"decision": "revise", "comment": "budget $300"}, {"decision": "accept"})
    assert detail["status"] == "finalized"
    assert [each["total_price"] for each in detail["proposals"]] == [400, 300]
    assert detail["proposals"][1]["wishes"] == ["budget $300"]
    assert detail["requirements"] == {"budget": 300, "currency": "USD"}


async def test_without_the_users_word_nothing_is_agreed(start):
    """
    The time is up.
    """
    detail = await confirmed(start, feedback_timeout_seconds=0.3)
    assert (detail["status"], detail["outcome"]["reason"]) == ("failed", "not_confirmed")


async def test_a_user_who_is_not_asked_may_still_say_something(start):
    """
    Without `confirm` a user's revision, given before the last agent's yes, leads to another round.
    """
    client = await start()
    await register(client, VENUE)
    demand_id = (await submit(client, "We need a venue", user_id="u-1"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    await offer(client, demand_id, "ann", "venue", terms={"price": 400})
    detail = await until_phase(client, demand_id, "proposing")
    assert detail["waiting_for"] == ["ann"]
    assert (await feedback(client, demand_id, 1, "revise", user_id="u-1", comment="a stage, please")).status == 201
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ann")).status == 201
    detail = await until_demand(client, demand_id, lambda detail: detail["current_round"] == 2)
    assert detail["proposals"][1]["wishes"] == ["a stage, please"]


# Sub-negotiations

NEEDY = {
    "ann": Script("venue", price=100, needs=["security guards"]),
    "gus": Script("security guards", price=20, needs=["catering"]),
    "kim": Script("catering", price=5),
}


async def test_what_a_chosen_agent_needs_is_negotiated_and_folded_in(start):
    """
    Nested twice: each result is in the next proposal, and who has agreed is not asked again but told the outcome.
    """
    client = await start()
    detail = await negotiate(client, "We need a venue", NEEDY, VENUE, GUARD, COOK)
    root = detail["demand_id"]
    assert detail["status"] == "finalized"
    assert [(each["capability"], each["reason"], each["needed_by"]) for each in detail["gaps"]] == [
        ("security", "needed_by", "ann")
    ]
    [subnet] = detail["subnets"]
    assert (subnet["subnet_id"], subnet["outcome"]) == (f"{root}.1", "finalized")
    child, grandchild = await demand(client, f"{root}.1"), await demand(client, f"{root}.1.1")
    assert [(each["parent_demand_id"], each["depth"], each["status"]) for each in (child, grandchild)] == [
        (root, 1, "finalized"),
        (f"{root}.1", 2, "finalized"),
    ]
    [proposal] = detail["proposals"]
    assert parts_of(proposal) == {"ann": (["venue"], 100), "gus": (["security"], 20), "kim": (["catering"], 5)}
    assert {each["agent_id"]: each["subnet_id"] for each in proposal["assignments"]} == {
        "ann": None,
        "gus": f"{root}.1",
        "kim": f"{root}.1",
    }
    assert proposal["total_price"] == 125
    assert [each["by"] for each in proposal["feedback"]] == ["ann"]
    told = (await get(client, "/api/events?stream=agent:gus&type=towow.proposal.*&since_seq=0"))["events"]
    assert [(event["event_type"].rpartition(".")[2], event["payload"]["demand_id"]) for event in told] == [
        ("distributed", f"{root}.1"),
        ("finalized", f"{root}.1"),
        ("finalized", root),
    ]
    listed = (await get(client, f"/api/demand?parent={root}"))["demands"]
    assert [each["demand_id"] for each in listed] == [f"{root}.1"]
    assert [each["demand_id"] for each in (await get(client, "/api/demand"))["demands"]] == [root]


@pytest.mark.parametrize(("max_depth", "streams"), [(0, [""]), (1, ["", ".1"]), (2, ["", ".1", ".1.1"])])
async def test_sub_negotiations_go_no_deeper_than_the_setting(start, max_depth, streams):
    """
    Below that a gap is named and stays missing.
    """
    client = await start(max_depth=max_depth)
    detail = await negotiate(client, "We need a venue", NEEDY, VENUE, GUARD, COOK)
    stored = (await get(client, "/api/streams?kind=demand"))["streams"]
    assert [each["name"].removeprefix(f"demand:{detail['demand_id']}") for each in stored] == streams
    assert detail["status"] == "finalized"
    assert [each["capability"] for each in detail["gaps"]] == ["security"]
    assert detail["outcome"]["proposal"]["missing"] == ([] if max_depth else ["security"])


@pytest.mark.parametrize("max_subnets", [0, 1, 2])
async def test_a_demand_starts_no_more_sub_negotiations_than_the_setting(start, max_subnets):
    """
    All gaps are named, the first of them are negotiated, the rest stays missing.
    """
    client = await start(max_subnets=max_subnets)
    await register(client, VENUE)
    scripts = {"ann": Script("venue"), "ben": Script("technical talk"), "cat": Script("photography")}
    Players(client, scripts)
    # ann is slow: those who could serve the rest come before her offer, and after the search
    scripts["ann"].is_silent = True
    demand_id = (await submit(client, TEXT))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    await register(client, TALK, PHOTO)
    scripts["ann"].is_silent = False
    await offer(client, demand_id, "ann", "venue")
    detail = await until_ended(client, demand_id)
    assert detail["status"] == "finalized"
    assert [each["capability"] for each in detail["gaps"]] == ["technical_talk", "photography"]
    assert [(each["capability"], each["outcome"]) for each in detail["subnets"]] == [
        ("technical_talk", "finalized"),
        ("photography", "finalized"),
    ][:max_subnets]
    assert detail["outcome"]["proposal"]["missing"] == ["technical_talk", "photography"][max_subnets:]
    assert len(detail["outcome"]["proposal"]["assignments"]) == 1 + max_subnets
    last = (await history(client, demand_id))[-1]["payload"]
    assert last["is_complete"] is (max_subnets == 2)


async def waiting_in_depth(client):
    """
    A demand whose sub-negotiation's sub-negotiation waits for an agent that says nothing.
    """
    await register(client, VENUE, GUARD, COOK)
    Players(client, NEEDY | {"kim": Script(is_silent=True)})
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, f"{demand_id}.1.1", "collecting_offers")
    return demand_id


async def test_cancelling_a_demand_cancels_what_it_started(start):
    """
    Down to the last sub-negotiation, by the parent; nobody offers any more.
    """
    client = await start()
    demand_id = await waiting_in_depth(client)
    assert (await cancel(client, demand_id, reason="rain")).status == 200
    for name, by, reason in (
        ("", "user", "rain"),
        (".1", "parent", "parent_ended"),
        (".1.1", "parent", "parent_ended"),
    ):
        detail = await until_ended(client, demand_id + name)
        payload = (await history(client, demand_id + name))[-1]["payload"]
        assert (detail["status"], payload["by"], payload["reason"]) == ("cancelled", by, reason)
    await until(lambda: not working_tasks())
    told = (await get(client, "/api/events?stream=agent:kim&type=towow.*&since_seq=0"))["events"]
    assert [event["event_type"] for event in told] == ["towow.demand.broadcast", "towow.negotiation.cancelled"]


async def test_cancelling_a_sub_negotiation_leaves_its_gap(start):
    """
    The parent goes on without it.
    """
    client = await start()
    demand_id = await waiting_in_depth(client)
    assert (await cancel(client, f"{demand_id}.1")).status == 200
    detail = await until_ended(client, demand_id)
    assert detail["status"] == "finalized"
    assert (detail["subnets"][0]["outcome"], detail["outcome"]["proposal"]["missing"]) == ("cancelled", ["security"])
    assert (await until_ended(client, f"{demand_id}.1.1"))["status"] == "cancelled"


async def test_a_sub_negotiation_whose_time_is_up_is_cancelled_and_its_gap_stays(start):
    """
    The parent says timed_out, the child is told so, and the plan has something missing.
    """
    client = await start(subnet_timeout_seconds=0.4, max_depth=1)
    scripts = {"ann": NEEDY["ann"], "gus": Script(is_silent=True)}
    detail = await negotiate(client, "We need a venue", scripts, VENUE, GUARD)
    assert detail["status"] == "finalized"
    assert (detail["subnets"][0]["outcome"], detail["outcome"]["proposal"]["missing"]) == ("timed_out", ["security"])
    child = await demand(client, f"{detail['demand_id']}.1")
    assert (child["status"], child["outcome"]["reason"]) == ("cancelled", "timed_out")


@pytest.mark.parametrize("last", [("note", {}), ("towow.negotiation.failed", {}), ("towow.demand.understood", {})])
async def test_a_foreign_stream_in_the_place_of_a_sub_negotiation_does_not_hold_a_demand_up(start, last):
    """
    Whatever somebody has put there: the demand ends, with a reason.
    """
    client = await start(subnet_timeout_seconds=0.5, offer_timeout_seconds=0.5)
    await register(client, VENUE)
    demand_id = (await submit(client, "We need a venue and a photographer"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    assert (await publish_events(client, f"demand:{demand_id}.1", last)).status == 201
    await offer(client, demand_id, "ann", "venue")
    detail = await drive(client, demand_id, {"ann": Script("venue")})
    assert detail["outcome"]["reason"] or detail["status"] == "finalized"
    assert len(await types_of(client, demand_id)) < 15
    await until(lambda: not working_tasks())


# Restarts


async def left_understood(client, monkeypatch):
    """
    Killed before anybody was looked for.
    """
    monkeypatch.setattr(coordinator.Coordinator, "_take_up", lambda self, demand_id: None)
    return (await submit(client, TEXT))["demand_id"]


async def left_filtered(client, monkeypatch):
    """
    Somebody has recorded candidates, and no invitations.
    """
    demand_id = await left_understood(client, monkeypatch)
    found = [
        {"agent_id": each["agent_id"], "name": each["name"], "reason": f"{name}: {term}", "score": 0.1, "capabilities": [name]}
        for each, name, term in ((VENUE, "venue", "venue"), (TALK, "technical_talk", "technical talk"))
    ]
    assert (await publish_events(client, f"demand:{demand_id}", ("towow.filter.completed", {"candidates": found}))).status
    return demand_id


async def left_collecting(client, monkeypatch):
    """
    One of two has offered.
    """
    demand_id = (await submit(client, TEXT))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    assert (await offer(client, demand_id, "ann", "venue", content="gladly", terms={"price": 100})).status == 201
    return demand_id


async def left_filling_gaps(client, monkeypatch):
    """
    A sub-negotiation waits for an offer.
    """
    demand_id = await left_collecting(client, monkeypatch)
    await register(client, PHOTO)
    assert (await offer(client, demand_id, "ben", "technical talk", content="gladly", terms={"price": 50})).status == 201
    await until_phase(client, f"{demand_id}.1", "collecting_offers")
    return demand_id


async def left_proposing(client, monkeypatch):
    """
    A proposal has one answer of two.
    """
    demand_id = await left_collecting(client, monkeypatch)
    assert (await offer(client, demand_id, "ben", "technical talk", content="gladly", terms={"price": 50})).status == 201
    await until_phase(client, demand_id, "proposing")
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ann")).status == 201
    return demand_id


@pytest.mark.parametrize(
    "leave",
    [left_understood, left_filtered, left_collecting, left_filling_gaps, left_proposing],
    ids=lambda leave: leave.__name__,
)
async def test_a_negotiation_goes_on_where_it_was_after_a_restart(start, monkeypatch, leave):
    """
    In every phase: nothing is lost, nothing is done twice, nobody is told anything twice.
    """
    client = await start()
    await register(client, VENUE, TALK)
    with monkeypatch.context() as patch:
        demand_id = await leave(client, patch)
        before = await history(client, demand_id)
        await client.close()
    client = await start()
    assert await history(client, demand_id) == before or leave in (left_understood, left_filtered)
    scripts = {
        "ann": Script("venue", price=100),
        "ben": Script("technical talk", price=50),
        "cat": Script("photography", price=20),
    }
    detail = await drive(client, demand_id, scripts)
    assert detail["status"] == "finalized"
    is_filled = leave is left_filling_gaps
    assert detail["outcome"]["proposal"]["missing"] == ([] if is_filled else ["photography"])
    types = await types_of(client, demand_id)
    assert types == [
        *BEGUN,
        *["offer.submitted"] * 2,
        *("gap.identified", "subnet.triggered", "subnet.completed"),
        *("proposal.distributed", "proposal.feedback", "proposal.feedback", "proposal.finalized"),
    ]
    for agent_id in ("ann", "ben"):
        copies = (await get(client, f"/api/events?stream=agent:{agent_id}&type=towow.*&since_seq=0"))["events"]
        assert [event["event_type"] for event in copies] == [
            "towow.demand.broadcast",
            "towow.proposal.distributed",
            "towow.proposal.finalized",
        ]
    await until(lambda: not working_tasks())


async def test_what_a_cancelled_demand_started_is_cancelled_after_a_restart_too(start, monkeypatch):
    """
    Killed between the parent's end and its children's.
    """
    client = await start()
    demand_id = await waiting_in_depth(client)
    with monkeypatch.context() as patch:
        patch.setattr(coordinator.Coordinator, "_on_event", lambda self, event: None)
        await client.close()
        client = await start()
    await client.close()
    with monkeypatch.context() as patch:
        patch.setattr(coordinator.Coordinator, "_take_up", lambda self, demand_id: None)
        client = await start()
        assert (await cancel(client, demand_id)).status == 200
        await client.close()
    client = await start()
    for name in (".1", ".1.1"):
        assert (await until_ended(client, demand_id + name))["outcome"]["reason"] == "parent_ended"
    await until(lambda: not working_tasks())


SECONDS = {"offer_timeout_seconds": 90.0, "feedback_timeout_seconds": 40.0, "subnet_timeout_seconds": 50.0}


class TestDeadlines:
    """
    Deadlines count from the times of events, whoever was down meanwhile.
    """

    async def left(self, start, clock, leave, monkeypatch):
        """
        Leave a demand open and stop the server.
        """
        client = await start(clock, **SECONDS)
        await register(client, VENUE, TALK)
        demand_id = await leave(client, monkeypatch)
        await client.close()
        return demand_id

    @pytest.mark.parametrize(
        ("leave", "seconds"),
        [(left_collecting, 90.0), (left_proposing, 40.0), (left_filling_gaps, 50.0)],
        ids=lambda value: getattr(value, "__name__", None),
    )
    async def test_a_deadline_is_kept_across_a_restart(self, start, monkeypatch, clock, leave, seconds):
        """
        Not passed: the same deadline as before, and the demand waits. Passed: it goes on at once.
        """
        demand_id = await self.left(start, clock, leave, monkeypatch)
        begun = clock.now
        clock.now = begun + seconds - 0.02
        client = await start(clock)
        phase = (await demand(client, demand_id))["phase"]
        revision = len(await history(client, demand_id))
        await until(working_tasks)
        told = (await demand(client, demand_id))["deadline_at"]
        assert told == timestamp_of(begun + seconds)
        await client.close()
        clock.now = begun + seconds
        client = await start(clock)
        detail = await until_demand(client, demand_id, lambda detail: detail["phase"] != phase or detail["current_round"] > 1)
        assert len(await history(client, demand_id)) > revision
        if leave is left_collecting:
            assert [each["agent_id"] for each in detail["offers"]] == ["ann"]
        elif leave is left_proposing:
            later = await until_demand(client, demand_id, lambda detail: len(detail["proposals"]) == 2)
            assert {"by": "ben", "is_user": False, "decision": "silent", "comment": ""} in later["proposals"][1]["considered"]
        else:
            assert (detail["subnets"][0]["outcome"], detail["phase"]) == ("timed_out", "proposing")
            assert (await until_ended(client, f"{demand_id}.1"))["outcome"]["reason"] == "timed_out"

    async def test_a_clock_that_was_set_back_only_delays(self, start, monkeypatch, clock):
        """
        The demand waits for answers as before, and takes them.
        """
        demand_id = await self.left(start, clock, left_collecting, monkeypatch)
        clock.now -= 86_400.0
        client = await start(clock)
        scripts = {"ann": Script("venue"), "ben": Script("technical talk")}
        assert (await drive(client, demand_id, scripts))["status"] == "finalized"

    async def test_a_clock_that_was_set_forward_ends_the_waiting_at_the_next_event(self, start, monkeypatch, clock):
        """
        Who has answered takes part; nobody crashes.
        """
        client = await start(clock, **SECONDS)
        await register(client, VENUE, TALK)
        demand_id = await left_collecting(client, monkeypatch)
        clock.now += 86_400.0
        assert (await publish_events(client, f"demand:{demand_id}", ("towow.note", {}))).status == 201
        detail = await drive(client, demand_id, {"ann": Script("venue")})
        assert detail["status"] == "finalized"
        assert [each["agent_id"] for each in detail["outcome"]["proposal"]["assignments"]] == ["ann"]


# Sample agents


async def test_the_sample_agents_negotiate_by_themselves(start):
    """
    Offers, a revision and an agreement, each said to be written by the rules.
    """
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


async def test_sample_agents_go_on_after_a_restart(start):
    """
    What was due while nobody was there comes at the next start, once.
    """
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
    """
    None is silent because another one was faster.
    """
    client = await start(sample_agents=True, sample_delay_seconds=0.0, max_candidates=50)
    text = ", ".join(name for agent in SAMPLE_AGENTS for name in agent["capabilities"])
    demand_id = (await submit(client, f"We need {text}"))["demand_id"]
    detail = await until_demand(client, demand_id, lambda detail: detail["phase"] not in ("understood", "collecting_offers"))
    assert len(detail["candidates"]) > 25
    assert len(detail["offers"]) + len(detail["declined"]) == len(detail["candidates"])


async def test_an_external_agent_with_a_sample_agents_id_answers_for_itself(start):
    """
    Whether it registered before the invitation or took the name over while the sample agent was thinking.
    """
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
    """
    The one who has the name now answers.
    """
    client = await start(sample_agents=True, sample_delay_seconds=0.3)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    await register(client, VENUE | {"agent_id": "user_agent_bob"})
    await until(lambda: working_tasks() == [f"demand {demand_id}"])
    assert (await demand(client, demand_id))["offers"] == []
    assert (await offer(client, demand_id, "user_agent_bob", "venue")).status == 201


async def test_a_name_that_was_given_up_is_not_answered_for(start):
    """
    An external agent was invited under a sample agent's id, and left.
    """
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


# Faults


def refuse(log, monkeypatch, event_type, error, times):
    """
    Let appends that begin with this event type fail so many times; returns the list of refusals.
    """
    append, refused = log.append, []

    async def append_or_not(events):
        if events and events[0].event_type == event_type and len(refused) < times:
            refused.append(events)
            raise error
        return await append(events)

    monkeypatch.setattr(log, "append", append_or_not)
    return refused


@pytest.mark.parametrize("error", [StorageFull("no room"), Unavailable("locked")], ids=["full", "locked"])
@pytest.mark.parametrize(
    "event_type",
    ["towow.filter.completed", "towow.gap.identified", "towow.proposal.distributed", "towow.proposal.finalized"],
)
async def test_a_file_that_cannot_be_written_for_a_while_only_delays(start, monkeypatch, event_type, error):
    """
    At every step: the coordinator tries again until it can, and the negotiation comes to its end.
    """
    monkeypatch.setattr(coordinator, "_RETRY_SECONDS", (0.01, 0.02))
    client = await start()
    refused = refuse(client.app[LOG], monkeypatch, event_type, error, 2)
    scripts = {"ann": Script("venue")}
    detail = await negotiate(client, "We need a venue and a photographer", scripts, VENUE)
    assert len(refused) == 2
    assert detail["status"] == "finalized"
    types = await types_of(client, detail["demand_id"])
    assert len(types) == len([*BEGUN, "offer", "gap", "triggered", "completed", "distributed", "feedback", "finalized"])


@pytest.mark.parametrize("error", [StorageFull("no room"), Unavailable("locked")], ids=["full", "locked"])
async def test_a_sample_agents_answer_waits_for_the_file(start, monkeypatch, error):
    """
    It is not lost, and not said twice.
    """
    client = await start(sample_agents=True, sample_delay_seconds=0.0)
    refused = refuse(client.app[LOG], monkeypatch, "towow.offer.submitted", error, 1)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    detail = await until_ended(client, demand_id)
    assert (len(refused), detail["status"], len(detail["offers"])) == (1, "finalized", 1)


async def test_a_fault_of_ours_ends_the_demand_with_a_reason_also_when_the_file_is_full(start, monkeypatch):
    """
    The failure is recorded when there is room again.
    """
    monkeypatch.setattr(coordinator, "_RETRY_SECONDS", (0.01, 0.02))
    client = await start()

    def broken(*args, **options):
        raise LookupError("swordfish")

    monkeypatch.setattr(matching, "search_candidates", broken)
    refused = refuse(client.app[LOG], monkeypatch, "towow.negotiation.failed", StorageFull("no room"), 2)
    detail = await negotiate(client, "We need a venue", {}, VENUE)
    assert (len(refused), detail["outcome"]["reason"]) == (2, "internal_error")
    assert "swordfish" not in detail["outcome"]["message"]


async def test_a_fault_in_a_later_step_ends_the_demand_with_a_reason(start, monkeypatch):
    """
    The participants are told.
    """

    async def broken(*args, **options):
        raise LookupError("swordfish")

    monkeypatch.setattr(Author, "proposal", broken)
    client = await start()
    detail = await negotiate(client, "We need a venue", {"ann": Script("venue")}, VENUE)
    assert detail["outcome"]["reason"] == "internal_error"
    told = (await get(client, "/api/events?stream=agent:ann&type=towow.*&since_seq=0"))["events"]
    assert [event["event_type"] for event in told] == ["towow.demand.broadcast", "towow.negotiation.failed"]


async def test_a_sample_agent_that_breaks_is_only_silent(start, monkeypatch):
    """
    The others go on.
    """
    answer = sample_rules.answer_invitation

    def sometimes(invitation):
        if invitation["agent_id"] == "user_agent_bob":
            raise LookupError("swordfish")
        return answer(invitation)

    monkeypatch.setattr(sample_rules, "answer_invitation", sometimes)
    client = await start(sample_agents=True, sample_delay_seconds=0.0, offer_timeout_seconds=0.5)
    demand_id = (await submit(client, "We need a venue and a technical talk"))["demand_id"]
    detail = await until_ended(client, demand_id)
    assert detail["status"] == "finalized"
    assert "user_agent_bob" not in [each["agent_id"] for each in detail["offers"]]


async def test_a_text_that_was_written_is_not_written_again_for_a_lost_race(start, monkeypatch):
    """
    Somebody appends while the model writes; the same draft keeps its text.
    """
    client = await start()
    written = []
    write = Author.proposal
    demand_ids = []

    async def slow(self, *args):
        written.append(args)
        await publish_events(client, f"demand:{demand_ids[0]}", ("towow.note", {}))
        return await write(self, *args)

    monkeypatch.setattr(Author, "proposal", slow)
    await register(client, VENUE)
    demand_ids.append((await submit(client, "We need a venue"))["demand_id"])
    detail = await drive(client, demand_ids[0], {"ann": Script("venue")})
    assert detail["status"] == "finalized"
    assert len(written) == 1


async def test_a_demand_is_taken_up_again_in_the_moment_in_which_its_work_ends(client):
    """
    Between a task's end and the word of it, something may have happened.
    """
    [made] = [each for each in find(coordinator.Coordinator) if each._log is client.app[LOG]]
    made._take_up("d-1")
    first = made._work["d-1"].task
    async with asyncio.timeout(3):
        while not first.done():
            await asyncio.sleep(0)
        assert made._work["d-1"].task is first  # the moment
        made._take_up("d-1")
        assert made._work["d-1"].task is not first
    await until(lambda: made.open_demands == 0)


def find(kind):
    """
    The living objects of a class.
    """
    return [each for each in gc.get_objects() if isinstance(each, kind)]


async def test_stopping_leaves_nothing_behind(start):
    """
    No task of an open demand outlives the application.
    """
    client = await start(sample_agents=True, sample_delay_seconds=600.0)
    for n in range(5):
        await submit(client, f"We need a venue and a technical talk, {n}")
    await until(lambda: len(working_tasks()) > 10)
    await client.close()
    assert not working_tasks()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("bus", "coordinator"))]


# Garbage

KEYS = {
    "filter.completed": ("candidates",),
    "demand.broadcast": ("agent_ids", "offers_within_seconds"),
    "offer.submitted": ("agent_id", "offer"),
    "offer.declined": ("agent_id", "reason"),
    "gap.identified": ("capability", "gap", "reason", "needed_by", "round"),
    "subnet.triggered": ("subnet_id", "capability", "within_seconds"),
    "subnet.completed": ("subnet_id", "outcome", "assignments", "reason"),
    "proposal.distributed": (
        *("proposal_id", "round", "assignments", "missing", "total_price", "currency", "requirements", "wishes"),
        *("considered", "summary", "feedback_within_seconds"),
    ),
    "proposal.feedback": ("agent_id", "user_id", "proposal_id", "decision", "comment", "terms", "round"),
    "demand.understood": ("capabilities", "raw_input", "language", "requirements", "parent_demand_id", "depth"),
    "something.else": ("x",),
}


def garbage(random, demand_id):
    """
    An event that looks like one of a negotiation, with any values.
    """

    def value(depth=3):
        plain = [
            *(None, True, 0, 1, -1, 2.5, 1e308, 9_007_199_254_740_993, "", " ", "\u3000", "not an id", "场地" * 200),
            *("ann", "ben", "venue", "photography", "accept", "revise", "reject", "finalized", "2026-01-01", "USD", "zh"),
            *(demand_id, f"{demand_id}.1", f"{demand_id}.9", f"{demand_id}.x y", f"{demand_id}.1.1", f"{demand_id}-p1"),
        ]
        if depth == 0 or random.random() < 0.5:
            return random.choice(plain)
        if random.random() < 0.4:
            return [value(depth - 1) for _ in range(random.randrange(4))]
        names = ("agent_id", "capabilities", "needs", "terms", "price", "content", "conditions", "name", "capability", "score")
        return {name: value(depth - 1) for name in random.sample(names, random.randrange(1, 7))}

    name = random.choice(list(KEYS))
    return f"towow.{name}", {key: value() for key in KEYS[name] if random.random() < 0.8}


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_appended_to_its_stream_a_negotiation_ends(start, clock, seed):
    """
    No crash, no loop: with time it comes to an end, also across a restart, and its events stay few.
    """
    random = randomness.Random(seed)
    client = await start(clock, max_rounds=3)
    await register(client, VENUE, TALK, GUARD)
    demand_id = (await submit(client, "We need a venue, a technical talk and a photographer"))["demand_id"]
    scripts = {"ann": Script("venue", price=10, needs=["security guards"]), "ben": Script("technical talk")}
    appended = 0

    async def step():
        detail = await demand(client, demand_id)
        for agent_id in detail["waiting_for"]:
            if agent_id in scripts and random.random() < 0.5:
                given = {"agent_id": agent_id, **scripts[agent_id].invited()}
                await client.post(f"/api/demand/{demand_id}/offers", json=given)
                await feedback(client, demand_id, detail["current_round"], "accept", agent_id=agent_id)
        return detail["status"] != "processing"

    for _ in range(40):
        answer = await publish_events(client, f"demand:{demand_id}", garbage(random, demand_id))
        appended += answer.status == 201
        if await step():
            break
    await client.close()
    client = await start(clock, max_rounds=3)
    async with asyncio.timeout(20):
        while not await step():
            clock.now += 100_000.0  # nobody waits longer than a day
            await publish_events(client, f"demand:{demand_id}", ("towow.note", {}))
            appended += 1
            await asyncio.sleep(0.005)
    detail = await demand(client, demand_id)
    assert detail["outcome"]["event_type"].startswith("towow.")
    assert len(await history(client, demand_id)) - appended < 60
    await until(lambda: not [name for name in working_tasks() if name == f"demand {demand_id}"])


async def test_a_blank_need_is_no_gap_for_ever(start):
    """
    What cannot be named is not negotiated.
    """
    client = await start()
    await register(client, VENUE)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    blank = {"agent_id": "ann", "offer": {"content": "x", "capabilities": ["venue"], "needs": [" ", "\u3000"]}}
    assert (await publish_events(client, f"demand:{demand_id}", ("towow.offer.submitted", blank))).status == 201
    detail = await until_phase(client, demand_id, "proposing")
    assert detail["gaps"] == []
    assert (await decline(client, demand_id, "ann")).status == 409


async def test_a_result_that_names_no_agent_does_not_keep_a_demand_from_ending(start):
    """
    Copies go to streams of agents only.
    """
    client = await start()
    await register(client, VENUE)
    demand_id = (await submit(client, "We need a venue and a photographer"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    bad = {"agent_id": "not an id", "capabilities": ["photography"]}
    answer = await publish_events(
        client,
        f"demand:{demand_id}",
        ("towow.gap.identified", {"capability": "photography"}),
        ("towow.subnet.triggered", {"subnet_id": f"{demand_id}.7", "capability": "photography"}),
        ("towow.subnet.completed", {"subnet_id": f"{demand_id}.7", "outcome": "finalized", "assignments": [bad]}),
    )
    assert answer.status == 201
    assert (await until_ended(client, demand_id))["outcome"]["reason"] == "no_offers"


async def test_ten_agents_with_long_wishes_still_agree(start):
    """
    Every comment is as long as it may be, four times; the proposal stays a small event.
    """
    names = (
        *("venue", "technical talk", "photography", "catering", "translation"),
        *("graphic design", "live music", "emcee", "transport", "security guards"),
    )
    long = "场" * (MAX_COMMENT_CHARACTERS - 1)
    says = [*({"decision": "revise", "comment": long + str(n)} for n in range(4)), "accept"]
    agents = [{"agent_id": f"a{n}", "name": f"A{n}", "capabilities": [name]} for n, name in enumerate(names)]
    scripts = {f"a{n}": Script(name, says=says) for n, name in enumerate(names)}
    client = await start(max_rounds=5)
    detail = await negotiate(client, "We need a " + ", a ".join(names), scripts, *agents)
    assert (detail["status"], detail["current_round"]) == ("finalized", 5)
