"""The demands surface over HTTP, held to source 000: submit, look, list, and going on after a restart."""

import asyncio
import json
import re

import pytest

from server.app import LOG, PROJECTIONS, is_terminal, make_app
from server.background import retry
from server.config import DemandsSection
from server.surfaces.demands import commands, matching, model, routes, text_writer
from server.surfaces.demands.samples.agents import SAMPLE_AGENTS
from server.surfaces.demands.state import initial
from server.surfaces.demands.understanding.reader import understand
from tests.support import assert_error, body, changed, open_log, publish, read_frames, until
from tests.support.negotiations import (
    ALICE,
    BOB,
    CHARLIE,
    DEMAND,
    FILTERED_TYPES,
    follow,
    get,
    register,
    submit,
    until_filtered,
)
from towow.errors import StorageFull

# Submitting


async def test_a_submission_is_answered_with_its_ids_and_how_it_was_understood(client, quiet_config):
    """Items 19, 20, 61: the documented shape, at once, with the understanding on disk."""
    answer = await submit(client)
    assert re.fullmatch(r"d-[0-9a-f]{8}", answer["demand_id"])
    assert answer == {
        "demand_id": answer["demand_id"],
        "channel_id": "collab-" + answer["demand_id"].removeprefix("d-"),
        "status": "processing",
        "understanding": {
            "surface_demand": answer["understanding"]["surface_demand"],
            "confidence": "high",
            "capabilities": answer["understanding"]["capabilities"],
            "language": "zh",
            "requirements": {"people": 50},
            "written_by": "rules",
        },
        "seq": 1,
    }
    found = {item["capability"]: item["term"] for item in answer["understanding"]["capabilities"]}
    assert found["venue"] == "场地"
    event = await get(client, "/api/events/1")
    assert (event["stream"], event["event_type"]) == (f"demand:{answer['demand_id']}", "towow.demand.understood")


async def test_the_flow_from_submission_to_candidates(client):
    """Scenario 1: a stream that is opened late gets the understanding and the three candidates, once each, in order."""
    await register(client, BOB, ALICE, CHARLIE)
    submitted = await submit(client)
    demand_id = submitted["demand_id"]
    async with client.get(f"/api/events/stream/{demand_id}") as response:
        frames = []
        while len([frame for frame in frames if frame.event is None]) < 3:
            frames += await read_frames(response, 1)
    understood, filtered, invited = [frame for frame in frames if frame.event is None]
    assert understood.data["event_type"] == "towow.demand.understood"
    assert understood.data["payload"] == {
        "demand_id": demand_id,
        "channel_id": submitted["channel_id"],
        **submitted["understanding"],
        "raw_input": DEMAND,
        "user_id": "anonymous",
        "confirm": False,
    }
    assert filtered.data["event_type"] == "towow.filter.completed"
    payload = filtered.data["payload"]
    assert (payload["demand_id"], payload["channel_id"]) == (demand_id, submitted["channel_id"])
    reasons = {candidate["agent_id"]: candidate["reason"] for candidate in payload["candidates"]}
    assert reasons["user_agent_bob"] == "venue: 场地"
    assert set(reasons) == {"user_agent_bob", "user_agent_alice", "user_agent_charlie"}
    assert all(
        reason and candidate["score"] > 0 for reason, candidate in zip(reasons.values(), payload["candidates"], strict=True)
    )
    assert (understood.seq, filtered.seq) == (submitted["seq"], filtered.data["seq"])
    recent = await get(client, f"/api/events/recent/{demand_id}")
    assert recent["events"] == [understood.data, filtered.data, invited.data]
    assert invited.data["event_type"] == "towow.demand.broadcast"
    assert invited.data["payload"]["agent_ids"] == [candidate["agent_id"] for candidate in payload["candidates"]]


async def test_the_stream_that_is_open_sees_the_candidates_arrive(client):
    """Items 66, 69, AC2: what the coordinator appends reaches the open stream."""
    await register(client, BOB)
    demand_id = (await submit(client, "I need a venue for 30 people"))["demand_id"]
    async with client.get(f"/api/events/stream/{demand_id}?start=live") as response:
        await until(lambda: client.app[LOG].hub.follower_count == 1)
        offer = body(f"demand:{demand_id}", event_type="towow.offer.submitted", payload={"agent_id": "user_agent_bob"})
        assert (await client.post("/api/events", json=offer)).status == 201
        types = []
        while "towow.offer.submitted" not in types:
            types += [frame.data["event_type"] for frame in await read_frames(response, 1) if frame.event is None]


