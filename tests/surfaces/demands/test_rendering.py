"""How a demand is told: the answers of the HTTP interface, pinned in full, and source 000's events byte for byte."""

import msgspec
import pytest

from server.surfaces.demands import commands, planning, rendering
from server.surfaces.demands.rendering import encode_sse_event
from server.surfaces.demands.state import initial
from server.surfaces.demands.understanding.reader import understand
from server.surfaces.demands.understanding.requirements import Requirements
from tests.surfaces.demands.negotiating import BOB, DAN, DEMAND, EVE, SUBNET, TEXT, Negotiation, assignment, at
from towow.events import Event, payload_json

# A negotiation in its second round: written out once, so that no key of it changes unseen.
DETAIL = {
    "demand_id": "d-1a2b3c4d",
    "channel_id": "collab-1a2b3c4d",
    "status": "processing",
    "phase": "proposing",
    "surface_demand": "需要场地、摄影师和茶歇",
    "user_id": "ann",
    "created_at": "2026-01-01T00:00:01.000Z",
    "updated_at": "2026-01-01T00:00:15.000Z",
    "current_round": 2,
    "last_seq": 150,
    "created_seq": 10,
    "parent_demand_id": None,
    "depth": 0,
    "understanding": {
        "surface_demand": "需要场地、摄影师和茶歇",
        "confidence": "high",
        "capabilities": [
            {"capability": "venue", "term": "场地"},
            {"capability": "photography", "term": "摄影师"},
            {"capability": "catering", "term": "茶歇"},
        ],
        "language": "zh",
        "requirements": {"people": 20, "budget": 900.0, "currency": "CNY"},
        "written_by": "llm",
    },
    "raw_input": "需要场地、摄影师和茶歇，20人",
    "confirm": True,
    "requirements": {"people": 30, "budget": 900.0, "currency": "CNY"},
    "candidates": [
        {"agent_id": "bob", "name": "Bob", "reason": "venue: venue", "score": 6.5, "capabilities": ["venue"]},
        {"agent_id": "eve", "name": "Eve", "reason": "photography: photography", "score": 4.0, "capabilities": ["photography"]},
        {"agent_id": "dan", "name": "Dan", "reason": "venue: venue", "score": 2.0, "capabilities": ["venue"]},
    ],
    "offers": [
        {
            "agent_id": "bob",
            "name": "Bob",
            "content": "a hall",
            "capabilities": ["场地"],
            "terms": {"price": 500, "currency": "CNY"},
            "needs": ["bee smoke"],
            "written_by": "rules",
            "seq": 40,
            "timestamp": "2026-01-01T00:00:04.000Z",
        },
        {
            "agent_id": "eve",
            "name": "Eve",
            "content": "my camera",
            "capabilities": ["photography"],
            "terms": {"price": 400},
            "needs": [],
            "written_by": None,
            "seq": 50,
            "timestamp": "2026-01-01T00:00:05.000Z",
        },
    ],
    "declined": [{"agent_id": "dan", "name": "Dan", "reason": "no time", "seq": 60, "timestamp": "2026-01-01T00:00:06.000Z"}],
    "waiting_for": ["bob", "eve", "ann"],
    "deadline_at": "2026-01-01T00:00:35.000Z",
    "proposals": [
        {
            "proposal_id": "d-1a2b3c4d-p1",
            "round": 1,
            "seq": 110,
            "timestamp": "2026-01-01T00:00:11.000Z",
            "assignments": [
                {
                    "agent_id": "bob",
                    "name": "Bob",
                    "capabilities": ["venue"],
                    "offer_seq": 40,
                    "terms": {"price": 444, "currency": "CNY"},
                    "offered_price": 500.0,
                    "conditions": [],
                    "subnet_id": None,
                },
                {
                    "agent_id": "eve",
                    "name": "Eve",
                    "capabilities": ["photography"],
                    "offer_seq": 50,
                    "terms": {"price": 355},
                    "offered_price": 400.0,
                    "conditions": [],
                    "subnet_id": None,
                },
                {
                    "agent_id": "zoe",
                    "name": "Zoe",
                    "capabilities": ["catering"],
                    "offer_seq": 1,
                    "terms": {"price": 100.0},
                    "offered_price": 100.0,
                    "conditions": [],
                    "subnet_id": "d-1a2b3c4d.1",
                },
            ],
            "missing": ["bee smoke"],
            "total_price": 899.0,
            "currency": "CNY",
            "wishes": [],
            "considered": [],
            "summary": "who does what",
            "written_by": "rules",
            "feedback": [
                {
                    "by": "bob",
                    "is_user": False,
                    "name": "Bob",
                    "decision": "revise",
                    "comment": "after six",
                    "terms": {"price": 450},
                    "written_by": "llm",
                    "seq": 120,
                    "timestamp": "2026-01-01T00:00:12.000Z",
                },
                {
                    "by": "eve",
                    "is_user": False,
                    "name": "Eve",
                    "decision": "accept",
                    "comment": "",
                    "terms": {},
                    "written_by": None,
                    "seq": 130,
                    "timestamp": "2026-01-01T00:00:13.000Z",
                },
                {
                    "by": "ann",
                    "is_user": True,
                    "name": "ann",
                    "decision": "revise",
                    "comment": "30人",
                    "terms": {},
                    "written_by": None,
                    "seq": 140,
                    "timestamp": "2026-01-01T00:00:14.000Z",
                },
            ],
        },
        {
            "proposal_id": "d-1a2b3c4d-p2",
            "round": 2,
            "seq": 150,
            "timestamp": "2026-01-01T00:00:15.000Z",
            "assignments": [
                {
                    "agent_id": "bob",
                    "name": "Bob",
                    "capabilities": ["venue"],
                    "offer_seq": 40,
                    "terms": {"price": 450, "currency": "CNY"},
                    "offered_price": 450.0,
                    "conditions": ["after six"],
                    "subnet_id": None,
                },
                {
                    "agent_id": "eve",
                    "name": "Eve",
                    "capabilities": ["photography"],
                    "offer_seq": 50,
                    "terms": {"price": 350},
                    "offered_price": 400.0,
                    "conditions": [],
                    "subnet_id": None,
                },
                {
                    "agent_id": "zoe",
                    "name": "Zoe",
                    "capabilities": ["catering"],
                    "offer_seq": 1,
                    "terms": {"price": 100.0},
                    "offered_price": 100.0,
                    "conditions": [],
                    "subnet_id": "d-1a2b3c4d.1",
                },
            ],
            "missing": ["bee smoke"],
            "total_price": 900.0,
            "currency": "CNY",
            "wishes": ["30人"],
            "considered": [
                {"by": "bob", "is_user": False, "decision": "revise", "comment": "after six"},
                {"by": "eve", "is_user": False, "decision": "accept", "comment": ""},
                {"by": "ann", "is_user": True, "decision": "revise", "comment": "30人"},
            ],
            "summary": "who does what",
            "written_by": "rules",
            "feedback": [],
        },
    ],
    "gaps": [
        {
            "capability": "catering",
            "gap": "没有代理愿意提供「餐饮」。",
            "reason": "no_offer",
            "needed_by": None,
            "round": 1,
            "seq": 70,
        },
        {
            "capability": "bee smoke",
            "gap": "Bob 还需要「bee smoke」，目前没有人提供。",
            "reason": "needed_by",
            "needed_by": "bob",
            "round": 1,
            "seq": 90,
        },
    ],
    "subnets": [
        {
            "subnet_id": "d-1a2b3c4d.1",
            "capability": "catering",
            "outcome": "finalized",
            "reason": "",
            "assignments": [
                {
                    "agent_id": "zoe",
                    "name": "Zoe",
                    "capabilities": ["catering"],
                    "offer_seq": 1,
                    "terms": {"price": 100.0},
                    "offered_price": 100.0,
                    "conditions": [],
                    "subnet_id": None,
                }
            ],
            "missing": [],
            "seq": 80,
        }
    ],
    "outcome": None,
}


