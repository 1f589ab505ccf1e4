"""Rows that prove themselves: damage is named, ids are derived, cursors are proved, and gaps keep what they stand for."""

import pytest

from server.config import DatabaseSection
from server.eventlog.database import _prepare, sqlite3
from server.eventlog.queries import read_page
from server.eventlog.rows import Histories, insert_gaps, prove, read_digest, read_events, read_head, read_histories
from server.eventlog.selection import select
from server.eventlog.writer import Writer
from tests.support import note
from towow.errors import Conflict, Damaged
from towow.events import check_of, is_same_json

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
def writer(tmp_path):
    """A writer on that file."""
    return Writer(
        path=tmp_path / "r.db",
        min_free_bytes=0,
        clock=lambda: 1_767_225_600.0,
        is_terminal=lambda stream, event_type: event_type == "finished",
        projections={},
    )


def store(writer, db, *events):
    """Store events in one transaction and return what came of it."""
    return writer.commit(db, [list(events)]).outcomes[0]


def change(db, sql, *values):
    """Change the table as nobody may: past its triggers."""
    triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    db.execute(sql, values)
    for _, text in triggers:
        db.execute(text)


# Damage.


CHANGES = [
    pytest.param("stream = 'task:b'", id="stream"),
    pytest.param("revision = 9", id="revision"),
    pytest.param("event_id = 'x'", id="event_id"),
    pytest.param("event_type = 'nota'", id="event_type"),
    pytest.param("timestamp = '2026-01-01T00:00:00.001Z'", id="timestamp"),
    pytest.param("source = 'unknowm'", id="source"),
    pytest.param("actor = 'eve'", id="actor"),
    pytest.param("payload = '{\"n\":3}'", id="payload"),
    pytest.param("actor = CAST(x'ff' AS TEXT)", id="an actor that is no text"),
    pytest.param("crc = crc + 1", id="crc"),
]


@pytest.mark.parametrize("sql", CHANGES)
def test_a_damaged_row_is_named_and_never_served(db, writer, sql):
    """The page before it ends there, the next one names its seq, and what comes after it is read."""
    store(writer, db, note(n=0), note(n=1), note(n=2))
    change(db, f"UPDATE events SET {sql} WHERE seq = 2")
    assert [event.seq for event in read_page(db, EVERYTHING, 0, 3, 100, 10**9).events] == [1]
    with pytest.raises(Damaged) as caught:
        read_page(db, EVERYTHING, 1, 3, 100, 10**9)
    assert caught.value.seq == 2
    assert [event.seq for event in read_page(db, EVERYTHING, 2, 3, 100, 10**9).events] == [3]


def test_an_append_does_not_build_on_a_damaged_event(db, writer):
    """The head of the stream cannot be believed, so the request is refused, and others are not."""
    store(writer, db, note(), note("task:b"))
    change(db, "UPDATE events SET event_type = 'finished' WHERE seq = 1")
    writer._forget()
    refused, stored = writer.commit(db, [[note()], [note("task:b")]]).outcomes
    assert isinstance(refused, Damaged)
    assert stored[0].event.seq == 3


# Ids.


def test_events_without_an_id_get_one_from_epoch_and_seq(db, writer):
    """There is no randomness to guess; the row holds no id at all."""
    outcome = store(writer, db, note(), note(event_id="e-1"), note())
    epoch = read_histories(db).epochs[0]
    ids = [f"evt-{epoch}-1", "e-1", f"evt-{epoch}-3"]
    assert [each.event.event_id for each in outcome] == ids
    assert [event.event_id for event in read_events(db, "ORDER BY seq", ())] == ids
    assert db.execute("SELECT event_id FROM events ORDER BY seq").fetchall() == [(None,), ("e-1",), (None,)]


def test_a_derived_id_that_is_sent_again_is_the_same_event_or_a_conflict(db, writer):
    """Only its own content, in its own stream, is the event; nobody takes an id that the log will give."""
    (first,) = store(writer, db, note(n=1))
    own = first.event.event_id
    assert store(writer, db, note(n=1, event_id=own))[0].created is False
    future = own[:-1] + "2"
    for wrong in (note(n=2, event_id=own), note("task:b", n=1, event_id=own), note(event_id=future), note(event_id=f"{own}x")):
        assert type(store(writer, db, wrong)) is Conflict
    assert store(writer, db, note())[0].event.event_id == future


@pytest.mark.parametrize("event_id", ["evt-1", "evt-0123456789abcdef-7", "evt-", "evt--3", "evt"])
def test_other_ids_that_begin_alike_are_ordinary(db, writer, event_id):
    """Another log's derived ids are a publisher's ids here, as after an import."""
    assert store(writer, db, note(event_id=event_id))[0].created
    assert not store(writer, db, note(event_id=event_id))[0].created


