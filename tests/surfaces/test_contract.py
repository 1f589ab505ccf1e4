"""What all surfaces promise alike, asked of every descriptor: what is special to one is tested in its own folder."""

import contextlib
import json

import pytest

from server.app import LOG, PROJECTION_TABLES, PROJECTIONS, SURFACES, make_app
from server.config import Config
from server.eventlog.database import sqlite3
from server.eventlog.verify import empty, rebuild
from server.eventlog.writer import COLUMNS
from tests.support import ROOT, assert_error, read_frames
from tests.support.surfaces import SAMPLES
from tests.support.tokens import bearer, token, with_tokens
from tests.surfaces.generations.generating import by_hand
from towow.events import Event, kind_of

FILES = ("__init__", "state", "commands", "model", "inputs", "projections", "rendering", "routes")
LISTED = [each for each in SAMPLES if each.listed]
ENDING = [each for each in SAMPLES if each.surface.kinds[each.kind].terminal]


def of(samples=SAMPLES):
    """Run a test for each of these samples."""
    return pytest.mark.parametrize("sample", [pytest.param(each, id=each.surface.name) for each in samples], indirect=True)


@pytest.fixture(autouse=True)
def resting(quiet_config):
    """Runs stay where they are: the lock of those who carry them out is taken before an application starts."""
    with by_hand(quiet_config):
        yield


@pytest.fixture
def sample(request):
    """A surface's sample."""
    return request.param()


async def read(client, path, **options):
    """An answer's JSON, when it is 200."""
    answer = await client.get(path, **options)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def begin_and_end(client, sample):
    """An open thing and one that has ended."""
    ended, still_open = await sample.begin(client), await sample.begin(client)
    await sample.end(client, ended)
    return still_open, ended


def rows(db, sample):
    """All rows of the surface's tables."""
    return {table: sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in sample.surface.tables}


@contextlib.contextmanager
def opened(config):
    """A second connection to the database file."""
    with contextlib.closing(sqlite3.connect(config.database.path, isolation_level=None)) as db:
        yield db


# The descriptors


def test_every_surface_has_a_sample():
    """What is promised for all surfaces is asked of all."""
    assert [each.surface for each in SAMPLES] == list(SURFACES)


def test_a_kind_and_a_table_have_one_owner(quiet_config, client):
    """No two surfaces share a kind or a table, and every table of the file is the log's or a surface's."""
    kinds = [name for surface in SURFACES for name in surface.kinds]
    assert len(set(kinds)) == len(kinds)
    with opened(quiet_config) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    own = {name for name in names if not name.startswith(("sqlite_", "agents_fts_"))}
    assert own - {"events", "log_meta"} == set(PROJECTION_TABLES)
    assert len(set(PROJECTION_TABLES)) == len(PROJECTION_TABLES)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_a_surface_has_one_name_and_the_same_files(surface):
    """Its folder, its section of the settings and its folder of the pages: one name finds them all."""
    folder = ROOT / "server" / "surfaces" / surface.name
    assert {file.stem for file in folder.glob("*.py")} >= set(FILES)
    assert len([each for each in folder.iterdir() if each.is_dir() and each.name != "__pycache__"]) <= 2
    assert surface.name in Config.__struct_fields__
    assert (ROOT / "server" / "static" / "js" / surface.name).is_dir()


# The tables


@of()
async def test_rows_that_are_built_again_from_the_log_are_the_rows(client, quiet_config, sample):
    """`run.py rebuild` empties the tables and fills them with what was there, and the surface goes on."""
    await begin_and_end(client, sample)
    with opened(quiet_config) as db:
        before = rows(db, sample)
        assert all(before.values())
        empty(db, sample.surface.tables)
        assert not any(rows(db, sample).values())
        rebuild(db, PROJECTIONS, PROJECTION_TABLES)
        assert rows(db, sample) == before
    await sample.begin(client)


