"""What comes next in a negotiation: who gets what at which price, who is waited for, what is missing, and when it ends."""

import msgspec
import pytest

from server.surfaces.demands import commands
from server.surfaces.demands.next_step import (
    Agree,
    GiveUp,
    GiveUpSubnet,
    Invite,
    NameGaps,
    Propose,
    Search,
    Wait,
    deadline,
    next_step,
    waiting_for,
)
from server.surfaces.demands.planning import (
    Missing,
    compile_draft,
    fingerprint_of,
    name_of_need,
    names_of,
    price_of,
    requirements_of,
    unavailable,
    withdrawn,
)
from server.surfaces.demands.state import FEEDBACK, OFFERED, PROPOSED, UNDERSTOOD
from server.surfaces.demands.understanding.requirements import Requirements
from tests.surfaces.demands.negotiating import (
    DEMAND,
    LIMITS,
    START,
    SUBNET,
    Negotiation,
    assignment,
    at,
    candidate,
    parts,
    prices,
)
from towow.events import seconds_of


def asked(*capabilities, agents=("bob", "eve", "dan"), **requirements):
    """A demand whose candidates were all found for everything it asks for, and are invited."""
    return Negotiation().submit(*capabilities, **requirements).invite(*agents)


def offers_of(text):
    """Offers from "agent: capability, capability @price + need, need; …", in which price and needs may be left out."""
    for each in text.split("; "):
        agent_id, _, rest = each.partition(": ")
        rest, _, needs = rest.partition(" + ")
        texts, _, price = rest.partition(" @")
        yield agent_id, texts.split(", "), float(price) if price else None, *(needs.split(", ") if needs else ())


def parts_of(text):
    """Who does what, in order, from "agent: capability, capability; …"."""
    pairs = [each.split(": ") for each in text.split("; ") if each]
    return [(agent_id, tuple(texts.split(", "))) for agent_id, texts in pairs]


def offered(capabilities, offers, **requirements):
    """A demand with offers: each (agent, capabilities, price, needs)."""
    negotiation = asked(*capabilities, **requirements)
    for agent_id, texts, price, *needs in offers:
        negotiation.offer(agent_id, *texts, needs=needs, **({} if price is None else {"price": price}))
    return negotiation


def with_subnet(negotiation, capability, *agreed, outcome="finalized"):
    """The same after a sub-negotiation for a capability has ended."""
    negotiation.later().do(commands.NameMissing((Missing(capability, "no_offer"),), 1, 1, 60.0))
    subnet_id = negotiation.state.subnets[-1].subnet_id
    negotiation.do(commands.CompleteSubnet(subnet_id, outcome, "", agreed))
    return negotiation


# Capabilities, offers, and who does what.
PARTS = [
    pytest.param("venue", "bob: venue @500; eve: venue @300", "eve: venue", id="cheapest"),
    pytest.param("venue", "bob: venue; eve: venue @900", "eve: venue", id="no price last"),
    pytest.param("venue", "bob: venue; eve: venue @0", "eve: venue", id="free is a price"),
    pytest.param("venue", "eve: venue @5; bob: venue @5.0", "bob: venue", id="better candidate"),
    ("photography, venue", "bob: venue @1; eve: photography @2", "eve: photography; bob: venue"),
    ("venue, photography", "bob: photography, venue @900; eve: photography @100", "bob: venue, photography"),
    ("photography, venue", "bob: photography, venue @900; eve: photography @100", "eve: photography; bob: venue"),
    pytest.param("venue", "bob: 场地 @5", "bob: venue", id="in another language"),
    pytest.param("venue", "bob: Meeting Rooms @5", "bob: venue", id="in other words"),
    pytest.param("photography, videography", "bob: photo and video @5", "bob: photography, videography", id="two in one text"),
    pytest.param("venue", "bob: catering @5", "", id="something else"),
    pytest.param("venue", "bob: catering @1; eve: venue @5", "eve: venue", id="more than asked for"),
    pytest.param("venue, venue", "bob: venue @5", "bob: venue", id="asked for twice"),
    pytest.param("venue", "bob: venue @5 + catering; eve: catering @5", "bob: venue; eve: catering", id="what an agent needs"),
    ("venue", "bob: venue @5 + 茶歇; eve: buffet @5 + a baker; dan: cake @5", "bob: venue; eve: catering; dan: baking"),
    ("venue", "bob: venue @5 + catering; eve: catering @5 + venue", "bob: venue; eve: catering"),
    ("venue", "bob: venue, catering @1 + catering; eve: catering @5", "bob: venue; eve: catering"),
    ("venue", "bob: venue @1 + bee smoke; eve: bee smoke @5", "bob: venue; eve: bee smoke"),
    ("venue", "bob: venue @1 + Bee Smoke; eve: bee smoke @5", "bob: venue; eve: Bee Smoke"),
    ("venue", "bob: venue @1 + bee smoke; eve: Bee Smoke @5", "bob: venue; eve: bee smoke"),
    ("venue", "bob: venue @1 + bee smokers; eve: bee smoker @5", "bob: venue; eve: bee smokers"),
    ("venue, catering", "bob: venue @5 + catering; eve: catering @5", "bob: venue; eve: catering"),
]
# Offers, and who does what when the user has turned the first plan down; None when nobody can.
REPLACED = [
    pytest.param("bob: venue @5; eve: venue @9", "eve: venue", id="somebody steps in"),
    ("bob: venue @5; eve: photography @5; dan: photography @9", "bob: venue; dan: photography"),
    pytest.param("bob: venue, photography @5; dan: photography @9", None, id="for one of two parts of an agent"),
    ("bob: venue, photography @5; eve: venue @9; dan: photography @9", "eve: venue; dan: photography"),
    pytest.param("bob: venue @5; eve: photography @5", None, id="nobody"),
]


