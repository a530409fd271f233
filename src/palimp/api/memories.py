"""Memories on the wire: what is written, what is read, and what a write answers."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import PROFILE, row

__all__ = [
    "MEMORY_TYPES",
    "ROWS",
    "EntityInput",
    "Filters",
    "FindMemories",
    "Forget",
    "Forgotten",
    "FoundMemories",
    "GetMemory",
    "GotMemory",
    "History",
    "HistoryOf",
    "Ingest",
    "Ingested",
    "ItemResult",
    "ListMemories",
    "Memory",
    "MemoryInput",
    "MemoryPage",
    "MemoryType",
    "Origin",
    "RelationInput",
    "Scalar",
    "Supersede",
    "Tier",
    "Wait",
    "Written",
]

MemoryType = Literal["fact", "event", "instruction", "task"]
MEMORY_TYPES: tuple[MemoryType, ...] = ("fact", "event", "instruction", "task")
# How long ago a memory was used, where a policy asks for that; "hot" where none does.
Tier = Literal["hot", "warm", "cold"]
Status = Literal["created", "duplicate", "revived"]
# What a write may wait for beyond its commit.
Wait = Literal["embedded", "related"]
# Who says that something is so: a caller, a model, or a rule that looked at the words.
Origin = Literal["given", "model", "rule"]
Scalar: TypeAlias = str | int | float | bool | None


class RelationInput(Request, frozen=True, kw_only=True):
    """An edge to the memory with the id `to`: its type (a free word) and a weight in [0, 1].

    `metadata` is a JSON object of up to 64 KiB, as that of memories is.

    Types that count more or less in a recall: `causal`, `entity_link`, `temporal`, `consolidation`,
    `association`, `derived`, `abstraction`.
    """

    to: str
    type: str = "association"
    weight: float = 1.0
    metadata: dict[str, Any] | None = None


class EntityInput(Request, frozen=True, kw_only=True):
    """Something that a memory names: a person, a project, a tool, however it is spelled.

    `type` is a free word (`person`, `repo`, `project`, `tech`, ...), `concept` unless given.
    """

    name: str
    type: str | None = None


class MemoryInput(Request, frozen=True, kw_only=True):
    """One memory to write. Only `text` is required.

    `type` is `fact` where none is given; what supersedes a memory takes over its type.

    `topic` (facts and instructions) is the key under which a newer memory supersedes an older one.
    `content` is any JSON and defaults to `{"text": text}`. `dedup_key` separates memories of the
    same words, for instance turns of a conversation; with `dedup_window` (seconds) whatever comes
    with the same key within that time is a duplicate, and what comes later is new. `extracted_key`
    says what it is the value of: of the same type, project and environment the same value is a
    duplicate, and another one supersedes. `observed_at` is when it was true (ms, UTC, or
    RFC 3339 text). `ttl` (seconds) is for tasks, 24 hours unless given. From `expires_at` on
    nothing shows the memory, of whatever type, and maintenance removes it. `importance` and
    `confidence` lie in [0, 1]. `embedding` is the caller's own vector. `relations` are edges to
    memories that are there, `entities` what it names; a duplicate brings neither.
    """

    text: str
    type: MemoryType | None = None
    kind: str | None = None
    topic: str | None = None
    content: Any = msgspec.UNSET
    keywords: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    source: str | None = None
    session: str | None = None
    agent: str | None = None
    speaker: str | None = None
    project: str | None = None
    environment: str | None = None
    importance: float | None = None
    confidence: float | None = None
    trust: str | None = None
    observed_at: int | str | None = None
    ttl: float | None = None
    expires_at: int | str | None = None
    dedup_key: str | None = None
    dedup_window: float | None = None
    extracted_key: str | None = None
    derived_from: tuple[str, ...] = ()
    source_span: tuple[int, int] | None = None
    embedding: tuple[float, ...] | None = None
    relations: tuple[RelationInput, ...] = ()
    entities: tuple[EntityInput, ...] = ()


class Memory(Result, frozen=True, kw_only=True):
    """One memory as it is stored. Times are UTC milliseconds; absent means None.

    `handle` is its number in its branch, which no second memory gets; a rewind takes numbers back.
    `superseded_by` names the memory that replaced this one, `supersedes` (filled by get and
    history) those it replaced. `flags` says what a policy found in it and let stand (`email`, ...).
    Where `decryption_failed` its words could not be read: another text stands in their place.
    """

    id: str
    type: MemoryType
    text: str
    content: Any
    created_at: int
    handle: int | None = None
    kind: str | None = None
    topic: str | None = None
    keywords: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    source: str | None = None
    session: str | None = None
    agent: str | None = None
    speaker: str | None = None
    project: str | None = None
    environment: str | None = None
    importance: float | None = None
    confidence: float | None = None
    trust: str | None = None
    observed_at: int | None = None
    activated_at: int | None = None
    superseded_by: str | None = None
    superseded_at: int | None = None
    expires_at: int | None = None
    state: str = "active"
    memory_tier: str | None = None
    access_count: int = 0
    last_accessed_at: int | None = None
    derived_from: tuple[str, ...] = ()
    source_span: tuple[int, int] | None = None
    supersedes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    decryption_failed: bool = False


class Filters(Request, frozen=True, kw_only=True):
    """Which memories are meant; everything left out matches all.

    Several values of one field mean any of them, except `tags` and `flags`: all must be there.
    `tags_any` and `sources` ask for one of these.
    `since` and `until` (inclusive, exclusive) compare `observed_at`, or `created_at` where that is
    missing; `90m`, `24h` and `7d` mean so long ago, as in `ListTimeline`. Superseded memories are
    left out unless `include_superseded`, expired ones always.
    `project_or_none` means that project, or none; with `any_project` it is said that all are meant,
    which matters where a policy (`memory.unscoped`) asks for one. `tier` means exactly that tier.
    `metadata` (at most 16 keys of letters, digits and `_`) must hold each of these values at its
    top: 2 is 2.0 and not "2", nor is 1 true; null is a null that is there.
    `state` is `active`, `archived` or `quarantined`; a listing with scope `admin` also shows
    `soft_deleted` and `hard_delete_pending`.
    """

    types: tuple[MemoryType, ...] = ()
    kinds: tuple[str, ...] = ()
    session: str | None = None
    source: str | None = None
    sources: tuple[str, ...] = ()
    agent: str | None = None
    speaker: str | None = None
    tags: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    since: int | str | None = None
    until: int | str | None = None
    project: str | None = None
    project_or_none: str | None = None
    any_project: bool = False
    environment: str | None = None
    state: str = "active"
    trust: str | None = None
    importance_min: float | None = None
    include_superseded: bool = False
    flags: tuple[str, ...] = ()
    tier: Tier | None = None
    metadata: dict[str, Scalar] | None = None


class Ingest(Request, frozen=True, kw_only=True):
    """Write 1 to 1,000 memories in one transaction: all or none.

    With `wait` the answer comes when they have their vectors too, after 20 seconds at the latest;
    with `related` when they were also compared with what is near to them, which takes that long at
    the latest again. `superseded` then has what a near duplicate took the place of by policy, too.
    """

    memories: tuple[MemoryInput, ...]
    wait: Wait | None = None


class ItemResult(Result, frozen=True, kw_only=True):
    """What happened to one item: `created`, `duplicate` (nothing written) or `revived`.

    `handle` is the memory's number in its branch. `superseded` lists the ids it displaced. `note`
    says what was not done as asked, for instance that an embedding of another dimension was left
    out, or what was redacted.
    """

    id: str
    status: Status
    superseded: tuple[str, ...] = ()
    note: str | None = None
    handle: int | None = None


class Written(ItemResult, frozen=True, kw_only=True):
    """`ItemResult` of a single write with the txid that holds it.

    `embedded` is whether it has its vector, where that was waited for; `note` says why not.
    """

    txid: int
    embedded: bool | None = None


class Ingested(Result, Sequenced[ItemResult], frozen=True, kw_only=True):
    """The results of a batch in the order of its items, and the txid that holds all of them.

    `embedded` is whether all have their vectors, where that was waited for; `note` says why not.
    The write succeeded either way, and what is missing is embedded later.
    """

    results: tuple[ItemResult, ...]
    txid: int
    embedded: bool | None = None
    note: str | None = None

    def _items(self) -> tuple[ItemResult, ...]:
        return self.results


class Supersede(Request, frozen=True, kw_only=True):
    """Replace the memory `id` by `memory`; the old one stays in its history.

    `wait` as in `Ingest`.
    """

    id: str
    memory: MemoryInput
    wait: Wait | None = None


class GetMemory(Request, frozen=True, kw_only=True):
    """Read one memory."""

    id: str


class GotMemory(Result, frozen=True, kw_only=True):
    """One memory and the txid it was read at."""

    memory: Memory
    txid: int


class FindMemories(Request, frozen=True, kw_only=True):
    """Read up to 1,000 memories by their handles; with `deleted` (scope `admin`) deleted ones too.

    Deleted means soft-deleted and not purged yet.
    """

    handles: tuple[int, ...]
    deleted: bool = False


class FoundMemories(Result, Sequenced[Memory], frozen=True, kw_only=True):
    """The memories that are there, each once, in the order of the handles asked for.

    With `deleted` also the ids of those that were purged, by handle: nothing else is left of them.
    """

    memories: tuple[Memory, ...]
    txid: int
    purged: dict[int, str] = {}  # noqa: RUF012 - msgspec copies it

    def _items(self) -> tuple[Memory, ...]:
        return self.memories


class ListMemories(Filters, frozen=True, kw_only=True):
    """Read memories page by page, newest first; `cursor` comes from the page before."""

    topic: str | None = None
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class MemoryPage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    memories: tuple[Memory, ...]
    next_cursor: str | None
    txid: int


class HistoryOf(Request, frozen=True, kw_only=True):
    """Read how a memory (`id`) or a topic changed; `type` narrows a topic to one of its types."""

    id: str | None = None
    topic: str | None = None
    type: MemoryType | None = None


class History(Result, Sequenced[Memory], frozen=True, kw_only=True):
    """Memories oldest first: each was superseded by a later one, the last is what holds now."""

    memories: tuple[Memory, ...]
    txid: int

    def _items(self) -> tuple[Memory, ...]:
        return self.memories


class Forget(Request, frozen=True, kw_only=True):
    """Remove one memory from the present: row, index and vectors."""

    id: str


class Forgotten(Result, frozen=True, kw_only=True):
    """`forgotten` is False where no such memory existed. Nothing it superseded holds again."""

    id: str
    forgotten: bool
    txid: int

    def missing(self) -> str | None:
        """Return what was not there."""
        return None if self.forgotten else f"no memory {self.id!r:.80}"


ROWS = (
    row(
        "memories.ingest",
        f"POST {PROFILE}/memories",
        Ingest,
        Ingested,
        "write writes idempotent 201",
        "Write 1 to 1,000 memories in one transaction; the same memory twice is a duplicate.",
    ),
    row(
        "memories.get",
        f"GET {PROFILE}/memories/{{id}}",
        GetMemory,
        GotMemory,
        "read",
        "Read one memory with the ids it supersedes and is superseded by.",
    ),
    row(
        "memories.find",
        f"POST {PROFILE}/memories/find",
        FindMemories,
        FoundMemories,
        "read",
        "Read memories by their handles.",
    ),
    row(
        "memories.list",
        f"GET {PROFILE}/memories",
        ListMemories,
        MemoryPage,
        "read",
        "Read memories page by page, newest first, by filter.",
    ),
    row(
        "memories.supersede",
        f"POST {PROFILE}/memories/{{id}}/supersede",
        Supersede,
        Written,
        "write writes idempotent 201",
        "Replace a memory by a newer one; the old one stays in its history.",
    ),
    row(
        "memories.forget",
        f"DELETE {PROFILE}/memories/{{id}}",
        Forget,
        Forgotten,
        "write writes idempotent 204",
        "Remove one memory from the present: row, index entry and vectors.",
    ),
    row(
        "memories.history",
        f"GET {PROFILE}/history",
        HistoryOf,
        History,
        "read",
        "Read how a memory or a topic changed, oldest first.",
    ),
)
