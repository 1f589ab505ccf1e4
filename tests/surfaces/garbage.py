"""What anybody may have written into an event: values that are right, nearly right or anything."""

from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 5, 42, 99.5, 100, 101, 1e308, -1, 2**63, 2**64 - 1, -(2**63), 0.5]),
    st.floats(allow_nan=False, allow_infinity=False),
)


def anything(names, *keys):
    """Any JSON; texts are mostly of `names`, and objects have these keys."""
    return st.recursive(
        st.one_of(st.none(), st.booleans(), NUMBERS, names, st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*keys, "x"]), inner, max_size=3)),
        max_leaves=6,
    )


def mostly(right, other):
    """The right type nearly always, anything else now and then."""
    return st.one_of(right, right, right, other)
