"""The parts of an agent's work on their own: groups of pieces, what agents are told, what the template writes."""

import asyncio

import msgspec
import pytest

from server.surfaces.generations import prompts, state, template_words
from server.surfaces.generations.agents import cleaned, summary_of
from server.surfaces.generations.chunking import ChunkGroups
from server.surfaces.generations.commands import Completed, Failed
from server.surfaces.generations.loomi import LoomiConcierge
from server.surfaces.generations.nova import Nova3Supervisor
from server.surfaces.generations.prompts import Brief, question_of, system_of
from server.surfaces.generations.steps import Write
from server.surfaces.generations.template_writer import TemplateWriter, template_text
from server.surfaces.generations.texts import planned_agents
from tests.support import until
from tests.support.generations import LOOMI, NOVA

CHINESE = "请写一篇300字的活动介绍，面向年轻用户，语气轻松。活动在下周六举行，有音乐和咖啡。"
ENGLISH = (
    "Write a short friendly invitation for our customers to the opening of a bakery on Saturday. Mention free coffee. "
    "There is music at 5pm."
)


class Disk:
    """Where groups are stored, as slowly as the test says."""

    def __init__(self):
        self.texts = []
        self.free = asyncio.Event()
        self.free.set()

    async def store(self, text):
        """Wait until there is room, and keep the text."""
        await self.free.wait()
        self.texts.append(text)


class TestGroups:
    """`ChunkGroups`: nothing lost, nothing turned round, few and in time."""

    async def test_the_first_piece_does_not_wait(self):
        """However long a group may take."""
        disk = Disk()
        groups = ChunkGroups(disk.store, seconds=3600, characters=100)
        storing = asyncio.create_task(groups.store_all())
        groups.add("first")
        await until(lambda: disk.texts == ["first"])
        groups.add("second")
        for _ in range(10):
            await asyncio.sleep(0)
        groups.add("third")
        groups.finish()
        assert await storing == "secondthird"
        assert disk.texts == ["first"]

    async def test_a_piece_after_quiet_does_not_wait_either(self):
        """A slow model is not slowed down."""
        disk = Disk()
        groups = ChunkGroups(disk.store, seconds=0.02, characters=100)
        storing = asyncio.create_task(groups.store_all())
        loop = asyncio.get_running_loop()
        for number in range(3):
            groups.add("x")
            await asyncio.sleep(0)  # to the task that stores, and nothing else
            await asyncio.sleep(0)
            assert len(disk.texts) == number + 1
            began_at = loop.time()
            await until(lambda began_at=began_at: loop.time() - began_at > 0.03)
        groups.finish()
        assert await storing == ""

    async def test_a_group_is_stored_when_its_time_has_come(self):
        """Also when nothing more comes."""
        disk = Disk()
        groups = ChunkGroups(disk.store, seconds=0.02, characters=100)
        storing = asyncio.create_task(groups.store_all())
        groups.add("first")
        await until(lambda: disk.texts)
        groups.add("a")
        groups.add("b")
        await until(lambda: len(disk.texts) == 2)
        assert disk.texts == ["first", "ab"]
        groups.finish()
        assert await storing == ""

    async def test_a_group_that_is_long_enough_does_not_wait(self):
        """Nor is what is stored ever longer than it may be."""
        disk = Disk()
        groups = ChunkGroups(disk.store, seconds=3600, characters=4)
        storing = asyncio.create_task(groups.store_all())
        groups.add("1")
        await until(lambda: disk.texts == ["1"])
        groups.add("abc")
        groups.add("defghij")
        await until(lambda: disk.texts == ["1", "abcd", "efgh", "ij"])
        groups.finish()
        assert await storing == ""

    async def test_while_one_is_on_its_way_the_next_gathers(self):
        """One at a time, in order."""
        disk = Disk()
        disk.free.clear()
        groups = ChunkGroups(disk.store, seconds=0, characters=100)
        storing = asyncio.create_task(groups.store_all())
        for n in range(10):
            groups.add(str(n))
            await asyncio.sleep(0)
        disk.free.set()
        await until(lambda: "".join(disk.texts) == "0123456789")
        assert len(disk.texts) <= 2
        groups.finish()
        assert await storing == ""

    @pytest.mark.parametrize("pieces", [[], ["one"], ["a" * 25], ["", "x", ""]], ids=["none", "one", "long", "empty ones"])
    async def test_what_was_stored_and_what_is_left_is_the_text(self, pieces):
        """Also for a writer that never waits."""
        disk = Disk()
        groups = ChunkGroups(disk.store, seconds=1, characters=10)
        storing = asyncio.create_task(groups.store_all())
        for piece in pieces:
            groups.add(piece)
        groups.finish()
        rest = await storing
        assert "".join([*disk.texts, rest]) == "".join(pieces)
        assert all(0 < len(text) <= 10 for text in disk.texts)

    async def test_a_disk_that_fails_is_heard(self):
        """Whoever waits for the groups gets the error."""

        async def broken(text):
            raise LookupError

        groups = ChunkGroups(broken, seconds=0, characters=10)
        groups.add("x")
        with pytest.raises(LookupError):
            await groups.store_all()


