"""What the commands that work on a database file share: which file, and by which settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from server.config import Config, load_config

F = TypeVar("F", bound=Callable[..., Any])


def database_option(text: str) -> Callable[[F], F]:
    """`--db`, explained by `text`; by default the file that a server without settings writes."""
    return click.option("--db", type=click.Path(path_type=Path), default=Path("data/towow.db"), show_default=True, help=text)


def settings_options(command: F) -> F:
    """`--config` and `--db`, as `serve` has them."""
    config = click.option(
        "--config", "config_file", type=click.Path(path_type=Path), help="Settings file; default: config.toml here, if any."
    )
    return config(click.option("--db", help="SQLite file; default: that of the settings, data/towow.db.")(command))


def load_settings(config_file: Path | None, db: str | None) -> Config:
    """The settings of a command with `settings_options`. Raises `StartupError`."""
    if config_file is None and Path("config.toml").is_file():
        config_file = Path("config.toml")
    return load_config(config_file, flags={"database": {"path": db}} if db is not None else {}, warn=lambda message: None)
