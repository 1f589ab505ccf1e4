"""Whole negotiations through the application: scripted agents answer over HTTP, the coordinator does the rest."""

import pytest

from tests.support import until
from tests.support.negotiations import (
    BEGUN,
    COOK,
    DAN,
    GUARD,
    NEEDY,
    PHOTO,
    TALK,
    TEXT,
    VENUE,
    Players,
    Script,
    cancel,
    demand,
    drive,
    feedback,
    get,
    history,
    negotiate,
    offer,
    publish_events,
    register,
    submit,
    types_of,
    until_demand,
    until_ended,
    until_phase,
    waiting_in_depth,
    working_tasks,
)


def parts_of(proposal):
    """Who does what at which price."""
    return {each["agent_id"]: (each["capabilities"], each["terms"].get("price")) for each in proposal["assignments"]}


# Rounds


async def test_agents_that_agree_need_one_round(start):
    """Every event once, in order; the plan names who accepted and that nothing is missing."""
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
    """What was asked for is in the agent's part, and everybody sees what was said."""
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
    """The cheaper agent is asked first; after its no it is never asked again."""
    client = await start()
    scripts = {"ann": Script("venue", price=100, says=("reject",)), "dan": Script("venue", price=300)}
    detail = await negotiate(client, "We need a venue", scripts, VENUE, DAN)
    assert [list(parts_of(each)) for each in detail["proposals"]] == [["ann"], ["dan"]]
    assert detail["status"] == "finalized"
    copies = (await get(client, "/api/events?stream=agent:ann&type=towow.proposal.*&since_seq=0"))["events"]
    assert [event["event_type"] for event in copies] == ["towow.proposal.distributed", "towow.proposal.finalized"]


async def test_when_all_decline_the_gap_is_named_and_the_demand_fails_with_a_reason(start):
    """A sub-negotiation asks others than those who declined; there is nobody."""
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
    """Who does not offer in time is not asked; who does not answer a proposal in time is left out of the next."""
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
    """No invitation, no gap: the message says what may help."""
    client = await start()
    detail = await negotiate(client, "I want a flying carpet", {})
    assert await types_of(client, detail["demand_id"]) == ["demand.understood", "filter.completed", "negotiation.failed"]
    assert detail["outcome"]["reason"] == "no_candidates"


async def test_rounds_have_an_end(start):
    """An agent that always wants more is not asked for ever."""
    client = await start(max_rounds=3)
    says = [{"decision": "revise", "comment": f"more, {n}", "terms": {"price": 100 + n}} for n in range(9)]
    detail = await negotiate(client, "We need a venue", {"ann": Script("venue", price=100, says=says)}, VENUE)
    assert (detail["outcome"]["reason"], detail["current_round"]) == ("rounds_exhausted", 3)
    assert len(detail["proposals"]) == 3


async def test_a_proposal_that_says_nothing_new_is_not_sent(start):
    """Asking for the same again is no agreement."""
    client = await start()
    says = ({"decision": "revise", "comment": "more"},)
    detail = await negotiate(client, "We need a venue", {"ann": Script("venue", says=says)}, VENUE)
    assert (detail["outcome"]["reason"], len(detail["proposals"])) == ("no_agreement", 2)


async def test_over_the_budget_less_is_proposed_until_somebody_insists(start):
    """First everybody is asked for less; when the prices that are insisted on do not fit, the demand fails."""
    client = await start()
    firm = {"decision": "revise", "terms": {"price": 900, "currency": "USD"}}
    scripts = {"ann": Script("venue", price=900, says=(firm,))}
    detail = await negotiate(client, "We need a venue, budget $500", scripts, VENUE)
    assert [each["total_price"] for each in detail["proposals"]] == [500]
    assert detail["outcome"]["reason"] == "over_budget"


async def test_who_takes_what_the_budget_allows_is_agreed_with(start):
    """The plan has what was proposed, and what was asked for."""
    client = await start()
    detail = await negotiate(client, "We need a venue, budget $500", {"ann": Script("venue", price=900)}, VENUE)
    [part] = detail["outcome"]["proposal"]["assignments"]
    assert (part["terms"]["price"], part["offered_price"]) == (500, 900)


# The user


async def confirmed(start, *answers, **options):
    """A demand that needs the user's yes, and what the user says to each round."""
    client = await start(**options)
    await register(client, VENUE)
    Players(client, {"ann": Script("venue", price=400)})
    demand_id = (await submit(client, "We need a venue", user_id="u-1", confirm=True))["demand_id"]
    for number, said in enumerate(answers, start=1):
        await until_demand(client, demand_id, lambda detail, number=number: len(detail["proposals"]) >= number)
        assert (await feedback(client, demand_id, number, user_id="u-1", **said)).status == 201
    return await until_ended(client, demand_id)


async def test_with_confirm_the_users_yes_is_waited_for(start):
    """The agents' yes alone is no agreement."""
    detail = await confirmed(start, {"decision": "accept"})
    assert detail["status"] == "finalized"
    assert {each["by"] for each in detail["proposals"][0]["feedback"]} == {"ann", "u-1"}


