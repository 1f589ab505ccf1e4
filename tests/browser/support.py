"""
A server process that can be killed, and an ear for what the browser complains about.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Page

ROOT = Path(__file__).resolve().parents[2]
# What Chromium logs for a server that is gone or a network that is off; nothing of ours.
NETWORK_ERROR = re.compile(r"net::ERR_(CONNECTION|EMPTY_RESPONSE|INCOMPLETE_CHUNKED|INTERNET_DISCONNECTED|FAILED|NETWORK)")


class ServerProcess:
    """
    `run.py serve` on one file and one port, which can be killed and started again.
    """

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """
        Start, and return when it serves: it says so on its standard output.
        """
        database = self._folder / "towow.db"
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "run.py", "serve", "--port", str(self.port), "--db", str(database)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert self.url in line, f"the server did not start: {(self._folder / 'server.log').read_text()}"

    def kill(self) -> None:
        """
        SIGKILL: nothing is flushed, no stream is ended.
        """
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """
        SIGTERM, as an operator would.
        """
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.communicate(timeout=20)

    def get(self, path: str) -> Any:
        """
        The JSON of a GET.
        """
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """
        The JSON that answers a POST. Raises `OSError` (also `HTTPError`) when the request failed.
        """
        request = urllib.request.Request(
            self.url + path, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise

    def note(self, demand_id: str, n: int) -> int:
        """
        Append a note to a demand's stream; safe to repeat. Returns its seq.
        """
        event = {
            "stream": f"demand:{demand_id}",
            "event_type": "note",
            "payload": {"n": n},
            "event_id": f"{demand_id}-note-{n}",
            "source": "test",
        }
        return int(self.post("/api/events", event)["seq"])

    def submit(self, raw_input: str) -> str:
        """
        Submit a demand over HTTP; returns its id.
        """
        return str(self.post("/api/demand/submit", {"raw_input": raw_input})["demand_id"])

    def events(self, demand_id: str) -> list[dict[str, Any]]:
        """
        The whole history of a demand.
        """
        events: list[dict[str, Any]] = []
        page = {"has_more": True, "next_since_seq": 0}
        while page["has_more"]:
            since_seq = page["next_since_seq"]
            page = self.get(f"/api/events?stream=demand:{demand_id}&since_seq={since_seq}&limit=1000")
            events += page["events"]
        return events


class Complaints:
    """
    What the browser complained about; network errors and a 404 count unless the test expects them.
    """

    def __init__(self) -> None:
        self.expects_network_errors = False
        self.expects_missing = False
        self._texts: list[str] = []

    def watch(self, page: Page) -> None:
        """
        Listen to a page.
        """
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._texts.append(f"uncaught: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._texts.append(message.text)

    @property
    def texts(self) -> list[str]:
        """
        Those that the test did not expect.
        """
        return [text for text in self._texts if not self._is_expected(text)]

    def _is_expected(self, text: str) -> bool:
        return bool(
            (self.expects_network_errors and NETWORK_ERROR.search(text)) or (self.expects_missing and "status of 404" in text)
        )
