"""What the tests of the negotiation need: demands over HTTP, scripted agents, and waiting for what the coordinator does."""

import asyncio
import time

from server.app import BUS, LOG
from server.eventlog.selection import select
from server.streaming.follower import wait_for_event
from server.surfaces.demands.coordinator import Coordinator
from tests.support import assert_error, changed, read_frames, read_to_end, until

VENUE = {"agent_id": "ann", "name": "Ann", "capabilities": ["venue"]}
TALK = {"agent_id": "ben", "name": "Ben", "capabilities": ["technical talk"]}
PHOTO = {"agent_id": "cat", "name": "Cat", "capabilities": ["photography"]}
TEXT = "We need a venue, a technical talk and a photographer"
DEMAND = "想办一场 50 人的技术聚会，需要场地，找人做技术分享，还要有人帮忙活动策划"
BOB = {"agent_id": "user_agent_bob", "name": "Bob", "capabilities": ["场地资源"], "description": ""}
ALICE = {"agent_id": "user_agent_alice", "name": "Alice", "capabilities": ["技术分享"], "description": ""}
CHARLIE = {"agent_id": "user_agent_charlie", "name": "Charlie", "capabilities": ["活动策划"], "description": ""}
EVENING = "We need a venue and a technical talk"
DAN = VENUE | {"agent_id": "dan", "name": "Dan"}
EVE = VENUE | {"agent_id": "eve", "name": "Eve"}
GUARD = {"agent_id": "gus", "name": "Gus", "capabilities": ["security guards"]}
COOK = {"agent_id": "kim", "name": "Kim", "capabilities": ["catering"]}
BEGUN = ["demand.understood", "filter.completed", "demand.broadcast"]
FILTERED_TYPES = ["towow.demand.understood", "towow.filter.completed", "towow.demand.broadcast"]

EVERYTHING = select(("*",))
ENDS = ("towow.proposal.finalized", "towow.negotiation.failed", "towow.negotiation.cancelled")


def negotiating(config, **values):
    """The settings with some of `[demands]` changed."""
    return changed(config, "demands", **values)


async def get(client, path):
    """An answer's JSON, when it is 200."""
    answer = await client.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def register(client, *agents):
    """Register agents."""
    for agent in agents:
        answer = await client.post("/api/agents", json=agent)
        assert answer.status in (200, 201), await answer.text()


async def submit(client, raw_input=DEMAND, **fields):
    """Submit a demand; returns the answer's JSON."""
    answer = await client.post("/api/demand/submit", json={"raw_input": raw_input, **fields})
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def demand(client, demand_id):
    """Everything about a demand."""
    return await get(client, f"/api/demand/{demand_id}")


async def until_demand(client, demand_id, condition, *, timeout=10.0):
    """The first state of a demand that meets a condition; a demand that does not exist yet is waited for."""
    log, detail = client.app[LOG], None
    try:
        async with asyncio.timeout(timeout):
            while True:
                seen = log.head_seq  # before the look: what happens meanwhile is looked at again
                answer = await client.get(f"/api/demand/{demand_id}")
                detail = await answer.json()
                if answer.status == 200 and condition(detail):
                    return detail
                await wait_for_event(log, EVERYTHING, seen, timeout)
    except TimeoutError:
        raise AssertionError(f"{demand_id} did not come so far: {detail}") from None


def until_told(server, demand_id, condition, *, timeout=10.0):
    """The first state of a demand that meets a condition, asked of a server process."""
    deadline = time.monotonic() + timeout
    while not condition(detail := server.get(f"/api/demand/{demand_id}")):
        assert time.monotonic() < deadline, f"{demand_id} did not come so far: {detail}"
        server.get(f"/api/events?stream=demand:{demand_id}&since_seq={detail['last_seq']}&wait=2")
    return detail


async def until_phase(client, demand_id, *phases, **options):
    """The demand when it has come to one of these phases."""
    return await until_demand(client, demand_id, lambda detail: detail["phase"] in phases, **options)


async def until_filtered(client, demand_id):
    """The demand when candidates have been looked for, and invited if there are any."""
    return await until_demand(client, demand_id, lambda detail: detail["phase"] not in ("understood", "filtered"))


async def until_ended(client, demand_id, **options):
    """The demand when it has ended."""
    return await until_demand(client, demand_id, lambda detail: detail["status"] != "processing", **options)


async def follow(client, demand_id, query="", **headers):
    """The events and control frames of a demand that ends."""
    async with client.get(f"/api/events/stream/{demand_id}?{query}", headers=headers) as response:
        assert response.status == 200, await response.text()
        frames = []
        while not frames or frames[-1].event != "end":
            frames += await read_frames(response, 1)
        assert await read_to_end(response) == ""
        return frames


