"""The agents that may serve demands, over HTTP: register, list, look, follow what concerns one, remove."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from server.api.stream_response import StreamResponder
from server.auth.authenticator import require_any, require_read
from server.config import Config
from server.eventlog.decider import decide_and_append
from server.eventlog.log import EventLog
from server.eventlog.selection import select
from server.eventlog.writer import Receipt
from server.http import params
from server.http.responses import json_response
from server.surfaces.demands import matching
from towow.errors import NotFound
from towow.events import NewEvent


class _AgentInput(msgspec.Struct, forbid_unknown_fields=True):
    agent_id: str
    name: str
    capabilities: list[str]
    description: str = ""


_AGENT = msgspec.json.Decoder(_AgentInput)


class AgentRoutes:
    """Handlers of `/api/agents*`."""

    def __init__(self, log: EventLog, streaming: StreamResponder, config: Config) -> None:
        self._log = log
        self._streaming = streaming
        self._config = config

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.post("/api/agents", self.register),
            web.get("/api/agents", self.list),
            web.get("/api/agents/{agent_id}", self.one),
            web.delete("/api/agents/{agent_id}", self.remove),
            web.get("/api/agents/{agent_id}/events", self.events),
        )

    async def register(self, request: web.Request) -> web.StreamResponse:
        """POST /api/agents

        `{agent_id, name, capabilities: [text], description?}`. 201 with the agent and the `seq` of its registration; 200 when
        it was registered just so before; a changed one replaces the old. Errors: invalid_request, invalid_body, too_large,
        forbidden, unsupported_media_type, request_timeout, too_many_requests, storage_full, unavailable."""
        given = await params.read_json(request, _AGENT, timeout_seconds=self._config.server.body_timeout_seconds)
        agent = matching.validate_agent(given.agent_id, given.name, given.capabilities, given.description)
        require_any(request, ("manage", "append"), matching.stream_of(agent.agent_id))
        said = {**msgspec.to_builtins(agent), "capabilities": list(agent.capabilities)}

        def decide(before: dict[str, Any] | None) -> list[NewEvent]:
            is_same = before is not None and all(before[key] == value for key, value in said.items())
            return [] if is_same else [matching.agent_registered(agent)]

        before, receipts = await self._decide(agent.agent_id, decide)
        if not receipts:
            return json_response(before)
        event = receipts[0].event
        return json_response({**said, "registered_at": event.timestamp, "seq": event.seq}, 201)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /api/agents

        200 `{agents: [{agent_id, name, capabilities, description, sample, registered_at}], head_seq}`. Errors:
        invalid_request, forbidden."""
        require_read(request, f"{matching.KIND}:*")
        head_seq = self._log.head_seq
        return json_response({"agents": await self._log.query(matching.list_agents), "head_seq": head_seq})

    async def one(self, request: web.Request) -> web.StreamResponse:
        """GET /api/agents/{agent_id}

        200 with the agent. Errors: invalid_request, forbidden, not_found."""
        agent_id = matching.AGENT_ID.in_path(request.match_info)
        require_read(request, matching.stream_of(agent_id))
        agent = await self._log.query(partial(matching.get_agent, agent_id=agent_id))
        if agent is None:
            raise NotFound(f"there is no agent {agent_id}", field="agent_id")
        return json_response(agent)

    @params.takes(*params.STREAM)
    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/agents/{agent_id}/events

        What concerns an agent, each with its `demand_id`: invitations (`towow.demand.broadcast`), proposals in which it has a
        part (`towow.proposal.distributed`) and how they end. Live unless a cursor or `start=` says otherwise; canonical events
        on every transport. Errors: invalid_request, forbidden, not_found, too_many_requests."""
        agent_id = matching.AGENT_ID.in_path(request.match_info)
        return await self._streaming.serve(
            request,
            select((matching.stream_of(agent_id),), ("towow.*",)),
            params.asked(request),
            keepalive_comment=params.keepalive_comment(request, "keepalive"),
            is_ndjson=params.wants_ndjson(request),
        )

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """DELETE /api/agents/{agent_id}

        200 `{agent_id, removed: true, seq}`; its history stays. Errors: invalid_request, forbidden, not_found,
        too_many_requests, storage_full, unavailable."""
        agent_id = matching.AGENT_ID.in_path(request.match_info)
        require_any(request, ("manage", "append"), matching.stream_of(agent_id))

        def decide(before: dict[str, Any] | None) -> list[NewEvent]:
            if before is None:
                raise NotFound(f"there is no agent {agent_id}", field="agent_id")
            return [matching.agent_removed(agent_id)]

        _, receipts = await self._decide(agent_id, decide)
        return json_response({"agent_id": agent_id, "removed": True, "seq": receipts[0].event.seq})

    async def _decide(
        self, agent_id: str, decide: Callable[[dict[str, Any] | None], Sequence[NewEvent]]
    ) -> tuple[dict[str, Any] | None, Sequence[Receipt]]:
        """Decide on an agent as its row is; copies of invitations may come between on its stream, and change nothing of it."""
        load = partial(self._log.query, partial(matching.get_agent, agent_id=agent_id))
        return await decide_and_append(self._log, matching.stream_of(agent_id), load, decide, revision_of=None)
