"""`palimp export` and `palimp import`: a profile as one file."""

from __future__ import annotations

from pathlib import Path

import click

from ..points import Point
from .common import Place, at_option, echo_json, echo_txid, place_options, profile_argument

_file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.command("export")
@click.argument("branch", metavar="PROFILE[@BRANCH]")
@_file_argument
@at_option
@place_options
def export(place: Place, branch: str, file: Path, at: str | None) -> None:
    """Write a branch, as it is or was --at a point, as a plain SQLite FILE that must not exist.

    \b
    palimp export alice alice.db
    palimp export alice@trial --at before-run trial.db
    """
    point = None if at is None else Point.parse(at)
    with place.profile(branch) as store:
        txid = store.export(file, at=point)
    echo_txid(txid)
    if place.as_json:
        echo_json({"file": str(file), "bytes": file.stat().st_size, "txid": txid})
        return
    click.echo(f"{file}: {file.stat().st_size:,} bytes")


@click.command("import")
@_file_argument
@profile_argument
@place_options
def import_(place: Place, file: Path, profile: str) -> None:
    """Fill PROFILE, which must not have been written, from an exported FILE.

    \b
    palimp import alice.db alice-copy
    """
    with place.profile(profile) as store:
        txid = store.import_(file)
    echo_txid(txid)
    if place.as_json:
        echo_json({"profile": profile, "txid": txid})
        return
    click.echo(f"{profile} holds what {file} holds")
