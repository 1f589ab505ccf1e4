"""One of the processes that share a file acts for all: duties by terms, and two coordinators on one file."""

import asyncio
import contextlib
import gc
import json
import urllib.error
import urllib.request

import pytest
from aiohttp import web

from server.app import LOG, make_app
from server.background import duty, leader_worker, retry
from server.background.duty import Duty
from server.background.leader_worker import LeaderWorker
from server.eventlog.log import TERM
from server.eventlog.peers import Peers
from server.eventlog.selection import select
from server.eventlog.terms import Superseded, read_terms
from server.surfaces.demands.coordinator import Coordinator
from tests.support import ServerProcess, changed, check_file, note, open_log, until
from tests.support.negotiations import (
    TALK,
    VENUE,
    Script,
    cancel,
    demand,
    drive,
    feedback,
    get,
    history,
    negotiating,
    offer,
    register,
    submit,
    types_of,
    until_demand,
    until_ended,
    until_filtered,
    until_phase,
    until_told,
)
from towow.errors import StorageFull

TEXT = "We need a venue and a technical talk"
SCRIPTS = {"ann": Script("venue", price=100), "ben": Script("technical talk", price=50)}


class Diary(LeaderWorker):
    """Work that appends an event when it begins, and another one whenever it is asked to."""

    def __init__(self, log):
        super().__init__(log, name="diary", does="writes the diary")
        self.begun = 0
        self.ended = 0
        self._asked = asyncio.Queue()
        self._task = None
        self.outcomes = []

    async def _begin(self):
        self.begun += 1
        self._asked = asyncio.Queue()  # what was left undone stays undone
        self._task = asyncio.create_task(self._run())

    async def _run(self):
        while True:
            event = await self._asked.get()
            try:
                self.outcomes.append((await self._log.append([event]))[0].event.seq)
            except BaseException as error:
                self.outcomes.append(type(error))
                raise

    async def _let_go(self):
        self.ended += 1
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def write(self, event):
        """Append an event in the task that acts."""
        self._asked.put_nowait(event)


@pytest.fixture
def quick(monkeypatch):
    """Turns and silences that a test lives to see."""
    monkeypatch.setattr(leader_worker, "_TURN_SECONDS", 0.01)
    monkeypatch.setattr(duty, "_ANSWER_SECONDS", 0.01)


@pytest.fixture
def deaf(monkeypatch):
    """Processes whose names are put in here do not answer, as if they were stopped."""
    names, receive = set(), Peers._receive

    def hear(self, ours):
        if self.name not in names:
            receive(self, ours)
        else:
            with contextlib.suppress(BlockingIOError):
                while ours.recv(65_536):
                    pass

    monkeypatch.setattr(Peers, "_receive", hear)
    return names


# Duties


async def test_one_log_has_a_duty_at_a_time_and_every_take_begins_a_term(quiet_config):
    """Taking it again is no harm; who lets go makes room for the next one."""
    async with open_log(quiet_config) as one, open_log(quiet_config) as other:
        first, second = Duty(one, "d"), Duty(other, "d")
        assert await first.try_take(print)
        assert await first.try_take(print)
        assert not await second.try_take(print)
        assert (one.duties, other.duties) == ({"d": 1}, {})
        assert await Duty(other, "another").try_take(print)
        first.let_go()
        assert await second.try_take(print)
        assert not await first.try_take(print)
        assert (one.duties, other.duties) == ({}, {"d": 2, "another": 1})
        held = await one.query(read_terms)
        assert {name: each.process for name, each in held.items()} == {"d": other.peers.name, "another": other.peers.name}


async def test_the_duty_of_a_process_that_is_gone_is_free_at_once(quiet_config):
    """A restart after a kill waits for nothing."""
    async with open_log(quiet_config) as log:
        assert await Duty(log, "d").try_take(print)
    async with open_log(quiet_config) as log:
        second = Duty(log, "d")
        assert await second.try_take(print)
        assert second.term.number == 2


async def test_of_several_that_take_a_free_duty_at_once_one_has_it(quiet_config):
    """The file decides."""
    async with open_log(quiet_config) as one, open_log(quiet_config) as other:
        duties = [Duty(log, "d") for log in (one, other) * 4]
        assert sum(await asyncio.gather(*(each.try_take(print) for each in duties))) == 1


