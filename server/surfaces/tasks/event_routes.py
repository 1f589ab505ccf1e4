"""The events of tasks over HTTP: followed in batches, and read again where some are missing. Source 002's paths and shape."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from aiohttp import web

from server.api.stream_response import StreamResponder
from server.auth.authenticator import require_read
from server.config import PROFILES, Config
from server.eventlog.hub import BatchPolicy
from server.eventlog.log import EventLog
from server.eventlog.selection import Selection, select
from server.http import params
from server.http.responses import JsonResponse, json_response
from server.streaming.cursor import resolve
from server.streaming.follower import wait_for_event
from server.surfaces.tasks import inputs, rendering
from server.surfaces.tasks.state import stream_of
from towow.errors import Gone, InvalidRequest
from towow.events import MAX_SEQ, Event

DEFAULT_PAGE_EVENTS = 100
MAX_PAGE_EVENTS = 1_000
_PAGE_BYTES = 8_388_608

# Of the flush interval: the rest is for the way, so that nobody waits longer than the interval.
HOLD_PART = 0.8

HEALTH = {"status": "ok", "service": "task_events_sse", "version": "v0.32", "protocol": "sse"}


class TaskEventRoutes:
    """Handlers of `/sse/*`, and of the back-fill."""

    def __init__(self, log: EventLog, streaming: StreamResponder, config: Config) -> None:
        self._log = log
        self._streaming = streaming
        self._config = config

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.get("/sse/tasks/{task_id}/events", self.events, allow_head=False),
            web.get("/sse/health", self.health, allow_head=False),
            web.get("/api/tasks/{task_id}/events", self.page, allow_head=False),
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /sse/tasks/{task_id}/events

        The task's events as `{seq, revision, event_id, event_type, task_id, phase, span_id, payload, timestamp, source}`:
        everything or after a cursor in any form, then live, then `end` when it has ended. The first one after quiet is sent at
        once; later ones when there are `batch_size=` (1 to 100) or the oldest has waited 0.8 × `flush_interval=` seconds (0.1
        to 5). `profile=default|low_latency|high_throughput` sets both. `rotate` after `[tasks] max_events_per_stream`. 204 at
        the end of an ended task; `allow_pending=1` waits for one that does not exist. Errors: invalid_request, forbidden,
        not_found."""
        task_id = inputs.path_task_id(request.match_info["task_id"])
        tasks = self._config.tasks
        return await self._streaming.serve(
            request,
            select((stream_of(task_id),)),
            params.asked(request),
            keepalive_seconds=tasks.keepalive_seconds,
            keepalive_comment=params.keepalive_comment(request, "keepalive"),
            is_ndjson=params.wants_ndjson(request),
            envelope=rendering.encode_task_event,
            batch_policy=self._batch_policy(request),
            max_events=tasks.max_events_per_stream,
        )

    def _batch_policy(self, request: web.Request) -> BatchPolicy:
        """What the request says, else its profile, else the settings."""
        size, seconds = self._config.tasks.batch_size, self._config.tasks.flush_interval_seconds
        name = params.query(request, "profile")
        if name is not None:
            if name not in PROFILES:
                raise InvalidRequest(f"profile must be one of {', '.join(PROFILES)}", field="profile")
            size, seconds = PROFILES[name].batch_size, PROFILES[name].flush_interval
        size = params.query_integer(request, "batch_size", default=size, low=1, high=100)
        seconds = params.query_seconds(request, "flush_interval", default=seconds, low=0.1, high=5.0)
        return BatchPolicy(size, round(HOLD_PART * seconds, 6))

    async def health(self, request: web.Request) -> web.StreamResponse:
        """GET /sse/health

        200 `{status: "ok", service: "task_events_sse", version: "v0.32", protocol: "sse"}`, word for word; `GET /health` says
        how the server is."""
        return json_response(HEALTH)

    async def page(self, request: web.Request) -> web.StreamResponse:
        """GET /api/tasks/{task_id}/events

        From the beginning or after a cursor in any form, up to `until_seq=` (inclusive); `limit=` 1 to 1,000 (default 100),
        `wait=` seconds to wait for a first event. 200 `{events, has_more, next_since_seq, head_seq, epoch, ended}`, each event
        as in the stream; `ended` when nothing more will come after it. Errors: invalid_request, forbidden, not_found, gone
        (with the fields of a reset frame)."""
        stream = stream_of(inputs.path_task_id(request.match_info["task_id"]))
        require_read(request, stream)
        selection, asked = select((stream,)), params.asked(request)
        until = params.query_integer(request, "until_seq", default=MAX_SEQ, low=0, high=MAX_SEQ)
        limit = params.query_integer(request, "limit", default=DEFAULT_PAGE_EVENTS, low=1, high=MAX_PAGE_EVENTS)
        wait = params.query_seconds(request, "wait", default=0.0, low=0.0, high=self._config.stream.max_wait_seconds)
        start = await resolve(self._log, selection, asked)
        if start.reset is not None:
            raise Gone(f"the cursor is not in this log: {start.reset['reason']}", field="cursor", **start.reset)
        found = await self._read(selection, start.cursor, until, limit)
        deadline = time.monotonic() + (0.0 if start.is_over else wait)
        while not found.events and found.through_seq < until and (seconds := deadline - time.monotonic()) > 0:
            if not await wait_for_event(self._log, selection, found.through_seq, seconds):
                break
            found = await self._read(selection, found.through_seq, until, limit)
        return JsonResponse(self._page_json(found, limit, is_over=start.is_over))

    async def _read(self, selection: Selection, cursor: int, until: int, limit: int) -> "_Found":
        """What there is now; one event more than `limit`, where there is one: it says whether there are more."""
        head_seq = self._log.head_seq
        through = max(cursor, min(until, head_seq))
        page = await self._log.read(selection, cursor, limit=limit + 1, max_bytes=_PAGE_BYTES, through=through)
        return _Found(page.events, page.through_seq, through, head_seq)

    def _page_json(self, found: "_Found", limit: int, *, is_over: bool) -> bytes:
        shown = found.events[:limit]
        is_cut = len(found.events) > limit
        has_more = is_cut or found.through_seq < found.asked_seq
        is_last = bool(shown) and self._log.is_terminal(shown[-1].stream, shown[-1].event_type)
        return rendering.encode_page(
            shown,
            has_more=has_more,
            next_since_seq=shown[-1].seq if is_cut else found.through_seq,
            head_seq=found.head_seq,
            epoch=self._log.epoch,
            ended=is_over or is_last,
        )


class _Found(NamedTuple):
    """Events up to `through_seq`, where `asked_seq` was asked for; both inclusive."""

    events: list[Event]
    through_seq: int
    asked_seq: int
    head_seq: int
