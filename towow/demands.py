"""The calls of a negotiation, for both sides: users that submit demands, and agents that offer to serve them.

Every call but a submission may be repeated: the server answers a command that it has carried out with the same result. So each
is tried again through breaks and restarts. `client.py` has the calls of every stream."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from towow.events import Event
from towow.follow import StateCallback, follow
from towow.subscription import Subscription
from towow.transport import Order, Transport, given, json_body, path_segment

Decision = Literal["accept", "revise", "reject"]


class Capability(msgspec.Struct, frozen=True):
    """A capability that a demand needs, and the demand's own word for it."""

    capability: str
    term: str


class Understanding(msgspec.Struct, frozen=True):
    """The meaning that rules or a model (`written_by`) found in a demand."""

    surface_demand: str
    confidence: str
    capabilities: list[Capability]
    language: str
    requirements: dict[str, Any]
    written_by: str


class Submission(msgspec.Struct, frozen=True):
    """A submitted demand; `seq` is a cursor for its events."""

    demand_id: str
    channel_id: str
    status: str
    understanding: Understanding
    seq: int


class DemandSummary(msgspec.Struct, frozen=True):
    """One row of the list of demands, true at `last_seq`."""

    demand_id: str
    channel_id: str
    status: str
    phase: str
    surface_demand: str
    user_id: str
    created_at: str
    updated_at: str
    current_round: int
    last_seq: int
    created_seq: int
    parent_demand_id: str | None
    depth: int


class DemandPage(msgspec.Struct, frozen=True):
    """Demands, newest first; the next page is `before` the last one's `created_seq`."""

    demands: list[DemandSummary]
    has_more: bool
    head_seq: int
    epoch: str


class Candidate(msgspec.Struct, frozen=True):
    """An agent that may serve a demand; a higher `score` is a better match."""

    agent_id: str
    name: str
    reason: str
    score: float
    capabilities: list[str]


class Offer(msgspec.Struct, frozen=True):
    """An agent's offer; `terms` may have a `price` and a `currency`, `needs` are for other agents to cover."""

    agent_id: str
    name: str
    content: str
    capabilities: list[str]
    terms: dict[str, Any]
    needs: list[str]
    written_by: str | None
    seq: int
    timestamp: str


class Decline(msgspec.Struct, frozen=True):
    """An agent's refusal of an invitation."""

    agent_id: str
    name: str
    reason: str
    seq: int
    timestamp: str


class Assignment(msgspec.Struct, frozen=True):
    """One agent's part of a proposal; with a `subnet_id` it was agreed in that sub-negotiation."""

    agent_id: str
    name: str
    capabilities: list[str]
    offer_seq: int
    terms: dict[str, Any]
    offered_price: float | None
    conditions: list[str]
    subnet_id: str | None


class Feedback(msgspec.Struct, frozen=True):
    """One answer to a proposal, of the agent or the user `by`."""

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
    """A round of the negotiation: the plan, the capabilities it lacks, and the answers so far."""

    proposal_id: str
    round: int
    seq: int
    timestamp: str
    assignments: list[Assignment]
    missing: list[str]
    total_price: float | None
    currency: str | None
    wishes: list[str]
    considered: list[dict[str, Any]]
    summary: str
    written_by: str
    feedback: list[Feedback]


class Gap(msgspec.Struct, frozen=True):
    """A capability that no agent in the negotiation covers."""

    capability: str
    gap: str
    reason: str
    needed_by: str | None
    round: int
    seq: int


class Subnet(msgspec.Struct, frozen=True):
    """A sub-negotiation for a gap; `outcome` is None while it runs."""

    subnet_id: str
    capability: str
    outcome: str | None
    reason: str
    assignments: list[Assignment]
    missing: list[str]
    seq: int


class Outcome(msgspec.Struct, frozen=True):
    """The end of a demand; `proposal` is the agreed plan."""

    event_type: str
    reason: str
    message: str
    proposal: dict[str, Any] | None
    seq: int
    timestamp: str


class Demand(DemandSummary, frozen=True):
    """One demand and its negotiation, true at `last_seq`; `waiting_for` are the agents whose answer is due at `deadline_at`."""

    understanding: Understanding
    raw_input: str
    confirm: bool
    requirements: dict[str, Any]
    candidates: list[Candidate]
    offers: list[Offer]
    declined: list[Decline]
    waiting_for: list[str]
    deadline_at: str | None
    proposals: list[Proposal]
    gaps: list[Gap]
    subnets: list[Subnet]
    outcome: Outcome | None


class Agent(msgspec.Struct, frozen=True):
    """A registered agent; `sample` marks those of the program itself."""

    agent_id: str
    name: str
    capabilities: list[str]
    description: str
    sample: bool
    registered_at: str
    seq: int


class Answered(msgspec.Struct, frozen=True):
    """A stored offer, refusal or feedback, and the state of the demand after it."""

    demand_id: str
    by: str
    seq: int
    status: str
    phase: str
    current_round: int


