"""One timer for all keepalives of an interval: followers wait in slots of a sixteenth of it, not on a timer each.

A timer of the event loop costs half a kilobyte for every connection; a place in a slot costs a dictionary entry. A keepalive
comes at most one slot after its time."""

import asyncio
from collections.abc import Callable
from typing import Protocol

_SLOTS = 16


class Waiting(Protocol):
    """Somebody who is due after a time of silence."""

    slot: int  # kept by the timer

    def silent_since(self) -> float:
        """When the last byte was written, in seconds of the timer's clock."""

    def keep_alive(self) -> None:
        """Write a keepalive."""


class KeepaliveTimer:
    """Everybody who is kept alive at one interval. Belongs to one event loop."""

    def __init__(self, interval_seconds: float, clock: Callable[[], float]) -> None:
        self._interval = interval_seconds
        self._width = interval_seconds / _SLOTS
        self._clock = clock
        self._slots: dict[int, dict[Waiting, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiting: Waiting) -> None:
        """Wait for silence from now on."""
        self._place(waiting, self._clock() + self._interval)
        if self._timer is None:
            self._sleep()

    def remove(self, waiting: Waiting) -> None:
        """Stop; the timer ends when nobody waits."""
        slot = self._slots.get(waiting.slot)
        if slot is not None:
            slot.pop(waiting, None)
            if not slot:
                del self._slots[waiting.slot]
        if not self._slots and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _place(self, waiting: Waiting, due_at: float) -> None:
        waiting.slot = -int(-due_at // self._width)
        self._slots.setdefault(waiting.slot, {})[waiting] = None

    def _sleep(self) -> None:
        delay = min(self._slots) * self._width - self._clock()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self._clock()
        for number in [number for number in self._slots if number * self._width <= now + 0.001]:
            for waiting in self._slots.pop(number):
                due_at = waiting.silent_since() + self._interval
                if due_at <= now + 0.001:
                    waiting.keep_alive()
                    due_at = now + self._interval
                self._place(waiting, due_at)
        if self._slots:
            self._sleep()
