"""Server-Sent Events: the bytes on the wire, and the aiohttp-sse response that carries them.

Observed on real clients and pinned in `tests/streaming/test_sse.py`: LF only; every block has a `data:` line, and an `id:` only
after it, because several clients keep the id of a frame that was cut; stored events have an `id:` and no `event:`; control
frames have an `event:`, and only `ready` an `id:`; `retry:` rides on the first block; a keepalive is one comment line with one
newline, because a blank line after it makes phantom messages."""

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest, StreamResponse
from aiohttp_sse import EventSourceResponse

from towow.events import Event, timestamp_of

Envelope = Callable[[Event], bytes]

EVENT_STREAM = "text/event-stream; charset=utf-8"  # without a charset some libraries read it as ISO-8859-1
STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class SseWire(msgspec.Struct, frozen=True):
    """Events as SSE blocks. `is_chunked`: the connection speaks HTTP/1.1, so a write is one chunk.

    `keepalive_comment` None sends keepalives as `event: keepalive`, for clients that must see them; `heartbeat` sends them as
    source 004's unnamed data event, also without an id. `envelope` renders an event as one line of JSON."""

    is_chunked: bool = True
    keepalive_comment: str | None = "keepalive"
    envelope: Envelope = Event.canonical
    heartbeat: bool = False

    def event(self, event: Event) -> bytes:
        """The event in its envelope, and `id: <seq>.<check>`."""
        return b"data: %b\nid: %b\n\n" % (self.envelope(event), event.cursor.encode())

    def wrap(self, data: bytes) -> bytes:
        """One HTTP chunk."""
        return chunk(data) if self.is_chunked else data

    def first(self, retry_milliseconds: int) -> bytes:
        """The retry line; it belongs to the block that follows."""
        return b"retry: %d\n" % retry_milliseconds

    def control(self, name: str, fields: dict[str, Any], retry_milliseconds: int | None = None) -> bytes:
        """A named block; one that has a `cursor` has it as its id, too, so that a browser comes back with it."""
        retry = b"" if retry_milliseconds is None else b"retry: %d\n" % retry_milliseconds
        place = b"id: %b\n" % fields["cursor"].encode() if "cursor" in fields else b""
        return b"%bevent: %b\ndata: %b\n%b\n" % (retry, name.encode(), msgspec.json.encode(fields), place)

    def keepalive(self, timestamp: float) -> bytes:
        """A comment, or an event without an id where the client must see it."""
        if self.heartbeat:
            return b"data: %b\n\n" % msgspec.json.encode({"type": "heartbeat", "timestamp": timestamp})
        if self.keepalive_comment is None:
            return self.control("keepalive", {"timestamp": timestamp_of(timestamp)})
        return b": %b\n" % self.keepalive_comment.encode()


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of HTTP/1.1 chunked transfer coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class SseResponse(EventSourceResponse):
    """aiohttp-sse's response, without its ping task: keepalives are the follower's, and TCP_USER_TIMEOUT is the listener's."""

    def __init__(self) -> None:
        super().__init__(sep="\n", allow_all_methods=True, send_timeout=None)
        self.headers.update({"Content-Type": EVENT_STREAM, **STREAM_HEADERS})
        del self.headers["Connection"]  # HTTP/1.1 keeps alive by itself

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers, chunked where the protocol allows it."""
        if request.version >= (1, 1):
            self.enable_chunked_encoding()
        return await StreamResponse.prepare(self, request)
