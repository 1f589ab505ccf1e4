"""Where a reader begins: from what it asked for to a seq, or to the reason why that place is not in this log.

Cursors are exclusive. A place that is not in this log is said (`reset` to a stream, 410 to a poll), never guessed."""

from typing import Any, NamedTuple

from server.eventlog.log import EventLog
from server.eventlog.selection import Selection
from towow.errors import NotFound


class CursorRequest(NamedTuple):
    """What the request said. `cursor` is a seq, an event_id, or None; `start` is None, `beginning`, `live` or `tail:N`."""

    cursor: int | str | None = None
    epoch: str | None = None
    start: str | None = None
    allow_pending: bool = False


class StartPosition(NamedTuple):
    """Where to begin. `reset` holds the fields of a reset frame when the asked place does not exist.

    `is_over`: the one stream that is followed has ended and the cursor is at its end."""

    cursor: int
    reset: dict[str, Any] | None = None
    is_over: bool = False


async def resolve(log: EventLog, selection: Selection, asked: CursorRequest) -> StartPosition:
    """Turn what was asked into a start. Raises `NotFound` for a single stream that never existed, unless pending is allowed."""
    start = await _place(log, selection, asked)
    name = selection.single
    if name is None or start.reset is not None:
        # A reader whose cursor is from another database is told so, even when its stream does not exist in this one: a 404
        # would make a browser give up for good.
        return start
    info = await log.stream(name)
    if info is None and not asked.allow_pending:
        raise NotFound(f"there is no stream {name}; allow_pending=1 waits for its first event", field="stream")
    is_ended = info is not None and log.is_terminal(name, info.last_event_type)
    return start._replace(is_over=info is not None and is_ended and start.cursor >= info.last_seq)


async def _place(log: EventLog, selection: Selection, asked: CursorRequest) -> StartPosition:
    oldest = log.meta.trimmed_seq
    if asked.cursor is None:
        return StartPosition(await _without_cursor(log, selection, asked.start))
    if asked.epoch is not None and asked.epoch != log.epoch:
        return _reset(log, "other_epoch", asked.cursor)
    if isinstance(asked.cursor, str):
        event = await log.get(event_id=asked.cursor, selection=selection)
        if event is None:
            return _reset(log, "unknown_event_id", asked.cursor)
        seq = event.seq
    else:
        seq = asked.cursor
    if seq > log.head_seq:
        await log.refresh()  # another process may have given this seq a moment ago
    if seq > log.head_seq:
        return _reset(log, "past_head", asked.cursor)
    if seq < oldest:
        return _reset(log, "trimmed", asked.cursor)
    return StartPosition(seq)


async def _without_cursor(log: EventLog, selection: Selection, start: str | None) -> int:
    """The cursor for `start`; entity streams begin at their beginning, patterns and live kinds at the head."""
    if start is None:
        start = "live" if selection.starts_live else "beginning"
    if start == "beginning":
        return 0
    head = log.head_seq
    if start == "live":
        return head
    newest = await log.read_newest(selection, int(start.removeprefix("tail:")))
    return newest[0].seq - 1 if newest else head


def _reset(log: EventLog, reason: str, requested: int | str) -> StartPosition:
    oldest = log.meta.trimmed_seq
    fields = {"reason": reason, "requested": requested, "oldest_seq": oldest + 1, "head_seq": log.head_seq, "epoch": log.epoch}
    return StartPosition(oldest, fields)
