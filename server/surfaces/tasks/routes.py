"""Tasks over HTTP: what emitters say, and how tasks are. `event_routes.py` has their events."""

import re
from collections.abc import Sequence
from functools import partial

import msgspec
from aiohttp import web

from server.api.pagination import Filter, Listing
from server.auth.authenticator import require_append, require_read
from server.auth.rate_limits import RateLimits
from server.config import Config
from server.eventlog.decider import decide_and_append, known
from server.eventlog.log import EventLog
from server.http import params
from server.http.responses import FOLLOWERS, json_response
from server.http.text_rules import one_of
from server.surfaces.tasks import inputs, model, rendering
from server.surfaces.tasks.projections import list_tasks, load_task
from server.surfaces.tasks.state import KIND, STATUSES, TASK_ID, initial, stream_of
from towow.errors import InvalidBody, NotFound, TooLarge
from towow.events import parse_json

_STARTS_MANY = re.compile(rb'\s*\{\s*"events"\s*:')  # however it is laid out, without parsing it twice
_ONE = msgspec.json.Decoder(inputs.EmitInput)
_MANY = msgspec.json.Decoder(inputs.EmitManyInput)
_STATUS = Filter("status", partial(one_of, field="status", choices=STATUSES))
LISTING = Listing("tasks", f"{KIND}:*", list_tasks, rendering.summary, {"status": _STATUS})


class TaskRoutes:
    """Handlers of `/api/tasks*` but the reading of events."""

    def __init__(self, log: EventLog, limits: RateLimits, config: Config) -> None:
        self._log = log
        self._limits = limits
        self._config = config

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.post("/api/tasks/{task_id}/events", self.emit),
            web.get("/api/tasks", self.list),
            web.get("/api/tasks/{task_id}", self.one),
        )

    async def emit(self, request: web.Request) -> web.StreamResponse:
        """POST /api/tasks/{task_id}/events

        `{event_type, payload?, phase?, span_id?, event_id?, source?}`: say what happened; the first event makes the task. 201
        `{success, task_id, seq, revision, event_id, followers}`, 200 when it was stored before. Many as `{"events": [those]}`,
        all or none: `{success, task_id, events: [{seq, revision, event_id, followers}]}`. `work_item_started` is stored as
        `work_item_start`, `work_item_completed` as `work_item_complete`. Errors: invalid_request, invalid_body, too_large,
        forbidden, conflict, stream_ended, unsupported_media_type, request_timeout, too_many_requests, storage_full,
        unavailable."""
        task_id = TASK_ID.in_path(request.match_info)
        require_append(request, stream_of(task_id))
        params.require_type(request, params.JSON_TYPES)
        body = await params.read_body(request, timeout_seconds=self._config.server.body_timeout_seconds)
        body = await params.without_secrets(body, self._log.redaction)
        is_many = _STARTS_MANY.match(body) is not None
        given = parse_json(body, _MANY).events if is_many else [parse_json(body, _ONE)]
        self._check_count(request, len(given))
        limit = self._config.append.max_event_bytes
        commands = [inputs.read_emit(each) for each in given]
        _, receipts = await decide_and_append(
            self._log,
            stream_of(task_id),
            known(initial(task_id)),  # any event may come at any time; the log knows whether the task has ended
            lambda state: [event for each in commands for event in model.decide(state, each, max_event_bytes=limit)],
            revision_of=None,
            has_own_ids=True,
        )
        request[FOLLOWERS] = max(receipt.followers for receipt in receipts)
        places = [rendering.emitted(receipt.event, receipt.followers) for receipt in receipts]
        answer = {"success": True, "task_id": task_id, **({"events": places} if is_many else places[0])}
        return json_response(answer, 201 if any(receipt.created for receipt in receipts) else 200)

    def _check_count(self, request: web.Request, count: int) -> None:
        limit = self._config.append.max_events_per_request
        if not count:
            raise InvalidBody("there must be at least one event", field="events")
        if count > limit:
            raise TooLarge(f"{count} events in one request, the limit is {limit}", field="events", limit=limit)
        if count > 1:  # one was taken with the request
            self._limits.take_events(request, count - 1)

    @params.takes(*LISTING.query_names)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /api/tasks

        `status=` running, completed, failed or cancelled; `limit=` 1 to 200 (default 50), `order=newest|oldest`, `before=` and
        `after=` a `created_seq` (exclusive). 200 `{tasks: […], has_more, head_seq, epoch}`, newest first, true at `head_seq`.
        Errors: invalid_request, forbidden."""
        return await LISTING.answer(request, self._log)

    async def one(self, request: web.Request) -> web.StreamResponse:
        """GET /api/tasks/{task_id}

        200 `{task_id, status, phase, progress, work_items_total, work_items_running, work_items_completed,
        work_items_failed, events, created_at, updated_at, created_seq, last_seq, work_items: [{span_id, status, name,
        started_at, ended_at}]}`, true at `last_seq`: the newest 1,000 work items; `events` is a number. Errors:
        invalid_request, forbidden, not_found."""
        task_id = TASK_ID.in_path(request.match_info)
        require_read(request, stream_of(task_id))
        state = await self._log.query(partial(load_task, task_id=task_id))
        if not state.exists:
            raise NotFound(f"there is no task {task_id}", field="task_id")
        return json_response(rendering.detail(state))
