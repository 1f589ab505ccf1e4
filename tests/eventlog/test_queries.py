"""Reading with SQL: pages that end at a limit, sparse selections in windows, the list of streams."""

import pytest

from server.config import DatabaseSection
from server.eventlog import queries
from server.eventlog.database import _prepare, sqlite3
from server.eventlog.queries import (
    Page,
    find_event_id,
    read_event,
    read_meta,
    read_newest,
    read_page,
    read_stream,
    read_streams,
)
from server.eventlog.rows import insert_gap
from server.eventlog.selection import select
from server.eventlog.writer import Writer
from tests.support import note

ALL = 10**9
EVERYTHING = select()


@pytest.fixture
def db(tmp_path):
    """A connection to a new file."""
    path = tmp_path / "r.db"
    db = sqlite3.connect(str(path), isolation_level=None)
    _prepare(db, DatabaseSection(path=str(path)))
    yield db
    db.close()


@pytest.fixture
def store(db, tmp_path):
    """Store events, in one transaction."""
    writer = Writer(
        path=tmp_path / "r.db",
        min_free_bytes=0,
        clock=lambda: 1_767_225_600.0,
        is_terminal=lambda stream, event_type: False,
        projections={},
    )
    return lambda *events: writer.commit(db, [events]).events


@pytest.fixture
def small_windows(monkeypatch):
    """Windows that a test can fill: 10 rows a statement, 5 statements a read."""
    monkeypatch.setattr(queries, "_WINDOW_SEQS", 10)
    monkeypatch.setattr(queries, "_WINDOWS_PER_READ", 5)


def reads_of_events(statements):
    """Those of the statements that read events, and not the epochs."""
    return [sql for sql in statements if "FROM events" in sql]


def page(db, selection=EVERYTHING, after=0, through=ALL, limit=1000, max_bytes=10**9):
    """The seqs of a page and how far it looked."""
    events, through_seq, _ = read_page(db, selection, after, through, limit, max_bytes)
    return [event.seq for event in events], through_seq


def walk(db, selection, through, **limits):
    """The seqs of all pages, and the number of reads it took."""
    cursor, got, reads = 0, [], 0
    while cursor < through:
        found, reached = page(db, selection, cursor, through, **limits)
        assert cursor < reached <= through
        assert all(cursor < seq <= reached for seq in found)
        cursor, reads = reached, reads + 1
        got += found
    return got, reads


def test_a_page_is_exclusive_at_its_cursor_and_inclusive_at_its_end(db, store):
    """`after` < seq <= `through`; what was looked at is said even when nothing was found."""
    store(*[note(n=n) for n in range(9)])
    assert page(db, after=3, through=6) == ([4, 5, 6], 6)
    assert page(db, after=6, through=6) == ([], 6)
    assert page(db, after=9, through=20) == ([], 20)
    assert page(db, select(("task:none",)), through=9) == ([], 9)


def test_a_page_ends_at_its_number_of_events(db, store):
    """Then it has looked no further than its last event."""
    store(*[note(n=n) for n in range(9)])
    assert page(db, limit=4) == ([1, 2, 3, 4], 4)
    assert page(db, after=4, limit=4) == ([5, 6, 7, 8], 8)
    assert page(db, after=4, through=8, limit=4) == ([5, 6, 7, 8], 8)
    assert page(db, after=8, through=9, limit=4) == ([9], 9)


def test_a_page_ends_at_about_its_bytes_with_one_event_always_allowed(db, store):
    """Bytes count the whole event on the wire; a page with work left is never empty."""
    large = [note(n=n) for n in range(4)]
    for event in large:
        event.payload_json = '{"x":"' + "x" * 742 + '"}'  # 750 bytes, with 250 for the other fields
    store(*large)
    assert page(db, max_bytes=1) == ([1], 1)
    assert page(db, max_bytes=1_000) == ([1], 1)
    assert page(db, max_bytes=1_001) == ([1, 2], 2)
    assert page(db, max_bytes=10**6, through=4) == ([1, 2, 3, 4], 4)


