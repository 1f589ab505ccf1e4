"""The state of a demand as values: what an evolving negotiation remembers, and the words of its events.

`model.py` says how events change it, `next_step.py` what comes next, `rendering.py` shows it. Nothing
here decides anything."""

import secrets
from typing import Any, Literal

import msgspec

from server.http.text_rules import Id
from server.surfaces.demands.understanding import Requirements

SOURCE = "towow"  # the source of events that this surface decides
KIND = "demand"

UNDERSTOOD = "towow.demand.understood"
FILTERED = "towow.filter.completed"
BROADCAST = "towow.demand.broadcast"
OFFERED = "towow.offer.submitted"
DECLINED = "towow.offer.declined"
GAP = "towow.gap.identified"
SUBNET_TRIGGERED = "towow.subnet.triggered"
DEADLINE_EXTENDED = "deadline.extended"
SUBNET_COMPLETED = "towow.subnet.completed"
PROPOSED = "towow.proposal.distributed"
FEEDBACK = "towow.proposal.feedback"
FINALIZED = "towow.proposal.finalized"
FAILED = "towow.negotiation.failed"
CANCELLED = "towow.negotiation.cancelled"

DEMAND_ID = Id("demand_id", has_colons=True)

TERMINAL_EVENTS = frozenset({FINALIZED, FAILED, CANCELLED})

