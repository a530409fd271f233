"""`palimp memory relate`, `relations`, `entities` and so on: what memories have in common."""

from __future__ import annotations

from typing import Any

import click

from ..api.limits import PAGE_DEFAULT
from .common import (
    Place,
    at_option,
    echo_json,
    echo_txid,
    given,
    json_value,
    place_options,
    profile_argument,
)

__all__ = ["COMMANDS"]

_ORIGIN = click.option(
    "--origin",
    type=click.Choice(("given", "model", "rule")),
    default="given",
    show_default=True,
    help="Who says so.",
)


@click.command("relate")
@profile_argument
@click.argument("source")
@click.argument("target")
@click.option("--type", default="association", show_default=True, help="Free word: causal, ...")
@click.option("--weight", type=float, default=1.0, show_default=True, help="0 to 1.")
@click.option("--metadata", callback=json_value, help='A JSON object: \'{"said_by": "Anna"}\'.')
@_ORIGIN
@place_options
def relate(
    place: Place, profile: str, source: str, target: str, origin: str, **fields: Any
) -> None:
    """Relate memory SOURCE to memory TARGET; said again, what is said now replaces what was.

    \b
    palimp memory relate alice mem_1... mem_2... --type causal --weight 0.8
    """
    with place.profile(profile) as store:
        done = store.relations.add(source, target, **given(fields), origin=origin)  # type: ignore[arg-type]
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo("added" if done.added else "updated")


@click.command("unrelate")
@profile_argument
@click.argument("source")
@click.argument("target")
@click.option("--type", help="Only relations of this type.")
@place_options
def unrelate(place: Place, profile: str, source: str, target: str, type: str | None) -> None:
    """Remove what relates memory SOURCE to memory TARGET."""
    with place.profile(profile) as store:
        done = store.relations.remove(source, target, type=type)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{done.removed} removed")


@click.command("relations")
@profile_argument
@click.argument("id", required=False)
@click.option("--type", help="Only relations of this type.")
@at_option
@place_options
def relations(place: Place, profile: str, id: str | None, type: str | None, at: str | None) -> None:
    """List relations: all, or those from and to memory ID."""
    with place.reading(profile, at) as store:
        found = list(store.relations.list(id, type=type))
    if place.as_json:
        echo_json(list(found))
        return
    for one in found:
        click.echo(f"{one.source}  {one.type} {one.weight:.2f}  {one.target}  ({one.origin})")


@click.command("entities")
@profile_argument
@click.argument("id", required=False)
@click.option("--type", help="Only entities of this type: person, project, ...")
@click.option("--name", help="Only this one, however it is spelled.")
@at_option
@place_options
def entities(
    place: Place, profile: str, id: str | None, type: str | None, name: str | None, at: str | None
) -> None:
    """List what memories name: all of it, or what memory ID names."""
    with place.reading(profile, at) as store:
        found = list(store.relations.entities(id, type=type, name=name))
    if place.as_json:
        echo_json(list(found))
        return
    for one in found:
        click.echo(f"{one.name}  ({one.type})  in {one.memories:,}")


@click.command("link")
@profile_argument
@click.argument("id")
@click.argument("names", nargs=-1, required=True)
@click.option("--type", help="What they are: person, project, ... [default: concept]")
@_ORIGIN
@place_options
def link(
    place: Place, profile: str, id: str, names: tuple[str, ...], type: str | None, origin: str
) -> None:
    """Link memory ID with what it names.

    \b
    palimp memory link alice mem_1... Anna Bob --type person
    """
    with place.profile(profile) as store:
        named = [given({"name": name, "type": type}) for name in names]
        done = store.relations.link(id, *named, origin=origin)  # type: ignore[arg-type]
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{done.links} linked, {done.created} of them new names")


@click.command("unlinked")
@profile_argument
@click.option("--limit", type=int, default=PAGE_DEFAULT, show_default=True, help="At most so many.")
@click.option("--cursor", help="From where on: what the page before has said.")
@at_option
@place_options
def unlinked(place: Place, profile: str, limit: int, cursor: str | None, at: str | None) -> None:
    """Show active memories that are linked with nothing, oldest first."""
    with place.reading(profile, at) as store:
        page = store.relations.unlinked(limit=limit, cursor=cursor)
    if place.as_json:
        echo_json(page)
        return
    for memory in page:
        click.echo(f"{memory.id}  {memory.text}")
    click.echo(f"{page.count:,} altogether", err=True)
    if page.next_cursor is not None:
        click.echo(f"more: --cursor {page.next_cursor}", err=True)


COMMANDS = (relate, unrelate, relations, link, entities, unlinked)
