"""Relations between memories and entities named in them, on the wire."""

from __future__ import annotations

from typing import Any

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .memories import EntityInput, Memory, Origin
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "AddRelations",
    "AddedRelations",
    "Entity",
    "EntityPage",
    "LinkEntities",
    "LinkedEntities",
    "ListEntities",
    "ListRelations",
    "ListUnlinked",
    "MemoryEntities",
    "NewRelation",
    "Relation",
    "RelationPage",
    "RemoveRelations",
    "RemovedRelations",
    "UnlinkedPage",
]


class Entity(Result, frozen=True, kw_only=True):
    """What memories name: `memories` says how many of them, `name` is as it was first written."""

    id: str
    name: str
    type: str
    memories: int
    created_at: int


class ListEntities(Request, frozen=True, kw_only=True):
    """Read what memories name, page by page, what was named first first.

    `memory` asks for what that one names, `name` for one entity, however it is spelled.
    """

    memory: str | None = None
    type: str | None = None
    name: str | None = None
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class EntityPage(Result, Sequenced[Entity], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    entities: tuple[Entity, ...]
    next_cursor: str | None = None
    txid: int = 0

    def _items(self) -> tuple[Entity, ...]:
        return self.entities


class MemoryEntities(Request, frozen=True, kw_only=True):
    """What the memory `id` names."""

    id: str
    entities: tuple[EntityInput, ...]


class LinkEntities(Request, frozen=True, kw_only=True):
    """Link 1 to 1,000 memories with what they name: all, or none where one is not there.

    `origin` says who found it: `given` by somebody who knows, or a `model`, which counts 0.9.
    """

    links: tuple[MemoryEntities, ...]
    origin: Origin = "given"


class LinkedEntities(Result, frozen=True, kw_only=True):
    """How many entities were `created` and `reused`, and how many links were not there before."""

    created: int
    reused: int
    links: int
    txid: int = 0


class ListUnlinked(Request, frozen=True, kw_only=True):
    """Read the active memories that are linked with nothing, oldest first."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class UnlinkedPage(Result, Sequenced[Memory], frozen=True, kw_only=True):
    """One page, and how many there are altogether (`count`); `next_cursor` is None on the last."""

    memories: tuple[Memory, ...]
    count: int
    next_cursor: str | None = None
    txid: int = 0

    def _items(self) -> tuple[Memory, ...]:
        return self.memories


class Relation(Result, frozen=True, kw_only=True):
    """An edge from the memory `source` to the memory `target`.

    `weight` lies in [0, 1]; `origin` is who says so. Where metadata cannot be decrypted, none is
    given and `decryption_failed` says so.
    """

    source: str
    target: str
    type: str
    weight: float
    origin: Origin
    created_at: int
    metadata: dict[str, Any] | None = None
    decryption_failed: bool = False


class NewRelation(Request, frozen=True, kw_only=True):
    """An edge to be: from one memory to another one, both by id.

    `metadata` is a JSON object of up to 64 KiB, as that of memories is.
    """

    source: str
    target: str
    type: str = "association"
    weight: float = 1.0
    metadata: dict[str, Any] | None = None


class AddRelations(Request, frozen=True, kw_only=True):
    """Relate 1 to 1,000 pairs of memories: all, or none where a memory is not there.

    The same pair and type again replaces weight, origin and metadata.
    """

    relations: tuple[NewRelation, ...]
    origin: Origin = "given"


class AddedRelations(Result, frozen=True, kw_only=True):
    """How many were not there before (`added`), and how many were (`updated`)."""

    added: int
    updated: int
    txid: int = 0


class ListRelations(Request, frozen=True, kw_only=True):
    """Read the edges of a profile, or of one `memory` in both directions, page by page.

    Those of which both memories are there; `type` narrows to one type.
    """

    memory: str | None = None
    type: str | None = None
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class RelationPage(Result, Sequenced[Relation], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    relations: tuple[Relation, ...]
    next_cursor: str | None = None
    txid: int = 0

    def _items(self) -> tuple[Relation, ...]:
        return self.relations


class RemoveRelations(Request, frozen=True, kw_only=True):
    """Remove the edges from `source` to `target`: of one `type`, or all."""

    source: str
    target: str
    type: str | None = None


class RemovedRelations(Result, frozen=True, kw_only=True):
    """How many there were."""

    removed: int
    txid: int = 0


ROWS = (
    row(
        "relations.add",
        f"POST {PROFILE}/relations",
        AddRelations,
        AddedRelations,
        "write writes idempotent",
        "Relate memories to each other: a type and a weight for each edge.",
    ),
    row(
        "relations.list",
        f"GET {PROFILE}/relations",
        ListRelations,
        RelationPage,
        "read",
        "Read how memories relate to each other.",
    ),
    row(
        "relations.remove",
        f"DELETE {PROFILE}/relations",
        RemoveRelations,
        RemovedRelations,
        "write writes idempotent",
        "Remove what relates one memory to another.",
    ),
    row(
        "entities.list",
        f"GET {PROFILE}/entities",
        ListEntities,
        EntityPage,
        "read",
        "Read what memories name: people, projects, tools.",
    ),
    row(
        "entities.link",
        f"POST {PROFILE}/entities",
        LinkEntities,
        LinkedEntities,
        "write writes idempotent",
        "Link memories with what they name.",
    ),
    row(
        "entities.unlinked",
        f"GET {PROFILE}/entities/unlinked",
        ListUnlinked,
        UnlinkedPage,
        "read",
        "Read the memories that are linked with nothing yet.",
    ),
)
