"""The notifier: who goes live when, what one dispatch writes to whom, and what the shared tail answers."""

import pytest

from server.eventlog.hub import NEVER, BatchPolicy, Hub, Watcher
from server.eventlog.selection import select
from towow.events import Event

EVERYTHING = select()


def event(seq, stream="task:a", event_type="note", size=0):
    """A committed event; its payload has about `size` bytes."""
    return Event(seq, stream, seq, f"e-{seq}", event_type, "2026-01-01T00:00:00.000Z", "tests", "x" * size)


class Plain:
    """An encoding that writes `<seq>` and counts what it encoded."""

    def __init__(self):
        self.encoded = []
        self.fails_at = None

    def event(self, event):
        """One event."""
        if event.seq == self.fails_at:
            raise ValueError("cannot be rendered")
        self.encoded.append(event.seq)
        return f"<{event.seq}>".encode()

    def wrap(self, data):
        """One write."""
        return b"[" + data + b"]"


class Member:
    """A follower that remembers what the hub did with it."""

    def __init__(self, *, held=0, rotate_at=NEVER):
        self.written = []
        self.calls = []
        self.held = held
        self.rotate_at = rotate_at

    def write(self, data):
        """Remember the very object."""
        self.written.append(data)

    def buffered(self):
        """What the socket has not taken."""
        return self.held

    def fall_back(self, cursor):
        """Remember."""
        self.calls.append(("fall_back", cursor))

    def finish(self, event):
        """Remember."""
        self.calls.append(("finish", event.seq))

    def rotate(self, cursor):
        """Remember."""
        self.calls.append(("rotate", cursor))


@pytest.fixture
def make_hub():
    """Make a hub whose streams end with `finished` and whose clock stands still."""

    def make(*, max_buffer_bytes=100, tail_bytes=1_000_000, at=0):
        hub = Hub(
            max_buffer_bytes=max_buffer_bytes,
            tail_bytes=tail_bytes,
            is_terminal=lambda stream, event_type: event_type == "finished",
            clock=lambda: 1.0,
        )
        hub.start_at(at)
        return hub

    return make


@pytest.fixture
def hub(make_hub):
    """A hub at the beginning of a log."""
    return make_hub()


@pytest.fixture
def encoding():
    """One encoding, equal only to itself."""
    return Plain()


# Going live.


@pytest.mark.parametrize("cursor", [4, 6, 0, 10**9])
def test_joining_with_another_cursor_than_the_dispatched_seq_is_refused(make_hub, encoding, cursor):
    """The comparison is the whole hand-over: behind means read first, ahead means that something is wrong."""
    hub = make_hub(at=5)
    assert hub.join(Member(), EVERYTHING, encoding, cursor) is None
    assert hub.follower_count == 0
    assert not hub._groups


def test_joining_at_the_dispatched_seq_gets_everything_after_it_once(make_hub, encoding):
    """Nothing of what was dispatched before, all of what comes after."""
    hub, member = make_hub(at=5), Member()
    hub.dispatch([event(6)])
    assert hub.join(member, EVERYTHING, encoding, 6) is not None
    hub.dispatch([event(7), event(8)])
    hub.dispatch([event(9)])
    assert member.written == [b"[<7><8>]", b"[<9>]"]
    assert member.calls == []


def test_moving_past_numbers_without_events_keeps_members_live(hub, encoding):
    """There is nothing to write; joining is at the new place; the hub never moves back."""
    member, late = Member(), Member()
    hub.join(member, EVERYTHING, encoding, 0)
    hub.advance(9)
    hub.advance(3)
    assert hub.dispatched_seq == 9
    assert hub.join(late, EVERYTHING, encoding, 0) is None
    hub.join(late, EVERYTHING, encoding, 9)
    hub.dispatch([event(10)])
    assert member.written == late.written == [b"[<10>]"]


# Dispatching.


