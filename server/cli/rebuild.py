"""`rebuild`: build the projections again from the log."""

from contextlib import closing
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from server.app import PROJECTED
from server.cli.files import database_option
from server.eventlog.database import lock_for_writing, migrate, sqlite3
from server.eventlog.rebuild import rebuild as rebuild_file
from towow.errors import StartupError

_BUSY_SECONDS = 10.0


@click.command()
@database_option("The SQLite file to work on.")
def rebuild(db: Path) -> None:
    """Fold the log into the projection tables of all surfaces again.

    A server may be running: the tables are made in a temporary file, and what differs is exchanged in short transactions.
    The log itself is not touched. Streams that retention has trimmed keep what the tables say of them.

    Example: python run.py rebuild --db data/towow.db"""
    if not db.is_file():
        raise StartupError(f"there is no database at {db}")
    screen = Console(stderr=True)
    try:
        with closing(_connect(db)) as connection:
            migrate(connection)
        with (
            lock_for_writing(db),
            closing(_connect(db)) as connection,
            screen.status("rebuilding") as status,
        ):  # of the file that there is now
            count = rebuild_file(connection, PROJECTED, lambda done: status.update(f"rebuilding: {done:,} events"))
    except sqlite3.DatabaseError as error:
        raise StartupError(f"{db} cannot be rebuilt: {error}") from None
    click.echo(f"ok: {count} events folded")


def _connect(db: Path) -> Any:
    return sqlite3.connect(str(db), timeout=_BUSY_SECONDS, isolation_level=None)
