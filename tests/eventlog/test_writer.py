"""Inside the write transaction: order, revisions, idempotency, digests, projections, and what a fault leaves behind."""

import hashlib
import os
import zlib
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.app import PROJECTIONS
from server.app import is_terminal as app_is_terminal
from server.config import DatabaseSection
from server.eventlog import writer as module
from server.eventlog.chain import verify_chain
from server.eventlog.database import _prepare, sqlite3
from server.eventlog.queries import find_event_id, read_event
from server.eventlog.rows import insert_gap, read_events
from server.eventlog.selection import select
from server.eventlog.writer import Receipt, Writer
from tests.support import note
from towow.errors import Conflict, InvalidBody, RevisionMismatch, StorageFull, StreamEnded, TowowError, Unavailable
from towow.events import NewEvent, payload_json

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class Desk:
    """A writer on a real file, called without its event loop; `reopen` forgets everything that is not on disk."""

    def __init__(self, path, **options):
        self.path = path
        self.options = options
        self.connections = []
        self.reopen()

    def connect(self):
        """A connection set up as the server's; closed at the end."""
        db = sqlite3.connect(str(self.path), isolation_level=None, timeout=0.1)
        _prepare(db, DatabaseSection(path=str(self.path)))
        self.connections.append(db)
        return db

    def reopen(self):
        """A new connection and a new writer."""
        self.close()
        self.db = self.connect()
        self.writer = self.another_writer()

    def another_writer(self):
        """A writer that knows nothing yet."""
        options = {
            "min_free_bytes": 0,
            "clock": lambda: START,
            "is_terminal": lambda stream, event_type: event_type == "finished",
            "projections": {},
            **self.options,
        }
        return Writer(path=self.path, **options)

    def commit(self, *requests):
        """The outcome of every request of one transaction: `[(seq, revision, created)]`, or the error."""
        outcomes = self.writer.commit(self.db, requests).outcomes
        return [
            outcome
            if isinstance(outcome, TowowError)
            else [(item.event.seq, item.event.revision, item.created) for item in outcome]
            for outcome in outcomes
        ]

    def rows(self):
        """`(seq, stream, revision)` of everything stored."""
        return self.db.execute("SELECT seq, stream, revision FROM events ORDER BY seq").fetchall()

    def close(self):
        """Close every connection."""
        for connection in self.connections:
            connection.close()
        self.connections.clear()


@pytest.fixture
def make_desk(tmp_path):
    """Make a desk with other options; closed at the end."""
    desks = []

    def make(**options):
        desks.append(Desk(tmp_path / f"w{len(desks)}.db", **options))
        return desks[-1]

    yield make
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(make_desk):
    """A desk on a new file."""
    return make_desk()


# Order.


def test_events_are_stored_in_the_order_they_were_given_with_dense_revisions(desk):
    """A seq runs through the log, revision through each stream, over requests and transactions."""
    a, b = "task:a", "task:b"
    assert desk.commit([note(a), note(b), note(a)], [note(b)]) == [[(1, 1, True), (2, 1, True), (3, 2, True)], [(4, 2, True)]]
    assert desk.commit([note(b)], [note(a)]) == [[(5, 3, True)], [(6, 3, True)]]
    desk.reopen()
    assert desk.commit([note(a)]) == [[(7, 4, True)]]
    assert desk.rows() == [(1, a, 1), (2, b, 1), (3, a, 2), (4, b, 2), (5, b, 3), (6, a, 3), (7, a, 4)]


def test_what_is_returned_is_what_is_stored(desk):
    """Every field, the generated id and the clock's timestamp included; a new connection reads the same."""
    done = desk.writer.commit(desk.db, [[note(n=1), note(n=2, event_id="e-2", source="me", event_type="odd")]])
    events = [item.event for item in done.outcomes[0]]
    assert events == done.events
    assert done.previous_seq == 0
    assert [event.timestamp for event in events] == ["2026-01-01T00:00:00.000Z"] * 2
    epoch = desk.db.execute("SELECT epoch FROM histories").fetchone()[0]
    assert events[0].event_id == f"evt-{epoch}-1"
    assert events[0].source == "unknown"
    assert (events[1].event_id, events[1].source, events[1].event_type) == ("e-2", "me", "odd")
    desk.reopen()
    assert list(read_events(desk.db, "ORDER BY seq", ())) == events


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 511, 700])
def test_any_number_of_events_is_stored_whole(desk, count):
    """However the rows are cut into statements, none is missing and the order holds."""
    done = desk.writer.commit(desk.db, [[note(n=n) for n in range(count)]])
    assert [item.event.seq for item in done.outcomes[0]] == list(range(1, count + 1))
    rows = desk.db.execute("SELECT payload ->> '$.n', revision FROM events ORDER BY seq").fetchall()
    assert rows == [(n, n + 1) for n in range(count)]


