"""The client of a tool runner: it reports what a tool does, and asks a person before the tool acts.

    async with SimpleNotifier("session-1") as notifier:
        permission = await notifier.request_permission("delete_file", {"path": "a.txt"}, "high")
        if permission:
            await notifier.tool_result("delete_file", delete("a.txt"))

Every call may be repeated without harm and is, through breaks and restarts of the server. A request that cannot be asked, or is
not answered in time, is denied."""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar

import aiohttp
import msgspec

from towow.errors import TowowError
from towow.events import timestamp_of, uuid7
from towow.responses import RETRYABLE_STATUSES, Unreachable, read
from towow.retry import Retry
from towow.transport import Transport, json_body, path_segment

BASE = "/agent_backend/api/sse"
DEFAULT_SERVER = "http://127.0.0.1:8000"
TIMED_OUT = "timed_out"
TIMEOUT = "timeout"

_WAIT_SECONDS = 20.0  # one long poll; the server's limit is `max_wait_seconds`
_DEFAULT_TIMEOUT_SECONDS = 120.0  # until the server sends its own
_GRACE_SECONDS = 2.0  # the server decides what was in time; the wait for its decision ends this much later
_PAUSE_SECONDS = (0.05, 2.0)  # first and longest wait before the next call

T = TypeVar("T")
RiskLevel = Literal["low", "medium", "high"]


class Permission(msgspec.Struct, frozen=True):
    """A decision; true only when it was approved. `actor` is the person, or `timeout` without an answer."""

    approved: bool
    reason: str
    actor: str
    permission_id: str

    def __bool__(self) -> bool:
        return self.approved


class Notice(msgspec.Struct, frozen=True):
    """The place of a report in the log; `coalesced` when only the last one of a burst of statuses is kept."""

    success: bool
    seq: int
    coalesced: bool = False


class RequestedPermission(msgspec.Struct, frozen=True):
    """A request for a permission, and its present status."""

    success: bool
    seq: int
    permission_id: str
    status: str
    expires_in_seconds: float


class ClearedPermission(msgspec.Struct, frozen=True):
    """A request that has ended; `seq` is of its end."""

    success: bool
    seq: int
    permission_id: str


class StoredPermission(msgspec.Struct, frozen=True):
    """A request for a permission with its decision, as the server has it."""

    permission_id: str
    status: str
    tool_name: str
    parameters: dict[str, Any]
    risk_level: str
    reason: str
    actor: str
    requested_by: str | None
    requested_at: str
    expires_at: str
    expires_in_seconds: float
    ended_at: str | None
    requested_seq: int
    ended_seq: int | None


