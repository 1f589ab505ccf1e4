"""The event types in the documents are those of the surfaces, with the payloads that the surfaces write."""

import json
import re
from collections import defaultdict

import pytest

from server.app import SURFACES
from server.surfaces.demands import commands as demand_commands
from server.surfaces.demands import matching, planning
from server.surfaces.demands import model as demand_model
from server.surfaces.demands import state as demand_state
from server.surfaces.generations import commands as run_commands
from server.surfaces.generations import model as run_model
from server.surfaces.generations import state as run_state
from server.surfaces.sessions import commands as session_commands
from server.surfaces.sessions import model as session_model
from server.surfaces.sessions import state as session_state
from server.surfaces.tasks import model as task_model
from server.surfaces.tasks import state as task_state
from server.surfaces.tools import commands as tool_commands
from server.surfaces.tools import inputs as tool_inputs
from server.surfaces.tools import model as tool_model
from server.surfaces.tools import state as tool_state
from server.surfaces.tools.redaction import Redaction
from tests.docs.reading import read, tables
from tests.surfaces.demands import negotiating
from tests.surfaces.generations import generating
from towow.errors import InvalidBody
from towow.events import Event, payload_json
