"""Runs over HTTP: looked at, listed, cancelled and followed again; where a session is; who may; and that it is all in the
file."""

import asyncio
import json

import pytest

from server.app import BUS, LOG, make_app
from server.config import RetentionSection
from server.eventlog.retention import trim
from server.surfaces.generations.commands import AppendChunk, CancelRun, CompleteRun, FailRun, ResumeRun, RetryAgent, StartAgent
from tests.support import assert_error, body, changed, read_frames, read_to_end
from tests.support.negotiations import Clock
from tests.support.tokens import bearer, token, with_tokens
from tests.surfaces.generations.generating import (
    LOOMI_AGENTS,
    NOVA_AGENTS,
    TIMED_OUT,
    begin,
    by_hand,
    get,
    gone_wrong,
    post,
    tell,
    whole,
    written,
)
from towow.events import new_event, seconds_of, timestamp_of

A, B, C, D = NOVA_AGENTS
SUMMARY = [
    "run_id",
    "mode",
    "status",
    "reason",
    "prompt",
    "session_id",
    "language",
    "progress",
    "agents",
    "partial",
    "degraded",
    "continues",
    "resumes",
    "created_at",
    "updated_at",
    "ended_at",
    "created_seq",
    "last_seq",
]


@pytest.fixture
def nobody(quiet_config):
    """Nobody who carries out runs, until the applications have ended."""
    with by_hand():
        yield


@pytest.fixture
def connect(nobody, aiohttp_client, quiet_config):
    """How the application is started with these settings."""

    async def start(config=quiet_config, **options):
        return await aiohttp_client(make_app(config, **options))

    return start


@pytest.fixture
async def client(connect):
    """A client of the application in which nobody carries out runs."""
    return await connect()


async def finished(client, **fields):
    """A run in which every agent has written its part; its id."""
    run_id = await begin(client, **fields)
    await tell(client, run_id, *whole()[1:])
    return run_id


async def frames_of(client, path, **options):
    """What a stream says until it ends: its events, and the last control frame."""
    async with client.get(path, **options) as response:
        assert response.status == 200, await response.text()
        text = await read_to_end(response)
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n") if block]
    events = [json.loads(block["data"]) for block in blocks if "event" not in block]
    ids = [int(block["id"].partition(".")[0]) for block in blocks if "event" not in block]
    assert ids == [event["seq"] for event in events]
    return events, blocks[-1]["event"]


def text_of(events, agent):
    """What an agent has written in these events."""
    chunks = [event["payload"] for event in events if event["event_type"] == "llm_chunk"]
    return "".join(chunk["content"] for chunk in chunks if chunk["agent"] == agent)


# One run


async def test_a_run_is_told_with_what_its_agents_have_written_so_far(client):
    """Every field, in the middle of it: one has completed, one writes, one tries again, one waits."""
    run_id = await begin(client, session_id="s-1", context={"tone": "warm"})
    work = [*written(A, "tea", " is", summary="About tea."), StartAgent(B), AppendChunk(B, "who", "a-model")]
    work += [StartAgent(C), RetryAgent(C, "broken", 1.0, 4)]
    last_seq = await tell(client, run_id, *work)
    told = await get(client, f"/api/runs/{run_id}")
    places = {name: told.pop(name) for name in ("created_at", "updated_at")}
    assert all(places.values())
    next_try_at = timestamp_of(seconds_of(places["updated_at"]) + 1.0005)  # `delay_seconds` after its event, the newest one
    nothing = {"text": "", "characters": 0, "summary": "", "error": None, "error_type": None, "retries": 0, "next_try_at": None}
    unwritten = {"written_by": None, "degraded": False}
    assert told == {
        "run_id": run_id,
        "mode": "nova",
        "status": "running",
        "reason": None,
        "prompt": "Write about tea",
        "session_id": "s-1",
        "context": {"tone": "warm"},
        "language": "en",
        "progress": {"percent": 25, "stage": 1, "completed": 1, "total": 4},
        "agents": [
            {
                **nothing,
                "name": A,
                "task_description": "Find what the request is really about",
                "stage": 1,
                "status": "completed",
                "text": "tea is",
                "characters": 6,
                "summary": "About tea.",
                "written_by": "a-model",
                "degraded": False,
            },
            {
                **nothing,
                "name": B,
                "task_description": "Describe whom it is for and what matters to them",
                "stage": 1,
                "status": "running",
                "text": "who",
                "characters": 3,
                "written_by": "a-model",
                "degraded": False,
            },
            {
                **nothing,
                **unwritten,
                "name": C,
                "task_description": "Write the content itself",
                "stage": 1,
                "status": "retrying",
                "error": "The connection to the model broke.",
                "error_type": "broken",
                "retries": 1,
                "next_try_at": next_try_at,
            },
            {
                **nothing,
                **unwritten,
                "name": D,
                "task_description": "Say how the content can be made better",
                "stage": 1,
                "status": "waiting",
            },
        ],
        "result": None,
        "error": None,
        "partial": False,
        "degraded": False,
        "continues": None,
        "resumes": 0,
        "ended_at": None,
        "created_seq": 1,
        "last_seq": last_seq,
    }


