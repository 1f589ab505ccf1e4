"""Layers: a module imports its own and lower layers only, and only `app.py` builds the parts."""

import ast
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

# House section 1, one row a package: it imports itself and what stands above it in this table, nothing else.
PACKAGES = (
    "towow",
    "server",
    "server.config",
    "server.eventlog",
    "server.streaming",
    "server.http",
    "server.background",
    "server.auth",
    "server.llm",
    "server.api",
    "server.surfaces",
    "server.logs",
    "server.app",
    "server.cli",
    "benchmarks",
    "run",
)
RANKS = {name: rank for rank, name in enumerate(PACKAGES)}
# The pure files of a surface: the rules, which know words and other rules only.
PURE = ("state", "commands", "payloads", "model", "inputs", "rendering", "plans", "sentences")

# Which modules may import a library, and from which layer on.
RESERVED = {
    "aiosqlite": ("server.eventlog.database",),
    "pysqlite3": ("server.eventlog.database",),
    "sqlite3": ("server.eventlog.database",),
    "aiohttp_sse": ("server.streaming.sse",),
    "xllamacpp": ("server.llm.local.engine",),  # runs native code in a process of its own
    "click": ("server.cli", "benchmarks"),
    "rich": ("server.cli", "benchmarks"),
    "uvloop": ("server.cli", "benchmarks"),
}
# What an application that uses the client has to install.
CLIENT_LIBRARIES = {"aiohttp", "yarl", "msgspec", "stamina"}  # yarl is aiohttp's

# Parts that are built once and handed to whoever needs them: the module that defines each.
COLLABORATORS = {
    "Database": "server.eventlog.database",
    "Hub": "server.eventlog.hub",
    "EventLog": "server.eventlog.log",
    "EventBus": "server.background.event_bus",
    "Followers": "server.streaming.follower",
    "StreamResponder": "server.api.stream_response",
    "EventRoutes": "server.api.events",
    "PageRoutes": "server.api.pages",
    "Coordinator": "server.surfaces.demands.coordinator",
    "Negotiator": "server.surfaces.demands.negotiator",
    "DemandRoutes": "server.surfaces.demands.routes",
    "AgentRoutes": "server.surfaces.demands.agent_routes",
    "ParticipantRoutes": "server.surfaces.demands.participant_routes",
    "StartRoutes": "server.surfaces.generations.start_routes",
    "RunRoutes": "server.surfaces.generations.routes",
    "RunExecutor": "server.surfaces.generations.executor",
    "SessionRoutes": "server.surfaces.sessions.routes",
    "ChannelRoutes": "server.surfaces.sessions.channel_routes",
    "SampleParticipants": "server.surfaces.demands.samples.participants",
    "TextWriter": "server.surfaces.demands.text_writer",
    "ChatModel": "server.llm.chat",
    "LocalModel": "server.llm.local.model",
    "LanguageModel": "server.llm.provider",
    "TaskRoutes": "server.surfaces.tasks.routes",
    "TaskEventRoutes": "server.surfaces.tasks.event_routes",
    "StatusThrottle": "server.surfaces.tools.throttling",
    "PermissionService": "server.surfaces.tools.permission_service",
    "PermissionExpiry": "server.surfaces.tools.expiry",
    "ToolRoutes": "server.surfaces.tools.routes",
    "NoticeRoutes": "server.surfaces.tools.notice_routes",
    "Authenticator": "server.auth.authenticator",
    "JwtKeys": "server.auth.jwt",
    "Limits": "server.auth.rate_limits",
    "Clients": "server.auth.rate_limits",
    "AllowedHosts": "server.http.hosts",
    "AuthRoutes": "server.api.login",
    "LeaderLock": "server.background.leader_lock",
}
ALSO_BUILD = {
    "server.cli.check": {"Database"},  # works on a file without a server
    "server.cli.rebuild": {"Database"},
    "server.cli.token": {"Authenticator", "JwtKeys"},  # recognises without a server
    "benchmarks": {"Database", "Hub", "EventLog"},  # fill and measure a log without HTTP
}


def name_of(file):
    """The module that a file is."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    name_of(file): file
    for file in [
        *sorted(file for folder in ("towow", "server", "benchmarks") for file in (ROOT / folder).rglob("*.py")),
        ROOT / "run.py",
    ]
}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


def is_in(module, *packages):
    """Whether a module is one of these packages or in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def package_of(module):
    """The row of the table that a module belongs to, or None."""
    return max(
        (name for name in PACKAGES if is_in(module, name) and (name != "server" or module == name)), key=len, default=None
    )


