"""Runs carried out: the agents of both modes, who writes without a model, what a client that leaves finds when it comes
back."""

import asyncio

import pytest

from server.app import make_app
from tests.support import until
from tests.support.generations import (
    LOOMI,
    NOVA,
    PROMPT,
    TASKS,
    all_at_once,
    begin,
    cancel,
    check_whole,
    follow,
    generating,
    no_tasks_left,
    of_type,
    payloads,
    perform,
    run_of,
    stored,
    texts_of,
    types_of,
    until_ended,
    until_run,
)
from tests.support.upstream import refuses, writes, writes_for_ever

AGENT = ["agent_start", "llm_chunk", "agent_complete"]


@pytest.fixture
def start(aiohttp_client, quiet_config, upstream):
    """Start the application with the upstream and these settings of generations."""

    async def start(**options):
        return await aiohttp_client(make_app(generating(quiet_config, upstream, **options)))

    return start


@pytest.fixture
def without_model(aiohttp_client, quiet_config):
    """Start the application without a model."""

    async def start(**options):
        return await aiohttp_client(make_app(generating(quiet_config, **options)))

    return start


async def test_four_agents_write_at_the_same_time_and_their_texts_are_merged(start, upstream):
    """Scenario 20, when all goes well: each agent's events in order, the agents' interleaved, one end with everything in it."""
    for agent in NOVA:
        upstream.when(TASKS[agent], all_at_once(upstream, f"I am the {agent} of this run."))
    client = await start()
    run_id, events = await perform(client)
    assert types_of(events)[0] == "run_started"
    assert [event["agent_source"] for event in of_type(events, "run_started", "run_complete")] == ["nova3_supervisor"] * 2
    for agent in NOVA:
        assert types_of(events, agent) == AGENT
    kinds = types_of(events)
    assert kinds.index("agent_complete") > len(kinds) - 1 - kinds[::-1].index("agent_start"), "all begin before one ends"
    assert [payload["percent"] for payload in payloads(events, "progress")] == [25, 50, 75, 100]
    texts = {agent: f"I am the {agent} of this run." for agent in NOVA}
    assert texts_of(events) == texts
    (end,) = payloads(events, "run_complete")
    headings = ("Insight", "Audience", "Content", "Improvements")
    assert end["result"] == "\n\n".join(f"## {name}\n\n{texts[agent]}" for name, agent in zip(headings, NOVA, strict=True))
    assert (end["partial"], end["degraded"], end["agents_completed"], end["agents_failed"]) == (False, False, list(NOVA), [])
    check_whole(events, await run_of(client, run_id))


