"""The heart: whatever happens, a follower gets exactly the events after its cursor, once, in order."""

import asyncio
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.api.stream_response import NdjsonWire
from server.config import Config, DatabaseSection, PollSection, StreamSection
from server.eventlog.database import sqlite3
from server.eventlog.hub import BatchPolicy
from server.eventlog.selection import select
from server.streaming.cursor import StartPosition
from server.streaming.follower import ConnectionSettings, Ended, Follower, Followers, events_after
from server.streaming.keepalive import KeepaliveTimer
from tests.support import note, open_log, until

TIMING = ConnectionSettings(
    keepalive_seconds=60, timer=KeepaliveTimer(60, time.monotonic), send_timeout_seconds=30, retry_milliseconds=10
)
# With and without waiting for more events; the last one in practice for ever, and with a share for each connection.
TIMINGS = (
    TIMING,
    TIMING._replace(batch_policy=BatchPolicy(3, 0.0)),
    TIMING._replace(batch_policy=BatchPolicy(4, 600.0)),
    TIMING._replace(batch_policy=BatchPolicy(4, 600.0), max_events=7),
    TIMING._replace(max_events=5),
)
MAX_BUFFER_BYTES = 2_000
STREAMS = ("task:a", "task:b", "demand:c")
SELECTIONS = (
    select(("task:a",)),
    select(("task:a", "demand:c")),
    select(("task:*",)),
    select(("*",)),
    select(("*",), ("odd*",)),
    select(("task:a",), ("odd",)),
)


class Peer:
    """The far end of a connection, which reads at once, or only when told to; its socket may be full after a few writes."""

    def __init__(self, *, is_slow=False, clock=time.monotonic):
        self.is_slow = is_slow
        self.clock = clock
        self.is_full = False
        self.fills_after = 0  # writes; 0: as its buffer has it
        self.begin()
        self.buffer = b""
        self.received = b""
        self.is_aborted = False
        self._room = asyncio.Event()
        self._room.set()

    def begin(self):
        """Count what is written on a new connection."""
        self.written = Counter()
        self.written_at = self.clock()

    def write(self, data):
        """Take bytes, as a transport does; a full one is only given the word that the stream goes on or ends."""
        assert self.get_write_buffer_size() <= MAX_BUFFER_BYTES or b'"control":' in data
        self.buffer += data
        self.written += Counter(
            writes=1, bytes=len(data), events=data.count(b'"event_id"'), ready=data.count(b'"control":"ready"')
        )
        self.written_at = self.clock()
        if self.fills_after:
            self.fills_after -= 1
            self.is_full = self.is_slow = self.fills_after == 0
        self._update()

    def take(self, size):
        """Read some bytes."""
        self.is_full = False
        self.received += self.buffer[:size]
        self.buffer = self.buffer[size:]
        self._update()

    def _update(self):
        if not self.is_slow:
            self.received += self.buffer
            self.buffer = b""
        if self.get_write_buffer_size() > MAX_BUFFER_BYTES:
            self._room.clear()
        else:
            self._room.set()

    def speed_up(self):
        """Read everything from now on."""
        self.is_slow = self.is_full = False
        self.fills_after = 0
        self._update()

    def abort(self):
        """Remember the axe."""
        self.is_aborted = True

    def get_write_buffer_size(self):
        """Bytes that the far end has not taken."""
        return len(self.buffer) + (MAX_BUFFER_BYTES + 1 if self.is_full else 0)

    async def drain(self):
        """Wait for room."""
        await self._room.wait()

    def events(self):
        """Whole events received so far."""
        lines = self.received.split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line and not line.startswith(b'{"control"')]

    def controls(self):
        """Control frames received so far."""
        return [json.loads(line) for line in self.received.split(b"\n")[:-1] if line.startswith(b'{"control"')]


def follow(log, peer, selection, cursor=0, timing=TIMING, start=None):
    """Start a follower; returns it and its task."""
    peer.begin()
    follower = Follower(log, selection, start or StartPosition(cursor), NdjsonWire(False), peer, peer.drain, timing)
    return follower, asyncio.create_task(follower.run())


