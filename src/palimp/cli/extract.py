"""`palimp extract`, `proposals`, `review`, `lineage`: memories found in turns, and what waits."""

from __future__ import annotations

from itertools import islice
from typing import IO, Any, get_args

import click

from ..api import Decided, Decision, ExtractionMethod, Proposal, ProposalKind, Review
from ..api.extraction import MIN_CONFIDENCE_DEFAULT
from ..errors import Invalid
from .common import (
    Place,
    at_option,
    echo_json,
    echo_txid,
    given,
    json_lines,
    place_options,
    profile_argument,
    wait_option,
    when,
)

_id_argument = click.argument("id")
_review_argument = click.argument("name", metavar="REVIEW")
_METHODS = click.Choice(get_args(ExtractionMethod))
_KINDS = click.Choice(get_args(ProposalKind))
_DECISIONS = click.Choice(get_args(Decision))


@click.command("extract")
@profile_argument
@click.argument("file", type=click.File("r", encoding="utf-8"), required=False)
@click.option("--session", help="Session whose stored turns are meant, or that FILE belongs to.")
@click.option("--from", "from_seq", type=int, help="First stored turn. [default: the first]")
@click.option("--to", "to_seq", type=int, help="Last stored turn. [default: the last]")
@click.option("--source", help="Where the turns come from. [default: PALIMP_SOURCE]")
@click.option("--method", type=_METHODS, default="model", show_default=True, help="Who reads them.")
@click.option(
    "--min-confidence",
    type=float,
    default=MIN_CONFIDENCE_DEFAULT,
    show_default=True,
    help="Write only what is at least so sure (0 to 1).",
)
@click.option("--project", help="Project the memories belong to.")
@click.option("--environment", help="Environment the memories belong to.")
@click.option("--dry-run", is_flag=True, help="Write nothing; show what would be.")
@click.option("--review", is_flag=True, help="Write to a branch of its own, to be merged.")
@wait_option
@place_options
def command(place: Place, profile: str, file: IO[str] | None, **fields: Any) -> None:
    """Find memories in turns and write those that are worth it.

    FILE (`-`: standard input) has one JSON object a line with `role` and `content`, and `speaker`
    and `at` where known. Without FILE the stored turns of --session are read.

    \b
    palimp extract alice --session s1 --review
    palimp extract alice talk.jsonl --source talk --method rules
    """
    turns = None if file is None else _turns(file)
    with place.profile(profile) as store:
        done = store.extract(turns, **given(fields))
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    for proposal in done:
        _print_proposal(proposal)
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    if done.review is not None:
        name = done.review.review
        click.echo(f"review {name}; next: palimp review show {profile} {name}")


@click.group("proposals")
def proposals() -> None:
    """See, accept and dismiss what was proposed."""


@proposals.command("list")
@profile_argument
@click.option("--kind", type=_KINDS, help="Only this kind.")
@click.option("--decision", type=_DECISIONS, help="Only with this decision, such as pending.")
@click.option("--session", help="Only from this session.")
@click.option("--source", help="Only from this source.")
@click.option("--limit", type=click.IntRange(min=1), help="At most that many. [default: all]")
@at_option
@place_options
def list_(place: Place, profile: str, limit: int | None, at: str | None, **filters: Any) -> None:
    """List proposals, newest first.

    \b
    palimp proposals list alice --decision pending
    """
    with place.reading(profile, at) as store:
        found = list(islice(store.proposals(**given(filters)), limit))
    if place.as_json:
        echo_json(list(found))
        return
    for proposal in found:
        _print_proposal(proposal)


@proposals.command("show")
@profile_argument
@_id_argument
@at_option
@place_options
def show(place: Place, profile: str, id: str, at: str | None) -> None:
    """Show one proposal with both sides."""
    with place.reading(profile, at) as store:
        found = store.proposal(id)
    if place.as_json:
        echo_json(found)
        return
    _print_proposal(found)
    if found.kind == "failed" and found.text:
        click.echo(found.text)


