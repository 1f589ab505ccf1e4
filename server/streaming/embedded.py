"""Channels inside a server: publish to its event log and follow it, without HTTP.

Handed to `towow.SseManager` by an application that runs the server in its own process: `SseManager(LogBackend(log))`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.streaming.follower import events_after
from towow.channels import Content
from towow.errors import TowowError
from towow.events import Event, new_event


class LogBackend:
    """The channels of the log of this process, whoever opened it; closing leaves it open."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def connect(self) -> None:
        """Nothing: a log that is handed over is open."""

    async def close(self) -> None:
        """Nothing: the log is not ours."""

    async def publish(self, stream: str, content: Content) -> int:
        """Append an event and return its seq; it is on disk then."""
        event = new_event(stream, content.event_type, content.payload, source=content.source)
        return (await self._log.append([event]))[0].event.seq

    def follow(self, stream: str, since_seq: int | None) -> AsyncGenerator[Event, None]:
        """Every event after a cursor. Without one a session from its beginning, everything else from the moment of this
        call."""
        selection = select((stream,))
        cursor = since_seq if since_seq is not None else self._log.head_seq if selection.starts_live else 0
        return self._events(stream, cursor)

    async def is_well(self) -> bool:
        """Whether an append would be taken just now."""
        try:
            await self._log.check_ready()
        except TowowError:
            return False
        return True

    async def _events(self, stream: str, cursor: int) -> AsyncGenerator[Event, None]:
        events: Any = events_after(self._log, select((stream,)), cursor)
        async with aclosing(events):
            async for event in events:
                yield event
                if event.stream == stream and self._log.is_terminal(stream, event.event_type):
                    return
