"""What goes wrong around a negotiation: files that are full, faults of ours, and anything that anybody appends."""

import asyncio
import gc
import random as randomness

import pytest

from server.app import LOG
from server.background import retry
from server.eventlog.database import sqlite3
from server.surfaces.demands import coordinator, matching
from server.surfaces.demands.inputs import MAX_COMMENT_CHARACTERS
from server.surfaces.demands.samples import rules
from server.surfaces.demands.text_writer import TextWriter
from tests.support import until
from tests.support.negotiations import (
    BEGUN,
    GUARD,
    TALK,
    VENUE,
    Script,
    cancel,
    decline,
    demand,
    drive,
    feedback,
    get,
    history,
    negotiate,
    publish_events,
    register,
    submit,
    types_of,
    until_ended,
    until_phase,
    waiting_in_depth,
    working_tasks,
)
from towow.errors import StorageFull, Unavailable


def refuse(log, monkeypatch, event_type, error, times):
    """Let appends that begin with this event type fail so many times; returns the list of refusals."""
    append, refused = log.append, []

    async def append_or_not(events):
        if events and events[0].event_type == event_type and len(refused) < times:
            refused.append(events)
            raise error
        return await append(events)

    monkeypatch.setattr(log, "append", append_or_not)
    return refused


@pytest.mark.parametrize("error", [StorageFull("no room"), Unavailable("locked")], ids=["full", "locked"])
@pytest.mark.parametrize(
    "event_type", ["towow.filter.completed", "towow.gap.identified", "towow.proposal.distributed", "towow.proposal.finalized"]
)
async def test_a_file_that_cannot_be_written_for_a_while_only_delays(start, monkeypatch, event_type, error):
    """At every step: the coordinator tries again until it can, and the negotiation comes to its end."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (0.01, 0.02))
    client = await start()
    refused = refuse(client.app[LOG], monkeypatch, event_type, error, 2)
    scripts = {"ann": Script("venue")}
    detail = await negotiate(client, "We need a venue and a photographer", scripts, VENUE)
    assert len(refused) == 2
    assert detail["status"] == "finalized"
    types = await types_of(client, detail["demand_id"])
    assert len(types) == len([*BEGUN, "offer", "gap", "triggered", "completed", "distributed", "feedback", "finalized"])


@pytest.mark.parametrize("error", [StorageFull("no room"), Unavailable("locked")], ids=["full", "locked"])
async def test_a_sample_agents_answer_waits_for_the_file(start, monkeypatch, error):
    """It is not lost, and not said twice."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (0.01, 0.02))
    client = await start(sample_agents=True, sample_delay_seconds=0.0)
    refused = refuse(client.app[LOG], monkeypatch, "towow.offer.submitted", error, 1)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    detail = await until_ended(client, demand_id)
    assert (len(refused), detail["status"], len(detail["offers"])) == (1, "finalized", 1)


@pytest.mark.parametrize("is_race", [False, True], ids=["a full file", "a lost race"])
async def test_a_sub_negotiation_ends_with_its_parent_also_at_the_second_try(start, monkeypatch, is_race):
    """What its parent's end means to it is not forgotten when it cannot be stored at once."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (0.01, 0.02))
    client = await start()
    child_id = f"{(demand_id := await waiting_in_depth(client))}.1"
    append, refused = client.app[LOG].append, []

    async def refuse_once(events):
        if (events[0].stream, events[0].event_type) == (f"demand:{child_id}", "towow.negotiation.cancelled") and not refused:
            refused.append(events)
            if not is_race:
                raise StorageFull("no room")
            await publish_events(client, f"demand:{child_id}", ("towow.note", {}))
        return await append(events)

    monkeypatch.setattr(client.app[LOG], "append", refuse_once)
    assert (await cancel(client, demand_id)).status == 200
    assert (await until_ended(client, child_id))["outcome"]["reason"] == "parent_ended"
    assert len(refused) == 1


async def test_a_fault_of_ours_ends_the_demand_with_a_reason_also_when_the_file_is_full(start, monkeypatch):
    """The failure is recorded when there is room again."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (0.01, 0.02))
    client = await start()

    def broken(*args, **options):
        raise LookupError("swordfish")

    monkeypatch.setattr(matching, "search_candidates", broken)
    refused = refuse(client.app[LOG], monkeypatch, "towow.negotiation.failed", StorageFull("no room"), 2)
    detail = await negotiate(client, "We need a venue", {}, VENUE)
    assert (len(refused), detail["outcome"]["reason"]) == (2, "internal_error")
    assert "swordfish" not in detail["outcome"]["message"]


async def test_a_fault_in_a_later_step_ends_the_demand_with_a_reason(start, monkeypatch):
    """The participants are told."""

    async def broken(*args, **options):
        raise LookupError("swordfish")

    monkeypatch.setattr(TextWriter, "proposal", broken)
    client = await start()
    detail = await negotiate(client, "We need a venue", {"ann": Script("venue")}, VENUE)
    assert detail["outcome"]["reason"] == "internal_error"
    told = (await get(client, "/api/events?stream=agent:ann&type=towow.*&since_seq=0"))["events"]
    assert [event["event_type"] for event in told] == ["towow.demand.broadcast", "towow.negotiation.failed"]


