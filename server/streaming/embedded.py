"""Channels inside a server: publish to its event log and follow it, without HTTP.

Handed to `towow.SseManager` by an application that runs the server in its own process: `SseManager(LogBackend(log))`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.streaming.cursor import CursorRequest, resolve
from server.streaming.follower import events_after
from towow.channels import Content
from towow.errors import TowowError
from towow.events import Event, new_event, split_cursor
from towow.responses import reset_error


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

    def follow(self, stream: str, since_seq: int | str | None) -> AsyncGenerator[Event, None]:
        """Every event after a cursor, a seq or a message's `cursor`. Without one a session from its beginning, everything else
        from the moment of this call. Raises `CursorLost` at the first event for a place that is not in this log."""
        if since_seq is None:
            since_seq = self._log.head_seq if select((stream,)).starts_live else 0
        return self._events(stream, since_seq)

    async def is_well(self) -> bool:
        """Whether an append would be taken just now."""
        try:
            await self._log.check_ready()
        except TowowError:
            return False
        return True

    async def _events(self, stream: str, since_seq: int | str) -> AsyncGenerator[Event, None]:
        seq, check = split_cursor(str(since_seq)) or (since_seq, "")
        start = await resolve(self._log, select((stream,)), CursorRequest(seq, allow_pending=True, check=check))
        if start.reset is not None:
            raise reset_error(start.reset)
        events: Any = events_after(self._log, select((stream,)), start.cursor)
        async with aclosing(events):
            async for event in events:
                yield event
                if event.stream == stream and self._log.is_terminal(stream, event.event_type):
                    return