@pytest.mark.parametrize(
    ("streams", "types", "wanted"),
    [
        pytest.param(("task:a",), (), [1, 3, 6], id="a stream"),
        pytest.param(("task:a", "demand:c"), (), [1, 3, 4, 6], id="two streams"),
        pytest.param(("task:*",), (), [1, 2, 3, 5, 6], id="a kind"),
        pytest.param(("*",), (), [1, 2, 3, 4, 5, 6], id="everything"),
        pytest.param(("task:a", "*"), (), [1, 2, 3, 4, 5, 6], id="edge: a name inside a pattern, once"),
        pytest.param(("task:a", "task:*", "*"), (), [1, 2, 3, 4, 5, 6], id="edge: two patterns and a name, once"),
        pytest.param(("*",), ("odd*",), [3, 5], id="types"),
        pytest.param(("task:a",), ("odd",), [3], id="a type of a stream"),
        pytest.param(("task:a",), ("none",), [], id="edge: a type that never comes"),
        pytest.param(("task:none",), (), [], id="edge: a stream that never comes"),
    ],
)
@pytest.mark.parametrize("sizes", [[6], [1] * 6, [2, 4]], ids=["in one dispatch", "one by one", "in two"])
def test_each_member_is_written_what_it_selected_once_and_in_order(hub, streams, types, wanted, sizes):
    """By name, by pattern and by type, whatever the dispatches bring together; `count_for` says the same beforehand."""
    events = [event(1), event(2, "task:b"), event(3, event_type="odd"), event(4, "demand:c")]
    events += [event(5, "task:b", "odder"), event(6)]
    encoding, member = Plain(), Member()
    hub.join(member, select(streams, types), encoding, 0)
    counted = [item.seq for item in events if hub.count_for(item)]
    while sizes:
        size = sizes[0]
        sizes = sizes[1:]
        hub.dispatch(events[:size])
        events = events[size:]
    assert b"".join(member.written).replace(b"][", b"") == (
        b"[" + b"".join(b"<%d>" % seq for seq in wanted) + b"]" if wanted else b""
    )
    assert counted == wanted
    assert hub.dispatched_seq == 6


def test_members_of_a_group_get_the_same_object_and_an_event_is_encoded_once(hub, encoding):
    """Encode once: the cost of a dispatch is one encoding for each event, over all selections of that encoding."""
    members = [Member() for _ in range(3)]
    for member in members:
        hub.join(member, select(("task:a",)), encoding, 0)
    others = [Member(), Member()]
    hub.join(others[0], EVERYTHING, encoding, 0)
    hub.join(others[1], select(("task:*",)), encoding, 0)
    hub.dispatch([event(1), event(2)])
    assert members[0].written[0] is members[1].written[0] is members[2].written[0]
    assert others[0].written == members[0].written
    assert encoding.encoded == [1, 2]


def test_count_for_counts_members_with_a_connection(hub, encoding):
    """Watchers inside the process are no followers; a follower of a name and a pattern is one follower."""
    other = Plain()
    for selection, how in [
        (select(("task:a",)), encoding),
        (select(("task:a",)), encoding),
        (select(("task:a",)), other),
        (select(("task:a", "*")), encoding),
        (select(("task:*", "*")), encoding),
        (select(("task:a",), ("odd",)), encoding),
        (select(("task:b",)), encoding),
    ]:
        hub.join(Member(), selection, how, 0)
    hub.join(Watcher(lambda: None), EVERYTHING, None, 0)
    hub.join(Watcher(lambda: None), select(("task:a",)), None, 0)
    assert hub.count_for(event(1)) == 5
    assert hub.count_for(event(1, event_type="odd")) == 6
    assert hub.count_for(event(1, "task:b")) == 3
    assert hub.count_for(event(1, "demand:c")) == 2
    assert hub.follower_count == 7


def test_a_member_whose_socket_is_full_falls_back_to_the_cursor_it_has(hub, encoding):
    """The limit is exclusive; who falls back is written nothing of this dispatch and is no longer live."""
    at_limit, over, quick = Member(held=100), Member(held=101), Member()
    for member in (at_limit, over, quick):
        hub.join(member, EVERYTHING, encoding, 0)
    hub.dispatch([event(1)])
    over.held = 0
    hub.dispatch([event(2)])
    assert over.written == []
    assert over.calls == [("fall_back", 0)]
    assert at_limit.written == quick.written == [b"[<1>]", b"[<2>]"]
    assert hub.follower_count == 2


def test_a_member_that_cannot_be_written_to_falls_back_and_harms_nobody(hub, encoding):
    """A transport whose peer has just left raises; the others get their bytes."""
    gone, healthy = Member(), Member()

    def fail(data):
        raise RuntimeError("the transport is closed")

    gone.write = fail
    hub.join(gone, EVERYTHING, encoding, 0)
    hub.join(healthy, EVERYTHING, encoding, 0)
    hub.dispatch([event(1)])
    assert gone.calls == [("fall_back", 0)]
    assert healthy.written == [b"[<1>]"]
    assert hub.follower_count == 1


