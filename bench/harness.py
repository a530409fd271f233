"""Timing, the rows of the table, temporary folders, and what is said about the machine.

A figure is the median of single calls, measured with the garbage collector off after a warm-up.
Where there is a floor, the two are called in turn: a busy neighbour slows down both alike.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
_MEMORY_FOLDER = Path("/dev/shm")


@dataclass(frozen=True)
class Row:
    """One line of the table. `limit` is what the budget limits: the number itself or its ratio."""

    what: str
    measured: float | None
    unit: str
    floor: float | None = None
    floor_what: str = ""
    budget: float | None = None
    limit: Literal["measured", "ratio"] = "measured"
    note: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Return how many times the floor it is."""
        return self.measured / self.floor if self.measured is not None and self.floor else None

    @property
    def verdict(self) -> str:
        """Return ok, MISSED, `not measured`, or nothing where there is no budget."""
        if self.budget is None:
            return ""
        value = self.ratio if self.limit == "ratio" else self.measured
        if value is None:
            return "not measured"
        return "ok" if value <= self.budget else "MISSED"

    def as_json(self) -> dict[str, Any]:
        """Return the row with its verdict, without what it does not have."""
        names = ("what", "measured", "unit", "floor", "floor_what", "ratio", "budget")
        found = {name: _short(getattr(self, name)) for name in names}
        if self.budget is not None:
            found["budget_limits"] = self.limit
            found["verdict"] = self.verdict
        found |= {"note": self.note, "detail": _short(self.detail)}
        return {name: value for name, value in found.items() if value not in (None, "", {})}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    return value


@dataclass(frozen=True)
class Times:
    """Durations of single calls, in microseconds."""

    us: Sequence[float]

    @property
    def median(self) -> float:
        """Return the median."""
        return statistics.median(self.us)

    @property
    def p95(self) -> float:
        """Return the 95th percentile."""
        return sorted(self.us)[min(len(self.us) - 1, int(len(self.us) * 0.95))]

    def as_json(self) -> dict[str, float]:
        """Return what is kept of them."""
        return {
            "p50_us": self.median,
            "p95_us": self.p95,
            "mean_us": statistics.fmean(self.us),
            "least_us": min(self.us),
            "calls": len(self.us),
        }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector from running inside a measurement."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def in_turn(calls: Sequence[Callable[[int], object]], count: int, warmup: int = 0) -> list[Times]:
    """Call each in turn with 0 .. warmup + count, and return the times of the last `count`.

    Every call gets a fresh number, so that nothing is measured on what it has just answered.
    """
    found: list[list[float]] = [[] for _ in calls]
    for number in range(warmup):
        for call in calls:
            call(number)
    clock = time.perf_counter_ns
    with quiet():
        for number in range(warmup, warmup + count):
            for call, times in zip(calls, found, strict=True):
                begun = clock()
                call(number)
                times.append((clock() - begun) / 1_000)
    return [Times(times) for times in found]


def timed(call: Callable[[], object]) -> float:
    """Return the seconds one call takes."""
    with quiet():
        begun = time.perf_counter()
        call()
        return time.perf_counter() - begun


@contextlib.contextmanager
def folder(*, disk: bool = False) -> Iterator[Path]:
    """Yield an empty folder in memory (tmpfs), where there is one, or on a disk; then remove it."""
    path = Path(tempfile.mkdtemp(prefix="palimp-bench-", dir=disk_base() if disk else fast_base()))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def fast_base() -> Path:
    """Return where folders in memory are made."""
    usable = _MEMORY_FOLDER.is_dir() and os.access(_MEMORY_FOLDER, os.W_OK)
    return _MEMORY_FOLDER if usable else Path(tempfile.gettempdir())


def disk_base() -> Path:
    """Return a place on a real disk, as far as can be told."""
    places = (Path(tempfile.gettempdir()), Path("/var/tmp"), ROOT)
    return next((p for p in places if p.is_dir() and filesystem(p) != "tmpfs"), places[0])


def filesystem(path: Path) -> str:
    """Return the type of the file system that holds `path`, or `unknown`."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/mounts").read_text("utf-8").splitlines()
    except OSError:
        return kind
    for line in mounts:
        _, point, found, *_ = line.split()
        if str(path.resolve()).startswith(point) and len(point) >= len(best):
            best, kind = point, found
    return kind


def fsync_us(base: Path, count: int = 50) -> float:
    """Return the median microseconds of appending 4 KiB and waiting for the disk."""
    with tempfile.TemporaryFile(dir=base) as file:

        def append(_: int) -> None:
            os.write(file.fileno(), b"x" * 4096)
            os.fsync(file.fileno())

        return in_turn([append], count, 5)[0].median


def tree_bytes(path: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())


def machine() -> dict[str, Any]:
    """Say what was measured on; no host name and no path."""
    import apsw
    import numpy as np

    fast, disk = fast_base(), disk_base()
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "numpy": np.__version__,
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "unset"),
        "filesystem": {"fast": filesystem(fast), "disk": filesystem(disk)},
        "fsync_us": {"fast": _short(fsync_us(fast)), "disk": _short(fsync_us(disk))},
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def commit() -> str:
    """Return the short commit, with `-dirty` where files outside the results differ from it."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", ":!bench/results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?"
    )


def environment(byte_code: Path | None = None) -> dict[str, str]:
    """Return the environment of a measured program: no settings of ours, byte code kept and found.

    An installed package has its byte code; a checkout whose Python may not write any has not.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith("PALIMP_")}
    if byte_code is not None:
        found.pop("PYTHONDONTWRITEBYTECODE", None)
        found["PYTHONPYCACHEPREFIX"] = str(byte_code)
    return found


def run(command: Sequence[str], byte_code: Path | None = None) -> str:
    """Run a program to its end and return what it prints."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment(byte_code)
    )
    if done.returncode:
        raise RuntimeError(f"a measured program failed: {done.stderr.strip()[-500:]}")
    return done.stdout
