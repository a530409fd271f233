"""`palimp lifecycle`: the states of memories."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any, get_args

import click

from ..api import MovedMemories, MovedMemory
from ..api.annotating import Reassigned
from ..api.lifecycle import AskedMethod, MemoryEvent, MemoryMove
from ..api.limits import PAGE_MAX
from ..api.memories import Tier
from .common import Place, echo_json, echo_txid, given, place_options, profile_argument, when
from .memory import filter_fields

_id_argument = click.argument("id")
_reason_option = click.option("--reason", help="Kept with the event.")
_METHODS = click.Choice(get_args(AskedMethod))


@click.group("lifecycle")
def command() -> None:
    """Archive, delete in two steps, restore, hold.

    To forget (`palimp memory forget`) removes a memory at once, unless a policy says otherwise. To
    delete it here hides it at once and removes it when its grace has ended.
    """


@command.command("archive")
@profile_argument
@_id_argument
@_reason_option
@place_options
def archive(place: Place, profile: str, id: str, reason: str | None) -> None:
    """Archive memory ID: readable, no longer recalled."""
    with place.profile(profile) as store:
        _show(place, store.lifecycle.archive(id, reason=reason))


@command.command("restore")
@profile_argument
@_id_argument
@_reason_option
@place_options
def restore(place: Place, profile: str, id: str, reason: str | None) -> None:
    """Make memory ID active again: archived, quarantined or deleted."""
    with place.profile(profile) as store:
        _show(place, store.lifecycle.restore(id, reason=reason))


@command.command("delete")
@profile_argument
@_id_argument
@click.option("--method", type=_METHODS, default="user_request", show_default=True, help="Why.")
@_reason_option
@place_options
def delete(place: Place, profile: str, id: str, method: AskedMethod, reason: str | None) -> None:
    """Hide memory ID at once, and purge it when its grace has ended."""
    with place.profile(profile) as store:
        _show(place, store.lifecycle.delete(id, method=method, reason=reason))


@command.command("hold")
@profile_argument
@_id_argument
@_reason_option
@place_options
def hold(place: Place, profile: str, id: str, reason: str | None) -> None:
    """Put memory ID under legal hold: nothing removes it."""
    with place.profile(profile) as store:
        _show(place, store.lifecycle.hold(id, reason=reason))


@command.command("release")
@profile_argument
@_id_argument
@_reason_option
@place_options
def release(place: Place, profile: str, id: str, reason: str | None) -> None:
    """End the legal hold of memory ID."""
    with place.profile(profile) as store:
        _show(place, store.lifecycle.release(id, reason=reason))


@command.command("move")
@profile_argument
@click.argument("move", type=click.Choice(get_args(MemoryMove)))
@click.option("--state", help="In which state they are now. [default: active]")
@click.option("--topic", help="Exact topic.")
@filter_fields
@click.option("--method", type=_METHODS, default="admin_action", show_default=True, help="Why.")
@_reason_option
@click.option("--dry-run", is_flag=True, help="Say what it would be, and do nothing.")
@place_options
def move(
    place: Place,
    profile: str,
    move: MemoryMove,
    method: AskedMethod,
    reason: str | None,
    dry_run: bool,
    **filters: Any,
) -> None:
    """Archive, restore, delete, hold or release all that the filters match.

    \b
    palimp lifecycle move alice archive --session s42 --dry-run
    palimp lifecycle move alice restore --state soft_deleted --source crm
    """
    pages: list[MovedMemories] = []
    with place.profile(profile) as store:
        cursor = None
        while not pages or cursor is not None:
            page = store.lifecycle.move(
                move,
                method=method,
                reason=reason,
                limit=PAGE_MAX,
                cursor=cursor,
                dry_run=dry_run,
                **given(filters),
            )
            pages.append(page)
            cursor = page.next_cursor
    done = MovedMemories(
        ids=tuple(one for page in pages for one in page.ids),
        skipped=tuple(one for page in pages for one in page.skipped),
        txid=pages[-1].txid,
    )
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    for identity in done.ids:
        click.echo(identity)
    for one in done.skipped:
        click.echo(f"skipped {one.id}: {one.reason}", err=True)


@command.command("tier")
@profile_argument
@_id_argument
@click.argument("tier", type=click.Choice(get_args(Tier)))
@place_options
def tier(place: Place, profile: str, id: str, tier: Tier) -> None:
    """Put memory ID in TIER by hand; recall finds warm ones later, and cold ones last."""
    with place.profile(profile) as store:
        done = store.lifecycle.tier(id, tier)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
    else:
        click.echo(f"{id} is {tier}" if done.changed else f"{id} is {tier} already")


@command.command("reassign")
@profile_argument
@click.argument("project")
@click.option("--to", help="The project they are in from then on. [default: none]")
@place_options
def reassign(place: Place, profile: str, project: str, to: str | None) -> None:
    """Give all memories of PROJECT to another one, or to none, whatever their state."""
    count, more, txid = 0, True, 0
    with place.profile(profile) as store:
        while more:
            done = store.lifecycle.reassign(project, to=to)
            count, more, txid = count + done.count, done.more, done.txid
    echo_txid(txid)
    if place.as_json:
        echo_json(Reassigned(count=count, txid=txid))
    else:
        click.echo(f"{count:,} memories are {'in no project' if to is None else f'in {to}'} now")


@command.command("run")
@profile_argument
@place_options
def run(place: Place, profile: str) -> None:
    """Do what is due of states and expiry in PROFILE, as its policy says; a node does it too.

    For many profiles: palimp fleet run lifecycle.
    """
    with place.profile(profile) as store:
        done = store.lifecycle.run()
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    moved = {name: count for name, count in done.to_dict().items() if name != "txid" and count}
    for name, count in moved.items():
        click.echo(f"{name}: {count:,}")
    if not moved:
        click.echo("nothing is due")


@command.command("events")
@profile_argument
@_id_argument
@place_options
def events(place: Place, profile: str, id: str) -> None:
    """Show what happened to memory ID, oldest first."""
    with place.profile(profile) as store:
        found = list(store.lifecycle.events(id))
    if place.as_json:
        echo_json(list(found))
        return
    for event in found:
        click.echo(_line(event))


@command.command("history")
@profile_argument
@click.option("--limit", type=int, default=100, show_default=True, help="At most that many.")
@place_options
def history(place: Place, profile: str, limit: int) -> None:
    """Show what happened to all memories of PROFILE, newest first."""
    with place.profile(profile) as store:
        found = list(islice(store.lifecycle.history(), max(limit, 0)))
    if place.as_json:
        echo_json(list(found))
        return
    for event in found:
        click.echo(f"{event.id}  {_line(event)}")


@command.command("lineage")
@profile_argument
@_id_argument
@place_options
def lineage(place: Place, profile: str, id: str) -> None:
    """Show what memory ID was derived from, and what was derived from it."""
    with place.profile(profile) as store:
        found = store.lifecycle.lineage(id)
    if place.as_json:
        echo_json(found)
        return
    for source in found.sources:
        click.echo(f"from  {source}")
    for derived in found.derived:
        click.echo(f"for   {derived}")
    if len(found.derived) < found.derived_count:
        click.echo(f"... and {found.derived_count - len(found.derived):,} more")


def _show(place: Place, done: MovedMemory) -> None:
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    parts = [f"{done.id} is {done.state}"]
    if done.before != done.state:
        parts.append(f"was {done.before}")
    if done.held:
        parts.append("under legal hold")
    if done.hard_delete_at is not None:
        parts.append(f"purged from {when(done.hard_delete_at)} on")
    click.echo(", ".join(parts))


def _line(event: MemoryEvent) -> str:
    parts = [f"{when(event.at)}  {event.event}"]
    if event.actor is not None:
        parts.append(f"by {event.actor}")
    parts += [part for part in (event.method, event.other, event.reason) if part is not None]
    for name, (old, new) in (event.changes or {}).items():
        parts.append(f"{name}: {json.dumps(old)} -> {json.dumps(new)}")
    return ", ".join(parts)
