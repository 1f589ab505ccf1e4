"""The runs as a table: one row each, written with the events, for lists, sessions and the runner's start.

A row follows the same tables as the state in `model.py`, because it is that state without the texts. Of the pieces of a text
only an agent's first one is folded; the newest position of a running run is read from the log by the query."""

from typing import Any

import msgspec

from server.eventlog.queries import RowPage, read_event, read_rows
from server.eventlog.writer import Connection
from server.http.payloads import text_in
from server.surfaces.generations.model import TRANSITIONS, evolve
from server.surfaces.generations.state import LLM_CHUNK, RUN_ID, Progress, RunAgent, RunSession, RunState, initial
from towow.events import Event

_STEPS = frozenset(step.partition(":")[0] for _, step in TRANSITIONS)
_PROGRESS = Progress.__struct_fields__
_OWN = ("reason", "session_id", "prompt", "language", "partial", "degraded", "continues", "resumes")
_PLACES = ("created_at", "updated_at", "ended_at", "created_seq", "last_seq", "revision")
_FIELDS = ("run_id", "mode", "status", "agents", *_OWN, *_PROGRESS, *_PLACES)
_UPSERT = (
    f"INSERT INTO runs ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"  # noqa: S608 - constant
    f" ON CONFLICT (run_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _FIELDS[1:])}"
)
# A row as it is now: the pieces of text of a run that is running have moved it on.
_NEWEST = {"updated_at": "coalesce(e.timestamp, r.updated_at)", "last_seq": "coalesce(e.seq, r.last_seq)"}
_SOURCE = (
    "runs AS r LEFT JOIN events AS e ON r.status = 'running' AND e.stream = 'run:' || r.run_id"
    " AND e.seq = (SELECT max(seq) FROM events WHERE stream = 'run:' || r.run_id)"
)
_COLUMNS = ", ".join(_NEWEST.get(name, f"r.{name}") for name in _FIELDS)


class _AgentRow(msgspec.Struct):
    name: str
    task_description: str
    stage: int
    status: Any
    summary: str
    error: str
    error_type: str
    retries: int
    written_by: str
    degraded: bool


class _Index(msgspec.Struct):
    index: Any = None


_agents = msgspec.json.Decoder(list[_AgentRow]).decode
_index = msgspec.json.Decoder(_Index).decode


def project_run(connection: Connection, event: Event) -> None:
    """Fold one event of a run's stream into its row; again with the same or an older event, no change.

    A run has a row from its `run_started` on."""
    if event.event_type == LLM_CHUNK and _goes_on(event):
        return  # the row has the agent's status and model already
    run_id = event.stream.partition(":")[2]
    if event.event_type not in _STEPS or not RUN_ID.allows(run_id):
        return
    before = get_run(connection, run_id)
    after = evolve(before, event)
    if after is not before and after.exists:
        connection.execute(_UPSERT, _row_of(after)).close()


def get_run(connection: Connection, run_id: str) -> RunState:
    """The state of a run without its texts, as far as its row is: `initial` without one."""
    sql = f"SELECT {', '.join(_FIELDS)} FROM runs WHERE run_id = ?"  # noqa: S608 - constant
    row = connection.execute(sql, (run_id,)).fetchone()
    return _state_of(row) if row else initial(run_id)


def keeps_run(connection: Connection, stream: str) -> bool:
    """Whether the events of a run are still needed: it is running."""
    return get_run(connection, stream.partition(":")[2]).status == "running"


def get_result(connection: Connection, run_id: str) -> tuple[str, str] | None:
    """The prompt of a run and its result, which is in its last event; None when it has none."""
    run = get_run(connection, run_id)
    end = read_event(connection, seq=run.last_seq) if run.status == "completed" else None
    result = "" if end is None else text_in(end.payload, "result")
    return (run.prompt, result) if result else None


def list_runs(connection: Connection, page: RowPage) -> tuple[list[RunState], bool]:
    """Runs without texts, and whether there are more."""
    rows, has_more = read_rows(connection, _COLUMNS, _SOURCE, page, seq="r.created_seq")
    return [_state_of(row) for row in rows], has_more


def count_running(connection: Connection) -> int:
    """How many runs are running."""
    return int(connection.execute("SELECT count(*) FROM runs WHERE status = 'running'").fetchone()[0])


def unfinished_runs(connection: Connection) -> list[str]:
    """The ids of the runs that have not ended, oldest first."""
    rows = connection.execute("SELECT run_id FROM runs WHERE status = 'running' ORDER BY created_seq").fetchall()
    return [run_id for (run_id,) in rows]


def get_session(connection: Connection, session_id: str) -> RunSession | None:
    """A session as its runs show it; None when it never had a run."""
    newest, _ = list_runs(connection, RowPage(1, where={"r.session_id": session_id}))
    if not newest:
        return None
    sql = f"SELECT count(*), max({_NEWEST['updated_at']}), max({_NEWEST['last_seq']}) FROM {_SOURCE} WHERE r.session_id = ?"  # noqa: S608
    return RunSession(newest[0], *connection.execute(sql, (session_id,)).fetchone())


def last_completed(connection: Connection, session_id: str) -> str | None:
    """The id of the newest run of a session that has a result, or None."""
    sql = "SELECT run_id FROM runs WHERE session_id = ? AND status = 'completed' ORDER BY created_seq DESC LIMIT 1"
    row = connection.execute(sql, (session_id,)).fetchone()
    return None if row is None else str(row[0])


def _goes_on(event: Event) -> bool:
    """Whether a piece of text is not the first of its agent, by its `index`."""
    index = _index(event.payload_json).index
    return type(index) is int and index > 0


def _row_of(state: RunState) -> list[Any]:
    agents = [{name: getattr(agent, name) for name in _AgentRow.__struct_fields__} for agent in state.agents.values()]
    columns = {
        **msgspec.structs.asdict(state),
        **msgspec.structs.asdict(state.progress),
        "agents": msgspec.json.encode(agents).decode(),
        "ended_at": state.ended_at or None,
    }
    return [columns[name] for name in _FIELDS]


def _state_of(row: Any) -> RunState:
    columns = dict(zip(_FIELDS, row, strict=True))
    progress = Progress(*(columns.pop(name) for name in _PROGRESS))
    agents = {each.name: RunAgent(**msgspec.structs.asdict(each)) for each in _agents(columns.pop("agents"))}
    columns |= {
        "partial": bool(columns["partial"]),
        "degraded": bool(columns["degraded"]),
        "ended_at": columns["ended_at"] or "",
    }
    return RunState(**columns, progress=progress, agents=agents)
