"""`palimp ask`: a question to the memories."""

from __future__ import annotations

from typing import Any

import click

from ..api.limits import ASK_TOKENS_DEFAULT, K_DEFAULT
from .common import Place, at_option, echo_json, given, place_options, profile_argument, when
from .memory import filter_fields


@click.command("ask")
@profile_argument
@click.argument("question")
@click.option("-k", type=int, default=K_DEFAULT, show_default=True, help="At most that many.")
@click.option("--min-score", type=float, help="Only at least this score (0 to 1).")
@click.option(
    "--max-tokens",
    type=int,
    default=ASK_TOKENS_DEFAULT,
    show_default=True,
    help="Memories for the model, in tokens.",
)
@filter_fields
@at_option
@place_options
def command(
    place: Place, profile: str, question: str, k: int, at: str | None, **options: Any
) -> None:
    """Answer QUESTION from the memories, with its sources; needs a language model.

    \b
    palimp ask alice "which seat does she like?"
    palimp ask alice "which seat does she like?" --at before-run
    """
    with place.reading(profile, at) as store:
        done = store.ask(question, k=k, **given(options))
    if place.as_json:
        echo_json(done)
        return
    click.echo(done.answer or "no answer in the memories")
    for hit in done.memories:
        if hit.id in done.citations:
            date = when(hit.observed_at or hit.created_at)
            click.echo(f"  {hit.id}  {date}  {hit.text}")
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
