"""One small sample of each surface for the contract test: how an open and an ended thing come to be over HTTP, and where they
are read. A new surface adds a class here and its name to `SAMPLES`."""

from server.surfaces import demands, generations, sessions, tasks, tools
from tests.support.negotiations import TALK, cancel, register, submit, until_phase


async def post(client, path, given, **options):
    """The answer's JSON when the body was taken."""
    answer = await client.post(path, json=given, **options)
    assert answer.status in (200, 201, 202), await answer.text()
    return await answer.json()


class Sample:
    """What the contract test asks of a surface; `kind` is that of its things' streams, `field` the name of their ids.

    `malformed` are ids that no thing of this surface has, although others might. `listed` is the path of the list with the keys
    of its rows and of a row's id; None for a surface without a list. `statuses` are those of an open and of an ended thing.
    `writes` are bodies that may be posted and begin with a text, `refused` such that may not, with the field at fault; `{}` in
    a path is a thing."""

    surface, kind, field, listed, statuses = None, None, None, None, None
    malformed = ("a:b", "%2E%2E", "x" * 125)
    writes, refused = (), ()
    clocked = ()  # keys of an answer that count down while nothing happens
    untold = ()  # keys that a row of the list tells in other words

    def stream(self, thing):
        """The stream of a thing."""
        return f"{self.kind}:{thing}"

    def reads(self, thing):
        """Where a thing, and what goes with it, is read."""
        return [self.one(thing), *([self.listed[0]] if self.listed else [])]

    def found(self, thing):
        """Where what never was is not found."""
        return [path for path in (*self.reads(thing), self.events(thing)) if f"/{thing}" in path]

    def follows(self, thing):
        """Where a thing, and what goes with it, is followed from the beginning, and the streams that this shows."""
        return [(f"{self.events(thing)}?since_seq=0", [self.stream(thing)])]


class Demands(Sample):
    """A demand that waits for an offer; cancelled by its user."""

    surface, kind, field, malformed = demands.SURFACE, "demand", "demand_id", ()
    listed = ("/api/demand", "demands", "demand_id")
    statuses = ("processing", "cancelled")
    writes = (
        ("/api/demand/submit", {"raw_input": "We need a technical talk"}),
        ("/api/demand/{}/offers", {"agent_id": "ben", "content": "A talk", "capabilities": ["technical talk"]}),
        ("/api/demand/{}/feedback", {"agent_id": "ben", "proposal_id": "p-1", "decision": "accept"}),
        ("/api/demand/{}/cancel", {"reason": "no need"}),
        ("/api/agents", TALK),
    )
    refused = (
        ("/api/demand/submit", {}, "raw_input"),
        ("/api/demand/submit", {"raw_input": 5}, "raw_input"),
        ("/api/demand/submit", {"raw_input": "a talk", "nonsense": 1}, "nonsense"),
        ("/api/demand/{}/offers", {"agent_id": "ben", "content": "x", "capabilities": [" "]}, "capabilities.0"),
        ("/api/agents", {"agent_id": "a b", "name": "A", "capabilities": ["talk"]}, "agent_id"),
    )

    def one(self, thing):
        """Where a thing is read."""
        return f"/api/demand/{thing}"

    def events(self, thing):
        """Where a thing is followed."""
        return f"/api/events/stream/{thing}"

    def reads(self, thing):
        """With the short forms of a demand, and the agents."""
        short = (f"/api/demand/{thing}/status", f"/api/events/recent/{thing}", "/api/agents", "/api/agents/ben")
        return [*super().reads(thing), *short]

    def follows(self, thing):
        """With what its agent is told."""
        return [*super().follows(thing), ("/api/agents/ben/events?start=beginning", ["agent:ben"])]

    async def begin(self, client):
        """Make an open thing; its id."""
        await register(client, TALK)
        demand_id = (await submit(client, self.writes[0][1]["raw_input"]))["demand_id"]
        await until_phase(client, demand_id, "collecting_offers")
        return demand_id

    async def end(self, client, thing):
        """End a thing."""
        assert (await cancel(client, thing)).status == 200


