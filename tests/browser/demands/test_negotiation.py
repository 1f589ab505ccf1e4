"""A negotiation as people look at it: played histories stage by stage, the user's part, and a real one with the sample
agents."""

import json
import re

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.browser.demands import histories
from tests.browser.support import NARROW, Complaints, DemandServer, assert_fits, open_demand

pytestmark = pytest.mark.browser

DEMAND = "d-5eed0001"
WIDE = {"viewport": {"width": 1280, "height": 800}}
EVIL = "<img src=x onerror='window.pwned=1'><script>window.pwned=2</script> & \"q\" </li>"
LONG = "A sentence that goes on and on without saying much at all. " * 40
UNBROKEN = "https://example.com/" + "x" * 400
REAL = "I need a venue for a 40-person workshop next Friday, with catering and a speaker on databases, budget 3000 euros"


def stage(page: Page, kind: str, number: int = 0) -> Locator:
    """A stage of the chosen demand itself, not of a sub-negotiation."""
    return page.locator(f'#stages > .stage[data-kind="{kind}"]').nth(number)


def fates(page: Page) -> dict[str, str]:
    """What has become of each candidate."""
    rows = stage(page, "agents").locator(".candidate")
    return {row.locator("b").inner_text(): row.locator(".fate").inner_text() for row in rows.all()}


def open_answer(page: Page, server: DemandServer, **options: bool) -> Locator:
    """A negotiation whose first proposal is out; the form for the user's answer."""
    server.play(*histories.workshop(DEMAND, **options)[:6])
    open_demand(page, server.url, DEMAND)
    return page.locator(".answer-form")


def test_each_stage_appears_as_it_happens(page: Page, server: DemandServer) -> None:
    """From the demand to the agreement, without a reload: who, what, how much, who answered, what is missing, and the plan."""
    batches = iter(histories.workshop(DEMAND))
    server.play(next(batches))
    open_demand(page, server.url, DEMAND)
    page.evaluate("window.isSamePage = true")
    badge = page.locator("#detail-head .badge")
    now = page.locator("#now")

    expect(stage(page, "demand").locator(".chip")).to_have_text(list(histories.CAPABILITIES))
    expect(stage(page, "demand").locator(".terms")).to_have_text("People40Budget€4,000DateFri, 27 Nov 2026")
    expect(stage(page, "demand").locator(".raw")).to_contain_text("Hello!")
    assert fates(page) == dict.fromkeys(("Hall", "Cook", "Speaker", "Baker", "Barn"), "Invited")
    expect(badge).to_have_text("Collecting offers")
    expect(now).to_have_text("0 of 5 invited agents have answered.")
    expect(page.locator("#now-time")).to_contain_text("left")

    server.play(next(batches))
    offers = stage(page, "offers").locator(".offer")
    expect(offers).to_have_count(2)
    expect(offers.nth(0)).to_contain_text("€1,500")
    expect(offers.nth(0).locator(".marker")).to_have_text("Rules")
    expect(offers.nth(1).locator(".marker")).to_have_text("Language model")
    expect(stage(page, "offers").locator(".pending")).to_have_text("Waiting for Speaker, Baker and Barn")

    server.play(next(batches))
    expect(offers.nth(2).locator(".marker")).to_have_text("In the agent’s own words")
    expect(offers.nth(2).locator(".needs")).to_contain_text("sound and light")
    expect(stage(page, "offers").locator(".decline")).to_contain_text("We only bake cakes.")
    assert fates(page)["Baker"] == "Declined"

    server.play(next(batches))
    gaps = stage(page, "gap")
    expect(gaps.locator("> .body > .gaps > .gap")).to_have_count(2)
    expect(gaps).to_contain_text("needed by Speaker")
    expect(badge).to_have_text("Filling gaps")
    expect(now).to_have_text("Looking for somebody to cover photography.")
    photos = page.locator(f'[data-subnet="{DEMAND}.1"]')
    expect(photos.locator("> .subnet-state")).to_have_text("0 of 2 invited agents have answered.")
    expect(stage(page, "offers").locator(".decline")).to_have_count(2)
    assert fates(page)["Barn"] == "No answer"

    server.play(next(batches))
    expect(photos.locator("> .stages > .stage .offer")).to_contain_text(["Half a day of pictures."])
    ride = photos.locator(f'[data-subnet="{DEMAND}.1.1"]')
    expect(ride.locator(".candidate b")).to_have_text(["Driver", "Bus"])

    server.play(next(batches))
    first = stage(page, "proposal")
    expect(photos.locator("> summary .badge")).to_have_text("Agreed")
    expect(first.locator("tbody tr")).to_have_count(5)
    expect(first.locator("tbody tr").nth(0)).to_contain_text("€1,500 €1,385")
    expect(first.locator("tbody tr").nth(4).locator(".decision")).to_have_text("Settled")
    expect(first.locator(".total")).to_contain_text("€4,000of €4,000 budget")
    expect(first.locator(".lack")).to_contain_text("sound and light")
    expect(first.locator("h3 ~ .marker")).to_have_text("Language model")
    expect(now).to_have_text("Round 1: waiting for Hall, Cook, Speaker and you.")
    assert fates(page)["Hall"] == "In the proposal"

    server.play(next(batches))
    decisions = first.locator("tbody .decision")
    expect(decisions).to_have_text(["Asks for changes", "Accepted", "Awaited", "Settled", "Settled"])
    expect(first.locator(".by-user")).to_contain_text("coffee from 9")

    server.play(next(batches))
    second = stage(page, "proposal", 1)
    expect(first.locator("summary").first).to_have_text("2 accepted · 2 asked for changes")
    expect(first.locator("tbody")).to_be_hidden()
    expect(second.locator(".conditions")).to_contain_text("1,450 is my lowest")
    expect(second).to_contain_text("Please make sure that there is coffee from 9 o'clock on.")
    expect(page.locator("#detail-head")).to_contain_text("Round 2")

    server.play(next(batches))
    outcome = page.locator("#outcome")
    expect(outcome.locator("h3")).to_have_text("Agreed in round 2")
    expect(outcome.locator("tbody tr")).to_have_count(5)
    expect(outcome).to_contain_text("Hall, food, talk and pictures for €3,990.")
    expect(outcome.locator(".lack")).to_contain_text("sound and light")
    expect(second.locator("h3 ~ .badge")).to_have_text("Agreed")
    expect(badge).to_have_text("Agreed")
    expect(now).to_be_empty()
    assert fates(page) == {"Hall": "Chosen", "Cook": "Chosen", "Speaker": "Chosen", "Baker": "Declined", "Barn": "No answer"}
    assert page.evaluate("window.isSamePage") is True


