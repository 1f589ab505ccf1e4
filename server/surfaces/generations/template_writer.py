"""Who writes when there is no model: a template that sorts what the request says into a text, in the request's language.

It is no model and does not pretend to be one: the same request always gives the same text, at once, and every piece of it is
marked as degraded. What it writes is made of the request's own words, of fixed sentences, and of what is missing. Pure."""

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple

from server.surfaces.generations.prompts import Brief, cut
from server.surfaces.generations.state import TEMPLATE
from server.surfaces.generations.template_words import WORDS, Words

_MAX_POINTS = 6
_POINT_CHARACTERS = 160
_TOPIC_CHARACTERS = 100
_SHORTEST_POINT = {"en": 12, "zh": 4}
_SENTENCE_ENDS = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n+")
_ASKING = re.compile(
    r"(?:please )?(?:write|draft|create|make|compose|generate|prepare)(?: (?:me|us))? (?=\S)"
    r"|请?(?:帮我|给我|为我)?(?:写|撰写|生成|制作|起草|创作)(?:一[篇份封段个首则])?",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*•·]|[0-9]{1,2}[.)、])\s*")


class TemplateWriter:
    """Writes one agent's text from its brief. It has the form of a model's `Writer`; the messages for a model it does not
    need."""

    name = TEMPLATE
    is_degraded = True

    def __init__(self, agent: str, brief: Brief) -> None:
        self._agent = agent
        self._brief = brief

    async def stream(self, system: str, user: str) -> AsyncGenerator[str, None]:
        """The text, paragraph by paragraph."""
        for piece in re.split(r"(?<=\n\n)", template_text(self._agent, self._brief)):
            yield piece


class _Request(NamedTuple):
    """What can be seen in a request without understanding it. `found` maps what a text needs to know to the words that say
    it."""

    words: Words
    topic: str
    points: Sequence[str]
    found: dict[str, str]
    brief: Brief


def template_text(agent: str, brief: Brief) -> str:
    """The text of an agent, never empty."""
    write = _TEXTS.get(agent, _content)
    return write(_read(brief)).strip()


def _read(brief: Brief) -> _Request:
    language = "zh" if brief.language == "zh" else "en"
    words = WORDS[language]
    sentences = [_BULLET.sub("", part).strip() for part in _SENTENCE_ENDS.split(brief.prompt)]
    sentences = [sentence for sentence in sentences if sentence]
    asked = sentences[0] if sentences else brief.prompt.strip()
    bare = _ASKING.sub("", asked, count=1) if _ASKING.match(asked) else asked
    topic = cut(bare[:1].upper() + bare[1:] if bare else asked, _TOPIC_CHARACTERS).rstrip(".。!！?？")
    shortest = _SHORTEST_POINT[language]
    points = [cut(sentence, _POINT_CHARACTERS).rstrip(".。") for sentence in sentences[1:] if len(sentence) >= shortest]
    found = {}
    for need, pattern in words.patterns.items():
        match = pattern.search(brief.prompt)
        if match:
            found[need] = cut(" ".join(match[0].split()), _TOPIC_CHARACTERS)
    return _Request(words, topic, list(dict.fromkeys(points))[:_MAX_POINTS] or [topic], found, brief)


# The texts.


def _insight(request: _Request) -> str:
    words = request.words
    return "\n\n".join(
        [
            words.asked.format(request.topic),
            _listed(words.points, request.points),
            *_context(request),
            _open_questions(request),
        ]
    )


def _profile(request: _Request) -> str:
    words = request.words
    audience = request.found.get("audience")
    who = words.audience.format(audience) if audience else words.no_audience
    return "\n\n".join([who, _listed(words.readers_ask, words.reader_questions), words.tone_advice])


def _content(request: _Request) -> str:
    words = request.words
    plan = request.brief.before.get("strategy_generator")
    points = _points_of(plan) if plan else request.points
    sections = [f"{number}. {point}\n{words.section}" for number, point in enumerate(points, 1)]
    if not plan:
        sections = [words.opening.format(request.topic), *sections, words.closing]
    return "\n\n".join([words.notice, f"# {request.topic}", *sections])


def _improvements(request: _Request) -> str:
    words = request.words
    missing = [words.questions[need] for need in words.questions if need not in request.found]
    advice = [*(words.say_more.format(question) for question in missing[:1]), *words.advice]
    return _listed(words.improve, advice[:3], is_numbered=True)


def _requirements(request: _Request) -> str:
    words = request.words
    lines = [f"{words.goal}: {request.topic}"]
    lines += [f"{name}: {request.found.get(need, words.not_said)}" for need, name in words.needs.items()]
    return "\n\n".join(["\n".join(lines), _listed(words.points, request.points), *_context(request), _open_questions(request)])


def _strategy(request: _Request) -> str:
    words = request.words
    outline = [words.begin_with.format(request.topic), *request.points[:3], words.end_with]
    return "\n\n".join([words.message.format(request.topic), _listed(words.outline, outline, is_numbered=True)])


def _polished(request: _Request) -> str:
    """The draft with even spacing: a template has nothing to add to it."""
    draft = request.brief.before.get("content_generator", "").strip()
    return re.sub(r"[ \t]+$", "", re.sub(r"\n{3,}", "\n\n", draft), flags=re.MULTILINE) or _content(request)


_TEXTS: dict[str, Callable[[_Request], str]] = {
    "insight_agent": _insight,
    "profile_agent": _profile,
    "content_agent": _content,
    "optimization_agent": _improvements,
    "requirement_analyzer": _requirements,
    "strategy_generator": _strategy,
    "content_generator": _content,
    "content_optimizer": _polished,
}


# Their parts.


def _listed(heading: str, items: Sequence[str], *, is_numbered: bool = False) -> str:
    marks = (f"{number}." if is_numbered else "-" for number in range(1, len(items) + 1))
    return "\n".join([heading, *(f"{mark} {item}" for mark, item in zip(marks, items, strict=True))])


def _open_questions(request: _Request) -> str:
    missing = [question for need, question in request.words.questions.items() if need not in request.found]
    return _listed(request.words.open, missing) if missing else request.words.nothing_open


def _context(request: _Request) -> list[str]:
    """What came with the request and what the run before was about, where there is anything."""
    words, brief = request.words, request.brief
    parts = []
    if brief.context:
        items = [cut(f"{key}: {value}", _POINT_CHARACTERS) for key, value in list(brief.context.items())[:_MAX_POINTS]]
        parts.append(_listed(words.given, items))
    if brief.earlier is not None:
        parts.append(words.follows.format(cut(" ".join(brief.earlier[0].split()), _TOPIC_CHARACTERS)))
    return parts


def _points_of(plan: str) -> list[str]:
    """The numbered lines of a plan."""
    lines = [line for line in plan.splitlines() if _BULLET.match(line)]
    return [cut(_BULLET.sub("", line).strip(), _POINT_CHARACTERS) for line in lines if _BULLET.sub("", line).strip()]
