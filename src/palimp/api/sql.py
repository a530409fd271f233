"""SQL of a caller's own on the wire: statements, their results, and the values in them.

JSON has no bytes and no infinity, so these are objects: `{"$base64": "3q2+7w=="}` and
`{"$real": "-inf"}`. Every other value is itself; integers have 64 bits.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from .base import Request, Result, Sequenced
from .operation import DATABASE, row

__all__ = [
    "ROWS",
    "Encoded",
    "Rows",
    "RunSql",
    "SqlResults",
    "SqlValue",
    "Statement",
    "StatementResult",
    "from_wire",
    "to_wire",
]


class Encoded(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    rename={"base64": "$base64", "real": "$real"},
):
    """A value JSON has no form for: bytes, or an infinite number. Exactly one of the two is set."""

    base64: bytes | None = None
    real: Literal["inf", "-inf"] | None = None

    def __post_init__(self) -> None:
        if (self.base64 is None) == (self.real is None):
            raise ValueError("give $base64 or $real")


SqlValue = None | bool | int | float | str | Encoded


class Statement(Request, frozen=True, kw_only=True):
    """One SQL statement, with values for `?`, in order, or for `:name`, by name."""

    q: str
    params: tuple[SqlValue, ...] | dict[str, SqlValue] = ()


class RunSql(Request, frozen=True, kw_only=True):
    """Run 1 to 1,000 statements in order: all of them, or none and an error.

    `txn` is for callers that send it and changes nothing: a list is always one transaction.
    """

    stmts: tuple[Statement, ...]
    txn: bool = True


class StatementResult(Result, frozen=True, kw_only=True):
    """What a statement gave; `changes` counts rows it wrote, None where it is none of that kind.

    `note`, where there is one, says what was flagged or redacted in its values.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[SqlValue, ...], ...]
    changes: int | None = None
    note: str | msgspec.UnsetType = msgspec.UNSET


class SqlResults(Result, Sequenced[StatementResult], frozen=True, kw_only=True):
    """One result for each statement, in order, and the txid they were read at or written with."""

    results: tuple[StatementResult, ...]
    txid: int

    def _items(self) -> tuple[StatementResult, ...]:
        return self.results


class Rows(Result, Sequenced[tuple[Any, ...]], frozen=True, kw_only=True):
    """The rows of one statement: a sequence of tuples, with bytes as bytes.

    `changes` counts rows that were written, None where the statement is not of that kind. `note`
    says what was flagged or redacted in its values.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    changes: int | None = None
    txid: int
    note: str | None = None

    def _items(self) -> tuple[tuple[Any, ...], ...]:
        return self.rows

    def to_dict(self) -> dict[str, Any]:
        """Return the rows as the JSON object that would travel on the wire."""
        rows = [[to_wire(value) for value in row] for row in self.rows]
        plain: dict[str, Any] = msgspec.to_builtins(
            {"columns": self.columns, "rows": rows, "changes": self.changes, "txid": self.txid}
        )
        return plain if self.note is None else {**plain, "note": self.note}


def to_wire(value: Any) -> Any:
    """Return a value as it travels."""
    if isinstance(value, bytes):
        return Encoded(base64=value)
    if isinstance(value, float) and math.isinf(value):
        return Encoded(real="inf" if value > 0 else "-inf")
    return value


def from_wire(value: SqlValue) -> Any:
    """Return a value as Python and SQLite have it."""
    if not isinstance(value, Encoded):
        return value
    return float(value.real) if value.real is not None else value.base64


ROWS = (
    row(
        "sql.run",
        f"POST {DATABASE}/sql",
        RunSql,
        SqlResults,
        "read writes past",
        "Run SQL on tables of the caller's own; what only reads needs no scope to write.",
    ),
)
