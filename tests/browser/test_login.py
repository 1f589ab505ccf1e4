"""The pages where the server asks who one is: a login on each of them, its end, and what every change carries."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect

from server.auth.principal import VERBS
from tests.browser.support import Complaints, DemandServer
from tests.browser.test_accessibility import in_every_theme, serious
from tests.support.tokens import secret_of

pytestmark = pytest.mark.browser

PAGES = ("", "sessions.html", "tools.html#s-1", "generations.html")
SCOPES = {
    "alice": [f"{verb}:*" for verb in VERBS],
    "bob": ["read:session:bob*", "append:session:bob*"],
    "runner": ["append:mcp:*"],
}
BASE = "/agent_backend/api/sse"
on_every_page = pytest.mark.parametrize("path", [pytest.param(path, id=path.partition(".")[0] or "first") for path in PAGES])
with_short_logins = pytest.mark.parametrize("server", [{"TOWOW__AUTH__LOGIN_SECONDS": "3"}], indirect=True)


def environment() -> dict[str, str]:
    """Settings with a token for each person."""
    tables = [
        f'{{name = "{name}", scopes = {json.dumps(scopes)}, token = "{secret_of(name)}"}}' for name, scopes in SCOPES.items()
    ]
    return {"TOWOW__AUTH__MODE": "token", "TOWOW__AUTH__TOKENS": f"[{', '.join(tables)}]"}


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DemandServer]:
    """A server that asks who one is; further settings are the fixture's parameter."""
    with DemandServer(tmp_path / "towow.db", environment={**environment(), **getattr(request, "param", {})}) as process:
        process.token = secret_of("alice")
        yield process


def open_page(context: BrowserContext, server: DemandServer, complaints: Complaints, path: str) -> Page:
    """A page, which asks for a login."""
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/{path}")
    expect(page.locator("#login")).to_be_visible()
    return page


def log_in(page: Page, name: str = "alice") -> None:
    """Log in with somebody's token."""
    page.fill("#login-token", secret_of(name))
    page.press("#login-token", "Enter")
    expect(page.locator("#login")).to_be_hidden()


def is_live(page: Page) -> None:
    """Wait until the page's streams are there."""
    page.wait_for_selector('#connection[data-state="connected"]')


@on_every_page
def test_a_page_asks_for_a_login_tells_what_is_wrong_and_then_lives(
    context: BrowserContext, server: DemandServer, complaints: Complaints, path: str
) -> None:
    """Before it nothing is asked that would be refused; the dialog cannot be dismissed; the token is kept nowhere."""
    page = open_page(context, server, complaints, path)
    expect(page.locator("#login-token")).to_be_focused()
    expect(page.locator("#account-open")).to_be_hidden()
    for _ in range(2):
        page.keyboard.press("Escape")
    expect(page.locator("#login")).to_be_visible()
    page.click("#login-button")
    expect(page.locator("#login-message")).to_have_text("Enter your token first.")
    assert complaints.texts == []
    complaints.expected_statuses = {401}
    page.fill("#login-token", "not-the-token-of-anybody")
    page.click("#login-button")
    expect(page.locator("#login-message")).to_have_text("The server does not know this token.")
    log_in(page)
    is_live(page)
    expect(page.locator("#account-open")).to_have_accessible_name("Logged in as alice")
    kept = page.evaluate(
        "JSON.stringify([location.href, {...localStorage}, {...sessionStorage}, document.cookie, document.body.innerHTML])"
    )
    assert secret_of("alice") not in kept
    assert page.input_value("#login-token") == ""
    page.reload()
    is_live(page)
    expect(page.locator("#login")).to_be_hidden()


@on_every_page
@with_short_logins
def test_a_login_that_ends_leads_back_to_the_login_and_the_page_stays(
    context: BrowserContext, server: DemandServer, complaints: Complaints, path: str
) -> None:
    """The stream says that the login has ended; what was being written is still there, and the stream goes on after the next
    one."""
    page = open_page(context, server, complaints, path)
    page.evaluate("window.isSamePage = true")
    log_in(page)
    is_live(page)
    field = {"": "#raw-input", "sessions.html": "#visitor-text", "generations.html": "#prompt"}.get(path, "#session-id")
    page.fill(field, "a-draft")
    for _ in range(2):
        expect(page.locator("#login")).to_be_visible(timeout=10_000)
        expect(page.locator("#login-detail")).to_contain_text("Your login has ended")
        log_in(page)
        is_live(page)
    expect(page.locator(field)).to_have_value("a-draft")
    assert page.evaluate("window.isSamePage") is True


def test_the_first_page_works_and_every_change_carries_the_csrf_token(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """A demand is submitted and watched; no token is in any address."""
    page = open_page(context, server, complaints, "")
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))
    log_in(page)
    is_live(page)
    page.fill("#raw-input", "I need a venue for a 40-person workshop next Friday")
    page.click("#submit-button")
    expect(page.locator("#stages > .stage").nth(1)).to_be_visible()
    expect(page.locator("#demand-list li")).to_have_count(1)
    changes = [request for request in requests if request.method == "POST" and not request.url.endswith("/api/login")]
    assert changes
    assert all(request.headers.get("x-csrf-token") for request in changes)
    assert not any(secret_of("alice") in request.url for request in requests)


