"""One row of the table: medians over the rounds, the ratio round by round, and the target beside it."""

import statistics
from collections.abc import Sequence

import msgspec


class Row(msgspec.Struct, kw_only=True):
    """A measured figure. `ratio` is the median of ours ÷ the other's in the same round; `reached` None where no target
    applies."""

    figure: str
    what: str
    ours: float
    unit: str
    against: str = ""
    other: float | None = None
    ratio: float | None = None
    target: str = ""
    reached: bool | None = None
    note: str = ""
    load_busy: float = 0.0  # the most of the load's core that was used; near 1 the load may be the limit

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        other = "" if self.other is None else f"{_number(self.other)} {self.unit}"
        compared = f"{self.against}: {other}" if other else self.note or self.against
        return (
            self.figure,
            self.what,
            f"{_number(self.ours)} {self.unit}",
            compared,
            "" if self.ratio is None else f"{_number(self.ratio)} ×",
            self.target,
            {True: "yes", False: "no", None: ""}[self.reached],
        )


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A number to reach: of the ratio where there is something to compare with, else of the value itself."""

    at_least: float | None = None
    at_most: float | None = None
    is_ratio: bool = False

    def text(self, unit: str, against: str) -> str:
        """As the table says it."""
        sign, limit = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least or 0.0)
        return f"{sign} {_number(limit)} × {against}".rstrip() if self.is_ratio else f"{sign} {_number(limit)} {unit}"

    def is_reached(self, value: float) -> bool:
        """Whether a ratio or a value is good enough."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


def make_row(
    figure: str,
    what: str,
    ours: Sequence[float],
    unit: str,
    *,
    against: str = "",
    others: Sequence[float] | None = None,
    goal: Goal | None = None,
    is_small: bool = False,
    note: str = "",
    load_busy: float = 0.0,
) -> Row:
    """A row from what each round gave. With `is_small` sizes the target is shown but not judged."""
    ratio = None
    if others:
        ratio = statistics.median(a / b for a, b in zip(ours, others, strict=True) if b) if any(others) else None
    row = Row(
        figure=figure,
        what=what,
        ours=statistics.median(ours),
        unit=unit,
        against=against,
        other=statistics.median(others) if others else None,
        ratio=ratio,
        note=note,
        load_busy=round(load_busy, 2),
    )
    if goal is not None:
        row.target = goal.text(unit, "" if others else against)
        judged = row.ratio if goal.is_ratio else row.ours
        if judged is not None and not is_small:
            row.reached = goal.is_reached(judged)
    return row


def _number(value: float) -> str:
    """Three digits that matter, thousands with commas."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
