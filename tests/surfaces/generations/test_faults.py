"""What goes wrong in a run: a model that refuses, breaks off, stalls or writes garbage, a file that is full, faults of ours."""

import asyncio
import itertools

import pytest

from server.app import LOG, make_app
from server.background import retry
from server.config import KindRetention, RetentionSection
from server.eventlog.retention import trim
from server.surfaces.generations import agent_task
from server.surfaces.generations.agent_task import AgentTask
from server.surfaces.generations.plans import Nova3Supervisor
from tests.support import until
from tests.support.generations import (
    NOVA,
    TASKS,
    begin,
    cancel,
    check_whole,
    follow,
    generating,
    of_type,
    payloads,
    perform,
    run_of,
    texts_of,
    types_of,
    until_ended,
    until_run,
)
from tests.support.upstream import (
    DONE,
    OPENING,
    STOP,
    Upstream,
    breaks_off,
    ends_early,
    hangs_up,
    refuses,
    says_error,
    says_nothing,
    sends,
    sends_a_page,
    sends_garbage,
    stalls,
    writes,
    writes_for_ever,
    writes_nothing,
)
from towow.errors import StorageFull, Unavailable

ME = "insight_agent"
IMPATIENT = {"first_piece_timeout_seconds": 0.5, "stall_timeout_seconds": 0.5}


@pytest.fixture
def start(aiohttp_client, quiet_config, upstream):
    """Start the application with the upstream and these settings of generations."""

    async def start(**options):
        return await aiohttp_client(make_app(generating(quiet_config, upstream, **options)))

    return start


@pytest.mark.slow
async def test_the_waits_of_the_defaults_are_one_two_and_four_seconds(start, upstream):
    """Scenario 22: two failures and then success, after 1 s and 2 s; always failing, four attempts and an error."""
    upstream.when(TASKS[ME], refuses(503), refuses(503), writes("At last."))
    upstream.when(TASKS["profile_agent"], refuses(503))
    client = await start(retry_delay_seconds=1.0, retry_backoff=2.0)
    run_id, events = await perform(client)
    mine, other = payloads(events, "retrying", ME), payloads(events, "retrying", "profile_agent")
    assert [each["delay_seconds"] for each in mine] == [1.0, 2.0]
    assert [each["delay_seconds"] for each in other] == [1.0, 2.0, 4.0]
    assert [(each["attempt"], each["max_attempts"], each["retry_count"]) for each in other] == [(2, 4, 1), (3, 4, 2), (4, 4, 3)]
    assert {each["error_type"] for each in mine + other} == {"status_503"}
    for agent, delays in ((ME, [1, 2]), ("profile_agent", [1, 2, 4])):
        asked_at = [asked.at for asked in upstream.asked_about(TASKS[agent])]
        waited = [after - before for before, after in itertools.pairwise(asked_at)]
        assert len(waited) == len(delays)
        assert all(seconds >= delay for seconds, delay in zip(waited, delays, strict=True))
    assert types_of(events, ME) == ["agent_start", "retrying", "retrying", "llm_chunk", "agent_complete"]
    assert types_of(events, "profile_agent") == ["agent_start", "retrying", "retrying", "retrying", "error"]
    (error,) = payloads(events, "error")
    assert (error["retry_count"], error["agent"], error["status"]) == (3, "profile_agent", "failed")
    assert payloads(events, "run_complete")[0]["partial"] is True
    check_whole(events, await run_of(client, run_id))


# What passes is tried again, and what was written before is discarded; what does not pass is an error at once.
PASSING = [
    pytest.param(refuses(500), "status_500", False, id="status 500"),
    pytest.param(refuses(429), "status_429", False, id="status 429"),
    pytest.param(refuses(503), "status_503", False, id="status 503"),
    pytest.param(breaks_off(), "broken", True, id="breaks off"),
    pytest.param(ends_early(), "broken", True, id="ends early"),
    pytest.param(hangs_up(), "broken", False, id="hangs up"),
    pytest.param(stalls(), "stalled", True, id="stalls"),
    pytest.param(says_nothing(), None, False, id="says nothing"),
]
FINAL = [
    pytest.param(refuses(400), "status_400", "", id="status 400"),
    pytest.param(refuses(401), "status_401", "", id="status 401"),
    pytest.param(refuses(404), "status_404", "", id="status 404"),
    pytest.param(sends_garbage(), "bad_answer", "It begins", id="garbage"),
    pytest.param(sends_a_page(), "bad_answer", "", id="a page"),
    pytest.param(writes_nothing(), "empty_answer", "", id="nothing"),
    pytest.param(writes([" ", "\n"]), "empty_answer", None, id="blank"),
]


