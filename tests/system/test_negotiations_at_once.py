"""Two hundred negotiations at once with the sample agents: all end, none is mixed up with another, and nothing stays behind."""

import asyncio
import gc
import json
import os
import re
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from server.app import LOG, make_app
from server.eventlog.database import sqlite3
from server.surfaces.demands.coordinator import Coordinator
from server.surfaces.demands.state import DemandState
from tests.support import ServerProcess, check_file, until
from tests.support.negotiations import ENDS, negotiating, working_tasks

NEGOTIATIONS = 200
WANTED = (
    "a venue",
    "a venue and a technical talk",
    "a venue, catering and a photographer",
    "event planning",
    "a translator and a graphic designer",
    "live music, sound and light",
    "a birthday cake",
    "a venue and beekeeping",
)
PEOPLE = ("", " for 5 people", " for 30 people", " for 120 people", " for 700 people")
BUDGETS = ("", ", budget $300", ", budget $900", ", budget $5000", ", budget €2000")
ID = re.compile(r"d-[0-9a-f]{8}(?:\.[0-9]+)*")
# What one negotiation may leave while caches and the allocator's heap still fill; after some thousands it is less than one.
KILOBYTES_EACH = 60


def text(number):
    """What the nth demand asks for."""
    wanted = WANTED[number % len(WANTED)]
    return f"Order {number}: we need {wanted}{PEOPLE[number % len(PEOPLE)]}{BUDGETS[number % 3 + number % 2]}"


async def negotiate(session, first):
    """Submit so many demands at once and wait until all have ended; returns {demand_id: number}."""

    async def submit(number):
        async with session.post("/api/demand/submit", json={"raw_input": text(number), "user_id": f"u-{number}"}) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["demand_id"], number

    numbers = dict(await asyncio.gather(*(submit(first + n) for n in range(NEGOTIATIONS))))
    assert len(numbers) == NEGOTIATIONS
    stuck, ends = set(numbers), "".join(f"&type={each}" for each in ENDS)
    async with asyncio.timeout(60):
        cursor = 0
        while stuck:
            query = f"stream=demand:*&since_seq={cursor}&limit=1000&wait=10{ends}"
            async with session.get(f"/api/events?{query}") as answer:
                page = await answer.json()
            stuck -= {each["stream"].partition(":")[2] for each in page["events"]}
            cursor = page["next_since_seq"]
        async with session.get("/api/demand?limit=200") as answer:
            listed = (await answer.json())["demands"]
    assert {each["demand_id"] for each in listed if each["status"] != "processing"} == set(numbers)
    return numbers


def check_story(path, numbers):
    """Each demand's events are of that demand alone, its plan is made of what was offered to it, and it is told once."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        rows = db.execute(
            "SELECT stream, event_type, payload FROM events WHERE event_type GLOB 'towow.*' ORDER BY seq"
        ).fetchall()
        open_demands = db.execute("SELECT count(*) FROM demands WHERE status = 'processing'").fetchone()[0]
    db.close()
    assert open_demands == 0
    streams, told = {}, Counter()
    for stream, event_type, payload in rows:
        kind, _, name = stream.partition(":")
        event = json.loads(payload)
        if kind == "agent":
            told[name, event_type, event["demand_id"], event.get("round")] += 1
            assert event["agent_id"] == name
            assert {root(each) for each in ID.findall(payload)} == {root(event["demand_id"])}
            continue
        assert event["demand_id"] == name
        assert {root(each) for each in ID.findall(payload)} == {root(name)}, (stream, event_type)
        streams.setdefault(name, []).append((event_type.removeprefix("towow."), event))
    assert set(told.values()) == {1}
    outcomes = Counter()
    for demand_id, events in streams.items():
        outcomes[check_demand(demand_id, events, streams, told)] += root(demand_id) == demand_id
    for demand_id, number in numbers.items():
        understood = streams[demand_id][0][1]
        assert (understood["raw_input"], understood["user_id"]) == (text(number), f"u-{number}")
    return outcomes


def root(demand_id):
    """The demand that a sub-negotiation goes back to."""
    return demand_id.partition(".")[0]


def check_demand(demand_id, events, streams, told):
    """One demand's events against each other; returns how it ended."""
    of = {name: [event for event_type, event in events if event_type == name] for name, _ in events}
    invited = of.get("demand.broadcast", [{"agent_ids": []}])[0]["agent_ids"]
    answered = [event["agent_id"] for name in ("offer.submitted", "offer.declined") for event in of.get(name, [])]
    assert sorted(answered) == sorted(invited)  # each once, and nobody else
    offers = {event["agent_id"]: event["offer"] for event in of.get("offer.submitted", [])}
    subnets = {event["subnet_id"]: event for event in of.get("subnet.completed", [])}
    assert sorted(subnets) == sorted(event["subnet_id"] for event in of.get("subnet.triggered", []))
    for subnet_id, completed in subnets.items():
        last_type, last = streams[subnet_id][-1]
        assert completed["outcome"] == {"proposal.finalized": "finalized", "negotiation.failed": "failed"}[last_type]
        assert completed["assignments"] == (last["proposal"]["assignments"] if last_type == "proposal.finalized" else [])
    said = [(event["agent_id"], event["proposal_id"]) for event in of.get("proposal.feedback", [])]
    assert len(said) == len(set(said))
    for proposal in of.get("proposal.distributed", []):
        agents = [each["agent_id"] for each in proposal["assignments"] if each["subnet_id"] is None]
        assert set(agents) <= set(offers)
        assert {each["subnet_id"] for each in proposal["assignments"]} <= {None, *subnets}
        assert {agent_id for agent_id, proposal_id in said if proposal_id == proposal["proposal_id"]} == set(agents)
        assert all(told[agent_id, "towow.proposal.distributed", demand_id, proposal["round"]] == 1 for agent_id in agents)
        check_prices(proposal, offers)
    ended, outcome = events[-1]
    if ended == "proposal.finalized":
        last = of["proposal.distributed"][-1]
        plan = outcome["proposal"]
        assert plan == {key: last[key] for key in plan}
        assert outcome["is_complete"] is (not plan["missing"])
        assert all(
            told[agent_id, "towow.proposal.finalized", demand_id, outcome["round"]] for agent_id in outcome["accepted_by"]
        )
        return "finalized"
    assert ended == "negotiation.failed"
    assert outcome["message"]
    return outcome["reason"]


