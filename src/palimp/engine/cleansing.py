"""Freeing a whole file of what is erased, before anybody reads or stores it."""

from __future__ import annotations

from pathlib import Path

import apsw

from .answers import REQUESTS_TABLE
from .options import Cleanse, Parts

__all__ = ["cleanse_file", "cleansing"]


def cleansing(parts: Parts, db_id: str, erasures: tuple[str, ...] | None) -> Cleanse | None:
    """Return what frees states of a database of these erasures; None: of all it ever had."""
    if parts.options.erasures is None or erasures == ():
        return None
    return parts.options.erasures(db_id, erasures)


def cleanse_file(path: Path, cleanse: Cleanse) -> int:
    """Free a whole file of what is erased, and return the size of its pages.

    Nothing of it is in a free page or a log afterwards.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute("PRAGMA secure_delete = ON").fetchall()
        with connection:
            cleanse(connection)
            # Answers repeat what was asked to be written; nobody repeats a request of the past.
            connection.execute(f"DELETE FROM {REQUESTS_TABLE}")
        return int(connection.pragma("page_size"))
    finally:
        connection.close()
