"""The life of a run: what events make of it and of its agents, and which events or error a command is, cell by cell."""

import json

import msgspec
import pytest

from server.surfaces.generations.commands import (
    AppendChunk,
    CancelRun,
    CompleteAgent,
    CompleteRun,
    FailAgent,
    FailRun,
    ResumeRun,
    RetryAgent,
    StartAgent,
)
from server.surfaces.generations.model import AGENT_TRANSITIONS, MAX_RESULT_BYTES, TRANSITIONS, decide, evolve, fitting
from server.surfaces.generations.state import MAX_RESUMES, NO_TEXT, STATUSES, GrowingText, Progress, initial
from tests.surfaces.generations.generating import (
    LOOMI,
    LOOMI_AGENTS,
    NOVA_AGENTS,
    RUN,
    START,
    TIMED_OUT,
    after,
    gone_wrong,
    history,
    posted,
    said,
    whole,
    written,
)
from towow.errors import Conflict, NotFound

A, B = NOVA_AGENTS[:2]
SUPERVISOR = "nova3_supervisor"

# Status × event

STARTED = {"mode": "nova", "prompt": "tea"}
EVENTS = {
    "run_started": STARTED,
    "agent_start": {"agent": A},
    "llm_chunk": {"agent": A, "content": "x"},
    "agent_complete": {"agent": A},
    "progress": {"percent": 50},
    "retrying": {"agent": A},
    "error": {"agent": A},
    "run_resumed": {"restarts": [A]},
    "run_complete": {"result": "x"},
    "run_failed": {"status": "failed", "reason": "timeout"},
    "run_failed:cancelled": {"status": "cancelled", "reason": "cancelled"},
    "of somebody else": {"status": "completed"},
}
RUNS = {
    "new": (),
    "running": (START,),
    "completed": (START, CompleteRun("x")),
    "failed": (START, TIMED_OUT),
    "cancelled": (START, CancelRun()),
}
# What a run is after an event. What is not here stays what it is.
AFTER = {
    ("new", "run_started"): "running",
    ("running", "run_complete"): "completed",
    ("running", "run_failed"): "failed",
    ("running", "run_failed:cancelled"): "cancelled",
}


@pytest.mark.parametrize("status", RUNS)
@pytest.mark.parametrize("step", EVENTS)
def test_what_an_event_makes_of_a_run(status, step):
    """Every status and every event: the status after it, and the position is always moved."""
    before = after(*RUNS[status])
    assert before.status == status
    state = evolve(before, posted(step.partition(":")[0], EVENTS[step], 99))
    assert state.status == AFTER.get((status, step), status)
    assert (state.last_seq, state.revision) == (99, 99)
    if status != "running" and (status, step) not in AFTER:
        moved = {"last_seq": 99, "revision": 99, "updated_at": state.updated_at}
        assert state == msgspec.structs.replace(before, **moved)


def test_the_table_of_runs_says_the_same():
    """`TRANSITIONS` has these changes, and that a running run goes on through everything else it knows."""
    changing = {cell: status for cell, status in TRANSITIONS.items() if cell[0] != status}
    assert changing == AFTER
    staying = {step for (status, step), after in TRANSITIONS.items() if status == after}
    assert staying == set(EVENTS) - {"run_started", "run_complete", "run_failed", "run_failed:cancelled", "of somebody else"}
    assert {status for status, _ in TRANSITIONS} | set(TRANSITIONS.values()) == {"new", *STATUSES}


AGENTS = {
    "waiting": (START,),
    "running": (START, StartAgent(A), AppendChunk(A, "tea", "a-model")),
    "retrying": (START, StartAgent(A), RetryAgent(A, "broken", 1.0, 4)),
    "completed": (START, *written(A, "tea")),
    "failed": (START, *gone_wrong(A)),
}
AGENT_AFTER = {
    ("waiting", "agent_start"): "running",
    ("running", "llm_chunk"): "running",
    ("running", "retrying"): "retrying",
    ("running", "agent_complete"): "completed",
    ("running", "error"): "failed",
    ("running", "run_resumed"): "waiting",
    ("retrying", "llm_chunk"): "running",
    ("retrying", "retrying"): "retrying",
    ("retrying", "error"): "failed",
    ("retrying", "run_resumed"): "waiting",
}


