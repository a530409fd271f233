"""What an erasure costs: against how long the history is, how many points are kept, and the size.

One memory is erased with no grace, so that one call does all of it: it marks, removes, stores every
kept point anew and collects. The store is a directory on the same disk. Bytes re-written are those
of the snapshots of kept points; the head's own snapshot comes on top and is in the note.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from harness import Row
from machine import filesystem, folder

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.node import Node, load_settings
from palimp.store import CountingStore

_COMMITS = (10, 100, 1_000)
_POINTS = (0, 10, 100)
_MEMORIES = (1_000, 10_000)
_QUICK = ((10, 0, 1_000), (10, 10, 1_000), (100, 10, 1_000))
_BATCH = 1_000


class Measured(NamedTuple):
    """An erasure: how long it took, what it stored, and of what."""

    seconds: float
    planned_bytes: int
    rewritten_bytes: int
    stored_bytes: int
    objects_removed: int


def measure(*, quick: bool) -> list[Row]:
    """Return a row for every history: one dimension changes at a time."""
    return [_row(*case) for case in (_QUICK if quick else _cases())]


def _cases() -> list[tuple[int, int, int]]:
    cases = [(commits, 0, _MEMORIES[0]) for commits in _COMMITS]
    cases += [(_COMMITS[-1], points, _MEMORIES[0]) for points in _POINTS[1:]]
    return cases + [(_COMMITS[1], points, _MEMORIES[1]) for points in _POINTS]


def _row(commits: int, points: int, memories: int) -> Row:
    with folder() as base:
        place = filesystem(base)
        settings = {"data_dir": base / "memory", "embed_provider": "none", "maintenance_secs": 0}
        node = Node(load_settings(settings, {}))
        with palimp.Client(Embedded(node)) as mem:
            found = _erased(node, mem.profile("alice"), commits, points, memories)
    what = f"erasure of 1 of {memories:,}: {commits:,} commits, {points} kept points"
    note = (
        f"{place}; {found.rewritten_bytes / 1e6:.1f} MB of kept points stored anew (foreseen: "
        f"{found.planned_bytes / 1e6:.1f} MB unpacked), {found.stored_bytes / 1e6:.1f} MB with the "
        f"head, {found.objects_removed:,} objects removed"
    )
    return Row(what, found.seconds * 1_000, "ms", note=note, detail=found._asdict())


def _erased(node: Node, alice: Any, commits: int, points: int, memories: int) -> Measured:
    """Write so many memories, then so many commits, name every so-manieth, and erase one memory."""
    first = alice.remember("The code of the safe is 4711")
    for start in range(1, memories, _BATCH):
        batch = range(start, min(start + _BATCH, memories))
        alice.ingest([{"type": "event", "text": f"Event {one} at the harbour"} for one in batch])
    for commit in range(1, commits + 1):
        alice.remember(f"Commit {commit} changes something", durability="durable")
        if points and commit % (commits // points) == 0:
            alice.checkpoint(f"p{commit}")
    planned = alice.erase(first.id, dry_run=True).state
    assert planned.points in (points, points - 1), planned
    before = _sent(node)
    begun = time.perf_counter()
    job = alice.erase(first.id, grace=0)
    seconds = time.perf_counter() - begun
    assert job.status == "done", job.blocked_by
    removed = len(job.receipt["objects_removed"])
    return Measured(seconds, planned.bytes, job.state.bytes, _sent(node) - before, removed)


def _sent(node: Node) -> int:
    """Return how many bytes the node has given to its store."""
    store = node.context.engine.store
    assert isinstance(store, CountingStore)
    return sum(tally.bytes_sent for tally in store.tallies().values())


if __name__ == "__main__":
    for row in measure(quick=False):
        print(row.what, round(row.measured or 0), row.unit, row.note)
