"""`restore`: put a backup in the place of a database."""

import time
from pathlib import Path

import click
from rich.console import Console

from server.cli.files import load_settings, settings_options
from server.eventlog.backup import restore as put_back
from server.eventlog.database import sqlite3
from towow.errors import StartupError


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@settings_options
def restore(file: Path, config_file: Path | None, db: str | None) -> None:
    """Put the backup FILE in the place of the database, in a new epoch from the backup's head on.

    No server may use the database; what is there keeps a second name. Readers up to the backup's head go on as if nothing had
    happened; those beyond it are told that their history is another one, and no seq is given twice. FILE is verified first, and
    not changed. After a kill, run it again: until then a server refuses to start.

    Example: python run.py restore /backups/towow.db --db data/towow.db"""
    config = load_settings(config_file, db)
    screen = Console(stderr=True)
    try:
        with screen.status("verifying") as status:
            restored = put_back(
                Path(config.database.path),
                file,
                time.time(),
                lambda what, done, of: status.update(f"{what}: {done:,}" + (f" of {of:,}" if of else "")),
            )
    except sqlite3.Error as error:
        raise StartupError(f"{file} cannot be restored: {error}") from None
    lost = restored.head_seq - restored.from_seq + 1
    click.echo(
        f"ok: epoch {restored.epoch} goes on after seq {restored.head_seq}; {lost} events after the backup are not in it"
    )
    if restored.kept is not None:
        click.echo(f"the file that was there is {restored.kept}")
