"""The page in a real browser against a real server process, kill -9 included: list, connection, and the raw story of events.

The agents of these tests only listen, so a demand is understood, matched and sent out, and then waits. Negotiations are in
`test_negotiation.py`."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.support import NARROW, Complaints, DemandServer

pytestmark = pytest.mark.browser

CHINESE = "下周六想在北京办一场 50 人的技术分享会，需要场地和活动策划"
ENGLISH = "I need a venue for a 40-person workshop next Friday, with event planning"


BEGINNING = 3  # events of a demand that waits for offers
WAITING = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false", "TOWOW__DEMANDS__OFFER_TIMEOUT_SECONDS": "86400"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DemandServer]:
    """A server with two agents that never answer."""
    with DemandServer(tmp_path / "towow.db", environment=WAITING) as process:
        process.register("quiet_hall", "场地资源", "venue")
        process.register("quiet_planner", "活动策划", "event planning")
        yield process


@pytest.fixture
def context(context: BrowserContext) -> BrowserContext:
    """A profile whose last visit left the page at the raw events."""
    context.add_init_script("if (location.host) localStorage['towow.tab'] ??= 'events'")
    return context


def submit(page: Page, text: str) -> str:
    """Submit through the form and return the new demand's id, which is chosen then."""
    before = page.evaluate("location.hash")
    page.fill("#raw-input", text)
    page.click("#submit-button")
    page.wait_for_function("before => location.hash !== before", arg=before)
    return str(page.evaluate("location.hash")).removeprefix("#")


def wait_for_type(page: Page, event_type: str) -> None:
    """Wait until the timeline shows an event of the type."""
    page.wait_for_selector(f'.event[data-type="{event_type}"]')


def wait_for_state(page: Page, state: str) -> None:
    """Wait until the page says that it is connected, offline and so on."""
    page.wait_for_selector(f'#connection[data-state="{state}"]')


def shown(page: Page) -> list[tuple[int, str]]:
    """The seq and the type of every row, from top to bottom."""
    rows = page.eval_on_selector_all(".event", "rows => rows.map((row) => [Number(row.dataset.seq), row.dataset.type])")
    return [(seq, event_type) for seq, event_type in rows]


def stored(server: DemandServer, demand_id: str) -> list[tuple[int, str]]:
    """The same from the log."""
    return [(event["seq"], event["event_type"]) for event in server.events(demand_id)]


def wait_for_rows(page: Page, count: int) -> None:
    """Wait until the timeline has so many rows, or more."""
    page.wait_for_function("count => document.querySelectorAll('.event').length >= count", arg=count)


class Publisher:
    """A thread that appends numbered notes one after another and repeats what was not acknowledged."""

    def __init__(self, server: DemandServer, demand_id: str, count: int) -> None:
        self.acknowledged: dict[int, int] = {}
        self.server_is_up = threading.Event()
        self.server_is_up.set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._publish, args=(server, demand_id, count))
        self._thread.start()

    def _publish(self, server: DemandServer, demand_id: str, count: int) -> None:
        for n in range(count):
            while n not in self.acknowledged:
                assert self.server_is_up.wait(timeout=30)
                try:
                    seq = server.note(demand_id, n)
                except OSError:
                    continue
                with self._changed:
                    self.acknowledged[n] = seq
                    self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until so many are acknowledged."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.acknowledged) >= count, timeout=30)

    def join(self) -> None:
        """Wait until all are."""
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("text", [pytest.param(CHINESE, id="chinese"), pytest.param(ENGLISH, id="english")])
def test_a_submitted_demand_is_understood_and_matched_on_the_timeline(page: Page, server: DemandServer, text: str) -> None:
    """Submitting shows the first steps of a demand live, with capabilities and candidates, in the order of the log."""
    demand_id = submit(page, text)
    wait_for_type(page, "towow.demand.understood")
    wait_for_type(page, "towow.filter.completed")
    wait_for_type(page, "towow.demand.broadcast")
    assert shown(page) == stored(server, demand_id)
    assert page.locator('.event[data-type="towow.demand.understood"] .chip').count() >= 1
    assert page.locator(".candidate").count() >= 1
    expect(page.locator(f'[data-demand="{demand_id}"] .badge')).to_have_text("Collecting offers")
    expect(page.locator("#raw-input")).to_have_value("")


