"""The NDJSON wire: one JSON object per line."""

from typing import Any

import msgspec

from server.streaming.sse import Envelope, chunk
from towow.events import Event


def with_cursor(line: bytes, event: Event) -> bytes:
    """An event's JSON object with one more field, its `cursor`."""
    return b'%b,"cursor":"%b"}' % (line[:-1], event.cursor.encode())


class NdjsonWire(msgspec.Struct, frozen=True):
    """One JSON object per line, events with a `cursor`; control frames have a `control` key, a keepalive is an empty line."""

    is_chunked: bool = True
    envelope: Envelope = Event.canonical

    def event(self, event: Event) -> bytes:
        """The event in its envelope with its cursor, and a newline."""
        return with_cursor(self.envelope(event), event) + b"\n"

    def wrap(self, data: bytes) -> bytes:
        """One HTTP chunk."""
        return chunk(data) if self.is_chunked else data

    def first(self, retry_milliseconds: int) -> bytes:
        """Nothing: the retry hint is a field of the control frames that need one."""
        return b""

    def control(self, name: str, fields: dict[str, Any], retry_milliseconds: int | None = None) -> bytes:
        """A line with `control` and the fields."""
        return msgspec.json.encode({"control": name, **fields}) + b"\n"

    def keepalive(self, timestamp: float) -> bytes:
        """An empty line."""
        return b"\n"
