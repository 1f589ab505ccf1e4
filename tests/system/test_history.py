"""The history as people read it with SQL: every column of the views, whatever was appended, and the documented queries."""

import contextlib
import json
import re
import sqlite3 as standard_sqlite3
from collections import Counter, defaultdict
from datetime import datetime
from statistics import mean

import pytest

from server.app import is_terminal, make_app
from server.eventlog.database import migrate, migrations, sqlite3
from server.surfaces.demands import state as words
from server.surfaces.demands.projections import project_demand
from tests.docs.reading import blocks, read
from tests.support import open_log
from tests.support.negotiations import cancel as cancel_over_http
from tests.support.negotiations import demand, get, negotiating, register, submit, until_ended, until_phase
from tests.support.negotiations import history as stored_events
from towow.events import new_event

START = 1_800_000_000.0  # 2027-01-15T08:00:00Z
VIEWS = ("negotiations", "offers", "proposals", "negotiation_timeline")
EVENT_TYPES = sorted(value for value in vars(words).values() if isinstance(value, str) and value.startswith("towow."))


class History:
    """Appends what a negotiation leaves behind, at times that the test chooses, and reads it with SQL."""

    def __init__(self, path):
        self.seconds = 0.0
        self._path = path
        self.log = None

    def clock(self):
        """Seconds since 1970."""
        return START + self.seconds

    async def say(self, demand_id, event_type, payload=None, *, at=None, stream=None):
        """Append one event, `at` so many seconds after the start; returns its seq."""
        self.seconds = self.seconds if at is None else at
        ids = {"demand_id": demand_id, "channel_id": f"collab-{demand_id.removeprefix('d-')}"}
        given = {**ids, **payload} if isinstance(payload, dict) else ids
        event = new_event(stream or f"demand:{demand_id}", event_type, given, source="towow")
        return (await self.log.append([event]))[0].event.seq

    def rows(self, sql, *values, engine=sqlite3):
        """The rows of a query, as dictionaries."""
        with contextlib.closing(engine.connect(self._path)) as db:
            cursor = db.execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]


@pytest.fixture
async def history(quiet_config):
    """An empty log with the table of demands, without anybody who acts on it."""
    history = History(quiet_config.database.path)
    projections = {words.KIND: (project_demand,)}
    async with open_log(quiet_config, is_terminal=is_terminal, projections=projections, clock=history.clock) as log:
        history.log = log
        yield history


def at(seconds):
    """The timestamp so many seconds after the start."""
    return f"2027-01-15T08:{int(seconds) // 60:02d}:{int(seconds) % 60:02d}.000Z"


def agent(agent_id, **fields):
    """An agent as events name it."""
    return {"agent_id": agent_id, "name": agent_id.title(), **fields}


def assignment(agent_id, capability, price, **fields):
    """An agent's part of a proposal."""
    terms = {"price": price, "currency": "CNY"}
    given = {"capabilities": [capability], "offer_seq": 1, "terms": terms, "offered_price": price, "conditions": []}
    return agent(agent_id, **given, **fields)