async def test_a_newcomer_gets_candidates_from_the_sample_agents(aiohttp_client, quiet_config):
    """Item 62: bob, alice and charlie are there from the first start, and only from the first."""
    config = changed(quiet_config, "demands", sample_agents=True)
    client = await aiohttp_client(make_app(config))
    agents = (await get(client, "/api/agents"))["agents"]
    assert [agent["agent_id"] for agent in agents] == [agent["agent_id"] for agent in SAMPLE_AGENTS]
    assert all(agent["sample"] for agent in agents)
    for demand in (DEMAND, "Looking for a venue, a technical talk and somebody for event planning"):
        demand_id = (await submit(client, demand))["demand_id"]
        await until_filtered(client, demand_id)
        detail = await get(client, f"/api/demand/{demand_id}")
        found = {candidate["agent_id"] for candidate in detail["candidates"]}
        assert {"user_agent_bob", "user_agent_alice", "user_agent_charlie"} <= found
    assert (await client.delete("/api/agents/user_agent_bob")).status == 200
    await client.close()
    client = await aiohttp_client(make_app(config))
    agents = (await get(client, "/api/agents"))["agents"]
    assert "user_agent_bob" not in [agent["agent_id"] for agent in agents]
    assert len(agents) == len(SAMPLE_AGENTS) - 1


async def test_a_demand_that_nobody_can_serve_fails_and_its_stream_ends(client):
    """The empty list of candidates is an event, then the reason; a reconnect gets 204."""
    demand_id = (await submit(client, "我想要一个会飞的地毯"))["demand_id"]
    frames = await follow(client, demand_id)
    events = [frame.data for frame in frames if frame.event is None]
    assert [event["event_type"] for event in events] == [
        "towow.demand.understood",
        "towow.filter.completed",
        "towow.negotiation.failed",
    ]
    assert events[1]["payload"]["candidates"] == []
    assert events[2]["payload"]["reason"] == "no_candidates"
    assert events[2]["payload"]["message"]
    assert frames[-1].data == {"reason": "towow.negotiation.failed", "last_seq": events[2]["seq"]}
    assert (await client.get(f"/api/events/stream/{demand_id}", headers={"Last-Event-ID": frames[-2].id})).status == 204
    assert (await get(client, f"/api/demand/{demand_id}"))["status"] == "failed"


async def test_filtering_that_breaks_ends_the_demand_with_a_reason(client, monkeypatch):
    """Nobody waits for ever because of a fault of ours, and its text stays in the log."""

    def broken(*args, **options):
        raise LookupError("swordfish")

    monkeypatch.setattr(matching, "search_candidates", broken)
    demand_id = (await submit(client))["demand_id"]
    frames = await follow(client, demand_id)
    payload = frames[-2].data["payload"]
    assert payload["reason"] == "internal_error"
    assert "swordfish" not in json.dumps(payload)


async def test_many_demands_at_once_are_all_filtered(client):
    """The coordinator works on several, on each once."""
    await register(client, BOB)
    demands = await asyncio.gather(*(submit(client, f"need a venue, number {n}") for n in range(20)))
    for demand in demands:
        seen = await until_filtered(client, demand["demand_id"])  # from its row, which may be ahead of what was announced
        at_least = {"X-Towow-At-Least": str(seen["last_seq"])}
        answer = await client.get(f"/api/events/recent/{demand['demand_id']}", headers=at_least)
        assert [event["event_type"] for event in (await answer.json())["events"]] == FILTERED_TYPES


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, "anonymous", id="realistic: unsaid"),
        pytest.param({"user_id": "u-1"}, "u-1", id="realistic: said"),
        pytest.param({"user_id": None}, "anonymous", id="edge: null"),
        pytest.param({"user_id": "  "}, "anonymous", id="edge: blank"),
        pytest.param({"user_id": " 王小明 "}, "王小明", id="edge: trimmed"),
        pytest.param({"user_id": "x" * 200}, "x" * 200, id="edge: longest"),
    ],
)
async def test_who_asks_is_stored(client, fields, expected):
    """Source 000 dropped the user_id; this does not."""
    demand_id = (await submit(client, **fields))["demand_id"]
    assert (await get(client, f"/api/demand/{demand_id}"))["user_id"] == expected


