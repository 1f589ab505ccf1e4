"""The client programs: which are installed here, how each is started, and what it has printed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

_HERE = Path(__file__).resolve().parent
NODE_MODULES = Path(os.environ.get("TOWOW_NODE_MODULES", _HERE / "node" / "node_modules"))
GO_PROGRAM = Path(os.environ.get("TOWOW_GO_CLIENTS", _HERE / "go" / "clients"))


class Program(NamedTuple):
    """A client: its version, the command before the URL, and what its language needs beside it."""

    version: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    def start(self, url: str) -> "Client":
        """Run it against a URL."""
        return Client([*self.command, url], {**os.environ, **dict(self.environment)})


class Client:
    """One running client and the lines that it has printed."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._lines: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, start_new_session=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def lines(self) -> list[dict[str, Any]]:
        """Everything so far."""
        return list(self._lines)

    def revisions(self) -> list[int]:
        """The revisions of the events, in the order they came."""
        return [line["revision"] for line in self._lines if "revision" in line]

    def count(self, control: str) -> int:
        """How many control frames of a name came."""
        return sum(line.get("control") == control for line in self._lines)

    def has(self, control: str) -> bool:
        """Whether a control frame of a name came."""
        return self.count(control) > 0

    def pause(self) -> None:
        """Stop the whole program."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it and everything that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(json.loads(line))


_NODE = {
    "eventsource 2": ("es2", "eventsource.mjs"),
    "eventsource 3": ("es3", "eventsource.mjs"),
    "eventsource 4": ("es4", "eventsource.mjs"),
    "undici EventSource": ("undici", "eventsource.mjs"),
    "eventsource-client": ("eventsource-client", "eventsource-client.mjs"),
    "event-source-polyfill": ("event-source-polyfill", "polyfill.mjs"),
    "@microsoft/fetch-event-source": ("@microsoft/fetch-event-source", "fetch-event-source.mjs"),
    "@fortaine/fetch-event-source": ("@fortaine/fetch-event-source", "fetch-event-source.mjs"),
}
_PYTHON = {
    "towow": "towow",
    "httpx-sse": "httpx_sse",
    "aiohttp-sse-client": "aiohttp_sse_client",
    "sseclient-py": "sseclient",
    "requests-sse": "requests_sse",
}
GO = ("r3labs/sse", "tmaxmax/go-sse", "launchdarkly/eventsource")


NAMES = (*_NODE, *_PYTHON, *GO, "curl", "Chromium")


def installed() -> dict[str, Program]:
    """The clients that can be started here, by name."""
    found: dict[str, Program] = {}
    node = shutil.which("node")
    for name, (package, script) in _NODE.items():
        manifest = NODE_MODULES / package / "package.json"
        if node and manifest.is_file():
            found_version = json.loads(manifest.read_text())["version"]
            environment = (("NODE_MODULES", str(NODE_MODULES)),)
            found[name] = Program(found_version, (node, str(_HERE / "node" / script), package), environment)
    for name, module in _PYTHON.items():
        found_version = _version_of(name) if name != "towow" else "this one"
        if found_version is not None:
            environment = (("PYTHONPATH", str(_HERE.parents[2])),)
            found[name] = Program(
                f"{name} {found_version}", (sys.executable, str(_HERE / "python" / f"{module}_client.py")), environment
            )
    if GO_PROGRAM.is_file():
        for name in GO:
            found[name] = Program("see go.mod", (str(GO_PROGRAM), name))
    if shutil.which("curl"):
        found["curl"] = Program("any", ("bash", str(_HERE / "curl.sh")))
    if shutil.which("chromium") and _version_of("playwright") is not None:
        found["Chromium"] = Program("Debian's", (sys.executable, str(_HERE / "python" / "chromium_client.py")))
    return found


def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
