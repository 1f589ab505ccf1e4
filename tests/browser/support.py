"""A server process to ask beside the page, and an ear for what the browser complains about."""

import json
import re
import urllib.error
import urllib.request
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, expect

from tests.support import ServerProcess

NARROW = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# What Chromium logs for a server that is gone or a network that is off; nothing of ours.
NETWORK_ERROR = re.compile(r"net::ERR_(CONNECTION|EMPTY_RESPONSE|INCOMPLETE_CHUNKED|INTERNET_DISCONNECTED|FAILED|NETWORK)")


def open_demand(page: Page, url: str, demand_id: str) -> None:
    """Go to a demand by its address and wait until its history is there."""
    page.goto(f"{url}/#{demand_id}")
    page.wait_for_selector('#connection[data-state="connected"]')
    expect(page.locator("#story")).to_be_visible()
    expect(page.locator("#stages-end .waiting")).to_have_count(0)


def assert_fits(page: Page) -> None:
    """Nothing is wider than the window, nor than the pane of the negotiation."""
    widths = page.evaluate(
        """() => {
            const pane = document.getElementById("detail");
            return [document.documentElement.scrollWidth, innerWidth, pane.scrollWidth, pane.clientWidth];
        }"""
    )
    assert widths[0] <= widths[1], widths
    assert widths[2] <= widths[3], widths


class DemandServer(ServerProcess):
    """A server process with the requests that these tests make beside the page, with a `token` where one is needed."""

    token = ""

    def post(self, path: str, body: dict[str, Any], **more: str) -> Any:
        """The JSON that answers a POST with these headers more. Raises `OSError` (also `HTTPError`) when the request failed."""
        headers = {"Content-Type": "application/json", **more}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise

    def play(self, *batches: list[dict[str, Any]]) -> None:
        """Append batches of events, each in one request."""
        for batch in batches:
            self.post("/api/events", {"events": batch})

    def note(self, demand_id: str, n: int) -> int:
        """Append a note to a demand's stream; safe to repeat. Returns its seq."""
        event = {
            "stream": f"demand:{demand_id}",
            "event_type": "note",
            "payload": {"n": n},
            "event_id": f"{demand_id}-note-{n}",
            "source": "test",
        }
        return int(self.post("/api/events", event)["seq"])

    def register(self, agent_id: str, *capabilities: str) -> None:
        """Register an agent that only listens."""
        agent = {"agent_id": agent_id, "name": agent_id.title(), "capabilities": list(capabilities), "description": ""}
        self.post("/api/agents", agent)

    def submit(self, raw_input: str) -> str:
        """Submit a demand over HTTP; returns its id."""
        return str(self.post("/api/demand/submit", {"raw_input": raw_input})["demand_id"])

    def events(self, demand_id: str) -> list[dict[str, Any]]:
        """The whole history of a demand."""
        events: list[dict[str, Any]] = []
        page = {"has_more": True, "next_since_seq": 0}
        while page["has_more"]:
            since_seq = page["next_since_seq"]
            page = self.get(f"/api/events?stream=demand:{demand_id}&since_seq={since_seq}&limit=1000")
            events += page["events"]
        return events


class Complaints:
    """What the browser complained about; network errors, a 404 and a 409 count unless the test expects them."""

    def __init__(self) -> None:
        self.expects_network_errors = False
        self.expects_missing = False
        self.expects_conflicts = False
        self.expected_statuses: set[int] = set()
        self._texts: list[str] = []

    def watch(self, page: Page) -> None:
        """Listen to a page."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._texts.append(f"uncaught: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._texts.append(message.text)

    @property
    def texts(self) -> list[str]:
        """Those that the test did not expect."""
        return [text for text in self._texts if not self._is_expected(text)]

    def _is_expected(self, text: str) -> bool:
        return bool(
            (self.expects_network_errors and NETWORK_ERROR.search(text))
            or (self.expects_missing and "status of 404" in text)
            or (self.expects_conflicts and "status of 409" in text)
            or any(f"status of {status} " in text for status in self.expected_statuses)
        )
