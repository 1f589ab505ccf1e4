"""The modules that other people's pages import, in a real browser against a real server process."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.support import Complaints, DemandServer
from tests.support import ROOT

pytestmark = pytest.mark.browser

WATCH = """async ([taskId, options]) => {
    const { EventStreamService } = await import("/static/js/services/EventStreamService.js");
    const seen = { revisions: [], states: [], errors: [], ended: false };
    const filter = (event) => !(options.dropped ?? []).includes(event.revision);
    const stream = new EventStreamService(taskId, {
        ...options,
        filter,
        onEvent: (event) => seen.revisions.push(event.revision),
        onStateChange: (state) => seen.states.push(state),
        onError: (error) => seen.errors.push(error.code),
        onEnd: () => { seen.ended = true; },
    });
    Object.assign(window, { stream, seen });
    stream.start();
}"""


def emit(server: DemandServer, count: int = 1, task_id: str = "t-1", event_type: str = "progress_update") -> Any:
    """Append events to a task in one request."""
    events = [{"event_type": event_type, "payload": {"progress": 1}} for _ in range(count)]
    return server.post(f"/api/tasks/{task_id}/events", {"events": events})


def until(page: Page, condition: str) -> None:
    """Wait in the page, which forbids what Playwright's `wait_for_function` does."""
    page.evaluate(
        f"""async () => {{
            const late = Date.now() + 30_000;
            while (!({condition})) {{
                if (Date.now() > late) throw new Error("still not: " + {condition!r} + " " + JSON.stringify(window.seen));
                await new Promise((resolve) => setTimeout(resolve, 10));
            }}
        }}"""
    )


def followers(server: DemandServer) -> int:
    """Open streams of the server."""
    return int(server.get("/health")["followers"])


def watch(context: BrowserContext, server: DemandServer, complaints: Complaints, **options: Any) -> Page:
    """A page that watches the task with the service; what it hears is in `window.seen`."""
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/tools.html")  # a page that follows nothing by itself
    page.evaluate(WATCH, ["t-1", options])
    until(page, "stream.state === 'connected'")
    return page


def wait_for_revisions(page: Page, count: int) -> None:
    """Wait until as many events were handled, and check that they are 1 to `count`, in order."""
    until(page, f"seen.revisions.length >= {count}")
    assert page.evaluate("seen.revisions") == list(range(1, count + 1))


def test_two_pages_share_one_connection_and_hand_it_over_when_its_page_is_closed(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Each page handles each event once and in order, and the server sees one follower."""
    emit(server, 3)
    first = watch(context, server, complaints)
    second = watch(context, server, complaints)
    emit(server, 3)
    for page in (first, second):
        wait_for_revisions(page, 6)
    assert followers(server) == 1
    first.close()
    emit(server, 3)
    wait_for_revisions(second, 9)
    third = watch(context, server, complaints)
    wait_for_revisions(third, 9)
    assert followers(server) == 1
    assert second.evaluate("stream.getStats().gapsDetected") == 0
    second.evaluate("stream.stop()")
    emit(server, 1, event_type="task_complete")
    wait_for_revisions(third, 10)
    until(third, "seen.ended && stream.state === 'closed'")
    assert second.evaluate("[seen.revisions.length, stream.state]") == [9, "closed"]


def test_two_pages_get_every_acknowledged_event_once_over_a_kill_of_the_server(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """They come back by themselves, with one connection."""
    complaints.expects_network_errors = True
    emit(server, 2)
    pages = [watch(context, server, complaints, reconnectDelay=200, maxReconnectDelay=400) for _ in range(2)]
    for page in pages:
        wait_for_revisions(page, 2)
    server.kill()
    for page in pages:
        until(page, "stream.state === 'reconnecting' || stream.state === 'connecting'")
    server.start()
    emit(server, 5)
    for page in pages:
        wait_for_revisions(page, 7)
        until(page, "stream.getStats().reconnects === 1")
    assert followers(server) == 1


def test_a_lost_event_is_read_over_rest_before_the_next_one(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Other tasks in between make holes in seq and no gap."""
    emit(server, 1)
    page = watch(context, server, complaints, dropped=[5])
    for count in (1, 2, 3):
        emit(server, count, task_id="t-2")
        emit(server, 1)
    emit(server, 3)
    wait_for_revisions(page, 7)
    stats = page.evaluate("stream.getStats()")
    assert stats == {"eventsReceived": 7, "reconnects": 0, "errors": 0, "gapsDetected": 1, "gapsRecovered": 1, "duplicates": 0}


def test_a_connection_that_had_its_share_is_followed_by_the_next_without_loss_or_delay(
    context: BrowserContext, tmp_path: Path, complaints: Complaints
) -> None:
    """250 events over three connections of at most 100."""
    with DemandServer(tmp_path / "rotate.db", environment={"TOWOW__TASKS__MAX_EVENTS_PER_STREAM": "100"}) as server:
        emit(server, 250)
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url) if "/sse/tasks/" in request.url else None)
        page = watch(context, server, complaints, reconnectDelay=600_000)
        wait_for_revisions(page, 250)
        assert len(asked) == 3
        assert page.evaluate("[stream.getStats().errors, stream.getStats().duplicates, stream.reconnectAttempts]") == [0, 0, 0]


