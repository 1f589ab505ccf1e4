"""The event types in the documents are those of the surfaces, with the payloads that the surfaces write and read."""

import json
import re
from collections import defaultdict

import pytest

from server.app import SURFACES
from server.surfaces.demands import commands, matching
from server.surfaces.demands import model as demand_model
from server.surfaces.demands import state as demand_state
from server.surfaces.generations import state as run_state
from server.surfaces.generations.commands import CancelRun, FailRun, ResumeRun, StartAgent
from server.surfaces.sessions import model as sessions
from server.surfaces.sessions import state as session_state
from server.surfaces.tasks import model as tasks
from server.surfaces.tasks import state as task_state
from server.surfaces.tools import model as tool_model
from server.surfaces.tools import state as tool_state
from server.surfaces.tools.commands import ReportEvent
from server.surfaces.tools.inputs import read_notice
from tests.docs.reading import read, tables
from tests.surfaces.demands.negotiating import Negotiation, at
from tests.surfaces.generations import generating
from tests.surfaces.sessions import test_model as chats
from tests.surfaces.tools import test_model as permissions
from towow.errors import InvalidBody
from towow.events import Event, payload_json

STATES = {
    "demands": (demand_state, matching),
    "sessions": (session_state,),
    "tasks": (task_state,),
    "generations": (run_state,),
    "tools": (tool_state,),
}
# Constants that are texts and no event types.
OTHERS = {
    *("SOURCE", "KIND", "OPERATOR_KIND", "QUEUE_ID", "QUEUE", "BROADCAST_STREAM", "AI_CHATBOT", "AGENT_WORKBENCH"),
    *("NOVA", "LOOMI", "CHUNK_SOURCE", "TEMPLATE", "TIMED_OUT", "TIMEOUT"),
}


def documented(surface, heading="event"):
    """The table of a surface: for each event type the keys that always stand in its payload, and those that may."""
    rows = {}
    for event, payload, *_ in tables(read(f"docs/{surface}.md"), heading):
        keys = re.findall(r"`([a-z_]+)(\?)?`", payload)
        assert event not in rows
        rows[event.strip("`")] = ({key for key, mark in keys if not mark}, {key for key, mark in keys if mark})
    return rows


def written(events):
    """The same of events: what is in the payload of each, and what is in that of some."""
    found = defaultdict(list)
    for event in events:
        found[event.event_type].append(set(json.loads(event.payload_json)))
    return {
        event_type: (set.intersection(*keys), set.union(*keys) - set.intersection(*keys)) for event_type, keys in found.items()
    }


def play(decided, decide, evolve, initial):
    """The new events of these commands, one after the other; what is decided is stored."""
    state, events = initial, []
    for command in decided:
        for new in decide(state, command):
            seq = len(events) + 1
            events.append(new)
            stored = Event(seq, new.stream, seq, f"e{seq}", new.event_type, generating.AT, new.source, new.payload_json)
            state = evolve(state, stored)
    return events


@pytest.mark.parametrize("surface", STATES)
def test_each_event_type_of_a_surface_is_documented(surface):
    """The constants of `state.py`, and what the descriptor names; a new constant is documented, or no event type."""
    types = {
        value
        for module in STATES[surface]
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str) and name not in OTHERS and "all" not in value
    }
    [descriptor] = [each for each in SURFACES if each.name == surface]
    for kind in descriptor.kinds.values():
        types |= kind.terminal | kind.reserved
    names = set(documented(surface))
    if surface == "demands":
        names |= set(documented(surface, "event on `agent:`"))
    assert names - {"broadcast"} == types


def negotiated():
    """New events of negotiations in which everything happens that may."""
    for phase in ("finalized", "failed", "cancelled"):
        yield from at(phase).appended
    alone = Negotiation().submit("venue", confirm=True).invite("bob", "eve")
    alone.do(commands.SubmitOffer("bob", "a hall", ("venue",), written_by="rules"))
    alone.do(commands.DeclineOffer("eve", "no time", written_by="rules"))
    alone.propose().answer("bob").user("revise", "cheaper")
    yield from alone.appended
    unheard = Negotiation().submit("venue").invite("bob").offer("bob", "venue").propose()
    unheard.do(commands.AnswerProposal(unheard.state.proposal.proposal_id, "accept", "bob", written_by="rules"))
    yield from unheard.appended
    yield demand_model.extension(alone.state, 60.0)
    yield matching.agent_registered(matching.validate_agent("bob", "Bob", ["venue"]))
    yield matching.agent_removed("bob")


