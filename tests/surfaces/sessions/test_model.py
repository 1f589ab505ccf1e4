"""The life of a session: every state and every command, the events of each in full, and what a reader makes of any garbage."""

import hashlib

import msgspec
import pytest

from server.surfaces.sessions import inputs, rendering
from server.surfaces.sessions.commands import Escalate, Release, Say, TakeOver
from server.surfaces.sessions.model import TRANSITIONS, decide, evolve, message_event
from server.surfaces.sessions.state import QUEUE, STATUSES, TERMINAL_EVENTS, SessionState, initial
from tests.support import refused
from towow.errors import Conflict, InvalidBody, NotFound, TooLarge
from towow.events import Event, payload_json

NAME = "alice"
STREAM = "session:alice"


def user(text="hello", message_id="m-1"):
    """A message of the user."""
    return Say("user", text, message_id)


def timestamp(seq):
    """When the event with this seq was appended."""
    return f"2026-01-01T00:00:{seq:02d}.000Z"


def apply(state, events):
    """The state after the log has stored these events; seqs count on from the state's, over all streams."""
    revision, seq = state.revision, state.last_seq
    for new in events:
        seq += 1
        revision += new.stream == STREAM
        if new.stream == STREAM:
            event_id = new.event_id or f"e{seq}"
            state = evolve(
                state, Event(seq, STREAM, revision, event_id, new.event_type, timestamp(seq), new.source, new.payload_json)
            )
    return state


def after(*commands):
    """The state that these commands lead to."""
    state = initial(NAME)
    for command in commands:
        state = apply(state, decide(state, command))
    return state


STATES = {
    "new": (),
    "bot": (user(),),
    "waiting": (user(), Escalate("refund")),
    "with o-7": (user(), Escalate("refund"), TakeOver("o-7")),
    "released by o-7": (user(), Escalate("refund"), TakeOver("o-7"), Release("o-7")),
    "closed by o-7": (user(), Escalate("refund"), TakeOver("o-7"), Release("o-7", close=True)),
}

COMMANDS = {
    "escalate": Escalate("again"),
    "user speaks": user("more", "m-2"),
    "bot speaks": Say("bot", "more", "m-2"),
    "o-7 speaks": Say("operator", "more", "m-2", "o-7"),
    "o-8 speaks": Say("operator", "more", "m-2", "o-8"),
    "o-7 takes over": TakeOver("o-7"),
    "o-8 takes over": TakeOver("o-8"),
    "o-7 releases": Release("o-7"),
    "o-8 releases": Release("o-8"),
    "o-7 closes": Release("o-7", close=True),
    "o-8 closes": Release("o-8", close=True),
}

# What each command leads to in each state: the status after it, "same" (nothing to do, no error), or the error.
TABLE = """
                | new           | bot           | waiting       | with o-7      | released by o-7 | closed by o-7
escalate        | waiting_agent | waiting_agent | same          | conflict      | waiting_agent   | conflict
user speaks     | bot           | bot           | waiting_agent | with_operator | bot             | conflict
bot speaks      | bot           | bot           | waiting_agent | conflict      | bot             | conflict
o-7 speaks      | not_found     | conflict      | conflict      | with_operator | conflict        | conflict
o-8 speaks      | not_found     | conflict      | conflict      | conflict      | conflict        | conflict
o-7 takes over  | not_found     | conflict      | with_operator | same          | conflict        | conflict
o-8 takes over  | not_found     | conflict      | with_operator | conflict      | conflict        | conflict
o-7 releases    | not_found     | conflict      | conflict      | bot           | same            | conflict
o-8 releases    | not_found     | conflict      | conflict      | conflict      | conflict        | conflict
o-7 closes      | not_found     | conflict      | conflict      | closed        | conflict        | same
o-8 closes      | not_found     | conflict      | conflict      | conflict      | conflict        | conflict
"""


