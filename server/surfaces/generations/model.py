"""A run's life as tables and pure functions: what may follow what, what events change, what commands become.

    new ── run_started ──> running ── run_complete ──> completed
                              └────── run_failed ────> failed | cancelled

While a run is running its agents have lives of their own, in `AGENT_TRANSITIONS`. An event without a row in the tables only
moves the position, because every publisher may append to the stream; a command whose event has none is refused.
`commands.py` has the commands; `payloads.py` reads the payloads that are built here."""

from collections.abc import Callable
from typing import Any, assert_never

import msgspec

from server.http.payloads import text_in, texts_in
from server.surfaces.generations import payloads
from server.surfaces.generations.commands import (
    AppendChunk,
    CancelRun,
    Command,
    CompleteAgent,
    CompleteRun,
    FailAgent,
    FailRun,
    ResumeRun,
    RetryAgent,
    StartAgent,
    StartRun,
)
from server.surfaces.generations.plans import planned_agents
from server.surfaces.generations.sentences import RUN_ERRORS, agent_error
from server.surfaces.generations.state import (
    AGENT_COMPLETE,
    AGENT_START,
    CHUNK_SOURCE,
    ERROR,
    LLM_CHUNK,
    MAX_RESUMES,
    PROGRESS,
    RETRYING,
    RUN_COMPLETE,
    RUN_FAILED,
    RUN_RESUMED,
    RUN_STARTED,
    SOURCES,
    AgentStatus,
    Progress,
    RunAgent,
    RunState,
    Status,
    stream_of,
)
from towow.errors import Conflict, NotFound
from towow.events import Event, NewEvent, new_event, payload_json

MAX_RESULT_BYTES = 200_000  # as JSON; the whole text is in the chunks anyway, and an event must stay under its limit
MAX_SUMMARY_BYTES = 2_000

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

_AGENT_FOLDS: dict[str, Callable[[RunAgent, dict[str, Any], str], RunAgent]] = {
    AGENT_START: payloads.begun,
    LLM_CHUNK: payloads.written,
    AGENT_COMPLETE: payloads.completed,
    RETRYING: payloads.retrying,
    ERROR: payloads.failed,
}


def evolve(state: RunState, event: Event) -> RunState:
    """The state after one more event of the stream; an event at or before `last_seq` changes nothing."""
    if event.seq <= state.last_seq:
        return state
    changes = _changes(state, event) if (state.status, event.event_type) in TRANSITIONS else {}
    return msgspec.structs.replace(state, last_seq=event.seq, revision=event.revision, updated_at=event.timestamp, **changes)


def _changes(state: RunState, event: Event) -> dict[str, Any]:
    if event.event_type == RUN_STARTED:
        fields = payloads.started(event)
        return {} if fields is None else {**fields, "status": "running"}
    payload = event.payload
    fold = _AGENT_FOLDS.get(event.event_type)
    if fold is not None:
        agent = payloads.agent_of(state, event, payload)
        if agent is None or (agent.status, event.event_type) not in AGENT_TRANSITIONS:
            return {}
        after = fold(agent, payload, event.timestamp)
        agents = {**state.agents, agent.name: after}
        return {"agents": agents, "degraded": any(each.degraded for each in agents.values())}
    if event.event_type == PROGRESS:
        return {"progress": payloads.progress_of(state, payload)}
    if event.event_type == RUN_RESUMED:
        return _after_resume(state, payload)
    if event.event_type == RUN_COMPLETE:
        return _after_end(state, event, payload, "completed")
    return _after_end(state, event, payload, "cancelled" if payload.get("status") == "cancelled" else "failed")


def _after_resume(state: RunState, payload: dict[str, Any]) -> dict[str, Any]:
    named = texts_in(payload, "restarts")
    restarted = {
        name: RunAgent(name, agent.task_description, agent.stage)
        for name, agent in state.agents.items()
        if name in named and (agent.status, RUN_RESUMED) in AGENT_TRANSITIONS
    }
    agents = {**state.agents, **restarted}
    return {"agents": agents, "degraded": any(each.degraded for each in agents.values()), "resumes": state.resumes + 1}