async def test_a_run_that_has_ended_shows_its_result_and_a_hundred_percent(client):
    """Scenario 21: the state at its end."""
    run_id = await finished(client)
    told = await get(client, f"/api/runs/{run_id}")
    assert (told["status"], told["result"], told["progress"]["percent"]) == ("completed", "All of it.", 100)
    assert told["ended_at"] == told["updated_at"]
    assert [agent["text"] for agent in told["agents"]] == [f"{name} says tea." for name in NOVA_AGENTS]


async def test_a_run_with_an_agent_that_failed_is_partial(client):
    """Scenario 20: three parts, one error that says why, one result."""
    run_id = await begin(client)
    work = [command for agent in (A, B, C) for command in written(agent, "x")]
    await tell(client, run_id, *gone_wrong(D), *work, CompleteRun("x x x"))
    told = await get(client, f"/api/runs/{run_id}")
    assert (told["status"], told["partial"], told["progress"]) == (
        "completed",
        True,
        {"percent": 100, "stage": 1, "completed": 3, "total": 4},
    )
    assert (told["agents"][3]["status"], told["agents"][3]["retries"]) == ("failed", 3)
    assert told["agents"][3]["error"] == "The connection to the model broke."


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (FailRun("all_agents_failed"), "failed", "all_agents_failed"),
        (TIMED_OUT, "failed", "timeout"),
        (FailRun("internal", "e-1"), "failed", "internal"),
        (CancelRun(), "cancelled", "cancelled"),
    ],
)
async def test_a_run_without_a_result_says_why(client, end, status, reason):
    """A word for programs and a sentence for people."""
    run_id = await begin(client)
    await tell(client, run_id, end)
    told = await get(client, f"/api/runs/{run_id}")
    assert (told["status"], told["reason"], told["result"]) == (status, reason, None)
    assert told["error"].endswith(".")
    assert told["ended_at"]


async def test_a_stream_with_notes_alone_is_no_run(client):
    """Who may append to it has not started anything."""
    await client.app[LOG].append([new_event("run:r-note", "note", {})])
    await assert_error(await client.get("/api/runs/r-note"), "not_found", status=404, field="run_id")
    await assert_error(await client.post("/api/runs/r-note/cancel", json={}), "not_found", status=404, field="run_id")


async def test_a_run_that_somebody_else_wrote_into_the_log_is_a_run(client):
    """Another process on the file: two fields are enough."""
    await client.app[LOG].append([new_event("run:r-mine", "run_started", {"mode": "loomi", "prompt": "tea"})])
    told = await get(client, "/api/runs/r-mine")
    assert (told["mode"], told["status"], [agent["name"] for agent in told["agents"]]) == (
        "loomi",
        "running",
        list(LOOMI_AGENTS),
    )
    assert [run["run_id"] for run in (await get(client, "/api/runs"))["runs"]] == ["r-mine"]


async def test_a_run_whose_beginning_is_not_kept_any_more_is_gone(client):
    """410: its row knows that there was one, and nobody can say what was written."""
    run_id = await finished(client)
    await client.post("/api/events", json=body("note:a"))  # the highest seq stays
    await trim(client.app[LOG], RetentionSection(max_events=1))
    error = await assert_error(await client.get(f"/api/runs/{run_id}"), "gone", status=410, field="run_id")
    assert (error["status"], error["ended_at"] is not None) == ("completed", True)
    assert [run["status"] for run in (await get(client, "/api/runs"))["runs"]] == ["completed"]