@pytest.mark.parametrize(("fields", "expected"), [({}, False), ({"confirm": False}, False), ({"confirm": True}, True)])
async def test_whether_the_user_wants_to_be_asked_is_stored(client, fields, expected):
    """Unsaid, nobody asks."""
    demand_id = (await submit(client, **fields))["demand_id"]
    assert (await get(client, f"/api/demand/{demand_id}"))["confirm"] is expected


@pytest.mark.parametrize(
    ("raw_input", "kept"),
    [
        pytest.param("  需要场地 \n", "需要场地", id="trimmed"),
        pytest.param("a\r\nb\rc\td", "a\nb\nc\td", id="line ends"),
        pytest.param("<script>alert(1)</script> venue", "<script>alert(1)</script> venue", id="markup is text"),
        pytest.param("👩‍🚀 🎉", "👩‍🚀 🎉", id="emoji only"),
        pytest.param("场" * 10_000, "场" * 10_000, id="longest"),
        pytest.param(" " * 500 + "x" * 10_000 + " ", "x" * 10_000, id="longest after trimming"),
        pytest.param("' OR 1=1; DROP TABLE agents --", "' OR 1=1; DROP TABLE agents --", id="SQL"),
        pytest.param('venue" OR NEAR(* AND', 'venue" OR NEAR(* AND', id="full-text syntax"),
    ],
)
async def test_a_demand_is_kept_as_it_was_said(client, raw_input, kept):
    """Trimmed and with LF line ends, otherwise untouched; whatever it says, filtering gets through."""
    demand_id = (await submit(client, raw_input))["demand_id"]
    await until_filtered(client, demand_id)
    detail = await get(client, f"/api/demand/{demand_id}")
    assert detail["raw_input"] == kept
    assert detail["surface_demand"].strip()
    assert detail["phase"] in ("collecting_offers", "failed")


BAD_SUBMISSIONS = [
    pytest.param({}, "invalid_body", "raw_input", id="nothing"),
    pytest.param({"raw_input": ""}, "invalid_body", "raw_input", id="empty"),
    pytest.param({"raw_input": " \n\t "}, "invalid_body", "raw_input", id="blank"),
    pytest.param({"raw_input": "\u3000\u200b\ufeff"}, "invalid_body", "raw_input", id="invisible"),
    pytest.param({"raw_input": None}, "invalid_body", "raw_input", id="null"),
    pytest.param({"raw_input": 7}, "invalid_body", "raw_input", id="a number"),
    pytest.param({"raw_input": ["x"]}, "invalid_body", "raw_input", id="a list"),
    pytest.param({"raw_input": "a\x00b"}, "invalid_body", "raw_input", id="NUL"),
    pytest.param({"raw_input": "a\x1b[31mb"}, "invalid_body", "raw_input", id="an escape sequence"),
    pytest.param({"raw_input": "x" * 10_001}, "too_large", "raw_input", id="one character too long"),
    pytest.param({"raw_input": "x" * 200_000}, "too_large", "raw_input", id="200 kB"),
    pytest.param({"raw_input": "场" * 70_000}, "too_large", "raw_input", id="210 kB of Chinese"),
    pytest.param({"raw_input": DEMAND, "user_id": 7}, "invalid_body", "user_id", id="a number for a user"),
    pytest.param({"raw_input": DEMAND, "user_id": "a\nb"}, "invalid_body", "user_id", id="a newline in the user"),
    pytest.param({"raw_input": DEMAND, "user_id": "x" * 201}, "invalid_body", "user_id", id="a user that is too long"),
    pytest.param({"raw_input": DEMAND, "confirm": "yes"}, "invalid_body", "confirm", id="a text for a truth"),
    pytest.param({"raw_input": DEMAND, "confirm": None}, "invalid_body", "confirm", id="null for a truth"),
    pytest.param({"raw_input": DEMAND, "demand_id": "d-1"}, "invalid_body", "demand_id", id="an unknown field"),
    pytest.param([DEMAND], "invalid_body", "body", id="a list for a body"),
]


