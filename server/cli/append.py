"""`append`: one event from the arguments, or many from standard input."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from server.cli.output import console, note, print_line
from server.cli.remote import connect, server_options
from towow.errors import InvalidBody, InvalidRequest, TooLarge, TowowError
from towow.events import EventInput, check_input, parse_json
from towow.responses import Receipt

BATCH_EVENTS = 500  # half of what the server takes at once by default
READ_BYTES = 262_144  # at once from stdin; a batch is not larger, but for the rest of one line
LINE_BYTES = 1_048_576  # longer than any event that a server can be told to take
ASSIGNED = ("seq", "revision", "timestamp", "actor", "cursor")  # by the server: dropped from the lines of `follow --json`

_objects = msgspec.json.Decoder(dict[str, Any])


@click.command()
@click.argument("stream", required=False)
@click.argument("event_type", required=False)
@click.argument("payload", required=False, metavar="[PAYLOAD|-]")
@click.option("--event-id", metavar="ID", help="Idempotency key: the same id again stores nothing. Default: a new UUIDv7.")
@click.option("--source", metavar="NAME", default="cli", show_default=True, help="Who publishes.")
@click.option(
    "--expected-revision",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only if the stream is at this revision; 0: it must not exist.",
)
@click.option("--ndjson", is_flag=True, help="Read many events from stdin, one JSON object per line.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answers as JSON, one line per event.")
@server_options
def append(
    stream: str | None,
    event_type: str | None,
    payload: str | None,
    event_id: str | None,
    source: str,
    expected_revision: int | None,
    ndjson: bool,
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Append events to the log of a running server; they are on disk when this returns.

    PAYLOAD is a JSON object. With -, or without one when something is piped in, it is read from standard
    input; without any it is {}. Tries are repeated with the same event_id, so nothing is stored twice.

    With --ndjson each line of standard input is an event: {"stream", "event_type", "payload"} and optionally
    "event_id", "source", "expected_revision". STREAM and EVENT_TYPE fill in for lines without. Lines of
    `follow --json` are taken as well, and get a new seq.

    \b
    Examples:
      python run.py append task:t-1 task.started '{"name": "index"}'
      echo '{"text": "hello"}' | python run.py append session:alice new_message
      python run.py append --ndjson < events.ndjson
    """  # noqa: D301 - \b keeps click from joining the lines
    given = {"stream": stream, "event_type": event_type, "source": source}
    if ndjson:
        if payload is not None or event_id is not None or expected_revision is not None:
            raise click.UsageError("with --ndjson the payload, event_id and expected_revision stand in the lines")
        _append_lines({key: value for key, value in given.items() if value is not None}, as_json, url, token)
        return
    if stream is None or event_type is None:
        raise click.UsageError("STREAM and EVENT_TYPE are needed, or --ndjson")
    event = given | {"payload": _read_payload(payload), "event_id": event_id, "expected_revision": expected_revision}
    _show(asyncio.run(_append(event, url, token)), as_json)


async def _append(event: dict[str, Any], url: str, token: str | None) -> Receipt:
    async with connect(url, token) as client:
        return await client.append(**event)


def _read_payload(argument: str | None) -> dict[str, Any]:
    if argument is None and (sys.stdin is None or sys.stdin.isatty()):
        return {}
    if argument is None or argument == "-":
        raw = sys.stdin.buffer.read()
        if argument is None and not raw.strip():
            return {}
    else:
        raw = argument.encode(errors="surrogateescape")
    try:
        return parse_json(raw, _objects, field="payload")
    except (InvalidBody, InvalidRequest) as error:
        raise click.BadParameter(error.message, param_hint="PAYLOAD") from None


def _show(receipt: Receipt, as_json: bool) -> None:
    if as_json:
        print_line(msgspec.json.encode(receipt))
    else:
        console().print(f"seq {receipt.seq}  revision {receipt.revision}  event_id {receipt.event_id}")


def _append_lines(defaults: dict[str, Any], as_json: bool, url: str, token: str | None) -> None:
    """Store the lines of standard input in batches, each all or none, as soon as they come.

    Reading blocks between two runs of the event loop: Ctrl-C must end a wait for the next line at once."""
    seqs: list[int] = []  # the first and the last
    stored = 0
    stack = AsyncExitStack()
    with asyncio.Runner() as runner, _progress() as advance:
        client = runner.run(stack.enter_async_context(connect(url, token)))
        try:
            for place, events in _batches(defaults):
                try:
                    receipts = runner.run(client.append_many(events))
                except TowowError as error:
                    error.message = f"{place}: {error.message}"
                    raise
                stored += len(receipts)
                seqs = [*seqs[:1], receipts[0].seq, receipts[-1].seq]
                advance(len(receipts))
                for receipt in receipts if as_json else ():
                    print_line(msgspec.json.encode(receipt))
        finally:
            runner.run(stack.aclose())
            note(f"{stored} events stored" + (f", seq {seqs[0]} to {seqs[-1]}" if seqs else ""))


def _batches(defaults: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The events of each batch, and the lines they stand on; blank lines are counted and skipped.

    What stands before a line that cannot be read is yielded before that line's error is raised."""
    number = 0
    for lines in _blocks():
        batch: list[dict[str, Any]] = []
        first = number + 1
        for line in lines:
            try:
                if line.strip():
                    batch.append(_read_line(line, defaults))
            except TowowError as error:
                if batch:
                    yield f"lines {first} to {number}", batch
                error.message = f"line {number + 1}: {error.message}"
                raise
            number += 1
            if len(batch) == BATCH_EVENTS:
                yield f"lines {first} to {number}", batch
                batch, first = [], number + 1
        if batch:
            yield f"lines {first} to {number}", batch


def _blocks() -> Iterator[list[bytes]]:
    """The complete lines of each read, so that a slow pipe's lines do not wait for a full batch."""
    rest = b""
    with open(sys.stdin.fileno(), "rb", closefd=False) as stdin:
        while block := stdin.read1(READ_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > LINE_BYTES:
                raise TooLarge(f"a line is longer than {LINE_BYTES} bytes", field="stdin", limit=LINE_BYTES)
            yield lines
    yield [rest] if rest else []


def _read_line(line: bytes, defaults: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Client.append` that a line holds, checked as far as that is possible here."""
    given = parse_json(line, _objects, field="line")
    fields = defaults | {name: value for name, value in given.items() if name not in ASSIGNED}
    try:
        event = msgspec.convert(fields, EventInput)
    except msgspec.ValidationError as error:
        raise InvalidBody(str(error), field="line") from None
    check_input(event, LINE_BYTES)
    return fields


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A running count on stderr while it is a terminal."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,} events"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task("append", total=None, rate=0.0)
    with bar:
        yield lambda count: bar.update(task, advance=count, rate=bar.tasks[0].speed or 0.0)
