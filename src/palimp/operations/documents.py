"""Documents: insert, find, count, update, delete; indexes and collections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import apsw
import msgspec

from ..api import (
    CountDocuments,
    CreatedDocumentIndex,
    CreateDocumentIndex,
    DeletedDocuments,
    DeleteDocuments,
    DocumentCollections,
    DocumentCount,
    DocumentIndexes,
    DocumentPage,
    DropDocumentCollection,
    DroppedDocumentCollection,
    FindDocuments,
    InsertDocuments,
    InsertedDocuments,
    ListDocumentCollections,
    ListDocumentIndexes,
    Target,
    UpdatedDocuments,
    UpdateDocuments,
)
from ..profile import documents
from .context import Context

__all__ = [
    "collections",
    "count",
    "create_index",
    "delete",
    "drop",
    "find",
    "indexes",
    "insert",
    "update",
]


T = TypeVar("T")


def insert(context: Context, target: Target, request: InsertDocuments) -> InsertedDocuments:
    """Write documents in one transaction; everything is checked before anything is touched."""
    documents.check_collection(request.collection)
    screen, notes = context.screen(context.address(target)), []
    if screen is not None:
        seen = screen.each(screen.document, request.docs, "docs")
        request = msgspec.structs.replace(request, docs=tuple(one.item for one in seen))
        context = screen.settled("documents.insert", request)
        notes = [f"docs[{index}] {one.note}" for index, one in enumerate(seen) if one.note]
    drafts = documents.draft(request.docs)
    now_ms = context.clock.now_ms()
    with context.writing(target) as branch:
        assert branch is not None
        ids, txid, _ = context.commit(
            branch, lambda c: documents.insert(c, request.collection, drafts, now_ms), list[str]
        )
    if screen is not None:
        screen.record()
    return InsertedDocuments(ids=tuple(ids), txid=txid, notes=tuple(notes))


def find(context: Context, target: Target, request: FindDocuments) -> DocumentPage:
    """Read one page."""
    documents.check_find(request)
    with context.reading(target) as database:
        if database is None:
            documents.check_filter(request.filter)
            return DocumentPage(docs=(), next_cursor=None, txid=0)
        (docs, cursor), txid, _ = database.read(
            _in_time(context, lambda c: documents.find(c, request))
        )
    return DocumentPage(docs=docs, next_cursor=cursor, txid=txid)


def count(context: Context, target: Target, request: CountDocuments) -> DocumentCount:
    """Count what matches."""
    documents.check_collection(request.collection)
    with context.reading(target) as database:
        if database is None:
            documents.check_filter(request.filter)
            return DocumentCount(count=0, txid=0)
        found, txid, _ = database.read(
            _in_time(context, lambda c: documents.count(c, request.collection, request.filter))
        )
    return DocumentCount(count=found, txid=txid)


def update(context: Context, target: Target, request: UpdateDocuments) -> UpdatedDocuments:
    """Change one document, or every one, that matches."""
    documents.check_collection(request.collection)
    screen, note = context.screen(context.address(target)), None
    if screen is not None:
        update, _, note = screen.update(request.update)
        request = msgspec.structs.replace(request, update=update)
        context = screen.settled("documents.update", request)
    changes = documents.compile_update(request.update)
    with context.writing(target, create=False) as branch:
        if branch is None:
            documents.check_filter(request.filter)
            return UpdatedDocuments(matched=0, modified=0, txid=0)
        work = _in_time(context, lambda c: documents.update(c, request, changes))
        (matched, modified), txid, _ = context.commit(branch, work, tuple[int, int])
    if screen is not None and matched:
        screen.record()
    return UpdatedDocuments(matched=matched, modified=modified, txid=txid, note=note)


def delete(context: Context, target: Target, request: DeleteDocuments) -> DeletedDocuments:
    """Remove one document, or every one, that matches."""
    documents.check_collection(request.collection)
    with context.writing(target, create=False) as branch:
        if branch is None:
            documents.check_filter(request.filter)
            return DeletedDocuments(deleted=0, txid=0)
        work = _in_time(context, lambda c: documents.delete(c, request))
        deleted, txid, _ = context.commit(branch, work, int)
    return DeletedDocuments(deleted=deleted, txid=txid)


def create_index(
    context: Context, target: Target, request: CreateDocumentIndex
) -> CreatedDocumentIndex:
    """Make an index; where there is one already it says so."""
    documents.check_collection(request.collection)
    path = documents.parse_path(request.path)
    with context.writing(target) as branch:
        assert branch is not None
        created, txid, _ = context.commit(
            branch, lambda c: documents.create_index(c, request.collection, path), bool
        )
    return CreatedDocumentIndex(path=path.text, created=created, txid=txid)


def indexes(context: Context, target: Target, request: ListDocumentIndexes) -> DocumentIndexes:
    """Read which paths have an index."""
    documents.check_collection(request.collection)
    with context.reading(target) as database:
        if database is None:
            return DocumentIndexes(paths=(), txid=0)
        paths, txid, _ = database.read(lambda c: documents.indexed_paths(c, request.collection))
    return DocumentIndexes(paths=paths, txid=txid)


def collections(
    context: Context, target: Target, _request: ListDocumentCollections
) -> DocumentCollections:
    """Read every collection."""
    with context.reading(target) as database:
        if database is None:
            return DocumentCollections(collections=(), txid=0)
        found, txid, _ = database.read(documents.list_collections)
    return DocumentCollections(collections=found, txid=txid)


def drop(
    context: Context, target: Target, request: DropDocumentCollection
) -> DroppedDocumentCollection:
    """Remove a collection; removing what is not there says so and changes nothing."""
    documents.check_collection(request.collection)
    dropped, txid = False, 0
    with context.writing(target, create=False) as branch:
        if branch is not None:
            dropped, txid, _ = context.commit(
                branch, lambda c: documents.drop(c, request.collection), bool
            )
    return DroppedDocumentCollection(collection=request.collection, dropped=dropped, txid=txid)


def _in_time(
    context: Context, work: Callable[[apsw.Connection], T]
) -> Callable[[apsw.Connection], T]:
    def bounded(connection: apsw.Connection) -> T:
        with documents.bounded(connection, context.clock.monotonic):
            return work(connection)

    return bounded
