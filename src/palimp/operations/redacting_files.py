"""A file that is to become a profile, under a policy on secrets and personal data.

A file is not changed: where the policy says to redact or to refuse, one that holds what it is about
is refused. Looked at is every text in every table, not only memories: keys, documents and tables of
SQL come in with it too. What was deleted from it and not overwritten is not seen; nothing reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import apsw

from .redacting import Look, Screen

__all__ = ["FileLook"]

_REASON = "a file is not changed, so write its memories instead (palimp memory ingest)"
_DOCUMENTS = "__palimp_docs_"
# Of the engine and of the indexes: numbers, and words that stand in the rows too.
_NO_TEXTS = re.compile(
    r"__palimp_(?:(?:engine|requests|meta|models|embedded|memories_(?:vectors|codes)"
    r"|turns_(?:vectors|codes))$|(?:memories|turns)_fts)"
)


class FileLook:
    """One look at one file; not for several threads."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.note: str | None = None

    def read(self, connection: apsw.Connection) -> None:
        """Look at all that stands in a database; raises `Invalid` where it may not come in."""
        look = Look(self._screen)
        for columns, rows in _tables(connection):
            for row in rows:
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, str | bytes):
                        look.fixed(column, value, "file", _REASON)
        self._screen.settle(look)
        self.note = look.note


def _tables(connection: apsw.Connection) -> Iterator[tuple[list[str], Any]]:
    """Yield columns and rows of every table that may hold texts of users."""
    tables: list[Any] = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    ).fetchall()
    for name, sql in tables:
        if _NO_TEXTS.match(name) or sql.upper().startswith("CREATE VIRTUAL"):
            # What a virtual table holds stands in tables of its own.
            continue
        # Generated columns are made of the others, and a stranger says how.
        columns: list[Any] = connection.execute(
            "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,)
        ).fetchall()
        names = [column for (column,) in columns]
        documents = name.startswith(_DOCUMENTS)
        wanted = ", ".join(
            f"json({_quoted(one)})" if documents and one == "doc" else _quoted(one) for one in names
        )
        yield names, connection.execute(f"SELECT {wanted} FROM {_quoted(name)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
