"""The WebSocket wire: one text message per event, framed by hand so that one write never ends inside a frame."""

from typing import Any

import msgspec

from server.streaming.ndjson import with_cursor
from server.streaming.sse import Envelope
from towow.events import Event


class WebSocketWire(msgspec.Struct, frozen=True):
    """One text message per event, with the same JSON as NDJSON; a keepalive is a ping."""

    envelope: Envelope = Event.canonical

    def event(self, event: Event) -> bytes:
        """The event in its envelope with its cursor as one text frame."""
        return _frame(0x1, with_cursor(self.envelope(event), event))

    def wrap(self, data: bytes) -> bytes:
        """Nothing: frames stand for themselves."""
        return data

    def first(self, retry_milliseconds: int) -> bytes:
        """Nothing, as with NDJSON."""
        return b""

    def control(self, name: str, fields: dict[str, Any], retry_milliseconds: int | None = None) -> bytes:
        """A message with `control` and the fields."""
        return _frame(0x1, msgspec.json.encode({"control": name, **fields}))

    def keepalive(self, timestamp: float) -> bytes:
        """A ping frame."""
        return _frame(0x9, b"")


def _frame(opcode: int, payload: bytes) -> bytes:
    """An unmasked, unfragmented WebSocket frame (RFC 6455, section 5.2), whole, so that one write never ends inside it."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload
