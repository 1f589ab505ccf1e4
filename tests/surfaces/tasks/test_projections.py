"""The tables of tasks: the same as the fold, whatever anybody wrote into the stream, however often, and after a rebuild."""

from functools import partial

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.surfaces.tasks import SURFACE, rendering
from server.surfaces.tasks.model import evolve
from server.surfaces.tasks.projections import get_task, load_task, project_task
from server.surfaces.tasks.state import ALIASES, STATUSES, TERMINAL_EVENTS, initial
from tests.support import empty, insert_row, publish, read_rows
from tests.surfaces.garbage import NUMBERS, anything
from tests.surfaces.garbage import mostly as garbage_mostly
from towow.events import Event, payload_json

STREAM = "task:t-1"
TYPES = (
    "phase_enter",
    "work_item_start",
    "work_item_complete",
    "work_item_failed",
    "progress_update",
    "note",
    *ALIASES,
    *sorted(TERMINAL_EVENTS),
)
NAMES = st.sampled_from(["executing", "s-1", "s-2", "s:3", "a b", "", "张", "x" * 129])
ANY = anything(NAMES, "phase", "span_id")
mostly = partial(garbage_mostly, other=ANY)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "phase": mostly(NAMES),
        "span_id": mostly(NAMES),
        "progress": mostly(NUMBERS),
        "name": mostly(st.text(max_size=10)),
        "title": ANY,
        "\u2028": ANY,
    },
)
# A terminal event is seldom, or no history would be long.
HISTORIES = st.lists(st.tuples(st.sampled_from(TYPES[:8] * 6 + TYPES), PAYLOADS), max_size=25)


def stored(history, stream=STREAM):
    """The history as the log would hold it, with holes in the seqs."""
    return [
        Event(
            3 * number + 1,
            stream,
            number + 1,
            f"e{number}",
            event_type,
            f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.000Z",
            "worker",
            payload_json(payload),
        )
        for number, (event_type, payload) in enumerate(history)
    ]


@pytest.fixture
def tables(migrated):
    """A connection to the empty tables."""
    empty(migrated, SURFACE.tables)
    return migrated


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(HISTORIES)
def test_any_history_folds_is_stored_and_is_told(tables, history):
    """No event raises, the rows are the fold at every step, and both shapes are JSON."""
    empty(tables, SURFACE.tables)
    state = initial("t-1")
    for event in stored(history):
        state = evolve(state, event)
        project_task(tables, event)
        assert load_task(tables, "t-1") == state
        assert msgspec.json.decode(rendering.encode_task_event(event))["seq"] == event.seq
        msgspec.json.encode(rendering.detail(state))
        assert 0 <= state.progress <= 100
        assert state.status in STATUSES
        assert state.items_total == len(state.work_items)
        for status in ("running", "completed", "failed"):
            count = sum(item.status == status for item in state.work_items.values())
            assert getattr(state, f"items_{status}") == count


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(HISTORIES)
def test_a_flat_event_holds_everything_that_was_stored(tables, history):
    """Phase and span put back into the payload give the payload."""
    for event in stored(history):
        flat = msgspec.json.decode(rendering.encode_task_event(event))
        names = {key: flat[key] for key in ("phase", "span_id") if flat[key] is not None}
        assert {**flat["payload"], **names} == event.payload


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(HISTORIES, st.data())
def test_an_event_that_is_projected_again_changes_nothing(tables, history, data):
    """A rebuild may meet rows that are there."""
    empty(tables, SURFACE.tables)
    events = stored(history)
    for event in events:
        project_task(tables, event)
    before = load_task(tables, "t-1")
    for event in data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else ():
        project_task(tables, event)
    assert load_task(tables, "t-1") == before


@pytest.mark.parametrize("stream", ["task:a:b", "task:..", f"task:{'x' * 121}"])
def test_a_stream_that_no_task_can_have_leaves_no_row(tables, stream):
    """It is an event all the same; a path could not name the row."""
    [event] = stored([("note", {})], stream)
    project_task(tables, event)
    assert tables.execute("SELECT count(*) FROM tasks").fetchone() == (0,)


def test_a_task_whose_first_events_are_gone_has_a_row_from_its_next_one_on(tables):
    """Retention may have removed them before a rebuild."""
    late = stored([("note", {}), ("note", {})])[1]
    project_task(tables, late)
    state = get_task(tables, "t-1")
    assert (state.status, state.revision, state.created_seq) == ("running", 2, late.seq)


def test_of_very_many_work_items_the_newest_thousand_are_read(tables):
    """The counts are of all; those that are read are in the order of their appearance."""
    for event in stored([("work_item_start", {"span_id": f"s-{number}"}) for number in range(1_005)]):
        project_task(tables, event)
    state = load_task(tables, "t-1")
    told = rendering.detail(state)
    assert (told["work_items_total"], len(told["work_items"])) == (1_005, 1_000)
    assert [item["span_id"] for item in told["work_items"]] == [f"s-{number}" for number in range(5, 1_005)]


def test_the_work_items_are_a_walk_over_an_index(tables):
    """No list sorts all rows."""
    said = []
    tables.set_trace_callback(said.append)
    try:
        load_task(tables, "t-1")
    finally:
        tables.set_trace_callback(None)
    plans = [str(tables.execute(f"EXPLAIN QUERY PLAN {each}").fetchall()) for each in said if each.startswith("SELECT")]
    assert any("task_work_items_in_order" in plan for plan in plans)
    assert not any("TEMP B-TREE" in plan for plan in plans)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(HISTORIES)
def test_the_view_reads_whatever_was_stored(tables, history):
    """What is no text and no number is NULL there; no row is missing and none is doubled."""
    empty(tables, SURFACE.tables)
    events = stored(history)
    tables.execute("BEGIN")
    try:
        for event in events:
            project_task(tables, event)
            insert_row(tables, event)
        found = tables.execute("SELECT seq, phase, span_id, progress, event_type FROM task_timeline ORDER BY seq").fetchall()
    finally:
        tables.execute("ROLLBACK")
    assert [(row[0], row[4]) for row in found] == [(event.seq, event.event_type) for event in events]
    for row, event in zip(found, events, strict=True):
        for value, key, kind in zip(row[1:4], ("phase", "span_id", "progress"), (str, str, int | float), strict=True):
            said = event.payload.get(key)
            is_right = isinstance(said, kind) and not isinstance(said, bool)
            assert (value is not None) == is_right


async def test_the_tables_follow_what_comes_through_the_general_api(client, quiet_config):
    """Whoever appends to `task:` makes a task; the log and the tables agree."""
    await publish(client, 2, stream="task:t-9")
    answer = await (await client.get("/api/tasks/t-9")).json()
    assert (answer["status"], answer["events"], answer["last_seq"]) == (
        "running",
        2,
        read_rows(quiet_config.database.path)[-1].seq,
    )
