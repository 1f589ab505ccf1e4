"""Permissions over real HTTP against real processes: restarts, races, two servers on one file, and no answer in time."""

import asyncio
import contextlib
from datetime import datetime

import aiohttp
import pytest

from server.app import LOG, make_app
from server.config import KindRetention, RetentionSection
from server.eventlog.retention import trim
from server.surfaces.tools.expiry import PermissionExpiry
from tests.support import ServerProcess, assert_error, check_file, read_frames, read_rows, until
from towow.errors import StorageFull

BASE = "/agent_backend/api/sse"
SESSION = "s-1"
EVENTS = f"{BASE}/events/{SESSION}"
ANSWER = f"{BASE}/permission-response/{SESSION}"
NOTIFY = f"{BASE}/notify/{SESSION}"
ASKED = {"tool_name": "rm", "parameters": {"path": "a.txt"}, "risk_level": "high"}
ENVIRONMENT = {"TOWOW__STREAM__RETRY_MILLISECONDS": "20", "TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}


@pytest.fixture
def server(tmp_path):
    """A server process on a fresh file."""
    with ServerProcess(tmp_path / "towow.db", environment=ENVIRONMENT) as server:
        yield server


@pytest.fixture
async def http():
    """An HTTP session that outlives the servers it talks to."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield session


async def post(http, server, path, **fields):
    """Post JSON; status and body."""
    async with http.post(server.url + path, json=fields) as answer:
        return answer.status, await answer.json()


async def ask(http, server, permission_id="p-1", **fields):
    """Ask for a permission; it is on disk then."""
    data = {**ASKED, **fields}
    status, said = await post(http, server, NOTIFY, type="permission_request", data=data, permission_id=permission_id)
    assert status == 201, said


async def look(http, server, permission_id="p-1", wait=0):
    """What has become of a permission."""
    async with http.get(f"{server.url}{BASE}/permissions/{SESSION}/{permission_id}?wait={wait}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


def decisions(path):
    """The decisions in the log: [(permission_id, approved, actor)]."""
    payloads = [row.payload for row in read_rows(path) if row.event_type == "permission_response_result"]
    return [(each["permission_id"], each["approved"], each["actor"]) for each in payloads]


@pytest.mark.slow
async def test_a_prompt_survives_a_restart_and_its_tool_goes_on(server, http):
    """Scenario 23: asked, killed, reconnected, approved, cleared, and the result comes; the answer may be repeated, not
    changed."""
    async with http.get(server.url + EVENTS) as stream:
        assert (await read_frames(stream, 1))[0].event == "ready"
        await ask(http, server)
        (asked,) = await read_frames(stream, 1)
        server.kill()
    server.start()
    async with http.get(server.url + EVENTS, headers={"Last-Event-ID": asked.id}) as stream:
        assert (await read_frames(stream, 1))[0].event == "ready"
        answer = {"approved": True, "reason": "go on", "permission_id": "p-1"}
        status, first = await post(http, server, ANSWER, **answer)
        assert (status, first["success"], first["approved"], first["reason"]) == (200, True, True, "go on")
        status, result = await post(
            http, server, NOTIFY, type="tool_result", data={"tool_name": "rm", "result": 1, "success": True}
        )
        assert status == 201
        frames = await read_frames(stream, 3)
    assert [frame.data["type"] for frame in frames] == ["permission_response_result", "permission_cleared", "tool_result"]
    assert [frame.data["seq"] for frame in frames] == [first["seq"], first["seq"] + 1, result["seq"]]
    assert frames[0].data["data"]["permission_id"] == frames[1].data["data"]["permission_id"] == "p-1"
    assert asked.data["data"]["status"] == "pending"
    server.kill()
    server.start()
    assert await post(http, server, ANSWER, **answer) == (200, first)
    assert await post(http, server, ANSWER, **{**answer, "reason": "in other words"}) == (200, first)
    async with http.post(server.url + ANSWER, json={**answer, "approved": False}) as opposite:
        error = await assert_error(opposite, "conflict", status=409)
        assert (error["permission_status"], error["actor"]) == ("approved", "anonymous")
    assert decisions(server.database) == [("p-1", True, "anonymous")]
    server.stop()
    check_file(server.database)


@pytest.mark.slow
async def test_a_deadline_that_passes_while_no_server_runs_has_passed(server, http):
    """The next process denies at once, for those who ask and for those who answer: 410."""
    await ask(http, server, expires_within_seconds=0.3)
    server.kill()
    server.start()
    expired = await look(http, server, wait=10)
    assert (expired["status"], expired["reason"], expired["actor"]) == ("expired", "timed_out", "timeout")
    async with http.post(server.url + ANSWER, json={"approved": True, "permission_id": "p-1"}) as late:
        error = await assert_error(late, "gone", status=410, field="permission_id")
        assert error["permission_status"] == "expired"
    rows = read_rows(server.database)
    ours = [(row.event_type, row.payload) for row in rows if row.stream == f"mcp:{SESSION}"][1:]
    denied = {"permission_id": "p-1", "approved": False, "reason": "timed_out", "success": True, "actor": "timeout"}
    assert ours == [
        ("permission_response_result", denied),
        ("permission_cleared", {"permission_id": "p-1", "reason": "timed_out"}),
    ]


@pytest.mark.slow
async def test_a_deadline_counts_from_the_request_not_from_the_restart(server, http):
    """A restart gives nobody more time, and the one that comes next is still waited for."""
    await ask(http, server, expires_within_seconds=2.5)
    await ask(http, server, "p-2")
    before = await look(http, server)
    server.kill()
    server.start()
    after = await look(http, server, wait=10)
    assert after["status"] == "expired"
    assert after["expires_at"] == before["expires_at"] <= after["ended_at"]
    ended, asked = (datetime.fromisoformat(after[key]) for key in ("ended_at", "requested_at"))
    assert 2.5 <= (ended - asked).total_seconds() < 30
    pending = await look(http, server, "p-2")
    assert (pending["status"], pending["actor"]) == ("pending", "")
    status, said = await post(http, server, ANSWER, approved=True)
    assert (status, said["permission_id"]) == (200, "p-2")


@pytest.mark.slow
async def test_with_two_prompts_an_answer_has_to_say_which(server, http):
    """a62: without an id nothing is decided; with one only that prompt is, also across a restart."""
    await ask(http, server, "p-1")
    await ask(http, server, "p-2", parameters={"path": "b.txt"})
    async with http.post(server.url + ANSWER, json={"approved": True}) as unclear:
        error = await assert_error(unclear, "conflict", status=409, field="permission_id")
        assert error["pending"] == ["p-1", "p-2"]
    server.kill()
    server.start()
    assert (await post(http, server, ANSWER, approved=True, permission_id="p-2"))[0] == 200
    assert [(await look(http, server, each))["status"] for each in ("p-1", "p-2")] == ["pending", "approved"]
    status, said = await post(http, server, ANSWER, approved=False)
    assert (status, said["permission_id"]) == (200, "p-1")
    assert decisions(server.database) == [("p-2", True, "anonymous"), ("p-1", False, "anonymous")]


@contextlib.asynccontextmanager
async def servers(server, count):
    """So many processes on the file of the first one."""
    with contextlib.ExitStack() as stack:
        more = [stack.enter_context(ServerProcess(server.database, environment=ENVIRONMENT)) for _ in range(count - 1)]
        yield [server, *more]


@pytest.mark.slow
@pytest.mark.parametrize("count", [pytest.param(1, id="one process"), pytest.param(2, id="two processes")])
async def test_of_answers_that_race_one_wins_and_all_are_told(server, http, count):
    """Ten times twelve clients at once: one decision in the log, 200 for who agrees with it, 409 for the others."""
    async with servers(server, count) as running:
        for round_ in range(10):
            permission_id = f"p-{round_}"
            await ask(http, server, permission_id)
            # Half of them do not name the prompt: it is the only one, until somebody was faster.
            named = [{"permission_id": permission_id}, {}]
            answers = await asyncio.gather(
                *(
                    post(http, running[n % count], ANSWER, approved=n % 3 == 0, reason=f"client {n}", **named[n % 4 == 3])
                    for n in range(12)
                )
            )
            told = [said for status, said in answers if status == 200]
            assert {status for status, _ in answers} <= {200, 409}
            assert told
            assert all(said == told[0] for said in told)
            approved = told[0]["approved"]
            refused = [n for n, (status, _) in enumerate(answers) if status == 409]
            assert {n for n in range(12) if (n % 3 == 0) is not approved} <= set(refused)
            assert all(n % 4 == 3 for n in refused if (n % 3 == 0) is approved)
            assert decisions(server.database)[-1] == (permission_id, approved, "anonymous")
        assert len(decisions(server.database)) == 10


@pytest.mark.slow
async def test_two_processes_expire_a_permission_once(server, http):
    """Both watch; the revision decides whose word is stored, and a wait on either ends."""
    async with servers(server, 2) as running:
        for n in range(20):
            await ask(http, running[n % 2], f"p-{n}", expires_within_seconds=0.2)
        for n in range(20):
            assert (await look(http, running[(n + 1) % 2], f"p-{n}", wait=10))["status"] == "expired"
        assert sorted(decisions(server.database)) == sorted((f"p-{n}", False, "timeout") for n in range(20))
        server.kill()
        await ask(http, running[1], "p-last", expires_within_seconds=0.05)
        assert (await look(http, running[1], "p-last", wait=10))["status"] == "expired"
    check_file(server.database)


# In one process.


async def notify(client, event_type, data, **fields):
    """Post a notice to the application."""
    answer = await client.post(NOTIFY, json={"type": event_type, "data": data, **fields})
    assert answer.status in (200, 201), await answer.text()


async def status_of(client, permission_id="p-1", wait=5):
    """What has become of a permission in the application."""
    answer = await client.get(f"{BASE}/permissions/{SESSION}/{permission_id}?wait={wait}")
    return (await answer.json())["status"]


async def test_nobody_is_in_time_after_the_deadline_even_before_it_is_recorded(aiohttp_client, quiet_config, monkeypatch):
    """The clock decides, not how soon the expiry gets its turn."""

    async def asleep(expiry):
        await asyncio.Event().wait()

    monkeypatch.setattr(PermissionExpiry, "_run", asleep)
    now = [1_800_000_000.0]
    client = await aiohttp_client(make_app(quiet_config, clock=lambda: now[0]))
    await notify(client, "permission_request", ASKED, permission_id="p-1")
    now[0] += 120.0
    await assert_error(await client.post(ANSWER, json={"approved": True}), "gone", status=410)
    await assert_error(await client.post(ANSWER, json={"approved": False}), "gone", status=410)
    assert await status_of(client, wait=0) == "pending"
    now[0] -= 0.001
    assert (await client.post(ANSWER, json={"approved": True})).status == 200


async def test_the_expiry_looks_at_the_clock_again_when_somebody_asks(aiohttp_client, quiet_config):
    """A clock that was set forward is noticed before the next deadline."""
    now = [1_800_000_000.0]
    client = await aiohttp_client(make_app(quiet_config, clock=lambda: now[0]))
    await notify(client, "permission_request", ASKED, permission_id="p-1")
    now[0] += 120.0
    await notify(client, "permission_request", ASKED, permission_id="p-2")
    assert await status_of(client) == "expired"
    assert await status_of(client, "p-2", wait=0) == "pending"


async def test_many_deadlines_that_have_passed_are_all_kept_at_start(aiohttp_client, quiet_config):
    """All that a session may have, and nobody asks anything that would wake the expiry."""
    now = [1_800_000_000.0]
    client = await aiohttp_client(make_app(quiet_config, clock=lambda: now[0]))
    asked = ASKED | {"expires_within_seconds": 3.0}
    await asyncio.gather(*(notify(client, "permission_request", asked, permission_id=f"p-{n}") for n in range(90)))
    await client.close()
    now[0] += 4.0
    client = await aiohttp_client(make_app(quiet_config, clock=lambda: now[0]))
    assert {await status_of(client, f"p-{n}") for n in range(90)} == {"expired"}


async def test_a_clock_that_went_back_gives_a_permission_no_more_time(aiohttp_client, quiet_config):
    """An hour back while the server lives: what was asked for before expires in its time, and what is asked for then, too."""
    now, counted = [1_800_000_000.0], [50.0]
    client = await aiohttp_client(make_app(quiet_config, clock=lambda: now[0], counted=lambda: counted[0]))
    await notify(client, "permission_request", ASKED, permission_id="before")
    assert await status_of(client, "before", wait=0) == "pending"
    now[0] -= 3_600.0
    counted[0] += 60.0
    await notify(client, "permission_request", ASKED, permission_id="after")
    for permission_id in ("before", "after"):
        assert await status_of(client, permission_id, wait=0) == "pending"
    counted[0] += 60.0
    await assert_error(await client.post(ANSWER, json={"approved": True, "permission_id": "before"}), "gone", status=410)
    assert (await client.post(ANSWER, json={"approved": True, "permission_id": "after"})).status == 200


async def test_a_clock_that_jumps_ahead_takes_no_time_from_a_permission(aiohttp_client, quiet_config):
    """Also where the expiry looks at the table by the clock."""
    now, counted = [1_800_000_000.0], [50.0]
    client = await aiohttp_client(make_app(quiet_config, clock=lambda: now[0], counted=lambda: counted[0]))
    await notify(client, "permission_request", ASKED, permission_id="p-1")
    now[0] += 86_400.0
    await notify(client, "permission_request", {**ASKED, "expires_within_seconds": 0.01}, permission_id="p-2")
    counted[0] += 0.02
    await notify(client, "error", {"message": "wakes nobody"})
    await notify(client, "permission_request", ASKED, permission_id="p-3")
    assert await status_of(client, "p-2") == "expired"
    assert await status_of(client, "p-1", wait=0) == "pending"
    assert (await client.post(ANSWER, json={"approved": True, "permission_id": "p-1"})).status == 200


async def test_what_the_server_was_down_does_not_count_for_a_permission(aiohttp_client, quiet_config):
    """Nobody could answer. Each gets one event, at the next start and not again; after a short stop none does."""
    now = [1_800_000_000.0]

    async def start():
        return await aiohttp_client(make_app(quiet_config, clock=lambda: now[0]))

    client = await start()
    await notify(client, "permission_request", ASKED, permission_id="p-1")
    await notify(client, "permission_request", ASKED, permission_id="p-2")
    assert (await client.post(ANSWER, json={"approved": True, "permission_id": "p-2"})).status == 200
    for down in (4.0, 3_600.0, 4.0):
        await client.close()
        now[0] += down
        client = await start()
    async with client.get(f"/api/events?stream=mcp:{SESSION}&type=deadline.extended&since_seq=0") as page:
        events = (await page.json())["events"]
    assert [event["payload"] for event in events] == [{"permission_id": "p-1", "seconds": 3_600.0}]
    async with client.get(f"{BASE}/permissions/{SESSION}/p-1") as answer:
        detail = await answer.json()
    assert (detail["status"], detail["expires_in_seconds"]) == ("pending", 112.0)
    assert (await client.post(ANSWER, json={"approved": True, "permission_id": "p-1"})).status == 200


async def test_nothing_is_extended_where_another_process_lived_on(aiohttp_client, quiet_config):
    """It could be answered all the while."""
    now = [1_800_000_000.0]
    staying = await aiohttp_client(make_app(quiet_config, clock=lambda: now[0]))
    await notify(staying, "permission_request", ASKED, permission_id="p-1")
    now[0] += 60.0
    coming = await aiohttp_client(make_app(quiet_config, clock=lambda: now[0]))
    async with coming.get(f"{BASE}/permissions/{SESSION}/p-1") as answer:
        assert (await answer.json())["expires_in_seconds"] == 60.0
    async with coming.get(f"/api/events?stream=mcp:{SESSION}&type=deadline.extended&since_seq=0") as page:
        assert (await page.json())["events"] == []


async def test_nobody_but_the_server_extends_a_deadline(aiohttp_client, quiet_config):
    """A runner or an agent would give itself more time."""
    client = await aiohttp_client(make_app(quiet_config))
    for stream in ("mcp:s-1", "demand:d-1"):
        given = {"stream": stream, "event_type": "deadline.extended", "payload": {"permission_id": "p-1", "seconds": 60}}
        await assert_error(await client.post("/api/events", json=given), "forbidden", status=403, field="event_type")


async def test_an_expiry_waits_for_a_disk_that_is_full(aiohttp_client, quiet_config, monkeypatch):
    """It is recorded as soon as there is room."""
    client = await aiohttp_client(make_app(quiet_config))
    log = client.app[LOG]
    await notify(client, "permission_request", {**ASKED, "expires_within_seconds": 0.05}, permission_id="p-1")
    append, refusals = log.append, []

    async def full(events):
        refusals.append(events)
        raise StorageFull("no room")

    monkeypatch.setattr(log, "append", full)
    await until(lambda: len(refusals) == 1)
    monkeypatch.setattr(log, "append", append)
    assert await status_of(client) == "expired"


async def test_a_request_that_was_trimmed_away_expires_all_the_same(aiohttp_client, quiet_config):
    """Its row is not left waiting for ever, and the expiry goes on with others."""
    client = await aiohttp_client(make_app(quiet_config))
    await notify(client, "permission_request", {**ASKED, "expires_within_seconds": 0.5}, permission_id="p-1")
    await notify(client, "error", {"message": "m"})
    await notify(client, "error", {"message": "m"})
    assert await trim(client.app[LOG], RetentionSection(kinds={"mcp": KindRetention(keep_last=1)})) == 2
    assert await status_of(client) == "expired"
    await notify(client, "permission_request", {**ASKED, "expires_within_seconds": 0.05}, permission_id="p-2")
    assert await status_of(client, "p-2") == "expired"
    async with client.get(f"/api/events?stream=mcp:{SESSION}&type=permission_response_result&since_seq=2") as page:
        assert len((await page.json())["events"]) == 2
