"""Load, decide, append: every command of every surface is written here, and decided again when the race was lost.

Rules stay pure functions of state and command; this loop is the only place that knows that another writer may be faster."""

import itertools
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any, Protocol, TypeVar

import msgspec

from server.eventlog.command_key import carried_out, stamped
from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.eventlog.writer import Receipt
from towow.errors import Gone, RevisionMismatch, TowowError
from towow.events import Event, NewEvent


class Placed(Protocol):
    """A state that knows its place: the seq that it is true at."""

    @property
    def last_seq(self) -> int:
        """The seq of the newest event that it is folded from, 0 for none."""
        ...


S = TypeVar("S")
P = TypeVar("P", bound=Placed)
Load = Callable[[], Awaitable[S]]

_MAX_ATTEMPTS = 200  # each lost race means that another command went through


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


def from_row(log: EventLog, stream: str, read: Callable[[Any], P], evolve: Callable[[P, Event], P]) -> Load[P]:
    """Load a state with `read(connection)` from the row that is written with the events, and fold what the row leaves out.

    Raises `Gone`, with what is known, for a stream that has no row, and of which retention has left nothing."""

    async def load() -> P:
        state = await log.query(read)
        state = await fold(log, stream, state, evolve, after=state.last_seq)
        gone = None if state.last_seq else await log.trimmed_stream(stream)
        if gone is not None:
            known = {"revision": gone.revision, "outcome": gone.event_type, "ended_at": gone.timestamp}
            raise Gone(f"{stream} is not kept any more", field="stream", stream=stream, **known)
        return state

    return load


def known(state: S) -> Load[S]:
    """Take a state that is here already, and read nothing."""

    async def load() -> S:
        return state

    return load


async def decide_and_append(
    log: EventLog,
    stream: str,
    load: Load[S],
    decide: Callable[[S], Sequence[NewEvent]],
    evolve: Callable[[S, Event], S] | None = None,
    *,
    revision_of: Callable[[S], int] | None = attrgetter("revision"),
    attempts: int = _MAX_ATTEMPTS,
    has_own_ids: bool = False,
) -> tuple[S, list[Receipt]]:
    """Append what `decide(state)` returns, all or none, and return the state after it with the receipts.

    `decide` raises what the rules say (`Conflict`, …); an empty list appends nothing. When the stream has moved since it was
    read, or another process's events may turn a no into a yes, everything is loaded and decided again; raises
    `RevisionMismatch` after `attempts` lost races. Events for other streams go with them, as they are. Without `evolve` the
    state is returned as it was decided on. Without `revision_of` the events are appended wherever the stream ends by then: for
    what no other event can forbid, and for a single writer.

    A command that has been carried out before (`command_key.py`) is not decided again: its events are returned as they are
    stored, with the state as it is now. `has_own_ids`: its events may have ids of their own; each is recognised by its id."""
    for attempt in range(attempts):
        before = await carried_out(log, stream)
        if before and not has_own_ids:
            return await _now(log, stream, load, evolve), [Receipt(event, False) for event in before]
        head_seq = log.head_seq
        state = await load()
        try:
            new = list(decide(state))
        except TowowError as error:
            if attempt == attempts - 1 or await log.confirms(error, head_seq):
                raise
            continue
        if not new:
            return state, []
        try:
            new = stamped(new)
            receipts = await log.append(new if revision_of is None else _place(new, stream, revision_of(state)))
        except RevisionMismatch:
            if attempt == attempts - 1:
                raise
            await log.refresh()  # the winner may be another process
            continue
        if evolve is not None:
            for receipt in receipts:
                if receipt.event.stream == stream:
                    state = evolve(state, receipt.event)
        return state, receipts
    raise AssertionError("unreachable")


async def _now(log: EventLog, stream: str, load: Load[S], evolve: Callable[[S, Event], S] | None) -> S:
    """The state as it is now, whatever `load` begins with."""
    state = await load()
    return state if evolve is None else await fold(log, stream, state, evolve, after=getattr(state, "last_seq", 0))


def _place(events: Sequence[NewEvent], stream: str, revision: int) -> list[NewEvent]:
    """The events, those of `stream` to be appended right after `revision` and nowhere else."""
    expected = itertools.count(revision)
    return [
        msgspec.structs.replace(event, expected_revision=next(expected)) if event.stream == stream else event
        for event in events
    ]
