"""The life of a demand: given events and a command, which events or error; the tables of phases are written out here again."""

from functools import partial

import msgspec
import pytest

from server.app import PROJECTIONS, is_terminal
from server.eventlog.decider import decide_and_append, fold
from server.eventlog.selection import select
from server.surfaces.demands import commands, model, planning, rendering
from server.surfaces.demands.model import PHASES, TRANSITIONS, decide, evolve
from server.surfaces.demands.next_step import waiting_for
from server.surfaces.demands.projections import project_demand
from server.surfaces.demands.state import (
    BROADCAST,
    CANCELLED,
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
    Candidate,
    channel_id_of,
    initial,
    new_demand_id,
    status_of,
)
from server.surfaces.demands.understanding.reader import understand
from server.surfaces.demands.understanding.requirements import Requirements
from tests.support import open_log
from tests.surfaces.demands.negotiating import (
    ANSWER_OF_ANN,
    ANSWER_OF_BOB,
    BOB,
    CHANNEL,
    COMPLETED,
    DAN,
    DEMAND,
    EVE,
    EVENT_TYPES,
    FOUND,
    MISSING,
    NAMED,
    OFFER_OF_EVE,
    START,
    STREAM,
    SUBMIT,
    SUBNET,
    TEXT,
    Negotiation,
    assignment,
    at,
    result_of,
)
from towow.errors import Conflict, Forbidden, NotFound
from towow.events import Event, payload_json, timestamp_of

# Every cell of the table of events: the first letters of the phase that follows, a dot where nothing follows.
# u understood, f filtered, c collecting_offers, g filling_gaps, p proposing, F finalized, X failed, C cancelled.
LETTERS = {
    "u": "understood",
    "f": "filtered",
    "c": "collecting_offers",
    "g": "filling_gaps",
    "p": "proposing",
    "F": "finalized",
    "X": "failed",
    "C": "cancelled",
}
ALL_PHASES = ("new", *LETTERS.values())
FOLLOWS = {
    # events in the order above: und fil bro off dec gap tri com pro fee fin fai can ext
    "new": "              u   .   .   .   .   .   .   .   .   .   .   .   .   .",
    "understood": "       .   f   .   .   .   .   .   .   .   .   F   X   C   .",
    "filtered": "         .   .   c   .   .   .   .   .   .   .   F   X   C   .",
    "collecting_offers": ".   .   .   c   c   g   .   .   p   .   F   X   C   c",
    "filling_gaps": "     .   .   .   .   .   g   g   g   p   .   F   X   C   g",
    "proposing": "        .   .   .   .   .   g   .   .   p   p   F   X   C   p",
    "finalized": "        .   .   .   .   .   .   .   .   .   .   .   .   .   .",
    "failed": "           .   .   .   .   .   .   .   .   .   .   .   .   .   .",
    "cancelled": "        .   .   .   .   .   .   .   .   .   .   .   .   .   .",
}
EVENT_CELLS = [
    pytest.param(phase, event_type, LETTERS.get(letter, phase), id=f"{phase} + {event_type}")
    for phase in ALL_PHASES
    for event_type, letter in zip(EVENT_TYPES, FOLLOWS[phase].split(), strict=True)
]

