"""A node that serves and may have Arcs, and an organisation on it: for tests and their children."""

from __future__ import annotations

import base64
from pathlib import Path

from palimp.api import Target
from palimp.api.events import AppendEvents, EventInput, ListTimeline
from palimp.api.tenants import CreateTenant
from palimp.node import Node, load_settings
from palimp.operations.organisations import org_target

MASTER = base64.b64encode(b"m" * 32).decode()


def node_on(folder: Path, **settings: object) -> Node:
    """A node that serves: it brings what waits to the Arcs."""
    values = {
        "data_dir": str(folder / "memory"),
        "embed_provider": "none",
        "catalog_url": f"sqlite:///{folder}/catalog.db",
        "master_key": MASTER,
        "arc_write_flush_interval_ms": 20,
        "arc_settle_secs": 0.2,
        **settings,
    }
    node = Node(load_settings(values, {}), serving=True)
    node.look_after_itself()
    return node


def make_org(node: Node) -> str:
    made = node.call("tenants.create", Target(), CreateTenant(dialect="memtrace", name="Acme"))
    return made.name  # type: ignore[attr-defined, no-any-return]


def append(node: Node, org: str, *texts: str) -> None:
    events = tuple(EventInput(agent="a", text=text) for text in texts)
    node.call("timeline.append", org_target(org), AppendEvents(events=events))


def texts(node: Node, org: str) -> list[str]:
    page = node.call("timeline.list", org_target(org), ListTimeline(order="asc", limit=1_000))
    return [event.text for event in page.events]  # type: ignore[attr-defined]
