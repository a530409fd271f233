"""What is said about a memory, on the wire."""

from __future__ import annotations

from typing import Any, Literal

from .base import Request, Result, Sequenced
from .limits import PAGE_MAX
from .memories import Memory, Tier
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "Annotate",
    "AnnotateAll",
    "Annotated",
    "AnnotatedAll",
    "AnnotatedItem",
    "Reassign",
    "Reassigned",
    "SetTier",
]


class Annotate(Request, frozen=True, kw_only=True):
    """Change what is said about an active memory, and nothing that it says.

    It keeps its id and its place in the history, and supersedes nothing. What is left out stays as
    it is; `metadata` and `tags` take the place of those that were there, `{}` and `()` of all. With
    `expect_metadata`, which was read before, it is a `Conflict` (reason `metadata`) where they are
    others by now: then nothing is changed.
    """

    id: str
    metadata: dict[str, Any] | None = None
    expect_metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None
    importance: float | None = None
    confidence: float | None = None
    trust: str | None = None
    source: str | None = None


class Annotated(Result, frozen=True, kw_only=True):
    """The memory as it is now, and whether anything was changed.

    `note` says what a policy redacted or flagged.
    """

    memory: Memory
    changed: bool
    txid: int
    note: str | None = None


class AnnotateAll(Request, frozen=True, kw_only=True):
    """Change what is said about 1 to 1,000 memories in one transaction.

    One that is not there, or that nobody may change now, is passed over and named; anything else
    that is wrong with an item changes none.
    """

    items: tuple[Annotate, ...]


class AnnotatedItem(Result, frozen=True, kw_only=True):
    """What became of one: it was `changed`, said so already (`same`), or was `skipped`, and why.

    `note` says what a policy redacted or flagged.
    """

    id: str
    status: Literal["changed", "same", "skipped"]
    reason: str | None = None
    note: str | None = None


class AnnotatedAll(Result, Sequenced[AnnotatedItem], frozen=True, kw_only=True):
    """What became of each, in the order they were given."""

    results: tuple[AnnotatedItem, ...]
    txid: int = 0

    def _items(self) -> tuple[AnnotatedItem, ...]:
        return self.results


class SetTier(Request, frozen=True, kw_only=True):
    """Put an active memory in a tier by hand, until it is used, or a pass finds it used too little.

    `hot` counts as a use.
    """

    id: str
    tier: Tier


class Reassign(Request, frozen=True, kw_only=True):
    """Give up to `limit` memories of a project to another one, or to none (`to` None).

    Whatever their state, superseded and deleted ones too. Where a key of theirs means a memory
    there already it goes on to mean that one. Repeat it while there are `more`.
    """

    project: str
    to: str | None = None
    limit: int = PAGE_MAX


class Reassigned(Result, frozen=True, kw_only=True):
    """How many were given over, and whether the project has `more`."""

    count: int
    more: bool = False
    txid: int = 0


ROWS = (
    row(
        "memories.annotate",
        f"POST {PROFILE}/memories/{{id}}/annotate",
        Annotate,
        Annotated,
        "write writes idempotent",
        "Change what is said about a memory: metadata, tags, importance, trust, source.",
    ),
    row(
        "memories.annotate_all",
        f"POST {PROFILE}/annotations",
        AnnotateAll,
        AnnotatedAll,
        "write writes idempotent",
        "Change what is said about many memories in one transaction.",
    ),
    row(
        "memories.tier",
        f"POST {PROFILE}/memories/{{id}}/tier",
        SetTier,
        Annotated,
        "write writes idempotent",
        "Put a memory in a tier by hand: hot, warm or cold.",
    ),
    row(
        "memories.reassign",
        f"POST {PROFILE}/reassign",
        Reassign,
        Reassigned,
        "admin writes idempotent",
        "Give the memories of a project to another one, or to none.",
    ),
)
