"""`palimp verify`: whether the history is sound."""

from __future__ import annotations

import click

from ..api import Verification
from ..client import Profile
from .common import Place, echo_json, object_store_option, place_options


@click.command("verify")
@click.argument("profile", required=False)
@click.option("--all", "every", is_flag=True, help="Every profile of every namespace.")
@object_store_option
@place_options
@click.pass_context
def command(context: click.Context, place: Place, profile: str | None, every: bool) -> None:
    """Read every object of a PROFILE's history and check it; exit code 1 if one is not sound.

    \b
    palimp verify alice
    palimp verify --all --object-store s3://bucket/prefix
    """
    if every == (profile is not None):
        raise click.UsageError("give a PROFILE or --all")
    rows = []
    with place.client() as mem:
        if profile is None:
            checked = mem.verify()
        else:
            one = mem.profile(profile, namespace=place.namespace)
            checked = iter([(one, one.verify())])
        for found, result in checked:
            rows.append({"profile": str(found), **result.to_dict()})
            if not place.as_json:
                _print(found, result)
    if place.as_json:
        echo_json({"profiles": rows})
    context.exit(1 if any(row["findings"] for row in rows) else 0)


def _print(profile: Profile, found: Verification) -> None:
    state = f"{len(found)} findings" if found.findings else "sound"
    click.echo(
        f"{profile}: {state}, {found.branches} branches, {found.objects} objects, "
        f"{found.bytes:,} bytes"
    )
    for finding in found:
        click.echo(f"  {finding.key}")
        click.echo(f"    {finding.what}")
        click.echo(
            f"    branch {finding.branch}, txid {finding.min_txid} to {finding.max_txid}; "
            f"still readable: {finding.readable}"
        )
