"""Decide and append: rules see the newest state, and whoever loses the race decides again."""

import asyncio
from functools import partial
from typing import NamedTuple

import pytest

from server.eventlog.decider import decide_and_append, fold, from_row, known
from tests.support import changed, note, open_log
from towow.errors import Conflict, RevisionMismatch, StreamEnded

STREAM = "task:counter"


class Counter(NamedTuple):
    """A state: a total of all events, and the revision and the seq that it is true at."""

    total: int = 0
    revision: int = 0
    last_seq: int = 0


def evolve(state, event):
    """Add what the event says."""
    return Counter(state.total + event.payload["n"], event.revision, event.seq)


def run(log, decide, **options):
    """Decide on the counter."""
    return decide_and_append(log, STREAM, partial(fold, log, STREAM, Counter(), evolve), decide, evolve, **options)


class Racing:
    """A decision in whose way somebody else appends, so many times."""

    def __init__(self, log, times, *, stream=STREAM):
        self.log, self.times, self.stream = log, times, stream
        self.seen = []
        self.append = log.append

        async def append(events):
            if len(self.seen) <= self.times:
                await self.append([note(self.stream, 100)])
            return await self.append(events)

        log.append = append

    def decide(self, state):
        """Add one."""
        self.seen.append(state)
        return [note(STREAM, 1)]


async def test_what_is_decided_is_appended_and_the_state_after_it_returned(quiet_config):
    """The state is folded from the stream alone, and again by the next command."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:other", 1000)])
        state, receipts = await run(log, lambda state: [note(STREAM, 5), note(STREAM, 6)])
        assert state == Counter(11, 2, 3)
        assert [(r.event.seq, r.event.revision, r.created) for r in receipts] == [(2, 1, True), (3, 2, True)]
        seen = []
        await run(log, lambda state: seen.append(state) or [note(STREAM, 1)])
        assert seen == [Counter(11, 2, 3)]


async def test_an_empty_decision_appends_nothing(quiet_config):
    """Nothing to do is no error; the state is the one that was read."""
    async with open_log(quiet_config) as log:
        await log.append([note(STREAM, 3)])
        assert await run(log, lambda state: []) == (Counter(3, 1, 1), [])
        assert log.head_seq == 1


@pytest.mark.parametrize("decide", [lambda state: iter([note(STREAM, 1)]), lambda state: (note(STREAM, 1),)])
async def test_a_decision_may_be_any_iterable(quiet_config, decide):
    """A generator of events is read once."""
    async with open_log(quiet_config) as log:
        assert (await run(log, decide))[0] == Counter(1, 1, 1)


async def test_what_the_rules_refuse_appends_nothing(quiet_config):
    """The error of the rules passes through and is not tried again."""
    calls = []

    def refuse(state):
        calls.append(state)
        raise Conflict("the rules say no")

    async with open_log(quiet_config) as log:
        with pytest.raises(Conflict, match="the rules say no"):
            await run(log, refuse)
        assert (len(calls), log.head_seq) == (1, 0)


async def test_a_lost_race_is_decided_again_on_the_newer_state(quiet_config):
    """The second decision sees what the winner appended; both are stored, once."""
    async with open_log(quiet_config) as log:
        racing = Racing(log, 2)
        state, receipts = await run(log, racing.decide)
        assert racing.seen == [Counter(0, 0, 0), Counter(100, 1, 1), Counter(200, 2, 2)]
        assert state == Counter(201, 3, 3)
        assert [r.event.revision for r in receipts] == [3]
        assert log.head_seq == 3


async def test_a_decision_that_is_refused_on_the_newer_state_appends_nothing(quiet_config):
    """The winner may have made the command impossible."""
    async with open_log(quiet_config) as log:
        racing = Racing(log, 1)

        def decide(state):
            if state.total:
                raise Conflict("taken")
            return racing.decide(state)

        with pytest.raises(Conflict, match="taken"):
            await run(log, decide)
        assert log.head_seq == 1


async def test_appends_to_other_streams_are_no_lost_race(quiet_config):
    """Only the stream that was read has to stand still."""
    async with open_log(quiet_config) as log:
        racing = Racing(log, 1, stream="task:other")
        await run(log, racing.decide)
        assert len(racing.seen) == 1


async def test_endlessly_lost_races_end_in_a_revision_mismatch(quiet_config):
    """After so many attempts the caller is told; nothing of it is stored."""
    async with open_log(quiet_config) as log:
        racing = Racing(log, 1000)
        with pytest.raises(RevisionMismatch):
            await run(log, racing.decide, attempts=4)
        assert len(racing.seen) == log.head_seq == 4


async def test_many_commands_at_once_are_decided_one_after_the_other(quiet_config):
    """Each sees all that went before it: nobody overwrites, nothing is lost."""
    async with open_log(quiet_config) as log:
        results = await asyncio.gather(*(run(log, lambda state: [note(STREAM, state.total + 1)]) for _ in range(8)))
        assert sorted(state.revision for state, _ in results) == list(range(1, 9))
        assert (await fold(log, STREAM, Counter(), evolve)).total == 2**8 - 1


async def test_a_race_against_another_process_is_decided_again(quiet_config, monkeypatch):
    """The winner's event is fetched from the file before the next decision, also when nobody announced it."""
    monkeypatch.setattr("server.eventlog.peers.Peers.announce", lambda self: None)
    config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    async with open_log(config) as one, open_log(config) as two:
        await two.refresh()
        await one.append([note(STREAM, 7)])
        seen = []
        state, _ = await run(two, lambda state: seen.append(state) or [note(STREAM, 1)])
        assert seen == [Counter(0, 0, 0), Counter(7, 1, 1)]
        assert state == Counter(8, 2, 2)