async def agree_on_a_meetup(history, demand_id="d-1f2e3d4c", start=0):
    """Two rounds, a refusal, a gap that a sub-negotiation fills and one that stays; 20 seconds."""
    child, say = f"{demand_id}.1", history.say

    async def offer(negotiation, agent_id, capability, price, seconds):
        terms = {"price": price, "currency": "CNY", "people": 40}
        offered = {"content": f"{capability} by {agent_id}", "capabilities": [capability], "terms": terms, "needs": []}
        await say(negotiation, words.OFFERED, agent(agent_id, offer=offered), at=start + seconds)

    async def propose(negotiation, number, assignments, missing, total, seconds):
        proposal = {"proposal_id": f"{negotiation}-p{number}", "round": number, "assignments": assignments}
        proposal |= {"missing": missing, "total_price": total, "currency": "CNY", "summary": f"plan {number}"}
        await say(negotiation, words.PROPOSED, proposal, at=start + seconds)
        return {"proposal_id": proposal["proposal_id"], "round": number}, proposal

    understood = {"surface_demand": "a meetup for 30", "raw_input": "we want a meetup", "user_id": "anna"}
    await say(demand_id, words.UNDERSTOOD, understood, at=start)
    candidates = [agent("bob", reason="venue: venue", score=2.0), agent("alice", score=1.5), agent("carl", score=1.0)]
    await say(demand_id, words.FILTERED, {"candidates": candidates}, at=start + 1)
    await say(demand_id, words.BROADCAST, {"agent_ids": ["bob", "alice", "carl"], "offers_within_seconds": 30}, at=start + 2)
    await offer(demand_id, "bob", "venue", 2000, 4)
    await offer(demand_id, "alice", "speaker", 800.5, 5)
    await say(demand_id, words.DECLINED, agent("carl", reason="not on Sundays"), at=start + 6)
    for capability in ("event_planning", "photography"):
        gap = {"capability": capability, "gap": f"nobody offers {capability}", "reason": "no_offer", "round": 1}
        await say(demand_id, words.GAP, gap, at=start + 7)
    subnet = {"subnet_id": child, "parent_demand_id": demand_id, "capability": "event_planning", "depth": 1}
    await say(demand_id, words.SUBNET_TRIGGERED, {**subnet, "within_seconds": 120}, at=start + 7)

    nested = {"surface_demand": "event planning", "user_id": "anna", "parent_demand_id": demand_id, "depth": 1}
    await say(child, words.UNDERSTOOD, {**nested, "for_capability": "event_planning"}, at=start + 8)
    await say(child, words.FILTERED, {"candidates": [agent("dora")]})
    await say(child, words.BROADCAST, {"agent_ids": ["dora"], "offers_within_seconds": 30})
    await offer(child, "dora", "event_planning", 500, 9)
    dora = assignment("dora", "event_planning", 500)
    proposal_id, proposal = await propose(child, 1, [dora], [], 500, 10)
    await say(child, words.FEEDBACK, agent("dora", decision="accept", **proposal_id), at=start + 11)
    await say(child, words.FINALIZED, {**proposal_id, "proposal": proposal, "accepted_by": ["dora"]}, at=start + 12)

    await say(demand_id, words.SUBNET_COMPLETED, {**subnet, "outcome": "finalized", "assignments": [dora]}, at=start + 13)
    parts = [assignment("bob", "venue", 2000), assignment("alice", "speaker", 800.5), {**dora, "subnet_id": child}]
    proposal_id, _ = await propose(demand_id, 1, parts, ["photography"], 3300.5, 14)
    await say(demand_id, words.FEEDBACK, agent("bob", decision="accept", comment="", **proposal_id), at=start + 15)
    revise = {"decision": "revise", "comment": "I need a microphone", "terms": {"price": 900}, **proposal_id}
    await say(demand_id, words.FEEDBACK, agent("alice", **revise), at=start + 16)
    await say(demand_id, words.FEEDBACK, {"user_id": "anna", "name": "anna", "decision": "accept", **proposal_id})
    proposal_id, proposal = await propose(demand_id, 2, parts[:2], ["photography"], 2900, 17)
    for name in ("bob", "alice"):
        await say(demand_id, words.FEEDBACK, agent(name, decision="accept", **proposal_id), at=start + 18)
    finalized = {**proposal_id, "proposal": proposal, "accepted_by": ["bob", "alice", "anna"], "is_complete": False}
    await say(demand_id, words.FINALIZED, finalized, at=start + 20)


async def fail(history, demand_id="d-00000002", start=30):
    """Nobody was found; one second."""
    await history.say(demand_id, words.UNDERSTOOD, {"surface_demand": "a submarine", "user_id": "ben"}, at=start)
    await history.say(demand_id, words.FILTERED, {"candidates": []})
    ended = {"reason": "no_candidates", "message": "No registered agent offers it.", "round": 1}
    await history.say(demand_id, words.FAILED, ended, at=start + 1)


async def cancel(history, demand_id="d-00000003", start=40):
    """The user changed the mind after an offer of somebody who came late; four seconds."""
    await history.say(demand_id, words.UNDERSTOOD, {"surface_demand": "a hall", "user_id": "ben"}, at=start)
    await history.say(demand_id, words.FILTERED, {"candidates": [agent("bob")]})
    await history.say(demand_id, words.BROADCAST, {"agent_ids": ["bob"], "offers_within_seconds": 30})
    offered = {"content": "my hall", "capabilities": ["venue"], "terms": {"price": "cheap"}}
    await history.say(demand_id, words.OFFERED, agent("bob", offer=offered), at=start + 3)
    await history.say(demand_id, words.CANCELLED, {"reason": "found one", "by": "user"}, at=start + 4)


async def begin(history, demand_id="d-00000004", start=50):
    """Two are invited and have not answered."""
    await history.say(demand_id, words.UNDERSTOOD, {"surface_demand": "a cake", "user_id": "cleo"}, at=start)
    await history.say(demand_id, words.FILTERED, {"candidates": [agent("bob"), agent("gina")]})
    await history.say(demand_id, words.BROADCAST, {"agent_ids": ["bob", "gina"]}, at=start + 1)


@pytest.fixture
async def told(history):
    """One agreed with a sub-negotiation, one failed, one cancelled, one open."""
    for each in (agree_on_a_meetup, fail, cancel, begin):
        await each(history)
    return history


# The views