async def test_a_reading_fault_does_not_deafen_the_coordinator(start, monkeypatch):
    """One page that could not be read, and demands are still taken up and answers heard."""
    client = await start()
    await register(client, VENUE)
    log = client.app[LOG]
    read, failures = log.read, []

    async def fail_once(selection, *args, **options):
        if selection.types == ("towow.*",) and not failures:
            failures.append(selection)
            raise sqlite3.OperationalError("disk I/O error")
        return await read(selection, *args, **options)

    monkeypatch.setattr(log, "read", fail_once)
    first = (await submit(client, "We need a venue, one"))["demand_id"]
    await until(lambda: failures)
    second = (await submit(client, "We need a venue, two"))["demand_id"]
    for demand_id in (first, second):
        assert (await drive(client, demand_id, {"ann": Script("venue")}))["status"] == "finalized"


async def test_a_sample_agent_that_breaks_is_only_silent(start, monkeypatch):
    """The others go on."""
    answer = rules.answer_invitation

    def sometimes(invitation):
        if invitation["agent_id"] == "user_agent_bob":
            raise LookupError("swordfish")
        return answer(invitation)

    monkeypatch.setattr(rules, "answer_invitation", sometimes)
    client = await start(sample_agents=True, sample_delay_seconds=0.0, offer_timeout_seconds=0.5)
    demand_id = (await submit(client, "We need a venue and a technical talk"))["demand_id"]
    detail = await until_ended(client, demand_id)
    assert detail["status"] == "finalized"
    assert "user_agent_bob" not in [each["agent_id"] for each in detail["offers"]]


async def test_a_text_that_was_written_is_not_written_again_for_a_lost_race(start, monkeypatch):
    """Somebody appends while the model writes; the same draft keeps its text."""
    client = await start()
    written = []
    write = TextWriter.proposal
    demand_ids = []

    async def slow(self, *args):
        written.append(args)
        await publish_events(client, f"demand:{demand_ids[0]}", ("towow.note", {}))
        return await write(self, *args)

    monkeypatch.setattr(TextWriter, "proposal", slow)
    await register(client, VENUE)
    demand_ids.append((await submit(client, "We need a venue"))["demand_id"])
    detail = await drive(client, demand_ids[0], {"ann": Script("venue")})
    assert detail["status"] == "finalized"
    assert len(written) == 1


async def test_a_demand_is_taken_up_again_in_the_moment_in_which_its_work_ends(client):
    """Between a task's end and the word of it, something may have happened."""
    [made] = [each for each in find(coordinator.Coordinator) if each._log is client.app[LOG]]
    made._take_up("d-1")
    first = made._work["d-1"].task
    async with asyncio.timeout(3):
        while not first.done():
            await asyncio.sleep(0)
        assert made._work["d-1"].task is first  # the moment
        made._take_up("d-1")
        assert made._work["d-1"].task is not first
    await until(lambda: made.open_demands == 0)


async def test_a_stream_on_which_nobody_asked_for_anything_is_left_alone(client):
    """Only a demand that was open and has lost its beginning is ended; a note before a demand is none."""
    await publish_events(client, "demand:d-0", ("towow.note", {}))
    await until(lambda: not working_tasks())
    assert [event["event_type"] for event in await history(client, "d-0")] == ["towow.note"]


def find(kind):
    """The living objects of a class."""
    return [each for each in gc.get_objects() if isinstance(each, kind)]


async def test_stopping_leaves_nothing_behind(start):
    """No task of an open demand outlives the application."""
    client = await start(sample_agents=True, sample_delay_seconds=600.0)
    for n in range(5):
        await submit(client, f"We need a venue and a technical talk, {n}")
    await until(lambda: len(working_tasks()) > 10)
    await client.close()
    assert not working_tasks()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("bus", "coordinator"))]


# Garbage

KEYS = {
    "filter.completed": ("candidates",),
    "demand.broadcast": ("agent_ids", "offers_within_seconds"),
    "offer.submitted": ("agent_id", "offer"),
    "offer.declined": ("agent_id", "reason"),
    "gap.identified": ("capability", "gap", "reason", "needed_by", "round"),
    "subnet.triggered": ("subnet_id", "capability", "within_seconds"),
    "subnet.completed": ("subnet_id", "outcome", "assignments", "reason"),
    "proposal.distributed": (
        *("proposal_id", "round", "assignments", "missing", "total_price", "currency", "requirements", "wishes"),
        *("considered", "summary", "feedback_within_seconds"),
    ),
    "proposal.feedback": ("agent_id", "user_id", "proposal_id", "decision", "comment", "terms", "round"),
    "demand.understood": ("capabilities", "raw_input", "language", "requirements", "parent_demand_id", "depth"),
    "something.else": ("x",),
}


