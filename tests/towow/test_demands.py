"""The Python client's calls of a negotiation, over the real application: both sides of it, and answers that get lost."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from server.config import Config
from tests.support import changed
from tests.towow.network import Network
from towow import Client, Unreachable
from towow.errors import Conflict, Forbidden, InvalidBody, NotFound, StreamEnded
from towow.events import Event


@pytest.fixture
async def real(serve: Any, rotating: Config) -> Any:
    """The real server, without sub-negotiations."""
    return await serve(changed(rotating, "demands", max_depth=0))


async def take(events: Any, event_type: str) -> Event:
    """The next event of this type that an agent is told."""
    async with asyncio.timeout(5):
        async for event in events:
            assert isinstance(event, Event)
            if event.event_type == event_type:
                return event
    raise AssertionError(f"the stream ended without {event_type}")


INVITATION, PROPOSAL, AGREED = "towow.demand.broadcast", "towow.proposal.distributed", "towow.proposal.finalized"


async def open_demand(client: Client, **options: Any) -> str:
    """A demand to which Ann (venue) and Ben (speaker) are invited; its id."""
    await client.register_agent("ann", "Ann", ["venue"], "A hall.")
    await client.register_agent("ben", "Ben", ["speaker"])
    answer = await client.submit_demand("We need a venue and a speaker", "cleo", **options)
    demand_id = answer.demand_id
    async with aclosing(client.follow_agent("ann", start="beginning")) as events:
        while (await take(events, INVITATION)).payload["demand_id"] != demand_id:
            pass
    return demand_id


async def propose(client: Client, **options: Any) -> tuple[str, str]:
    """A demand with a first proposal in which Ann and Ben have a part; both ids."""
    demand_id = await open_demand(client, **options)
    await client.offer(demand_id, "ann", "A hall for forty", ["venue"], terms={"price": 300, "currency": "USD"})
    await client.offer(demand_id, "ben", "A talk", ["speaker"], terms={"price": 100, "currency": "USD"}, needs=[])
    async with aclosing(client.follow_agent("ann", start="beginning")) as events:
        return demand_id, (await take(events, PROPOSAL)).payload["proposal_id"]


async def types_of(client: Client, demand_id: str) -> list[str]:
    """What was stored for a demand."""
    page = await client.read(f"demand:{demand_id}", since_seq=0, limit=100)
    return [event.event_type.removeprefix("towow.") for event in page.events]


async def test_a_negotiation_goes_through_the_client_from_both_sides(towow: Client) -> None:
    """Invitation, offers, a refusal, a revision, a second round, the user's own yes: every call once."""
    await towow.register_agent("carl", "Carl", ["venue"])
    ann, ben = towow.follow_agent("ann", start="beginning"), towow.follow_agent("ben", start="beginning")
    demand_id = await open_demand(towow, confirm=True)
    async with aclosing(ann), aclosing(ben):
        invitation = (await take(ann, INVITATION)).payload
        assert (invitation["demand_id"], invitation["agent_id"]) == (demand_id, "ann")
        answer = await towow.offer(demand_id, "ann", "A hall", ["venue"], terms={"price": 300, "currency": "USD"})
        assert (answer.demand_id, answer.status, answer.current_round) == (demand_id, "processing", 1)
        assert (await towow.get_event(answer.seq)).payload["offer"]["terms"] == {"price": 300, "currency": "USD"}
        await take(ben, INVITATION)
        await towow.offer(demand_id, "ben", "A talk", ["speaker"], needs=["a microphone"])
        await towow.decline(demand_id, "carl", "closed on Sundays")
        first = (await take(ben, PROPOSAL)).payload
        revision = {"comment": "not for less", "terms": {"price": 150, "currency": "USD"}}
        await towow.feedback(demand_id, first["proposal_id"], "revise", agent_id="ben", **revision)
        await towow.feedback(demand_id, first["proposal_id"], "accept", agent_id="ann")
        await towow.feedback(demand_id, first["proposal_id"], "accept", user_id="cleo", comment="fine")
        second = (await take(ben, PROPOSAL)).payload
        assert second["assignment"]["terms"]["price"] == 150
        for agent_id in ("ann", "ben"):
            await towow.feedback(demand_id, second["proposal_id"], "accept", agent_id=agent_id)
        await towow.feedback(demand_id, second["proposal_id"], "accept", user_id="cleo")
        assert (await take(ann, AGREED)).payload["proposal_id"] == second["proposal_id"]
    told = await towow.demand(demand_id)
    assert (told.status, told.confirm, len(told.proposals)) == ("finalized", True, 2)
    assert [(each.agent_id, each.needs) for each in told.offers] == [("ann", []), ("ben", ["a microphone"])]
    assert [(each.agent_id, each.reason) for each in told.declined] == [("carl", "closed on Sundays")]


