"""`streams`: what streams there are, as a table or as JSON."""

import asyncio

import click

from server.cli.output import local_time, print_json_array, print_table
from server.cli.remote import connect, server_options
from towow.responses import StreamInfo


@click.command()
@click.option("--kind", metavar="KIND", help="Only streams of this kind, for example demand.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one stream per line.")
@server_options
def streams(kind: str | None, as_json: bool, url: str, token: str | None) -> None:
    """List the streams of a running server, by name.

    \b
    Examples:
      python run.py streams
      python run.py streams --kind demand --json | jq '.[] | select(.ended | not) | .name'
    """  # noqa: D301 - \b keeps click from joining the lines
    found = asyncio.run(_read(kind, url, token))
    if as_json:
        print_json_array(found)
        return
    print_table(
        ("stream", "events", "revision", "last seq", "updated", "ended"),
        [
            (
                stream.name,
                stream.count,
                stream.revision,
                stream.last_seq,
                local_time(stream.updated_at),
                "yes" if stream.ended else "",
            )
            for stream in found
        ],
        numbers=("events", "revision", "last seq"),
        is_cut=True,
    )


async def _read(kind: str | None, url: str, token: str | None) -> list[StreamInfo]:
    async with connect(url, token) as client:
        return [stream async for stream in client.each_stream(kind)]
