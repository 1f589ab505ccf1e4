"""Followers of the load: connections whose events are counted in a shared buffer and never decoded."""

import socket
import time

from benchmarks.loop import Handler, LoadError, Loop, connect, get_request
from benchmarks.orders import MARK, STAMP_DIGITS

_WAVE = 128  # connections that are opened before the last ones have been answered
_BUFFER_BYTES = 1 << 20
_ROOM = len(MARK) + STAMP_DIGITS - 1  # in front of what is read: the most of a mark that one read can leave to the next
_NEWLINE = 10


class LoadFollowers:
    """Many readers of one stream: `counts` of events for each, `total` and `bytes_total` for all, `last_at` (ns) of the
    newest."""

    def __init__(self, loop: Loop) -> None:
        self.counts: dict[int, int] = {}
        self.total = 0
        self.bytes_total = 0
        self.last_at = 0
        self.latencies: list[int] = []
        self._loop = loop
        self._sockets: dict[int, socket.socket] = {}
        self._heads: dict[int, bytes] = {}  # of those that have not been sent `ready`
        self._tails: dict[int, bytes] = {}
        self._buffer = bytearray(_ROOM + _BUFFER_BYTES)
        self._view = memoryview(self._buffer)[_ROOM:]

    def open(self, port: int, target: str, count: int, ready: bytes, *, is_timed: bool) -> None:
        """Open `count` more and wait until each has been sent `ready`."""
        request = get_request(target)
        read = self._read_timed if is_timed else self._read

        def begin(fd: int) -> None:
            self._begin(fd, ready, read)

        for start in range(0, count, _WAVE):
            for _ in range(min(_WAVE, count - start)):
                connection = connect(port)
                connection.sendall(request)
                connection.setblocking(False)
                fd = connection.fileno()
                self._sockets[fd] = connection
                self._heads[fd] = b""
                self.counts[fd] = 0
                self._loop.add(fd, begin)
            self._loop.run(lambda: not self._heads, what="followers to be accepted")

    def close(self) -> None:
        """Leave, all of them, and forget what they counted."""
        for fd, connection in self._sockets.items():
            self._loop.remove(fd)
            connection.close()
        self._sockets.clear()
        self._tails.clear()
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.counts = dict.fromkeys(self._sockets, 0)
        self.total = 0
        self.latencies.clear()

    def _begin(self, fd: int, ready: bytes, read: Handler) -> None:
        head = self._heads[fd] + self._sockets[fd].recv(_BUFFER_BYTES)
        if not head or head[8:12] not in (b" 200", b""):
            raise LoadError(f"a follower was refused: {head[:200].decode(errors='replace')!r}")
        self._heads[fd] = head
        if ready in head:
            del self._heads[fd]
            self._loop.change(fd, read)

    def _receive(self, fd: int) -> tuple[int, int] | None:
        """Where in the buffer the next bytes are, with what the read before cut off in front of them; None when there are
        none."""
        try:
            size = self._sockets[fd].recv_into(self._view)
        except BlockingIOError:
            return None
        if not size:
            raise LoadError(f"the stream of a follower was closed after {self.counts[fd]} events")
        self.bytes_total += size
        tail = self._tails.pop(fd, None)
        if tail is None:
            return _ROOM, _ROOM + size
        start = _ROOM - len(tail)
        self._buffer[start:_ROOM] = tail
        return start, _ROOM + size

    def _read(self, fd: int) -> None:
        """Count the marks. A read that ends with a line has not cut one."""
        place = self._receive(fd)
        if place is None:
            return
        start, end = place
        found = self._buffer.count(MARK, start, end)
        if self._buffer[end - 1] != _NEWLINE:
            self._tails[fd] = bytes(self._buffer[max(start, end - len(MARK) + 1) : end])
        if found:
            self.counts[fd] += found
            self.total += found
            self.last_at = time.monotonic_ns()

    def _read_timed(self, fd: int) -> None:
        """Count the marks whose stamp is there as well, and take the time since each stamp."""
        place = self._receive(fd)
        if place is None:
            return
        start, end = place
        now = time.monotonic_ns()
        while True:
            mark = self._buffer.find(MARK, start, end)
            if mark < 0:
                start = max(start, end - len(MARK) + 1)
                break
            stamp = mark + len(MARK)
            if stamp + STAMP_DIGITS > end:
                start = mark
                break
            start = stamp + STAMP_DIGITS
            self.latencies.append(now - int(self._buffer[stamp:start]))
            self.counts[fd] += 1
            self.total += 1
            self.last_at = now
        if self._buffer[end - 1] != _NEWLINE:
            self._tails[fd] = bytes(self._buffer[start:end])
