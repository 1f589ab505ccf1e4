"""The calls of generations: for who has something written, follows it, comes back to it, or stops it.

    async with Client() as client:
        run = await client.start_run("Write about tea")
        async for event in client.follow_run(run["run_id"]):
            if event.event_type == "llm_chunk":
                print(event.payload["content"], end="")

A run goes on when nobody follows it: `follow_run` with the seq of the last event that was seen comes back to it, at any time
and from any process; `run` has the texts so far and the seq that they are true at."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

from towow.events import Event, payload_json
from towow.follow import Following, StateCallback
from towow.responses import read_object
from towow.transport import Transport, path_segment

Mode = Literal["nova", "loomi"]


class Generating:
    """What `Client` can do with runs."""

    _transport: Transport

    async def start_run(
        self,
        prompt: str,
        *,
        mode: Mode = "nova",
        session_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Start a run and return `{"run_id", "status", "events_url"}`; it is on disk then.

        `nova`: four agents at the same time; `loomi`: four in stages. A run of a session goes on from the last one of it. A
        start has no idempotency key: it is tried again only when the server certainly did not take it. Raises
        `TooManyRequests` when as many runs are running as may, `InvalidBody`, `TooLarge`, `Unreachable`."""
        fields = {"prompt": prompt, "session_id": session_id, "context": None if context is None else dict(context)}
        body = payload_json({key: value for key, value in fields.items() if value is not None}).encode()
        return read_object(await self._transport.call("POST", f"/{mode}chat", body=body, is_repeatable=False))

    def follow_run(
        self,
        run_id: str,
        *,
        since_seq: int | str | None = None,
        on_state: StateCallback | None = None,
        live: bool = True,
    ) -> AsyncGenerator[Event, None]:
        """The events of a run, once and in order, until it ends; `source` is the agent that each comes from.

        Without a cursor from its beginning. It resumes as `Client.follow` does. Raises `NotFound`, `CursorLost`."""
        following = Following(
            self._transport, [("stream", f"run:{run_id}")], since_seq=since_seq, start=None, on_state=on_state, live=live
        )
        return following.events()

    async def run(self, run_id: str) -> dict[str, Any]:
        """A run with what its agents have written until `last_seq`. Raises `NotFound`, `Gone`."""
        return read_object(await self._transport.call("GET", f"/api/runs/{path_segment(run_id)}"))

    async def runs(
        self,
        *,
        status: str | None = None,
        mode: Mode | None = None,
        session_id: str | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> dict[str, Any]:
        """One page of runs, newest first, `{"runs", "has_more", "head_seq", "epoch", "model"}`.

        `before` is a `created_seq`, excluded."""
        asked = {"status": status, "mode": mode, "session_id": session_id, "limit": limit, "before": before}
        parameters = [(key, str(value)) for key, value in asked.items() if value is not None]
        return read_object(await self._transport.call("GET", "/api/runs", parameters))

    async def cancel_run(self, run_id: str) -> dict[str, Any]:
        """End a run and return `{"success", "run_id", "status", "seq"}`, the same when it was cancelled before.

        Raises `NotFound`, and `Conflict` when it has ended otherwise, with `run_status` and `reason` in its details."""
        return read_object(await self._transport.call("POST", f"/api/runs/{path_segment(run_id)}/cancel", body=b"{}"))

    async def session_state(self, session_id: str) -> dict[str, Any]:
        """Where the newest run of a session is. Raises `NotFound` when it never had one, `Gone` when that is too long ago."""
        return read_object(await self._transport.call("GET", f"/api/sessions/{path_segment(session_id)}/state"))

    async def model(self) -> dict[str, Any]:
        """Which model writes, `{"kind", "name", "status", "hint"}`."""
        return read_object(await self._transport.call("GET", "/api/model"))