def test_many_requests_are_one_transaction(desk):
    """The engine sees one BEGIN and one COMMIT, however many publishers were waiting."""
    seen = []
    desk.db.set_trace_callback(seen.append)
    desk.commit(*[[note(f"task:{n}")] for n in range(50)])
    desk.db.set_trace_callback(None)
    assert [sql for sql in seen if sql.startswith(("BEGIN", "COMMIT", "ROLLBACK"))] == ["BEGIN IMMEDIATE", "COMMIT"]


# All or none.


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        pytest.param([note(n=1), note(n=2, expected_revision=9)], RevisionMismatch, id="a wrong revision at its end"),
        pytest.param([note(n=1), note("task:over")], StreamEnded, id="a stream that has ended"),
        pytest.param([note(n=1), note("task:b", n=2, event_id="taken")], Conflict, id="an id with other content"),
        pytest.param([note(n=1, event_id="x-1"), note(n=2, event_id="x-1")], Conflict, id="an id twice with other content"),
    ],
)
def test_a_refused_request_stores_nothing_and_leaves_the_others_alone(desk, bad, error):
    """Requests of one transaction succeed and fail by themselves; no seq and no revision is lost to a refused one."""
    desk.commit([note("task:over", event_type="finished"), note("task:b", event_id="taken")])
    before, refused, after = desk.commit([note()], bad, [note(), note("task:b")])
    assert type(refused) is error
    assert before == [(3, 1, True)]
    assert after == [(4, 2, True), (5, 2, True)]
    assert desk.rows()[2:] == [(3, "task:a", 1), (4, "task:a", 2), (5, "task:b", 2)]


def test_an_id_of_a_refused_request_is_free_for_the_next(desk):
    """What was not stored leaves no trace in the same transaction."""
    refused, stored = desk.commit(
        [note(event_id="e-1", n=1), note(expected_revision=7)], [note(event_id="e-1", n=2), note(expected_revision=1)]
    )
    assert isinstance(refused, RevisionMismatch)
    assert stored == [(1, 1, True), (2, 2, True)]


def test_a_transaction_in_which_everything_is_refused_moves_nothing(desk):
    """The next event gets the next number."""
    (refused,) = desk.commit([note(expected_revision=1)])
    assert isinstance(refused, RevisionMismatch)
    assert desk.commit([note()]) == [[(1, 1, True)]]


# Idempotency.


@pytest.mark.parametrize("place", ["one request", "one transaction", "two transactions", "reopened"])
def test_an_event_id_is_stored_once(desk, place):
    """The same id with the same content is the same event, wherever the repetition comes; it gets the first seq."""
    first, again = note(event_id="e-1"), note(event_id="e-1")
    if place == "one request":
        assert desk.commit([first, again, note(n=2)]) == [[(1, 1, True), (1, 1, False), (2, 2, True)]]
        return
    if place == "one transaction":
        outcomes = desk.commit([first], [again])
    else:
        outcomes = desk.commit([first])
        if place == "reopened":
            desk.reopen()
        outcomes += desk.commit([again])
    assert outcomes == [[(1, 1, True)], [(1, 1, False)]]
    assert desk.rows() == [(1, "task:a", 1)]