def test_an_event_that_cannot_be_encoded_sends_its_followers_to_read_and_harms_nobody(hub, encoding):
    """A renderer's fault meets its own followers on their own connection, at the place before the dispatch."""
    encoding.fails_at = 3
    members, healthy, other = [Member(), Member()], Member(), Member()
    for member in members:
        hub.join(member, select(("task:a",)), encoding, 0)
    hub.join(healthy, select(("task:a",)), Plain(), 0)
    hub.join(other, select(("task:b",)), encoding, 0)
    hub.dispatch([event(1)])
    hub.dispatch([event(2), event(3), event(4, "task:b")])
    for member in members:
        assert (member.written, member.calls) == ([b"[<1>]"], [("fall_back", 1)])
    assert healthy.written == [b"[<1>]", b"[<2><3>]"]
    assert other.written == [b"[<4>]"]
    assert hub.dispatched_seq == 4
    hub.dispatch([event(5)])
    assert healthy.written[-1] == b"[<5>]"


@pytest.mark.parametrize("types", [(), ("note",), ("none",)], ids=["all types", "the other types", "no type"])
def test_a_terminal_event_finishes_the_followers_of_that_stream_alone(hub, types):
    """Even when their types leave the event out; followers of more than one stream go on."""
    encoding = Plain()
    single, both, kind = Member(), Member(), Member()
    hub.join(single, select(("task:a",), types), encoding, 0)
    hub.join(both, select(("task:a", "task:b")), encoding, 0)
    hub.join(kind, select(("task:*",)), encoding, 0)
    hub.dispatch([event(1), event(2, event_type="finished"), event(3, "task:b")])
    assert single.calls == [("finish", 2)]
    assert b"".join(single.written) == {(): b"[<1><2>]", ("note",): b"[<1>]", ("none",): b""}[types]
    assert both.calls == kind.calls == []
    assert both.written == kind.written == [b"[<1><2><3>]"]
    assert hub.follower_count == 2


def test_members_rotate_when_they_have_had_their_share(hub, encoding):
    """Each at its own total; the others of the group stay."""
    first, second = Member(rotate_at=2), Member(rotate_at=4)
    for member in (first, second):
        group = hub.join(member, EVERYTHING, encoding, 0)
        group.rotate_at = min(group.rotate_at, member.rotate_at)
    hub.dispatch([event(1)])
    hub.dispatch([event(2), event(3)])
    assert first.calls == [("rotate", 3)]
    hub.dispatch([event(4)])
    assert second.calls == [("rotate", 4)]
    assert hub.follower_count == 0


def test_a_watcher_is_woken_once_by_the_first_event_it_wants(hub):
    """It is removed before it is woken, so that it can join again."""
    woken = []
    hub.join(Watcher(lambda: woken.append(hub.dispatched_seq)), select(("task:a",), ("odd",)), None, 0)
    hub.dispatch([event(1)])
    hub.dispatch([event(2, "task:b", "odd")])
    assert woken == []
    hub.dispatch([event(3), event(4, event_type="odd")])
    hub.dispatch([event(5, event_type="odd")])
    assert woken == [4]
    assert not hub._groups


# Groups.


def test_empty_groups_are_forgotten(hub, encoding):
    """Followers that come and go leave nothing in memory, whichever way they leave."""
    selections = [select(("task:a", "task:b", "demand:*")), EVERYTHING, select(("task:a",))]
    members = [(Member(), hub.join(Member(), selection, encoding, 0)) for selection in selections for _ in range(2)]
    for member, group in members:
        for present in list(group.members):
            hub.leave(present, group)
        hub.leave(member, group)
    assert not hub._groups
    assert not hub._by_name
    assert not hub._by_pattern
    hub.dispatch([event(1)])
    member = Member(held=10**6)
    hub.join(member, EVERYTHING, encoding, 1)
    hub.dispatch([event(2)])
    assert not hub._groups
    assert not hub._by_pattern


def test_leaving_is_safe_again_and_does_not_touch_a_newer_group(hub, encoding):
    """A member that leaves late, after its group was discarded and made anew, takes nobody with it."""
    selection = select(("task:a", "demand:*"))
    early, late = Member(), Member()
    old = hub.join(early, selection, encoding, 0)
    hub.leave(early, old)
    new = hub.join(late, selection, encoding, 0)
    assert new is not old
    hub.leave(early, old)
    hub.dispatch([event(1), event(2, "demand:c")])
    assert late.written == [b"[<1><2>]"]
    assert hub.count_for(event(3)) == 1
    assert hub.follower_count == 1


