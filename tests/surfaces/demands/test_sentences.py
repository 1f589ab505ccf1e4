"""Sentences of a negotiation: proposals, gaps and failures in both languages, from any payload."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.surfaces.demands.sentences import (
    MAX_SUMMARY_CHARACTERS,
    capability_name,
    failure_message,
    gap_text,
    proposal_summary,
)

BOB = {"agent_id": "bob", "name": "Bob", "capabilities": ["venue", "catering"], "terms": {"price": 3000, "currency": "CNY"}}
ANN = {"agent_id": "ann", "name": "Ann", "capabilities": ["养蜂"], "terms": {"price": 99.5}, "subnet_id": None}
TEAM = {"agent_id": "team", "name": "", "capabilities": ["photography"], "terms": {}, "subnet_id": "d-1.1"}


@pytest.mark.parametrize(
    ("language", "capability", "name"),
    [
        pytest.param("zh", "venue", "场地", id="known, Chinese"),
        pytest.param("en", "venue", "venue", id="known, English"),
        pytest.param("en", "technical_talk", "technical talk", id="no underscores for people"),
        pytest.param("zh", "technical_talk", "技术分享", id="first term"),
        pytest.param("zh", "beekeeping", "beekeeping", id="unknown"),
        pytest.param("en", "养蜂", "养蜂", id="unknown in the other language"),
        pytest.param("fr", "venue", "venue", id="another language"),
        pytest.param("en", " a\n b\x00\u202e ", "a b", id="one line"),
        pytest.param("en", "b" * 50, "b" * 39 + "…", id="long"),
        pytest.param("en", None, "", id="none"),
        pytest.param("en", ["venue"], "", id="a list"),
    ],
)
def test_a_capability_is_named_in_the_language(language, capability, name):
    """The first term of a concept; what is unknown is shown as it is, on one line."""
    assert capability_name(language, capability) == name


@pytest.mark.parametrize(
    ("language", "arguments", "text"),
    [
        pytest.param(
            "zh",
            ("北京50人聚会", [BOB, ANN], ["photography"], 3099.5, "CNY"),
            "北京50人聚会：Bob（场地、餐饮，3,000 元）；Ann（养蜂，99.50 元）。合计 3,099.50 元。尚缺：摄影。",
            id="Chinese",
        ),
        pytest.param(
            "en",
            ("A party for 50.", [BOB, ANN], ["photography", "host_mc"], 3099.5, "CNY"),
            "A party for 50: Bob (venue, catering, 3,000 CNY); Ann (养蜂, 99.50 CNY). 3,099.50 CNY in all. "
            "Still missing: photography, emcee.",
            id="English",
        ),
        ("zh", ("聚会", [TEAM], [], None, None), "聚会：team（摄影，子协商）。"),
        ("en", ("Party", [TEAM], [], None, None), "Party: team (photography, sub-negotiation)."),
        pytest.param("zh", ("聚会", [], ["venue"], None, "CNY"), "聚会：还没有人承接。尚缺：场地。", id="nobody, Chinese"),
        ("en", ("Party", [], ["venue"], None, None), "Party: nobody takes part yet. Still missing: venue."),
        pytest.param("en", ("Party", [{"name": "Bob"}], [], 0, None), "Party: Bob. 0 in all.", id="free, without a currency"),
        pytest.param(
            "en",
            ("Party", [{"name": "Bob", "terms": {"price": 5, "currency": "USD"}}], [], 40, "CNY"),
            "Party: Bob (5 USD). 40 CNY in all.",
            id="each in its currency",
        ),
        pytest.param(
            "zh",
            ("聚会", [{"name": name} for name in "ABCDE"], ["venue"], 10**9, "JPY"),
            "聚会：A；B；C；D；E。合计 1,000,000,000 日元。尚缺：场地。",
            id="thousands",
        ),
        ("en", ("Party", [None, "Bob", {"name": 3, "capabilities": "venue", "terms": []}], [], float("nan"), 5), "Party: ?."),
        pytest.param(
            "en",
            ("Party", [{"name": "Bob", "terms": {"price": price}} for price in (True, "9", -1, 10**400, 1e15)], [], -1, "USD"),
            "Party: Bob; Bob; Bob; Bob; Bob.",
            id="no prices",
        ),
        pytest.param("en", ("Party", [], ["venue", "venue", "", None], None, None), None, id="each once"),
    ],
)
def test_a_proposal_says_who_does_what_for_how_much(language, arguments, text):
    """Demand, parts with capabilities and price, the total, and what is missing."""
    assert proposal_summary(language, *arguments) == (text or "Party: nobody takes part yet. Still missing: venue.")


def test_a_long_proposal_counts_the_rest():
    """What has no room in a list is counted."""
    many = [{"name": f"Agent number {n}", "capabilities": ["venue"]} for n in range(50)]
    missing = [f"something rare {n}" for n in range(30)]
    text = proposal_summary("en", "d" * 500, many, missing, 1.0, "USD")
    assert "Agent number 0 (venue); " in text
    assert "; and 40 more. 1 USD in all. Still missing: something rare 0, " in text
    assert text.endswith("and 25 more.")
    assert "；另有 " in proposal_summary("zh", "d", many, missing, 1.0, "USD")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=10,
)
PART = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("agent_id", "name", "capabilities", "terms", "subnet_id"), JSON) | {"name": st.text()}
)


@given(st.sampled_from(["zh", "en"]), st.text(max_size=300), st.lists(PART | JSON, max_size=50), st.lists(JSON), JSON, JSON)
def test_a_proposal_of_anything_is_one_short_line(language, demand, assignments, missing, total, currency):
    """Whatever was put into the log, the summary is text on one line and not longer than it may be."""
    text = proposal_summary(language, demand, assignments, missing, total, currency)
    assert 0 < len(text) <= MAX_SUMMARY_CHARACTERS
    assert not [character for character in text if character < " " or "\x7f" <= character <= "\x9f"]


@pytest.mark.parametrize(
    ("language", "reason", "needed_by", "text"),
    [
        ("zh", "no_offer", None, "没有代理愿意提供「场地」。"),
        ("zh", "withdrawn", None, "承接「场地」的代理已退出，需要另找人选。"),
        ("zh", "needed_by", "Bob", "Bob 还需要「场地」，目前没有人提供。"),
        ("zh", "needed_by", None, "没有代理愿意提供「场地」。"),
        ("zh", "other", "Bob", "没有代理愿意提供「场地」。"),
        ("en", "no_offer", None, "Nobody has offered venue."),
        ("en", "withdrawn", None, "The agent for venue has withdrawn; somebody else is needed."),
        ("en", "needed_by", "Bob", "Bob also needs venue, and nobody offers it yet."),
        ("en", "needed_by", "", "Nobody has offered venue."),
        ("en", "other", "Bob", "Nobody has offered venue."),
    ],
)
def test_a_gap_says_what_is_missing_and_why(language, reason, needed_by, text):
    """One sentence for each reason."""
    assert gap_text(language, "venue", reason, needed_by) == text


FACTS = {"rounds": 5, "total_price": 5000, "budget": 4000.0, "currency": "CNY", "missing": ["venue", "养蜂"], "user_id": "bob"}
# reason: (language, with all facts, with none)
FAILURES = {
    ("zh", "no_candidates"): (
        "没有已注册的代理能提供这个需求所要的内容。缺少：场地、养蜂。请注册能提供的代理，或换一种说法重新提交。",
        "没有已注册的代理能提供这个需求所要的内容。请注册能提供的代理，或换一种说法重新提交。",
    ),
    ("zh", "no_offers"): (
        "受邀的代理都没有报价。缺少：场地、养蜂。请放宽要求，或稍后重新提交。",
        "受邀的代理都没有报价。请放宽要求，或稍后重新提交。",
    ),
    ("zh", "no_agreement"): (
        "经过 5 轮，没有代理愿意按方案合作。缺少：场地、养蜂。请放宽价格、日期或人数后重新提交。",
        "没有代理愿意按方案合作。请放宽价格、日期或人数后重新提交。",
    ),
    ("zh", "rounds_exhausted"): (
        "经过 5 轮，各方仍未达成一致。缺少：场地、养蜂。请放宽要求，或增加轮次后重新提交。",
        "到轮次上限时，各方仍未达成一致。请放宽要求，或增加轮次后重新提交。",
    ),
    ("zh", "over_budget"): (
        "方案合计 5,000 元，超出预算 4,000 元，各方无法再降。请提高预算或减少所需内容。",
        "方案的价格超出预算，各方无法再降。请提高预算或减少所需内容。",
    ),
    ("zh", "not_confirmed"): (
        "用户 bob 没有在期限内确认方案。请重新提交，并在期限内答复。",
        "用户没有在期限内确认方案。请重新提交，并在期限内答复。",
    ),
    ("zh", "rejected_by_user"): (
        "用户 bob 拒绝了方案。请说明要改变什么，再重新提交。",
        "用户拒绝了方案。请说明要改变什么，再重新提交。",
    ),
    ("zh", "internal_error"): ("服务器内部出错，协商无法继续。服务器日志中有原因；请重新提交。",) * 2,
    ("zh", "lost\nkeys"): ("协商失败（lost keys）。请重新提交。",) * 2,
    ("zh", ""): ("协商失败（原因不明）。请重新提交。",) * 2,
    ("en", "no_candidates"): (
        "No registered agent offers what this demand asks for. Missing: venue, 养蜂. "
        "Register an agent that does, or say it in other words.",
        "No registered agent offers what this demand asks for. Register an agent that does, or say it in other words.",
    ),
    ("en", "no_offers"): (
        "None of the invited agents made an offer. Missing: venue, 养蜂. Ask for less, or submit it again later.",
        "None of the invited agents made an offer. Ask for less, or submit it again later.",
    ),
    ("en", "no_agreement"): (
        "After 5 rounds no agent would work to the proposal. Missing: venue, 养蜂. "
        "Submit it again with more room in price, date or size.",
        "No agent would work to the proposal. Submit it again with more room in price, date or size.",
    ),
    ("en", "rounds_exhausted"): (
        "After 5 rounds there was still no agreement. Missing: venue, 养蜂. "
        "Ask for less, or allow more rounds, and submit it again.",
        "At the limit of rounds there was still no agreement. Ask for less, or allow more rounds, and submit it again.",
    ),
    ("en", "over_budget"): (
        "The proposal costs 5,000 CNY and is over the budget of 4,000 CNY, and nobody could go lower. "
        "Raise the budget or ask for less.",
        "The proposal is over the budget, and nobody could go lower. Raise the budget or ask for less.",
    ),
    ("en", "not_confirmed"): (
        "The user bob did not confirm the proposal in time. Submit it again, and answer before the deadline.",
        "The user did not confirm the proposal in time. Submit it again, and answer before the deadline.",
    ),
    ("en", "rejected_by_user"): (
        "The user bob rejected the proposal. Say what should be different and submit it again.",
        "The user rejected the proposal. Say what should be different and submit it again.",
    ),
    ("en", "internal_error"): ("The server failed and the negotiation cannot go on; its log says why. Submit it again.",) * 2,
    ("en", "lost\nkeys"): ("The negotiation failed (lost keys). Submit it again.",) * 2,
    ("en", ""): ("The negotiation failed (unknown reason). Submit it again.",) * 2,
}


@pytest.mark.parametrize(("language", "reason"), FAILURES)
def test_a_failure_says_why_and_what_may_help(language, reason):
    """Every reason has its sentences in both languages, with the facts that are known."""
    assert (failure_message(language, reason, **FACTS), failure_message(language, reason)) == FAILURES[language, reason]


def test_rounds_are_counted():
    """One is not many, and what nobody can have counted is left out."""
    for rounds in (0, -1, 2.5, "5", 10**5_000):
        assert failure_message("en", "no_agreement", rounds=rounds).startswith("No agent would")
    assert failure_message("en", "no_agreement", rounds=1).startswith("After 1 round no agent")


@given(st.sampled_from(list(FAILURES)), st.dictionaries(st.sampled_from(list(FACTS)), JSON))
def test_a_failure_with_any_facts_is_one_short_line(which, facts):
    """Facts of the wrong type are left out."""
    text = failure_message(*which, **facts)
    assert 0 < len(text) <= MAX_SUMMARY_CHARACTERS
    assert "\n" not in text
