"""`palimp memory clusters`, `summarize`, `scores`: what belongs together, and what it is worth."""

from __future__ import annotations

from typing import Any, get_args

import click

from ..api.clusters import ClusterBy, SummaryMethod
from .common import Place, at_option, echo_json, echo_txid, place_options, profile_argument

__all__ = ["COMMANDS"]

_BY = click.option(
    "--by", type=click.Choice(get_args(ClusterBy)), default="key", show_default=True,
    help="What holds a cluster together.",
)  # fmt: skip


@click.command("clusters")
@profile_argument
@_BY
@click.option("--min-size", type=int, default=2, show_default=True, help="Memories at least.")
@at_option
@place_options
def clusters(place: Place, profile: str, by: ClusterBy, min_size: int, at: str | None) -> None:
    """List memories that belong together: by extracted key, or by their relations."""
    with place.reading(profile, at) as store:
        found = list(store.relations.clusters(by=by, min_size=min_size))
    if place.as_json:
        echo_json(list(found))
        return
    for cluster in found:
        marks = [f"{cluster.size:,} memories", cluster.key, cluster.project]
        click.echo(f"{cluster.id}  {', '.join(mark for mark in marks if mark)}")
        for identity in cluster.memories:
            click.echo(f"  {identity}")


@click.command("summarize")
@profile_argument
@click.argument("ids", nargs=-1)
@click.option("--cluster", type=int, help="The id of a cluster, instead of memories.")
@_BY
@click.option(
    "--method", type=click.Choice(get_args(SummaryMethod)), default="auto", show_default=True,
    help="Whether a language model writes it.",
)  # fmt: skip
@click.option("--lossless/--short", default=True, help="Whether all names and numbers are kept.")
@place_options
def summarize(place: Place, profile: str, ids: tuple[str, ...], **options: Any) -> None:
    """Sum up memories IDS, or a cluster, in a memory that is derived from them.

    \b
    palimp memory summarize alice mem_1... mem_2...
    palimp memory summarize alice --cluster 12 --method extractive
    """
    with place.profile(profile) as store:
        done = store.relations.summarize(ids, **options)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{done.memory.id}  {done.status}, {done.method}, of {len(done.memories)} memories")
    click.echo(f"  {done.memory.text}")
    if done.note is not None:
        click.echo(done.note, err=True)


@click.command("scores")
@profile_argument
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@at_option
@place_options
def scores(place: Place, profile: str, ids: tuple[str, ...], at: str | None) -> None:
    """Show what memories are worth now: importance, decay, evidence, consistency."""
    with place.reading(profile, at) as store:
        found = store.scores(ids)
    if place.as_json:
        echo_json(list(found))
        return
    for one in found:
        click.echo(
            f"{one.id}  importance {one.importance}, decay {one.decay:.2f}, evidence "
            f"{one.evidence}, consistency {one.consistency:g}"
        )


COMMANDS = (clusters, summarize, scores)
