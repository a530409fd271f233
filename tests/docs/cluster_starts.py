"""Starts of a cluster's nodes and gateways that are refused: what each row shows, and how it comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palimp.catalog import open_catalog
from palimp.cli import gateway, workers
from palimp.clock import ManualClock
from palimp.lease import Peer
from palimp.lease.etcd_gateway import EtcdGateway
from palimp.lease.keeping import KeptLeases
from palimp.lease.placement import Placement
from palimp.lease.records import FORMAT, NodeRecord
from palimp.node import load_settings
from palimp.node.leasing import advertised, check_alone, make_leases, make_placement
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


STARTS: dict[str, tuple[str, Callable[[Path], object]]] = {
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
