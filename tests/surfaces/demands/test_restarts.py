"""Negotiations across restarts: they go on where they were, and deadlines count from the times of events."""

import pytest

from server.app import LOG
from server.config import KindRetention, RetentionSection
from server.eventlog.retention import trim
from server.streaming.follower import wait_for_event
from server.surfaces.demands import coordinator
from tests.support import until
from tests.support.negotiations import (
    BEGUN,
    EVERYTHING,
    PHOTO,
    TALK,
    TEXT,
    VENUE,
    Script,
    cancel,
    demand,
    drive,
    feedback,
    get,
    history,
    offer,
    publish_events,
    register,
    submit,
    types_of,
    until_demand,
    until_ended,
    until_phase,
    waiting_in_depth,
    working_tasks,
)
from towow.events import timestamp_of


async def left_understood(client, monkeypatch):
    """Killed before anybody was looked for."""
    monkeypatch.setattr(coordinator.Coordinator, "_take_up", lambda self, demand_id, **options: None)
    return (await submit(client, TEXT))["demand_id"]


async def left_filtered(client, monkeypatch):
    """Somebody has recorded candidates, and no invitations."""
    demand_id = await left_understood(client, monkeypatch)
    found = [
        {"agent_id": each["agent_id"], "name": each["name"], "reason": f"{name}: {term}", "score": 0.1, "capabilities": [name]}
        for each, name, term in ((VENUE, "venue", "venue"), (TALK, "technical_talk", "technical talk"))
    ]
    assert (await publish_events(client, f"demand:{demand_id}", ("towow.filter.completed", {"candidates": found}))).status
    return demand_id


async def left_collecting(client, monkeypatch):
    """One of two has offered."""
    demand_id = (await submit(client, TEXT))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    assert (await offer(client, demand_id, "ann", "venue", content="gladly", terms={"price": 100})).status == 201
    return demand_id


async def left_filling_gaps(client, monkeypatch):
    """A sub-negotiation waits for an offer."""
    demand_id = await left_collecting(client, monkeypatch)
    await register(client, PHOTO)
    assert (await offer(client, demand_id, "ben", "technical talk", content="gladly", terms={"price": 50})).status == 201
    await until_phase(client, f"{demand_id}.1", "collecting_offers")
    return demand_id


async def left_proposing(client, monkeypatch):
    """A proposal has one answer of two."""
    demand_id = await left_collecting(client, monkeypatch)
    assert (await offer(client, demand_id, "ben", "technical talk", content="gladly", terms={"price": 50})).status == 201
    await until_phase(client, demand_id, "proposing")
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ann")).status == 201
    return demand_id


@pytest.mark.parametrize(
    "leave",
    [left_understood, left_filtered, left_collecting, left_filling_gaps, left_proposing],
    ids=lambda leave: leave.__name__,
)
async def test_a_negotiation_goes_on_where_it_was_after_a_restart(start, monkeypatch, leave):
    """In every phase: nothing is lost, nothing is done twice, nobody is told anything twice."""
    client = await start()
    await register(client, VENUE, TALK)
    with monkeypatch.context() as patch:
        demand_id = await leave(client, patch)
        before = await history(client, demand_id)
        await client.close()
    client = await start()
    assert await history(client, demand_id) == before or leave in (left_understood, left_filtered)
    scripts = {
        "ann": Script("venue", price=100),
        "ben": Script("technical talk", price=50),
        "cat": Script("photography", price=20),
    }
    detail = await drive(client, demand_id, scripts)
    assert detail["status"] == "finalized"
    is_filled = leave is left_filling_gaps
    assert detail["outcome"]["proposal"]["missing"] == ([] if is_filled else ["photography"])
    types = await types_of(client, demand_id)
    assert types == [
        *BEGUN,
        *["offer.submitted"] * 2,
        *("gap.identified", "subnet.triggered", "subnet.completed"),
        *("proposal.distributed", "proposal.feedback", "proposal.feedback", "proposal.finalized"),
    ]
    for agent_id in ("ann", "ben"):
        copies = (await get(client, f"/api/events?stream=agent:{agent_id}&type=towow.*&since_seq=0"))["events"]
        assert [event["event_type"] for event in copies] == [
            "towow.demand.broadcast",
            "towow.proposal.distributed",
            "towow.proposal.finalized",
        ]
    await until(lambda: not working_tasks())


async def test_what_a_cancelled_demand_started_is_cancelled_after_a_restart_too(start, monkeypatch):
    """Killed between the parent's end and its children's."""
    client = await start()
    demand_id = await waiting_in_depth(client)
    with monkeypatch.context() as patch:
        patch.setattr(coordinator.Coordinator, "_on_event", lambda self, event: None)
        await client.close()
        client = await start()
    await client.close()
    with monkeypatch.context() as patch:
        patch.setattr(coordinator.Coordinator, "_take_up", lambda self, demand_id, **options: None)
        client = await start()
        assert (await cancel(client, demand_id)).status == 200
        await client.close()
    client = await start()
    for name in (".1", ".1.1"):
        assert (await until_ended(client, demand_id + name))["outcome"]["reason"] == "parent_ended"
    await until(lambda: not working_tasks())


SECONDS = {"offer_timeout_seconds": 90.0, "feedback_timeout_seconds": 40.0, "subnet_timeout_seconds": 50.0}


