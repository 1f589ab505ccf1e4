"""The replay: the negotiation as it was at any event, by slider, keyboard and buttons, without being pulled back by new
events."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.demands import histories
from tests.browser.support import DemandServer, open_demand

pytestmark = pytest.mark.browser

DEMAND = "d-5eed0002"


def slider(page: Page) -> Locator:
    """The position in the history."""
    return page.get_by_role("slider", name="Position in the history")


def go_to(page: Page, position: int) -> None:
    """Move the slider as a pointer does."""
    slider(page).evaluate(
        """(range, position) => {
            range.value = String(position);
            range.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        position,
    )


@pytest.fixture
def positions(page: Page, server: DemandServer) -> list[tuple[str, str]]:
    """A finished negotiation, opened: what happened, in order, over it and its sub-negotiations, as (stream, event type)."""
    server.play(*histories.workshop(DEMAND))
    open_demand(page, server.url, DEMAND)
    told = [event for demand_id in (DEMAND, f"{DEMAND}.1", f"{DEMAND}.1.1") for event in server.events(demand_id)]
    told.sort(key=lambda event: int(event["seq"]))
    expect(slider(page)).to_have_attribute("max", str(len(told)))
    return [(event["stream"], event["event_type"].removeprefix("towow.")) for event in told]


def test_the_slider_shows_the_negotiation_as_it_was(page: Page, positions: list[tuple[str, str]]) -> None:
    """Stages, answers, sub-negotiations, status and raw events are those of the position; "Latest" returns."""
    expect(page.locator("#outcome h3")).to_have_text("Agreed in round 2")
    expect(page.locator("#replay-label")).to_contain_text(f"Event {len(positions)} of {len(positions)}: Agreed with 5 agents")

    go_to(page, 1)
    expect(page.locator("#stages > .stage")).to_have_count(1)
    expect(page.locator("#outcome")).to_be_empty()
    expect(page.locator("#detail-head .badge")).to_have_text("Searching agents")
    expect(page.locator("#replay-label")).to_contain_text(f"Event 1 of {len(positions)}: Demand understood")

    go_to(page, 4)
    expect(page.locator(".offer")).to_have_count(1)
    expect(page.locator(".offer")).to_have_class(re.compile(r"\bat\b"))
    expect(page.locator("#now")).to_have_text("1 of 5 invited agents have answered.")
    expect(page.locator("#now-time")).to_contain_text("until")
    expect(page.locator(".answer-form")).to_have_count(0)
    page.click("#tab-events")
    expect(page.locator(".event")).to_have_count(4)
    expect(page.locator("#timeline-end")).to_contain_text("later events are hidden")
    page.click("#tab-negotiation")

    nested = positions.index((f"demand:{DEMAND}.1.1", "offer.submitted")) + 1
    go_to(page, nested)
    expect(page.locator(f'[data-subnet="{DEMAND}.1.1"] .offer')).to_be_visible()
    expect(page.locator(f'[data-subnet="{DEMAND}.1.1"] .offer')).to_be_in_viewport()
    expect(page.locator("#replay-label")).to_contain_text(f"in {DEMAND}.1.1: Driver offers for €40")

    first = positions.index((f"demand:{DEMAND}", "proposal.distributed")) + 1
    go_to(page, first)
    expect(page.locator('#stages > [data-kind="proposal"] tbody .decision')).to_have_text(
        ["Awaited", "Awaited", "Awaited", "Settled", "Settled"]
    )
    page.get_by_role("button", name="Latest").click()
    expect(page.locator("#outcome h3")).to_have_text("Agreed in round 2")
    expect(page.get_by_role("button", name="Latest")).to_have_attribute("aria-pressed", "true")


