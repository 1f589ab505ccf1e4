"""`demo task`: a task that works for a while, told to the server event by event and to the terminal as it goes."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from server.cli.demo_plan import Step, plan_task
from server.cli.output import console, safe_text
from server.cli.remote import connect
from towow import Client
from towow.errors import TowowError
from towow.events import uuid7

DEFAULT_SECONDS = 20.0
DEFAULT_ITEMS = 9

_GOODBYE_SECONDS = 3.0  # for the last word after Ctrl-C
_STYLES = {
    "phase_enter": "bold cyan",
    "work_item_start": "blue",
    "work_item_complete": "green",
    "work_item_failed": "red",
    "task_complete": "bold green",
}
_WORDS = {"work_item_start": "begins", "work_item_complete": "done", "work_item_failed": "failed"}


async def run_task(task_id: str | None, items: int, seconds: float, lang: str, url: str, token: str | None) -> None:
    """Emit a whole task, in about `seconds`. Cancelled, it cancels the task as well. Raises what the server refuses."""
    task_id = task_id or f"report-{uuid7()[-8:]}"
    async with connect(url, token) as client:
        out = console()
        _show_places(out, client, task_id)
        try:
            with _bar(out) as show:
                await _work(client, task_id, plan_task(items, lang), seconds, show)
        except asyncio.CancelledError:
            with suppress(TowowError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await client.emit(task_id, "task_cancelled", {"reason": "interrupted"})
                    out.print(Text("cancelled", style="yellow"))
            raise


async def _work(client: Client, task_id: str, steps: list[Step], seconds: float, show: "_Show") -> None:
    started_at = time.monotonic()
    for step in steps:
        await asyncio.sleep(started_at + step.at * seconds - time.monotonic())
        await client.emit(task_id, step.event_type, step.payload, phase=step.phase, span_id=step.span_id)
        show.tell(step, time.monotonic() - started_at)


def _show_places(out: Console, client: Client, task_id: str) -> None:
    """Where the task can be watched."""
    for label, text in (
        ("task", task_id),
        ("watch", f"{client.base_url}/tasks.html#{task_id}"),
        ("or", f"curl -N '{client.base_url}/sse/tasks/{task_id}/events?allow_pending=1'"),
    ):
        out.print(Text.assemble((f"{label:<8}", "bold"), safe_text(text)), soft_wrap=True)
    out.print()


class _Show:
    """Tells what happens: a line for each event, and the progress in a bar where there is a terminal for it."""

    def __init__(self, out: Console, bar: Progress | None) -> None:
        self._out = out
        self._bar = bar
        self._shown = bar.add_task("", total=100) if bar is not None else None

    def tell(self, step: Step, seconds: float) -> None:
        """Show an event that has been stored."""
        if self._bar is not None and self._shown is not None:
            if step.event_type == "phase_enter":
                self._bar.update(self._shown, description=step.phase or "")
            elif step.event_type == "progress_update":
                self._bar.update(self._shown, completed=step.payload["progress"])
            elif step.event_type == "task_complete":
                self._bar.update(self._shown, description="done", completed=100)
        if self._bar is None or step.event_type != "progress_update":
            line = Text.assemble((f"{seconds:5.1f} s  ", "dim"), (safe_text(_sentence(step)), _STYLES.get(step.event_type, "")))
            self._out.print(line, soft_wrap=True)


def _sentence(step: Step) -> str:
    """An event in words."""
    match step.event_type:
        case "phase_enter":
            return f"phase: {step.phase}"
        case "progress_update":
            return f"{step.payload['progress']:g} %"
        case "task_complete":
            return f"complete: {step.payload['items']} work items"
        case _:
            attempt = f", attempt {step.payload['attempt']}" if "attempt" in step.payload else ""
            error = f": {step.payload['error']}" if "error" in step.payload else ""
            return f"{step.span_id}  {step.payload['name']}  {_WORDS[step.event_type]}{attempt}{error}"


@contextmanager
def _bar(out: Console) -> Iterator[_Show]:
    if not sys.stdout.isatty():
        yield _Show(out, None)
        return
    with Progress(TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn(), console=out) as bar:
        yield _Show(out, bar)
