"""What may be said to a session: every name and text within its limits, or refused with the field.

Pure. Events that these become are checked again where all events are (`towow/events.py`)."""

from server.http.text_rules import Id, plain_text, within
from server.surfaces.sessions.state import AGENT_ID, Role
from towow.errors import InvalidBody

MAX_CONTENT_CHARACTERS = 10_000
MAX_REASON_CHARACTERS = 500
DEFAULT_BROADCAST_TYPE = "broadcast"

MESSAGE_ID = Id("message_id", has_colons=True)
BROADCAST_TYPE = Id("type", has_colons=True)


def check_speaker(role: Role, agent_id: str | None) -> str | None:
    """The id of an operator who speaks; user and bot have none. Raises `InvalidBody`."""
    if role == "operator":
        if agent_id is None:
            raise InvalidBody("agent_id is missing: say which operator speaks", field="agent_id")
        return AGENT_ID.in_body(agent_id)
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
