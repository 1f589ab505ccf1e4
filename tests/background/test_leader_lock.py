"""One of the processes that share a file acts for all: the lock itself, and two coordinators on one file."""

import contextlib
import gc
import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from aiohttp import web

from server.app import LOG, make_app
from server.background import leader_worker, retry
from server.background.leader_lock import LeaderLock
from server.surfaces.demands.coordinator import Coordinator
from tests.support import ROOT, ServerProcess, changed, check_file, until
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
HOLD = """
import sys
from server.background.leader_lock import LeaderLock
lock = LeaderLock(sys.argv[1], "coordinator")
print(lock.try_take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    """Where a database would be."""
    return str(tmp_path / "towow.db")


@contextlib.contextmanager
def another_process(path):
    """A process that tries to take the lock and lives on; yields it and whether it has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, process.stdout.readline().strip() == "True"
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_one_object_has_the_lock_at_a_time(path):
    """Taking it again is no harm; who does not have it cannot give it up for another."""
    first, second = LeaderLock(path, "coordinator"), LeaderLock(path, "coordinator")
    assert (first.is_ours, second.is_ours) == (False, False)
    assert first.try_take()
    assert first.try_take()
    assert not second.try_take()
    assert (first.is_ours, second.is_ours) == (True, False)
    second.release()
    assert not second.try_take()
    first.release()
    first.release()
    assert second.try_take()
    assert not first.try_take()
    assert (first.is_ours, second.is_ours) == (False, True)
    second.release()


def test_locks_of_different_files_have_nothing_to_do_with_each_other(path):
    """The lock is beside the database."""
    first, second = LeaderLock(path, "coordinator"), LeaderLock(path + "2", "coordinator")
    assert first.try_take()
    assert second.try_take()
    first.release()
    second.release()


def test_a_lock_that_cannot_be_opened_is_an_error(tmp_path):
    """Not the same as a lock that another one has."""
    lock = LeaderLock(str(tmp_path / "missing" / "towow.db"), "coordinator")
    with pytest.raises(OSError, match="missing"):
        lock.try_take()
    assert not lock.is_ours


def test_one_process_has_the_lock_at_a_time_and_death_gives_it_up(path):
    """Also SIGKILL: there is nothing to time out."""
    ours = LeaderLock(path, "coordinator")
    with another_process(path) as (process, has_it):
        assert has_it
        assert not ours.try_take()
        process.kill()
        process.wait()
        assert ours.try_take()
    with another_process(path) as (_, has_it):
        assert not has_it
        ours.release()
    with another_process(path) as (_, has_it):
        assert has_it


def test_a_child_process_does_not_inherit_the_lock(path):
    """A program that the server has started must not keep the lock when the server is gone."""
    ours, next_one = LeaderLock(path, "coordinator"), LeaderLock(path, "coordinator")
    assert ours.try_take()
    command = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, close_fds=False, **pipes) as child:
        child.stdout.readline()  # it runs
        ours.release()
        assert next_one.try_take()
        child.communicate(b"\n")
    next_one.release()


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
    try_take, begin = LeaderLock.try_take, Coordinator._begin

    def take(self):
        if len(failures) < 2:
            failures.append("take")
            raise OSError(24, "Too many open files")
        return try_take(self)

    async def begin_badly(self):
        if failures.count("begin") < 1:
            failures.append("begin")
            raise LookupError("swordfish")
        await begin(self)

    second = await start()
    monkeypatch.setattr(LeaderLock, "try_take", take)
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


async def test_a_start_that_fails_gives_the_lock_up(aiohttp_client, quiet_config, monkeypatch):
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
