"""`rebuild`: build the projections again from the log."""

from contextlib import closing
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from server.app import PROJECTION_TABLES, PROJECTIONS
from server.cli.files import database_option
from server.eventlog.database import migrate, sqlite3
from server.eventlog.verify import rebuild as rebuild_file
from towow.errors import StartupError

_BUSY_SECONDS = 10.0


@click.command()
@database_option("The SQLite file to work on.")
def rebuild(db: Path) -> None:
    """Empty the projection tables of all surfaces and fold the log into them again.

    One transaction: readers see the old tables until it is done, publishers wait. The log itself is not touched.
    What retention has removed cannot be folded any more: of such streams the tables know less afterwards.

    Example: python run.py rebuild --db data/towow.db"""
    if not db.is_file():
        raise StartupError(f"there is no database at {db}")
    screen = Console(stderr=True)
    try:
        with closing(_connect(db)) as connection:
            migrate(connection)
        with closing(_connect(db)) as connection, screen.status("rebuilding") as status:  # of the file that there is now
            count = rebuild_file(
                connection, PROJECTIONS, PROJECTION_TABLES, lambda done: status.update(f"rebuilding: {done:,} events")
            )
    except sqlite3.DatabaseError as error:
        raise StartupError(f"{db} cannot be rebuilt: {error}") from None
    click.echo(f"ok: {count} events folded")


def _connect(db: Path) -> Any:
    return sqlite3.connect(str(db), timeout=_BUSY_SECONDS, isolation_level=None)
