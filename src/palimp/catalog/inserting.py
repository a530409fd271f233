"""Inserts that meet a row which is there already, on each of the databases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError

__all__ = ["Inserts"]

# Of what is to be inserted -> what a row that is there becomes, in the order it is worked out in:
# on MySQL a column that was changed has its new value from there on.
Changed = Callable[[Any], Sequence[tuple[str, Any]]]


class Inserts:
    """Inserts of one kind of database."""

    def __init__(self, dialect: str) -> None:
        self._mysql = dialect == "mysql"
        self._insert: Any = (sqlite if dialect == "sqlite" else postgresql).insert

    def new(self, connection: Connection, table: Table, values: dict[str, Any]) -> bool:
        """Insert a row, if there is none with its key; whether it was."""
        if not self._mysql:
            made = self._insert(table).values(**values).on_conflict_do_nothing()
            return connection.execute(made.returning(*table.primary_key)).first() is not None
        try:
            # Not IGNORE, which would cut what is too long, too. Nothing but this statement fails.
            connection.execute(insert(table).values(**values))
        except IntegrityError:
            return False
        return True

    def or_change(
        self, connection: Connection, table: Table, rows: list[dict[str, Any]], changed: Changed
    ) -> None:
        """Insert rows; change those that are there."""
        if self._mysql:
            ours = mysql.insert(table)
            statement: Any = ours.on_duplicate_key_update(list(changed(ours.inserted)))
        else:
            theirs = self._insert(table)
            keys = [column.name for column in table.primary_key]
            given = dict(changed(theirs.excluded))
            statement = theirs.on_conflict_do_update(index_elements=keys, set_=given)
        connection.execute(statement, rows)
