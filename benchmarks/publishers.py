"""Publishers of the load: connections that stay open, each with one request in flight."""

import itertools
import random
import time
from collections.abc import Iterator

from benchmarks.loop import LoadError, Loop, connect, post_request
from benchmarks.orders import STAMP, STAMP_DIGITS

_ANSWER_BYTES = 1 << 18
_LENGTH = b"ontent-Length: "


class Publishers:
    """Post one body over `in_flight` connections, `requests` times or for `seconds`.

    At `rate`, after random pauses of at most `gap_seconds`, or as fast as answers come. `latencies` has the nanoseconds from
    each request to its answer. An answer that is no 2xx raises `LoadError`."""

    def __init__(
        self,
        loop: Loop,
        port: int,
        target: str,
        body: str,
        in_flight: int,
        *,
        requests: int,
        seconds: float,
        rate: float,
        gap_seconds: float = 0.0,
    ) -> None:
        self.latencies: list[int] = []
        self.sent = 0
        self.started_at = 0
        self.last_at = 0
        self._loop = loop
        self._requests = requests
        self._nanoseconds = int(seconds * 1e9)
        self._pauses = _pauses(rate, gap_seconds)  # before each further request; None: as fast as answers come
        self._due_at = 0.0  # of the next request, in seconds from the start
        before, self._is_stamped, after = body.partition(STAMP)
        zeros = "0" * STAMP_DIGITS if self._is_stamped else ""
        self._request = post_request(target, f"{before}{zeros}{after}".encode())
        self._stamp_at = len(self._request) - len(after.encode()) - STAMP_DIGITS
        self._sockets = [connect(port) for _ in range(in_flight)]
        self._by_fd = {connection.fileno(): connection for connection in self._sockets}
        self._idle = list(self._by_fd)
        self._sent_at = dict.fromkeys(self._by_fd, 0)
        self._answers: dict[int, bytes] = {}  # begun
        self._unsent: dict[int, bytes] = {}

    def run(self) -> None:
        """Publish until everything is answered, then close the connections."""
        for fd, connection in self._by_fd.items():
            connection.setblocking(False)
            self._loop.add(fd, self._read)
        self.started_at = time.monotonic_ns()
        try:
            self._send_due()
            tick = self._send_due if self._pauses is not None else None
            self._loop.run(self._is_done, what="answers to publishes", tick=tick)
        finally:
            for fd, connection in self._by_fd.items():
                self._loop.remove(fd)
                connection.close()

    def _is_done(self) -> bool:
        return len(self._idle) == len(self._by_fd) and not self._has_more()

    def _has_more(self) -> bool:
        if self._requests:
            return self.sent < self._requests
        return time.monotonic_ns() - self.started_at < self._nanoseconds

    def _send_due(self) -> float:
        """Send what is due; returns the seconds until more is."""
        while self._idle and self._has_more():
            if self._pauses is not None:
                due_in = self._due_at - (time.monotonic_ns() - self.started_at) / 1e9
                if due_in > 0:
                    return due_in
                self._due_at += next(self._pauses)
            self._send(self._idle.pop())
        return 1.0

    def _send(self, fd: int) -> None:
        now = time.monotonic_ns()
        request = self._request
        if self._pauses is not None:  # there is time for a stamp of its own
            stamp = b"%0*d" % (STAMP_DIGITS, now)
            request = request[: self._stamp_at] + stamp + request[self._stamp_at + STAMP_DIGITS :]
        self.sent += 1
        self._sent_at[fd] = now
        size = self._by_fd[fd].send(request)
        if size < len(request):
            self._unsent[fd] = request[size:]
            self._loop.change(fd, self._write, is_writing=True)

    def _write(self, fd: int) -> None:
        rest = self._unsent.pop(fd)
        rest = rest[self._by_fd[fd].send(rest) :]
        if rest:
            self._unsent[fd] = rest
        else:
            self._loop.change(fd, self._read)

    def _read(self, fd: int) -> None:
        try:
            data = self._by_fd[fd].recv(_ANSWER_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise LoadError(f"the connection of a publisher was closed after {len(self.latencies)} answers")
        if self._answers:
            data = self._answers.pop(fd, b"") + data
        if not is_whole(data):
            self._answers[fd] = data
            return
        if data[9] != ord("2"):
            raise LoadError(f"a publish was refused: {data[:500].decode(errors='replace')!r}")
        self.last_at = time.monotonic_ns()
        self.latencies.append(self.last_at - self._sent_at[fd])
        if self._pauses is not None or not self._has_more():
            self._idle.append(fd)
        else:
            self._send(fd)


def _pauses(rate: float, gap_seconds: float) -> Iterator[float] | None:
    if rate:
        return itertools.repeat(1 / rate)
    if gap_seconds:
        return (random.uniform(0, gap_seconds) for _ in itertools.count())  # noqa: S311 - no secret
    return None


def is_whole(answer: bytes) -> bool:
    """Whether these bytes are a whole answer with a Content-Length."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = answer.find(_LENGTH, 0, end)
    if at < 0:
        raise LoadError(f"an answer has no Content-Length: {answer[:end].decode(errors='replace')!r}")
    at += len(_LENGTH)
    return len(answer) - end - 4 >= int(answer[at : answer.find(b"\r", at)])
