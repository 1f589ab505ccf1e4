"""What the commands that work on a database file share: which file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def database_option(text: str) -> Callable[[F], F]:
    """`--db`, explained by `text`; by default the file that a server without settings writes."""
    return click.option("--db", type=click.Path(path_type=Path), default=Path("data/towow.db"), show_default=True, help=text)
