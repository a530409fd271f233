"""`palimp timeline` and `palimp memory event`: what agents did and saw."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ..api.events import Event
from ..api.limits import PAGE_DEFAULT
from ..clock import format_ms
from ..errors import Invalid
from .common import (
    Place,
    at_option,
    echo_json,
    echo_txid,
    given,
    parse_json,
    place_options,
    profile_argument,
)

__all__ = ["command", "event"]


@click.command("timeline")
@profile_argument
@click.option("--since", help="After this time, or how long ago: 90m, 24h, 7d.")
@click.option("--until", help="Before this time, or how long ago.")
@click.option("--agent", help="Only of this agent.")
@click.option("--session", help="Only of this session.")
@click.option("--kind", multiple=True, help="Only these kinds: episodic, decision, ...")
@click.option("--event", multiple=True, help="Only where this happened: tool_call, error, ...")
@click.option("--tag", "tags", multiple=True, help="Only with all these tags.")
@click.option("--contains", help="Only where this stands in the text as it is.")
@click.option("--importance-min", type=float, help="Only at least this important.")
@click.option(
    "--order",
    type=click.Choice(("asc", "desc")),
    help="Oldest or newest first. [default: the newest ones, oldest first]",
)
@click.option("--limit", type=int, default=PAGE_DEFAULT, show_default=True, help="How many.")
@click.option("--count", is_flag=True, help="Count them, of one --agent or all, instead.")
@at_option
@place_options
def command(
    place: Place,
    profile: str,
    order: str | None,
    limit: int,
    count: bool,
    at: str | None,
    **filters: Any,
) -> None:
    """Show events in the order of time, one a line.

    \b
    palimp timeline alice --since 24h --agent builder
    """
    if count:
        _count(place, profile, at, given(filters))
        return
    with place.reading(profile, at) as store:
        page = store.timeline.page(limit=limit, **given({**filters, "order": order}))
    if order is None:
        page = msgspec.structs.replace(page, events=page.events[::-1])
    if page.more:
        click.echo(f"there are more than {limit}; give --limit, --since or --until", err=True)
    if place.as_json:
        echo_json(page)
        return
    for event in page:
        click.echo(_line(event))


@click.command("event")
@profile_argument
@click.argument("agent")
@click.argument("text")
@click.option("--kind", help="episodic, session, decision, entity, ... [default: episodic]")
@click.option("--event", help="What happened: tool_call, error, ... [default: general]")
@click.option("--session", help="Session it belongs to.")
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
@click.option("--importance", type=float, help="0 to 1.")
@click.option("--metadata", help="A JSON object.")
@click.option("--parent", help="What it belongs to, in your own words.")
@click.option("--dedup-key", help="By this it is a duplicate, within --dedup-window.")
@click.option("--dedup-window", type=float, help="Seconds in which its key is once.")
@place_options
def event(
    place: Place, profile: str, agent: str, text: str, metadata: str | None, **fields: Any
) -> None:
    """Append what AGENT did or saw now; `palimp timeline` shows it.

    \b
    palimp memory event alice builder "the build passed" --event tool_call
    """
    if metadata is not None:
        fields["metadata"] = parse_json(metadata)
    window = fields.pop("dedup_window")
    with place.profile(profile) as store:
        one = {**given(fields), "agent": agent, "text": text}
        done = store.timeline.extend([one], dedup_window=window)
    if done.txid is not None:
        echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    for result in done:
        click.echo(result.status + (f" ({result.note})" if result.note else ""))


def _count(place: Place, profile: str, at: str | None, filters: dict[str, Any]) -> None:
    agent = filters.pop("agent", None)
    if filters:
        raise Invalid(
            f"--count goes with --agent alone, not with {', '.join(sorted(filters))}; leave it out"
        )
    with place.reading(profile, at) as store:
        found = store.timeline.stats(agent)
    if place.as_json:
        echo_json(found)
        return
    click.echo(f"{found.count} events, {found.last_24h} in 24 hours, {found.errors_24h} errors")
    for kind, number in found.by_kind.items():
        click.echo(f"  {kind}: {number}")


def _line(one: Event) -> str:
    at = format_ms(one.at_us // 1000, pattern="%Y-%m-%d %H:%M:%S")
    what = one.event if one.kind == one.event else f"{one.kind}/{one.event}"
    # One event a line, whatever stands in its text.
    text = " ".join(one.text.split())
    return "  ".join(filter(None, (at, one.agent, what, text)))
