"""The generic API over the log: append, read, follow, list. Every surface stands on the same log; this one shows it as it
is."""

import re
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from server.api.pagination import PAGE, PLACE, read_events
from server.api.stream_response import StreamResponder
from server.auth.authenticator import principal_of, require_append, require_read
from server.auth.rate_limits import RateLimits
from server.config import Config
from server.eventlog.command_key import carried_out, stamped
from server.eventlog.log import EventLog
from server.eventlog.writer import Receipt
from server.http import cloudevents, params
from server.http.responses import FOLLOWERS, JsonResponse, json_response
from server.http.text_rules import Id
from towow.errors import Forbidden, InvalidBody, NotFound, TooLarge
from towow.events import MAX_SEQ, SYSTEM, Event, EventInput, NewEvent, check_input, kind_of, parse_json

MAX_LISTED_STREAMS = 1_000
DEFAULT_LISTED_STREAMS = 100

_TYPES = frozenset({"application/json", params.NDJSON, cloudevents.STRUCTURED, cloudevents.BATCH})


class _Many(msgspec.Struct, forbid_unknown_fields=True):
    events: list[EventInput]


_INDEX = {"title": "ToWow API", "description": "ToWow collaboration-network backend API", "version": "1.0.0"}
_KEY_IDS = "key-"  # how event_ids begin that are derived from an Idempotency-Key
# Whether a body is `{"events": …}`, however it is laid out, without parsing it twice.
_STARTS_MANY = re.compile(rb'\s*\{\s*"events"\s*:')
_ONE = msgspec.json.Decoder(EventInput)
_MANY = msgspec.json.Decoder(_Many)


