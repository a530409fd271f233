"""Events of an organisation with an Arc: how many a second are accepted, and arrive.

Accepted means on the disk of this node, in its spool, beside the same rows and indexes by hand in
SQLite. Arriving means that the double of an Arc (`tests/arc_double.py`, over DuckDB, a process of
its own on this machine) has answered that it took them, beside the same writes by hand. No real Arc
was measured.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from events import Store, appending, event
from harness import Row
from machine import folder

from palimp.api.events import AppendEvents, EventInput
from palimp.arc import ArcBinding, ArcOptions, ArcPool
from palimp.clock import Clock
from palimp.observe import Metrics

_DOUBLE = Path(__file__).resolve().parents[1] / "tests" / "arc_double.py"
_ORG = "org_bench"
_BATCHES = (1, 100, 1_000)
_WRITTEN = 100
_SECONDS = 300.0


def measure(*, quick: bool) -> list[Row]:
    """Measure accepting and arriving, each beside its floor."""
    spooled = Store("accepted for an Arc", _spooled)
    count = 5_000 if quick else 50_000
    return [
        *(appending(spooled, size, quick=quick) for size in _BATCHES),
        *(_arriving(size, min(count, 2_000) if size == 1 else count) for size in _BATCHES),
    ]


@contextmanager
def _double(path: Path) -> Iterator[str]:
    """Start the double; yield its URL."""
    path.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(_DOUBLE), str(path / "arc.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(30)


@contextmanager
def _pool(path: Path, url: str) -> Iterator[ArcPool]:
    (path / "node").mkdir()
    pool = ArcPool(path / "node", ArcOptions(), Clock(), Metrics())
    pool.bind(ArcBinding(_ORG, url, "", "bench"))
    pool.start()
    try:
        yield pool
    finally:
        pool.close(_SECONDS)


@contextmanager
def _spooled(path: Path) -> Iterator[Any]:
    with _double(path) as url, _pool(path, url) as pool:
        store = pool.of(_ORG)
        assert store is not None
        yield lambda events: store.append(_request(events))


def _request(events: list[dict[str, Any]]) -> AppendEvents:
    given = (EventInput(**{**one, "tags": tuple(one["tags"])}) for one in events)
    return AppendEvents(events=tuple(given))


def _arriving(size: int, count: int) -> Row:
    batches = [[event(at + n) for n in range(size)] for at in range(0, count, size)]
    requests = [_request(one) for one in batches]
    with folder() as path, _double(path) as url:
        with _pool(path, url) as pool:
            store = pool.of(_ORG)
            assert store is not None
            begun = time.perf_counter()
            for one in requests:
                store.append(one)
            accepted = time.perf_counter() - begun
            assert pool.flush(_ORG, _SECONDS)
            ours = time.perf_counter() - begun
        floor = _by_hand(url, [one for some in batches for one in some])
    return Row(
        f"{count:,} events arrive in an Arc, appended {size:,} at a time",
        ours / count * 1e6,
        "us an event",
        floor / count * 1e6,
        f"the same in writes of {_WRITTEN} by hand",
        note=f"{count / ours:,.0f} a second, accepted {count / accepted:,.0f} a second, by hand "
        f"{count / floor:,.0f}; against a double on this machine, not a real Arc",
        detail={"seconds": ours, "accepted_seconds": accepted, "by_hand_seconds": floor},
    )


def _by_hand(url: str, events: list[dict[str, Any]]) -> float:
    """Return the seconds that writes of rows take whose columns are there already."""
    bodies = []
    for start in range(0, len(events), _WRITTEN):
        some = events[start : start + _WRITTEN]
        at_ns = time.time_ns()
        columns = {
            "time": [at_ns + 1_000 * (start + place) for place in range(len(some))],
            "org_id": ["org_by_hand"] * len(some),
            "agent_id": [one["agent"] for one in some],
            "session_id": [one["session"] for one in some],
            "memory_type": [one["kind"] for one in some],
            "event_type": [one["event"] for one in some],
            "content": [one["text"] for one in some],
            "metadata_json": [msgspec.json.encode(one["metadata"]).decode() for one in some],
            "tags_csv": [",".join(one["tags"]) for one in some],
            "dedup_key": [""] * len(some),
            "importance": [float(one["importance"]) for one in some],
            "parent_id": [""] * len(some),
        }
        bodies.append(msgspec.msgpack.encode({"m": "events", "columns": columns}))
    headers = {"content-type": "application/msgpack", "x-arc-database": "by_hand"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        begun = time.perf_counter()
        for body in bodies:
            client.post("/api/v1/write/msgpack", content=body).raise_for_status()
        return time.perf_counter() - begun
