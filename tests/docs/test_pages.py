"""The pages and modules that the documents name are handed out by the server."""

import re

from server.app import make_app
from tests.docs.reading import DOCUMENTS, read, tables


async def test_every_page_and_module_that_is_documented_is_there(aiohttp_client, config):
    """Their names in tables, sentences and links, aliases too."""
    client = await aiohttp_client(make_app(config))
    text = "\n".join(read(name) for name in DOCUMENTS)
    paths = set(re.findall(r"[`(](?:http://127\.0\.0\.1:8000)?(/[a-z_]+\.html|/static/[\w./-]+\.\w+)[`)]", text))
    assert len(paths) >= 15
    for path in sorted(paths):
        async with client.get(path) as answer:
            assert answer.status == 200, path


async def test_every_page_is_documented(aiohttp_client, config):
    """One for each surface, with its name."""
    client = await aiohttp_client(make_app(config))
    pages = [re.findall(r"`([^`]+)`", row[0])[-1] for row in tables(read("docs/pages.md"), "page")]
    assert pages == ["/demands.html", "/sessions.html", "/tasks.html", "/generations.html", "/tools.html"]
    async with client.get("/") as first, client.get(pages[0]) as same:
        assert await first.read() == await same.read()
