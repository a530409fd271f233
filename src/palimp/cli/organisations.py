"""Organisations and their keys on the command line, as Memtrace shows them.

What is said beside that, of events that wait for instance, goes to standard error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import click

from ..api.arcs import MEASUREMENT_DEFAULT
from ..errors import Invalid, NotFound
from .common import Place, echo_json, when

__all__ = [
    "add_arc",
    "arc_options",
    "create_key",
    "create_org",
    "delete_org",
    "list_keys",
    "list_orgs",
    "on_node_options",
    "parked",
    "remove_arc",
    "revoke_key",
    "show_arc",
]

_DIALECT = "memtrace"
_ORG_WIDTH, _TITLE_WIDTH = 32, 30
_KEY_WIDTHS = (6, 30, 20, 10)
_LABEL_WIDTH = 12
_GAP = "  "
_KEY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_PERMISSIONS_DEFAULT = "read,write"


def create_org(place: Place, name: str, store: Literal["profile", "arc"] | None) -> None:
    """Make an organisation."""
    with place.client() as mem:
        made = mem.create_tenant(_DIALECT, name, store=store)
    if place.as_json:
        echo_json(made)
        return
    click.echo("Organization created")
    click.echo(f"  id:   {made.name}")
    click.echo(f"  name: {made.title}")


def list_orgs(place: Place) -> None:
    """List them, the oldest first."""
    with place.client() as mem:
        found = sorted(mem.tenants(_DIALECT), key=lambda one: (one.created_at, one.name))
    if place.as_json:
        echo_json({"tenants": [one.to_dict() for one in found]})
        return
    rows = [(one.name, one.title or "", when(one.created_at)) for one in found]
    _table((_ORG_WIDTH, _TITLE_WIDTH), [("ID", "NAME", "CREATED"), *rows])


def delete_org(place: Place, org: str) -> None:
    """Delete one with all that is its."""
    with place.client() as mem:
        done = mem.delete_tenant(_DIALECT, org)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"Organization {org} deleted")
    if done.left is not None:
        click.echo(f"not deleted: {done.left}; delete them there", err=True)


def arc_options(command: Any) -> Any:
    """Add the options that say where an Arc is; `--url` is the Arc's."""
    for option in (
        click.option(
            "--measurement",
            default=MEASUREMENT_DEFAULT,
            show_default=True,
            help="In which measurement.",
        ),
        click.option("--database", help="In which of its databases the events are. [required]"),
        click.option("--api-key", default="", help="Its key; sealed with the master key."),
        click.option("--url", "arc_url", help="Where the Arc is. [required]"),
    ):
        command = option(command)
    return command


def on_node_options(command: Any) -> Any:
    """Add what says on what folder, or at which node, where `--url` means something else."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
        click.option("--token", help="The node's credential. [default: PALIMP_TOKEN]"),
        click.option("--node", "url", help="A node instead of a folder. [default: PALIMP_URL]"),
        click.option(
            "--data",
            metavar="FOLDER",
            help="Folder with the memories. [default: PALIMP_DATA_DIR, else ./memory]",
        ),
    ):
        command = option(command)
    return command


def add_arc(
    place: Place, org: str, url: str | None, database: str | None, api_key: str, measurement: str
) -> None:
    """Give an organisation an Arc."""
    url, database = _required(url, "--url"), _required(database, "--database")
    with place.client() as mem:
        made = mem.bind_arc(org, url, database, api_key=api_key, measurement=measurement)
    if place.as_json:
        echo_json(made)
        return
    click.echo(f"Arc instance bound to {org}")
    click.echo(f"  url:      {made.url}")
    click.echo(f"  database: {made.database}")


def show_arc(place: Place, org: str) -> None:
    """Show where an organisation keeps its events."""
    with place.client() as mem:
        found = mem.arc(org)
    if place.as_json:
        echo_json(found)
        return
    click.echo(f"Arc instance for {org}")
    for name in ("id", "url", "database", "measurement", "api_key"):
        click.echo(f"  {name + ':':<{_LABEL_WIDTH}} {getattr(found, name)}")
    if found.state == "draining":
        _aside("what the profile of this organisation has is being carried there")
    if found.spooled:
        _aside(f"events that wait for it on this node: {found.spooled:,}")
    if found.parked:
        _aside(f"events that it refused: {found.parked:,}; palimp org parked {org}")


def remove_arc(place: Place, org: str) -> None:
    """Take it away."""
    with place.client() as mem:
        done = mem.remove_arc(org)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"Arc instance removed for {org}")
    if done.spooled:
        _aside(f"events that stay on this node, for the next one: {done.spooled:,}")


def parked(place: Place, org: str, ids: Sequence[int], *, retry: bool, drop: bool) -> None:
    """Show what an Arc refused, offer it again, or give it up."""
    if retry and drop:
        raise Invalid("--retry and --drop: give one of them")
    if ids and not (retry or drop):
        raise Invalid("events are named by number to --retry or --drop them; add one of these")
    with place.client() as mem:
        if retry or drop:
            done = (mem.retry_parked if retry else mem.drop_parked)(org, ids or None)
            said = {"org": org, "events": done}
            if place.as_json:
                echo_json(said)
            else:
                click.echo(f"{'retried' if retry else 'dropped'} {done:,} events")
            return
        found = list(mem.parked_events(org))
    if place.as_json:
        echo_json({"parked": [one.to_dict() for one in found]})
        return
    for one in found:
        event = one.event
        click.echo(f"{one.id}  {when(one.parked_at)}  {event.agent}  {event.event}: {one.error}")


def create_key(
    place: Place,
    org: str | None,
    name: str | None,
    permissions: str | None,
    expires: str | None = None,
) -> None:
    """Make a key and print it."""
    org, name = _required(org, "--org"), _required(name, "--name")
    given = [one.strip() for one in (permissions or _PERMISSIONS_DEFAULT).split(",")]
    with place.client() as mem:
        detail = {"permissions": given}
        made = mem.create_credential(_DIALECT, org, name, expires_at=expires, detail=detail)
    if place.as_json:
        echo_json({**made.to_dict(), "key": made.secret})
        return
    click.echo("API key created (shown only once - save it now):")
    click.echo(made.secret)


def list_keys(place: Place, org: str | None) -> None:
    """List the keys of an organisation, the oldest first."""
    org = _required(org, "--org")
    with place.client() as mem:
        found = list(mem.credentials(dialect=_DIALECT, subject=org))[::-1]
    if place.as_json:
        echo_json({"credentials": [one.to_dict() for one in found]})
        return
    rows = [
        (
            one.id,
            one.name,
            ",".join(one.detail.get("permissions", ())),
            "true",
            when(one.created_at),
        )
        for one in found
    ]
    _table(_KEY_WIDTHS, [("ID", "NAME", "PERMS", "ENABLED", "CREATED"), *rows])


def revoke_key(place: Place, key: str) -> None:
    """Let a key hold no more."""
    if not _KEY_ID.match(key):
        raise Invalid(f"invalid key id: {key!r:.80}; `key list` shows them")
    try:
        with place.client() as mem:
            mem.revoke_credential(key)
    except NotFound as error:
        raise NotFound("key not found") from error
    if place.as_json:
        echo_json({"id": key})
    else:
        click.echo(f"Key {key} revoked")


def _required(value: str | None, option: str) -> str:
    """Return what was given; raises `Invalid` where that is nothing."""
    if not value:
        raise Invalid(f"{option} is required")
    return value


def _aside(line: str) -> None:
    click.echo(line, err=True)


def _table(widths: Sequence[int], rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        click.echo(_GAP.join([*cells, row[-1]]))
