"""
Layers: a module imports its own and lower layers only, and only `app.py` builds the parts.
"""

import ast
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support import ROOT

# Design section 9. The first pattern that matches a module's name gives its layer.
LAYERS = [
    (4, "server.surfaces.*.routes"),
    (4, "server.surfaces.*.*_routes"),
    (4, "server.surfaces.*.coordinator"),
    (4, "server.surfaces.*.negotiator"),
    (4, "server.surfaces.*.sample_participants"),
    (4, "server.surfaces.*.writing"),
    (4, "server.surfaces.*.coalescing"),
    (4, "server.surfaces.*.deciding"),
    (4, "server.surfaces.*.expiry"),
    (4, "server.surfaces.*.runner"),
    (4, "server.surfaces.*.carrying"),
    (4, "server.surfaces.*.agents"),
    (4, "server.surfaces.*.recording"),
    (4, "server.surfaces.*.chunking"),
    (0, "server.surfaces.*"),
    (0, "server.surfaces"),
    (0, "server.errors"),
    (0, "server.events"),
    (0, "server.selection"),
    (0, "server.principal"),
    (0, "server.frames"),
    (0, "server.texts"),
    (0, "server"),
    (1, "server.config"),
    (1, "server.database"),
    (1, "server.hub"),
    (1, "server.tail"),
    (1, "server.keepalive"),
    (1, "server.leadership"),
    (2, "server.writer"),
    (2, "server.reading"),
    (2, "server.neighbours"),
    (2, "server.eventlog"),
    (2, "server.cursor"),
    (2, "server.follower"),
    (2, "server.decider"),
    (2, "server.patience"),
    (2, "server.duty"),
    (2, "server.bus"),
    (2, "server.retention"),
    (2, "server.maintenance"),
    (3, "server.params"),
    (3, "server.sse"),
    (3, "server.transports"),
    (3, "server.answers"),
    (3, "server.middleware"),
    (3, "server.cloudevents"),
    (3, "server.pages"),
    (3, "server.logs"),
    (3, "server.llm"),
    (3, "server.llm_failures"),
    (3, "server.llm_parts"),
    (3, "server.llm_stream"),
    (3, "server.model_file"),
    (3, "server.model_source"),
    (3, "server.model_engine"),
    (3, "server.model_process"),
    (3, "server.local_writer"),
    (3, "server.local_model"),
    (3, "server.language_model"),
    (3, "server.auth"),
    (3, "server.tokens"),
    (3, "server.tickets"),
    (3, "server.logins"),
    (3, "server.key_file"),
    (3, "server.limits"),
    (3, "server.jwt_keys"),
    (3, "server.hosts"),
    (3, "server.auth_routes"),
    (4, "server.api"),
    (5, "server.app"),
    (5, "server.client"),
    (5, "server.client.*"),
    (5, "server.cli"),
    (5, "server.cli.*"),
    (5, "server.benchmarks"),
    (5, "server.benchmarks.*"),
    (5, "run"),
]

# Which modules may import a library, and from which layer on.
RESERVED = {
    "aiosqlite": {"server.database"},
    "pysqlite3": {"server.database"},
    "sqlite3": {"server.database"},
    "aiohttp_sse": {"server.sse"},
    "xllamacpp": {"server.model_engine"},  # runs native code in a process of its own
}
LOWEST_LAYER_OF = {"aiohttp": 3, "structlog": 1, "asyncio": 1, "socket": 2, "click": 5, "rich": 5, "uvloop": 5}
PURE = {"msgspec"}  # the one library of layer 0

# The one module of the client for applications inside a server; it is imported when they hand over their log.
INSIDE = "server.client.in_process"

# Parts that are built once and handed to whoever needs them: the module that defines each.
COLLABORATORS = {
    "Database": "server.database",
    "Hub": "server.hub",
    "EventLog": "server.eventlog",
    "EventBus": "server.bus",
    "Followers": "server.follower",
    "Streaming": "server.transports",
    "EventRoutes": "server.api",
    "PageRoutes": "server.pages",
    "Coordinator": "server.surfaces.demands.coordinator",
    "Negotiator": "server.surfaces.demands.negotiator",
    "DemandRoutes": "server.surfaces.demands.routes",
    "AgentRoutes": "server.surfaces.demands.agent_routes",
    "ParticipantRoutes": "server.surfaces.demands.participant_routes",
    "StartRoutes": "server.surfaces.generations.start_routes",
    "RunRoutes": "server.surfaces.generations.routes",
    "GenerationRunner": "server.surfaces.generations.runner",
    "SessionRoutes": "server.surfaces.sessions.routes",
    "ChannelRoutes": "server.surfaces.sessions.channel_routes",
    "SampleParticipants": "server.surfaces.demands.sample_participants",
    "Author": "server.surfaces.demands.writing",
    "ChatModel": "server.llm",
    "LocalModel": "server.local_model",
    "LanguageModel": "server.language_model",
    "TaskRoutes": "server.surfaces.tasks.routes",
    "TaskEventRoutes": "server.surfaces.tasks.event_routes",
    "StatusCoalescer": "server.surfaces.tools.coalescing",
    "Decisions": "server.surfaces.tools.deciding",
    "PermissionExpiry": "server.surfaces.tools.expiry",
    "ToolRoutes": "server.surfaces.tools.routes",
    "NoticeRoutes": "server.surfaces.tools.notice_routes",
    "Authenticator": "server.auth",
    "JwtKeys": "server.jwt_keys",
    "Limits": "server.limits",
    "Clients": "server.limits",
    "Hosts": "server.hosts",
    "AuthRoutes": "server.auth_routes",
    "Leadership": "server.leadership",
}
ALSO_BUILD = {
    "server.cli.check": {"Database"},  # works on a file without a server
    "server.cli.rebuild": {"Database"},
    "server.cli.token": {"Authenticator", "JwtKeys"},  # recognises without a server
    "server.benchmarks.*": {"Database", "Hub", "EventLog"},  # fill and measure a log without HTTP
}


