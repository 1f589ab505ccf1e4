"""The documents as tests read them: their text, their tables and their code blocks."""

import re

from tests.support import ROOT

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "README.zh.md", "ARCHITECTURE.md", "towow/README.md", *PAGES]


def read(name):
    """A document, by its path in the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def tables(text, heading):
    """The rows of the tables whose first column has this heading, as lists of cells; an escaped bar is text."""
    rows, is_in = [], False
    for line in text.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            is_in = False
        elif cells[0] == heading:
            is_in = True
        elif is_in and set(line) - set("|-: "):
            rows.append(cells)
    return rows


def blocks(text, language=None):
    """The code blocks as (language, code), or the codes of those in one language; the indentation of a list is taken off."""
    found = []
    for indent, name, body in re.findall(r"^( *)```([a-z]*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        found.append((name, "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))))
    return found if language is None else [code for name, code in found if name == language]


def section(text, heading):
    """What stands under a heading of the second level."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
