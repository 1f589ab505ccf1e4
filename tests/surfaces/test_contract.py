"""What all surfaces promise alike, asked of every descriptor: what is special to one is tested in its own folder."""

import contextlib
import json
import re

import pytest

from server.app import LOG, PROJECTED, PROJECTIONS, SURFACES, is_terminal, make_app
from server.auth.principal import VERBS
from server.config import Config
from server.eventlog.database import sqlite3
from server.eventlog.rebuild import rebuild
from server.eventlog.rows import read_events
from tests.support import ROOT, assert_error, empty, raw_connection, read_frames, read_head, request_bytes
from tests.support.surfaces import SAMPLES
from tests.support.tokens import bearer, token, with_tokens
from tests.surfaces.generations.generating import by_hand
from towow.events import kind_of

FILES = ("__init__", "state", "commands", "payloads", "model", "inputs", "projections", "rendering", "routes")
LISTED = [each for each in SAMPLES if each.listed]
ENDING = [each for each in SAMPLES if each.surface.kinds[each.kind].terminal]


def of(samples=SAMPLES):
    """Run a test for each of these samples."""
    return pytest.mark.parametrize("sample", [pytest.param(each, id=each.surface.name) for each in samples], indirect=True)


@pytest.fixture(autouse=True)
def resting():
    """Runs stay where they are: the lock of those who carry them out is taken before an application starts."""
    with by_hand():
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
    """An open thing, with a note that anybody may have appended, and one that has ended."""
    ended, still_open = await sample.begin(client), await sample.begin(client)
    await sample.end(client, ended)
    note = {"stream": sample.stream(still_open), "event_type": "note", "payload": {"n": 1}}
    assert (await client.post("/api/events", json=note)).status == 201
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
    logs = {"events", "log_meta", "histories", "gaps", "trimmed_streams", "heads", "terms", "ended_logins"}
    assert own - logs == set(PROJECTED.tables)
    assert len(PROJECTED.tables) == sum(len(surface.tables) for surface in SURFACES)


def test_terminal_events_end_streams_of_their_kind_alone():
    """What ends a task ends no other stream; kinds without such events never end."""
    kinds = {name: kind for surface in SURFACES for name, kind in surface.kinds.items()}
    types = {event_type for kind in kinds.values() for event_type in kind.terminal} | {"note"}
    for name in (*kinds, "broadcast"):
        ending = kinds[name].terminal if name in kinds else frozenset()
        assert {event_type for event_type in types if is_terminal(f"{name}:x", event_type)} == ending


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_a_surface_has_one_name_and_the_same_files(surface):
    """Its folder has the files that every surface has, and two folders of its own at most."""
    folder = ROOT / "server" / "surfaces" / surface.name
    assert {file.stem for file in folder.glob("*.py")} >= set(FILES)
    assert len([each for each in folder.iterdir() if each.is_dir() and each.name != "__pycache__"]) <= 2


def test_a_page_and_its_settings_have_the_name_of_their_surface():
    """A folder of the pages that is not for all of them is a surface's, and so is the section of the settings of that name."""
    folders = {each.name for each in (ROOT / "server" / "static" / "js").iterdir() if each.is_dir()}
    of_surfaces = folders - {"lib", "ui", "clients", "services", "components"}
    assert of_surfaces
    assert of_surfaces <= {surface.name for surface in SURFACES}
    assert of_surfaces <= set(Config.__struct_fields__)


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
        rebuild(db, PROJECTED)
        assert rows(db, sample) == before
    await sample.begin(client)


@of()
async def test_an_event_that_is_projected_again_changes_nothing(client, quiet_config, sample):
    """Neither the newest event nor any older one moves a row."""
    await begin_and_end(client, sample)
    with opened(quiet_config) as db:
        before = rows(db, sample)
        events = list(read_events(db, "ORDER BY seq DESC", ()))
        for event in events:
            for projection in PROJECTIONS.get(kind_of(event.stream), ()):
                projection(db, event)
            assert rows(db, sample) == before, event
        assert {kind_of(event.stream) for event in events} & set(sample.surface.kinds)


@of()
async def test_a_restart_answers_the_same(aiohttp_client, quiet_config, sample):
    """What was open is open and goes on, and what has ended has ended, alone and in the list; nothing is appended by it."""
    client = await aiohttp_client(make_app(quiet_config))
    still_open, ended = await begin_and_end(client, sample)
    head_seq = client.app[LOG].head_seq
    before = [await read(client, path) for thing in (still_open, ended) for path in sample.reads(thing)]
    await client.close()
    client = await aiohttp_client(make_app(quiet_config))
    after = [await read(client, path) for thing in (still_open, ended) for path in sample.reads(thing)]
    assert without_clocks(after, sample) == without_clocks(before, sample)
    assert client.app[LOG].head_seq == head_seq
    await sample.end(client, still_open)
    if sample.surface.kinds[sample.kind].terminal:
        for thing in (still_open, ended):
            async with client.get(f"{sample.events(thing)}?since_seq={client.app[LOG].head_seq}") as response:
                assert response.status == 204


