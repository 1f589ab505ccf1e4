"""The commands in the documents are those of the command line, and each shows an example."""

import inspect
from importlib import import_module
from keyword import iskeyword

import pytest

from server.cli import COMMANDS
from tests.docs.reading import read, tables


def test_the_document_has_every_command_and_no_other():
    """The table of commands is the command line."""
    assert [row[0].strip("`") for row in tables(read("docs/commands.md"), "command")] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_exists_and_shows_an_example(name):
    """Its help has a first sentence and a line to copy."""
    module = f"{name}_" if iskeyword(name) else name
    command = getattr(import_module(f"server.cli.{module}"), module)
    assert command.name == name
    help_text = inspect.cleandoc(command.help)
    assert help_text
    assert f"python run.py {name}" in help_text
    assert all(option.help for option in command.params if option.param_type_name == "option")
