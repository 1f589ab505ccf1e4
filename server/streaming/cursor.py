"""Where a reader begins: from what it asked for to a seq, or to the reason why that place is not in this log.

Cursors are exclusive. A place that is not in this log is said (`reset` to a stream, 410 to a poll), never guessed: a seq with a
check proves the history that it is from, a bare one is taken at its word within its epoch."""

from typing import Any, NamedTuple

from server.eventlog.log import EventLog
from server.eventlog.selection import Selection
from towow.errors import NotFound
from towow.events import MAX_SEQ, cursor_of


class CursorRequest(NamedTuple):
    """What the request said. `cursor` is a seq, an event_id, or None; `start` is None, `beginning`, `live` or `tail:N`.

    `check` are the digits that prove the history of a seq; without them `epoch` says which history it is of. A route of the
    server may also start `after:SEQ`, which is no cursor that anybody asked for."""

    cursor: int | str | None = None
    epoch: str | None = None
    start: str | None = None
    allow_pending: bool = False
    check: str = ""

    @property
    def requested(self) -> int | str | None:
        """The cursor as it was given."""
        return cursor_of(self.cursor, self.check) if isinstance(self.cursor, int) and self.check else self.cursor


class StartPosition(NamedTuple):
    """Where to begin. `reset` holds the fields of a reset frame when the asked place does not exist.

    `is_over`: the one stream that is followed has ended and the cursor is at its end. `is_gone`: it has ended, and retention
    has removed all of it, more than the reader has. `trimmed_seq`: how far the selection is trimmed; a reader that begins here
    was told, or has not asked for what is missing."""

    cursor: int
    reset: dict[str, Any] | None = None
    is_over: bool = False
    is_gone: bool = False
    trimmed_seq: int = 0


async def resolve(log: EventLog, selection: Selection, asked: CursorRequest) -> StartPosition:
    """Turn what was asked into a start. Raises `NotFound` for a single stream that never existed, unless pending is allowed."""
    start = await _place(log, selection, asked)
    name = selection.single
    if name is None or (start.reset is not None and start.reset["reason"] != "trimmed"):
        # A reader whose cursor is from another database is told so, even when its stream does not exist in this one: a 404
        # would make a browser give up for good.
        return start
    info = await log.stream(name)
    if info is None and not asked.allow_pending:
        raise NotFound(f"there is no stream {name}; allow_pending=1 waits for its first event", field="stream")
    if info is None or not log.is_terminal(name, info.last_event_type):
        return start
    if info.kept or (asked.cursor is not None and start.cursor >= info.last_seq):
        return start._replace(is_over=start.cursor >= info.last_seq)
    known = {"stream": name, "revision": info.revision, "outcome": info.last_event_type, "ended_at": info.updated_at}
    reset = start.reset or trimmed_reset(log, asked.requested, info.last_seq)
    return start._replace(reset={**reset, **known}, is_gone=True, trimmed_seq=info.last_seq)


async def _place(log: EventLog, selection: Selection, asked: CursorRequest) -> StartPosition:
    trimmed_seq = await log.trimmed_through(selection)
    if asked.cursor is None:
        return StartPosition(await _without_cursor(log, selection, asked.start), trimmed_seq=trimmed_seq)
    requested = asked.requested
    parted = log.meta.histories.last_of(asked.epoch) if asked.epoch is not None and not asked.check else MAX_SEQ
    if parted is None:
        return _reset(log, "other_epoch", requested, trimmed_seq)
    if isinstance(asked.cursor, str):
        event = await log.get(event_id=asked.cursor, selection=selection)
        if event is None:
            return _reset(log, "unknown_event_id", requested, trimmed_seq)
        seq = event.seq
    else:
        seq = asked.cursor
    if seq > parted:
        return _reset(log, "other_epoch", requested, trimmed_seq)
    if seq > log.head_seq:
        await log.refresh()  # another process may have given this seq a moment ago
    if seq > log.head_seq:
        return _reset(log, "past_head", requested, trimmed_seq)
    verdict = await log.prove(seq, asked.check) if asked.check else "proven"
    if verdict == "other_history":
        return _reset(log, "other_history", requested, trimmed_seq)
    is_behind = verdict == "trimmed" or seq < trimmed_seq
    reset = trimmed_reset(log, requested, max(seq, trimmed_seq)) if is_behind else None
    return StartPosition(seq, reset, trimmed_seq=trimmed_seq)


async def _without_cursor(log: EventLog, selection: Selection, start: str | None) -> int:
    """The cursor for `start`; entity streams begin at their beginning, patterns and live kinds at the head."""
    if start is None:
        start = "live" if selection.starts_live else "beginning"
    if start == "beginning":
        return 0
    if start.startswith("after:"):
        return int(start.removeprefix("after:"))
    head = log.head_seq
    if start == "live":
        return head
    newest = await log.read_newest(selection, int(start.removeprefix("tail:")))
    return newest[0].seq - 1 if newest else head


def _reset(log: EventLog, reason: str, requested: int | str | None, trimmed_seq: int) -> StartPosition:
    oldest_seq = log.meta.oldest_seq
    fields = {"reason": reason, "requested": requested, "oldest_seq": oldest_seq, "head_seq": log.head_seq, "epoch": log.epoch}
    return StartPosition(oldest_seq - 1, fields, trimmed_seq=trimmed_seq)


def trimmed_reset(log: EventLog, requested: int | str | None, missing_through_seq: int) -> dict[str, Any]:
    """The fields of a reset for a reader that misses events up to a seq (inclusive): what it has stays good.

    `oldest_seq` is where nothing is missing any more."""
    return {
        "reason": "trimmed",
        "requested": requested,
        "missing_through_seq": missing_through_seq,
        "oldest_seq": missing_through_seq + 1,
        "head_seq": log.head_seq,
        "epoch": log.epoch,
    }