class Sessions(Sample):
    """A session that waits for an operator; taken over and closed."""

    surface, kind, field = sessions.SURFACE, "session", "session_name"
    listed = ("/api/sessions", "sessions", "session_name")
    statuses = ("waiting_agent", "closed")
    writes = (
        ("/api/manual/escalate", {"session_name": "s-1", "reason": "a refund"}),
        ("/api/manual/message", {"session_name": "s-1", "role": "user", "content": "hello"}),
        ("/api/sessions/{}/takeover", {"agent_id": "o-7"}),
        ("/api/sessions/{}/release", {"agent_id": "o-7"}),
        ("/api/broadcast", {"type": "news", "payload": {"text": "hello"}}),
    )
    refused = (
        ("/api/manual/escalate", {}, "session_name"),
        ("/api/manual/message", {}, "session_name"),
        ("/api/sessions/{}/takeover", {}, "agent_id"),
        ("/api/sessions/{}/release", {}, "agent_id"),
        ("/api/broadcast", {}, "payload"),
        ("/api/manual/escalate", {"session_name": "s 1"}, "session_name"),
        ("/api/manual/message", {"session_name": "s-1", "role": "user", "content": " "}, "content"),
        ("/api/manual/message", {"session_name": "s-1", "role": "user", "content": "x", "nonsense": 1}, "nonsense"),
        ("/api/sessions/{}/takeover", {"agent_id": "queue"}, "agent_id"),
    )

    def __init__(self):
        self.begun = 0

    def one(self, thing):
        """Where a thing is read."""
        return f"/api/sessions/{thing}"

    def events(self, thing):
        """Where a thing is followed."""
        return f"/api/sessions/{thing}/events"

    def follows(self, thing):
        """With what an operator sees."""
        return [*super().follows(thing), ("/api/operators/o-7/events?start=beginning", ["operator:o-7", "operator:queue"])]

    async def begin(self, client):
        """Make an open thing; its id."""
        self.begun += 1
        name = f"s-{self.begun}"
        await post(client, "/api/manual/message", {"session_name": name, "role": "user", "content": "hello 你好"})
        await post(client, "/api/manual/escalate", {"session_name": name, "reason": "a refund"})
        return name

    async def end(self, client, thing):
        """End a thing."""
        await post(client, f"/api/sessions/{thing}/takeover", {"agent_id": "o-7"})
        await post(client, f"/api/sessions/{thing}/release", {"agent_id": "o-7", "close": True})


class Tasks(Sample):
    """A task with a phase and two work items; completed."""

    surface, kind, field = tasks.SURFACE, "task", "task_id"
    listed = ("/api/tasks", "tasks", "task_id")
    statuses = ("running", "completed")
    untold = ("work_items",)
    writes = (("/api/tasks/{}/events", {"event_type": "note"}),)
    refused = (
        ("/api/tasks/{}/events", {"event_type": "no type"}, "event_type"),
        ("/api/tasks/{}/events", {"event_type": "note", "span_id": "a b"}, "span_id"),
        ("/api/tasks/{}/events", {"event_type": "note", "nonsense": 1}, "nonsense"),
    )

    def __init__(self):
        self.begun = 0

    def one(self, thing):
        """Where a thing is read."""
        return f"/api/tasks/{thing}"

    def events(self, thing):
        """Where a thing is followed."""
        return f"/sse/tasks/{thing}/events"

    def reads(self, thing):
        """With its events."""
        return [*super().reads(thing), f"/api/tasks/{thing}/events"]

    async def begin(self, client):
        """Make an open thing; its id."""
        self.begun += 1
        task_id = f"t-{self.begun}"
        said = [
            {"event_type": "phase_enter", "phase": "parse"},
            {"event_type": "work_item_start", "span_id": "a", "payload": {"name": "Read 读"}},
            {"event_type": "work_item_start", "span_id": "b"},
            {"event_type": "work_item_complete", "span_id": "a"},
            {"event_type": "progress_update", "payload": {"progress": 40}},
        ]
        await post(client, f"/api/tasks/{task_id}/events", {"events": said})
        return task_id

    async def end(self, client, thing):
        """End a thing."""
        await post(client, f"/api/tasks/{thing}/events", {"event_type": "task_complete"})


