"""Speak with the other server processes that have the same database open, by datagrams beside it.

Each process binds a Unix datagram socket in `<database>.peers/`. After a commit it sends one datagram to each neighbour, which
says "look again"; a question (`ask`) is answered by the neighbour's event loop, so a process that is stopped or hangs is told
from one that lives, and one that is gone from both. Losing a datagram costs a poll interval or a second question, never an
event, so every error here is survivable.

The address of a socket has room for about 100 bytes. Where the path is longer, the directory is kept open and named by its
file descriptor in `/proc`; on a system without that, polling alone remains."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

_MAX_PATH_BYTES = 104  # sun_path on the strictest platform
_PROCESSES = Path("/proc")
_OPEN_FILES = Path("/proc/self/fd")  # Linux: a short name for whatever this process has open
_SETTLED_NANOSECONDS = 1_000_000_000  # since its last change a directory is listed again at every announcement
_MAX_DATAGRAM_BYTES = 65_536
_WAKE, _ASK, _ANSWER = b"w", b"?", b"!"
_SUFFIX = ".sock"
_MUTE = "-mute"  # ends the name of a process that has no socket: it is known by its process id alone
_log = structlog.get_logger("towow.peers")


class Peers:
    """The sockets beside one database file. `start` binds ours, `announce` wakes the others, `close` removes ours.

    `describe()` is what this process answers to those that ask: an object of JSON."""

    def __init__(self, database: Path) -> None:
        self.describe: Callable[[], Mapping[str, Any]] = dict
        self._database = database
        self._directory = Path(f"{database}.peers")
        self._name = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._address = str(self._directory)  # the directory's name in addresses
        self._descriptor: int | None = None  # of the directory, where its path is too long for an address
        self._socket: socket.socket | None = None
        self._on_wake: Callable[[], None] = _nothing
        self._others: list[str] = []  # names in the directory
        self._listed_at = -1
        self._asked: dict[bytes, asyncio.Future[Mapping[str, Any]]] = {}

    @property
    def name(self) -> str:
        """The name of this process among those on the file; another one after every start."""
        return self._name if self._socket is not None else self._name + _MUTE

    def start(self, on_wake: Callable[[], None]) -> None:
        """Listen, and call `on_wake` in the event loop at every announcement. Without a socket, polling alone remains."""
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        try:
            self._open_directory()
            ours.bind(f"{self._address}/{self._name}{_SUFFIX}")
        except OSError as error:
            ours.close()
            self._close_directory()
            _log.warning("peers_unreachable", reason=str(error), consequence="other processes are noticed by polling")
            return
        self._socket, self._on_wake = ours, on_wake
        asyncio.get_running_loop().add_reader(ours, self._receive, ours)

    def announce(self) -> None:
        """Send one datagram to every peer; one `stat` when there is none. Never blocks, never raises."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            changed_at = os.stat(self._directory).st_mtime_ns
            if changed_at != self._listed_at:
                # A later change within one tick of the file system's clock would look the same.
                self._listed_at = changed_at if time.time_ns() - changed_at > _SETTLED_NANOSECONDS else -1
                self._others = self.others()
        for other in tuple(self._others):
            try:
                self._send(other, _WAKE)
            except ProcessLookupError:
                self._others.remove(other)

    def others(self) -> list[str]:
        """The names of the other processes, also of those that are gone without having cleaned up."""
        return [path.stem for path in self._directory.glob(f"*{_SUFFIX}") if path.stem != self._name]

    async def ask(self, other: str, seconds: float) -> Mapping[str, Any] | None:
        """What another process says of itself; None when it does not answer within so many seconds.

        Raises `ProcessLookupError` when it is gone. Without sockets nobody is ever silent: who lives is taken to answer."""
        if self._socket is None or other.endswith(_MUTE):
            _require_process(int(other.partition("-")[0]))
            return {}
        number = secrets.token_hex(8).encode()
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._send(other, _ASK + number + self._name.encode())
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    def is_stopped(self, other: str) -> bool:
        """Whether a process is stopped by a signal and has our database open, where the system tells (Linux)."""
        process = _PROCESSES / other.partition("-")[0]
        try:
            state = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            opened = {os.readlink(path) for path in (process / "fd").iterdir()}
        except (OSError, IndexError):
            return False
        return state in ("T", "t") and os.path.realpath(self._database) in opened

    def end_stopped(self, other: str) -> bool:
        """End a process that is stopped, by SIGKILL; whether there was one."""
        if not self.is_stopped(other):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(other.partition("-")[0]), signal.SIGKILL)
        return True

    def restore(self) -> None:
        """Bind our socket again when its file was removed: without it this process is taken to be gone."""
        if self._socket is not None and not os.path.lexists(self._directory / f"{self._name}{_SUFFIX}"):
            self.close()
            self.start(self._on_wake)

    def close(self) -> None:
        """Stop listening and remove our socket."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        self._close_directory()
        self._remove(self._name)

    def _send(self, other: str, data: bytes) -> None:
        """Send a datagram, or none when the other's buffer is full. Raises `ProcessLookupError` when it is gone."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(data, f"{self._address}/{other}{_SUFFIX}")
        except (ConnectionRefusedError, FileNotFoundError):  # its process is gone without having cleaned up
            self._remove(other)
            raise ProcessLookupError(other) from None
        except OSError:  # its buffer is full: it has datagrams to read already
            return

    def _receive(self, ours: socket.socket) -> None:
        is_woken = False
        with contextlib.suppress(OSError):
            while data := ours.recv(_MAX_DATAGRAM_BYTES):  # several announcements are one wake-up
                kind, rest = data[:1], data[1:]
                number, rest = rest[:16], rest[16:]
                if kind == _ASK:
                    with contextlib.suppress(ProcessLookupError, UnicodeDecodeError, ValueError):
                        self._send(rest.decode("ascii"), _ANSWER + number + json.dumps(self.describe()).encode())
                elif kind == _ANSWER:
                    future = self._asked.get(number)
                    if future is not None and not future.done():
                        with contextlib.suppress(ValueError):
                            future.set_result(json.loads(rest))
                else:
                    is_woken = True
        if is_woken:
            self._on_wake()

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._directory / f"{name}{_SUFFIX}")

    def _open_directory(self) -> None:
        is_long = len(os.fsencode(self._directory / f"{self._name}{_SUFFIX}")) > _MAX_PATH_BYTES
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


def _require_process(number: int) -> None:
    """Raise `ProcessLookupError` unless another process has this id."""
    if number == os.getpid():  # given anew after a kill, as in a container
        raise ProcessLookupError(number)
    with contextlib.suppress(PermissionError):
        os.kill(number, 0)


def _nothing() -> None:
    """What wakes nobody."""
