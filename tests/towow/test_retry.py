"""Retries: how long a client waits, and that it says nothing to the application's terminal."""

import subprocess
import sys
from pathlib import Path

import pytest
import stamina.instrumentation

from tests.support import ROOT, ServerProcess
from towow import Retry, Unreachable
from towow.errors import Conflict, TowowError, Unavailable
from towow.retry import retried

UNREACHABLE = """
import asyncio, sys
from towow import Client, Retry
from towow.errors import Unavailable

async def main():
    retry = Retry(total_seconds=0.3, first_wait_seconds=0.01, jitter_seconds=0)
    async with Client("http://127.0.0.1:9", retry=retry) as client:
        try:
            await client.append("task:a", "note", {})
        except Unavailable:
            print("unreachable")
        events = client.follow("task:a")
        for _ in range(2):
            try:
                await asyncio.wait_for(anext(events), 0.1)
            except TimeoutError:
                print("nothing yet")

asyncio.run(main())
"""

RESTARTING = """
import asyncio, sys
from towow import Client, Retry

async def main(url):
    retry = Retry(first_wait_seconds=0.05, jitter_seconds=0, reconnect_seconds=0.05)
    async with Client(url, retry=retry) as client:
        print("seq", (await client.append("task:a", "note", {})).seq, flush=True)
        events = client.follow("task:a")
        print("event", (await anext(events)).seq, flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # the server is gone now
        appending = asyncio.create_task(client.append("task:a", "note", {}))
        print("event", (await anext(events)).seq, flush=True)
        await appending
        await client.append("task:a", "task_complete", {})
        print([event.seq async for event in events], flush=True)

asyncio.run(main(sys.argv[1]))
"""


def test_an_unreachable_server_prints_nothing() -> None:
    """Neither on stdout nor on stderr, whatever libraries are installed beside the client."""
    done = subprocess.run([sys.executable, "-c", UNREACHABLE], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("unreachable\nnothing yet\nnothing yet\n", "")


@pytest.mark.slow
def test_a_restarting_server_prints_nothing(tmp_path: Path) -> None:
    """Tries that are repeated and follows that resume are seen by their results only."""
    with ServerProcess(tmp_path / "towow.db", environment={"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}) as server:
        command = [sys.executable, "-c", RESTARTING, server.url]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as application:
            assert application.stdout is not None
            assert [application.stdout.readline() for _ in range(2)] == ["seq 1\n", "event 1\n"]
            server.kill()
            assert application.stdin is not None
            application.stdin.write("\n")
            application.stdin.flush()
            server.start()
            out, err = application.communicate(timeout=30)
    assert (out, err, application.returncode) == ("event 2\n[3]\n", "", 0)


async def test_an_application_that_wants_to_know_has_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    """`towow.client` has a line for each repeated try, at INFO."""
    failures = [Unreachable("gone", was_sent=False), Unavailable("stopping", status=503)]

    async def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    with caplog.at_level("INFO", logger="towow.client"):
        assert await retried(call, Retry(first_wait_seconds=0.001, jitter_seconds=0), is_repeatable=False) == "done"
    assert [record.getMessage() for record in caplog.records] == [
        "trying again in 0.0 s: stopping",
        "trying again in 0.0 s: gone",
    ]


async def test_an_applications_settings_of_stamina_do_not_matter_to_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its hooks are called nor does its test mode end the client's retries."""
    calls: list[object] = []
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([lambda details: calls.append(details)])
    stamina.set_active(False)
    try:
        failures: list[TowowError] = [Unavailable("stopping", status=503)]

        async def call() -> str:
            if failures:
                raise failures.pop()
            return "done"

        assert await retried(call, Retry(first_wait_seconds=0.001, jitter_seconds=0), is_repeatable=True) == "done"
    finally:
        stamina.set_active(True)
        stamina.instrumentation.set_on_retry_hooks(hooks)
    assert calls == []


@pytest.mark.parametrize(
    ("error", "total_seconds", "tries"),
    [
        pytest.param(Conflict("no", status=409), 5.0, 1, id="realistic: a decision is final"),
        pytest.param(Unavailable("later", status=503), 0.0, 1, id="edge: no time tries once"),
        pytest.param(Unavailable("later", status=503, retry_after_seconds=9), 5.0, 1, id="edge: later than there is time"),
    ],
)
async def test_a_try_that_is_not_worth_it_is_not_made(error: TowowError, total_seconds: float, tries: int) -> None:
    """The error is raised as it is."""
    made = 0

    async def call() -> None:
        nonlocal made
        made += 1
        raise error

    with pytest.raises(TowowError) as raised:
        await retried(call, Retry(total_seconds=total_seconds), is_repeatable=True)
    assert raised.value is error
    assert made == tries