NEGOTIATIONS = [
    {
        "demand_id": "d-1f2e3d4c",
        "demand": "a meetup for 30",
        "user_id": "anna",
        "parent_demand_id": None,
        "status": "finalized",
        "phase": "finalized",
        "rounds": 2,
        "started": at(0),
        "ended": at(20),
        "last_activity": at(20),
        "outcome": "agreed, still missing: photography",
        "outcome_reason": None,
        "participants": 3,
        "offers": 2,
        "accepted_by": '["bob","alice","anna"]',
    },
    {
        "demand_id": "d-1f2e3d4c.1",
        "demand": "event planning",
        "user_id": "anna",
        "parent_demand_id": "d-1f2e3d4c",
        "status": "finalized",
        "phase": "finalized",
        "rounds": 1,
        "started": at(8),
        "ended": at(12),
        "last_activity": at(12),
        "outcome": "agreed",
        "outcome_reason": None,
        "participants": 1,
        "offers": 1,
        "accepted_by": '["dora"]',
    },
    {
        "demand_id": "d-00000002",
        "demand": "a submarine",
        "user_id": "ben",
        "parent_demand_id": None,
        "status": "failed",
        "phase": "failed",
        "rounds": 1,
        "started": at(30),
        "ended": at(31),
        "last_activity": at(31),
        "outcome": "failed: no_candidates",
        "outcome_reason": "no_candidates",
        "participants": 0,
        "offers": 0,
        "accepted_by": None,
    },
    {
        "demand_id": "d-00000003",
        "demand": "a hall",
        "user_id": "ben",
        "parent_demand_id": None,
        "status": "cancelled",
        "phase": "cancelled",
        "rounds": 1,
        "started": at(40),
        "ended": at(44),
        "last_activity": at(44),
        "outcome": "cancelled: found one",
        "outcome_reason": "found one",
        "participants": 1,
        "offers": 1,
        "accepted_by": None,
    },
    {
        "demand_id": "d-00000004",
        "demand": "a cake",
        "user_id": "cleo",
        "parent_demand_id": None,
        "status": "processing",
        "phase": "collecting_offers",
        "rounds": 1,
        "started": at(50),
        "ended": None,
        "last_activity": at(51),
        "outcome": None,
        "outcome_reason": None,
        "participants": 2,
        "offers": 0,
        "accepted_by": None,
    },
]


async def test_negotiations_say_how_far_they_are_and_how_they_ended(told):
    """Agreed with something missing, agreed inside another one, failed, cancelled and open: every column."""
    assert told.rows("SELECT * FROM negotiations ORDER BY started") == NEGOTIATIONS


async def test_offers_show_their_price_and_their_terms(told):
    """Every column; a price that is no number is no price, but stays among the terms."""
    rows = told.rows("SELECT * FROM offers ORDER BY seq")
    assert [row.pop("seq") for row in rows] == [4, 5, 13, 32]
    terms = '{"price":2000,"currency":"CNY","people":40}'
    assert rows[0] == {
        "demand_id": "d-1f2e3d4c",
        "agent_id": "bob",
        "name": "Bob",
        "content": "venue by bob",
        "capabilities": '["venue"]',
        "price": 2000,
        "currency": "CNY",
        "terms": terms,
        "timestamp": at(4),
        "offer": f'{{"content":"venue by bob","capabilities":["venue"],"terms":{terms},"needs":[]}}',
    }
    assert [(row["demand_id"], row["agent_id"], row["price"], row["currency"]) for row in rows[1:]] == [
        ("d-1f2e3d4c", "alice", 800.5, "CNY"),
        ("d-1f2e3d4c.1", "dora", 500, "CNY"),
        ("d-00000003", "bob", None, None),
    ]
    assert rows[3]["terms"] == '{"price":"cheap"}'


async def test_proposals_count_the_answers_of_their_round(told):
    """Every column of both rounds and of the sub-negotiation; the last one of each is final."""
    rows = told.rows("SELECT * FROM proposals ORDER BY seq")
    assert [row.pop("seq") for row in rows] == [14, 18, 22]
    assert rows[1] == {
        "demand_id": "d-1f2e3d4c",
        "proposal_id": "d-1f2e3d4c-p1",
        "round": 1,
        "summary": "plan 1",
        "agents": '["bob","alice","dora"]',
        "missing": '["photography"]',
        "total_price": 3300.5,
        "currency": "CNY",
        "accepts": 2,
        "revises": 1,
        "rejects": 0,
        "is_final": 0,
        "timestamp": at(14),
    }
    counts = ("proposal_id", "round", "total_price", "accepts", "revises", "rejects", "is_final")
    assert [tuple(rows[n][name] for name in counts) for n in (0, 2)] == [
        ("d-1f2e3d4c.1-p1", 1, 500, 1, 0, 0, 1),
        ("d-1f2e3d4c-p2", 2, 2900, 2, 0, 0, 1),
    ]


