"""One stream, three transports on the same URL: SSE, NDJSON and WebSocket. All of them run the same follower."""

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from aiohttp import WSMsgType, hdrs, web

from server.auth.authenticator import principal_of
from server.auth.rate_limits import RateLimits
from server.config import StreamSection
from server.eventlog.hub import BatchPolicy
from server.eventlog.log import EventLog
from server.eventlog.selection import Selection
from server.http import params
from server.http.cors import CORS
from server.http.protocol import when_half_closed
from server.http.responses import SENT_BYTES, SENT_EVENTS
from server.streaming.cursor import CursorRequest, StartPosition, resolve
from server.streaming.follower import ConnectionSettings, Ended, Follower, Followers, Wire, jittered
from server.streaming.keepalive import KeepaliveTimer
from server.streaming.ndjson import NdjsonWire
from server.streaming.sse import STREAM_HEADERS, Envelope, SseResponse, SseWire
from server.streaming.websocket import WebSocketWire
from towow.errors import Forbidden, InvalidRequest
from towow.events import Event

_CAPACITY_RETRY_FACTOR = 5
_MAX_FOLLOWER_BYTES = 4_096  # that a follower may send in all: publishing has a path of its own
_FRAME_BYTES = 8  # of one message besides its data
_WEBSOCKET_KEY = re.compile(r"[A-Za-z0-9+/]{22}==\Z")
_TIMINGS = 64  # that are kept to be shared; further ones replace the oldest
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_EXPIRY = web.RequestKey("expiry", asyncio.TimerHandle)


