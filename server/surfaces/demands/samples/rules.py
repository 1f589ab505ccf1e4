"""How the sample agents answer: an offer or a polite no to an invitation, and what each says to a proposal.

Pure and deterministic: everything follows from the payloads and from `POLICIES`. A value of the wrong type in a payload
counts as absent. No agent revises for ever: it asks once for its condition, names
its lowest price when less is proposed, and after two revisions it accepts or rejects."""

from collections.abc import Iterator, Mapping
from datetime import date
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from server.http.payloads import object_in, text_in
from server.surfaces.demands.commands import OfferDraft
from server.surfaces.demands.matching import concepts_of
from server.surfaces.demands.samples.agents import POLICIES, SAMPLE_AGENTS, AgentPolicy, Bilingual, SampleAgent
from server.surfaces.demands.sentences import capability_name
from server.surfaces.demands.understanding import CONCEPTS, IS_HAN, MAX_BUDGET, MAX_PEOPLE, Language

Decision = Literal["accept", "revise", "reject"]

MAX_REVISIONS = 2  # of one agent in one negotiation

_USUAL_PEOPLE = 20  # when a demand does not say
_AGENTS: dict[str, SampleAgent] = {agent["agent_id"]: agent for agent in SAMPLE_AGENTS}


class InvitationDeclined(NamedTuple):
    """A no to an invitation, with a reason for people."""

    reason: str


class ProposalAnswer(NamedTuple):
    """An answer to a proposal: what `POST /api/demand/{demand_id}/feedback` takes. Only a revision may have terms."""

    decision: Decision
    comment: str
    terms: dict[str, Any] | None = None


class _Job(NamedTuple):
    """The demand as far as it is known, and the language of its answers."""

    language: Language
    people: int | None
    day: date | None


def delay_factor(demand_id: str, agent_id: str, round: int) -> float:
    """How long an agent takes for an answer, 0.6 to 2.0, mostly little; always the same for the same question."""
    digest = blake2b(f"{demand_id}\n{agent_id}\n{round}".encode("utf-8", "replace"), digest_size=4).digest()
    share = int.from_bytes(digest) / 0xFFFF_FFFF
    return 0.6 + 1.4 * share * share


# Prices.

# Round factors, not rates of a day: the prices are examples, and must be the same after a restart.
UNITS_PER_DOLLAR = {"USD": 1.0, "EUR": 0.9, "GBP": 0.8, "CNY": 7.0, "JPY": 150.0}
_SMALLEST_STEP = {"USD": 1, "EUR": 1, "GBP": 1, "CNY": 10, "JPY": 100}


def list_price(limits: AgentPolicy, people: int | None, currency: str) -> int:
    """What an agent asks for, as a round number; for the usual number of people when none is known."""
    dollars = limits.price + limits.per_person * (people if people is not None else _usual_people(limits))
    return _friendly(dollars * UNITS_PER_DOLLAR[currency], currency)


def _usual_people(limits: AgentPolicy) -> int:
    return min(max(_USUAL_PEOPLE, limits.smallest), limits.largest or MAX_PEOPLE)


def lowest_price(limits: AgentPolicy, people: int | None, currency: str) -> int:
    """The least that an agent accepts, as a round number; never more than its list price."""
    listed = list_price(limits, people, currency)
    return min(listed, _friendly(listed * limits.lowest_share, currency))


def _friendly(amount: float, currency: str) -> int:
    """The nearest number with zeros or a five after its first two digits."""
    digits = len(str(int(amount)))
    step = max(_SMALLEST_STEP[currency], 5 * int(10 ** (digits - 3)) if digits > 2 else 1)
    return max(1, round(amount / step)) * step


# Invitations.


