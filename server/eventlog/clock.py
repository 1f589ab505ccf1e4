"""Whether the wall clock can be believed: it is compared with a clock that only counts, and at the start with the mark.

A clock that is set wrong would make everything too old at once. So what depends on age stops while there is a doubt, which ends
when the clock fits again, or when somebody says that it is right (`retention --confirm`)."""

import time
from collections.abc import Callable

import structlog

from towow.events import seconds_of, timestamp_of

MAX_DRIFT_SECONDS = 300.0  # between two looks, which are a second apart
MAX_DOWN_SECONDS = 7 * 86_400.0  # since the mark was written; after longer the clock has to be confirmed
_log = structlog.get_logger("towow.clock")


def counted_seconds() -> float:
    """Seconds of a clock that nobody sets. It counts on while the machine sleeps, where the system has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class ClockWatch:
    """Looks at the wall clock; `doubt` is a sentence while it does not fit, and None else.

    `known_at` is a moment that was trusted before this process, None for a new file; `confirmed_at` is the timestamp at which
    somebody last said that the clock is right."""

    def __init__(
        self,
        wall: Callable[[], float],
        counted: Callable[[], float],
        known_at: float | None = None,
        confirmed_at: str | None = None,
    ) -> None:
        now = wall()
        self.doubt: str | None = None
        self._wall_clock = wall
        self._counted = counted
        self._confirmed_at = confirmed_at
        moments = [moment for moment in (known_at, seconds_of(confirmed_at or "")) if moment]
        self._wall = min(moments, key=lambda moment: abs(now - moment), default=now)
        self._count = counted()
        self._may_jump = MAX_DOWN_SECONDS  # until it was right once
        self.look(confirmed_at)

    def look(self, confirmed_at: str | None = None) -> None:
        """Compare now. A `confirmed_at` that is new ends every doubt."""
        now, count = self._wall_clock(), self._counted()
        ahead = now - self._expected(count)
        is_confirmed = confirmed_at is not None and confirmed_at != self._confirmed_at
        if is_confirmed or -MAX_DRIFT_SECONDS <= ahead <= self._may_jump:
            if self.doubt is not None:
                _log.info("clock_trusted", now=timestamp_of(now))
            self.doubt, self._wall, self._count, self._may_jump = None, now, count, MAX_DRIFT_SECONDS
            self._confirmed_at = confirmed_at or self._confirmed_at
        elif self.doubt is None:
            way = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} what was expected"
            self.doubt = f"the wall clock says {timestamp_of(now)}, {way}: nothing is trimmed by age until it is confirmed"
            _log.warning("clock_doubted", now=timestamp_of(now), seconds=round(ahead), hint="run.py retention --confirm")

    def trusted(self) -> float:
        """The time that is believed: the wall clock's, and in doubt what was known before, counted on."""
        return self._wall_clock() if self.doubt is None else self._expected(self._counted())

    def _expected(self, count: float) -> float:
        return self._wall + count - self._count
