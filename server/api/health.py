"""Whether the server is well: for load balancers in one word, for people in figures over all processes on the file.

None of it writes anything, and nobody has to say who they are."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from server import __version__
from server.config import Config
from server.eventlog.database import engine_fault, sqlite3
from server.eventlog.log import EventLog
from server.eventlog.terms import read_terms
from server.http import params
from server.http.responses import json_response
from server.streaming.follower import Followers

_ANSWER_SECONDS = 0.5  # of a neighbour; one that is stopped does not hold the answer up for longer


class Connections:
    """How many connections this process has; 0 until `count` is set by what listens."""

    def __init__(self) -> None:
        self.count: Callable[[], int] = int


CONNECTIONS = web.AppKey("connections", Connections)


class HealthRoutes:
    """Handlers of `/health*`; what this process answers to its neighbours is the same that it says of itself."""

    def __init__(self, log: EventLog, followers: Followers, connections: Connections, config: Config) -> None:
        self._log = log
        self._followers = followers
        self._connections = connections
        self._config = config
        self._started_at = time.monotonic()
        log.peers.describe = self._describe

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (web.get("/health", self.health), web.get("/health/live", self.live), web.get("/health/ready", self.ready))

    @params.takes_any
    async def live(self, request: web.Request) -> web.StreamResponse:
        """GET /health/live

        200 `{status: "ok"}`: the process answers. Under any host name."""
        return json_response({"status": "ok"})

    @params.takes_any
    async def ready(self, request: web.Request) -> web.StreamResponse:
        """GET /health/ready

        200 `{status: "ok"}`: an append would be taken. Under any host name. Errors: storage_full, unavailable."""
        await self._log.check_ready()
        return json_response({"status": "ok"})

    @params.takes_any
    async def health(self, request: web.Request) -> web.StreamResponse:
        """GET /health

        200 `{status: "ok", epoch, head_seq, oldest_seq, followers, connections, uptime_seconds, version, sqlite_version,
        synchronous, process, processes, duties, warnings}`. `followers` and `connections` are of all processes on the file:
        `processes` has `{process, is_answering, followers, connections, uptime_seconds, version}` of each, `duties`
        `{duty, process, term, since}`; `synchronous` is how commits reach the disk, `warnings` a list of sentences.
        Errors: storage_full, unavailable."""
        await self._log.check_ready()
        meta = await self._log.refresh_meta()
        processes = [{"process": self._log.peers.name, "is_answering": True, **self._describe()}, *await self._neighbours()]
        duties = await self._log.query(read_terms)
        fault = engine_fault()
        warnings = [*([fault] if fault else []), *self._log.warnings]
        for each in processes:
            each.pop("duties", None)
            if not each["is_answering"]:
                warnings.append(f"process {each['process']} does not answer: it is stopped, or hangs")
        return json_response(
            {
                "status": "ok",
                "epoch": meta.epoch,
                "head_seq": meta.head_seq,
                "oldest_seq": meta.oldest_seq,
                "followers": sum(each.get("followers", 0) for each in processes),
                "connections": sum(each.get("connections", 0) for each in processes),
                "uptime_seconds": processes[0]["uptime_seconds"],
                "version": __version__,
                "sqlite_version": sqlite3.sqlite_version,
                "synchronous": self._config.database.synchronous,
                "process": self._log.peers.name,
                "processes": processes,
                "duties": [
                    {"duty": duty, "process": held.process, "term": held.number, "since": held.since}
                    for duty, held in duties.items()
                ],
                "warnings": warnings,
            }
        )

    def _describe(self) -> Mapping[str, Any]:
        return {
            "duties": self._log.duties,
            "followers": len(self._followers),
            "connections": self._connections.count(),
            "uptime_seconds": round(time.monotonic() - self._started_at, 3),
            "version": __version__,
        }

    async def _neighbours(self) -> list[dict[str, Any]]:
        """What the other processes say of themselves; those that do not answer are there, those that are gone are not."""
        peers = self._log.peers
        names = peers.others()
        answers = await asyncio.gather(*(peers.ask(name, _ANSWER_SECONDS) for name in names), return_exceptions=True)
        return [
            {"process": name, "is_answering": answer is not None, **(answer or {})}
            for name, answer in zip(names, answers, strict=True)
            if not isinstance(answer, BaseException)
        ]
