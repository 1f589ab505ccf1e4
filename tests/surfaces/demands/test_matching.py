"""Agents, their index and the list of demands: projections over a real SQLite, the search, and the views."""

import pytest

from server.eventlog.database import migrate, sqlite3
from server.eventlog.queries import RowPage
from server.surfaces.demands import SURFACE, model
from server.surfaces.demands.commands import RecordCandidates, Submit
from server.surfaces.demands.matching import (
    agent_registered,
    agent_removed,
    get_agent,
    list_agents,
    project_agent,
    search_candidates,
    validate_agent,
)
from server.surfaces.demands.projections import list_demands, open_demands, project_demand
from server.surfaces.demands.rendering import summary
from server.surfaces.demands.samples.agents import SAMPLE_AGENTS
from server.surfaces.demands.state import initial
from server.surfaces.demands.understanding import lexicon
from server.surfaces.demands.understanding.reader import Understanding, understand
from tests.support import empty, insert_row, refused
from towow.errors import InvalidBody
from towow.events import Event, payload_json


class Log:
    """Stores events with plain SQL and projects them, as the writer does."""

    def __init__(self, db):
        self.db = db
        self.events = []

    def append(self, stream, event_type, payload):
        """One event with the next seq; its projection runs."""
        seq = len(self.events) + 1
        revision = 1 + sum(event.stream == stream for event in self.events)
        timestamp = f"2026-01-01T00:00:{seq % 60:02}.000Z"
        event = Event(seq, stream, revision, f"e{seq}", event_type, timestamp, "test", payload_json(payload))
        self.events.append(event)
        insert_row(self.db, event)
        self.project(event)
        return event

    def project(self, event):
        """Run the projection of the event's kind."""
        {"agent": project_agent, "demand": project_demand}[event.stream.partition(":")[0]](self.db, event)

    def take(self, new):
        """Append a decided event."""
        event = Event(0, new.stream, 0, "", new.event_type, "", new.source, new.payload_json)
        return self.append(event.stream, event.event_type, event.payload)

    def register(self, agent_id, *capabilities, name="Some Agent", description="", sample=False):
        """Register an agent."""
        agent = validate_agent(agent_id, name, list(capabilities), description, sample=sample)
        return self.take(agent_registered(agent))


