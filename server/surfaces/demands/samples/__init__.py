"""The sample agents, which come with the server and answer through the same commands as every agent.

Everything outside takes the names of this module."""

from server.surfaces.demands.samples.agents import SAMPLE_AGENTS
from server.surfaces.demands.samples.participants import SampleParticipants

__all__ = ["SAMPLE_AGENTS", "SampleParticipants"]
