"""`palimp org`: tenants of other systems, whose keys and memories are apart from all others'."""

from __future__ import annotations

from typing import Literal

import click

from ..api.arcs import MEASUREMENT_DEFAULT
from ..errors import Invalid
from . import organisations
from .common import Place, echo_json, store_options, when

_MEMTRACE = "memtrace"
# Of which there are tenants.
_DIALECTS = ("memorysync", _MEMTRACE)
_name_argument = click.argument("name")
_org_argument = click.argument("org")


@click.group("org")
@click.option("--dialect", default=_MEMTRACE, show_default=True, help="Whose clients they are for.")
@click.pass_context
def command(context: click.Context, dialect: str) -> None:
    """Tenants of other systems, whose keys and memories are apart from all others'.

    Those of Memtrace are organisations. They are noted in the catalog. It needs the platform key,
    where a node asks for one. Keys for a tenant: palimp key.

    \b
    palimp org create "Acme Corp"
    palimp org --dialect memorysync create acme
    """
    if dialect not in _DIALECTS:
        raise Invalid(
            f"there are no tenants of dialect {dialect!r:.80} here; give --dialect "
            f"{' or '.join(_DIALECTS)}"
        )
    context.obj = dialect


@command.command("create")
@_name_argument
@click.option(
    "--store",
    type=click.Choice(("profile", "arc")),
    help="Where its events are kept (memtrace); an arc is given to it before anything is kept.",
)
@store_options
@click.pass_obj
def create(dialect: str, place: Place, name: str, store: Literal["profile", "arc"] | None) -> None:
    """Make tenant NAME; an organisation of Memtrace is given an id."""
    place = place.with_catalog()
    if dialect == _MEMTRACE:
        organisations.create_org(place, name, store)
        return
    if store is not None:
        raise click.UsageError(f"--store is not for tenants of {dialect}.")
    with place.client() as mem:
        made = mem.create_tenant(dialect, name)
    if place.as_json:
        echo_json(made)
    else:
        click.echo(f"made {name}")


@command.command("list")
@store_options
@click.pass_obj
def list_tenants(dialect: str, place: Place) -> None:
    """List the tenants that were made, by name; of Memtrace the oldest first."""
    place = place.with_catalog()
    if dialect == _MEMTRACE:
        organisations.list_orgs(place)
        return
    with place.client() as mem:
        found = list(mem.tenants(dialect))
    if place.as_json:
        echo_json({"tenants": [one.to_dict() for one in found]})
        return
    for one in found:
        click.echo(f"{one.name}  made {when(one.created_at)}")


@command.command("delete")
@_name_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
@click.pass_obj
def delete(dialect: str, place: Place, name: str, yes: bool) -> None:
    """Delete tenant NAME: its keys, its memories in every environment, all that is kept of it.

    What an organisation has in an Arc stays there, and is named.
    """
    if not yes:
        click.confirm(f"delete {name} with its keys and all its memories?", abort=True, err=True)
    place = place.with_catalog()
    if dialect == _MEMTRACE:
        organisations.delete_org(place, name)
        return
    with place.client() as mem:
        done = mem.delete_tenant(dialect, name)
    if place.as_json:
        echo_json(done)
    else:
        click.echo(f"deleted {name}: {done.keys:,} keys, {done.databases:,} databases")


@command.command("add-arc")
@_org_argument
@organisations.arc_options
@organisations.on_node_options
@click.pass_obj
def add_arc(
    dialect: str,
    org: str,
    arc_url: str | None,
    api_key: str,
    database: str | None,
    measurement: str = MEASUREMENT_DEFAULT,
    data: str | None = None,
    url: str | None = None,
    token: str | None = None,
    as_json: bool = False,
) -> None:
    """Have organisation ORG keep its events in an Arc from now on.

    What its profile has of them is carried there first.

    \b
    palimp org add-arc org_0123456789abcdef01234567 --url http://arc:8000 --database memory
    """
    _only_memtrace(dialect)
    place = Place(data=data, url=url, token=token, as_json=as_json).with_catalog()
    organisations.add_arc(place, org, arc_url, database, api_key, measurement)


@command.command("show-arc")
@_org_argument
@store_options
@click.pass_obj
def show_arc(dialect: str, place: Place, org: str) -> None:
    """Show where organisation ORG keeps its events; the key is masked."""
    _only_memtrace(dialect)
    organisations.show_arc(place.with_catalog(), org)


@command.command("remove-arc")
@_org_argument
@store_options
@click.pass_obj
def remove_arc(dialect: str, place: Place, org: str) -> None:
    """Take the Arc of organisation ORG away; its events are out of reach until it has another."""
    _only_memtrace(dialect)
    organisations.remove_arc(place.with_catalog(), org)


@command.command("parked")
@_org_argument
@click.argument("ids", metavar="[ID]...", nargs=-1, type=int)
@click.option("--retry", is_flag=True, help="Offer them to Arc again: those named, or all.")
@click.option("--drop", is_flag=True, help="Give them up for good: those named, or all.")
@store_options
@click.pass_obj
def parked(
    dialect: str, place: Place, org: str, ids: tuple[int, ...], retry: bool, drop: bool
) -> None:
    """Show the events of ORG that its Arc refused, as this node has them."""
    _only_memtrace(dialect)
    organisations.parked(place.with_catalog(), org, ids, retry=retry, drop=drop)


def _only_memtrace(dialect: str) -> None:
    if dialect != _MEMTRACE:
        raise click.UsageError(f"only organisations of {_MEMTRACE} have an Arc, not of {dialect}.")
