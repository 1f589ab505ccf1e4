"""What the source says about itself: everything public, every test, every setting and every migration has its sentence."""

import ast
import inspect

import msgspec
import pytest

from server.config import Config
from server.eventlog.database import migrations
from tests.support import ROOT
from tests.test_layers import FILES, TREES

TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


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


def test_every_migration_says_why():
    """Each begins with a comment."""
    assert all(script.startswith("-- ") for _, _, script in migrations())


def test_settings_are_one_sentence_each():
    """Every section of the settings says in its docstring which it is."""
    for section in Config.__struct_fields__:
        documented = type(getattr(Config(), section))
        assert issubclass(documented, msgspec.Struct)
        assert (inspect.getdoc(documented) or "").partition("\n")[0].startswith(f"`[{section}]`: ")