# Every cell of the table of commands: a word for what is decided in each phase.
TO_THOSE_LEFT = ("bob", "eve")  # dan has declined
TO_ALL_WHO_COUNT_ON_IT = ("bob", "eve", "zoe")  # zoe has agreed in the sub-negotiation
OUTCOMES = {
    "409": Conflict,
    "403": Forbidden,
    "404": NotFound,
    "again": [],
    "understood": [(STREAM, UNDERSTOOD)],
    "invited": [(STREAM, FILTERED), (STREAM, BROADCAST), *((f"agent:{each}", BROADCAST) for each in ("bob", "eve", "dan"))],
    "nobody": [(STREAM, FILTERED), (STREAM, FAILED)],
    "sent": [(STREAM, BROADCAST), *((f"agent:{each}", BROADCAST) for each in ("bob", "eve", "dan"))],
    "offered": [(STREAM, OFFERED)],
    "declined": [(STREAM, DECLINED)],
    "named": [(STREAM, GAP), (STREAM, SUBNET_TRIGGERED), (f"demand:{SUBNET}", UNDERSTOOD)],
    "nextname": [(STREAM, GAP), (STREAM, SUBNET_TRIGGERED), (f"demand:{DEMAND}.2", UNDERSTOOD)],
    "completed": [(STREAM, SUBNET_COMPLETED)],
    "proposed": [(STREAM, PROPOSED), ("agent:bob", PROPOSED)],
    "said": [(STREAM, FEEDBACK)],
    "agreed": [(STREAM, FINALIZED), *((f"agent:{each}", FINALIZED) for each in TO_ALL_WHO_COUNT_ON_IT)],
    "failed": [(STREAM, FAILED)],
    "failed-3": [(STREAM, FAILED), *((f"agent:{each}", FAILED) for each in ("bob", "eve", "dan"))],
    "failed-2": [(STREAM, FAILED), *((f"agent:{each}", FAILED) for each in TO_THOSE_LEFT)],
    "failed-z": [(STREAM, FAILED), *((f"agent:{each}", FAILED) for each in TO_ALL_WHO_COUNT_ON_IT)],
    "ended": [(STREAM, CANCELLED)],
    "ended-3": [(STREAM, CANCELLED), *((f"agent:{each}", CANCELLED) for each in ("bob", "eve", "dan"))],
    "ended-2": [(STREAM, CANCELLED), *((f"agent:{each}", CANCELLED) for each in TO_THOSE_LEFT)],
    "ended-z": [(STREAM, CANCELLED), *((f"agent:{each}", CANCELLED) for each in TO_ALL_WHO_COUNT_ON_IT)],
}
COMMANDS = {
    "submit": lambda state: SUBMIT,
    "candidates": lambda state: FOUND,
    "no candidates": lambda state: commands.RecordCandidates((), 30.0),
    "invite": lambda state: commands.SendInvitations(30.0),
    "offer": lambda state: OFFER_OF_EVE,
    "offer of an uninvited": lambda state: commands.SubmitOffer("zoe", "me", ("venue",)),
    "decline": lambda state: commands.DeclineOffer("eve", "ill"),
    "missing": lambda state: NAMED,
    "sub-negotiation ended": lambda state: COMPLETED,
    "propose": lambda state: commands.Distribute(planning.compile_draft(state), "bob does", "rules", 20.0),
    "agent's answer": lambda state: ANSWER_OF_BOB,
    "answer of an agent without a part": lambda state: commands.AnswerProposal(f"{DEMAND}-p1", "accept", "eve"),
    "user's answer": lambda state: ANSWER_OF_ANN,
    "answer of another user": lambda state: commands.AnswerProposal(f"{DEMAND}-p1", "accept", user_id="eve"),
    "answer to nothing": lambda state: commands.AnswerProposal(f"{DEMAND}-p9", "accept", "bob"),
    "agree": lambda state: commands.Finalize(),
    "fail": lambda state: commands.FailDemand("no_agreement", "nobody would"),
    "cancel": lambda state: commands.CancelDemand("changed my mind"),
}
DECIDED = {
    # phases:               new        understood filtered   collecting filling    proposing  finalized  failed     cancelled
    "submit": "             understood 409        409        409        409        409        409        409        409",
    "candidates": "         409        invited    409        409        409        409        409        409        409",
    "no candidates": "      409        nobody     409        409        409        409        409        409        409",
    "invite": "             409        409        sent       409        409        409        409        409        409",
    "offer": "              409        409        409        offered    409        409        409        409        409",
    "offer of an uninvited": "409      409        409        403        403        403        403        403        403",
    "decline": "            409        409        409        declined   409        409        409        409        409",
    "missing": "            409        409        409        named      nextname   nextname   409        409        409",
    "sub-negotiation ended": "404      404        404        404        completed  again      again      again      again",
    "propose": "            409        409        409        proposed-0 proposed   proposed-0 409        409        409",
    "agent's answer": "     409        409        409        409        409        said       again      409        409",
    "answer of an agent without a part": "409 409 409        409        409        403        403        403        403",
    "user's answer": "      409        409        409        409        409        said       409        409        409",
    "answer of another user": "409     409        409        409        409        403        403        403        403",
    "answer to nothing": "  409        409        409        409        409        404        404        404        404",
    "agree": "              409        409        409        409        409        agreed     409        409        409",
    "fail": "               409        failed     failed     failed-3   failed-2   failed-z   409        409        409",
    "cancel": "             409        ended      ended      ended-3    ended-2    ended-z    409        409        again",
}
OUTCOMES["proposed-0"] = [(STREAM, PROPOSED)]  # nobody has offered yet, or bob has said nothing to the first round
COMMAND_CELLS = [
    pytest.param(name, phase, OUTCOMES[word], id=f"{name} in {phase}")
    for name, row in DECIDED.items()
    for phase, word in zip(ALL_PHASES, row.split(), strict=True)
]
ILLEGAL = [(cell.values[0], cell.values[1]) for cell in COMMAND_CELLS if isinstance(cell.values[2], type)]


class TestTable:
    """Every cell: what may follow what."""

    def test_the_tables_here_name_every_phase_and_every_event(self):
        """A new phase or event type has to be added to the tables of these tests."""
        assert PHASES == (
            "new",
            "understood",
            "filtered",
            "collecting_offers",
            "filling_gaps",
            "proposing",
            "finalized",
            "failed",
            "cancelled",
        )
        assert set(ALL_PHASES) == set(PHASES)
        assert {event_type for _, event_type in TRANSITIONS} == set(EVENT_TYPES)
        assert len(EVENT_CELLS) == 9 * 14
        assert len(COMMAND_CELLS) == 9 * 18

    @pytest.mark.parametrize(("phase", "event_type", "after"), EVENT_CELLS)
    def test_every_event_in_every_phase_leads_to_the_phase_of_the_table(self, phase, event_type, after):
        """An event without a row changes the position and nothing else."""
        negotiation = at(phase)
        before = negotiation.state
        state = negotiation.post(event_type, {}).state
        assert state.phase == after
        assert (state.last_seq, state.revision) == (before.last_seq + 10, before.revision + 1)
        if FOLLOWS[phase].split()[EVENT_TYPES.index(event_type)] == ".":
            position = {"last_seq": state.last_seq, "revision": state.revision, "updated_at": state.updated_at}
            assert state == msgspec.structs.replace(before, **position)

    @pytest.mark.parametrize(("name", "phase", "expected"), COMMAND_CELLS)
    def test_every_command_in_every_phase_is_decided_as_in_the_table(self, name, phase, expected):
        """Which events on which streams, each once and in this order, or which error."""
        state = at(phase).state
        assert result_of(state, COMMANDS[name](state)) == expected

    @pytest.mark.parametrize(("name", "phase"), [pytest.param(*cell, id=" in ".join(cell)) for cell in ILLEGAL])
    def test_whoever_is_refused_is_told_where_the_demand_is(self, name, phase):
        """Status, phase and round come with every refusal but that of a sub-negotiation that only the coordinator names."""
        state = at(phase).state
        with pytest.raises((Conflict, Forbidden, NotFound)) as raised:
            decide(state, COMMANDS[name](state))
        if name == "sub-negotiation ended":
            assert raised.value.field == "subnet_id"
            return
        status = phase if phase in ("finalized", "failed", "cancelled") else "processing"
        assert raised.value.details == {"status": status, "phase": phase, "current_round": 1}

    def test_the_round_in_an_error_is_the_round_of_the_newest_proposal(self):
        """In round 2 a refusal says 2."""
        negotiation = at("proposing").answer("bob", "revise", "after six").propose()
        assert negotiation.state.current_round == 2
        with pytest.raises(Conflict) as raised:
            decide(negotiation.state, OFFER_OF_EVE)
        assert raised.value.details == {"status": "processing", "phase": "proposing", "current_round": 2}

    @pytest.mark.parametrize("phase", list(PHASES))
    async def test_illegal_commands_leave_the_log_untouched(self, phase, config):
        """On a real log: after every refused command the head is where it was, and so is every stream."""
        negotiation = at(phase)
        async with open_log(config, is_terminal=is_terminal, projections=PROJECTIONS) as log:
            if negotiation.appended:
                await log.append(negotiation.appended)
            head, refused = log.head_seq, 0
            for name, _ in [cell for cell in ILLEGAL if cell[1] == phase]:
                with pytest.raises((Conflict, Forbidden, NotFound)):
                    await decide_and_append(
                        log,
                        STREAM,
                        partial(fold, log, STREAM, initial(DEMAND), evolve),
                        lambda state, name=name: decide(state, COMMANDS[name](state)),
                    )
                refused += 1
                assert log.head_seq == head
            assert refused == sum(cell[1] == phase for cell in ILLEGAL) > 0
            page = await log.read(select((STREAM, "agent:bob", "agent:eve", "agent:dan", "agent:zoe")), 0)
            assert [event.event_type for event in page.events] == [
                event.event_type for event in negotiation.appended if event.stream != f"demand:{SUBNET}"
            ]

    def test_terminal_events_end_every_living_phase_and_nothing_leaves_the_end(self):
        """Whatever ends a stream also ends its demand, in every phase it can be in."""
        ends = {"finalized", "failed", "cancelled"}
        assert {FINALIZED, FAILED, CANCELLED} == TERMINAL_EVENTS
        assert {status_of(phase) for phase in set(PHASES) - ends} == {"processing"}
        assert {phase: status_of(phase) for phase in ends} == {phase: phase for phase in ends}
        assert not Negotiation().state.is_open
        assert all(at(phase).state.is_open == (phase not in {*ends, "new"}) for phase in PHASES)


