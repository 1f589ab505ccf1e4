"""Taking part over HTTP: offers, refusals, feedback, cancelling, and an agent's own stream."""

import asyncio

import pytest

from server.app import LOG, make_app
from tests.support import assert_error, until
from tests.support.negotiations import (
    BOB,
    DAN,
    EVENING,
    PHOTO,
    TALK,
    VENUE,
    Players,
    Script,
    asked,
    assert_refused,
    cancel,
    cancelled,
    collecting,
    decline,
    demand,
    failed,
    feedback,
    filling_gaps,
    finalized,
    follow,
    get,
    history,
    negotiating,
    offer,
    proposing,
    register,
    second_round,
    stay_understood,
    submit,
    types_of,
    unchanged,
    until_demand,
    until_ended,
    until_phase,
)

PRICES = {"ann": 100, "ben": 200, "dan": 900}


@pytest.fixture
async def client(start):
    """The application with more patience than a test has."""
    return await start()


# Offers


async def test_an_offer_is_answered_with_its_place_and_shown(client):
    """Every field of the answer, of the event and of the demand."""
    await register(client, VENUE, TALK)
    demand_id = (await submit(client, EVENING))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    answer = await offer(
        client,
        demand_id,
        "ann",
        " venue ",
        "场地",
        "venue",
        content=" a hall\r\nwith a stage ",
        terms={"price": 12.5, "currency": "EUR", "stage": {"metres": [3, 4]}},
        needs=["security"],
    )
    assert answer.status == 201
    event = (await history(client, demand_id))[-1]
    assert await answer.json() == {
        "demand_id": demand_id,
        "by": "ann",
        "seq": event["seq"],
        "status": "processing",
        "phase": "collecting_offers",
        "current_round": 1,
    }
    said = {
        "content": "a hall\nwith a stage",
        "capabilities": ["venue", "场地"],
        "terms": {"price": 12.5, "currency": "EUR", "stage": {"metres": [3, 4]}},
        "needs": ["security"],
    }
    assert (event["event_type"], event["source"]) == ("towow.offer.submitted", "towow")
    assert event["payload"] == {
        "demand_id": demand_id,
        "channel_id": "collab-" + demand_id.removeprefix("d-"),
        "agent_id": "ann",
        "name": "Ann",
        "offer": said,
    }
    detail = await demand(client, demand_id)
    place = {"written_by": None, "seq": event["seq"], "timestamp": event["timestamp"]}
    assert detail["offers"] == [{"agent_id": "ann", "name": "Ann", **said, **place}]
    assert detail["waiting_for"] == ["ben"]


async def test_a_refusal_is_answered_with_its_place_and_shown(client):
    """The reason is optional, and nobody waits for who has declined."""
    await register(client, VENUE, TALK, DAN)
    demand_id = (await submit(client, EVENING))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    answer = await decline(client, demand_id, "dan", " too far ")
    assert answer.status == 201
    event = (await history(client, demand_id))[-1]
    assert await answer.json() == {
        "demand_id": demand_id,
        "by": "dan",
        "seq": event["seq"],
        "status": "processing",
        "phase": "collecting_offers",
        "current_round": 1,
    }
    assert event["event_type"] == "towow.offer.declined"
    assert event["payload"].items() >= {"agent_id": "dan", "name": "Dan", "reason": "too far"}.items()
    assert (await decline(client, demand_id, "ann")).status == 201
    detail = await demand(client, demand_id)
    assert [(each["agent_id"], each["reason"]) for each in detail["declined"]] == [("dan", "too far"), ("ann", "")]
    assert detail["declined"][0].items() >= {"seq": event["seq"], "timestamp": event["timestamp"]}.items()
    assert detail["waiting_for"] == ["ben"]


# Feedback


