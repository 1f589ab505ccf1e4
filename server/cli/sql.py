"""`sql`: one query over a database file, by a connection that cannot write.

What may not happen is refused by how the file is opened, never by reading the text of the query: the file is
opened read-only, and no other file can be attached, which ATTACH and VACUUM INTO would create otherwise."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from server.cli.files import database_option
from server.cli.output import note, print_csv, print_json_array, print_table
from server.eventlog.database import read_only, sqlite3

TABLE_ROWS = 500
_ATTACH = 24  # SQLITE_ATTACH: https://www.sqlite.org/c3ref/c_alter_table.html
_INTERRUPT_STEPS = 20_000  # virtual machine steps between two looks at Ctrl-C: about a millisecond


@click.command()
@click.argument("query")
@database_option("The database file; a server may be using it.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one row per line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line.")
@click.option("--all", "show_all", is_flag=True, help=f"Show every row in the table, not the first {TABLE_ROWS}.")
def sql(query: str, db: Path, as_json: bool, as_csv: bool, show_all: bool) -> None:
    """Query a database file with SQL; cannot write.

    The log is the table `events` (seq, stream, revision, event_id, event_type, timestamp, source, payload);
    views such as `streams` and `negotiation_timeline` make it readable. Payloads are JSON: payload ->>
    '$.demand_id'. JSON and CSV are written as rows are read, and keep a server's log file from being cut back
    until then.

    \b
    Examples:
      python run.py sql 'SELECT event_type, count(*) FROM events GROUP BY 1'
      python run.py sql "SELECT payload ->> '$.raw_input' AS demand FROM events WHERE revision = 1" --csv
      python run.py sql 'SELECT * FROM events WHERE seq > 1200' --json --db backup.db
    """  # noqa: D301 - \b keeps click from joining the lines
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    try:
        connection = read_only(db)
        try:
            connection.isolation_level = None
            connection.text_factory = _text
            connection.set_authorizer(_refuse_files)
            connection.set_progress_handler(lambda: 0, _INTERRUPT_STEPS)  # lets Python see Ctrl-C
            _print(connection.execute(query), as_json, as_csv, None if show_all else TABLE_ROWS)
        finally:
            connection.close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise click.ClickException(_explain(str(error), db)) from None


def _print(cursor: Any, as_json: bool, as_csv: bool, most: int | None) -> None:
    if cursor.description is None:
        note("that is no query: it has no result")
        return
    columns = _distinct([column[0] for column in cursor.description])
    rows = _rows(cursor)
    if as_json:
        print_json_array(dict(zip(columns, row, strict=True)) for row in rows)
    elif as_csv:
        print_csv(columns, rows)
    else:
        shown = list(islice(rows, most))
        has_more = next(rows, None) is not None
        cursor.close()
        numbers = [column for index, column in enumerate(columns) if all(_is_number(row[index]) for row in shown)]
        print_table(columns, shown, numbers=numbers)
        if has_more:
            note(f"cut after {most} rows; --all shows every row, --json and --csv always do")


def _rows(cursor: Any) -> Iterator[list[object]]:
    """The rows; bytes as hexadecimal text."""
    for row in cursor:
        yield [value.hex() if isinstance(value, bytes) else value for value in row]


def _distinct(columns: list[str]) -> list[str]:
    """The column names, a repeated one with a number: a JSON object cannot hold two of the same name."""
    names: list[str] = []
    for column in columns:
        name, count = column, 1
        while name in names:
            count += 1
            name = f"{column}_{count}"
        names.append(name)
    return names


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _refuse_files(action: int, *_: object) -> int:
    return int(sqlite3.SQLITE_DENY if action == _ATTACH else sqlite3.SQLITE_OK)


def _explain(message: str, db: Path) -> str:
    if "readonly database" in message:
        return f"this command only reads: {message}"
    if "authoriz" in message:
        return "this command opens no second file: ATTACH and VACUUM INTO are refused"
    if "not a database" in message:
        return f"{db} is not a SQLite database"
    return message
