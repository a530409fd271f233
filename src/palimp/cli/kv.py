"""`palimp kv`: keys and values."""

from __future__ import annotations

from typing import BinaryIO

import click

from ..api import DeletedKey, DeleteKey
from ..api.kv import OCTETS, SPACE_DEFAULT
from ..errors import Invalid
from .common import (
    Place,
    at_option,
    echo_json,
    echo_txid,
    parse_json,
    place_options,
    profile_argument,
    when,
)

_key_argument = click.argument("key")
_space_option = click.option(
    "--ns", default=SPACE_DEFAULT, show_default=True, help="The space of keys."
)


@click.group("kv")
def command() -> None:
    """Keep small state by key: flags, cursors, caches, files of a few megabytes."""


@command.command("put")
@profile_argument
@_key_argument
@click.argument("value", required=False)
@click.option("--file", type=click.File("rb"), help="The value is this file; - for stdin.")
@click.option("--parse", is_flag=True, help="VALUE is JSON, not text.")
@click.option("--ttl", type=float, help="Seconds after which the key is gone.")
@_space_option
@place_options
def put(
    place: Place,
    profile: str,
    key: str,
    value: str | None,
    file: BinaryIO | None,
    parse: bool,
    ttl: float | None,
    ns: str,
) -> None:
    """Set a key to a text, to JSON, or to a file.

    \b
    palimp kv put alice theme dark
    palimp kv put alice limits '{"day": 20}' --parse
    """
    if (value is None) == (file is None):
        raise Invalid("give a VALUE or a --file, one of the two")
    if file is not None and parse:
        raise Invalid("--parse is for a VALUE, and a --file is kept as it is; leave one out")
    given = file.read() if file is not None else parse_json(value or "") if parse else value
    with place.profile(profile) as store:
        done = store.kv.space(ns).put(key, given, ttl=ttl)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{key} is set" + (f" until {when(done.expires_at)}" if ttl is not None else ""))


@command.command("get")
@profile_argument
@_key_argument
@_space_option
@at_option
@place_options
def get(place: Place, profile: str, key: str, ns: str, at: str | None) -> None:
    """Print what a key was set to.

    With --json its bytes are base64.
    """
    with place.reading(profile, at) as store:
        found = store.kv.space(ns).entry(key)
    if place.as_json:
        echo_json(found)
        return
    # Bytes go out as they are, so that they can be piped; a text ends with a line.
    click.echo(found.data, nl=found.content_type != OCTETS)


@command.command("delete")
@profile_argument
@_key_argument
@_space_option
@place_options
def delete(place: Place, profile: str, key: str, ns: str) -> None:
    """Remove a key and its value."""
    with place.profile(profile) as store:
        # The client's method answers yes or no; here the txid is wanted too.
        done: DeletedKey = store.client.call("kv.delete", store.target, DeleteKey(ns=ns, key=key))
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{key} is removed" if done.deleted else f"there was no key {key}")


@command.command("list")
@profile_argument
@click.option("--prefix", default="", help="Only keys that begin so.")
@_space_option
@at_option
@place_options
def list_(place: Place, profile: str, prefix: str, ns: str, at: str | None) -> None:
    """List the keys of a space."""
    with place.reading(profile, at) as store:
        keys = list(store.kv.space(ns).keys(prefix))
    if place.as_json:
        echo_json({"keys": keys})
        return
    for key in keys:
        click.echo(key)