async def test_the_timeline_tells_the_story(told):
    """One sentence for each event of a negotiation and its sub-negotiation, in the order in which they happened."""
    sql = "SELECT demand_id, what FROM negotiation_timeline WHERE demand_id GLOB 'd-1f2e3d4c*' ORDER BY seq"
    rows = told.rows(sql)
    assert [row["what"] for row in rows if row["demand_id"] == "d-1f2e3d4c"] == [
        "asked for: a meetup for 30",
        "3 found: Bob, Alice, Carl",
        "the demand was sent to 3 of them",
        "Bob made an offer: venue by bob (2000 CNY)",
        "Alice made an offer: speaker by alice (800.5 CNY)",
        "Carl declined: not on Sundays",
        "missing: nobody offers event_planning",
        "missing: nobody offers photography",
        "a sub-negotiation began: d-1f2e3d4c.1 for event_planning",
        "a sub-negotiation ended: d-1f2e3d4c.1 was finalized",
        "a proposal was distributed in round 1: plan 1",
        "Bob answered: accept",
        "Alice answered: revise (I need a microphone)",
        "the user anna answered: accept",
        "a proposal was distributed in round 2: plan 2",
        "Bob answered: accept",
        "Alice answered: accept",
        "agreed, still missing: photography",
    ]
    assert [row["what"] for row in rows if row["demand_id"] == "d-1f2e3d4c.1"] == [
        "asked for: event planning",
        "1 found: Dora",
        "the demand was sent to 1 of them",
        "Dora made an offer: event_planning by dora (500 CNY)",
        "a proposal was distributed in round 1: plan 1",
        "Dora answered: accept",
        "agreed",
    ]
    ends = told.rows("SELECT what FROM negotiation_timeline WHERE demand_id IN ('d-00000002', 'd-00000003')")
    whats = [row["what"] for row in ends]
    assert "0 found: nobody" in whats
    assert "failed: no_candidates (No registered agent offers it.)" in whats
    assert "cancelled: found one" in whats
    row = told.rows("SELECT * FROM negotiation_timeline ORDER BY seq LIMIT 1")
    told_first = {"event_type": words.UNDERSTOOD, "source": "towow", "what": "asked for: a meetup for 30"}
    assert row == [{"demand_id": "d-1f2e3d4c", "seq": 1, "timestamp": at(0), **told_first}]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
async def test_every_event_of_a_negotiation_has_a_sentence_of_its_own(history, event_type):
    """No type that the surface knows is shown by its bare name, not even without a payload; any other one is."""
    await history.say("d-1", words.UNDERSTOOD, {"surface_demand": "x"})
    await history.say("d-1", "weather.changed")
    await history.say("d-1", event_type)
    whats = [row["what"] for row in history.rows("SELECT what FROM negotiation_timeline ORDER BY seq")]
    assert whats[1] == "weather.changed"
    assert re.fullmatch(r"[a-z][a-z0-9 :?-]+", whats[2])
    assert event_type not in whats[2]


async def test_copies_on_the_streams_of_agents_do_not_count(told):
    """What agents are told again is no second offer, proposal or event of the negotiation."""
    before = {view: told.rows(f"SELECT * FROM {view}") for view in VIEWS}
    for event_type in EVENT_TYPES:
        copy = {**agent("bob"), "offer": {}, "proposal_id": "d-00000004-p1", "agent_ids": ["x"], "decision": "accept"}
        await told.say("d-00000004", event_type, copy, stream="agent:bob")
        await told.say("d-00000004", event_type, copy, stream="task:d-00000004")
    assert {view: told.rows(f"SELECT * FROM {view}") for view in VIEWS} == before


async def test_what_nobody_asked_for_is_no_negotiation(history):
    """Events on a demand's stream are shown from its understanding on, and then all of them."""
    await history.say("d-1", words.OFFERED, agent("bob", offer={"content": "x"}))
    assert [history.rows(f"SELECT * FROM {view}") for view in VIEWS] == [[], [], [], []]
    await history.say("d-1", words.UNDERSTOOD, {"surface_demand": "x"})
    assert [len(history.rows(f"SELECT * FROM {view}")) for view in VIEWS] == [1, 1, 0, 2]


async def test_an_answer_counts_for_the_proposal_that_it_names(history):
    """Not for another round, not for the same id in another negotiation, and not when it names none."""
    for demand_id in ("d-1", "d-2"):
        await history.say(demand_id, words.UNDERSTOOD, {"surface_demand": "x"})
        for number, proposal_id in ((1, "p1"), (2, "p2"), (3, None)):
            await history.say(demand_id, words.PROPOSED, {"proposal_id": proposal_id, "round": number})
    for proposal_id, decision in (("p1", "reject"), ("p2", "accept"), ("p2", "accept"), (None, "accept"), ("p2", "perhaps")):
        await history.say("d-1", words.FEEDBACK, {"proposal_id": proposal_id, "decision": decision, "agent_id": "bob"})
    await history.say("d-1", words.FINALIZED, {"proposal_id": "p2"})
    rows = history.rows("SELECT demand_id, round, accepts, revises, rejects, is_final FROM proposals ORDER BY seq")
    assert [tuple(row.values()) for row in rows] == [
        ("d-1", 1, 0, 0, 1, 0),
        ("d-1", 2, 2, 0, 0, 1),
        ("d-1", 3, 0, 0, 0, 0),
        ("d-2", 1, 0, 0, 0, 0),
        ("d-2", 2, 0, 0, 0, 0),
        ("d-2", 3, 0, 0, 0, 0),
    ]


