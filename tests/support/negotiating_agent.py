"""An external agent for tests, run as its own process: answers in turn with others, and writes down what its stream brought.

`python -m tests.support.negotiating_agent URL AGENT_ID BEFORE CAPABILITY REVISES TRANSCRIPT`. It waits for BEFORE (an agent's
id, or `-`) to answer first, so that the order of all answers is always the same."""

import asyncio
import json
import sys
from pathlib import Path

from towow import Client, Retry
from towow.errors import Conflict

PATIENCE = Retry(
    total_seconds=60.0, first_wait_seconds=0.02, longest_wait_seconds=0.1, jitter_seconds=0.02, reconnect_seconds=0.05
)


class Agent:
    """One agent: its place in the order, what it offers, and whether it asks for a change in the first round."""

    def __init__(self, client, agent_id, before, capability, revises, transcript):
        self.client = client
        self.agent_id = agent_id
        self.before = before
        self.capability = capability
        self.revises = revises
        self.transcript = transcript

    async def run(self):
        """Register, then answer and write until the process is ended."""
        await self.client.register_agent(self.agent_id, self.agent_id, [self.capability])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.write_down())
            tasks.create_task(self.answer())

    async def write_down(self):
        """Every event of the agent's own stream, one line each."""
        with self.transcript.open("a", encoding="utf-8") as lines:
            async for event in self.client.follow_agent(self.agent_id, start="beginning"):
                fields = {"seq": event.seq, "event_id": event.event_id, "event_type": event.event_type}
                lines.write(json.dumps({**fields, "payload": event.payload}) + "\n")
                lines.flush()

    async def answer(self):
        """Offer when it is our turn, and answer every proposal when it is our turn."""
        streams = (f"agent:{self.agent_id}", "demand:*")
        is_first = self.before == "-"
        offers = "towow.demand.broadcast" if is_first else "towow.offer.submitted"
        judges = "towow.proposal.distributed" if is_first else "towow.proposal.feedback"
        async for event in self.client.follow(*streams, start="beginning"):
            payload = event.payload
            is_ours = event.stream == streams[0]
            is_turn = is_ours if is_first else not is_ours and payload.get("agent_id") == self.before
            try:
                if is_turn and event.event_type == offers:
                    await self.offer(payload["demand_id"])
                elif is_turn and event.event_type == judges:
                    await self.judge(payload)
            except Conflict as conflict:  # a history that is read again from its beginning
                print(conflict.message, file=sys.stderr, flush=True)

    async def offer(self, demand_id):
        """The same offer for every demand."""
        content = f"{self.agent_id} does it"
        await self.client.offer(demand_id, self.agent_id, content, [self.capability], terms={"price": 100})

    async def judge(self, proposal):
        """Ask for a change once, if this agent does, then accept."""
        if self.revises and proposal["round"] == 1:
            answer = {"decision": "revise", "comment": "an hour later, please", "terms": {"price": 120}}
        else:
            answer = {"decision": "accept"}
        await self.client.feedback(
            proposal["demand_id"],
            proposal["proposal_id"],
            answer["decision"],
            agent_id=self.agent_id,
            comment=answer.get("comment"),
            terms=answer.get("terms"),
        )


async def main(url, agent_id, before, capability, revises, transcript):
    """Run one agent."""
    async with Client(url, retry=PATIENCE) as client:
        await Agent(client, agent_id, before, capability, revises == "yes", Path(transcript)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
