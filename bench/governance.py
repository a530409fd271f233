"""Governance over 100,000 memories: asked where nothing is due, and where one in fifty is.

The floor is one read of what the rules look at: the columns of every row, and the vectors of the
newest 5,000. Each rule reads for itself, in pages between which others may read and write.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import apsw
from corpus import corpus
from harness import Row
from machine import filesystem, folder

import palimp
from palimp.api.governance import GovernanceReport
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.node import Node, load_settings
from palimp.operations import governance_run

_ROWS = 100_000
_ADDRESS = Address("default", "bench")
_DAYS_SECONDS = 22 * 86_400
# Of a hundred: two that are due after those days, the others trusted for long.
_DOUBTFUL, _WORKING = 0, 1
_FLOOR = """SELECT handle, id, type, kind, topic, state, trust, confidence, tags, activated_at,
created_at, occurred_at, superseded_at, superseded_by, expires_at FROM __palimp_memories"""
_VECTORS = "SELECT slot, vector FROM __palimp_memories_vectors ORDER BY slot DESC LIMIT 5000"


def measure(*, quick: bool) -> list[Row]:
    """Measure a run that decides nothing, a dry run and a run that have something to decide."""
    rows = 5_000 if quick else _ROWS
    with folder() as base:
        return _runs(base / "memory", rows, filesystem(base))


def _runs(path: Path, rows: int, place: str) -> list[Row]:
    clock = ManualClock()
    node = Node(load_settings({"data_dir": path}, {}), clock=clock)
    with palimp.Client(Embedded(node)) as mem:
        profile = mem.profile("bench")
        _fill(profile, rows)
        # What the corpus holds twice goes now.
        profile.governance.run()
        idle, seconds = _timed(profile)
        assert not any(idle.counts.values()), idle.counts
        floor = _floor(node) * 1_000
        found = [
            Row(
                f"governance over {rows:,} memories, nothing due",
                seconds * 1_000,
                "ms",
                floor=floor,
                floor_what="one read of the same rows",
                note=place,
            )
        ]
        clock.advance(_DAYS_SECONDS)
        dry, seconds = _timed(profile, dry_run=True)
        due = sum(dry.counts.values())
        what = f"governance over {rows:,} memories, {due:,} due"
        found.append(Row(f"{what}, dry run", seconds * 1_000, "ms", floor=floor, note=place))
        found.append(_changing(node, profile, what, dry, place))
        return found


def _changing(
    node: Node, profile: palimp.Profile, what: str, dry: GovernanceReport, place: str
) -> Row:
    """Carry it out, and time each transaction beside the whole; then take it back."""
    times: list[float] = []
    real = governance_run.carry_out

    def timed(*given: Any, **more: Any) -> Any:
        begun = time.perf_counter()
        done = real(*given, **more)
        times.append(time.perf_counter() - begun)
        return done

    governance_run.carry_out = timed
    try:
        done, seconds = _timed(profile)
    finally:
        governance_run.carry_out = real
    assert done.counts == dry.counts
    begun = time.perf_counter()
    undone = profile.governance.undo(done.id)
    back = time.perf_counter() - begun
    assert undone.restored == sum(done.counts.values()), undone
    longest = max(times) * 1_000
    return Row(
        what,
        seconds * 1_000,
        "ms",
        note=f"longest transaction {longest:,.0f} ms, taken back in {back:.1f} s, {place}",
        detail={"longest_ms": longest, "undo_s": back, "transactions": len(times)},
    )


def _fill(profile: palimp.Profile, rows: int) -> None:
    memories = corpus(rows).memories
    for at in range(0, rows, 1_000):
        batch = []
        for memory in memories[at : at + 1_000]:
            given = memory.fields()
            given.pop("observed_at", None)
            place = memory.number % 100
            given["trust"] = "T4" if place == _DOUBTFUL else "T1"
            if place in (_DOUBTFUL, _WORKING):
                given["type"] = "fact"
            if place == _WORKING:
                given["kind"] = "working"
            batch.append(given)
        profile.ingest(batch)
    while profile.reembed().embedded:
        pass


def _timed(profile: palimp.Profile, **asked: Any) -> tuple[GovernanceReport, float]:
    begun = time.perf_counter()
    report = profile.governance.run(**asked)
    return report, time.perf_counter() - begun


def _floor(node: Node) -> float:
    def read(connection: apsw.Connection) -> int:
        return sum(len(connection.execute(one).fetchall()) for one in (_FLOOR, _VECTORS))

    with node.context.engine.use(_ADDRESS, create=False) as branch:
        assert branch is not None
        branch.read(read)
        begun = time.perf_counter()
        branch.read(read)
        return time.perf_counter() - begun