@proposals.command("accept")
@profile_argument
@_id_argument
@click.option("--keep", metavar="ID", help="Which of two memories stays. [default: the newer]")
@place_options
def accept(place: Place, profile: str, id: str, keep: str | None) -> None:
    """Do what a proposal says: write it, or let one memory take the place of the other."""
    with place.profile(profile) as store:
        done = store.accept(id, keep=keep)
    _print_decided(place, done)


@proposals.command("dismiss")
@profile_argument
@_id_argument
@place_options
def dismiss(place: Place, profile: str, id: str) -> None:
    """Note that nothing is to come of a proposal; it is not made again."""
    with place.profile(profile) as store:
        done = store.dismiss(id)
    _print_decided(place, done)


@click.group("review")
def review() -> None:
    """See, merge and drop what was extracted for review."""


@review.command("show")
@profile_argument
@_review_argument
@place_options
def show_review(place: Place, profile: str, name: str) -> None:
    """Show what merging REVIEW would change."""
    with place.profile(profile) as store:
        found = store.review(name).show()
    if place.as_json:
        echo_json(found)
        return
    _print_review(found)


@review.command("merge")
@profile_argument
@_review_argument
@place_options
def merge(place: Place, profile: str, name: str) -> None:
    """Write what REVIEW added, in one transaction, and remove it."""
    with place.profile(profile) as store:
        done = store.review(name).merge()
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    if not done.merged:
        click.echo(f"{name} was merged before; nothing was changed")
        return
    click.echo(f"{len(done.added)} memories added, {len(done.superseded)} superseded")
    for conflict in done.conflicts:
        click.echo(f"  {conflict.memory}: {conflict.reason}")


@review.command("drop")
@profile_argument
@_review_argument
@place_options
def drop(place: Place, profile: str, name: str) -> None:
    """Remove REVIEW and all it holds; the profile stays as it is."""
    with place.profile(profile) as store:
        store.review(name).drop()
    if place.as_json:
        echo_json({"dropped": name})
        return
    click.echo(f"dropped {name}")


@click.group("lineage")
def lineage() -> None:
    """Forget what was derived from something."""


@lineage.command("forget")
@profile_argument
@click.option("--session", help="What was derived from this session's turns.")
@click.option("--source", help="What was derived from this source.")
@click.option("--memory", metavar="ID", help="What was derived from this memory.")
@click.option("--dry-run", is_flag=True, help="Forget nothing; show what would be.")
@place_options
def forget(place: Place, profile: str, **fields: Any) -> None:
    """Forget all that was derived from a session, a source or a memory; 1,000 at once.

    What somebody wrote by hand stays.

    \b
    palimp lineage forget alice --session s1 --dry-run
    """
    with place.profile(profile) as store:
        done = store.forget_derived(**given(fields))
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    for identity in done:
        click.echo(identity)
    if done.remaining:
        click.echo(f"{done.remaining:,} remain: run it again", err=True)


def _turns(file: IO[str]) -> list[Any]:
    turns = []
    for _, value in json_lines(file):
        if isinstance(value, Invalid):
            raise value
        turns.append(value)
    return turns


def _print_proposal(one: Proposal) -> None:
    said = "" if one.kind == "failed" else one.text or ""
    click.echo(f"{one.id}  {one.kind}  {one.decision}  {said}".rstrip())
    if one.reason:
        click.echo(f"  {one.reason}")
    for side in one.sides:
        if side.text != one.text:
            click.echo(f"  {side.id}  {when(side.observed_at or side.created_at)}  {side.text}")


def _print_decided(place: Place, done: Decided) -> None:
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{done.proposal.decision} {done.proposal.id}" + ("" if done.changed else " before"))
    for identity in done.superseded:
        click.echo(f"  supersedes {identity}")


def _print_review(found: Review) -> None:
    for memory in found.added:
        click.echo(f"+ {memory.id}  {memory.text}")
    for pair in found.superseded:
        click.echo(f"- {pair.older.id}  {pair.older.text}")
    for conflict in found.conflicts:
        click.echo(f"! {conflict.memory}  {conflict.reason}")
    waiting = sum(one.decision == "pending" for one in found.proposals)
    if waiting:
        click.echo(f"{waiting} proposals wait: palimp proposals list PROFILE@{found.review}")
    if found.expires_at is not None:
        click.echo(f"removed by itself at {when(found.expires_at)}")