async def test_feedback_is_answered_with_its_place_and_shown(client):
    """Of an agent with terms, and of the user; the demand then waits for the others."""
    demand_id = await asked(client, confirm=True)
    assert (await demand(client, demand_id))["waiting_for"] == ["ann", "ben", "u-1"]
    fields = {"agent_id": "ann", "comment": " later ", "terms": {"price": 120}}
    by_agent = await feedback(client, demand_id, 1, "revise", **fields)
    by_user = await feedback(client, demand_id, 1, "accept", user_id="u-1")
    of_agent, of_user = (await history(client, demand_id))[-2:]
    for answer, by, event in ((by_agent, "ann", of_agent), (by_user, "u-1", of_user)):
        assert answer.status == 201
        assert await answer.json() == {
            "demand_id": demand_id,
            "by": by,
            "seq": event["seq"],
            "status": "processing",
            "phase": "proposing",
            "current_round": 1,
        }
        assert event["event_type"] == "towow.proposal.feedback"
    common = {"demand_id": demand_id, "channel_id": "collab-" + demand_id.removeprefix("d-")}
    common |= {"proposal_id": f"{demand_id}-p1", "round": 1}
    revised = {"decision": "revise", "comment": "later", "terms": {"price": 120}}
    accepted = {"decision": "accept", "comment": "", "terms": {}}
    assert of_agent["payload"] == {**common, "agent_id": "ann", "name": "Ann", **revised}
    assert of_user["payload"] == {**common, "user_id": "u-1", "name": "u-1", **accepted}
    detail = await demand(client, demand_id)
    assert detail["waiting_for"] == ["ben"]
    assert detail["proposals"][0]["feedback"] == [
        {"by": by, "is_user": is_user, "name": name, **said, "written_by": None}
        | {"seq": event["seq"], "timestamp": event["timestamp"]}
        for by, is_user, name, said, event in (
            ("ann", False, "Ann", revised, of_agent),
            ("u-1", True, "u-1", accepted, of_user),
        )
    ]


async def test_a_demand_in_negotiation_is_told_in_full(client):
    """The keys of `GET /api/demand/{demand_id}`, and a proposal with every field that its event has."""
    demand_id = await asked(client)
    detail = await demand(client, demand_id)
    [proposal] = detail["proposals"]
    event = (await history(client, demand_id))[-1]
    told = {key: event["payload"][key] for key in ("proposal_id", "round", "assignments", "missing", "total_price", "summary")}
    assert told["proposal_id"] == f"{demand_id}-p1"
    assert proposal.items() >= {**told, "seq": event["seq"], "timestamp": event["timestamp"], "feedback": []}.items()
    assert proposal["total_price"] == 300
    offers = {each["agent_id"]: each for each in detail["offers"]}
    assert proposal["assignments"] == [
        {
            "agent_id": agent_id,
            "name": name,
            "capabilities": [capability],
            "offer_seq": offers[agent_id]["seq"],
            "terms": {"price": PRICES[agent_id]},
            "offered_price": PRICES[agent_id],
            "conditions": [],
            "subnet_id": None,
        }
        for agent_id, name, capability in (("ann", "Ann", "venue"), ("ben", "Ben", "technical_talk"))
    ]
    empty = {"confirm": False, "gaps": [], "subnets": [], "outcome": None, "waiting_for": ["ann", "ben"]}
    assert detail.items() >= empty.items()
    assert detail["deadline_at"] > event["timestamp"]
    assert detail["raw_input"] == EVENING
    assert set(detail) == {
        *("demand_id", "channel_id", "status", "phase", "surface_demand", "user_id", "created_at", "updated_at"),
        *("current_round", "last_seq", "created_seq", "parent_demand_id", "depth", "understanding", "raw_input", "confirm"),
        *("requirements", "candidates", "offers", "declined", "waiting_for", "deadline_at", "proposals", "gaps", "subnets"),
        "outcome",
    }


# Cancelling


async def test_cancelling_ends_a_demand_once(client):
    """The first reason counts; asking again is answered alike; everybody who may count on it is told."""
    demand_id = await collecting(client)
    first = await cancel(client, demand_id, reason=" moved ", user_id="u-1")
    event = (await history(client, demand_id))[-1]
    assert first.status == 200
    assert await first.json() == {"demand_id": demand_id, "status": "cancelled", "phase": "cancelled", "seq": event["seq"]}
    assert event["event_type"] == "towow.negotiation.cancelled"
    assert event["payload"].items() >= {"reason": "moved", "by": "user"}.items()
    head_seq = client.app[LOG].head_seq
    again = await cancel(client, demand_id, reason="something else")
    assert (again.status, await again.json()) == (200, await first.json())
    assert client.app[LOG].head_seq == head_seq
    told = (await get(client, "/api/events?stream=agent:*&type=towow.negotiation.cancelled&since_seq=0"))["events"]
    assert sorted(each["stream"] for each in told) == ["agent:ann", "agent:ben", "agent:dan"]
    assert (await demand(client, demand_id))["outcome"] == {
        "event_type": "towow.negotiation.cancelled",
        "reason": "moved",
        "message": "",
        "proposal": None,
        "seq": event["seq"],
        "timestamp": event["timestamp"],
    }


