"""The operator's index, made again."""

from __future__ import annotations

from .base import Request, Result
from .operation import row

__all__ = ["ROWS", "CatalogRecovered", "RecoverCatalog"]


class RecoverCatalog(Request, frozen=True, kw_only=True):
    """Make the keys and records of other systems' clients again from the object store, in steps.

    `cursor` is what the step before answered. Nodes may go on meanwhile.
    """

    cursor: str | None = None


class CatalogRecovered(Result, frozen=True, kw_only=True):
    """One step: how many entries were read, and how many were removed that the store has not.

    `next_cursor` asks for the next step; None: all is done.
    """

    entries: int
    removed: int
    next_cursor: str | None


ROWS = (
    row(
        "catalog.recover",
        "POST /v1/catalog/recover",
        RecoverCatalog,
        CatalogRecovered,
        "admin writes idempotent platform",
        "Make keys and records in the catalog again from the object store, a step at a time.",
    ),
)
