"""What commands print: lines and tables for people, JSON and CSV for programs.

Stored text is a stranger's text: nothing that is printed for people can move the cursor, ring the bell or
turn the writing direction around. Colours appear on terminals only, and never with NO_COLOR."""

import csv
import sys
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from towow.events import Event, kind_of

WIDE = 100_000  # columns of a file or a pipe: lines are never cut there

_KIND_STYLES = {
    "demand": "cyan",
    "agent": "green",
    "session": "yellow",
    "operator": "magenta",
    "broadcast": "bright_red",
    "task": "blue",
    "run": "bright_magenta",
    "mcp": "bright_green",
}
_OTHER_STYLES = ("bright_cyan", "bright_yellow", "bright_blue", "white")
_HARMLESS = "\u3000\u00a0\u200d"  # what str.isprintable refuses although it only takes room or joins emoji


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # `server.cli` knows what to do; rich would exit here


def console() -> Console:
    """The place for results: stdout, coloured on a terminal, of any width elsewhere."""
    return _Console(markup=False, highlight=False, emoji=False, soft_wrap=False, width=None if sys.stdout.isatty() else WIDE)


def note(text: str, *, style: str = "dim") -> None:
    """Tell the person something that is not a result: one line on stderr."""
    error_console = Console(
        stderr=True, markup=False, highlight=False, emoji=False, width=None if sys.stderr.isatty() else WIDE
    )
    error_console.print(safe_text(text), style=style, soft_wrap=True)


def safe_text(value: object) -> str:
    """One line of plain text: control and direction characters become visible escapes; None becomes nothing."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in _HARMLESS else _escape(character) for character in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def kind_style(kind: str) -> str:
    """The colour of a kind of stream, the same every time."""
    return _KIND_STYLES.get(kind) or _OTHER_STYLES[zlib.crc32(kind.encode()) % len(_OTHER_STYLES)]


def local_time(timestamp: str) -> str:
    """The time of day here, with the date unless it is today; what is no timestamp stays as it is."""
    try:
        at = datetime.fromisoformat(timestamp).astimezone()
    except ValueError:
        return safe_text(timestamp)
    text = at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}"
    return text if at.date() == datetime.now().astimezone().date() else f"{at:%Y-%m-%d} {text}"


def print_event(out: Console, event: Event) -> None:
    """An event as one line: time, seq, stream, type, payload; cut at the terminal's width."""
    style = kind_style(kind_of(event.stream))
    line = Text.assemble(
        (local_time(event.timestamp), "dim"),
        "  ",
        (f"{event.seq:>6}", "bold"),
        "  ",
        (safe_text(event.stream), style),
        "  ",
        (safe_text(event.event_type), f"bold {style}"),
        "  ",
        (safe_text(event.payload_json), "dim"),
    )
    out.print(line, no_wrap=True, overflow="ellipsis")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = (), is_cut: bool = False
) -> None:
    """A table; on a terminal cells wrap, or with `is_cut` end in an ellipsis. `numbers` go to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            Text(safe_text(column)),
            justify="right" if column in numbers else "left",
            overflow="ellipsis" if is_cut else "fold",
            no_wrap=is_cut,
        )
    for row in rows:
        table.add_row(*(Text(safe_text(value)) for value in row))
    console().print(table)


def print_line(line: bytes) -> None:
    """One line of output for programs, written out at once."""
    stream = sys.stdout.buffer
    stream.write(line + b"\n")
    stream.flush()


def print_json_array(values: Iterable[Any]) -> None:
    """A JSON array with one element per line, written as the values come; an error leaves it open."""
    stream = sys.stdout.buffer
    opening = b"["
    for value in values:
        stream.write(opening + b"\n" + msgspec.json.encode(value))
        opening = b","
    stream.write(b"[]\n" if opening == b"[" else b"\n]\n")
    stream.flush()


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV with a header line, written as the rows come; NULL is an empty field."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