@pytest.fixture
def db():
    """An in-memory database with all migrations."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


@pytest.fixture
def log(db):
    """An empty log."""
    return Log(db)


@pytest.fixture
def samples(log):
    """A log in which the sample agents are registered."""
    for agent in SAMPLE_AGENTS:
        log.take(agent_registered(validate_agent(**agent, sample=True)))
    return log


def found(db, text, limit=20):
    """Who is found for a text: agent_id to reason."""
    rows = search_candidates(db, understand(text), text, limit)
    return {row["agent_id"].removeprefix("user_agent_"): row["reason"] for row in rows}


def contents(db):
    """Everything that the projections hold."""
    tables = ("agents", "agents_fts", "demands")
    return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}


class TestSearch:
    """Who is found for a demand, and why."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "需要场地、技术分享嘉宾和活动策划",
                {"bob": "venue: 场地", "alice": "technical_talk: 技术分享嘉宾", "charlie": "event_planning: 活动策划"},
            ),
            pytest.param(
                "find me a venue, a speaker and a photographer for Saturday",
                {"bob": "venue: venue", "alice": "speaker: speaker", "diana": "photography: photographer"},
                id="English",
            ),
            pytest.param("Suche: 翻译 and a florist", {"lin": "translation: 翻译", "hua": "floristry: florist"}, id="both"),
            pytest.param("公司年会，需要场地但不需要摄影和餐饮", {"bob": "venue: 场地"}, id="negation"),
            pytest.param("需要一个", {}, id="zh stop words"),
            pytest.param("we need someone good in Beijing on Friday", {}, id="en stop words"),
            pytest.param("有经验的专业团队，提供优质服务", {}, id="zh generic words"),
            pytest.param("a submarine pilot", {}, id="a trade that nobody has"),
            pytest.param("活动", {}, id="zh half of a term"),
            pytest.param("planning", {}, id="en half of a term"),
        ],
    )
    def test_the_sample_agents_that_offer_it_are_found_and_nobody_else(self, samples, text, expected):
        """One reason per candidate: capability and term."""
        assert found(samples.db, text) == expected

    def test_every_trade_belongs_to_one_sample_agent(self, samples):
        """A newcomer's demand finds one agent per capability, in either language."""
        for name, concept in lexicon.CONCEPTS.items():
            chinese = found(samples.db, f"需要{concept.zh.split('|')[0]}")
            english = found(samples.db, f"looking for {concept.en.split('|')[0]}")
            assert len(chinese) == 1, name
            assert chinese.keys() == english.keys(), name

    def test_an_english_demand_finds_a_chinese_profile_and_the_other_way_round(self, log):
        """The concept is indexed, not only the words."""
        log.register("zh", "大型宴会厅出租")
        log.register("en", "Simultaneous interpretation into Chinese")
        assert found(log.db, "a venue") == {"zh": "venue: venue"}
        assert found(log.db, "需要同传") == {"en": "interpretation: 同传"}

    @pytest.mark.parametrize(
        ("capability", "text", "reason"),
        [
            pytest.param("养蜂技术", "想找一个养蜂人", "养蜂技术: 养蜂", id="two-character word"),
            pytest.param("古琴", "想学古琴", "古琴: 古琴", id="whole"),
            pytest.param("茶", "我要茶", "茶: 茶", id="one character"),
            pytest.param("非洲鼓手", "找一个非洲鼓手", "非洲鼓手: 非洲鼓手", id="put together again"),
            pytest.param("Beekeeping", "I need two beekeepers", "Beekeeping: beekeepers", id="inflection"),
            pytest.param("Fromagerie Élite", "some FROMAGERIE", "Fromagerie Élite: FROMAGERIE", id="accents and case"),
            pytest.param("пчеловодство", "нужно пчеловодство", "пчеловодство: пчеловодство", id="another script"),
            pytest.param(
                "quantum cryptography lessons",
                "who knows quantum cryptography?",
                "quantum cryptography lessons: quantum cryptography",
                id="two words beside a concept",
            ),
        ],
    )
    def test_a_capability_outside_the_lexicon_is_found_by_its_words(self, samples, capability, text, reason):
        """The reason shows the agent's capability and the word of the demand."""
        samples.register("custom", capability)
        assert found(samples.db, text) == {"custom": reason}

    def test_a_word_beside_a_known_capability_is_no_reason(self, log):
        """Baroque photography does not answer a baroque lute."""
        log.register("photo", "baroque photography", description="lute and baroque")
        log.register("lute", "baroque lute")
        assert found(log.db, "a baroque lute") == {"lute": "baroque lute: baroque lute"}

    def test_names_and_descriptions_order_but_never_qualify(self, log):
        """What an agent tells about itself breaks ties between those that offer the capability."""
        log.register("a", "photography")
        log.register("b", "photography", description="baroque portraits")
        log.register("c", "gardening", name="Baroque", description="baroque gardens")
        assert list(found(log.db, "a baroque photographer")) == ["b", "a"]

    def test_scores_are_positive_and_the_order_is_fixed(self, log):
        """Higher is better; ties are in the order of agent_id."""
        for agent_id in ("c", "a", "b"):
            log.register(agent_id, "venue")
        log.register("both", "venue", "catering")
        text = "a venue with catering"
        rows = search_candidates(log.db, understand(text), text, 10)
        assert [row["agent_id"] for row in rows] == ["both", "a", "b", "c"]
        assert all(set(row) == {"agent_id", "name", "reason", "score", "capabilities"} and row["score"] > 0 for row in rows)
        assert rows[0]["capabilities"] == ["catering", "venue"]
        assert rows[0]["reason"] == "venue: venue; catering: catering"
        assert rows == search_candidates(log.db, understand(text), text, 10)
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True)

    def test_a_single_agent_has_a_positive_score(self, log):
        """bm25 of a word that everybody has is nearly nothing, not nothing."""
        log.register("only", "venue")
        (row,) = search_candidates(log.db, understand("venue"), "venue", 1)
        assert row["score"] > 0

    def test_a_limit_keeps_somebody_for_every_capability(self, log):
        """Ten photographers do not push the only caterer out."""
        for n in range(10):
            log.register(f"photo{n}", "photography", description="wedding pictures")
        log.register("cook", "a very long list of other words here", "catering")
        assert len(found(log.db, "photographer and catering", 3)) == 3
        assert "cook" in found(log.db, "photographer and catering", 2)
        assert found(log.db, "photographer and catering", 0) == {}

    def test_a_limit_prefers_a_new_capability_to_a_better_score(self, log):
        """Those that offer two of three capabilities leave room for one that offers the third."""
        for n in range(5):
            log.register(f"both{n}", "photography", "catering")
            log.register(f"hall{n}", "venue")
        text = "photographer, catering and a venue"
        assert list(found(log.db, text, 10))[:5] == [f"both{n}" for n in range(5)]
        assert list(found(log.db, text, 3)) == ["both0", "both1", "hall0"]

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param('venue" OR concepts : "catering', id="quote"),
            pytest.param("venue*", id="prefix"),
            pytest.param("NEAR(venue bob, 5)", id="NEAR"),
            pytest.param("venue OR *", id="OR"),
            pytest.param("^venue + -name : {a b} AND NOT (", id="every operator"),
            pytest.param("venue'; DROP TABLE agents; --", id="SQL"),
            pytest.param("venue \\ % _ \x01 \u2028", id="odd characters"),
        ],
    )
    def test_query_syntax_in_a_demand_is_only_text(self, samples, text):
        """Nothing that a demand says reaches the query parser unquoted."""
        assert "bob" in found(samples.db, text)
        assert len(list_agents(samples.db)) == len(SAMPLE_AGENTS)

    def test_capabilities_that_somebody_else_posted_are_only_text(self, samples):
        """An understanding folded from a foreign event may hold anything."""
        capabilities = (('x" OR "catering', "a"), ('odd"', "a"), ("NEAR(", "b"), ("", "c"), ("a\0b", "d"), ("venue", "e"))
        hostile = Understanding("x", capabilities, "low", "en")
        rows = search_candidates(samples.db, hostile, "x", 10)
        assert [row["agent_id"] for row in rows] == ["user_agent_bob"]

    @pytest.mark.parametrize("unit", ["养蜂", "blacksmith ", "场地", "🎉", '"'])
    def test_the_longest_demand_is_searched(self, samples, unit):
        """10,000 characters stay within the engine's limits."""
        text = "".join(f"{unit}{chr(0x4E00 + n % 5000)}" for n in range(3_000))[:10_000]
        found(samples.db, text)


