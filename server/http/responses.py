"""What answers look like: the headers that every response carries, JSON answers, and the one shape of an error.

A JSON answer is composed and written in one piece. aiohttp's general response builds its headers anew through a multidict,
a signal and a serializer: a fifth of the time of a durable publish."""

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest

from server.http.cors import CORS, Cors
from towow.errors import STATUS_BY_CODE, TowowError
from towow.events import uuid7

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "towow",
}
SEQ_HEADER = "X-Towow-Seq"  # of an answer that read or wrote the log: the last seq that it may have seen
SEEN_SEQ: web.AppKey[Callable[[], int]] = web.AppKey("seen_seq")
_DRAIN_BYTES = 65_536

_REASONS = {status.value: status.phrase for status in HTTPStatus}
# What one client may read, the next one at the same browser or proxy may not.
ANSWER_HEADERS = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
_STATIC = "".join(f"{name}: {value}\r\n" for name, value in ANSWER_HEADERS.items())
_JSON = msgspec.json.Encoder()


# What the parts of one request tell each other, for the answer's head and the log line.
REQUEST_ID = web.RequestKey("request_id", str)
USES_LOG = web.RequestKey("uses_log", bool)
IS_PREPARED = web.RequestKey("is_prepared", bool)
FOLLOWERS = web.RequestKey("followers", int)
SENT_EVENTS = web.RequestKey("sent_events", int)
SENT_BYTES = web.RequestKey("sent_bytes", int)


def response_headers(cors: Cors) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Build the `on_response_prepare` signal for streams and pages: their headers leave before middleware sees the response."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        request[IS_PREPARED] = True
        response.headers.update(SECURITY_HEADERS)
        response.headers.update(cors.headers(request))
        request_id = request.get(REQUEST_ID)
        if request_id is not None:
            response.headers["X-Request-Id"] = request_id
        if USES_LOG in request:
            response.headers[SEQ_HEADER] = str(request.app[SEEN_SEQ]())

    return add


class JsonResponse(web.StreamResponse):
    """A complete JSON body with the common headers, written at once."""

    def __init__(
        self, body: bytes, status: int = 200, *, headers: dict[str, str] | None = None, content_type: str = "application/json"
    ) -> None:
        super().__init__(status=status)
        self.body = body
        self.extra_headers = headers or {}
        self._type = content_type
        self._asked: web.Request | None = None
        self._is_written = False

    @property
    def prepared(self) -> bool:
        """Whether `prepare` has run."""
        return self._asked is not None

    @property
    def keep_alive(self) -> bool | None:
        """As the request asked."""
        return self._asked.keep_alive if self._asked is not None else None

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Remember the connection; everything is written by `write_eof`."""
        if not isinstance(request, web.Request):
            raise TypeError("a JSON answer needs the application's request")
        self._asked = request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write head and body. Raises `ConnectionResetError` when the client has left."""
        request = self._asked
        if request is None or self._is_written:
            return
        self._is_written = True
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(self.render(request, request.app))
        if len(self.body) > _DRAIN_BYTES:
            await request.writer.drain()

    def render(self, request: web.Request, app: web.Application) -> bytes:
        """Head and body as they go over the connection."""
        extra = f"{SEQ_HEADER}: {app[SEEN_SEQ]()}\r\n" if USES_LOG in request else ""
        extra += "".join([f"{name}: {value}\r\n" for name, value in self.extra_headers.items()])
        common = _STATIC
        allowed = app[CORS].headers(request)
        if allowed:
            common = "".join(f"{name}: {value}\r\n" for name, value in {**ANSWER_HEADERS, **allowed}.items())
        if not request.keep_alive:
            extra += "Connection: close\r\n"
        elif request.version < (1, 1):
            extra += "Connection: keep-alive\r\n"
        head = (
            f"HTTP/1.1 {self.status} {_REASONS.get(self.status, '')}\r\nContent-Type: {self._type}\r\n"
            f"Content-Length: {len(self.body)}\r\nDate: {http_date()}\r\n{common}"
            f"X-Request-Id: {request.get(REQUEST_ID, '')}\r\n{extra}\r\n"
        )
        # The head of an answer to HEAD is that of a GET; a body would be read as the next answer.
        return head.encode("latin-1") + (b"" if request.method == hdrs.METH_HEAD else self.body)


_date: tuple[int, str] = (0, "")


def http_date() -> str:
    """Now as an IMF-fixdate (RFC 9110, section 5.6.7), formatted once a second."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        parts = time.gmtime(now)
        day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[parts.tm_wday]
        month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[parts.tm_mon - 1]
        text = f"{day}, {parts.tm_mday:02} {month} {parts.tm_year} {parts.tm_hour:02}:{parts.tm_min:02}:{parts.tm_sec:02} GMT"
        _date = (now, text)
    return _date[1]


def json_response(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> JsonResponse:
    """A JSON answer from plain data."""
    return JsonResponse(_JSON.encode(data), status, headers=headers)


def error_response(error: TowowError, error_id: str | None = None) -> JsonResponse:
    """The one shape of an error: `{"error": {"code", "message", "field"?, "error_id", …}, "detail": message}`."""
    body: dict[str, Any] = {"code": error.code, "message": error.message, "error_id": error_id or uuid7()}
    if error.field is not None:
        body["field"] = error.field
    body.update(error.details)
    headers = {}
    if error.code == "method_not_allowed":
        headers["Allow"] = ", ".join(error.details["allowed"])
    if error.code in ("unavailable", "behind", "storage_full", "too_many_requests"):
        headers["Retry-After"] = str(error.details.get("retry_after_seconds", 1))
    elif error.code == "unauthorized":
        headers["WWW-Authenticate"] = 'Bearer realm="towow"'
    return json_response({"error": body, "detail": error.message}, STATUS_BY_CODE[error.code], headers)
