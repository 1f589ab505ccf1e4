"""What publishers feel while retention removes half of a million events: `python -m benchmarks.trimming`.

A file is filled with tasks that have ended and some that have not; then one publisher appends event after event, first alone
and then beside a round of retention, and the times of its appends are compared."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from server.app import open_log
from server.config import Config, DatabaseSection, LoggingSection, RetentionSection
from server.eventlog.log import EventLog
from server.eventlog.retention import Retention, give_back
from server.logs import configure_logging
from towow.events import NewEvent

_EVENTS_PER_TASK = 50
_ALONE_SECONDS = 5.0
_PAYLOAD = '{"text":"' + "x" * 200 + '"}'


@click.command()
@click.option("--events", default=1_000_000, help="Events in the file; half of them are removed.")
def trimming(events: int) -> None:
    """Print the times of durable appends, alone and beside retention, in milliseconds."""
    configure_logging(LoggingSection(level="warning"))
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_measure(Path(directory) / "log.db", events))


async def _measure(path: Path, events: int) -> None:
    config = msgspec.structs.replace(Config(), database=DatabaseSection(path=str(path), min_free_bytes=0))
    async with open_log(config) as log:
        started_at = time.monotonic()
        for task in range(events // _EVENTS_PER_TASK):
            types = ["log"] * (_EVENTS_PER_TASK - 1) + ["task_complete"]
            await log.append([NewEvent(f"task:{task}", event_type, _PAYLOAD) for event_type in types])
        click.echo(f"filled: {events} events in {time.monotonic() - started_at:.0f} s, {_mebibytes(path)} MiB")
        alone = await _publish(log, asyncio.create_task(asyncio.sleep(_ALONE_SECONDS)))
        _print("alone", alone)
        started_at = time.monotonic()
        retention = Retention(log, RetentionSection(max_events=events // 2))
        round_of = asyncio.create_task(retention.trim())
        _print("beside retention", await _publish(log, round_of))
        removed = round_of.result()
        seconds = time.monotonic() - started_at
        click.echo(f"removed: {removed.events} events of {removed.streams} streams in {seconds:.0f} s")
        giving = asyncio.create_task(give_back(log))
        _print("beside giving space back", await _publish(log, giving))
        click.echo(f"given back: {giving.result()} pages; the file has {_mebibytes(path)} MiB")


async def _publish(log: EventLog, until: "asyncio.Future[Any]") -> list[float]:
    """Append one event after the other until something is done; the milliseconds of each."""
    times = []
    while not until.done():
        started_at = time.perf_counter()
        await log.append([NewEvent("note:publisher", "note", _PAYLOAD)])
        times.append((time.perf_counter() - started_at) * 1000)
    return times


def _print(name: str, times: list[float]) -> None:
    if len(times) < 2:
        click.echo(f"{name}: {len(times)} appends")
        return
    cuts = statistics.quantiles(times, n=1000)
    shown = f"p50 {cuts[499]:.2f} ms, p99 {cuts[989]:.2f} ms, p999 {cuts[998]:.2f} ms, max {max(times):.1f} ms"
    click.echo(f"{name}: {len(times)} appends, {shown}")


def _mebibytes(path: Path) -> int:
    return path.stat().st_size >> 20


if __name__ == "__main__":
    trimming()
