"""
The demands surface over HTTP, held to source 000: submit, look, follow, poll, agents, and going on after a restart.
"""

import asyncio
import json
import re

import pytest

from server.app import BUS, FOLLOWERS, LOG, PROJECTIONS, is_terminal, make_app
from server.config import NegotiationSection, StreamSection
from server.surfaces.demands import coordinator, matching, model, routes
from server.surfaces.demands.sample_agents import SAMPLE_AGENTS
from server.surfaces.demands.understanding import understand
from tests.support import (
    assert_error,
    body,
    changed,
    open_log,
    publish,
    raw_connection,
    read_frames,
    read_head,
    read_to_end,
    request_bytes,
    until,
)

DEMAND = "想办一场 50 人的技术聚会，需要场地，找人做技术分享，还要有人帮忙活动策划"
BOB = {"agent_id": "user_agent_bob", "name": "Bob", "capabilities": ["场地资源"], "description": ""}
ALICE = {"agent_id": "user_agent_alice", "name": "Alice", "capabilities": ["技术分享"], "description": ""}
CHARLIE = {"agent_id": "user_agent_charlie", "name": "Charlie", "capabilities": ["活动策划"], "description": ""}
SSE_EVENT = ["event_id", "event_type", "timestamp", "payload", "seq", "revision", "source"]
TYPES = (
    "towow.demand.understood",
    "towow.filter.completed",
    "towow.demand.broadcast",
    "towow.offer.submitted",
    "towow.proposal.distributed",
    "towow.proposal.feedback",
    "towow.subnet.triggered",
    "towow.subnet.completed",
    "towow.gap.identified",
    "towow.proposal.finalized",
    "towow.negotiation.failed",
)


async def submit(client, raw_input=DEMAND, **fields):
    """
    Submit a demand; returns the answer's JSON.
    """
    answer = await client.post("/api/demand/submit", json={"raw_input": raw_input, **fields})
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def register(client, *agents):
    """
    Register agents.
    """
    for agent in agents:
        answer = await client.post("/api/agents", json=agent)
        assert answer.status == 201, await answer.text()


async def get(client, path):
    """
    An answer's JSON, when it is 200.
    """
    answer = await client.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def follow(client, demand_id, query="", **headers):
    """
    The events and control frames of a demand that ends: [(event name or None, id, data)].
    """
    async with client.get(f"/api/events/stream/{demand_id}?{query}", headers=headers) as response:
        assert response.status == 200, await response.text()
        frames = []
        while not frames or frames[-1].event != "end":
            frames += await read_frames(response, 1)
        assert await read_to_end(response) == ""
        return frames


async def fail(client, demand_id):
    """
    End a demand from outside.
    """
    ended = body(f"demand:{demand_id}", event_type="towow.negotiation.failed", payload={"reason": "called_off"})
    assert (await client.post("/api/events", json=ended)).status == 201


# Submitting


async def test_a_submission_is_answered_with_its_ids_and_how_it_was_understood(client, quiet_config):
    """
    Items 19, 20, 61: the documented shape, at once, with the understanding on disk.
    """
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
        },
        "seq": 1,
    }
    found = {item["capability"]: item["term"] for item in answer["understanding"]["capabilities"]}
    assert found["venue"] == "场地"
    event = await get(client, "/api/events/1")
    assert (event["stream"], event["event_type"]) == (f"demand:{answer['demand_id']}", "towow.demand.understood")


