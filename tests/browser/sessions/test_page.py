"""The page of the sessions in a real browser against a real server process: a hand-over from both sides, two operators."""

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.browser.support import NARROW, Complaints, DemandServer
from tests.browser.test_accessibility import in_every_theme, serious

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)> **bold** &amp;"


def say(server: DemandServer, name: str, content: str, role: str = "user") -> None:
    """Say something in a session, beside the page."""
    server.post("/api/manual/message", {"session_name": name, "role": role, "content": content})


def ask_for_human(server: DemandServer, name: str, reason: str = "") -> None:
    """Let a visitor wait."""
    say(server, name, f"hello from {name}")
    server.post("/api/manual/escalate", {"session_name": name, "reason": reason})


def open_page(context: BrowserContext, server: DemandServer, complaints: Complaints, operator: str, name: str = "") -> Page:
    """The page of an operator, with a session chosen where one is named."""
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/sessions.html{f'#{name}' if name else ''}")
    page.fill("#operator-id", operator)
    page.click("#operator-form button")
    page.wait_for_selector('#connection[data-state="connected"]')
    expect(page.locator("#queue-state .spinner")).to_have_count(0)
    return page


def messages(page: Page, log: str = "#chat-log") -> Locator:
    """What was said, as it is shown."""
    return page.locator(f"{log} .bubble")


def choose(page: Page, name: str) -> None:
    """Choose a session in the queue."""
    page.click(f'#waiting [data-session="{name}"] a')
    expect(page.locator("#chat-title")).to_have_text(name)


