"""Demands: what somebody needs, read, matched to agents and negotiated (source document 000).

Read `model.py` for the rules, then `understanding/`, `matching.py` and `projections.py`; `understanding/lexicon.py` and
`samples/agents.py` are data."""

from server.surfaces.demands import matching
from server.surfaces.demands.agent_routes import AgentRoutes
from server.surfaces.demands.coordinator import Coordinator
from server.surfaces.demands.negotiator import Negotiator
from server.surfaces.demands.participant_routes import ParticipantRoutes
from server.surfaces.demands.projections import extend_demands, keeps_demand, project_demand
from server.surfaces.demands.routes import DemandRoutes
from server.surfaces.demands.samples import SampleParticipants
from server.surfaces.demands.state import DEADLINE_EXTENDED, KIND, TERMINAL_EVENTS
from server.surfaces.demands.text_writer import TextWriter
from server.surfaces.surface import Context, Kind, Parts, Surface


def _build(context: Context) -> Parts:
    config, log = context.config, context.log
    author = TextWriter(context.chat_model)
    samples = SampleParticipants(log, config.demands, author)
    negotiator = Negotiator(log, config.demands, author, samples, context.deadlines)
    return Parts(
        routes=(
            DemandRoutes(log, context.followers, context.streaming, author, config),
            ParticipantRoutes(log, config),
            AgentRoutes(log, context.streaming, config),
        ),
        workers=(Coordinator(log, context.bus, config.demands, negotiator),),
    )


SURFACE = Surface(
    name="demands",
    kinds={
        KIND: Kind(
            terminal=TERMINAL_EVENTS, reserved=frozenset({DEADLINE_EXTENDED}), projections=(project_demand,), keeps=keeps_demand
        ),
        matching.KIND: Kind(projections=(matching.project_agent,), derived_ids="sample-"),
    },
    tables={
        "demands": "'demand:' || demand_id",
        "demand_parts": "'demand:' || demand_id",
        "agents_fts": "(SELECT 'agent:' || agent_id FROM agents WHERE seq = agents_fts.rowid)",
        "agents": "'agent:' || agent_id",
    },
    build=_build,
    extend=extend_demands,
)
