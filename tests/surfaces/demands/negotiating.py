"""A negotiation in memory for tests of its rules: what is decided is stored, folded and remembered, as the log would."""

import msgspec

from server.surfaces.demands import commands, planning
from server.surfaces.demands.model import TRANSITIONS, decide, evolve
from server.surfaces.demands.next_step import (
    Agree,
    GiveUp,
    GiveUpSubnet,
    Invite,
    NameGaps,
    NegotiationLimits,
    Propose,
    Search,
    deadline,
    next_step,
)
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
    SOURCE,
    SUBNET_COMPLETED,
    SUBNET_TRIGGERED,
    UNDERSTOOD,
    initial,
    stream_of,
)
from server.surfaces.demands.understanding.reader import Understanding, understand
from server.surfaces.demands.understanding.requirements import Requirements
from towow.errors import TowowError
from towow.events import Event, payload_json, timestamp_of

EVENT_TYPES = (
    UNDERSTOOD,
    FILTERED,
    BROADCAST,
    OFFERED,
    DECLINED,
    GAP,
    SUBNET_TRIGGERED,
    SUBNET_COMPLETED,
    PROPOSED,
    FEEDBACK,
    FINALIZED,
    FAILED,
    CANCELLED,
    DEADLINE_EXTENDED,
)
DEMAND = "d-1a2b3c4d"
START = 1_767_225_600.0  # 2026-01-01T00:00:00Z
LIMITS = NegotiationLimits(
    offer_timeout_seconds=30.0,
    feedback_timeout_seconds=20.0,
    subnet_timeout_seconds=120.0,
    max_rounds=5,
    max_depth=2,
    max_subnets=3,
)


def candidate(agent_id, *capabilities, score=1.0):
    """A candidate as the search finds it."""
    return {
        "agent_id": agent_id,
        "name": agent_id.title(),
        "reason": "; ".join(f"{each}: {each}" for each in capabilities),
        "score": score,
        "capabilities": list(capabilities),
    }


class Negotiation:
    """One demand. `seq` is ten times the revision, a second passes with every event, `now` may be set."""

    def __init__(self, demand_id=DEMAND, limits=LIMITS):
        self.limits = limits
        self.now = START
        self.state = initial(demand_id)
        self.appended = []  # every new event, of every stream, in the order of the log
        self.stored = []  # the events of the demand's own stream

    @property
    def copies(self):
        """What went to the streams of agents, as (agent id, event type, payload)."""
        events = [event for event in self.appended if event.stream.startswith("agent:")]
        return [
            (event.stream.removeprefix("agent:"), event.event_type, msgspec.json.decode(event.payload_json)) for event in events
        ]

    def do(self, command, *, only=None):
        """Decide and store; `only` so many of the events. Returns what was decided as (stream, event type)."""
        new = decide(self.state, command)[:only]
        for event in new:
            self.appended.append(event)
            if event.stream == stream_of(self.state.demand_id):
                assert (self.state.phase, event.event_type) in TRANSITIONS
                self._store(event.event_type, event.payload_json, event.source)
        return [(event.stream, event.event_type) for event in new]

    def post(self, event_type, payload):
        """Store an event that somebody else wrote."""
        self._store(event_type, payload_json(payload), "curl")
        return self

    def _store(self, event_type, text, source):
        number = len(self.stored) + 1
        self.now += 1.0
        event = Event(
            number * 10, stream_of(self.state.demand_id), number, f"e{number}", event_type, timestamp_of(self.now), source, text
        )
        self.stored.append(event)
        self.state = evolve(self.state, event)

    # What happens to a demand.

    def submit(self, *capabilities, text="a party", user_id="ann", language="en", confirm=False, **requirements):
        """Somebody asks for capabilities."""
        understanding = Understanding(
            surface_demand=text, capabilities=tuple((each, each) for each in capabilities), confidence="high", language=language
        )
        self.do(commands.Submit(text, user_id, understanding, Requirements(**requirements), confirm))
        return self

    def invite(self, *agents, within_seconds=30.0):
        """Agents are found, by id or as candidates, and invited."""
        asked = [capability for capability, _ in self.state.capabilities]
        found = tuple(each if isinstance(each, dict) else candidate(each, *asked) for each in agents)
        self.do(commands.RecordCandidates(found, within_seconds))
        return self

    def offer(self, agent_id, *capabilities, needs=(), **terms):
        """An invited agent offers."""
        self.do(commands.SubmitOffer(agent_id, f"{agent_id} offers", capabilities, terms, tuple(needs)))
        return self

    def decline(self, agent_id):
        """An invited agent does not want to."""
        self.do(commands.DeclineOffer(agent_id, "no time"))
        return self

    def answer(self, agent_id, decision="accept", comment="", **terms):
        """An agent answers the newest proposal."""
        self.do(commands.AnswerProposal(self.state.proposal.proposal_id, decision, agent_id, comment=comment, terms=terms))
        return self

    def user(self, decision="accept", comment=""):
        """The user answers the newest proposal."""
        self.do(commands.AnswerProposal(self.state.proposal.proposal_id, decision, user_id=self.state.user_id, comment=comment))
        return self

    # What the coordinator does about it.

    def later(self):
        """Everybody has had his time."""
        self.now = max(self.now, deadline(self.state) or 0.0)
        return self

    def step(self):
        """What comes next."""
        return next_step(self.state, self.now, self.limits)

    def take(self, step=None):
        """Take the next step, or this one; returns it."""
        step = self.step() if step is None else step
        match step:
            case Search():
                self.do(commands.RecordCandidates((), self.limits.offer_timeout_seconds))
            case Invite():
                self.do(commands.SendInvitations(self.limits.offer_timeout_seconds))
            case NameGaps():
                self.do(commands.NameMissing(step.gaps, step.subnets, step.round, self.limits.subnet_timeout_seconds))
            case GiveUpSubnet():
                self.do(commands.CompleteSubnet(step.subnet.subnet_id, "timed_out", "timed_out"))
            case Propose():
                self.do(commands.Distribute(step.draft, "who does what", "rules", self.limits.feedback_timeout_seconds))
            case Agree():
                self.do(commands.Finalize())
            case GiveUp():
                self.do(commands.FailDemand(step.reason, "so it is"))
            case _:
                raise AssertionError(f"nothing to do: {step}")
        return step

    def propose(self):
        """Name what is missing, without sub-negotiations, and send the proposal that follows."""
        step = self.later().step()
        if isinstance(step, NameGaps):
            self.take(step._replace(subnets=0))
            step = self.step()
        assert isinstance(step, Propose), step
        self.take(step)
        return self

    def draft(self):
        """The proposal that would follow now."""
        return planning.compile_draft(self.state)

    def child(self, number=1):
        """A sub-negotiation that was started, as a negotiation of its own."""
        child = Negotiation(f"{self.state.demand_id}.{number}", self.limits)
        stream = stream_of(child.state.demand_id)
        (first,) = [event for event in self.appended if (event.stream, event.event_type) == (stream, UNDERSTOOD)]
        child.now = self.now
        child._store(first.event_type, first.payload_json, first.source)
        return child


