"""What sealing objects costs: on writes, recall, waking and bytes; and what rotating keys does.

Sealed and plain folders take turns in one run. Fields of rows are not sealed here.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus import Corpus, corpus, queries
from harness import Row, Times, in_turn, timed
from machine import filesystem, folder, tree_bytes

import palimp
from palimp.ids import random_bytes, random_id
from palimp.store import VolatileStore
from palimp.store.directory import DirectoryStore
from palimp.store.sealed import ObjectKey, SealedStore, sealed_size

_KEY = base64.b64encode(b"k" * 32).decode()
_PLAIN = "the same without a master key"
_MEGABYTE = 1 << 20


def measure(*, quick: bool) -> list[Row]:
    """Measure each with a master key against the same without one."""
    stored = corpus(1_000 if quick else 5_000)
    return [
        *_objects(20 if quick else 200),
        *_writes(stored, 150 if quick else 1_000),
        *_of_a_profile(stored, 30 if quick else 200, 5 if quick else 20),
        _rotation(100 if quick else 1_000),
    ]


class _OneKey:
    def sealing(self, _db_id: str) -> ObjectKey:
        return ObjectKey(1, b"k" * 32)

    def opening(self, _db_id: str, _version: int) -> bytes:
        return b"k" * 32


def _objects(count: int) -> list[Row]:
    """Put and get a megabyte, sealed and not, in memory."""
    data = random_bytes(_MEGABYTE)
    plain = VolatileStore()
    sealed = SealedStore(VolatileStore(), _OneKey())
    stores = (sealed, plain)

    def put(store: Any) -> Any:
        return lambda at: store.create(f"v1/db/n/main/{at}.ltx", data)

    def get(store: Any) -> Any:
        return lambda at: store.get(f"v1/db/n/main/{at}.ltx")

    rows = []
    for what, make in (("put", put), ("get", get)):
        ours, floor = in_turn([make(store) for store in stores], count, 3)
        rows.append(
            Row(
                f"{what} a segment of 1 MiB, sealed",
                ours.median - floor.median,
                "us",
                note=f"beyond what the store in memory takes ({floor.median:,.0f} us)",
                detail={"sealed": ours.as_json(), "plain": floor.as_json()},
            )
        )
    return rows


@contextlib.contextmanager
def _pair(path: Path, **settings: Any) -> Iterator[tuple[palimp.Client, palimp.Client]]:
    """Open a sealed and a plain folder."""
    given = {"embed_provider": "none", **settings}
    with (
        palimp.open(path / "sealed", master_key=_KEY, **given) as sealed,
        palimp.open(path / "plain", **given) as plain,
    ):
        yield sealed, plain


def _row(what: str, ours: Times, floor: Times, note: str) -> Row:
    return Row(
        what,
        ours.median,
        "us",
        floor.median,
        _PLAIN,
        note=f"{note}, p95 {ours.p95:,.0f} us",
        detail={"sealed": ours.as_json(), "plain": floor.as_json()},
    )


def _writes(stored: Corpus, count: int) -> list[Row]:
    rows = []
    items = stored.items(0, len(stored.memories), vectors=False)
    for durability in ("local", "durable"):
        used = count if durability == "local" else count // 5
        with folder() as path, _pair(path) as clients:
            profiles = [mem.profile("bench") for mem in clients]

            def write(profile: Any, how: str = durability) -> Any:
                return lambda at: profile.remember(**items[at % len(items)], durability=how)

            ours, floor = in_turn([write(profile) for profile in profiles], used, 20)
            what = f"ingest one memory, {durability}, sealed"
            rows.append(_row(what, ours, floor, filesystem(path)))
    return rows


def _of_a_profile(stored: Corpus, recalls: int, wakes: int) -> list[Row]:
    """Recall from, weigh and wake a profile."""
    asked = queries(stored, recalls + 10)
    items = stored.items(0, len(stored.memories), vectors=False)
    with folder() as path:
        with _pair(path) as clients:
            profiles = [mem.profile("bench") for mem in clients]
            for profile in profiles:
                for at in range(0, len(items), 500):
                    profile.ingest(items[at : at + 500])

            def recall(profile: Any) -> Any:
                return lambda at: profile.recall(asked[at].text, k=10)

            ours, floor = in_turn([recall(profile) for profile in profiles], recalls, 10)
            note = f"{len(items):,} memories, by words"
            rows = [_row("recall, sealed", ours, floor, note)]
            for mem in clients:
                mem.maintain()
        plain = [one.stat().st_size for one in (path / "plain" / "objects").rglob("*.ltx")]
        of_keys = tree_bytes(path / "sealed" / "objects" / "v1" / "keys")
        rows.append(
            Row(
                "objects of a profile, sealed",
                (sum(map(sealed_size, plain)) + of_keys) / 1024,
                "KiB",
                sum(plain) / 1024,
                "the segments of the plain folder",
                note=f"{len(items):,} memories; the objects that hold keys are counted",
            )
        )
        times: dict[str, list[float]] = {"sealed": [], "plain": []}
        for _ in range(wakes):
            for name, found in times.items():
                found.append(_wake(path, name) * 1e6)
        rows.append(
            _row("wake a profile, sealed", Times(times["sealed"]), Times(times["plain"]), note)
        )
    return rows


def _wake(path: Path, name: str) -> float:
    """Return the seconds to the first page of memories in a new folder on these objects."""
    url = (path / name / "objects").absolute().as_uri()
    key = {"master_key": _KEY} if name == "sealed" else {}
    data = path / random_id("wake")
    with palimp.open(data, object_store=url, embed_provider="none", **key) as mem:
        seconds = timed(lambda: next(mem.profile("bench").list()))
    shutil.rmtree(data)
    return seconds


def _rotation(count: int) -> Row:
    with folder() as path:
        with palimp.open(path / "sealed", master_key=_KEY, embed_provider="none") as mem:
            for number in range(count):
                mem.profile(f"p{number}").remember("a memory")
            for number in range(count):
                mem.profile(f"p{number}").sync()
            seconds = timed(lambda: list(mem.rotate_keys("default")))
            rewrap = timed(lambda: list(mem.rotate_keys("default", rewrap_only=True)))
        store = DirectoryStore(path / "sealed" / "objects")
        floor = timed(lambda: _by_hand(store))
        place = filesystem(path)
    return Row(
        f"rotate the keys of {count:,} profiles",
        seconds * 1e3,
        "ms",
        floor * 1e3,
        "each profile's objects read and one of them written by hand",
        note=f"{place}, {seconds * 1e6 / count:,.0f} us a profile; wrapped anew only "
        f"{rewrap * 1e3:,.0f} ms",
        detail={"rewrap_only_ms": rewrap * 1e3, "us_per_profile": seconds * 1e6 / count},
    )


def _by_hand(store: DirectoryStore) -> None:
    for entry in store.list("v1/names/", None, 10_000).entries:
        store.get(entry.key)
    for entry in store.list("v1/keys/db/", None, 10_000).entries:
        found = store.get(entry.key)
        assert found is not None
        store.replace(entry.key, found.data + b" ", found.version)
