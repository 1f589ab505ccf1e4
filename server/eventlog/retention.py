"""Retention: which streams are trimmed, and how. Off by default; whole streams, ended ones, the oldest end first.

A pass is one short transaction: gaps take the place of at most 1,000 streams' events, and `log.trimmed` on `system:log` says
which, why and what their hash is. A stream of more events than a pass takes goes in several. An open stream is only trimmed
where its kind says so: a prefix (`keep_last`), or all of it when it was quiet for long (`idle_days`); a surface may keep it."""

import asyncio
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any, NamedTuple

import structlog

from server.config import RetentionSection
from server.eventlog.database import INCREMENTAL
from server.eventlog.log import EventLog
from server.eventlog.rows import insert_gaps, read_head
from server.eventlog.trimmed import LOG_TRIMMED, SYSTEM_LOG, TrimmedStream, write_trimmed
from towow.errors import StorageFull, Unavailable
from towow.events import NewEvent, kind_of, new_event, seconds_of

# `keeps(connection, stream)`: whether a surface still needs the events of a stream of its kind.
Keeps = Callable[[Any, str], bool]

_STREAMS_PER_PASS = 1_000
_EVENTS_PER_PASS = 1_000  # rows of one transaction, so that publishers wait milliseconds
_ROWS_PER_READ = 20_000  # looked at by one read
_STREAMS_PER_READ = 2_000
_DUE_AT_ONCE = 20_000  # streams that one look finds
_PASS_REST = 1.0  # of a pass's time, left to publishers after it
_ROW_BYTES = 250  # of an event in the file, about, besides its payload
_DAY_SECONDS = 86_400
_FREE_SHARE = 0.1  # of the file's pages that may stay free for what comes
_VACUUM_PAGES = 256  # given back by one step
_log = structlog.get_logger("towow.retention")


class DueStream(NamedTuple):
    """A stream to trim up to a seq (inclusive), and why. `is_whole`: that is its last event, and all of it goes."""

    stream: str
    through_seq: int
    cause: str
    is_whole: bool = True


class Trimmed(NamedTuple):
    """What a round has removed, or would: streams that are gone, and events."""

    streams: int
    events: int


class _Row(NamedTuple):
    seq: int
    revision: int
    event_type: str
    timestamp: str
    digest: bytes


class EndedStreams:
    """The streams that have ended, in the order of their ends: 32 bytes for each, found by reading the log once and on."""

    def __init__(self, is_terminal: Callable[[str, str], bool], *, measures: bool) -> None:
        self.events = 0  # of all of them; not counted without `measures`
        self.bytes = 0
        self._through = 0
        self._is_terminal = is_terminal
        self._measures = measures
        self._seqs, self._times = array("q"), array("d")
        self._events, self._bytes = array("q"), array("q")

    def read(self, db: Any, through: int) -> bool:
        """Look at the next 20,000 rows up to a seq; False when there are no more."""
        sql = "SELECT seq, stream, event_type, timestamp FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        found = db.execute(sql, (self._through, through, _ROWS_PER_READ)).fetchall()
        for seq, stream, event_type, timestamp in found:
            if self._is_terminal(stream, event_type):
                events, size = _measure(db, stream) if self._measures else (0, 0)
                self._seqs.append(seq)
                self._times.append(seconds_of(timestamp))
                self._events.append(events)
                self._bytes.append(size)
        has_more = len(found) == _ROWS_PER_READ
        self._through = found[-1][0] if has_more else through
        self._sum()
        return has_more

    def over(self, before: float, max_events: int, max_bytes: int) -> Iterator[tuple[int, str]]:
        """The ends of streams that are over a limit, with the cause: older than `before` (seconds since 1970, 0 none), then,
        oldest end first, as many as it takes to come down to `max_events` and `max_bytes` (0 none)."""
        events, size = self.events, self.bytes
        for index, seq in enumerate(self._seqs):
            if before and self._times[index] < before:
                events, size = events - self._events[index], size - self._bytes[index]
                yield seq, "age"
        for index, seq in enumerate(self._seqs):
            cause = "events" if max_events and events > max_events else "bytes" if max_bytes and size > max_bytes else ""
            if not cause:
                return
            if not before or self._times[index] >= before:
                events, size = events - self._events[index], size - self._bytes[index]
                yield seq, cause

    def drop(self, ends: Set[int]) -> None:
        """Forget the streams that ended at these seqs."""
        kept = [index for index, seq in enumerate(self._seqs) if seq not in ends]
        self._seqs = array("q", [self._seqs[index] for index in kept])
        self._times = array("d", [self._times[index] for index in kept])
        self._events = array("q", [self._events[index] for index in kept])
        self._bytes = array("q", [self._bytes[index] for index in kept])
        self._sum()

    def _sum(self) -> None:
        self.events, self.bytes = sum(self._events), sum(self._bytes)