async def test_the_flow_from_submission_to_candidates(client):
    """
    Scenario 1: a stream that is opened late gets the understanding and the three candidates, once each, in order.
    """
    await register(client, BOB, ALICE, CHARLIE)
    submitted = await submit(client)
    demand_id = submitted["demand_id"]
    async with client.get(f"/api/events/stream/{demand_id}") as response:
        frames = []
        while len([frame for frame in frames if frame.event is None]) < 2:
            frames += await read_frames(response, 1)
    understood, filtered = [frame for frame in frames if frame.event is None]
    assert understood.data["event_type"] == "towow.demand.understood"
    assert understood.data["payload"] == {
        "demand_id": demand_id,
        "channel_id": submitted["channel_id"],
        **submitted["understanding"],
        "raw_input": DEMAND,
        "user_id": "anonymous",
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
    assert (understood.id, filtered.id) == (str(submitted["seq"]), str(filtered.data["seq"]))
    recent = await get(client, f"/api/events/recent/{demand_id}")
    assert recent["events"] == [understood.data, filtered.data]


async def test_the_stream_that_is_open_sees_the_candidates_arrive(client):
    """
    Items 66, 69, AC2: what the coordinator appends reaches the open stream.
    """
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
    """
    Item 62: bob, alice and charlie are there from the first start, and only from the first.
    """
    config = changed(quiet_config, "negotiation", sample_agents=True)
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


async def until_filtered(client, demand_id):
    """
    Wait until the coordinator has been at work.
    """
    async with asyncio.timeout(5):
        while (await get(client, f"/api/demand/{demand_id}/status"))["phase"] == "understood":
            await asyncio.sleep(0)


async def test_a_demand_that_nobody_can_serve_fails_and_its_stream_ends(client):
    """
    The empty list of candidates is an event, then the reason; a reconnect gets 204.
    """
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
    again = await client.get(f"/api/events/stream/{demand_id}", headers={"Last-Event-ID": frames[-2].id})
    assert again.status == 204
    assert (await get(client, f"/api/demand/{demand_id}"))["status"] == "failed"


async def test_filtering_that_breaks_ends_the_demand_with_a_reason(client, monkeypatch):
    """
    Nobody waits for ever because of a fault of ours, and its text stays in the log.
    """

    def broken(*args, **options):
        raise LookupError("swordfish")

    monkeypatch.setattr(matching, "search_candidates", broken)
    demand_id = (await submit(client))["demand_id"]
    frames = await follow(client, demand_id)
    payload = frames[-2].data["payload"]
    assert payload["reason"] == "internal_error"
    assert "swordfish" not in json.dumps(payload)


async def test_many_demands_at_once_are_all_filtered(client):
    """
    The coordinator works on several, on each once.
    """
    await register(client, BOB)
    demands = await asyncio.gather(*(submit(client, f"need a venue, number {n}") for n in range(20)))
    for demand in demands:
        await until_filtered(client, demand["demand_id"])
        events = (await get(client, f"/api/events/recent/{demand['demand_id']}"))["events"]
        assert [event["event_type"] for event in events] == ["towow.demand.understood", "towow.filter.completed"]


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
    """
    Source 000 dropped the user_id; this does not.
    """
    demand_id = (await submit(client, **fields))["demand_id"]
    assert (await get(client, f"/api/demand/{demand_id}"))["user_id"] == expected


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
    """
    Trimmed and with LF line ends, otherwise untouched; whatever it says, filtering gets through.
    """
    demand_id = (await submit(client, raw_input))["demand_id"]
    await until_filtered(client, demand_id)
    detail = await get(client, f"/api/demand/{demand_id}")
    assert detail["raw_input"] == kept
    assert detail["surface_demand"].strip()
    assert detail["phase"] in ("filtered", "failed")


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
    pytest.param({"raw_input": DEMAND, "demand_id": "d-1"}, "invalid_body", "demand_id", id="an unknown field"),
    pytest.param([DEMAND], "invalid_body", "body", id="a list for a body"),
]


@pytest.mark.parametrize(("given", "code", "field"), BAD_SUBMISSIONS)
async def test_a_bad_submission_is_refused_and_nothing_is_stored(client, given, code, field):
    """
    Item 21: an error with the field, never the text of an exception.
    """
    await assert_error(await client.post("/api/demand/submit", json=given), code, field=field)
    assert client.app[LOG].head_seq == 0


@pytest.mark.parametrize(
    ("raw", "content_type", "code"),
    [
        pytest.param(b"{", "application/json", "invalid_request", id="not JSON"),
        pytest.param(b"\xef\xbb\xbf{}", "application/json", "invalid_request", id="a byte order mark"),
        pytest.param(b'{"raw_input":"\xff"}', "application/json", "invalid_request", id="invalid UTF-8"),
        pytest.param(b'{"raw_input":"\\ud800"}', "application/json", "invalid_request", id="a lone surrogate"),
        pytest.param(b'{"raw_input":' + b"[" * 3_000 + b"]" * 3_000 + b"}", "application/json", "invalid_body", id="nested"),
        pytest.param(b"raw_input=x", "application/x-www-form-urlencoded", "unsupported_media_type", id="a form"),
        pytest.param(b'{"raw_input":"x"}', "text/plain", "unsupported_media_type", id="a plain text"),
    ],
)
async def test_a_submission_that_cannot_be_read_is_refused(client, raw, content_type, code):
    """
    The same parser and the same codes as everywhere.
    """
    answer = await client.post("/api/demand/submit", data=raw, headers={"Content-Type": content_type})
    await assert_error(answer, code)
    assert client.app[LOG].head_seq == 0


async def test_an_unexpected_failure_does_not_tell_its_text(client, monkeypatch):
    """
    Item 21: source 000 answered `str(e)`.
    """

    def broken(raw_input):
        raise RuntimeError("swordfish")

    monkeypatch.setattr(routes, "understand", broken)
    answer = await client.post("/api/demand/submit", json={"raw_input": DEMAND})
    await assert_error(answer, "internal", status=500)
    assert "swordfish" not in await answer.text()


