"""An import of a large file by MemorySync's published client: how fast, and in how much memory.

The file goes to the disk as it comes. The node is watched from outside, and beside it one that is
given the same rows by our own ingest: what memory both take is that of storing so many rows (a
snapshot is made whole), and only what is above it is the import's.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from corpus import corpus
from harness import Row
from machine import filesystem, folder
from serving import At, served

import palimp
from palimp.http.dialects.memorysync.names import namespace_of
from palimp.ids import foreign_name

memorysync: Any = None
with suppress(ImportError):
    import memorysync

_KEY, _USER = "platform-key-of-the-bench", "eve"
_PAD_WORDS = 60
_MB = 1_000_000
_WATCH_SECONDS, _ASK_SECONDS = 0.05, 0.2
_BATCH, _WINDOW = 200, 31_536_000


def measure(*, quick: bool) -> list[Row]:
    """Measure a file of 4 MB, and where it is no quick run one of 100 MB."""
    if memorysync is None:
        return [Row("MemorySync import", None, "MB", note="not measured: memorysync is missing")]
    found = []
    for size in (4,) if quick else (4, 100):
        with folder() as base:
            found += _over(base, size * _MB)
    return found


def _over(base: Path, size: int) -> list[Row]:
    path = base / "all.jsonl"
    records = _write(path, size)
    theirs = _watched(base / "theirs", lambda at: _import(at, path, records))
    ours = _watched(base / "ours", lambda at: _ingest(at, path))
    what = f"import of {size // _MB} MB, {records:,} records ({filesystem(base)})"
    floor = "our own ingest of the same rows over HTTP, 200 a call"
    came = (theirs.came - theirs.idle) / _MB
    return [
        Row(
            f"{what}: peak memory above idle",
            (theirs.peak - theirs.idle) / _MB,
            "MB",
            floor=(ours.peak - ours.idle) / _MB,
            floor_what=floor,
            note=f"{came:.1f} MB when the file had come; idle {theirs.idle / _MB:.0f} MB",
        ),
        Row(
            f"{what}: time",
            theirs.seconds,
            "s",
            floor=ours.seconds,
            floor_what=floor,
            note=f"{records / theirs.seconds:,.0f} records a second",
        ),
    ]


@dataclass
class _Watched:
    """What a node took while something was done: memory in bytes, `came` when the file was sent."""

    idle: int
    peak: int
    came: int
    seconds: float


def _watched(base: Path, work: Callable[[At], Callable[[], None]]) -> _Watched:
    """Do something in two steps at a node of its own, and look at its memory meanwhile."""
    base.mkdir()
    more = {
        "PALIMP_CATALOG_URL": f"sqlite:///{base}/catalog.db",
        "PALIMP_PLATFORM_KEY": _KEY,
        "PALIMP_SINGLE_NODE": "1",
        # What is measured is the import; vectors come behind it, at their own pace.
        "PALIMP_EMBED_PROVIDER": "none",
    }
    command = (sys.executable, "-m", "palimp", "serve", "--port", "0")
    with served((*command, "--data", str(base / "memory")), base / "log", more) as at:
        with memorysync.MemorySyncClient(_KEY, f"{at.url}/memorysync", end_user_id=_USER) as client:
            client.add("The bench of imports begins here")
        idle = _resident(at.pid)
        found = _Watched(idle, idle, idle, 0.0)
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(at.pid, found, over))
        watch.start()
        begun = time.perf_counter()
        rest = work(at)
        found.came = found.peak
        rest()
        found.seconds = time.perf_counter() - begun
        over.set()
        watch.join()
    return found


def _write(path: Path, size: int) -> int:
    """Write a file of about that size; return how many records it has."""
    records = 0
    with path.open("w") as file:
        for line in _lines():
            records += 1
            file.write(line)
            if file.tell() >= size:
                return records
    raise AssertionError


def _lines() -> Iterator[str]:
    stored = corpus(2_000).memories
    number = 0
    while True:
        words = [stored[(number * 7 + step) % len(stored)].text for step in range(8)]
        text = f"Record {number}: {' '.join(' '.join(words).split()[:_PAD_WORDS])}"
        record = {"text": text, "client_ref": f"r{number}", "tags": ["moved"]}
        yield json.dumps(record) + "\n"
        number += 1


def _import(at: At, path: Path, records: int) -> Callable[[], None]:
    url = f"{at.url}/memorysync"
    client = memorysync.MemorySyncClient(_KEY, url, end_user_id=_USER, timeout=600)
    with path.open("rb") as file:
        job = client.create_import(file, filename=path.name, resume=True)

    def rest() -> None:
        with client:
            while (found := client.get_import(job["id"]))["status"] in ("queued", "running"):
                time.sleep(_ASK_SECONDS)
        assert found["created"] == records, found

    return rest


def _ingest(at: At, path: Path) -> Callable[[], None]:
    def rest() -> None:
        namespace = namespace_of("default", "production")
        with palimp.connect(at.url, token=_KEY) as mem, path.open() as file:
            own = mem.profile(foreign_name(_USER), namespace=namespace)
            while some := [json.loads(line) for line in islice(file, _BATCH)]:
                own.ingest(
                    {
                        "text": one["text"],
                        "tags": one["tags"],
                        "dedup_key": f"ref:{one['client_ref']}",
                        "dedup_window": _WINDOW,
                    }
                    for one in some
                )

    return rest


def _watch(pid: int, found: _Watched, over: threading.Event) -> None:
    while not over.wait(_WATCH_SECONDS):
        found.peak = max(found.peak, _resident(pid))


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024
