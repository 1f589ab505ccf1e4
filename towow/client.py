"""The client: appends that are safe to repeat, reads, and follows that resume by themselves.

It speaks HTTP only and serves any application: `async with Client() as client: await client.append(…)`.
`negotiating.py` adds demands and agents, `tasking.py` tasks, `generating.py` runs; `following.py` holds the life of a
follower, `retry.py` the retries, `answers.py` the errors."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import aiohttp
import msgspec

from towow.demands import Negotiating
from towow.errors import InvalidBody
from towow.events import Event, payload_json, uuid7
from towow.follow import Following, StateCallback, cursor_parameters
from towow.responses import Page, read_event, read_object, read_page
from towow.retry import Retry
from towow.runs import Generating
from towow.tasks import Tasking
from towow.transport import Transport, path_segment


class Client(Negotiating, Tasking, Generating):
    """One server, as seen by an application; use it with `async with`. Safe to use from many tasks at once.

    `token` is sent as a bearer token. A `session` that is passed in stays open; otherwise the client owns
    one. `timeout_seconds` bounds each try of a call, and a follow until its stream begins. `source` names the
    publisher."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout_seconds: float = 30.0,
        retry: Retry | None = None,
        source: str = "python-client",
    ) -> None:
        super().__init__(Transport(base_url, token, session, timeout_seconds, retry or Retry()))
        self._source = source

    @property
    def base_url(self) -> str:
        """The server's URL without a slash at the end."""
        return self._transport.base_url

    async def __aenter__(self) -> Self:
        self._transport.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, unless the session came from outside; safe to call again."""
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
    ) -> dict[str, Any]:
        """Store one event and return `{"seq", "revision", "event_id", "followers"}`; it is on disk then.

        The event_id is chosen before the first try, so a repeated try never stores twice, also not one with
        an `expected_revision` whose first outcome is unknown. Raises `RevisionMismatch`, `StreamEnded`,
        `Conflict` (the event_id holds other content), `InvalidBody`, `TooLarge`, `StorageFull`, or
        `Unreachable` after all tries."""
        event = {
            "stream": stream,
            "event_type": event_type,
            "payload": payload,
            "event_id": event_id,
            "source": source,
            "expected_revision": expected_revision,
        }
        return read_object(await self._transport.call("POST", "/api/events", body=self._encode(event)))

    async def append_many(self, events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Store events, all or none, in the order given; each has the arguments of `append` as keys.

        Returns what `append` does, one for each. No events: an empty list, and no request."""
        encoded = [self._encode(event) for event in events]
        if not encoded:
            return []
        body = b'{"events":[%b]}' % b",".join(encoded)
        stored: list[dict[str, Any]] = read_object(await self._transport.call("POST", "/api/events", body=body))["events"]
        return stored

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
        parameters += _given(limit=limit, wait=wait, epoch=epoch)
        return read_page(await self._transport.call("GET", "/api/events", parameters, extra_seconds=wait or 0.0))

    async def get_event(self, seq_or_event_id: int | str) -> Event:
        """One stored event. Raises `NotFound`."""
        return read_event(await self._transport.call("GET", f"/api/events/{path_segment(seq_or_event_id)}"))

    async def streams(self, kind: str | None = None, *, after: str | None = None, limit: int = 100) -> dict[str, Any]:
        """One page of streams by name, `{"streams", "has_more", "next_after", "head_seq"}`; `after` excluded."""
        parameters = _given(kind=kind, after=after, limit=limit)
        return read_object(await self._transport.call("GET", "/api/streams", parameters))

    async def each_stream(self, kind: str | None = None, *, limit: int = 1000) -> AsyncIterator[dict[str, Any]]:
        """Every stream, by name, read in pages of `limit`."""
        after: str | None = None
        while True:
            page = await self.streams(kind, after=after, limit=limit)
            for stream in page["streams"]:
                yield stream
            if not page["has_more"]:
                return
            after = page["next_after"]

    async def health(self) -> dict[str, Any]:
        """The server's state, asked once. Raises `Unavailable` when it is not well, `Unreachable` when silent."""
        return read_object(await self._transport.call_once("GET", "/health"))

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
    ) -> AsyncGenerator[Event, None]:
        """Every event after the cursor, once and in order of seq: the stored ones, then new ones as they come.

        It resumes by itself after every break, and ends when the stream has ended, or with `live=False` at
        the end of what is stored. `start` (`beginning`, `live`, `tail:N`) matters only without a cursor. A
        cursor that the log does not hold raises `CursorLost`, or with `on_reset="continue"` goes on from the
        oldest event kept. Refusals (400, 401, 403, 404, 409, 410) are raised as their error, never retried.
        Closing or cancelling the iterator closes the connection. `on_state(state, detail)` hears
        `connecting`, `connected`, `ready`, `reconnecting`, `reset`, `ended`."""
        following = Following(
            self._transport,
            _selection(streams, types) + _given(allow_pending=1 if allow_pending else None),
            since_seq=since_seq,
            start=start,
            epoch=epoch,
            continue_after_reset=on_reset == "continue",
            on_state=on_state,
            live=live,
        )
        return following.events()

    def _encode(self, event: Mapping[str, Any]) -> bytes:
        """The JSON of one event, complete with its event_id: the same bytes for every try."""
        payload = event.get("payload")
        if not isinstance(payload, Mapping):
            raise InvalidBody("payload must be an object", field="payload")
        fields = {key: value for key, value in event.items() if value is not None}
        fields["payload"] = msgspec.Raw(payload_json(dict(payload)).encode())
        fields.setdefault("event_id", uuid7())
        fields.setdefault("source", self._source)
        return msgspec.json.encode(fields)


def _selection(streams: Sequence[str], types: Sequence[str]) -> list[tuple[str, str]]:
    return [("stream", stream) for stream in streams] + [("type", glob) for glob in types]


def _given(**parameters: float | str | None) -> list[tuple[str, str]]:
    """Query parameters, without those that are None."""
    return [(key, str(value)) for key, value in parameters.items() if value is not None]
