"""Memories: checked drafts, writing with supersession, reading, history, forgetting, expiry."""

from __future__ import annotations

from .draft import Draft, draft
from .filters import Conditions, conditions
from .lifecycle import expire_tasks, forget, has_expired
from .read import (
    check_history,
    check_list,
    count_memories,
    find_memories,
    find_purged,
    get_memory,
    history,
    list_memories,
)
from .rows import memories_by_id
from .write import Outcome, Writer, ingest, supersede, take_place

__all__ = [
    "Conditions",
    "Draft",
    "Outcome",
    "Writer",
    "check_history",
    "check_list",
    "conditions",
    "count_memories",
    "draft",
    "expire_tasks",
    "find_memories",
    "find_purged",
    "forget",
    "get_memory",
    "has_expired",
    "history",
    "ingest",
    "list_memories",
    "memories_by_id",
    "supersede",
    "take_place",
]