class Following(RuleBasedStateMachine):
    """Any interleaving of appends, joins at any cursor, slow readers, disconnects and restarts."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.followers = []  # [selection, cursor, peer, task, timing, follower]
        self.appended = 0
        self.now = 0  # seconds of the hub's clock: one passes with each step

    def run(self, coroutine):
        """Run to completion on this machine's loop."""
        return self.loop.run_until_complete(coroutine)

    @initialize(tail=st.sampled_from([0, 1_500, 1_000_000]), page=st.sampled_from([300, 5_000]))
    def open(self, tail, page):
        """Open a new file with a large, small or no tail and short or longer pages."""
        self.config = Config(
            database=DatabaseSection(path=str(Path(self.folder.name) / "p.db"), min_free_bytes=0),
            stream=StreamSection(tail_bytes=tail, page_bytes=page, max_buffer_bytes=MAX_BUFFER_BYTES),
            poll=PollSection(poll_interval_seconds=30, max_poll_interval_seconds=30),
        )
        self.start()

    def start(self):
        """Open the file, with a clock that the machine moves."""
        self.context = open_log(self.config)
        self.log = self.run(self.context.__aenter__())
        self.log.hub.clock = lambda: self.now

    @rule(streams=st.lists(st.sampled_from(STREAMS), min_size=1, max_size=40), is_odd=st.booleans())
    def append(self, streams, is_odd):
        """Append to several streams in one request."""
        events = [note(name, self.appended + n, event_type="odd" if is_odd else "even") for n, name in enumerate(streams)]
        self.appended += len(events)
        self.run(self.log.append(events))

    @rule(count=st.integers(8, 20))
    def append_a_burst(self, count):
        """Append more than one write carries."""
        self.append(["task:a"] * count, False)

    @rule(counts=st.lists(st.integers(1, 4), min_size=2, max_size=6))
    def append_at_once(self, counts):
        """Append from several publishers at the same time."""

        async def all_of_them():
            await asyncio.gather(*(self.log.append([note("task:a", n) for n in range(count)]) for count in counts))

        self.appended += sum(counts)
        self.run(all_of_them())

    @rule(count=st.integers(1, 5), is_announced=st.booleans())
    def append_from_outside(self, count, is_announced):
        """Another process appends, with a datagram or behind the server's back."""

        async def outside():
            async with open_log(self.config) as other:
                if not is_announced:
                    other.peers.close()
                await other.append([note("task:b", n, event_type="odd") for n in range(count)])

        self.appended += count
        self.run(outside())

    @rule(which=st.sampled_from(SELECTIONS), share=st.floats(0, 1), is_slow=st.booleans(), timing=st.sampled_from(TIMINGS))
    def join(self, which, share, is_slow, timing):
        """A follower comes with a cursor anywhere in the announced log."""

        async def start():
            peer = Peer(is_slow=is_slow, clock=lambda: self.now)
            cursor = int(self.log.head_seq * share)
            follower, task = follow(self.log, peer, which, cursor, timing)
            self.followers.append([which, cursor, peer, task, timing, follower])
            await asyncio.sleep(0)

        self.run(start())

    @precondition(lambda self: self.followers)
    @rule(data=st.data(), size=st.integers(1, 6_000))
    def read_some(self, data, size):
        """A slow reader takes some bytes."""
        peer = data.draw(st.sampled_from(self.followers))[2]
        peer.take(size)
        self.run(asyncio.sleep(0))

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def change_speed(self, data):
        """A reader becomes slow or quick."""
        peer = data.draw(st.sampled_from(self.followers))[2]
        if peer.is_slow:
            peer.speed_up()
        else:
            peer.is_slow = True
        self.run(asyncio.sleep(0))

    @precondition(lambda self: self.followers)
    @rule(data=st.data(), writes=st.integers(1, 4))
    def fill_soon(self, data, writes):
        """A socket takes a few more writes, and then nothing until its reader reads."""
        data.draw(st.sampled_from(self.followers))[2].fills_after = writes

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def keep_alive(self, data):
        """A connection's silence has lasted long enough: it is written to, unless it has something to send already."""
        entry = data.draw(st.sampled_from(self.followers))
        peer, before = entry[2], entry[2].written["writes"]
        has_begun, is_waiting = entry[5]._has_written, peer.get_write_buffer_size() > 0
        if entry[3].done():
            return  # its timer has forgotten it
        assert peer.written_at <= entry[5].silent_since() <= self.now
        entry[5].keep_alive()
        assert peer.written["writes"] - before == (1 if has_begun and not is_waiting else 0)

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def reconnect(self, data):
        """A connection breaks; what was in flight is lost, and the reader comes back with its cursor."""
        entry = data.draw(st.sampled_from(self.followers))
        self.run(self.cut(entry))
        self.run(self.come_back(entry))

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def stop_and_return(self, data):
        """The server ends a stream and says where it is; the reader goes on from there."""
        entry = data.draw(st.sampled_from(self.followers))
        self.run(self.leave_and_return(entry))

    async def leave_and_return(self, entry):
        """As told by the last control frame: `end` or `rotate`, whichever came first."""
        entry[5].stop("asked")
        entry[2].speed_up()
        await entry[3]
        end = entry[2].controls()[-1]
        cursor = end["next_since_seq"] if end["control"] == "rotate" else end["last_seq"]
        entry[5], entry[3] = follow(self.log, entry[2], entry[0], cursor, entry[4])
        await asyncio.sleep(0)

    @rule()
    def restart(self):
        """The server stops and another one opens the file."""
        for entry in self.followers:
            self.run(self.cut(entry))
        self.run(self.context.__aexit__(None, None, None))
        self.start()
        for entry in self.followers:
            self.run(self.come_back(entry))

    async def cut(self, entry):
        """End the connection; keep only whole frames that were read."""
        entry[3].cancel()
        await asyncio.gather(entry[3], return_exceptions=True)
        peer = entry[2]
        assert (entry[5].sent_events, entry[5].sent_bytes) == (peer.written["events"], peer.written["bytes"])
        assert peer.written["ready"] <= 1
        peer.received = peer.received[: peer.received.rfind(b"\n") + 1]
        peer.buffer = b""
        peer.is_full, peer.fills_after = False, 0
        peer._update()

    async def come_back(self, entry):
        """Follow again from the last event that was read."""
        selection, cursor, peer, _, timing, _ = entry
        got = peer.events()
        entry[5], entry[3] = follow(self.log, peer, selection, got[-1]["seq"] if got else cursor, timing)
        await asyncio.sleep(0)

    def expected(self, selection, cursor):
        """The rows after the cursor, straight from the file."""
        db = sqlite3.connect(self.config.database.path)
        rows = db.execute("SELECT seq, stream, event_type FROM events WHERE seq > ? ORDER BY seq", (cursor,)).fetchall()
        db.close()
        return [row[0] for row in rows if selection.wants_stream(row[1]) and selection.wants_type(row[2])]

    @invariant()
    def nobody_has_a_gap_or_a_double(self):
        """What a follower has is always a prefix of what it should get."""
        self.now += 1
        for selection, cursor, peer, *_ in self.followers:
            got = [event["seq"] for event in peer.events()]
            assert got == self.expected(selection, cursor)[: len(got)]

    def teardown(self):
        """In the end everybody has everything, and nothing is left open."""
        try:
            if hasattr(self, "log"):
                self.run(self.settle())
        finally:
            for entry in self.followers:
                self.run(self.cut(entry))
            if hasattr(self, "log"):
                assert self.log.hub.follower_count == 0
                self.run(self.context.__aexit__(None, None, None))
            self.loop.close()
            self.folder.cleanup()

    async def settle(self):
        """Let every reader read, until it has what it should get."""
        await self.log.refresh()
        for entry in self.followers:
            selection, cursor, peer, _, timing, _ = entry
            peer.speed_up()
            wanted = self.expected(selection, cursor)
            async with asyncio.timeout(5):
                while (timing.max_events or timing.batch_policy) and len(peer.events()) < len(wanted):
                    await until(lambda entry=entry: entry[5]._group is not None or entry[3].done())
                    await self.leave_and_return(entry)  # else it would wait for more
            await until(lambda peer=peer, wanted=wanted: len(peer.events()) >= len(wanted), timeout=2)
            assert [event["seq"] for event in peer.events()] == wanted


