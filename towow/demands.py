"""The calls of a negotiation, for both sides: who asks for something, and agents that offer it.

Every call but a submission may be repeated: the server knows an answer that it has, and says what it said
before. So each is tried again through breaks and restarts. `calls.py` has the calls of every stream."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from towow.events import Event, payload_json
from towow.follow import Following, StateCallback
from towow.responses import read_object
from towow.transport import Transport, path_segment

Decision = Literal["accept", "revise", "reject"]


class Negotiating:
    """What `Client` can do with demands and agents."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    # For who asks

    async def submit_demand(self, raw_input: str, user_id: str | None = None, *, confirm: bool = False) -> dict[str, Any]:
        """Submit a demand and return `{"demand_id", "channel_id", "status", "understanding", "seq"}`.

        With `confirm` no proposal is final without the user's own accept. A demand has no idempotency key: it
        is tried again only when the server certainly did not take it."""
        fields = {"raw_input": raw_input, "user_id": user_id, "confirm": confirm or None}
        return await self._post("/api/demand/submit", fields, is_repeatable=False)

    async def demand(self, demand_id: str) -> dict[str, Any]:
        """The present state of a demand and its negotiation. Raises `NotFound`."""
        return read_object(await self._transport.call("GET", f"/api/demand/{path_segment(demand_id)}"))

    async def cancel_demand(self, demand_id: str, reason: str | None = None, user_id: str | None = None) -> dict[str, Any]:
        """End a negotiation without an agreement and return `{"demand_id", "status", "phase", "seq"}`.

        Raises `NotFound`, `Forbidden` (somebody else's demand), `Conflict` (it has ended otherwise)."""
        return await self._post(f"/api/demand/{path_segment(demand_id)}/cancel", {"reason": reason, "user_id": user_id})

    # For agents

    async def register_agent(
        self, agent_id: str, name: str, capabilities: Sequence[str], description: str = ""
    ) -> dict[str, Any]:
        """Register an agent, or change it, and return it; demands that need one of its capabilities find it."""
        fields = {"agent_id": agent_id, "name": name, "capabilities": list(capabilities), "description": description}
        return await self._post("/api/agents", fields)

    def follow_agent(
        self,
        agent_id: str,
        *,
        since_seq: int | str | None = None,
        start: str | None = None,
        on_state: StateCallback | None = None,
    ) -> AsyncGenerator[Event, None]:
        """What concerns an agent: invitations, proposals with a part for it, outcomes; each names its `demand_id`.

        Without a cursor from now on, `start="beginning"` for everything since it was registered. It resumes
        as `Client.follow` does, and never ends by itself. Raises `NotFound`, `CursorLost`."""
        following = Following(
            self._transport,
            [],
            path=f"/api/agents/{path_segment(agent_id)}/events",
            since_seq=since_seq,
            start=start,
            on_state=on_state,
        )
        return following.events()

    async def offer(
        self,
        demand_id: str,
        agent_id: str,
        content: str,
        capabilities: Sequence[str],
        *,
        terms: Mapping[str, Any] | None = None,
        needs: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Answer an invitation with an offer and return `{"seq", "revision", "phase", "current_round", …}`.

        `content` is for people; `capabilities` are what it covers; `terms` the conditions, `price` and
        `currency` among them; `needs` what this agent needs from somebody else. Raises `NotFound`, `Forbidden`
        (not invited), `Conflict` (too late, or answered otherwise); the last two say the `phase` in `details`."""
        fields = {
            "agent_id": agent_id,
            "content": content,
            "capabilities": list(capabilities),
            "terms": None if terms is None else dict(terms),
            "needs": list(needs) or None,
        }
        return await self._post(f"/api/demand/{path_segment(demand_id)}/offers", fields)

    async def decline(self, demand_id: str, agent_id: str, reason: str = "") -> dict[str, Any]:
        """Answer an invitation with no. Returns and raises what `offer` does."""
        fields = {"agent_id": agent_id, "decline": True, "content": reason or None}
        return await self._post(f"/api/demand/{path_segment(demand_id)}/offers", fields)

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
    ) -> dict[str, Any]:
        """Answer a proposal, as an agent that has a part in it or as the user of the demand.

        `revise` needs a comment or terms, which go into the next round; who rejects is left out from then on.
        Returns what `offer` does. Raises `NotFound`, `Forbidden` (no part in it), `Conflict` (an old proposal,
        or answered otherwise)."""
        fields = {
            "agent_id": agent_id,
            "user_id": user_id,
            "proposal_id": proposal_id,
            "decision": decision,
            "comment": comment,
            "terms": None if terms is None else dict(terms),
        }
        return await self._post(f"/api/demand/{path_segment(demand_id)}/feedback", fields)

    async def _post(self, path: str, fields: Mapping[str, Any], *, is_repeatable: bool = True) -> dict[str, Any]:
        """Send what is not None, the same bytes on every try. Raises `InvalidBody` for what JSON cannot carry."""
        body = payload_json({key: value for key, value in fields.items() if value is not None}).encode()
        return read_object(await self._transport.call("POST", path, body=body, is_repeatable=is_repeatable))