class StreamResponder:
    """Serves streams for every surface: resolves the start, prepares the response, runs the follower, ends cleanly.

    What an idle stream keeps is counted in hundreds of bytes, so selections, wires and timings are shared, and a response
    gives up its headers once they have left."""

    def __init__(
        self, log: EventLog, followers: Followers, limits: RateLimits, config: StreamSection, max_followers: int
    ) -> None:
        self._log = log
        self._followers = followers
        self._limits = limits
        self._config = config
        self._max_followers = max_followers
        self._timers: dict[float, KeepaliveTimer] = {}
        self._timing = lru_cache(maxsize=_TIMINGS)(self._new_timing)

    async def serve(
        self,
        request: web.Request,
        selection: Selection,
        asked: CursorRequest,
        *,
        keepalive_seconds: float | None = None,
        keepalive_comment: str | None = "keepalive",
        is_ndjson: bool = False,
        envelope: Envelope = Event.canonical,
        heartbeat: bool = False,
        batch_policy: BatchPolicy | None = None,
        max_events: int | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> web.StreamResponse:
        """Stream the selection on the transport that the request asks for.

        `heartbeat` is that of `SseWire`, `batch_policy` that of `ConnectionSettings`. `max_events` takes the place of
        `[stream] max_events_per_stream`; `headers` go with the response.

        204 when the one stream that is followed has ended and the cursor is at its end. Raises, before the stream starts,
        `Forbidden` for streams that the client may not read and for a WebSocket from a foreign page, `NotFound`, and
        `TooManyRequests`. Being full or stopping is a 200 with `event: end`, because a browser gives up for good on any other
        status; so is a token that expires, `{reason: "token_expired"}`."""
        principal = principal_of(request)
        principal.require_read((*selection.names, *selection.patterns))
        # A handshake is a GET; what came with a POST was done, and is answered as if nobody had asked to upgrade.
        is_websocket = request.method == hdrs.METH_GET and "websocket" in request.headers.get(hdrs.UPGRADE, "").lower()
        if is_websocket and not request.app[CORS].allows_websocket(request, is_by_cookie=principal.via == "cookie"):
            raise Forbidden("pages of this origin may not open a WebSocket; allow it in [cors] origins", field="Origin")
        start = await resolve(self._log, selection, asked)
        if max_events is None:
            max_events = self._config.max_events_per_stream
        timing = self._timing(keepalive_seconds or self._config.keepalive_seconds, max_events, batch_policy)
        if start.is_over and not is_websocket:
            return web.Response(status=204, headers=headers)
        client = self._limits.open_stream(request)
        try:
            if is_websocket:
                return await self._serve_websocket(request, selection, start, _websocket_wire(envelope), timing, headers)
            is_chunked = request.version >= (1, 1)
            wire: Wire
            response: web.StreamResponse
            if is_ndjson:
                wire = _ndjson_wire(is_chunked, envelope)
                response = web.StreamResponse(headers={"Content-Type": params.NDJSON, **STREAM_HEADERS})
                if is_chunked:
                    response.enable_chunked_encoding()
            else:
                wire = _sse_wire(is_chunked, keepalive_comment, envelope, heartbeat)
                response = SseResponse()
            response.headers.update(headers)
            await response.prepare(request)
            if request.method == hdrs.METH_HEAD:
                return response
            response.headers.clear()
            follower = self._follower(request, selection, start, wire, timing)
            if follower is not None:
                del selection, asked, start, timing, principal
                when_half_closed(request, follower.probe)
                try:
                    await follower.run()
                except ConnectionError:
                    pass  # the peer left; aiohttp must not treat it as an error of ours
                finally:
                    when_half_closed(request, None)
                    self._count_out(request, follower)
            return response
        finally:
            self._limits.close_stream(client)

    async def _serve_websocket(
        self,
        request: web.Request,
        selection: Selection,
        start: StartPosition,
        wire: Wire,
        timing: ConnectionSettings,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        if not _WEBSOCKET_KEY.match(request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "")):
            raise InvalidRequest(
                "a WebSocket handshake needs a Sec-WebSocket-Key: 16 bytes in base64", field="Sec-WebSocket-Key"
            )
        socket = web.WebSocketResponse(compress=False, timeout=1.0, max_msg_size=_MAX_FOLLOWER_BYTES)
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
        """Read and drop what the peer says, a few kilobytes at most, so that its pongs and its close are seen."""
        left = _MAX_FOLLOWER_BYTES
        async for message in socket:
            if message.type in (WSMsgType.ERROR, WSMsgType.CLOSE):
                break
            left -= len(message.data) + _FRAME_BYTES
            if left < 0:
                follower.stop("sends_too_much")
                return
        follower.stop("closed")

    def _follower(
        self, request: web.Request, selection: Selection, start: StartPosition, wire: Wire, timing: ConnectionSettings
    ) -> Follower | None:
        """A follower on the request's connection, counted; None when the stream was ended at once for lack of room."""
        transport = request.transport
        if transport is None or transport.is_closing():  # the peer has left: as if its handler had been cancelled already
            raise asyncio.CancelledError
        if len(self._followers) >= self._max_followers or self._log.hub.is_closed:
            reason = "shutdown" if self._log.hub.is_closed else "capacity"
            retry = jittered(timing.retry_milliseconds * _CAPACITY_RETRY_FACTOR)
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

    def _new_timing(self, keepalive_seconds: float, max_events: int, batch_policy: BatchPolicy | None) -> ConnectionSettings:
        """The timing for these values; followers with the same interval share a timer."""
        timer = self._timers.get(keepalive_seconds)
        if timer is None:
            timer = self._timers[keepalive_seconds] = KeepaliveTimer(keepalive_seconds, self._log.hub.clock)
        return ConnectionSettings(
            keepalive_seconds=keepalive_seconds,
            timer=timer,
            send_timeout_seconds=self._config.send_timeout_seconds,
            retry_milliseconds=self._config.retry_milliseconds,
            max_events=max_events,
            batch_policy=batch_policy,
        )


_sse_wire = lru_cache(maxsize=64)(SseWire)
_ndjson_wire = lru_cache(maxsize=64)(NdjsonWire)
_websocket_wire = lru_cache(maxsize=64)(WebSocketWire)
