"""The permission round trip with the official MCP SDK: a client calls a tool, and the tool asks a person before it acts."""

import asyncio
import sys

import aiohttp
import pytest
from mcp import Client, StdioServerParameters, stdio_client

from tests.support import ROOT, ServerProcess, read_rows, until

pytestmark = pytest.mark.slow

SESSION = "mcp-1"
BASE = "/agent_backend/api/sse"
ENVIRONMENT = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}


@pytest.fixture
def server(tmp_path):
    """A ToWow server process on a fresh file."""
    with ServerProcess(tmp_path / "towow.db", environment=ENVIRONMENT) as server:
        yield server


@pytest.fixture
def file(tmp_path):
    """What the tool is asked to remove."""
    file = tmp_path / "a.txt"
    file.write_text("something")
    return file


def tools(server):
    """An MCP client of the tool server, which is a process of its own over stdio."""
    arguments = ["-m", "tests.support.permission_mcp_server", server.url, SESSION]
    return Client(stdio_client(StdioServerParameters(command=sys.executable, args=arguments, cwd=ROOT)))


def types(server):
    """What the session's stream holds."""
    return [row.event_type for row in read_rows(server.database) if row.stream == f"mcp:{SESSION}"]


async def respond(server, **fields):
    """Answer as a person would."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        session.post(f"{server.url}{BASE}/permission-response/{SESSION}", json=fields) as answer,
    ):
        assert answer.status == 200, await answer.text()


def call(client, file, permission_id="p-1", **arguments):
    """Call the tool; a task that ends with what the client is told."""

    async def run():
        result = await client.call_tool("remove_file", {"path": str(file), "permission_id": permission_id, **arguments})
        assert not result.is_error, result
        return result.structured_content["result"]

    return asyncio.create_task(run())


async def test_the_tool_is_known_to_the_client(server):
    """The SDK's own listing, so that the calls below are real ones."""
    async with tools(server) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["remove_file"]


async def test_the_tool_acts_when_somebody_approves(server, file):
    """Not a moment earlier, and what it did is in the stream."""
    async with tools(server) as client:
        calling = call(client, file)
        await until(lambda: types(server), timeout=30)
        assert file.exists()
        assert not calling.done()
        await respond(server, approved=True, reason="go on")
        assert await calling == "removed, allowed by anonymous"
    assert not file.exists()
    assert types(server) == [
        "permission_request",
        "permission_response_result",
        "permission_cleared",
        "tool_status",
        "tool_result",
    ]


async def test_the_tool_does_not_act_when_somebody_rejects(server, file):
    """The client is told why."""
    async with tools(server) as client:
        calling = call(client, file)
        await until(lambda: types(server), timeout=30)
        await respond(server, approved=False, reason="keep it")
        assert await calling == "denied by anonymous: keep it"
    assert file.exists()
    assert types(server)[-1] == "tool_result"


async def test_the_tool_does_not_act_when_nobody_answers(server, file):
    """No answer in time is a no."""
    async with tools(server) as client:
        assert await call(client, file, timeout_seconds=0.3) == "denied by timeout: timed_out"
    assert file.exists()


@pytest.mark.parametrize("approved", [True, False])
async def test_the_tool_waits_through_a_restart_of_the_event_server(server, file, approved):
    """Killed while the tool waits: the prompt is still there, and its answer reaches the tool."""
    async with tools(server) as client:
        calling = call(client, file)
        await until(lambda: types(server), timeout=30)
        server.kill()
        server.start()
        assert file.exists()
        assert not calling.done()
        await respond(server, approved=approved, permission_id="p-1")
        await calling
    assert file.exists() is not approved
    assert types(server).count("permission_request") == 1


async def test_a_tool_server_that_is_restarted_takes_the_question_up_again(server, file):
    """The first one is gone before the answer; the second asks with the same permission_id and need not be answered twice."""
    async with tools(server) as client:
        calling = call(client, file)
        await until(lambda: types(server), timeout=30)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    await respond(server, approved=True)
    async with tools(server) as client:
        assert await call(client, file) == "removed, allowed by anonymous"
    assert not file.exists()
    assert types(server).count("permission_request") == 1
