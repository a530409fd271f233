"""Branches of 10,000 memories against each other, 1,000 of them changed on one side.

The floor of a comparison is what cannot be avoided: reading every memory of both branches once with
SQLite, all columns, as rows. The floor of a merge is the same, since it begins with a comparison.
Half of the changes are additions, a quarter supersede and a quarter remove what was there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
from corpus import corpus
from harness import Row
from machine import filesystem, folder

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.engine import Address
from palimp.node import Node, load_settings

_ROWS = 10_000
_CHANGES = 1_000
_ROUNDS = 5


def measure(*, quick: bool) -> list[Row]:
    """Measure snapshot, fork, the first read of the fork, diff and merge; without an embedder."""
    rows, changes = (2_000, 200) if quick else (_ROWS, _CHANGES)
    with folder() as base:
        return _measure(base / "memory", rows, changes, filesystem(base))


def _measure(path: Path, rows: int, changes: int, place: str) -> list[Row]:
    node = Node(load_settings({"data_dir": path, "embed_provider": "none"}, {}))
    with palimp.Client(Embedded(node)) as mem:
        main = mem.profile("bench")
        memories = corpus(rows + changes).memories
        vectors = {id(one): _vector(number) for number, one in enumerate(memories)}
        _write(main, memories[:rows], vectors)
        snapshot = _median([lambda n=n: main.checkpoint(f"c{n}") for n in range(_ROUNDS)])
        fork = _median([lambda n=n: main.fork(f"f{n}") for n in range(_ROUNDS)])
        first = _once(lambda: next(iter(main.branch("f0").list(limit=1))))
        trial = main.fork("trial")
        _change(trial, memories[rows:], vectors, changes)
        sizes = f"{rows:,} memories, {changes:,} changed"
        # The state where both parted is restored once, by whoever asks first.
        cold = _once(lambda: trial.diff(main))
        diff = _median([lambda: trial.diff(main)] * _ROUNDS)
        tried = _median([lambda: main.merge(trial, dry_run=True)] * _ROUNDS)
        found = trial.diff(main)
        floor = _floor(node, ("main", "trial"))
        merge = _once(lambda: main.merge(trial))
        again = _median([lambda: main.merge(trial)] * _ROUNDS)
        count = sum(found.counts.values())
        return [
            Row(f"checkpoint of {rows:,} memories", snapshot, "ms", note=place),
            Row("fork (checkout of a new branch)", fork, "ms", note=place),
            Row("first read of a fork", first, "ms", note=place),
            Row(f"diff, {sizes}, first", cold, "ms", floor, note=f"{count:,} found; {place}"),
            Row(f"diff, {sizes}", diff, "ms", floor, note=place),
            Row(f"merge tried, {sizes}", tried, "ms", floor, note=place),
            Row(f"merge, {sizes}", merge, "ms", floor, note=f"with a checkpoint; {place}"),
            Row(f"merged again, {sizes}", again, "ms", floor, note=place),
        ]


def _vector(number: int) -> list[float]:
    # 256 dimensions, as the bundled model has; what they say does not matter here.
    return [float((number * 31 + place * 17) % 97 - 48) for place in range(256)]


def _write(profile: Any, memories: Any, vectors: Any) -> None:
    for at in range(0, len(memories), 1_000):
        part = memories[at : at + 1_000]
        profile.ingest([{**one.fields(), "embedding": vectors[id(one)]} for one in part])


def _change(trial: Any, fresh: Any, vectors: Any, changes: int) -> None:
    held = [one for one in trial.list(limit=1_000) if one.superseded_at is None][:changes]
    _write(trial, fresh[: changes // 2], vectors)
    for number, one in enumerate(held[: changes // 2]):
        if number % 2:
            trial.forget(one)
        else:
            trial.supersede(one, f"{one.text}, since then")


def _floor(node: Node, branches: tuple[str, ...]) -> float:
    """Return how long it takes to read every row of both branches."""

    def read(connection: apsw.Connection) -> int:
        return len(connection.execute("SELECT * FROM __palimp_memories").fetchall())

    def both() -> None:
        for name in branches:
            with node.context.engine.use(Address("default", "bench", name), create=False) as branch:
                assert branch is not None
                assert branch.read(read).value

    return _median([both] * _ROUNDS)


def _once(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1_000


def _median(works: list[Callable[[], object]]) -> float:
    return sorted(_once(work) for work in works)[len(works) // 2]
