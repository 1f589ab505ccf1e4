"""What a plan is made of: which offers cover the demand, at which price, and what is missing. Pure.

- The capabilities that the demand asks for are covered in the order of their mention, by an agent that has a
  part already, else by the cheapest offer (one without a price last), then the better candidate. What the
  chosen agents need of others is covered in the same way.
- Who rejects or stays silent is left out from then on. What an agent asks for (`revise`) becomes a condition
  of its part, and its terms replace those of its offer.
- Over the budget, prices that nobody has insisted on are scaled down to fit. When all are insisted on, or
  nothing is left to scale, the demand fails."""

from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from server.surfaces.demands.matching import concepts_of
from server.surfaces.demands.state import Assignment, DemandState, Offer, Proposal, Subnet
from server.surfaces.demands.understanding import CONCEPTS, Requirements, find_words, fold, normalise, read_requirements

# What a proposal carries of earlier rounds, so that it stays a small event after many comments.
_KEPT_CHARACTERS = 1_000  # of one agent's conditions, and of the user's wishes; the newest
_QUOTED_CHARACTERS = 200  # of one comment
_MAX_PRICE = 1e12  # sums stay numbers


class Missing(NamedTuple):
    """A capability that no agent covers, and why: `no_offer`, `withdrawn` or `needed_by` an agent."""

    capability: str
    reason: str
    needed_by: str | None = None


class Draft(NamedTuple):
    """A proposal before it is worded and sent. `is_over_budget`: nothing is left to scale down."""

    round: int
    assignments: tuple[Assignment, ...]
    missing: tuple[Missing, ...]
    total_price: float | None
    currency: str | None
    requirements: Requirements
    wishes: tuple[str, ...]
    considered: tuple[dict[str, Any], ...]
    is_over_budget: bool = False

    @property
    def fingerprint(self) -> bytes:
        """What a participant would see; two proposals with the same are the same proposal."""
        missing = [item.capability for item in self.missing]
        return _fingerprint(self.assignments, missing, self.requirements, self.wishes)


def compile_draft(state: DemandState) -> Draft:
    """The proposal that follows from the answers so far, as if none were awaited any more."""
    left_out = withdrawn(state)
    offers = [offer for offer in _ranked(state) if offer.agent_id not in left_out]
    plan = _Plan(offers, [subnet for subnet in state.subnets if subnet.outcome == "finalized" and subnet.assignments], state)
    for capability, _ in state.capabilities:
        plan.cover(capability)
    plan.add_what_words_found()
    plan.cover_needs()
    requirements = requirements_of(state)
    assignments = [_assignment(state, offer, capabilities) for offer, capabilities in plan.parts()]
    assignments += [
        msgspec.structs.replace(item, subnet_id=subnet.subnet_id) for subnet in plan.subnets for item in subnet.assignments
    ]
    assignments, total, currency, is_over = _fit_budget(state, assignments, requirements)
    missing = tuple(
        item._replace(reason="withdrawn") if item.reason == "no_offer" and _was_offered(state, item.capability) else item
        for item in plan.missing
    )
    named = {item.capability for item in missing}
    below = dict.fromkeys(capability for subnet in plan.subnets for capability in subnet.missing)
    missing += tuple(Missing(capability, "no_offer") for capability in below if capability not in named)
    return Draft(
        round=len(state.proposals) + 1,
        assignments=tuple(assignments),
        missing=missing,
        total_price=total,
        currency=currency,
        requirements=requirements,
        wishes=_wishes(state),
        considered=_considered(state),
        is_over_budget=is_over,
    )


def withdrawn(state: DemandState) -> frozenset[str]:
    """The agents that have no part any more: they rejected, stayed silent, or the user turned them down for others.

    Only for rounds that are over; the newest counts as over."""
    left: set[str] = set()
    for proposal in state.proposals:
        for agent_id in proposal.recipients:
            answer = proposal.answer_of(agent_id)
            if answer is None or answer.decision == "reject":
                left.add(agent_id)
        if _is_rejected_by_user(state, proposal):
            left |= _replaceable(state, proposal, left)
    return frozenset(left)


