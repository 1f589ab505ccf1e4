"""The command `bench`: measure this machine against the numbers to reach."""

import os
import platform
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.figures import FIGURES
from benchmarks.machine import cores
from benchmarks.processes import LoadProcess
from benchmarks.rows import Row
from benchmarks.stage import Stage
from server import __version__
from server.cli.output import note, print_line, print_table
from server.config import LoggingSection
from server.eventlog.database import sqlite3
from server.logs import configure_logging

_BUSY = 0.9  # of the load's core
_OTHERS = 0.5  # load average before the start
_COLUMNS = ("figure", "what", "ours", "compared with", "ratio", "target", "reached")


@click.command()
@click.argument("figures", metavar="[FIGURE]...", nargs=-1, type=click.Choice(list(FIGURES)))
@click.option("--quick", is_flag=True, help="Small sizes, one round: shows that it works; targets are not judged.")
@click.option("--only", type=click.Choice(list(FIGURES)), multiple=True, help="Take this figure; repeatable.")
@click.option("--rounds", type=click.IntRange(1, 99), help="Turns of every contender; medians are shown. Default 3, quick 1.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object instead of a table.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    help="Directory on the disk to measure, for temporary files. Default ./data if there is one, else the current one.",
)
def bench(
    figures: tuple[str, ...], quick: bool, only: tuple[str, ...], rounds: int | None, is_json: bool, directory: Path | None
) -> None:
    """Measure a real server, started for this, against bare handlers, bare SQLite, bare sockets and Nchan.

    Takes every FIGURE unless some are named. Contenders take turns; the server has one core and the load another. Only this
    machine is used, and nothing else should run on it meanwhile. Takes some minutes. Ctrl-C ends everything that was started.

    \b
    Examples:
      python run.py bench
      python run.py bench tasks
      python run.py bench publish fanout --rounds 5
      python run.py bench --quick --json
    """  # noqa: D301 - \b keeps click from joining the lines
    configure_logging(LoggingSection(level="error"))  # long logs are written in this process
    place = directory or (Path("data") if Path("data").is_dir() else Path())
    wanted = {*figures, *only}
    names = [name for name in FIGURES if not wanted or name in wanted]
    turns = rounds or (1 if quick else 3)
    others = os.getloadavg()[0]
    if others > _OTHERS:
        note(f"this machine is not idle (load average {others:.1f}): the figures will be lower and less even", style="yellow")
    started_at = time.monotonic()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what was started ends as well
    rows = _measure(place, names, is_quick=quick, rounds=turns)
    seconds = time.monotonic() - started_at
    if is_json:
        print_line(msgspec.json.encode(_report(rows, is_quick=quick, rounds=turns, seconds=seconds)))
        return
    print_table(_COLUMNS, [row.cells() for row in rows], numbers=("ours", "ratio"))
    sizes = "small sizes, targets not judged" if quick else "full sizes"
    note(f"{sizes}; medians of {turns} round{'s' if turns > 1 else ''}; {seconds:.0f} s; {_placement()}")
    busy = {row.figure: row.load_busy for row in rows if row.load_busy > _BUSY}
    if busy:
        shares = ", ".join(f"{figure} {share:.0%}" for figure, share in busy.items())
        note(f"the load's core was busy, so it may be the limit there: {shares}", style="yellow")


def _measure(place: Path, names: list[str], *, is_quick: bool, rounds: int) -> list[Row]:
    """Take the figures in a directory that is gone afterwards."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=2,  # drawing takes time from what is measured
    )
    with TemporaryDirectory(prefix="bench-", dir=place) as made, progress:
        directory = Path(made).absolute()
        shown = progress.add_task("starting", total=len(names))
        with LoadProcess(directory) as load:
            stage = Stage(directory, load, is_quick, rounds, lambda text: progress.update(shown, description=text))
            for name in names:
                stage.begin(name)
                FIGURES[name](stage)
                progress.advance(shown)
        return stage.rows


def _report(rows: list[Row], *, is_quick: bool, rounds: int, seconds: float) -> dict[str, object]:
    return {
        "version": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "placement": _placement(),
        "is_quick": is_quick,
        "rounds": rounds,
        "seconds": round(seconds, 1),
        "rows": rows,
    }


def _placement() -> str:
    both = cores()
    if both is None:
        return f"server and load share cores ({sys.platform})"
    return f"server on core {both[0]}, load on core {both[1]}"