def test_closing_sends_every_member_away_and_refuses_new_ones(hub, encoding):
    """Each is told where it is; nothing is written to them any more."""
    members = [Member(), Member(), Member()]
    hub.join(members[0], EVERYTHING, encoding, 0)
    hub.join(members[1], EVERYTHING, encoding, 0)
    hub.join(members[2], select(("task:a",)), encoding, 0)
    hub.close()
    assert all(member.calls == [("fall_back", 0)] for member in members)
    assert hub.is_closed
    assert hub.follower_count == 0
    assert hub.join(Member(), EVERYTHING, encoding, 0) is None
    hub.dispatch([event(1)])
    hub.close()
    assert all(member.written == [] and len(member.calls) == 1 for member in members)


# The tail.


def seqs(recent):
    """The seqs of a page from the tail, and how far it looked; None for none."""
    return recent and ([item.seq for item in recent[0]], recent[1])


def test_the_tail_answers_like_the_log(hub):
    """Events after a cursor, ascending, filtered, and how far was looked at."""
    hub.dispatch([event(1), event(2, "task:b"), event(3, event_type="odd")])
    hub.advance(5)
    assert seqs(hub.recent(EVERYTHING, 0, 100, 10**6)) == ([1, 2, 3], 5)
    assert seqs(hub.recent(EVERYTHING, 2, 100, 10**6)) == ([3], 5)
    assert seqs(hub.recent(EVERYTHING, 5, 100, 10**6)) == ([], 5)
    assert seqs(hub.recent(select(("task:b",)), 0, 100, 10**6)) == ([2], 5)
    assert seqs(hub.recent(select(("*",), ("odd",)), 0, 100, 10**6)) == ([3], 5)
    assert seqs(hub.recent(select(("task:none",)), 0, 100, 10**6)) == ([], 5)


def test_a_page_of_the_tail_ends_at_its_limits(hub):
    """At a number of events, or about so many bytes with one always allowed; then it has looked no further."""
    hub.dispatch([event(seq, size=750) for seq in range(1, 11)])
    assert seqs(hub.recent(EVERYTHING, 0, 3, 10**6)) == ([1, 2, 3], 3)
    assert seqs(hub.recent(EVERYTHING, 3, 100, 2_500)) == ([4, 5, 6], 6)
    assert seqs(hub.recent(EVERYTHING, 6, 100, 1)) == ([7], 7)
    assert seqs(hub.recent(EVERYTHING, 7, 3, 10**6)) == ([8, 9, 10], 10)
    assert seqs(hub.recent(EVERYTHING, 7, 4, 10**6)) == ([8, 9, 10], 10)


def test_a_cursor_before_the_tail_is_not_answered_from_it(make_hub):
    """None means: read the file. The tail begins exactly after the last event that was dropped."""
    hub = make_hub(tail_bytes=3_000, at=100)
    assert hub.recent(EVERYTHING, 99, 10, 10**6) is None
    assert seqs(hub.recent(EVERYTHING, 100, 10, 10**6)) == ([], 100)
    hub.dispatch([event(seq, size=750) for seq in range(101, 111)])
    assert hub.tail_events == 3
    assert hub.recent(EVERYTHING, 106, 10, 10**6) is None
    assert seqs(hub.recent(EVERYTHING, 107, 10, 10**6)) == ([108, 109, 110], 110)


def test_an_event_larger_than_the_tail_is_not_kept(make_hub):
    """Memory is bounded by bytes, not by the number of events."""
    hub = make_hub(tail_bytes=1_000)
    hub.dispatch([event(1), event(2, size=5_000)])
    assert hub.tail_events == 0
    assert hub.recent(EVERYTHING, 1, 10, 10**6) is None
    assert seqs(hub.recent(EVERYTHING, 2, 10, 10**6)) == ([], 2)
    hub.dispatch([event(3)])
    assert seqs(hub.recent(EVERYTHING, 2, 10, 10**6)) == ([3], 3)


def test_without_a_tail_every_reader_that_is_behind_reads_the_file(make_hub):
    """`tail_bytes = 0` turns it off."""
    hub = make_hub(tail_bytes=0)
    hub.dispatch([event(1)])
    assert hub.tail_events == 0
    assert hub.recent(EVERYTHING, 0, 10, 10**6) is None
    assert seqs(hub.recent(EVERYTHING, 1, 10, 10**6)) == ([], 1)


