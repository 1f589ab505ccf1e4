"""The processes of a measurement: started on a core of their own, stopped by their own process id, never by name."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import click
import msgspec

from benchmarks.machine import cores
from benchmarks.orders import Answer, Failed, Order

ROOT = Path(__file__).resolve().parent.parent
_STOP_SECONDS = 10.0

A = TypeVar("A")


class BenchError(click.ClickException):
    """A figure could not be taken; the text says why."""


class Child:
    """A process of ours in a group of its own, so that Ctrl-C reaches it through us only. Use as a context manager.

    What it says on stderr goes to `<name>.log` in `directory`; the end of that is shown when it fails."""

    def __init__(self, directory: Path, name: str, command: list[str], *, on_load_core: bool = False) -> None:
        self.directory = directory
        self.name = name
        self.settings: dict[str, str] = {}  # of a server, as variables of its environment
        self._command = command
        self._core = None if (both := cores()) is None else both[on_load_core]
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # also Ctrl-C while it starts
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The running process."""
        if self._process is None:
            raise BenchError(f"{self.name} does not run")
        return self._process

    def start(self) -> None:
        """Start it on its core; threads that it makes later stay there."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOWOW__")}
        # All clients come from one address here: what is measured is the server, not its limits.
        environment |= {"TOWOW__LIMITS__STREAMS_PER_CLIENT": "0", "TOWOW__LIMITS__PUBLISHES_PER_SECOND": "0"}
        environment["TOWOW__LLM__LOCAL"] = "false"  # a model would take a core
        environment |= self.settings
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                self._command,
                cwd=self.directory,  # where no config.toml is: default settings
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                process_group=0,
            )
        if self._core is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended already; reading from it says why
                os.sched_setaffinity(self._process.pid, {self._core})

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what does not end; safe to call again."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        finally:
            self._reap()

    def _reap(self) -> None:
        process, self._process = self.process, None
        process.wait(_STOP_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def read_line(self) -> bytes:
        """The next line it prints."""
        stdout = self.process.stdout
        line = stdout.readline() if stdout is not None else b""
        if not line:
            said = self._log.read_text(errors="replace").strip().splitlines()[-5:]
            raise BenchError(f"{self.name} ended: {' | '.join(said) or 'it said nothing'}")
        return line

    def write_line(self, line: bytes) -> None:
        """Say something to it."""
        stdin = self.process.stdin
        if stdin is not None:
            stdin.write(line + b"\n")
            stdin.flush()


class Server(Child):
    """Our server on a database file, with default settings and its request log."""

    def __init__(self, database: Path) -> None:
        self.port = 0
        self.database = database
        super().__init__(database.parent, f"server-{database.stem}", [])

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it says that it serves."""
        run = [sys.executable, str(ROOT / "run.py")]
        self._command = [*run, "serve", "--host", "127.0.0.1", "--port", str(self.port), "--db", str(self.database)]
        super().start()
        line = self.read_line().decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found is None:
            raise BenchError(f"the server did not say where it listens: {line}")
        self.port = int(found[1])


class Reference(Child):
    """One of `references.py`, by name; `port` is where it listens, if it does."""

    def __init__(self, directory: Path, name: str, *arguments: str) -> None:
        self.port = 0
        super().__init__(directory, f"reference-{name}", [sys.executable, "-m", "benchmarks.references", name, *arguments])

    def start(self) -> None:
        """Start it and wait until it is ready."""
        super().start()
        self.port = int(self.read_line())

    def figures(self) -> list[float]:
        """The next line of figures that it prints."""
        return msgspec.json.decode(self.read_line(), type=list[float])


class LoadProcess(Child):
    """The load process."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "load", [sys.executable, "-m", "benchmarks.load"], on_load_core=True)
        self._decoder = msgspec.json.Decoder(Answer)

    def order(self, order: Order) -> None:
        """Give an order without waiting."""
        self.write_line(msgspec.json.encode(order))

    def answer(self, kind: type[A]) -> A:
        """Wait for an answer. Raises `BenchError` when the order could not be carried out."""
        answer = self._decoder.decode(self.read_line())
        if isinstance(answer, Failed):
            raise BenchError(answer.reason)
        if not isinstance(answer, kind):
            raise BenchError(f"the load process answered {answer}")
        return answer

    def ask(self, order: Order, kind: type[A]) -> A:
        """Give an order and wait for its answer."""
        self.order(order)
        return self.answer(kind)
