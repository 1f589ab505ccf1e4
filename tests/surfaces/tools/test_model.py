"""The life of a permission: given events and a command, which events or error; and how an event is told."""

import json

import msgspec
import pytest

from server.eventlog.redaction import REDACTED, Redaction
from server.surfaces.tools import rendering
from server.surfaces.tools.commands import AnswerPermission, ClearPermission, ExpirePermission, ReportEvent, RequestPermission
from server.surfaces.tools.inputs import Rules, read_notice
from server.surfaces.tools.model import TRANSITIONS, decide, evolve
from server.surfaces.tools.state import initial, stream_of
from tests.support import refused
from towow.errors import Conflict, Gone, InvalidBody, NotFound, TooLarge
from towow.events import Event, payload_json, seconds_of

SESSION = "s-1"
START = seconds_of("2026-01-01T00:00:00.000Z")
IN_TIME, TOO_LATE = START + 119.999, START + 120.0
KEYS = ("password", "api_key", "Authorization")
RULES = Rules(Redaction(KEYS), 4096, 120.0)

ASK = RequestPermission("p-1", "rm", {"path": "a.txt"}, "high", 120.0)
OTHER_WORDS = RequestPermission("p-1", "rm", {"path": "b.txt"}, "high", 120.0)
APPROVE = AnswerPermission("p-1", True, "go on", "alice", IN_TIME)
REJECT = AnswerPermission("p-1", False, "no", "bob", IN_TIME)
CLEAR = ClearPermission("p-1", "not needed")
EXPIRE = ExpirePermission("p-1", TOO_LATE)
TOO_EARLY = ExpirePermission("p-1", IN_TIME)
REPORT = ReportEvent("tool_result", {"tool_name": "rm", "result": 1, "success": True})

REQUEST = {
    "permission_id": "p-1",
    "tool_name": "rm",
    "parameters": {"path": "a.txt"},
    "risk_level": "high",
    "status": "pending",
    "expires_within_seconds": 120.0,
}


def late(answer):
    """The same answer at the deadline."""
    return msgspec.structs.replace(answer, now=TOO_LATE)


def posted(event_type, payload, seq=1, event_id=None):
    """An event of the session as the log gives it back."""
    timestamp = "2026-01-01T00:00:00.000Z"
    return Event(seq, stream_of(SESSION), seq, event_id or f"e{seq}", event_type, timestamp, "tools", payload_json(payload))


def after(*commands):
    """The state after commands, each decided and stored."""
    state = initial(SESSION)
    for command in commands:
        for new in decide(state, command):
            state = evolve(state, posted(new.event_type, json.loads(new.payload_json), state.last_seq + 1))
    return state


def said(events):
    """New events as [(type, payload)]."""
    assert all((event.stream, event.source) == (stream_of(SESSION), "tools") for event in events)
    return [(event.event_type, json.loads(event.payload_json)) for event in events]


REQUESTED = [("permission_request", REQUEST)]


def answered(approved, reason, actor):
    """The events of an answer."""
    given = {"permission_id": "p-1", "approved": approved, "reason": reason, "success": True, "actor": actor}
    return [("permission_response_result", given), ("permission_cleared", {"permission_id": "p-1", "reason": reason})]


APPROVED = answered(True, "go on", "alice")
REJECTED = answered(False, "no", "bob")
EXPIRED = answered(False, "timed_out", "timeout")
CLEARED = [("permission_cleared", {"permission_id": "p-1", "reason": "not needed"})]
REPORTED = [("tool_result", {"tool_name": "rm", "result": 1, "success": True})]

