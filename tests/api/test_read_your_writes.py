"""Two applications on one file: what one of them was asked for is known at the other, or the other says that it is behind."""

import asyncio

import pytest

from server.api import middleware
from server.app import LOG, make_app
from server.eventlog.decider import decide_and_append, fold
from server.eventlog.log import EventLog
from server.eventlog.peers import Peers
from tests.support import assert_error, body, changed, note, publish
from towow import Client
from towow.errors import Behind, NotFound
from towow.retry import Retry


@pytest.fixture
async def strangers(aiohttp_client, quiet_config, monkeypatch):
    """Clients of two applications on one file that never hear of each other, so that each has to look."""
    monkeypatch.setattr(Peers, "announce", lambda self: None)
    config = changed(quiet_config, "poll", poll_interval_seconds=600.0, max_poll_interval_seconds=600.0)
    return await aiohttp_client(make_app(config)), await aiohttp_client(make_app(config))


async def test_every_answer_that_read_or_wrote_the_log_says_how_far_it_may_have_seen(client):
    """Also a stream's, an error's and a refused command's; what has no log in it has no seq."""
    assert (await client.get("/api/events")).headers["X-Towow-Seq"] == "0"
    assert (await client.post("/api/events", json=body())).headers["X-Towow-Seq"] == "1"
    await publish(client, 2)
    for path in ("/api/events", "/api/streams", "/api/demand", "/api/events/2", "/api/events/9", "/api/sessions", "/api/head"):
        assert (await client.get(path)).headers["X-Towow-Seq"] == "3", path
    async with client.get("/api/events/stream?stream=task:a") as stream:
        assert stream.headers["X-Towow-Seq"] == "3"
    assert (await client.post("/api/sessions/x/release", json={"agent_id": "op"})).headers["X-Towow-Seq"] == "3"
    for path in ("/health", "/", "/api", "/nothing"):
        assert "X-Towow-Seq" not in (await client.get(path)).headers, path


async def test_a_process_that_is_asked_for_at_least_a_seq_looks_and_answers(strangers):
    """What was appended at one is in the page of the other, and in its stream's beginning."""
    first, second = strangers
    await publish(first, 1)
    assert (await (await second.get("/api/events")).json())["events"] == []
    written = await first.post("/api/events", json=body(n=1))
    headers = {"X-Towow-At-Least": written.headers["X-Towow-Seq"]}
    page = await (await second.get("/api/events", headers=headers)).json()
    assert [event["payload"]["n"] for event in page["events"]] == [0, 1]


async def test_a_process_that_learns_of_the_seq_while_it_waits_answers_then(strangers, monkeypatch):
    """The wait ends with the event, not with its longest time."""
    first, second = strangers
    waiting = asyncio.create_task(second.get("/api/events", headers={"X-Towow-At-Least": "1"}))
    await (await second.get("/api/head")).read()  # the request before it has looked, and found nothing
    await publish(first, 1)
    second.app[LOG].wake_for_foreign()
    assert len((await (await waiting).json())["events"]) == 1


async def test_a_process_that_stays_behind_says_so(strangers, monkeypatch):
    """503 `behind` with what it knows; a client may try it again. Nothing was done."""
    monkeypatch.setattr(middleware, "_AT_LEAST_SECONDS", 0.01)
    first, _ = strangers
    await publish(first, 2)
    answer = await first.post("/api/events", json=body(), headers={"X-Towow-At-Least": "7"})
    error = await assert_error(answer, "behind", status=503)
    assert error["head_seq"] == 2
    assert answer.headers["Retry-After"]
    assert first.app[LOG].head_seq == 2


@pytest.mark.parametrize("value", ["", "x", "-1", "٣", "1_0", "9223372036854775808", "1.123456"])
async def test_what_is_no_seq_is_refused(client, value):
    """As any other cursor that cannot be read."""
    answer = await client.get("/api/events", headers={"X-Towow-At-Least": value})
    await assert_error(answer, "invalid_request", status=400, field="X-Towow-At-Least")


async def test_a_command_is_decided_again_before_another_process_is_contradicted(strangers):
    """A state that is folded from announced events knows nothing of the other's: a no needs a look first."""
    first, second = strangers
    await publish(first, 1)
    log: EventLog = second.app[LOG]

    def decide(count):
        if not count:
            raise NotFound("there is no task a")
        return [note(n=count)]

    async def load():
        return await fold(log, "task:a", 0, lambda count, event: count + 1)

    _, receipts = await decide_and_append(log, "task:a", load, decide, revision_of=lambda count: count)
    assert [receipt.event.revision for receipt in receipts] == [2]
    with pytest.raises(NotFound):
        await decide_and_append(log, "task:b", load, lambda count: decide(0), revision_of=None)


async def test_a_read_is_asked_again_before_it_ends_in_a_no(strangers, monkeypatch):
    """Whatever the route: here one whose answer depends on what this process has announced."""
    first, second = strangers
    log = second.app[LOG]
    await publish(first, 1)
    assert log.head_seq == 0
    heads = []

    async def get(self, **asked):
        heads.append(self.head_seq)

    monkeypatch.setattr(EventLog, "get", get)
    await assert_error(await second.get("/api/events/1"), "not_found", status=404)
    assert heads == [0, 1]
    await assert_error(await second.get("/api/events/1"), "not_found", status=404)
    assert heads == [0, 1, 1]  # nothing has come meanwhile: once is enough


async def test_a_seq_covers_what_an_answer_read_from_the_file_before_it_was_announced(strangers):
    """Rows are read from the file, so they may be newer than the head of this process."""
    first, second = strangers
    opened = await first.post("/api/manual/escalate", json={"session_name": "s-1"})
    assert opened.status == 200, await opened.text()
    answer = await second.get("/api/sessions/s-1")
    assert answer.status == 200
    assert second.app[LOG].head_seq == 0
    assert answer.headers["X-Towow-Seq"] == opened.headers["X-Towow-Seq"] != "0"


async def test_a_client_reads_at_one_server_what_it_has_written_at_another(strangers, monkeypatch):
    """`reads_own_writes` sends what was seen; `seen` hands it from one client to another."""
    first, second = (str(client.make_url("")).rstrip("/") for client in strangers)
    async with Client(first) as writer, Client(second, reads_own_writes=True, retry=Retry(total_seconds=0)) as reader:
        receipt = await writer.append("task:a", "note", {})
        assert writer.seen() == receipt.seq
        assert (await reader.read("*")).events == []
        reader.seen(writer.seen())
        assert [event.seq for event in (await reader.read("*")).events] == [receipt.seq]
        monkeypatch.setattr(middleware, "_AT_LEAST_SECONDS", 0.01)
        reader.seen(99)
        with pytest.raises(Behind):
            await reader.read("*")


async def test_pages_of_other_origins_may_send_and_read_the_seq(aiohttp_client, quiet_config):
    """The headers are in the preflight's answer and among those that a script may see."""
    config = changed(quiet_config, "cors", origins=("https://app.example",))
    client = await aiohttp_client(make_app(config))
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    preflight = await client.options("/api/events", headers=headers)
    assert "X-Towow-At-Least" in preflight.headers["Access-Control-Allow-Headers"]
    answer = await client.get("/api/events", headers=headers)
    assert "X-Towow-Seq" in answer.headers["Access-Control-Expose-Headers"]