async def test_what_is_appended_under_an_old_term_is_refused_and_said_once(quiet_config, quick, deaf):
    """In the transaction itself: nothing is stored, requests beside it are, and the one that was replaced is told."""
    async with open_log(quiet_config) as one, open_log(quiet_config) as other:
        old, new, lost = Duty(one, "d"), Duty(other, "d"), []
        assert await old.try_take(lambda: lost.append("old"))
        token = TERM.set(old.term)
        assert (await one.append([note()]))[0].event.seq == 1
        deaf.add(one.peers.name)
        while not await new.try_take(print):
            assert not lost
        one._held["d"] = (99, lambda: lost.append("old"))  # it has not noticed yet
        late = asyncio.create_task(one.append([note()]))
        TERM.reset(token)
        outcomes = await asyncio.gather(late, one.append([note("task:b")]), return_exceptions=True)
        assert isinstance(outcomes[0], Superseded)
        assert outcomes[1][0].event.seq == 2
        assert lost == ["old"]
        assert (one.duties, other.duties) == ({}, {"d": 2})


async def test_a_process_that_does_not_answer_is_replaced_after_several_questions_in_a_row(quiet_config, quick, deaf):
    """One lost datagram replaces nobody."""
    async with open_log(quiet_config) as one, open_log(quiet_config) as other:
        assert await Duty(one, "d").try_take(print)
        second = Duty(other, "d")
        for _ in range(3):
            deaf.add(one.peers.name)
            for _ in range(duty._SILENCES - 1):
                assert not await second.try_take(print)
            deaf.clear()
            assert not await second.try_take(print)
        deaf.add(one.peers.name)
        for _ in range(duty._SILENCES - 1):
            assert not await second.try_take(print)
        assert await second.try_take(print)


async def test_processes_without_sockets_take_a_living_one_for_what_it_says(tmp_path, quiet_config):
    """Nothing tells a stopped one there; a process that is gone is still replaced at once."""
    (tmp_path / "towow.db.peers").touch()
    async with open_log(quiet_config) as one, open_log(quiet_config) as other:
        assert await Duty(one, "d").try_take(print)
        await one.write(lambda db: db.execute("UPDATE terms SET holder = '1-abcdef-mute'").close())  # init always lives
        assert not await Duty(other, "d").try_take(print)
        await one.write(lambda db: db.execute("UPDATE terms SET holder = '4194304-abcdef-mute'").close())
        assert await Duty(other, "d").try_take(print)


async def test_a_process_whose_socket_was_removed_makes_another_one(quiet_config, tmp_path):
    """It is not taken to be gone for ever."""
    async with open_log(quiet_config) as one, open_log(quiet_config) as other:
        (tmp_path / "towow.db.peers" / f"{one.peers.name}.sock").unlink()
        with pytest.raises(ProcessLookupError):
            await other.peers.ask(one.peers.name, 1)
        one.peers.restore()
        assert await other.peers.ask(one.peers.name, 1) == {"duties": {}}


# Workers


async def test_a_worker_that_was_replaced_stops_and_takes_over_again_when_its_successor_goes(quiet_config, quick, deaf):
    """Its tasks are cancelled and not told of an error; nothing of what they still append is stored."""
    async with open_log(quiet_config) as one, Diary(one) as first:
        first.write(note(n=1))
        await until(lambda: first.outcomes == [1])
        async with open_log(quiet_config) as other, Diary(other) as second:
            await asyncio.sleep(0)
            assert (first.begun, second.begun) == (1, 0)
            deaf.add(one.peers.name)
            await until(lambda: second.begun == 1)
            deaf.clear()
            first.write(note(n=2))
            await until(lambda: first.ended)
            second.write(note(n=3))
            await until(lambda: len(second.outcomes) == 1)
            assert first.outcomes[1:] in ([], [asyncio.CancelledError])
            assert first.begun == 1
        await until(lambda: first.begun == 2)
        page = await one.read(select(("*",)), 0)
        assert [event.payload["n"] for event in page.events] == [1, 3]


