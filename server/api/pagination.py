"""Pages over HTTP: of events after a cursor, oldest first, and of the rows of a surface, newest first.

Every page is true at one head of the log, which is read before the page: following from there repeats, never skips."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from server.auth.authenticator import require_read
from server.auth.rate_limits import held_open
from server.eventlog.log import EventLog
from server.eventlog.queries import RowPage
from server.eventlog.selection import Selection
from server.http import params
from server.http.protocol import unless_half_closed
from server.http.responses import JsonResponse, json_response
from server.http.text_rules import one_of
from server.streaming.cursor import resolve
from server.streaming.follower import wait_for_event
from towow.errors import Gone
from towow.events import MAX_SEQ, Event

DEFAULT_EVENTS = 100
MAX_EVENTS = 1_000
PAGE = (*params.CURSOR, "until_seq", "wait")
PLACE = ("has_more", "next_since_seq", "next_cursor", "head_seq", "epoch")
_PAGE_BYTES = 8_388_608
_MORE_READS = 2  # that one request looks for its first event with, each through 100,000 seqs at most

DEFAULT_ROWS = 50
MAX_ROWS = 200


class EventPage(msgspec.Struct, frozen=True):
    """Stored events, ascending, and where they stand; everything is of the moment at which the read began.

    `has_more`: there are events of the selection after these. `next_cursor` is where to go on from, and proves the history that
    these are of; `next_since_seq` is its seq. `is_over`: the one stream has ended and the cursor was at its end; `ended`: so is
    it after these events."""

    events: list[Event]
    has_more: bool
    next_since_seq: int
    next_cursor: str
    head_seq: int
    epoch: str
    is_over: bool
    ended: bool

    @property
    def count(self) -> int:
        """How many events there are."""
        return len(self.events)

    def json(self, envelope: Callable[[Event], bytes], fields: tuple[str, ...]) -> bytes:
        """`{"events": […], …}` with each event in a surface's envelope, and these fields of the page in their order."""
        place = msgspec.json.encode({name: getattr(self, name) for name in fields})
        return b'{"events":[' + b",".join([envelope(event) for event in self.events]) + b"]," + place[1:]