async def test_an_agent_that_was_invited_twice_is_one_participant(history):
    """Participants are agents, not invitations."""
    await history.say("d-1", words.UNDERSTOOD, {"surface_demand": "x"})
    for agent_ids in (["bob", "alice", "bob"], ["alice", "carl"], "dora", {"a": "eve"}, [1, None, ["frank"]]):
        await history.say("d-1", words.BROADCAST, {"agent_ids": agent_ids})
    assert history.rows("SELECT participants FROM negotiations") == [{"participants": 3}]


# Garbage

ODD_VALUES = {
    "null": None,
    "true": True,
    "number": 17,
    "negative": -0.5,
    "huge": 2**64 - 1,
    "empty text": "",
    "text": "not {json",
    "text that looks like JSON": '{"a":1',
    "odd characters": "\u0000\u2028\U0001f98a'\"",
    "empty list": [],
    "list": [1, None, "x", "", [], {"agent_id": 5}, {"agent_id": "bob", "name": None}, {"name": "Bob"}, "[", True],
    "empty object": {},
    "object": {"content": [1], "terms": [2], "missing": "x", "price": {}, "capabilities": {}, "name": 3},
    "right outside, odd inside": {
        "terms": {"price": "12", "currency": ["CNY"]},
        "missing": ["a", 1, None, {}],
        "assignments": "x",
        "content": None,
        "capabilities": ["a", {}, 1],
    },
}
FIELDS = [
    "surface_demand",
    "candidates",
    "agent_ids",
    "agent_id",
    "user_id",
    "name",
    "offer",
    "reason",
    "capability",
    "gap",
    "subnet_id",
    "outcome",
    "proposal_id",
    "round",
    "assignments",
    "missing",
    "total_price",
    "currency",
    "summary",
    "decision",
    "comment",
    "proposal",
    "accepted_by",
    "message",
]
NUMBERS = {
    "rounds",
    "participants",
    "offers",
    "price",
    "round",
    "total_price",
    "accepts",
    "revises",
    "rejects",
    "is_final",
    "seq",
}
JSON = {"accepted_by": list, "capabilities": list, "terms": dict, "agents": list, "missing": list}


@pytest.mark.parametrize("ending", sorted(words.TERMINAL_EVENTS))
@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in ODD_VALUES.items()])
async def test_views_read_whatever_was_appended(history, value, ending):
    """No payload makes a view fail; a number is a number, a list a list and a sentence a text, or it is NULL."""
    await history.say("d-1", words.UNDERSTOOD, {"surface_demand": "x"})
    payload = dict.fromkeys(FIELDS, value)
    for event_type in [each for each in EVENT_TYPES if each not in words.TERMINAL_EVENTS] + [ending]:
        await history.say("d-1", event_type, payload)
    await history.say("d-2", words.UNDERSTOOD, payload)
    for engine in (sqlite3, standard_sqlite3):
        for view, count in zip(VIEWS, (2, 1, 1, 13), strict=True):
            rows = history.rows(f"SELECT * FROM {view}", engine=engine)
            assert len(rows) == count
            for name, cell in [pair for row in rows for pair in row.items()]:
                if cell is None:
                    assert name not in {"demand_id", "status", "started", "what", "seq", "accepts", "is_final"}
                elif (view, name) != ("negotiations", "offers") and name in JSON:
                    assert isinstance(json.loads(cell), JSON[name])
                elif name in NUMBERS:
                    assert isinstance(cell, int | float)
                elif name == "what":
                    assert isinstance(cell, str)
                    assert cell


async def test_lists_of_names_hold_names_only(history):
    """What is no text is left out of the lists that people join by."""
    mixed = ["bob", 1, None, {}, ["alice"], True, "carl"]
    await history.say("d-1", words.UNDERSTOOD, {"surface_demand": "x"})
    parts = [{"agent_id": "bob"}, {"agent_id": 1}, {"agent_id": None}, {}, "x", ["y"], {"agent_id": "carl"}]
    await history.say("d-1", words.PROPOSED, {"proposal_id": "p", "assignments": parts, "missing": mixed})
    await history.say("d-1", words.FINALIZED, {"proposal_id": "p", "accepted_by": mixed, "proposal": {"missing": mixed}})
    assert history.rows("SELECT agents, missing, is_final FROM proposals") == [
        {"agents": '["bob","carl"]', "missing": '["bob","carl"]', "is_final": 1}
    ]
    assert history.rows("SELECT outcome, accepted_by FROM negotiations") == [
        {"outcome": "agreed, still missing: bob, carl", "accepted_by": '["bob","carl"]'}
    ]
    (row,) = history.rows("SELECT what FROM negotiation_timeline ORDER BY seq DESC LIMIT 1")
    assert row["what"] == "agreed, still missing: bob, carl"


