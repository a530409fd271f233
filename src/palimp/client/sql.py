"""From a caller's SQL to the request of the wire, and from its answer to rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from ..api import Rows, RunSql, SqlResults, Statement
from ..api.sql import from_wire, to_wire
from ..errors import Error, Invalid, in_batch

__all__ = ["Params", "StatementLike", "rows_of", "sql_request"]

# Values for `?` in order, or for `:name` by name.
Params: TypeAlias = Sequence[Any] | Mapping[str, Any]
StatementLike: TypeAlias = str | tuple[str, Params] | Statement


def sql_request(statements: Iterable[StatementLike]) -> RunSql:
    """Return the request that runs statements; errors name the statement's index."""
    if isinstance(statements, (str, bytes, Mapping)) or not isinstance(statements, Iterable):
        raise Invalid(f"sql_batch takes a list of statements, not {type(statements).__name__}")
    given = list(statements)
    converted = []
    for index, one in enumerate(given):
        try:
            converted.append(_statement(one))
        except Error as error:
            raise in_batch(error, "stmts", index, len(given)) from error
    return RunSql(stmts=tuple(converted))


def rows_of(done: SqlResults) -> tuple[Rows, ...]:
    """Return what each statement gave, with bytes as bytes."""
    return tuple(
        Rows(
            columns=one.columns,
            rows=tuple(tuple(map(from_wire, row)) for row in one.rows),
            changes=one.changes,
            txid=done.txid,
            note=None if one.note is msgspec.UNSET else one.note,
        )
        for one in done.results
    )


def _statement(given: StatementLike) -> Statement:
    if isinstance(given, Statement):
        return given
    q, params = (given, ()) if isinstance(given, str) else _pair(given)
    if not isinstance(q, str):
        raise Invalid(f"a statement is text, not {type(q).__name__}")
    if type(params) in (tuple, list):
        # Asking for a Mapping first costs as much as all the rest.
        return Statement(q=q, params=tuple(map(_value, params)))
    if isinstance(params, Mapping):
        return Statement(q=q, params={_name(k): _value(v) for k, v in params.items()})
    if isinstance(params, (str, bytes)) or not isinstance(params, Sequence):
        raise Invalid(
            f"params are a list, or a mapping from names, not {type(params).__name__}; "
            "a single value goes into a list too"
        )
    return Statement(q=q, params=tuple(map(_value, params)))


def _pair(given: Any) -> tuple[Any, Any]:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise Invalid(
            f"a statement is text, or text with its params as a pair, not {type(given).__name__}"
        )
    return given[0], given[1]


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise Invalid(f"the names of params are text, not {type(name).__name__}")
    return name


def _value(value: Any) -> Any:
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return to_wire(value)
    raise Invalid(
        f"params has {value!r:.40}; SQL takes None, bool, int, float, str and bytes, and "
        f"{type(value).__name__} has to be made one of them"
    )