SUMMARY_KEYS = (
    "demand_id",
    "channel_id",
    "status",
    "phase",
    "surface_demand",
    "user_id",
    "created_at",
    "updated_at",
    "current_round",
    "last_seq",
    "created_seq",
    "parent_demand_id",
    "depth",
)


def rich():
    """The negotiation of `DETAIL`: offers, a refusal, gaps, a sub-negotiation, a round of feedback and the next proposal."""
    negotiation = Negotiation()
    read = understand("需要场地、摄影师和茶歇")
    required = Requirements(people=20, budget=900.0, currency="CNY")
    negotiation.do(commands.Submit("需要场地、摄影师和茶歇，20人", "ann", read, required, True, "llm"))
    negotiation.do(commands.RecordCandidates((BOB, EVE, DAN), 30.0))
    terms = {"price": 500, "currency": "CNY"}
    negotiation.do(commands.SubmitOffer("bob", "a hall", ("场地",), terms, ("bee smoke",), "rules"))
    negotiation.do(commands.SubmitOffer("eve", "my camera", ("photography",), {"price": 400}))
    negotiation.decline("dan")
    missing = (planning.Missing("catering", "no_offer"), planning.Missing("bee smoke", "needed_by", "bob"))
    negotiation.do(commands.NameMissing(missing, 1, 1, 120.0))
    negotiation.do(commands.CompleteSubnet(SUBNET, "finalized", "", (assignment("zoe", "catering", price=100.0),)))
    negotiation.take()
    negotiation.do(commands.AnswerProposal(f"{DEMAND}-p1", "revise", "bob", None, "after six", {"price": 450}, "llm"))
    negotiation.answer("eve").user("revise", "30人")
    negotiation.take()
    return negotiation


