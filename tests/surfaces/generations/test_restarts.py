"""Runs that a kill or a restart interrupts, and two server processes on one file of which one carries runs out."""

import asyncio
import contextlib

import aiohttp
import pytest

from server.app import PROJECTIONS, is_terminal, make_app
from server.surfaces.generations import commands, model, state
from tests.support import ServerProcess, check_file, open_log, until
from tests.support.generations import (
    LOOMI,
    NOVA,
    TASKS,
    begin,
    cancel,
    check_whole,
    follow,
    generating,
    of_type,
    payloads,
    run_of,
    stored,
    texts_of,
    types_of,
    until_ended,
    until_run,
)
from tests.support.upstream import Upstream, refuses, writes, writes_for_ever

OTHERS = NOVA[1:]
WHOLE = "It is whole now."


@pytest.fixture
async def upstream():
    """A model of which the first agent gets a text and the others get one that does not end."""
    async with Upstream() as upstream:
        upstream.otherwise(writes_for_ever(rate=100))
        upstream.when(TASKS[NOVA[0]], writes("Done early."))
        yield upstream


@contextlib.asynccontextmanager
async def session(server):
    """A client of a server process."""
    async with aiohttp.ClientSession(server.url) as client:
        yield client


def environment(upstream, **settings):
    """The settings of a server process with this upstream."""
    given = {
        "llm__base_url": upstream.url,
        "llm__model": "small",
        "llm__local": "false",
        "generations__retry_delay_seconds": "0.01",
        "negotiation__sample_agents": "false",
        **settings,
    }
    return {f"TOWOW__{name.upper()}": value for name, value in given.items()}


def is_under_way(run):
    """Whether the first agent has completed and the others are writing."""
    first, *others = run["agents"]
    return first["status"] == "completed" and all(agent["text"] for agent in others)


async def seen_until_under_way(client, run_id):
    """What a reader has who was there until the run was under way."""
    run = await until_run(client, run_id, is_under_way)
    seen = []
    async with client.get(f"/api/runs/{run_id}/events") as answer:
        async for event in stored(answer):
            seen.append(event)
            if event["seq"] >= run["last_seq"]:
                break
        answer.close()
    return seen


@pytest.mark.slow
async def test_a_kill_in_the_middle_ends_the_run_as_interrupted(tmp_path, upstream):
    """The default: at the next start the run has failed with that reason, and what was written can be read to its end."""
    with ServerProcess(tmp_path / "towow.db", environment=environment(upstream)) as server:
        async with session(server) as client:
            run_id = await begin(client)
            seen = await seen_until_under_way(client, run_id)
        server.kill()
        await until(lambda: upstream.open == 0)
        asked = len(upstream.asked)
        await asyncio.to_thread(server.start)
        async with session(server) as client:
            run = await until_ended(client, run_id)
            rest = await follow(client, run_id, since_seq=seen[-1]["seq"])
        assert (run["status"], run["reason"], run["resumes"]) == ("failed", "interrupted", 0)
        assert types_of(rest)[-1] == "run_failed"
        assert payloads(rest, "run_failed")[0]["agents_completed"] == [NOVA[0]]
        assert len(texts_of(seen + rest)) == 4
        check_whole(seen + rest, run)
        assert len(upstream.asked) == asked
    check_file(tmp_path / "towow.db")