def test_an_event_id_is_unique_within_its_stream(db, writer):
    """The same id in another stream is another event."""
    outcome = store(writer, db, note("task:a", event_id="e-1"), note("task:b", event_id="e-1", n=5))
    assert [each.created for each in outcome] == [True, True]
    assert [each.created for each in store(writer, db, note("task:b", event_id="e-1", n=5))] == [False]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        pytest.param('{"a":1,"b":{"c":2,"d":3}}', '{"b":{"d":3,"c":2},"a":1}', True, id="another order of keys"),
        pytest.param('{"n":1}', '{"n":1.0}', True, id="1 and 1.0"),
        pytest.param('{"n":1e2}', '{"n":100}', True, id="1e2 and 100"),
        pytest.param('{"n":-0.0}', '{"n":0}', True, id="-0.0 and 0"),
        pytest.param('{"t":"\\u00e9"}', '{"t":"é"}', True, id="an escaped letter"),
        pytest.param('{"n":1}', '{"n":true}', False, id="1 and true"),
        pytest.param('{"n":[0]}', '{"n":[false]}', False, id="0 and false in a list"),
        pytest.param('{"n":1}', '{"n":"1"}', False, id="1 and a text"),
        pytest.param('{"n":9007199254740993}', '{"n":9007199254740992}', False, id="integers that are one double"),
        pytest.param('{"n":9007199254740993}', '{"n":9007199254740992.0}', False, id="an integer and another's double"),
        pytest.param('{"n":[1,2]}', '{"n":[2,1]}', False, id="another order of a list"),
        pytest.param('{"n":null}', "{}", False, id="null and nothing"),
    ],
)
def test_json_is_the_same_when_it_means_the_same(one, other, is_same):
    """Databases and languages reorder keys and respell numbers between two tries of a publisher."""
    assert is_same_json(one, other) is is_same_json(other, one) is is_same


def test_the_same_event_in_another_spelling_is_not_stored_again(db, writer):
    """A retry gets the first seq, also when its keys come in another order."""
    first, again = note(event_id="e-1"), note(event_id="e-1")
    first.payload_json, again.payload_json = '{"a":1,"b":[1.0]}', '{"b":[1],"a":1.0}'
    assert store(writer, db, first)[0].created
    assert [(each.event.seq, each.created) for each in store(writer, db, again)] == [(1, False)]


def test_ids_are_derived_from_the_epoch_that_an_event_was_appended_in():
    """After a loss was accepted the older events keep their ids."""
    histories = Histories(("a" * 16, "b" * 16), (1, 11))
    assert [histories.derived_id(seq) for seq in (1, 10, 11, 12)] == [
        f"evt-{'a' * 16}-1",
        f"evt-{'a' * 16}-10",
        f"evt-{'b' * 16}-11",
        f"evt-{'b' * 16}-12",
    ]
    assert histories.seq_of(f"evt-{'a' * 16}-10") == 10
    for text in (f"evt-{'a' * 16}-11", f"evt-{'b' * 16}-10", f"evt-{'a' * 16}-010", f"evt-{'a' * 16}-٣", f"evt-{'a' * 16}-"):
        assert histories.seq_of(text) == 0
    assert histories.seq_of(f"evt-{'c' * 16}-10") is None


# Cursors that prove their history.


def test_a_check_is_six_digits_from_one_to_nine():
    """Never a zero: a number that was made of `<seq>.<check>` keeps the order."""
    checks = {check_of(bytes([n, n * 7 % 256] * 16)) for n in range(256)}
    assert all(len(check) == 6 and set(check) <= set("123456789") for check in checks)
    assert len(checks) == 256
    assert check_of(b"") == "111111"


def test_a_cursor_is_proved_by_one_seek_in_the_events_or_in_the_gap_that_covers_it(db, writer):
    """The right check is proven, any other is another history's, and a gap without checks cannot prove."""
    events = [each.event for each in store(writer, db, *[note(n=n) for n in range(2_500)])]
    for event in (events[0], events[1234], events[-1]):
        assert prove(db, event.seq, event.check) == "proven"
        assert prove(db, event.seq, "999999" if event.check != "999999" else "111111") == "other_history"
    assert prove(db, 2501, "123456") == "other_history"
    removed = db.execute("SELECT seq, digest FROM events WHERE seq <= 2000 AND seq <> 1500 ORDER BY seq").fetchall()
    insert_gaps(db, removed, 2501)
    db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq, _ in removed])
    for event in events:
        assert prove(db, event.seq, event.check) == "proven"
        assert prove(db, event.seq, "12345x") == "other_history"
    size = db.execute("SELECT sum(length(digest) + length(checks) + 20) FROM gaps").fetchone()[0]
    assert size < 64 * len(removed)
    assert read_digest(db, 1499) == events[1498].digest
    assert read_digest(db, 1498) is None
    db.execute("UPDATE gaps SET checks = NULL")
    assert prove(db, 999, events[998].check) == "trimmed"
    assert prove(db, 1000, events[999].check) == "proven"  # the end of a gap: its digest is kept
    seen = []
    db.set_trace_callback(seen.append)
    prove(db, 2400, events[2399].check)
    db.set_trace_callback(None)
    assert len(seen) == 1


def test_a_gap_of_single_events_costs_at_most_64_bytes_each(db, writer):
    """Also where every other event stays."""
    store(writer, db, *[note(n=n) for n in range(2_000)])
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    removed = db.execute("SELECT seq, digest FROM events WHERE seq % 2 ORDER BY seq").fetchall()
    insert_gaps(db, removed, 2501)
    grown = (db.execute("PRAGMA page_count").fetchone()[0] - pages) * 4096
    assert grown <= 64 * len(removed)


def test_the_head_is_the_last_event_or_the_gap_after_it(db, writer):
    """The chain goes on from there, whoever opens the file next."""
    assert read_head(db) == (0, b"")
    done = writer.commit(db, [[note(), note()]])
    assert read_head(db) == done.head == (2, done.events[-1].digest)
    insert_gaps(db, [(3, b"x" * 32), (4, b"y" * 32)], 5)
    db.execute("UPDATE sqlite_sequence SET seq = 4 WHERE name = 'events'")
    assert read_head(db) == (4, b"y" * 32)