async def test_the_pieces_say_who_wrote_them_and_the_last_one_says_so(start):
    """`written_by` is the model's name, `degraded` is for the template alone, `is_complete` is true once for each agent."""
    client = await start()
    _, events = await perform(client)
    for agent in NOVA:
        pieces = payloads(events, "llm_chunk", agent)
        assert {(piece["written_by"], piece["degraded"], piece["content_type"]) for piece in pieces} == {
            ("small", False, "text")
        }
        assert [piece["is_complete"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert {event["agent_source"] for event in of_type(events, "llm_chunk")} == {"llm_client"}


async def test_four_stages_follow_each_other_each_with_what_came_before(start, upstream):
    """Loomi: nobody begins before the one before has ended, each is told what was written, and the last text is the result."""
    for agent in LOOMI:
        upstream.when(TASKS[agent], writes(f"<|text|> of {agent}"))
    client = await start()
    run_id, events = await perform(client, "loomi")
    order = [event["agent_source"] for event in of_type(events, "agent_start", "agent_complete")]
    assert order == [agent for agent in LOOMI for _ in range(2)]
    assert [payload["stage"] for payload in payloads(events, "agent_start")] == [1, 2, 3, 4]
    for number, agent in enumerate(LOOMI):
        (asked,) = upstream.asked_about(TASKS[agent])
        assert [name for name in LOOMI if f"(|text|> of {name}" in asked.text] == list(LOOMI[:number]), "and no mark is left"
    assert payloads(events, "run_complete")[0]["result"] == "<|text|> of content_optimizer"
    check_whole(events, await run_of(client, run_id))


@pytest.mark.parametrize(
    ("failing", "reason"),
    [("requirement_analyzer", "agent_failed"), ("content_generator", "agent_failed"), ("content_optimizer", None)],
)
async def test_a_stage_that_fails_ends_the_run_unless_it_was_to_polish(start, upstream, failing, reason):
    """What the others build on must be there; without the polish the draft is the result, and the run is partial."""
    upstream.when(TASKS[failing], refuses(401))
    client = await start()
    run_id, events = await perform(client, "loomi")
    run = await run_of(client, run_id)
    number = LOOMI.index(failing)
    assert [agent["status"] for agent in run["agents"]] == ["completed"] * number + ["failed"] + ["waiting"] * (3 - number)
    if reason is None:
        assert (run["status"], run["partial"], run["result"]) == ("completed", True, "Hello there.")
    else:
        assert (run["status"], run["reason"]) == ("failed", reason)
    check_whole(events, run)


async def test_one_agent_that_fails_is_an_event_and_the_others_go_on(start, upstream):
    """Scenario 20: three complete, one error, a merged result, one terminal event that says partial."""
    upstream.when(TASKS["profile_agent"], refuses(401))
    client = await start()
    run_id, events = await perform(client)
    assert len(of_type(events, "agent_complete")) == 3
    (error,) = of_type(events, "error")
    assert error["agent_source"] == "profile_agent"
    payload = error["payload"]
    assert (payload["status"], payload["error_type"], payload["retry_count"]) == ("failed", "status_401", 0)
    assert payload["context"] == {"stage": 1}
    assert payload["error_id"]
    (end,) = of_type(events, "run_complete", "run_failed")
    assert (end["event_type"], end["payload"]["partial"]) == ("run_complete", True)
    assert end["payload"]["agents_failed"] == ["profile_agent"]
    assert "## Audience" not in end["payload"]["result"]
    assert "## Insight" in end["payload"]["result"]
    assert payloads(events, "progress")[-1]["percent"] == 100
    check_whole(events, await run_of(client, run_id))


async def test_a_run_of_which_every_agent_fails_has_failed(start, upstream):
    """And says so with a fixed sentence."""
    upstream.otherwise(refuses(403))
    client = await start()
    run_id, events = await perform(client)
    (end,) = of_type(events, "run_failed")
    assert (end["payload"]["reason"], end["payload"]["agents_failed"]) == ("all_agents_failed", list(NOVA))
    check_whole(events, await run_of(client, run_id))


async def test_a_client_that_leaves_finds_the_rest_when_it_comes_back(start, upstream):
    """Scenario 21: the run goes on; what comes after the cursor completes what was seen, and the state says 100 %."""
    upstream.otherwise(writes([f"{n} " for n in range(60)], rate=200))
    client = await start()
    seen = []
    async with client.post("/novachat", json={"prompt": PROMPT}) as answer:
        run_id = answer.headers["X-Run-Id"]
        async for event in stored(answer):
            seen.append(event)
            if len(of_type(seen, "llm_chunk")) == 6:
                break
        answer.close()
    run = await until_ended(client, run_id)
    rest = await follow(client, run_id, since_seq=seen[-1]["seq"])
    check_whole(seen + rest, run)
    whole = "".join(f"{n} " for n in range(60))
    assert texts_of(seen + rest) == dict.fromkeys(NOVA, whole)
    assert (run["status"], run["progress"]["percent"]) == ("completed", 100)
    assert [agent["text"] for agent in run["agents"]] == [whole] * 4


async def test_two_readers_of_a_run_see_the_same(start, upstream):
    """The one who started it and one who came later, whenever that was."""
    upstream.otherwise(writes([f"{n} " for n in range(30)], rate=200))
    client = await start()
    run_id = await begin(client)
    late = asyncio.create_task(follow(client, run_id))
    first = await follow(client, run_id)
    assert first == await late == await follow(client, run_id)


async def test_many_tokens_are_few_events_and_the_first_comes_at_once(start, upstream):
    """Pieces are stored in groups of so many characters or milliseconds; the first one alone."""
    upstream.otherwise(writes(["first"] + ["x"] * 999))
    client = await start(chunk_milliseconds=10_000, chunk_characters=300)
    _, events = await perform(client)
    for agent in NOVA:
        pieces = [piece["content"] for piece in payloads(events, "llm_chunk", agent)]
        assert "".join(pieces) == "first" + "x" * 999
        assert len(pieces) <= 6
        assert max(map(len, pieces)) <= 300


# Without a model.


@pytest.mark.parametrize(
    ("prompt", "known"),
    [(PROMPT, "opening of our bakery"), ("请写一篇面包店开业的邀请，语气轻松。", "面包店开业")],
    ids=["en", "zh"],
)
@pytest.mark.parametrize("mode", ["nova", "loomi"])
async def test_without_a_model_a_template_writes_and_says_so(without_model, mode, prompt, known):
    """Every piece is marked, the run is, and what is written is about the request, in its language."""
    client = await without_model()
    run_id, events = await perform(client, mode, prompt)
    run = await run_of(client, run_id)
    pieces = payloads(events, "llm_chunk")
    assert {(piece["written_by"], piece["degraded"]) for piece in pieces} == {("template", True)}
    assert (run["status"], run["degraded"]) == ("completed", True)
    assert all(agent["degraded"] and agent["written_by"] == "template" for agent in run["agents"])
    assert known in run["result"]
    check_whole(events, run)


async def test_the_template_writes_the_same_again(without_model):
    """It is no model and does not pretend to be one."""
    client = await without_model()
    results = {(await run_of(client, (await perform(client))[0]))["result"] for _ in range(2)}
    assert len(results) == 1


# What is known of the session and the context.


async def test_a_run_goes_on_from_the_one_before_in_its_session(start, upstream):
    """The agents are told the prompt and the result of it, and the context that came with the request."""
    client = await start()
    first, _ = await perform(client, session_id="s-1", prompt="The first request")
    _, events = await perform(client, session_id="s-1", prompt="The second", context={"city": "Oslo"})
    assert payloads(events, "run_started")[0]["continues"] == first
    said = [asked.text for asked in upstream.asked if "The second" in asked.text]
    assert len(said) == 4
    for text in said:
        assert "Earlier request:\nThe first request" in text
        assert "Earlier result:\n## Insight\n\nHello there." in text
        assert "city: Oslo" in text
    assert not [asked for asked in upstream.asked if "Earlier" in asked.text and "The second" not in asked.text]


# Cancel, time, shutdown.


async def test_a_cancel_closes_the_connections_to_the_model_at_once(start, upstream):
    """In the middle of four texts; nothing is appended after the end, and a second cancel is the same."""
    upstream.otherwise(writes_for_ever())
    client = await start()
    run_id = await begin(client)
    await until_run(client, run_id, lambda run: all(agent["text"] for agent in run["agents"]))
    assert upstream.open == 4
    status, answer = await cancel(client, run_id)
    assert (status, answer["status"]) == (200, "cancelled")
    await until(lambda: upstream.open == 0)
    assert upstream.left == 4
    with no_tasks_left():
        events = await follow(client, run_id)
    (end,) = of_type(events, "run_failed")
    assert (end["payload"]["status"], end["payload"]["reason"], end["seq"]) == ("cancelled", "cancelled", answer["seq"])
    run = await run_of(client, run_id)
    check_whole(events, run)
    assert (run["status"], run["reason"]) == ("cancelled", "cancelled")
    assert await cancel(client, run_id) == (200, answer)


async def test_a_cancel_while_an_agent_waits_to_try_again_ends_the_waiting(start, upstream):
    """Nobody is asked again."""
    upstream.otherwise(refuses(503))
    client = await start(retry_delay_seconds=60.0)
    run_id = await begin(client)
    await until_run(client, run_id, lambda run: {agent["status"] for agent in run["agents"]} == {"retrying"})
    assert (await cancel(client, run_id))[0] == 200
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == f"run {run_id}"])
    with no_tasks_left():
        await asyncio.sleep(0)
    assert len(upstream.asked) == 4


