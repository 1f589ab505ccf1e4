"""A lock beside a file that one process has at a time, and that its death gives up."""

import contextlib
import subprocess
import sys

import pytest

from server.background.leader_lock import LeaderLock
from tests.support import ROOT

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