async def test_a_demand_may_be_cancelled_without_a_word(client):
    """Neither a reason nor a user is needed."""
    demand_id = await asked(client)
    assert (await cancel(client, demand_id)).status == 200
    assert (await demand(client, demand_id))["outcome"]["reason"] == "cancelled_by_user"


# Repeats


async def test_what_was_said_before_is_answered_with_its_first_place(client):
    """An agent that lost the answer asks again: 200, the first seq, nothing stored; also later and after the end."""

    async def say():
        yield await offer(client, demand_id, "ann", "venue", terms={"price": 100})
        yield await offer(client, demand_id, "ann", " venue", "venue", content="\nann does it ", terms={"price": 100}, needs=[])
        yield await decline(client, demand_id, "eve", "busy ")

    async def say_to_proposal():
        yield await feedback(client, demand_id, 1, "accept", agent_id="ann")
        yield await feedback(client, demand_id, 1, "accept", agent_id="ann", comment="  ", terms={})

    async def repeat(*conversations, phase):
        before = await unchanged(client, demand_id)
        answers = [await answer.json() for said in conversations async for answer in said() if answer.status == 200]
        assert await unchanged(client, demand_id) == before
        assert {answer["phase"] for answer in answers} == {phase}
        return [answer["seq"] for answer in answers]

    demand_id = await collecting(client)
    stored = {event["event_type"]: event["seq"] for event in await history(client, demand_id)}
    offered, declined = stored["towow.offer.submitted"], stored["towow.offer.declined"]
    assert await repeat(say, phase="collecting_offers") == [offered, offered, declined]
    await offer(client, demand_id, "ben", "technical talk", terms={"price": 200})
    await decline(client, demand_id, "dan")
    await until_phase(client, demand_id, "proposing")
    assert await repeat(say, phase="proposing") == [offered, offered, declined]
    accepted = (await (await feedback(client, demand_id, 1, "accept", agent_id="ann")).json())["seq"]
    assert await repeat(say_to_proposal, phase="proposing") == [accepted, accepted]
    await feedback(client, demand_id, 1, "revise", agent_id="ben", comment="a microphone, please")
    await until_demand(client, demand_id, lambda detail: detail["current_round"] == 2)
    assert await repeat(say_to_proposal, phase="proposing") == [accepted, accepted]
    await feedback(client, demand_id, 2, "accept", agent_id="ann")
    await feedback(client, demand_id, 2, "accept", agent_id="ben")
    await until_phase(client, demand_id, "finalized")
    assert await repeat(say, say_to_proposal, phase="finalized") == [offered, offered, declined, accepted, accepted]


# What the state does not allow


def offers(agent_id, content="something else"):
    """An offer of an agent, other words than it used before."""
    return lambda client, demand_id: offer(client, demand_id, agent_id, "venue", content=content)


def declines(agent_id, reason="something else"):
    """A refusal of an agent."""
    return lambda client, demand_id: decline(client, demand_id, agent_id, reason)


def answers(number, decision="accept", **fields):
    """Feedback to a round."""
    return lambda client, demand_id: feedback(client, demand_id, number, decision, **fields)


def cancels(**fields):
    """A cancellation."""
    return lambda client, demand_id: cancel(client, demand_id, **fields)


