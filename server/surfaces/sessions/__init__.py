"""Sessions: a chat that a bot begins and a human takes over, and back again (source document 001).

Read `model.py` for the rules, `state.py` for the values and words, then `routes.py` (the hand-over) and `channel_routes.py`
(the streams of sessions, operators and broadcasts)."""

from server.surfaces.sessions.channel_routes import ChannelRoutes
from server.surfaces.sessions.projections import keeps_session, project_session
from server.surfaces.sessions.routes import SessionRoutes
from server.surfaces.sessions.state import KIND, OPERATOR_KIND, TERMINAL_EVENTS
from server.surfaces.surface import Context, Kind, Parts, Surface


def _build(context: Context) -> Parts:
    config, log = context.config, context.log
    return Parts(routes=(SessionRoutes(log, config), ChannelRoutes(log, context.streaming, config)))


SURFACE = Surface(
    name="sessions",
    kinds={
        KIND: Kind(terminal=TERMINAL_EVENTS, projections=(project_session,), keeps=keeps_session, derived_ids="msg-"),
        OPERATOR_KIND: Kind(),
    },
    tables={"sessions": "'session:' || name"},
    build=_build,
)
