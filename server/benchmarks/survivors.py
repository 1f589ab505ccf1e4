"""
Clients of a server that is killed and started again.

Followers are plain ones that resume with `Last-Event-ID`; publishers repeat what was not acknowledged with the same `event_id`.
"""

import heapq
import random
import re
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable

from server.benchmarks.loop import LoadError, Loop, get_request, post_request
from server.benchmarks.orders import Survived
from server.benchmarks.publishers import is_whole

_STREAM = "task:survive"
_TARGET = f"/api/events/stream?stream={_STREAM}&allow_pending=1"
_RETRY_SECONDS = (0.05, 0.15)  # at random between them, so that clients do not come back in step
_PUBLISHERS = 4
_AFTERMATH_SECONDS = 0.5  # publishing goes on for so long after everybody is back
_READ_BYTES = 1 << 18
_EVENT = re.compile(rb"(?:^|\n)id: (\d+)\ndata: ")
_SEQ = re.compile(rb'"seq":(\d+)')


class _Client:
    """
    A connection that is opened again whenever it is lost.
    """

    def __init__(self, survivors: "Survivors") -> None:
        self.survivors = survivors
        self.rest = b""
        self.connection: socket.socket | None = None

    def connect(self) -> None:
        """
        Begin to connect; `open` follows when the other side has accepted.
        """
        self.rest = b""
        self.connection = socket.socket()
        self.connection.setblocking(False)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.connect_ex(("127.0.0.1", self.survivors.port))
        self.survivors.loop.add(self.connection.fileno(), self._connected, is_writing=True)

    def close(self) -> None:
        """
        Leave.
        """
        if self.connection is not None:
            self.survivors.loop.remove(self.connection.fileno())
            self.connection.close()
            self.connection = None

    def send(self, data: bytes) -> None:
        """
        Send a short request whole.
        """
        assert self.connection is not None  # noqa: S101 - for the type checker
        try:
            self.connection.send(data)
        except ConnectionError:
            self._lose()

    def opened(self) -> None:
        """
        The connection is there.
        """
        raise NotImplementedError

    def received(self, data: bytes) -> None:
        """
        Bytes have come.
        """
        raise NotImplementedError

    def lost(self) -> None:
        """
        The connection is gone; a new one will be opened.
        """

    def _connected(self, fd: int) -> None:
        assert self.connection is not None  # noqa: S101 - for the type checker
        if self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lose()
            return
        self.survivors.loop.change(fd, self._read)
        self.opened()

    def _read(self, fd: int) -> None:
        assert self.connection is not None  # noqa: S101 - for the type checker
        try:
            data = self.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if data:
            self.received(self.rest + data)
        else:
            self._lose()

    def _lose(self) -> None:
        self.close()
        self.lost()
        self.survivors.later(random.uniform(*_RETRY_SECONDS), self.connect)  # noqa: S311 - not a secret


class _Follower(_Client):
    """
    Keeps every seq it was sent, in the order of arrival.
    """

    def __init__(self, survivors: "Survivors") -> None:
        super().__init__(survivors)
        self.seqs = array("q")
        self.is_live = False

    @property
    def last_seq(self) -> int:
        """
        Its cursor; 0 before the first event.
        """
        return self.seqs[-1] if self.seqs else 0

    def opened(self) -> None:
        """
        Ask for what comes after the last event.
        """
        self.send(get_request(_TARGET, self.last_seq or None))

    def received(self, data: bytes) -> None:
        """
        Take whole events; a cut one waits for its rest.
        """
        if data.startswith(b"HTTP/") and len(data) > 12 and data[8:12] != b" 200":
            raise LoadError(f"a resuming follower was refused: {data[:200].decode(errors='replace')!r}")
        end = data.rfind(b"\n\n") + 2
        if end > 1:
            self.seqs.extend(map(int, _EVENT.findall(data, 0, end)))
            self.is_live = self.is_live or b"event: ready" in data
            if b"event: reset" in data:
                raise LoadError("a resuming follower was sent a reset: the server lost its cursor")
            self.rest = data[end:]
            self.survivors.moved(self)
        else:
            self.rest = data

    def lost(self) -> None:
        """
        Count it.
        """
        self.is_live = False
        self.survivors.was_down = True
        self.survivors.reconnects += 1


class _Publisher(_Client):
    """
    Sends the next event when it is due, and the same one again until it is acknowledged.
    """

    def __init__(self, survivors: "Survivors") -> None:
        super().__init__(survivors)
        self.event: int | None = None
        self.is_open = False

    def opened(self) -> None:
        """
        Go on with the event that has no answer.
        """
        self.is_open = True
        if self.event is not None:
            self.publish(self.event)

    def publish(self, event: int) -> None:
        """
        Send an event under its id.
        """
        self.event = event
        body = f'{{"stream":"{_STREAM}","event_type":"note","event_id":"survive-{event}","payload":{{"n":{event}}}}}'
        self.send(post_request("/api/events", body.encode()))

    def received(self, data: bytes) -> None:
        """
        Take an answer.
        """
        self.rest = data
        if not is_whole(data):
            return
        self.rest = b""
        found = _SEQ.search(data)
        if data[9] != ord("2") or found is None:
            raise LoadError(f"a repeated publish was refused: {data[:300].decode(errors='replace')!r}")
        self.event = None
        self.survivors.acknowledged(int(found[1]))

    def lost(self) -> None:
        """
        Wait; the event stays.
        """
        self.is_open = False


class Survivors:
    """
    All clients of one server, through its death. `run` returns when everybody has everything.
    """

    def __init__(self, loop: Loop, port: int, followers: int, rate: float) -> None:
        self.loop = loop
        self.port = port
        self.was_down = False
        self.reconnects = 0
        self._rate = rate
        self._followers = [_Follower(self) for _ in range(followers)]
        self._publishers = [_Publisher(self) for _ in range(_PUBLISHERS)]
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_number = 0
        self._acknowledged: set[int] = set()
        self._sent = 0
        self._started_at = time.monotonic()
        self._goal: int | None = None  # the first seq that was acknowledged after the death
        self._behind: set[_Follower] = set()
        self._caught_up_at: float | None = None

    def run(self, when_connected: Callable[[], None]) -> Survived:
        """
        Connect everybody, tell so, publish through the death of the server, and count what each follower has.
        """
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
        """
        Do something after a while.
        """
        self._timer_number += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._timer_number, action))

    def acknowledged(self, seq: int) -> None:
        """
        An event is stored. The first one after the death is what everybody has to reach.
        """
        self._acknowledged.add(seq)
        if self.was_down and self._goal is None:
            self._goal = seq
            self._behind = {follower for follower in self._followers if follower.last_seq < seq}

    def moved(self, follower: _Follower) -> None:
        """
        A follower has new events.
        """
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
        """
        Do what is due: connect again, publish; returns the seconds until more is.
        """
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