def cells():
    """The table as (state, command, outcome)."""
    head, *rows = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip("\n").splitlines()]
    assert [row[0] for row in rows] == list(COMMANDS)
    assert head[1:] == list(STATES)
    return [(state, row[0], outcome) for row in rows for state, outcome in zip(head[1:], row[1:], strict=True)]


@pytest.mark.parametrize(("state", "command", "outcome"), [pytest.param(*cell, id=" - ".join(cell[:2])) for cell in cells()])
def test_every_command_in_every_state(state, command, outcome):
    """The table above, cell by cell; a refusal says who has the session, and nothing is appended."""
    before = after(*STATES[state])
    if outcome == "conflict":
        with pytest.raises(Conflict) as caught:
            decide(before, COMMANDS[command])
        assert caught.value.details == {"status": before.status, "agent_id": "o-7" if state == "with o-7" else None}
        assert NAME in caught.value.message
    elif outcome == "not_found":
        with refused(NotFound, "session_name"):
            decide(before, COMMANDS[command])
    elif outcome == "same":
        assert decide(before, COMMANDS[command]) == []
    else:
        events = decide(before, COMMANDS[command])
        assert events
        assert events[0].stream == STREAM
        assert apply(before, events).status == outcome


def told(events):
    """Events as (stream, type, payload, source)."""
    return [(each.stream, each.event_type, msgspec.json.decode(each.payload_json), each.source) for each in events]


def test_an_escalation_is_told_to_the_session_and_to_every_operator():
    """The request and the change of status, each with its copy on the queue, in one transaction."""
    request = {"session_name": "alice", "status": "waiting_agent", "reason": "refund"}
    change = {"session_name": "alice", "status": "waiting_agent", "previous": "bot", "reason": "refund"}
    expected = [
        (STREAM, "transfer_request", request, "ai_chatbot"),
        (QUEUE, "transfer_request", request, "ai_chatbot"),
        (STREAM, "status_change", change, "ai_chatbot"),
        (QUEUE, "status_change", change, "ai_chatbot"),
    ]
    assert told(decide(initial(NAME), Escalate("refund"))) == expected
    assert told(decide(after(user()), Escalate("refund"))) == expected


def test_an_escalation_without_a_reason_gives_none():
    """The request always has the field, as source 001 has it; the change of status has it when there is one."""
    events = told(decide(initial(NAME), Escalate()))
    assert events[0][2] == {"session_name": "alice", "status": "waiting_agent", "reason": ""}
    assert events[2][2] == {"session_name": "alice", "status": "waiting_agent", "previous": "bot"}
    assert after(Escalate()).reason is None


def test_a_takeover_is_told_to_the_session_to_the_queue_and_to_the_operator():
    """Who waits, who might have come, and who came."""
    change = {"session_name": "alice", "status": "with_operator", "previous": "waiting_agent", "agent_id": "o-8"}
    events = told(decide(after(Escalate()), TakeOver("o-8")))
    assert events == [(stream, "status_change", change, "agent_workbench") for stream in (STREAM, QUEUE, "operator:o-8")]


def test_a_release_is_told_likewise_and_a_close_ends_the_stream_of_the_session_alone():
    """`session_closed` is terminal for the session; operators go on, so they get the change of status only."""
    change = {"session_name": "alice", "status": "bot", "previous": "with_operator", "agent_id": "o-7"}
    streams = (STREAM, QUEUE, "operator:o-7")
    with_operator = after(*STATES["with o-7"])
    assert told(decide(with_operator, Release("o-7"))) == [
        (stream, "status_change", change, "agent_workbench") for stream in streams
    ]
    change |= {"status": "closed"}
    assert told(decide(with_operator, Release("o-7", close=True))) == [
        *((stream, "status_change", change, "agent_workbench") for stream in streams),
        (STREAM, "session_closed", {"session_name": "alice", "agent_id": "o-7"}, "agent_workbench"),
    ]
    assert set(TERMINAL_EVENTS) == {"session_closed"}


