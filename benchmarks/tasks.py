"""How soon a task's event is seen, when events are rare and settings are the default ones: the headline of source 002."""

import time

from benchmarks.orders import OURS_READY, Done, Follow, Publish, Unfollow, task_event_body
from benchmarks.rows import Goal
from benchmarks.stage import Stage

_HEADLINE_MILLISECONDS = 500.0
_EVENTS = 200


def measure_tasks(stage: Stage) -> None:
    """From the emitter's send to the follower's read, of single events at random gaps, after a long silence.

    An event that follows another one within the hold waits, so the distribution has two ends: 99 of 100 must be under the
    source's 500 ms. The rounds share the events; what is shown is over all of them."""
    gap, idle = stage.seconds(1.0, 0.02), stage.seconds(60.0, 0.1)
    latencies: list[float] = []
    with stage.server() as server:
        stage.load.ask(Follow(server.port, "/sse/tasks/bench/events?allow_pending=1", 1, OURS_READY, is_timed=True), Done)
        stage.tell(f"{stage.figure}: silence of {idle:g} s")
        time.sleep(idle)
        for _ in stage.turns():
            order = Publish(
                port=server.port,
                target="/api/tasks/bench/events",
                body=task_event_body(),
                in_flight=4,
                requests=max(1, stage.size(_EVENTS, 15) // stage.rounds),
                gap_seconds=gap,
                is_followed=True,
            )
            latencies += stage.publish(order).latencies_seconds
        stage.load.ask(Unfollow(), Done)
    ordered = sorted(1e3 * latency for latency in latencies)
    what = f"task event, emit to receive, {len(ordered)} at gaps of 0 to {gap:g} s after {idle:g} s of silence"
    for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        stage.add(
            f"{what}, {name}",
            [ordered[int(part * (len(ordered) - 1))]],
            "ms",
            against="source 002",
            others=[_HEADLINE_MILLISECONDS],
            goal=Goal(at_most=1, is_ratio=True) if name == "p99" else None,
        )
