"""The load's event loop: raw non-blocking sockets and one handler for each file descriptor, nothing else.

It exists because the load must cost less than what it measures: a turn of asyncio costs more than a read."""

import select
import selectors
import socket
import sys
import time
from collections.abc import Callable

Handler = Callable[[int], None]

LONGEST_SILENCE_SECONDS = 60.0
_WAIT_SECONDS = 0.1


class LoadError(Exception):
    """The other side did something that makes a measurement worthless; the text says what."""


if sys.platform == "linux":

    class Poller:
        """Which sockets are ready, by epoll."""

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def watch(self, fd: int, *, is_writing: bool, is_new: bool) -> None:
            """Report the socket when it can be read, or with `is_writing` when it can be written."""
            mask = select.EPOLLOUT if is_writing else select.EPOLLIN
            (self._epoll.register if is_new else self._epoll.modify)(fd, mask)

        def forget(self, fd: int) -> None:
            """Report it no longer; call before closing."""
            self._epoll.unregister(fd)

        def ready(self, seconds: float) -> list[int]:
            """The sockets that are ready, after at most so long."""
            return [fd for fd, _ in self._epoll.poll(seconds)]

else:

    class Poller:
        """Which sockets are ready, by the best that this system has."""

        def __init__(self) -> None:
            self._selector = selectors.DefaultSelector()

        def watch(self, fd: int, *, is_writing: bool, is_new: bool) -> None:
            """Report the socket when it can be read, or with `is_writing` when it can be written."""
            mask = selectors.EVENT_WRITE if is_writing else selectors.EVENT_READ
            (self._selector.register if is_new else self._selector.modify)(fd, mask)

        def forget(self, fd: int) -> None:
            """Report it no longer; call before closing."""
            self._selector.unregister(fd)

        def ready(self, seconds: float) -> list[int]:
            """The sockets that are ready, after at most so long."""
            return [key.fd for key, _ in self._selector.select(seconds)]


class Loop:
    """Calls the handler of every socket that is ready, until a condition holds."""

    def __init__(self) -> None:
        self._handlers: dict[int, Handler] = {}
        self._poller = Poller()

    def add(self, fd: int, handler: Handler, *, is_writing: bool = False) -> None:
        """Watch a new socket."""
        self._handlers[fd] = handler
        self._poller.watch(fd, is_writing=is_writing, is_new=True)

    def change(self, fd: int, handler: Handler, *, is_writing: bool = False) -> None:
        """Give a watched socket another handler."""
        self._handlers[fd] = handler
        self._poller.watch(fd, is_writing=is_writing, is_new=False)

    def remove(self, fd: int) -> None:
        """Watch it no longer; call before closing."""
        del self._handlers[fd]
        self._poller.forget(fd)

    def run(self, is_done: Callable[[], bool], *, what: str, tick: Callable[[], float] | None = None) -> None:
        """Turn until `is_done`. `tick` is called at every turn and returns the seconds it can wait.

        Raises `LoadError` when no socket was ready for `LONGEST_SILENCE_SECONDS` while waiting for `what`."""
        handlers = self._handlers
        heard_at = time.monotonic()
        while not is_done():
            ready = self._poller.ready(_WAIT_SECONDS if tick is None else min(tick(), _WAIT_SECONDS))
            for fd in ready:
                handler = handlers.get(fd)  # an earlier handler of this turn may have closed it
                if handler is not None:
                    handler(fd)
            if ready:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > LONGEST_SILENCE_SECONDS:
                raise LoadError(f"nothing happened for {LONGEST_SILENCE_SECONDS:g} s while waiting for {what}")


def connect(port: int) -> socket.socket:
    """A connection to this machine that does not wait for more before it sends. Still blocking."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def get_request(target: str, last_event_id: int | None = None) -> bytes:
    """The bytes that open a stream."""
    resume = "" if last_event_id is None else f"Last-Event-ID: {last_event_id}\r\n"
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n{resume}\r\n".encode()


def post_request(target: str, body: bytes) -> bytes:
    """The bytes that publish a JSON body on a connection that stays open."""
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