def told(answer):
    """An answer as a client reads it."""
    return msgspec.json.decode(msgspec.json.encode(answer))


def posted(payload):
    """A note that somebody posted."""
    return Event(20, f"demand:{DEMAND}", 2, "p2", "note", "2026-01-01T00:00:02.000Z", "curl", payload_json(payload))


class TestAnswers:
    """What clients are answered."""

    def test_a_negotiation_is_told_in_full(self):
        """Every key, in the order of the documentation."""
        answer = told(rendering.detail(rich().state))
        assert answer == DETAIL
        assert list(answer) == list(DETAIL)
        assert [list(each) for each in answer["proposals"]] == [list(each) for each in DETAIL["proposals"]]

    def test_what_was_agreed_is_told_with_the_outcome(self):
        """Nobody is waited for any more; the plan is the newest proposal's."""
        negotiation = rich().answer("bob").answer("eve").user()
        negotiation.take()
        answer = told(rendering.detail(negotiation.state))
        agreed = DETAIL["proposals"][1]
        keys = ("assignments", "missing", "total_price", "currency", "summary")
        assert answer["outcome"] == {
            "event_type": "towow.proposal.finalized",
            "reason": "",
            "message": "",
            "proposal": {key: agreed[key] for key in keys},
            "seq": 190,
            "timestamp": "2026-01-01T00:00:19.000Z",
        }
        assert (answer["status"], answer["phase"], answer["waiting_for"], answer["deadline_at"]) == (
            "finalized",
            "finalized",
            [],
            None,
        )
        assert [each["by"] for each in answer["proposals"][1]["feedback"]] == ["bob", "eve", "ann"]

    def test_what_failed_is_told_with_its_reason(self):
        """And without a plan."""
        assert told(rendering.detail(at("failed").state))["outcome"] == {
            "event_type": "towow.negotiation.failed",
            "reason": "no_agreement",
            "message": "nobody would",
            "proposal": None,
            "seq": 100,
            "timestamp": "2026-01-01T00:00:10.000Z",
        }

    @pytest.mark.parametrize(
        ("phase", "waiting_for", "deadline_at"),
        [
            pytest.param("understood", [], None, id="understood"),
            pytest.param("filtered", [], None, id="filtered"),
            pytest.param("collecting_offers", ["bob", "eve", "dan"], "2026-01-01T00:00:33.000Z", id="offers"),
            pytest.param("filling_gaps", [], "2026-01-01T00:02:07.000Z", id="sub-negotiations"),
            pytest.param("proposing", ["bob"], "2026-01-01T00:00:29.000Z", id="feedback"),
            pytest.param("cancelled", [], None, id="the end"),
        ],
    )
    def test_who_is_waited_for_and_until_when(self, phase, waiting_for, deadline_at):
        """From the events' times."""
        answer = rendering.detail(at(phase).state)
        assert (answer["waiting_for"], answer["deadline_at"]) == (waiting_for, deadline_at)

    def test_the_short_answers_have_the_documented_keys(self):
        """Submission, list line and status of the same demand, and the answer to an offer."""
        understood = at("understood").state
        assert told(rendering.submitted(understood)) == {
            "demand_id": DEMAND,
            "channel_id": "collab-1a2b3c4d",
            "status": "processing",
            "understanding": {
                "surface_demand": TEXT,
                "confidence": "high",
                "capabilities": [{"capability": "venue", "term": "场地"}, {"capability": "photography", "term": "摄影师"}],
                "language": "zh",
                "requirements": {"people": 20},
                "written_by": "rules",
            },
            "seq": 10,
        }
        state = rich().state
        assert rendering.summary(state) == {key: DETAIL[key] for key in SUMMARY_KEYS}
        position = {"demand_id": DEMAND, "status": "processing", "current_round": 2, "phase": "proposing"}
        assert rendering.status(state) == {**position, "last_seq": 150}
        assert rendering.answered(state, "bob", 40) == {**position, "by": "bob", "seq": 40}

    def test_a_sub_negotiation_says_whose_it_is(self):
        """Its parent and depth."""
        summary = rendering.summary(at("filling_gaps").child().state)
        assert (summary["demand_id"], summary["parent_demand_id"], summary["depth"]) == (SUBNET, DEMAND, 1)

    def test_what_was_understood_comes_back_from_the_log(self):
        """A search that goes on after a restart reads what the first one read."""
        assert rendering.understanding_of(at("understood").state) == understand(TEXT)

    @pytest.mark.parametrize(
        ("payload", "confidence", "language"),
        [
            pytest.param({"confidence": "medium", "language": "zh"}, "medium", "zh", id="known"),
            pytest.param({"confidence": "certain", "language": "fr"}, "low", "en", id="unknown"),
            pytest.param({"confidence": "low", "language": "en"}, "low", "en", id="plain"),
        ],
    )
    def test_words_that_no_reader_uses_are_read_as_the_plainest(self, payload, confidence, language):
        """A search works on whatever was appended; the answer shows it as it is."""
        state = Negotiation().post("towow.demand.understood", payload).state
        read = rendering.understanding_of(state)
        assert (read.confidence, read.language) == (confidence, language)
        assert rendering.detail(state)["understanding"]["language"] == payload["language"]

    def test_a_demand_that_nobody_made_is_told_like_any_other(self):
        """The routes answer 404; nothing here fails."""
        answer = told(rendering.detail(initial(DEMAND)))
        assert (answer["status"], answer["phase"], answer["proposals"], answer["outcome"]) == ("processing", "new", [], None)


