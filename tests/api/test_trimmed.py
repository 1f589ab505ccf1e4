"""What readers over HTTP are told of what retention has removed."""

import asyncio

from server.app import KEEPS, LOG, make_app
from server.config import KindRetention, RetentionSection, TokenSection
from server.eventlog.retention import trim
from server.eventlog.selection import select
from tests.support import EventSource, assert_error, body, changed, note, publish, read_frames, read_to_end, until

ALL = RetentionSection(max_events=1)


async def finish(log, task_id, events=3):
    """A task that has ended, and something after it."""
    stream = f"task:{task_id}"
    end = note(stream, event_type="task_complete")
    await log.append([*[note(stream, n) for n in range(events - 1)], end, note("note:open")])


async def test_a_stream_that_is_trimmed_whole_is_reset_ended_and_then_204(client):
    """The id of `ready` is what a native EventSource comes back with, so it stops."""
    log = client.app[LOG]
    await finish(log, "a")
    await trim(log, ALL)
    async with client.get("/api/events/stream?stream=task:a&since_seq=1") as response:
        reset, ready, end = await read_frames(response, 3)
        assert await read_to_end(response) == ""
    assert [frame.event for frame in (reset, ready, end)] == ["reset", "ready", "end"]
    assert (reset.data["reason"], reset.data["requested"], reset.data["missing_through_seq"]) == ("trimmed", 1, 3)
    assert (reset.data["stream"], reset.data["revision"], reset.data["outcome"]) == ("task:a", 3, "task_complete")
    assert end.data == {"reason": "trimmed", "last_seq": 3}
    async with EventSource(client.port, "/api/events/stream?stream=task:a&since_seq=1") as source:
        await until(lambda: source.state == "closed")
    assert source.statuses == [200, 204]


async def test_a_poll_of_what_is_gone_is_410_with_what_is_known(client):
    """Of a stream that is gone; at its end it is over; and it is in no list of streams, nor does it begin again."""
    log = client.app[LOG]
    await finish(log, "a")
    await trim(log, ALL)
    for query in ("", "&since_seq=1"):
        error = await assert_error(await client.get(f"/api/events?stream=task:a{query}"), "gone", status=410, field="cursor")
        assert (error["reason"], error["revision"], error["outcome"]) == ("trimmed", 3, "task_complete")
    page = await (await client.get("/api/events?stream=task:a&since_seq=3")).json()
    assert (page["events"], page["ended"]) == ([], True)
    await assert_error(await client.get("/api/events?stream=task:none"), "not_found", status=404)
    await assert_error(await client.post("/api/events", json=body("task:a")), "stream_ended", status=409)
    told = await (await client.get("/api/tasks/a")).json()
    assert told["status"] == "completed"


async def test_a_thing_without_a_row_whose_stream_is_gone_is_410_with_what_is_known(client):
    """Not 404: it was there, and nobody may take its name for a new one."""
    log = client.app[LOG]
    stream = "demand:d-gone"
    await log.append([note(stream), note(stream, event_type="towow.negotiation.failed"), note("note:open")])
    await log.write(lambda db: db.execute("DELETE FROM demands").close())
    await trim(log, ALL)
    error = await assert_error(await client.get("/api/demand/d-gone"), "gone", status=410, field="stream")
    assert (error["revision"], error["outcome"]) == (2, "towow.negotiation.failed")
    answer = await client.post("/api/demand/d-gone/cancel", json={})
    await assert_error(answer, "gone", status=410)
    await assert_error(await client.get("/api/demand/d-none"), "not_found", status=404)


async def test_a_reader_before_what_was_trimmed_is_told_and_gets_what_is_kept(client):
    """`reset`, then everything after its cursor that is left; the other readers hear nothing of it."""
    log = client.app[LOG]
    await publish(client, 2, stream="note:open")
    await finish(log, "a")
    await trim(log, ALL)
    async with client.get("/api/events/stream?since_seq=1") as response:
        frames = await read_frames(response, 4)
    assert [frame.event for frame in frames] == ["reset", None, None, "ready"]
    assert (frames[0].data["requested"], frames[0].data["missing_through_seq"]) == (1, 5)
    assert [frame.data["seq"] for frame in frames[1:3]] == [2, 6]
    async with client.get("/api/events/stream?stream=note:open&since_seq=1") as response:
        assert [frame.event for frame in await read_frames(response, 3)] == [None, None, "ready"]
    error = await assert_error(await client.get("/api/events?since_seq=1"), "gone", status=410)
    page = await (await client.get(f"/api/events?since_seq={error['oldest_seq'] - 1}")).json()
    assert [event["seq"] for event in page["events"]] == [6]


