"""What people and agents may say to a negotiation, and what they are told when they may not."""

import pytest

from server.surfaces.demands.inputs import (
    check_capabilities,
    check_comment,
    check_content,
    check_needs,
    check_raw_input,
    check_reason,
    check_terms,
    check_user_id,
)
from tests.support import refused
from towow.errors import InvalidBody, TooLarge

REFUSED = [
    pytest.param("a\0b", InvalidBody, id="NUL"),
    pytest.param("a\x1b[31mb", InvalidBody, id="terminal escape"),
    pytest.param("a\x7fb", InvalidBody, id="delete"),
    pytest.param("a\x85b", InvalidBody, id="C1 control"),
    pytest.param("a\ud800b", InvalidBody, id="lone surrogate"),
]


def nested(levels):
    """An object with so many levels of lists and objects, by turns."""
    value = {}
    for number in range(levels - 1):
        value = {"x": value} if (levels - number) % 2 == 0 else [value]
    return value


class TestDemand:
    """What a submission may hold."""

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            pytest.param("  需要场地\n", "需要场地", id="trimmed"),
            pytest.param("a\r\nb\rc\td", "a\nb\nc\td", id="line ends"),
            pytest.param("需" * 10_000, "需" * 10_000, id="at the limit"),
            pytest.param(" " * 50_000 + "x", "x", id="blanks do not count"),
            pytest.param("👩‍👩‍👧 party", "👩‍👩‍👧 party", id="emoji"),
            pytest.param("<script>alert(1)</script>", "<script>alert(1)</script>", id="kept as it is"),
        ],
    )
    def test_a_demand_is_trimmed_and_kept(self, text, kept):
        """What is stored is what was said, without the blanks around it."""
        assert check_raw_input(text) == kept

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            pytest.param("", InvalidBody, id="empty"),
            pytest.param(" \n\t　", InvalidBody, id="blank"),
            pytest.param("\u200b\ufeff", InvalidBody, id="invisible"),
            pytest.param("x" * 10_001, TooLarge, id="over the limit"),
            pytest.param("x" * 200_000, TooLarge, id="200 kB"),
            *REFUSED,
        ],
    )
    def test_a_demand_that_cannot_be_kept_is_refused(self, text, error):
        """The error names raw_input."""
        with refused(error, "raw_input"):
            check_raw_input(text)

    def test_the_limit_of_a_demand_can_be_set(self):
        """The error says the limit in force."""
        assert check_raw_input("abcde", limit=5) == "abcde"
        with pytest.raises(TooLarge) as raised:
            check_raw_input("abcdef", limit=5)
        assert raised.value.details == {"limit": 5}

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            pytest.param(None, "anonymous", id="absent"),
            pytest.param("", "anonymous", id="empty"),
            pytest.param("  ", "anonymous", id="blank"),
            pytest.param(" 张三 ", "张三", id="trimmed"),
            pytest.param("x" * 200, "x" * 200, id="at the limit"),
        ],
    )
    def test_a_user_id_defaults_to_anonymous(self, text, kept):
        """Who does not say who they are is anonymous."""
        assert check_user_id(text) == kept

    @pytest.mark.parametrize("text", ["x" * 201, "a\nb", "a\0b", "\ud800"])
    def test_a_user_id_is_one_short_line(self, text):
        """The error names user_id."""
        with refused(InvalidBody, "user_id"):
            check_user_id(text)


class TestTexts:
    """Content, comments and reasons: text with line ends, each with its own limit."""

    @pytest.mark.parametrize(
        ("check", "field", "limit"),
        [
            pytest.param(check_content, "content", 10_000, id="content"),
            pytest.param(check_comment, "comment", 1_000, id="comment"),
            pytest.param(check_reason, "reason", 500, id="reason"),
            pytest.param(lambda text: check_reason(text, "content"), "content", 500, id="reason of a refusal"),
        ],
    )
    def test_a_text_is_trimmed_and_within_its_limit(self, check, field, limit):
        """Up to and with the limit in characters, whatever their bytes; the error says both."""
        assert check("  a\r\nb\rc \n") == "a\nb\nc"
        assert check(f" {'需' * limit} ") == "需" * limit
        with pytest.raises(TooLarge) as raised:
            check("需" * (limit + 1))
        assert (raised.value.field, raised.value.details) == (field, {"limit": limit})

    @pytest.mark.parametrize("check", [check_content, check_comment, check_reason])
    @pytest.mark.parametrize(("text", "error"), REFUSED)
    def test_what_no_reader_can_show_is_refused(self, check, text, error):
        """Control characters and broken Unicode."""
        with refused(error, check.__name__.removeprefix("check_")):
            check(text)

    @pytest.mark.parametrize("text", ["", " \n\t"])
    def test_an_offer_says_something_and_the_rest_may_be_absent(self, text):
        """Blank content is refused; a blank or absent comment or reason is empty."""
        with refused(InvalidBody, "content"):
            check_content(text)
        for nothing in (text, None):
            assert check_comment(nothing) == check_reason(nothing) == ""


