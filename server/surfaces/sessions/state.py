"""The state of a session as values: what is remembered of it, the names it may have, and the words of its events.

`model.py` says how events change it, `rendering.py` how it is told. Nothing here decides anything."""

from typing import Literal

import msgspec

from server.http.text_rules import Id

KIND = "session"
OPERATOR_KIND = "operator"
QUEUE_ID = "queue"  # the stream that every operator reads is operator:queue, so no operator has this name
QUEUE = f"{OPERATOR_KIND}:{QUEUE_ID}"
BROADCAST = "broadcast:all"

AI_CHATBOT = "ai_chatbot"  # the two sources of source 001
AGENT_WORKBENCH = "agent_workbench"

NEW_MESSAGE = "new_message"
TRANSFER_REQUEST = "transfer_request"
STATUS_CHANGE = "status_change"
SESSION_CLOSED = "session_closed"

TERMINAL_EVENTS = frozenset({SESSION_CLOSED})

STATUSES = ("bot", "waiting_agent", "with_operator", "closed")
Role = Literal["user", "bot", "operator"]

# A name stands behind its kind in a stream's name of at most 128.
SESSION_NAME = Id("session_name", 128 - len(f"{KIND}:"))
AGENT_ID = Id("agent_id", 128 - len(f"{OPERATOR_KIND}:"), reserved=(QUEUE_ID,))


class SessionState(msgspec.Struct, frozen=True):
    """A session folded from its stream; `status` is "new" and `created_*` are 0 and "" until its first message or escalation.

    `agent_id` is the operator who has it, `released_by` the one who gave it back last, until it is asked for again;
    `waiting_since` is a timestamp while it waits; `status_seq` is of the newest change of status."""

    session_name: str
    status: str = "new"
    agent_id: str | None = None
    released_by: str | None = None
    reason: str | None = None
    waiting_since: str | None = None
    messages: int = 0
    created_at: str = ""
    updated_at: str = ""
    created_seq: int = 0
    status_seq: int = 0
    last_seq: int = 0
    revision: int = 0

    @property
    def exists(self) -> bool:
        """Whether anything was said or asked in it; a stream may hold only notes."""
        return self.status != "new"


def stream_of(session_name: str) -> str:
    """The stream of a session."""
    return f"{KIND}:{session_name}"


def operator_stream_of(agent_id: str) -> str:
    """The stream of one operator."""
    return f"{OPERATOR_KIND}:{agent_id}"


def initial(session_name: str) -> SessionState:
    """The state of a session of which no event is known."""
    return SessionState(session_name)
