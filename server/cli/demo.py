"""`demo`: one demand, submitted and watched to its end, for someone who sees the system for the first time.

`demo task` emits a task instead; `demo_task.py` does that."""

import asyncio
import sys
from contextlib import aclosing
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.cli import demo_task
from server.cli.narration import Narration
from server.cli.output import console, note, safe_text
from server.cli.remote import connect, server_options
from towow import Client
from towow.demands import Submission, Understanding

SAMPLES = {
    "en": "We want to hold a tech meetup for 30 people and need a venue, a speaker and event planning.",
    "zh": "我想下周末办一场30人的技术分享会，需要场地、讲者，还需要有人策划活动。",
}
TASK = "task"  # the TEXT that asks for a task
DEFAULT_SECONDS = 60.0
_WIDTH = 80  # columns of a file or a pipe: this is a story for people, it wraps there as on a terminal


@click.command()
@click.argument("text", required=False)
@click.option(
    "--lang",
    type=click.Choice(sorted(SAMPLES)),
    default="en",
    show_default=True,
    help="Of the sample demand, and of the task's work items.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Watch for so long, default {DEFAULT_SECONDS:g}; with task: work for so long, default {demo_task.DEFAULT_SECONDS:g}.",
)
@click.option("--task-id", help="With task: its id. Default a new one.")
@click.option(
    "--items", type=click.IntRange(1, 500), help=f"With task: how many work items it has. Default {demo_task.DEFAULT_ITEMS}."
)
@server_options
def demo(
    text: str | None, lang: str, seconds: float | None, task_id: str | None, items: int | None, url: str, token: str | None
) -> None:
    """Submit a sample demand, or TEXT, and watch its negotiation to the end. `demo task` emits a sample task instead.

    Shows who is found, the offers as they arrive, every proposal and the answers to it, what is missing, the
    sub-negotiations for that (indented), and the outcome. However it ends, the exit code is 0; it is 1 when
    there is no end within --seconds.

    A task has phases, work items (one of them fails and is done again) and progress, and says where it can be watched. Ctrl-C
    cancels it.

    \b
    Examples:
      python run.py demo
      python run.py demo --lang zh
      python run.py demo 'I am looking for a photographer in Hangzhou'
      python run.py demo task --seconds 60 --items 30
    """  # noqa: D301 - \b keeps click from joining the lines
    if text == TASK:
        work = (task_id, items or demo_task.DEFAULT_ITEMS, seconds or demo_task.DEFAULT_SECONDS)
        asyncio.run(demo_task.run_task(*work, lang, url, token))
        return
    if task_id is not None or items is not None:
        raise click.UsageError("--task-id and --items go with: demo task")
    seconds = seconds or DEFAULT_SECONDS
    watched = asyncio.run(_demo(text or SAMPLES[lang], seconds, url, token))
    if watched is not None:
        raise click.ClickException(f"the negotiation has not ended within {seconds:g} s; it goes on at {watched}")


async def _demo(text: str, seconds: float, url: str, token: str | None) -> str | None:
    """None when the negotiation ended in time, else where it can be watched further."""
    out = console()
    if not sys.stdout.isatty():
        out.width = _WIDTH
    async with connect(url, token) as client:
        submitted = await client.submit_demand(text, user_id="demo")
        page = f"{client.base_url}/#{submitted.demand_id}"
        _show_demand(out, text, submitted.understanding, page)
        try:
            async with asyncio.timeout(seconds):
                await _watch(client, out, submitted)
        except TimeoutError:
            return page
    return None


async def _watch(client: Client, out: Console, submitted: Submission) -> None:
    """Tell what happens until the demand has ended.

    All demands are followed, because the sub-negotiations that there will be have no names yet."""
    started = (await client.get_event(submitted.seq)).timestamp
    story = Narration(out, submitted.demand_id, started)
    async with aclosing(client.follow("demand:*", since_seq=submitted.seq, on_state=_say_break)) as events:
        async for event in events:
            if story.concerns(event) and story.tell(event):
                return


def _show_demand(out: Console, text: str, understanding: Understanding, page: str) -> None:
    """The demand, how it was understood, and where the page shows it."""
    wanted = [_wanted(each.capability, each.term) for each in understanding.capabilities]
    heading = Table.grid(padding=(0, 2, 0, 0))
    heading.add_column(style="bold")
    heading.add_column(overflow="fold")
    for label, value in (
        ("demand", text),
        ("meant", "" if understanding.surface_demand in text else understanding.surface_demand),
        ("wanted", ", ".join(wanted) or "nothing particular"),
        ("limits", _limits(understanding.requirements)),
        ("sure", understanding.confidence),
    ):
        if value:
            heading.add_row(label, Text(safe_text(value)))
    out.print(heading)
    out.print(Text.assemble(("watch   ", "bold"), (page, "underline")), soft_wrap=True)
    out.print()


def _wanted(capability: str, term: str) -> str:
    """A capability, and how the demand says it where that differs."""
    return capability if term == capability.replace("_", " ") else f"{capability} ({term})"


def _limits(requirements: dict[str, Any]) -> str:
    """What the demand fixes: people, money, the day; nothing when it fixes nothing."""
    people, budget, day = (requirements.get(key) for key in ("people", "budget", "date"))
    money = f"{budget:,g} {requirements.get('currency') or ''}".rstrip() if budget is not None else None
    return ", ".join(filter(None, (people and f"{people} people", money, day)))


def _say_break(state: str, detail: dict[str, Any]) -> None:
    if state == "reconnecting" and detail["wait_seconds"] > 0:
        note(detail["reason"], style="yellow")
