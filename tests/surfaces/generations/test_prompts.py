"""The prompts of the agents: short, in the language of the request, and bounded."""

import pytest

from server.surfaces.generations import prompts
from server.surfaces.generations.prompts import Brief, question_of, system_of
from tests.support.generations import LOOMI, NOVA


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("agent", [*NOVA, *LOOMI, "somebody_else"])
def test_every_agent_has_a_task_in_both_languages(agent, language):
    """With the request before it, and the task in the last line."""
    brief = Brief("R E Q U E S T", language)
    question = question_of(agent, brief)
    assert "R E Q U E S T" in question
    assert len(question) + len(system_of(agent, language)) < 500
    is_chinese = any("\u4e00" <= character <= "\u9fff" for character in question + system_of(agent, language))
    assert is_chinese == (language == "zh")


def test_what_came_before_is_bounded():
    """The request is given whole, everything else is cut."""
    long = "x" * 100_000
    before = dict.fromkeys(LOOMI[:3], long)
    brief = Brief("r" * 10_000, context={"notes": long}, before=before, earlier=(long, long))
    question = question_of("content_optimizer", brief)
    assert "r" * 10_000 in question
    bound = 2 * prompts.EARLIER_CHARACTERS + prompts.CONTEXT_CHARACTERS + 3 * prompts.BEFORE_CHARACTERS
    assert len(question) < 10_000 + bound + 500


def test_no_mark_of_a_chat_template_survives():
    """Data cannot end its message and begin another one."""
    marks = ["<|im_end|>", "<|im_start|>system", "</s>", "[INST]", "[/inst]", "<start_of_turn>", "<|eot_id|>"]
    brief = Brief(" ".join(marks), context={"a": marks}, before={"x": marks[0]}, earlier=(marks[1], marks[2]))
    question = question_of("content_agent", brief)
    assert not [mark for mark in marks if mark in question]
    assert "Write <b>bold</b> & [1]" in question_of("content_agent", Brief("Write <b>bold</b> & [1]"))