def test_a_repetition_is_answered_even_when_the_state_has_moved_on(desk):
    """A retry with the revision of its first try, or after the stream has ended, gets its first answer."""
    first = note(event_id="e-1", expected_revision=0)
    last = note(event_id="e-2", event_type="finished")
    desk.commit([first], [note()], [last])
    assert desk.commit([first], [last]) == [[(1, 1, False)], [(3, 3, False)]]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(note(event_id="e-1", n=2), id="payload"),
        pytest.param(note(event_id="e-1", event_type="odd"), id="type"),
        pytest.param(note(event_id="e-1", source="other"), id="source"),
    ],
)
@pytest.mark.parametrize("is_reopened", [False, True], ids=["at once", "reopened"])
def test_an_event_id_with_other_content_is_a_conflict(desk, other, is_reopened):
    """The error names the field and the seq that holds the id."""
    desk.commit([note(event_id="e-1")])
    if is_reopened:
        desk.reopen()
    (refused,) = desk.commit([other])
    assert type(refused) is Conflict
    assert (refused.field, refused.details) == ("event_id", {"seq": 1})
    assert desk.rows() == [(1, "task:a", 1)]


def test_many_known_ids_are_found_in_one_transaction(desk):
    """More ids than one statement looks up."""
    events = [note(n=n, event_id=f"e-{n}") for n in range(600)]
    desk.commit(events[:500])
    (outcome,) = desk.commit(events)
    assert [created for _, _, created in outcome] == [False] * 500 + [True] * 100
    assert [seq for seq, _, _ in outcome] == list(range(1, 601))


# Expected revisions.


def test_expected_revisions_are_checked_inside_the_request_too(desk):
    """0 means the stream must not exist; each event sees the ones before it."""
    three = [note(n=n, expected_revision=n) for n in range(3)]
    assert desk.commit(three) == [[(1, 1, True), (2, 2, True), (3, 3, True)]]
    assert desk.commit([note(expected_revision=3)]) == [[(4, 4, True)]]


@pytest.mark.parametrize(
    ("expected", "stream", "actual"), [(0, "task:a", 2), (1, "task:a", 2), (3, "task:a", 2), (1, "task:b", 0)]
)
@pytest.mark.parametrize("is_reopened", [False, True], ids=["at once", "reopened"])
def test_a_wrong_revision_says_expected_and_actual(desk, expected, stream, actual, is_reopened):
    """Enough for the caller to decide again; nothing is stored."""
    desk.commit([note(), note()])
    if is_reopened:
        desk.reopen()
    (refused,) = desk.commit([note(stream, expected_revision=expected)])
    assert isinstance(refused, RevisionMismatch)
    assert refused.field == "expected_revision"
    assert refused.details == {"expected": expected, "actual": actual}
    assert len(desk.rows()) == 2


def test_of_several_at_the_same_revision_exactly_one_wins(desk):
    """The others of the transaction see the winner."""
    outcomes = desk.commit(*[[note(n=n, expected_revision=0)] for n in range(5)])
    assert outcomes[0] == [(1, 1, True)]
    assert [refused.details["actual"] for refused in outcomes[1:]] == [1] * 4


# Ended streams.


@pytest.mark.parametrize("place", ["one request", "one transaction", "two transactions", "reopened"])
def test_nothing_follows_a_terminal_event(desk, place):
    """The stream has ended for every writer, for good; other streams go on."""
    last, late = note(event_type="finished"), note()
    if place == "one request":
        (refused,) = desk.commit([last, late])
        assert desk.rows() == []
    elif place == "one transaction":
        _, refused = desk.commit([last], [late])
    else:
        desk.commit([last])
        if place == "reopened":
            desk.reopen()
        (refused,) = desk.commit([late])
    assert isinstance(refused, StreamEnded)
    assert refused.field == "stream"
    assert isinstance(desk.commit([note("task:b")])[0], list)


def test_a_wrong_revision_on_an_ended_stream_is_a_mismatch(desk):
    """The caller that lost the race reads again and then sees the end."""
    desk.commit([note(event_type="finished")])
    (refused,) = desk.commit([note(expected_revision=0)])
    assert isinstance(refused, RevisionMismatch)


# Digests.


