"""Two server processes on one file, and a writer that is no server: followers see every event once, in order."""

import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from server.eventlog.database import sqlite3
from server.eventlog.terms import read_terms
from tests.support import (
    ROOT,
    EventSource,
    EventStreamParser,
    ServerProcess,
    body,
    canonical,
    check_file,
    has_reached,
    insert_row,
    read_rows,
    until,
)
from tests.support.generations import NOVA, begin, cancel, check_whole, follow, until_ended, until_run
from tests.support.negotiations import EVENING, TALK, VENUE, Script, until_told
from tests.support.tokens import bearer, secret_of
from tests.support.upstream import Upstream, writes_for_ever
from towow.events import Event

ENVIRONMENT = {"TOWOW__STREAM__RETRY_MILLISECONDS": "20", "TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}
ALL = "/api/events/stream?stream=*&start=beginning"
ONE = "/api/events/stream?stream=task:0&allow_pending=1"
PUBLISHERS = 8  # for each process
REQUESTS = 40  # of each publisher
TRIES = 3
LARGEST_DELAY_SECONDS = 0.5


@contextlib.contextmanager
def two_servers(path):
    """Two processes on one file; the datagrams and the polling are what the defaults make of them."""
    with ServerProcess(path, environment=ENVIRONMENT) as first, ServerProcess(path, environment=ENVIRONMENT) as second:
        yield first, second


class TimedSource(EventSource):
    """An `EventSource` that notes how long each event took from its publisher's clock to here."""

    def __init__(self, port, target):
        super().__init__(port, target)
        self.delays = []

    def heard(self, messages):
        """Compare with the time that the publisher wrote into the payload."""
        now = time.monotonic()
        for message in messages:
            if message.event == "message":
                self.delays.append(now - json.loads(message.data)["payload"]["sent_at"])
        super().heard(messages)


async def publish_timed(server, number, *, pause_seconds=0.0):
    """One publisher: lone events and batches to streams that publishers of both processes share."""
    receipts = []
    async with aiohttp.ClientSession(server.url) as session:
        for n in range(REQUESTS):
            streams = [f"task:{(number + n + offset) % 3}" for offset in range(1 if n % 4 else 3)]
            events = [body(stream, payload={"sent_at": time.monotonic()}) for stream in streams]
            async with session.post("/api/events", json={"events": events}) as answer:
                assert answer.status == 201, await answer.text()
                receipts += (await answer.json())["events"]
            await asyncio.sleep(pause_seconds)
    return receipts


async def measure(path):
    """One run on a fresh file: checks what everybody saw, and returns the largest delay in seconds."""
    with two_servers(path) as servers:
        sources = [TimedSource(server.port, target) for server in servers for target in (ALL, ONE)]
        async with contextlib.AsyncExitStack() as stack:
            for source in sources:
                await stack.enter_async_context(source)
            await until(lambda: all(source.controls() for source in sources))
            publishing = [
                publish_timed(server, number, pause_seconds=0.005) for server in servers for number in range(PUBLISHERS)
            ]
            receipts = [each for answers in await asyncio.gather(*publishing) for each in answers]
            stored = read_rows(path)
            of_one = [event for event in stored if event.stream == "task:0"]
            for source, wanted in zip(sources, (stored, of_one) * 2, strict=True):
                await until(lambda source=source, wanted=wanted: has_reached(source, wanted[-1]))
        for source, wanted in zip(sources, (stored, of_one) * 2, strict=True):
            assert source.events() == [canonical(event) for event in wanted]
            assert len(source.requests) == 1
        places = {event.event_id: (event.seq, event.revision) for event in stored}
        assert places == {each["event_id"]: (each["seq"], each["revision"]) for each in receipts}
        assert [server.stop() for server in servers] == [0, 0]
    check_file(path)
    return max(delay for source in sources for delay in source.delays)


@pytest.mark.timeout(120)
async def test_followers_of_both_processes_see_the_events_of_both_once_in_order_and_soon(tmp_path):
    """On `*` and on one stream, in each process: what publishers of both appended, within half a second."""
    delays = []
    while len(delays) < TRIES and (not delays or delays[-1] >= LARGEST_DELAY_SECONDS):  # a busy machine adds its own
        delays.append(await measure(tmp_path / f"{len(delays)}.db"))
        print(f"\nlargest delay from publish to receive across two processes: {delays[-1] * 1000:.0f} ms")
    assert min(delays) < LARGEST_DELAY_SECONDS


async def test_both_processes_know_an_idempotency_key_and_a_revision_that_the_other_gave(tmp_path):
    """What was decided in one process holds in the other: event_id, expected_revision, cursor."""
    with two_servers(tmp_path / "towow.db") as servers:
        async with aiohttp.ClientSession(servers[0].url) as one, aiohttp.ClientSession(servers[1].url) as other:
            first = await (await one.post("/api/events", json=body(event_id="key", expected_revision=0))).json()
            again = await other.post("/api/events", json=body(event_id="key", expected_revision=0))
            assert again.status == 200
            assert (await again.json())["seq"] == first["seq"]
            stale = await other.post("/api/events", json=body(n=1, expected_revision=0))
            assert stale.status == 412
            for n in range(1, 20):
                session = (one, other)[n % 2]
                answer = await session.post("/api/events", json=body(n=n, expected_revision=n))
                assert answer.status == 201, await answer.text()
                seq = (await answer.json())["seq"]
                headers = {"X-Towow-At-Least": answer.headers["X-Towow-Seq"]}
                page = await (other, one)[n % 2].get("/api/events?stream=task:a&limit=1", headers=headers)
                assert (await page.json())["events"][0]["seq"] == seq  # what was written is read at the other one
                url = f"/api/events/stream?stream=task:a&since_seq={seq}"
                async with (other, one)[n % 2].get(url) as stream:  # at once: the cursor may lie ahead of this process
                    text = (await stream.content.readuntil(b"\n\n")).decode()
                    assert "event: ready" in text, text
    check_file(tmp_path / "towow.db")


def append_with_plain_sqlite(path, count):
    """Append to `task:0` as a script with its own connection would, without telling anybody."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for n in range(count):
            db.execute("BEGIN IMMEDIATE")
            seq = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()[0] + 1
            revision = db.execute("SELECT max(revision) FROM events WHERE stream = 'task:0'").fetchone()[0] or 0
            event = Event(
                seq, "task:0", revision + 1, f"script-{seq}", "note", "2099-01-01T00:00:00.000Z", "script", f'{{"n":{n}}}'
            )
            insert_row(db, event)
            db.execute("COMMIT")


async def test_a_writer_that_announces_nothing_is_noticed_by_polling(tmp_path):
    """Plain SQL from another process reaches the followers of both servers, which then continue its revisions."""
    path = tmp_path / "towow.db"
    with two_servers(path) as servers:
        sources = [EventSource(server.port, target) for server in servers for target in (ALL, ONE)]
        async with contextlib.AsyncExitStack() as stack:
            for source in sources:
                await stack.enter_async_context(source)
            await until(lambda: all(source.controls() for source in sources))
            async with aiohttp.ClientSession() as session:
                for turn in range(3):
                    for server in servers:
                        answer = await session.post(f"{server.url}/api/events", json=body("task:0", turn))
                        assert answer.status == 201
                    await asyncio.to_thread(append_with_plain_sqlite, path, 4)
                    stored = read_rows(path)
                    for source in sources:
                        await until(lambda source=source, last=stored[-1]: has_reached(source, last))
        assert [event.source for event in stored].count("script") == 12
        for source in sources:
            assert source.events() == [canonical(event) for event in stored]
    revisions = [event.revision for event in stored]
    assert revisions == list(range(1, 19))


async def test_killing_one_process_leaves_the_other_unharmed_and_its_socket_is_cleaned_up(tmp_path):
    """The survivor goes on appending and announcing; the dead one's socket is gone after the next append."""
    path = tmp_path / "towow.db"
    sockets = Path(f"{path}.peers")
    with two_servers(path) as (victim, survivor):
        assert len(list(sockets.glob("*.sock"))) == 2
        async with (
            aiohttp.ClientSession(survivor.url) as session,
            EventSource(survivor.port, ALL) as there,
            EventSource(victim.port, ALL) as moving,
        ):
            await until(lambda: there.controls() and moving.controls())
            for n in range(5):
                assert (await session.post("/api/events", json=body(n=n))).status == 201
            victim_pid = victim.process.pid
            victim.kill()
            assert [file for file in sockets.glob("*.sock") if file.name.startswith(f"{victim_pid}-")]
            for n in range(5, 10):
                assert (await session.post("/api/events", json=body(n=n))).status == 201
            left = [file.name for file in sockets.glob("*.sock")]
            assert [name.partition("-")[0] for name in left] == [str(survivor.process.pid)]
            await asyncio.to_thread(victim.start)
            for n in range(10, 15):
                assert (await session.post("/api/events", json=body(n=n))).status == 201
            stored = read_rows(path)
            for source in (there, moving):
                await until(lambda source=source: has_reached(source, stored[-1]))
                assert [event["payload"]["n"] for event in source.events()] == list(range(15))
            assert len(there.requests) == 1
        assert victim.stop() == 0
        assert survivor.stop() == 0
        assert list(sockets.glob("*.sock")) == []
    check_file(path)


async def test_one_process_is_stopped_and_the_other_keeps_its_streams(tmp_path):
    """A clean stop ends only its own streams, and does not checkpoint or lock the file away from the other."""
    path = tmp_path / "towow.db"
    with two_servers(path) as (leaving, staying):
        async with aiohttp.ClientSession(staying.url) as session, EventSource(staying.port, ALL) as source:
            await until(lambda: source.controls())
            posts = [asyncio.create_task(session.post("/api/events", json=body(n=n))) for n in range(200)]
            assert await asyncio.to_thread(leaving.stop) == 0
            assert {answer.status for answer in await asyncio.gather(*posts)} == {201}
            await until(lambda: len(source.events()) == 200)
            assert len(source.requests) == 1
            assert staying.get("/health")["head_seq"] == 200
    check_file(path)


async def test_two_processes_that_start_at_once_on_a_new_file_share_it(tmp_path):
    """Migrations run once, sample agents are registered once, and both serve the same epoch."""
    path = tmp_path / "new" / "towow.db"
    path.parent.mkdir()
    servers = [ServerProcess(path), ServerProcess(path)]
    try:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
        health = [server.get("/health") for server in servers]
        assert len({(each["epoch"], each["head_seq"]) for each in health}) == 1
        agents = [event.stream for event in read_rows(path)]
        assert len(agents) == len(set(agents)) > 20
    finally:
        codes = [server.stop() for server in servers]
    assert codes == [0, 0]
    check_file(path)


# Processes that are stopped


WITHIN_SECONDS = 10.0
PATIENT = {**ENVIRONMENT, "TOWOW__DEMANDS__OFFER_TIMEOUT_SECONDS": "60", "TOWOW__DEMANDS__FEEDBACK_TIMEOUT_SECONDS": "60"}
SCRIPTS = {"ann": Script("venue", price=100), "ben": Script("technical talk", price=50)}
PERMISSIONS = "/agent_backend/api/sse"


@contextlib.contextmanager
def acting_and_standby(path, environment=PATIENT):
    """Two processes on one file; the first one has every duty. One that is stopped is continued, so that it can end."""
    with ServerProcess(path, environment=environment) as acting, ServerProcess(path, environment=environment) as standby:
        try:
            yield acting, standby
        finally:
            for server in (acting, standby):
                if server.process is not None:
                    server.process.send_signal(signal.SIGCONT)


def holders(path):
    """The process that has each duty, by its process id, and the duty's term."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {duty: (int(each.process.partition("-")[0]), each.number) for duty, each in read_terms(db).items()}


async def call(server, path, given):
    """POST JSON; the answer's JSON, when it is 2xx."""
    async with aiohttp.ClientSession(server.url) as session, session.post(path, json=given) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def agree(server, demand_id, decision="accept"):
    """Answer a proposal as every agent."""
    for agent_id in SCRIPTS:
        given = {"agent_id": agent_id, "proposal_id": f"{demand_id}-p1", "decision": decision}
        await call(server, f"/api/demand/{demand_id}/feedback", given)


@pytest.mark.timeout(120)
async def test_a_stopped_process_is_replaced_within_ten_seconds_and_takes_no_step_when_it_goes_on(tmp_path):
    """Demands, runs and permissions; then it notices, stands by, and takes over again at once after a SIGKILL of the other."""
    path = tmp_path / "towow.db"
    with acting_and_standby(path) as (acting, standby):
        for agent in (VENUE, TALK):
            await call(acting, "/api/agents", agent)
        demand_id = (await call(standby, "/api/demand/submit", {"raw_input": EVENING}))["demand_id"]
        await asyncio.to_thread(until_told, standby, demand_id, lambda detail: detail["phase"] == "collecting_offers")
        data = {"tool_name": "rm", "parameters": {}, "risk_level": "high", "expires_within_seconds": 0.5}
        asked = {"type": "permission_request", "data": data, "permission_id": "p-1"}
        assert {process for process, _ in holders(path).values()} == {acting.process.pid}

        acting.process.send_signal(signal.SIGSTOP)
        await call(standby, f"{PERMISSIONS}/notify/s-1", asked)
        async with aiohttp.ClientSession(standby.url) as session:
            run_id = await begin(session)
        for agent_id, script in SCRIPTS.items():
            await call(standby, f"/api/demand/{demand_id}/offers", {"agent_id": agent_id, **script.invited()})
        async with asyncio.timeout(WITHIN_SECONDS):
            is_done = [
                (f"/api/demand/{demand_id}", lambda detail: detail["phase"] == "proposing"),
                (f"/api/runs/{run_id}", lambda run: run["status"] == "completed"),
                (f"{PERMISSIONS}/permissions/s-1/p-1", lambda permission: permission["status"] == "expired"),
            ]
            while not all([condition(await asyncio.to_thread(standby.get, url)) for url, condition in is_done]):
                await asyncio.sleep(0.05)
        assert {process for process, _ in holders(path).values()} == {standby.process.pid}
        terms = holders(path)

        health = await asyncio.to_thread(standby.get, "/health")
        assert [each["is_answering"] for each in health["processes"]] == [True, False]
        assert any("does not answer" in warning for warning in health["warnings"])
        assert {each["process"] for each in health["duties"]} == {health["process"]}

        acting.process.send_signal(signal.SIGCONT)
        await until(lambda: Path(f"{path}.log").read_text().count("superseded") == len(terms))
        assert holders(path) == terms
        killed = standby.process.pid
        standby.kill()
        await agree(acting, demand_id)
        detail = await asyncio.to_thread(until_told, acting, demand_id, lambda detail: detail["status"] != "processing")
        assert detail["status"] == "finalized"
        await until(lambda: not any(process == killed for process, _ in holders(path).values()))
        types = [event["event_type"] for event in acting.get(f"/api/events?stream=demand:{demand_id}&since_seq=0")["events"]]
        assert len(types) == len(set(types)) + 2  # two offers, two answers: no step was taken twice
        assert acting.stop() == 0
    check_file(path)


@pytest.mark.timeout(120)
async def test_what_a_stopped_process_still_had_to_write_is_refused_when_it_goes_on(tmp_path):
    """Pieces of a text that were in its hands when another process began the text again."""
    path = tmp_path / "towow.db"
    async with Upstream() as upstream:
        upstream.otherwise(writes_for_ever(rate=100))
        settings = {"TOWOW__LLM__BASE_URL": upstream.url, "TOWOW__LLM__MODEL": "small", "TOWOW__GENERATIONS__RESUME": "true"}
        with acting_and_standby(path, {**ENVIRONMENT, **settings}) as (acting, standby):
            async with aiohttp.ClientSession(standby.url) as client:
                run_id = await begin(client)
                await until_run(client, run_id, lambda run: all(agent["text"] for agent in run["agents"]))
                acting.process.send_signal(signal.SIGSTOP)
                await until_run(
                    client,
                    run_id,
                    lambda run: run["resumes"] == 1 and all(agent["text"] for agent in run["agents"]),
                    timeout=WITHIN_SECONDS,
                )
                acting.process.send_signal(signal.SIGCONT)  # unless it was stopped in a commit, and had to be ended
                await until(lambda: any(word in Path(f"{path}.log").read_text() for word in ("superseded", "process_ended")))
                await until(lambda: upstream.open == len(NOVA))  # it has hung up
                await cancel(client, run_id)
                run = await until_ended(client, run_id)
                check_whole(await follow(client, run_id), run)
            assert acting.stop() in (0, -signal.SIGKILL)
            assert standby.stop() == 0
    check_file(path)


HOLD_AND_STOP = """
import os, signal, sys
from server.eventlog.database import sqlite3
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE terms SET term = term + 1, holder = ?", (f"{os.getpid()}-abcdef",))
db.execute("COMMIT")
db.execute("BEGIN IMMEDIATE")
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.timeout(60)
async def test_a_process_that_is_stopped_in_a_commit_is_ended_because_nobody_could_write(tmp_path):
    """It has the duties and the lock of the file; within ten seconds another one has both, and publishers are answered."""
    path = tmp_path / "towow.db"
    with ServerProcess(path, environment=ENVIRONMENT) as server:
        stopped = subprocess.Popen([sys.executable, "-c", HOLD_AND_STOP, str(path)], cwd=ROOT)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.closing(bound), contextlib.chdir(Path(f"{path}.peers")):
            bound.bind(f"{stopped.pid}-abcdef.sock")
            assert await asyncio.to_thread(stopped.wait, WITHIN_SECONDS) == -signal.SIGKILL
            await until(lambda: {process for process, _ in holders(path).values()} == {server.process.pid})
        await call(server, "/api/events", body())
    check_file(path)


# Access at both


GUARDED = {
    **ENVIRONMENT,
    "TOWOW__AUTH__MODE": "token",
    "TOWOW__AUTH__TOKENS": f'[{{name = "ann", scopes = ["read:*", "append:*"], token = "{secret_of("ann")}"}}]',
}


async def test_a_ticket_and_a_login_of_one_process_count_at_the_other_and_end_there_with_a_logout(tmp_path):
    """An `EventSource` that is moved by a balancer goes on with its ticket; a restart forgets none."""
    path = tmp_path / "towow.db"
    stream = "/api/events/stream?stream=task:a"
    with ServerProcess(path, environment=GUARDED) as one, ServerProcess(path, environment=GUARDED) as other:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

            async def status(server, target, **headers):
                async with session.get(server.url + target, headers=headers) as answer:
                    return answer.status

            await (await session.post(f"{one.url}/api/events", json=body(), headers=bearer("ann"))).read()
            login = await session.post(f"{one.url}/api/login", json={"token": secret_of("ann")})
            cookie, csrf = login.headers["Set-Cookie"].partition(";")[0], (await login.json())["csrf"]
            headers = {"Cookie": cookie, "X-CSRF-Token": csrf}
            issued = await session.post(f"{other.url}/api/tickets", json={"streams": ["task:a"]}, headers=headers)
            target = f"{stream}&ticket={(await issued.json())['ticket']}"
            other.kill()
            await asyncio.to_thread(other.start)
            for server in (one, other):
                assert await status(server, target) == 200
                assert await status(server, target, **{"Last-Event-ID": "1"}) == 200
                assert await status(server, stream, Cookie=cookie) == 200
            logout = await session.post(f"{other.url}/api/logout", json={}, headers={"Cookie": cookie})
            assert logout.status == 200
            for server in (one, other):
                assert await status(server, target, **{"Last-Event-ID": "1"}) == 401
                assert await status(server, stream, Cookie=cookie) == 401


# Anything at all


class MovingSource(EventSource):
    """An `EventSource` behind a balancer: every connection goes to either process, and some are cut in mid-frame."""

    def __init__(self, servers, target, chance):
        super().__init__(0, target)
        self._servers = servers
        self._chance = chance

    def has_event(self, seq):
        """Whether the newest event is this one; a `ready` after it may name a later one of another stream."""
        newest = next((message for message in reversed(self.messages) if message.event == "message"), None)
        return newest is not None and json.loads(newest.data)["seq"] == seq

    async def _connect(self):
        self.port = self._chance.choice(self._servers).port
        await super()._connect()

    async def _read(self, reader):
        parser = EventStreamParser(self._last_event_id)
        while size := int(await reader.readuntil(b"\n"), 16):
            data = (await reader.readexactly(size + 2))[:-2]
            is_cut = self._chance.random() < 0.03
            self.heard(parser.feed(data[: self._chance.randrange(len(data))] if is_cut else data))
            self._last_event_id = parser.last_event_id
            if is_cut:
                raise ConnectionResetError("the balancer was restarted")


async def publish_until_taken(servers, chance, number, count, taken):
    """Append events one by one or in batches, each again with the same ids, at whichever process, until one has taken it."""
    timeout = aiohttp.ClientTimeout(total=2.0)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for n in range(count):
            size = chance.choice((1, 1, 1, 5))
            stream = f"task:{chance.randrange(3)}"
            events = [body(stream, n, event_id=f"p{number}-{n}-{k}", payload={"text": "x" * 300}) for k in range(size)]
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.post(f"{chance.choice(servers).url}/api/events", json={"events": events}) as answer:
                        if answer.status in (200, 201):
                            taken.update({each["event_id"]: each["seq"] for each in (await answer.json())["events"]})
                            break
                        assert answer.status in (503, 507), await answer.text()
                await asyncio.sleep(0.02)
            await asyncio.sleep(chance.random() * 0.03)


async def disturb(servers, chance, until_done):
    """Kill, end, stop and continue either process, until the publishers are done."""
    while not until_done():
        await asyncio.sleep(0.1 + chance.random() * 0.3)
        server = chance.choice(servers)
        what = chance.choice(("kill", "end", "stop", "stop"))
        if what == "kill":
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        elif what == "end":
            assert await asyncio.to_thread(server.stop) == 0
            await asyncio.to_thread(server.start)
        else:
            server.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(chance.random())
            server.process.send_signal(signal.SIGCONT)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_done_to_two_processes_their_readers_get_every_event_once_in_order(tmp_path, seed):
    """Killed, ended, stopped, cut in the middle of a frame, and moved from one to the other: prefix and rest are the whole."""
    path = tmp_path / "towow.db"
    chance = random.Random(seed)
    with two_servers(path) as servers:
        sources = [MovingSource(servers, target, random.Random(seed * 100 + n)) for n, target in enumerate((ALL, ONE) * 3)]
        async with contextlib.AsyncExitStack() as stack:
            for source in sources:
                await stack.enter_async_context(source)
            taken = {}
            publishers = [
                asyncio.create_task(publish_until_taken(servers, random.Random(seed * 10 + number), number, 60, taken))
                for number in range(4)
            ]
            await disturb(servers, chance, lambda: all(task.done() for task in publishers))
            await asyncio.gather(*publishers)
            stored = read_rows(path)
            of_one = [event for event in stored if event.stream == "task:0"]
            for n, source in enumerate(sources):
                await until(partial(source.has_event, (of_one if n % 2 else stored)[-1].seq), timeout=20)
        for n, source in enumerate(sources):
            assert source.events() == [canonical(event) for event in (of_one if n % 2 else stored)]
            assert not [name for name, _ in source.controls() if name in ("reset", "damaged")]
        assert {event.event_id: event.seq for event in stored} == taken
        assert sum(len(source.requests) for source in sources) > len(sources)
    check_file(path)