ANN, BEN, USER = {"agent_id": "ann"}, {"agent_id": "ben"}, {"user_id": "u-1"}
REFUSED = [
    (collecting, "a stranger offers", offers("zoe"), "forbidden", "agent_id"),
    (collecting, "a stranger declines", declines("zoe"), "forbidden", "agent_id"),
    (collecting, "another offer", offers("ann"), "conflict", None),
    (collecting, "an offer and then a refusal", declines("ann"), "conflict", None),
    (collecting, "a refusal and then an offer", offers("eve"), "conflict", None),
    (collecting, "another refusal", declines("eve"), "conflict", None),
    (collecting, "feedback before a proposal", answers(1, **ANN), "conflict", None),
    (collecting, "the user's feedback before a proposal", answers(1, **USER), "conflict", None),
    (collecting, "another user cancels", cancels(user_id="u-2"), "forbidden", "user_id"),
    (filling_gaps, "a stranger offers", offers("zoe"), "forbidden", "agent_id"),
    (filling_gaps, "somebody of the sub-negotiation offers", offers("ben"), "forbidden", "agent_id"),
    (filling_gaps, "another offer", offers("ann"), "conflict", None),
    (filling_gaps, "feedback before a proposal", answers(1, **ANN), "conflict", None),
    (proposing, "a stranger offers", offers("zoe"), "forbidden", "agent_id"),
    (proposing, "another offer", offers("ann"), "conflict", None),
    (proposing, "a refusal and then an offer", offers("eve"), "conflict", None),
    (proposing, "a stranger's feedback", answers(1, agent_id="zoe"), "forbidden", "agent_id"),
    (proposing, "feedback of somebody without a part", answers(1, agent_id="dan"), "forbidden", "agent_id"),
    (proposing, "feedback of who declined", answers(1, agent_id="eve"), "forbidden", "agent_id"),
    (proposing, "feedback of another user", answers(1, user_id="u-2"), "forbidden", "user_id"),
    (proposing, "an agent that calls itself the user", answers(1, user_id="ann"), "forbidden", "user_id"),
    (proposing, "a user that calls himself an agent", answers(1, agent_id="u-1"), "forbidden", "agent_id"),
    (proposing, "no such proposal", answers(9, **ANN), "not_found", "proposal_id"),
    (proposing, "another decision", answers(1, "reject", **ANN), "conflict", None),
    (proposing, "another comment", answers(1, **ANN, comment="gladly"), "conflict", None),
    (proposing, "other terms", answers(1, **ANN, terms={"price": 1}), "conflict", None),
    (proposing, "another user cancels", cancels(user_id="ann"), "forbidden", "user_id"),
    (second_round, "an old proposal, answered differently", answers(1, "reject", **BEN), "conflict", None),
    (second_round, "an old proposal, never answered", answers(1, **USER), "conflict", None),
    (finalized, "a stranger offers", offers("zoe"), "forbidden", "agent_id"),
    (finalized, "another offer", offers("ann"), "conflict", None),
    (finalized, "a refusal", declines("ben"), "conflict", None),
    (finalized, "another decision", answers(1, "reject", **ANN), "conflict", None),
    (finalized, "feedback that was never given", answers(1, **USER), "conflict", None),
    (finalized, "a stranger's feedback", answers(1, agent_id="zoe"), "forbidden", "agent_id"),
    (finalized, "no such proposal", answers(2, **ANN), "not_found", "proposal_id"),
    (finalized, "cancelling", cancels(), "conflict", None),
    (failed, "an offer", offers("ben"), "conflict", None),
    (failed, "a refusal", declines("ben"), "conflict", None),
    (failed, "feedback", answers(1, **ANN), "conflict", None),
    (failed, "cancelling", cancels(), "conflict", None),
    (cancelled, "an offer", offers("ben"), "conflict", None),
    (cancelled, "feedback", answers(1, **ANN), "conflict", None),
    (cancelled, "another user cancels", cancels(user_id="u-2"), "forbidden", "user_id"),
]
STATUSES = {"forbidden": 403, "not_found": 404, "conflict": 409}


@pytest.mark.parametrize("situation", dict.fromkeys(row[0] for row in REFUSED), ids=lambda situation: situation.__name__)
async def test_an_illegal_command_is_refused_with_the_state_and_leaves_the_log_untouched(client, situation):
    """403, 404 and 409 say phase, status and round; the head and the demand's rows are what they were."""
    demand_id = await situation(client)
    before = await unchanged(client, demand_id)
    for _, name, command, code, field in (row for row in REFUSED if row[0] is situation):
        error = await assert_refused(
            client, demand_id, await command(client, demand_id), code, status=STATUSES[code], field=field
        )
        assert await unchanged(client, demand_id) == before, name
        assert error["message"], name


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(offers("ann"), id="an offer"),
        pytest.param(declines("ann"), id="a refusal"),
        pytest.param(answers(1, **ANN), id="feedback"),
    ],
)
async def test_nobody_may_answer_before_the_invitations(client, monkeypatch, command):
    """409 with the phase, and the demand is as it was."""
    demand_id = await stay_understood(client, monkeypatch)
    before = await unchanged(client, demand_id)
    error = await assert_refused(client, demand_id, await command(client, demand_id), "conflict", status=409)
    assert error["phase"] == "understood"
    assert await unchanged(client, demand_id) == before