def without_clocks(answer, sample):
    """The answer without what counts down."""
    if isinstance(answer, list):
        return [without_clocks(each, sample) for each in answer]
    if isinstance(answer, dict):
        return {key: without_clocks(value, sample) for key, value in answer.items() if key not in sample.clocked}
    return answer


# The streams


@of()
async def test_every_transport_carries_the_same_events(client, sample):
    """SSE, NDJSON and WebSocket send the same objects in the same order, the events that a page has, and then what comes."""
    thing, ended = await begin_and_end(client, sample)
    for path, streams in [*sample.follows(ended), *sample.follows(thing)]:
        selection = "&".join(f"stream={stream}" for stream in streams)
        page = (await read(client, f"/api/events?{selection}&since_seq=0&limit=1000"))["events"]
        seqs = [event["seq"] for event in page if not event["event_type"].startswith("agent.")]
        assert seqs
        async with client.get(path) as response:
            assert response.content_type == "text/event-stream"
            frames = await read_frames(response, len(seqs))
        async with client.get(f"{path}&format=ndjson") as response:
            lines = [json.loads(await response.content.readline()) for _ in seqs]
        async with client.ws_connect(path) as socket:
            messages = [await socket.receive_json(timeout=3) for _ in seqs]
        assert [frame.data | {"cursor": frame.id} for frame in frames] == lines == messages
        assert [frame.seq for frame in frames] == seqs
    async with client.get(f"{sample.events(thing)}?start=live") as response:
        await read_frames(response, 1)
        await sample.end(client, thing)
        assert (await read_frames(response, 1))[0].seq > seqs[-1]


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
            assert [frame.seq for frame in frames] == [event["seq"] for event in rest]


@of(ENDING)
async def test_what_has_ended_stays_ended(client, sample):
    """Its stream is answered 204 at its end, and nobody appends to it any more."""
    _, ended = await begin_and_end(client, sample)
    last_seq = (await read(client, f"/api/events?stream={sample.stream(ended)}"))["events"][-1]["seq"]
    for query, headers in ((f"?since_seq={last_seq}", {}), ("", {"Last-Event-ID": str(last_seq)})):
        answer = await client.get(f"{sample.events(ended)}{query}", headers=headers)
        assert (answer.status, await answer.read()) == (204, b"")
    late = {"stream": sample.stream(ended), "event_type": "note", "payload": {}}
    await assert_error(await client.post("/api/events", json=late), "stream_ended", status=409)


@of()
async def test_a_cursor_that_is_not_in_this_log_is_said(client, sample):
    """`reset` with the reason and then everything; what cannot be a cursor or a format is 400 before the stream."""
    thing = await sample.begin(client)
    async with client.get(f"{sample.events(thing)}?since_seq=999") as response:
        reset, first = await read_frames(response, 2)
    assert (reset.event, reset.data["reason"]) == ("reset", "past_head")
    assert first.seq == (await read(client, f"/api/events?stream={sample.stream(thing)}&since_seq=0"))["events"][0]["seq"]
    for query in ("since_seq=-1", "since_seq=x", "since_seq=1.5", "epoch=a&epoch=b", "start=soon", "format=xml"):
        answer = await client.get(f"{sample.events(thing)}?{query}")
        await assert_error(answer, "invalid_request", status=400, field=query.partition("=")[0])


@of()
async def test_what_never_was_is_not_found(client, sample):
    """404 in every form in which it is read, and before the first byte of a stream."""
    thing = await sample.begin(client)
    for path in sample.found("nobody"):
        await assert_error(await client.get(path), "not_found", status=404)
    assert (await client.get(sample.one(thing))).status == 200


@of()
async def test_an_id_that_nothing_can_have_is_refused_on_every_route(client, log, sample):
    """400 with the field, whatever is asked of it: it never names another stream."""
    for name in ("%20", "a%20b", "a%0A", "%00", "*", "%E5%9C%BA", "%ff", "x" * 129, *sample.malformed):
        writes = [("POST", path.format(name), given) for path, given in sample.writes if "{}" in path]
        for method, path, given in [*(("GET", path, {}) for path in (*sample.found(name), sample.events(name))), *writes]:
            content = json.dumps(given).encode() if method == "POST" else b""
            request = request_bytes(method, path, body=content, Content_Type="application/json")
            async with raw_connection(client, request) as (reader, _):
                status, headers = await read_head(reader)
                error = json.loads(await reader.readexactly(int(headers["content-length"])))["error"]
            assert (status, error["code"], error["field"]) == (400, "invalid_request", sample.field), path
    assert log.head_seq == 0


# The same command again


