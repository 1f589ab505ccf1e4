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
    "aiosqlite": ("server.eventlog.engine",),
    "pysqlite3": ("server.eventlog.engine",),
    "sqlite3": ("server.eventlog.engine",),
    "aiohttp_sse": ("server.streaming.sse",),
    "xllamacpp": ("server.llm.local.engine",),  # runs native code in a process of its own
    "click": ("server.cli", "benchmarks"),
    "rich": ("server.cli", "benchmarks"),
    "uvloop": ("server.cli", "benchmarks"),
}
# What an application that uses the client has to install.
CLIENT_LIBRARIES = {"aiohttp", "yarl", "msgspec"}  # yarl is aiohttp's

# Besides `app.py` and the surfaces' `__init__.py`.
ALSO_BUILD = {
    "server.cli.check": {"Database"},  # works on a file without a server
    "server.cli.rebuild": {"Database"},
    "server.cli.token": {"Authenticator", "JwtKeys"},  # recognises without a server
    "benchmarks": {"Database", "Hub", "EventLog", "Retention"},  # fill and measure a log without HTTP
}
# What the client returns has the name that it has in the server: the same thing, read from the other side.
SEEN_FROM_BOTH_SIDES = {
    *("Assignment", "Candidate", "Decline", "Feedback", "Gap", "Offer", "Outcome", "Proposal", "Subnet", "Understanding"),
    *("Page", "Receipt", "RunSession", "StreamInfo", "WorkItem"),
}
# What the rules of a surface may import: pure, as they are.
MAY_BE_PURE = (
    *("towow.errors", "towow.events", "server.eventlog.redaction", "server.http.payloads", "server.http.text_rules"),
    "server.surfaces",
)
# Folders that nothing outside imports but through their `__init__.py`.
ENTRY_POINTS = ("server.llm.local", "server.surfaces.demands.samples", "server.surfaces.demands.understanding")


def name_of(file):
    """The module that a file is."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    name_of(file): file
    for file in [
        *sorted((ROOT / "towow").glob("*.py")),  # without `towow/build`, where `pip install ./towow` leaves copies
        *sorted(file for folder in ("server", "benchmarks") for file in (ROOT / folder).rglob("*.py")),
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


SURFACES = {name for name, file in FILES.items() if file.name == "__init__.py" and name.rpartition(".")[0] == "server.surfaces"}


def surface_of(module):
    """The surface that a module belongs to, or None."""
    return next((surface for surface in SURFACES if is_in(module, surface)), None)


def classes_of(tree):
    """The classes of a module: whether each is a plain one, and the types and names of what its `__init__` takes."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
            taken = [each for init in inits for each in (*init.args.args, *init.args.kwonlyargs)]
            types = {
                name.id for each in taken if each.annotation for name in ast.walk(each.annotation) if isinstance(name, ast.Name)
            }
            yield node.name, bool(inits), types, {each.arg for each in taken}


CLASSES = {
    (module, name): (types, taken)
    for module, tree in TREES.items()
    if is_in(module, "server")
    for name, is_plain, types, taken in classes_of(tree)
    if is_plain
}
HANDED_OVER = {name for types, _ in CLASSES.values() for name in types}
BUILT_ELSEWHERE = {
    "Duty": "by the worker that does it, of its name",
    "Engine": "by the local model, in the process of its own",
    "Follower": "by the responder, one for a connection",
    "HeadSigner": "by the log, of its settings",
    "LeaderLock": "for the small model's file",
    "LeaderWorker": "never: workers derive from it",
    "LogReader": "never: the log derives from it",
    "LocalModel": "by its package, which the choice of a model asks for it",
    "LogBackend": "by an application that embeds the server",
    "Share": "by the command that listens, which alone knows connections",
    "Cookies": "by the authenticator, of its settings",
    "Signer": "by the authenticator, of its clock",
    "Tickets": "by the authenticator, of its settings",
    "Tokens": "by the authenticator, of its settings",
}
# The parts of the server: classes that are handed to another one, or that work on the log or by the settings. What is of one
# thing (its `__init__` takes an id) is no part: it is built where that thing is worked on.
COLLABORATORS = {
    name: module
    for (module, name), (types, taken) in CLASSES.items()
    if (name in HANDED_OVER or types & {"EventLog", "Config"})
    and not any(each.endswith("_id") for each in taken)
    and name not in BUILT_ELSEWHERE
}


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_its_own_and_lower_packages_only(module):
    """The client knows words, the log the client's words, streaming the log, and so on up to the command line."""
    package = package_of(module)
    assert package is not None, f"{module} is in no package of the table: choose a place in PACKAGES and in ARCHITECTURE.md"
    assert not {name for name in own(module) if package_of(name) is None or RANKS[package_of(name)] > RANKS[package]}


