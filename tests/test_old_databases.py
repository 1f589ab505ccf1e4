"""Databases of earlier versions: each opens with every event, its ended things stay ended, and its open ones go on."""

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from server.app import make_app
from server.eventlog.database import migrate, migrations, sqlite3
from tests.conftest import ROOT
from tests.support import assert_error, changed
from towow.events import seconds_of

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = sorted(file.stem for file in FIXTURES.glob("schema-*.json"))


def canonical_json(value):
    """Compact JSON in the order of the value's keys."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sha256_of(values):
    """SHA-256 over the canonical JSON of each value, one a line."""
    return hashlib.sha256("".join(f"{canonical_json(value)}\n" for value in values).encode()).hexdigest()


def event_lines(events, fields):
    """Events with the fields that their version had, in its order, null where one has none; later ones may have more."""
    return [{field: event.get(field) for field in fields} for event in events]


def table_rows(db, table, recorded):
    """The rows of a projection in the order of its key, with the columns that its version had."""
    columns, key = ", ".join(recorded["columns"]), ", ".join(recorded["key"])
    return [list(row) for row in db.execute(f"SELECT {columns} FROM {table} ORDER BY {key}")]


def read_tables(path, expected):
    """The rows of every projection in a file that no server has open."""
    with closing(sqlite3.connect(str(path))) as db:
        return {table: table_rows(db, table, recorded) for table, recorded in expected["tables"].items()}


@pytest.fixture(params=NAMES)
def expected(request):
    """What is recorded of one old database."""
    return {"name": request.param, **json.loads((FIXTURES / f"{request.param}.json").read_text(encoding="utf-8"))}


@pytest.fixture
def database(expected, tmp_path):
    """A copy of the old database."""
    return Path(shutil.copyfile(FIXTURES / f"{expected['name']}.db", tmp_path / "towow.db"))


@pytest.fixture
async def client(aiohttp_client, quiet_config, database, expected):
    """The real application on the copy, a minute after the last event was written: what has a time limit is not over it."""
    begins = seconds_of(expected["written_at"]) + 60.0 - time.monotonic()
    config = changed(quiet_config, "database", path=str(database))
    return await aiohttp_client(make_app(config, clock=lambda: begins + time.monotonic()))


async def get(client, path):
    """The JSON of an answer that is 200."""
    answer = await client.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def old_events(client, expected):
    """The events that were in the file when it was opened, the server's own too, through HTTP."""
    path = "/api/events?stream=*&stream=system:log&allow_pending=1&limit=1000"
    page = await get(client, f"{path}&start=beginning")
    events = page["events"]
    while page["next_since_seq"] < expected["head_seq"]:
        page = await get(client, f"{path}&since_seq={page['next_since_seq']}")
        events += page["events"]
    return [event for event in events if event["seq"] <= expected["head_seq"]]


