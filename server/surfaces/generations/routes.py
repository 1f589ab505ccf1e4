"""Runs over HTTP: follow, get, list, cancel, a session's state, and the model. `start_routes.py` starts runs."""

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from server.api.pagination import Filter, Listing
from server.api.stream_response import StreamResponder
from server.auth.authenticator import require_any, require_managed, require_read
from server.config import Config
from server.eventlog.decider import decide_and_append, fold, from_row
from server.eventlog.log import EventLog
from server.eventlog.queries import read_first_actor
from server.eventlog.selection import select
from server.http import params
from server.http.responses import json_response
from server.http.text_rules import one_of
from server.llm.provider import LanguageModel
from server.surfaces.generations import commands, model, rendering
from server.surfaces.generations.projections import get_run, get_session, list_runs
from server.surfaces.generations.state import KIND, MODES, RUN_ID, SESSION_ID, STATUSES, RunState, initial, stream_of
from towow.errors import Gone, NotFound
from towow.events import seconds_of, timestamp_of

LISTING = Listing(
    "runs",
    f"{KIND}:*",
    list_runs,
    rendering.summary,
    {
        "status": Filter("r.status", partial(one_of, field="status", choices=STATUSES)),
        "mode": Filter("r.mode", partial(one_of, field="mode", choices=MODES)),
        "session_id": Filter("r.session_id", SESSION_ID.in_query),
    },
)


class RunRoutes:
    """Handlers of `/api/runs*`, of `/api/sessions/{session_id}/state` and of `/api/model`."""

    def __init__(self, log: EventLog, streaming: StreamResponder, language_model: LanguageModel, config: Config) -> None:
        self._log = log
        self._streaming = streaming
        self._model = language_model
        self._config = config

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.get("/api/runs", self.list),
            web.get("/api/runs/{run_id}", self.one),
            web.get("/api/runs/{run_id}/events", self.events),
            web.post("/api/runs/{run_id}/cancel", self.cancel),
            web.get("/api/sessions/{session_id}/state", self.session_state),
            web.get("/api/model", self.model),
        )

    @params.takes(*LISTING.query_names)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /api/runs

        `status=` running, completed, failed or cancelled, `mode=` nova or loomi, `session_id=`; `limit=` 1 to 200 (default
        50), `order=newest|oldest`, `before=` and `after=` a `created_seq` (exclusive). 200 `{runs: […], has_more, head_seq,
        epoch, model}`, newest first and without the texts, true at `head_seq`; `model` as `GET /api/model` has it. Errors:
        invalid_request, forbidden."""
        return await LISTING.answer(request, self._log, model=self._model.describe())

    async def one(self, request: web.Request) -> web.StreamResponse:
        """GET /api/runs/{run_id}

        200 with the run, its `progress` and its `agents`, each with the `text` so far, true at `last_seq`: following from there
        completes it. 410 when retention has removed its beginning. Errors: invalid_request, forbidden, not_found, gone."""
        run_id = RUN_ID.in_path(request.match_info)
        require_read(request, stream_of(run_id))
        row = await self._log.query(partial(get_run, run_id=run_id))
        if not row.exists:
            raise NotFound(f"there is no run {run_id}", field="run_id")
        return json_response(rendering.detail(await self._with_texts(row)))

    @params.takes(*params.STREAM)
    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/runs/{run_id}/events

        The run's events in source 003's shape: everything or after a cursor in any form, then live, then `end`. `: keepalive`
        after 15 s of silence. 204 at the end of a run that has ended. Errors: invalid_request, forbidden, not_found,
        too_many_requests."""
        run_id = RUN_ID.in_path(request.match_info)
        return await self._streaming.serve(
            request,
            select((stream_of(run_id),)),
            params.asked(request),
            keepalive_comment=params.keepalive_comment(request, "keepalive"),
            is_ndjson=params.wants_ndjson(request),
            envelope=rendering.encode_run_event,
        )

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """POST /api/runs/{run_id}/cancel

        End a run; its agents stop at once. 200 `{success, run_id, status: "cancelled", seq}`, the same when it was cancelled
        before. Of a cancel and another end that come together one is stored: a run that has completed or failed is a conflict,
        with `run_status` and `reason`. Whoever started it ends it, and who manages it. Errors: invalid_request, forbidden,
        not_found, conflict, gone, unsupported_media_type, too_many_requests, storage_full, unavailable."""
        run_id = RUN_ID.in_path(request.match_info)
        stream = stream_of(run_id)
        require_any(request, ("manage", "append"), stream)
        params.require_type(request, params.JSON_TYPES)  # a page of another origin could send any other
        require_managed(request, stream, (await self._log.query(partial(read_first_actor, stream=stream)),))
        load = from_row(self._log, stream, partial(get_run, run_id=run_id), model.evolve)  # a cancel need not read the texts
        cancel = commands.CancelRun()
        state, _ = await decide_and_append(self._log, stream, load, lambda state: model.decide(state, cancel), model.evolve)
        return json_response(rendering.cancelled(state))

    async def session_state(self, request: web.Request) -> web.StreamResponse:
        """GET /api/sessions/{session_id}/state

        200 `{session_id, status, run_id, mode, progress, runs, updated_at, expires_at, version}`: where the newest run of a
        session is. Every event of its runs moves `expires_at` on by `[generations] session_state_seconds` and `version`, a seq,
        up. 404 for a session that never had a run, 410 after `expires_at`. Errors: invalid_request, forbidden, not_found,
        gone."""
        session_id = SESSION_ID.in_path(request.match_info)
        require_read(request, f"session:{session_id}")
        session = await self._log.query(partial(get_session, session_id=session_id))
        if session is None:
            raise NotFound(f"no run of session {session_id} is known", field="session_id")
        expires_at = seconds_of(session.updated_at) + self._config.generations.session_state_seconds
        if expires_at <= self._log.clock():
            expired_at = timestamp_of(expires_at)
            raise Gone(f"the state of session {session_id} has expired", field="session_id", expired_at=expired_at)
        return json_response(rendering.session_state(session_id, session, expires_at))

    async def model(self, request: web.Request) -> web.StreamResponse:
        """GET /api/model

        200 `{kind: remote|local|none, name, status: ready|starting|fetching|absent, hint}`: which model writes generations;
        `hint` says in a sentence what to do for one. Errors: invalid_request, forbidden."""
        require_read(request, f"{KIND}:*")
        return json_response(self._model.describe())

    async def _with_texts(self, row: RunState) -> RunState:
        """A run with its texts, at its row's place or a later one. Raises `Gone` when they are not kept any more.

        Texts are in the log alone, and a fold that reads them reads the rest of the run on its way. In rows too, each piece
        would cost the writer a second insert, or a text that grows would be written again with each of its pieces."""
        stream = stream_of(row.run_id)
        state = await fold(self._log, stream, initial(row.run_id), model.evolve)
        if state.last_seq < row.last_seq:  # another process has stored more a moment ago
            await self._log.refresh()
            state = await fold(self._log, stream, state, model.evolve, after=state.last_seq)
        if not state.exists:
            known = {"status": row.status, "revision": row.revision, "ended_at": row.ended_at}
            raise Gone(f"the beginning of run {row.run_id} is not kept any more", field="run_id", **known)
        return state