def test_events_come_back_as_they_were_stored(db, store):
    """Every field; payloads are the canonical text."""
    events = store(note("task:a", 1, event_id="e-1", source="me"), note("demand:d", 2, event_type="odd"))
    assert read_page(db, EVERYTHING, 0, ALL, 10, ALL) == Page(events, ALL)


@pytest.mark.parametrize(
    ("streams", "types"),
    [
        pytest.param(("*",), (), id="everything"),
        pytest.param(("task:7",), (), id="a stream"),
        pytest.param(("task:7", "demand:3", "task:none"), (), id="several streams"),
        pytest.param(("demand:*",), (), id="a kind"),
        pytest.param(("demand:*", "task:7"), (), id="a kind and a stream"),
        pytest.param(("task:7", "*"), (), id="a stream and everything"),
        pytest.param(("*",), ("rare",), id="a rare type"),
        pytest.param(("*",), ("ra*", "no*"), id="type globs"),
        pytest.param(("task:7",), ("rare",), id="a rare type of a stream"),
        pytest.param(("demand:*", "task:7"), ("note",), id="a type of a kind and a stream"),
        pytest.param(("none:*",), (), id="a kind that never was"),
        pytest.param(("*",), ("never",), id="a type that never was"),
    ],
)
@pytest.mark.parametrize("limits", [{}, {"limit": 1}, {"limit": 7}, {"max_bytes": 800}], ids=["no limit", "1", "7", "bytes"])
def test_walking_page_by_page_finds_exactly_what_is_selected(db, store, small_windows, streams, types, limits):
    """However sparse the selection and however the pages are cut: every event once, in order, to the end."""
    events = [
        note(f"{'demand' if n % 11 == 0 else 'task'}:{n % 10}", n, event_type="rare" if n % 37 == 0 else "note")
        for n in range(230)
    ]
    selection = select(streams, types)
    wanted = [event.seq for event in store(*events) if selection.wants(event)]
    got, _ = walk(db, selection, 230, **limits)
    assert got == wanted


def test_a_sparse_pattern_costs_many_short_reads_and_never_a_long_one(db, store, small_windows):
    """A read that filters looks at its windows and gives the reader back; its page says how far it came."""
    store(*[note(n=n) for n in range(120)], note("demand:d"))
    seen = []
    db.set_trace_callback(seen.append)
    assert page(db, select(("demand:*",)), through=121) == ([], 50)
    assert len(reads_of_events(seen)) == 5
    assert page(db, select(("demand:*",)), after=50, through=121) == ([], 100)
    assert page(db, select(("demand:*",)), after=100, through=121) == ([121], 121)
    db.set_trace_callback(None)
    assert walk(db, select(("demand:*",)), 121) == ([121], 3)


@pytest.mark.parametrize(
    "selection", [select(("task:a",)), EVERYTHING, select(("task:a", "*"))], ids=["a stream", "everything", "both"]
)
def test_a_resume_by_stream_or_of_everything_is_a_seek(db, store, small_windows, selection):
    """One statement by an index, without sorting, however far the next event is."""
    store(note("task:a"), *[note("task:b", n) for n in range(120)], note("task:a"))
    seen = []
    db.set_trace_callback(seen.append)
    read_page(db, selection, 121, 122, 10, ALL)
    db.set_trace_callback(None)
    (sql,) = reads_of_events(seen)
    plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"))
    assert "SEARCH events USING" in plan
    assert "TEMP B-TREE" not in plan
    assert "SCAN" not in plan


@pytest.mark.parametrize(
    "selection",
    [
        select(("task:a", "task:b")),
        select(("task:*",)),
        select(("task:a", "demand:*")),
        select(("*",), ("note",)),
        select(("task:a",), ("note",)),
    ],
    ids=["two streams", "a kind", "a stream and a kind", "a type", "a type of a stream"],
)
def test_a_filtering_read_walks_by_seq_and_never_sorts(db, store, selection):
    """A sort would read the whole window before the first event."""
    store(note())
    seen = []
    db.set_trace_callback(seen.append)
    read_page(db, selection, 0, 1, 10, ALL)
    read_newest(db, selection, 1, 10)
    db.set_trace_callback(None)
    for sql in reads_of_events(seen):
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert "SEARCH events USING" in plan
        assert "TEMP B-TREE" not in plan