async def test_an_id_that_is_taken_is_drawn_again(client, monkeypatch):
    """
    Item 61: 32 bits collide; nobody's demand is mixed with another's.
    """
    drawn = iter(["d-00000001", "d-00000001", "d-00000001", "d-00000002"])
    monkeypatch.setattr(model, "new_demand_id", lambda: next(drawn))
    assert (await submit(client, "first"))["demand_id"] == "d-00000001"
    assert (await submit(client, "second"))["demand_id"] == "d-00000002"
    assert (await get(client, "/api/demand/d-00000001"))["raw_input"] == "first"
    assert (await get(client, "/api/demand/d-00000002"))["raw_input"] == "second"


async def test_an_id_that_is_always_taken_is_an_error_and_not_a_loop(client, monkeypatch):
    """
    Something is wrong with the generator then; the client is told and nothing is overwritten.
    """
    monkeypatch.setattr(model, "new_demand_id", lambda: "d-00000001")
    await submit(client, "first")
    answer = await client.post("/api/demand/submit", json={"raw_input": "second"})
    await assert_error(answer, "revision_mismatch", status=412)
    assert (await get(client, "/api/demand/d-00000001"))["raw_input"] == "first"


# Looking


async def test_a_demand_is_what_its_events_say(client):
    """
    Items 22, 23, 64: real values from the log, true at `last_seq`, the round begins at 1.
    """
    await register(client, BOB)
    demand_id = (await submit(client, user_id="u-1"))["demand_id"]
    await until_filtered(client, demand_id)
    events = (await get(client, f"/api/events/recent/{demand_id}"))["events"]
    detail = await get(client, f"/api/demand/{demand_id}")
    assert detail["created_at"] == events[0]["timestamp"]
    assert detail["updated_at"] == events[1]["timestamp"]
    assert (detail["created_seq"], detail["last_seq"]) == (events[0]["seq"], events[1]["seq"])
    assert detail["candidates"] == events[1]["payload"]["candidates"]
    assert detail["understanding"]["capabilities"] == events[0]["payload"]["capabilities"]
    assert (detail["status"], detail["phase"], detail["user_id"]) == ("processing", "filtered", "u-1")
    assert await get(client, f"/api/demand/{demand_id}/status") == {
        "demand_id": demand_id,
        "status": "processing",
        "current_round": 1,
        "phase": "filtered",
        "last_seq": detail["last_seq"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", detail["created_at"])


PATHS = ("/api/demand/{}", "/api/demand/{}/status", "/api/events/stream/{}", "/api/events/recent/{}")


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_demand_is_404_before_any_header_of_a_stream(client, path):
    """
    Source 000 opened an endless empty stream.
    """
    await assert_error(await client.get(path.format("d-ffffffff")), "not_found", status=404)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("demand_id", ["%20", "a%20b", "a%0Ab", "%00", "*", "%E5%9C%BA", "x" * 129, "x" * 128, "%ff"])
async def test_a_malformed_demand_id_is_400(client, path, demand_id):
    """
    What cannot be an id is a mistake, also one that is too long for a stream's name.
    """
    await assert_error(await client.get(path.format(demand_id)), "invalid_request", status=400)


async def test_a_stream_with_notes_but_no_demand_is_no_demand(client):
    """
    Anybody may append to `demand:x`; it becomes a demand by being understood.
    """
    await publish(client, 1, stream="demand:x")
    await assert_error(await client.get("/api/demand/x"), "not_found", status=404)
    assert (await get(client, "/api/demand"))["demands"] == []
    assert len((await get(client, "/api/events/recent/x"))["events"]) == 1


async def test_demands_are_listed_newest_first_in_pages(client):
    """
    `before` is a `created_seq`; following from `head_seq` misses nothing.
    """
    ids = [(await submit(client, f"demand number {n}"))["demand_id"] for n in range(5)]
    for demand_id in ids:
        await until_filtered(client, demand_id)
    listed = await get(client, "/api/demand")
    assert [demand["demand_id"] for demand in listed["demands"]] == ids[::-1]
    assert listed["has_more"] is False
    assert listed["epoch"] == client.app[LOG].epoch
    assert listed["head_seq"] == max(demand["last_seq"] for demand in listed["demands"])
    for summary in listed["demands"]:
        detail = await get(client, f"/api/demand/{summary['demand_id']}")
        assert summary == {key: detail[key] for key in summary}
    got, before = [], ""
    while True:
        page = await get(client, f"/api/demand?limit=2{before}")
        got += [demand["demand_id"] for demand in page["demands"]]
        if not page["has_more"]:
            break
        before = f"&before={page['demands'][-1]['created_seq']}"
    assert got == ids[::-1]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=%D9%A3", "before=-1", "before=x", "before=1_0", "limit=1&limit=2"]
)
async def test_a_malformed_list_is_400(client, query):
    """
    Bounds are told, not applied.
    """
    await assert_error(await client.get(f"/api/demand?{query}"), "invalid_request", status=400, field=query.partition("=")[0])


# Following


async def test_live_and_history_have_one_shape(client):
    """
    Items 26, 46: what was seen live, what is replayed and what is polled are equal, field by field.
    """
    demand_id = "d-00000001"
    stream = f"demand:{demand_id}"
    await publish(client, 1, stream=stream)
    async with client.get(f"/api/events/stream/{demand_id}?start=live") as response:
        await read_frames(response, 1)
        for n, event_type in enumerate(TYPES[1:9]):
            await client.post(
                "/api/events", json=body(stream, n, event_type=event_type, payload={"n": n, "text": "场地\u2028"})
            )
        live = [frame.data for frame in await read_frames(response, 8)]
    async with client.get(f"/api/events/stream/{demand_id}?since_seq=1") as response:
        replayed = [frame.data for frame in await read_frames(response, 8)]
    polled = (await get(client, f"/api/events/recent/{demand_id}?after=1"))["events"]
    assert live == replayed == polled
    for event in live:
        assert list(event) == SSE_EVENT
        assert event["payload"]["demand_id"] == demand_id
        assert event["payload"]["channel_id"] == "collab-00000001"


async def test_a_frame_is_an_unnamed_data_line_with_the_seq_as_its_id(client):
    """
    Item 9: `data: {json}`, one event per frame, no `event:` field.
    """
    await publish(client, 1, stream="demand:x")
    async with raw_connection(client, request_bytes("GET", "/api/events/stream/x")) as (reader, _):
        _, headers = await read_head(reader)
        block = await reader.readuntil(b"}\n\n")
    assert re.fullmatch(rb'[0-9a-f]+\r\nretry: \d+\nid: 1\ndata: \{"event_id":.*\}\n\n', block)
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"].startswith("no-cache")
    assert headers["x-accel-buffering"] == "no"


def test_the_heartbeat_is_every_five_seconds_by_default():
    """
    Items 10, 57: the acceptance figure; the frame is pinned in test_sse.py.
    """
    assert StreamSection().demand_keepalive_seconds == 5.0


async def test_a_demand_is_followed_with_heartbeats(aiohttp_client, config):
    """
    Item 72: silence is filled, and events still arrive after it.
    """
    client = await aiohttp_client(make_app(config))
    await publish(client, 1, stream="demand:x")
    async with client.get("/api/events/stream/x") as response:
        frames = await read_frames(response, 4, comments=True)
        assert [frame.comment for frame in frames] == [None, None, "heartbeat", "heartbeat"]
        await publish(client, 1, stream="demand:x", start=1)
        while frames[-1].comment is not None or frames[-1].id != "2":
            frames += await read_frames(response, 1, comments=True)


@pytest.mark.parametrize("name", ["last_event_id", "since_seq", "after", "Last-Event-ID"])
async def test_a_reconnect_gets_exactly_the_rest_however_much_it_is(client, name):
    """
    Scenario 2, items 7, 67: everything after the cursor once, without source 000's limit of 50, then live.
    """
    await publish(client, 5, stream="demand:x")
    async with client.get("/api/events/stream/x") as response:
        last = (await read_frames(response, 5))[-1]
    await publish(client, 120, stream="demand:x", start=5)
    cursor = last.data["event_id"] if name != "since_seq" else last.id
    headers = {name: cursor} if name == "Last-Event-ID" else {}
    query = "" if headers else f"?{name}={cursor}"
    async with client.get(f"/api/events/stream/x{query}", headers=headers) as response:
        frames = await read_frames(response, 121)
        assert [int(frame.id) for frame in frames[:-1]] == list(range(6, 126))
        assert frames[-1].data["replayed"] == 120
        await publish(client, 1, stream="demand:x")
        assert [int(frame.id) for frame in await read_frames(response, 1)] == [126]


async def test_demands_whose_ids_share_their_beginning_do_not_see_each_other(client):
    """
    Scenario 3, item 12: exact names only; source 000 compared substrings.
    """
    ids = ("d-12345678", "d-123456789", "d-1234567", "d-12345678x", "12345678")
    for n in range(20):
        await publish(client, 1, stream=f"demand:{ids[n % 5]}", start=n)
    for index, demand_id in enumerate(ids):
        own = list(range(index + 1, 21, 5))
        recent = await get(client, f"/api/events/recent/{demand_id}")
        assert [event["seq"] for event in recent["events"]] == own
        async with client.get(f"/api/events/stream/{demand_id}") as response:
            frames = await read_frames(response, 5)
            assert [int(frame.id) for frame in frames[:-1]] == own


async def test_an_event_that_only_names_another_demand_stays_in_its_own_stream(client):
    """
    The payload of one demand cannot put an event into another's history.
    """
    await publish(client, 1, stream="demand:a")
    await client.post("/api/events", json=body("demand:b") | {"payload": {"demand_id": "a", "channel_id": "collab-a"}})
    assert len((await get(client, "/api/events/recent/a"))["events"]) == 1
    [event] = (await get(client, "/api/events/recent/b"))["events"]
    assert event["payload"] == {"demand_id": "a", "channel_id": "collab-a"}


async def test_a_demand_that_ends_while_it_is_watched_ends_the_stream(client):
    """
    The terminal event, `end`, a clean close; then 204 for every form of the cursor (scenario 8).
    """
    await register(client, BOB)
    demand_id = (await submit(client))["demand_id"]
    await until_filtered(client, demand_id)
    watching = asyncio.create_task(follow(client, demand_id))
    await until(lambda: client.app[LOG].hub.follower_count == 1)
    await fail(client, demand_id)
    frames = await watching
    assert [frame.event for frame in frames] == [None, None, "ready", None, "end"]
    last = frames[3]
    assert last.data["event_type"] == "towow.negotiation.failed"
    assert frames[4].data == {"reason": "towow.negotiation.failed", "last_seq": int(last.id)}
    for query in (f"since_seq={last.id}", f"last_event_id={last.data['event_id']}"):
        assert (await client.get(f"/api/events/stream/{demand_id}?{query}")).status == 204
    await until(lambda: client.app[LOG].hub.follower_count == 0)


async def test_a_demand_may_be_awaited_before_it_exists(client):
    """
    `allow_pending=1` for who knows the id first.
    """
    async with client.get("/api/events/stream/x?allow_pending=1") as response:
        await read_frames(response, 1)
        await publish(client, 1, stream="demand:x")
        assert (await read_frames(response, 1))[0].id == "1"


async def test_fifty_clients_that_vanish_are_gone_at_once(client):
    """
    Scenario 7, items 13, 73: subscribers return to 0, without waiting for a write.
    """
    await publish(client, 1, stream="demand:x")
    writers = []
    for _ in range(50):
        _, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(request_bytes("GET", "/api/events/stream/x"))
        writers.append(writer)
    await until(lambda: client.app[LOG].hub.follower_count == 50)
    assert (await get(client, "/api/events/health"))["subscribers"] == 50
    for writer in writers:
        writer.transport.abort()
    await until(lambda: len(client.app[FOLLOWERS]) == 0, timeout=1.0)
    assert await get(client, "/api/events/health") == {"status": "healthy", "subscribers": 0, "events_in_memory": 1}


async def test_the_health_of_events_has_real_figures(client):
    """
    Item 18: open streams, and events in the shared tail.
    """
    assert await get(client, "/api/events/health") == {"status": "healthy", "subscribers": 0, "events_in_memory": 0}
    await publish(client, 3, stream="demand:x")
    async with client.get("/api/events/stream/x") as response:
        await read_frames(response, 4)
        assert await get(client, "/api/events/health") == {"status": "healthy", "subscribers": 1, "events_in_memory": 3}


# Polling


async def test_recent_pages_forward_without_a_gap_or_an_empty_page(client):
    """
    Scenario 4, items 14 to 17, 68: seven events by three are 3, 3, 1, and `has_more` says so exactly.
    """
    receipts = await publish(client, 7, stream="demand:x")
    await publish(client, 3, stream="demand:y")
    pages, after = [], 0
    while True:
        page = await get(client, f"/api/events/recent/x?count=3&after={after}")
        pages.append((page["count"], page["has_more"], [event["seq"] for event in page["events"]]))
        after = page["events"][-1]["event_id"]
        if not page["has_more"]:
            break
    assert pages == [(3, True, [1, 2, 3]), (3, True, [4, 5, 6]), (1, False, [7])]
    assert (page["next_since_seq"], page["head_seq"], page["epoch"]) == (10, 10, client.app[LOG].epoch)
    rest = await get(client, f"/api/events/recent/x?count=3&after={receipts[3]['event_id']}")
    assert (rest["count"], rest["has_more"]) == (3, False)


async def test_recent_without_a_cursor_is_the_newest_in_chronological_order(client):
    """
    Item 16: 50 by default, at most 200.
    """
    await publish(client, 230, stream="demand:x")
    recent = await get(client, "/api/events/recent/x")
    assert [event["seq"] for event in recent["events"]] == list(range(181, 231))
    assert (recent["count"], recent["has_more"]) == (50, False)
    recent = await get(client, "/api/events/recent/x?count=200")
    assert [event["seq"] for event in recent["events"]] == list(range(31, 231))
    assert [event["seq"] for event in (await get(client, "/api/events/recent/x?count=1"))["events"]] == [230]


@pytest.mark.parametrize("count", ["0", "201", "-1", "x", "", "1.0", "1_0", "%D9%A3", "%201", "3&count=3"])
async def test_a_count_out_of_bounds_is_400(client, count):
    """
    Item 15: 1 to 200.
    """
    await publish(client, 1, stream="demand:x")
    answer = await client.get(f"/api/events/recent/x?count={count}")
    await assert_error(answer, "invalid_request", status=400, field="count")


async def test_recent_after_something_unknown_is_410(client):
    """
    Never an empty page that looks like the end.
    """
    await publish(client, 2, stream="demand:x")
    for query, reason in (
        ("after=evt-lost", "unknown_event_id"),
        ("after=99", "past_head"),
        ("after=1&epoch=e", "other_epoch"),
    ):
        error = await assert_error(await client.get(f"/api/events/recent/x?{query}"), "gone", status=410)
        assert (error["reason"], error["oldest_seq"], error["head_seq"]) == (reason, 1, 2)


async def test_polling_sees_what_streaming_sees(client):
    """
    AC8: the fallback gives the same events in the same order, one page after the other.
    """
    await register(client, BOB)
    demand_id = (await submit(client))["demand_id"]
    await until_filtered(client, demand_id)
    await fail(client, demand_id)
    streamed = [frame.data for frame in await follow(client, demand_id) if frame.event is None]
    polled, cursor = [], 0
    while True:
        page = await get(client, f"/api/events/recent/{demand_id}?count=1&after={cursor}")
        polled += page["events"]
        cursor = page["next_since_seq"]
        if not page["has_more"]:
            break
    assert polled == streamed
    assert len(polled) == 3


# The bus


async def test_handlers_of_the_bus_see_an_event_once_each_and_it_is_stored_once(client):
    """
    Scenario 6, items 3, 38, 54: `towow.*` and single types together; one row, one frame.
    """
    seen = []
    bus = client.app[BUS]
    bus.subscribe("towow.*", lambda event: seen.append(("towow.*", event.seq)))
    stops = [bus.subscribe(name, lambda event, name=name: seen.append((name, event.seq))) for name in TYPES]
    async with client.get("/api/events/stream?stream=task:x&allow_pending=1") as response:
        await read_frames(response, 1)
        for n, name in enumerate(TYPES):
            await client.post("/api/events", json=body("task:x", n, event_type=name))
        frames = await read_frames(response, 11)
    single = [(name, n) for n, name in enumerate(TYPES, start=1)]
    await until(lambda: len(seen) == 22)
    assert sorted(seen) == sorted(single + [("towow.*", seq) for _, seq in single])
    assert [(frame.data["event_type"], int(frame.id)) for frame in frames] == single
    assert client.app[LOG].head_seq == 11
    for stop in stops:
        stop()
    await publish(client, 1, stream="task:x")
    await client.post("/api/events", json=body("task:x", event_type=TYPES[0]))
    await until(lambda: len(seen) == 23)
    assert seen[-1] == ("towow.*", 13)


async def test_a_handler_that_fails_or_is_slow_hurts_nobody(client):
    """
    It is logged, gets the next event, and other subscriptions and publishers do not wait for it.
    """
    bus, seen, slow = client.app[BUS], [], []
    gate = asyncio.Event()

    def failing(event):
        seen.append(event.seq)
        raise ValueError("a fault of the handler")

    async def waiting(event):
        await gate.wait()
        slow.append(event.seq)

    bus.subscribe("note", failing)
    bus.subscribe("*", waiting)
    await publish(client, 3)
    await until(lambda: seen == [1, 2, 3])
    assert slow == []
    gate.set()
    await until(lambda: slow == [1, 2, 3])


# Agents


async def test_an_agent_is_registered_listed_looked_at_replaced_and_removed(client):
    """
    Its life in events of its own stream; the answers say what the projection says.
    """
    answer = await client.post(
        "/api/agents", json={"agent_id": "lin", "name": " Lin ", "capabilities": ["beekeeping", "beekeeping", "蜂蜜"]}
    )
    assert answer.status == 201
    created = await answer.json()
    assert created.pop("seq") == 1
    expected = {
        "agent_id": "lin",
        "name": "Lin",
        "capabilities": ["beekeeping", "蜂蜜"],
        "description": "",
        "sample": False,
        "registered_at": created["registered_at"],
    }
    assert created == expected
    one = await get(client, "/api/agents/lin")
    assert expected.items() <= one.items()
    listed = await get(client, "/api/agents")
    assert (listed["agents"], listed["head_seq"]) == ([one], 1)
    again = await client.post("/api/agents", json={"agent_id": "lin", "name": "Lin", "capabilities": ["beekeeping", "蜂蜜"]})
    assert again.status == 200
    assert client.app[LOG].head_seq == 1
    changed_agent = await client.post("/api/agents", json={"agent_id": "lin", "name": "Lin", "capabilities": ["honey"]})
    assert changed_agent.status == 201
    assert (await get(client, "/api/agents/lin"))["capabilities"] == ["honey"]
    removed = await client.delete("/api/agents/lin")
    assert await removed.json() == {"agent_id": "lin", "removed": True, "seq": 3}
    await assert_error(await client.get("/api/agents/lin"), "not_found", status=404, field="agent_id")
    await assert_error(await client.delete("/api/agents/lin"), "not_found", status=404, field="agent_id")
    assert (await get(client, "/api/agents"))["agents"] == []
    history = await get(client, "/api/events?stream=agent:lin&since_seq=0")
    assert [event["event_type"] for event in history["events"]] == ["agent.registered", "agent.registered", "agent.removed"]


AGENT = {"agent_id": "lin", "name": "Lin", "capabilities": ["beekeeping"]}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"agent_id": None}, "agent_id", id="no id"),
        pytest.param({"agent_id": ""}, "agent_id", id="empty id"),
        pytest.param({"agent_id": "a b"}, "agent_id", id="blank in the id"),
        pytest.param({"agent_id": "a:b"}, "agent_id", id="colon in the id"),
        pytest.param({"agent_id": "a\nb"}, "agent_id", id="newline in the id"),
        pytest.param({"agent_id": "林"}, "agent_id", id="Chinese id"),
        pytest.param({"agent_id": "x" * 123}, "agent_id", id="long id"),
        pytest.param({"agent_id": 7}, "agent_id", id="a number for an id"),
        pytest.param({"name": ""}, "name", id="empty name"),
        pytest.param({"name": " "}, "name", id="blank name"),
        pytest.param({"name": "a\nb"}, "name", id="newline in the name"),
        pytest.param({"name": "x" * 201}, "name", id="long name"),
        pytest.param({"capabilities": []}, "capabilities", id="no capability"),
        pytest.param({"capabilities": "venue"}, "capabilities", id="a text for capabilities"),
        pytest.param({"capabilities": [""]}, "capabilities.0", id="an empty capability"),
        pytest.param({"capabilities": ["a", "x" * 201]}, "capabilities.1", id="a long capability"),
        pytest.param({"capabilities": ["a\x00"]}, "capabilities.0", id="NUL in a capability"),
        pytest.param({"capabilities": ["a"] * 51}, "capabilities", id="too many capabilities"),
        pytest.param({"capabilities": [7]}, "capabilities[0]", id="a number for a capability"),
        pytest.param({"description": "x" * 2_001}, "description", id="long description"),
        pytest.param({"description": None}, "description", id="null for a description"),
        pytest.param({"sample": True}, "sample", id="an unknown field"),
    ],
)
async def test_a_bad_agent_is_refused_and_nothing_is_stored(client, changes, field):
    """
    With the field at fault.
    """
    given = AGENT | changes
    if changes.get("agent_id", "") is None:
        del given["agent_id"]
    await assert_error(await client.post("/api/agents", json=given), "invalid_body", status=422, field=field)
    assert client.app[LOG].head_seq == 0


