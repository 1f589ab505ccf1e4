"""The calls of sessions: messages of a chat, and its hand-over to a human operator and back.

    async with Client() as client:
        await client.message("alice", "user", "I want to talk to a human")
        await client.escalate("alice", "the visitor asked")
        await client.takeover("alice", "operator-7")
        await client.message("alice", "operator", "Hello!", agent_id="operator-7")
        await client.release("alice", "operator-7")

Every call may be repeated: the server answers a command that it has carried out with the same place in the log. So each is
tried again through breaks and restarts. `channels.py` has source 001's publish and subscribe."""

from typing import Any, Literal

import msgspec

from towow.events import Event, uuid7
from towow.follow import StateCallback, follow
from towow.subscription import Subscription
from towow.transport import Order, Transport, given, json_body, path_segment

Role = Literal["user", "bot", "operator"]


class Session(msgspec.Struct, frozen=True):
    """A session at `last_seq`; `messages` is their number, `agent_id` the operator, if any."""

    session_name: str
    status: str
    agent_id: str | None
    reason: str | None
    waiting_since: str | None
    messages: int
    created_at: str
    updated_at: str
    created_seq: int
    status_seq: int
    last_seq: int


class SessionPage(msgspec.Struct, frozen=True):
    """Sessions, newest first; the next page is `before` the last one's `created_seq`."""

    sessions: list[Session]
    has_more: bool
    head_seq: int
    epoch: str


class HandOver(msgspec.Struct, frozen=True):
    """The change of a session's status at `seq`; `agent_id` is the operator of a takeover or a release."""

    success: bool
    session_name: str
    status: str
    seq: int
    agent_id: str | None = None


class SentMessage(msgspec.Struct, frozen=True):
    """A stored message: its place in the log, and its session's status."""

    success: bool
    session_name: str
    status: str
    seq: int
    message_id: str


class SentBroadcast(msgspec.Struct, frozen=True):
    """The place of a broadcast in the log."""

    success: bool
    seq: int


class SessionCalls:
    """The calls of `Client` about sessions."""

    _transport: Transport
    _source: str

    async def message(
        self, session_name: str, role: Role, content: str, *, agent_id: str | None = None, message_id: str | None = None
    ) -> SentMessage:
        """Add a message to a session; the first one begins it. An operator gives its `agent_id`.

        The message_id is chosen before the first try. Raises `Conflict` (a bot while an operator has the session, an operator
        without it, a closed session), `InvalidBody`, `TooLarge`."""
        body = json_body(
            session_name=session_name, role=role, content=content, agent_id=agent_id, message_id=message_id or uuid7()
        )
        return await self._transport.post(SentMessage, "/api/manual/message", body)

    async def escalate(self, session_name: str, reason: str | None = None) -> HandOver:
        """Request a human for a session. Raises `Conflict` when an operator has it, or it is closed."""
        body = json_body(session_name=session_name, reason=reason)
        return await self._transport.post(HandOver, "/api/manual/escalate", body)

    async def takeover(self, session_name: str, agent_id: str) -> HandOver:
        """Take a waiting session as an operator; of several at once one gets it.

        Raises `Conflict` (its details have the `agent_id` that has the session), `NotFound`."""
        path = f"/api/sessions/{path_segment(session_name)}/takeover"
        return await self._transport.post(HandOver, path, json_body(agent_id=agent_id))

    async def release(self, session_name: str, agent_id: str, *, close: bool = False) -> HandOver:
        """Give a session back to the bot, or with `close` end it. Raises what `takeover` raises."""
        path = f"/api/sessions/{path_segment(session_name)}/release"
        return await self._transport.post(HandOver, path, json_body(agent_id=agent_id, close=close))

    async def session(self, session_name: str) -> Session:
        """The present state of a session. Raises `NotFound`."""
        return await self._transport.get(Session, f"/api/sessions/{path_segment(session_name)}")

    async def sessions(
        self,
        status: str | None = None,
        *,
        agent_id: str | None = None,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
        order: Order | None = None,
    ) -> SessionPage:
        """One page of sessions, newest first; `before` and `after` are a `created_seq`, excluded, `agent_id` the operator's.

        `status="waiting_agent"` is the queue of the operators; its `head_seq` is a cursor for `follow_operator`."""
        asked = given(status=status, agent_id=agent_id, limit=limit, before=before, after=after, order=order)
        return await self._transport.get(SessionPage, "/api/sessions", asked)

    def follow_session(
        self,
        session_name: str,
        *,
        since_seq: int | str | None = None,
        allow_pending: bool = False,
        on_state: StateCallback | None = None,
    ) -> Subscription[Event]:
        """A session's events, the stored ones and then new ones, until it is closed; it resumes as `Client.follow` does.

        Raises `NotFound` unless `allow_pending`, `CursorLost`."""
        parameters = [("stream", f"session:{session_name}"), *given(allow_pending=1 if allow_pending else None)]
        return follow(self._transport, parameters, since_seq=since_seq, on_state=on_state)

    def follow_operator(
        self,
        agent_id: str,
        *,
        since_seq: int | str | None = None,
        start: str | None = None,
        on_state: StateCallback | None = None,
    ) -> Subscription[Event]:
        """The events of an operator and of the queue of all, from now on unless a cursor or `start` is given.

        A takeover or release by this operator comes twice, once on each `stream`. It never ends by itself."""
        streams = [("stream", f"operator:{agent_id}"), ("stream", "operator:queue"), ("allow_pending", "1")]
        return follow(self._transport, streams, since_seq=since_seq, start=start, on_state=on_state)

    async def broadcast(self, payload: dict[str, Any], *, type: str = "broadcast") -> SentBroadcast:
        """Send an event to every follower of the broadcasts.

        It has no idempotency key: it is tried again only when the server certainly did not take it."""
        body = json_body(payload=payload, type=type, source=self._source)
        return await self._transport.post(SentBroadcast, "/api/broadcast", body, is_repeatable=False)
