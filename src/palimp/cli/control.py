"""`palimp db`, `namespace`, `token` and `keygen`: the control plane of a folder or a node."""

from __future__ import annotations

from typing import Any

import click

from ..api.operation import SCOPES
from .catalog import database_usage, namespace_usage
from .common import Place, echo_json, place_options, when

__all__ = ["db", "keygen", "namespace", "token"]

_scope = click.option(
    "--scope", type=click.Choice(SCOPES), default="write", show_default=True, help="What it may do."
)
_ttl = click.option(
    "--ttl", type=float, default=3_600, show_default=True, help="Seconds it holds for."
)


@click.group("db")
def db() -> None:
    """Databases as wholes: one a profile, named NAMESPACE--PROFILE."""


@db.command("create")
@click.argument("name")
@place_options
def create(place: Place, name: str) -> None:
    """Make database NAME without writing to it.

    \b
    palimp db create acme--alice
    """
    with place.client() as mem:
        made = mem.create_database(name)
    if place.as_json:
        echo_json(made)
    else:
        click.echo(f"{made.name}  {made.uuid}")


@db.command("list")
@place_options
def list_(place: Place) -> None:
    """List the databases of the whole store."""
    with place.client() as mem:
        found = list(mem.databases())
    if place.as_json:
        echo_json({"databases": [one.to_dict() for one in found]})
        return
    for one in found:
        click.echo(f"{when(one.created_at) or '-':16}  {one.name}")


@db.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
def delete(place: Place, name: str, yes: bool) -> None:
    """Delete database NAME with all its branches and its history."""
    if not yes:
        click.confirm(f"delete {name} with all its branches and its history?", abort=True, err=True)
    with place.client() as mem:
        mem.delete_database(name)
    _say(place, {"name": name, "deleted": True}, f"deleted {name}")


@click.group("namespace")
def namespace() -> None:
    """Namespaces as wholes."""


@namespace.command("list")
@place_options
def list_namespaces(place: Place) -> None:
    """List the namespaces that have databases."""
    with place.client() as mem:
        found = list(mem.namespaces())
    _say(place, {"namespaces": [{"namespace": one} for one in found]}, *found)


@namespace.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
def delete_namespace(place: Place, name: str, yes: bool) -> None:
    """Delete every database of namespace NAME."""
    if not yes:
        click.confirm(f"delete every database of namespace {name}?", abort=True, err=True)
    with place.client() as mem:
        done = mem.delete_namespace(name)
    _say(place, {"namespace": name, "databases": done}, f"deleted {done} databases of {name}")


db.add_command(database_usage)
namespace.add_command(namespace_usage)


@click.group("token")
def token() -> None:
    """Tokens for callers of a node that asks for credentials (PALIMP_AUTH=on)."""


@token.command("create")
@click.argument("database")
@_scope
@_ttl
@place_options
def create_token(place: Place, database: str, scope: Any, ttl: float) -> None:
    """Mint a token for DATABASE (NAMESPACE--PROFILE) and print it.

    \b
    palimp token create acme--alice --scope write --ttl 86400 --url http://127.0.0.1:8080
    """
    with place.client() as mem:
        made = mem.create_token(database, scope, expires_in=ttl)
    _say(place, made.to_dict(), made.token)


@token.command("create-ns")
@click.argument("name")
@_scope
@_ttl
@place_options
def create_namespace_token(place: Place, name: str, scope: Any, ttl: float) -> None:
    """Mint a token for every database of namespace NAME and print it."""
    with place.client() as mem:
        made = mem.create_namespace_token(name, scope, expires_in=ttl)
    _say(place, made.to_dict(), made.token)


@token.command("rotate")
@click.option(
    "--overlap",
    type=int,
    default=86_400,
    show_default=True,
    help="Seconds for which tokens of the old keys still hold.",
)
@click.option("--data", metavar="FOLDER", help="Folder of the node. [default: PALIMP_DATA_DIR]")
def rotate(data: str | None, overlap: int) -> None:
    """Make a new signing key, in the folder or with PALIMP_PERSIST_AUTH_KEY=1 in the store.

    Nodes that run already sign with it from their next start on.
    """
    from pathlib import Path

    from ..clock import Clock
    from ..node import load_settings
    from ..node.credentials import rotate as rotate_keys
    from ..store import open_store

    settings = load_settings({} if data is None else {"data_dir": data})
    clock = Clock()
    folder = Path(settings.data_dir).expanduser()
    store = open_store(
        settings.object_store or (folder.absolute() / "objects").as_uri(), clock=clock
    )
    try:
        ring = rotate_keys(settings, folder, store, clock, overlap)
    finally:
        store.close()
    click.echo(f"signing with {ring.signing.id} from the next start on")


@click.group("keygen", invoke_without_command=True)
@click.pass_context
def keygen(context: click.Context) -> None:
    """Print a new signing key for PALIMP_AUTH_KEY: a secret."""
    if context.invoked_subcommand is None:
        from ..security.keys import SigningKey

        click.echo(SigningKey.generate().export())


@keygen.command("master")
def master() -> None:
    """Print a new master key for PALIMP_MASTER_KEY: a secret that nobody can bring back."""
    from ..security.envelope import MasterKey

    click.echo(MasterKey.generate().export())


def _say(place: Place, value: dict[str, Any], *lines: str) -> None:
    if place.as_json:
        echo_json(value)
        return
    for line in lines:
        click.echo(line)
