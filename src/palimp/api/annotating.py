"""What is said about a memory, on the wire."""

from __future__ import annotations

from typing import Any

from .base import Request, Result
from .memories import Memory
from .operation import PROFILE, row

__all__ = ["ROWS", "Annotate", "Annotated"]


class Annotate(Request, frozen=True, kw_only=True):
    """Change what is said about an active memory, and nothing that it says.

    It keeps its id and its place in the history, and supersedes nothing. What is left out stays as
    it is; `metadata` and `tags` take the place of those that were there, `{}` and `()` of all.
    """

    id: str
    metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None
    importance: float | None = None
    confidence: float | None = None
    trust: str | None = None


class Annotated(Result, frozen=True, kw_only=True):
    """The memory as it is now, and whether anything was changed.

    `note` says what a policy redacted or flagged.
    """

    memory: Memory
    changed: bool
    txid: int
    note: str | None = None


ROWS = (
    row(
        "memories.annotate",
        f"POST {PROFILE}/memories/{{id}}/annotate",
        Annotate,
        Annotated,
        "write writes idempotent",
        "Change what is said about a memory: metadata, tags, importance, confidence, trust.",
    ),
)
