"""What is read from the log: pages, single events, streams, heads, and the rows that surfaces project from it.

Nothing here writes, and nothing is read that was not announced."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from server.config import Config
from server.eventlog import queries
from server.eventlog.database import Database, is_corrupt, sqlite3
from server.eventlog.heads import HeadSigner, SignedHead
from server.eventlog.hub import Hub
from server.eventlog.queries import Page, StreamInfo
from server.eventlog.rows import prove, read_check, read_head_seq
from server.eventlog.selection import EVERYTHING, Selection
from server.eventlog.trimmed import TrimmedStream, read_trimmed, trimmed_through
from towow.errors import Damaged, InvalidRequest, NotFound
from towow.events import Event, cursor_of

T = TypeVar("T")


class LogReader:
    """The reading half of the event log."""

    def __init__(self, database: Database, hub: Hub, config: Config, signer: HeadSigner, clock: Callable[[], float]) -> None:
        self.hub = hub
        self.clock = clock
        self._database = database
        self._config = config
        self._signer = signer
        self._seen_seq = 0

    @property
    def head_seq(self) -> int:
        """The last seq that has been announced."""
        return self.hub.dispatched_seq

    @property
    def seen_seq(self) -> int:
        """The last seq that an answer of this process may have shown: announced, or read from the file before it was."""
        return max(self.head_seq, self._seen_seq)

    async def read(
        self, selection: Selection, after: int, *, limit: int = 1000, max_bytes: int | None = None, through: int | None = None
    ) -> Page:
        """A page of announced events after a cursor (exclusive), ascending; see `queries.read_page`.

        One event more than `max_bytes` allows is never held back: a page with work left is not empty for ever. Raises
        `Damaged` when the first event of the page is damaged; go on after its seq."""
        through = self.head_seq if through is None else through
        size = self._config.stream.page_bytes if max_bytes is None else max_bytes
        recent = self.hub.recent(selection, after, limit, size)
        if recent is not None and recent[1] <= through:
            return Page(*recent)
        return await self._read(
            partial(queries.read_trimmed_page, selection=selection, after=after, through=through, limit=limit, max_bytes=size)
        )

    async def read_newest(self, selection: Selection, limit: int) -> list[Event]:
        """The newest announced events, oldest first."""
        return await self._read(partial(queries.read_newest, selection=selection, through=self.head_seq, limit=limit))

    async def get(
        self,
        *,
        seq: int | None = None,
        event_id: str | None = None,
        selection: Selection = EVERYTHING,
        may_read: Callable[[str], bool] = lambda stream: True,
    ) -> Event | None:
        """One event by seq, or by event_id among the streams of a selection that may be read; None when there is none.

        Raises `InvalidRequest` when several streams have an event with this id, and `Damaged`."""
        if event_id is None:
            return await self._read(partial(queries.read_event, seq=seq or 0))
        events: list[Event] = []
        after: str | None = ""
        while after is not None and len(events) < 2:
            found = await self._read(partial(queries.find_event_id, selection=selection, event_id=event_id, after=after))
            events += [event for event in found.events if may_read(event.stream)]
            after = found.after
        if len(events) > 1:
            streams = f"{events[0].stream} and {events[1].stream}"
            raise InvalidRequest(f"{streams} both have an event {event_id}; name one stream, or a seq", field="event_id")
        return events[0] if events else None

    async def prove(self, seq: int, check: str) -> str:
        """Whether a reader with this seq and these check digits has read this log: see `rows.prove`."""
        return await self._read(partial(prove, seq=seq, check=check))

    async def cursor_at(self, seq: int) -> str:
        """The cursor of a reader that has everything up to a seq: a bare one where no check of it is known."""
        check = await self._read(partial(read_check, seq=seq))
        return cursor_of(seq, check or "")

    async def head(self, at: int | None = None) -> SignedHead:
        """The head of the log, signed where there is a key; with `at` the first kept one that covers that seq.

        Raises `NotFound` for a seq that was never given."""
        head = await self._read(partial(self._signer.read, at=at, now=self.clock()))
        if head is None:
            raise NotFound(f"there is no seq {at}; the log ends at {self.head_seq}", field="at")
        return head

    async def stream(self, name: str) -> StreamInfo | None:
        """Where a stream stands, or None when it never existed."""
        return await self._read(partial(queries.read_stream, stream=name))

    async def trimmed_through(self, selection: Selection) -> int:
        """The highest seq of a selection that retention has removed: a reader before it misses events; 0 for none."""
        return await self._read(partial(trimmed_through, selection=selection))

    async def trimmed_stream(self, name: str) -> TrimmedStream | None:
        """What is known of a stream that retention has trimmed, None when it has not."""
        return await self._read(partial(read_trimmed, stream=name))

    async def streams(self, *, kind: str | None = None, after: str = "", limit: int = 100) -> list[StreamInfo]:
        """Streams in the order of their names, after a name (exclusive)."""
        return await self._read(partial(queries.read_streams, kind=kind, after=after, limit=limit))

    async def query(self, function: Callable[[Any], T]) -> T:
        """Run a short reading function of a surface (its projection tables) on a reader."""

        def run(db: Any) -> tuple[T, int]:
            return function(db), read_head_seq(db)

        result, seq = await self._read(run)
        self._seen_seq = max(self._seen_seq, seq)
        return result

    async def _read(self, function: Callable[[Any], T]) -> T:
        try:
            return await self._database.read(function)
        except (sqlite3.DatabaseError, UnicodeError) as error:
            if is_corrupt(error) or isinstance(error, UnicodeError):
                raise Damaged("the database is damaged here; `check` lists every fault", seq=0) from error
            raise
