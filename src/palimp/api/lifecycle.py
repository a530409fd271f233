"""The states of memories on the wire: archiving, deleting in two steps, restoring, legal holds."""

from __future__ import annotations

from typing import Any, Literal

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT, PAGE_MAX
from .memories import Filters
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "ArchiveMemory",
    "DeleteMemory",
    "DeletionMethod",
    "EventKind",
    "EventPage",
    "GetEvents",
    "GetLineage",
    "HoldMemory",
    "Lineage",
    "ListEvents",
    "MemoryEvent",
    "MemoryEvents",
    "MemoryMove",
    "MemoryState",
    "MoveMemories",
    "MovedMemories",
    "MovedMemory",
    "ProfileEvent",
    "ReleaseMemory",
    "RestoreMemory",
    "SkippedMemory",
]

MemoryState = Literal[
    "active", "archived", "quarantined", "soft_deleted", "hard_delete_pending", "purged"
]  # fmt: skip
MemoryMove = Literal["archive", "restore", "delete", "hold", "release"]
# Why a memory was deleted. What a caller may say comes first, the others say themselves.
AskedMethod = Literal["user_request", "admin_action", "gdpr_request"]
DeletionMethod = Literal[
    "user_request", "admin_action", "gdpr_request", "retention_policy", "legal_hold_release"
]
EventKind = Literal[
    "created",
    "revived",
    "superseded",
    "archived",
    "quarantined",
    "annotated",
    "restored",
    "soft_deleted",
    "hard_delete_pending",
    "purged",
    "held",
    "released",
]


class ArchiveMemory(Request, frozen=True, kw_only=True):
    """Archive an active memory: it can be read, and is neither recalled nor listed nor changed."""

    id: str
    reason: str | None = None


class RestoreMemory(Request, frozen=True, kw_only=True):
    """Make an archived, quarantined or soft-deleted memory active again, from then on.

    `Conflict` once its grace has ended, where the same memory was written again, or where a newer
    one holds its topic.
    """

    id: str
    reason: str | None = None


class DeleteMemory(Request, frozen=True, kw_only=True):
    """Delete a memory softly: hidden at once, and purged when its grace has ended.

    The grace is the policy's `lifecycle.grace_days`, 7 unless set. A memory under legal hold is
    hidden too, and stays until the hold is released.
    """

    id: str
    method: AskedMethod = "user_request"
    reason: str | None = None


class HoldMemory(Request, frozen=True, kw_only=True):
    """Put a memory under legal hold: nothing removes it, neither a deletion nor an erasure."""

    id: str
    reason: str | None = None


class ReleaseMemory(Request, frozen=True, kw_only=True):
    """End a legal hold. A deletion that waited goes on, never before its own grace has ended."""

    id: str
    reason: str | None = None


class MovedMemory(Result, frozen=True, kw_only=True):
    """What became of a memory: its state before and now.

    `hard_delete_at` is when it may be purged, `method` why it was deleted.
    """

    id: str
    before: MemoryState
    state: MemoryState
    held: bool = False
    deleted_at: int | None = None
    hard_delete_at: int | None = None
    method: DeletionMethod | None = None
    txid: int = 0


class MoveMemories(Filters, frozen=True, kw_only=True):
    """Archive, restore, delete, hold or release what a filter matches, page by page.

    Something must be asked for beyond `state`. Each call looks at up to `limit` memories, oldest
    first, in one transaction; `cursor` comes from the one before. With `dry_run` nothing changes.
    """

    move: MemoryMove
    topic: str | None = None
    method: AskedMethod = "admin_action"
    reason: str | None = None
    limit: int = PAGE_MAX
    cursor: str | None = None
    dry_run: bool = False


class SkippedMemory(Result, frozen=True, kw_only=True):
    """A memory that was not moved, and why."""

    id: str
    reason: str


class MovedMemories(Result, frozen=True, kw_only=True):
    """What was moved, or would be; `next_cursor` is None where all was looked at."""

    ids: tuple[str, ...]
    skipped: tuple[SkippedMemory, ...] = ()
    next_cursor: str | None = None
    txid: int = 0