async def test_a_replaced_worker_notices_without_appending(quiet_config, quick, deaf):
    """The first look at the file tells it."""
    async with open_log(quiet_config) as one, Diary(one) as first, open_log(quiet_config) as other:
        deaf.add(one.peers.name)
        async with Diary(other) as second:
            await until(lambda: second.begun)
            await until(lambda: first.ended)
            assert first._log.duties == {}


# Two applications


@pytest.fixture
def start(aiohttp_client, quiet_config):
    """Start another application on the test's file."""

    async def start(**negotiation):
        patient = {"offer_timeout_seconds": 60.0, "feedback_timeout_seconds": 60.0, "subnet_timeout_seconds": 60.0}
        return await aiohttp_client(make_app(negotiating(quiet_config, **{**patient, **negotiation})))

    return start


def open_demands(client):
    """How many demands this application works on."""
    [made] = [each for each in gc.get_objects() if isinstance(each, Coordinator) and each._log is client.app[LOG]]
    return made.open_demands


@pytest.mark.slow
async def test_of_two_on_one_file_only_one_acts_and_hears_what_the_other_is_told(start):
    """A demand that is submitted and answered at the standby is negotiated once, by the other."""
    acting, standby = await start(), await start()
    await register(standby, VENUE, TALK)
    demand_id = (await submit(standby, TEXT))["demand_id"]
    await until_phase(standby, demand_id, "collecting_offers")
    assert (open_demands(acting), open_demands(standby)) == (1, 0)
    detail = await drive(standby, demand_id, SCRIPTS)
    assert detail["status"] == "finalized"
    assert await until_ended(acting, demand_id) == detail
    types = await types_of(acting, demand_id)
    assert len(types) == len(set(types)) + 2  # two offers, two answers
    assert (open_demands(acting), open_demands(standby)) == (0, 0)


@pytest.mark.slow
async def test_the_standby_takes_over_when_the_other_closes(start):
    """It goes on in the middle, and nothing is said twice; a third one can take over from it."""
    first, second = await start(), await start()
    await register(first, VENUE, TALK)
    demand_id = (await submit(first, TEXT))["demand_id"]
    await until_phase(first, demand_id, "collecting_offers")
    before = await history(first, demand_id)
    await first.close()
    await until(lambda: open_demands(second) == 1)
    assert await history(second, demand_id) == before
    third = await start()
    assert (await offer(third, demand_id, "ann", "venue")).status == 201
    await until_demand(second, demand_id, lambda detail: detail["waiting_for"] == ["ben"])
    await second.close()
    await until(lambda: open_demands(third) == 1)
    detail = await drive(third, demand_id, SCRIPTS)
    assert detail["status"] == "finalized"
    for agent_id in ("ann", "ben"):
        copies = (await get(third, f"/api/events?stream=agent:{agent_id}&type=towow.*&since_seq=0"))["events"]
        assert [event["event_type"].rpartition(".")[2] for event in copies] == ["broadcast", "distributed", "finalized"]


async def test_the_standby_knows_what_the_other_has_acknowledged(start):
    """What one process has answered with 2xx is no 404, 403 or 409 at the other a moment later."""
    first, second = await start(), await start()
    await register(first, VENUE, TALK)
    for n in range(15):
        demand_id = (await submit(first, f"{TEXT}, {n}"))["demand_id"]
        assert (await demand(second, demand_id))["demand_id"] == demand_id
        other = (await submit(first, f"{TEXT}, again {n}"))["demand_id"]
        assert (await cancel(second, other)).status == 200
        await until_phase(first, demand_id, "collecting_offers")
        for agent_id in SCRIPTS:
            assert (await offer(second, demand_id, agent_id, *SCRIPTS[agent_id].capabilities)).status == 201
        await until_phase(first, demand_id, "proposing")
        assert (await feedback(second, demand_id, 1, "accept", agent_id="ann")).status == 201