def run_cli(*arguments):
    """A command of `run.py`; returns what it prints when its exit code is 0."""
    done = subprocess.run(
        [sys.executable, "run.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_a_database_of_an_earlier_version():
    """The tests below have something to open, and every expectation has its file."""
    assert NAMES
    assert all((FIXTURES / f"{name}.db").is_file() for name in NAMES)


def test_an_old_database_is_what_was_recorded(database, expected):
    """The file in the repository has the schema, the events and the tables that its expectations describe."""
    with closing(sqlite3.connect(str(database))) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == expected["user_version"]
        assert db.execute("SELECT max(seq), count(*) FROM events").fetchone() == (expected["head_seq"], expected["events"])
    for table, rows in read_tables(database, expected).items():
        assert (table, len(rows), sha256_of(rows)) == (table, *(expected["tables"][table][key] for key in ("rows", "sha256")))


def test_migrations_keep_what_the_tables_say(database, expected):
    """Every projection has the same rows after all migrations, before any server works on them."""
    with closing(sqlite3.connect(str(database), isolation_level=None)) as db:
        assert migrate(db) == migrations()[-1][0]
    for table, rows in read_tables(database, expected).items():
        assert (table, sha256_of(rows)) == (table, expected["tables"][table]["sha256"])


async def test_every_event_of_an_old_database_is_read_back(client, expected):
    """All events are served as they were written, with the epoch, the head and the place up to which was trimmed."""
    events = await old_events(client, expected)
    assert len(events) == expected["events"]
    assert sha256_of(event_lines(events, expected["event_fields"])) == expected["events_sha256"]
    health = await get(client, "/health")
    assert (health["epoch"], health["oldest_seq"]) == (expected["epoch"], events[0]["seq"])
    assert health["head_seq"] >= expected["head_seq"]
    gone = await assert_error(await client.get("/api/events?since_seq=0"), "gone", status=410)
    assert gone["reason"] == "trimmed"
    since_trimmed = await get(client, f"/api/events?since_seq={expected['trimmed_seq']}&limit=1")
    assert [event["seq"] for event in since_trimmed["events"]] == [
        next(event["seq"] for event in events if event["seq"] > expected["trimmed_seq"])
    ]


async def test_streams_of_an_old_database_end_where_they_did(client, expected):
    """Each recorded stream has its last revision, trimmed ones too."""
    streams = {each["name"]: each["revision"] for each in (await get(client, "/api/streams?limit=1000"))["streams"]}
    assert {name: streams.get(name) for name in expected["revisions"]} == expected["revisions"]


async def test_surfaces_list_what_an_old_database_has(client, expected):
    """Demands, agents, sessions, tasks and permissions are listed with the states that they had, ended and open."""
    listed = (await get(client, "/api/demand?limit=200"))["demands"]
    assert {each["demand_id"]: each["status"] for each in listed} == expected["demands"]
    for demand_id, status in expected["sub_negotiations"].items():
        children = (await get(client, f"/api/demand?parent={demand_id.rpartition('.')[0]}"))["demands"]
        assert {each["demand_id"]: each["status"] for each in children}[demand_id] == status
    assert sorted(each["agent_id"] for each in (await get(client, "/api/agents"))["agents"]) == expected["agents"]
    sessions = (await get(client, "/api/sessions?limit=200"))["sessions"]
    assert {each["session_name"]: each["status"] for each in sessions} == expected["sessions"]
    tasks = (await get(client, "/api/tasks?limit=200"))["tasks"]
    assert {each["task_id"]: each["status"] for each in tasks} == expected["tasks"]
    for name, status in expected["permissions"].items():
        assert (name, (await get(client, f"/agent_backend/api/sse/permissions/{name}"))["status"]) == (name, status)


async def test_demands_of_an_old_database_are_read_in_full_before_and_after_a_rebuild(client, database, expected):
    """Without parts in the tables a demand is folded from its stream, and with them nothing about it differs."""
    trimmed = [name for (name,) in expected["tables"]["demands"]["trimmed"]]
    statuses = {**expected["demands"], **expected["sub_negotiations"]}
    ended = [name for name, status in statuses.items() if status != "processing" and name not in trimmed]
    before = {name: await get(client, f"/api/demand/{name}") for name in ended}
    assert any(each["proposals"] and each["offers"] for each in before.values())
    run_cli("rebuild", "--db", database)
    assert {name: await get(client, f"/api/demand/{name}") for name in ended} == before
    with closing(sqlite3.connect(str(database))) as db:
        assert {name for (name,) in db.execute("SELECT demand_id FROM demand_parts")} >= set(ended)


async def test_runs_of_an_old_database_are_listed_and_interrupted_ones_end(client, expected):
    """Runs that had ended are as they were; one that was open when its server was killed fails as interrupted."""
    interrupted = dict.fromkeys(expected["interrupted_runs"], "failed")
    async with asyncio.timeout(5):
        while True:
            runs = {each["run_id"]: each for each in (await get(client, "/api/runs?limit=200"))["runs"]}
            if all(runs[run_id]["status"] != "running" for run_id in interrupted):
                break
            await asyncio.sleep(0.01)
    assert {run_id: run["status"] for run_id, run in runs.items()} == {**expected["runs"], **interrupted}
    assert {runs[run_id]["reason"] for run_id in interrupted} == {"interrupted"}


async def test_open_things_of_an_old_database_go_on(client, expected):
    """What is appended to each open thing gets the next revision of its stream."""
    for thing in expected["open"]:
        answer = await client.post(thing["path"], json=thing["json"])
        assert answer.status in (200, 201), await answer.text()
        event = await get(client, f"/api/events/{(await answer.json())['seq']}")
        assert (event["stream"], event["revision"]) == (thing["stream"], thing["revision"] + 1)
        assert event["seq"] > expected["head_seq"]


async def test_ended_things_of_an_old_database_stay_ended(client, expected):
    """What is appended to an ended thing, or changes what was answered, is refused and changes nothing."""
    for thing in expected["ended"]:
        await assert_error(await client.post(thing["path"], json=thing["json"]), thing["error"], status=thing["status"])
    events = await old_events(client, expected)
    assert sha256_of(event_lines(events, expected["event_fields"])) == expected["events_sha256"]


def test_check_and_rebuild_accept_an_old_database(database, expected):
    """`rebuild` gives every row again, but for those whose beginning retention has removed, and `check` finds no fault."""
    before = read_tables(database, expected)
    run_cli("rebuild", "--db", database)
    assert f"ok: {expected['events']} events" in run_cli("check", "--db", database)
    for table, rows in read_tables(database, expected).items():
        recorded = expected["tables"][table]
        trimmed, width = recorded["trimmed"], len(recorded["key"])
        assert [row for row in rows if row[:width] not in trimmed] == [
            row for row in before[table] if row[:width] not in trimmed
        ]
