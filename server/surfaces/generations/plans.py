"""The plans of the two modes: which agents a run has, which of them write next, and how their texts become the result.

Pure, so that an executor that was restarted takes the same step. `prompts.py` has the tasks of the agents."""

from collections.abc import Mapping

import msgspec

from server.surfaces.generations.commands import CompleteRun, FailRun
from server.surfaces.generations.prompts import heading_of
from server.surfaces.generations.state import LOOMI, NOVA, Language, Mode, RunAgent, RunState

# The agents of a mode in order: name, stage, and purpose. Those of one stage write at the same time.
_AGENTS: dict[Mode, tuple[tuple[str, int, dict[Language, str]], ...]] = {
    NOVA: (
        ("insight_agent", 1, {"en": "Find what the request is really about", "zh": "洞察需求的实质"}),
        ("profile_agent", 1, {"en": "Describe whom it is for and what matters to them", "zh": "描绘受众画像与他们的关切"}),
        ("content_agent", 1, {"en": "Write the content itself", "zh": "撰写内容本身"}),
        ("optimization_agent", 1, {"en": "Say how the content can be made better", "zh": "给出优化内容的建议"}),
    ),
    LOOMI: (
        ("requirement_analyzer", 1, {"en": "Analyse the requirements", "zh": "分析需求"}),
        ("strategy_generator", 2, {"en": "Choose a strategy", "zh": "制定策略"}),
        ("content_generator", 3, {"en": "Write the content", "zh": "生成内容"}),
        ("content_optimizer", 4, {"en": "Polish the content", "zh": "优化内容"}),
    ),
}


class Write(msgspec.Struct, frozen=True):
    """These agents write, all at the same time; the plan is consulted again when each has ended."""

    agents: tuple[str, ...]


Step = Write | CompleteRun | FailRun


class Nova3Supervisor:
    """The plan of a nova run: four agents write at the same time, each on its own, and their texts are put together.

    The failure of one agent does not affect the others: a run in which one completes has a result, partial when others have
    failed."""

    def next_step(self, state: RunState) -> Step:
        """All agents write; then the run ends."""
        stage = _next_stage(state)
        if stage is not None:
            return stage
        if not state.agents_completed:
            return FailRun("all_agents_failed")
        return CompleteRun(_merged(state))

    def before(self, state: RunState, agent: str) -> Mapping[str, str]:
        """The texts that an agent builds on: none, because no agent waits for another."""
        return {}


class LoomiConcierge:
    """The plan of a loomi run: one agent after the other, each with the texts of those before it.

    The result is the text of the last stage. When only that one fails, the result is the draft that it was to polish."""

    def next_step(self, state: RunState) -> Step:
        """The next stage, as long as nothing is missing that it builds on; then the run ends."""
        last_stage = max((agent.stage for agent in state.agents.values()), default=0)
        completed = state.agents_completed
        if any(state.agents[name].stage < last_stage for name in state.agents_failed):
            return FailRun("agent_failed")
        stage = _next_stage(state)
        if stage is not None:
            return stage
        if not completed:
            return FailRun("all_agents_failed")
        return CompleteRun(str(state.agents[completed[-1]].text).strip())

    def before(self, state: RunState, agent: str) -> Mapping[str, str]:
        """The texts that an agent builds on: those of the stages before it, in their order."""
        stage = state.agents[agent].stage
        earlier = [each for each in state.agents.values() if each.stage < stage and each.status == "completed"]
        return {each.name: str(each.text) for each in earlier}


PLANS: dict[Mode, Nova3Supervisor | LoomiConcierge] = {NOVA: Nova3Supervisor(), LOOMI: LoomiConcierge()}


def planned_agents(mode: Mode, language: Language) -> dict[str, RunAgent]:
    """The agents of a run that begins, by name and in order."""
    return {name: RunAgent(name, descriptions[language], stage) for name, stage, descriptions in _AGENTS[mode]}


def _next_stage(state: RunState) -> Write | None:
    """The agents of the first stage that is not over; None when all agents have ended."""
    left = [agent for agent in state.agents.values() if not agent.has_ended]
    if not left:
        return None
    stage = min(agent.stage for agent in left)
    return Write(tuple(agent.name for agent in left if agent.stage == stage))


def _merged(state: RunState) -> str:
    """The texts of the completed agents, in the order of the plan and with their headings."""
    completed = [state.agents[name] for name in state.agents_completed]
    return "\n\n".join(f"## {heading_of(agent.name, state.language)}\n\n{str(agent.text).strip()}" for agent in completed)
