"""No document sends the reader to a place that is not there, and each can be found from the README."""

import re

import pytest

from server.cli import COMMANDS
from server.config import Config
from tests.docs.reading import DOCUMENTS, PAGES, read, tables
from tests.support import ROOT
from tests.test_layers import PACKAGES
from towow.errors import STATUS_BY_CODE


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_in_the_documents_exists(name):
    """Files and folders of the project; NAME stands for one that a reader makes."""
    paths = re.findall(r"(?:towow|server|benchmarks|tests|migrations|docs|\.ci)/[A-Za-z0-9_./-]*[A-Za-z0-9_/]", read(name))
    sources = {"towow/events/recorder.py", "towow/events/integration.py"}  # of source document 000
    sources |= {"towow/api/routers/events.py", "towow/api/routers/demand.py", "towow/api/main.py"}
    for path in paths:
        if "NAME" in path or (name == "docs/sources.md" and path in sources):
            continue
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_to_a_document_and_to_a_heading_in_it(name):
    """Relative links, as a reader of the repository follows them."""
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", read(name)):
        path, _, anchor = target.partition("#")
        document = (ROOT / name).parent / path if path else ROOT / name
        assert document.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings], target


def test_the_index_has_every_page_and_the_readmes_lead_to_it():
    """A page that nobody links is a page that nobody reads."""
    linked = set(re.findall(r"\]\(([a-z_]+\.md)\)", read("docs/README.md")))
    assert {f"docs/{page}" for page in linked} == set(PAGES) - {"docs/README.md"}
    for readme in ("README.md", "README.zh.md"):
        linked = set(re.findall(r"\]\((docs/[A-Za-z_]+\.md)\)", read(readme)))
        assert linked == set(PAGES)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_lines_outside_of_tables_fit_a_screen(name):
    """At most 144 columns: what is longer is a table or an address."""
    long = [line for line in read(name).splitlines() if len(line) > 144 and not line.startswith("|") and "http" not in line]
    assert long == []


def test_the_packages_of_the_architecture_are_those_that_are_held():
    """The table in ARCHITECTURE.md and the one in test_layers.py have the same rows in the same order."""
    assert [row[0].strip("`").replace("/", ".") for row in tables(read("ARCHITECTURE.md"), "package")] == list(PACKAGES)


def test_the_words_of_the_architecture_are_all_explained():
    """The table of words has a meaning for each."""
    rows = tables(read("ARCHITECTURE.md"), "word")
    assert {"event", "stream", "seq", "revision", "cursor", "epoch", "hub", "follower"} <= {row[0] for row in rows}
    assert all(row[1] for row in rows)


def test_the_changelog_names_what_is_visible():
    """Error codes, commands, routes and sections of the settings stand there in full."""
    text = read("CHANGELOG.md")
    names = [*STATUS_BY_CODE, *COMMANDS, *(f"[{section}]" for section in Config.__struct_fields__)]
    assert [name for name in names if f"`{name}`" not in text and f"`{name} " not in text] == []