@pytest.mark.parametrize(
    ("state", "command", "payload", "source"),
    [
        pytest.param("new", user(), {"role": "user", "content": "hello", "message_id": "m-1"}, "ai_chatbot", id="user"),
        ("bot", Say("bot", "hi", "m-2"), {"role": "bot", "content": "hi", "message_id": "m-2"}, "ai_chatbot"),
        pytest.param(
            "with o-7",
            Say("operator", "hi", "m-2", "o-7"),
            {"role": "operator", "content": "hi", "message_id": "m-2", "agent_id": "o-7"},
            "agent_workbench",
            id="operator",
        ),
    ],
)
def test_a_message_is_one_event_of_the_session(state, command, payload, source):
    """Who speaks decides the source; nobody but the session gets it."""
    [event] = decide(after(*STATES[state]), command)
    assert told([event]) == [(STREAM, "new_message", {"session_name": "alice", **payload}, source)]


def test_a_message_id_belongs_to_its_session():
    """Two sessions may use the same message_id, and no two pairs of names make the same event_id."""
    said = [
        message_event(name, Say("user", "x", message_id)).event_id
        for name, message_id in [("a", "m"), ("b", "m"), ("a", "n"), ("a-m", "n"), ("a", "m-n")]
    ]
    assert len(set(said)) == 5
    assert said[0] == f"msg-{hashlib.sha256(b'a/m').hexdigest()[:40]}"
    longest = message_event("s" * 120, Say("user", "x", "m" * 128))
    assert len(longest.event_id) <= 128
    assert not longest.event_id.isdigit()


def test_the_state_remembers_who_has_it_since_when_and_why():
    """Field by field along a hand-over and back."""
    said = after(user())
    assert (said.status, said.messages, said.created_seq, said.created_at) == ("bot", 1, 1, timestamp(1))
    assert (said.agent_id, said.reason, said.waiting_since, said.status_seq) == (None, None, None, 0)
    waiting = after(*STATES["waiting"])
    assert (waiting.status, waiting.reason, waiting.waiting_since) == ("waiting_agent", "refund", timestamp(4))
    assert (waiting.status_seq, waiting.last_seq, waiting.revision) == (4, 4, 3)
    taken = after(*STATES["with o-7"])
    assert (taken.agent_id, taken.waiting_since, taken.reason, taken.released_by) == ("o-7", None, "refund", None)
    assert taken.status_seq > waiting.status_seq
    back = after(*STATES["released by o-7"])
    assert (back.status, back.agent_id, back.released_by, back.reason) == ("bot", None, "o-7", None)
    again = after(*STATES["released by o-7"], Escalate())
    assert (again.released_by, again.reason) == (None, None)
    closed = after(*STATES["closed by o-7"])
    assert (closed.status, closed.agent_id, closed.released_by, closed.reason) == ("closed", None, "o-7", "refund")
    assert (closed.created_seq, closed.created_at, closed.updated_at) == (1, timestamp(1), timestamp(closed.last_seq))
    assert closed.status_seq == closed.last_seq - 3  # its change of status, before two copies and the end


def test_messages_are_counted_whoever_speaks():
    """One for each, in every status; a change of status is none."""
    state = after(*STATES["with o-7"], user("x", "m-3"), Say("operator", "y", "m-4", "o-7"))
    assert state.messages == 3


def test_a_session_that_was_released_can_be_handed_over_again_to_somebody_else():
    """And what its first operator says then is refused."""
    state = after(*STATES["released by o-7"], Escalate("again"), TakeOver("o-8"))
    assert (state.status, state.agent_id) == ("with_operator", "o-8")
    with pytest.raises(Conflict):
        decide(state, Release("o-7"))
    assert after(*STATES["released by o-7"], Escalate("again"), TakeOver("o-8"), Release("o-8")).released_by == "o-8"