class TestAgentInput:
    """What an agent may say."""

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            pytest.param({"agent_id": ""}, "agent_id", id="empty id"),
            pytest.param({"agent_id": "a:b"}, "agent_id", id="colon in id"),
            pytest.param({"agent_id": "a b"}, "agent_id", id="blank in id"),
            pytest.param({"agent_id": "a\n"}, "agent_id", id="line end in id"),
            pytest.param({"agent_id": "张三"}, "agent_id", id="Chinese id"),
            pytest.param({"agent_id": "a" * 123}, "agent_id", id="stream name too long"),
            pytest.param({"agent_id": 5}, "agent_id", id="id is a number"),
            pytest.param({"name": "  "}, "name", id="blank name"),
            pytest.param({"name": "x" * 201}, "name", id="long name"),
            pytest.param({"name": "a\nb"}, "name", id="two lines of name"),
            pytest.param({"name": None}, "name", id="no name"),
            pytest.param({"capabilities": []}, "capabilities", id="no capabilities"),
            pytest.param({"capabilities": ["x"] * 51}, "capabilities", id="too many capabilities"),
            pytest.param({"capabilities": "venue"}, "capabilities", id="a text for a list"),
            pytest.param({"capabilities": ["ok", " "]}, "capabilities.1", id="blank capability"),
            pytest.param({"capabilities": ["x" * 201]}, "capabilities.0", id="long capability"),
            pytest.param({"capabilities": [None]}, "capabilities.0", id="null capability"),
            pytest.param({"description": "x" * 2_001}, "description", id="long description"),
            pytest.param({"description": "a\0"}, "description", id="NUL"),
            pytest.param({"description": "\ud800"}, "description", id="lone surrogate"),
            pytest.param({"description": None}, "description", id="null description"),
        ],
    )
    def test_an_agent_over_the_limits_is_refused(self, changes, field):
        """The error names the field."""
        agent = {"agent_id": "a", "name": "A", "capabilities": ["venue"], "description": ""} | changes
        with refused(InvalidBody, field):
            validate_agent(**agent)

    def test_an_agent_at_the_limits_is_taken_and_trimmed(self):
        """Blanks around texts and repeated capabilities go."""
        agent = validate_agent("a" * 122, " A ", [f" {n} " for n in range(49)] + ["0"], "x\n\ty" + "z" * 1_996)
        assert (agent.name, len(agent.capabilities), agent.capabilities[0]) == ("A", 49, "0")
        assert agent_registered(agent).stream == "agent:" + "a" * 122


