"""The life of a task: what every event makes of every state, what emitters may say, and the flat shape, byte for byte."""

import msgspec
import pytest

from server.surfaces.tasks import inputs, rendering
from server.surfaces.tasks.commands import Emit
from server.surfaces.tasks.model import changes_state, decide, evolve
from server.surfaces.tasks.payloads import percent_in
from server.surfaces.tasks.state import ALIASES, STATUSES, TERMINAL_EVENTS, WORK_ITEM_STATUSES, TaskState, WorkItem, initial
from tests.support import refused
from towow.errors import InvalidBody
from towow.events import Event, payload_json

STREAM = "task:t-1"


def timestamp(seq):
    """When the event with this seq was appended."""
    return f"2026-01-01T00:00:{seq:02d}.000Z"


def event(seq, event_type, revision=None, stream=STREAM, **payload):
    """A stored event of the task."""
    return Event(seq, stream, revision or seq, f"e{seq}", event_type, timestamp(seq), "worker", payload_json(payload))


def after(*steps):
    """The state that these events lead to; a step is an event type, or one with its payload."""
    state = initial("t-1")
    for seq, step in enumerate(steps, start=1):
        event_type, payload = (step, {}) if isinstance(step, str) else step
        state = evolve(state, event(seq, event_type, **payload))
    return state


STATES = {
    "new": (),
    "running": ("note",),
    "completed": ("note", "task_complete"),
    "failed": ("note", "task_failed"),
    "cancelled": ("note", "task_cancelled"),
}

# The status of a task after each event in each state; who is told of an end never runs again.
TABLE = """
                    | new       | running   | completed | failed | cancelled
note                | running   | running   | completed | failed | cancelled
phase_enter         | running   | running   | completed | failed | cancelled
work_item_start     | running   | running   | completed | failed | cancelled
work_item_started   | running   | running   | completed | failed | cancelled
work_item_complete  | running   | running   | completed | failed | cancelled
work_item_completed | running   | running   | completed | failed | cancelled
work_item_failed    | running   | running   | completed | failed | cancelled
progress_update     | running   | running   | completed | failed | cancelled
task_complete       | completed | completed | completed | failed | cancelled
task_failed         | failed    | failed    | completed | failed | cancelled
task_cancelled      | cancelled | cancelled | completed | failed | cancelled
"""


def cells():
    """The table as (state, event type, status)."""
    head, *rows = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip("\n").splitlines()]
    assert head[1:] == list(STATES)
    return [(state, row[0], status) for row in rows for state, status in zip(head[1:], row[1:], strict=True)]


@pytest.mark.parametrize(("state", "event_type", "status"), [pytest.param(*cell, id=" - ".join(cell[:2])) for cell in cells()])
def test_every_event_in_every_state(state, event_type, status):
    """The table above, cell by cell; the position moves in all of them."""
    before = after(*STATES[state])
    told = evolve(before, event(9, event_type, phase="executing", span_id="s-1", progress=40))
    assert told.status == status
    assert (told.last_seq, told.revision, told.updated_at) == (9, 9, timestamp(9))
    if before.status not in ("new", "running"):
        assert (told.phase, told.progress, told.work_items) == (before.phase, before.progress, before.work_items)


def test_the_words_of_the_table_are_those_of_the_state():
    """What ends a stream in the log ends the task, and every status has its way."""
    said = {event_type for _, event_type, _ in cells()}
    assert set(TERMINAL_EVENTS) | set(ALIASES) | set(ALIASES.values()) <= said
    assert {status for _, _, status in cells()} == set(STATUSES)
    assert {event_type for event_type in said if changes_state(event_type)} == said - {"note"}


WORK_ITEMS = [
    pytest.param([], None, id="never named"),
    pytest.param(["work_item_start"], ("running", 1, None), id="started"),
    pytest.param(["work_item_started"], ("running", 1, None), id="started, in the other word"),
    pytest.param(["work_item_start", "work_item_complete"], ("completed", 1, 2), id="completed"),
    pytest.param(["work_item_start", "work_item_completed"], ("completed", 1, 2), id="completed, in the other word"),
    pytest.param(["work_item_start", "work_item_failed"], ("failed", 1, 2), id="failed"),
    pytest.param(["work_item_start", "work_item_failed", "work_item_start"], ("running", 3, None), id="tried again"),
    pytest.param(["work_item_start", "work_item_complete", "work_item_start"], ("running", 3, None), id="done again"),
    pytest.param(["work_item_start", "work_item_start"], ("running", 2, None), id="started twice"),
    pytest.param(["work_item_complete"], ("completed", None, 1), id="edge: only its end was told"),
    pytest.param(["work_item_failed", "work_item_complete"], ("completed", None, 2), id="edge: the newest word counts"),
]


