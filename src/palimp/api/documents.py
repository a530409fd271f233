"""Collections of documents on the wire."""

from __future__ import annotations

from typing import Any

import msgspec

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import DATABASE, row

__all__ = [
    "ROWS",
    "CountDocuments",
    "CreateDocumentIndex",
    "CreatedDocumentIndex",
    "DeleteDocuments",
    "DeletedDocuments",
    "DocumentCollection",
    "DocumentCollections",
    "DocumentCount",
    "DocumentIndexes",
    "DocumentPage",
    "DropDocumentCollection",
    "DroppedDocumentCollection",
    "FindDocuments",
    "InsertDocuments",
    "InsertedDocuments",
    "ListDocumentCollections",
    "ListDocumentIndexes",
    "UpdateDocuments",
    "UpdatedDocuments",
]


class InsertDocuments(Request, frozen=True, kw_only=True):
    """Write 1 to 1,000 documents in one transaction; the first of a collection makes it.

    A document is a JSON object. Its `_id` is any text of up to 256 bytes, given for good; one
    without gets a ULID.
    """

    collection: str
    docs: tuple[dict[str, Any], ...]


class InsertedDocuments(Result, frozen=True, kw_only=True):
    """The ids of the documents, in order, and the txid that holds them.

    `notes` says what was flagged or redacted.
    """

    ids: tuple[str, ...]
    txid: int
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of the last document."""
        return self.ids[-1]


class FindDocuments(Request, frozen=True, kw_only=True):
    """Read the documents that match a filter, in the order they were inserted or as `sort` says.

    `sort` is an object of paths: 1 for ascending, -1 for descending, the first path first; equal
    documents stand in the order of insertion, newest first where the last path descends. `skip`
    leaves out that many before the first page; `cursor` asks for the page after an earlier one of
    the same filter and sort.
    """

    collection: str
    filter: dict[str, Any] = msgspec.field(default_factory=dict)
    sort: dict[str, int] = msgspec.field(default_factory=dict)
    limit: int = PAGE_DEFAULT
    skip: int = 0
    cursor: str | None = None


class DocumentPage(Result, Sequenced[dict[str, Any]], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last. Large documents make a page shorter."""

    docs: tuple[dict[str, Any], ...]
    next_cursor: str | None
    txid: int

    def _items(self) -> tuple[dict[str, Any], ...]:
        return self.docs


class CountDocuments(Request, frozen=True, kw_only=True):
    """Count the documents that match a filter."""

    collection: str
    filter: dict[str, Any] = msgspec.field(default_factory=dict)


class DocumentCount(Result, frozen=True, kw_only=True):
    """How many documents match."""

    count: int
    txid: int


class UpdateDocuments(Request, frozen=True, kw_only=True):
    """Change the first document that matches, or with `multi` every one, in one transaction.

    `update` is an object of operators, each with an object of paths: `$set`, `$unset`, `$inc`,
    `$push`.
    """

    collection: str
    filter: dict[str, Any]
    update: dict[str, Any]
    multi: bool = False


class UpdatedDocuments(Result, frozen=True, kw_only=True):
    """How many documents matched, and how many are now different.

    `note` says what was flagged or redacted in the update.
    """

    matched: int
    modified: int
    txid: int
    note: str | None = None


class DeleteDocuments(Request, frozen=True, kw_only=True):
    """Remove the first document that matches, or with `multi` every one, in one transaction."""

    collection: str
    filter: dict[str, Any]
    multi: bool = False


class DeletedDocuments(Result, frozen=True, kw_only=True):
    """How many documents were removed."""

    deleted: int
    txid: int


class CreateDocumentIndex(Request, frozen=True, kw_only=True):
    """Make filters and sorts on a path fast; an index holds every document, also earlier ones."""

    collection: str
    path: str


class CreatedDocumentIndex(Result, frozen=True, kw_only=True):
    """`created` is False where the path had an index already."""

    path: str
    created: bool
    txid: int


class ListDocumentIndexes(Request, frozen=True, kw_only=True):
    """Read which paths of a collection have an index."""

    collection: str


class DocumentIndexes(Result, Sequenced[str], frozen=True, kw_only=True):
    """The paths that have an index, in order; `_id` always has one and is not named."""

    paths: tuple[str, ...]
    txid: int

    def _items(self) -> tuple[str, ...]:
        return self.paths


class ListDocumentCollections(Request, frozen=True, kw_only=True):
    """Read the collections of a profile."""


class DocumentCollection(Result, frozen=True, kw_only=True):
    """One collection and how many documents it holds."""

    name: str
    count: int


class DocumentCollections(Result, Sequenced[DocumentCollection], frozen=True, kw_only=True):
    """Every collection of a profile, by name."""

    collections: tuple[DocumentCollection, ...]
    txid: int

    def _items(self) -> tuple[DocumentCollection, ...]:
        return self.collections


class DropDocumentCollection(Request, frozen=True, kw_only=True):
    """Remove a collection with its documents and indexes."""

    collection: str


class DroppedDocumentCollection(Result, frozen=True, kw_only=True):
    """`dropped` is False where there was no such collection."""

    collection: str
    dropped: bool
    txid: int

    def missing(self) -> str | None:
        """Return what was not there."""
        return None if self.dropped else f"no collection {self.collection!r:.80} of documents"


_COLLECTIONS = DATABASE + "/docs"
_COLLECTION = _COLLECTIONS + "/{collection}"

ROWS = (
    row(
        "documents.insert",
        f"POST {_COLLECTION}/insert",
        InsertDocuments,
        InsertedDocuments,
        "write writes",
        "Write documents in one transaction.",
    ),
    row(
        "documents.find",
        f"POST {_COLLECTION}/find",
        FindDocuments,
        DocumentPage,
        "read",
        "Read the documents that match a filter, page by page.",
    ),
    row(
        "documents.count",
        f"POST {_COLLECTION}/count",
        CountDocuments,
        DocumentCount,
        "read",
        "Count the documents that match a filter.",
    ),
    row(
        "documents.update",
        f"POST {_COLLECTION}/update",
        UpdateDocuments,
        UpdatedDocuments,
        "write writes",
        "Change one document that matches a filter, or every one.",
    ),
    row(
        "documents.delete",
        f"POST {_COLLECTION}/delete",
        DeleteDocuments,
        DeletedDocuments,
        "write writes",
        "Remove one document that matches a filter, or every one.",
    ),
    row(
        "documents.index",
        f"POST {_COLLECTION}/indexes",
        CreateDocumentIndex,
        CreatedDocumentIndex,
        "write writes idempotent",
        "Make an index on a path of a collection.",
    ),
    row(
        "documents.indexes",
        f"GET {_COLLECTION}/indexes",
        ListDocumentIndexes,
        DocumentIndexes,
        "read",
        "Read which paths of a collection have an index.",
    ),
    row(
        "documents.collections",
        f"GET {_COLLECTIONS}",
        ListDocumentCollections,
        DocumentCollections,
        "read",
        "Read the collections of documents of a profile.",
    ),
    row(
        "documents.drop",
        f"DELETE {_COLLECTION}",
        DropDocumentCollection,
        DroppedDocumentCollection,
        "write writes idempotent 204",
        "Remove a collection with its documents and indexes.",
    ),
)