async def test_a_standby_that_fails_to_take_over_tries_again(start, monkeypatch):
    """Out of file handles, or a fault while it begins: nobody else may be left to act."""
    monkeypatch.setattr(leader_worker, "_TURN_SECONDS", 0.01)
    first = await start()
    await register(first, VENUE)
    demand_id = (await submit(first, "We need a venue"))["demand_id"]
    await until_phase(first, demand_id, "collecting_offers")
    failures = []
    try_take, begin = Duty.try_take, Coordinator._begin

    async def take(self, on_lost):
        if self._name == "coordinator" and len(failures) < 2:
            failures.append("take")
            raise OSError(24, "Too many open files")
        return await try_take(self, on_lost)

    async def begin_badly(self):
        if failures.count("begin") < 1:
            failures.append("begin")
            raise LookupError("swordfish")
        await begin(self)

    second = await start()
    monkeypatch.setattr(Duty, "try_take", take)
    monkeypatch.setattr(Coordinator, "_begin", begin_badly)
    await until(lambda: failures == ["take", "take"])
    await first.close()
    detail = await drive(second, demand_id, SCRIPTS)
    assert detail["status"] == "finalized"
    assert failures == ["take", "take", "begin"]


async def test_a_full_disk_at_the_first_start_delays_negotiations_and_nothing_else(start, monkeypatch):
    """The sample agents are registered when there is room; reading works meanwhile."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (0.01, 0.02))
    begun = []
    register_samples = Coordinator._register_samples

    async def refuse_twice(self):
        begun.append(self)
        if len(begun) < 3:
            raise StorageFull("no room")
        await register_samples(self)

    monkeypatch.setattr(Coordinator, "_register_samples", refuse_twice)
    client = await start(sample_agents=True, sample_delay_seconds=0.0)
    assert (await get(client, "/api/demand"))["demands"] == []
    await until(lambda: len(begun) == 3)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    assert (await until_filtered(client, demand_id))["candidates"]


async def test_a_start_that_fails_gives_the_duty_up(aiohttp_client, quiet_config, monkeypatch):
    """The next one in this process can act."""
    with monkeypatch.context() as patch:

        async def broken(self):
            raise LookupError("swordfish")

        patch.setattr(Coordinator, "_begin", broken)
        runner = web.AppRunner(make_app(quiet_config))
        with pytest.raises(LookupError):
            await runner.setup()
        await runner.cleanup()
    client = await aiohttp_client(make_app(changed(quiet_config, "demands", offer_timeout_seconds=60.0)))
    await register(client, VENUE)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")


# Two processes


def call(server, path, given):
    """POST JSON; returns the status and the answer."""
    request = urllib.request.Request(
        server.url + path, data=json.dumps(given).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_killed_process_is_replaced_within_seconds(tmp_path):
    """SIGKILL of the one that acts: the other goes on with the negotiation that was open, and ends it."""
    environment = {
        "TOWOW__DEMANDS__SAMPLE_AGENTS": "false",
        "TOWOW__DEMANDS__OFFER_TIMEOUT_SECONDS": "60",
        "TOWOW__DEMANDS__FEEDBACK_TIMEOUT_SECONDS": "60",
    }
    path = tmp_path / "towow.db"
    with ServerProcess(path, environment=environment) as acting, ServerProcess(path, environment=environment) as standby:
        for agent in (VENUE, TALK):
            assert call(acting, "/api/agents", agent)[0] == 201
        status, submitted = call(standby, "/api/demand/submit", {"raw_input": TEXT})
        assert status == 200
        demand_id = submitted["demand_id"]
        until_told(standby, demand_id, lambda detail: detail["phase"] == "collecting_offers")
        acting.kill()
        for agent_id, script in SCRIPTS.items():
            assert call(standby, f"/api/demand/{demand_id}/offers", {"agent_id": agent_id, **script.invited()})[0] == 201
        until_told(standby, demand_id, lambda detail: detail["phase"] == "proposing")
        for agent_id in SCRIPTS:
            given = {"agent_id": agent_id, "proposal_id": f"{demand_id}-p1", "decision": "accept"}
            assert call(standby, f"/api/demand/{demand_id}/feedback", given)[0] == 201
        detail = until_told(standby, demand_id, lambda detail: detail["status"] != "processing")
        assert detail["status"] == "finalized"
        assert standby.stop() == 0
    check_file(path)
