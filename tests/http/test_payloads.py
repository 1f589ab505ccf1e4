"""Payloads that anybody may have written: whatever is in them, each reader gives its type."""

import math

import pytest

from server.http.payloads import (
    count_in,
    list_in,
    nonblank_in,
    number_in,
    object_in,
    objects_in,
    seconds_in,
    text_in,
    texts_in,
    value_in,
)

ANYTHING = [None, True, False, 0, -1, 2**64, 0.5, -0.5, math.inf, math.nan, "", " ", "x", [], ["x"], {}, {"a": 1}]
READERS = {
    text_in: str,
    nonblank_in: str,
    texts_in: tuple,
    number_in: float | None,
    count_in: int,
    seconds_in: float,
    object_in: dict,
    list_in: list,
    objects_in: list,
}


@pytest.mark.parametrize(("reader", "kind"), READERS.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_a_reader_gives_its_type_whatever_there_is(reader, kind):
    """Also for an absent key, and for what is no object at all."""
    for value in ANYTHING:
        assert isinstance(reader({"a": value}, "a"), kind)
        assert isinstance(reader(value, "a"), kind)
    assert reader({}, "a") == reader({"a": None}, "a") == reader("text", "a") == reader([], "a")


@pytest.mark.parametrize(
    ("reader", "value", "found"),
    [
        pytest.param(value_in, 5, 5, id="anything"),
        pytest.param(text_in, " x\n", " x\n", id="a text as it is"),
        pytest.param(nonblank_in, " x\n", " x\n", id="a text that says something"),
        pytest.param(nonblank_in, " \n", "", id="a blank text"),
        pytest.param(texts_in, ["a", 1, " ", "a", None, "b"], ("a", "a", "b"), id="texts of a list"),
        pytest.param(number_in, 2, 2.0, id="a whole number"),
        pytest.param(number_in, -0.5, -0.5, id="a negative number"),
        pytest.param(number_in, True, None, id="true is no number"),
        pytest.param(number_in, math.inf, None, id="an infinite number"),
        pytest.param(count_in, 7, 7, id="a count"),
        pytest.param(count_in, 7.0, 0, id="a fraction is no count"),
        pytest.param(count_in, True, 0, id="true is no count"),
        pytest.param(count_in, 2**63, 0, id="more than there can be"),
        pytest.param(seconds_in, 5, 5.0, id="seconds"),
        pytest.param(seconds_in, 0, 0.0, id="no seconds"),
        pytest.param(seconds_in, 86_401, 86_400.0, id="more than a day"),
        pytest.param(seconds_in, 1e300, 86_400.0, id="for ever"),
        pytest.param(seconds_in, -1, 0.0, id="negative seconds"),
        pytest.param(object_in, {"b": 1}, {"b": 1}, id="an object"),
        pytest.param(list_in, [1, "x"], [1, "x"], id="a list"),
        pytest.param(objects_in, [{"b": 1}, 5, [], {}], [{"b": 1}, {}], id="objects of a list"),
    ],
)
def test_what_has_the_right_type_is_read_as_it_is(reader, value, found):
    """Nothing is converted but whole numbers to floats; what is too long is cut."""
    assert reader({"a": value}, "a") == found


def test_seconds_that_are_none_are_the_default():
    """The default itself is not cut."""
    for value in (None, True, "5", -1, math.nan):
        assert seconds_in({"a": value}, "a", 30.0) == 30.0
    assert count_in({"a": 8}, "a", 7) == 0