@pytest.mark.parametrize("context", [{"locale": "zh-CN"}], indirect=True)
def test_a_negotiation_is_told_in_chinese(page: Page, server: DemandServer) -> None:
    """Headings, states and prices in the reader's language; no key is left untranslated."""
    server.play(*histories.meetup(DEMAND))
    open_demand(page, server.url, DEMAND)
    expect(page.locator("#outcome h3")).to_have_text("第 1 轮达成一致")
    expect(page.locator("#outcome tbody tr").first).to_contain_text("场地")
    expect(page.locator("#outcome .total")).to_contain_text("¥15,000")
    expect(page.locator("#stages h3")).to_have_text(["需要什么", "谁可以做", "报价", "第 1 轮方案"])
    expect(page.locator("#replay-label")).to_contain_text("事件 9 / 9")
    text = page.locator("body").inner_text()
    assert not re.search(r"\b(stage|round|plan|fate|now|replay|decision|outcome|sentence)\.[a-z]", text)


@pytest.mark.parametrize(
    ("end", "title", "said"),
    [
        pytest.param(
            {"event_type": "negotiation.failed", "reason": "over_budget", "message": "Too dear.", "round": 2},
            "No agreement",
            ["The offers do not fit the budget.", "Too dear."],
            id="failed",
        ),
        pytest.param(
            {"event_type": "negotiation.failed", "reason": "moon", "message": "The moon was full."},
            "No agreement",
            ["The moon was full."],
            id="failed for a reason the page does not know",
        ),
        pytest.param(
            {"event_type": "negotiation.cancelled", "reason": "It was moved to May.", "by": "user"},
            "Cancelled",
            ["The user has cancelled it:", "It was moved to May."],
            id="cancelled with the user's words",
        ),
        pytest.param(
            {"event_type": "negotiation.cancelled", "reason": "parent_ended", "by": "parent"},
            "Cancelled",
            ["The demand that it belongs to has ended."],
            id="cancelled with its parent",
        ),
    ],
)
def test_other_ends_say_why(page: Page, server: DemandServer, end: dict[str, str], title: str, said: list[str]) -> None:
    """Without an agreement the outcome is its reason, in words."""
    server.play(*histories.workshop(DEMAND)[:7], [histories.event(DEMAND, **end)])
    open_demand(page, server.url, DEMAND)
    expect(page.locator("#outcome h3")).to_have_text(title)
    for sentence in said:
        expect(page.locator("#outcome")).to_contain_text(sentence)
    expect(page.locator(".answer-form")).to_have_count(0)
    expect(page.locator("#cancel-open")).to_have_count(0)


