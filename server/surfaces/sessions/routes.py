"""Sessions over HTTP: messages, the hand-over to a human and back, and where each session is. Source 001's paths and bodies.

Every command may be repeated: what is so already, by the same hand, is 200 with its place in the log. Who comes too late
learns from the 409 who has the session. `channel_routes.py` has the streams."""

from collections.abc import Sequence
from functools import partial

import msgspec
from aiohttp import web

from server.api.pagination import Filter, Listing
from server.auth.authenticator import principal_of, require_any, require_append, require_read, require_to_operate
from server.config import Config
from server.eventlog.command_key import chosen
from server.eventlog.decider import decide_and_append, from_row
from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.eventlog.writer import Receipt
from server.http import params
from server.http.responses import json_response
from server.http.text_rules import one_of
from server.surfaces.sessions import commands, inputs, model, rendering
from server.surfaces.sessions.projections import get_session, list_sessions
from server.surfaces.sessions.state import (
    AGENT_ID,
    KIND,
    SESSION_NAME,
    STATUSES,
    Role,
    SessionState,
    operator_stream_of,
    stream_of,
)
from towow.errors import Conflict, NotFound
from towow.events import NewEvent, uuid7


class _EscalateInput(msgspec.Struct, forbid_unknown_fields=True):
    session_name: str
    reason: str | None = None


class _MessageInput(msgspec.Struct, forbid_unknown_fields=True):
    session_name: str
    role: Role
    content: str
    agent_id: str | None = None
    message_id: str | None = None


class _TakeOverInput(msgspec.Struct, forbid_unknown_fields=True):
    agent_id: str


class _ReleaseInput(msgspec.Struct, forbid_unknown_fields=True):
    agent_id: str
    close: bool = False


_ESCALATE = msgspec.json.Decoder(_EscalateInput)
_MESSAGE = msgspec.json.Decoder(_MessageInput)
_TAKE_OVER = msgspec.json.Decoder(_TakeOverInput)
_RELEASE = msgspec.json.Decoder(_ReleaseInput)
LISTING = Listing(
    "sessions",
    f"{KIND}:*",
    list_sessions,
    rendering.summary,
    {
        "status": Filter("status", partial(one_of, field="status", choices=STATUSES)),
        "agent_id": Filter("agent_id", AGENT_ID.in_query),
    },
)


