"""The state of a run as values: its agents, the text that each has written so far, and the words of its events.

`model.py` says how events change it, `rendering.py` shows it. Nothing here decides anything."""

import secrets
from typing import Any, Final, Literal

import msgspec

from server.http.text_rules import Id

KIND = "run"

NOVA: Final = "nova"  # four agents in parallel, under the supervisor
LOOMI: Final = "loomi"  # four agents in stages, under the concierge
Mode = Literal["nova", "loomi"]
MODES: tuple[Mode, ...] = (NOVA, LOOMI)
SOURCES = {NOVA: "nova3_supervisor", LOOMI: "loomi_concierge"}  # the source of events about the whole run
CHUNK_SOURCE = "llm_client"

RUN_STARTED = "run_started"
AGENT_START = "agent_start"
LLM_CHUNK = "llm_chunk"
AGENT_COMPLETE = "agent_complete"
PROGRESS = "progress"
RETRYING = "retrying"
ERROR = "error"
RUN_RESUMED = "run_resumed"
RUN_COMPLETE = "run_complete"
RUN_FAILED = "run_failed"

TERMINAL_EVENTS = frozenset({RUN_COMPLETE, RUN_FAILED})

Status = Literal["new", "running", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("running", "completed", "failed", "cancelled")  # of a run that exists
AgentStatus = Literal["waiting", "running", "retrying", "completed", "failed"]
Reason = Literal["all_agents_failed", "agent_failed", "interrupted", "cancelled", "timeout", "internal"]
REASONS: tuple[Reason, ...] = ("all_agents_failed", "agent_failed", "interrupted", "cancelled", "timeout", "internal")
Language = Literal["zh", "en"]

MAX_RESUMES = 3  # a run that was begun again so often and is interrupted once more has failed
MAX_CONTINUED_CHARACTERS = 2_000  # of the prompt and of the result that a run goes on from
TEMPLATE = "template"  # `written_by` of a text without a model

SESSION_ID = Id("session_id", 120)
RUN_ID = Id("run_id", 124)  # one that we start has `r-` and 16 hexadecimal digits


class GrowingText:
    """A text that grows at its end, as a value: `plus` gives the longer one in constant time, and this one stays as it is.

    Texts that have grown from each other share a list of pieces, of which each knows how many are its own."""

    __slots__ = ("_pieces", "characters", "count")

    def __init__(self, pieces: list[str] | None = None, count: int = 0, characters: int = 0) -> None:
        self._pieces = [] if pieces is None else pieces
        self.count = count  # pieces
        self.characters = characters

    def plus(self, piece: str) -> "GrowingText":
        """The text with a piece more."""
        # Only the longest of them may grow the list; what grows from the empty text begins one of its own.
        pieces = self._pieces if 0 < self.count == len(self._pieces) else self._pieces[: self.count]
        pieces.append(piece)
        return GrowingText(pieces, self.count + 1, self.characters + len(piece))

    def __str__(self) -> str:
        return "".join(self._pieces[: self.count])

    def __repr__(self) -> str:
        return f"GrowingText({str(self)!r}, count={self.count})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GrowingText) and (self.count, str(self)) == (other.count, str(other))

    def __hash__(self) -> int:
        return hash((self.count, str(self)))


NO_TEXT = GrowingText()


class RunAgent(msgspec.Struct, frozen=True):
    """One agent of a run. `text` is what it has written since its text last began; `retries` counts since its last start.

    `written_by` names the model, or is `template`; it is empty before the first piece. `error` and `error_type` are set when it
    has failed, and while it waits to try again; then `next_try_at` is the time of the next attempt."""

    name: str
    task_description: str
    stage: int
    status: AgentStatus = "waiting"
    text: GrowingText = NO_TEXT
    summary: str = ""
    error: str = ""
    error_type: str = ""
    retries: int = 0
    written_by: str = ""
    degraded: bool = False
    next_try_at: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it has completed or failed."""
        return self.status in ("completed", "failed")


class Progress(msgspec.Struct, frozen=True):
    """How far a run is: agents that have ended in percent, the stage of the last one, those that have completed, all."""

    percent: int = 0
    stage: int = 0
    completed: int = 0
    total: int = 0


class RunState(msgspec.Struct, frozen=True):
    """A run folded from its stream; `status` is "new" until its `run_started`, and `*_at` are "" and `*_seq` 0 until they
    happen.

    `continues` is the run whose result the agents are given; `resumes` counts the restarts of the server that it survived."""

    run_id: str
    status: Status = "new"
    mode: Mode = NOVA
    prompt: str = ""
    session_id: str | None = None
    context: dict[str, Any] = {}
    language: Language = "en"
    agents: dict[str, RunAgent] = {}
    timeout_seconds: float = 0.0
    continues: str | None = None
    progress: Progress = Progress()
    reason: str | None = None
    error: str = ""
    result: str = ""
    partial: bool = False
    degraded: bool = False
    resumes: int = 0
    created_at: str = ""
    updated_at: str = ""
    ended_at: str = ""
    created_seq: int = 0
    last_seq: int = 0
    revision: int = 0

    @property
    def exists(self) -> bool:
        """Whether it was started; a stream may hold notes alone."""
        return self.status != "new"

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self.status == "running"

    @property
    def has_begun(self) -> bool:
        """Whether any of its agents has begun."""
        return any(agent.status != "waiting" for agent in self.agents.values())

    @property
    def agents_completed(self) -> list[str]:
        """The names of the agents that have completed, in the order of the plan."""
        return [agent.name for agent in self.agents.values() if agent.status == "completed"]

    @property
    def agents_failed(self) -> list[str]:
        """The names of the agents that have failed, in the order of the plan."""
        return [agent.name for agent in self.agents.values() if agent.status == "failed"]


class RunSession(msgspec.Struct, frozen=True):
    """A session of runs: its newest run without the texts, how many it had, and the place of their newest event."""

    newest: RunState
    runs: int
    updated_at: str
    last_seq: int


def new_run_id(digits: str | None = None) -> str:
    """A new id, with 16 hex digits, random ones unless given."""
    return f"r-{digits or secrets.token_hex(8)}"


def stream_of(run_id: str) -> str:
    """The stream of a run."""
    return f"{KIND}:{run_id}"


def initial(run_id: str) -> RunState:
    """The state of a run of which no event is known."""
    return RunState(run_id)