@of()
async def test_an_event_that_is_projected_again_changes_nothing(client, quiet_config, sample):
    """Neither the newest event nor any older one moves a row."""
    await begin_and_end(client, sample)
    with opened(quiet_config) as db:
        before = rows(db, sample)
        events = [Event(*row) for row in db.execute(f"SELECT {COLUMNS} FROM events ORDER BY seq DESC")]
        for event in events:
            for projection in PROJECTIONS.get(kind_of(event.stream), ()):
                projection(db, event)
            assert rows(db, sample) == before, event
        assert {kind_of(event.stream) for event in events} & set(sample.surface.kinds)


@of()
async def test_a_restart_answers_the_same(aiohttp_client, quiet_config, sample):
    """What was open is open and what has ended has ended, alone and in the list."""
    client = await aiohttp_client(make_app(quiet_config))
    things = await begin_and_end(client, sample)
    paths = [sample.one(thing) for thing in things] + ([sample.listed[0]] if sample.listed else [])
    before = [await read(client, path) for path in paths]
    await client.close()
    client = await aiohttp_client(make_app(quiet_config))
    after = [await read(client, path) for path in paths]
    for answer in (*before, *after):
        for key in sample.clocked:
            assert answer.pop(key) >= 0
    assert after == before


# The streams


@of()
async def test_every_transport_carries_the_same_events(client, sample):
    """SSE, NDJSON and WebSocket send the same objects in the same order, the events that a page has."""
    _, ended = await begin_and_end(client, sample)
    page = (await read(client, f"/api/events?stream={sample.stream(ended)}&since_seq=0"))["events"]
    path = sample.events(ended)
    async with client.get(f"{path}?since_seq=0") as response:
        frames = [frame for frame in await read_frames(response, len(page)) if frame.event is None]
        assert response.content_type == "text/event-stream"
    async with client.get(f"{path}?since_seq=0&format=ndjson") as response:
        lines = [json.loads(await response.content.readline()) for _ in page]
    async with client.ws_connect(f"{path}?since_seq=0") as socket:
        messages = [await socket.receive_json(timeout=3) for _ in page]
    assert [frame.data for frame in frames] == lines == messages
    assert [frame.id for frame in frames] == [str(event["seq"]) for event in page]


@of()
async def test_a_cursor_resumes_exactly_after_it(client, sample):
    """What was read is not sent again and what was not read is not left out, on every way that a cursor is named."""
    thing, _ = await begin_and_end(client, sample)
    page = (await read(client, f"/api/events?stream={sample.stream(thing)}&since_seq=0"))["events"]
    first, rest = page[0], page[1:]
    for query, headers in (
        (f"since_seq={first['seq']}", {}),
        (f"last_event_id={first['event_id']}", {}),
        ("since_seq=0", {"Last-Event-ID": str(first["seq"])}),
    ):
        async with client.get(f"{sample.events(thing)}?{query}", headers=headers) as response:
            frames = await read_frames(response, len(rest))
            assert [frame.id for frame in frames] == [str(event["seq"]) for event in rest]


@of(ENDING)
async def test_what_has_ended_stays_ended(client, sample):
    """Its stream is answered 204 at its end, and nobody appends to it any more."""
    _, ended = await begin_and_end(client, sample)
    last_seq = (await read(client, f"/api/events?stream={sample.stream(ended)}"))["events"][-1]["seq"]
    assert (await client.get(f"{sample.events(ended)}?since_seq={last_seq}")).status == 204
    late = {"stream": sample.stream(ended), "event_type": "note", "payload": {}}
    await assert_error(await client.post("/api/events", json=late), "stream_ended", status=409)


@of()
async def test_what_never_was_is_not_found(client, sample):
    """An id that nothing has is 404, and one that nothing can have is 400."""
    thing = await sample.begin(client)
    await assert_error(await client.get(sample.one("nobody")), "not_found", status=404)
    for path in (sample.one("a%20b"), sample.events("a%20b")):
        await assert_error(await client.get(path), "invalid_request", status=400)
    assert (await client.get(sample.one(thing))).status == 200


# The lists


