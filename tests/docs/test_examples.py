"""The examples of the surfaces' pages work against a real server process: Python and curl, as they stand there."""

import ast
import asyncio
import json
import subprocess
import urllib.error
import urllib.request

import pytest

from tests.docs.reading import blocks, read
from tests.support import ServerProcess
from towow.channels import shutdown_redis_sse

pytestmark = pytest.mark.slow
SECONDS = 30.0


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server process without agents and models, where the client's functions look for it."""
    environment = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false", "TOWOW__LLM__LOCAL": "false"}
    with ServerProcess(tmp_path / "towow.db", environment=environment) as process:
        monkeypatch.setenv("TOWOW_SERVER", process.url)
        yield process


async def run(server, code):
    """Run an example as `python -m asyncio` does."""
    code = code.replace("http://127.0.0.1:8000", server.url)
    compiled = compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with asyncio.timeout(SECONDS):
        await eval(compiled, {})


def shell(server, code, seconds=2):
    """What a command block prints, in a shell in which curl gives up after some seconds."""
    code = f'curl() {{ command curl -sS --max-time {seconds} "$@" 2>/dev/null; }}\n' + code.replace(
        "http://127.0.0.1:8000", server.url
    )
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False).stdout


async def test_the_example_of_the_errors_catches_one(server, capsys):
    """The first run appends, the second one is refused with the actual revision."""
    [code] = blocks(read("docs/errors.md"), "python")
    await run(server, code)
    assert capsys.readouterr().out == ""
    await run(server, code)
    assert capsys.readouterr().out == "revision_mismatch 1\n"


async def test_the_example_of_processes_reads_what_it_wrote(server, capsys):
    """One client's write is in the other one's page."""
    [code] = blocks(read("docs/processes.md"), "python")
    await run(server, code)
    assert capsys.readouterr().out == "{'text': 'first'}\n"


async def test_the_examples_of_tasks_emit_one_and_follow_it(server):
    """A task from its first phase to its end, as `curl` shows it."""
    [python] = blocks(read("docs/tasks.md"), "python")
    await run(server, python)
    task = server.get("/api/tasks/report-7")
    assert (task["status"], task["phase"], task["progress"]) == ("completed", "executing", 100)
    [curl, _] = blocks(read("docs/tasks.md"), "sh")
    lines = [line for line in shell(server, curl).splitlines() if line.startswith("data: {")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["event_type"] for event in events if "event_type" in event] == [
        *("phase_enter", "work_item_start", "progress_update", "work_item_complete", "task_complete")
    ]


async def test_the_example_of_sessions_says_something_and_reads_it(server, capsys):
    """It goes on reading until it is stopped."""
    [code] = blocks(read("docs/sessions.md"), "python")
    reading = asyncio.create_task(run(server, code))
    said = ""
    while not said.endswith("\n"):
        await asyncio.sleep(0.01)
        said += capsys.readouterr().out
        assert not reading.done()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await shutdown_redis_sse()
    assert said.startswith("new_message {'role': 'bot', 'content': 'hello'")


async def test_the_examples_of_generations_have_a_text_written(server, capsys):
    """In Python to the result; with `curl` the stream of the run and its id."""
    [python] = blocks(read("docs/generations.md"), "python")
    await run(server, python)
    assert "A poster for a tea house" in capsys.readouterr().out
    [curl] = blocks(read("docs/generations.md"), "sh")
    said = shell(server, curl, seconds=5)
    assert "X-Run-Id: r-" in said
    assert '"event_type":"llm_chunk"' in said


@pytest.mark.parametrize("approved", [True, False], ids=["approved", "rejected"])
async def test_the_example_of_tools_asks_and_goes_on_with_the_answer(server, capsys, approved):
    """Approved the tool reports its result, rejected it says who denied."""
    [code] = blocks(read("docs/tools.md"), "python")
    asking = asyncio.create_task(run(server, code))
    body = json.dumps({"approved": approved, "reason": "it is a copy"}).encode()

    def answer():
        request = urllib.request.Request(
            f"{server.url}/agent_backend/api/sse/permission-response/session-1", body, {"Content-Type": "application/json"}
        )
        return urllib.request.urlopen(request, timeout=5).close()

    while not asking.done():
        try:
            await asyncio.to_thread(answer)
            break
        except urllib.error.HTTPError:  # it has not asked yet
            await asyncio.sleep(0.01)
    await asking
    events = server.get("/api/events?stream=mcp:session-1&since_seq=0")["events"]
    types = [event["event_type"] for event in events]
    assert types[:4] == ["tool_status", "permission_request", "permission_response_result", "permission_cleared"]
    assert types[4:] == (["tool_result"] if approved else [])
    assert capsys.readouterr().out == ("" if approved else "denied: it is a copy anonymous\n")


def test_the_commands_of_tools_ask_and_answer(server):
    """Over HTTP, one after the other."""
    asked, answered = (json.loads(shell(server, code)) for code in blocks(read("docs/tools.md"), "sh"))
    assert asked["status"] == "pending"
    assert (answered["success"], answered["approved"], answered["permission_id"]) == (True, True, asked["permission_id"])