@pytest.mark.parametrize(("types", "expected"), WORK_ITEMS)
def test_a_work_item_is_what_was_said_of_it_last(types, expected):
    """Use case 2 of the source: start is running, complete is completed; times are those of the events."""
    state = after(*((event_type, {"span_id": "s-1"}) for event_type in types))
    counts = {status: getattr(state, f"items_{status}") for status in WORK_ITEM_STATUSES}
    if expected is None:
        assert (state.work_items, state.items_total) == ({}, 0)
        return
    status, started, ended = expected
    item = state.work_items["s-1"]
    assert (item.status, item.first_seq, item.last_seq) == (status, 1, len(types))
    assert (item.started_at, item.ended_at) == (started and timestamp(started), ended and timestamp(ended))
    assert counts == {**dict.fromkeys(WORK_ITEM_STATUSES, 0), status: 1}


@pytest.mark.parametrize(
    ("payloads", "name"),
    [
        pytest.param([{}], None, id="none"),
        pytest.param([{"name": "parse"}], "parse", id="a name"),
        pytest.param([{"title": "Parse"}], "Parse", id="a title"),
        pytest.param([{"name": "parse", "title": "Parse"}], "parse", id="both"),
        pytest.param([{"name": "parse"}, {}], "parse", id="kept"),
        pytest.param([{"name": "parse"}, {"name": "parse again"}], "parse again", id="changed"),
        pytest.param([{"name": " x\n"}], "x", id="edge: trimmed"),
        pytest.param([{"name": "解" * 300}], "解" * 200, id="edge: cut"),
        pytest.param([{"name": "", "title": "t"}], "t", id="edge: empty"),
        pytest.param([{"name": " ", "title": " t "}], "t", id="edge: blank"),
        pytest.param([{"name": "x"}, {"name": " "}], "x", id="edge: blank"),
        pytest.param([{"name": 7, "title": ["x"]}], None, id="malformed"),
    ],
)
def test_a_work_item_has_the_name_that_was_given_last(payloads, name):
    """For people; it is never needed."""
    assert after(*(("work_item_start", {"span_id": "s-1", **each}) for each in payloads)).work_items["s-1"].name == name


def test_work_items_are_told_apart_by_their_span():
    """Three at once, each on its own way; the counts are of all."""
    state = after(
        ("work_item_start", {"span_id": "a"}),
        ("work_item_start", {"span_id": "b"}),
        ("work_item_start", {"span_id": "c"}),
        ("work_item_complete", {"span_id": "b"}),
        ("work_item_failed", {"span_id": "a"}),
    )
    assert {span: item.status for span, item in state.work_items.items()} == {"a": "failed", "b": "completed", "c": "running"}
    assert (state.items_running, state.items_completed, state.items_failed, state.items_total) == (1, 1, 1, 3)


@pytest.mark.parametrize("span_id", [None, "", 7, "a b", "x" * 129, ["s"], {"id": "s"}, "张"])
def test_a_work_item_without_a_name_of_a_span_is_none(span_id):
    """Anybody may append to the stream; what is not readable only moves the position."""
    payload = {} if span_id is None else {"span_id": span_id}
    state = after(("work_item_start", payload))
    assert (state.work_items, state.items_total, state.last_seq) == ({}, 0, 1)