class _Found(NamedTuple):
    """Events up to `through_seq`, where `asked_seq` was asked for, both inclusive; the head was read before them."""

    events: list[Event]
    through_seq: int
    asked_seq: int
    head_seq: int
    head_cursor: str

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing, and all was looked at."""
        return not self.events and self.through_seq >= self.asked_seq


async def read_events(
    request: web.Request,
    log: EventLog,
    selection: Selection,
    *,
    max_wait_seconds: float,
    default: int = DEFAULT_EVENTS,
    high: int = MAX_EVENTS,
    limit_name: str = "limit",
    starts_newest: bool = False,
) -> EventPage:
    """The page that a request asks for: a cursor in any form, `limit=` (or what it is called here), `until_seq=` (inclusive)
    and `wait=` seconds to wait for a first event.

    Without a cursor and a start: the newest, or else from where the selection begins. Raises `Forbidden` for streams that the
    client may not read, `InvalidRequest`, `NotFound` for a single stream that never existed, and `Gone` with the fields of a
    reset frame for a place that is not in this log."""
    require_read(request, *selection.names, *selection.patterns)
    asked = params.asked(request)
    limit = params.query_integer(request, limit_name, default=default, low=1, high=high)
    until = params.query_integer(request, "until_seq", default=MAX_SEQ, low=0, high=MAX_SEQ)
    wait = params.query_seconds(request, "wait", default=0.0, low=0.0, high=max_wait_seconds)
    if starts_newest and asked.cursor is None and asked.start is None:
        asked = asked._replace(start=f"tail:{limit}")
    start = await resolve(log, selection, asked)
    if start.reset is not None:
        what = "the cursor is not in this log" if not start.is_gone else f"{start.reset['stream']} has ended and is not kept"
        raise Gone(f"{what}: {start.reset['reason']}", field="cursor", **start.reset)
    found = await _read(log, selection, start.cursor, until, limit)
    if wait and not start.is_over and found.is_at_end and found.through_seq < until:
        with held_open(request):
            found = await _wait(request, log, selection, found, until, limit, time.monotonic() + wait)
    shown = found.events[:limit]
    is_cut = len(found.events) > limit
    next_seq = shown[-1].seq if is_cut else found.through_seq
    if shown and shown[-1].seq == next_seq:
        next_cursor = shown[-1].cursor
    else:
        next_cursor = found.head_cursor if next_seq == found.head_seq else await log.cursor_at(next_seq)
    ends = selection.single is not None and bool(shown) and log.is_terminal(shown[-1].stream, shown[-1].event_type)
    return EventPage(
        events=shown,
        has_more=is_cut or found.through_seq < found.asked_seq,
        next_since_seq=next_seq,
        next_cursor=next_cursor,
        head_seq=found.head_seq,
        epoch=log.epoch,
        is_over=start.is_over,
        ended=start.is_over or ends,
    )


async def _wait(
    request: web.Request, log: EventLog, selection: Selection, found: _Found, until: int, limit: int, deadline: float
) -> _Found:
    """What there is as soon as there is something, or at the deadline."""
    while found.is_at_end and found.through_seq < until and (seconds := deadline - time.monotonic()) > 0:
        if not await unless_half_closed(request, wait_for_event(log, selection, found.through_seq, seconds)):
            break
        found = await _read(log, selection, found.through_seq, until, limit)
    return found


async def _read(log: EventLog, selection: Selection, cursor: int, until: int, limit: int) -> _Found:
    """What there is now; one event more than `limit`, where there is one: it says whether there are more.

    The head is read once, first. Of a sparse selection a request looks at so many seqs; its page is empty then, with more."""
    head_seq, head_cursor = log.head_seq, log.head_cursor
    asked = max(cursor, min(until, head_seq))
    page = await log.read(selection, cursor, limit=limit + 1, max_bytes=_PAGE_BYTES, through=asked)
    for _ in range(_MORE_READS):
        if page.events or page.through_seq >= asked:
            break
        page = await log.read(selection, page.through_seq, limit=limit + 1, max_bytes=_PAGE_BYTES, through=asked)
    return _Found(page.events, page.through_seq, asked, head_seq, head_cursor)


class Filter(NamedTuple):
    """A query parameter that narrows a list to rows with one value in a column.

    `check` reads its text and raises `InvalidRequest`. `or_null`: without it the list has the rows without a value, not all."""

    column: str
    check: Callable[[str], object]
    or_null: bool = False


class Listing(NamedTuple):
    """A list of the rows of a surface, newest first: its name, the scope that it needs, how rows are read and shown."""

    name: str
    scope: str
    read: Callable[[Any, RowPage], tuple[list[Any], bool]]
    show: Callable[[Any], Mapping[str, Any]]
    filters: Mapping[str, Filter]

    @property
    def query_names(self) -> tuple[str, ...]:
        """The query parameters of the list."""
        return ("limit", "before", "after", "order", *self.filters)

    async def answer(self, request: web.Request, log: EventLog, **more: Any) -> JsonResponse:
        """`{name: […], has_more, head_seq, epoch, …}`: what the request asks for with `limit=` 1 to 200 (default 50),
        `before=` and `after=` a `created_seq` (exclusive), `order=newest|oldest` and the list's own filters.

        Raises `Forbidden` without the scope, and `InvalidRequest`."""
        require_read(request, self.scope)
        where: dict[str, object] = {}
        for name, each in self.filters.items():
            text = params.query(request, name)
            if text is not None:
                where[each.column] = each.check(text)
            elif each.or_null:
                where[each.column] = None
        page = RowPage(
            limit=params.query_integer(request, "limit", default=DEFAULT_ROWS, low=1, high=MAX_ROWS),
            before_seq=params.query_integer(request, "before", default=MAX_SEQ, low=0, high=MAX_SEQ),
            after_seq=params.query_integer(request, "after", default=-1, low=0, high=MAX_SEQ),
            is_oldest_first=one_of(params.query(request, "order"), "order", ("newest", "oldest")) == "oldest",
            where=where,
        )
        head_seq = log.head_seq
        rows, has_more = await log.query(lambda db: self.read(db, page))
        shown = [self.show(row) for row in rows]
        return json_response({self.name: shown, "has_more": has_more, "head_seq": head_seq, "epoch": log.epoch, **more})
