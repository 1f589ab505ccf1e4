"""Tickets: what a client that cannot send headers puts into a URL, so each is good once, for its streams, and for a minute.

They are in memory, as their SHA-256, and of this process alone: a restart forgets those that nobody has used."""

import hashlib
import math
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable

from server.auth.principal import Principal
from towow.errors import TooManyRequests

_MAX_TICKETS = 10_000
_MAX_TICKETS_EACH = 1_000  # of one client, so that none can use up all of them
_MAX_CHARACTERS = 64


class Tickets:
    """The tickets that nobody has used yet; `len` says how many."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._open: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()  # with the time until which each is good
        self._held: Counter[str] = Counter()  # of each client

    def __len__(self) -> int:
        return len(self._open)

    def issue(self, principal: Principal, streams: tuple[str, ...]) -> tuple[str, float]:
        """A ticket that lets its bearer read these streams, once, and when it expires.

        Raises `Forbidden` beyond his scopes, and `TooManyRequests` when he does not use those that he has."""
        principal.require_read(streams)
        now = self._clock()
        while self._open:  # in the order in which they end
            key, (_, ends_at) = next(iter(self._open.items()))
            if ends_at > now:
                break
            self._take(key)
        if self._held[principal.name] >= _MAX_TICKETS_EACH or len(self._open) >= _MAX_TICKETS:
            raise TooManyRequests("too many tickets that nobody has used yet", retry_after_seconds=math.ceil(self._seconds))
        ticket = secrets.token_urlsafe(24)
        good_until = now + self._seconds
        bearer = Principal(principal.name, read=streams, expires_at=principal.expires_at, via="ticket")
        self._open[_key_of(ticket)] = (bearer, good_until)
        self._held[principal.name] += 1
        return ticket, good_until

    def redeem(self, ticket: str) -> Principal | None:
        """Whom a ticket lets in, once; None when it is not good."""
        if len(ticket) > _MAX_CHARACTERS or not ticket.isascii():
            return None
        found = self._take(_key_of(ticket))
        return found[0] if found is not None and found[1] > self._clock() else None

    def _take(self, key: bytes) -> tuple[Principal, float] | None:
        found = self._open.pop(key, None)
        if found is not None:
            self._held[found[0].name] -= 1
            if not self._held[found[0].name]:
                del self._held[found[0].name]
        return found


def _key_of(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
