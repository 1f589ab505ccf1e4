"""Which events a reader wants: exact names, patterns and type globs."""

import pytest

from server.eventlog.selection import MAX_TYPES, select
from towow.errors import InvalidRequest
from towow.events import Event


def event(stream="task:a", event_type="note"):
    """A stored event."""
    return Event(1, stream, 1, "e", event_type, "2026-01-01T00:00:00.000Z", "tests", "{}")


@pytest.mark.parametrize(
    ("streams", "types", "stream", "event_type", "is_wanted"),
    [
        pytest.param(("task:a",), (), "task:a", "note", True, id="the named stream"),
        pytest.param(("task:a",), (), "task:ab", "note", False, id="a longer name"),
        pytest.param(("task:a", "demand:b"), (), "demand:b", "note", True, id="one of two"),
        pytest.param(("task:*",), (), "task:a", "note", True, id="a kind"),
        pytest.param(("task:*",), (), "tasks:a", "note", False, id="another kind with the same beginning"),
        pytest.param(("*",), (), "anything:at-all", "note", True, id="everything"),
        pytest.param(("demand:b", "task:*"), (), "task:z", "note", True, id="a name or a pattern"),
        pytest.param(("demand:b", "task:*"), (), "demand:c", "note", False, id="neither"),
        pytest.param(("*",), ("towow.*",), "task:a", "towow.offer.submitted", True, id="a type glob"),
        pytest.param(("*",), ("towow.*",), "task:a", "note", False, id="another type"),
        pytest.param(("*",), ("towow.*", "note"), "task:a", "note", True, id="one of two types"),
        pytest.param(("task:a",), ("note",), "task:b", "note", False, id="the type in another stream"),
        pytest.param(("task:a",), ("*",), "task:a", "note", True, id="edge: every type, spelled out"),
        pytest.param(("t:a:b",), (), "t:a:b", "note", True, id="edge: a name with two colons"),
    ],
)
def test_a_selection_wants_its_streams_and_types(streams, types, stream, event_type, is_wanted):
    """Streams by name or pattern, and of those the types that match; no types mean all."""
    assert select(streams, types).wants(event(stream, event_type)) is is_wanted


@pytest.mark.parametrize(
    "stream",
    ["", "task", "task:", ":a", "task:a*", "*:a", "**", "task:**", "task:a:*", "Task:*", "9:*", "task:a b", "task:a\n", "t?:a"],
)
def test_what_is_neither_a_name_nor_a_pattern_is_refused(stream):
    """Patterns are `kind:*` and `*` only, so that they mean the same to the hub and to SQL."""
    with pytest.raises(InvalidRequest) as caught:
        select((stream,))
    assert caught.value.field == "stream"


def test_the_refusal_does_not_repeat_a_huge_name():
    """A message stays short whatever was sent."""
    with pytest.raises(InvalidRequest) as caught:
        select(("x" * 100_000,))
    assert len(caught.value.message) < 300


def test_no_stream_at_all_is_refused():
    """An empty selection would silently wait for ever."""
    with pytest.raises(InvalidRequest) as caught:
        select(())
    assert caught.value.field == "stream"


def test_a_bad_type_glob_is_refused():
    """The field at fault is `type`."""
    with pytest.raises(InvalidRequest) as caught:
        select(("*",), ("a?",))
    assert caught.value.field == "type"


def test_more_globs_of_types_than_the_limit_are_refused():
    """Each costs something at every event."""
    assert len(select(("*",), [f"a{n}.*" for n in range(MAX_TYPES)]).types) == MAX_TYPES
    with pytest.raises(InvalidRequest) as caught:
        select(("*",), [f"a{n}.*" for n in range(MAX_TYPES + 1)])
    assert caught.value.field == "type"


@pytest.mark.parametrize(("streams", "is_wanted"), [(("*",), False), (("system:*",), True), (("*", "system:log"), True)])
def test_a_star_is_every_stream_but_the_servers_own(streams, is_wanted):
    """They are asked for by name."""
    assert select(streams).wants(event("system:log")) is is_wanted
    assert select(("*", "demand:*")).patterns == ("*",)


def test_equal_selections_are_equal_however_they_were_asked_for():
    """Order and repetition do not split followers into groups that could share their bytes."""
    one = select(("task:a", "task:b", "demand:*", "*"), ("b", "a"))
    other = select(("*", "task:b", "task:a", "task:b", "demand:*"), ("a", "b", "a"))
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("streams", "single", "starts_live"),
    [
        pytest.param(("task:a",), "task:a", False, id="an entity stream"),
        pytest.param(("task:a", "task:a"), "task:a", False, id="the same twice"),
        pytest.param(("task:a", "demand:b"), None, False, id="two entity streams"),
        pytest.param(("task:*",), None, True, id="a kind"),
        pytest.param(("*",), None, True, id="everything"),
        pytest.param(("task:a", "*"), None, True, id="a name and everything"),
        pytest.param(("agent:bob",), "agent:bob", True, id="an agent"),
        pytest.param(("operator:o-7",), "operator:o-7", True, id="an operator"),
        pytest.param(("broadcast:all",), "broadcast:all", True, id="the broadcast"),
        pytest.param(("task:a", "agent:bob"), None, True, id="an entity and an agent"),
    ],
)
def test_one_stream_can_end_and_live_kinds_start_at_the_head(streams, single, starts_live):
    """`single` is the only stream that can end for a reader; `starts_live` is the default without a cursor."""
    selection = select(streams)
    assert selection.single == single
    assert selection.starts_live is starts_live