Call = Callable[[Client, str, str], Awaitable[Any]]


def _offer(client: Client, demand_id: str, _: str) -> Awaitable[Any]:
    return client.offer(demand_id, "ann", "A hall", ["venue"], terms={"price": 300.5}, needs=["a key"])


def _decline(client: Client, demand_id: str, _: str) -> Awaitable[Any]:
    return client.decline(demand_id, "ann")


def _accept(client: Client, demand_id: str, proposal_id: str) -> Awaitable[Any]:
    return client.feedback(demand_id, proposal_id, "accept", agent_id="ann")


def _wish(client: Client, demand_id: str, proposal_id: str) -> Awaitable[Any]:
    return client.feedback(demand_id, proposal_id, "revise", user_id="cleo", comment="with a stage")


def _cancel(client: Client, demand_id: str, _: str) -> Awaitable[Any]:
    return client.cancel_demand(demand_id, "found one", "cleo")


@pytest.mark.parametrize(
    ("begin", "call", "event_type"),
    [
        pytest.param(open_demand, _offer, "offer.submitted", id="offer"),
        pytest.param(open_demand, _decline, "offer.declined", id="decline"),
        pytest.param(propose, _accept, "proposal.feedback", id="feedback"),
        pytest.param(propose, _wish, "proposal.feedback", id="the user's feedback"),
        pytest.param(open_demand, _cancel, "negotiation.cancelled", id="cancel"),
    ],
)
async def test_a_lost_answer_is_asked_for_again_and_nothing_is_said_twice(
    towow: Client, network: Network, begin: Any, call: Call, event_type: str
) -> None:
    """The same bytes again; the caller sees one answer, the log one event."""
    begun = await begin(towow)
    demand_id, proposal_id = (begun, "") if isinstance(begun, str) else begun
    sent = len(network.bodies)
    network.answers_to_lose = 2
    answer = await call(towow, demand_id, proposal_id)
    assert len(network.bodies) == sent + 3
    assert len(set(network.bodies[sent:])) == 1
    assert (await types_of(towow, demand_id)).count(event_type) == 1
    assert (await towow.get_event(answer.seq)).event_type == f"towow.{event_type}"
    assert await call(towow, demand_id, proposal_id) == answer


async def test_an_agent_that_registers_again_is_the_same_agent(towow: Client, network: Network) -> None:
    """Also when the first answer was lost; a change is a change."""
    network.answers_to_lose = 1
    first = await towow.register_agent("ann", "Ann", ("venue",), "A hall.")
    assert (first.agent_id, first.name, first.capabilities, first.description) == ("ann", "Ann", ["venue"], "A hall.")
    assert (await towow.register_agent("ann", "Ann", ["venue"], "A hall.")).registered_at == first.registered_at
    changed = await towow.register_agent("ann", "Ann", ["venue", "catering"])
    assert changed.capabilities == ["venue", "catering"]
    assert [event.revision for event in (await towow.read("agent:ann", since_seq=0)).events] == [1, 2]


async def test_a_demand_whose_answer_is_lost_is_not_submitted_again(towow: Client, network: Network) -> None:
    """It has no key by which the server would know it."""
    network.answers_to_lose = 1
    with pytest.raises(Unreachable) as caught:
        await towow.submit_demand("We need a venue")
    assert caught.value.was_sent
    assert network.posts == ["/api/demand/submit"]
    assert json.loads(network.bodies[0]) == {"raw_input": "We need a venue"}


