"""What SQL of a caller's own may do: asked of SQLite's authorizer, not of the text.

SQLite asks before it compiles a statement, for every table, column, function and pragma in it, in
whatever words they were written, also inside of views, triggers and statements it compiles by
itself. So nothing here reads SQL.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import apsw

from ...api.limits import (
    SQL_BYTES_MAX,
    SQL_CALLS_MAX,
    SQL_COLUMNS_MAX,
    SQL_PARAMS_MAX,
    SQL_VALUE_BYTES_MAX,
)
from ...errors import Invalid
from .functions import FUNCTIONS, register

__all__ = ["RESERVED", "Guard", "guarded"]

RESERVED = "__palimp_"
# SQLite names an index after its table, and FTS5 its tables after the index: so it may stand
# anywhere in a name.
_RESERVED_OBJECTS = f"""SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema
WHERE instr(lower(name), '{RESERVED}') OR instr(lower(tbl_name), '{RESERVED}')"""
_MODULES = {"fts5", "rtree", "rtree_i32"}
# Tables without a CREATE: they show other tables' pages, other statements, or the pragmas.
_HIDDEN_TABLES = {
    "bytecode", "carray", "dbstat", "fts3tokenize", "sqlite_dbpage", "sqlite_stmt", "tables_used",
}  # fmt: skip
_FTS5_FUNCTIONS = {"bm25", "highlight", "snippet"}
_REFUSED_FUNCTIONS = {"fts3_tokenizer", "load_extension", "sqlite_log"}
# One call may compare every byte of one value with every byte of another, and cannot be stopped.
_COSTLY_FUNCTIONS = {
    "instr", "json_patch", "jsonb_patch", "ltrim", "replace", "rtrim", "trim", "unhex",
}  # fmt: skip
_COSTLY_CALLS = 32
# How many steps of SQLite's machine lie between two looks at the clock.
_STEPS, _STEPS_COSTLY = 10_000, 20
# As large as SQLite lets it be.
_LENGTH_MAX = 0x7FFFFFFF
_DESCRIBING_PRAGMAS = {
    "foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_list",
    "table_xinfo",
}  # fmt: skip
_CHECKING_PRAGMAS = {"integrity_check", "quick_check"}
# FTS5 asks for data_version by itself.
_READ_PRAGMAS = {
    "collation_list", "compile_options", "data_version", "encoding", "freelist_count",
    "function_list", "page_count", "page_size", "schema_version", "user_version",
}  # fmt: skip
# More than any statement of ours needs, so they stay.
_LIMITS = (
    (apsw.SQLITE_LIMIT_ATTACHED, 0),
    (apsw.SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX),
    (apsw.SQLITE_LIMIT_COLUMN, SQL_COLUMNS_MAX),
    (apsw.SQLITE_LIMIT_VARIABLE_NUMBER, SQL_PARAMS_MAX),
    (apsw.SQLITE_LIMIT_FUNCTION_ARG, 127),
    (apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
    (apsw.SQLITE_LIMIT_TRIGGER_DEPTH, 32),
)
_WITH_TRANSACTIONS = (
    "transactions and savepoints are not for it: all statements of a call are one transaction"
)
_TEMPORARY = "it makes no temporary tables, views, indexes or triggers; make ordinary ones"
_NEVER = {
    apsw.SQLITE_TRANSACTION: _WITH_TRANSACTIONS,
    apsw.SQLITE_SAVEPOINT: _WITH_TRANSACTIONS,
    apsw.SQLITE_ATTACH: "it reaches no other file: no ATTACH, no VACUUM",
    apsw.SQLITE_DETACH: "it reaches no other file: no DETACH",
    apsw.SQLITE_ANALYZE: "ANALYZE would change how Palimpsest's own tables are read",
    apsw.SQLITE_CREATE_TEMP_INDEX: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_TABLE: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_TRIGGER: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_VIEW: _TEMPORARY,
    apsw.SQLITE_DROP_TEMP_INDEX: _TEMPORARY,
    apsw.SQLITE_DROP_TEMP_TABLE: _TEMPORARY,
    apsw.SQLITE_DROP_TEMP_TRIGGER: _TEMPORARY,
    apsw.SQLITE_DROP_TEMP_VIEW: _TEMPORARY,
}
_ROWS = {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}
_DROPS = {apsw.SQLITE_DROP_TABLE, apsw.SQLITE_DROP_VTABLE}
_DEFINES = {
    apsw.SQLITE_CREATE_INDEX,
    apsw.SQLITE_CREATE_TABLE,
    apsw.SQLITE_CREATE_TRIGGER,
    apsw.SQLITE_CREATE_VIEW,
    apsw.SQLITE_CREATE_VTABLE,
    apsw.SQLITE_DROP_INDEX,
    apsw.SQLITE_DROP_TABLE,
    apsw.SQLITE_DROP_TRIGGER,
    apsw.SQLITE_DROP_VIEW,
    apsw.SQLITE_DROP_VTABLE,
    apsw.SQLITE_ALTER_TABLE,
    apsw.SQLITE_REINDEX,
}
_hardened: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()


@contextmanager
def guarded(
    connection: apsw.Connection, seconds: float, monotonic: Callable[[], float]
) -> Iterator[Guard]:
    """Keep whatever is compiled or run on the connection inside the block within its bounds.

    Afterwards the connection is as it was, however the block ended.
    """
    if connection not in _hardened:
        _harden(connection)
    guard = Guard(connection, seconds, monotonic)
    try:
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, SQL_VALUE_BYTES_MAX)
        connection.authorizer = guard.judge
        yield guard
    finally:
        connection.authorizer = None
        connection.set_progress_handler(None)
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, _LENGTH_MAX)


def _harden(connection: apsw.Connection) -> None:
    """Set what may stay: our own statements need none of it."""
    # Shadow tables cannot be written, nor the schema; a view or trigger calls nothing of ours.
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    for kind, most in _LIMITS:
        connection.limit(kind, most)
    register(connection)
    _hardened.add(connection)


class Guard:
    """Says what a statement may do, and why not; `begin` is called before each."""

    def __init__(
        self, connection: apsw.Connection, seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._ends = monotonic() + seconds
        self._reserved: Any = None
        self.refused: str | None = None
        self.expired = False
        self.begin()

    def begin(self) -> None:
        """Forget the statement before."""
        self.refused = None
        self.defines = False
        self._trusted = self._reorganizes = self._checks = False
        self._calls = 0
        self._costly = False
        self._watch(_STEPS)

    def compiled(self, *, last: bool) -> None:
        """Prepare for a statement that is compiled and about to run, the `last` of its text."""
        if self._trusted and not last:
            # What follows would be compiled unjudged, and some pragmas act as they are compiled.
            raise Invalid("nothing follows a PRAGMA, not even a comment; give it an entry alone")
        if self._costly:
            self._watch(_STEPS_COSTLY)
        if self._checks:
            # It reads every row, also ours.
            self._connection.limit(apsw.SQLITE_LIMIT_LENGTH, _LENGTH_MAX)
        if self.defines:
            self._reserved = self._reserved_objects()

    def done(self) -> bool:
        """Return whether a statement left Palimpsest's part of the schema as it was."""
        if self._trusted:
            # Setting it expires what was compiled: an FTS5 table keeps its statements, and those
            # were not judged.
            self._connection.authorizer = self.judge
            self._connection.limit(apsw.SQLITE_LIMIT_LENGTH, SQL_VALUE_BYTES_MAX)
        # ALTER TABLE says what it renames, but not to what.
        return not self.defines or self._reserved_objects() == self._reserved

    def in_time(self) -> bool:
        """Whether there is time left."""
        self.expired = self.expired or self._monotonic() > self._ends
        return not self.expired

    def judge(
        self,
        action: int,
        first: str | None,
        second: str | None,
        database: str | None,
        _inside: str | None,
    ) -> int:
        """Answer SQLite's authorizer."""
        reason = None
        if not self._trusted:
            reason = self._reason(action, first or "", second or "", database)
        if reason is None:
            return apsw.SQLITE_OK
        self.refused = self.refused or reason
        return apsw.SQLITE_DENY

    def _reason(self, action: int, first: str, second: str, database: str | None) -> str | None:
        """Return why something may not be done; None where it may."""
        if action == apsw.SQLITE_READ:
            return self._table_reason(first, database) or _hidden_reason(first)
        if action in (apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE):
            return None
        if action == apsw.SQLITE_FUNCTION:
            return self._function_reason(second.lower())
        if action in _ROWS:
            return self._table_reason(first, database) or self._rows_reason(first)
        if action in _DEFINES:
            return self._definition_reason(action, first, second, database)
        if action == apsw.SQLITE_PRAGMA:
            return self._pragma_reason(first.lower(), second)
        return _NEVER.get(action, "SQLite asks for something it does not know")

    def _table_reason(self, name: str, database: str | None) -> str | None:
        if RESERVED in name.lower():
            return f"{name} is Palimpsest's own; it reaches tables it made itself"
        if database not in (None, "main") and not self._reorganizes:
            # ALTER TABLE looks for temporary objects too.
            return f"it reaches only the database main, not {database}"
        return None

    def _rows_reason(self, name: str) -> str | None:
        lowered = name.lower()
        if lowered.startswith("sqlite_stat"):
            return f"{name} would change how Palimpsest's own tables are read"
        if lowered == "sqlite_sequence" and not self._reorganizes:
            return f"{name} says which numbers were given out, also Palimpsest's"
        # SQLite itself refuses statements that change sqlite_schema; CREATE and DROP do it.
        return None

    def _definition_reason(
        self, action: int, first: str, second: str, database: str | None
    ) -> str | None:
        self.defines = True
        if action == apsw.SQLITE_ALTER_TABLE:
            # Here the first is the database.
            self._reorganizes = True
            return self._table_reason(second, first)
        if action in _DROPS:
            self._reorganizes = True
        if action == apsw.SQLITE_CREATE_VTABLE and second.lower() not in _MODULES:
            return f"virtual tables are {', '.join(sorted(_MODULES))}; not {second}"
        return (
            self._table_reason(first, database)
            or self._table_reason(second, database)
            or self._rows_reason(first)
        )

    def _function_reason(self, name: str) -> str | None:
        if name.startswith("sqlite_") and self._reorganizes:
            # ALTER TABLE's own; nobody else can call them.
            return None
        if name not in _functions():
            return f"function {name}() is not for it"
        self._calls += 1
        if name in _COSTLY_FUNCTIONS:
            self._calls += _COSTLY_CALLS - 1
            self._costly = True
        if self._calls > SQL_CALLS_MAX:
            return (
                f"a statement calls at most {SQL_CALLS_MAX:,} functions, of which "
                f"{', '.join(sorted(_COSTLY_FUNCTIONS))} count {_COSTLY_CALLS} times; split it"
            )
        return None

    def _pragma_reason(self, name: str, value: str) -> str | None:
        if name in _READ_PRAGMAS and not value:
            return None
        if name in _CHECKING_PRAGMAS or name in _DESCRIBING_PRAGMAS:
            # A statement of its own. What else is compiled for it SQLite makes by itself, to open
            # virtual tables and to check them, ours among them.
            self._trusted = True
            self._checks = name in _CHECKING_PRAGMAS
            return None
        known = sorted(_CHECKING_PRAGMAS | _DESCRIBING_PRAGMAS | _READ_PRAGMAS)
        return f"PRAGMA {name} is not for it; these are, to read: {', '.join(known)}"

    def _watch(self, steps: int) -> None:
        self._connection.set_progress_handler(self._is_over, steps)

    def _is_over(self) -> bool:
        return not self.in_time()

    def _reserved_objects(self) -> list[Any]:
        self._trusted = True
        try:
            found: list[Any] = self._connection.execute(_RESERVED_OBJECTS).fetchall()
        finally:
            self._trusted = False
        return found


def _hidden_reason(name: str) -> str | None:
    lowered = name.lower()
    if lowered.startswith("pragma_"):
        return f"{name} is not for it; write PRAGMA {lowered.removeprefix('pragma_')} instead"
    if lowered in _HIDDEN_TABLES:
        return f"{name} shows what is not of its own tables"
    return None


@cache
def _functions() -> frozenset[str]:
    """Return the functions it may call: SQLite's own but for a few, and those for vectors."""
    connection = apsw.Connection(":memory:")
    rows: list[Any] = connection.execute(
        "SELECT lower(name) FROM pragma_function_list WHERE builtin"
    ).fetchall()
    connection.close()
    names = {name for (name,) in rows} - _REFUSED_FUNCTIONS
    return frozenset(names | _FTS5_FUNCTIONS | FUNCTIONS.keys() | {"match"})