@pytest.mark.parametrize("odd", ["bob", {"0": "bob"}, 5, None], ids=["text", "object", "number", "null"])
async def test_what_should_be_a_list_and_is_none_is_as_good_as_missing(history, odd):
    """A single name is no list of one."""
    await history.say("d-1", words.UNDERSTOOD, {"surface_demand": "x"})
    await history.say("d-1", words.PROPOSED, {"proposal_id": "p", "assignments": odd, "missing": odd})
    await history.say("d-1", words.FINALIZED, {"proposal_id": "p", "accepted_by": odd, "proposal": {"missing": odd}})
    assert history.rows("SELECT agents, missing FROM proposals") == [{"agents": None, "missing": None}]
    assert history.rows("SELECT outcome, accepted_by FROM negotiations") == [{"outcome": "agreed", "accepted_by": None}]
    assert history.rows("SELECT what FROM negotiation_timeline ORDER BY seq DESC LIMIT 1") == [{"what": "agreed"}]


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [(words.FAILED, "failed: no reason given"), (words.CANCELLED, "cancelled: no reason given"), (words.FINALIZED, "agreed")],
)
async def test_an_end_says_only_what_belongs_to_it(history, ending, outcome):
    """Without a reason it says so; who failed accepted nothing and finished no proposal, who agreed has no reason."""
    other = {"proposal_id": "p", "agent_ids": ["a"], "accepted_by": ["bob"], "reason": "why not", "message": ""}
    if ending != words.FINALIZED:
        del other["reason"]
    await history.say("d-1", words.UNDERSTOOD, {"surface_demand": "x", "agent_ids": ["a"]})
    await history.say("d-1", words.PROPOSED, {"proposal_id": "p", "decision": "accept"})
    await history.say("d-1", words.DECLINED, agent("carl", reason=""))
    await history.say("d-1", words.FEEDBACK, agent("bob", user_id="anna", decision="accept"))
    await history.say("d-1", ending, other)
    sql = "SELECT outcome, outcome_reason, accepted_by, participants FROM negotiations"
    accepted_by = '["bob"]' if ending == words.FINALIZED else None
    assert [tuple(row.values()) for row in history.rows(sql)] == [(outcome, None, accepted_by, 0)]
    rows = history.rows("SELECT accepts, is_final FROM proposals")
    assert rows == [{"accepts": 0, "is_final": int(ending == words.FINALIZED)}]
    whats = [row["what"] for row in history.rows("SELECT what FROM negotiation_timeline ORDER BY seq")]
    assert whats[2:] == ["Carl declined", "Bob answered: accept", outcome]


# The shape of the work


@pytest.mark.parametrize(
    "query",
    [
        *(f"SELECT * FROM {view}" for view in VIEWS),
        *(f"SELECT * FROM {view} WHERE demand_id = 'd-1'" for view in VIEWS),
        "SELECT * FROM offers JOIN proposals USING (demand_id)",
        "SELECT * FROM offers JOIN agents USING (agent_id)",
        "SELECT * FROM negotiations JOIN negotiation_timeline USING (demand_id) WHERE status = 'failed'",
    ],
)
async def test_views_find_events_by_index(history, query):
    """No view, no selection of one demand and no join by it scans the log for every row."""
    plan = [row["detail"] for row in history.rows(f"EXPLAIN QUERY PLAN {query}")]
    assert not [step for step in plan if re.match(r"SCAN (e|o|events)\b", step)]
    if "WHERE demand_id" in query:
        assert "SCAN d" not in " ".join(plan)


async def test_the_lists_of_demands_are_index_walks(history):
    """The roots, the children of one and the open ones come in their order without a sort, whatever else there is."""
    queries = {
        "SELECT * FROM demands WHERE parent_demand_id IS NULL AND created_seq < 9 ORDER BY created_seq DESC": "demands_roots",
        "SELECT * FROM demands WHERE parent_demand_id = 'd-1' ORDER BY created_seq DESC LIMIT 9": "demands_by_parent",
        "SELECT demand_id FROM demands WHERE status = 'processing' ORDER BY created_seq": "demands_open",
    }
    for query, index in queries.items():
        plan = " ".join(row["detail"] for row in history.rows(f"EXPLAIN QUERY PLAN {query}"))
        assert index in plan
        assert "TEMP B-TREE" not in plan
    is_partial = {row["name"]: row["partial"] for row in history.rows("PRAGMA index_list(demands)")}
    assert [is_partial[index] for index in queries.values()] == [1, 1, 1]


def test_a_database_of_the_release_before_keeps_its_demands(tmp_path, monkeypatch):
    """At version 3 there were no sub-negotiations: every demand is a root, and the views read the old events."""
    path = tmp_path / "old.db"
    shipped = migrations()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        monkeypatch.setattr("server.eventlog.database.migrations", lambda: shipped[:3])
        assert migrate(db) == 3
        payload = {"demand_id": "d-1", "surface_demand": "x", "reason": "no_candidates"}
        for seq, event_type in enumerate((words.UNDERSTOOD, words.FILTERED, words.FAILED), 1):
            values = (seq, "demand:d-1", seq, f"e{seq}", event_type, at(seq), "towow", json.dumps(payload), b"")
            db.execute(f"INSERT INTO events VALUES ({', '.join('?' * len(values))})", values)
        row = ("d-1", "collab-1", "anna", "x", "failed", "failed", 1, at(1), at(3), 1, 3)
        db.execute(f"INSERT INTO demands VALUES ({', '.join('?' * len(row))})", row)
        monkeypatch.setattr("server.eventlog.database.migrations", lambda: shipped[:10])  # the next one makes a new file
        assert migrate(db) == 10
        assert db.execute("SELECT * FROM demands").fetchall() == [(*row, None, 0, 0)]
        found = db.execute("SELECT demand_id, parent_demand_id, started, ended, outcome, participants FROM negotiations")
        assert found.fetchall() == [("d-1", None, at(1), at(3), "failed: no_candidates", 0)]
        assert db.execute("SELECT count(*) FROM negotiation_timeline").fetchone() == (3,)


