"""What tools report, over HTTP, for runners in any language; `towow/tools.py` is the one in Python."""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from server.auth.authenticator import require_append
from server.config import Config
from server.eventlog.command_key import KEY, chosen
from server.eventlog.decider import decide_and_append, known
from server.eventlog.log import EventLog
from server.eventlog.redaction import Redaction
from server.http import params
from server.http.responses import json_response
from server.surfaces.tools import commands, inputs, model, rendering
from server.surfaces.tools.permission_service import PermissionService
from server.surfaces.tools.routes import BASE
from server.surfaces.tools.state import SESSION_ID, TOOL_STATUS, initial, stream_of
from server.surfaces.tools.throttling import StatusThrottle, Stored


class _NoticeInput(msgspec.Struct, forbid_unknown_fields=True):
    type: inputs.NoticeType
    data: dict[str, Any] = {}
    permission_id: str | None = None
    event_id: str | None = None


_NOTICE = msgspec.json.Decoder(_NoticeInput)


class NoticeRoutes:
    """The handler of `/agent_backend/api/sse/notify/{session_id}`."""

    def __init__(self, log: EventLog, statuses: StatusThrottle, decisions: PermissionService, config: Config) -> None:
        self._log = log
        self._statuses = statuses
        self._decisions = decisions
        self._timeout_seconds = config.server.body_timeout_seconds
        tools = config.tools
        redaction = Redaction(config.append.redact_keys, config.append.redact)
        self._rules = inputs.Rules(redaction, tools.max_payload_bytes, tools.permission_timeout_seconds)

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (web.post(f"{BASE}/notify/{{session_id}}", self.notify),)

    async def notify(self, request: web.Request) -> web.StreamResponse:
        """POST /agent_backend/api/sse/notify/{session_id}

        `{type: tool_status|permission_request|tool_result|permission_cleared|result_cleared|error, data, permission_id?,
        event_id?}`. 201 `{success: true, seq, permission_id?}`, for a request also `status` and `expires_in_seconds`; 200 when
        it was stored before (the same `event_id`, or the same request of the same `permission_id`), or when a later
        `tool_status` took the place of this one (`coalesced`). Errors: invalid_request, invalid_body, too_large, forbidden,
        not_found, conflict, unsupported_media_type, request_timeout, too_many_requests, storage_full, unavailable."""
        session_id = SESSION_ID.in_path(request.match_info)
        require_append(request, stream_of(session_id))
        given = await params.read_json(request, _NOTICE, timeout_seconds=self._timeout_seconds)
        permission_id, digits = given.permission_id, chosen("permission", 32)
        if digits is not None and given.type == "permission_request" and "permission_id" not in given.data:
            permission_id = permission_id or f"perm-{digits}"
        command = inputs.read_notice(given.type, given.data, permission_id, given.event_id, self._rules)
        if isinstance(command, commands.ReportEvent):
            stored = await self._report(session_id, command)
            status = 201 if stored.is_own and stored.receipt.created else 200
            flags = {} if stored.is_own else {"coalesced": True}
            return json_response({"success": True, "seq": stored.receipt.event.seq, **flags}, status)
        permission, is_new = msgspec.structs.astuple(await self._decisions.decide(session_id, command))
        if isinstance(command, commands.RequestPermission):
            now = self._decisions.now_of(session_id, permission)
            return json_response(rendering.requested(permission, now), 201 if is_new else 200)
        answer = {"success": True, "seq": permission.ended_seq, "permission_id": permission.permission_id}
        return json_response(answer, 201 if is_new else 200)

    async def _report(self, session_id: str, command: commands.ReportEvent) -> Stored:
        stream, state = stream_of(session_id), initial(session_id)
        if command.event_type == TOOL_STATUS and KEY.get() is None:  # one with a key is stored for itself
            return await self._statuses.append(model.decide(state, command)[0], command.data["tool_name"])
        await self._statuses.flush(stream)
        load = known(state)  # a report changes nothing that a decision looks at
        _, receipts = await decide_and_append(
            self._log, stream, load, lambda state: model.decide(state, command), revision_of=None, has_own_ids=True
        )
        return Stored(receipts[0], True)
