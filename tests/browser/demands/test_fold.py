"""The page and the server read a negotiation in the same way: same table, same answers that count, whatever is appended."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.surfaces.demands import model, rendering
from server.surfaces.demands.planning import price_of
from server.surfaces.demands.state import initial
from towow.events import Event, timestamp_of

STATIC = Path(__file__).resolve().parents[3] / "server" / "static"
AGENTS = ("bob", "ann", "cy", "maria", "eve", "__proto__", "no id", "x" * 123)
INVITED = ("bob", "ann", "cy", "__proto__", "no id", "x" * 123)
DEEP: dict[str, Any] = {"a": [[[[[[[[1]]]]]]]]}
GARBAGE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 2, 3.5, 86_401, 10**12, "", "  ", "bob", "x", "长" * 1001, [], ["bob", "bob", 7, None, " "]),
    *([{}], {}, {"price": "3"}, {"price": 3, "note": "x" * 5000}, DEEP, ["x" * 1001, "y"], [str(n) for n in range(150)]),
)
ENDS = ("towow.proposal.finalized", "towow.negotiation.failed", "towow.negotiation.cancelled")
TYPES = tuple(dict.fromkeys(event_type for _, event_type in model.TRANSITIONS))

needs_node = pytest.mark.usefixtures("node")


def run_node(script: str, given: Any = None) -> Any:
    """The JSON that a script prints."""
    node = shutil.which("node") or "node"
    done = subprocess.run(
        [node, "--input-type=module"] if script.endswith(";") else [node, script],
        input=script if script.endswith(";") else json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class History:
    """Random events of one demand: mostly in a sensible order, with every kind of field wrong now and then."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._wrong = self._random.choice((0.0, 0.05, 0.3))
        self._rounds = 0
        self.events = [self._event(seq) for seq in range(1, self._random.randrange(2, 40))]

    def _event(self, seq: int) -> dict[str, Any]:
        sensible = TYPES[seq - 1] if seq <= 3 else self._random.choice([each for each in TYPES[3:] if each not in ENDS])
        event_type = self._random.choice((*TYPES, "note")) if self._random.random() < max(0.03, self._wrong) else sensible
        payload = {key: self._maybe_wrong(value) for key, value in self._payload(event_type).items()}
        if event_type == "towow.proposal.distributed":
            self._rounds += 1
        return {"seq": seq * 2, "event_type": event_type, "timestamp": timestamp_of(1_767_225_600.0 + seq), "payload": payload}

    def _maybe_wrong(self, value: Any) -> Any:
        return self._random.choice(GARBAGE) if self._random.random() < self._wrong else value

    def _payload(self, event_type: str) -> dict[str, Any]:
        agent = self._random.choice(AGENTS)
        who: dict[str, Any] = {"agent_id": agent} if self._random.random() < 0.8 else {"user_id": self._random.choice(AGENTS)}
        subnet_ids = (None, None, "d-1.1")
        parts = [
            {"agent_id": each, "terms": {"price": 5}, "offered_price": 6, "subnet_id": self._random.choice(subnet_ids)}
            for each in self._random.sample(AGENTS, 3)
        ]
        payloads: dict[str, dict[str, Any]] = {
            "towow.demand.understood": {
                "surface_demand": "x",
                "user_id": "maria",
                "confirm": self._random.random() < 0.5,
                "capabilities": [{"capability": self._maybe_wrong("c"), "term": self._maybe_wrong("t")}] * 2,
            },
            "towow.filter.completed": {"candidates": [{"agent_id": each} for each in INVITED]},
            "towow.demand.broadcast": {"agent_ids": list(INVITED), "offers_within_seconds": 9},
            "towow.offer.submitted": {
                "agent_id": agent,
                "offer": {
                    "content": self._maybe_wrong("c"),
                    "capabilities": self._maybe_wrong(["a", "b"]),
                    "terms": self._maybe_wrong({"price": 1}),
                    "needs": self._maybe_wrong([]),
                },
            },
            "towow.offer.declined": {"agent_id": agent, "reason": "r"},
            "towow.gap.identified": {"capability": "c", "reason": "needed_by", "needed_by": agent, "round": 1},
            "towow.subnet.triggered": {"subnet_id": f"d-1.{self._random.randrange(3)}", "capability": "c", "within_seconds": 7},
            "towow.subnet.completed": {"subnet_id": f"d-1.{self._random.randrange(3)}", "outcome": "finalized", "reason": "r"},
            "towow.proposal.distributed": {
                "proposal_id": f"p{self._rounds + 1}",
                "round": self._rounds + 1,
                "assignments": parts,
                "missing": ["c"],
                "total_price": 15,
                "feedback_within_seconds": 8,
            },
            "towow.proposal.feedback": {
                **who,
                "proposal_id": f"p{self._rounds}",
                "decision": self._random.choice(("accept", "revise", "reject")),
                "comment": "c",
            },
        }
        payloads["deadline.extended"] = {"seconds": self._random.choice((0, 7, -3, "9", 10**7))}
        return payloads.get(event_type, {"reason": "r", "message": "m"})


