"""`palimp branch`: the history of a profile."""

from __future__ import annotations

from itertools import islice

import click

from ..api import BranchInfo, Wake, Woken
from ..ids import parse_profile_spec
from ..points import Point
from .common import Place, at_option, echo_json, echo_txid, place_options, profile_argument, when
from .merging import COMMANDS

_branch_argument = click.argument("branch", metavar="PROFILE[@BRANCH]")


@click.group("branch")
def command() -> None:
    """Checkpoint, rewind, fork, compare, merge and list branches.

    A branch is written PROFILE@BRANCH; without a part after @ it is `main`. A POINT is a
    checkpoint's name, a txid, or an RFC 3339 time.
    """


@command.command("list")
@profile_argument
@place_options
def list_(place: Place, profile: str) -> None:
    """List the branches of a profile."""
    with place.profile(profile) as store:
        branches = store.branches()
    if place.as_json:
        echo_json(branches)
        return
    for branch in branches:
        click.echo(_line(branch))


@command.command("fork")
@_branch_argument
@click.argument("name")
@at_option
@click.option("--ttl", type=float, help="Seconds until it is removed by itself. [default: never]")
@place_options
def fork(place: Place, branch: str, name: str, at: str | None, ttl: float | None) -> None:
    """Make branch NAME of what a branch holds, or held --at a point.

    \b
    palimp branch fork alice trial --ttl 3600
    palimp memory remember alice@trial "Prefers the aisle after all" --topic user.seat
    """
    point = None if at is None else Point.parse(at)
    with place.profile(branch) as store:
        made = store.fork(name, at=point, ttl=ttl)
        (info,) = (one for one in made.branches() if one.name == name)
    echo_txid(info.txid)
    if place.as_json:
        echo_json(info)
        return
    click.echo(_line(info))


@command.command("delete")
@_branch_argument
@place_options
def delete(place: Place, branch: str) -> None:
    """Remove a branch and what only it holds: PROFILE@BRANCH."""
    name = parse_profile_spec(branch).branch
    with place.profile(branch) as store:
        store.delete_branch(name)
    if place.as_json:
        echo_json({"deleted": name})
        return
    click.echo(f"deleted {branch}")


@command.command("checkpoint")
@_branch_argument
@click.argument("name")
@place_options
def checkpoint(place: Place, branch: str, name: str) -> None:
    """Name what a branch holds now, so that it stays readable.

    \b
    palimp branch checkpoint alice before-run
    """
    with place.profile(branch) as store:
        store.checkpoint(name)
        (made,) = (one for one in store.checkpoints() if one.name == name)
    echo_txid(made.txid)
    if place.as_json:
        echo_json(made)
        return
    click.echo(f"checkpoint {name}")


@command.command("checkpoints")
@_branch_argument
@place_options
def checkpoints(place: Place, branch: str) -> None:
    """List the checkpoints of a branch, oldest first."""
    with place.profile(branch) as store:
        found = store.checkpoints()
    if place.as_json:
        echo_json(found)
        return
    for one in found:
        click.echo(f"{one.name}  txid {one.txid}, {when(one.at)}")


@command.command("drop")
@_branch_argument
@click.argument("name")
@place_options
def drop(place: Place, branch: str, name: str) -> None:
    """Remove the checkpoint NAME; what it named is then kept no longer than other history."""
    with place.profile(branch) as store:
        store.drop_checkpoint(name)
    if place.as_json:
        echo_json({"dropped": name})
        return
    click.echo(f"dropped {name}")


@command.command("points")
@_branch_argument
@click.option("--limit", type=click.IntRange(min=1), help="At most that many. [default: all]")
@place_options
def points(place: Place, branch: str, limit: int | None) -> None:
    """List what can be read, forked from and returned to, newest first."""
    with place.profile(branch) as store:
        found = list(islice(store.points(), limit))
    if place.as_json:
        echo_json(list(found))
        return
    for one in found:
        click.echo(f"{one.txid}  {Point.time(one.at)}")


@command.command("rewind")
@_branch_argument
@click.argument("point")
@place_options
def rewind(place: Place, branch: str, point: str) -> None:
    """Make a branch hold again what it held at POINT; nothing of its history goes.

    \b
    palimp branch rewind alice before-run
    """
    with place.profile(branch) as store:
        done = store.rewind(Point.parse(point))
    echo_txid(done.txid)
    if place.as_json:
        echo_json({**done.to_dict(), "undo": str(done.undo)})
        return
    click.echo(f"{branch} holds again what it held at txid {done.to_txid}")
    click.echo(f"  to undo: palimp branch rewind {branch} {done.undo}")


@command.command("sync")
@_branch_argument
@place_options
def sync(place: Place, branch: str) -> None:
    """Return when all that was acknowledged so far survives this machine."""
    with place.profile(branch) as store:
        txid = int(store.sync().value)
    echo_txid(txid)
    if place.as_json:
        echo_json({"txid": txid})
        return
    click.echo(f"{branch} is stored")


@command.command("wake")
@_branch_argument
@place_options
def wake(place: Place, branch: str) -> None:
    """Build the local file of a branch from the object store now, before it is asked for.

    `palimp restore` does that for every branch of every profile.
    """
    with place.profile(branch) as store:
        done: Woken = store.client.call("wake", store.target, Wake())
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"{branch} is here")


for _command in COMMANDS:
    command.add_command(_command)


def _line(branch: BranchInfo) -> str:
    parts = [f"{branch.name}  txid {branch.txid}, {when(branch.at)}"]
    if branch.parent is not None:
        parts.append(f"from {branch.parent} at txid {branch.parent_txid}")
    if branch.checkpoints:
        parts.append(f"{branch.checkpoints} checkpoints")
    if branch.ttl_at is not None:
        parts.append(f"until {when(branch.ttl_at)}")
    if branch.recovered:
        parts.append("recovered")
    return ", ".join(parts)
