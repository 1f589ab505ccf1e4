"""
Decide and append: fold a stream, decide, append at the revision that was read, and decide again when the race was lost.

This is how every surface writes. Rules stay pure functions of state and command; this loop is the only place that knows
that somebody else may have been faster.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from server.errors import RevisionMismatch
from server.eventlog import EventLog, Receipt
from server.events import Event, NewEvent
from server.selection import select

S = TypeVar("S")

_MAX_ATTEMPTS = 20  # each lost race means that somebody else's command went through


async def fold(log: EventLog, stream: str, initial: S, evolve: Callable[[S, Event], S]) -> S:
    """
    The state of a stream: `evolve` over every announced event, in order.
    """
    state, cursor, selection = initial, 0, select((stream,))
    while True:
        page = await log.read(selection, cursor)
        for event in page.events:
            state = evolve(state, event)
        cursor = page.through_seq
        if cursor >= log.head_seq:
            return state


async def decide_and_append(
    log: EventLog,
    stream: str,
    initial: S,
    evolve: Callable[[S, Event], S],
    decide: Callable[[S], Sequence[NewEvent]],
    revision_of: Callable[[S], int],
) -> tuple[S, list[Receipt]]:
    """
    Append what `decide(state)` returns, all or none, and return the state after it with the receipts.

    `decide` raises what the rules say (`Conflict`, …); an empty list appends nothing. When the stream has moved since it was
    read, everything is read and decided again. Raises `RevisionMismatch` after twenty lost races.
    """
    for attempt in range(_MAX_ATTEMPTS):
        state = await fold(log, stream, initial, evolve)
        new = list(decide(state))
        if not new:
            return state, []
        revision = revision_of(state)
        placed = [msgspec.structs.replace(event, expected_revision=revision + n) for n, event in enumerate(new)]
        try:
            receipts = await log.append(placed)
        except RevisionMismatch:
            if attempt == _MAX_ATTEMPTS - 1:
                raise
            await log.refresh()  # the winner may be another process
            continue
        for receipt in receipts:
            state = evolve(state, receipt.event)
        return state, receipts
    raise AssertionError("unreachable")