class TestWhoGetsWhat:
    """`compile_draft`: capabilities, needs, and who covers them."""

    @pytest.mark.parametrize(("capabilities", "offers", "expected"), PARTS)
    def test_offers_become_parts(self, capabilities, offers, expected):
        """Who does what, in the order in which it was covered; nothing is missing but what nobody offers."""
        draft = offered(capabilities.split(", "), offers_of(offers)).draft()
        assert list(parts(draft).items()) == parts_of(expected)
        assert draft.missing == (() if expected else (Missing("venue", "no_offer"),))

    def test_who_needs_what_nobody_has_is_named_once(self):
        """Missing needs name the first agent that needs them; needs of agents without a part are not looked at."""
        offers = [
            ("bob", ["venue"], 5, "catering", "bee smoke"),
            ("eve", ["photography"], 5, "catering"),
            ("dan", ["venue"], 9, "a choir"),
        ]
        draft = offered(["venue", "photography", "baking"], offers).draft()
        assert draft.missing == (
            Missing("baking", "no_offer"),
            Missing("catering", "needed_by", "bob"),
            Missing("bee smoke", "needed_by", "bob"),
        )

    def test_one_need_in_two_spellings_is_one_gap(self):
        """In one round and in later ones; what was agreed below for the one covers the other."""
        offers = [("bob", ["venue"], 5, "Bee Smokers"), ("eve", ["photography"], 5, "bee smoker")]
        negotiation = offered(["venue", "photography"], offers)
        assert negotiation.draft().missing == (Missing("Bee Smokers", "needed_by", "bob"),)
        negotiation.propose().answer("bob", "reject").answer("eve")
        assert negotiation.step() == NameGaps((Missing("venue", "withdrawn"),), 1, 2)
        with_subnet(negotiation, "BEE SMOKER", assignment("zoe", "bee smoker"))
        assert [each.capability for each in negotiation.draft().missing] == ["venue"]

    def test_the_only_agent_that_could_cannot_meet_its_own_need(self):
        """It asked for somebody else."""
        draft = offered(["venue"], [("bob", ["venue", "catering"], 5, "catering")]).draft()
        assert draft.missing == (Missing("catering", "needed_by", "bob"),)

    def test_an_assignment_says_on_which_offer_it_stands(self):
        """Name, place of the offer in the log, terms and the price that was asked for."""
        negotiation = asked("venue").offer("bob", "venue", price=500, currency="EUR", parking=True)
        (item,) = negotiation.draft().assignments
        assert msgspec.structs.asdict(item) == {
            "agent_id": "bob",
            "name": "Bob",
            "capabilities": ("venue",),
            "offer_seq": negotiation.state.last_seq,
            "terms": {"price": 500, "currency": "EUR", "parking": True},
            "offered_price": 500.0,
            "conditions": (),
            "subnet_id": None,
        }

    @pytest.mark.parametrize(
        ("offers", "expected"),
        [
            pytest.param("bob: bee keeping @9", "bob: bee keeping", id="one"),
            pytest.param("bob: bee keeping @9; eve: Bee Keeping @5", "eve: Bee Keeping", id="the cheaper of two"),
            ("bob: bee keeping @5; eve: bee keeping, honey @9", "bob: bee keeping; eve: honey"),
            pytest.param("bob: bee keeping, honey @5", "bob: bee keeping, honey", id="one for two"),
            pytest.param("bob: 摄影师 @5; eve: photography @9", "bob: photography", id="in two languages"),
            pytest.param("bob: bees @5 + smoke; eve: honey @7", "bob: bees; eve: honey", id="a need nobody has"),
        ],
    )
    def test_a_demand_outside_the_lexicon_takes_the_best_for_each_thing_offered(self, offers, expected):
        """Without a capability to cover, what the agents that were found by words offer is the plan."""
        negotiation = Negotiation().submit().invite(*(candidate(each, "bees of some kind") for each in ("bob", "eve")))
        for agent_id, texts, price, *needs in offers_of(offers):
            negotiation.offer(agent_id, *texts, price=price, needs=needs)
        assert list(parts(negotiation.draft()).items()) == parts_of(expected)

    def test_words_outside_the_lexicon_join_what_the_lexicon_knows(self):
        """Who was found by words alone has a part; who was found for a capability and is not the best has none."""
        found = (candidate("bob", "venue"), candidate("eve", "venue"), candidate("dan", "bee keeping"))
        negotiation = Negotiation().submit("venue").invite(*found)
        negotiation.offer("bob", "venue", price=5).offer("eve", "venue", "honey", price=9).offer("dan", "bee keeping", "场地")
        assert parts(negotiation.draft()) == {"bob": ("venue",), "dan": ("bee keeping",)}

    def test_who_has_a_part_by_the_lexicon_gets_none_by_words(self):
        """One look at each agent is enough."""
        negotiation = Negotiation().submit("venue").invite(candidate("bob", "bee keeping"))
        negotiation.offer("bob", "venue", "bee keeping")
        assert parts(negotiation.draft()) == {"bob": ("venue",)}

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("catering", "catering"),
            ("茶歇", "catering"),
            ("a baker", "baking"),
            (" bee smoke ", "bee smoke"),
            ("photo and video", "photo and video"),
        ],
    )
    def test_a_need_goes_by_its_concept_when_it_has_just_one(self, text, name):
        """Else it is the text as it was said."""
        assert name_of_need(text) == name

    def test_a_capability_goes_by_its_concepts_and_itself(self):
        """As it is written, folded, and by the stems of its words."""
        spelled = {"Photo and Video", "photo and video", "photo video"}
        assert names_of(" Photo and Video ") == {"photography", "videography", *spelled}

    def test_a_long_list_costs_no_more_than_its_length(self):
        """What anybody may have appended does not keep the process busy: every text is looked at a few times."""
        negotiation = Negotiation()
        negotiation.post(UNDERSTOOD, {"capabilities": [{"capability": f"wanted {n}"} for n in range(50)]})
        negotiation.invite("bob", "eve", "dan")
        for agent_id in ("bob", "eve", "dan"):
            offer = {"capabilities": [f"{agent_id} {n}" for n in range(1_600)], "needs": [f"need {n}" for n in range(1_600)]}
            negotiation.post(OFFERED, {"agent_id": agent_id, "offer": offer})
        before = names_of.cache_info()
        negotiation.draft()
        after = names_of.cache_info()
        assert after.hits + after.misses - before.hits - before.misses <= 20_000