class TestEvents:
    """Source 000's shape of an event."""

    @pytest.mark.parametrize(
        ("payload", "rendered"),
        [
            ({"demand_id": "d-1", "channel_id": "c", "a": 1}, {"demand_id": "d-1", "channel_id": "c", "a": 1}),
            pytest.param({}, {"demand_id": DEMAND, "channel_id": "collab-1a2b3c4d"}, id="none"),
            pytest.param({"demand_id": "d-1"}, {"channel_id": "collab-1a2b3c4d", "demand_id": "d-1"}, id="one"),
            ({"text": "嗨\u2028"}, {"demand_id": DEMAND, "channel_id": "collab-1a2b3c4d", "text": "嗨\u2028"}),
            ({"channel_id": None, "x": {"demand_id": 1}}, {"demand_id": DEMAND, "channel_id": None, "x": {"demand_id": 1}}),
        ],
    )
    def test_an_event_always_names_demand_and_channel(self, payload, rendered):
        """Live and history show the same fields, in one line of JSON."""
        line = encode_sse_event(posted(payload)).decode()
        assert len(line.splitlines()) == 1
        assert msgspec.json.decode(line) == {
            "event_id": "p2",
            "event_type": "note",
            "timestamp": "2026-01-01T00:00:02.000Z",
            "payload": rendered,
            "seq": 20,
            "revision": 2,
            "source": "curl",
        }

    def test_the_bytes_of_an_event_are_fixed(self):
        """Pinned byte for byte: clients and caches compare them."""
        before = '{"event_id":"p2","event_type":"note","timestamp":"2026-01-01T00:00:02.000Z","payload":'
        after = ',"seq":20,"revision":2,"source":"curl"}'
        for payload, text in (
            ({"text": "嗨"}, '{"demand_id":"d-1a2b3c4d","channel_id":"collab-1a2b3c4d","text":"嗨"}'),
            ({}, '{"demand_id":"d-1a2b3c4d","channel_id":"collab-1a2b3c4d"}'),
            ({"channel_id": 1, "demand_id": 2}, '{"channel_id":1,"demand_id":2}'),
            ({"channel_id": 1}, '{"demand_id":"d-1a2b3c4d","channel_id":1}'),
        ):
            assert encode_sse_event(posted(payload)) == f"{before}{text}{after}".encode()

    def test_the_deepest_payload_is_rendered(self):
        """A payload at the nesting limit of the log is not too deep inside its envelope."""
        payload = {"x": 1}
        for _ in range(63):
            payload = {"x": payload}
        assert msgspec.json.decode(encode_sse_event(posted(payload)))["payload"]["x"] == payload["x"]

    def test_an_event_of_a_sub_negotiation_has_its_own_channel(self):
        """The whole id after the colon."""
        event = Event(20, f"demand:{SUBNET}", 2, "p2", "note", "2026-01-01T00:00:02.000Z", "curl", "{}")
        assert msgspec.json.decode(encode_sse_event(event))["payload"] == {
            "demand_id": SUBNET,
            "channel_id": "collab-1a2b3c4d.1",
        }