@pytest.mark.parametrize(
    ("steps", "phase"),
    [
        pytest.param([], None, id="none yet"),
        pytest.param([("phase_enter", {"phase": "planning"})], "planning", id="entered"),
        ([("phase_enter", {"phase": "planning"}), ("phase_enter", {"phase": "executing"})], "executing"),
        pytest.param([("phase_enter", {"phase": "a"}), ("note", {"phase": "b"})], "a", id="edge: not by the way"),
        pytest.param([("phase_enter", {"phase": "a"}), ("phase_enter", {})], "a", id="malformed: absent"),
        pytest.param([("phase_enter", {"phase": "a"}), ("phase_enter", {"phase": "a b"})], "a", id="malformed: no name"),
        pytest.param([("phase_enter", {"phase": 3})], None, id="malformed: a number"),
    ],
)
def test_the_phase_is_the_one_that_was_entered_last(steps, phase):
    """Other events may say in which phase they happened; a late one does not take the task back."""
    assert after(*steps).phase == phase


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(0, 0.0, id="nothing yet"),
        pytest.param(42, 42.0, id="a whole number"),
        pytest.param(33.3, 33.3, id="a fraction"),
        pytest.param(100, 100.0, id="edge: all"),
        pytest.param(-0.1, None, id="malformed: below"),
        pytest.param(100.1, None, id="malformed: above"),
        pytest.param(2**64 - 1, None, id="malformed: huge"),
        pytest.param("42", None, id="malformed: text"),
        pytest.param(True, None, id="malformed: a flag"),
        pytest.param(None, None, id="malformed: null"),
        pytest.param([42], None, id="malformed: a list"),
    ],
)
def test_progress_is_a_number_of_percent(value, expected):
    """Anything else leaves the progress as it was."""
    assert percent_in({"progress": value}, "progress") == expected
    state = after(("progress_update", {"progress": 7}), ("progress_update", {"progress": value}))
    assert state.progress == (7.0 if expected is None else expected)


@pytest.mark.parametrize(("end", "progress"), [("task_complete", 100.0), ("task_failed", 40.0), ("task_cancelled", 40.0)])
def test_only_what_is_complete_is_at_a_hundred_percent(end, progress):
    """A task that failed at 40 % stays there."""
    assert after(("progress_update", {"progress": 40}), end).progress == progress


def test_an_event_that_was_folded_before_changes_nothing():
    """Projections may see an event twice."""
    state = after("note", ("progress_update", {"progress": 40}))
    assert evolve(state, event(2, "task_failed")) is state
    assert evolve(state, event(1, "note")) is state


# Commands


def test_an_emitted_event_is_stored_with_phase_and_span_in_its_payload():
    """So SQL finds both with everything else that was said."""
    given = inputs.EmitInput("phase_enter", {"why": "planned"}, "executing", "s:1", "e-1", "worker-3")
    command = inputs.read_emit(given)
    assert command == Emit("phase_enter", {"why": "planned", "phase": "executing", "span_id": "s:1"}, "e-1", "worker-3")
    [new] = decide(initial("t-1"), command)
    assert (new.stream, new.event_type, new.event_id, new.source) == (STREAM, "phase_enter", "e-1", "worker-3")
    assert new.payload_json == '{"why":"planned","phase":"executing","span_id":"s:1"}'


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("work_item_started", "work_item_start"),
        ("work_item_completed", "work_item_complete"),
        ("work_item_start", "work_item_start"),
        ("phase_enter", "phase_enter"),
        ("anything.else", "anything.else"),
    ],
)
def test_the_two_words_of_the_source_are_stored_as_one(said, stored):
    """b24: event types are an open set, with one name for a thing that has two."""
    assert decide(initial("t-1"), inputs.read_emit(inputs.EmitInput(said)))[0].event_type == stored


@pytest.mark.parametrize(
    ("payload", "phase", "span_id", "expected"),
    [
        pytest.param({}, None, None, {}, id="neither"),
        pytest.param({"phase": "a", "span_id": "b"}, None, None, {"phase": "a", "span_id": "b"}, id="in the payload"),
        pytest.param({"phase": "a"}, "a", None, {"phase": "a"}, id="edge: twice the same"),
        pytest.param({"phase": None}, "a", None, {"phase": "a"}, id="edge: beside null"),
        pytest.param({"phase": "a"}, "b", None, "phase", id="malformed: twice and different"),
        pytest.param({"span_id": "a"}, None, "b", "span_id", id="malformed: two spans"),
        pytest.param({}, "", None, "phase", id="malformed: empty"),
        pytest.param({}, None, "a b", "span_id", id="malformed: a blank"),
        pytest.param({}, "x" * 129, None, "phase", id="malformed: too long"),
        pytest.param({"phase": ["a"]}, None, None, "payload.phase", id="malformed: a list in the payload"),
        pytest.param({"span_id": 7}, None, None, "payload.span_id", id="malformed: a number in the payload"),
    ],
)
def test_phase_and_span_are_names_and_said_once(payload, phase, span_id, expected):
    """What is said twice and differently is refused with the field."""
    given = inputs.EmitInput("note", payload, phase, span_id)
    if isinstance(expected, dict):
        assert inputs.read_emit(given).payload == expected
        return
    with refused(InvalidBody, expected):
        inputs.read_emit(given)


