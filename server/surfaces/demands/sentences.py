"""Sentences of a negotiation in Chinese and English, for people: a proposal, a gap, why it failed.

Everything here is pure and total: what another agent put into the log may be of any type, and is shown on one line and cut
where it is long, or left out. Capabilities are shown in words of the language where the lexicon knows them."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from server.surfaces.demands.understanding import CONCEPTS

MAX_SUMMARY_CHARACTERS = 600

_TEXT_CHARACTERS = 120  # of a demand's one line
_NAME_CHARACTERS = 40
_PARTS_CHARACTERS = 240  # of what the agents of a proposal do; the rest of the list is counted
_NAMES_CHARACTERS = 100  # of a list of capabilities, likewise

_MONEY_ZH = {"CNY": "元", "USD": "美元", "EUR": "欧元", "GBP": "英镑", "JPY": "日元"}


def capability_name(language: str, capability: object) -> str:
    """A capability in words of the language; as it is where the lexicon does not know it."""
    concept = CONCEPTS.get(capability) if isinstance(capability, str) else None
    if concept is None:
        return _line(capability, _NAME_CHARACTERS)
    return (concept.zh if language == "zh" else concept.en).partition("|")[0]


def proposal_summary(
    language: str,
    surface_demand: str,
    assignments: Sequence[Mapping[str, Any]],
    missing: Sequence[str],
    total_price: float | None,
    currency: str | None,
) -> str:
    """Who does what for a demand and at which price, what that is in all, and what is still missing.

    At most `MAX_SUMMARY_CHARACTERS`; prices in the currency of `terms`, else in `currency`."""
    is_zh = language == "zh"
    demand = _line(surface_demand, _TEXT_CHARACTERS).rstrip(".。…")
    parts = [_assignment(language, assignment, currency) for assignment in assignments if isinstance(assignment, Mapping)]
    parts_text = _listed(language, parts, _PARTS_CHARACTERS, separator="；" if is_zh else "; ")
    total = _money(language, total_price, currency)
    lacking = _names(language, missing)
    if is_zh:
        sentences = [
            f"{demand}：{parts_text}。" if parts_text else f"{demand}：还没有人承接。",
            f"合计 {total}。" if total else "",
            f"尚缺：{lacking}。" if lacking else "",
        ]
        return "".join(sentences)
    sentences = [
        f"{demand}: {parts_text}." if parts_text else f"{demand}: nobody takes part yet.",
        f"{total} in all." if total else "",
        f"Still missing: {lacking}." if lacking else "",
    ]
    return " ".join(filter(None, sentences))


def _assignment(language: str, assignment: Mapping[str, Any], currency: str | None) -> str:
    """One agent's part: name (capabilities, price); a part that was agreed in a sub-negotiation says so."""
    name = _line(assignment.get("name"), _NAME_CHARACTERS) or _line(assignment.get("agent_id"), _NAME_CHARACTERS) or "?"
    terms = assignment.get("terms")
    terms = terms if isinstance(terms, Mapping) else {}
    own_currency = terms.get("currency")
    facts = [
        _names(language, assignment.get("capabilities")),
        _money(language, terms.get("price"), own_currency if isinstance(own_currency, str) else currency),
    ]
    if assignment.get("subnet_id"):
        facts.append("子协商" if language == "zh" else "sub-negotiation")
    details = ("，" if language == "zh" else ", ").join(filter(None, facts))
    if not details:
        return name
    return f"{name}（{details}）" if language == "zh" else f"{name} ({details})"


def gap_text(language: str, capability: str, reason: str, needed_by: str | None) -> str:
    """One sentence about a capability that nobody covers: `reason` is no_offer, withdrawn or needed_by."""
    name = capability_name(language, capability)
    agent = _line(needed_by, _NAME_CHARACTERS)
    if language == "zh":
        name = f"「{name}」"
        if reason == "needed_by" and agent:
            return f"{agent} 还需要{name}，目前没有人提供。"
        if reason == "withdrawn":
            return f"承接{name}的代理已退出，需要另找人选。"
        return f"没有代理愿意提供{name}。"
    if reason == "needed_by" and agent:
        return f"{agent} also needs {name}, and nobody offers it yet."
    if reason == "withdrawn":
        return f"The agent for {name} has withdrawn; somebody else is needed."
    return f"Nobody has offered {name}."


def failure_message(language: str, reason: str, **facts: Any) -> str:
    """Why a negotiation failed and what may help: `reason` is its code, an unknown one is named as it is.

    Facts, all optional: rounds, total_price, budget, currency, missing (capabilities), user_id."""
    rounds, currency = facts.get("rounds"), facts.get("currency")
    known = _Facts(
        rounds=rounds if isinstance(rounds, int) and 0 < rounds < 1_000 else 0,
        total=_money(language, facts.get("total_price"), currency),
        budget=_money(language, facts.get("budget"), currency),
        missing=_names(language, facts.get("missing")),
        user=_line(facts.get("user_id"), _NAME_CHARACTERS),
    )
    messages = _failures_zh(known) if language == "zh" else _failures_en(known)
    if reason in messages:
        return messages[reason]
    code = _line(reason, _NAME_CHARACTERS)
    if language == "zh":
        return f"协商失败（{code or '原因不明'}）。请重新提交。"
    return f"The negotiation failed ({code or 'unknown reason'}). Submit it again."


