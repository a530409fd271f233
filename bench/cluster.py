"""Several nodes on one machine: CPU of an operation, what a hop costs, how old a cached read is.

Nodes and gateway are processes of their own, on one etcd and one `file://` store in memory. What a
node takes is read from the kernel; clients are this process, and are not counted as nodes. With as
many processes as here on two cores nothing is said about throughput: more nodes have no more
processors. CPU seconds an operation, the share that was forwarded and single calls, one at a time,
hold all the same.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import etcd
import httpx
from harness import Row, Times, in_turn
from machine import folder
from processes import cpu_seconds, resident_bytes
from serving import NAMESPACE, At, served

from palimp.lease.placement import Peer, preferred

_PROFILES, _PROFILES_QUICK = 1_000, 24
_EACH, _EACH_QUICK = 6_000, 120
_HOPS, _HOPS_QUICK = 1_000, 40
_LAGS, _LAGS_QUICK = 200, 6
_WARMUP_LAGS = 3
_STALENESS_SECONDS = 2.0
_CLIENTS = 8
_KEY = "the-cluster-key-of-a-benchmark"
# Nobody listens there.
_NOWHERE = "http://127.0.0.1:9"
_LOOK_SECONDS = 0.002
_LAG_SECONDS_MAX = 30.0
_CACHED = {"palimp-consistency": "cached"}
_DURABLE = {"palimp-durability": "durable"}
_PAGE = {"limit": "1"}


class _Running(NamedTuple):
    """The nodes of a cluster, by their ids."""

    nodes: dict[str, At]
    pids: dict[str, int]

    def node_of(self, profile: str) -> str:
        """Return the node that has a profile which it was given to when nobody had it."""
        peers = [Peer(node, "", "", 1, "", "") for node in self.nodes]
        found = preferred(peers, f"{NAMESPACE}--{profile}")
        assert found is not None
        return found.node


def measure(*, quick: bool) -> list[Row]:
    """Measure each number of nodes, then hops, then how long a write takes to be seen elsewhere."""
    if not etcd.is_there():
        return [Row("a cluster of nodes", None, "", note="not measured: etcd is missing")]
    # Nodes inherit it: each keeps every profile open.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    profiles = _PROFILES_QUICK if quick else _PROFILES
    each = _EACH_QUICK if quick else _EACH
    alone = _work(1, profiles, each, leases=False)
    rows = _cpu_rows("1 node without leases", alone, None)
    for count in (1, 2) if quick else (1, 2, 4):
        many = f"{count} nodes" if count > 1 else "1 node with leases"
        rows += _cpu_rows(many, _work(count, profiles, each, leases=True), alone)
    rows += _hops(_HOPS_QUICK if quick else _HOPS)
    return [*rows, *_lags(_LAGS_QUICK if quick else _LAGS)]


# -- processes ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cluster(
    base: Path, count: int, *, leases: bool = True, **given: dict[str, str]
) -> Iterator[_Running]:
    """Run nodes on one store; `given` are more settings of single ones, by their ids."""
    with contextlib.ExitStack() as stack:
        shared = {
            "PALIMP_OBJECT_STORE": (base / "objects").as_uri(),
            "PALIMP_EMBED_PROVIDER": "none",
            "PALIMP_HOT_CAP": str(_PROFILES + 100),
            "PALIMP_HOT_IDLE_SECS": "3600",
            "PALIMP_LOG_LEVEL": "warning",
            "PALIMP_STALENESS_SECS": str(_STALENESS_SECONDS),
        }
        if leases:
            server = stack.enter_context(etcd.running(base))
            shared |= {"PALIMP_ETCD": server.url, "PALIMP_CLUSTER_KEY": _KEY}
        nodes, pids = {}, {}
        for number in range(count):
            node = f"n{number}"
            environment = shared | {"PALIMP_NODE_ID": node} | given.get(node, {})
            nodes[node], pids[node] = stack.enter_context(_node(base / node, environment))
        running = _Running(nodes, pids)
        if leases:
            _wait(lambda: all(_sees(at, count) for at in nodes.values()))
        yield running


@contextlib.contextmanager
def _node(path: Path, environment: dict[str, str]) -> Iterator[tuple[At, int]]:
    # The line that says where it listens is at level `info`.
    command = (sys.executable, "-m", "palimp", "serve", "--port", "0", "--data", str(path))
    said = {**environment, "PALIMP_LOG_LEVEL": "info"}
    with served(command, path.with_suffix(".log"), said) as at:
        yield at, _pid_of(at.port)


def _pid_of(port: int) -> int:
    """Return the process that listens at a port of this machine."""
    lines = Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]
    wanted = f"0100007F:{port:04X}"
    inode = next(line.split()[9] for line in lines if line.split()[1] == wanted)
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) == f"socket:[{inode}]":
                return int(link.parts[2])
    raise RuntimeError(f"no process listens at {port}")


def _sees(at: At, count: int) -> bool:
    with at.client() as client:
        return len(client.get("/v1/node").json().get("peers") or ()) == count


def _is_shipped(nodes: Sequence[At]) -> bool:
    return _counted(nodes, "palimp_backlog_bytes") == 0


def _wait(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + _LAG_SECONDS_MAX
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError("nodes do not see each other, or do not ship what they have")
        time.sleep(0.1)


def _counted(nodes: Sequence[At], metric: str) -> float:
    """Return the sum of a counter over all nodes and labels."""
    total = 0.0
    for at in nodes:
        with at.client() as client:
            text = client.get("/metrics").raise_for_status().text
        total += sum(map(float, re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", text, re.MULTILINE)))
    return total


# -- CPU ------------------------------------------------------------------------------------------


class _Done(NamedTuple):
    """What many operations of one kind came to."""

    kind: str
    operations: int
    node_seconds: float
    client_seconds: float
    wall_seconds: float
    forwarded: float
    resident: int


def _work(count: int, profiles: int, each: int, *, leases: bool) -> list[_Done]:
    """Do a fixed number of operations at nodes chosen at random, first writes, then reads."""
    with folder() as base, _cluster(base, count, leases=leases) as running:
        nodes = list(running.nodes.values())
        names = [f"p{number}" for number in range(profiles)]
        # Every profile is somewhere, and opened, before it counts.
        _many(nodes, profiles, lambda client, number: _ingest(client, names[number], "first"))
        return [
            _done("ingest of one", running, each, lambda client, n: _ingest(
                client, names[n * 7 % profiles], f"note {n}"
            )),
            _done("list of one", running, each, lambda client, n: _read(
                client, names[n * 7 % profiles]
            )),
        ]  # fmt: skip


def _done(
    kind: str, running: _Running, count: int, call: Callable[[httpx.Client, int], object]
) -> _Done:
    nodes, pids = list(running.nodes.values()), list(running.pids.values())
    # What was written before is not to be shipped on this account, what is written now is.
    _wait(lambda: _is_shipped(nodes))
    forwarded = _counted(nodes, "palimp_requests_forwarded_total")
    before, mine, begun = cpu_seconds(pids), time.process_time(), time.perf_counter()
    _many(nodes, count, call)
    wall = time.perf_counter() - begun
    _wait(lambda: _is_shipped(nodes))
    return _Done(
        kind,
        count,
        cpu_seconds(pids) - before,
        time.process_time() - mine,
        wall,
        _counted(nodes, "palimp_requests_forwarded_total") - forwarded,
        sum(map(resident_bytes, pids)),
    )


def _many(nodes: Sequence[At], count: int, call: Callable[[httpx.Client, int], object]) -> None:
    """Make so many calls from a few clients, each to a node chosen at random."""

    def work(mine: int) -> None:
        chance = random.Random(mine)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(at.client()) for at in nodes]
            for number in range(mine, count, _CLIENTS):
                call(chance.choice(clients), number)

    with ThreadPoolExecutor(_CLIENTS) as pool:
        for one in [pool.submit(work, mine) for mine in range(_CLIENTS)]:
            one.result()


def _cpu_rows(what: str, done: list[_Done], alone: list[_Done] | None) -> list[Row]:
    return [
        Row(
            f"CPU of all nodes for each {one.kind}, {what}",
            one.node_seconds / one.operations * 1e3,
            "ms",
            None if base is None else base.node_seconds / base.operations * 1e3,
            "" if base is None else "one node without leases",
            note=f"{one.forwarded / one.operations:.0%} forwarded; {one.operations:,} operations; "
            f"clients beside it {one.client_seconds / one.operations * 1e3:.2f} ms; resident "
            f"{one.resident / (1 << 20):,.0f} MiB together",
            detail=one._asdict(),
        )
        for one, base in zip(done, alone or [None] * len(done), strict=True)
    ]


def _ingest(
    client: httpx.Client, profile: str, text: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    body = {"memories": [{"text": text}]}
    path = f"/v1/memory/{NAMESPACE}/{profile}/memories"
    return client.post(path, json=body, headers=headers).raise_for_status()


def _read(
    client: httpx.Client, profile: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    path = f"/v1/memory/{NAMESPACE}/{profile}/memories"
    return client.get(path, params=_PAGE, headers=headers).raise_for_status()


# -- hops -----------------------------------------------------------------------------------------


def _hops(count: int) -> list[Row]:
    """Compare the node that has a profile, the other one, and a gateway; one call at a time."""
    with folder() as base, _cluster(base, 2) as running, _gateway(base, running) as gateway:
        owner = running.node_of("alice")
        (other,) = running.nodes.keys() - {owner}
        ways = {
            "at the node that has it": running.nodes[owner],
            "at another node, forwarded": running.nodes[other],
            "through a gateway": gateway,
        }
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(at.client()) for at in ways.values()]
            for client in clients:
                _ingest(client, "alice", "opened before it counts")
            texts = itertools.count()
            writes = [
                lambda _, client=client: _ingest(client, "alice", f"note {next(texts)}")
                for client in clients
            ]
            reads = [lambda _, client=client: _read(client, "alice") for client in clients]
            return [
                *_hop_rows("list of one", list(ways), in_turn(reads, count, count // 10)),
                *_hop_rows("ingest of one", list(ways), in_turn(writes, count, count // 10)),
            ]


def _hop_rows(kind: str, ways: list[str], found: list[Times]) -> list[Row]:
    direct = found[0].median
    return [
        Row(
            f"{kind} {way}",
            times.median,
            "us",
            direct if number else None,
            "at the node that has it" if number else "",
            note=f"p95 {times.p95:,.0f} us; {times.median - direct:+,.0f} us; the client's part is "
            "in all of them",
            detail=times.as_json(),
        )
        for number, (way, times) in enumerate(zip(ways, found, strict=True))
    ]


@contextlib.contextmanager
def _gateway(base: Path, running: _Running) -> Iterator[At]:
    command = (sys.executable, "-m", "palimp", "gateway", "--port", "0")
    pid = next(iter(running.pids.values()))
    names = ("PALIMP_ETCD", "PALIMP_OBJECT_STORE", "PALIMP_CLUSTER_KEY")
    given = dict(
        line.split("=", 1) for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if line
    )
    with served(command, base / "gateway.log", {name: given[name] for name in names}) as at:
        yield at


# -- replicas -------------------------------------------------------------------------------------


def _lags(count: int) -> list[Row]:
    return [
        _lag("pushed by its owner", count),
        # Where its owner cannot reach it, a node finds out by looking.
        _lag("not pushed", max(3, count // 10), n1={"PALIMP_ADVERTISE": _NOWHERE}),
    ]


def _lag(what: str, count: int, **given: dict[str, str]) -> Row:
    """Time from the answer to a durable write until a cached read elsewhere shows it."""
    with folder() as base, _cluster(base, 2, **given) as running:
        profile = next(
            f"p{number}" for number in itertools.count() if running.node_of(f"p{number}") == "n0"
        )
        with running.nodes["n0"].client() as owner, running.nodes["n1"].client() as reader:
            txid = _txid(_ingest(owner, profile, "opened before it counts", _DURABLE))
            _seen(reader, profile, txid)
            chance, lags = random.Random(1), []
            for number in range(count + _WARMUP_LAGS):
                txid = _txid(_ingest(owner, profile, f"note {number}", _DURABLE))
                lag = _seen(reader, profile, txid) * 1e6
                # The first reads are what makes the owner tell this node of its shipments.
                if number >= _WARMUP_LAGS:
                    lags.append(lag)
                # Not in step with what looks every so many seconds.
                time.sleep(chance.random() * _STALENESS_SECONDS / (1 if given else 100))
        applied = {
            name: _counted([running.nodes["n1"]], f"palimp_{name}_total")
            for name in ("pushes_received", "pushes_refused", "replicas_followed")
        }
    times = Times(lags)
    shown = ", ".join(f"{name} {many:,.0f}" for name, many in applied.items())
    return Row(
        f"from a durable write's answer to a cached read elsewhere, {what}",
        times.median / 1e3,
        "ms",
        note=f"p95 {times.p95 / 1e3:,.1f} ms; of {count} writes, read without a pause, so not "
        f"finer than a read; PALIMP_STALENESS_SECS={_STALENESS_SECONDS:g}; {shown}",
        detail={**times.as_json(), **applied},
    )


def _txid(answer: httpx.Response) -> int:
    return int(answer.headers["palimp-txid"])


def _seen(reader: httpx.Client, profile: str, txid: int) -> float:
    """Return the seconds until a cached read is of this txid or a later one."""
    begun = time.monotonic()
    while _txid(_read(reader, profile, _CACHED)) < txid:
        if time.monotonic() - begun > _LAG_SECONDS_MAX:
            raise RuntimeError(f"txid {txid} was not seen within {_LAG_SECONDS_MAX:g} s")
        time.sleep(_LOOK_SECONDS)
    return time.monotonic() - begun
