"""`serve`: listen, say where, and end cleanly."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import structlog
from aiohttp import http_parser, web
from aiohttp.web_protocol import RequestHandler

from server import __version__, program
from server.api.health import CONNECTIONS
from server.api.publish_protocol import PublishProtocol
from server.app import LOG, PUBLISHER, make_app
from server.auth.principal import changes_of
from server.auth.rate_limits import counted_as
from server.config import Config, load_config
from server.eventlog.database import engine_fault, sqlite3
from server.http.hosts import is_loopback
from server.logs import configure_logging, flush
from towow.errors import StartupError

_BACKLOG = 4_096
_READ_BUFFER_BYTES = 32_768  # that a connection holds, twice, before anybody has asked who sends it
_SPARE_FILE_HANDLES = 100
_FAILED_CLEANUP_SECONDS = 0.4
_log = structlog.get_logger("towow.serve")


@click.command()
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="Settings file; default: config.toml here, if any."
)
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; 0 takes a free one. Default 8000.")
@click.option("--db", help="SQLite file; made when absent. Default data/towow.db.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least severe lines to log.")
@click.option(
    "--accept-loss", type=click.IntRange(0), metavar="SEQ", help="Go on although the events up to SEQ, the head, are lost."
)
def serve(
    config_file: Path | None, host: str | None, port: int | None, db: str | None, log_level: str | None, accept_loss: int | None
) -> None:
    """Serve events, streams and the page until Ctrl-C or SIGTERM.

    Flags win over the environment (TOWOW__SECTION__KEY), which wins over the settings file.

    Example: python run.py serve --port 8002 --db data/towow.db"""
    if config_file is None and Path("config.toml").is_file():
        config_file = Path("config.toml")
    given: dict[str, dict[str, Any]] = {
        "server": {"host": host, "port": port},
        "database": {"path": db},
        "logging": {"level": log_level},
    }
    flags = {section: {k: v for k, v in values.items() if v is not None} for section, values in given.items()}
    renamed: list[str] = []
    config = load_config(config_file, flags=flags, warn=renamed.append)
    configure_logging(config.logging)
    for message in renamed:
        _log.warning("setting_renamed", reason=message)
        click.echo(f"warning: {message}", err=True)
    check_environment(config)
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    else:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        code = runner.run(run_server(config, accept_loss))
    if code:
        raise SystemExit(code)


def check_environment(config: Config) -> None:
    """Refuse what would be unsafe: aiohttp without its C parser, or other machines without authentication."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise StartupError("aiohttp runs without its C parser; install a wheel of aiohttp for this Python")
    host = config.server.host
    if config.auth.mode == "off" and not is_loopback(host) and not config.server.allow_unauthenticated:
        raise StartupError(
            f'{host} can be reached by other machines and clients are not asked who they are; set mode = "token" in [auth] '
            f"(see `{program()} token --help`), or listen on 127.0.0.1 behind a proxy that authenticates, or set "
            "allow_unauthenticated = true in [server]",
            field="server.host",
        )


def listening_socket(config: Config) -> socket.socket:
    """Bind. Raises `StartupError` when the address is taken or not ours.

    What is set on the listener is inherited by accepted connections: the bounded send buffer that keeps a stalled reader from
    swallowing megabytes, and the time after which the kernel gives up on a peer that does not take data."""
    host, port = config.server.host, config.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if config.stream.send_buffer_bytes:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.stream.send_buffer_bytes)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = int(config.stream.send_timeout_seconds * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port, or stop what uses it"
        ) from None
    return listener


class _TooMany(asyncio.Protocol):
    """A connection beyond the limit: dropped before a byte is read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Drop it."""
        transport.abort()  # type: ignore[attr-defined]  # every stream transport has it


class Share:
    """Counts the connections of each address and drops those beyond its share; 0 counts none. Of IPv6 64 bits count."""

    def __init__(self, limit: int, trusted_proxies: Sequence[str]) -> None:
        self._limit = limit
        self._proxies = frozenset(trusted_proxies)
        self._counts: Counter[str] = Counter()
        self._addresses: dict[RequestHandler, str] = {}

    def watch(self, server: web.Server) -> None:
        """Count what the server takes and loses from now on."""
        if not self._limit:
            return
        made, lost = server.connection_made, server.connection_lost

        def count_in(handler: RequestHandler, transport: asyncio.Transport) -> None:
            made(handler, transport)
            peer = transport.get_extra_info("peername")
            if not isinstance(peer, tuple) or peer[0] in self._proxies:  # a proxy's connections are everybody's
                return
            address = counted_as(peer[0])
            self._counts[address] += 1
            self._addresses[handler] = address
            if self._counts[address] > self._limit:
                transport.abort()

        def count_out(handler: RequestHandler, exc: BaseException | None = None) -> None:
            address = self._addresses.pop(handler, None)
            if address is not None:
                self._counts[address] -= 1
                if not self._counts[address]:
                    del self._counts[address]
            lost(handler, exc)

        server.connection_made = count_in  # type: ignore[method-assign]
        server.connection_lost = count_out  # type: ignore[method-assign]