class _Facts(NamedTuple):
    """What is known about a failure, as text; 0 or "" where nothing is."""

    rounds: int
    total: str
    budget: str
    missing: str
    user: str


def _failures_zh(facts: _Facts) -> dict[str, str]:
    after = f"经过 {facts.rounds} 轮，" if facts.rounds else ""
    missing = f"缺少：{facts.missing}。" if facts.missing else ""
    total = f"方案合计 {facts.total}，" if facts.total else "方案的价格"
    budget = f"超出预算 {facts.budget}，" if facts.budget else "超出预算，"
    user = f"用户 {facts.user} " if facts.user else "用户"
    return {
        "no_candidates": f"没有已注册的代理能提供这个需求所要的内容。{missing}请注册能提供的代理，或换一种说法重新提交。",
        "no_offers": f"受邀的代理都没有报价。{missing}请放宽要求，或稍后重新提交。",
        "no_agreement": f"{after}没有代理愿意按方案合作。{missing}请放宽价格、日期或人数后重新提交。",
        "rounds_exhausted": f"{after or '到轮次上限时，'}各方仍未达成一致。{missing}请放宽要求，或增加轮次后重新提交。",
        "over_budget": f"{total}{budget}各方无法再降。请提高预算或减少所需内容。",
        "not_confirmed": f"{user}没有在期限内确认方案。请重新提交，并在期限内答复。",
        "rejected_by_user": f"{user}拒绝了方案。请说明要改变什么，再重新提交。",
        "internal_error": "服务器内部出错，协商无法继续。服务器日志中有原因；请重新提交。",
    }


def _failures_en(facts: _Facts) -> dict[str, str]:
    after = f"After {facts.rounds} round{'' if facts.rounds == 1 else 's'} " if facts.rounds else ""
    missing = f" Missing: {facts.missing}." if facts.missing else ""
    total = f"The proposal costs {facts.total} and is" if facts.total else "The proposal is"
    budget = f"over the budget of {facts.budget}" if facts.budget else "over the budget"
    user = f"The user {facts.user}" if facts.user else "The user"
    return {
        "no_candidates": (
            f"No registered agent offers what this demand asks for.{missing}"
            " Register an agent that does, or say it in other words."
        ),
        "no_offers": f"None of the invited agents made an offer.{missing} Ask for less, or submit it again later.",
        "no_agreement": (
            f"{after + 'no' if after else 'No'} agent would work to the proposal.{missing}"
            " Submit it again with more room in price, date or size."
        ),
        "rounds_exhausted": (
            f"{after or 'At the limit of rounds '}there was still no agreement.{missing}"
            " Ask for less, or allow more rounds, and submit it again."
        ),
        "over_budget": f"{total} {budget}, and nobody could go lower. Raise the budget or ask for less.",
        "not_confirmed": f"{user} did not confirm the proposal in time. Submit it again, and answer before the deadline.",
        "rejected_by_user": f"{user} rejected the proposal. Say what should be different and submit it again.",
        "internal_error": "The server failed and the negotiation cannot go on; its log says why. Submit it again.",
    }


def _names(language: str, capabilities: object) -> str:
    """Capabilities in words of the language, each once, as one list; "" for none."""
    if not isinstance(capabilities, list | tuple):
        return ""
    names = dict.fromkeys(capability_name(language, capability) for capability in capabilities)
    return _listed(language, names, _NAMES_CHARACTERS, separator="、" if language == "zh" else ", ")


def _listed(language: str, parts: Iterable[str], room: int, *, separator: str) -> str:
    """Parts that are not empty, as many as have room (the first always has), and how many more there are."""
    parts = [part for part in parts if part]
    kept: list[str] = []
    for part in parts:
        room -= len(part) + len(separator)
        if room < 0:
            break
        kept.append(part)
    if more := len(parts) - len(kept):
        kept.append(f"另有 {more} 项" if language == "zh" else f"and {more} more")
    return separator.join(kept)


def _money(language: str, amount: object, currency: object) -> str:
    """An amount with its currency, with thousands separated and no more decimals than needed; "" for what is no price."""
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < 1e15:
        return ""
    number = f"{abs(amount):,.2f}".removesuffix(".00")
    unit = _line(currency, 8)
    if language == "zh":
        unit = _MONEY_ZH.get(unit, unit)
    return f"{number} {unit}".rstrip()


def _line(value: object, limit: int) -> str:
    """A text on one line of at most `limit` characters, without control characters; "" for what is no text."""
    if not isinstance(value, str):
        return ""
    plain = "".join(character if unicodedata.category(character)[0] != "C" else " " for character in value[: 8 * limit])
    line = " ".join(plain.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