def unavailable(state: DemandState) -> tuple[str, ...]:
    """The invited agents that a sub-negotiation need not ask: they declined, did not answer, or have withdrawn."""
    left_out = withdrawn(state)
    return tuple(agent_id for agent_id in state.invited if state.offer_of(agent_id) is None or agent_id in left_out)


def _is_rejected_by_user(state: DemandState, proposal: Proposal) -> bool:
    user = proposal.answer_of(state.user_id, is_user=True)
    return user is not None and user.decision == "reject"


def is_rejected_by_user_for_good(state: DemandState, proposal: Proposal) -> bool:
    """Whether the user turned a proposal down and no agent in it can be replaced."""
    if not _is_rejected_by_user(state, proposal):
        return False
    before = withdrawn(msgspec.structs.replace(state, proposals=state.proposals[:-1]))
    return not (withdrawn(state) - before)


def _replaceable(state: DemandState, proposal: Proposal, left: set[str]) -> set[str]:
    """The agents of a proposal that others can replace for every capability."""
    others = [offer for offer in state.offers if offer.agent_id not in left and offer.agent_id not in proposal.recipients]
    return {
        item.agent_id
        for item in proposal.assignments
        if item.subnet_id is None
        and item.capabilities
        and all(any(covers(offer, capability) for offer in others) for capability in item.capabilities)
    }


def requirements_of(state: DemandState) -> Requirements:
    """What the demand requires, with what the user has changed since."""
    requirements = state.requirements
    for proposal in state.proposals:
        user = proposal.answer_of(state.user_id, is_user=True)
        if user is not None and user.decision != "accept" and user.comment:
            changed = read_requirements(user.comment, date.fromisoformat(user.timestamp[:10]))
            requirements = msgspec.structs.replace(
                requirements, **{key: value for key, value in msgspec.structs.asdict(changed).items() if value is not None}
            )
    return requirements


def covers(offer: Offer, capability: str) -> bool:
    """Whether an offer names a capability: in whatever language the lexicon knows, else in the same words."""
    return any(spellings(capability) & names_of(text) for text in offer.capabilities)


@lru_cache(maxsize=4096)
def names_of(text: str) -> frozenset[str]:
    """The names a capability text goes by: its concepts in the lexicon, and its own spellings."""
    return concepts_of(text) | spellings(text)


@lru_cache(maxsize=4096)
def spellings(text: str) -> frozenset[str]:
    """A capability as it is written, folded, and as the stems of its words, so that a beekeeper does beekeeping."""
    if text in CONCEPTS:
        return frozenset({text})
    folded = fold(normalise(text)).strip()
    stems = " ".join(word.token for word in find_words(folded, ()))
    return frozenset({text.strip(), folded, stems} - {""})


def name_of_need(text: str) -> str:
    """The capability that a need asks for: its concept when it has just one, else the text."""
    concepts = concepts_of(text)
    return next(iter(concepts)) if len(concepts) == 1 else text.strip()


def fingerprint_of(proposal: Proposal) -> bytes:
    """The fingerprint of a proposal that was sent."""
    return _fingerprint(proposal.assignments, proposal.missing, proposal.requirements, proposal.wishes)


def _fingerprint(
    assignments: Iterable[Assignment], missing: Iterable[str], requirements: Requirements, wishes: Iterable[str]
) -> bytes:
    shown = sorted(
        (
            item.agent_id,
            item.subnet_id or "",
            sorted(item.capabilities),
            msgspec.json.encode(item.terms, order="sorted").decode(),
            list(item.conditions),
        )
        for item in assignments
    )
    return msgspec.json.encode([shown, sorted(missing), requirements, list(wishes)])


