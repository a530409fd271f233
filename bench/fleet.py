"""Many profiles and many threads: hot handles, a million names, writes side by side.

What is weighed is weighed in a process of its own, which this file is when it is run:

    python bench/fleet.py hot COUNT FOLDER
    python bench/fleet.py names COUNT FOLDER engine|hand
    python bench/fleet.py folder COUNT FOLDER engine|idle
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import random
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import engine_floor
from harness import Row, Times, run
from machine import filesystem, folder, fsync_us

import palimp
from palimp.api import Durability
from palimp.client.transports.embedded import Embedded
from palimp.engine import Address, Engine
from palimp.node import Node, load_settings
from palimp.store import ObjectStore, VolatileStore

_KIB, _MIB = 1 << 10, 1 << 20
# Handles opened before the first weighing: what every process pays once is not a handle's.
_WARMUP_HANDLES = 20
_HOT_ALL = 1_000
_WOKEN = 1_000
_DATABASES = 64
_GROUP_THREADS = 32
# No KV exists to be measured yet: what is written are memories without vectors.
_NO_KV = "memories without vectors; there is no KV yet"


def measure(*, quick: bool) -> list[Row]:
    """Measure what a fleet of profiles costs."""
    return [
        *_hot(100 if quick else _HOT_ALL),
        *_names(10_000 if quick else 1_000_000),
        *_in_folder(200 if quick else 10_000),
        *_side_by_side(3 if quick else 50),
        *_group(10 if quick else 100),
    ]


@contextlib.contextmanager
def opened(
    path: Path, store: ObjectStore | None = None, **settings: Any
) -> Iterator[palimp.Client]:
    """Yield a client of a folder whose history is in `store` (None: in the folder)."""
    with palimp.Client(Embedded(_node(path, store, **settings))) as client:
        yield client


def _node(path: Path, store: ObjectStore | None, **settings: Any) -> Node:
    found = {"data_dir": path, "embed_provider": "none", **settings}
    return Node(load_settings(found, {}), store=store)


# -- rows -----------------------------------------------------------------------------------------


def _hot(count: int) -> list[Row]:
    with folder() as path:
        found = _probe("hot", count, path / "memory")
        place = filesystem(path)
    opened_after = found["count"] - _WARMUP_HANDLES
    kib = (found["resident"] - found["resident_before"]) / opened_after / _KIB
    descriptors = (found["descriptors"] - found["descriptors_before"]) / opened_after
    what = f"of {found['count']:,} hot with a reader connection ({place})"
    return [
        Row(f"resident for each {what}", kib, "KiB", budget=450, note=found["parts"]),
        Row(f"descriptors for each {what}", descriptors, "", budget=5),
        Row(
            f"resident, {found['count']:,} hot handles as a whole",
            found["resident"] / _MIB,
            "MiB",
            note=f"{found['descriptors']:,} descriptors, of {found['limit']:,} allowed",
            detail=found,
        ),
    ]


def _names(count: int) -> list[Row]:
    with folder() as path:
        by_hand = _probe("names", count, path / "hand", "hand")
    with folder() as path:
        ours = _probe("names", count, path / "ours", "engine")
        place = filesystem(path)
    more = (ours["resident"] - by_hand["resident"]) / _MIB
    woken = Times(ours["woken_us"])
    return [
        Row(
            f"{count:,} profiles in an in-memory store, beside its content",
            more,
            "MiB",
            budget=64,
            note=f"resident {ours['resident'] / _MIB:,.0f} MiB; an idle node whose store was "
            f"filled by hand {by_hand['resident'] / _MIB:,.0f} MiB",
        ),
        Row(
            f"creating each of {count:,} profiles, in-memory store",
            ours["seconds"] / count * 1e6,
            "us",
            by_hand["seconds"] / count * 1e6,
            "the same objects encoded and put by hand",
        ),
        Row(
            f"waking one of {count:,} profiles, first query included ({place})",
            woken.median,
            "us",
            note=f"{len(woken.us):,} at random, one memory each, p95 {woken.p95:,.0f} us; "
            f"{ours['hot_cap']} stay open: each further one closes the longest unused",
            detail=woken.as_json(),
        ),
    ]


def _in_folder(count: int) -> list[Row]:
    with folder(disk=True) as path:
        idle = _probe("folder", 0, path / "idle", "idle")
        ours = _probe("folder", count, path / "ours", "engine")
        place, fsync = filesystem(path), fsync_us(path)
    return [
        Row(
            f"creating each of {count:,} profiles, directory store ({place})",
            ours["seconds"] / count * 1e6,
            "us",
            note=f"an fsync takes {fsync:,.0f} us",
        ),
        Row(
            f"{count:,} profiles in a directory store, over an idle node",
            (ours["resident"] - idle["resident"]) / _MIB,
            "MiB",
            note=f"an idle node {idle['resident'] / _MIB:,.0f} MiB",
        ),
        Row(f"listing {count:,} profiles, directory store", ours["listing"] * 1_000, "ms"),
    ]


def _side_by_side(each: int) -> list[Row]:
    """Write to 64 databases from 1, 4 and 16 threads, with an fsync for every commit."""
    rows = []
    with folder(disk=True) as path, opened(path / "memory") as client:
        profiles = [client.profile(f"p{number}") for number in range(_DATABASES)]
        for profile in profiles:
            profile.remember("opened before the clock runs")
        for durability, threads in itertools.product(("durable", "local"), (1, 4, 16)):
            # What one run left to be shipped is no work of the next.
            for profile in profiles:
                profile.sync()
            seconds = _together(threads, _writing(profiles, each, threads, durability))
            rows.append(
                Row(
                    f"writes over {_DATABASES} databases, {threads} threads, {durability}",
                    each * _DATABASES / seconds,
                    "a second",
                    note=f"{filesystem(path)}, an fsync takes {fsync_us(path):,.0f} us; {_NO_KV}",
                )
            )
    return rows


def _writing(
    profiles: list[palimp.Profile], each: int, threads: int, durability: Durability
) -> Callable[[int], None]:
    """Return what one of so many threads does: its share of the profiles, one after the other."""

    def work(thread: int) -> None:
        for number in range(each):
            for profile in profiles[thread::threads]:
                # A text that is there already is no write: each of every run is its own.
                text = f"{durability} note {number} of thread {thread} of {threads}"
                assert profile.remember(text, durability=durability).status == "created"

    return work


def _group(each: int) -> list[Row]:
    """Write to one profile from many threads, with an fsync for every commit."""
    return [_rounds(each, durability) for durability in ("local", "durable")]


def _rounds(each: int, durability: Durability) -> Row:
    with folder(disk=True) as path:
        node = _node(path / "memory", None)
        with palimp.Client(Embedded(node)) as client:
            profile = client.profile("shared")
            profile.remember("opened before the clock runs", durability="durable")
            (branch,) = node.context.engine._residents.all()
            rounds, writes = branch.local.rounds, branch.local.writes

            # Every thread's share is the one profile.
            shares = [profile] * _GROUP_THREADS
            seconds = _together(_GROUP_THREADS, _writing(shares, each, _GROUP_THREADS, durability))
            rounds, writes = branch.local.rounds - rounds, branch.local.writes - writes
        place, fsync = filesystem(path), fsync_us(path)
    assert writes == each * _GROUP_THREADS
    return Row(
        f"group commit, {_GROUP_THREADS} threads on one profile, {durability}",
        writes / seconds,
        "a second",
        note=f"{writes:,} writes in {rounds:,} rounds, {writes / rounds:.1f} a round; "
        f"{place}, an fsync takes {fsync:,.0f} us",
    )


def _together(threads: int, work: Callable[[int], None]) -> float:
    """Return the seconds until every thread is done; raises what one of them raised."""
    start = threading.Barrier(threads + 1)

    def run_one(number: int) -> None:
        start.wait()
        work(number)

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(run_one, number) for number in range(threads)]
        start.wait()
        begun = time.perf_counter()
        for one in running:
            one.result()
        return time.perf_counter() - begun


# -- processes that are weighed -------------------------------------------------------------------


def _probe(name: str, count: int, path: Path, *arguments: str) -> dict[str, Any]:
    printed = run((sys.executable, __file__, name, str(count), str(path), *arguments))
    found: dict[str, Any] = json.loads(printed)
    return found


def _weigh_hot(count: int, path: Path) -> dict[str, Any]:
    """Open handles, each with a writer's and a reader's connection, everything shipped."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before: dict[str, int] = {}
    with opened(path, hot_cap=count, hot_idle_secs=3_600) as client:
        for number in range(count):
            if number == _WARMUP_HANDLES:
                before = _weight()
            profile = client.profile(f"p{number}")
            written = profile.remember("Prefers aisle seats", topic="seat", durability="durable")
            assert profile.get(written.id).text == "Prefers aisle seats"
        after = _weight()
    parts = {name: after[name] - before[name] for name in ("RssAnon", "RssFile", "RssShmem")}
    shown = ", ".join(
        f"{name} {size / _KIB / (count - _WARMUP_HANDLES):,.0f}" for name, size in parts.items()
    )
    return {
        "count": count,
        "resident": after["VmRSS"],
        "resident_before": before["VmRSS"],
        "descriptors": after["descriptors"],
        "descriptors_before": before["descriptors"],
        "limit": hard,
        "parts": f"of it {shown} KiB",
    }


