"""What the documents say about following is what the server does: keys of an event, cursors, control frames, their reasons."""

import re

import msgspec
import pytest

from server.app import SURFACES, make_app
from tests.docs.reading import blocks, read, tables
from tests.support import ROOT, publish, read_frames
from towow.events import Event

PAGE = read("docs/following.md")


def source_of(*paths):
    """The text of these folders and files of the source."""
    files = [file for path in paths for file in (ROOT / path, *(ROOT / path).rglob("*.py")) if file.is_file()]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_an_event_has_the_documented_keys_in_their_order():
    """In the example and in the table, as in the canonical JSON."""
    event = Event(124, "task:42", 2, "e1", "note", "2026-01-01T12:00:00.000Z", "curl", '{"text":"hello"}', "backend")
    keys = list(msgspec.json.decode(event.canonical()))
    assert list(msgspec.json.decode(blocks(PAGE, "json")[0])) == [key for key in keys if key != "actor"]
    assert [row[0].strip("`") for row in tables(PAGE, "key")] == keys


def test_the_control_frames_are_the_documented_ones():
    """Every name that a wire is given, and every reason of a reset and of an end."""
    source = source_of("server/streaming", "server/api/stream_response.py")
    given = set(re.findall(r'control\(\s*"(\w+)"', source))
    rows = {row[0].strip("`"): row[1] for row in tables(PAGE, "frame")}
    assert given <= set(rows)
    assert set(rows) == {"ready", "reset", "damaged", "rotate", "end", "keepalive"}
    reasons = {*re.findall(r'_reset\(log, "(\w+)"', source), "trimmed"}
    assert set(re.findall(r"`(\w+)`", rows["reset"])) == reasons
    reasons = set(re.findall(r"\(`(\w+)`\)", rows["end"]))
    assert reasons == {"shutdown", "capacity", "token_expired"}
    assert all(f'"{reason}"' in source_of("server/streaming", "server/api") for reason in reasons)


@pytest.mark.parametrize("number", range(1, 8))
async def test_each_documented_way_to_give_a_cursor_works_and_the_first_one_wins(aiohttp_client, config, number):
    """In the order of the document: each names event 2 while all that come after it name event 1."""
    [sentence] = re.findall(r"order of precedence: the header (.*?)\.", PAGE.replace("\n", " "))
    names = re.findall(r"`([A-Za-z_-]+)`", sentence)
    assert len(names) == 7
    given = {name: "2" if n == number else "1" for n, name in enumerate(names, 1) if n >= number}
    client = await aiohttp_client(make_app(config))
    await publish(client, 3)
    headers = {names[0]: given.pop(names[0])} if names[0] in given else {}
    async with client.get("/api/events/stream", params={"stream": "task:a", **given}, headers=headers) as response:
        frames = await read_frames(response, 1)
        assert frames[0].data["seq"] == 3


def test_the_kinds_that_take_a_scope_over_the_whole_kind_are_documented():
    """Those whose surface has rules that a plain append goes past."""
    [listed] = re.findall(r"surface \(([^)]*)\) takes the scope over the whole kind", read("docs/access.md").replace("\n", " "))
    kinds = {name for surface in SURFACES for name, kind in surface.kinds.items() if kind.has_rules}
    assert {name.strip("`:") for name in listed.split(", ")} == kinds
