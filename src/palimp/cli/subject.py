"""`palimp subject`: what is held of somebody, to be handed over."""

from __future__ import annotations

from pathlib import Path

import click

from .common import Place, at_option, echo_json, place_options, profile_argument

_MANY = {"memory": "memories", "turn": "turns", "document": "documents", "value": "values"}


@click.group("subject")
def command() -> None:
    """Write out everything that is held in a profile.

    To remove it for good, with a receipt: `palimp erasure request`.
    """


@command.command("export")
@profile_argument
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A folder, new or empty."
)
@click.option("--session", help="Only the memories and turns of a session.")
@at_option
@place_options
def export(place: Place, profile: str, out: Path, session: str | None, at: str | None) -> None:
    """Write a profile into a folder: JSON lines, and one page for people.

    \b
    palimp subject export alice --out alice-2026-03
    """
    with place.reading(profile, at) as store:
        counts = store.export_subject(out, session=session)
    if place.as_json:
        echo_json({"folder": str(out), **counts})
        return
    said = (f"{n:,} {kind if n == 1 else _MANY[kind]}" for kind, n in counts.items())
    click.echo(f"{out}: {', '.join(said)}")
