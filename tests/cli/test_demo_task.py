"""`python run.py demo task`: a task that is emitted by a real process to a real server, and its plan."""

import re
import signal
from collections.abc import Iterator

import pytest

from server.cli.demo_plan import plan_task
from tests.cli.test_cli import Served, ask, read_line, run_cli, running
from tests.support import ServerProcess
from towow.events import uuid7


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server."""
    database = tmp_path_factory.mktemp("demo") / "towow.db"
    with ServerProcess(database, environment={"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}) as server:
        yield Served(server.url, database)


async def test_demo_task_emits_a_whole_task_and_says_where_to_watch_it(served: Served) -> None:
    """Phases, work items of which one fails and is done again, progress, the end; each line is on the server by then."""
    task_id = f"t-{uuid7()}"
    result = served.run("demo", "task", "--task-id", task_id, "--seconds", "0.2", "--items", "5")
    assert (result.code, result.err) == (0, "")
    assert f"{served.url}/tasks.html#{task_id}\n" in result.out
    assert f"curl -N '{served.url}/sse/tasks/{task_id}/events?allow_pending=1'\n" in result.out
    told = ask(f"{served.url}/api/tasks/{task_id}")
    assert (told["status"], told["phase"], told["progress"], told["work_items_completed"]) == ("completed", "verifying", 100, 5)
    lines = [line for line in result.out.splitlines() if re.match(r" *[0-9.]+ s  \S", line)]
    assert len(lines) == told["events"]
    assert "phase: planning" in lines[0]
    assert "complete: 5 work items" in lines[-1]
    assert [line for line in lines if "failed: the archive did not answer in time" in line]
    assert [line for line in lines if "begins, attempt 2" in line]


def test_demo_task_makes_a_task_of_its_own_in_either_language(served: Served) -> None:
    """Without an id every one is new."""
    ids = set()
    for lang, word in (("en", "Read the request"), ("zh", "阅读需求")):
        result = served.run("demo", "task", "--seconds", "0.1", "--lang", lang)
        assert result.code == 0
        assert word in result.out
        ids.add(re.search(r"^task +(\S+)$", result.out, re.MULTILINE)[1])
    assert len(ids) == 2
    assert {ask(f"{served.url}/api/tasks/{task_id}")["work_items_total"] for task_id in ids} == {9}


async def test_demo_task_that_is_left_cancels_the_task(served: Served) -> None:
    """Ctrl-C: who watches learns that nothing more will come."""
    task_id = f"t-{uuid7()}"
    command = ("demo", "task", "--task-id", task_id, "--seconds", "60")
    async with running(*command, TOWOW_SERVER=served.url, PYTHONUNBUFFERED="1") as process:
        while "phase: planning" not in (line := await read_line(process.stdout)):
            assert line, "the demonstration ended"
        process.send_signal(signal.SIGINT)
        _, error = await process.communicate()
    assert (process.returncode, error) == (130, b"\n")
    assert ask(f"{served.url}/api/tasks/{task_id}")["status"] == "cancelled"


def test_demo_task_refuses_what_the_server_refuses(served: Served) -> None:
    """A bad id, and a task that has ended."""
    assert served.run("demo", "task", "--task-id", "a b").code == 1
    task_id = f"t-{uuid7()}"
    assert served.run("demo", "task", "--task-id", task_id, "--seconds", "0.05").code == 0
    result = served.run("demo", "task", "--task-id", task_id, "--seconds", "0.05")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "ended" in result.err


@pytest.mark.parametrize("option", [["--task-id", "x"], ["--items", "3"]], ids=lambda option: option[0])
def test_options_of_the_task_go_with_the_task(option: list[str]) -> None:
    """A demand has none of them."""
    result = run_cli("demo", *option)
    assert (result.code, "demo task" in result.err) == (2, True)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("items", [1, 2, 3, 9, 40, 500])
def test_the_plan_of_a_task_is_in_order_and_ends(items: int, lang: str) -> None:
    """Every work item is started before it ends, progress never falls, and the last word is the end."""
    steps = plan_task(items, lang)
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert (steps[0].event_type, steps[-1].event_type, steps[-1].at) == ("phase_enter", "task_complete", 1.0)
    assert {step.phase for step in steps if step.event_type == "phase_enter"} == {"planning", "executing", "verifying"}
    progress = [step.payload["progress"] for step in steps if step.event_type == "progress_update"]
    assert progress == sorted(progress)
    assert 0 <= progress[0] <= progress[-1] <= 100
    of_items: dict[str, list[str]] = {}
    phase = None
    for step in steps:
        phase = step.phase if step.event_type == "phase_enter" else phase
        if step.span_id is not None:
            of_items.setdefault(step.span_id, []).append(step.event_type.removeprefix("work_item_"))
            assert step.event_type != "work_item_start" or step.phase == phase
    assert len(of_items) == items
    failing = [said for said in of_items.values() if said != ["start", "complete"]]
    assert failing == ([["start", "failed", "start", "complete"]] if items >= 3 else [])