class TestSubNegotiations:
    """What was agreed below is folded in."""

    def test_what_was_agreed_below_covers_its_capability(self):
        """Its assignments are marked with the sub-negotiation, come last, and keep their prices; they are not asked."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 500)])
        with_subnet(negotiation, "photography", assignment("zoe", "photography", price=200.0, subnet_id=f"{SUBNET}.1"))
        draft = negotiation.draft()
        assert [(each.agent_id, each.subnet_id) for each in draft.assignments] == [("bob", None), ("zoe", SUBNET)]
        assert (draft.missing, draft.total_price) == ((), 700.0)
        negotiation.propose()
        assert negotiation.state.proposal.recipients == ("bob",)

    @pytest.mark.parametrize("outcome", ["failed", "cancelled", "timed_out"])
    def test_what_was_not_agreed_below_stays_missing(self, outcome):
        """Whatever its assignments say."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 500)])
        with_subnet(negotiation, "photography", assignment("zoe", "photography"), outcome=outcome)
        assert parts(negotiation.draft()) == {"bob": ("venue",)}
        assert negotiation.draft().missing == (Missing("photography", "no_offer"),)

    def test_an_agreement_with_nobody_covers_nothing(self):
        """A sub-negotiation that somebody finalized before it had a proposal."""
        negotiation = with_subnet(offered(["venue", "photography"], [("bob", ["venue"], 500)]), "photography")
        assert negotiation.draft().missing == (Missing("photography", "no_offer"),)

    def test_an_offer_comes_before_what_was_agreed_below(self):
        """A sub-negotiation for what is offered after all is left alone."""
        negotiation = offered(["venue"], [("bob", ["venue"], 500)])
        with_subnet(negotiation, "venue", assignment("zoe", "venue", price=1.0))
        assert parts(negotiation.draft()) == {"bob": ("venue",)}

    def test_what_was_agreed_below_meets_a_need(self):
        """A gap may be somebody's need."""
        negotiation = offered(["venue"], [("bob", ["venue"], 500, "bee smoke")])
        with_subnet(negotiation, "bee smoke", assignment("zoe", "bee smoke"))
        assert (list(parts(negotiation.draft())), negotiation.draft().missing) == (["bob", "zoe"], ())


class TestMoney:
    """Prices, sums and budgets."""

    @pytest.mark.parametrize(
        ("offers", "requirements", "expected", "total"),
        [
            pytest.param([500, 300], {}, [500, 300], 800.0, id="no budget"),
            pytest.param([500, 300], {"budget": 800.0}, [500, 300], 800.0, id="just within"),
            pytest.param([500, 300], {"budget": 799.0}, [499, 299], 798.0, id="just over"),
            pytest.param([600, 400], {"budget": 500.0}, [300, 200], 500.0, id="twice over"),
            pytest.param([100, 200.5], {"budget": 100.0}, [33, 66], 99.0, id="rounded down"),
            pytest.param([500, None], {"budget": 400.0}, [400, None], 400.0, id="one without a price"),
            pytest.param([None, None], {"budget": 400.0, "currency": "EUR"}, [None, None], None, id="nobody names a price"),
            pytest.param([0, 0], {"budget": 400.0}, [0, 0], 0.0, id="for nothing"),
            pytest.param(["cheap", True], {"budget": 1.0}, ["cheap", True], None, id="prices that are none"),
            pytest.param([1e300, 5], {"budget": 1.0}, [1e300, 1], 1.0, id="a price beyond all money"),
            pytest.param([-5, 5], {}, [-5, 5], 5.0, id="less than nothing"),
        ],
    )
    def test_prices_are_scaled_down_to_the_budget(self, offers, requirements, expected, total):
        """By the same share for all, in whole units; what was offered is remembered."""
        negotiation = asked("venue", "photography", **requirements)
        negotiation.post(OFFERED, {"agent_id": "bob", "offer": {"capabilities": ["venue"], "terms": {"price": offers[0]}}})
        negotiation.post(
            OFFERED, {"agent_id": "eve", "offer": {"capabilities": ["photography"], "terms": {"price": offers[1]}}}
        )
        draft = negotiation.draft()
        assert list(prices(draft).values()) == expected
        assert (draft.total_price, draft.is_over_budget) == (total, False)
        assert [each.offered_price for each in draft.assignments] == [price_of({"price": each}) for each in offers]

    @pytest.mark.parametrize(
        ("currencies", "requirements", "total", "currency", "is_scaled"),
        [
            pytest.param(["CNY", "CNY"], {"budget": 500.0, "currency": "CNY"}, 500.0, "CNY", True, id="all the same"),
            pytest.param([None, None], {"budget": 500.0, "currency": "CNY"}, 500.0, "CNY", True, id="none said: the budget's"),
            pytest.param(["CNY", None], {"budget": 500.0, "currency": "CNY"}, 500.0, "CNY", True, id="one said"),
            pytest.param(["EUR", "EUR"], {"budget": 500.0}, 500.0, "EUR", True, id="a budget without one"),
            pytest.param([None, None], {"budget": 500.0}, 500.0, None, True, id="none at all"),
            pytest.param(["EUR", "EUR"], {"budget": 500.0, "currency": "CNY"}, 1000.0, "EUR", False, id="not the budget's"),
            pytest.param(["EUR", "CNY"], {"budget": 500.0, "currency": "CNY"}, None, None, False, id="mixed"),
            pytest.param(["EUR", ""], {"currency": "CNY"}, 1000.0, "EUR", False, id="an empty one"),
        ],
    )
    def test_only_what_is_comparable_is_added_up_and_scaled(self, currencies, requirements, total, currency, is_scaled):
        """Prices in several currencies have no sum; those in another than the budget's are not compared with it."""
        negotiation = asked("venue", "photography", **requirements)
        for agent_id, capability, named in zip(("bob", "eve"), ("venue", "photography"), currencies, strict=True):
            negotiation.offer(agent_id, capability, price=500, **({} if named is None else {"currency": named}))
        draft = negotiation.draft()
        assert (draft.total_price, draft.currency) == (total, currency)
        assert set(prices(draft).values()) == ({250} if is_scaled else {500})

    def test_who_insists_on_a_price_gets_it(self):
        """The others pay for it; a revision without a price insists on nothing."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 600), ("eve", ["photography"], 600)], budget=600.0)
        negotiation.propose()
        assert prices(negotiation.state.proposal) == {"bob": 300, "eve": 300}
        negotiation.answer("bob", "revise", "not below", price=400).answer("eve", "revise", "by bus", parking=False).propose()
        assert prices(negotiation.state.proposal) == {"bob": 400, "eve": 200}
        assert negotiation.state.proposal.total_price == 600.0
        assert [each.offered_price for each in negotiation.state.proposal.assignments] == [400.0, 600.0]
        negotiation.answer("bob", "revise", "by train").answer("eve").propose()
        assert prices(negotiation.state.proposal) == {"bob": 400, "eve": 200}

    @pytest.mark.parametrize(
        ("firm", "budget", "is_over"),
        [
            pytest.param({"bob": 300, "eve": 300}, 600.0, False, id="all firm, just within"),
            pytest.param({"bob": 300, "eve": 301}, 600.0, True, id="all firm, just over"),
            pytest.param({"bob": 600}, 600.0, True, id="nothing is left for the others"),
            pytest.param({"bob": 599}, 600.0, False, id="one is left for the others"),
        ],
    )
    def test_when_all_insist_on_too_much_it_cannot_be_made_to_fit(self, firm, budget, is_over):
        """Or when nothing is left for those who do not; the total is said."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 600), ("eve", ["photography"], 600)], budget=budget)
        negotiation.propose()
        for agent_id, price in firm.items():
            negotiation.answer(agent_id, "revise", "no less", price=price)
        if len(firm) == 1:
            negotiation.answer("eve")
        draft = negotiation.later().draft()
        assert draft.is_over_budget == is_over
        step = negotiation.step()
        if is_over:
            total = sum(prices(draft).values())
            assert step == GiveUp("over_budget", {"total_price": total, "budget": budget, "currency": None})
        else:
            assert isinstance(step, Propose)

    def test_free_parts_leave_nothing_to_scale(self):
        """Who asks for nothing cannot go lower."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 900), ("eve", ["photography"], 0)], budget=800.0)
        negotiation.propose().answer("bob", "revise", "no less", price=900).answer("eve")
        assert negotiation.step().reason == "over_budget"

    def test_what_was_agreed_below_is_not_scaled(self):
        """The rest of the budget is for the others; the same agent's own part is."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 600)], budget=500.0)
        with_subnet(negotiation, "photography", assignment("bob", "photography", price=400.0))
        draft = negotiation.draft()
        assert [(each.subnet_id, each.terms["price"]) for each in draft.assignments] == [(None, 100), (SUBNET, 400.0)]
        assert (draft.total_price, draft.is_over_budget) == (500.0, False)

    @pytest.mark.parametrize(
        ("price", "read"),
        [
            (5, 5.0),
            (0, 0.0),
            (0.5, 0.5),
            (1e12, 1e12),
            (1e13, None),
            (-1, None),
            (True, None),
            ("5", None),
            (None, None),
            ([5], None),
        ],
    )
    def test_a_price_is_a_number_from_nothing_to_a_million_millions(self, price, read):
        """Anything else is no price."""
        assert price_of({"price": price}) == read
        assert price_of({}) is None


