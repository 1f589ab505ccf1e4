"""When a call is tried again, and how long the client waits before it: one bounded policy for every request.

Only calls that the server cannot have decided are repeated: those without an answer, and those with a status that means
"later". Every other error is raised at once. A repeated try is a line of the logger `towow.client` and of nothing else: neither
stdout nor the application's settings of other libraries are touched."""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from towow.errors import TowowError
from towow.responses import RETRYABLE_STATUSES, Unreachable

T = TypeVar("T")

_log = logging.getLogger("towow.client")
_log.addHandler(logging.NullHandler())  # else Python prints warnings of a logger without handlers to stderr

_random = random.Random()  # spreads tries; nothing secret  # noqa: S311


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How long a client tries again; all times in seconds. The defaults outlast a restart of the server."""

    total_seconds: float = 30.0
    """No new try begins later than this after the first; 0 tries once."""
    first_wait_seconds: float = 0.1
    """Wait before the second try; doubled for each further one."""
    longest_wait_seconds: float = 5.0
    """Ceiling of a wait, unless the server sent Retry-After."""
    jitter_seconds: float = 0.5
    """Up to this much is added at random, so that clients do not come back together."""
    storage_full: bool = False
    """Also try again after 507: off, because a full disk rarely has room again within `total_seconds`."""
    reconnect_seconds: float = 1.0
    """Base of a follower's wait before it reconnects, until the server sends its own with `retry:`."""
    longest_reconnect_seconds: float = 30.0
    """Ceiling of a follower's wait."""
    silence_seconds: float = 40.0
    """Silence after which a follower reconnects, until `ready` has the server's keepalive."""


async def retried(call: Callable[[], Awaitable[T]], retry: Retry, *, is_repeatable: bool) -> T:
    """Call until a try succeeds, and raise the last one's error; no try begins after `total_seconds`.

    A call that is not repeatable is tried again only when the server certainly did not act on it."""
    deadline = time.monotonic() + retry.total_seconds
    for failures in itertools.count():
        try:
            return await call()
        except TowowError as error:
            wait = _wait_after(error, failures, retry, deadline - time.monotonic())
            if wait is None or not _is_worth_it(error, retry, is_repeatable):
                raise
            _log.info("trying again in %.1f s: %s", wait, error.message)
        await asyncio.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _wait_after(error: TowowError, failures: int, retry: Retry, left_seconds: float) -> float | None:
    """Seconds until the next try: the server's Retry-After, else a doubling backoff; None when no time is left for it."""
    retry_after = float(error.details.get("retry_after_seconds", 0))
    if left_seconds <= 0 or retry_after > left_seconds:
        return None
    backoff = retry.first_wait_seconds * 2 ** min(failures, 64) + _random.uniform(0, retry.jitter_seconds)
    return retry_after or min(backoff, retry.longest_wait_seconds, left_seconds)


def _is_worth_it(error: TowowError, retry: Retry, is_repeatable: bool) -> bool:
    if isinstance(error, Unreachable):
        return is_repeatable or not error.was_sent
    status = error.details.get("status")
    if status == 507:
        return retry.storage_full
    return status in RETRYABLE_STATUSES if is_repeatable else status in (429, 503)
