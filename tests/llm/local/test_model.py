"""The small model on this machine, for real: it starts beside the server, writes several texts at once, and ends with the
server."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
import structlog

from server.background.leader_lock import LeaderLock
from server.config import LlmSection
from server.llm.failures import ModelFailed
from server.llm.local.model import LocalModel, is_available
from server.llm.local.writer import CONTEXT_TOKENS
from tests.support import ROOT, ServerProcess, credentials, until
from tests.support.local_llm import model_file, require_local_llm

pytestmark = pytest.mark.slow

START_SECONDS = 60.0
WRITE_SECONDS = 100.0
SYSTEM = "You are a friendly writer."


@pytest.fixture(autouse=True)
def _installed():
    """Only where the model and its engine are installed."""
    require_local_llm()


def model(tmp_path, *, slots=4, **settings):
    """A model of its own; its texts are short."""
    database = str(tmp_path / "towow.db")
    config = LlmSection(
        **{"generation_tokens": 24, "first_piece_timeout_seconds": 90.0, "stall_timeout_seconds": 60.0} | settings
    )
    return LocalModel(config, database, LeaderLock(database, "model"), slots=slots)


async def text_of(writer, user="Tell me about the sea."):
    """A whole text."""
    async with asyncio.timeout(WRITE_SECONDS):
        return "".join([piece async for piece in writer.stream(SYSTEM, user)])


def is_running(process_id):
    """Whether a process lives; one that has ended and was not waited for does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_a_text_is_written(tmp_path):
    """CursorRequest for while the model starts, it comes when it is ready, in pieces."""
    async with model(tmp_path) as here:
        assert here.status == "starting"
        writer = here.writer()
        assert (writer.name, writer.is_degraded) == (model_file().stem, False)
        async with asyncio.timeout(WRITE_SECONDS):
            pieces = [piece async for piece in writer.stream(SYSTEM, "Tell me about the sea.")]
        assert here.status == "ready"
        assert here.hint == ""
    assert len(pieces) > 3
    assert "".join(pieces).strip()
    assert here.status == "absent"


async def test_entering_waits_for_nothing(tmp_path):
    """The server serves at once: the process is not even there yet."""
    here = model(tmp_path)
    await here.__aenter__()
    assert (here.status, here.process_id) == ("starting", None)
    await here.__aexit__(None, None, None)
    assert here.status == "absent"


async def test_four_agents_write_at_once(tmp_path):
    """Each has a place: their pieces come in turns, and a fifth waits for one."""
    came = []

    async def write(agent, writer):
        async for _ in writer.stream(SYSTEM, f"Tell me about the number {agent}."):
            came.append(agent)  # noqa: PERF401 - the order of all of them counts

    async with model(tmp_path) as here, asyncio.timeout(WRITE_SECONDS):
        await asyncio.gather(*(write(agent, here.writer()) for agent in range(5)))
    assert set(came) == {0, 1, 2, 3, 4}
    first = came[0]
    others_before_its_end = set(came[: len(came) - came[::-1].index(first)])
    assert len(others_before_its_end) > 1


async def test_the_event_loop_turns_while_the_model_starts_and_writes(tmp_path):
    """Loading and writing are other people's work: between any two pieces the loop comes round many times."""
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    turning = asyncio.create_task(turn())
    async with model(tmp_path) as here:
        await until(lambda: here.status == "ready", timeout=START_SECONDS)
        while_starting, turns = turns, 0
        text = await text_of(here.writer())
    turning.cancel()
    assert text
    assert while_starting > 50  # it takes a good part of a second at best
    assert turns > 50


async def test_a_text_that_is_left_frees_its_place(tmp_path):
    """The engine stops writing what nobody reads: the next one need not wait for a thousand tokens."""
    async with model(tmp_path, slots=1, generation_tokens=1_000) as here:
        async with contextlib.aclosing(here.writer().stream(SYSTEM, "Write a very long story.")) as text:
            await asyncio.wait_for(anext(text), WRITE_SECONDS)
        before = here.process_id
        async with contextlib.aclosing(here.writer().stream(SYSTEM, "Tell me a joke.")) as text:
            await asyncio.wait_for(anext(text), WRITE_SECONDS)
        assert here.process_id == before


@pytest.mark.parametrize("text", ["A long story. ", "很长的故事。", "\U0001f642"], ids=["English", "Chinese", "emoji"])
async def test_a_question_that_is_too_long_loses_its_middle(tmp_path, text):
    """Its beginning and its end stay, as much as the window takes."""
    question = f"BEGINNING {text * (40_000 // len(text.encode()))} THE END"
    async with model(tmp_path, generation_tokens=4) as here:
        await until(lambda: here.status == "ready", timeout=START_SECONDS)
        fitting = await here._engine.fit(SYSTEM, question)
        assert await here._engine.fit(SYSTEM, fitting) == fitting
        assert fitting.startswith("BEGINNING ")
        assert fitting.endswith(" THE END")
        assert "[…]" in fitting
        assert await here._engine._count(fitting) > CONTEXT_TOKENS // 2
        assert await here._engine.fit(SYSTEM, "A short question.") == "A short question."


async def test_a_question_that_is_too_long_is_answered(tmp_path):
    """What is left fits into the window, with all that is around it."""
    async with model(tmp_path, generation_tokens=4) as here:
        assert await text_of(here.writer(), "很长的故事。" * 2_000)


