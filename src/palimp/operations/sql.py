"""SQL of a caller's own."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import msgspec

from ..api import OPERATIONS, RunSql, SqlResults, StatementResult, Target
from ..errors import Invalid
from ..profile import sql
from .context import Context

__all__ = ["run"]


def run(context: Context, target: Target, request: RunSql) -> SqlResults:
    """Run statements: what only reads beside the writer, at a point too; all else in one commit.

    Whether a statement only reads is SQLite's word, not the text's. The operation's own scope is
    that of a read; the one to write is asked for here, before anything is written.
    """
    address = context.address(target)
    statements = sql.check_statements(request.stmts)
    limits = sql.Limits(context.clock.monotonic)
    if not sql.writes_at_sight(statements):
        found = _read(context, target, lambda c: sql.run_reading(c, statements, limits))
        if found is not None:
            return found
    _check_may_write(context, target)
    screen = context.screen(address)
    notes: list[str | None] = []
    if screen is not None:
        seen = screen.each(screen.statement, request.stmts, "stmts")
        request = msgspec.structs.replace(request, stmts=tuple(one.item for one in seen))
        context = screen.settled("sql.run", request)
        statements = sql.check_statements(request.stmts)
        notes = [one.note for one in seen]

    def write(connection: apsw.Connection) -> tuple[StatementResult, ...]:
        return sql.run(connection, statements, limits)

    with context.writing(target) as branch:
        assert branch is not None
        answer = tuple[StatementResult, ...]
        results, txid, _ = context.commit(branch, write, answer, alone=True)
    if screen is not None:
        screen.record()
        results = tuple(
            one if note is None else msgspec.structs.replace(one, note=note)
            for one, note in zip(results, notes, strict=True)
        )
    return SqlResults(results=results, txid=txid)


def _read(
    context: Context,
    target: Target,
    query: Callable[[apsw.Connection], tuple[StatementResult, ...] | None],
) -> SqlResults | None:
    with context.reading(target) as database:
        if database is None:
            # Never written: there is no table, and an expression has its value all the same.
            nothing = apsw.Connection(":memory:")
            try:
                results, txid = query(nothing), 0
            finally:
                nothing.close()
        else:
            results, txid, _ = database.read(query)
    return None if results is None else SqlResults(results=results, txid=txid)


def _check_may_write(context: Context, target: Target) -> None:
    if target.at is not None:
        raise Invalid(
            f"sql.run would write to the past, at {target.at!r:.80}, which never changes; "
            "fork a branch from that point, or rewind to it, and write there"
        )
    context.access.authorize(context.principal, OPERATIONS["sql.run"], target, "write")
