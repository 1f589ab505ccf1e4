"""What is said about a run in fixed words: what each agent is there for, and a sentence for everything that can go wrong.

No error of a run holds the text of an exception: that stays in the server's log, under the `error_id`."""

from server.surfaces.generations.state import LOOMI, NOVA, Agent, Language, Mode

# The agents of a mode in order: name, stage, and what it is there for. Those of one stage write at the same time.
_PLANS: dict[Mode, tuple[tuple[str, int, dict[Language, str]], ...]] = {
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

# Why an agent has failed or tries again, by the reason of `ModelFailed`.
_AGENT_ERRORS = {
    "bad_answer": "The model's answer cannot be read.",
    "broken": "The connection to the model broke.",
    "busy": "The model is busy.",
    "empty_answer": "The model wrote nothing.",
    "internal": "Something went wrong in the server.",
    "stalled": "The model stopped writing.",
    "timeout": "The model did not answer in time.",
    "too_large": "The model's answer is too large.",
    "unreachable": "The model cannot be reached.",
    "upstream_error": "The model reported an error.",
}
_OTHER_ERROR = "The model failed."

# Why a run has failed, by its reason.
RUN_ERRORS = {
    "all_agents_failed": "None of the agents could write its part.",
    "agent_failed": "An agent that the others build on could not write its part.",
    "interrupted": "The server stopped while the run was going on.",
    "cancelled": "The run was cancelled.",
    "timeout": "The run took longer than it may.",
    "internal": "Something went wrong in the server.",
}


def planned_agents(mode: Mode, language: Language) -> dict[str, Agent]:
    """The agents of a run that begins, by name and in order."""
    return {name: Agent(name, descriptions[language], stage) for name, stage, descriptions in _PLANS[mode]}


def agent_error(error_type: str) -> str:
    """The sentence for what an agent ran into."""
    status = error_type.removeprefix("status_")
    if status != error_type and status.isdigit():
        return f"The model refused with the status {status}."
    return _AGENT_ERRORS.get(error_type, _OTHER_ERROR)