class TestLists:
    """Capabilities and needs: short lines, each once."""

    @pytest.mark.parametrize(("check", "limit"), [(check_capabilities, 20), (check_needs, 10)], ids=["capabilities", "needs"])
    def test_a_list_is_trimmed_and_has_each_text_once(self, check, limit):
        """In its order, up to the limit; a text has up to 200 characters."""
        assert check([" a ", "b", "a", "场" * 200]) == ("a", "b", "场" * 200)
        assert len(check([str(number) for number in range(limit)])) == limit
        name = check.__name__.removeprefix("check_")
        with refused(InvalidBody, name):
            check(["a"] * (limit + 1))

    @pytest.mark.parametrize("check", [check_capabilities, check_needs])
    @pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\0b", "x" * 201, "\ud800"])
    def test_the_text_at_fault_is_named_by_its_place(self, check, text):
        """Blank, too long, or not one line."""
        with refused(InvalidBody, f"{check.__name__.removeprefix('check_')}.1"):
            check(["fine", text])

    def test_an_offer_has_a_capability_and_needs_nothing(self):
        """No capabilities are refused, no needs are usual."""
        for nothing in (None, []):
            assert check_needs(nothing) == ()
            with refused(InvalidBody, "capabilities"):
                check_capabilities(nothing)


class TestTerms:
    """Any JSON object, small and flat enough to go into a proposal."""

    @pytest.mark.parametrize(
        "terms",
        [
            pytest.param({"price": 500, "currency": "CNY", "date": "2026-03-01", "people": 20}, id="realistic"),
            pytest.param({"price": 0}, id="for nothing"),
            pytest.param({"price": 1e12}, id="the highest price"),
            pytest.param({"price": None, "currency": None}, id="null for nothing said"),
            pytest.param({"currency": "x" * 16}, id="a long currency"),
            pytest.param({"x": [1, {"y": None}], "价": True}, id="anything else"),
            pytest.param({"x": "y" * 1_016}, id="at the limit of bytes"),
            pytest.param(nested(8), id="at the limit of levels"),
        ],
    )
    def test_terms_are_kept_as_they_are(self, terms):
        """A copy; absent terms are empty."""
        checked = check_terms(terms)
        assert checked == terms
        assert checked is not terms
        assert check_terms(None) == {}

    @pytest.mark.parametrize(
        ("terms", "error", "field"),
        [
            pytest.param({"price": -1}, InvalidBody, "terms.price", id="a negative price"),
            pytest.param({"price": 1e12 + 1}, InvalidBody, "terms.price", id="over the highest price"),
            pytest.param({"price": 2**63}, InvalidBody, "terms.price", id="a huge integer"),
            pytest.param({"price": True}, InvalidBody, "terms.price", id="a boolean price"),
            pytest.param({"price": "500"}, InvalidBody, "terms.price", id="a price in quotes"),
            pytest.param({"price": [5]}, InvalidBody, "terms.price", id="a list of prices"),
            pytest.param({"currency": ""}, InvalidBody, "terms.currency", id="an empty currency"),
            pytest.param({"currency": "x" * 17}, InvalidBody, "terms.currency", id="a currency too long"),
            pytest.param({"currency": 5}, InvalidBody, "terms.currency", id="a number for a currency"),
            pytest.param({"x": "y" * 1_017}, TooLarge, "terms", id="over the limit of bytes"),
            pytest.param({"x": "需" * 340}, TooLarge, "terms", id="bytes, not characters"),
            pytest.param(nested(9), InvalidBody, "terms", id="over the limit of levels"),
            pytest.param(nested(150), InvalidBody, "terms", id="far over the limit of levels"),
        ],
    )
    def test_terms_that_do_not_fit_are_refused(self, terms, error, field):
        """The error names what is wrong."""
        with refused(error, field):
            check_terms(terms)

    def test_the_limits_of_terms_are_said(self):
        """In bytes, and in levels."""
        with pytest.raises(TooLarge) as raised:
            check_terms({"x": "y" * 2_000})
        assert raised.value.details == {"limit": 1_024}
        with pytest.raises(InvalidBody) as raised:
            check_terms(nested(9))
        assert raised.value.details == {"limit": 8}
