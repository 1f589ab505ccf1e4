"""Damage to the file under a real server's feet: named to every kind of reader, served to none; who acted is in the log."""

import contextlib
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.app import LOG, make_app
from server.eventlog.database import sqlite3
from server.eventlog.selection import select
from tests.conftest import ROOT
from tests.support import ServerProcess, assert_error, body, note, open_log, publish, read_frames
from tests.support.tokens import bearer, token, with_tokens
from towow import Client
from towow.errors import Damaged, HistoryLost, StartupError

DAMAGE = ("DROP TRIGGER events_are_immutable", "UPDATE events SET payload = '{\"n\":99}' WHERE seq = 3")


async def damage(client):
    """Change the third of five events, past its trigger."""
    await publish(client, 5)

    def change(db):
        for statement in DAMAGE:
            db.execute(statement).close()

    await client.app[LOG].write(change)
    client.app[LOG].hub._tail.start_at(5)  # what was just written is in memory still, undamaged


async def test_a_page_ends_before_a_damaged_event_and_the_next_names_it(client):
    """500 `damaged` with the seq; after it reading goes on."""
    await damage(client)
    first = await (await client.get("/api/events?since_seq=0")).json()
    assert ([event["seq"] for event in first["events"]], first["has_more"], first["next_since_seq"]) == ([1, 2], True, 2)
    error = await assert_error(await client.get("/api/events?since_seq=2"), "damaged", status=500)
    assert error["seq"] == 3
    rest = await (await client.get("/api/events?since_seq=3")).json()
    assert [event["seq"] for event in rest["events"]] == [4, 5]
    await assert_error(await client.get("/api/events/3"), "damaged", status=500)


async def test_a_stream_says_it_in_the_place_of_the_event_and_goes_on(client):
    """`event: damaged` with its seq, between the events before and after it."""
    await damage(client)
    async with client.get("/api/events/stream?stream=task:a&since_seq=0") as response:
        frames = await read_frames(response, 6)
        await publish(client, 1)
        (live,) = await read_frames(response, 1)
    assert [(frame.event, frame.seq or frame.data["seq"]) for frame in frames[:-1]] == [
        (None, 1),
        (None, 2),
        ("damaged", 3),
        (None, 4),
        (None, 5),
    ]
    assert (frames[-1].event, live.seq) == ("ready", 6)


async def test_the_client_is_told_and_goes_on(client):
    """Its state says `damaged`; the other events come."""
    await damage(client)
    states = []
    async with Client(str(client.make_url(""))) as reader:
        follow = reader.follow("task:a", since_seq=0, live=False, on_state=lambda name, detail: states.append((name, detail)))
        seqs = [event.seq async for event in follow]
    assert seqs == [1, 2, 4, 5]
    assert [detail["seq"] for name, detail in states if name == "damaged"] == [3]


async def test_bits_that_are_flipped_in_the_file_are_never_served(quiet_config, tmp_path):
    """Whatever is read is what was written; else it is an error that says so, or the start is refused."""
    path = Path(quiet_config.database.path)
    async with open_log(quiet_config) as log:
        await log.append([note(f"note:{n % 5}", n, event_id=f"e-{n}" if n % 3 else None) for n in range(300)])
        written = {event.seq: event for event in (await log.read(select(), 0, max_bytes=10**9)).events}
    saved = shutil.copyfile(path, tmp_path / "saved.db")
    chance = random.Random(13)
    size = saved.stat().st_size
    for _ in range(40):
        data = bytearray(saved.read_bytes())
        data[chance.randrange(100, size)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        for suffix in ("-wal", "-shm", ".mark"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(StartupError, HistoryLost, sqlite3.DatabaseError):
            async with open_log(quiet_config) as log:
                cursor = 0
                while cursor < log.head_seq:
                    try:
                        page = await log.read(select(), cursor)
                    except Damaged as error:
                        cursor = error.seq or log.head_seq
                        continue
                    assert all(written[event.seq] == event for event in page.events)
                    assert page.through_seq > cursor
                    cursor = page.through_seq


async def test_who_appended_is_in_the_event_where_clients_are_authenticated(aiohttp_client, quiet_config):
    """The principal's name, whatever the body says of itself; without authentication there is no actor."""
    config = with_tokens(quiet_config, token("backend", "read:*", "append:*"), token("other", "read:*", "append:*"))
    client = await aiohttp_client(make_app(config))
    for name in ("backend", "other", "backend"):
        answer = await client.post("/api/events", json=body(source="me"), headers=bearer(name))
        assert answer.status == 201
    events = (await (await client.get("/api/events?since_seq=0", headers=bearer("backend"))).json())["events"]
    assert [event["actor"] for event in events] == ["backend", "other", "backend"]
    refused = await client.post("/api/events", json=body() | {"actor": "root"}, headers=bearer("backend"))
    assert refused.status == 422


async def test_without_authentication_there_is_no_actor(client):
    """The canonical JSON has no such key."""
    await publish(client, 1)
    event = await (await client.get("/api/events/1")).json()
    assert list(event) == ["seq", "stream", "revision", "event_id", "event_type", "timestamp", "source", "payload"]


@pytest.mark.slow
def test_a_server_whose_file_was_replaced_by_an_old_copy_does_not_start(tmp_path):
    """Exit status 3, the seqs by name; with the number it goes on in another epoch."""
    path = tmp_path / "towow.db"
    command = [sys.executable, "run.py", "serve", "--port", "0", "--db", str(path)]
    with ServerProcess(path) as server:
        epoch = server.get("/health")["epoch"]
    old = shutil.copyfile(path, tmp_path / "old.db")
    with ServerProcess(path) as server:
        for _ in range(3):
            append(server.url)
    shutil.copyfile(old, path)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 3
    last = int(re.search(r"seqs (\d+) to (\d+) are missing.*--accept-loss=\2", done.stderr)[2])
    server = ServerProcess(path, arguments=("--accept-loss", str(last)))
    with server:
        health = server.get("/health")
    assert health["epoch"] != epoch
    assert health["head_seq"] >= last


def append(url):
    """One event, from the command line."""
    arguments = ["append", "note:a", "noted", "{}", "--server", url]
    subprocess.run([sys.executable, "run.py", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=30)