Following.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_interleaving_gives_each_follower_exactly_the_rows_after_its_cursor = pytest.mark.slow(Following.TestCase)


async def test_a_live_follower_is_written_to_by_the_hub_without_being_woken(quiet_config):
    """Live delivery costs no task switch: the bytes are there when append returns."""
    async with open_log(quiet_config) as log:
        peer = Peer()
        _, task = follow(log, peer, select(("task:a",)))
        await until(lambda: log.hub.follower_count == 1)
        receipt = (await log.append([note()]))[0]
        assert receipt.followers == 1
        assert [event["seq"] for event in peer.events()] == [1]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_followers_of_one_selection_share_one_bytes_object(quiet_config):
    """Memory for a dispatch does not grow with the number of followers."""
    async with open_log(quiet_config) as log:
        written = []
        tasks = []
        for _ in range(3):
            peer = Peer()
            peer.write = written.append
            tasks.append(follow(log, peer, select(("task:a",)))[1])
        await until(lambda: log.hub.follower_count == 3)
        written.clear()
        await log.append([note(n=n) for n in range(5)])
        assert len(written) == 3
        assert written[0] is written[1] is written[2]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_reader_that_stops_reading_is_cut_after_the_send_timeout_and_others_are_unharmed(quiet_config):
    """A stalled peer is aborted, bounded in memory, and nobody waits for it."""
    stream = msgspec.structs.replace(quiet_config.stream, max_buffer_bytes=MAX_BUFFER_BYTES, page_bytes=2_000)
    async with open_log(msgspec.structs.replace(quiet_config, stream=stream)) as log:
        timing = TIMING._replace(send_timeout_seconds=0.05)
        stalled, healthy = Peer(is_slow=True), Peer()
        _, first = follow(log, stalled, select(("task:a",)), timing=timing)
        _, second = follow(log, healthy, select(("task:a",)), timing=timing)
        await until(lambda: log.hub.follower_count == 2)
        for n in range(60):
            await log.append([note(n=n)])
        async with asyncio.timeout(2):
            assert await first is Ended.STALLED
        assert stalled.is_aborted
        assert len(stalled.buffer) < MAX_BUFFER_BYTES + 6_000
        assert len(healthy.events()) == 60
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