@pytest.mark.parametrize(("fault", "error_type", "has_text"), PASSING)
async def test_what_may_pass_is_tried_again_and_its_text_discarded(start, upstream, fault, error_type, has_text):
    """Twice, and then the text is whole: nothing of the attempts before is in it, for readers and in the state."""
    upstream.when(TASKS[ME], fault, fault, writes("It is whole now."))
    client = await start(llm=IMPATIENT)
    run_id, events = await perform(client)
    again = payloads(events, "retrying", ME)
    assert [each["retry_count"] for each in again] == [1, 2]
    assert {each["error_type"] for each in again} == {error_type or again[0]["error_type"]}
    if has_text:
        assert [each["discards_text"] for each in again] == [True, True]
    assert texts_of(events)[ME] == "It is whole now."
    run = await run_of(client, run_id)
    mine = run["agents"][0]
    assert (mine["status"], mine["text"], mine["retries"], mine["error"]) == ("completed", "It is whole now.", 2, None)
    assert (run["status"], run["partial"]) == ("completed", False)
    check_whole(events, run)


@pytest.mark.parametrize(("fault", "error_type", "has_text"), PASSING)
async def test_what_never_passes_ends_the_agent_after_all_attempts(start, upstream, fault, error_type, has_text):
    """One and three more, then an error with the count; the others are not disturbed."""
    upstream.when(TASKS[ME], fault)
    client = await start(llm=IMPATIENT)
    run_id, events = await perform(client)
    assert len(upstream.asked_about(TASKS[ME])) == 4
    (error,) = payloads(events, "error")
    assert (error["agent"], error["retry_count"]) == (ME, 3)
    assert error["error_type"] == (error_type or error["error_type"])
    assert "agent_complete" not in types_of(events, ME)
    assert len(of_type(events, "agent_complete")) == 3
    check_whole(events, await run_of(client, run_id))


@pytest.mark.parametrize(("fault", "error_type", "text"), FINAL)
async def test_what_does_not_pass_is_not_tried_again(start, upstream, fault, error_type, text):
    """An error at once, in a fixed sentence that quotes nothing of the answer."""
    upstream.when(TASKS[ME], fault)
    client = await start()
    run_id, events = await perform(client)
    assert len(upstream.asked_about(TASKS[ME])) == 1
    (error,) = payloads(events, "error")
    assert (error["error_type"], error["retry_count"]) == (error_type, 0)
    assert not of_type(events, "retrying")
    run = await run_of(client, run_id)
    assert run["agents"][0]["error_type"] == error_type
    if text is not None:
        assert text.startswith(run["agents"][0]["text"])
    check_whole(events, run)


async def test_an_error_that_the_model_reports_in_its_stream_is_told_without_its_words(start, upstream):
    """Whatever the model says went wrong stays out of the events."""
    upstream.when(TASKS[ME], says_error())
    client = await start()
    run_id, events = await perform(client)
    assert payloads(events, "error", ME)
    assert "secret detail" not in str(events)
    check_whole(events, await run_of(client, run_id))


@pytest.mark.parametrize(("asked", "told"), [("0.3", 0.3), ("0", 0.01), ("soon", 0.01), ("86400", 60.0)])
async def test_a_model_that_says_when_to_come_back_is_heard(start, upstream, asked, told):
    """`Retry-After` counts when it is longer than the schedule, up to a minute."""
    upstream.when(TASKS[ME], refuses(429, retry_after=asked), writes("Now."))
    client = await start()
    run_id = await begin(client)
    run = await until_run(client, run_id, lambda run: run["agents"][0]["status"] in ("retrying", "completed"))
    if told == 60.0:
        await cancel(client, run_id)
    events = await follow(client, run_id)
    assert [each["delay_seconds"] for each in payloads(events, "retrying")] == [told]
    assert run


