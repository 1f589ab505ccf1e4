"""The engine's process, seen from the server: how it is started, that it listens, and that it ends."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

START_SECONDS = 300.0  # a large model on a slow disk

_ENGINE = Path(__file__).with_name("engine.py")


class NotStarted(Exception):
    """Raised when there is no engine after all; the text says why."""


class Settings(msgspec.Struct, frozen=True):
    """The settings of the process; see `engine.main`."""

    path: str
    threads: int
    slots: int
    context_tokens: int
    key: str


class Running(NamedTuple):
    """A process that serves at `address`."""

    process: asyncio.subprocess.Process
    address: str


class _Report(msgspec.Struct):
    """The one line that the process prints: its address, or the reason of its failure."""

    address: str = ""
    failed: str = ""


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Start the engine and wait until it serves; leaving ends it at once. Raises `NotStarted`.

    It prints nothing where the server prints, Ctrl-C in a terminal does not reach it, and it ends with the server also when
    that is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", str(_ENGINE)),  # -P: the modules beside it are not its own
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                address = await _address(process, settings)
        except TimeoutError:
            raise NotStarted(f"it did not start within {START_SECONDS:.0f} s") from None
        yield Running(process, address)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _address(process: asyncio.subprocess.Process, settings: Settings) -> str:
    """Where it listens, once it does."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process was started without pipes")
    process.stdin.write(msgspec.json.encode(settings) + b"\n")
    line = await process.stdout.readline()
    try:
        report = msgspec.json.decode(line, type=_Report)
    except msgspec.MsgspecError:
        report = _Report()
    if not report.address:
        raise NotStarted(report.failed or f"its process ended with {await process.wait()}")
    return report.address