def test_the_digest_chain_of_the_log_verifies_after_reopening(desk):
    """Each row carries SHA-256 over the previous digest of the log and the SHA-256 of its own canonical JSON, and a CRC-32."""
    for round_ in range(3):
        desk.commit([note("task:a", round_), note("task:b", round_)], [note("task:a", -round_, source="x")])
        desk.reopen()
    digest = b""
    rows = desk.db.execute("SELECT crc, digest FROM events ORDER BY seq").fetchall()
    for event, row in zip(read_events(desk.db, "ORDER BY seq", ()), rows, strict=True):
        digest = hashlib.sha256(digest + hashlib.sha256(event.canonical()).digest()).digest()
        assert row == (zlib.crc32(event.canonical()), digest)
    assert verify_chain(desk.db, 9).faults == []


# The table keeps what it has.


STATEMENTS = [
    pytest.param("UPDATE events SET payload = '{}' WHERE seq = 1", id="UPDATE"),
    pytest.param("UPDATE events SET seq = seq", id="UPDATE that changes nothing"),
    pytest.param("UPDATE OR REPLACE events SET seq = 2 WHERE seq = 1", id="UPDATE OR REPLACE"),
    pytest.param("UPDATE OR IGNORE events SET event_type = 'x'", id="UPDATE OR IGNORE"),
    pytest.param("DELETE FROM events", id="DELETE everything"),
    pytest.param("DELETE FROM events WHERE seq = 1", id="DELETE one"),
    pytest.param(
        "INSERT OR REPLACE INTO events SELECT"
        " seq, stream, revision, event_id, 'x', timestamp, source, actor, payload, crc, digest FROM events WHERE seq = 1",
        id="REPLACE by seq",
    ),
    pytest.param(
        "REPLACE INTO events SELECT 99, stream, 99, event_id, 'x', timestamp, source, actor, payload, crc, digest"
        " FROM events WHERE seq = 1",
        id="REPLACE by event_id",
    ),
    pytest.param(
        "INSERT INTO events SELECT 99, stream, 99, event_id, 'x', timestamp, source, actor, payload, crc, digest"
        " FROM events WHERE seq = 1 ON CONFLICT (stream, event_id) WHERE event_id IS NOT NULL DO UPDATE SET event_type = 'x'",
        id="upsert",
    ),
]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_stored_event_is_not_changed_or_removed_by_sql(desk, sql):
    """Append-only is a rule of the file, not only of the program, on the server's own connection too."""
    desk.commit([note(event_id="e-1"), note(), note("task:b")])
    before = desk.db.execute("SELECT * FROM events").fetchall()
    with pytest.raises(sqlite3.IntegrityError, match=r"events are (immutable|kept)"):
        desk.db.execute(sql)
    assert desk.db.execute("SELECT * FROM events").fetchall() == before
    assert desk.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param("'x', 'task:a', 3, 'e', 't', 't', 's', NULL, '{}', 0, x''", id="a text for a seq"),
        pytest.param("9, 'task:a', 'x', 'e', 't', 't', 's', NULL, '{}', 0, x''", id="a text for a revision"),
        pytest.param("9, NULL, 3, 'e', 't', 't', 's', NULL, '{}', 0, x''", id="no stream"),
        pytest.param("9, 'task:a', 3, 'e', 't', 't', 's', NULL, x'00', 0, x''", id="a blob for a payload"),
        pytest.param("9, 'task:a', 3, 'e', 't', 't', 's', NULL, '{}', NULL, x''", id="no crc"),
        pytest.param("9, 'task:a', 3, 'e-1', 't', 't', 's', NULL, '{}', 0, x''", id="an event_id that exists in the stream"),
    ],
)
def test_the_table_is_strict(desk, values):
    """Other programs cannot insert what is not an event."""
    desk.commit([note(event_id="e-1")])
    with pytest.raises(sqlite3.IntegrityError):
        desk.db.execute(f"INSERT INTO events VALUES ({values})")


@pytest.mark.parametrize("is_reopened", [False, True], ids=["at once", "reopened"])
def test_a_seq_is_never_given_twice_even_when_the_table_was_emptied(desk, is_reopened):
    """Retention may remove the newest seq's peers and even everything; numbers go on."""
    desk.commit([note(), note("task:b"), note()])
    insert_gap(desk.db, 1, 3, b"x" * 32, None)
    desk.db.execute("DELETE FROM events")
    if is_reopened:
        desk.reopen()
    ((outcome,),) = desk.commit([note("task:c")])
    assert outcome == (4, 1, True)


