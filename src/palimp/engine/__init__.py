"""One transactional database per name, in a folder: who writes, what is durable, what a txid is.

This room never knows what a memory is. It is handed a `prepare` function that fills a new database
and runs the functions it is given on SQLite connections.
"""

from __future__ import annotations

from .database import Committed, Database
from .local import LocalEngine

__all__ = ["Committed", "Database", "LocalEngine"]
