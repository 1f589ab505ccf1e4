"""Generations: several agents write a text together, piece by piece, in runs that go on without readers (source document 003).

Read `state.py` and `model.py` for the rules, `inputs.py` and `rendering.py` for requests and responses, `routes.py` for HTTP;
`executor.py` carries runs out, by the plans of `plans.py`."""

from server.surfaces.generations.executor import RunExecutor
from server.surfaces.generations.projections import keeps_run, project_run
from server.surfaces.generations.routes import RunRoutes
from server.surfaces.generations.start_routes import StartRoutes
from server.surfaces.generations.state import KIND, RUN_STARTED, TERMINAL_EVENTS
from server.surfaces.surface import Context, Kind, Parts, Surface


def _build(context: Context) -> Parts:
    config, log, model = context.config, context.log, context.language_model
    executor = RunExecutor(log, context.bus, config.generations, model)
    return Parts(
        routes=(StartRoutes(log, context.streaming, context.limits, config), RunRoutes(log, context.streaming, model, config)),
        workers=(executor,),
    )


SURFACE = Surface(
    name="generations",
    kinds={
        KIND: Kind(terminal=TERMINAL_EVENTS, reserved=frozenset({RUN_STARTED}), projections=(project_run,), keeps=keeps_run)
    },
    tables={"runs": "'run:' || run_id"},
    build=_build,
)
