"""Collections of vectors on the wire."""

from __future__ import annotations

from typing import Any, Literal

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import DATABASE, row

__all__ = [
    "ROWS",
    "VECTOR_K_DEFAULT",
    "DeleteVector",
    "DeletedVector",
    "DropVectorCollection",
    "DroppedVectorCollection",
    "GetVector",
    "GetVectorCollection",
    "ListVectorCollections",
    "ListVectors",
    "Metric",
    "SearchVectors",
    "StoredVector",
    "UpsertVectors",
    "Upserted",
    "VectorCollection",
    "VectorCollections",
    "VectorHit",
    "VectorInput",
    "VectorPage",
    "VectorSearch",
]

Metric = Literal["cosine", "l2", "dot"]
"""How far apart two vectors are: 1 - cosine, Euclidean distance, or minus the inner product."""

VECTOR_K_DEFAULT = 10


class VectorInput(Request, frozen=True, kw_only=True):
    """One vector of a batch: the id it replaces or gets, and what is known of it."""

    id: str
    embedding: tuple[float, ...]
    metadata: dict[str, Any] | None = None


class UpsertVectors(Request, frozen=True, kw_only=True):
    """Write one vector (`id`, `embedding`, `metadata`), or 1 to 1,000 as `items`, or none of them.

    What an id held before, metadata too, is replaced. The first vector of a collection makes it:
    with its dimensions, and with `metric` (cosine unless given), for good.
    """

    collection: str
    id: str | None = None
    embedding: tuple[float, ...] | None = None
    metadata: dict[str, Any] | None = None
    items: tuple[VectorInput, ...] | None = None
    metric: Metric | None = None


class Upserted(Result, frozen=True, kw_only=True):
    """How many vectors were written, what the collection is, and the txid that holds them.

    `notes` says what was flagged or redacted.
    """

    upserted: int
    metric: Metric
    dimensions: int
    txid: int
    notes: tuple[str, ...] = ()


class SearchVectors(Request, frozen=True, kw_only=True):
    """Find the `k` vectors nearest to `vector`.

    `filter` narrows it to those whose metadata has just these values (text, numbers, booleans;
    null where a key is null or absent).
    """

    collection: str
    vector: tuple[float, ...]
    k: int = VECTOR_K_DEFAULT
    filter: dict[str, Any] | None = None


class VectorHit(Result, frozen=True, kw_only=True):
    """A vector that was found; the smaller `distance`, the nearer it is."""

    id: str
    distance: float
    metadata: dict[str, Any] | None = None


class VectorSearch(Result, Sequenced[VectorHit], frozen=True, kw_only=True):
    """The nearest vectors, the nearest first; of equally near ones, that which came first."""

    hits: tuple[VectorHit, ...]
    txid: int

    def _items(self) -> tuple[VectorHit, ...]:
        return self.hits


class ListVectors(Request, frozen=True, kw_only=True):
    """Read the ids of a collection, in the order of their UTF-8 bytes."""

    collection: str
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class VectorPage(Result, Sequenced[str], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    ids: tuple[str, ...]
    next_cursor: str | None
    txid: int

    def _items(self) -> tuple[str, ...]:
        return self.ids


class GetVector(Request, frozen=True, kw_only=True):
    """Read one vector."""

    collection: str
    id: str


class StoredVector(Result, frozen=True, kw_only=True):
    """A vector as it is stored: float32, and where the metric is cosine, of length 1."""

    id: str
    embedding: tuple[float, ...]
    metadata: dict[str, Any] | None
    txid: int


class DeleteVector(Request, frozen=True, kw_only=True):
    """Remove one vector."""

    collection: str
    id: str


class DeletedVector(Result, frozen=True, kw_only=True):
    """`deleted` is False where there was no such vector."""

    collection: str
    id: str
    deleted: bool
    txid: int

    def missing(self) -> str | None:
        """Return what was not there."""
        return None if self.deleted else f"no vector {self.id!r:.80} in {self.collection!r}"


class GetVectorCollection(Request, frozen=True, kw_only=True):
    """Read what a collection is."""

    collection: str


class VectorCollection(Result, frozen=True, kw_only=True):
    """One collection; of one that was never written to, metric and dimensions are None."""

    name: str
    metric: Metric | None
    dimensions: int | None
    count: int
    txid: int


class ListVectorCollections(Request, frozen=True, kw_only=True):
    """Read the collections of a profile, by name."""


class VectorCollections(Result, Sequenced[VectorCollection], frozen=True, kw_only=True):
    """Every collection of vectors: at most 1,000."""

    collections: tuple[VectorCollection, ...]
    txid: int

    def _items(self) -> tuple[VectorCollection, ...]:
        return self.collections


class DropVectorCollection(Request, frozen=True, kw_only=True):
    """Remove a collection with all its vectors; the next write makes it anew."""

    collection: str


class DroppedVectorCollection(Result, frozen=True, kw_only=True):
    """`dropped` is False where there was no such collection."""

    collection: str
    dropped: bool
    txid: int

    def missing(self) -> str | None:
        """Return what was not there."""
        return None if self.dropped else f"no collection of vectors {self.collection!r}"


_ALL = DATABASE + "/vectors"
_COLLECTION = _ALL + "/{collection}"
# Below a word of their own: an id may be `search`.
_ITEM = _COLLECTION + "/items/{id}"

ROWS = (
    row(
        "vectors.collections",
        f"GET {_ALL}",
        ListVectorCollections,
        VectorCollections,
        "read",
        "Read the collections of vectors of a profile.",
    ),
    row(
        "vectors.upsert",
        f"POST {_COLLECTION}",
        UpsertVectors,
        Upserted,
        "write writes idempotent",
        "Write vectors to a collection in one transaction.",
    ),
    row(
        "vectors.search",
        f"POST {_COLLECTION}/search",
        SearchVectors,
        VectorSearch,
        "read",
        "Find the vectors nearest to one.",
    ),
    row(
        "vectors.info",
        f"GET {_COLLECTION}",
        GetVectorCollection,
        VectorCollection,
        "read",
        "Read metric, dimensions and size of a collection.",
    ),
    row(
        "vectors.list",
        f"GET {_COLLECTION}/items",
        ListVectors,
        VectorPage,
        "read",
        "Read the ids of a collection, page by page.",
    ),
    row(
        "vectors.get",
        f"GET {_ITEM}",
        GetVector,
        StoredVector,
        "read",
        "Read one vector with its metadata.",
    ),
    row(
        "vectors.delete",
        f"DELETE {_ITEM}",
        DeleteVector,
        DeletedVector,
        "write writes idempotent 204",
        "Remove one vector.",
    ),
    row(
        "vectors.drop",
        f"DELETE {_COLLECTION}",
        DropVectorCollection,
        DroppedVectorCollection,
        "write writes idempotent 204",
        "Remove a collection with all its vectors.",
    ),
)