def answer_invitation(invitation: Mapping[str, Any]) -> OfferDraft | InvitationDeclined | None:
    """What the invited agent answers to `towow.demand.broadcast`; None when it is no sample agent."""
    agent = _AGENTS.get(text_in(invitation, "agent_id"))
    if agent is None:
        return None
    limits = POLICIES[agent["agent_id"]]
    requirements = object_in(invitation, "requirements")
    job = _job(_language_of(invitation), requirements)
    capabilities = _offered(agent, invitation, job.language)
    if not capabilities:
        return InvitationDeclined(_say(job, "抱歉，这不是我能做的事。", "Sorry, that is not what I do."))
    if objection := _objection(limits, job):
        return InvitationDeclined(objection)
    currency = _currency(job.language, requirements)
    price = list_price(limits, job.people, currency)
    requested = frozenset(name for names in _requested(invitation) for name in names)
    needs = [
        capability_name(job.language, need.capability)
        for need in limits.needs
        if job.people is not None and job.people >= need.from_people and need.capability not in requested
    ]
    terms: dict[str, Any] = {"price": price, "currency": currency}
    if job.people is not None:
        terms["people"] = job.people
    if job.day is not None:
        terms["date"] = job.day.isoformat()
    return OfferDraft(_offer_text(limits, job, _money(job, price, currency), needs), capabilities, terms, needs)


def _requested(invitation: Mapping[str, Any]) -> Iterator[frozenset[str]]:
    """The requested capabilities, each as the concepts it may be."""
    items = invitation.get("capabilities")
    for item in items if isinstance(items, list | tuple) else ():
        name = item.get("capability") if isinstance(item, dict) else item
        if isinstance(name, str):
            yield frozenset({name}) if name in CONCEPTS else concepts_of(name)


def _offered(agent: SampleAgent, invitation: Mapping[str, Any], language: Language) -> list[str]:
    """The agent's own words for the requested capabilities, in the demand's language where it has them; each once.

    Where nothing that is asked for is in the lexicon, those that the search matched (`reason`)."""
    requested = [names for names in _requested(invitation) if names]
    offered: list[str] = []
    if not requested:
        matched = [part.partition(": ")[0] for part in text_in(invitation, "reason").split("; ")]
        requested = [frozenset({name}) for name in matched if name in CONCEPTS]
        offered = [text for text in agent["capabilities"] if text in matched and text not in CONCEPTS]
    in_language = sorted(agent["capabilities"], key=lambda text: (IS_HAN.search(text) is not None) != (language == "zh"))
    own = (next((text for text in in_language if concepts_of(text) & names), None) for names in requested)
    offered += [text for text in own if text is not None]
    return list(dict.fromkeys(offered))


def _objection(limits: AgentPolicy, job: _Job) -> str:
    """Why an agent cannot do a job; empty when it can."""
    if job.day is not None and job.day.weekday() in limits.days_off:
        day, weekday = _day(job), _WEEKDAYS_EN[job.day.weekday()]
        return _say(job, f"抱歉，{day}我休息，接不了。", f"Sorry, I do not work on {weekday}s, so {day} is not possible.")
    if job.people is not None and job.people < limits.smallest:
        return _say(
            job,
            f"抱歉，{job.people}人太少了，我从{limits.smallest}人起接。",
            f"Sorry, {_people(job)} {'is' if job.people == 1 else 'are'} too few for me; I start at {limits.smallest}.",
        )
    if job.people is not None and limits.largest is not None and job.people > limits.largest:
        return _say(
            job,
            f"抱歉，{job.people}人超出了我的能力，最多{limits.largest}人。",
            f"Sorry, {job.people} people are more than I can serve; my limit is {limits.largest}.",
        )
    return ""


def _offer_text(limits: AgentPolicy, job: _Job, price: str, needs: list[str]) -> str:
    """The pitch, when, for how many and at which price, and what else is needed; at most three sentences."""
    counted = _usual_people(limits) if job.people is None and limits.per_person else None
    if job.language == "zh":
        about = "、".join(filter(None, (_day(job), _people(job))))
        price += f"（按{counted}人计）" if counted else ""
        sentences = [limits.pitch.zh, f"{about}没问题，报价{price}。" if about else f"报价{price}，细节可以再商量。"]
        if needs:
            sentences.append(f"另外需要有人负责{'、'.join(needs)}。")
        return "".join(sentences)
    about = " ".join(filter(None, (f"for {_people(job)}" if job.people else "", f"on {_day(job)}" if job.day else "")))
    price += f" (for about {counted} people)" if counted else ""
    offer = f"I can do it {about} at {price}." if about else f"My price is {price}; we can settle the details later."
    sentences = [limits.pitch.en, offer]
    if needs:
        sentences.append(f"Somebody else would have to take care of {' and '.join(needs)}.")
    return " ".join(sentences)


# Proposals.


