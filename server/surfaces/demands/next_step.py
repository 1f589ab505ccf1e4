"""The next step of a negotiation: which answers are awaited and until when, and what follows when none is.

Pure. `next_step` is the whole judgement of the coordinator; it follows from the state, the time and the limits alone, so a
restarted coordinator, or another process, comes to the same step. `planning.py` makes the plan that a step may propose.
A proposal that says nothing new is never sent."""

from typing import Any, NamedTuple

from server.surfaces.demands.planning import (
    Draft,
    Missing,
    compile_draft,
    fingerprint_of,
    is_rejected_by_user_for_good,
    spellings,
)
from server.surfaces.demands.state import DemandState, Proposal, Subnet
from towow.events import seconds_of


class NegotiationLimits(NamedTuple):
    """What `[demands]` allows: seconds and counts."""

    offer_timeout_seconds: float
    feedback_timeout_seconds: float
    subnet_timeout_seconds: float
    max_rounds: int
    max_depth: int
    max_subnets: int


class Wait(NamedTuple):
    """Nothing, until something is appended or the time (seconds since 1970, None: no time) has come."""

    until: float | None = None


class Search(NamedTuple):
    """Look for candidates."""


class Invite(NamedTuple):
    """Send the demand to the candidates."""


class NameGaps(NamedTuple):
    """Record what is not covered, and start sub-negotiations for the first `subnets` of it."""

    gaps: tuple[Missing, ...]
    subnets: int
    round: int


class GiveUpSubnet(NamedTuple):
    """Go on without a sub-negotiation whose time is up."""

    subnet: Subnet


class Propose(NamedTuple):
    """Distribute a proposal."""

    draft: Draft


class Agree(NamedTuple):
    """Finalize the newest proposal: every recipient accepts it."""


class GiveUp(NamedTuple):
    """End without an agreement; `facts` fill the message."""

    reason: str
    facts: dict[str, Any]


Step = Wait | Search | Invite | NameGaps | GiveUpSubnet | Propose | Agree | GiveUp


def next_step(state: DemandState, now: float, limits: NegotiationLimits) -> Step:
    """The step for a demand that is open, at a time in seconds since 1970."""
    match state.phase:
        case "understood":
            return Search()
        case "filtered":
            return Invite() if state.candidates else GiveUp("no_candidates", {})
        case "collecting_offers":
            if waiting_for(state) and now < (until := deadline(state) or 0.0):
                return Wait(until)
            return _after_round(state, limits)
        case "filling_gaps":
            running = [subnet for subnet in state.subnets if subnet.outcome is None]
            overdue = next((subnet for subnet in running if _ends_at(subnet) <= now), None)
            if overdue is not None:
                return GiveUpSubnet(overdue)
            return Wait(min(map(_ends_at, running))) if running else _after_round(state, limits)
        case "proposing":
            return _judge(state, now, limits)
    return Wait()


def waiting_for(state: DemandState) -> tuple[str, ...]:
    """Whose answer is awaited now: agents by id, the user last."""
    if state.phase == "collecting_offers":
        return tuple(each for each in state.invited if state.offer_of(each) is None and state.decline_of(each) is None)
    proposal = state.proposal
    if state.phase != "proposing" or proposal is None:
        return ()
    agents = tuple(each for each in proposal.recipients if proposal.answer_of(each) is None)
    return agents if not _waits_for_user(state, proposal) else (*agents, state.user_id)


def deadline(state: DemandState) -> float | None:
    """When the present waiting ends, in seconds since 1970: counted from the event that began it."""
    match state.phase:
        case "collecting_offers":
            return seconds_of(state.invited_at) + state.offers_within_seconds
        case "filling_gaps":
            return min((_ends_at(subnet) for subnet in state.subnets if subnet.outcome is None), default=None)
        case "proposing" if state.proposal is not None:
            return seconds_of(state.proposal.timestamp) + state.proposal.within_seconds
    return None


def longest_wait(state: DemandState) -> float:
    """The seconds that the present waiting lasts at most."""
    if state.phase == "filling_gaps":
        return max((subnet.within_seconds for subnet in state.subnets), default=0.0)
    proposal = state.proposal
    return proposal.within_seconds if state.phase == "proposing" and proposal is not None else state.offers_within_seconds


def _ends_at(subnet: Subnet) -> float:
    return seconds_of(subnet.timestamp) + subnet.within_seconds


def _waits_for_user(state: DemandState, proposal: Proposal) -> bool:
    return state.confirm and proposal.answer_of(state.user_id, is_user=True) is None


def _judge(state: DemandState, now: float, limits: NegotiationLimits) -> Step:
    """A round: wait, agree, or go on."""
    proposal = state.proposal
    if proposal is None:  # only by events from elsewhere
        return GiveUp("no_agreement", {})
    until = deadline(state) or 0.0
    if waiting_for(state) and now < until:
        return Wait(until)
    user = proposal.answer_of(state.user_id, is_user=True)
    answers = [proposal.answer_of(agent_id) for agent_id in proposal.recipients]
    is_accepted = all(answer is not None and answer.decision == "accept" for answer in answers) and bool(proposal.assignments)
    if is_accepted and user is None and state.confirm:
        return GiveUp("not_confirmed", {"user_id": state.user_id})
    if is_accepted and (user is None or user.decision == "accept"):
        return Agree()
    return _after_round(state, limits)


def _after_round(state: DemandState, limits: NegotiationLimits) -> Step:
    """What follows when no answer is awaited: gaps to fill, a proposal, or the end."""
    draft = compile_draft(state)
    # A sub-negotiation without offers does not start another one for the same capability, nor does its parent.
    named = (
        *(gap.capability for gap in state.gaps),
        *(capability for subnet in state.subnets for capability in subnet.missing),
        *([state.for_capability] if state.for_capability else ()),
    )
    known = frozenset[str]().union(*map(spellings, named))
    gaps = tuple(item for item in draft.missing if not spellings(item.capability) & known)
    is_last = len(state.proposals) >= limits.max_rounds
    if gaps and not is_last:
        room = limits.max_subnets - len(state.subnets) if state.depth < limits.max_depth else 0
        return NameGaps(gaps, min(max(0, room), len(gaps)), draft.round)
    if not draft.assignments:
        return GiveUp("no_agreement" if state.offers else "no_offers", {"missing": [item.capability for item in draft.missing]})
    proposal = state.proposal
    if proposal is not None and is_rejected_by_user_for_good(state, proposal):
        return GiveUp("rejected_by_user", {"user_id": state.user_id})
    if draft.is_over_budget:
        facts = {"total_price": draft.total_price, "budget": draft.requirements.budget, "currency": draft.currency}
        return GiveUp("over_budget", facts)
    if is_last:
        return GiveUp("rounds_exhausted", {"rounds": len(state.proposals)})
    if any(fingerprint_of(each) == draft.fingerprint for each in state.proposals):
        return GiveUp("no_agreement", {})
    return Propose(draft)
