"""The demands surface over HTTP: submit, look, follow, poll. Source 000's paths and bodies, on the shared log."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec
from aiohttp import web

from server.api.pagination import PAGE, PLACE, Filter, Listing, read_events
from server.api.stream_response import StreamResponder
from server.auth.authenticator import principal_of, require_append, require_read
from server.config import Config
from server.eventlog.command_key import chosen
from server.eventlog.decider import decide_and_append, from_row, known
from server.eventlog.log import EventLog
from server.eventlog.selection import Selection, select
from server.http import params
from server.http.responses import JsonResponse, json_response
from server.http.text_rules import Id, one_of
from server.streaming.follower import Followers
from server.surfaces.demands import commands, inputs, model, rendering
from server.surfaces.demands.projections import get_demand, list_demands
from server.surfaces.demands.state import DEMAND_ID, KIND, STATUSES, DemandState, initial, new_demand_id, stream_of
from server.surfaces.demands.text_writer import TextWriter
from towow.errors import NotFound, RevisionMismatch

DEFAULT_RECENT_EVENTS = 50
MAX_RECENT_EVENTS = 200
_ID_ATTEMPTS = 8  # an id of 32 bits may be taken; eight times in a row it is not


class _SubmitInput(msgspec.Struct, forbid_unknown_fields=True):
    raw_input: str
    user_id: str | None = None
    confirm: bool = False


_SUBMIT = msgspec.json.Decoder(_SubmitInput)
LISTING = Listing(
    "demands",
    f"{KIND}:*",
    list_demands,
    rendering.summary,
    {
        "status": Filter("status", partial(one_of, field="status", choices=STATUSES)),
        "user_id": Filter("user_id", inputs.query_user_id),
        "parent": Filter("parent_demand_id", Id("parent", has_colons=True).in_query, or_null=True),
    },
)


class DemandRoutes:
    """Handlers of `/api/demand*` and of source 000's `/api/events/*`."""

    def __init__(
        self, log: EventLog, followers: Followers, streaming: StreamResponder, author: TextWriter, config: Config
    ) -> None:
        self._log = log
        self._author = author
        self._followers = followers
        self._streaming = streaming
        self._config = config

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.post("/api/demand/submit", self.submit),
            web.get("/api/demand", self.list),
            web.get("/api/demand/{demand_id}", self.one),
            web.get("/api/demand/{demand_id}/status", self.status),
            web.get("/api/events/stream/{demand_id}", self.stream),
            web.get("/api/events/recent/{demand_id}", self.recent),
            web.get("/api/events/health", self.health),
        )

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """POST /api/demand/submit

        `{raw_input, user_id?, confirm?}`; with `confirm` nothing is agreed without the user's yes. 200 `{demand_id,
        channel_id, status, understanding: {surface_demand, confidence, capabilities, language, requirements, written_by},
        seq}` when the understanding is on disk; the negotiation goes on behind it. Errors: invalid_request, invalid_body,
        too_large, forbidden, unsupported_media_type, request_timeout, too_many_requests, storage_full, unavailable."""
        require_append(request, f"{KIND}:*")
        given = await params.read_json(request, _SUBMIT, timeout_seconds=self._config.server.body_timeout_seconds)
        raw_input = inputs.check_raw_input(given.raw_input, self._config.demands.max_demand_characters)
        principal = principal_of(request)
        user_id = inputs.check_user_id(principal.name if given.user_id is None and principal.is_asked else given.user_id)
        principal.require_to_act_as("user", user_id, "user_id")
        today = datetime.fromtimestamp(self._log.clock(), UTC).date()
        understanding, requirements, written_by = await self._author.understand(raw_input, today)
        command = commands.Submit(raw_input, user_id, understanding, requirements, given.confirm, written_by)
        for attempt in range(_ID_ATTEMPTS):
            demand_id = new_demand_id(chosen(f"demand {attempt}", 8))
            load = known(initial(demand_id))
            try:
                state, _ = await decide_and_append(
                    self._log, stream_of(demand_id), load, lambda state: model.decide(state, command), model.evolve, attempts=1
                )
            except RevisionMismatch:  # the id is taken
                if attempt == _ID_ATTEMPTS - 1:
                    raise
                continue
            return json_response(rendering.submitted(state))
        raise AssertionError("unreachable")

    @params.takes(*LISTING.query_names)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /api/demand

        `status=` processing, finalized, failed or cancelled, `user_id=`; `limit=` 1 to 200 (default 50), `order=newest|oldest`,
        `before=` and `after=` a `created_seq` (exclusive). 200 `{demands: […], has_more, head_seq, epoch}`, newest first, true
        at `head_seq`. Sub-negotiations are listed with `parent=`, the id of the demand that started them. Errors:
        invalid_request, forbidden."""
        return await LISTING.answer(request, self._log)

    async def one(self, request: web.Request) -> web.StreamResponse:
        """GET /api/demand/{demand_id}

        200 with the summary, `raw_input`, `understanding`, `candidates`, `offers`, `declined`, `waiting_for`, `deadline_at`,
        `proposals` with their `feedback`, `gaps`, `subnets` and `outcome`, true at `last_seq`. Errors: invalid_request,
        forbidden, not_found, gone."""
        return json_response(rendering.detail(await self._state(request)))

    async def status(self, request: web.Request) -> web.StreamResponse:
        """GET /api/demand/{demand_id}/status

        200 `{demand_id, status, current_round, phase, last_seq}`. Errors: invalid_request, forbidden, not_found, gone."""
        return json_response(rendering.status(await self._state(request)))

    @params.takes(*params.STREAM)
    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET /api/events/stream/{demand_id}

        The demand's events in source 000's shape: everything or after a cursor in any form, then live, then `end`.
        `: heartbeat` every 5 s of silence. 204 at the end of an ended demand. Errors: invalid_request, forbidden, not_found,
        too_many_requests."""
        return await self._streaming.serve(
            request,
            self._selection(request),
            params.asked(request),
            keepalive_seconds=self._config.demands.keepalive_seconds,
            keepalive_comment=params.keepalive_comment(request, "heartbeat"),
            is_ndjson=params.wants_ndjson(request),
            envelope=rendering.encode_sse_event,
        )

    @params.takes("count", *PAGE)
    async def recent(self, request: web.Request) -> web.StreamResponse:
        """GET /api/events/recent/{demand_id}

        `count=` 1 to 200 (default 50), a cursor in any form (`after=`), `until_seq=` (inclusive), `wait=` seconds to wait for a
        first event; without a cursor the newest. 200 `{events, count, has_more, next_since_seq, next_cursor, head_seq,
        epoch}`, oldest first, true at `head_seq`; `has_more`: there are events after these. Errors: invalid_request,
        forbidden, not_found, gone (with the fields of a reset frame)."""
        page = await read_events(
            request,
            self._log,
            self._selection(request),
            max_wait_seconds=self._config.stream.max_wait_seconds,
            default=DEFAULT_RECENT_EVENTS,
            high=MAX_RECENT_EVENTS,
            limit_name="count",
            starts_newest=True,
        )
        return JsonResponse(page.json(rendering.encode_sse_event, ("count", *PLACE)))

    @params.takes_any
    async def health(self, request: web.Request) -> web.StreamResponse:
        """GET /api/events/health

        200 `{status: "healthy", subscribers, events_in_memory}`: open streams, and events in the shared tail."""
        return json_response(
            {"status": "healthy", "subscribers": len(self._followers), "events_in_memory": self._log.hub.tail_events}
        )

    def _selection(self, request: web.Request) -> Selection:
        return select((stream_of(DEMAND_ID.in_path(request.match_info)),))

    async def _state(self, request: web.Request) -> DemandState:
        demand_id = DEMAND_ID.in_path(request.match_info)
        stream = stream_of(demand_id)
        require_read(request, stream)
        state = await from_row(self._log, stream, partial(get_demand, demand_id=demand_id), model.evolve)()
        if not state.exists:
            raise NotFound(f"there is no demand {demand_id}", field="demand_id")
        return state