def test_no_read_leaves_a_cursor_open(db, store):
    """An open read would keep the write-ahead log from being reset."""
    store(*[note(n=n) for n in range(50)])
    other = sqlite3.connect(db.execute("PRAGMA database_list").fetchone()[2], isolation_level=None)
    for limits in ({"limit": 3}, {"max_bytes": 1}, {}):
        read_page(other, EVERYTHING, 0, 50, limits.get("limit", 1000), limits.get("max_bytes", ALL))
        read_newest(other, EVERYTHING, 50, 3)
        read_stream(other, "task:a")
        read_streams(other, kind=None, after="", limit=1)
        read_meta(other)
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        store(note())
    other.close()


@pytest.mark.parametrize(
    ("selection", "limit", "through", "wanted"),
    [
        pytest.param(EVERYTHING, 3, 10, [8, 9, 10], id="the newest"),
        pytest.param(EVERYTHING, 3, 5, [3, 4, 5], id="up to a seq"),
        pytest.param(EVERYTHING, 100, 10, list(range(1, 11)), id="edge: more than there are"),
        pytest.param(select(("task:1",)), 2, 10, [7, 9], id="of a stream"),
        pytest.param(select(("task:*",), ("odd",)), 2, 9, [6, 9], id="of a type"),
        pytest.param(select(("task:none",)), 2, 10, [], id="edge: none"),
    ],
)
def test_the_newest_come_oldest_first(db, store, selection, limit, through, wanted):
    """The last so many of a selection, in the order of the log."""
    store(*[note(f"task:{n % 2}", n, event_type="odd" if n % 3 == 0 else "note") for n in range(1, 11)])
    assert [event.seq for event in read_newest(db, selection, through, limit)] == wanted


def test_streams_are_listed_by_name_in_pages(db, store):
    """Every stream once, whatever the page; a kind is not confused with a longer one."""
    names = sorted([f"task:{n:02d}" for n in range(15)] + ["tasks:x", "tas:y", "demand:d", "task:Z", "task:a:b"])
    store(*[note(name) for name in names], note("task:03"), note("task:03"))
    for limit in (1, 4, 100):
        after, got = "", []
        while found := read_streams(db, kind=None, after=after, limit=limit):
            assert len(found) <= limit
            got += [info.name for info in found]
            after = got[-1]
        assert got == names
    tasks = [name for name in names if name.startswith("task:")]
    assert [info.name for info in read_streams(db, kind="task", after="", limit=100)] == tasks
    assert [info.name for info in read_streams(db, kind="task", after="task:05", limit=2)] == ["task:06", "task:07"]
    assert [info.name for info in read_streams(db, kind="task", after="demand:z", limit=1)] == ["task:00"]
    assert read_streams(db, kind="task", after="tasks:z", limit=5) == []
    assert read_streams(db, kind="none", after="", limit=5) == []
    info = read_stream(db, "task:03")
    assert info == read_streams(db, kind="task", after="task:02", limit=1)[0]
    assert (info.last_seq, info.revision, info.kept, info.updated_at) == (22, 3, 3, "2026-01-01T00:00:00.000Z")


def test_what_is_not_there_is_none(db, store):
    """No event, no stream."""
    store(note(event_id="e-1"))
    assert read_event(db, seq=1).event_id == "e-1"
    assert read_event(db, seq=2) is None
    assert find_event_id(db, EVERYTHING, "e-2") == ([], None)
    assert find_event_id(db, EVERYTHING, "1") == ([], None)
    assert read_stream(db, "task:none") is None


def test_the_ends_of_an_empty_log(db, store):
    """The head is the highest seq ever given, also when nothing is left."""
    assert (read_meta(db).head_seq, read_meta(db).trimmed_seq) == (0, 0)
    store(note(), note())
    db.execute("UPDATE log_meta SET trimmed_seq = 2")
    insert_gap(db, 1, 2, b"x" * 32, None)
    db.execute("DELETE FROM events")
    assert (read_meta(db).head_seq, read_meta(db).trimmed_seq) == (2, 2)