def test_a_demand_that_nobody_can_serve_is_shown_as_failed(page: Page) -> None:
    """The end of a negotiation is on the timeline and in the list."""
    demand_id = submit(page, "qwxzv jkptr")
    wait_for_type(page, "towow.negotiation.failed")
    expect(page.locator(f'[data-demand="{demand_id}"] .badge')).to_have_text("Failed")
    expect(page.locator("#timeline-end")).to_contain_text("ended")


def test_every_acknowledged_event_is_shown_once_in_order_over_kills_of_the_server(
    page: Page, server: DemandServer, complaints: Complaints
) -> None:
    """SIGKILL in the middle of appends, three times: the page goes on by itself, no loss, no doubles."""
    complaints.expects_network_errors = True
    demand_id = submit(page, CHINESE)
    wait_for_type(page, "towow.demand.broadcast")
    page.evaluate("window.isSamePage = true")
    publisher = Publisher(server, demand_id, 200)
    for acknowledged in (40, 80, 120):
        publisher.wait_for(acknowledged)
        publisher.server_is_up.clear()
        server.kill()
        wait_for_state(page, "reconnecting")
        server.start()
        publisher.server_is_up.set()
        wait_for_state(page, "connected")
    publisher.join()
    history = server.events(demand_id)
    wait_for_rows(page, len(history))
    assert shown(page) == [(event["seq"], event["event_type"]) for event in history]
    notes = {event["payload"]["n"]: event["seq"] for event in history if event["event_type"] == "note"}
    assert notes == publisher.acknowledged
    texts = page.locator('.event[data-type="note"] dd').all_inner_texts()
    assert texts == [str(n) for n in sorted(notes, key=notes.__getitem__)]
    assert page.evaluate("window.isSamePage") is True


def test_what_happened_while_the_server_was_away_is_caught_up(page: Page, server: DemandServer, complaints: Complaints) -> None:
    """A clean stop ends the stream with a reason; events appended before the page is back are not missed."""
    complaints.expects_network_errors = True
    demand_id = submit(page, ENGLISH)
    wait_for_type(page, "towow.demand.broadcast")
    server.stop()
    wait_for_state(page, "reconnecting")
    expect(page.locator("#notice-countdown")).to_contain_text("try in")
    server.start()
    for n in range(20):
        server.note(demand_id, n)
    wait_for_state(page, "connected")
    wait_for_rows(page, BEGINNING + 20)
    assert shown(page) == stored(server, demand_id)


