"""Starts of clusters, and for Memtrace's clients, that are refused: their rows, and how they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palimp.catalog import open_catalog
from palimp.cli import gateway, memtrace, workers
from palimp.cli.serve import serve_alone
from palimp.clock import ManualClock
from palimp.errors import Invalid
from palimp.lease import Peer
from palimp.lease.etcd_gateway import EtcdGateway
from palimp.lease.keeping import KeptLeases
from palimp.lease.placement import Placement
from palimp.lease.records import FORMAT, NodeRecord
from palimp.node import load_settings
from palimp.node.leasing import advertised, check_alone, make_leases, make_placement
from palimp.node.memtrace import at_a_port, memtrace_settings
from palimp.node.peering import cluster_secret
from palimp.observe import Metrics

__all__ = ["STARTS"]

# Nobody listens there.
NOWHERE = "http://127.0.0.1:9"


def settings(**given: Any) -> Any:
    return load_settings({"embed_provider": "none", **given}, {})


def leases(**given: Any) -> Callable[[Path], object]:
    """Make the leases of a node that has no catalog."""
    return lambda _: make_leases(settings(**given), "s", "a", None, ManualClock(), Metrics())


def on_mysql(_: Path) -> None:
    """Ask for leases in a catalog on MySQL, which nobody is asked for that."""
    catalog = open_catalog("mysql://127.0.0.1:9/x", ManualClock())
    try:
        make_leases(settings(leases="sql"), "s", "a", catalog, ManualClock(), Metrics())
    finally:
        catalog.close()


def refusing(path: Path) -> None:
    """Ask an etcd that knows who asks and lets it do nothing."""
    from cloud_double import CloudDouble

    double = CloudDouble("s3")
    double.answer = (403, b'{"error":"etcdserver: permission denied","code":7}')
    try:
        asked(double.url)(path)
    finally:
        double.stop()


def asked(url: str) -> Callable[[Path], object]:
    """Ask an etcd for a lease."""

    def run(_: Path) -> None:
        etcd = EtcdGateway(url, ManualClock())
        try:
            etcd.grant(10)
        finally:
            etcd.close()

    return run


def database_away(path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    from sqlalchemy import create_engine

    from palimp.lease.sql_engine import LeaseDatabase

    database = LeaseDatabase(create_engine(f"sqlite:///{path}/nothing/here.db"), ManualClock())
    try:
        with database.transaction():
            pass
    finally:
        database.close()


def placed(**given: Any) -> Callable[[Path], object]:
    """Look for the nodes as a gateway does."""

    def run(_: Path) -> None:
        with gateway.open_placement(settings(**given), ManualClock()):
            pass

    return run


def with_workers(**given: Any) -> Callable[[Path], object]:
    return lambda path: workers.for_workers(settings(data_dir=path, **given))


class Occupied:
    """A lease store in which another node has the id, and keeps it."""

    def enter(self, record: NodeRecord, *, first: bool) -> NodeRecord:
        other = Peer("a", "http://10.0.0.5:8080", "0.1.0", 1, "process 7", "elsewhere")
        return NodeRecord(FORMAT, record.since, other)


def occupied(_: Path) -> None:
    store: Any = Occupied()
    # Never asked: it does not come to that.
    placement: Any = Placement
    peer = Peer("a", "http://10.0.0.6:8080", "0.1.0", 1, "process 8", "here")
    KeptLeases(store, placement, node="a", ttl=10, clock=ManualClock(), metrics=Metrics()).start(
        peer
    )


def memtrace_toml(text: bytes) -> Callable[[Path], object]:
    """Read a file of that system that says this, from where it is looked for last."""

    def run(path: Path) -> object:
        folder = path / ".memtrace"
        folder.mkdir(parents=True)
        (folder / "memtrace.toml").write_bytes(text)
        return memtrace_settings({}, {"HOME": str(path)})

    return run


def at_its_port(key: str | None) -> Callable[[Path], object]:
    """Serve that system's clients with this master key."""
    return lambda _: at_a_port(settings(master_key=key), "MEMTRACE_MASTER_KEY", "memtrace")


def no_folder(path: Path) -> None:
    """Run a command of that system where its folder's place is a file."""
    path.mkdir(exist_ok=True)
    (path / "data").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMTRACE_AUTH_DB_PATH", str(path / "data" / "below" / "m.db"))
        patch.setattr(memtrace, "_fail", _raise)
        memtrace.command.main(["org", "list"], standalone_mode=False)


