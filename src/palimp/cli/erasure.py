"""`palimp erasure`: removing a datum from every layer of history, with a receipt."""

from __future__ import annotations

from pathlib import Path

import click

from ..api import Erasure, MemoryType
from ..api.base import Result
from ..errors import Conflict, Invalid, Unavailable
from .common import Place, echo_json, place_options, profile_argument, when

_id_argument = click.argument("erasure", metavar="ERASURE")


@click.group("erasure")
def command() -> None:
    """Erase from the present, from history and from every branch.

    To forget (`palimp memory forget`) removes from the present only. To erase removes what every
    earlier state holds, and ends with a signed receipt.
    """


@command.command("request")
@profile_argument
@click.argument("ids", nargs=-1)
@click.option("--topic", help="All that has this topic, superseded or not.")
@click.option("--type", "kind", help="Of that topic only what is of this type.")
@click.option("--session", help="All memories and turns of a session.")
@click.option("--keep-turns", is_flag=True, help="Of that session the memories only.")
@click.option("--source", help="All that came from a source.")
@click.option("--whole-profile", "whole", is_flag=True, help="The profile with all its branches.")
@click.option("--derived", is_flag=True, help="Also what was made of it.")
@click.option("--grace", type=float, help="Seconds until history is written anew. [default: 86400]")
@click.option("--reason", help="Kept with the erasure.")
@click.option("--dry-run", is_flag=True, help="Say what it would come to, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
def request(
    place: Place,
    profile: str,
    ids: tuple[str, ...],
    topic: str | None,
    kind: MemoryType | None,
    keep_turns: bool,
    session: str | None,
    source: str | None,
    whole: bool,
    derived: bool,
    grace: float | None,
    reason: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Erase memories by their IDS, or all of a topic, a session, a source, or a whole profile.

    \b
    palimp erasure request alice mem_0f3c... --grace 0
    palimp erasure request alice --session s42 --dry-run
    """
    if whole and not (yes or dry_run):
        click.confirm(f"Erase profile {profile} with all its branches and its history?", abort=True)
    with place.profile(profile) as store:
        job = store.erase(
            *ids,
            topic=topic,
            session=session,
            source=source,
            profile=whole,
            type=kind,
            turns=not keep_turns,
            include_derived=derived,
            grace=grace,
            reason=reason,
            dry_run=dry_run,
        )
    _show(place, job.state)


@command.command("list")
@profile_argument
@place_options
def list_(place: Place, profile: str) -> None:
    """List the erasures of a profile, the oldest first."""
    with place.profile(profile) as store:
        found: list[Result] = [job.state for job in store.erasures()]
    if place.as_json:
        echo_json(found)
        return
    for one in found:
        assert isinstance(one, Erasure)
        click.echo(_line(one))


@command.command("status")
@profile_argument
@_id_argument
@place_options
def status(place: Place, profile: str, erasure: str) -> None:
    """Say how far an erasure is, and what blocks it."""
    with place.profile(profile) as store:
        _show(place, store.erasure(erasure).state)


@command.command("run")
@profile_argument
@_id_argument
@place_options
def run(place: Place, profile: str, erasure: str) -> None:
    """Do what is due of an erasure now; never before its grace has ended."""
    with place.profile(profile) as store:
        _show(place, store.erasure(erasure).run())


@command.command("cancel")
@profile_argument
@_id_argument
@place_options
def cancel(place: Place, profile: str, erasure: str) -> None:
    """Call an erasure off before its grace has ended.

    What was removed from the present stays removed; `palimp branch rewind` brings it back.
    """
    with place.profile(profile) as store:
        _show(place, store.erasure(erasure).cancel())


@command.command("receipt")
@profile_argument
@_id_argument
@click.option("--out", type=click.Path(path_type=Path), help="Write it there; a new file.")
@place_options
def receipt(place: Place, profile: str, erasure: str, out: Path | None) -> None:
    """Print the receipt of an erasure that is done."""
    from ..security.receipts import encode_receipt

    with place.profile(profile) as store:
        found = store.erasure(erasure)
    if found.receipt is None:
        raise Conflict(f"erasure {erasure} is {found.status}: its receipt comes when it is done")
    data = encode_receipt(found.receipt)
    if out is None:
        click.echo(data.decode())
        return
    try:
        with out.open("xb") as file:
            file.write(data + b"\n")
    except FileExistsError:
        raise Conflict(f"{out} exists already; give another name") from None
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror}") from error


@command.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", help="The public key (base64) it has to be signed with.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt's fields as JSON.")
def verify(file: Path, key: str | None, as_json: bool) -> None:
    """Check a receipt, offline: that no byte of it was changed since it was signed.

    \b
    palimp erasure verify receipt.json
    """
    from ..security.receipts import verify_receipt

    try:
        data = file.read_bytes()
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    fields = verify_receipt(data, key)
    if as_json:
        echo_json(fields)
        return
    click.echo(
        f"ok: erasure {fields['id']} of {fields['database']} ({fields['target']['kind']}), "
        f"{when(fields['completed_at'])}; {len(fields['objects_removed'])} objects removed"
    )
    click.echo(f"signed with key {fields['key_id']}; compare it with the key of whoever says so")


def _show(place: Place, found: Erasure) -> None:
    if place.as_json:
        echo_json(found)
        return
    click.echo(_line(found))
    for blocker in found.blocked_by:
        click.echo(f"  blocked by {blocker.kind} {blocker.name}: {blocker.message}")


def _line(found: Erasure) -> str:
    parts = [found.id or "(planned)", found.status, found.kind, f"{found.rows:,} rows"]
    if found.status in ("planned", "waiting"):
        parts.append(
            f"{found.points:,} earlier states to be written anew ({found.bytes:,} bytes), not "
            f"before {when(found.not_before)}"
        )
    elif found.status == "done":
        parts.append(f"{found.points:,} earlier states written anew")
    return ", ".join(parts)
