"""Hostile traffic, short: nothing that a client sends is a fault of the server, and nobody else pays for it."""

import os
import stat

from tests.support import ServerProcess
from tests.system.hostile_traffic import ENVIRONMENT, attack, hostile


async def test_no_connection_and_no_body_is_a_fault_of_the_server(tmp_path):
    """No 5xx, no traceback in the log, and the server is well afterwards."""
    with ServerProcess(tmp_path / "towow.db", environment=ENVIRONMENT) as server:
        outcome = await attack(server, 600, 600, seed=1)
        text = (tmp_path / "towow.db.log").read_text(errors="replace")
    assert (outcome.faults, outcome.tracebacks) == (0, 0), text[text.find("Traceback") - 500 :][:4_000]
    assert sum(count for status, count in outcome.statuses.items() if 200 <= status < 500) > 600


async def test_an_honest_client_is_served_among_hostile_ones(tmp_path):
    """Its publishes are stored and its reads answered while others hold streams with many globs and publish new types."""
    with ServerProcess(tmp_path / "towow.db", environment=ENVIRONMENT) as server:
        quiet, attacked = await hostile(server.port, 200, 60.0, 30)
        print(f"p99 {quiet * 1000:.1f} ms quiet, {attacked * 1000:.1f} ms attacked")


def test_what_the_server_writes_is_its_owners_alone(tmp_path):
    """The database, its log, locks and marks are 0600, folders 0700, whatever the umask was."""
    before = os.umask(0o022)
    try:
        with ServerProcess(tmp_path / "towow.db", environment={**ENVIRONMENT}) as server:
            assert server.get("/health")["status"] == "ok"
            made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    del made["towow.db.log"]  # the test's own
    assert {"towow.db", "towow.db-wal", "towow.db.lock", "towow.db.mark"} <= set(made)
    assert {name: oct(mode) for name, mode in made.items() if mode & 0o077} == {}