# The document


def documented_queries():
    """The queries of docs/history.md, in order, each as its shell hands it over."""
    found = [
        re.fullmatch(r'(?:python run\.py sql|sqlite3 data/towow\.db) "([^"]+)"\n', block)
        for block in blocks(read("docs/history.md"), "sh")
    ]
    assert all(found)
    return [match[1].replace("\\$", "$") for match in found]


def test_the_document_has_five_queries():
    """Those that the next test knows; `tests/docs` holds that no shell takes a part of one for a variable."""
    assert len(documented_queries()) == 5


STORY = [
    ("08:00:00", "d-1f2e3d4c", "asked for: a meetup for 30"),
    ("08:00:01", "d-1f2e3d4c", "3 found: Bob, Alice, Carl"),
    ("08:00:20", "d-1f2e3d4c", "agreed, still missing: photography"),
]


@pytest.mark.parametrize("engine", [sqlite3, standard_sqlite3], ids=["ours", "the system's"])
async def test_the_documented_queries_answer_what_they_say(told, engine):
    """Each one against a history in which the answers are known, by our engine and by the one of the sqlite3 shell."""
    await agree_on_a_meetup(told, "d-00000005", start=60)
    ended, story, agents, gaps, times = (
        [tuple(row.values()) for row in told.rows(query, engine=engine)] for query in documented_queries()
    )
    assert ended == [
        ("finalized", None, 4, 1.5, 12.0),
        ("cancelled", "found one", 1, 1.0, 4.0),
        ("failed", "no_candidates", 1, 1.0, 1.0),
    ]
    assert [story[0], story[1], story[-1]] == STORY
    assert len(story) == 25
    assert {demand_id for _, demand_id, _ in story} == {"d-1f2e3d4c", "d-1f2e3d4c.1"}
    assert agents == [("bob", 3, 2, 67.0), ("alice", 2, 2, 100.0), ("dora", 2, 2, 100.0)]
    assert gaps == [("photography", 2, 0), ("event_planning", 2, 2)]
    assert times == [("dora", 2, 1.0), ("bob", 3, 2.3), ("alice", 2, 3.0)]


@pytest.fixture
async def lived(aiohttp_client, quiet_config):
    """Real negotiations with the sample agents, all of them over: the history, and what the HTTP interface says about each."""
    config = negotiating(quiet_config, sample_agents=True, sample_delay_seconds=0.0)
    client = await aiohttp_client(make_app(config))
    await register(client, {"agent_id": "silent", "name": "Silent", "capabilities": ["unicorn grooming"]})
    texts = [
        "We want to hold a tech meetup for 30 people and need a venue, a speaker and event planning.",
        "我想下周末办一场30人的技术分享会，需要场地、讲者，还需要有人策划活动。",
        "I need a photographer, a florist and live music for 120 people, budget 900 USD",
        "I need a venue and unicorn grooming",
        "zzyzx qwfp",
        "unicorn grooming",
    ]
    ids = [(await submit(client, text))["demand_id"] for text in texts]
    for demand_id in (ids[3], ids[5]):
        await until_phase(client, demand_id, "collecting_offers")
        assert (await cancel_over_http(client, demand_id, reason="found one")).status == 200
    for demand_id in ids:  # it grows by the sub-negotiations, and by theirs
        told = await until_ended(client, demand_id)
        ids += [subnet["subnet_id"] for subnet in told["subnets"]]
    details = [await demand(client, demand_id) for demand_id in ids]
    events = {demand_id: await stored_events(client, demand_id) for demand_id in ids}
    assert {each["status"] for each in details} == {"finalized", "failed", "cancelled"}
    assert any(each["parent_demand_id"] for each in details)
    assert len((await get(client, "/api/demand"))["demands"]) == len(texts)
    return History(quiet_config.database.path), details, events


def seconds_between(first, last):
    """Between two timestamps."""
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


