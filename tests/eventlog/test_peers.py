"""Datagrams between the processes of one file: a wake-up, never a duty."""

import asyncio
import contextlib
import os
import socket
import time

import pytest

from server.eventlog.peers import Peers
from tests.support import changed, note, open_log, until


@pytest.fixture(params=["n", "n" * 200], ids=["a short path", "a path too long for an address"])
def folder(tmp_path, request):
    """Where the database is."""
    path = tmp_path / request.param
    path.mkdir()
    return path


@pytest.fixture
async def start(folder):
    """Start a peer beside `n.db`; returns it and the list of its wake-ups. Closed at the end, with all that it opened."""
    started = []

    def start(path=folder / "n.db"):
        peers, woken = Peers(path), []
        peers.start(lambda: woken.append(1))
        started.append(peers)
        return peers, woken

    yield start
    for peers in started:
        peers.close()
    assert str(folder / "n.db.peers") not in open_files()


@pytest.fixture
def bind(folder):
    """Bind a socket by its name beside the others, as another process would; closed at the end."""
    bound = []

    def bind(name):
        bound.append(other := socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        with contextlib.chdir(folder / "n.db.peers"):
            other.bind(name)
        return other

    yield bind
    for other in bound:
        other.close()


def open_files():
    """The paths of everything that this process has open."""
    paths = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            paths.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return paths


def sockets(folder):
    """The names of the sockets that stand beside the file."""
    return sorted(path.name for path in (folder / "n.db.peers").glob("*"))


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


async def test_a_peer_that_comes_within_one_tick_of_the_file_systems_clock_is_woken(start, folder):
    """Two changes of the directory may have the same time: a listing of just now is not trusted."""
    now = time.time_ns()
    (one, _), (_, woken) = start(), start()
    os.utime(folder / "n.db.peers", ns=(now, now + 10**10))
    one.announce()
    await until(lambda: woken)
    _, late_woken = start()
    os.utime(folder / "n.db.peers", ns=(now, now + 10**10))
    one.announce()
    await until(lambda: late_woken)


async def test_announcing_alone_does_nothing(start):
    """Nobody to wake is the normal case."""
    one, woken = start()
    for _ in range(3):
        one.announce()
    assert woken == []


async def test_files_of_other_names_are_other_neighbourhoods(start, folder):
    """Only processes that have the same file open are woken."""
    (one, _), (_, same), (_, other) = start(), start(), start(folder / "other.db")
    one.announce()
    await until(lambda: same)
    assert other == []


async def test_closing_removes_the_socket_and_later_announcements_pass_it(start, folder):
    """Who has left is not written to; closing again changes nothing, and a closed one announces nothing."""
    (one, _), (two, two_woken), (_, three_woken) = start(), start(), start()
    one.announce()
    await until(lambda: two_woken and three_woken)
    two.close()
    two.close()
    assert len(sockets(folder)) == 2
    two.announce()
    one.announce()
    await until(lambda: len(three_woken) == 2)
    assert len(two_woken) == 1


@pytest.mark.parametrize("is_known", [False, True], ids=["never seen before", "known from before"])
async def test_the_socket_of_a_killed_process_is_removed(start, folder, bind, is_known):
    """A process that could not clean up leaves a socket that nobody reads; the first announcement removes it."""
    (one, _), (_, woken) = start(), start()
    path = folder / "n.db.peers" / "99999-abcdef.sock"
    dead = bind(path.name)
    if is_known:
        one.announce()
        await until(lambda: woken)
    dead.close()
    assert path.exists()
    one.announce()
    assert not path.exists()
    assert len(sockets(folder)) == 2
    woken.clear()
    one.announce()
    await until(lambda: woken)


async def test_a_neighbour_that_does_not_read_never_blocks_the_announcer(start, folder, bind):
    """A full buffer means that it has a wake-up waiting; the others get theirs."""
    (one, _), (_, woken) = start(), start()
    path = folder / "n.db.peers" / "1-stuck.sock"
    bind(path.name)
    for _ in range(2_000):
        one.announce()
    woken.clear()
    one.announce()
    await until(lambda: woken)
    assert path.exists()


async def test_things_that_are_no_sockets_harm_nobody(start, folder):
    """Whatever lies in the directory, announcing goes on."""
    (one, _), (_, woken) = start(), start()
    folder = folder / "n.db.peers"
    (folder / "notes.txt").write_text("x")
    (folder / "folder.sock").mkdir()
    os.symlink(folder / "nowhere", folder / "dangling.sock")
    one.announce()
    await until(lambda: woken)
    assert (folder / "notes.txt").exists()


async def test_a_vanished_directory_harms_nobody(start, folder):
    """Somebody cleans up too much: no wake-ups any more, and no error; polling remains."""
    (one, _), (two, _) = start(), start()
    one.announce()
    for path in (folder / "n.db.peers").iterdir():
        path.unlink()
    (folder / "n.db.peers").rmdir()
    one.announce()
    two.announce()
    two.close()


async def test_the_directory_is_closed_to_others(start, folder):
    """Only the same user may wake us."""
    start()
    assert (folder / "n.db.peers").stat().st_mode & 0o777 == 0o700


async def test_two_logs_at_a_path_too_long_for_an_address_wake_each_other(tmp_path, quiet_config):
    """However deep the database lies, other processes' events come with a datagram and not with a poll."""
    folder = tmp_path / ("x" * 200)
    config = changed(quiet_config, "database", path=str(folder / "n.db"))
    config = changed(config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    async with open_log(config) as one, open_log(config) as two:
        await one.append([note()])
        await until(lambda: two.head_seq == 1)
        await two.append([note()])
        await until(lambda: one.head_seq == 2)


async def test_a_path_too_long_for_an_address_on_another_system_leaves_polling(tmp_path, quiet_config, monkeypatch):
    """Where no directory can be named by its descriptor, losing the datagrams costs a poll interval, never an event."""
    monkeypatch.setattr("server.eventlog.peers._OPEN_FILES", tmp_path / "nothing")
    folder = tmp_path / ("x" * 200)
    config = changed(quiet_config, "database", path=str(folder / "n.db"))
    async with open_log(config) as one, open_log(config) as two:
        await one.append([note()])
        await until(lambda: two.head_seq == 1)
    assert sorted(path.name for path in folder.iterdir()) == ["n.db", "n.db.lock", "n.db.mark"]


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