def answer_proposal(own_offer: Mapping[str, Any], proposal: Mapping[str, Any]) -> ProposalAnswer:
    """What an agent answers to `towow.proposal.distributed`, by its own limits and what it had offered.

    It rejects a proposal in which it has nothing to do, or that has become what it cannot do; it revises
    when the price is too low or its condition was not stated yet; otherwise it accepts."""
    own_offer = own_offer if isinstance(own_offer, Mapping) else {}
    agent_id = text_in(proposal, "agent_id")
    limits = POLICIES.get(agent_id)
    requirements = object_in(proposal, "requirements")
    job = _job(_language_of(proposal, own_offer), requirements)
    assignment = _assignment(agent_id, proposal)
    if not _can_do(agent_id, own_offer, assignment):
        reason = _say(job, "这个方案里没有我能做的部分，我先退出。", "There is nothing for me to do here, so I step back.")
        return ProposalAnswer("reject", reason)
    if limits is not None and (objection := _objection(limits, job)):
        return ProposalAnswer("reject", objection)

    terms = object_in(assignment, "terms")
    own_terms = object_in(own_offer, "terms")
    currency = _currency(job.language, terms, own_terms, proposal, requirements)
    price = _price(terms)
    lowest = _lowest(limits, job, currency, own_terms)
    conditions = [text for text in _list(assignment, "conditions") if isinstance(text, str)]
    is_too_low = price is not None and lowest is not None and price < lowest
    if is_too_low and len(conditions) >= MAX_REVISIONS:
        reason = _say(job, "价格谈不拢，这次我先退出。", "We do not come together on the price, so I step back.")
        return ProposalAnswer("reject", reason)
    wish = limits.condition if limits is not None and not _condition_stated(agent_id, limits, conditions, proposal) else None
    if is_too_low and lowest is not None:
        return ProposalAnswer("revise", _revision(job, _money(job, lowest, currency), wish), _changed(job, terms, lowest))
    if wish is not None:
        return ProposalAnswer("revise", _revision(job, None, wish))
    return ProposalAnswer("accept", _acceptance(job, None if price is None else _money(job, price, currency)))


def _assignment(agent_id: str, proposal: Mapping[str, Any]) -> Mapping[str, Any]:
    """The agent's own part of a proposal; empty when it has none."""
    own = object_in(proposal, "assignment")
    others = (item for item in _list(proposal, "assignments") if isinstance(item, dict) and item.get("agent_id") == agent_id)
    return own or next(others, {})


def _can_do(agent_id: str, own_offer: Mapping[str, Any], assignment: Mapping[str, Any]) -> bool:
    """Whether a part is something that the agent has offered, or offers to everybody."""
    agent = _AGENTS.get(agent_id)
    texts = [text for text in _list(own_offer, "capabilities") if isinstance(text, str)]
    texts += agent["capabilities"] if agent else []
    able = {name for text in texts for name in _names(text)}
    return any(isinstance(text, str) and _names(text) & able for text in _list(assignment, "capabilities"))


def _names(text: str) -> frozenset[str]:
    return concepts_of(text) | {text}


def _lowest(limits: AgentPolicy | None, job: _Job, currency: str, own_terms: Mapping[str, Any]) -> int | float | None:
    """The least that is accepted: the floor, or what was offered for the same number of people if that is less.

    None when nothing is known about it."""
    own = _price(own_terms)
    if own_terms.get("currency") != currency or _whole(own_terms.get("people")) != job.people:
        own = None
    floor = None if limits is None else lowest_price(limits, job.people, currency)
    return min((price for price in (own, floor) if price is not None), default=None)


def _condition_stated(agent_id: str, limits: AgentPolicy, conditions: list[str], proposal: Mapping[str, Any]) -> bool:
    """Whether the agent has asked for its condition: it is in its part, or the agent revised the round before."""
    if limits.condition is None or len(conditions) >= MAX_REVISIONS:
        return True
    if any(limits.condition.zh in text or limits.condition.en in text for text in conditions):
        return True
    earlier = (item for item in _list(proposal, "considered") if isinstance(item, dict))
    return any(item.get("by") == agent_id and item.get("decision") == "revise" for item in earlier)


