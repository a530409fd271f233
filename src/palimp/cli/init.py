"""`palimp init`: what is reachable, what is configured, and what to do next."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import click

from ..api import GetNode, NodeInfo, Target
from .common import Place, echo_json, place_options

# Extra -> the module that is there with it.
_EXTRAS = {"cloud": "obstore", "mcp": "mcp", "server": "prometheus_client"}
_CREDENTIAL = "PALIMP_TOKEN"


@click.command("init")
@place_options
def command(place: Place) -> None:
    """Check what a folder or a node is, and say what to do next.

    \b
    palimp init
    palimp init --url http://127.0.0.1:8080
    """
    with place.client() as mem:
        about: NodeInfo = mem.call("node.info", Target(), GetNode())
    extras = {
        name: importlib.util.find_spec(module) is not None for name, module in _EXTRAS.items()
    }
    found: dict[str, Any] = {
        "url": place.url,
        "reachable": True,
        **about.to_dict(),
        "credentials": "none needed",
        "extras": extras,
        "next": _next(place, about),
    }
    if place.as_json:
        echo_json(found)
    else:
        _tell(found)


def _next(place: Place, about: NodeInfo) -> list[str]:
    where = f"--url {place.url}" if place.url else f"--data {about.folder}"
    steps = [
        f'palimp memory remember alice "Prefers aisle seats" --topic user.seat {where}',
        f'palimp memory recall alice "which seat?" {where}',
    ]
    if place.url is None:
        steps.append(f"palimp serve --data {about.folder}")
    return steps


def _tell(found: dict[str, Any]) -> None:
    settings = found["settings"]
    local = found["object_store"].startswith(("file:", "mem:"))
    rows = {
        "node": found["url"] or "in this process",
        "release": f"{found['release']} (API {found['api']}, process {found['process']})",
        "folder": found["folder"],
        "history": f"{found['object_store']} ({'on' if local else 'not on'} this machine)",
        "writes": f"{found['durability']} unless they say otherwise",
        "embedder": settings.get("embed_provider", "not said"),
        "credentials": _credentials(),
        "extras here": ", ".join(
            f"{name} {'installed' if there else 'not installed'}"
            for name, there in found["extras"].items()
        ),
    }
    for name, value in rows.items():
        click.echo(f"{name:12} {value}")
    missing = [name for name, there in found["extras"].items() if not there]
    if missing:
        click.echo(f"{'':12} to install: pip install 'palimp[{','.join(missing)}]'")
    click.echo("\nNext:")
    for step in found["next"]:
        click.echo(f"  {step}")


def _credentials() -> str:
    if os.environ.get(_CREDENTIAL):
        return f"{_CREDENTIAL} is set and sent"
    return f"{_CREDENTIAL} is not set: enough for a folder, and for a node with PALIMP_AUTH=off"