Status = Literal["processing", "finalized", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("processing", "finalized", "failed", "cancelled")
Decision = Literal["accept", "revise", "reject"]

# Phases that end a demand; every other one is "processing".
_STATUSES: dict[str, Status] = {"finalized": "finalized", "failed": "failed", "cancelled": "cancelled"}


class Candidate(msgspec.Struct, frozen=True):
    """An agent that may serve a demand; `reason` is "capability: term", `score` is higher for a better match."""

    agent_id: str
    name: str = ""
    reason: str = ""
    score: float = 0.0
    capabilities: tuple[str, ...] = ()


class Offer(msgspec.Struct, frozen=True):
    """What an agent offers; `terms.price` is a number when it names one, `needs` is what it needs of others."""

    agent_id: str
    name: str
    content: str
    capabilities: tuple[str, ...]
    terms: dict[str, Any]
    needs: tuple[str, ...]
    written_by: str | None
    seq: int
    timestamp: str


class Decline(msgspec.Struct, frozen=True):
    """An agent's no to the invitation."""

    agent_id: str
    name: str
    reason: str
    seq: int
    timestamp: str


class Assignment(msgspec.Struct, frozen=True):
    """One agent's part of a proposal; `terms.price` is what is proposed, `offered_price` the price of its offer.

    With a `subnet_id` it was agreed in that sub-negotiation, and the agent is not asked again."""

    agent_id: str
    name: str
    capabilities: tuple[str, ...]
    offer_seq: int
    terms: dict[str, Any]
    offered_price: float | None
    conditions: tuple[str, ...]
    subnet_id: str | None = None


class Feedback(msgspec.Struct, frozen=True):
    """One answer to one proposal, of an agent or of the user; `by` is the author."""

    by: str
    is_user: bool
    name: str
    decision: str
    comment: str
    terms: dict[str, Any]
    written_by: str | None
    seq: int
    timestamp: str


class Proposal(msgspec.Struct, frozen=True):
    """A round: the proposal as it is distributed, and the answers so far, one of each at most. `seq` is 0 before it is
    stored."""

    proposal_id: str
    round: int
    assignments: tuple[Assignment, ...]
    missing: tuple[str, ...]
    total_price: float | None
    currency: str | None
    requirements: Requirements
    wishes: tuple[str, ...]
    considered: tuple[dict[str, Any], ...]
    summary: str
    written_by: str
    within_seconds: float
    seq: int = 0
    timestamp: str = ""
    feedback: tuple[Feedback, ...] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """The agents that have to answer: those whose part was not agreed in a sub-negotiation."""
        return tuple(item.agent_id for item in self.assignments if item.subnet_id is None)

    def answer_of(self, by: str, *, is_user: bool = False) -> Feedback | None:
        """What an agent, or the user, answered."""
        return next((item for item in self.feedback if item.is_user == is_user and (is_user or item.by == by)), None)


class Gap(msgspec.Struct, frozen=True):
    """A capability that nobody in the negotiation covers; not to be mixed up with gaps in a sequence."""

    capability: str
    gap: str
    reason: str
    needed_by: str | None
    round: int
    seq: int


class Subnet(msgspec.Struct, frozen=True):
    """A sub-negotiation for one gap; `outcome` is None while it runs, `missing` is what its plan lacks."""

    subnet_id: str
    capability: str
    within_seconds: float
    seq: int
    timestamp: str
    outcome: str | None = None
    reason: str = ""
    assignments: tuple[Assignment, ...] = ()
    missing: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """How a demand ended; `proposal` is the plan that was agreed."""

    event_type: str
    reason: str
    message: str
    proposal: dict[str, Any] | None
    seq: int
    timestamp: str


class DemandState(msgspec.Struct, frozen=True):
    """A demand folded from its stream; `created_*` are of the understanding, 0 and "" before it."""

    demand_id: str
    channel_id: str
    phase: str = "new"
    current_round: int = 1
    raw_input: str = ""
    user_id: str = "anonymous"
    surface_demand: str = ""
    confidence: str = "low"
    capabilities: tuple[tuple[str, str], ...] = ()
    language: str = "en"
    requirements: Requirements = Requirements()
    confirm: bool = False
    written_by: str = "rules"
    parent_demand_id: str | None = None
    depth: int = 0
    for_capability: str | None = None
    excluded_agents: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    invited: tuple[str, ...] = ()
    invited_at: str = ""
    offers_within_seconds: float = 0.0
    offers: tuple[Offer, ...] = ()
    declines: tuple[Decline, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    gaps: tuple[Gap, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    outcome: Outcome | None = None
    created_at: str = ""
    updated_at: str = ""
    created_seq: int = 0
    last_seq: int = 0
    revision: int = 0

    @property
    def status(self) -> Status:
        """The status for clients: `processing` until the demand has ended."""
        return status_of(self.phase)

    @property
    def exists(self) -> bool:
        """Whether the demand was submitted; a stream may hold notes alone."""
        return self.phase != "new"

    @property
    def is_open(self) -> bool:
        """Whether the negotiation goes on."""
        return self.exists and self.status == "processing"

    @property
    def proposal(self) -> Proposal | None:
        """The newest proposal."""
        return self.proposals[-1] if self.proposals else None

    def name_of(self, agent_id: str) -> str:
        """The name of a candidate; the id of anybody else."""
        return next((item.name for item in self.candidates if item.agent_id == agent_id and item.name), agent_id)

    def offer_of(self, agent_id: str) -> Offer | None:
        """The offer of an agent."""
        return next((item for item in self.offers if item.agent_id == agent_id), None)

    def decline_of(self, agent_id: str) -> Decline | None:
        """The refusal of an agent."""
        return next((item for item in self.declines if item.agent_id == agent_id), None)


def status_of(phase: str) -> Status:
    """The status of a phase."""
    return _STATUSES.get(phase, "processing")


def new_demand_id(digits: str | None = None) -> str:
    """A new id, `d-` and eight hex digits, random ones unless given; submitting retries when it is taken."""
    return f"d-{digits or secrets.token_hex(4)}"


def channel_id_of(demand_id: str) -> str:
    """The channel of a demand: `collab-` and the whole id without its `d-`."""
    return f"collab-{demand_id.removeprefix('d-')}"


def stream_of(demand_id: str) -> str:
    """The stream of a demand."""
    return f"{KIND}:{demand_id}"


def initial(demand_id: str) -> DemandState:
    """The state of a demand of which no event is known."""
    return DemandState(demand_id, channel_id_of(demand_id))
