"""
One stream, three transports on the same URL: SSE, NDJSON and WebSocket. All of them run the same follower.
"""

import asyncio
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from server.cursor import Asked, Start, resolve
from server.eventlog import EventLog
from server.events import Event
from server.follower import Ended, Follower, Followers, Socket, Timing, Wire
from server.selection import Selection
from server.sse import STREAM_HEADERS, Dialect, SseResponse, SseWire, chunk

_CAPACITY_RETRY_FACTOR = 5


class NdjsonWire(msgspec.Struct, frozen=True):
    """
    One JSON object per line; control frames have a `control` key, a keepalive is an empty line.
    """

    is_chunked: bool = True
    dialect: Dialect = Event.canonical

    def event(self, event: Event) -> bytes:
        """
        The event in its dialect and a newline.
        """
        return self.dialect(event) + b"\n"

    def wrap(self, data: bytes) -> bytes:
        """
        One HTTP chunk.
        """
        return chunk(data) if self.is_chunked else data

    def first(self, retry_milliseconds: int) -> bytes:
        """
        Nothing: the retry hint is a field of the control frames that need one.
        """
        return b""

    def control(self, name: str, fields: dict[str, Any], retry_milliseconds: int | None = None) -> bytes:
        """
        A line with `control` and the fields.
        """
        return msgspec.json.encode(_with_control(name, fields, retry_milliseconds)) + b"\n"

    def keepalive(self, timestamp: float) -> bytes:
        """
        An empty line.
        """
        return b"\n"


class WebSocketWire(msgspec.Struct, frozen=True):
    """
    One text message per event, with the same JSON as NDJSON; a keepalive is a ping.
    """

    dialect: Dialect = Event.canonical

    def event(self, event: Event) -> bytes:
        """
        The event in its dialect as one text frame.
        """
        return _frame(0x1, self.dialect(event))

    def wrap(self, data: bytes) -> bytes:
        """
        Nothing: frames stand for themselves.
        """
        return data

    def first(self, retry_milliseconds: int) -> bytes:
        """
        Nothing, as with NDJSON.
        """
        return b""

    def control(self, name: str, fields: dict[str, Any], retry_milliseconds: int | None = None) -> bytes:
        """
        A message with `control` and the fields.
        """
        return _frame(0x1, msgspec.json.encode(_with_control(name, fields, retry_milliseconds)))

    def keepalive(self, timestamp: float) -> bytes:
        """
        A ping frame.
        """
        return _frame(0x9, b"")


def _with_control(name: str, fields: dict[str, Any], retry_milliseconds: int | None) -> dict[str, Any]:
    retry = {} if retry_milliseconds is None else {"retry": retry_milliseconds}
    return {"control": name, **fields, **retry}


def _frame(opcode: int, payload: bytes) -> bytes:
    """
    An unmasked, unfragmented WebSocket frame (RFC 6455, section 5.2), whole, so that one write never ends inside it.
    """
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


class Streaming:
    """
    Serves streams for every surface: resolves the start, prepares the response, runs the follower, ends cleanly.
    """

    def __init__(self, log: EventLog, followers: Followers, timing: Timing, max_followers: int) -> None:
        self._log = log
        self._followers = followers
        self._timing = timing
        self._max_followers = max_followers

    async def serve(
        self,
        request: web.Request,
        selection: Selection,
        asked: Asked,
        *,
        keepalive_seconds: float | None = None,
        keepalive_comment: str | None = "keepalive",
        is_ndjson: bool = False,
        dialect: Dialect = Event.canonical,
    ) -> web.StreamResponse:
        """
        Stream the selection on the transport that the request asks for.

        204 when the one stream that is followed has ended and the cursor is at its end. Raises `NotFound` before the stream
        starts. Being full or stopping is a 200 with `event: end`, because a browser gives up for good on any other status.
        """
        is_websocket = "websocket" in request.headers.get("Upgrade", "").lower()
        start = await resolve(self._log, selection, asked)
        if start.is_over and not is_websocket:
            return web.Response(status=204)
        timing = self._timing
        if keepalive_seconds is not None:
            timing = timing._replace(keepalive_seconds=keepalive_seconds)
        if is_websocket:
            return await self._serve_websocket(request, selection, start, WebSocketWire(dialect), timing)
        is_chunked = request.version >= (1, 1)
        wire: Wire
        response: web.StreamResponse
        if is_ndjson:
            wire = NdjsonWire(is_chunked, dialect)
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **STREAM_HEADERS})
            if is_chunked:
                response.enable_chunked_encoding()
        else:
            wire = SseWire(is_chunked, keepalive_comment, dialect)
            response = SseResponse()
        await response.prepare(request)
        follower = self._follower(request, selection, start, wire, timing)
        if follower is None:
            return response
        try:
            await self._run(request, follower)
        except ConnectionError:
            pass  # the peer left; aiohttp must not treat it as an error of ours
        return response

    async def _serve_websocket(
        self, request: web.Request, selection: Selection, start: Start, wire: Wire, timing: Timing
    ) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False, timeout=1.0)
        await socket.prepare(request)
        if start.is_over:
            await socket.send_json({"control": "end", "reason": "ended", "last_seq": start.cursor})
            await socket.close()
            return socket
        follower = self._follower(request, selection, start, wire, timing)
        if follower is None:
            await socket.close()
            return socket
        reader = asyncio.create_task(self._until_closed(socket, follower))
        try:
            ended = await self._run(request, follower)
            if ended is not Ended.STALLED:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
                await socket.close()
        finally:
            reader.cancel()
        return socket

    @staticmethod
    async def _until_closed(socket: web.WebSocketResponse, follower: Follower) -> None:
        """
        Read and drop what the peer says, so that its pongs and its close are seen.
        """
        async for message in socket:
            if message.type in (WSMsgType.ERROR, WSMsgType.CLOSE):
                break
        follower.stop("closed")

    def _follower(
        self, request: web.Request, selection: Selection, start: Start, wire: Wire, timing: Timing
    ) -> Follower | None:
        """
        A follower on the request's connection; None when the stream was ended at once for lack of room.
        """
        transport = request.transport
        if transport is None:
            raise asyncio.CancelledError
        if len(self._followers) >= self._max_followers or self._log.hub.is_closed:
            reason = "shutdown" if self._log.hub.is_closed else "capacity"
            retry = timing.retry_milliseconds * _CAPACITY_RETRY_FACTOR
            fields = {"reason": reason, "last_seq": start.cursor}
            transport.write(wire.wrap(wire.control("end", fields, retry)))
            return None
        transport.set_write_buffer_limits(high=self._log.hub.max_buffer_bytes)
        socket = Socket(transport.write, transport.get_write_buffer_size, request.writer.drain, transport.abort)
        return Follower(self._log, selection, start, wire, socket, timing)

    async def _run(self, request: web.Request, follower: Follower) -> Ended:
        try:
            return await self._followers.run(follower)
        finally:
            request["sent_events"] = follower.sent_events
            request["sent_bytes"] = follower.sent_bytes
