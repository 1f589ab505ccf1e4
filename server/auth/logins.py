"""Logins that were ended before their time, in the file: so a logout holds at every process from its answer on."""

from functools import partial
from typing import Any

from server.eventlog.database import immediate
from server.eventlog.log import EventLog


class Logins:
    """The ended logins of one log; what would have expired by itself is forgotten."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def end(self, login: str, until: float) -> None:
        """End a login that would have lasted `until`, in seconds since 1970. Raises `StorageFull` and `Unavailable`."""
        await self._log.write(partial(_end, login=login, until=int(until) + 1, now=int(self._log.clock())))

    async def has_ended(self, login: str) -> bool:
        """Whether a login was ended, at whichever process."""
        sql = "SELECT 1 FROM ended_logins WHERE login = ?"
        return await self._log.query(lambda db: db.execute(sql, (login,)).fetchone() is not None)


def _end(db: Any, login: str, until: int, now: int) -> None:
    with immediate(db):
        db.execute("DELETE FROM ended_logins WHERE until < ?", (now,)).close()
        db.execute("INSERT OR IGNORE INTO ended_logins VALUES (?, ?)", (login, until)).close()
