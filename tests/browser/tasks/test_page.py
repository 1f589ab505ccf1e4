"""The page of the tasks in a real browser against a real server process: kills, lost events, many tabs, and very many events.

Scenarios 16 and 17, and the four end-to-end cases that source 002 names: connect and receive, offline and online, the
countdown, and the gap."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.demands.test_page import Publisher
from tests.browser.proxy import LossyProxy
from tests.browser.support import NARROW, Complaints, DemandServer
from tests.browser.test_accessibility import in_every_theme, serious
from tests.browser.test_login import environment, log_in
from tests.support.tokens import secret_of

pytestmark = pytest.mark.browser

TASK = "report-7"
HOSTILE = "<img src=x onerror=alert(1)>"
COUNTDOWN = re.compile(r"again in \d+ s · attempt \d+")


class TaskServer(DemandServer):
    """A server process with the events that these tests append beside the page."""

    def emit(self, event_type: str, task_id: str = TASK, **fields: Any) -> dict[str, Any]:
        """Append an event to a task as an emitter does; what is no field of an event goes into its payload."""
        known = {name: fields.pop(name) for name in ("phase", "span_id", "event_id") if name in fields}
        body = {"event_type": event_type, "payload": fields, **known}
        answer: dict[str, Any] = self.post(f"/api/tasks/{task_id}/events", body)
        return answer

    def emit_many(self, count: int, task_id: str = TASK, **fields: Any) -> None:
        """Append numbered notes, up to 1,000 in a request."""
        events = [{"event_type": "note", "payload": {"n": n, **fields}} for n in range(count)]
        for i in range(0, count, 1000):
            self.post(f"/api/tasks/{task_id}/events", {"events": events[i : i + 1000]})

    def note(self, demand_id: str, n: int) -> int:
        """Append a note to a task; safe to repeat. Returns its seq."""
        return int(self.emit("note", demand_id, event_id=f"{demand_id}-note-{n}", n=n)["seq"])

    def stored(self, task_id: str = TASK) -> list[dict[str, Any]]:
        """The whole history of a task."""
        events: list[dict[str, Any]] = []
        page = {"has_more": True, "next_since_seq": 0}
        while page["has_more"]:
            page = self.get(f"/api/tasks/{task_id}/events?since_seq={page['next_since_seq']}&limit=1000")
            events += page["events"]
        return events


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TaskServer]:
    """A running server with a database of its own; further settings are the fixture's parameter."""
    with TaskServer(tmp_path / "towow.db", environment=getattr(request, "param", {})) as process:
        yield process


def open_page(context: BrowserContext, url: str, complaints: Complaints, fragment: str = "") -> Page:
    """The page; with a fragment it watches that task."""
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{url}/tasks.html{fragment}")
    return page


def watch(context: BrowserContext, server: TaskServer, complaints: Complaints, task_id: str = TASK) -> Page:
    """The page, watching a task that is there, live."""
    page = open_page(context, server.url, complaints, f"#{task_id}")
    wait_for_state(page, "connected")
    return page


def wait_for_state(page: Page, state: str) -> None:
    """Wait for a state of the connection, which the component says."""
    page.wait_for_selector(f'.connection-status[data-state="{state}"]')


def wait_for_events(page: Page, count: int) -> None:
    """Wait until the log has had exactly so many events."""
    expect(page.locator("#log-count")).to_have_text(re.compile(rf"^{count:,} "))


def logged(page: Page) -> list[tuple[int, int]]:
    """Seq and revision of every event of the log in its order, read by walking through it from the top; the end is in sight
    after."""
    rows: list[list[int]] = page.evaluate(
        """async () => {
            const log = document.getElementById("log");
            const rows = new Map();
            const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
            for (let top = 0; ; top += log.clientHeight) {
                log.scrollTop = top;
                await painted();
                for (const row of log.querySelectorAll(".log-row")) {
                    const place = Number(row.getAttribute("aria-posinset"));
                    rows.set(place, row.dataset.seq ? [Number(row.dataset.seq), Number(row.dataset.revision)] : null);
                }
                if (top + log.clientHeight >= log.scrollHeight) break;
            }
            return [...rows].sort((one, two) => one[0] - two[0]).map(([, row]) => row).filter(Boolean);
        }"""
    )
    return [(seq, revision) for seq, revision in rows]


