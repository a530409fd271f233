"""`palimp restore`: a folder from an object store."""

from __future__ import annotations

import click

from .common import Place, echo_json, folder_options, object_store_option


@click.command("restore")
@object_store_option
@folder_options
@click.pass_context
def command(context: click.Context, place: Place) -> None:
    """Build the local file of every branch of every profile from the object store.

    Works on a folder, not on a node, and in an empty one too: that is how a machine is replaced.
    Exit code 1 if one of them could not be restored; the others are.

    \b
    palimp restore --object-store s3://bucket/prefix --data ./memory
    """
    with place.client() as mem:
        done = mem.restore()
    for line in done.failed:
        click.echo(line, err=True)
    if place.as_json:
        echo_json(done)
    else:
        click.echo(
            f"{done.profiles} profiles: {done.branches} branches restored, "
            f"{len(done.failed)} could not be"
        )
    context.exit(1 if done.failed else 0)