class TestDecided:
    """What the events of commands carry."""

    def test_submit_becomes_one_event_with_everything_that_was_read(self):
        """Ids, summary, capabilities, requirements, the text, who asked and who read it; the stream must be new."""
        command = commands.Submit(TEXT, "ann", understand(TEXT), Requirements(20, 3000.0, "CNY", "2026-02-01"), True, "llm")
        (event,) = decide(initial(DEMAND), command)
        assert (event.stream, event.event_type, event.source, event.expected_revision) == (STREAM, UNDERSTOOD, "towow", 0)
        assert msgspec.json.decode(event.payload_json) == {
            "demand_id": DEMAND,
            "channel_id": CHANNEL,
            "surface_demand": TEXT,
            "confidence": "high",
            "capabilities": [{"capability": "venue", "term": "场地"}, {"capability": "photography", "term": "摄影师"}],
            "language": "zh",
            "raw_input": TEXT,
            "user_id": "ann",
            "requirements": {"people": 20, "budget": 3000.0, "currency": "CNY", "date": "2026-02-01"},
            "confirm": True,
            "written_by": "llm",
        }

    def test_candidates_are_recorded_as_found_and_invited(self):
        """The record, the invitation, and for each agent its own copy with all that it needs to answer."""
        negotiation = at("understood")
        negotiation.do(FOUND)
        found, invited = (event.payload for event in negotiation.stored[1:])
        assert found == {"demand_id": DEMAND, "channel_id": CHANNEL, "candidates": [BOB, EVE, DAN]}
        assert invited == {
            "demand_id": DEMAND,
            "channel_id": CHANNEL,
            "agent_ids": ["bob", "eve", "dan"],
            "offers_within_seconds": 30.0,
        }
        assert [agent_id for agent_id, _, _ in negotiation.copies] == ["bob", "eve", "dan"]
        assert negotiation.copies[1] == (
            "eve",
            BROADCAST,
            {
                "demand_id": DEMAND,
                "channel_id": CHANNEL,
                "agent_id": "eve",
                "name": "Eve",
                "surface_demand": TEXT,
                "raw_input": TEXT,
                "capabilities": [{"capability": "venue", "term": "场地"}, {"capability": "photography", "term": "摄影师"}],
                "requirements": {"people": 20},
                "language": "zh",
                "reason": "photography: photography",
                "parent_demand_id": None,
                "depth": 0,
                "offers_within_seconds": 30.0,
            },
        )

    def test_invitations_by_a_coordinator_that_came_later_are_the_same(self):
        """Killed between the record and the invitations, the next one invites the recorded candidates in the same words."""
        at_once, later = at("collecting_offers"), at("filtered")
        later.do(commands.SendInvitations(30.0))
        assert later.copies == at_once.copies
        assert later.stored[-1].payload == at_once.stored[-1].payload

    def test_an_agent_that_was_found_twice_is_invited_once(self):
        """A candidate list by somebody else may name an agent twice."""
        negotiation = at("understood")
        negotiation.do(commands.RecordCandidates((BOB, BOB), 30.0))
        assert negotiation.state.invited == ("bob",)
        assert [agent_id for agent_id, _, _ in negotiation.copies] == ["bob"]

    def test_no_candidates_end_the_demand_with_a_reason(self):
        """An empty result is recorded, and then the terminal failure with a reason and a message; nobody is told."""
        negotiation = at("understood")
        negotiation.do(commands.RecordCandidates((), 30.0))
        found, failed = negotiation.stored[1:]
        assert found.payload["candidates"] == []
        assert (failed.payload["reason"], failed.payload["round"]) == ("no_candidates", 1)
        assert failed.payload["message"]
        assert negotiation.copies == []

    def test_an_offer_is_kept_in_the_agents_words(self):
        """The name is the candidate's; only built-in agents say who wrote it."""
        negotiation = at("collecting_offers")
        negotiation.do(OFFER_OF_EVE)
        offer = {"content": "my camera", "capabilities": ["photography"], "terms": {"price": 300}, "needs": ["lighting"]}
        ids = {"demand_id": DEMAND, "channel_id": CHANNEL}
        assert negotiation.stored[-1].payload == {**ids, "agent_id": "eve", "name": "Eve", "offer": offer}
        negotiation.do(commands.SubmitOffer("bob", "a hall", ("venue",), written_by="llm"))
        assert negotiation.stored[-1].payload["written_by"] == "llm"
        negotiation.do(commands.DeclineOffer("dan", "ill", written_by="rules"))
        said = {"agent_id": "dan", "name": "Dan", "reason": "ill", "written_by": "rules"}
        assert negotiation.stored[-1].payload == {**ids, **said}

    def test_what_is_missing_becomes_gaps_and_sub_negotiations(self):
        """Breadth is the caller's: one of two is started, with everything of the parent that it has to know."""
        negotiation = at("collecting_offers").offer("bob", "venue", needs=["lighting"]).decline("dan")
        missing = (*MISSING, planning.Missing("lighting", "needed_by", "bob"))
        negotiation.do(commands.NameMissing(missing, 1, 1, 120.0))
        ids = {"demand_id": DEMAND, "channel_id": CHANNEL}
        first, triggered, second = (event.payload for event in negotiation.stored[-3:])
        assert first == {
            **ids,
            "capability": "photography",
            "gap": "没有代理愿意提供「摄影」。",
            "reason": "no_offer",
            "needed_by": None,
            "round": 1,
        }
        assert second["gap"].startswith("Bob ")
        assert (second["capability"], second["reason"], second["needed_by"]) == ("lighting", "needed_by", "bob")
        assert triggered == {
            **ids,
            "subnet_id": SUBNET,
            "parent_demand_id": DEMAND,
            "capability": "photography",
            "depth": 1,
            "surface_demand": f"摄影师 ← {TEXT}",
            "within_seconds": 120.0,
        }
        assert [event.expected_revision for event in negotiation.appended if event.stream == f"demand:{SUBNET}"] == [0]
        child = negotiation.child()
        (begun,) = child.stored
        assert begun.payload == {
            "demand_id": SUBNET,
            "channel_id": "collab-1a2b3c4d.1",
            "surface_demand": f"摄影师 ← {TEXT}",
            "confidence": "high",
            "capabilities": [{"capability": "photography", "term": "摄影师"}],
            "language": "zh",
            "raw_input": "摄影师",
            "user_id": "ann",
            "requirements": {"people": 20},
            "confirm": False,
            "written_by": "rules",
            "parent_demand_id": DEMAND,
            "depth": 1,
            "for_capability": "photography",
            "excluded_agents": ["eve", "dan"],
        }
        assert (child.state.depth, child.state.for_capability, child.state.parent_demand_id) == (1, "photography", DEMAND)

    def test_a_sub_negotiation_leaves_out_who_cannot_help(self):
        """Who declined, was silent or has withdrawn, who needs it, and whom the parent itself leaves out; the budget stays
        above."""
        root = Negotiation().submit("venue", budget=900.0, currency="EUR", people=8, confirm=True)
        root.invite("bob", "eve", "dan").offer("bob", "venue", needs=["bees"]).offer("eve", "venue").decline("dan")
        root.propose().answer("bob", "revise", "later")
        root.do(commands.NameMissing((planning.Missing("bees", "needed_by", "bob"),), 1, 2, 60.0))
        child = root.child()
        assert child.state.excluded_agents == ("dan", "bob")
        assert child.state.requirements == Requirements(people=8, currency="EUR")
        assert not child.state.confirm
        assert (child.state.capabilities, child.state.confidence, child.state.raw_input) == ((), "medium", "bees")
        child.invite("zoe").offer("zoe", "bees", needs=["smoke"])
        child.do(commands.NameMissing((planning.Missing("smoke", "needed_by", "zoe"),), 1, 1, 60.0))
        grandchild = child.child()
        assert grandchild.state.demand_id == f"{SUBNET}.1"
        assert grandchild.state.excluded_agents == ("dan", "bob", "zoe")
        assert (grandchild.state.depth, grandchild.state.parent_demand_id) == (2, SUBNET)
        assert root.child().state.excluded_agents == ("dan", "bob")

    def test_sub_negotiations_are_numbered_on(self):
        """The second gap's is .2, in whichever round it is named."""
        negotiation = at("filling_gaps")
        negotiation.do(commands.NameMissing((planning.Missing("catering", "no_offer"),), 1, 1, 60.0))
        assert [each.subnet_id for each in negotiation.state.subnets] == [SUBNET, f"{DEMAND}.2"]

    def test_a_number_that_somebody_else_took_is_passed_over(self):
        """A sub-negotiation that somebody made up does not take the place of the next one."""
        negotiation = at("filling_gaps").post(SUBNET_TRIGGERED, {"subnet_id": f"{DEMAND}.3", "capability": "x"})
        negotiation.do(commands.NameMissing((planning.Missing("catering", "no_offer"),), 1, 1, 60.0))
        assert [each.capability for each in negotiation.state.subnets] == ["photography", "x", "catering"]

    def test_a_long_demand_is_cut_in_the_title_of_its_sub_negotiation(self):
        """120 characters, with an ellipsis."""
        negotiation = Negotiation().submit("venue", text="x" * 118).invite("bob")
        negotiation.do(commands.NameMissing((planning.Missing("venue", "no_offer"),), 1, 1, 60.0))
        title = negotiation.child().state.surface_demand
        assert (len(title), title[:8], title[-1]) == (120, "venue ← ", "…")
        fitting = Negotiation().submit("venue", text="x" * 112).invite("bob")
        fitting.do(commands.NameMissing((planning.Missing("venue", "no_offer"),), 1, 1, 60.0))
        assert fitting.child().state.surface_demand == "venue ← " + "x" * 112

    def test_a_proposal_goes_to_those_who_have_a_part_in_it(self):
        """One copy each, with its own part; who agreed in a sub-negotiation is in the plan and is not asked again."""
        negotiation = at("proposing")
        own = {
            "agent_id": "bob",
            "name": "Bob",
            "capabilities": ["venue"],
            "offer_seq": 40,
            "terms": {"price": 500},
            "offered_price": 500.0,
            "conditions": [],
            "subnet_id": None,
        }
        agreed = {**own, "agent_id": "zoe", "name": "Zoe", "capabilities": ["photography"], "offer_seq": 1}
        agreed |= {"terms": {"price": 200.0}, "offered_price": 200.0, "subnet_id": SUBNET}
        body = {
            "demand_id": DEMAND,
            "channel_id": CHANNEL,
            "proposal_id": f"{DEMAND}-p1",
            "round": 1,
            "language": "zh",
            "assignments": [own, agreed],
            "missing": [],
            "total_price": 700.0,
            "currency": None,
            "requirements": {"people": 20},
            "wishes": [],
            "considered": [],
            "summary": "who does what",
            "feedback_within_seconds": 20.0,
            "written_by": "rules",
        }
        assert negotiation.stored[-1].payload == body
        sent = [copy for copy in negotiation.copies if copy[1] == PROPOSED]
        assert sent == [("bob", PROPOSED, {**body, "agent_id": "bob", "assignment": own})]

    def test_feedback_says_who_and_to_what(self):
        """An agent by its candidate's name, the user by the id; terms and the writer where there are any."""
        negotiation = at("proposing")
        ids = {"demand_id": DEMAND, "channel_id": CHANNEL, "proposal_id": f"{DEMAND}-p1", "round": 1}
        negotiation.do(commands.AnswerProposal(f"{DEMAND}-p1", "revise", "bob", None, "more", {"price": 9}, "rules"))
        said = {"decision": "revise", "comment": "more", "terms": {"price": 9}, "written_by": "rules"}
        assert negotiation.stored[-1].payload == {**ids, "agent_id": "bob", "name": "Bob", **said}
        negotiation.do(ANSWER_OF_ANN)
        said = {"decision": "accept", "comment": "", "terms": {}}
        assert negotiation.stored[-1].payload == {**ids, "user_id": "ann", "name": "ann", **said}
        by_ann = negotiation.state.proposal.answer_of("ann", is_user=True)
        assert (by_ann.is_user, by_ann.decision, by_ann.seq) == (True, "accept", negotiation.state.last_seq)

    @pytest.mark.parametrize("missing", [(), ("catering",)])
    def test_what_is_agreed_says_all_of_the_plan_and_who_said_yes(self, missing):
        """Complete only when nothing is missing; those who declined get no copy, who agreed below does."""
        negotiation = at("filling_gaps")
        negotiation.do(COMPLETED)
        draft = negotiation.draft()._replace(missing=tuple(planning.Missing(each, "no_offer") for each in missing))
        negotiation.do(commands.Distribute(draft, "all of it", "llm", 20.0))
        negotiation.answer("bob").user()
        negotiation.do(commands.Finalize())
        proposal = negotiation.state.proposal
        plan = {
            "assignments": [model.assignment_object(each) for each in proposal.assignments],
            "missing": list(missing),
            "total_price": 700.0,
            "currency": None,
            "summary": "all of it",
        }
        payload = {
            "demand_id": DEMAND,
            "channel_id": CHANNEL,
            "proposal_id": f"{DEMAND}-p1",
            "round": 1,
            "proposal": plan,
            "accepted_by": ["bob", "ann"],
            "is_complete": not missing,
            "written_by": "llm",
        }
        assert negotiation.stored[-1].payload == payload
        sent = [copy for copy in negotiation.copies if copy[1] == FINALIZED]
        assert sent == [(each, FINALIZED, {**payload, "agent_id": each}) for each in TO_ALL_WHO_COUNT_ON_IT]
        assert negotiation.state.outcome.proposal == plan

    def test_only_those_who_said_yes_are_named_as_such(self):
        """And there is nothing to agree on while gaps are filled, although there was a proposal."""
        negotiation = at("proposing").answer("bob", "revise", "more").user()
        negotiation.do(commands.NameMissing((planning.Missing("x", "no_offer"),), 0, 2, 1.0))
        assert result_of(negotiation.state, commands.Finalize()) is Conflict
        negotiation = at("proposing").answer("bob", "revise", "more").user()
        negotiation.do(commands.Finalize())
        assert negotiation.stored[-1].payload["accepted_by"] == ["ann"]

    def test_the_end_says_why(self):
        """A failure its reason, message and round; a cancelling its reason and whose it was."""
        failed, cancelled = at("failed"), at("proposing")
        cancelled.do(commands.CancelDemand("parent_ended", by="parent"))
        ids = {"demand_id": DEMAND, "channel_id": CHANNEL}
        assert failed.stored[-1].payload == {**ids, "reason": "no_agreement", "message": "nobody would", "round": 1}
        assert cancelled.stored[-1].payload == {**ids, "reason": "parent_ended", "by": "parent"}
        assert cancelled.copies[-1] == ("zoe", CANCELLED, {**ids, "reason": "parent_ended", "by": "parent", "agent_id": "zoe"})
        assert (failed.state.outcome.reason, failed.state.outcome.message) == ("no_agreement", "nobody would")
        assert failed.state.outcome.proposal is None

    def test_nothing_is_sent_twice_to_an_agent(self):
        """Who is invited and has agreed below as well is told the end once."""
        negotiation = at("filling_gaps")
        both = commands.CompleteSubnet(SUBNET, "finalized", "", (assignment("bob", "photography"), assignment("zoe", "bees")))
        negotiation.do(both)
        negotiation.propose().answer("bob").take()
        told = [agent_id for agent_id, event_type, _ in negotiation.copies if event_type == FINALIZED]
        assert told == ["bob", "eve", "zoe"]
        assert [copy[0] for copy in negotiation.copies if copy[1] == PROPOSED] == ["bob"]


