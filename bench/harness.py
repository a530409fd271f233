"""Timing, and the rows of the table.

A figure is the median of single calls, measured with the garbage collector off after a warm-up.
Where there is a floor, the two are called in turn: a busy neighbour slows down both alike.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

_BLOCK = 20


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
        found = {name: short(getattr(self, name)) for name in names}
        if self.budget is not None:
            found["budget_limits"] = self.limit
            found["verdict"] = self.verdict
        found |= {"note": self.note, "detail": short(self.detail)}
        return {name: value for name, value in found.items() if value not in (None, "", {})}


def short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: short(inner) for key, inner in value.items()}
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
    """Call each with 0 .. warmup + count, and return the times of the last `count`.

    Every call gets a fresh number, so that nothing is measured on what it has just answered. They
    take turns in blocks: long enough that each finds the processor's caches as it left them.
    """
    found: list[list[float]] = [[] for _ in calls]
    for call in calls:
        for number in range(warmup):
            call(number)
    clock = time.perf_counter_ns
    with quiet():
        for start in range(warmup, warmup + count, _BLOCK):
            for call, times in zip(calls, found, strict=True):
                for number in range(start, min(start + _BLOCK, warmup + count)):
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
