"""The short way of `POST /api/events`, which is most of what a busy server does: no task, no router, no middleware.

A request that came whole, on a connection where nothing else is under way, is validated and given to the log where its bytes
arrive, and answered from the log's future. Same checks, same answers and same log line as the long way, which every other
request takes. It stands on attributes of aiohttp's protocol that are not documented: setup.cfg bounds the version, and
`tests/api/test_publish_protocol.py` holds both ways against each other."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from aiohttp import hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from server.api.events import EventRoutes
from server.api.middleware import Gate, begin, failure_response, log_request
from server.eventlog.writer import Receipt
from server.http import params
from server.http.protocol import ClientConnection
from server.http.responses import USES_LOG, JsonResponse

T = TypeVar("T")

_PATH = "/api/events"
_REQUEST_LINE = f"POST {_PATH} HTTP/1.1\r\n".encode()
_LONG_WAY = (hdrs.EXPECT, hdrs.UPGRADE, hdrs.TRANSFER_ENCODING, hdrs.COOKIE, params.AT_LEAST_HEADER, params.KEY_HEADER)

Respond = Callable[[bytes], None]


class Publisher:
    """Answers one publish without a task: `publish` calls `respond` with the bytes of the answer, at once or later."""

    def __init__(self, app: web.Application, gate: Gate, routes: EventRoutes) -> None:
        self._app = app
        self._gate = gate
        self._routes = routes

    def publish(self, request: web.Request, respond: Respond) -> None:
        """Validate the request and append its events. The whole body must be there."""
        started = begin(request)
        try:
            _run_now(self._gate.admit(request))
            self._gate.count(request)
            request[USES_LOG] = True
            body = self._gate.log.redaction.body(params.body_now(request) or b"")
            events, is_many = self._routes.accept(request, body)
            appended = self._gate.log.submit(events)
        except Exception as error:
            end = partial(self._end, request, failure_response(request, error), started, respond)
            seconds = self._gate.delay_of(request, error)
            if seconds:
                asyncio.get_running_loop().call_later(seconds, end)
            else:
                end()
        else:
            appended.add_done_callback(partial(self._answer, request, is_many, started, respond))

    def _answer(
        self, request: web.Request, is_many: bool, started: float, respond: Respond, appended: "asyncio.Future[list[Receipt]]"
    ) -> None:
        try:
            response = self._routes.receipts(request, appended.result(), is_many)
        except Exception as error:
            response = failure_response(request, error)
        self._end(request, response, started, respond)

    def _end(self, request: web.Request, response: JsonResponse, started: float, respond: Respond) -> None:
        log_request(request, response.status, response, started)
        respond(response.render(request, self._app))


class PublishProtocol(ClientConnection):
    """A client's connection with the short way; `publisher` None: all go the long way."""

    __slots__ = ("_publisher",)

    def __init__(self, *args: Any, publisher: Publisher | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._publisher = publisher

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection."""
        idle = self._waiter  # the connection's task sleeps on it between two requests
        if self._publisher is None or idle is None or idle.done() or not data.startswith(_REQUEST_LINE):
            super().data_received(data)
            return
        self._waiter = None  # whatever comes from now on stays in the queue of messages, and the task sleeps on
        super().data_received(data)
        if len(self._messages) == 1 and self._is_short(*self._messages[0]):
            message, payload = self._messages.popleft()
            self._parser.message_consumed()  # type: ignore[union-attr]  # there until the connection is lost
            self._request_in_progress = True  # a shutdown waits for the answer
            # Neither the writer nor the task is ever asked for.
            request: Any = self._request_factory(message, payload, self, None, self._task_handler)  # type: ignore[arg-type,misc]
            self._publisher.publish(request, partial(self._respond, idle))
        else:
            self._wake(idle)

    def _is_short(self, message: Any, payload: StreamReader) -> bool:
        return (
            isinstance(message, RawRequestMessage)
            and message.path == _PATH
            and payload.is_eof()
            and payload.total_bytes <= params.MAX_INLINE_BYTES
            and payload.exception() is None
            and not message.should_close
            and not self._upgraded
            and not any(name in message.headers for name in _LONG_WAY)
        )

    def _respond(self, idle: "asyncio.Future[None]", data: bytes) -> None:
        """Write the answer, and go on as aiohttp does after a request."""
        self._request_in_progress = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)
        if self._close or self._force_close or (self.is_half_closed and not self._messages):
            self.force_close()
            idle.cancel()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        self._wake(idle)

    def _wake(self, idle: "asyncio.Future[None]") -> None:
        """Let the connection's task take what is in the queue, or sleep on."""
        self._waiter = idle
        if self._messages and not idle.done():
            idle.set_result(None)


def _run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("it waited")
