"""What texts of the catalog are kept in: on MySQL a column has a length, and an order of letters.

Elsewhere both are plain text, which is compared byte by byte anyway.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, String, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

__all__ = ["LONG", "Exact", "word"]

_ORDER = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}
# JSON, records, messages: 16 MiB.
LONG = String().with_variant(mysql.MEDIUMTEXT(**_ORDER), "mysql")


def word(chars: int) -> String:
    """Return the type of names, ids and states of up to so many characters."""
    return String().with_variant(mysql.VARCHAR(chars, **_ORDER), "mysql")


class Exact(TypeDecorator[str]):
    """What others called something, up to so many bytes: no two texts are taken for one.

    On MySQL it is kept as bytes, for there `bob` and `bob ` are the same text in any order that all
    its relatives have.
    """

    impl = String
    cache_ok = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return how a database keeps it."""
        kind = mysql.VARBINARY(self.size) if dialect.name == "mysql" else String()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return what a database is handed."""
        return value.encode() if value is not None and dialect.name == "mysql" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text of what a database has."""
        return value.decode() if isinstance(value, bytes) else value
