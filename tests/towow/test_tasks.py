"""The Python client's calls of tasks, over the real application: emitting, looking, following, and answers that get lost."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from tests.support import until
from tests.towow.network import Network
from towow import Client, CursorLost
from towow.errors import Conflict, InvalidBody, InvalidRequest, NotFound, StreamEnded


async def test_a_task_goes_through_the_client_from_both_sides(towow: Client) -> None:
    """Emitted, looked at, listed, read again and followed to its end."""
    answer = await towow.emit("t-1", "phase_enter", phase="executing")
    assert (answer.success, answer.task_id, answer.seq, answer.revision) == (True, "t-1", 1, 1)
    await towow.emit("t-1", "work_item_started", {"name": "parse"}, span_id="s-1", source="worker-3")
    places = await towow.emit_many("t-1", [{"event_type": "progress_update", "payload": {"progress": n}} for n in (10, 20, 30)])
    assert [place.revision for place in places] == [3, 4, 5]
    told = await towow.task("t-1")
    assert (told.status, told.phase, told.progress, told.events) == ("running", "executing", 30, 5)
    assert [(item.span_id, item.name, item.status) for item in told.work_items] == [("s-1", "parse", "running")]
    await towow.emit("t-1", "task_complete", {"result": "ok"})
    await towow.emit("t-2", "note")
    assert [task.task_id for task in (await towow.tasks()).tasks] == ["t-2", "t-1"]
    assert [task.task_id for task in (await towow.tasks("completed", limit=1)).tasks] == ["t-1"]
    assert (await towow.tasks(before=told.created_seq)).tasks == []
    assert [task.task_id for task in (await towow.tasks(after=told.created_seq, order="oldest")).tasks] == ["t-2"]
    page = await towow.task_events("t-1", since_seq=2, until_seq=4)
    assert [event.payload for event in page.events] == [{"progress": 10}, {"progress": 20}]
    page = await towow.task_events("t-1", limit=2)
    assert [(event.event_type, event.source) for event in page.events] == [
        ("phase_enter", "python-client"),
        ("work_item_start", "worker-3"),
    ]
    assert (page.has_more, page.ended, page.events[1].span_id) == (True, False, "s-1")
    async with asyncio.timeout(5):
        followed = [event async for event in towow.follow_task("t-1")]
    assert [event.revision for event in followed] == [1, 2, 3, 4, 5, 6]
    assert followed[0].payload == {"phase": "executing"}


async def test_an_emit_whose_answer_is_lost_is_stored_once(towow: Client, network: Network) -> None:
    """The event_id is chosen before the first try, also of many at once."""
    network.answers_to_lose = 2
    assert (await towow.emit("t-1", "note", {"n": 1})).seq == 1
    assert len(network.posts) == 3
    network.answers_to_lose = 1
    await towow.emit_many("t-1", [{"event_type": "note", "payload": {"n": n}} for n in (2, 3)])
    page = await towow.task_events("t-1")
    assert [event.payload["n"] for event in page.events] == [1, 2, 3]


async def test_a_task_may_be_awaited_and_followed_live(towow: Client) -> None:
    """Before its first event, and over rotated connections."""
    seen: list[int] = []
    states: list[str] = []

    async def watch() -> None:
        """Follow to the end."""
        events = towow.follow_task("t-1", allow_pending=True, on_state=lambda state, detail: states.append(state))
        async with aclosing(events):
            seen.extend([event.revision async for event in events])

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(5):
        await until(lambda: "ready" in states)
        for n in range(7):
            await towow.emit("t-1", "note", {"n": n})
        await towow.emit("t-1", "task_failed", {"error": "disk"})
        await watching
    assert seen == list(range(1, 9))


async def test_a_poll_waits_for_a_first_event(towow: Client) -> None:
    """`wait` holds the answer back."""
    await towow.emit("t-1", "note")
    poll = asyncio.create_task(towow.task_events("t-1", since_seq=1, wait=30.0))
    await asyncio.sleep(0)
    await towow.emit("t-1", "phase_enter", phase="executing")
    async with asyncio.timeout(5):
        assert [event.phase for event in (await poll).events] == ["executing"]


async def test_no_events_are_no_request(towow: Client, network: Network) -> None:
    """An empty list is emitted at once."""
    assert await towow.emit_many("t-1", []) == []
    assert network.posts == []


async def test_refusals_are_raised_as_their_errors(towow: Client, network: Network) -> None:
    """Each with its class, and without trying again."""
    with pytest.raises(NotFound):
        await towow.task("t-9")
    with pytest.raises(NotFound):
        await towow.task_events("t-9")
    with pytest.raises(InvalidRequest):
        await towow.task("a:b")
    with pytest.raises(InvalidBody):
        await towow.emit("t-1", "a b")
    with pytest.raises(InvalidBody):
        await towow.emit("t-1", "note", phase="a b")
    await towow.emit("t-1", "note", event_id="e-1")
    with pytest.raises(Conflict):
        await towow.emit("t-1", "note", {"n": 1}, event_id="e-1")
    with pytest.raises(CursorLost):
        await towow.task_events("t-1", since_seq=99)
    await towow.emit("t-1", "task_cancelled")
    posts = len(network.posts)
    with pytest.raises(StreamEnded):
        await towow.emit("t-1", "note")
    assert len(network.posts) == posts + 1


@pytest.mark.parametrize("payload", [["x"], "x", {"n": float("nan")}, {"n": 2**64}], ids=["list", "text", "NaN", "huge"])
async def test_what_is_no_payload_is_refused_before_it_is_sent(towow: Client, network: Network, payload: Any) -> None:
    """The client has the same rules."""
    with pytest.raises(InvalidBody):
        await towow.emit("t-1", "note", payload)
    assert network.posts == []
