"""A run's life as tables and pure functions: what may follow what, what events change, what commands become.

    new ── run_started ──> running ── run_complete ──> completed
                              └────── run_failed ────> failed | cancelled

While a run is running its agents have lives of their own, in `AGENT_TRANSITIONS`. An event without a row in the tables only
moves the position, because anybody may append to the stream; a command whose event has none is refused and nothing is stored.
`commands.py` has what may be asked, `telling.py` the events that it becomes, `folding.py` reads what events say."""

from collections.abc import Callable
from typing import Any, assert_never

import msgspec

from server.surfaces.generations import folding, telling
from server.surfaces.generations.commands import (
    AgentCompleted,
    AgentFailed,
    AgentStarted,
    Cancel,
    Chunk,
    Command,
    Completed,
    Failed,
    Resumed,
    Retrying,
    Start,
)
from server.surfaces.generations.state import (
    AGENT_COMPLETE,
    AGENT_START,
    ERROR,
    LLM_CHUNK,
    MAX_RESUMES,
    PROGRESS,
    RETRYING,
    RUN_COMPLETE,
    RUN_FAILED,
    RUN_RESUMED,
    RUN_STARTED,
    Agent,
    AgentStatus,
    RunState,
    Status,
)
from towow.errors import Conflict, NotFound
from towow.events import Event, NewEvent

# (status, step) -> status. A step is an event type; the end by a cancel is named with it.
TRANSITIONS: dict[tuple[Status, str], Status] = {
    ("new", RUN_STARTED): "running",
    ("running", AGENT_START): "running",
    ("running", LLM_CHUNK): "running",
    ("running", AGENT_COMPLETE): "running",
    ("running", PROGRESS): "running",
    ("running", RETRYING): "running",
    ("running", ERROR): "running",
    ("running", RUN_RESUMED): "running",
    ("running", RUN_COMPLETE): "completed",
    ("running", RUN_FAILED): "failed",
    ("running", f"{RUN_FAILED}:cancelled"): "cancelled",
}

# The same for each agent of a run that is running; `run_resumed` is about the agents that it names.
AGENT_TRANSITIONS: dict[tuple[AgentStatus, str], AgentStatus] = {
    ("waiting", AGENT_START): "running",
    ("running", LLM_CHUNK): "running",
    ("running", RETRYING): "retrying",
    ("running", AGENT_COMPLETE): "completed",
    ("running", ERROR): "failed",
    ("running", RUN_RESUMED): "waiting",
    ("retrying", LLM_CHUNK): "running",
    ("retrying", RETRYING): "retrying",
    ("retrying", ERROR): "failed",
    ("retrying", RUN_RESUMED): "waiting",
}

_AGENT_FOLDS: dict[str, Callable[[Agent, dict[str, Any]], Agent]] = {
    AGENT_START: folding.begun,
    LLM_CHUNK: folding.written,
    AGENT_COMPLETE: folding.completed,
    RETRYING: folding.retrying,
    ERROR: folding.failed,
}


def evolve(state: RunState, event: Event) -> RunState:
    """The state after one more event of the stream; an event at or before `last_seq` changes nothing."""
    if event.seq <= state.last_seq:
        return state
    changes = _changes(state, event) if (state.status, event.event_type) in TRANSITIONS else {}
    return msgspec.structs.replace(state, last_seq=event.seq, revision=event.revision, updated_at=event.timestamp, **changes)


def _changes(state: RunState, event: Event) -> dict[str, Any]:
    if event.event_type == RUN_STARTED:
        fields = folding.started(event)
        return {} if fields is None else {**fields, "status": "running"}
    payload = event.payload
    fold = _AGENT_FOLDS.get(event.event_type)
    if fold is not None:
        agent = folding.agent_of(state, event, payload)
        if agent is None or (agent.status, event.event_type) not in AGENT_TRANSITIONS:
            return {}
        after = fold(agent, payload)
        agents = {**state.agents, agent.name: after}
        return {"agents": agents, "degraded": any(each.degraded for each in agents.values())}
    if event.event_type == PROGRESS:
        return {"progress": folding.progress_of(state, payload)}
    if event.event_type == RUN_RESUMED:
        return _resumed(state, payload)
    if event.event_type == RUN_COMPLETE:
        return _ended(state, event, payload, "completed")
    return _ended(state, event, payload, "cancelled" if payload.get("status") == "cancelled" else "failed")


