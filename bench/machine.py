"""Where things are measured: folders, file systems, and what is said about the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import in_turn, short

ROOT = Path(__file__).resolve().parent.parent
_MEMORY_FOLDER = Path("/dev/shm")


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
        "fsync_us": {"fast": short(fsync_us(fast)), "disk": short(fsync_us(disk))},
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
