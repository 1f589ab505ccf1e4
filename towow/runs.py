"""The calls of generations: start a run, follow it, come back to it, or stop it.

    async with Client() as client:
        run = await client.start_run("Write about tea")
        async for event in client.follow_run(run.run_id):
            if event.event_type == "llm_chunk":
                print(event.payload["content"], end="")

A run goes on without followers: `follow_run` with the seq of the last event that was seen comes back to it, at any time and
from any process; `run` has the texts so far and the seq that they are true at."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from towow.events import Event
from towow.follow import StateCallback, follow
from towow.subscription import Subscription
from towow.transport import Order, Transport, given, json_body, path_segment

Mode = Literal["nova", "loomi"]


class StartedRun(msgspec.Struct, frozen=True):
    """A run that has begun; it is on disk."""

    run_id: str
    status: str
    events_url: str


class RunProgress(msgspec.Struct, frozen=True):
    """The agents that have ended in percent, the stage of the last one, the completed ones, and all."""

    percent: int
    stage: int
    completed: int
    total: int


class AgentProgress(msgspec.Struct, frozen=True):
    """One agent of a run, without its text."""

    name: str
    task_description: str
    stage: int
    status: str
    summary: str | None
    error: str | None
    error_type: str | None
    retries: int
    written_by: str | None
    degraded: bool


class AgentText(AgentProgress, frozen=True):
    """One agent of a run, with its text until the run's `last_seq`."""

    text: str
    characters: int
    next_try_at: str | None


class RunSummary(msgspec.Struct, frozen=True):
    """One row of the list of runs, true at `last_seq`: without texts and context."""

    run_id: str
    mode: str
    status: str
    reason: str | None
    prompt: str
    session_id: str | None
    language: str
    progress: RunProgress
    agents: list[AgentProgress]
    partial: bool
    degraded: bool
    continues: str | None
    resumes: int
    created_at: str
    updated_at: str
    ended_at: str | None
    created_seq: int
    last_seq: int


class Run(RunSummary, frozen=True):
    """One run with its texts; `result` is None until it is completed."""

    agents: list[AgentText]  # type: ignore[assignment]  # with their texts, too
    context: dict[str, Any] | None
    result: str | None
    error: str | None


class Model(msgspec.Struct, frozen=True):
    """The model that writes; `hint` is an advice for people, empty when none is needed."""

    kind: str
    name: str | None
    status: str
    hint: str


class RunPage(msgspec.Struct, frozen=True):
    """Runs, newest first; the next page is `before` the last one's `created_seq`."""

    runs: list[RunSummary]
    has_more: bool
    head_seq: int
    epoch: str
    model: Model


class CancelledRun(msgspec.Struct, frozen=True):
    """A cancelled run; `seq` is of its end."""

    success: bool
    run_id: str
    status: str
    seq: int


class RunSession(msgspec.Struct, frozen=True):
    """The newest run of a session; `version` grows with every event of its runs."""

    session_id: str
    status: str
    run_id: str
    mode: str
    progress: RunProgress
    runs: int
    updated_at: str
    expires_at: str
    version: int


class RunCalls:
    """The calls of `Client` about runs."""

    _transport: Transport

    async def start_run(
        self, prompt: str, *, mode: Mode = "nova", session_id: str | None = None, context: Mapping[str, Any] | None = None
    ) -> StartedRun:
        """Start a run; it is on disk when this returns.

        `nova`: four agents at the same time; `loomi`: four in stages. A run of a session goes on from the last one of it. A
        start has no idempotency key: it is tried again only when the server certainly did not take it. Raises
        `TooManyRequests` when as many runs are running as may, `InvalidBody`, `TooLarge`, `Unreachable`."""
        body = json_body(prompt=prompt, session_id=session_id, context=None if context is None else dict(context))
        return await self._transport.post(StartedRun, f"/{mode}chat", body, is_repeatable=False)

    def follow_run(
        self, run_id: str, *, since_seq: int | str | None = None, on_state: StateCallback | None = None, live: bool = True
    ) -> Subscription[Event]:
        """The events of a run, once and in order, until it ends; `source` is the agent of an event.

        Without a cursor from its beginning. It resumes as `Client.follow` does. Raises `NotFound`, `CursorLost`."""
        return follow(self._transport, [("stream", f"run:{run_id}")], since_seq=since_seq, on_state=on_state, live=live)

    async def run(self, run_id: str) -> Run:
        """A run with the texts of its agents until `last_seq`. Raises `NotFound`, `Gone`."""
        return await self._transport.get(Run, f"/api/runs/{path_segment(run_id)}")

    async def runs(
        self,
        *,
        status: str | None = None,
        mode: Mode | None = None,
        session_id: str | None = None,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
        order: Order | None = None,
    ) -> RunPage:
        """One page of runs, newest first; `before` and `after` are a `created_seq`, excluded."""
        asked = {"status": status, "mode": mode, "session_id": session_id, "order": order}
        return await self._transport.get(RunPage, "/api/runs", given(**asked, limit=limit, before=before, after=after))

    async def cancel_run(self, run_id: str) -> CancelledRun:
        """End a run; the answer is the same when it was cancelled before.

        Raises `NotFound`, and `Conflict` when it has ended otherwise, with `run_status` and `reason` in its details."""
        return await self._transport.post(CancelledRun, f"/api/runs/{path_segment(run_id)}/cancel", b"{}")

    async def session_state(self, session_id: str) -> RunSession:
        """The state of a session's newest run. Raises `NotFound` when it never had one, `Gone` when that is too long ago."""
        return await self._transport.get(RunSession, f"/api/sessions/{path_segment(session_id)}/state")

    async def model(self) -> Model:
        """The model that writes generations."""
        return await self._transport.get(Model, "/api/model")