def test_a_tab_goes_on_after_another_tab_has_logged_in_anew(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """The cookie is then another one's, and so is the CSRF token: the page asks for it and repeats what was refused."""
    complaints.expected_statuses = {403}
    page = open_page(context, server, complaints, "sessions.html")
    log_in(page)
    is_live(page)
    other = context.new_page()
    complaints.watch(other)
    other.goto(f"{server.url}/")
    is_live(other)
    status = other.evaluate(
        """async (token) => {
            const headers = { "Content-Type": "application/json" };
            const answer = await fetch("/api/login", { method: "POST", headers, body: JSON.stringify({ token }) });
            return answer.status;
        }""",
        secret_of("alice"),
    )
    assert status == 200
    page.fill("#visitor-text", "still me")
    page.press("#visitor-text", "Enter")
    expect(page.locator("#visitor-log .bubble")).to_have_text(["still me"])


@on_every_page
def test_a_logout_forgets_everything_that_was_shown(
    context: BrowserContext, server: DemandServer, complaints: Complaints, path: str
) -> None:
    """The page begins anew with a login; somebody else then sees only what is theirs."""
    page = open_page(context, server, complaints, path)
    log_in(page)
    is_live(page)
    page.evaluate("window.isSamePage = true")
    page.click("#account-open")
    expect(page.locator("#account")).to_contain_text("alice")
    page.click("#logout")
    expect(page.locator("#login")).to_be_visible()
    page.wait_for_function("window.isSamePage === undefined")
    assert page.evaluate("fetch('/api/session').then((answer) => answer.json())")["name"] is None


def test_an_operator_and_a_tool_are_served_behind_the_login(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Hand-over and permission with mode token; the answer is recorded with the name of who gave it."""
    page = open_page(context, server, complaints, "sessions.html")
    log_in(page)
    page.fill("#operator-id", "alice")
    page.click("#operator-form button")
    page.fill("#visitor-text", "hello")
    page.press("#visitor-text", "Enter")
    page.click("#visitor-ask")
    page.click("#waiting a")
    page.click("#takeover")
    page.fill("#reply", "good day")
    page.press("#reply", "Enter")
    expect(page.locator("#visitor-log .bubble")).to_have_text(["hello", "good day"])
    request = {"type": "permission_request", "permission_id": "p-1", "data": {"tool_name": "mail", "risk_level": "low"}}
    server.token = secret_of("runner")  # whoever asks does not answer
    server.post(f"{BASE}/notify/s-1", request)
    page.goto(f"{server.url}/tools.html#s-1")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#history-list li").first).to_contain_text("alice approved")


def test_who_may_not_watch_is_told_so(context: BrowserContext, server: DemandServer, complaints: Complaints) -> None:
    """A login with few scopes: each page says what it does not show, and asks for no other login."""
    complaints.expected_statuses = {403}
    page = open_page(context, server, complaints, "tools.html#s-1")
    log_in(page, "bob")
    expect(page.locator("#watch-message")).to_contain_text("does not allow you to watch")
    page.goto(f"{server.url}/")
    expect(page.locator("#demands-state")).to_contain_text("bob may not read demand:*")
    page.goto(f"{server.url}/sessions.html")
    page.fill("#visitor-session", "bob-1")
    page.click("#visitor-open-form button[type=submit]")
    page.fill("#visitor-text", "hello")
    page.press("#visitor-text", "Enter")
    expect(page.locator("#visitor-log .bubble")).to_have_text(["hello"])
    expect(page.locator("#login")).to_be_hidden()


def test_the_client_class_takes_a_ticket_for_each_connection(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """`SSEClient` with a token on a page that is not logged in: the token is in no address, and each ticket is used once."""
    page = open_page(context, server, complaints, "tools.html")
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    server.post(f"{BASE}/notify/s-1", {"type": "tool_result", "data": {"tool_name": "a", "success": True, "result": 1}})
    results = page.evaluate(
        """async (token) => {
            const { SSEClient } = await import("/static/js/clients/mcp.js");
            const results = [];
            for (let i = 0; i < 2; i += 1) {
                const client = new SSEClient("s-1", token);
                await new Promise((resolve) => {
                    client.onToolResult = resolve;
                    client.onError = resolve;
                    client.connect();
                }).then((data) => results.push(data.result ?? data));
                results.push((await client.checkHealth()).connected);
                client.disconnect();
            }
            return results;
        }""",
        secret_of("alice"),
    )
    assert results == [1, True, 1, True]
    tickets = [found[1] for url in urls if (found := re.search(r"[?&]ticket=([^&]+)", url))]
    assert len(set(tickets)) == 2
    assert not any(secret_of("alice") in url for url in urls)


@in_every_theme
def test_axe_finds_nothing_serious_in_the_login(context: BrowserContext, server: DemandServer, complaints: Complaints) -> None:
    """The dialog, an error in it, and who one is."""
    complaints.expected_statuses = {401}
    page = open_page(context, server, complaints, "sessions.html")
    assert serious(page) == []
    page.fill("#login-token", "not-the-token-of-anybody")
    page.click("#login-button")
    expect(page.locator("#login-message")).not_to_be_empty()
    assert serious(page) == []
    log_in(page)
    is_live(page)
    page.click("#account-open")
    expect(page.locator("#account")).to_be_visible()
    assert serious(page) == []


def test_where_nobody_is_asked_there_is_no_login(chromium: Any, tmp_path: Path, complaints: Complaints) -> None:
    """With mode off neither dialog nor button is to be seen."""
    with DemandServer(tmp_path / "open.db") as server:
        context = chromium.new_context(locale="en-US")
        for path in PAGES:
            page = context.new_page()
            complaints.watch(page)
            page.goto(f"{server.url}/{path}")
            is_live(page)
            expect(page.locator("#login")).to_be_hidden()
            expect(page.locator("#account-open")).to_be_hidden()
        context.close()
