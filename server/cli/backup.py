"""`backup`: copy a log that is in use."""

import time
from pathlib import Path

import click
from rich.console import Console

from server.cli.files import load_settings, settings_options
from server.eventlog.backup import backup as back_up
from server.eventlog.database import sqlite3
from server.eventlog.heads import HeadSigner
from towow.errors import StartupError
from towow.events import check_of


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@settings_options
def backup(file: Path, config_file: Path | None, db: str | None) -> None:
    """Copy the log to FILE while a server publishes at full speed, verify the copy, and only then give it that name.

    A FILE that exists is replaced by a copy that verifies, or left as it was. FILE.head has the head of the copy, signed where
    [integrity] key_file is set: keep it somewhere else, `check --against` compares. The sqlite3 shell's .backup begins again at
    every commit, so beside a busy server it never ends; a plain copy of the file lacks its write-ahead log.

    \b
    Examples:
      python run.py backup /backups/towow.db
      python run.py backup /backups/$(date +%F).db --db data/towow.db
    """  # noqa: D301 - \b keeps click from joining the lines
    config = load_settings(config_file, db)
    screen = Console(stderr=True)
    try:
        with screen.status("copying") as status:
            head = back_up(
                Path(config.database.path),
                file,
                HeadSigner(config.integrity.key_file),
                time.time(),
                lambda what, done, of: status.update(f"{what}: {done:,}" + (f" of {of:,}" if of else "")),
            )
    except sqlite3.Error as error:
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise StartupError(f"{config.database.path} cannot be copied: {error}") from None
    check = f".{check_of(bytes.fromhex(head.digest))}" if head.seq else ""
    signed = "signed" if head.signature else "not signed: [integrity] key_file is not set"
    click.echo(f"ok: {file} ends at {head.seq}{check}, verified; its head is in {file}.head, {signed}")
