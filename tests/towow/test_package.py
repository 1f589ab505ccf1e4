"""The client as a distribution of its own: its contents, and an application with a `server.py` and `migrations/` of its own."""

import configparser
import contextlib
import email.parser
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.support import ROOT, ServerProcess
from towow import __version__

SOURCE = ROOT / "towow"
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
ENVIRONMENT = {"TOWOW__DEMANDS__SAMPLE_AGENTS": "false"}


def copied(folder: Path) -> Path:
    """A copy of the client's folder as a fresh checkout has it."""
    leftovers = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    return Path(shutil.copytree(SOURCE, folder / "towow", ignore=leftovers))


def build(what: str, source: Path, target: Path) -> Path:
    """A wheel or an sdist of a source tree, built without a network."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{what}", str(target)], cwd=source, capture_output=True, text=True, check=True
    )
    return target / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel, built from a copy of its folder as a checkout has it."""
    folder = tmp_path_factory.mktemp("wheel")
    return build("wheel", copied(folder), folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server process from the checkout."""
    with ServerProcess(tmp_path_factory.mktemp("package") / "towow.db", environment=ENVIRONMENT) as server:
        yield server


def required(requirements: list[str]) -> set[str]:
    """The names of requirements and of all that they require in this environment, without extras."""
    names: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if name in names or "extra ==" in requirement:
            continue
        with contextlib.suppress(ModuleNotFoundError):  # of another Python or platform
            waiting += distribution(name).requires or []
            names.add(name)
    return names


def metadata_of(wheel: Path) -> "email.message.Message[str, str]":
    """The metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parse(io.TextIOWrapper(archive.open(name), "utf-8"))


@pytest.mark.slow
def test_the_wheel_holds_the_client_alone(wheel: Path, tmp_path: Path) -> None:
    """Two dependencies, one package, its types and its license; an sdist makes the same wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {f"towow/{file.name}" for file in SOURCE.glob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == modules | {"towow/py.typed"}
    metadata = metadata_of(wheel)
    assert (metadata["Name"], metadata["Version"]) == ("towow", __version__)
    assert {re.split(r"[<>= ]", each)[0] for each in metadata.get_all("Requires-Dist", [])} == {"aiohttp", "msgspec"}
    assert any(name.endswith("/LICENSE") for name in names)
    with tarfile.open(build("sdist", copied(tmp_path), tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (tmp_path / "again").mkdir()
    again = build("wheel", next((tmp_path / "unpacked").iterdir()), tmp_path / "again")
    with zipfile.ZipFile(again) as archive:
        assert set(archive.namelist()) == names


def test_both_distributions_have_one_version_and_the_same_lower_bounds() -> None:
    """The server's reads the client's version, holds its folder, and does not require it as a distribution.

    Upwards the server allows less: it stands on aiohttp's own protocol."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    requirements = config["options"]["install_requires"].strip().splitlines()
    assert config["metadata"]["version"] == "attr: towow.version.__version__"
    assert "towow" in config["options.packages.find"]["include"].split()
    lowest = {line.partition(",")[0] for line in requirements}
    assert {each.partition(",")[0] for each in project["dependencies"]} <= lowest
    assert not any(each.startswith("towow") for each in requirements)
    assert project["requires-python"] == config["options"]["python_requires"]
    assert (SOURCE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


APPLICATION = """
import asyncio, sys
import migrations, server
import towow
from towow import Client
from towow.sync import Client as SyncClient

async def main(url):
    async with Client(url, token=server.TOKEN) as client:
        receipt = await client.append("task:t-1", migrations.FIRST, {"n": 1})
        async with client.follow("task:t-1", since_seq=0) as events:
            print("followed", (await anext(events)).event_type)

asyncio.run(main(sys.argv[1]))
with SyncClient(sys.argv[1]) as client:
    client.emit("t-1", "task_complete")
    print("sync", [event.event_type for event in client.follow("task:t-1")])
print("server", server.__file__)
print("towow", towow.__file__)
print("loaded", sorted(name for name in sys.modules if name.partition(".")[0] in ("sqlite3", "aiosqlite", "structlog", "run")))
"""


@pytest.mark.slow
def test_an_application_with_a_server_module_and_migrations_of_its_own_uses_the_client(
    wheel: Path, server: ServerProcess, tmp_path: Path
) -> None:
    """In an environment that holds the wheel and what its metadata requires, and nothing else."""
    environment, application = tmp_path / "venv", tmp_path / "application"
    venv.create(environment, with_pip=False)
    [packages] = environment.glob("lib/python*/site-packages")
    for name in required(metadata_of(wheel).get_all("Requires-Dist", [])):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(found.locate_file(top))))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (application / "migrations").mkdir(parents=True)
    (application / "migrations/__init__.py").write_text('FIRST = "its.own"\n')
    (application / "server.py").write_text("TOKEN = None\n")
    (application / "main.py").write_text(APPLICATION)
    command = [environment / "bin/python", "main.py", server.url]
    done = subprocess.run(command, cwd=application, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "followed its.own",
        "sync ['its.own', 'task_complete']",
        f"server {application / 'server.py'}",
        f"towow {packages / 'towow/__init__.py'}",
        "loaded []",
    ]


EXAMPLES = re.findall(r"```python\n(.*?)```", (SOURCE / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_has_five_examples() -> None:
    """Each runs in a test of its own."""
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES, ids=["follow", "time-out", "sync", "task", "tools"])
def test_an_example_of_the_readme_runs(server: ServerProcess, example: str) -> None:
    """As it is printed, against a server process."""
    code = example.replace("http://127.0.0.1:8000", server.url)
    preparing = "from towow.sync import Client\nwith Client(url) as client:\n    client.append('task:42', 'note', {})\n"
    command = [sys.executable, "-W", "error", "-c", f"url = {server.url!r}\n{preparing}\n{code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout
