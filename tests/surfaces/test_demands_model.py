"""
The life of a demand: given events and a command, which events or error; given events, which answers.
"""

import msgspec
import pytest

from server.errors import Conflict, InvalidBody, TooLarge
from server.events import Event, payload_json
from server.surfaces.demands import model
from server.surfaces.demands.model import (
    CANCELLED,
    FAILED,
    FILTERED,
    FINALIZED,
    TERMINAL_EVENTS,
    TRANSITIONS,
    UNDERSTOOD,
    Candidate,
    RecordCandidates,
    Submit,
    channel_id_of,
    check_raw_input,
    check_user_id,
    decide,
    encode_sse_event,
    evolve,
    initial,
    new_demand_id,
    render_sse_event,
)
from server.surfaces.demands.understanding import understand

DEMAND = "d-1a2b3c4d"
TEXT = "需要场地和摄影师"
BOB = {"agent_id": "user_agent_bob", "name": "Bob", "reason": "venue: 场地", "score": 6.5}


def stored(events, start=1):
    """
    New events as the log would give them back, with `seq` ten times the revision.
    """
    return [
        Event(
            n * 10,
            new.stream,
            n,
            f"e{n}",
            new.event_type,
            f"2026-01-01T00:00:0{n}.000Z",
            new.source,
            new.payload_json,
        )
        for n, new in enumerate(events, start)
    ]


def posted(event_type, payload, revision=2, stream=f"demand:{DEMAND}"):
    """
    An event that somebody posted.
    """
    timestamp = f"2026-01-01T00:00:0{revision}.000Z"
    return Event(revision * 10, stream, revision, f"p{revision}", event_type, timestamp, "curl", payload_json(payload))


def fold(events, state=None):
    """
    The state after some events.
    """
    state = state or initial(DEMAND)
    for event in events:
        state = evolve(state, event)
    return state


def submitted():
    """
    A demand that was just understood.
    """
    return fold(stored(decide(initial(DEMAND), Submit(DEMAND, TEXT, "ann", understand(TEXT)))))


class TestCommands:
    """
    Commands to events or errors.
    """

    def test_submit_becomes_one_event_with_everything_that_was_read(self):
        """
        The payload carries ids, summary, capabilities, language, the text and who asked.
        """
        (event,) = decide(initial(DEMAND), Submit(DEMAND, TEXT, "ann", understand(TEXT)))
        assert (event.stream, event.event_type, event.source) == (f"demand:{DEMAND}", UNDERSTOOD, "towow")
        assert msgspec.json.decode(event.payload_json) == {
            "demand_id": DEMAND,
            "channel_id": "collab-1a2b3c4d",
            "surface_demand": TEXT,
            "confidence": "high",
            "capabilities": [
                {"capability": "venue", "term": "场地"},
                {"capability": "photography", "term": "摄影师"},
            ],
            "language": "zh",
            "raw_input": TEXT,
            "user_id": "ann",
        }

    def test_candidates_become_one_event(self):
        """
        Found agents are recorded as they were found, and the demand goes on.
        """
        (event,) = decide(submitted(), RecordCandidates((BOB,)))
        assert event.event_type == FILTERED
        assert msgspec.json.decode(event.payload_json) == {
            "demand_id": DEMAND,
            "channel_id": "collab-1a2b3c4d",
            "candidates": [BOB],
        }

    def test_no_candidates_end_the_demand_with_a_reason(self):
        """
        An empty result is recorded, and then the terminal failure with a reason and a message.
        """
        filtered, failed = decide(submitted(), RecordCandidates(()))
        assert (filtered.event_type, failed.event_type) == (FILTERED, FAILED)
        assert msgspec.json.decode(filtered.payload_json)["candidates"] == []
        payload = msgspec.json.decode(failed.payload_json)
        assert payload["reason"] == "no_candidates"
        assert payload["message"]
        state = fold(stored([filtered, failed], 2), submitted())
        assert (state.phase, state.status, state.revision) == ("failed", "failed", 3)

    @pytest.mark.parametrize(
        ("before", "command", "phase"),
        [
            pytest.param([], RecordCandidates((BOB,)), "new", id="candidates for a demand that nobody made"),
            pytest.param(
                [(UNDERSTOOD, {}), (FILTERED, {})],
                RecordCandidates((BOB,)),
                "filtered",
                id="candidates twice",
            ),
            pytest.param(
                [(UNDERSTOOD, {}), (CANCELLED, {})],
                RecordCandidates(()),
                "cancelled",
                id="candidates after the end",
            ),
            pytest.param(
                [(UNDERSTOOD, {})],
                Submit(DEMAND, TEXT, "ann", understand(TEXT)),
                "understood",
                id="an id that is taken",
            ),
        ],
    )
    def test_a_command_in_the_wrong_phase_raises_conflict(self, before, command, phase):
        """
        The error says the phase, and nothing is decided.
        """
        events = [posted(event_type, payload, n) for n, (event_type, payload) in enumerate(before, 1)]
        with pytest.raises(Conflict) as raised:
            decide(fold(events), command)
        assert raised.value.details == {"phase": phase}


