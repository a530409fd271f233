"""A cluster on one machine: store, etcd, catalog and nodes, and links between all of them."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import apsw

from ..services import Etcd
from .checker import check
from .clients import CREDENTIAL, PLATFORM_KEY, Answered, Client, send
from .engines import Catalog, catalog
from .history import BranchState, ProfileState, Recorder, Run
from .links import Door, Network, free_port
from .namespaces import HOST, Namespace, bridge
from .nodes import Node
from .stores import BUCKET, CALM, CLIENT_SECONDS, Chances, RoughStore, rough_store

Leases = Literal["single", "etcd", "sql"]
SETTLE_SECONDS = 40.0
_CLUSTER_KEY = "k" * 32
_NAMES = "abcdef"


class Cluster:
    """Nodes `a`, `b`, ... over one store; `close` leaves no process behind."""

    def __init__(
        self,
        place: Path,
        size: int,
        *,
        leases: Leases,
        seed: int,
        ttl: float = 3.0,
        members: int = 1,
        gateway: bool = False,
        mutant: str = "",
        settings: dict[str, str] | None = None,
        apart: bool = False,
    ) -> None:
        self.place = place
        self.size = size
        self.apart = apart
        self.leases = leases
        self.gateway: Node | None = None
        self.ttl = ttl
        self.recorder = Recorder()
        # Whether something came back only because somebody asked the node that had it.
        self.touched = False
        self._stack = contextlib.ExitStack()
        try:
            self._start(size, members, seed, mutant, settings or {})
            if gateway:
                self._open_gateway()
        except BaseException:
            self.close()
            raise

    def _start(
        self, size: int, members: int, seed: int, mutant: str, settings: dict[str, str]
    ) -> None:
        if self.apart:
            self._stack.enter_context(bridge())
        self.network = Network()
        self._stack.callback(self.network.close)
        self.store: RoughStore = self._stack.enter_context(rough_store(seed))
        self.etcd: Etcd | None = None
        self._catalog: Catalog | None = None
        if self.leases == "etcd":
            self.etcd = Etcd(self.place / "etcd", members)
            self._stack.callback(self.etcd.close)
            self.etcd.start()
        if self.leases != "single":
            self._catalog = self._stack.enter_context(catalog())
        self._common = self._settings(mutant, settings)
        self.nodes = [self._node(number) for number in range(size)]
        for node in self.nodes:
            self._stack.callback(node.close)
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()

    def _open_gateway(self) -> None:
        self.gateway = self._node(self.size, "gateway")
        self._stack.callback(self.gateway.close)
        self.gateway.start()

    def _settings(self, mutant: str, settings: dict[str, str]) -> dict[str, str]:
        common = {
            "PALIMP_OBJECT_STORE": f"s3://{BUCKET}/cluster",
            "PALIMP_EMBED_PROVIDER": "none",
            "PALIMP_SHIP_INTERVAL": "0.3",
            "PALIMP_STORE_TIMEOUT": "8",
            "PALIMP_REQUEST_TIMEOUT": "8",
            "PALIMP_CONTROL_RATE": "1000",
            "PALIMP_SHUTDOWN_TIMEOUT": "20",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_TIMEOUT": f"{CLIENT_SECONDS:g} seconds",
            "AWS_CONNECT_TIMEOUT": "1 seconds",
        }
        if self.leases != "single":
            common |= {
                "PALIMP_LEASES": self.leases,
                "PALIMP_LEASE_TTL": f"{self.ttl:g}",
                "PALIMP_CLUSTER_KEY": _CLUSTER_KEY,
                "PALIMP_STALENESS_SECS": "1",
                "PALIMP_REBALANCE_SECS": "2",
            }
        if self.apart:
            # What others can reach asks who they are.
            common |= {
                "PALIMP_AUTH": "on",
                "PALIMP_PLATFORM_KEY": PLATFORM_KEY,
                "PALIMP_PERSIST_AUTH_KEY": "1",
            }
        if mutant:
            common["CLUSTER_MUTANT"] = mutant
        return common | settings

    def _node(self, number: int, command: str = "serve") -> Node:
        name = _NAMES[number] if command == "serve" else command
        space = None
        if self.apart:
            space = Namespace(number + 1)
            self._stack.callback(space.close)
        at = (space.host if space else "127.0.0.1", free_port())
        links: dict[str, Door] = {}
        environment = dict(self._common)

        def lead(kind: str, target: tuple[str, int] | str) -> str:
            """Make a way from the node to what is on the host; return where it begins."""
            link = self.network.link(f"{name}-{kind}", target, HOST if space else "127.0.0.1")
            links[kind] = space.leads_to(link.port) if space else link
            return f"{link.host}:{link.port}"

        store = lead("store", ("127.0.0.1", self.store.server_port))
        environment["AWS_ENDPOINT"] = f"http://{store}"
        if self.etcd is not None:
            members = [
                lead(f"etcd{number}", ("127.0.0.1", port))
                for number, port in enumerate(self.etcd.ports)
            ]
            environment["PALIMP_ETCD"] = ",".join(f"http://{member}" for member in members)
        if self._catalog is not None:
            address = lead("catalog", self._catalog.target)
            environment["PALIMP_CATALOG_URL"] = self._catalog.url(address)
        if space:
            others = [f"10.99.7.{n + 1}" for n in range(self.size) if n != number]
            links["peers"] = space.serves(at[1], others)
            links["clients"] = space.serves(at[1], [HOST])
        else:
            links["peers"] = self.network.link(f"peers-{name}", at)
            links["clients"] = self.network.link(f"clients-{name}", at)
        if self.leases != "single":
            peers = links["peers"]
            environment["PALIMP_ADVERTISE"] = f"http://{peers.host}:{peers.port}"
        within = space.command if space else ()
        return Node(name, self.place, at, self.recorder, environment, links, within, command)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def clients(self, count: int, profiles: int, seed: int, pause: float = 0.02) -> list[Client]:
        """Start callers that go to any node, and to the gateway."""
        serving = [*self.nodes, *([self.gateway] if self.gateway else [])]
        doors = [(node.name, node.links["clients"]) for node in serving]
        names = [f"p{number}" for number in range(profiles)]
        made = [
            Client(f"c{n}", doors, names, self.recorder, f"{seed}-{n}", pause) for n in range(count)
        ]
        for client in made:
            client.start()
        return made

    # -- the end ------------------------------------------------------------------------------

    def heal(self) -> None:
        """Undo everything: all links, processes, the store and etcd are as at the beginning."""
        self.calm()
        self.network.heal()
        if self.etcd is not None:
            self.etcd.start()
        serving = [*self.nodes, *([self.gateway] if self.gateway else [])]
        for node in serving:
            node.restore()
        for node in serving:
            node.wait_ready()

    def rough(self, chances: Chances) -> None:
        self.store.chances = chances

    def calm(self) -> None:
        self.store.chances, self.store.down = CALM, False

    def settle(self) -> Run:
        """Heal, wait until everything acknowledged is somewhere, and return the whole run."""
        self.heal()
        run = self.recorder.run
        profiles = sorted({call.profile for call in run.calls})
        begun = time.monotonic()
        while True:
            end = time.monotonic() + SETTLE_SECONDS
            run.final = {name: self._state(name, end) for name in profiles}
            waited = time.monotonic() - begun
            if not _is_missing(run) or waited > SETTLE_SECONDS:
                break
            if waited > SETTLE_SECONDS / 2 and not self.touched:
                # What lies in a folder is looked at when somebody there wants to read it.
                self._read_everywhere(profiles)
                self.touched = True
            time.sleep(0.5)
        run.unlinked = list(self.store.manifests.broken)
        run.save(self.place / "run.json")
        return run

    def _read_everywhere(self, profiles: list[str]) -> None:
        for node in self.nodes:
            for name in profiles:
                path = f"/v1/memory/default/{name}/memories?limit=1"
                send(node.links["clients"], "GET", path, None, {"palimp-consistency": "cached"})

    def _state(self, profile: str, end: float) -> ProfileState:
        database = f"/v1/db/default--{profile}"
        self.ask("POST", f"{database}/sync", end)
        findings = self.ask("GET", f"{database}/verify", end).body.get("findings", [])
        named = self.ask("GET", f"{database}/branches", end).body.get("branches", [])
        branches = {}
        for branch in named:
            place = f"{database}@{branch['name']}"
            manifest = self.ask("GET", f"{place}/manifest", end).body.get("manifest", {})
            image = self.file(f"{place}/export", end)
            branches[branch["name"]] = _content(image, manifest)
        said = [f"{one['branch']} {one['key']}: {one['what']}" for one in findings]
        return ProfileState(branches=branches, findings=said)

    def ask(self, method: str, path: str, end: float) -> Answered:
        """Ask nodes in turn until one answers with other than "later"."""
        while True:
            for node in self.nodes:
                found = send(node.links["clients"], method, path)
                if found.status in (200, 204, 404):
                    return found
            assert time.monotonic() < end, f"{method} {path}: {found}"
            time.sleep(0.3)

    def file(self, path: str, end: float) -> bytes:
        """Return the bytes of an answer that is a file."""
        import httpx

        while True:
            for node in self.nodes:
                with contextlib.suppress(httpx.HTTPError):
                    door = node.links["clients"]
                    url = f"http://{door.host}:{door.port}{path}"
                    found = httpx.get(url, headers=CREDENTIAL, timeout=20)
                    if found.status_code == 200:
                        return found.content
            assert time.monotonic() < end, f"{path}: {found.text}"
            time.sleep(0.3)

    def close(self) -> None:
        self._stack.close()


def _is_missing(run: Run) -> bool:
    """Whether something that was acknowledged is nowhere yet, and may not be gone."""
    return any(one.rule in ("lost", "durable not on main") for one in check(run))


def _content(image: bytes, manifest: dict[str, Any]) -> BranchState:
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        file.write(image)
        file.flush()
        connection = apsw.Connection(file.name, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            rows = list(connection.execute("SELECT seq, content FROM __palimp_turns ORDER BY seq"))
            memories = connection.execute("SELECT text FROM __palimp_memories")
            requests = connection.execute("SELECT id, txid FROM __palimp_requests")
            return BranchState(
                turns=[(seq, content.strip('"')) for seq, content in rows],
                memories=[text for (text,) in memories],
                requests=dict(requests),
                manifest=manifest,
            )
        finally:
            connection.close()


@contextlib.contextmanager
def cluster(place: Path, size: int, **options: Any) -> Iterator[Cluster]:
    """A cluster that is gone when the block is."""
    made = Cluster(place, size, **options)
    try:
        yield made
    finally:
        made.close()
