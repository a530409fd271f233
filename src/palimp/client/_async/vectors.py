"""Collections of vectors of a profile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from ...api import (
    NO_OPTIONS,
    DeletedVector,
    DeleteVector,
    DroppedVectorCollection,
    DropVectorCollection,
    Durability,
    GetVector,
    GetVectorCollection,
    ListVectors,
    Metric,
    Options,
    SearchVectors,
    StoredVector,
    Upserted,
    UpsertVectors,
    VectorCollection,
    VectorInput,
    VectorPage,
    VectorSearch,
    to_request,
)
from ...api.limits import PAGE_MAX
from ...api.vectors import VECTOR_K_DEFAULT
from ..fields import ReadFields
from ..inputs import options, reading, vector_items

if TYPE_CHECKING:
    from .past import AsyncReading

__all__ = ["AsyncVectors", "AsyncVectorsReading"]


class AsyncVectorsReading:
    """What can be read of one collection, as it is or as it was; a value, nothing is open."""

    __slots__ = ("name", "profile")

    def __init__(self, profile: AsyncReading, name: str) -> None:
        self.profile = profile
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.profile!r}>"

    async def search(
        self,
        vector: Sequence[float],
        *,
        k: int = VECTOR_K_DEFAULT,
        filter: Mapping[str, Any] | None = None,
        **how: Unpack[ReadFields],
    ) -> VectorSearch:
        """Return the `k` nearest vectors, the nearest first; every vector is compared.

        `filter` narrows it to those whose metadata has just these values. A collection that was
        never written to gives an empty result. Raises `Invalid` where the vector has other
        dimensions than the collection.
        """
        fields = {"collection": self.name, "vector": vector, "k": k, "filter": filter}
        request = to_request(SearchVectors, fields, "search")
        found: VectorSearch = await self._call("vectors.search", request, reading(how))
        return found

    async def get(self, id: str, **how: Unpack[ReadFields]) -> StoredVector:
        """Return a vector with its metadata; `NotFound` where there is none.

        It is float32, and of length 1 where the metric is cosine.
        """
        request = to_request(GetVector, {"collection": self.name, "id": id}, "get")
        found: StoredVector = await self._call("vectors.get", request, reading(how))
        return found

    async def ids(self) -> AsyncIterator[str]:
        """Iterate over the ids, in the order of their UTF-8 bytes."""
        request = ListVectors(collection=self.name, limit=PAGE_MAX)
        while True:
            page: VectorPage = await self._call("vectors.list", request)
            for identity in page:
                yield identity
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    async def info(self) -> VectorCollection:
        """Return metric, dimensions and size; None, None and 0 where it was never written to."""
        request = to_request(GetVectorCollection, {"collection": self.name}, "info")
        found: VectorCollection = await self._call("vectors.info", request)
        return found

    async def count(self) -> int:
        """Return how many vectors it has."""
        return (await self.info()).count

    async def _call(self, operation: str, request: Any, how: Options = NO_OPTIONS) -> Any:
        return await self.profile.client.call(operation, self.profile.target, request, how)


class AsyncVectors(AsyncVectorsReading):
    """One collection of vectors: a value that holds nothing open.

    Writes take `durability=` and `request_id=` as those of the profile do.
    """

    __slots__ = ()

    async def upsert(
        self,
        id: str,
        embedding: Sequence[float],
        *,
        metadata: Mapping[str, Any] | None = None,
        metric: Metric | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Upserted:
        """Write a vector, in the place of what the id held before, metadata too.

        The first one makes the collection: with its dimensions, and with `metric` (cosine unless
        given), for good. Raises `Invalid` where a later one has others.
        """
        fields = {
            "collection": self.name,
            "id": id,
            "embedding": embedding,
            "metadata": metadata,
            "metric": metric,
        }
        request = to_request(UpsertVectors, fields, "upsert")
        how = options(durability, request_id)
        done: Upserted = await self._call("vectors.upsert", request, how)
        return done

    async def upsert_all(
        self,
        vectors: Iterable[Mapping[str, Any] | VectorInput],
        *,
        metric: Metric | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Upserted:
        """Write 1 to 1,000 vectors in one transaction: all of them, or none and an error.

        Each is a mapping with `id`, `embedding` and perhaps `metadata`, or a `VectorInput`. An
        error names the item (`details["index"]`).
        """
        fields = {"collection": self.name, "items": vector_items(vectors), "metric": metric}
        request = to_request(UpsertVectors, fields, "upsert_all")
        how = options(durability, request_id)
        done: Upserted = await self._call("vectors.upsert", request, how)
        return done

    async def delete(
        self, id: str, *, durability: Durability | None = None, request_id: str | None = None
    ) -> bool:
        """Remove a vector; False where there was none."""
        request = to_request(DeleteVector, {"collection": self.name, "id": id}, "delete")
        how = options(durability, request_id)
        done: DeletedVector = await self._call("vectors.delete", request, how)
        return done.deleted

    async def drop(
        self, *, durability: Durability | None = None, request_id: str | None = None
    ) -> bool:
        """Remove the collection with all its vectors; False where there was none."""
        request = to_request(DropVectorCollection, {"collection": self.name}, "drop")
        how = options(durability, request_id)
        done: DroppedVectorCollection = await self._call("vectors.drop", request, how)
        return done.dropped
