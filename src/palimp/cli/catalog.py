"""`palimp catalog`, and the usage of databases and namespaces that it keeps."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ..api import DatabasePage, ListDatabases, Target
from ..api.limits import PAGE_MAX
from ..api.usage import DatabaseUsage, NamespaceUsage, ReadUsage
from ..catalog import Indexed, default_url, open_catalog, rebuild
from ..client import Client
from ..clock import Clock
from ..errors import Invalid, Unconfigured
from ..ids import parse_database_name
from ..node import load_settings
from .common import Place, echo_json, given, object_store_option, place_options

__all__ = ["command", "database_usage", "namespace_usage"]

_from = click.option("--from", "first", metavar="DAY", help="First day, as 2026-03-02 (UTC).")
_to = click.option("--to", "last", metavar="DAY", help="Last day. [default: today]")


@click.group("catalog")
def command() -> None:
    """The operator's indexes: which databases there are, and what is used of them."""


@command.command("rebuild")
@object_store_option
@place_options
def rebuild_(place: Place) -> None:
    """Make the index of databases, keys and records again from the object store, while nodes go on.

    \b
    palimp catalog rebuild
    PALIMP_CATALOG_URL=postgresql://user@host/palimp palimp catalog rebuild --url http://node:8080

    The index is that of PALIMP_CATALOG_URL, else `catalog.db` in the folder; the keys and records
    of other systems' clients are made again in the node's own. Usage by day is nowhere else: it
    stays as it is.
    """
    index = open_catalog(_url(place), Clock())
    try:
        # Before a long list is read: a catalog that is down is told at once.
        index.prepare()
        with place.with_catalog().client() as mem:
            index.bind(mem.node().store_id)
            made = rebuild(index, _pages(mem), _progress)
            kept = _recover(mem)
    finally:
        index.close()
    if place.as_json:
        echo_json({**made._asdict(), **kept, "catalog": index.name})
        return
    click.echo(f"{made.databases:,} databases indexed in {index.name}, {made.removed} removed")
    if kept:
        entries, removed = kept["entries"], kept["entries_removed"]
        click.echo(f"{entries:,} keys and records of clients made again, {removed} removed")
    else:
        click.echo(
            "keys and records of clients are left: the folder is open in a process, and that "
            "process has no catalog; whoever opens it with an empty one has them again"
        )


@click.command("usage")
@click.argument("name")
@_from
@_to
@place_options
def database_usage(place: Place, name: str, first: str | None, last: str | None) -> None:
    """Show what was used of database NAME (NAMESPACE--PROFILE), by day.

    \b
    palimp db usage acme--alice --from 2026-03-01
    """
    target = Target(*parse_database_name(name))
    with place.client() as mem:
        _show(place, mem.call("usage.database", target, ReadUsage(from_=first, to=last)))


@click.command("usage")
@click.argument("name")
@_from
@_to
@place_options
def namespace_usage(place: Place, name: str, first: str | None, last: str | None) -> None:
    """Show what was used of all databases of namespace NAME, by day.

    \b
    palimp namespace usage acme --json
    """
    with place.client() as mem:
        _show(place, mem.call("usage.namespace", Target(name), ReadUsage(from_=first, to=last)))


def _url(place: Place) -> str:
    settings = load_settings(given({"data_dir": place.data}))
    if settings.catalog_url is not None:
        return settings.catalog_url
    if place.url is not None:
        raise Invalid("set PALIMP_CATALOG_URL to the catalog of that node: only its list is asked")
    url = default_url(Path(settings.data_dir))
    if url is None:
        raise Unconfigured(
            "a catalog needs the extra `server`; install it with: pip install 'palimp[server]'"
        )
    return url


def _pages(mem: Client) -> Iterator[list[Indexed]]:
    cursor = None
    while True:
        request = ListDatabases(limit=PAGE_MAX, cursor=cursor)
        page: DatabasePage = mem.call("databases.list", Target(), request)
        yield [
            Indexed(*parse_database_name(one.name), one.uuid, one.created_at)
            for one in page.databases
        ]
        cursor = page.next_cursor
        if cursor is None:
            return


def _recover(mem: Client) -> dict[str, int]:
    """Make keys and records again; return how many entries were read, and how many removed.

    Nothing where the node has no catalog.
    """
    entries = removed = 0
    try:
        for step in mem.recover_catalog():
            entries, removed = entries + step.entries, removed + step.removed
            if sys.stderr.isatty():
                click.echo(f"\r{entries:,} keys and records", nl=False, err=True)
    except Unconfigured:
        return {}
    return {"entries": entries, "entries_removed": removed}


def _progress(done: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done:,} databases", nl=False, err=True)


def _show(place: Place, found: DatabaseUsage | NamespaceUsage) -> None:
    if place.as_json:
        echo_json(found)
        return
    click.echo(
        f"{'day':10} {'bytes':>15} {'memories':>10} {'branches':>8} {'writes':>10} {'recalls':>10} "
        f"{'tokens':>12}"
    )
    for one in found:
        click.echo(
            f"{one.day} {one.bytes:>15,} {one.memories:>10,} {one.branches:>8,} "
            f"{one.writes:>10,} {one.recalls:>10,} {one.model_tokens:>12,}"
        )
