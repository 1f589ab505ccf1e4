"""`retention`: trim a log once by its settings, show what that would remove, or say that the clock is right."""

import asyncio
from collections import Counter
from pathlib import Path

import click

from server.app import open_log, retention_of
from server.cli.files import load_settings, settings_options
from server.config import Config
from server.eventlog.log import EventLog
from server.eventlog.retention import give_back
from towow.errors import StartupError
from towow.events import timestamp_of


@click.command()
@settings_options
@click.option("--dry-run", is_flag=True, help="Only show which streams are over a limit now.")
@click.option("--confirm", is_flag=True, help="Say that the wall clock is right although it jumped, also to a running server.")
def retention(config_file: Path | None, db: str | None, dry_run: bool, confirm: bool) -> None:
    """Trim what is over the limits of [retention] now, once; a server may be running.

    Without limits nothing is trimmed. What depends on age waits while the wall clock is in doubt; --confirm ends that.

    \b
    Examples:
      python run.py retention --dry-run
      TOWOW__RETENTION__MAX_AGE_DAYS=90 python run.py retention --db data/towow.db
    """  # noqa: D301 - \b keeps click from joining the lines
    config = load_settings(config_file, db)
    if not Path(config.database.path).is_file():
        raise StartupError(f"there is no database at {config.database.path}")
    asyncio.run(_run(config, is_dry_run=dry_run, is_confirmed=confirm))


async def _run(config: Config, *, is_dry_run: bool, is_confirmed: bool) -> None:
    async with open_log(config) as log:
        if is_confirmed:
            await _confirm(log)
        rules = retention_of(log, config)
        if is_dry_run:
            due = await rules.find_due()
            for (kind, cause), count in sorted(Counter((each.stream.partition(":")[0], each.cause) for each in due).items()):
                click.echo(f"{count:>8} {kind} streams by {cause}")
            click.echo(f"{len(due)} streams would be trimmed; nothing was changed")
        else:
            removed = await rules.trim()
            pages = await give_back(log)
            click.echo(f"ok: {removed.events} events of {removed.streams} whole streams trimmed, {pages} pages given back")
        for warning in log.warnings:
            click.echo(f"warning: {warning}", err=True)


async def _confirm(log: EventLog) -> None:
    now = timestamp_of(log.clock())
    await log.write(lambda db: db.execute("UPDATE log_meta SET clock_confirmed_at = ?", (now,)).close())
    click.echo(f"the clock is right: it is {now}")