def assignment(agent_id, *capabilities, price=None, **fields):
    """An assignment as a sub-negotiation agreed on it."""
    terms = {} if price is None else {"price": price}
    return planning.Assignment(agent_id, agent_id.title(), capabilities, 1, terms, price, (), **fields)


def parts(draft):
    """Who does what in a draft or a proposal."""
    return {each.agent_id: each.capabilities for each in draft.assignments}


def prices(draft):
    """The prices that are proposed."""
    return {each.agent_id: each.terms.get("price") for each in draft.assignments}


def result_of(state, command):
    """What a command becomes: (stream, event type) of each event, or the class of the error."""
    try:
        return [(event.stream, event.event_type) for event in decide(state, command)]
    except TowowError as error:
        return type(error)


def proposals_sent(negotiation):
    """What participants were shown of each proposal that the coordinator sent, apart from its number and the talk about it."""
    payloads = [each.payload for each in negotiation.stored if (each.event_type, each.source) == (PROPOSED, SOURCE)]
    part = ("agent_id", "subnet_id", "capabilities", "terms", "conditions")
    return [
        repr(
            [
                sorted([repr(each[key]) for key in part] for each in payload["assignments"]),
                sorted(payload["missing"]),
                sorted(payload["requirements"].items()),
                payload["wishes"],
            ]
        )
        for payload in payloads
    ]


# One story, as far as each phase: ann asks for a venue and a photographer.

TEXT = "需要场地和摄影师"
STREAM = f"demand:{DEMAND}"
CHANNEL = "collab-1a2b3c4d"
SUBNET = f"{DEMAND}.1"
BOB = candidate("bob", "venue", score=6.5)
EVE = candidate("eve", "photography", score=4.0)
DAN = candidate("dan", "venue", score=2.0)

SUBMIT = commands.Submit(TEXT, "ann", understand(TEXT), Requirements(people=20), written_by="rules")
FOUND = commands.RecordCandidates((BOB, EVE, DAN), 30.0)
OFFER_OF_EVE = commands.SubmitOffer("eve", "my camera", ("photography",), {"price": 300}, ("lighting",))
MISSING = (planning.Missing("photography", "no_offer"),)
NAMED = commands.NameMissing(MISSING, 1, 1, 120.0)
AGREED = (assignment("zoe", "photography", price=200.0),)
COMPLETED = commands.CompleteSubnet(SUBNET, "finalized", "", AGREED)
ANSWER_OF_BOB = commands.AnswerProposal(f"{DEMAND}-p1", "accept", "bob")
ANSWER_OF_ANN = commands.AnswerProposal(f"{DEMAND}-p1", "accept", user_id="ann")


def at(phase):
    """A demand that has come to a phase by what was decided: bob offers, dan declines, eve says nothing, zoe is found for
    her."""
    negotiation = Negotiation()
    if phase == "new":
        return negotiation
    negotiation.do(SUBMIT)
    if phase == "understood":
        return negotiation
    negotiation.do(FOUND, only=1 if phase == "filtered" else None)
    if phase in ("filtered", "collecting_offers"):
        return negotiation
    negotiation.offer("bob", "venue", price=500).decline("dan")
    negotiation.do(NAMED)
    if phase == "filling_gaps":
        return negotiation
    negotiation.do(COMPLETED)
    negotiation.propose()
    if phase == "finalized":
        negotiation.answer("bob").take()
    elif phase == "failed":
        negotiation.do(commands.FailDemand("no_agreement", "nobody would"))
    elif phase == "cancelled":
        negotiation.do(commands.CancelDemand("changed my mind"))
    assert negotiation.state.phase == phase
    return negotiation