@pytest.mark.slow
async def test_a_kill_in_the_middle_is_survived_with_resume(tmp_path, upstream):
    """Agents that were not complete begin again and their text with them; the others are not asked again."""
    with ServerProcess(tmp_path / "towow.db", environment=environment(upstream, generations__resume="true")) as server:
        async with session(server) as client:
            run_id = await begin(client)
            seen = await seen_until_under_way(client, run_id)
        server.kill()
        await until(lambda: upstream.open == 0)
        upstream.otherwise(writes(WHOLE))
        await asyncio.to_thread(server.start)
        async with session(server) as client:
            run = await until_ended(client, run_id)
            rest = await follow(client, run_id, since_seq=seen[-1]["seq"])
    assert (run["status"], run["partial"], run["resumes"]) == ("completed", False, 1)
    (resumed,) = payloads(rest, "run_resumed")
    assert (resumed["restarts"], resumed["resume_count"]) == (list(OTHERS), 1)
    assert texts_of(seen + rest) == {NOVA[0]: "Done early.", **dict.fromkeys(OTHERS, WHOLE)}
    check_whole(seen + rest, run)
    assert [len(upstream.asked_about(TASKS[agent])) for agent in NOVA] == [1, 2, 2, 2]
    check_file(tmp_path / "towow.db")


@pytest.fixture
def start(aiohttp_client, quiet_config, upstream):
    """Start the application on the test's file, again and again."""

    async def start(**options):
        return await aiohttp_client(make_app(generating(quiet_config, upstream, **options)))

    return start


@pytest.mark.parametrize("resume", [False, True])
async def test_a_shutdown_appends_nothing_and_the_next_start_decides(start, quiet_config, upstream, resume):
    """What is running stays running on disk."""
    client = await start(resume=resume)
    run_id = await begin(client)
    await until_run(client, run_id, is_under_way)
    await client.close()
    await until(lambda: upstream.open == 0)
    async with open_log(quiet_config, is_terminal=is_terminal, projections=PROJECTIONS) as log:
        from server.eventlog.selection import select

        events = (await log.read(select((f"run:{run_id}",)), 0)).events
        assert not [event for event in events if event.event_type in ("run_failed", "run_complete", "error")]
    upstream.otherwise(writes(WHOLE))
    client = await start(resume=resume)
    run = await until_ended(client, run_id)
    assert (run["status"], run["reason"]) == (("completed", None) if resume else ("failed", "interrupted"))
    check_whole(await follow(client, run_id), run)


async def test_a_run_is_resumed_three_times_and_no_more(start, upstream):
    """Something in it may be what stops the server."""
    client = await start(resume=True)
    run_id = await begin(client)
    for resumes in range(3):
        await until_run(client, run_id, lambda run, resumes=resumes: is_under_way(run) and run["resumes"] == resumes)
        await client.close()
        client = await start(resume=True)
    await until_run(client, run_id, lambda run: is_under_way(run) and run["resumes"] == 3)
    await client.close()
    client = await start(resume=True)
    run = await until_ended(client, run_id)
    assert (run["status"], run["reason"], run["resumes"]) == ("failed", "interrupted", 3)
    check_whole(await follow(client, run_id), run)


async def test_a_loomi_run_goes_on_at_the_stage_where_it_was(start, upstream):
    """What the stages before have written is given to those that begin again."""
    for agent in LOOMI[:2]:
        upstream.when(TASKS[agent], writes(f"text of {agent}"))
    client = await start(resume=True)
    run_id = await begin(client, "loomi")
    await until_run(client, run_id, lambda run: run["agents"][2]["text"])
    await client.close()
    upstream.otherwise(writes(WHOLE))
    client = await start(resume=True)
    run = await until_ended(client, run_id)
    assert (run["status"], run["result"], run["resumes"]) == ("completed", WHOLE, 1)
    assert [len(upstream.asked_about(TASKS[agent])) for agent in LOOMI] == [1, 1, 2, 1]
    again = upstream.asked_about(TASKS[LOOMI[2]])[-1].text
    assert all(f"text of {agent}" in again for agent in LOOMI[:2])
    check_whole(await follow(client, run_id), run)


async def test_an_agent_that_waits_to_try_again_is_begun_again(start, upstream):
    """With a count that begins anew."""
    upstream.otherwise(refuses(503))
    client = await start(resume=True, retry_delay_seconds=60.0)
    run_id = await begin(client)
    await until_run(
        client, run_id, lambda run: [agent["status"] for agent in run["agents"]] == ["completed"] + ["retrying"] * 3
    )
    await client.close()
    upstream.otherwise(writes(WHOLE))
    client = await start(resume=True)
    run = await until_ended(client, run_id)
    assert (run["status"], [agent["retries"] for agent in run["agents"]]) == ("completed", [0] * 4)
    check_whole(await follow(client, run_id), run)