async def fail(client, demand_id):
    """End a demand from outside."""
    ended = ("towow.negotiation.failed", {"reason": "called_off"})
    assert (await publish_events(client, f"demand:{demand_id}", ended)).status == 201


async def history(client, demand_id):
    """The stored events of a demand, canonical."""
    return (await get(client, f"/api/events?stream=demand:{demand_id}&since_seq=0&limit=1000"))["events"]


async def types_of(client, demand_id):
    """The event types of a demand without their common prefix."""
    return [event["event_type"].removeprefix("towow.") for event in await history(client, demand_id)]


async def publish_events(client, stream, *events):
    """Append (event type, payload) to a stream as anybody may, all or none; returns the answer."""
    events = [{"stream": stream, "event_type": name, "payload": payload} for name, payload in events]
    return await client.post("/api/events", json={"events": events})


async def offer(client, demand_id, agent_id, *capabilities, **fields):
    """Post an offer; returns the answer."""
    given = {"agent_id": agent_id, "content": f"{agent_id} does it", "capabilities": list(capabilities), **fields}
    return await client.post(f"/api/demand/{demand_id}/offers", json=given)


async def decline(client, demand_id, agent_id, content=None):
    """Post a refusal; returns the answer."""
    given = {"agent_id": agent_id, "decline": True} | ({} if content is None else {"content": content})
    return await client.post(f"/api/demand/{demand_id}/offers", json=given)


async def feedback(client, demand_id, number, decision, **fields):
    """Post feedback to the proposal of a round; returns the answer."""
    given = {"proposal_id": f"{demand_id}-p{number}", "decision": decision, **fields}
    return await client.post(f"/api/demand/{demand_id}/feedback", json=given)


async def cancel(client, demand_id, **fields):
    """Post a cancellation; returns the answer."""
    return await client.post(f"/api/demand/{demand_id}/cancel", json=fields)


async def assert_refused(client, demand_id, answer, code, *, status, field=None):
    """The answer is this error and says where the demand is; returns the `error` object."""
    error = await assert_error(answer, code, status=status, field=field)
    told = await get(client, f"/api/demand/{demand_id}/status")
    assert {key: error[key] for key in ("phase", "status", "current_round")} == {
        key: told[key] for key in ("phase", "status", "current_round")
    }
    return error


class Script:
    """What one agent does: offers `capabilities` (none: it declines), and says `says[n - 1]` to round n, the last one for ever.

    Each of `says` is a decision, the fields of the feedback, or None for silence. A silent agent answers nothing at all."""

    def __init__(self, *capabilities, price=None, needs=(), says=("accept",), is_silent=False):
        self.capabilities = list(capabilities)
        self.terms = {} if price is None else {"price": price}
        self.needs = list(needs)
        self.says = says
        self.is_silent = is_silent

    def invited(self):
        """The body of the offer, without the agent."""
        if not self.capabilities:
            return {"decline": True, "content": "not this time"}
        return {"content": "gladly", "capabilities": self.capabilities, "terms": self.terms, "needs": self.needs}

    def asked(self, number):
        """The body of the feedback to a round, without agent and proposal; None to stay silent."""
        said = self.says[min(number, len(self.says)) - 1]
        return {"decision": said} if isinstance(said, str) else said


class Clock:
    """A clock that a test sets: seconds since 1970."""

    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        """Now."""
        return self.now


class Players:
    """Scripted agents that answer what comes on their streams, over HTTP, one after the other.

    `answers` is every (agent_id, event type, status). Ends with the application."""

    def __init__(self, client, scripts):
        self.answers = []
        self._client = client
        self._scripts = scripts
        client.app[BUS].subscribe("towow.*", self._on_event)

    async def _on_event(self, event):
        kind, _, agent_id = event.stream.partition(":")
        script = self._scripts.get(agent_id) if kind == "agent" else None
        if script is None or script.is_silent:
            return
        payload = event.payload
        if event.event_type == "towow.demand.broadcast":
            path, given = "offers", script.invited()
        elif event.event_type == "towow.proposal.distributed":
            path, given = "feedback", script.asked(payload["round"])
        else:
            return
        if given is not None:
            place = {"proposal_id": payload["proposal_id"]} if path == "feedback" else {}
            url = f"/api/demand/{payload['demand_id']}/{path}"
            answer = await self._client.post(url, json={"agent_id": agent_id, **place, **given})
            self.answers.append((agent_id, event.event_type, answer.status))


def working_tasks():
    """The coordinator's and the sample agents' tasks of this loop that have not ended."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith("demand ") or " on d-" in name]


def unchanged(client, demand_id):
    """What an illegal command must not touch: the head, and the demand's rows. An awaitable; compare two of them."""

    async def look():
        log = client.app[LOG]
        await log.refresh()
        return log.head_seq, await history(client, demand_id)

    return look()


