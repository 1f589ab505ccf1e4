"""Texts that people and programs give: what is kept of them, and what is refused with the field."""

import pytest

from server.http.text_rules import Id, one_of, plain_text, within, without_controls
from tests.support import refused
from towow.errors import InvalidBody, InvalidRequest, TooLarge


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("  请帮我 organise a meetup \n", "请帮我 organise a meetup", id="trimmed"),
        pytest.param("a\r\nb\rc\n\td", "a\nb\nc\n\td", id="LF line ends, and tabs"),
        pytest.param("\u3000x\u2003", "x", id="edge: wide spaces around it"),
        pytest.param("👩‍🚀", "👩‍🚀", id="edge: joined characters"),
        pytest.param(" \r\n\t", "", id="edge: blank"),
        pytest.param("", "", id="edge: empty"),
    ],
)
def test_a_plain_text_is_trimmed_with_lf_line_ends(text, kept):
    """Nothing else is changed, and to say it again changes nothing."""
    assert plain_text(text, "prompt") == kept
    assert plain_text(kept, "prompt") == kept


@pytest.mark.parametrize("check", [plain_text, without_controls])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a\x00b", id="null"),
        pytest.param("a\x1b[31m", id="a terminal's colour"),
        pytest.param("a\x7f b", id="delete"),
        pytest.param("a\x85b", id="C1: next line"),
        pytest.param("a\x9fb", id="C1: the last"),
        pytest.param("a\ud83d", id="half of a pair"),
        pytest.param("\udc00a", id="the other half"),
    ],
)
def test_what_no_reader_can_show_is_refused_with_the_field(check, text):
    """Control characters and broken Unicode; the text itself is not in the error."""
    with refused(InvalidBody, "prompt") as raised:
        check(text, "prompt")
    assert "prompt" in raised.value.message
    assert text not in raised.value.message


def test_a_text_that_is_checked_as_it_is_keeps_its_spaces():
    """A value that is quoted elsewhere must not change; a raw carriage return is a control character there."""
    assert without_controls(" a\n\tb ", "data.message") == " a\n\tb "
    with pytest.raises(InvalidBody):
        without_controls("a\r\nb", "data.message")


def test_a_limit_is_in_characters_and_belongs_to_it():
    """Whatever their bytes; the error names the field and the limit."""
    assert within("需" * 5, "prompt", 5) == "需" * 5
    with pytest.raises(TooLarge) as raised:
        within("需" * 6, "prompt", 5)
    assert (raised.value.field, raised.value.details) == ("prompt", {"limit": 5})
    assert "6 characters" in raised.value.message


def test_one_of_takes_a_choice_or_nothing_and_names_them_all_otherwise():
    """Letter for letter; an empty text is no choice."""
    assert one_of(None, "mode", ("nova", "loomi")) is None
    assert one_of("loomi", "mode", ("nova", "loomi")) == "loomi"
    for text in ("", "Nova", "nova "):
        with pytest.raises(InvalidRequest, match="mode must be one of nova, loomi") as caught:
            one_of(text, "mode", ("nova", "loomi"))
        assert caught.value.field == "mode"


PLAIN = Id("thing_id", 5, reserved=("queue",))
COLONS = Id("thing_id", has_colons=True)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        pytest.param(PLAIN, ["a", "A.b_-", "...", "12345"], ["", "123456", "a b", "a:b", ".", "..", "queue", "é"], id="plain"),
        pytest.param(COLONS, ["a:b", ":", ".", "x" * 128], ["", "x" * 129, "a/b", "a\x00"], id="colons"),
    ],
)
def test_an_id_is_allowed_or_refused_alike_wherever_it_stands(rule, good, bad):
    """In a path, a query and a body; the refusal names the field and the limit, whatever the value is."""
    for text in good:
        assert rule.allows(text)
        assert rule.in_path({"thing_id": text}) == rule.in_query(text) == rule.in_body(text) == text
    for value in bad:
        assert not rule.allows(value)
        for error, look in (
            (InvalidRequest, lambda value=value: rule.in_path({"thing_id": value})),
            (InvalidRequest, lambda value=value: rule.in_query(value)),
            (InvalidBody, lambda value=value: rule.in_body(value)),
        ):
            with pytest.raises(error, match=f"thing_id must be 1 to {rule.longest} characters") as caught:
                look()
            assert caught.value.field == "thing_id"
    assert rule.in_query(None) is None
    with pytest.raises(InvalidBody, match=r"data\.thing_id must be"):
        rule.in_body(5, "data.thing_id")
