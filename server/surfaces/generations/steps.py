"""What comes next in a run: some agents write, or it ends. Pure, so that a runner that was restarted takes the same step."""

import msgspec

from server.surfaces.generations.commands import Completed, Failed
from server.surfaces.generations.state import RunState


class Write(msgspec.Struct, frozen=True):
    """These agents write, all at the same time; what is next is asked again when each has ended."""

    agents: tuple[str, ...]


Step = Write | Completed | Failed


def next_stage(state: RunState) -> Write | None:
    """The agents of the first stage in which somebody has not ended; None when everybody has."""
    left = [agent for agent in state.agents.values() if not agent.has_ended]
    if not left:
        return None
    stage = min(agent.stage for agent in left)
    return Write(tuple(agent.name for agent in left if agent.stage == stage))
