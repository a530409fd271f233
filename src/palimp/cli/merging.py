"""`palimp branch diff|merge|apply|pick|revert`: branches against each other."""

from __future__ import annotations

import os
from typing import get_args

import click

from ..api import Memory
from ..api.compare import (
    Change,
    Diff,
    MemoryConflict,
    Merged,
    MergeStrategy,
    Picked,
    Resolution,
    Side,
)
from ..api.limits import CHANGES_DEFAULT, CHANGES_MAX, K_DEFAULT, PICK_CANDIDATES_DEFAULT
from ..errors import Invalid
from ..ids import parse_profile_spec
from ..points import Point
from .common import Place, echo_json, echo_txid, place_options

__all__ = ["COMMANDS"]

_TEXT_CHARS = 100
_WORDS = {"added": ("+", "green"), "updated": ("~", "yellow"), "removed": ("-", "red")}
_target_argument = click.argument("branch", metavar="PROFILE[@BRANCH]")
_source_argument = click.argument("source", metavar="SOURCE")
_conflict_option = click.option(
    "--on-conflict",
    type=click.Choice(get_args(Resolution)),
    default="abort",
    show_default=True,
    help="What to do where both changed the same: `ours` is PROFILE[@BRANCH], `theirs` SOURCE.",
)
_resolve_option = click.option(
    "--resolve",
    metavar="ID=SIDE",
    multiple=True,
    help="Decide one conflict, by its id: `ours` or `theirs`; repeatable.",
)
_dry_option = click.option("--dry-run", is_flag=True, help="Change nothing, say what would.")
_expect_option = click.option(
    "--expect-txid", type=int, help="Refuse where PROFILE[@BRANCH] is at another txid."
)


@click.command("diff")
@_target_argument
@click.option("--against", default="main", show_default=True, help="The branch to compare with.")
@click.option(
    "--limit",
    type=click.IntRange(0, CHANGES_MAX),
    default=CHANGES_DEFAULT,
    show_default=True,
    help="At most that many of each kind.",
)
@place_options
def diff(place: Place, branch: str, against: str, limit: int) -> None:
    """Say what a branch changed that another does not have, since the two parted.

    \b
    palimp branch diff alice@trial
    """
    with place.profile(branch) as store:
        found = store.diff(against, limit=limit)
    if place.as_json:
        echo_json(found)
        return
    _print_diff(found)


@click.command("merge")
@_target_argument
@_source_argument
@click.option(
    "--strategy",
    type=click.Choice(get_args(MergeStrategy)),
    default="merge",
    show_default=True,
    help="`append` brings only what was added; with `accept` that takes the place of what says "
    "almost the same.",
)
@_conflict_option
@_resolve_option
@_expect_option
@_dry_option
@place_options
def merge(
    place: Place,
    branch: str,
    source: str,
    strategy: MergeStrategy,
    on_conflict: Resolution,
    resolve: tuple[str, ...],
    expect_txid: int | None,
    dry_run: bool,
) -> None:
    """Bring what branch SOURCE changed into a branch; all of it or nothing.

    \b
    palimp branch merge alice trial --dry-run
    palimp branch merge alice trial --resolve mem_...=theirs
    """
    with place.profile(branch) as store:
        done = store.merge(
            source,
            strategy=strategy,
            on_conflict=on_conflict,
            resolve=_resolved(resolve),
            expect_txid=expect_txid,
            dry_run=dry_run,
        )
    _print_merged(place, branch, done)


@click.command("apply")
@_target_argument
@_source_argument
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@_resolve_option
@_expect_option
@_dry_option
@place_options
def apply(
    place: Place,
    branch: str,
    source: str,
    ids: tuple[str, ...],
    resolve: tuple[str, ...],
    expect_txid: int | None,
    dry_run: bool,
) -> None:
    """Bring single changes of branch SOURCE, by the ids that a diff names."""
    with place.profile(branch) as store:
        done = store.apply(
            source, ids, resolve=_resolved(resolve), expect_txid=expect_txid, dry_run=dry_run
        )
    _print_merged(place, branch, done)


@click.command("pick")
@_target_argument
@_source_argument
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--since", metavar="POINT", help="With --until: what SOURCE changed between both.")
@click.option("--until", metavar="POINT", help="The end of that range.")
@click.option("--query", help="What a recall of this finds in SOURCE.")
@click.option("-k", type=int, default=K_DEFAULT, show_default=True, help="That many of a query.")
@click.option("--min-score", type=float, default=0.0, help="With at least this score.")
@_conflict_option
@_expect_option
@click.option(
    "--limit",
    type=int,
    default=PICK_CANDIDATES_DEFAULT,
    show_default=True,
    help="Show that many in a dry run.",
)
@_dry_option
@place_options
def pick(
    place: Place,
    branch: str,
    source: str,
    ids: tuple[str, ...],
    since: str | None,
    until: str | None,
    query: str | None,
    k: int,
    min_score: float,
    on_conflict: Resolution,
    expect_txid: int | None,
    limit: int,
    dry_run: bool,
) -> None:
    """Bring memories of branch SOURCE as they are there, wherever the two parted.

    \b
    palimp branch pick alice trial mem_...
    palimp branch pick alice trial --query "travel plans" -k 3 --dry-run
    """
    with place.profile(branch) as store:
        done = store.pick(
            source,
            ids,
            since=None if since is None else Point.parse(since),
            until=None if until is None else Point.parse(until),
            query=query,
            k=k,
            min_score=min_score,
            on_conflict=on_conflict,
            expect_txid=expect_txid,
            limit=limit,
            dry_run=dry_run,
        )
    _print_picked(place, branch, done)