# A pace: live events that wait for each other.

PACE = BatchPolicy(batch_events=3, hold_seconds=0.4)


class Clock:
    """A clock and the one timer of a paced group, both moved by hand."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        self.timers = []
        monkeypatch.setattr("server.eventlog.hub.asyncio.get_running_loop", lambda: self)

    def __call__(self):
        """Monotonic seconds."""
        return self.now

    def call_later(self, seconds, call, *arguments):
        """Plan, as an event loop does."""
        self.timers.append(timer := Timer(self.now + seconds, call, arguments))
        return timer

    def planned(self):
        """Seconds until each timer that is not cancelled."""
        return [round(timer.at - self.now, 3) for timer in self.timers if not timer.is_cancelled]

    def move(self, seconds):
        """Let time pass, and timers go off."""
        self.now += seconds
        due = [timer for timer in self.timers if timer.at <= self.now + 1e-9 and not timer.is_cancelled]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            timer.call(*timer.arguments)


class Timer:
    """A planned call."""

    def __init__(self, at, call, arguments):
        self.at, self.call, self.arguments = at, call, arguments
        self.is_cancelled = False

    def cancel(self):
        """Forget it."""
        self.is_cancelled = True


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    return Clock(monkeypatch)


@pytest.fixture
def paced(make_hub, clock):
    """A hub with that clock."""
    hub = make_hub()
    hub.clock = clock
    return hub


def text(member):
    """Everything that was written to a member."""
    return b" ".join(member.written).decode()


def test_the_first_event_after_quiet_goes_out_at_once_and_later_ones_wait(paced, clock, encoding):
    """Later ones wait until the oldest is as old as the pace says, counted from its own time."""
    member = Member()
    paced.join(member, EVERYTHING, encoding, 0, PACE)
    paced.dispatch([event(1)])
    assert text(member) == "[<1>]"
    clock.move(0.1)
    paced.dispatch([event(2)])
    clock.move(0.2)
    paced.dispatch([event(3)])
    assert text(member) == "[<1>]"
    assert clock.planned() == [0.2]
    clock.move(0.2)
    assert text(member) == "[<1>] [<2><3>]"
    assert clock.planned() == []
    clock.move(0.4)
    paced.dispatch([event(4)])
    assert text(member) == "[<1>] [<2><3>] [<4>]"


def test_a_full_batch_does_not_wait_and_what_is_over_waits_its_own_time(paced, clock, encoding):
    """One write carries a batch at most."""
    member = Member()
    paced.join(member, EVERYTHING, encoding, 0, PACE)
    paced.dispatch([event(1)])
    paced.dispatch([event(2)])
    clock.move(0.3)
    paced.dispatch([event(seq) for seq in range(3, 10)])
    assert text(member) == "[<1>] [<2><3><4>] [<5><6><7>]"
    assert clock.planned() == [0.4]
    clock.move(0.4)
    assert text(member) == "[<1>] [<2><3><4>] [<5><6><7>] [<8><9>]"


def test_what_is_dispatched_at_once_after_quiet_is_written_at_once_in_batches(paced, clock, encoding):
    """A burst into silence has nothing to wait for."""
    member = Member()
    paced.join(member, EVERYTHING, encoding, 0, PACE)
    paced.dispatch([event(seq) for seq in range(1, 8)])
    assert text(member) == "[<1><2><3>] [<4><5><6>] [<7>]"
    assert clock.planned() == []


def hold_two(paced, encoding, **how):
    """A member to whom 1 was written, with 2 and 3 held."""
    member = Member(**how)
    group = paced.join(member, EVERYTHING, encoding, 0, PACE)
    for seq in (1, 2, 3):
        paced.dispatch([event(seq)])
    assert text(member) == "[<1>]"
    return member, group


def test_who_joins_gets_nothing_that_others_still_wait_for(paced, clock, encoding):
    """It has read it from the log; the others get it now."""
    first, _ = hold_two(paced, encoding)
    second = Member()
    paced.join(second, EVERYTHING, encoding, 3, PACE)
    assert text(first) == "[<1>] [<2><3>]"
    clock.move(1)
    paced.dispatch([event(4)])
    assert (text(first), text(second)) == ("[<1>] [<2><3>] [<4>]", "[<4>]")


def test_followers_with_and_without_a_pace_are_in_different_groups(paced, clock, encoding):
    """Who does not want to wait does not wait."""
    slow, _ = hold_two(paced, encoding)
    quick = Member()
    paced.join(quick, EVERYTHING, encoding, 3)
    paced.dispatch([event(4)])
    assert (text(slow), text(quick)) == ("[<1>] [<2><3><4>]", "[<4>]")


def test_closing_writes_what_is_held_before_it_sends_members_away(paced, clock, encoding):
    """They are told the head as their place, so they must have everything up to it."""
    member, _ = hold_two(paced, encoding)
    paced.close()
    assert text(member) == "[<1>] [<2><3>]"
    assert member.calls == [("fall_back", 3)]
    assert clock.planned() == []


def test_a_full_socket_falls_back_to_the_last_event_that_was_written(paced, clock, encoding):
    """What was held is read again from the log."""
    member, _ = hold_two(paced, encoding)
    member.held = 101
    clock.move(0.4)
    assert text(member) == "[<1>]"
    assert member.calls == [("fall_back", 1)]
    assert (paced.follower_count, clock.planned()) == (0, [])


def test_a_renderer_that_fails_sends_members_back_to_the_last_event_that_was_written(paced, clock):
    """They meet the fault on their own connection."""
    encoding = Plain()
    encoding.fails_at = 3
    member, _ = hold_two(paced, encoding)
    clock.move(0.4)
    assert text(member) == "[<1>]"
    assert member.calls == [("fall_back", 1)]


def test_an_end_does_not_wait(paced, clock, encoding):
    """The terminal event takes with it what is held, also for a reader whose types leave it out."""
    for types in ((), ("note",)):
        member = Member()
        cursor = paced.dispatched_seq
        paced.join(member, select(("task:a",), types), encoding, cursor, PACE)
        for seq, event_type in ((1, "note"), (2, "note"), (3, "finished")):
            paced.dispatch([event(cursor + seq, event_type=event_type)])
        last = f"<{cursor + 3}>" if not types else ""
        assert text(member) == f"[<{cursor + 1}>] [<{cursor + 2}>{last}]"
        assert member.calls == [("finish", cursor + 3)]
        assert clock.planned() == []


def test_a_share_that_is_full_with_what_is_held_does_not_wait(paced, clock, encoding):
    """`rotate` names the place up to which everything was written."""
    member = Member(rotate_at=3)
    group = paced.join(member, EVERYTHING, encoding, 0, PACE)
    group.rotate_at = 3
    for seq in (1, 2, 3):
        paced.dispatch([event(seq)])
    assert text(member) == "[<1>] [<2><3>]"
    assert member.calls == [("rotate", 3)]


def test_who_stays_when_others_have_had_their_share_still_waits(paced, clock, encoding):
    """A share that was used up hurries nobody else."""
    first, second = Member(rotate_at=1), Member(rotate_at=9)
    for member in (first, second):
        group = paced.join(member, EVERYTHING, encoding, 0, PACE)
        group.rotate_at = min(group.rotate_at, member.rotate_at)
    for seq in (1, 2, 3):
        paced.dispatch([event(seq)])
    assert first.calls == [("rotate", 1)]
    assert text(second) == "[<1>]"
    clock.move(0.4)
    assert text(second) == "[<1>] [<2><3>]"


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_socket_that_fills_between_two_batches_falls_back_to_the_last_batch_it_got(paced, clock, encoding, writes):
    """Not to the first one's end, nor to what was dispatched; others get every batch."""
    filling, quick = Member(), Member()
    filling.buffered = lambda: 101 if len(filling.written) >= writes else 0
    for member in (filling, quick):
        paced.join(member, EVERYTHING, encoding, 0, PACE)
    paced.dispatch([event(seq) for seq in range(1, 11)])
    assert quick.written == [b"[<1><2><3>]", b"[<4><5><6>]", b"[<7><8><9>]", b"[<10>]"]
    assert filling.written == quick.written[:writes]
    assert filling.calls == [("fall_back", 3 * writes)]


def test_who_leaves_takes_its_timer_along(paced, clock, encoding):
    """An empty group holds nothing and plans nothing."""
    member, group = hold_two(paced, encoding)
    paced.leave(member, group)
    assert clock.planned() == []
    assert not paced._groups
    paced.dispatch([event(4)])
    assert text(member) == "[<1>]"
