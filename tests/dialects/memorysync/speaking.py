"""A node that speaks MemorySync at a port of its own, with its clock in the test's hand."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import memorysync

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import Clock
from palimp.http import create_app
from palimp.http.dialects.house import House as Rules
from palimp.http.dialects.memorysync.house import RULES
from palimp.http.dialects.memorysync.names import namespace_of
from palimp.ids import foreign_name
from palimp.node import Node, load_settings
from palimp.node.serving import Served

TENANT = "org_acme"
DAY = 86_400
# A client that makes its own takes 40 ms for it, though nothing here is encrypted.
_TLS = ssl.create_default_context()


class House:
    """A folder, a node on it, and clients of one tenant. `mem` is our own client of the same node."""

    def __init__(self, folder: Path, clock: Clock, **settings: Any) -> None:
        given: dict[str, Any] = {"single_node": True, "embed_provider": "none"}
        given |= {"data_dir": folder / "m", "catalog_url": f"sqlite:///{folder}/catalog.db"}
        self.folder, self.clock = folder / "m", clock
        self.node = Node(load_settings({**given, **settings}, {}), clock=clock)
        self.mem = palimp.Client(Embedded(self.node))
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        ports = [one.getsockname()[1] for one in listeners]
        self.url = f"http://127.0.0.1:{ports[1]}"
        app = create_app(self.node, ports={ports[1]: "memorysync"})
        self._served = Served(app, listeners, read_seconds=10)
        self._clients: list[Any] = []
        self.key = self.new_key()

    def new_key(self, tenant: str = TENANT, **detail: Any) -> str:
        """Return a new key; `detail` is its project, environment and scopes (every one)."""
        detail = {"scopes": ["*"], **detail}
        made = self.mem.create_credential("memorysync", tenant, "test", detail=detail)
        assert made.secret is not None
        return made.secret

    def client(
        self, user: str = "eve", *, key: str | None = None, project: str | None = None
    ) -> memorysync.MemorySyncClient:
        """Return the published client in an end user's place."""
        return self._kept(
            memorysync.MemorySyncClient(
                key or self.key,
                self.url,
                project_id=project,
                end_user_id=user,
                transport=httpx.HTTPTransport(verify=_TLS),
            )
        )

    def control(self, key: str | None = None) -> memorysync.ControlPlaneClient:
        """Return the published client of projects and keys."""
        return self._kept(
            memorysync.ControlPlaneClient(
                self.url,
                access_token=key or self.key,
                transport=httpx.HTTPTransport(verify=_TLS),
            )
        )

    def raw(self, user: str | None = "eve", key: str | None = None, **headers: str) -> httpx.Client:
        """Return a plain client, for what the published one does not show."""
        headers["x-api-key"] = key or self.key
        if user is not None:
            headers["x-end-user-id"] = user
        return self._kept(httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=_TLS))

    def profile(self, user: str = "eve", environment: str = "production") -> palimp.Profile:
        """Return where an end user's memories are, in our own words."""
        namespace = namespace_of(TENANT, environment)
        return self.mem.profile(foreign_name(user), namespace=namespace)

    def add_policy(self, policy: dict[str, Any]) -> None:
        """Add rules to those that the dialect sets for the tenant."""
        namespace = self.profile().target.namespace
        Rules(self.node, RULES).prepare(namespace)
        self.mem.set_policy(namespace, {**self.mem.policy(namespace).policy, **policy})

    def _kept(self, client: Any) -> Any:
        self._clients.append(client)
        return client

    def close(self) -> None:
        for one in self._clients:
            one.close()
        assert self._served.stop(5)
        self.node.close()
