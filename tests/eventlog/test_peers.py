"""Datagrams between the processes of one file: a wake-up, never a duty."""

import asyncio
import os
import socket

import pytest

from server.eventlog.peers import Peers
from tests.support import changed, note, open_log, until


@pytest.fixture
async def start(tmp_path):
    """Start a peer beside `n.db`; returns it and the list of its wake-ups. Closed at the end."""
    started = []

    def start(path=tmp_path / "n.db"):
        peers, woken = Peers(path), []
        peers.start(lambda: woken.append(1))
        started.append(peers)
        return peers, woken

    yield start
    for peers in started:
        peers.close()


def sockets(tmp_path):
    """The names of the sockets that stand beside the file."""
    return sorted(path.name for path in (tmp_path / "n.db.peers").glob("*"))


async def test_an_announcement_wakes_every_neighbour_and_not_the_announcer(start):
    """One datagram each."""
    (one, one_woken), (_, two_woken), (_, three_woken) = start(), start(), start()
    one.announce()
    await until(lambda: two_woken and three_woken)
    assert (one_woken, two_woken, three_woken) == ([], [1], [1])


async def test_each_direction_wakes(start):
    """Whoever was there first knows who came later."""
    (one, one_woken), (two, two_woken) = start(), start()
    for n in range(1, 4):
        one.announce()
        await until(lambda n=n: len(two_woken) == n)
        two.announce()
        await until(lambda n=n: len(one_woken) == n)


async def test_several_announcements_may_be_one_wake_up(start):
    """A datagram says "look again"; however many are waiting, one look is enough."""
    (one, _), (_, woken) = start(), start()
    for _ in range(5):
        one.announce()
    await until(lambda: woken)
    await asyncio.sleep(0)
    assert len(woken) == 1


async def test_announcing_alone_does_nothing(start):
    """Nobody to wake is the normal case."""
    one, woken = start()
    for _ in range(3):
        one.announce()
    assert woken == []


async def test_files_of_other_names_are_other_neighbourhoods(start, tmp_path):
    """Only processes that have the same file open are woken."""
    (one, _), (_, same), (_, other) = start(), start(), start(tmp_path / "other.db")
    one.announce()
    await until(lambda: same)
    assert other == []


async def test_closing_removes_the_socket_and_later_announcements_pass_it(start, tmp_path):
    """Who has left is not written to; closing again changes nothing, and a closed one announces nothing."""
    (one, _), (two, two_woken), (_, three_woken) = start(), start(), start()
    one.announce()
    await until(lambda: two_woken and three_woken)
    two.close()
    two.close()
    assert len(sockets(tmp_path)) == 2
    two.announce()
    one.announce()
    await until(lambda: len(three_woken) == 2)
    assert len(two_woken) == 1


@pytest.mark.parametrize("is_known", [False, True], ids=["never seen before", "known from before"])
async def test_the_socket_of_a_killed_process_is_removed(start, tmp_path, is_known):
    """A process that could not clean up leaves a socket that nobody reads; the first announcement removes it."""
    (one, _), (_, woken) = start(), start()
    path = tmp_path / "n.db.peers" / "99999-abcdef.sock"
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(path))
    if is_known:
        one.announce()
        await until(lambda: woken)
    dead.close()
    assert path.exists()
    one.announce()
    assert not path.exists()
    assert len(sockets(tmp_path)) == 2
    woken.clear()
    one.announce()
    await until(lambda: woken)


async def test_a_neighbour_that_does_not_read_never_blocks_the_announcer(start, tmp_path):
    """A full buffer means that it has a wake-up waiting; the others get theirs."""
    (one, _), (_, woken) = start(), start()
    path = tmp_path / "n.db.peers" / "1-stuck.sock"
    stuck = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stuck.bind(str(path))
    for _ in range(2_000):
        one.announce()
    woken.clear()
    one.announce()
    await until(lambda: woken)
    assert path.exists()
    stuck.close()


async def test_things_that_are_no_sockets_harm_nobody(start, tmp_path):
    """Whatever lies in the directory, announcing goes on."""
    (one, _), (_, woken) = start(), start()
    folder = tmp_path / "n.db.peers"
    (folder / "notes.txt").write_text("x")
    (folder / "folder.sock").mkdir()
    os.symlink(folder / "nowhere", folder / "dangling.sock")
    one.announce()
    await until(lambda: woken)
    assert (folder / "notes.txt").exists()


async def test_a_vanished_directory_harms_nobody(start, tmp_path):
    """Somebody cleans up too much: no wake-ups any more, and no error; polling remains."""
    (one, _), (two, _) = start(), start()
    one.announce()
    for path in (tmp_path / "n.db.peers").iterdir():
        path.unlink()
    (tmp_path / "n.db.peers").rmdir()
    one.announce()
    two.announce()
    two.close()


async def test_the_directory_is_closed_to_others(start, tmp_path):
    """Only the same user may wake us."""
    start()
    assert (tmp_path / "n.db.peers").stat().st_mode & 0o777 == 0o700


async def test_a_path_too_long_for_a_socket_leaves_polling(tmp_path):
    """The log works, followers of other processes' events wait for the next poll, and nothing is raised."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    path = folder / "n.db"
    peers = Peers(path)
    peers.start(lambda: None)
    peers.announce()
    peers.close()
    assert not (folder / "n.db.peers").exists()


async def test_two_logs_with_a_path_too_long_for_a_socket_see_each_other_by_polling(tmp_path, quiet_config):
    """Losing the datagrams costs a poll interval, never an event."""
    folder = tmp_path / ("x" * 120)
    config = changed(quiet_config, "database", path=str(folder / "n.db"))
    async with open_log(config) as one, open_log(config) as two:
        await one.append([note()])
        await until(lambda: two.head_seq == 1)
    assert sorted(path.name for path in folder.iterdir()) == ["n.db", "n.db.lock"]


async def test_a_directory_that_cannot_be_made_leaves_polling(tmp_path):
    """Something else has its name."""
    (tmp_path / "n.db.peers").touch()
    peers = Peers(tmp_path / "n.db")
    peers.start(lambda: None)
    peers.announce()
    peers.close()


async def test_a_closed_log_leaves_no_socket(quiet_config, tmp_path):
    """The log removes what it made."""
    async with open_log(quiet_config):
        assert len(list((tmp_path / "towow.db.peers").iterdir())) == 1
    assert list((tmp_path / "towow.db.peers").iterdir()) == []