class TestWhatWasSaid:
    """Feedback in the next proposal."""

    def test_what_an_agent_asks_for_becomes_a_condition_and_its_terms(self):
        """The newest terms count, beside those of the offer that it did not change; an accept changes nothing."""
        negotiation = asked("venue").offer("bob", "venue", price=500, parking=True).propose()
        negotiation.answer("bob", "revise", "after six", price=450, date="2026-03-01").propose()
        (item,) = negotiation.state.proposal.assignments
        assert (item.conditions, item.terms) == (("after six",), {"price": 450, "parking": True, "date": "2026-03-01"})
        assert negotiation.state.current_round == 2
        negotiation.answer("bob", "revise", "a deposit").propose()
        assert negotiation.state.proposal.assignments[0].conditions == ("after six", "a deposit")
        negotiation.answer("bob", "accept", "fine", price=1).user("revise", "for 30 people").propose()
        (item,) = negotiation.state.proposal.assignments
        assert (item.conditions, item.terms["price"]) == (("after six", "a deposit"), 450)

    def test_the_cheaper_of_two_may_change_with_a_round(self):
        """Terms of a revision count where offers are compared, too."""
        negotiation = offered(["venue"], [("bob", ["venue"], 300), ("eve", ["venue"], 400)]).propose()
        negotiation.answer("bob", "revise", "dearer", price=500)
        assert parts(negotiation.draft()) == {"eve": ("venue",)}

    def test_long_conditions_leave_room_for_the_newest(self):
        """A thousand characters of one agent; at least the newest, however long it is."""
        negotiation = asked("venue").offer("bob", "venue").propose()
        said = ["a" * 500, "b" * 500, "c" * 1, "d" * 1_000]
        kept = [("a" * 500,), ("a" * 500, "b" * 500), ("b" * 500, "c"), ("d" * 1_000,)]
        for comment, conditions in zip(said, kept, strict=True):
            negotiation.answer("bob", "revise", comment)
            (item,) = negotiation.draft().assignments
            assert item.conditions == conditions
            negotiation.propose()
        negotiation.post(
            FEEDBACK, {"agent_id": "bob", "proposal_id": f"{DEMAND}-p5", "decision": "revise", "comment": "e" * 1_500}
        )
        assert negotiation.draft().assignments[0].conditions == ("e" * 1_500,)

    def test_what_the_user_wishes_changes_what_is_required(self):
        """Numbers in it replace those of the demand, the words are passed on; an accept changes nothing."""
        negotiation = asked("venue", people=20, budget=900.0, currency="CNY").offer("bob", "venue", price=800).propose()
        assert negotiation.state.proposal.requirements == Requirements(20, 900.0, "CNY")
        negotiation.user("revise", "for 30 people please").answer("bob").propose()
        proposal = negotiation.state.proposal
        assert (proposal.requirements, proposal.wishes) == (Requirements(30, 900.0, "CNY"), ("for 30 people please",))
        negotiation.user("revise", "预算 500 元，2026-03-01").answer("bob").propose()
        proposal = negotiation.state.proposal
        assert proposal.requirements == Requirements(30, 500.0, "CNY", "2026-03-01")
        assert proposal.wishes == ("for 30 people please", "预算 500 元，2026-03-01")
        assert prices(proposal) == {"bob": 500}
        negotiation.user("accept", "for 40 people")
        assert requirements_of(negotiation.state) == Requirements(30, 500.0, "CNY", "2026-03-01")
        assert negotiation.draft().wishes == proposal.wishes

    def test_days_are_counted_from_when_they_were_said(self):
        """The word "tomorrow" is the day after the event, whenever it is read again."""
        negotiation = asked("venue").offer("bob", "venue").propose().user("revise", "tomorrow")
        negotiation.now += 10 * 86_400.0
        negotiation.post("note", {})
        assert requirements_of(negotiation.state).date == "2026-01-02"

    def test_wishes_are_said_once_and_leave_room_for_the_newest(self):
        """A thousand characters of them."""
        negotiation = asked("venue").offer("bob", "venue").propose()
        for comment in ("x" * 600, "y" * 400, "x" * 600):
            negotiation.user("revise", comment).answer(
                "bob", "revise", comment[:3] + str(negotiation.state.current_round)
            ).propose()
        assert negotiation.state.proposal.wishes == ("x" * 600, "y" * 400)
        negotiation.user("revise", "z").answer("bob").propose()
        assert negotiation.state.proposal.wishes == ("y" * 400, "z")

    def test_a_proposal_says_what_was_said_to_the_one_before(self):
        """Answers in their order, long ones cut, then who stayed silent; nothing in the first."""
        agents = [("bob", ["venue"], 5), ("eve", ["photography"], 5), ("dan", ["catering"], 5)]
        negotiation = offered(["venue", "photography", "catering"], agents).propose()
        assert negotiation.state.proposal.considered == ()
        negotiation.answer("eve", "revise", "x" * 201).user("revise", "bigger").answer("bob", "reject").propose()
        assert negotiation.state.proposal.considered == (
            {"by": "eve", "is_user": False, "decision": "revise", "comment": "x" * 200},
            {"by": "ann", "is_user": True, "decision": "revise", "comment": "bigger"},
            {"by": "bob", "is_user": False, "decision": "reject", "comment": ""},
            {"by": "dan", "is_user": False, "decision": "silent", "comment": ""},
        )