STATES = {
    "new": (),
    "pending": (ASK,),
    "approved": (ASK, APPROVE),
    "rejected": (ASK, REJECT),
    "expired": (ASK, EXPIRE),
    "cleared": (ASK, CLEAR),
}
COMMANDS = {
    "ask": ASK,
    "ask in other words": OTHER_WORDS,
    "approve": APPROVE,
    "approve at the deadline": late(APPROVE),
    "reject": REJECT,
    "reject at the deadline": late(REJECT),
    "clear": CLEAR,
    "expire": EXPIRE,
    "expire too early": TOO_EARLY,
    "report": REPORT,
}
OUTCOMES = {
    "404": NotFound,
    "409": Conflict,
    "410": Gone,
    "-": [],  # done before, or nothing to do
    "asked": REQUESTED,
    "otherwise": [("permission_request", {**REQUEST, "parameters": {"path": "b.txt"}})],
    "approved": APPROVED,
    "rejected": REJECTED,
    "cleared": CLEARED,
    "expired": EXPIRED,
    "reported": REPORTED,
}
# What every command leads to in every state.
TABLE = """
                        | new            | pending  | approved | rejected | expired  | cleared
ask                     | asked          | -        | -        | -        | -        | -
ask in other words      | otherwise      | 409      | 409      | 409      | 409      | 409
approve                 | 404            | approved | -        | 409      | 410      | 410
approve at the deadline | 404            | 410      | -        | 409      | 410      | 410
reject                  | 404            | rejected | 409      | -        | 410      | 410
reject at the deadline  | 404            | 410      | 409      | -        | 410      | 410
clear                   | 404            | cleared  | -        | -        | -        | -
expire                  | 404            | expired  | -        | -        | -        | -
expire too early        | 404            | -        | -        | -        | -        | -
report                  | reported       | reported | reported | reported | reported | reported
"""
HEAD, *ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip("\n").splitlines()]
CELLS = [(state, row[0], OUTCOMES[word]) for row in ROWS for state, word in zip(HEAD[1:], row[1:], strict=True)]


def test_the_table_has_every_cell():
    """No state and no command is left out."""
    assert (HEAD[1:], [row[0] for row in ROWS]) == (list(STATES), list(COMMANDS))
    assert {after for _, after in TRANSITIONS} | {"new"} == set(STATES)


@pytest.mark.parametrize(("state", "command", "outcome"), CELLS)
def test_a_command_in_a_state(state, command, outcome):
    """The literal events, nothing, or the error, for every cell."""
    before = after(*STATES[state])
    if isinstance(outcome, list):
        assert said(decide(before, COMMANDS[command])) == outcome
    else:
        with pytest.raises(outcome):
            decide(before, COMMANDS[command])


@pytest.mark.parametrize("state", [state for state in STATES if state != "new"])
def test_the_state_after_its_events(state):
    """Status, reason and actor are what the events say."""
    permission = after(*STATES[state]).permissions["p-1"]
    assert permission.status == state
    told = {
        "pending": ("", ""),
        "approved": ("go on", "alice"),
        "rejected": ("no", "bob"),
        "expired": ("timed_out", "timeout"),
        "cleared": ("not needed", ""),
    }
    assert (permission.reason, permission.actor) == told[state]
    assert (permission.requested_seq, permission.ended_seq) == (1, 0 if state == "pending" else 2)
    assert permission.deadline == TOO_LATE


def test_the_first_answer_in_the_log_counts():
    """Whoever appended it: what comes later only moves the position."""
    state = after(ASK, APPROVE)
    later = posted("permission_response_result", {"permission_id": "p-1", "approved": False, "actor": "eve"}, 9)
    changed = evolve(state, later)
    assert changed.permissions is state.permissions
    assert (changed.last_seq, changed.revision) == (9, 9)


def test_an_older_event_changes_nothing():
    """Folding again is harmless."""
    state = after(ASK, APPROVE)
    assert evolve(state, posted("permission_cleared", {"permission_id": "p-1"}, state.last_seq)) is state


def test_without_an_id_the_only_pending_permission_is_meant():
    """None and several are a conflict that says which there are."""
    second = msgspec.structs.replace(ASK, permission_id="p-2")
    answered = msgspec.structs.replace(REJECT, permission_id="p-2")
    anonymous = msgspec.structs.replace(APPROVE, permission_id=None)
    assert said(decide(after(ASK), anonymous)) == APPROVED
    assert said(decide(after(second, answered, ASK), anonymous)) == APPROVED
    assert said(decide(after(ASK), ClearPermission(None, "not needed"))) == CLEARED
    for commands, pending in (((), []), ((ASK, APPROVE), []), ((ASK, second), ["p-1", "p-2"])):
        for command in (anonymous, ClearPermission(None)):
            with pytest.raises(Conflict) as refused:
                decide(after(*commands), command)
            assert refused.value.details == {"pending": pending}