def told_by_server(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The server's fold of a history, in the shape of `fold.mjs`."""
    state = initial("d-1")
    for revision, event in enumerate(events, start=1):
        payload_json = json.dumps(event["payload"])
        stored = Event(
            seq=event["seq"],
            stream="demand:d-1",
            revision=revision,
            event_id=f"id-{revision}",
            event_type=event["event_type"],
            timestamp=event["timestamp"],
            source="test",
            payload_json=payload_json,
        )
        state = model.evolve(state, stored)
    detail = rendering.detail(state)
    ends = dict(zip(ENDS, ("finalized", "failed", "cancelled"), strict=True))
    same = ("phase", "status", "current_round", "last_seq", "surface_demand", "user_id", "confirm")
    return {
        **{key: detail[key] for key in same},
        "candidates": list(dict.fromkeys(each["agent_id"] for each in detail["candidates"])),
        "capabilities": [[each["capability"], each["term"]] for each in detail["understanding"]["capabilities"]],
        "offers": [
            [
                each["agent_id"],
                each["content"],
                list(dict.fromkeys(each["capabilities"])),
                list(each["terms"]),
                list(dict.fromkeys(each["needs"])),
                each["seq"],
            ]
            for each in detail["offers"]
        ],
        "declined": [[each["agent_id"], each["reason"], each["seq"]] for each in detail["declined"]],
        "waiting_for": list(dict.fromkeys(detail["waiting_for"])),
        "deadline_at": detail["deadline_at"],
        "proposals": [
            {
                "proposal_id": each["proposal_id"],
                "round": each["round"],
                "total_price": each["total_price"],
                "missing": list(dict.fromkeys(each["missing"])),
                "assignments": [
                    [part["agent_id"], price_of(part["terms"]), part["offered_price"], part["subnet_id"] or ""]
                    for part in each["assignments"]
                ],
                "feedback": [
                    [said["by"], said["is_user"], said["decision"], said["comment"], said["seq"]] for said in each["feedback"]
                ],
            }
            for each in detail["proposals"]
        ],
        "gaps": [
            [each["capability"], each["reason"], each["needed_by"] or "", each["round"], each["seq"]] for each in detail["gaps"]
        ],
        "subnets": [
            [each["subnet_id"], each["capability"], each["outcome"] or "", each["reason"], each["seq"]]
            for each in detail["subnets"]
        ],
        "outcome": detail["outcome"]
        and [ends[detail["outcome"]["event_type"]], *(detail["outcome"][key] for key in ("reason", "message", "seq"))],
    }


@needs_node
def test_the_page_has_the_table_of_the_server() -> None:
    """Every phase and event type leads to the same phase in both."""
    module = (STATIC / "js" / "demands" / "phases.js").as_uri()
    table = run_node(f'import {{ TRANSITIONS }} from "{module}"; process.stdout.write(JSON.stringify(TRANSITIONS));')
    rows = {(phase, event_type): after for phase, row in table.items() for event_type, after in row.items()}
    assert rows == model.TRANSITIONS
    assert set(table) == set(model.PHASES)


@needs_node
def test_the_page_folds_any_history_as_the_server_does() -> None:
    """Random histories, right and wrong: phase, who counts, who is awaited until when, and the outcome are the same."""
    histories = [History(seed).events for seed in range(1_500)]
    shown = run_node(str(Path(__file__).with_name("fold.mjs")), histories)
    phases = set()
    for events, fold in zip(histories, shown, strict=True):
        expected = told_by_server(events)
        fold["waiting_for"] = list(dict.fromkeys(fold["waiting_for"]))
        assert fold == expected, events
        phases.add(expected["phase"])
    assert phases == set(model.PHASES)