# Other writers on the same file.


def test_what_another_connection_appended_is_counted_in(desk):
    """Heads that were remembered are dropped when somebody else has written."""
    other, other_db = desk.another_writer(), desk.connect()
    desk.commit([note()])
    assert [item.event.revision for item in other.commit(other_db, [[note(), note("task:b")]]).outcomes[0]] == [2, 1]
    done = desk.writer.commit(desk.db, [[note(), note("task:b")]])
    assert done.previous_seq == 3
    assert [(item.event.seq, item.event.revision) for item in done.outcomes[0]] == [(4, 3), (5, 2)]
    (refused,) = other.commit(other_db, [[note(expected_revision=2)]]).outcomes
    assert refused.details["actual"] == 3


def test_an_end_by_another_connection_is_seen(desk):
    """A stream that somebody else ended is ended here."""
    other, other_db = desk.another_writer(), desk.connect()
    desk.commit([note()])
    other.commit(other_db, [[note(event_type="finished", event_id="e-1")]])
    refused, again = desk.commit([note()], [note(event_type="finished", event_id="e-1")])
    assert isinstance(refused, StreamEnded)
    assert again == [(2, 2, False)]


def test_foreign_writes_are_noticed_once_and_own_ones_never(desk):
    """Cheap enough to poll: one PRAGMA."""
    desk.writer.foreign_writes(desk.db)
    desk.commit([note()])
    assert not desk.writer.foreign_writes(desk.db)
    other = desk.connect()
    desk.another_writer().commit(other, [[note()]])
    assert desk.writer.foreign_writes(desk.db)
    assert not desk.writer.foreign_writes(desk.db)


def test_a_commit_says_that_it_noticed_a_foreign_write(desk):
    """A poll after it would not see the change any more, so the commit has to say it."""
    desk.commit([note()])
    assert not desk.writer.commit(desk.db, [[note()]]).has_foreign
    desk.another_writer().commit(desk.connect(), [[note()]])
    assert desk.writer.commit(desk.db, [[note(expected_revision=9)]]).has_foreign
    assert not desk.writer.foreign_writes(desk.db)


def test_remembered_heads_are_bounded(desk, monkeypatch):
    """A stream that was forgotten is read again; memory does not grow with the number of streams."""
    monkeypatch.setattr(module, "_MAX_HEADS", 3)
    for _ in range(2):
        for n in range(10):
            desk.commit([note(f"task:{n}")])
    assert len(desk.writer._heads) == 3
    assert {revision for _, _, revision in desk.rows()[10:]} == {2}


# Projections.


def project_count(db, event):
    """A projection that counts, and fails on request after it has written."""
    db.execute("INSERT INTO counted VALUES (?)", (event.seq,))
    fault = event.payload.get("fault")
    if fault:
        raise FAULTS[fault]()
    if event.payload.get("sql"):
        db.execute(event.payload["sql"], event.payload.get("values", ()))


class Fault(Exception):
    """An error that nobody thought of."""


FAULTS = {
    "ValueError": ValueError,
    "KeyError": KeyError,
    "TypeError": TypeError,
    "AttributeError": AttributeError,
    "OverflowError": OverflowError,
    "RecursionError": RecursionError,
    "ZeroDivisionError": ZeroDivisionError,
    "InvalidBody": lambda: InvalidBody("x"),
    "Fault": Fault,
}
BAD_SQL = {
    "a constraint": "INSERT INTO counted VALUES (1)",
    "an integer too large": ("INSERT INTO counted VALUES (?)", [2**64 - 1]),
    "a list as a value": ("INSERT INTO counted VALUES (?)", [[1]]),
    "the wrong number of values": ("INSERT INTO counted VALUES (?, ?)", [1]),
    "no such table": "INSERT INTO nowhere VALUES (1)",
}


@pytest.fixture
def projecting(make_desk):
    """A desk whose `task:` streams are counted by a projection."""
    desk = make_desk(projections={"task": (project_count,)})
    desk.db.execute("CREATE TABLE counted (seq INTEGER PRIMARY KEY) STRICT")
    return desk


