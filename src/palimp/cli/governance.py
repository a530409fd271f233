"""`palimp governance`: rules that look through memories, what they did, and taking it back."""

from __future__ import annotations

from typing import get_args

import click

from ..api.governance import (
    GovernanceReport,
    GovernanceStep,
    GovernanceTask,
    MemoryCluster,
    ReflectMode,
)
from .common import Place, echo_json, echo_txid, place_options, profile_argument, when
from .governance_plugin import plugin

_dry_option = click.option("--dry-run", is_flag=True, help="Say what it would be, and do nothing.")
_cooldown_option = click.option(
    "--cooldown", is_flag=True, help="Skip it where the last one is not long enough ago."
)
_force_option = click.option("--force", is_flag=True, help="With --cooldown: do it all the same.")
_LINE_CHARS = 100


@click.group("governance")
def command() -> None:
    """Have rules look through memories: stale, doubled, in doubt.

    Each run that changes something is kept: `report` shows it, `undo` takes it back.
    """


command.add_command(plugin)


@command.command("run")
@profile_argument
@click.argument("task", type=click.Choice(get_args(GovernanceTask)), default="all")
@click.option(
    "--step",
    "steps",
    multiple=True,
    type=click.Choice(get_args(GovernanceStep)),
    help="Only this one; repeatable.",
)
@_dry_option
@_cooldown_option
@_force_option
@click.option("--approved", is_flag=True, help="Also where a strategy asks for approval.")
@place_options
def run(
    place: Place,
    profile: str,
    task: GovernanceTask,
    steps: tuple[GovernanceStep, ...],
    dry_run: bool,
    cooldown: bool,
    force: bool,
    approved: bool,
) -> None:
    """Ask the rules of TASK and do what they decide; `palimp fleet run` does it to many profiles.

    \b
    palimp governance run alice --dry-run
    palimp governance run alice daily
    palimp governance run alice --step quarantine --step redundancy
    """
    with place.profile(profile) as store:
        done = store.governance.run(
            task, steps=steps, dry_run=dry_run, cooldown=cooldown, force=force, approved=approved
        )
    _show(place, profile, done)


@command.command("consolidate")
@profile_argument
@_dry_option
@_cooldown_option
@_force_option
@place_options
def consolidate(place: Place, profile: str, dry_run: bool, cooldown: bool, force: bool) -> None:
    """Look for memories that disagree and conclusions without grounds; show what is alike."""
    with place.profile(profile) as store:
        done = store.governance.consolidate(dry_run=dry_run, cooldown=cooldown, force=force)
    _show(place, profile, done)


@command.command("reflect")
@profile_argument
@click.option(
    "--mode",
    type=click.Choice(get_args(ReflectMode)),
    default="auto",
    show_default=True,
    help="`candidates` only shows; `internal` needs a model; `auto` takes one where there is one.",
)
@_dry_option
@_cooldown_option
@_force_option
@place_options
def reflect(
    place: Place, profile: str, mode: ReflectMode, dry_run: bool, cooldown: bool, force: bool
) -> None:
    """Show what hangs together among the newest facts; with a model, conclude from it."""
    with place.profile(profile) as store:
        done = store.governance.reflect(mode, dry_run=dry_run, cooldown=cooldown, force=force)
    _show(place, profile, done)


@command.command("report")
@profile_argument
@click.argument("run", required=False)
@place_options
def report(place: Place, profile: str, run: str | None) -> None:
    """List the last 20 runs that changed something, or show what one RUN did."""
    with place.profile(profile) as store:
        if run is not None:
            _show(place, profile, store.governance.report(run), reading=True)
            return
        found = store.governance.reports()
    if place.as_json:
        echo_json(found)
        return
    for one in found:
        click.echo(_line(one))
    if not found.reports:
        click.echo("no run has changed anything")


@command.command("undo")
@profile_argument
@click.argument("run")
@place_options
def undo(place: Place, profile: str, run: str) -> None:
    """Take back what one RUN did; what was changed again since stays as it is."""
    with place.profile(profile) as store:
        done = store.governance.undo(run)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
    elif done.already:
        click.echo(f"{run} was taken back before, on {when(done.undone_at)}; nothing was done")
    else:
        click.echo(f"{run}: {done.restored:,} taken back, {done.kept:,} left as changed since")


@command.command("status")
@profile_argument
@place_options
def status(place: Place, profile: str) -> None:
    """Say whether a node governs PROFILE by itself, and when each task changed something."""
    with place.profile(profile) as store:
        found = store.governance.status()
    if place.as_json:
        echo_json(found)
        return
    if found.enabled:
        click.echo(f"on, with {found.strategy}")
    else:
        off = [] if found.node_enabled else ["PALIMP_GOVERNANCE_ENABLED is not set at the node"]
        off += [] if found.policy_enabled else ["the policy's governance.enabled is not true"]
        click.echo(f"off: {' and '.join(off)}")
    for one in found.tasks:
        last = "has changed nothing yet" if one.last is None else _line(one.last)
        click.echo(f"  {one.task} ({', '.join(one.steps)}): {last}")
        if one.circuit_open_until is not None:
            click.echo(f"    its strategy is left alone until {when(one.circuit_open_until)}")


def _show(place: Place, profile: str, done: GovernanceReport, *, reading: bool = False) -> None:
    if not reading:
        echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    if done.skipped:
        click.echo(f"skipped: {done.cooldown_remaining_s:,} s are left of the cooldown")
        return
    for one in done.decisions:
        other = "" if one.other is None else f" for {one.other}"
        click.echo(f"{one.action} {one.memory or 'what is gone'}{other}: {one.rationale}")
    for cluster in done.candidates:
        _show_cluster(cluster)
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(_line(done))
    if done.checkpoint is not None and done.undone_at is None:
        click.echo(f"to take it back: palimp governance undo {profile} {done.id}")


def _show_cluster(cluster: MemoryCluster) -> None:
    click.echo(f"{cluster.signal}, importance {cluster.importance:.2f}")
    for one in cluster.memories:
        click.echo(f"  {one.id}  {' '.join(one.text.split())[:_LINE_CHARS]}")


def _line(one: GovernanceReport) -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in one.counts.items() if count)
    undone = "" if one.undone_at is None else f", taken back on {when(one.undone_at)}"
    dry = " (dry run)" if one.dry_run else ""
    return f"{when(one.at)}  {one.id}  {one.task}{dry}: {one.status}, {counts or 'nothing'}{undone}"
