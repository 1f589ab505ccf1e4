"""One run in the executor's memory: its state, kept in step with the log, and appends that wait while the file is not writable.

Pieces of text are decided on this state and appended without a revision: only the executor writes them, and an end from
elsewhere refuses them (`stream_ended`). Events that count agents are decided one at a time."""

import asyncio
from functools import partial

from server.background.retry import retry_until_writable
from server.eventlog.decider import decide_and_append, fold, known
from server.eventlog.log import EventLog
from server.eventlog.writer import Receipt
from server.surfaces.generations import model
from server.surfaces.generations.commands import AppendChunk, Command
from server.surfaces.generations.state import RunState, initial, stream_of
from towow.errors import StorageFull, Unavailable
from towow.events import Event

_COMMIT_SECONDS = 1.0  # a cancelled caller waits this long for an append on its way to the disk


class RunStore:
    """The state of one run and the way to change it."""

    def __init__(self, log: EventLog, run_id: str) -> None:
        self.state = initial(run_id)
        self._log = log
        self._stream = stream_of(run_id)
        self._turn = asyncio.Lock()

    async def read(self) -> RunState:
        """The state as it is in the log now."""
        state = await fold(self._log, self._stream, self.state, model.evolve, after=self.state.last_seq)
        if state.revision > self.state.revision:
            self.state = state
        return self.state

    async def add(self, command: Command) -> None:
        """Append what a command becomes; returns when it is on disk and in `state`. Raises `Conflict` when the run has ended.

        As long as the file cannot be written, tries again. Cancelled, it leaves nothing on the way that comes later."""
        if isinstance(command, AppendChunk):
            await self._append(command)
        else:
            async with self._turn:
                await self._append(command)

    async def _append(self, command: Command) -> None:
        try:
            receipts = await self._store(command)  # a retry costs more than a piece of text, and is rarely needed
        except (Unavailable, StorageFull):
            receipts = await retry_until_writable(lambda: self._store(command))
        for receipt in receipts:
            await self._take(receipt.event)

    async def _store(self, command: Command) -> list[Receipt]:
        decide = partial(model.decide, command=command)
        append = decide_and_append(self._log, self._stream, known(self.state), decide, revision_of=None)
        appending = asyncio.ensure_future(append)
        try:
            return (await asyncio.shield(appending))[1]
        except asyncio.CancelledError:
            # The append cannot be taken back; the next holder of the lock must not find it after its own events.
            await asyncio.wait([appending], timeout=_COMMIT_SECONDS)
            if not appending.cancel():
                appending.exception()
            raise

    async def _take(self, event: Event) -> None:
        if event.revision == self.state.revision + 1:
            self.state = model.evolve(self.state, event)
        elif event.revision > self.state.revision:
            await self.read()  # an event of another task was stored first
