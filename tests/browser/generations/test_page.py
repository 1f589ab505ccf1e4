"""The page of the generations in a real browser against a real server process, with a real model's server behind it that writes
as the test says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.browser.generations.writing import WritingServer, answers_after, writes_through
from tests.browser.support import NARROW, Complaints, DemandServer
from tests.browser.test_accessibility import in_every_theme, serious
from tests.support.generations import LOOMI, NOVA, TASKS
from tests.support.tokens import secret_of
from tests.support.upstream import breaks_off, refuses, writes, writes_for_ever

pytestmark = pytest.mark.browser

PROMPT = "Write an invitation to the opening of our bakery"
HOSTILE = "<img src=x onerror=alert(1)> &amp; <script>alert(2)</script>"


@pytest.fixture
def model() -> Iterator[WritingServer]:
    """The model's server."""
    with WritingServer() as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, model: WritingServer, request: pytest.FixtureRequest) -> Iterator[DemandServer]:
    """A server with that model; further settings are the fixture's parameter."""
    settings = {"TOWOW__GENERATIONS__RETRY_DELAY_SECONDS": "0.5", "TOWOW__GENERATIONS__RETRY_BACKOFF": "1.0"}
    environment = {**model.settings, **settings, **getattr(request, "param", {})}
    with DemandServer(tmp_path / "towow.db", environment=environment) as process:
        yield process


WITH_TOKENS = {
    "TOWOW__AUTH__MODE": "token",
    "TOWOW__AUTH__TOKENS": ", ".join(
        f'{{name = "{name}", scopes = {json.dumps(scopes)}, token = "{secret_of(name)}"}}'
        for name, scopes in (("ann", ["read:run:*", "append:run:*"]), ("ben", ["read:session:ben*"]))
    ).join("[]"),
}
without_model = pytest.mark.parametrize("server", [{"TOWOW__LLM__BASE_URL": "", "TOWOW__LLM__LOCAL": "false"}], indirect=True)


def open_page(context: BrowserContext, server: DemandServer, complaints: Complaints, run_id: str = "") -> Page:
    """The page, connected, with a run shown where one is named."""
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/generations.html{f'#{run_id}' if run_id else ''}")
    page.wait_for_selector('#connection[data-state="connected"]')
    return page


def start(page: Page, prompt: str = PROMPT, mode: str = "nova") -> str:
    """Start a run through the form and return its id."""
    before = page.evaluate("location.hash")
    page.fill("#prompt", prompt)
    page.check(f'input[value="{mode}"]')
    page.click("#start")
    page.wait_for_function("before => location.hash !== before", arg=before)
    return str(page.evaluate("location.hash")).removeprefix("#")


def begin(server: DemandServer, prompt: str = PROMPT, mode: str = "nova", **fields: Any) -> str:
    """Start a run beside the page; returns its id."""
    return str(server.post(f"/{mode}chat", {"prompt": prompt, **fields}, Accept="application/json")["run_id"])


def card(page: Page, agent: str) -> Locator:
    """What an agent is shown in."""
    return page.locator(f'.writer[data-agent="{agent}"]')


def text_of(page: Page, agent: str) -> Locator:
    """What an agent has written, as it is shown."""
    return card(page, agent).locator(".writer-text")


def badge(page: Page, agent: str) -> Locator:
    """Where an agent is."""
    return card(page, agent).locator(".badge")


def words(count: int, agent: str) -> str:
    """A text in which a word that is missing or there twice is seen."""
    return " ".join(f"{agent[:2]}{number}" for number in range(count))


