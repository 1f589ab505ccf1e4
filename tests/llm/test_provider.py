"""Which model writes: the one of the settings, a small one here, or none."""

import contextlib

import pytest

from server.app import make_app
from server.background.leader_lock import LeaderLock
from server.config import LlmSection
from server.llm.chat import ChatModel, ModelFailed
from server.llm.local.model import LocalModel, is_available
from server.llm.local.model_file import NotFetched
from server.llm.provider import LanguageModel, ModelDescription
from tests.support import changed, until
from tests.support.upstream import writes
from towow.errors import StartupError


def remote(upstream):
    """A model on the test's server."""
    return ChatModel(LlmSection(base_url=upstream.url, model="large"))


def local(tmp_path, **settings):
    """A model here, whose file is nowhere."""

    def nowhere():
        return None

    database = str(tmp_path / "towow.db")
    return LocalModel(LlmSection(**settings), database, LeaderLock(database, "model"), find_installed=nowhere)


async def test_the_model_of_the_settings_writes(upstream):
    """It is ready at once, and nothing is started beside it."""
    upstream.otherwise(writes("Hello there."))
    async with LanguageModel(remote(upstream), None) as model:
        assert model.describe() == ModelDescription("remote", "large", "ready", "")
        writer = model.writer()
        assert (writer.name, writer.is_degraded) == ("large", False)
        assert "".join([piece async for piece in writer.stream("s", "u")]) == "Hello there."


async def test_a_model_of_the_settings_comes_before_one_here(upstream, tmp_path):
    """The one here is not even started."""
    here = local(tmp_path)
    async with LanguageModel(remote(upstream), here) as model:
        assert model.describe().kind == "remote"
        assert here.status == "absent"


async def test_without_a_model_nobody_writes():
    """The hint says how to get one."""
    async with LanguageModel(None, None) as model:
        assert model.writer() is None
        said = model.describe()
    assert (said.kind, said.name, said.status) == ("none", None, "absent")
    assert "base_url" in said.hint
    assert "pip install '.[local-llm]'" in said.hint


async def test_closing_the_model_closes_its_connections(upstream):
    """What was opened is closed, also when the server ends with an error."""
    model = LanguageModel(remote(upstream), None)
    with contextlib.suppress(ZeroDivisionError):
        async with model:
            raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="async with"):
        model.writer().stream("s", "u")


async def test_while_the_file_is_fetched_nobody_writes(tmp_path, monkeypatch):
    """The template does, and the description says how far the fetching is."""
    asked = []

    async def fetch(wanted, folder, progress):
        progress(30)
        asked.append(folder)
        await until(lambda: len(asked) == 2)
        raise NotFetched("no network")

    monkeypatch.setattr("server.llm.local.model_source.fetch", fetch)
    async with LanguageModel(None, local(tmp_path)) as model:
        early = model.writer()
        with pytest.raises(ModelFailed, match="unreachable"):
            await anext(early.stream("s", "u"))
        await until(lambda: asked)
        assert asked == [tmp_path / "models"]
        assert model.writer() is None
        assert model.describe().status == "fetching"
        assert "30 %" in model.describe().hint
        asked.append("go on")
        await until(lambda: model.describe().status == "absent")
        assert model.writer() is None
        assert "local_model_path" in model.describe().hint


async def test_a_model_that_does_not_start_fails_whoever_waits_for_it(tmp_path, monkeypatch):
    """The failure may pass, so that the next attempt asks again who writes, and the template does."""
    monkeypatch.setattr("server.llm.local.engine_process._ENGINE", tmp_path / "nothing.py")
    file = tmp_path / "small.gguf"
    file.write_bytes(b"no model")
    async with LanguageModel(None, local(tmp_path, local_model_path=str(file))) as model:
        said = model.describe()
        assert (said.kind, said.name, said.status) == ("local", "small", "starting")
        writer = model.writer()
        with pytest.raises(ModelFailed, match="unreachable") as caught:
            await anext(writer.stream("s", "u"))
        assert caught.value.is_passing
        assert model.writer() is None
        assert model.describe().status == "absent"


def test_a_file_of_the_settings_must_be_there(tmp_path):
    """A wrong name stops the start instead of leaving the texts to the template."""
    with pytest.raises(StartupError, match="local_model_path") as caught:
        local(tmp_path, local_model_path=str(tmp_path / "nothing.gguf"))
    assert caught.value.field == "llm.local_model_path"


def test_a_model_here_can_be_switched_off():
    """Whatever is installed."""
    assert not is_available(LlmSection(local=False))


def test_a_model_here_needs_its_engine(monkeypatch):
    """Without the engine nothing is fetched or started."""
    monkeypatch.setattr("server.llm.local.model.importlib.util.find_spec", lambda name: None)
    assert not is_available(LlmSection())


async def test_the_application_opens_and_closes_the_model(aiohttp_client, quiet_config, upstream):
    """`GET /api/model` says which one it is, and never where."""
    client = await aiohttp_client(make_app(changed(quiet_config, "llm", base_url=upstream.url, model="large")))
    answer = await client.get("/api/model")
    assert await answer.json() == {"kind": "remote", "name": "large", "status": "ready", "hint": ""}
