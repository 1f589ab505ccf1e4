"""Server-Sent Events as bytes come in: a pure, incremental parser that follows the WHATWG specification.

It does no I/O and knows nothing of events, cursors or time. The client follows with it, and streams of language models are
read with it. The same bytes give the same frames however they are cut, also inside a character, a line ending or the byte
order mark."""

import re
from typing import NamedTuple

from towow.errors import TooLarge

MAX_FRAME_BYTES = 8 * 1024 * 1024  # bounds the memory that a server which never ends a frame can take

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DIGITS = re.compile(rb"[0-9]{1,9}\Z")  # longer ones would be a wait of years


class Frame(NamedTuple):
    """One dispatched block: `event` is "message" unless named; `id` is None when the block itself carried none."""

    event: str
    data: str
    id: str | None


class SseParser:
    """Turns chunks of a stream's bytes into frames; one parser per connection.

    `last_event_id` is kept across frames, as the specification demands; `retry_milliseconds` the newest `retry:` or
    None. A frame that the end of the stream cuts off is never returned."""

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.last_event_id = ""
        self.retry_milliseconds: int | None = None
        self._max_frame_bytes = max_frame_bytes
        self._pending: list[bytes] = []  # the pieces of a line whose end has not come
        self._frame_bytes = 0  # of the frame in the making, pending pieces included
        self._is_first_line = True
        self._ended_with_cr = False
        self._clear()

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that they complete, in order; often none.

        Raises `TooLarge` when a frame passes `max_frame_bytes`; the parser is of no use after that."""
        if self._ended_with_cr and chunk[:1] == b"\n":  # the second half of a CRLF
            chunk = chunk[1:]
            self._ended_with_cr = False
        if not chunk:
            return []
        self._ended_with_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        frames: list[Frame] = []
        if lines:
            lines[0] = b"".join((*self._pending, lines[0]))
            self._pending.clear()
            for line in lines:
                self._take_line(line, frames)
        if rest:
            self._pending.append(rest)
        self._count(len(rest))
        return frames

    def _clear(self) -> None:
        self._data: list[bytes] = []
        self._event = b""
        self._id: str | None = None

    def _count(self, size: int) -> None:
        self._frame_bytes += size
        if self._frame_bytes > self._max_frame_bytes:
            limit = self._max_frame_bytes
            raise TooLarge(f"a frame of the stream is longer than {limit} bytes", field="stream", limit=limit)

    def _take_line(self, line: bytes, frames: list[Frame]) -> None:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            self._dispatch(frames)
            return
        if line.startswith(b":"):
            return
        self._count(len(line))
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
                self.last_event_id = self._id
        elif name == b"retry" and _DIGITS.match(value):
            self.retry_milliseconds = int(value)

    def _dispatch(self, frames: list[Frame]) -> None:
        if self._data:
            data = b"\n".join(self._data).decode(errors="replace")
            frames.append(Frame(self._event.decode(errors="replace") or "message", data, self._id))
        self._frame_bytes = 0
        self._clear()