@pytest.mark.parametrize("tail_bytes", [0, 1_000_000], ids=["from the file", "from the tail"])
async def test_a_slow_reader_falls_back_and_loses_nothing(quiet_config, tail_bytes):
    """A full socket puts a follower back to reading pages, from the cursor that it really has."""
    stream = msgspec.structs.replace(quiet_config.stream, max_buffer_bytes=MAX_BUFFER_BYTES, tail_bytes=tail_bytes)
    async with open_log(msgspec.structs.replace(quiet_config, stream=stream)) as log:
        peer = Peer(is_slow=True)
        _, task = follow(log, peer, select(("task:a",)))
        await until(lambda: log.hub.follower_count == 1)
        for n in range(60):
            await log.append([note(n=n)])
        assert log.hub.follower_count == 0
        peer.speed_up()
        await until(lambda: log.hub.follower_count == 1)
        assert [event["payload"]["n"] for event in peer.events()] == list(range(60))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_another_process_appended_before_an_append_comes_first(quiet_config):
    """Live followers get everything in seq order, also what nobody has announced yet."""
    poll = msgspec.structs.replace(quiet_config.poll, poll_interval_seconds=30.0, max_poll_interval_seconds=30.0)
    config = msgspec.structs.replace(quiet_config, poll=poll)
    async with open_log(config) as log, open_log(config) as other:
        other.peers.close()
        peer = Peer()
        _, task = follow(log, peer, select(("task:a",)))
        await until(lambda: log.hub.follower_count == 1)
        await other.append([note(n=1), note(n=2)])
        await log.append([note(n=3)])
        assert [event["payload"]["n"] for event in peer.events()] == [1, 2, 3]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("types", [(), ("nothing",)], ids=["all types", "types that leave the end out"])