class _Plan:
    """A plan while it is put together: which agent covers which capability."""

    def __init__(self, offers: list[Offer], subnets: list[Subnet], state: DemandState) -> None:
        self._offers = offers
        self._names = {offer.agent_id: frozenset[str]().union(*map(names_of, offer.capabilities)) for offer in offers}
        self._available = subnets
        self._state = state
        self._parts: dict[str, list[str]] = {}
        self._covered: set[str] = set()
        self.subnets: list[Subnet] = []
        self.missing: list[Missing] = []

    def parts(self) -> Iterator[tuple[Offer, tuple[str, ...]]]:
        """The offers that are used, each with what for, in the order they were chosen."""
        by_agent = {offer.agent_id: offer for offer in self._offers}
        return ((by_agent[agent_id], tuple(capabilities)) for agent_id, capabilities in self._parts.items())

    def cover(self, capability: str, *, needed_by: str | None = None) -> None:
        """Cover a capability by an agent with a part, an offer or the result of a sub-negotiation; or note it as missing."""
        wanted = spellings(capability)
        if not wanted or wanted & self._covered:
            return
        self._covered |= wanted
        able = [offer for offer in self._offers if wanted & self._names[offer.agent_id] and offer.agent_id != needed_by]
        chosen = next((offer for offer in able if offer.agent_id in self._parts), able[0] if able else None)
        if chosen is not None:
            self._parts.setdefault(chosen.agent_id, []).append(capability)
            return
        subnet = next((each for each in self._available if wanted & spellings(each.capability)), None)
        if subnet is not None:
            self.subnets.append(subnet)
            return
        self.missing.append(Missing(capability, "needed_by" if needed_by else "no_offer", needed_by))

    def add_what_words_found(self) -> None:
        """Add offers of agents that were found by words outside the lexicon: the best for each thing offered."""
        wanted = {capability for capability, _ in self._state.capabilities}
        matched = {each.agent_id: set(each.capabilities) for each in self._state.candidates}
        for offer in self._offers:
            if matched.get(offer.agent_id, set()) & wanted or offer.agent_id in self._parts:
                continue
            for text in offer.capabilities:
                if not names_of(text) & self._covered:
                    self._covered |= names_of(text)
                    self._parts.setdefault(offer.agent_id, []).append(name_of_need(text))

    def cover_needs(self) -> None:
        """Cover what the chosen agents need, and what those need in turn."""
        visited: set[str] = set()
        while open_needs := [agent_id for agent_id in self._parts if agent_id not in visited]:
            visited |= set(open_needs)
            needs = [
                (need, offer.agent_id) for offer, _ in self.parts() if offer.agent_id in open_needs for need in offer.needs
            ]
            for need, agent_id in needs:
                self.cover(name_of_need(need), needed_by=agent_id)


def _ranked(state: DemandState) -> list[Offer]:
    """The offers, best first: a lower price, then the better candidate, then the earlier."""
    rank = {candidate.agent_id: place for place, candidate in enumerate(state.candidates)}

    def place(offer: Offer) -> tuple[bool, float, int, int]:
        price = price_of(_terms_of(state, offer)[0])
        return price is None, price or 0.0, rank.get(offer.agent_id, len(rank)), offer.seq

    return sorted(state.offers, key=place)


def price_of(terms: dict[str, Any]) -> float | None:
    """The price that terms name, 0 or more; None when they name none."""
    price = terms.get("price")
    is_price = isinstance(price, int | float) and not isinstance(price, bool) and 0 <= price <= _MAX_PRICE
    return float(price) if is_price and price is not None else None


def _was_offered(state: DemandState, capability: str) -> bool:
    return any(covers(offer, capability) for offer in state.offers)


