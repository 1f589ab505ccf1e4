"""Events as lines of JSON: out of a log, and into another one, where they get new seqs, revisions and digests."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from server.eventlog.chain import each_event
from server.eventlog.log import EventLog
from server.eventlog.queries import read_meta
from server.eventlog.selection import Selection
from towow.errors import Damaged, InvalidBody, StorageFull, TowowError, Unavailable
from towow.events import SYSTEM, Event, NewEvent, new_event, parse_json

LINES_PER_APPEND = 1_000
_TIMESTAMP = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d\.\d{3}Z\Z", re.ASCII)


class ExportedEvent(msgspec.Struct):
    """One line: the canonical JSON of an event. `seq` and `revision` are those of the log that it came from."""

    stream: str
    event_id: str
    event_type: str
    timestamp: str
    payload: dict[str, Any]
    source: str = "unknown"
    actor: str | None = None
    seq: int = 0


class Refused(NamedTuple):
    """A line that was not imported, counted from 1, and why."""

    line: int
    why: str


class Imported(NamedTuple):
    """What an import has done: events stored, events that were there already, and the lines that were refused."""

    stored: int
    present: int
    refused: list[Refused]


_line = msgspec.json.Decoder(ExportedEvent)


def export_lines(db: Any, selection: Selection, after: int) -> Iterator[tuple[int, bytes] | Damaged]:
    """Every event of a selection after a seq (exclusive), as seq and line; a damaged one is its error, and it goes on."""
    for found in each_event(db, read_meta(db).head_seq, after):
        if isinstance(found, Event):
            if selection.wants(found):
                yield found.seq, found.canonical() + b"\n"
        else:
            yield found


def seq_of_line(line: bytes) -> int:
    """The seq of an exported line. Raises `TowowError` for anything else."""
    return parse_json(line, _line).seq


async def import_lines(
    log: EventLog, lines: Iterable[bytes], max_event_bytes: int, progress: Callable[[int], None] = lambda line: None
) -> Imported:
    """Append the events of exported lines, in their order; those that are there already are not stored again.

    Event_id, type, time, source, actor and payload stay what they were. The server's own streams are left out: they tell of the
    other log. A line that is refused does not stop the others; raises `Unavailable` and `StorageFull`, and can be run again."""
    stored = present = number = 0
    refused: list[Refused] = []
    rest = iter(lines)
    while some := list(islice(rest, LINES_PER_APPEND)):
        events: list[tuple[int, NewEvent]] = []
        for line in some:
            number += 1
            if not line.strip():
                continue
            try:
                event = _read(line, max_event_bytes)
            except TowowError as error:
                refused.append(Refused(number, error.message))
            else:
                if not event.stream.startswith(SYSTEM):
                    events.append((number, event))
        for count, is_new in await _append(log, events, refused):
            stored, present = stored + count * is_new, present + count * (not is_new)
        progress(number)
    return Imported(stored, present, refused)


async def _append(log: EventLog, events: Sequence[tuple[int, NewEvent]], refused: list[Refused]) -> Sequence[tuple[int, bool]]:
    """Append all in one request, and one by one where one of them is refused; how many were stored (True) and there (False)."""
    if not events:
        return ()
    try:
        receipts = await log.append([event for _, event in events])
    except (Unavailable, StorageFull):
        raise
    except TowowError as error:
        if len(events) == 1:
            refused.append(Refused(events[0][0], error.message))
            return ()
        return [each for pair in events for each in await _append(log, [pair], refused)]
    created = sum(receipt.created for receipt in receipts)
    return ((created, True), (len(receipts) - created, False))


def _read(line: bytes, max_event_bytes: int) -> NewEvent:
    given = parse_json(line, _line, field="line")
    if not _TIMESTAMP.match(given.timestamp):
        raise InvalidBody("timestamp must be UTC, ISO-8601 with milliseconds and Z", field="timestamp")
    event = new_event(
        given.stream,
        given.event_type,
        given.payload,
        event_id=given.event_id,
        source=given.source,
        max_event_bytes=max_event_bytes,
    )
    return msgspec.structs.replace(event, timestamp=given.timestamp, actor=given.actor)
