"""The Python client: `Client` appends, reads and follows over HTTP, and survives restarts of the server.

    async with Client("http://127.0.0.1:8000") as client:
        await client.append("task:t-1", "task.started", {"name": "index"})
        async for event in client.follow("task:t-1"):
            print(event.seq, event.event_type, event.payload)

Reading order: `client.py` (the calls of every stream), `demands.py`, `sessions.py`, `tasks.py`, `runs.py` (the calls of a
surface), `tools.py` (for tool runners), `follow.py` and `subscription.py` (the life of a follow), `transport.py` (HTTP),
`retry.py` (retries), `responses.py` (results and errors). `sync.py` is the same client for programs without asyncio.
`channels.py` is publish and subscribe by channel, with the names of source 001."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towow.channels import SseManager, enqueue_sse_message, subscribe_sse_events
    from towow.client import Client
    from towow.responses import CursorLost, Page, Unreachable
    from towow.retry import Retry
    from towow.sse_parser import Frame, SseParser
    from towow.subscription import Subscription
    from towow.tools import Permission, SimpleNotifier

from towow.version import __version__

__all__ = [
    "Client",
    "CursorLost",
    "Frame",
    "Page",
    "Permission",
    "Retry",
    "SimpleNotifier",
    "SseManager",
    "SseParser",
    "Subscription",
    "Unreachable",
    "__version__",
    "enqueue_sse_message",
    "subscribe_sse_events",
]

_MODULES = {
    "Client": "client",
    "CursorLost": "responses",
    "Frame": "sse_parser",
    "Page": "responses",
    "Permission": "tools",
    "Retry": "retry",
    "SimpleNotifier": "tools",
    "SseManager": "channels",
    "SseParser": "sse_parser",
    "Subscription": "subscription",
    "Unreachable": "responses",
    "enqueue_sse_message": "channels",
    "subscribe_sse_events": "channels",
}


def __getattr__(name: str) -> Any:
    """A public name, imported at its first use: the server needs only the words, and its help comes at once."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"towow.{_MODULES[name]}"), name)
