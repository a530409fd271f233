# Made from client/_async by scripts/unasync.py; change it there.
"""How the memories of a profile relate to each other, and what they name."""

from __future__ import annotations

from collections.abc import Iterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from ...api import (
    NO_OPTIONS,
    Durability,
    Entity,
    NewRelation,
    Options,
    Origin,
    Relation,
    to_request,
)
from ...api.clusters import (
    Cluster,
    ClusterBy,
    ClusterPage,
    Summarize,
    Summarized,
    SummaryMethod,
)
from ...api.limits import PAGE_DEFAULT, PAGE_MAX
from ...api.relations import (
    AddedRelations,
    AddRelations,
    EntityPage,
    LinkedEntities,
    LinkEntities,
    ListEntities,
    ListRelations,
    ListUnlinked,
    MemoryEntities,
    RelationPage,
    RemovedRelations,
    RemoveRelations,
    UnlinkedPage,
)
from ..fields import ClusterFields, EntityLike, IdLike, ReadFields
from ..inputs import (
    apart,
    clusters_request,
    entity_inputs,
    listed_requests,
    options,
    reading,
    text_id,
)

if TYPE_CHECKING:
    from .past import Reading

__all__ = ["Relations", "RelationsReading"]


class RelationsReading:
    """What can be read of relations and entities, as it is or as it was; nothing is open."""

    __slots__ = ("profile",)

    def __init__(self, profile: Reading) -> None:
        self.profile = profile

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.profile!r}>"

    def list(
        self,
        memory: IdLike | None = None,
        *,
        type: str | None = None,
        **how: Unpack[ReadFields],
    ) -> Iterator[Relation]:
        """Iterate over all relations, or those from and to one memory, of one type or any."""
        of = None if memory is None else text_id(memory)
        fields = {"memory": of, "type": type, "limit": PAGE_MAX}
        request = to_request(ListRelations, fields, "list")
        while True:
            page: RelationPage = self._call("relations.list", request, reading(how))
            for relation in page:
                yield relation
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    def entities(
        self,
        memory: IdLike | None = None,
        *,
        type: str | None = None,
        name: str | None = None,
        **how: Unpack[ReadFields],
    ) -> Iterator[Entity]:
        """Iterate over what memories name: all of it, or what one memory names.

        `name` finds one entity, however it is spelled: case and spaces make no other one.
        """
        of = None if memory is None else text_id(memory)
        fields = {"memory": of, "type": type, "name": name, "limit": PAGE_MAX}
        request = to_request(ListEntities, fields, "entities")
        while True:
            page: EntityPage = self._call("entities.list", request, reading(how))
            for entity in page:
                yield entity
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    def unlinked(
        self, *, limit: int = PAGE_DEFAULT, cursor: str | None = None, **how: Unpack[ReadFields]
    ) -> UnlinkedPage:
        """Return active memories that are linked with nothing, oldest first, and their `count`."""
        request = to_request(ListUnlinked, {"limit": limit, "cursor": cursor}, "unlinked")
        page: UnlinkedPage = self._call("entities.unlinked", request, reading(how))
        return page

    def clusters(
        self, *, by: ClusterBy = "key", min_size: int = 2, **filters: Unpack[ClusterFields]
    ) -> Iterator[Cluster]:
        """Iterate over memories that belong together, the newest first; filters as in `list`.

        By `key`: those with the same `extracted_key`, one after the other. By `relations`: those
        that relations connect.
        """
        given, how = apart(filters)
        fields = {"by": by, "min_size": min_size, "limit": PAGE_MAX}
        request = clusters_request(fields, given)
        while True:
            page: ClusterPage = self._call("clusters.list", request, how)
            for cluster in page:
                yield cluster
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    def _call(self, operation: str, request: Any, how: Options = NO_OPTIONS) -> Any:
        return self.profile.client.call(operation, self.profile.target, request, how)