async def test_the_terminal_event_ends_live_and_late_followers(quiet_config, types):
    """`end` names the terminal event and its seq, whether it was seen live or in the replay."""
    async with open_log(quiet_config) as log:
        selection = select(("task:a",), types)
        live, late = Peer(), Peer()
        _, first = follow(log, live, selection)
        await until(lambda: log.hub.follower_count == 1)
        await log.append([note(), note(event_type="finished")])
        _, second = follow(log, late, selection)
        async with asyncio.timeout(2):
            assert await first is Ended.TERMINAL
            assert await second is Ended.TERMINAL
        for peer in (live, late):
            assert peer.controls()[-1] == {"control": "end", "reason": "finished", "last_seq": 2}
            assert [event["seq"] for event in peer.events()] == ([] if types else [1, 2])


async def test_a_connection_rotates_after_its_share_of_events(quiet_config):
    """`rotate` says where to go on; in a replay the share is exact."""
    async with open_log(quiet_config) as log:
        await log.append([note(n=n) for n in range(7)])
        timing = TIMING._replace(max_events=5)
        peer = Peer()
        _, task = follow(log, peer, select(("task:a",)), timing=timing)
        async with asyncio.timeout(2):
            assert await task is Ended.ROTATED
        assert len(peer.events()) == 5
        fifth = await log.get(seq=5)
        assert peer.controls() == [{"control": "rotate", "next_since_seq": 5, "next_cursor": fifth.cursor}]
        live = Peer()
        _, task = follow(log, live, select(("task:a",)), 5, timing=timing)
        await until(lambda: len(live.events()) == 2)
        await log.append([note(n=n) for n in range(3)])
        async with asyncio.timeout(2):
            assert await task is Ended.ROTATED
        tenth = await log.get(seq=10)
        assert live.controls()[-1] == {"control": "rotate", "next_since_seq": 10, "next_cursor": tenth.cursor}


async def test_a_share_counts_from_when_a_connection_came(quiet_config):
    """Whatever its group has been written before, and whoever comes to the group later."""
    async with open_log(quiet_config) as log:
        timing = TIMING._replace(max_events=5)
        first, second = Peer(), Peer()
        _, one = follow(log, first, select(("task:a",)), timing=timing)
        await until(lambda: log.hub.follower_count == 1)
        await log.append([note(n=n) for n in range(4)])
        _, two = follow(log, second, select(("task:a",)), 4, timing=timing)
        await until(lambda: log.hub.follower_count == 2)
        await log.append([note(n=4)])
        async with asyncio.timeout(2):
            assert await one is Ended.ROTATED
        assert log.hub.follower_count == 1
        for n in range(5, 9):
            await log.append([note(n=n)])
        async with asyncio.timeout(2):
            assert await two is Ended.ROTATED
        assert [event["seq"] for event in first.events()] == [1, 2, 3, 4, 5]
        assert [event["seq"] for event in second.events()] == [5, 6, 7, 8, 9]


async def test_stop_all_ends_followers_that_are_live_and_that_catch_up(quiet_config):
    """A shutdown reaches every connection, each with its own reconnect hint."""
    async with open_log(quiet_config) as log:
        followers = Followers()
        peers = [Peer() for _ in range(4)]
        tasks = []
        for peer in peers:
            follower = Follower(log, select(("*",)), StartPosition(0), NdjsonWire(False), peer, peer.drain, TIMING)
            followers.add(follower)
            tasks.append(asyncio.create_task(follower.run()))
        await until(lambda: log.hub.follower_count == 4)
        assert len(followers) == 4
        log.hub.close()
        followers.stop_all(100)
        async with asyncio.timeout(2):
            assert set(await asyncio.gather(*tasks)) == {Ended.STOPPED}
        hints = {peer.controls()[-1]["retry_milliseconds"] for peer in peers}
        assert all(100 <= hint <= 300 for hint in hints)


async def test_events_after_follows_inside_the_process(quiet_config):
    """The in-process iterator replays, then waits, on the same cursor."""
    async with open_log(quiet_config) as log:
        await log.append([note(n=0), note("task:b", 1)])
        got = []

        async def consume():
            async for event in events_after(log, select(("task:a",)), 0):
                got.append(event.seq)  # noqa: PERF401 - it never ends

        task = asyncio.create_task(consume())
        await until(lambda: got == [1])
        await log.append([note(n=2), note("task:b", 3), note(n=4)])
        await until(lambda: got == [1, 3, 5])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not log.hub._groups