def name_of(file):
    """
    The module that a file is.
    """
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(file): file for file in [*sorted((ROOT / "server").rglob("*.py")), ROOT / "run.py"]}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


def layer_of(module):
    """
    The layer of a module of this project, or None when the table does not know it.
    """
    return next((layer for layer, pattern in LAYERS if fnmatchcase(module, pattern)), None)


def imports_of(tree, known=frozenset(FILES)):
    """
    Every module that is imported anywhere in a module; `from a import b` is `a.b` where that is a module.
    """
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
    """
    The imports of a module that are modules of this project.
    """
    return {name for name in IMPORTS[module] if name == "server" or name.startswith("server.")}


def calls_of(tree):
    """
    The names that are called in a module, as often as they are: `Hub(…)`, `hub.Hub(…)`.
    """
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [function.id for function in functions if isinstance(function, ast.Name)]
    return names + [function.attr for function in functions if isinstance(function, ast.Attribute)]


def surface_of(module):
    """
    The surface that a module belongs to, or None.
    """
    parts = module.split(".")
    return parts[2] if parts[:2] == ["server", "surfaces"] and len(parts) > 2 else None


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_its_own_and_lower_layers_only(module):
    """
    Words and rules know nothing, parts know words, the log knows parts, the web kit the log, surfaces the kit.
    """
    layer = layer_of(module)
    assert layer is not None, f"{module} is in no layer: choose one in LAYERS and in ARCHITECTURE.md"
    higher = {name for name in own(module) if layer_of(name) is None or layer_of(name) > layer}
    assert not higher


@pytest.mark.parametrize("module", FILES)
def test_a_library_is_imported_only_where_it_belongs(module):
    """
    SQLite stays in `database`, HTTP stays in the web kit and above, rules are pure.
    """
    roots = {name.partition(".")[0] for name in IMPORTS[module]}
    for library, allowed in RESERVED.items():
        assert library not in roots or module in allowed
    for library, layer in LOWEST_LAYER_OF.items():
        assert library not in roots or layer_of(module) >= layer, library
    if layer_of(module) == 0:
        assert roots - {"server"} - PURE <= sys.stdlib_module_names


@pytest.mark.parametrize("module", [name for name in FILES if surface_of(name)])
def test_surfaces_never_import_each_other_and_are_only_wired_by_app(module):
    """
    A surface can be removed by removing its folder and its lines in `app.py`.
    """
    assert {surface_of(name) for name in own(module)} <= {None, surface_of(module)}
    importers = {name for name in FILES if module in own(name) and surface_of(name) != surface_of(module)}
    assert importers <= {"server.app"}


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith("server.client") and name != INSIDE])
def test_the_client_needs_only_the_words(module):
    """
    An application that uses the client loads no database: words, and the table of codes and statuses.
    """
    others = {name for name in own(module) if not name.startswith("server.client")}
    assert others <= {"server", "server.errors", "server.events", "server.frames", "server.answers"}


@pytest.mark.parametrize("module", [name for name in FILES if name != "server.app"])
def test_only_app_builds_collaborators(module):
    """
    One place wires; everything else is handed what it needs.
    """
    called = set(calls_of(TREES[module]))
    built = {name for name, origin in COLLABORATORS.items() if name in called and origin in own(module)}
    allowed = [names for pattern, names in ALSO_BUILD.items() if fnmatchcase(module, pattern)]
    assert built <= set().union(*allowed)


def test_app_builds_every_collaborator_once():
    """
    The list above is not out of date.
    """
    built = [name for name in calls_of(TREES["server.app"]) if name in COLLABORATORS]
    assert sorted(set(built)) == sorted(COLLABORATORS)
    assert {name for name in built if built.count(name) > 1} == {"Leadership"}  # one for each work that is done once


def test_no_module_imports_itself_around_a_corner():
    """
    The imports have an order: there is no cycle, also not within a layer.
    """
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


def test_every_pattern_of_the_table_has_a_module():
    """
    What was removed leaves the table as well.
    """
    for _, pattern in LAYERS:
        assert any(fnmatchcase(module, pattern) for module in FILES), pattern


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        pytest.param("import server.hub", {"server.hub"}, id="plain"),
        pytest.param("from server import params, __version__", {"server.params", "server"}, id="a module by name"),
        pytest.param("from server.hub import Hub", {"server.hub"}, id="a name of a module"),
        pytest.param("def f():\n    import uvloop", {"uvloop"}, id="inside a function"),
        pytest.param("if TYPE_CHECKING:\n    from server.app import LOG", {"server.app"}, id="for types only"),
    ],
)
def test_no_import_escapes_the_walk(source, wanted):
    """
    The guard itself sees every form of import.
    """
    assert imports_of(ast.parse(source)) == wanted


def test_the_walk_covers_the_source():
    """
    A guard that looks at nothing guards nothing.
    """
    assert {"server.app", "server.hub", "server.surfaces.demands.model", "run"} <= set(FILES)
    assert all(isinstance(file, Path) and file.is_file() for file in FILES.values())
