"""`palimp docs`: collections of documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import click

from ..api import (
    CreatedDocumentIndex,
    CreateDocumentIndex,
    DeletedDocuments,
    DeleteDocuments,
    DropDocumentCollection,
    DroppedDocumentCollection,
    InsertedDocuments,
    to_request,
)
from ..api.limits import BATCH_ITEMS_MAX
from ..errors import Invalid
from .common import (
    Place,
    at_option,
    echo_json,
    echo_txid,
    json_lines,
    parse_json,
    place_options,
    profile_argument,
)

_collection_argument = click.argument("collection")
_filter_argument = click.argument("filter")
_optional_filter = click.argument("filter", default="{}")
_multi_option = click.option("--multi", is_flag=True, help="Every one that matches, not the first.")


@click.group("docs")
def command() -> None:
    """Write, find and change documents; documents, filters and updates are JSON objects."""


@command.command("insert")
@profile_argument
@_collection_argument
@click.argument("document", required=False)
@click.option("--file", type=click.File(), help="JSON lines, one document a line; - for stdin.")
@place_options
def insert(
    place: Place, profile: str, collection: str, document: str | None, file: IO[str] | None
) -> None:
    """Write a document, or those of a file, 1,000 in a transaction, and print their ids.

    \b
    palimp docs insert alice trips '{"to": "Oslo", "seat": {"row": 12}}'
    """
    if (document is None) == (file is None):
        raise Invalid("give a DOCUMENT or a --file, one of the two")
    ids: list[str] = []
    txid = 0
    with place.profile(profile) as store:
        for batch in [[parse_json(document or "")]] if file is None else _batches(file):
            done = store.documents(collection).insert(batch)
            ids += done.ids
            txid = done.txid
    echo_txid(txid)
    if place.as_json:
        echo_json(InsertedDocuments(ids=tuple(ids), txid=txid))
        return
    for identity in ids:
        click.echo(identity)


@command.command("find")
@profile_argument
@_collection_argument
@_optional_filter
@click.option("--sort", multiple=True, help="A path, or -path for the greatest first; repeatable.")
@click.option("--limit", type=int, help="At most so many. [default: all]")
@click.option("--skip", type=int, default=0, help="Leave out so many of the first.")
@at_option
@place_options
def find(
    place: Place,
    profile: str,
    collection: str,
    filter: str,
    sort: tuple[str, ...],
    limit: int | None,
    skip: int,
    at: str | None,
) -> None:
    """Print the documents that match, one a line.

    \b
    palimp docs find alice trips '{"seat.row": {"$gte": 10}}' --sort -seat.row
    """
    order = {path.removeprefix("-"): -1 if path.startswith("-") else 1 for path in sort}
    with place.reading(profile, at) as store:
        found = store.documents(collection).find(
            parse_json(filter), sort=order, limit=limit, skip=skip
        )
        if place.as_json:
            echo_json({"docs": list(found)})
            return
        for document in found:
            click.echo(json.dumps(document, ensure_ascii=False))


@command.command("count")
@profile_argument
@_collection_argument
@_optional_filter
@at_option
@place_options
def count(place: Place, profile: str, collection: str, filter: str, at: str | None) -> None:
    """Count the documents that match."""
    with place.reading(profile, at) as store:
        found = store.documents(collection).count(parse_json(filter))
    if place.as_json:
        echo_json({"count": found})
        return
    click.echo(found)


@command.command("update")
@profile_argument
@_collection_argument
@_filter_argument
@click.argument("update")
@_multi_option
@place_options
def update(
    place: Place, profile: str, collection: str, filter: str, update: str, multi: bool
) -> None:
    """Change the first document that matches, or with --multi every one.

    \b
    palimp docs update alice trips '{"to": "Oslo"}' '{"$set": {"seat.row": 14}}'
    """
    with place.profile(profile) as store:
        done = store.documents(collection).update(
            parse_json(filter), parse_json(update), multi=multi
        )
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{done.matched} matched, {done.modified} changed")


@command.command("delete")
@profile_argument
@_collection_argument
@_filter_argument
@_multi_option
@place_options
def delete(place: Place, profile: str, collection: str, filter: str, multi: bool) -> None:
    """Remove the first document that matches, or with --multi every one."""
    fields = {"collection": collection, "filter": parse_json(filter), "multi": multi}
    request = to_request(DeleteDocuments, fields, "delete")
    with place.profile(profile) as store:
        # The client's method answers with a number; here the txid is wanted too.
        done: DeletedDocuments = store.client.call("documents.delete", store.target, request)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{done.deleted} removed")


@command.command("index")
@profile_argument
@_collection_argument
@click.argument("path")
@place_options
def index(place: Place, profile: str, collection: str, path: str) -> None:
    """Make filters and sorts on a path fast.

    \b
    palimp docs index alice trips seat.row
    """
    request = CreateDocumentIndex(collection=collection, path=path)
    with place.profile(profile) as store:
        done: CreatedDocumentIndex = store.client.call("documents.index", store.target, request)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{done.path} {'is indexed' if done.created else 'was indexed already'}")


@command.command("indexes")
@profile_argument
@_collection_argument
@at_option
@place_options
def indexes(place: Place, profile: str, collection: str, at: str | None) -> None:
    """List the paths that have an index."""
    with place.reading(profile, at) as store:
        paths = store.documents(collection).indexes()
    if place.as_json:
        echo_json({"paths": list(paths)})
        return
    for path in paths:
        click.echo(path)


@command.command("list")
@profile_argument
@at_option
@place_options
def list_(place: Place, profile: str, at: str | None) -> None:
    """List the collections of a profile."""
    with place.reading(profile, at) as store:
        found = store.document_collections()
    if place.as_json:
        echo_json(found)
        return
    for collection in found:
        click.echo(f"{collection.name}  {collection.count} documents")


@command.command("drop")
@profile_argument
@_collection_argument
@place_options
def drop(place: Place, profile: str, collection: str) -> None:
    """Remove a collection with its documents and indexes."""
    request = DropDocumentCollection(collection=collection)
    with place.profile(profile) as store:
        done: DroppedDocumentCollection = store.client.call("documents.drop", store.target, request)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{collection} is removed" if done.dropped else f"there was no {collection}")


def _batches(file: IO[str]) -> Iterator[list[Any]]:
    """Yield the documents of a file in batches; raises `Invalid` naming a line that is not JSON."""
    batch: list[Any] = []
    for _, value in json_lines(file):
        if isinstance(value, Invalid):
            raise value
        batch.append(value)
        if len(batch) == BATCH_ITEMS_MAX:
            yield batch
            batch = []
    if batch:
        yield batch
