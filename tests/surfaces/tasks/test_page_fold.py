"""The page and the server read a task in the same way, whatever anybody has appended: the same fold, run by node."""

import json
import subprocess

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from server.surfaces.tasks import rendering
from server.surfaces.tasks.model import evolve
from server.surfaces.tasks.state import initial
from tests.support import ROOT, require
from tests.surfaces.tasks.test_projections import HISTORIES, stored

# Reads one list of flat events a line, answers with the state after them.
SCRIPT = """
import {{ createInterface }} from "node:readline";
const {{ NEW_TASK, foldTask, taskEventOf }} = await import({path});
for await (const line of createInterface({{ input: process.stdin }})) {{
  const task = foldTask(NEW_TASK, JSON.parse(line).map(taskEventOf));
  console.log(JSON.stringify({{ ...task, items: [...task.items.values()] }}));
}}
"""


@pytest.fixture(scope="module")
def page():
    """The page's fold as a process: a function from flat events to its state."""
    node = require("node", "no node: apt-get install nodejs")
    path = json.dumps((ROOT / "server" / "static" / "js" / "tasks" / "state.js").as_uri())
    command = [node, "--input-type=module", "-e", SCRIPT.format(path=path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def fold(events):
            process.stdin.write(b"[" + b",".join(events) + b"]\n")
            process.stdin.flush()
            return msgspec.json.decode(process.stdout.readline())

        yield fold
        process.stdin.close()


def printable(value):
    """A text without blanks other than spaces: the two languages do not trim the same ones. Anything else as it is."""
    return "".join(character for character in value if character.isprintable()) if isinstance(value, str) else value


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@given(HISTORIES)
def test_the_page_and_the_server_fold_the_same_history_to_the_same_state(page, history):
    """Status, phase, progress, counts, and every work item with its name and times."""
    events = stored(
        [(event_type, {key: printable(value) for key, value in payload.items()}) for event_type, payload in history]
    )
    state = initial("t-1")
    for event in events:
        state = evolve(state, event)
    seen = page([rendering.encode_task_event(event) for event in events])
    told = rendering.detail(state)
    assert seen["events"] == state.revision
    assert seen["lastSeq"] == state.last_seq
    if not events:
        return
    assert (seen["status"], seen["phase"] or None) == (state.status, state.phase)
    assert seen["progress"] == state.progress
    assert seen["counts"] == {name: told[f"work_items_{name}"] for name in ("running", "completed", "failed")}
    assert (seen["createdAt"], seen["updatedAt"]) == (state.created_at, state.updated_at)
    items = [
        (each["spanId"], each["status"], each["name"] or None, each["startedAt"] or None, each["endedAt"] or None)
        for each in seen["items"]
    ]
    expected = [
        (each["span_id"], each["status"], each["name"], each["started_at"], each["ended_at"]) for each in told["work_items"]
    ]
    assert items == expected
