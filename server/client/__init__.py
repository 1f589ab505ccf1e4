"""
The Python client: `Client` appends, reads and follows over HTTP, and survives restarts of the server.

    async with Client("http://127.0.0.1:8000") as client:
        await client.append("task:t-1", "task.started", {"name": "index"})
        async for event in client.follow("task:t-1"):
            print(event.seq, event.event_type, event.payload)

Reading order: `calls.py` (what can be asked of every stream), `negotiating.py` (of demands and agents), `tasking.py` (of
tasks), `generating.py` (of runs), `following.py` (how a follow resumes), `transport.py` (HTTP), `retry.py` (patience),
`answers.py` (answers and errors). `sse_manager.py` is publish and subscribe by channel, with the names of source
001; `channels.py` says which channel is which stream. `notifier.py` is for who runs tools.
"""

from server.client.answers import CursorLost, Page, Unreachable
from server.client.calls import Client
from server.client.notifier import Permission, SimpleNotifier
from server.client.retry import Retry
from server.client.sse_manager import SseManager, enqueue_sse_message, subscribe_sse_events
from server.client.subscription import Subscription
from server.frames import Frame, SseParser

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
    "enqueue_sse_message",
    "subscribe_sse_events",
]