def test_a_session_goes_to_a_human_and_back_and_is_closed(
    context: BrowserContext, other: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """A visitor in one browser and an operator in another: what one does the other sees, with no reload."""
    operator = open_page(context, server, complaints, "alice")
    expect(operator.locator("#queue-state")).to_contain_text("Nobody waits")
    visitor = other.new_page()
    complaints.watch(visitor)
    visitor.goto(f"{server.url}/sessions.html")
    visitor.fill("#visitor-session", "lin")
    visitor.click("#visitor-open-form button[type=submit]")
    visitor.fill("#visitor-text", "Where is my order?")
    visitor.press("#visitor-text", "Enter")
    expect(messages(visitor, "#visitor-log")).to_have_text(["Where is my order?"])
    visitor.fill("#visitor-reason", "The bot does not know")
    visitor.click("#visitor-ask")
    expect(visitor.locator("#visitor-ask-form")).to_be_hidden()

    expect(operator.locator("#waiting-count")).to_have_text("1 session waits")
    expect(operator.locator('#waiting [data-session="lin"]')).to_contain_text("The bot does not know")
    choose(operator, "lin")
    expect(messages(operator)).to_have_text(["Where is my order?"])
    expect(operator.locator("#reply-form")).to_be_hidden()
    operator.click("#takeover")
    expect(operator.locator("#reply")).to_be_focused()
    operator.keyboard.type("It is on its way.")
    operator.keyboard.press("Enter")
    expect(messages(visitor, "#visitor-log")).to_have_text(["Where is my order?", "It is on its way."])
    expect(visitor.locator("#visitor-status")).to_have_text("With alice")
    expect(operator.locator('#mine [data-session="lin"]')).to_be_visible()

    operator.click("#release")
    expect(visitor.locator("#visitor-status")).to_have_text("With the bot")
    expect(operator.locator("#mine-section")).to_be_hidden()
    visitor.click("#visitor-ask")
    operator.click("#takeover")
    operator.click("#close-session")
    operator.click("#closing-confirm")
    expect(visitor.locator("#visitor-closed")).to_be_visible()
    expect(visitor.locator("#visitor-form")).to_be_hidden()
    expect(operator.locator("#chat-note")).to_have_text("This session is closed.")
    expect(operator.locator("#connection")).to_have_text("Live")
    assert server.get("/api/sessions/lin")["status"] == "closed"
    operator.reload()
    expect(messages(operator)).to_have_text(["Where is my order?", "It is on its way."])


def test_of_two_operators_one_gets_the_session_and_the_other_is_told(
    context: BrowserContext, other: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Both have pressed the button before either request is let through; the loser reads who was faster and may not write."""
    complaints.expects_conflicts = True
    ask_for_human(server, "lin")
    pages = {
        "alice": open_page(context, server, complaints, "alice", "lin"),
        "bob": open_page(other, server, complaints, "bob", "lin"),
    }
    held: list[Route] = []
    for page in pages.values():
        page.route("**/takeover", lambda route: held.append(route))
        with page.expect_request("**/takeover"):
            page.click("#takeover")
        expect(page.locator("#takeover")).to_be_disabled()
    assert len(held) == 2
    for route in held:
        route.continue_()
    for page in pages.values():
        expect(page.locator("#waiting li")).to_have_count(0)
    winner = server.get("/api/sessions/lin")["agent_id"]
    first = pages.pop(winner)
    (last,) = pages.values()
    expect(first.locator("#reply")).to_be_enabled()
    expect(first.locator("#chat-message")).to_be_empty()
    expect(first.locator('#mine [data-session="lin"]')).to_be_visible()
    expect(last.locator("#chat-message")).to_have_text(f"{winner} was faster and has this session.")
    expect(last.locator("#chat-note")).to_have_text(f"{winner} has this session.")
    for control in ("#takeover", "#reply-form", "#release", "#close-session", "#mine-section"):
        expect(last.locator(control)).to_be_hidden()


def test_a_message_whose_answer_was_lost_is_kept_and_stored_once(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """The text stays in the field with the error below; sent again it is the same message."""
    complaints.expects_network_errors = True
    ask_for_human(server, "lin")
    page = open_page(context, server, complaints, "alice", "lin")
    page.click("#takeover")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route("**/api/manual/message", lose)
    page.fill("#reply", "once")
    page.click("#reply-send")
    expect(page.locator("#chat-message")).to_contain_text("the server cannot be reached")
    expect(page.locator("#reply")).to_have_value("once")
    page.unroute("**/api/manual/message")
    page.click("#reply-send")
    expect(page.locator("#reply")).to_have_value("")
    expect(messages(page)).to_have_text(["hello from lin", "once"])
    assert server.get("/api/sessions/lin")["messages"] == 2


def test_queue_and_talk_go_on_over_a_kill_of_the_server(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """What happened before, during and after it is there once; what was being written is still in the field."""
    complaints.expects_network_errors = True
    ask_for_human(server, "lin")
    page = open_page(context, server, complaints, "alice", "lin")
    page.click("#takeover")
    page.fill("#reply", "a draft")
    server.kill()
    page.wait_for_selector('#connection[data-state="reconnecting"]')
    server.start()
    say(server, "lin", "still there?")
    ask_for_human(server, "mo")
    page.wait_for_selector('#connection[data-state="connected"]')
    expect(messages(page)).to_have_text(["hello from lin", "still there?"])
    expect(page.locator("#waiting li")).to_have_count(1)
    expect(page.locator("#reply")).to_have_value("a draft")


def test_what_waited_before_is_listed_longest_first_and_follows_an_operator_over_visits(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """The snapshot and the stream are one list; the operator's id is remembered, and can be changed."""
    for name in ("first", "second"):
        ask_for_human(server, name)
    page = open_page(context, server, complaints, "alice")
    ask_for_human(server, "third")
    expect(page.locator("#waiting .what.strong")).to_have_text(["first", "second", "third"])
    expect(page).to_have_title("(3) Sessions — ToWow")
    server.post("/api/sessions/second/takeover", {"agent_id": "bob"})
    expect(page.locator("#waiting .what.strong")).to_have_text(["first", "third"])
    page.reload()
    expect(page.locator("#operator-name")).to_have_text("alice")
    expect(page.locator("#waiting .what.strong")).to_have_text(["first", "third"])
    page.click("#operator-change")
    page.fill("#operator-id", "queue")
    page.click("#operator-form button")
    expect(page.locator("#operator-message")).to_contain_text("not “queue”")
    page.fill("#operator-id", "bob")
    page.click("#operator-form button")
    expect(page.locator('#mine [data-session="second"]')).to_be_visible()


def test_texts_of_visitors_are_shown_as_texts(context: BrowserContext, server: DemandServer, complaints: Complaints) -> None:
    """Markup in messages and reasons stays what it is."""
    say(server, "lin", HOSTILE)
    server.post("/api/manual/escalate", {"session_name": "lin", "reason": HOSTILE})
    page = open_page(context, server, complaints, "alice", "lin")
    expect(messages(page)).to_have_text([HOSTILE])
    expect(page.locator("#waiting li")).to_contain_text(HOSTILE)
    assert page.locator("main img").count() == 0


@pytest.mark.parametrize("context", [NARROW], indirect=True)
def test_one_person_tries_both_sides_on_a_phone(context: BrowserContext, server: DemandServer, complaints: Complaints) -> None:
    """At 390 px the parts are tabs, walked with arrows, and nothing is wider than the screen."""
    page = open_page(context, server, complaints, "alice")
    queue, talk, visitor = (page.get_by_role("tab", name=name) for name in ("Queue", "Conversation", "Visitor"))
    queue.focus()
    page.keyboard.press("ArrowLeft")
    expect(visitor).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_have_count(1)
    page.click("#visitor-new")
    page.fill("#visitor-text", "hello")
    page.click("#visitor-send")
    expect(messages(page, "#visitor-log")).to_have_text(["hello"])
    page.click("#visitor-ask")
    name = page.input_value("#visitor-session")
    queue.click()
    choose(page, name)
    expect(talk).to_have_attribute("aria-selected", "true")
    page.click("#takeover")
    page.fill("#reply", "good day")
    page.click("#reply-send")
    visitor.click()
    expect(messages(page, "#visitor-log")).to_have_text(["hello", "good day"])
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], widths


@in_every_theme
def test_axe_finds_nothing_serious_on_the_page_of_the_sessions(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Before an operator is chosen, with a queue, in a talk, and in the question before a session is closed."""
    ask_for_human(server, "lin", "late")
    ask_for_human(server, "mo")
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/sessions.html")
    page.wait_for_selector('#connection[data-state="connected"]')
    assert serious(page) == []
    page.close()
    page = open_page(context, server, complaints, "alice")
    expect(page.locator("#waiting li")).to_have_count(2)
    assert serious(page) == []
    choose(page, "lin")
    page.click("#takeover")
    expect(page.locator("#reply")).to_be_visible()
    assert serious(page) == []
    page.click("#close-session")
    assert serious(page) == []


def test_the_page_of_the_sessions_can_be_used_with_the_keyboard_alone(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """From the skip link to a reply without a mouse, with a visible mark on whatever has the focus."""
    ask_for_human(server, "lin")
    page = open_page(context, server, complaints, "alice")
    page.focus("#skip")
    seen = set()
    for _ in range(24):
        page.keyboard.press("Tab")
        mark = page.evaluate(
            """() => {
                const active = document.activeElement;
                const style = getComputedStyle(active);
                return [active.id || active.getAttribute("href") || active.tagName, style.outlineStyle !== "none"];
            }"""
        )
        assert mark[1] or mark[0] == "BODY", mark
        seen.add(mark[0])
        if mark[0] == "#lin":
            page.keyboard.press("Enter")
            expect(page.locator("#takeover")).to_be_visible()
    wanted = {
        "/tools.html",
        "language",
        "theme",
        "operator-change",
        "#lin",
        "takeover",
        "chat-log",
        "visitor-session",
        "visitor-send",
    }
    assert wanted <= seen, wanted - seen
