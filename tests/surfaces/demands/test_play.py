"""Random negotiations: agents that offer, need, haggle, reject and fall silent as they like, until the end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.surfaces.demands import commands
from server.surfaces.demands.next_step import Agree, Propose, Search, Wait, deadline, next_step, waiting_for
from server.surfaces.demands.planning import price_of
from server.surfaces.demands.state import GAP, TERMINAL_EVENTS
from tests.surfaces.demands.negotiating import LIMITS, Negotiation, assignment, candidate, proposals_sent

CAPABILITIES = {"venue": "场地", "photography": "photographer", "catering": "buffet", "bee keeping": "bee keeping"}
AGENTS = ("bob", "eve", "dan", "zoe", "kim")


@st.composite
def offers(draw):
    """What an agent offers: the names of what it can, in its words, its price and what it needs."""
    can = draw(st.lists(st.sampled_from(sorted(CAPABILITIES)), min_size=1, max_size=3, unique=True))
    needs = draw(st.lists(st.sampled_from([*CAPABILITIES, "a choir"]), max_size=2, unique=True))
    price = draw(st.one_of(st.none(), st.integers(0, 2_000), st.floats(0, 2_000)))
    currency = draw(st.sampled_from([None, None, None, "CNY", "EUR"]))
    terms = {key: value for key, value in (("price", price), ("currency", currency)) if value is not None}
    return can, tuple(CAPABILITIES.get(each, each) for each in can), tuple(needs), terms


class Play:
    """A negotiation of agents that do anything, with the promises that hold at every step."""

    def __init__(self, draw, negotiation):
        self.draw = draw
        self.negotiation = negotiation
        self.abilities = {}
        self.gone = set()  # who has rejected or was silent

    def run(self, most):
        """Until the end, which must come within so many steps and answers."""
        for _ in range(most):
            if not self.negotiation.state.is_open:
                return
            step = self.negotiation.step()
            if isinstance(step, Wait):
                self.something_happens(step)
            else:
                self.act(step)
        raise AssertionError([event.event_type for event in self.negotiation.stored])

    def act(self, step):
        """What the coordinator does, and what must be true of it."""
        state = self.negotiation.state
        if isinstance(step, Search):
            asked_for = {capability for capability, _ in state.capabilities}
            found = self.draw(st.lists(st.sampled_from(AGENTS), max_size=4, unique=True))
            matched = sorted(asked_for) or ["by words"]
            self.negotiation.invite(*(candidate(each, *matched) for each in found))
            return
        if isinstance(step, Propose):
            self.check_draft(step.draft)
        if isinstance(step, Agree):
            self.check_agreement()
        if state.phase == "proposing":
            for agent_id in state.proposal.recipients:
                answer = state.proposal.answer_of(agent_id)
                if answer is None or answer.decision == "reject":
                    self.gone.add(agent_id)
        if isinstance(step, Propose):
            assert not self.gone & {each.agent_id for each in step.draft.assignments if each.subnet_id is None}
        self.negotiation.take(step)
        sent = proposals_sent(self.negotiation)
        assert len(set(sent)) == len(sent) <= self.negotiation.limits.max_rounds

    def check_draft(self, draft):
        """Everybody is able to do its part, nobody has two, and it is what fits the budget."""
        own = [each for each in draft.assignments if each.subnet_id is None]
        assert len({each.agent_id for each in own}) == len(own)
        for item in own:
            assert item.capabilities
            assert set(item.capabilities) <= set(self.abilities[item.agent_id])
        covered = [capability for item in own for capability in item.capabilities]
        assert len(set(covered)) == len(covered)
        assert not set(covered) & {each.capability for each in draft.missing}
        self.check_budget(draft)

    def check_budget(self, proposal):
        """The sum is the sum, and within the budget where the two can be compared."""
        priced = [each.terms for each in proposal.assignments if price_of(each.terms) is not None]
        currencies = {each["currency"] for each in priced if each.get("currency")}
        if len(currencies) > 1 or not priced:
            assert proposal.total_price is None
            return
        assert proposal.total_price == pytest.approx(sum(each["price"] for each in priced))
        budget, currency = proposal.requirements.budget, proposal.requirements.currency
        if budget is not None and (currency is None or currencies <= {currency}):
            assert proposal.total_price <= budget * (1 + 1e-9)

    def check_agreement(self):
        """All who were asked, and the user when it has to, have said yes to what fits the budget."""
        state = self.negotiation.state
        answers = {each.by: each.decision for each in state.proposal.feedback if not each.is_user}
        assert answers == dict.fromkeys(state.proposal.recipients, "accept")
        user = state.proposal.answer_of("ann", is_user=True)
        assert user.decision == "accept" if state.confirm else user is None or user.decision == "accept"
        self.check_budget(state.proposal)

    def something_happens(self, wait):
        """Somebody answers, a sub-negotiation ends, the user speaks, or the time comes."""
        state, draw = self.negotiation.state, self.draw
        assert wait.until == deadline(state)
        assert wait.until > self.negotiation.now
        awaited = [each for each in waiting_for(state) if each != "ann"]
        what = draw(st.sampled_from(["answer", "answer", "answer", "user", "time"]))
        if state.phase == "filling_gaps" and what != "time":
            self.end_subnet(next(each for each in state.subnets if each.outcome is None))
        elif state.phase == "proposing" and what == "user" and state.proposal.answer_of("ann", is_user=True) is None:
            self.negotiation.user(draw(st.sampled_from(["accept", "revise", "reject"])), draw(st.sampled_from(WISHES)))
        elif awaited and what == "answer":
            self.answer(draw(st.sampled_from(awaited)))
        else:
            self.negotiation.now = wait.until

    def answer(self, agent_id):
        """An agent that is awaited says something."""
        draw = self.draw
        if self.negotiation.state.phase == "collecting_offers":
            if draw(st.integers(0, 4)) == 0:
                self.negotiation.decline(agent_id)
                return
            can, texts, needs, terms = draw(offers())
            self.abilities[agent_id] = can
            self.negotiation.offer(agent_id, *texts, needs=needs, **terms)
            return
        decision = draw(st.sampled_from(["accept", "accept", "revise", "reject"]))
        terms = draw(st.sampled_from([{}, {}, {"price": 100}, {"price": 1_500}, {"date": "2026-03-01"}]))
        comment = draw(st.sampled_from(["", "later", "a deposit"]))
        self.negotiation.answer(agent_id, decision, comment, **terms)

    def end_subnet(self, subnet):
        """A sub-negotiation ends somehow."""
        outcome = self.draw(st.sampled_from(["finalized", "failed", "cancelled"]))
        price = self.draw(st.one_of(st.none(), st.integers(0, 500)))
        agreed = (assignment("sub", subnet.capability, price=price),) if outcome == "finalized" else ()
        self.negotiation.do(commands.CompleteSubnet(subnet.subnet_id, outcome, "", agreed))


WISHES = ["", "for 30 people", "预算 800 元", "预算 300 元", "budget 1000", "quieter"]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_the_participants_do_it_ends_and_keeps_its_promises(data):
    """It ends within a bounded number of steps, and every event is in the table.

    No proposal is sent twice, everybody is able to do its part, who withdrew is not asked again, what is agreed fits the
    budget, no gap is named twice, and each agent is told each thing once."""
    limits = LIMITS._replace(
        max_rounds=data.draw(st.integers(1, 5)),
        max_depth=data.draw(st.integers(0, 2)),
        max_subnets=data.draw(st.integers(0, 3)),
    )
    negotiation = Negotiation(limits=limits)
    wanted = data.draw(st.lists(st.sampled_from(sorted(CAPABILITIES)[1:]), max_size=3, unique=True))
    negotiation.submit(
        *wanted,
        confirm=data.draw(st.booleans()),
        budget=data.draw(st.sampled_from([None, 0.5, 300.0, 1_000.0])),
        currency=data.draw(st.sampled_from([None, "CNY"])),
    )
    Play(data.draw, negotiation).run(most=150)
    assert negotiation.state.outcome.event_type in TERMINAL_EVENTS
    told = [(agent_id, event_type, payload.get("proposal_id")) for agent_id, event_type, payload in negotiation.copies]
    assert len(set(told)) == len(told)
    gaps = [event.payload["capability"] for event in negotiation.stored if event.event_type == GAP]
    assert len(set(gaps)) == len(gaps)
    assert len(negotiation.state.subnets) <= limits.max_subnets
    assert next_step(negotiation.state, negotiation.now, limits) == Wait()
