"""The client: appends that are safe to repeat, reads, and follows that resume by themselves.

It uses HTTP only and serves any application: `async with Client() as client: await client.append(…)`. `demands.py`,
`sessions.py`, `tasks.py` and `runs.py` add the calls of the surfaces; `follow.py` holds the life of a follower, `retry.py` the
retries, `responses.py` the results and errors, `sync.py` the same client without asyncio."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import aiohttp
import msgspec

from towow.demands import DemandCalls
from towow.events import Event, event_fields
from towow.follow import StateCallback, cursor_parameters, follow
from towow.responses import Health, Page, Receipt, Receipts, StreamInfo, StreamPage, read, read_event, read_page
from towow.retry import Retry
from towow.runs import RunCalls
from towow.sessions import SessionCalls
from towow.subscription import Subscription
from towow.tasks import TaskCalls
from towow.transport import Transport, given, path_segment


class Client(DemandCalls, SessionCalls, TaskCalls, RunCalls):
    """One server, for an application; use it with `async with`. Safe to use from many tasks at once.

    `token` is sent as a bearer token. A `session` that is passed in stays open; otherwise the client owns one.
    `timeout_seconds` bounds each try of a call, and a follow until its stream begins. `source` names the publisher. With
    `reads_own_writes` every call is answered by a process that knows what this client has seen (`seen`), where several
    serve one log; one that is behind for 5 s is tried again as one that is unavailable."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout_seconds: float = 30.0,
        retry: Retry | None = None,
        source: str = "python-client",
        reads_own_writes: bool = False,
    ) -> None:
        self._transport = Transport(
            base_url, token, session, timeout_seconds, retry or Retry(), reads_own_writes=reads_own_writes
        )
        self._source = source

    @property
    def base_url(self) -> str:
        """The server's URL without a slash at the end."""
        return self._transport.base_url

    def seen(self, seq: int = 0) -> int:
        """The highest seq that an answer to this client may have shown; `seq` is what another client has seen, to go on from.

        With `reads_own_writes` later calls are answered with at least that."""
        self._transport.seen_seq = max(self._transport.seen_seq, seq)
        return self._transport.seen_seq

    async def __aenter__(self) -> Self:
        self._transport.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End every follow, and close the session unless it came from outside; safe to call again."""
        await self._transport.close()

    async def append(
        self,
        stream: str,
        event_type: str,
        payload: Mapping[str, Any],
        *,
        event_id: str | None = None,
        source: str | None = None,
        expected_revision: int | None = None,
    ) -> Receipt:
        """Store one event; it is on disk when this returns.

        The event_id is chosen before the first try, so a repeated try never stores twice, also not one with an
        `expected_revision` whose first outcome is unknown. Raises `RevisionMismatch`, `StreamEnded`, `Conflict` (the event_id
        holds other content), `InvalidBody`, `TooLarge`, `StorageFull`, or `Unreachable` after all tries."""
        event = {
            "stream": stream,
            "event_type": event_type,
            "payload": payload,
            "event_id": event_id,
            "source": source,
            "expected_revision": expected_revision,
        }
        body = msgspec.json.encode(event_fields(event, self._source))
        return await self._transport.post(Receipt, "/api/events", body)

    async def append_many(self, events: Iterable[Mapping[str, Any]]) -> list[Receipt]:
        """Store events, all or none, in the order given; each has the arguments of `append` as keys.

        Returns what `append` does, one for each. No events: an empty list, and no request."""
        fields = [event_fields(event, self._source) for event in events]
        if not fields:
            return []
        return (await self._transport.post(Receipts, "/api/events", msgspec.json.encode({"events": fields}))).events

    async def read(
        self,
        *streams: str,
        since_seq: int | str | None = None,
        types: Sequence[str] = (),
        limit: int = 100,
        wait: float | None = None,
        epoch: str | None = None,
    ) -> Page:
        """One page of stored events after a cursor, ascending; without a cursor the newest `limit` (1 to 1,000).

        `since_seq` is exclusive, a seq or an event_id. No streams means all. `wait` holds an empty answer
        back for up to so many seconds. Raises `CursorLost`, `NotFound`, `InvalidRequest`."""
        parameters = _selection(streams, types) + cursor_parameters(since_seq)
        parameters += given(limit=limit, wait=wait, epoch=epoch)
        return read_page(await self._transport.call("GET", "/api/events", parameters, extra_seconds=wait or 0.0))

    async def get_event(self, seq_or_event_id: int | str) -> Event:
        """One stored event. Raises `NotFound`."""
        return read_event(await self._transport.call("GET", f"/api/events/{path_segment(seq_or_event_id)}"))

    async def streams(self, kind: str | None = None, *, after: str | None = None, limit: int = 100) -> StreamPage:
        """One page of streams by name; `after` is excluded."""
        return await self._transport.get(StreamPage, "/api/streams", given(kind=kind, after=after, limit=limit))

    def each_stream(self, kind: str | None = None, *, limit: int = 1000) -> Subscription[StreamInfo]:
        """Every stream, by name, read in pages of `limit`."""

        async def pages() -> AsyncGenerator[Sequence[StreamInfo], None]:
            after, has_more = None, True
            while has_more:
                page = await self.streams(kind, after=after, limit=limit)
                after, has_more = page.next_after, page.has_more
                if page.streams:
                    yield page.streams

        return Subscription(pages())

    async def health(self) -> Health:
        """The server's state, read once. Raises `Unavailable` when it cannot write, `Unreachable` without an answer."""
        return read(Health, await self._transport.call_once("GET", "/health"))

    def follow(
        self,
        *streams: str,
        since_seq: int | str | None = None,
        types: Sequence[str] = (),
        start: str | None = None,
        epoch: str | None = None,
        allow_pending: bool = False,
        on_reset: Literal["raise", "continue"] = "raise",
        on_state: StateCallback | None = None,
        live: bool = True,
    ) -> Subscription[Event]:
        """Every event after the cursor, once and in order of seq: the stored ones, then new ones as they come.

        It resumes by itself after every break, and ends when the stream has ended, or with `live=False` at the end of the
        stored events. `start` (`beginning`, `live`, `tail:N`) matters only without a cursor. A cursor that the log does not
        hold raises `CursorLost`, or with `on_reset="continue"` goes on from the oldest event kept. Refusals (400, 401, 403,
        404, 409, 410) are raised as their error, never retried. A time-out around `anext` ends nothing; `aclose` closes the
        connection. `on_state(state, detail)` is called with `connecting`, `connected`, `ready`, `reconnecting`, `reset`,
        `ended`."""
        return follow(
            self._transport,
            _selection(streams, types) + given(allow_pending=1 if allow_pending else None),
            since_seq=since_seq,
            start=start,
            epoch=epoch,
            continue_after_reset=on_reset == "continue",
            on_state=on_state,
            live=live,
        )


def _selection(streams: Sequence[str], types: Sequence[str]) -> list[tuple[str, str]]:
    return [("stream", stream) for stream in streams] + [("type", glob) for glob in types]
