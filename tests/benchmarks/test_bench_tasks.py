"""`run.py bench tasks`: the figure is taken and printed beside the source's headline. No speed is asserted."""

import itertools
import json

import pytest

from benchmarks.publishers import _pauses
from tests.benchmarks.test_bench import run_bench


def test_the_figure_of_tasks_is_printed_in_milliseconds_and_as_a_share_of_the_headline(tmp_path):
    """Scenario 14: p50, p99 and the longest, each beside 500 ms; p99 has the target."""
    report = json.loads(run_bench("tasks", "--quick", "--json", "--dir", str(tmp_path)))
    rows = report["rows"]
    assert [row["what"].rpartition(", ")[2] for row in rows] == ["p50", "p99", "max"]
    assert {row["figure"] for row in rows} == {"tasks"}
    assert 0 < rows[0]["ours"] <= rows[1]["ours"] <= rows[2]["ours"]
    for row in rows:
        assert (row["unit"], row["against"], row["other"]) == ("ms", "source 002", 500.0)
        assert row["ratio"] == pytest.approx(row["ours"] / 500)
    assert [row["target"] for row in rows] == ["", "≤ 1 ×", ""]
    assert list(tmp_path.iterdir()) == []


def test_figures_are_taken_by_name_or_by_option_in_their_own_order(tmp_path):
    """`bench tasks replay` is `bench --only replay --only tasks`."""
    report = json.loads(run_bench("tasks", "--only", "replay", "--quick", "--json", "--dir", str(tmp_path)))
    assert list(dict.fromkeys(row["figure"] for row in report["rows"])) == ["replay", "tasks"]


def test_pauses_are_even_or_random_or_none():
    """At a rate, within a gap, or as fast as answers come."""
    assert list(itertools.islice(_pauses(4.0, 0.0), 3)) == [0.25] * 3
    random = list(itertools.islice(_pauses(0.0, 0.5), 1_000))
    assert all(0 <= pause <= 0.5 for pause in random)
    assert len(set(random)) > 900
    assert _pauses(0.0, 0.0) is None
