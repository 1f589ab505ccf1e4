"""The page of the tools in a real browser against a real server process: what runs, what is asked, and the answers."""

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.browser.support import NARROW, Complaints, DemandServer
from tests.browser.test_accessibility import in_every_theme, serious

pytestmark = pytest.mark.browser

BASE = "/agent_backend/api/sse"
HOSTILE = "<img src=x onerror=alert(1)>"


def notify(server: DemandServer, event_type: str, session: str = "s-1", **data: Any) -> Any:
    """Report as a tool does."""
    return server.post(f"{BASE}/notify/{session}", {"type": event_type, "data": data})


def ask(server: DemandServer, permission_id: str, tool_name: str = "delete_files", **data: Any) -> None:
    """Ask for a permission as a tool does."""
    given = {"parameters": {"path": "/srv/cache"}, "risk_level": "high", **data}
    notify(server, "permission_request", tool_name=tool_name, permission_id=permission_id, **given)


def watch(context: BrowserContext, server: DemandServer, complaints: Complaints, session: str = "s-1") -> Page:
    """The page, watching a session."""
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/tools.html")
    page.fill("#session-id", session)
    page.click("#watch-form button")
    page.wait_for_selector('#connection[data-state="connected"]')
    return page


def prompt(page: Page, tool_name: str = "delete_files") -> Locator:
    """The card of a tool's request."""
    return page.locator(".prompt", has_text=f"{tool_name} asks to run")


def stored(server: DemandServer, permission_id: str) -> dict[str, Any]:
    """A permission as the server has it."""
    found: dict[str, Any] = server.get(f"{BASE}/permissions/s-1/{permission_id}")
    return found


