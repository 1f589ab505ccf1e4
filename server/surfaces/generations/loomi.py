"""The concierge of a loomi run: one agent after the other, each given what those before it have written. Pure.

The result is the text of the last stage. When only that one fails, there is a text all the same: the one it was to polish."""

from collections.abc import Mapping

from server.surfaces.generations.commands import Completed, Failed
from server.surfaces.generations.state import RunState
from server.surfaces.generations.steps import Step, next_stage


class LoomiConcierge:
    """Says what is next in a loomi run."""

    def next_step(self, state: RunState) -> Step:
        """The next stage, as long as nothing is missing that it builds on; then the run ends."""
        last_stage = max((agent.stage for agent in state.agents.values()), default=0)
        completed = state.agents_completed
        if any(state.agents[name].stage < last_stage for name in state.agents_failed):
            return Failed("agent_failed")
        stage = next_stage(state)
        if stage is not None:
            return stage
        if not completed:
            return Failed("all_agents_failed")
        return Completed(str(state.agents[completed[-1]].text).strip())

    def before(self, state: RunState, agent: str) -> Mapping[str, str]:
        """The texts that an agent is given: those of the stages before it, in their order."""
        stage = state.agents[agent].stage
        earlier = [each for each in state.agents.values() if each.stage < stage and each.status == "completed"]
        return {each.name: str(each.text) for each in earlier}
