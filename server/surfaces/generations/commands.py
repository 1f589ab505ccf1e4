"""The commands of a run, of clients and of the executor, which `model.decide` turns into events.

Texts of `StartRun` have been checked by `inputs.py`."""

from typing import Any

import msgspec

from server.surfaces.generations.state import Language, Mode, Reason


class StartRun(msgspec.Struct, frozen=True):
    """Begin a run; `continues` names the run whose prompt and result its agents build on."""

    mode: Mode
    prompt: str
    timeout_seconds: float
    session_id: str | None = None
    context: dict[str, Any] = {}
    language: Language = "en"
    continues: str | None = None


class StartAgent(msgspec.Struct, frozen=True):
    """Begin an agent."""

    agent: str


class AppendChunk(msgspec.Struct, frozen=True):
    """Append a piece to an agent's text. `is_complete` marks the last piece, which may be empty."""

    agent: str
    content: str
    written_by: str
    is_complete: bool = False
    degraded: bool = False


class CompleteAgent(msgspec.Struct, frozen=True):
    """Complete an agent, whose text is whole; the summary is one line."""

    agent: str
    summary: str


class FailAgent(msgspec.Struct, frozen=True):
    """Fail an agent; `error_id` leads to the cause in the server's log."""

    agent: str
    error_type: str
    error_id: str


class RetryAgent(msgspec.Struct, frozen=True):
    """Retry an agent after a delay; its text so far is discarded."""

    agent: str
    error_type: str
    delay_seconds: float
    max_attempts: int


class ResumeRun(msgspec.Struct, frozen=True):
    """Resume an interrupted run; agents that were at work begin again."""


class CompleteRun(msgspec.Struct, frozen=True):
    """Complete the run with its result, which is partial when agents have failed."""

    result: str


class FailRun(msgspec.Struct, frozen=True):
    """End the run without a result."""

    reason: Reason
    error_id: str | None = None


class CancelRun(msgspec.Struct, frozen=True):
    """Cancel the run for a client."""


Command = (
    StartRun | StartAgent | AppendChunk | CompleteAgent | FailAgent | RetryAgent | ResumeRun | CompleteRun | FailRun | CancelRun
)
