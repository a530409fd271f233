"""`palimp key`: keys of clients of other systems, whose dialects a node speaks."""

from __future__ import annotations

import click

from ..api.credentials import Credential
from ..errors import Invalid
from .common import Place, echo_json, store_options, when

_DIALECT = "memtrace"
# Of which there are keys in this release.
_DIALECTS = ("memoria",)
_id_argument = click.argument("key", metavar="ID")


@click.group("key")
@click.option("--dialect", default=_DIALECT, show_default=True, help="Whose clients show them.")
@click.pass_context
def command(context: click.Context, dialect: str) -> None:
    """Keys with which clients of other systems reach their memories here.

    They are kept in the catalog, as hashes: a key is printed once, when it is made. It needs the
    platform key, where a node asks for one.

    \b
    palimp key --dialect memoria create --user alice --name laptop
    """
    if dialect not in _DIALECTS:
        raise Invalid(
            f"there are no keys of dialect {dialect!r:.80} here; give --dialect "
            f"{' or '.join(_DIALECTS)}"
        )
    context.obj = dialect


@command.command("create")
@click.option("--user", required=True, help="Whose memories it reaches.")
@click.option("--name", required=True, help="What it is called in lists.")
@click.option("--expires", metavar="TIME", help="When it ends, as 2027-01-31. [default: never]")
@store_options
@click.pass_obj
def create(dialect: str, place: Place, user: str, name: str, expires: str | None) -> None:
    """Make a key for --user and print it."""
    with place.client() as mem:
        made = mem.create_credential(dialect, user, name, expires_at=expires)
    _say(place, made, made.secret or "")


@command.command("list")
@click.option("--user", help="Only keys of this user.")
@store_options
@click.pass_obj
def list_keys(dialect: str, place: Place, user: str | None) -> None:
    """List the keys there are, the newest first."""
    with place.client() as mem:
        found = list(mem.credentials(dialect=dialect, subject=user))
    if place.as_json:
        echo_json({"credentials": [one.to_dict() for one in found]})
        return
    for one in found:
        click.echo(_line(one))


@command.command("show")
@_id_argument
@store_options
def show(place: Place, key: str) -> None:
    """Say what is known of a key."""
    with place.client() as mem:
        found = mem.credential(key)
    _say(place, found, _line(found))


@command.command("rotate")
@_id_argument
@store_options
def rotate(place: Place, key: str) -> None:
    """Make a new key instead of ID, which holds no more, and print it."""
    with place.client() as mem:
        made = mem.rotate_credential(key)
    _say(place, made, made.secret or "")


@command.command("revoke")
@_id_argument
@store_options
def revoke(place: Place, key: str) -> None:
    """Let key ID hold no more."""
    with place.client() as mem:
        mem.revoke_credential(key)
    if place.as_json:
        echo_json({"id": key})
    else:
        click.echo(f"revoked {key}")


def _say(place: Place, credential: Credential, line: str) -> None:
    if place.as_json:
        echo_json(credential)
    else:
        click.echo(line)


def _line(one: Credential) -> str:
    """Return a key in words."""
    used = "never used" if one.last_used_at is None else f"used {when(one.last_used_at)}"
    ends = "" if one.expires_at is None else f", until {when(one.expires_at)}"
    made = f"made {when(one.created_at)}"
    return f"{one.id}  {one.prefix}...  {one.subject}  {one.name}: {made}, {used}{ends}"
