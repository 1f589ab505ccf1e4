"""The events of tasks over HTTP: followed in batches, and read again where some are missing. Source 002's paths and shape."""

from collections.abc import Sequence

from aiohttp import web

from server.api.pagination import PAGE, PLACE, read_events
from server.api.stream_response import StreamResponder
from server.config import PROFILES, Config
from server.eventlog.hub import BatchPolicy
from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.http import params
from server.http.responses import JsonResponse, json_response
from server.surfaces.tasks import rendering
from server.surfaces.tasks.state import TASK_ID, stream_of
from towow.errors import InvalidRequest

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
            web.get("/sse/tasks/{task_id}/events", self.events),
            web.get("/sse/health", self.health),
            web.get("/api/tasks/{task_id}/events", self.page),
        )

    @params.takes("profile", "batch_size", "flush_interval", *params.STREAM)
    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /sse/tasks/{task_id}/events

        The task's events as `{seq, revision, event_id, event_type, task_id, phase, span_id, payload, timestamp,
        source}`: everything or after a cursor in any form, then live, then `end` when it has ended. The first one after quiet
        is sent at once; later ones when there are `batch_size=` (1 to 100) or the oldest has waited 0.8 × `flush_interval=`
        seconds (0.1 to 5). `profile=default|low_latency|high_throughput` sets both. `rotate` after `[tasks]
        max_events_per_stream`. 204 at the end of an ended task; `allow_pending=1` waits for one that does not exist. Errors:
        invalid_request, forbidden, not_found, too_many_requests."""
        task_id = TASK_ID.in_path(request.match_info)
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

    @params.takes_any
    async def health(self, request: web.Request) -> web.StreamResponse:
        """GET /sse/health

        200 `{status: "ok", service: "task_events_sse", version: "v0.32", protocol: "sse"}`, word for word; `GET /health` says
        how the server is."""
        return json_response(HEALTH)

    @params.takes("limit", *PAGE)
    async def page(self, request: web.Request) -> web.StreamResponse:
        """GET /api/tasks/{task_id}/events

        From the beginning or after a cursor in any form, up to `until_seq=` (inclusive); `limit=` 1 to 1,000 (default 100),
        `wait=` seconds to wait for a first event, `allow_pending=1` for a task that does not exist yet. 200 `{events,
        has_more, next_since_seq, next_cursor, head_seq, epoch, ended}`, each event as in the stream; `ended` when nothing more
        will come after it. Errors: invalid_request, forbidden, not_found, gone (with the fields of a reset frame)."""
        stream = stream_of(TASK_ID.in_path(request.match_info))
        page = await read_events(request, self._log, select((stream,)), max_wait_seconds=self._config.stream.max_wait_seconds)
        return JsonResponse(page.json(rendering.encode_task_event, (*PLACE, "ended")))
