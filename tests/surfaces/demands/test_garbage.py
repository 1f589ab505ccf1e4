"""Whatever anybody wrote into a demand's stream: it folds, is told, is judged, and can be ended.

The histories have the words of the protocol with values that may be right, nearly right or anything."""

from functools import partial

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.surfaces.demands import SURFACE, commands, planning, rendering
from server.surfaces.demands.model import PHASES, decide
from server.surfaces.demands.next_step import next_step
from server.surfaces.demands.projections import get_demand, project_demand
from server.surfaces.demands.state import (
    BROADCAST,
    CANCELLED,
    DEADLINE_EXTENDED,
    DECLINED,
    FAILED,
    FEEDBACK,
    FILTERED,
    FINALIZED,
    GAP,
    OFFERED,
    PROPOSED,
    SUBNET_COMPLETED,
    SUBNET_TRIGGERED,
    TERMINAL_EVENTS,
    UNDERSTOOD,
    initial,
)
from tests.support import empty
from tests.surfaces.demands.negotiating import DEMAND, EVENT_TYPES, LIMITS, Negotiation, at, proposals_sent
from tests.surfaces.garbage import NUMBERS, anything
from tests.surfaces.garbage import mostly as garbage_mostly

IDS = st.sampled_from(["bob", "eve", "no id", "ann", f"{DEMAND}.1", f"{DEMAND}-p1", "venue", "photography", "a bee", " ", ""])
ANY = anything(IDS, "agent_id", "price")
mostly = partial(garbage_mostly, other=ANY)
TERMS = st.dictionaries(
    st.sampled_from(["price", "currency", "date", "x"]), st.one_of(NUMBERS, st.just("CNY"), ANY), max_size=3
)
PART = st.fixed_dictionaries(
    {"agent_id": mostly(IDS)},
    optional={
        "capabilities": mostly(st.lists(mostly(IDS), max_size=3)),
        "terms": mostly(TERMS),
        "conditions": ANY,
        "subnet_id": ANY,
    },
)
PARTS = mostly(st.lists(mostly(PART), max_size=3))
SECONDS = mostly(NUMBERS)
FIELDS = {
    "agent_id": mostly(IDS),
    "user_id": mostly(IDS),
    "agent_ids": mostly(st.lists(mostly(IDS), max_size=4)),
    "raw_input": mostly(st.text(max_size=10)),
    "capabilities": mostly(st.lists(mostly(st.fixed_dictionaries({"capability": mostly(IDS)})), max_size=3)),
    "requirements": mostly(
        st.fixed_dictionaries({}, optional={"people": NUMBERS, "budget": NUMBERS, "currency": IDS, "date": IDS})
    ),
    "confirm": st.booleans(),
    "depth": NUMBERS,
    "parent_demand_id": mostly(IDS),
    "for_capability": mostly(IDS),
    "candidates": PARTS,
    "offers_within_seconds": SECONDS,
    "feedback_within_seconds": SECONDS,
    "within_seconds": SECONDS,
    "seconds": SECONDS,
    "offer": mostly(
        st.fixed_dictionaries(
            {"capabilities": mostly(st.lists(mostly(IDS), max_size=3))},
            optional={"terms": mostly(TERMS), "needs": mostly(st.lists(mostly(IDS), max_size=3)), "content": ANY},
        )
    ),
    "capability": mostly(IDS),
    "needed_by": mostly(IDS),
    "round": NUMBERS,
    "subnet_id": mostly(st.sampled_from([f"{DEMAND}.1", f"{DEMAND}.2", f"{DEMAND}.no id"])),
    "outcome": mostly(st.sampled_from(["finalized", "failed", "x"])),
    "assignments": PARTS,
    "proposal_id": mostly(st.sampled_from([f"{DEMAND}-p1", f"{DEMAND}-p2"])),
    "missing": mostly(st.lists(mostly(IDS), max_size=3)),
    "total_price": NUMBERS,
    "decision": mostly(st.sampled_from(["accept", "revise", "reject"])),
    "comment": mostly(st.sampled_from(["", " ", "for 30 people", "budget 200", "on 2026-02-01"])),
    "terms": mostly(TERMS),
    "considered": ANY,
    "proposal": ANY,
}
PAYLOAD_OF = {
    UNDERSTOOD: (
        "raw_input",
        "user_id",
        "capabilities",
        "requirements",
        "confirm",
        "depth",
        "parent_demand_id",
        "for_capability",
    ),
    FILTERED: ("candidates",),
    BROADCAST: ("agent_ids", "offers_within_seconds"),
    OFFERED: ("agent_id", "offer"),
    DECLINED: ("agent_id", "comment"),
    GAP: ("capability", "needed_by", "round"),
    SUBNET_TRIGGERED: ("subnet_id", "capability", "within_seconds"),
    SUBNET_COMPLETED: ("subnet_id", "outcome", "assignments"),
    DEADLINE_EXTENDED: ("seconds",),
    PROPOSED: (
        "proposal_id",
        "round",
        "assignments",
        "missing",
        "total_price",
        "feedback_within_seconds",
        "considered",
        "requirements",
    ),
    FEEDBACK: ("agent_id", "user_id", "proposal_id", "decision", "comment", "terms"),
    FINALIZED: ("proposal", "round"),
    FAILED: ("round",),
    CANCELLED: ("round",),
}
# A likely order, so that many examples get far; whatever does not fit its phase is part of the test.
BEGINNING = (UNDERSTOOD, FILTERED, BROADCAST)
SHOWN = (rendering.detail, rendering.status, rendering.submitted)


