"""Ids of all surfaces: none can forge another stream, and each fits the name of its own."""

import pytest

from server.surfaces.demands import matching as agents
from server.surfaces.generations import state as generations
from server.surfaces.sessions import state as sessions
from server.surfaces.tasks import state as tasks
from server.surfaces.tools import state as tools
from towow.errors import InvalidBody, InvalidRequest
from towow.events import new_event

RULES = [
    (agents.AGENT_ID, "agent", 122, ()),
    (sessions.SESSION_NAME, "session", 120, ()),
    (sessions.AGENT_ID, "operator", 119, ("queue",)),
    (tasks.TASK_ID, "task", 120, ()),
    (generations.RUN_ID, "run", 124, ()),
    (generations.SESSION_ID, "session", 120, ()),
    (tools.SESSION_ID, "mcp", 120, ()),
]


@pytest.mark.parametrize(("rule", "kind", "longest", "reserved"), RULES, ids=lambda value: str(getattr(value, "field", "")))
def test_an_id_cannot_forge_another_stream_and_fits_its_own(rule, kind, longest, reserved):
    """a30: in a path and in a body, with the field at fault."""
    for text in ("a", "alice", "task_123", "A-Z.a_z-0.9", "...", ".a", "Queue", "x" * longest):
        assert rule.allows(text)
        assert rule.in_body(text) == rule.in_path({rule.field: text}) == text
        new_event(f"{kind}:{text}", "x", {})
    for text in ("", ".", "..", "a:b", "a b", "a/b", "a\n", "张三", "é", "*", "x" * (longest + 1), *reserved):
        assert not rule.allows(text)
        with pytest.raises(InvalidBody) as in_body:
            rule.in_body(text)
        with pytest.raises(InvalidRequest) as in_path:
            rule.in_path({rule.field: text})
        assert in_body.value.field == in_path.value.field == rule.field
