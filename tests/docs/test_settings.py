"""The settings in the documents are those of `server/config.py`."""

import re

import pytest

from server.config import FORMER_KEYS, FORMER_SECTIONS, Config
from tests.docs.reading import DOCUMENTS, read, tables


def test_the_document_has_every_section_of_the_settings_and_no_other():
    """In the order of `config.toml`."""
    assert [row[0] for row in tables(read("docs/settings.md"), "section")] == [
        f"`[{each}]`" for each in Config.__struct_fields__
    ]


def test_the_document_has_every_former_name_with_the_one_of_today():
    """Whoever reads the warning, or an old file, finds what became of a name."""
    former = {f"`[{was}]`": f"`[{today}]`" for was, today in FORMER_SECTIONS.items()}
    former |= {f"`[{was[0]}] {was[1]}`": f"`[{today[0]}] {today[1]}`" for was, today in FORMER_KEYS.items()}
    assert dict(tables(read("docs/settings.md"), "former name")) == former


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_the_documents_say_about_settings_exists(name):
    """`[section] key` and `TOWOW__SECTION__KEY` are real ones; names of earlier versions stand in their table alone."""
    text = "\n".join(line for line in read(name).splitlines() if line.count("`[") < 2 or not line.startswith("| `["))
    named = re.findall(r"`\[([a-z]+)\] ([a-z_]+)", text)
    named += [(section.lower(), key.lower()) for section, key in re.findall(r"TOWOW__([A-Z]+)__([A-Z_]+)", text)]
    for section, key in named:
        if (section, key) != ("section", "key"):
            assert key in type(getattr(Config(), section)).__struct_fields__, (section, key)
