"""Collections of documents of a profile."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from ...api import (
    NO_OPTIONS,
    CountDocuments,
    CreatedDocumentIndex,
    CreateDocumentIndex,
    DeletedDocuments,
    DeleteDocuments,
    DocumentCount,
    DocumentIndexes,
    DocumentPage,
    DropDocumentCollection,
    DroppedDocumentCollection,
    Durability,
    FindDocuments,
    InsertDocuments,
    InsertedDocuments,
    ListDocumentIndexes,
    Options,
    UpdatedDocuments,
    UpdateDocuments,
    to_request,
)
from ...api.limits import PAGE_MAX
from ..fields import ReadFields
from ..inputs import documents, options, reading

if TYPE_CHECKING:
    from .past import AsyncReading

__all__ = ["AsyncDocuments", "AsyncDocumentsReading"]


class AsyncDocumentsReading:
    """What can be read of one collection, as it is or as it was; a value, nothing is open.

    A filter is a mapping of paths to values or operators, `{"seat.row": {"$gte": 12}}`; without one
    every document matches. A collection that was never written to has none.
    """

    __slots__ = ("name", "profile")

    def __init__(self, profile: AsyncReading, name: str) -> None:
        self.profile = profile
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.profile!r}>"

    async def find(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        sort: Mapping[str, int] | None = None,
        limit: int | None = None,
        skip: int = 0,
        **how: Unpack[ReadFields],
    ) -> AsyncIterator[dict[str, Any]]:
        """Iterate over the documents that match, page by page, at most `limit` in all.

        They come in the order they were inserted, or as `sort` says: `{"seat.row": -1, "name": 1}`.
        What is written meanwhile may or may not be among them.
        """
        fields = {"filter": filter or {}, "sort": sort or {}, "skip": skip, "collection": self.name}
        left = sys.maxsize if limit is None else limit
        request = to_request(FindDocuments, {**fields, "limit": left}, "find")
        while True:
            request = msgspec.structs.replace(request, limit=min(left, PAGE_MAX))
            page: DocumentPage = await self._call("documents.find", request, reading(how))
            for document in page.docs:
                yield document
            left -= len(page.docs)
            if page.next_cursor is None or not left:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor, skip=0)

    async def find_one(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        sort: Mapping[str, int] | None = None,
        **how: Unpack[ReadFields],
    ) -> dict[str, Any] | None:
        """Return the first document that matches; None where none does."""
        fields = {"filter": filter or {}, "sort": sort or {}, "limit": 1, "collection": self.name}
        request = to_request(FindDocuments, fields, "find_one")
        page: DocumentPage = await self._call("documents.find", request, reading(how))
        return page.docs[0] if page.docs else None

    async def count(
        self, filter: Mapping[str, Any] | None = None, **how: Unpack[ReadFields]
    ) -> int:
        """Return how many documents match."""
        fields = {"collection": self.name, "filter": filter or {}}
        request = to_request(CountDocuments, fields, "count")
        found: DocumentCount = await self._call("documents.count", request, reading(how))
        return found.count

    async def indexes(self) -> tuple[str, ...]:
        """Return the paths that have an index, in order; `_id` always has one."""
        request = to_request(ListDocumentIndexes, {"collection": self.name}, "indexes")
        found: DocumentIndexes = await self._call("documents.indexes", request)
        return found.paths

    async def _call(self, operation: str, request: Any, how: Options = NO_OPTIONS) -> Any:
        return await self.profile.client.call(operation, self.profile.target, request, how)


class AsyncDocuments(AsyncDocumentsReading):
    """One collection of documents: a value that holds nothing open.

    Writes take `durability=` and `request_id=` as those of the profile do.
    """

    __slots__ = ()

    async def insert(
        self,
        docs: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> InsertedDocuments:
        """Write one document, or 1 to 1,000 in one transaction: all of them, or none and an error.

        A document without `_id` gets one that sorts by time; they are in `.ids`. Raises `Conflict`
        where an `_id` is taken. An error names the document (`details["index"]`).
        """
        fields = {"collection": self.name, "docs": documents(docs)}
        request = to_request(InsertDocuments, fields, "insert")
        how = options(durability, request_id)
        done: InsertedDocuments = await self._call("documents.insert", request, how)
        return done

    async def update(
        self,
        filter: Mapping[str, Any],
        update: Mapping[str, Any],
        *,
        multi: bool = False,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> UpdatedDocuments:
        """Change the first document that matches, or with `multi` every one, in one transaction.

        `update` has operators, `{"$set": {"seat.row": 12}, "$inc": {"changes": 1}}`: `$set`,
        `$unset`, `$inc`, `$push`. Raises `Invalid` where one does not fit a document, and then
        nothing was changed.
        """
        fields = {"collection": self.name, "filter": filter, "update": update, "multi": multi}
        request = to_request(UpdateDocuments, fields, "update")
        how = options(durability, request_id)
        done: UpdatedDocuments = await self._call("documents.update", request, how)
        return done

    async def delete(
        self,
        filter: Mapping[str, Any],
        *,
        multi: bool = False,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> int:
        """Remove the first document that matches, or with `multi` every one; return how many."""
        fields = {"collection": self.name, "filter": filter, "multi": multi}
        request = to_request(DeleteDocuments, fields, "delete")
        how = options(durability, request_id)
        done: DeletedDocuments = await self._call("documents.delete", request, how)
        return done.deleted

    async def create_index(
        self, path: str, *, durability: Durability | None = None, request_id: str | None = None
    ) -> bool:
        """Make filters and sorts on a path fast, also of earlier documents; False if they are."""
        request = to_request(CreateDocumentIndex, {"collection": self.name, "path": path}, "index")
        how = options(durability, request_id)
        done: CreatedDocumentIndex = await self._call("documents.index", request, how)
        return done.created

    async def drop(
        self, *, durability: Durability | None = None, request_id: str | None = None
    ) -> bool:
        """Remove the collection with its documents and indexes; False where there was none."""
        request = to_request(DropDocumentCollection, {"collection": self.name}, "drop")
        how = options(durability, request_id)
        done: DroppedDocumentCollection = await self._call("documents.drop", request, how)
        return done.dropped