class TestAgentProjection:
    """The agents table and its index follow the log."""

    def test_an_agent_is_listed_in_the_documented_shape(self, log):
        """Registration order; an unknown agent is None."""
        log.register("b", "venue", "场地", name="B", description="halls", sample=True)
        log.register("a", "catering")
        first = {
            "agent_id": "b",
            "name": "B",
            "capabilities": ["venue", "场地"],
            "description": "halls",
            "sample": True,
            "registered_at": "2026-01-01T00:00:01.000Z",
            "seq": 1,
        }
        assert list_agents(log.db)[0] == first == get_agent(log.db, "b")
        assert [agent["agent_id"] for agent in list_agents(log.db)] == ["b", "a"]
        assert get_agent(log.db, "nobody") is None

    def test_registering_again_replaces_and_removing_forgets(self, log):
        """The index follows: what is gone is not found."""
        log.register("a", "venue")
        log.register("a", "catering")
        assert found(log.db, "venue and catering") == {"a": "catering: catering"}
        log.take(agent_removed("a"))
        assert contents(log.db) == {"agents": [], "agents_fts": [], "demands": []}
        log.take(agent_removed("a"))
        log.register("a", "music")
        assert found(log.db, "a band") == {"a": "music: band"}

    def test_projecting_an_event_again_changes_nothing(self, samples):
        """Each event twice in a row, and the whole log again."""
        samples.take(agent_removed("user_agent_bob"))
        samples.register("user_agent_alice", "knitting")
        before = contents(samples.db)
        for event in samples.events[-2:]:
            samples.project(event)
            samples.project(event)
        assert contents(samples.db) == before

    def test_an_older_registration_does_not_come_back(self, log):
        """What is stored is the newest by seq, whatever is projected again."""
        old = log.register("a", "venue")
        log.register("a", "catering")
        before = contents(log.db)
        log.project(old)
        assert contents(log.db) == before

    def test_the_projection_is_rebuilt_from_the_log(self, samples):
        """From empty tables, every event once more gives the same rows and the same search."""
        samples.take(agent_removed("user_agent_bob"))
        samples.register("user_agent_alice", "knitting")
        before = contents(samples.db)
        empty(samples.db, SURFACE.tables)
        assert list_agents(samples.db) == []
        for event in samples.events:
            samples.project(event)
        assert contents(samples.db) == before
        samples.db.execute("INSERT INTO agents_fts (agents_fts) VALUES ('integrity-check')")

    @pytest.mark.parametrize(
        ("event_type", "payload"),
        [
            pytest.param("agent.registered", {}, id="empty"),
            pytest.param("agent.registered", {"agent_id": "b", "name": "B", "capabilities": ["venue"]}, id="another agent's"),
            pytest.param("agent.registered", {"agent_id": "a", "name": "A", "capabilities": "venue"}, id="malformed"),
            pytest.param("agent.removed", {"agent_id": "b"}, id="removes another agent"),
        ],
    )
    def test_a_registration_that_is_not_one_is_refused_and_changes_nothing(self, log, event_type, payload):
        """Anybody may post to an agent's stream; the writer skips what the projection refuses."""
        log.register("a", "catering")
        before = contents(log.db)
        with pytest.raises(InvalidBody):
            log.append("agent:a", event_type, payload)
        assert contents(log.db) == before

    def test_other_events_of_an_agent_change_nothing(self, log):
        """Invitations and notes travel on the same stream."""
        log.register("a", "catering")
        before = contents(log.db)
        log.append("agent:a", "towow.demand.broadcast", {"demand_id": "d-1"})
        assert contents(log.db) == before


