"""Which events a reader wants: streams by name or pattern, and event types by glob. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from towow.errors import InvalidRequest
from towow.events import SYSTEM, Event, check_glob, is_stream_name, kind_of

# Kinds whose past is not what a new reader came for: without a cursor they start at the head (design section 5).
LIVE_KINDS = frozenset({"agent", "operator", "broadcast"})
MAX_TYPES = 16  # globs of event types in one selection


class Selection(NamedTuple):
    """Exact stream names, stream patterns (`kind:*`, `*`) and event type globs; empty types mean every type. Hashable.

    `*` is every stream but the server's own, `system:…`. Globs are prefixes: whether a name begins with one of them is a single
    step, whatever they are. `type_names` and `type_prefixes` are the types in the form that is compared."""

    names: frozenset[str]
    patterns: tuple[str, ...]
    types: tuple[str, ...] = ()
    type_names: frozenset[str] = frozenset()
    type_prefixes: tuple[str, ...] = ()

    def wants(self, event: Event) -> bool:
        """Whether the event belongs to this selection."""
        return self.wants_stream(event.stream) and self.wants_type(event.event_type)

    def wants_stream(self, stream: str) -> bool:
        """Whether events of the stream can belong to this selection."""
        return stream in self.names or any(pattern in self.patterns for pattern in patterns_of(stream))

    def wants_type(self, event_type: str) -> bool:
        """Whether events of the type can belong to this selection."""
        return not self.types or event_type in self.type_names or event_type.startswith(self.type_prefixes)

    @property
    def single(self) -> str | None:
        """The name of the stream when exactly one is followed: only then can the reader come to an end."""
        return next(iter(self.names)) if len(self.names) == 1 and not self.patterns else None

    @property
    def starts_live(self) -> bool:
        """Whether a reader without a cursor starts at the head instead of the beginning."""
        return bool(self.patterns) or any(kind_of(name) in LIVE_KINDS for name in self.names)


def patterns_of(stream: str) -> tuple[str, ...]:
    """The patterns that a stream belongs to: of its kind, and `*` unless it is the server's own."""
    return _patterns_of_kind(kind_of(stream))


@lru_cache(maxsize=1024)
def _patterns_of_kind(kind: str) -> tuple[str, ...]:
    return (f"{kind}:*",) if f"{kind}:" == SYSTEM else (f"{kind}:*", "*")


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
    if "*" in patterns:  # it has all the others, and a stream then belongs to one pattern
        patterns &= {"*", f"{SYSTEM}*"}
    globs = {check_glob(name, "type") for name in types}
    if len(globs) > MAX_TYPES:
        raise InvalidRequest(f"type is given {len(globs)} times, the limit is {MAX_TYPES}", field="type", limit=MAX_TYPES)
    return Selection(
        frozenset(names),
        tuple(sorted(patterns)),
        tuple(sorted(globs)),
        frozenset(glob for glob in globs if not glob.endswith("*")),
        tuple(sorted(glob[:-1] for glob in globs if glob.endswith("*"))),
    )


EVERYTHING = select(("*", f"{SYSTEM}*"))  # every event of the log