def test_a_sub_negotiation_opens_by_itself_with_the_way_back(page: Page, server: DemandServer) -> None:
    """Its address shows it alone, under the names of those it belongs to; the list shows the root only."""
    server.play(*histories.workshop(DEMAND))
    open_demand(page, server.url, f"{DEMAND}.1.1")
    expect(page.locator("#detail-title")).to_have_text("Somebody for transport")
    expect(page.locator("#outcome h3")).to_have_text("Agreed in round 1")
    expect(page.locator(".breadcrumb a")).to_have_text([re.compile("^A venue for 40 people"), "Somebody for photography"])
    expect(page.locator("#demand-list li")).to_have_count(1)
    expect(page.locator("#demand-list a")).to_have_attribute("aria-current", "true")
    page.locator(".breadcrumb a").nth(1).click()
    expect(page.locator("#detail-title")).to_have_text("Somebody for photography")
    expect(page.locator("#outcome tbody tr")).to_have_count(2)
    page.locator(".breadcrumb a").first.click()
    expect(page.locator("#detail-title")).to_have_text(histories.TEXT)
    photos = page.locator(f'[data-subnet="{DEMAND}.1"]')
    expect(photos.locator("> .stages")).to_be_hidden()
    photos.locator("> summary").click()
    photos.get_by_role("link", name="Open by itself").first.click()
    expect(page).to_have_url(f"{server.url}/#{DEMAND}.1")


def test_a_sub_negotiation_is_followed_live_in_its_parent(page: Page, server: DemandServer) -> None:
    """What happens in it appears inside the parent by itself, also after the reader has closed and opened it."""
    batches = histories.workshop(DEMAND)
    server.play(*batches[:4])
    open_demand(page, server.url, DEMAND)
    photos = page.locator(f'[data-subnet="{DEMAND}.1"]')
    expect(photos.locator(".candidate b")).to_have_text(["Photographer", "Other"])
    photos.locator("> summary").click()
    server.play(batches[4])
    expect(photos.locator("> .stages > .stage .offer")).to_have_count(1)
    expect(photos.locator("> .stages")).to_be_hidden()
    photos.locator("> summary").click()
    expect(photos.locator(f'[data-subnet="{DEMAND}.1.1"] .candidate b')).to_have_text(["Driver", "Bus"])


@pytest.mark.parametrize("context", [pytest.param(NARROW, id="390"), pytest.param(WIDE, id="1280")], indirect=True)
@pytest.mark.parametrize(
    "text", [pytest.param(EVIL, id="markup"), pytest.param(LONG, id="long"), pytest.param(UNBROKEN, id="unbroken")]
)
def test_whatever_people_write_stays_text_and_inside(page: Page, server: DemandServer, text: str) -> None:
    """Markup, endless texts and absurd numbers in every field: letters on the page, no wider than it."""
    server.play(*histories.hostile(DEMAND, text))
    open_demand(page, server.url, DEMAND)
    expect(page.locator("#stages > .stage")).to_have_count(6)
    expect(page.locator(".subnet")).to_have_count(1)
    expect(page.locator(f'[data-subnet="{DEMAND}.7"] > .subnet-state')).to_have_text("Nothing has happened in it yet.")
    assert_fits(page)
    for button in page.locator("#stages button.link:visible").all()[:4]:
        button.click()
    assert_fits(page)
    page.click("#tab-events")
    expect(page.locator(".event")).to_have_count(12)
    assert_fits(page)
    assert page.locator("img").count() == 0
    assert page.locator("body script").count() == 0
    assert page.evaluate("window.pwned") is None


def test_the_user_accepts_a_proposal(page: Page, server: DemandServer) -> None:
    """One press, stored as the user's answer; the form is gone, the focus is where its effect is told."""
    form = open_answer(page, server)
    expect(page.locator("#now")).to_contain_text("and you")
    page.click("#now-answer")
    expect(form.get_by_role("button", name="Accept")).to_be_focused()
    page.keyboard.press("Enter")
    expect(form).to_have_count(0)
    expect(stage(page, "proposal").locator(".by-user .decision")).to_have_text("Accepted")
    expect(page.locator("#now")).to_have_text("Round 1: waiting for Hall, Cook and Speaker.")
    expect(page.locator("#now")).to_be_focused()
    said = server.events(DEMAND)[-1]
    assert said["event_type"] == "towow.proposal.feedback"
    assert (said["payload"]["user_id"], said["payload"]["decision"]) == (histories.USER, "accept")


