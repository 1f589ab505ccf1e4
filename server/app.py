"""The one place that builds every object, in the order of their dependencies, and decides what starts and ends with what."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import lru_cache
from typing import Any

import msgspec
from aiohttp import web

from server.api import middleware
from server.api.events import EventRoutes
from server.api.health import CONNECTIONS, Connections, HealthRoutes
from server.api.login import AuthRoutes
from server.api.pages import PageRoutes
from server.api.publish_protocol import Publisher
from server.api.stream_response import StreamResponder
from server.auth.authenticator import Authenticator
from server.auth.jwt import JwtKeys
from server.auth.logins import Logins
from server.auth.rate_limits import LIMITS, Clients, RateLimits
from server.background.deadlines import DeadlineClock, Downtime
from server.background.event_bus import EventBus
from server.background.retention_worker import RetentionWorker
from server.config import Config, RetentionSection, with_profile
from server.eventlog.clock import counted_seconds
from server.eventlog.database import Database
from server.eventlog.hub import Hub
from server.eventlog.log import EventLog
from server.eventlog.retention import Retention
from server.eventlog.verify import Projections
from server.eventlog.writer import Projection
from server.http import params
from server.http.cors import CORS, Cors
from server.http.hosts import AllowedHosts
from server.http.responses import SEEN_SEQ, response_headers
from server.llm.chat import ChatModel, is_configured
from server.llm.provider import LanguageModel, find_local_model
from server.streaming.follower import Followers
from server.surfaces import demands, generations, sessions, tasks, tools
from server.surfaces.surface import Context
from towow.events import kind_of

LOG = web.AppKey("log", EventLog)
BUS = web.AppKey("bus", EventBus)
FOLLOWERS = web.AppKey("followers", Followers)
PUBLISHER = web.AppKey("publisher", Publisher)

# Connections kept free for requests while streams take the rest.
_RESERVED_CONNECTIONS = 64

# Everything that the server has of its surfaces comes from these descriptors.
SURFACES = (demands.SURFACE, sessions.SURFACE, tasks.SURFACE, generations.SURFACE, tools.SURFACE)

_KINDS = {name: kind for surface in SURFACES for name, kind in surface.kinds.items()}
PROJECTIONS: dict[str, tuple[Projection, ...]] = {name: kind.projections for name, kind in _KINDS.items() if kind.projections}
KEEPS = {name: kind.keeps for name, kind in _KINDS.items() if kind.keeps is not None}
PROJECTED = Projections(PROJECTIONS, {name: stream for surface in SURFACES for name, stream in surface.tables.items()})


@lru_cache(maxsize=8192)
def is_terminal(stream: str, event_type: str) -> bool:
    """Whether an event of this type ends the stream."""
    kind = _KINDS.get(kind_of(stream))
    return kind is not None and event_type in kind.terminal


def _log_of(config: Config, accept_loss: int | None = None, **options: Any) -> tuple[Database, EventLog]:
    """A database and its log, not yet opened."""
    stream = config.stream
    database = Database(config.database, accept_loss=accept_loss)
    hub = Hub(
        max_buffer_bytes=stream.max_buffer_bytes, tail_bytes=stream.tail_bytes, is_terminal=is_terminal, clock=time.monotonic
    )
    return database, EventLog(database, hub, config, is_terminal=is_terminal, projections=PROJECTIONS, **options)


def retention_of(log: EventLog, config: Config) -> Retention:
    """What trims a log by the settings, but for what a surface still needs."""
    return Retention(log, config.retention, KEEPS)


@asynccontextmanager
async def open_log(config: Config) -> AsyncIterator[EventLog]:
    """The log of a file without a server, for the command line; a server may be running on it. Raises `StartupError`."""
    database, log = _log_of(config)
    async with database, log:
        yield log


def make_app(
    config: Config,
    *,
    clock: Callable[[], float] = time.time,
    counted: Callable[[], float] | None = None,
    on_fatal: Callable[[str], None] = lambda reason: None,
    accept_loss: int | None = None,
) -> web.Application:
    """Build the application. Nothing is opened before it starts; what fails then raises `StartupError`.

    `clock` gives seconds since 1970 for timestamps, `counted` those of a clock that nobody sets (None: the machine's, or that
    same `clock` where it is not the machine's); `on_fatal(reason)` is called when the database can no longer be trusted;
    `accept_loss` is the head of the log that the file has lost, to go on without it."""
    config = with_profile(config)
    stream = config.stream
    database, log = _log_of(config, accept_loss, clock=clock, on_fatal=on_fatal)
    hub = log.hub
    bus = EventBus(log)
    deadlines = DeadlineClock(clock, counted or (counted_seconds if clock is time.time else clock))
    log.is_timed = lambda: deadlines.is_waiting
    followers = Followers()
    connections = Connections()
    room = max(1, config.server.max_connections - _RESERVED_CONNECTIONS)
    jwt_keys = JwtKeys(config.jwt, clock, config.auth.actor_claim) if config.auth.mode == "jwt" else None
    authenticator = Authenticator(config.auth, config.database.path, clock, jwt_keys, Logins(log))
    # Nobody else needs the secrets.
    config = msgspec.structs.replace(config, auth=msgspec.structs.replace(config.auth, tokens=()))
    clients = Clients(config.server.trusted_proxies)
    limits = RateLimits(config.limits, clients)
    hosts = AllowedHosts(config.server.host, config.server.allowed_hosts)
    streaming = StreamResponder(log, followers, limits, stream, room)
    chat_model = ChatModel(config.llm) if is_configured(config.llm) else None
    language_model = LanguageModel(chat_model, None if chat_model else find_local_model(config.llm, config.database.path))
    context = Context(
        config=config,
        log=log,
        bus=bus,
        followers=followers,
        streaming=streaming,
        limits=limits,
        chat_model=chat_model,
        language_model=language_model,
        deadlines=deadlines,
    )
    surfaces = [surface.build(context) for surface in SURFACES]
    downtime = Downtime(log, [surface.extend for surface in SURFACES if surface.extend is not None])
    opened: list[AbstractAsyncContextManager[Any]] = [authenticator, language_model, database, log, downtime]
    opened += [worker for parts in surfaces for worker in parts.workers]
    if config.retention != RetentionSection():
        opened.append(RetentionWorker(log, retention_of(log, config)))

    gate = middleware.Gate(log, authenticator, limits, hosts)
    app = web.Application(middlewares=[middleware.around(gate)], client_max_size=config.append.max_body_bytes)
    app[LOG], app[BUS], app[FOLLOWERS] = log, bus, followers
    app[LIMITS] = limits
    app[params.REDACTION] = log.redaction
    app[CONNECTIONS] = connections
    app[SEEN_SEQ] = lambda: log.seen_seq
    app[CORS] = cors = Cors(config.cors.origins)
    app.on_response_prepare.append(response_headers(cors))
    reserved = {name: kind.reserved for name, kind in _KINDS.items() if kind.has_rules}
    derived_ids = {name: kind.derived_ids for name, kind in _KINDS.items() if kind.derived_ids}
    events = EventRoutes(log, streaming, limits, config, reserved, derived_ids)
    app[PUBLISHER] = Publisher(app, gate, events)
    for routes in (
        *(routes for parts in surfaces for routes in parts.routes),
        events,
        HealthRoutes(log, followers, connections, config),
        AuthRoutes(authenticator, limits, clients, config),
        PageRoutes(),
    ):
        app.router.add_routes(routes.table())

    async def lifespan(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for part in opened:
                await stack.enter_async_context(part)
            try:
                yield
            finally:
                await bus.close()

    async def end_streams(app: web.Application) -> None:
        hub.close()
        followers.stop_all(stream.retry_milliseconds)

    app.cleanup_ctx.append(lifespan)
    app.on_shutdown.append(end_streams)
    return app