def imports_of(tree, known=frozenset(FILES)):
    """Every module that is imported anywhere in a module; `from a import b` is `a.b` where that is a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return found


IMPORTS = {name: imports_of(tree) for name, tree in TREES.items()}


def own(module):
    """The imports of a module that are modules of this project."""
    return {name for name in IMPORTS[module] if is_in(name, *PACKAGES)}


def calls_of(tree):
    """The names that are called in a module, as often as they are: `Hub(…)`, `hub.Hub(…)`."""
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [function.id for function in functions if isinstance(function, ast.Name)]
    return names + [function.attr for function in functions if isinstance(function, ast.Attribute)]


def surface_of(module):
    """The surface that a module belongs to, or None."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["server", "surfaces"] and len(parts) > 2 else None


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_its_own_and_lower_packages_only(module):
    """The client knows words, the log the client's words, streaming the log, and so on up to the command line."""
    package = package_of(module)
    assert package is not None, f"{module} is in no package of the table: choose a place in PACKAGES and in ARCHITECTURE.md"
    assert not {name for name in own(module) if package_of(name) is None or RANKS[package_of(name)] > RANKS[package]}


@pytest.mark.parametrize("module", FILES)
def test_a_library_is_imported_only_where_it_belongs(module):
    """SQLite stays in `database`, HTTP stays out of the log, the command line's libraries stay there, rules are pure."""
    roots = {name.partition(".")[0] for name in IMPORTS[module]} - set(PACKAGES)
    for library, allowed in RESERVED.items():
        assert library not in roots or is_in(module, *allowed), library
    assert "aiohttp" not in roots or not is_in(module, "server.eventlog", "server.config")
    if is_in(module, "towow"):
        assert roots <= sys.stdlib_module_names | CLIENT_LIBRARIES
    if surface_of(module) and module.rpartition(".")[2] in PURE:
        assert roots <= sys.stdlib_module_names | {"msgspec"}
        assert not roots & {"asyncio", "socket"}
        assert all(
            is_in(name, "towow.errors", "towow.events", "server.http.text_rules", "server.surfaces") for name in own(module)
        )


@pytest.mark.parametrize("module", [name for name in FILES if surface_of(name)])
def test_surfaces_never_import_each_other_and_are_only_wired_by_app(module):
    """A surface can be removed by removing its folder and its lines in `app.py`."""
    assert {surface_of(name) for name in own(module)} <= {None, surface_of(module)}
    importers = {name for name in FILES if module in own(name) and surface_of(name) != surface_of(module)}
    assert importers <= {"server.app"}


@pytest.mark.parametrize("module", [name for name in FILES if name != "server.app"])
def test_only_app_builds_collaborators(module):
    """One place wires; everything else is handed what it needs."""
    called = set(calls_of(TREES[module]))
    built = {name for name, origin in COLLABORATORS.items() if name in called and origin in own(module)}
    allowed = [names for package, names in ALSO_BUILD.items() if is_in(module, package)]
    assert built <= set().union(*allowed)


def test_app_builds_every_collaborator_once():
    """The list above is not out of date."""
    built = [name for name in calls_of(TREES["server.app"]) if name in COLLABORATORS]
    assert sorted(set(built)) == sorted(COLLABORATORS)
    assert {name for name in built if built.count(name) > 1} == {"LeaderLock"}  # one for each work that is done once


def test_no_module_imports_itself_around_a_corner():
    """The imports have an order: there is no cycle, also not within a layer."""
    done = set()

    def visit(module, path):
        assert module not in path, f"a cycle: {[*path, module]}"
        if module in done:
            return
        for name in own(module) - {"server"}:
            visit(name, [*path, module])
        done.add(module)

    for module in FILES:
        visit(module, [])


def test_every_package_of_the_table_has_a_module():
    """What was removed leaves the table as well."""
    assert {package_of(module) for module in FILES} == set(PACKAGES)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        pytest.param("import server.eventlog.hub", {"server.eventlog.hub"}, id="plain"),
        pytest.param("from server import config, __version__", {"server.config", "server"}, id="a module by name"),
        pytest.param("from server.eventlog.hub import Hub", {"server.eventlog.hub"}, id="a name of a module"),
        pytest.param("def f():\n    import uvloop", {"uvloop"}, id="inside a function"),
        pytest.param("if TYPE_CHECKING:\n    from server.app import LOG", {"server.app"}, id="for types only"),
    ],
)
def test_no_import_escapes_the_walk(source, wanted):
    """The guard itself sees every form of import."""
    assert imports_of(ast.parse(source)) == wanted


def test_the_walk_covers_the_source():
    """A guard that looks at nothing guards nothing."""
    assert {"server.app", "server.eventlog.hub", "server.surfaces.demands.model", "run"} <= set(FILES)
    assert all(isinstance(file, Path) and file.is_file() for file in FILES.values())
