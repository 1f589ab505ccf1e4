"""What many followers cost while nothing happens, and what they see when the server is killed."""

import time

from benchmarks.machine import raise_file_limit, rss_bytes
from benchmarks.orders import HEADERS_READY, OURS_READY, Done, Follow, Publish, Survive, Survived, Unfollow, event_body
from benchmarks.rows import Goal
from benchmarks.stage import Stage

_WARM_UP_FOLLOWERS = 100
_SPARE_FILE_HANDLES = 300
_RATE = 100.0


def measure_memory(stage: Stage) -> None:
    """Growth of the server's memory for each further follower on which nothing happens; then one event proves they live."""
    followers = min(stage.size(10_000, 500), raise_file_limit() - _SPARE_FILE_HANDLES)
    ours: list[float] = []
    bare: list[float] = []
    for _ in stage.turns():
        with stage.server(f"-{len(ours)}") as server:
            target = "/api/events/stream?stream=bench:single&start=live&allow_pending=1"
            ours.append(_growth(stage, server.process.pid, Follow(server.port, target, followers, OURS_READY)))
            body = event_body("bench:single")
            stage.publish(Publish(server.port, "/api/events", body, in_flight=1, requests=1, is_followed=True))
            stage.load.ask(Unfollow(), Done)
        with stage.reference("waiting") as reference:
            bare.append(_growth(stage, reference.process.pid, Follow(reference.port, "/", followers, HEADERS_READY)))
            stage.load.ask(Unfollow(), Done)
    what = f"memory per idle follower, {followers:,} of them"
    stage.add(what, ours, "KB", against="bare aiohttp stream", others=bare, goal=Goal(at_most=11))


def _growth(stage: Stage, pid: int, follow: Follow) -> float:
    """KB per follower, without the first ones, which also load code."""
    followers = follow.count
    follow.count = _WARM_UP_FOLLOWERS
    stage.load.ask(follow, Done)
    before = rss_bytes(pid)
    follow.count = followers - _WARM_UP_FOLLOWERS
    stage.load.ask(follow, Done)
    return (rss_bytes(pid) - before) / follow.count / 1024


def measure_restart(stage: Stage) -> None:
    """SIGKILL with publishes going on, start on the same file: how soon it serves, how soon all are back, what they have."""
    followers = stage.size(5_000, 100)
    serving: list[float] = []
    caught_up: list[float] = []
    wrong: list[float] = []
    events = 0
    for _ in stage.turns():
        with stage.server(f"-{len(serving)}") as server:
            stage.load.order(Survive(server.port, followers, _RATE))
            stage.load.answer(Done)
            time.sleep(stage.seconds(1.0, 0.2))  # publishes go on meanwhile
            killed_at = time.monotonic()
            server.kill()
            server.start()
            serving.append(time.monotonic() - killed_at)
            done = stage.load.answer(Survived)
            caught_up.append(done.caught_up_at - killed_at)
            wrong.append(done.lost + done.doubled + done.disordered)
            events += done.events
    stage.add(f"kill -9 with {followers:,} followers: serving again", serving, "s", goal=Goal(at_most=1))
    stage.add(f"kill -9 with {followers:,} followers: all caught up", caught_up, "s", goal=Goal(at_most=5))
    what = f"lost, doubled or out of order, of {events * followers:,} deliveries"
    stage.add(what, [sum(wrong)], "events", goal=Goal(at_most=0))
