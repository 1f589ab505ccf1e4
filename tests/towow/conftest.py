"""Fixtures of the client's tests: the real application behind a network that loses answers, and a client of it."""

import os

import aiohttp
import pytest

import server.app
from tests.support import changed
from tests.towow.network import QUICK, Network
from towow import Client


@pytest.fixture
def network():
    """What is between the client and the application."""
    return Network()


@pytest.fixture
def rotating(quiet_config):
    """Settings with which a connection has three events, so that every follow is made of several."""
    return changed(quiet_config, "stream", max_events_per_stream=3, retry_milliseconds=1)


@pytest.fixture
def serve(network, aiohttp_server):
    """Serve the application behind the network."""

    async def serve(config, **options):
        app = server.app.make_app(config, **options)
        app.middlewares.append(network.middleware)
        return await aiohttp_server(app)

    return serve


@pytest.fixture
async def real(serve, rotating):
    """The real server."""
    return await serve(rotating)


@pytest.fixture
async def towow(real, network):
    """A client of it."""
    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(network.keep_body)
    async with (
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        Client(str(real.make_url("")), token=os.environ.get("TOWOW_TEST_TOKEN"), session=session, retry=QUICK) as client,
    ):
        yield client
