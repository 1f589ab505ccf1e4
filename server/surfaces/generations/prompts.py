"""The messages to a model for each agent: its role, its data and its task, in Chinese and English. Pure.

Short, because a model of 135 million parameters gets the same as a large one. What came before (other stages, the run before
in the session, the context) is data in bounded length and stands before the task; no mark of a chat template survives in it."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

BEFORE_CHARACTERS = 1_500  # of the text of one earlier stage
EARLIER_CHARACTERS = 2_000  # of the prompt and of the result of the run that is continued
CONTEXT_CHARACTERS = 1_500

_MARKS = re.compile(r"<(?=\|)|<(?=/?s>)|<(?=(?:start|end)_of_turn>)|\[(?=/?INST\])", re.IGNORECASE)


class Brief(msgspec.Struct, frozen=True):
    """The data of an agent: the prompt, the object that came with it, texts of agents before it, and the run before.

    `before` maps the names of agents to their texts, in order; `earlier` is the prompt and the result of the run that this
    one continues, or None."""

    prompt: str
    language: str = "en"
    context: Mapping[str, Any] = {}
    before: Mapping[str, str] = {}
    earlier: tuple[str, str] | None = None


class _Words(NamedTuple):
    """The words of one language around the data."""

    system: str
    request: str
    context: str
    earlier_request: str
    earlier_result: str


_WORDS = {
    "en": _Words(
        "You are {role}. Write plain English, short and concrete. Do not repeat the request.",
        "Request",
        "Context",
        "Earlier request",
        "Earlier result",
    ),
    "zh": _Words("你是{role}。请用中文书写，简短而具体，不要复述请求。", "请求", "背景", "之前的请求", "之前的结果"),
}

# (language, agent) -> role, heading of its text for those after it, task.
_AGENTS: dict[tuple[str, str], tuple[str, str, str]] = {
    ("en", "insight_agent"): (
        "an analyst",
        "Insight",
        "In a few sentences: what is the goal behind this request, what matters most, and what is easily overlooked?",
    ),
    ("en", "profile_agent"): (
        "an expert on audiences",
        "Audience",
        "In a few sentences: who is this for, what do these people need, and which tone suits them?",
    ),
    ("en", "content_agent"): ("a writer", "Content", "Write the text that the request asks for."),
    ("en", "optimization_agent"): (
        "an editor",
        "Improvements",
        "Give three concrete tips that make a text for this request better.",
    ),
    ("en", "requirement_analyzer"): (
        "an analyst",
        "Requirements",
        "List what is asked for: the goal, the readers, the tone, the length, and what must be in it.",
    ),
    ("en", "strategy_generator"): (
        "a planner",
        "Plan",
        "Make a plan for the text: its main message, and three to five points in their order.",
    ),
    ("en", "content_generator"): ("a writer", "Draft", "Write the text that the request asks for. Follow the plan."),
    ("en", "content_optimizer"): (
        "an editor",
        "Final text",
        "Improve the draft: keep what it says, make it clearer. Answer with the improved text alone.",
    ),
    ("zh", "insight_agent"): ("一名分析师", "洞察", "用几句话说明：这个请求的目标是什么，什么最重要，什么容易被忽略？"),
    ("zh", "profile_agent"): ("一名受众专家", "受众", "用几句话说明：这是给谁看的，他们需要什么，适合什么语气？"),
    ("zh", "content_agent"): ("一名作者", "内容", "写出请求所要的文字。"),
    ("zh", "optimization_agent"): ("一名编辑", "优化建议", "给出三条具体建议，使这类文字更好。"),
    ("zh", "requirement_analyzer"): ("一名分析师", "需求", "列出要求：目标、读者、语气、篇幅，以及必须包含的内容。"),
    ("zh", "strategy_generator"): ("一名策划", "策略", "为文字制定计划：核心信息，以及按顺序排列的三到五个要点。"),
    ("zh", "content_generator"): ("一名作者", "初稿", "按照策略，写出请求所要的文字。"),
    ("zh", "content_optimizer"): ("一名编辑", "定稿", "改进初稿：保留内容，使其更清楚。只回答改进后的文字。"),
}
_UNKNOWN = {
    "en": ("a writer", "Text", "Write the text that the request asks for."),
    "zh": ("一名作者", "文字", "写出请求所要的文字。"),
}


def heading_of(agent: str, language: str) -> str:
    """The heading of an agent's text, for people and for the agents after it."""
    return _prompt_of(agent, language)[1]


def system_of(agent: str, language: str) -> str:
    """The system message: the agent's role and style."""
    return _WORDS[_known(language)].system.format(role=_prompt_of(agent, language)[0])


def question_of(agent: str, brief: Brief) -> str:
    """The user message: the request, what came before, and the task in the last line."""
    words = _WORDS[_known(brief.language)]
    parts: list[tuple[str, str]] = []
    if brief.earlier is not None:
        parts.append((words.earlier_request, cut(brief.earlier[0], EARLIER_CHARACTERS)))
        parts.append((words.earlier_result, cut(brief.earlier[1], EARLIER_CHARACTERS)))
    if brief.context:
        parts.append((words.context, cut(_listed(brief.context), CONTEXT_CHARACTERS)))
    parts.append((words.request, brief.prompt))
    parts += [(heading_of(name, brief.language), cut(text, BEFORE_CHARACTERS)) for name, text in brief.before.items()]
    sections = [f"{title}:\n{_MARKS.sub('(', text.strip())}" for title, text in parts if text.strip()]
    return "\n\n".join([*sections, _prompt_of(agent, brief.language)[2]])


def cut(text: str, characters: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _known(language: str) -> str:
    return "zh" if language == "zh" else "en"


def _prompt_of(agent: str, language: str) -> tuple[str, str, str]:
    known = _known(language)
    return _AGENTS.get((known, agent)) or _UNKNOWN[known]


def _listed(context: Mapping[str, Any]) -> str:
    """The object as lines; what is nested stays JSON."""
    return "\n".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in context.items()
    )