class Retention:
    """Trims one log by its settings. `keeps` has a surface's veto for the kinds that have one."""

    def __init__(self, log: EventLog, config: RetentionSection, keeps: Mapping[str, Keeps] | None = None) -> None:
        self._log = log
        self._config = config
        self._keeps = keeps or {}
        self._has_limits = bool(config.max_age_days or config.max_events or config.max_bytes)
        self._ended = EndedStreams(log.is_terminal, measures=bool(config.max_events or config.max_bytes))
        self._vetoed: set[str] = set()  # in this round

    async def run(self) -> None:
        """Trim now and then every `check_interval_seconds`; returns at once when nothing is limited."""
        while self._has_limits or self._config.kinds:
            try:
                removed = await self.trim()
                if removed.events:
                    _log.info("trimmed", streams=removed.streams, events=removed.events, oldest_seq=self._log.meta.oldest_seq)
                await give_back(self._log)
            except (Unavailable, StorageFull) as error:
                _log.warning("trim_failed", error=error.message)
            except Exception:
                _log.exception("trim_failed")
            await asyncio.sleep(self._config.check_interval_seconds)

    async def trim(self) -> Trimmed:
        """Remove what is over the limits, pass by pass; returns what that was."""
        streams = events = 0
        self._vetoed.clear()
        while found := await self.find_due():
            due: Sequence[DueStream] = found
            while due:
                started_at = time.monotonic()
                removed, due = await self._pass(due)
                streams, events = streams + removed.streams, events + removed.events
                await asyncio.sleep((time.monotonic() - started_at) * _PASS_REST)
        await self._say_whether_reached()
        return Trimmed(streams, events)

    async def find_due(self) -> list[DueStream]:
        """Streams that are over a limit now, in the order in which they go; at most 20,000, so ask again after those."""
        log, config = self._log, self._config
        log.clock_watch.look((await log.refresh_meta()).clock_confirmed_at)
        head_seq = log.head_seq
        is_sure = log.clock_watch.doubt is None
        due: list[DueStream] = []
        if self._has_limits:
            while await log.query(partial(self._ended.read, through=head_seq)):
                pass
            before = log.clock() - config.max_age_days * _DAY_SECONDS if config.max_age_days and is_sure else 0.0
            due += await log.query(partial(self._over_limits, before=before, head_seq=head_seq))
        for kind, limits in config.kinds.items():
            before = log.clock() - limits.idle_days * _DAY_SECONDS if limits.idle_days and is_sure else 0.0
            after: str | None = f"{kind}:"
            while after is not None and len(due) < _DUE_AT_ONCE:
                look = partial(_over_kind, kind=kind, keep_last=limits.keep_last, before=before, after=after)
                found, after = await log.query(look)
                due += [each for each in found if each.through_seq < head_seq]
        return [each for each in due if each.stream not in self._vetoed and each.stream != SYSTEM_LOG]

    def _over_limits(self, db: Any, before: float, head_seq: int) -> list[DueStream]:
        """Streams that have ended and are over a limit; what another process has trimmed meanwhile is forgotten."""
        due: list[DueStream] = []
        gone: set[int] = set()
        for seq, cause in self._ended.over(before, self._config.max_events, self._config.max_bytes):
            row = db.execute("SELECT stream FROM events WHERE seq = ?", (seq,)).fetchone()
            if row is None:
                gone.add(seq)
            elif seq < head_seq and row[0] not in self._vetoed:
                due.append(DueStream(row[0], seq, cause))
            if len(due) == _DUE_AT_ONCE:
                break
        if gone:
            self._ended.drop(gone)
        return due

    async def _pass(self, due: Sequence[DueStream]) -> tuple[Trimmed, Sequence[DueStream]]:
        """One transaction; returns what it removed, and what is left to do."""
        taken: list[int] = []
        receipts = await self._log.append_prepared(partial(self._remove, due=due, taken=taken))
        done = due[: taken[0]]
        self._ended.drop({each.through_seq for each in done if each.is_whole and each.stream not in self._vetoed})
        said = receipts[0].event.payload if receipts else {"streams": 0, "events": 0}
        return Trimmed(said["streams"], said["events"]), due[taken[0] :]

    def _remove(self, db: Any, due: Sequence[DueStream], taken: list[int]) -> list[NewEvent]:
        """Put gaps in the place of the first streams that are due, all for one cause, and return the event that says so.

        How many of them are done with is put into `taken`: the last one may have had more events than a pass takes."""
        removed: list[tuple[int, bytes]] = []
        trimmed: list[TrimmedStream] = []
        count = whole = 0
        for each in due[:_STREAMS_PER_PASS]:
            left = _EVENTS_PER_PASS - len(removed)
            if not left or each.cause != due[0].cause:
                break
            rows = self._rows(db, each, left)
            if rows:
                last = rows[-1]
                removed += [(row.seq, row.digest) for row in rows]
                trimmed.append(TrimmedStream(each.stream, last.seq, last.revision, last.event_type, last.timestamp))
            if rows and len(rows) == left and rows[-1].seq < each.through_seq:
                break  # there is more of it
            count += 1
            whole += bool(rows) and each.is_whole
        taken.append(count)
        if not removed:
            return []
        removed.sort()
        event_seq = read_head(db).seq + 1
        sha256 = insert_gaps(db, removed, event_seq)
        write_trimmed(db, trimmed)
        db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq, _ in removed]).close()
        db.execute("UPDATE log_meta SET trimmed_seq = max(trimmed_seq, ?)", (removed[-1][0],)).close()
        payload = {
            "cause": due[0].cause,
            "streams": whole,
            "events": len(removed),
            "from_seq": removed[0][0],
            "through_seq": removed[-1][0],
            "sha256": sha256,
        }
        return [new_event(SYSTEM_LOG, LOG_TRIMMED, payload, source="retention")]

    def _rows(self, db: Any, due: DueStream, limit: int) -> list[_Row]:
        """The rows of a stream to remove; none when its surface keeps it, or when it has gone on."""
        keeps = self._keeps.get(kind_of(due.stream))
        if keeps is not None and keeps(db, due.stream):
            self._vetoed.add(due.stream)
            return []
        if due.is_whole:
            last_seq = db.execute("SELECT max(seq) FROM events WHERE stream = ?", (due.stream,)).fetchone()[0]
            if last_seq != due.through_seq:
                return []
        sql = (
            "SELECT seq, revision, event_type, timestamp, digest FROM events WHERE stream = ? AND seq <= ? ORDER BY seq LIMIT ?"
        )
        return [_Row(*row) for row in db.execute(sql, (due.stream, due.through_seq, limit)).fetchall()]

    async def _say_whether_reached(self) -> None:
        """Say so when a limit is below what may not be trimmed."""
        config, kept = self._config, self._ended
        over: list[str] = []
        if config.max_events:
            count = await self._log.query(lambda db: int(db.execute("SELECT count(*) FROM events").fetchone()[0]))
            if count - kept.events > config.max_events or kept.events > config.max_events:
                over.append(f"max_events = {config.max_events}, and {count} are kept")
        if config.max_bytes:
            size = await self._log.query(used_bytes)
            if size - kept.bytes > config.max_bytes or kept.bytes > config.max_bytes:
                over.append(f"max_bytes = {config.max_bytes}, and {size} are used")
        what = f"retention cannot reach {'; '.join(over)}: streams that have not ended are not trimmed" if over else None
        self._log.warn("retention", what)


