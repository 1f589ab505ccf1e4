"""What axe finds on every state of the page, light and dark, and what the keyboard and screen readers need besides."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.demands import histories
from tests.browser.support import DemandServer, open_demand

pytestmark = pytest.mark.browser

DEMAND = "d-5eed0004"
NARROW = {"viewport": {"width": 390, "height": 844}}
STILL = {"reduced_motion": "reduce"}  # colours are looked at, not what fades in
THEMES = [
    pytest.param({"color_scheme": "light", **STILL}, id="light"),
    pytest.param({"color_scheme": "dark", **STILL}, id="dark"),
    pytest.param({"color_scheme": "light", **NARROW, "locale": "zh-CN", **STILL}, id="light, 390, chinese"),
    pytest.param({"color_scheme": "dark", **NARROW, **STILL}, id="dark, 390"),
]
in_every_theme = pytest.mark.parametrize("context", THEMES, indirect=True)


def serious(page: Page) -> list[Any]:
    """The serious and critical issues, each with the elements that have it."""
    found = Axe().run(page).response["violations"]
    return [
        (issue["id"], issue["impact"], [node["target"] for node in issue["nodes"]])
        for issue in found
        if issue["impact"] in ("serious", "critical")
    ]


@in_every_theme
def test_axe_finds_nothing_serious_on_the_empty_page(page: Page) -> None:
    """Form, empty list and welcome."""
    expect(page.locator(".empty, .welcome").first).to_be_visible()
    assert serious(page) == []


@in_every_theme
def test_axe_finds_nothing_serious_on_a_running_negotiation(page: Page, server: DemandServer) -> None:
    """Offers, gaps, a nested sub-negotiation, a proposal with the user's form, the SQL, and the past."""
    batches = histories.workshop(DEMAND)
    server.play(*batches[:5])
    open_demand(page, server.url, DEMAND)
    expect(page.locator(f'[data-subnet="{DEMAND}.1.1"] .candidate')).to_have_count(2)
    assert serious(page) == []
    server.play(*batches[5:7])
    page.locator("details.sql summary").click()
    expect(page.locator("#stages > .stage > .body > .plan tr").first).to_be_visible()
    assert serious(page) == []
    page.locator("#replay-first").click()
    expect(page.locator("#stages > .stage")).to_have_count(1)
    assert serious(page) == []


@in_every_theme
def test_axe_finds_nothing_serious_on_a_finished_negotiation(page: Page, server: DemandServer) -> None:
    """The plan, everything folded opened, the raw events, a failed and a cancelled one."""
    server.play(*histories.workshop(DEMAND))
    for number, ended in enumerate(("negotiation.failed", "negotiation.cancelled"), start=5):
        other = f"d-5eed000{number}"
        server.play(*histories.workshop(other)[:2], [histories.event(other, ended, reason="no_agreement", by="user")])
    open_demand(page, server.url, DEMAND)
    for summary in page.locator("#stages > .stage summary:visible").all():
        summary.click()
    assert serious(page) == []
    page.click("#tab-events")
    page.locator(".event .json summary").first.click()
    assert serious(page) == []
    page.click("#tab-negotiation")
    for number in (5, 6):
        open_demand(page, server.url, f"d-5eed000{number}")
        expect(page.locator("#outcome .outcome")).to_be_visible()
        assert serious(page) == []


@in_every_theme
def test_axe_finds_nothing_serious_in_the_dialogs(page: Page, server: DemandServer) -> None:
    """The agents, and the question before a negotiation is cancelled."""
    server.play(*histories.workshop(DEMAND)[:2])
    page.click("#agents-open")
    expect(page.locator(".agent").first).to_be_visible()
    assert serious(page) == []
    page.click("#agents-close")
    open_demand(page, server.url, DEMAND)
    page.click("#cancel-open")
    expect(page.locator("#cancel")).to_be_visible()
    assert serious(page) == []


def test_the_tabs_are_one_stop_and_walked_with_arrows(page: Page, server: DemandServer) -> None:
    """Arrow keys, Home and End choose; the other tab is out of the way of the tab key; the choice is remembered."""
    server.play(*histories.workshop(DEMAND)[:2])
    open_demand(page, server.url, DEMAND)
    negotiation, events = page.get_by_role("tab", name="Negotiation"), page.get_by_role("tab", name="Events")
    negotiation.focus()
    page.keyboard.press("ArrowRight")
    expect(events).to_be_focused()
    expect(events).to_have_attribute("aria-selected", "true")
    expect(negotiation).to_have_attribute("tabindex", "-1")
    expect(page.get_by_role("tabpanel", name="Events")).to_be_visible()
    expect(page.locator("#negotiation-panel")).to_be_hidden()
    page.keyboard.press("Home")
    expect(negotiation).to_be_focused()
    page.keyboard.press("End")
    page.reload()
    expect(page.get_by_role("tabpanel", name="Events")).to_be_visible()


def test_only_the_standing_is_announced(page: Page, server: DemandServer) -> None:
    """One live region says where the negotiation stands; countdowns and the replay's label keep still."""
    server.play(*histories.workshop(DEMAND)[:2])
    open_demand(page, server.url, DEMAND)
    expect(page.locator("#now")).to_have_attribute("role", "status")
    expect(page.locator("#replay-label")).to_have_attribute("aria-live", "off")
    inside = page.evaluate(
        """() => [...document.querySelectorAll("[role=status], [role=alert], [role=log], [aria-live=polite]")]
            .filter((region) => region.checkVisibility() && region.querySelector("[data-deadline], #replay-range"))
            .length"""
    )
    assert inside == 0


def test_the_whole_page_can_be_reached_by_keyboard(page: Page, server: DemandServer) -> None:
    """Tab goes through form, list, negotiation and replay, with a visible mark on whatever has the focus."""
    server.play(*histories.workshop(DEMAND)[:6])
    open_demand(page, server.url, DEMAND)
    page.focus("#skip")
    seen: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        mark = page.evaluate(
            """() => {
                const active = document.activeElement;
                const style = getComputedStyle(active);
                const thumb = active.type === "range";
                const isMarked = thumb || style.outlineStyle !== "none" || style.borderColor === style.outlineColor;
                return [active.id || active.className || active.tagName, isMarked];
            }"""
        )
        assert mark[1], mark
        seen.add(str(mark[0]))
    wanted = {
        "raw-input",
        "must-confirm",
        "submit-button",
        "tab-negotiation",
        "cancel-open",
        "now-answer",
        "replay-range",
        "replay-live",
    }
    assert wanted <= seen, wanted - seen