async def test_a_model_that_cannot_be_reached_is_tried_again(aiohttp_client, quiet_config, upstream):
    """Nobody listens there: every agent gives up after its attempts, and the run has failed."""
    config = generating(quiet_config, upstream)
    async with Upstream() as gone:
        config = generating(quiet_config, gone)
    client = await aiohttp_client(make_app(config))
    run_id, events = await perform(client)
    assert {each["error_type"] for each in payloads(events, "error")} == {"unreachable"}
    assert payloads(events, "run_failed")[0]["reason"] == "all_agents_failed"
    check_whole(events, await run_of(client, run_id))


async def test_no_retries_are_no_retries(start, upstream):
    """`max_retries = 0`."""
    upstream.when(TASKS[ME], refuses(503))
    client = await start(max_retries=0)
    _, events = await perform(client)
    assert (len(upstream.asked_about(TASKS[ME])), len(of_type(events, "retrying"))) == (1, 0)
    assert payloads(events, "error")[0]["retry_count"] == 0


async def test_what_would_not_survive_json_or_a_terminal_is_left_out(start, upstream):
    """Control characters and halves of characters; what is left is stored."""
    broken = b'data: {"choices":[{"index":0,"delta":{"content":"a\\u0000b\\u001b[1m\\u2028c\\r\\nd"}}]}\n\n'
    upstream.when(TASKS[ME], sends(OPENING, broken, STOP, DONE))
    client = await start()
    run_id, events = await perform(client)
    assert texts_of(events)[ME] == "ab[1m\nc\nd"
    check_whole(events, await run_of(client, run_id))


async def test_a_text_without_an_end_is_cut_off(start, upstream, monkeypatch):
    """A model that has lost its way does not fill the disk."""
    monkeypatch.setattr(agent_task, "_MAX_TEXT_CHARACTERS", 200)
    upstream.when(TASKS[ME], writes_for_ever("0123456789", rate=1000))
    client = await start()
    _, events = await perform(client)
    assert payloads(events, "error")[0]["error_type"] == "too_large"
    assert len(texts_of(events)[ME]) <= 200
    await until(lambda: upstream.open == 0)


# Faults of ours.


async def test_a_fault_of_ours_in_one_agent_is_its_error_and_nobody_elses(start, monkeypatch):
    """Its text goes to the log, under the error_id."""
    write = AgentTask._write

    async def broken(self):
        if self._agent == ME:
            raise LookupError("swordfish")
        return await write(self)

    monkeypatch.setattr(AgentTask, "_write", broken)
    client = await start()
    run_id, events = await perform(client)
    (error,) = payloads(events, "error")
    assert (error["agent"], error["error_type"]) == (ME, "internal")
    assert "swordfish" not in str(events)
    assert payloads(events, "run_complete")[0]["agents_completed"] == list(NOVA[1:])
    check_whole(events, await run_of(client, run_id))


async def test_a_fault_of_ours_in_the_run_ends_it_with_a_reason(start, monkeypatch):
    """Somebody may wait for it."""

    def broken(self, state):
        raise LookupError("swordfish")

    monkeypatch.setattr(Nova3Supervisor, "next_step", broken)
    client = await start()
    _, events = await perform(client)
    (end,) = payloads(events, "run_failed")
    assert (end["reason"], end["status"]) == ("internal", "failed")
    assert end["error_id"]
    assert "swordfish" not in str(events)


# A file that cannot be written for a while.


def refuse(log, monkeypatch, event_type, error, times):
    """Let appends that begin with this event type fail so many times; returns the list of refusals."""
    append, refused = log.append, []

    async def append_or_not(events):
        if events and events[0].event_type == event_type and len(refused) < times:
            refused.append(events)
            raise error
        return await append(events)

    monkeypatch.setattr(log, "append", append_or_not)
    return refused


