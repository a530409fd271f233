"""`palimp audit`: who did what, and whether the record of it is whole."""

from __future__ import annotations

import re

import click
import msgspec

from ..clock import Clock, parse_ms
from ..errors import Invalid
from .common import Place, echo_json, place_options, when

_namespace_argument = click.argument("name", metavar="[NAMESPACE]", required=False)
_AGO = re.compile(r"(?P<number>\d{1,9})(?P<unit>[smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@click.group("audit")
def command() -> None:
    """Read and check what was done in a namespace: by whom, when, to which profile.

    It records where the policy says `audit.enabled`. NAMESPACE is else that of --namespace.
    """


@command.command("export")
@_namespace_argument
@click.option("--from", "since", default="24h", show_default=True, help="E.g. 7d, or a time.")
@click.option("--to", "until", help="Up to then. [default: now]")
@click.option("--action", help="A name such as memory.ingest, or its beginning, such as memory.")
@click.option("--profile", help="Of one profile.")
@click.option("--outcome", type=click.Choice(["ok", "denied", "error"]), help="Of one outcome.")
@place_options
def export(
    place: Place,
    name: str | None,
    since: str,
    until: str | None,
    action: str | None,
    profile: str | None,
    outcome: str | None,
) -> None:
    """Print the events of the last day, or of another time, oldest first: a JSON object a line.

    With --json as one object.

    \b
    palimp audit export acme --from 7d --action memory. --outcome denied
    """
    begin = _time(since, "--from")
    end = None if until is None else _time(until, "--to")
    with place.client() as mem:
        events = mem.audit(
            name or place.namespace,
            since=begin,
            until=end,
            action=action,
            profile=profile,
            outcome=outcome,
        )
        if place.as_json:
            echo_json({"events": [event.to_dict() for event in events]})
            return
        for event in events:
            click.echo(msgspec.json.encode(event).decode())


@command.command("verify")
@_namespace_argument
@place_options
@click.pass_context
def verify(context: click.Context, place: Place, name: str | None) -> None:
    """Check that no event was altered or taken out; exit code 1 where one was.

    \b
    palimp audit verify acme
    """
    with place.client() as mem:
        found = mem.verify_audit(name or place.namespace)
    if place.as_json:
        echo_json(found)
    else:
        state = "sound" if found.broken is None else "BROKEN"
        click.echo(f"{state}: {found.events:,} events in {found.objects:,} objects")
        for chain in found.chains:
            click.echo(f"  {chain.node}: line {chain.seq:,}, {when(chain.ts)}, {chain.hash}")
        if found.broken is not None:
            click.echo(f"  {found.broken.key}, line {found.broken.line}")
            click.echo(f"    {found.broken.what}")
    context.exit(0 if found.broken is None else 1)


def _time(text: str, option: str) -> int:
    """Return a time, or how long ago, in ms."""
    ago = _AGO.match(text)
    if ago is not None:
        return max(0, Clock().now_ms() - int(ago["number"]) * _SECONDS[ago["unit"]] * 1000)
    if text.isascii() and text.isdigit():
        return parse_ms(int(text), option)
    try:
        return parse_ms(text, option)
    except Invalid as error:
        raise Invalid(f"{error}; or how long ago, such as 7d, 24h, 30m") from error