class Generations(Sample):
    """A run whose first agent has begun to write; cancelled. No process carries runs out meanwhile."""

    surface, kind, field = generations.SURFACE, "run", "run_id"
    listed = ("/api/runs", "runs", "run_id")
    statuses = ("running", "cancelled")
    untold = ("agents",)
    writes = tuple((path, {"prompt": "Write about tea", "session_id": "s-1"}) for path in ("/loomichat", "/novachat"))
    refused = (
        ("/novachat", {"prompt": " "}, "prompt"),
        ("/novachat", {"prompt": "tea", "session_id": "a b"}, "session_id"),
        ("/loomichat", {"prompt": "tea", "nonsense": 1}, "nonsense"),
    )

    def one(self, thing):
        """Where a thing is read."""
        return f"/api/runs/{thing}"

    def events(self, thing):
        """Where a thing is followed."""
        return f"/api/runs/{thing}/events"

    def reads(self, thing):
        """With the state of the session, and the model."""
        return [*super().reads(thing), "/api/sessions/s-1/state", "/api/model"]

    async def begin(self, client):
        """Make an open thing; its id."""
        run_id = (await post(client, *self.writes[0], headers={"Accept": "application/json"}))["run_id"]
        said = [
            ("agent_start", {"status": "started"}),
            ("llm_chunk", {"content": "Tea ", "index": 0, "written_by": "a-model"}),
            ("llm_chunk", {"content": "茶", "index": 1, "written_by": "a-model"}),
        ]
        events = [
            {"stream": self.stream(run_id), "event_type": name, "payload": payload | {"agent": "requirement_analyzer"}}
            for name, payload in said
        ]
        await post(client, "/api/events", {"events": events})
        return run_id

    async def end(self, client, thing):
        """End a thing."""
        await post(client, f"/api/runs/{thing}/cancel", {})


class Tools(Sample):
    """A tool session with a status and a permission that waits; approved."""

    surface, kind, field, clocked = tools.SURFACE, "mcp", "session_id", ("expires_in_seconds",)
    base = "/agent_backend/api/sse"
    writes = (
        (f"{base}/notify/{{}}", {"type": "tool_status", "data": {"tool_name": "shell", "status": "running"}}),
        (f"{base}/permission-response/{{}}", {"reason": "fine", "approved": True}),
    )
    refused = (
        (f"{base}/notify/{{}}", {"type": "tool_result", "data": {"tool_name": "shell", "success": 1}}, "data.success"),
        (f"{base}/notify/{{}}", {"type": "tool_status", "data": {}, "nonsense": 1}, "nonsense"),
        (f"{base}/permission-response/{{}}", {"approved": "yes"}, "approved"),
    )

    def __init__(self):
        self.begun = 0

    def one(self, thing):
        """Where a thing is read."""
        return f"{self.base}/permissions/{thing}/p-1"

    def events(self, thing):
        """Where a thing is followed."""
        return f"{self.base}/events/{thing}"

    def reads(self, thing):
        """With how its session is."""
        return [*super().reads(thing), f"{self.base}/health/{thing}"]

    def found(self, thing):
        """A session may be followed before its first event."""
        return self.reads(thing)

    async def begin(self, client):
        """Make an open thing; its id."""
        self.begun += 1
        session_id = f"m-{self.begun}"
        asked = {"tool_name": "shell", "parameters": {"command": "ls 目录"}, "risk_level": "low"}
        await post(client, f"{self.base}/notify/{session_id}", self.writes[0][1])
        await post(
            client, f"{self.base}/notify/{session_id}", {"type": "permission_request", "permission_id": "p-1", "data": asked}
        )
        return session_id

    async def end(self, client, thing):
        """End a thing."""
        await post(client, f"{self.base}/permission-response/{thing}", {"approved": True, "reason": "fine"})


SAMPLES = (Demands, Sessions, Tasks, Generations, Tools)
