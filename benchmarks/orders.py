"""What the measuring process asks of the load process, and what it is told: one JSON line each."""

import msgspec

# Every measured event carries this once. `bytes.count` skips ahead by the length of what it looks for as long as it meets
# letters that are not in it, so a long word of rare letters is counted three times faster than "\ndata:".
MARK = b"QWZKVXJYQWKZVXYJQZWKVJXY"
STAMP_DIGITS = 20  # of the monotonic nanoseconds that follow the mark
STAMP = "@" * STAMP_DIGITS  # where a body wants them

OURS_READY = "event: ready"  # what our server says when a stream is live
HEADERS_READY = "\r\n\r\n"  # all that others say


class Follow(msgspec.Struct, tag=True):
    """Open more followers and wait until each has read `ready`."""

    port: int
    target: str
    count: int
    ready: str = OURS_READY
    is_timed: bool = False  # take the time from the stamp in each event


class Unfollow(msgspec.Struct, tag=True):
    """Close all followers."""


class Publish(msgspec.Struct, tag=True):
    """Post `body` again and again, and wait for the answers and for what they deliver to every follower."""

    port: int
    target: str
    body: str
    in_flight: int
    seconds: float = 0.0  # how long; or
    requests: int = 0  # how many
    rate: float = 0.0  # requests per second; 0: as fast as answers come, or
    gap_seconds: float = 0.0  # after random pauses, each of at most so long
    is_followed: bool = False


class Read(msgspec.Struct, tag=True):
    """Open a stream, read to its `ready` and close it; so many times, one after the other."""

    port: int
    target: str
    times: int = 1


class Survive(msgspec.Struct, tag=True):
    """Follow with clients that resume and publish with repeats, while somebody kills the server and starts it again.

    Answers `Done` when all are connected, and `Survived` when all are back and have everything."""

    port: int
    followers: int
    rate: float


Order = Follow | Unfollow | Publish | Read | Survive


class Done(msgspec.Struct, tag=True):
    """It is done and there is nothing to tell."""


class Published(msgspec.Struct, tag=True):
    """What came back. Seconds are from the first request on; latencies only where followers are timed."""

    requests: int
    seconds: float
    ack_p50_seconds: float
    deliveries: int
    delivered_seconds: float
    latency_p50_seconds: float
    latency_p99_seconds: float
    latencies_seconds: list[float]  # ascending; only with `gap_seconds`, where they are few
    load_busy: float  # part of the time in which the load's core was at work; near 1 the load may be the limit


class ReadDone(msgspec.Struct, tag=True):
    """Seconds from connecting to the first byte, and to `ready`, of each time; and the events of one time."""

    first_byte_seconds: list[float]
    ready_seconds: list[float]
    events: int


class Survived(msgspec.Struct, tag=True):
    """What the clients of a killed server have, over all of them. `caught_up_at` is on the monotonic clock."""

    events: int
    caught_up_at: float
    lost: int
    doubled: int
    disordered: int
    reconnects: int


class Failed(msgspec.Struct, tag=True):
    """The order could not be carried out."""

    reason: str


Answer = Done | Published | ReadDone | Survived | Failed


def event_body(stream: str) -> str:
    """The body of a measured event for POST /api/events: about 200 bytes of payload."""
    return f'{{"stream":"{stream}","event_type":"note","payload":{payload_text()}}}'


def task_event_body() -> str:
    """The body of a measured event for POST /api/tasks/{task_id}/events."""
    return f'{{"event_type":"progress_update","span_id":"s-1","payload":{payload_text()}}}'


def payload_text() -> str:
    """The payload of every measured event, the same size each time."""
    text = "I can offer a meeting room for thirty people on Saturday afternoon, projector included"
    return f'{{"mark":"{MARK.decode()}{STAMP}","agent_id":"user_agent_bob","text":"{text}"}}'
