"""The operator's indexes in SQL: which databases there are, what was used of them, whose keys hold.

The catalog is written after the object store and is a hint to its readers; no operation on data
needs it. Its parts are the extra `server`, imported when a catalog is opened.
"""

from __future__ import annotations

from .opening import default_url, open_catalog, start_catalog
from .rebuild import Index, Rebuilt, rebuild
from .rows import Batch, Counts, DatabaseRow, Indexed, Levels, Span

__all__ = [
    "Batch",
    "Counts",
    "DatabaseRow",
    "Index",
    "Indexed",
    "Levels",
    "Rebuilt",
    "Span",
    "default_url",
    "open_catalog",
    "rebuild",
    "start_catalog",
]
