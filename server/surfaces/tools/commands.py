"""The commands of a tool session, which `model.decide` turns into events.

Texts and parameters in them have been checked and redacted by `inputs.py`. `now` is in seconds since 1970, by the clock of the
permission's deadline; `permission_service.py` sets it."""

from typing import Any

import msgspec


class RequestPermission(msgspec.Struct, frozen=True):
    """Request a permission; repeated in the same words it is the same request. `fields` has the runner's further fields."""

    permission_id: str
    tool_name: str
    parameters: dict[str, Any]
    risk_level: str
    within_seconds: float
    fields: dict[str, Any] = {}


class AnswerPermission(msgspec.Struct, frozen=True):
    """Approve or reject; without a `permission_id` the one that is pending. `allows_self`: whoever asked may answer."""

    permission_id: str | None
    approved: bool
    reason: str
    actor: str
    now: float = 0.0
    allows_self: bool = False


class ClearPermission(msgspec.Struct, frozen=True):
    """Take a request back; without a `permission_id` the one that is pending."""

    permission_id: str | None
    reason: str = ""
    fields: dict[str, Any] = {}


class ExpirePermission(msgspec.Struct, frozen=True):
    """Deny a permission without an answer in time."""

    permission_id: str
    now: float = 0.0


class ReportEvent(msgspec.Struct, frozen=True):
    """Report what decides nothing: a status, a result, an error. An `event_id` makes it repeatable."""

    event_type: str
    data: dict[str, Any]
    event_id: str | None = None


Command = RequestPermission | AnswerPermission | ClearPermission | ExpirePermission | ReportEvent
