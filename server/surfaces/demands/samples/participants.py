"""The sample agents at work: they answer invitations and proposals like every other agent, through the same commands.

`rules.py` decides what they answer, `text_writer.py` words it. An answer is due a moment after the event that asks for it,
counted from the event's time, so a restart neither forgets nor repeats one."""

import asyncio
from functools import partial
from typing import Any

import structlog

from server.background.retry import retry_until_writable
from server.config import DemandsSection
from server.eventlog.decider import decide_and_append, from_row
from server.eventlog.log import EventLog
from server.surfaces.demands import commands, matching, model
from server.surfaces.demands.next_step import waiting_for
from server.surfaces.demands.projections import get_demand
from server.surfaces.demands.samples import rules
from server.surfaces.demands.samples.agents import SAMPLE_AGENTS
from server.surfaces.demands.state import Candidate, DemandState, stream_of
from server.surfaces.demands.text_writer import TextWriter
from towow.errors import Conflict, Forbidden, NotFound
from towow.events import seconds_of

_SAMPLE_IDS = frozenset(agent["agent_id"] for agent in SAMPLE_AGENTS)
_log = structlog.get_logger("towow.samples")


class SampleParticipants:
    """Answers for the sample agents that are awaited. `close` stops it; what is due is found again from the state."""

    def __init__(self, log: EventLog, config: DemandsSection, author: TextWriter) -> None:
        self._log = log
        self._config = config
        self._author = author
        self._tasks: dict[tuple[str, str, int], asyncio.Task[None]] = {}

    def attend(self, state: DemandState) -> None:
        """Schedule the answer of every awaited sample agent; safe to call again with the same state."""
        number = len(state.proposals)
        for agent_id in waiting_for(state):
            key = (state.demand_id, agent_id, number)
            if agent_id in _SAMPLE_IDS and key not in self._tasks:
                task = asyncio.create_task(self._answer(state, agent_id), name=f"{agent_id} on {state.demand_id}")
                self._tasks[key] = task
                task.add_done_callback(lambda done, key=key: self._tasks.pop(key, None))  # type: ignore[misc]

    async def close(self) -> None:
        """Stop answering."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, state: DemandState, agent_id: str) -> None:
        try:
            await self._wait(state, agent_id)
            agent = await self._log.query(partial(matching.get_agent, agent_id=agent_id))
            if agent is None or not agent["sample"]:
                return  # another agent has taken the name over, or it was removed
            command = await self._command(state, agent_id)
            if command is not None:
                await retry_until_writable(partial(self._append, state.demand_id, command))
        except (Conflict, Forbidden, NotFound):
            return  # the negotiation has moved on
        except Exception:
            _log.exception("sample_agent_failed", agent_id=agent_id, demand_id=state.demand_id)

    async def _wait(self, state: DemandState, agent_id: str) -> None:
        """Take the time that this agent takes, from the event that asks."""
        asked_at = state.proposal.timestamp if state.proposal is not None else state.invited_at
        factor = rules.delay_factor(state.demand_id, agent_id, len(state.proposals))
        seconds = self._config.sample_delay_seconds * factor
        due = seconds_of(asked_at) + seconds
        await asyncio.sleep(min(max(0.0, due - self._log.clock()), seconds))  # also when the clock was set back

    async def _command(self, state: DemandState, agent_id: str) -> commands.Command | None:
        """The agent's answer now; None without one."""
        if state.proposal is None:
            return await self._answer_invitation(state, agent_id)
        offer = state.offer_of(agent_id)
        own = next((each for each in state.proposal.assignments if each.agent_id == agent_id and each.subnet_id is None), None)
        if offer is None or own is None:
            return None
        part = {"agent_id": agent_id, "assignment": model.assignment_object(own)}
        payload = {**model.proposal_payload(state, state.proposal), **part}
        answer = rules.answer_proposal(model.offer_object(offer), payload)
        return commands.AnswerProposal(
            proposal_id=state.proposal.proposal_id,
            decision=answer.decision,
            agent_id=agent_id,
            comment=answer.comment,
            terms=answer.terms or {},
            written_by="rules",
        )

    async def _answer_invitation(self, state: DemandState, agent_id: str) -> commands.Command | None:
        candidate = next((each for each in state.candidates if each.agent_id == agent_id), Candidate(agent_id))
        invitation: dict[str, Any] = model.invitation(state, candidate, state.offers_within_seconds)
        answer = rules.answer_invitation(invitation)
        if answer is None:
            return None
        if isinstance(answer, rules.InvitationDeclined):
            return commands.DeclineOffer(agent_id, answer.reason, written_by="rules")
        content, written_by = await self._author.offer(invitation, answer)
        return commands.SubmitOffer(
            agent_id, content, tuple(answer.capabilities), answer.terms, tuple(answer.needs), written_by=written_by
        )

    async def _append(self, demand_id: str, command: commands.Command) -> None:
        stream = stream_of(demand_id)
        load = from_row(self._log, stream, partial(get_demand, demand_id=demand_id), model.evolve)
        await decide_and_append(self._log, stream, load, lambda state: model.decide(state, command))
