"""Three agents in their own processes negotiate over HTTP while the server is killed after every event in turn."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from server.eventlog.database import sqlite3
from tests.support import ROOT, ServerProcess, check_file

ENVIRONMENT = {
    "TOWOW__STREAM__RETRY_MILLISECONDS": "30",
    "TOWOW__DEMANDS__SAMPLE_AGENTS": "false",
    "TOWOW__DEMANDS__OFFER_TIMEOUT_SECONDS": "60",
    "TOWOW__DEMANDS__FEEDBACK_TIMEOUT_SECONDS": "60",
}
AGENTS = (("a-venue", "-", "venue", "no"), ("b-talk", "a-venue", "speaker", "yes"), ("c-photo", "b-talk", "photography", "no"))
TEXT = "We need a venue, a speaker, a photographer and catering."
PATIENCE_SECONDS = 30.0
# What differs between two negotiations that went the same way: places in the log and times.
PLACES = {"seq", "timestamp", "created_at", "updated_at", "created_seq", "last_seq", "deadline_at", "offer_seq"}


def told(value, demand_id):
    """A value without places and times, and with every id in terms of the demand's."""
    if isinstance(value, dict):
        return {key: told(each, demand_id) for key, each in value.items() if key not in PLACES}
    if isinstance(value, list):
        return [told(each, demand_id) for each in value]
    if isinstance(value, str):
        return value.replace(demand_id, "DEMAND").replace(demand_id.removeprefix("d-"), "ID")
    return value


