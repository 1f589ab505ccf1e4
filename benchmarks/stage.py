"""What every figure is given: a directory, the sizes, the load process, and somebody to tell how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.orders import Publish, Published
from benchmarks.processes import LoadProcess, Reference, Server
from benchmarks.rows import Goal, Row, make_row


@dataclass
class Stage:
    """The place where one run happens. `tell` shows what is going on; figures append to `rows`."""

    directory: Path
    load: LoadProcess
    is_quick: bool
    rounds: int
    tell: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)
    figure: str = ""
    load_busy: float = 0.0  # the most in this figure, 0 to 1

    def begin(self, figure: str) -> None:
        """Name the figure that is taken next."""
        self.figure = figure
        self.load_busy = 0.0
        self.tell(figure)

    def size(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.is_quick else full

    def seconds(self, full: float, quick: float) -> float:
        """One of two durations."""
        return quick if self.is_quick else full

    def turns(self) -> Iterator[int]:
        """The rounds, told one by one."""
        for number in range(1, self.rounds + 1):
            self.tell(f"{self.figure}: round {number} of {self.rounds}")
            yield number

    @contextmanager
    def server(self, name: str = "") -> Iterator[Server]:
        """Our server on a database of this figure."""
        with Server(self.database(name)) as server:
            yield server

    def database(self, name: str = "") -> Path:
        """The file of a database of this figure."""
        return self.directory / f"{self.figure}{name}.db"

    @contextmanager
    def reference(self, name: str, *arguments: str) -> Iterator[Reference]:
        """One of the bare things."""
        with Reference(self.directory, name, *arguments) as reference:
            yield reference

    def publish(self, order: Publish) -> Published:
        """Have the load publish."""
        done = self.load.ask(order, Published)
        self.load_busy = max(self.load_busy, done.load_busy)
        return done

    def add(
        self,
        what: str,
        ours: list[float],
        unit: str,
        *,
        against: str = "",
        others: list[float] | None = None,
        goal: Goal | None = None,
        note: str = "",
    ) -> None:
        """Add a row of this figure."""
        row = make_row(
            self.figure,
            what,
            ours,
            unit,
            against=against,
            others=others,
            goal=goal,
            is_small=self.is_quick,
            note=note,
            load_busy=self.load_busy,
        )
        self.rows.append(row)
