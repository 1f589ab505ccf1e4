"""
Fixtures of the surfaces' tests.
"""

import contextlib
from pathlib import Path

import pytest

from server.database import sqlite3
from server.surfaces.demands.projections import clear_demands
from tests.support import ROOT


@pytest.fixture(scope="session")
def migrated():
    """
    A database in memory with the tables of all migrations.
    """
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for script in sorted(Path(ROOT, "migrations").glob("*.sql")):
            connection.executescript(script.read_text(encoding="utf-8"))
        yield connection


@pytest.fixture
def table(migrated):
    """
    A connection to the empty table of demands.
    """
    clear_demands(migrated)
    return migrated