async def trim(log: EventLog, config: RetentionSection, keeps: Mapping[str, Keeps] | None = None) -> int:
    """Remove what is over the limits once; returns the number of events."""
    return (await Retention(log, config, keeps).trim()).events


async def give_back(log: EventLog) -> int:
    """Give free pages back to the disk, a few at a time, but for some that new events take; returns how many.

    Nothing for a file of an earlier release until `compact` has rewritten it."""
    given = 0
    while pages := await log.write(_vacuum_some):
        given += pages
        await asyncio.sleep(0.01)
    return given


def _vacuum_some(db: Any) -> int:
    if db.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
        return 0
    pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    if free < max(pages * _FREE_SHARE, _VACUUM_PAGES):
        return 0
    db.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    return int(pages - db.execute("PRAGMA page_count").fetchone()[0])


def used_bytes(db: Any) -> int:
    """Bytes of the file's pages that hold something."""
    pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def _measure(db: Any, stream: str) -> tuple[int, int]:
    """Events and bytes of a stream, about."""
    sql = "SELECT count(*), coalesce(sum(length(CAST(payload AS BLOB))), 0) FROM events WHERE stream = ?"
    count, size = db.execute(sql, (stream,)).fetchone()
    return count, size + count * _ROW_BYTES


def _over_kind(db: Any, kind: str, keep_last: int, before: float, after: str) -> tuple[list[DueStream], str | None]:
    """Of the next streams of a kind by name, those with more than `keep_last` events, or quiet since `before` (0 neither).

    And the name to go on after, None when there are no more."""
    due: list[DueStream] = []
    for _ in range(_STREAMS_PER_READ):
        sql = "SELECT min(stream) FROM events WHERE stream > ? AND stream < ?"
        (name,) = db.execute(sql, (after, f"{kind};")).fetchone()
        if name is None:
            return due, None
        after = name
        sql = "SELECT seq, timestamp FROM events WHERE stream = ? ORDER BY seq DESC LIMIT 1"
        seq, timestamp = db.execute(sql, (name,)).fetchone()
        if before and seconds_of(timestamp) < before:
            due.append(DueStream(name, seq, "idle"))
        elif keep_last:
            sql = "SELECT seq FROM events WHERE stream = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
            row = db.execute(sql, (name, keep_last)).fetchone()
            if row is not None:
                due.append(DueStream(name, row[0], "keep_last", is_whole=False))
    return due, after