def test_an_event_that_was_seen_changes_nothing():
    """A reader may fold the same event twice."""
    state = after(*STATES["waiting"])
    event = Event(state.last_seq, STREAM, 3, "e", "new_message", timestamp(9), "x", "{}")
    assert evolve(state, event) is state


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        pytest.param("note", {}, id="another type"),
        pytest.param("status_change", {}, id="no status"),
        pytest.param("status_change", {"status": 7}, id="a number"),
        pytest.param("status_change", {"status": {"status": "bot"}}, id="an object"),
        pytest.param("status_change", {"status": None}, id="null"),
        pytest.param("status_change", {"status": "new"}, id="new"),
        pytest.param("status_change", {"status": "with_operator"}, id="with nobody"),
        pytest.param("status_change", {"status": "with_operator", "agent_id": ""}, id="with nothing"),
        pytest.param("status_change", {"status": "with_operator", "agent_id": ["o-7"]}, id="with a list"),
        pytest.param("status_change", {"status": "with_operator", "agent_id": "queue"}, id="with the queue"),
        pytest.param("status_change", {"status": "with_operator", "agent_id": "a b"}, id="with no id"),
    ],
)
def test_what_means_nothing_only_moves_the_position(state, event_type, payload):
    """Anybody may append anything to a stream."""
    before = after(*STATES[state])
    event = Event(99, STREAM, before.revision + 1, "e", event_type, timestamp(50), "curl", payload_json(payload))
    moved = {"last_seq": 99, "revision": before.revision + 1, "updated_at": timestamp(50)}
    assert evolve(before, event) == msgspec.structs.replace(before, **moved)


# What an application that publishes by itself may do with a change of status: from, to.
CHANGES = {
    ("new", "waiting_agent"): "waiting_agent",
    ("bot", "waiting_agent"): "waiting_agent",
    ("waiting_agent", "with_operator"): "with_operator",
    ("with_operator", "bot"): "bot",
    ("with_operator", "closed"): "closed",
}


@pytest.mark.parametrize("to", STATUSES)
@pytest.mark.parametrize("before", ["new", *STATUSES])
def test_a_change_of_status_counts_only_where_the_table_has_it(before, to):
    """Also one that was published without the routes, as source 001 did."""
    state = SessionState(NAME, status=before, agent_id="o-7" if before == "with_operator" else None)
    payload = payload_json({"status": to, "agent_id": "o-9"})
    changed = evolve(state, Event(5, STREAM, 1, "e", "status_change", timestamp(5), "ai_chatbot", payload))
    assert changed.status == CHANGES.get((before, to), before)
    assert changed.status_seq == (5 if (before, to) in CHANGES else 0)
    assert changed.agent_id == (
        "o-9"
        if (before, to) == ("waiting_agent", "with_operator")
        else "o-7"
        if before == "with_operator" and (before, to) not in CHANGES
        else None
    )


@pytest.mark.parametrize("state", STATES)
def test_the_terminal_event_closes_every_session_that_exists(state):
    """The log keeps the stream ended, so the state says so, whoever appended it."""
    before = after(*STATES[state])
    ended = evolve(before, Event(99, STREAM, 9, "e", "session_closed", timestamp(50), "curl", "{}"))
    assert ended.status == ("new" if state == "new" else "closed")
    assert (ended.agent_id, ended.waiting_since) == (None, None)
    assert ended.status_seq == (0 if state == "new" else before.status_seq if state.startswith("closed") else 99)
    assert ended.released_by == ("o-7" if "o-7" in state else None)


def test_the_table_leads_to_statuses_that_exist():
    """No row leads out of the table, and nothing leads out of closed."""
    assert set(TRANSITIONS.values()) == set(STATUSES)
    assert {status for status, _ in TRANSITIONS} == {"new", *STATUSES}
    assert {step for status, step in TRANSITIONS if status == "closed"} == {"session_closed"}