async def test_a_follower_that_retention_overtakes_is_told_in_mid_stream(aiohttp_client, quiet_config):
    """It never jumps without a word: `reset` where it was, then what is left, and the events are those that remain."""
    config = changed(changed(quiet_config, "stream", tail_bytes=0, page_bytes=4_000), "database", readers=1)
    client = await aiohttp_client(make_app(config))
    log = client.app[LOG]
    await publish(client, 600, stream="note:open")
    for n in range(40):
        await finish(log, f"t{n}")
    read = log.read
    is_held, go_on = asyncio.Event(), asyncio.Event()

    async def held(selection, after, **options):
        if after > 0 and not go_on.is_set():
            is_held.set()
            await go_on.wait()
        return await read(selection, after, **options)

    log.read = held
    async with client.get("/api/events/stream?since_seq=0") as response:
        await is_held.wait()
        await trim(log, ALL)
        go_on.set()
        seqs, resets = [], []
        while True:
            [frame] = await read_frames(response, 1)
            if frame.event == "reset":
                resets.append((len(seqs), frame.data))
            elif frame.event == "ready":
                break
            else:
                seqs.append(frame.data["seq"])
    left = {event.seq for event in (await read(select(), 0, max_bytes=1_000_000)).events}
    assert set(seqs) == left | set(seqs[: resets[0][0]])
    ((_, reset),) = resets
    assert (reset["reason"], reset["requested"]) == ("trimmed", seqs[resets[0][0] - 1])
    assert reset["missing_through_seq"] == log.meta.trimmed_seq


async def test_a_live_follower_of_an_open_stream_hears_nothing_of_its_trimming(client):
    """It has had everything; the stream goes on."""
    log = client.app[LOG]
    async with client.get("/api/events/stream?stream=note:a&allow_pending=1") as response:
        assert [frame.event for frame in await read_frames(response, 1)] == ["ready"]
        await publish(client, 9, stream="note:a")
        await read_frames(response, 9)
        await trim(log, RetentionSection(kinds={"note": KindRetention(keep_last=1)}))
        await publish(client, 1, stream="note:a")
        [frame] = await read_frames(response, 1)
        assert (frame.event, frame.data["revision"]) == (None, 10)


async def test_the_servers_own_stream_takes_a_scope_of_its_own(aiohttp_client, quiet_config):
    """`read:*` does not read it, nobody appends to it, and `*` does not show it."""
    tokens = tuple(
        TokenSection(name=name, scopes=scopes, token=f"{name}-0123456789abcdef0123456789")
        for name, scopes in (("all", ("read:*", "append:*")), ("auditor", ("read:*", "read:system:*", "append:system:*")))
    )
    client = await aiohttp_client(make_app(changed(quiet_config, "auth", mode="token", tokens=tokens)))

    def as_(name):
        return {"Authorization": f"Bearer {name}-0123456789abcdef0123456789"}

    log = client.app[LOG]
    await finish(log, "a")
    await trim(log, ALL)
    for path in ("/api/events?stream=system:log", "/api/events?stream=system:*", "/api/events/stream?stream=system:log"):
        await assert_error(await client.get(path, headers=as_("all")), "forbidden", status=403)
    page = await (await client.get("/api/events?stream=system:log", headers=as_("auditor"))).json()
    assert [(event["event_type"], event["payload"]["events"]) for event in page["events"]] == [("log.trimmed", 3)]
    page = await (await client.get("/api/events", headers=as_("auditor"))).json()
    assert [event["stream"] for event in page["events"]] == ["note:open"]
    for name in ("all", "auditor"):
        await assert_error(
            await client.post("/api/events", json=body("system:log"), headers=as_(name)), "forbidden", status=403
        )


async def test_what_somebody_waits_for_is_not_trimmed_whatever_the_settings_say(client):
    """The surfaces' vetoes: a waiting customer, a pending permission, an open demand."""
    log = client.app[LOG]
    asked = {"tool_name": "rm", "parameters": {"path": "a"}, "risk_level": "high"}
    for path, fields in (
        ("/api/agents", {"agent_id": "ann", "name": "Ann", "capabilities": ["venue"]}),
        ("/api/manual/escalate", {"session_name": "alice"}),
        ("/agent_backend/api/sse/notify/m-1", {"type": "permission_request", "data": asked, "permission_id": "p-1"}),
        ("/agent_backend/api/sse/notify/m-2", {"type": "error", "data": {"message": "m"}}),
        ("/api/demand/submit", {"user_id": "u", "raw_input": "We need a venue"}),
    ):
        answer = await client.post(path, json=fields)
        assert answer.status in (200, 201), await answer.text()
    demand_id = (await answer.json())["demand_id"]
    paths = ("session:alice", "mcp:m-1", f"demand:{demand_id}")
    before = [await (await client.get(f"/api/events?stream={stream}&since_seq=0")).json() for stream in paths]
    await publish(client, 1, stream="note:open")
    limits = KindRetention(keep_last=1, idle_days=1e-12)
    await trim(log, RetentionSection(max_events=1, kinds=dict.fromkeys(("session", "mcp", "demand"), limits)), KEEPS)
    after = [await (await client.get(f"/api/events?stream={stream}&since_seq=0")).json() for stream in paths]
    for now, then in zip(after, before, strict=True):
        assert now["events"][: len(then["events"])] == then["events"] != []
    assert (await log.stream("mcp:m-2")).kept == 0