@of(LISTED)
async def test_pages_of_a_list_are_complete_and_without_doubles(client, sample):
    """Newest first; a page goes on before the last row of the one before, whatever is added meanwhile."""
    path, key, name = sample.listed
    things = [await sample.begin(client) for _ in range(3)]
    await sample.end(client, things[0])
    found, query = [], ""
    while True:
        page = await read(client, f"{path}?limit=1{query}")
        found += [row[name] for row in page[key]]
        if len(found) == 1:
            await sample.begin(client)
        if not page["has_more"]:
            break
        query = f"&before={page[key][-1]['created_seq']}"
    assert found == things[::-1]
    assert page["epoch"] == client.app[LOG].epoch


@of(LISTED)
@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("limit=1&limit=2", "limit"), ("before=-1", "before")],
)
async def test_a_list_that_cannot_be_read_is_refused(client, sample, query, field):
    """A query out of bounds is 400 and names its parameter."""
    await assert_error(await client.get(f"{sample.listed[0]}?{query}"), "invalid_request", status=400, field=field)


# What is refused


@of()
async def test_a_bad_field_is_refused_with_its_name_and_nothing_is_stored(client, log, sample):
    """Of the wrong type, out of its rules, or unknown."""
    thing = await sample.begin(client)
    head_seq = log.head_seq
    for path, given, field in sample.refused:
        answer = await client.post(path.format(thing), json=given)
        await assert_error(answer, "invalid_body", status=422, field=field)
    assert log.head_seq == head_seq


@of()
async def test_only_json_is_read(client, log, sample):
    """A form, which any page could send, is refused, and so is what is no JSON."""
    path, given = sample.write
    for content_type in ("text/plain", "application/x-www-form-urlencoded"):
        answer = await client.post(path, data=json.dumps(given), headers={"Content-Type": content_type})
        await assert_error(answer, "unsupported_media_type", status=415)
    answer = await client.post(path, data=b"{", headers={"Content-Type": "application/json"})
    await assert_error(answer, "invalid_request", status=400)
    assert log.head_seq == 0


@of()
async def test_reserved_events_come_through_the_surfaces_own_routes_alone(client, log, sample):
    """What says that the surface itself has decided is refused to everybody else."""
    for kind, described in sample.surface.kinds.items():
        for event_type in sorted(described.reserved):
            given = {"stream": f"{kind}:x", "event_type": event_type, "payload": {}}
            await assert_error(await client.post("/api/events", json=given), "forbidden", status=403, field="event_type")
    assert log.head_seq == 0


# Who may


@pytest.fixture
async def guarded(aiohttp_client, quiet_config):
    """A function that gives clients of one server: with all rights, and with others."""
    owner = token("owner", "read:*", "append:*")
    kinds = [name for surface in SURFACES for name in surface.kinds]
    narrow = [token(f"{verb}-{kind}", f"{verb}:{kind}:only") for verb in ("read", "append") for kind in kinds]
    stranger = token("stranger", "read:bench:*", "append:bench:*")
    config = with_tokens(quiet_config, owner, stranger, *narrow)
    return await aiohttp_client(make_app(config), headers=bearer("owner"))


@of()
async def test_without_a_token_nothing_is_answered_and_with_a_foreign_one_nothing_is_allowed(guarded, sample):
    """401, then 403, for reading, listing, following and writing; nothing is stored."""
    thing = await sample.begin(guarded)
    head_seq = guarded.app[LOG].head_seq
    paths = [sample.one(thing), sample.events(thing)] + ([sample.listed[0]] if sample.listed else [])
    path, given = sample.write
    for headers, code, status in (({"Authorization": "Bearer "}, "unauthorized", 401), (bearer("stranger"), "forbidden", 403)):
        for each in paths:
            await assert_error(await guarded.get(each, headers=headers), code, status=status)
        await assert_error(await guarded.post(path, json=given, headers=headers), code, status=status)
    assert guarded.app[LOG].head_seq == head_seq


@of()
async def test_past_the_rules_of_a_kind_only_its_whole_scope_appends(guarded, sample):
    """Who may append to one stream may not say anything in it that the surface would not; a kind without rules is open."""
    for kind, described in sample.surface.kinds.items():
        given = {"stream": f"{kind}:only", "event_type": "note", "payload": {}}
        answer = await guarded.post("/api/events", json=given, headers=bearer(f"append-{kind}"))
        assert answer.status == (403 if described.has_rules else 201)