async def test_an_engine_that_dies_is_started_again(tmp_path):
    """The text in the making breaks off, as one that may be tried again, and the next one is written."""

    async def read(writer):
        async for _ in writer.stream(SYSTEM, "Write a very long story."):
            if is_running(process_id):
                os.kill(process_id, signal.SIGKILL)

    async with model(tmp_path, generation_tokens=500) as here:
        await until(lambda: here.status == "ready", timeout=START_SECONDS)
        process_id = here.process_id
        with structlog.testing.capture_logs() as logs, pytest.raises(ModelFailed, match="broken") as caught:
            await asyncio.wait_for(read(here.writer()), WRITE_SECONDS)
        assert caught.value.is_passing
        await until(lambda: here.status == "starting")
        async with contextlib.aclosing(here.writer().stream(SYSTEM, "Tell me a joke.")) as text:
            assert await asyncio.wait_for(anext(text), WRITE_SECONDS)
        assert here.process_id not in (None, process_id)
    assert not [line for line in logs if line["event"] == "model_ended" and line["code"] != -signal.SIGKILL]


async def test_leaving_ends_the_process_at_once(tmp_path):
    """Also in the middle of a text, which breaks off."""
    async with model(tmp_path, generation_tokens=1_000) as here:
        writing = asyncio.create_task(text_of(here.writer(), "Write a very long story."))
        await until(lambda: here.status == "ready", timeout=START_SECONDS)
        process_id = here.process_id
        assert is_running(process_id)
    assert not is_running(process_id)
    with pytest.raises(ModelFailed) as caught:
        await writing
    assert caught.value.is_passing


async def test_leaving_while_it_starts_ends_the_process(tmp_path):
    """Nobody waits for a model that is not wanted any more."""
    async with model(tmp_path):
        await until(lambda: _engines_of(os.getpid()), timeout=START_SECONDS)
        [process_id] = _engines_of(os.getpid())
    assert not is_running(process_id)


def _engines_of(parent):
    """The engines that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            is_child = (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(parent)
            if is_child and b"llm/local/engine.py" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


async def test_a_file_that_is_no_model_leaves_the_texts_to_the_template(tmp_path):
    """The log says what is wrong, once; nothing is tried again and again."""
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 1_000)
    with structlog.testing.capture_logs() as logs:
        async with model(tmp_path, local_model_path=str(file)) as here:
            await until(lambda: here.status == "absent", timeout=START_SECONDS)
            assert here.writer() is None
            assert here.name == "broken"
            assert "could not be started" in here.hint
    [line] = [line for line in logs if line["event"] == "model_not_started"]
    assert "Failed to init" in line["reason"]


async def test_the_engine_answers_whoever_has_the_key(tmp_path):
    """Another program on this machine has no business with it, and a page in a browser neither."""
    async with model(tmp_path) as here, aiohttp.ClientSession() as session:
        await until(lambda: here.status == "ready", timeout=START_SECONDS)
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        for headers in ({}, {"Authorization": "Bearer guessed"}):
            url = f"{here._engine._address}/v1/chat/completions"
            async with session.post(url, json=body, headers={"Origin": "https://evil.example", **headers}) as answer:
                assert answer.status == 401
                assert answer.headers.get("Access-Control-Allow-Origin") not in ("*", "https://evil.example")


KILLED = """
import asyncio, sys
from server.config import LlmSection
from server.background.leader_lock import LeaderLock
from server.llm.local.model import LocalModel

async def main(database):
    async with LocalModel(LlmSection(), database, LeaderLock(database, "model")) as model:
        while model.status != "ready":
            await asyncio.sleep(0.01)
        sys.stderr.write(f"{model.process_id}\\n")
        await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(
    "hangs",
    [False, pytest.param(True, marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel does it"))],
    ids=["an engine that reads", "an engine that hangs"],
)
async def test_the_engine_ends_when_its_server_is_killed(tmp_path, hangs):
    """Nobody is left behind, however the server ends, and whatever its engine does."""
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, str(tmp_path / "towow.db")), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(START_SECONDS):
        process_id = int(await killed.stderr.readline())
    assert is_running(process_id)
    if hangs:
        os.kill(process_id, signal.SIGSTOP)
    killed.kill()
    await killed.wait()
    await until(lambda: not is_running(process_id))


async def test_a_server_writes_with_it_and_ends_in_the_middle(tmp_path):
    """It serves before the model is ready, prints its one line, logs nothing but its own lines, and Ctrl-C ends it and the
    engine."""
    environment = {"TOWOW__LLM__LOCAL": "true", "TOWOW__LLM__GENERATION_TOKENS": "1000"}
    with ServerProcess(tmp_path / "towow.db", environment=environment) as server:
        assert is_available(LlmSection())
        async with aiohttp.ClientSession(server.url, headers=credentials()) as client:
            async with asyncio.timeout(START_SECONDS):
                while (said := await (await client.get("/api/model")).json())["status"] != "ready":
                    assert said["kind"] == "local"
                    assert said["status"] == "starting"
            [process_id] = _engines_of(server.process.pid)
            async with client.post("/novachat", json={"prompt": "Tell me about the sea."}) as answer:
                async with asyncio.timeout(WRITE_SECONDS):
                    async for line in answer.content:
                        if b'"llm_chunk"' in line:
                            break
                assert b'"degraded":false' in line
                process = server.process
                process.send_signal(signal.SIGINT)
                assert await asyncio.to_thread(process.wait, 10) == 0
        assert process.stdout.read() == ""
        assert not is_running(process_id)
    lines = Path(f"{server.database}.log").read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert [line for line in map(json.loads, lines) if line["event"] == "model_ready"]
