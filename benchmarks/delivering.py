"""What delivering costs: many followers of one stream, beside Nchan and beside a bare loop of sends."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import nchan
from benchmarks.orders import HEADERS_READY, OURS_READY, Done, Follow, Publish, Unfollow, event_body
from benchmarks.rows import Goal
from benchmarks.stage import Stage

_FOLLOW = "/api/events/stream?stream=bench:single&start=live&allow_pending=1"
_BODY = event_body("bench:single")


def measure_fanout(stage: Stage) -> None:
    """Deliveries per second: followers × messages ÷ the time from the first publish to the last delivery."""
    many, few = stage.size(1_000, 100), stage.size(100, 20)
    fastest = Goal(at_least=3_000_000)
    _compare_fanout(stage, many, 128, stage.size(4_000, 400), goal=fastest, ratio=25)
    _compare_fanout(stage, few, 16, stage.size(8_000, 400), goal=None, ratio=3)


def _compare_fanout(stage: Stage, followers: int, in_flight: int, messages: int, *, goal: Goal | None, ratio: float) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    with stage.server(f"-{followers}") as server, _peer(stage) as peer:
        for _ in stage.turns():
            ours.append(_fanout(stage, _ours(server.port, followers), in_flight, messages))
            if peer is not None:  # in C, and an order slower: a tenth of the messages takes as long
                theirs.append(_fanout(stage, _theirs(peer.port, followers), in_flight, messages // 10))
    what = f"{followers:,} followers, {in_flight} publishes in flight"
    if goal is not None:
        stage.add(what, ours, "deliveries/s", goal=goal)
    _add_beside_nchan(stage, what, ours, "deliveries/s", theirs, Goal(at_least=ratio, is_ratio=True))


def _fanout(stage: Stage, follow: Follow, in_flight: int, messages: int) -> float:
    with _following(stage, follow):
        order = Publish(
            port=follow.port,
            target=_publish_target(follow),
            body=_BODY,
            in_flight=in_flight,
            requests=messages,
            is_followed=True,
        )
        done = stage.publish(order)
    return done.deliveries / done.delivered_seconds


def measure_latency(stage: Stage) -> None:
    """From the publisher's send to the follower's read, over all deliveries, when the server is mostly idle."""
    followers, rate = stage.size(1_000, 100), 20.0
    messages = stage.size(120, 10)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []

    def take(follow: Follow) -> tuple[float, float]:
        follow.is_timed = True
        with _following(stage, follow):
            order = Publish(
                port=follow.port,
                target=_publish_target(follow),
                body=_BODY,
                in_flight=4,
                requests=messages,
                rate=rate,
                is_followed=True,
            )
            done = stage.publish(order)
        return done.latency_p50_seconds * 1e3, done.latency_p99_seconds * 1e3

    with stage.server() as server, _peer(stage) as peer:
        for _ in stage.turns():
            ours.append(take(_ours(server.port, followers)))
            if peer is not None:
                theirs.append(take(_theirs(peer.port, followers)))
    for index, name, goal in ((0, "p50", None), (1, "p99", Goal(at_most=1, is_ratio=True))):
        what = f"publish to receive, {followers:,} followers, {rate:g} events/s, {name}"
        _add_beside_nchan(stage, what, [pair[index] for pair in ours], "ms", [pair[index] for pair in theirs], goal)


def measure_delivery(stage: Stage) -> None:
    """One event to 1,000 followers: what an acknowledgement takes longer than without followers, for each of them."""
    followers = stage.size(1_000, 100)
    messages = stage.size(200, 30)
    ours: list[float] = []
    bare: list[float] = []
    with stage.server() as server, stage.reference("send") as reference:
        for _ in stage.turns():
            with _following(stage, _ours(server.port, followers)):
                alone = Publish(
                    port=server.port, target="/api/events", body=event_body("bench:alone"), in_flight=1, requests=messages
                )
                without = stage.publish(alone).ack_p50_seconds
                followed = Publish(
                    port=server.port, target="/api/events", body=_BODY, in_flight=1, requests=messages, is_followed=True
                )
                ours.append((stage.publish(followed).ack_p50_seconds - without) / followers * 1e6)
            with _following(stage, Follow(reference.port, "/", followers, HEADERS_READY)):
                stage.publish(
                    Publish(port=reference.port, target="/", body="{}", in_flight=1, requests=messages, is_followed=True)
                )
                bare += reference.figures()
    what = f"one delivery, of one event to {followers:,} followers"
    goal = Goal(at_most=1.5, is_ratio=True)
    stage.add(what, ours, "µs", against="bare socket.send loop", others=bare, goal=goal)


@contextmanager
def _following(stage: Stage, follow: Follow) -> Iterator[None]:
    stage.load.ask(follow, Done)
    yield
    stage.load.ask(Unfollow(), Done)


@contextmanager
def _peer(stage: Stage) -> Iterator[nchan.Nchan | None]:
    if not nchan.is_installed():
        yield None
        return
    with nchan.Nchan(stage.directory) as peer:
        yield peer


def _ours(port: int, followers: int) -> Follow:
    return Follow(port, _FOLLOW, followers, OURS_READY)


def _theirs(port: int, followers: int) -> Follow:
    return Follow(port, "/sub/bench", followers, HEADERS_READY)


def _publish_target(follow: Follow) -> str:
    return "/api/events" if follow.target == _FOLLOW else "/pub/bench"


def _add_beside_nchan(stage: Stage, what: str, ours: list[float], unit: str, theirs: list[float], goal: Goal | None) -> None:
    """A row beside Nchan, or one that says why there is none."""
    note = "" if theirs else f"skipped: {nchan.ABSENT}"
    stage.add(what, ours, unit, against="Nchan", others=theirs or None, goal=goal, note=note)