# Followed again


async def test_cut_after_every_event_the_rest_completes_it(client):
    """Scenario 21: from wherever a client was, by the query or by the header, the pieces join to the stored text."""
    run_id = await begin(client)
    lost = [AppendChunk(A, "lost", "a-model"), RetryAgent(A, "broken", 1.0, 4)]
    work = [
        StartAgent(A),
        *lost,
        AppendChunk(A, "green", "a-model"),
        AppendChunk(A, " tea", "a-model"),
        *written(B, "for", " all"),
    ]
    await tell(client, run_id, *work, CompleteRun("green tea for all"))
    path = f"/api/runs/{run_id}/events"
    whole_story, _ = await frames_of(client, path)
    for cut in range(1, len(whole_story)):
        seq = whole_story[cut - 1]["seq"]
        for options in ({"params": {"since_seq": seq}}, {"headers": {"Last-Event-ID": str(seq)}}):
            rest, end = await frames_of(client, path, **options)
            assert whole_story[:cut] + rest == whole_story
            assert end == "end"
    rest, _ = await frames_of(client, path, params={"since_seq": 0}, headers={"Last-Event-ID": str(seq)})
    assert rest == whole_story[-1:]  # the header wins over a query that an EventSource repeats
    told = await get(client, f"/api/runs/{run_id}")
    assert told["agents"][1]["text"] == text_of(whole_story, B) == "for all"
    assert told["agents"][0]["text"] == text_of(whole_story[4:], A) == "green tea"


async def test_a_client_that_lost_its_post_follows_on_where_it_was(client):
    """The id of the header, the seq of the last frame: nothing is missing and nothing comes twice."""
    async with client.post("/novachat", json={"prompt": "tea"}) as response:
        run_id = response.headers["X-Run-Id"]
        await read_frames(response, 2)
        await tell(client, run_id, StartAgent(A), AppendChunk(A, "green", "a-model"))
        frames = await read_frames(response, 2)
    since_seq = frames[-1].seq
    await tell(client, run_id, AppendChunk(A, " tea", "a-model"))
    async with client.get(f"/api/runs/{run_id}/events", params={"since_seq": since_seq}) as response:
        replayed, ready = await read_frames(response, 2)
        assert (replayed.data["payload"]["content"], ready.event) == (" tea", "ready")
        await tell(client, run_id, AppendChunk(A, ".", "a-model"), CancelRun())
        live, ended, end = await read_frames(response, 3)
        assert (live.data["payload"]["content"], ended.data["event_type"], end.event) == (".", "run_failed", "end")
        assert end.data == {"reason": "run_failed", "last_seq": ended.data["seq"]}
    told = await get(client, f"/api/runs/{run_id}")
    assert told["agents"][0]["text"] == "green tea."


async def test_what_is_told_and_what_follows_from_there_make_the_whole_text(client):
    """A page that is opened in mid-generation takes the state and follows from its `last_seq`."""
    run_id = await begin(client)
    await tell(client, run_id, StartAgent(A), AppendChunk(A, "green", "a-model"))
    told = await get(client, f"/api/runs/{run_id}")
    await tell(client, run_id, AppendChunk(A, " tea", "a-model"), CompleteRun("x"))
    rest, _ = await frames_of(client, f"/api/runs/{run_id}/events", params={"since_seq": told["last_seq"]})
    assert told["agents"][0]["text"] + text_of(rest, A) == "green tea"


async def test_an_idle_run_is_kept_open_by_comments(nobody, aiohttp_client, config):
    """`: keepalive`, on one line."""
    client = await aiohttp_client(make_app(config))
    run_id = await begin(client)
    async with client.get(f"/api/runs/{run_id}/events") as response:
        frames = await read_frames(response, 3, comments=True)
    assert frames[-1].comment == "keepalive"


# Cancelled


