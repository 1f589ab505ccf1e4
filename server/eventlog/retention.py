"""Retention: trim the oldest events by age, number or size, when asked to. Never renumbers, keeps every stream's last event."""

import asyncio
from functools import partial
from typing import Any

import structlog

from server.config import RetentionSection
from server.eventlog.log import EventLog
from server.eventlog.rows import insert_gaps
from towow.events import timestamp_of

_EVENTS_PER_STEP = 2_000  # rows of one transaction, so that publishers wait milliseconds
_DAY_SECONDS = 86_400
_log = structlog.get_logger("towow.retention")


async def run_retention(log: EventLog, config: RetentionSection) -> None:
    """Trim now and then every `check_interval_seconds`; returns at once when nothing is limited."""
    if not (config.max_age_days or config.max_events or config.max_bytes):
        return
    while True:
        try:
            removed = await trim(log, config)
            if removed:
                _log.info("trimmed", events=removed, oldest_seq=log.meta.trimmed_seq + 1)
        except Exception:
            _log.exception("trim_failed")
        await asyncio.sleep(config.check_interval_seconds)


async def trim(log: EventLog, config: RetentionSection) -> int:
    """Remove what is over the limits, in short transactions; returns the number of events removed."""
    before = timestamp_of(log.clock() - config.max_age_days * _DAY_SECONDS) if config.max_age_days else ""
    through = await log.query(lambda db: trim_point(db, config, before))
    removed = 0
    while log.meta.trimmed_seq < through:
        step = min(through, log.meta.trimmed_seq + _EVENTS_PER_STEP)
        removed += await log.write(partial(_remove, through=step))
        await log.refresh_meta()
    return removed


def trim_point(db: Any, config: RetentionSection, before: str) -> int:
    """The highest seq that is over a limit, 0 when nothing is. `before`: timestamps older than this are too old ("" none)."""
    low, high, count = db.execute("SELECT min(seq), max(seq), count(*) FROM events").fetchone()
    if not count:
        return 0
    through = 0
    if config.max_events and count > config.max_events:
        row = db.execute("SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?", (config.max_events,)).fetchone()
        through = row[0]
    if config.max_bytes:
        pages = db.execute("PRAGMA page_count").fetchone()[0] - db.execute("PRAGMA freelist_count").fetchone()[0]
        size = pages * db.execute("PRAGMA page_size").fetchone()[0]
        if size > config.max_bytes:
            share = 1 - config.max_bytes / size
            # What was kept before as the last of its stream does not count: it may be very old.
            low = max(low, db.execute("SELECT trimmed_seq + 1 FROM log_meta").fetchone()[0])
            through = max(through, min(high, low + int((high - low) * share)))
    if before:
        row = db.execute("SELECT seq FROM events WHERE timestamp >= ? ORDER BY seq LIMIT 1", (before,)).fetchone()
        through = max(through, row[0] - 1 if row else high)
    return through


def _remove(db: Any, through: int) -> int:
    """Remove one step and keep gaps in its place. The last event of a stream stays, or its revisions would start again at 1."""
    db.execute("BEGIN IMMEDIATE").close()
    try:
        db.execute("UPDATE log_meta SET trimmed_seq = max(trimmed_seq, ?)", (through,)).close()
        first = through - _EVENTS_PER_STEP
        # What an earlier step kept as the last event of its stream is not the last one any more.
        removed = db.execute(
            "SELECT seq, digest FROM events WHERE seq <= ?2 AND (seq >= ?1 OR stream IN"
            " (SELECT stream FROM events WHERE seq BETWEEN ?1 AND ?2))"
            " AND seq < (SELECT max(later.seq) FROM events AS later WHERE later.stream = events.stream) ORDER BY seq",
            (first, through),
        ).fetchall()
        insert_gaps(db, removed)
        db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq, _ in removed]).close()
        db.execute("COMMIT").close()
    except BaseException:
        db.execute("ROLLBACK").close()
        raise
    return len(removed)
