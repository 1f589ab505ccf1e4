"""The documents are promises that run: routes, error codes, commands, settings, paths and SQL in them are the real ones."""

import ast
import contextlib
import inspect
import re
from importlib import import_module

import msgspec
import pytest

from server.app import make_app
from server.cli import COMMANDS
from server.config import Config
from server.eventlog.database import migrate, migrations, sqlite3
from tests.support import ROOT
from tests.test_layers import FILES, PACKAGES, TREES
from towow import errors
from towow.errors import STATUS_BY_CODE

TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
ROUTES = sorted(
    {
        (route.method, route.resource.canonical): route.handler
        for route in make_app(Config()).router.routes()
        if route.method != "HEAD"
    }.items()
)
NAMES = [f"{method} {path}" for (method, path), _ in ROUTES]


def read(name):
    """A document in the root of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def table(text, heading):
    """The rows of the table whose header begins with `heading`, as lists of cells."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def first_line(documented):
    """The first line of a docstring."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


@pytest.mark.parametrize(("name", "handler"), [(name, handler) for name, (_, handler) in zip(NAMES, ROUTES, strict=True)])
def test_the_docstring_of_a_handler_begins_with_its_route(name, handler):
    """`METHOD /path`, as the router has it."""
    assert first_line(handler) == name


@pytest.mark.parametrize(("name", "handler"), [(name, handler) for name, (_, handler) in zip(NAMES, ROUTES, strict=True)])
def test_a_handler_names_only_codes_that_exist(name, handler):
    """What stands after `Errors:` are codes of the table."""
    for found in re.findall(r"Errors:\s*([^.]*)\.", inspect.getdoc(handler)):
        codes = re.findall(r"[a-z_]+", re.sub(r"\(.*?\)", "", found))
        assert codes
        assert set(codes) <= set(STATUS_BY_CODE)


def test_the_readme_has_every_route_and_no_other():
    """The table of routes is the router."""
    assert sorted(row[0].strip("`") for row in table(read("README.md"), "route")) == sorted(NAMES)


def test_the_readme_has_every_error_code_with_its_status_and_no_other():
    """The table of errors is the table that answers are made with."""
    documented = {row[0].strip("`"): int(row[1]) for row in table(read("README.md"), "code")}
    assert documented == STATUS_BY_CODE


def test_every_error_class_has_a_status_and_its_place_in_the_tree():
    """An error that is raised on purpose can be answered; `startup_error` is never sent."""
    classes = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, errors.TowowError)]
    codes = {each.code for each in classes}
    assert codes == {*STATUS_BY_CODE, "startup_error"}
    for each in classes:
        assert each.__name__ in errors.__doc__
        if each is not errors.TowowError:
            assert each.code in errors.__doc__
        assert f"`{each.code}`" in each.__doc__ or each is errors.TowowError


def test_the_readme_has_every_command_and_no_other():
    """The table of commands is the command line."""
    assert [row[0].strip("`") for row in table(read("README.md"), "command")] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_exists_and_shows_an_example(name):
    """Its help has a first sentence and a line to copy."""
    command = getattr(import_module(f"server.cli.{name}"), name)
    assert command.name == name
    help_text = inspect.cleandoc(command.help)
    assert help_text
    assert f"python run.py {name}" in help_text
    assert all(option.help for option in command.params if option.param_type_name == "option")


def test_the_readme_names_every_section_of_the_settings():
    """Whoever looks for a setting finds where it is."""
    text = read("README.md")
    for section in Config.__struct_fields__:
        assert f"`[{section}]`" in text


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md"])
def test_what_the_documents_say_about_settings_exists(name):
    """`[section] key` and `TOWOW__SECTION__KEY` are real ones."""
    text = read(name)
    named = re.findall(r"`\[([a-z]+)\] ([a-z_]+)", text)
    named += [(section.lower(), key.lower()) for section, key in re.findall(r"TOWOW__([A-Z]+)__([A-Z_]+)", text)]
    for section, key in named:
        assert key in type(getattr(Config(), section)).__struct_fields__


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md"])
def test_every_path_in_the_documents_exists(name):
    """No document sends the reader to a file that is not there."""
    paths = re.findall(r"(?:towow|server|benchmarks|tests|migrations|\.ci)/[A-Za-z0-9_./-]*[A-Za-z0-9_/]", read(name))
    assert paths
    for path in paths:
        if path.isupper() or "NAME" in path:
            continue
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), path


def test_the_packages_of_the_architecture_are_those_that_are_held():
    """The table in ARCHITECTURE.md and the one in test_layers.py have the same rows in the same order."""
    assert [row[0].strip("`").replace("/", ".") for row in table(read("ARCHITECTURE.md"), "package")] == list(PACKAGES)


def test_the_words_of_the_architecture_are_all_explained():
    """The table of words has a meaning for each."""
    rows = table(read("ARCHITECTURE.md"), "word")
    assert {"event", "stream", "seq", "revision", "cursor", "epoch", "hub", "follower"} <= {row[0] for row in rows}
    assert all(row[1] for row in rows)


def test_the_sql_of_the_readme_runs(tmp_path):
    """Every statement that a reader may copy works on a new database."""
    text = read("README.md").replace("\\$", "$")
    statements = re.findall(r"(?:run\.py sql|sqlite3 data/towow\.db) \"([^\"]+)\"", text)
    assert len(statements) >= 4
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as db:
        migrate(db)
        for statement in statements:
            db.execute(statement).fetchall()


def test_every_migration_says_why():
    """Each begins with a comment."""
    assert all(script.startswith("-- ") for _, _, script in migrations())


@pytest.mark.parametrize("module", FILES)
def test_everything_public_has_a_docstring(module):
    """Modules, classes, functions and methods; the text begins at its quotes."""
    undocumented = [
        name for name, text in _documented(TREES[module], module) if not text or not text.strip() or text.startswith("\n")
    ]
    assert not undocumented


def _documented(node, name):
    yield name, ast.get_docstring(node, clean=False)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            if isinstance(child, ast.ClassDef):
                yield from _documented(child, f"{name}.{child.name}")
            else:
                yield f"{name}.{child.name}", ast.get_docstring(child, clean=False)


@pytest.mark.parametrize("file", TESTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_test_says_its_promise(file):
    """A test file and each of its tests has a docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    tests = [node for node in functions if node.name.startswith("test_")]
    assert ast.get_docstring(tree)
    assert [node.name for node in tests if not ast.get_docstring(node)] == []


def test_the_changelog_names_what_is_visible():
    """Error codes, commands, routes and sections of the settings stand there in full."""
    text = read("CHANGELOG.md")
    names = [*STATUS_BY_CODE, *COMMANDS, *(f"[{section}]" for section in Config.__struct_fields__)]
    assert [name for name in names if f"`{name}`" not in text and f"`{name} " not in text] == []


def test_settings_are_one_sentence_each():
    """Every section of the settings says in its docstring which it is."""
    for section in Config.__struct_fields__:
        documented = type(getattr(Config(), section))
        assert issubclass(documented, msgspec.Struct)
        assert first_line(documented).startswith(f"`[{section}]`: ")
