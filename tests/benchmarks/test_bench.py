"""`run.py bench`: every figure is taken and printed, nothing is left behind, and the load counts right. No speed is
asserted."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from benchmarks.figures import FIGURES
from benchmarks.followers import LoadFollowers
from benchmarks.loop import LoadError, Loop
from benchmarks.orders import MARK, STAMP_DIGITS
from benchmarks.publishers import is_whole
from benchmarks.rows import Goal, make_row
from tests.support import ROOT, until

SECONDS = 110
COMMAND = [sys.executable, str(ROOT / "run.py"), "bench"]


def run_bench(*arguments):
    """Run the command to its end; returns what it printed."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """One quick run of everything, as JSON, and the directory it worked in."""
    directory = tmp_path_factory.mktemp("bench")
    return json.loads(run_bench("--quick", "--json", "--dir", str(directory))), directory


def test_a_quick_run_takes_every_figure_and_judges_none(report):
    """Each figure has rows with what was measured; small sizes say nothing about the targets."""
    data, _ = report
    rows = data["rows"]
    assert list(dict.fromkeys(row["figure"] for row in rows)) == list(FIGURES)
    assert data["is_quick"] is True
    for row in rows:
        assert row["unit"]
        assert row["reached"] is None
        assert row["other"] is None or row["ratio"] is not None or row["ours"] == 0
    assert any(row["target"] for row in rows)


def test_no_delivery_is_lost_doubled_or_out_of_order_across_a_kill(report):
    """The one figure that is not about speed."""
    data, _ = report
    (row,) = [row for row in data["rows"] if row["what"].startswith("lost, doubled")]
    assert row["ours"] == 0


def test_a_run_leaves_nothing_in_its_directory(report):
    """Databases, logs and configurations go when it ends."""
    _, directory = report
    assert list(directory.iterdir()) == []


def test_one_figure_is_printed_as_a_table_with_its_target(tmp_path):
    """`--only` takes one; without `--json` there is a line for each row."""
    printed = run_bench("--quick", "--only", "replay", "--dir", str(tmp_path))
    heading, line = printed.splitlines()
    assert heading.split() == ["figure", "what", "ours", "compared", "with", "ratio", "target", "reached"]
    assert line.startswith("replay")
    assert "events/s" in line
    assert "≥ 100,000 events/s" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
async def test_an_interrupted_run_ends_what_it_started(number, tmp_path):
    """The server, the load and the temporary files go with it."""
    process = subprocess.Popen([*COMMAND, "--only", "publish", "--dir", str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        await until(lambda: list(tmp_path.glob("bench-*/publish.db")), timeout=20)
        children = _children(process.pid)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []
    assert not [pid for pid in children if _is_running(pid)]


def _children(pid):
    """The processes that a process has started, where the system says so."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []


def _is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("is_timed", [False, True], ids=["counted", "timed"])
def test_an_event_is_counted_once_wherever_a_read_cuts_it(is_timed):
    """A mark that two reads share is neither lost nor doubled."""
    event = b'1b\r\nid: 7\ndata: {"mark":"' + MARK + b"0" * STAMP_DIGITS + b'"}\n\n\r\n'
    two = event * 2
    loop = Loop()
    followers = LoadFollowers(loop)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(_accept(listener)))
        thread.start()
        followers.open(listener.getsockname()[1], "/", 1, b"\r\n\r\n", is_timed=is_timed)
        thread.join()
        with accepted[0] as server:
            for cut in range(1, len(two)):
                for part in (two[:cut], two[cut:]):
                    wanted = followers.bytes_total + len(part)
                    server.sendall(part)
                    loop.run(lambda wanted=wanted: followers.bytes_total == wanted, what="a part")
                assert followers.total == 2 * cut
            assert len(followers.latencies) == (followers.total if is_timed else 0)
        with pytest.raises(LoadError, match="closed"):
            loop.run(lambda: False, what="the end")
    followers.close()


def _accept(listener):
    server, _ = listener.accept()
    server.recv(1000)
    server.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    return server


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", True, id="whole"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-Length: 0\r\n\r\n", True, id="empty body"),
        pytest.param(b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\n{}", False, id="body cut"),
        pytest.param(b"HTTP/1.1 201 Created\r\nContent-Le", False, id="head cut"),
    ],
)
def test_an_answer_counts_when_it_is_whole(answer, expected):
    """A publisher sends its next request after the whole answer only."""
    assert is_whole(answer) is expected


@pytest.mark.parametrize(
    ("ours", "others", "goal", "expected"),
    [
        pytest.param([10, 30, 20], None, Goal(at_least=20), (20, None, "≥ 20 x", True), id="value reached"),
        pytest.param([10, 30, 20], None, Goal(at_least=21), (20, None, "≥ 21 x", False), id="value missed"),
        pytest.param([10, 30, 20], [10, 10, 20], Goal(at_most=1, is_ratio=True), (20, 1, "≤ 1 ×", True), id="ratio reached"),
        pytest.param([9, 9, 9], [10, 10, 10], Goal(at_least=1, is_ratio=True), (9, 0.9, "≥ 1 ×", False), id="ratio missed"),
        pytest.param([9], None, Goal(at_least=1, is_ratio=True), (9, None, "≥ 1 × peer", None), id="nothing to compare with"),
    ],
)
def test_a_row_has_medians_round_by_round_ratios_and_a_verdict(ours, others, goal, expected):
    """The verdict is of the ratio where the target is one, and there is none without a ratio."""
    row = make_row("f", "w", ours, "x", against="peer", others=others, goal=goal)
    assert (row.ours, row.ratio, row.target, row.reached) == expected
