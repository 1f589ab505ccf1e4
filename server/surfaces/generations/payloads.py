"""The readers of a run's payloads, which every publisher may have written: a value of the wrong type counts as absent.

`model.py` decides which events change the state."""

import math
from typing import Any, cast

import msgspec

from server.surfaces.generations.plans import planned_agents
from server.surfaces.generations.state import (
    MODES,
    NO_TEXT,
    REASONS,
    SESSION_ID,
    Language,
    Mode,
    Progress,
    RunAgent,
    RunState,
)
from towow.events import Event, is_id

MAX_AGENTS = 16  # of a plan that came with the event
MAX_SECONDS = 86_400.0
_MAX_COUNT = 1_000_000


def started(event: Event) -> dict[str, Any] | None:
    """The fields of the state that a `run_started` gives; None when mode or prompt are missing."""
    payload = event.payload
    mode, prompt, context = payload.get("mode"), text_of(payload, "prompt"), payload.get("context")
    if mode not in MODES or not prompt.strip():
        return None
    language: Language = "zh" if payload.get("language") == "zh" else "en"
    agents = _agents_of(payload) or planned_agents(cast(Mode, mode), language)
    session_id, continues = text_of(payload, "session_id"), text_of(payload, "continues")
    return {
        "mode": mode,
        "prompt": prompt,
        "session_id": session_id if SESSION_ID.allows(session_id) else None,
        "context": context if isinstance(context, dict) else {},
        "language": language,
        "agents": agents,
        "timeout_seconds": seconds_in(payload, "timeout_seconds"),
        "continues": continues if is_id(continues) else None,
        "progress": Progress(total=len(agents)),
        "created_at": event.timestamp,
        "created_seq": event.seq,
    }


def _agents_of(payload: dict[str, Any]) -> dict[str, RunAgent]:
    """The agents that a run was started with; those without a name are left out."""
    given = payload.get("agents")
    agents: dict[str, RunAgent] = {}
    for each in given if isinstance(given, list) else ():
        name = text_of(each, "name") if isinstance(each, dict) else ""
        if is_id(name) and len(agents) < MAX_AGENTS:
            agents.setdefault(name, RunAgent(name, text_of(each, "task_description"), count_in(each, "stage") or 1))
    return agents


def agent_of(state: RunState, event: Event, payload: dict[str, Any]) -> RunAgent | None:
    """The agent of the run that an event is about: the one that it names, or that it comes from."""
    return state.agents.get(text_of(payload, "agent")) or state.agents.get(event.source)


def begun(agent: RunAgent, payload: dict[str, Any]) -> RunAgent:
    """An agent as it begins, also once more; nothing from before stays."""
    return RunAgent(agent.name, agent.task_description, agent.stage, "running")


def written(agent: RunAgent, payload: dict[str, Any]) -> RunAgent:
    """An agent after a piece of its text."""
    content, written_by = text_of(payload, "content"), text_of(payload, "written_by")
    return msgspec.structs.replace(
        agent,
        status="running",
        text=agent.text.plus(content),
        written_by=written_by or agent.written_by,
        degraded=agent.degraded or payload.get("degraded") is True,
        error="",
        error_type="",
    )


def completed(agent: RunAgent, payload: dict[str, Any]) -> RunAgent:
    """An agent whose text is whole."""
    return msgspec.structs.replace(agent, status="completed", summary=text_of(payload, "summary"), error="", error_type="")


def failed(agent: RunAgent, payload: dict[str, Any]) -> RunAgent:
    """An agent that has failed; its text so far stays visible."""
    return msgspec.structs.replace(
        agent, status="failed", error=text_of(payload, "error"), error_type=text_of(payload, "error_type")
    )


def retrying(agent: RunAgent, payload: dict[str, Any]) -> RunAgent:
    """An agent that waits before it tries again, without the text that is discarded."""
    emptied = {"text": NO_TEXT, "written_by": "", "degraded": False} if payload.get("discards_text") is True else {}
    return msgspec.structs.replace(
        agent,
        status="retrying",
        retries=agent.retries + 1,
        error=text_of(payload, "error"),
        error_type=text_of(payload, "error_type"),
        **emptied,
    )


def progress_of(state: RunState, payload: dict[str, Any]) -> Progress:
    """The progress that a payload reports."""
    return Progress(
        percent=min(count_in(payload, "percent"), 100),
        stage=count_in(payload, "stage"),
        completed=count_in(payload, "completed"),
        total=count_in(payload, "total") or state.progress.total,
    )


def reason_of(payload: dict[str, Any]) -> str:
    """The reason of a failed run; `internal` when it is missing or unknown."""
    reason = payload.get("reason")
    return reason if reason in REASONS else "internal"


def text_of(payload: dict[str, Any], key: str) -> str:
    """A text in a payload, empty when it is none."""
    value = payload.get(key)
    return value if isinstance(value, str) else ""


def names_in(payload: dict[str, Any], key: str) -> list[str]:
    """The texts of a list in a payload."""
    value = payload.get(key)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def count_in(payload: dict[str, Any], key: str) -> int:
    """A number of things in a payload, 0 when it is none."""
    value = payload.get(key)
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return max(0, min(int(cast(float, value)), _MAX_COUNT)) if is_count else 0


def seconds_in(payload: dict[str, Any], key: str) -> float:
    """Seconds in a payload, at most a day, 0 when they are none."""
    value = payload.get(key)
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return max(0.0, min(float(cast(float, value)), MAX_SECONDS)) if is_time else 0.0