class TestWhoIsLeftOut:
    """Who rejects, stays silent, or was turned down by the user."""

    @pytest.mark.parametrize("decision", ["reject", None])
    def test_who_rejects_or_stays_silent_has_no_part_any_more(self, decision):
        """Somebody else steps in; when nobody does, the capability is missing because an agent has withdrawn."""
        agents = [("bob", ["venue"], 5), ("eve", ["photography"], 5), ("dan", ["venue"], 9)]
        negotiation = offered(["venue", "photography"], agents).propose().answer("eve")
        assert withdrawn(negotiation.state) == {"bob"}
        if decision:
            negotiation.answer("bob", decision)
        negotiation.propose()
        assert parts(negotiation.state.proposal) == {"dan": ("venue",), "eve": ("photography",)}
        negotiation.answer("eve").answer("dan", "reject")
        assert withdrawn(negotiation.state) == {"bob", "dan"}
        assert negotiation.draft().missing == (Missing("venue", "withdrawn"),)
        negotiation.propose().answer("eve")
        assert (negotiation.take(), negotiation.state.phase) == (Agree(), "finalized")

    def test_a_need_of_somebody_who_has_withdrawn_is_no_need(self):
        """What only it needed is not covered any more."""
        agents = [("bob", ["venue"], 5, "catering"), ("eve", ["catering"], 5), ("dan", ["venue"], 9)]
        negotiation = offered(["venue"], agents).propose().answer("bob", "reject").answer("eve").propose()
        assert parts(negotiation.state.proposal) == {"dan": ("venue",)}
        assert withdrawn(negotiation.state) == {"bob", "dan"}  # dan is awaited

    @pytest.mark.parametrize(("offers", "after"), REPLACED)
    def test_who_can_be_replaced_is_when_the_user_turns_the_plan_down(self, offers, after):
        """Others take over; without others the negotiation has failed."""
        capabilities = ["venue", "photography"] if "photography" in offers else ["venue"]
        negotiation = offered(capabilities, offers_of(offers)).propose()
        for agent_id in negotiation.state.proposal.recipients:
            negotiation.answer(agent_id)
        negotiation.user("reject", "not these")
        step = negotiation.step()
        if after is None:
            assert step == GiveUp("rejected_by_user", {"user_id": "ann"})
        else:
            assert parts(step.draft) == dict(parts_of(after))
            negotiation.propose()
            for agent_id in negotiation.state.proposal.recipients:
                negotiation.answer(agent_id)
            negotiation.user("reject", "nor these")
            assert negotiation.step().reason == "rejected_by_user"

    def test_who_has_withdrawn_cannot_step_in(self):
        """A replacement must be willing."""
        negotiation = (
            offered(["venue"], [("bob", ["venue"], 5), ("eve", ["venue"], 9)]).propose().answer("bob", "reject").propose()
        )
        negotiation.answer("eve").user("reject")
        assert negotiation.step().reason == "rejected_by_user"

    def test_who_was_agreed_on_below_is_not_asked_and_not_left_out(self):
        """Its silence is no answer, and the user's no does not replace it."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 5), ("eve", ["venue"], 9)])
        with_subnet(negotiation, "photography", assignment("zoe", "photography")).propose().answer("bob").user("reject")
        assert withdrawn(negotiation.state) == {"bob"}
        assert parts(negotiation.draft()) == {"eve": ("venue",), "zoe": ("photography",)}

    def test_who_was_agreed_on_below_is_not_replaced_by_an_offer(self):
        """Not even in a proposal that somebody else wrote past the offer."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 5), ("eve", ["photography"], 9)])
        below = {"agent_id": "zoe", "capabilities": ["photography"], "subnet_id": SUBNET}
        own = {"agent_id": "bob", "capabilities": ["venue"]}
        negotiation.post(PROPOSED, {"proposal_id": "p", "assignments": [own, below]}).answer("bob").user("reject")
        assert withdrawn(negotiation.state) == frozenset()

    def test_a_sub_negotiation_need_not_ask_who_was_asked(self):
        """Who declined, did not answer or has withdrawn is unavailable; who offered is not."""
        agents = ("bob", "eve", "dan", "zoe")
        negotiation = asked("venue", "photography", agents=agents)
        negotiation.offer("bob", "venue").offer("eve", "photography").decline("zoe").propose().answer("eve")
        assert unavailable(negotiation.state) == ("bob", "dan", "zoe")


