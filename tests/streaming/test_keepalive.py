"""The one timer of all keepalives: who was silent for an interval is written to, soon after, and nobody before."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.streaming.keepalive import KeepaliveTimer

INTERVAL = 16.0
SLOT = INTERVAL / 16


class Loop:
    """A clock that is moved by hand, and the event loop's timers on it."""

    def __init__(self):
        self.now = 1_000.0
        self.timers = []

    def call_later(self, seconds, call):
        """Plan, as an event loop does."""
        self.timers.append(timer := Timer(self.now + seconds, call, self.timers))
        return timer

    def move(self, seconds):
        """Let time pass; timers go off one after the other, each at its time."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= end]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.call()
        self.now = end


class Timer:
    """A planned call."""

    def __init__(self, at, call, others):
        self.at, self.call, self._others = at, call, others

    def cancel(self):
        """Forget it."""
        self._others.remove(self)


class Connection:
    """Remembers when something was written on it."""

    def __init__(self, loop):
        self._loop = loop
        self.slot = 0
        self.written = [loop.now]
        self.kept_alive = []

    def write(self):
        """An event."""
        self.written.append(self._loop.now)

    def silent_since(self):
        """The last write."""
        return max(self.written[-1], *self.kept_alive[-1:], 0.0)

    def keep_alive(self):
        """A keepalive."""
        self.kept_alive.append(self._loop.now)


@pytest.fixture
def loop(monkeypatch):
    """A loop that is moved by hand."""
    return start_loop(monkeypatch)


def start_loop(monkeypatch):
    """Put the loop where the timer looks for one."""
    loop = Loop()
    monkeypatch.setattr("server.streaming.keepalive.asyncio.get_running_loop", lambda: loop)
    return loop


def start_timer(loop):
    """A timer on that loop's clock."""
    return KeepaliveTimer(INTERVAL, lambda: loop.now)


def test_silence_is_broken_within_a_slot_after_each_interval(loop):
    """Again and again, as long as nothing else is written."""
    timer, connection = start_timer(loop), Connection(loop)
    timer.add(connection)
    loop.move(3 * (INTERVAL + SLOT))
    times = [1_000.0, *connection.kept_alive]
    assert len(times) == 4
    assert all(INTERVAL <= later - earlier <= INTERVAL + SLOT for earlier, later in itertools.pairwise(times))


def test_a_connection_that_is_written_to_needs_no_keepalive(loop):
    """Its interval begins again with every byte."""
    timer, busy, idle = start_timer(loop), Connection(loop), Connection(loop)
    timer.add(busy)
    timer.add(idle)
    for _ in range(20):
        loop.move(INTERVAL / 2)
        busy.write()
    assert busy.kept_alive == []
    assert len(idle.kept_alive) >= 9


def test_one_timer_of_the_event_loop_serves_all(loop):
    """However many wait; none is left when nobody does, and a later one is served again."""
    timer, connections = start_timer(loop), [Connection(loop) for _ in range(100)]
    for connection in connections:
        timer.add(connection)
        loop.move(0.1)
    assert len(loop.timers) == 1
    loop.move(INTERVAL)
    assert len(loop.timers) == 1
    for connection in connections:
        timer.remove(connection)
        timer.remove(connection)
    assert loop.timers == []
    assert timer._slots == {}
    timer.add(late := Connection(loop))
    loop.move(INTERVAL + SLOT)
    assert len(late.kept_alive) == 1


def test_who_has_left_is_not_written_to(loop):
    """Also when it shares its slot with others."""
    timer, gone, here = start_timer(loop), Connection(loop), Connection(loop)
    timer.add(gone)
    timer.add(here)
    timer.remove(gone)
    loop.move(2 * INTERVAL)
    assert gone.kept_alive == []
    assert here.kept_alive


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.floats(0.0, 2 * INTERVAL), st.sampled_from(["add", "remove", "write"]), st.integers(0, 3)), max_size=40
    )
)
def test_any_order_of_coming_writing_and_leaving_keeps_the_bounds(steps):
    """A keepalive comes an interval after the last byte at the earliest and a slot later at the latest."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        loop = start_loop(monkeypatch)
        timer = start_timer(loop)
        present, everybody = {}, []
        for seconds, what, number in steps:
            loop.move(seconds)
            if what == "add" and number not in present:
                present[number] = Connection(loop)
                everybody.append(present[number])
                timer.add(present[number])
            elif what == "remove" and number in present:
                timer.remove(connection := present.pop(number))
                assert loop.now - connection.silent_since() <= INTERVAL + SLOT + 0.01
            elif what == "write" and number in present:
                present[number].write()
            assert all(loop.now - connection.silent_since() <= INTERVAL + SLOT + 0.01 for connection in present.values())
            assert len(loop.timers) == (1 if present else 0)
        for connection in everybody:
            for at in connection.kept_alive:
                before = max(time for time in connection.written + connection.kept_alive if time < at)
                assert at - before >= INTERVAL - 0.01