@pytest.mark.parametrize("error", [StorageFull("no room"), Unavailable("locked")], ids=["full", "locked"])
@pytest.mark.parametrize("event_type", ["agent_start", "llm_chunk", "retrying", "agent_complete", "error", "run_complete"])
async def test_a_file_that_cannot_be_written_for_a_while_only_delays(start, upstream, monkeypatch, event_type, error):
    """Whatever is to be stored: it is tried again, nothing is lost or stored twice, and the run comes to its end."""
    monkeypatch.setattr(retry, "_RETRY_SECONDS", (0.01, 0.02))
    upstream.otherwise(writes([f"{n} " for n in range(40)], rate=400))
    upstream.when(TASKS[ME], refuses(503), writes("Now."))
    upstream.when(TASKS["profile_agent"], refuses(401))
    client = await start()
    refused = refuse(client.app[LOG], monkeypatch, event_type, error, 3)
    run_id, events = await perform(client)
    assert len(refused) == 3
    run = await run_of(client, run_id)
    assert (run["status"], run["partial"]) == ("completed", True)
    assert texts_of(events)["content_agent"] == "".join(f"{n} " for n in range(40))
    check_whole(events, run)


async def test_a_cancel_while_the_file_cannot_be_written_is_the_end(start, upstream, monkeypatch):
    """What had gathered is not stored after it."""
    upstream.otherwise(writes_for_ever())
    client = await start()
    refused = refuse(client.app[LOG], monkeypatch, "llm_chunk", StorageFull("no room"), 10_000)
    run_id = await begin(client)
    await until(lambda: len(refused) >= 4)
    assert (await cancel(client, run_id))[0] == 200
    await until(lambda: upstream.open == 0)
    run = await run_of(client, run_id)
    assert run["status"] == "cancelled"
    check_whole(await follow(client, run_id), run)


async def test_an_append_that_is_on_its_way_is_awaited_by_who_is_cancelled(start, upstream, monkeypatch):
    """So nothing of a runner comes after it has given up the lock."""
    upstream.otherwise(writes_for_ever(rate=200))
    client = await start()
    log = client.app[LOG]
    append, on_the_way = log.append, []

    async def counted(events):
        on_the_way.append(events)
        receipts = await append(events)
        on_the_way.remove(events)
        return receipts

    monkeypatch.setattr(log, "append", counted)
    for _ in range(5):
        await begin(client)
    await until(lambda: len(on_the_way) > 1)
    task = asyncio.create_task(client.close())
    await task
    assert on_the_way == []


async def test_what_was_on_its_way_when_the_time_was_over_counts(start, upstream, monkeypatch):
    """The end of a run names an agent whose completion reached the disk just before it."""
    upstream.otherwise(says_nothing())  # so that nothing else is appended after it
    upstream.when(TASKS[ME], writes("Done."))
    client = await start(run_timeout_seconds=1.0)
    append = client.app[LOG].append

    async def slow(events):
        receipts = await append(events)
        if events[0].event_type == "agent_complete":
            await until(lambda: upstream.left == 3)  # the other agents have been stopped
        return receipts

    monkeypatch.setattr(client.app[LOG], "append", slow)
    run_id, events = await perform(client)
    (end,) = payloads(events, "run_failed")
    assert (end["reason"], end["agents_completed"]) == ("timeout", [ME])
    check_whole(events, await run_of(client, run_id))


async def test_a_run_whose_beginning_is_gone_ends(aiohttp_client, quiet_config, upstream):
    """Retention has trimmed what was asked for: it is interrupted, also where runs would be resumed."""
    config = generating(quiet_config, upstream, resume=True)
    upstream.otherwise(writes_for_ever())
    client = await aiohttp_client(make_app(config))
    run_id = await begin(client)
    await until_run(client, run_id, lambda run: all(agent["text"] for agent in run["agents"]))
    assert await trim(client.app[LOG], RetentionSection(kinds={"run": KindRetention(keep_last=2)}))
    await client.close()
    client = await aiohttp_client(make_app(config))

    async def status():
        async with client.get("/api/runs") as answer:
            return (await answer.json())["runs"][0]

    async with asyncio.timeout(5):
        while (found := await status())["status"] == "running":
            await asyncio.sleep(0.01)
    assert (found["status"], found["reason"]) == ("failed", "interrupted")


async def test_as_many_runs_may_be_as_the_settings_say_and_no_more(start, upstream):
    """The next one gets 429 and when to come back; when one ends there is room."""
    upstream.otherwise(writes_for_ever(rate=5))
    client = await start(max_runs=3)
    runs = [await begin(client) for _ in range(3)]
    async with client.post("/novachat", json={"prompt": "one more"}) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
    await cancel(client, runs[0])
    await until_ended(client, runs[0])
    await begin(client)
