"""Runs for tests: commands that are decided and stored one after the other, and the events of a run as the log gives them back.

In tests over HTTP nobody carries runs out (`by_hand`): the test says what happens in them."""

import json
from functools import partial

from server.app import LOG
from server.eventlog.decider import decide_and_append, fold
from server.surfaces.generations.commands import (
    AppendChunk,
    CompleteAgent,
    CompleteRun,
    FailAgent,
    FailRun,
    RetryAgent,
    StartAgent,
    StartRun,
)
from server.surfaces.generations.model import decide, evolve
from server.surfaces.generations.state import initial, stream_of
from tests.support import nobody_acts
from towow.events import Event, payload_json

RUN = "r-0123456789abcdef"
START = StartRun("nova", "Write about tea", 600.0, session_id="s-1", context={"tone": "warm"})
LOOMI = StartRun("loomi", "写一首关于茶的诗", 600.0, language="zh")
NOVA_AGENTS = ("insight_agent", "profile_agent", "content_agent", "optimization_agent")
LOOMI_AGENTS = ("requirement_analyzer", "strategy_generator", "content_generator", "content_optimizer")
AT = "2026-01-01T00:00:00.000Z"


def posted(event_type, payload, seq=1, source="unknown", run_id=RUN):
    """An event of the run as the log gives it back."""
    return Event(seq, stream_of(run_id), seq, f"e{seq}", event_type, AT, source, payload_json(payload))


def stored(state, command):
    """What a command becomes, as the log gives it back."""
    news = decide(state, command)
    places = range(state.last_seq + 1, state.last_seq + 1 + len(news))
    return [
        Event(seq, new.stream, seq, f"e{seq}", new.event_type, AT, new.source, new.payload_json)
        for seq, new in zip(places, news, strict=True)
    ]


def after(*commands, state=None):
    """The state after commands, each decided and stored."""
    state = initial(RUN) if state is None else state
    for command in commands:
        for event in stored(state, command):
            state = evolve(state, event)
    return state


def history(*commands):
    """The events of a run after commands."""
    state, events = initial(RUN), []
    for command in commands:
        for event in stored(state, command):
            state = evolve(state, event)
            events.append(event)
    return events


def said(events):
    """New events as [(type, source, payload)]."""
    return [(event.event_type, event.source, json.loads(event.payload_json)) for event in events]


def written(agent, *pieces, summary="Done.", written_by="a-model", degraded=False):
    """The commands of an agent that writes these pieces and nothing else happens to it."""
    chunks = [AppendChunk(agent, piece, written_by, degraded=degraded) for piece in pieces]
    return [StartAgent(agent), *chunks, AppendChunk(agent, "", written_by, True, degraded), CompleteAgent(agent, summary)]


def gone_wrong(agent, error_type="broken", retries=3):
    """The commands of an agent that tries again in vain."""
    tries = [RetryAgent(agent, error_type, 2.0**n, 4) for n in range(retries)]
    return [StartAgent(agent), *tries, FailAgent(agent, error_type, "err-1")]


def whole(start=START, agents=NOVA_AGENTS, result="All of it."):
    """The commands of a run in which every agent writes two pieces."""
    return [start, *(command for agent in agents for command in written(agent, f"{agent} says", " tea.")), CompleteRun(result)]


TIMED_OUT = FailRun("timeout")


# Over HTTP


def by_hand():
    """Keep applications from carrying out runs."""
    return nobody_acts("generations")


async def begin(client, path="/novachat", **fields):
    """Start a run without following it; its id."""
    answer = await client.post(path, json={"prompt": "Write about tea", **fields}, headers={"Accept": "application/json"})
    assert answer.status == 202, await answer.text()
    return (await answer.json())["run_id"]


async def tell(client, run_id, *commands):
    """Say what happens in a run, as its runner would; the seq of its newest event."""
    state = initial(run_id)
    for command in commands:
        state, _ = await decide_and_append(
            client.app[LOG],
            stream_of(run_id),
            partial(fold, client.app[LOG], stream_of(run_id), initial(run_id), evolve),
            lambda state, command=command: decide(state, command),
            evolve,
        )
    return state.last_seq


async def get(client, path, status=200, **options):
    """An answer's JSON, when it has this status."""
    answer = await client.get(path, **options)
    assert answer.status == status, await answer.text()
    return await answer.json()


async def post(client, path, status=200, body=None, **options):
    """An answer's JSON, when it has this status."""
    answer = await client.post(path, json={} if body is None else body, **options)
    assert answer.status == status, await answer.text()
    return await answer.json()
