"""A log that was restored, cloned, cut back or replaced never continues a reader in the middle of another history.

Two files share their first ten events and their epoch; then each went its own way. A cursor of one of them is sent to the
server of the other: on the plain URL, and on every transport."""

import json
import shutil
from pathlib import Path

import aiohttp
import pytest

from server.app import make_app
from server.eventlog.selection import select
from tests.support import EventSource, ServerProcess, assert_error, changed, note, open_log, publish, read_frames, until
from towow import Client, CursorLost

SHARED = 10  # events that both files have
STREAM = "task:a"
PATH = f"/api/events/stream?stream={STREAM}"


@pytest.fixture
async def histories(config, tmp_path):
    """The settings of the file that serves, and the cursors that the other one has given."""
    other = changed(config, "database", path=str(tmp_path / "other.db"))
    async with open_log(config) as log:
        await log.append([note(STREAM, n) for n in range(SHARED)])
    shutil.copyfile(config.database.path, other.database.path)
    for settings, first in ((config, 100), (other, 200)):
        async with open_log(settings) as log:
            await log.append([note(STREAM, n) for n in range(first, first + SHARED)])
            cursors = {event.seq: event.cursor for event in (await log.read(select(), 0)).events}
    return changed(config, "stream", keepalive_seconds=60.0), cursors


async def by_sse(client, cursor):
    """The name of the first frame, its fields, and the number of the first event."""
    async with client.get(PATH, headers={"Last-Event-ID": cursor}) as response:
        frames = await read_frames(response, 2)
    first = next(frame for frame in frames if frame.event is None)
    return frames[0].event, frames[0].data, first.data["payload"]["n"]


async def by_query(client, cursor):
    """The same with the cursor in the query, and with the epoch that both files have."""
    page = await (await client.get("/api/events?limit=1")).json()
    async with client.get(f"{PATH}&since_seq={cursor}&epoch={page['epoch']}") as response:
        frames = await read_frames(response, 2)
    first = next(frame for frame in frames if frame.event is None)
    return frames[0].event, frames[0].data, first.data["payload"]["n"]


async def by_ndjson(client, cursor):
    """The same as lines."""
    async with client.get(f"{PATH}&format=ndjson", headers={"Last-Event-ID": cursor}) as response:
        lines = [json.loads(await response.content.readline()) for _ in range(2)]
    first = next(line for line in lines if "control" not in line)
    return lines[0].get("control"), lines[0], first["payload"]["n"]


async def by_websocket(client, cursor):
    """The same as messages."""
    async with client.ws_connect(f"{PATH}&lastEventId={cursor}") as socket:
        messages = [json.loads((await socket.receive()).data) for _ in range(2)]
    first = next(message for message in messages if "control" not in message)
    return messages[0].get("control"), messages[0], first["payload"]["n"]


@pytest.mark.parametrize("read", [by_sse, by_query, by_ndjson, by_websocket])
async def test_a_cursor_of_another_history_is_reset_and_one_of_the_common_prefix_goes_on(aiohttp_client, histories, read):
    """The same seq, the same epoch, another event: `other_history`, and then everything; before they parted, no reset."""
    config, cursors = histories
    client = await aiohttp_client(make_app(config))
    name, _, number = await read(client, cursors[5])
    assert (name, number) == (None, 5)
    for seq in (SHARED + 1, SHARED + 5, 2 * SHARED):
        name, fields, number = await read(client, cursors[seq])
        assert (name, fields["reason"], fields["requested"]) == ("reset", "other_history", cursors[seq])
        assert (fields["oldest_seq"], fields["head_seq"], number) == (1, 2 * SHARED, 0)


async def test_a_poll_with_a_cursor_of_another_history_is_gone(aiohttp_client, histories):
    """410 with the fields of a reset; `next_cursor` of a page is a cursor that is proved."""
    config, cursors = histories
    client = await aiohttp_client(make_app(config))
    for seq in (SHARED + 1, 2 * SHARED):
        answer = await client.get(f"/api/events?stream={STREAM}&since_seq={cursors[seq]}")
        error = await assert_error(answer, "gone", status=410)
        assert (error["reason"], error["requested"]) == ("other_history", cursors[seq])
    page = await (await client.get(f"/api/events?stream={STREAM}&after={cursors[5]}&limit=3")).json()
    assert [event["payload"]["n"] for event in page["events"]] == [5, 6, 7]
    page = await (await client.get(f"/api/events?stream={STREAM}&after={page['next_cursor']}&limit=1000")).json()
    assert [event["payload"]["n"] for event in page["events"]] == [8, 9, *range(100, 110)]
    empty = await (await client.get(f"/api/events?stream={STREAM}&after={page['next_cursor']}")).json()
    assert (empty["events"], empty["next_cursor"]) == ([], page["next_cursor"])
    until_five = await (await client.get("/api/events?stream=task:*&since_seq=0&until_seq=5&type=none")).json()
    assert (until_five["events"], until_five["next_cursor"]) == ([], cursors[5])


