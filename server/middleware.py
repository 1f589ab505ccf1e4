"""
Around every request: one request id, one log line, one translation of errors to statuses, and the response headers.

Errors have one shape on the wire: `{"error": {"code", "message", "field"?, "error_id", …}, "detail": message}`. What is not
a deliberate error is `internal`: its text goes to the log with the `error_id`, never to the client.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog
from aiohttp import hdrs, web

from server.errors import MethodNotAllowed, NotFound, TooLarge, TowowError
from server.events import uuid7

STATUS_BY_CODE = {
    "invalid_request": 400,
    "invalid_body": 422,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "stream_ended": 409,
    "gone": 410,
    "revision_mismatch": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "internal": 500,
    "unavailable": 503,
    "storage_full": 507,
}

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ALLOWED_METHODS = "GET, POST, DELETE, OPTIONS"
_ALLOWED_HEADERS = "Accept, Authorization, Content-Type, Last-Event-ID, X-Request-Id"
_EXPOSED_HEADERS = "X-Request-Id, Retry-After"
_PREFLIGHT_SECONDS = "600"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_JSON = msgspec.json.Encoder()
_log = structlog.get_logger("towow.request")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """
    A JSON answer.
    """
    return web.Response(body=_JSON.encode(data), status=status, content_type="application/json", headers=headers)


def error_response(error: TowowError, error_id: str) -> web.Response:
    """
    The one shape of an error.
    """
    body: dict[str, Any] = {"code": error.code, "message": error.message, "error_id": error_id}
    if error.field is not None:
        body["field"] = error.field
    body.update(error.details)
    headers = {"Retry-After": "1"} if error.code in ("unavailable", "storage_full") else None
    return json_response({"error": body, "detail": error.message}, STATUS_BY_CODE[error.code], headers)


def _translated(error: Exception) -> TowowError | None:
    """
    aiohttp's own refusals as errors of the tree; None for what is not deliberate.
    """
    if isinstance(error, TowowError):
        return error
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(f"this path answers {allowed}, not {error.method[:20]}")
    if isinstance(error, web.HTTPNotFound):
        return NotFound("there is nothing at this path")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge("the body is larger than the limit", field="body")
    return None


@web.middleware
async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """
    Run the handler, translate its error, write its log line.
    """
    started = time.perf_counter()
    given = request.headers.get("X-Request-Id")
    request_id = given if given is not None and _REQUEST_ID.match(given) else uuid7()
    request["request_id"] = request_id
    status = 499  # the client left before there was an answer
    response: web.StreamResponse | None = None
    try:
        # A preflight asks about a path, not for it: the CORS headers below are the answer.
        response = web.Response(status=204) if request.method == hdrs.METH_OPTIONS else await handler(request)
        status = response.status
    except asyncio.CancelledError:
        status = 200 if "sent_events" in request else 499
        raise
    except web.HTTPException as error:
        translated = _translated(error)
        if translated is None:
            status = error.status
            raise
        response = error_response(translated, request_id)
        status = response.status
    except Exception as error:
        known = _translated(error)
        if known is None:
            _log.exception("request_failed", error_id=request_id, method=request.method, path=raw_path(request))
            known = TowowError("something went wrong here; the log has it under this error_id")
        status = STATUS_BY_CODE[known.code]
        if "is_prepared" in request:
            raise  # the headers have left: all that remains is to close
        response = error_response(known, request_id)
    finally:
        _log_request(request, status, response, started)
    return response


def raw_path(request: web.Request) -> str:
    """
    The path as it was sent, without its query: tokens and tickets travel there. Never decoded: it may hold line breaks.
    """
    return request.raw_path.partition("?")[0]


def _log_request(request: web.Request, status: int, response: web.StreamResponse | None, started: float) -> None:
    fields: dict[str, Any] = {}
    if "sent_events" in request:
        fields["events"] = request["sent_events"]
        sent = request["sent_bytes"]
    else:
        sent = response.content_length if isinstance(response, web.Response) else 0
    if "followers" in request:
        fields["followers"] = request["followers"]
    _log.info(
        "request",
        method=request.method,
        path=raw_path(request),
        status=status,
        ms=round((time.perf_counter() - started) * 1000, 2),
        bytes=sent or 0,
        request_id=request["request_id"],
        **fields,
    )


def response_headers(origins: Sequence[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """
    Build the `on_response_prepare` signal: stream headers leave before any middleware sees the response.
    """
    allows_any = "*" in origins
    allowed = frozenset(origins)

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        request["is_prepared"] = True
        headers = response.headers
        headers.update(SECURITY_HEADERS)
        headers[hdrs.SERVER] = "towow"
        request_id = request.get("request_id")
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        origin = request.headers.get(hdrs.ORIGIN)
        if allowed:
            headers.add(hdrs.VARY, "Origin")
        if origin is None:
            return
        if allows_any:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
        elif origin in allowed:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
        else:
            return
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED_HEADERS
        if request.method == hdrs.METH_OPTIONS:
            headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = _ALLOWED_METHODS
            headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _ALLOWED_HEADERS
            headers[hdrs.ACCESS_CONTROL_MAX_AGE] = _PREFLIGHT_SECONDS

    return add
