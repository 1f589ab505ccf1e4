"""The event log: append, read, and the one task that commits, announces and acknowledges.

Store first, then announce, then answer: a future given out by `append` is resolved after COMMIT has returned and after the
hub has written the events to the live followers. What other processes appended is read and dispatched by the same task, so
the hub always sees one ascending sequence."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog

from server.config import Config
from server.eventlog import queries
from server.eventlog.clock import MAX_DOWN_SECONDS, ClockWatch, counted_seconds
from server.eventlog.database import Database, is_busy, is_fatal, is_locked, lacks_room
from server.eventlog.heads import HeadSigner, last_signed_seq
from server.eventlog.hub import Hub
from server.eventlog.log_reader import LogReader
from server.eventlog.peers import Peers
from server.eventlog.place import Displaced
from server.eventlog.queries import LogMeta
from server.eventlog.redaction import Redaction
from server.eventlog.rows import read_head
from server.eventlog.selection import EVERYTHING
from server.eventlog.terms import DutyTerm, Superseded, read_terms, require_term
from server.eventlog.trimmed import LOG_TRIMMED, SYSTEM_LOG
from server.eventlog.writer import Committed, Projection, Receipt, Writer
from towow.errors import Damaged, StorageFull, TowowError, Unavailable
from towow.events import Event, NewEvent

T = TypeVar("T")

# Who appends in this task: the principal of a request, `system:<worker>` for the server's own work; None where nobody is asked.
ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)

# The duty that this task acts for: what it appends is refused once another process has taken that over.
TERM: ContextVar[DutyTerm | None] = ContextVar("term", default=None)

_MAX_REQUESTS_PER_COMMIT = 2_000
_MARK_SYNC_SECONDS = 1.0
_MARK_TOUCH_SECONDS = 60.0  # the mark's time is at most so old, also while nothing is appended
_MARK_TIMED_SECONDS = 2.0  # the same while somebody has a deadline, which down-time extends
_SHORTEST_DOWN_SECONDS = 5.0
_READY_SECONDS = 2.0
_FULL_SECONDS = 10.0
_ROW_BYTES = 250  # of an event in the file, about, besides its payload
_NO = frozenset({"not_found", "conflict", "gone"})  # what another process's events may turn into a yes
_HEAD_SECONDS = 60.0  # between two signed heads, at most, while events come
_log = structlog.get_logger("towow.eventlog")


Prepare = Callable[[Any], Sequence[NewEvent]]


class _Waiting(NamedTuple):
    events: Sequence[NewEvent]
    future: "asyncio.Future[list[Receipt]]"
    term: DutyTerm | None
    prepare: Prepare | None = None


class _Rejected(Exception):
    """Raised for a transaction that was undone although the disk did nothing wrong; the cause says why."""


class EventLog(LogReader):
    """The durable log of one database file. Open it with `async with`; it starts and stops its own tasks.

    `on_fatal(reason)` is called once, when the first I/O error makes further acknowledgements impossible."""

    def __init__(
        self,
        database: Database,
        hub: Hub,
        config: Config,
        *,
        is_terminal: Callable[[str, str], bool],
        projections: Mapping[str, Sequence[Projection]] | None = None,
        clock: Callable[[], float] = time.time,
        counted: Callable[[], float] = counted_seconds,
        on_fatal: Callable[[str], None] = lambda reason: None,
    ) -> None:
        super().__init__(database, hub, config, HeadSigner(config.integrity.key_file), clock)
        self.is_terminal = is_terminal
        self.meta: LogMeta
        self.clock_watch: ClockWatch
        self.down_seconds = 0.0  # before this start; 0 where another process lived on
        self.is_timed: Callable[[], bool] = bool  # whether somebody has a deadline
        self._counted = counted
        self._records_actors = config.auth.mode != "off"
        self.redaction = Redaction(config.append.redact_keys, config.append.redact)
        self._on_fatal = on_fatal
        self._writer = Writer(
            path=database.path,
            min_free_bytes=config.database.min_free_bytes,
            clock=clock,
            is_terminal=is_terminal,
            projections=projections or {},
            signer=self._signer,
        )
        self.peers = Peers(database.path)
        self.peers.describe = lambda: {"duties": self.duties}
        self._held: dict[str, tuple[int, Callable[[], None]]] = {}  # duties of this process: term, whom to tell of its end
        self._waiting: list[_Waiting] = []
        self._prepared: list[_Waiting] = []
        self._warnings: dict[str, str] = {}
        self._has_foreign = False
        self._wake: asyncio.Future[None] | None = None
        self._closed_because: str | None = None
        self._check: asyncio.Task[None] | None = None
        self._full_until = 0.0
        self._is_closing = False
        self._refreshed: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "EventLog":
        """Read where the log stands and begin to commit."""
        self.meta = await self._database.read(queries.read_meta)
        place = self._database.place
        self.clock_watch = ClockWatch(self.clock, self._counted, place.known_at, self.meta.clock_confirmed_at)
        place.clock, place.warn = self.clock_watch.trusted, self.warn
        if self._database.accepted_loss is not None:
            self.warn("history_lost", f"history was lost, and that was accepted: {self._database.accepted_loss}")
        if self._database.is_alone and place.known_at is not None:
            down = min(max(0.0, self.clock() - place.known_at), MAX_DOWN_SECONDS)
            self.down_seconds = down if down >= _SHORTEST_DOWN_SECONDS else 0.0
        self.hub.start_at(*self.meta.head)
        await self._database.writer.call(self._writer.foreign_writes)
        self._has_foreign = True  # whatever came between the two reads
        self.peers.start(self.wake_for_foreign)
        self._tasks = [
            asyncio.create_task(self._run(), name="eventlog"),
            asyncio.create_task(self._poll(), name="eventlog-poll"),
            asyncio.create_task(self._sync_mark(), name="eventlog-mark"),
            asyncio.create_task(self._sign_heads(), name="eventlog-heads"),
        ]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Commit what is waiting, then stop; later appends raise `Unavailable`."""
        self._is_closing = True
        self._rouse()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._check is not None:
            self._check.cancel()
        self.peers.close()

    @property
    def epoch(self) -> str:
        """Identity of the log since its last loss; bare cursors are only good within one epoch."""
        return self.meta.epoch

    @property
    def head_cursor(self) -> str:
        """The cursor of a reader that has everything up to `head_seq`."""
        return self.hub.cursor

    async def append(self, events: Sequence[NewEvent]) -> list[Receipt]:
        """Append events, all or none, and return a receipt for each in order, after they are on disk and dispatched.

        An event whose `event_id` is stored with the same content is not stored again: its receipt has the first seq and
        `created` False. Raises `Conflict` (the event_id has other content), `RevisionMismatch` with expected and actual,
        `StreamEnded`, `StorageFull`, `Unavailable`, and `Superseded` in a task that acts for a duty (`TERM`): nothing is stored
        then. Safe to call concurrently. Cancelling the caller does not undo the append. Secrets are taken out of payloads
        first (`redaction.py`)."""
        return await self.submit([self._without_secrets(event) for event in events])

    def submit(self, events: Sequence[NewEvent]) -> "asyncio.Future[list[Receipt]]":
        """Append what holds no secrets, without waiting: a future of what `append` returns or raises.

        Raises `Unavailable` when nothing is taken."""
        if self._closed_because is not None or self._is_closing:
            raise Unavailable(self._closed_because or "the server is shutting down; nothing was stored")
        future: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        actor = ACTOR.get() if self._records_actors else None
        if actor is not None:
            events = [msgspec.structs.replace(event, actor=actor) for event in events]
        self._waiting.append(_Waiting(events, future, TERM.get()))
        self._rouse()
        return future

    def _without_secrets(self, event: NewEvent) -> NewEvent:
        clean = self.redaction.json(event.payload_json)
        return event if clean is event.payload_json else msgspec.structs.replace(event, payload_json=clean)

    async def append_prepared(self, prepare: Prepare) -> list[Receipt]:
        """Run `prepare(db)` in a write transaction that stores the events that it returns, all of it or nothing.

        Raises what `append` raises, and what the function does, which has changed nothing then."""
        if self._closed_because is not None or self._is_closing:
            raise Unavailable(self._closed_because or "the server is shutting down")
        future: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        actor = ACTOR.get() if self._records_actors else None

        term = TERM.get()

        def run(db: Any) -> Sequence[NewEvent]:
            if term is not None:
                require_term(db, term)
            return [msgspec.structs.replace(event, actor=actor) for event in prepare(db)]

        self._prepared.append(_Waiting((), future, None, run))
        self._rouse()
        return await future

    async def check_ready(self) -> None:
        """Ask what an append would meet, and write nothing. Raises what it would raise, after two seconds `Unavailable`.

        A full disk that an append has met counts for some seconds, where the free space does not show it. Those that ask at
        once share the answer."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._ask_writer(), name="eventlog-check")
            self._check.add_done_callback(_take_error)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await asyncio.shield(self._check)
        except TimeoutError:
            raise Unavailable("the disk does not answer; the outcome of an append is not known in time") from None

    async def _ask_writer(self) -> None:
        await self.write(self._writer.require_room)
        if self.hub.clock() < self._full_until:
            raise StorageFull("the disk is full; reading goes on")

    def warn(self, name: str, what: str | None) -> None:
        """Say that something needs a person, once, and as long as it lasts in `warnings`; None: it is over."""
        before = self._warnings.pop(name, None)
        if what is not None:
            self._warnings[name] = what
        if what is not None and before is None:
            _log.warning(name, what=what)

    @property
    def warnings(self) -> list[str]:
        """What needs a person now, in sentences."""
        doubt = self.clock_watch.doubt
        return [*self._warnings.values(), *([doubt] if doubt is not None else [])]

    async def write(self, function: Callable[[Any], T]) -> T:
        """Run a maintenance function on the writing connection, between two commits."""
        if self._closed_because is not None or self._is_closing:
            raise Unavailable(self._closed_because or "the server is shutting down")

        def run(db: Any) -> T:
            changes = db.total_changes
            result = function(db)
            place = self._database.place
            place.require(db)
            place.count_written((db.total_changes - changes) * _ROW_BYTES)
            if place.is_checkpoint_due:
                place.checkpoint(db)
            return result

        try:
            return await self._database.writer.call(run)
        except Exception as error:
            if lacks_room(error, self._database.path):
                raise StorageFull("the disk is full; reading goes on") from None
            if isinstance(error, Displaced | OSError) or is_fatal(error):
                self._fail(error)
                raise Unavailable(self._closed_because or "") from None
            if is_busy(error):
                raise Unavailable("another process keeps the database locked; try again") from None
            raise

    async def refresh(self) -> None:
        """Announce what other processes have committed until now, before judging a cursor that seems to lie ahead."""
        if self._closed_because is not None or self._is_closing:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refreshed.append(future)
        self.wake_for_foreign()
        await future

    async def confirms(self, error: TowowError, since: int) -> bool:
        """Whether a refusal that was decided when `since` was the head stands after a look for other processes' events.

        False when it says that something is not so and the log has grown meanwhile: it is to be decided again."""
        if error.code not in _NO:
            return True
        await self.refresh()
        return self.head_seq == since

    async def refresh_meta(self) -> LogMeta:
        """Read the ends of the log again (retention moves them), and which duties other processes have taken over."""
        self.meta = await self._read(queries.read_meta)
        if self._held:
            terms = await self._read(read_terms)
            for duty, (number, _) in tuple(self._held.items()):
                if duty in terms and terms[duty].number > number:
                    self._lose(duty)
        return self.meta

    def hold(self, term: DutyTerm, on_lost: Callable[[], None]) -> None:
        """Call `on_lost()` once, as soon as it is known that another process has taken a duty of this one over."""
        self._held[term.duty] = (term.number, on_lost)

    def let_go(self, duty: str) -> None:
        """Note that this process does not act for a duty any more."""
        self._held.pop(duty, None)

    @property
    def duties(self) -> dict[str, int]:
        """The duties that this process acts for, each with its term."""
        return {duty: number for duty, (number, _) in self._held.items()}

    def _lose(self, duty: str) -> None:
        _, on_lost = self._held.pop(duty, (0, _nothing))
        on_lost()

    def wake_for_foreign(self) -> None:
        """Look for other processes' events soon."""
        self._has_foreign = True
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _run(self) -> None:
        """Commit and announce until closed; the first error that is not the request's fault ends it for good."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                if self._waiting:
                    batch = self._waiting[:_MAX_REQUESTS_PER_COMMIT]
                    del self._waiting[:_MAX_REQUESTS_PER_COMMIT]
                    await self._commit(batch)
                    if self._database.place.is_checkpoint_due:
                        await self._database.writer.call(self._database.place.checkpoint)
                if self._prepared:
                    await self._commit([self._prepared.pop(0)])
                if self._has_foreign:  # also under load, or `refresh` would wait for the publishers to pause
                    self._has_foreign = False
                    refreshed, self._refreshed = self._refreshed, []
                    try:
                        await self._announce_foreign()
                    finally:
                        for future in refreshed:
                            if not future.done():
                                future.set_result(None)
                if self._waiting or self._prepared or self._has_foreign:
                    continue
                if self._is_closing:
                    return
                self._wake = loop.create_future()
                await self._wake
                self._wake = None
        except Exception as error:
            self._fail(error)

    async def _commit(self, batch: list[_Waiting]) -> None:
        """One transaction for everything that was waiting; then announce, then answer."""
        prepare = batch[0].prepare
        requests = [waiting.events for waiting in batch if waiting.prepare is None]
        try:
            terms = {index: waiting.term for index, waiting in enumerate(batch) if waiting.term is not None}
            done = await self._database.writer.call(partial(self._store, requests=requests, terms=terms, prepare=prepare))
            if prepare is not None:
                await self._skip_trimmed()
            if done.previous_seq != self.head_seq:
                await self._announce_foreign(through=done.previous_seq)
            if done.events:
                for outcome in done.outcomes:
                    for receipt in outcome if isinstance(outcome, list) else ():
                        if receipt.created:
                            receipt.followers = self.hub.count_for(receipt.event)
                await self._dispatch(done.events)
                self.peers.announce()
        except _Rejected as error:
            await self._commit_apart(batch, error)
            return
        except TowowError as error:
            if isinstance(error, StorageFull):
                self._full_until = self.hub.clock() + _FULL_SECONDS
            if isinstance(error, Superseded) and batch[0].term is not None:
                self._lose(batch[0].term.duty)
            self._has_foreign = True  # the transaction may have noticed others, and could not say so
            for waiting in batch:
                _reject(waiting.future, error)
            return
        except Exception:
            for waiting in batch:
                _reject(waiting.future, Unavailable("the outcome is unknown: send it again with the same event_id"))
            raise
        self._full_until = 0.0
        self._has_foreign |= done.has_foreign  # retention of another process moves the ends of the log
        for waiting, outcome in zip(batch, done.outcomes, strict=True):
            if isinstance(outcome, Superseded) and waiting.term is not None:
                self._lose(waiting.term.duty)  # first: its tasks are cancelled, not told of an error
            if isinstance(outcome, TowowError):
                _reject(waiting.future, outcome)
            elif not waiting.future.done():
                waiting.future.set_result(outcome)

    async def _dispatch(self, events: Sequence[Event]) -> None:
        """Write events to everybody who is live; after those of retention nothing is read from memory."""
        self.hub.dispatch(events)
        if any(event.event_type == LOG_TRIMMED and event.stream == SYSTEM_LOG for event in events):
            self.hub.forget_tail()
            await self.refresh_meta()

    async def _skip_trimmed(self) -> None:
        """Send live followers back to reading when retention has removed what was not announced to them yet."""
        if (await self.refresh_meta()).trimmed_seq > self.head_seq:
            self.hub.skip(self.meta.trimmed_seq)

    async def _commit_apart(self, batch: list[_Waiting], error: _Rejected) -> None:
        """Commit each request of a rejected transaction alone, so that only the one at fault is refused."""
        if len(batch) > 1:
            for waiting in batch:
                await self._commit([waiting])
            return
        streams = sorted({event.stream for event in batch[0].events})[:10]
        _log.error("append_rejected", streams=streams, exc_info=error.__cause__)
        _reject(batch[0].future, TowowError("this could not be stored; the log of the server says why"))

    def _store(
        self, db: Any, requests: Sequence[Sequence[NewEvent]], terms: Mapping[int, DutyTerm], prepare: Prepare | None
    ) -> Committed:
        """Commit, and confirm that what was committed is where the database is looked for. On the writer's thread.

        Raises `_Rejected` for whatever is neither a refusal nor the disk's fault, once the transaction is undone: no request
        ends the server."""
        changes = db.total_changes
        try:
            done = self._writer.commit(db, requests, terms) if prepare is None else self._writer.commit(db, (), terms, prepare)
        except TowowError:
            raise
        except Exception as error:
            if is_fatal(error) or db.in_transaction:
                raise
            raise _Rejected from error
        size = sum(len(event.payload_json) + _ROW_BYTES for event in done.events)
        if prepare is not None:
            size += (db.total_changes - changes) * _ROW_BYTES
        self._database.place.confirm(db, done.head, size)
        return done

    async def _announce_foreign(self, through: int | None = None) -> None:
        """Read and dispatch what other connections have appended, up to `through` (None: the head of the file)."""
        digest = b""
        if through is None:
            await self._skip_trimmed()
            through, digest = self.meta.head
        while self.head_seq < through:
            try:
                page = await self._read(
                    partial(
                        queries.read_page,
                        selection=EVERYTHING,
                        after=self.head_seq,
                        through=through,
                        limit=1000,
                        max_bytes=self._config.stream.tail_bytes + 1,
                    )
                )
            except Damaged as error:  # every follower meets it by reading, and says so to its client
                _log.critical("event_damaged", seq=error.seq)
                self.hub.skip(error.seq or through)
                continue
            if page.events:
                await self._dispatch(page.events)
            if not page.events or page.through_seq >= through:
                self.hub.advance(page.through_seq, digest if page.through_seq == through else b"")

    async def _poll(self) -> None:
        """Notice writers that send no datagram, soon after activity and rarely when idle."""
        settings = self._config.poll
        interval = settings.poll_interval_seconds
        while True:
            head = self.head_seq
            await asyncio.sleep(interval)
            self.peers.restore()
            with contextlib.suppress(Exception):  # the writer's own transaction reports what is wrong with the file
                if await self._database.writer.call(self._writer.foreign_writes):
                    self.wake_for_foreign()
                    interval = settings.poll_interval_seconds
                    continue
            if self.head_seq != head:
                interval = settings.poll_interval_seconds
            else:
                interval = min(interval * settings.poll_backoff_factor, settings.max_poll_interval_seconds)

    async def free_from(self, process: str, seconds: float) -> bool:
        """End a process that was stopped in the middle of a commit, when it keeps the file locked for so many seconds.

        Nothing is lost by it: what it had acknowledged is on disk. Returns whether one was ended."""
        if not self.peers.is_stopped(process) or not await asyncio.to_thread(is_locked, self._database.path, seconds):
            return False
        return self.peers.end_stopped(process)

    async def touch_mark(self) -> None:
        """Write the time into the mark beside the file: until now the log was kept."""
        await self._database.writer.call(self._database.place.touch_mark)

    async def _sync_mark(self) -> None:
        """Bring the mark to the disk every second, with a time that is not old; and look at the clock."""
        touched_at = time.monotonic()
        while True:
            await asyncio.sleep(_MARK_SYNC_SECONDS)
            self.clock_watch.look()
            try:
                if time.monotonic() - touched_at > (_MARK_TIMED_SECONDS if self.is_timed() else _MARK_TOUCH_SECONDS):
                    touched_at = time.monotonic()
                    await self.touch_mark()
                    await self._database.writer.call(self._database.place.look_after)
                # on a reader's thread: the writer's is not held up
                await self._database.read(lambda db: self._database.place.sync_mark())
            except OSError as error:
                _log.warning("mark_not_synced", error=str(error), consequence="after a power cut the mark may be older")

    async def _sign_heads(self) -> None:
        """Keep a signed head of what was appended in the last minute; the writer keeps one every so many events."""

        def sign(db: Any) -> None:
            head = read_head(db)
            if head.seq > last_signed_seq(db):
                self._signer.store(db, head, self.epoch, self.clock())

        while self._signer.has_key:
            await asyncio.sleep(_HEAD_SECONDS)
            with contextlib.suppress(Unavailable, StorageFull):  # a minute later
                await self.write(sign)

    def _fail(self, error: Exception) -> None:
        """Stop acknowledging for good: after a failed fsync nobody knows what the disk holds."""
        if self._closed_because is not None:
            return
        reason = f"the database failed: {type(error).__name__}: {error}"
        self._closed_because = "the database failed; the server is stopping"
        _log.critical("log_failed", error=str(error), error_type=type(error).__name__, exc_info=error)
        for waiting in (*self._waiting, *self._prepared):
            _reject(waiting.future, Unavailable(self._closed_because))
        self._waiting.clear()
        self._prepared.clear()
        for future in self._refreshed:
            if not future.done():
                future.set_result(None)
        self._on_fatal(reason)


def _take_error(done: "asyncio.Task[None]") -> None:
    """Those that asked may have left."""
    if not done.cancelled():
        done.exception()


def _nothing() -> None:
    """What is told to nobody."""


def _reject(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a publisher that has left must not leave a warning behind
