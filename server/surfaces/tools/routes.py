"""The tools surface over HTTP: follow what tools do, answer their permissions, see how a session is. Source 004's paths.

`notice_routes.py` is the other side, for programs that run tools."""

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial

import msgspec
from aiohttp import web

from server.api.stream_response import StreamResponder
from server.auth.authenticator import principal_of, require_answer, require_read
from server.auth.rate_limits import held_open
from server.config import Config
from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.http import params
from server.http.protocol import unless_half_closed
from server.http.responses import json_response
from server.streaming.follower import wait_for_event
from server.surfaces.tools import checks, commands, rendering
from server.surfaces.tools.permission_service import PermissionService
from server.surfaces.tools.projections import get_permission, load_session
from server.surfaces.tools.state import PERMISSION_CLEARED, PERMISSION_ID, PERMISSION_RESPONSE, SESSION_ID, stream_of
from towow.errors import NotFound

BASE = "/agent_backend/api/sse"


class _AnswerInput(msgspec.Struct, forbid_unknown_fields=True):
    approved: bool
    reason: str | None = None
    permission_id: str | None = None


_ANSWER = msgspec.json.Decoder(_AnswerInput)


class ToolRoutes:
    """Handlers of `/agent_backend/api/sse/*` for people who watch and answer."""

    def __init__(self, log: EventLog, streaming: StreamResponder, decisions: PermissionService, config: Config) -> None:
        self._log = log
        self._decisions = decisions
        self._streaming = streaming
        self._config = config
        self._connections: Counter[str] = Counter()

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.get(f"{BASE}/events/{{session_id}}", self.events),
            web.post(f"{BASE}/permission-response/{{session_id}}", self.answer),
            web.get(f"{BASE}/permissions/{{session_id}}/{{permission_id}}", self.permission),
            web.get(f"{BASE}/health/{{session_id}}", self.health),
        )

    @params.takes(*params.STREAM)
    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /agent_backend/api/sse/events/{session_id}

        The session's events as `{type, data, seq, event_id, revision}`: everything or after a cursor in any form, then live.
        It may be opened before the first event. `data: {"type":"heartbeat","timestamp":…}` without an id after 15 s of
        silence. Errors: invalid_request, forbidden, too_many_requests."""
        session_id = SESSION_ID.in_path(request.match_info)
        require_read(request, stream_of(session_id))
        self._connections[session_id] += 1
        try:
            return await self._streaming.serve(
                request,
                select((stream_of(session_id),)),
                params.asked(request)._replace(allow_pending=True),
                is_ndjson=params.wants_ndjson(request),
                envelope=rendering.encode_tool_event,
                heartbeat=True,
            )
        finally:
            self._connections[session_id] -= 1
            if not self._connections[session_id]:
                del self._connections[session_id]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """POST /agent_backend/api/sse/permission-response/{session_id}

        `{approved, reason?, permission_id?}`; without the id the one permission that is pending. 200 `{success: true,
        permission_id, approved, reason, actor, seq}`, the first answer's, also when the same decision comes again. The
        opposite one is a conflict; one that comes too late is gone, and denied. Errors: invalid_request, invalid_body,
        too_large, forbidden, not_found, conflict, gone, unsupported_media_type, request_timeout, too_many_requests,
        storage_full, unavailable."""
        session_id = SESSION_ID.in_path(request.match_info)
        require_answer(request, stream_of(session_id))
        given = await params.read_json(request, _ANSWER, timeout_seconds=self._config.server.body_timeout_seconds)
        command = commands.AnswerPermission(
            permission_id=None if given.permission_id is None else PERMISSION_ID.in_body(given.permission_id),
            approved=given.approved,
            reason=checks.reason(given.reason),
            actor=principal_of(request).acts_as,
            allows_self=self._config.tools.allow_self_approval,
        )
        return json_response(rendering.answered((await self._decisions.decide(session_id, command)).permission))

    @params.takes("wait")
    async def permission(self, request: web.Request) -> web.StreamResponse:
        """GET /agent_backend/api/sse/permissions/{session_id}/{permission_id}

        `wait=` seconds to wait for an answer. 200 `{permission_id, status: pending|approved|rejected|expired|cleared,
        tool_name, parameters, risk_level, reason, actor, requested_at, expires_at, expires_in_seconds, ended_at, requested_seq,
        ended_seq}`. Errors: invalid_request, forbidden, not_found."""
        session_id = SESSION_ID.in_path(request.match_info)
        require_read(request, stream_of(session_id))
        permission_id = PERMISSION_ID.in_path(request.match_info)
        wait = params.query_seconds(request, "wait", default=0.0, low=0.0, high=self._config.stream.max_wait_seconds)
        ends = select((stream_of(session_id),), (PERMISSION_RESPONSE, PERMISSION_CLEARED))
        until = time.monotonic() + wait
        while True:
            cursor = self._log.head_seq  # read before the row: an answer in between ends the wait at once
            permission = await self._log.query(partial(get_permission, session_id=session_id, permission_id=permission_id))
            if permission is None:
                raise NotFound(f"{session_id} has no permission {permission_id}", field="permission_id")
            if permission.status == "pending" and (seconds := until - time.monotonic()) > 0:
                with held_open(request):
                    if await unless_half_closed(request, wait_for_event(self._log, ends, cursor, seconds)):
                        continue
            return json_response(rendering.detail(permission, self._decisions.now_of(session_id, permission)))

    @params.takes_any
    async def health(self, request: web.Request) -> web.StreamResponse:
        """GET /agent_backend/api/sse/health/{session_id}

        200 `{status: "healthy", session_id, connected, connections, last_seq, pending_permission, pending: […]}`: open streams
        of this process, and the permissions that wait, oldest first. 404 for a session without events that nobody watches.
        Errors: invalid_request, forbidden, not_found."""
        session_id = SESSION_ID.in_path(request.match_info)
        require_read(request, stream_of(session_id))
        connections = self._connections[session_id]
        state = await self._log.query(partial(load_session, session_id=session_id))
        if not state.revision and not connections:
            raise NotFound(f"there is no tool session {session_id}", field="session_id")
        return json_response(rendering.health(state, connections, partial(self._decisions.now_of, session_id)))
