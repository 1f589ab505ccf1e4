"""Wake the other server processes that have the same database open, with one datagram after a commit.

Each process binds a Unix datagram socket in `<database>.peers/`. A datagram carries nothing: it says "look again".
Losing one costs a poll interval, never an event, so every error here is survivable."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

_MAX_PATH_BYTES = 104  # sun_path on the strictest platform
_log = structlog.get_logger("towow.peers")


class Peers:
    """The sockets beside one database file. `start` binds ours, `announce` wakes the others, `close` removes ours."""

    def __init__(self, database: Path) -> None:
        self._directory = Path(f"{database}.peers")
        self._path = self._directory / f"{os.getpid()}-{secrets.token_hex(3)}.sock"
        self._socket: socket.socket | None = None
        self._others: list[str] = []
        self._listed_at = -1

    def start(self, on_wake: Callable[[], None]) -> None:
        """Listen, and call `on_wake` in the event loop at every datagram. Without a socket, polling alone remains."""
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        try:
            if len(os.fsencode(self._path)) > _MAX_PATH_BYTES:
                raise OSError(f"the path is longer than {_MAX_PATH_BYTES} bytes")  # noqa: TRY301 - one way to say so
            self._directory.mkdir(mode=0o700, exist_ok=True)
            ours.bind(str(self._path))
        except OSError as error:
            ours.close()
            _log.warning("neighbours_unreachable", reason=str(error), consequence="other processes are noticed by polling")
            return
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, _receive, ours, on_wake)

    def announce(self) -> None:
        """Send one datagram to every peer; one `stat` when there is none. Never blocks, never raises."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            changed_at = os.stat(self._directory).st_mtime_ns
            if changed_at != self._listed_at:
                self._listed_at = changed_at
                self._others = [str(path) for path in self._directory.glob("*.sock") if path != self._path]
        for other in tuple(self._others):
            try:
                self._socket.sendto(b"w", other)
            except (ConnectionRefusedError, FileNotFoundError):  # its process is gone without having cleaned up
                self._others.remove(other)
                with contextlib.suppress(OSError):
                    os.unlink(other)
            except OSError:  # its buffer is full: it has datagrams to read already
                continue

    def close(self) -> None:
        """Stop listening and remove our socket."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        with contextlib.suppress(OSError):
            self._path.unlink()


def _receive(ours: socket.socket, on_wake: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        while ours.recv(16):  # several datagrams are one wake-up
            pass
    on_wake()
