"""Collections of vectors: write, search, read, remove."""

from __future__ import annotations

import msgspec

from ..api import (
    DeletedVector,
    DeleteVector,
    DroppedVectorCollection,
    DropVectorCollection,
    GetVector,
    GetVectorCollection,
    ListVectorCollections,
    ListVectors,
    SearchVectors,
    StoredVector,
    Target,
    Upserted,
    UpsertVectors,
    VectorCollection,
    VectorCollections,
    VectorInput,
    VectorPage,
    VectorSearch,
)
from ..api.limits import BATCH_ITEMS_MAX
from ..errors import Invalid, NotFound
from ..profile import collections
from ..profile.checks import check_id
from .context import Context

__all__ = ["delete", "drop", "get", "info", "list_collections", "list_ids", "search", "upsert"]


def upsert(context: Context, target: Target, request: UpsertVectors) -> Upserted:
    """Write vectors in one transaction; everything is checked before anything is touched."""
    address = context.address(target)
    name = collections.check_collection(request.collection)
    items = _items(request)
    screen, notes = context.screen(address), []
    if screen is not None:
        seen = screen.each(screen.vector, items, "items")
        items = tuple(one.item for one in seen)
        kept = UpsertVectors(collection=name, items=items, metric=request.metric)
        context = screen.settled("vectors.upsert", kept)
        notes = [f"items[{index}] {one.note}" for index, one in enumerate(seen) if one.note]
    drafts = collections.draft_all(items)
    with context.writing(target) as branch:
        assert branch is not None
        sealer = context.sealer_of(address)
        kind, txid, _ = context.commit(
            branch,
            lambda c: collections.upsert(c, name, drafts, request.metric, sealer),
            collections.Kind,
        )
    if screen is not None:
        screen.record()
    return Upserted(
        upserted=len(drafts),
        metric=kind.metric,
        dimensions=kind.dimensions,
        txid=txid,
        notes=tuple(notes),
    )


def search(context: Context, target: Target, request: SearchVectors) -> VectorSearch:
    """Find the nearest vectors."""
    collections.check_search(request)
    with context.reading(target) as database:
        if database is None:
            return VectorSearch(hits=(), txid=0)
        sealer = context.sealer_of(target)
        hits, txid, _ = database.read(lambda c: collections.search(c, request, sealer))
    return VectorSearch(hits=hits, txid=txid)


def get(context: Context, target: Target, request: GetVector) -> StoredVector:
    """Read one vector."""
    name = collections.check_collection(request.collection)
    check_id(request.id)
    with context.reading(target) as database:
        if database is not None:
            found, txid, _ = database.read(
                lambda c: collections.get(c, name, request.id, context.sealer_of(target))
            )
            if found is not None:
                embedding, metadata = found
                return StoredVector(
                    id=request.id, embedding=embedding, metadata=metadata, txid=txid
                )
    raise NotFound(f"no vector {request.id!r:.80} in collection {name!r}")


def list_ids(context: Context, target: Target, request: ListVectors) -> VectorPage:
    """Read one page of the ids of a collection."""
    collections.check_list(request)
    with context.reading(target) as database:
        if database is None:
            return VectorPage(ids=(), next_cursor=None, txid=0)
        (found, cursor), txid, _ = database.read(lambda c: collections.list_ids(c, request))
    return VectorPage(ids=found, next_cursor=cursor, txid=txid)


def info(context: Context, target: Target, request: GetVectorCollection) -> VectorCollection:
    """Read what a collection is."""
    name = collections.check_collection(request.collection)
    with context.reading(target) as database:
        if database is None:
            return VectorCollection(name=name, metric=None, dimensions=None, count=0, txid=0)
        found, txid, _ = database.read(lambda c: collections.info(c, name))
    return msgspec.structs.replace(found, txid=txid)


def list_collections(
    context: Context, target: Target, _request: ListVectorCollections
) -> VectorCollections:
    """Read every collection of a profile."""
    with context.reading(target) as database:
        if database is None:
            return VectorCollections(collections=(), txid=0)
        found, txid, _ = database.read(collections.list_collections)
    listed = tuple(msgspec.structs.replace(one, txid=txid) for one in found)
    return VectorCollections(collections=listed, txid=txid)


def delete(context: Context, target: Target, request: DeleteVector) -> DeletedVector:
    """Remove one vector; removing what is not there says so and changes nothing."""
    name = collections.check_collection(request.collection)
    check_id(request.id)
    deleted, txid = False, 0
    with context.writing(target, create=False) as branch:
        if branch is not None:
            deleted, txid, _ = context.commit(
                branch, lambda c: collections.delete(c, name, request.id), bool
            )
    return DeletedVector(collection=name, id=request.id, deleted=deleted, txid=txid)


def drop(
    context: Context, target: Target, request: DropVectorCollection
) -> DroppedVectorCollection:
    """Remove a collection; removing what is not there says so and changes nothing."""
    name = collections.check_collection(request.collection)
    dropped, txid = False, 0
    with context.writing(target, create=False) as branch:
        if branch is not None:
            dropped, txid, _ = context.commit(branch, lambda c: collections.drop(c, name), bool)
    return DroppedVectorCollection(collection=name, dropped=dropped, txid=txid)


def _items(request: UpsertVectors) -> tuple[VectorInput, ...]:
    """Return the vectors of either form of the request."""
    one = (request.id, request.embedding)
    if request.items is not None:
        if one != (None, None) or request.metadata is not None:
            raise Invalid("give either one vector (id, embedding, metadata) or several as items")
        count = len(request.items)
        if not 1 <= count <= BATCH_ITEMS_MAX:
            raise Invalid(
                f"a batch has {count:,} vectors; give 1 to {BATCH_ITEMS_MAX:,}"
                + (", in several batches" if count else ""),
                code="payload_too_large" if count else "invalid_request",
            )
        return request.items
    if request.id is None or request.embedding is None:
        raise Invalid("a vector needs its id and its embedding; or give several as items")
    return (VectorInput(id=request.id, embedding=request.embedding, metadata=request.metadata),)
