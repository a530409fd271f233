"""`palimp vectors`: collections of vectors."""

from __future__ import annotations

from typing import Any, get_args

import click

from ..api import (
    DeletedVector,
    DeleteVector,
    DroppedVectorCollection,
    DropVectorCollection,
    Metric,
    VectorCollection,
)
from ..api.vectors import VECTOR_K_DEFAULT
from .common import (
    Place,
    at_option,
    echo_json,
    echo_txid,
    parse_json,
    place_options,
    profile_argument,
)

_collection_argument = click.argument("collection")
_id_argument = click.argument("id")


@click.group("vectors")
def command() -> None:
    """Write, search and read collections of vectors; a vector is a JSON list of numbers."""


@command.command("upsert")
@profile_argument
@_collection_argument
@_id_argument
@click.argument("vector")
@click.option("--metadata", help="A JSON object that is kept with it.")
@click.option(
    "--metric",
    type=click.Choice(get_args(Metric)),
    help="How the collection compares, said with its first vector. [default: cosine]",
)
@place_options
def upsert(
    place: Place,
    profile: str,
    collection: str,
    id: str,
    vector: str,
    metadata: str | None,
    metric: Metric | None,
) -> None:
    """Write a vector, in the place of what ID held before.

    \b
    palimp vectors upsert alice docs intro "[0.1, 0.9]" --metadata '{"lang": "en"}'
    """
    known = None if metadata is None else parse_json(metadata)
    with place.profile(profile) as store:
        done = store.vectors(collection).upsert(
            id, parse_json(vector), metadata=known, metric=metric
        )
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{id} is written")


@command.command("search")
@profile_argument
@_collection_argument
@click.argument("vector")
@click.option("-k", type=int, default=VECTOR_K_DEFAULT, show_default=True, help="How many.")
@click.option("--filter", help="A JSON object: only what has just these values as metadata.")
@at_option
@place_options
def search(
    place: Place, profile: str, collection: str, vector: str, at: str | None, **more: Any
) -> None:
    """Show the nearest vectors, the nearest first.

    \b
    palimp vectors search alice docs "[0.2, 0.8]" --filter '{"lang": "en"}'
    """
    if more["filter"] is not None:
        more["filter"] = parse_json(more["filter"])
    with place.reading(profile, at) as store:
        found = store.vectors(collection).search(parse_json(vector), **more)
    if place.as_json:
        echo_json(found)
        return
    for hit in found:
        click.echo(f"{hit.distance:.4f}  {hit.id}")


@command.command("get")
@profile_argument
@_collection_argument
@_id_argument
@at_option
@place_options
def get(place: Place, profile: str, collection: str, id: str, at: str | None) -> None:
    """Print a vector and its metadata."""
    with place.reading(profile, at) as store:
        found = store.vectors(collection).get(id)
    if place.as_json:
        echo_json(found)
        return
    click.echo(f"{len(found.embedding)} dimensions: {list(found.embedding)}")
    if found.metadata is not None:
        click.echo(f"metadata: {found.metadata}")


@command.command("list")
@profile_argument
@_collection_argument
@at_option
@place_options
def list_(place: Place, profile: str, collection: str, at: str | None) -> None:
    """List the ids of a collection."""
    with place.reading(profile, at) as store:
        ids = list(store.vectors(collection).ids())
    if place.as_json:
        echo_json({"ids": ids})
        return
    for identity in ids:
        click.echo(identity)


@command.command("info")
@profile_argument
@_collection_argument
@at_option
@place_options
def info(place: Place, profile: str, collection: str, at: str | None) -> None:
    """Say what a collection is and how many vectors it has."""
    with place.reading(profile, at) as store:
        found = store.vectors(collection).info()
    if place.as_json:
        echo_json(found)
        return
    _print_collection(found)


@command.command("collections")
@profile_argument
@at_option
@place_options
def collections(place: Place, profile: str, at: str | None) -> None:
    """List the collections of a profile."""
    with place.reading(profile, at) as store:
        found = store.vector_collections()
    if place.as_json:
        echo_json(found)
        return
    for one in found:
        _print_collection(one)


@command.command("delete")
@profile_argument
@_collection_argument
@_id_argument
@place_options
def delete(place: Place, profile: str, collection: str, id: str) -> None:
    """Remove a vector."""
    request = DeleteVector(collection=collection, id=id)
    with place.profile(profile) as store:
        # The client's method answers yes or no; here the txid is wanted too.
        done: DeletedVector = store.client.call("vectors.delete", store.target, request)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{id} is removed" if done.deleted else f"there was no vector {id}")


@command.command("drop")
@profile_argument
@_collection_argument
@place_options
def drop(place: Place, profile: str, collection: str) -> None:
    """Remove a collection with all its vectors."""
    request = DropVectorCollection(collection=collection)
    with place.profile(profile) as store:
        done: DroppedVectorCollection = store.client.call("vectors.drop", store.target, request)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{collection} is removed" if done.dropped else f"there was no {collection}")


def _print_collection(one: VectorCollection) -> None:
    kind = f", {one.dimensions} dimensions, {one.metric}" if one.metric else ""
    click.echo(f"{one.name}: {one.count} vectors{kind}")
