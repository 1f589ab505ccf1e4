"""What the documents say about the source documents' names is true: what a name became is where the table says."""

import re

import pytest

from tests.docs.reading import read, tables
from tests.support import ROOT

NUMBERS = ("000", "001", "002", "003", "004")
ROWS = [(number, row) for number in NUMBERS for row in tables(read("docs/sources.md"), f"source {number}")]


def test_each_of_the_five_sources_has_its_table():
    """Each has rows, and no name stands twice in one."""
    for number in NUMBERS:
        names = [row[0] for source, row in ROWS if source == number]
        assert len(names) >= 8
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(("number", "row"), ROWS, ids=lambda value: value if isinstance(value, str) else value[0][:40])
def test_what_a_name_became_is_in_the_files_that_its_row_names(number, row):
    """Each identifier on the right is a word of one of the files there; "of these names" stands for those on the left."""
    names = re.findall(r"`([^`]+)`", row[1])
    paths = [name for name in names if "/" in name and not name.startswith(("/", "GET ", "POST "))]
    identifiers = [name for name in names if re.fullmatch(r"[A-Za-z_]\w*(\.[a-z_]\w*)?", name) and not name.endswith(".py")]
    if "names of" in row[1] or "of these names" in row[1]:
        identifiers += re.findall(r"`([A-Za-z_]\w*)`", row[0])
    if not paths:
        return
    files = [file for path in paths for file in (ROOT / path, *sorted((ROOT / path).rglob("*"))) if file.is_file()]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.suffix in (".py", ".sql", ".js", ".ts", ".tsx"))
    for identifier in identifiers:
        for part in identifier.split("."):
            assert re.search(rf"\b{part}\b", text), f"{identifier} is in none of {paths}"
