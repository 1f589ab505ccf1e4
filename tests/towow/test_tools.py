"""`SimpleNotifier` against a real server: what it says, and what it is told when servers and runners come and go."""

import asyncio
import contextlib
import json
import subprocess
import sys

import aiohttp
import msgspec
import pytest

from tests.support import ROOT, ServerProcess, read_rows, refused, until
from towow import Permission, Retry, SimpleNotifier
from towow.errors import Conflict, InvalidBody, InvalidRequest, NotFound, TooLarge, Unavailable
from towow.tools import Notice

SESSION = "s-1"
ANSWER = f"/agent_backend/api/sse/permission-response/{SESSION}"
ENVIRONMENT = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}
QUICK = Retry(total_seconds=0.0)


@pytest.fixture
def server(tmp_path):
    """A server process on a fresh file."""
    with ServerProcess(tmp_path / "towow.db", environment=ENVIRONMENT) as server:
        yield server


@pytest.fixture
async def notifier(server):
    """A notifier of that server."""
    async with SimpleNotifier(SESSION, server.url) as notifier:
        yield notifier


def stored(server):
    """What the log holds of the session: [(type, payload without its timestamp)]."""
    rows = [row for row in read_rows(server.database) if row.stream == f"mcp:{SESSION}"]
    return [(row.event_type, {key: value for key, value in row.payload.items() if key != "timestamp"}) for row in rows]


def requests(server):
    """The ids of the permissions that were asked for."""
    return [payload["permission_id"] for name, payload in stored(server) if name == "permission_request"]


