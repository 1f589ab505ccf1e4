"""Decide and append: fold a stream, decide, append at the revision that was read, and decide again when the race was lost.

This is how every surface writes. Rules stay pure functions of state and command; this loop is the only place that knows
that somebody else may have been faster."""

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from server.eventlog.log import EventLog, Receipt
from server.eventlog.selection import select
from towow.errors import RevisionMismatch
from towow.events import Event, NewEvent

S = TypeVar("S")

_MAX_ATTEMPTS = 200  # each lost race means that somebody else's command went through


async def fold(log: EventLog, stream: str, initial: S, evolve: Callable[[S, Event], S], *, after: int = 0) -> S:
    """The state of a stream: `evolve` over every announced event with a seq after `after`, in order."""
    state, cursor, selection = initial, after, select((stream,))
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
    *,
    after: int = 0,
) -> tuple[S, list[Receipt]]:
    """Append what `decide(state)` returns, all or none, and return the state after it with the receipts.

    `decide` raises what the rules say (`Conflict`, …); an empty list appends nothing. When the stream has moved since it was
    read, everything is read and decided again. Events for other streams go with them, as they are. Raises
    `RevisionMismatch` after two hundred lost races. Where the state is kept elsewhere, `initial` is that state and `after` its
    seq: only what came later is read."""
    for attempt in range(_MAX_ATTEMPTS):
        state = await fold(log, stream, initial, evolve, after=after)
        new = list(decide(state))
        if not new:
            return state, []
        try:
            receipts = await log.append(place(new, stream, revision_of(state)))
        except RevisionMismatch:
            if attempt == _MAX_ATTEMPTS - 1:
                raise
            await log.refresh()  # the winner may be another process
            continue
        for receipt in receipts:
            if receipt.event.stream == stream:
                state = evolve(state, receipt.event)
        return state, receipts
    raise AssertionError("unreachable")


def place(events: Sequence[NewEvent], stream: str, revision: int) -> list[NewEvent]:
    """The events, those of `stream` to be appended right after `revision` and nowhere else."""
    expected = itertools.count(revision)
    return [
        msgspec.structs.replace(event, expected_revision=next(expected)) if event.stream == stream else event
        for event in events
    ]
