"""Fixtures of the surfaces' tests."""

import contextlib
from pathlib import Path

import pytest

from server.app import make_app
from server.eventlog.database import sqlite3
from server.surfaces.demands import SURFACE
from tests.support import ROOT, empty
from tests.support.negotiations import Clock, negotiating

PATIENT = {"offer_timeout_seconds": 60.0, "feedback_timeout_seconds": 60.0, "subnet_timeout_seconds": 60.0}


@pytest.fixture(scope="session")
def migrated():
    """A database in memory with the tables of all migrations."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for script in sorted(Path(ROOT, "migrations").glob("*.sql")):
            connection.executescript(script.read_text(encoding="utf-8"))
        yield connection


@pytest.fixture
def table(migrated):
    """A connection to the empty table of demands."""
    empty(migrated, SURFACE.tables)
    return migrated


@pytest.fixture
def clock():
    """A clock that the test sets."""
    return Clock()


@pytest.fixture
def start(aiohttp_client, quiet_config):
    """Start the application on the test's file with these settings of the negotiation; patient unless said otherwise."""

    async def start(clock=None, **negotiation):
        options = {} if clock is None else {"clock": clock}
        return await aiohttp_client(make_app(negotiating(quiet_config, **{**PATIENT, **negotiation}), **options))

    return start
