"""`bench`: measure this machine against the numbers to reach. The measurements stand in `benchmarks/`, in a checkout only."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click

_CHECKOUT = Path(__file__).resolve().parents[2]

if (_CHECKOUT / "benchmarks" / "command.py").is_file() and find_spec("benchmarks") is None:
    sys.path.append(str(_CHECKOUT))  # an editable install, run from elsewhere

bench: click.Command
if find_spec("benchmarks") is not None:
    bench = import_module("benchmarks.command").bench
else:

    @click.command("bench", context_settings={"ignore_unknown_options": True})
    @click.argument("figures", nargs=-1)
    def bench_is_elsewhere(figures: tuple[str, ...]) -> None:
        """Measure this machine; needs a checkout of the source, where it is a command of `run.py`."""
        raise click.ClickException("the benchmarks are not installed; run `python run.py bench` in a checkout of the source")

    bench = bench_is_elsewhere