async def test_refusals_say_where_the_negotiation_is(towow: Client, network: Network) -> None:
    """Each by its class, at once, with the phase in its details."""
    demand_id, proposal_id = await propose(towow)
    position = {"phase": "proposing", "current_round": 1}
    refused: list[tuple[type[Exception], Awaitable[Any]]] = [
        (NotFound, towow.offer("d-none", "ann", "x", ["venue"])),
        (NotFound, towow.feedback(demand_id, f"{demand_id}-p9", "accept", agent_id="ann")),
        (NotFound, towow.demand("d-none")),
        (NotFound, towow.cancel_demand("d-none")),
        (Forbidden, towow.offer(demand_id, "eve", "x", ["venue"])),
        (Forbidden, towow.decline(demand_id, "eve")),
        (Forbidden, towow.feedback(demand_id, proposal_id, "accept", agent_id="eve")),
        (Forbidden, towow.feedback(demand_id, proposal_id, "accept", user_id="eve")),
        (Forbidden, towow.cancel_demand(demand_id, user_id="eve")),
        (Conflict, towow.offer(demand_id, "ann", "another one", ["venue"])),
        (Conflict, towow.decline(demand_id, "ann")),
        (InvalidBody, towow.feedback(demand_id, proposal_id, "revise", agent_id="ann")),
        (InvalidBody, towow.feedback(demand_id, proposal_id, "accept")),
    ]
    sent = len(network.requests)
    for kind, call in refused:
        with pytest.raises(kind) as caught:
            await call
        details = getattr(caught.value, "details", {})
        if kind in (Forbidden, Conflict):
            assert {key: details[key] for key in position} == position
    assert len(network.requests) == sent + len(refused)
    ended = await towow.cancel_demand(demand_id, "found one")
    assert (ended.status, ended.phase) == ("cancelled", "cancelled")
    outcome = (await towow.demand(demand_id)).outcome
    assert outcome is not None
    assert outcome.reason == "found one"
    with pytest.raises((Conflict, StreamEnded)) as caught:
        await towow.feedback(demand_id, proposal_id, "accept", agent_id="ben")
    assert caught.value.details["phase"] == "cancelled"


@pytest.mark.parametrize("terms", [{"price": float("nan")}, {"price": float("inf")}, {"x": "\ud800"}])
async def test_terms_that_json_cannot_carry_are_not_sent(towow: Client, network: Network, terms: dict[str, Any]) -> None:
    """A price that is no number would arrive as none at all."""
    with pytest.raises(InvalidBody):
        await towow.offer("d-1", "ann", "x", ["venue"], terms=terms)
    with pytest.raises(InvalidBody):
        await towow.feedback("d-1", "d-1-p1", "revise", agent_id="ann", terms=terms)
    assert network.requests == []


async def test_ids_stay_in_their_segment_of_the_path(towow: Client, network: Network) -> None:
    """What a stranger calls itself is no path of its own."""
    name = "a/b?c#d"
    calls = [
        towow.demand(name),
        towow.offer(name, "ann", "x", ["venue"]),
        towow.decline(name, "ann"),
        towow.feedback(name, "p", "accept", agent_id="ann"),
        towow.cancel_demand(name),
        anext(towow.follow_agent(name)),
    ]
    for call in calls:
        with pytest.raises(Exception) as caught:
            await call
        assert getattr(caught.value, "details", {}).get("status") in (400, 404)
    paths = [path.removeprefix("/api/").replace("a%2Fb%3Fc%23d", "ID") for _, path in network.requests]
    assert paths == [
        "demand/ID",
        "demand/ID/offers",
        "demand/ID/offers",
        "demand/ID/feedback",
        "demand/ID/cancel",
        "agents/ID/events",
    ]


async def test_an_agent_is_told_what_concerns_it_once_and_goes_on_where_it_was(real: Any, towow: Client) -> None:
    """From the beginning, after a cursor, over rotated and cut connections; its registration is no message to it."""
    demands = [await open_demand(towow) for _ in range(5)]
    async with asyncio.timeout(10):
        async with aclosing(towow.follow_agent("ann", start="beginning")) as events:
            seen = [await anext(events) for _ in range(5)]
        assert [event.payload["demand_id"] for event in seen] == demands
        states: list[str] = []
        resumed = towow.follow_agent("ann", since_seq=seen[1].seq, on_state=lambda state, _: states.append(state))
        async with aclosing(resumed) as events:
            again = [await anext(events) for _ in range(3)]
            for connection in list(real.runner.server.connections):
                connection.transport.abort()
            demands.append(await open_demand(towow))
            newest = await anext(events)
    assert again == seen[2:]
    assert newest.payload["demand_id"] == demands[-1]
    assert "reconnecting" in states


async def test_an_agent_follows_from_now_on_unless_it_says_otherwise(towow: Client) -> None:
    """What was asked before it came is not for it."""
    await open_demand(towow)
    is_ready = asyncio.Event()
    events = towow.follow_agent("ann", on_state=lambda state, _: is_ready.set() if state == "ready" else None)
    async with asyncio.timeout(5), aclosing(events):
        waiting = asyncio.ensure_future(anext(events))
        await is_ready.wait()
        demand_id = await open_demand(towow)
        assert (await waiting).payload["demand_id"] == demand_id


async def test_following_an_agent_that_nobody_knows_is_an_error(towow: Client) -> None:
    """It is said at once: register first."""
    with pytest.raises(NotFound):
        await anext(towow.follow_agent("nobody"))
