"""Around every request: the name it came for, who asks, the names in its query, one request id, one log line, one translation
of errors.

What is not a deliberate error is `internal`: its text goes to the log with the `error_id`, never to the client."""

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from server.auth.authenticator import IS_BLIND, PRINCIPAL, Authenticator, is_public
from server.auth.rate_limits import RateLimits
from server.eventlog.command_key import KEY, key_of
from server.eventlog.log import ACTOR, EventLog
from server.eventlog.turns import CLIENT
from server.http import params
from server.http.hosts import AllowedHosts
from server.http.protocol import refusal_of
from server.http.responses import (
    FOLLOWERS,
    IS_PREPARED,
    REQUEST_ID,
    SENT_BYTES,
    SENT_EVENTS,
    USES_LOG,
    JsonResponse,
    error_response,
)
from server.streaming.follower import wait_until
from towow.errors import Conflict, Gone, NotFound, RevisionMismatch, StreamEnded, TowowError, Unauthorized

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_PROCESS_ID = secrets.token_hex(4)
_numbers = itertools.count(1)
_log = structlog.get_logger("towow.request")

# Refusals that say in their message and details how a stream stands.
_TELLING = (Conflict, Gone, NotFound, RevisionMismatch, StreamEnded)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_CHANGES = frozenset({hdrs.METH_POST, hdrs.METH_PUT, hdrs.METH_PATCH, hdrs.METH_DELETE})
_AT_LEAST_SECONDS = 5.0
ADDRESS = web.RequestKey("address", str)


class Gate:
    """What every request passes on its way in: the Host header, who asks, its client's share of changes."""

    def __init__(self, log: EventLog, authenticator: Authenticator, limits: RateLimits, hosts: AllowedHosts) -> None:
        self.log = log
        self._authenticator = authenticator
        self._limits = limits
        self._hosts = hosts

    async def admit(self, request: web.Request, *, is_public: bool = False) -> None:
        """Raise the error of the tree that refuses the request, or say who asks in `PRINCIPAL` and `ACTOR`.

        Waits only for the keys of JWTs."""
        request[ADDRESS] = self._limits.address_of(request)
        self._hosts.check(request)
        if self._authenticator.is_on:  # the task of a connection has had other requests before
            ACTOR.set(None)
            if not is_public:
                principal = request[PRINCIPAL] = await self._authenticator.authenticate(request)
                ACTOR.set(principal.acts_as)
        CLIENT.set(self._limits.client_of(request))

    def delay_of(self, request: web.Request, error: Exception) -> float:
        """Seconds that a refusal is held back: of a wrong credential whose address has sent many."""
        is_guess = isinstance(error, Unauthorized) and self._authenticator.is_attempt(request)
        return self._limits.delay_of(request) if is_guess else 0.0

    def count(self, request: web.Request) -> None:
        """Take a change from the client's share. Raises `TooManyRequests`."""
        if request.method in _CHANGES:
            self._limits.take_events(request, 1)
            self._limits.take_bytes(request)

    def count_after(self, request: web.Request) -> None:
        """Take what nobody knew before from the client's share."""
        if request.method in _CHANGES:
            self._limits.spend_bytes(request)

    async def catch_up(self, request: web.Request) -> None:
        """Wait for the seq that the request has seen elsewhere. Raises `Behind`."""
        seq = params.at_least(request)
        if seq is not None:
            await wait_until(self.log, seq, _AT_LEAST_SECONDS)


def around(gate: Gate) -> Middleware:
    """Build the middleware: the gate, unknown query names, errors translated, a line in the log.

    A read that ends in a no (404, 409, 410) is asked again when other processes' events have come meanwhile; a command does so
    in `decide_and_append`, a 204 cannot become wrong. It is one because an open stream keeps the frame of each."""

    @web.middleware
    async def run(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = begin(request)
        status = 499  # the client left before there was an answer
        response: web.StreamResponse | None = None
        try:
            if request.method == hdrs.METH_OPTIONS:
                # A preflight asks about a path, not for it: the CORS headers are the answer.
                response = web.Response(status=204)
            else:
                public = is_public(request)
                await gate.admit(request, is_public=public)
                if request.match_info.http_exception is None:  # of a path that is not there nothing else is said
                    params.check_query(request, handler)
                gate.count(request)
                key = params.command_key(request)
                if key is not None and request.method in _CHANGES:
                    KEY.set(
                        key_of(request[PRINCIPAL].name if PRINCIPAL in request else "", f"{request.method} {request.path}", key)
                    )
                if not public:
                    await gate.catch_up(request)
                    request[USES_LOG] = True
                head_seq = gate.log.head_seq
                try:
                    response = await handler(request)
                except TowowError as error:
                    if request.method in _CHANGES or IS_PREPARED in request or await gate.log.confirms(error, head_seq):
                        raise
                if response is None:
                    response = await handler(request)
                gate.count_after(request)
            status = response.status
        except asyncio.CancelledError:
            status = 200 if SENT_EVENTS in request else 499
            raise
        except Exception as error:
            if refusal_of(error) is None and isinstance(error, web.HTTPException):
                status = error.status
                raise
            if (seconds := gate.delay_of(request, error)) > 0:
                await asyncio.sleep(seconds)
            response = failure_response(request, error)
            status = response.status
            if IS_PREPARED in request:
                raise  # the headers have left: all that remains is to close
        finally:
            log_request(request, status, response, started)
        return response

    return run


def begin(request: web.Request) -> float:
    """Give the request its id, its own or a new one; returns when it began, for `log_request`."""
    given = request.headers.get("X-Request-Id")
    request_id = given if given is not None and _REQUEST_ID.match(given) else f"{_PROCESS_ID}-{next(_numbers):x}"
    request[REQUEST_ID] = request_id
    return time.perf_counter()


def failure_response(request: web.Request, error: Exception) -> JsonResponse:
    """The answer that says an error; what is not deliberate goes to the log, and only its id to the client."""
    known = refusal_of(error)
    if known is None:
        error_id = request[REQUEST_ID]
        _log.error("request_failed", error_id=error_id, method=request.method, path=raw_path(request), exc_info=error)
        known = TowowError("something went wrong here; the log has it under this error_id")
    if IS_BLIND in request and isinstance(known, _TELLING):
        known = type(known)("this cannot be done to a stream that this client may not read; the code says why")
    return error_response(known, request[REQUEST_ID])


def raw_path(request: web.Request) -> str:
    """The path as it was sent, without its query: tokens and tickets travel there. Never decoded: it may hold line breaks."""
    return request.raw_path.partition("?")[0]


def log_request(request: web.Request, status: int, response: web.StreamResponse | None, started: float) -> None:
    """Write the line of a request that is over."""
    fields: dict[str, Any] = {
        "method": request.method,
        "path": raw_path(request),
        "status": status,
        "ms": round((time.perf_counter() - started) * 1000, 2),
        "bytes": request.get(SENT_BYTES, 0),
        "request_id": request[REQUEST_ID],
        "address": request.get(ADDRESS, request.remote),
    }
    if isinstance(response, JsonResponse):
        fields["bytes"] = len(response.body)
    elif isinstance(response, web.Response):
        fields["bytes"] = response.content_length or 0
    if PRINCIPAL in request:
        fields["client"] = request[PRINCIPAL].name
    if SENT_EVENTS in request:
        fields["events"] = request[SENT_EVENTS]
    if FOLLOWERS in request:
        fields["followers"] = request[FOLLOWERS]
    _log.info("request", **fields)
