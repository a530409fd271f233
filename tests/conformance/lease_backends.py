"""The lease stores the conformance suite runs on: a file of SQLite, a PostgreSQL, an etcd; real ones.

Each test has a cluster of its own in them. A node that is to be stopped is a child process.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from palimp.catalog import open_catalog
from palimp.clock import Clock
from palimp.ids import random_id
from palimp.lease import Leases, Peer, Placement
from palimp.lease.etcd import EtcdLeases, EtcdPlacement
from palimp.lease.sql import SqlLeases, SqlPlacement
from palimp.observe import Metrics

from ..services import Etcd, need_etcd

KINDS = ["sqlite", "postgresql", "etcd"]
# The shortest that etcd grants.
TTL = 2.0
_WAIT_SECONDS = 30.0


def peer(node: str, process: str = "p1", home: str | None = None) -> Peer:
    return Peer(node, f"http://{node}:8080", "0.1.0", 1, process, home or f"home of {node}")


def eventually(check: Callable[[], Any]) -> Any:
    """Return what a check says as soon as it says something true."""
    clock = Clock()
    end = clock.monotonic() + _WAIT_SECONDS
    while not (found := check()):
        assert clock.monotonic() < end, "it did not come true"
        clock.sleep(0.02)
    return found


class World:
    """A lease store, one cluster in it, and the nodes that were made on it."""

    def __init__(self, kind: str, cluster: str, place: str) -> None:
        self.kind = kind
        self.cluster = cluster
        self.place = place
        self._made: list[Leases | Placement] = []
        self._children: list[Child] = []
        self._catalogs: list[Any] = []

    def leases(
        self, node: str, clock: Clock | None = None, metrics: Metrics | None = None
    ) -> Leases:
        clock, metrics = clock or Clock(), metrics or Metrics()
        if self.kind == "etcd":
            made: Leases = EtcdLeases(self.place, self.cluster, node, TTL, clock, metrics)
        else:
            made = SqlLeases(self.engine(), self.cluster, node, TTL, clock, metrics)
        self._made.append(made)
        return made

    def node(self, node: str, process: str = "p1", **more: Any) -> Leases:
        """Return the leases of a node that is alive."""
        leases = self.leases(node, **more)
        leases.start(peer(node, process))
        return leases

    def placement(self) -> Placement:
        if self.kind == "etcd":
            made: Placement = EtcdPlacement(self.place, self.cluster, Clock())
        else:
            made = SqlPlacement(self.engine(), self.cluster, Clock())
        self._made.append(made)
        return made

    def child(self, node: str) -> Child:
        """Return a node in a process of its own."""
        child = Child(self, node)
        self._children.append(child)
        return child

    def engine(self) -> Any:
        catalog = open_catalog(self.place, Clock())
        catalog.prepare()
        self._catalogs.append(catalog)
        return catalog.engine

    def fill(self, leases: Any, names: list[str]) -> None:
        """Attach many databases to a lease, faster than one by one."""
        if self.kind == "etcd":
            gateway, keys = leases._store._gateway, leases._store._keys
            value = leases._store._owner_value
            for start in range(0, len(names), 100):
                part = names[start : start + 100]
                puts = [
                    {"key": keys.owner(name), "value": value, "lease": leases._lease}
                    for name in part
                ]
                gateway.transact([], [{"request_put": put} for put in puts], [])
            return
        changed = "txid_current()" if self.kind == "postgresql" else "9"
        row = f"(:cluster, :name, :lease, {changed}, 0)"
        rows = [{"cluster": self.cluster, "name": n, "lease": leases._lease} for n in names]
        with leases._store._rows.database._engine.begin() as connection:
            connection.execute(text(f"INSERT INTO palimp_lease_owners VALUES {row}"), rows)

    def hold_back(
        self, patched: pytest.MonkeyPatch, leases: Any, held: list[Callable[[], object]]
    ) -> None:
        """Let what releases databases have no answer, and land when it is called from `held`."""
        if self.kind == "etcd":
            gateway = leases._store._gateway
            send = gateway.transact

            def late(*request: Any) -> Any:
                held.append(partial(send, *request))
                raise gateway.unavailable("held back")

            patched.setattr(gateway, "transact", late)
            return
        database = leases._store._rows.database
        begin = database.transaction

        class Late:
            """A transaction that is held back from its first change on."""

            def __init__(self, connection: Any) -> None:
                self._connection = connection

            def __getattr__(self, name: str) -> Any:
                return getattr(self._connection, name)

            def execute(self, statement: Any) -> Any:
                def land() -> None:
                    with begin() as connection:
                        connection.execute(statement)

                held.append(land)
                raise database.unavailable("held back")

        @contextlib.contextmanager
        def transaction() -> Iterator[Any]:
            with begin() as connection:
                yield Late(connection)

        patched.setattr(database, "transaction", transaction)

    def close(self) -> None:
        for child in self._children:
            child.close()
        for made in reversed(self._made):
            made.close()
        for catalog in self._catalogs:
            catalog.close()


class Child:
    """A node in a process of its own: it can be stopped, told to go on, and asked.

    It says when its deadline changes; what it said so far can be read while it is stopped.
    """

    def __init__(self, world: World, node: str) -> None:
        given = {"kind": world.kind, "place": world.place, "cluster": world.cluster, "node": node}
        script = Path(__file__).with_name("lease_child.py")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(script), json.dumps({**given, "ttl": TTL})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # Which lease, and until when.
        self.deadlines: list[tuple[int, float]] = []

    def ask(self, *question: str) -> Any:
        """Return the answer to a question; see `lease_child.answer`."""
        self.send(*question)
        return self.answer()

    def send(self, *question: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "deadline" not in said:
                return said["answer"]
            self.deadlines.append((said["number"], said["deadline"]))
        raise AssertionError("the child has ended")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def close(self) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            # What was written to it after it was killed goes nowhere.
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@contextlib.contextmanager
def outage(world: World, request: pytest.FixtureRequest) -> Iterator[None]:
    """Take the lease store away, as far as the nodes can tell."""
    if world.kind == "etcd":
        etcd = request.getfixturevalue("etcd")
        etcd.kill()
        try:
            yield
        finally:
            etcd.restart()
    elif world.kind == "postgresql":
        postgres = request.getfixturevalue("postgres")
        postgres.kill()
        try:
            yield
        finally:
            postgres.start()
    else:
        holder = sqlite3.connect(world.place.removeprefix("sqlite:///"), isolation_level=None)
        holder.execute("PRAGMA busy_timeout = 30000")
        holder.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            holder.close()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    need_etcd()
    etcd = Etcd(tmp_path_factory.mktemp("etcd") / "members")
    etcd.start()
    yield etcd
    etcd.close()


@pytest.fixture(scope="session")
def lease_database(request: pytest.FixtureRequest) -> str:
    """One database of PostgreSQL: clusters do not meet in it."""
    return request.getfixturevalue("postgres").database()


def make_world(request: pytest.FixtureRequest, kind: str) -> World:
    if kind == "etcd":
        place = request.getfixturevalue("etcd").endpoints
    elif kind == "postgresql":
        place = request.getfixturevalue("lease_database")
    else:
        place = f"sqlite:///{request.getfixturevalue('tmp_path') / 'leases.db'}"
    return World(kind, random_id("st"), place)


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = make_world(request, request.param)
    yield world
    world.close()


def key64(key: str) -> str:
    return b64encode(key.encode()).decode()