class Relations(RelationsReading):
    """Relations and entities of one profile: a value that holds nothing open.

    Writes take `durability=` and `request_id=` as those of the profile do.
    """

    __slots__ = ()

    def add(
        self,
        source: IdLike,
        target: IdLike,
        *,
        type: str = "association",
        weight: float = 1.0,
        metadata: Mapping[str, Any] | None = None,
        origin: Origin = "given",
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> AddedRelations:
        """Relate one memory to another; said again, what is said now replaces what was.

        `type` is a free word, `metadata` a JSON object. Raises `NotFound` for an id that no memory
        has, `Invalid` for a memory and itself.
        """
        new: dict[str, Any] = {
            "source": text_id(source),
            "target": text_id(target),
            "type": type,
            "weight": weight,
            "metadata": metadata,
        }
        return self.add_many(
            [new], origin=origin, durability=durability, request_id=request_id
        )

    def add_many(
        self,
        relations: Iterable[Mapping[str, Any] | NewRelation],
        *,
        origin: Origin = "given",
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> AddedRelations:
        """Add 1 to 1,000 relations in one transaction: all of them, or none and an error.

        Each is a mapping of `source`, `target`, `type`, `weight`, `metadata`, or a `NewRelation`.
        """
        new = listed_requests(NewRelation, relations, "add_many", "relations")
        request = to_request(AddRelations, {"relations": new, "origin": origin}, "add_many")
        how = options(durability, request_id)
        done: AddedRelations = self._call("relations.add", request, how)
        return done

    def remove(
        self,
        source: IdLike,
        target: IdLike,
        *,
        type: str | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> RemovedRelations:
        """Remove the relations from one memory to another, of one type or all."""
        fields = {"source": text_id(source), "target": text_id(target), "type": type}
        request = to_request(RemoveRelations, fields, "remove")
        how = options(durability, request_id)
        done: RemovedRelations = self._call("relations.remove", request, how)
        return done

    def summarize(
        self,
        memories: Iterable[IdLike] = (),
        *,
        cluster: Cluster | int | None = None,
        by: ClusterBy = "key",
        method: SummaryMethod = "auto",
        lossless: bool = True,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Summarized:
        """Sum up 2 to 1,000 memories, or a cluster, in a memory that is derived from them.

        A language model writes it, or it is put together of their most central sentences. With
        `lossless` no name and no number is lost. Made again of the same, it replaces the one
        before. Raises `Invalid` for memories of several projects or environments.
        """
        fields: dict[str, Any] = {
            "ids": tuple(text_id(one) for one in memories),
            "cluster": cluster.id if isinstance(cluster, Cluster) else cluster,
            "by": cluster.by if isinstance(cluster, Cluster) else by,
            "method": method,
            "lossless": lossless,
        }
        request = to_request(Summarize, fields, "summarize")
        how = options(durability, request_id)
        done: Summarized = self._call("clusters.summarize", request, how)
        return done

    def link(
        self,
        memory: IdLike,
        *entities: EntityLike,
        origin: Origin = "given",
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> LinkedEntities:
        """Link a memory with what it names: names, mappings of `name` and `type`, or inputs."""
        one = {"id": text_id(memory), "entities": entities}
        return self.link_many(
            [one], origin=origin, durability=durability, request_id=request_id
        )

    def link_many(
        self,
        links: Iterable[Mapping[str, Any] | MemoryEntities],
        *,
        origin: Origin = "given",
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> LinkedEntities:
        """Link 1 to 1,000 memories in one transaction: all of them, or none and an error.

        Each is a mapping of `id` and `entities`, or a `MemoryEntities`.
        """
        named = [
            {**one, "entities": entity_inputs(one["entities"])}
            if isinstance(one, Mapping) and one.get("entities")
            else one
            for one in links
        ]
        new = listed_requests(MemoryEntities, named, "link_many", "links")
        request = to_request(LinkEntities, {"links": new, "origin": origin}, "link_many")
        how = options(durability, request_id)
        done: LinkedEntities = self._call("entities.link", request, how)
        return done
