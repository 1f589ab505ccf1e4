"""Deadlines by a clock that only counts, whatever is done to the wall clock."""

import pytest

from server.background.deadlines import DeadlineClock


class Clocks:
    """A wall clock and one that counts, both set by hand."""

    def __init__(self):
        self.wall = 1_800_000_000.0
        self.counted = 100.0
        self.deadlines = DeadlineClock(lambda: self.wall, lambda: self.counted)

    def passes(self, seconds):
        """Time, for both."""
        self.wall += seconds
        self.counted += seconds


@pytest.fixture
def clocks():
    """Both clocks, and the deadlines by them."""
    return Clocks()


@pytest.mark.parametrize("jump", [-3_600.0, -1.0, 1.0, 86_400.0])
def test_a_deadline_comes_when_its_seconds_are_counted(clocks, jump):
    """However the wall clock is set meanwhile."""
    until = clocks.wall + 120.0
    assert clocks.deadlines.now("a", until, 120.0) == until - 120.0
    clocks.wall += jump
    clocks.passes(119.0)
    assert clocks.deadlines.now("a", until, 120.0) == until - 1.0
    clocks.passes(1.0)
    assert clocks.deadlines.now("a", until, 120.0) == until


def test_a_deadline_that_is_noted_after_the_clock_was_set_counts_from_then(clocks):
    """Its event was written by the new time."""
    clocks.deadlines.now("a", clocks.wall + 120.0, 120.0)
    clocks.wall -= 3_600.0
    until = clocks.wall + 120.0
    assert clocks.deadlines.now("b", until, 120.0) == until - 120.0


def test_a_clock_that_went_back_before_the_start_gives_no_more_than_the_whole_time(clocks):
    """An approval must not be taken an hour late."""
    until = clocks.wall + 3_600.0
    assert clocks.deadlines.now("a", until, 120.0) == until - 120.0


def test_another_deadline_of_the_same_thing_is_noted_anew(clocks):
    """A further round, or an extension."""
    until = clocks.wall + 10.0
    clocks.deadlines.now("a", until, 10.0)
    clocks.passes(5.0)
    assert clocks.deadlines.now("a", until + 60.0, 70.0) == until - 5.0


def test_the_latest_time_misses_no_deadline(clocks):
    """It is for a query by the wall times that events say."""
    until = clocks.wall + 10.0
    clocks.deadlines.now("a", until, 10.0)
    clocks.wall -= 3_600.0
    clocks.passes(10.0)
    assert clocks.deadlines.latest() >= clocks.deadlines.now("a", until, 10.0) >= until
    clocks.wall += 86_400.0
    assert clocks.deadlines.latest() >= clocks.wall


def test_somebody_waits_until_the_last_deadline_is_over(clocks):
    """Then the mark need not say every two seconds that the server lives."""
    assert not clocks.deadlines.is_waiting
    clocks.deadlines.now("a", clocks.wall + 10.0, 10.0)
    assert clocks.deadlines.is_waiting
    clocks.passes(10.0)
    assert not clocks.deadlines.is_waiting
