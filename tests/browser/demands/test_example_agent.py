"""The JavaScript agent of docs/demands.md, run as it stands there: a module of a page, in Chromium, against a real server
process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.support import Complaints, DemandServer
from tests.surfaces.demands.test_example_agents import ended, example, wait_for

pytestmark = pytest.mark.browser

HEAD = '<!doctype html><html lang="en"><title>agent</title><link rel="icon" href="data:,">'
HTML = f'{HEAD}<script type="module">{example("js")}</script>'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DemandServer]:
    """A server where nobody answers but the agent."""
    environment = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false", "TOWOW__STREAM__RETRY_MILLISECONDS": "50"}
    with DemandServer(tmp_path / "towow.db", environment=environment) as process:
        yield process


class Agent:
    """The page of the agent, which the browser gets as if the server had it; `said` is what it logged."""

    def __init__(self, context: BrowserContext, server: DemandServer, complaints: Complaints) -> None:
        self.said: list[str] = []
        self._server = server
        self._complaints = complaints
        self._context = context
        context.route("**/agent.html**", lambda route: route.fulfill(content_type="text/html", body=HTML))
        self.page: Page

    def open(self) -> None:
        """Visit the page, and wait until the agent is known."""
        self.page = self._context.new_page()
        self._complaints.watch(self.page)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.goto(f"{self._server.url}/agent.html?server={self._server.url}&agent=hall")
        self.wait_for(lambda: self._server.get("/api/agents")["agents"])

    def wait_for(self, condition: Any) -> Any:
        """The first true result of a condition, while the browser's messages are read."""
        return wait_for(lambda: (self.page.wait_for_timeout(1), condition())[1])

    def cursor(self) -> int:
        """The last event that was answered, as the browser keeps it."""
        return int(self.page.evaluate("parseInt(localStorage.getItem('hall') ?? 0, 10)"))


@pytest.fixture
def agent(context: BrowserContext, server: DemandServer, complaints: Complaints) -> Agent:
    """The agent of docs/demands.md, registered and running."""
    agent = Agent(context, server, complaints)
    agent.open()
    return agent


def test_the_javascript_agent_negotiates_to_the_end(server: DemandServer, agent: Agent) -> None:
    """It offers, accepts, and logs the outcome; it declines what is too large and asks for its price where less is proposed."""
    demand_id = server.submit("We need a venue for 30 people")
    told = ended(server, demand_id)
    assert told["status"] == "finalized"
    assert [(offer["agent_id"], offer["terms"]["price"]) for offer in told["offers"]] == [("hall", 400)]
    agent.wait_for(lambda: f"{demand_id} towow.proposal.finalized" in agent.said)
    told = ended(server, server.submit("We need a venue for 200 people"))
    assert [(each["agent_id"], each["reason"]) for each in told["declined"]] == [("hall", "There are 60 seats.")]
    told = ended(server, server.submit("We need a venue for 30 people, the budget is 100 USD"))
    feedback = told["proposals"][0]["feedback"]
    assert [(each["by"], each["decision"], each["terms"]["price"]) for each in feedback] == [("hall", "revise", 400)]


def test_the_javascript_agent_goes_on_where_it_was(server: DemandServer, agent: Agent, complaints: Complaints) -> None:
    """After a visit that was over, and after a kill of the server: what came in between is answered, nothing twice."""
    complaints.expects_network_errors = True
    demands = [server.submit("We need a venue for 30 people")]
    last_seq = ended(server, demands[0])["last_seq"]
    agent.wait_for(lambda: agent.cursor() > last_seq)
    agent.page.close()
    demands.append(server.submit("We need a venue for 31 people"))
    agent.open()
    assert ended(server, demands[1])["status"] == "finalized"
    server.kill()
    server.start()
    demands.append(server.submit("We need a venue for 32 people"))
    assert ended(server, demands[2])["status"] == "finalized"
    agent.wait_for(lambda: f"{demands[2]} towow.proposal.finalized" in agent.said)
    for demand_id in demands:
        types = [event["event_type"] for event in server.events(demand_id)]
        assert types.count("towow.offer.submitted") == types.count("towow.proposal.feedback") == 1
