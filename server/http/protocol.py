"""Connections below the router: what aiohttp answers by itself has the shape of every error, and half a close is not the end.

A peer that has sent its FIN may wait for its answers all the same (`nc -N`, some proxies), or it may have left: the two look
alike until something is written. Answers that are under way are finished; whoever waits for something is told, so that a stream
writes at once and meets the RST of a peer that has left."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog
from aiohttp import StreamReader, http_exceptions, web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from server.http.responses import ANSWER_HEADERS, error_response
from towow.errors import InvalidRequest, MethodNotAllowed, NotFound, RequestTimeout, TooLarge, TowowError
from towow.events import uuid7

MAX_LINE_BYTES = 65_536  # of a request line: 64 stream names and 64 types of 128 characters, percent-encoded
MAX_HEADER_BYTES = 16_384  # of one header

_HALF_CLOSED_GRACE_SECONDS = 0.5

_log = structlog.get_logger("towow.connection")


def refusal_of(error: BaseException | None) -> TowowError | None:
    """What aiohttp refuses by itself, as an error of the tree; None for what is not the client's fault."""
    match error:
        case TowowError():
            return error
        case web.HTTPMethodNotAllowed():
            allowed = sorted(error.allowed_methods)
            return MethodNotAllowed(f"this path answers {', '.join(allowed)}, not {error.method[:20]}", allowed=allowed)
        case web.HTTPNotFound():
            return NotFound("there is nothing at this path")
        case web.HTTPRequestEntityTooLarge():
            return TooLarge("the body is larger than the limit", field="body")
        case web.HTTPExpectationFailed():
            return InvalidRequest("Expect may only be 100-continue", field="Expect")
        case web.HTTPBadRequest():
            return InvalidRequest("this WebSocket handshake cannot be read", field="Upgrade")
        case web.RequestPayloadError() | http_exceptions.PayloadEncodingError():
            return InvalidRequest("the body cannot be read: its length or its chunks are wrong", field="body")
        case http_exceptions.LineTooLong():
            limit = error.args[1]
            name = "request line" if limit == MAX_LINE_BYTES else "header"
            return TooLarge(f"the {name} is longer than the limit of {limit} bytes", field=name, limit=limit)
        case http_exceptions.HttpProcessingError() if "Host" in error.message:
            return InvalidRequest("a request of HTTP/1.1 needs exactly one Host header", field="Host")
        case http_exceptions.HttpProcessingError():
            return InvalidRequest("this is not a request of HTTP/1.1 that can be read", field="request")
        case _:
            return None


class ClientConnection(RequestHandler):
    """One connection of a client; aiohttp's, but for its errors and for half a close."""

    __slots__ = ("_newest_body", "_on_half_close", "is_half_closed")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_line_size": MAX_LINE_BYTES, "max_field_size": MAX_HEADER_BYTES, **kwargs})
        self.is_half_closed = False
        self._on_half_close: Callable[[], None] | None = None
        self._newest_body: StreamReader | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes, and remember whose they are."""
        super().data_received(data)
        if self._messages:
            self._newest_body = self._messages[-1][1]

    def when_half_closed(self, callback: Callable[[], None] | None) -> None:
        """Call back once when the client sends nothing more, also when it has said so already; None: not any more."""
        self._on_half_close = callback
        if callback is not None and self.is_half_closed:
            callback()

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp returns None, which closes at once
        """Stay open as long as there is an answer to give, to requests that came whole."""
        is_idle = self._waiter is not None and not self._waiter.done()
        is_whole = self._newest_body is not None and self._newest_body.is_eof()
        if is_idle or not is_whole or self._upgraded or self._force_close:
            return False
        self.is_half_closed = True
        if self._on_half_close is not None:
            self._on_half_close()
        return True

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - as aiohttp has it
        """End for a stopping server; who may have left is not waited for like one who surely waits."""
        await super().shutdown(_HALF_CLOSED_GRACE_SECONDS if self.is_half_closed else timeout)

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer; aiohttp's own refusals get their shape here, and after the last one half a connection is closed."""
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            resp = self.handle_error(request, resp.status, resp)
        result = await super().finish_response(request, resp, start_time)
        if self.is_half_closed and not self._messages:
            self.close()
        return result

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what never reached the router, or broke below it; it closes the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun; there cannot be another one")
        error_id = uuid7()
        error = RequestTimeout("the request took too long") if status == 504 else refusal_of(exc)
        if isinstance(exc, UnicodeError):  # aiohttp repeats the header in its answer, and it is no text
            error = InvalidRequest("a header holds bytes that are no text", field="request")
        if error is None:
            _log.error("connection_failed", error_id=error_id, exc_info=exc)
            error = TowowError("something went wrong here; the log has it under this error_id")
        else:
            _log.info("request_refused", error_id=error_id, code=error.code, field=error.field)
        answer = error_response(error, error_id)
        response = web.Response(
            body=answer.body, status=answer.status, headers={**ANSWER_HEADERS, **answer.extra_headers, "X-Request-Id": error_id}
        )
        response.content_type = "application/json"
        response.force_close()
        return response


def when_half_closed(request: web.Request, callback: Callable[[], None] | None) -> None:
    """See `ClientConnection.when_half_closed`; for the handler of a request."""
    protocol = request.protocol
    if isinstance(protocol, ClientConnection):
        protocol.when_half_closed(callback)


def _end(task: "asyncio.Future[bool]") -> None:
    task.cancel()


async def unless_half_closed(request: web.Request, waiting: Awaitable[bool]) -> bool:
    """The result of a wait; False as soon as the client sends nothing more, because it may have left."""
    task = asyncio.ensure_future(waiting)
    when_half_closed(request, partial(_end, task))
    try:
        await asyncio.wait((task,))
    finally:
        when_half_closed(request, None)
        task.cancel()
    return not task.cancelled() and task.result()
