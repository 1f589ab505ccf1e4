"""Who may read and append what: scopes, globs, and patterns that only a whole glob covers."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.principal import EVERYBODY, Principal, read_scopes
from towow.errors import Forbidden


@pytest.mark.parametrize(
    ("glob", "stream"),
    [
        pytest.param("*", "*", id="everything covers everything"),
        pytest.param("*", "demand:*", id="everything covers a kind"),
        pytest.param("*", "demand:d-1", id="everything covers a stream"),
        pytest.param("**", "*", id="two stars are one"),
        pytest.param("demand:*", "demand:*", id="a kind covers itself"),
        pytest.param("demand:*", "demand:d-1", id="a kind covers its streams"),
        pytest.param("demand*", "demand:*", id="a beginning covers the kind"),
        pytest.param("*:*", "demand:*", id="any kind covers a kind"),
        pytest.param("demand:d-1", "demand:d-1", id="a name covers itself"),
        pytest.param("demand:d-*", "demand:d-1", id="part of a kind covers what begins so"),
        pytest.param("*:alice", "agent:alice", id="one id of every kind"),
    ],
)
def test_a_glob_covers_what_lies_within_it(glob, stream):
    """Streams by name, and patterns when all of their streams are meant."""
    principal = Principal("a", read=(glob,), append=(glob,))
    assert principal.may_read(stream)
    assert principal.may_append(stream)


@pytest.mark.parametrize(
    ("glob", "stream"),
    [
        pytest.param("demand:*", "*", id="a kind is not everything"),
        pytest.param("*:*", "*", id="written otherwise neither"),
        pytest.param("*:", "*", id="an end is not everything"),
        pytest.param("demand:d-*", "demand:*", id="part of a kind is not the kind"),
        pytest.param("demand:*1", "demand:*", id="nor is another part"),
        pytest.param("demand:", "demand:*", id="the name of a kind alone is not the kind"),
        pytest.param("*:", "demand:*", id="nor any name that ends so"),
        pytest.param("demand:d-1", "demand:*", id="a stream is not its kind"),
        pytest.param("*:alice", "agent:*", id="one id is not all"),
        pytest.param("*1*", "demand:*", id="a part in the middle is not all"),
        pytest.param("demand:d-1", "demand:d-10", id="no longer name"),
        pytest.param("demand:d-1", "xdemand:d-1", id="nothing before"),
        pytest.param("Demand:*", "demand:d-1", id="case counts"),
        pytest.param("demand.d-1", "demand:d-1", id="a dot is a dot"),
        pytest.param("demand:*", "demands:d-1", id="no other kind"),
        pytest.param("demand:*", "demand:d-1\n", id="no line break is skipped"),
    ],
)
def test_a_glob_covers_nothing_beyond_it(glob, stream):
    """Above all no pattern that holds more than the glob."""
    if stream.endswith("\n"):
        assert not Principal("a", read=("demand:d-1",)).may_read(stream)
        return
    principal = Principal("a", read=(glob,), append=(glob,))
    assert not principal.may_read(stream)
    assert not principal.may_append(stream)


_PARTS = st.text("ab:*1", min_size=1, max_size=6)


@given(glob=_PARTS, kind=st.text("ab1", min_size=1, max_size=3), ids=st.lists(st.text("ab1:", min_size=1, max_size=4)))
def test_a_covered_pattern_has_no_stream_that_is_not_covered(glob, kind, ids):
    """Whatever the glob: who may follow `kind:*` may read each of its streams, and who may follow `*` may read all."""
    principal = Principal("a", read=(glob,))
    if principal.may_read(f"{kind}:*"):
        assert all(principal.may_read(f"{kind}:{each}") for each in ids)
    if principal.may_read("*"):
        assert all(principal.may_read(f"{kind}:{each}") for each in [*ids, "*"])


def test_reading_and_appending_are_apart():
    """One scope never stands for the other."""
    principal = Principal("a", *read_scopes(["read:task:*", "append:agent:a"]))
    assert (principal.may_read("task:1"), principal.may_append("task:1")) == (True, False)
    assert (principal.may_read("agent:a"), principal.may_append("agent:a")) == (False, True)


def test_nobody_without_scopes_may_do_anything():
    """What is not allowed is forbidden."""
    principal = Principal("a")
    assert not any(may(stream) for may in (principal.may_read, principal.may_append) for stream in ("*", "task:*", "task:a"))


def test_everybody_may_do_everything_where_nobody_is_asked():
    """The mode `off`."""
    assert EVERYBODY.name == "anonymous"
    assert EVERYBODY.may_read("*")
    assert EVERYBODY.may_append("*")


@pytest.mark.parametrize("verb", ["read", "append"])
def test_what_is_refused_names_the_scope_that_is_missing(verb):
    """The first stream that is not covered, although others are."""
    principal = Principal("alice", read=("task:a",), append=("task:a",))
    check = principal.require_read if verb == "read" else principal.require_append
    check(["task:a"])
    check([])
    with pytest.raises(Forbidden) as caught:
        check(["task:a", "task:b", "task:c"])
    assert caught.value.details["scope"] == f"{verb}:task:b"
    assert caught.value.field == "stream"


def test_scopes_are_split_into_globs_to_read_and_to_append():
    """In the order they were given."""
    scopes = ["read:*", "append:demand:*", "read:agent:bob", "append:a:b:c"]
    assert read_scopes(scopes) == (("*", "agent:bob"), ("demand:*", "a:b:c"))
    assert read_scopes([]) == ((), ())


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "*",
        "read",
        "read:",
        "write:*",
        "Read:*",
        " read:*",
        "read:demand *",
        "read:[a-z]*",
        "read:demand:?",
        "read:demand:*\n",
        "read:d\u00e9mand",
        "read:" + "x" * 129,
    ],
)
def test_what_is_no_scope_is_refused(scope):
    """A typing error never becomes a scope; only `*` is special in a glob."""
    with pytest.raises(ValueError, match="scope"):
        read_scopes([scope])


def test_only_a_star_is_special():
    """What the matching function knows besides cannot be written in a glob."""
    assert fnmatchcase("task:a", "task:[ab]")
    with pytest.raises(ValueError, match="scope"):
        read_scopes(["read:task:[ab]"])