async def test_an_offer_after_its_time_is_refused(aiohttp_client, quiet_config):
    """Who was silent has no part; 409 with the phase that goes on without it, also when it ends."""
    client = await aiohttp_client(make_app(negotiating(quiet_config, offer_timeout_seconds=0.2)))
    await register(client, VENUE, DAN)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    await offer(client, demand_id, "ann", "venue")
    await until_phase(client, demand_id, "proposing")
    await assert_refused(client, demand_id, await offer(client, demand_id, "dan", "venue"), "conflict", status=409)
    await assert_refused(client, demand_id, await decline(client, demand_id, "dan"), "conflict", status=409)
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ann")).status == 201
    await until_phase(client, demand_id, "finalized")
    await assert_refused(client, demand_id, await offer(client, demand_id, "dan", "venue"), "conflict", status=409)


@pytest.mark.parametrize("action", ["offers", "feedback", "cancel"])
async def test_a_demand_that_is_not_there_is_404_and_one_that_cannot_be_is_400(client, action):
    """Also where a stream holds only notes; nothing is stored."""
    bodies = {
        "offers": {"agent_id": "ann", "content": "x", "capabilities": ["venue"]},
        "feedback": {"agent_id": "ann", "proposal_id": "x-p1", "decision": "accept"},
        "cancel": {},
    }
    note = {"stream": "demand:notes", "event_type": "note", "payload": {}}
    assert (await client.post("/api/events", json=note)).status == 201
    for demand_id in ("d-ffffffff", "notes"):
        answer = await client.post(f"/api/demand/{demand_id}/{action}", json=bodies[action])
        await assert_error(answer, "not_found", status=404, field="demand_id")
    answer = await client.post(f"/api/demand/{'x' * 128}/{action}", json=bodies[action])
    await assert_error(answer, "invalid_request", status=400)
    assert client.app[LOG].head_seq == 1


# At once


async def test_of_two_different_answers_of_one_agent_exactly_one_wins(client):
    """The other is refused with the state; what was acknowledged is what is stored."""
    await register(client, VENUE, DAN)
    for n in range(5):
        demand_id = (await submit(client, f"We need a venue, {n}"))["demand_id"]
        await until_phase(client, demand_id, "collecting_offers")
        contents = [f"hall {each}" for each in range(4)]
        answers = await asyncio.gather(
            *(offer(client, demand_id, "ann", "venue", content=content) for content in contents),
            decline(client, demand_id, "ann", "no"),
        )
        statuses = [answer.status for answer in answers]
        assert sorted(statuses) == [201, 409, 409, 409, 409]
        for answer in answers:
            if answer.status == 409:
                await assert_refused(client, demand_id, answer, "conflict", status=409)
        detail = await demand(client, demand_id)
        kept = [each["content"] for each in detail["offers"]] + [each["reason"] for each in detail["declined"]]
        assert kept == [[*contents, "no"][statuses.index(201)]]


