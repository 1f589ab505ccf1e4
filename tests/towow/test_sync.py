"""The client without asyncio, against a real server process: the same calls, iterations, Ctrl-C, and threads."""

import inspect
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

import towow
from tests.support import ROOT, ServerProcess
from towow import Retry, sync
from towow.errors import NotFound, Unavailable

ENVIRONMENT = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server process for the tests of this module; each uses streams of its own."""
    with ServerProcess(tmp_path_factory.mktemp("sync") / "towow.db", environment=ENVIRONMENT) as server:
        yield server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[sync.Client]:
    """A client of it, closed in the end."""
    with sync.Client(server.url) as client:
        yield client


@pytest.mark.parametrize(
    ("inner", "outer"),
    [(towow.Client, sync.Client), (towow.SimpleNotifier, sync.SimpleNotifier)],
    ids=["Client", "SimpleNotifier"],
)
def test_both_clients_have_the_same_methods(inner: type, outer: type) -> None:
    """The same names, with the same parameters and docstrings; none of the blocking ones is a coroutine."""
    names = {name for name, value in vars(inner).items() if not name.startswith("_") and inspect.isfunction(value)}
    for base in inner.__mro__[1:-1]:
        names |= {name for name, value in vars(base).items() if not name.startswith("_") and inspect.isfunction(value)}
    assert names == {name for name in dir(outer) if not name.startswith("_")}
    for name in names - {"close"}:
        assert inspect.signature(getattr(outer, name)) == inspect.signature(getattr(inner, name)), name
        assert getattr(outer, name).__doc__ == getattr(inner, name).__doc__
        assert not inspect.iscoroutinefunction(getattr(outer, name))


def test_events_are_appended_and_followed(client: sync.Client) -> None:
    """Typed results, an iteration that ends with its stream, and errors of the same classes."""
    receipt = client.append("task:a", "note", {"n": 0})
    client.append_many([{"stream": "task:a", "event_type": "note", "payload": {"n": n}} for n in range(1, 200)])
    client.emit("a", "task_complete")
    assert [event.payload.get("n") for event in client.follow("task:a")] == [*range(200), None]
    assert client.get_event(receipt.event_id).seq == receipt.seq
    assert "task:a" in [each.name for each in client.each_stream("task")]
    with pytest.raises(NotFound):
        list(client.follow("task:none"))


def test_a_time_out_of_an_iteration_loses_nothing(client: sync.Client) -> None:
    """It may be asked again, and is closed with its block."""
    client.append("task:b", "note", {"n": 0})
    with client.follow("task:b") as events:
        assert next(events).payload == {"n": 0}
        for n in range(1, 4):
            with pytest.raises(TimeoutError):
                events.next(timeout_seconds=0.01)
            client.append("task:b", "note", {"n": n})
            assert events.next(timeout_seconds=5).payload == {"n": n}
    assert list(events) == []


def test_a_client_is_used_from_several_threads(client: sync.Client) -> None:
    """Each call gets its own answer, and readers wait beside publishers."""
    seen: list[int] = []
    ready = threading.Event()

    def read() -> None:
        on_state = lambda state, _: ready.set() if state == "ready" else None  # noqa: E731
        with client.follow("task:c", allow_pending=True, on_state=on_state) as events:
            seen.extend(next(events).payload["n"] for _ in range(40))

    def write(first: int) -> None:
        for n in range(first, first + 10):
            client.append("task:c", "note", {"n": n})

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(10)
    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20, 30)]
    for thread in writers:
        thread.start()
    for thread in [*writers, reader]:
        thread.join(20)
    assert sorted(seen) == list(range(40))


def test_leaving_the_block_ends_iterations_and_calls_of_other_threads(server: ServerProcess) -> None:
    """No thread waits for ever, and the client's own thread is gone."""
    outcomes: list[object] = []
    before = threading.active_count()
    with sync.Client(server.url) as client:
        events = client.follow("task:d", allow_pending=True)

        def iterate() -> None:
            outcomes.append(list(events))

        def poll() -> None:
            try:
                client.read("task:d-other", since_seq=0, wait=20)
            except (CancelledError, NotFound, Unavailable, RuntimeError) as error:
                outcomes.append(type(error))

        threads = [threading.Thread(target=target) for target in (iterate, poll)]
        for thread in threads:
            thread.start()
        client.append("task:e", "note", {})
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(outcomes) == 2
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="with Client"):
        client.health()


def test_an_unopened_client_sends_nothing() -> None:
    """It says how it is used; a server that is not there is the same error as everywhere."""
    client = sync.Client("http://127.0.0.1:9", retry=Retry(total_seconds=0))
    assert client.base_url == "http://127.0.0.1:9"
    with pytest.raises(RuntimeError, match="with Client"):
        client.append("task:a", "note", {})
    with client, pytest.raises(Unavailable):
        client.append("task:a", "note", {})


def test_a_permission_is_asked_for_without_asyncio(server: ServerProcess) -> None:
    """A tool runner that is no coroutine; no answer in time is a denial."""
    with sync.SimpleNotifier("m-1", server.url) as notifier:
        assert notifier.tool_status("rm").success
        permission = notifier.request_permission("rm", {}, timeout_seconds=0.2)
    assert (bool(permission), permission.reason) == (False, "timed_out")


CTRL_C = """
import sys
from towow.sync import Client

with Client(sys.argv[1]) as client:
    client.append("task:ctrl-c", "note", {"n": 1})
    try:
        for event in client.follow("task:ctrl-c"):
            print(event.payload["n"], flush=True)
    except KeyboardInterrupt:
        print("interrupted", client.append("task:ctrl-c", "note", {"n": 2}).revision, flush=True)
print("ended", flush=True)
"""


def test_ctrl_c_ends_an_iteration_cleanly(server: ServerProcess, tmp_path: Path) -> None:
    """The program goes on after it, uses the client further, and ends with 0 and without a word on stderr."""
    command = [sys.executable, "-c", CTRL_C, server.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("interrupted 2\nended\n", "", 0)
