"""Before a database is opened: whether it still has everything that it had, by its mark and by its write-ahead log.

Nothing here changes the file: SQLite recovers, checkpoints and deletes a write-ahead log without a word about what it could not
read, so what tells of a loss has to be looked at first. A loss is refused, and accepted by its number only: the log then goes
on in a new epoch, with the lost seqs as a gap, so that no seq is ever given twice."""

import secrets
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from server.eventlog.engine import error_code, sqlite3
from server.eventlog.mark import Mark, mark_path, read_mark
from server.eventlog.rows import NO_DIGEST, Head, insert_gap, read_digest, read_head, read_histories
from server.eventlog.wal import find_break
from towow.errors import HistoryLost

_log = structlog.get_logger("towow.recovery")


class Loss(NamedTuple):
    """What is missing: `what` says it to the operator, `head_seq` is the head that is lost, the number that accepts it."""

    what: str
    head_seq: int


def require_whole(path: Path, open_read_only: Any, accept_loss: int | None) -> Loss | None:
    """Compare a database with its mark and its write-ahead log, before anybody opens it for writing.

    Returns the loss that `accept_loss` accepts, or None. Raises `HistoryLost` for every other. `open_read_only` opens a plain
    connection that cannot write."""
    if not path.is_file() or not path.stat().st_size:
        wal = Path(f"{path}-wal")
        if wal.is_file() and wal.stat().st_size:
            raise HistoryLost(f"there is {wal} without its database; put the database back, or move that file away")
        loss = _loss_of_all(path, read_mark(path))
    else:
        loss = _find_loss(path, open_read_only)
    if loss is None:
        if accept_loss is not None:
            _log.warning("nothing_lost", hint="--accept-loss has no effect: leave it out")
        return None
    if accept_loss != loss.head_seq:
        raise HistoryLost(
            f"{path} has lost history: {loss.what}. Restore a newer copy; or go on without it, in a new epoch, with"
            f" --accept-loss={loss.head_seq}"
        )
    _keep_evidence(path, loss)
    return loss


def accept(db: Any, loss: Loss) -> None:
    """Go on without what is lost: a new epoch after the last event that is left, and a gap in the place of the lost seqs."""
    db.execute("BEGIN IMMEDIATE")
    try:
        head = read_head(db)
        db.execute("INSERT OR REPLACE INTO histories (epoch, from_seq) VALUES (?, ?)", (secrets.token_hex(8), head.seq + 1))
        if loss.head_seq > head.seq:
            insert_gap(db, head.seq + 1, loss.head_seq, head.digest, None)
            db.execute("INSERT INTO sqlite_sequence SELECT 'events', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence)")
            db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", (loss.head_seq,))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    _log.warning("loss_accepted", what=loss.what, head_seq=loss.head_seq)


def differs_from_mark(db: Any, mark: Mark) -> str | None:
    """What a database lacks of what its mark says, in words; None when it has everything."""
    head = read_head(db)
    if mark.head.seq > head.seq:
        return _missing(head.seq + 1, mark.head.seq)
    if mark.epoch not in read_histories(db).epochs:
        return f"the mark {mark.epoch} is of another log, with seq {mark.head.seq} as its head"
    digest = read_digest(db, mark.head.seq) if mark.head.seq else NO_DIGEST
    if digest is not None and digest != mark.head.digest:
        return f"the event at seq {mark.head.seq} is not the one that was written: the file is a copy that went its own way"
    return None


def _missing(first: int, last: int) -> str:
    return f"seq {last} is missing" if first == last else f"seqs {first} to {last} are missing"


def _loss_of_all(path: Path, mark: Mark | None) -> Loss | None:
    if mark is None or not mark.head.seq:
        return None
    return Loss(f"the file is gone, and its mark {mark_path(path)} says that {_missing(1, mark.head.seq)}", mark.head.seq)


def _find_loss(path: Path, open_read_only: Any) -> Loss | None:
    broken = find_break(Path(f"{path}-wal"))
    mark = read_mark(path)
    head = Head(0, NO_DIGEST)
    with closing(open_read_only(path)) as db:
        try:
            head = read_head(db)
            what = differs_from_mark(db, mark) if mark is not None else None
        except sqlite3.OperationalError as error:
            if error_code(error) != 1:
                raise
            head = Head(_older_head(db), NO_DIGEST)  # no such table: an earlier version, or another program's
            is_behind = mark is not None and mark.head.seq > head.seq
            what = _missing(head.seq + 1, mark.head.seq) if mark is not None and is_behind else None
        else:
            if mark is None:
                hint = "it is made now; whether this file is older than it was cannot be told"
                _log.warning("no_mark", database=str(path), expected=str(mark_path(path)), hint=hint)
    if broken is not None:
        behind = f"the write-ahead log is broken at frame {broken.frame}, and {broken.transactions} whole transactions follow"
        what = f"{behind}; {what}" if what else behind
    return None if what is None else Loss(what, max(head.seq, mark.head.seq if mark is not None else 0))


def _older_head(db: Any) -> int:
    """The highest seq of a log of an earlier version; 0 for what is no log."""
    try:
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(row[0]) if row else 0


def _keep_evidence(path: Path, loss: Loss) -> None:
    """Keep the write-ahead log as it was found: SQLite is about to overwrite it."""
    wal = Path(f"{path}-wal")
    if wal.is_file() and wal.stat().st_size:
        kept = Path(f"{path}-wal.lost-{loss.head_seq}")
        shutil.copyfile(wal, kept)
        _log.warning("wal_kept", file=str(kept))
