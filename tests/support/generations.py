"""What the tests of generations need: an application with a real upstream, runs that are started and followed, a reader's
fold."""

import asyncio
import contextlib
import json

from server.surfaces.generations.prompts import Brief, question_of
from tests.support import changed, until
from tests.support import upstream as behaviours

NOVA = ("insight_agent", "profile_agent", "content_agent", "optimization_agent")
LOOMI = ("requirement_analyzer", "strategy_generator", "content_generator", "content_optimizer")
# What an English request to an agent ends with, and no other agent's holds.
TASKS = {agent: question_of(agent, Brief("")) for agent in (*NOVA, *LOOMI)}
PROMPT = "Write a friendly invitation to the opening of our bakery."
QUICK = {"retry_delay_seconds": 0.01, "retry_backoff": 1.0}


def generating(config, upstream=None, *, llm=None, **generations):
    """The settings with this upstream, or with no model at all, and quick retries unless said otherwise."""
    remote = {} if upstream is None else {"base_url": upstream.url, "model": "small"}
    config = changed(config, "llm", **{"local": False, **remote, **(llm or {})})
    return changed(config, "generations", **{**QUICK, **generations})


async def begin(client, mode="nova", prompt=PROMPT, **fields):
    """Start a run without following it; returns its id."""
    headers = {"Accept": "application/json"}
    async with client.post(f"/{mode}chat", json={"prompt": prompt, **fields}, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        return (await answer.json())["run_id"]


async def follow(client, run_id, *, since_seq=0, timeout=15.0):
    """The events of a run after a cursor, to its end."""
    async with asyncio.timeout(timeout), client.get(f"/api/runs/{run_id}/events?since_seq={since_seq}") as answer:
        assert answer.status == 200, await answer.text()
        return [event async for event in stored(answer)]


async def stored(answer):
    """The stored events of a stream as they come, without control frames."""
    name = None
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: ") and name is None:
            yield json.loads(text.removeprefix("data: "))
        elif not text:
            name = None


async def perform(client, mode="nova", prompt=PROMPT, **fields):
    """Carry out a run on one connection; returns its id and its events."""
    async with asyncio.timeout(20), client.post(f"/{mode}chat", json={"prompt": prompt, **fields}) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["X-Run-Id"], [event async for event in stored(answer)]


async def run_of(client, run_id):
    """A run as the server tells it."""
    async with client.get(f"/api/runs/{run_id}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def cancel(client, run_id):
    """Cancel a run; returns the answer's status and body."""
    async with client.post(f"/api/runs/{run_id}/cancel", json={}) as answer:
        return answer.status, await answer.json()


async def until_run(client, run_id, condition, *, timeout=10.0):
    """Wait until a run is as wanted; returns it."""
    async with asyncio.timeout(timeout):
        while not condition(found := await run_of(client, run_id)):
            await asyncio.sleep(0.01)
    return found


async def until_ended(client, run_id, *, timeout=15.0):
    """Wait for the end of a run; returns it."""
    return await until_run(client, run_id, lambda run: run["status"] != "running", timeout=timeout)


def of_type(events, *types):
    """The events of these types, in order."""
    return [event for event in events if event["event_type"] in types]


def types_of(events, agent=None):
    """The types of events in order, those of one agent if one is named, repeated pieces of text once."""
    types = []
    for event in events:
        is_wanted = agent is None or agent in (event["agent_source"], event["payload"].get("agent"))
        if is_wanted and (event["event_type"] != "llm_chunk" or types[-1:] != ["llm_chunk"]):
            types.append(event["event_type"])
    return types


def payloads(events, event_type, agent=None):
    """The payloads of the events of a type, of one agent if one is named."""
    found = [event["payload"] for event in of_type(events, event_type)]
    return [payload for payload in found if agent is None or payload.get("agent") == agent]


def texts_of(events):
    """The text of each agent as a reader puts it together. Every piece must have the next index of its agent's text."""
    pieces = {}
    for event in events:
        payload = event["payload"]
        if event["event_type"] == "llm_chunk":
            mine = pieces.setdefault(payload["agent"], [])
            assert payload["index"] == len(mine), (payload, len(mine))
            mine.append(payload["content"])
        elif event["event_type"] == "retrying":
            assert payload["discards_text"] == bool(pieces.get(payload["agent"]))
            pieces.pop(payload["agent"], None)
        elif event["event_type"] == "run_resumed":
            for agent in payload["restarts"]:
                pieces.pop(agent, None)
    return {agent: "".join(mine) for agent, mine in pieces.items()}


def check_whole(events, run):
    """What a reader of all events has is what the server tells: texts, seqs that rise, revisions without a gap."""
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs))
    assert [event["revision"] for event in events] == list(range(1, len(events) + 1))
    assert {agent["name"]: agent["text"] for agent in run["agents"] if agent["text"]} == {
        agent: text for agent, text in texts_of(events).items() if text
    }
    assert run["last_seq"] == seqs[-1]
    assert types_of(events)[-1] in ("run_complete", "run_failed")


def all_at_once(upstream, text, *, writers=4):
    """A behaviour that writes the first word, waits until so many are being asked, and writes the rest."""

    async def answer(request):
        response = behaviours.web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        first, *rest = behaviours.pieces_of(text)
        await response.write(behaviours.delta(first))
        await until(lambda: upstream.most_open >= writers)
        for piece in rest:
            await response.write(behaviours.delta(piece))
        await response.write(behaviours.STOP + behaviours.DONE)
        return response

    return answer


@contextlib.contextmanager
def no_tasks_left():
    """No task that works on runs is there afterwards."""
    yield
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith(("run ", "text of ")) or " of r-" in name], names