@pytest.mark.parametrize("status", AGENTS)
@pytest.mark.parametrize("event_type", ["agent_start", "llm_chunk", "retrying", "agent_complete", "error", "run_resumed"])
def test_what_an_event_makes_of_an_agent(status, event_type):
    """Every status of an agent and every event about one; what does not fit changes nothing of it."""
    before = after(*AGENTS[status])
    assert before.agents[A].status == status
    state = evolve(before, posted(event_type, EVENTS[event_type], 99))
    assert state.agents[A].status == AGENT_AFTER.get((status, event_type), status)
    if (status, event_type) not in AGENT_AFTER:
        assert state.agents[A] == before.agents[A]
    assert [state.agents[name] for name in NOVA_AGENTS[1:]] == [before.agents[name] for name in NOVA_AGENTS[1:]]


def test_the_table_of_agents_says_the_same():
    """`AGENT_TRANSITIONS` is what is written out here."""
    assert AGENT_TRANSITIONS == AGENT_AFTER


# Status × command

STATES = {
    **RUNS,
    "agent at work": AGENTS["running"],
    "agent tries again": AGENTS["retrying"],
    "agent completed": AGENTS["completed"],
    "agent failed": AGENTS["failed"],
}
COMMANDS = {
    "start": START,
    "agent started": StartAgent(A),
    "chunk": AppendChunk(A, " more", "a-model"),
    "retrying": RetryAgent(A, "stalled", 2.0, 4),
    "agent completed": CompleteAgent(A, "Done."),
    "agent failed": FailAgent(A, "status_401", "err-7"),
    "resumed": ResumeRun(),
    "completed": CompleteRun("All of it."),
    "failed": FailRun("internal", "err-8"),
    "cancel": CancelRun(),
}
AGENT_LIST = [
    {"name": "insight_agent", "task_description": "Find what the request is really about", "stage": 1},
    {"name": "profile_agent", "task_description": "Describe whom it is for and what matters to them", "stage": 1},
    {"name": "content_agent", "task_description": "Write the content itself", "stage": 1},
    {"name": "optimization_agent", "task_description": "Say how the content can be made better", "stage": 1},
]


def chunk(content, index):
    """The event of a piece of text."""
    payload = {
        "content": content,
        "content_type": "text",
        "is_complete": False,
        "agent": A,
        "index": index,
        "written_by": "a-model",
        "degraded": False,
    }
    return [("llm_chunk", "llm_client", payload)]


def retrying(retry_count, *, discards):
    """The event of another attempt."""
    payload = {
        "agent": A,
        "attempt": retry_count + 1,
        "max_attempts": 4,
        "retry_count": retry_count,
        "delay_seconds": 2.0,
        "error": "The model stopped writing.",
        "error_type": "stalled",
        "discards_text": discards,
    }
    return [("retrying", A, payload)]


def progress(percent, completed):
    """The event of how far the run is."""
    return ("progress", SUPERVISOR, {"percent": percent, "stage": 1, "completed": completed, "total": 4})


def error(retry_count):
    """The events of an agent that gives up."""
    payload = {
        "error": "The model refused with the status 401.",
        "error_type": "status_401",
        "agent": A,
        "status": "failed",
        "retry_count": retry_count,
        "error_id": "err-7",
        "context": {"stage": 1},
    }
    return [("error", A, payload), progress(25, 0)]


def resumed(*restarts):
    """The event of a run that goes on."""
    return [("run_resumed", SUPERVISOR, {"restarts": list(restarts), "resume_count": 1})]


def complete(completed=(), failed=()):
    """The event of a result."""
    payload = {
        "status": "completed",
        "result": "All of it.",
        "partial": bool(failed),
        "agents_completed": list(completed),
        "agents_failed": list(failed),
        "degraded": False,
    }
    return [("run_complete", SUPERVISOR, payload)]


def over(status, reason, sentence, completed=(), failed=(), **error_id):
    """The event of an end without a result."""
    payload = {
        "status": status,
        "reason": reason,
        "error": sentence,
        **error_id,
        "agents_completed": list(completed),
        "agents_failed": list(failed),
    }
    return [("run_failed", SUPERVISOR, payload)]


def internal(**agents):
    """The event of a fault of ours."""
    return over("failed", "internal", "Something went wrong in the server.", **agents, error_id="err-8")