class TestPrompts:
    """What an agent is told is short, in its language, and bounded."""

    @pytest.mark.parametrize("language", ["en", "zh"])
    @pytest.mark.parametrize("agent", [*NOVA, *LOOMI, "somebody_else"])
    def test_every_agent_has_a_task_in_both_languages(self, agent, language):
        """With the request before it, and the task in the last line."""
        brief = Brief("R E Q U E S T", language)
        question = question_of(agent, brief)
        assert "R E Q U E S T" in question
        assert len(question) + len(system_of(agent, language)) < 500
        is_chinese = any("\u4e00" <= character <= "\u9fff" for character in question + system_of(agent, language))
        assert is_chinese == (language == "zh")

    def test_what_came_before_is_bounded(self):
        """The request is given whole, everything else is cut."""
        long = "x" * 100_000
        before = dict.fromkeys(LOOMI[:3], long)
        brief = Brief("r" * 10_000, context={"notes": long}, before=before, earlier=(long, long))
        question = question_of("content_optimizer", brief)
        assert "r" * 10_000 in question
        bound = 2 * prompts.EARLIER_CHARACTERS + prompts.CONTEXT_CHARACTERS + 3 * prompts.BEFORE_CHARACTERS
        assert len(question) < 10_000 + bound + 500

    def test_no_mark_of_a_chat_template_survives(self):
        """Data cannot end its message and begin another one."""
        marks = ["<|im_end|>", "<|im_start|>system", "</s>", "[INST]", "[/inst]", "<start_of_turn>", "<|eot_id|>"]
        brief = Brief(" ".join(marks), context={"a": marks}, before={"x": marks[0]}, earlier=(marks[1], marks[2]))
        question = question_of("content_agent", brief)
        assert not [mark for mark in marks if mark in question]
        assert "Write <b>bold</b> & [1]" in question_of("content_agent", Brief("Write <b>bold</b> & [1]"))


class TestTemplate:
    """The template: deterministic, about the request, in its language, and honest."""

    @pytest.mark.parametrize(
        ("prompt", "language", "known"),
        [(ENGLISH, "en", ["free coffee", "music at 5pm", "opening of a bakery"]), (CHINESE, "zh", ["音乐和咖啡", "300字"])],
        ids=["en", "zh"],
    )
    @pytest.mark.parametrize("agent", ["insight_agent", "content_agent", "requirement_analyzer", "strategy_generator"])
    async def test_a_text_is_made_of_what_the_request_says(self, agent, prompt, language, known):
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
    def test_whatever_is_asked_there_is_a_text(self, agent, language, prompt):
        """Never empty, never long."""
        text = template_text(agent, Brief(prompt, language, {"k": {"deep": [1]}}, {}, ("before", "then")))
        assert text.strip() == text
        assert 0 < len(text) < 4_000

    def test_it_says_what_is_missing(self):
        """Readers, length, tone and time, unless the request names them."""
        words = template_words.WORDS["en"]
        assert all(
            question in template_text("insight_agent", Brief("Write about rain")) for question in words.questions.values()
        )
        assert words.nothing_open in template_text("insight_agent", Brief(ENGLISH))
        requirements = template_text("requirement_analyzer", Brief(ENGLISH))
        for line in ("Readers: for our customers", "Length: short", "Tone: friendly", "Time: Saturday"):
            assert line in requirements.splitlines()

    def test_a_draft_says_that_nobody_has_written_it(self):
        """In its first line."""
        for language, words in template_words.WORDS.items():
            for agent in ("content_agent", "content_generator", "content_optimizer"):
                assert template_text(agent, Brief("x", language)).startswith(words.notice)

    def test_stages_build_on_each_other(self):
        """The draft follows the plan, the polished text is the draft."""
        plan = template_text("strategy_generator", Brief(ENGLISH))
        draft = template_text("content_generator", Brief(ENGLISH, before={"strategy_generator": plan}))
        assert "Mention free coffee" in draft
        assert template_text("content_optimizer", Brief(ENGLISH, before={"content_generator": draft})) == draft

    def test_both_languages_have_the_same_needs(self):
        """What a text has to know has a name, a question and a pattern in each."""
        for words in template_words.WORDS.values():
            assert list(words.needs) == list(words.questions) == list(words.patterns)

    def test_it_is_the_writer_that_events_call_degraded(self):
        """By its name and its flag."""
        writer = TemplateWriter("content_agent", Brief("x"))
        assert (writer.name, writer.is_degraded) == (state.TEMPLATE, True)


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        pytest.param("One line.\nTwo.", "One line.", id="the first line"),
        pytest.param("\n\n# A heading\ntext", "A heading", id="without marks"),
        pytest.param("- **point**", "point**", id="a list"),
        pytest.param("2026 was good", "2026 was good", id="digits stay"),
        pytest.param("***\nText", "Text", id="a rule is no line"),
        pytest.param("x" * 500, "x" * 159 + "…", id="cut"),
    ],
)
def test_a_summary_is_one_line(text, summary):
    """The first one that says something."""
    assert summary_of(text) == summary


def test_a_piece_is_cleaned_without_touching_what_is_text():
    """Tabs, line feeds and every script stay."""
    assert cleaned("a\tb\n中文 é 🎉 \u200f") == "a\tb\n中文 é 🎉 \u200f"
    assert cleaned("a\x00\x1b\x7f\x9b\ud83db\u2028c") == "ab\nc"


# What comes next, as a table: (mode, statuses of the four agents) -> step.


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
        pytest.param((F, F, F, F), Failed("all_agents_failed"), id="none"),
        pytest.param((F, C, F, F), Completed("## Audience\n\nby profile_agent"), id="one"),
        pytest.param(
            (C, F, C, F), Completed("## Insight\n\nby insight_agent\n\n## Content\n\nby content_agent"), id="in their order"
        ),
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
        pytest.param((F, W, W, W), Failed("agent_failed"), id="nothing to build on"),
        pytest.param((C, C, F, W), Failed("agent_failed"), id="no draft"),
        pytest.param((C, C, C, F), Completed("by content_generator"), id="no polish"),
        pytest.param((C, C, C, C), Completed("by content_optimizer"), id="all"),
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