def _raise(text: str) -> None:
    raise Invalid(text)


STARTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "memtrace.toml unreadable": (
        "… holds settings that cannot be read: …",
        memtrace_toml(b"\xff"),
    ),
    "memtrace.toml not TOML": ("… is not TOML: …", memtrace_toml(b"= 1")),
    "memtrace.toml with a list": (
        "…: … is …; give text or a number",
        memtrace_toml(b"[server]\nport = [1]"),
    ),
    "memtrace.toml with a key": (
        "… holds a master key, which is read from … only; take it out",
        memtrace_toml(b"master_key = 'x'"),
    ),
    "memtrace without a folder": (
        "folder … cannot be made: …; set MEMTRACE_AUTH_DB_PATH or PALIMP_DATA_DIR",
        no_folder,
    ),
    "memtrace in a cluster": (
        "other nodes reach this one at the address of PALIMP_LISTEN, and none is set",
        lambda _: serve_alone(settings(leases="sql"), None, ()),
    ),
    "memtrace without a key": ("… is not set; generate one with …", at_its_port(None)),
    "memtrace with no base64": ("… is not valid base64: …", at_its_port("!")),
    "memtrace with a short key": ("master key must be … bytes, got …", at_its_port("a2tr")),
    "etcd without endpoints": ("PALIMP_LEASES=etcd needs PALIMP_ETCD", leases(leases="etcd")),
    "sql without a database": (
        "PALIMP_LEASES=sql needs PALIMP_CATALOG_URL",
        leases(leases="sql"),
    ),
    "sql with one that keeps none": ("PALIMP_LEASES=sql is for PostgreSQL", on_mysql),
    "sql with one that is down": (
        "leases are kept in the database of PALIMP_CATALOG_URL, which could not be opened",
        leases(leases="sql", catalog_url="postgresql://127.0.0.1:9/x"),
    ),
    "endpoint": (
        "endpoint … in PALIMP_ETCD is no URL of an etcd",
        leases(etcd="http://10.0.0.1:2379,10.0.0.2:2379"),
    ),
    "etcd away": (
        "… gives no answer: …; nothing is claimed until it does",
        asked(NOWHERE),
    ),
    "etcd with users": (
        "… refuses: …; give the user in PALIMP_ETCD the right to read and write keys under …",
        refusing,
    ),
    "no cluster key": (
        "leases are kept in …, so that nodes forward requests to each other, and there is no key",
        lambda _: cluster_secret(settings(etcd=NOWHERE)),
    ),
    "address": (
        "PALIMP_ADVERTISE is …; give the URL at which the other nodes reach this one",
        lambda _: advertised(settings(advertise="10.0.0.5:8080"), "http://127.0.0.1:8080"),
    ),
    "every address": (
        "… is every address of this machine, at which no other node can reach it",
        lambda _: advertised(settings(), "http://0.0.0.0:8080"),
    ),
    "id": ("node … is another process's id", occupied),
    "alone": (
        "leases are kept in …, so that several nodes share the store, and the others could not",
        lambda _: check_alone(settings(etcd=NOWHERE)),
    ),
    "database of leases": (
        "the lease store … …; nothing is claimed until it does",
        database_away,
    ),
    "gateway without store": (
        "a gateway finds the nodes by the object store that they share",
        placed(etcd=NOWHERE),
    ),
    "open gateway": (
        "… is not a loopback address, and a gateway asks nobody for a credential",
        lambda _: gateway._check_exposure(settings(), "0.0.0.0"),
    ),
    "workers of several machines": (
        "--workers is for one machine, and PALIMP_ETCD or PALIMP_ADVERTISE is set for several",
        with_workers(etcd=NOWHERE),
    ),
    "workers that read": ("--workers is for nodes that write", with_workers(read_only=True)),
    "workers without catalog": (
        "--workers keeps leases in the catalog, which needs the extra",
        with_workers(),
    ),
    "workers of one process": (
        "--workers needs an object store that processes share",
        with_workers(catalog_url="sqlite:////x.db", object_store="mem://"),
    ),
    "no leases": (
        "nothing says which node has what",
        lambda _: make_placement(settings(), "s", None, ManualClock()),
    ),
}
