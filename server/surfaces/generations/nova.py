"""The supervisor of a nova run: four agents write at the same time, each on its own, and their texts are put together. Pure.

What happens to one agent is nothing to the others: a run in which one completes has a result, partial when others have
failed."""

from collections.abc import Mapping

from server.surfaces.generations.commands import Completed, Failed
from server.surfaces.generations.prompts import heading_of
from server.surfaces.generations.state import RunState
from server.surfaces.generations.steps import Step, next_stage


class Nova3Supervisor:
    """Says what is next in a nova run."""

    def next_step(self, state: RunState) -> Step:
        """Everybody writes; then the run ends."""
        stage = next_stage(state)
        if stage is not None:
            return stage
        if not state.agents_completed:
            return Failed("all_agents_failed")
        return Completed(_merged(state))

    def before(self, state: RunState, agent: str) -> Mapping[str, str]:
        """The texts that an agent is given: none, because nobody waits for another."""
        return {}


def _merged(state: RunState) -> str:
    """The texts of those who have completed, in the order of the plan and with their headings."""
    completed = [state.agents[name] for name in state.agents_completed]
    return "\n\n".join(f"## {heading_of(agent.name, state.language)}\n\n{str(agent.text).strip()}" for agent in completed)
