"""Tools: what an agent's tools are doing, and the permissions that somebody has to give before they act (source document 004).

Read `state.py` and `model.py` for the rules, then `inputs.py` and `rendering.py`; `expiry.py` denies permissions without an
answer and `throttling.py` thins out bursts of statuses. `towow/tools.py` is the other side, for programs that run tools."""

from server.surfaces.surface import Context, Kind, Parts, Surface
from server.surfaces.tools.expiry import PermissionExpiry
from server.surfaces.tools.notice_routes import NoticeRoutes
from server.surfaces.tools.permission_service import PermissionService
from server.surfaces.tools.projections import extend_permissions, keeps_session, project_permission
from server.surfaces.tools.routes import ToolRoutes
from server.surfaces.tools.state import DEADLINE_EXTENDED, KIND, PERMISSION_RESPONSE
from server.surfaces.tools.throttling import StatusThrottle


def _build(context: Context) -> Parts:
    config, log = context.config, context.log
    statuses = StatusThrottle(log, config.tools.status_interval_seconds)
    permissions = PermissionService(log, context.bus, statuses, context.deadlines)
    return Parts(
        routes=(ToolRoutes(log, context.streaming, permissions, config), NoticeRoutes(log, statuses, permissions, config)),
        workers=(statuses, permissions, PermissionExpiry(log, context.bus, permissions, context.deadlines)),
    )


SURFACE = Surface(
    name="tools",
    kinds={
        KIND: Kind(
            reserved=frozenset({PERMISSION_RESPONSE, DEADLINE_EXTENDED}), projections=(project_permission,), keeps=keeps_session
        )
    },
    tables={"tool_permissions": "'mcp:' || session_id"},
    build=_build,
    extend=extend_permissions,
)