@pytest.mark.parametrize("module", FILES)
def test_a_library_is_imported_only_where_it_belongs(module):
    """SQLite stays in `engine`, HTTP stays out of the log, the command line's libraries stay there, rules are pure."""
    roots = {name.partition(".")[0] for name in IMPORTS[module]} - set(PACKAGES)
    for library, allowed in RESERVED.items():
        assert library not in roots or is_in(module, *allowed), library
    assert "aiohttp" not in roots or not is_in(module, "server.eventlog", "server.config")
    if is_in(module, "towow"):
        assert roots <= sys.stdlib_module_names | CLIENT_LIBRARIES
    if surface_of(module) and module.rpartition(".")[2] in PURE:
        assert roots <= sys.stdlib_module_names | {"msgspec"}
        assert not roots & {"asyncio", "socket"}
        assert all(is_in(name, *MAY_BE_PURE) for name in own(module))


@pytest.mark.parametrize("module", [name for name in FILES if surface_of(name)])
def test_surfaces_never_import_each_other_and_are_only_listed_by_app(module):
    """A surface can be removed by removing its folder and its name where `app.py` lists the descriptors."""
    assert {surface_of(name) for name in own(module)} <= {None, surface_of(module)}
    importers = {name for name in FILES if module in own(name) and surface_of(name) != surface_of(module)}
    assert importers <= ({"server.app"} if module in SURFACES else set())


@pytest.mark.parametrize("module", [name for name in FILES if name != "server.app" and name not in SURFACES])
def test_only_app_and_descriptors_build_collaborators(module):
    """The whole is wired in one place and a surface in its `__init__.py`; everything else is handed what it needs."""
    called = set(calls_of(TREES[module]))
    built = {name for name, origin in COLLABORATORS.items() if name in called and origin in own(module)}
    allowed = [names for package, names in ALSO_BUILD.items() if is_in(module, package)]
    assert built <= set().union(*allowed)


def test_every_collaborator_is_built_once():
    """The rule sees the parts that it is about, and nothing else passes for one."""
    built = [name for module in ("server.app", *SURFACES) for name in calls_of(TREES[module]) if name in COLLABORATORS]
    assert {"EventLog", "Hub", "StreamResponder", "Authenticator", "Coordinator", "SessionRoutes", "StatusThrottle"} <= set(
        built
    )
    assert sorted(set(built)) == sorted(COLLABORATORS)
    assert not {name for name in built if built.count(name) > 1}


@pytest.mark.parametrize("folder", ENTRY_POINTS)
def test_a_folder_of_its_own_is_entered_through_its_entry_point(folder):
    """The small model, the rule-based reader and the sample agents can be replaced without reading what uses them."""
    imported = {name for module in FILES if not is_in(module, folder) for name in own(module) if is_in(name, folder)}
    assert imported == {folder}


def test_the_small_model_is_found_by_the_choice_of_a_model_alone():
    """One import leads to it."""
    assert {module for module in FILES if "server.llm.local" in own(module)} == {"server.llm.provider"}


def test_no_two_public_classes_have_the_same_name():
    """One name is one thing, wherever a reader meets it."""
    modules = {}
    for module, tree in TREES.items():
        if module == "towow.sync":  # the same client without asyncio, under the same names
            continue
        for name in {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name[0] != "_"}:
            modules.setdefault(name, set()).add(module)
    shared = {name: places for name, places in modules.items() if len(places) > 1}
    assert set(shared) == SEEN_FROM_BOTH_SIDES
    assert all(sorted(is_in(module, "towow") for module in places) == [False, True] for places in shared.values())


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
