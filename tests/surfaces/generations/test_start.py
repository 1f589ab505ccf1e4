"""A run begins over HTTP: the two paths of source 003, what they take and refuse, and that the stream is only a reader of
it."""

import asyncio
import json
import re

import pytest

from server.app import FOLLOWERS, LOG, make_app
from server.surfaces.generations.commands import CancelRun, CompleteRun
from tests.support import assert_error, changed, raw_connection, read_frames, read_head, request_bytes, until
from tests.support.negotiations import Clock
from tests.support.tokens import bearer, token, with_tokens
from tests.surfaces.generations.generating import (
    LOOMI_AGENTS,
    NOVA_AGENTS,
    TIMED_OUT,
    begin,
    by_hand,
    get,
    tell,
    whole,
    written,
)

PATHS = ("/novachat", "/loomichat")
JSON = {"Accept": "application/json"}
ASKED = {"prompt": "Write about tea", "session_id": "s-1", "context": {"tone": "warm"}}


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


def nothing_happened(client):
    """Whether no run was started."""
    return client.app[LOG].head_seq == 0


# The answer


@pytest.mark.parametrize(
    ("path", "mode", "source", "agents"),
    [
        pytest.param("/novachat", "nova", "nova3_supervisor", NOVA_AGENTS, id="nova"),
        pytest.param("/loomichat", "loomi", "loomi_concierge", LOOMI_AGENTS, id="loomi"),
    ],
)
async def test_a_post_answers_with_the_stream_of_the_run(client, path, mode, source, agents):
    """The header names the run; its start comes in source 003's envelope, then what happens, live, then the end."""
    async with client.post(path, json=ASKED) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        run_id = response.headers["X-Run-Id"]
        assert re.fullmatch(r"r-[0-9a-f]{16}", run_id)
        started, ready = await read_frames(response, 2)
        assert list(started.data) == [
            "event_type",
            "agent_source",
            "timestamp",
            "payload",
            "seq",
            "revision",
            "event_id",
            "run_id",
        ]
        assert (started.event, started.seq) == (None, 1)
        assert (started.data["event_type"], started.data["agent_source"]) == ("run_started", source)
        assert (started.data["run_id"], started.data["seq"], started.data["revision"]) == (run_id, 1, 1)
        payload = started.data["payload"]
        assert [agent["name"] for agent in payload.pop("agents")] == list(agents)
        assert payload == {
            "run_id": run_id,
            "mode": mode,
            **ASKED,
            "language": "en",
            "timeout_seconds": 600.0,
            "continues": None,
        }
        assert ready.event == "ready"
        await tell(client, run_id, *written(agents[0], "tea", " is"), CompleteRun("tea is"))
        frames = await read_frames(response, 8)
        assert [frame.data["event_type"] for frame in frames[:-1]] == [
            "agent_start",
            "llm_chunk",
            "llm_chunk",
            "llm_chunk",
            "agent_complete",
            "progress",
            "run_complete",
        ]
        assert (frames[-1].event, frames[-1].data) == ("end", {"reason": "run_complete", "last_seq": 8})
        assert await response.read() == b""


async def test_an_event_on_the_wire_is_the_documented_line(client):
    """One `data:` line with the fields in this order, Chinese as it is."""
    run_id = await begin(client, prompt="写一首诗")
    await tell(client, run_id, *written(NOVA_AGENTS[0], "茶")[:2])
    event = await client.app[LOG].get(seq=3)
    async with client.get(f"/api/runs/{run_id}/events?since_seq=2") as response:
        text = (await response.content.readuntil(b"\n\n")).decode()
    payload = (
        '{"content":"茶","content_type":"text","is_complete":false,"agent":"insight_agent","index":0,'
        '"written_by":"a-model","degraded":false}'
    )
    line = (
        f'data: {{"event_type":"llm_chunk","agent_source":"llm_client","timestamp":"{event.timestamp}","payload":{payload},'
        f'"seq":3,"revision":3,"event_id":"{event.event_id}","run_id":"{run_id}"}}\n'
    )
    assert re.sub(r"retry: \d+\n", "", text) == f"{line}id: {event.cursor}\n\n"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accepted", ["application/json", "application/json, text/plain, */*"])
async def test_who_accepts_json_gets_the_id_and_the_place_to_follow(client, path, accepted):
    """202 when the run is on disk."""
    async with client.post(path, json=ASKED, headers={"Accept": accepted}) as answer:
        assert answer.status == 202
        run_id = answer.headers["X-Run-Id"]
        told = await answer.json()
        assert told == {"run_id": run_id, "status": "running", "events_url": f"/api/runs/{run_id}/events"}
    assert (await get(client, f"/api/runs/{run_id}"))["status"] == "running"


@pytest.mark.parametrize("accepted", ["*/*", "text/event-stream", "text/event-stream, application/json", None])
async def test_who_accepts_streams_gets_one(client, accepted):
    """Also who says nothing."""
    headers = {} if accepted is None else {"Accept": accepted}
    async with client.post("/novachat", json=ASKED, headers=headers, skip_auto_headers=["Accept"]) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")


