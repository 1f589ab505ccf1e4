"""The terms of duties: which process does a piece of work for all, and the number that fences those who did it before.

A duty's term grows by one whenever a process takes it. What is appended for a duty carries the term, and the write transaction
refuses it (`Superseded`) when the file has a later one. So a process that was stopped for a while cannot act as if it had not
been."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from towow.errors import TowowError


class DutyTerm(NamedTuple):
    """The right to do a piece of work: its name, and the number of the term that it was taken in."""

    duty: str
    number: int


class Holder(NamedTuple):
    """Who took a duty last, by the name of its process, in which term, and when."""

    number: int
    process: str
    since: str


class Superseded(TowowError):
    """Raised by an append for a duty that another process has taken over; nothing is stored. It never reaches a client."""


def read_terms(db: Any) -> Mapping[str, Holder]:
    """Who took which duty last."""
    return {duty: Holder(*rest) for duty, *rest in db.execute("SELECT duty, term, holder, since FROM terms")}


def take_term(db: Any, duty: str, after: int, process: str, now: str) -> DutyTerm | None:
    """Take a duty whose last known term is `after` (0: nobody had it); None when another process was faster."""
    taken = db.execute(
        "INSERT INTO terms VALUES (?1, ?2 + 1, ?3, ?4)"
        " ON CONFLICT (duty) DO UPDATE SET term = excluded.term, holder = excluded.holder, since = excluded.since"
        " WHERE term = ?2 RETURNING term",
        (duty, after, process, now),
    ).fetchall()
    return DutyTerm(duty, taken[0][0]) if taken else None


def require_term(db: Any, term: DutyTerm) -> None:
    """Raise `Superseded` unless a term is the last one of its duty. Inside the transaction that acts for it."""
    row = db.execute("SELECT term FROM terms WHERE duty = ?", (term.duty,)).fetchone()
    if row is None or row[0] != term.number:
        raise Superseded(f"another process has taken over: {term.duty} is in term {row and row[0]}, not {term.number}")
