"""A run as JSON: the responses of the HTTP interface, and source 003's shape of an event."""

from typing import Any

import msgspec

from server.surfaces.generations.state import RunAgent, RunSession, RunState
from towow.events import Event, timestamp_of


def accepted(state: RunState) -> dict[str, Any]:
    """The response to a request that starts a run without following it on the same connection."""
    return {"run_id": state.run_id, "status": state.status, "events_url": f"/api/runs/{state.run_id}/events"}


def summary(state: RunState) -> dict[str, Any]:
    """One line of the list of runs: without the texts and the context."""
    return {
        "run_id": state.run_id,
        "mode": state.mode,
        "status": state.status,
        "reason": state.reason,
        "prompt": state.prompt,
        "session_id": state.session_id,
        "language": state.language,
        "progress": msgspec.structs.asdict(state.progress),
        "agents": [_agent(agent) for agent in state.agents.values()],
        "partial": state.partial,
        "degraded": state.degraded,
        "continues": state.continues,
        "resumes": state.resumes,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "ended_at": state.ended_at or None,
        "created_seq": state.created_seq,
        "last_seq": state.last_seq,
    }


def detail(state: RunState) -> dict[str, Any]:
    """One run with everything that its agents have written until `last_seq`; `result` is null until it is completed."""
    return {
        **summary(state),
        "context": state.context,
        "agents": [
            {
                **_agent(agent),
                "text": str(agent.text),
                "characters": agent.text.characters,
                "next_try_at": agent.next_try_at or None,
            }
            for agent in state.agents.values()
        ],
        "result": state.result if state.status == "completed" else None,
        "error": state.error or None,
    }


def _agent(agent: RunAgent) -> dict[str, Any]:
    return {
        "name": agent.name,
        "task_description": agent.task_description,
        "stage": agent.stage,
        "status": agent.status,
        "summary": agent.summary,
        "error": agent.error or None,
        "error_type": agent.error_type or None,
        "retries": agent.retries,
        "written_by": agent.written_by or None,
        "degraded": agent.degraded,
    }


def cancelled(state: RunState) -> dict[str, Any]:
    """The response to a cancel, also to a repeated one; `seq` is of the run's end."""
    return {"success": True, "run_id": state.run_id, "status": state.status, "seq": state.last_seq}


def session_state(session_id: str, session: RunSession, expires_at: float) -> dict[str, Any]:
    """The state of a session: where its newest run is. `version` grows with every event of its runs."""
    newest = session.newest
    return {
        "session_id": session_id,
        "status": newest.status,
        "run_id": newest.run_id,
        "mode": newest.mode,
        "progress": msgspec.structs.asdict(newest.progress),
        "runs": session.runs,
        "updated_at": session.updated_at,
        "expires_at": timestamp_of(expires_at),
        "version": session.last_seq,
    }


def encode_run_event(event: Event) -> bytes:
    """An event as source 003 shows it: one line of JSON, safe after `data: `."""
    return (
        f'{{"event_type":"{event.event_type}","agent_source":"{event.source}","timestamp":"{event.timestamp}",'
        f'"payload":{event.payload_json},"seq":{event.seq},"revision":{event.revision},"event_id":"{event.event_id}",'
        f'"run_id":"{event.stream.partition(":")[2]}"{event.said_by()}}}'
    ).encode()
