"""Documents: collections of JSON objects, found by filters over what they hold."""

from __future__ import annotations

from .paths import parse_path
from .patience import bounded
from .store import Draft, check_filter, check_find, count, delete, draft, find, insert, update
from .tables import complete, create_index, drop, indexed_paths, list_collections
from .updates import compile_update
from .values import check_collection

__all__ = [
    "Draft",
    "bounded",
    "check_collection",
    "check_filter",
    "check_find",
    "compile_update",
    "complete",
    "count",
    "create_index",
    "delete",
    "draft",
    "drop",
    "find",
    "indexed_paths",
    "insert",
    "list_collections",
    "parse_path",
    "update",
]