@pytest.mark.parametrize("agent_id", ["%20", "%00", "a%0Ab", "x" * 129, "%E6%9E%97"])
async def test_a_malformed_agent_id_is_400(client, agent_id):
    """
    In the path it is a request that cannot be read.
    """
    for method in (client.get, client.delete):
        await assert_error(await method(f"/api/agents/{agent_id}"), "invalid_request", status=400, field="agent_id")


async def test_a_custom_agent_is_found_by_what_it_offers_until_it_is_removed(client):
    """
    Also by words that no lexicon knows, in either language; a removed one is found no more.
    """
    await register(client, AGENT, AGENT | {"agent_id": "mei", "name": "梅", "capabilities": ["古琴演奏"]})
    for demand, agent_id in (("I need somebody for beekeeping", "lin"), ("想请人来古琴演奏", "mei")):
        demand_id = (await submit(client, demand))["demand_id"]
        await until_filtered(client, demand_id)
        candidates = (await get(client, f"/api/demand/{demand_id}"))["candidates"]
        assert [candidate["agent_id"] for candidate in candidates] == [agent_id]
        assert candidates[0]["reason"]
    assert (await client.delete("/api/agents/lin")).status == 200
    demand_id = (await submit(client, "I need somebody for beekeeping"))["demand_id"]
    await until_filtered(client, demand_id)
    assert (await get(client, f"/api/demand/{demand_id}"))["status"] == "failed"


