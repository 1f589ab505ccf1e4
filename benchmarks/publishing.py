"""What publishing costs: single durable events beside bare aiohttp handlers, batches beside bare SQLite."""

import msgspec

from benchmarks.orders import Publish, event_body
from benchmarks.rows import Goal
from benchmarks.stage import Stage

_IN_FLIGHT = 128
_BATCH = 1_000
_BATCHES_IN_FLIGHT = 2  # one is parsed while the other is written
_WARM_UP_SECONDS = 0.1


def measure_publish(stage: Stage) -> None:
    """Single events, each answered after its fsync, against handlers that store nothing."""
    ours: list[float] = []
    empty: list[float] = []
    parsing: list[float] = []
    body = event_body("bench:single")
    with stage.server() as server, stage.reference("empty") as first, stage.reference("parsing") as second:
        contenders = [(server.port, "/api/events", ours), (first.port, "/", empty), (second.port, "/", parsing)]
        orders = [
            (Publish(port=port, target=target, body=body, in_flight=_IN_FLIGHT, seconds=stage.seconds(3.0, 0.2)), rates)
            for port, target, rates in contenders
        ]
        for order, _ in orders:
            stage.publish(msgspec.structs.replace(order, seconds=_WARM_UP_SECONDS))
        for _ in stage.turns():
            for order, rates in orders:
                done = stage.publish(order)
                rates.append(done.requests / done.seconds)
    what = f"durable single publishes, {_IN_FLIGHT} in flight"
    goal = Goal(at_least=0.85, is_ratio=True)
    stage.add(what, ours, "events/s", against="empty aiohttp handler", others=empty, goal=goal)
    stage.add(what, ours, "events/s", against="aiohttp handler that reads and answers JSON", others=parsing)


def measure_batch(stage: Stage) -> None:
    """Requests of 1,000 events against `executemany` of the same rows."""
    batches = stage.size(40, 3)
    ours: list[float] = []
    bare: list[float] = []
    event = event_body("bench:batch")
    body = f'{{"events":[{",".join([event] * _BATCH)}]}}'
    with (
        stage.server() as server,
        stage.reference("insert", str(stage.database("-bare").absolute()), str(batches)) as reference,
    ):
        order = Publish(port=server.port, target="/api/events", body=body, in_flight=_BATCHES_IN_FLIGHT, requests=batches)
        stage.publish(msgspec.structs.replace(order, requests=2))
        for _ in stage.turns():
            done = stage.publish(order)
            ours.append(done.requests * _BATCH / done.seconds)
            reference.write_line(b"")
            bare += reference.figures()
    stage.add(
        f"durable batches of {_BATCH:,}, {_BATCHES_IN_FLIGHT} in flight",
        ours,
        "events/s",
        against="bare executemany",
        others=bare,
        goal=Goal(at_least=0.6, is_ratio=True),
    )
