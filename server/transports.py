"""
One stream, three transports on the same URL: SSE, NDJSON and WebSocket. All of them run the same follower.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec
from aiohttp import WSMsgType, hdrs, web

from server import params
from server.answers import CORS, SENT_BYTES, SENT_EVENTS
from server.auth import principal_of
from server.config import StreamSection
from server.cursor import Asked, Start, resolve
from server.errors import Forbidden
from server.eventlog import EventLog
from server.events import Event
from server.follower import Ended, Follower, Followers, Timing, Wire
from server.hub import Pace
from server.keepalive import Rota
from server.limits import Limits
from server.selection import Selection
from server.sse import STREAM_HEADERS, Dialect, SseResponse, SseWire, chunk

_CAPACITY_RETRY_FACTOR = 5
_TIMINGS = 64  # that are kept to be shared; further ones replace the oldest
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_EXPIRY = web.RequestKey("expiry", asyncio.TimerHandle)


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
        return msgspec.json.encode({"control": name, **fields}) + b"\n"

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
        return _frame(0x1, msgspec.json.encode({"control": name, **fields}))

    def keepalive(self, timestamp: float) -> bytes:
        """
        A ping frame.
        """
        return _frame(0x9, b"")


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

    What an idle stream keeps is counted in hundreds of bytes, so selections, wires and timings are shared, and a response
    gives up its headers once they have left.
    """

    def __init__(self, log: EventLog, followers: Followers, limits: Limits, config: StreamSection, max_followers: int) -> None:
        self._log = log
        self._followers = followers
        self._limits = limits
        self._config = config
        self._max_followers = max_followers
        self._rotas: dict[float, Rota] = {}
        self._timing = lru_cache(maxsize=_TIMINGS)(self._new_timing)

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
        heartbeat: bool = False,
        pace: Pace | None = None,
        max_events: int | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> web.StreamResponse:
        """
        Stream the selection on the transport that the request asks for; `heartbeat` as in `SseWire`, `pace` as in `Timing`.

        `max_events` takes the place of `[stream] max_events_per_stream`; `headers` go with the response.

        204 when the one stream that is followed has ended and the cursor is at its end. Raises, before the stream starts,
        `Forbidden` for streams that the client may not read and for a WebSocket from a foreign page, `NotFound`, and
        `TooManyRequests`. Being full or stopping is a 200 with `event: end`, because a browser gives up for good on any other
        status; so is a token that expires, `{reason: "token_expired"}`.
        """
        principal = principal_of(request)
        principal.require_read((*selection.names, *selection.patterns))
        # A handshake is a GET; what came with a POST was done, and is answered as if nobody had asked to upgrade.
        is_websocket = request.method == hdrs.METH_GET and "websocket" in request.headers.get(hdrs.UPGRADE, "").lower()
        if is_websocket and not request.app[CORS].allows_websocket(request, is_by_cookie=principal.via == "cookie"):
            raise Forbidden("pages of this origin may not open a WebSocket; allow it in [cors] origins", field="Origin")
        start = await resolve(self._log, selection, asked)
        if max_events is None:
            max_events = self._config.max_events_per_stream
        timing = self._timing(keepalive_seconds or self._config.keepalive_seconds, max_events, pace)
        if start.is_over and not is_websocket:
            return web.Response(status=204, headers=headers)
        client = self._limits.open_stream(request)
        try:
            if is_websocket:
                return await self._serve_websocket(request, selection, start, _websocket_wire(dialect), timing, headers)
            is_chunked = request.version >= (1, 1)
            wire: Wire
            response: web.StreamResponse
            if is_ndjson:
                wire = _ndjson_wire(is_chunked, dialect)
                response = web.StreamResponse(headers={"Content-Type": params.NDJSON, **STREAM_HEADERS})
                if is_chunked:
                    response.enable_chunked_encoding()
            else:
                wire = _sse_wire(is_chunked, keepalive_comment, dialect, heartbeat)
                response = SseResponse()
            response.headers.update(headers)
            await response.prepare(request)
            response.headers.clear()
            follower = self._follower(request, selection, start, wire, timing)
            if follower is not None:
                del selection, asked, start, timing, principal
                try:
                    await follower.run()
                except ConnectionError:
                    pass  # the peer left; aiohttp must not treat it as an error of ours
                finally:
                    self._count_out(request, follower)
            return response
        finally:
            self._limits.close_stream(client)

    async def _serve_websocket(
        self,
        request: web.Request,
        selection: Selection,
        start: Start,
        wire: Wire,
        timing: Timing,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False, timeout=1.0)
        socket.headers.update(headers)
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
            ended = await follower.run()
            if ended is not Ended.STALLED:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
                await socket.close()
        except ConnectionError:
            pass  # as above
        finally:
            reader.cancel()
            self._count_out(request, follower)
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
        A follower on the request's connection, counted; None when the stream was ended at once for lack of room.
        """
        transport = request.transport
        if transport is None or transport.is_closing():  # the peer has left: as if its handler had been cancelled already
            raise asyncio.CancelledError
        if len(self._followers) >= self._max_followers or self._log.hub.is_closed:
            reason = "shutdown" if self._log.hub.is_closed else "capacity"
            retry = timing.retry_milliseconds * _CAPACITY_RETRY_FACTOR
            fields = {"reason": reason, "last_seq": start.cursor, "retry_milliseconds": retry}
            transport.write(wire.wrap(wire.control("end", fields, retry)))
            return None
        transport.set_write_buffer_limits(high=self._log.hub.max_buffer_bytes)
        follower = Follower(self._log, selection, start, wire, transport, request.writer.drain, timing)
        self._followers.add(follower)
        expires_at = principal_of(request).expires_at
        if expires_at is not None:
            seconds = max(0.0, expires_at - self._log.clock())
            request[_EXPIRY] = asyncio.get_running_loop().call_later(seconds, follower.stop, "token_expired")
        return follower

    def _count_out(self, request: web.Request, follower: Follower) -> None:
        self._followers.remove(follower)
        if _EXPIRY in request:
            request[_EXPIRY].cancel()
        request[SENT_EVENTS] = follower.sent_events
        request[SENT_BYTES] = follower.sent_bytes

    def _new_timing(self, keepalive_seconds: float, max_events: int, pace: Pace | None) -> Timing:
        """
        The timing for these values; followers with the same interval share a rota.
        """
        rota = self._rotas.get(keepalive_seconds)
        if rota is None:
            rota = self._rotas[keepalive_seconds] = Rota(keepalive_seconds, self._log.hub.clock)
        return Timing(
            keepalive_seconds=keepalive_seconds,
            rota=rota,
            send_timeout_seconds=self._config.send_timeout_seconds,
            retry_milliseconds=self._config.retry_milliseconds,
            max_events=max_events,
            pace=pace,
        )


_sse_wire = lru_cache(maxsize=64)(SseWire)
_ndjson_wire = lru_cache(maxsize=64)(NdjsonWire)
_websocket_wire = lru_cache(maxsize=64)(WebSocketWire)
