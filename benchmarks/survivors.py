"""All clients of a server that is killed and started again, and the count of what each follower has at the end."""

import heapq
import time
from collections import deque
from collections.abc import Callable

from benchmarks.clients import RepeatingPublisher, ResumingFollower
from benchmarks.loop import Loop
from benchmarks.orders import Survived

_PUBLISHERS = 4
_AFTERMATH_SECONDS = 0.5  # publishing goes on for so long after everybody is back


class Survivors:
    """All clients of one server, through its death. `run` returns when everybody has everything."""

    def __init__(self, loop: Loop, port: int, followers: int, rate: float) -> None:
        self.loop = loop
        self.port = port
        self.was_down = False
        self.reconnects = 0
        self._rate = rate
        self._followers = [ResumingFollower(self) for _ in range(followers)]
        self._publishers = [RepeatingPublisher(self) for _ in range(_PUBLISHERS)]
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_number = 0
        self._acknowledged: set[int] = set()
        self._sent = 0
        self._started_at = time.monotonic()
        self._goal: int | None = None  # the first seq that was acknowledged after the death
        self._behind: set[ResumingFollower] = set()
        self._caught_up_at: float | None = None

    def run(self, when_connected: Callable[[], None]) -> Survived:
        """Connect everybody, tell so, publish through the death of the server, and count what each follower has."""
        clients = [*self._followers, *self._publishers]
        starting = deque(clients)

        def start_some() -> float:
            for _ in range(min(len(starting), 64)):
                starting.popleft().connect()
            return 0.002 if starting else 0.1

        self.loop.run(self._is_connected, what="followers to be accepted", tick=start_some)
        when_connected()
        self._started_at = time.monotonic()
        self.loop.run(self._is_over, what="the server to come back", tick=self._tick)
        for client in clients:
            client.close()
        return self._result()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while."""
        self._timer_number += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._timer_number, action))

    def acknowledged(self, seq: int) -> None:
        """An event is stored. The first one after the death is what everybody has to reach."""
        self._acknowledged.add(seq)
        if self.was_down and self._goal is None:
            self._goal = seq
            self._behind = {follower for follower in self._followers if follower.last_seq < seq}

    def lost(self) -> None:
        """A follower has lost its connection: the server is dead."""
        self.was_down = True
        self.reconnects += 1

    def moved(self, follower: ResumingFollower) -> None:
        """A follower has new events."""
        if self._goal is not None and self._caught_up_at is None and follower.last_seq >= self._goal:
            self._behind.discard(follower)
            if not self._behind:
                self._caught_up_at = time.monotonic()

    def _is_connected(self) -> bool:
        return all(f.is_live for f in self._followers) and all(p.is_open for p in self._publishers)

    def _is_publishing(self) -> bool:
        return self._caught_up_at is None or time.monotonic() < self._caught_up_at + _AFTERMATH_SECONDS

    def _is_over(self) -> bool:
        if self._is_publishing() or any(publisher.event is not None for publisher in self._publishers):
            return False
        last = max(self._acknowledged)
        return all(follower.last_seq >= last for follower in self._followers)

    def _tick(self) -> float:
        """Do what is due: connect again, publish; returns the seconds until more is."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if self._is_publishing():
            for publisher in self._publishers:
                if publisher.is_open and publisher.event is None and self._sent < (now - self._started_at) * self._rate:
                    self._sent += 1
                    publisher.publish(self._sent)
        return 0.005

    def _result(self) -> Survived:
        lost = doubled = disordered = 0
        for follower in self._followers:
            have = set(follower.seqs)
            lost += len(self._acknowledged - have)
            doubled += len(follower.seqs) - len(have)
            disordered += sum(1 for a, b in zip(follower.seqs, follower.seqs[1:], strict=False) if b < a)
        return Survived(
            events=len(self._acknowledged),
            caught_up_at=self._caught_up_at or 0.0,
            lost=lost,
            doubled=doubled,
            disordered=disordered,
            reconnects=self.reconnects,
        )
