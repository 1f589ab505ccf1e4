"""Work that has to be done, while the file cannot be written: tried again, and nothing else is."""

import asyncio

import pytest

from server.background import retry
from server.background.retry import retry_until_writable
from tests.support import until
from towow.errors import Conflict, StorageFull, Unavailable


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (0.001, 0.002))


def failing(*errors):
    """Work that fails with these errors, one after the other, and then returns how often it was called."""
    calls, left = [], list(errors)

    async def do():
        calls.append(len(calls) + 1)
        if left:
            raise left.pop(0)
        return len(calls)

    return do, calls


async def test_work_is_done_once_when_nothing_is_in_the_way():
    """What it returned is returned."""
    do, calls = failing()
    assert await retry_until_writable(do) == 1
    assert calls == [1]


async def test_a_file_that_cannot_be_written_is_waited_for():
    """However often, full or locked; what the last call returned is returned."""
    do, _ = failing(StorageFull("no room"), Unavailable("locked"), StorageFull("no room"))
    assert await retry_until_writable(do) == 4


@pytest.mark.parametrize("error", [Conflict("too late"), LookupError("swordfish")], ids=["a rule", "a fault"])
async def test_every_other_error_goes_through_at_once(error):
    """What is refused, or is a fault, does not get better."""
    do, calls = failing(error)
    with pytest.raises(type(error)):
        await retry_until_writable(do)
    assert calls == [1]


async def test_what_is_waited_out_can_be_said():
    """A watch that must not end waits out everything."""
    do, _ = failing(LookupError("swordfish"), StorageFull("no room"))
    assert await retry_until_writable(do, on=Exception) == 3


async def test_a_pause_can_be_cancelled(monkeypatch):
    """A server that stops waits for nobody's pause."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (3_600.0, 3_600.0))
    do, calls = failing(StorageFull("no room"))
    task = asyncio.create_task(retry_until_writable(do))
    await until(lambda: calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == [1]