def cancelled(**agents):
    """The event of a cancel."""
    return over("cancelled", "cancelled", "The run was cancelled.", **agents)


BEGUN = [
    (
        "run_started",
        SUPERVISOR,
        {
            "run_id": RUN,
            "mode": "nova",
            "prompt": "Write about tea",
            "session_id": "s-1",
            "context": {"tone": "warm"},
            "language": "en",
            "agents": AGENT_LIST,
            "timeout_seconds": 600.0,
            "continues": None,
        },
    )
]
AGENT_BEGUN = [
    (
        "agent_start",
        A,
        {"status": "started", "task_description": "Find what the request is really about", "agent": A, "stage": 1},
    )
]
AGENT_DONE = [
    ("agent_complete", A, {"status": "completed", "summary": "Done.", "characters": 3, "agent": A, "stage": 1}),
    progress(25, 1),
]
REFUSED = dict.fromkeys(COMMANDS, Conflict)


def at_work(agents=None, **outcomes):
    """What commands lead to in a run that has not ended, with these agents that have; what is not told is refused."""
    agents = agents or {}
    ends = {"completed": complete(**agents), "failed": internal(**agents), "cancel": cancelled(**agents)}
    return {**REFUSED, "resumed": resumed(), **ends, **outcomes}


# Every cell: the events, [] for what is so already, or the error.
TABLE = {
    "new": {**dict.fromkeys(COMMANDS, NotFound), "start": BEGUN},
    "running": at_work(**{"agent started": AGENT_BEGUN}),
    "agent at work": at_work(
        chunk=chunk(" more", 1),
        retrying=retrying(1, discards=True),
        resumed=resumed(A),
        **{"agent completed": AGENT_DONE, "agent failed": error(0)},
    ),
    "agent tries again": at_work(
        chunk=chunk(" more", 0), retrying=retrying(2, discards=False), resumed=resumed(A), **{"agent failed": error(1)}
    ),
    "agent completed": at_work({"completed": [A]}),
    "agent failed": at_work({"failed": [A]}),
    "completed": REFUSED,
    "failed": REFUSED,
    "cancelled": {**REFUSED, "cancel": []},
}


def test_the_table_has_every_cell():
    """No state and no command is left out."""
    assert set(TABLE) == set(STATES)
    assert all(set(row) == set(COMMANDS) for row in TABLE.values())


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_a_state(state, command):
    """The literal events, nothing, or the error, for every cell."""
    before, outcome = after(*STATES[state]), TABLE[state][command]
    if isinstance(outcome, list):
        assert said(decide(before, COMMANDS[command])) == outcome
    else:
        with pytest.raises(outcome):
            decide(before, COMMANDS[command])


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_a_refusal_says_how_the_run_has_ended(state):
    """Its status and reason, so that who comes too late can show them."""
    with pytest.raises(Conflict) as refused:
        decide(after(*RUNS[state]), CompleteRun("x"))
    reasons = {"completed": None, "failed": "timeout", "cancelled": "cancelled"}
    assert refused.value.details == {"run_status": state, "reason": reasons[state]}


def test_an_agent_that_the_run_does_not_have_is_refused():
    """A plan is kept."""
    with pytest.raises(Conflict, match="no agent poet"):
        decide(after(START), StartAgent("poet"))


# What a whole run leaves


def test_a_run_of_four_agents_at_once():
    """Pieces of all of them between each other; the texts are each agent's own, and progress counts to 100."""
    pieces = [AppendChunk(name, f"{name}{n} ", "a-model") for n in range(3) for name in NOVA_AGENTS]
    begun = [StartAgent(name) for name in NOVA_AGENTS]
    done = [CompleteAgent(name, f"{name} is done") for name in NOVA_AGENTS]
    state = after(START, *begun, *pieces, *done, CompleteRun("merged"))
    for name in NOVA_AGENTS:
        agent = state.agents[name]
        assert (str(agent.text), agent.text.count) == (f"{name}0 {name}1 {name}2 ", 3)
        assert (agent.status, agent.summary, agent.written_by) == ("completed", f"{name} is done", "a-model")
    assert state.progress == Progress(percent=100, stage=1, completed=4, total=4)
    assert (state.status, state.result, state.partial, state.degraded) == ("completed", "merged", False, False)


