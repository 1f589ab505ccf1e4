"""Whatever anybody wrote into a run's stream: it folds, is told, has a row, and can be ended.

The histories have the words of the protocol with values that may be right, nearly right or anything."""

import json
from functools import partial

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.eventlog.queries import RowPage
from server.surfaces.generations import SURFACE, rendering
from server.surfaces.generations.commands import CancelRun
from server.surfaces.generations.model import decide, evolve
from server.surfaces.generations.projections import get_run, list_runs, project_run
from server.surfaces.generations.state import MODES, NO_TEXT, REASONS, STATUSES, TERMINAL_EVENTS, initial, stream_of
from tests.support import empty
from tests.surfaces.garbage import NUMBERS, anything
from tests.surfaces.garbage import mostly as garbage_mostly
from tests.surfaces.generations.generating import AT, NOVA_AGENTS, RUN
from towow.events import Event, payload_json

pytestmark = pytest.mark.slow

EVENT_TYPES = (
    "run_started",
    "agent_start",
    "llm_chunk",
    "agent_complete",
    "progress",
    "retrying",
    "error",
    "run_resumed",
    "run_complete",
    "run_failed",
    "note",
)
NAMES = st.sampled_from([*NOVA_AGENTS[:2], "poet", "a b", ""])
ANY = anything(NAMES, "agent", "name")
mostly = partial(garbage_mostly, other=ANY)
PLANNED = st.fixed_dictionaries({"name": mostly(NAMES)}, optional={"stage": mostly(NUMBERS), "task_description": ANY})
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "mode": mostly(st.sampled_from(["nova", "loomi"])),
        "prompt": mostly(st.just("tea")),
        "session_id": mostly(st.just("s-1")),
        "context": mostly(st.just({})),
        "language": mostly(st.just("zh")),
        "agents": mostly(st.lists(mostly(PLANNED), max_size=3)),
        "timeout_seconds": mostly(NUMBERS),
        "continues": mostly(st.just("r-1")),
        "agent": mostly(NAMES),
        "content": mostly(st.text(max_size=5)),
        "index": st.sampled_from([0, None, "1", True, 0.5, -1]),  # never one that a row does not look at
        "written_by": mostly(st.just("template")),
        "degraded": mostly(st.booleans()),
        "discards_text": mostly(st.booleans()),
        "restarts": mostly(st.lists(mostly(NAMES), max_size=3)),
        "percent": mostly(NUMBERS),
        "stage": mostly(NUMBERS),
        "completed": mostly(NUMBERS),
        "total": mostly(NUMBERS),
        "status": mostly(st.sampled_from(["completed", "failed", "cancelled"])),
        "reason": mostly(st.sampled_from(REASONS)),
        "result": mostly(st.just("done")),
        "partial": mostly(st.booleans()),
        "error": ANY,
        "error_type": ANY,
        "summary": ANY,
    },
)
HISTORIES = st.lists(st.tuples(st.sampled_from(EVENT_TYPES), PAYLOADS, mostly(NAMES)), max_size=14)
STARTS = st.tuples(st.just("run_started"), st.fixed_dictionaries({"mode": st.sampled_from(MODES), "prompt": st.just("tea")}))


def events_of(start, rest):
    """The history as the log gives it back: it ends with the first terminal event."""
    events = []
    for event_type, payload, source in [(*start, "towow"), *rest]:
        seq = len(events) + 1
        named = source if isinstance(source, str) and source.isidentifier() else "unknown"
        events.append(Event(seq, stream_of(RUN), seq, f"e{seq}", event_type, AT, named, payload_json(payload)))
        if event_type in TERMINAL_EVENTS:
            break
    return events


def folded(events):
    """The state after all of them."""
    state = initial(RUN)
    for event in events:
        state = evolve(state, event)
    return state


@settings(max_examples=200, deadline=None)
@given(STARTS, HISTORIES)
def test_any_history_folds_and_is_told_as_json(start, rest):
    """The detail has the documented types whatever was written, and the run can be cancelled unless it has ended."""
    events = events_of(start, rest)
    state = folded(events)
    told = json.loads(msgspec.json.encode(rendering.detail(state)))
    assert told["status"] in STATUSES
    assert (told["reason"] in REASONS) == (told["status"] in ("failed", "cancelled"))
    assert isinstance(told["context"], dict)
    assert (told["result"] is None) == (told["status"] != "completed")
    progress = told["progress"]
    assert all(isinstance(value, int) and value >= 0 for value in progress.values())
    assert progress["percent"] <= 100
    for agent in told["agents"]:
        assert agent["status"] in ("waiting", "running", "retrying", "completed", "failed")
        assert agent["characters"] == len(agent["text"])
        assert isinstance(agent["summary"], str)
        assert isinstance(agent["stage"], int)
    assert told["last_seq"] == len(events)
    for event in events:
        json.loads(rendering.encode_run_event(event))
    if state.status == "running":
        [end] = decide(state, CancelRun())
        payload = end.payload_json
        last = Event(99, stream_of(RUN), 99, "e99", end.event_type, AT, end.source, payload)
        assert evolve(state, last).status == "cancelled"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=STARTS, rest=HISTORIES)
def test_the_row_is_the_state_without_its_texts(migrated, start, rest):
    """After any history, and after the same one again."""
    empty(migrated, SURFACE.tables)
    events = events_of(start, rest)
    for event in (*events, *events):
        project_run(migrated, event)
    assert without_texts(get_run(migrated, RUN)) == without_texts(folded(events))
    assert [state.run_id for state in list_runs(migrated, RowPage(10))[0]] == [RUN]


def without_texts(state):
    """What a row has of a state; events that mean nothing do not move it."""
    agents = {name: msgspec.structs.replace(agent, text=NO_TEXT, next_try_at="") for name, agent in state.agents.items()}
    nothing = {"context": {}, "timeout_seconds": 0.0, "error": "", "result": ""}
    return msgspec.structs.replace(state, agents=agents, **nothing, updated_at="", last_seq=0, revision=0)
