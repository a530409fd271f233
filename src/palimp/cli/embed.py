"""`palimp embed`: which models the rows have vectors of, and embedding them anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ..api import EmbedStatus
from ..client import Client, Profile
from .common import Place, at_option, echo_json, echo_txid, place_options, profile_argument, when

_profiles_argument = click.argument("profile", required=False)


@click.group("embed")
def command() -> None:
    """See and renew the vectors that memories are found by."""


@command.command("status")
@profile_argument
@at_option
@place_options
def status(place: Place, profile: str, at: str | None) -> None:
    """Say which models the rows have vectors of, and how many still wait for one."""
    with place.reading(profile, at) as store:
        found = store.embed_status()
    if place.as_json:
        echo_json(found)
        return
    _print_status(found)


@command.command("reembed")
@_profiles_argument
@place_options
def reembed(place: Place, profile: str | None) -> None:
    """Embed every row with the model in use; vectors of older models go.

    Without PROFILE: every profile of the namespace. Ended anywhere, it goes on where it was.

    \b
    palimp embed reembed alice
    palimp embed reembed --namespace acme --json
    """
    done = []
    with place.client() as mem:
        for store in _profiles(mem, place.namespace, profile):
            done.append(_reembed(store, progress=not place.as_json))
            if not place.as_json:
                _print_done(done[-1])
    if profile is not None:
        echo_txid(done[0]["txid"])
    if place.as_json:
        echo_json({"profiles": done} if profile is None else done[0])
    elif not done:
        click.echo("no profiles")


@command.command("texts")
@profile_argument
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--query", is_flag=True, help="Vectors to search with.")
@place_options
def texts(place: Place, profile: str, texts: tuple[str, ...], query: bool) -> None:
    """Print the vectors of texts that the node's embedder makes; nothing is kept."""
    with place.profile(profile) as store:
        found = store.embed_texts(texts, query=query)
    if place.as_json:
        echo_json(found)
        return
    for vector in found.vectors:
        click.echo(f"{found.model}, {len(vector)} numbers: {list(vector)}")


def _profiles(mem: Client, namespace: str, profile: str | None) -> Iterator[Profile]:
    if profile is not None:
        yield mem.profile(profile, namespace=namespace)
        return
    for one in list(mem.profiles(namespace=namespace)):
        yield mem.profile(one.name, namespace=namespace)


def _reembed(store: Profile, *, progress: bool) -> dict[str, Any]:
    """Repeat the call until it has nothing left to do; progress goes to stderr."""
    embedded = dropped = 0
    while True:
        done = store.reembed()
        embedded, dropped = embedded + done.embedded, dropped + done.dropped
        if not done.embedded and not done.dropped:
            break
        if progress:
            click.echo(f"{store}: {embedded:,} embedded, {done.remaining:,} remain", err=True)
    return {
        "profile": store.name,
        "model": done.model,
        "embedded": embedded,
        "dropped": dropped,
        "remaining": done.remaining,
        "txid": done.txid,
    }


def _print_done(done: dict[str, Any]) -> None:
    click.echo(
        f"{done['profile']}: {done['embedded']:,} rows embedded with {done['model']}, "
        f"{done['dropped']:,} older vectors dropped"
    )
    if done["remaining"]:
        click.echo(f"  {done['remaining']:,} rows changed meanwhile; run it again")


def _print_status(found: EmbedStatus) -> None:
    click.echo(f"model       {found.model or 'none that answers'}")
    for one in found.generations:
        mark = "current" if one.current else "older"
        click.echo(
            f"{mark:10}  {one.model}, {one.dimensions:,} dimensions: {one.memories:,} memories, "
            f"{one.turns:,} turns"
        )
    click.echo(f"pending     {found.pending_memories:,} memories, {found.pending_turns:,} turns")
    if found.remaining and any(not one.current for one in found.generations):
        click.echo(
            f"remaining   {found.remaining:,} rows without a vector of this model: "
            "palimp embed reembed"
        )
    if found.failure is not None:
        at = "" if found.failed_at is None else f" {when(found.failed_at)}"
        state = "answers now, failed" if found.answers else "failed"
        click.echo(f"{state}{at}: {found.failure}")