async def test_candidates_are_no_more_than_the_setting(aiohttp_client, quiet_config):
    """
    The best of them, best first.
    """
    client = await aiohttp_client(make_app(changed(quiet_config, "negotiation", max_candidates=2)))
    await register(client, *(BOB | {"agent_id": f"bob_{n}"} for n in range(4)))
    demand_id = (await submit(client, "需要场地"))["demand_id"]
    await until_filtered(client, demand_id)
    candidates = (await get(client, f"/api/demand/{demand_id}"))["candidates"]
    assert [candidate["agent_id"] for candidate in candidates] == ["bob_0", "bob_1"]


# Restarts


async def test_a_demand_reads_the_same_before_and_after_a_restart(aiohttp_client, quiet_config):
    """
    Scenario 8: status, round and created_at from the file; the stream has ended for good.
    """
    client = await aiohttp_client(make_app(quiet_config))
    await register(client, BOB)
    demand_id = (await submit(client))["demand_id"]
    await until_filtered(client, demand_id)
    final = body(f"demand:{demand_id}", event_type="towow.proposal.finalized", payload={"proposal": {"price": 3}})
    assert (await client.post("/api/events", json=final)).status == 201
    paths = [
        f"/api/demand/{demand_id}",
        f"/api/demand/{demand_id}/status",
        f"/api/events/recent/{demand_id}",
        "/api/demand",
        "/api/agents",
    ]
    before = [await get(client, path) for path in paths]
    assert (before[0]["status"], before[1]["current_round"]) == ("finalized", 1)
    await client.close()
    client = await aiohttp_client(make_app(quiet_config))
    assert [await get(client, path) for path in paths] == before
    last = before[2]["events"][-1]
    assert (await client.get(f"/api/events/stream/{demand_id}?since_seq={last['seq']}")).status == 204
    frames = await follow(client, demand_id, "since_seq=" + str(last["seq"] - 1))
    assert [frame.event for frame in frames] == [None, "end"]
    assert client.app[LOG].head_seq == last["seq"]


