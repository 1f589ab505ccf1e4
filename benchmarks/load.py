"""The load process: takes orders on stdin and answers on stdout, one JSON line each. `python -m benchmarks.load`.

It runs apart from the server and from who gives the orders, so that it has a core of its own."""

import gc
import sys
import time

import msgspec

from benchmarks.followers import LoadFollowers
from benchmarks.loop import LoadError, Loop, connect, get_request
from benchmarks.machine import raise_file_limit
from benchmarks.orders import (
    MARK,
    OURS_READY,
    Answer,
    Done,
    Failed,
    Follow,
    Order,
    Publish,
    Published,
    Read,
    ReadDone,
    Survive,
    Unfollow,
)
from benchmarks.publishers import Publishers
from benchmarks.survivors import Survivors

_READ_BYTES = 1 << 20
_READY_BYTES = 400  # more than the control frame that ends a replay


class Load:
    """Carries out orders. Followers stay open from one order to the next."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._followers = LoadFollowers(self._loop)

    def carry_out(self, order: Order) -> Answer:
        """Do what is ordered and tell what came of it."""
        match order:
            case Follow():
                ready = order.ready.encode()
                self._followers.open(order.port, order.target, order.count, ready, is_timed=order.is_timed)
                return Done()
            case Unfollow():
                self._followers.close()
                return Done()
            case Publish():
                return self._publish(order)
            case Read():
                return _read(order)
            case Survive():
                return Survivors(self._loop, order.port, order.followers, order.rate).run(lambda: _tell(Done()))

    def _publish(self, order: Publish) -> Published:
        followers = self._followers
        followers.reset()
        publishers = Publishers(
            self._loop,
            order.port,
            order.target,
            order.body,
            order.in_flight,
            requests=order.requests,
            seconds=order.seconds,
            rate=order.rate,
            gap_seconds=order.gap_seconds,
        )
        busy_before, started_at = time.process_time(), time.monotonic()
        publishers.run()
        expected = publishers.sent if order.is_followed else 0
        wanted = expected * len(followers.counts)
        self._loop.run(lambda: followers.total >= wanted, what="the last deliveries")
        wrong = [count for count in followers.counts.values() if count != expected]
        if wrong:
            raise LoadError(f"{len(wrong)} followers got {min(wrong)} to {max(wrong)} events instead of {expected}")
        busy = (time.process_time() - busy_before) / (time.monotonic() - started_at)
        latencies = sorted(followers.latencies)
        return Published(
            requests=publishers.sent,
            seconds=(publishers.last_at - publishers.started_at) / 1e9,
            ack_p50_seconds=_percentile(sorted(publishers.latencies), 0.5),
            deliveries=followers.total,
            delivered_seconds=(followers.last_at - publishers.started_at) / 1e9 if wanted else 0.0,
            latency_p50_seconds=_percentile(latencies, 0.5),
            latency_p99_seconds=_percentile(latencies, 0.99),
            latencies_seconds=[latency / 1e9 for latency in latencies] if order.gap_seconds else [],
            load_busy=busy,
        )


def main() -> None:
    """Answer orders until stdin ends."""
    raise_file_limit()
    gc.disable()  # nothing here has cycles, and a collection would look like the server's pause
    load = Load()
    decoder = msgspec.json.Decoder(Order)
    for line in sys.stdin.buffer:
        try:
            answer = load.carry_out(decoder.decode(line))
        except (LoadError, OSError) as error:
            answer = Failed(str(error))
        _tell(answer)


def _tell(answer: Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def _percentile(ordered: list[int], part: float) -> float:
    """In seconds, of ascending nanoseconds; 0 of none."""
    return ordered[int(part * (len(ordered) - 1))] / 1e9 if ordered else 0.0


def _read(order: Read) -> ReadDone:
    """One reader after the other, each from connecting to `ready`."""
    done = ReadDone([], [], 0)
    request = get_request(order.target)
    ready = OURS_READY.encode()
    room = len(MARK) - 1  # in front of what is read: the end of the read before, too short for a mark of its own
    buffer = bytearray(room + _READ_BYTES)
    view = memoryview(buffer)[room:]
    for _ in range(order.times):
        first_at = events = 0
        start = room
        started_at = time.monotonic_ns()
        with connect(order.port) as connection:
            connection.sendall(request)
            is_ready = False
            while not is_ready:
                size = connection.recv_into(view)
                first_at = first_at or time.monotonic_ns()
                end = room + size
                if not size or (start == room and buffer[room + 8 : room + 12] != b" 200"):
                    raise LoadError(f"a stream was refused or closed: {bytes(buffer[room : min(end, 400)])!r}")
                events += buffer.count(MARK, start, end)
                is_ready = buffer.find(ready, max(start, end - _READY_BYTES), end) >= 0
                start = max(start, end - room)
                buffer[room - (end - start) : room] = buffer[start:end]
                start = room - (end - start)
            ready_at = time.monotonic_ns()
        done.first_byte_seconds.append((first_at - started_at) / 1e9)
        done.ready_seconds.append((ready_at - started_at) / 1e9)
        done.events = events
    return done


if __name__ == "__main__":
    main()
