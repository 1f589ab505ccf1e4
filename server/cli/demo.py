"""
`demo`: one demand, submitted and watched, for someone who sees the system for the first time.
"""

import asyncio
from contextlib import aclosing
from typing import Any

import click
from rich.text import Text

from server.cli.output import console, note, print_event, print_table, safe_text
from server.cli.remote import connect, server_options
from server.client import Client
from server.events import Event

SAMPLES = {
    "en": "We want to hold a tech meetup for 30 people and need a venue, a speaker and event planning.",
    "zh": "我想下周末办一场30人的技术分享会，需要场地、讲者，还需要有人策划活动。",
}


@click.command()
@click.argument("text", required=False)
@click.option(
    "--lang",
    type=click.Choice(sorted(SAMPLES)),
    default="en",
    show_default=True,
    help="Of the sample demand.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=15.0,
    show_default=True,
    help="Watch for so long.",
)
@server_options
def demo(text: str | None, lang: str, seconds: float, url: str, token: str | None) -> None:
    """
    Submit a sample demand, or TEXT, and watch until agents are found for it.

    \b
    Examples:
      python run.py demo
      python run.py demo --lang zh
      python run.py demo 'I am looking for a photographer in Hangzhou'
    """  # noqa: D301 - \b keeps click from joining the lines
    if not asyncio.run(_demo(text or SAMPLES[lang], seconds, url, token)):
        raise click.ClickException(f"no candidates were named within {seconds:g} s; is the server busy?")


async def _demo(text: str, seconds: float, url: str, token: str | None) -> bool:
    """
    Whether the demand was answered in time.
    """
    out = console()
    async with connect(url, token) as client:
        out.print(Text.assemble(("demand  ", "bold"), safe_text(text)))
        answer = await client.submit_demand(text, user_id="demo")
        _show_understanding(answer)
        out.print(Text.assemble(("watch   ", "bold"), (f"{client.base_url}/#{answer['demand_id']}", "underline")))
        out.print()
        try:
            async with asyncio.timeout(seconds):
                await _watch(client, f"demand:{answer['demand_id']}")
        except TimeoutError:
            return False
    return True


async def _watch(client: Client, stream: str) -> None:
    """
    Show the stream's events until candidates are named, or it ends.
    """
    async with aclosing(client.follow(stream, on_state=_say_break)) as events:
        async for event in events:
            print_event(console(), event)
            if event.event_type == "towow.filter.completed" and _show_candidates(event):
                return


def _show_understanding(answer: dict[str, Any]) -> None:
    understanding = answer["understanding"]
    wanted = ", ".join(_wanted(each["capability"], each["term"]) for each in understanding["capabilities"])
    out = console()
    out.print(Text.assemble(("meant   ", "bold"), safe_text(understanding["surface_demand"])))
    out.print(Text.assemble(("wanted  ", "bold"), safe_text(wanted or "nothing particular")))
    out.print(Text.assemble(("sure    ", "bold"), safe_text(understanding["confidence"])))


def _wanted(capability: str, term: str) -> str:
    """
    A capability, and how the demand says it where that differs.
    """
    return capability if term == capability.replace("_", " ") else f"{capability} ({term})"


def _show_candidates(event: Event) -> bool:
    """
    Show who could serve the demand; False when nobody can.
    """
    candidates = event.payload["candidates"]
    if not candidates:
        return False
    console().print()
    rows = [(each["name"], each["agent_id"], each["reason"]) for each in candidates]
    print_table(("candidate", "agent", "because"), rows)
    return True


def _say_break(state: str, detail: dict[str, Any]) -> None:
    if state == "reconnecting":
        note(detail["reason"], style="yellow")