class TestRepeats:
    """Saying the same again is no error and no event; saying something else is one."""

    @pytest.mark.parametrize("phase", ["collecting_offers", "filling_gaps", "proposing", "finalized", "failed", "cancelled"])
    def test_the_same_offer_and_the_same_no_again_are_nothing_new(self, phase):
        """In every later phase too, so that a lost answer can be asked for again."""
        negotiation = at(phase)
        if phase == "collecting_offers":
            negotiation.offer("bob", "venue", price=500).decline("dan")
        state = negotiation.state
        offer = commands.SubmitOffer("bob", "bob offers", ("venue",), {"price": 500})
        assert decide(state, offer) == []
        assert decide(state, msgspec.structs.replace(offer, written_by="rules")) == []
        assert decide(state, commands.DeclineOffer("dan", "no time")) == []

    @pytest.mark.parametrize(
        "command",
        [
            pytest.param(commands.SubmitOffer("bob", "another", ("venue",), {"price": 500}), id="other words"),
            pytest.param(commands.SubmitOffer("bob", "bob offers", ("venue", "bees"), {"price": 500}), id="other capabilities"),
            pytest.param(commands.SubmitOffer("bob", "bob offers", ("venue",), {"price": 501}), id="another price"),
            pytest.param(commands.SubmitOffer("bob", "bob offers", ("venue",), {"price": 500}, ("x",)), id="other needs"),
            pytest.param(commands.DeclineOffer("bob", "no time"), id="a no after an offer"),
            pytest.param(commands.DeclineOffer("dan", "ill"), id="another reason"),
            pytest.param(commands.SubmitOffer("dan", "I can", ("venue",)), id="an offer after a no"),
        ],
    )
    def test_a_different_answer_to_the_invitation_is_refused(self, command):
        """The first word counts."""
        negotiation = at("collecting_offers").offer("bob", "venue", price=500).decline("dan")
        with pytest.raises(Conflict, match="already answered"):
            decide(negotiation.state, command)

    @pytest.mark.parametrize("phase", ["proposing", "finalized", "failed", "cancelled", "round 2", "filling_gaps"])
    def test_the_same_feedback_again_is_nothing_new(self, phase):
        """Also when the round is over or everything is."""
        negotiation = at("proposing").answer("bob", "revise" if phase == "round 2" else "accept", "after six").user("accept")
        if phase == "round 2":
            negotiation.propose()
        elif phase == "filling_gaps":
            negotiation.do(commands.NameMissing((planning.Missing("x", "no_offer"),), 0, 2, 1.0))
        elif phase == "finalized":
            negotiation.do(commands.Finalize())
        elif phase == "failed":
            negotiation.do(commands.FailDemand("no_agreement", ""))
        elif phase == "cancelled":
            negotiation.do(commands.CancelDemand(""))
        decision = "revise" if phase == "round 2" else "accept"
        same = commands.AnswerProposal(f"{DEMAND}-p1", decision, "bob", comment="after six")
        assert decide(negotiation.state, same) == []
        assert decide(negotiation.state, ANSWER_OF_ANN) == []
        for changed in ({"decision": "reject"}, {"comment": "after seven"}, {"terms": {"price": 1}}):
            with pytest.raises(Conflict, match="already answered"):
                decide(negotiation.state, msgspec.structs.replace(same, **changed))

    def test_a_first_answer_to_an_older_proposal_comes_too_late(self):
        """Only the newest proposal is asked about."""
        negotiation = at("proposing").user("revise", "for 30 people").propose()
        with pytest.raises(Conflict, match="no longer"):
            decide(negotiation.state, msgspec.structs.replace(ANSWER_OF_BOB, decision="revise", comment="x"))

    def test_an_answer_between_the_rounds_comes_too_late(self):
        """While gaps are filled nobody is asked about the last proposal."""
        negotiation = at("proposing")
        negotiation.do(commands.NameMissing((planning.Missing("x", "no_offer"),), 0, 2, 1.0))
        with pytest.raises(Conflict, match="filling_gaps"):
            decide(negotiation.state, ANSWER_OF_BOB)

    def test_the_newest_of_two_proposals_with_one_id_is_answered(self):
        """Somebody else's proposal may have taken the name of the next round's."""
        negotiation = at("filling_gaps").post(
            PROPOSED, {"proposal_id": f"{DEMAND}-p2", "assignments": [{"agent_id": "bob"}], "round": 1}
        )
        negotiation.answer("bob", "revise", "no").propose()
        assert negotiation.state.proposal.proposal_id == f"{DEMAND}-p2"
        negotiation.answer("bob")
        assert negotiation.state.proposal.answer_of("bob").decision == "accept"

    def test_who_answers_is_not_mixed_up(self):
        """An agent with the user's id answers for itself, and the user for the user."""
        negotiation = Negotiation().submit("venue", user_id="bob", confirm=True).invite("bob").offer("bob", "venue").propose()
        negotiation.answer("bob", "revise", "x")
        assert waiting_for(negotiation.state) == ("bob",)
        negotiation.user("accept")
        assert [(each.by, each.is_user, each.decision) for each in negotiation.state.proposal.feedback] == [
            ("bob", False, "revise"),
            ("bob", True, "accept"),
        ]


