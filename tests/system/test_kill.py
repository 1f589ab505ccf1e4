"""SIGKILL, twenty times, under load: what was acknowledged is there once, what was delivered stays."""

import asyncio
import contextlib
import random
import time

import aiohttp
import pytest

from tests.support import EventSource, ServerProcess, canonical, check_file, has_reached, read_rows, until

ROUNDS = 20
PUBLISHERS = 16
STREAMS = 5
ENVIRONMENT = {"TOWOW__STREAM__RETRY_MILLISECONDS": "20", "TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}


class Publisher:
    """Appends without a pause, and repeats what was not acknowledged with the same event_ids until it is."""

    def __init__(self, number, url, receipts):
        self.number = number
        self.url = url
        self.receipts = receipts  # (event_id, seq, revision) of every acknowledged event
        self.is_stopping = False
        self.repeats = 0
        self.found_stored = 0

    async def run(self):
        """One request after another, alone or in batches, on streams shared with the others."""
        async with aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
            n = 0
            while not self.is_stopping:
                size = 1 if n % 4 else 5
                events = [self._event(n + offset) for offset in range(size)]
                n += size
                await self._until_acknowledged(session, {"events": events})

    def _event(self, n):
        event_id = f"p{self.number}-{n}"
        payload = {"n": n, "publisher": self.number, "text": "x" * (n % 7 * 100)}
        stream = f"task:{(self.number + n) % STREAMS}"
        return {"stream": stream, "event_type": "note", "payload": payload, "event_id": event_id}

    async def _until_acknowledged(self, session, request):
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with session.post("/api/events", json=request) as answer:
                    if answer.status in (200, 201):
                        receipts = (await answer.json())["events"]
                        self.found_stored += answer.status == 200
                        self.receipts += [(each["event_id"], each["seq"], each["revision"]) for each in receipts]
                        assert len(receipts) == len(request["events"])
                        return
                    assert answer.status == 503, await answer.text()
            self.repeats += 1
            await asyncio.sleep(0.02)  # the server is down; there is nothing else to wait for


@pytest.mark.timeout(180)
async def test_twenty_kills_under_sixteen_publishers_lose_double_and_renumber_nothing(tmp_path):
    """Each acknowledged event is stored once; followers that resumed across all kills have what is stored."""
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    chance = random.Random(seed)
    started = time.monotonic()
    receipts = []
    with ServerProcess(tmp_path / "towow.db", environment=ENVIRONMENT) as server:
        publishers = [Publisher(n, server.url, receipts) for n in range(PUBLISHERS)]
        everything = EventSource(server.port, "/api/events/stream?stream=*&start=beginning")
        one_stream = EventSource(server.port, "/api/events/stream?stream=task:0&allow_pending=1")
        async with everything, one_stream, asyncio.TaskGroup() as group:
            for publisher in publishers:
                group.create_task(publisher.run())
            for _ in range(ROUNDS):
                enough = len(receipts) + chance.choice((1, 50, 400, 1500)) + chance.randrange(50)
                await until(lambda count=enough: len(receipts) >= count, timeout=30)
                server.kill()
                await asyncio.to_thread(server.start)
            for publisher in publishers:
                publisher.is_stopping = True
            await until(lambda: len(group._tasks) == 0, timeout=30)
            stored = read_rows(server.database)
            await until(lambda: has_reached(everything, stored[-1]), timeout=30)
            of_one = [event for event in stored if event.stream == "task:0"]
            await until(lambda: has_reached(one_stream, of_one[-1]), timeout=30)
        assert server.stop() == 0
        everything_seen, one_seen = everything.events(), one_stream.events()
    check_file(server.database)
    check_receipts(stored, receipts)
    assert everything_seen == [canonical(event) for event in stored]
    assert one_seen == [canonical(event) for event in of_one]
    assert len(everything.requests) > ROUNDS // 2  # it resumed; a kill may come before it is back from the last one
    assert read_rows(server.database) == stored
    repeats = sum(publisher.repeats for publisher in publishers)
    found_stored = sum(publisher.found_stored for publisher in publishers)
    print(
        f"{ROUNDS} kills, {len(stored)} events, {repeats} repeated requests, "
        f"{found_stored} of them found their events stored, {time.monotonic() - started:.1f} s"
    )


def check_receipts(stored, receipts):
    """Everything acknowledged is stored once, at the place that was acknowledged, and nothing else is."""
    places = {event.event_id: (event.seq, event.revision) for event in stored}
    assert len(places) == len(stored)
    for event_id, seq, revision in receipts:
        assert places[event_id] == (seq, revision)
    assert places.keys() == {event_id for event_id, _, _ in receipts}