def _terms_of(state: DemandState, offer: Offer) -> tuple[dict[str, Any], bool, tuple[str, ...]]:
    """The terms that an agent stands for now, whether it insists on the price, and its conditions."""
    terms, is_firm, conditions = dict(offer.terms), False, dict[str, None]()
    for proposal in state.proposals:
        answer = proposal.answer_of(offer.agent_id)
        if answer is not None and answer.decision == "revise":
            terms.update(answer.terms)
            is_firm = is_firm or price_of(answer.terms) is not None
            if answer.comment:
                conditions[answer.comment] = None
    return terms, is_firm, _newest(conditions)


def _assignment(state: DemandState, offer: Offer, capabilities: tuple[str, ...]) -> Assignment:
    terms, _, conditions = _terms_of(state, offer)
    return Assignment(
        agent_id=offer.agent_id,
        name=offer.name,
        capabilities=capabilities,
        offer_seq=offer.seq,
        terms=terms,
        offered_price=price_of(terms),
        conditions=conditions,
    )


def _fit_budget(
    state: DemandState, assignments: list[Assignment], requirements: Requirements
) -> tuple[list[Assignment], float | None, str | None, bool]:
    """The assignments with the prices that are proposed, their total and currency, and whether it cannot be made to fit.

    Prices in several currencies, or in another one than the budget's, are not added up."""
    priced = [item for item in assignments if price_of(item.terms) is not None]
    currencies = {named for item in priced if isinstance(named := item.terms.get("currency"), str) and named}
    if not priced or len(currencies) > 1:
        return assignments, None, None, False
    currency = next(iter(currencies), requirements.currency)
    total = sum(price_of(item.terms) or 0.0 for item in priced)
    budget = requirements.budget
    is_comparable = requirements.currency is None or currency is None or currency == requirements.currency
    if budget is None or not is_comparable or total <= budget:
        return assignments, total, currency, False
    insisted = {offer.agent_id for offer in state.offers if _terms_of(state, offer)[1]}
    flexible = [item for item in priced if item.subnet_id is None and item.agent_id not in insisted]
    wished = sum(price_of(item.terms) or 0.0 for item in flexible)
    left = budget - (total - wished)
    if left <= 0 or not wished:
        return assignments, total, currency, True
    share = left / wished
    flexible_ids = {item.agent_id for item in flexible}
    fitted = [
        msgspec.structs.replace(item, terms={**item.terms, "price": int((price_of(item.terms) or 0.0) * share)})
        if item.subnet_id is None and item.agent_id in flexible_ids
        else item
        for item in assignments
    ]
    return fitted, sum(price_of(item.terms) or 0.0 for item in fitted), currency, False


def _wishes(state: DemandState) -> tuple[str, ...]:
    """The user's comments on the proposals."""
    answers = (proposal.answer_of(state.user_id, is_user=True) for proposal in state.proposals)
    answered = [answer for answer in answers if answer is not None and answer.decision != "accept"]
    comments = dict.fromkeys(answer.comment for answer in answered if answer.comment)
    return _newest(comments)


def _newest(texts: Iterable[str]) -> tuple[str, ...]:
    """The newest texts that fit, at least one, in their order."""
    kept: list[str] = []
    room = _KEPT_CHARACTERS
    for text in reversed(list(texts)):
        room -= len(text)
        if kept and room < 0:
            break
        kept.append(text)
    return tuple(reversed(kept))


def _considered(state: DemandState) -> tuple[dict[str, Any], ...]:
    """The answers to the newest proposal, with the recipients that stayed silent."""
    proposal = state.proposal
    if proposal is None:
        return ()
    answered = [
        {
            "by": answer.by,
            "is_user": answer.is_user,
            "decision": answer.decision,
            "comment": answer.comment[:_QUOTED_CHARACTERS],
        }
        for answer in proposal.feedback
    ]
    silent = [agent_id for agent_id in proposal.recipients if proposal.answer_of(agent_id) is None]
    return (*answered, *({"by": agent_id, "is_user": False, "decision": "silent", "comment": ""} for agent_id in silent))