class TestFold:
    """Events by anybody to state."""

    @pytest.mark.parametrize("event_type", ["note", "towow.filter.completed.", UNDERSTOOD, "towow.unheard.of"])
    def test_an_event_without_a_row_only_moves_the_position(self, event_type):
        """A note, a later release's event or a second understanding changes last_seq, revision and updated_at."""
        negotiation = at("understood")
        before = negotiation.state
        after = negotiation.post(event_type, {"surface_demand": "other", "user_id": "eve"}).state
        position = {"last_seq": 20, "revision": 2, "updated_at": "2026-01-01T00:00:02.000Z"}
        assert after == msgspec.structs.replace(before, **position)

    @pytest.mark.parametrize("seq", [9, 10])
    def test_an_event_that_was_seen_changes_nothing(self, seq):
        """Folding the same event twice gives the same state."""
        state = at("understood").state
        again = Event(seq, STREAM, 1, "x", FILTERED, timestamp_of(START), "curl", payload_json({"candidates": [BOB]}))
        assert evolve(state, again) is state

    def test_a_note_before_the_understanding_is_not_a_demand(self):
        """A stream with only notes does not exist as a demand; it does from the understanding on."""
        negotiation = Negotiation().post("note", {})
        assert not negotiation.state.exists
        state = negotiation.post(UNDERSTOOD, {"raw_input": "a venue"}).state
        assert state.exists
        assert (state.created_seq, state.created_at, state.last_seq) == (20, "2026-01-01T00:00:02.000Z", 20)
        assert state.surface_demand == "a venue"

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param({}, id="empty"),
            pytest.param({"surface_demand": 5, "capabilities": "venue", "user_id": None}, id="wrong types"),
            pytest.param({"capabilities": [None, 1, {}, {"capability": 3}, {"capability": ""}]}, id="broken list"),
            pytest.param({"confidence": [], "language": {}, "raw_input": True, "confirm": 1}, id="containers for texts"),
            pytest.param({"requirements": {"people": True, "budget": "1", "currency": 1, "date": []}}, id="requirements"),
            pytest.param({"requirements": {"people": 0, "budget": None}, "depth": -1, "excluded_agents": "x"}, id="numbers"),
            pytest.param({"requirements": [], "depth": True, "parent_demand_id": 7, "excluded_agents": [7]}, id="parent"),
        ],
    )
    def test_a_malformed_understanding_folds_to_defaults(self, payload):
        """Anybody may append to the stream; the answers still have their documented types."""
        state = Negotiation().post(UNDERSTOOD, payload).state
        answer = rendering.detail(state)
        assert answer["understanding"] == {
            "surface_demand": "",
            "confidence": "low",
            "capabilities": [],
            "language": "en",
            "requirements": {},
            "written_by": "rules",
        }
        assert (answer["user_id"], answer["raw_input"], answer["demand_id"]) == ("anonymous", "", DEMAND)
        assert (answer["confirm"], answer["parent_demand_id"], answer["depth"]) == (False, None, 0)
        assert state.excluded_agents == ()
        assert rendering.understanding_of(state).capabilities == ()

    def test_malformed_candidates_are_left_out(self):
        """Only candidates with an agent_id that can be a stream count; missing texts are empty and a missing score is 0."""
        broken = [1, None, {"name": "x"}, {"agent_id": "no id"}, {"agent_id": "a", "score": "high", "name": []}, BOB]
        state = at("understood").post(FILTERED, {"candidates": broken}).state
        assert state.candidates == (Candidate("a"), msgspec.convert(BOB, Candidate))
        assert at("understood").post(FILTERED, {"candidates": {"agent_id": "a"}}).state.candidates == ()

    @pytest.mark.parametrize("agent_id", ["no id", "", "x" * 123, "嗨", "a\nb"])
    def test_agents_without_a_stream_have_no_part(self, agent_id):
        """What could not be told to anybody must not keep a demand from ending."""
        negotiation = at("filtered").post(BROADCAST, {"agent_ids": [agent_id, "bob", "bob"]})
        assert negotiation.state.invited == ("bob",)
        part = {"agent_id": agent_id, "capabilities": ["venue"]}
        negotiation.post(GAP, {"capability": "x"}).post(SUBNET_TRIGGERED, {"subnet_id": SUBNET, "capability": "x"})
        negotiation.post(SUBNET_COMPLETED, {"subnet_id": SUBNET, "outcome": "finalized", "assignments": [part]})
        negotiation.post(PROPOSED, {"proposal_id": "p", "assignments": [part]})
        assert negotiation.state.proposal.assignments == ()
        assert negotiation.do(commands.CancelDemand("")) == [(STREAM, CANCELLED), ("agent:bob", CANCELLED)]

    @pytest.mark.parametrize("answer", [OFFERED, DECLINED])
    def test_only_the_first_answer_of_an_invited_agent_counts(self, answer):
        """Somebody else's, a second one and one of nobody leave the offers as they are."""
        negotiation = at("collecting_offers").offer("bob", "venue").decline("dan")
        before = negotiation.state
        for agent_id in ("bob", "dan", "zoe", "", None, 7, ["eve"]):
            negotiation.post(answer, {"agent_id": agent_id, "offer": {"content": "x"}, "reason": "x"})
        assert (negotiation.state.offers, negotiation.state.declines) == (before.offers, before.declines)
        negotiation.post(answer, {"agent_id": "eve", "name": "Mallory", "offer": [], "reason": 5})
        offers, declines = negotiation.state.offers[1:], negotiation.state.declines[1:]
        ((said,)) = offers or declines
        assert (said.agent_id, said.name, said.seq) == ("eve", "Eve", negotiation.state.last_seq)
        if offers:
            assert (said.content, said.capabilities, said.terms, said.needs, said.written_by) == ("", (), {}, (), None)
        else:
            assert said.reason == ""

    def test_only_the_first_answer_of_who_was_asked_counts(self):
        """Not of who has no part, not to another proposal, not another user's, no other word, not a second time."""
        negotiation = at("proposing")
        proposal_id = f"{DEMAND}-p1"
        for payload in (
            {"agent_id": "eve", "proposal_id": proposal_id, "decision": "accept"},
            {"agent_id": "zoe", "proposal_id": proposal_id, "decision": "accept"},  # agreed in the sub-negotiation
            {"agent_id": "bob", "proposal_id": f"{DEMAND}-p2", "decision": "accept"},
            {"agent_id": "bob", "decision": "accept"},
            {"agent_id": "bob", "proposal_id": proposal_id, "decision": "maybe"},
            {"agent_id": "bob", "proposal_id": proposal_id, "decision": ["accept"]},
            {"user_id": "eve", "proposal_id": proposal_id, "decision": "accept"},
            {"proposal_id": proposal_id, "decision": "accept"},
        ):
            assert negotiation.post(FEEDBACK, payload).state.proposal.feedback == ()
        answer = {"agent_id": "bob", "proposal_id": proposal_id, "decision": "reject", "comment": 7, "terms": [], "name": "M"}
        negotiation.post(FEEDBACK, answer).post(FEEDBACK, {**answer, "decision": "accept"})
        (said,) = negotiation.state.proposal.feedback
        assert (said.by, said.name, said.is_user, said.decision, said.comment, said.terms) == (
            "bob",
            "Bob",
            False,
            "reject",
            "",
            {},
        )

    def test_only_sub_negotiations_of_this_demand_are_its_own(self):
        """Their ids begin with the demand's, and name a stream; each ends once."""
        negotiation = at("filling_gaps")
        for subnet_id in ("d-other.1", DEMAND, f"{DEMAND}x.1", f"{DEMAND}.no id", SUBNET, None, 5):
            negotiation.post(SUBNET_TRIGGERED, {"subnet_id": subnet_id, "capability": "x", "within_seconds": 5})
        ((subnet),) = negotiation.state.subnets
        assert (subnet.capability, subnet.within_seconds) == ("photography", 120.0)
        negotiation.post(SUBNET_COMPLETED, {"subnet_id": "d-other.1", "outcome": "finalized"})
        assert negotiation.state.subnets[0].outcome is None
        negotiation.post(SUBNET_COMPLETED, {"subnet_id": SUBNET})
        assert (negotiation.state.subnets[0].outcome, negotiation.state.subnets[0].assignments) == ("failed", ())
        negotiation.post(SUBNET_COMPLETED, {"subnet_id": SUBNET, "outcome": "finalized"})
        assert negotiation.state.subnets[0].outcome == "failed"

    @pytest.mark.parametrize(
        ("given", "current"), [(7, 7), (1_000, 1_000), (1_001, 1), (0, 1), (-1, 1), (True, 1), ("3", 1), (1.5, 1), (None, 1)]
    )
    def test_the_round_is_the_proposals_when_it_is_one(self, given, current):
        """Else the round stays where it was, and the proposal is counted."""
        state = at("filling_gaps").post(PROPOSED, {"round": given}).state
        assert state.current_round == current
        assert state.proposal.round == current

    @pytest.mark.parametrize(
        ("given", "seconds"),
        [
            (5, 5.0),
            (0, 0.0),
            (0.5, 0.5),
            (-1, 30.0),
            (True, 30.0),
            ("5", 30.0),
            (86_400, 86_400.0),
            (86_401, 86_400.0),
            (1e300, 86_400.0),
        ],
    )
    def test_a_time_that_is_none_is_the_default(self, given, seconds):
        """A demand waits for a day at most."""
        state = at("filtered").post(BROADCAST, {"agent_ids": ["bob"], "offers_within_seconds": given}).state
        assert state.offers_within_seconds == seconds
        proposed = at("filling_gaps").post(PROPOSED, {"feedback_within_seconds": given}).state
        assert proposed.proposal.within_seconds == seconds
        subnet = (
            at("filling_gaps").post(SUBNET_TRIGGERED, {"subnet_id": f"{DEMAND}.2", "within_seconds": given}).state.subnets[1]
        )
        assert subnet.within_seconds == seconds

    def test_of_long_lists_and_texts_what_is_within_reason_counts(self):
        """A hundred capabilities and needs of up to a thousand characters, without blank ones."""
        texts = [f"{n}" for n in range(101)]
        long = ["x" * 1_000, "y" * 1_001, " ", "\n"]
        asked = [{"capability": text} for text in texts]
        negotiation = Negotiation().post(UNDERSTOOD, {"capabilities": asked})
        assert [capability for capability, _ in negotiation.state.capabilities] == texts[:100]
        short = Negotiation().post(UNDERSTOOD, {"capabilities": [{"capability": text} for text in long]})
        assert short.state.capabilities == (("x" * 1_000, ""),)
        negotiation.invite("bob", "eve")
        negotiation.post(OFFERED, {"agent_id": "bob", "offer": {"capabilities": [*long, *texts], "needs": [*texts, *long]}})
        (offer,) = negotiation.state.offers
        assert offer.capabilities == ("x" * 1_000, *texts[:99])
        assert offer.needs == tuple(texts[:100])

    def test_the_stream_says_which_demand_it_is(self):
        """Ids inside a payload do not change the identity of the demand."""
        state = Negotiation().post(UNDERSTOOD, {"demand_id": "d-other", "channel_id": "x"}).state
        assert (state.demand_id, state.channel_id) == (DEMAND, CHANNEL)

    @pytest.mark.parametrize(
        "terms",
        [
            pytest.param(lambda: nested(61), id="as deep as an offer can be"),
            pytest.param(lambda: nested(60), id="as deep as a proposal can be"),
            pytest.param(lambda: {"note": "x" * 200_000}, id="as large as an offer can be"),
        ],
    )
    def test_terms_that_would_not_fit_a_proposal_do_not_end_the_demand(self, terms):
        """What one agent wrote with its own tools into the log must not keep the others from agreeing."""
        negotiation = Negotiation().submit("venue", "catering").invite("bob", "eve").offer("eve", "catering")
        negotiation.post(OFFERED, {"agent_id": "bob", "offer": {"capabilities": ["venue"], "terms": terms()}})
        negotiation.propose().answer("eve")
        for each in negotiation.state.proposal.recipients[:1]:
            if each == "bob":
                negotiation.answer("bob")
        negotiation.later().take()
        assert negotiation.state.is_open or negotiation.state.phase == "finalized"

    def test_a_number_that_the_table_cannot_hold_does_not_hide_the_demand(self, table):
        """Folded and projected are the same, whatever the depth is said to be."""
        event = Event(1, STREAM, 1, "e", UNDERSTOOD, timestamp_of(START), "curl", payload_json({"depth": 2**63}))
        project_demand(table, event)
        (row,) = table.execute("SELECT phase, depth FROM demands").fetchall()
        assert tuple(row) == ("understood", evolve(initial(DEMAND), event).depth)


