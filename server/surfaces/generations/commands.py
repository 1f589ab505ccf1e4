"""What may be asked of a run, by those who start it and by its runner: the commands that `model.decide` turns into events.

Texts of `StartRun` have been checked by `inputs.py`."""

from typing import Any

import msgspec

from server.surfaces.generations.state import Language, Mode, Reason


class StartRun(msgspec.Struct, frozen=True):
    """Begin a run; `continues` is the run whose prompt and result its agents are given."""

    mode: Mode
    prompt: str
    timeout_seconds: float
    session_id: str | None = None
    context: dict[str, Any] = {}
    language: Language = "en"
    continues: str | None = None


class StartAgent(msgspec.Struct, frozen=True):
    """An agent begins."""

    agent: str


class AppendChunk(msgspec.Struct, frozen=True):
    """An agent has written more. `is_complete` says that this was its last piece, which may be empty."""

    agent: str
    content: str
    written_by: str
    is_complete: bool = False
    degraded: bool = False


class CompleteAgent(msgspec.Struct, frozen=True):
    """An agent has written everything; the summary is one line."""

    agent: str
    summary: str


class FailAgent(msgspec.Struct, frozen=True):
    """An agent gives up; `error_id` is where the log of the server says why."""

    agent: str
    error_type: str
    error_id: str


class RetryAgent(msgspec.Struct, frozen=True):
    """An agent tries again after a delay; what it has written is discarded."""

    agent: str
    error_type: str
    delay_seconds: float
    max_attempts: int


class ResumeRun(msgspec.Struct, frozen=True):
    """A run that was interrupted goes on; agents that were at work begin again."""


class CompleteRun(msgspec.Struct, frozen=True):
    """The run has its result; agents that failed make it a partial one."""

    result: str


class FailRun(msgspec.Struct, frozen=True):
    """The run ends without a result."""

    reason: Reason
    error_id: str | None = None


class CancelRun(msgspec.Struct, frozen=True):
    """Somebody stops the run."""


Command = (
    StartRun | StartAgent | AppendChunk | CompleteAgent | FailAgent | RetryAgent | ResumeRun | CompleteRun | FailRun | CancelRun
)