class TestEvolve:
    """
    Events to state.
    """

    @pytest.mark.parametrize(("phase", "event_type"), list(TRANSITIONS), ids=" + ".join)
    def test_every_row_of_the_table_is_taken(self, phase, event_type):
        """
        The phase after an event is the table's.
        """
        state = msgspec.structs.replace(initial(DEMAND), phase=phase)
        assert evolve(state, posted(event_type, {})).phase == TRANSITIONS[phase, event_type]

    def test_terminal_events_end_every_living_phase_and_nothing_leaves_the_end(self):
        """
        Whatever ends a stream also ends its demand, in every phase it can be in.
        """
        phases = set(TRANSITIONS.values())
        ends = {"finalized", "failed", "cancelled"}
        assert {FINALIZED, FAILED, CANCELLED} == TERMINAL_EVENTS
        for phase in phases - ends:
            assert all((phase, event_type) in TRANSITIONS for event_type in TERMINAL_EVENTS)
        assert not {phase for phase, _ in TRANSITIONS} & ends
        assert {model.status_of(phase) for phase in phases - ends} == {"processing"}
        assert {model.status_of(phase) for phase in ends} == ends

    @pytest.mark.parametrize("event_type", ["note", "towow.offer.submitted", "towow.filter.completed.", UNDERSTOOD])
    def test_an_event_without_a_row_only_moves_the_position(self, event_type):
        """
        A note, a later release's event or a second understanding changes last_seq, revision and updated_at.
        """
        before = submitted()
        after = evolve(before, posted(event_type, {"surface_demand": "other", "user_id": "eve"}))
        assert after == msgspec.structs.replace(before, last_seq=20, revision=2, updated_at="2026-01-01T00:00:02.000Z")

    def test_an_event_that_was_seen_changes_nothing(self):
        """
        Folding the same event twice gives the same state.
        """
        state = submitted()
        assert evolve(state, posted(FILTERED, {"candidates": [BOB]}, 1)) is state

    def test_a_note_before_the_understanding_is_not_a_demand(self):
        """
        A stream with only notes does not exist as a demand; it does from the understanding on.
        """
        state = fold([posted("note", {}, 1)])
        assert not state.exists
        state = evolve(state, posted(UNDERSTOOD, {"surface_demand": "a venue"}, 2))
        assert state.exists
        assert (state.created_seq, state.created_at, state.last_seq) == (20, "2026-01-01T00:00:02.000Z", 20)

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param({}, id="empty"),
            pytest.param({"surface_demand": 5, "capabilities": "venue", "user_id": None}, id="wrong types"),
            pytest.param({"capabilities": [None, 1, {}, {"capability": 3}, {"capability": ""}]}, id="broken list"),
            pytest.param({"confidence": [], "language": {}, "raw_input": True}, id="containers for texts"),
        ],
    )
    def test_a_malformed_understanding_folds_to_defaults(self, payload):
        """
        Anybody may append to the stream; the answers still have their documented types.
        """
        state = fold([posted(UNDERSTOOD, payload, 1)])
        answer = model.detail(state)
        assert answer["understanding"] == {
            "surface_demand": "",
            "confidence": "low",
            "capabilities": [],
            "language": "en",
        }
        assert (answer["user_id"], answer["raw_input"], answer["demand_id"]) == ("anonymous", "", DEMAND)
        assert model.understanding_of(state).capabilities == ()

    def test_malformed_candidates_are_left_out(self):
        """
        Only candidates with an agent_id count; missing texts are empty and a missing score is 0.
        """
        payload = {"candidates": [1, None, {"name": "x"}, {"agent_id": "a", "score": "high", "name": []}, BOB]}
        state = evolve(submitted(), posted(FILTERED, payload))
        assert state.candidates == (Candidate("a"), Candidate(**BOB))
        assert evolve(submitted(), posted(FILTERED, {"candidates": {"agent_id": "a"}})).candidates == ()

    def test_the_stream_says_which_demand_it_is(self):
        """
        Ids inside a payload do not change the identity of the demand.
        """
        state = fold([posted(UNDERSTOOD, {"demand_id": "d-other", "channel_id": "x"}, 1)])
        assert (state.demand_id, state.channel_id) == (DEMAND, "collab-1a2b3c4d")


