"""The streams of sessions, operators and broadcasts, in source 001's envelope, and the way to broadcast.

`: heartbeat` every 30 s of silence. Who follows a session or an operator may ask for the broadcasts with it, on the same
connection and in one order."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from server.api.stream_response import StreamResponder
from server.auth.authenticator import require_any, require_read
from server.config import Config
from server.eventlog.decider import decide_and_append, known
from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.http import params
from server.http.responses import json_response
from server.streaming.cursor import CursorRequest, resolve
from server.surfaces.sessions import inputs, rendering
from server.surfaces.sessions.projections import get_session
from server.surfaces.sessions.state import AGENT_ID, BROADCAST, QUEUE, SESSION_NAME, operator_stream_of, stream_of
from towow.events import new_event


class _BroadcastInput(msgspec.Struct, forbid_unknown_fields=True):
    payload: dict[str, Any]
    type: str = inputs.DEFAULT_BROADCAST_TYPE
    source: str = "unknown"


_BROADCAST = msgspec.json.Decoder(_BroadcastInput)


class ChannelRoutes:
    """Handlers of the three streams and of `POST /api/broadcast`."""

    def __init__(self, log: EventLog, streaming: StreamResponder, config: Config) -> None:
        self._log = log
        self._streaming = streaming
        self._config = config

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.get("/api/sessions/{session_name}/events", self.session_events),
            web.get("/api/operators/{agent_id}/events", self.operator_events),
            web.get("/api/broadcast/events", self.broadcast_events),
            web.post("/api/broadcast", self.broadcast),
        )

    @params.takes("broadcast", *params.STREAM)
    async def session_events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/sessions/{session_name}/events

        The session for both of its sides: everything or after a cursor in any form, then live, then `end` when it was closed;
        204 at the end of a closed one. `broadcast=1` adds the broadcasts since the session began, and then a closed session
        does not end the stream. Errors: invalid_request, forbidden, not_found, too_many_requests."""
        session_name = SESSION_NAME.in_path(request.match_info)
        stream = stream_of(session_name)
        asked = params.asked(request)
        if not params.query_flag(request, "broadcast"):
            return await self._serve(request, (stream,), asked)
        require_read(request, stream, BROADCAST)
        head_seq = self._log.head_seq  # read before the row: a session that begins meanwhile is not missed
        await resolve(self._log, select((stream,)), asked)  # of two streams nobody says that one does not exist
        if asked.cursor is None and asked.start is None:
            state = await self._log.query(partial(get_session, session_name=session_name))
            first = state.created_seq - 1 if state.exists else head_seq
            asked = asked._replace(start=f"after:{first}")
        return await self._serve(request, (stream, BROADCAST), asked)

    @params.takes("broadcast", *params.STREAM)
    async def operator_events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/operators/{agent_id}/events

        What concerns an operator, and what all of them should see: sessions that wait, are taken over and given back. Live
        unless a cursor or `start=` says otherwise; what waits already is in the list of sessions, whose `head_seq` is a cursor
        here. What concerns this operator comes twice, once on each `stream`. `broadcast=1` adds the broadcasts. Errors:
        invalid_request, forbidden, too_many_requests."""
        own = operator_stream_of(AGENT_ID.in_path(request.match_info))
        streams = (own, QUEUE, BROADCAST) if params.query_flag(request, "broadcast") else (own, QUEUE)
        return await self._serve(request, streams, params.asked(request))

    @params.takes(*params.STREAM)
    async def broadcast_events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/broadcast/events

        What is said to everybody: live unless a cursor or `start=` says otherwise, also before the first. Errors:
        invalid_request, forbidden, too_many_requests."""
        return await self._serve(request, (BROADCAST,), params.asked(request)._replace(allow_pending=True))

    async def broadcast(self, request: web.Request) -> web.StreamResponse:
        """POST /api/broadcast

        `{payload: object, type?: "broadcast", source?}`: say something to everybody. 201 `{success, seq}`. Errors:
        invalid_request, invalid_body, too_large, forbidden, unsupported_media_type, request_timeout, too_many_requests,
        storage_full, unavailable."""
        require_any(request, ("manage", "append"), BROADCAST)
        given = await params.read_json(request, _BROADCAST, timeout_seconds=self._config.server.body_timeout_seconds)
        event = new_event(
            BROADCAST,
            inputs.BROADCAST_TYPE.in_body(given.type),
            given.payload,
            source=given.source,
            max_event_bytes=self._config.append.max_event_bytes,
        )
        _, receipts = await decide_and_append(
            self._log, BROADCAST, known(None), lambda _: [event], revision_of=None, has_own_ids=True
        )
        return json_response({"success": True, "seq": receipts[0].event.seq}, 201)

    async def _serve(self, request: web.Request, streams: Sequence[str], asked: CursorRequest) -> web.StreamResponse:
        require_read(request, *streams)
        return await self._streaming.serve(
            request,
            select(streams),
            asked,
            keepalive_seconds=self._config.sessions.keepalive_seconds,
            keepalive_comment=params.keepalive_comment(request, "heartbeat"),
            is_ndjson=params.wants_ndjson(request),
            envelope=rendering.encode_message,
        )
