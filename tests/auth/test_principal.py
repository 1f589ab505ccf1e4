"""Who may read and append what: scopes, globs, and patterns that only a whole glob covers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.principal import EVERYBODY, VERBS, Principal, globs_of
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
    principal = Principal("a", **globs_of(["read:task:*", "append:agent:a"]))
    assert (principal.may_read("task:1"), principal.may_append("task:1")) == (True, False)
    assert (principal.may_read("agent:a"), principal.may_append("agent:a")) == (False, True)


def test_nobody_without_scopes_may_do_anything():
    """What is not allowed is forbidden."""
    principal = Principal("a")
    assert not any(may(stream) for may in (principal.may_read, principal.may_append) for stream in ("*", "task:*", "task:a"))


def test_everybody_may_do_everything_where_nobody_is_asked():
    """The mode `off`, the server's own streams too."""
    assert EVERYBODY.name == "anonymous"
    assert all(EVERYBODY.may(verb, stream) for verb in VERBS for stream in ("*", "task:a", "system:log", "system:*"))
    assert EVERYBODY.may_act_as("user", "anybody")


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_refused_names_the_scope_that_is_missing(verb):
    """The first stream that is not covered, although others are; one verb never stands for another."""
    principal = Principal("alice", **{verb: ("task:a",)})
    assert [other for other in VERBS if principal.may(other, "task:a")] == [verb]
    principal.require(verb, ["task:a"])
    principal.require(verb, [])
    with pytest.raises(Forbidden) as caught:
        principal.require(verb, ["task:a", "task:b", "task:c"])
    assert caught.value.details["scope"] == f"{verb}:task:b"
    assert caught.value.field == "stream"


@pytest.mark.parametrize(
    ("glob", "stream", "is_covered"),
    [
        ("*", "system:log", False),
        ("sys*", "system:log", False),
        ("*:log", "system:log", False),
        ("system:*", "system:log", True),
        ("system:log", "system:log", True),
        ("system:log", "system:*", False),
        ("*", "systems:log", True),
    ],
)
def test_the_servers_own_streams_are_only_covered_by_their_name(glob, stream, is_covered):
    """`system:*` is in no star."""
    assert Principal("a", read=(glob,)).may_read(stream) is is_covered


@pytest.mark.parametrize(
    ("name", "covered"),
    [("alice", ("session:alice",)), ("a:b", ("session:a:b",)), ("*", ()), ("al ice", ()), ("ann@example.org", ()), ("", ())],
)
def test_the_subject_in_a_scope_is_the_own_name_and_never_a_pattern(name, covered):
    """A name that cannot be part of a stream's has no such stream."""
    principal = Principal("x", **globs_of(["read:session:{sub}"], name))
    assert principal.read == covered
    assert not principal.may_read("session:*")
    assert not principal.may_read("session:bob")


def test_scopes_are_split_into_globs_of_verbs():
    """In the order they were given."""
    found = globs_of(["read:*", "append:demand:*", "read:agent:bob", "append:a:b:c", "answer:mcp:*", "manage:system:erasure"])
    assert found["read"] == ("*", "agent:bob")
    assert found["append"] == ("demand:*", "a:b:c")
    assert (found["answer"], found["operate"], found["manage"]) == (("mcp:*",), (), ("system:erasure",))
    assert not any(globs_of([]).values())


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
        "read:{name}",
        "read:" + "x" * 129,
    ],
)
def test_what_is_no_scope_is_refused(scope):
    """A typing error never becomes a scope; only `*` and `{sub}` are special in a glob."""
    with pytest.raises(ValueError, match="scope"):
        globs_of([scope])