@pytest.mark.parametrize("asked", [{"Accept": "application/x-ndjson"}, None])
async def test_the_stream_comes_as_ndjson_when_that_is_asked_for(client, asked):
    """By the header or the query, as everywhere."""
    path = "/novachat" if asked else "/novachat?format=ndjson"
    async with client.post(path, json=ASKED, headers=asked) as response:
        assert response.content_type == "application/x-ndjson"
        first = json.loads(await response.content.readline())
        assert (first["event_type"], first["run_id"]) == ("run_started", response.headers["X-Run-Id"])


async def test_message_is_another_name_of_the_prompt(client):
    """Source 003 leaves it open; the same in both is no contradiction."""
    for fields in ({"message": " tea\r\n"}, {"prompt": "tea", "message": "tea"}):
        answer = await client.post("/novachat", json=fields, headers=JSON)
        assert answer.status == 202, await answer.text()
        assert (await get(client, f"/api/runs/{(await answer.json())['run_id']}"))["prompt"] == "tea"


@pytest.mark.parametrize(
    ("prompt", "language"),
    [("Write about tea", "en"), ("写一首关于茶的诗", "zh"), ("Tee, 茶 und Kaffee", "zh"), ("Écris sur le thé", "en")],
)
async def test_the_language_is_that_of_the_prompt(client, prompt, language):
    """Chinese when there is a Chinese character."""
    run_id = await begin(client, prompt=prompt)
    assert (await get(client, f"/api/runs/{run_id}"))["language"] == language


# Refusals, before there is a run


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        pytest.param(b"prompt=tea", 400, "invalid_request", "body", id="no JSON"),
        pytest.param(b"{}", 422, "invalid_body", "prompt", id="no prompt"),
        pytest.param(b'{"prompt": null}', 422, "invalid_body", "prompt", id="null"),
        pytest.param(b'{"prompt": 7}', 422, "invalid_body", "prompt", id="a number"),
        pytest.param(b'{"prompt": " \\n\\u200b"}', 422, "invalid_body", "prompt", id="blank"),
        pytest.param(b'{"prompt": "a\\u0007"}', 422, "invalid_body", "prompt", id="a control character"),
        pytest.param(b'{"message": ""}', 422, "invalid_body", "message", id="a blank message"),
        pytest.param(b'{"prompt": "a", "message": "b"}', 422, "invalid_body", "message", id="two prompts"),
        pytest.param(b'{"prompt": "a", "model": "b"}', 422, "invalid_body", "model", id="an unknown field"),
        pytest.param(b'{"prompt": "a", "session_id": ""}', 422, "invalid_body", "session_id", id="an empty session"),
        pytest.param(b'{"prompt": "a", "session_id": ".."}', 422, "invalid_body", "session_id", id="dots"),
        pytest.param(b'{"prompt": "a", "session_id": "a:b"}', 422, "invalid_body", "session_id", id="a colon"),
        pytest.param(b'{"prompt": "a", "session_id": 7}', 422, "invalid_body", "session_id", id="a session number"),
        pytest.param(b'{"prompt": "a", "context": []}', 422, "invalid_body", "context", id="a context list"),
        (b'{"prompt": "a", "context": {"n": 99999999999999999999}}', 422, "invalid_body", "context"),
        pytest.param(b'{"prompt": "%b"}' % (b"x" * 10_001), 413, "too_large", "prompt", id="a long prompt"),
        pytest.param(b'{"prompt": "a", "context": {"x": "%b"}}' % (b"x" * 16_384), 413, "too_large", "context", id="16 KiB"),
    ],
)
async def test_what_cannot_be_read_is_refused_before_any_stream(client, path, body, status, code, field):
    """a52: a status and the field at fault instead of an event in a stream, and no run."""
    answer = await client.post(path, data=body, headers={"Content-Type": "application/json"})
    await assert_error(answer, code, status=status, field=field)
    assert "X-Run-Id" not in answer.headers
    assert nothing_happened(client)