def test_the_user_asks_for_changes_with_a_comment(page: Page, server: DemandServer) -> None:
    """Without a comment the field says what is missing; what was typed survives whatever happens meanwhile."""
    form = open_answer(page, server)
    form.get_by_role("button", name="Ask for changes").click()
    expect(form.locator(".message")).to_have_text("Write what should change first.")
    field = form.get_by_role("textbox")
    expect(field).to_be_focused()
    page.keyboard.type("An hour later")
    expect(form.locator(".message")).to_be_empty()
    server.play([histories.feedback(DEMAND, 1, "Cook", "accept")])
    expect(stage(page, "proposal").locator("tbody .decision").nth(1)).to_have_text("Accepted")
    expect(field).to_have_value("An hour later")
    expect(field).to_be_focused()
    form.get_by_role("button", name="Ask for changes").click()
    expect(stage(page, "proposal").locator(".by-user")).to_contain_text("An hour later")
    assert server.events(DEMAND)[-1]["payload"]["comment"] == "An hour later"


def test_the_user_may_reject_without_having_been_asked(page: Page, server: DemandServer) -> None:
    """Also where nobody waits for the user, an open proposal can be answered."""
    form = open_answer(page, server, confirm=False)
    expect(page.locator("#now-answer")).to_be_hidden()
    form.get_by_role("button", name="Reject").click()
    expect(stage(page, "proposal").locator(".by-user .decision")).to_have_text("Rejected")
    assert server.events(DEMAND)[-1]["payload"]["decision"] == "reject"


def test_a_refused_answer_says_the_state(page: Page, server: DemandServer, complaints: Complaints) -> None:
    """409 stands next to the buttons with the state that the server named; a lost connection is said as such."""
    complaints.expects_conflicts = complaints.expects_network_errors = True
    form = open_answer(page, server)
    refusal = {"error": {"code": "conflict", "message": "the proposal is closed", "phase": "filling_gaps"}}

    def refuse(route: Route) -> None:
        route.fulfill(status=409, content_type="application/json", body=json.dumps(refusal))

    page.route("**/feedback", refuse)
    accept = form.get_by_role("button", name="Accept")
    accept.click()
    message = form.locator(".message")
    expect(message).to_have_text("Your answer was not stored: the proposal is closed The negotiation is now at: Filling gaps.")
    expect(accept).to_be_enabled()
    expect(accept).to_be_focused()
    page.unroute("**/feedback")
    page.route("**/feedback", lambda route: route.abort())
    accept.click()
    expect(message).to_have_text("Your answer was not stored: the server cannot be reached")


