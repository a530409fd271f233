"""`palimp maintain`: background work, now."""

from __future__ import annotations

import click

from .common import Place, echo_json, place_options


@click.command("maintain")
@place_options
def command(place: Place) -> None:
    """Embed what has no vector yet and remove expired tasks, in every profile of the folder."""
    with place.client() as mem:
        done = mem.maintain()
    if place.as_json:
        echo_json(done)
        return
    click.echo(
        f"{done.profiles} profiles: {done.embedded} rows embedded, {done.expired} tasks expired"
    )