def test_progress_goes_up_with_every_agent_that_ends():
    """Failed or completed, a quarter each; only those that have completed are counted as such."""
    events = history(START, *written(A, "x"), *gone_wrong(B), *written(NOVA_AGENTS[2], "y"), *written(NOVA_AGENTS[3], "z"))
    told = [json.loads(event.payload_json) for event in events if event.event_type == "progress"]
    assert [(each["percent"], each["completed"], each["total"]) for each in told] == [
        (25, 1, 4),
        (50, 1, 4),
        (75, 2, 4),
        (100, 3, 4),
    ]


def test_the_stages_of_the_concierge():
    """Four agents in four stages, in the language of the prompt; the concierge speaks for the run."""
    events = history(*whole(LOOMI, LOOMI_AGENTS))
    started = json.loads(events[0].payload_json)
    assert events[0].source == events[-1].source == "loomi_concierge"
    assert [(each["name"], each["stage"]) for each in started["agents"]] == list(zip(LOOMI_AGENTS, (1, 2, 3, 4), strict=True))
    assert started["agents"][0]["task_description"] == "分析需求"
    stages = [json.loads(event.payload_json)["stage"] for event in events if event.event_type == "progress"]
    assert stages == [1, 2, 3, 4]


def test_a_retry_that_discards_begins_the_text_again():
    """The index counts from 0 again, and who wrote is asked anew."""
    state = after(START, StartAgent(A), AppendChunk(A, "lost", "template", degraded=True), AppendChunk(A, " words", "template"))
    assert state.degraded
    state = after(RetryAgent(A, "broken", 1.0, 4), state=state)
    agent = state.agents[A]
    assert (str(agent.text), agent.text.characters, agent.retries, agent.written_by) == ("", 0, 1, "")
    assert (agent.error_type, agent.error) == ("broken", "The connection to the model broke.")
    assert not state.degraded
    [new] = decide(state, AppendChunk(A, "kept", "a-model"))
    assert json.loads(new.payload_json)["index"] == 0
    state = after(AppendChunk(A, "kept", "a-model"), state=state)
    assert (str(state.agents[A].text), state.agents[A].error) == ("kept", "")


def test_a_retry_that_discards_nothing_keeps_the_text():
    """Whatever else it says: the log decides, not the reader."""
    state = after(START, StartAgent(A), AppendChunk(A, "kept", "a-model"))
    state = evolve(state, posted("retrying", {"agent": A, "discards_text": False}, 9))
    assert (state.agents[A].status, str(state.agents[A].text)) == ("retrying", "kept")


def test_a_resume_begins_again_who_was_at_work_and_nobody_else():
    """Completed and failed agents keep what they have, those that wait go on waiting."""
    running, retrying_again, completed, failed = NOVA_AGENTS
    state = after(
        START,
        *written(completed, "done"),
        *gone_wrong(failed),
        StartAgent(running),
        AppendChunk(running, "half", "a-model"),
        StartAgent(retrying_again),
        RetryAgent(retrying_again, "timeout", 1.0, 4),
        ResumeRun(),
    )
    assert [agent.status for agent in state.agents.values()] == ["waiting", "waiting", "completed", "failed"]
    assert [str(agent.text) for agent in state.agents.values()] == ["", "", "done", ""]
    assert (state.resumes, state.agents[retrying_again].retries) == (1, 0)
    state = after(*written(running, "whole"), state=state)
    assert (str(state.agents[running].text), state.progress.percent) == ("whole", 75)


def test_a_run_is_resumed_three_times_and_not_more():
    """The fourth interruption is its end."""
    state = after(START, *[ResumeRun()] * MAX_RESUMES)
    with pytest.raises(Conflict):
        decide(state, ResumeRun())
    assert after(FailRun("interrupted"), state=state).reason == "interrupted"


def test_a_run_that_the_template_wrote_says_so_to_the_end():
    """`degraded` is true of the chunks, the agent, the run and its result."""
    events = history(START, *written(A, "words", written_by="template", degraded=True), CompleteRun("words"))
    told = [json.loads(event.payload_json).get("degraded") for event in events]
    assert told == [None, None, True, True, None, None, True]