def _resumed(state: RunState, payload: dict[str, Any]) -> dict[str, Any]:
    named = folding.names_in(payload, "restarts")
    restarted = {
        name: Agent(name, agent.task_description, agent.stage)
        for name, agent in state.agents.items()
        if name in named and (agent.status, RUN_RESUMED) in AGENT_TRANSITIONS
    }
    agents = {**state.agents, **restarted}
    return {"agents": agents, "degraded": any(each.degraded for each in agents.values()), "resumes": state.resumes + 1}


def _ended(state: RunState, event: Event, payload: dict[str, Any], status: Status) -> dict[str, Any]:
    changes: dict[str, Any] = {"status": status, "ended_at": event.timestamp}
    if status == "completed":
        return changes | {
            "result": folding.text_of(payload, "result"),
            "partial": payload.get("partial") is True,
            "degraded": state.degraded or payload.get("degraded") is True,
            "progress": msgspec.structs.replace(state.progress, percent=100),
        }
    reason = "cancelled" if status == "cancelled" else folding.reason_of(payload)
    return changes | {"reason": reason, "error": folding.text_of(payload, "error")}


def decide(state: RunState, command: Command) -> list[NewEvent]:
    """The events that a command becomes, in order; an empty list says that it is so already.

    Raises `NotFound` where the run was never started, and `Conflict` with `run_status` and `reason` where it does not allow the
    command: it has ended, or the agent is not where the command needs it."""
    match command:
        case Start():
            if (state.status, RUN_STARTED) not in TRANSITIONS:
                raise _conflict(state, f"{state.run_id} was started before")
            return [telling.started(state, command)]
        case AgentStarted():
            return [telling.agent_started(state, _agent(state, command.agent, AGENT_START))]
        case Chunk():
            return [telling.chunk(state, _agent(state, command.agent, LLM_CHUNK), command)]
        case Retrying():
            return [telling.retrying(state, _agent(state, command.agent, RETRYING), command)]
        case AgentCompleted():
            return telling.agent_completed(state, _agent(state, command.agent, AGENT_COMPLETE), command)
        case AgentFailed():
            return telling.agent_failed(state, _agent(state, command.agent, ERROR), command)
        case Resumed():
            return [_resume(state)]
        case Completed():
            _require(state, RUN_COMPLETE)
            return [telling.completed(state, command)]
        case Failed():
            _require(state, RUN_FAILED)
            return [telling.failed(state, "failed", command.reason, command.error_id)]
        case Cancel():
            if state.status == "cancelled":
                return []
            _require(state, f"{RUN_FAILED}:cancelled")
            return [telling.failed(state, "cancelled", "cancelled")]
        case _:
            assert_never(command)


def _resume(state: RunState) -> NewEvent:
    """Everybody who was at work begins again, at most three times."""
    _require(state, RUN_RESUMED)
    if state.resumes >= MAX_RESUMES:
        raise _conflict(state, f"{state.run_id} was interrupted {state.resumes + 1} times")
    at_work = [each.name for each in state.agents.values() if (each.status, RUN_RESUMED) in AGENT_TRANSITIONS]
    return telling.resumed(state, at_work)


def _agent(state: RunState, name: str, event_type: str) -> Agent:
    _require(state, event_type)
    agent = state.agents.get(name)
    if agent is None:
        raise _conflict(state, f"{state.run_id} has no agent {name}")
    if (agent.status, event_type) not in AGENT_TRANSITIONS:
        raise _conflict(state, f"{name} of {state.run_id} is {agent.status}", agent=name)
    return agent


def _require(state: RunState, step: str) -> None:
    if not state.exists:
        raise NotFound(f"there is no run {state.run_id}", field="run_id")
    if (state.status, step) not in TRANSITIONS:
        raise _conflict(state, f"{state.run_id} is {state.status}")


def _conflict(state: RunState, message: str, **details: Any) -> Conflict:
    return Conflict(message, run_status=state.status, reason=state.reason, **details)