async def test_a_run_is_cancelled_once_and_says_the_same_again(client):
    """Its stream ends; whoever asks again gets the first seq."""
    run_id = await begin(client)
    await tell(client, run_id, *written(A, "tea"))
    async with client.get(f"/api/runs/{run_id}/events") as response:
        first = await post(client, f"/api/runs/{run_id}/cancel")
        assert first == {"success": True, "run_id": run_id, "status": "cancelled", "seq": 7}
        assert await post(client, f"/api/runs/{run_id}/cancel") == first
        assert '"agents_completed":["insight_agent"]' in await read_to_end(response)
    assert client.app[LOG].head_seq == 7


@pytest.mark.parametrize(("end", "status"), [(CompleteRun("x"), "completed"), (TIMED_OUT, "failed")])
async def test_a_run_that_has_ended_cannot_be_cancelled(client, end, status):
    """409, with how it has ended."""
    run_id = await begin(client)
    await tell(client, run_id, end)
    error = await assert_error(await client.post(f"/api/runs/{run_id}/cancel", json={}), "conflict", status=409)
    assert (error["run_status"], error["reason"]) == (status, "timeout" if status == "failed" else None)


@pytest.mark.parametrize("turn", range(5))
async def test_of_cancels_and_a_completion_at_once_one_end_is_stored(client, turn):
    """Whoever comes first; everybody else learns which."""
    run_id = await begin(client)
    await tell(client, run_id, StartAgent(A))
    cancels = [client.post(f"/api/runs/{run_id}/cancel", json={}) for _ in range(6)]
    pieces = [tell(client, run_id, AppendChunk(A, "tea", "a-model")) for _ in range(3)]
    completion = tell(client, run_id, CompleteRun("tea"))
    together = [*cancels[: turn + 1], completion, *cancels[turn + 1 :], *pieces]
    outcomes = await asyncio.gather(*together, return_exceptions=True)
    answers = [each for each in outcomes if hasattr(each, "status") and not isinstance(each, Exception)]
    told = await get(client, f"/api/runs/{run_id}")
    expected = {"cancelled": 200, "completed": 409}[told["status"]]
    assert [answer.status for answer in answers] == [expected] * 6
    events, _ = await frames_of(client, f"/api/runs/{run_id}/events")
    ends = [event["event_type"] for event in events if event["event_type"] in ("run_complete", "run_failed")]
    assert ends == ["run_failed" if told["status"] == "cancelled" else "run_complete"]
    assert events[-1]["event_type"] in ends


# The list


async def test_the_list_has_the_newest_runs_without_their_texts(client):
    """Fields, order and position; the pieces of a run that is running count for its place."""
    ended = await finished(client)
    running = await begin(client, "/loomichat", session_id="s-1")
    last_seq = await tell(
        client, running, StartAgent(LOOMI_AGENTS[0]), *[AppendChunk(LOOMI_AGENTS[0], "x", "template", degraded=True)] * 3
    )
    page = await get(client, "/api/runs")
    assert set(page) == {"runs", "has_more", "head_seq", "epoch", "model"}
    assert [run["run_id"] for run in page["runs"]] == [running, ended]
    assert (page["has_more"], page["head_seq"], page["epoch"]) == (False, last_seq, client.app[LOG].epoch)
    newest, oldest = page["runs"]
    assert list(newest) == SUMMARY
    assert (newest["last_seq"], newest["degraded"], newest["updated_at"] >= newest["created_at"]) == (last_seq, True, True)
    assert newest["agents"][0] == {
        "name": "requirement_analyzer",
        "task_description": "Analyse the requirements",
        "stage": 1,
        "status": "running",
        "summary": "",
        "error": None,
        "error_type": None,
        "retries": 0,
        "written_by": "template",
        "degraded": True,
    }
    assert oldest["progress"]["percent"] == 100
    for run in page["runs"]:
        told = await get(client, f"/api/runs/{run['run_id']}")
        agents = [{name: agent[name] for name in newest["agents"][0]} for agent in told["agents"]]
        assert run == {name: told[name] for name in SUMMARY} | {"agents": agents}


async def test_which_model_writes_is_told_beside_the_runs(client):
    """The page needs it to say how to get one."""
    model = await get(client, "/api/model")
    assert set(model) == {"kind", "name", "status", "hint"}
    assert (model["kind"], model["name"], model["status"]) == ("none", None, "absent")
    assert "pip install" in model["hint"]
    assert (await get(client, "/api/runs"))["model"] == model


