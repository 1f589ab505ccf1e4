"""`compact`: give free space of a database file back to the disk."""

from pathlib import Path

import click
from rich.console import Console

from server.cli.files import database_option
from server.eventlog.compact import compact as compact_file
from server.eventlog.database import sqlite3
from towow.errors import StartupError


@click.command()
@database_option("The SQLite file to work on.")
def compact(db: Path) -> None:
    """Give free space of a database back to the disk.

    When no server uses the file it is written anew, which takes twice its size beside it for a while; stopping it at any
    moment leaves the file as it was. Beside a running server only free pages are given back, a few at a time; publishers
    and readers go on. A file that an earlier release made has to be written anew once.

    Example: python run.py compact --db data/towow.db"""
    screen = Console(stderr=True)
    try:
        with screen.status("compacting") as status:
            before, after = compact_file(db, lambda done, of: status.update(f"compacting: {done:,} of {of:,} pages"))
    except sqlite3.DatabaseError as error:
        raise StartupError(f"{db} cannot be compacted: {error}") from None
    click.echo(f"ok: {before:,} bytes before, {after:,} after")
