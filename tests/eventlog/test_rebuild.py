"""`rebuild` on a log that is in use and trimmed: nobody is refused, and what only the rows know is kept."""

import asyncio
from contextlib import closing

import pytest

from server.app import LOG, PROJECTED, PROJECTIONS, is_terminal, make_app
from server.config import KindRetention, RetentionSection
from server.eventlog import rebuild as module
from server.eventlog.database import sqlite3
from server.eventlog.rebuild import rebuild
from server.eventlog.retention import trim
from server.eventlog.verify import check
from tests.support import changed, empty, note, open_log

NAMES = tuple(PROJECTED.tables)


def rebuild_file(path):
    """Rebuild by a connection of its own, as the command does."""
    with closing(sqlite3.connect(str(path), timeout=10.0, isolation_level=None)) as db:
        return rebuild(db, PROJECTED)


def rows(path):
    """The rows of every projection."""
    with closing(sqlite3.connect(str(path))) as db:
        return {name: sorted(map(repr, db.execute(f"SELECT * FROM {name}"))) for name in NAMES}


@pytest.fixture
async def trimmed(aiohttp_client, quiet_config):
    """A client of a log whose waiting customer, pending permission, demand and task have lost their first events."""
    client = await aiohttp_client(make_app(quiet_config))
    asked = {"tool_name": "rm", "parameters": {"path": "a"}, "risk_level": "high"}
    for path, fields in (
        ("/api/agents", {"agent_id": "ann", "name": "Ann", "capabilities": ["venue"]}),
        ("/api/manual/escalate", {"session_name": "alice"}),
        ("/agent_backend/api/sse/notify/m-1", {"type": "permission_request", "data": asked, "permission_id": "p-1"}),
        ("/agent_backend/api/sse/notify/m-1", {"type": "error", "data": {"message": "m"}}),
        ("/api/demand/submit", {"user_id": "u", "raw_input": "We need a venue"}),
        ("/api/tasks/t/events", {"event_type": "phase_enter", "phase": "one"}),
        ("/api/tasks/t/events", {"event_type": "log", "payload": {}}),
        ("/api/manual/message", {"session_name": "alice", "content": "hello?", "role": "user"}),
    ):
        answer = await client.post(path, json=fields)
        assert answer.status in (200, 201, 422), await answer.text()
    await client.app[LOG].append([note("session:alice"), note("note:open")])
    limits = dict.fromkeys(("session", "mcp", "demand", "task"), KindRetention(keep_last=1))
    assert await trim(client.app[LOG], RetentionSection(kinds=limits)) > 3
    return client


async def test_what_only_the_rows_know_is_kept(trimmed, quiet_config):
    """A waiting customer waits, a pending permission is pending; what the log can say is made again, and `check` is content."""
    path = quiet_config.database.path
    before = rows(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE agents SET name = 'Eve'")
    await asyncio.to_thread(rebuild_file, path)
    assert rows(path) == before
    session = await (await trimmed.get("/api/sessions/alice")).json()
    assert session["status"] == "waiting_agent"
    permission = await (await trimmed.get("/agent_backend/api/sse/permissions/m-1/p-1")).json()
    assert permission["status"] == "pending"
    with closing(sqlite3.connect(path)) as db:
        assert check(db, PROJECTED).faults == []


async def test_rows_that_are_gone_are_made_of_what_is_left(trimmed, quiet_config):
    """A trimmed stream without any row is folded from the events that it has."""
    path = quiet_config.database.path
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        empty(db, NAMES)
    await asyncio.to_thread(rebuild_file, path)
    assert [name for name, found in rows(path).items() if found] == ["agents_fts", "agents", "tasks"]


async def test_publishers_go_on_while_tables_are_built_again(quiet_config, monkeypatch):
    """Nobody is refused, and what came meanwhile is in the rows."""
    monkeypatch.setattr(module, "_STREAMS_PER_TRANSACTION", 10)
    config = changed(quiet_config, "database", busy_timeout_seconds=5.0)
    async with open_log(config, is_terminal=is_terminal, projections=PROJECTIONS) as log:
        for n in range(200):
            await log.append([note(f"task:{n}", event_type="phase_enter"), note(f"task:{n}", event_type="log")])
        await log.write(lambda db: empty(db, NAMES))
        rebuilding = asyncio.create_task(asyncio.to_thread(rebuild_file, config.database.path))
        published = 0
        while not rebuilding.done():
            await log.append([note(f"task:{published % 250}", event_type="log")])
            published += 1
        assert await rebuilding >= 400
        assert published
        summary = await log.query(lambda db: check(db, PROJECTED))
        assert summary.faults == []
