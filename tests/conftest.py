"""Fixtures give real objects: SQLite in `tmp_path`, the real application over HTTP. Only the clock is made."""

import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import server.app  # noqa: E402
from server.app import LOG, make_app  # noqa: E402
from server.auth.principal import VERBS  # noqa: E402
from server.config import (  # noqa: E402
    AuthSection,
    Config,
    DatabaseSection,
    DemandsSection,
    LlmSection,
    PollSection,
    StreamSection,
    TokenSection,
)
from server.http.protocol import ClientConnection  # noqa: E402
from tests.support import changed  # noqa: E402
from tests.support.upstream import Upstream  # noqa: E402


def pytest_addoption(parser):
    """Add `--keep-db`, which prints where each test's database is."""
    parser.addoption("--keep-db", action="store_true", help="print the path of each test's database")
    parser.addoption("--with-tokens", action="store_true", help="ask every client in process for a token, and send one")


def pytest_xdist_auto_num_workers(config):
    """Single files, a pattern (`-k`) and output as it comes (`-s`) run in this process, everything else in a process for each
    core and one more, because tests wait for servers and browsers most of the time; `-n 0` and `-n 4` overrule."""
    is_narrow = bool(config.option.keyword) or not any(Path(argument).is_dir() for argument in config.args)
    return 0 if is_narrow or config.option.capture == "no" else (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Every test of these folders is slow: it starts a browser, a server process or a benchmark."""
    for item in items:
        if item.path.is_relative_to(ROOT) and item.path.relative_to(ROOT).parts[1] in ("benchmarks", "browser", "system"):
            item.add_marker(pytest.mark.slow)


TOKEN = "every-test-0123456789abcdef"

os.environ.setdefault("TOWOW__LLM__LOCAL", "false")  # for server processes: who tests the local model asks for it


def allow_interrupts():
    """Let Ctrl-C work in programs that tests start: a shell that runs them in the background turns it off for all."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """With `--with-tokens`, applications whose settings ask nobody ask for the token that every test client then sends."""
    allow_interrupts()
    if not config.getoption("--with-tokens"):
        return
    build = server.app.make_app
    scopes = tuple(f"{verb}:{glob}" for verb in VERBS for glob in ("*", "system:*"))
    everything = TokenSection(name="anonymous", scopes=scopes, token=TOKEN)

    def asking(settings, **options):
        if settings.auth.mode == "off":
            auth = AuthSection(mode="token", tokens=(everything,))
            settings = changed(msgspec.structs.replace(settings, auth=auth), "tools", allow_self_approval=True)
        return build(settings, **options)

    os.environ["TOWOW_TEST_TOKEN"] = TOKEN  # for requests over bare connections, see support.credentials
    server.app.make_app = asking
    globals()["make_app"] = asking


class ConnectionServer(web.Server):
    """Makes the product's connections."""

    def __call__(self):
        """A connection for a new client."""
        return ClientConnection(self, loop=self._loop, **self._kwargs)


class ConnectionRunner(web.AppRunner):
    """Runs an application on them."""

    async def _make_server(self):
        made = await super()._make_server()
        made.__class__ = ConnectionServer
        return made


class ServedApplication(TestServer):
    """The application on connections as `serve` has them."""

    async def _make_runner(self, **kwargs):
        return ConnectionRunner(self.app, **kwargs)


@pytest.fixture
def aiohttp_client(aiohttp_client, request):
    """pytest-aiohttp's client, on the product's connections; with `--with-tokens` one that sends the token."""

    async def connect(app, *, server_kwargs=None, **options):
        if request.config.getoption("--with-tokens"):
            options["headers"] = {"Authorization": f"Bearer {TOKEN}", **(options.get("headers") or {})}
        server = ServedApplication(app, **(server_kwargs or {})) if isinstance(app, web.Application) else app
        return await aiohttp_client(server, **options)

    return connect


@pytest.fixture
def config(tmp_path, request):
    """Settings for tests: a fresh file, quick keepalives, no sample agents, no model."""
    path = tmp_path / "towow.db"
    if request.config.getoption("--keep-db"):
        print(f"database: {path}")
    return Config(
        database=DatabaseSection(path=str(path), min_free_bytes=0, busy_timeout_seconds=0.2),
        stream=StreamSection(keepalive_seconds=0.05, send_timeout_seconds=1.0),
        poll=PollSection(poll_interval_seconds=0.02, max_poll_interval_seconds=0.05),
        demands=DemandsSection(sample_agents=False, keepalive_seconds=0.05),
        llm=LlmSection(local=False),
    )


@pytest.fixture
def quiet_config(config):
    """The same with keepalives that no test lives to see."""
    return changed(changed(config, "stream", keepalive_seconds=60.0), "demands", keepalive_seconds=60.0)


@pytest.fixture
async def upstream():
    """A model's server that answers as the test says."""
    async with Upstream() as server:
        yield server


@pytest.fixture
async def client(aiohttp_client, quiet_config):
    """An HTTP client of the whole application."""
    return await aiohttp_client(make_app(quiet_config))


@pytest.fixture
def log(client):
    """The event log behind `client`."""
    return client.app[LOG]
