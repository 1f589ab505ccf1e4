"""What is known of streams that retention has trimmed: the table `trimmed_streams`. Pure SQL, no tasks.

A stream loses events from its beginning on, at last all of them. Its row keeps how far it was trimmed, the revision there, so
that revisions go on, and the type of the last event that went: the outcome of a stream that is gone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from server.eventlog.selection import Selection

SYSTEM_LOG = "system:log"  # the stream that is never trimmed
LOG_TRIMMED = "log.trimmed"  # one pass of retention

_COLUMNS = "stream, through_seq, revision, event_type, timestamp"
_MAX = "SELECT max(through_seq) FROM trimmed_streams"


class TrimmedStream(NamedTuple):
    """How far a stream was trimmed: seq, revision, type and time of the last event that is gone.

    Type and time are empty where an earlier release trimmed it."""

    stream: str
    through_seq: int
    revision: int
    event_type: str
    timestamp: str


def read_trimmed(db: Any, stream: str) -> TrimmedStream | None:
    """How far a stream was trimmed, None when it never was. One index seek."""
    row = db.execute(f"SELECT {_COLUMNS} FROM trimmed_streams WHERE stream = ?", (stream,)).fetchone()  # noqa: S608
    return None if row is None else TrimmedStream(*row)


def write_trimmed(db: Any, streams: Sequence[TrimmedStream]) -> None:
    """Keep how far streams were trimmed now."""
    db.executemany(f"REPLACE INTO trimmed_streams ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", streams).close()  # noqa: S608


def trimmed_through(db: Any, selection: Selection) -> int:
    """The highest seq of a selection that was trimmed, 0 for none: a reader before it misses events.

    A seek for each name and each kind. Of event types nothing is known: an event of another type counts as well."""
    found = [0]
    for name in selection.names:
        found += db.execute(f"{_MAX} WHERE stream = ?", (name,)).fetchone()
    for pattern in selection.patterns:
        if pattern == "*":
            found += db.execute("SELECT trimmed_seq FROM log_meta").fetchone()
        else:
            found += db.execute(f"{_MAX} WHERE kind = ?", (pattern.removesuffix(":*"),)).fetchone()
    return max(seq or 0 for seq in found)