@pytest.mark.parametrize("resume", [False, True])
async def test_a_run_that_had_only_been_asked_for_is_carried_out(start, quiet_config, upstream, resume):
    """Somebody has an answer that says it was started; nothing of it was interrupted."""
    upstream.otherwise(writes(WHOLE))
    asked = commands.StartRun("nova", "Write something", 60.0)
    async with open_log(quiet_config, is_terminal=is_terminal, projections=PROJECTIONS) as log:
        await log.append(model.decide(state.initial("r-early"), asked))
    client = await start(resume=resume)
    run = await until_ended(client, "r-early")
    assert (run["status"], run["resumes"]) == ("completed", 0)
    check_whole(await follow(client, "r-early"), run)


async def test_an_ended_run_is_left_alone_by_the_next_start(start, upstream):
    """Also when it failed."""
    upstream.otherwise(writes(WHOLE))
    client = await start()
    run_id = await begin(client)
    before = await until_ended(client, run_id)
    await client.close()
    client = await start(resume=True)
    assert await run_of(client, run_id) == before


# Two processes.


@contextlib.asynccontextmanager
async def two_servers(path, upstream, **settings):
    """Two processes on one file, the first of which carries runs out; each with a client."""
    given = environment(upstream, **settings)
    with ServerProcess(path, environment=given) as first, ServerProcess(path, environment=given) as second:
        async with session(first) as client_of_first, session(second) as client_of_second:
            yield first, client_of_first, client_of_second


@pytest.mark.slow
async def test_a_run_is_carried_out_once_whoever_took_the_request(tmp_path, upstream):
    """CursorRequest for at either process, followed and cancelled at either."""
    async with two_servers(tmp_path / "towow.db", upstream) as (_, first, second):
        upstream.otherwise(writes([f"{n} " for n in range(30)], rate=200))
        for here, there in ((first, second), (second, first)):
            asked = len(upstream.asked)
            run_id = await begin(here)
            events = await follow(there, run_id)
            assert len(upstream.asked) == asked + 4
            check_whole(events, await until_ended(here, run_id))
            assert events == await follow(here, run_id)
        upstream.otherwise(writes_for_ever())
        run_id = await begin(first)
        await until_run(second, run_id, is_under_way)
        assert (await cancel(second, run_id))[0] == 200
        await until(lambda: upstream.open == 0)
        check_whole(await follow(first, run_id), await until_ended(first, run_id))
    assert "run_failed" not in (tmp_path / "towow.db.log").read_text(), "a cancel is no fault"
    check_file(tmp_path / "towow.db")


@pytest.mark.slow
@pytest.mark.parametrize("resume", ["false", "true"])
async def test_when_the_process_that_carries_runs_out_is_killed_another_takes_over(tmp_path, upstream, resume):
    """A reader at the other process sees the end, or the rest, on the connection that it has."""
    async with two_servers(tmp_path / "towow.db", upstream, generations__resume=resume) as (leader, first, second):
        run_id = await begin(first)
        following = asyncio.create_task(follow(second, run_id))
        await until_run(second, run_id, is_under_way)
        leader.kill()
        await until(lambda: upstream.open == 0)
        upstream.otherwise(writes(WHOLE))
        events = await following
        run = await run_of(second, run_id)
        check_whole(events, run)
        if resume == "true":
            assert (run["status"], run["resumes"]) == ("completed", 1)
            assert of_type(events, "run_resumed")
        else:
            assert (run["status"], run["reason"]) == ("failed", "interrupted")
        later = await begin(second)
        assert (await until_ended(second, later))["status"] == "completed"
        leader.start()
    check_file(tmp_path / "towow.db")