def nested(levels):
    """An object in an object in an object."""
    value = {}
    for _ in range(levels - 1):
        value = {"x": value}
    return value


class TestIds:
    """Ids and channels."""

    def test_demand_ids_have_eight_hex_digits(self):
        """The form of source 000."""
        ids = {new_demand_id() for _ in range(100)}
        assert len(ids) == 100
        assert all(len(i) == 10 and i.startswith("d-") and int(i[2:], 16) >= 0 for i in ids)

    @pytest.mark.parametrize(
        ("demand_id", "channel_id"),
        [
            pytest.param("d-1a2b3c4d", "collab-1a2b3c4d", id="realistic"),
            pytest.param("d-1a2b3c4d.1", "collab-1a2b3c4d.1", id="a sub-negotiation"),
            pytest.param("d-1a2b3c4d-long", "collab-1a2b3c4d-long", id="the whole id, never a part"),
            pytest.param("d-d-1", "collab-d-1", id="one prefix only"),
            pytest.param("other", "collab-other", id="without a prefix"),
        ],
    )
    def test_the_channel_is_made_of_the_whole_id(self, demand_id, channel_id):
        """Two demands never share a channel because their ids share a beginning."""
        assert channel_id_of(demand_id) == channel_id

    def test_a_name_is_the_candidates_and_else_the_id(self):
        """Also when the candidate has none."""
        state = at("understood").post(FILTERED, {"candidates": [BOB, {"agent_id": "eve"}]}).state
        assert [state.name_of(each) for each in ("bob", "eve", "zoe")] == ["Bob", "eve", "zoe"]
