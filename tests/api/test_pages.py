"""The browser pages: from memory, by name, never by path."""

import re
from pathlib import Path

import pytest

from server.app import make_app
from tests.support import ROOT, assert_error, raw_connection, read_head, request_bytes

STATIC = ROOT / "server" / "static"
FILES = sorted(str(file.relative_to(STATIC)) for file in STATIC.rglob("*") if file.is_file() and not file.name.startswith("."))
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",
    ".tsx": "text/plain; charset=utf-8",
    ".json": "application/json",
}


@pytest.mark.parametrize("name", FILES)
async def test_every_file_is_served_as_it_is_with_its_type(client, name):
    """Scripts must have a script's type, or browsers refuse modules because of nosniff."""
    answer = await client.get(f"/static/{name}")
    assert answer.status == 200
    assert await answer.read() == (STATIC / name).read_bytes()
    assert answer.headers["Content-Type"] == TYPES[Path(name).suffix]
    assert answer.headers["Cache-Control"] == "no-cache"
    assert ("Content-Security-Policy" in answer.headers) is name.endswith(".html")


async def test_the_pages_have_short_names(client):
    """`/` is the first page, `/NAME.html` each page, `/favicon.ico` the icon under its old name."""
    for path, name in [("/", "demands.html"), *((f"/{page.name}", page.name) for page in STATIC.glob("*.html"))]:
        assert await (await client.get(path)).read() == (STATIC / name).read_bytes()
    icon = await client.get("/favicon.ico")
    assert icon.headers["Content-Type"].startswith("image/svg+xml")
    assert await icon.read() == (STATIC / "favicon.svg").read_bytes()


@pytest.mark.parametrize(
    ("alias", "page"),
    [("index", "demands"), ("workbench", "sessions"), ("demo_sse_streaming", "tasks"), ("studio", "generations")],
)
async def test_an_older_name_answers_with_the_page_itself(client, alias, page):
    """200 with the same bytes and no redirect, so links that others have go on working."""
    answer = await client.get(f"/{alias}.html", allow_redirects=False)
    assert (answer.status, await answer.read()) == (200, (STATIC / f"{page}.html").read_bytes())
    assert "Content-Security-Policy" in answer.headers


async def test_files_come_from_memory(aiohttp_client, quiet_config, monkeypatch):
    """After the start nothing is opened for a page, so no name can reach another file and no disk can be slow."""
    client = await aiohttp_client(make_app(quiet_config))

    def refuse(*args, **options):
        raise AssertionError("a file was opened")

    for name in ("open", "read_bytes", "read_text"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert (await client.get("/")).status == 200
    assert (await client.get("/static/js/demands/page.js")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/static/../config.py", id="parent"),
        pytest.param("/static/../../setup.cfg", id="grandparent"),
        pytest.param("/static/..%2f..%2fsetup.cfg", id="encoded slashes"),
        pytest.param("/static/%2e%2e/%2e%2e/setup.cfg", id="encoded dots"),
        pytest.param("/static/..%5c..%5csetup.cfg", id="backslashes"),
        pytest.param("/static/%252e%252e/setup.cfg", id="encoded twice"),
        pytest.param("/static//etc/passwd", id="absolute"),
        pytest.param("/static/%2fetc%2fpasswd", id="absolute, encoded"),
        pytest.param("/static/./demands.html", id="a dot"),
        pytest.param("/static/js/", id="a folder"),
        pytest.param("/static/js", id="a folder without its slash"),
        pytest.param("/static/", id="no name"),
        pytest.param("/static", id="no slash"),
        pytest.param("/static/demands.html%00.js", id="NUL"),
        pytest.param("/static/%0a", id="newline"),
        pytest.param("/static/demands.html/", id="a slash behind"),
        pytest.param("/static/DEMANDS.HTML", id="other case"),
        pytest.param("/static/" + "x" * 300, id="a name longer than file systems allow"),
        pytest.param("/static/" + "x/" * 2_000, id="a deep path"),
        pytest.param("/nothing.html", id="no such page"),
        pytest.param("/..%2fsetup.html", id="a page above"),
        pytest.param("/%64emands.htm", id="nearly a page"),
    ],
)
async def test_no_name_reaches_another_file(client, path):
    """404 in the one shape, whatever the name is."""
    async with raw_connection(client, request_bytes("GET", path)) as (reader, _):
        status, headers = await read_head(reader)
        text = await reader.readexactly(int(headers["content-length"]))
    assert status == 404
    assert b'"code":"not_found"' in text


async def test_an_error_page_has_the_one_shape(client):
    """Also where a browser asks."""
    await assert_error(await client.get("/static/nothing.js", headers={"Accept": "text/html"}), "not_found", status=404)


async def test_a_known_tag_is_304_without_a_body(client):
    """The tag is the content's; a changed file has another."""
    tags = set()
    for name in FILES:
        answer = await client.get(f"/static/{name}")
        tag = answer.headers["ETag"]
        tags.add(tag)
        for given in (tag, f'"other", {tag}', f"W/{tag}"):
            again = await client.get(f"/static/{name}", headers={"If-None-Match": given})
            assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
        assert (await client.get(f"/static/{name}", headers={"If-None-Match": '"other"'})).status == 200
    assert len(tags) == len({(STATIC / name).read_bytes() for name in FILES})
    page = await client.get("/", headers={"If-None-Match": (await client.get("/")).headers["ETag"]})
    assert page.status == 304
    assert "Content-Security-Policy" in page.headers


async def test_head_of_a_page_is_its_head(client):
    """The length without the bytes."""
    async with raw_connection(client, request_bytes("HEAD", "/") + request_bytes("GET", "/health")) as (reader, _):
        status, headers = await read_head(reader)
        assert (status, int(headers["content-length"])) == (200, (STATIC / "demands.html").stat().st_size)
        assert (await read_head(reader))[0] == 200


def test_pages_load_nothing_from_elsewhere():
    """No CDN, no font, no picture of another host: what the page needs is here."""
    for name in FILES:
        if name.endswith((".html", ".css", ".js")):
            text = (STATIC / name).read_text()
            assert not re.search(r"""(src|href)=["']?https?:|url\(["']?http|@import\s+(url|["'])|from ["']http""", text), name