def test_four_agents_write_side_by_side_and_their_texts_become_one(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """Each text appears while it is written; one that is ready moves the progress; the result is theirs, and can be copied."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    gates = {agent: model.gate() for agent in NOVA}
    for agent in NOVA:
        model.agent(agent, writes_through(f"{agent} begins", gates[agent], " and ends."))
    page = open_page(context, server, complaints)
    expect(page.locator("#model")).to_contain_text("small, from a server with the OpenAI-compatible API.")
    run_id = start(page)
    for agent in NOVA:
        expect(text_of(page, agent)).to_have_text(f"{agent} begins")
        expect(badge(page, agent)).to_have_text("Writing")
    expect(page.locator("#run-status")).to_have_text("Writing: Insight, Profile, Content and Optimisation.")
    expect(page.locator("#run-title")).to_have_text(PROMPT)
    expect(page.locator("#result")).to_be_hidden()
    tops = [card(page, agent).bounding_box() for agent in NOVA[:2]]
    assert len({box["y"] for box in tops if box}) == 1
    gates["content_agent"].open()
    expect(badge(page, "content_agent")).to_have_text("Finished")
    expect(text_of(page, "content_agent")).to_have_text("content_agent begins and ends.")
    expect(page.locator("#run-progress")).to_have_attribute("value", "25")
    expect(page.locator("#run-status")).to_have_text("Writing: Insight, Profile and Optimisation. 1 of 4 have finished.")
    expect(page).to_have_title("(25 %) Generations — ToWow")
    for gate in gates.values():
        gate.open()
    expect(page.locator("#run-status")).to_have_text("All agents have finished. The result is ready.")
    expect(page.locator("#result .line.title")).to_have_text(["Insight", "Audience", "Content", "Improvements"])
    expect(page.locator("#result-text")).to_contain_text("content_agent begins and ends.")
    expect(page.locator("#result-notes")).to_be_empty()
    expect(page.locator("#cancel-run")).to_be_hidden()
    expect(page).to_have_title("Generations — ToWow")
    expect(page.locator(f'[data-run="{run_id}"]')).to_contain_text("Finished")
    page.click("#copy")
    expect(page.locator("#copied")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == server.get(f"/api/runs/{run_id}")["result"]


def test_the_stages_of_loomi_write_one_after_another_and_the_last_text_is_the_result(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """Who waits for a stage says so; each is given what came before."""
    gate = model.gate()
    for agent in LOOMI:
        model.agent(agent, writes(f"Text of {agent}."))
    model.agent(LOOMI[1], writes_through("The plan", gate, " is made."))
    page = open_page(context, server, complaints)
    start(page, mode="loomi")
    expect(badge(page, LOOMI[0])).to_have_text("Finished")
    expect(text_of(page, LOOMI[1])).to_have_text("The plan")
    expect(card(page, LOOMI[2])).to_contain_text("Waits for the stage before it.")
    gate.open()
    expect(page.locator("#result-text")).to_have_text("Text of content_optimizer.")
    expect(page.locator(".stage-number")).to_have_text(["1", "2", "3", "4"])
    assert "The plan is made." in model.upstream.asked_about(TASKS["content_generator"])[0].text


def test_a_refresh_in_mid_generation_loses_and_doubles_nothing(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """The address names the run; after each refresh the texts go on where they were, and at the end every word is there
    once."""
    for agent in NOVA:
        model.agent(agent, writes_through(words(300, agent), rate=80))
    page = open_page(context, server, complaints)
    run_id = start(page)
    for number in (20, 80, 150):
        for agent in NOVA:
            expect(text_of(page, agent)).to_contain_text(f"{agent[:2]}{number} ", timeout=20_000)
        page.reload()
        expect(page.locator("#run-title")).to_have_text(PROMPT)
    for agent in NOVA:
        expect(badge(page, agent)).to_have_text("Finished", timeout=30_000)
        assert text_of(page, agent).inner_text().split() == words(300, agent).split()
    assert page.evaluate("location.hash") == f"#{run_id}"
    assert len(model.upstream.asked) == 4


def test_the_connection_may_break_in_mid_generation(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """The run goes on without the page; what was written meanwhile is added once."""
    complaints.expects_network_errors = True
    gate = model.gate()
    for agent in NOVA:
        model.agent(agent, writes_through(words(10, agent), gate, f" {words(90, agent)}"))
    page = open_page(context, server, complaints)
    run_id = start(page)
    for agent in NOVA:
        expect(text_of(page, agent)).to_contain_text(f"{agent[:2]}9")
    context.set_offline(True)
    page.wait_for_selector('#connection[data-state="offline"]')
    gate.open()
    context.set_offline(False)
    expect(page.locator("#result")).to_be_visible()
    for agent in NOVA:
        assert text_of(page, agent).inner_text().split() == words(10, agent).split() + words(90, agent).split()
    assert server.get(f"/api/runs/{run_id}")["status"] == "completed"


def test_cancel_stops_the_agents_and_what_they_had_written_stays(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """Also in another tab, and the model is told to stop."""
    model.upstream.otherwise(writes_for_ever(" on"))
    page = open_page(context, server, complaints)
    run_id = start(page)
    for agent in NOVA:
        expect(text_of(page, agent)).to_contain_text("on on on")
    other = open_page(context, server, complaints, run_id)
    expect(badge(other, NOVA[0])).to_have_text("Writing")
    page.click("#cancel-run")
    for each in (page, other):
        expect(each.locator("#run-status")).to_have_text("The run was cancelled.")
        expect(each.locator("#run-end")).to_contain_text("Somebody cancelled it.")
        expect(each.locator("#cancel-run")).to_be_hidden()
        for agent in NOVA:
            expect(badge(each, agent)).to_have_text("Stopped")
            expect(text_of(each, agent)).to_contain_text("on on on")
        expect(each.locator(f'[data-run="{run_id}"]')).to_contain_text("Cancelled")
        expect(each.locator("#connection")).to_have_text("Live")
    assert server.get(f"/api/runs/{run_id}")["status"] == "cancelled"


def test_an_agent_whose_model_fails_shows_it_and_the_result_is_a_partial_one(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """Its text is discarded where that is said; each retry is seen, with its reason; the result says what it lacks."""
    gates = [model.gate(), model.gate()]
    for agent in NOVA:
        model.agent(agent, writes(f"Text of {agent}."))
    model.agent(
        "profile_agent", breaks_off("lost words"), answers_after(gates[0], refuses(503)), answers_after(gates[1], refuses(503))
    )
    page = open_page(context, server, complaints)
    start(page)
    expect(badge(page, "profile_agent")).to_have_text("Trying again")
    trouble = card(page, "profile_agent").locator(".trouble")
    expect(trouble).to_contain_text("The connection to the model broke.")
    expect(trouble).to_contain_text("Attempt 2 is under way")
    expect(text_of(page, "profile_agent")).to_have_text("")
    expect(page.locator("#run-status")).to_have_text("Trying again: Profile. 3 of 4 have finished.")
    gates[0].open()
    expect(trouble).to_contain_text("The model refused with status 503.")
    expect(trouble).to_contain_text("Attempt 3 is under way")
    page.reload()
    expect(trouble).to_contain_text("The model refused with status 503.")
    expect(trouble).to_contain_text("Attempt 3 is under way")
    gates[1].open()
    expect(badge(page, "profile_agent")).to_have_text("Failed")
    expect(trouble).to_have_text("The model refused with status 503.")
    expect(page.locator("#run-status")).to_have_text("The result is ready, without what Profile should have written.")
    expect(page.locator("#result-notes")).to_contain_text("Partial: Profile could not write its part")
    expect(page.locator("#result .line.title")).to_have_text(["Insight", "Content", "Improvements"])
    expect(page.locator("#run-facts")).to_contain_text("Partly finished")
    expect(page.locator("#past-list .badge")).to_have_text("Partly finished")
    page.click("#language")
    expect(trouble).to_have_text("模型拒绝了请求（状态 503）。")


def test_a_run_in_which_everybody_fails_says_so(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """No result, a reason, and each agent's own."""
    model.upstream.otherwise(refuses(401))
    page = open_page(context, server, complaints)
    start(page)
    expect(page.locator("#run-status")).to_have_text("The run has failed.")
    expect(page.locator("#run-end")).to_have_text("None of the agents could write its part.")
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator(".writer .trouble:visible")).to_have_text(["The model refused with status 401."] * 4)


