"""The state of a tool session as values: its permissions, and the words of its events.

`model.py` says how events change it, `rendering.py` shows it. Nothing here decides anything."""

from typing import Any, Literal

import msgspec

from server.http.text_rules import Id
from towow.events import seconds_of, uuid7

SOURCE = "tools"  # the source of events that this surface decides
KIND = "mcp"

TOOL_STATUS = "tool_status"
PERMISSION_REQUEST = "permission_request"
TOOL_RESULT = "tool_result"
PERMISSION_CLEARED = "permission_cleared"
RESULT_CLEARED = "result_cleared"
PERMISSION_RESPONSE = "permission_response_result"
ERROR = "error"
DEADLINE_EXTENDED = "deadline.extended"

# `pending` waits for an answer; `expired` had none in time, which denies; `cleared` was taken back by the runner.
Status = Literal["pending", "approved", "rejected", "expired", "cleared"]
RiskLevel = Literal["low", "medium", "high"]
RISK_LEVELS: tuple[RiskLevel, ...] = ("low", "medium", "high")

MAX_PENDING = 200  # permissions of one session that wait at a time
SESSION_ID = Id("session_id", 120)
PERMISSION_ID = Id("permission_id", has_colons=True)

TIMED_OUT = "timed_out"  # the reason of an expiry
TIMEOUT = "timeout"  # its actor


class PermissionState(msgspec.Struct, frozen=True):
    """One permission that a tool asks for; `reason` and `actor` are of what ended it, `ended_*` empty before that.

    `requested_by` is the actor of the request, empty where nobody was asked who they are."""

    permission_id: str
    tool_name: str
    parameters: dict[str, Any]
    risk_level: str
    expires_within_seconds: float
    requested_at: str
    requested_seq: int
    status: Status = "pending"
    reason: str = ""
    actor: str = ""
    ended_at: str = ""
    ended_seq: int = 0
    last_seq: int = 0
    requested_by: str = ""

    @property
    def deadline(self) -> float:
        """When it expires, in seconds since 1970; counted from its request, and extended by what the server was down."""
        return seconds_of(self.requested_at) + self.expires_within_seconds


class ToolState(msgspec.Struct, frozen=True):
    """What a decision needs to know of a tool session: permissions by id, those that wait in the order of asking."""

    session_id: str
    permissions: dict[str, PermissionState] = {}
    last_seq: int = 0
    revision: int = 0

    @property
    def pending(self) -> tuple[PermissionState, ...]:
        """The permissions that wait for an answer, oldest first."""
        return tuple(each for each in self.permissions.values() if each.status == "pending")


def stream_of(session_id: str) -> str:
    """The stream of a tool session."""
    return f"{KIND}:{session_id}"


def new_permission_id() -> str:
    """A new id, for a request without one."""
    return f"perm-{uuid7()}"


def initial(session_id: str) -> ToolState:
    """The state of a session of which no event is known."""
    return ToolState(session_id)
