"""Pages: what a page of events says of its place is true at one moment, whatever is appended while it is read."""

import pytest

from server.app import LOG
from tests.support import publish

PAGES = [
    pytest.param("/api/events?stream=demand:x&limit=3", id="the log's page"),
    pytest.param("/api/events/recent/x?count=3", id="a demand's recent events"),
    pytest.param("/api/tasks/x/events?limit=3", id="a task's page"),
]


def append_while_reading(client, monkeypatch):
    """Let another publisher append to another stream whenever a page has been read, before the page is answered."""
    log = client.app[LOG]
    read = log.read

    async def read_then_append(*arguments, **options):
        page = await read(*arguments, **options)
        await publish(client, 1, stream="session:elsewhere")
        return page

    monkeypatch.setattr(log, "read", read_then_append)


async def filled(client):
    """Three events of each stream that is read, the two streams one after the other, and one of a third stream."""
    for stream in ("demand:x", "task:x"):
        await publish(client, 3, stream=stream)
    await publish(client, 1, stream="session:elsewhere")


async def page_of(client, path):
    """A page, decoded."""
    answer = await client.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.json()


@pytest.mark.parametrize("path", PAGES)
async def test_an_empty_page_is_answered_while_others_publish(client, monkeypatch, path):
    """Nothing after the cursor is an empty page that goes on at its own head, not an error."""
    await filled(client)
    append_while_reading(client, monkeypatch)
    page = await page_of(client, f"{path}&since_seq=7")
    assert (page["events"], page["has_more"], page["next_since_seq"], page["head_seq"]) == ([], False, 7, 7)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_that_holds_everything_says_so_while_others_publish(client, monkeypatch, path):
    """`has_more`, `next_since_seq` and `head_seq` are of the moment at which the read began."""
    await filled(client)
    append_while_reading(client, monkeypatch)
    page = await page_of(client, f"{path}&start=beginning")
    assert (len(page["events"]), page["has_more"], page["next_since_seq"], page["head_seq"]) == (3, False, 7, 7)


@pytest.mark.parametrize("path", PAGES)
async def test_paging_to_the_end_while_others_publish_gives_every_event_once(client, monkeypatch, path):
    """However often the head moves between and during the reads, pages join without a gap."""
    await filled(client)
    append_while_reading(client, monkeypatch)
    cursor, pages, has_more = 0, [], True
    while has_more:
        page = await page_of(client, f"{path.replace('=3', '=2')}&since_seq={cursor}")
        assert page["next_since_seq"] <= page["head_seq"]
        pages.append([event["seq"] for event in page["events"]])
        cursor, has_more = page["next_since_seq"], page["has_more"]
    first = 4 if "tasks" in path else 1
    assert pages == [[first, first + 1], [first + 2]]


async def test_the_list_of_streams_is_followed_from_its_head_without_a_gap(client, monkeypatch):
    """A stream that begins while the list is read stands after its `head_seq`, so who follows from there sees it."""
    log = client.app[LOG]
    await publish(client, 1, stream="task:known")
    list_streams = log.streams

    async def list_then_append(**options):
        listed = await list_streams(**options)
        await publish(client, 1, stream="task:new")
        return listed

    monkeypatch.setattr(log, "streams", list_then_append)
    listed = await page_of(client, "/api/streams")
    assert ([each["name"] for each in listed["streams"]], listed["head_seq"]) == (["task:known"], 1)
