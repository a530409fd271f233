"""Running SQL of a caller's own, on a connection that is handed in, within bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import apsw

from ...api.limits import (
    SQL_BYTES_MAX,
    SQL_PARAMS_MAX,
    SQL_RESULT_BYTES_MAX,
    SQL_ROWS_MAX,
    SQL_SECONDS_MAX,
    SQL_STATEMENTS_MAX,
    SQL_VALUE_BYTES_MAX,
)
from ...api.sql import Statement, StatementResult, from_wire, to_wire
from ...errors import Error, Invalid, in_batch
from .guard import Guard, guarded

__all__ = ["Limits", "check_statements", "run", "run_reading", "writes_at_sight"]

# What a number, a NULL and a place in a row count.
_PLACE_BYTES = 8
# How a statement begins that cannot be one that only reads. Where this is not sure, SQLite says.
_WRITING = re.compile(
    r"\s*(?:insert|update|delete|replace|create|drop|alter|reindex)\b", re.IGNORECASE
)
# What is wrong with the statement, not with the file, the disk or the moment.
_WRONG = (
    apsw.AbortError,
    apsw.AuthError,
    apsw.BindingsError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.NoMemError,
    apsw.RangeError,
    apsw.SQLError,
    apsw.TooBigError,
)


class Limits(NamedTuple):
    """How much a list of statements may take and give; `monotonic` counts seconds."""

    monotonic: Callable[[], float]
    seconds: float = SQL_SECONDS_MAX
    rows: int = SQL_ROWS_MAX
    result_bytes: int = SQL_RESULT_BYTES_MAX


class Checked(NamedTuple):
    """A statement whose values SQLite takes as they are."""

    q: str
    params: tuple[Any, ...] | dict[str, Any]


class _WritesError(Exception):
    """A statement that does not only read, met where only reading is done."""


def check_statements(statements: Sequence[Statement]) -> list[Checked]:
    """Check statements as far as can be without a database; `Invalid` names which and why."""
    count = len(statements)
    if not 1 <= count <= SQL_STATEMENTS_MAX:
        raise Invalid(f"stmts has {count:,} statements; give 1 to {SQL_STATEMENTS_MAX:,}")
    checked = []
    for index, statement in enumerate(statements):
        try:
            checked.append(_checked(statement))
        except Error as error:
            raise in_batch(error, "stmts", index, count) from error
    return checked


def writes_at_sight(statements: Sequence[Checked]) -> bool:
    """Whether one of the statements certainly writes; where not, `run_reading` finds out."""
    return any(_WRITING.match(statement.q) for statement in statements)


def run_reading(
    connection: apsw.Connection, statements: Sequence[Checked], limits: Limits
) -> tuple[StatementResult, ...] | None:
    """Run statements that only read; None where one does not, and then nothing was changed.

    The caller has read from the connection in its transaction: SQLite says what it knows of the
    schema, and learns with the first read what another connection made of it.
    """
    try:
        return _Run(connection, limits, reading=True).run(statements)
    except _WritesError:
        return None


def run(
    connection: apsw.Connection, statements: Sequence[Checked], limits: Limits
) -> tuple[StatementResult, ...]:
    """Run statements in order, in the caller's transaction, which nobody else may share.

    Raises `Invalid` for a statement that is wrong, reaches for what is not its own, or takes or
    gives too much. The transaction is of no use afterwards, and may be over already.
    """
    return _Run(connection, limits, reading=False).run(statements)


class _Run:
    """One list of statements on one connection."""

    def __init__(self, connection: apsw.Connection, limits: Limits, *, reading: bool) -> None:
        self._connection = connection
        self._limits = limits
        self._reading = reading
        self._rows = 0
        self._bytes = 0

    def run(self, statements: Sequence[Checked]) -> tuple[StatementResult, ...]:
        limits = self._limits
        results = []
        with guarded(self._connection, limits.seconds, limits.monotonic) as guard:
            for index, statement in enumerate(statements):
                try:
                    results.append(self._carry_out(statement, guard))
                except Error as error:
                    raise in_batch(error, "stmts", index, len(statements)) from error
        return tuple(results)

    def _carry_out(self, statement: Checked, guard: Guard) -> StatementResult:
        if not guard.in_time():
            raise self._too_long()
        guard.begin()
        step = _Step(guard, len(statement.q), reading=self._reading)
        cursor = self._connection.cursor()
        cursor.exec_trace = step.trace
        try:
            # Not cached: what was compiled for us is not for this caller, nor the other way round.
            cursor.execute(statement.q, statement.params, can_cache=False)
            rows = self._fetch(cursor)
        except apsw.InterruptError as error:
            if guard.expired:
                raise self._too_long() from error
            raise
        except apsw.CorruptError as error:
            if getattr(error, "extendedresult", None) != apsw.SQLITE_CORRUPT_VTAB:
                raise
            raise Invalid(f"an FTS5 table is not what its content is: {error}") from error
        except _WRONG as error:
            raise self._wrong(error, guard) from error
        except UnicodeError as error:
            raise Invalid(
                f"a text is not UTF-8 ({error.reason}); read it with CAST(... AS BLOB)"
                if isinstance(error, UnicodeDecodeError)
                else f"a text is not Unicode: {error}"
            ) from error
        except (KeyError, OverflowError, TypeError) as error:
            raise Invalid(f"params do not fit: {error}") from error
        finally:
            cursor.close(force=True)
        if not step.columns and not step.is_statement:
            raise Invalid("there is no statement in q")
        return self._finish(step, rows, guard)

    def _finish(self, step: _Step, rows: list[tuple[Any, ...]], guard: Guard) -> StatementResult:
        connection = self._connection
        if not self._reading and not connection.in_transaction:
            raise Invalid(
                "a conflict ended the transaction (OR ROLLBACK, RAISE(ROLLBACK)); nothing was "
                "kept. Write OR ABORT or RAISE(ABORT)"
            )
        if not guard.done():
            raise Invalid("names that begin with __palimp_ are Palimpsest's own; choose another")
        counts = step.writes and not guard.defines
        return StatementResult(
            columns=step.columns,
            rows=tuple(rows),
            changes=connection.changes() if counts else None,
        )

    def _fetch(self, cursor: apsw.Cursor) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for row in cursor:
            size, special = _PLACE_BYTES * len(row), False
            for value in row:
                kind = type(value)
                if kind is str:
                    size += len(value)
                elif kind is bytes:
                    size += len(value)
                    special = True
                elif kind is float and math.isinf(value):
                    special = True
            self._rows += 1
            self._bytes += size
            if self._rows > self._limits.rows or self._bytes > self._limits.result_bytes:
                raise self._too_much()
            rows.append(tuple(map(to_wire, row)) if special else row)
        return rows

    def _too_long(self) -> Invalid:
        return Invalid(
            f"the statements took longer than {self._limits.seconds:g} s, the most they may; "
            "nothing was kept. Read or write less at a time, or add an index"
        )

    def _too_much(self) -> Invalid:
        return Invalid(
            f"the statements give more than {self._limits.rows:,} rows or "
            f"{self._limits.result_bytes:,} bytes, the most of one call; add a LIMIT"
        )

    def _wrong(self, error: apsw.Error, guard: Guard) -> Invalid:
        if guard.refused is not None:
            return Invalid(f"this is refused to SQL: {guard.refused}")
        if isinstance(error, apsw.TooBigError):
            return Invalid(
                f"{error}: a value has at most {SQL_VALUE_BYTES_MAX:,} bytes, and the rows it is "
                "made of too",
                code="payload_too_large",
            )
        return Invalid(f"SQLite refuses it: {error}")


class _Step:
    """What is known of one statement once SQLite has compiled it."""

    def __init__(self, guard: Guard, length: int, *, reading: bool) -> None:
        self._guard = guard
        self._length = length
        self._reading = reading
        self.is_statement = False
        self.writes = False
        self.columns: tuple[str, ...] = ()

    def trace(self, cursor: apsw.Cursor, sql: str, _bindings: object) -> bool:
        """Hear of a compiled statement before it runs."""
        if not cursor.has_vdbe:
            # Only a comment, or nothing at all.
            return True
        if self.is_statement:
            raise Invalid("q holds several statements; give each an entry of its own")
        self.is_statement = True
        # EXPLAIN of a write is none.
        self.writes = not cursor.is_readonly and not cursor.is_explain
        if self.writes and self._reading:
            raise _WritesError
        self.columns = tuple(column[0] for column in cursor.get_description())
        self._guard.compiled(last=len(sql) == self._length)
        return True


def _checked(statement: Statement) -> Checked:
    size = len(statement.q.encode("utf-8", "surrogatepass"))
    if size > SQL_BYTES_MAX:
        raise Invalid(
            f"q has {size:,} bytes, at most {SQL_BYTES_MAX:,} are allowed; give values as params",
            code="payload_too_large",
        )
    if "\0" in statement.q:
        raise Invalid("q has a NUL character, where SQLite would stop reading; give it in params")
    params = statement.params
    if len(params) > SQL_PARAMS_MAX:
        raise Invalid(f"params has {len(params):,} values; give at most {SQL_PARAMS_MAX:,}")
    if isinstance(params, dict):
        return Checked(statement.q, {name: _value(value) for name, value in params.items()})
    return Checked(statement.q, tuple(map(_value, params)))


def _value(value: Any) -> Any:
    plain = from_wire(value)
    if isinstance(plain, float) and math.isnan(plain):
        raise Invalid("params contains nan, which SQL would store as NULL; give NULL instead")
    return plain
