"""What runners may say to a tool session: every field checked, secrets taken out, sizes limited, or refused by name.

Fields that source 004 does not name go through as they are. Pure; events that these become are checked again where all events
are (`towow/events.py`)."""

from typing import Any, Literal, assert_never

import msgspec

from server.eventlog.redaction import Redaction
from server.http.payloads import MAX_SECONDS
from server.surfaces.tools import checks
from server.surfaces.tools.commands import ClearPermission, ReportEvent, RequestPermission
from server.surfaces.tools.state import PERMISSION_ID, new_permission_id
from towow.errors import InvalidBody, TooLarge
from towow.events import payload_json

MAX_TOOL_NAME_CHARACTERS = 200
MAX_STATUS_CHARACTERS = 200
MAX_MESSAGE_CHARACTERS = 2_000
MAX_TIMESTAMP_CHARACTERS = 64
MIN_WITHIN_SECONDS = 0.01

NoticeType = Literal["tool_status", "permission_request", "tool_result", "permission_cleared", "result_cleared", "error"]

_ASKED = frozenset(
    {"permission_id", "tool_name", "parameters", "risk_level", "risk_declared", "status", "expires_within_seconds"}
)
_CLEARED = frozenset({"permission_id", "reason"})


class Rules(msgspec.Struct, frozen=True):
    """What `[tools]` says about notices: whose values are secret, how large one may be, how long a permission waits by
    default."""

    redaction: Redaction
    max_payload_bytes: int
    permission_timeout_seconds: float


def read_notice(
    event_type: NoticeType, data: dict[str, Any], permission_id: str | None, event_id: str | None, rules: Rules
) -> RequestPermission | ClearPermission | ReportEvent:
    """The command that a runner's notice is. Raises `InvalidBody` or `TooLarge` with the field."""
    data = rules.redaction.apply(data)
    size = len(payload_json(data).encode())
    if size > rules.max_payload_bytes:
        limit = rules.max_payload_bytes
        raise TooLarge(f"data has {size} bytes, the limit is {limit}", field="data", limit=limit)
    permission_id = _permission_id(data, permission_id)
    checks.line(data, "timestamp", MAX_TIMESTAMP_CHARACTERS)
    if event_type == "permission_request":
        _refuse_event_id(event_id, event_type)
        return _ask(data, permission_id, rules)
    if event_type == "permission_cleared":
        _refuse_event_id(event_id, event_type)
        return ClearPermission(permission_id, checks.reason(data.get("reason"), "data.reason"), _without(data, _CLEARED))
    _check_report(event_type, data)
    return ReportEvent(event_type, data if permission_id is None else {**data, "permission_id": permission_id}, event_id)


def _check_report(event_type: Literal["tool_status", "tool_result", "result_cleared", "error"], data: dict[str, Any]) -> None:
    match event_type:
        case "tool_status":
            checks.line(data, "tool_name", MAX_TOOL_NAME_CHARACTERS, is_needed=True)
            checks.line(data, "status", MAX_STATUS_CHARACTERS, is_needed=True)
            checks.risk_level(checks.mapping(data, "details"), "data.details.risk_level")
        case "tool_result":
            checks.line(data, "tool_name", MAX_TOOL_NAME_CHARACTERS, is_needed=True)
            checks.flag(data, "success")
            if "result" not in data:
                raise InvalidBody("data.result is missing: what the tool returned, null for nothing", field="data.result")
        case "result_cleared":
            checks.line(data, "tool_name", MAX_TOOL_NAME_CHARACTERS)
        case "error":
            if not checks.text(data.get("message"), "data.message", MAX_MESSAGE_CHARACTERS).strip():
                raise InvalidBody("data.message is blank: say what went wrong", field="data.message")
        case _:
            assert_never(event_type)


def _ask(data: dict[str, Any], permission_id: str | None, rules: Rules) -> RequestPermission:
    if data.get("status", "pending") != "pending":
        raise InvalidBody('data.status must be "pending", when it is given', field="data.status")
    default = min(rules.permission_timeout_seconds, MAX_SECONDS)
    return RequestPermission(
        permission_id=permission_id or new_permission_id(),
        tool_name=checks.line(data, "tool_name", MAX_TOOL_NAME_CHARACTERS, is_needed=True),
        parameters=checks.mapping(data, "parameters"),
        risk_level=checks.risk_level(data, "data.risk_level"),
        within_seconds=checks.seconds(
            data, "expires_within_seconds", default=default, low=min(default, MIN_WITHIN_SECONDS), high=MAX_SECONDS
        ),
        fields=_without(data, _ASKED) | ({} if "risk_level" in data else {"risk_declared": False}),
    )


def _permission_id(data: dict[str, Any], permission_id: str | None) -> str | None:
    """The permission that a notice is about, which may stand beside `data` or in it."""
    if permission_id is not None:
        PERMISSION_ID.in_body(permission_id)
    if "permission_id" not in data:
        return permission_id
    inner = PERMISSION_ID.in_body(data["permission_id"], "data.permission_id")
    if permission_id is not None and permission_id != inner:
        raise InvalidBody("permission_id and data.permission_id are not the same", field="permission_id")
    return inner


def _refuse_event_id(event_id: str | None, event_type: str) -> None:
    if event_id is not None:
        raise InvalidBody(f"event_id does not go with {event_type}: permission_id makes it repeatable", field="event_id")


def _without(data: dict[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}