async def test_a_run_that_takes_too_long_fails_with_that_reason(start, upstream):
    """Its agents are stopped; what they have written stays to be read."""
    upstream.otherwise(writes_for_ever())
    client = await start(run_timeout_seconds=1.0)
    run_id, events = await perform(client)
    (end,) = of_type(events, "run_failed")
    assert (end["payload"]["status"], end["payload"]["reason"]) == ("failed", "timeout")
    await until(lambda: upstream.open == 0)
    run = await run_of(client, run_id)
    assert all(agent["text"] for agent in run["agents"])
    check_whole(events, run)


async def test_twenty_running_runs_do_not_delay_the_shutdown(start, upstream):
    """Within two seconds nothing of them is left, no task and no connection, and nothing was appended."""
    upstream.otherwise(writes_for_ever(rate=10))
    client = await start(llm={"max_streams": 80})
    runs = [await begin(client) for _ in range(20)]
    for run_id in runs:
        await until_run(client, run_id, lambda run: any(agent["text"] for agent in run["agents"]))
    with no_tasks_left():
        async with asyncio.timeout(2):
            await client.close()
    await until(lambda: upstream.open == 0)


async def test_an_end_that_anybody_appends_stops_the_agents(start, upstream):
    """The log is what counts, not who wrote to it."""
    upstream.otherwise(writes_for_ever())
    client = await start()
    run_id = await begin(client)
    await until_run(client, run_id, lambda run: all(agent["text"] for agent in run["agents"]))
    event = {"stream": f"run:{run_id}", "event_type": "run_failed", "payload": {"reason": "mine"}}
    async with client.post("/api/events", json=event) as answer:
        assert answer.status == 201
    await until(lambda: upstream.open == 0)
    run = await run_of(client, run_id)
    assert (run["status"], run["reason"]) == ("failed", "internal")