def test_an_event_in_the_shape_of_the_source():
    """Items 22, 26: type, payload, whole seconds, source; and what it takes to resume. Byte for byte."""
    event = Event(7, STREAM, 3, "e-1", "new_message", "2023-12-22T00:00:00.999Z", "ai_chatbot", '{"content":"你好"}')
    assert rendering.encode_message(event).decode() == (
        '{"type":"new_message","payload":{"content":"你好"},"timestamp":1703203200,"source":"ai_chatbot","seq":7,'
        '"event_id":"e-1","revision":3,"stream":"session:alice"}'
    )


@pytest.mark.parametrize(
    ("check", "given", "expected"),
    [
        pytest.param(inputs.check_content, "  a\r\nb\rc ", "a\nb\nc", id="a message is trimmed, with LF"),
        pytest.param(inputs.check_content, "场" * 10_000, "场" * 10_000, id="the longest message"),
        pytest.param(inputs.check_content, "<b>&", "<b>&", id="markup is text"),
        pytest.param(inputs.check_reason, None, "", id="no reason"),
        pytest.param(inputs.check_reason, " x ", "x", id="a reason is trimmed"),
        pytest.param(inputs.check_reason, "x" * 500, "x" * 500, id="the longest reason"),
        pytest.param(inputs.MESSAGE_ID.in_body, "m:1", "m:1", id="a message_id"),
        pytest.param(inputs.BROADCAST_TYPE.in_body, "news.flash", "news.flash", id="a type"),
    ],
)
def test_texts_are_kept_as_they_were_said(check, given, expected):
    """Trimmed and with LF line ends, otherwise untouched."""
    assert check(given) == expected


@pytest.mark.parametrize(
    ("check", "given", "error", "field"),
    [
        pytest.param(inputs.check_content, " \n", InvalidBody, "content", id="blank"),
        pytest.param(inputs.check_content, "\u200b", InvalidBody, "content", id="invisible"),
        pytest.param(inputs.check_content, "a\x00", InvalidBody, "content", id="NUL"),
        pytest.param(inputs.check_content, "a\x85b", InvalidBody, "content", id="NEL"),
        pytest.param(inputs.check_content, "a\ud800", InvalidBody, "content", id="a lone surrogate"),
        pytest.param(inputs.check_content, "x" * 10_001, TooLarge, "content", id="a message that is too long"),
        pytest.param(inputs.check_reason, "x" * 501, TooLarge, "reason", id="a reason that is too long"),
        pytest.param(inputs.check_reason, "\x1b", InvalidBody, "reason", id="an escape sequence"),
        pytest.param(inputs.MESSAGE_ID.in_body, "", InvalidBody, "message_id", id="an empty message_id"),
        pytest.param(inputs.MESSAGE_ID.in_body, "x" * 129, InvalidBody, "message_id", id="a long message_id"),
        pytest.param(inputs.BROADCAST_TYPE.in_body, "a b", InvalidBody, "type", id="a type with a blank"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_field(check, given, error, field):
    """A limit is said, never applied in silence."""
    with refused(error, field):
        check(given)


@pytest.mark.parametrize(
    ("role", "agent_id", "speaker"),
    [
        pytest.param("user", None, None, id="user"),
        pytest.param("bot", None, None, id="bot"),
        pytest.param("operator", "o-7", "o-7", id="operator"),
        pytest.param("user", "o-7", InvalidBody, id="a user is no operator"),
        pytest.param("bot", "o-7", InvalidBody, id="a bot is no operator"),
        pytest.param("operator", None, InvalidBody, id="an operator without an id"),
        pytest.param("operator", "queue", InvalidBody, id="an operator that cannot be"),
    ],
)
def test_only_an_operator_has_an_id_and_always_has_one(role, agent_id, speaker):
    """Who speaks is never guessed."""
    if speaker is InvalidBody:
        with refused(InvalidBody, "agent_id"):
            inputs.check_speaker(role, agent_id)
    else:
        assert inputs.check_speaker(role, agent_id) == speaker