def in_log(server: TaskServer, task_id: str = TASK) -> list[tuple[int, int]]:
    """The same from the server."""
    return [(event["seq"], event["revision"]) for event in server.stored(task_id)]


def stat(page: Page, name: str) -> Any:
    """A counter of the stream."""
    return page.locator(f'[data-stat="{name}"]')


def streams_of(context: BrowserContext) -> list[str]:
    """The addresses of all streams of tasks that the browser opens from now on."""
    urls: list[str] = []
    context.on("request", lambda request: urls.append(request.url) if "/sse/tasks/" in request.url else None)
    return urls


def test_a_task_is_chosen_from_the_list_and_watched_to_its_end(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """Progress, phase, work items by span and the log follow the events; at the end nothing can be added and no stream is
    open."""
    server.emit("phase_enter", phase="executing")
    server.emit("note", "other-task")
    page = open_page(context, server.url, complaints)
    page.get_by_role("link", name=TASK).click()
    wait_for_state(page, "connected")
    assert page.url.endswith(f"#{TASK}")
    expect(page.locator("#task-phases li")).to_have_text(["executing"])
    server.emit("work_item_start", span_id="w-1", name="Fetch the orders")
    item = page.locator('[data-span="w-1"]')
    expect(item).to_contain_text("Fetch the orders")
    expect(item.locator(".badge")).to_have_text("Running")
    server.emit("work_item_failed", span_id="w-1", error="no answer")
    expect(item.locator(".badge")).to_have_text("Failed")
    server.emit("work_item_started", span_id="w-1")
    server.emit("work_item_complete", span_id="w-1")
    expect(item.locator(".badge")).to_have_text("Done")
    expect(page.locator("#items-count")).to_have_text("1 of 1 done, 0 running, 0 failed")
    server.emit("progress_update", progress=42)
    expect(page.get_by_role("progressbar", name="Progress")).to_have_js_property("value", 42)
    expect(page.locator("#task-percent")).to_have_text("42 %")
    expect(page.locator("#task-list [aria-current]")).to_contain_text("42 %")
    expect(page).to_have_title(f"42 % {TASK} — ToWow")
    server.emit("task_complete")
    expect(page.locator("#task-status")).to_have_text("Completed")
    expect(page.locator("#task-percent")).to_have_text("100 %")
    wait_for_state(page, "closed")
    expect(page.locator("#try-one")).to_be_disabled()
    expect(page.locator("#notice")).to_be_hidden()
    assert logged(page) == in_log(server)
    expect(stat(page, "eventsReceived")).to_have_text("7")


def test_every_acknowledged_event_is_shown_once_over_kills_of_the_server(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """SIGKILL in the middle of traffic, three times, on the same database: the page comes back by itself, no loss, no
    doubles."""
    complaints.expects_network_errors = True
    server.emit("phase_enter", phase="executing")
    page = watch(context, server, complaints)
    page.evaluate("window.isSamePage = true")
    publisher = Publisher(server, TASK, 200)
    for acknowledged in (40, 80, 120):
        publisher.wait_for(acknowledged)
        publisher.server_is_up.clear()
        server.kill()
        wait_for_state(page, "reconnecting")
        server.start()
        publisher.server_is_up.set()
        wait_for_state(page, "connected")
    publisher.join()
    wait_for_events(page, len(server.stored()))
    history = logged(page)
    assert history == in_log(server)
    assert set(publisher.acknowledged.values()) <= {seq for seq, _ in history}
    assert len(publisher.acknowledged) == 200
    expect(stat(page, "reconnects")).to_have_text("3")
    expect(stat(page, "gapsDetected")).to_have_text("0")
    assert page.evaluate("window.isSamePage") is True


def test_an_event_that_a_proxy_loses_is_filled_in_before_the_next_one(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """A proxy loses revision 5: it comes over REST before 6, and other tasks in between are no gaps."""
    with LossyProxy(server.port, TASK, 5) as proxy:
        server.emit("note", n=1)
        page = open_page(context, proxy.url, complaints, f"#{TASK}")
        wait_for_state(page, "connected")
        for n in range(2, 5):
            server.emit("note", "other-task", n=n)
            server.emit("note", n=n)
        wait_for_events(page, 4)
        with page.expect_request(re.compile(rf"/api/tasks/{TASK}/events\?since_seq=\d+.*until_seq=")):
            server.emit("note", n=5)
            server.emit("note", "other-task", n=5)
            server.emit("note", n=6)
        wait_for_events(page, 6)
        assert [event["revision"] for event in proxy.lost] == [5]
        server.emit("note", "other-task", n=6)
        server.emit("note", n=7)
        wait_for_events(page, 7)
        assert logged(page) == in_log(server)
        assert [revision for _, revision in logged(page)] == [1, 2, 3, 4, 5, 6, 7]
        expect(stat(page, "gapsDetected")).to_have_text("1")
        expect(stat(page, "gapsRecovered")).to_have_text("1")
        expect(page.locator('[data-remark="remark.gap"]')).to_have_count(1)
        page.close()


def test_the_button_that_drops_an_event_shows_the_gap_and_how_it_is_closed(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """The dropped event is told, missing until the next one comes, and then before it."""
    server.emit_many(4)
    page = watch(context, server, complaints)
    wait_for_events(page, 4)
    drop = page.get_by_role("button", name="Drop the next event")
    drop.click()
    expect(drop).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#try-state")).to_contain_text("thrown away")
    page.click("#try-one")
    expect(page.locator('[data-remark="remark.dropped"]')).to_have_text("#5 was thrown away")
    expect(drop).to_have_attribute("aria-pressed", "false")
    wait_for_events(page, 4)
    page.click("#try-one")
    wait_for_events(page, 6)
    rows = page.locator(".log-row").evaluate_all(
        "rows => rows.slice(-4).map((row) => row.dataset.revision ?? row.dataset.remark)"
    )
    assert rows == ["remark.dropped", "remark.gap", "5", "6"]
    for name in ("gapsDetected", "gapsRecovered"):
        expect(stat(page, name)).to_have_text("1")
    drop.click()
    drop.click()
    page.click("#try-one")
    wait_for_events(page, 7)


def test_offline_is_said_and_online_brings_what_was_missed(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """The browser's own network: without one nothing is tried, with it the stream goes on at once."""
    complaints.expects_network_errors = True
    server.emit("note", n=0)
    page = watch(context, server, complaints)
    wait_for_events(page, 1)
    context.set_offline(True)
    wait_for_state(page, "offline")
    for n in range(1, 6):
        server.emit("note", n=n)
    wait_for_events(page, 1)
    context.set_offline(False)
    wait_for_state(page, "connected")
    wait_for_events(page, 6)
    assert logged(page) == in_log(server)


def test_the_button_pretends_to_be_offline_while_the_page_goes_on_sending(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """What is sent meanwhile comes afterwards, each event once, between the two remarks and the present."""
    server.emit("note", n=0)
    page = watch(context, server, complaints)
    wait_for_events(page, 1)
    page.get_by_role("button", name="Go offline").click()
    wait_for_state(page, "offline")
    expect(page.locator('#connection[data-state="offline"]')).to_be_visible()
    for _ in range(3):
        page.click("#try-one")
        expect(page.locator("#try-one")).to_be_enabled()
    wait_for_events(page, 1)
    page.get_by_role("button", name="Go online again").click()
    wait_for_state(page, "connected")
    wait_for_events(page, 4)
    assert logged(page) == in_log(server)
    remarks = page.locator(".log-row.remark").evaluate_all("rows => rows.map((row) => row.dataset.remark)")
    assert remarks == ["remark.offline", "remark.online"]
    expect(page.locator("#notice")).to_be_hidden()


def test_the_time_until_the_next_try_is_counted_down(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """Without a server: seconds and attempts are shown and change, in the reader's language; the server's return ends it."""
    complaints.expects_network_errors = True
    server.emit("note")
    page = watch(context, server, complaints)
    server.stop()
    timer = page.locator(".connection-status-timer")
    expect(timer).to_have_text(COUNTDOWN)
    first = timer.inner_text()
    expect(timer).not_to_have_text(first)
    page.click("#language")
    expect(timer).to_have_text(re.compile(r"\d+ 秒后重连 · 第 \d+ 次尝试"))
    page.click("#language")
    expect(timer).to_have_text(COUNTDOWN)
    server.start()
    wait_for_state(page, "connected")
    expect(timer).to_be_hidden()


def test_two_tabs_share_one_connection_and_the_other_takes_over(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """One stream for both; when its tab closes the other opens one, and each has shown every event once."""
    streams = streams_of(context)
    server.emit("note", n=0)
    pages = [watch(context, server, complaints) for _ in range(2)]
    for n in range(1, 4):
        server.emit("note", n=n)
    for page in pages:
        wait_for_events(page, 4)
    assert len(streams) == 1
    pages[0].close()
    server.emit("note", n=4)
    wait_for_events(pages[1], 5)
    assert len(streams) == 2
    assert logged(pages[1]) == in_log(server)
    expect(stat(pages[1], "gapsDetected")).to_have_text("0")


def test_a_tab_that_pretends_to_be_offline_leaves_the_connection_to_the_other(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """The other tab stays live, and the first one catches up when it is back."""
    server.emit("note", n=0)
    first, second = (watch(context, server, complaints) for _ in range(2))
    first.click("#try-offline")
    wait_for_state(first, "offline")
    server.emit("note", n=1)
    wait_for_events(second, 2)
    wait_for_events(first, 1)
    first.click("#try-offline")
    for page in (first, second):
        wait_for_state(page, "connected")
        wait_for_events(page, 2)
        assert logged(page) == in_log(server)


def test_a_burst_of_a_thousand_is_shown_whole(context: BrowserContext, server: TaskServer, complaints: Complaints) -> None:
    """All of them once and in order, with few rows in the page; the log says how long it took."""
    server.emit("note")
    page = watch(context, server, complaints)
    page.get_by_role("button", name="Burst of 1,000 events").click()
    wait_for_events(page, 1001)
    expect(page.locator('[data-remark="remark.burst"]')).to_contain_text("1,000 events sent in")
    assert page.locator(".log-row").count() < 100
    assert logged(page) == in_log(server)
    expect(stat(page, "gapsDetected")).to_have_text("0")
    expect(stat(page, "duplicates")).to_have_text("0")


def test_ten_thousand_events_cost_few_rows_and_the_reader_stays_where_he_is(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """A long log is scrolled like a short one: what is new does not move it, and a button leads back to the end."""
    server.emit_many(10_000, text="x" * 100)
    page = watch(context, server, complaints)
    wait_for_events(page, 10_000)
    assert page.locator(".log-row").count() < 100
    expect(page.locator('[data-revision="10000"]')).to_be_visible()
    page.locator("#log").evaluate("log => log.scrollTop = 0")
    expect(page.locator('[data-revision="1"]')).to_be_visible()
    server.emit("note", text="new")
    expect(page.locator("#log-newest")).to_have_text("1 newer")
    expect(page.locator('[data-revision="1"]')).to_be_visible()
    page.click("#log-newest")
    expect(page.locator('[data-revision="10001"]')).to_be_visible()
    expect(page.locator("#log-newest")).to_be_hidden()


def test_a_reload_goes_on_from_the_stored_cursor(context: BrowserContext, server: TaskServer, complaints: Complaints) -> None:
    """The stream begins after the last event of the earlier visit; what was before is read again, and nothing is shown
    twice."""
    streams = streams_of(context)
    for n in range(5):
        server.emit("note", n=n)
    page = watch(context, server, complaints)
    wait_for_events(page, 5)
    last = server.stored()[-1]["seq"]
    server.emit("work_item_start", "other-task", span_id="a")
    page.goto("about:blank")
    server.emit("work_item_start", span_id="w-1")
    page.goto(f"{server.url}/tasks.html")
    wait_for_events(page, 6)
    assert "since_seq=0" in streams[0]
    assert f"since_seq={last}" in streams[-1]
    assert logged(page) == in_log(server)
    expect(page.locator('[data-remark="remark.resumed"]')).to_contain_text("goes on after #5")
    expect(stat(page, "eventsReceived")).to_have_text("1")
    expect(page.locator('[data-span="w-1"]')).to_be_visible()


def test_a_sample_task_is_sent_by_the_page_and_goes_on_after_a_reload(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """It is watched as soon as it is there. The rest is late after the reload here, so it is sent at once, each event once."""
    page = open_page(context, server.url, complaints)
    expect(page.locator("#task-none")).to_be_visible()
    page.get_by_role("button", name="Start a sample task").click()
    wait_for_state(page, "connected")
    expect(page.locator("#sample-state")).to_contain_text("of 48 events sent")
    expect(page.locator(".work-item").first).to_be_visible()
    page.evaluate(
        "sessionStorage['towow.sample'] = JSON.stringify({...JSON.parse(sessionStorage['towow.sample']), beganAt: 0})"
    )
    page.reload()
    expect(page.locator("#task-status")).to_have_text("Completed")
    task_id = page.locator("#task-title").inner_text()
    expect(page.locator("#items-count")).to_have_text("9 of 9 done, 0 running, 0 failed")
    expect(page.locator("#sample")).to_be_visible()
    assert logged(page) == in_log(server, task_id)
    ids = [event["event_id"] for event in server.stored(task_id)]
    assert ids == [f"{task_id}-{n}" for n in range(48)]


def test_a_sample_task_outlives_a_kill_of_the_server(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """The page says that the server does not answer, sends what is open again, and shows it."""
    complaints.expects_network_errors = True
    page = open_page(context, server.url, complaints)
    page.click("#sample")
    wait_for_state(page, "connected")
    server.kill()
    expect(page.locator("#sample-state")).to_contain_text("does not answer")
    sent = int(str(page.locator("#sample-state").inner_text().split(": ")[1].split(" ")[0]))
    server.start()
    page.wait_for_function(
        "sent => Number(document.getElementById('sample-state').textContent.split(': ')[1].split(' ')[0]) > sent + 2", arg=sent
    )
    wait_for_state(page, "connected")
    page.click("#sample-stop")
    task_id = page.locator("#task-title").inner_text()
    page.wait_for_function(
        "count => document.getElementById('log-count').textContent.startsWith(count + ' ')",
        arg=str(len(server.stored(task_id))),
    )
    assert logged(page) == in_log(server, task_id)


def test_a_task_that_is_not_there_can_be_made(context: BrowserContext, server: TaskServer, complaints: Complaints) -> None:
    """What cannot be an id is refused in words; one that is free becomes a task with its first event."""
    complaints.expects_missing = True
    page = open_page(context, server.url, complaints)
    page.fill("#task-id", "two words")
    page.press("#task-id", "Enter")
    expect(page.locator("#choose-message")).to_contain_text("1 to 120 letters")
    page.fill("#task-id", "brand-new")
    page.press("#task-id", "Enter")
    expect(page.locator("#choose-message")).to_have_text("There is no task brand-new yet.")
    page.get_by_role("button", name="Create it").click()
    wait_for_state(page, "connected")
    expect(page.locator("#choose-create")).to_be_hidden()
    wait_for_events(page, 1)
    page.click("#try-one")
    wait_for_events(page, 2)
    expect(page.locator("#delays")).to_contain_text("From this page and back")
    page.goto(f"{server.url}/tasks.html#nothing-here")
    expect(page.locator("#choose-message")).to_have_text("There is no task nothing-here yet.")
    expect(page.locator("#task-some")).to_be_hidden()


def test_the_page_and_the_server_agree_whatever_was_appended(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """Nonsense in every field that anybody can write; state, phase, progress and items are those that the server tells."""
    odd = [None, 7, -1, 101, 55.5, True, "50", "two words", [], {}, HOSTILE, "ok", " padded ", "x" * 300]
    types = [
        "phase_enter",
        "work_item_start",
        "work_item_started",
        "work_item_complete",
        "work_item_failed",
        "progress_update",
        "x",
    ]
    payloads = [
        {"phase": odd[(i + 3) % 14], "span_id": odd[(i * 5) % 14], "progress": odd[(i * 3) % 14], "name": odd[(i + 7) % 14]}
        for i in range(14)
    ]
    events = [
        {"stream": f"task:{TASK}", "event_type": event_type, "payload": payload} for payload in payloads for event_type in types
    ]
    server.post("/api/events", {"events": events})
    page = watch(context, server, complaints)
    wait_for_events(page, len(events))
    task = server.get(f"/api/tasks/{TASK}")
    assert page.locator("#task-bar").evaluate("bar => bar.value") == task["progress"]
    assert page.locator("#task-phases li").last.inner_text() == task["phase"]
    shown = page.locator(".work-item").evaluate_all("rows => rows.map((row) => [row.dataset.span, row.dataset.status]).sort()")
    assert shown == sorted([item["span_id"], item["status"]] for item in task["work_items"])
    assert logged(page) == in_log(server)
    assert page.locator("main img").count() == 0


def test_the_raw_events_and_the_sql_tell_the_same(context: BrowserContext, server: TaskServer, complaints: Complaints) -> None:
    """The link leads to the events as JSON; the query can be copied for `python run.py sql`."""
    server.emit("phase_enter", phase="planning")
    page = watch(context, server, complaints)
    path = page.get_by_role("link", name="Raw events").get_attribute("href")
    assert [event["phase"] for event in server.get(str(path))["events"]] == ["planning"]
    page.locator("#task-sources summary").click()
    expect(page.locator("#task-sources pre").last).to_have_text(
        'python run.py sql "SELECT seq, revision, event_type, phase, span_id, progress FROM task_timeline '
        f"WHERE task_id = '{TASK}' ORDER BY seq\""
    )


@pytest.mark.parametrize("server", [environment()], indirect=True)
def test_the_page_works_behind_a_login(context: BrowserContext, server: TaskServer, complaints: Complaints) -> None:
    """Nothing is asked before the login; afterwards a task is made and watched, and the token is in no address."""
    complaints.expects_missing = True
    urls: list[str] = []
    context.on("request", lambda request: urls.append(request.url))
    page = open_page(context, server.url, complaints, f"#{TASK}")
    expect(page.locator("#login")).to_be_visible()
    log_in(page)
    page.get_by_role("button", name="Create it").click()
    wait_for_state(page, "connected")
    page.click("#try-one")
    wait_for_events(page, 2)
    assert not any(secret_of("alice") in url for url in urls)


@pytest.mark.parametrize("server", [environment() | {"TOWOW__AUTH__LOGIN_SECONDS": "3"}], indirect=True)
def test_a_login_that_ends_leads_back_to_the_login_and_the_task_goes_on(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """The stream goes on after the next login, on the same page."""
    complaints.expected_statuses = {401}
    server.token = secret_of("alice")
    server.emit("note", n=0)
    page = open_page(context, server.url, complaints, f"#{TASK}")
    page.evaluate("window.isSamePage = true")
    log_in(page)
    wait_for_events(page, 1)
    expect(page.locator("#login")).to_be_visible(timeout=10_000)
    server.emit("note", n=1)
    log_in(page)
    wait_for_events(page, 2)
    assert page.evaluate("window.isSamePage") is True


@pytest.mark.parametrize("server", [environment()], indirect=True)
def test_who_may_not_watch_a_task_is_told_so(context: BrowserContext, server: TaskServer, complaints: Complaints) -> None:
    """A login with few scopes: neither the list nor a task is shown, and no other login is asked for."""
    complaints.expected_statuses = {403}
    page = open_page(context, server.url, complaints, f"#{TASK}")
    log_in(page, "bob")
    expect(page.locator("#choose-message")).to_contain_text("does not allow you to watch")
    expect(page.locator("#tasks-state")).to_contain_text("bob may not read task:*")
    expect(page.locator("#login")).to_be_hidden()


@pytest.mark.parametrize("context", [NARROW], indirect=True)
def test_nothing_is_wider_than_a_phone(context: BrowserContext, server: TaskServer, complaints: Complaints) -> None:
    """Long names, long texts and a long id; whoever chooses a task has it before the eyes."""
    long_id = "x" * 120
    server.emit("phase_enter", long_id, phase="p" * 128)
    server.emit("work_item_start", long_id, span_id="s" * 128, name="a long name " * 20)
    server.emit("note", long_id, text="word " * 200, path="/srv/" + "x" * 300)
    page = open_page(context, server.url, complaints)
    page.locator("#task-list a").tap()
    wait_for_events(page, 3)
    expect(page.locator("#task-title")).to_be_in_viewport()
    page.locator("#task-sources summary").tap()
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], widths


@in_every_theme
def test_axe_finds_nothing_serious_on_the_page_of_the_tasks(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """Empty, running with items of every status and remarks, reconnecting, and at its end."""
    complaints.expects_network_errors = True
    page = open_page(context, server.url, complaints)
    expect(page.locator("#tasks-state p")).to_be_visible()
    assert serious(page) == []
    for status in ("start", "complete", "failed"):
        server.emit(f"work_item_{status}", span_id=f"w-{status}", name="Work")
    server.emit("phase_enter", phase="executing")
    server.emit("progress_update", progress=40)
    server.emit("task_failed", "failed-task", reason="no")
    server.emit("task_cancelled", "cancelled-task")
    page.goto(f"{server.url}/tasks.html#{TASK}")
    page.reload()
    wait_for_state(page, "connected")
    wait_for_events(page, 5)
    page.click("#try-offline")
    page.click("#try-offline")
    page.click("#try-drop")
    page.locator("#task-sources summary").click()
    page.locator("#log").evaluate("log => log.scrollTop = 0")
    assert serious(page) == []
    server.kill()
    wait_for_state(page, "reconnecting")
    assert serious(page) == []
    server.start()
    wait_for_state(page, "connected")
    server.emit("task_complete")
    expect(page.locator('#task-status [data-task="completed"]')).to_be_visible()
    assert serious(page) == []


def test_the_texts_that_a_reader_needs_are_in_both_languages(
    context: BrowserContext, server: TaskServer, complaints: Complaints
) -> None:
    """A change of the language changes everything that is shown, the component of the connection too."""
    server.emit("work_item_start", span_id="w-1")
    page = watch(context, server, complaints)
    wait_for_events(page, 1)
    page.click("#language")
    expect(page.locator("#log-count")).to_have_text("1 个事件")
    expect(page.locator(".connection-status-label")).to_have_text("已连接")
    expect(page.locator(".connection-status")).to_have_count(1)
    expect(stat(page, "eventsReceived")).to_have_text("1")
    expect(page.locator('[data-span="w-1"] .badge')).to_have_text("进行中")
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    kept = json.loads(page.evaluate("JSON.stringify({...localStorage})"))
    assert kept["towow.task"] == TASK
