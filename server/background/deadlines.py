"""Deadlines by a clock that only counts: whoever sets the wall clock makes nobody's time longer or shorter.

An event says until when something waits, by the wall clock of its moment. A process notes when it first sees such a deadline,
and counts from there. After a start, what the server was down does not count: each open item gets one `deadline.extended`."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Self

import structlog

from server.eventlog.log import ACTOR, EventLog
from towow.events import NewEvent

_MAX_NOTED = 50_000
# `extend(connection, seconds)`: the events that extend every open deadline of a surface.
Extend = Callable[[Any, float], Sequence[NewEvent]]
_log = structlog.get_logger("towow.deadlines")


class DeadlineClock:
    """Says what time it is for each deadline: `wall` gives seconds since 1970, `counted` those of a clock that nobody sets."""

    def __init__(self, wall: Callable[[], float], counted: Callable[[], float]) -> None:
        self._wall = wall
        self._counted = counted
        self._ends: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # the deadline, and its end as counted
        self._ahead = wall() - counted()
        self._last_end = counted()

    def now(self, key: Hashable, until: float, within_seconds: float) -> float:
        """The time in seconds since 1970 to compare a deadline with, as if nobody had set the wall clock since it was noted.

        `until` is the deadline, `within_seconds` the longest that it may lie ahead: a clock that went back while the server was
        down gives no more time."""
        count = self._counted()
        noted = self._ends.get(key)
        if noted is None or noted[0] != until:
            end = count + min(until - self._wall(), within_seconds)
            noted = self._ends[key] = (until, end)
            self._ends.move_to_end(key)
            self._ahead = max(self._ahead, until - end)
            self._last_end = max(self._last_end, end)
            if len(self._ends) > _MAX_NOTED:
                self._ends.popitem(last=False)
        return until - noted[1] + count

    def latest(self) -> float:
        """The latest time that it is for any deadline, for a query that must not miss one."""
        count = self._counted()
        return count + max(self._ahead, self._wall() - count)

    @property
    def is_waiting(self) -> bool:
        """Whether a deadline lies ahead."""
        return self._last_end > self._counted()


class Downtime:
    """Extends every open deadline by what the server was down. Use as an async context manager, after the log has been opened
    and before anything that acts on deadlines."""

    def __init__(self, log: EventLog, extensions: Sequence[Extend]) -> None:
        self._log = log
        self._extensions = extensions

    async def __aenter__(self) -> Self:
        """Append the extensions, all or none: a kill before it leaves the mark as it was, and the next start does it."""
        seconds = round(self._log.down_seconds, 3)
        if seconds:
            events = await self._log.query(lambda db: [event for extend in self._extensions for event in extend(db, seconds)])
            if events:
                token = ACTOR.set("system:downtime")
                try:
                    await self._log.append(events)
                finally:
                    ACTOR.reset(token)
                _log.info("deadlines_extended", seconds=seconds, count=len(events))
        await self._log.touch_mark()  # what comes after this is another down-time
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None
