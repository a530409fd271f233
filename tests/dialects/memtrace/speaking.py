"""A node that speaks Memtrace, mounted and at a port of its own, with its clock in the test's hand."""

from __future__ import annotations

import base64
import secrets
import socket
import ssl
from pathlib import Path
from typing import Any, Literal

import httpx
import memtrace

import palimp
from palimp.api import Target
from palimp.api.arcs import BindArc
from palimp.api.tenants import CreateTenant
from palimp.client.transports.embedded import Embedded
from palimp.clock import Clock
from palimp.http import create_app
from palimp.node import Node, load_settings
from palimp.node.serving import Served
from palimp.operations import OWNER
from palimp.operations.organisations import org_target

from ...arc_double import ArcDouble

MASTER = base64.b64encode(bytes(range(32))).decode()
_TOKEN = "token-of-the-double"
MINUTE, HOUR, DAY = 60, 3_600, 86_400
# A client that makes its own takes 40 ms for it, though nothing here is encrypted.
_TLS = ssl.create_default_context()


class House:
    """A folder, a node on it, and clients of organisations. `mem` is our own client of the node."""

    # Where organisations keep their events.
    store: Literal["profile", "arc"] = "profile"

    def __init__(self, folder: Path, clock: Clock, **settings: Any) -> None:
        given: dict[str, Any] = {"single_node": True, "embed_provider": "none"}
        given |= {"control_rate": 10_000, "auth_failure_rate": 1_000_000}
        given |= {"data_dir": folder / "m", "catalog_url": f"sqlite:///{folder}/catalog.db"}
        self.clock = clock
        self.node = Node(load_settings({**given, **settings}, {}), clock=clock)
        self.mem = palimp.Client(Embedded(self.node))
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        ports = [one.getsockname()[1] for one in listeners]
        self.ours, self.url = (f"http://127.0.0.1:{port}" for port in ports)
        self.mounted = f"{self.ours}/memtrace"
        self.app = create_app(self.node, ports={ports[1]: "memtrace"})
        self._served = Served(self.app, listeners, read_seconds=10)
        self._clients: list[Any] = []

    def new_org(self, title: str = "Acme") -> str:
        """Return the id of a new organisation."""
        request = CreateTenant(dialect="memtrace", name=title, store=self.store)
        made: str = self.node.call("tenants.create", Target(), request, principal=OWNER).name
        self.furnish(made)
        return made

    def furnish(self, org: str) -> None:
        """Give an organisation what its events are kept in: a profile comes by itself."""

    def new_key(self, org: str, *permissions: str, expires_at: int | None = None) -> str:
        """Return a new key of an organisation; it may read and write unless it is said."""
        detail = {"permissions": list(permissions)} if permissions else {}
        name = f"key {secrets.token_hex(6)}"
        made = self.mem.create_credential(
            "memtrace", org, name, detail=detail, expires_at=expires_at
        )
        assert made.secret is not None
        return made.secret

    def client(self, key: str, url: str | None = None) -> memtrace.Memtrace:
        """Return the published client."""
        found = memtrace.Memtrace(url or self.url, key)
        self._clients.append(found)
        return found

    def raw(self, key: str | None, url: str | None = None, **headers: str) -> httpx.Client:
        """Return a plain client, for what the published one does not show."""
        if key is not None:
            headers["x-api-key"] = key
        found = httpx.Client(base_url=url or self.url, headers=headers, timeout=30, verify=_TLS)
        self._clients.append(found)
        return found

    def profile(self, org: str) -> palimp.Profile:
        """Return where an organisation's events are, in our own words."""
        target = org_target(org)
        assert target.profile is not None
        return self.mem.profile(target.profile, namespace=target.namespace)

    def close(self) -> None:
        for one in self._clients:
            one.close()
        assert self._served.stop(5)
        self.node.close()


class ArcHouse(House):
    """One whose organisations keep their events in one Arc together, of which there is a double."""

    store = "arc"

    def __init__(self, folder: Path, clock: Clock, **settings: Any) -> None:
        self.arc = ArcDouble(folder / "arc.duckdb", token=_TOKEN)
        super().__init__(folder, clock, **{"master_key": MASTER, **settings})

    def furnish(self, org: str) -> None:
        """Give an organisation the Arc of all, before it has any events."""
        request = BindArc(org=org, url=self.arc.url, database="db", api_key=_TOKEN)
        made = self.node.call("arc.bind", Target(), request, principal=OWNER)
        assert made.state == "bound"

    def close(self) -> None:
        super().close()
        self.arc.close()
