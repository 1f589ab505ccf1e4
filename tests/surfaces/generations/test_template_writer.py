"""The template writer: deterministic, about the request, in its language, and honest."""

import pytest

from server.surfaces.generations import state, template_words
from server.surfaces.generations.prompts import Brief
from server.surfaces.generations.template_writer import TemplateWriter, template_text
from tests.support.generations import LOOMI, NOVA

CHINESE = "请写一篇300字的活动介绍，面向年轻用户，语气轻松。活动在下周六举行，有音乐和咖啡。"
ENGLISH = (
    "Write a short friendly invitation for our customers to the opening of a bakery on Saturday. Mention free coffee. "
    "There is music at 5pm."
)


@pytest.mark.parametrize(
    ("prompt", "language", "known"),
    [(ENGLISH, "en", ["free coffee", "music at 5pm", "opening of a bakery"]), (CHINESE, "zh", ["音乐和咖啡", "300字"])],
    ids=["en", "zh"],
)
@pytest.mark.parametrize("agent", ["insight_agent", "content_agent", "requirement_analyzer", "strategy_generator"])
async def test_a_text_is_made_of_what_the_request_says(agent, prompt, language, known):
    """The same at every call, and whole when its pieces are joined."""
    brief = Brief(prompt, language)
    text = template_text(agent, brief)
    assert all(words in text for words in known)
    pieces = [piece async for piece in TemplateWriter(agent, brief).stream("", "")]
    assert "".join(pieces) == text == template_text(agent, brief)
    assert len(pieces) > 1
    assert all(pieces)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("agent", [*NOVA, *LOOMI, "somebody_else"])
@pytest.mark.parametrize("prompt", ["x", "?", "。", "  \n", "- a\n- b", "a" * 10_000, ENGLISH * 60, CHINESE * 60])
def test_whatever_is_asked_there_is_a_text(agent, language, prompt):
    """Never empty, never long."""
    text = template_text(agent, Brief(prompt, language, {"k": {"deep": [1]}}, {}, ("before", "then")))
    assert text.strip() == text
    assert 0 < len(text) < 4_000


def test_it_says_what_is_missing():
    """Readers, length, tone and time, unless the request names them."""
    words = template_words.WORDS["en"]
    assert all(question in template_text("insight_agent", Brief("Write about rain")) for question in words.questions.values())
    assert words.nothing_open in template_text("insight_agent", Brief(ENGLISH))
    requirements = template_text("requirement_analyzer", Brief(ENGLISH))
    for line in ("Readers: for our customers", "Length: short", "Tone: friendly", "Time: Saturday"):
        assert line in requirements.splitlines()


def test_a_draft_says_that_nobody_has_written_it():
    """In its first line."""
    for language, words in template_words.WORDS.items():
        for agent in ("content_agent", "content_generator", "content_optimizer"):
            assert template_text(agent, Brief("x", language)).startswith(words.notice)


def test_stages_build_on_each_other():
    """The draft follows the plan, the polished text is the draft."""
    plan = template_text("strategy_generator", Brief(ENGLISH))
    draft = template_text("content_generator", Brief(ENGLISH, before={"strategy_generator": plan}))
    assert "Mention free coffee" in draft
    assert template_text("content_optimizer", Brief(ENGLISH, before={"content_generator": draft})) == draft


def test_both_languages_have_the_same_needs():
    """What a text has to know has a name, a question and a pattern in each."""
    for words in template_words.WORDS.values():
        assert list(words.needs) == list(words.questions) == list(words.patterns)


def test_it_is_the_writer_that_events_call_degraded():
    """By its name and its flag."""
    writer = TemplateWriter("content_agent", Brief("x"))
    assert (writer.name, writer.is_degraded) == (state.TEMPLATE, True)
