"""When a call is tried again, and how long the client waits before it: one bounded policy for every request.

Only what the server cannot have decided is repeated: no answer, and the statuses that mean "later".
Everything else is the caller's business and is raised at once."""

import time
from collections.abc import AsyncIterator

import msgspec
import stamina

from towow.errors import TowowError
from towow.responses import RETRYABLE_STATUSES, Unreachable


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a client is; all times in seconds. The defaults outlast a restart of the server."""

    total_seconds: float = 30.0
    """No new try begins later than this after the first; 0 tries once."""
    first_wait_seconds: float = 0.1
    """Wait before the second try; doubled for each further one."""
    longest_wait_seconds: float = 5.0
    """Ceiling of a wait that the server did not ask for itself with Retry-After."""
    jitter_seconds: float = 0.5
    """Up to this much is added at random, so that clients do not come back together."""
    storage_full: bool = False
    """Also try again after 507: off, because a full disk rarely has room again within `total_seconds`."""
    reconnect_seconds: float = 1.0
    """Base of a follower's wait before it reconnects, until the server says its own with `retry:`."""
    longest_reconnect_seconds: float = 30.0
    """Ceiling of a follower's wait."""
    silence_seconds: float = 40.0
    """Silence after which a follower reconnects, until `ready` tells the server's keepalive."""


def attempts(retry: Retry, *, is_repeatable: bool) -> AsyncIterator[stamina.Attempt]:
    """Iterate over the tries of one call; each is a context manager, and the last one's error is raised.

    A call that is not repeatable is tried again only when the server certainly did not act on it."""
    deadline = time.monotonic() + retry.total_seconds

    def wait_after(error: Exception) -> bool | float:
        if not isinstance(error, TowowError) or not _is_worth_it(error, retry, is_repeatable):
            return False
        asked = error.details.get("retry_after_seconds")
        if not asked:
            return True
        return False if time.monotonic() + asked > deadline else float(asked)

    return aiter(
        stamina.retry_context(
            on=wait_after,
            attempts=None if retry.total_seconds > 0 else 1,
            timeout=retry.total_seconds or None,
            wait_initial=retry.first_wait_seconds,
            wait_max=retry.longest_wait_seconds,
            wait_jitter=retry.jitter_seconds,
        )
    )


def _is_worth_it(error: TowowError, retry: Retry, is_repeatable: bool) -> bool:
    if isinstance(error, Unreachable):
        return is_repeatable or not error.was_sent
    status = error.details.get("status")
    if status == 507:
        return retry.storage_full
    return status in RETRYABLE_STATUSES if is_repeatable else status in (429, 503)
