"""What a node asks of its object store for a million writes, and what that comes to in money.

Each pair of an interval and a load is a node of its own on a counting store in memory, all of them
side by side: requests are counted, not timed. A node is written to at a fixed rate, from the first
shipment of every profile on, and what is left at the end is shipped and counted. What is measured
of some thousand writes is multiplied up to a million.

The formula beside it: a shipment is two requests that write (segment, manifest); the first write
after one begins the interval, and those within it are shipped with it:

    writing requests a million writes = 2,000,000 / (1 + writes a second of a profile * interval)
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from fleet import opened
from harness import Row
from machine import folder

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.engine import Address
from palimp.node import Node, load_settings
from palimp.store import CountingStore, VolatileStore

# List prices of S3 Standard, us-east-1, in dollars for 1,000 requests, as published when this was
# written (2026-11); check them. A listing costs what a write does, a delete nothing.
PRICES = {"create": 0.005, "replace": 0.005, "list": 0.005, "get": 0.0004, "get_range": 0.0004}
PRICES_OF = "S3 Standard list price, 0.005 USD per 1,000 PUT or LIST, 0.0004 per 1,000 GET"
_WRITING = ("create", "replace", "list")
_MILLION = 1_000_000
_INTERVALS = (0.2, 1.0, 5.0, 60.0)
# Writes a second, all profiles together.
_RATE = 20.0
# A whole number of every interval, and a little less: what is left is shipped at the end.
_SECONDS, _SECONDS_QUICK = 299.0, 4.9


class _Load(NamedTuple):
    """So many profiles share the writes."""

    profiles: int

    @property
    def each(self) -> float:
        """Writes a second of one of them."""
        return _RATE / self.profiles

    def __str__(self) -> str:
        many = f"{self.profiles:,} profiles" if self.profiles > 1 else "1 profile"
        return f"{many}, {self.each:g} writes a second each"


_LOADS = (_Load(1), _Load(100))


class _Counted(NamedTuple):
    writes: int
    requests: Mapping[str, int]


def measure(*, quick: bool) -> list[Row]:
    """Count at every interval and load, then what one upkeep and one idle look come to."""
    seconds = _SECONDS_QUICK if quick else _SECONDS
    pairs = [(load, interval) for load in _LOADS for interval in _INTERVALS if interval < seconds]
    with folder() as base, ThreadPoolExecutor(len(pairs)) as pool:
        running = [
            pool.submit(_count, base / f"{number}", *pair, seconds)
            for number, pair in enumerate(pairs)
        ]
        rows = [_row(*pair, one.result()) for pair, one in zip(pairs, running, strict=True)]
    return [*rows, *_besides()]


def money(requests: Mapping[str, float]) -> float:
    """Return dollars for so many requests by kind, at `PRICES`."""
    return sum(PRICES.get(kind, 0.0) * many / 1_000 for kind, many in requests.items())


def _row(load: _Load, interval: float, found: _Counted) -> Row:
    million = {kind: many * _MILLION / found.writes for kind, many in found.requests.items()}
    writing = sum(million.get(kind, 0.0) for kind in _WRITING)
    reading = sum(million.values()) - writing - million.get("delete", 0.0)
    dollars = money(million)
    return Row(
        f"writing requests a million writes, shipped every {interval:g} s, {load}",
        writing,
        "",
        2 * _MILLION / (1.0 + load.each * interval),
        "the formula: 2 a shipment of all that is written within an interval",
        note=f"and {reading:,.0f} that read: {dollars:,.2f} USD a million writes; from "
        f"{found.writes:,} writes; {PRICES_OF}",
        detail={
            "counted": dict(found.requests),
            "writes": found.writes,
            "usd_a_million_writes": dollars,
            "prices_usd_a_thousand": PRICES,
        },
    )


def _count(path: Path, load: _Load, interval: float, seconds: float) -> _Counted:
    store = CountingStore(VolatileStore())
    with opened(path, store, ship_interval=interval, hot_cap=256) as client:
        profiles = [client.profile(f"p{number}") for number in range(load.profiles)]
        for profile in profiles:
            profile.remember("opened before it is counted")
            profile.sync()
        store.reset()
        writes = _write(profiles, seconds)
        for profile in profiles:
            profile.sync()
        return _Counted(writes, _requests(store))


def _write(profiles: list[palimp.Profile], seconds: float) -> int:
    """Write at the rate, each time to one at random; return how many times."""
    begun, number, chance = time.monotonic(), 0, random.Random(1)
    while number < seconds * _RATE:
        chance.choice(profiles).remember(f"note {number}")
        number += 1
        time.sleep(max(0.0, begun + number / _RATE - time.monotonic()))
    return number


def _requests(store: CountingStore) -> dict[str, int]:
    return {kind: tally.requests for kind, tally in sorted(store.tallies().items())}


# -- beside the writes ----------------------------------------------------------------------------


def _besides() -> list[Row]:
    """Count one upkeep (hourly while a profile is owned, and before it cools) and one idle look."""
    store = CountingStore(VolatileStore())
    settings = {"embed_provider": "none", "maintenance_secs": 0}
    with folder() as path:
        node = Node(load_settings({"data_dir": path / "node", **settings}, {}), store=store)
        client = palimp.Client(Embedded(node))
        profile = client.profile("alice")
        for number in range(20):
            profile.remember(f"note {number}", durability="durable")
        engine = node.context.engine
        store.reset()
        with engine.use(Address("default", "alice"), create=False) as branch:
            branch.in_lane(lambda: engine._look_after(branch), "looking after it")
        upkeep = _requests(store)
        duties = node._duties()
        duties(lambda: True)
        store.reset()
        duties(lambda: True)
        look = _requests(store)
        client.close()
    return [
        _once("requests of one upkeep of a profile with 20 segments", upkeep, 24, "an hour"),
        _once("requests of a look at what is due, nothing due", look, 1_440, "a minute"),
    ]


def _once(what: str, requests: dict[str, int], a_day: int, every: str) -> Row:
    a_month = money({kind: many * a_day * 30.0 for kind, many in requests.items()})
    return Row(
        what,
        sum(requests.values()),
        "",
        note=f"once {every} at most: {a_month:,.4f} USD in 30 days; {PRICES_OF}",
        detail=requests,
    )