async def test_an_agents_end_that_anybody_appends_is_its_end(start, upstream):
    """The others go on, and the run comes to an end with what there is."""
    upstream.otherwise(writes([f"{n} " for n in range(40)], rate=200))
    upstream.when(TASKS[NOVA[0]], writes_for_ever())
    client = await start()
    run_id = await begin(client)
    await until_run(client, run_id, lambda run: run["agents"][0]["text"])
    event = {"stream": f"run:{run_id}", "event_type": "agent_complete", "payload": {"agent": NOVA[0], "summary": "mine"}}
    async with client.post("/api/events", json=event) as answer:
        assert answer.status == 201
    run = await until_ended(client, run_id)
    assert (run["status"], run["partial"], run["agents"][0]["summary"]) == ("completed", False, "mine")
    await until(lambda: upstream.open == 0)


async def test_what_anybody_appends_to_a_run_does_not_disturb_it(start, upstream):
    """Garbage moves the revision; the pieces have their order and the run its end all the same."""
    upstream.otherwise(writes([f"{n} " for n in range(40)], rate=200))
    client = await start()
    run_id = await begin(client)
    number = 0
    while (await run_of(client, run_id))["status"] == "running":
        number += 1
        garbage = [
            {"stream": f"run:{run_id}", "event_type": kind, "payload": {"agent": 7, "content": [], "percent": "x"}}
            for kind in ("llm_chunk", "progress", "note", "retrying", "run_resumed")
        ]
        async with client.post("/api/events", json={"events": garbage}) as answer:
            assert answer.status in (201, 409)
    run = await run_of(client, run_id)
    assert number
    assert run["status"] == "completed"
    assert {agent["text"] for agent in run["agents"]} == {"".join(f"{n} " for n in range(40))}