class GetEvents(Request, frozen=True, kw_only=True):
    """Read what happened to a memory, oldest first, page by page."""

    id: str
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class MemoryEvent(Result, frozen=True, kw_only=True):
    """One thing that happened. `actor` is None for what the node did by itself.

    It is None, too, of what was written before releases kept who wrote a memory. `other` names the
    memory that superseded it. `changes` has for each field that was annotated its old and its new
    value.
    """

    event: EventKind
    at: int
    actor: str | None = None
    before: MemoryState | None = None
    after: MemoryState | None = None
    method: DeletionMethod | None = None
    reason: str | None = None
    other: str | None = None
    changes: dict[str, tuple[Any, Any]] | None = None


class MemoryEvents(Result, Sequenced[MemoryEvent], frozen=True, kw_only=True):
    """A memory's state and one page of its events; `next_cursor` is None on the last.

    What is known from the memory itself (created, revived, superseded) stands on the first page.
    """

    id: str
    state: MemoryState
    held: bool
    events: tuple[MemoryEvent, ...]
    deleted_at: int | None = None
    hard_delete_at: int | None = None
    method: DeletionMethod | None = None
    next_cursor: str | None = None
    txid: int = 0

    def _items(self) -> tuple[MemoryEvent, ...]:
        return self.events


class ListEvents(Request, frozen=True, kw_only=True):
    """Read what happened to all memories of a profile, newest first, page by page."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class ProfileEvent(MemoryEvent, frozen=True, kw_only=True):
    """One thing that happened to the memory `id`."""

    id: str


class EventPage(Result, Sequenced[ProfileEvent], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last.

    Without scope `admin` it has nothing of memories that are deleted or gone.
    """

    events: tuple[ProfileEvent, ...]
    next_cursor: str | None = None
    txid: int = 0

    def _items(self) -> tuple[ProfileEvent, ...]:
        return self.events


class GetLineage(Request, frozen=True, kw_only=True):
    """Read what a memory was derived from, and what was derived from it."""

    id: str


class Lineage(Result, frozen=True, kw_only=True):
    """`sources`: memories and references it rests on, the nearest first, also through others.

    `derived`: memories that rest on it, up to 1,000 of the `derived_count` there are.
    """

    id: str
    sources: tuple[str, ...]
    derived: tuple[str, ...]
    derived_count: int
    txid: int = 0


_MEMORY = PROFILE + "/memories/{id}"

ROWS = (
    row(
        "memories.archive",
        f"POST {_MEMORY}/archive",
        ArchiveMemory,
        MovedMemory,
        "write writes idempotent",
        "Archive a memory: readable by its id, no longer recalled.",
    ),
    row(
        "memories.restore",
        f"POST {_MEMORY}/restore",
        RestoreMemory,
        MovedMemory,
        "admin writes idempotent",
        "Make an archived, quarantined or soft-deleted memory active again.",
    ),
    row(
        "memories.delete",
        f"POST {_MEMORY}/delete",
        DeleteMemory,
        MovedMemory,
        "write writes idempotent",
        "Delete a memory softly: hidden at once, purged when its grace has ended.",
    ),
    row(
        "memories.hold",
        f"POST {_MEMORY}/hold",
        HoldMemory,
        MovedMemory,
        "admin writes idempotent",
        "Put a memory under legal hold: nothing removes it.",
    ),
    row(
        "memories.release",
        f"POST {_MEMORY}/release",
        ReleaseMemory,
        MovedMemory,
        "admin writes idempotent",
        "End a legal hold.",
    ),
    row(
        "memories.move",
        f"POST {PROFILE}/lifecycle",
        MoveMemories,
        MovedMemories,
        "admin writes idempotent",
        "Archive, restore, delete, hold or release what a filter matches.",
    ),
    row(
        "memories.events",
        f"GET {_MEMORY}/events",
        GetEvents,
        MemoryEvents,
        "read",
        "Read what happened to a memory.",
    ),
    row(
        "events.list",
        f"GET {PROFILE}/events",
        ListEvents,
        EventPage,
        "read",
        "Read what happened to all memories of a profile, newest first.",
    ),
    row(
        "memories.lineage",
        f"GET {_MEMORY}/lineage",
        GetLineage,
        Lineage,
        "read",
        "Read what a memory was derived from, and what was derived from it.",
    ),
)