def submit(log, demand_id, text="需要场地"):
    """A demand, understood."""
    for new in model.decide(initial(demand_id), Submit(text, "ann", understand(text))):
        log.take(new)


def record(log, demand_id, *candidates):
    """The outcome of the search for a demand."""
    state = initial(demand_id)
    for event in log.events:
        if event.stream == f"demand:{demand_id}":
            state = model.evolve(state, event)
    for new in model.decide(state, RecordCandidates(candidates, 30.0)):
        log.take(new)


ROOTS = RowPage(10, where={"parent_demand_id": None})
BOB = {"agent_id": "user_agent_bob", "name": "Bob", "reason": "venue: 场地", "score": 1.5}


class TestDemandProjection:
    """The demands table follows the log."""

    def test_a_row_says_what_the_folded_state_says(self, log):
        """The list and the detail of a demand never differ."""
        submit(log, "d-1")
        log.append("demand:d-1", "note", {"text": "hello"})
        record(log, "d-1", BOB)
        log.append("demand:d-1", "towow.offer.submitted", {"agent_id": "user_agent_bob"})
        state = initial("d-1")
        for event in log.events:
            state = model.evolve(state, event)
        ((listed,), has_more) = list_demands(log.db, ROOTS)
        assert (summary(listed), has_more) == (summary(state), False)
        (row,) = log.db.execute("SELECT status, phase FROM demands").fetchall()
        assert row == ("processing", "collecting_offers")

    def test_open_demands_are_those_that_have_not_ended(self, log):
        """What a restarted coordinator goes on with, oldest first."""
        for n in range(4):
            submit(log, f"d-{n}")
        record(log, "d-0", BOB)
        record(log, "d-2")
        assert open_demands(log.db) == ["d-0", "d-1", "d-3"]
        assert {state.demand_id: state.status for state in list_demands(log.db, ROOTS)[0]} == {
            "d-0": "processing",
            "d-1": "processing",
            "d-2": "failed",
            "d-3": "processing",
        }

    def test_a_stream_of_notes_is_not_a_demand(self, log):
        """A row begins with the understanding."""
        log.append("demand:d-1", "note", {"text": "hello"})
        log.append("demand:d-1", "towow.filter.completed", {"candidates": []})
        assert list_demands(log.db, ROOTS) == ([], False)

    def test_malformed_events_do_not_break_the_row(self, log):
        """Wrong types fold to defaults."""
        log.append("demand:d-1", "towow.demand.understood", {"surface_demand": [], "user_id": 5, "demand_id": "d-9"})
        log.append("demand:d-1", "towow.filter.completed", {"candidates": "none"})
        ((row,), _) = list_demands(log.db, ROOTS)
        assert (row.demand_id, row.surface_demand, row.user_id, row.phase) == ("d-1", "", "anonymous", "filtered")

    def test_the_lists_are_index_walks(self, db):
        """Neither the newest page nor the coordinator's start sorts or scans ended demands."""
        newest = "SELECT * FROM demands WHERE parent_demand_id IS NULL AND created_seq < 9 ORDER BY created_seq DESC LIMIT 2"
        waiting = "SELECT demand_id FROM demands WHERE status = 'processing' ORDER BY created_seq"
        timeline = "SELECT * FROM events WHERE stream GLOB 'demand:*'"
        plans = [str(db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()) for sql in (newest, waiting, timeline)]
        assert "demands_roots" in plans[0]
        assert "demands_open" in plans[1]
        assert "events_by_stream" in plans[2] or "sqlite_autoindex_events" in plans[2]
        assert not any("TEMP B-TREE" in plan for plan in plans)
