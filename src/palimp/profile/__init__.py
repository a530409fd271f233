"""What a profile knows: memories, sessions and recall, on SQLite connections it is handed.

Nothing here opens a file, owns a transaction or reads a clock: the caller does, and passes the
connection and the time in.
"""

from __future__ import annotations

from .completing import complete
from .protocols import Embedder, PlainSealer, Sealer
from .schema import SCHEMA_VERSION, check_schema, prepare

__all__ = [
    "SCHEMA_VERSION",
    "Embedder",
    "PlainSealer",
    "Sealer",
    "check_schema",
    "complete",
    "prepare",
]