class SessionRoutes:
    """Handlers of `/api/manual/*` and of `/api/sessions*` but its streams."""

    def __init__(self, log: EventLog, config: Config) -> None:
        self._log = log
        self._timeout_seconds = config.server.body_timeout_seconds

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.post("/api/manual/escalate", self.escalate),
            web.post("/api/manual/message", self.message),
            web.post("/api/sessions/{session_name}/takeover", self.take_over),
            web.post("/api/sessions/{session_name}/release", self.release),
            web.get("/api/sessions", self.list),
            web.get("/api/sessions/{session_name}", self.one),
        )

    async def escalate(self, request: web.Request) -> web.StreamResponse:
        """POST /api/manual/escalate

        `{session_name, reason?}`: ask for a human. 200 `{success, session_name, status: "waiting_agent", seq}`, the same when
        it waits already. With an operator, or closed, it is a conflict, with `status` and `agent_id`. Errors: invalid_request,
        invalid_body, too_large, forbidden, conflict, stream_ended, gone, unsupported_media_type, request_timeout,
        too_many_requests, storage_full, unavailable."""
        given = await params.read_json(request, _ESCALATE, timeout_seconds=self._timeout_seconds)
        session_name = SESSION_NAME.in_body(given.session_name)
        require_append(request, stream_of(session_name))
        command = commands.Escalate(inputs.check_reason(given.reason))
        state, _ = await self._decide(session_name, command)
        return json_response(rendering.handed_over(state))

    async def message(self, request: web.Request) -> web.StreamResponse:
        """POST /api/manual/message

        `{session_name, role: user|bot|operator, content, agent_id?, message_id?}`; an operator says its `agent_id`. 201
        `{success, session_name, status, seq, message_id}`; 200 with the first `seq` when this message_id was stored before. A
        bot while an operator has the session, an operator who does not, and a closed session are a conflict, with `status` and
        `agent_id`. Errors: invalid_request, invalid_body, too_large, forbidden, not_found, conflict, stream_ended, gone,
        unsupported_media_type, request_timeout, too_many_requests, storage_full, unavailable."""
        given = await params.read_json(request, _MESSAGE, timeout_seconds=self._timeout_seconds)
        session_name = SESSION_NAME.in_body(given.session_name)
        agent_id = inputs.check_speaker(given.role, given.agent_id)
        _require_to_speak(request, stream_of(session_name), given.role, agent_id)
        key_digits = chosen("message", 32) if given.message_id is None else None
        message_id = inputs.MESSAGE_ID.in_body(given.message_id) if given.message_id is not None else key_digits or uuid7()
        command = commands.Say(given.role, inputs.check_content(given.content), message_id, agent_id)
        seq = await self._said_before(session_name, command) if given.message_id is not None else None
        if seq is not None:
            return json_response(rendering.said(await self._state(session_name), message_id, seq))
        state, receipts = await self._decide(session_name, command, is_keyed=key_digits is not None)
        stored = receipts[0]
        return json_response(rendering.said(state, message_id, stored.event.seq), 201 if stored.created else 200)

    async def take_over(self, request: web.Request) -> web.StreamResponse:
        """POST /api/sessions/{session_name}/takeover

        `{agent_id}`: an operator takes a waiting session. 200 `{success, session_name, status: "with_operator", agent_id,
        seq}`, the same for who has it already. Of several at once one gets it; everybody else, and a session that does not
        wait, is a conflict, with `status` and `agent_id`. Errors: invalid_request, invalid_body, too_large, forbidden,
        not_found, conflict, stream_ended, gone, unsupported_media_type, request_timeout, too_many_requests, storage_full,
        unavailable."""
        session_name = self._session_of(request)
        given = await params.read_json(request, _TAKE_OVER, timeout_seconds=self._timeout_seconds)
        agent_id = self._operate_as(request, session_name, given.agent_id)
        state, _ = await self._decide(session_name, commands.TakeOver(agent_id))
        return json_response(rendering.handed_over(state, agent_id=agent_id))

    async def release(self, request: web.Request) -> web.StreamResponse:
        """POST /api/sessions/{session_name}/release

        `{agent_id, close?}`: its operator gives a session back to the bot, or with `close` ends it. 200 `{success,
        session_name, status: "bot" or "closed", agent_id, seq}`, the same for who has done so already. Who does not have it
        gets a conflict, with `status` and `agent_id`. Errors: invalid_request, invalid_body, too_large, forbidden, not_found,
        conflict, stream_ended, gone, unsupported_media_type, request_timeout, too_many_requests, storage_full, unavailable."""
        session_name = self._session_of(request)
        given = await params.read_json(request, _RELEASE, timeout_seconds=self._timeout_seconds)
        agent_id = self._operate_as(request, session_name, given.agent_id)
        state, _ = await self._decide(session_name, commands.Release(agent_id, given.close))
        return json_response(rendering.handed_over(state, agent_id=agent_id))

    @params.takes(*LISTING.query_names)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /api/sessions

        `status=` bot, waiting_agent, with_operator or closed, `agent_id=` of the operator who has it; `limit=` 1 to 200
        (default 50), `order=newest|oldest`, `before=` and `after=` a `created_seq` (exclusive). 200 `{sessions: […], has_more,
        head_seq, epoch}`, newest first, true at `head_seq`. Errors: invalid_request, forbidden."""
        return await LISTING.answer(request, self._log)

    async def one(self, request: web.Request) -> web.StreamResponse:
        """GET /api/sessions/{session_name}

        200 `{session_name, status, agent_id, reason, waiting_since, messages, created_at, updated_at, created_seq,
        status_seq, last_seq}`, true at `last_seq`; `messages` is their number. Errors: invalid_request, forbidden,
        not_found."""
        session_name = SESSION_NAME.in_path(request.match_info)
        require_read(request, stream_of(session_name))
        state = await self._state(session_name)
        if not state.exists:
            raise NotFound(f"there is no session {session_name}", field="session_name")
        return json_response(rendering.summary(state))

    @staticmethod
    def _session_of(request: web.Request) -> str:
        """The session in the path, which the client may operate, or append to."""
        session_name = SESSION_NAME.in_path(request.match_info)
        require_any(request, ("append", "operate"), stream_of(session_name))
        return session_name

    @staticmethod
    def _operate_as(request: web.Request, session_name: str, agent_id: str) -> str:
        """The operator in the body, as whom the client may act on the session."""
        agent_id = AGENT_ID.in_body(agent_id)
        require_to_operate(request, stream_of(session_name), operator_stream_of(agent_id))
        return agent_id

    async def _said_before(self, session_name: str, command: commands.Say) -> int | None:
        """The seq of this very message, whatever has become of its session since. Raises `Conflict` for another with its id."""
        event = model.message_event(session_name, command)
        stored = await self._log.get(event_id=event.event_id, selection=select((event.stream,)))
        if stored is None:
            return None
        if stored.payload_json != event.payload_json:
            raise Conflict(f"message_id {command.message_id} is of another message", field="message_id", seq=stored.seq)
        return stored.seq

    async def _state(self, session_name: str) -> SessionState:
        """The state as it is committed, by whichever process."""
        return await self._log.query(partial(get_session, session_name=session_name))

    async def _decide(
        self, session_name: str, command: commands.Command, *, is_keyed: bool = False
    ) -> tuple[SessionState, Sequence[Receipt]]:
        """Decide and append; the state after it, and what was appended. `is_keyed`: its Idempotency-Key names its event."""
        stream = stream_of(session_name)
        load = from_row(self._log, stream, partial(get_session, session_name=session_name), model.evolve)

        def decide(state: SessionState) -> list[NewEvent]:
            events = model.decide(state, command)
            first = [msgspec.structs.replace(event, event_id=None) for event in events[:1]]
            return [*first, *events[1:]] if is_keyed else events

        return await decide_and_append(self._log, stream, load, decide, model.evolve)


def _require_to_speak(request: web.Request, session: str, role: Role, agent_id: str | None) -> None:
    """Raise `Forbidden` unless the client may speak in this role: as the user a visitor; as the bot a backend, whose scope is
    all sessions, or who operates this one; as an operator itself."""
    if role == "operator" and agent_id is not None:
        require_to_operate(request, session, operator_stream_of(agent_id))
    elif role == "bot":
        if not principal_of(request).may("operate", session):
            require_append(request, f"{KIND}:*")
    else:
        require_append(request, session)
