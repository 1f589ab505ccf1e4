"""The Python client: `Client` appends, reads and follows over HTTP, and survives restarts of the server.

    async with Client("http://127.0.0.1:8000") as client:
        await client.append("task:t-1", "task.started", {"name": "index"})
        async for event in client.follow("task:t-1"):
            print(event.seq, event.event_type, event.payload)

Reading order: `calls.py` (what can be asked of every stream), `negotiating.py` (of demands and agents), `tasking.py` (of
tasks), `generating.py` (of runs), `following.py` (how a follow resumes), `transport.py` (HTTP), `retry.py` (retries),
`answers.py` (answers and errors). `sse_manager.py` is publish and subscribe by channel, with the names of source
001; `channels.py` says which channel is which stream. `notifier.py` is for who runs tools."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towow.client import Client
    from towow.responses import CursorLost, Page, Unreachable
    from towow.retry import Retry
    from towow.sessions import SseManager, enqueue_sse_message, subscribe_sse_events
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
    "SseManager": "sessions",
    "SseParser": "sse_parser",
    "Subscription": "subscription",
    "Unreachable": "responses",
    "enqueue_sse_message": "sessions",
    "subscribe_sse_events": "sessions",
}


def __getattr__(name: str) -> Any:
    """A public name, imported at its first use: the server needs only the words, and its help comes at once."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"towow.{_MODULES[name]}"), name)
