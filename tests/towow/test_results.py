"""The results of the client against the responses of the live server: each key is an attribute, and each attribute is a key."""

import asyncio
import os
import types
from collections.abc import AsyncIterator
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

import towow.client
import towow.demands
import towow.responses
import towow.runs
import towow.sessions
import towow.tasks
import towow.tools
import towow.transport
from server.app import make_app
from server.config import Config
from tests.support import changed
from tests.surfaces.generations.generating import NOVA_AGENTS, by_hand, tell, whole
from towow import Client, SimpleNotifier
from towow.errors import InvalidBody

MODULES = (towow.responses, towow.demands, towow.sessions, towow.tasks, towow.runs, towow.tools)
RESULTS = {
    each
    for module in MODULES
    for each in vars(module).values()
    if isinstance(each, type)
    and issubclass(each, msgspec.Struct)
    and each.__module__ == module.__name__
    and not each.__name__.startswith("_")
}
# Made by the client from events and from a `StoredPermission`, not read from a response as they are.
MADE_BY_THE_CLIENT = {towow.responses.Page, towow.tools.Permission}
MISSING_IN_ONE_RESPONSE = {
    ("Notice", "coalesced"),  # only of a burst
    ("HandOver", "agent_id"),  # only with an operator
}


def structs_of(kind: Any, value: Any) -> list[tuple[type, dict[str, Any]]]:
    """The structs that a type holds, each with the JSON object that it was read from."""
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [each for each in get_args(kind) if each is not type(None)]
        return [] if value is None or len(kinds) > 1 else structs_of(kinds[0], value)
    if get_origin(kind) is list:
        return [found for each in value for found in structs_of(get_args(kind)[0], each)]
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return []
    hints = get_type_hints(kind)
    inner = [found for name, hint in hints.items() if name in value for found in structs_of(hint, value[name])]
    return [(kind, value), *inner]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[type, dict[str, Any]]]:
    """Every struct that the client has read, with its JSON object."""
    found: list[tuple[type, dict[str, Any]]] = []
    inner = towow.responses.read

    def noting(kind: type, raw: bytes | str) -> Any:
        found.extend(structs_of(kind, msgspec.json.decode(raw)))
        return inner(kind, raw)

    for module in (towow.transport, towow.client, towow.tools):
        monkeypatch.setattr(module, "read", noting)
    return found


@pytest.fixture
async def real(quiet_config: Config, aiohttp_server: Any) -> AsyncIterator[Any]:
    """The real server, in which sub-negotiations are short and the test writes the texts of runs."""
    config = changed(quiet_config, "demands", max_depth=1, subnet_timeout_seconds=0.2, offer_timeout_seconds=5.0)
    with by_hand():
        yield await aiohttp_server(make_app(config))


async def negotiate(client: Client) -> None:
    """A negotiation with an offer, a refusal, a gap with its sub-negotiation, a revision, and an agreement."""
    for agent_id in ("ann", "carl"):
        await client.register_agent(agent_id, agent_id.title(), ["venue"])
    submitted = await client.submit_demand("We need a venue and a photographer", "cleo")
    async with client.follow_agent("ann", start="beginning") as events:
        while (await anext(events)).event_type != "towow.demand.broadcast":
            pass
        await client.offer(submitted.demand_id, "ann", "A hall", ["venue"], terms={"price": 300, "currency": "USD"})
        await client.decline(submitted.demand_id, "carl", "closed on Sundays")
        for decision in ("revise", "accept"):
            while (event := await anext(events)).event_type != "towow.proposal.distributed":
                pass
            proposal_id = event.payload["proposal_id"]
            comment = "an hour later" if decision == "revise" else None
            await client.feedback(submitted.demand_id, proposal_id, decision, agent_id="ann", comment=comment)
        while (await anext(events)).event_type != "towow.proposal.finalized":
            pass
    await client.demand(submitted.demand_id)
    cancelled = await client.submit_demand("We need a venue", "cleo")
    await client.cancel_demand(cancelled.demand_id)
    await client.demands(status="failed", user_id="ann")
    await client.demands()


async def hand_over(client: Client) -> None:
    """A session that goes to an operator and back."""
    await client.message("alice", "user", "hello")
    await client.escalate("alice")
    await client.takeover("alice", "o-7")
    await client.release("alice", "o-7")
    await client.session("alice")
    await client.sessions("bot")
    await client.broadcast({"text": "closing soon"})


async def work(client: Client) -> None:
    """A task with a work item."""
    await client.emit("t-1", "work_item_start", {"name": "parse"}, span_id="s-1", phase="executing")
    await client.emit_many("t-1", [{"event_type": "note"}])
    await client.task("t-1")
    await client.tasks()
    await client.task_events("t-1")
    await client.streams()
    await client.append("x:1", "note", {})
    await client.append_many([{"stream": "x:1", "event_type": "note", "payload": {}}])
    await client.health()


async def generate(client: Client, real: Any) -> None:
    """A run that completes, and one that is cancelled."""
    run = await client.start_run("A poster", session_id="s-1")
    await tell(real, run.run_id, *whole(None, NOVA_AGENTS)[1:])
    await client.run(run.run_id)
    await client.runs()
    await client.session_state("s-1")
    await client.model()
    await client.cancel_run((await client.start_run("A poster")).run_id)


async def ask(notifier: SimpleNotifier) -> None:
    """A report, and a permission that is taken back."""
    await notifier.tool_status("rm")
    await notifier.permission_request("rm", {}, permission_id="p-1")
    await notifier.clear_permission("p-1")
    assert not await notifier.request_permission("rm", {}, permission_id="p-1")


async def test_every_result_has_the_keys_of_its_response(real: Any, read: list[tuple[type, dict[str, Any]]]) -> None:
    """None is missing in the struct, and none of the struct in the response; every struct was read at least once."""
    url, token = str(real.make_url("")), os.environ.get("TOWOW_TEST_TOKEN")
    async with asyncio.timeout(30), Client(url, token=token) as client, SimpleNotifier("m-1", url, token=token) as notifier:
        for scenario in (negotiate, hand_over, work):
            await scenario(client)
        await generate(client, real)
        await ask(notifier)
    for kind, value in read:
        fields = {field.name for field in msgspec.structs.fields(kind)}
        assert set(value) <= fields, kind.__name__
        assert {(kind.__name__, name) for name in fields - set(value)} <= MISSING_IN_ONE_RESPONSE
    assert {kind for kind, _ in read} >= RESULTS - MADE_BY_THE_CLIENT


def test_a_result_ignores_what_a_later_server_adds_and_refuses_what_is_missing() -> None:
    """An older client reads a newer server; another program's JSON is no result."""
    raw = b'{"seq": 1, "revision": 1, "event_id": "e", "followers": 0, "shard": {"n": 1}}'
    assert towow.responses.read(towow.responses.Receipt, raw) == towow.responses.Receipt(1, 1, "e", 0)
    with pytest.raises(InvalidBody):
        towow.responses.read(towow.responses.Receipt, b'{"seq": 1}')