async def test_an_unknown_format_is_refused_before_there_is_a_run(client):
    """Not after it was started."""
    await assert_error(await client.post("/novachat?format=xml", json=ASKED), "invalid_request", status=400, field="format")
    assert nothing_happened(client)


@pytest.mark.parametrize("origin", [None, "http://elsewhere.example"])
async def test_a_post_is_no_handshake_of_a_websocket(client, origin):
    """The run is answered with its stream: a refusal of the handshake would come after its start."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers = upgrade if origin is None else {**upgrade, "Origin": origin}
    async with client.post("/novachat", json=ASKED, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["X-Run-Id"]
        [started] = await read_frames(response, 1)
        assert started.data["event_type"] == "run_started"


async def test_what_just_fits_is_taken(client):
    """10,000 characters and 16 KiB, the limits included."""
    context = {"x": "茶" * ((16_384 - 8) // 3)}
    run_id = await begin(client, prompt="茶" * 10_000, context=context)
    told = await get(client, f"/api/runs/{run_id}")
    assert (len(told["prompt"]), told["context"]) == (10_000, context)


async def test_the_longest_prompt_is_a_setting(connect, quiet_config):
    """`[generations] max_prompt_characters`."""
    client = await connect(changed(quiet_config, "generations", max_prompt_characters=5))
    answer = await client.post("/novachat", json={"prompt": "123456"})
    assert (await assert_error(answer, "too_large", status=413))["limit"] == 5
    assert await begin(client, prompt="12345")


async def test_when_as_many_runs_are_running_as_may_the_next_one_is_told_to_wait(connect, quiet_config):
    """429 with Retry-After; when one has ended there is room again."""
    client = await connect(changed(quiet_config, "generations", max_runs=2))
    first, _ = await begin(client), await begin(client)
    answer = await client.post("/loomichat", json=ASKED, headers=JSON)
    error = await assert_error(answer, "too_many_requests", status=429)
    assert (answer.headers["Retry-After"], error["limit"]) == ("5", 2)
    await tell(client, first, CancelRun())
    assert await begin(client)


async def test_of_many_that_come_at_once_only_as_many_start_as_may(connect, quiet_config):
    """Counting and starting is one step."""
    client = await connect(changed(quiet_config, "generations", max_runs=3))
    answers = await asyncio.gather(*(client.post("/novachat", json=ASKED, headers=JSON) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [202] * 3 + [429] * 17
    assert client.app[LOG].head_seq == 3


async def test_who_has_as_many_streams_as_may_starts_no_run_with_another(connect, quiet_config):
    """The refusal comes before the run; without a stream it can be started."""
    client = await connect(changed(quiet_config, "limits", streams_per_client=1))
    async with client.post("/novachat", json=ASKED) as response:
        await read_frames(response, 2)
        await assert_error(await client.post("/novachat", json=ASKED), "too_many_requests", status=429)
        assert client.app[LOG].head_seq == 1
        assert await begin(client)


# The client is only a reader


@pytest.mark.parametrize("path", PATHS)
async def test_a_run_goes_on_when_its_client_leaves(client, path):
    """a53: the connection is closed in mid-stream, and nothing happens to the run."""
    response = await client.post(path, json=ASKED)
    run_id = response.headers["X-Run-Id"]
    await read_frames(response, 2)
    response.close()
    await until(lambda: not len(client.app[FOLLOWERS]))
    agent = (NOVA_AGENTS if path == "/novachat" else LOOMI_AGENTS)[0]
    await tell(client, run_id, *written(agent, "tea"))
    told = await get(client, f"/api/runs/{run_id}")
    assert (told["status"], told["agents"][0]["text"]) == ("running", "tea")


async def test_a_client_that_leaves_before_it_is_answered_has_started_a_run_or_none(client):
    """Never half of one."""
    body = json.dumps(ASKED).encode()
    for _ in range(10):
        request = request_bytes("POST", "/novachat", body=body, Content_Type="application/json")
        async with raw_connection(client, request):
            pass
    # Whoever is answered now comes after them.
    await begin(client)
    for run in (await get(client, "/api/runs"))["runs"]:
        assert run["status"] == "running"
        assert run["prompt"] == ASKED["prompt"]


# Other origins

ORIGIN = "http://pages.example"


@pytest.fixture
async def foreign(connect, quiet_config):
    """A client of an application that pages of another origin may use."""
    return await connect(changed(quiet_config, "cors", origins=(ORIGIN,)))


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_of_another_origin_may_post_and_read_the_id(foreign, path):
    """a57: the same headers on both paths, the preflight answered, `X-Run-Id` exposed."""
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = await foreign.options(path, headers=asked)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in preflight.headers["Access-Control-Allow-Headers"]
    for headers, status in (({}, 200), (JSON, 202)):
        async with foreign.post(path, json=ASKED, headers={"Origin": ORIGIN, **headers}) as response:
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert "X-Run-Id" in response.headers["Access-Control-Expose-Headers"].split(", ")
            assert response.headers["X-Run-Id"]


async def test_a_page_of_an_origin_that_is_not_listed_is_not_let_in(foreign):
    """The browser keeps the answer from it."""
    async with foreign.post("/novachat", json=ASKED, headers={"Origin": "http://evil.example"}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


# Who may


@pytest.mark.parametrize("path", PATHS)
async def test_who_may_start_a_run(connect, quiet_config, path):
    """Append over all runs; read on the run to follow it; read and append on the session to go on in it."""
    config = with_tokens(
        quiet_config,
        token("starts", "append:run:*"),
        token("follows", "append:run:*", "read:run:*"),
        token("belongs", "append:run:*", "read:session:s-1", "append:session:s-1"),
        token("looks", "append:run:*", "read:session:s-1"),
        token("reads", "read:*"),
        token("one", "append:run:r-1", "read:*"),
    )
    client = await connect(config)
    alone = {"prompt": "tea"}
    for name, body, accept, wanted in (
        ("reads", alone, JSON, "append:run:*"),
        ("one", alone, JSON, "append:run:*"),
        ("starts", alone, {}, r"read:run:r-[0-9a-f]{16}"),
        ("starts", ASKED, JSON, "read:session:s-1"),
        ("follows", ASKED, {}, "read:session:s-1"),
        ("looks", ASKED, JSON, "append:session:s-1"),
    ):
        error = await assert_error(await client.post(path, json=body, headers=bearer(name) | accept), "forbidden", status=403)
        assert re.fullmatch(wanted.replace("*", r"\*"), error["scope"])
    assert nothing_happened(client)
    for name, body, accept, status in (
        ("starts", alone, JSON, 202),
        ("follows", alone, {}, 200),
        ("belongs", ASKED, JSON, 202),
    ):
        async with client.post(path, json=body, headers=bearer(name) | accept) as answer:
            assert answer.status == status


# Conversations


async def test_a_run_goes_on_from_the_last_one_of_its_session_that_has_a_result(connect):
    """Whatever its mode; failed, cancelled and running ones are left out, and so are other sessions."""
    clock = Clock()
    client = await connect(clock=clock)
    first = await begin(client, session_id="s-1")
    assert (await get(client, f"/api/runs/{first}"))["continues"] is None
    await tell(client, first, *whole()[1:])
    clock.now += 1
    second = await begin(client, "/loomichat", session_id="s-1")
    assert (await get(client, f"/api/runs/{second}"))["continues"] == first
    third = await begin(client, session_id="s-1")  # the second one is still running
    assert (await get(client, f"/api/runs/{third}"))["continues"] == first
    await tell(client, second, *whole(None, LOOMI_AGENTS)[1:])
    await tell(client, third, TIMED_OUT)
    for fields, continues in (({"session_id": "s-1"}, second), ({"session_id": "s-2"}, None), ({}, None)):
        run_id = await begin(client, **fields)
        assert (await get(client, f"/api/runs/{run_id}"))["continues"] == continues
        await tell(client, run_id, CancelRun())
    clock.now += 3_600
    late = await begin(client, session_id="s-1")
    assert (await get(client, f"/api/runs/{late}"))["continues"] is None


async def test_the_head_of_the_answer_is_the_same_on_both_paths(client):
    """a57: but for the ids and the date."""
    heads = []
    for path in PATHS:
        request = request_bytes("POST", path, body=json.dumps(ASKED).encode(), Content_Type="application/json")
        async with raw_connection(client, request) as (reader, _):
            status, headers = await read_head(reader)
            for name in ("x-run-id", "x-request-id", "x-towow-seq", "date"):
                headers.pop(name, None)
            heads.append((status, headers))
    assert heads[0] == heads[1]
    assert heads[0][1]["transfer-encoding"] == "chunked"