@st.composite
def garbage(draw):
    """A history that anybody may have written: (event type, payload), the first of them mostly in the right order."""
    middle = draw(st.lists(st.sampled_from([each for each in EVENT_TYPES if each not in TERMINAL_EVENTS]), max_size=12))
    types = [*BEGINNING[: draw(st.sampled_from([3, 3, 3, 0, 1, 2]))], *middle]
    types += draw(st.sampled_from([[], [], [], [FINALIZED], [FAILED], [CANCELLED]]))
    return [
        (event_type, draw(st.fixed_dictionaries({}, optional={name: FIELDS[name] for name in PAYLOAD_OF[event_type]})))
        for event_type in types
    ]


class TestGarbage:
    """Whoever may append to a demand's stream can append anything."""

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(history=garbage())
    def test_whatever_was_written_the_demand_is_told_judged_and_ended(self, table, history):
        """Folding is total, the rows give the same state and the same JSON, every next step can be taken, and in some steps it
        ends."""
        empty(table, SURFACE.tables)
        negotiation = Negotiation()
        for event_type, payload in history:
            negotiation.post(event_type, payload)
            project_demand(table, negotiation.stored[-1])
            state = negotiation.state
            shown = msgspec.json.encode([show(state) for show in SHOWN])
            read = get_demand(table, DEMAND)
            assert read == (state if state.exists else initial(DEMAND))
            if state.exists:
                assert msgspec.json.encode([show(read) for show in SHOWN]) == shown
            planning.compile_draft(state)
            row = table.execute("SELECT phase, current_round, status, depth FROM demands").fetchall()
            assert row == ([(state.phase, state.current_round, state.status, state.depth)] if state.exists else [])
        if negotiation.state.is_open:
            decide(negotiation.state, commands.FailDemand("internal_error", ""))
            decide(negotiation.state, commands.CancelDemand(""))
        steps = 0
        while negotiation.state.is_open:
            assert steps < 60, [event.event_type for event in negotiation.stored]
            negotiation.now += 86_401.0
            negotiation.take()
            steps += 1
        sent = proposals_sent(negotiation)
        assert len(set(sent)) == len(sent)

    @settings(max_examples=50, deadline=None)
    @given(event_type=st.sampled_from(EVENT_TYPES), payload=st.dictionaries(st.sampled_from(sorted(FIELDS)), ANY, max_size=6))
    def test_any_json_in_any_event_leaves_a_demand_that_can_be_told(self, event_type, payload):
        """In every phase, with no field of the type that it should have."""
        for phase in PHASES:
            negotiation = at(phase).post(event_type, payload)
            msgspec.json.encode(rendering.detail(negotiation.state))
            next_step(negotiation.state, negotiation.now, LIMITS)
