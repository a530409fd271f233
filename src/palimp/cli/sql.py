"""`palimp sql`: SQL on tables of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import click

from ..api import Rows
from ..errors import Invalid
from .common import Place, at_option, echo_json, echo_txid, place_options, profile_argument

_BLOB_BYTES_SHOWN = 16


@click.command("sql")
@profile_argument
@click.argument("query", required=False)
@at_option
@place_options
def command(place: Place, profile: str, query: str | None, at: str | None) -> None:
    """Run SQL on tables of your own, in one transaction; without QUERY what stdin says.

    Several statements end in semicolons: all of them are kept, or none. They reach the tables that
    SQL has made in this profile, not the memories.

    \b
    palimp sql alice "CREATE TABLE trips (place, days)"
    palimp sql alice "INSERT INTO trips VALUES ('Oslo', 3), ('Rome', 5)"
    palimp sql alice "SELECT * FROM trips WHERE days > 4"
    palimp sql alice < script.sql
    """
    statements = list(split_statements(sys.stdin.read() if query is None else query))
    if not statements:
        raise Invalid("there is no statement; give a QUERY, or SQL on stdin")
    with place.reading(profile, at) as store:
        results = store.sql_batch(statements)
    echo_txid(results[0].txid)
    if place.as_json:
        plain = [rows.to_dict() for rows in results]
        txid = {one.pop("txid") for one in plain}.pop()
        echo_json({"results": plain, "txid": txid})
        return
    for rows in results:
        _print(rows)


def split_statements(text: str) -> Iterator[str]:
    """Yield the statements of a script; SQLite says where one ends, also within a trigger."""
    start = 0
    for place, character in enumerate(text):
        if character == ";" and apsw.complete(text[start : place + 1]):
            yield from _statement(text[start : place + 1])
            start = place + 1
    yield from _statement(text[start:])


def _statement(text: str) -> Iterator[str]:
    # A comment at the end of a script is no statement; SQLite takes it for part of the next.
    if _is_a_statement(text):
        yield text.strip()


def _is_a_statement(text: str) -> bool:
    place = 0
    while place < len(text):
        if text[place].isspace() or text[place] == ";":
            place += 1
        elif text.startswith("--", place):
            end = text.find("\n", place)
            place = len(text) if end < 0 else end
        elif text.startswith("/*", place):
            end = text.find("*/", place + 2)
            place = len(text) if end < 0 else end + 2
        else:
            return True
    return False


def _print(rows: Rows) -> None:
    if rows.columns:
        cells = [list(rows.columns), *([_shown(value) for value in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in (cells[0], ["-" * width for width in widths], *cells[1:]):
            click.echo(_line(line, widths))
    if rows.changes is not None:
        click.echo(f"{rows.changes} row{'' if rows.changes == 1 else 's'} changed")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def _shown(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        more = "..." if len(value) > _BLOB_BYTES_SHOWN else ""
        return f"x'{value[:_BLOB_BYTES_SHOWN].hex()}'{more}"
    # One row is one line, and what a terminal would obey is shown instead.
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(value))
