"""Logs that are long already: written through the event log itself, in process, in batches."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.orders import payload_text
from server.app import is_terminal
from server.config import Config, DatabaseSection
from server.eventlog.database import Database
from server.eventlog.hub import Hub
from server.eventlog.log import EventLog
from towow.events import new_event

_BATCH = 1_000


def fill(path: Path, events: int, streams: int, tell: Callable[[str], None]) -> None:
    """Append events in turn to `bench:fill-0`, `bench:fill-1` and so on."""
    asyncio.run(_fill(path, events, streams, tell))


async def _fill(path: Path, events: int, streams: int, tell: Callable[[str], None]) -> None:
    config = Config(database=DatabaseSection(path=str(path), synchronous="NORMAL"))
    hub = Hub(max_buffer_bytes=0, tail_bytes=0, is_terminal=is_terminal, clock=time.monotonic)
    payload = msgspec.json.decode(payload_text())
    news = [new_event(f"bench:fill-{number}", "note", payload) for number in range(streams)]
    batch = [news[number % streams] for number in range(_BATCH)]
    async with Database(config.database) as database, EventLog(database, hub, config, is_terminal=is_terminal) as log:
        for done in range(0, events, _BATCH):
            await log.append(batch[: events - done])
            tell(f"filling a log: {done + _BATCH:,} of {events:,} events")
