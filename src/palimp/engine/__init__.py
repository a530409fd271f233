"""Versioned databases: who writes, what is durable, which earlier states can be returned to.

This room never knows what a memory is. It is handed a `prepare` function that fills a new database
and runs the functions it is given on SQLite connections; what they commit it ships to an object
store as segments, in order, under a manifest only its owner changes.
"""

from __future__ import annotations

from .answers import Repeat, check_request_id, find_answer
from .branch import Boundary, Branch
from .described import BranchInfo
from .engine import Engine
from .local_database import Committed
from .lookup import Address
from .options import Options
from .past import PastDatabase
from .upkeep import Upkeep

__all__ = [
    "Address",
    "Boundary",
    "Branch",
    "BranchInfo",
    "Committed",
    "Engine",
    "Options",
    "PastDatabase",
    "Repeat",
    "Upkeep",
    "check_request_id",
    "find_answer",
]