def test_a_result_that_is_too_long_for_an_event_is_cut():
    """By its size as JSON; what is shorter stays as it is."""
    assert fitting("x" * 1000, MAX_RESULT_BYTES) == "x" * 1000
    for piece in ("x", "茶", "\n", "\u0001", "😀"):
        text = piece * MAX_RESULT_BYTES
        kept = fitting(text, MAX_RESULT_BYTES)
        assert kept.endswith("…")
        assert text.startswith(kept[:-1])
        assert MAX_RESULT_BYTES - 20 < len(msgspec.json.encode({"": kept})) <= MAX_RESULT_BYTES + 3
        assert len(decide(after(START), CompleteRun(text))[0].payload_json.encode()) < 262_144


# Foreign events


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"mode": "nova"}, id="no prompt"),
        pytest.param({"mode": "nova", "prompt": " \n"}, id="a blank prompt"),
        pytest.param({"mode": "nova", "prompt": 7}, id="a prompt that is a number"),
        pytest.param({"mode": "opera", "prompt": "tea"}, id="another mode"),
        pytest.param({"mode": ["nova"], "prompt": "tea"}, id="a mode that is a list"),
    ],
)
def test_a_start_that_says_too_little_starts_nothing(payload):
    """Nobody could carry it out."""
    state = evolve(initial(RUN), posted("run_started", payload))
    assert (state.exists, state.last_seq) == (False, 1)


def test_a_start_in_two_words_is_enough():
    """Mode and prompt; the agents are those of the mode."""
    state = evolve(initial(RUN), posted("run_started", {"mode": "loomi", "prompt": "tea", "session_id": "a b", "context": 7}))
    assert list(state.agents) == list(LOOMI_AGENTS)
    assert (state.session_id, state.context, state.language, state.timeout_seconds) == (None, {}, "en", 0.0)


def test_a_plan_of_somebody_else_is_taken_as_far_as_it_can_be_read():
    """Agents with a name, each once, sixteen at most."""
    given = [{"name": "poet", "stage": 2}, {"name": "poet"}, {"name": "a b"}, 7, {"name": "critic", "task_description": 7}]
    state = evolve(initial(RUN), posted("run_started", {**STARTED, "agents": given}))
    assert [(agent.name, agent.stage, agent.task_description) for agent in state.agents.values()] == [
        ("poet", 2, ""),
        ("critic", 1, ""),
    ]
    many = [{"name": f"a{n}"} for n in range(100)]
    assert len(evolve(initial(RUN), posted("run_started", {**STARTED, "agents": many})).agents) == 16


def test_an_event_that_names_no_agent_is_of_the_one_that_it_comes_from():
    """As source 003 writes them: `agent_source` says who."""
    state = evolve(after(START), posted("agent_start", {"status": "started"}, 2, source=B))
    assert (state.agents[B].status, state.agents[A].status) == ("running", "waiting")
    assert evolve(state, posted("agent_complete", {}, 3, source="poet")).agents == state.agents


def test_an_older_event_changes_nothing():
    """Folding again is harmless."""
    state = after(*whole())
    for event in history(*whole()):
        assert evolve(state, event) is state


# The text


def test_a_text_that_has_grown_leaves_the_shorter_one_as_it_was():
    """Two texts that grow from the same one do not see each other."""
    tea = NO_TEXT.plus("tea")
    longer, other = tea.plus(" is green"), tea.plus(" is black")
    assert [str(text) for text in (NO_TEXT, tea, longer, other)] == ["", "tea", "tea is green", "tea is black"]
    assert str(longer.plus(".")) == "tea is green."
    assert (longer.characters, longer.count) == (12, 2)
    assert str(NO_TEXT.plus("coffee")) == "coffee"
    assert NO_TEXT._pieces == []  # or it would hold the first text for good
    assert GrowingText().plus("a") == GrowingText().plus("a")
    assert hash(GrowingText().plus("a")) == hash(GrowingText().plus("a"))
    assert GrowingText().plus("ab") != GrowingText().plus("a").plus("b")
    assert repr(tea) == "GrowingText('tea', count=1)"


def test_a_long_text_is_folded_without_being_copied():
    """Every state shares the list of pieces with the one before it."""
    state = after(START, StartAgent(A))
    pieces = set()
    for seq in range(10, 2010):
        state = evolve(state, posted("llm_chunk", {"agent": A, "content": "x"}, seq))
        pieces.add(id(state.agents[A].text._pieces))
    assert len(pieces) == 1
    assert str(state.agents[A].text) == "x" * 2000
