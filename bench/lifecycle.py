"""The pass over states of memories: 100,000 of them archived, deleted softly, purged.

The clock is moved by hand, so that everything is due at once. A pass goes in transactions of at
most 500 rows, between which other writes get their turn: the longest of them is how long one waits.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from corpus import corpus
from harness import Row
from machine import filesystem, folder

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.node import Node, load_settings
from palimp.operations import lifecycle

_ROWS = 100_000
_DAY_SECONDS = 86_400
_POLICY = {"lifecycle": {"active_days": 90, "archived_days": 60, "grace_days": 7}}
_ADDRESS = Address("default", "bench")
_PASSES = (("archived", 90), ("soft_deleted", 60), ("purged", 7))


def measure(*, quick: bool) -> list[Row]:
    """Measure a pass that has nothing to do, then one after the other that moves every row."""
    rows = 5_000 if quick else _ROWS
    with folder() as base:
        place = filesystem(base)
        return _passes(base / "memory", rows, place)


def _passes(path: Path, rows: int, place: str) -> list[Row]:
    clock = ManualClock()
    settings = load_settings({"data_dir": path, "embed_provider": "none"}, {})
    node = Node(settings, clock=clock)
    with palimp.Client(Embedded(node)) as mem:
        mem.set_policy("default", _POLICY)
        profile = mem.profile("bench")
        memories = corpus(rows).memories
        for at in range(0, rows, 1_000):
            profile.ingest([memory.fields() for memory in memories[at : at + 1_000]])
        begun = time.perf_counter()
        assert lifecycle.run(node.context, _ADDRESS) == lifecycle.Passed()
        idle = (time.perf_counter() - begun) * 1_000
        found = [Row(f"lifecycle pass over {rows:,} memories, nothing due", idle, "ms", note=place)]
        for state, days in _PASSES:
            clock.advance(days * _DAY_SECONDS)
            found.append(_one(node, state, rows, place))
        return found


def _one(node: Node, state: str, rows: int, place: str) -> Row:
    """Move every row into a state, and time each transaction beside the whole."""
    times: list[float] = []
    real = lifecycle._moved

    def timed(*given: Any) -> int:
        begun = time.perf_counter()
        moved = real(*given)
        times.append(time.perf_counter() - begun)
        return moved

    lifecycle._moved = timed
    try:
        begun = time.perf_counter()
        done = lifecycle.run(node.context, _ADDRESS)
        whole = time.perf_counter() - begun
    finally:
        lifecycle._moved = real
    assert getattr(done, state) == rows, done
    longest = max(times) * 1_000
    return Row(
        f"lifecycle pass, {rows:,} memories {state}",
        whole / rows * 1e6,
        "us a memory",
        note=f"{whole:.1f} s in all, longest transaction {longest:,.0f} ms, {place}",
        detail={"seconds": whole, "transactions": len(times), "longest_ms": longest},
    )