def test_the_keyboard_walks_through_history(page: Page, positions: list[tuple[str, str]]) -> None:
    """Home, End and the arrows move by events, and the slider says in words where it is."""
    slider(page).focus()
    page.keyboard.press("Home")
    expect(slider(page)).to_have_attribute(
        "aria-valuetext", re.compile(rf"^Event 1 of {len(positions)}: Demand understood, \d\d:\d\d:\d\d$")
    )
    page.keyboard.press("ArrowRight")
    expect(slider(page)).to_have_attribute("aria-valuetext", re.compile(r"^Event 2 of \d+: 5 agents can help"))
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(slider(page)).to_have_value("2")
    page.keyboard.press("End")
    expect(slider(page)).to_have_value(str(len(positions)))
    expect(page.locator("#outcome h3")).to_be_visible()


def test_buttons_step_and_play(page: Page, server: DemandServer) -> None:
    """First, previous, next; play goes to the end by itself and is live there, pause stays."""
    server.play(histories.workshop(DEMAND)[0])
    open_demand(page, server.url, DEMAND)
    first, previous, following = (page.get_by_role("button", name=f"{name} event") for name in ("First", "Previous", "Next"))
    live = page.get_by_role("button", name="Live")
    expect(slider(page)).to_have_value("3")
    expect(following).to_be_disabled()
    previous.click()
    expect(slider(page)).to_have_value("2")
    expect(live).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#replay-label")).to_have_attribute("aria-live", "polite")
    first.click()
    expect(slider(page)).to_have_value("1")
    expect(first).to_be_disabled()
    following.click()
    expect(slider(page)).to_have_value("2")
    first.click()
    page.get_by_role("button", name="Play the history").click()
    page.get_by_role("button", name="Pause").click()
    expect(slider(page)).to_have_value("1")
    page.get_by_role("button", name="Play the history").click()
    expect(slider(page)).to_have_value("3")
    expect(live).to_have_attribute("aria-pressed", "true")


def test_new_events_do_not_pull_the_reader_out_of_the_past(page: Page, server: DemandServer) -> None:
    """While the past is looked at, only the count grows; "live" brings what has happened meanwhile."""
    batches = histories.workshop(DEMAND)
    server.play(*batches[:2])
    open_demand(page, server.url, DEMAND)
    expect(page.locator(".offer")).to_have_count(2)
    go_to(page, 4)
    expect(page.locator(".offer")).to_have_count(1)
    server.play(batches[2])
    expect(page.locator("#replay-label")).to_contain_text("Event 4 of 7")
    expect(page.locator(".offer")).to_have_count(1)
    expect(page.locator(f'[data-demand="{DEMAND}"] .badge')).to_have_text("Collecting offers")
    page.get_by_role("button", name="Live").click()
    expect(page.locator(".offer")).to_have_count(3)
    expect(page.locator("#replay-label")).to_contain_text("Event 7 of 7: Baker declines")


def test_live_the_slider_moves_along(page: Page, server: DemandServer) -> None:
    """At the newest position a new event is the position."""
    batches = histories.workshop(DEMAND)
    server.play(batches[0])
    open_demand(page, server.url, DEMAND)
    expect(slider(page)).to_have_value("3")
    server.play(batches[1])
    expect(slider(page)).to_have_value("5")
    expect(page.locator("#replay-label")).to_contain_text("Event 5 of 5: Cook offers for €1,400")


def test_another_demand_is_shown_as_it_is_now(page: Page, server: DemandServer) -> None:
    """The position belongs to the demand: choosing another one begins live."""
    server.play(*histories.workshop(DEMAND), *histories.meetup("d-5eed0003"))
    open_demand(page, server.url, DEMAND)
    go_to(page, 2)
    page.click('[data-demand="d-5eed0003"] a')
    expect(page.locator("#outcome h3")).to_have_text("Agreed in round 1")
    expect(slider(page)).to_have_value("9")


@pytest.mark.parametrize("context", [{"reduced_motion": "reduce"}], indirect=True)
def test_without_motion_the_step_is_shown_at_once(page: Page, positions: list[tuple[str, str]]) -> None:
    """Who asked for less motion gets no gliding: the place is there with the next frame."""
    go_to(page, positions.index((f"demand:{DEMAND}.1", "offer.submitted")) + 1)
    expect(page.locator(f'[data-subnet="{DEMAND}.1"] .offer.at')).to_be_in_viewport()
    assert page.evaluate("document.getAnimations().length") == 0