async def test_the_users_no_ends_a_demand_that_has_no_other_plan(start):
    """Nobody could step in."""
    detail = await confirmed(start, {"decision": "reject", "comment": "not there"})
    assert (detail["status"], detail["outcome"]["reason"]) == ("failed", "rejected_by_user")


async def test_the_users_new_budget_is_taken_into_account(start):
    """A wish for "budget $300" changes what is proposed, and the wish is told."""
    detail = await confirmed(start, {"decision": "revise", "comment": "budget $300"}, {"decision": "accept"})
    assert detail["status"] == "finalized"
    assert [each["total_price"] for each in detail["proposals"]] == [400, 300]
    assert detail["proposals"][1]["wishes"] == ["budget $300"]
    assert detail["requirements"] == {"budget": 300, "currency": "USD"}


async def test_without_the_users_word_nothing_is_agreed(start):
    """The time is up."""
    detail = await confirmed(start, feedback_timeout_seconds=0.3)
    assert (detail["status"], detail["outcome"]["reason"]) == ("failed", "not_confirmed")


async def test_a_user_who_is_not_asked_may_still_say_something(start):
    """Without `confirm` a user's revision, given before the last agent's yes, leads to another round."""
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


async def test_what_a_chosen_agent_needs_is_negotiated_and_folded_in(start):
    """Nested twice: each result is in the next proposal, and who has agreed is not asked again but told the outcome."""
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
    """Below that a gap is named and stays missing, also in the plan above."""
    client = await start(max_depth=max_depth)
    detail = await negotiate(client, "We need a venue", NEEDY, VENUE, GUARD, COOK)
    stored = (await get(client, "/api/streams?kind=demand"))["streams"]
    assert [each["name"].removeprefix(f"demand:{detail['demand_id']}") for each in stored] == streams
    assert detail["status"] == "finalized"
    assert [each["capability"] for each in detail["gaps"]] == ["security"]
    assert detail["outcome"]["proposal"]["missing"] == [["security"], ["catering"], []][max_depth]


@pytest.mark.parametrize("max_subnets", [0, 1, 2])
async def test_a_demand_starts_no_more_sub_negotiations_than_the_setting(start, max_subnets):
    """All gaps are named, the first of them are negotiated, the rest stays missing."""
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


async def test_cancelling_a_demand_cancels_what_it_started(start):
    """Down to the last sub-negotiation, by the parent; nobody offers any more."""
    client = await start()
    demand_id = await waiting_in_depth(client)
    assert (await cancel(client, demand_id, reason="rain")).status == 200
    for name, by, reason in (("", "user", "rain"), (".1", "parent", "parent_ended"), (".1.1", "parent", "parent_ended")):
        detail = await until_ended(client, demand_id + name)
        payload = (await history(client, demand_id + name))[-1]["payload"]
        assert (detail["status"], payload["by"], payload["reason"]) == ("cancelled", by, reason)
    await until(lambda: not working_tasks())
    told = (await get(client, "/api/events?stream=agent:kim&type=towow.*&since_seq=0"))["events"]
    assert [event["event_type"] for event in told] == ["towow.demand.broadcast", "towow.negotiation.cancelled"]


async def test_cancelling_a_sub_negotiation_leaves_its_gap(start):
    """The parent goes on without it."""
    client = await start()
    demand_id = await waiting_in_depth(client)
    assert (await cancel(client, f"{demand_id}.1")).status == 200
    detail = await until_ended(client, demand_id)
    assert detail["status"] == "finalized"
    assert (detail["subnets"][0]["outcome"], detail["outcome"]["proposal"]["missing"]) == ("cancelled", ["security"])
    assert (await until_ended(client, f"{demand_id}.1.1"))["status"] == "cancelled"


async def test_a_sub_negotiation_whose_time_is_up_is_cancelled_and_its_gap_stays(start):
    """The parent says timed_out and goes on, the child is told so at once, and the plan has something missing."""
    client = await start(subnet_timeout_seconds=0.4, max_depth=1)
    await register(client, VENUE, GUARD)
    players = {"ann": Script("venue", needs=["security guards"], says=(None,)), "gus": Script(is_silent=True)}
    Players(client, players)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    child = await until_ended(client, f"{demand_id}.1")
    assert (child["status"], child["outcome"]["reason"]) == ("cancelled", "timed_out")
    detail = await until_phase(client, demand_id, "proposing")  # ann has not answered
    assert detail["subnets"][0]["outcome"] == "timed_out"
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ann")).status == 201
    detail = await until_ended(client, demand_id)
    assert (detail["status"], detail["outcome"]["proposal"]["missing"]) == ("finalized", ["security"])


@pytest.mark.parametrize("last", [("note", {}), ("towow.negotiation.failed", {}), ("towow.demand.understood", {})])
async def test_a_foreign_stream_in_the_place_of_a_sub_negotiation_does_not_hold_a_demand_up(start, last):
    """Whatever somebody has put there: the demand ends, with a reason."""
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