async def test_the_queries_of_the_readme_say_what_the_interface_says(lived):
    """Over real negotiations, agreed, failed and cancelled, with sub-negotiations: the same figures as from `GET
    /api/demand`."""
    history, details, events = lived
    ended, story, agents, gaps, times = documented_queries()

    groups = defaultdict(list)
    for each in details:
        outcome = each["outcome"]
        took = seconds_between(each["created_at"], outcome["timestamp"])
        groups[each["status"], outcome["reason"] or None].append((each["current_round"], took))
    rows = history.rows(ended)
    assert [row["negotiations"] for row in rows] == sorted(map(len, groups.values()), reverse=True)
    for row in rows:
        group = groups.pop((row["status"], row["outcome_reason"]))
        assert row["negotiations"] == len(group)
        assert row["rounds"] == pytest.approx(mean(rounds for rounds, _ in group), abs=0.051)
        assert row["seconds"] == pytest.approx(mean(took for _, took in group), abs=0.051)
    assert groups == {}

    parent = next(each["parent_demand_id"] for each in details if each["parent_demand_id"])
    below = [demand_id for demand_id in events if demand_id.startswith(parent)]
    happened = sorted((event["seq"], demand_id) for demand_id in below for event in events[demand_id])
    told = history.rows(story.replace("d-1f2e3d4c", parent))
    assert [row["demand_id"] for row in told] == [demand_id for _, demand_id in happened]
    assert told[0]["what"].startswith("asked for: ")

    offered = Counter(offer["agent_id"] for each in details for offer in each["offers"])
    chosen = Counter(
        part["agent_id"]
        for each in details
        for part in (each["outcome"]["proposal"] or {"assignments": []})["assignments"]
        if part["agent_id"] in [offer["agent_id"] for offer in each["offers"]]
    )
    rows = history.rows(agents)
    assert {row["agent_id"]: (row["offers"], row["chosen"]) for row in rows} == {
        agent_id: (count, chosen[agent_id]) for agent_id, count in offered.items()
    }
    assert all(row["percent"] == round(100 * row["chosen"] / row["offers"]) for row in rows)
    assert [(row["offers"], row["chosen"]) for row in rows] == sorted(
        ((row["offers"], row["chosen"]) for row in rows), reverse=True
    )

    missing = Counter(gap["capability"] for each in details for gap in each["gaps"])
    filled = Counter(subnet["capability"] for each in details for subnet in each["subnets"] if subnet["outcome"] == "finalized")
    assert missing
    assert {row["capability"]: (row["gaps"], row["filled"]) for row in history.rows(gaps)} == {
        capability: (count, filled[capability]) for capability, count in missing.items()
    }

    waits = defaultdict(list)
    for each in details:
        invited = [event for event in events[each["demand_id"]] if event["event_type"] == words.BROADCAST]
        for offer in each["offers"]:
            waits[offer["agent_id"]].append(seconds_between(invited[0]["timestamp"], offer["timestamp"]))
    rows = history.rows(times)
    assert {row["agent_id"]: row["offers"] for row in rows} == {agent_id: len(took) for agent_id, took in waits.items()}
    for row in rows:
        assert row["seconds"] == pytest.approx(mean(waits[row["agent_id"]]), abs=0.051)


async def test_the_views_say_what_the_interface_says(lived):
    """The same real negotiations: status, outcome, offers, proposals and their answers, row for row."""
    history, details, events = lived
    for each in details:
        (row,) = history.rows("SELECT * FROM negotiations WHERE demand_id = ?", each["demand_id"])
        for name, value in {
            "demand": each["surface_demand"],
            "user_id": each["user_id"],
            "parent_demand_id": each["parent_demand_id"],
            "status": each["status"],
            "phase": each["phase"],
            "rounds": each["current_round"],
            "started": each["created_at"],
            "ended": each["outcome"]["timestamp"],
            "outcome_reason": each["outcome"]["reason"] or None,
            "offers": len(each["offers"]),
        }.items():
            assert row[name] == value, name
        offers = history.rows("SELECT * FROM offers WHERE demand_id = ? ORDER BY seq", each["demand_id"])
        assert [(row["agent_id"], row["content"], json.loads(row["terms"]), row["seq"]) for row in offers] == [
            (offer["agent_id"], offer["content"], offer["terms"], offer["seq"]) for offer in each["offers"]
        ]
        proposals = history.rows("SELECT * FROM proposals WHERE demand_id = ? ORDER BY seq", each["demand_id"])
        assert len(proposals) == len(each["proposals"])
        for row, proposal in zip(proposals, each["proposals"], strict=True):
            decisions = Counter(answer["decision"] for answer in proposal["feedback"])
            assert (row["accepts"], row["revises"], row["rejects"]) == tuple(
                decisions[name] for name in ("accept", "revise", "reject")
            )
            assert json.loads(row["agents"]) == [part["agent_id"] for part in proposal["assignments"]]
            assert (row["round"], row["total_price"]) == (proposal["round"], proposal["total_price"])
        assert [row["is_final"] for row in proposals] == [
            int(each["status"] == "finalized" and proposal is each["proposals"][-1]) for proposal in each["proposals"]
        ]
        timeline = history.rows("SELECT * FROM negotiation_timeline WHERE demand_id = ? ORDER BY seq", each["demand_id"])
        assert [row["seq"] for row in timeline] == [event["seq"] for event in events[each["demand_id"]]]
