"""What a surface is to the rest of the server: one descriptor, and the parts that all surfaces are handed.

`app.py` lists the descriptors and builds everything else from them; a surface knows no other surface."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from aiohttp import web

from server.api.stream_response import StreamResponder
from server.auth.rate_limits import RateLimits
from server.background.deadlines import DeadlineClock, Extend
from server.background.event_bus import EventBus
from server.config import Config
from server.eventlog.log import EventLog
from server.eventlog.retention import Keeps
from server.eventlog.writer import Projection
from server.llm.chat import ChatModel
from server.llm.provider import LanguageModel
from server.streaming.follower import Followers


class Context(NamedTuple):
    """The parts of the server that a surface builds its own from."""

    config: Config
    log: EventLog
    bus: EventBus
    followers: Followers
    streaming: StreamResponder
    limits: RateLimits
    chat_model: ChatModel | None
    language_model: LanguageModel
    deadlines: DeadlineClock


class Routes(Protocol):
    """Handlers, and the table that says where they answer."""

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        ...


class Parts(NamedTuple):
    """What a surface consists of while the server runs. Workers are opened in this order, inside the log's time."""

    routes: Sequence[Routes]
    workers: Sequence[AbstractAsyncContextManager[Any]] = ()


class Kind(NamedTuple):
    """A kind of streams that a surface owns: which event types end one, and which tables are written with its events.

    `has_rules`: an event that comes past the surface's own routes takes the scope over the whole kind. `reserved` event types
    must not come through `POST /api/events` at all, because they say who decided, or begin work whose limits and scopes the
    surface's own route checks. `keeps(connection, stream)` says whether the events of a stream are still needed: then retention
    leaves them, whatever the settings say. `derived_ids` is how event_ids begin that the surface makes out of what a client
    names: nobody may have them before it."""

    terminal: frozenset[str] = frozenset()
    reserved: frozenset[str] = frozenset()
    has_rules: bool = True
    projections: tuple[Projection, ...] = ()
    keeps: Keeps | None = None
    derived_ids: str = ""


class Surface(NamedTuple):
    """A surface: its kinds by name, the tables that its projections fill (emptied in this order before they are filled again),
    each with SQL for the name of the stream that a row is of, and how its parts are built."""

    name: str
    kinds: Mapping[str, Kind]
    tables: Mapping[str, str]
    build: Callable[[Context], Parts]
    extend: Extend | None = None