@pytest.mark.parametrize(("given", "code", "field"), BAD_SUBMISSIONS)
async def test_a_bad_submission_is_refused_and_nothing_is_stored(client, given, code, field):
    """Item 21: an error with the field, never the text of an exception."""
    await assert_error(await client.post("/api/demand/submit", json=given), code, field=field)
    assert client.app[LOG].head_seq == 0


async def test_an_unexpected_failure_does_not_tell_its_text(client, monkeypatch):
    """Item 21: source 000 answered `str(e)`."""

    def broken(raw_input):
        raise RuntimeError("swordfish")

    monkeypatch.setattr(text_writer, "understand", broken)
    answer = await client.post("/api/demand/submit", json={"raw_input": DEMAND})
    await assert_error(answer, "internal", status=500)
    assert "swordfish" not in await answer.text()


async def test_an_id_that_is_taken_is_drawn_again(client, monkeypatch):
    """Item 61: 32 bits collide; nobody's demand is mixed with another's."""
    drawn = iter(["d-00000001", "d-00000001", "d-00000001", "d-00000002"])
    monkeypatch.setattr(routes, "new_demand_id", lambda digits: next(drawn))
    assert (await submit(client, "first"))["demand_id"] == "d-00000001"
    assert (await submit(client, "second"))["demand_id"] == "d-00000002"
    assert (await get(client, "/api/demand/d-00000001"))["raw_input"] == "first"
    assert (await get(client, "/api/demand/d-00000002"))["raw_input"] == "second"


async def test_an_id_that_is_always_taken_is_an_error_and_not_a_loop(client, monkeypatch):
    """Something is wrong with the generator then; the client is told and nothing is overwritten."""
    monkeypatch.setattr(routes, "new_demand_id", lambda digits: "d-00000001")
    await submit(client, "first")
    await assert_error(await client.post("/api/demand/submit", json={"raw_input": "second"}), "revision_mismatch", status=412)
    assert (await get(client, "/api/demand/d-00000001"))["raw_input"] == "first"


# Looking


