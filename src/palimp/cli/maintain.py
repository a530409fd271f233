"""`palimp maintain`: background work, now."""

from __future__ import annotations

import click

from .common import Place, echo_json, place_options


@click.command("maintain")
@place_options
def command(place: Place) -> None:
    """Embed what has no vector, remove expired tasks, look after the history: every profile.

    Of the history: long ones get a snapshot, what is out of retention goes, burner branches whose
    time is over are removed.
    """
    with place.client() as mem:
        done = mem.maintain()
    if place.as_json:
        echo_json(done)
        return
    click.echo(
        f"{done.profiles} profiles: {done.embedded} rows embedded, {done.expired} tasks expired"
    )
    click.echo(
        f"history: {done.folded} snapshots made, {done.references_dropped} references and "
        f"{done.objects_deleted} objects removed, {done.branches_expired} branches expired"
    )
    if done.paired:
        click.echo(f"{done.paired} pairs of memories to look at: palimp proposals list")
    if done.swept or done.audit_objects_deleted:
        click.echo(
            f"by policy: {done.swept} memories and {done.audit_objects_deleted} objects of the "
            "audit removed"
        )