class Watcher:
    """Looks at the file beside the server."""

    def __init__(self, path):
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    def close(self):
        """Close the connection."""
        self._db.close()

    def rows(self, sql, *parameters):
        """The rows of a query."""
        return self._db.execute(sql, parameters).fetchall()

    def until(self, look):
        """Look again and again until there is something."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (found := look()):
            assert time.monotonic() < end, f"nothing came: {self.rows('SELECT seq, stream, event_type FROM events')[-8:]}"
            time.sleep(0.0005)
        return found

    def demand(self, number):
        """The id of the nth demand, from 1, once it is there."""
        sql = "SELECT demand_id FROM demands WHERE parent_demand_id IS NULL ORDER BY created_seq LIMIT 1 OFFSET ?"
        return self.until(lambda: self.rows(sql, number - 1))[0][0]

    def revision(self, demand_id):
        """How many events a demand has."""
        return self.rows("SELECT max(revision) FROM events WHERE stream = ?", f"demand:{demand_id}")[0][0] or 0

    def has_ended(self, demand_id):
        """Whether a demand has ended."""
        return self.rows("SELECT 1 FROM demands WHERE demand_id = ? AND status <> 'processing'", demand_id)

    def story(self, demand_id):
        """The events of a demand and its sub-negotiations, stream by stream, as told."""
        sql = "SELECT stream, event_type, payload FROM events WHERE stream = ? OR stream GLOB ? ORDER BY stream, revision"
        rows = self.rows(sql, f"demand:{demand_id}", f"demand:{demand_id}.*")
        return [(told(stream, demand_id), name, told(json.loads(payload), demand_id)) for stream, name, payload in rows]


def submit(server):
    """Ask; the answer may be lost with the server."""
    request = urllib.request.Request(
        f"{server.url}/api/demand/submit",
        data=json.dumps({"raw_input": TEXT}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
        json.load(answer)


def answers(server, watcher, demand_id):
    """What both routes say once the server has announced the end that is in the file."""
    watcher.until(lambda: server.get(f"/api/demand/{demand_id}/status")["status"] != "processing")
    return server.get(f"/api/demand/{demand_id}"), server.get(f"/api/demand/{demand_id}/status")


@pytest.fixture
def scene(tmp_path):
    """A server, a watcher of its file, and three agents that outlive it."""
    database = tmp_path / "towow.db"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(ServerProcess(database, environment=ENVIRONMENT))
        watcher = stack.enter_context(contextlib.closing(Watcher(database)))
        for agent_id, before, capability, revises in AGENTS:
            log = stack.enter_context((tmp_path / f"{agent_id}.log").open("wb"))
            command = [
                sys.executable,
                "-m",
                "tests.support.negotiating_agent",
                server.url,
                agent_id,
                before,
                capability,
                revises,
            ]
            agent = subprocess.Popen([*command, str(tmp_path / f"{agent_id}.jsonl")], cwd=ROOT, stderr=log)
            stack.callback(agent.wait)
            stack.callback(agent.kill)
        watcher.until(lambda: len(watcher.rows("SELECT 1 FROM agents")) == len(AGENTS))
        yield server, watcher
        for path in tmp_path.glob("*.log"):
            print(path.name, path.read_text()[-2000:])


@pytest.mark.timeout(600)
def test_a_kill_after_every_event_changes_nothing_of_a_negotiation(scene, tmp_path):
    """Outcome, event sequence and both answers are those of a negotiation without kills, and no agent is told anything
    twice."""
    server, watcher = scene
    submit(server)
    demand_id = watcher.demand(1)
    watcher.until(lambda: watcher.has_ended(demand_id))
    story = watcher.story(demand_id)
    detail, status = (told(each, demand_id) for each in answers(server, watcher, demand_id))
    types = [name for stream, name, _ in story if stream == "demand:DEMAND"]
    assert types[-1] == "towow.proposal.finalized"
    assert {"towow.gap.identified", "towow.subnet.completed", "towow.proposal.feedback"} <= set(types)
    assert (status["status"], status["current_round"]) == ("finalized", 2)

    def negotiate(number, kills):
        submit(server)
        demand_id = watcher.demand(number)
        killed_at = []
        for revision in kills:
            watcher.until(lambda revision=revision: watcher.revision(demand_id) >= revision)
            if killed_at and watcher.revision(demand_id) <= killed_at[-1]:
                continue
            server.kill()
            killed_at.append(watcher.revision(demand_id))
            server.start()
        watcher.until(lambda: watcher.has_ended(demand_id))
        assert watcher.story(demand_id) == story
        said = answers(server, watcher, demand_id)
        assert [told(each, demand_id) for each in said] == [detail, status]
        return demand_id, said, killed_at

    places = range(1, len(types) + 1)
    told_before = [negotiate(n + 1, [n]) for n in places]
    # One negotiation that is killed after each of its events.
    told_before.append(negotiate(len(types) + 2, places))
    killed = {revision for _, _, killed_at in told_before[:-1] for revision in killed_at}
    assert len(killed) > len(types) // 2, killed
    assert len(told_before[-1][2]) > len(types) // 2, told_before[-1][2]

    server.kill()
    server.start()
    for demand_id, said, _ in told_before:
        assert answers(server, watcher, demand_id) == said
        with urllib.request.urlopen(f"{server.url}/api/events/stream/{demand_id}?after={said[1]['last_seq']}") as ended:
            assert ended.status == 204

    for agent_id, *_ in AGENTS:
        named = "coalesce(event_id, 'evt-' || (SELECT epoch FROM histories) || '-' || seq)"  # NULL where nobody chose an id
        sql = f"SELECT seq, {named} FROM events WHERE stream = ? AND event_type GLOB 'towow.*' ORDER BY seq"
        stored = [list(row) for row in watcher.rows(sql, f"agent:{agent_id}")]
        transcript = tmp_path / f"{agent_id}.jsonl"

        def heard(transcript=transcript):
            return [json.loads(line) for line in transcript.read_text().splitlines()]

        watcher.until(lambda heard=heard, stored=stored: len(heard()) >= len(stored))
        assert [[each["seq"], each["event_id"]] for each in heard()] == stored
        said = [(e["event_type"], e["payload"]["demand_id"], e["payload"].get("round")) for e in heard()]
        assert len(said) == len(set(said))
        assert len({demand for _, demand, _ in said}) == len(types) + 2
    server.stop()
    check_file(tmp_path / "towow.db")
