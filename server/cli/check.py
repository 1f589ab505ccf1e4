"""`check`: verify a database file."""

from pathlib import Path

import click
from rich.console import Console

from server.cli.files import database_option
from server.eventlog.database import read_only, sqlite3
from server.eventlog.verify import check as check_file
from towow.errors import StartupError

_SHOWN_FAULTS = 20


@click.command()
@database_option("The SQLite file to verify.")
def check(db: Path) -> None:
    """Verify every event of a database: SQLite's integrity, revisions without gaps, and the digest chain of every stream.

    Only reads; a server may be running. The exit code is 1 when anything is wrong.

    Example: python run.py check --db data/towow.db"""
    screen = Console(stderr=True)
    connection = read_only(db)
    try:
        with screen.status("checking") as status:
            summary = check_file(connection, lambda count: status.update(f"checking: {count:,} events"))
    except sqlite3.DatabaseError as error:
        raise StartupError(f"{db} cannot be read as a log: {error}") from None
    finally:
        connection.close()
    for fault in summary.faults[:_SHOWN_FAULTS]:
        click.echo(f"seq {fault.seq} {fault.stream}: {fault.what}")
    if len(summary.faults) > _SHOWN_FAULTS:
        click.echo(f"and {len(summary.faults) - _SHOWN_FAULTS} more")
    verdict = f"{len(summary.faults)} faults" if summary.faults else "ok"
    click.echo(f"{verdict}: {summary.events} events in {summary.streams} streams")
    if summary.faults:
        raise SystemExit(1)
