"""The Python client's calls of sessions, over the real application: a chat, its hand-over and back, and lost answers."""

import asyncio

import pytest

from tests.support import until
from tests.towow.network import Network
from towow import Client
from towow.errors import Conflict, InvalidBody, InvalidRequest, NotFound


async def test_a_session_goes_through_the_client_from_all_sides(towow: Client) -> None:
    """A visitor, the bot, an operator: messages, the hand-over and back, the lists, and both streams."""
    states: list[str] = []
    queue = towow.follow_operator("o-7", on_state=lambda state, _: states.append(state))
    async with asyncio.timeout(10), queue:
        first = asyncio.ensure_future(anext(queue))
        await until(lambda: "ready" in states)
        said = await towow.message("alice", "user", "I want a human", message_id="m-1")
        assert (said.session_name, said.status, said.message_id) == ("alice", "bot", "m-1")
        assert (await towow.escalate("alice", "the visitor asked")).status == "waiting_agent"
        assert (await first).stream == "operator:queue"
        waiting = await towow.sessions("waiting_agent")
        assert [(each.session_name, each.reason) for each in waiting.sessions] == [("alice", "the visitor asked")]
        taken = await towow.takeover("alice", "o-7")
        assert (taken.status, taken.agent_id) == ("with_operator", "o-7")
        while (event := await anext(queue)).stream != "operator:o-7":
            pass
        assert event.event_type == "status_change"
    await towow.message("alice", "operator", "Hello!", agent_id="o-7")
    session = await towow.session("alice")
    assert (session.status, session.agent_id, session.messages) == ("with_operator", "o-7", 2)
    assert (await towow.sessions(before=session.created_seq)).sessions == []
    assert (await towow.sessions(agent_id="o-7")).sessions == (await towow.sessions(order="oldest")).sessions == [session]
    assert (await towow.release("alice", "o-7", close=True)).status == "closed"
    async with asyncio.timeout(5):
        events = [event async for event in towow.follow_session("alice")]
    assert [event.event_type for event in events if event.event_type == "new_message"] == ["new_message"] * 2
    assert events[-1].event_type == "session_closed"
    with pytest.raises(Conflict):
        await towow.message("alice", "user", "again")


async def test_a_lost_answer_is_asked_for_again_and_nothing_is_stored_twice(towow: Client, network: Network) -> None:
    """The message_id is chosen before the first try, and the other commands are true already."""
    network.answers_to_lose = 2
    await towow.message("alice", "user", "hello")
    for call in (
        lambda: towow.escalate("alice"),
        lambda: towow.takeover("alice", "o-7"),
        lambda: towow.release("alice", "o-7"),
    ):
        network.answers_to_lose = 1
        assert (await call()).success
    types = [event.event_type for event in (await towow.read("session:alice", since_seq=0)).events]
    assert types == ["new_message", "transfer_request", *["status_change"] * 3]


async def test_a_session_may_be_followed_before_its_first_message(towow: Client) -> None:
    """With `allow_pending`; without it is not found."""
    with pytest.raises(NotFound):
        await anext(towow.follow_session("alice"))
    async with asyncio.timeout(5), towow.follow_session("alice", allow_pending=True) as events:
        await towow.message("alice", "user", "hello")
        assert (await anext(events)).payload["content"] == "hello"


async def test_a_broadcast_reaches_its_followers(towow: Client) -> None:
    """With the source of the client."""
    sent = await towow.broadcast({"text": "closing soon"})
    event = await towow.get_event(sent.seq)
    assert (event.stream, event.event_type, event.source) == ("broadcast:all", "broadcast", "python-client")


async def test_refusals_are_raised_as_their_errors(towow: Client) -> None:
    """Each with its class; a conflict names the operator that has the session."""
    with pytest.raises(NotFound):
        await towow.session("alice")
    with pytest.raises(InvalidRequest):
        await towow.session("a:b")
    with pytest.raises(InvalidBody):
        await towow.message("alice", "operator", "who am I")
    await towow.escalate("alice")
    await towow.takeover("alice", "o-7")
    with pytest.raises(Conflict) as refused:
        await towow.takeover("alice", "o-8")
    assert refused.value.details["agent_id"] == "o-7"
