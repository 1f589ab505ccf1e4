"""What one client may use: open streams, events in a second, failed logins. A client is a token's name, or else an address.

Everything is counted in this process, in memory; what a client has not used for a while is forgotten."""

import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from aiohttp import web

from server.auth.authenticator import principal_of
from server.config import LimitsSection
from towow.errors import TooManyRequests

_MAX_REMEMBERED = 10_000
_BURST_SECONDS = 2.0
_STREAM_RETRY_SECONDS = 5
_WRONG_CREDENTIALS_SECONDS = 1.0


class Clients:
    """Says which client a request is of."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._proxies = frozenset(trusted_proxies)

    def address_of(self, request: web.Request) -> str:
        """The address that a client is counted by: the peer's, or the last one before a trusted proxy; of IPv6 the first 64
        bits."""
        address = request.remote or ""
        if address in self._proxies:
            # Some proxies add a header of their own behind the one that the client may have made up.
            for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", ())).split(",")):
                address = hop.strip() or address
                if address not in self._proxies:
                    break
        return counted_as(address[:64])

    def name_of(self, request: web.Request) -> str:
        """The client: the name of its token, however it came, or its address."""
        principal = principal_of(request)
        return self.address_of(request) if principal.via == "off" else f"token {principal.name}"

    def is_secure(self, request: web.Request) -> bool:
        """Whether the browser speaks TLS, to us or to a trusted proxy."""
        forwarded = request.headers.get("X-Forwarded-Proto", "") if request.remote in self._proxies else ""
        return request.secure or forwarded.strip().lower() == "https"


@lru_cache(maxsize=1024)  # every request asks, and the same clients come again
def counted_as(address: str) -> str:
    """What an address is counted as: itself, or of IPv6 its first 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


class RateLimits:
    """Counts and refuses. Every method raises `TooManyRequests` with the seconds to wait."""

    def __init__(self, config: LimitsSection, clients: Clients, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clients = clients
        self._streams: Counter[str] = Counter()
        self._events = _Buckets(config.publishes_per_second, _BURST_SECONDS, clock)
        self._bytes = _Buckets(config.bytes_per_second, _BURST_SECONDS, clock)
        self._logins = _Buckets(config.logins_per_minute / 60, 60.0, clock)
        self._wrong = _Buckets(config.logins_per_minute / 60, 60.0, clock)

    def address_of(self, request: web.Request) -> str:
        """The address that a client is counted by."""
        return self._clients.address_of(request)

    def client_of(self, request: web.Request) -> str:
        """The client that a request is counted for."""
        return self._clients.name_of(request)

    def open_stream(self, request: web.Request) -> str:
        """Count a stream in; `close_stream` takes the name that this returns."""
        client = self._clients.name_of(request)
        limit = self._config.streams_per_client
        if limit and self._streams[client] >= limit:
            raise TooManyRequests(
                f"this client has {limit} open streams, which is the limit",
                limit=limit,
                retry_after_seconds=_STREAM_RETRY_SECONDS,
            )
        self._streams[client] += 1
        return client

    def close_stream(self, client: str) -> None:
        """Count a stream out."""
        self._streams[client] -= 1
        if self._streams[client] <= 0:
            del self._streams[client]

    def take_events(self, request: web.Request, count: int) -> None:
        """Take `count` events from the client's share."""
        if self._config.publishes_per_second:
            wait = self._events.take(self._clients.name_of(request), count)
            if wait:
                limit = self._config.publishes_per_second
                raise TooManyRequests(
                    f"this client may send {limit} events in a second", limit=limit, retry_after_seconds=math.ceil(wait)
                )

    def take_bytes(self, request: web.Request) -> None:
        """Take the bytes of a body from the client's share; of one that does not say its length `spend_bytes` does it."""
        if self._config.bytes_per_second:
            wait = self._bytes.take(self._clients.name_of(request), request.content_length or 1)
            if wait:
                limit = self._config.bytes_per_second
                raise TooManyRequests(
                    f"this client may send {limit} bytes in a second", limit=limit, retry_after_seconds=math.ceil(wait)
                )

    def spend_bytes(self, request: web.Request) -> None:
        """Take what came of a body that did not say its length."""
        if self._config.bytes_per_second and request.content_length is None:
            self._bytes.spend(self._clients.name_of(request), request.content.total_bytes)

    def delay_of(self, request: web.Request) -> float:
        """Seconds that the refusal of a wrong credential waits: some once its address has sent many; good ones never do."""
        is_often = self._config.logins_per_minute and self._wrong.take(self._clients.address_of(request), 1)
        return _WRONG_CREDENTIALS_SECONDS if is_often else 0.0

    def check_login(self, request: web.Request) -> None:
        """Refuse an address that has failed too often."""
        if self._config.logins_per_minute and not self._logins.has_any(self._clients.address_of(request)):
            raise TooManyRequests("too many failed logins; wait a minute", retry_after_seconds=60)

    def fail_login(self, request: web.Request) -> None:
        """Count a failed login."""
        if self._config.logins_per_minute:
            self._logins.take(self._clients.address_of(request), 1)


LIMITS = web.AppKey("limits", RateLimits)


@contextmanager
def held_open(request: web.Request) -> Iterator[None]:
    """Count a request that waits as an open stream of its client. Raises `TooManyRequests`."""
    limits = request.app[LIMITS]
    client = limits.open_stream(request)
    try:
        yield
    finally:
        limits.close_stream(client)


class _Buckets:
    """Token buckets: so many in a second, and what `burst_seconds` hold at once. The names that came last are remembered.

    More than a whole bucket drains it into debt, when all but one are there: that one was taken with the request."""

    def __init__(self, per_second: float, burst_seconds: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._size = per_second * burst_seconds
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, count: int) -> float:
        """Take, or return the seconds after which it can be tried again."""
        left, now = self._level(name)
        needed = min(count, max(1.0, self._size - 1))
        if left < needed:
            return (needed - left) / self._per_second
        self._left[name] = (left - count, now)
        self._left.move_to_end(name)
        if len(self._left) > _MAX_REMEMBERED:
            self._left.popitem(last=False)
        return 0.0

    def spend(self, name: str, count: int) -> None:
        """Take, into debt if need be."""
        left, now = self._level(name)
        self._left[name] = (left - count, now)

    def has_any(self, name: str) -> bool:
        """Whether one can be taken."""
        return self._level(name)[0] >= 1

    def _level(self, name: str) -> tuple[float, float]:
        now = self._clock()
        left, at = self._left.get(name, (self._size, now))
        return min(self._size, left + (now - at) * self._per_second), now