class SimpleNotifier:
    """The reports and requests of one tool session; use it with `async with`. Safe to use from many tasks at once.

    `base_url` is the server's, by default the value of the environment variable `TOWOW_SERVER`. `token` is sent as a bearer
    token. A `session` that is passed in stays open. `timeout_seconds` bounds each try of a call."""

    def __init__(
        self,
        session_id: str,
        base_url: str | None = None,
        *,
        token: str | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout_seconds: float = 30.0,
        retry: Retry | None = None,
    ) -> None:
        url = base_url or os.environ.get("TOWOW_SERVER") or DEFAULT_SERVER
        self.session_id = session_id
        self._transport = Transport(url, token, session, timeout_seconds, retry or Retry())
        self._segment = path_segment(session_id)

    async def __aenter__(self) -> Self:
        self._transport.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, unless the session came from outside; safe to call again."""
        await self._transport.close()

    async def tool_status(self, tool_name: str, status: str = "executing", details: Mapping[str, Any] | None = None) -> Notice:
        """Report the status of a tool; of a burst only the last one is kept.

        `details` may be anything; `parameters`, `risk_level` and `start_time` are shown."""
        return await self._report("tool_status", tool_name=tool_name, status=status, details=dict(details or {}))

    async def tool_result(self, tool_name: str, result: Any, success: bool = True) -> Notice:
        """Report the result of a tool, any JSON."""
        return await self._report("tool_result", tool_name=tool_name, result=result, success=success)

    async def clear_result(self, tool_name: str | None = None) -> Notice:
        """Report that a tool's result, or every result, need not be shown any more."""
        return await self._report("result_cleared", **({} if tool_name is None else {"tool_name": tool_name}))

    async def error(self, message: str) -> Notice:
        """Report an error."""
        return await self._report("error", message=message)

    async def permission_request(
        self,
        tool_name: str,
        parameters: Mapping[str, Any],
        risk_level: RiskLevel = "high",
        *,
        permission_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RequestedPermission:
        """Ask for a permission without waiting.

        The same `permission_id` is the same request, whatever became of it. Raises `Conflict` for other content under it."""
        body = _request(tool_name, parameters, risk_level, permission_id or _new_id(), timeout_seconds)
        return await self._transport.post(RequestedPermission, self._path("notify"), body)

    async def clear_permission(self, permission_id: str | None = None, reason: str = "") -> ClearedPermission:
        """Take a request back, without an id the one that is pending; the answer is the same when it has ended otherwise.

        Raises `NotFound`, and `Conflict` when several are pending."""
        data = {"reason": reason, "timestamp": timestamp_of()}
        body = json_body(type="permission_cleared", data=data, permission_id=permission_id)
        return await self._transport.post(ClearedPermission, self._path("notify"), body)

    async def request_permission(
        self,
        tool_name: str,
        parameters: Mapping[str, Any],
        risk_level: RiskLevel = "high",
        permission_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Permission:
        """Ask, and wait for the decision for up to `timeout_seconds` (None: the server's limit); no answer is a denial.

        A restarted runner asks again with its `permission_id`, and gets the decision or goes on waiting. The server may be
        restarted meanwhile; one that stays away denies. Raises the server's refusals (`Forbidden`, `Conflict` for
        the same id in other words, `InvalidBody`)."""
        permission_id = permission_id or _new_id()
        body = _request(tool_name, parameters, risk_level, permission_id, timeout_seconds)
        until = time.monotonic() + (timeout_seconds or _DEFAULT_TIMEOUT_SECONDS) + _GRACE_SECONDS
        requested = await self._until(until, RequestedPermission, "POST", self._path("notify"), body=body)
        if requested is None:
            return Permission(False, TIMED_OUT, TIMEOUT, permission_id)
        if requested.status == "pending":
            until = time.monotonic() + requested.expires_in_seconds + _GRACE_SECONDS
        path = f"{self._path('permissions')}/{path_segment(permission_id)}"
        while True:
            found = await self._until(until, StoredPermission, "GET", path, wait_seconds=_WAIT_SECONDS)
            if found is None:
                return Permission(False, TIMED_OUT, TIMEOUT, permission_id)
            if found.status != "pending":
                return Permission(found.status == "approved", found.reason, found.actor, permission_id)

    async def _until(
        self, until: float, kind: type[T], method: str, path: str, *, body: bytes | None = None, wait_seconds: float = 0.0
    ) -> T | None:
        """Call again and again while the server is away; None when the time is over."""
        pause, longest = _PAUSE_SECONDS
        while (left := until - time.monotonic()) > 0:
            wait = min(wait_seconds, left)
            parameters = [("wait", f"{wait:.3f}")] if wait_seconds else []
            try:
                async with asyncio.timeout(left + 1.0):
                    raw = await self._transport.call_once(method, path, parameters, body=body, extra_seconds=wait)
                return read(kind, raw)
            except TimeoutError:
                return None
            except TowowError as error:
                if not isinstance(error, Unreachable) and error.details.get("status") not in RETRYABLE_STATUSES:
                    raise
            await asyncio.sleep(min(pause, max(until - time.monotonic(), 0.0)))
            pause = min(pause * 2, longest)
        return None

    async def _report(self, event_type: str, **data: Any) -> Notice:
        """Store a report once: the event_id is chosen before the first try."""
        body = json_body(type=event_type, data={**data, "timestamp": timestamp_of()}, event_id=uuid7())
        return await self._transport.post(Notice, self._path("notify"), body)

    def _path(self, route: str) -> str:
        return f"{BASE}/{route}/{self._segment}"


def _new_id() -> str:
    return f"perm-{uuid7()}"


def _request(
    tool_name: str, parameters: Mapping[str, Any], risk_level: str, permission_id: str, timeout_seconds: float | None
) -> bytes:
    data: dict[str, Any] = {
        "tool_name": tool_name,
        "parameters": dict(parameters),
        "risk_level": risk_level,
        "timestamp": timestamp_of(),
    }
    if timeout_seconds is not None:
        data["expires_within_seconds"] = timeout_seconds
    return json_body(type="permission_request", data=data, permission_id=permission_id)