def _after_end(state: RunState, event: Event, payload: dict[str, Any], status: Status) -> dict[str, Any]:
    changes: dict[str, Any] = {"status": status, "ended_at": event.timestamp}
    if status == "completed":
        return changes | {
            "result": text_in(payload, "result"),
            "partial": payload.get("partial") is True,
            "degraded": state.degraded or payload.get("degraded") is True,
            "progress": msgspec.structs.replace(state.progress, percent=100),
        }
    reason = "cancelled" if status == "cancelled" else payloads.reason_of(payload)
    return changes | {"reason": reason, "error": text_in(payload, "error")}


def decide(state: RunState, command: Command) -> list[NewEvent]:
    """The events that a command becomes, in order; an empty list when the state is so already.

    Raises `NotFound` where the run was never started, and `Conflict` with `run_status` and `reason` where it does not allow the
    command: it has ended, or the agent is not where the command needs it."""
    match command:
        case StartRun():
            if (state.status, RUN_STARTED) not in TRANSITIONS:
                raise _conflict(state, f"{state.run_id} was started before")
            return [_run_started(state, command)]
        case StartAgent():
            return [_agent_start(state, _allowed_agent(state, command.agent, AGENT_START))]
        case AppendChunk():
            return [_llm_chunk(state, _allowed_agent(state, command.agent, LLM_CHUNK), command)]
        case RetryAgent():
            return [_retrying(state, _allowed_agent(state, command.agent, RETRYING), command)]
        case CompleteAgent():
            return _agent_complete(state, _allowed_agent(state, command.agent, AGENT_COMPLETE), command)
        case FailAgent():
            return _agent_error(state, _allowed_agent(state, command.agent, ERROR), command)
        case ResumeRun():
            return [_run_resumed(state)]
        case CompleteRun():
            _require(state, RUN_COMPLETE)
            return [_run_complete(state, command)]
        case FailRun():
            _require(state, RUN_FAILED)
            return [_run_failed(state, "failed", command.reason, command.error_id)]
        case CancelRun():
            if state.status == "cancelled":
                return []
            _require(state, f"{RUN_FAILED}:cancelled")
            return [_run_failed(state, "cancelled", "cancelled")]
        case _:
            assert_never(command)


def _allowed_agent(state: RunState, name: str, event_type: str) -> RunAgent:
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


# The events that commands become, word for word; `payloads.py` reads them back.


def _run_started(state: RunState, command: StartRun) -> NewEvent:
    """A run with its plan."""
    agents = planned_agents(command.mode, command.language).values()
    payload = {
        "run_id": state.run_id,
        "mode": command.mode,
        "prompt": command.prompt,
        "session_id": command.session_id,
        "context": command.context,
        "language": command.language,
        "agents": [{"name": each.name, "task_description": each.task_description, "stage": each.stage} for each in agents],
        "timeout_seconds": command.timeout_seconds,
        "continues": command.continues,
    }
    return new_event(stream_of(state.run_id), RUN_STARTED, payload, source=SOURCES[command.mode])


def _agent_start(state: RunState, agent: RunAgent) -> NewEvent:
    """An agent that begins."""
    payload = {"status": "started", "task_description": agent.task_description, "agent": agent.name, "stage": agent.stage}
    return new_event(stream_of(state.run_id), AGENT_START, payload, source=agent.name)


def _llm_chunk(state: RunState, agent: RunAgent, command: AppendChunk) -> NewEvent:
    """A piece of an agent's text, with its index."""
    payload = {
        "content": command.content,
        "content_type": "text",
        "is_complete": command.is_complete,
        "agent": agent.name,
        "index": agent.text.count,
        "written_by": command.written_by,
        "degraded": command.degraded,
    }
    return new_event(stream_of(state.run_id), LLM_CHUNK, payload, source=CHUNK_SOURCE)


