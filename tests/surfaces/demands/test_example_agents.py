"""The Python agent of docs/demands.md as it stands there: its own process, and a server process without sample agents."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.support import ROOT, ServerProcess, read_rows
from tests.support.negotiations import until_told

pytestmark = pytest.mark.slow

SECONDS = 20.0


def example(language):
    """The code block of "Write an agent" in this language."""
    section = (ROOT / "docs/demands.md").read_text(encoding="utf-8").partition("\n## Write an agent\n")[2]
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    return blocks[0]


class AgentProcess:
    """`python agent.py AGENT_ID SERVER` in a directory of its own, where it keeps its cursor."""

    def __init__(self, directory, url):
        self.out = directory / "agent.log"
        self._directory = directory
        self._url = url
        (directory / "agent.py").write_text(example("python"), encoding="utf-8")
        self._process = None

    def start(self):
        """Start it; what it prints goes on in the same file."""
        with self.out.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "agent.py", "hall", self._url],
                cwd=self._directory,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def kill(self):
        """SIGKILL, if it runs; it must not have ended by itself."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            assert self._process.wait(SECONDS) == -signal.SIGKILL, self.out.read_text()
            self._process = None

    @property
    def cursor(self):
        """What it has answered, a seq; 0 before the first."""
        path = self._directory / "hall.cursor"
        return int(path.read_text().partition(".")[0] or 0) if path.exists() else 0


def wait_for(condition, *, seconds=SECONDS):
    """The first true result of a condition that other processes bring about."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return result


def post(server, path, body):
    """POST JSON and decode the answer."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(server.url + path, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def submit(server, text):
    """Submit a demand; its id."""
    return post(server, "/api/demand/submit", {"raw_input": text})["demand_id"]


def ended(server, demand_id):
    """The demand when it has ended."""
    return until_told(server, demand_id, lambda told: told["status"] != "processing", timeout=SECONDS)


@pytest.fixture
def server(tmp_path):
    """A server where nobody answers but the agent."""
    with ServerProcess(tmp_path / "towow.db", environment={"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}) as process:
        yield process


@pytest.fixture
def agent(tmp_path, server):
    """The agent of docs/demands.md, registered and running."""
    process = AgentProcess(tmp_path, server.url)
    process.start()
    try:
        wait_for(lambda: server.get("/api/events?stream=agent:*&since_seq=0&wait=2")["events"])
        yield process
    finally:
        process.kill()


def test_the_agent_of_the_readme_negotiates_to_the_end(server, agent):
    """It offers, accepts, and prints the outcome."""
    demand_id = submit(server, "We need a venue for 30 people")
    told = ended(server, demand_id)
    assert told["status"] == "finalized"
    assert [(offer["agent_id"], offer["terms"]["price"]) for offer in told["offers"]] == [("hall", 400)]
    wait_for(lambda: f"{demand_id} towow.proposal.finalized" in agent.out.read_text())


def test_the_agent_of_the_readme_knows_its_limits(server, agent):
    """It declines what is too large, and asks for its price where less is proposed."""
    told = ended(server, submit(server, "We need a venue for 200 people"))
    assert [(each["agent_id"], each["reason"]) for each in told["declined"]] == [("hall", "There are 60 seats.")]
    assert (told["status"], told["offers"]) == ("failed", [])
    told = ended(server, submit(server, "We need a venue for 30 people, the budget is 100 USD"))
    assert (told["status"], told["outcome"]["reason"]) == ("failed", "over_budget")
    feedback = told["proposals"][0]["feedback"]
    assert [(each["by"], each["decision"], each["terms"]["price"]) for each in feedback] == [("hall", "revise", 400)]


def test_the_agent_of_the_readme_goes_on_where_it_was(server, agent):
    """Killed and started again it answers what came in between and nothing twice, also when its cursor is behind or lost."""
    first = submit(server, "We need a venue for 30 people")
    last_seq = ended(server, first)["last_seq"]
    wait_for(lambda: agent.cursor >= last_seq)
    agent.kill()
    second = submit(server, "We need a venue for 40 people")
    (agent.out.parent / "hall.cursor").unlink()
    agent.start()
    assert ended(server, second)["status"] == "finalized"
    wait_for(lambda: f"{second} towow.proposal.finalized" in agent.out.read_text())
    types = [
        event.event_type for event in read_rows(server.database) if event.stream in (f"demand:{first}", f"demand:{second}")
    ]
    assert types.count("towow.offer.submitted") == types.count("towow.proposal.feedback") == 2
    assert "Traceback" not in agent.out.read_text()


def test_the_agent_of_the_readme_survives_the_server(server, agent):
    """A server that is killed and started again finds it there."""
    assert ended(server, submit(server, "We need a venue for 30 people"))["status"] == "finalized"
    server.kill()
    server.start()
    assert ended(server, submit(server, "We need a venue for 40 people"))["status"] == "finalized"
    assert "Traceback" not in agent.out.read_text()
