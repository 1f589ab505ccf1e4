"""For who runs tools: say what a tool does, and ask a person before it acts.

    async with SimpleNotifier("session-1") as notifier:
        permission = await notifier.request_permission("delete_file", {"path": "a.txt"}, "high")
        if permission:
            await notifier.tool_result("delete_file", delete("a.txt"))

Every call may be repeated without harm and is, through breaks and restarts of the server. What cannot be asked, or is not
answered in time, is denied."""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any, Literal, Self

import aiohttp
import msgspec

from towow.errors import TowowError
from towow.events import payload_json, timestamp_of, uuid7
from towow.responses import RETRYABLE_STATUSES, Unreachable, read_object
from towow.retry import Retry
from towow.transport import Transport, path_segment

BASE = "/agent_backend/api/sse"
DEFAULT_SERVER = "http://127.0.0.1:8000"
TIMED_OUT = "timed_out"
TIMEOUT = "timeout"

_WAIT_SECONDS = 20.0  # one long poll; the server's limit is `max_wait_seconds`
_DEFAULT_TIMEOUT_SECONDS = 120.0  # until the server says its own
_GRACE_SECONDS = 2.0  # the server decides who was in time; this much later we stop to wait for its word
_PAUSE_SECONDS = (0.05, 2.0)  # first and longest wait before the server is asked again

RiskLevel = Literal["low", "medium", "high"]


class Permission(msgspec.Struct, frozen=True):
    """What somebody decided; true only when it was approved. `actor` is who, `timeout` when nobody did."""

    approved: bool
    reason: str
    actor: str
    permission_id: str

    def __bool__(self) -> bool:
        return self.approved


class SimpleNotifier:
    """The voice of one tool session; use it with `async with`. Safe to use from many tasks at once.

    `base_url` is the server's, by default that of the environment variable `TOWOW_SERVER`. `token` is sent as a bearer
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

    async def tool_status(
        self, tool_name: str, status: str = "executing", details: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Say what a tool is doing and return `{"success", "seq"}`; of a burst only the last one is kept.

        `details` may be anything; `parameters`, `risk_level` and `start_time` are shown."""
        return await self._report("tool_status", tool_name=tool_name, status=status, details=dict(details or {}))

    async def tool_result(self, tool_name: str, result: Any, success: bool = True) -> dict[str, Any]:
        """Say what a tool returned, any JSON, and return `{"success", "seq"}`."""
        return await self._report("tool_result", tool_name=tool_name, result=result, success=success)

    async def clear_result(self, tool_name: str | None = None) -> dict[str, Any]:
        """Say that a tool's result, or every result, need not be shown any more. Returns `{"success", "seq"}`."""
        return await self._report("result_cleared", **({} if tool_name is None else {"tool_name": tool_name}))

    async def error(self, message: str) -> dict[str, Any]:
        """Say what went wrong and return `{"success", "seq"}`."""
        return await self._report("error", message=message)

    async def permission_request(
        self,
        tool_name: str,
        parameters: Mapping[str, Any],
        risk_level: RiskLevel = "high",
        *,
        permission_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Ask for a permission without waiting; `{"success", "seq", "permission_id", "status", "expires_in_seconds"}`.

        The same `permission_id` is the same request, whatever became of it. Raises `Conflict` when it was asked in other
        words."""
        return await self._notify(_request(tool_name, parameters, risk_level, permission_id or _new_id(), timeout_seconds))

    async def clear_permission(self, permission_id: str | None = None, reason: str = "") -> dict[str, Any]:
        """Take a request back, without an id the one that is pending. Raises `NotFound`, `Conflict` (which one?).

        Returns `{"success", "seq", "permission_id"}`, also when it has ended otherwise."""
        fields = {"type": "permission_cleared", "data": {"reason": reason, "timestamp": timestamp_of()}}
        if permission_id is not None:
            fields["permission_id"] = permission_id
        return await self._notify(payload_json(fields).encode())

    async def request_permission(
        self,
        tool_name: str,
        parameters: Mapping[str, Any],
        risk_level: RiskLevel = "high",
        permission_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Permission:
        """Ask, and wait for the decision for up to `timeout_seconds` (None: as long as the server allows); no answer is a no.

        A runner that was restarted asks again with its `permission_id`, and has the decision or goes on waiting. The server
        may be restarted meanwhile; one that stays away denies. Raises what the server refuses (`Forbidden`, `Conflict` for
        the same id in other words, `InvalidBody`)."""
        permission_id = permission_id or _new_id()
        body = _request(tool_name, parameters, risk_level, permission_id, timeout_seconds)
        until = time.monotonic() + (timeout_seconds or _DEFAULT_TIMEOUT_SECONDS) + _GRACE_SECONDS
        asked = await self._patiently("POST", self._path("notify"), until, body=body)
        if asked is None:
            return Permission(False, TIMED_OUT, TIMEOUT, permission_id)
        if asked["status"] == "pending":
            until = time.monotonic() + float(asked["expires_in_seconds"]) + _GRACE_SECONDS
        path = f"{self._path('permissions')}/{path_segment(permission_id)}"
        while True:
            found = await self._patiently("GET", path, until, wait_seconds=_WAIT_SECONDS)
            if found is None:
                return Permission(False, TIMED_OUT, TIMEOUT, permission_id)
            if found["status"] != "pending":
                return Permission(found["status"] == "approved", found["reason"], found["actor"], permission_id)

    async def _patiently(
        self, method: str, path: str, until: float, *, body: bytes | None = None, wait_seconds: float = 0.0
    ) -> dict[str, Any] | None:
        """A call, again and again while the server is away; None when the time is over."""
        pause, longest = _PAUSE_SECONDS
        while (left := until - time.monotonic()) > 0:
            wait = min(wait_seconds, left)
            parameters = [("wait", f"{wait:.3f}")] if wait_seconds else []
            try:
                async with asyncio.timeout(left + 1.0):
                    raw = await self._transport.call_once(method, path, parameters, body=body, extra_seconds=wait)
                return read_object(raw)
            except TimeoutError:
                return None
            except TowowError as error:
                if not isinstance(error, Unreachable) and error.details.get("status") not in RETRYABLE_STATUSES:
                    raise
            await asyncio.sleep(min(pause, max(until - time.monotonic(), 0.0)))
            pause = min(pause * 2, longest)
        return None

    async def _report(self, event_type: str, **data: Any) -> dict[str, Any]:
        """Say something once: the event_id is chosen before the first try."""
        fields = {"type": event_type, "data": {**data, "timestamp": timestamp_of()}, "event_id": uuid7()}
        return await self._notify(payload_json(fields).encode())

    async def _notify(self, body: bytes) -> dict[str, Any]:
        return read_object(await self._transport.call("POST", self._path("notify"), body=body))

    def _path(self, what: str) -> str:
        return f"{BASE}/{what}/{self._segment}"


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
    return payload_json({"type": "permission_request", "data": data, "permission_id": permission_id}).encode()