class TestIds:
    """
    Ids and channels.
    """

    def test_demand_ids_have_eight_hex_digits(self):
        """
        The form of source 000.
        """
        ids = {new_demand_id() for _ in range(100)}
        assert len(ids) == 100
        assert all(len(i) == 10 and i.startswith("d-") and int(i[2:], 16) >= 0 for i in ids)

    @pytest.mark.parametrize(
        ("demand_id", "channel_id"),
        [
            pytest.param("d-1a2b3c4d", "collab-1a2b3c4d", id="realistic"),
            pytest.param("d-1a2b3c4d-long", "collab-1a2b3c4d-long", id="the whole id, never a part"),
            pytest.param("d-d-1", "collab-d-1", id="one prefix only"),
            pytest.param("other", "collab-other", id="without a prefix"),
        ],
    )
    def test_the_channel_is_made_of_the_whole_id(self, demand_id, channel_id):
        """
        Two demands never share a channel because their ids share a beginning.
        """
        assert channel_id_of(demand_id) == channel_id


class TestInput:
    """
    What a submission may hold.
    """

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            pytest.param("  需要场地\n", "需要场地", id="trimmed"),
            pytest.param("a\r\nb\rc\td", "a\nb\nc\td", id="line ends"),
            pytest.param("需" * 10_000, "需" * 10_000, id="at the limit"),
            pytest.param(" " * 50_000 + "x", "x", id="blanks do not count"),
            pytest.param("👩‍👩‍👧 party", "👩‍👩‍👧 party", id="emoji"),
            pytest.param("<script>alert(1)</script>", "<script>alert(1)</script>", id="kept as it is"),
        ],
    )
    def test_a_demand_is_trimmed_and_kept(self, text, kept):
        """
        What is stored is what was said, without the blanks around it.
        """
        assert check_raw_input(text) == kept

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            pytest.param("", InvalidBody, id="empty"),
            pytest.param(" \n\t　", InvalidBody, id="blank"),
            pytest.param("\u200b\ufeff", InvalidBody, id="invisible"),
            pytest.param("a\0b", InvalidBody, id="NUL"),
            pytest.param("a\x1b[31mb", InvalidBody, id="terminal escape"),
            pytest.param("a\x85b", InvalidBody, id="C1 control"),
            pytest.param("a\ud800b", InvalidBody, id="lone surrogate"),
            pytest.param("x" * 10_001, TooLarge, id="over the limit"),
            pytest.param("x" * 200_000, TooLarge, id="200 kB"),
        ],
    )
    def test_a_demand_that_cannot_be_kept_is_refused(self, text, error):
        """
        The error names raw_input.
        """
        with pytest.raises(error) as raised:
            check_raw_input(text)
        assert raised.value.field == "raw_input"

    def test_the_limit_of_a_demand_can_be_set(self):
        """
        The error says the limit in force.
        """
        with pytest.raises(TooLarge) as raised:
            check_raw_input("abcdef", limit=5)
        assert raised.value.details == {"limit": 5}

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            pytest.param(None, "anonymous", id="absent"),
            pytest.param("  ", "anonymous", id="blank"),
            pytest.param(" 张三 ", "张三", id="trimmed"),
        ],
    )
    def test_a_user_id_defaults_to_anonymous(self, text, kept):
        """
        Who does not say who they are is anonymous.
        """
        assert check_user_id(text) == kept

    @pytest.mark.parametrize("text", ["x" * 201, "a\nb", "a\0b", "\ud800"])
    def test_a_user_id_is_one_short_line(self, text):
        """
        The error names user_id.
        """
        with pytest.raises(InvalidBody) as raised:
            check_user_id(text)
        assert raised.value.field == "user_id"


