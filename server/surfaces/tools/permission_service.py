"""Permissions are requested, answered, taken back or denied here: decided on the table, stored at the revision that was read.

A session may hold very many statuses and few permissions, so the state is loaded from the rows that are written with the events
and not folded from the stream. Commands for one session wait for each other here; between processes the revision decides."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Self
from weakref import WeakValueDictionary

import msgspec

from server.background.deadlines import DeadlineClock
from server.background.event_bus import EventBus
from server.eventlog.command_key import carried_out
from server.eventlog.decider import decide_and_append
from server.eventlog.log import EventLog
from server.surfaces.tools import model
from server.surfaces.tools.commands import AnswerPermission, ClearPermission, ExpirePermission, RequestPermission
from server.surfaces.tools.payloads import permission_of, requested
from server.surfaces.tools.projections import load_session, waiting_permissions
from server.surfaces.tools.state import KIND, PERMISSION_REQUEST, PermissionState, ToolState, stream_of
from server.surfaces.tools.throttling import StatusThrottle
from towow.events import Event, NewEvent


class Decided(msgspec.Struct, frozen=True):
    """The permission after a command, and whether anything was appended for it."""

    permission: PermissionState
    is_new: bool


class PermissionService:
    """Decides about permissions, after what is held of their session has been stored.

    Use as an async context manager, after the log has been opened: every process notes when it first sees a deadline."""

    def __init__(self, log: EventLog, bus: EventBus, statuses: StatusThrottle, deadlines: DeadlineClock) -> None:
        self._log = log
        self._bus = bus
        self._deadlines = deadlines
        self._unsubscribe: Callable[[], None] = _nothing
        self._statuses = statuses
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        """Note the deadlines of the permissions that wait, and of those that are requested from now on."""
        self._unsubscribe = self._bus.subscribe(PERMISSION_REQUEST, self._on_request)
        for session_id, permission in await self._log.query(waiting_permissions):
            self.now_of(session_id, permission)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._unsubscribe()

    def now_of(self, session_id: str, permission: PermissionState) -> float:
        """The time to compare the deadline of a permission with, in seconds since 1970."""
        key = (session_id, permission.permission_id, permission.requested_seq)
        return self._deadlines.now(key, permission.deadline, permission.expires_within_seconds)

    def _on_request(self, event: Event) -> None:
        kind, _, session_id = event.stream.partition(":")
        if kind == KIND:
            self.now_of(session_id, requested(event))

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
            if isinstance(command, AnswerPermission | ExpirePermission):
                now = self.now_of(session_id, model.named_or_pending(state, command.permission_id))
                command = msgspec.structs.replace(command, now=now)
            return model.decide(state, command)

        await self._statuses.flush(stream)
        before = await carried_out(self._log, stream)
        if before and command.permission_id is None:
            command = msgspec.structs.replace(command, permission_id=permission_of(before[0]))
        async with self._locks.setdefault(session_id, asyncio.Lock()):
            state, receipts = await decide_and_append(self._log, stream, load, decide, model.evolve)
        permission = state.permissions[command.permission_id or ""]
        if isinstance(command, RequestPermission) and not receipts:
            event = await self._log.get(seq=permission.requested_seq)
            if event is not None:
                model.require_same_request(command, permission, event)
        return Decided(permission, bool(receipts))


def _nothing() -> None:
    """What is not subscribed."""