def test_a_reloaded_page_goes_on_after_the_last_event_that_was_handled(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """The cursor is kept where the page asks for it, for this log and task."""
    emit(server, 4)
    page = watch(context, server, complaints, storage=True)
    wait_for_revisions(page, 4)
    page.reload()
    emit(server, 2)
    page.evaluate(WATCH, ["t-1", {"storage": True}])
    until(page, "seen.revisions.length >= 2")
    assert page.evaluate("seen.revisions") == [5, 6]
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('towow.task:'))") == [
        f"towow.task:|{server.get('/health')['epoch']}|t-1"
    ]


def test_the_sample_of_the_documents_shows_a_task_with_its_connection(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Progress and work items, offline and online, and a countdown while the server is away."""
    complaints.expects_network_errors = True
    text = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    sample = next(block for block in re.findall(r"```js\n(.*?)```", text, re.DOTALL) if "EventStreamService" in block)
    server.post("/api/tasks/task_123/events", {"event_type": "work_item_start", "span_id": "w-1"})
    server.post("/api/tasks/task_123/events", {"event_type": "progress_update", "payload": {"progress": 40}})
    page = context.new_page()
    complaints.watch(page)
    page.route("**/sample.js", lambda route: route.fulfill(content_type="text/javascript", body=sample))
    page.goto(f"{server.url}/tools.html")
    page.evaluate(
        """() => {
            document.body.innerHTML = '<progress max="100"></progress><ul id="items"></ul><div id="status"></div>';
            return import("/sample.js");
        }"""
    )
    status = page.locator(".connection-status")
    expect(status).to_have_attribute("data-state", "connected")
    expect(page.locator("progress")).to_have_js_property("value", 40)
    expect(page.locator("#items li")).to_have_text("w-1: running")
    expect(page.locator(".connection-status-dot")).to_have_css("width", "9px")
    context.set_offline(True)
    expect(status).to_have_attribute("data-state", "offline")
    context.set_offline(False)
    expect(status).to_have_attribute("data-state", "connected")
    server.kill()
    expect(page.locator(".connection-status-timer")).to_have_text(re.compile(r"again (in \d+ s|now) · attempt \d+"))
    server.start()
    server.post("/api/tasks/task_123/events", {"event_type": "work_item_complete", "span_id": "w-1"})
    expect(page.locator("#items li")).to_have_text("w-1: completed", timeout=60_000)
    expect(page.locator('[data-stat="eventsReceived"]')).to_have_text("3")


def test_a_generation_is_started_left_and_heard_to_its_end(
    context: BrowserContext, tmp_path: Path, complaints: Complaints
) -> None:
    """`SSEClient` of `clients/nova.js`: the texts of both visits are those that the server has."""
    with DemandServer(tmp_path / "nova.db", environment={"TOWOW__LLM__LOCAL": "false"}) as server:
        page = context.new_page()
        complaints.watch(page)
        page.goto(f"{server.url}/tools.html")
        told = page.evaluate(
            """async () => {
                const { NovaSSEClient } = await import("/static/js/clients/nova.js");
                const client = new NovaSSEClient("/loomichat", { body: { prompt: "A leaflet for a tea house" } });
                const told = { texts: {}, ends: [], connected: 0 };
                const chunk = new Promise((resolve) => client.on("llm_chunk", resolve));
                const end = new Promise((resolve) => client.on("run_complete", resolve));
                client.on("connected", () => { told.connected += 1; });
                client.on("llm_chunk", ({ payload: { agent, content } }) => {
                    told.texts[agent] = (told.texts[agent] ?? "") + content;
                });
                client.on("agent_complete", ({ agentSource }) => told.ends.push(agentSource));
                client.connect();
                await chunk;
                client.disconnect();
                client.connect();
                const { payload } = await end;
                return { ...told, result: payload.result, runId: client.runId };
            }"""
        )
        run = server.get(f"/api/runs/{told['runId']}")
        assert told["connected"] == 2
        assert told["ends"] == ["requirement_analyzer", "strategy_generator", "content_generator", "content_optimizer"]
        assert told["texts"] == {agent["name"]: agent["text"] for agent in run["agents"]}
        assert told["result"] == run["result"]
