"""`import`: append exported events."""

import asyncio
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console

from server.app import open_log
from server.cli.files import load_settings, settings_options
from server.config import Config
from server.eventlog.transfer import Imported, import_lines

_SHOWN_LINES = 20


@click.command(name="import")
@click.argument("file", type=click.File("rb"))
@settings_options
def import_(file: BinaryIO, config_file: Path | None, db: str | None) -> None:
    """Append the events of FILE, as `export` writes them (- is stdin), to a database file; a server may be running.

    They get new seqs, revisions and digests; event_id, type, time, source, actor and payload stay. What is there already is not
    stored again, so an import that was interrupted is run again as it was. Events of system:* are left out. A line that is
    refused is named and does not stop the others; the exit code is 1 then.

    Example: python run.py import events.ndjson --db data/other.db"""
    done = asyncio.run(_run(load_settings(config_file, db), file))
    for line, why in done.refused[:_SHOWN_LINES]:
        click.echo(f"line {line}: {why}", err=True)
    if len(done.refused) > _SHOWN_LINES:
        click.echo(f"and {len(done.refused) - _SHOWN_LINES} more", err=True)
    verdict = f"{len(done.refused)} lines refused" if done.refused else "ok"
    click.echo(f"{verdict}: {done.stored} events stored, {done.present} were there already")
    if done.refused:
        raise SystemExit(1)


async def _run(config: Config, file: BinaryIO) -> Imported:
    screen = Console(stderr=True)
    async with open_log(config) as log:
        with screen.status("importing") as status:
            limit = config.append.max_event_bytes
            return await import_lines(log, file, limit, lambda line: status.update(f"importing: line {line:,}"))