def garbage(random, demand_id):
    """An event that looks like one of a negotiation, with any values."""

    def value(depth=3):
        plain = [
            *(None, True, 0, 1, -1, 2.5, 1e308, 9_007_199_254_740_993, "", " ", "\u3000", "not an id", "场地" * 200),
            *("ann", "ben", "venue", "photography", "accept", "revise", "reject", "finalized", "2026-01-01", "USD", "zh"),
            *(demand_id, f"{demand_id}.1", f"{demand_id}.9", f"{demand_id}.x y", f"{demand_id}.1.1", f"{demand_id}-p1"),
        ]
        if depth == 0 or random.random() < 0.5:
            return random.choice(plain)
        if random.random() < 0.4:
            return [value(depth - 1) for _ in range(random.randrange(4))]
        names = ("agent_id", "capabilities", "needs", "terms", "price", "content", "conditions", "name", "capability", "score")
        return {name: value(depth - 1) for name in random.sample(names, random.randrange(1, 7))}

    name = random.choice(list(KEYS))
    return f"towow.{name}", {key: value() for key in KEYS[name] if random.random() < 0.8}


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_appended_to_its_stream_a_negotiation_ends(start, clock, seed):
    """No crash, no loop: with time it comes to an end, also across a restart, and its events stay few."""
    random = randomness.Random(seed)
    client = await start(clock, max_rounds=3)
    await register(client, VENUE, TALK, GUARD)
    demand_id = (await submit(client, "We need a venue, a technical talk and a photographer"))["demand_id"]
    scripts = {"ann": Script("venue", price=10, needs=["security guards"]), "ben": Script("technical talk")}
    appended = 0

    async def step():
        detail = await demand(client, demand_id)
        for agent_id in detail["waiting_for"]:
            if agent_id in scripts and random.random() < 0.5:
                given = {"agent_id": agent_id, **scripts[agent_id].invited()}
                await client.post(f"/api/demand/{demand_id}/offers", json=given)
                await feedback(client, demand_id, detail["current_round"], "accept", agent_id=agent_id)
        return detail["status"] != "processing"

    for _ in range(40):
        answer = await publish_events(client, f"demand:{demand_id}", garbage(random, demand_id))
        appended += answer.status == 201
        if await step():
            break
    await client.close()
    client = await start(clock, max_rounds=3)
    async with asyncio.timeout(20):
        while not await step():
            clock.now += 100_000.0  # nobody waits longer than a day
            await publish_events(client, f"demand:{demand_id}", ("towow.note", {}))
            appended += 1
            await asyncio.sleep(0.005)
    detail = await demand(client, demand_id)
    assert detail["outcome"]["event_type"].startswith("towow.")
    assert len(await history(client, demand_id)) - appended < 60
    await until(lambda: not [name for name in working_tasks() if name == f"demand {demand_id}"])


async def test_a_blank_need_is_no_gap_for_ever(start):
    """What cannot be named is not negotiated."""
    client = await start()
    await register(client, VENUE)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    blank = {"agent_id": "ann", "offer": {"content": "x", "capabilities": ["venue"], "needs": [" ", "\u3000"]}}
    assert (await publish_events(client, f"demand:{demand_id}", ("towow.offer.submitted", blank))).status == 201
    detail = await until_phase(client, demand_id, "proposing")
    assert detail["gaps"] == []
    assert (await decline(client, demand_id, "ann")).status == 409


async def test_a_result_that_names_no_agent_does_not_keep_a_demand_from_ending(start):
    """Copies go to streams of agents only."""
    client = await start()
    await register(client, VENUE)
    demand_id = (await submit(client, "We need a venue and a photographer"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    bad = {"agent_id": "not an id", "capabilities": ["photography"]}
    answer = await publish_events(
        client,
        f"demand:{demand_id}",
        ("towow.gap.identified", {"capability": "photography"}),
        ("towow.subnet.triggered", {"subnet_id": f"{demand_id}.7", "capability": "photography"}),
        ("towow.subnet.completed", {"subnet_id": f"{demand_id}.7", "outcome": "finalized", "assignments": [bad]}),
    )
    assert answer.status == 201
    assert (await until_ended(client, demand_id))["outcome"]["reason"] == "no_offers"


async def test_ten_agents_with_long_wishes_still_agree(start):
    """Every comment is as long as it may be, four times; the proposal stays a small event."""
    names = (
        *("venue", "technical talk", "photography", "catering", "translation"),
        *("graphic design", "live music", "emcee", "transport", "security guards"),
    )
    long = "场" * (MAX_COMMENT_CHARACTERS - 1)
    says = [*({"decision": "revise", "comment": long + str(n)} for n in range(4)), "accept"]
    agents = [{"agent_id": f"a{n}", "name": f"A{n}", "capabilities": [name]} for n, name in enumerate(names)]
    scripts = {f"a{n}": Script(name, says=says) for n, name in enumerate(names)}
    client = await start(max_rounds=5)
    detail = await negotiate(client, "We need a " + ", a ".join(names), scripts, *agents)
    assert (detail["status"], detail["current_round"]) == ("finalized", 5)
