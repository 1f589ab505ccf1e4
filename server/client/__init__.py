"""
The Python client: `Client` appends, reads and follows over HTTP, and survives restarts of the server.

    async with Client("http://127.0.0.1:8000") as client:
        await client.append("task:t-1", "task.started", {"name": "index"})
        async for event in client.follow("task:t-1"):
            print(event.seq, event.event_type, event.payload)

Reading order: `calls.py` (what can be asked of every stream), `negotiating.py` (of demands and agents),
`following.py` (how a follow resumes), `frames.py` (Server-Sent Events), `transport.py` (HTTP), `retry.py`
(patience), `answers.py` (answers and errors).
"""

from server.client.answers import CursorLost, Page, Unreachable
from server.client.calls import Client
from server.client.frames import Frame, SseParser
from server.client.retry import Retry

__all__ = ["Client", "CursorLost", "Frame", "Page", "Retry", "SseParser", "Unreachable"]
