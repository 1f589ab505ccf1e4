"""Health: what a load balancer asks, and what people read, over all processes on a file."""

import asyncio

import pytest

from server import __version__
from server.api import health
from server.app import LOG, make_app
from server.eventlog import log as eventlog
from server.eventlog.database import sqlite3
from server.eventlog.peers import Peers
from tests.support import assert_error, changed, publish, read_frames, until

PROBES = ("/health/live", "/health/ready")


async def test_health_says_where_the_log_stands(client):
    """Real figures: epoch, head, followers, uptime, versions, duties."""
    await publish(client, 2)
    log = client.app[LOG]
    async with client.get("/api/events/stream?stream=task:a") as response:
        await read_frames(response, 3)
        said = await (await client.get("/health")).json()
    assert said["status"] == "ok"
    assert (said["head_seq"], said["oldest_seq"], said["followers"]) == (2, 1, 1)
    assert said["epoch"] == log.epoch
    assert said["version"] == __version__
    assert said["sqlite_version"] == sqlite3.sqlite_version
    assert said["uptime_seconds"] >= 0
    assert said["synchronous"] == "FULL"
    assert said["process"] == log.peers.name
    [process] = said["processes"]
    assert (process["process"], process["is_answering"], process["followers"]) == (log.peers.name, True, 1)
    duties = {each["duty"]: (each["process"], each["term"]) for each in said["duties"]}
    assert duties == dict.fromkeys(("coordinator", "expiry", "generations"), (log.peers.name, 1))
    assert said["warnings"] == []
    await until(lambda: log.hub.follower_count == 0)
    assert (await (await client.get("/health")).json())["followers"] == 0


async def test_followers_are_counted_at_every_process_and_duties_name_theirs(aiohttp_client, quiet_config, client):
    """Whichever process is asked."""
    other = await aiohttp_client(make_app(quiet_config))
    await publish(client, 1)
    async with client.get("/api/events/stream?stream=task:a") as one, other.get("/api/events/stream?stream=task:a") as two:
        await read_frames(one, 2)
        await read_frames(two, 2)
        for asked in (client, other):
            said = await (await asked.get("/health")).json()
            assert said["followers"] == 2
            assert said["process"] == asked.app[LOG].peers.name
            assert {each["process"] for each in said["processes"]} == {each.app[LOG].peers.name for each in (client, other)}
            assert {each["process"] for each in said["duties"]} == {client.app[LOG].peers.name}
    await other.close()
    assert len((await (await client.get("/health")).json())["processes"]) == 1


async def test_a_process_that_hangs_is_said(aiohttp_client, quiet_config, monkeypatch):
    """In a warning, without holding the answer up; one that is gone is not there."""
    monkeypatch.setattr(health, "_ANSWER_SECONDS", 0.01)
    client = await aiohttp_client(make_app(quiet_config))
    monkeypatch.setattr(Peers, "_receive", lambda self, ours: ours.recv(65_536))
    other = await aiohttp_client(make_app(quiet_config))
    hanging = other.app[LOG].peers.name
    said = await (await client.get("/health")).json()
    assert [(each["process"], each["is_answering"]) for each in said["processes"][1:]] == [(hanging, False)]
    assert said["warnings"] == [f"process {hanging} does not answer: it is stopped, or hangs"]


@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("host", ["evil.example", "10.0.0.7:8000", ""])
async def test_a_probe_is_answered_under_any_name_and_to_anybody(aiohttp_client, quiet_config, path, host):
    """A load balancer asks by address; it is told one word."""
    config = changed(quiet_config, "server", allowed_hosts=("towow.example",))
    client = await aiohttp_client(make_app(config))
    answer = await client.get(f"{path}?x=1", headers={"Host": host})
    assert answer.status == 200
    assert await answer.json() == {"status": "ok"}


async def test_nobody_who_asks_writes_a_row(client):
    """However often: the file is as it was."""
    log = client.app[LOG]

    async def version():
        return await log.query(lambda db: db.execute("PRAGMA data_version").fetchone()[0])

    before = [await version() for _ in range(2)]
    for path in (*PROBES, "/health"):
        assert (await client.get(path)).status == 200
    assert [await version() for _ in range(2)] == before


async def test_a_process_that_takes_no_appends_lives_and_is_not_ready(client, monkeypatch):
    """A full disk, a locked file: the balancer sends publishers elsewhere, and does not restart it."""
    log = client.app[LOG]
    monkeypatch.setattr("server.eventlog.writer._SPACE_CHECK_SECONDS", 0)
    monkeypatch.setattr(log._writer, "_min_free_bytes", 2**60)
    await assert_error(await client.get("/health/ready"), "storage_full", status=507)
    await assert_error(await client.get("/health"), "storage_full", status=507)
    assert (await client.get("/health/live")).status == 200
    monkeypatch.setattr(log._writer, "_min_free_bytes", 0)
    assert (await client.get("/health/ready")).status == 200
    other = sqlite3.connect(log._database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await assert_error(await client.get("/health/ready"), "unavailable", status=503)
    other.execute("ROLLBACK")
    other.close()
    assert (await client.get("/health/ready")).status == 200


async def test_a_full_disk_that_an_append_has_met_counts_for_a_while(client, monkeypatch):
    """Free space may not show it: a quota, or pages that SQLite may not have."""
    log = client.app[LOG]
    pages = await log._database.writer.call(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await log._database.writer.call(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    large = {"stream": "task:a", "event_type": "note", "payload": {"x": "x" * 200_000}}
    await assert_error(await client.post("/api/events", json=large), "storage_full", status=507)
    await assert_error(await client.get("/health/ready"), "storage_full", status=507)
    await log._database.writer.call(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert (await client.post("/api/events", json=large)).status == 201
    assert (await client.get("/health/ready")).status == 200


async def test_a_disk_that_hangs_does_not_hang_health(client, monkeypatch):
    """Those who ask at once share one question, and get their 503 in time."""
    monkeypatch.setattr(eventlog, "_READY_SECONDS", 0.05)
    log, asked = client.app[LOG], []
    go_on = asyncio.get_running_loop().create_future()

    async def hang(function):
        asked.append(function)
        await go_on

    monkeypatch.setattr(log, "write", hang)
    answers = await asyncio.gather(*(client.get(path) for path in ("/health/ready", "/health") * 3))
    assert [answer.status for answer in answers] == [503] * 6
    assert len(asked) == 1
    assert (await client.get("/health/live")).status == 200
    go_on.set_result(None)
