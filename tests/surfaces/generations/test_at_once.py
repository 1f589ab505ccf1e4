"""Fifty runs at once, with fifty pieces of text a second in each, through a real server process."""

import asyncio
import re
import time

import aiohttp
import pytest

from tests.support import ServerProcess, check_file, until
from tests.support.generations import NOVA, check_whole, of_type, payloads, run_of, stored
from tests.support.upstream import DONE, STOP, Upstream, delta, web

pytestmark = pytest.mark.slow

RUNS = 50
PIECES = 40  # of each agent
RATE = 12.5  # of each of the four agents of a run
ENVIRONMENT = {
    "TOWOW__LLM__MODEL": "small",
    "TOWOW__LLM__LOCAL": "false",
    "TOWOW__LLM__MAX_STREAMS": str(4 * RUNS),
    "TOWOW__LIMITS__STREAMS_PER_CLIENT": "0",
    "TOWOW__DEMANDS__SAMPLE_AGENTS": "false",
}


def stamps(upstream):
    """A behaviour: when everybody is there, write numbered pieces at a steady rate, each with the time at which it was
    written."""

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await until(lambda: upstream.most_open == 4 * RUNS, timeout=60)
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        for number in range(PIECES):
            await asyncio.sleep(max(0.0, begun_at + number / RATE - loop.time()))
            await response.write(delta(f"{number}@{time.monotonic_ns()};"))
        await response.write(STOP + DONE)
        return response

    return answer


async def perform_timed(client, number, delays):
    """Start a run and follow it to its end; notes how long each piece took from the model to here."""
    seen, rests = [], {}
    async with client.post("/novachat", json={"prompt": f"Run {number}"}) as answer:
        assert answer.status == 200, await answer.text()
        async for event in stored(answer):
            now = time.monotonic_ns()
            seen.append(event)
            if event["event_type"] == "llm_chunk":
                agent = event["payload"]["agent"]
                text = rests.get(agent, "") + event["payload"]["content"]  # an event may end inside a piece
                delays += [now - int(stamp) for stamp in re.findall(r"@([0-9]+);", text)]
                rests[agent] = text[text.rfind(";") + 1 :]
        return answer.headers["X-Run-Id"], seen


async def test_fifty_runs_at_once_lose_and_turn_round_nothing(tmp_path):
    """Every reader has every piece of its run once and in order, and what it has is what is stored."""
    delays = []
    async with Upstream() as upstream:
        upstream.otherwise(stamps(upstream))
        environment = {**ENVIRONMENT, "TOWOW__LLM__BASE_URL": upstream.url}
        with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(server.url, connector=connector) as client, asyncio.timeout(90):
                runs = await asyncio.gather(*(perform_timed(client, number, delays) for number in range(RUNS)))
                for run_id, events in runs:
                    run = await run_of(client, run_id)
                    assert (run["status"], run["partial"]) == ("completed", False)
                    check_whole(events, run)
                    for agent in NOVA:
                        text = "".join(piece["content"] for piece in payloads(events, "llm_chunk", agent))
                        assert [int(n) for n in re.findall(r"([0-9]+)@", text)] == list(range(PIECES))
    check_file(tmp_path / "towow.db")
    assert len(delays) == RUNS * 4 * PIECES
    chunks = sum(len(of_type(events, "llm_chunk")) for _, events in runs)
    delays.sort()
    p50, p99 = (delays[int(part * (len(delays) - 1))] / 1e6 for part in (0.5, 0.99))
    print(f"\n{RUNS} runs, {len(delays):,} pieces in {chunks:,} events: model to reader p50 {p50:.1f} ms, p99 {p99:.1f} ms")