@of()
async def test_a_command_with_the_same_key_is_carried_out_once(client, log, sample):
    """The answer again and nothing more in the log; with another body 422; a refusal is not remembered."""
    thing = await sample.begin(client)
    for number, (path, given) in enumerate(sample.writes):
        headers = {"Idempotency-Key": f"key {number}", "Accept": "application/json"}
        url = path.format(thing)
        first = await client.post(url, json=given, headers=headers)
        answer = await first.json()
        head_seq = log.head_seq
        again = await client.post(url, json=dict(reversed(given.items())), headers=headers)
        repeated = await again.json()
        since = (await read(client, f"/api/events?since_seq={head_seq}"))["events"]
        assert not [event for event in since if event["event_id"].startswith("key-")], (path, since)
        if first.status >= 400:
            assert (again.status, repeated["error"]["code"]) == (first.status, answer["error"]["code"]), path
            continue
        assert again.status < 300, (path, repeated)
        for field in ("seq", "demand_id", "run_id", "message_id", "permission_id", "event_id", "session_name", "agent_id"):
            assert repeated.get(field) == answer.get(field), (path, field)
        stored = (await read(client, "/api/events?since_seq=0&limit=1000"))["events"]
        if any(event["event_id"].startswith("key-") and event["seq"] == answer.get("seq") for event in stored):
            other = {name: value if n else f"{value}x" for n, (name, value) in enumerate(reversed(given.items()))}
            refused = await client.post(url, json=other, headers=headers)
            assert refused.status in (400, 409, 422), (path, await refused.text())


def test_every_command_of_every_surface_is_in_the_samples(client):
    """A command that is added is in the contract."""
    generic = {"/api/events", "/api/login", "/api/logout", "/api/tickets", "/api/runs/{}/cancel"}
    routes = [route for route in client.app.router.routes() if route.method == "POST"]
    paths = {re.sub(r"\{\w+\}", "{}", route.resource.canonical) for route in routes} - generic
    assert paths <= {path for each in SAMPLES for path, _ in each.writes}


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
    for row in (await read(client, path))[key]:
        alone = await read(client, sample.one(row[name]))
        assert row == {field: alone[field] for field in row} | {field: row[field] for field in sample.untold if field in row}
    if sample.surface.kinds[sample.kind].terminal:
        is_open, has_ended = sample.statuses
        assert [row[name] for row in (await read(client, f"{path}?status={has_ended}"))[key]] == [things[0]]
        assert [row[name] for row in (await read(client, f"{path}?status={is_open}&limit=2"))[key]][1:] == [things[2]]


# What is refused


@of()
async def test_a_bad_field_is_refused_with_its_name_and_nothing_is_stored(client, log, sample):
    """Of the wrong type, out of its rules, or unknown."""
    thing = await sample.begin(client)
    head_seq = log.head_seq
    for path, given, field in sample.refused:
        await assert_error(await client.post(path.format(thing), json=given), "invalid_body", status=422, field=field)
    assert log.head_seq == head_seq


@of()
async def test_only_json_is_read(client, log, sample):
    """A form, which any page could send, is refused, and so is what is no JSON, no UTF-8, no Unicode or no object."""
    for path, given in sample.writes:
        for content_type in ("text/plain", "application/x-www-form-urlencoded"):
            answer = await client.post(path.format("x"), data=json.dumps(given), headers={"Content-Type": content_type})
            await assert_error(answer, "unsupported_media_type", status=415, field="Content-Type")
        name = json.dumps(next(iter(given))).encode()
        broken = (b"", b"{", b"\xef\xbb\xbf{}", b"{" + name + b':"\xff"}', b"{" + name + b':"\\ud800"}')
        for raw, code, status in (*((raw, "invalid_request", 400) for raw in broken), (b"[]", "invalid_body", 422)):
            answer = await client.post(path.format("x"), data=raw, headers={"Content-Type": "application/json"})
            await assert_error(answer, code, status=status)
    assert log.head_seq == 0


@of()
async def test_reserved_events_come_through_the_surfaces_own_routes_alone(client, log, sample):
    """What says that the surface itself has decided is refused to everybody else."""
    for kind, described in sample.surface.kinds.items():
        for event_type in sorted(described.reserved):
            given = {"stream": f"{kind}:x", "event_type": event_type, "payload": {}}
            for sent in (given, {"events": [given | {"event_type": "note"}, given]}):
                await assert_error(await client.post("/api/events", json=sent), "forbidden", status=403, field="event_type")
    assert log.head_seq == 0


# Who may


@pytest.fixture
async def guarded(aiohttp_client, quiet_config):
    """A function that gives clients of one server: with all rights, and with others."""
    owner = token("owner", *(f"{verb}:*" for verb in VERBS))
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
    for headers, code, status in (({"Authorization": "Bearer "}, "unauthorized", 401), (bearer("stranger"), "forbidden", 403)):
        for path in (sample.events(thing), *sample.reads(thing)):
            await assert_error(await guarded.get(path, headers=headers), code, status=status)
        for path, given in sample.writes:
            await assert_error(await guarded.post(path.format(thing), json=given, headers=headers), code, status=status)
    assert guarded.app[LOG].head_seq == head_seq


@of()
async def test_past_the_rules_of_a_kind_only_its_whole_scope_appends(guarded, sample):
    """Who may append to one stream may not say anything in it that the surface would not; a kind without rules is open."""
    for kind, described in sample.surface.kinds.items():
        given = {"stream": f"{kind}:only", "event_type": "note", "payload": {}}
        answer = await guarded.post("/api/events", json=given, headers=bearer(f"append-{kind}"))
        assert answer.status == (403 if described.has_rules else 201)