@click.command("revert")
@_target_argument
@click.argument("since", metavar="SINCE")
@click.argument("until", metavar="UNTIL")
@_conflict_option
@_resolve_option
@_expect_option
@_dry_option
@place_options
def revert(
    place: Place,
    branch: str,
    since: str,
    until: str,
    on_conflict: Resolution,
    resolve: tuple[str, ...],
    expect_txid: int | None,
    dry_run: bool,
) -> None:
    """Take back what a branch changed between two points, and keep what is newer.

    What was changed again later is a conflict: `ours` leaves it as it is now, `theirs` makes it
    what it was at SINCE.

    \b
    palimp branch revert alice before-run after-run
    """
    with place.profile(branch) as store:
        done = store.revert(
            Point.parse(since),
            Point.parse(until),
            on_conflict=on_conflict,
            resolve=_resolved(resolve),
            expect_txid=expect_txid,
            dry_run=dry_run,
        )
    _print_merged(place, branch, done)


COMMANDS = (diff, merge, apply, pick, revert)


def _resolved(given: tuple[str, ...]) -> dict[str, Side]:
    found: dict[str, Side] = {}
    for one in given:
        identity, _, side = one.partition("=")
        if side not in get_args(Side):
            raise Invalid(f"--resolve is {one!r:.80}; give ID=ours or ID=theirs")
        found[identity] = "ours" if side == "ours" else "theirs"
    return found


def _print_diff(found: Diff) -> None:
    if not any(found.counts.values()):
        click.echo(f"{found.branch} and {found.against} hold the same")
        return
    for change in (*found.added, *found.updated, *found.removed):
        _print_change(change)
    for conflict in found.conflicts:
        _print_conflict(conflict, found.branch, found.against)
    for change in found.behind:
        _say(f"  {found.against} only: {_line(change)}", "bright_black")
    counts = {**found.counts, "in conflict": found.counts["conflicts"]}
    counted = ", ".join(
        f"{count:,} {word}" for word, count in counts.items() if count and word != "conflicts"
    )
    shown = (*found.added, *found.updated, *found.removed, *found.conflicts, *found.behind)
    missing = sum(found.counts.values()) - len(shown)
    click.echo(
        counted + (f"; {missing:,} are not shown, ask for more with --limit" if missing else "")
    )


def _print_change(change: Change) -> None:
    sign, colour = _WORDS[change.change]
    _say(f"{sign} {_line(change)}", colour)
    if change.change == "updated" and change.old and change.old.text != _text(change.new):
        _say(f"    was: {_shortened(change.old.text)}", "bright_black")
    if change.fields:
        _say(f"    changed: {', '.join(change.fields)}", "bright_black")


def _line(change: Change) -> str:
    return f"{change.id}  {_shortened(_text(change.new or change.old))}"


def _print_conflict(conflict: MemoryConflict, theirs: str, ours: str) -> None:
    _say(f"! {conflict.id}  {conflict.kind} on both sides", "magenta")
    for name, memory in (("was", conflict.base), (ours, conflict.ours), (theirs, conflict.theirs)):
        if memory is not None or name != "was":
            click.echo(f"    {name}: {_shortened(_text(memory)) or 'nothing'}")


def _print_merged(place: Place, branch: str, done: Merged) -> None:
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    for identity in done.added:
        _say(f"+ {identity}", "green")
    for old, new in (*done.updated, *done.replaced):
        _say(f"~ {old}" + ("" if old == new else f" -> {new}"), "yellow")
    for identity in done.removed:
        _say(f"- {identity}", "red")
    for conflict in done.conflicts:
        _print_conflict(conflict, done.source, branch)
    for one in done.skipped:
        click.echo(f"  {one.id} was left: {one.reason}")
    if done.kept:
        click.echo(f"  {len(done.kept):,} stay as they are in {branch}")
    count = len(done.added) + len(done.updated) + len(done.replaced) + len(done.removed)
    word = "would change" if done.dry_run else "changed"
    click.echo(f"{branch}: {count:,} {word}" if count else f"{branch}: nothing {word}")
    _print_undo(branch, done.checkpoint)


def _print_picked(place: Place, branch: str, done: Picked) -> None:
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    for one in done.candidates:
        score = "" if one.score is None else f"  {one.score:.2f}"
        click.echo(f"{one.outcome:8} {one.memory.id}{score}  {_shortened(one.memory.text)}")
    for skipped in done.skipped:
        click.echo(f"  {skipped.id} was left: {skipped.reason}")
    word = "would be picked" if done.dry_run else "picked"
    click.echo(f"{branch}: {len(done.picked):,} of {done.candidate_count:,} {word}")
    _print_undo(branch, done.checkpoint)


def _print_undo(branch: str, checkpoint: str | None) -> None:
    if checkpoint is not None:
        name = branch if parse_profile_spec(branch).branch != "main" else branch.partition("@")[0]
        click.echo(f"  to undo: palimp branch rewind {name} {checkpoint}")


def _text(memory: Memory | None) -> str:
    return "" if memory is None else memory.text


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TEXT_CHARS else line[: _TEXT_CHARS - 1] + "…"


def _say(line: str, colour: str) -> None:
    """Print a line in colour, where the terminal has some and nobody asked for none."""
    click.secho(line, fg=colour, color=False if "NO_COLOR" in os.environ else None)
