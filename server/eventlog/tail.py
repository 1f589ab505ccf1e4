"""The tail: a window on the newest events, shared by everybody who is a moment behind. Bounded by bytes."""

from collections import deque
from collections.abc import Sequence

from server.eventlog.selection import Selection
from towow.events import Event

_EVENT_BYTES = 250  # of an event's JSON, about, besides its payload


class Tail:
    """The newest events, of which nothing is missing. `limit` is in bytes of JSON; 0 keeps none."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[Event] = deque()
        self._size = 0
        self._after = 0  # every event with a greater seq is here

    def __len__(self) -> int:
        return len(self._events)

    def start_at(self, seq: int) -> None:
        """Begin after a seq, with nothing: the head that the log had when it was opened, or an event that cannot be read."""
        self._events.clear()
        self._size = 0
        self._after = seq

    def add(self, events: Sequence[Event]) -> None:
        """Take what follows, and forget the oldest as far as there is too much."""
        for event in events:
            self._events.append(event)
            self._size += len(event.payload_json) + _EVENT_BYTES
        while self._events and self._size > self._limit:
            oldest = self._events.popleft()
            self._size -= len(oldest.payload_json) + _EVENT_BYTES
            self._after = oldest.seq

    def read(
        self, selection: Selection, after: int, limit: int, max_bytes: int, through: int
    ) -> tuple[list[Event], int] | None:
        """Events after a cursor (exclusive), ascending, and the seq looked at, at most `through`; None if too far back.

        A page ends at `limit` events or about `max_bytes`, with one event always."""
        if after < self._after:
            return None
        behind: deque[Event] = deque()
        for event in reversed(self._events):  # a follower a moment behind looks at a moment's events
            if event.seq <= after:
                break
            behind.appendleft(event)
        events: list[Event] = []
        size = 0
        for event in behind:
            if selection.wants(event):
                events.append(event)
                size += len(event.payload_json) + _EVENT_BYTES
                if size >= max_bytes or len(events) >= limit:
                    return events, event.seq
        return events, through
