"""How a permission is asked for, answered, taken back or denied: decided on the table, stored at the revision that was read.

A session may hold very many statuses and few permissions, so the state is loaded from the rows that are written with the events
and not folded from the stream. Commands for one session wait for each other here; between processes the revision decides."""

import asyncio
from functools import partial
from weakref import WeakValueDictionary

import msgspec

from server.eventlog.decider import place
from server.eventlog.log import EventLog
from server.surfaces.tools import model
from server.surfaces.tools.commands import AnswerPermission, ClearPermission, ExpirePermission, RequestPermission
from server.surfaces.tools.projections import load_session
from server.surfaces.tools.state import PermissionState, ToolState, stream_of
from server.surfaces.tools.throttling import StatusThrottle
from towow.errors import RevisionMismatch
from towow.events import NewEvent

_MAX_ATTEMPTS = 200  # each lost race means that somebody else's event went through


class Decided(msgspec.Struct, frozen=True):
    """The permission after a command, and whether anything was appended for it."""

    permission: PermissionState
    is_new: bool


class PermissionService:
    """Decides about permissions, after what is held of their session has been stored."""

    def __init__(self, log: EventLog, statuses: StatusThrottle) -> None:
        self._log = log
        self._statuses = statuses
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def decide(
        self, session_id: str, command: RequestPermission | AnswerPermission | ClearPermission | ExpirePermission
    ) -> Decided:
        """Append what a command becomes. Raises what `model.decide` does, and `RevisionMismatch` after two hundred lost races.

        Which permission is meant is settled at the first look: a race that was lost must not turn to another prompt."""
        await self._statuses.flush(stream_of(session_id))
        async with self._locks.setdefault(session_id, asyncio.Lock()):
            for attempt in range(_MAX_ATTEMPTS):
                state = await self._log.query(partial(load_session, session_id=session_id, permission_id=command.permission_id))
                if command.permission_id is None:
                    command = msgspec.structs.replace(command, permission_id=model.meant(state, None).permission_id)
                try:
                    return await self._append(state, command.permission_id or "", model.decide(state, command))
                except RevisionMismatch:
                    if attempt == _MAX_ATTEMPTS - 1:
                        raise
        raise AssertionError("unreachable")

    async def _append(self, state: ToolState, permission_id: str, events: list[NewEvent]) -> Decided:
        if events:
            for receipt in await self._log.append(place(events, stream_of(state.session_id), state.revision)):
                state = model.evolve(state, receipt.event)
        return Decided(state.permissions[permission_id], bool(events))
