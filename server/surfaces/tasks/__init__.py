"""Tasks: long work that somebody does elsewhere and many watch: phases, work items, progress (source document 002).

Read `state.py` and `model.py` for the rules, then `inputs.py` and `rendering.py`; `routes.py` is for emitters and for who asks
how a task is, `event_routes.py` for who follows one."""

from server.surfaces.surface import Context, Kind, Parts, Surface
from server.surfaces.tasks.event_routes import TaskEventRoutes
from server.surfaces.tasks.projections import project_task
from server.surfaces.tasks.routes import TaskRoutes
from server.surfaces.tasks.state import KIND, TERMINAL_EVENTS


def _build(context: Context) -> Parts:
    config, log = context.config, context.log
    return Parts(routes=(TaskRoutes(log, context.limits, config), TaskEventRoutes(log, context.streaming, config)))


SURFACE = Surface(
    name="tasks",
    kinds={KIND: Kind(terminal=TERMINAL_EVENTS, has_rules=False, projections=(project_task,))},
    tables={"tasks": "'task:' || task_id", "task_work_items": "'task:' || task_id"},
    build=_build,
)
