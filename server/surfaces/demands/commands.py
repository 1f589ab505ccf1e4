"""The commands of a negotiation, which `model.decide` turns into events.

Texts and terms in them have been checked by `inputs.py`, or come from the coordinator itself."""

from typing import Any, Literal, NamedTuple

import msgspec

from server.surfaces.demands.planning import Draft, Missing
from server.surfaces.demands.state import Assignment, Decision
from server.surfaces.demands.understanding import Requirements, Understanding

WrittenBy = Literal["rules", "llm"]


class Submit(msgspec.Struct, frozen=True):
    """Start a demand; with `confirm` the user's yes is needed too."""

    raw_input: str
    user_id: str
    understanding: Understanding
    requirements: Requirements = Requirements()
    confirm: bool = False
    written_by: WrittenBy = "rules"


class RecordCandidates(msgspec.Struct, frozen=True):
    """Record which agents were found, best first, and invite them; none ends the demand."""

    candidates: tuple[dict[str, Any], ...]
    within_seconds: float


class SendInvitations(msgspec.Struct, frozen=True):
    """Invite candidates that another publisher has recorded."""

    within_seconds: float


class OfferDraft(NamedTuple):
    """An offer before it is worded; `terms` has price and currency, people and date where known."""

    content: str
    capabilities: list[str]
    terms: dict[str, Any]
    needs: list[str]


class SubmitOffer(msgspec.Struct, frozen=True):
    """An invited agent's offer; `written_by` is None when the agent is not a built-in one."""

    agent_id: str
    content: str
    capabilities: tuple[str, ...]
    terms: dict[str, Any] = {}
    needs: tuple[str, ...] = ()
    written_by: WrittenBy | None = None


class DeclineOffer(msgspec.Struct, frozen=True):
    """An invited agent's no."""

    agent_id: str
    reason: str = ""
    written_by: WrittenBy | None = None


class NameMissing(msgspec.Struct, frozen=True):
    """Record what is not covered, and start sub-negotiations for the first `subnets` of it."""

    gaps: tuple[Missing, ...]
    subnets: int
    round: int
    subnet_within_seconds: float


class CompleteSubnet(msgspec.Struct, frozen=True):
    """Record how a sub-negotiation ended: finalized, failed, cancelled or timed_out; `missing` is what its plan lacks."""

    subnet_id: str
    outcome: str
    reason: str = ""
    assignments: tuple[Assignment, ...] = ()
    missing: tuple[str, ...] = ()


class Distribute(msgspec.Struct, frozen=True):
    """Send a proposal to the agents that have a part in it."""

    draft: Draft
    summary: str
    written_by: WrittenBy
    within_seconds: float


class AnswerProposal(msgspec.Struct, frozen=True):
    """Feedback to a proposal, of an agent or, without an `agent_id`, of the user."""

    proposal_id: str
    decision: Decision
    agent_id: str | None = None
    user_id: str | None = None
    comment: str = ""
    terms: dict[str, Any] = {}
    written_by: WrittenBy | None = None


class Finalize(msgspec.Struct, frozen=True):
    """Agree on the newest proposal."""


class FailDemand(msgspec.Struct, frozen=True):
    """End a demand that cannot go on; `reason` is a code, `message` is for people."""

    reason: str
    message: str


class CancelDemand(msgspec.Struct, frozen=True):
    """End a demand that is not wanted any more; `by` is user or parent."""

    reason: str
    by: Literal["user", "parent"] = "user"


Command = (
    Submit
    | RecordCandidates
    | SendInvitations
    | SubmitOffer
    | DeclineOffer
    | NameMissing
    | CompleteSubnet
    | Distribute
    | AnswerProposal
    | Finalize
    | FailDemand
    | CancelDemand
)
