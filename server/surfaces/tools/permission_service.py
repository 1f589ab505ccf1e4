"""Permissions are requested, answered, taken back or denied here: decided on the table, stored at the revision that was read.

A session may hold very many statuses and few permissions, so the state is loaded from the rows that are written with the events
and not folded from the stream. Commands for one session wait for each other here; between processes the revision decides."""

import asyncio
from functools import partial
from weakref import WeakValueDictionary

import msgspec

from server.eventlog.decider import decide_and_append
from server.eventlog.log import EventLog
from server.surfaces.tools import model
from server.surfaces.tools.commands import AnswerPermission, ClearPermission, ExpirePermission, RequestPermission
from server.surfaces.tools.projections import load_session
from server.surfaces.tools.state import PermissionState, ToolState, stream_of
from server.surfaces.tools.throttling import StatusThrottle
from towow.events import NewEvent


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

        Without an id the permission is chosen at the first read: a lost race must not turn to another prompt."""
        stream = stream_of(session_id)

        async def load() -> ToolState:
            return await self._log.query(partial(load_session, session_id=session_id, permission_id=command.permission_id))

        def decide(state: ToolState) -> list[NewEvent]:
            nonlocal command
            if command.permission_id is None:
                command = msgspec.structs.replace(command, permission_id=model.named_or_pending(state, None).permission_id)
            return model.decide(state, command)

        await self._statuses.flush(stream)
        async with self._locks.setdefault(session_id, asyncio.Lock()):
            state, receipts = await decide_and_append(self._log, stream, load, decide, model.evolve)
        return Decided(state.permissions[command.permission_id or ""], bool(receipts))