# Sessions


async def test_the_state_of_a_session_is_where_its_newest_run_is(client):
    """Each event moves it on, pieces of text too."""
    first = await finished(client, session_id="s-1")
    told = await get(client, "/api/sessions/s-1/state")
    run = await get(client, f"/api/runs/{first}")
    assert told == {
        "session_id": "s-1",
        "status": "completed",
        "run_id": first,
        "mode": "nova",
        "progress": {"percent": 100, "stage": 1, "completed": 4, "total": 4},
        "runs": 1,
        "updated_at": run["updated_at"],
        "expires_at": told["expires_at"],
        "version": run["last_seq"],
    }
    second = await begin(client, "/loomichat", session_id="s-1")
    versions = []
    for commands in (
        [],
        [StartAgent(LOOMI_AGENTS[0])],
        [AppendChunk(LOOMI_AGENTS[0], "x", "m")],
        [AppendChunk(LOOMI_AGENTS[0], "y", "m")],
    ):
        if commands:
            await tell(client, second, *commands)
        told = await get(client, "/api/sessions/s-1/state")
        assert (told["run_id"], told["status"], told["mode"], told["runs"]) == (second, "running", "loomi", 2)
        versions.append(told["version"])
    assert versions == sorted(set(versions))
    assert versions[-1] == client.app[LOG].head_seq


async def test_the_state_of_a_session_expires_an_hour_after_its_last_event(connect):
    """Sliding, by the clock: 404 before there was a run, 410 with the time after it; a new run brings it back."""
    clock = Clock()
    client = await connect(clock=clock)
    path = "/api/sessions/s-1/state"
    await assert_error(await client.get(path), "not_found", status=404, field="session_id")
    run_id = await begin(client, session_id="s-1")
    assert (await get(client, path))["expires_at"] == "2027-01-15T09:00:00.000Z"
    clock.now += 3_599
    await tell(client, run_id, StartAgent(A), AppendChunk(A, "x", "a-model"))
    clock.now += 3_000
    await tell(client, run_id, AppendChunk(A, "y", "a-model"))  # a piece that the row does not look at slides, too
    clock.now += 3_599.9
    assert (await get(client, path))["version"] == 4
    clock.now += 0.1
    error = await assert_error(await client.get(path), "gone", status=410, field="session_id")
    assert error["expired_at"] == "2027-01-15T10:49:59.000Z"
    await begin(client, session_id="s-1")
    assert (await get(client, path))["runs"] == 2
    await assert_error(await client.get("/api/sessions/s-2/state"), "not_found", status=404)


async def test_how_long_a_session_is_kept_is_a_setting(connect, quiet_config):
    """`[generations] session_state_seconds`."""
    clock = Clock()
    client = await connect(changed(quiet_config, "generations", session_state_seconds=10.0), clock=clock)
    await finished(client, session_id="s-1")
    clock.now += 9.5
    assert await get(client, "/api/sessions/s-1/state")
    clock.now += 0.5
    await assert_error(await client.get("/api/sessions/s-1/state"), "gone", status=410)


async def test_a_later_event_of_an_older_run_counts_for_the_session(client):
    """Two runs at once: the newest is told, the version is of both."""
    first, second = await begin(client, session_id="s-1"), await begin(client, session_id="s-1")
    last_seq = await tell(client, first, StartAgent(A))
    told = await get(client, "/api/sessions/s-1/state")
    assert (told["run_id"], told["version"]) == (second, last_seq)
    last_seq = await tell(client, first, CancelRun())
    told = await get(client, "/api/sessions/s-1/state")
    assert (told["status"], told["version"]) == ("running", last_seq)


@pytest.mark.parametrize("session_id", ["a:b", "a%20b", "s" * 121])
async def test_a_name_that_no_session_can_have_is_refused(client, session_id):
    """400 with the field."""
    await assert_error(await client.get(f"/api/sessions/{session_id}/state"), "invalid_request", status=400, field="session_id")


# Who may


