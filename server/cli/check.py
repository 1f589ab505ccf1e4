"""`check`: verify a database file."""

from pathlib import Path

import click
from rich.console import Console

from server.app import PROJECTED
from server.cli.files import database_option
from server.eventlog.database import read_only, sqlite3
from server.eventlog.heads import read_kept, read_public_key
from server.eventlog.mark import read_mark
from server.eventlog.verify import check as check_file
from towow.errors import StartupError

_SHOWN_FAULTS = 20


@click.command()
@database_option("The SQLite file to verify.")
@click.option(
    "--against", type=click.Path(path_type=Path), help="A file with heads that were kept elsewhere, as GET /api/head answers."
)
@click.option("--key", type=click.Path(path_type=Path), help="A PEM file with the key that signs heads, or its public one.")
def check(db: Path, against: Path | None, key: Path | None) -> None:
    """Verify a database: every event and its place in the digest chain, tables against a rebuild, schema, mark and heads.

    Only reads; a server may be running. The exit code is 1 when anything is wrong. What somebody with write access has written
    anew, from end to end, is only found by a head that was kept elsewhere: --against.

    \b
    Examples:
      python run.py check --db data/towow.db
      curl -s http://127.0.0.1:8000/api/head >> heads.ndjson; python run.py check --against heads.ndjson
    """  # noqa: D301 - \b keeps click from joining the lines
    screen = Console(stderr=True)
    kept = read_kept(against) if against is not None else []
    public_key = read_public_key(key) if key is not None else None
    mark = read_mark(db)
    connection = read_only(db)
    try:
        with screen.status("checking") as status:
            summary = check_file(
                connection,
                PROJECTED,
                lambda count: status.update(f"checking: {count:,} events"),
                mark=mark,
                kept=kept,
                key=public_key,
            )
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