def test_the_user_cancels_after_being_asked_again(page: Page, server: DemandServer) -> None:
    """The dialog keeps or cancels; the reason is stored, and the outcome is shown where the focus is."""
    server.play(*histories.workshop(DEMAND)[:2])
    open_demand(page, server.url, DEMAND)
    page.click("#cancel-open")
    expect(page.locator("#cancel-keep")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#cancel-open")).to_be_focused()
    page.keyboard.press("Enter")
    page.fill("#cancel-reason", "No longer needed")
    page.click("#cancel-confirm")
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#outcome h3")).to_have_text("Cancelled")
    expect(page.locator("#outcome")).to_contain_text("No longer needed")
    expect(page.locator("#cancel-open")).to_have_count(0)
    last = server.events(DEMAND)[-1]
    assert (last["event_type"], last["payload"]["reason"]) == ("towow.negotiation.cancelled", "No longer needed")


def test_cancelling_what_has_ended_is_explained(page: Page, server: DemandServer, complaints: Complaints) -> None:
    """The refusal stands in the dialog, with the state; nothing is closed over it."""
    complaints.expects_conflicts = True
    server.play(*histories.workshop(DEMAND)[:2])
    open_demand(page, server.url, DEMAND)
    page.click("#cancel-open")
    server.play([histories.event(DEMAND, "negotiation.failed", reason="no_agreement")])
    page.click("#cancel-confirm")
    expect(page.locator("#cancel-message")).to_contain_text("It was not cancelled: ")
    expect(page.locator("#cancel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#outcome h3")).to_have_text("No agreement")


def test_asking_to_be_asked_is_sent_with_the_demand(page: Page, server: DemandServer) -> None:
    """The box at the form makes the server wait for the user's yes."""
    page.check("#must-confirm")
    page.fill("#raw-input", "A venue for 30 people, please")
    page.click("#submit-button")
    page.wait_for_function("() => location.hash !== ''")
    demand_id = str(page.evaluate("location.hash")).removeprefix("#")
    expect(page.locator("#stages")).to_contain_text("Nothing is agreed without the user’s yes.")
    assert server.get(f"/api/demand/{demand_id}")["confirm"] is True


def test_whoever_has_just_asked_is_taken_along(page: Page, server: DemandServer) -> None:
    """Each new step of a fresh demand comes before the eyes by itself: offers, what is missing, the proposal, at last the
    plan."""
    first, *batches = histories.workshop(DEMAND)
    server.play(first)
    open_demand(page, server.url, DEMAND)
    newest = [
        "#stages .offer >> nth=1",
        "#stages .decline >> nth=0",
        f'[data-subnet="{DEMAND}.1"] [data-kind="offers"] > .top',
        f'[data-subnet="{DEMAND}.1.1"] [data-kind="offers"] > .top',
        '#stages > [data-kind="proposal"] h3 >> nth=0',
        '#stages > [data-kind="proposal"] .by-user .decision',
        '#stages > [data-kind="proposal"] >> nth=1 >> .decision >> nth=0',
        "#outcome h3",
    ]
    for batch, place in zip(batches, newest, strict=True):
        server.play(batch)
        expect(page.locator(place)).to_be_in_viewport()


def test_whoever_reads_further_up_stays_there(page: Page, server: DemandServer) -> None:
    """New steps below do not move the page of somebody who looks at something else."""
    batches = histories.workshop(DEMAND)
    server.play(*batches[:2])
    open_demand(page, server.url, DEMAND)
    place = "document.getElementById('detail').scrollTop"
    page.locator("#stages .offer").last.scroll_into_view_if_needed()
    page.locator("#detail").hover()
    page.mouse.wheel(0, -5000)
    page.wait_for_function("() => document.getElementById('detail').scrollTop === 0")
    server.play(*batches[2:4])
    expect(page.locator(f'[data-subnet="{DEMAND}.1"] .candidate')).to_have_count(2)
    assert page.evaluate(place) == 0


def test_sql_and_raw_events_are_a_click_away(page: Page, context: BrowserContext, server: DemandServer) -> None:
    """The query is for this demand and can be copied; the link opens the stream's events."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    server.play(*histories.workshop(DEMAND)[:1])
    open_demand(page, server.url, DEMAND)
    page.get_by_text("As SQL").click()
    query = f"SELECT seq, timestamp, what FROM negotiation_timeline WHERE demand_id = '{DEMAND}' ORDER BY seq"
    expect(page.locator(".sql pre")).to_have_text([query, f'python run.py sql "{query}"'])
    page.locator(".sql button").nth(1).click()
    expect(page.locator(".sql button").nth(1)).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f'python run.py sql "{query}"'
    address = page.get_by_role("link", name="Raw events").get_attribute("href") or ""
    assert server.get(address)["events"][0]["event_type"] == "towow.demand.understood"


def test_a_real_negotiation_reaches_its_agreement_over_a_kill(page: Page, server: DemandServer, complaints: Complaints) -> None:
    """Submitted in the form, answered by the sample agents, the server killed in the middle: the same page shows the agreed
    plan."""
    complaints.expects_network_errors = True
    page.evaluate("window.isSamePage = true")
    page.fill("#raw-input", REAL)
    page.click("#submit-button")
    expect(stage(page, "offers").locator(".offer")).not_to_have_count(0)
    server.kill()
    page.wait_for_selector('#connection[data-state="reconnecting"]')
    server.start()
    page.wait_for_selector('#connection[data-state="connected"]')
    expect(page.locator("#outcome h3")).to_contain_text("Agreed in round", timeout=60_000)
    demand_id = str(page.evaluate("location.hash")).removeprefix("#")
    told = server.get(f"/api/demand/{demand_id}")
    expect(page.locator("#outcome tbody tr")).to_have_count(len(told["outcome"]["proposal"]["assignments"]))
    expect(stage(page, "offers").locator(".offer")).to_have_count(len(told["offers"]))
    expect(page.locator('#stages > .stage[data-kind="proposal"]')).to_have_count(len(told["proposals"]))
    expect(page.locator(f'[data-demand="{demand_id}"] .badge')).to_have_text("Agreed")
    assert page.evaluate("window.isSamePage") is True
