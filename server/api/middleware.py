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

from server.auth.authenticator import PRINCIPAL, Authenticator, is_public
from server.auth.rate_limits import RateLimits
from server.eventlog.log import ACTOR, EventLog
from server.http import params
from server.http.hosts import AllowedHosts
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
from towow.errors import InvalidRequest, MethodNotAllowed, NotFound, TooLarge, TowowError

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_PROCESS_ID = secrets.token_hex(4)
_numbers = itertools.count(1)
_log = structlog.get_logger("towow.request")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_CHANGES = frozenset({hdrs.METH_POST, hdrs.METH_PUT, hdrs.METH_PATCH, hdrs.METH_DELETE})
_AT_LEAST_SECONDS = 5.0


def _translated(error: Exception) -> TowowError | None:
    """Aiohttp's own refusals as errors of the tree; None for what is not deliberate."""
    if isinstance(error, TowowError):
        return error
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(f"this path answers {allowed}, not {error.method[:20]}")
    if isinstance(error, web.HTTPNotFound):
        return NotFound("there is nothing at this path")
    if isinstance(error, web.HTTPBadRequest):
        return InvalidRequest("this WebSocket handshake cannot be read", field="Upgrade")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge("the body is larger than the limit", field="body")
    return None


def around(log: EventLog, authenticator: Authenticator, limits: RateLimits, hosts: AllowedHosts) -> Middleware:
    """Build the middleware: the Host header, who asks, unknown query names, a client's share of changes; errors translated, a
    line in the log.

    A read that ends in a no (404, 409, 410) is asked again when other processes' events have come meanwhile; a command does so
    in `decide_and_append`, a 204 cannot become wrong. It is one because an open stream keeps the frame of each."""

    @web.middleware
    async def run(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        given = request.headers.get("X-Request-Id")
        request_id = given if given is not None and _REQUEST_ID.match(given) else f"{_PROCESS_ID}-{next(_numbers):x}"
        request[REQUEST_ID] = request_id
        status = 499  # the client left before there was an answer
        response: web.StreamResponse | None = None
        try:
            if request.method == hdrs.METH_OPTIONS:
                # A preflight asks about a path, not for it: the CORS headers are the answer.
                response = web.Response(status=204)
            else:
                hosts.check(request)
                public = is_public(request)
                if authenticator.is_on:  # the task of a connection has had other requests before
                    ACTOR.set(None)
                    if not public:
                        principal = request[PRINCIPAL] = await authenticator.authenticate(request)
                        ACTOR.set(principal.name)
                if request.match_info.http_exception is None:  # of a path that is not there nothing else is said
                    params.check_query(request, handler)
                if request.method in _CHANGES:
                    limits.take_events(request, 1)
                if not public:
                    seq = params.at_least(request)
                    if seq is not None:
                        await wait_until(log, seq, _AT_LEAST_SECONDS)
                    request[USES_LOG] = True
                head_seq = log.head_seq
                try:
                    response = await handler(request)
                except TowowError as error:
                    if request.method in _CHANGES or IS_PREPARED in request or await log.confirms(error, head_seq):
                        raise
                if response is None:
                    response = await handler(request)
            status = response.status
        except asyncio.CancelledError:
            status = 200 if SENT_EVENTS in request else 499
            raise
        except Exception as error:
            known = _translated(error)
            if known is None and isinstance(error, web.HTTPException):
                status = error.status
                raise
            if known is None:
                _log.exception("request_failed", error_id=request_id, method=request.method, path=raw_path(request))
                known = TowowError("something went wrong here; the log has it under this error_id")
            response = error_response(known, request_id)
            status = response.status
            if IS_PREPARED in request:
                raise  # the headers have left: all that remains is to close
        finally:
            _log_request(request, status, response, started)
        return response

    return run


def raw_path(request: web.Request) -> str:
    """The path as it was sent, without its query: tokens and tickets travel there. Never decoded: it may hold line breaks."""
    return request.raw_path.partition("?")[0]


def _log_request(request: web.Request, status: int, response: web.StreamResponse | None, started: float) -> None:
    fields: dict[str, Any] = {
        "method": request.method,
        "path": raw_path(request),
        "status": status,
        "ms": round((time.perf_counter() - started) * 1000, 2),
        "bytes": request.get(SENT_BYTES, 0),
        "request_id": request[REQUEST_ID],
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