@pytest.mark.parametrize(
    ("commands", "command", "details"),
    [
        pytest.param((ASK, APPROVE), REJECT, ("approved", "alice"), id="opposite"),
        pytest.param((ASK, EXPIRE), APPROVE, ("expired", "timeout"), id="expired"),
        pytest.param((ASK,), late(APPROVE), ("expired", ""), id="not yet recorded as expired"),
        pytest.param((ASK, CLEAR), APPROVE, ("cleared", ""), id="cleared"),
        pytest.param((ASK, APPROVE), OTHER_WORDS, ("approved", "alice"), id="other words"),
    ],
)
def test_a_refusal_says_what_became_of_the_permission(commands, command, details):
    """Status and who decided, so that a page can show it."""
    with pytest.raises((Conflict, Gone)) as refused:
        decide(after(*commands), command)
    status, actor = details
    assert refused.value.details == {"permission_id": "p-1", "permission_status": status, "actor": actor}


def test_to_ask_with_true_instead_of_one_is_to_ask_in_other_words():
    """Python takes them for the same."""
    state = after(msgspec.structs.replace(ASK, parameters={"force": 1}))
    with pytest.raises(Conflict):
        decide(state, msgspec.structs.replace(ASK, parameters={"force": True}))


def test_the_order_of_parameters_is_not_a_difference():
    """A restarted runner may build them in another order."""
    state = after(msgspec.structs.replace(ASK, parameters={"a": 1, "b": 2}))
    assert decide(state, msgspec.structs.replace(ASK, parameters={"b": 2, "a": 1})) == []


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        pytest.param("permission_request", {"permission_id": 7}, id="an id that is a number"),
        pytest.param("permission_request", {"permission_id": "with space"}, id="an id with a space"),
        pytest.param("permission_request", {"permission_id": None}, id="no id"),
        pytest.param("permission_response_result", {"permission_id": "p-1", "approved": True}, id="an unknown one"),
        pytest.param("permission_response_result", {"approved": True}, id="an answer to nothing"),
        pytest.param("permission_cleared", {"permission_id": "p-1"}, id="unknown and cleared"),
        pytest.param("tool_status", {"permission_id": "p-1"}, id="a status"),
        pytest.param("of somebody else", {"permission_id": "p-1"}, id="another type"),
    ],
)
def test_what_cannot_be_read_only_moves_the_position(event_type, payload):
    """Anybody who may append can append anything."""
    state = evolve(initial(SESSION), posted(event_type, payload))
    assert (state.permissions, state.last_seq) == ({}, 1)


@pytest.mark.parametrize(("actor", "reason"), [("alice", "timed_out"), ("timeout", "no")])
def test_who_says_no_with_the_words_of_an_expiry_has_said_no(actor, reason):
    """It takes both, the actor and the reason, to have expired."""
    payload = {"permission_id": "p-1", "approved": False, "reason": reason, "actor": actor}
    assert evolve(after(ASK), posted("permission_response_result", payload, 2)).permissions["p-1"].status == "rejected"


@pytest.mark.parametrize("approved", ["yes", 1, None, []])
def test_an_answer_that_is_neither_yes_nor_no_is_none(approved):
    """A prompt is not closed, let alone approved, by garbage."""
    payload = {"permission_id": "p-1", "approved": approved}
    assert evolve(after(ASK), posted("permission_response_result", payload, 2)).permissions["p-1"].status == "pending"


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        pytest.param({}, ("", {}, "high", 120.0), id="empty"),
        ({"tool_name": 1, "parameters": [], "risk_level": "none", "expires_within_seconds": "1"}, ("", {}, "high", 120.0)),
        pytest.param({"risk_level": "low", "expires_within_seconds": 5}, ("", {}, "low", 5.0), id="as given"),
        pytest.param({"expires_within_seconds": 1e300}, ("", {}, "high", 86_400.0), id="too long"),
        pytest.param({"expires_within_seconds": 0}, ("", {}, "high", 120.0), id="no time"),
        pytest.param({"expires_within_seconds": -1}, ("", {}, "high", 120.0), id="less than no time"),
        pytest.param({"expires_within_seconds": True}, ("", {}, "high", 120.0), id="true"),
    ],
)
def test_a_request_from_elsewhere_is_known_by_its_event_id(payload, wanted):
    """Of its payload only what has the right type counts."""
    permission = evolve(initial(SESSION), posted("permission_request", payload)).permissions["e1"]
    assert permission.permission_id == "e1"
    fields = (permission.tool_name, permission.parameters, permission.risk_level, permission.expires_within_seconds)
    assert fields == wanted


# Notices.


def read(event_type, data, permission_id=None, event_id=None, rules=RULES):
    """A notice as a command."""
    return read_notice(event_type, data, permission_id, event_id, rules)


