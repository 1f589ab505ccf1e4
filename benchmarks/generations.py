"""How soon a reader has what a model has written, while many runs go on at once."""

import sys

import msgspec

from benchmarks.processes import BenchError, Child, Server
from benchmarks.rows import Goal
from benchmarks.stage import Stage
from benchmarks.steady_model import Order, Written

_AGENTS = 4
_PIECES_PER_SECOND = 50.0  # of one run


def measure_generations(stage: Stage) -> None:
    """From a model's write to the reader's read, of every piece of text of runs that go on at the same time.

    Each run has its reader, on the connection that started it. What is lost, doubled or out of order is counted as well."""
    runs, seconds = stage.size(50, 5), stage.seconds(10.0, 0.4)
    rate = _PIECES_PER_SECOND / _AGENTS
    p50: list[float] = []
    p99: list[float] = []
    wrong = 0
    with Child(stage.directory, "model", [sys.executable, "-m", "benchmarks.steady_model"], on_load_core=True) as model:
        server = Server(stage.database())
        server.settings = {
            "TOWOW__LLM__BASE_URL": f"http://127.0.0.1:{int(model.read_line())}/v1",
            "TOWOW__LLM__MODEL": "steady",
            "TOWOW__LLM__MAX_STREAMS": str(_AGENTS * runs),
        }
        with server:
            for _ in stage.turns():
                model.write_line(msgspec.json.encode(Order(server.port, runs, int(rate * seconds), rate)))
                written = msgspec.json.decode(model.read_line(), type=Written)
                if written.unfinished:
                    raise BenchError(f"{written.unfinished} of {runs} runs have not completed")
                latencies = written.latencies_seconds
                p50.append(1e3 * latencies[len(latencies) // 2])
                p99.append(1e3 * latencies[int(0.99 * (len(latencies) - 1))])
                wrong += written.wrong
    what = f"text of a model, from its write to the reader, {runs} runs with {_PIECES_PER_SECOND:g} pieces/s each"
    stage.add(f"{what}, p50", p50, "ms")
    stage.add(f"{what}, p99", p99, "ms")
    stage.add("pieces of text that are lost, doubled or out of order", [wrong], "pieces", goal=Goal(at_most=0))
