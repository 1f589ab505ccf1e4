"""Work that must be done is tried again for as long as the file cannot be written, with growing pauses.

`await retry_until_writable(do, *, on=(Unavailable, StorageFull))` calls `do()` until it does not raise one of `on`, and
returns its result; everything else it raises goes through at once, as does a cancellation. `do` reads what it needs anew at
each call."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from towow.errors import StorageFull, Unavailable

_RETRY_SECONDS = (0.5, 30.0)  # first and longest pause

T = TypeVar("T")


async def retry_until_writable(
    do: Callable[[], Awaitable[T]], *, on: type[Exception] | tuple[type[Exception], ...] = (Unavailable, StorageFull)
) -> T:
    """Do something again for as long as it raises one of `on`; there is no last attempt. Returns what `do` returned."""
    first, longest = _RETRY_SECONDS
    async for attempt in stamina.retry_context(on=on, attempts=None, timeout=None, wait_initial=first, wait_max=longest):
        with attempt:
            return await do()
    raise AssertionError("unreachable")
