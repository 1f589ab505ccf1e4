"""The failures of a language model, as codes that may be logged.

Nothing of a request is kept, because its headers hold the key."""

import email.utils
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

_PASSING_STATUSES = frozenset({408, 409, 425, 429})  # and every 5xx
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?\Z")


class ModelFailed(Exception):
    """Raised when there is no usable answer; `reason` is a code that may be logged.

    Codes: `busy` (no room within the time limit), `timeout`, `unreachable`, `broken` (the connection ended early),
    `status_NNN`, `too_large`, `bad_answer`, `empty_answer`, and of streams `stalled` (nothing came for too long) and
    `upstream_error` (reported by the model). `is_passing` says that the same question may work later."""

    def __init__(self, reason: str, *, is_passing: bool = False, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_passing = is_passing
        self.retry_after_seconds = retry_after_seconds


@contextmanager
def spoken_errors() -> Iterator[None]:
    """Translate errors of the connection into `ModelFailed`."""
    try:
        yield
    except TimeoutError:
        raise ModelFailed("timeout", is_passing=True) from None
    except aiohttp.ClientConnectorError:
        raise ModelFailed("unreachable", is_passing=True) from None
    except (aiohttp.ClientError, OSError):
        raise ModelFailed("broken", is_passing=True) from None


def status_failure(status: int, retry_after_seconds: float | None = None) -> ModelFailed:
    """The failure that a status stands for."""
    is_passing = status in _PASSING_STATUSES or status >= 500
    return ModelFailed(f"status_{status}", is_passing=is_passing, retry_after_seconds=retry_after_seconds)


def refusal(response: aiohttp.ClientResponse) -> ModelFailed:
    """The failure that a response stands for, with the seconds of its `Retry-After`."""
    return status_failure(response.status, seconds_until(response.headers.get("Retry-After", "")))


def seconds_until(retry_after: str) -> float | None:
    """Seconds until a `Retry-After`, which is a number or a date; None without a readable one."""
    if _SECONDS.match(retry_after):
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