class TestAnswers:
    """
    What clients are answered.
    """

    def test_the_answers_have_the_documented_keys(self):
        """
        Submission, list line, detail and status of the same demand.
        """
        state = evolve(submitted(), posted(FILTERED, {"candidates": [BOB]}))
        understanding = {
            "surface_demand": TEXT,
            "confidence": "high",
            "capabilities": [
                {"capability": "venue", "term": "场地"},
                {"capability": "photography", "term": "摄影师"},
            ],
            "language": "zh",
        }
        summary = {
            "demand_id": DEMAND,
            "channel_id": "collab-1a2b3c4d",
            "status": "processing",
            "phase": "filtered",
            "surface_demand": TEXT,
            "user_id": "ann",
            "created_at": "2026-01-01T00:00:01.000Z",
            "updated_at": "2026-01-01T00:00:02.000Z",
            "current_round": 1,
            "last_seq": 20,
            "created_seq": 10,
        }
        assert model.summary(state) == summary
        assert model.detail(state) == {
            **summary,
            "understanding": understanding,
            "raw_input": TEXT,
            "candidates": [BOB],
        }
        assert model.status(state) == {
            "demand_id": DEMAND,
            "status": "processing",
            "current_round": 1,
            "phase": "filtered",
            "last_seq": 20,
        }
        assert model.submitted(submitted()) == {
            "demand_id": DEMAND,
            "channel_id": "collab-1a2b3c4d",
            "status": "processing",
            "understanding": understanding,
            "seq": 10,
        }

    def test_what_was_understood_comes_back_from_the_log(self):
        """
        A matching that goes on after a restart reads what the first one read.
        """
        assert model.understanding_of(submitted()) == understand(TEXT)

    @pytest.mark.parametrize(
        ("payload", "rendered"),
        [
            pytest.param(
                {"demand_id": "d-1", "channel_id": "c", "a": 1},
                {"demand_id": "d-1", "channel_id": "c", "a": 1},
                id="both",
            ),
            pytest.param({}, {"demand_id": DEMAND, "channel_id": "collab-1a2b3c4d"}, id="none"),
            pytest.param(
                {"text": "嗨\u2028"},
                {"demand_id": DEMAND, "channel_id": "collab-1a2b3c4d", "text": "嗨\u2028"},
                id="a foreign payload",
            ),
            pytest.param(
                {"channel_id": None, "x": {"demand_id": 1}},
                {"demand_id": DEMAND, "channel_id": None, "x": {"demand_id": 1}},
                id="null counts as said",
            ),
        ],
    )
    def test_a_rendered_event_always_names_demand_and_channel(self, payload, rendered):
        """
        Live and history show the same fields, in one line of JSON.
        """
        event = posted("note", payload)
        assert render_sse_event(event) == {
            "event_id": "p2",
            "event_type": "note",
            "timestamp": "2026-01-01T00:00:02.000Z",
            "payload": rendered,
            "seq": 20,
            "revision": 2,
            "source": "curl",
        }
        line = encode_sse_event(event).decode()
        assert len(line.splitlines()) == 1
        assert msgspec.json.decode(line) == render_sse_event(event)

    def test_the_bytes_of_a_rendered_event_are_fixed(self):
        """
        Pinned byte for byte: clients and caches compare them.
        """
        assert (
            encode_sse_event(posted("note", {"text": "嗨"}))
            == (
                '{"event_id":"p2","event_type":"note","timestamp":"2026-01-01T00:00:02.000Z","payload":'
                '{"demand_id":"d-1a2b3c4d","channel_id":"collab-1a2b3c4d","text":"嗨"},'
                '"seq":20,"revision":2,"source":"curl"}'
            ).encode()
        )

    def test_the_deepest_payload_is_rendered(self):
        """
        A payload at the nesting limit of the log is not too deep inside its envelope.
        """
        payload = {"x": 1}
        for _ in range(63):
            payload = {"x": payload}
        assert render_sse_event(posted("note", payload))["payload"]["x"] == payload["x"]
