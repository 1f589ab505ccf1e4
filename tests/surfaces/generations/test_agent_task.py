"""An agent's task on its own: groups of pieces, the summary of a text, and what a piece loses."""

import asyncio

import pytest

from server.surfaces.generations.agent_task import ChunkGroups, cleaned, summary_of
from tests.support import until


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