class CancelledDemand(msgspec.Struct, frozen=True):
    """A cancelled demand; `seq` is of its end."""

    demand_id: str
    status: str
    phase: str
    seq: int


class DemandCalls:
    """The calls of `Client` about demands and agents."""

    _transport: Transport

    # For users

    async def submit_demand(self, raw_input: str, user_id: str | None = None, *, confirm: bool = False) -> Submission:
        """Submit a demand. With `confirm` no proposal is final without the user's own accept.

        A demand has no idempotency key: it is tried again only when the server certainly did not take it."""
        body = json_body(raw_input=raw_input, user_id=user_id, confirm=confirm or None)
        return await self._transport.post(Submission, "/api/demand/submit", body, is_repeatable=False)

    async def demand(self, demand_id: str) -> Demand:
        """The present state of a demand and its negotiation. Raises `NotFound`."""
        return await self._transport.get(Demand, f"/api/demand/{path_segment(demand_id)}")

    async def demands(
        self,
        *,
        status: str | None = None,
        user_id: str | None = None,
        parent: str | None = None,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
        order: Order | None = None,
    ) -> DemandPage:
        """One page of demands, newest first, or the sub-negotiations of a `parent`; `before` and `after` are a `created_seq`,
        excluded."""
        asked = given(status=status, user_id=user_id, parent=parent, limit=limit, before=before, after=after, order=order)
        return await self._transport.get(DemandPage, "/api/demand", asked)

    async def cancel_demand(self, demand_id: str, reason: str | None = None, user_id: str | None = None) -> CancelledDemand:
        """End a negotiation without an agreement.

        Raises `NotFound`, `Forbidden` (another user's demand), `Conflict` (it has ended otherwise)."""
        body = json_body(reason=reason, user_id=user_id)
        return await self._transport.post(CancelledDemand, f"/api/demand/{path_segment(demand_id)}/cancel", body)

    # For agents

    async def register_agent(self, agent_id: str, name: str, capabilities: Sequence[str], description: str = "") -> Agent:
        """Register an agent, or change it; demands that need one of its capabilities find it."""
        body = json_body(agent_id=agent_id, name=name, capabilities=list(capabilities), description=description)
        return await self._transport.post(Agent, "/api/agents", body)

    def follow_agent(
        self,
        agent_id: str,
        *,
        since_seq: int | str | None = None,
        start: str | None = None,
        on_state: StateCallback | None = None,
    ) -> Subscription[Event]:
        """The events of an agent: invitations, proposals with a part for it, outcomes; each names its `demand_id`.

        Without a cursor from now on, `start="beginning"` for everything since it was registered. It resumes as
        `Client.follow` does, and never ends by itself. Raises `NotFound`, `CursorLost`."""
        path = f"/api/agents/{path_segment(agent_id)}/events"
        return follow(self._transport, [], path=path, since_seq=since_seq, start=start, on_state=on_state)

    async def offer(
        self,
        demand_id: str,
        agent_id: str,
        content: str,
        capabilities: Sequence[str],
        *,
        terms: Mapping[str, Any] | None = None,
        needs: Sequence[str] = (),
    ) -> Answered:
        """Answer an invitation with an offer.

        `content` is for people; `capabilities` are those it covers; `terms` the conditions, `price` and `currency` among them;
        `needs` the capabilities that this agent needs from others. Raises `NotFound`, `Forbidden` (not invited), `Conflict`
        (too late, or answered otherwise); the last two have the `phase` in `details`."""
        body = json_body(
            agent_id=agent_id,
            content=content,
            capabilities=list(capabilities),
            terms=None if terms is None else dict(terms),
            needs=list(needs) or None,
        )
        return await self._transport.post(Answered, f"/api/demand/{path_segment(demand_id)}/offers", body)

    async def decline(self, demand_id: str, agent_id: str, reason: str = "") -> Answered:
        """Answer an invitation with a refusal. Raises what `offer` raises."""
        body = json_body(agent_id=agent_id, decline=True, content=reason or None)
        return await self._transport.post(Answered, f"/api/demand/{path_segment(demand_id)}/offers", body)

    # For both

    async def feedback(
        self,
        demand_id: str,
        proposal_id: str,
        decision: Decision,
        *,
        agent_id: str | None = None,
        user_id: str | None = None,
        comment: str | None = None,
        terms: Mapping[str, Any] | None = None,
    ) -> Answered:
        """Answer a proposal, as an agent that has a part in it or as the user of the demand.

        `revise` needs a comment or terms, which go into the next round; an agent that rejects is left out from then on.
        Raises `NotFound`, `Forbidden` (no part in it), `Conflict` (an old proposal, or answered otherwise)."""
        body = json_body(
            agent_id=agent_id,
            user_id=user_id,
            proposal_id=proposal_id,
            decision=decision,
            comment=comment,
            terms=None if terms is None else dict(terms),
        )
        return await self._transport.post(Answered, f"/api/demand/{path_segment(demand_id)}/feedback", body)