class EventRoutes:
    """Handlers of `/api/events*`, `/api/head` and `/api/streams`."""

    def __init__(
        self,
        log: EventLog,
        streaming: StreamResponder,
        limits: RateLimits,
        config: Config,
        reserved: Mapping[str, frozenset[str]],
        derived_ids: Mapping[str, str],
    ) -> None:
        self._log = log
        self._limits = limits
        self._reserved = reserved
        self._derived_ids = derived_ids
        self._streaming = streaming
        self._config = config

    def table(self) -> Sequence[web.RouteDef]:
        """The routes, literal paths before patterns."""
        return (
            web.post("/api/events", self.publish),
            web.get("/api/events", self.page),
            web.get("/api/events/stream", self.stream),
            web.get("/api/events/{seq_or_event_id}", self.one),
            web.get("/api/head", self.head),
            web.get("/api/streams", self.streams),
            web.get("/api", self.index),
        )

    async def publish(self, request: web.Request) -> web.StreamResponse:
        """POST /api/events

        One event `{stream, event_type, payload, event_id?, source?, expected_revision?}`, many as `{"events": […]}` or
        NDJSON, or CloudEvents (structured, batch, binary). All or none. 201 `{seq, revision, event_id, followers}`, for many
        `{"events": [those]}`; 200 when every event was stored before. Errors: invalid_request, invalid_body, forbidden,
        conflict, stream_ended, revision_mismatch, too_large, unsupported_media_type, request_timeout, too_many_requests,
        storage_full, unavailable."""
        params.require_type(request, _TYPES)
        body = await params.read_body(request, timeout_seconds=self._config.server.body_timeout_seconds)
        events, is_many = self.accept(request, await params.without_secrets(body, self._log.redaction))
        await carried_out(self._log, events[0].stream)
        return self.receipts(request, await self._log.submit(stamped(events)), is_many)

    def accept(self, request: web.Request, body: bytes) -> tuple[list[NewEvent], bool]:
        """The events of a body without secrets, validated and allowed, and whether it is of many.

        Raises what `publish` answers."""
        media_type = params.require_type(request, _TYPES)
        is_many = False
        if media_type == "application/json":
            if cloudevents.is_binary(request.headers):
                inputs = [cloudevents.parse_binary(request.headers, body)]
            elif _STARTS_MANY.match(body):
                inputs, is_many = parse_json(body, _MANY).events, True
            else:
                inputs = [parse_json(body, _ONE)]
        elif media_type == params.NDJSON:
            inputs, is_many = _parse_lines(body), True
        elif media_type == cloudevents.STRUCTURED:
            inputs = [cloudevents.parse_structured(body)]
        else:
            inputs, is_many = cloudevents.parse_batch(body), True
        limits = self._config.append
        if not inputs:
            raise InvalidBody("there must be at least one event", field="events")
        if len(inputs) > limits.max_events_per_request:
            limit = limits.max_events_per_request
            raise TooLarge(f"{len(inputs)} events in one request, the limit is {limit}", field="events", limit=limit)
        self._check_may_append(request, inputs)
        if len(inputs) > 1:  # one was taken with the request
            self._limits.take_events(request, len(inputs) - 1)
        return [check_input(each, limits.max_event_bytes) for each in inputs], is_many

    def receipts(self, request: web.Request, receipts: Sequence[Receipt], is_many: bool) -> JsonResponse:
        """The answer to a publish."""
        request[FOLLOWERS] = max(receipt.followers for receipt in receipts)
        return JsonResponse(_receipts(receipts, is_many), 201 if any(receipt.created for receipt in receipts) else 200)

    def _check_may_append(self, request: web.Request, inputs: Sequence[EventInput]) -> None:
        """Raise `Forbidden` for a stream out of reach, and for what only a surface's own routes append.

        Where a surface keeps rules (who has a session, who answered), an event that comes past them could say anything: it
        takes the scope over the whole kind, which is a backend's."""
        for each in inputs:
            if each.event_id is not None and each.event_id.startswith(
                (_KEY_IDS, self._derived_ids.get(kind_of(each.stream), _KEY_IDS))
            ):
                raise Forbidden("the server derives ids that begin so, for what its own routes append", field="event_id")
        for stream, event_type in {(each.stream, each.event_type) for each in inputs}:
            kind = kind_of(stream)
            if stream.startswith(SYSTEM):
                raise Forbidden("the streams system:* are the server's own", field="stream")
            owned = self._reserved.get(kind)
            require_append(request, stream if owned is None else f"{kind}:*")
            if owned is not None and event_type in owned:
                raise Forbidden(f"{event_type} is not appended here; its own route does it", field="event_type")

    @params.takes("stream", "type", "limit", *PAGE)
    async def page(self, request: web.Request) -> web.StreamResponse:
        """GET /api/events

        `stream=` and `type=` (repeatable), a cursor in any form, `epoch=`, `allow_pending=1`, `limit=` 1 to 1,000 (default
        100), `until_seq=` (inclusive), `wait=` seconds to wait for a first event. 200 `{events, has_more, next_since_seq,
        next_cursor, head_seq, epoch, ended?}`, true at `head_seq`; without a cursor the newest `limit`, oldest first. Errors:
        invalid_request, forbidden, not_found, gone (with the fields of a reset frame)."""
        selection = params.selection(request, max_streams=self._config.stream.max_streams_per_request)
        wait_seconds = self._config.stream.max_wait_seconds
        page = await read_events(request, self._log, selection, max_wait_seconds=wait_seconds, starts_newest=True)
        if cloudevents.BATCH in request.headers.get("Accept", ""):
            body = msgspec.json.encode([cloudevents.render(event) for event in page.events])
            return JsonResponse(body, content_type=cloudevents.BATCH)
        return JsonResponse(page.json(Event.canonical, PLACE + (("ended",) if page.is_over else ())))

    @params.takes("stream", "type", *params.STREAM)
    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET /api/events/stream

        `stream=` and `type=` (repeatable), a cursor in any form, `epoch=`, `start=beginning|live|tail:N`, `allow_pending=1`,
        `keepalive=event`, `format=ndjson` (or `Accept: application/x-ndjson`). SSE, NDJSON, or WebSocket on an upgrade. 204 at
        the end of an ended stream. Errors: invalid_request, forbidden, not_found, too_many_requests."""
        selection = params.selection(request, max_streams=self._config.stream.max_streams_per_request)
        asked = params.asked(request)
        return await self._streaming.serve(
            request,
            selection,
            asked,
            keepalive_comment=params.keepalive_comment(request, "keepalive"),
            is_ndjson=params.wants_ndjson(request),
        )

    @params.takes("stream")
    async def one(self, request: web.Request) -> web.StreamResponse:
        """GET /api/events/{seq_or_event_id}

        `stream=` (repeatable) says where an event_id is looked for; two hits are invalid_request. 200 with the event in its
        canonical JSON, or as a CloudEvent for `Accept: application/cloudevents+json`. Errors: invalid_request, not_found."""
        wanted, check = params.parse_cursor(request.match_info["seq_or_event_id"], "seq_or_event_id")
        may_read = principal_of(request).may_read
        if isinstance(wanted, int):
            event = await self._log.get(seq=wanted)
            if event is not None and check not in ("", event.check):
                event = None
        else:
            selection = params.selection(request, max_streams=self._config.stream.max_streams_per_request)
            event = await self._log.get(event_id=wanted, selection=selection, may_read=may_read)
        if event is None or not may_read(event.stream):
            raise NotFound(f"there is no event {wanted}", field="seq_or_event_id")
        if cloudevents.STRUCTURED in request.headers.get("Accept", ""):
            return JsonResponse(msgspec.json.encode(cloudevents.render(event)), content_type=cloudevents.STRUCTURED)
        return JsonResponse(event.canonical())

    @params.takes("at")
    async def head(self, request: web.Request) -> web.StreamResponse:
        """GET /api/head

        `at=` a seq: the first kept head that covers it, else the present one. 200 `{seq, digest, epoch, signed_at, signature,
        public_key}`; the last two are null where [integrity] key_file is not set. Somebody else keeps it for `check --against`.
        Errors: invalid_request, forbidden, not_found."""
        require_read(request, "*")
        at = params.query_integer(request, "at", default=-1, low=1, high=MAX_SEQ) if "at" in request.query else None
        return json_response(msgspec.to_builtins(await self._log.head(at)))

    @params.takes("kind", "after", "limit")
    async def streams(self, request: web.Request) -> web.StreamResponse:
        """GET /api/streams

        `kind=`, `after=` a stream name (exclusive), `limit=` 1 to 1,000. 200 `{streams: [{name, kind, last_seq, revision,
        count, updated_at, ended}], has_more, next_after, head_seq}` in the order of names. Errors: invalid_request,
        forbidden."""
        kind = Id("kind", has_colons=True).in_query(params.query(request, "kind"))
        after = Id("after", has_colons=True).in_query(params.query(request, "after") or None) or ""
        limit = params.query_integer(request, "limit", default=DEFAULT_LISTED_STREAMS, low=1, high=MAX_LISTED_STREAMS)
        require_read(request, "*" if kind is None else f"{kind}:*")
        head_seq = self._log.head_seq  # read before the rows: following from here repeats, never skips
        found = await self._log.streams(kind=kind, after=after, limit=limit + 1)
        shown = found[:limit]
        return json_response(
            {
                "streams": [
                    {
                        "name": info.name,
                        "kind": info.name.partition(":")[0],
                        "last_seq": info.last_seq,
                        "revision": info.revision,
                        "count": info.kept,
                        "updated_at": info.updated_at,
                        "ended": self._log.is_terminal(info.name, info.last_event_type),
                    }
                    for info in shown
                ],
                "has_more": len(found) > limit,
                "next_after": shown[-1].name if shown else after,
                "head_seq": head_seq,
            }
        )

    async def index(self, request: web.Request) -> web.StreamResponse:
        """GET /api

        200 `{title, description, version, routes}`: what this server answers, one line a route. Errors: invalid_request."""
        routes = {f"{route.method} {route.resource.canonical}" for route in request.app.router.routes() if route.resource}
        return json_response({**_INDEX, "routes": sorted(routes - {f"HEAD {route.split()[1]}" for route in routes})})


def _parse_lines(body: bytes) -> list[EventInput]:
    inputs = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        if line.strip():
            inputs.append(parse_json(line, _ONE, field=f"line {number}"))
    return inputs


def _receipts(receipts: Sequence[Receipt], is_many: bool) -> bytes:
    lines = [_receipt(receipt.event, receipt.followers) for receipt in receipts]
    return ('{"events":[' + ",".join(lines) + "]}" if is_many else lines[0]).encode()


def _receipt(event: Event, followers: int) -> str:
    return f'{{"seq":{event.seq},"revision":{event.revision},"event_id":"{event.event_id}","followers":{followers}}}'