def test_the_payloads_of_demands_are_those_that_are_written():
    """On the streams of demands, and the copies for agents."""
    events = list(negotiated())
    own = [event for event in events if event.stream.startswith("demand:")]
    copies = [event for event in events if event.stream.startswith("agent:")]
    assert len(own) + len(copies) == len(events)
    assert documented("demands") == written(own)
    assert documented("demands", "event on `agent:`") == written(copies)


def test_the_payloads_of_sessions_are_those_that_are_written():
    """Also the copies for operators; a broadcast holds what its publisher says."""
    said = [chats.user(), sessions.Say("bot", "hello", "m-2")]
    handed = [sessions.Escalate("refund"), sessions.TakeOver("o-7"), sessions.Say("operator", "hello", "m-3", "o-7")]
    events = play(
        [*said, *handed, sessions.Release("o-7"), sessions.Escalate(), sessions.TakeOver("o-7"), sessions.Release("o-7", True)],
        sessions.decide,
        lambda state, event: sessions.evolve(state, event) if event.stream == chats.STREAM else state,
        session_state.initial(chats.NAME),
    )
    assert documented("sessions") == {**written(events), "broadcast": (set(), set())}


def test_the_payloads_of_generations_are_those_that_are_written():
    """A run that completes, one that fails, one that is cancelled, and one that goes on after a restart."""
    whole = generating.history(*generating.whole())
    failed = generating.history(generating.START, *generating.gone_wrong("insight_agent"), FailRun("internal", "err-1"))
    resumed = generating.history(generating.START, StartAgent("insight_agent"), ResumeRun(), CancelRun())
    assert documented("generations") == written([*whole, *failed, *resumed])


def test_the_payloads_of_tools_are_those_that_are_written():
    """The events of a permission, in each of its lives."""
    own = {"permission_request", "permission_response_result", "permission_cleared", "deadline.extended"}
    lives = [[permissions.ASK, end] for end in (permissions.APPROVE, permissions.EXPIRE, permissions.CLEAR)]
    start = permissions.initial(permissions.SESSION)
    events = [event for life in lives for event in play(life, permissions.decide, permissions.evolve, start)]
    events.append(tool_model.extension("s-1", "p-1", 60.0))
    assert {event_type: keys for event_type, keys in documented("tools").items() if event_type in own} == written(events)


SAMPLES = {
    "tool_name": "rm",
    "status": "executing",
    "details": {"risk_level": "low"},
    "result": 1,
    "success": True,
    "message": "no such file",
}


@pytest.mark.parametrize("event_type", ["tool_status", "tool_result", "result_cleared", "error"])
def test_the_payload_of_what_a_tool_reports_is_what_is_taken(event_type):
    """The keys without a `?` are enough, each is needed, and the others are taken, too."""
    always, maybe = documented("tools")[event_type]

    def report(keys):
        return read_notice(event_type, {key: SAMPLES[key] for key in keys}, None, None, permissions.RULES)

    assert isinstance(report(always), ReportEvent)
    assert isinstance(report(always | maybe), ReportEvent)
    for key in always:
        with pytest.raises(InvalidBody):
            report(always - {key})
    for key in maybe:  # a key that is known, not one of the many that go through
        with pytest.raises(InvalidBody):
            read_notice(event_type, {key: SAMPLES[key] for key in always} | {key: ["?"]}, None, None, permissions.RULES)


@pytest.mark.parametrize("event_type", documented("tasks"))
def test_the_payload_of_a_task_is_what_its_state_reads(event_type):
    """The keys without a `?` change the state, each is needed, and the others change what is shown."""
    always, maybe = documented("tasks")[event_type]
    samples = {"phase": "executing", "span_id": "s-1", "progress": 40, "name": "Fetch", "title": "Fetch"}

    def after(keys):
        text = payload_json({key: samples[key] for key in keys})
        event = Event(1, "task:t-1", 1, "e1", event_type, generating.AT, "test", text)
        return tasks.evolve(task_state.initial("t-1"), event)

    note = Event(1, "task:t-1", 1, "e1", "note", generating.AT, "test", "{}")
    assert after(always) != tasks.evolve(task_state.initial("t-1"), note)
    for key in always:
        assert after(always - {key}) == tasks.evolve(task_state.initial("t-1"), note)
    for key in maybe:
        assert after(always | {key}) != after(always)


def test_what_another_name_of_an_event_is_stored_as_is_documented():
    """The aliases of tasks, each with what it becomes."""
    text = read("docs/tasks.md")
    [sentence] = re.findall(r"^(.*) are stored as (.*)\.$", text, re.MULTILINE)
    given, kept = ([name.strip("`") for name in re.findall(r"`\w+`", part)] for part in sentence)
    assert dict(zip(given, kept, strict=True)) == task_state.ALIASES
