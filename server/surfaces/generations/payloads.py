"""The readers of a run's payloads, which every publisher may have written: a value of the wrong type counts as absent.

`model.py` decides which events change the state."""

from typing import Any, cast

import msgspec

from server.http.payloads import list_in, number_in, object_in, seconds_in, text_in
from server.surfaces.generations.plans import planned_agents
from server.surfaces.generations.state import MODES, NO_TEXT, REASONS, SESSION_ID, Language, Mode, Progress, RunAgent, RunState
from towow.events import Event, is_id, seconds_of, timestamp_of

MAX_AGENTS = 16  # of a plan that came with the event
_MAX_COUNT = 1_000_000
_WELL = {"error": "", "error_type": "", "next_try_at": ""}


def started(event: Event) -> dict[str, Any] | None:
    """The fields of the state that a `run_started` gives; None when mode or prompt are missing."""
    payload = event.payload
    mode, prompt = payload.get("mode"), text_in(payload, "prompt")
    if mode not in MODES or not prompt.strip():
        return None
    language: Language = "zh" if payload.get("language") == "zh" else "en"
    agents = _agents_of(payload) or planned_agents(cast(Mode, mode), language)
    session_id, continues = text_in(payload, "session_id"), text_in(payload, "continues")
    return {
        "mode": mode,
        "prompt": prompt,
        "session_id": session_id if SESSION_ID.allows(session_id) else None,
        "context": object_in(payload, "context"),
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
    agents: dict[str, RunAgent] = {}
    for each in list_in(payload, "agents"):
        name = text_in(each, "name")
        if is_id(name) and len(agents) < MAX_AGENTS:
            agents.setdefault(name, RunAgent(name, text_in(each, "task_description"), _count(each, "stage") or 1))
    return agents


def agent_of(state: RunState, event: Event, payload: dict[str, Any]) -> RunAgent | None:
    """The agent of the run that an event is about: the one that it names, or that it comes from."""
    return state.agents.get(text_in(payload, "agent")) or state.agents.get(event.source)


def begun(agent: RunAgent, payload: dict[str, Any], timestamp: str) -> RunAgent:
    """An agent as it begins, also once more; nothing from before stays."""
    return RunAgent(agent.name, agent.task_description, agent.stage, "running")


def written(agent: RunAgent, payload: dict[str, Any], timestamp: str) -> RunAgent:
    """An agent after a piece of its text."""
    content, written_by = text_in(payload, "content"), text_in(payload, "written_by")
    return msgspec.structs.replace(
        agent,
        status="running",
        text=agent.text.plus(content),
        written_by=written_by or agent.written_by,
        degraded=agent.degraded or payload.get("degraded") is True,
        **_WELL,
    )


def completed(agent: RunAgent, payload: dict[str, Any], timestamp: str) -> RunAgent:
    """An agent whose text is whole."""
    return msgspec.structs.replace(agent, status="completed", summary=text_in(payload, "summary"), **_WELL)


def failed(agent: RunAgent, payload: dict[str, Any], timestamp: str) -> RunAgent:
    """An agent that has failed; its text so far stays visible."""
    return msgspec.structs.replace(
        agent, status="failed", error=text_in(payload, "error"), error_type=text_in(payload, "error_type"), next_try_at=""
    )


def retrying(agent: RunAgent, payload: dict[str, Any], timestamp: str) -> RunAgent:
    """An agent that waits before it tries again, without the text that is discarded."""
    emptied = {"text": NO_TEXT, "written_by": "", "degraded": False} if payload.get("discards_text") is True else {}
    return msgspec.structs.replace(
        agent,
        status="retrying",
        retries=agent.retries + 1,
        error=text_in(payload, "error"),
        error_type=text_in(payload, "error_type"),
        next_try_at=timestamp_of(seconds_of(timestamp) + seconds_in(payload, "delay_seconds") + 0.0005),
        **emptied,
    )


def progress_of(state: RunState, payload: dict[str, Any]) -> Progress:
    """The progress that a payload reports."""
    return Progress(
        percent=min(_count(payload, "percent"), 100),
        stage=_count(payload, "stage"),
        completed=_count(payload, "completed"),
        total=_count(payload, "total") or state.progress.total,
    )


def reason_of(payload: dict[str, Any]) -> str:
    """The reason of a failed run; `internal` when it is missing or unknown."""
    reason = payload.get("reason")
    return reason if reason in REASONS else "internal"


def _count(payload: dict[str, Any], key: str) -> int:
    """A number of things, cut to a whole one within reason."""
    return max(0, min(int(number_in(payload, key) or 0), _MAX_COUNT))
