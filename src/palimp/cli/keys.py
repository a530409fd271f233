"""`palimp keys`: the keys that what is stored is encrypted with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from ..api import MasterKeysRetired, ProfileKeysInfo, Reencrypted
from ..client import Client, Profile
from ..errors import Conflict
from .common import Place, echo_json, place_options, when


@click.group("keys")
def command() -> None:
    """See, renew and retire the keys that what is stored is encrypted with.

    There are some where PALIMP_MASTER_KEY is set; `palimp keygen master` makes one.
    """


@command.command("status")
@place_options
def status(place: Place) -> None:
    """Say which keys there are: master keys and namespaces, or the profiles of --namespace.

    \b
    palimp keys status
    palimp keys status --namespace acme
    """
    namespace = _named(place)
    with place.client() as mem:
        if namespace is not None:
            profiles = list(mem.profile_keys(namespace))
            if place.as_json:
                echo_json({"profiles": [one.to_dict() for one in profiles]})
            for one in () if place.as_json else profiles:
                click.echo(_profile_line(one))
            return
        found = mem.keys()
    if place.as_json:
        echo_json(found)
        return
    if not found.on:
        click.echo("nothing is encrypted: PALIMP_MASTER_KEY is not set")
    for master in found.masters:
        state = "current" if master.current else "older"
        click.echo(f"master key {master.id}: {state}, wraps keys of {master.namespaces} namespaces")
    for each in found.namespaces:
        click.echo(f"namespace {each.namespace}: {_versions(each.versions)}, {when(each.made_at)}")


@command.command("rotate")
@click.option(
    "--rewrap-only", is_flag=True, help="Profiles keep their keys, which are only wrapped anew."
)
@place_options
def rotate(place: Place, rewrap_only: bool) -> None:
    """Give every namespace (or --namespace) and its profiles new keys, wrapped by the master key.

    What was sealed before stays readable; `palimp keys reencrypt` stores it again.

    \b
    palimp keys rotate --namespace acme
    """
    done = []
    with place.client() as mem:
        for namespace in _namespaces(mem, place):
            version = profiles = 0
            for page in mem.rotate_keys(namespace, rewrap_only=rewrap_only):
                version, profiles = page.version, profiles + page.profiles
                if page.next_cursor is not None and not place.as_json:
                    click.echo(f"  {namespace}: {profiles:,} profiles so far", err=True)
            done.append({"namespace": namespace, "version": version, "profiles": profiles})
            if not place.as_json:
                click.echo(f"{namespace}: version {version}, {profiles:,} profiles")
    if place.as_json:
        echo_json({"namespaces": done})


@command.command("reencrypt")
@click.argument("profile", required=False)
@place_options
def reencrypt(place: Place, profile: str | None) -> None:
    """Store again what an older key sealed, or none, in every branch of PROFILE.

    Without PROFILE: of every profile of every namespace, or of --namespace. Ended anywhere, it goes
    on where it was.

    \b
    palimp keys reencrypt alice
    palimp keys reencrypt --namespace acme --json
    """
    done = []
    with place.client() as mem:
        for one in _profiles(mem, place, profile):
            stored = deleted = 0
            while True:
                found = one.reencrypt()
                stored, deleted = stored + found.stored, deleted + found.objects_deleted
                if not place.as_json and found.remaining:
                    click.echo(f"  {one}: {found.remaining:,} segments remain", err=True)
                if not found.remaining:
                    break
            done.append(_reencrypted(one, found, stored, deleted))
            if not place.as_json:
                click.echo(
                    f"{one}: {stored:,} segments stored again, {deleted:,} old ones deleted, "
                    f"{found.objects_left:,} left"
                )
    if place.as_json:
        echo_json({"profiles": done})


@command.command("seal-fields")
@click.argument("profile", required=False)
@click.option("--dry-run", is_flag=True, help="Only count what is still to be sealed.")
@place_options
def seal_fields(place: Place, profile: str | None, dry_run: bool) -> None:
    """Seal the rows of PROFILE that stand in plain or under an older key, in every branch.

    Without PROFILE: of every profile of every namespace, or of --namespace, whose policy has
    encryption.fields. Ended anywhere, it goes on where it was.

    \b
    palimp keys seal-fields alice
    palimp keys seal-fields --namespace acme --dry-run --json
    """
    done = []
    with place.client() as mem:
        for one in _profiles(mem, place, profile):
            sealed, found = 0, None
            try:
                while found is None or (found.remaining and found.sealed):
                    found = one.seal_fields(limit=0 if dry_run else None)
                    sealed += found.sealed
            except Conflict:
                if profile is not None:
                    raise
                continue
            fields = {"profile": str(one), **found.to_dict(), "sealed": sealed}
            done.append(fields)
            if not place.as_json:
                click.echo(
                    f"{one}: {sealed:,} rows sealed, {found.remaining:,} remain, "
                    f"{found.unreadable:,} cannot be read"
                )
    if place.as_json:
        echo_json({"profiles": done})


@command.command("retire")
@click.option("--force", is_flag=True, help="Also keys that something needs: that is lost then.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
def retire(place: Place, force: bool, yes: bool) -> None:
    """Give up older keys that nothing needs: of every namespace and master keys, or of --namespace.

    Says which stay, and why. A master key that went may be taken out of PALIMP_MASTER_KEY.
    """
    if force and not yes:
        click.confirm("give up keys, and all that is sealed with them?", abort=True, err=True)
    done: list[dict[str, Any]] = []
    masters: MasterKeysRetired | None = None
    with place.client() as mem:
        for namespace in _namespaces(mem, place):
            for page in mem.retire_keys(namespace, force=force):
                done.append(page.to_dict())
                for one in () if place.as_json else page.kept:
                    click.echo(f"{namespace} {one.name} version {one.version} stays: {one.why}")
        if _named(place) is None:
            masters = mem.retire_master_keys()
    if place.as_json:
        found = None if masters is None else masters.to_dict()
        echo_json({"namespaces": done, "masters": found})
        return
    gone = [sum(one[name] for one in done) for name in ("profile_keys", "namespace_keys")]
    click.echo(f"{gone[0]:,} keys of profiles and {gone[1]:,} of namespaces are gone")
    if masters is not None:
        for id_ in masters.retired:
            click.echo(f"master key {id_} is not needed any more")
        for id_, why in masters.kept.items():
            click.echo(f"master key {id_} stays: {why}")


def _named(place: Place) -> str | None:
    """Return the namespace of the command line; None where none was given."""
    source = click.get_current_context().get_parameter_source("namespace")
    return None if source is ParameterSource.DEFAULT else place.namespace


def _namespaces(mem: Client, place: Place) -> list[str]:
    namespace = _named(place)
    if namespace is not None:
        return [namespace]
    return [one.namespace for one in mem.keys().namespaces]


def _profiles(mem: Client, place: Place, profile: str | None) -> Iterator[Profile]:
    if profile is not None:
        yield mem.profile(profile, namespace=place.namespace)
        return
    named = _named(place)
    for namespace in list(mem.namespaces()) if named is None else [named]:
        yield from list(mem.profiles(namespace=namespace))


def _reencrypted(one: Profile, found: Reencrypted, stored: int, deleted: int) -> dict[str, Any]:
    counts = {"stored": stored, "objects_deleted": deleted, "objects_left": found.objects_left}
    return {"profile": str(one), **counts}


def _profile_line(one: ProfileKeysInfo) -> str:
    if one.destroyed:
        return f"{one.profile}: destroyed"
    if not one.versions:
        return f"{one.profile}: none, nothing is sealed"
    return f"{one.profile}: {_versions(one.versions)}, {when(one.made_at)}, under {one.under}"


def _versions(versions: tuple[int, ...]) -> str:
    older = f" (and {len(versions) - 1} older)" if len(versions) > 1 else ""
    return f"version {versions[0]}{older}"
