"""Which of the server processes that share a database file acts for all of them: the one that holds a lock beside it.

The kernel gives the lock up when its process dies, however it dies, so there is nothing to time out: the next one that asks
has it. Sequence and revisions never depend on it; it keeps work from being done twice."""

import fcntl
from pathlib import Path
from typing import IO


class LeaderLock:
    """The lock `<database>.<name>`, one for each work that is to be done once. Not taken until `try_take` says so."""

    def __init__(self, database: str, name: str) -> None:
        self._path = Path(f"{database}.{name}")
        self._lock: IO[str] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    def try_take(self) -> bool:
        """Take the lock if nobody has it; never waits. Raises `OSError` when the file cannot be opened."""
        if self._lock is not None:
            return True
        lock = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        """Let the next process have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