async def test_the_same_answer_many_times_at_once_is_stored_once(client):
    """One 201, the others 200, all with the same place."""
    demand_id = await asked(client)
    answers = await asyncio.gather(*(feedback(client, demand_id, 1, "accept", agent_id="ann") for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert len({(await answer.json())["seq"] for answer in answers}) == 1
    assert (await types_of(client, demand_id)).count("proposal.feedback") == 1


async def test_fifty_agents_that_answer_at_once_are_all_heard(aiohttp_client, quiet_config):
    """As many as `max_candidates` allows: a race is lost only to somebody else's success. Revisions are dense."""
    client = await aiohttp_client(make_app(negotiating(quiet_config, max_candidates=50)))
    ids = [f"hall_{n:02}" for n in range(50)]
    await register(client, *(VENUE | {"agent_id": agent_id} for agent_id in ids))
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    answers = await asyncio.gather(*(offer(client, demand_id, agent_id, "venue") for agent_id in ids))
    assert [answer.status for answer in answers] == [201] * 50
    await until_phase(client, demand_id, "proposing")
    events = await history(client, demand_id)
    assert [event["revision"] for event in events] == list(range(1, 55))
    by_agent = {event["payload"]["agent_id"]: event["seq"] for event in events if "offer" in event["payload"]}
    assert by_agent == {(await answer.json())["by"]: (await answer.json())["seq"] for answer in answers}


# To the end


async def test_an_agreement_reads_the_same_before_and_after_a_restart(aiohttp_client, quiet_config):
    """Scenario 8: status, round and created_at are right and equal, unknown ids are 404, the stream ends, a reconnect gets
    204."""
    client = await aiohttp_client(make_app(quiet_config))
    demand_id = await second_round(client)
    watching = asyncio.create_task(follow(client, demand_id))
    await until(lambda: client.app[LOG].hub.follower_count == 1)
    for agent_id in ("ann", "ben"):
        assert (await feedback(client, demand_id, 2, "accept", agent_id=agent_id)).status == 201
    detail = await until_ended(client, demand_id)
    frames = await watching
    events = [frame.data for frame in frames if frame.event is None]
    paths = [
        f"/api/demand/{demand_id}",
        f"/api/demand/{demand_id}/status",
        f"/api/events/recent/{demand_id}?count=200",
        "/api/demand",
        "/api/agents/ann",
    ]
    before = [await get(client, path) for path in paths]
    assert before[0] == detail
    assert before[1] == {
        "demand_id": demand_id,
        "status": "finalized",
        "phase": "finalized",
        "current_round": 2,
        "last_seq": events[-1]["seq"],
    }
    assert detail["created_at"] == events[0]["timestamp"]
    assert before[2]["events"] == events
    assert frames[-1].data == {"reason": "towow.proposal.finalized", "last_seq": events[-1]["seq"]}
    assert detail["outcome"]["proposal"]["assignments"] == detail["proposals"][1]["assignments"]
    assert detail["waiting_for"] == []
    assert detail["deadline_at"] is None
    await client.close()
    client = await aiohttp_client(make_app(quiet_config))
    assert [await get(client, path) for path in paths] == before
    for cursor in (f"since_seq={events[-1]['seq']}", f"last_event_id={events[-1]['event_id']}"):
        assert (await client.get(f"/api/events/stream/{demand_id}?{cursor}")).status == 204
    for path in ("/api/demand/d-ffffffff", "/api/demand/d-ffffffff/status", "/api/events/stream/d-ffffffff"):
        await assert_error(await client.get(path), "not_found", status=404)
    assert await types_of(client, demand_id) == [
        *("demand.understood", "filter.completed", "demand.broadcast"),
        *("offer.submitted", "offer.declined", "offer.submitted", "offer.submitted"),
        *("proposal.distributed", "proposal.feedback", "proposal.feedback"),
        *("proposal.distributed", "proposal.feedback", "proposal.feedback", "proposal.finalized"),
    ]


async def test_agents_that_only_know_http_come_to_an_agreement(client):
    """Offers, a revision and an agreement, driven by nothing but the agents' own streams."""
    await register(client, VENUE, TALK, PHOTO, BOB)
    later = {"decision": "revise", "comment": "an hour later, please"}
    players = Players(
        client,
        {
            "ann": Script("venue", price=100),
            "ben": Script("technical talk", price=50, says=(later, "accept")),
            "cat": Script("photography", price=30),
            "user_agent_bob": Script(),
        },
    )
    demand_id = (await submit(client, "We need a venue, a technical talk and a photographer"))["demand_id"]
    detail = await until_ended(client, demand_id)
    assert (detail["status"], detail["current_round"]) == ("finalized", 2)
    assert {status for _, _, status in players.answers} == {201}
    assert detail["outcome"]["proposal"]["total_price"] == 180
    parts = {each["agent_id"]: each["conditions"] for each in detail["outcome"]["proposal"]["assignments"]}
    assert parts == {"ann": [], "ben": ["an hour later, please"], "cat": []}
    assert detail["proposals"][1]["considered"] == [
        {"by": by, "is_user": False, "decision": decision, "comment": comment}
        for by, decision, comment in (("ann", "accept", ""), ("ben", "revise", "an hour later, please"), ("cat", "accept", ""))
    ]
