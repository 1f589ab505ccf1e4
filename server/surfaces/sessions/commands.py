"""What may be asked of a session: the commands that `model.decide` turns into events.

Names and texts in them have been checked by `inputs.py`."""

import msgspec

from server.surfaces.sessions.state import Role


class Escalate(msgspec.Struct, frozen=True):
    """Ask for a human; the reason may be empty."""

    reason: str = ""


class Say(msgspec.Struct, frozen=True):
    """A message; `agent_id` is the operator's, None for user and bot. `message_id` makes it safe to send again."""

    role: Role
    content: str
    message_id: str
    agent_id: str | None = None


class TakeOver(msgspec.Struct, frozen=True):
    """An operator takes a waiting session."""

    agent_id: str


class Release(msgspec.Struct, frozen=True):
    """The operator who has a session gives it back to the bot, or with `close` ends it."""

    agent_id: str
    close: bool = False


Command = Escalate | Say | TakeOver | Release
