"""The six cases that source 002 names, against a real server process: `pytest tests/integration/test_sse_task_events.py -v`.

`tests/surfaces/tasks/test_routes.py` has the details of each."""

import asyncio
import json

import aiohttp
import pytest

from tests.support import EventSource, ServerProcess, credentials, read_frames, until
from towow.events import uuid7

KEEPALIVE = {"TOWOW__TASKS__KEEPALIVE_SECONDS": "0.1"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with quick keepalives."""
    environment = {**KEEPALIVE, "TOWOW__DEMANDS__SAMPLE_AGENTS": "false", "TOWOW__STREAM__RETRY_MILLISECONDS": "10"}
    with ServerProcess(tmp_path_factory.mktemp("tasks") / "towow.db", environment=environment) as server:
        yield server


@pytest.fixture
async def session(served):
    """Requests to it."""
    async with aiohttp.ClientSession(served.url, headers=credentials()) as session:
        yield session


@pytest.fixture
def task_id():
    """A task that no other test has."""
    return f"task_{uuid7()}"


async def emit(session, task_id, *events):
    """Say what happened, in one request; the places in the log."""
    async with session.post(f"/api/tasks/{task_id}/events", json={"events": events}) as answer:
        assert answer.status == 201, await answer.text()
        return [each["seq"] for each in (await answer.json())["events"]]


def notes(*numbers):
    """Events that say a number."""
    return [{"event_type": "note", "payload": {"n": n}} for n in numbers]


def numbers(events):
    """What notes say."""
    return [event["payload"]["n"] for event in events]


async def test_sse_basic_streaming(session, task_id):
    """What was emitted before and what is emitted now arrives in order, flat, until the task ends."""
    await emit(session, task_id, {"event_type": "phase_enter", "phase": "executing"})
    async with session.get(f"/sse/tasks/{task_id}/events?since_seq=0&batch_size=10&flush_interval=0.5") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        [stored, ready] = await read_frames(response, 2)
        await emit(session, task_id, {"event_type": "work_item_started", "span_id": "s-1", "payload": {"name": "parse"}})
        await emit(session, task_id, {"event_type": "progress_update", "payload": {"progress": 50}})
        await emit(session, task_id, {"event_type": "task_complete"})
        live = await read_frames(response, 4)
    assert (stored.data["event_type"], stored.data["phase"], stored.data["task_id"]) == ("phase_enter", "executing", task_id)
    assert ready.event == "ready"
    assert [frame.data.get("event_type") for frame in live[:3]] == ["work_item_start", "progress_update", "task_complete"]
    assert (live[0].data["span_id"], live[1].data["payload"]) == ("s-1", {"progress": 50})
    assert [frame.data["revision"] for frame in (stored, *live[:3])] == [1, 2, 3, 4]
    assert live[3].event == "end"


async def test_sse_resumption(served, session, task_id):
    """After every break exactly the rest, also across `kill -9` of the server; the cursor is exclusive."""
    seqs = await emit(session, task_id, *notes(0, 1, 2, 3))
    async with session.get(f"/sse/tasks/{task_id}/events?since_seq={seqs[1]}") as response:
        frames = await read_frames(response, 3)
    assert numbers(frame.data for frame in frames[:2]) == [2, 3]
    async with EventSource(served.port, f"/sse/tasks/{task_id}/events?since_seq=0") as source:
        await until(lambda: len(source.events()) == 4)
        await asyncio.to_thread(served.kill)
        await asyncio.to_thread(served.start)
        await emit(session, task_id, *notes(4, 5), {"event_type": "task_complete", "payload": {"n": 6}})
        await until(lambda: source.state == "closed", timeout=20)
    assert numbers(source.events()) == list(range(7))
    assert source.statuses[-1] == 204
    async with session.get(f"/api/tasks/{task_id}/events?since_seq={seqs[1]}&until_seq={seqs[3]}") as answer:
        assert numbers((await answer.json())["events"]) == [2, 3]


async def test_sse_batching(session, task_id):
    """The first event goes out at once, later ones in batches, one event a frame, in order."""
    path = f"/sse/tasks/{task_id}/events?batch_size=5&flush_interval=5&allow_pending=1"
    async with session.get(path) as response:
        await read_frames(response, 1)
        [first] = await _emitted_one_by_one(session, task_id, response, range(1), wanted=1)
        batch = await _emitted_one_by_one(session, task_id, response, range(1, 6), wanted=5)
        await emit(session, task_id, *notes(6), {"event_type": "task_complete", "payload": {"n": 7}})
        rest = await read_frames(response, 3)
    assert numbers(frame.data for frame in (first, *batch, *rest[:2])) == list(range(8))
    assert [frame.event for frame in rest] == [None, None, "end"]


async def _emitted_one_by_one(session, task_id, response, said, *, wanted):
    """The frames that come after single events."""
    for n in said:
        await emit(session, task_id, *notes(n))
    return await read_frames(response, wanted)


async def test_sse_keepalive(session, task_id):
    """Silence is filled with the comment of the source, which no client takes for an event; events still come after it."""
    async with session.get(f"/sse/tasks/{task_id}/events?allow_pending=1") as response:
        frames = await read_frames(response, 3, comments=True)
        assert [frame.comment for frame in frames[1:]] == ["keepalive", "keepalive"]
        assert frames[0].data["keepalive_seconds"] == 0.1
        await emit(session, task_id, *notes(7))
        [frame] = await read_frames(response, 1)
        assert (frame.data["payload"], frame.data["revision"]) == ({"n": 7}, 1)


async def test_sse_error_handling(session, task_id):
    """What cannot be served is a status and one JSON error, before any stream; what cannot be emitted stores nothing."""
    stream = f"/sse/tasks/{task_id}/events"
    await _refused(session.get(stream), 404, "not_found")
    await emit(session, task_id, *notes(0))
    for query in ("batch_size=0", "batch_size=101", "flush_interval=0.05", "flush_interval=6", "since_seq=-1", "since_seq=x"):
        await _refused(session.get(f"{stream}?{query}"), 400, "invalid_request")
    await _refused(session.get("/sse/tasks/a:b/events"), 400, "invalid_request")
    post = f"/api/tasks/{task_id}/events"
    await _refused(session.post(post, data="{", headers={"Content-Type": "application/json"}), 400, "invalid_request")
    await _refused(session.post(post, json={"event_type": "a b"}), 422, "invalid_body")
    await _refused(session.get(f"{post}?since_seq={2**62}"), 410, "gone")
    async with session.get(f"/api/tasks/{task_id}") as answer:
        assert (await answer.json())["events"] == 1


async def _refused(request, status, code):
    async with request as answer:
        assert answer.status == status
        assert answer.content_type == "application/json"
        error = json.loads(await answer.text())["error"]
        assert error["code"] == code
        assert error["error_id"]


async def test_sse_health_check(session):
    """The body of the source, to the letter."""
    async with session.get("/sse/health") as answer:
        assert answer.status == 200
        assert await answer.text() == '{"status":"ok","service":"task_events_sse","version":"v0.32","protocol":"sse"}'
