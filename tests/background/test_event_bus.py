"""The event bus: a tap on committed events, one cursor for each subscription."""

import asyncio

import pytest

from server.background.event_bus import EventBus
from tests.support import changed, note, open_log, until
from towow.errors import Conflict

TYPES = [
    "towow.demand.understood",
    "towow.filter.completed",
    "towow.demand.broadcast",
    "towow.offer.submitted",
    "towow.proposal.distributed",
    "towow.proposal.feedback",
    "towow.proposal.finalized",
    "towow.subnet.triggered",
    "towow.subnet.completed",
    "towow.gap.identified",
    "towow.negotiation.failed",
]


@pytest.fixture
async def log(quiet_config):
    """A log without HTTP."""
    async with open_log(quiet_config) as log:
        yield log


@pytest.fixture
async def bus(log):
    """A bus on it, closed at the end."""
    bus = EventBus(log)
    yield bus
    await bus.close()


async def test_a_published_event_is_appended_and_handled(log, bus):
    """Publishing is appending; the handler sees the stored event."""
    got = []
    bus.subscribe("note", got.append)
    receipt = await bus.publish(note(n=7))
    await until(lambda: got)
    assert got == [receipt.event]
    assert (receipt.event.seq, log.head_seq) == (1, 1)


async def test_what_is_appended_anywhere_is_handled(log, bus):
    """The bus taps the log: it does not matter who appended, and nothing is recorded twice."""
    got = []
    bus.subscribe("*", got.append)
    await log.append([note(), note("demand:d")])
    await until(lambda: len(got) == 2)
    assert log.head_seq == 2


async def test_a_wildcard_and_eleven_single_subscriptions_see_one_row_once_each(log, bus):
    """An event with many subscribers is one row; each handler sees each of its events exactly once."""
    calls = []
    bus.subscribe("towow.*", lambda event: calls.append(("towow.*", event.event_type)))
    for name in TYPES:
        bus.subscribe(name, lambda event, name=name: calls.append((name, event.event_type)))
    for name in TYPES:
        await bus.publish(note("task:a", event_type=name))
    await until(lambda: len(calls) >= 22)
    await log.refresh()
    assert sorted(calls) == sorted([("towow.*", name) for name in TYPES] + [(name, name) for name in TYPES])
    assert [seen for pattern, seen in calls if pattern == "towow.*"] == TYPES
    assert await log.query(lambda db: db.execute("SELECT count(*) FROM events").fetchone()[0]) == 11


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        pytest.param("*", ["towow.offer.submitted", "towow.offers", "note", "agent.registered"], id="everything"),
        pytest.param("towow.*", ["towow.offer.submitted", "towow.offers"], id="a family"),
        pytest.param("towow.offer.*", ["towow.offer.submitted"], id="a smaller family"),
        pytest.param("*.submitted", ["towow.offer.submitted"], id="a suffix"),
        pytest.param("*o*r*", ["towow.offer.submitted", "towow.offers"], id="letters"),
        pytest.param("note", ["note"], id="one type"),
        pytest.param("not", [], id="edge: no prefix match"),
    ],
)
async def test_patterns_are_globs_over_event_types(bus, pattern, wanted):
    """`*` stands for any characters, dots included."""
    got, all_ = [], []
    bus.subscribe(pattern, lambda event: got.append(event.event_type))
    bus.subscribe("*", all_.append)
    for name in ("towow.offer.submitted", "towow.offers", "note", "agent.registered"):
        await bus.publish(note(event_type=name))
    await until(lambda: len(all_) == 4 and len(got) >= len(wanted))
    assert got == wanted


async def test_a_subscription_begins_at_the_head(log, bus):
    """What was stored before is history, found in the log by who needs it; what comes right after is not missed."""
    await log.append([note(n=1)])
    got = []
    bus.subscribe("*", lambda event: got.append(event.payload["n"]))
    await log.append([note(n=2)])
    await until(lambda: got)
    assert got == [2]


