"""What reading the past costs: a whole stream to one reader, and the last ten events of a short and of a long log."""

import statistics

from benchmarks.filling import fill
from benchmarks.orders import Read, ReadDone
from benchmarks.processes import BenchError
from benchmarks.rows import Goal
from benchmarks.stage import Stage

_STREAMS = 10
_MISSED = 10
_TIMES = 30  # resumes in a round


def measure_replay(stage: Stage) -> None:
    """Events per second of one stream to one reader, from connecting to `ready`."""
    events = stage.size(100_000, 10_000)
    fill(stage.database(), events, 1, stage.tell)
    rates = []
    with stage.server() as server:
        for _ in stage.turns():
            done = stage.load.ask(Read(server.port, "/api/events/stream?stream=bench:fill-0"), ReadDone)
            _expect(done.events, events)
            rates.append(events / done.ready_seconds[0])
    what = f"replay of {events:,} events to one reader, SSE"
    stage.add(what, rates, "events/s", goal=Goal(at_least=100_000))


def measure_resume(stage: Stage) -> None:
    """Resuming ten events before the end of one stream among ten, in two logs of very different length, in turn."""
    sizes = [stage.size(10_000, 1_000), stage.size(1_000_000, 10_000)]
    for size in sizes:
        fill(stage.database(f"-{size}"), size, _STREAMS, stage.tell)
    first: list[list[float]] = [[], []]
    ready: list[list[float]] = [[], []]
    with stage.server(f"-{sizes[0]}") as short, stage.server(f"-{sizes[1]}") as long:
        orders = []
        for server, size in zip((short, long), sizes, strict=True):
            since = size - _MISSED * _STREAMS
            target = f"/api/events/stream?stream=bench:fill-0&since_seq={since}"
            orders.append(Read(server.port, target, stage.size(_TIMES, 5)))
            stage.load.ask(orders[-1], ReadDone)  # the first connection of a server loads code
        for _ in stage.turns():
            for index, order in enumerate(orders):
                done = stage.load.ask(order, ReadDone)
                _expect(done.events, _MISSED)
                first[index].append(statistics.median(done.first_byte_seconds) * 1e3)
                ready[index].append(statistics.median(done.ready_seconds) * 1e3)
    against = f"at {sizes[0]:,}"
    goal = Goal(at_most=1.3, is_ratio=True)
    stage.add(f"resume at {sizes[1]:,} events, first byte", first[1], "ms", against=against, others=first[0], goal=goal)
    stage.add(f"resume at {sizes[1]:,} events, ready", ready[1], "ms", against=against, others=ready[0])


def _expect(got: int, wanted: int) -> None:
    if got != wanted:
        raise BenchError(f"a reader got {got} events instead of {wanted}")
