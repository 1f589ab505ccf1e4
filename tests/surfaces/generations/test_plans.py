"""The plans of both modes, as tables: statuses of the four agents -> step."""

import msgspec
import pytest

from server.surfaces.generations import state
from server.surfaces.generations.commands import CompleteRun, FailRun
from server.surfaces.generations.plans import LoomiConcierge, Nova3Supervisor, Write, planned_agents
from tests.support.generations import LOOMI, NOVA


def run_in(mode, statuses):
    """A run whose agents stand like this; who has completed has written its name."""
    agents = planned_agents(mode, "en")
    for name, status in zip(list(agents), statuses, strict=True):
        text = state.NO_TEXT.plus(f"by {name}") if status == "completed" else state.NO_TEXT
        agents[name] = msgspec.structs.replace(agents[name], status=status, text=text)
    return state.RunState("r-1", "running", mode, "prompt", agents=agents)


W, R, C, F = "waiting", "running", "completed", "failed"


@pytest.mark.parametrize(
    ("statuses", "step"),
    [
        pytest.param((W, W, W, W), Write(NOVA), id="all write"),
        pytest.param((C, W, F, W), Write((NOVA[1], NOVA[3])), id="those that are left"),
        pytest.param((F, F, F, F), FailRun("all_agents_failed"), id="none"),
        pytest.param((F, C, F, F), CompleteRun("## Audience\n\nby profile_agent"), id="one"),
        ((C, F, C, F), CompleteRun("## Insight\n\nby insight_agent\n\n## Content\n\nby content_agent")),
    ],
)
def test_what_comes_next_in_a_nova_run(statuses, step):
    """Whoever is left writes, then what there is makes the result."""
    assert Nova3Supervisor().next_step(run_in("nova", statuses)) == step


@pytest.mark.parametrize(
    ("statuses", "step"),
    [
        pytest.param((W, W, W, W), Write((LOOMI[0],)), id="the first"),
        pytest.param((C, W, W, W), Write((LOOMI[1],)), id="the second"),
        pytest.param((C, C, C, W), Write((LOOMI[3],)), id="the last"),
        pytest.param((F, W, W, W), FailRun("agent_failed"), id="nothing to build on"),
        pytest.param((C, C, F, W), FailRun("agent_failed"), id="no draft"),
        pytest.param((C, C, C, F), CompleteRun("by content_generator"), id="no polish"),
        pytest.param((C, C, C, C), CompleteRun("by content_optimizer"), id="all"),
    ],
)
def test_what_comes_next_in_a_loomi_run(statuses, step):
    """One stage after the other, as long as nothing is missing."""
    assert LoomiConcierge().next_step(run_in("loomi", statuses)) == step


def test_what_an_agent_is_given():
    """In stages everything before it, side by side nothing."""
    assert Nova3Supervisor().before(run_in("nova", (C, C, W, W)), NOVA[2]) == {}
    before = LoomiConcierge().before(run_in("loomi", (C, C, W, W)), LOOMI[2])
    assert before == {LOOMI[0]: "by requirement_analyzer", LOOMI[1]: "by strategy_generator"}