async def drive(client, demand_id, scripts, *, timeout=10.0):
    """Answer for the scripted agents whatever a demand and its sub-negotiations wait for, until it has ended; returns it."""

    async def answer_once(detail):
        for agent_id in detail["waiting_for"]:
            script = scripts.get(agent_id)
            if script is None or script.is_silent:
                continue
            if detail["phase"] == "collecting_offers":
                await client.post(f"/api/demand/{detail['demand_id']}/offers", json={"agent_id": agent_id, **script.invited()})
            elif said := script.asked(detail["current_round"]):
                await feedback(client, detail["demand_id"], detail["current_round"], agent_id=agent_id, **said)
        for subnet in detail["subnets"]:
            if subnet["outcome"] is None:
                await answer_once(await demand(client, subnet["subnet_id"]))

    log, detail = client.app[LOG], None
    try:
        async with asyncio.timeout(timeout):
            while True:
                seen = log.head_seq
                if (detail := await demand(client, demand_id))["status"] != "processing":
                    return detail
                await answer_once(detail)
                await wait_for_event(log, EVERYTHING, seen, timeout)
    except TimeoutError:
        raise AssertionError(f"{demand_id} did not end: {detail}") from None


async def negotiate(client, text, scripts, *agents, **fields):
    """Register agents, submit, let the scripts answer; returns the demand when it has ended."""
    await register(client, *agents)
    players = Players(client, scripts)
    demand_id = (await submit(client, text, **fields))["demand_id"]
    detail = await until_ended(client, demand_id)
    await until(lambda: not working_tasks())
    assert {status for _, _, status in players.answers} <= {201}
    return detail


# How a demand comes so far: ann has the better offer for the venue, ben the talk; dan is dearer, eve declines.


async def collecting(client, **fields):
    """Ann has offered and eve has declined; ben and dan are awaited."""
    await register(client, VENUE, TALK, DAN, EVE)
    demand_id = (await submit(client, EVENING, user_id="u-1", **fields))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    assert (await offer(client, demand_id, "ann", "venue", terms={"price": 100})).status == 201
    assert (await decline(client, demand_id, "eve", "busy")).status == 201
    return demand_id


async def asked(client, **fields):
    """The first proposal is out, for ann and ben."""
    demand_id = await collecting(client, **fields)
    assert (await offer(client, demand_id, "ben", "technical talk", terms={"price": 200})).status == 201
    assert (await offer(client, demand_id, "dan", "venue", terms={"price": 900})).status == 201
    await until_phase(client, demand_id, "proposing")
    return demand_id


async def proposing(client):
    """Ann has accepted the first proposal; ben is awaited."""
    demand_id = await asked(client)
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ann")).status == 201
    return demand_id


async def second_round(client):
    """Ann wanted something changed; the second proposal is out."""
    demand_id = await asked(client)
    assert (await feedback(client, demand_id, 1, "revise", agent_id="ann", comment="an hour later")).status == 201
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ben")).status == 201
    await until_demand(client, demand_id, lambda detail: detail["current_round"] == 2)
    return demand_id


async def finalized(client):
    """Both have accepted."""
    demand_id = await proposing(client)
    assert (await feedback(client, demand_id, 1, "accept", agent_id="ben")).status == 201
    await until_phase(client, demand_id, "finalized")
    return demand_id


async def failed(client):
    """Somebody has ended it while offers were collected."""
    demand_id = await collecting(client)
    await fail(client, demand_id)
    return demand_id


async def cancelled(client):
    """The user has ended it while offers were collected."""
    demand_id = await collecting(client)
    assert (await cancel(client, demand_id)).status == 200
    return demand_id


async def filling_gaps(client):
    """Nobody covers the talk, and a sub-negotiation asks somebody who came later."""
    await register(client, VENUE)
    demand_id = (await submit(client, EVENING, user_id="u-1"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    await register(client, TALK)
    assert (await offer(client, demand_id, "ann", "venue", terms={"price": 100})).status == 201
    await until_phase(client, f"{demand_id}.1", "collecting_offers")
    return demand_id


async def stay_understood(client, monkeypatch):
    """A demand that no coordinator takes up."""
    monkeypatch.setattr(Coordinator, "_take_up", lambda self, demand_id, **options: None)
    return (await submit(client, EVENING, user_id="u-1"))["demand_id"]


NEEDY = {
    "ann": Script("venue", price=100, needs=["security guards"]),
    "gus": Script("security guards", price=20, needs=["catering"]),
    "kim": Script("catering", price=5),
}


async def waiting_in_depth(client):
    """A demand whose sub-negotiation's sub-negotiation waits for an agent that says nothing."""
    await register(client, VENUE, GUARD, COOK)
    Players(client, NEEDY | {"kim": Script(is_silent=True)})
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, f"{demand_id}.1.1", "collecting_offers")
    return demand_id