def check_prices(proposal, offers):
    """The total is the sum, within the budget in its currency; what an agent is said to have asked for it has asked for."""
    terms = [each["terms"] for each in proposal["assignments"]]
    currencies = {each["currency"] for each in terms}
    if len(currencies) > 1:
        assert proposal["total_price"] is None
        return
    assert proposal["total_price"] == sum(each["price"] for each in terms)
    assert {proposal["currency"]} == currencies
    budget = proposal["requirements"].get("budget")
    if budget is not None and proposal["requirements"].get("currency") == proposal["currency"]:
        assert proposal["total_price"] <= budget
    if proposal["round"] == 1:
        for each in proposal["assignments"]:
            if each["subnet_id"] is None:
                assert each["offered_price"] == offers[each["agent_id"]]["terms"]["price"]


@pytest.mark.timeout(120)
async def test_two_hundred_negotiations_at_once_all_end_and_leave_no_work(aiohttp_client, quiet_config):
    """None is stuck or mixed up with another; no task of a demand or a sample agent is left."""
    client = await aiohttp_client(make_app(negotiating(quiet_config, sample_agents=True, sample_delay_seconds=0.05)))
    before = Counter(re.sub(r"\d+", "", task.get_name()) for task in asyncio.all_tasks())
    started = time.monotonic()
    numbers = await negotiate(client, 0)
    print(f"{NEGOTIATIONS} negotiations in {time.monotonic() - started:.1f} s, {client.app[LOG].head_seq} events")
    await until(lambda: not working_tasks())
    [coordinator] = [each for each in gc.get_objects() if isinstance(each, Coordinator) and each._log is client.app[LOG]]
    assert coordinator.open_demands == 0
    assert not coordinator._negotiator._samples._tasks
    gc.collect()
    states = [each for each in gc.get_objects() if isinstance(each, DemandState)]
    assert not [each for each in states if root(each.demand_id) in numbers]
    after = Counter(re.sub(r"\d+", "", task.get_name()) for task in asyncio.all_tasks())
    assert {name for name in after if "demand" in name or "coordinator" in name} == set()
    assert after["bus towow.*"] == before["bus towow.*"]
    path = quiet_config.database.path
    await client.close()
    outcomes = check_story(path, numbers)
    print(dict(outcomes))
    assert outcomes["finalized"] > NEGOTIATIONS // 4
    assert sum(outcomes.values()) == NEGOTIATIONS
    assert "internal_error" not in outcomes
    check_file(path)


def resident_kilobytes(pid):
    """The memory of a process."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1])


@pytest.mark.timeout(180)
async def test_memory_and_file_handles_return_to_where_they_were(tmp_path):
    """After a first batch that fills the caches, another two cost no file handle and next to no memory."""
    path = tmp_path / "towow.db"
    environment = {"TOWOW__DEMANDS__SAMPLE_DELAY_SECONDS": "0.05"}
    resident = []
    with ServerProcess(path, environment=environment) as server:
        pid = server.process.pid
        handles = len(os.listdir(f"/proc/{pid}/fd"))
        for batch in range(3):
            started = time.monotonic()
            async with aiohttp.ClientSession(server.url) as session:
                numbers = await negotiate(session, batch * NEGOTIATIONS)
            seconds = time.monotonic() - started
            # The session's connections are closed a moment later.
            await until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == handles, timeout=10.0)
            resident.append(resident_kilobytes(pid))
            print(f"batch {batch + 1}: {seconds:.1f} s, {handles} file handles, {resident[-1]} kB resident")
        assert server.stop() == 0
    assert resident[2] - resident[1] < KILOBYTES_EACH * NEGOTIATIONS, resident
    check_story(path, numbers)