async def test_a_demand_that_was_left_unfiltered_is_taken_up_at_the_next_start(aiohttp_client, quiet_config):
    """
    Killed between the understanding and the candidates, the negotiation goes on where it was.
    """
    demand_id = "d-0000000a"
    command = model.Submit(demand_id, DEMAND, "u-1", understand(DEMAND))
    agent = matching.validate_agent("user_agent_bob", "Bob", ["场地资源"])
    async with open_log(quiet_config, is_terminal=is_terminal, projections=PROJECTIONS) as log:
        await log.append([matching.agent_registered(agent)])
        await log.append(model.decide(model.initial(demand_id), command))
    client = await aiohttp_client(make_app(quiet_config))
    await until_filtered(client, demand_id)
    events = (await get(client, f"/api/events/recent/{demand_id}"))["events"]
    assert [event["event_type"] for event in events] == ["towow.demand.understood", "towow.filter.completed"]
    assert [candidate["agent_id"] for candidate in events[1]["payload"]["candidates"]] == ["user_agent_bob"]
    await client.close()
    client = await aiohttp_client(make_app(quiet_config))
    demand = await submit(client, "需要场地")
    await until_filtered(client, demand["demand_id"])
    assert len((await get(client, f"/api/events/recent/{demand_id}"))["events"]) == 2  # and it is not done twice