def has_been_asked(server, path, times=1):
    """Whether the server has answered requests of a path with 200, so many."""
    log = server.database.with_name(server.database.name + ".log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return sum(path in line.get("path", "") and line.get("status") == 200 for line in lines) >= times


async def answer(server, approved, **fields):
    """Answer as a person would; the status."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        session.post(server.url + ANSWER, json={"approved": approved, **fields}) as said,
    ):
        return said.status


async def test_what_a_tool_does_is_told(server, notifier):
    """Item 3: status, result, clearing and error, in the document's fields, each with its place in the log."""
    said = [
        await notifier.tool_status("rm", details={"parameters": {"path": "a"}, "risk_level": "medium"}),
        await notifier.tool_result("rm", {"removed": 1}),
        await notifier.tool_result("rm", None, success=False),
        await notifier.clear_result("rm"),
        await notifier.clear_result(),
        await notifier.error("it broke"),
    ]
    assert [each.success for each in said] == [True] * 6
    assert [row.seq for row in read_rows(server.database)] == [each.seq for each in said]
    assert stored(server) == [
        (
            "tool_status",
            {"tool_name": "rm", "status": "executing", "details": {"parameters": {"path": "a"}, "risk_level": "medium"}},
        ),
        ("tool_result", {"tool_name": "rm", "result": {"removed": 1}, "success": True}),
        ("tool_result", {"tool_name": "rm", "result": None, "success": False}),
        ("result_cleared", {"tool_name": "rm"}),
        ("result_cleared", {}),
        ("error", {"message": "it broke"}),
    ]
    assert all(row.payload["timestamp"].endswith("Z") for row in read_rows(server.database))


@pytest.mark.parametrize(("approved", "reason"), [(True, "go on"), (False, "too risky")])
async def test_a_permission_is_what_somebody_decided(server, notifier, approved, reason):
    """The word, its reason and who gave it; only a yes is true."""
    waiting = asyncio.create_task(notifier.request_permission("rm", {"path": "a"}, "high"))
    await until(lambda: requests(server))
    assert await answer(server, approved, reason=reason) == 200
    permission = await waiting
    assert permission == Permission(approved, reason, "anonymous", requests(server)[0])
    assert bool(permission) is approved


async def test_no_answer_in_time_is_a_no(server, notifier):
    """The server says so, at the deadline that the runner asked for."""
    permission = await notifier.request_permission("rm", {}, "low", "p-1", timeout_seconds=0.2)
    assert permission == Permission(False, "timed_out", "timeout", "p-1")
    assert not permission
    assert stored(server)[0][1]["expires_within_seconds"] == 0.2
    assert await answer(server, True, permission_id="p-1") == 410


async def test_a_request_that_is_taken_back_is_a_no(server, notifier):
    """With the reason of who took it back; taking it back again is no error."""
    waiting = asyncio.create_task(notifier.request_permission("rm", {}, "high", "p-1"))
    await until(lambda: requests(server))
    taken = await notifier.clear_permission(reason="not needed")
    assert await waiting == Permission(False, "not needed", "", "p-1")
    assert await notifier.clear_permission("p-1") == taken
    with pytest.raises(Conflict):
        await notifier.clear_permission()
    with pytest.raises(NotFound):
        await notifier.clear_permission("p-9")


@pytest.mark.slow
@pytest.mark.parametrize("approved", [True, False])
async def test_a_server_that_is_killed_and_restarted_meanwhile_changes_nothing(server, notifier, approved):
    """The runner waits on, the prompt is still there, and there is only one."""
    waiting = asyncio.create_task(notifier.request_permission("rm", {"path": "a"}, "high"))
    await until(lambda: requests(server))
    for _ in range(2):
        server.kill()
        server.start()
    assert not waiting.done()
    assert await answer(server, approved) == 200
    assert (await waiting).approved is approved
    assert len(requests(server)) == 1


async def test_a_server_that_is_stopped_and_started_meanwhile_changes_nothing(server, notifier, monkeypatch):
    """A clean stop answers what waits with what it knows, and so does a wait that is over: still pending is no decision."""
    monkeypatch.setattr("towow.tools._WAIT_SECONDS", 0.05)
    waiting = asyncio.create_task(notifier.request_permission("rm", {}, "high"))
    await until(lambda: requests(server))
    server.stop()
    server.start()
    await until(lambda: has_been_asked(server, "/permissions/", times=3))
    assert await answer(server, True) == 200
    assert await waiting


@pytest.mark.slow
async def test_an_answer_that_is_given_before_the_runner_is_back_is_not_lost(server, notifier):
    """Killed right after the decision was stored."""
    waiting = asyncio.create_task(notifier.request_permission("rm", {}, "high", "p-1"))
    await until(lambda: requests(server))
    server.kill()
    async with asyncio.timeout(20):
        server.start()
        assert await answer(server, True, permission_id="p-1") == 200
        server.kill()
        server.start()
        assert (await waiting).approved


async def test_a_request_is_asked_when_the_server_comes(tmp_path):
    """The runner was started first."""
    with ServerProcess(tmp_path / "towow.db", environment=ENVIRONMENT) as server:
        server.kill()
        async with SimpleNotifier(SESSION, server.url) as notifier:
            waiting = asyncio.create_task(notifier.request_permission("rm", {}, "high"))
            await asyncio.sleep(0)
            server.start()
            await until(lambda: requests(server))
            assert await answer(server, True) == 200
            assert await waiting


async def test_a_server_that_stays_away_denies(server, notifier, monkeypatch):
    """Before it was asked and after; nobody acts without a yes."""
    monkeypatch.setattr("towow.tools._GRACE_SECONDS", 0.1)
    waiting = asyncio.create_task(notifier.request_permission("rm", {}, "high", "p-1", timeout_seconds=0.5))
    await until(lambda: requests(server))
    server.kill()
    assert await waiting == Permission(False, "timed_out", "timeout", "p-1")
    assert await notifier.request_permission("rm", {}, "high", "p-2", 0.2) == Permission(False, "timed_out", "timeout", "p-2")
    server.start()
    assert await answer(server, True, permission_id="p-1") == 410


RUNNER = """
import asyncio, sys
from towow import SimpleNotifier

async def main(url):
    async with SimpleNotifier("s-1", url) as notifier:
        permission = await notifier.request_permission("rm", {"path": "a"}, "high", "p-1")
        print(permission.approved, permission.reason, permission.actor, flush=True)

asyncio.run(main(sys.argv[1]))
"""


@contextlib.contextmanager
def runner(server):
    """A runner in a process of its own that asks for p-1 and prints the decision."""
    process = subprocess.Popen([sys.executable, "-c", RUNNER, server.url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
async def test_a_runner_that_is_restarted_asks_the_same_request(server):
    """With the same permission_id it waits on, and one that comes after the decision is told it at once."""
    with runner(server):
        await until(lambda: requests(server), timeout=20)
    with runner(server) as second:
        await until(lambda: has_been_asked(server, "/notify/"), timeout=20)
        assert await answer(server, True, reason="go on") == 200
        assert await asyncio.to_thread(second.stdout.readline) == "True go on anonymous\n"
    server.kill()
    server.start()
    with runner(server) as third:
        assert await asyncio.to_thread(third.stdout.readline) == "True go on anonymous\n"
    assert requests(server) == ["p-1"]


async def test_the_same_id_in_other_words_is_refused(server, notifier):
    """Raised, not waited for."""
    first = await notifier.permission_request("rm", {"path": "a"}, "high", permission_id="p-1", timeout_seconds=5)
    assert (first.permission_id, first.status) == ("p-1", "pending")
    again = await notifier.permission_request("rm", {"path": "a"}, "high", permission_id="p-1")
    assert again == msgspec.structs.replace(first, expires_in_seconds=pytest.approx(5, abs=5))
    with pytest.raises(Conflict):
        await notifier.request_permission("rm", {"path": "b"}, "high", "p-1")


async def test_what_the_server_refuses_is_raised(server, notifier):
    """A mistake of the runner is no denial."""
    with refused(InvalidBody, "data.tool_name"):
        await notifier.request_permission("", {}, "high")
    with pytest.raises(InvalidBody):
        await notifier.request_permission("rm", {}, "high", timeout_seconds=-1)
    with pytest.raises(TooLarge):
        await notifier.tool_result("rm", "x" * 70_000)
    async with SimpleNotifier("a:b", server.url) as elsewhere:
        with pytest.raises(InvalidRequest):
            await elsewhere.request_permission("rm", {}, "high")
    assert stored(server) == []


async def test_a_broken_connection_does_not_say_things_twice(server):
    """Every try carries the same event_id."""
    bodies = []

    async def relay(reader, writer):
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            bodies.append(body)
            inner, outer = await asyncio.open_connection("127.0.0.1", server.port)
            outer.write(head + body)
            said = await inner.readuntil(b"\r\n\r\n")
            if len(bodies) > 1:  # the first answer is lost on its way
                writer.write(
                    said + await inner.readexactly(int(said.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
                )
                await writer.drain()
            outer.close()

    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with proxy, SimpleNotifier(SESSION, f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}") as notifier:
        said = await notifier.tool_result("rm", 1)
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    assert said == Notice(True, 1)
    assert len(stored(server)) == 1


async def test_the_server_is_that_of_the_environment(server, monkeypatch):
    """`TOWOW_SERVER`, unless one is named."""
    monkeypatch.setenv("TOWOW_SERVER", server.url)
    async with SimpleNotifier(SESSION) as notifier:
        assert (await notifier.error("m")).success
    async with SimpleNotifier(SESSION, "http://127.0.0.1:9", retry=QUICK) as notifier:
        with pytest.raises(Unavailable):
            await notifier.error("m")