def _retrying(state: RunState, agent: RunAgent, command: RetryAgent) -> NewEvent:
    """An agent that tries again; the attempts count from 1, so the first one of these is the second."""
    payload = {
        "agent": agent.name,
        "attempt": agent.retries + 2,
        "max_attempts": command.max_attempts,
        "retry_count": agent.retries + 1,
        "delay_seconds": command.delay_seconds,
        "error": agent_error(command.error_type),
        "error_type": command.error_type,
        "discards_text": agent.text.count > 0,
    }
    return new_event(stream_of(state.run_id), RETRYING, payload, source=agent.name)


def _agent_complete(state: RunState, agent: RunAgent, command: CompleteAgent) -> list[NewEvent]:
    """The end of an agent whose text is whole, and the run's progress."""
    payload = {
        "status": "completed",
        "summary": fitting(command.summary, MAX_SUMMARY_BYTES),
        "agent": agent.name,
        "stage": agent.stage,
        "characters": agent.text.characters,
    }
    event = new_event(stream_of(state.run_id), AGENT_COMPLETE, payload, source=agent.name)
    return [event, _progress(state, agent, is_completed=True)]


def _agent_error(state: RunState, agent: RunAgent, command: FailAgent) -> list[NewEvent]:
    """The end of an agent that failed, and the run's progress."""
    payload = {
        "error": agent_error(command.error_type),
        "error_type": command.error_type,
        "agent": agent.name,
        "status": "failed",
        "retry_count": agent.retries,
        "error_id": command.error_id,
        "context": {"stage": agent.stage},
    }
    event = new_event(stream_of(state.run_id), ERROR, payload, source=agent.name)
    return [event, _progress(state, agent, is_completed=False)]


def _run_resumed(state: RunState) -> NewEvent:
    """A run that goes on: the agents that were at work begin again, at most three times."""
    _require(state, RUN_RESUMED)
    if state.resumes >= MAX_RESUMES:
        raise _conflict(state, f"{state.run_id} was interrupted {state.resumes + 1} times")
    restarts = [each.name for each in state.agents.values() if (each.status, RUN_RESUMED) in AGENT_TRANSITIONS]
    return _of_run(state, RUN_RESUMED, restarts=restarts, resume_count=state.resumes + 1)


def _run_complete(state: RunState, command: CompleteRun) -> NewEvent:
    """A run with its result."""
    return _of_run(
        state,
        RUN_COMPLETE,
        status="completed",
        result=fitting(command.result, MAX_RESULT_BYTES),
        partial=bool(state.agents_failed),
        agents_completed=state.agents_completed,
        agents_failed=state.agents_failed,
        degraded=state.degraded,
    )


def _run_failed(state: RunState, status: str, reason: str, error_id: str | None = None) -> NewEvent:
    """A run that ends without a result."""
    named = {} if error_id is None else {"error_id": error_id}
    return _of_run(
        state,
        RUN_FAILED,
        status=status,
        reason=reason,
        error=RUN_ERRORS[reason],
        **named,
        agents_completed=state.agents_completed,
        agents_failed=state.agents_failed,
    )


def _progress(state: RunState, agent: RunAgent, *, is_completed: bool) -> NewEvent:
    """The run's progress when an agent has ended."""
    others = [each for each in state.agents.values() if each.name != agent.name]
    ended = 1 + sum(each.has_ended for each in others)
    progress = Progress(
        percent=100 * ended // len(state.agents),
        stage=agent.stage,
        completed=is_completed + sum(each.status == "completed" for each in others),
        total=len(state.agents),
    )
    return _of_run(state, PROGRESS, **msgspec.structs.asdict(progress))


def _of_run(state: RunState, event_type: str, **payload: Any) -> NewEvent:
    return new_event(stream_of(state.run_id), event_type, payload, source=SOURCES[state.mode])


def fitting(text: str, limit_bytes: int) -> str:
    """The text, or as much of its beginning as is `limit_bytes` long as JSON, with an ellipsis behind it."""
    size = len(payload_json({"": text}))
    if size * 6 <= limit_bytes or len(payload_json({"": text}).encode()) <= limit_bytes:
        return text
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        if len(payload_json({"": text[:middle]}).encode()) + 3 <= limit_bytes:
            low = middle
        else:
            high = middle
    return text[:low] + "…"