def test_a_request_is_read_whole():
    """Named fields are checked, others go through, secrets do not."""
    data = {
        "tool_name": "rm",
        "parameters": {"path": "a", "Password": "x"},
        "risk_level": "low",
        "timestamp": "2026-01-01T00:00:00Z",
        "status": "pending",
        "expires_within_seconds": 5,
        "icon": "bin",
    }
    fields = {"timestamp": "2026-01-01T00:00:00Z", "icon": "bin"}
    parameters = {"path": "a", "Password": REDACTED}
    assert read("permission_request", data, "p-1") == RequestPermission("p-1", "rm", parameters, "low", 5.0, fields)
    assert read("permission_request", {**data, "permission_id": "p-1"}) == RequestPermission(
        "p-1", "rm", parameters, "low", 5.0, fields
    )


def test_a_request_without_more_than_a_name_is_cautious():
    """High risk, the time of the settings, an id of its own."""
    asked = read("permission_request", {"tool_name": "rm"})
    assert (asked.risk_level, asked.within_seconds, asked.parameters) == ("high", 120.0, {})
    assert asked.permission_id.startswith("perm-")
    assert asked.permission_id != read("permission_request", {"tool_name": "rm"}).permission_id


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        pytest.param({"api_key": "x"}, {"api_key": REDACTED}, id="as it is"),
        ({"API-Key": "x", "apiKey": 1, "Api Key": None}, dict.fromkeys(("API-Key", "apiKey", "Api Key"), REDACTED)),
        pytest.param({"a": [{"b": {"password": {"c": 1}}}]}, {"a": [{"b": {"password": REDACTED}}]}, id="at depth, an object"),
        pytest.param({"AUTHORIZATION": ["x"]}, {"AUTHORIZATION": REDACTED}, id="in capitals, a list"),
        pytest.param({"pass": "x", "my_password": "y"}, {"pass": "x", "my_password": REDACTED}, id="parts of keys"),
        pytest.param({"a": "password"}, {"a": "password"}, id="a value is no key"),
    ],
)
def test_redaction(given, stored):
    """Values of the keys of the settings, at any depth, in any spelling; the rest stays."""
    assert Redaction(KEYS).apply(given) == stored
    assert read("error", {"message": "m", "context": given}).data["context"] == stored


def nested(levels):
    """An object in an object, so many levels."""
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_redaction_reaches_as_deep_as_events_go():
    """64 levels; the next one is refused with the field, not with a broken stack."""
    assert Redaction(KEYS).apply(nested(64)) == nested(64)
    for levels in (65, 900):
        with refused(InvalidBody, "data"):
            Redaction(KEYS).apply(nested(levels))


def test_the_limit_is_on_what_would_be_stored():
    """Its exact size passes, one byte more does not; what redaction removes does not count."""
    empty = len(payload_json({"message": "m", "more": ""}))
    read("error", {"message": "m", "more": "x" * (4096 - empty)})
    with pytest.raises(TooLarge) as refused:
        read("error", {"message": "m", "more": "x" * (4097 - empty)})
    assert (refused.value.field, refused.value.details) == ("data", {"limit": 4096})
    read("error", {"message": "m", "password": "x" * 9000})


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        pytest.param("tool_status", {"tool_name": "rm", "status": "executing"}, id="status"),
        pytest.param(
            "tool_status",
            {"tool_name": "rm", "status": "s", "timestamp": "t", "details": {"risk_level": "medium", "start_time": "t"}},
            id="status with details",
        ),
        pytest.param("tool_result", {"tool_name": "rm", "result": None, "success": False}, id="result"),
        pytest.param("result_cleared", {}, id="result cleared"),
        pytest.param("result_cleared", {"tool_name": "rm"}, id="result cleared of a tool"),
        pytest.param("error", {"message": "it broke\nhere"}, id="error"),
        pytest.param("error", {"message": "m" * 2000}, id="longest message"),
        pytest.param("tool_status", {"tool_name": "n" * 200, "status": "s" * 200}, id="longest names"),
    ],
)
def test_what_is_reported_goes_through(event_type, data):
    """As it is, with the permission it belongs to when one is named."""
    assert read(event_type, data) == ReportEvent(event_type, data)
    assert read(event_type, data, "p-1", "e-1") == ReportEvent(event_type, {**data, "permission_id": "p-1"}, "e-1")