class TestNextStep:
    """One step for each state and time."""

    def test_before_anybody_asks_there_is_nothing_to_do(self):
        """Nor after the end."""
        for phase in ("new", "finalized", "failed", "cancelled"):
            assert at(phase).step() == Wait()
            assert (waiting_for(at(phase).state), deadline(at(phase).state)) == ((), None)

    def test_agents_are_searched_and_invited(self):
        """Right away, whatever the time."""
        assert isinstance(at("understood").step(), Search)
        assert isinstance(at("filtered").step(), Invite)
        for phase in ("understood", "filtered"):
            assert (waiting_for(at(phase).state), deadline(at(phase).state)) == ((), None)

    @pytest.mark.parametrize(("seconds", "is_over"), [(-0.001, False), (0.0, True), (0.001, True)])
    def test_offers_are_waited_for_until_the_deadline(self, seconds, is_over):
        """It counts from the invitation; at its very end it is over."""
        negotiation = asked("venue").offer("bob", "venue")
        until = seconds_of(negotiation.state.invited_at) + 30.0
        assert deadline(negotiation.state) == until == START + 3.0 + 30.0
        assert waiting_for(negotiation.state) == ("eve", "dan")
        step = next_step(negotiation.state, until + seconds, LIMITS)
        assert isinstance(step, Propose) if is_over else step == Wait(until)

    def test_when_all_have_answered_the_deadline_is_not_waited_for(self):
        """Offers and refusals both are answers."""
        negotiation = asked("venue").offer("bob", "venue").decline("eve")
        assert isinstance(negotiation.step(), Wait)
        assert isinstance(negotiation.decline("dan").step(), Propose)
        assert waiting_for(negotiation.state) == ()

    @pytest.mark.parametrize(
        ("offers", "reason"),
        [([], "no_offers"), ([("bob", ["catering"], 5)], "no_agreement")],
        ids=["nobody", "something else"],
    )
    def test_without_a_plan_the_gap_is_named_and_then_it_has_failed(self, offers, reason):
        """A sub-negotiation is tried first."""
        negotiation = offered(["venue"], offers).later()
        assert negotiation.step() == NameGaps((Missing("venue", "no_offer"),), 1, 1)
        negotiation.take(NameGaps((Missing("venue", "no_offer"),), 0, 1))
        assert negotiation.step() == GiveUp(reason, {"missing": ["venue"]})

    def test_nobody_is_not_invited(self):
        """Candidates that somebody else recorded may be none."""
        negotiation = at("understood").post("towow.filter.completed", {"candidates": []})
        assert negotiation.step() == GiveUp("no_candidates", {})

    @pytest.mark.parametrize(("seconds", "is_over"), [(-0.001, False), (0.0, True), (0.001, True)])
    def test_sub_negotiations_are_waited_for_until_their_deadline(self, seconds, is_over):
        """The first that is overdue is given up; the wait is for the next deadline."""
        negotiation = at("filling_gaps")
        negotiation.do(commands.NameMissing((Missing("x", "no_offer"),), 1, 1, 60.0))
        first, second = negotiation.state.subnets
        until = seconds_of(second.timestamp) + 60.0
        assert deadline(negotiation.state) == until < seconds_of(first.timestamp) + 120.0
        assert waiting_for(negotiation.state) == ()
        step = next_step(negotiation.state, until + seconds, LIMITS)
        assert step == (GiveUpSubnet(second) if is_over else Wait(until))
        assert next_step(negotiation.state, until + 1_000.0, LIMITS) == GiveUpSubnet(first)
        negotiation.do(commands.CompleteSubnet(second.subnet_id, "failed", "no_offers"))
        assert deadline(negotiation.state) == seconds_of(first.timestamp) + 120.0
        assert next_step(negotiation.state, until, LIMITS) == Wait(seconds_of(first.timestamp) + 120.0)
        negotiation.do(commands.CompleteSubnet(first.subnet_id, "failed", "no_offers"))
        assert isinstance(next_step(negotiation.state, until, LIMITS), NameGaps | Propose)
        assert deadline(negotiation.state) is None

    @pytest.mark.parametrize(("seconds", "is_over"), [(-0.001, False), (0.0, True), (0.001, True)])
    def test_answers_are_waited_for_until_the_deadline(self, seconds, is_over):
        """It counts from the proposal; who was silent then is left out."""
        negotiation = offered(["venue"], [("bob", ["venue"], 5), ("eve", ["venue"], 9)]).propose()
        until = seconds_of(negotiation.state.proposal.timestamp) + 20.0
        assert (deadline(negotiation.state), waiting_for(negotiation.state)) == (until, ("bob",))
        step = next_step(negotiation.state, until + seconds, LIMITS)
        assert parts(step.draft) == {"eve": ("venue",)} if is_over else step == Wait(until)

    def test_when_all_accept_it_is_agreed(self):
        """At once; without `confirm` the user need not say a word."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 5), ("eve", ["photography"], 9)]).propose()
        assert isinstance(negotiation.answer("eve").step(), Wait)
        assert negotiation.answer("bob").step() == Agree()

    def test_the_user_is_waited_for_when_it_has_to_confirm(self):
        """The user's yes, too; in time, or it has failed."""
        negotiation = Negotiation().submit("venue", confirm=True).invite("bob").offer("bob", "venue").propose()
        assert waiting_for(negotiation.state) == ("bob", "ann")
        negotiation.answer("bob")
        assert waiting_for(negotiation.state) == ("ann",)
        until = deadline(negotiation.state)
        assert negotiation.step() == Wait(until)
        assert next_step(negotiation.state, until, LIMITS) == GiveUp("not_confirmed", {"user_id": "ann"})
        assert negotiation.user("accept").step() == Agree()
        assert waiting_for(negotiation.state) == ()

    @pytest.mark.parametrize("confirm", [True, False])
    @pytest.mark.parametrize("decision", ["revise", "reject"])
    def test_the_users_no_counts_whether_it_was_asked_or_not(self, decision, confirm):
        """Another round, or the end, although all agents accept."""
        negotiation = Negotiation().submit("venue", confirm=confirm).invite("bob").offer("bob", "venue").propose()
        negotiation.user(decision, "for 30 people").answer("bob")
        step = negotiation.step()
        assert isinstance(step, Propose) if decision == "revise" else step.reason == "rejected_by_user"

    def test_a_plan_of_what_was_agreed_below_alone_is_agreed_at_once(self):
        """Nobody has to be asked again, but the user when it has to confirm."""
        for confirm in (False, True):
            negotiation = Negotiation().submit("venue", confirm=confirm).invite("bob").decline("bob")
            with_subnet(negotiation, "venue", assignment("zoe", "venue")).propose()
            step = negotiation.step()
            assert isinstance(step, Wait) if confirm else step == Agree()

    def test_a_proposal_to_nobody_is_not_agreed(self):
        """Somebody else may append an empty one."""
        negotiation = asked("venue").post(PROPOSED, {"proposal_id": "p"})
        assert isinstance(negotiation.step(), NameGaps)

    def test_a_proposal_that_says_nothing_new_is_never_sent(self):
        """A revision that asks for nothing new, or for what was asked for before, ends the negotiation."""
        negotiation = asked("venue").offer("bob", "venue", price=5).propose().answer("bob", "revise", "", price=5)
        assert negotiation.step() == GiveUp("no_agreement", {})
        negotiation = asked("venue").offer("bob", "venue", price=5).propose().answer("bob", "revise", "later").propose()
        assert negotiation.answer("bob", "revise", "later").step() == GiveUp("no_agreement", {})

    def test_a_proposal_of_two_rounds_ago_is_not_sent_again_either(self):
        """Price up and down again."""
        negotiation = asked("venue").offer("bob", "venue", price=5).propose()
        negotiation.answer("bob", "revise", "", price=6).propose().answer("bob", "revise", "", price=5)
        assert negotiation.step() == GiveUp("no_agreement", {})

    @pytest.mark.parametrize("text", [" ", "\n\t"])
    def test_a_blank_word_is_nothing_new(self, text):
        """Blank comments and capabilities by somebody's own tools are lost on the way into a proposal, and compared without
        them."""
        negotiation = Negotiation().post(UNDERSTOOD, {"capabilities": [{"capability": "venue"}, {"capability": text}]})
        negotiation.invite("bob").offer("bob", "venue").propose()
        said = {"proposal_id": f"{DEMAND}-p1", "decision": "revise", "comment": text}
        negotiation.post(FEEDBACK, {**said, "agent_id": "bob"}).post(FEEDBACK, {**said, "user_id": "anonymous"})
        assert negotiation.step() == GiveUp("no_agreement", {})

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"terms": {"price": 6}}, id="a price"),
            pytest.param({"terms": {"price": 5, "date": "2026-03-01"}}, id="a term"),
            pytest.param({"conditions": ("later",)}, id="a condition"),
            pytest.param({"capabilities": ("venue", "x")}, id="a capability"),
            pytest.param({"subnet_id": "s"}, id="a sub-negotiation"),
            pytest.param({"agent_id": "eve"}, id="an agent"),
        ],
    )
    def test_what_a_participant_sees_makes_a_proposal_new(self, change):
        """And the missing, the requirements and the wishes; not the order of things, nor what was asked for first."""
        item = assignment("bob", "venue", "y", price=5)
        proposal = msgspec.structs.replace(asked("venue").offer("bob", "venue").propose().state.proposal, assignments=(item,))
        changed = msgspec.structs.replace(item, **change)
        assert fingerprint_of(proposal) != fingerprint_of(msgspec.structs.replace(proposal, assignments=(changed,)))
        for field, value in (("missing", ("x",)), ("requirements", Requirements(people=2)), ("wishes", ("x",))):
            assert fingerprint_of(proposal) != fingerprint_of(msgspec.structs.replace(proposal, **{field: value}))
        same = msgspec.structs.replace(item, capabilities=("y", "venue"), offered_price=7.0, name="B", offer_seq=9)
        same = msgspec.structs.replace(proposal, assignments=(same,), summary="other words", round=2, total_price=1.0)
        assert fingerprint_of(proposal) == fingerprint_of(same)

    @pytest.mark.parametrize("rounds", [1, 2, 5])
    def test_rounds_come_to_an_end(self, rounds):
        """After as many proposals as are allowed, an agreement is still possible; another round is not."""
        negotiation = Negotiation(limits=LIMITS._replace(max_rounds=rounds)).submit("venue").invite("bob").offer("bob", "venue")
        for number in range(rounds):
            negotiation.propose()
            if number < rounds - 1:
                negotiation.answer("bob", "revise", f"condition {number}")
        assert negotiation.state.current_round == rounds
        accepted = msgspec.structs.replace(negotiation.state)
        negotiation.answer("bob", "revise", "one more")
        assert negotiation.step() == GiveUp("rounds_exhausted", {"rounds": rounds})
        negotiation.state = accepted
        assert negotiation.answer("bob").step() == Agree()

    def test_in_the_last_round_no_gap_is_named_any_more(self):
        """There would be no proposal for it."""
        negotiation = offered(["venue", "photography"], [("bob", ["venue"], 5), ("eve", ["photography"], 5)])
        negotiation.limits = LIMITS._replace(max_rounds=1)
        negotiation.propose().answer("bob", "reject").answer("eve")
        assert negotiation.step() == GiveUp("rounds_exhausted", {"rounds": 1})

    def test_when_all_withdraw_it_has_failed(self):
        """What is missing is in the facts."""
        negotiation = offered(["venue"], [("bob", ["venue"], 5)]).propose().answer("bob", "reject")
        negotiation.take(NameGaps((Missing("venue", "withdrawn"),), 0, 2))
        assert negotiation.step() == GiveUp("no_agreement", {"missing": ["venue"]})

    def test_the_users_no_for_good_comes_before_the_budget_and_the_rounds(self):
        """The reason is the one that counts for the user."""
        negotiation = offered(["venue"], [("bob", ["venue"], 5)], budget=1.0)
        negotiation.limits = LIMITS._replace(max_rounds=1)
        negotiation.propose().answer("bob", "revise", "no less", price=5).user("reject")
        assert negotiation.step().reason == "rejected_by_user"


