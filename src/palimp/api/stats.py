"""What a profile holds, in numbers, on the wire."""

from __future__ import annotations

from .base import Request, Result
from .operation import PROFILE, row

__all__ = ["ROWS", "GetStats", "MemoryGroup", "MemoryStats"]


class GetStats(Request, frozen=True, kw_only=True):
    """Count the memories of a profile, or of one project in it."""

    project: str | None = None


class MemoryGroup(Result, frozen=True, kw_only=True):
    """How many memories hold, and the averages of those that have an importance, a confidence."""

    count: int
    importance: float | None = None
    confidence: float | None = None


class MemoryStats(Result, frozen=True, kw_only=True):
    """The memories of a profile in numbers.

    `by_state` counts all there are, deleted ones that are not purged too, and `superseded` those of
    the active ones that something newer replaced. All else is of those that hold: active, neither
    superseded nor expired. `by_type`, `by_kind`, `by_trust` and `by_project` have the 100 largest
    groups, the name is empty of those without. `text_bytes` is the average length of a text (of
    sealed ones as they are stored), `embedded` how many have a vector, `last_30_days` how many were
    written in these, `oldest` and `newest` when the first and the last were.
    """

    by_state: dict[str, int]
    superseded: int
    all: MemoryGroup
    by_type: dict[str, MemoryGroup]
    by_kind: dict[str, MemoryGroup]
    by_trust: dict[str, MemoryGroup]
    by_project: dict[str, MemoryGroup] = {}  # noqa: RUF012 - msgspec copies it
    embedded: int = 0
    last_30_days: int = 0
    oldest: int | None = None
    newest: int | None = None
    text_bytes: float | None = None
    txid: int = 0


ROWS = (
    row(
        "memories.stats",
        f"GET {PROFILE}/stats",
        GetStats,
        MemoryStats,
        "read",
        "Count the memories of a profile by state, type, kind, trust and project.",
    ),
)
