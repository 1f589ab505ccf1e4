"""Whose turn it is to read: clients are served in turn, and no read of a client's takes longer than it may."""

import asyncio
import threading

import pytest

from server.eventlog.database import Database, sqlite3
from server.eventlog.turns import CLIENT, Turns
from tests.support import changed
from towow.errors import Unavailable

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


class Reader:
    """A reader as `Turns` sees it."""

    async def call(self, function):
        """Run the function, without a connection."""
        return function(None)


async def test_a_client_that_asks_for_much_waits_for_itself():
    """Whoever comes later with one read is next, after what runs already."""
    reader = Reader()
    turns = Turns([reader])
    order = []

    async def read(client, name):
        taken = await turns.take(client)
        order.append(name)
        await asyncio.sleep(0)
        turns.give_back(taken)

    greedy = [asyncio.create_task(read("greedy", f"g{n}")) for n in range(6)]
    await asyncio.sleep(0)
    await asyncio.gather(*greedy, read("a", "a"), read("", "server"))
    assert set(order[2:5]) == {"g2", "a", "server"}
    assert len(order) == 8


async def test_a_reader_is_not_lost_with_whoever_waited_for_it():
    """Cancelled in the line, or in the moment in which it was given."""
    turns = Turns([Reader()])
    taken = await turns.take("a")
    first, second = asyncio.create_task(turns.take("a")), asyncio.create_task(turns.take("b"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    turns.give_back(taken)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    async with asyncio.timeout(1):
        await turns.take("c")


async def test_what_a_client_reads_is_interrupted_and_what_the_server_reads_is_not(quiet_config):
    """503 with the limit; the reader is good for the next one."""
    async with Database(changed(quiet_config, "database", max_read_seconds=0.02).database) as database:
        token = CLIENT.set("a")
        with pytest.raises(Unavailable) as caught:
            await database.read(lambda db: db.execute(ENDLESS).fetchone())
        assert caught.value.details["limit"] == 0.02
        assert await database.read(lambda db: db.execute("SELECT 1").fetchone()) == (1,)
        CLIENT.reset(token)
        counted = ENDLESS.replace("FROM n)", "FROM n WHERE x < 300000)")
        assert await database.read(lambda db: db.execute(counted).fetchone()) == (300_000,)


async def test_whoever_leaves_does_not_free_a_reader_that_still_works(quiet_config):
    """Or asking and hanging up would put any number of reads before everybody else's."""
    release, begun = threading.Event(), threading.Event()

    def slow(db):
        begun.set()
        assert release.wait(5)

    async with Database(changed(quiet_config, "database", readers=1).database) as database:
        task = asyncio.create_task(database.read(slow))
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        waiting = asyncio.create_task(database.read(lambda db: 7))
        done, _ = await asyncio.wait([waiting], timeout=0.01)
        assert not done
        release.set()
        assert await waiting == 7


def test_the_engine_says_that_it_was_interrupted():
    """The code that the limit is told by."""
    db = sqlite3.connect(":memory:")
    db.set_progress_handler(lambda: True, 100)
    with pytest.raises(sqlite3.OperationalError) as caught:
        db.execute(ENDLESS).fetchone()
    assert caught.value.sqlite_errorcode == 9
    db.close()