@pytest.mark.parametrize("is_async", [False, True], ids=["a function", "a coroutine function"])
async def test_a_handler_that_raises_goes_on_with_the_next_event(log, bus, is_async):
    """A fault of one handler is logged; it loses nothing, and neither does anybody else."""
    got, others = [], []

    def handle(event):
        got.append(event.payload["n"])
        if event.payload["n"] % 2:
            raise ValueError("injected")

    async def handle_later(event):
        await asyncio.sleep(0)
        handle(event)

    bus.subscribe("*", handle_later if is_async else handle)
    bus.subscribe("*", lambda event: others.append(event.payload["n"]))
    await log.append([note(n=n) for n in range(6)])
    await until(lambda: len(got) == len(others) == 6)
    assert got == others == list(range(6))


async def test_a_slow_handler_falls_behind_and_catches_up_alone(quiet_config):
    """One event at a time, in order; nobody waits for it, and what it missed comes from the log."""
    async with open_log(changed(quiet_config, "stream", tail_bytes=1_000, page_bytes=1_000)) as log:
        bus = EventBus(log)
        slow, quick, is_free, running = [], [], asyncio.Event(), []

        async def handle(event):
            running.append(1)
            assert len(running) == 1
            await is_free.wait()
            running.pop()
            slow.append(event.seq)

        bus.subscribe("*", handle)
        bus.subscribe("*", lambda event: quick.append(event.seq))
        for n in range(40):
            await log.append([note(n=n), note(n=n)])
        await until(lambda: len(quick) == 80)
        assert slow == []
        is_free.set()
        await until(lambda: len(slow) == 80)
        assert slow == quick == list(range(1, 81))
        await bus.close()


async def test_a_handler_may_publish(log, bus):
    """What it publishes is handled in its turn."""
    got = []

    async def handle(event):
        got.append(event.payload["n"])
        if event.payload["n"] < 5:
            await bus.publish(note(n=event.payload["n"] + 1))

    bus.subscribe("note", handle)
    await bus.publish(note(n=0))
    await until(lambda: len(got) == 6)
    assert got == list(range(6))


async def test_unsubscribing_stops_one_handler_alone(log, bus):
    """Safe to call again; nothing is left in the hub."""
    first, second = [], []
    stop = bus.subscribe("*", first.append)
    bus.subscribe("*", second.append)
    await log.append([note()])
    await until(lambda: first and second)
    assert stop() is None
    stop()
    await until(lambda: len(bus._tasks) == 1)
    await log.append([note()])
    await until(lambda: len(second) == 2)
    assert len(first) == 1


async def test_closing_stops_every_subscription(log, bus):
    """Also a handler that is in the middle of an event; nothing is left behind."""
    started, got = [], []

    async def hang(event):
        started.append(event)
        await asyncio.Event().wait()

    bus.subscribe("*", hang)
    bus.subscribe("*", got.append)
    await log.append([note()])
    await until(lambda: started and got)
    await bus.close()
    await bus.close()
    await log.append([note()])
    assert (len(started), len(got)) == (1, 1)
    assert not bus._tasks
    assert not log.hub._groups


async def test_subscriptions_do_not_count_as_followers(log, bus):
    """A receipt names live connections, not handlers inside the process."""
    got = []
    bus.subscribe("*", got.append)
    receipt = await bus.publish(note())
    await until(lambda: got)
    assert receipt.followers == 0
    assert log.hub.follower_count == 0


async def test_what_the_log_refuses_is_not_handled(log, bus):
    """Publishing raises what append raises, and handlers see only what was committed."""
    got = []
    bus.subscribe("*", got.append)
    await bus.publish(note(event_id="e-1"))
    with pytest.raises(Conflict):
        await bus.publish(note(event_id="e-1", n=2))
    repeated = await bus.publish(note(event_id="e-1"))
    assert not repeated.created
    await bus.publish(note(n=3))
    await until(lambda: len(got) == 2)
    assert [event.seq for event in got] == [1, 2]


async def test_events_of_another_process_are_handled(quiet_config, log, bus):
    """The tap is on the file, not on this process's publishers."""
    got = []
    bus.subscribe("*", got.append)
    async with open_log(quiet_config) as other:
        await other.append([note()])
        await until(lambda: got)
