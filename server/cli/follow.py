"""`follow`: events as they happen, for people or as JSON lines."""

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import click

from server.cli.output import console, note, print_event, print_line
from server.cli.remote import connect, server_options
from server.streaming.ndjson import with_cursor
from towow import CursorLost
from towow.errors import NotFound


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--since", metavar="CURSOR|SEQ|EVENT_ID", help="Everything after this event (exclusive).")
@click.option("--type", "types", multiple=True, metavar="GLOB", help="Only these event types; repeatable.")
@click.option("--start", metavar="WHERE", help="Without --since: beginning, live or tail:N.")
@click.option("--json", "as_json", is_flag=True, help="Print each event's JSON with its cursor on one line of stdout.")
@click.option("--until-end", is_flag=True, help="Stop at the end of what is stored instead of waiting for more.")
@click.option("--wait-for-stream", is_flag=True, help="Wait for a stream that does not exist yet.")
@server_options
def follow(
    streams: tuple[str, ...],
    since: str | None,
    types: tuple[str, ...],
    start: str | None,
    as_json: bool,
    until_end: bool,
    wait_for_stream: bool,
    url: str,
    token: str | None,
) -> None:
    """Show events as they happen; resumes by itself.

    STREAM is kind:id (demand:d-1a2b3c4d), kind:* or * (the default: everything). One stream is shown from its
    beginning, patterns from now on, unless --since or --start says otherwise. After a break, also a restart
    of the server, it goes on where it was and says so on stderr. It ends when the stream has ended.

    \b
    Examples:
      python run.py follow
      python run.py follow 'demand:*' --type 'towow.offer.*' --start tail:20
      python run.py follow '*' --since 1200 --json | jq .payload
      python run.py follow --until-end --json > all.ndjson
    """  # noqa: D301 - \b keeps click from joining the lines
    if until_end and since is None and start is None:
        start = "beginning"  # a pattern would start at the end, and stop there
    options = {"since_seq": since, "types": types, "start": start, "allow_pending": wait_for_stream, "live": not until_end}
    asyncio.run(_follow(streams or ("*",), as_json, url, token, options))


async def _follow(streams: tuple[str, ...], as_json: bool, url: str, token: str | None, options: dict[str, Any]) -> None:
    out = console()
    say = _Narrator(is_brief=as_json)
    async with connect(url, token) as client:
        try:
            with _ended_with_the_reader():
                async with aclosing(client.follow(*streams, on_state=say, **options)) as events:
                    async for event in events:
                        if as_json:
                            print_line(with_cursor(event.canonical(), event))
                        else:
                            print_event(out, event)
        except NotFound as error:
            error.message += "; --wait-for-stream waits for it"
            raise
        except CursorLost as error:
            error.message += "; follow from --start beginning, or from a later --since"
            raise


class _Narrator:
    """Says on stderr what happens to the connection; brief when stdout is for a program."""

    def __init__(self, *, is_brief: bool) -> None:
        self._is_brief = is_brief
        self._is_broken = False

    def __call__(self, state: str, detail: dict[str, Any]) -> None:
        if state == "reconnecting" and detail["wait_seconds"] > 0:
            self._is_broken = True
            note(f"{detail['reason']}; trying again in {detail['wait_seconds']:.1f} s", style="yellow")
        elif state == "ready" and self._is_broken:
            self._is_broken = False
            note(f"connected again; nothing is missing up to seq {detail['head_seq']}", style="green")
        elif state == "ended" and not self._is_brief and detail["reason"] != "stored":
            note(f"the stream has ended: {detail['reason']}")


@contextmanager
def _ended_with_the_reader() -> Iterator[None]:
    """End the block with BrokenPipeError once the reader of stdout leaves, also while there is nothing to write.

    Without it `follow | head -1` would stay until the second event comes."""
    task, loop, output = asyncio.current_task(), asyncio.get_running_loop(), sys.stdout.fileno()
    if task is None or not sys.platform.startswith("linux") or not stat.S_ISFIFO(os.fstat(output).st_mode):
        yield
        return
    has_left = False

    def leave() -> None:
        nonlocal has_left
        has_left = True
        loop.remove_reader(output)
        task.cancel()

    loop.add_reader(output, leave)  # epoll reports EPOLLERR on a pipe without a reader
    try:
        yield
    except asyncio.CancelledError:
        if has_left:
            raise BrokenPipeError from None
        raise
    finally:
        loop.remove_reader(output)
