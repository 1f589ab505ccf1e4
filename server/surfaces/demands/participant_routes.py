"""Taking part in a negotiation over HTTP: offers, feedback, and the user's end of it.

Every answer may be repeated: a repeated answer is 200 with its place in the log, so an agent that lost
the answer to its request asks again without harm."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from aiohttp import web

from server.auth.authenticator import principal_of, require_any, require_append, require_managed
from server.config import Config
from server.eventlog.decider import decide_and_append, from_row
from server.eventlog.log import EventLog
from server.eventlog.queries import read_first_actor
from server.http import params
from server.http.responses import json_response
from server.surfaces.demands import commands, inputs, model, rendering
from server.surfaces.demands.matching import stream_of as agent_stream
from server.surfaces.demands.projections import get_demand
from server.surfaces.demands.state import DEMAND_ID, DemandState, stream_of
from towow.errors import Conflict, Forbidden, InvalidBody, NotFound
from towow.events import NewEvent

CANCELLED_BY_USER = "cancelled_by_user"


class _OfferInput(msgspec.Struct, forbid_unknown_fields=True):
    agent_id: str
    content: str | None = None
    capabilities: list[str] | None = None
    terms: dict[str, Any] | None = None
    needs: list[str] | None = None
    decline: bool = False


class _FeedbackInput(msgspec.Struct, forbid_unknown_fields=True):
    proposal_id: str
    decision: Literal["accept", "revise", "reject"]
    agent_id: str | None = None
    user_id: str | None = None
    comment: str | None = None
    terms: dict[str, Any] | None = None


class _CancelInput(msgspec.Struct, forbid_unknown_fields=True):
    reason: str | None = None
    user_id: str | None = None


_OFFER = msgspec.json.Decoder(_OfferInput)
_FEEDBACK = msgspec.json.Decoder(_FeedbackInput)
_CANCEL = msgspec.json.Decoder(_CancelInput)


class ParticipantRoutes:
    """Handlers of `/api/demand/{demand_id}/offers`, `…/feedback` and `…/cancel`."""

    def __init__(self, log: EventLog, config: Config) -> None:
        self._log = log
        self._timeout_seconds = config.server.body_timeout_seconds

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.post("/api/demand/{demand_id}/offers", self.offers),
            web.post("/api/demand/{demand_id}/feedback", self.feedback),
            web.post("/api/demand/{demand_id}/cancel", self.cancel),
        )

    async def offers(self, request: web.Request) -> web.StreamResponse:
        """POST /api/demand/{demand_id}/offers

        `{agent_id, content, capabilities: [text], terms?: {price?, currency?, …}, needs?: [text]}`, or `{agent_id, decline:
        true, content?}`. 201 `{demand_id, by, seq, status, phase, current_round}`; 200 when it was said just so before. Who was
        not invited is forbidden; in another phase, or after another answer, it is a conflict. Errors: invalid_request,
        invalid_body, too_large, forbidden, not_found, conflict, stream_ended, gone, unsupported_media_type, request_timeout,
        too_many_requests, storage_full, unavailable."""
        given = await params.read_json(request, _OFFER, timeout_seconds=self._timeout_seconds)
        command = _offer_command(given)
        require_append(request, agent_stream(command.agent_id))
        state, is_new = await self._decide(request, lambda state: model.decide(state, command))
        said = state.decline_of(command.agent_id) if given.decline else state.offer_of(command.agent_id)
        seq = said.seq if said is not None else state.last_seq
        return json_response(rendering.answered(state, command.agent_id, seq), 201 if is_new else 200)

    async def feedback(self, request: web.Request) -> web.StreamResponse:
        """POST /api/demand/{demand_id}/feedback

        `{agent_id | user_id, proposal_id, decision: accept|revise|reject, comment?, terms?}`; revise needs a comment or terms.
        201 `{demand_id, by, seq, status, phase, current_round}`; 200 when it was said just so before. Who has no part in the
        proposal is forbidden; an older proposal, another phase, or a different answer is a conflict. Errors: invalid_request,
        invalid_body, too_large, forbidden, not_found, conflict, stream_ended, gone, unsupported_media_type, request_timeout,
        too_many_requests, storage_full, unavailable."""
        given = await params.read_json(request, _FEEDBACK, timeout_seconds=self._timeout_seconds)
        command = _feedback_command(given)
        demand = stream_of(DEMAND_ID.in_path(request.match_info))
        require_append(request, demand if command.agent_id is None else agent_stream(command.agent_id))
        if command.user_id is not None:
            principal_of(request).require_to_act_as("user", command.user_id, "user_id")
        state, is_new = await self._decide(request, lambda state: model.decide(state, command))
        by = command.agent_id or command.user_id or ""
        proposal = next(each for each in state.proposals if each.proposal_id == command.proposal_id)
        said = proposal.answer_of(by, is_user=command.agent_id is None)
        seq = said.seq if said is not None else state.last_seq
        return json_response(rendering.answered(state, by, seq), 201 if is_new else 200)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """POST /api/demand/{demand_id}/cancel

        `{reason?, user_id?}`. 200 `{demand_id, status, phase, seq}`, again the same when it is cancelled already. Another
        user's demand is forbidden; one that has ended otherwise is a conflict. Errors: invalid_request, invalid_body,
        too_large, forbidden, not_found, conflict, stream_ended, gone, unsupported_media_type, request_timeout,
        too_many_requests, storage_full, unavailable."""
        stream = stream_of(DEMAND_ID.in_path(request.match_info))
        require_any(request, ("manage", "append"), stream)
        given = await params.read_json(request, _CANCEL, timeout_seconds=self._timeout_seconds)
        command = commands.CancelDemand(inputs.check_reason(given.reason) or CANCELLED_BY_USER)
        principal = principal_of(request)
        user_id = inputs.check_user_id(given.user_id) if given.user_id is not None else None
        if user_id is not None:
            principal.require_to_act_as("user", user_id, "user_id")
        submitter = await self._log.query(partial(read_first_actor, stream=stream))

        def decide(state: DemandState) -> list[NewEvent]:
            if user_id is not None and user_id != state.user_id:
                raise Forbidden(f"{user_id} did not submit {state.demand_id}", field="user_id", **model.position_of(state))
            if not principal.may_act_as("user", state.user_id):
                require_managed(request, stream, (submitter,))
            return model.decide(state, command)

        state, _ = await self._decide(request, decide)
        seq = state.outcome.seq if state.outcome is not None else state.last_seq
        return json_response({"demand_id": state.demand_id, "status": state.status, "phase": state.phase, "seq": seq})

    async def _decide(self, request: web.Request, decide: Callable[[DemandState], list[NewEvent]]) -> tuple[DemandState, bool]:
        """Decide on the demand in the path and append; the state after it, and whether anything was appended."""
        demand_id = DEMAND_ID.in_path(request.match_info)

        def decide_on_known(state: DemandState) -> list[NewEvent]:
            if not state.exists:
                raise NotFound(f"there is no demand {demand_id}", field="demand_id")
            return decide(state)

        stream = stream_of(demand_id)
        load = from_row(self._log, stream, partial(get_demand, demand_id=demand_id), model.evolve)
        try:
            state, receipts = await decide_and_append(self._log, stream, load, decide_on_known, model.evolve)
        except (Conflict, Forbidden, NotFound):
            await self._log.refresh()  # another process may know better
            state, receipts = await decide_and_append(self._log, stream, load, decide_on_known, model.evolve)
        return state, bool(receipts)


def _offer_command(given: _OfferInput) -> commands.SubmitOffer | commands.DeclineOffer:
    if given.decline:
        for name in ("capabilities", "terms", "needs"):
            if getattr(given, name) is not None:
                raise InvalidBody(f"{name} does not go with decline", field=name)
        return commands.DeclineOffer(given.agent_id, inputs.check_reason(given.content, "content"))
    if given.content is None:
        raise InvalidBody("content is missing: say what you offer, or decline", field="content")
    return commands.SubmitOffer(
        given.agent_id,
        inputs.check_content(given.content),
        inputs.check_capabilities(given.capabilities),
        inputs.check_terms(given.terms),
        inputs.check_needs(given.needs),
    )


def _feedback_command(given: _FeedbackInput) -> commands.AnswerProposal:
    if (given.agent_id is None) == (given.user_id is None):
        raise InvalidBody("say either agent_id or user_id", field="agent_id")
    comment, terms = inputs.check_comment(given.comment), inputs.check_terms(given.terms)
    if given.decision == "revise" and not comment and not terms:
        raise InvalidBody("revise needs a comment or terms: say what should change", field="comment")
    if terms and given.agent_id is None:
        raise InvalidBody("terms are an agent's; say what you wish in the comment", field="terms")
    return commands.AnswerProposal(
        proposal_id=given.proposal_id,
        decision=given.decision,
        agent_id=given.agent_id,
        user_id=given.user_id if given.user_id is None else inputs.check_user_id(given.user_id),
        comment=comment,
        terms=terms,
    )
