"""The one place that builds every object, in the order of their dependencies, and decides what starts and ends with what."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import lru_cache

import msgspec
from aiohttp import web

from server.api import middleware
from server.api.events import EventRoutes
from server.api.login import AuthRoutes
from server.api.pages import PageRoutes
from server.api.stream_response import StreamResponder
from server.auth.authenticator import Authenticator
from server.auth.jwt import JwtKeys
from server.auth.rate_limits import Clients, Limits
from server.background.event_bus import EventBus
from server.background.leader_lock import LeaderLock
from server.config import Config, with_profile
from server.eventlog.database import Database
from server.eventlog.hub import Hub
from server.eventlog.log import EventLog
from server.eventlog.retention import run_retention
from server.eventlog.writer import Projection
from server.http.cors import CORS, Cors
from server.http.hosts import AllowedHosts
from server.http.responses import response_headers
from server.llm.chat import ChatModel, is_configured
from server.llm.local.model import LocalModel, is_available
from server.llm.local.model_source import models_folder
from server.llm.provider import LanguageModel
from server.streaming.follower import Followers
from server.surfaces.demands import matching
from server.surfaces.demands import state as demands
from server.surfaces.demands.agent_routes import AgentRoutes
from server.surfaces.demands.coordinator import Coordinator
from server.surfaces.demands.matching import project_agent
from server.surfaces.demands.negotiator import Negotiator
from server.surfaces.demands.participant_routes import ParticipantRoutes
from server.surfaces.demands.projections import clear_demands, project_demand
from server.surfaces.demands.routes import DemandRoutes
from server.surfaces.demands.samples.participants import SampleParticipants
from server.surfaces.demands.text_writer import TextWriter
from server.surfaces.generations import state as generations
from server.surfaces.generations.executor import RunExecutor
from server.surfaces.generations.projections import clear_runs, project_run
from server.surfaces.generations.routes import RunRoutes
from server.surfaces.generations.start_routes import StartRoutes
from server.surfaces.sessions import state as sessions
from server.surfaces.sessions.channel_routes import ChannelRoutes
from server.surfaces.sessions.projections import clear_sessions, project_session
from server.surfaces.sessions.routes import SessionRoutes
from server.surfaces.tasks import state as tasks
from server.surfaces.tasks.event_routes import TaskEventRoutes
from server.surfaces.tasks.projections import clear_tasks, project_task
from server.surfaces.tasks.routes import TaskRoutes
from server.surfaces.tools import state as tools
from server.surfaces.tools.expiry import PermissionExpiry
from server.surfaces.tools.notice_routes import NoticeRoutes
from server.surfaces.tools.permission_service import PermissionService
from server.surfaces.tools.projections import clear_permissions, project_permission
from server.surfaces.tools.routes import ToolRoutes
from server.surfaces.tools.throttling import StatusThrottle
from towow.events import kind_of

LOG = web.AppKey("log", EventLog)
BUS = web.AppKey("bus", EventBus)
FOLLOWERS = web.AppKey("followers", Followers)

# Connections kept free for requests while streams take the rest.
_RESERVED_CONNECTIONS = 64

# Which event types end a stream of a kind, and which projections are written with its events.
TERMINAL_EVENTS: dict[str, frozenset[str]] = {
    demands.KIND: demands.TERMINAL_EVENTS,
    generations.KIND: generations.TERMINAL_EVENTS,
    sessions.KIND: sessions.TERMINAL_EVENTS,
    tasks.KIND: tasks.TERMINAL_EVENTS,
}
# The kinds whose rules a surface keeps, and event types that must not come through POST /api/events at all, because they say
# who decided, or begin work whose limits, session and scopes the surface's own route checks.
RESERVED_EVENTS: dict[str, frozenset[str]] = {
    demands.KIND: frozenset(),
    matching.KIND: frozenset(),
    generations.KIND: frozenset({generations.RUN_STARTED}),
    sessions.KIND: frozenset(),
    sessions.OPERATOR_KIND: frozenset(),
    tools.KIND: frozenset({tools.PERMISSION_RESPONSE}),
}
PROJECTIONS: dict[str, tuple[Projection, ...]] = {
    demands.KIND: (project_demand,),
    matching.KIND: (project_agent,),
    generations.KIND: (project_run,),
    sessions.KIND: (project_session,),
    tasks.KIND: (project_task,),
    tools.KIND: (project_permission,),
}
CLEAR_PROJECTIONS = (clear_demands, matching.clear_agents, clear_runs, clear_sessions, clear_tasks, clear_permissions)


@lru_cache(maxsize=8192)
def is_terminal(stream: str, event_type: str) -> bool:
    """Whether an event of this type ends the stream."""
    return event_type in TERMINAL_EVENTS.get(kind_of(stream), ())


def make_app(
    config: Config, *, clock: Callable[[], float] = time.time, on_fatal: Callable[[str], None] = lambda reason: None
) -> web.Application:
    """Build the application. Nothing is opened before it starts; what fails then raises `StartupError`.

    `clock` gives seconds since 1970 for timestamps; `on_fatal(reason)` is called when the database can no longer be trusted."""
    config = with_profile(config)
    stream = config.stream
    database = Database(config.database)
    hub = Hub(
        max_buffer_bytes=stream.max_buffer_bytes, tail_bytes=stream.tail_bytes, is_terminal=is_terminal, clock=time.monotonic
    )
    log = EventLog(database, hub, config, is_terminal=is_terminal, projections=PROJECTIONS, clock=clock, on_fatal=on_fatal)
    bus = EventBus(log)
    followers = Followers()
    room = max(1, config.server.max_connections - _RESERVED_CONNECTIONS)
    jwt_keys = JwtKeys(config.jwt, clock) if config.auth.mode == "jwt" else None
    authenticator = Authenticator(config.auth, config.database.path, clock, jwt_keys)
    # Nobody else needs the secrets.
    config = msgspec.structs.replace(config, auth=msgspec.structs.replace(config.auth, tokens=()))
    clients = Clients(config.server.trusted_proxies)
    limits = Limits(config.limits, clients)
    hosts = AllowedHosts(config.server.host, config.server.allowed_hosts)
    streaming = StreamResponder(log, followers, limits, stream, room)
    chat_model = ChatModel(config.llm) if is_configured(config.llm) else None
    local_model = None
    if chat_model is None and is_available(config.llm):
        local_model = LocalModel(config.llm, config.database.path, LeaderLock(str(models_folder(config.database.path)), "lock"))
    language_model = LanguageModel(chat_model, local_model)
    author = TextWriter(chat_model)
    samples = SampleParticipants(log, config.negotiation, author)
    negotiator = Negotiator(log, config.negotiation, author, samples)
    coordinator = Coordinator(log, bus, config.negotiation, negotiator, LeaderLock(config.database.path, "coordinator"))

    statuses = StatusThrottle(log, config.tools.status_interval_seconds)
    decisions = PermissionService(log, statuses)
    expiry = PermissionExpiry(log, bus, decisions)
    runner = RunExecutor(log, bus, config.generations, language_model, LeaderLock(config.database.path, "generations"))

    around = middleware.around(authenticator, limits, hosts)
    app = web.Application(middlewares=[around], client_max_size=config.append.max_body_bytes)
    app[LOG], app[BUS], app[FOLLOWERS] = log, bus, followers
    app[CORS] = cors = Cors(config.cors.origins)
    app.on_response_prepare.append(response_headers(cors))
    for table in (
        DemandRoutes(log, followers, streaming, author, config).table(),
        ParticipantRoutes(log, config).table(),
        AgentRoutes(log, streaming, config).table(),
        EventRoutes(log, followers, streaming, limits, config, RESERVED_EVENTS).table(),
        AuthRoutes(authenticator, limits, clients, config).table(),
        StartRoutes(log, streaming, limits, config).table(),
        RunRoutes(log, streaming, language_model, config).table(),
        SessionRoutes(log, config).table(),
        ChannelRoutes(log, streaming, config).table(),
        TaskRoutes(log, limits, config).table(),
        TaskEventRoutes(log, streaming, config).table(),
        ToolRoutes(log, streaming, decisions, config).table(),
        NoticeRoutes(log, statuses, decisions, config).table(),
        PageRoutes().table(),
    ):
        app.router.add_routes(table)

    async def lifespan(app: web.Application) -> AsyncIterator[None]:
        async with authenticator, language_model, database, log, coordinator, statuses, expiry, runner:
            trimming = asyncio.create_task(run_retention(log, config.retention), name="retention")
            try:
                yield
            finally:
                trimming.cancel()
                await asyncio.gather(trimming, return_exceptions=True)
                await bus.close()

    async def end_streams(app: web.Application) -> None:
        hub.close()
        followers.stop_all(stream.retry_milliseconds)

    app.cleanup_ctx.append(lifespan)
    app.on_shutdown.append(end_streams)
    return app