def fault_payload(name):
    """The payload that makes `project_count` fail in this way."""
    if name in FAULTS:
        return {"fault": name}
    sql = BAD_SQL[name]
    return {"sql": sql} if isinstance(sql, str) else {"sql": sql[0], "values": sql[1]}


@pytest.mark.parametrize("name", [*FAULTS, *BAD_SQL])
def test_an_event_that_a_projection_cannot_read_is_stored_all_the_same(projecting, name):
    """Anybody may append to a stream: what a projection wrote for that event is undone, and everything else stays."""
    desk = projecting
    bad = NewEvent("task:a", "note", payload_json(fault_payload(name)))
    assert desk.commit([note(), bad, note("task:b")], [note("demand:x")]) == [
        [(1, 1, True), (2, 2, True), (3, 1, True)],
        [(4, 1, True)],
    ]
    desk.reopen()
    assert len(desk.rows()) == 4
    assert desk.db.execute("SELECT seq FROM counted ORDER BY seq").fetchall() == [(1,), (3,)]
    assert not desk.db.in_transaction


@pytest.mark.parametrize("code", [10, 13], ids=["an I/O error", "a full disk"])
def test_a_fault_of_the_file_inside_a_projection_is_no_fault_of_the_event(make_desk, code):
    """The whole transaction fails, as it would without a projection."""

    def project(db, event):
        error = sqlite3.OperationalError("the file")
        error.sqlite_errorcode = code
        raise error

    desk = make_desk(projections={"task": (project,)})
    with pytest.raises(StorageFull if code == 13 else sqlite3.OperationalError):
        desk.commit([note()])


def test_a_projection_is_written_with_its_event_or_not_at_all(projecting):
    """A refused request projects nothing; a repeated event is not projected again."""
    desk = projecting
    desk.commit([note(event_id="e-1")], [note(), note(expected_revision=9)], [note(event_id="e-1")])
    assert desk.db.execute("SELECT seq FROM counted").fetchall() == [(1,)]