class TestDeadlines:
    """Deadlines count from the times of events; what the server was down does not count."""

    async def left(self, start, clock, leave, monkeypatch, *, after=0.0):
        """Leave a demand open, and stop the server so many seconds later."""
        client = await start(clock, **SECONDS)
        await register(client, VENUE, TALK)
        demand_id = await leave(client, monkeypatch)
        clock.now += after
        assert (await publish_events(client, f"demand:{demand_id}", ("towow.note", {}))).status == 201
        await client.close()
        return demand_id

    @pytest.mark.parametrize(
        ("leave", "seconds"),
        [(left_collecting, 90.0), (left_proposing, 40.0), (left_filling_gaps, 50.0)],
        ids=lambda value: getattr(value, "__name__", None),
    )
    async def test_a_deadline_is_kept_across_a_restart(self, start, monkeypatch, clock, leave, seconds):
        """Not passed: the same deadline as before, and the demand waits. Passed: it goes on at once."""
        demand_id = await self.left(start, clock, leave, monkeypatch, after=seconds - 2)
        begun = clock.now - seconds + 2
        clock.now = begun + seconds - 0.02
        client = await start(clock)
        phase = (await demand(client, demand_id))["phase"]
        revision = len(await history(client, demand_id))
        await until(working_tasks)
        told = (await demand(client, demand_id))["deadline_at"]
        assert told == timestamp_of(begun + seconds)
        await client.close()
        clock.now = begun + seconds
        client = await start(clock)
        detail = await until_demand(client, demand_id, lambda detail: detail["phase"] != phase or detail["current_round"] > 1)
        assert len(await history(client, demand_id)) > revision
        if leave is left_collecting:
            assert [each["agent_id"] for each in detail["offers"]] == ["ann"]
        elif leave is left_proposing:
            later = await until_demand(client, demand_id, lambda detail: len(detail["proposals"]) == 2)
            assert {"by": "ben", "is_user": False, "decision": "silent", "comment": ""} in later["proposals"][1]["considered"]
        else:
            assert (detail["subnets"][0]["outcome"], detail["phase"]) == ("timed_out", "proposing")
            assert (await until_ended(client, f"{demand_id}.1"))["outcome"]["reason"] == "timed_out"

    @pytest.mark.parametrize(
        ("leave", "seconds"),
        [(left_collecting, 90.0), (left_proposing, 40.0), (left_filling_gaps, 50.0)],
        ids=lambda value: getattr(value, "__name__", None),
    )
    async def test_what_the_server_was_down_extends_what_is_awaited_once(self, start, monkeypatch, clock, leave, seconds):
        """Also beyond the deadline as it was: nobody could answer. The offer that comes then is taken."""
        demand_id = await self.left(start, clock, leave, monkeypatch, after=10.0)
        begun = clock.now - 10.0
        clock.now += 3_600.0
        for _ in range(2):
            client = await start(clock)
            detail = await demand(client, demand_id)
            assert detail["deadline_at"] == timestamp_of(begun + seconds + 3_600.0)
            events = [event for event in await history(client, demand_id) if event["event_type"] == "deadline.extended"]
            assert [event["payload"]["seconds"] for event in events] == [3_600.0]
            await client.close()
            clock.now += 4.0
        client = await start(clock)
        if leave is left_collecting:
            scripts = {"ann": Script("venue"), "ben": Script("technical talk")}
            assert (await drive(client, demand_id, scripts))["status"] == "finalized"

    async def test_a_clock_that_was_set_back_only_delays(self, start, monkeypatch, clock):
        """The demand waits for answers as before, and takes them."""
        demand_id = await self.left(start, clock, left_collecting, monkeypatch)
        clock.now -= 86_400.0
        client = await start(clock)
        scripts = {"ann": Script("venue"), "ben": Script("technical talk")}
        assert (await drive(client, demand_id, scripts))["status"] == "finalized"

    async def test_a_clock_that_was_set_forward_ends_the_waiting_at_the_next_event(self, start, monkeypatch, clock):
        """Who has answered takes part; nobody crashes."""
        client = await start(clock, **SECONDS)
        await register(client, VENUE, TALK)
        demand_id = await left_collecting(client, monkeypatch)
        clock.now += 86_400.0
        assert (await publish_events(client, f"demand:{demand_id}", ("towow.note", {}))).status == 201
        detail = await drive(client, demand_id, {"ann": Script("venue")})
        assert detail["status"] == "finalized"
        assert [each["agent_id"] for each in detail["outcome"]["proposal"]["assignments"]] == ["ann"]


async def test_a_demand_whose_beginning_was_trimmed_does_not_stay_open_for_ever(start):
    """Retention took what it needs to go on: at the next start it ends, with a reason."""
    client = await start()
    await register(client, VENUE)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    await publish_events(client, "task:other", *[("note", {"n": n}) for n in range(5)])
    assert await trim(client.app[LOG], RetentionSection(kinds={"demand": KindRetention(keep_last=2)}))
    await client.close()
    client = await start()
    seen = client.app[LOG].head_seq
    while (await get(client, "/api/demand"))["demands"][0]["status"] == "processing":
        assert await wait_for_event(client.app[LOG], EVERYTHING, seen, 5.0)
        seen = client.app[LOG].head_seq
    last = (await get(client, f"/api/events?stream=demand:{demand_id}&limit=1"))["events"][0]
    assert (last["event_type"], last["payload"]["reason"]) == ("towow.negotiation.failed", "internal_error")
