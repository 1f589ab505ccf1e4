"""The template writer: deterministic, about the request, in its language, and honest."""

import pytest

from server.surfaces.generations.prompts import Brief
from server.surfaces.generations.state import TEMPLATE
from server.surfaces.generations.template_writer import TemplateWriter, template_text
from tests.support.generations import LOOMI, NOVA

CHINESE = "请写一篇300字的活动介绍，面向年轻用户，语气轻松。活动在下周六举行，有音乐和咖啡。"
ENGLISH = "Write a short friendly invitation to the opening of a bakery on Saturday. Mention free coffee."


@pytest.mark.parametrize(
    ("prompt", "language", "notice"),
    [
        pytest.param(ENGLISH, "en", "[No language model is set up, so this text has not been written.]", id="en"),
        pytest.param(CHINESE, "zh", "【尚未配置语言模型，因此还没有写出正文。】", id="zh"),
    ],
)
@pytest.mark.parametrize("agent", [*NOVA, *LOOMI, "somebody_else"])
async def test_a_text_has_a_heading_the_request_and_the_notice(agent, prompt, language, notice):
    """The same at every call, in pieces that make the text when they are joined."""
    brief = Brief(prompt, language)
    text = template_text(agent, brief)
    heading, request, last = text.split("\n\n")
    assert (heading[:2], request, last) == ("# ", prompt, notice)
    pieces = [piece async for piece in TemplateWriter(agent, brief).stream("", "")]
    assert len(pieces) == 3
    assert "".join(pieces) == text == template_text(agent, brief)


def test_each_agent_has_a_heading_of_its_own():
    """Four agents of a run give four different texts."""
    for agents in (NOVA, LOOMI):
        assert len({template_text(agent, Brief(ENGLISH)) for agent in agents}) == 4


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("prompt", ["x", "?", "。", "  \n", "- a\n- b", "a" * 10_000, ENGLISH * 60, CHINESE * 60])
def test_every_request_gives_a_text(language, prompt):
    """Never empty, never long."""
    text = template_text("content_agent", Brief(prompt, language, {"k": {"deep": [1]}}, {}, ("before", "then")))
    assert text.strip() == text
    assert 0 < len(text) < 4_000


def test_the_template_is_the_writer_that_events_call_degraded():
    """By its name and its flag."""
    writer = TemplateWriter("content_agent", Brief("x"))
    assert (writer.name, writer.is_degraded) == (TEMPLATE, True)