def _weigh_names(count: int, path: Path, how: str) -> dict[str, Any]:
    """Give a node's store so many names, through the engine or past it."""
    store = VolatileStore()
    node = _node(path, store)
    engine = node.context.engine
    begun = time.perf_counter()
    for number in range(count):
        if how == "engine":
            engine._lookup.create(Address("bench", f"p{number}"))
        else:
            engine_floor.create(store, f"p{number}")
    seconds = time.perf_counter() - begun
    found = {"seconds": seconds, "resident": _weight()["VmRSS"]}
    if how == "engine":
        chosen = random.Random(1).sample(range(count), min(_WOKEN, count // 100))
        addresses = [Address("bench", f"p{number}") for number in chosen]
        found["woken_us"] = _wake(Embedded(node), engine, addresses)
        found["hot_cap"] = node.settings.hot_cap
    node.close()
    return found


def _wake(transport: Embedded, engine: Engine, addresses: list[Address]) -> list[float]:
    """Write to profiles, make them cold, and wake each with a query; return the microseconds."""
    client = palimp.Client(transport)
    profiles = [client.profile(one.profile, namespace=one.namespace) for one in addresses]
    ids = [one.remember("Prefers aisle seats", durability="durable").id for one in profiles]
    for branch in engine._residents.all():
        assert engine._residents.cool(branch.key, lambda _: None), branch.name
    # As in a node that has just started: what the names mean is asked again.
    engine._lookup._known.clear()
    found = []
    for profile, identity in zip(profiles, ids, strict=True):
        begun = time.perf_counter_ns()
        assert profile.get(identity)
        found.append((time.perf_counter_ns() - begun) / 1_000)
    return found


def _weigh_folder(count: int, path: Path, how: str) -> dict[str, Any]:
    """Give a directory store so many names, and list them."""
    node = _node(path, None)
    begun = time.perf_counter()
    for number in range(count):
        node.context.engine._lookup.create(Address("bench", f"p{number}"))
    seconds = time.perf_counter() - begun
    found = {"seconds": seconds, "resident": _weight()["VmRSS"]}
    if how == "engine":
        client = palimp.Client(Embedded(node))
        begun = time.perf_counter()
        assert sum(1 for _ in client.profiles(namespace="bench")) == count
        found["listing"] = time.perf_counter() - begun
    node.close()
    return found


def _weight() -> dict[str, int]:
    """Return what this process has resident, in bytes and by kind, and how many descriptors."""
    gc.collect()
    found = {"descriptors": len(os.listdir("/proc/self/fd"))}
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.startswith(("VmRSS", "Rss")):
            found[name] = int(value.split()[0]) * _KIB
    return found


_PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "hot": _weigh_hot,
    "names": _weigh_names,
    "folder": _weigh_folder,
}

if __name__ == "__main__":
    print(json.dumps(_PROBES[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])))