def _changed(job: _Job, terms: Mapping[str, Any], lowest: float) -> dict[str, Any]:
    """The terms of a revision: the price, and people and date where the proposal's terms have others."""
    changed: dict[str, Any] = {"price": lowest}
    if job.people is not None and "people" in terms and terms["people"] != job.people:
        changed["people"] = job.people
    if job.day is not None and "date" in terms and terms["date"] != job.day.isoformat():
        changed["date"] = job.day.isoformat()
    return changed


def _revision(job: _Job, price: str | None, wish: Bilingual | None) -> str:
    """The comment of a revision; it holds the condition word for word, because that is how it is found again."""
    for_whom = f" for {_people(job)}" if job.people else ""
    if price is None and wish is not None:
        day = f" on {_day(job)}" if job.day else ""
        return _say(job, f"{_day(job)}可以参加，希望{wish.zh}。", f"I am glad to take part{day}, provided that {wish.en}.")
    zh = f"{_people(job)}{'，' if job.people else ''}最低需要{price}。" + (f"另外希望{wish.zh}。" if wish else "")
    en = f"I cannot go below {price}{for_whom}." + (f" And I take part provided that {wish.en}." if wish else "")
    return _say(job, zh, en)


def _acceptance(job: _Job, price: str | None) -> str:
    if job.language == "zh":
        return (f"{price}没问题" if price else "没问题") + (f"，{_day(job)}见。" if job.day else "，算我一个。")
    return (f"{price} is fine with me" if price else "Fine with me") + (
        f"; see you on {_day(job)}." if job.day else "; count me in."
    )


# Words.

_WEEKDAYS_EN = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS_EN = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "¥", "JPY": "JP¥"}
_UNITS_ZH = {"USD": "美元", "EUR": "欧元", "GBP": "英镑", "CNY": "元", "JPY": "日元"}


def _say(job: _Job, zh: str, en: str) -> str:
    return zh if job.language == "zh" else en


def _day(job: _Job) -> str:
    if job.day is None:
        return ""
    weekday = job.day.weekday()
    return _say(
        job,
        f"{job.day.month}月{job.day.day}日（周{'一二三四五六日'[weekday]}）",
        f"{_WEEKDAYS_EN[weekday]} {job.day.day} {_MONTHS_EN[job.day.month - 1]}",
    )


def _people(job: _Job) -> str:
    if job.people is None:
        return ""
    return _say(job, f"{job.people}人", "one person" if job.people == 1 else f"{job.people} people")


def _money(job: _Job, price: float, currency: str) -> str:
    amount = f"{price:,.2f}".removesuffix(".00")
    if job.language == "zh":
        return f"{amount.replace(',', '')}{_UNITS_ZH.get(currency) or f' {currency}'}"
    return f"{_SIGNS[currency]}{amount}" if currency in _SIGNS else f"{amount} {currency}"


# Reading payloads that may hold anything.


def _list(payload: Mapping[str, Any], key: str) -> list[Any]:
    value = payload.get(key) if isinstance(payload, Mapping) else None
    return list(value) if isinstance(value, list | tuple) else []


def _price(terms: Mapping[str, Any]) -> float | None:
    """The price of terms, 0 or more; None when they name none."""
    price = terms.get("price")
    if isinstance(price, bool) or not isinstance(price, int | float):
        return None
    return price if 0 <= price <= MAX_BUDGET else None  # neither infinite nor NaN


def _whole(value: object) -> int | None:
    """A number of people, also when it is written 30.0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_PEOPLE:
        return None
    return int(value) if value == int(value) else None


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else None
    except ValueError:
        return None


def _job(language: Language, requirements: Mapping[str, Any]) -> _Job:
    return _Job(language, _whole(requirements.get("people")), _date(requirements.get("date")))


def _currency(language: Language, *payloads: Mapping[str, Any]) -> str:
    """The first currency that is named and known; else that of the language."""
    named = (text_in(payload, "currency") for payload in payloads)
    return next((code for code in named if code in UNITS_PER_DOLLAR), "CNY" if language == "zh" else "USD")


def _language_of(*payloads: Mapping[str, Any]) -> Language:
    """The language that is named, else that of the first text."""
    for payload in payloads:
        if (named := text_in(payload, "language")) in ("zh", "en"):
            return "zh" if named == "zh" else "en"
    texts = (text_in(payload, key) for payload in payloads for key in ("content", "raw_input", "surface_demand", "summary"))
    return "zh" if IS_HAN.search(next(filter(None, texts), "")) else "en"