def test_a_tool_asks_is_approved_with_a_reason_and_goes_on_to_its_result(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """The whole round, on a session that is watched before its first event."""
    page = watch(context, server, complaints)
    expect(page.locator("#prompts-state")).to_have_text("No tool asks for anything.")
    notify(server, "tool_status", tool_name="delete_files", status="executing", details={"parameters": {"path": "/srv/cache"}})
    expect(page.locator('[data-tool="delete_files"]')).to_contain_text("Running")
    ask(server, "p-1")
    expect(prompt(page)).to_contain_text("High risk")
    expect(prompt(page)).to_contain_text("/srv/cache")
    expect(prompt(page).locator(".until")).to_contain_text("left, then it is refused")
    expect(page).to_have_title("(1) Tools — ToWow")
    prompt(page).get_by_label("Reason").fill("The cache may go")
    prompt(page).get_by_role("button", name="Approve").click()
    expect(page.locator(".prompt")).to_have_count(0)
    expect(page.locator("#history-list li").first).to_contain_text("anonymous approved")
    expect(page.locator("#history-list li").first).to_contain_text("The cache may go")
    answered = stored(server, "p-1")
    assert (answered["status"], answered["reason"], answered["actor"]) == ("approved", "The cache may go", "anonymous")
    notify(server, "tool_result", tool_name="delete_files", success=True, result={"deleted": 12})
    expect(page.locator("#result-list li")).to_contain_text("Succeeded")
    expect(page.locator("#result-list li")).to_contain_text('"deleted": 12')
    notify(server, "result_cleared", tool_name="delete_files")
    expect(page.locator("#result-list li")).to_have_count(0)


def test_each_answer_is_for_its_own_request_and_the_focus_goes_on_to_the_next(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Two wait side by side; the answer to one leaves the other as it is, with what is written in it."""
    ask(server, "p-1")
    page = watch(context, server, complaints)
    ask(server, "p-2", "send_mail", risk_level="medium")
    expect(page.locator(".prompt")).to_have_count(2)
    expect(page.locator("#prompts-count")).to_have_text("2 wait for your answer")
    prompt(page).get_by_label("Reason").fill("half a sen")
    reject = prompt(page, "send_mail").get_by_role("button", name="Reject")
    reject.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".prompt")).to_have_count(1)
    expect(prompt(page).get_by_label("Reason")).to_be_focused()
    expect(prompt(page).get_by_label("Reason")).to_have_value("half a sen")
    assert (stored(server, "p-2")["status"], stored(server, "p-1")["status"]) == ("rejected", "pending")


def test_of_two_opposite_answers_one_counts_and_the_other_person_is_told(
    context: BrowserContext, other: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Both have answered before either request is let through."""
    complaints.expects_conflicts = True
    ask(server, "p-1")
    held: list[Route] = []
    pages = [watch(context, server, complaints), watch(other, server, complaints)]
    for page, answer in zip(pages, ("Approve", "Reject"), strict=True):
        page.route("**/permission-response/**", lambda route: held.append(route))
        button = prompt(page).get_by_role("button", name=answer)
        with page.expect_request("**/permission-response/**"):
            button.click()
        expect(prompt(page).get_by_text("Sending …")).to_be_visible()
    first, second = held
    second.continue_()
    for page in pages:
        expect(page.locator(".prompt")).to_have_count(0)
    first.continue_()
    expect(pages[0].locator("#prompts-message")).to_have_text("delete_files: Somebody else has answered otherwise.")
    assert stored(server, "p-1")["status"] == "rejected"


def test_what_nobody_answers_in_time_is_refused_and_goes_away(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """The countdown is the server's, whatever the tool's own clock says."""
    page = watch(context, server, complaints)
    ask(server, "p-1", expires_within_seconds=2, timestamp="2020-01-01T00:00:00Z")
    expect(prompt(page).locator(".until")).to_contain_text("left")
    expect(page.locator(".prompt")).to_have_count(0, timeout=10_000)
    expect(page.locator("#history-list li").first).to_contain_text("Nobody answered in time: refused")
    assert stored(server, "p-1")["status"] == "expired"


def test_a_request_outlives_a_kill_of_the_server_and_is_answered_after_it(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """It is there once, with what was written in it, and its answer counts."""
    complaints.expects_network_errors = True
    ask(server, "p-1")
    page = watch(context, server, complaints)
    prompt(page).get_by_label("Reason").fill("written before")
    server.kill()
    page.wait_for_selector('#connection[data-state="reconnecting"]')
    prompt(page).get_by_role("button", name="Approve").click()
    expect(prompt(page).locator(".message")).to_contain_text("The answer was not stored")
    server.start()
    page.wait_for_selector('#connection[data-state="connected"]')
    expect(page.locator(".prompt")).to_have_count(1)
    prompt(page).get_by_role("button", name="Approve").click()
    expect(page.locator(".prompt")).to_have_count(0)
    assert stored(server, "p-1")["reason"] == "written before"


def test_the_watched_session_is_in_the_address_and_remembered(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Another one begins with an empty page; what cannot be an id is refused in words."""
    notify(server, "tool_status", session="one", tool_name="a", status="executing")
    page = watch(context, server, complaints, "one")
    expect(page.locator("#live-list li")).to_have_count(1)
    assert page.url.endswith("/tools.html#one")
    page.fill("#session-id", "two words")
    page.click("#watch-form button")
    expect(page.locator("#watch-message")).to_contain_text("1 to 120 letters")
    page.fill("#session-id", "two")
    page.press("#session-id", "Enter")
    expect(page.locator("#live-list li")).to_have_count(0)
    page.go_back()
    expect(page.locator("#live-list li")).to_have_count(1)
    page.goto(f"{server.url}/tools.html")
    expect(page.locator("#session-id")).to_have_value("one")


def test_names_parameters_and_results_are_shown_as_texts(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Markup stays what it is, and secrets never arrive."""
    ask(server, "p-1", HOSTILE, parameters={HOSTILE: HOSTILE, "password": "hunter2"})
    notify(server, "tool_status", tool_name=HOSTILE, status=HOSTILE)
    notify(server, "tool_result", tool_name=HOSTILE, success=False, result=[HOSTILE])
    notify(server, "error", message=HOSTILE)
    page = watch(context, server, complaints)
    expect(prompt(page, HOSTILE)).to_contain_text("[redacted]")
    assert page.locator("main img").count() == 0
    assert "hunter2" not in page.content()


def test_everything_that_a_tool_will_do_is_shown_whole_before_the_buttons(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """MCP's `arguments` and whatever else came, to its last character; what is hidden is said, and who declared the risk."""
    long = "x" * 30_000 + "LAST"
    arguments = {"command": f"ls{' ' * 300}; rm -rf /", "note": "safe\u202etxt.exe", "body": long}
    given = {"parameters": {f"p{n}": n for n in range(40)}, "arguments": arguments, "cwd": "/srv"}
    notify(server, "permission_request", tool_name="p\u0430ypal", permission_id="p-1", **given)
    page = watch(context, server, complaints)
    card = page.locator(".prompt")
    for text in (
        "p39",
        "rm -rf /",
        "[␣ × 300]",
        "[U+202E]",
        "LAST",
        "/srv",
        "\u0430[U+0430]",
        "Latin, Cyrillic",
        "taken as high",
    ):
        expect(card).to_contain_text(text)
    assert page.evaluate("document.querySelector('.prompt pre.value').scrollHeight > 0")
    order = page.evaluate(
        "(() => { const card = document.querySelector('.prompt');"
        " const last = [...card.querySelectorAll('dd')].at(-1), button = card.querySelector('button');"
        " return last.compareDocumentPosition(button) & Node.DOCUMENT_POSITION_FOLLOWING; })()"
    )
    assert order


@pytest.mark.parametrize("context", [NARROW], indirect=True)
def test_nobody_answers_what_has_not_been_on_the_screen(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """The buttons work once the end of the content was there to see."""
    ask(server, "p-1", parameters={f"line {n}": "word " * 20 for n in range(60)})
    page = watch(context, server, complaints)
    approve = prompt(page).get_by_role("button", name="Approve")
    expect(approve).to_be_disabled()
    page.locator(".prompt-end").scroll_into_view_if_needed()
    expect(approve).to_be_enabled()
    approve.tap()
    expect(page.locator(".prompt")).to_have_count(0)


@pytest.mark.parametrize("context", [NARROW], indirect=True)
def test_a_request_is_answered_on_a_phone(context: BrowserContext, server: DemandServer, complaints: Complaints) -> None:
    """At 390 px nothing is wider than the screen."""
    ask(server, "p-1", parameters={"text": "long " * 200, "path": "/srv/" + "x" * 300})
    page = watch(context, server, complaints)
    expect(page.locator(".prompt")).to_have_count(1)
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], widths
    page.locator(".prompt-end").scroll_into_view_if_needed()
    prompt(page).get_by_role("button", name="Reject").tap()
    expect(page.locator(".prompt")).to_have_count(0)
    assert stored(server, "p-1")["status"] == "rejected"


@in_every_theme
def test_axe_finds_nothing_serious_on_the_page_of_the_tools(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Empty, and with requests of every risk, tools, results, an error and a history."""
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/tools.html")
    expect(page.locator("#room-none")).to_be_visible()
    assert serious(page) == []
    page.close()
    for risk in ("low", "medium", "high"):
        ask(server, f"p-{risk}", f"tool_{risk}", risk_level=risk, parameters={"text": "two\nlines"})
    for status in ("executing", "completed", "failed", "anything"):
        details = {"parameters": {"n": 1}, "risk_level": "medium"}
        notify(server, "tool_status", tool_name=f"tool_{status}", status=status, details=details)
    notify(server, "tool_result", tool_name="tool_completed", success=True, result={"lines": ["a", "b"]})
    notify(server, "error", message="it broke")
    page = watch(context, server, complaints)
    expect(page.locator(".prompt")).to_have_count(3)
    page.locator("#live-list summary").first.click()
    assert serious(page) == []


def test_the_client_class_works_in_a_browser(context: BrowserContext, server: DemandServer, complaints: Complaints) -> None:
    """`SSEClient` of `clients/mcp.js`: events arrive, an answer counts, health is told, and nothing is left after
    disconnect()."""
    ask(server, "p-1")
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/tools.html")
    said = page.evaluate(
        """async () => {
            const { SSEClient } = await import("/static/js/clients/mcp.js");
            const client = new SSEClient("s-1");
            const said = [];
            const settled = new Promise((resolve) => {
                client.onConnectionOpen = () => said.push("open");
                client.onPermissionRequest = async ({ permission_id }) => {
                    said.push(permission_id);
                    said.push(await client.approvePermission(false, "user rejected"));
                };
                client.onPermissionResponseResult = ({ approved, reason }) => said.push(approved, reason);
                client.onPermissionCleared = resolve;
            });
            client.connect();
            await settled;
            said.push((await client.checkHealth()).connected);
            client.disconnect();
            return said.filter((each) => each !== true).concat(said.includes(true));
        }"""
    )
    assert set(said) == {"open", "p-1", False, "user rejected", True}
    assert stored(server, "p-1")["status"] == "rejected"
