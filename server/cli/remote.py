"""What the commands that talk to a server share: its address, and a client for it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from server.cli.output import note
from towow import Client
from towow.transport import unreachable

F = TypeVar("F", bound=Callable[..., Any])


def server_options(command: F) -> F:
    """`--server` and `--token`, with their environment variables."""
    command = click.option(
        "--token",
        envvar="TOWOW_TOKEN",
        show_envvar=True,
        help="Bearer token, if the server asks for one; better set by the variable than typed.",
    )(command)
    return click.option(
        "--server",
        "url",
        envvar="TOWOW_SERVER",
        show_envvar=True,
        default="http://127.0.0.1:8000",
        show_default=True,
        metavar="URL",
        help="The server to talk to.",
    )(command)


class _Notes(logging.Handler):
    """Shows what the client logs, its retries, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage(), style="yellow")


@asynccontextmanager
async def connect(url: str, token: str | None) -> AsyncIterator[Client]:
    """A client for a server that is there now: a wrong address is said at once, later breaks are bridged."""
    log = logging.getLogger("towow.client")
    log.setLevel(logging.INFO)
    log.handlers = [_Notes()]
    async with Client(url, token=token.strip() if token else None, source="cli") as client:
        await _look(client.base_url)
        yield client


async def _look(url: str) -> None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(10):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except OSError as error:  # a time-out is one, too
        raise unreachable(url, error) from None
    writer.close()