# Rendering


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"why": "planned", "phase": "executing"}, '"phase":"executing","span_id":null,"payload":{"why":"planned"}'),
        pytest.param(
            {"phase": "executing", "span_id": "s:1", "progress": 42.5},
            '"phase":"executing","span_id":"s:1","payload":{"progress":42.5}',
            id="phase and span, wherever they stand",
        ),
        pytest.param({}, '"phase":null,"span_id":null,"payload":{}', id="nothing"),
        pytest.param({"n": 1}, '"phase":null,"span_id":null,"payload":{"n":1}', id="neither"),
        pytest.param(
            {"inner": {"phase": "a", "span_id": "b"}},
            '"phase":null,"span_id":null,"payload":{"inner":{"phase":"a","span_id":"b"}}',
            id="edge: further inside",
        ),
        ({"a\u2028": "\u2028\x85", "phase": "x"}, '"phase":"x","span_id":null,"payload":{"a\\u2028":"\\u2028\\u0085"}'),
        pytest.param(
            {"a": 2**64 - 1, "b": -0.0, "c": "张", "span_id": "s"},
            '"phase":null,"span_id":"s","payload":{"a":18446744073709551615,"b":-0.0,"c":"张"}',
            id="edge: values as they were stored",
        ),
        pytest.param(
            {"phase": "Phase 1: plan", "span_id": None},
            '"phase":null,"span_id":null,"payload":{"phase":"Phase 1: plan","span_id":null}',
            id="malformed: no names, nothing is lost",
        ),
        ({"phase": {"x": [1]}, "span_id": "s"}, '"phase":null,"span_id":"s","payload":{"phase":{"x":[1]}}'),
    ],
)
def test_the_flat_shape_is_fixed_byte_for_byte(payload, expected):
    """Source 002's fields in one line, each in its place."""
    line = rendering.encode_task_event(event(7, "phase_enter", 3, **payload))
    assert line.decode() == (
        '{"seq":7,"revision":3,"event_id":"e7","event_type":"phase_enter","task_id":"t-1",'
        + expected
        + ',"timestamp":"2026-01-01T00:00:07.000Z","source":"worker"}'
    )
    assert b"\n" not in line
    decoded = msgspec.json.decode(line)
    names = {key: decoded[key] for key in ("phase", "span_id") if decoded[key] is not None}
    assert {**decoded["payload"], **names} == payload


def test_a_stream_that_is_no_task_is_shown_all_the_same():
    """Anybody may append to `task:a:b`; a follower of everything sees it."""
    assert msgspec.json.decode(rendering.encode_task_event(event(1, "note", stream="task:a:b")))["task_id"] == "a:b"


@pytest.mark.parametrize(("progress", "shown"), [(0.0, "0"), (42.0, "42"), (33.3333333, "33.333"), (100.0, "100")])
def test_progress_is_shown_without_noise(progress, shown):
    """A whole number of percent as one."""
    assert str(rendering.summary(TaskState("t-1", "running", progress=progress))["progress"]) == shown


def test_a_task_is_told_with_its_work_items_in_the_order_of_their_appearance():
    """Whatever happened to them since."""
    state = after(
        ("work_item_start", {"span_id": "z", "name": "last letter"}),
        ("work_item_start", {"span_id": "a"}),
        ("work_item_complete", {"span_id": "z"}),
    )
    told = rendering.detail(state)
    assert told["work_items"] == [
        {"span_id": "z", "status": "completed", "name": "last letter", "started_at": timestamp(1), "ended_at": timestamp(3)},
        {"span_id": "a", "status": "running", "name": None, "started_at": timestamp(2), "ended_at": None},
    ]
    assert {key: told[key] for key in told if key != "work_items"} == {
        "task_id": "t-1",
        "status": "running",
        "phase": None,
        "progress": 0,
        "work_items_total": 2,
        "work_items_running": 1,
        "work_items_completed": 1,
        "work_items_failed": 0,
        "events": 3,
        "created_at": timestamp(1),
        "updated_at": timestamp(3),
        "created_seq": 1,
        "last_seq": 3,
    }
    assert isinstance(state.work_items["z"], WorkItem)
