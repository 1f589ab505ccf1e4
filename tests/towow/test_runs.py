"""The Python client's calls of generations, over the real application: start, follow, look, stop, and come back after a
drop."""

import asyncio
import os

import pytest

from server.app import LOG
from server.surfaces.generations.commands import AppendChunk, CancelRun, CompleteRun, StartAgent
from tests.support import changed
from tests.support.negotiations import Clock
from tests.surfaces.generations.generating import LOOMI_AGENTS, NOVA_AGENTS, by_hand, tell, whole
from towow import Client, CursorLost, Retry, Unreachable
from towow.errors import Conflict, Gone, InvalidBody, NotFound, TooLarge, TooManyRequests
from towow.runs import CancelledRun

AGENT = NOVA_AGENTS[0]


@pytest.fixture
def clock():
    """A clock that the test sets."""
    return Clock()


@pytest.fixture
def nobody(quiet_config):
    """Nobody who carries out runs."""
    with by_hand():
        yield


@pytest.fixture
async def real(nobody, serve, rotating, clock):
    """The real server, in which two runs may be at once."""
    return await serve(changed(rotating, "generations", max_runs=2), clock=clock)


def text_of(events, agent=AGENT):
    """What an agent has written in these events."""
    chunks = [event.payload for event in events if event.event_type == "llm_chunk"]
    return "".join(chunk["content"] for chunk in chunks if chunk["agent"] == agent)


async def all_of(events):
    """Every event until the run ends."""
    async with asyncio.timeout(5):
        return [event async for event in events]


@pytest.mark.parametrize(("mode", "agents"), [("nova", NOVA_AGENTS), ("loomi", LOOMI_AGENTS)])
async def test_a_run_is_started_followed_to_its_end_and_looked_at(towow, real, mode, agents):
    """The pieces on the way and the text at the end are the same, over as many connections as it takes."""
    run = await towow.start_run("Write about tea", mode=mode, session_id="s-1", context={"tone": "warm"})
    assert (run.status, run.events_url) == ("running", f"/api/runs/{run.run_id}/events")
    run_id = run.run_id
    following = asyncio.create_task(all_of(towow.follow_run(run_id)))
    await tell(real, run_id, *whole(None, agents)[1:])
    events = await following
    assert [event.revision for event in events] == list(range(1, len(events) + 1))
    assert (events[0].event_type, events[-1].event_type) == ("run_started", "run_complete")
    assert {event.source for event in events[1:-1] if event.event_type == "agent_start"} == set(agents)
    told = await towow.run(run_id)
    assert (told.mode, told.session_id, told.context) == (mode, "s-1", {"tone": "warm"})
    assert (told.result, told.last_seq) == ("All of it.", events[-1].seq)
    for agent in told.agents:
        assert agent.text == text_of(events, agent.name) == f"{agent.name} says tea."


async def test_who_was_gone_comes_back_to_where_he_was(towow, real):
    """What was read before and what is read later are the whole, and nothing twice."""
    run_id = (await towow.start_run("tea")).run_id
    await tell(real, run_id, StartAgent(AGENT), AppendChunk(AGENT, "green", "a-model"))
    before = await all_of(towow.follow_run(run_id, live=False))
    await tell(real, run_id, AppendChunk(AGENT, " tea", "a-model"), CompleteRun("green tea"))
    rest = await all_of(towow.follow_run(run_id, since_seq=before[-1].seq))
    assert [event.revision for event in before + rest] == [1, 2, 3, 4, 5]
    assert text_of(before + rest) == "green tea"
    assert await all_of(towow.follow_run(run_id, since_seq=rest[-1].seq)) == []


async def test_a_start_whose_answer_is_lost_is_not_sent_again(towow, network):
    """It may have been taken: a second one would be a second run."""
    network.answers_to_lose = 1
    with pytest.raises(Unreachable):
        await towow.start_run("tea")
    assert network.posts == ["/novachat"]
    assert len((await towow.runs()).runs) == 1


async def test_a_cancel_whose_answer_is_lost_is_sent_again(towow, network):
    """The server says the same."""
    run_id = (await towow.start_run("tea")).run_id
    network.answers_to_lose = 2
    cancelled = await towow.cancel_run(run_id)
    assert cancelled == CancelledRun(True, run_id, "cancelled", 2)


async def test_a_run_that_has_ended_cannot_be_cancelled(towow, real):
    """The error says how it has ended."""
    run_id = (await towow.start_run("tea")).run_id
    await tell(real, run_id, CompleteRun("x"))
    with pytest.raises(Conflict) as refused:
        await towow.cancel_run(run_id)
    assert refused.value.details["run_status"] == "completed"


async def test_runs_are_listed_by_what_they_are(towow, real):
    """One page, newest first, and what comes after it."""
    first = (await towow.start_run("tea", session_id="s-1")).run_id
    await tell(real, first, CancelRun())
    second = (await towow.start_run("tea", mode="loomi")).run_id
    page = await towow.runs(limit=1)
    assert ([run.run_id for run in page.runs], page.has_more) == ([second], True)
    page = await towow.runs(before=page.runs[0].created_seq)
    assert ([run.run_id for run in page.runs], page.has_more) == ([first], False)
    for asked, found in (({"status": "cancelled"}, first), ({"mode": "loomi"}, second), ({"session_id": "s-1"}, first)):
        assert [run.run_id for run in (await towow.runs(**asked)).runs] == [found]
    assert page.model == await towow.model()


async def test_the_state_of_a_session_comes_and_goes(towow, clock):
    """Never there, there, gone."""
    with pytest.raises(NotFound):
        await towow.session_state("s-1")
    run_id = (await towow.start_run("tea", session_id="s-1")).run_id
    assert (await towow.session_state("s-1")).run_id == run_id
    clock.now += 3_600
    with pytest.raises(Gone) as gone:
        await towow.session_state("s-1")
    assert not isinstance(gone.value, CursorLost)


async def test_what_is_refused_is_raised(towow, real):
    """Each refusal as the error that it is; no run is started by it."""
    with pytest.raises(InvalidBody):
        await towow.start_run(" ")
    with pytest.raises(TooLarge):
        await towow.start_run("x" * 10_001)
    with pytest.raises(NotFound):
        await towow.run("r-none")
    with pytest.raises(NotFound):
        await all_of(towow.follow_run("r-none"))
    assert real.app[LOG].head_seq == 0


async def test_too_many_runs_are_said_to_who_starts_another(real):
    """After as much patience as the client has."""
    impatient = Retry(total_seconds=0.0, first_wait_seconds=0.001)
    token = os.environ.get("TOWOW_TEST_TOKEN")
    async with Client(str(real.make_url("")), token=token, retry=impatient) as client:
        for _ in range(2):
            await client.start_run("tea")
        with pytest.raises(TooManyRequests) as refused:
            await client.start_run("tea")
    assert refused.value.details["limit"] == 2