async def test_a_demand_is_what_its_events_say(client):
    """Items 22, 23, 64: real values from the log, true at `last_seq`, the round begins at 1."""
    await register(client, BOB)
    demand_id = (await submit(client, user_id="u-1"))["demand_id"]
    await until_filtered(client, demand_id)
    events = (await get(client, f"/api/events/recent/{demand_id}"))["events"]
    detail = await get(client, f"/api/demand/{demand_id}")
    assert detail["created_at"] == events[0]["timestamp"]
    assert detail["updated_at"] == events[2]["timestamp"]
    assert (detail["created_seq"], detail["last_seq"]) == (events[0]["seq"], events[2]["seq"])
    assert detail["candidates"] == events[1]["payload"]["candidates"]
    assert detail["understanding"]["capabilities"] == events[0]["payload"]["capabilities"]
    assert (detail["status"], detail["phase"], detail["user_id"]) == ("processing", "collecting_offers", "u-1")
    assert await get(client, f"/api/demand/{demand_id}/status") == {
        "demand_id": demand_id,
        "status": "processing",
        "current_round": 1,
        "phase": "collecting_offers",
        "last_seq": detail["last_seq"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", detail["created_at"])


PATHS = ("/api/demand/{}", "/api/demand/{}/status", "/api/events/stream/{}", "/api/events/recent/{}")


@pytest.mark.parametrize("path", PATHS)
async def test_a_demand_id_that_is_too_long_for_a_streams_name_is_400(client, path):
    """Although it keeps to the rules of ids."""
    await assert_error(await client.get(path.format("x" * 128)), "invalid_request", status=400)


async def test_a_stream_with_notes_but_no_demand_is_no_demand(client):
    """Anybody may append to `demand:x`; it becomes a demand by being understood."""
    await publish(client, 1, stream="demand:x")
    await assert_error(await client.get("/api/demand/x"), "not_found", status=404)
    assert (await get(client, "/api/demand"))["demands"] == []
    assert len((await get(client, "/api/events/recent/x"))["events"]) == 1


async def test_sub_negotiations_are_listed_with_their_parent_alone(client):
    """In pages like the others; a parent without any, or that is not there, has an empty list."""
    root = (await submit(client))["demand_id"]
    await until_filtered(client, root)
    for n in (1, 2, 3):
        payload = {"raw_input": "场地", "parent_demand_id": root, "depth": 1}
        child = body(f"demand:{root}.{n}", event_type="towow.demand.understood", payload=payload)
        assert (await client.post("/api/events", json=child)).status == 201
    listed = await get(client, f"/api/demand?parent={root}&limit=2")
    assert [each["demand_id"] for each in listed["demands"]] == [f"{root}.3", f"{root}.2"]
    assert {(each["parent_demand_id"], each["depth"]) for each in listed["demands"]} == {(root, 1)}
    assert listed["has_more"] is True
    rest = await get(client, f"/api/demand?parent={root}&before={listed['demands'][-1]['created_seq']}")
    assert ([each["demand_id"] for each in rest["demands"]], rest["has_more"]) == ([f"{root}.1"], False)
    [shown] = (await get(client, "/api/demand"))["demands"]
    assert (shown["demand_id"], shown["parent_demand_id"], shown["depth"]) == (root, None, 0)
    for parent in (f"{root}.1", "d-ffffffff"):
        assert (await get(client, f"/api/demand?parent={parent}"))["demands"] == []


# Restarts


async def test_a_demand_that_was_left_unfiltered_is_taken_up_at_the_next_start(aiohttp_client, quiet_config):
    """Killed between the understanding and the candidates, the negotiation goes on where it was."""
    demand_id = "d-0000000a"
    command = commands.Submit(DEMAND, "u-1", understand(DEMAND))
    agent = matching.validate_agent("user_agent_bob", "Bob", ["场地资源"])
    async with open_log(quiet_config, is_terminal=is_terminal, projections=PROJECTIONS) as log:
        await log.append([matching.agent_registered(agent)])
        await log.append(model.decide(initial(demand_id), command))
    client = await aiohttp_client(make_app(quiet_config))
    await until_filtered(client, demand_id)
    events = (await get(client, f"/api/events/recent/{demand_id}"))["events"]
    assert [event["event_type"] for event in events] == FILTERED_TYPES
    assert [candidate["agent_id"] for candidate in events[1]["payload"]["candidates"]] == ["user_agent_bob"]
    await client.close()
    client = await aiohttp_client(make_app(quiet_config))
    demand = await submit(client, "需要场地")
    await until_filtered(client, demand["demand_id"])
    assert len((await get(client, f"/api/events/recent/{demand_id}"))["events"]) == 3  # and it is not done twice


async def test_a_demand_of_another_process_is_filtered_too(client, quiet_config):
    """What a second writer of the file understood reaches this one's coordinator."""
    await register(client, BOB)
    command = commands.Submit(DEMAND, "u-1", understand(DEMAND))
    async with open_log(quiet_config, is_terminal=is_terminal, projections=PROJECTIONS) as other:
        await other.append(model.decide(initial("d-0000000b"), command))
    await client.app[LOG].refresh()
    await until_filtered(client, "d-0000000b")
    assert (await get(client, "/api/demand/d-0000000b"))["phase"] == "collecting_offers"


async def test_a_file_that_cannot_be_written_for_a_while_only_delays_filtering(client, monkeypatch):
    """The coordinator waits and tries again; the demand is not failed for it."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (0.01, 0.02))
    await register(client, BOB)
    append, refused = client.app[LOG].append, []

    async def refuse_twice(events):
        if events[0].event_type == model.FILTERED and len(refused) < 2:
            refused.append(events)
            raise StorageFull("no room")
        return await append(events)

    monkeypatch.setattr(client.app[LOG], "append", refuse_twice)
    demand_id = (await submit(client))["demand_id"]
    await until_filtered(client, demand_id)
    assert len(refused) == 2
    assert (await get(client, f"/api/demand/{demand_id}"))["phase"] == "collecting_offers"


def test_the_defaults_are_those_of_the_source():
    """Items 60 to 62: bounds and the sample agents."""
    assert (routes.DEFAULT_RECENT_EVENTS, routes.MAX_RECENT_EVENTS) == (50, 200)
    assert DemandsSection().sample_agents is True
    assert DemandsSection().max_demand_characters == 10_000
    by_id = {agent["agent_id"]: agent["capabilities"] for agent in SAMPLE_AGENTS}
    assert "场地资源" in by_id["user_agent_bob"]
    assert "技术分享" in by_id["user_agent_alice"]
    assert "活动策划" in by_id["user_agent_charlie"]
