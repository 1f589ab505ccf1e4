"""Generations over HTTP, the beginning: a request, and the stream of the run that it becomes. Source 003's two paths.

The run is on disk before anything is answered and goes on when the client leaves; `routes.py` has the ways back to it."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from server.api.stream_response import StreamResponder
from server.auth.authenticator import require_append, require_read
from server.auth.rate_limits import RateLimits
from server.config import Config
from server.eventlog.command_key import carried_out, chosen
from server.eventlog.decider import decide_and_append, fold, known
from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.eventlog.writer import Connection
from server.http import params
from server.http.responses import json_response
from server.streaming.cursor import CursorRequest
from server.surfaces.generations import commands, inputs, model, rendering
from server.surfaces.generations.projections import count_running, get_session, last_completed
from server.surfaces.generations.state import KIND, LOOMI, NOVA, SESSION_ID, Mode, RunState, initial, new_run_id, stream_of
from towow.errors import TooManyRequests, TowowError
from towow.events import seconds_of

_RETRY_SECONDS = 5  # when as many runs are running as may


class _StartInput(msgspec.Struct, forbid_unknown_fields=True):
    prompt: str | None = None
    message: str | None = None
    session_id: str | None = None
    context: dict[str, Any] | None = None


_START = msgspec.json.Decoder(_StartInput)


class StartRoutes:
    """Handlers of `/novachat` and `/loomichat`."""

    def __init__(self, log: EventLog, streaming: StreamResponder, limits: RateLimits, config: Config) -> None:
        self._log = log
        self._streaming = streaming
        self._limits = limits
        self._config = config
        self._turn = asyncio.Lock()  # runs are counted and started one request at a time

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (web.post("/novachat", self.nova), web.post("/loomichat", self.loomi))

    @params.takes(*params.STREAM)
    async def nova(self, request: web.Request) -> web.StreamResponse:
        """POST /novachat

        `{prompt, session_id?, context?}`; `message` is another name of `prompt`. Four agents write at the same time and their
        texts are merged. 200 with the stream of the run from its first event, as `GET /api/runs/{run_id}/events` has it; with
        `Accept: application/json` 202 `{run_id, status, events_url}`. The header `X-Run-Id` names the run. Errors:
        invalid_request, invalid_body, too_large, forbidden, unsupported_media_type, request_timeout, too_many_requests,
        storage_full, unavailable."""
        return await self._answer(request, NOVA)

    @params.takes(*params.STREAM)
    async def loomi(self, request: web.Request) -> web.StreamResponse:
        """POST /loomichat

        As `POST /novachat`, with four agents in stages: each is given what came before. Errors: invalid_request,
        invalid_body, too_large, forbidden, unsupported_media_type, request_timeout, too_many_requests, storage_full,
        unavailable."""
        return await self._answer(request, LOOMI)

    async def _answer(self, request: web.Request, mode: Mode) -> web.StreamResponse:
        """Start a run and follow it. A faulty request is refused before there is a run."""
        require_append(request, f"{KIND}:*")
        is_ndjson, wants_stream = params.wants_ndjson(request), not _wants_json(request)
        command = await self._read(request, mode)
        run_id = new_run_id(chosen("run", 16))
        stream = stream_of(run_id)
        if wants_stream:
            require_read(request, stream)
            self._limits.close_stream(self._limits.open_stream(request))  # is there room for one more?
        state = await self._start(run_id, command)
        headers = {"X-Run-Id": run_id}
        if not wants_stream:
            return json_response(rendering.accepted(state), 202, headers)
        try:
            return await self._streaming.serve(
                request,
                select((stream,)),
                CursorRequest(),
                is_ndjson=is_ndjson,
                envelope=rendering.encode_run_event,
                headers=headers,
            )
        except TowowError as error:
            error.details["run_id"] = run_id  # it goes on all the same
            raise

    async def _read(self, request: web.Request, mode: Mode) -> commands.StartRun:
        given = await params.read_json(request, _START, timeout_seconds=self._config.server.body_timeout_seconds)
        generations = self._config.generations
        prompt = inputs.check_prompt(given.prompt, given.message, generations.max_prompt_characters)
        session_id = None if given.session_id is None else SESSION_ID.in_body(given.session_id)
        if session_id is not None:
            session = f"session:{session_id}"
            require_read(request, session)  # its texts come into the prompt
            require_append(request, session)  # and this one into the next
        return commands.StartRun(
            mode=mode,
            prompt=prompt,
            timeout_seconds=generations.run_timeout_seconds,
            session_id=session_id,
            context=inputs.check_context(given.context),
            language=inputs.language_of(prompt),
        )

    async def _start(self, run_id: str, command: commands.StartRun) -> RunState:
        """Append the run's first event. Raises `TooManyRequests` when as many are running as may."""
        limit = self._config.generations.max_runs
        not_before = self._log.clock() - self._config.generations.session_state_seconds
        look = partial(_look, session_id=command.session_id, not_before=not_before)
        async with self._turn:
            if await carried_out(self._log, stream_of(run_id)):  # this request joins that run, and is none more
                return await fold(self._log, stream_of(run_id), initial(run_id), model.evolve)
            running, continues = await self._log.query(look)
            if running >= limit:
                message = f"{running} runs are running, and {limit} may; try again later"
                raise TooManyRequests(message, limit=limit, retry_after_seconds=_RETRY_SECONDS)
            command = msgspec.structs.replace(command, continues=continues)
            load = known(initial(run_id))
            state, _ = await decide_and_append(
                self._log, stream_of(run_id), load, lambda state: model.decide(state, command), model.evolve, attempts=1
            )
        return state


def _look(connection: Connection, session_id: str | None, not_before: float) -> tuple[int, str | None]:
    """How many runs are running, and which one the next of a session goes on from: none when its state has expired."""
    session = None if session_id is None else get_session(connection, session_id)
    is_kept = session is not None and seconds_of(session.updated_at) > not_before
    continues = last_completed(connection, session_id) if session_id is not None and is_kept else None
    return count_running(connection), continues


def _wants_json(request: web.Request) -> bool:
    """Whether the client takes JSON and says nothing of streams."""
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and "text/event-stream" not in accepted and params.NDJSON not in accepted