STATUS = {"tool_name": "rm", "status": "executing"}
RESULT = {"tool_name": "rm", "result": 1, "success": True}
NAME = {"tool_name": "rm"}


@pytest.mark.parametrize(
    ("event_type", "data", "field"),
    [
        pytest.param("tool_status", {"status": "s"}, "data.tool_name", id="no tool"),
        pytest.param("tool_status", {**STATUS, "tool_name": ""}, "data.tool_name", id="an empty tool"),
        pytest.param("tool_status", {**STATUS, "tool_name": " "}, "data.tool_name", id="a blank tool"),
        pytest.param("tool_status", {**STATUS, "tool_name": "n" * 201}, "data.tool_name", id="a long tool"),
        pytest.param("tool_status", {**STATUS, "tool_name": "a\nb"}, "data.tool_name", id="a tool of two lines"),
        pytest.param("tool_status", {**STATUS, "tool_name": "a\x1b"}, "data.tool_name", id="a tool with a control character"),
        pytest.param("tool_status", {**STATUS, "tool_name": 1}, "data.tool_name", id="a tool that is a number"),
        pytest.param("tool_status", NAME, "data.status", id="no status"),
        pytest.param("tool_status", {**STATUS, "status": "s" * 201}, "data.status", id="a long status"),
        pytest.param("tool_status", {**STATUS, "status": None}, "data.status", id="a null status"),
        pytest.param("tool_status", {**STATUS, "timestamp": 5}, "data.timestamp", id="a time that is a number"),
        pytest.param("tool_status", {**STATUS, "timestamp": "t" * 65}, "data.timestamp", id="a long time"),
        pytest.param("tool_status", {**STATUS, "details": []}, "data.details", id="details in a list"),
        pytest.param("tool_status", {**STATUS, "details": {"risk_level": "big"}}, "data.details.risk_level", id="another risk"),
        pytest.param("tool_result", {"result": 1, "success": True}, "data.tool_name", id="a result of nothing"),
        pytest.param("tool_result", {"tool_name": "rm", "success": True}, "data.result", id="no result"),
        pytest.param("tool_result", {"tool_name": "rm", "result": 1}, "data.success", id="no success"),
        pytest.param("tool_result", {**RESULT, "success": 1}, "data.success", id="success is one"),
        pytest.param("result_cleared", {"tool_name": None}, "data.tool_name", id="cleared for null"),
        pytest.param("error", {}, "data.message", id="no message"),
        pytest.param("error", {"message": " "}, "data.message", id="a blank message"),
        pytest.param("error", {"message": "a\x00"}, "data.message", id="a message with a null"),
        pytest.param("error", {"message": "a\x85"}, "data.message", id="a message with a C1 control"),
        pytest.param("permission_request", {}, "data.tool_name", id="a request of nothing"),
        pytest.param("permission_request", {**NAME, "parameters": [1]}, "data.parameters", id="parameters in a list"),
        pytest.param("permission_request", {**NAME, "risk_level": "extreme"}, "data.risk_level", id="an unknown risk"),
        pytest.param("permission_request", {**NAME, "risk_level": None}, "data.risk_level", id="a null risk"),
        pytest.param("permission_request", {**NAME, "status": "approved"}, "data.status", id="approved by the runner itself"),
        pytest.param("permission_request", {**NAME, "expires_within_seconds": 0}, "data.expires_within_seconds", id="no time"),
        ("permission_request", {**NAME, "expires_within_seconds": 86_401}, "data.expires_within_seconds"),
        ("permission_request", {**NAME, "expires_within_seconds": True}, "data.expires_within_seconds"),
        ("permission_request", {**NAME, "expires_within_seconds": "9"}, "data.expires_within_seconds"),
        pytest.param("permission_request", {**NAME, "permission_id": "a b"}, "data.permission_id", id="an id with a space"),
        pytest.param("permission_request", {**NAME, "permission_id": 1}, "data.permission_id", id="an id that is a number"),
        pytest.param("permission_cleared", {"reason": 1}, "data.reason", id="a reason that is a number"),
        pytest.param("permission_cleared", {"reason": "a\x07"}, "data.reason", id="a reason that rings"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(event_type, data, field):
    """Nothing of it is stored, and the runner is told where."""
    with refused(InvalidBody, field):
        read(event_type, data)


@pytest.mark.parametrize(
    ("event_type", "data", "field"),
    [
        pytest.param("error", {"message": "m" * 2001}, "data.message", id="message"),
        pytest.param("permission_cleared", {"reason": "r" * 501}, "data.reason", id="reason"),
    ],
)
def test_a_text_over_its_limit_is_too_large(event_type, data, field):
    """413, with the field."""
    with refused(TooLarge, field):
        read(event_type, data)


@pytest.mark.parametrize(
    ("event_type", "permission_id", "event_id", "field"),
    [
        pytest.param("permission_request", "a b", None, "permission_id", id="a bad id"),
        pytest.param("permission_request", "p-2", None, "permission_id", id="two ids"),
        pytest.param("permission_request", None, "e-1", "event_id", id="an event_id for a request"),
        pytest.param("permission_cleared", None, "e-1", "event_id", id="an event_id for a clearing"),
    ],
)
def test_ids_beside_the_data_are_checked(event_type, permission_id, event_id, field):
    """They must not contradict what is inside."""
    with refused(InvalidBody, field):
        read(event_type, {**NAME, "permission_id": "p-1"}, permission_id, event_id)


def test_a_clearing_keeps_its_words():
    """Reason trimmed, other fields kept."""
    data = {"permission_id": "p-1", "reason": " done \r\n", "timestamp": "t"}
    assert read("permission_cleared", data) == ClearPermission("p-1", "done", {"timestamp": "t"})
    assert read("permission_cleared", {}) == ClearPermission(None, "", {})


# Telling.


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        pytest.param(
            posted("tool_status", {"tool_name": "rm", "timestamp": "t"}),
            b'{"type":"tool_status","data":{"tool_name":"rm","timestamp":"t"},"seq":1,"event_id":"e1","revision":1}',
            id="as it is",
        ),
        pytest.param(
            posted("result_cleared", {}),
            b'{"type":"result_cleared","data":{"timestamp":"2026-01-01T00:00:00.000Z"},"seq":1,"event_id":"e1","revision":1}',
            id="an empty payload",
        ),
        pytest.param(
            posted("permission_request", {"tool_name": "rm", "timestamp": "t"}),
            b'{"type":"permission_request","data":{"tool_name":"rm","timestamp":"t","permission_id":"e1"},"seq":1,'
            b'"event_id":"e1","revision":1}',
            id="a request from elsewhere",
        ),
        pytest.param(
            posted("error", {"message": 'it "broke"\u2028', "timestamp": "t"}),
            b'{"type":"error","message":"it \\"broke\\"\\u2028","data":{"message":"it \\"broke\\"\\u2028","timestamp":"t"},'
            b'"seq":1,"event_id":"e1","revision":1}',
            id="an error",
        ),
        pytest.param(
            posted("error", {"message": 5, "timestamp": "t"}),
            b'{"type":"error","message":"","data":{"message":5,"timestamp":"t"},"seq":1,"event_id":"e1","revision":1}',
            id="an error without words",
        ),
        pytest.param(
            posted("note", {"timestamp": None}),
            b'{"type":"note","data":{"timestamp":null},"seq":1,"event_id":"e1","revision":1}',
            id="another type",
        ),
    ],
)
def test_the_shape_of_an_event_byte_for_byte(event, wanted):
    """Source 004's envelope on one line, with the place in the log."""
    assert rendering.encode_tool_event(event) == wanted
    assert b"\n" not in wanted
    json.loads(wanted)


def test_a_permission_tells_how_long_it_waits():
    """Counting down to nothing, and nothing once it has ended."""
    pending = after(ASK).permissions["p-1"]
    assert rendering.detail(pending, START + 20.0) == {
        "permission_id": "p-1",
        "status": "pending",
        "tool_name": "rm",
        "parameters": {"path": "a.txt"},
        "risk_level": "high",
        "reason": "",
        "actor": "",
        "requested_by": None,
        "requested_at": "2026-01-01T00:00:00.000Z",
        "expires_at": "2026-01-01T00:02:00.000Z",
        "expires_in_seconds": 100.0,
        "ended_at": None,
        "requested_seq": 1,
        "ended_seq": None,
    }
    assert rendering.detail(pending, START + 500.0)["expires_in_seconds"] == 0.0
    ended = rendering.detail(after(ASK, APPROVE).permissions["p-1"], START)
    assert (ended["status"], ended["expires_in_seconds"], ended["ended_seq"]) == ("approved", 0.0, 2)
    assert ended["ended_at"] == "2026-01-01T00:00:00.000Z"
