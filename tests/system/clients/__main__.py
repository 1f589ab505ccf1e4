"""`python -m tests.system.clients [--client NAME]… [--situation NAME]… [--json]`: the table of clients and situations."""

import sys
import tempfile
from pathlib import Path

import click

from tests.system.clients.programs import installed
from tests.system.clients.situations import SITUATIONS, take


@click.command()
@click.option("--client", "clients", multiple=True, help="Only this client; repeatable.")
@click.option("--situation", "situations", multiple=True, type=click.Choice(list(SITUATIONS)), help="Only this; repeatable.")
def table(clients: tuple[str, ...], situations: tuple[str, ...]) -> None:
    """Take every client that is installed here through every situation, and print a table in Markdown."""
    programs = {name: program for name, program in installed().items() if not clients or name in clients}
    chosen = situations or tuple(SITUATIONS)
    wrong = 0
    click.echo("| client | version | " + " | ".join(chosen) + " |")
    click.echo("|---|---|" + "---|" * len(chosen))
    for name, program in programs.items():
        cells = []
        for situation in chosen:
            click.echo(f"{name}: {situation}", err=True)
            with tempfile.TemporaryDirectory() as directory:
                fault = take(program, situation, Path(directory) / "run")
            wrong += bool(fault)
            cells.append(fault or "yes")
        click.echo(f"| {name} | {program.version} | " + " | ".join(cells) + " |")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    table()
