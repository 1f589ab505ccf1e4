"""The page and the server read a run in the same way: same tables, same texts and ends, whatever is appended."""

import json
import random
from pathlib import Path
from typing import Any

from server.surfaces.generations import model, rendering
from server.surfaces.generations.plans import planned_agents
from server.surfaces.generations.state import AGENT_START, MODES, REASONS, RUN_STARTED, STATUSES, initial
from tests.browser.demands.test_fold import STATIC, needs_node, run_node
from towow.events import Event, timestamp_of

AGENTS = ("insight_agent", "profile_agent", "content_agent", "__proto__", "constructor")
TYPES = tuple(dict.fromkeys(step.partition(":")[0] for _, step in model.TRANSITIONS))
GARBAGE: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    3,
    2.5,
    10**9,
    "",
    "  ",
    "nova",
    "👍 长文\n",
    [],
    {},
    ["insight_agent", 7],
    {"name": 1},
)


class History:
    """Random events of one run: mostly in a sensible order, with every kind of field wrong now and then."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._wrong = self._random.choice((0.0, 0.05, 0.3))
        self.events = [self._event(seq) for seq in range(1, self._random.randrange(2, 60))]

    def _event(self, seq: int) -> dict[str, Any]:
        usual = [each for each in TYPES if each not in (RUN_STARTED, "run_complete", "run_failed")]
        event_type = RUN_STARTED if seq == 1 else self._random.choice(usual)
        if 1 < seq < 6:
            event_type = AGENT_START
        if self._random.random() < max(0.03, self._wrong):
            event_type = self._random.choice((*TYPES, "note", "toString"))
        return {
            "seq": seq * 2,
            "event_type": event_type,
            "agent_source": self._random.choice(AGENTS),
            "timestamp": timestamp_of(1_767_225_600.0 + seq),
            "payload": {key: self._maybe_wrong(value) for key, value in self._payload(event_type).items()},
        }

    def _maybe_wrong(self, value: Any) -> Any:
        return self._random.choice(GARBAGE) if self._random.random() < self._wrong else value

    def _payload(self, event_type: str) -> dict[str, Any]:
        agents = [{"name": name, "task_description": "t", "stage": self._maybe_wrong(1)} for name in AGENTS]
        payloads: dict[str, dict[str, Any]] = {
            "run_started": {
                "mode": self._random.choice(MODES),
                "prompt": "write",
                "session_id": "s",
                "continues": "r-0",
                "agents": self._maybe_wrong(agents),
            },
            "llm_chunk": {
                "content": self._random.choice(("a ", "\n", "长", "👍")),
                "written_by": "m",
                "degraded": self._random.random() < 0.2,
            },
            "agent_complete": {"summary": "s"},
            "progress": {"percent": 50, "stage": 1, "completed": 1, "total": 4},
            "retrying": {"error": "e", "error_type": "busy", "delay_seconds": 1, "discards_text": self._random.random() < 0.5},
            "error": {"error": "e", "error_type": "busy"},
            "run_resumed": {"restarts": list(self._random.sample(AGENTS, 3))},
            "run_complete": {"result": "r", "partial": self._random.random() < 0.5, "degraded": False},
            "run_failed": {
                "status": self._random.choice(("failed", "cancelled")),
                "reason": self._random.choice(REASONS),
                "error": "e",
            },
        }
        payload = payloads.get(event_type, {})
        return payload if self._random.random() < 0.3 else {**payload, "agent": self._random.choice(AGENTS)}


def told_by_server(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The server's fold of a history, in the shape of `run-fold.mjs`."""
    state = initial("r-1")
    for revision, event in enumerate(events, start=1):
        stored = Event(
            seq=event["seq"],
            stream="run:r-1",
            revision=revision,
            event_id=f"id-{revision}",
            event_type=event["event_type"],
            timestamp=event["timestamp"],
            source=event["agent_source"],
            payload_json=json.dumps(event["payload"]),
        )
        state = model.evolve(state, stored)
    detail = rendering.detail(state)
    for key in ("run_id", "context", "language", "created_at", "updated_at"):
        del detail[key]
    return detail


@needs_node
def test_the_page_has_the_tables_of_the_server() -> None:
    """Every state and step leads to the same state in both, and both know the same agents and reasons."""
    module = (STATIC / "js" / "generations" / "tables.js").as_uri()
    told = run_node(f'import * as tables from "{module}"; process.stdout.write(JSON.stringify(tables));')
    for name, expected in (("TRANSITIONS", model.TRANSITIONS), ("AGENT_TRANSITIONS", model.AGENT_TRANSITIONS)):
        assert {(state, step): after for state, row in told[name].items() for step, after in row.items()} == expected
    assert told["PLANS"] == {
        mode: [[agent.name, agent.stage] for agent in planned_agents(mode, "en").values()] for mode in MODES
    }
    assert tuple(told["REASONS"]) == REASONS


@needs_node
def test_the_page_folds_any_history_of_a_run_as_the_server_does() -> None:
    """Random histories, right and wrong: every text, state, retry and end is the same."""
    histories = [History(seed).events for seed in range(1_500)]
    shown = run_node(str(Path(__file__).with_name("run-fold.mjs")), histories)
    statuses = set()
    for events, fold in zip(histories, shown, strict=True):
        expected = told_by_server(events)
        planned = {agent.name: agent.task_description for agent in planned_agents(expected["mode"], "en").values()}
        for agent in fold["agents"]:
            agent["task_description"] = agent["task_description"] or planned.get(
                agent["name"], ""
            )  # the page has none of its own
        assert fold == expected, events
        statuses.add(expected["status"])
    assert statuses == {"new", *STATUSES}
