"""`palimp org`: tenants of other systems, whose keys and memories are apart from all others'."""

from __future__ import annotations

import click

from ..errors import Invalid
from .common import Place, echo_json, store_options, when

_DIALECT = "memtrace"
# Of which there are tenants in this release.
_DIALECTS = ("memorysync",)
_name_argument = click.argument("name")


@click.group("org")
@click.option("--dialect", default=_DIALECT, show_default=True, help="Whose clients they are for.")
@click.pass_context
def command(context: click.Context, dialect: str) -> None:
    """Tenants of other systems, whose keys and memories are apart from all others'.

    They are noted in the catalog. It needs the platform key, where a node asks for one. Keys for
    a tenant: palimp key.

    \b
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
@store_options
@click.pass_obj
def create(dialect: str, place: Place, name: str) -> None:
    """Note tenant NAME."""
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
    """List the tenants that were made, by name."""
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
    """Delete tenant NAME: its keys, its memories in every environment, all that is kept of it."""
    if not yes:
        click.confirm(f"delete {name} with its keys and all its memories?", abort=True, err=True)
    with place.client() as mem:
        done = mem.delete_tenant(dialect, name)
    if place.as_json:
        echo_json(done)
    else:
        click.echo(f"deleted {name}: {done.keys:,} keys, {done.databases:,} databases")
