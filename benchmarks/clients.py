"""One client of a server that is killed: a follower that resumes with `Last-Event-ID`, or a publisher that repeats."""

import random
import re
import socket
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable
from typing import Protocol

from benchmarks.loop import LoadError, Loop, get_request, post_request
from benchmarks.publishers import is_whole

_STREAM = "bench:survive"
_TARGET = f"/api/events/stream?stream={_STREAM}&allow_pending=1"
_RETRY_SECONDS = (0.05, 0.15)  # at random between them, so that clients do not come back in step
_READ_BYTES = 1 << 18
_EVENT = re.compile(rb"(?<!event: ready\n)data: [^\n]*\nid: (\d+)\.[1-9]{6}\n\n")
_SEQ = re.compile(rb'"seq":(\d+)')


class Crowd(Protocol):
    """What a client knows of all clients: where to connect, and whom to tell."""

    loop: Loop
    port: int

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while."""

    def acknowledged(self, seq: int) -> None:
        """An event is stored."""

    def moved(self, follower: "ResumingFollower") -> None:
        """A follower has new events."""

    def lost(self) -> None:
        """A follower has lost its connection."""


class ReconnectingClient(ABC):
    """A connection that is opened again whenever it is lost."""

    def __init__(self, crowd: "Crowd") -> None:
        self.crowd = crowd
        self.rest = b""
        self.connection: socket.socket | None = None

    def connect(self) -> None:
        """Begin to connect; `open` follows when the other side has accepted."""
        self.rest = b""
        self.connection = socket.socket()
        self.connection.setblocking(False)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.connect_ex(("127.0.0.1", self.crowd.port))
        self.crowd.loop.add(self.connection.fileno(), self._connected, is_writing=True)

    def close(self) -> None:
        """Leave."""
        if self.connection is not None:
            self.crowd.loop.remove(self.connection.fileno())
            self.connection.close()
            self.connection = None

    def send(self, data: bytes) -> None:
        """Send a short request whole."""
        assert self.connection is not None  # noqa: S101 - for the type checker
        try:
            self.connection.send(data)
        except ConnectionError:
            self._lose()

    @abstractmethod
    def opened(self) -> None:
        """The connection is there."""

    @abstractmethod
    def received(self, data: bytes) -> None:
        """Bytes have come."""

    def lost(self) -> None:  # noqa: B027 - most have nothing to do
        """The connection is gone; a new one will be opened."""

    def _connected(self, fd: int) -> None:
        assert self.connection is not None  # noqa: S101 - for the type checker
        if self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lose()
            return
        self.crowd.loop.change(fd, self._read)
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
        self.crowd.later(random.uniform(*_RETRY_SECONDS), self.connect)  # noqa: S311 - not a secret


class ResumingFollower(ReconnectingClient):
    """Keeps every seq it was sent, in the order of arrival."""

    def __init__(self, crowd: "Crowd") -> None:
        super().__init__(crowd)
        self.seqs = array("q")
        self.is_live = False

    @property
    def last_seq(self) -> int:
        """Its cursor; 0 before the first event."""
        return self.seqs[-1] if self.seqs else 0

    def opened(self) -> None:
        """Ask for what comes after the last event."""
        self.send(get_request(_TARGET, self.last_seq or None))

    def received(self, data: bytes) -> None:
        """Take whole events; a cut one waits for its rest."""
        if data.startswith(b"HTTP/") and len(data) > 12 and data[8:12] != b" 200":
            raise LoadError(f"a resuming follower was refused: {data[:200].decode(errors='replace')!r}")
        end = data.rfind(b"\n\n") + 2
        if end > 1:
            self.seqs.extend(map(int, _EVENT.findall(data, 0, end)))
            self.is_live = self.is_live or b"event: ready" in data
            if b"event: reset" in data:
                raise LoadError("a resuming follower was sent a reset: the server lost its cursor")
            self.rest = data[end:]
            self.crowd.moved(self)
        else:
            self.rest = data

    def lost(self) -> None:
        """Count it."""
        self.is_live = False
        self.crowd.lost()


class RepeatingPublisher(ReconnectingClient):
    """Sends the next event when it is due, and the same one again until it is acknowledged."""

    def __init__(self, crowd: "Crowd") -> None:
        super().__init__(crowd)
        self.event: int | None = None
        self.is_open = False

    def opened(self) -> None:
        """Go on with the event that has no answer."""
        self.is_open = True
        if self.event is not None:
            self.publish(self.event)

    def publish(self, event: int) -> None:
        """Send an event under its id."""
        self.event = event
        body = f'{{"stream":"{_STREAM}","event_type":"note","event_id":"survive-{event}","payload":{{"n":{event}}}}}'
        self.send(post_request("/api/events", body.encode()))

    def received(self, data: bytes) -> None:
        """Take an answer."""
        self.rest = data
        if not is_whole(data):
            return
        self.rest = b""
        found = _SEQ.search(data)
        if data[9] != ord("2") or found is None:
            raise LoadError(f"a repeated publish was refused: {data[:300].decode(errors='replace')!r}")
        self.event = None
        self.crowd.acknowledged(int(found[1]))

    def lost(self) -> None:
        """Wait; the event stays."""
        self.is_open = False