class TestGaps:
    """What is missing is named once; depth and breadth of sub-negotiations are limited."""

    def test_a_gap_is_named_once(self):
        """Then it is part of the proposal as missing, and not named again in a later round; another one is."""
        negotiation = offered(
            ["venue", "photography", "catering"], [("bob", ["venue"], 5), ("eve", ["photography"], 5)]
        ).later()
        step = negotiation.step()
        assert step == NameGaps((Missing("catering", "no_offer"),), 1, 1)
        negotiation.take(step._replace(subnets=0))
        negotiation.take()
        assert negotiation.state.proposal.missing == ("catering",)
        negotiation.answer("bob", "reject").answer("eve")
        step = negotiation.step()
        assert step == NameGaps((Missing("venue", "withdrawn"),), 1, 2)
        negotiation.take(step._replace(subnets=0))
        assert negotiation.step().draft.missing == (Missing("venue", "withdrawn"), Missing("catering", "no_offer"))
        assert [(each.capability, each.round) for each in negotiation.state.gaps] == [("catering", 1), ("venue", 2)]

    @pytest.mark.parametrize(
        ("gaps", "running", "max_subnets", "depth", "max_depth", "started"),
        [
            pytest.param(2, 0, 3, 0, 2, 2, id="room for all"),
            pytest.param(2, 2, 3, 0, 2, 1, id="room for one"),
            pytest.param(2, 3, 3, 0, 2, 0, id="no room"),
            pytest.param(2, 3, 2, 0, 2, 0, id="less than no room"),
            pytest.param(2, 0, 0, 0, 2, 0, id="none allowed"),
            pytest.param(2, 0, 1, 0, 2, 1, id="one allowed"),
            pytest.param(2, 0, 3, 1, 2, 2, id="the last depth"),
            pytest.param(2, 0, 3, 2, 2, 0, id="too deep"),
            pytest.param(2, 0, 3, 0, 0, 0, id="no depth at all"),
        ],
    )
    def test_sub_negotiations_are_limited_in_depth_and_breadth(self, gaps, running, max_subnets, depth, max_depth, started):
        """Breadth counts those that have ended, too; what has no room is only named."""
        wanted = [f"wanted {n}" for n in range(gaps)]
        negotiation = asked(*wanted).decline("bob").decline("eve").decline("dan")
        for n in range(running):
            negotiation.do(commands.NameMissing((Missing(f"other {n}", "no_offer"),), 1, 1, 60.0))
            negotiation.do(commands.CompleteSubnet(negotiation.state.subnets[n].subnet_id, "failed"))
        negotiation.state = msgspec.structs.replace(negotiation.state, depth=depth)
        negotiation.limits = LIMITS._replace(max_subnets=max_subnets, max_depth=max_depth)
        step = negotiation.step()
        assert step == NameGaps(tuple(Missing(each, "no_offer") for each in wanted), started, 1)

    def test_a_sub_negotiation_does_not_ask_its_own_question_again(self):
        """It has failed when nobody offers; other gaps of its own it may name."""
        negotiation = asked("venue").decline("bob").decline("eve").decline("dan")
        negotiation.take()
        child = negotiation.child().invite("zoe").later()
        assert child.step() == GiveUp("no_offers", {"missing": ["venue"]})
        child = negotiation.child().invite("zoe").offer("zoe", "venue", needs=["catering"])
        assert child.step() == NameGaps((Missing("catering", "needed_by", "zoe"),), 1, 1)

    def test_a_sub_negotiation_outside_the_lexicon_is_agreed_on_what_words_found(self):
        """And its parent takes it for the capability that was missing."""
        negotiation = offered(["venue"], [("bob", ["venue"], 5, "bee smoke")]).later()
        negotiation.take()
        child = negotiation.child().invite(candidate("zoe", "smoke for bees")).offer("zoe", "smoke for bees", price=3)
        child.propose().answer("zoe").take()
        agreed = child.state.proposal.assignments
        negotiation.do(commands.CompleteSubnet(SUBNET, child.state.phase, "", agreed))
        draft = negotiation.step().draft
        assert (parts(draft), draft.missing) == ({"bob": ("venue",), "zoe": ("smoke for bees",)}, ())


def test_a_draft_depends_on_the_state_alone():
    """Another process comes to the same proposal."""
    state = offered(["venue", "photography"], [("bob", ["venue"], 5), ("eve", ["photography"], 5)]).state
    again = msgspec.json.decode(msgspec.json.encode(state), type=type(state))
    assert compile_draft(again) == compile_draft(state)
