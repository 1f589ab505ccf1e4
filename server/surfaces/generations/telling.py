"""The events that a run's commands become, word for word; `folding.py` reads them back.

Pure. Whether a command is allowed has been decided by `model.py`."""

from typing import Any

import msgspec

from server.surfaces.generations.commands import AgentCompleted, AgentFailed, Chunk, Completed, Retrying, Start
from server.surfaces.generations.state import (
    AGENT_COMPLETE,
    AGENT_START,
    CHUNK_SOURCE,
    ERROR,
    LLM_CHUNK,
    PROGRESS,
    RETRYING,
    RUN_COMPLETE,
    RUN_FAILED,
    RUN_RESUMED,
    RUN_STARTED,
    SOURCES,
    Agent,
    Progress,
    RunState,
    stream_of,
)
from server.surfaces.generations.texts import RUN_ERRORS, agent_error, planned_agents
from towow.events import NewEvent, new_event, payload_json

MAX_RESULT_BYTES = 200_000  # as JSON; the whole text is in the chunks anyway, and an event must stay under its limit
MAX_SUMMARY_BYTES = 2_000


def started(state: RunState, command: Start) -> NewEvent:
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


def agent_started(state: RunState, agent: Agent) -> NewEvent:
    """An agent that begins."""
    payload = {
        "status": "started",
        "task_description": agent.task_description,
        "agent": agent.name,
        "stage": agent.stage,
    }
    return new_event(stream_of(state.run_id), AGENT_START, payload, source=agent.name)


def chunk(state: RunState, agent: Agent, command: Chunk) -> NewEvent:
    """A piece of its text, with its place in it."""
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


def retrying(state: RunState, agent: Agent, command: Retrying) -> NewEvent:
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


def agent_completed(state: RunState, agent: Agent, command: AgentCompleted) -> list[NewEvent]:
    """An agent that has written everything, and how far the run is with it."""
    payload = {
        "status": "completed",
        "summary": fitting(command.summary, MAX_SUMMARY_BYTES),
        "agent": agent.name,
        "stage": agent.stage,
        "characters": agent.text.characters,
    }
    event = new_event(stream_of(state.run_id), AGENT_COMPLETE, payload, source=agent.name)
    return [event, _progress(state, agent, is_completed=True)]


def agent_failed(state: RunState, agent: Agent, command: AgentFailed) -> list[NewEvent]:
    """An agent that gives up, and how far the run is without it."""
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


def resumed(state: RunState, restarts: list[str]) -> NewEvent:
    """A run that goes on."""
    return _of_run(state, RUN_RESUMED, restarts=restarts, resume_count=state.resumes + 1)


def completed(state: RunState, command: Completed) -> NewEvent:
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


def failed(state: RunState, status: str, reason: str, error_id: str | None = None) -> NewEvent:
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


def _progress(state: RunState, agent: Agent, *, is_completed: bool) -> NewEvent:
    """How far the run is when an agent has ended."""
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
