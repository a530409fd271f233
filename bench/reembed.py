"""A profile is embedded anew while it is written: what the writes notice, and how long it takes.

The older model is the bundled one under another name, so both cost the same. Writes with and
without embedding take turns in blocks in one process; what a write leaves to be embedded is
embedded in the background in either case. One writer calls without a pause, another 50 times a
second.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from corpus import Memory, corpus
from harness import Row, Times, quiet, timed
from machine import filesystem, folder

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.models.bundled import BundledEmbedder
from palimp.node import Node, load_settings

_ROWS = 10_000
_BLOCK_SECONDS = 5.0
_A_SECOND = 50


class _Older(BundledEmbedder):
    name = "older"


def measure(*, quick: bool) -> list[Row]:
    """Measure writes of both paces, then ingesting with an embedder and without one."""
    rows = 2_000 if quick else _ROWS
    stored = corpus(rows + 12_000)
    with folder() as base:
        place = filesystem(base)
        found = []
        for pace in (None, _A_SECOND):
            path = base / f"pace-{pace}"
            _prepare(path, stored.memories[:rows])
            found += _beside(path, stored.memories[rows:], rows, pace, place, quick=quick)
        _prepare(base / "idle", stored.memories[:rows])
        found.append(_idle(base / "idle", rows, place))
        found += _ingesting(base, stored.memories, place, 1_000 if quick else 10_000)
    return found


def _prepare(path: Path, memories: list[Memory]) -> None:
    """Fill a profile and embed it with the older model."""
    node = Node(load_settings({"data_dir": path}, {}), embedder=_Older())
    with palimp.Client(Embedded(node)) as mem:
        profile = mem.profile("bench")
        for at in range(0, len(memories), 1_000):
            profile.ingest([memory.fields() for memory in memories[at : at + 1_000]])
        mem.maintain()
        profile.reembed()
        assert not profile.embed_status().pending_memories


def _beside(
    path: Path, fresh: list[Memory], rows: int, pace: int | None, place: str, *, quick: bool
) -> list[Row]:
    """Write single memories, with and without a call that embeds anew, in turn."""
    times: dict[bool, list[float]] = {False: [], True: []}
    numbers = itertools.count()
    embedded, seconds = 0, 0.0
    with (
        palimp.open(path) as mem,
        ThreadPoolExecutor(1) as thread,
    ):
        profile = mem.profile("bench")

        def write(into: list[float], until: Callable[[], bool]) -> float:
            begins = time.perf_counter()
            while not until():
                number = next(numbers)
                item = fresh[number % len(fresh)].fields() | {"dedup_key": f"w{number}"}
                item.pop("topic", None)
                began = time.perf_counter_ns()
                profile.remember(**item)
                into.append((time.perf_counter_ns() - began) / 1_000)
                if pace is not None:
                    time.sleep(1 / pace)
            return time.perf_counter() - begins

        def a_while(into: list[float]) -> None:
            ends = time.perf_counter() + _BLOCK_SECONDS
            write(into, lambda: time.perf_counter() > ends)

        a_while([])
        with quiet():
            for _ in range(1 if quick else 6):
                a_while(times[False])
                # Ends by itself, after some seconds.
                call = thread.submit(profile.reembed)
                seconds += write(times[True], call.done)
                embedded += call.result().embedded
    rate = embedded / seconds
    what = "without a pause" if pace is None else f"{pace} times a second"
    note = f"{place}; {rate:,.0f} rows a second meanwhile, {rows:,} in {rows / rate:,.0f} s"
    with_it, without = Times(times[True]), Times(times[False])
    detail = {"with": _as_json(with_it), "without": _as_json(without), "rows_a_second": rate}
    return [
        Row(
            f"a write, {what}, while {rows:,} rows are embedded anew, {name}",
            getter(with_it),
            "us",
            getter(without),
            "the same without",
            1.3 if name == "p95" else None,
            "ratio",
            note,
            detail,
        )
        for name, getter in (
            ("p50", lambda found: found.median),
            ("p95", lambda found: found.p95),
            ("p99", _p99),
        )
    ]


def _p99(found: Times) -> float:
    return sorted(found.us)[min(len(found.us) - 1, int(len(found.us) * 0.99))]


def _as_json(found: Times) -> dict[str, float]:
    return {**found.as_json(), "p99_us": _p99(found), "most_us": max(found.us)}


def _idle(path: Path, rows: int, place: str) -> Row:
    with palimp.open(path) as mem:
        profile = mem.profile("bench")

        def all_of_it() -> None:
            while profile.reembed().remaining:
                pass

        seconds = timed(all_of_it)
    return Row(
        f"{rows:,} rows embedded anew while nobody writes",
        seconds,
        "s",
        note=f"{place}, {rows / seconds:,.0f} rows a second",
    )


def _ingest(profile: palimp.Profile, batches: list[list[dict[str, Any]]]) -> float:
    return timed(lambda: [profile.ingest(one) for one in batches])


def _ingesting(base: Path, memories: list[Memory], place: str, count: int) -> list[Row]:
    """Ingest with the bundled embedder at work in the background, and without one."""
    seconds: dict[tuple[str, int], float] = {}
    for size in (1, 100):
        batches: list[list[dict[str, Any]]] = [
            [memory.fields() for memory in memories[at : at + size]]
            for at in range(0, count if size > 1 else count // 5, size)
        ]
        for provider in ("none", "bundled"):
            with palimp.open(base / f"{provider}-{size}", embed_provider=provider) as mem:
                profile = mem.profile("bench")
                profile.remember("the first write")
                seconds[provider, size] = _ingest(profile, batches) / sum(map(len, batches))
    return [
        Row(
            f"ingest in batches of {size}, embedding on, a memory",
            seconds["bundled", size] * 1e6,
            "us",
            seconds["none", size] * 1e6,
            "embedding off",
            note=f"{place}, {1 / seconds['bundled', size]:,.0f} a second, off "
            f"{1 / seconds['none', size]:,.0f}",
        )
        for size in (1, 100)
    ]
