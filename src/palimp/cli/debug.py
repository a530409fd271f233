"""`palimp debug`: what the engine keeps, as it is."""

from __future__ import annotations

import click

from ..api import GetManifest, GetNode, GotManifest, NodeInfo, Target
from .common import Place, echo_json, place_options


@click.group("debug")
def command() -> None:
    """Show what the engine keeps. What is printed changes with the release."""


@command.command("node")
@place_options
def node(place: Place) -> None:
    """Print what the node is, or what opens the folder: release, process, store, as JSON."""
    with place.client() as mem:
        found: NodeInfo = mem.call("node.info", Target(), GetNode())
    echo_json(found)


@command.command("manifest")
@click.argument("branch", metavar="PROFILE[@BRANCH]")
@place_options
def manifest(place: Place, branch: str) -> None:
    """Print the manifest of a branch: its segments, checkpoints and owner, as JSON."""
    with place.profile(branch) as store:
        found: GotManifest = store.client.call("manifest", store.target, GetManifest())
    echo_json(found.manifest)
