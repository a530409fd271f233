"""`palimp memory import`: what other programs kept."""

from __future__ import annotations

from io import BufferedReader

import click

from ...errors import Invalid
from ..common import Place, echo_json, echo_txid, place_options, profile_argument
from .bar import progress_bar
from .base import FORMAT_DEFAULT, Source
from .run import Summary, import_items
from .table import FORMATS

__all__ = ["import_"]


@click.command("import")
@profile_argument
@click.argument("file", type=click.File("rb"))
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default=FORMAT_DEFAULT,
    show_default=True,
    help="What FILE is.",
)
@click.option("--conversation", metavar="ID", help="Only this one of a LoCoMo file.")
@place_options
@click.pass_context
def import_(
    context: click.Context,
    place: Place,
    profile: str,
    file: BufferedReader,
    form: str,
    conversation: str | None,
) -> None:
    """Write what a FILE (`-`: standard input) of another program holds into PROFILE.

    \b
    messages   turns of conversations, as events: JSON objects one a line, a JSON list of them, or
               objects with `messages`. A turn has `text` (or `content`), and may have `session`,
               `speaker` (or `role`), `at` and `id`.
    locomo     the conversations of a LoCoMo file, as events.
    mcp-jsonl  the file of the reference MCP memory server: observations and relations, as facts.

    Doing it again writes nothing twice. A broken line is named and passed over; the exit code is
    then 1.

    \b
    palimp memory import alice memory.jsonl --format mcp-jsonl
    """
    if conversation is not None and form != "locomo":
        raise Invalid(f"--conversation chooses from a LoCoMo file; {form} has none to choose from")
    read, noun = FORMATS[form].read, FORMATS[form].noun
    name = "-" if file.name == "<stdin>" else file.name
    summary = Summary()
    items = read(Source(name, file, conversation))
    with place.profile(profile) as store, progress_bar(file, noun) as progress:
        import_items(store, items, summary, progress)
    _report(place, summary, noun)
    context.exit(1 if summary.broken_count else 0)


def _report(place: Place, summary: Summary, noun: str) -> None:
    for at, reason in summary.broken:
        click.echo(f"{f'line {at}' if isinstance(at, int) else at}: {reason}", err=True)
    more = summary.broken_count - len(summary.broken)
    if more:
        click.echo(f"and {more:,} more lines that could not be read", err=True)
    if summary.txid is not None:
        echo_txid(summary.txid)
    if place.as_json:
        echo_json(summary.to_dict())
        return
    text = (
        f"{summary.written} {noun} written, {summary.counts['duplicate']} were there already, "
        f"{summary.broken_count} lines could not be read"
    )
    click.echo(f"{text}, {summary.without_words} had no words" if summary.without_words else text)