KEYS = st.sampled_from(
    [
        "agent_id",
        "name",
        "capabilities",
        "description",
        "sample",
        "demand_id",
        "channel_id",
        "surface_demand",
        "raw_input",
        "user_id",
        "capability",
        "term",
        "candidates",
        "reason",
        "score",
        "confidence",
        "language",
        "round",
    ]
)
LEAVES = st.none() | st.booleans() | st.text(max_size=5)
LEAVES |= st.sampled_from([0, -1, 2**63 - 1, 2**63, 2**64 - 1, 1e308, "", "\x00", "场地", "😀", '"', "a" * 3000])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
TYPES = st.sampled_from(
    [
        "agent.registered",
        "agent.removed",
        "towow.demand.understood",
        "towow.filter.completed",
        "towow.negotiation.failed",
        "towow.proposal.distributed",
        "towow.proposal.finalized",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(
        st.tuples(st.sampled_from(["agent:bob", "demand:d-1"]), TYPES, st.dictionaries(KEYS, VALUES, max_size=6)),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_is_appended_to_a_projected_stream_the_log_goes_on(make_desk, events):
    """The shipped projections meet any payload under any of their event types, and the next event is stored."""
    desk = make_desk(projections=PROJECTIONS, is_terminal=app_is_terminal)
    for stream, event_type, payload in events:
        try:
            new = note(stream, event_type=event_type)
            new.payload_json = payload_json(payload)
        except InvalidBody:
            continue
        desk.commit([new])
    assert isinstance(desk.commit([note()])[0], list)
    assert not desk.db.in_transaction
    desk.close()


# Faults.


def test_a_locked_file_is_unavailable_and_nothing_is_stored(desk):
    """After the busy timeout the publisher may try again, and then it works."""
    other = desk.connect()
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        desk.commit([note()])
    assert not desk.db.in_transaction
    other.execute("ROLLBACK")
    assert desk.rows() == []
    assert desk.commit([note()]) == [[(1, 1, True)]]


def test_a_full_file_is_storage_full_and_works_again_when_there_is_room(desk):
    """SQLITE_FULL of the engine: the transaction leaves nothing, numbers go on where they were."""
    desk.commit([note()])
    pages = desk.db.execute("PRAGMA page_count").fetchone()[0]
    desk.db.execute(f"PRAGMA max_page_count = {pages}")
    large = note()
    large.payload_json = '{"x":"' + "x" * 100_000 + '"}'
    for _ in range(2):
        with pytest.raises(StorageFull):
            desk.commit([note("task:b")], [large])
        assert not desk.db.in_transaction
        assert desk.rows() == [(1, "task:a", 1)]
    desk.db.execute("PRAGMA max_page_count = 1000000")
    assert desk.commit([note("task:b")], [large]) == [[(2, 1, True)], [(3, 2, True)]]


class Disk:
    """What `os.statvfs` says, with the number of times it was asked."""

    def __init__(self, free):
        self.f_bavail = free
        self.f_frsize = 1
        self.asked = 0

    def ask(self, path):
        """Stand in for `os.statvfs`."""
        self.asked += 1
        return self


def test_below_min_free_bytes_appends_are_refused_before_the_disk_is_full(make_desk, monkeypatch):
    """The error says both figures; with room again appends work."""
    disk = Disk(999)
    monkeypatch.setattr(os, "statvfs", disk.ask)
    desk = make_desk(min_free_bytes=1000)
    with pytest.raises(StorageFull, match="999 bytes are free"):
        desk.commit([note()])
    disk.f_bavail = 1000
    assert desk.commit([note()]) == [[(1, 1, True)]]


@pytest.mark.parametrize("uptime_seconds", [0.0, 1e9], ids=["on a machine that has just started", "after a long time"])
def test_free_space_is_not_asked_for_at_every_commit_nor_when_turned_off(make_desk, monkeypatch, uptime_seconds):
    """The check costs nothing worth measuring, and 0 turns it off; the first commit asks, wherever the clock begins."""
    disk = Disk(10**9)
    monkeypatch.setattr(os, "statvfs", disk.ask)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: uptime_seconds))
    monkeypatch.setattr(module, "_SPACE_CHECK_SECONDS", 3600)
    desk = make_desk(min_free_bytes=1)
    for _ in range(3):
        desk.commit([note()])
    assert disk.asked == 1
    desk = make_desk(min_free_bytes=0)
    desk.commit([note()])
    assert disk.asked == 1


class Failing:
    """A connection on which one statement fails with a result code."""

    def __init__(self, db, statement, code):
        self._db, self._statement, self._code = db, statement, code

    def execute(self, sql, *values):
        """Run a statement, or fail."""
        if sql.startswith(self._statement):
            error = sqlite3.OperationalError("injected")
            error.sqlite_errorcode = self._code
            raise error
        return self._db.execute(sql, *values)

    @property
    def in_transaction(self):
        """As the connection says."""
        return self._db.in_transaction


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT"])
def test_no_room_is_storage_full_at_whatever_statement_it_shows(desk, statement):
    """A disk without room is not fatal; the transaction is undone and nothing of it is remembered."""
    desk.commit([note()])
    with pytest.raises(StorageFull):
        desk.writer.commit(Failing(desk.db, statement, 13), [[note(), note("task:b")]])
    assert not desk.db.in_transaction
    assert desk.commit([note()], [note("task:b")]) == [[(2, 2, True)], [(3, 1, True)]]


@pytest.mark.parametrize("code", [10, 1034, 11, 8], ids=["IOERR", "IOERR_FSYNC", "CORRUPT", "READONLY"])
@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT"])
def test_a_fatal_error_passes_through_as_it_is(desk, statement, code):
    """The writer does not judge what a failed fsync left behind; its owner stops."""
    with pytest.raises(sqlite3.OperationalError) as caught:
        desk.writer.commit(Failing(desk.db, statement, code), [[note()]])
    assert caught.value.sqlite_errorcode == code


def test_events_read_back_by_id_and_by_seq(desk):
    """What was appended is found by both of its keys."""
    done = desk.writer.commit(desk.db, [[note(event_id="e-1")]])
    (appended,) = done.outcomes[0]
    assert appended == Receipt(done.events[0], True)
    assert read_event(desk.db, seq=1) == appended.event
    assert find_event_id(desk.db, select(), "e-1") == ([appended.event], None)
