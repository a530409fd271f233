"""`palimp key`: keys of clients of other systems, whose dialects a node speaks."""

from __future__ import annotations

from typing import Any

import click

from ..api.credentials import Credential
from ..api.tenants import ENVIRONMENTS
from ..errors import Invalid
from . import organisations
from .common import Place, echo_json, store_options, when

_MEMTRACE = "memtrace"
# Of which there are keys.
_DIALECTS = ("memoria", "memorysync", _MEMTRACE)
# Whose keys are of tenants; of the others they are of users.
_OF_TENANTS = ("memorysync",)
_ALL = "*"
_id_argument = click.argument("key", metavar="ID")


@click.group("key")
@click.option("--dialect", default=_MEMTRACE, show_default=True, help="Whose clients show them.")
@click.pass_context
def command(context: click.Context, dialect: str) -> None:
    """Keys with which clients of other systems reach their memories here.

    They are kept in the catalog, as hashes: a key is printed once, when it is made. It needs the
    platform key, where a node asks for one.

    \b
    palimp key --dialect memoria create --user alice --name laptop
    palimp key --dialect memorysync create --tenant acme --json
    palimp key create --org org_0123456789abcdef01234567 --name app
    """
    if dialect not in _DIALECTS:
        raise Invalid(
            f"there are no keys of dialect {dialect!r:.80} here; give --dialect "
            f"{' or '.join(_DIALECTS)}"
        )
    context.obj = dialect


@command.command("create")
@click.option("--user", help="Whose memories it reaches (memoria).")
@click.option("--tenant", help="Whose memories it reaches (memorysync).")
@click.option("--org", help="Whose memories it reaches (memtrace).")
@click.option(
    "--permissions", metavar="A,B", help="What it may do (memtrace). [default: read,write]"
)
@click.option("--project", metavar="ID", help="The only project it reaches (memorysync).")
@click.option("--environment", type=click.Choice(ENVIRONMENTS), help="[default: production]")
@click.option("--scopes", metavar="A,B", help="What it may do (memorysync). [default: *]")
@click.option("--name", help="What it is called in lists. [of a tenant's key: key]")
@click.option("--expires", metavar="TIME", help="When it ends, as 2027-01-31. [default: never]")
@store_options
@click.pass_obj
def create(
    dialect: str,
    place: Place,
    user: str | None,
    tenant: str | None,
    name: str | None,
    expires: str | None,
    project: str | None,
    environment: str | None,
    scopes: str | None,
    org: str | None,
    permissions: str | None,
) -> None:
    """Make a key for --user, of memorysync for --tenant, of memtrace for --org, and print it."""
    place = place.with_catalog()
    if dialect == _MEMTRACE:
        _refuse({"--user": user, "--tenant": tenant, "--project": project}, dialect)
        _refuse({"--environment": environment, "--scopes": scopes}, dialect)
        organisations.create_key(place, org, name, permissions, expires)
        return
    _refuse({"--org": org, "--permissions": permissions}, dialect)
    if dialect in _OF_TENANTS:
        subject = _required(tenant, "--tenant")
        detail = _detail(project, environment, scopes)
        name = name or "key"
        _refuse({"--user": user}, dialect)
    else:
        subject, name, detail = _required(user, "--user"), _required(name, "--name"), {}
        _refuse({"--tenant": tenant, "--project": project, "--scopes": scopes}, dialect)
        _refuse({"--environment": environment}, dialect)
    with place.client() as mem:
        made = mem.create_credential(dialect, subject, name, expires_at=expires, detail=detail)
    if place.as_json:
        # What scripts take from it.
        echo_json({**made.to_dict(), "key": made.secret})
    else:
        click.echo(made.secret)


@command.command("list")
@click.option(
    "--user", "--tenant", "--org", "subject", help="Only keys of this user, tenant or organisation."
)
@store_options
@click.pass_obj
def list_keys(dialect: str, place: Place, subject: str | None) -> None:
    """List the keys there are, the newest first; of memtrace those of --org, the oldest first."""
    place = place.with_catalog()
    if dialect == _MEMTRACE:
        organisations.list_keys(place, subject)
        return
    with place.client() as mem:
        found = list(mem.credentials(dialect=dialect, subject=subject))
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
    with place.with_catalog().client() as mem:
        found = mem.credential(key)
    _say(place, found, _line(found))


@command.command("rotate")
@_id_argument
@store_options
def rotate(place: Place, key: str) -> None:
    """Make a new key instead of ID, which holds no more, and print it."""
    with place.with_catalog().client() as mem:
        made = mem.rotate_credential(key)
    _say(place, made, made.secret or "")


@command.command("revoke")
@_id_argument
@store_options
@click.pass_obj
def revoke(dialect: str, place: Place, key: str) -> None:
    """Let key ID hold no more."""
    place = place.with_catalog()
    if dialect == _MEMTRACE:
        organisations.revoke_key(place, key)
        return
    with place.client() as mem:
        mem.revoke_credential(key)
    if place.as_json:
        echo_json({"id": key})
    else:
        click.echo(f"revoked {key}")


def _required(value: str | None, option: str) -> str:
    if value is None:
        raise click.UsageError(f"Missing option '{option}'.")
    return value


def _refuse(given: dict[str, str | None], dialect: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise click.UsageError(f"{option} is not for keys of {dialect}.")


def _detail(project: str | None, environment: str | None, scopes: str | None) -> dict[str, Any]:
    """Return what that dialect has to know of a key."""
    return {
        "project": project,
        "environment": environment or ENVIRONMENTS[0],
        "scopes": [one.strip() for one in (scopes or _ALL).split(",") if one.strip()],
    }


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