async def test_every_line_and_message_says_its_cursor_and_so_does_ready(aiohttp_client, histories):
    """Beside the event in NDJSON and over a WebSocket, as the id in SSE: the same text."""
    config, _ = histories
    client = await aiohttp_client(make_app(config))
    async with client.get(f"{PATH}&since_seq=18") as response:
        *frames, ready = await read_frames(response, 3)
        await publish(client, 1)
        frames += await read_frames(response, 1)
    ids = [frame.id for frame in frames]
    assert (ready.id, ready.data["cursor"]) == (ids[1], ids[1])
    async with client.get(f"{PATH}&since_seq=18&format=ndjson") as response:
        lines = [json.loads(await response.content.readline()) for _ in range(4)]
    assert [line["cursor"] for line in lines] == [*ids, ids[-1]]
    async with client.ws_connect(f"{PATH}&since_seq=18") as socket:
        messages = [json.loads((await socket.receive()).data) for _ in range(4)]
    assert [message["cursor"] for message in messages] == [*ids, ids[-1]]
    assert {key: value for key, value in lines[0].items() if key != "cursor"} == frames[0].data


async def test_the_client_is_told_of_another_history_and_goes_on_where_it_may(aiohttp_client, histories):
    """`CursorLost`, or with `on_reset="continue"` everything that the log has; a page and a channel say it, too."""
    config, cursors = histories
    client = await aiohttp_client(make_app(config))
    async with Client(str(client.make_url(""))) as reader:
        with pytest.raises(CursorLost) as lost:
            await anext(reader.follow(STREAM, since_seq=cursors[15]))
        assert (lost.value.reason, lost.value.requested) == ("other_history", cursors[15])
        with pytest.raises(CursorLost):
            await reader.read(STREAM, since_seq=cursors[15])
        follow = reader.follow(STREAM, since_seq=cursors[15], on_reset="continue", live=False)
        assert [event.payload["n"] async for event in follow] == [*range(10), *range(100, 110)]
        events = [event async for event in reader.follow(STREAM, since_seq=cursors[5], live=False)]
        assert [event.payload["n"] for event in events][:2] == [5, 6]
        page = await reader.read(STREAM, since_seq=events[1].cursor, limit=2)
        assert [event.payload["n"] for event in page.events] == [7, 8]
        assert page.next_cursor == events[3].cursor


@pytest.mark.parametrize("backward", [pytest.param(False, id="replaced"), pytest.param(True, id="cut back")])
async def test_readers_of_a_server_whose_file_is_restored_are_told_on_the_plain_url(config, tmp_path, backward):
    """A browser and the client come back with what they were given, and learn that it is of another history."""
    environment = {"TOWOW__STREAM__RETRY_MILLISECONDS": "20", "TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}
    path = Path(config.database.path)
    async with open_log(config) as log:
        await log.append([note(STREAM, n) for n in range(SHARED)])
    copy = shutil.copyfile(path, tmp_path / "copy.db")
    with ServerProcess(path, environment=environment) as server:
        async with aiohttp.ClientSession(server.url) as session:
            await publish(session, 5, start=100)
        async with EventSource(server.port, PATH) as browser, Client(server.url) as client:
            follow = client.follow(STREAM)
            assert [(await anext(follow)).payload["n"] for _ in range(15)][-1] == 104
            await until(lambda: browser.controls())
            server.stop()
            Path(f"{path}.mark").unlink()  # else the start is refused
            shutil.copyfile(copy, path)
            if not backward:
                async with open_log(config) as log:
                    await log.append([note(STREAM, n) for n in range(200, 210)])
            server.start()
            with pytest.raises(CursorLost) as lost:
                await anext(follow)
            await until(lambda: any(name == "reset" for name, _ in browser.controls()))
            reset = next(fields for name, fields in browser.controls() if name == "reset")
            assert reset["reason"] == lost.value.reason == ("past_head" if backward else "other_history")
            await until(lambda: len(browser.events()) >= 25 + 10 * (not backward))
            again = [event["payload"]["n"] for event in browser.events()[15:]]
            assert again == [*range(10), *([] if backward else range(200, 210))]
