"""Which events a reader wants: streams by name or pattern, and event types by glob. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from towow.errors import InvalidRequest
from towow.events import Event, check_glob, is_stream_name, kind_of, matches_any

SYSTEM = "system:"  # how the names of the server's own streams begin; `*` does not select them

# Kinds whose past is not what a new reader came for: without a cursor they start at the head (design section 5).
LIVE_KINDS = frozenset({"agent", "operator", "broadcast"})


class Selection(NamedTuple):
    """Exact stream names, stream patterns (`kind:*`, `*`) and event type globs; empty types mean every type. Hashable.

    `*` leaves the server's own streams out, `system:*`: they are asked for by name."""

    names: frozenset[str]
    patterns: tuple[str, ...]
    types: tuple[str, ...]

    def wants(self, event: Event) -> bool:
        """Whether the event belongs to this selection."""
        return self.wants_stream(event.stream) and self.wants_type(event.event_type)

    def wants_stream(self, stream: str) -> bool:
        """Whether events of the stream can belong to this selection."""
        if stream.startswith(SYSTEM):
            return stream in self.names or "system:*" in self.patterns
        return stream in self.names or matches_any(self.patterns, stream)

    def wants_type(self, event_type: str) -> bool:
        """Whether events of the type can belong to this selection."""
        return not self.types or matches_any(self.types, event_type)

    @property
    def single(self) -> str | None:
        """The name of the stream when exactly one is followed: only then can the reader come to an end."""
        return next(iter(self.names)) if len(self.names) == 1 and not self.patterns else None

    @property
    def starts_live(self) -> bool:
        """Whether a reader without a cursor starts at the head instead of the beginning."""
        return bool(self.patterns) or any(kind_of(name) in LIVE_KINDS for name in self.names)


def select(streams: Iterable[str] = ("*",), types: Iterable[str] = ()) -> Selection:
    """Build a selection. Patterns are `*` and `kind:*`. Raises `InvalidRequest` naming `stream` or `type`."""
    return _select(tuple(streams), tuple(types))


@lru_cache(maxsize=1024)  # followers of the same selection share one object
def _select(streams: tuple[str, ...], types: tuple[str, ...]) -> Selection:
    names, patterns = set(), set()
    for stream in streams:
        if stream == "*" or (stream.endswith(":*") and is_stream_name(stream[:-1] + "x") and stream.count(":") == 1):
            patterns.add(stream)
        elif is_stream_name(stream):
            names.add(stream)
        else:
            raise InvalidRequest(f"stream must be kind:id, kind:* or *, not {stream[:140]!r}", field="stream")
    if not names and not patterns:
        raise InvalidRequest("at least one stream must be named", field="stream")
    return Selection(frozenset(names), tuple(sorted(patterns)), tuple(sorted({check_glob(name, "type") for name in types})))