def test_offline_is_said_and_online_catches_up(
    page: Page, context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Offline stops all attempts and tells the reader; online connects at once and brings what was missed."""
    complaints.expects_network_errors = True
    demand_id = submit(page, ENGLISH)
    wait_for_type(page, "towow.demand.broadcast")
    context.set_offline(True)
    wait_for_state(page, "offline")
    expect(page.locator("#notice")).to_be_visible()
    for n in range(5):
        server.note(demand_id, n)
    assert len(shown(page)) == BEGINNING
    context.set_offline(False)
    wait_for_state(page, "connected")
    wait_for_rows(page, BEGINNING + 5)
    assert shown(page) == stored(server, demand_id)
    expect(page.locator("#notice")).to_be_hidden()


def test_polling_brings_the_events_where_streams_do_not_get_through(
    page: Page, server: DemandServer, complaints: Complaints
) -> None:
    """With every stream blocked, the page polls; "reconnect now" brings the stream back when it works again."""
    complaints.expects_network_errors = True
    demand_id = submit(page, ENGLISH)
    wait_for_type(page, "towow.demand.broadcast")
    page.route("**/api/events/stream*", lambda route: route.abort())
    server.stop()
    server.start()
    wait_for_state(page, "polling")
    server.note(demand_id, 1)
    wait_for_type(page, "note")
    page.unroute("**/api/events/stream*")
    page.click("#reconnect")
    wait_for_state(page, "connected")
    server.note(demand_id, 2)
    wait_for_rows(page, BEGINNING + 2)
    assert shown(page) == stored(server, demand_id)


def test_markup_in_a_demand_is_shown_as_text(page: Page, server: DemandServer) -> None:
    """Scripts and images in a demand, and in any payload, are letters on the page."""
    text = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'> venue & \"planning\" </li>"
    demand_id = submit(page, text)
    wait_for_type(page, "towow.demand.broadcast")
    event = {"stream": f"demand:{demand_id}", "event_type": "note", "payload": {text: text, "list": [text]}}
    server.post("/api/events", event)
    wait_for_type(page, "note")
    page.locator('.event[data-type="note"] .json summary').click()
    expect(page.locator('.event[data-type="note"] pre')).to_contain_text("<script>")
    expect(page.locator('.event[data-type="note"] dt').first).to_have_text(text)
    expect(page.locator(f'[data-demand="{demand_id}"] .what')).to_contain_text("<script>")
    assert page.locator("img").count() == 0
    assert page.locator("body script").count() == 0
    assert page.evaluate("window.pwned") is None


def test_a_demand_submitted_elsewhere_appears_by_itself(page: Page, server: DemandServer) -> None:
    """The list is live: a demand that came over HTTP shows up with its status."""
    demand_id = server.submit(ENGLISH)
    expect(page.locator(f'[data-demand="{demand_id}"] .badge')).to_have_text("Collecting offers")


def test_an_address_chooses_a_demand_with_its_whole_history(page: Page, server: DemandServer) -> None:
    """A deep link reads more history than one page of the API holds; the newest rows first, others on request."""
    demand_id = server.submit(ENGLISH)
    notes = [
        {"stream": f"demand:{demand_id}", "event_type": "note", "payload": {"n": n}, "source": "test"} for n in range(1200)
    ]
    for first in range(0, 1200, 100):
        server.post("/api/events", {"events": notes[first : first + 100]})
    page.goto(f"{server.url}/#{demand_id}")
    expect(page.locator("#timeline-count")).to_have_text("1,203")
    assert shown(page) == stored(server, demand_id)[-1000:]
    page.click("#timeline-top button")
    wait_for_rows(page, BEGINNING + 1200)
    seqs = [seq for seq, _ in shown(page)]
    assert seqs == sorted(set(seqs))
    assert len(seqs) == BEGINNING + 1200
    page.evaluate("location.hash = ''")
    expect(page.locator(".welcome")).to_be_visible()


def test_an_address_of_no_demand_says_so(page: Page, server: DemandServer, complaints: Complaints) -> None:
    """A wrong link is an answer, not an empty page."""
    complaints.expects_missing = True
    page.goto(f"{server.url}/#d-00000000")
    expect(page.locator("#detail-title")).to_have_text("There is no demand d-00000000")


def test_the_next_visit_marks_what_is_new(page: Page, server: DemandServer) -> None:
    """Events since the last visit are marked in the list and divided off in the timeline."""
    demand_id = submit(page, ENGLISH)
    wait_for_type(page, "towow.demand.broadcast")
    page.goto("about:blank")
    server.note(demand_id, 1)
    page.goto(server.url)
    expect(page.locator("#since-visit")).to_have_text("1 demand has news since your last visit")
    page.click(f'[data-demand="{demand_id}"] a')
    wait_for_rows(page, BEGINNING + 1)
    expect(page.locator("#since-visit")).to_be_empty()
    expect(page.locator(".divider + .event")).to_have_attribute("data-type", "note")


def test_the_keyboard_is_enough(page: Page) -> None:
    """An example is taken, submitted with Ctrl+Enter, and the list walked with the arrows."""
    page.focus("#examples button")
    page.keyboard.press("Enter")
    expect(page.locator("#raw-input")).to_be_focused()
    page.keyboard.press("Control+Enter")
    wait_for_type(page, "towow.demand.understood")
    submit(page, ENGLISH)
    page.focus(".demand")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".demand").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".demand").nth(1)).to_have_attribute("aria-current", "true")


def test_the_browsers_own_event_source_resumes_by_itself(page: Page, server: DemandServer, complaints: Complaints) -> None:
    """Without any script of ours: reconnecting with `Last-Event-ID` after a kill brings exactly the rest."""
    complaints.expects_network_errors = True
    demand_id = server.submit(ENGLISH)
    page.evaluate(
        """url => {
            window.seen = [];
            window.source = new EventSource(url);
            window.source.onmessage = message => window.seen.push(parseInt(message.lastEventId, 10));
        }""",
        f"/api/events/stream/{demand_id}",
    )
    first = [server.note(demand_id, n) for n in range(5)]
    page.wait_for_function("seq => window.seen.includes(seq)", arg=first[-1])
    server.kill()
    server.start()
    rest = [server.note(demand_id, n) for n in range(5, 10)]
    page.wait_for_function("seq => window.seen.includes(seq)", arg=rest[-1])
    assert page.evaluate("window.seen") == [event["seq"] for event in server.events(demand_id)]
    page.evaluate("window.source.close()")


def test_the_focus_stays_on_a_demand_that_changes(page: Page) -> None:
    """Whoever walks the list by keyboard is not thrown out of it when a row is drawn anew."""
    demand_id = submit(page, ENGLISH)
    wait_for_type(page, "towow.demand.broadcast")
    submit(page, CHINESE)
    wait_for_type(page, "towow.demand.broadcast")
    row = page.locator(f'li[data-demand="{demand_id}"]')
    row.locator("a").focus()
    page.keyboard.press("Enter")
    expect(row.locator("a")).to_have_attribute("aria-current", "true")
    expect(row.locator("a")).to_be_focused()


def test_a_blank_demand_and_a_refused_one_are_explained(page: Page, server: DemandServer, complaints: Complaints) -> None:
    """Errors stand next to the text, which stays."""
    complaints.expects_network_errors = True
    page.fill("#raw-input", "   ")
    page.click("#submit-button")
    expect(page.locator("#submit-message")).to_have_text("Write what you need first.")
    server.stop()
    page.fill("#raw-input", ENGLISH)
    page.click("#submit-button")
    expect(page.locator("#submit-message")).to_contain_text("the server cannot be reached")
    expect(page.locator("#raw-input")).to_have_value(ENGLISH)


def test_the_agents_are_listed_and_can_be_searched(page: Page, server: DemandServer) -> None:
    """The dialog shows who is registered, also an agent that registered a moment ago."""
    agent = {
        "agent_id": "test_baker",
        "name": "面包师 Ada",
        "capabilities": ["sourdough", "面包"],
        "description": "<b>bread</b>",
    }
    server.post("/api/agents", agent)
    page.click("#agents-open")
    expect(page.locator(".agent").first).to_be_visible()
    page.fill("#agents-search", "面包 ada")
    expect(page.locator(".agent")).to_have_count(1)
    expect(page.locator(".agent")).to_contain_text("<b>bread</b>")
    page.keyboard.press("Escape")  # clears the search
    page.keyboard.press("Escape")
    expect(page.locator("#agents")).to_be_hidden()


@pytest.mark.parametrize("context", [{"locale": "zh-CN"}], indirect=True)
def test_the_language_follows_the_browser_and_a_choice_is_remembered(page: Page) -> None:
    """Chinese for a Chinese browser; the switch changes every text at once and outlives the visit."""
    expect(page.locator("h1")).to_have_text("您需要什么？")
    submit(page, CHINESE)
    expect(page.locator(".event h3").first).to_have_text("需求已理解")
    page.click("#language")
    expect(page.locator("h1")).to_have_text("What do you need?")
    expect(page.locator(".event h3").first).to_have_text("Demand understood")
    assert page.locator("html").get_attribute("lang") == "en"
    page.reload()
    expect(page.locator("h1")).to_have_text("What do you need?")


@pytest.mark.parametrize("context", [{"color_scheme": "dark"}], indirect=True)
def test_the_theme_follows_the_system_and_a_choice_is_remembered(page: Page) -> None:
    """Dark for a dark system; the switch makes it light, and stays."""
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.click("#theme")
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light


@pytest.mark.parametrize(
    "context",
    [
        pytest.param({**NARROW, "locale": "en-US"}, id="390-english"),
        pytest.param({**NARROW, "locale": "zh-CN"}, id="390-chinese"),
        pytest.param({"viewport": {"width": 1280, "height": 800}}, id="1280"),
    ],
    indirect=True,
)
def test_nothing_scrolls_sideways(page: Page, context: BrowserContext, server: DemandServer, complaints: Complaints) -> None:
    """Neither list nor timeline nor dialog nor notice is wider than the window, whatever people write."""
    complaints.expects_network_errors = True
    wide = "https://example.com/" + "x" * 300

    def assert_fits() -> None:
        widths: list[Any] = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], widths

    assert_fits()
    demand_id = submit(page, f"venue {wide} 场地")
    wait_for_type(page, "towow.demand.broadcast")
    event = {"stream": f"demand:{demand_id}", "event_type": "n" * 128, "payload": {wide: wide}, "source": "s" * 256}
    server.post("/api/events", event)
    wait_for_rows(page, BEGINNING + 1)
    page.locator(".json summary").last.click()
    page.locator("details.sql summary").click()
    assert_fits()
    page.click("#agents-open")
    expect(page.locator(".agent").first).to_be_visible()
    assert_fits()
    page.click("#agents-close")
    context.set_offline(True)
    expect(page.locator("#notice")).to_be_visible()
    assert_fits()
    page.evaluate("location.hash = ''")
    expect(page.locator(f'[data-demand="{demand_id}"]')).to_be_visible()
    assert_fits()