class CappedSite(web.BaseSite):
    """A listener that takes so many connections and drops further ones: out of file handles, accepting fails for everybody."""

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        max_connections: int,
        share: Share,
        protocol: Callable[[web.Server], asyncio.BaseProtocol],
    ) -> None:
        super().__init__(runner, backlog=_BACKLOG)
        self._protocol = protocol
        self._listener = listener
        self._max_connections = max_connections
        self._room = max_connections  # that many can be taken without counting
        self._share = share

    @property
    def name(self) -> str:
        """The address, for messages."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        server = self._runner.server
        if server is None:
            raise RuntimeError("the runner must be set up first")
        self._share.watch(server)

        # `connections` copies the whole list: it is looked at only after as many accepts as there was room for.
        def accept() -> asyncio.BaseProtocol:
            if self._room <= 0:
                self._room = self._max_connections - len(server.connections)
            if self._room <= 0:
                return _TooMany()
            self._room -= 1
            return self._protocol(server)

        self._server = await asyncio.get_running_loop().create_server(accept, sock=self._listener, backlog=_BACKLOG)


async def run_server(config: Config, accept_loss: int | None = None) -> int:
    """Serve until a signal or a failed database; returns the exit code."""
    stop = asyncio.Event()
    failure: list[str] = []

    def fail(reason: str) -> None:
        failure.append(reason)
        stop.set()

    config = _fit_to_file_limit(config)
    app = make_app(config, on_fatal=fail, accept_loss=accept_loss)
    loop = asyncio.get_running_loop()
    of_connections: dict[str, Any] = {
        "access_log": None,
        "read_bufsize": _READ_BUFFER_BYTES,
        "auto_decompress": False,  # a compressed body is refused, and must not be unpacked first
        "keepalive_timeout": config.server.keepalive_timeout_seconds,
    }
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        shutdown_timeout=config.server.shutdown_timeout_seconds / 2,  # aiohttp 3.14 waits once, cancels, and waits again
        **of_connections,
    )
    listener = listening_socket(config)
    publisher = None if config.auth.mode == "jwt" else app[PUBLISHER]  # a JWT may wait for its keys
    protocol = partial(PublishProtocol, loop=loop, publisher=publisher, **of_connections)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last: the terminal that it was started from is gone
        loop.add_signal_handler(number, stop.set)
    try:
        await runner.setup()
        app[CONNECTIONS].count = lambda: len(runner.server.connections) if runner.server is not None else 0
        most = config.server.max_connections
        share = Share(min(config.limits.connections_per_address, max(1, most // 2)), config.server.trusted_proxies)
        await CappedSite(runner, listener, most, share, protocol).start()
        _announce(config, listener, app)
        _freeze_gc()
        await stop.wait()
        _log.info("stopping", reason=failure[0] if failure else "signal")
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAILED_CLEANUP_SECONDS if failure else None):
                await runner.cleanup()
        listener.close()
    if failure:
        # A thread may be stuck in the file system for ever. What was acknowledged is on disk: nothing is lost by leaving.
        click.echo(f"stopped: {failure[0]}", err=True)
        flush()
        os._exit(1)
    _log.info("stopped")
    return 0


def _announce(config: Config, listener: socket.socket, app: web.Application) -> None:
    """Say where the page is, which engine runs and where the log stands."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log = app[LOG]
    _log.info(
        "serving",
        url=f"http://{shown}:{port}/",
        database=str(Path(config.database.path).absolute()),
        sqlite=sqlite3.sqlite_version,
        epoch=log.epoch,
        head_seq=log.head_seq,
        version=__version__,
        max_connections=config.server.max_connections,
    )
    fault = engine_fault()
    if fault:
        _log.warning("engine_fault", reason=fault, consequence="a second server on this file is refused")
    say_what_to_change(config)
    click.echo(f"ToWow event server {__version__}: http://{shown}:{port}/  (Ctrl-C stops it)")


def say_what_to_change(config: Config) -> None:
    """Log settings that are allowed and hardly meant: scopes of an earlier version, and pages of any origin while nobody is
    asked who they are."""
    for name, sentence in [(token.name, sentence) for token in config.auth.tokens for sentence in changes_of(token.scopes)]:
        _log.warning("scopes_of_an_earlier_version", token=name, change=sentence)
    if "*" in config.cors.origins and config.auth.mode == "off":
        consequence = "any page that a browser here opens may read and append everything; name the origins, or ask for tokens"
        _log.warning("everybody_may_do_everything", setting='[cors] origins = ["*"]', consequence=consequence)


def _freeze_gc() -> None:
    """Keep what was loaded at start out of every later garbage collection, and collect rarely: requests leave few cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _fit_to_file_limit(config: Config) -> Config:
    """Allow as many file handles as connections, or fewer connections.

    Out of handles, accepting fails thousands of times a second."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.server.max_connections + _SPARE_FILE_HANDLES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = max(1, min(config.server.max_connections, soft - _SPARE_FILE_HANDLES))
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, max_connections=possible))
