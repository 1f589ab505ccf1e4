"""The code blocks of the documents are code: each can be copied whole, and its language takes it."""

import ast
import re
import shutil
import subprocess

import msgspec
import pytest

from server.eventlog.database import migrate, sqlite3
from tests.docs.reading import DOCUMENTS, blocks, read

LANGUAGES = {"sh", "python", "js", "go", "json", ""}  # without a language: a drawing, or what a program answers
BLOCKS = [(name, language, code) for name in DOCUMENTS for language, code in blocks(read(name))]
ALL = [pytest.param(code, id=f"{name}:{n}") for n, (name, language, code) in enumerate(BLOCKS)]


def of(language):
    """The blocks in one language, as parameters."""
    return [pytest.param(code, id=f"{name}:{n}") for n, (name, each, code) in enumerate(BLOCKS) if each == language]


def test_every_block_is_closed_and_has_a_language_that_is_checked():
    """A fence that is left open would swallow the rest of the page."""
    for name in DOCUMENTS:
        text = read(name)
        assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(blocks(text)), name
    assert {language for _, language, _ in BLOCKS} <= LANGUAGES


@pytest.mark.parametrize("code", of("sh"))
def test_a_command_block_can_be_pasted(code):
    """`bash -n` takes it, it holds no prompt, and no line of it is an answer."""
    done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    commands = code.replace("\\\n", " ")
    commands = re.sub(r'"[^"]*"|\'[^\']*\'', "''", commands)  # what is quoted may have several lines
    for line in commands.splitlines():
        assert re.match(r"(TOWOW__\w+=\S+ )*(pip|python|curl|sqlite3|pytest) ", f"{line} "), line


@pytest.mark.parametrize("code", of(""))
def test_what_is_no_command_block_holds_no_command(code):
    """Whoever copies commands finds all of them in blocks that are marked so."""
    assert not re.search(r"^(\$ |# ?)?(pip|python|curl|sqlite3|pytest) ", code, re.MULTILINE)


@pytest.mark.parametrize("code", of("python"))
def test_a_python_block_compiles(code):
    """As a module, in which `await` may stand outside of a function, as in a notebook."""
    compile(code, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("code", of("python"))
def test_what_a_python_block_imports_exists(code):
    """Names of the client are those of today."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("towow", "server"):
            exec(compile(ast.Module([node], []), "block", "exec"), {})


@pytest.mark.parametrize("code", of("js"))
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_javascript_block_is_a_module(code, tmp_path):
    """`node --check` takes it."""
    (tmp_path / "block.mjs").write_text(code, encoding="utf-8")
    done = subprocess.run(["node", "--check", tmp_path / "block.mjs"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("code", of("json"))
def test_a_json_block_is_json(code):
    """With the keys of an event, in their order."""
    assert list(msgspec.json.decode(code)) == [
        "seq", "stream", "revision", "event_id", "event_type", "timestamp", "source", "payload",
    ]  # fmt: skip


def test_the_sql_of_the_documents_runs(tmp_path):
    """Every statement that a reader may copy works on a new database, and has nothing that a shell would replace."""
    text = "\n".join(read(name) for name in DOCUMENTS)
    statements = re.findall(r"(?:run\.py sql|sqlite3 data/towow\.db) \"([^\"]+)\"", text)
    statements += re.findall(r"run\.py sql '([^']+)'", text)
    assert len(statements) >= 7
    with sqlite3.connect(tmp_path / "new.db", isolation_level=None) as db:
        migrate(db)
        for statement in statements:
            assert not re.search(r"(?<!\\)[$`]", statement)
            db.execute(statement.replace("\\$", "$")).fetchall()
    db.close()
