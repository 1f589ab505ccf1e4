"""Clients of others get every event once and in order, whatever happens on the way; the whole table is docs/clients.md.

Those that are installed here are taken; .ci/run installs them and sets TOWOW_REQUIRE_CLIENTS."""

import os
import shutil

import pytest

from tests.docs.reading import read, tables
from tests.system.clients.programs import GO, NAMES, installed
from tests.system.clients.situations import SITUATIONS, take

PROGRAMS = installed()
# The situations in which clients differ; the program takes them through the others, too.
CHOSEN = ("server killed", "cut within a frame", "cut before its first event", "file replaced")
SAID = {row[0]: dict(zip(SITUATIONS, row[2:], strict=True)) for row in tables(read("docs/clients.md"), "client")}
RIGHT = [(name, situation) for name in PROGRAMS for situation in CHOSEN if SAID[name][situation] == "yes"]


def test_the_clients_are_there_where_they_are_required():
    """None is skipped quietly."""
    needed = {name for name in NAMES if name not in GO or shutil.which("go")}
    missing = sorted(needed - set(PROGRAMS))
    if missing and os.environ.get("TOWOW_REQUIRE_CLIENTS") != "1":
        pytest.skip(f"not installed here: {', '.join(missing)}")
    assert not missing


def test_the_document_has_every_client():
    """A row each, and a cell for every situation."""
    assert set(SAID) == set(NAMES)


@pytest.mark.parametrize(("name", "situation"), RIGHT)
def test_a_client_gets_what_the_document_says(name, situation, tmp_path):
    """Right where the table says yes."""
    assert take(PROGRAMS[name], situation, tmp_path / "run") == ""
