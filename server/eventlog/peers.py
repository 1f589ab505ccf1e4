"""Wake the other server processes that have the same database open, with one datagram after a commit.

Each process binds a Unix datagram socket in `<database>.peers/`. A datagram carries nothing: it says "look again".
Losing one costs a poll interval, never an event, so every error here is survivable.

The address of a socket has room for about 100 bytes. Where the path is longer, the directory is kept open and named by its
file descriptor in `/proc`; on a system without that, polling alone remains."""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

import structlog

_MAX_PATH_BYTES = 104  # sun_path on the strictest platform
_OPEN_FILES = Path("/proc/self/fd")  # Linux: a short name for whatever this process has open
_SETTLED_NANOSECONDS = 1_000_000_000  # since its last change a directory is listed again at every announcement
_log = structlog.get_logger("towow.peers")


class Peers:
    """The sockets beside one database file. `start` binds ours, `announce` wakes the others, `close` removes ours."""

    def __init__(self, database: Path) -> None:
        self._directory = Path(f"{database}.peers")
        self._name = f"{os.getpid()}-{secrets.token_hex(3)}.sock"
        self._address = str(self._directory)  # the directory's name in addresses
        self._descriptor: int | None = None  # of the directory, where its path is too long for an address
        self._socket: socket.socket | None = None
        self._others: list[str] = []  # names in the directory
        self._listed_at = -1

    def start(self, on_wake: Callable[[], None]) -> None:
        """Listen, and call `on_wake` in the event loop at every datagram. Without a socket, polling alone remains."""
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        try:
            self._open_directory()
            ours.bind(f"{self._address}/{self._name}")
        except OSError as error:
            ours.close()
            self._close_directory()
            _log.warning("peers_unreachable", reason=str(error), consequence="other processes are noticed by polling")
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
                # A later change within one tick of the file system's clock would look the same.
                self._listed_at = changed_at if time.time_ns() - changed_at > _SETTLED_NANOSECONDS else -1
                self._others = [path.name for path in self._directory.glob("*.sock") if path.name != self._name]
        for other in tuple(self._others):
            try:
                self._socket.sendto(b"w", f"{self._address}/{other}")
            except (ConnectionRefusedError, FileNotFoundError):  # its process is gone without having cleaned up
                self._others.remove(other)
                with contextlib.suppress(OSError):
                    os.unlink(self._directory / other)
            except OSError:  # its buffer is full: it has datagrams to read already
                continue

    def close(self) -> None:
        """Stop listening and remove our socket."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        self._close_directory()
        with contextlib.suppress(OSError):
            os.unlink(self._directory / self._name)

    def _open_directory(self) -> None:
        is_long = len(os.fsencode(self._directory / self._name)) > _MAX_PATH_BYTES
        if is_long and not _OPEN_FILES.is_dir():
            raise OSError(f"the path is longer than {_MAX_PATH_BYTES} bytes")
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if is_long:
            self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            self._address = f"{_OPEN_FILES}/{self._descriptor}"

    def _close_directory(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _receive(ours: socket.socket, on_wake: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        while ours.recv(16):  # several datagrams are one wake-up
            pass
    on_wake()