async def test_an_ended_stream_is_refused_by_the_log(quiet_config):
    """Rules that do not know the end meet it here."""
    async with open_log(quiet_config) as log:
        await log.append([note(STREAM, 1, event_type="finished")])
        with pytest.raises(StreamEnded):
            await run(log, lambda state: [note(STREAM, 1)])


@pytest.mark.parametrize("tail_bytes", [0, 10**6], ids=["from the file", "from the tail"])
async def test_a_stream_of_many_pages_is_folded_whole_and_in_order(quiet_config, tail_bytes):
    """However long the stream, `evolve` sees every event once."""
    config = changed(quiet_config, "stream", page_bytes=500, tail_bytes=tail_bytes)
    async with open_log(config) as log:
        await log.append([note(STREAM if n % 3 else "task:other", n) for n in range(100)])
        seen = await fold(log, STREAM, (), lambda state, event: (*state, event.payload["n"]))
        assert seen == tuple(n for n in range(100) if n % 3)


async def test_a_stream_that_never_was_has_the_initial_state(quiet_config):
    """Folding nothing changes nothing."""
    async with open_log(quiet_config) as log:
        await log.append([note()])
        assert await fold(log, "task:none", Counter(), evolve) == Counter()


async def test_a_row_is_folded_on_from_its_place(quiet_config):
    """A row that leaves events out, or is older than the file, is a shorter way to the same state; it is read at every try."""
    rows = iter([Counter(50, 1, 1), Counter(50, 1, 1)])
    async with open_log(quiet_config) as log:
        await log.append([note(STREAM, 5), note(STREAM, 6)])
        racing = Racing(log, 1)
        load = from_row(log, STREAM, lambda connection: next(rows), evolve)
        state, _ = await decide_and_append(log, STREAM, load, racing.decide, evolve)
        assert racing.seen == [Counter(56, 2, 2), Counter(156, 3, 3)]
        assert state == Counter(157, 4, 4)


async def test_without_a_revision_events_go_where_the_stream_ends(quiet_config):
    """Nothing is read, and whoever was faster is no reason to decide again; without `evolve` the state stays as it was."""
    async with open_log(quiet_config) as log:
        racing = Racing(log, 1)
        state, receipts = await decide_and_append(log, STREAM, known(Counter(9)), racing.decide, revision_of=None)
        assert (state, racing.seen) == (Counter(9), [Counter(9)])
        assert [receipt.event.revision for receipt in receipts] == [2]


async def test_a_single_attempt_leaves_the_lost_race_to_the_caller(quiet_config):
    """A caller that must think again before it decides gets the mismatch, and nothing is stored."""
    async with open_log(quiet_config) as log:
        await log.append([note(STREAM, 5)])
        with pytest.raises(RevisionMismatch):
            await decide_and_append(log, STREAM, known(Counter()), lambda state: [note(STREAM, 1)], attempts=1)
        assert log.head_seq == 1
