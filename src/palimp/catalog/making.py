"""What migrations are made of: steps that may have been done before, where one was cut short.

MySQL commits with every table it makes: a migration that ended in the middle is run again.
"""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import Column, inspect

__all__ = ["add_column", "make_index", "make_table"]


def make_table(name: str, *columns: Column[Any]) -> None:
    """Make a table, if there is none of this name."""
    op.create_table(name, *columns, if_not_exists=True)


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column, if the table has none of this name."""
    if column.name not in {one["name"] for one in inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def make_index(name: str, table: str, columns: list[str], *, unique: bool = False) -> None:
    """Make an index, if the table has none of this name."""
    if name not in {one["name"] for one in inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns, unique=unique)