async def test_a_demand_of_another_process_is_filtered_too(client, quiet_config):
    """
    What a second writer of the file understood reaches this one's coordinator.
    """
    await register(client, BOB)
    command = model.Submit("d-0000000b", DEMAND, "u-1", understand(DEMAND))
    async with open_log(quiet_config, is_terminal=is_terminal, projections=PROJECTIONS) as other:
        await other.append(model.decide(model.initial("d-0000000b"), command))
    await client.app[LOG].refresh()
    await until_filtered(client, "d-0000000b")
    assert (await get(client, "/api/demand/d-0000000b"))["phase"] == "filtered"


async def test_a_file_that_cannot_be_written_for_a_while_only_delays_filtering(client, monkeypatch):
    """
    The coordinator waits and tries again; the demand is not failed for it.
    """
    monkeypatch.setattr(coordinator, "_RETRY_SECONDS", (0.01, 0.02))
    await register(client, BOB)
    append, refused = client.app[LOG].append, []

    async def refuse_twice(events):
        if events[0].event_type == model.FILTERED and len(refused) < 2:
            refused.append(events)
            raise coordinator.StorageFull("no room")
        return await append(events)

    monkeypatch.setattr(client.app[LOG], "append", refuse_twice)
    demand_id = (await submit(client))["demand_id"]
    await until_filtered(client, demand_id)
    assert len(refused) == 2
    assert (await get(client, f"/api/demand/{demand_id}"))["phase"] == "filtered"


def test_the_defaults_are_those_of_the_source():
    """
    Items 60 to 62: bounds and the sample agents.
    """
    assert (routes.DEFAULT_RECENT_EVENTS, routes.MAX_RECENT_EVENTS) == (50, 200)
    assert NegotiationSection().sample_agents is True
    assert NegotiationSection().max_demand_characters == 10_000
    by_id = {agent["agent_id"]: agent["capabilities"] for agent in SAMPLE_AGENTS}
    assert "场地资源" in by_id["user_agent_bob"]
    assert "技术分享" in by_id["user_agent_alice"]
    assert "活动策划" in by_id["user_agent_charlie"]