async def test_who_may_look_at_runs_and_end_them(connect, quiet_config):
    """Read on the run, read over all of them, manage on the run, read on the session: each alone is enough for its route."""
    client = await connect()
    run_id = await begin(client, session_id="s-1")
    await client.close()
    scopes = {
        "GET /api/runs": "read:run:*",
        f"GET /api/runs/{run_id}": f"read:run:{run_id}",
        f"GET /api/runs/{run_id}/events": f"read:run:{run_id}",
        f"POST /api/runs/{run_id}/cancel": f"manage:run:{run_id}",
        "GET /api/sessions/s-1/state": "read:session:s-1",
        "GET /api/model": "read:run:*",
    }
    tokens = {scope: f"t{n}" for n, scope in enumerate(dict.fromkeys(scopes.values()))}
    config = with_tokens(quiet_config, *(token(name, scope) for scope, name in tokens.items()))
    client = await connect(config)
    for route, scope in scopes.items():
        method, _, path = route.partition(" ")
        for given, name in tokens.items():
            async with client.request(method, path, json={}, headers=bearer(name)) as answer:
                is_enough = given == scope or (given == "read:run:*" and scope == f"read:run:{run_id}")
                assert answer.status == (200 if is_enough else 403), (route, given)
                if not is_enough:
                    assert (await answer.json())["error"]["scope"].endswith(scope.partition(":")[2])


# In the file


async def test_a_piece_of_text_costs_the_table_nothing(client):
    """The first of an agent is looked at, the others leave the row as it is."""
    run_id = await begin(client)

    async def row():
        sql = "SELECT last_seq, revision, updated_at FROM runs WHERE run_id = ?"
        return await client.app[LOG].query(lambda db: db.execute(sql, (run_id,)).fetchone())

    await tell(client, run_id, StartAgent(A), AppendChunk(A, "0", "a-model"))
    before = await row()
    assert before[:2] == (3, 3)
    await tell(client, run_id, *[AppendChunk(A, str(n), "a-model") for n in range(20)])
    assert await row() == before
    assert (await get(client, "/api/runs"))["runs"][0]["last_seq"] == 23


async def test_the_texts_can_be_read_with_sql(client):
    """`run_texts`: what each agent has written, without what was discarded before a retry or a restart."""
    run_id = await begin(client)
    await tell(
        client,
        run_id,
        StartAgent(A),
        AppendChunk(A, "lost", "a-model"),
        RetryAgent(A, "broken", 1.0, 4),
        AppendChunk(A, "green", "a-model"),
        *written(B, "for", " all", written_by="template", degraded=True),
        StartAgent(C),
        AppendChunk(C, "gone", "a-model"),
        ResumeRun(),
    )
    sql = "SELECT place, agent, status, retries, written_by, degraded, text FROM run_texts WHERE run_id = ? ORDER BY place"
    rows = await client.app[LOG].query(lambda db: db.execute(sql, (run_id,)).fetchall())
    assert rows == [
        (1, A, "waiting", 0, "", 0, None),
        (2, B, "completed", 0, "template", 1, "for all"),
        (3, C, "waiting", 0, "", 0, None),
        (4, D, "waiting", 0, "", 0, None),
    ]
    await tell(client, run_id, StartAgent(A), AppendChunk(A, "green", "a-model"), AppendChunk(A, " tea", "a-model"))
    rows = await client.app[LOG].query(lambda db: db.execute(sql, (run_id,)).fetchall())
    assert rows[0] == (1, A, "running", 0, "a-model", 0, "green tea")
    told = await get(client, f"/api/runs/{run_id}")
    assert [row[-1] or "" for row in rows] == [agent["text"] for agent in told["agents"]]


async def test_another_process_hears_of_a_run(connect):
    """Two applications on one file: started at one, followed at the other, cancelled there."""
    one, other = await connect(), await connect()
    run_id = await begin(one)
    assert (await get(other, f"/api/runs/{run_id}"))["status"] == "running"
    heard = []
    other.app[BUS].subscribe("run_failed", heard.append)
    async with other.get(f"/api/runs/{run_id}/events") as response:
        await post(other, f"/api/runs/{run_id}/cancel")
        assert "cancelled" in await read_to_end(response)
    assert (await post(one, f"/api/runs/{run_id}/cancel"))["status"] == "cancelled"
    assert [event.stream for event in heard] == [f"run:{run_id}"]
