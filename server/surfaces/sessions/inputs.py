"""What may be said to a session: every name and text within its limits, or refused with the field.

Pure. Events that these become are checked again where all events are (`towow/events.py`)."""

from server.http.text_rules import one_of, plain_text, within
from server.surfaces.sessions.state import (
    MAX_AGENT_ID,
    MAX_SESSION_NAME,
    QUEUE_ID,
    STATUSES,
    Role,
    is_agent_id,
    is_session_name,
)
from towow.errors import InvalidBody, InvalidRequest
from towow.events import is_id

MAX_CONTENT_CHARACTERS = 10_000
MAX_REASON_CHARACTERS = 500
DEFAULT_BROADCAST_TYPE = "broadcast"

_SESSION_RULE = f"session_name must be 1 to {MAX_SESSION_NAME} characters from A-Z a-z 0-9 . _ -"
_AGENT_RULE = f"agent_id must be 1 to {MAX_AGENT_ID} characters from A-Z a-z 0-9 . _ -, and not {QUEUE_ID}"


def path_session_name(text: str) -> str:
    """A session's name in a path. Raises `InvalidRequest`."""
    if not is_session_name(text):
        raise InvalidRequest(_SESSION_RULE, field="session_name")
    return text


def path_agent_id(text: str) -> str:
    """An operator's id in a path. Raises `InvalidRequest`."""
    if not is_agent_id(text):
        raise InvalidRequest(_AGENT_RULE, field="agent_id")
    return text


def query_status(text: str | None) -> str | None:
    """One of the four statuses, or None for all. Raises `InvalidRequest`."""
    return one_of(text, "status", STATUSES)


def check_session_name(text: str) -> str:
    """A session's name in a body. Raises `InvalidBody`."""
    if not is_session_name(text):
        raise InvalidBody(_SESSION_RULE, field="session_name")
    return text


def check_agent_id(text: str) -> str:
    """An operator's id in a body. Raises `InvalidBody`."""
    if not is_agent_id(text):
        raise InvalidBody(_AGENT_RULE, field="agent_id")
    return text


def check_speaker(role: Role, agent_id: str | None) -> str | None:
    """The id of an operator who speaks; user and bot have none. Raises `InvalidBody`."""
    if role == "operator":
        if agent_id is None:
            raise InvalidBody("agent_id is missing: say which operator speaks", field="agent_id")
        return check_agent_id(agent_id)
    if agent_id is not None:
        raise InvalidBody(f"agent_id goes with the role operator, not with {role}", field="agent_id")
    return None


def check_content(text: str) -> str:
    """A message, trimmed, with LF line ends. Raises `InvalidBody` when blank, `TooLarge` over 10,000 characters."""
    text = plain_text(text, "content")
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise InvalidBody("content is blank: say something", field="content")
    return within(text, "content", MAX_CONTENT_CHARACTERS)


def check_reason(text: str | None) -> str:
    """Why a human is asked for: up to 500 characters; absent is empty. Raises `InvalidBody`, `TooLarge`."""
    return within(plain_text(text or "", "reason"), "reason", MAX_REASON_CHARACTERS)


def check_message_id(text: str) -> str:
    """The sender's own id of a message. Raises `InvalidBody`."""
    if not is_id(text):
        raise InvalidBody("message_id must be 1 to 128 characters from A-Z a-z 0-9 . _ : -", field="message_id")
    return text


def check_type(text: str) -> str:
    """The type of a broadcast. Raises `InvalidBody`."""
    if not is_id(text):
        raise InvalidBody("type must be 1 to 128 characters from A-Z a-z 0-9 . _ : -", field="type")
    return text
