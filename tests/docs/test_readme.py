"""The README: short, the same in both languages, and every example of it works against a real server process."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.docs.reading import blocks, read, section
from tests.support import ROOT, ServerProcess

SECONDS = 90.0  # go compiles its standard library once
ENGLISH, CHINESE = read("README.md"), read("README.zh.md")
EXAMPLES = section(ENGLISH, "Follow from five languages")


def test_it_is_read_in_a_minute_and_begins_with_the_two_commands():
    """What it is, then how it is run: these two commands, on a machine that has only Python."""
    assert len(ENGLISH.splitlines()) <= 145
    assert blocks(ENGLISH, "sh")[:2] == ["pip install -e . && python run.py\n", "pip install -e '.[test]' && pytest\n"]


def test_both_languages_show_the_same():
    """Code, links and headings are the same ones; only the words differ."""
    assert blocks(CHINESE) == blocks(ENGLISH)
    chinese = CHINESE.replace("](README.md)", "](README.zh.md)")
    for pattern in (r"\]\(([^)]+)\)", r"(?m)^(#+) "):
        assert sorted(re.findall(pattern, chinese)) == sorted(re.findall(pattern, ENGLISH))
    assert len(CHINESE.splitlines()) <= len(ENGLISH.splitlines()) + 10


# The examples.


@pytest.fixture
def server(tmp_path):
    """A server process with an empty log."""
    with ServerProcess(tmp_path / "towow.db", environment={"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}) as process:
        yield process


def publish(server, event_type="note", **payload):
    """Append an event to the stream of the examples."""
    body = json.dumps({"stream": "task:42", "event_type": event_type, "payload": payload}).encode()
    request = urllib.request.Request(f"{server.url}/api/events", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=5).close()


def at(server, code):
    """An example as it is for this server."""
    return code.replace("http://127.0.0.1:8000", server.url)


def python_command(folder, code):
    """How the example in Python is started."""
    (folder / "reader.py").write_text(code, encoding="utf-8")
    return [sys.executable, "reader.py"]


def node_command(folder, code):
    """How the example in Node is started."""
    (folder / "reader.mjs").write_text(code, encoding="utf-8")
    return ["node", "reader.mjs"]


def go_command(folder, code):
    """How the example in Go is started; it is compiled first."""
    (folder / "reader.go").write_text(code, encoding="utf-8")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GO111MODULE": "off"}
    subprocess.run(["go", "build", "reader.go"], cwd=folder, env=environment, check=True)
    return ["./reader"]


def needs(program):
    """A mark for what only runs where a program is installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param(python_command, blocks(EXAMPLES, "python")[0], id="python"),
        pytest.param(node_command, blocks(EXAMPLES, "js")[1], id="node", marks=needs("node")),
        pytest.param(go_command, blocks(EXAMPLES, "go")[0], id="go", marks=needs("go")),
    ],
)
def test_an_example_goes_on_after_a_kill_and_ends_with_the_stream(server, tmp_path, command, code):
    """Each event once and in order, over a SIGKILL of the server, until the stream ends."""
    folder = tmp_path / "reader"
    folder.mkdir()
    arguments = command(folder, at(server, code))
    out = folder / "out.txt"

    def seqs():
        return [int(line.partition(" ")[0]) for line in out.read_text().splitlines()]

    def wait_for(count):
        deadline = time.monotonic() + SECONDS
        while len(seqs()) < count:
            assert time.monotonic() < deadline, out.read_text()
            assert process.poll() is None, out.read_text()
            time.sleep(0.02)

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with out.open("wb") as log, contextlib.ExitStack() as stack:
        publish(server, n=1)
        process = subprocess.Popen(arguments, cwd=folder, stdout=log, stderr=log, env=environment)
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_for(1)
        publish(server, n=2)
        wait_for(2)
        server.kill()
        server.start()
        publish(server, n=3)
        publish(server, "task_complete")
        assert process.wait(SECONDS) == 0, out.read_text()
    with urllib.request.urlopen(f"{server.url}/api/events?stream=task:42&since_seq=0", timeout=5) as answer:
        stored = [event["seq"] for event in json.load(answer)["events"]]
    assert seqs() == stored
    assert "hello" in out.read_text() or command is not python_command


@pytest.mark.slow
@needs("curl")
def test_the_example_for_curl_appends_reads_follows_and_resumes(server):
    """The block as it stands, in a shell in which curl gives up after a moment."""
    [code] = blocks(EXAMPLES, "sh")
    script = f'curl() {{ command curl -sS --max-time 2 "$@" 2>/dev/null; echo; echo ----; }}\n{at(server, code)}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    appended, page, followed, resumed, _ = done.stdout.split("----\n")
    assert json.loads(appended)["seq"] == 1
    assert [event["payload"] for event in json.loads(page)["events"]] == [{"text": "hello"}]
    assert re.search(r'^data: \{"seq":1,.*\}\nid: 1\.[1-9]{6}$', followed, re.MULTILINE)
    assert "event: ready" in followed
    assert "event: ready" in resumed
    assert '"seq":1,' not in resumed