def test_a_killed_server_leaves_an_interrupted_run_and_the_page_hears_of_it(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """Without a reload; what had been written is still there."""
    complaints.expects_network_errors = True
    gate = model.gate()
    model.upstream.otherwise(writes_through("It begins", gate))
    page = open_page(context, server, complaints)
    start(page)
    for agent in NOVA:
        expect(text_of(page, agent)).to_have_text("It begins")
    server.kill()
    page.wait_for_selector('#connection[data-state="reconnecting"]')
    server.start()
    expect(page.locator("#run-end")).to_have_text("The server stopped while the agents were writing.")
    for agent in NOVA:
        expect(badge(page, agent)).to_have_text("Stopped")
        expect(text_of(page, agent)).to_have_text("It begins")
    page.wait_for_selector('#connection[data-state="connected"]')


@without_model
def test_without_a_model_a_template_answers_and_the_page_says_how_to_get_one(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Beside the form, at each agent, and at the result; in both languages."""
    page = open_page(context, server, complaints)
    expect(page.locator("#model")).to_contain_text("None: a template answers.")
    expect(page.locator("#model")).to_contain_text("pip install '.[local-llm]'")
    expect(page.locator("#model")).to_contain_text("[llm] base_url")
    start(page)
    expect(page.locator("#result-notes")).to_have_text("Written from a template, by no language model.")
    expect(page.locator(".writer .marker")).to_have_text(["Template"] * 4)
    page.click("#language")
    expect(page.locator("#model")).to_contain_text("由模板作答")
    expect(page.locator("#result-notes")).to_have_text("由模板写成，没有使用语言模型。")
    expect(badge(page, "insight_agent")).to_have_text("已完成")


@without_model
def test_a_model_that_is_being_fetched_is_asked_after_until_it_is_ready(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """The server's own words are shown while there is something to say, and gone afterwards."""
    local = {"kind": "local", "name": "a-small-model", "status": "fetching", "hint": "The file is being fetched: 40 %."}

    def with_model(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "model": local})

    context.route("**/api/runs?limit=20", with_model)
    answers = [{**local, "hint": "90 %."}, {**local, "status": "ready", "hint": ""}]
    context.route("**/api/model", lambda route: route.fulfill(json=answers.pop(0)))
    page = open_page(context, server, complaints)
    expect(page.locator("#model")).to_contain_text("a-small-model is being fetched. Until then a template answers.")
    expect(page.locator("#model")).to_contain_text("40 %.")
    expect(page.locator("#model")).to_contain_text("90 %.", timeout=10_000)
    expect(page.locator("#model")).to_have_text("Model a-small-model, in the server itself.", timeout=10_000)
    assert answers == []


@without_model
def test_earlier_runs_are_listed_page_by_page_and_others_appear_by_themselves(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Newest first, each once; a link shows its run, whole."""
    for number in range(23):
        begin(server, f"prompt {number}", "loomi" if number % 2 else "nova")
    page = open_page(context, server, complaints)
    rows = page.locator("#past-list li")
    expect(rows).to_have_count(20)
    expect(rows.first).to_contain_text("prompt 22")
    page.click("#past-older")
    expect(rows).to_have_count(23)
    expect(page.locator("#past-older")).to_be_hidden()
    assert [re.search(r"prompt (\d+)", text)[1] for text in rows.all_inner_texts()] == [str(n) for n in range(22, -1, -1)]
    begin(server, "one beside the page")
    expect(rows).to_have_count(24)
    expect(rows.first).to_contain_text("one beside the page")
    expect(rows.first.locator(".badge")).to_have_text("Finished")
    rows.nth(21).locator("a").click()
    expect(page.locator("#run-title")).to_have_text("prompt 2")
    expect(page.locator("#run-more")).to_be_hidden()
    expect(page.locator("#result")).to_be_visible()
    expect(rows.nth(21).locator("a")).to_have_attribute("aria-current", "true")
    page.go_back()
    expect(page.locator("#run-none")).to_contain_text("Watch agents write")


@without_model
def test_a_run_goes_on_from_the_last_result_of_this_browser_unless_told_not_to(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Also after a refresh; another session begins where the tick is taken away."""
    page = open_page(context, server, complaints)
    expect(page.locator("#continue-line")).to_be_hidden()
    first = start(page)
    expect(page.locator("#result")).to_be_visible()
    assert server.get(f"/api/runs/{first}")["continues"] is None
    page.reload()
    expect(page.locator("#continue-line")).to_be_visible()
    second = start(page, "make it shorter")
    expect(page.locator("#run-facts a")).to_have_attribute("href", f"#{first}")
    expect(page.locator("#result")).to_be_visible()
    page.uncheck("#continue")
    third = start(page, "something else")
    expect(page.locator("#result")).to_be_visible()
    runs = {run: server.get(f"/api/runs/{run}") for run in (first, second, third)}
    assert [runs[run]["continues"] for run in runs] == [None, first, None]
    assert runs[first]["session_id"] == runs[second]["session_id"] != runs[third]["session_id"]


@pytest.mark.parametrize(
    "server", [{"TOWOW__LLM__BASE_URL": "", "TOWOW__GENERATIONS__SESSION_STATE_SECONDS": "0.2"}], indirect=True
)
def test_nothing_is_promised_to_go_on_that_the_server_has_forgotten(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """After the session's state has expired the next run stands alone, in a session of its own."""
    complaints.expected_statuses = {410}
    page = open_page(context, server, complaints)
    first = start(page)
    expect(page.locator("#result")).to_be_visible()
    session_id = server.get(f"/api/runs/{first}")["session_id"]
    page.wait_for_function("id => fetch(`/api/sessions/${id}/state`).then((answer) => answer.status === 410)", arg=session_id)
    with page.expect_response(re.compile(f"/api/sessions/{session_id}/state")) as answered:
        page.reload()
    assert answered.value.status == 410
    expect(page.locator("#continue-line")).to_be_hidden()
    second = start(page)
    expect(page.locator("#result")).to_be_visible()
    assert server.get(f"/api/runs/{second}")["session_id"] != session_id


@without_model
def test_the_form_says_what_is_wrong_and_keeps_the_text(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Nothing is sent without a text; a refusal is told beside it; an example fills the field, and the mode is remembered."""
    complaints.expected_statuses = {429}
    page = open_page(context, server, complaints)
    page.click("#start")
    expect(page.locator("#compose-message")).to_have_text("Write what you need first.")
    expect(page.locator("#prompt")).to_be_focused()
    page.locator("#examples button").first.click()
    expect(page.locator("#prompt")).to_have_value("Write a launch text for a smart water bottle for commuters")
    page.route(
        "**/novachat", lambda route: route.fulfill(status=429, json={"error": {"code": "too_many_requests", "message": "x"}})
    )
    page.keyboard.press("Control+Enter")
    expect(page.locator("#compose-message")).to_contain_text("Try again in a moment.")
    expect(page.locator("#prompt")).to_have_value("Write a launch text for a smart water bottle for commuters")
    page.check('input[value="loomi"]')
    page.reload()
    expect(page.locator('input[value="loomi"]')).to_be_checked()


@pytest.mark.parametrize("server", [WITH_TOKENS], indirect=True)
def test_the_page_of_the_generations_works_as_far_as_a_login_reaches(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """Who may read no session starts runs that stand alone; who may neither list nor start is told so."""
    complaints.expected_statuses = {403}
    page = context.new_page()
    complaints.watch(page)
    page.goto(f"{server.url}/generations.html")
    for name, asked in (("ann", True), ("ben", False)):
        page.fill("#login-token", secret_of(name))
        page.press("#login-token", "Enter")
        expect(page.locator("#login")).to_be_hidden()
        page.fill("#prompt", PROMPT)
        page.click("#start")
        if asked:
            expect(page.locator("#result")).to_be_visible()
            expect(page.locator("#past-list li")).to_have_count(1)
            page.click("#account-open")
            page.click("#logout")
            expect(page.locator("#login")).to_be_visible()
        else:
            expect(page.locator("#compose-message")).to_have_text("Your login does not allow you to start runs.")
            expect(page.locator("#past-state")).to_contain_text("does not allow you to list all runs")


def test_a_run_that_is_none_is_said_to_be_missing(
    context: BrowserContext, server: DemandServer, complaints: Complaints
) -> None:
    """And the page goes on with the next one that is chosen."""
    complaints.expects_missing = True
    page = open_page(context, server, complaints, "r-0123456789abcdef")
    expect(page.locator("#run-none")).to_contain_text("There is no run r-0123456789abcdef")
    start(page)
    expect(page.locator("#result")).to_be_visible()


def test_what_agents_write_is_shown_as_text(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """Markup stays what it is; headings, points and bold words look like what they are."""
    model.upstream.otherwise(writes([f"# Title {HOSTILE}\n\n- a **bold", "** point\n1. ", f"{HOSTILE} ** not bold\n"]))
    page = open_page(context, server, complaints)
    start(page, HOSTILE)
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#run-title")).to_have_text(HOSTILE)
    lines = text_of(page, "content_agent").locator(".line")
    expect(lines.nth(0)).to_have_text(f"Title {HOSTILE}")
    expect(lines.nth(2)).to_have_text("a bold point")
    expect(lines.nth(2).locator("strong")).to_have_text("bold")
    expect(lines.nth(3)).to_have_text(f"1. {HOSTILE} ** not bold")
    assert page.locator("main img, main script").count() == 0


def test_streaming_text_is_outside_of_all_live_regions(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """A screen reader hears when agents begin and end, not each of their words: the one status changes only then."""
    gate = model.gate()
    for agent in NOVA:
        model.agent(agent, writes_through(words(60, agent), gate, " end", rate=200))
    page = open_page(context, server, complaints)
    start(page)
    expect(page.locator("#run-status")).to_contain_text("Optimisation")
    page.evaluate(
        """() => {
            window.said = [];
            const region = document.querySelector("#run-status");
            const changes = { childList: true, characterData: true, subtree: true };
            new MutationObserver(() => said.push(region.textContent)).observe(region, changes);
        }"""
    )
    for agent in NOVA:
        expect(text_of(page, agent)).to_contain_text(f"{agent[:2]}59")
    assert page.evaluate("said") == []
    live = "[role=status], [role=alert], [role=log], [aria-live=polite], [aria-live=assertive]"
    assert (
        page.evaluate("live => [...document.querySelectorAll('.prose')].filter((text) => text.closest(live)).length", live) == 0
    )
    assert page.evaluate("live => document.querySelectorAll(live).length", f".writer :is({live})") == 0
    gate.open()
    expect(page.locator("#run-status")).to_contain_text("The result is ready.")


@pytest.mark.parametrize("context", [{**NARROW, "locale": "zh-CN"}], indirect=True)
def test_on_a_phone_the_agents_are_stacked_and_one_is_open(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """The one that writes is open by itself; the reader's choice counts from then on; nothing is wider than the screen."""
    gate = model.gate()
    model.upstream.otherwise(writes_through("正文开始 " + "很长的一段文字，" * 40, gate, "正文结束"))
    page = open_page(context, server, complaints)
    expect(page.locator("h1")).to_have_text("要写什么？")
    start(page, "写一封邀请信。" * 50)
    page.locator("#run-more").tap()
    expect(page.locator("#run-more")).to_have_text("收起")
    opened = page.locator('.writer-toggle[aria-expanded="true"]')
    expect(opened).to_have_count(1)
    expect(opened).to_have_text("洞察")
    expect(text_of(page, "insight_agent")).to_contain_text("正文开始")
    expect(page.locator(".writer-text:visible")).to_have_count(1)
    card(page, "content_agent").locator("button").tap()
    expect(opened).to_have_text("内容")
    expect(text_of(page, "content_agent")).to_contain_text("正文开始")
    expect(page.locator(".writer-text:visible")).to_have_count(1)
    boxes = [card(page, agent).bounding_box() for agent in NOVA]
    assert len({box["x"] for box in boxes if box}) == 1
    gate.open()
    expect(page.locator("#run-status")).to_have_text("所有智能体均已完成，结果已就绪。")
    expect(opened).to_have_text("内容")
    card(page, "content_agent").locator("button").tap()
    expect(opened).to_have_count(0)
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], widths


@in_every_theme
def test_axe_finds_nothing_serious_on_the_page_of_the_generations(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """Empty, while agents write and one tries again, with a partial result, and after a failure."""
    gate = model.gate()
    for agent in NOVA:
        model.agent(agent, writes_through("# Title\n\n- a point\n", gate, "and more"))
    model.agent("content_agent", refuses(503), answers_after(gate, refuses(400)))
    page = open_page(context, server, complaints)
    assert serious(page) == []
    start(page)
    expect(badge(page, "content_agent")).to_have_text(re.compile("Trying again|重试中"))
    assert serious(page) == []
    gate.open()
    expect(page.locator("#result")).to_be_visible()
    assert serious(page) == []
    for agent in NOVA:
        model.agent(agent, refuses(400))
    start(page)
    expect(page.locator("#run-end .run-end")).to_be_visible()
    assert serious(page) == []


def test_the_page_of_the_generations_can_be_used_with_the_keyboard_alone(
    context: BrowserContext, server: DemandServer, complaints: Complaints, model: WritingServer
) -> None:
    """From the skip link over the form, the result and the agents' texts to the list, with a visible mark on what has the
    focus."""
    for agent in NOVA:
        model.agent(agent, writes("A text."))
    page = open_page(context, server, complaints)
    page.focus("#prompt")
    page.keyboard.type(PROMPT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#result")).to_be_visible()
    page.focus("#skip")
    seen = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        mark = page.evaluate(
            """() => {
                const active = document.activeElement;
                const style = getComputedStyle(active.type === "radio" ? active.closest("label") : active);
                const name = active.id || active.name || active.getAttribute("href") || active.className || active.tagName;
                return [name, style.outlineStyle !== "none"];
            }"""
        )
        assert mark[1] or mark[0] == "BODY", mark
        seen.add(mark[0])
    wanted = {"/tasks.html", "language", "theme", "prompt", "mode", "continue", "start", "copy", "prose writer-text"}
    assert wanted <= seen, wanted - seen
    assert page.locator("#past-list a").first.get_attribute("href") in seen
